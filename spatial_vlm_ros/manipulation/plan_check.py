# SPDX-License-Identifier: Apache-2.0
"""Checks a planned motion against the seen objects with the arm's own description, independent of the planner.

A planner's scene may differ from the one that it was sent: lost objects, contacts that somebody allowed, unchecked
paths. So each plan is checked once more before a person is asked about it.
"""

from __future__ import annotations

import math

import numpy as np

from spatial_vlm_ros.errors import PlanningFailedError
from spatial_vlm_ros.manipulation.arm_kinematics import ArmKinematics, HeldSolid, box_pose
from spatial_vlm_ros.manipulation.occupancy.measuring import is_beside, is_inside
from spatial_vlm_ros.manipulation.pick_sequence import Offer
from spatial_vlm_ros.manipulation.planned_motion import ENTERING, entered, fingers_at, may_touch
from spatial_vlm_ros.manipulation.planning.gripper import flange_pose, pose_matrix
from spatial_vlm_ros.manipulation.planning.planner import HOLDING, Phase, Trajectory
from spatial_vlm_ros.parameters import PlanningConfig

INTO = 0.01
"""Metres of overlap that count as a collision: the arm's convex hulls are slightly larger than its real shape."""
_INSIDE = 0.001  # metres that the centre of a voxel has to lie inside a body: fingers are hardly thicker than voxels
_STEP = 0.05  # radians or metres of length between checked configurations
_BEYOND = 1e-3  # radians or metres beyond a limit that count as rounding
_FASTER = 1.05  # factor of its maximum speed that a joint may reach on average between two points
_REPAIR = "check that the planner has the scene and validates its paths (MoveIt: ValidateSolution), then ask again"


def check_plan_clear(offer: Offer, config: PlanningConfig, arm: ArmKinematics) -> None:
    """Refuse a plan that collides with a seen object, or that the arm cannot follow.

    It checks the links as convex hulls and the held object as a box, along every trajectory, against named objects as
    measured, support, keep-outs and measured unnamed obstacles. It ignores the allowed contacts of a phase, and unseen
    space.
    """
    plan, scene, planner = offer.plan, offer.scene, config.motion.move_action
    grasp, target = offer.goal.grasps[plan.grasp], offer.scene.target
    placement = plan.put_down
    hand = tuple(arm.hand_links(config.motion.finger_links.split(), config.motion.finger_joints.split()))
    named = {obj.id: obj for obj in (*scene.neighbours, *scene.support, *scene.keep_outs, target)}
    link = flange_pose(config.gripper, grasp.grasp) if config.motion.at_flange else grasp.grasp
    held = HeldSolid(np.linalg.inv(pose_matrix(link)) @ box_pose(target.solid), target.solid.size)
    put, width = target.solid, grasp.width if offer.goal.held else math.nan
    every, edge = np.zeros((0, 3)), 0.0
    beside = inside = np.zeros(0, np.bool_)
    if scene.occupancy is not None:
        measured = scene.occupancy.measured
        every, edge = measured.centres(), measured.edge
        beside, inside = is_beside(measured, target.solid), is_inside(measured, scene.entered)

    for step in plan.steps:
        if step.trajectory is None:
            width = step.holds or step.width or 0.0
            if step.phase == "release" and placement is not None:
                put = target.solid.placed(pose_matrix(placement.obj))
            continue
        _check_limits(step.phase, step.trajectory, arm, planner)
        holding = step.phase in HOLDING
        boxes = {id_: obj.solid for id_, obj in named.items() if id_ != target.id}
        boxes |= {} if holding else {target.id: put}
        if placement is not None and step.phase in ENTERING:
            boxes |= entered(scene, placement)
        ignored = may_touch(scene, hand, placement, step.phase)
        distances = arm.distances(boxes, held if holding else None, ignored, target.id)
        touched = {"lift": beside, "lower": inside}.get(step.phase)
        solid = every if touched is None else every[~touched]
        names = step.trajectory.joint_names
        for row in step.trajectory.samples(names, _STEP):
            joints = {**fingers_at(width, config), **dict(zip(names, row.tolist(), strict=True))}
            least = distances.least(joints)
            if least is not None and least[0] < -INTO:
                one, other = (named[name].label if name in named else name for name in least[1])
                raise _runs_into(planner, step.phase, one, f"the {other}", -least[0])
            deep = arm.deepest(joints, every)
            if holding:
                box = arm.poses(joints)[1] @ held.tip_T_box
                own = np.abs((solid - box[:3, 3]) @ box[:3, :3])
                depth = float((np.array(held.size) / 2 - own).min(axis=1).max(initial=0.0))
                deep = max(deep or (0.0, ""), (depth, target.label))
            if deep is not None and deep[0] > _INSIDE:
                raise _runs_into(planner, step.phase, deep[1], "an object without a name", deep[0] + edge / 2)


def _check_limits(phase: Phase, trajectory: Trajectory, arm: ArmKinematics, planner: str) -> None:
    positions = np.array(trajectory.positions)
    for column, joint in enumerate(trajectory.joint_names):
        low, high, speed = arm.limits(joint)
        at = positions[:, column]
        if at.min() < low - _BEYOND or at.max() > high + _BEYOND:
            worst = float(at[np.argmax(np.maximum(low - at, at - high))])
            reason = f"in phase {phase!r} its plan takes {joint} to {worst:.3f}; its range is {low:.3f} to {high:.3f}"
            repair = "compare the planner's robot_description with the gate's"
            raise PlanningFailedError(planner, reason, repair)
        fast = np.abs(np.diff(at)) / np.diff(trajectory.times)
        if fast.max(initial=0.0) > _FASTER * speed:
            reason = (
                f"in phase {phase!r} its plan moves {joint} at {fast.max():.2f} per second; its limit is {speed:.2f}"
            )
            raise PlanningFailedError(planner, reason, "check the planner's time parameterisation")


def _runs_into(planner: str, phase: Phase, one: str, other: str, by: float) -> PlanningFailedError:
    reason = f"in phase {phase!r} of its plan {one} would run {by * 1000:.0f} mm into {other}"
    return PlanningFailedError(planner, reason, _REPAIR)
