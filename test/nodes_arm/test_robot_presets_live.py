# SPDX-License-Identifier: Apache-2.0
"""Robot presets on a live graph: doubles of drivers and move_group, pick.launch.py, and `spatial-vlm doctor --arm`."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from arm_graph import scene
from double_cell import DoubleCell
from geometry_msgs.msg import TransformStamped
from hardware_double import Spun
from live_process import ROOT, Started
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header, String
from tf2_msgs.msg import TFMessage

from spatial_vlm_ros.launcher import robots
from spatial_vlm_ros.manipulation.builtin_planner.robot import description, description_file
from spatial_vlm_ros.nodes import qos

pytestmark = pytest.mark.filterwarnings("ignore:failed to send response:RuntimeWarning")
NAMES = {
    "controller_actions": "/arm_controller/follow_joint_trajectory", "joint_states": "/joint_states",
    "gripper_states": "",
}  # fmt: skip
"""As the doubles are called; all else is the Panda's preset."""
CONTROLLERS = {"arm_controller": "active", "joint_state_broadcaster": "active"}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The Panda's preset with the names of the doubles, as a file of one's own."""
    values = yaml.safe_load((ROOT / "config" / "robots" / "panda.yaml").read_text())
    values["parameters"]["motion"] |= NAMES
    values["controllers"] = list(CONTROLLERS)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


class Surroundings(Node):
    """What else runs beside an arm: descriptions, transforms, a camera, a controller manager.

    Args:
        context: of rclpy.
        controllers: name → state.
    """

    def __init__(self, context: Any, controllers: dict[str, str]) -> None:
        super().__init__("surroundings", context=context)
        self._controllers = controllers
        srdf = (description() / "srdf" / "panda.srdf").read_text().replace('name="arm"', 'name="panda_arm"')
        told = {"robot_description": description_file().read_text(), "robot_description_semantic": srdf}
        self._texts = [self.create_publisher(String, name, qos.DESCRIPTION) for name in told]
        for publisher, text in zip(self._texts, told.values(), strict=True):
            publisher.publish(String(data=text))
        self._static = self.create_publisher(TFMessage, "/tf_static", qos.STATIC_TRANSFORMS)
        self._moving = self.create_publisher(TFMessage, "/tf", qos.TRANSFORMS)
        self._static.publish(TFMessage(transforms=[self._pose("eye")]))
        self._info = self.create_publisher(CameraInfo, "rgb/camera_info", 5)
        self.create_timer(0.05, self._tell)
        if importlib.util.find_spec("controller_manager_msgs") is not None:
            from controller_manager_msgs.srv import ListControllers

            self.create_service(ListControllers, "/controller_manager/list_controllers", self._list)

    def _pose(self, child: str) -> TransformStamped:
        stamp = self.get_clock().now().to_msg()
        told = TransformStamped(header=Header(stamp=stamp, frame_id="panda_link0"), child_frame_id=child)
        told.transform.translation.x, told.transform.translation.z = 0.5, 0.5
        return told

    def _tell(self) -> None:
        self._moving.publish(TFMessage(transforms=[self._pose("panda_hand_tcp")]))
        self._info.publish(CameraInfo(header=Header(frame_id="eye")))

    def _list(self, _: Any, response: Any) -> Any:
        from controller_manager_msgs.msg import ControllerState

        response.controller = [ControllerState(name=name, state=state) for name, state in self._controllers.items()]
        return response


@pytest.fixture
def beside(domain: int) -> Iterator[Callable[[dict[str, str]], None]]:
    """Starts what runs beside an arm."""
    spun = Spun(domain)
    yield lambda controllers: spun.spin(Surroundings(spun.context, controllers))
    spun.close()


def diagnosis(examining: Started) -> tuple[int, list[dict[str, str]]]:
    """The exit code and the findings of a doctor that has ended."""
    code = examining.ends()
    lines = [line for line in examining.output.splitlines() if line.startswith("{")]
    assert len(lines) == 1, examining.output
    return code, json.loads(lines[0])["findings"]


def test_a_robot_at_which_all_is_well(
    make_cell: Callable[..., DoubleCell], beside: Callable[..., None], program: Callable[..., Started], mine: Path
) -> None:
    make_cell(gripper="franka")
    beside(CONTROLLERS)
    code, found = diagnosis(program("doctor", "--arm", "--robot", str(mine), "--json", "--seconds", "3"))
    assert code == 0, found
    well = {each["check"] for each in found if each["level"] == "ok"}
    assert well >= {"planner", "planning pipelines", "gripper", "joint states", "joint limits", "tf"}, found
    assert well >= {"planning scene"}, found
    if importlib.util.find_spec("controller_manager_msgs") is not None:
        assert "controllers" in well


def test_faults_of_a_robot_are_named(
    make_cell: Callable[..., DoubleCell], beside: Callable[..., None], program: Callable[..., Started], mine: Path
) -> None:
    cell = make_cell(gripper="franka")
    beside({"arm_controller": "inactive"})
    with cell.hardware.lock:
        joint = cell.hardware.joints["panda_joint4"]
        joint.position = joint.command = -3.2
    values = yaml.safe_load(mine.read_text())
    values["parameters"]["motion"] |= {"gripper_action": "/hand", "finger_joints": "knuckle", "tip_link": "tcp"}
    mine.write_text(yaml.safe_dump(values))
    code, found = diagnosis(program("doctor", "--arm", "--robot", str(mine), "--json", "--seconds", "2"))
    assert code == 3
    errors = {each["check"]: each for each in found if each["level"] == "error"}
    assert {"gripper", "joint limits", "tf", "URDF"} <= set(errors), found
    assert "panda_joint4 is at -3.200 rad" in errors["joint limits"]["found"]
    assert all(each["repair"] for each in errors.values())
    if importlib.util.find_spec("controller_manager_msgs") is not None:
        assert {"controllers"} <= set(errors)


def test_an_object_is_taken_with_the_preset_of_the_panda(make_cell: Callable[..., DoubleCell], mine: Path) -> None:
    motion = robots.robot_preset(ROOT, str(mine)).planning("moveit").motion
    cell = make_cell(gripper="franka")
    wanted = {f.name for f in dataclasses.fields(motion)} - {"velocity_scaling", "acceleration_scaling"}
    given = {name: getattr(motion, name) for name in wanted if f"motion.{name}" in preset_values(mine)}
    client = cell.client(**given)
    plan = cell.plan(client, scene(), put=True)
    cell.robot.hold(0.04)
    client.execute(plan)
    assert len(cell.arm.taken) == len(plan.trajectories)
    assert cell.beside(plan.steps[-1]) < 0.01


def preset_values(path: Path) -> dict[str, Any]:
    return robots.robot_preset(ROOT, str(path)).values("moveit")


@pytest.mark.parametrize("robot", ["panda", "ur5e_robotiq"])
def test_the_launch_file_starts_resolver_and_gate(robot: str, program: Callable[..., Started], tmp_path: Path) -> None:
    record = f"audit_log:={tmp_path / 'audit.jsonl'}"
    up = program("up", "pick", f"robot:={robot}", "camera:=realsense", "planner:=moveit", "page:=false", record,
                 "robot_description:=/")  # fmt: skip
    up.says("planner_gate is ready; plan_only is set: nothing will move")
    up.says("resolver is active")
    up.interrupt()
    assert up.ends() == 0, up.output
