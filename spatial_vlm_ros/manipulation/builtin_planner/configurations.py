# SPDX-License-Identifier: Apache-2.0
"""Configurations of an arm: whether one is free of collisions, and those whose tip is at a pose."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spatial_vlm_ros.manipulation.builtin_planner.arm_model import ArmModel
from spatial_vlm_ros.manipulation.builtin_planner.request import BoxObstacle, Floats, Segment
from spatial_vlm_ros.manipulation.planning.robot_model import load

HELD = "held"
IN_THE_BASE = 0.02  # metres: no real object is this deep in the arm's base, even with padding


class Checker:
    """Checks collisions of the arm in one segment.

    Fixed links, such as the base, are not checked against boxes; `in_the_base` does that.
    """

    def __init__(self, robot: ArmModel, boxes: Sequence[BoxObstacle], segment: Segment) -> None:
        self._pin = load("pinocchio")
        coal = load("coal")
        pin, held = self._pin, segment.held
        self.robot = robot
        geometry = robot.geometry.copy()
        links = [robot.link_of(hull) for hull in range(geometry.ngeoms)]
        pairs = list(robot.self_pairs)
        held_at = None
        if held is not None:
            tip = robot.model.frames[robot.tip]
            placement = tip.placement * pin.SE3(held.pose)
            held_at = geometry.addGeometryObject(
                pin.GeometryObject(HELD, tip.parentJoint, placement, coal.Box(*held.size))
            )
            pairs += [(hull, held_at) for hull, link in enumerate(links) if link not in robot.wrist_links]
        self._names: dict[int, str] = {}
        for box in boxes:
            if held is not None and box.id == held.id:
                continue
            shape = coal.Box(*(box.size + 2 * box.padding))
            number = geometry.addGeometryObject(pin.GeometryObject(f"box {box.id}", 0, pin.SE3(box.pose), shape))
            self._names[number] = box.id
            for hull, link in enumerate(links):
                if link not in robot.fixed and not (link in robot.hand_links and box.id in segment.touch):
                    pairs.append((hull, number))
            if held_at is not None and box.id not in segment.held_touch:
                pairs.append((held_at, number))
        geometry.removeAllCollisionPairs()
        for first, second in pairs:
            geometry.addCollisionPair(pin.CollisionPair(first, second))
        self._geometry, self._data, self._found = geometry, robot.model.createData(), geometry.createData()
        self._tree = pin.BroadPhaseManager_DynamicAABBTreeCollisionManager(robot.model, geometry, self._found)
        self._q: Floats = robot.configuration(segment.opening)
        self._at = tuple(enumerate(robot.arm_q))

    def free(self, joints: Any) -> bool:
        """Whether the configuration `joints`, a sequence of J radians, is collision-free."""
        q = self._q
        for k, place in self._at:
            q[place] = joints[k]
        return not self._pin.computeCollisions(self.robot.model, self._data, self._tree, q, True)

    def all_free(self, configurations: Floats) -> bool:
        """Whether all of (N, J) configurations are collision-free."""
        return all(self.free(joints) for joints in configurations)

    def touched(self, joints: Floats) -> tuple[str, ...]:
        """Everything in collision at `joints`, (J,) radians: ids of boxes, and "the arm itself"."""
        self._q[list(self.robot.arm_q)] = joints
        self._pin.computeCollisions(self.robot.model, self._data, self._geometry, self._found, self._q, False)
        names = {
            self._names.get(pair.second, "the arm itself")
            for pair, result in zip(self._geometry.collisionPairs, self._found.collisionResults, strict=True)
            if result.isCollision()
        }
        return tuple(sorted(names))


def in_the_base(robot: ArmModel, boxes: Sequence[BoxObstacle], stands_on: Collection[str] = ()) -> dict[str, float]:
    """Depth of boxes that lie impossibly deep in the arm's base: their poses, or the arm's, are wrong.

    Returns:
        Box id → metres that the box would have to move to leave the base. Boxes less than 2 cm deep are left out,
        because objects that touch the base or were measured slightly too large are possible.
    """
    coal = load("coal")
    hulls = [
        (part.geometry, coal.Transform3s(part.placement.rotation, part.placement.translation))
        for number, part in enumerate(robot.geometry.geometryObjects)
        if robot.link_of(number) in robot.fixed
    ]
    found: dict[str, float] = {}
    for box in boxes:
        if box.id in stands_on:
            continue
        shape, place = coal.Box(*box.size), coal.Transform3s(box.pose[:3, :3], box.pose[:3, 3])
        for hull, at in hulls:
            away = coal.distance(hull, at, shape, place, coal.DistanceRequest(), coal.DistanceResult())
            if away < -IN_THE_BASE:
                found[box.id] = max(-float(away), found.get(box.id, 0.0))
    return found


STEPS = 60
PATIENCE = 8  # steps in which the error must shrink by a tenth, or the search stops
LONGEST_STEP = 0.5  # radians a joint may move in one step
DAMPING = 1e-6
POSITION = 1e-5  # metres; far below the tolerance at the end of a trajectory
ROTATION = 1e-5  # radians


@dataclass(frozen=True)
class Reached:
    """Result of a search: final configuration, and its distance from the pose in metres and radians."""

    joints: Floats
    position_error: float
    rotation_error: float

    @property
    def there(self) -> bool:
        """Whether the search reached the pose."""
        return self.position_error <= POSITION and self.rotation_error <= ROTATION


class Inverse:
    """Inverse kinematics within the joint limits.

    Each step is a small quadratic program, as in differential inverse kinematics: the change dq of least
    |J dq - e|^2 + damping |dq|^2, where e is the twist to the pose in the frame of the tip, with limits of joints
    and of steps as bounds. Source: Levenberg-Marquardt with bounds, Sugihara 2011.
    """

    def __init__(self, robot: ArmModel) -> None:
        self._pin, self._solve = load("pinocchio"), load("daqp").solve
        self.robot, self._data = robot, robot.model.createData()
        self._q: Floats = robot.configuration()
        count = len(robot.joints)
        self._at, self._columns = _all_of(robot.arm_q), _all_of(robot.arm_v)
        self._no_rows = np.zeros((0, count))
        self._sense = np.zeros(count, np.intc)

    def tip(self, joints: Floats) -> Floats:
        """(4, 4) base_T_tip at (J,) joint positions, metres."""
        self._q[self._at] = joints
        self._pin.forwardKinematics(self.robot.model, self._data, self._q)
        return np.array(self._pin.updateFramePlacement(self.robot.model, self._data, self.robot.tip).homogeneous)

    def miss(self, joints: Floats, goal: Floats) -> tuple[float, float]:
        """Distance of the tip at `joints`, (J,) radians, from `goal`, (4, 4): metres, radians."""
        tip = self.tip(joints)
        turn = self._pin.log3(tip[:3, :3].T @ goal[:3, :3])
        return float(np.linalg.norm(goal[:3, 3] - tip[:3, 3])), float(np.linalg.norm(turn))

    def reach(self, goal: Floats, near: Floats, steps: int = STEPS) -> Reached:
        """Search from `near`, (J,) radians, for a configuration whose tip is at `goal`, (4, 4) base_T_tip, metres."""
        pin, robot = self._pin, self.robot
        wanted, marked = pin.SE3(goal), math.inf
        q = np.clip(near, robot.lower, robot.upper)
        for step in range(steps + 1):
            self._q[self._at] = q
            pin.computeJointJacobians(robot.model, self._data, self._q)
            error = pin.log6(pin.updateFramePlacement(robot.model, self._data, robot.tip).actInv(wanted)).vector
            square = float(error @ error)
            away, turned = math.sqrt(error[:3] @ error[:3]), math.sqrt(error[3:] @ error[3:])
            reached = Reached(q, away, turned)
            if reached.there or step == steps:
                return reached
            if step % PATIENCE == 0:
                if square > 0.81 * marked:
                    return reached
                marked = square
            J = pin.getFrameJacobian(robot.model, self._data, robot.tip, pin.LOCAL)[:, self._columns]
            H = J.T @ J
            H.flat[:: len(H) + 1] += DAMPING + 1e-3 * square
            least = np.maximum(robot.lower - q, -LONGEST_STEP)
            most = np.minimum(robot.upper - q, LONGEST_STEP)
            change, _, done, _ = self._solve(H, -J.T @ error, self._no_rows, most, least, self._sense)
            if done < 1:
                return reached
            q = np.clip(q + change, robot.lower, robot.upper)
        return reached


def _all_of(indices: tuple[int, ...]) -> slice | list[int]:
    """A slice if the indices are consecutive, which gives a view instead of a copy."""
    consecutive = indices == tuple(range(indices[0], indices[0] + len(indices)))
    return slice(indices[0], indices[-1] + 1) if consecutive else list(indices)
