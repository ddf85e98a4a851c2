# SPDX-License-Identifier: Apache-2.0
"""Reads an arm from its URDF, its SRDF and MoveIt's joint_limits.yaml: its chain, its fingers and their limits.

Source of the SRDF's format: srdfdom, wiki.ros.org/srdf. Virtual joints, passive joints and spheres are not read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spatial_vlm_ros.errors import RobotDescriptionError
from spatial_vlm_ros.files.documents import parse_xml, read_xml, read_yaml
from spatial_vlm_ros.manipulation.builtin_planner.request import Floats

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MOVING = ("revolute", "continuous", "prismatic")
_SAME = "pass the SRDF that belongs to this URDF"


@dataclass(frozen=True)
class TreeJoint:
    """A joint of a URDF.

    Args:
        lower, upper: position limits, radians or metres; None = not given.
        velocity: maximum, radians or metres per second; None = not given.
        mimics: (joint that it follows, multiplier, offset); None = independent.
    """

    name: str
    kind: str
    parent: str
    child: str
    lower: float | None
    upper: float | None
    velocity: float | None
    mimics: tuple[str, float, float] | None

    @property
    def moves(self) -> bool:
        """Whether it moves along or about one axis."""
        return self.kind in MOVING


class JointTree:
    """The joints of a URDF."""

    def __init__(self, root: Element) -> None:
        self.name = root.get("name", "")
        self.links = {str(link.get("name")) for link in root.findall("link")}
        self.joints = {joint.name: joint for joint in map(_joint, root.findall("joint"))}
        self._above = {joint.child: joint for joint in self.joints.values()}

    def above(self, link: str) -> tuple[TreeJoint, ...]:
        """Joints between a link and the root, nearest first."""
        found: list[TreeJoint] = []
        while link in self._above and len(found) <= len(self.joints):
            found.append(self._above[link])
            link = self._above[link].parent
        return tuple(found)

    def below(self, link: str) -> frozenset[str]:
        """A link and all its descendants."""
        return frozenset(name for name in self.links if name == link or link in {j.parent for j in self.above(name)})

    def chain(self, srdf: SemanticDescription, group: str) -> tuple[TreeJoint, ...]:
        """Moving joints of an arm's group, from base to tip."""
        joints = [joint for joint in self.members(srdf, group) if joint.moves and joint.mimics is None]
        joints.sort(key=lambda joint: len(self.above(joint.child)))
        what = f"group {group!r}"
        if not joints:
            raise RobotDescriptionError(what, "no moving joint", "the joints of the arm", "name the arm's group")
        way = self.above(joints[-1].child)
        inside = way[: way.index(joints[0]) + 1] if joints[0] in way else ()
        for joint in (*self.members(srdf, group), *inside):  # another kind would be planned as if at zero
            if joint.kind not in (*MOVING, "fixed"):
                repair = "change its type in the URDF, or name a group of the SRDF without it"
                expected = f"{', '.join(MOVING)} or fixed"
                raise RobotDescriptionError(f"joint {joint.name!r} of {what}", f"type {joint.kind!r}", expected, repair)
        moving = [joint for joint in reversed(way) if joint.moves]
        moving = moving[next(k for k, joint in enumerate(moving) if joint in joints) :]
        if moving != joints:
            beside = [j.name for j in joints if j not in moving] or [j.name for j in moving if j not in joints]
            got = f"{', '.join(beside)} beside the chain from {joints[0].name} to {joints[-1].name}"
            repair = "name a group of one arm without its gripper: each joint on the child link of the one before"
            raise RobotDescriptionError(what, got, "one serial chain", repair)
        return tuple(joints)

    def fingers(self, srdf: SemanticDescription, group: str) -> tuple[TreeJoint, ...]:
        """Joints that open and close a gripper: the moving joints of its group, and their mimic joints."""
        own = [joint for joint in self.members(srdf, group) if joint.moves]
        names = {joint.name for joint in own}
        for joint in self.joints.values():
            if joint.mimics is not None and joint.mimics[0] in names and joint.name not in names:
                own.append(joint)
        for joint in self.joints.values():
            beside = joint.mimics is not None and joint.parent in {each.parent for each in own}
            if beside and joint.mimics is not None and joint.mimics[0] not in self.joints:
                got = f"a mimic of {joint.mimics[0]!r}, which the URDF lacks"
                repair = "fix its <mimic>: without it the planner would see only one finger"
                raise RobotDescriptionError(f"joint {joint.name!r}", got, "a joint of the URDF", repair)
        if not [joint for joint in own if joint.mimics is None]:
            repair = "name the group of the gripper's joints (an end effector of the SRDF, or a group) in end_effector"
            raise RobotDescriptionError(f"end effector {group!r}", "no moving finger", "a parallel gripper", repair)
        return tuple(own)

    def members(self, srdf: SemanticDescription, group: str, seen: Sequence[str] = ()) -> tuple[TreeJoint, ...]:
        """All joints of a group, including fixed ones, without duplicates."""
        said = srdf.group(group)
        found: dict[str, TreeJoint] = {}
        for name in said.joints:
            if name not in self.joints:
                raise self._strange(srdf, "joint", name)
            found[name] = self.joints[name]
        for name in (*said.links, *(link for chain in said.chains for link in chain)):
            if name not in self.links:
                raise self._strange(srdf, "link", name)
        for name in said.links:
            if name in self._above:
                found[self._above[name].name] = self._above[name]
        for base, tip in said.chains:
            way = self.above(tip)
            ends = [k for k, joint in enumerate(way) if joint.parent == base]
            if not ends:
                got, repair = f"chain from {base} to {tip}", "fix the chain in the SRDF"
                raise RobotDescriptionError(f"group {group!r}", got, "a tip that is connected to the base", repair)
            found.update({joint.name: joint for joint in way[: ends[0] + 1]})
        for name in said.groups:
            if name not in (*seen, group):
                found.update({joint.name: joint for joint in self.members(srdf, name, (*seen, group))})
        return tuple(found.values())

    def check_same(self, srdf: SemanticDescription) -> None:
        """Check that the SRDF belongs to this robot."""
        if srdf.name != self.name:
            raise RobotDescriptionError("SRDF", f"robot {srdf.name!r}", f"robot {self.name!r} of the URDF", _SAME)

    def _strange(self, srdf: SemanticDescription, kind: str, name: str) -> RobotDescriptionError:
        got = f"{kind} {name!r}, which robot {self.name!r} lacks"
        return RobotDescriptionError(f"SRDF of robot {srdf.name!r}", got, f"{kind}s of the URDF", _SAME)


def _joint(element: Element) -> TreeJoint:
    name = str(element.get("name"))
    ends = [element.find(end) for end in ("parent", "child")]
    if any(end is None for end in ends):
        raise RobotDescriptionError(f"joint {name!r} of the URDF", "no parent or child", "both", "check the URDF")
    parent, child = (str(end.get("link")) for end in ends if end is not None)
    limit, mimic = element.find("limit"), element.find("mimic")
    said: Mapping[str, str] = {} if limit is None else limit.attrib
    try:
        lower, upper, velocity = (float(said[key]) if key in said else None for key in ("lower", "upper", "velocity"))
        followed = None
        if mimic is not None:
            scale, offset = float(mimic.get("multiplier", 1.0)), float(mimic.get("offset", 0.0))
            followed = (str(mimic.get("joint")), scale, offset)
    except ValueError as error:
        raise RobotDescriptionError(f"joint {name!r} of the URDF", str(error), "numbers", "check the URDF") from error
    return TreeJoint(name, str(element.get("type")), parent, child, lower, upper, velocity, followed)


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
        return next((found[name] for name in ("home", "ready", "default", *found) if name in found), None)


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


FULL_TURNS = 2 * math.pi  # planning range of a continuous joint to each side, radians
_FORM = (
    "joint_limits: {JOINT: {has_acceleration_limits: true, max_acceleration: 5.0, min_position: -1.5}}, in radians and "
    "seconds"
)
_KEYS = ("min_position", "max_position", "max_velocity", "max_acceleration")


@dataclass(frozen=True)
class JointLimit:
    """Limits of one joint, in radians and seconds; None = the URDF's, which has no acceleration limit."""

    min_position: float | None = None
    max_position: float | None = None
    max_velocity: float | None = None
    max_acceleration: float | None = None


@dataclass(frozen=True, eq=False)
class ArmLimits:
    """Limits of an arm, (J,) each, in radians and seconds."""

    lower: Floats
    upper: Floats
    velocity: Floats
    acceleration: Floats


def limits_of(chain: Sequence[TreeJoint], given: str | Path | Mapping[str, JointLimit]) -> ArmLimits:
    """Read the limits of an arm's joints.

    Args:
        given: path of a MoveIt joint_limits.yaml, limits by joint, or empty.
    """
    said = given if isinstance(given, Mapping) else read_joint_limits(given) if str(given) else {}
    rows = []
    for joint in chain:
        own = said.get(joint.name, JointLimit())
        endless = joint.kind == "continuous"
        lower, upper = (-FULL_TURNS, FULL_TURNS) if endless else (joint.lower, joint.upper)
        row = {
            "min_position": _narrower(own.min_position, lower, max),
            "max_position": _narrower(own.max_position, upper, min),
            "max_velocity": joint.velocity if own.max_velocity is None else own.max_velocity,
            "max_acceleration": own.max_acceleration,
        }
        for key, value in row.items():
            if value is None or not math.isfinite(value) or ((key.startswith("max_v") or "acc" in key) and value <= 0):
                what, position = f"{key} of joint {joint.name!r}", key.endswith("position")
                own_place = (
                    "in the URDF (<limit lower upper velocity>), or " if not key.endswith("acceleration") else ""
                )
                repair = f"set it {own_place}in joint_limits, in the form of MoveIt's joint_limits.yaml: {_FORM}"
                expected = "a limit" if position else "a limit above 0"
                raise RobotDescriptionError(what, "none" if value is None else f"{value:g}", expected, repair)
        if float(row["min_position"] or 0) >= float(row["max_position"] or 0):
            got = f"{row['min_position']:g} to {row['max_position']:g}"
            repair = "correct the URDF or joint_limits"
            raise RobotDescriptionError(f"limits of joint {joint.name!r}", got, "a range of radians", repair)
        rows.append([row[key] for key in _KEYS])
    return ArmLimits(*np.array(rows, np.float64).T.copy())


def read_joint_limits(path: str | Path) -> dict[str, JointLimit]:
    """Read limits by joint from a MoveIt joint_limits.yaml; limits with `has_…_limits: false` are left out."""
    data = read_yaml(Path(path).expanduser(), f"pass a file of the form {_FORM}")
    table = data.get("joint_limits") if isinstance(data, dict) else None
    if not isinstance(table, dict) or not all(isinstance(each, dict) for each in table.values()):
        raise RobotDescriptionError(f"joint limits {path}", "no table joint_limits", _FORM)
    limits: dict[str, JointLimit] = {}
    for name, said in table.items():
        found: dict[str, float] = {}
        for key in _KEYS:
            kind = key.partition("_")[2]
            if key not in said or not said.get(f"has_{kind}_limits", kind == "position"):
                continue
            value = said[key]
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise RobotDescriptionError(f"{key} of joint {str(name)!r} in joint_limits", repr(value), "a number")
            found[key] = float(value)
        limits[str(name)] = JointLimit(**found)
    return limits


def _narrower(given: float | None, own: float | None, choose: Any) -> float | None:
    """The narrower of two limits: a file may not widen what the URDF allows."""
    return own if given is None else given if own is None else float(choose(given, own))
