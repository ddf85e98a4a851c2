# SPDX-License-Identifier: Apache-2.0
"""Sets the faults of a running player or simulation, as `ros2 param set` would."""

from __future__ import annotations

import time
from typing import Any

import rclpy
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.node import Node
from rclpy.parameter import Parameter

from spatial_vlm_ros.errors import InputError, StaleInputError
from spatial_vlm_ros.nodes.fault_publishers import FAULTS
from spatial_vlm_ros.nodes.interrupts import interrupted_afterwards

FAULTY = ("frame_player", "bag_player", "sim_arm")
"""Nodes that can have faults."""
_STEP = 0.05  # s between two looks


def set_faults(node: Node, words: str, target: str, patience: float) -> str:
    """Set the parameter `faults` of a node.

    Args:
        words: the faults as text; "" ends all faults.
        target: full name of the node; "" = the running node of `FAULTY`.
        patience: seconds to wait for the node, and for its response.
    """
    name = f"/{target.lstrip('/')}" if target else _only(node, patience)
    client = node.create_client(SetParametersAtomically, f"{name}/set_parameters_atomically")
    repair = "start it (spatial-vlm up sim), and check its name, ROS_DOMAIN_ID and --node"
    if not client.wait_for_service(patience):
        raise StaleInputError(f"there was no node {name} within {patience:g} s", repair)
    request = SetParametersAtomically.Request(parameters=[Parameter(FAULTS, value=words).to_parameter_msg()])
    response = _response(node, client, request, patience)
    if response is None:
        raise StaleInputError(f"{name} did not answer within {patience:g} s", repair)
    if not response.result.successful:
        reason = response.result.reason or "its parameter faults cannot be set"
        raise InputError(f"faults of {name}", repr(words), "faults that this node supports", reason)
    return name


def _response(node: Node, client: Any, request: Any, patience: float) -> Any:
    """The response, or None. Repeats the request: a server that does not know its client yet drops the response."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        future = client.call_async(request)
        with interrupted_afterwards():
            rclpy.spin_until_future_complete(node, future, timeout_sec=min(1.0, patience))
        if future.done():
            return future.result()
        client.remove_pending_request(future)
    return None


def _only(node: Node, patience: float) -> str:
    end, found = time.monotonic() + patience, set[str]()
    while not found and time.monotonic() < end:
        with interrupted_afterwards():
            rclpy.spin_once(node, timeout_sec=_STEP)
        names = node.get_node_names_and_namespaces()
        found = {f"{space.rstrip('/')}/{name}" for name, space in names if name in FAULTY}
    if not found:
        repair = "start one (spatial-vlm up sim), check ROS_DOMAIN_ID, or give the node with --node"
        raise StaleInputError(f"none of {', '.join(FAULTY)} is running", repair)
    if len(found) > 1:
        raise InputError("node with faults", ", ".join(sorted(found)), "one", "choose one with --node")
    return found.pop()
