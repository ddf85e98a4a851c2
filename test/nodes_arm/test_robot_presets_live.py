# SPDX-License-Identifier: Apache-2.0
"""A robot's preset on a live graph: doubles of its drivers and of move_group, and `spatial-vlm doctor --arm`."""

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from double_cell import DoubleCell
from geometry_msgs.msg import TransformStamped
from hardware_double import Spun
from live_process import ROOT, Started
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header, String
from tf2_msgs.msg import TFMessage

from spatial_vlm_ros.manipulation.builtin_planner.known_arms import description, description_file
from spatial_vlm_ros.nodes import qos

NAMES = {
    "controller_actions": "/arm_controller/follow_joint_trajectory", "joint_states": "/joint_states",
    "gripper_states": "",
}  # fmt: skip
"""As the doubles are called; all else is the Panda's preset."""
MANAGED = importlib.util.find_spec("controller_manager_msgs") is not None
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
    """What else runs beside an arm: descriptions, transforms, a camera, a controller manager."""

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
        if MANAGED:
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
def beside(shared_domain: int) -> Iterator[Callable[[dict[str, str]], None]]:
    spun = Spun(shared_domain)
    yield lambda controllers: spun.spin(Surroundings(spun.context, controllers))
    spun.close()


@pytest.fixture
def diagnosis(start: Callable[..., Started], shared_domain: int, mine: Path) -> Callable[[], Any]:
    """Has the doctor examine the arm: its exit code and its findings."""

    def examine() -> tuple[int, list[dict[str, str]]]:
        words = ("doctor", "--arm", "--robot", str(mine), "--json", "--seconds", "3")
        doctor = start("-m", "spatial_vlm_ros.cli", *words, ROS_DOMAIN_ID=str(shared_domain), COLUMNS="200")
        code = doctor.ends()
        (line,) = [line for line in doctor.output.splitlines() if line.startswith("{")]
        return code, json.loads(line)["findings"]

    return examine


def test_a_robot_at_which_all_is_well(shared_cell: DoubleCell, beside: Any, diagnosis: Any) -> None:
    shared_cell.reset(gripper="franka")
    beside(CONTROLLERS)
    code, found = diagnosis()
    assert code == 0, found
    well = {each["check"] for each in found if each["level"] == "ok" or "answers after" in each["found"]}  # late: busy
    assert well >= {"planner", "planning pipelines", "planning scene", "gripper", "joint states", "joint limits", "tf"}
    assert not MANAGED or "controllers" in well


def test_faults_of_a_robot_are_named(shared_cell: DoubleCell, beside: Any, diagnosis: Any, mine: Path) -> None:
    cell = shared_cell.reset(gripper="franka")
    beside({"arm_controller": "inactive"})
    with cell.hardware.lock:
        joint = cell.hardware.joints["panda_joint4"]
        cell.arm.deactivate()
        joint.position = joint.command = -3.2
    values = yaml.safe_load(mine.read_text())
    values["parameters"]["motion"] |= {"gripper_action": "/hand", "finger_joints": "knuckle", "tip_link": "tcp"}
    mine.write_text(yaml.safe_dump(values))
    code, found = diagnosis()
    assert code == 3
    errors = {each["check"]: each for each in found if each["level"] == "error"}
    assert {"gripper", "joint limits", "tf", "URDF"} <= set(errors), found
    assert "panda_joint4 is at -3.200 rad" in errors["joint limits"]["found"]
    assert all(each["repair"] for each in errors.values())
    assert not MANAGED or "controllers" in errors
