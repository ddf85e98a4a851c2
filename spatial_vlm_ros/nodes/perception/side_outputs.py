# SPDX-License-Identifier: Apache-2.0
"""Builds slow messages about an answer, such as its image, on a separate thread."""

from __future__ import annotations

import array
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import Point, Quaternion, Vector3
from geometry_msgs.msg import Pose as PoseMessage
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from spatial_vlm_ros.geometry.camera import normalised_axes, rectify
from spatial_vlm_ros.geometry.rotation import quaternion_xyzw_from_matrix
from spatial_vlm_ros.nodes import messages
from spatial_vlm_ros.nodes.messages import time_of
from spatial_vlm_ros.nodes.perception.request_queue import RequestOutcome
from spatial_vlm_ros.output import drawing
from spatial_vlm_ros.output.annotated_image import content_from, draw
from spatial_vlm_ros.output.answer_content import AnswerContent, ShownRegion, in_camera
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.types import RgbdFrame

MOST_IMAGES = 5  # images that wait to be drawn; older ones are dropped


# Builds what RViz and Foxglove show of an answer: depth as a point cloud, and where its relation holds.
#
# `markers` has the target, places and hidden regions; these two take longer to build, and are built only if they have
# a subscriber.

_MOST = 160_000  # points in a cloud: 2.5 MB
_THICK = 0.001  # metres: thickness of the region's squares
_LIFT = 0.003  # metres by which they lie above the surface
_POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4")])
_HOLDS, _UNCLEAR = 0.6, 0.3  # opacity of squares
_SIDES = (0.7, 0.35)  # side of a square divided by their spacing: if the relation holds, if unclear


def points_message(frame: RgbdFrame) -> PointCloud2:
    """The frame's measured depth as a coloured point cloud in the camera's optical frame.

    Returns:
        x, y, z (float32, metres) and rgb (0xRRGGBB packed in a float32, as in PCL); at most 160,000 points.
    """
    frame = rectify(frame)
    every = int(np.ceil(np.sqrt(frame.depth.size / _MOST)))
    z = frame.depth[::every, ::every]
    known = np.isfinite(z)
    xs, ys = (axis[::every] for axis in normalised_axes(frame.camera))
    red, green, blue = np.moveaxis(frame.rgb[::every, ::every].astype(np.uint32), 2, 0)
    points = np.empty(int(known.sum()), _POINT)
    points["x"], points["y"], points["z"] = (xs * z)[known], (ys[:, None] * z)[known], z[known]
    points["rgb"] = (red << 16 | green << 8 | blue)[known]
    return PointCloud2(
        header=Header(stamp=time_of(frame.stamp_ns), frame_id=frame.frame_id),
        height=1,
        width=len(points),
        fields=[
            PointField(name=name, offset=4 * number, datatype=PointField.FLOAT32, count=1)
            for number, name in enumerate(("x", "y", "z", "rgb"))
        ],
        is_bigendian=False,
        point_step=_POINT.itemsize,
        row_step=_POINT.itemsize * len(points),
        data=array.array("B", points.tobytes()),
        is_dense=True,
    )


def region_message(content: AnswerContent | None) -> MarkerArray:
    """Squares on the surface where the deciding relation holds, smaller squares where it is unclear, and its words.

    Args:
        content: displayed content of the answer; None = nothing to show.

    Returns:
        Markers in the base frame if there is one, otherwise in the camera's frame. The first marker clears the previous
        answer's markers; it is the only one if no region is shown (docs/annotated_image.md says when).
    """
    markers = [Marker(action=Marker.DELETEALL)]
    if content is not None and content.region is not None:
        frame = content.layout.scene.frame
        base = frame.base_T_camera
        frame_id = frame.frame_id if base is None else base.parent
        header = Header(stamp=time_of(frame.stamp_ns), frame_id=frame_id)
        markers = [Marker(header=header, action=Marker.DELETEALL), *_region_markers(header, content, content.region)]
    for number, marker in enumerate(markers):
        marker.id = number
    return MarkerArray(markers=markers)


def _region_markers(header: Header, content: AnswerContent, region: ShownRegion) -> list[Marker]:
    frame, layout = content.layout.scene.frame, content.layout
    base_T_camera = np.eye(4) if frame.base_T_camera is None else frame.base_T_camera.matrix
    side = np.sign(np.linalg.det(layout.axes))  # g1, g2 and up need not be right-handed
    turn = base_T_camera[:3, :3] @ layout.axes * (1.0, side, 1.0)
    origin = in_camera(layout, np.zeros((1, 2)), region.height + _LIFT)[0]
    x, y, z = (base_T_camera[:3, :3] @ origin + base_T_camera[:3, 3]).tolist()
    qx, qy, qz, qw = quaternion_xyzw_from_matrix(turn)
    pose = PoseMessage(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))
    g1, g2 = (np.linspace(a, b, n) for a, b, n in zip(region.low, region.high, region.score.shape, strict=True))
    places = np.stack(np.meshgrid(g1, side * g2, indexing="ij"), axis=2)
    cell = (region.high - region.low) / (np.array(region.score.shape) - 1)
    holds, unclear = region.score >= region.limit, np.abs(region.score) < region.limit
    unclear &= region.score != 0.0  # 0 is "not measured"
    made = [
        _squares(header, pose, places[chosen], part * cell, opacity)
        for chosen, part, opacity in ((holds, _SIDES[0], _HOLDS), (unclear, _SIDES[1], _UNCLEAR))
        if chosen.any()
    ]
    middle = places[holds].mean(axis=0)
    ground = np.array([middle[0], middle[1], 0.04])
    tx, ty, tz = (turn @ ground + np.array([x, y, z])).tolist()
    words = Marker(header=header, ns="region", type=Marker.TEXT_VIEW_FACING, text=region.words)
    words.pose = PoseMessage(position=Point(x=tx, y=ty, z=tz))
    words.scale.z = 0.03
    words.color.r = words.color.g = words.color.b = words.color.a = 1.0
    return [*made, words]


def _squares(
    header: Header, pose: PoseMessage, places: npt.NDArray[np.float64], sides: npt.NDArray[np.float64], opacity: float
) -> Marker:  # fmt: skip
    scale = Vector3(x=float(sides[0]), y=float(sides[1]), z=_THICK)
    squares = Marker(header=header, ns="region", type=Marker.CUBE_LIST, pose=pose, scale=scale)
    squares.color.r, squares.color.g, squares.color.b = (part / 255 for part in drawing.HOLDS)
    squares.color.a = opacity
    squares.points = [Point(x=x, y=y) for x, y in places.tolist()]
    return squares


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
