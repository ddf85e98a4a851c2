# SPDX-License-Identifier: Apache-2.0
"""The joint tree of a URDF, and the arm chain and fingers that an SRDF selects in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spatial_vlm_ros.errors import RobotDescriptionError
from spatial_vlm_ros.manipulation.builtin_planner.srdf import SemanticDescription

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
