# SPDX-License-Identifier: Apache-2.0
"""Chains of a plan, freshness, motion since the observation, agreement of image and TF, names and numbers of MoveIt."""

import dataclasses
import hashlib
import itertools
import math
from typing import Any

import numpy as np
import pytest
from planning_scenes import box, config, placed, table_with
from scipy.spatial.transform import Rotation
from tables import called, tables

from spatial_vlm_ros import errors
from spatial_vlm_ros.manipulation.planning import moveit as pipelines
from spatial_vlm_ros.manipulation.planning.motion import (
    check_base_still,
    check_camera_still,
    check_fresh,
    check_no_jump,
    moved_by,
)
from spatial_vlm_ros.manipulation.planning.moveit import CODES, meaning_of, number_of, number_of_error
from spatial_vlm_ros.manipulation.planning.pick import pick_goal
from spatial_vlm_ros.manipulation.planning.place import place_goal
from spatial_vlm_ros.manipulation.planning.planner import (
    GRIPS,
    PICK,
    PLACE,
    PlanStep,
    Trajectory,
    is_plan_of,
    plan_bytes,
    plan_hash,
    plan_of,
)
from spatial_vlm_ros.parameters import ObservationConfig
from spatial_vlm_ros.types import Status, Transform

TABLES = tables(__file__)
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
    made = steps()
    trajectory = made[number].trajectory
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
    rows = [[-0.0, 0], *([float(v) for v in row] for row in first.positions[1:])]
    made[1] = PlanStep("reach", Trajectory(list(JOINTS), [0, 0.5, 1], rows, first.velocities))  # type: ignore[arg-type]
    assert plan_of(GOAL, SCENE, None, made, 0).hash == PLAN.hash
    assert plan_hash(plan_bytes(GOAL, SCENE, None, made, 0, None)) == PLAN.hash


@pytest.mark.parametrize(("joints", "times", "rows", "error", "words"), TABLES["no trajectories"])
def test_a_trajectory_that_is_none_is_refused(joints: list, times: list, rows: list, error: str, words: str) -> None:
    with pytest.raises(getattr(errors, error), match=words):
        Trajectory(tuple(joints), tuple(times), tuple(map(tuple, rows)))


def test_velocities_and_accelerations_have_the_form_of_positions() -> None:
    with pytest.raises(errors.ShapeError, match="velocities of a trajectory"):
        Trajectory(JOINTS, TIMES, ROWS, ROWS[:2])
    with pytest.raises(errors.InputError, match="finite"):
        Trajectory(JOINTS, TIMES, ROWS, (), (*ROWS[:2], (0.0, math.inf)))


def away(by: float) -> list[PlanStep]:
    """A chain whose approach begins beside the end of what was before."""
    return changed(2, positions=tuple((0.2 + by + a, -0.2 + b) for a, b in ROWS))


@pytest.mark.parametrize(("made", "place", "choice", "words"), TABLES["no chains"])
def test_a_chain_that_is_no_plan_is_refused(made: list[Any], place: bool, choice: list[Any], words: str) -> None:
    functions = globals() | {
        "all_but_the_last": lambda: steps()[:-1],
        "replaced": lambda at, step: [*steps()[:at], step, *steps()[at + 1 :]],
        "tuple": lambda *each: each,
    }
    with pytest.raises(errors.InputError, match=words):
        plan_of(GOAL, SCENE, DOWN if place else None, called(made, functions), *choice)


def test_a_start_within_the_tolerance_goes_on_and_goals_of_something_else_are_refused() -> None:
    assert is_plan_of(plan_of(GOAL, SCENE, None, away(0.009), 0), GOAL, SCENE)
    other = dataclasses.replace(SCENE, stamp_ns=SCENE.stamp_ns + 1)
    with pytest.raises(errors.InputError, match=r"goal: 'block' .* at 1000 ns. Expected 'block'.* at 1001 ns"):
        plan_of(GOAL, other, None, steps(), 0)
    with pytest.raises(errors.InputError, match="Make goals and scene from one resolution"):
        plan_of(GOAL, SCENE, dataclasses.replace(DOWN, target_id="cup"), steps(place=True), 0, 0)


LIMITS = ObservationConfig()
SECOND = 1_000_000_000


def transform(
    x: float = 0.0, turn_deg: float = 0.0, axis: str = "z", parent: str = "base", child: str = "camera"
) -> Transform:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler(axis, turn_deg, degrees=True).as_matrix()
    matrix[0, 3] = x
    return Transform(parent, child, matrix)


def test_an_observation_is_fresh_up_to_its_greatest_age_and_what_clocks_differ_by() -> None:
    check_fresh(10 * SECOND, 15 * SECOND, LIMITS)
    check_fresh(10 * SECOND + 90_000_000, 10 * SECOND, LIMITS)
    for stamp, now, words in (
        (10 * SECOND, 15 * SECOND + 10_000_000, r"5\.01 s old; 5 s are allowed"),
        (10 * SECOND + 200_000_000, 10 * SECOND, r"0\.20 s ahead.*observation.max_ahead.*Synchronise the clocks"),
        (10 * SECOND, 0, r"no message on /clock\. Start its publisher"),
    ):
        with pytest.raises(errors.StaleInputError, match=words):
            check_fresh(stamp, now, LIMITS)


def test_how_far_a_frame_moved_and_turned() -> None:
    for axis, angle in itertools.product("xyz", (0.0, 0.01, 0.4, 5.0, 90.0, 179.0, 180.0)):
        moved, turned = moved_by(transform(0.1), transform(0.13, angle, axis))
        assert (moved, turned) == (pytest.approx(0.03), pytest.approx(angle, abs=1e-5))


def test_camera_and_base_may_move_within_their_limits_and_not_beyond() -> None:
    check_camera_still(transform(), transform(0.004, 0.4), LIMITS)
    with pytest.raises(errors.SceneChangedError, match=r"the camera moved by 0\.010 m") as caught:
        check_camera_still(transform(), transform(0.010), LIMITS)
    assert (caught.value.moved, caught.value.limit) == pytest.approx((0.01, 0.005))
    assert caught.value.status_name == "SCENE_CHANGED"
    with pytest.raises(errors.SceneChangedError, match=r"0\.8°") as caught:
        check_camera_still(transform(), transform(0.0, 0.8), LIMITS)
    assert caught.value.turned_deg == pytest.approx(0.8)
    loose = ObservationConfig(base_moved=0.1, base_turned_deg=10.0)
    check_base_still(transform(), transform(0.05, 5.0), loose)
    with pytest.raises(errors.SceneChangedError, match="the base moved"):
        check_base_still(transform(), transform(0.2), loose)
    with pytest.raises(errors.TransformError, match="compared with"):
        check_camera_still(transform(), transform(child="other_camera"), LIMITS)


def test_a_transform_that_moves_as_robots_do_has_not_jumped() -> None:
    check_no_jump([(k * SECOND // 10, transform(0.1 * k, 10.0 * k)) for k in range(8)], LIMITS)
    check_no_jump([], LIMITS)
    check_no_jump([(0, transform()), (0, transform())], LIMITS)


def test_a_jump_is_refused() -> None:
    for samples in (
        [(0, transform()), (SECOND // 10, transform(0.3))],
        [(0, transform()), (SECOND // 10, transform(0.0, 30.0))],
        [(0, transform()), (0, transform(0.01))],
        [(SECOND, transform()), (0, transform(0.01))],
        [(0, transform()), (SECOND, transform()), (SECOND + SECOND // 100, transform(0.1))],
    ):
        with pytest.raises(errors.SceneChangedError, match=r"the transform base <- camera moved.*second publisher"):
            check_no_jump(samples, LIMITS)


def test_every_number_has_its_name_and_status_and_only_success_is_ok() -> None:
    """As the message definition declares them, apart from the table that is tested."""
    assert {code.name: number for number, code in CODES.items()} == dict(TABLES["declared"])
    assert [number for number, code in CODES.items() if code.status is Status.OK] == [1]
    assert all(len(code.sentence) > 10 for code in CODES.values())
    assert "-4711" in meaning_of(-4711).sentence
    for number, status in TABLES["statuses"]:
        assert meaning_of(number).status is Status(status), number
    for other in ("-1", 1.0, True, None):
        with pytest.raises(errors.InputError, match="a whole number"):
            meaning_of(other)  # type: ignore[arg-type]


def test_every_status_can_be_told_to_moveit_and_never_as_success_unless_it_is() -> None:
    for status in Status:
        assert number_of(status) in CODES
        assert (number_of(status) == 1) == (status is Status.OK)
    for name in ("SCENE_CHANGED", "UNREACHABLE", "PLANNER_UNAVAILABLE", "EXECUTION_FAILED", "CANCELLED"):
        assert meaning_of(number_of(Status[name])).status is Status[name], "there and back"
    assert number_of_error(errors.StandsWrongError(0, "too near", ("cup",), "move it")) == -10
    assert number_of_error(errors.NoPathError(0, "no path", (), "clear the way")) == -1


PIPELINE, NVIDIA = "pilz_industrial_motion_planner", "isaac_ros_cumotion"
SRDF = '<robot name="panda"><group name="panda_arm"><chain/></group>\n<group\n name = \'hand\'/></robot>'
VALUES = {
    "planning_pipelines": ["ompl", PIPELINE, NVIDIA],
    "default_planning_pipeline": "ompl",
    "robot_description_semantic": SRDF,
    "ompl.planning_plugins": [pipelines.OMPL],
    "ompl.response_adapters": [pipelines.VALIDATES],
    "ompl.panda_arm.planner_configs": ["RRTConnect", "PRM"],
    f"{PIPELINE}.planning_plugins": [pipelines.PILZ],
    f"{PIPELINE}.response_adapters": [pipelines.VALIDATES],
    f"{NVIDIA}.planning_plugins": [pipelines.CUMOTION],
}


def check(values: dict[str, Any] | None = None, **motion: Any) -> None:
    pipelines.check_pipelines({**VALUES, **(values or {})}, config(motion=motion).motion)


def test_the_defaults_fit_moveits_defaults() -> None:
    check()
    check(free_planner="RRTConnect")
    check(free_pipeline=PIPELINE, free_planner="PTP")
    check({f"{NVIDIA}.response_adapters": [pipelines.VALIDATES]}, free_pipeline=NVIDIA)


def test_what_is_not_known_is_not_judged() -> None:
    motion = config(motion={"group": "arm", "free_pipeline": "mine"}).motion
    pipelines.check_pipelines({}, motion)
    assert pipelines.first_names()[0] == "planning_pipelines"
    assert pipelines.further_names({}, config(motion={"straight_pipeline": ""}).motion) == ()
    assert {name.partition(".")[0] for name in pipelines.further_names(VALUES, config().motion)} == {"ompl", PIPELINE}
    assert "mine.arm.planner_configs" in pipelines.further_names(VALUES, motion)
    check({"robot_description_semantic": "<robot/>"}, group="arm")
    check({"ompl.panda_arm.planner_configs": None}, free_planner="mine")


def test_the_default_pipeline_is_that_of_move_group_and_humble_has_one_plugin() -> None:
    with pytest.raises(errors.InputError, match=r"free_planner.*PTP, LIN with Pilz"):
        check({"default_planning_pipeline": PIPELINE})
    check({"default_planning_pipeline": "gone"})  # then it is the first one, which is pipelines.OMPL
    humble = {
        f"{name}.planning_plugin": plugin for name, plugin in (("ompl", pipelines.OMPL), (PIPELINE, pipelines.PILZ))
    }
    humble |= {"planning_pipelines": ["ompl", PIPELINE]}
    pipelines.check_pipelines(humble, config().motion)  # it validates by itself
    with pytest.raises(errors.InputError, match="straight_planner"):
        pipelines.check_pipelines(humble, config(motion={"straight_planner": "PTP"}).motion)


@pytest.mark.parametrize(("values", "motion", "words"), TABLES["told"])
def test_what_moveit_would_fail_at_without_a_reason_is_told(values: Any, motion: Any, words: str) -> None:
    with pytest.raises(errors.InputError, match=words):
        check(values, **motion)
