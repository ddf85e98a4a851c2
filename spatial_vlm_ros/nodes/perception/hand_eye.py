# SPDX-License-Identifier: Apache-2.0
"""Listens to a camera and TF for the hand-eye calibration, and for its check. Nothing is moved."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tf2_msgs.msg import TFMessage

from spatial_vlm_ros.errors import StaleInputError
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.client_node import Spinner, client_node, heard_description
from spatial_vlm_ros.nodes.perception.resolver import form_of, topics_of
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.streams import frame_assembler as roles

_PATIENCE = 3.0  # s for a description, which is latched


def description(namespace: str, arguments: list[str]) -> str:
    """The text of the URDF from the topic robot_description; "" without one."""
    with client_node("spatial_vlm_hand_eye", namespace, arguments) as node:
        try:
            return heard_description(node, _PATIENCE)
        except StaleInputError:
            return ""


def hear(settings: Settings, wanted: Iterable[str], add: Callable[[str, Any, int], object], done: Callable[[], bool],
         seconds: float, namespace: str, arguments: list[str]) -> None:  # fmt: skip
    """Pass the messages of some roles, and TF, to `add` (role, message, arrival in ns) until `done`.

    Args:
        seconds: longest time.
        arguments: "--ros-args …" with remappings of the resolver's topics.
    """
    with client_node("spatial_vlm_hand_eye", namespace, arguments) as node:

        def listen(role: str, form: Any, topic: str, profile: Any) -> None:
            def take(message: Any) -> None:
                add(role, message, int(node.get_clock().now().nanoseconds))

            node.create_subscription(form, topic, take, profile)

        topics = topics_of(settings)
        for role in wanted:
            listen(role, form_of(role, settings), topics[role], qos.images())
        listen(roles.TRANSFORMS, TFMessage, roles.TRANSFORMS, qos.TRANSFORMS)
        listen(roles.STATIC_TRANSFORMS, TFMessage, roles.STATIC_TRANSFORMS, qos.STATIC_TRANSFORMS)
        spinner = Spinner(node)
        try:
            spinner.until(done, seconds)
        finally:
            spinner.close()
