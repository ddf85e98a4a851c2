# SPDX-License-Identifier: Apache-2.0
"""Drivers under the names of a robot's preset, in front of the simulated arm. Not a test.

The simulated gripper is told the position of one finger. A Robotiq's controller is told the angle of its knuckle, and
franka_gripper the width: `PresetDrivers` serves those, has the simulation move, and tells joint states, transforms and
descriptions as the robot does. Links that only the package's own models have (gripper_tcp) are not told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree

import numpy as np
from control_msgs.action import FollowJointTrajectory, GripperCommand, ParallelGripperCommand
from controller_manager_msgs.msg import ControllerState
from controller_manager_msgs.srv import ListControllers
from franka_msgs.action import Grasp, Move
from gripper_double import KNUCKLE
from hardware_double import Spun
from live_process import ROOT
from rclpy.action import ActionClient, ActionServer, CancelResponse
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from spatial_vlm_ros.launcher import wiring
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.sim.arm.machines import PANDA, UR5E, SimulatedArm

KNUCKLES, WIDTHS = (0.0, 0.2, 0.4, 0.6, 0.7, 0.7929), (0.085, 0.0663, 0.0453, 0.023, 0.0116, 0.0)
"""rad of the knuckle and m between the finger tips: robotiq_description, as config/robots/ur5e_robotiq.yaml has it."""
SIMULATED = "/simulated"
MOVES, GRIPS = f"{SIMULATED}/follow_joint_trajectory", f"{SIMULATED}/gripper_cmd"
STATES, MOVING = f"{SIMULATED}/joint_states", f"{SIMULATED}/tf"


@dataclass(frozen=True)
class Wiring:
    """How a robot differs from the arm that is simulated for it."""

    arm: SimulatedArm
    names: Mapping[str, str] = field(default_factory=dict)  # of links and joints: simulated → the robot's; "" = none
    last_joint: str = ""  # whose zero is elsewhere, so that the gripper is mounted otherwise
    turned: float = 0.0  # rad, positions of that joint on the robot above those in the simulation
    last_links: tuple[str, ...] = ()  # that move with it, about whose z it turns

    def name(self, simulated: str) -> str:
        return self.names.get(simulated, simulated)

    def urdf(self) -> str:
        """The robot's, in which the gripper hangs turned."""
        text = self.arm.urdf().read_text()
        for own, name in self.names.items():
            text = text.replace(f'"{own}"', f'"{name}"') if name else text
        if not self.names:
            return text
        root = ElementTree.fromstring(text)  # noqa: S314 - a file of this package
        for gone in (own for own, name in self.names.items() if not name):
            for each in [*root.findall(f"link[@name='{gone}']"), *root.findall("joint")]:
                child = each.find("child")
                if each.tag == "link" or (child is not None and child.get("link") == gone):
                    root.remove(each)
        for origin in root.findall("joint[@name='gripper_joint']/origin"):
            origin.set("rpy", f"0 0 {self.turned}")
        self._add_knuckle(root)
        return ElementTree.tostring(root, encoding="unicode")

    def _add_knuckle(self, root: ElementTree.Element) -> None:
        """One joint that is driven, which the fingers mimic: robotiq_2f_85_macro.urdf.xacro:247-308, linear here."""
        ElementTree.SubElement(root, "link", name="robotiq_85_left_knuckle_link")
        knuckle = ElementTree.SubElement(root, "joint", name=KNUCKLE, type="revolute")
        ElementTree.SubElement(knuckle, "parent", link=self.name("gripper_base"))
        ElementTree.SubElement(knuckle, "child", link="robotiq_85_left_knuckle_link")
        ElementTree.SubElement(knuckle, "axis", xyz="0 -1 0")
        ElementTree.SubElement(knuckle, "limit", lower="0", upper="0.8", velocity="0.5", effort="50")
        for name in self.arm.finger_joints:
            for finger in root.findall(f"joint[@name='{name}']"):
                for mimic in finger.findall("mimic"):
                    finger.remove(mimic)
                slope, offset = -WIDTHS[0] / 2 / KNUCKLES[-1], WIDTHS[0] / 2
                ElementTree.SubElement(finger, "mimic", joint=KNUCKLE, multiplier=str(slope), offset=str(offset))


ROBOTIQ = MappingProxyType(
    {
        "gripper_base": "robotiq_85_base_link", "gripper_tcp": "",
        "gripper_left_finger": "robotiq_85_left_finger_tip_link",
        "gripper_right_finger": "robotiq_85_right_finger_tip_link",
    }
)  # fmt: skip
WIRINGS = {
    # closes along x of tool0, and the simulated one along y
    "ur5e_robotiq": Wiring(UR5E, ROBOTIQ, "wrist_3_joint", np.pi / 2, ("wrist_3_link", "tool0")),
    "panda": Wiring(PANDA),
    "panda_moveit": Wiring(PANDA),
}


def simulation(robot: str) -> tuple[list[str], dict[str, str]]:
    """Remappings and parameters of the node `sim_arm`, whose names are taken by the drivers of the preset."""
    remapped = [f"/joint_states:={STATES}", f"/tf:={MOVING}"]
    return remapped, {"robot": WIRINGS[robot].arm.name, "arm_action": MOVES, "gripper_action": GRIPS}


class PresetDrivers(Node):
    """The drivers, descriptions and the controller manager of a shipped preset, before the simulation."""

    def __init__(self, context: Context, robot: str, planner: str) -> None:
        super().__init__("preset_drivers", context=context)
        preset = wiring.robot_preset(ROOT, robot)
        self.motion, self.wiring = preset.planning(planner).motion, WIRINGS[robot]
        self.controllers = dict.fromkeys(preset.controllers, "active")
        self._goals: dict[bytes, Any] = {}
        self._listen()
        self._hand, self._arm = (
            ActionClient(self, form, name) for form, name in ((GripperCommand, GRIPS), (FollowJointTrajectory, MOVES))
        )
        name, served = self.motion.gripper_action, []
        if self.motion.gripper_interface == "parallel_gripper_command":
            served.append((ParallelGripperCommand, name, self._knuckle))
        elif self.motion.gripper_interface == "franka":
            served += [(Grasp, f"{name}/grasp", self._grasp), (Move, f"{name}/move", self._move)]
        else:
            served.append((GripperCommand, name, self._finger))
        self._servers = [ActionServer(self, *each) for each in served]
        self._servers.append(
            ActionServer(
                self, FollowJointTrajectory, self.motion.controller_actions, self._follow, cancel_callback=self._cancel
            )
        )
        srdf = self.wiring.arm.srdf().read_text().replace('name="arm"', f'name="{self.motion.group}"')
        for own, other in self.wiring.names.items():
            srdf = srdf.replace(f'"{own}"', f'"{other or "tool0"}"')
        told = {"robot_description": self.wiring.urdf(), "robot_description_semantic": srdf}
        self._texts = [self.create_publisher(String, topic, qos.DESCRIPTION) for topic in told]
        for publisher, text in zip(self._texts, told.values(), strict=True):
            publisher.publish(String(data=text))
        self.create_service(ListControllers, f"{preset.controller_manager}/list_controllers", self._list)

    @property
    def ready(self) -> bool:
        return self._hand.server_is_ready() and self._arm.server_is_ready()

    def _listen(self) -> None:
        motion = self.motion
        self._tf = self.create_publisher(TFMessage, "/tf", qos.TRANSFORMS)
        self._states = self.create_publisher(JointState, motion.joint_states, qos.TRANSFORMS)
        apart = motion.gripper_states not in ("", motion.joint_states)
        self._fingers = self.create_publisher(JointState, motion.gripper_states, qos.TRANSFORMS) if apart else None
        self.create_subscription(JointState, STATES, self._on_states, qos.TRANSFORMS)
        self.create_subscription(TFMessage, MOVING, self._on_transforms, qos.TRANSFORMS)

    def _list(self, _: Any, response: Any) -> Any:
        response.controller = [ControllerState(name=name, state=state) for name, state in self.controllers.items()]
        return response

    def _on_states(self, heard: JointState) -> None:
        at, wiring = dict(zip(heard.name, heard.position, strict=True)), self.wiring
        width = sum(at[name] for name in wiring.arm.finger_joints)
        names = self.motion.finger_joints.split()
        knuckle = float(np.interp(width, WIDTHS[::-1], KNUCKLES[::-1]))
        fingers = dict.fromkeys(names, knuckle if KNUCKLE in names else width / len(names))
        arm = {name: at[name] + self._turn(name) for name in wiring.arm.arm_joints}
        both = ((self._states, arm), (self._fingers, fingers)) if self._fingers else ((self._states, arm | fingers),)
        for publisher, told in both:
            publisher.publish(JointState(header=heard.header, name=list(told), position=list(told.values())))

    def _turn(self, joint: str) -> float:
        return self.wiring.turned if joint == self.wiring.last_joint else 0.0

    def _on_transforms(self, heard: TFMessage) -> None:
        told, half = [], self.wiring.turned / 2
        for each in heard.transforms:
            if each.child_frame_id in self.wiring.last_links:
                q = each.transform.rotation
                s, c = np.sin(half), np.cos(half)
                q.x, q.y, q.z, q.w = q.x * c + q.y * s, q.y * c - q.x * s, q.z * c + q.w * s, q.w * c - q.z * s
            each.child_frame_id = self.wiring.name(each.child_frame_id)
            told += [each] if each.child_frame_id else []
        self._tf.publish(TFMessage(transforms=told))

    async def _follow(self, handle: Any) -> FollowJointTrajectory.Result:
        goal = handle.request
        for k, name in enumerate(goal.trajectory.joint_names):
            for point in goal.trajectory.points:
                point.positions[k] -= self._turn(name)
        sent = await self._arm.send_goal_async(goal)
        if not sent.accepted:
            handle.abort()
            return FollowJointTrajectory.Result(error_code=FollowJointTrajectory.Result.INVALID_GOAL)
        self._goals[bytes(handle.goal_id.uuid)] = sent
        if handle.is_cancel_requested:
            await sent.cancel_goal_async()
        ended = await sent.get_result_async()
        self._goals.pop(bytes(handle.goal_id.uuid))
        if handle.is_cancel_requested:
            handle.canceled()
        else:
            well = ended.result.error_code == FollowJointTrajectory.Result.SUCCESSFUL
            (handle.succeed if well else handle.abort)()
        return ended.result

    def _cancel(self, handle: Any) -> CancelResponse:
        running = self._goals.get(bytes(handle.goal_id.uuid))
        if running is not None:
            running.cancel_goal_async()
        return CancelResponse.ACCEPT

    async def _sent(self, width: float, effort: float) -> GripperCommand.Result:
        """Have the simulated fingers go so far apart, metres."""
        goal = GripperCommand.Goal()
        goal.command.position, goal.command.max_effort = width / 2, effort
        handle = await self._hand.send_goal_async(goal)
        return (await handle.get_result_async()).result

    async def _finger(self, handle: Any) -> GripperCommand.Result:
        command = handle.request.command
        ended = await self._sent(2 * command.position, command.max_effort)
        handle.succeed()
        return ended

    async def _knuckle(self, handle: Any) -> ParallelGripperCommand.Result:
        """One position; it ends SUCCEEDED where it stalls, too."""
        command = handle.request.command
        effort = command.effort[0] if command.effort else 0.0
        ended = await self._sent(float(np.interp(command.position[0], KNUCKLES, WIDTHS)), effort)
        result = ParallelGripperCommand.Result(stalled=ended.stalled, reached_goal=ended.reached_goal)
        result.state.position = [float(np.interp(2 * ended.position, WIDTHS[::-1], KNUCKLES[::-1]))]
        handle.succeed()
        return result

    async def _grasp(self, handle: Any) -> Grasp.Result:
        """Closes on what is there; it succeeds where that is as wide as was asked for, within epsilon."""
        asked = handle.request
        width = 2 * (await self._sent(0.0, asked.force)).position
        held = asked.width - asked.epsilon.inner < width < asked.width + asked.epsilon.outer
        (handle.succeed if held else handle.abort)()
        return Grasp.Result(success=held, error="" if held else "not held")

    async def _move(self, handle: Any) -> Move.Result:
        ended = await self._sent(handle.request.width, 0.0)
        handle.succeed()
        return Move.Result(success=ended.reached_goal)


def drivers_of(robot: str, planner: str, domain: int | None = None) -> tuple[Spun, PresetDrivers]:
    """The drivers of a shipped preset, spinning; close what is first."""
    spun = Spun(domain)
    node = PresetDrivers(spun.context, robot, planner)
    spun.spin(node)
    return spun, node
