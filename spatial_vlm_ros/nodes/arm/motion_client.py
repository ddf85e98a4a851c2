# SPDX-License-Identifier: Apache-2.0
"""Requests complete plans through MoveIt's own actions, and executes exactly what was planned (docs/motion.md)."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import numpy as np
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python

from spatial_vlm_ros.errors import (
    BusyError,
    CancelledError,
    ExecutionFailedError,
    InputError,
    NothingHeldError,
    PlannerUnavailableError,
    RejectedError,
    SourceChangedError,
    SpatialVlmError,
)
from spatial_vlm_ros.manipulation.approval.execution_guard import ExecutionGuard
from spatial_vlm_ros.manipulation.grippers import NOTHING_REPORTED, REACHED, is_empty, why_not_held, why_not_open
from spatial_vlm_ros.manipulation.held import FingerReading, Grip, HeldObject, boxed, tip_pose
from spatial_vlm_ros.manipulation.planning.goal import PickGoal, PlaceGoal
from spatial_vlm_ros.manipulation.planning.moveit import (
    SUCCESS,
    check_pipelines,
    first_names,
    further_names,
    limit_names,
    limits_of,
    meaning_of,
    number_of,
)
from spatial_vlm_ros.manipulation.planning.planner import GRIPS, MotionPlan, PlaceFor, PlanStep, check_goals
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene
from spatial_vlm_ros.manipulation.standstill import Stand
from spatial_vlm_ros.nodes.arm.grippers.drivers import DRIVERS
from spatial_vlm_ros.nodes.arm.strategies import Asked, Refused, Strategies
from spatial_vlm_ros.nodes.arm.supervision import Supervision
from spatial_vlm_ros.nodes.calls import Action, Bridge, Service
from spatial_vlm_ros.nodes.messages import needed_class
from spatial_vlm_ros.parameters import MotionConfig, PlanningConfig
from spatial_vlm_ros.types import Status
from spatial_vlm_ros.types.held import HELD_ID

_TIMED_OUT = "TIMED_OUT"
_TOO_SLOW = (
    "the arm took longer for the trajectory than allowed; check what slows its controller (speed slider, "
    "protective stop, simulated time), or raise the limit: "
    "trajectory_execution.allowed_execution_duration_scaling of move_group, duration_scaling of arm_planner"
)
NEEDED = ("moveit_msgs/msg/RobotState", "control_msgs/msg/GripperCommand", "shape_msgs/msg/Plane",
          "trajectory_msgs/msg/JointTrajectory")  # fmt: skip
"""A message of each package that is imported only here."""
_START_PLANNER = (
    "start MoveIt's move_group, or the planner of this package (python -m spatial_vlm_ros.nodes arm_planner), and "
    "check the names in motion.*, ROS_DOMAIN_ID and namespaces"
)
_NAME_STATES = (
    "set motion.finger_joints to its joints (for set_bool and ur_output, motion.gripper_flag to a switch does, too); "
    "with motion.gripper_unjudged, every closing counts as a grasp"
)
_ANOTHER = "send the instruction again: the next plan takes it from another side, if there is one"
_ELSE = "send the instruction again, because the object may have moved; otherwise see docs/grippers.md"
_MEASURED = (
    "look at the fingers; if their position is right, correct motion.finger_joints and motion.finger_table "
    "(docs/grippers.md)"
)
_SLIPPED = "look where it lies, then send the instruction again"
_LOOK = "if the arm moves, use its emergency stop; then check the logs of planner and controllers"
_AT_START = 0.05  # radians or metres of any joint from where a plan begins: five times what MoveIt allows by default
_SETTLES = 1.0  # s in which joint states show the arm at the start of a trajectory, or the scene is tidied
_TURN = 0.02  # s
_STARTS = 3.0  # s in which MoveIt may begin what it has accepted; it ignores stops while it checks the start
_RECENT = 0.5  # s: joint states of the fingers as old as this tell where they were before
_DISCOVERED = 1.0  # s to wait once for the parameters of the planner; the action of the same node is there already


class MotionClient:
    """A planner and the controllers behind it. One call at a time.

    Args:
        node: node of the clients. Create this object before the node spins; call its methods from another thread.
        config: names, tolerances and times (`motion`), dimensions of the gripper (`gripper`).

    Attributes:
        holds: whether the gripper of the last execution closes on the target, holds or releases it.
        grip: what is known of the gripper from its last command.
    """

    def __init__(self, node: Node, config: PlanningConfig, guard: ExecutionGuard, waits: Asked = lambda: False) -> None:
        for name in NEEDED:
            needed_class(name)
        from moveit_msgs.action import ExecuteTrajectory, MoveGroup
        from moveit_msgs.srv import ApplyPlanningScene, GetPlanningScene

        from spatial_vlm_ros.nodes.arm import motion_messages
        from spatial_vlm_ros.nodes.arm.planner_kinematics import PlannerKinematics
        from spatial_vlm_ros.nodes.arm.shown_scene import SceneLook, ShownScene

        self._messages, self._execute_form = motion_messages, ExecuteTrajectory
        self.node, self.config = node, config
        motion = config.motion
        bridge = Bridge(node)
        ends = motion.planning_time + motion.stop_timeout  # a planner plans on after it was told to cancel
        self._move = Action(bridge, MoveGroup, motion.move_action, _START_PLANNER, ends)
        self._execute = Action(bridge, ExecuteTrajectory, motion.execute_action, _START_PLANNER, motion.stop_timeout)
        self._gripper = DRIVERS[motion.gripper_interface](bridge, motion, config.gripper.speed)
        self._apply = Service(bridge, ApplyPlanningScene, motion.apply_scene, _START_PLANNER)
        self._get = Service(bridge, GetPlanningScene, motion.get_scene, _START_PLANNER)
        question = GetPlanningScene.Request()
        question.components.components = question.components.WORLD_OBJECT_NAMES  # the smallest query MoveIt accepts
        self._beside = Supervision(bridge, motion, self._get, question)
        self._guard, self._waits, self._executes, self.holds = guard, waits, False, False
        self.grip: Grip = "doubt"
        self._made: dict[str, tuple[PlanningScene, bool, SceneLook]] = {}  # plan → what it was planned in
        self._closed: float | None = None  # width that the fingers were told to close to, while they hold something
        self._lock, self._stopped = threading.Lock(), threading.Event()
        for server in (self._move, self._execute, self._apply, self._get):
            server.dead = lambda: self._beside.silent
        self._scene = ShownScene(node, motion, self._apply, self._get)
        self._parameters = PlannerParameters(bridge, motion)
        self._kinematics = PlannerKinematics(bridge, motion)

    def prepare(self) -> None:
        """Start the watchdog, for which the first execution would wait, and remove what was left in the scene."""
        self._beside.watchdog.start()
        threading.Thread(target=self._tidy, name="tidy", daemon=True).start()

    def _tidy(self) -> None:
        """Remove what a process that died has left in the planner's scene; what it left in the hand may be there."""
        with contextlib.suppress(SpatialVlmError):  # the next plan removes it, too
            for server in (self._apply, self._get):
                server.await_it(self.config.motion.server_timeout, lambda: False)
            with self._running(lambda: False):
                self._scene.clear(holds=True)

    def check(self) -> None:
        """Check that the arm could be stopped if the planner died."""
        self._beside.check()

    def look_at_hand(self, cancelled: Asked, scene: bool) -> tuple[FingerReading, HeldObject | None]:
        """What the fingers report, and what this package has left attached to the hand in the planner's scene.

        Args:
            scene: whether to ask the planner; one that does not answer tells nothing.
        """
        with self._running(cancelled) as told:
            reading, left = FingerReading(*self._beside.read_fingers(told), self._gripper.flag), None
            with contextlib.suppress(PlannerUnavailableError, SourceChangedError):
                found = self._scene.attached(told) if scene and self._get.ready() else {}
                for name, shapes in found.items():
                    if len(shapes) == 1 and len(shapes[0].size) == 3 and shapes[0].frame == self.config.motion.tip_link:
                        pose = np.linalg.inv(tip_pose(np.eye(4), self.config)) @ shapes[0].pose
                        left = boxed(name, pose, shapes[0].size, self.config)
            return reading, left

    def stop(self) -> None:
        """Cancel the running call, as if its `cancelled` returned true. Returns at once; callable from any thread."""
        self._stopped.set()
        if self._executes:
            self._beside.halt()

    def destroy(self) -> None:
        """Destroy the clients; the node must not be spinning."""
        self._beside.close()
        for action in (self._move, self._execute):
            action.destroy()
        self._gripper.destroy()

    def plan(
        self,
        goal: PickGoal,
        scene: PlanningScene,
        place: PlaceGoal | PlaceFor | None = None,
        start: dict[str, float] | None = None,
        cancelled: Asked = lambda: False,
    ) -> MotionPlan:
        """Plan the first grasp and placement of a goal that work from start to end; see `planning.planner.Planner`."""
        check_goals(goal, scene, place if isinstance(place, PlaceGoal) else None)
        if scene.frame_id != self.config.motion.planning_frame:
            expected = f"motion.planning_frame ({self.config.motion.planning_frame!r})"
            repair = "set base_frame of the resolver to the frame of the planner's model"
            raise InputError("frame of the goal", repr(scene.frame_id), expected, repair)
        with self._running(cancelled) as told:
            for server in (self._apply, self._get, self._move):
                server.await_it(self.config.motion.server_timeout, told)
            self.holds = goal.held  # as of the last execution: the next motion is watched before it begins
            try:
                self._beside.watch()
                if not self._beside.is_ours:
                    self._parameters.check(told)
                shown = self._scene.show(scene, told, goal.held)
                ours = self._beside.is_ours
                limits = {} if ours else self._parameters.limits(shown.joints, told)
                ways = Strategies(
                    self.config, self.motion, goal, scene, shown.matrix, told, shown.joints, limits,
                    None if ours else self._kinematics, shown.carried,
                )  # fmt: skip
                plan = ways.plan(place, start or {})
                if start is None:
                    self._made.clear()
                self._made[plan.hash] = scene, goal.held, shown
                return plan
            except SpatialVlmError:
                self._clear()
                raise
            finally:
                self._beside.rest()

    def motion(self, request: Any, told: Asked) -> Any:
        """The planned trajectory of one motion, and the start state that the planner reports."""
        limit = self.config.motion
        patience = limit.answer_timeout
        ended = self._move.run(request, limit.planning_time + patience, patience, told, twice=True)
        if ended.withdrawn:
            raise CancelledError("planning was cancelled")
        if not ended.accepted:
            reason = "it rejects the request"
            raise PlannerUnavailableError(self._move.name, reason, "check its log; it may be shutting down")
        code = ended.result.error_code
        if code.val != SUCCESS:
            raise Refused(int(code.val), self._messages.words_of(code), self._move.name)
        return ended.result.planned_trajectory

    def execute(
        self, plan: MotionPlan, cancelled: Asked = lambda: False, begins: Callable[[], None] = lambda: None,
        approved: str = "",
    ) -> None:  # fmt: skip
        """Execute exactly the trajectories of an approved plan, and the gripper steps between them.

        If the last phase finished before a stop took effect, the plan counts as executed: that is not an error.
        """
        made = self._made.get(plan.hash)
        if made is None and plan.trajectories:
            reason = "it is not what this client planned last, so the scene that it was planned in is not known"
            raise RejectedError(f"plan {plan.hash[:12]}", reason, "plan it again")
        with self._running(cancelled) as told:
            self._guard.open(approved or plan.hash)
            self._beside.watch()
            try:
                for server in (self._execute, *self._gripper.servers, self._apply, self._get):
                    server.await_it(self.config.motion.server_timeout, told)
                if made is not None:
                    planned, held, shown = made
                    self._scene.check(planned, held, shown, told)
                    if held:
                        self._scene.hold_again()
                self._beside.begin(plan.trajectories[0].joint_names if plan.trajectories else (), told)
                for step in [step for step in plan.steps if step.trajectory is not None][:1]:
                    self._check_start(step, told)
                begins()
                self._executes = True
                self._steps(plan, lambda: told() or bool(self._beside.watchdog.tripped))
            finally:
                self._executes = False
                if self.node.context.ok():  # otherwise the arm may still move: the watchdog stops it
                    self._beside.end()
                self._guard.close()
                self._clear()

    def _check_start(self, step: PlanStep, told: Asked) -> None:
        """Check by joint states that the arm stands at the start of a trajectory, to which a controller may jump.

        An arm that still comes to rest is waited for: on a busy machine joint states are late.
        """
        start = {} if step.trajectory is None else step.trajectory.start
        soon = time.monotonic() + _SETTLES

        def there() -> bool:
            return self._beside.stand() is not Stand.MOVING and self._beside.beside(start)[0] <= _AT_START

        def ends() -> bool:
            rests = self._beside.stand() is not Stand.MOVING
            return there() or told() or (rests and time.monotonic() >= soon)

        self._execute.bridge.wait(Future(), max(_SETTLES, self.config.motion.stand_timeout), ends)
        if there() or told():
            return
        away, joint = self._beside.beside(start)
        reason, repair = f"the plan starts {away:.3f} rad or m from the position of {joint}", "ask again"
        if self._beside.stand() is Stand.MOVING:
            reason, repair = "the arm moves, and not by this node", "end the other program that moves it"
        raise ExecutionFailedError(step.phase, f"{reason}; this motion was not begun", repair)

    def _steps(self, plan: MotionPlan, told: Asked) -> None:
        opened: float | None = None  # the last width that the gripper was opened to
        if plan.steps[0].phase in ("open", "close"):
            self._closed = None
        elif self._closed is None:  # held since before a start of this process
            self._closed = self.config.gripper.opening_min
        for number, step in enumerate(plan.steps):
            self._await_turn(step, told)
            slip = self._slipped()
            if slip:
                raise ExecutionFailedError(step.phase, f"{slip}; the arm stands still", _SLIPPED)
            last = number == len(plan.steps) - 1
            self.holds = self.holds or step.phase == "close"
            if step.phase in GRIPS:
                if step.phase == "close" or self.holds:
                    self.grip = "doubt"
                self._closed = None
                try:
                    self._grip(step, told, last, opened)
                except NothingHeldError:
                    self.grip, self.holds = "empty", False
                    for back in plan.way_back:
                        self._await_turn(back, told)
                        if back.phase in GRIPS:
                            self._grip(back, told, False, None)
                        else:
                            self._follow(back, told, True)
                    raise
                opened = None if step.phase == "close" else step.width
                self.grip = "holds" if step.phase == "close" else "empty"
            else:
                self._follow(step, lambda: told() or bool(self._slipped()), last)
            if step.phase == "close":
                self._closed = step.width
                if plan.target_id != HELD_ID:  # that is attached with each request
                    self._scene.hold(plan.target_id)
            elif step.phase == "release":
                self._scene.let_go(plan.target_id)
                self.holds = False

    def _await_turn(self, step: PlanStep, told: Asked) -> None:
        """Begin no step while the resolver may be dead, nor after a stop."""
        while self._waits() and not told():
            self._stopped.wait(_TURN)
        if told():
            raise CancelledError(f"execution was stopped before phase {step.phase!r}")

    def _slipped(self) -> str:
        """Whether what was held has slipped out of the fingers, in words; "" if not, or if that is not known."""
        if self._closed is None:
            return ""
        width = self._beside.fingers.width(time.monotonic() - _RECENT)
        flag = self._gripper.flag
        if flag or (flag is None and (width is None or width > self._closed + REACHED)):
            return ""
        self.grip = "empty"
        by = "its switch" if flag is False or width is None else f"fingers that closed to {max(width, 0.0):.3f} m"
        return f"the object slipped out of the hand, by {by}"

    def _follow(self, step: PlanStep, told: Asked, last: bool) -> None:
        if step.trajectory is None:
            return
        self._check_start(step, told)
        motion = self.config.motion
        goal = self._execute_form.Goal(trajectory=self._messages.robot_trajectory(step.trajectory))
        check = partial(self._guard.check, PlanStep(step.phase, self._messages.trajectory_of(goal.trajectory)))
        seconds = step.trajectory.times[-1] * motion.duration_scaling + motion.answer_timeout
        try:
            ended = self._execute.run(goal, seconds, motion.answer_timeout, told, halt=self._beside.halt, check=check)
        except (PlannerUnavailableError, SourceChangedError) as error:
            stand = self._beside.await_still(self._beside.halt, 0.0 if self._beside.is_ours else _STARTS)
            if stand is Stand.STILL and isinstance(error, SourceChangedError):
                raise
            words = f"{self._execute.name}: {error.reason}; the arm was told to stop and {stand.value}"
            raise ExecutionFailedError(
                step.phase, words, _LOOK if stand is not Stand.STILL else error.repair
            ) from error
        except CancelledError as error:
            # Nothing was sent, or the context is being shut down: no server can be reached any more.
            self._beside.halt()
            if self._beside.watchdog.tripped:
                raise CancelledError(f"{self._beside.watchdog.tripped}, before phase {step.phase!r}") from error
            raise
        except Exception as error:
            if not isinstance(error, SpatialVlmError):  # unforeseen: the arm must not go on unwatched
                self._beside.halt()
            raise
        if not ended.accepted:
            raise ExecutionFailedError(step.phase, f"{self._execute.name} rejects the goal", "see its log")
        code = ended.result.error_code
        if ended.withdrawn:
            self._withdrawn(step, code, last)
        elif code.val != SUCCESS:
            self._failed(step, code)

    def _withdrawn(self, step: PlanStep, code: Any, last: bool) -> None:
        """Raise what happened to a trajectory that was cancelled; returns if the plan ran to its end."""
        stand = self._beside.await_still(self._beside.halt)
        tripped = self._beside.watchdog.tripped
        why = tripped or self._slipped()
        if code.val == SUCCESS and stand is Stand.STILL:
            if last:
                return
            late = f"the stop came too late for phase {step.phase!r}, which was completed; no later phase was started"
            raise CancelledError(f"{late}{f' ({why})' * bool(why)}")
        if code.val not in (SUCCESS, number_of(Status.CANCELLED)):
            self._failed(step, code, f"it was told to stop; the arm {stand.value}; ")
        if stand is not Stand.STILL:
            raise ExecutionFailedError(step.phase, f"it was told to stop, and the arm {stand.value}", _LOOK)
        said = f"execution was stopped in phase {step.phase!r}; the arm stands still"
        if why:
            repair = "check the logs, then send the instruction again" if tripped else _SLIPPED
            raise ExecutionFailedError(step.phase, f"{why}; the arm stands still", repair)
        raise CancelledError(said)

    def _failed(self, step: PlanStep, code: Any, before: str = "") -> None:
        """Raise the error for a failed trajectory: its error number, and whether the arm stands still."""
        if not before:
            stand = self._beside.await_still(self._beside.halt)  # somebody else's goal may move it
            before = "" if stand is Stand.STILL else f"the arm {stand.value}; "
        meaning = meaning_of(int(code.val))
        said = self._messages.words_of(code)
        words = ": ".join(part for part in (meaning.name, said) if part)
        reason, _, repair = (_TOO_SLOW if meaning.name == _TIMED_OUT else meaning.sentence).partition("; ")
        raise ExecutionFailedError(step.phase, f"{before}{reason} ({words})", repair or "see its log", int(code.val))

    def _grip(self, step: PlanStep, told: Asked, last: bool, opened: float | None) -> None:
        """Open or close the gripper. The arm stands still and the object is supported, so cancelling drops nothing."""
        motion, closes = self.config.motion, step.phase == "close"
        before = self._beside.fingers.width(time.monotonic() - _RECENT)
        before = opened if before is None else before
        try:
            gripped = self._gripper.send(step, told, self._guard.check)
        except PlannerUnavailableError as error:
            repair = f"check whether the gripper still moves; {error.repair}"
            raise ExecutionFailedError(step.phase, f"{error.planner}: {error.reason}", repair) from error
        if not gripped.accepted:
            name = self._gripper.servers[0].name
            raise ExecutionFailedError(step.phase, f"{name} rejects the goal", "see its log")
        if gripped.withdrawn and not (last and gripped.report.reached):
            raise CancelledError(f"execution was stopped in phase {step.phase!r}; the arm stands still")
        sent = float(step.width or 0.0)
        width = self._beside.await_fingers(told, None if closes else sent)
        report = dataclasses.replace(gripped.report, before=before, width=width)
        if closes:
            why = why_not_held(report, sent, step.holds, motion.gripper_tolerance, motion.gripper_unjudged)
            repair = _NAME_STATES if why == NOTHING_REPORTED else _ELSE
        else:
            why = why_not_open(report, sent, motion.gripper_unjudged, self.config.goal.jaw_clearance)
            repair = _MEASURED if "one of the two is wrong" in why else "check the log of the gripper driver"
        if why and told():  # the stop came before the fingers stood
            raise CancelledError(f"execution was stopped in phase {step.phase!r}; the arm stands still")
        if why:
            if closes and is_empty(report, sent):
                raise NothingHeldError(step.phase, why, _ANOTHER)
            raise ExecutionFailedError(step.phase, why, repair)

    def clear(self) -> None:
        """Remove from the planner's scene what this client has put there, and detach the held object."""
        with self._running(lambda: False):
            self._clear()

    def _clear(self) -> None:
        if not self._beside.silent:  # otherwise it does not answer: its scene is cleared before it plans again
            self._scene.clear(self.grip == "holds")

    @contextlib.contextmanager
    def _running(self, cancelled: Asked) -> Iterator[Asked]:
        """Allow one call at a time; yields a function that says whether to stop."""
        if not self._lock.acquire(timeout=_SETTLES):
            raise BusyError("", "another motion is being planned or executed")
        try:
            self._stopped.clear()
            yield lambda: self._stopped.is_set() or cancelled()
        finally:
            self._lock.release()


class PlannerParameters:
    """Parameters of a planner's node. A node without parameter services is not checked."""

    def __init__(self, bridge: Bridge, motion: MotionConfig) -> None:
        self._motion, self._patience = motion, _DISCOVERED
        name, node = motion.planner_node, bridge.node
        if name and not name.startswith("/"):
            name = node.resolve_service_name(f"{motion.move_action.rpartition('/')[0]}/{name}")
        remedy = "set motion.planner_node to the MoveIt node, or leave it empty"
        self._service = Service(bridge, GetParameters, f"{name}/get_parameters", remedy) if name else None

    def check(self, told: Asked) -> None:
        """Check that the planner supports what the parameters of this package require."""
        if self._service is None:
            return
        try:
            self._service.await_it(self._patience, told)
        except PlannerUnavailableError:
            self._patience = 0.0
            return
        with contextlib.suppress(PlannerUnavailableError):  # no answer: the planner itself reports more
            values = self._read(first_names(), told)
            values |= self._read(further_names(values, self._motion), told)
            check_pipelines(values, self._motion)

    def limits(self, joints: Collection[str], told: Asked) -> dict[str, tuple[float, float]]:
        """Velocity and acceleration of joints by the planner's joint_limits.yaml, per second; infinite without."""
        with contextlib.suppress(PlannerUnavailableError):
            if self._service is not None and self._service.ready():
                return limits_of(self._read(limit_names(joints), told), joints)
        return {}

    def _read(self, names: Sequence[str], told: Asked) -> dict[str, Any]:
        if not names or self._service is None:
            return {}
        answer = self._service.call(GetParameters.Request(names=list(names)), self._motion.answer_timeout, told)
        pairs = zip(names, answer.values, strict=False)  # a node that lacks some of them may answer with none
        return {name: value for name, raw in pairs if (value := parameter_value_to_python(raw)) is not None}
