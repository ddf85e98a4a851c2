# SPDX-License-Identifier: Apache-2.0
"""Find duplicate publishers and nodes: two drivers on one topic, two resolvers with one name.

Uses names only. The caller watches the ROS graph; the node's health and the doctor share the findings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Twin:
    """Something that must exist once but exists more than once."""

    where: str
    who: tuple[str, ...]  # full names of the nodes, sorted; a name is repeated as often as it occurs
    found: str
    repair: str


def twins_of(
    publishers: Mapping[str, Sequence[str]], servers: Mapping[str, Sequence[str]], nodes: Iterable[str], own: str
) -> list[Twin]:
    """Find everything that exists twice but should exist once: topics, then actions, then the name of the resolver.

    Two publishers of one topic in the same node are found, too.

    Args:
        publishers: topic → full name of the node of each publisher, for topics with one publisher: images, camera info,
            detections. Not /tf, which many nodes publish. One entry for each publisher in
            `Node.get_publishers_info_by_topic`: `full_name(info.node_namespace, info.node_name)`.
        nodes: full names of all nodes, one entry for each in `Node.get_node_names_and_namespaces`.
    """
    found = []
    for what, each, effect, repair in (
        ("publishers on", publishers, "their messages are mixed", "remap the resolver to one"),
        ("servers of", servers, "a goal reaches all of them", "start each in its own namespace"),
    ):
        for where, who in each.items():
            if len(who) > 1:
                counts = sorted(Counter(who).items())
                listed = ", ".join(name if count == 1 else f"{name} ({count} times)" for name, count in counts)
                words = f"there are {len(who)} {what} {where}: {listed}; {effect}"
                found.append(Twin(where, tuple(sorted(who)), words, f"stop all but one, or {repair}"))
    same = Counter(nodes)[own]
    if same > 1:
        words = f"{same} nodes are named {own}; parameters, lifecycle calls and goals can reach any of them"
        repair = "stop all but one, or start each in its own namespace (namespace:=NAME)"
        found.append(Twin(own, (own,) * same, words, repair))
    return found


def full_name(namespace: str, name: str) -> str:
    """Full name of a node from its namespace, such as "/" or "/left", and its name."""
    return f"{namespace.rstrip('/')}/{name}"
