# SPDX-License-Identifier: Apache-2.0
"""How a hand leaves where it was stopped in contact: with what it holds, straight up; empty, back as it came."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from spatial_vlm_ros.manipulation.arm_kinematics import box_pose
from spatial_vlm_ros.manipulation.planning.goal import Leaving, PickGoal
from spatial_vlm_ros.manipulation.planning.gripper import FINGERS, Tip, closing_links, links, pose_matrix, pose_of
from spatial_vlm_ros.manipulation.planning.scene import TOUCHES, AllowedContact, PlanningScene
from spatial_vlm_ros.manipulation.planning.solids import Array, Body, distances
from spatial_vlm_ros.parameters import PlanningConfig


def leaving(
    scene: PlanningScene, goal: PickGoal, base_T_tip: Array, width: float | None, config: PlanningConfig
) -> tuple[PlanningScene, PickGoal]:
    """Scene and goal of a plan that first leaves what the hand, or what it holds, touches; both as they are if nothing.

    Args:
        base_T_tip: (4, 4), metres, now.
        width: distance of the fingers now, metres; None = not known, or they have closed on what is held.
    """
    tip, most = Tip.of(pose_of(scene.frame_id, base_T_tip)), config.gripper.opening_max
    begin, away = tip.poses(scene.frame_id, tip.back(config.goal.approach))
    opening = most if width is None else min(max(width + 2 * config.goal.jaw_clearance, goal.grasps[0].opening), most)
    if goal.held:
        (_, away), opening = tip.poses(scene.frame_id, (0.0, 0.0, config.goal.retreat)), goal.grasps[0].width
        opening = max(width or 0.0, opening)
    leaves = replace(goal, leaves=Leaving(begin, away, opening))
    contacts = touching(scene, leaves, config)
    return (replace(scene, allowed=(*scene.allowed, *contacts)), leaves) if contacts else (scene, goal)


def touching(scene: PlanningScene, goal: PickGoal, config: PlanningConfig) -> tuple[AllowedContact, ...]:
    """Contacts that are allowed while the hand leaves where it stands: those that it has or would get there."""
    leaves, target = goal.leaves, scene.target
    if leaves is None:
        return ()
    tip = Tip.of(leaves.begin)
    phase: Literal["lift", "leave"] = "lift" if goal.held else "leave"
    least = min(leaves.opening - 2 * config.goal.jaw_clearance, *(grasp.opening for grasp in goal.grasps))
    narrow = leaves.opening if goal.held else max(least, config.gripper.opening_min)
    hand = (*links(config.gripper, tip, leaves.opening), *closing_links(config.gripper, tip, leaves.opening, narrow))
    bodies: dict[str, tuple[Body, ...]] = {FINGERS[0]: hand}
    if goal.held:
        moved = pose_matrix(leaves.begin) @ np.linalg.inv(pose_matrix(goal.grasps[0].grasp))
        bodies[target.id] = (target.solid.placed(moved @ box_pose(target.solid)),)
    around = [obj for obj in (*scene.support, *scene.neighbours, target) if obj is not target or not goal.held]
    boxes = [(obj.id, [obj.padded]) for obj in around] + [(space.id, list(space.boxes)) for space in scene.occupied]
    return tuple(
        AllowedContact(one, other, phase)
        for one, own in bodies.items()
        for other, solids in boxes
        if distances(own, solids).min(initial=np.inf) < TOUCHES
    )
