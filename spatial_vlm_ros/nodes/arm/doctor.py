# SPDX-License-Identifier: Apache-2.0
"""Checks a live arm: listens to it and queries its planner and controllers. Nothing is moved or changed."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from moveit_msgs.msg import PlanningSceneComponents
from moveit_msgs.srv import GetPlanningScene
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
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
    gripper_servers,
    planner_servers,
)
from spatial_vlm_ros.doctor.arm_frames import description_findings, frame_findings, scene_findings
from spatial_vlm_ros.doctor.findings import Finding
from spatial_vlm_ros.manipulation.planning.moveit_pipelines import first_names, further_names
from spatial_vlm_ros.nodes import main, qos
from spatial_vlm_ros.nodes.interrupts import interrupted_afterwards
from spatial_vlm_ros.nodes.perception.ask import client_node
from spatial_vlm_ros.nodes.perception.graph import publishers_of
from spatial_vlm_ros.parameters import MotionConfig, RobotPreset
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import stamp_of

_DISCOVERY = 5.0  # s: servers are awaited this long before listening begins
_REPLY = 5.0  # s for a service
_NAMED = 2.0  # s for the name of a node whose endpoints are discovered before itself
_UNKNOWN = "_UNKNOWN_"  # in the name that rmw gives it until then
_AGAIN = 1.0  # s after which a service is asked again: a server drops replies to a client that it does not know yet
_URDF, _SRDF = "robot_description", "robot_description_semantic"
_FLAGS = {"set_bool": ("std_msgs.msg", "Bool"), "ur_output": ("ur_msgs.msg", "IOStates")}


def examine_arm(preset: RobotPreset, planner: str, seconds: float, namespace: str, arguments: list[str],
                table_frame: str = "") -> list[Finding]:  # fmt: skip
    """Listen to an arm and ask its planner; nothing is moved.

    Args:
        planner: one of PLANNERS.
        namespace: namespace of the resolver's topics.
        arguments: "--ros-args …" with remappings, also of the resolver's rgb/camera_info.
        table_frame: a frame on the table top, z up; "" = no such frame is required in TF.

    Returns:
        Findings in the order in which to repair them.
    """
    config = preset.planning(planner)
    moveit = planner == "moveit"
    with client_node("spatial_vlm_arm_doctor", namespace, arguments) as node:
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        listening = _Listening(node, executor, preset, config.motion)
        heard = listening.listen(seconds, moveit)
        executor.shutdown(timeout_sec=1.0)
    return [
        *arm_findings(preset, planner, heard),
        *frame_findings(config, heard, table_frame),
        *description_findings(preset, config.motion, heard, moveit),
        *scene_findings(config.motion, heard, moveit),
    ]


class _Listening:
    """A node's subscriptions and service calls; only this class spins the node."""

    def __init__(self, node: Node, executor: SingleThreadedExecutor, preset: RobotPreset, motion: MotionConfig) -> None:
        self._node, self._executor, self._preset, self._motion = node, executor, preset, motion
        self._heard = heard = ArmHeard()
        states: dict[str, list[JointStream]] = {motion.joint_states: [heard.joints]}
        states.setdefault(motion.gripper_states or motion.joint_states, []).append(heard.fingers)
        for topic, streams in states.items():
            self._hear(JointState, topic, partial(_told, streams), qos.images())
        add = heard.transforms.add_message
        self._hear(TFMessage, roles.TRANSFORMS, lambda message: add(message, static=False), qos.TRANSFORMS)
        self._hear(TFMessage, roles.STATIC_TRANSFORMS, lambda message: add(message, static=True), qos.STATIC_TRANSFORMS)
        self._hear(CameraInfo, roles.RGB_INFO, self._kept("camera_frame", lambda m: m.header.frame_id), qos.images())
        for topic, name in ((_URDF, "urdf"), (_SRDF, "srdf")):
            self._hear(String, topic, self._kept(name, lambda m: m.data), qos.DESCRIPTION)
        if motion.gripper_flag and motion.gripper_interface in _FLAGS:
            module, name = _FLAGS[motion.gripper_interface]
            with contextlib.suppress(ModuleNotFoundError):  # told as a switch that is silent
                form = getattr(importlib.import_module(module), name)
                self._hear(form, motion.gripper_flag, self._kept("flag", lambda _: True), qos.images())

    def _hear(self, form: Any, topic: str, take: Callable[[Any], None], profile: Any) -> None:
        self._node.create_subscription(form, topic, take, profile)

    def _kept(self, name: str, of: Callable[[Any], Any]) -> Callable[[Any], None]:
        """What keeps a part of each message as a field of ArmHeard."""
        return lambda message: setattr(self._heard, name, of(message))

    # -------------------------------------------------------------------------------------------- asking

    def listen(self, seconds: float, moveit: bool) -> ArmHeard:
        """Listen for some seconds, then query the planner and the controllers."""
        heard, motion = self._heard, self._motion
        wanted = {*planner_servers(motion), *controller_servers(motion), *gripper_servers(motion)}
        self.until(lambda: wanted <= set(self._services()), _DISCOVERY)
        self._ask_planner(moveit)
        heard.controllers, heard.untold = self._ask_controllers()
        self.until(lambda: False, seconds)
        heard.services = self._services()
        heard.now_ns = int(self._node.get_clock().now().nanoseconds)
        return heard

    def _services(self) -> dict[str, list[str]]:
        """Services that have a server; the ROS graph also lists names that only have clients."""
        listed = dict(self._node.get_service_names_and_types())
        count = getattr(self._node, "count_services", None)  # of rclpy since Iron
        return listed if count is None else {name: types for name, types in listed.items() if count(name)}

    def _ask_planner(self, moveit: bool) -> None:
        heard = self._heard
        topic = self._node.resolve_topic_name(f"{self._motion.move_action}/_action/status")
        self.until(lambda: any(_UNKNOWN not in name for name in publishers_of(self._node, topic)), _NAMED)
        heard.planners = sorted({name for name in publishers_of(self._node, topic) if _UNKNOWN not in name})
        question = GetPlanningScene.Request()
        question.components.components = (
            PlanningSceneComponents.SCENE_SETTINGS
            | PlanningSceneComponents.ROBOT_STATE
            | PlanningSceneComponents.ROBOT_STATE_ATTACHED_OBJECTS
            | PlanningSceneComponents.WORLD_OBJECT_NAMES
        )
        answer = self._call(GetPlanningScene, self._motion.get_scene, question)
        if answer is not None:
            heard.scene, heard.answer = answer[0].scene, answer[1]
        if moveit and heard.planners:
            planner = heard.planners[0]
            told = self._parameters(planner, (*first_names(), _URDF))
            self._heard.urdf = self._heard.urdf or str(told.pop(_URDF, ""))
            self._heard.srdf = self._heard.srdf or str(told.pop(_SRDF, ""))
            self._heard.parameters = told | self._parameters(planner, further_names(told, self._motion))

    def _parameters(self, planner: str, names: Iterable[str]) -> dict[str, Any]:
        """Those of a node's parameters that are set."""
        told = {}
        for name in names:  # one by one: rclcpp answers nothing if one of several does not exist
            answer = self._call(GetParameters, f"{planner}/get_parameters", GetParameters.Request(names=[name]))
            if answer is None:
                break
            values = list(answer[0].values)
            told[name] = parameter_value_to_python(values[0]) if values else None
        return {name: value for name, value in told.items() if value is not None}

    def _ask_controllers(self) -> tuple[dict[str, str] | None, str]:
        package = "controller_manager_msgs"
        try:
            form = importlib.import_module(f"{package}.srv").ListControllers
        except ModuleNotFoundError:
            repair = main.REPAIRS[package]
            return None, f"the state of the controllers is unknown: {package} is not installed ({repair})"
        answer = self._call(form, f"{self._preset.controller_manager}/list_controllers", form.Request())
        return (None, "") if answer is None else ({each.name: each.state for each in answer[0].controller}, "")

    def _call(self, form: Any, service: str, request: Any) -> tuple[Any, float] | None:
        """The response of a service and the seconds it took; None if no response came."""
        client = self._node.create_client(form, service)
        end = time.monotonic() + _REPLY
        try:
            while (left := end - time.monotonic()) > 0:
                if self.until(client.service_is_ready, left):
                    begun, future = time.monotonic(), client.call_async(request)
                    if self.until(future.done, _AGAIN):
                        return future.result(), time.monotonic() - begun
            return None
        finally:
            self._node.destroy_client(client)

    def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Spin until a condition holds, for at most `seconds`; returns whether it holds."""
        end = time.monotonic() + seconds
        while not (holds := condition()) and time.monotonic() < end:
            with interrupted_afterwards():
                self._executor.spin_once(timeout_sec=0.05)
        return holds


def _told(streams: list[JointStream], message: JointState) -> None:
    for stream in streams:
        if message.name and len(message.name) == len(message.position):
            stream.positions |= dict(zip(message.name, map(float, message.position), strict=True))
            stream.stamps |= dict.fromkeys(message.name, stamp_of(message))
            stream.arrivals.append(time.monotonic())
