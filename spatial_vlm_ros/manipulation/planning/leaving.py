# SPDX-License-Identifier: Apache-2.0
"""How a hand leaves where it was stopped in contact: with what it holds, straight up; empty, back as it came."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from spatial_vlm_ros.manipulation.arm_kinematics import box_pose
from spatial_vlm_ros.manipulation.planning.goal import PickGoal
from spatial_vlm_ros.manipulation.planning.gripper import FINGERS, Tip, links, pose_matrix, pose_of
from spatial_vlm_ros.manipulation.planning.scene import AllowedContact, PlanningScene
from spatial_vlm_ros.manipulation.planning.solids import Array, Body, distances
from spatial_vlm_ros.parameters import PlanningConfig

_TOUCHES = 0.005  # metres between boxes that planners may treat as contact


def leaving(
    scene: PlanningScene, goal: PickGoal, base_T_tip: Array, config: PlanningConfig
) -> tuple[PlanningScene, PickGoal]:
    """Scene and goal of a plan that first leaves what the hand, or what it holds, touches; both as they are if nothing.

    Args:
        base_T_tip: (4, 4), metres, now.
    """
    tip = Tip.of(pose_of(scene.frame_id, base_T_tip))
    way = (0.0, 0.0, config.goal.retreat) if goal.held else tip.back(config.goal.approach)
    begin, end = tip.poses(scene.frame_id, way)
    leaves = replace(goal, leaves=(begin, end))
    contacts = touching(scene, leaves, config)
    return (replace(scene, allowed=(*scene.allowed, *contacts)), leaves) if contacts else (scene, goal)


def touching(scene: PlanningScene, goal: PickGoal, config: PlanningConfig) -> tuple[AllowedContact, ...]:
    """Contacts that are allowed while the hand leaves where it stands: those that it has there."""
    if goal.leaves is None:
        return ()
    target, begin = scene.target, goal.leaves[0]
    opening = goal.grasps[0].width if goal.held else config.gripper.opening_max  # an empty hand opens first
    phase: Literal["lift", "leave"] = "lift" if goal.held else "leave"
    bodies: dict[str, tuple[Body, ...]] = {FINGERS[0]: links(config.gripper, Tip.of(begin), opening)}
    if goal.held:
        moved = pose_matrix(begin) @ np.linalg.inv(pose_matrix(goal.grasps[0].grasp))
        bodies[target.id] = (target.solid.placed(moved @ box_pose(target.solid)),)
    around = [obj for obj in (*scene.support, *scene.neighbours, target) if obj is not target or not goal.held]
    boxes = [(obj.id, [obj.padded]) for obj in around] + [(space.id, list(space.boxes)) for space in scene.occupied]
    return tuple(
        AllowedContact(one, other, phase)
        for one, own in bodies.items()
        for other, solids in boxes
        if distances(own, solids).min(initial=np.inf) < _TOUCHES
    )
