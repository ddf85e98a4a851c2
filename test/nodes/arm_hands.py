# SPDX-License-Identifier: Apache-2.0
"""The simulated arm as a node in a live graph, and a client of it. Not a test."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from control_msgs.action import FollowJointTrajectory, GripperCommand
from live_graph import Graph, clock_of
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from spatial_vlm_ros.manipulation.builtin_planner.known_arms import ARM_JOINTS
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.sim.sim_arm import SimArmNode
from spatial_vlm_ros.sim.arm.machines import SimulatedArm, simulated_arm
from spatial_vlm_ros.streams.frame_assembler import stamp_of

SERVICES = ("send_goal", "get_result", "cancel_goal")
ARM, GRIPPER = "/arm_controller/follow_joint_trajectory", "/gripper_controller/gripper_cmd"


class Hands:
    def __init__(self, graph: Graph, robot: SimulatedArm) -> None:
        self.graph, self.robot = graph, robot
        self.states: list[JointState] = []
        self.verdicts: list[dict[str, Any]] = []
        self.moving: list[TFMessage] = []
        self.static: list[TFMessage] = []
        self.feedback: list[Any] = []

        def make(context: Context) -> Node:
            node = Node("hands", context=context)
            self.arm = ActionClient(node, FollowJointTrajectory, ARM)
            self.gripper = ActionClient(node, GripperCommand, GRIPPER)
            self.judge_client = node.create_client(Trigger, "judge")
            self.disturber = node.create_publisher(String, "disturb", qos.INSTRUCTIONS)
            node.create_subscription(JointState, "/joint_states", self.states.append, qos.TRANSFORMS)
            node.create_subscription(TFMessage, "/tf", self.moving.append, qos.TRANSFORMS)
            node.create_subscription(TFMessage, "/tf_static", self.static.append, qos.STATIC_TRANSFORMS)
            node.create_subscription(String, "verdict", self._hear, qos.VERDICTS)
            self.ticks = clock_of(node)
            return node

        self.node = graph.spin(make)

    def _hear(self, message: String) -> None:
        self.verdicts.append(json.loads(message.data))

    def ready(self, server: SimArmNode) -> None:
        """Wait until both know each other: a server that does not know its client yet drops the response."""
        actions = [f"{name}/_action/{service}" for name in (ARM, GRIPPER) for service in SERVICES]
        for name in (*actions, "/judge"):
            self.graph.until(lambda name=name: server.count_clients(name), f"{name} knows its client")
        for client in (self.arm, self.gripper):
            self.graph.until(client.server_is_ready, "the action is there")
        self.graph.until(self.judge_client.service_is_ready, "the judge is there")
        self.graph.until(lambda: self.disturber.get_subscription_count(), "disturb is heard")
        self.graph.until(lambda: self.states and self.verdicts, "it tells joints and verdicts")

    def send(self, client: ActionClient, goal: Any) -> Any:
        return self.graph.call(lambda: client.send_goal_async(goal, feedback_callback=self.feedback.append), self.node)

    def result(self, handle: Any) -> Any:
        assert handle.accepted
        return self.graph.call(handle.get_result_async, self.node)

    def judge(self) -> dict[str, Any]:
        answer = self.graph.call(lambda: self.judge_client.call_async(Trigger.Request()), self.node)
        return dict(json.loads(answer.message))

    def disturb(self, **what: Any) -> None:
        self.disturber.publish(String(data=json.dumps(what)))

    @property
    def joints(self) -> np.ndarray:
        return np.array(self.states[-1].position[: len(self.robot.arm_joints)])

    def rest(self, configuration: np.ndarray) -> None:
        if np.abs(self.joints - configuration).max() > 0.005:
            back = motion((0.0, self.joints), (2.0, configuration))
            assert self.result(self.send(self.arm, back)).result.error_code == 0
            self.later(0.1)

    def later(self, seconds: float) -> JointState:
        """The joint state that much simulated time after the newest one."""
        end = stamp_of(self.states[-1]) + int(seconds * 1e9)
        self.graph.until(lambda: stamp_of(self.states[-1]) >= end, f"{seconds} s have passed")
        return self.states[-1]


def begin(graph: Graph, **parameters: Any) -> Hands:
    client = Hands(graph, simulated_arm(parameters.get("robot", "panda")))
    client.ready(graph.play(SimArmNode, **parameters))
    return client


def motion(*points: tuple[float, np.ndarray], names: Any = ARM_JOINTS) -> FollowJointTrajectory.Goal:
    """A goal with these positions at these seconds, at rest at each."""
    sent = []
    for seconds, positions in points:
        when = Duration(sec=int(seconds), nanosec=round(seconds % 1 * 1e9))
        sent.append(JointTrajectoryPoint(positions=list(map(float, positions)), time_from_start=when))
        sent[-1].velocities = [0.0] * len(positions)
    return FollowJointTrajectory.Goal(trajectory=JointTrajectory(joint_names=list(names), points=sent))
