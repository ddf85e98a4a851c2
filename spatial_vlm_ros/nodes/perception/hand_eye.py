# SPDX-License-Identifier: Apache-2.0
"""Listens to a camera, TF and the robot's description for the hand-eye calibration and its check; nothing is moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.client_node import Spinner, client_node
from spatial_vlm_ros.nodes.perception.resolver import form_of, topics_of
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.still_poses import DESCRIPTION


def hear(settings: Settings, add: Callable[[str, Any, int], object], done: Callable[[], bool], seconds: float,
         namespace: str, arguments: list[str]) -> None:  # fmt: skip
    """Pass messages to `add` (role, message, arrival in ns) until `done`, at most for some seconds.

    Args:
        arguments: "--ros-args …" with remappings of the resolver's topics.
    """
    with client_node("spatial_vlm_hand_eye", namespace, arguments) as node:

        def listen(role: str, form: Any, topic: str, profile: Any) -> None:
            def take(message: Any) -> None:
                add(role, message, int(node.get_clock().now().nanoseconds))

            node.create_subscription(form, topic, take, profile)

        listen(DESCRIPTION, String, DESCRIPTION, qos.DESCRIPTION)
        listen(roles.TRANSFORMS, TFMessage, roles.TRANSFORMS, qos.TRANSFORMS)
        listen(roles.STATIC_TRANSFORMS, TFMessage, roles.STATIC_TRANSFORMS, qos.STATIC_TRANSFORMS)
        for role, topic in topics_of(settings).items():
            if role not in (roles.DETECTIONS, roles.IMU):
                listen(role, form_of(role, settings), topic, qos.images())
        spinner = Spinner(node)
        try:
            spinner.until(done, seconds)
        finally:
            spinner.close()
