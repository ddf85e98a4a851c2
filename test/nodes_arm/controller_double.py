# SPDX-License-Identifier: Apache-2.0
"""Test doubles of ros2_control's controllers, from their sources: goals, and the arm's trajectories. Not a test.

ros2_controllers, branch jazzy, commit ed360c97 (4.42.1). Lines are those of
joint_trajectory_controller/src/joint_trajectory_controller.cpp where no file is named. realtime_tools, branch jazzy,
commit 0a483005, realtime_tools/include/realtime_tools/realtime_server_goal_handle.hpp ("goal handle"); rclcpp, branch
jazzy, commit 985e320d.

What is left out: PID, integration, effort, wraparound, partial goals, start times, tolerances, feedback, speed scaling,
the topic ~/joint_trajectory, the services ~/query_state and of controller_manager. `activate` and `deactivate` are what
a switch of controllers does.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from control_msgs.action import FollowJointTrajectory
from hardware_double import PERIOD, HardwareDouble
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import GoalEvent, ServerGoalHandle
from rclpy.node import Node
from rclpy.task import Future

from spatial_vlm_ros.nodes.sim.controllers import seconds
from spatial_vlm_ros.sim.arm.trajectory import JointTrajectory

ARM = tuple(f"panda_joint{k}" for k in range(1, 8))
HOME = (0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785)
ABORTED, CANCELED, SUCCEEDED = "aborted", "canceled", "succeeded"
RATE = 20.0  # Hz: action_monitor_rate of joint_trajectory_controller and of both gripper controllers
STOPPED = 0.01  # rad/s of every joint at the goal: constraints.stopped_velocity_tolerance, by default
_EPSILON = float(np.finfo(np.float32).eps)  # what the source calls zero
Result = FollowJointTrajectory.Result


class RealtimeGoal:
    """A goal whose end is asked for in the control loop, and brought about by a slow timer.

    Only the first end that is asked for counts (goal handle:106-143). The timer brings it about where the state of the
    goal allows it (goal handle:197-230): an abort only while it executes, a success only while it is not cancelling.
    **A goal that is cancelled between its end and the timer therefore never ends**, until a newer goal replaces it.
    """

    def __init__(self, handle: ServerGoalHandle, empty: Any) -> None:
        self.handle, self.done = handle, Future()
        self._empty, self._end, self._result = empty, "", empty

    def ask(self, end: str, result: Any) -> None:
        """Ask for an end, as setAborted, setCanceled and setSucceeded do."""
        if not self._end:
            self._result, self._end = result, end

    def run(self) -> None:
        """What the timer does (goal handle:197-230)."""
        executing = self.handle.is_active and not self.handle.is_cancel_requested
        ends = {ABORTED: self.handle.abort, CANCELED: self.handle.canceled, SUCCEEDED: self.handle.succeed}
        # CANCELED while it executes is an invalid transition, and logged
        if not self.done.done() and self._end and executing == (self._end != CANCELED):
            self._finish(ends[self._end])

    def drop(self) -> None:
        """Nobody holds it any more: one that has not ended is cancelled with an empty result.

        rclcpp_action/include/rclcpp_action/server_goal_handle.hpp:244-252.
        """
        if not self.done.done():
            if not self.handle.is_cancel_requested:
                self.handle._update_state(GoalEvent.CANCEL_GOAL)
            self._result = self._empty
            self._finish(self.handle.canceled)

    def _finish(self, end: Any) -> None:
        end()
        self.done.set_result(self._result)


class RealtimeController(Node):
    """What controllers of ros2_control have in common: one goal, updated in the control loop, ended by a timer.

    A controller says whether it `takes` a goal, does from then on what it asks for (`begin`), stands where it is
    cancelled (`rest`), and has cycles (`update`). The timer looks after the newest goal alone (:1485-1491,
    gripper_action_controller_impl.hpp:113-119): that of the goal before is deleted, and with it its last owner.
    """

    FORM: Any
    takes: Any
    begin: Any
    rest: Any

    def __init__(self, hardware: HardwareDouble, name: str, action: str) -> None:
        super().__init__(name, context=hardware.context)
        self.hardware, self.lock = hardware, threading.RLock()
        self.goal: RealtimeGoal | None = None
        self._goals: dict[bytes, RealtimeGoal] = {}
        self._watched: RealtimeGoal | None = None
        self.timer = self.create_timer(1.0 / RATE, self.turn)
        hardware.load(self)
        self._server = ActionServer(
            self,
            self.FORM,
            f"~/{action}",
            self._ended,
            handle_accepted_callback=self._on_accepted,
            goal_callback=lambda goal: GoalResponse.ACCEPT if self.takes(goal) else GoalResponse.REJECT,
            cancel_callback=self._on_cancel,
        )

    def turn(self) -> None:
        if self._watched is not None:
            self._watched.run()

    def replaced(self, before: RealtimeGoal) -> None:
        """A new goal has come: the one before is asked to be cancelled, which its state does not allow (goal handle).

        It ends CANCELED with an empty result when its timer, its last owner, is deleted.
        """
        before.ask(CANCELED, self.FORM.Result())

    def _on_accepted(self, handle: ServerGoalHandle) -> None:
        goal = RealtimeGoal(handle, self.FORM.Result())
        with self.hardware.lock, self.lock:
            before, self.goal = self.goal, goal
            if before is not None:
                self.replaced(before)
            self.begin(handle.request)
        self._goals = {key: each for key, each in self._goals.items() if not each.done.done()}
        self._goals[bytes(handle.goal_id.uuid)] = goal
        if self._watched is not None:
            self._watched.drop()
        self._watched = goal
        self.timer.reset()
        handle.execute()

    async def _ended(self, handle: ServerGoalHandle) -> Any:
        return await self._goals[bytes(handle.goal_id.uuid)].done

    def _on_cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        """Always accepted; the empty result does not wait for standstill (:1423-1453, controller:123-153)."""
        with self.hardware.lock, self.lock:
            if self.goal is not None and self.goal.handle is handle:
                self.end(CANCELED, self.FORM.Result())
                self.rest()
        return CancelResponse.ACCEPT

    def end(self, end: str, result: Any) -> None:
        if self.goal is not None:
            self.goal.ask(end, result)
            self.goal = None


class JointTrajectoryControllerDouble(RealtimeController):
    """The controller of an arm; the action is ~/follow_joint_trajectory (:1057).

    Attributes:
        deceleration: rad/s² by joint: `decelerate_on_cancel` with `max_deceleration_on_cancel`; 4.39.0 and later.
            None = a cancelled goal holds the position at once.
        active: whether it runs.
        taken: goals that it accepted, oldest first.
    """

    FORM = FollowJointTrajectory

    def __init__(self, hardware: HardwareDouble, name: str = "arm_controller") -> None:
        self.deceleration: Mapping[str, float] | None = None
        self.active, self.taken = True, list[Any]()
        self._new: JointTrajectory | None = None  # a message that the loop has not begun yet
        self._course: tuple[float, JointTrajectory] | None = None  # since when the joints follow what
        super().__init__(hardware, name, "follow_joint_trajectory")

    def deactivate(self) -> None:
        """As a switch of controllers does (:1255-1321): the goal is aborted; the joints stay at the last command."""
        with self.hardware.lock, self.lock:
            self.end(ABORTED, _result(Result.INVALID_GOAL, "Current goal cancelled during deactivate transition."))
            self.active, self._course, self._new = False, None, None

    def activate(self) -> None:
        """Begin by holding the position (:1228-1229)."""
        with self.hardware.lock, self.lock:
            self.active = True
            self._hold()

    def takes(self, goal: Any) -> bool:
        """:1401-1421: none while it is not active; none whose trajectory is not valid. One that runs is no reason."""
        refusal = self._wrong(goal) if self.active else "Can't accept new action goals. Controller is not running."
        if refusal:
            self.get_logger().error(refusal)
        return not refusal

    def _wrong(self, goal: Any) -> str:
        """Why a trajectory is not valid (:1671-1816). Where the arm is, and its limits, are not looked at."""
        names, points = goal.trajectory.joint_names, goal.trajectory.points
        if len(names) != len(ARM):
            return "Joints on incoming trajectory don't match the controller joints."  # :1676-1685
        if not points:
            return "Empty trajectory received."  # :1695-1699
        if set(names) != set(ARM):
            return "Incoming joints don't match the controller's joints."  # :1702-1714
        if any(abs(v) > _EPSILON for v in points[-1].velocities):
            return "Velocity of last trajectory point is not zero"  # :1717-1730
        last = 0.0
        for number, point in enumerate(points):
            if number and seconds(point.time_from_start) <= last:
                return f"Time between points {number - 1} and {number} is not strictly increasing"  # :1755-1763
            last = seconds(point.time_from_start)
            for what, needed in (("positions", True), ("velocities", False), ("accelerations", False)):
                given = getattr(point, what)
                if len(given) != len(names) and (needed or len(given)):
                    return f"Mismatch between joint_names size and {what} at point #{number}"  # :1652-1669, 1797-1804
        return ""

    def replaced(self, before: RealtimeGoal) -> None:
        """:1455-1492, 1829-1834: whatever it did; the arm goes on from where it is."""
        before.ask(ABORTED, _result(Result.INVALID_GOAL, "Current goal preempted by new incoming action."))
        before.run()

    def begin(self, goal: Any) -> None:
        order, points = [list(goal.trajectory.joint_names).index(name) for name in ARM], goal.trajectory.points

        def column(what: str) -> Any:
            rows = [getattr(point, what) for point in points]
            return np.array(rows, np.float64)[:, order] if all(len(row) for row in rows) else None

        times, velocities = np.array([seconds(point.time_from_start) for point in points]), column("velocities")
        accelerations = None if velocities is None else column("accelerations")
        self._new = JointTrajectory(times, column("positions"), velocities, accelerations)
        self.taken.append(goal)

    def update(self, now: float, period: float) -> None:
        """One cycle (:239-582)."""
        with self.lock:
            if not self.active:
                return
            actual, speeds = self._actual()
            if self._new is not None:  # :294-315: it begins where the joints are, also with a speed
                self._course, self._new = (now, _from(self._new, actual, speeds)), None
            if self._course is None:
                return
            begun, trajectory = self._course
            over = now - begun - trajectory.duration
            desired, next_ = trajectory.at(now - begun), trajectory.at(now + period - begun)
            for name, at in zip(ARM, next_.position.tolist(), strict=True):  # :410-454
                self.hardware.joints[name].command = at
            stands = (np.abs(desired.velocity - speeds) <= STOPPED).all()
            if self.goal is not None and over >= 0 and stands:  # :456-573: waited for without limit
                self.end(SUCCEEDED, _result(Result.SUCCESSFUL, "Goal successfully reached!"))

    def rest(self) -> None:
        """:441-450: decelerate where that is set, else hold the position at once."""
        if self.deceleration is None:
            self._hold()
        else:
            self._decelerate(self.deceleration)

    def _hold(self) -> None:
        """:1839-1849: the command becomes the position that was read last."""
        self._new = JointTrajectory(np.zeros(1), self._actual()[0][None, :])

    def _decelerate(self, most: Mapping[str, float]) -> None:
        """:1851-1937: each joint by itself, as hard as it may; the arm leaves its path."""
        p, v = self._actual()
        a = np.array([most[name] for name in ARM])
        stops = np.abs(v) / a
        t = np.arange(math.ceil(stops.max() / PERIOD) + 1)[:, None] * PERIOD
        s, going, sign = np.minimum(t, stops), t < stops, np.sign(v)
        positions = p + v * s - sign * a * s * s / 2
        velocities, accelerations = np.where(going, v - sign * a * t, 0.0), np.where(going, -sign * a, 0.0)
        self._new = JointTrajectory(t[:, 0], positions, velocities, accelerations)

    def _actual(self) -> tuple[Any, Any]:
        """(J,) positions and velocities."""
        joints = [self.hardware.joints[name] for name in ARM]
        return np.array([joint.position for joint in joints]), np.array([joint.velocity for joint in joints])


def _from(trajectory: JointTrajectory, position: Any, velocity: Any) -> JointTrajectory:
    """With a point where the joints are before a first point that is later (:311-312)."""
    if trajectory.times[0] <= 0:
        return trajectory
    starts = zip(
        (position, velocity, np.zeros(len(position))),
        (trajectory.positions, trajectory.velocities, trajectory.accelerations),
        strict=True,
    )
    rows = [None if given is None else np.concatenate([first[None, :], given]) for first, given in starts]
    return JointTrajectory(np.concatenate([[0.0], trajectory.times]), *rows)  # type: ignore[arg-type]


def _result(code: int, words: str) -> Any:
    return FollowJointTrajectory.Result(error_code=code, error_string=words)
