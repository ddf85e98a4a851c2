# SPDX-License-Identifier: Apache-2.0
"""The arm's side of a live graph for tests: doubles of its controllers, and a client of the planner. Not a test."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import itertools
import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from control_msgs.action import FollowJointTrajectory, GripperCommand
from controller_double import ARM as JOINTS
from controller_double import HOME
from hardware_double import ACTION_SERVICES, Spun, clients
from planning_scenes import CLEAR, box, config, placed, table_with
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.context import Context
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.task import Future
from sensor_msgs.msg import JointState
from waiting import DEADLINE, until

from spatial_vlm_ros.manipulation.approval.execution_guard import ExecutionGuard, allowed_steps
from spatial_vlm_ros.manipulation.occupancy.measuring import BESIDE, Occupancy
from spatial_vlm_ros.manipulation.occupancy.voxels import VoxelBlocks, voxels_at
from spatial_vlm_ros.manipulation.planning.goal import PickGoal, PlaceGoal
from spatial_vlm_ros.manipulation.planning.pick import pick_goal
from spatial_vlm_ros.manipulation.planning.place import place_goal
from spatial_vlm_ros.manipulation.planning.planner import MotionPlan
from spatial_vlm_ros.manipulation.planning.scene import AllowedContact, PlanningObject, PlanningScene
from spatial_vlm_ros.nodes.arm.motion_client import MotionClient
from spatial_vlm_ros.parameters import PlanningConfig

FINGERS = ("panda_finger_joint1", "panda_finger_joint2")
BLOCK = box("block", 0.5, 0.1, (0.06, 0.04, 0.08))
CUP = box("cup", 0.5, 0.35, (0.06, 0.06, 0.1))
NUMBERS = itertools.count()  # of clients
PATIENT = {
    **dict.fromkeys(("server_timeout", "answer_timeout", "stop_timeout"), 30.0), "planning_time": 20.0,
    "most_time": 300.0,
}  # fmt: skip
"""Parameters of a client, for a machine that is loaded."""


def never() -> bool:
    return False


def discovered(condition: Callable[[], Any], what: str) -> None:
    """Wait until programs know each other, which takes long where a core is busy."""
    until(condition, what, 3 * DEADLINE)


class ControllerDouble(Node):
    """A test double of the controllers of arm and gripper: moves at once, records what it was told, errs as told.

    By their numbers, those of arm and gripper counted together, `hold` keeps goals until they are cancelled, `reject`
    rejects and `fail` aborts them; `deaf` does not let them be cancelled.
    """

    def __init__(self, context: Context) -> None:
        super().__init__("controller_double", context=context)
        self._gates: dict[bytes, Future] = {}
        self.running: list[str] = []
        self.reset()
        self._states = self.create_publisher(JointState, "joint_states", 10)
        self.create_timer(0.02, self.tell)
        self._servers = [
            ActionServer(self, form, name, execute, goal_callback=self._on_goal, cancel_callback=self._on_cancel)
            for form, name, execute in (
                (FollowJointTrajectory, "/arm_controller/follow_joint_trajectory", self._follow),
                (GripperCommand, "/gripper_controller/gripper_cmd", self._grip),
            )
        ]

    def reset(self) -> None:
        """As at the start: the arm at home, nothing told, nothing at fault."""
        assert not self.running
        self.joints = dict(zip(JOINTS, HOME, strict=True)) | dict.fromkeys(FINGERS, 0.04)
        self.trajectories: list[Any] = []
        self.widths: list[float] = []
        self.order: list[str] = []
        self.cancelled: list[str] = []
        self.deaf, self.asked = False, 0
        self.lets_go = False  # what is held goes on
        self.hold: set[int] = set()
        self.reject: set[int] = set()
        self.fail: set[int] = set()
        self.obj = 0.04  # width of what is between the fingers when they close

    @property
    def heard(self) -> bool:
        return self._states.get_subscription_count() > 0

    def tell(self) -> None:
        for gate in self._gates.values():
            if self.lets_go and not gate.done():
                gate.set_result(None)
        stamp = self.get_clock().now().to_msg()
        message = JointState(name=list(self.joints), position=list(self.joints.values()))
        message.header.stamp = stamp
        self._states.publish(message)

    def _on_goal(self, _: Any) -> GoalResponse:
        self.asked += 1
        return GoalResponse.REJECT if self.asked - 1 in self.reject else GoalResponse.ACCEPT

    def _on_cancel(self, goal: Any) -> CancelResponse:
        gate = self._gates.get(bytes(goal.goal_id.uuid))
        if gate is None or self.deaf:
            return CancelResponse.REJECT
        gate.set_result(None)
        return CancelResponse.ACCEPT

    async def _served(self, goal: Any, name: str) -> bool:
        """Whether the goal is to be carried out; else it has ended already."""
        number = self.asked - 1
        self.order.append(name)
        if number in self.hold:
            gate = self._gates[bytes(goal.goal_id.uuid)] = Future()
            self.running.append(name)
            await gate
            self.running.remove(name)
        if goal.is_cancel_requested:
            self.cancelled.append(name)
            goal.canceled()
            return False
        if number in self.fail:
            goal.abort()
            return False
        return True

    async def _follow(self, goal: Any) -> FollowJointTrajectory.Result:
        trajectory = goal.request.trajectory
        self.trajectories.append(trajectory)
        if not await self._served(goal, "arm"):
            code = FollowJointTrajectory.Result.PATH_TOLERANCE_VIOLATED
            return FollowJointTrajectory.Result(error_code=code, error_string="panda_joint4 is 0.2 rad off")
        self.joints |= dict(zip(trajectory.joint_names, trajectory.points[-1].positions, strict=True))
        self.tell()
        goal.succeed()
        return FollowJointTrajectory.Result()

    async def _grip(self, goal: Any) -> GripperCommand.Result:
        wanted = goal.request.command.position
        self.widths.append(wanted)
        if not await self._served(goal, "gripper"):
            return GripperCommand.Result(position=sum(self.joints[name] for name in FINGERS))
        stalls = wanted < self.obj
        position = self.obj if stalls else wanted
        self.joints |= dict.fromkeys(FINGERS, position / 2)
        self.tell()
        goal.succeed()
        return GripperCommand.Result(position=position, stalled=stalls, reached_goal=not stalls)


class ApprovedClient(MotionClient):
    """A client all of whose plans are approved right before they are executed."""

    def __init__(self, node: Node, settings: PlanningConfig) -> None:
        self.guard = ExecutionGuard()
        super().__init__(node, settings, self.guard)

    def execute(self, plan: MotionPlan, *words: Any, **how: Any) -> None:
        steps, pauses, back = allowed_steps([plan])
        self.guard.allow(plan.hash, steps, math.inf, pauses, back)
        super().execute(plan, *words, **how)


class ArmGraph:
    """Doubles of the controllers in one context, unless there are real ones; each client in another."""

    def __init__(self, domain: int, controllers: bool = True) -> None:
        self.domain = domain
        self._ends: dict[Any, list[Callable[[], None]]] = {}
        if controllers:
            self.controllers: ControllerDouble = self.spin(ControllerDouble)

    def client(self, threads: int = 1, **motion: Any) -> ApprovedClient:
        """A client on a spinning node; patient, for a machine that is loaded."""
        made, name = list[ApprovedClient](), f"client{next(NUMBERS)}"

        def make(context: Context) -> Node:
            node = rclpy.create_node(name, context=context)
            made.append(ApprovedClient(node, config(motion=PATIENT | motion)))
            return node

        node = self.spin(make, threads)
        self._ends[node].insert(0, made[0]._beside.close)
        if "gripper_action" not in motion:
            discovered(lambda: self._grips(name), "the gripper knows the client: else it drops the first reply")
        return made[0]

    def _grips(self, name: str) -> bool:
        with contextlib.suppress(NodeNameNonExistentError):
            known = {service for service, _ in self.controllers.get_client_names_and_types_by_node(name, "/")}
            return known >= {f"/gripper_controller/gripper_cmd/_action/{service}" for service in ACTION_SERVICES}
        return False

    def knows(self, action: str) -> None:
        """Wait until the double knows a client of an action: else it drops the first reply, also a rejection."""
        until(lambda: clients(self.controllers, action), f"{action} has a client")

    def spin(self, make: Callable[[Context], Any], threads: int = 1) -> Any:
        spun = Spun(self.domain)
        node = make(spun.context)
        spun.spin(node, threads=threads)
        self._ends[node] = [spun.close]
        return node

    def leave(self, node: Any) -> None:
        for end in self._ends.pop(node):
            end()

    def close(self) -> None:
        for node in reversed(list(self._ends)):
            self.leave(node)
        vars(self).clear()
        gc.collect()


class Aside:
    """A call on a thread of its own: its end is awaited, never slept for."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.error: BaseException | None = None
        self.result: Any = None

        def run() -> None:
            try:
                self.result = call()
            except Exception as error:
                self.error = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def ended(self, deadline: float = 4 * DEADLINE) -> Aside:
        self._thread.join(deadline)
        assert not self._thread.is_alive(), f"it did not end within {deadline:.0f} s"
        return self


def planned(client: MotionClient, around: PlanningScene, put: bool = True, **how: Any) -> MotionPlan:
    pick, place = goals(around, client.config)
    return client.plan(pick, around, place if put else None, **how)


def scene(*neighbours: PlanningObject, target: PlanningObject = BLOCK, contacts: bool = True) -> PlanningScene:
    """A block on a table before the arm, in the frame of the planner."""
    fingers = (AllowedContact(f"{side}_finger", target.id, "grasp") for side in ("left", "right"))
    allowed = (*fingers, *(AllowedContact(target.id, "support", phase) for phase in ("lift", "lower")))
    return table_with(target, *neighbours, frame_id="panda_link0", allowed=allowed if contacts else ())


def goals(around: PlanningScene, settings: PlanningConfig) -> tuple[PickGoal, PlaceGoal]:
    """Grasps, and placements a forearm's length to the right of where it stands."""
    picked = pick_goal(around, settings)
    spot = placed(around.target, (0.45, -0.2, 0.0, 0.0), frame="panda_link0")
    return picked, place_goal(around, spot, picked.grasps[0], settings)


def chest(goal: PickGoal) -> tuple[PlanningObject, ...]:
    """Walls and a lid around the first pre-grasp: the hand fits inside, and not through the hole of the lid."""
    (x, y, z), half, hole = goal.grasps[0].pre_grasp.position, 0.17, (0.075, 0.095)
    top = z + 0.143
    made = []
    for sign in (1, -1):
        made += [
            box(f"wall x{sign}", x + sign * half, y, (0.02, 2 * half, top)),
            box(f"wall y{sign}", x, y + sign * half, (2 * half, 0.02, top)),
            box(f"lid x{sign}", x + sign * (half + hole[0]) / 2, y, (half - hole[0], 2 * half, 0.01), bottom=top),
            box(f"lid y{sign}", x, y + sign * (half + hole[1]) / 2, (2 * half, half - hole[1], 0.01), bottom=top),
        ]
    return tuple(made)


def wall(low: tuple[float, float, float], high: tuple[float, float, float]) -> VoxelBlocks:
    size = np.rint((np.array(high) - low) / 0.01).astype(int)
    return voxels_at((np.argwhere(np.ones(size)) + np.rint(np.array(low) / 0.01)).astype(np.int32), 0.01)


def occupied(measured: VoxelBlocks, unseen: VoxelBlocks = CLEAR.unseen) -> PlanningScene:
    around = scene(CUP)
    lift = AllowedContact(around.target.id, BESIDE, "lift")
    return dataclasses.replace(around, occupancy=Occupancy(measured, unseen, 1.0), allowed=(*around.allowed, lift))
