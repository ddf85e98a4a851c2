# SPDX-License-Identifier: Apache-2.0
"""Robot presets: each is complete, names its sources, and gives the nodes of pick.launch.py what they understand."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tables import rows

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.launcher import plan, wiring
from spatial_vlm_ros.manipulation.grippers import command_stroke, finger_stroke
from spatial_vlm_ros.nodes import parameters
from spatial_vlm_ros.nodes.arm.arm_planner import served_arm
from spatial_vlm_ros.parameters import DESCRIPTION_TOPIC, ArmPlannerConfig, GateConfig, PlanningConfig, robot_from

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "launch" / "pick.launch.py"
ROBOTS = wiring.robot_names(ROOT)
GATE = parameters.declared(GateConfig(), PlanningConfig())
NEEDED = {
    "planning_frame", "base_link", "group", "tip_link", "at_flange", "finger_links", "finger_joints", "finger_table",
    "controller_actions", "joint_states", "gripper_interface", "gripper_action", "velocity_scaling",
    "acceleration_scaling",
}  # fmt: skip
NAME = re.compile(r"(/[a-zA-Z][a-zA-Z0-9_]*)+")


def planned(**given: str) -> dict[str, plan.Process]:
    return {process.executable: process for process in plan.plan(FILE, given)}


def merge(values: dict[str, Any], change: dict[str, Any]) -> None:
    """Change what is named, in groups of groups; None takes it away."""
    for name, new in change.items():
        if new is None:
            del values[name]
        elif isinstance(new, dict) and new and name in values:
            merge(values[name], new)
        else:
            values[name] = new


def written(tmp_path: Path, change: dict[str, Any]) -> Path:
    """The Panda's preset with a change, as a file of one's own."""
    values = yaml.safe_load((ROOT / "config" / "robots" / "panda.yaml").read_text())
    merge(values, change)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize("robot", ROBOTS)
def test_a_preset_names_its_sources_and_says_that_it_was_not_run(robot: str) -> None:
    assert {"panda", "fr3", "ur5e_robotiq"} <= set(ROBOTS)
    text = (ROOT / "config" / "robots" / f"{robot}.yaml").read_text()
    head = " ".join(text[: text.index("title:")].replace("#", " ").split())
    assert "Written from sources, not run on this robot." in head
    assert re.search(r"Source: https://github\.com/\S+, (branch \w+, )?commit [0-9a-f]{8}", head)
    for line in ("group:", "tip_link:", "gripper_interface:", "controller_actions:", "joint_limits:"):
        above = text[: text.index(line)].splitlines()[-8:]
        assert any("#" in each for each in above), line


@pytest.mark.parametrize("robot", ROBOTS)
def test_a_preset_is_complete(robot: str) -> None:
    preset = wiring.robot_preset(ROOT, robot)
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
        for name, value in values.items():
            assert type(value) is type(GATE[name][0]), name
    gate = planned(robot=robot)["planner_gate"]
    assert preset.values("moveit").items() <= gate.parameters.items()
    assert len(preset.joint_limits) in (6, 7)
    actions = preset.planning("moveit").motion.controller_actions
    assert any(f"/{name}/" in actions for name in preset.controllers)


def test_the_robotiq_has_the_widths_that_were_computed() -> None:
    stroke = command_stroke(wiring.robot_preset(ROOT, "ur5e_robotiq").planning("moveit").motion)
    assert stroke.position(0.0) == pytest.approx(0.7929)
    assert stroke.position(0.085) == pytest.approx(0.0)
    assert stroke.position(0.0453) == pytest.approx(0.4)  # proportion would say 0.37


def test_resolver_and_gate_stand_in_the_robots_frame_unless_another_is_said() -> None:
    own = [(robot, {}, frame) for robot, frame in (("panda", "panda_link0"), ("fr3", "fr3_link0"))]
    ur5e = [("ur5e_robotiq", {}, "base_link"), ("ur5e_robotiq", {"base_frame": "world"}, "world")]
    for robot, said, frame in (*own, *ur5e):
        nodes = planned(robot=robot, camera="realsense", **said)
        assert nodes["resolver"].parameters["base_frame"] == frame
        assert nodes["planner_gate"].parameters["motion.planning_frame"] == frame
        assert dict(nodes["resolver"].remappings)["rgb/image"] == "/camera/camera/color/image_raw"


def test_nothing_moves_and_nothing_fast_unless_that_is_said_and_the_way_can_be_watched() -> None:
    gate = planned(robot="panda", watch_depth="/depth", watch_silence="1.0")["planner_gate"]
    assert {"plan_only": True, "watch_depth": "/depth", "watch_silence": 1.0}.items() <= gate.parameters.items()
    gate = planned(robot="fr3", plan_only="false", velocity_scaling="0.3")["planner_gate"]
    said = {"plan_only": False, "motion.velocity_scaling": 0.3, "motion.acceleration_scaling": 0.1}
    assert said.items() <= gate.parameters.items()


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


def test_the_built_in_planner_knows_the_ur5e_and_takes_whole_numbers(tmp_path: Path) -> None:
    assert planned(robot="ur5e_robotiq", planner="built-in")["arm_planner"].parameters["arm"] == "ur5e"
    path = written(tmp_path, {"planners": {"built-in": {"arm_planner": {"padding": 0}}}})
    padding = planned(robot=str(path), planner="built-in")["arm_planner"].parameters["padding"]
    assert isinstance(padding, float)


@pytest.mark.parametrize(("given", "error", "said"), rows(__file__, "pick_arguments_refused"))
def test_arguments_that_cannot_be_are_refused(given: dict[str, str], error: str, said: str) -> None:
    with pytest.raises(getattr(errors, error), match=said):
        planned(**given)


def test_a_preset_of_ones_own_is_used_by_its_path(tmp_path: Path) -> None:
    path = written(tmp_path, {"parameters": {"motion": {"group": "left_arm"}}})
    assert planned(robot=str(path))["planner_gate"].parameters["motion.group"] == "left_arm"
    preset = robot_from("bare", {**yaml.safe_load(path.read_text()), "parameters": {}, "planners": {"moveit": {}}})
    assert preset.values("moveit") == {}
    with pytest.raises(FileError, match=r"gone\.yaml: no such file.*or one of: fr3, panda"):
        planned(robot=str(tmp_path / "gone.yaml"))
    path.write_text("- panda\n")
    with pytest.raises(InputError, match=r"robot mine: .*names with values"):
        planned(robot=str(path))
    path.write_text("{")
    with pytest.raises(FileError, match=r"mine\.yaml"):
        planned(robot=str(path))


@pytest.mark.parametrize(("change", "planner", "said"), rows(__file__, "presets_refused"))
def test_a_preset_that_cannot_be_used_says_why(tmp_path: Path, change: Any, planner: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        planned(robot=str(written(tmp_path, change)), planner=planner)


def test_the_robot_that_the_camera_sees_is_the_one_that_the_driver_tells() -> None:
    for said, resolver, gate in (
        ({}, DESCRIPTION_TOPIC, ""),  # the gate listens to the topic itself
        ({"robot_description": "/robot.urdf"}, "/robot.urdf", "/robot.urdf"),
        ({"robot_description": "/"}, "", "/"),
    ):
        nodes = planned(robot="panda", **said)
        told = [nodes[name].parameters["robot_description"] for name in ("resolver", "planner_gate")]
        assert told == [resolver, gate]


@pytest.mark.parametrize("robot", ROBOTS)
def test_fingers_close_along_y_of_the_tip_whoever_plans(robot: str) -> None:
    """The gripper hangs on the flange one way: both planners have to know the same."""
    pin = pytest.importorskip("pinocchio")
    preset = wiring.robot_preset(ROOT, robot)
    given = preset.arm_planner() if "built-in" in preset.planners else {}
    if "arm" not in given:
        pytest.skip(f"{robot}: the URDF is the integrator's")
    model = served_arm(ArmPlannerConfig(**given)).model
    flange = {"panda": "panda_link8", "ur5e": "tool0"}[given["arm"]]

    def flange_T(link: str, *opening: float) -> Any:
        data = model.model.createData()
        pin.framesForwardKinematics(model.model, data, model.configuration(*opening))
        return data.oMf[model.model.getFrameId(flange)].inverse() * data.oMf[model.model.getFrameId(link)]

    finger = next(name for name in model.hand_links if "finger" in name)
    closed, opened = (np.array(flange_T(finger, opening).translation) for opening in (0.0, model.widest))
    along = (opened - closed) / np.linalg.norm(opened - closed)
    for planner in ("moveit", "built-in"):
        config = preset.planning(planner)
        tip = config.motion.tip_link
        yaw = math.radians(config.gripper.tip_yaw_deg)
        own = np.array([-math.sin(yaw), math.cos(yaw), 0.0])  # y of the tip in the flange
        y = own if config.motion.at_flange else flange_T(tip).rotation[:, 1]
        assert abs(float(y @ own)) > 0.99, f"{planner}: {tip} is not turned as tip_yaw_deg says"
        assert abs(float(along @ y)) > 0.99, f"{planner}: fingers close along {along.round(2)} of {flange}, not {y}"
