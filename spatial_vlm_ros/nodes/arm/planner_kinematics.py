# SPDX-License-Identifier: Apache-2.0
"""Asks the kinematics services of move_group which poses the arm can take, and where a joint motion takes the tip.

OMPL searches for an unreachable pose until its time is over: moveit2, jazzy 4d841063, planning_context_manager.cpp:258.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence

import numpy as np
from moveit_msgs.msg import PositionIKRequest, RobotState
from moveit_msgs.srv import GetPositionFK, GetPositionIK
from std_msgs.msg import Header

from spatial_vlm_ros.errors import PlannerUnavailableError
from spatial_vlm_ros.manipulation.planning.gripper import pose_matrix
from spatial_vlm_ros.manipulation.planning.moveit import NO_IK, SUCCESS
from spatial_vlm_ros.manipulation.planning.planner import Trajectory
from spatial_vlm_ros.nodes.arm.motion_messages import matrix_of, pose_message, robot_state
from spatial_vlm_ros.nodes.calls import Asked, Bridge, Service
from spatial_vlm_ros.parameters import MotionConfig
from spatial_vlm_ros.types import Pose

_ALL = 0.5  # s for the poses of all ways, once one can be reached; each that cannot takes the solver's 5 to 50 ms
_BETWEEN = 8  # parts of a joint motion at whose ends the tip is looked at
_TURNED = math.cos(math.radians(3.0))
_REMEDY = "start MoveIt's move_group with its kinematics service"


class PlannerKinematics:
    """The services compute_ik and compute_fk beside `move_action`."""

    def __init__(self, bridge: Bridge, motion: MotionConfig) -> None:
        self._motion = motion
        space = motion.move_action[: motion.move_action.rfind("/") + 1]
        self._ik = Service(bridge, GetPositionIK, f"{space}compute_ik", _REMEDY)
        self._fk = Service(bridge, GetPositionFK, f"{space}compute_fk", _REMEDY)

    def unreached(self, ways: Sequence[Sequence[Pose]], told: Asked) -> frozenset[int]:
        """Indices of ways with a pose of `tip_link` that the arm cannot take, whatever stands around it."""
        end, without = time.monotonic() + _ALL, set[int]()
        if not self._ik.ready():
            return frozenset()
        with contextlib.suppress(PlannerUnavailableError):  # no answer in time
            for number, poses in enumerate(ways):
                if time.monotonic() > end and len(without) < number:
                    break
                seed = RobotState(is_diff=True)
                for pose in poses:
                    ask = PositionIKRequest(group_name=self._motion.group, ik_link_name=self._motion.tip_link)
                    ask.robot_state, ask.pose_stamped.header = seed, Header(frame_id=pose.frame_id)
                    ask.pose_stamped.pose = pose_message(pose_matrix(pose))
                    answer = self._ik.call(GetPositionIK.Request(ik_request=ask), _ALL, told)
                    if answer.error_code.val not in (SUCCESS, NO_IK):
                        return frozenset()  # the planner itself reports wrong names and frames
                    if answer.error_code.val == NO_IK:
                        without.add(number)
                        break
                    seed = answer.solution
        return frozenset(without)

    def is_straight(self, trajectory: Trajectory, near: float, told: Asked) -> bool:
        """Whether a trajectory's tip stays within `near`, metres, of the line between its ends, and hardly rotates."""
        if not self._fk.ready():
            return False
        tips = []
        for number in np.linspace(0, len(trajectory.times) - 1, _BETWEEN + 1).astype(int):
            ask = GetPositionFK.Request(fk_link_names=[self._motion.tip_link])
            ask.robot_state = robot_state(dict(zip(trajectory.joint_names, trajectory.positions[number], strict=True)))
            answer = self._fk.call(ask, self._motion.answer_timeout, told)
            if answer.error_code.val != SUCCESS:
                return False
            tips.append(matrix_of(answer.pose_stamped[0].pose))
        away = np.array([tip[:3, 3] - tips[0][:3, 3] for tip in tips])
        along = away[-1] / max(float(np.linalg.norm(away[-1])), 1e-9)
        beside = np.linalg.norm(away - np.outer(away @ along, along), axis=1)
        turned = min((float(np.trace(tips[0][:3, :3].T @ tip[:3, :3])) - 1.0) / 2 for tip in tips)
        return bool(beside.max() <= near and turned >= _TURNED)
