# SPDX-License-Identifier: Apache-2.0
"""Which arm `arm_planner` plans for, by its parameters; nothing is started here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from moveit_msgs.msg import PlanningScene

from spatial_vlm_ros.errors import FileError, InputError, RobotDescriptionError
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import ARMS
from spatial_vlm_ros.manipulation.builtin_planner.robot import panda
from spatial_vlm_ros.nodes.arm.motion_messages import box_object
from spatial_vlm_ros.nodes.arm.planning_scene import ArmScene
from spatial_vlm_ros.nodes.arm.served_arm import ServedArm, served_arm
from spatial_vlm_ros.parameters import ArmPlannerConfig

UR = ARMS["ur5e"]


def told(**parameters: Any) -> ServedArm:
    return served_arm(ArmPlannerConfig(**parameters))


def described(**changed: str) -> dict[str, str]:
    """Parameters that describe the UR5e as an arm of one's own."""
    whole = {
        "robot_description": str(UR.urdf()), "robot_description_semantic": str(UR.srdf()), "group": "ur_manipulator",
        "end_effector": "gripper", "joint_limits": str(UR.urdf().with_suffix(".yaml")),
    }  # fmt: skip
    return {**whole, **changed}


def test_it_is_a_panda_unless_another_arm_is_named() -> None:
    assert told().model is panda()
    assert (told().title, told().groups) == ("Panda", ("panda_arm", "arm"))
    ur = told(arm="ur5e")
    assert (ur.title, ur.groups, ur.model) == ("UR5e", ("ur_manipulator",), UR.model())
    with pytest.raises(InputError, match="panda or ur5e"):
        told(arm="ur10")


def test_any_arm_is_read_from_files_or_texts() -> None:
    for each in (described(), described(robot_description=UR.urdf().read_text()),
                 described(robot_description_semantic=UR.srdf().read_text())):  # fmt: skip
        arm = told(**each)
        assert arm.model.joints == UR.joints
        assert arm.groups == ("ur_manipulator",)
        assert arm.title == "ur5e_2f85"
    assert told(**described(tip_link="tool0", openings="0:0 0.08:0.04")).model.widest == pytest.approx(0.08)


@pytest.mark.parametrize("name", ["robot_description_semantic", "group", "end_effector", "joint_limits"])
def test_an_arm_that_is_described_in_part_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"parameter {name}: empty, but robot_description is set.*set all of"):
        told(**described(**{name: ""}))
    if name != "robot_description_semantic":
        with pytest.raises(InputError, match=rf"empty, but {name} is set. Expected a URDF.*empty for the Panda"):
            told(**{name: "x"})


def test_bad_descriptions_are_refused_with_what_to_do(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, str], type[Exception], str]] = [
        ({"robot_description": str(tmp_path / "no.urdf")}, FileError, "no such file"),
        (
            {"robot_description_semantic": str(ARMS["panda"].srdf())},
            RobotDescriptionError,
            "Pass the SRDF that belongs",
        ),
        ({"group": "manipulator"}, RobotDescriptionError, "one of the SRDF's groups: gripper, ur_manipulator"),
        ({"end_effector": "ur_manipulator"}, RobotDescriptionError, "Name a group that has the gripper's joints only"),
        ({"openings": "0.1"}, InputError, '"0:0.79 0.085:0"'),
        ({"tip_link": "base_link"}, RobotDescriptionError, "Set tip_link to the link between the fingertips"),
    ]
    for changed, kind, words in cases:
        with pytest.raises(kind, match=words):
            told(**described(**changed))


def test_the_scene_is_kept_in_the_frame_of_the_arms_base_and_by_its_hand() -> None:
    model = UR.model()
    scene = ArmScene(model.fixed_links(), robot=model.name, base_link="base_link", hand_links=model.hand_links)
    crate = box_object("crate", "base_link", np.eye(4), (0.1, 0.1, 0.1))
    message = PlanningScene(is_diff=True)
    message.world.collision_objects = [crate]
    changed = scene.changed(message, None)
    assert changed.message().robot_model_name == "ur5e_2f85"
    assert changed.message().world.collision_objects[0].header.frame_id == "base_link"
    whole = changed.changed(PlanningScene(), None)  # not a diff: everything is replaced but the arm
    assert (dict(whole.bodies), whole.base_link) == ({}, "base_link")
    crate.header.frame_id = "panda_link0"
    with pytest.raises(InputError, match="Expected base_link"):
        scene.changed(message, None)


def test_the_gripper_of_a_known_arm_is_turned_only_where_it_may_be() -> None:
    turned = told(arm="ur5e", gripper_yaw_deg=90.0)
    assert (turned.title, turned.groups) == ("UR5e", ("ur_manipulator",))
    assert turned.model is not UR.model()
    with pytest.raises(InputError, match=r"gripper_yaw_deg: 90, with arm panda.*URDF of your Panda"):
        told(arm="panda", gripper_yaw_deg=90.0)
    with pytest.raises(InputError, match=r"gripper_yaw_deg: 90, but robot_description is set.*in the URDF"):
        told(**described(), gripper_yaw_deg=90.0)
