# SPDX-License-Identifier: Apache-2.0
"""MoveIt's error codes as statuses and back, and its pipelines and planners by name, as move_group has them."""

from __future__ import annotations

from typing import Any

import pytest
from planning_scenes import config

from spatial_vlm_ros.errors import InputError, NoPathError, StandsWrongError
from spatial_vlm_ros.manipulation.planning.moveit_codes import CODES, meaning_of, number_of, number_of_error
from spatial_vlm_ros.manipulation.planning.moveit_pipelines import (
    CUMOTION,
    OMPL,
    PILZ,
    VALIDATES,
    check_pipelines,
    first_names,
    further_names,
)
from spatial_vlm_ros.types import Status

# As the message definition declares them, apart from the table that is tested.
DECLARED = """
SUCCESS=1 UNDEFINED=0 FAILURE=99999 PLANNING_FAILED=-1 INVALID_MOTION_PLAN=-2
MOTION_PLAN_INVALIDATED_BY_ENVIRONMENT_CHANGE=-3 CONTROL_FAILED=-4 UNABLE_TO_AQUIRE_SENSOR_DATA=-5 TIMED_OUT=-6
PREEMPTED=-7 START_STATE_IN_COLLISION=-10 START_STATE_VIOLATES_PATH_CONSTRAINTS=-11 START_STATE_INVALID=-26
GOAL_IN_COLLISION=-12 GOAL_VIOLATES_PATH_CONSTRAINTS=-13 GOAL_CONSTRAINTS_VIOLATED=-14 GOAL_STATE_INVALID=-27
UNRECOGNIZED_GOAL_TYPE=-28 INVALID_GROUP_NAME=-15 INVALID_GOAL_CONSTRAINTS=-16 INVALID_ROBOT_STATE=-17
INVALID_LINK_NAME=-18 INVALID_OBJECT_NAME=-19 FRAME_TRANSFORM_FAILURE=-21 COLLISION_CHECKING_UNAVAILABLE=-22
ROBOT_STATE_STALE=-23 SENSOR_INFO_STALE=-24 COMMUNICATION_FAILURE=-25 CRASH=-29 ABORT=-30 NO_IK_SOLUTION=-31
"""


def test_every_number_has_its_name_and_only_success_is_ok() -> None:
    declared = {int(number): name for name, number in (entry.split("=") for entry in DECLARED.split())}
    assert {number: code.name for number, code in CODES.items()} == declared
    assert [number for number, code in CODES.items() if code.status is Status.OK] == [1]
    assert all(len(code.sentence) > 10 for code in CODES.values())
    assert "-4711" in meaning_of(-4711).sentence


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (-31, Status.UNREACHABLE),
        (-3, Status.SCENE_CHANGED),
        (-4, Status.EXECUTION_FAILED),
        (-7, Status.CANCELLED),
        (-21, Status.TF_UNAVAILABLE),
        (-29, Status.PLANNER_UNAVAILABLE),
        (-6, Status.PLANNING_FAILED),
        (-4711, Status.PLANNING_FAILED),
    ],
)
def test_numbers_become_statuses(number: int, status: Status) -> None:
    assert meaning_of(number).status is status


@pytest.mark.parametrize("number", ["-1", 1.0, True, None])
def test_what_is_no_number_is_refused(number: object) -> None:
    with pytest.raises(InputError, match="a whole number"):
        meaning_of(number)  # type: ignore[arg-type]


def test_every_status_can_be_told_to_moveit_and_never_as_success_unless_it_is() -> None:
    for status in Status:
        assert number_of(status) in CODES
        assert (number_of(status) == 1) == (status is Status.OK)
    for status in (
        Status.SCENE_CHANGED,
        Status.UNREACHABLE,
        Status.PLANNER_UNAVAILABLE,
        Status.EXECUTION_FAILED,
        Status.CANCELLED,
    ):
        assert meaning_of(number_of(status)).status is status, "there and back"
    assert number_of_error(StandsWrongError(0, "too near", ("cup",), "move it")) == -10
    assert number_of_error(NoPathError(0, "no path", (), "clear the way")) == -1


PIPELINE, NVIDIA = "pilz_industrial_motion_planner", "isaac_ros_cumotion"
SRDF = '<robot name="panda"><group name="panda_arm"><chain/></group>\n<group\n name = \'hand\'/></robot>'
VALUES = {
    "planning_pipelines": ["ompl", PIPELINE, NVIDIA],
    "default_planning_pipeline": "ompl",
    "robot_description_semantic": SRDF,
    "ompl.planning_plugins": [OMPL],
    "ompl.response_adapters": [VALIDATES],
    "ompl.panda_arm.planner_configs": ["RRTConnect", "PRM"],
    f"{PIPELINE}.planning_plugins": [PILZ],
    f"{PIPELINE}.response_adapters": [VALIDATES],
    f"{NVIDIA}.planning_plugins": [CUMOTION],
}


def check(values: dict[str, Any] | None = None, **motion: Any) -> None:
    check_pipelines({**VALUES, **(values or {})}, config(motion=motion).motion)


def test_the_defaults_fit_moveits_defaults() -> None:
    check()
    check(free_planner="RRTConnect")
    check(free_pipeline=PIPELINE, free_planner="PTP")
    check({f"{NVIDIA}.response_adapters": [VALIDATES]}, free_pipeline=NVIDIA)


def test_what_is_not_known_is_not_judged() -> None:
    motion = config(motion={"group": "arm", "free_pipeline": "mine"}).motion
    check_pipelines({}, motion)
    assert first_names()[0] == "planning_pipelines"
    assert further_names({}, config(motion={"straight_pipeline": ""}).motion) == ()
    assert {name.partition(".")[0] for name in further_names(VALUES, config().motion)} == {"ompl", PIPELINE}
    assert "mine.arm.planner_configs" in further_names(VALUES, motion)
    check({"robot_description_semantic": "<robot/>"}, group="arm")
    check({"ompl.panda_arm.planner_configs": None}, free_planner="mine")


def test_the_default_pipeline_is_that_of_move_group_and_humble_has_one_plugin() -> None:
    with pytest.raises(InputError, match=r"free_planner.*PTP, LIN with Pilz"):
        check({"default_planning_pipeline": PIPELINE})
    check({"default_planning_pipeline": "gone"})  # then it is the first one, which is OMPL
    humble = {f"{name}.planning_plugin": plugin for name, plugin in (("ompl", OMPL), (PIPELINE, PILZ))}
    humble |= {"planning_pipelines": ["ompl", PIPELINE]}
    check_pipelines(humble, config().motion)  # it validates by itself
    with pytest.raises(InputError, match="straight_planner"):
        check_pipelines(humble, config(motion={"straight_planner": "PTP"}).motion)


@pytest.mark.parametrize(
    ("values", "motion", "words"),
    [
        ({}, {"group": "panda"}, r"motion\.group: .*'panda'.*panda_arm"),
        ({}, {"free_pipeline": "stomp"}, r"motion\.free_pipeline: .*'stomp'.*ompl, pilz.*planning_pipelines of"),
        ({"planning_pipelines": ["ompl"]}, {}, r"motion\.straight_pipeline: .*pilz_industrial.*one of ompl"),
        ({}, {"free_planner": "RRTconnect"}, r"'RRTconnect'.*panda_arm has: RRTConnect, PRM.*silently use its default"),
        ({}, {"straight_planner": "PTP"}, r"straight_planner: .*'PTP'.*LIN"),
        ({}, {"straight_pipeline": "ompl", "straight_planner": ""}, r"straight line.*Use Pilz and LIN"),
        ({}, {"free_pipeline": PIPELINE}, r"''.*PTP, LIN with Pilz"),
        ({}, {"free_pipeline": NVIDIA}, r"'isaac_ros_cumotion', which does not check its paths.*Add default_planning"),
        ({f"{NVIDIA}.response_adapters": [VALIDATES]}, {"straight_pipeline": NVIDIA}, r"straight line"),
        ({f"{PIPELINE}.response_adapters": []}, {}, r"straight_pipeline: .*which does not check its paths"),
        ({f"{PIPELINE}.response_adapters": None}, {}, r"straight_pipeline: .*which does not check its paths"),
    ],
)  # fmt: skip
def test_what_moveit_would_fail_at_without_a_reason_is_told(
    values: dict[str, Any], motion: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        check(values, **motion)
