# SPDX-License-Identifier: Apache-2.0
"""Sets the faults of a running player or simulation, as `ros2 param set` would."""

from __future__ import annotations

from rcl_interfaces.srv import SetParametersAtomically
from rclpy.node import Node
from rclpy.parameter import Parameter

from spatial_vlm_ros.errors import InputError, StaleInputError
from spatial_vlm_ros.nodes.client_node import Spinner
from spatial_vlm_ros.nodes.fault_publishers import FAULTS

FAULTY = ("frame_player", "bag_player", "sim_arm")
"""Nodes that can have faults."""


def set_faults(node: Node, words: str, target: str, patience: float) -> str:
    """Set the parameter `faults` of a node.

    Args:
        words: the faults as text; "" ends all faults.
        target: full name of the node; "" = the running node of `FAULTY`.
        patience: seconds to wait for the node, and for its response.
    """
    spinner = Spinner(node)
    name = f"/{target.lstrip('/')}" if target else _only(node, spinner, patience)
    client = node.create_client(SetParametersAtomically, f"{name}/set_parameters_atomically")
    repair = "start it (spatial-vlm up sim), and check its name, ROS_DOMAIN_ID and --node"
    if not spinner.until(client.service_is_ready, patience):
        raise StaleInputError(f"there was no node {name} within {patience:g} s", repair)
    request = SetParametersAtomically.Request(parameters=[Parameter(FAULTS, value=words).to_parameter_msg()])
    answer = spinner.call(client, request, patience)
    spinner.close()
    if answer is None:
        raise StaleInputError(f"{name} did not answer within {patience:g} s", repair)
    result = answer[0].result
    if not result.successful:
        reason = result.reason or "its parameter faults cannot be set"
        raise InputError(f"faults of {name}", repr(words), "faults that this node supports", reason)
    return name


def _only(node: Node, spinner: Spinner, patience: float) -> str:
    found = set[str]()

    def is_found() -> bool:
        names = node.get_node_names_and_namespaces()
        found.update(f"{space.rstrip('/')}/{name}" for name, space in names if name in FAULTY)
        return bool(found)

    if not spinner.until(is_found, patience):
        repair = "start one (spatial-vlm up sim), check ROS_DOMAIN_ID, or give the node with --node"
        raise StaleInputError(f"none of {', '.join(FAULTY)} is running", repair)
    if len(found) > 1:
        raise InputError("node with faults", ", ".join(sorted(found)), "one", "choose one with --node")
    return found.pop()
