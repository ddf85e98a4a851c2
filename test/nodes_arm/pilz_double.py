# SPDX-License-Identifier: Apache-2.0
"""A test double of Pilz's planner for LIN and PTP, written from its source. Not a test.

moveit2, branch jazzy, commit 4d841063: moveit_planners/pilz_industrial_motion_planner/src/. What is left out: CIRC,
rotations without a way, limits of positions, obstacles and trapezoids of PTP.
"""

from __future__ import annotations

import numpy as np
from moveit_msgs.msg import MoveItErrorCodes as Codes

from spatial_vlm_ros.manipulation.builtin_planner.configurations import Inverse
from spatial_vlm_ros.manipulation.builtin_planner.path import through, timed
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.request import MotionRequest, PlannedTrajectory
from spatial_vlm_ros.nodes.arm.arm_planner import CodedError

SPEED, ACCELERATION = 1.0, 2.25  # m/s, m/s²: moveit_setup_framework/templates/config/pilz_cartesian_limits.yaml
SAMPLING = 0.1  # s: trajectory_generator.hpp:110
_ENOUGH = 1e-5  # s


def lin(planner: BuiltinPlanner, request: MotionRequest) -> PlannedTrajectory:
    """trajectory_generator.cpp:280-298, trajectory_generator_lin.cpp:145-173, trajectory_functions.cpp:145-305.

    Both scalings are of the tip's limits, not of the joints'. The line is sampled every 0.1 s, and **a joint that is
    faster than its own limit between two samples ends the request**, whatever the scalings are of its limits.
    """
    (path,), robot = planner.paths(request), planner.robot
    rows = path.samples(0.005)
    steps = np.linalg.norm(np.diff([planner.tip(row)[:3, 3] for row in rows], axis=0), axis=1)
    gone = np.concatenate([[0.0], np.cumsum(np.maximum(steps, 1e-9))])
    speed, acceleration = SPEED * request.velocity_scaling, ACCELERATION * request.acceleration_scaling
    rise = min(speed / acceleration, np.sqrt(gone[-1] / acceleration))
    ends = gone[-1] / (acceleration * rise) + rise  # KDL's VelocityProfile_Trap
    times = np.append(np.arange(0.0, ends - _ENOUGH, SAMPLING), ends)
    left = np.minimum(times, ends - times)
    ramp = acceleration * np.minimum(left, rise) ** 2 / 2 + acceleration * rise * np.maximum(left - rise, 0.0)
    at = np.where(times <= ends / 2, ramp, gone[-1] - ramp)
    positions = np.column_stack([np.interp(at, gone, column) for column in rows.T])
    took = np.diff(times)[:, None]
    fast = np.diff(positions, axis=0) / took
    hard = np.diff(np.vstack([np.zeros(len(robot.joints)), fast]), axis=0) / (SAMPLING + took) * 2
    for name, joint in zip(robot.joints, range(len(robot.joints)), strict=True):
        for kind, most, limit in (("velocity", fast, robot.velocity), ("acceleration", hard, robot.acceleration)):
            if np.abs(most[:, joint]).max() > limit[joint]:
                words = f"Joint {kind} limit of {name} violated. Set the {kind} scaling factor lower!"
                raise CodedError(Codes.PLANNING_FAILED, words)
    rest = np.zeros((1, len(robot.joints)))
    rates = [np.vstack([rest, each[:-1], rest]) for each in (fast, hard)]
    return PlannedTrajectory(robot.joints, times, positions, *rates)


def ptp(planner: BuiltinPlanner, request: MotionRequest) -> PlannedTrajectory:
    """trajectory_generator_ptp.cpp:90-237, 239-300: all joints at once, to the solution found from the start."""
    (segment,), robot = request.segments, planner.robot
    reached = Inverse(robot).reach(segment.goal, request.start)
    if not reached.there:
        raise CodedError(Codes.NO_IK_SOLUTION, "Failed to compute inverse kinematics for link of goal pose")
    path = through(np.linspace(request.start, reached.joints, 20))
    fast, hard = robot.velocity * request.velocity_scaling, robot.acceleration * request.acceleration_scaling
    return timed(path, robot.joints, fast, hard)
