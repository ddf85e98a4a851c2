# SPDX-License-Identifier: Apache-2.0
"""Hears everything that a camera, its transforms and its clock publish. Not a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from live_graph import Graph, clock_of
from sensor_msgs.msg import CameraInfo, Image
from spatial_vlm_interfaces.msg import DetectionArray
from tf2_msgs.msg import TFMessage

from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.decoding import detections_of
from spatial_vlm_ros.streams.frame_assembler import stamp_of
from spatial_vlm_ros.streams.image import camera_of, decode_depth, decode_rgb
from spatial_vlm_ros.types import Detection, RgbdFrame

FORMS = {roles.RGB_INFO: CameraInfo, roles.RGB: Image, roles.DEPTH: Image, roles.DETECTIONS: DetectionArray}


class Ears:
    """Messages by topic, in the order in which they came, and when; frames are of the roles that are not left out."""

    def __init__(self, graph: Graph, *left_out: str) -> None:
        self.graph = graph
        self._roles = [role for role in FORMS if role not in left_out]
        self.heard: dict[str, list[Any]] = {topic: [] for topic in (*FORMS, "/tf")}
        self.arrived: dict[str, list[int]] = {topic: [] for topic in self.heard}
        self.static: list[TFMessage] = []
        self.ticks = clock_of(graph.node)
        for role, form in FORMS.items():
            graph.node.create_subscription(form, role, self._taker(role), qos.images("reliable"))
        graph.node.create_subscription(TFMessage, "/tf", self._taker("/tf"), qos.TRANSFORMS)
        graph.node.create_subscription(TFMessage, "/tf_static", self.static.append, qos.STATIC_TRANSFORMS)

    def _taker(self, topic: str) -> Callable[[Any], None]:
        def take(message: Any) -> None:
            self.arrived[topic].append(self.graph.camera.now())
            self.heard[topic].append(message)

        return take

    def next(self, topic: str, count: int = 3) -> list[Any]:
        """That many messages from now on."""
        begun = len(self.heard[topic])
        self.graph.until(lambda: len(self.heard[topic]) >= begun + count, f"{topic} comes {count} times")
        return self.heard[topic][begun:]

    @property
    def stamps(self) -> list[int]:
        """Of the frames that are there as a whole, in order."""
        return sorted(set.intersection(*({stamp_of(m) for m in list(self.heard[role])} for role in self._roles)))

    def until(self, count: int, after_ns: int = 0) -> list[int]:
        """Stamps of that many whole frames stamped later."""
        self.graph.until(lambda: len([s for s in self.stamps if s > after_ns]) >= count, f"{count} frames are there")
        return [stamp for stamp in self.stamps if stamp > after_ns]

    def message(self, role: str, stamp_ns: int) -> Any:
        return next(m for m in self.heard[role] if stamp_of(m) == stamp_ns)

    def frame(self, stamp_ns: int) -> tuple[RgbdFrame, tuple[Detection, ...]]:
        info, rgb, depth, found = (self.message(role, stamp_ns) for role in FORMS)
        assert info.header == rgb.header == depth.header == found.header
        camera = camera_of(info, False)
        frame = RgbdFrame(decode_rgb(rgb), decode_depth(depth), camera, stamp_ns, rgb.header.frame_id)
        return frame, detections_of(found, camera.width, camera.height)
