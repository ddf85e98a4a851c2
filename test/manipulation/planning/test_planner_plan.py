# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import hashlib
import math
from typing import Any

import pytest
from planning_scenes import box, config, placed, table_with

from spatial_vlm_ros.errors import InputError, ShapeError
from spatial_vlm_ros.manipulation.planning.goal import PlaceGoal
from spatial_vlm_ros.manipulation.planning.pick import pick_goal
from spatial_vlm_ros.manipulation.planning.place import place_goal
from spatial_vlm_ros.manipulation.planning.planner import (
    GRIPS,
    PICK,
    PLACE,
    PlanStep,
    Trajectory,
    is_plan_of,
    plan_hash,
    plan_of,
)

BLOCK = box("block", 0.5, 0.1, (0.06, 0.05, 0.08))
SCENE = table_with(BLOCK)
GOAL = pick_goal(SCENE, config())
DOWN = place_goal(SCENE, placed(BLOCK, (0.4, -0.2, 0.0, 0.0)), GOAL.grasps[0], config())
JOINTS, TIMES, ROWS = ("a", "b"), (0.0, 0.5, 1.0), ((0.0, 0.0), (0.1, -0.1), (0.2, -0.2))


def steps(place: bool = False) -> list[PlanStep]:
    """A chain in which each motion goes on where the last one ended."""
    made, at = [], 0.0
    for phase in PICK + PLACE if place else PICK:
        if phase in GRIPS:
            made.append(PlanStep(phase, width=0.04))
        else:
            rows = tuple((at + a, -at + b) for a, b in ROWS)
            made.append(PlanStep(phase, Trajectory(JOINTS, TIMES, rows, rows)))
            at += 0.2
    return made


PLAN = plan_of(GOAL, SCENE, None, steps(), 0)


def changed(number: int, **fields: Any) -> list[PlanStep]:
    """The chain with one motion changed."""
    made = steps()
    trajectory = made[number].trajectory
    assert trajectory is not None
    made[number] = PlanStep(made[number].phase, dataclasses.replace(trajectory, **fields))
    return made


def test_a_plan_is_that_of_its_goal_and_scene() -> None:
    assert is_plan_of(PLAN, GOAL, SCENE)
    assert (PLAN.target_id, PLAN.grasp, PLAN.placement, PLAN.place) == ("block", 0, None, None)
    assert [step.phase for step in PLAN.steps] == list(PICK)
    assert len(PLAN.trajectories) == 3
    assert PLAN.duration == pytest.approx(3.0)
    assert len(PLAN.hash) == len(hashlib.sha256().hexdigest())
    put = plan_of(GOAL, SCENE, DOWN, steps(place=True), 0, 1)
    assert is_plan_of(put, GOAL, SCENE)
    assert put.hash != PLAN.hash


def test_whatever_changes_the_plan_or_its_goals_changes_the_hash() -> None:
    later = dataclasses.replace(SCENE, stamp_ns=SCENE.stamp_ns + 1)
    wider = [PlanStep("open", width=math.nextafter(0.04, 1.0)), *steps()[1:]]
    last = steps()[-1].trajectory
    assert last is not None
    tiny = (*last.positions[:2], (last.positions[2][0], math.nextafter(last.positions[2][1], 0.0)))
    changes = [{"times": (0.0, 0.5, 1.1)}, {"positions": tiny}, {"velocities": ()}, {"accelerations": ROWS}]
    hashes = {
        PLAN.hash,
        plan_of(dataclasses.replace(GOAL, stamp_ns=later.stamp_ns), later, None, steps(), 0).hash,
        plan_of(dataclasses.replace(GOAL, grasps=GOAL.grasps[:-1]), SCENE, None, steps(), 0).hash,
        plan_of(GOAL, SCENE, None, steps(), 1).hash,
        plan_of(GOAL, SCENE, None, wider, 0).hash,
        *(plan_of(GOAL, SCENE, None, changed(4, **change), 0).hash for change in changes),
        *(plan_of(GOAL, SCENE, DOWN, steps(place=True), 0, choice).hash for choice in (0, 1)),
    }
    assert len(hashes) == 11
    assert not is_plan_of(dataclasses.replace(PLAN, steps=tuple(wider)), GOAL, SCENE)
    assert not is_plan_of(dataclasses.replace(PLAN, grasp=1), GOAL, SCENE)
    made = steps()  # and equal plans have equal hashes, however they are written
    first = made[1].trajectory
    assert first is not None
    rows = [[-0.0, 0], *([float(v) for v in row] for row in first.positions[1:])]
    made[1] = PlanStep("reach", Trajectory(list(JOINTS), [0, 0.5, 1], rows, first.velocities))  # type: ignore[arg-type]
    assert plan_of(GOAL, SCENE, None, made, 0).hash == PLAN.hash
    assert plan_hash(GOAL, SCENE, None, made, 0, None) == PLAN.hash


@pytest.mark.parametrize(
    ("joints", "times", "rows", "error", "words"),
    [
        ((), TIMES, ((), (), ()), InputError, "joint names: none"),
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
        Trajectory(joints, times, rows)


def test_velocities_and_accelerations_have_the_form_of_positions() -> None:
    with pytest.raises(ShapeError, match="velocities of a trajectory"):
        Trajectory(JOINTS, TIMES, ROWS, ROWS[:2])
    with pytest.raises(InputError, match="finite"):
        Trajectory(JOINTS, TIMES, ROWS, (), (*ROWS[:2], (0.0, math.inf)))


def away(by: float) -> list[PlanStep]:
    """A chain whose approach begins beside the end of what was before."""
    return changed(2, positions=tuple((0.2 + by + a, -0.2 + b) for a, b in ROWS))


@pytest.mark.parametrize(
    ("made", "place", "choice", "words"),
    [
        (steps()[:-1], None, (0, None), "phases of a plan: open, reach, approach, close. Expected open"),
        (steps(), DOWN, (0, 0), "withdraw"),
        (steps(), None, (99, None), "grasp 99"),
        (steps(), None, (0, 0), "placement 0"),
        (steps(place=True), DOWN, (0, None), "placement None"),
        ([PlanStep("open"), *steps()[1:]], None, (0, None), "phase open: width None"),
        ([PlanStep("open", width=-0.01), *steps()[1:]], None, (0, None), "phase open: width -0.01"),
        ([steps()[0], PlanStep("reach", width=0.04), *steps()[2:]], None, (0, None), "phase reach"),
        (away(0.02), None, (0, None), "phase approach: a start 0.020 from the end of phase reach. Expected the joints"),
        (changed(2, joint_names=("a", "c")), None, (0, None), "other joints: a, c"),
    ],
)
def test_a_chain_that_is_no_plan_is_refused(
    made: list[PlanStep], place: PlaceGoal | None, choice: tuple[int, int | None], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        plan_of(GOAL, SCENE, place, made, *choice)


def test_a_start_within_the_tolerance_goes_on_and_goals_of_something_else_are_refused() -> None:
    assert is_plan_of(plan_of(GOAL, SCENE, None, away(0.009), 0), GOAL, SCENE)
    other = dataclasses.replace(SCENE, stamp_ns=SCENE.stamp_ns + 1)
    with pytest.raises(InputError, match=r"goal: 'block' .* at 1000 ns. Expected 'block'.* at 1001 ns"):
        plan_of(GOAL, other, None, steps(), 0)
    with pytest.raises(InputError, match="Make goals and scene from one resolution"):
        plan_of(GOAL, SCENE, dataclasses.replace(DOWN, target_id="cup"), steps(place=True), 0, 0)
