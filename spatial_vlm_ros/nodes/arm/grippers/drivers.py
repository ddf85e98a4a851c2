# SPDX-License-Identifier: Apache-2.0
"""One class for each way in which gripper drivers are told to open and close.

`driver_of` picks it by `motion.gripper_interface`. Each turns a step of a plan into what its driver takes and the reply
into a `GripReport`; whether the object is held is judged elsewhere (manipulation/grippers/judging.py). The check of the
approved plan is made of the very message that is sent.
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
"""Called on the executor's thread directly before a step is sent, with the step made of what is sent."""

_START = "start the gripper driver, and check motion.gripper_interface and motion.gripper_action"
_NANO = 9  # digits after the point: widths count in whole nanometres


class DriverReply(NamedTuple):
    """How a driver took a step.

    Args:
        accepted: whether it took it at all.
        withdrawn: whether it was cancelled from here.
        report: what it said.
    """

    accepted: bool
    withdrawn: bool
    report: GripReport


class GripperDriver(Protocol):
    """A driver."""

    @property
    def servers(self) -> Sequence[Server]:
        """What has to be there before anything moves."""
        ...

    def send(self, step: PlanStep, told: Asked, check: Check) -> DriverReply:
        """Open or close, and wait for the end.

        Args:
            step: "open", "close" or "release", with its width.
            told: whether to give up; then it is cancelled, where the driver can be.
            check: see `Check`; what it raises is raised here.

        Raises:
            PlannerUnavailableError: no reply, or no end in time.
            CancelledError: the caller gave up before anything was sent.
        """
        ...

    def destroy(self) -> None:
        """Give the clients back; nobody may spin the node any more."""
        ...


class _Actions:
    """Actions and how long they may take; of all drivers that are actions."""

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
        """As the protocol says."""
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
    and its result carries no joint name. An effort and a speed are obeyed where the hardware has interfaces for them.
    """

    def __init__(self, bridge: Bridge, motion: MotionConfig, stroke: Stroke) -> None:
        form = _form("control_msgs.action", "ParallelGripperCommand")
        super().__init__(bridge, motion, {motion.gripper_action: form})
        self._form, self._stroke = form, stroke

    def send(self, step: PlanStep, told: Asked, check: Check) -> DriverReply:
        """As the protocol says."""
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

    Grasp closes until the fingers meet something, and succeeds where that is as wide as `width`, less `epsilon.inner`,
    more `epsilon.outer`; Move goes to a width (libfranka 0.15.0, include/franka/gripper.h; franka_ros2 40cf08b,
    franka_gripper/src/gripper_action_server.cpp:147-162). Neither result carries a width.
    """

    def __init__(self, bridge: Bridge, motion: MotionConfig, speed: float) -> None:
        self._grasp, self._move = (_form("franka_msgs.action", name) for name in ("Grasp", "Move"))
        space = motion.gripper_action.rstrip("/")
        super().__init__(bridge, motion, {f"{space}/grasp": self._grasp, f"{space}/move": self._move})
        self._speed = speed

    def send(self, step: PlanStep, told: Asked, check: Check) -> DriverReply:
        """As the protocol says."""
        if step.phase == "close":
            action, goal = self.servers[0], self._grasp.Goal()
            goal.width = step.width or 0.0 if step.holds is None else step.holds
            goal.force = self._motion.gripper_effort
            goal.epsilon.inner = goal.width  # it may be narrower between the fingers than from above, down to nothing
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
    """The newest word of a switch that says whether something is held.

    Args:
        bridge: of the node.
        form: std_msgs/Bool or ur_msgs/IOStates.
        topic: "" = there is none.
        read: of a message: its word, or None.
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
    """std_srvs/SetBool: true closes, or turns the vacuum on; a switch std_msgs/Bool says whether something is held."""

    def __init__(self, bridge: Bridge, motion: MotionConfig) -> None:
        form = _form("std_srvs.srv", "SetBool")
        self._bridge, self._motion, self._form = bridge, motion, form
        self._service = Service(bridge, form, motion.gripper_action, _START)
        self.servers: Sequence[Server] = (self._service,)
        self._switch = _Switch(
            bridge, _form("std_msgs.msg", "Bool"), motion.gripper_flag, lambda message: bool(message.data)
        )

    def send(self, step: PlanStep, told: Asked, check: Check) -> DriverReply:
        """As the protocol says; a service that was called cannot be taken back."""
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
        """As the protocol says: the node owns its clients of services."""


class UrOutputDriver(SetBoolDriver):
    """A digital output of Universal Robots: ur_msgs/SetIO, and ur_msgs/IOStates for an input that tells of the grip.

    Its `success` is true also where the controller could not verify the output (Universal_Robots_ROS2_Driver 040c76a4,
    ur_controllers/src/gpio_controller.cpp, setIO: the value 2 that means "waiting" is cast to true), so it proves
    nothing; false is believed.
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
    """What a switch says within `gripper_time`; the time passes in full where it has not changed by then."""
    from concurrent.futures import Future

    nothing: Future[Any] = Future()
    bridge.wait(nothing, motion.gripper_time, lambda: told() or switch.value is on)
    return GripReport(done=done, flag=switch.value, said=said)


def driver_of(bridge: Bridge, motion: MotionConfig, speed: float) -> GripperDriver:
    """The driver that `motion.gripper_interface` names.

    Args:
        bridge: of the node; make this before the node spins.
        motion: names, strokes and times.
        speed: of the fingers together, m/s, where the driver is told one.

    Raises:
        DependencyError: its message package is not installed.
        InputError: a stroke that is none, or a switch that is needed and not named.
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
    """The step as it is sent: rounding of a stroke there and back is no change of the plan."""
    return PlanStep(step.phase, width=round(width, _NANO) + 0.0, holds=step.holds)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
