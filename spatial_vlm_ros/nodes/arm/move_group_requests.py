# SPDX-License-Identifier: Apache-2.0
"""Reads the MoveGroup requests that `arm_planner` supports; refuses others with MoveIt's error number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from action_msgs.msg import GoalStatus
from geometry_msgs.msg import Pose
from moveit_msgs.msg import Constraints, MoveItErrorCodes
from trajectory_msgs.msg import JointTrajectory

from spatial_vlm_ros.manipulation.builtin_planner.request import Floats
from spatial_vlm_ros.manipulation.builtin_planner.robot import BASE_LINK
from spatial_vlm_ros.nodes.arm.motion_messages import matrix_of

SUCCEEDED = GoalStatus.STATUS_SUCCEEDED
GROUPS = ("panda_arm",)
STRAIGHT = ("LIN",)
UNKNOWN = ("PTP", "CIRC")  # the resulting motion would not have the requested form
Codes = MoveItErrorCodes
_TIME = 5.0  # s if the request gives none, as in MoveIt
_ROUNDING = 1e-9
_SLACK = 10.0  # s that a controller may take beyond `duration_scaling` times the time of a trajectory


class CodedError(Exception):
    """A refusal with MoveIt's error number; it goes into the result of an action, never to a caller."""

    def __init__(self, number: int, words: str) -> None:
        self.number = number
        super().__init__(words)


@dataclass(frozen=True, eq=False)
class Understood:
    """A request in the form that the built-in planner uses.

    Args:
        goal: (4, 4) base_T_tip, metres.
        position_tolerance: allowed distance of the tip from the goal, metres.
        angles: (3,) allowed rotation about the tip's axes, radians.
        time_limit: for planning, seconds.
        velocity_scaling, acceleration_scaling: fractions of the maximum velocities and accelerations.
    """

    goal: Floats
    straight: bool
    position_tolerance: float
    angles: Floats
    time_limit: float
    velocity_scaling: float
    acceleration_scaling: float


def understood(
    goal: Any, links: Mapping[str, Floats], groups: Sequence[str] = GROUPS, base: str = BASE_LINK
) -> Understood:
    """Read a MoveGroup goal.

    Args:
        links: link → (4, 4) link_T_tip, metres, for every link that a goal may name.
        groups: names of the arm's group; an empty name also means this group.
    """
    request = goal.request
    if not goal.planning_options.plan_only:
        raise CodedError(
            Codes.UNRECOGNIZED_GOAL_TYPE, "this planner does not execute: set plan_only, then use ExecuteTrajectory"
        )
    if request.group_name not in ("", *groups):
        words = f"unknown group {request.group_name!r}; use {groups[0]!r}"
        raise CodedError(Codes.INVALID_GROUP_NAME, words)
    if request.planner_id in UNKNOWN:
        words = f"unknown planner {request.planner_id!r}; use LIN for straight motions, or no name for free motions"
        raise CodedError(Codes.UNRECOGNIZED_GOAL_TYPE, words)
    c, points = request.path_constraints, request.trajectory_constraints.constraints
    if c.joint_constraints or c.position_constraints or c.orientation_constraints or c.visibility_constraints or points:
        raise CodedError(Codes.UNRECOGNIZED_GOAL_TYPE, "path constraints are not supported; remove them")
    if len(request.goal_constraints) != 1:
        raise CodedError(Codes.INVALID_GOAL_CONSTRAINTS, f"there are {len(request.goal_constraints)} goals; give one")
    pose, place_by, angles = _pose(request.goal_constraints[0], links, base)
    return Understood(
        pose,
        request.planner_id in STRAIGHT,
        place_by,
        angles,
        request.allowed_planning_time if request.allowed_planning_time > 0 else _TIME,
        _factor(request.max_velocity_scaling_factor),
        _factor(request.max_acceleration_scaling_factor),
    )


def check_end(asked: Understood, base_T_tip: Floats) -> None:
    """Check that a planned motion ends within the tolerances of its request."""
    away = float(np.linalg.norm(base_T_tip[:3, 3] - asked.goal[:3, 3]))
    turn = asked.goal[:3, :3].T @ base_T_tip[:3, :3]
    turned = np.abs([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2  # small angles
    if away > asked.position_tolerance + _ROUNDING or (turned > asked.angles + _ROUNDING).any():
        words = f"the tip ends {away * 1000:.2f} mm and up to {np.degrees(turned.max()):.2f} degrees away from the goal"
        raise CodedError(Codes.GOAL_CONSTRAINTS_VIOLATED, f"{words}; its accuracy is 1 mm and 0.5 degrees")


def _factor(given: float) -> float:
    """A scaling factor; values outside (0, 1] count as 1.

    Source: moveit_core/trajectory_processing/src/time_optimal_trajectory_generation.cpp:1290-1312, verifyScalingFactor.
    """
    return float(given) if 0 < given <= 1 else 1.0


def _pose(constraints: Constraints, links: Mapping[str, Floats], base: str) -> tuple[Floats, float, Floats]:
    """base_T_tip (4, 4), and the position and angle tolerances."""
    places, turns = constraints.position_constraints, constraints.orientation_constraints
    if len(places) != 1 or len(turns) != 1 or constraints.joint_constraints or constraints.visibility_constraints:
        words = "a goal must be one position and one orientation of one link"
        raise CodedError(Codes.UNRECOGNIZED_GOAL_TYPE, words)
    place, turn = places[0], turns[0]
    region = place.constraint_region
    if place.link_name != turn.link_name or place.link_name not in links:
        words = f"goals must be for one of {', '.join(sorted(links))}, not {place.link_name!r} and {turn.link_name!r}"
        raise CodedError(Codes.INVALID_LINK_NAME, words)
    for frame in (place.header.frame_id, turn.header.frame_id):
        if frame not in ("", base):
            raise CodedError(Codes.FRAME_TRANSFORM_FAILURE, f"goals must be in {base!r}, not in {frame!r}")
    offset = place.target_point_offset
    shapes = region.primitives
    if any((offset.x, offset.y, offset.z)) or region.meshes or len(shapes) != 1 or len(region.primitive_poses) != 1:
        words = "a position must be the centre of one primitive, without an offset"
        raise CodedError(Codes.INVALID_GOAL_CONSTRAINTS, words)
    dimensions = [float(v) for v in shapes[0].dimensions]
    if not dimensions or shapes[0].type not in (shapes[0].SPHERE, shapes[0].BOX):
        raise CodedError(Codes.INVALID_GOAL_CONSTRAINTS, "the region of a position must be a sphere or a box")
    reach = dimensions[0] if shapes[0].type == shapes[0].SPHERE else min(dimensions) / 2
    try:
        base_T_link = matrix_of(Pose(position=region.primitive_poses[0].position, orientation=turn.orientation))
    except ValueError as error:
        raise CodedError(Codes.INVALID_GOAL_CONSTRAINTS, str(error)) from error
    angles = np.array([getattr(turn, f"absolute_{axis}_axis_tolerance") for axis in "xyz"], np.float64)
    return base_T_link @ links[place.link_name], reach, angles


def longest(trajectory: JointTrajectory, scaling: float) -> float:
    """Longest wall-clock time that a controller may take for a trajectory, seconds.

    Args:
        trajectory: has at least one point.
        scaling: wall-clock seconds per second of the controller, which may run in a slow simulation.
    """
    last = trajectory.points[-1].time_from_start
    return float(scaling * (last.sec + last.nanosec * 1e-9) + _SLACK)
