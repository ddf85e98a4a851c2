# SPDX-License-Identifier: Apache-2.0
"""Scaling factors from the gate's parameters to a trajectory: each limit is scaled once. Nothing is sent here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from arm_graph import goals, scene
from planning_scenes import config

from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.request import MotionRequest, Segment
from spatial_vlm_ros.manipulation.builtin_planner.robot import ACCELERATION, HOME, fixed_links, panda
from spatial_vlm_ros.nodes.arm.motion_messages import motion_goal
from spatial_vlm_ros.nodes.arm.move_group_requests import Understood, understood
from spatial_vlm_ros.nodes.arm.planning_scene import ArmScene


def received(**motion: Any) -> Understood:
    """What `arm_planner` understands of the request that the gate makes."""
    settings = config(motion=motion)
    pose = goals(scene(), settings)[0].grasps[0].pre_grasp
    return understood(motion_goal(settings.motion, pose, False, {}, ArmScene({}).message()), fixed_links())


@pytest.mark.parametrize(("velocity", "acceleration"), [(0.3, 0.3), (1.0, 0.3), (0.2, 1.0)])
def test_the_gates_factors_are_the_parts_of_the_limits_that_a_motion_uses(velocity: float, acceleration: float) -> None:
    asked = received(velocity_scaling=velocity, acceleration_scaling=acceleration)
    assert (asked.velocity_scaling, asked.acceleration_scaling) == (velocity, acceleration)
    request = MotionRequest(
        HOME, [Segment(asked.goal)], seed=1, time_limit=30.0,
        velocity_scaling=asked.velocity_scaling, acceleration_scaling=asked.acceleration_scaling,
    )  # fmt: skip
    only = BuiltinPlanner().plan(request).trajectories[0]
    hardest = float((np.abs(only.accelerations) / ACCELERATION).max())
    fastest = float((np.abs(only.velocities) / panda().velocity).max())
    assert hardest == pytest.approx(acceleration, rel=0.02)  # squared it would be 0.09 of 0.3
    assert fastest <= velocity + 1e-9


@pytest.mark.parametrize("given", [0.0, -1.0, 1.5])
def test_a_factor_out_of_range_counts_as_one(given: float) -> None:
    settings = config()
    pose = goals(scene(), settings)[0].grasps[0].pre_grasp
    goal = motion_goal(settings.motion, pose, False, {}, ArmScene({}).message())
    goal.request.max_velocity_scaling_factor = goal.request.max_acceleration_scaling_factor = given
    asked = understood(goal, fixed_links())
    assert (asked.velocity_scaling, asked.acceleration_scaling) == (1.0, 1.0)
