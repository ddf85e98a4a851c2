# SPDX-License-Identifier: Apache-2.0
"""Reads the parts of a semantic robot description (SRDF) that a planner needs.

Source: the format of srdfdom, wiki.ros.org/srdf. Virtual joints, passive joints and spheres are not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spatial_vlm_ros.errors import RobotDescriptionError
from spatial_vlm_ros.files.documents import parse_xml, read_xml

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_SRDF = "pass the SRDF of this robot: the file .srdf of its MoveIt configuration, expanded from xacro"


@dataclass(frozen=True)
class JointGroup:
    """A group: names in its `<joint>`, `<link>`, `<chain>` and `<group>` elements, chains as (base, tip) links."""

    joints: tuple[str, ...]
    links: tuple[str, ...]
    chains: tuple[tuple[str, str], ...]
    groups: tuple[str, ...]


@dataclass(frozen=True)
class EndEffector:
    """An end effector: its parent link, and the group of its joints."""

    parent_link: str
    group: str


@dataclass(frozen=True)
class SemanticDescription:
    """The content of an SRDF.

    Args:
        states: named postures, (name, group) → position by joint.
        bare: links that are not checked against any other link, except the pairs in `enabled`.
    """

    name: str
    groups: Mapping[str, JointGroup]
    end_effectors: Mapping[str, EndEffector]
    states: Mapping[tuple[str, str], Mapping[str, float]]
    disabled: frozenset[frozenset[str]]
    bare: frozenset[str] = frozenset()
    enabled: frozenset[frozenset[str]] = frozenset()

    def never(self, one: str, other: str) -> bool:
        """Whether two links are never checked for collisions."""
        pair = frozenset((one, other))
        return pair in self.disabled or (bool(self.bare & pair) and pair not in self.enabled)

    def group(self, name: str) -> JointGroup:
        """Find a group by name."""
        if name not in self.groups:
            known = ", ".join(sorted(self.groups)) or "none"
            raise RobotDescriptionError("group", repr(name), f"one of the SRDF's groups: {known}")
        return self.groups[name]

    def posture(self, group: str, joints: Sequence[str]) -> Mapping[str, float] | None:
        """A named posture with all joints: "home", "ready" or "default", otherwise the first; None if there is none."""
        whole = [(name, values) for (name, _), values in self.states.items() if set(joints) <= set(values)]
        own = {name: self.states[name, group] for name, _ in whole if (name, group) in self.states}
        found = {**dict(reversed(whole)), **own}
        for name in ("home", "ready", "default"):
            if name in found:
                return found[name]
        return next(iter(found.values()), None)


def read_srdf(source: str | Path) -> SemanticDescription:
    """Read an SRDF."""
    text = str(source)
    root = parse_xml(text.encode(), "SRDF", _SRDF) if "<" in text else read_xml(Path(text).expanduser(), _SRDF)
    if root.tag != "robot" or root.find("link") is not None or any("xacro" in str(e.tag) for e in root.iter()):
        raise RobotDescriptionError("SRDF", f"<{root.tag}> of another format", "an SRDF", _SRDF)
    groups: dict[str, JointGroup] = {}
    for each in root.findall("group"):
        joints, links, inner = (
            tuple(part.get("name", "") for part in each.findall(tag)) for tag in ("joint", "link", "group")
        )
        chains = tuple((chain.get("base_link", ""), chain.get("tip_link", "")) for chain in each.findall("chain"))
        groups[each.get("name", "")] = JointGroup(joints, links, chains, inner)
    states: dict[tuple[str, str], dict[str, float]] = {}
    for each in root.findall("group_state"):
        state: dict[str, float] = {}
        for joint in each.findall("joint"):
            try:
                values = [float(word) for word in joint.get("value", "").split()]
            except ValueError as error:
                what = f"group_state {each.get('name')!r} of the SRDF"
                raise RobotDescriptionError(what, joint.get("value", ""), "numbers") from error
            if len(values) == 1:  # joints with several axes are not part of an arm
                state[joint.get("name", "")] = values[0]
        states[each.get("name", ""), each.get("group", "")] = state
    return SemanticDescription(
        name=root.get("name", ""),
        groups=groups,
        end_effectors={
            each.get("name", ""): EndEffector(each.get("parent_link", ""), each.get("group", ""))
            for each in root.findall("end_effector")
        },
        states=states,
        disabled=_pairs(root, "disable_collisions"),
        bare=frozenset(each.get("link", "") for each in root.findall("disable_default_collisions")),
        enabled=_pairs(root, "enable_collisions"),
    )


def _pairs(root: Element, tag: str) -> frozenset[frozenset[str]]:
    return frozenset(frozenset((each.get("link1", ""), each.get("link2", ""))) for each in root.findall(tag))
