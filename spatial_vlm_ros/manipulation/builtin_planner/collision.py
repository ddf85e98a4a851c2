# SPDX-License-Identifier: Apache-2.0
"""Collision checks of configurations: hulls of the arm against each other, boxes and the held object."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

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
