# SPDX-License-Identifier: Apache-2.0
"""The URDF that robot_state_publisher tells, for a node that needs it before it can go on."""

from __future__ import annotations

import time

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import String

from spatial_vlm_ros.errors import StaleInputError
from spatial_vlm_ros.nodes import qos

TOPIC = "robot_description"
_PATIENCE = 10.0  # s: it is latched, so that only discovery has to be waited for
_STEP = 0.05  # s


def heard_description(node: Node, patience: float = _PATIENCE) -> str:
    """The text of the URDF on the topic robot_description of a node; waits for it, on an executor of its own.

    Args:
        node: whose namespace and remappings count. It need not spin.
        patience: seconds.

    Raises:
        StaleInputError: nobody publishes it within that time.
    """
    topic = node.resolve_topic_name(TOPIC)
    heard: list[String] = []
    # Without the process's arguments: a rule for __node would give it the name of the node that asks.
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
