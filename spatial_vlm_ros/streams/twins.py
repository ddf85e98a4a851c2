# SPDX-License-Identifier: Apache-2.0
"""Find duplicate servers and nodes: two resolvers with one name.

Uses names only. The caller watches the ROS graph; the node's health and the doctor share the findings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Twin:
    """Something that must exist once but exists more than once."""

    where: str
    who: tuple[str, ...]  # full names of the nodes, sorted; a name is repeated as often as it occurs
    found: str
    repair: str


def twins_of(action: str, servers: Sequence[str], nodes: Iterable[str], own: str) -> list[Twin]:
    """Find what exists twice but should exist once: servers of an action, then the name of the resolver.

    Args:
        servers: full name of the node of each.
        nodes: full names of all nodes, one entry for each in `Node.get_node_names_and_namespaces`.
    """
    found = []
    if len(servers) > 1:
        words = f"there are {len(servers)} servers of {action}: {counted(servers)}; a goal reaches all of them"
        repair = "stop all but one, or start each in its own namespace"
        found.append(Twin(action, tuple(sorted(servers)), words, repair))
    same = Counter(nodes)[own]
    if same > 1:
        words = f"{same} nodes are named {own}; parameters, lifecycle calls and goals can reach any of them"
        repair = "stop all but one, or start each in its own namespace (namespace:=NAME)"
        found.append(Twin(own, (own,) * same, words, repair))
    return found


def counted(names: Iterable[str]) -> str:
    """The names as text, each once."""
    counts = sorted(Counter(names).items())
    return ", ".join(name if count == 1 else f"{name} ({count} times)" for name, count in counts)


def full_name(namespace: str, name: str) -> str:
    """Full name of a node from its namespace, such as "/" or "/left", and its name."""
    return f"{namespace.rstrip('/')}/{name}"
