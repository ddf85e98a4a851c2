# SPDX-License-Identifier: Apache-2.0
"""One class for each interface by which gripper drivers are commanded to open and close.

`DRIVERS` has them by `motion.gripper_interface`. Each converts a plan step to a command of its driver, and the reply
to a `GripReport`; manipulation/grippers/judging.py decides whether the object is held. The approval check uses exactly
the message that is sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

from spatial_vlm_ros.errors import CancelledError, InputError
from spatial_vlm_ros.manipulation.grippers import GripReport, command_stroke
from spatial_vlm_ros.manipulation.planning.planner import PlanStep
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.calls import Action, Asked, Bridge, Service
from spatial_vlm_ros.nodes.messages import needed_class
from spatial_vlm_ros.parameters import MotionConfig

Check = Callable[[PlanStep], None]
"""Called on the executor's thread directly before sending, with the step reconstructed from the message."""

_START = "start the gripper driver, and check motion.gripper_interface and motion.gripper_action"
_NANO = 9  # digits after the point: widths count in whole nanometres


class DriverReply(NamedTuple):
    """How a driver reacted to a step, with its report."""

    accepted: bool
    withdrawn: bool
    report: GripReport


class GripperDriver:
    """A driver that is commanded by actions; a subclass says what a step becomes, and what a result means.

    Args:
        speed: closing speed between the fingers, m/s, for drivers that take one.

    Attributes:
        forms: class of each action or service, in the order of `TYPES`.
        servers: servers that must be available before anything moves.
        flag: newest state of a switch, true = something is held; None = there is none, or it is silent.
    """

    TYPES: Mapping[str, str]
    """End of the name, after `motion.gripper_action` → type of the action or service."""
    SERVER: Any = Action
    flag: bool | None = None

    def __init__(self, bridge: Bridge, motion: MotionConfig, speed: float) -> None:
        self._bridge, self._motion, self._speed, self._stroke = bridge, motion, speed, command_stroke(motion)
        self.forms = [needed_class(name) for name in self.TYPES.values()]
        limit = (motion.stop_timeout,) if self.SERVER is Action else ()
        name = motion.gripper_action
        names = [f"{name.rstrip('/')}{end}" if end else name for end in self.TYPES]
        self.servers = [
            self.SERVER(bridge, form, name, _START, *limit) for form, name in zip(self.forms, names, strict=True)
        ]

    def send(self, step: PlanStep, told: Asked, check: Check) -> DriverReply:
        """Open or close the gripper, and wait until it has finished.

        Args:
            step: "open", "close" or "release", with its width.
            told: whether to give up; the step is then cancelled if the driver supports it.
            check: see `Check`; its exceptions are passed on.

        Raises:
            PlannerUnavailableError: no reply, or the step did not end in time.
            CancelledError: the caller gave up before anything was sent.
        """
        number, goal, sent = self._goal(step)
        seconds = self._motion.answer_timeout
        ended = self.servers[number].run(goal, seconds, seconds, told, check=partial(check, sent))
        report = GripReport() if ended.result is None else self._report(ended.result)
        return DriverReply(ended.accepted, ended.withdrawn, report)

    def _goal(self, step: PlanStep) -> tuple[int, Any, PlanStep]:
        raise NotImplementedError

    def _report(self, result: Any) -> GripReport:
        raise NotImplementedError

    def destroy(self) -> None:
        """Destroy the clients; the node must not be spinning."""
        for server in self.servers:
            server.destroy()


class GripperCommandDriver(GripperDriver):
    """control_msgs/GripperCommand: one position, one effort."""

    TYPES: Mapping[str, str] = {"": "control_msgs/action/GripperCommand"}

    def _goal(self, step: PlanStep) -> tuple[int, Any, PlanStep]:
        goal = self.forms[0].Goal()
        goal.command.position = self._stroke.position(step.width or 0.0)
        goal.command.max_effort = self._motion.gripper_effort
        return 0, goal, self._sent(step, goal.command.position)

    def _sent(self, step: PlanStep, position: float) -> PlanStep:
        return PlanStep(step.phase, width=round(self._stroke.width(position), _NANO) + 0.0, holds=step.holds)

    def _report(self, result: Any) -> GripReport:
        return self._moved(result, result.position)

    def _moved(self, result: Any, position: float | None) -> GripReport:
        width = math.nan if position is None else self._stroke.width(position)
        told = width if math.isfinite(width) else None
        return GripReport(told_width=told, reached=result.reached_goal, stalled=result.stalled)


class ParallelGripperDriver(GripperCommandDriver):
    """control_msgs/ParallelGripperCommand: a JointState with exactly one position.

    ros2_controllers 1120234b, parallel_gripper_action_controller_impl.hpp:91-106 rejects any other number of positions,
    and its result carries no joint name. Effort and speed take effect if the hardware has interfaces for them.
    """

    TYPES: Mapping[str, str] = {"": "control_msgs/action/ParallelGripperCommand"}

    def _goal(self, step: PlanStep) -> tuple[int, Any, PlanStep]:
        goal = self.forms[0].Goal()
        goal.command.name = self._motion.gripper_joint.split()
        goal.command.position = [self._stroke.position(step.width or 0.0)]
        goal.command.effort = [self._motion.gripper_effort]
        return 0, goal, self._sent(step, goal.command.position[0])

    def _report(self, result: Any) -> GripReport:
        at = result.state.position
        return self._moved(result, at[0] if len(at) else None)


class FrankaDriver(GripperDriver):
    """franka_msgs Grasp and Move of franka_gripper: `motion.gripper_action` is its namespace.

    Grasp closes until the fingers touch something, and succeeds if its width is between `width` - `epsilon.inner` and
    `width` + `epsilon.outer`; Move goes to a width (libfranka 0.15.0, include/franka/gripper.h; franka_ros2 40cf08b,
    franka_gripper/src/gripper_action_server.cpp:147-162). Neither result carries a width.
    """

    TYPES: Mapping[str, str] = {"/grasp": "franka_msgs/action/Grasp", "/move": "franka_msgs/action/Move"}

    def _goal(self, step: PlanStep) -> tuple[int, Any, PlanStep]:
        closes = step.phase == "close"
        goal = self.forms[0 if closes else 1].Goal(speed=self._speed)
        if not closes:
            goal.width = step.width or 0.0
            return 1, goal, PlanStep(step.phase, width=goal.width, holds=step.holds)
        goal.width = step.width or 0.0 if step.holds is None else step.holds
        goal.force = self._motion.gripper_effort
        goal.epsilon.inner = goal.width  # the object may be narrower between the fingers than seen from above
        goal.epsilon.outer = self._motion.gripper_tolerance
        return 0, goal, PlanStep(step.phase, width=step.width, holds=None if step.holds is None else goal.width)

    def _report(self, result: Any) -> GripReport:
        return GripReport(done=result.success, said=result.error)


class SetBoolDriver(GripperDriver):
    """std_srvs/SetBool: true closes or turns the vacuum on; a std_msgs/Bool topic reports whether something is held."""

    TYPES: Mapping[str, str] = {"": "std_srvs/srv/SetBool"}
    FLAG = "std_msgs/msg/Bool"
    SERVER = Service

    def __init__(self, bridge: Bridge, motion: MotionConfig, speed: float) -> None:
        if not motion.gripper_flag and not motion.gripper_unjudged:
            expected = "a topic that reports whether an object is held"
            repair = "set it, or set motion.gripper_unjudged, with which every closing counts as a grasp"
            raise InputError("parameter motion.gripper_flag", "''", expected, repair)
        super().__init__(bridge, motion, speed)
        if motion.gripper_flag:
            topic, form = motion.gripper_flag, needed_class(self.FLAG)
            bridge.node.create_subscription(form, topic, self._on_flag, qos.images(), callback_group=bridge.group)

    def send(self, step: PlanStep, told: Asked, check: Check) -> DriverReply:
        """As for actions; a service call cannot be cancelled."""
        on, nothing = step.phase == "close", Future[Any]()
        if told():
            raise CancelledError("the request was withdrawn")
        check(step)
        answer = self.servers[0].call(self._request(on), self._motion.answer_timeout)
        self._bridge.wait(nothing, self._motion.gripper_time, lambda: told() or self.flag is on)
        done = None if answer.success else False
        return DriverReply(True, False, GripReport(done=done, flag=self.flag, said=getattr(answer, "message", "")))

    def _request(self, on: bool) -> Any:
        return self.forms[0].Request(data=on)

    def _on_flag(self, message: Any) -> None:
        self.flag = bool(message.data)

    def destroy(self) -> None:
        """Nothing to do: the node owns its service clients."""


class UrOutputDriver(SetBoolDriver):
    """A digital output of Universal Robots: ur_msgs/SetIO, and ur_msgs/IOStates for an input that reports the grip.

    Its `success` is true also where the controller could not verify the output (Universal_Robots_ROS2_Driver 040c76a4,
    ur_controllers/src/gpio_controller.cpp, setIO: the value 2 that means "waiting" is cast to true), so true proves
    nothing; only false is used.
    """

    TYPES: Mapping[str, str] = {"": "ur_msgs/srv/SetIO"}
    FLAG = "ur_msgs/msg/IOStates"

    def _request(self, on: bool) -> Any:
        request = self.forms[0].Request(pin=self._motion.gripper_pin, state=float(on))
        request.fun = request.FUN_SET_DIGITAL_OUT
        return request

    def _on_flag(self, message: Any) -> None:
        pins = {each.pin: bool(each.state) for each in message.digital_in_states}
        self.flag = pins.get(self._motion.gripper_flag_pin)


DRIVERS: Mapping[str, type[GripperDriver]] = {
    "gripper_command": GripperCommandDriver,
    "parallel_gripper_command": ParallelGripperDriver,
    "franka": FrankaDriver,
    "set_bool": SetBoolDriver,
    "ur_output": UrOutputDriver,
}
"""`motion.gripper_interface` → driver."""
