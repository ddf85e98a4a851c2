# SPDX-License-Identifier: Apache-2.0
"""One class for each interface by which gripper drivers are commanded to open and close.

`driver_of` picks it by `motion.gripper_interface`. Each converts a plan step to a command of its driver, and the reply
to a `GripReport`; manipulation/grippers/judging.py decides whether the object is held. The approval check uses exactly
the message that is sent.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from spatial_vlm_ros.errors import CancelledError, DependencyError, InputError
from spatial_vlm_ros.manipulation.grippers.judging import GripReport
from spatial_vlm_ros.manipulation.grippers.stroke import Stroke, command_stroke
from spatial_vlm_ros.manipulation.planning.planner import PlanStep
from spatial_vlm_ros.nodes.calls import Action, Asked, Bridge, GoalOutcome, Server, Service
from spatial_vlm_ros.parameters import MotionConfig

Check = Callable[[PlanStep], None]
"""Called on the executor's thread directly before sending, with the step reconstructed from the message."""

_START = "start the gripper driver, and check motion.gripper_interface and motion.gripper_action"
_NANO = 9  # digits after the point: widths count in whole nanometres


class DriverReply(NamedTuple):
    """How a driver reacted to a step.

    Args:
        report: the driver's report.
    """

    accepted: bool
    withdrawn: bool
    report: GripReport


class GripperDriver(Protocol):
    """Interface of all gripper drivers."""

    @property
    def servers(self) -> Sequence[Server]:
        """Servers that must be available before anything moves."""
        ...

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
        ...

    def destroy(self) -> None:
        """Destroy the clients; the node must not be spinning."""
        ...


class _Actions:
    """Base of all drivers that use actions: the actions and their time limits."""

    def __init__(self, bridge: Bridge, motion: MotionConfig, forms: dict[str, Any]) -> None:
        self._motion = motion
        self.servers = [Action(bridge, form, name, _START, motion.stop_timeout) for name, form in forms.items()]

    def run(self, action: Action, goal: Any, told: Asked, check: Callable[[], None]) -> GoalOutcome:
        seconds = self._motion.answer_timeout
        return action.run(goal, seconds, seconds, told, check=check)

    def destroy(self) -> None:
        for action in self.servers:
            action.destroy()


class GripperCommandDriver(_Actions):
    """control_msgs/GripperCommand: one position, one effort."""

    def __init__(self, bridge: Bridge, motion: MotionConfig, stroke: Stroke) -> None:
        form = _form("control_msgs.action", "GripperCommand")
        super().__init__(bridge, motion, {motion.gripper_action: form})
        self._form, self._stroke = form, stroke

    def send(self, step: PlanStep, told: Asked, check: Check) -> DriverReply:
        """See GripperDriver."""
        goal = self._form.Goal()
        goal.command.position = self._stroke.position(step.width or 0.0)
        goal.command.max_effort = self._motion.gripper_effort
        sent = _step_of(step, self._stroke.width(goal.command.position))
        ended = self.run(self.servers[0], goal, told, partial(check, sent))
        result = ended.result
        if result is None:
            return DriverReply(ended.accepted, ended.withdrawn, GripReport())
        width = _finite(self._stroke.width(result.position))
        return DriverReply(
            ended.accepted,
            ended.withdrawn,
            GripReport(told_width=width, reached=result.reached_goal, stalled=result.stalled),
        )


class ParallelGripperDriver(_Actions):
    """control_msgs/ParallelGripperCommand: a JointState with exactly one position.

    ros2_controllers 1120234b, parallel_gripper_action_controller_impl.hpp:91-106 rejects any other number of positions,
    and its result carries no joint name. Effort and speed take effect if the hardware has interfaces for them.
    """

    def __init__(self, bridge: Bridge, motion: MotionConfig, stroke: Stroke) -> None:
        form = _form("control_msgs.action", "ParallelGripperCommand")
        super().__init__(bridge, motion, {motion.gripper_action: form})
        self._form, self._stroke = form, stroke

    def send(self, step: PlanStep, told: Asked, check: Check) -> DriverReply:
        """See GripperDriver."""
        goal = self._form.Goal()
        goal.command.name = self._motion.gripper_joint.split()
        goal.command.position = [self._stroke.position(step.width or 0.0)]
        goal.command.effort = [self._motion.gripper_effort]
        sent = _step_of(step, self._stroke.width(goal.command.position[0]))
        ended = self.run(self.servers[0], goal, told, partial(check, sent))
        if ended.result is None:
            return DriverReply(ended.accepted, ended.withdrawn, GripReport())
        at = ended.result.state.position
        report = GripReport(
            told_width=_finite(self._stroke.width(at[0])) if len(at) else None,
            reached=ended.result.reached_goal,
            stalled=ended.result.stalled,
        )
        return DriverReply(ended.accepted, ended.withdrawn, report)


class FrankaDriver(_Actions):
    """franka_msgs Grasp and Move of franka_gripper: `motion.gripper_action` is its namespace.

    Grasp closes until the fingers touch something, and succeeds if its width is between `width` - `epsilon.inner` and
    `width` + `epsilon.outer`; Move goes to a width (libfranka 0.15.0, include/franka/gripper.h; franka_ros2 40cf08b,
    franka_gripper/src/gripper_action_server.cpp:147-162). Neither result carries a width.
    """

    def __init__(self, bridge: Bridge, motion: MotionConfig, speed: float) -> None:
        self._grasp, self._move = (_form("franka_msgs.action", name) for name in ("Grasp", "Move"))
        space = motion.gripper_action.rstrip("/")
        super().__init__(bridge, motion, {f"{space}/grasp": self._grasp, f"{space}/move": self._move})
        self._speed = speed

    def send(self, step: PlanStep, told: Asked, check: Check) -> DriverReply:
        """See GripperDriver."""
        if step.phase == "close":
            action, goal = self.servers[0], self._grasp.Goal()
            goal.width = step.width or 0.0 if step.holds is None else step.holds
            goal.force = self._motion.gripper_effort
            goal.epsilon.inner = goal.width  # the object may be narrower between the fingers than seen from above
            goal.epsilon.outer = self._motion.gripper_tolerance
            sent = PlanStep(step.phase, width=step.width, holds=None if step.holds is None else goal.width)
        else:
            action, goal = self.servers[1], self._move.Goal()
            goal.width = step.width or 0.0
            sent = PlanStep(step.phase, width=goal.width, holds=step.holds)
        goal.speed = self._speed
        ended = self.run(action, goal, told, partial(check, sent))
        if ended.result is None:
            return DriverReply(ended.accepted, ended.withdrawn, GripReport())
        return DriverReply(
            ended.accepted, ended.withdrawn, GripReport(done=ended.result.success, said=ended.result.error)
        )


class _Switch:
    """The newest message of a switch that reports whether something is held.

    Args:
        topic: name of the topic; "" = no switch.
        read: converts a message to held / not held, or None if it says neither.
    """

    def __init__(self, bridge: Bridge, form: Any, topic: str, read: Callable[[Any], bool | None]) -> None:
        self.value: bool | None = None
        self._read = read
        if topic:
            from spatial_vlm_ros.nodes import qos

            bridge.node.create_subscription(form, topic, self._on_message, qos.images(), callback_group=bridge.group)

    def _on_message(self, message: Any) -> None:
        self.value = self._read(message)


class SetBoolDriver:
    """std_srvs/SetBool: true closes or turns the vacuum on; a std_msgs/Bool topic reports whether something is held."""

    def __init__(self, bridge: Bridge, motion: MotionConfig) -> None:
        form = _form("std_srvs.srv", "SetBool")
        self._bridge, self._motion, self._form = bridge, motion, form
        self._service = Service(bridge, form, motion.gripper_action, _START)
        self.servers: Sequence[Server] = (self._service,)
        self._switch = _Switch(
            bridge, _form("std_msgs.msg", "Bool"), motion.gripper_flag, lambda message: bool(message.data)
        )

    def send(self, step: PlanStep, told: Asked, check: Check) -> DriverReply:
        """See GripperDriver; a service call cannot be cancelled."""
        on = step.phase == "close"
        if told():
            raise CancelledError("the request was withdrawn")
        check(step)
        done, said = self._call(on)
        return DriverReply(True, False, _switched(self._bridge, self._motion, self._switch, on, done, said, told))

    def _call(self, on: bool) -> tuple[bool | None, str]:
        answer = self._service.call(self._form.Request(data=on), self._motion.answer_timeout)
        return None if answer.success else False, answer.message

    def destroy(self) -> None:
        """See GripperDriver; nothing to do, for the node owns its service clients."""


class UrOutputDriver(SetBoolDriver):
    """A digital output of Universal Robots: ur_msgs/SetIO, and ur_msgs/IOStates for an input that reports the grip.

    Its `success` is true also where the controller could not verify the output (Universal_Robots_ROS2_Driver 040c76a4,
    ur_controllers/src/gpio_controller.cpp, setIO: the value 2 that means "waiting" is cast to true), so true proves
    nothing; only false is used.
    """

    def __init__(self, bridge: Bridge, motion: MotionConfig) -> None:
        form = _form("ur_msgs.srv", "SetIO")
        self._bridge, self._motion, self._form = bridge, motion, form
        self._service = Service(bridge, form, motion.gripper_action, _START)
        self.servers = (self._service,)
        states = _form("ur_msgs.msg", "IOStates")
        self._switch = _Switch(bridge, states, motion.gripper_flag, self._read)

    def _read(self, message: Any) -> bool | None:
        pins = {each.pin: bool(each.state) for each in message.digital_in_states}
        return pins.get(self._motion.gripper_flag_pin)

    def _call(self, on: bool) -> tuple[bool | None, str]:
        request = self._form.Request()
        request.fun, request.pin, request.state = request.FUN_SET_DIGITAL_OUT, self._motion.gripper_pin, float(on)
        answer = self._service.call(request, self._motion.answer_timeout)
        return None if answer.success else False, ""


def _switched(
    bridge: Bridge, motion: MotionConfig, switch: _Switch, on: bool, done: bool | None, said: str, told: Asked
) -> GripReport:
    from concurrent.futures import Future

    nothing: Future[Any] = Future()
    bridge.wait(nothing, motion.gripper_time, lambda: told() or switch.value is on)
    return GripReport(done=done, flag=switch.value, said=said)


def driver_of(bridge: Bridge, motion: MotionConfig, speed: float) -> GripperDriver:
    """The driver that `motion.gripper_interface` names.

    Args:
        speed: closing speed between the fingers, m/s, for drivers that take one.
    """
    stroke = command_stroke(motion)
    if motion.gripper_interface == "gripper_command":
        return GripperCommandDriver(bridge, motion, stroke)
    if motion.gripper_interface == "parallel_gripper_command":
        return ParallelGripperDriver(bridge, motion, stroke)
    if motion.gripper_interface == "franka":
        return FrankaDriver(bridge, motion, speed)
    if not motion.gripper_flag and not motion.gripper_unjudged:
        expected = "a topic that reports whether an object is held"
        repair = "set it, or set motion.gripper_unjudged, with which every closing counts as a grasp"
        raise InputError("parameter motion.gripper_flag", "''", expected, repair)
    return SetBoolDriver(bridge, motion) if motion.gripper_interface == "set_bool" else UrOutputDriver(bridge, motion)


def _form(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        from spatial_vlm_ros.nodes import main

        package = module.partition(".")[0]
        raise DependencyError(package, main.REPAIRS.get(package, f"install {package}")) from error


def _step_of(step: PlanStep, width: float) -> PlanStep:
    return PlanStep(step.phase, width=round(width, _NANO) + 0.0, holds=step.holds)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
