# SPDX-License-Identifier: Apache-2.0
"""Pipelines and planners by name, as move_group's parameters have them."""

from __future__ import annotations

from typing import Any

import pytest
from planning_scenes import config

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.manipulation.planning.moveit_pipelines import (
    CUMOTION,
    OMPL,
    PILZ,
    VALIDATES,
    check_pipelines,
    first_names,
    further_names,
)

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


def test_the_default_pipeline_is_that_of_move_group() -> None:
    with pytest.raises(InputError, match=r"free_planner.*PTP, LIN with Pilz"):
        check({"default_planning_pipeline": PIPELINE})
    check({"default_planning_pipeline": "gone"})  # then it is the first one, which is OMPL


def test_humble_has_one_plugin_and_validates_by_itself() -> None:
    humble = {
        "planning_pipelines": ["ompl", PIPELINE],
        "ompl.planning_plugin": OMPL,
        f"{PIPELINE}.planning_plugin": PILZ,
    }
    check_pipelines(humble, config().motion)
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
