# SPDX-License-Identifier: Apache-2.0
"""Checks a live arm: listens to it and queries its planner and controllers. Nothing is moved or changed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from moveit_msgs.msg import PlanningSceneComponents
from moveit_msgs.srv import GetPlanningScene
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from sensor_msgs.msg import CameraInfo, JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from spatial_vlm_ros.doctor.arm import (
    ArmHeard,
    JointStream,
    arm_findings,
    controller_servers,
    description_findings,
    frame_findings,
    gripper_servers,
    planner_servers,
    scene_findings,
)
from spatial_vlm_ros.doctor.findings import Finding
from spatial_vlm_ros.manipulation.planning.moveit import first_names, further_names
from spatial_vlm_ros.nodes import main, messages, qos
from spatial_vlm_ros.nodes.arm.grippers.drivers import DRIVERS
from spatial_vlm_ros.nodes.client_node import Spinner, client_node
from spatial_vlm_ros.nodes.liveliness import UNKNOWN, endpoints_of
from spatial_vlm_ros.parameters import MotionConfig, RobotPreset
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import stamp_of

_DISCOVERY = 5.0  # s: servers are awaited this long before listening begins
_REPLY = 5.0  # s for a service
_NAMED = 2.0  # s for the name of a node whose endpoints are discovered before itself
_URDF, _SRDF = "robot_description", "robot_description_semantic"


def examine_arm(preset: RobotPreset, planner: str, seconds: float, namespace: str, arguments: list[str],
                table_frame: str = "") -> list[Finding]:  # fmt: skip
    """Listen to an arm and ask its planner; nothing is moved.

    Args:
        arguments: "--ros-args …" with remappings, also of the resolver's rgb/camera_info.
        table_frame: a frame on the table top, z up; "" = no such frame is required in TF.

    Returns:
        Findings in the order in which to repair them.
    """
    config = preset.planning(planner)
    moveit = planner == "moveit"
    with client_node("spatial_vlm_arm_doctor", namespace, arguments) as node:
        spinner = Spinner(node)
        heard = _Listening(node, spinner, preset, config.motion).listen(seconds, moveit)
        spinner.close()
    return [
        *arm_findings(preset, planner, heard),
        *frame_findings(config, heard, table_frame),
        *description_findings(preset, config.motion, heard, moveit),
        *scene_findings(config.motion, heard, moveit),
    ]


class _Listening:
    """A node's subscriptions and service calls; only this class spins the node."""

    def __init__(self, node: Node, spinner: Spinner, preset: RobotPreset, motion: MotionConfig) -> None:
        self._node, self._spinner, self._preset, self._motion = node, spinner, preset, motion
        self._heard = heard = ArmHeard()
        states: dict[str, list[JointStream]] = {motion.joint_states: [heard.joints]}
        states.setdefault(motion.gripper_states or motion.joint_states, []).append(heard.fingers)
        for topic, streams in states.items():
            node.create_subscription(JointState, topic, partial(_told, streams), qos.images())
        for topic, static, profile in (
            (roles.TRANSFORMS, False, qos.TRANSFORMS), (roles.STATIC_TRANSFORMS, True, qos.STATIC_TRANSFORMS),
        ):  # fmt: skip
            node.create_subscription(TFMessage, topic, partial(heard.transforms.add_message, static=static), profile)
        self._keep(CameraInfo, roles.RGB_INFO, "camera_frame", lambda message: message.header.frame_id, qos.images())
        for topic, name in ((_URDF, "urdf"), (_SRDF, "srdf")):
            self._keep(String, topic, name, lambda message: message.data, qos.DESCRIPTION)
        flag = getattr(DRIVERS[motion.gripper_interface], "FLAG", "")
        if motion.gripper_flag and flag:
            with contextlib.suppress(ModuleNotFoundError):  # reported as a switch that is silent
                self._keep(messages.message_class(flag), motion.gripper_flag, "flag", lambda _: True, qos.images())

    def _keep(self, form: Any, topic: str, name: str, part: Callable[[Any], Any], profile: Any) -> None:
        """Store a part of each message of a topic as the field `name` of ArmHeard."""

        def take(message: Any) -> None:
            setattr(self._heard, name, part(message))

        self._node.create_subscription(form, topic, take, profile)

    def listen(self, seconds: float, moveit: bool) -> ArmHeard:
        """Listen for some seconds, then query the planner and the controllers."""
        heard, motion = self._heard, self._motion
        wanted = {*planner_servers(motion), *controller_servers(motion), *gripper_servers(motion)}
        self._spinner.until(lambda: wanted <= set(self._services()), _DISCOVERY)
        topic = self._node.resolve_topic_name(f"{motion.move_action}/_action/status")
        self._spinner.until(lambda: any(name != UNKNOWN for name in endpoints_of(self._node, topic).values()), _NAMED)
        heard.planners = sorted({*endpoints_of(self._node, topic).values()} - {UNKNOWN})
        part = PlanningSceneComponents
        parts = part.SCENE_SETTINGS | part.ROBOT_STATE | part.ROBOT_STATE_ATTACHED_OBJECTS | part.WORLD_OBJECT_NAMES
        reply = self._spinner.ask(GetPlanningScene, motion.get_scene, _REPLY, components=part(components=parts))
        if reply is not None:
            heard.scene, heard.answer = reply[0].scene, reply[1]
        if moveit and heard.planners:
            planner = heard.planners[0]
            told = self._parameters(planner, (*first_names(), _URDF))
            heard.urdf = heard.urdf or str(told.pop(_URDF, ""))
            heard.srdf = heard.srdf or str(told.pop(_SRDF, ""))
            heard.parameters = told | self._parameters(planner, further_names(told, motion))

        package = "controller_manager_msgs"
        try:
            form = messages.message_class(f"{package}/srv/ListControllers")
        except ModuleNotFoundError:
            repair = main.REPAIRS[package]
            heard.untold = f"the state of the controllers is unknown: {package} is not installed ({repair})"
        else:
            answer = self._spinner.ask(form, f"{self._preset.controller_manager}/list_controllers", _REPLY)
            if answer is not None:
                heard.controllers = {each.name: each.state for each in answer[0].controller}
        self._spinner.until(lambda: False, seconds)
        heard.services = self._services()
        heard.now_ns = int(self._node.get_clock().now().nanoseconds)
        return heard

    def _services(self) -> dict[str, list[str]]:
        """Services that have a server; the ROS graph also lists names that only have clients."""
        listed = dict(self._node.get_service_names_and_types())
        count = getattr(self._node, "count_services", None)  # of rclpy since Iron
        return listed if count is None else {name: types for name, types in listed.items() if count(name)}

    def _parameters(self, planner: str, names: Iterable[str]) -> dict[str, Any]:
        told = {}
        for name in names:  # one by one: rclcpp answers nothing if one of several does not exist
            answer = self._spinner.ask(GetParameters, f"{planner}/get_parameters", _REPLY, names=[name])
            if answer is None:
                break
            values = list(answer[0].values)
            told[name] = parameter_value_to_python(values[0]) if values else None
        return {name: value for name, value in told.items() if value is not None}


def _told(streams: list[JointStream], message: JointState) -> None:
    for stream in streams:
        if message.name and len(message.name) == len(message.position):
            stream.positions |= dict(zip(message.name, map(float, message.position), strict=True))
            stream.stamps |= dict.fromkeys(message.name, stamp_of(message))
            stream.arrivals.append(time.monotonic())
