# SPDX-License-Identifier: Apache-2.0
"""Waits for the URDF from robot_state_publisher, for a node that cannot continue without it."""

from __future__ import annotations

import time

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import String

from spatial_vlm_ros.errors import StaleInputError
from spatial_vlm_ros.nodes import qos

TOPIC = "robot_description"
_PATIENCE = 10.0  # s: it is latched, so only discovery takes time
_STEP = 0.05  # s


def heard_description(node: Node, patience: float = _PATIENCE) -> str:
    """Wait for a node's robot_description topic, on a separate executor, and return the text of the URDF.

    Args:
        patience: seconds.
    """
    topic = node.resolve_topic_name(TOPIC)
    heard: list[String] = []
    # Without the process's arguments: a remapping of __node would give it the name of the calling node.
    beside = rclpy.create_node(
        f"{node.get_name()}_description",
        context=node.context,
        use_global_arguments=False,
        start_parameter_services=False,
    )
    executor = SingleThreadedExecutor(context=node.context)
    try:
        beside.create_subscription(String, topic, heard.append, qos.DESCRIPTION)
        executor.add_node(beside)
        end = time.monotonic() + patience
        while not heard and time.monotonic() < end:
            executor.spin_once(timeout_sec=_STEP)
    finally:
        executor.shutdown(timeout_sec=1.0)
        beside.destroy_node()
    if not heard:
        repair = (
            "start robot_state_publisher first, or set robot_description to the URDF file of the robot; if the "
            "camera never sees the robot, set it to / or leave it empty"
        )
        raise StaleInputError(f"there was no message on {topic} within {patience:g} s", repair)
    return str(heard[-1].data)
