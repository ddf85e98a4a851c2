# SPDX-License-Identifier: Apache-2.0
"""What a node has in the live graph, as the table of interfaces says it. Not a test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rclpy.node import Node
from waiting import until

from spatial_vlm_ros.launcher.enclaves import interfaces_of

_SERVES, _ASKS = ("publishes", "serves"), ("subscribes", "calls")
_FOUND = {
    "publishes": "get_publisher_names_and_types_by_node", "subscribes": "get_subscriber_names_and_types_by_node",
    "serves": "get_service_names_and_types_by_node", "calls": "get_client_names_and_types_by_node",
}  # fmt: skip


def _parts(kind: str, name: str, form: str) -> Iterator[tuple[str, str, str]]:
    """An action as the topics and services that it consists of."""
    if kind not in ("executes", "sends"):
        yield kind, name, form
        return
    topic, service = _SERVES if kind == "executes" else _ASKS
    yield service, f"{name}/_action/send_goal", f"{form}_SendGoal"
    yield service, f"{name}/_action/get_result", f"{form}_GetResult"
    yield service, f"{name}/_action/cancel_goal", "action_msgs/srv/CancelGoal"
    yield topic, f"{name}/_action/feedback", f"{form}_FeedbackMessage"
    yield topic, f"{name}/_action/status", "action_msgs/msg/GoalStatusArray"


def matches_the_table(node: Node, name: str, given: Mapping[str, Any]) -> None:
    """A node of this name without a namespace has all that the table says, and nothing else."""
    told: dict[tuple[str, str, str], bool] = {}
    for kind, own, form, always in interfaces_of(name, given):
        for part in _parts(kind, f"/{own.replace('~', name).lstrip('/')}", form):
            told[part] = told.get(part, False) or always

    def wrong() -> list[Any]:
        has = {
            (kind, each, form)
            for kind, ask in _FOUND.items()
            for each, forms in getattr(node, ask)(name, "/")
            for form in forms
        }
        missing = [part for part, always in told.items() if always and part not in has]
        return missing + [part for part in has - {*told} if (part[0], "/*", "any") not in told]

    until(lambda: (name, "/") in node.get_node_names_and_namespaces(), f"{name} is in the graph")
    until(lambda: not wrong(), lambda: f"{name} has what the table says, apart from {wrong()}")
