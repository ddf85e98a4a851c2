# SPDX-License-Identifier: Apache-2.0
"""A robot's controllers, move_group and somebody who asks them, all of them doubles of upstream. Not a test."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from operator import sub
from pathlib import Path
from typing import Any

from action_msgs.msg import GoalStatusArray
from action_msgs.srv import CancelGoal
from arm_graph import PATIENT, ApprovedClient, discovered
from builtin_interfaces.msg import Duration
from control_msgs.action import FollowJointTrajectory, GripperCommand, ParallelGripperCommand
from controller_double import ARM, HOME
from franka_msgs.action import Grasp, Move
from hardware_double import Spun, clients, forget
from live_process import Started
from move_group_double import MoveGroupDouble
from moveit_msgs.action import ExecuteTrajectory, MoveGroup
from planning_scenes import config
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.qos import qos_profile_action_status_default
from robot_doubles import RobotDoubles
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from waiting import until

from spatial_vlm_ros.manipulation.planning.planner import MotionPlan, PlanStep, Trajectory
from spatial_vlm_ros.nodes.calls import Bridge

EXECUTE, MOVE, FOLLOW = "/execute_trajectory", "/move_action", "/arm_controller/follow_joint_trajectory"
OURS, PARALLEL = "/gripper_controller/gripper_cmd", "/parallel_gripper_controller/gripper_cmd"
FRANKA, GRASP, OPEN = (f"/panda_gripper/{name}" for name in ("gripper_action", "grasp", "move"))
PROGRAM = Path(__file__).with_name("move_group_double.py")
FORMS = {
    EXECUTE: ExecuteTrajectory, MOVE: MoveGroup, FOLLOW: FollowJointTrajectory, OURS: GripperCommand,
    PARALLEL: ParallelGripperCommand, FRANKA: GripperCommand, GRASP: Grasp, OPEN: Move,
}  # fmt: skip


class Asker:
    def __init__(self, domain: int) -> None:
        self._spun = Spun(domain)
        self.node = Node("asker", context=self._spun.context)
        self._bridge = Bridge(self.node)
        group = self._bridge.group
        self.states: dict[str, dict[bytes, int]] = {name: {} for name in FORMS}
        self._clients = {name: ActionClient(self.node, FORMS[name], name, callback_group=group) for name in FORMS}
        self._cancels = self.node.create_client(CancelGoal, f"{FOLLOW}/_action/cancel_goal", callback_group=group)
        for name in FORMS:
            hear, profile = partial(self._on_states, name), qos_profile_action_status_default
            topic = f"{name}/_action/status"
            self.node.create_subscription(GoalStatusArray, topic, hear, profile, callback_group=group)
        self.events = self.node.create_publisher(String, "trajectory_execution_event", 10)
        self._spun.spin(self.node)

    def _on_states(self, name: str, message: GoalStatusArray) -> None:
        self.states[name] |= {bytes(each.goal_info.goal_id.uuid): each.status for each in message.status_list}

    def send(self, name: str, goal: Any) -> Any:
        return self.wait(self.send_soon(name, goal))

    def send_soon(self, name: str, goal: Any) -> Future[Any]:
        return self._bridge.ask(lambda: self._clients[name].send_goal_async(goal))

    def cancel(self, handle: Any) -> Future[Any]:
        return self._bridge.ask(handle.cancel_goal_async)

    def cancel_all(self) -> Future[Any]:
        """The answer to the request to cancel whatever the arm's controller does, also for others, later."""
        return self._bridge.ask(lambda: self._cancels.call_async(CancelGoal.Request()))

    def result(self, handle: Any) -> Future[Any]:
        return self._bridge.ask(handle.get_result_async)

    def ended(self, handle: Any) -> Any:
        return self.wait(self.result(handle))

    def last(self, name: str) -> int:
        """What the server tells of the newest goal of anybody; 0 = nothing."""
        return next(reversed(self.states[name].values()), 0)

    def service(self, form: Any, name: str) -> Callable[[Any], Any]:
        client = self.node.create_client(form, name, callback_group=self._bridge.group)
        until(client.service_is_ready, f"{name} is there")
        return lambda question: self.wait(self._bridge.ask(lambda: client.call_async(question)))

    def finds(self, *names: str) -> bool:
        return self._cancels.service_is_ready() and all(self._clients[name].server_is_ready() for name in names)

    def wait(self, answer: Future[Any]) -> Any:
        until(answer.done, "an answer comes")
        return answer.result()

    def close(self) -> None:
        self._spun.close()
        forget(self)


class ServedMoveGroup:
    """The double of move_group in a process of its own."""

    def __init__(self, domain: int, log: Path) -> None:
        self._started = Started((str(PROGRAM),), log, {"ROS_DOMAIN_ID": str(domain)})
        self.process = self._started.process

    @property
    def ready(self) -> bool:
        return "ready\n" in self._started.output

    @property
    def clients(self) -> int:
        told = re.findall(r"^clients (\d+)$", self._started.output, re.MULTILINE)
        return int(told[-1]) if told else 0

    def close(self) -> None:
        self.process.terminate()
        self._started.ends()


class DoubleCell:
    """The robot, move_group and an asker; with a `log`, move_group is a process of its own."""

    def __init__(self, domain: int, log: Path | None = None) -> None:
        self.domain = domain
        self._clients: dict[str, tuple[Spun, ApprovedClient]] = {}  # by their parameters
        self.asker = Asker(domain)
        self.robot, self._kind = RobotDoubles(domain), dict[str, Any]()
        self.move_group: Any = MoveGroupDouble(domain) if log is None else ServedMoveGroup(domain, log)
        discovered(lambda: self.move_group.ready and self.asker.finds(MOVE, EXECUTE), "every server is discovered")
        discovered(lambda: self.move_group.clients >= 1, "move_group knows its client")
        self._know()

    def _know(self) -> None:
        self.hardware, self.arm, action = self.robot.hardware, self.robot.arm, self.robot.gripper_action
        actions = (FRANKA, GRASP, OPEN) if action == FRANKA else (action,)
        discovered(lambda: self.asker.finds(FOLLOW, *actions), "the robot is discovered")
        discovered(lambda: self.robot.knows(FOLLOW, 2), "the controller knows its clients")
        discovered(lambda: all(map(self.robot.knows, actions)), "the gripper knows its client")

    def reset(self, **robot: Any) -> DoubleCell:
        """As at the start, for the next test; `robot` are further arguments of RobotDoubles: another gripper.

        Clients stay, with what they have started, as long as the robot does.
        """
        if self._kind != robot or not all(client.node.context.ok() for _, client in self._clients.values()):
            self._end_clients()
        if self._kind == robot:
            self.robot.reset()
        else:
            self.robot.close()
            self.robot, self._kind = RobotDoubles(self.domain, **robot), robot
            self._know()
        discovered(lambda: self.move_group.clients <= 1 + len(self._clients), "clients that were ended have left")
        for _, client in self._clients.values():
            client.clear()
        for known in self.asker.states.values():
            known.clear()
        return self

    def client(self, **motion: Any) -> ApprovedClient:
        if repr(motion) in self._clients:
            return self._clients[repr(motion)][1]
        given = {
            "gripper_action": self.robot.gripper_action, "gripper_scale": 0.5,
            "planner_silence": 10.0,  # the client shares its interpreter with the controllers here
            "controller_actions": FOLLOW, "velocity_scaling": 1.0, "acceleration_scaling": 1.0, **PATIENT, **motion,
        }  # fmt: skip
        action = given["gripper_action"]
        actions = (f"{action}/grasp", f"{action}/move") if given.get("gripper_interface") == "franka" else (action,)
        known = {name: clients(self.hardware, name) for name in actions if name in FORMS}
        spun = Spun(self.domain)
        node = Node("test_client", context=spun.context)
        made = ApprovedClient(node, config(motion=given))
        made._beside.watchdog._spec["lapse"] = 1.5  # for the same reason as planner_silence
        spun.spin(node)
        self._clients[repr(motion)] = spun, made
        discovered(lambda: self.move_group.clients > len(self._clients), "move_group knows the client")
        for name, number in known.items():
            discovered(lambda n=name, k=number: self.robot.knows(n, k + 1), f"{name} knows the client")
        return made

    def position(self, joint: str = ARM[0]) -> float:
        return self.hardware.positions([joint])[0]

    def stands(self, seconds: float = 0.2) -> None:
        until(lambda: self.hardware.still() > seconds, "all joints stand")

    def follows(self, number: int) -> None:
        """Wait until the arm moves in its trajectory of this number, from 1."""
        until(lambda: len(self.arm.taken) == number, f"trajectory {number} is begun")
        first = self.arm.taken[-1].trajectory.points[0].positions
        until(lambda: max(map(abs, map(sub, self.hardware.positions(ARM), first))) > 0.01, "the arm moves")

    def beside(self, step: PlanStep) -> float:
        """rad by which the arm is off the end of a step."""
        end = step.trajectory.end if step.trajectory is not None else {}
        return max(abs(self.position(name) - at) for name, at in end.items())

    def _end_clients(self) -> None:
        for spun, client in self._clients.values():
            client._beside.close()
            spun.close()
            forget(client)  # else its participant lives on
        self._clients.clear()

    def close(self) -> None:
        self._end_clients()
        for each in (self.asker, self.move_group, self.robot):
            each.close()
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

    steps = tuple(PlanStep(s.phase, slower(s.trajectory)) if s.phase == phase else s for s in plan.steps)
    return dataclasses.replace(plan, steps=steps)


def swing(to: float = 1.0, takes: float = 2.0, start: tuple[float, ...] = HOME) -> JointTrajectory:
    """The first joint of the arm swings by `to` rad within `takes` s, at rest at both ends; all others stay."""
    points = []
    for by, seconds in ((0.0, 0.0), (to, takes)):
        when = Duration(sec=int(seconds), nanosec=int(seconds % 1 * 1e9))
        points.append(JointTrajectoryPoint(positions=[start[0] + by, *start[1:]], time_from_start=when))
        points[-1].velocities = points[-1].accelerations = [0.0] * len(start)
    return JointTrajectory(joint_names=list(ARM), points=points)
