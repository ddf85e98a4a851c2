# SPDX-License-Identifier: Apache-2.0
"""Any serial arm with a parallel gripper, from its URDF and SRDF: joints, limits, hulls, pairs that never collide."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, RobotDescriptionError
from spatial_vlm_ros.manipulation.builtin_planner.description import (
    FULL_TURNS,
    JointLimit,
    JointTree,
    TreeJoint,
    limits_of,
    read_srdf,
)
from spatial_vlm_ros.manipulation.builtin_planner.request import Floats
from spatial_vlm_ros.manipulation.planning import robot_model
from spatial_vlm_ros.manipulation.planning.hulls import Hull, LinkHull
from spatial_vlm_ros.manipulation.planning.robot_model import load
from spatial_vlm_ros.types import Transform

_WIDEST = 0.5  # m between fingers: more than any parallel gripper opens, as for gripper.opening_max
_SLACK = 0.05  # share of a finger joint's range: drivers may stop slightly beyond the URDF's limits
FROM_LIMITS = 0.005  # radians kept from each joint limit
_WRIST_JOINTS = 2  # their links are so near to the held object that they are not checked against it


@dataclass(frozen=True, eq=False)
class FingerJoint:
    """Maps the opening of the gripper to the position of one of its joints.

    Args:
        openings: (N,) distances between the fingers, increasing from the closed gripper, metres.
        positions: (N,) joint positions at these openings, metres or radians; linear in between.
    """

    name: str
    openings: Floats
    positions: Floats

    def at(self, opening: float) -> float:
        """Joint position for an opening in metres."""
        return float(np.interp(opening, self.openings, self.positions))

    def opening(self, position: float) -> float:
        """Distance between the fingers for a joint position, metres."""
        order = np.argsort(self.positions, kind="stable")
        return float(np.interp(position, self.positions[order], self.openings[order]))


@dataclass(frozen=True, eq=False)
class ArmModel:
    """Model of an arm with J joints; immutable, shared by all plans. Made by `arm_model`.

    Args:
        model: Pinocchio's model of these joints and the finger joints; other joints are fixed at zero. Its origin is
            `base_link`.
        lower, upper: (J,) position limits, radians.
        velocity: (J,) limits, rad/s.
        acceleration: (J,) limits, rad/s².
        home: (J,) posture at which the search for postures starts, radians.
        turns: (J,) whether the joint range allows a full extra turn.
        base_link: parent link of the first joint; all poses are in its frame.
        arm_q, arm_v: index of each joint in Pinocchio's configuration and velocity vector.
    """

    name: str
    joints: tuple[str, ...]
    model: Any
    geometry: Any
    self_pairs: tuple[tuple[int, int], ...]
    hull_links: tuple[str, ...]
    lower: Floats
    upper: Floats
    velocity: Floats
    acceleration: Floats
    home: Floats
    turns: npt.NDArray[np.bool_]
    base_link: str
    fixed: frozenset[str]
    tip_link: str
    hand_links: tuple[str, ...]
    wrist_links: tuple[str, ...]
    fingers: tuple[FingerJoint, ...]
    arm_q: tuple[int, ...]
    arm_v: tuple[int, ...]
    finger_q: tuple[int, ...]

    @property
    def tip(self) -> int:
        """Index of the frame whose pose is planned."""
        return int(self.model.getFrameId(self.tip_link))

    @property
    def widest(self) -> float:
        """Largest distance between the fingers, metres."""
        return min(float(finger.openings[-1]) for finger in self.fingers)

    @functools.cached_property
    def hulls(self) -> dict[int, Hull]:
        """Frame index → hull of the link in its own frame; made on first use."""
        return robot_model.link_hulls(self.model, self.geometry)

    def link_of(self, hull: int) -> str:
        """Name of the link that a hull belongs to."""
        return self.hull_links[hull]

    def nearest_turns(self, joints: Floats, to: Floats) -> Floats:
        """The same posture with each joint turned as near as possible to `to` within limits; (J,) radians."""
        if not self.turns.any():
            return joints
        found = joints.copy()
        for k in np.flatnonzero(self.turns):
            same = joints[k] + 2 * np.pi * np.arange(-2, 3)
            same = same[(same >= self.lower[k]) & (same <= self.upper[k])]
            found[k] = same[np.argmin(np.abs(same - to[k]))] if len(same) else joints[k]
        return found

    def configuration(self, opening: float | None = None, joints: Floats | None = None) -> Floats:
        """Pinocchio's configuration for (J,) joint positions, radians (None = zero) and an opening (None = widest)."""
        opening = self.widest if opening is None else opening
        if not 0 <= opening <= self.widest + 1e-9:
            raise InputError("opening", str(opening), f"0 to {self.widest:g} m", "the gripper does not open wider")
        q: Floats = np.zeros(self.model.nq)
        for index, finger in zip(self.finger_q, self.fingers, strict=True):
            q[index] = finger.at(opening)
        if joints is not None:
            q[list(self.arm_q)] = joints
        return q

    def opening_of(self, positions: Mapping[str, float]) -> float | None:
        """Opening for given joint positions, metres: the mean over the known finger joints; None if none is known."""
        told = [finger.opening(positions[finger.name]) for finger in self.fingers if finger.name in positions]
        return float(np.mean(told)) if told else None

    def fixed_links(self) -> dict[str, Floats]:
        """Links rigidly connected to the tip: name → (4, 4) link_T_tip, metres."""
        pin, tip = load("pinocchio"), self.model.frames[self.tip]
        return {
            str(frame.name): np.array((frame.placement.inverse() * tip.placement).homogeneous)
            for frame in self.model.frames
            if frame.parentJoint == tip.parentJoint and frame.type == pin.FrameType.BODY
        }

    def link_hulls(self, joints: Floats, opening: float | None = None) -> tuple[LinkHull, ...]:
        """Pose and convex hull of each link with collision geometry, for a self-filter.

        Args:
            joints: (J,) radians, at the stamp of the frame.
            opening: distance between the fingers, metres; None = widest.

        Returns:
            Links posed in the frame `base_link`, metres.
        """
        given, count = np.asarray(joints), len(self.joints)
        if given.shape != (count,) or given.dtype.kind not in "fiu" or not np.isfinite(given).all():
            repair = "copy them from the joint states"
            raise InputError("joints", str(joints), f"{count} finite joint positions", repair)
        pin, data = load("pinocchio"), self.model.createData()
        pin.framesForwardKinematics(self.model, data, self.configuration(opening, given.astype(np.float64)))
        return tuple(
            LinkHull(Transform(self.base_link, str(self.model.frames[frame].name), data.oMf[frame].homogeneous), hull)
            for frame, hull in self.hulls.items()
        )


def arm_model(
    urdf: str | Path,
    srdf: str | Path,
    group: str,
    end_effector: str,
    *,
    tip_link: str = "",
    joint_limits: str | Path | Mapping[str, JointLimit] = "",
    openings: Sequence[tuple[float, float]] = (),
    home: Sequence[float] | Floats | None = None,
) -> ArmModel:
    """Read an arm with its gripper from URDF and SRDF.

    Args:
        urdf: path of the URDF file, or its text.
        srdf: path of the SRDF file, or its text.
        group: SRDF group with the arm's joints, a serial chain.
        end_effector: SRDF end effector or group with the joints of a parallel gripper.
        tip_link: link whose pose is planned, between the fingertips; "" = `parent_link` of the end effector.
        joint_limits: path of a MoveIt joint_limits.yaml, or limits by joint. Acceleration limits are required for each
            joint of the arm, because a URDF has none; other limits override the URDF's.
        openings: pairs of (metres between the fingers, position of the finger joint), increasing from the closed
            gripper; empty = the full range of sliding fingers, closed at the lower end. Mimic joints follow.
        home: (J,) radians; None = a named posture of the SRDF, otherwise the middle of the limits.

    Raises:
        DependencyError: the extra `arm` is not installed.
        FileError: a file or mesh is missing or cannot be read.
        RobotDescriptionError: the group is not a chain, the end effector has no fingers, the SRDF is of another robot,
            or collision geometry or limits are missing.
    """
    root, path = robot_model.read_urdf(urdf)
    tree, said = JointTree(root), read_srdf(srdf)
    tree.check_same(said)
    chain = tree.chain(said, group)
    effector = said.end_effectors.get(end_effector)
    fingers = tree.fingers(said, effector.group if effector is not None else end_effector)
    shared = {joint.name for joint in chain} & {joint.name for joint in fingers}
    if shared:
        repair = "name a group that has the gripper's joints only"
        raise RobotDescriptionError(f"end effector {end_effector!r}", f"joints of the arm: {', '.join(sorted(shared))}",
                                    "joints of a gripper", repair)  # fmt: skip
    tip = tip_link or (effector.parent_link if effector is not None else chain[-1].child)
    under = [joint for joint in tree.above(tip) if joint.moves]
    if tip not in tree.links or not under or under[0] != chain[-1]:
        got, repair = f"{tip!r}", "set tip_link to the link between the fingertips"
        raise RobotDescriptionError(
            "tip link", got, f"a link that moves with {chain[-1].name} and not with a finger", repair
        )
    limits = limits_of(chain, joint_limits)
    base = chain[0].parent
    model, geometry = _reduced(root, path, {joint.name for joint in (*chain, *fingers)}, base)
    links = tuple(str(model.frames[part.parentFrame].name) for part in geometry.geometryObjects)
    pairs = [(int(pair.first), int(pair.second)) for pair in geometry.collisionPairs]
    geometry.removeAllCollisionPairs()
    if not any(link in tree.below(chain[0].child) for link in links):
        repair = "pass the URDF with its <collision> elements, not one for display only"
        raise RobotDescriptionError(f"URDF of {tree.name!r}", "no collision geometry", "some of each link", repair)
    # The hand may touch a grasped object: the common parent link of all fingers, and its descendants. If this parent is
    # the link that the arm's last joint moves, it is a link of the arm, and only the fingers are the hand.
    ways = [[joint.parent for joint in tree.above(finger.child)] for finger in fingers]
    common = next(link for link in ways[0] if all(link in way for way in ways))
    roots = [finger.child for finger in fingers] if common in {joint.child for joint in chain} else [common]
    hand = tuple(sorted({link for root_link in roots for link in tree.below(root_link)}))
    wrist = set(hand)
    for joint in chain[-_WRIST_JOINTS:]:
        own = len(tree.above(joint.child))
        wrist |= {link for link in tree.below(joint.child) if not any(j.moves for j in tree.above(link)[:-own])}
    names = tuple(joint.name for joint in chain)
    posture = said.posture(group, names) or {}
    middle = (limits.lower + limits.upper) / 2
    told = [posture.get(name, at) for name, at in zip(names, middle, strict=True)]
    standing = np.array(told if home is None else home, np.float64)
    if standing.shape != middle.shape:
        raise InputError("home", f"{len(standing)} positions", f"{len(names)} radians", "pass one for each joint")
    opened = _finger_joints(fingers, openings)
    return ArmModel(
        name=tree.name,
        joints=names,
        model=model,
        geometry=geometry,
        self_pairs=tuple((one, two) for one, two in pairs if not said.never(links[one], links[two])),
        hull_links=links,
        lower=limits.lower + FROM_LIMITS,
        upper=limits.upper - FROM_LIMITS,
        velocity=limits.velocity,
        acceleration=limits.acceleration,
        home=np.clip(standing, limits.lower + FROM_LIMITS, limits.upper - FROM_LIMITS),
        turns=(limits.upper - limits.lower > 2 * np.pi + 1e-6) & np.array([j.kind != "prismatic" for j in chain]),
        base_link=base,
        fixed=frozenset(link for link in tree.links if not any(joint.moves for joint in tree.above(link))),
        tip_link=tip,
        hand_links=hand,
        wrist_links=tuple(sorted(wrist)),
        fingers=opened,
        arm_q=tuple(int(model.joints[model.getJointId(name)].idx_q) for name in names),
        arm_v=tuple(int(model.joints[model.getJointId(name)].idx_v) for name in names),
        finger_q=tuple(int(model.joints[model.getJointId(finger.name)].idx_q) for finger in opened),
    )


def _reduced(root: Any, path: Path | None, kept: Collection[str], base: str) -> tuple[Any, Any]:
    """Pinocchio's model of the kept joints and its geometry, with all pairs of hulls that move relative to each other.

    Other joints are fixed at zero. The origin is the link `base`.
    """
    pin = load("pinocchio")
    model, geometry = robot_model.model_and_geometry_of(root, path, FULL_TURNS)
    locked = [k for k, name in enumerate(model.names) if k and name not in kept]
    if locked:
        links = [str(model.frames[part.parentFrame].name) for part in geometry.geometryObjects]
        model, geometry = pin.buildReducedModel(model, geometry, locked, pin.neutral(model))
        for part, link in zip(geometry.geometryObjects, links, strict=True):
            part.parentFrame = model.getFrameId(link)

    base_T_world = model.frames[model.getFrameId(base)].placement.inverse()
    if not base_T_world.isIdentity(1e-12):
        for k in range(1, model.njoints):
            if model.parents[k] == 0:
                model.jointPlacements[k] = pin.SE3(base_T_world * model.jointPlacements[k])
        for placed in (*model.frames, *geometry.geometryObjects):
            if placed.parentJoint == 0:
                placed.placement = base_T_world * placed.placement

    geometry.removeAllCollisionPairs()
    geometry.addAllCollisionPairs()
    return model, geometry


def _finger_joints(fingers: Sequence[TreeJoint], table: Sequence[tuple[float, float]]) -> tuple[FingerJoint, ...]:
    main = {joint.name: joint for joint in fingers if joint.mimics is None}
    if len(table):
        pairs = np.array(table, np.float64).reshape(-1, 2)
        if len(pairs) < 2 or not np.isfinite(pairs).all() or pairs[0, 0] < 0 or not (np.diff(pairs[:, 0]) > 0).all():
            repair = "pass two or more pairs: metres between the fingers and the position of the finger joint"
            raise InputError("openings", str(table), "pairs with rising openings", repair)
        if pairs[-1, 0] > _WIDEST:
            repair = "pass metres between the fingers, not millimetres"
            raise InputError("openings", f"{pairs[-1, 0]:g} between the fingers", f"at most {_WIDEST:g} m", repair)
        for joint in main.values():
            if joint.kind == "continuous" or joint.lower is None or joint.upper is None:
                continue
            slack = _SLACK * (joint.upper - joint.lower)
            least, most = float(pairs[:, 1].min()), float(pairs[:, 1].max())
            if least < joint.lower - slack or most > joint.upper + slack:
                expected = f"{joint.lower:g} to {joint.upper:g}, as the URDF has it"
                repair = "pass the table of this gripper: metres between the fingers and the position of this joint"
                raise InputError(f"openings: positions of {joint.name}", f"{least:g} to {most:g}", expected, repair)
        openings, at = pairs[:, 0], dict.fromkeys(main, pairs[:, 1])
    else:
        turning = [joint.name for joint in fingers if joint.kind != "prismatic"]
        if turning:
            repair = "pass openings: pairs of metres between the fingers and the joint's position"
            got = f"{turning[0]} turns"
            raise RobotDescriptionError("gripper", got, "fingers that slide, or a table of openings", repair)
        widest = 0.0
        for joint in fingers:
            followed = main.get((joint.mimics or (joint.name, 1.0, 0.0))[0], joint)
            if followed.lower is None or followed.upper is None or followed.upper <= followed.lower:
                repair = "set lower and upper limits in the URDF, or pass openings"
                raise RobotDescriptionError(
                    f"joint {followed.name!r}", "no position limits", "a lower and an upper limit", repair
                )
            widest += abs((joint.mimics or ("", 1.0, 0.0))[1]) * (followed.upper - followed.lower)
        openings = np.array([0.0, widest])
        at = {name: np.array([joint.lower, joint.upper], np.float64) for name, joint in main.items()}

    found = []
    for joint in fingers:
        name, scale, offset = joint.mimics or (joint.name, 1.0, 0.0)
        if name not in main:
            repair = "let it mimic a finger joint that is driven"
            raise RobotDescriptionError(
                f"joint {joint.name!r}", f"a mimic of {name!r}", "a mimic of a finger joint", repair
            )
        found.append(FingerJoint(joint.name, openings, scale * at[name] + offset))
    return tuple(found)
