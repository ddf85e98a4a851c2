# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import hashlib
import math

import pytest
from planning_scenes import box, config, table_with

from spatial_vlm_ros.errors import InputError, ShapeError
from spatial_vlm_ros.planning.pick import pick_goal
from spatial_vlm_ros.planning.planner import Plan, is_plan_of, plan_hash, plan_of

SCENE = table_with(box("block", 0.5, 0.1, (0.06, 0.05, 0.08)))
GOAL = pick_goal(SCENE, config())
JOINTS, TIMES, ROWS = ("a", "b"), (0.0, 0.5, 1.0), ((0.0, 0.0), (0.1, -0.1), (0.2, -0.2))
PLAN = plan_of(GOAL, SCENE, JOINTS, TIMES, ROWS)


def test_a_plan_is_that_of_its_goal_and_scene() -> None:
    assert is_plan_of(PLAN, GOAL, SCENE)
    assert (PLAN.joint_names, PLAN.times, PLAN.positions) == (JOINTS, TIMES, ROWS)
    assert len(PLAN.hash) == len(hashlib.sha256().hexdigest())


def test_whatever_changes_the_plan_or_its_goal_changes_the_hash() -> None:
    later = dataclasses.replace(SCENE, stamp_ns=SCENE.stamp_ns + 1)
    fewer = dataclasses.replace(GOAL, grasps=GOAL.grasps[1:])
    others = [
        plan_of(GOAL, later, JOINTS, TIMES, ROWS),
        plan_of(fewer, SCENE, JOINTS, TIMES, ROWS),
        plan_of(GOAL, SCENE, ("a", "c"), TIMES, ROWS),
        plan_of(GOAL, SCENE, JOINTS, (0.0, 0.5, 1.1), ROWS),
        plan_of(GOAL, SCENE, JOINTS, TIMES, (*ROWS[:2], (0.2, math.nextafter(-0.2, 0.0)))),
    ]
    assert len({PLAN.hash, *(plan.hash for plan in others)}) == 6
    tampered = Plan(PLAN.joint_names, PLAN.times, (*ROWS[:2], (0.2, 0.2)), PLAN.hash)
    assert not is_plan_of(tampered, GOAL, SCENE)


def test_equal_plans_have_equal_hashes_however_they_are_written() -> None:
    assert plan_of(GOAL, SCENE, list(JOINTS), [0, 0.5, 1], [[-0.0, 0], [0.1, -0.1], [0.2, -0.2]]).hash == PLAN.hash
    assert plan_hash(GOAL, SCENE, JOINTS, TIMES, ROWS) == PLAN.hash


@pytest.mark.parametrize(
    ("joints", "times", "rows", "error", "words"),
    [
        ((), TIMES, ((), (), ()), InputError, "joint names: got none"),
        (("a", "a"), TIMES, ROWS, InputError, "each joint once"),
        (JOINTS, TIMES, ROWS[:2], ShapeError, r"\(3, 2\)"),
        (JOINTS, TIMES, (*ROWS[:2], (0.1,)), ShapeError, r"\[1, 2\]"),
        (JOINTS, (), (), ShapeError, "one row at least"),
        (JOINTS, (0.0, 0.5, math.inf), ROWS, InputError, "finite"),
        (JOINTS, TIMES, (*ROWS[:2], (0.1, math.nan)), InputError, "finite"),
        (JOINTS, (0.0, 0.5, 0.5), ROWS, InputError, "increasing"),
        (JOINTS, (-0.1, 0.5, 1.0), ROWS, InputError, "increasing from 0"),
    ],
)
def test_a_trajectory_that_is_none_is_refused(
    joints: tuple, times: tuple, rows: tuple, error: type, words: str
) -> None:
    with pytest.raises(error, match=words):
        plan_of(GOAL, SCENE, joints, times, rows)
