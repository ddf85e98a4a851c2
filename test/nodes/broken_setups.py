# SPDX-License-Identifier: Apache-2.0
"""What is done to cameras, transforms, QoS, clocks, detections and twins so that they do not work. Not a test."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from live_graph import Graph
from live_scene import DETECTIONS, FRAME
from rclpy.context import Context
from sensor_msgs.msg import CompressedImage

from spatial_vlm_ros.nodes import messages, qos
from spatial_vlm_ros.nodes.perception.resolver import ResolverNode
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import SECOND
from spatial_vlm_ros.types import PinholeCamera, Transform

Parts = dict[str, Any]
STAMPED = (roles.RGB, roles.DEPTH, roles.RGB_INFO, roles.DETECTIONS)
POSE = FRAME.base_T_camera


class Setup:
    """One graph with a camera. What a row names is done by the method of that name, to the messages of a frame."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.kept: Parts = {}
        self.is_moving = False  # the camera's pose comes with each frame
        self.made: list[Any] = []

    def does(self, words: str, parts: Parts) -> None:
        name, *given = words.split()
        getattr(self, name)(parts, *given)

    def nothing(self, parts: Parts) -> None: ...

    def dropped(self, parts: Parts, role: str) -> None:
        parts.pop(role)

    def elsewhere(self, parts: Parts) -> None:
        parts["camera/color/image_raw"] = parts.pop(roles.RGB)

    def shifted(self, parts: Parts, seconds: str, *only: str) -> None:
        for role in only or STAMPED:
            header = parts[role].header
            stamp_ns = max(0, roles.stamp_of(parts[role]) + int(float(seconds) * SECOND))
            parts[role].header = type(header)(stamp=messages.time_of(stamp_ns), frame_id=header.frame_id)

    def unstamped(self, parts: Parts) -> None:
        self.shifted(parts, "-4e9")

    def headed(self, parts: Parts, role: str, frame_id: str = "") -> None:
        parts[role].header = self.graph.camera.composer.header(roles.stamp_of(parts[role]), frame_id)

    def stuck(self, parts: Parts) -> None:
        self.kept = self.kept or dict(parts)
        parts.update(self.kept)

    def encoding(self, parts: Parts, name: str) -> None:
        parts[roles.RGB].encoding = name

    def compressed(self, parts: Parts) -> None:
        parts[roles.RGB] = CompressedImage(header=parts[roles.RGB].header, format="jpeg")

    def _depth(self, parts: Parts, image: Any) -> None:
        composer = self.graph.camera.composer
        parts[roles.DEPTH] = composer.image_depth(np.ascontiguousarray(image), parts[roles.DEPTH].header)

    def half_depth(self, parts: Parts) -> None:
        self._depth(parts, FRAME.depth[::2, ::2])

    def empty_depth(self, parts: Parts) -> None:
        self._depth(parts, np.zeros_like(FRAME.depth))

    def uncalibrated(self, parts: Parts) -> None:
        parts[roles.RGB_INFO].k = np.zeros(9)
        parts[roles.RGB_INFO].p = np.zeros(12)

    def info_of_half(self, parts: Parts) -> None:
        half = PinholeCamera(np.array([[305.0, 0, 160], [0, 305, 120], [0, 0, 1]]), 320, 240)
        parts[roles.RGB_INFO] = self.graph.camera.composer.camera_info(half, parts[roles.RGB].header)

    def detections_size(self, parts: Parts) -> None:
        parts[roles.DETECTIONS].image_width //= 2

    def mask_outside(self, parts: Parts) -> None:
        parts[roles.DETECTIONS].detections[0].mask_x = 639

    def static(self, _: Parts, pose: Transform = POSE) -> None:
        self.graph.camera.tf(pose, static=True)

    def moving(self, _: Parts) -> None:
        self.is_moving = True

    def stopped(self, _: Parts) -> None:
        self.is_moving = False

    def on_the_tool(self, parts: Parts) -> None:
        self.static(parts, Transform("tool", FRAME.frame_id, POSE.matrix))

    def tool_in_the_world(self, parts: Parts) -> None:
        self.static(parts, Transform("world", "tool", np.eye(4)))

    def no_rotation(self, _: Parts) -> None:
        composer = self.graph.camera.composer
        message = composer.tf_message([composer.transform_stamped(POSE, 0)])
        message.transforms[0].transform.rotation.w = 7.0
        self.graph.camera.publish("/tf_static", message, qos.STATIC_TRANSFORMS)

    def own_time(self, parts: Parts) -> None:
        self.graph.use(use_sim_time=False)
        self.static(parts)

    def new_publisher(self, _: Parts, role: str) -> None:
        self.graph.remove(self.graph.camera._publishers.pop(role))

    def best_effort(self, parts: Parts) -> None:
        self.static(parts)
        depth = self.graph.camera.parts(FRAME, DETECTIONS, self.graph.camera.now())[roles.DEPTH]
        self.graph.camera.publish(roles.DEPTH, depth, qos.images("best_effort"))

    def _beside(self, make: Callable[[Context], Any]) -> Any:
        context = Context()
        rclpy.init(context=context, domain_id=self.graph.domain)
        self.made += [make(context), context]
        return self.made[0]

    def second_camera(self, parts: Parts) -> None:
        if not self.made:
            node = self._beside(lambda context: rclpy.create_node("second_camera", context=context))
            node.create_publisher(type(parts[roles.RGB]), roles.RGB, qos.images("reliable"))

    def second_resolver(self, parts: Parts) -> None:
        self.static(parts)
        self._beside(lambda context: ResolverNode(context=context))

    def gone(self, _: Parts) -> None:
        node, context = self.made
        if hasattr(node, "stop"):
            node.stop()
        node.destroy_node()
        rclpy.try_shutdown(context=context)
        self.made.clear()
        del node, context
        gc.collect()  # what DDS holds goes with the last reference
