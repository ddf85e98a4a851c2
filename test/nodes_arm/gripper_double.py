# SPDX-License-Identifier: Apache-2.0
"""Test doubles of gripper drivers, written from their sources. Not a test.

- ros2_controllers, branch jazzy, commit ed360c97 (4.42.1), gripper_controllers/include/gripper_controllers/
  gripper_action_controller_impl.hpp ("controller" below), and its parameters in gripper_controllers/src/
  gripper_action_controller_parameters.yaml; commit 1120234b, parallel_gripper_controller/include/
  parallel_gripper_controller/parallel_gripper_action_controller_impl.hpp ("parallel"), which is all that 5.17 and later
  release.
- franka_ros2, branch humble, commit 40cf08b6, franka_gripper/src/gripper_action_server.cpp ("franka"), on libfranka
  0.15.0, include/franka/gripper.h. Later ones (commit 17382961) tell half the width as the result of gripper_action.
- ros2_robotiq_gripper, commit 3b6cf8ff, robotiq_driver/src/hardware_interface.cpp: `ROBOTIQ` below, on either
  controller of ros2_controllers. Its joint turns the other way: 0 is open.
- Universal_Robots_ROS2_Driver, commit 040c76a4, ur_controllers/src/gpio_controller.cpp ("gpio").
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from control_msgs.action import GripperCommand, ParallelGripperCommand
from controller_double import ABORTED, SUCCEEDED, RealtimeController
from franka_msgs.action import Grasp, Move
from hardware_double import HardwareDouble
from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import Bool
from std_srvs.srv import SetBool
from ur_msgs.msg import Digital, IOStates
from ur_msgs.srv import SetIO

from spatial_vlm_ros.nodes.goals import Jobs

FINGERS = ("panda_finger_joint1", "panda_finger_joint2")
KNUCKLE = "robotiq_85_left_knuckle_joint"
CLOSED = 0.7929  # rad of the knuckle: gripper_closed_position of robotiq_description/urdf/2f_85.ros2_control.xacro


@dataclass(frozen=True)
class GripperParameters:
    joints: tuple[str, ...] = FINGERS  # the one that is controlled, and those that mimic it
    goal_tolerance: float = 0.01  # rad or m
    allow_stalling: bool = False  # whether a goal that stalls succeeds
    stall_velocity: float = 0.001  # rad/s or m/s: slower than this it stands
    stall_timeout: float = 1.0  # s


ROBOTIQ = GripperParameters((KNUCKLE,), 0.02, allow_stalling=True, stall_timeout=0.05)
"""robotiq_description/config/robotiq_controllers.yaml."""


class GripperControllerDouble(RealtimeController):
    """gripper_controllers' GripperActionController on a position interface; its action is ~/gripper_cmd.

    Every goal is accepted, whatever it asks for, and replaces the one before, which ends CANCELED with an empty result
    (controller:27-38, 83-120). One that is cancelled holds the position (controller:123-153).
    """

    FORM: Any = GripperCommand

    def __init__(self, hardware: HardwareDouble, parameters: GripperParameters | None, name: str) -> None:
        self.parameters = parameters or GripperParameters()
        self._joint = hardware.joints[self.parameters.joints[0]]
        self._target, self._moved = self._joint.position, 0.0  # s of the control loop
        super().__init__(hardware, name, "gripper_cmd")

    def takes(self, _: Any) -> bool:
        """controller:83-91: every goal is accepted."""
        return True

    def begin(self, goal: Any) -> None:
        """controller:83-120."""
        self._target, self._moved = self._position(goal), self.hardware.now

    def rest(self) -> None:
        """controller:123-153: the position is held, with max_effort."""
        self._target = self._joint.position

    def _position(self, goal: Any) -> float:
        return float(goal.command.position)

    def _result(self, position: float, reached: bool = False, stalled: bool = False) -> Any:
        return GripperCommand.Result(position=position, reached_goal=reached, stalled=stalled)

    def update(self, now: float, _: float) -> None:
        """controller:63-81, 156-202."""
        with self.lock:
            for name in self.parameters.joints:
                self.hardware.joints[name].command = self._target
            if self.goal is None:
                return
            given, at = self.parameters, self._joint.position
            if abs(self._target - at) < given.goal_tolerance:
                self.end(SUCCEEDED, self._result(at, reached=True))
            elif abs(self._joint.velocity) > given.stall_velocity:
                self._moved = now
            elif now - self._moved > given.stall_timeout:
                self.end(SUCCEEDED if given.allow_stalling else ABORTED, self._result(at, stalled=True))


class ParallelGripperControllerDouble(GripperControllerDouble):
    """parallel_gripper_controller's GripperActionController: the same rules (parallel:62-80, 108-142, 181-225)."""

    FORM: Any = ParallelGripperCommand

    def takes(self, goal: Any) -> bool:
        """parallel:83-101: a goal has one position, or is rejected."""
        return len(goal.command.position) == 1

    def _position(self, goal: Any) -> float:
        return float(goal.command.position[0])

    def _result(self, position: float, reached: bool = False, stalled: bool = False) -> Any:
        """parallel:194-218, 374-379: one position and one effort, and no name."""
        result = ParallelGripperCommand.Result(reached_goal=reached, stalled=stalled)
        result.state.position, result.state.effort = [position], [0.0]
        return result


class FrankaGripperDouble(Node):
    """franka_gripper's node: ~/gripper_action of control_msgs, ~/grasp and ~/move of franka_msgs; ~/stop is left out.

    A goal's position is that of one finger, a result's the width between both (franka:167, 233). `stalled` is never
    true. To open is `move`; to close is `grasp` of the commanded width, within 5 mm (franka:189-195, include/
    franka_gripper/gripper_action_server.hpp:89): fingers that end up at another width have failed, and hold all the
    same what they met.

    The source leaves to libfranka what a grasp does: here the fingers close until they meet something or each other,
    and a command that is stopped fails. Two commands at once wait for each other, which libfranka does not describe.
    """

    EPSILON, SAME, WIDEST = 0.005, 1e-4, 0.08  # m
    FEEDBACK, STANDS = 1 / 30, 0.3  # s: franka_gripper/config/franka_gripper_node.yaml; until fingers count as still

    def __init__(self, hardware: HardwareDouble, name: str = "panda_gripper") -> None:
        super().__init__(name, context=hardware.context)
        self._hardware = hardware
        self._jobs, self._command = Jobs(self), threading.Lock()
        self._stop = threading.Event()
        self._results: dict[bytes, Future] = {}
        self._servers = [
            ActionServer(
                self, form, f"~/{action}", self._ended,
                handle_accepted_callback=lambda handle, serve=serve: self._on_accepted(handle, serve),
                cancel_callback=lambda _: CancelResponse.ACCEPT,  # franka:132-135
            )
            for form, action, serve in (
                (GripperCommand, "gripper_action", self._serve), (Grasp, "grasp", self._serve_own),
                (Move, "move", self._serve_own),
            )
        ]  # fmt: skip

    @property
    def width(self) -> float:
        return sum(self._hardware.positions(FINGERS))

    def _on_accepted(self, handle: ServerGoalHandle, serve: Callable[[ServerGoalHandle], None]) -> None:
        """franka:112-124, 137-140: every goal is accepted, and has a thread of its own."""
        self._results[bytes(handle.goal_id.uuid)] = Future()
        handle.execute()
        threading.Thread(target=serve, args=(handle,), daemon=True).start()

    async def _ended(self, handle: ServerGoalHandle) -> Any:
        return await self._results[bytes(handle.goal_id.uuid)]

    def _serve(self, handle: ServerGoalHandle) -> None:
        """franka:164-243."""
        target, width, result = 2 * handle.request.command.position, self.width, GripperCommand.Result()
        if not 0 <= target <= self.WIDEST:
            self._finish(handle, handle.abort, result)  # franka:173-179
            return
        if abs(target - width) < self.SAME:
            result.position, result.reached_goal = width, True
            self._finish(handle, handle.succeed, result)  # franka:180-187
            return
        well, end = self._run(handle, lambda: self._move(target) if target >= width else self._grasp(target))
        result.reached_goal = well
        result.position = 0.0 if end == handle.canceled else self.width  # cancelled: without a position
        self._finish(handle, end, result)

    def _serve_own(self, handle: ServerGoalHandle) -> None:
        """franka:147-162 and gripper_action_server.hpp:150-181: `success` is what libfranka returns."""
        goal = handle.request
        if isinstance(goal, Grasp.Goal):
            well, end = self._run(handle, lambda: self._grasp(goal.width, goal.epsilon.inner, goal.epsilon.outer))
            self._finish(handle, end, Grasp.Result(success=well))
        else:
            well, end = self._run(handle, lambda: self._move(goal.width))
            self._finish(handle, end, Move.Result(success=well))

    def _run(self, handle: ServerGoalHandle, command: Callable[[], bool]) -> tuple[bool, Callable[[], None]]:
        """What a command returned, and how the goal ends.

        A goal that is cancelled stops the gripper, which is seen with the feedback (franka:220-229), and ends CANCELED;
        one that returned false ends ABORTED.
        """
        returned: list[bool] = []
        thread = threading.Thread(target=lambda: returned.append(command()), daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(self.FEEDBACK)
            if thread.is_alive() and handle.is_cancel_requested:
                self._stop.set()
                thread.join()
                return returned[0], handle.canceled
        return returned[0], handle.succeed if returned[0] else handle.abort

    def _finish(self, handle: ServerGoalHandle, end: Any, result: Any) -> None:
        def job() -> None:
            end()
            self._results.pop(bytes(handle.goal_id.uuid)).set_result(result)

        self._jobs.put(job)

    def _move(self, width: float) -> bool:
        return self._go(width) and abs(self.width - width) < self.SAME

    def _grasp(self, width: float, inner: float = EPSILON, outer: float = EPSILON) -> bool:
        """Whether what the fingers met is as wide as that: gripper.h:80-84."""
        return self._go(0.0) and width - inner < self.width < width + outer

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


class VacuumDouble(Node):
    """A vacuum gripper on a digital output, with a pressure switch; of no maker. It seals where `seals` says so.

    `ur` makes it one on the outputs of Universal Robots: ~/set_io answers as gpio:setIO does, with `success` true also
    where the output was never verified; ~/io_states comes in each cycle (gpio:179-183). Else ~/set is std_srvs/SetBool
    and ~/held is std_msgs/Bool.
    """

    def __init__(self, context: Any, ur: bool = False) -> None:
        super().__init__("vacuum", context=context)
        self.on, self.seals, self.works, self.silent = False, True, True, False
        self.pin = 3  # digital output, and input of the switch
        self.asked: list[tuple[int, float]] = []
        if ur:
            self.create_service(SetIO, "~/set_io", self._on_set_io)
            states = self.create_publisher(IOStates, "~/io_states", 10)
            self.create_timer(0.02, lambda: self.silent or states.publish(self._io()))
        else:
            self.create_service(SetBool, "~/set", self._on_set)
            held = self.create_publisher(Bool, "~/held", 10)
            self.create_timer(0.02, lambda: self.silent or held.publish(Bool(data=self.held)))

    @property
    def held(self) -> bool:
        return self.on and self.seals

    def _on_set(self, request: Any, response: Any) -> Any:
        self.on = request.data if self.works else self.on
        response.success, response.message = self.works, "" if self.works else "no air"
        return response

    def _on_set_io(self, request: Any, response: Any) -> Any:
        self.asked.append((request.pin, request.state))
        known = request.fun == request.FUN_SET_DIGITAL_OUT and 0 <= request.pin <= 17
        if known and request.pin == self.pin and self.works:
            self.on = bool(request.state)
        response.success = known  # also where it does not work: the value that means "waiting" is cast to true
        return response

    def _io(self) -> IOStates:
        pins = range(18)
        return IOStates(
            digital_in_states=[Digital(pin=pin, state=self.held and pin == self.pin) for pin in pins],
            digital_out_states=[Digital(pin=pin, state=self.on and pin == self.pin) for pin in pins],
        )
