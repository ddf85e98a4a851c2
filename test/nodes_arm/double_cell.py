# SPDX-License-Identifier: Apache-2.0
"""A robot's controllers, move_group and somebody who asks them, all of them doubles of upstream. Not a test.

Each in an rclpy context of its own; move_group, which plans, in a process of its own where the fixture `cell` is used,
so that the client's heartbeat does not wait for it:

    cell = DoubleCell(domain)  # or the fixture `cell`
    client = cell.client()  # the package's MotionClient
    plan = cell.plan(client, scene())
    client.execute(plan)
    cell.hardware.still()  # for how many seconds the arm has stood
"""

from __future__ import annotations

import dataclasses
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from operator import sub
from pathlib import Path
from typing import Any

import pytest
from action_msgs.msg import GoalStatusArray
from action_msgs.srv import CancelGoal
from arm_graph import ApprovedClient, goals
from builtin_interfaces.msg import Duration
from control_msgs.action import FollowJointTrajectory
from controller_double import ARM, HOME, Constraints
from hardware_double import Spun, forget
from live_process import DEADLINE, Started
from move_group_double import MoveGroupDouble
from moveit_msgs.action import ExecuteTrajectory, MoveGroup
from planning_scenes import config
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.qos import qos_profile_action_status_default
from robot_doubles import RobotDoubles
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from spatial_vlm_ros.manipulation.planning.planner import MotionPlan, PlanStep, Trajectory
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene
from spatial_vlm_ros.nodes.arm.motion_client import MotionClient
from spatial_vlm_ros.nodes.calls import Bridge

EXECUTE, MOVE, FOLLOW = "/execute_trajectory", "/move_action", "/arm_controller/follow_joint_trajectory"
PROGRAM = Path(__file__).with_name("move_group_double.py")
FORMS = {EXECUTE: ExecuteTrajectory, MOVE: MoveGroup, FOLLOW: FollowJointTrajectory}


def until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE) -> None:
    """Wait for a condition; fail where it does not come about."""
    end, gate = time.monotonic() + seconds, threading.Event()
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited {seconds:.0f} s in vain until {what}")
        gate.wait(0.005)


def discovered(condition: Callable[[], Any], what: str) -> None:
    """Wait until programs know each other, which takes long where a core is busy."""
    until(condition, what, 3 * DEADLINE)


class Asker:
    """A client of any action, as other people's programs are.

    Args:
        domain: the ROS domain.
        forms: of the actions, by name.
    """

    def __init__(self, domain: int, forms: dict[str, Any]) -> None:
        self._spun = Spun(domain)
        self.node = Node("asker", context=self._spun.context)
        self._bridge = Bridge(self.node)
        group = self._bridge.group
        self.states: dict[str, dict[bytes, int]] = {name: {} for name in forms}
        self._clients = {
            name: ActionClient(self.node, form, name, callback_group=group) for name, form in forms.items()
        }
        self._cancels = {
            name: self.node.create_client(CancelGoal, f"{name}/_action/cancel_goal", callback_group=group)
            for name in forms
        }
        for name in forms:
            self.node.create_subscription(
                GoalStatusArray,
                f"{name}/_action/status",
                lambda message, name=name: self._on_states(name, message),
                qos_profile_action_status_default,
                callback_group=group,
            )
        self.events = self.node.create_publisher(String, "trajectory_execution_event", 10)
        self._spun.spin(self.node)

    def _on_states(self, name: str, message: GoalStatusArray) -> None:
        self.states[name] |= {bytes(each.goal_info.goal_id.uuid): each.status for each in message.status_list}

    def send(self, name: str, goal: Any) -> Any:
        """The handle of a goal that was accepted or rejected."""
        return self.wait(self.send_soon(name, goal))

    def send_soon(self, name: str, goal: Any) -> Future[Any]:
        """Its handle, later."""
        return self._bridge.ask(lambda: self._clients[name].send_goal_async(goal))

    def cancel(self, handle: Any) -> Future[Any]:
        """The answer to the request to cancel, later."""
        return self._bridge.ask(handle.cancel_goal_async)

    def cancel_all(self, name: str) -> Future[Any]:
        """The answer to the request to cancel whatever an action executes, also for others, later."""
        return self._bridge.ask(lambda: self._cancels[name].call_async(CancelGoal.Request()))

    def result(self, handle: Any) -> Future[Any]:
        """The status and the result, later."""
        return self._bridge.ask(handle.get_result_async)

    def state(self, name: str, handle: Any) -> int:
        """What the server tells of a goal; 0 = nothing."""
        return self.states[name].get(bytes(handle.goal_id.uuid), 0)

    def last(self, name: str) -> int:
        """What the server tells of the newest goal of anybody; 0 = nothing."""
        return next(reversed(self.states[name].values()), 0)

    def service(self, form: Any, name: str) -> Callable[[Any], Any]:
        """Asks a service, and waits for its response."""
        client = self.node.create_client(form, name, callback_group=self._bridge.group)
        until(client.service_is_ready, f"{name} is there")
        return lambda question: self.wait(self._bridge.ask(lambda: client.call_async(question)))

    def ready(self) -> bool:
        """Whether all servers are there."""
        return all(client.server_is_ready() for client in self._clients.values()) and all(
            client.service_is_ready() for client in self._cancels.values()
        )

    def wait(self, answer: Future[Any]) -> Any:
        """An answer that is there within the deadline."""
        until(answer.done, "an answer comes")
        return answer.result()

    def close(self) -> None:
        """End."""
        self._spun.close()
        forget(self)


class ServedMoveGroup:
    """The double of move_group in a process of its own.

    Args:
        domain: the ROS domain.
        start: starts a program that is given as words, with additions to its environment.
    """

    def __init__(self, domain: int, start: Callable[..., Started]) -> None:
        self._started = start(str(PROGRAM), ROS_DOMAIN_ID=str(domain))
        self.process = self._started.process

    @property
    def ready(self) -> bool:
        """Whether it serves."""
        return "ready\n" in self._started.output

    @property
    def clients(self) -> int:
        """How many clients of its actions it has discovered."""
        told = re.findall(r"^clients (\d+)$", self._started.output, re.MULTILINE)
        return int(told[-1]) if told else 0

    def close(self) -> None:
        """End."""
        self.process.terminate()
        self._started.ends()


class DoubleCell:
    """The robot, move_group and an asker; `client` makes the package's MotionClient, too.

    Args:
        domain: the ROS domain.
        constraints: tolerances of the arm's controller.
        start: starts a program that is given as words, with additions to its environment; move_group then is such a
            process, and not in this one.
        robot: further arguments of RobotDoubles.
    """

    def __init__(
        self,
        domain: int,
        constraints: Constraints | None = None,
        start: Callable[..., Started] | None = None,
        **robot: Any,
    ) -> None:
        self.domain = domain
        self._closes: list[Callable[[], None]] = []
        self.robot = RobotDoubles(domain, constraints, **robot)
        self.hardware, self.arm = self.robot.hardware, self.robot.arm
        self.asker = Asker(domain, FORMS)
        self.move_group: Any = MoveGroupDouble(domain) if start is None else ServedMoveGroup(domain, start)
        self._closes += [self.robot.close, self.move_group.close, self.asker.close]
        discovered(lambda: self.move_group.ready and self.asker.ready(), "every server is discovered")
        discovered(lambda: self.robot.knows(FOLLOW, 2), "the controller knows its clients")
        discovered(lambda: self.move_group.clients >= 1, "move_group knows its client")

    def client(self, **motion: Any) -> ApprovedClient:
        """The package's client, on a spinning node."""
        given = {
            "gripper_action": self.robot.gripper_action,
            "gripper_scale": 0.5,
            **dict.fromkeys(("server_timeout", "answer_timeout", "stop_timeout"), 30.0),
            "planner_silence": 10.0,  # the client shares its interpreter with the controllers here
            **{"planning_time": 20.0, "most_time": 300.0, "velocity_scaling": 1.0, "acceleration_scaling": 1.0},
            **motion,
        }
        spun = Spun(self.domain)
        node = Node("test_client", context=spun.context)
        made = ApprovedClient(node, config(motion=given))
        spun.spin(node)
        self._closes += [spun.close, made._beside.close]
        discovered(lambda: self.move_group.clients >= 2, "move_group knows the client")
        action = given["gripper_action"]
        actions = [f"{action}/grasp", f"{action}/move"] if given.get("gripper_interface") == "franka" else [action]
        discovered(lambda: all(map(self.robot.knows, actions)), "the gripper knows the client")
        return made

    @staticmethod
    def plan(client: MotionClient, around: PlanningScene, put: bool = False) -> MotionPlan:
        """A plan to take what stands there, and to put it down."""
        pick, place = goals(around, client.config)
        return client.plan(pick, around, place if put else None)

    def position(self, joint: str = ARM[0]) -> float:
        """Where a joint is."""
        return self.hardware.positions([joint])[0]

    def follows(self, number: int) -> None:
        """Wait until the arm moves in its trajectory of this number, from 1."""
        until(lambda: len(self.arm.taken) == number, f"trajectory {number} is begun")
        first = self.arm.taken[-1].trajectory.points[0].positions
        until(lambda: max(map(abs, map(sub, self.hardware.positions(ARM), first))) > 0.01, "the arm moves")

    def beside(self, step: PlanStep) -> float:
        """rad by which the arm is off the end of a step."""
        end = step.trajectory.end if step.trajectory is not None else {}
        return max(abs(self.position(name) - at) for name, at in end.items())

    def close(self) -> None:
        """End."""
        for close in reversed(self._closes):
            close()
        forget(self)


def slowed(plan: MotionPlan, phase: str, seconds: float) -> MotionPlan:
    """The plan, with one phase of the arm that takes this long."""

    def slower(trajectory: Trajectory) -> Trajectory:
        k = seconds / trajectory.times[-1]
        return dataclasses.replace(
            trajectory,
            times=tuple(t * k for t in trajectory.times),
            velocities=tuple(tuple(v / k for v in row) for row in trajectory.velocities),
            accelerations=tuple(tuple(a / k**2 for a in row) for row in trajectory.accelerations),
        )

    steps = [
        dataclasses.replace(step, trajectory=slower(step.trajectory))
        if step.phase == phase and step.trajectory
        else step
        for step in plan.steps
    ]
    return dataclasses.replace(plan, steps=tuple(steps))


def swing(
    to: float = 1.0, takes: float = 2.0, joint: int = 0, start: tuple[float, ...] | None = None
) -> JointTrajectory:
    """One joint of the arm swings by `to` rad within `takes` s, from HOME, at rest at both ends; all others stay."""
    begin = list(start or HOME)
    end = [at + (to if k == joint else 0.0) for k, at in enumerate(begin)]
    zero = [0.0] * len(begin)
    points = [
        JointTrajectoryPoint(
            positions=at,
            velocities=zero,
            accelerations=zero,
            time_from_start=Duration(sec=int(seconds), nanosec=int(seconds % 1 * 1e9)),
        )
        for at, seconds in ((begin, 0.0), (end, takes))
    ]
    return JointTrajectory(joint_names=list(ARM), points=points)
