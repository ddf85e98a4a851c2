# SPDX-License-Identifier: Apache-2.0
"""From a Resolution to a pose of the flange that grasps from above, for a planner that takes one pose.

Used by moveit_py_goal.py and cumotion_goal.py. It looks at the object alone: what stands beside it, the support and the
image that the pose was measured in are the caller's to check. planner_gate checks all of them (docs/planner_gate.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from geometry_msgs.msg import PoseStamped

ROOM = 0.005  # m between the fingertips and the support, the object and the palm, and the object and each finger


class NoGraspError(Exception):
    """There is no such grasp; the message says why."""


@dataclass(frozen=True)
class Gripper:
    """The Robotiq 2F-85 of config/robots/ur5e_robotiq.yaml, whose names these are; metres and degrees.

    Args:
        tip_z, tip_yaw_deg: from the flange to between the fingertips, whose y is the direction of closing.
        finger_length: from the palm to their ends.
        finger_beyond: how far the fingers reach beyond the tip frame.
    """

    tip_z: float = 0.155
    tip_yaw_deg: float = 90.0
    finger_length: float = 0.06
    finger_beyond: float = 0.019
    opening_max: float = 0.085


def flange_pose(resolution: Any, gripper: Gripper | None = None) -> PoseStamped:
    """Pose of the flange at the grasp, z down, in the frame and with the stamp of the resolution.

    Raises:
        NoGraspError: no target, no frame with z up, cut off by the image, or too wide for the gripper.
    """
    hand = gripper or Gripper()
    if not resolution.target:
        raise NoGraspError(f"{resolution.status.name}: {resolution.status.message} {resolution.question}".strip())
    target = resolution.target[0]
    if resolution.up_from == "optical_axes":
        raise NoGraspError("what is up is not known: start the resolver with base_frame")
    if target.truncated:
        raise NoGraspError(f"the {target.label} is cut off by the image border: its size is not known")
    if target.grasp_width + 2 * ROOM > hand.opening_max:
        raise NoGraspError(f"the {target.label} is {target.grasp_width:.3f} m wide: too wide for the gripper")
    centre, half_height = target.pose.pose.position, target.size.z / 2
    above_support = centre.z - half_height + hand.finger_beyond + ROOM
    below_palm = centre.z + half_height - (hand.finger_length - hand.finger_beyond) + ROOM
    tip_z = max(centre.z, above_support, below_palm)
    closing = target.grasp_yaw[0] if target.grasp_yaw else 0.0  # empty = any
    pose = PoseStamped(header=resolution.header)
    pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = centre.x, centre.y, tip_z + hand.tip_z
    # With z down every heading is half a turn about an axis in the plane, half-way between x of both frames.
    half = (closing + math.radians(hand.tip_yaw_deg)) / 2 + math.pi / 4
    turn = pose.pose.orientation
    turn.x, turn.y, turn.z, turn.w = math.cos(half), math.sin(half), 0.0, 0.0
    return pose
