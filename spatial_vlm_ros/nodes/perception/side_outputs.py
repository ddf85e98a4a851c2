# SPDX-License-Identifier: Apache-2.0
"""Builds slow messages about an answer, such as its image, on a separate thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from rclpy.node import Node

from spatial_vlm_ros.nodes import messages
from spatial_vlm_ros.nodes.perception.request_queue import RequestOutcome
from spatial_vlm_ros.nodes.perception.shown_scene import points_message, region_message
from spatial_vlm_ros.output.annotated_image import content_from, draw
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.types import RgbdFrame

MOST_IMAGES = 5  # images that wait to be drawn; older ones are dropped


class SideOutputs:
    """Publishes images, point clouds, regions and objects of answers.

    Args:
        wake: runs a function on the executor's thread; callable from any thread.
    """

    def __init__(self, node: Node, wake: Callable[[Callable[[], Any]], None]) -> None:
        self._node, self._wake = node, wake
        self._composer = messages.composer()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="draw")
        self._images: list[Future[None]] = []  # images being drawn or waiting, oldest first

    def draw(self, outcome: RequestOutcome, config: ResolverConfig, publisher: Any) -> None:
        """Publish the image of an answer; if too many wait, the oldest are dropped."""

        def drawn(frame: RgbdFrame) -> Any:
            image = draw(frame, outcome.detections, outcome.resolution, config, outcome.scene)
            return self._composer.image_rgb(image, self._composer.header(frame.stamp_ns, frame.frame_id))

        self._images = [image for image in self._images if not image.done()]
        for late in self._images[: max(0, len(self._images) - MOST_IMAGES + 1)]:
            late.cancel()
        self._images.append(self._submit("the answer could not be drawn", drawn, publisher, outcome))

    def show_points(self, outcome: RequestOutcome, publisher: Any) -> None:
        """Publish the depth image of an answer as a point cloud."""
        self._submit("the points of the answer could not be made", points_message, publisher, outcome)

    def show_region(self, outcome: RequestOutcome, config: ResolverConfig, publisher: Any) -> None:
        """Publish where the deciding relation holds; clears the display if no frame was resolved."""

        def shown(frame: RgbdFrame) -> Any:
            content = content_from(frame, outcome.detections, outcome.resolution, config, outcome.scene)
            return region_message(content if outcome.resolution.source == "measurement" else None)

        if outcome.frame is None:
            self._pool.submit(self._wake, lambda: publisher.publish(region_message(None)))
        else:
            self._submit("the region of the answer could not be measured", shown, publisher, outcome)

    def list_objects(self, outcome: RequestOutcome, publisher: Any) -> None:
        """Publish the measured objects in the image of an answer."""
        from spatial_vlm_ros.nodes.perception.objects import objects_message

        def listed(frame: RgbdFrame) -> Any:
            return objects_message(frame, outcome.scene, outcome.resolution)

        self._submit("the objects could not be listed", listed, publisher, outcome)

    def close(self) -> None:
        """Drop outputs that have not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _submit(
        self, what: str, make: Callable[[RgbdFrame], Any], publisher: Any, outcome: RequestOutcome
    ) -> Future[None]:  # fmt: skip
        return self._pool.submit(self._aside, what, make, publisher, outcome)

    def _aside(self, what: str, make: Callable[[RgbdFrame], Any], publisher: Any, outcome: RequestOutcome) -> None:
        if outcome.frame is None:
            return
        try:
            message = make(outcome.frame)
        except Exception as error:  # nothing waits for this thread: log it and continue
            self._node.get_logger().error(printable(f"{what}: {type(error).__name__}: {error}"))
            return
        self._wake(lambda: publisher.publish(message))
