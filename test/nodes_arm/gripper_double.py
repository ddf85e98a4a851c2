# SPDX-License-Identifier: Apache-2.0
"""Test doubles of gripper drivers that take control_msgs/GripperCommand, written from their sources. Not a test.

- ros2_controllers, branch jazzy, commit ed360c97 (4.42.1), gripper_controllers/include/gripper_controllers/
  gripper_action_controller_impl.hpp ("controller" below), and its parameters in gripper_controllers/src/
  gripper_action_controller_parameters.yaml. 5.17 and later release parallel_gripper_controller alone, with
  control_msgs/ParallelGripperCommand: the same rules, but it rejects goals whose number of positions is not one
  (parallel_gripper_action_controller_impl.hpp:111-128) and its result is a JointState. That message is not among
  interfaces/vendor, so there is no double of it.
- franka_ros2, branch humble, commit 40cf08b6, franka_gripper/src/gripper_action_server.cpp ("franka"), on libfranka
  0.15.0, include/franka/gripper.h. Its actions move, grasp and homing are of franka_msgs, which is not among
  interfaces/vendor either.
- ros2_robotiq_gripper, commit 3b6cf8ff, robotiq_driver/src/hardware_interface.cpp: `ROBOTIQ` below, on the controller
  of ros2_controllers. Its joint turns the other way: 0 is open.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from control_msgs.action import GripperCommand
from hardware_double import HardwareDouble
from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rclpy.task import Future
from realtime_goal import ABORTED, CANCELED, SUCCEEDED, Monitor, RealtimeGoal
from std_srvs.srv import Trigger

from spatial_vlm_ros.nodes.calls import Jobs

FINGERS = ("panda_finger_joint1", "panda_finger_joint2")
KNUCKLE = "robotiq_85_left_knuckle_joint"
CLOSED = 0.7929  # rad of the knuckle: gripper_closed_position of robotiq_description/urdf/2f_85.ros2_control.xacro


@dataclass(frozen=True)
class GripperParameters:
    """Upstream's, with its defaults.

    Args:
        joints: the one that is controlled, and those that mimic it.
        goal_tolerance: rad or m.
        allow_stalling: whether a goal that stalls succeeds.
        stall_velocity: rad/s or m/s: slower than this it stands.
        stall_timeout: s.
    """

    joints: tuple[str, ...] = FINGERS
    goal_tolerance: float = 0.01
    allow_stalling: bool = False
    stall_velocity: float = 0.001
    stall_timeout: float = 1.0


ROBOTIQ = GripperParameters((KNUCKLE,), 0.02, allow_stalling=True, stall_timeout=0.05)
"""robotiq_description/config/robotiq_controllers.yaml."""


class GripperControllerDouble(Node):
    """gripper_controllers' GripperActionController on a position interface.

    Args:
        hardware: of its joints.
        parameters: of the controller.
        name: of the node; the action is ~/gripper_cmd (controller:300).
    """

    def __init__(
        self,
        hardware: HardwareDouble,
        parameters: GripperParameters | None = None,
        name: str = "gripper_controller",
    ) -> None:
        super().__init__(name, context=hardware.context)
        self.parameters = parameters or GripperParameters()
        self._hardware, self._lock = hardware, threading.RLock()
        self._goal: RealtimeGoal | None = None
        self._goals: dict[bytes, RealtimeGoal] = {}
        self._moved = 0.0  # s of the control loop
        self._joint = hardware.joints[self.parameters.joints[0]]
        self._target = self._joint.position
        self._monitor = Monitor(self)
        hardware.load(self)
        self._server = ActionServer(
            self,
            GripperCommand,
            "~/gripper_cmd",
            self._ended,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=self._on_cancel,
        )

    def _on_accepted(self, handle: ServerGoalHandle) -> None:
        """controller:83-120: every goal is accepted, whatever it asks for, and replaces the one before.

        The one before is asked to be cancelled, which its state does not allow; it ends CANCELED with an empty result
        when its timer, its last owner, is deleted (controller:27-38, 114; realtime_goal.py).
        """
        goal = RealtimeGoal(handle, GripperCommand.Result())
        with self._hardware.lock, self._lock:
            if self._goal is not None:
                self._goal.ask(CANCELED, GripperCommand.Result())
            self._goal, self._target = goal, handle.request.command.position
            self._moved = self._hardware.now
        self._goals = {key: each for key, each in self._goals.items() if not each.done.done()}
        self._goals[bytes(handle.goal_id.uuid)] = goal
        self._monitor.watch(goal)
        handle.execute()

    async def _ended(self, handle: ServerGoalHandle) -> Any:
        return await self._goals[bytes(handle.goal_id.uuid)].done

    def _on_cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        """controller:123-153: always accepted; the position is held, with max_effort; the result is empty."""
        with self._hardware.lock, self._lock:
            if self._goal is not None and self._goal.handle is handle:
                self._target = self._joint.position
                self._goal.ask(CANCELED, GripperCommand.Result())
                self._goal = None
        return CancelResponse.ACCEPT

    def update(self, now: float, _: float) -> None:
        """controller:63-81, 156-202."""
        with self._lock:
            for name in self.parameters.joints:
                self._hardware.joints[name].command = self._target
            if self._goal is None:
                return
            given, at = self.parameters, self._joint.position
            if abs(self._target - at) < given.goal_tolerance:
                self._end(SUCCEEDED, GripperCommand.Result(position=at, reached_goal=True))
            elif abs(self._joint.velocity) > given.stall_velocity:
                self._moved = now
            elif now - self._moved > given.stall_timeout:
                end = SUCCEEDED if given.allow_stalling else ABORTED
                self._end(end, GripperCommand.Result(position=at, stalled=True))

    def _end(self, end: str, result: Any) -> None:
        if self._goal is not None:
            self._goal.ask(end, result)
            self._goal = None


class FrankaGripperDouble(Node):
    """franka_gripper's node, of whose actions ~/gripper_action is of control_msgs.

    A goal's position is that of one finger, a result's the width between both (franka:167, 233). `stalled` is never
    true. To open is `move`; to close is `grasp` of the commanded width, within 5 mm (franka:189-195, include/
    franka_gripper/gripper_action_server.hpp:89): fingers that end up at another width have failed, and hold all the
    same what they met.

    The source leaves to libfranka what a grasp does: here the fingers close until they meet something or each other,
    and a command that is stopped fails. Two commands at once wait for each other, which libfranka does not describe.

    Args:
        hardware: of the fingers.
        name: of the node.
    """

    EPSILON, SAME, WIDEST = 0.005, 1e-4, 0.08  # m
    FEEDBACK, STANDS = 1 / 30, 0.3  # s: franka_gripper/config/franka_gripper_node.yaml; until fingers count as still

    def __init__(self, hardware: HardwareDouble, name: str = "panda_gripper") -> None:
        super().__init__(name, context=hardware.context)
        self._hardware = hardware
        self._jobs, self._command = Jobs(self), threading.Lock()
        self._stop = threading.Event()
        self._results: dict[bytes, Future] = {}
        self.create_service(Trigger, "~/stop", self._on_stop)
        self._server = ActionServer(
            self,
            GripperCommand,
            "~/gripper_action",
            self._ended,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=lambda _: CancelResponse.ACCEPT,  # franka:132-135
        )

    @property
    def width(self) -> float:
        """Between the fingers, m."""
        return sum(self._hardware.positions(FINGERS))

    def _on_accepted(self, handle: ServerGoalHandle) -> None:
        """franka:112-124, 137-140: every goal is accepted, and has a thread of its own."""
        self._results[bytes(handle.goal_id.uuid)] = Future()
        handle.execute()
        threading.Thread(target=self._run, args=(handle,), daemon=True).start()

    async def _ended(self, handle: ServerGoalHandle) -> Any:
        return await self._results[bytes(handle.goal_id.uuid)]

    def _run(self, handle: ServerGoalHandle) -> None:
        """franka:164-243."""
        target, width, result = 2 * handle.request.command.position, self.width, GripperCommand.Result()
        if not 0 <= target <= self.WIDEST:
            self._finish(handle, handle.abort, result)  # franka:173-179
            return
        if abs(target - width) < self.SAME:
            result.position, result.reached_goal = width, True
            self._finish(handle, handle.succeed, result)  # franka:180-187
            return
        done = threading.Event()

        def command() -> None:
            result.reached_goal = self._move(target) if target >= width else self._grasp(target)
            done.set()

        thread = threading.Thread(target=command, daemon=True)
        thread.start()
        while not done.wait(self.FEEDBACK):  # a cancellation is seen with the feedback (franka:220-229)
            if handle.is_cancel_requested:
                self._stop.set()
                thread.join()
                self._finish(handle, handle.canceled, result)  # without a position
                return
        result.position = self.width
        self._finish(handle, handle.succeed if result.reached_goal else handle.abort, result)

    def _finish(self, handle: ServerGoalHandle, end: Any, result: Any) -> None:
        def job() -> None:
            end()
            self._results.pop(bytes(handle.goal_id.uuid)).set_result(result)

        self._jobs.put(job)

    def _move(self, width: float) -> bool:
        return self._go(width) and abs(self.width - width) < self.SAME

    def _grasp(self, width: float) -> bool:
        """Whether what the fingers met is as wide as that: gripper.h:80-84."""
        return self._go(0.0) and abs(self.width - width) < self.EPSILON

    def _go(self, width: float) -> bool:
        """Send the fingers somewhere, and wait until they stand; False where that was stopped."""
        with self._command:
            self._stop.clear()
            with self._hardware.lock:
                for name in FINGERS:
                    self._hardware.joints[name].command = width / 2
            before, since = self.width, time.monotonic()
            while time.monotonic() - since < self.STANDS:
                if self._stop.wait(0.01):
                    with self._hardware.lock:
                        for name in FINGERS:
                            self._hardware.joints[name].command = self._hardware.joints[name].position
                    return False
                if abs(self.width - before) > self.SAME:
                    before, since = self.width, time.monotonic()
            return True

    def _on_stop(self, _: Any, response: Any) -> Any:
        """franka:245-258: what runs fails."""
        self._stop.set()
        response.success = True
        return response
