# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from spatial_vlm_ros.errors import InputError, NoPathError, StandsWrongError
from spatial_vlm_ros.manipulation.planning.moveit_codes import CODES, meaning_of, number_of, number_of_error
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


def test_every_number_has_its_name() -> None:
    declared = {int(number): name for name, number in (entry.split("=") for entry in DECLARED.split())}
    assert {number: code.name for number, code in CODES.items()} == declared


def test_only_success_is_ok_and_every_other_says_what_to_make_of_it() -> None:
    assert [number for number, code in CODES.items() if code.status is Status.OK] == [1]
    assert all(len(code.sentence) > 10 for code in CODES.values())


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
    ],
)
def test_numbers_become_statuses(number: int, status: Status) -> None:
    assert meaning_of(number).status is status


def test_an_unknown_number_is_a_failure_that_names_it() -> None:
    assert meaning_of(-4711).status is Status.PLANNING_FAILED
    assert "-4711" in meaning_of(-4711).sentence


@pytest.mark.parametrize("number", ["-1", 1.0, True, None])
def test_what_is_no_number_is_refused(number: object) -> None:
    with pytest.raises(InputError, match="a whole number"):
        meaning_of(number)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", list(Status))
def test_every_status_can_be_told_to_moveit_and_never_as_success_unless_it_is(status: Status) -> None:
    assert number_of(status) in CODES
    assert (number_of(status) == 1) == (status is Status.OK)


def test_an_arm_that_stands_wrong_is_told_as_a_start_in_collision() -> None:
    assert number_of_error(StandsWrongError(0, "too near", ("cup",), "move it")) == -10
    assert number_of_error(NoPathError(0, "no path", (), "clear the way")) == -1


@pytest.mark.parametrize(
    "status",
    [Status.SCENE_CHANGED, Status.UNREACHABLE, Status.PLANNER_UNAVAILABLE, Status.EXECUTION_FAILED, Status.CANCELLED],
)
def test_there_and_back_keeps_the_status(status: Status) -> None:
    assert meaning_of(number_of(status)).status is status
