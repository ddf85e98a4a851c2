# SPDX-License-Identifier: Apache-2.0
"""What the hand holds: known from what was done, from the planner's scene and from the fingers. No ROS."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from spatial_vlm_ros.errors import InputError, NotExecutableError
from spatial_vlm_ros.manipulation.arm_kinematics import box_pose
from spatial_vlm_ros.manipulation.grippers import REACHED
from spatial_vlm_ros.manipulation.planning.goal import Grasp, PickGoal
from spatial_vlm_ros.manipulation.planning.gripper import Tip, flange_T_tip, pose_matrix, pose_of
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene
from spatial_vlm_ros.manipulation.planning.solids import Array, Solid
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.types import Pose, Vector3
from spatial_vlm_ros.types.held import BoxInHand
from spatial_vlm_ros.types.query import Act

Grip = Literal["empty", "holds", "doubt"]
"""What is known of the gripper from its last command; "doubt": it was stopped or failed while it closed or opened."""

_HOLDING = 0.1  # fraction of gripper_effort from which fingers at rest press on something
_UNKNOWN_LENGTH = 0.06  # metres: assumed where nothing tells how long a held object is
_LEVEL = math.cos(math.radians(3.0))  # of an angle below which a box that was turned counts as upright
_AT_POSE = (0.02, 0.1)  # metres and parts of an axis within which the hand is at the hand-over pose


@dataclass(frozen=True)
class FingerReading:
    """Fingers at rest.

    Args:
        width: between them, metres; None = not known.
        effort: greatest of their joints, N or N m; None = not reported, or always zero.
        flag: of a switch, true = something is held; None = there is none.
    """

    width: float | None = None
    effort: float | None = None
    flag: bool | None = None


@dataclass(frozen=True)
class HeldObject:
    """An object in the hand.

    Args:
        label: its name; "" = not known.
        solid: its box when it was taken, or where the hand is now (`at`), planning frame.
        measured: whether the size of its box is known.
        gripped: whether the fingers may have closed on it; otherwise they were stopped around it.
    """

    label: str
    solid: Solid
    grasp: Grasp
    measured: bool = True
    gripped: bool = True

    @property
    def words(self) -> str:
        """Its name for a person."""
        return f"the {self.label}" if self.label else "something; what it is, is not known"

    def at(self, frame_T_tip: Array) -> HeldObject:
        """The same where the hand is now, (4, 4) metres; as it was taken if the hand is tilted against that."""
        moved = frame_T_tip @ np.linalg.inv(pose_matrix(self.grasp.grasp))
        if moved[2, 2] < _LEVEL:
            return self
        grasp = replace(self.grasp, grasp=pose_of(self.grasp.grasp.frame_id, frame_T_tip))
        return replace(self, solid=self.solid.placed(moved @ box_pose(self.solid)), grasp=grasp)

    def box(self, frame_T_tip: Array, frame_id: str, stays: bool) -> BoxInHand:
        """Its box where the hand is; `frame_T_tip` is (4, 4), metres."""
        pose = frame_T_tip @ np.linalg.inv(pose_matrix(self.grasp.grasp)) @ box_pose(self.solid)
        return BoxInHand(self.label or "object", pose_of(frame_id, pose), self.solid.size, stays)


def boxed(label: str, tip_T_box: Array, size: Vector3, config: PlanningConfig, measured: bool = True) -> HeldObject:
    """A held object of which only the box in the tip frame is known, (4, 4) and metres."""
    pose, gripper = pose_of("", np.asarray(np.linalg.inv(tip_T_box))), config.gripper
    width = min(float(np.abs(tip_T_box[1, :3]) @ size), gripper.opening_max)
    needed = min(width + 2 * config.goal.jaw_clearance, gripper.opening_max)
    at = Tip.of(pose)
    grasp = Grasp("top_down", "x", pose, pose, pose, at.approach, at.closing, width, needed, needed, 0.0, 0.0, math.inf)
    return HeldObject(label, Solid((0.0, 0.0, 0.0), 0.0, size), grasp, measured)


def reconciled(
    done: HeldObject | None, attached: HeldObject | None, reading: FingerReading, sure: bool, config: PlanningConfig
) -> HeldObject | None:
    """What the hand holds; None = nothing, as far as is known.

    Args:
        attached: what the planner's scene has attached to it.
        sure: whether what was done is known: not after a start, nor after a stop while it closed.
    """
    width, low, high = reading.width, config.gripper.opening_min + REACHED, config.gripper.opening_max - REACHED
    if reading.flag is False or (reading.flag is None and width is not None and not low < width < high):
        return None  # closed on nothing, or wide open
    if done is not None:
        closed = sure or width is None or width <= done.grasp.width + REACHED
        return replace(done, gripped=done.gripped and closed)
    if attached is not None:
        return attached
    holds = bool(reading.flag)
    if not holds and not sure and width is not None:
        # Effort tells only where nothing else is known: fingers may hold without it, and stand somewhere with some. A
        # turning joint has none that compares with a force.
        least, slides = _HOLDING * config.motion.gripper_effort, config.motion.finger_table == "even"
        holds = reading.effort is None or not slides or not least > 0 or reading.effort >= least
    size = max(width or 0.0, REACHED)
    return boxed("", np.eye(4), (size, size, _UNKNOWN_LENGTH), config, measured=False) if holds else None


def hand_over_pose(config: PlanningConfig) -> Pose | None:
    """The tip's pose of `motion.hand_over`; None if it is not set."""
    said = config.motion.hand_over
    if not said.strip():
        return None
    expected = '"x y z qx qy qz qw": metres and a unit quaternion, of the tip frame in motion.planning_frame'
    try:
        x, y, z, *turn = (float(word) for word in said.split())
        qx, qy, qz, qw = turn
    except ValueError as error:
        raise InputError("parameter motion.hand_over", repr(said), expected) from error
    if not (math.isfinite(x + y + z) and abs(math.hypot(qx, qy, qz, qw) - 1) < 1e-3):
        raise InputError("parameter motion.hand_over", repr(said), expected)
    return Pose(config.motion.planning_frame, (x, y, z), (qx, qy, qz, qw))


def tip_pose(frame_T_link: Array, config: PlanningConfig) -> Array:
    """(4, 4) pose of the tip frame for a pose of `motion.tip_link`, metres."""
    return frame_T_link @ flange_T_tip(config.gripper).matrix if config.motion.at_flange else frame_T_link


def is_at(frame_T_tip: Array, pose: Pose | None) -> bool:
    """Whether the tip, (4, 4) and metres, is at a pose."""
    if pose is None:
        return False
    apart = np.abs(frame_T_tip - pose_matrix(pose))
    return bool(apart[:3, 3].max() <= _AT_POSE[0] and apart[:3, :3].max() <= _AT_POSE[1])


def check_fits(act: Act, said: str, held: HeldObject | None, speaks: bool, falls: bool) -> None:
    """Refuse what does not fit what the hand holds.

    Args:
        speaks: whether the step is about what is held.
        falls: whether it is let go where it is.

    Raises:
        NotExecutableError: the hand would open, or has nothing to open for.
    """
    if held is None:
        if act == "release":
            raise NotExecutableError(act, said, "nothing is known to be in the hand", "ask to take an object first")
        return
    holds = f"the hand holds {held.words}"
    if not speaks:
        repair = 'first say where to put that: "put it down", "put it on the tray"'
        raise NotExecutableError(act, said, holds, repair)
    if act == "take":
        raise NotExecutableError(act, said, f"{holds} already", 'say "put it down", or where to put it')
    if not held.measured and not falls:
        repair = 'take it out by hand, or say "drop it" to open the hand where it is'
        raise NotExecutableError(act, said, f"{holds}, nor its size", repair)


def held_goal(
    scene: PlanningScene, held: HeldObject, act: Act, falls: bool, over: Pose | None
) -> tuple[PlanningScene, PickGoal]:
    """Scene and goal for what is held: its box and grasp as it was taken, which tell how it lies in the hand.

    Args:
        falls: whether it is let go where it is.
        over: the pose to hold it out at; None = it is put down, or let go.
    """
    target = replace(scene.target, solid=held.solid, outline=(), surface=None, seen=None, padding=(0.0, 0.0, 0.0))
    pose = replace(held.grasp.grasp, frame_id=scene.frame_id)
    grasp = replace(held.grasp, grasp=pose)
    goal = PickGoal(
        scene.frame_id, scene.stamp_ns, target.id, (grasp,), act=act, held=True, falls=falls, hand_over=over
    )
    return replace(scene, target=target), goal
