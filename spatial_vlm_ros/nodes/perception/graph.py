# SPDX-License-Identifier: Apache-2.0
"""Finds duplicates in the ROS graph around a resolver."""

from __future__ import annotations

from collections.abc import Iterable

from rclpy.node import Node

from spatial_vlm_ros.streams.twins import Twin, full_name, twins_of


def twins_around(node: Node, topics: Iterable[str], own: str) -> list[Twin]:
    """Publishers, servers and nodes that exist twice although there should be one."""
    action = f"{own.rpartition('/')[0]}/resolve"
    publishers = {topic: publishers_of(node, topic) for topic in topics}
    servers = {action: publishers_of(node, f"{action}/_action/status")}
    return twins_of(publishers, servers, nodes_of(node), own)


def publishers_of(node: Node, topic: str) -> list[str]:
    """Full names of the nodes that publish a topic, one entry for each publisher."""
    return [full_name(info.node_namespace, info.node_name) for info in node.get_publishers_info_by_topic(topic)]


def nodes_of(node: Node) -> list[str]:
    """Full names of all nodes, one entry for each."""
    return [full_name(namespace, name) for name, namespace in node.get_node_names_and_namespaces()]
