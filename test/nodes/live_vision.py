# SPDX-License-Identifier: Apache-2.0
"""Detections as a detector of vision_msgs sends them, and the service that chooses one. Not a test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from live_graph import DEADLINE, Graph
from spatial_vlm_interfaces.srv import SelectDetection
from vision_msgs.msg import Detection2DArray

from spatial_vlm_ros.nodes import messages
from spatial_vlm_ros.types import Detection, RgbdFrame


def detections_2d(found: Sequence[Detection], header: Any, with_ids: bool = True) -> Detection2DArray:
    """Boxes, labels and scores; vision_msgs has no masks."""
    message = messages.composer().detection_2d_array(found, header)
    for entry in message.detections:
        entry.id = entry.id if with_ids else ""
    return message


class Caller:
    """Calls select_detection as a stack with a detector of its own would."""

    def __init__(self, graph: Graph, frame: RgbdFrame) -> None:
        self.graph, self.frame = graph, frame
        self.client = graph.node.create_client(SelectDetection, "select_detection")
        graph.until(self.client.service_is_ready, "select_detection is there")
        resolver, name = graph.resolver, graph.node.resolve_service_name("select_detection")
        assert resolver is not None
        graph.until(lambda: resolver.count_clients(name), "select_detection knows its client")

    def image(self) -> int:
        """Send one image with its depth until the resolver has it; best effort may lose one. Its stamp."""
        stamp_ns = self.graph.camera.now()
        self.send_until(lambda: self.is_kept(stamp_ns), "the picture is kept", stamp_ns)
        return stamp_ns

    def is_kept(self, stamp_ns: int) -> bool:
        resolver = self.graph.resolver
        assert resolver is not None
        assert resolver._queue is not None
        assert resolver._queue.recent is not None
        return any(match.stamp_ns == stamp_ns for match in tuple(resolver._queue.recent._matched))

    def send_until(self, condition: Callable[[], bool], what: str, stamp_ns: int) -> None:
        """Send an image of this stamp, without detections, again and again."""
        end, gate = time.monotonic() + DEADLINE, threading.Event()
        parts = self.graph.camera.parts(self.frame, (), stamp_ns)
        del parts["detections"]
        while not condition():
            if time.monotonic() > end:
                pytest.fail(f"sent a picture for {DEADLINE:.0f} s in vain until {what}")
            self.graph.camera.send(parts)
            gate.wait(0.05)

    def header(self, stamp_ns: int, frame_id: str | None = None) -> Any:
        return self.graph.camera.composer.header(stamp_ns, self.frame.frame_id if frame_id is None else frame_id)

    def begin(self, instruction: str, detections: Detection2DArray, **words: str) -> Any:
        request = SelectDetection.Request(instruction=instruction, detections=detections, **words)
        return self.graph.asked(lambda: self.client.call_async(request))

    def ask(self, instruction: str, detections: Detection2DArray, **words: str) -> SelectDetection.Response:
        response = self.begin(instruction, detections, **words)
        self.graph.until(response.done, "there is a response")
        return response.result()

    def ask_on_image(
        self, instruction: str, found: Sequence[Detection], with_ids: bool = True, **words: str
    ) -> SelectDetection.Response:
        """Send an image, then what was found in it."""
        header = self.header(self.image())
        return self.ask(instruction, detections_2d(found, header, with_ids), **words)
