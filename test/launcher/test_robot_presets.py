# SPDX-License-Identifier: Apache-2.0
"""Robot presets: each is complete, names its sources, and gives the nodes of pick.launch.py what they understand."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from spatial_vlm_ros.cli.up import up
from spatial_vlm_ros.errors import FileError, InputError, UnknownNameError
from spatial_vlm_ros.launcher import plan, robots
from spatial_vlm_ros.manipulation.grippers.stroke import command_stroke, finger_stroke
from spatial_vlm_ros.nodes import parameters
from spatial_vlm_ros.nodes.arm.served_arm import served_arm
from spatial_vlm_ros.parameters import DESCRIPTION_TOPIC, ArmPlannerConfig, GateConfig, PlanningConfig, robot_from

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "launch" / "pick.launch.py"
ROBOTS = robots.robot_names(ROOT)
GATE = parameters.declared(GateConfig(), PlanningConfig())
NEEDED = {
    "planning_frame", "base_link", "group", "tip_link", "at_flange", "finger_links", "finger_joints", "finger_table",
    "controller_actions", "joint_states", "gripper_interface", "gripper_action", "velocity_scaling",
    "acceleration_scaling",
}  # fmt: skip
NAME = re.compile(r"(/[a-zA-Z][a-zA-Z0-9_]*)+")


def planned(**given: str) -> dict[str, plan.Process]:
    return {process.executable: process for process in plan.plan(FILE, given).processes}


def written(tmp_path: Path, change: Any) -> Path:
    """The Panda's preset with a change, as a file of one's own."""
    values = yaml.safe_load((ROOT / "config" / "robots" / "panda.yaml").read_text())
    change(values)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_the_robots_that_are_asked_for_are_there() -> None:
    assert {"panda", "fr3", "ur5e_robotiq"} <= set(ROBOTS)


@pytest.mark.parametrize("robot", ROBOTS)
def test_a_preset_names_its_sources_and_says_that_it_was_not_run(robot: str) -> None:
    text = (ROOT / "config" / "robots" / f"{robot}.yaml").read_text()
    head = " ".join(text[: text.index("title:")].replace("#", " ").split())
    assert "Written from sources, not run on this robot." in head
    assert re.search(r"Source: https://github\.com/\S+, (branch \w+, )?commit [0-9a-f]{8}", head)
    for line in ("group:", "tip_link:", "gripper_interface:", "controller_actions:", "joint_limits:"):
        above = text[: text.index(line)].splitlines()[-8:]
        assert any("#" in each for each in above), line


@pytest.mark.parametrize("robot", ROBOTS)
def test_a_preset_is_complete(robot: str) -> None:
    preset = robots.robot_preset(ROOT, robot)
    assert set(preset.planners) == {"moveit", "built-in"}
    for planner in preset.planners:
        motion, values = preset.planning(planner).motion, preset.values(planner)
        assert {name.removeprefix("motion.") for name in values if name.startswith("motion.")} >= NEEDED
        for name in (motion.gripper_action, motion.joint_states, *motion.controller_actions.split()):
            assert NAME.fullmatch(name), name
        assert motion.velocity_scaling <= 0.1  # for the first motions
        assert motion.acceleration_scaling <= 0.1
        assert motion.gripper_joint or motion.gripper_interface != "parallel_gripper_command"
        opened = preset.planning(planner).gripper.opening_max
        told, measured = command_stroke(motion), finger_stroke(motion)
        assert told.width(told.position(opened)) == pytest.approx(opened)
        assert measured is None or measured.width(measured.position(opened)) == pytest.approx(opened)
    assert len(preset.joint_limits) in (6, 7)
    actions = preset.planning("moveit").motion.controller_actions
    assert any(f"/{name}/" in actions for name in preset.controllers)


@pytest.mark.parametrize("robot", ROBOTS)
def test_every_parameter_is_declared_with_its_type(robot: str) -> None:
    for planner in ("moveit", "built-in"):
        values = robots.robot_preset(ROOT, robot).values(planner)
        for name, value in values.items():
            assert type(value) is type(GATE[name][0]), name
    gate = planned(robot=robot)["planner_gate"]
    for name, value in robots.robot_preset(ROOT, robot).values("moveit").items():
        assert gate.parameters[name] == value


def test_the_robotiq_has_the_widths_that_were_computed() -> None:
    stroke = command_stroke(robots.robot_preset(ROOT, "ur5e_robotiq").planning("moveit").motion)
    assert stroke.position(0.0) == pytest.approx(0.7929)
    assert stroke.position(0.085) == pytest.approx(0.0)
    assert stroke.position(0.0453) == pytest.approx(0.4)  # proportion would say 0.37


def test_resolver_and_gate_stand_in_the_robots_frame_unless_another_is_said() -> None:
    for robot, frame in (("panda", "panda_link0"), ("fr3", "fr3_link0"), ("ur5e_robotiq", "base_link")):
        nodes = planned(robot=robot, camera="realsense")
        assert nodes["resolver"].parameters["base_frame"] == frame
        assert nodes["planner_gate"].parameters["motion.planning_frame"] == frame
        assert dict(nodes["resolver"].remappings)["rgb/image"] == "/camera/camera/color/image_raw"
    nodes = planned(robot="ur5e_robotiq", base_frame="world")
    assert nodes["resolver"].parameters["base_frame"] == "world"
    assert nodes["planner_gate"].parameters["motion.planning_frame"] == "world"
    with pytest.raises(InputError, match=r"base_frame: .*Omit base_frame to use 'panda_link0'"):
        planned(robot="panda", base_frame="/")


def test_nothing_moves_unless_that_is_said() -> None:
    assert planned(robot="panda")["planner_gate"].parameters["plan_only"] is True
    assert planned(robot="panda", plan_only="false")["planner_gate"].parameters["plan_only"] is False


def test_speed_is_an_argument() -> None:
    gate = planned(robot="fr3", velocity_scaling="0.3")["planner_gate"]
    assert gate.parameters["motion.velocity_scaling"] == 0.3
    assert gate.parameters["motion.acceleration_scaling"] == 0.1
    for wrong in ("0", "1.5", "fast", "nan"):
        with pytest.raises(InputError, match=r"argument acceleration_scaling.*0.01 to 1"):
            planned(robot="fr3", acceleration_scaling=wrong)


# ------------------------------------------------------------------------------------------------ the built-in planner


@pytest.mark.parametrize("robot", ["panda", "panda_moveit"])
def test_the_built_in_planner_of_a_panda_commands_its_controller(robot: str) -> None:
    nodes = planned(robot=robot, planner="built-in", namespace="left")
    planner, gate = nodes["arm_planner"], nodes["planner_gate"]
    action = "/panda_arm_controller/follow_joint_trajectory"
    assert planner.parameters["controller"] == gate.parameters["motion.controller_actions"] == action
    assert dict(planner.remappings)["joint_states"] == gate.parameters["motion.joint_states"]
    assert gate.parameters["motion.tip_link"] == "panda_hand_tcp"  # which arm_planner knows
    assert planner.namespace == gate.namespace == "left"
    assert set(planner.parameters) <= {*parameters.declared(ArmPlannerConfig()), "use_sim_time"}


def test_the_built_in_planner_knows_the_ur5e() -> None:
    assert planned(robot="ur5e_robotiq", planner="built-in")["arm_planner"].parameters["arm"] == "ur5e"


def test_a_misspelled_parameter_of_the_built_in_planner_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, lambda values: values["planners"]["built-in"].update(arm_planner={"amr": "panda"}))
    with pytest.raises(UnknownNameError, match=r"parameter of arm_planner of robot mine 'amr'.*arm"):
        planned(robot=str(path), planner="built-in")


def test_the_built_in_planner_of_an_fr3_needs_its_files() -> None:
    with pytest.raises(InputError, match=r"argument robot_description: no value.*planner:=moveit"):
        planned(robot="fr3", planner="built-in")
    with pytest.raises(InputError, match="argument robot_description_semantic: no value"):
        planned(robot="fr3", planner="built-in", robot_description="/fr3.urdf")


# ------------------------------------------------------------------------------------------------ what is refused


def test_a_robot_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(UnknownNameError, match=r"robot 'kuka'.*fr3, panda, panda_moveit, ur5e_robotiq.*of your own"):
        planned(robot="kuka")
    with pytest.raises(InputError, match=r"argument robot: no value.*fr3, panda"):
        planned()
    done = CliRunner().invoke(up, ["pick", "robot:=kuka"])
    assert done.exit_code == 2
    assert "ur5e_robotiq" in done.output
    with pytest.raises(InputError, match=r"argument planner: 'ompl'\. Expected 'moveit' or 'built-in'"):
        planned(robot="panda", planner="ompl")


def test_a_preset_of_ones_own_is_used_by_its_path(tmp_path: Path) -> None:
    path = written(tmp_path, lambda values: values["parameters"]["motion"].update(group="left_arm"))
    assert planned(robot=str(path))["planner_gate"].parameters["motion.group"] == "left_arm"
    with pytest.raises(FileError, match=r"gone\.yaml: no such file.*or one of: fr3, panda"):
        planned(robot=str(tmp_path / "gone.yaml"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda values: values.update(gripper="franka"), r"key of robot mine 'gripper'"),
        (lambda values: values.pop("controllers"), "controllers is missing"),
        (lambda values: values.update(controllers="panda_arm_controller"), "a list of names"),
        (lambda values: values.update(joint_limits={}), "no joints"),
        (lambda values: values["joint_limits"]["panda_joint1"].pop("max_velocity"), "max_velocity of joint panda_j"),
        (lambda values: values["joint_limits"]["panda_joint1"].update(min_position=3.0), "panda_joint1.*a range"),
        (lambda values: values["parameters"]["motion"].update(tip="x"), "parameter of motion 'tip'"),
        (lambda values: values["parameters"]["motion"].update(velocity_scaling=2), "velocity_scaling: 2"),
        (lambda values: values["parameters"]["motion"].update(group=7), "group: 7"),
        (lambda values: values["parameters"].update(arm={}), "group of parameters of robot mine 'arm'"),
        (lambda values: values["planners"].update(ompl={}), "planner of robot mine 'ompl'"),
        (lambda values: values.update(title=3), "title of robot mine"),
        (lambda values: values.update(planners=[]), "planners of robot mine"),
    ],
)  # fmt: skip
def test_a_preset_that_cannot_be_used_says_why(tmp_path: Path, change: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        planned(robot=str(written(tmp_path, change)))


def test_a_file_of_another_form_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("- panda\n")
    with pytest.raises(InputError, match=r"robot mine: .*names with values"):
        planned(robot=str(path))
    path.write_text("{")
    with pytest.raises(FileError, match=r"mine\.yaml"):
        planned(robot=str(path))


def test_a_robot_without_a_planner_says_which_it_has(tmp_path: Path) -> None:
    path = written(tmp_path, lambda values: values["planners"].pop("built-in"))
    with pytest.raises(UnknownNameError, match=r"planner of robot mine 'built-in'.*moveit"):
        planned(robot=str(path), planner="built-in")
    preset = robot_from("bare", {**yaml.safe_load(path.read_text()), "parameters": {}, "planners": {"moveit": {}}})
    assert preset.values("moveit") == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda values: values["planners"]["built-in"]["arm_planner"].update(arm="ur10"), "parameter arm: 'ur10'"),
        (lambda values: values["planners"]["built-in"]["arm_planner"].update(padding="wide"), "padding: 'wide'"),
        (lambda values: values["parameters"]["motion"].update(controller_actions=""), "controller_actions.*not set"),
        (lambda values: values["joint_limits"]["panda_joint1"].update(min_position=-166, max_position=166),
         "positions of joint panda_joint1.*radians, not degrees"),
    ],
)  # fmt: skip
def test_a_preset_that_the_built_in_planner_cannot_use_says_why(tmp_path: Path, change: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        planned(robot=str(written(tmp_path, change)), planner="built-in")


def test_a_whole_number_for_the_built_in_planner_is_a_float(tmp_path: Path) -> None:
    path = written(tmp_path, lambda values: values["planners"]["built-in"]["arm_planner"].update(padding=0))
    padding = planned(robot=str(path), planner="built-in")["arm_planner"].parameters["padding"]
    assert isinstance(padding, float)


def test_an_srdf_that_would_not_be_read_is_refused() -> None:
    with pytest.raises(InputError, match=r"robot_description_semantic.*the preset sets arm: panda.*Omit it"):
        planned(robot="panda", planner="built-in", robot_description_semantic="/mine.srdf")


# ------------------------------------------------------------------------------------------------ the robot itself


def test_the_robot_that_the_camera_sees_is_the_one_that_the_driver_tells() -> None:
    nodes = planned(robot="panda")
    assert nodes["resolver"].parameters["robot_description"] == DESCRIPTION_TOPIC
    assert nodes["planner_gate"].parameters["robot_description"] == ""  # it listens to the topic itself
    given = planned(robot="panda", robot_description="/robot.urdf")
    assert {given[name].parameters["robot_description"] for name in ("resolver", "planner_gate")} == {"/robot.urdf"}
    none = planned(robot="panda", robot_description="/")
    assert (none["resolver"].parameters["robot_description"], none["planner_gate"].parameters["robot_description"]) == (
        "", "/",
    )  # fmt: skip


def test_the_way_of_a_real_arm_can_be_watched() -> None:
    gate = planned(robot="panda", watch_depth="/depth", watch_silence="1.0")["planner_gate"]
    assert (gate.parameters["watch_depth"], gate.parameters["watch_silence"]) == ("/depth", 1.0)


@pytest.mark.parametrize("robot", ROBOTS)
def test_fingers_close_along_y_of_the_tip_whoever_plans(robot: str) -> None:
    """The gripper hangs on the flange one way: both planners have to know the same."""
    pin = pytest.importorskip("pinocchio")
    preset = robots.robot_preset(ROOT, robot)
    given = preset.arm_planner() if "built-in" in preset.planners else {}
    if "arm" not in given:
        pytest.skip(f"{robot}: the URDF is the integrator's")
    model = served_arm(ArmPlannerConfig(**given)).model
    flange = {"panda": "panda_link8", "ur5e": "tool0"}[given["arm"]]
    for planner in ("moveit", "built-in"):
        config = preset.planning(planner)
        tip = config.motion.tip_link
        yaw = math.radians(config.gripper.tip_yaw_deg)
        data = model.model.createData()
        pin.framesForwardKinematics(model.model, data, model.configuration())
        flange_T_tip = data.oMf[model.model.getFrameId(flange)].inverse() * data.oMf[model.model.getFrameId(tip)]
        own = np.array([-math.sin(yaw), math.cos(yaw), 0.0])  # y of the tip in the flange
        y = own if config.motion.at_flange else flange_T_tip.rotation[:, 1]
        assert abs(float(y @ own)) > 0.99, f"{planner}: {tip} is not turned as tip_yaw_deg says"
        along = _closing(pin, model, flange)
        assert abs(float(along @ y)) > 0.99, f"{planner}: fingers close along {along.round(2)} of {flange}, not {y}"


def _closing(pin: Any, model: Any, flange: str) -> Any:
    """(3,) unit vector in the flange along which a finger moves while the gripper closes."""
    names = [name for name in model.hand_links if "finger" in name]
    at = []
    for opening in (0.0, model.widest):
        data = model.model.createData()
        pin.framesForwardKinematics(model.model, data, model.configuration(opening))
        flange_T_finger = (
            data.oMf[model.model.getFrameId(flange)].inverse() * data.oMf[model.model.getFrameId(names[0])]
        )
        at.append(np.array(flange_T_finger.translation))
    return (at[1] - at[0]) / np.linalg.norm(at[1] - at[0])
