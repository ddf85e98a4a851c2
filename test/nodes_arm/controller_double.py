# SPDX-License-Identifier: Apache-2.0
"""A test double of ros2_controllers' joint_trajectory_controller, written from its source. Not a test.

ros2_controllers, branch jazzy, commit ed360c97 (4.42.1). Lines are those of
joint_trajectory_controller/src/joint_trajectory_controller.cpp where no file is named; "tolerances" is
joint_trajectory_controller/include/joint_trajectory_controller/tolerances.hpp.

What is left out: PID, integration, effort, wraparound, partial goals, speed scaling, the topic ~/joint_trajectory, the
services ~/query_state and of controller_manager. `activate` and `deactivate` are what a switch of controllers does.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from control_msgs.action import FollowJointTrajectory
from hardware_double import PERIOD, HardwareDouble
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from realtime_goal import ABORTED, CANCELED, SUCCEEDED, Monitor, RealtimeGoal
from trajectory_msgs.msg import JointTrajectoryPoint

from spatial_vlm_ros.nodes.sim.trajectory_controller import seconds
from spatial_vlm_ros.sim.arm.trajectory import Desired, JointTrajectory

ARM = tuple(f"panda_joint{k}" for k in range(1, 8))
HOME = (0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785)
_EPSILON = float(np.finfo(np.float32).eps)  # what the source calls zero
Result = FollowJointTrajectory.Result


@dataclass(frozen=True)
class Constraints:
    """The parameters `constraints` with upstream's defaults: nothing is checked but that the arm stands at the end.

    Source: joint_trajectory_controller/src/joint_trajectory_controller_parameters.yaml.

    Args:
        goal_time: s after the end by which the goal has to be reached; 0 = it is waited for without limit (:394).
        stopped_velocity: rad/s, of every joint at the goal.
        path, goal: rad by joint; 0 = not checked (tolerances:308-311).
        deceleration: rad/s² by joint: `decelerate_on_cancel` with `max_deceleration_on_cancel`; 4.39.0 and later. None
            = a cancelled goal holds the position at once.
    """

    goal_time: float = 0.0
    stopped_velocity: float = 0.01
    path: Mapping[str, float] = field(default_factory=dict)
    goal: Mapping[str, float] = field(default_factory=dict)
    deceleration: Mapping[str, float] | None = None


@dataclass(frozen=True, eq=False)
class Tolerances:
    """What of a goal is checked: (J,) each, 0 = not."""

    path: Any
    path_velocity: Any
    goal: Any
    goal_velocity: Any
    goal_time: float


@dataclass(frozen=True, eq=False)
class _Course:
    """What the joints shall do: a trajectory since some time of the control loop."""

    begun: float
    trajectory: JointTrajectory

    @property
    def end(self) -> float:
        return self.begun + self.trajectory.duration

    def at(self, now: float) -> Desired:
        return self.trajectory.at(now - self.begun)


class JointTrajectoryControllerDouble(Node):
    """The controller of an arm.

    Args:
        hardware: of its joints; it is updated in that loop.
        name: of the node; the action is ~/follow_joint_trajectory (:1057).
        joints: names.
        constraints: tolerances.
        delivers_preemption: 4.41.0 and later end a goal that is replaced ABORTED with INVALID_GOAL (:1829-1834);
            before, the timer that would have told it was deleted, and it ended CANCELED with an empty result.

    Attributes:
        active: whether it runs.
        taken: goals that it accepted, oldest first.
    """

    def __init__(
        self,
        hardware: HardwareDouble,
        name: str = "arm_controller",
        joints: tuple[str, ...] = ARM,
        constraints: Constraints | None = None,
        delivers_preemption: bool = True,
    ) -> None:
        super().__init__(name, context=hardware.context)
        self.joints, self.constraints, self.active = joints, constraints or Constraints(), True
        self.taken: list[Any] = []
        self._hardware, self._delivers = hardware, delivers_preemption
        self._lock = threading.RLock()
        self._goal: RealtimeGoal | None = None  # rt_active_goal_
        self._new: JointTrajectory | None = None  # a message that the loop has not begun yet
        self._course: _Course | None = None
        self._holding = True
        self._tolerances = self._tolerances_of(FollowJointTrajectory.Goal())
        self._monitor = Monitor(self)
        hardware.load(self)
        self._server = ActionServer(
            self,
            FollowJointTrajectory,
            "~/follow_joint_trajectory",
            execute_callback=self._ended,
            goal_callback=self._on_goal,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=self._on_cancel,
        )
        self._goals: dict[bytes, RealtimeGoal] = {}

    # -------------------------------------------------------------------------------------------- lifecycle

    def deactivate(self) -> None:
        """As a switch of controllers does (:1255-1321): the goal is aborted; the joints stay at the last command."""
        with self._hardware.lock, self._lock:
            if self._goal is not None:
                self._goal.ask(
                    ABORTED, _result(Result.INVALID_GOAL, "Current goal cancelled during deactivate transition.")
                )
                self._goal = None
            self.active, self._course, self._new = False, None, None

    def activate(self) -> None:
        """Begin by holding the position (:1228-1229)."""
        with self._hardware.lock, self._lock:
            self.active = True
            self._hold()

    # -------------------------------------------------------------------------------------------- goals

    def _on_goal(self, goal: Any) -> GoalResponse:
        """:1401-1421: none while it is not active; none whose trajectory is not valid. One that runs is no reason."""
        refusal = "Can't accept new action goals. Controller is not running." if not self.active else self._wrong(goal)
        if refusal:
            self.get_logger().error(refusal)
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _wrong(self, goal: Any) -> str:
        """Why a trajectory is not valid (:1671-1816). Where the arm is, and its limits, are not looked at."""
        trajectory = goal.trajectory
        names, points = trajectory.joint_names, trajectory.points
        if len(names) != len(self.joints):
            return "Joints on incoming trajectory don't match the controller joints."  # :1676-1685
        if not points:
            return "Empty trajectory received."  # :1695-1699
        for name in names:
            if name not in self.joints:
                return f"Incoming joint {name} doesn't match the controller's joints."  # :1702-1714
        if any(abs(v) > _EPSILON for v in points[-1].velocities):
            return "Velocity of last trajectory point is not zero"  # :1717-1730
        if self._delay(trajectory) + seconds(points[-1].time_from_start) < 0:
            return "Received trajectory with non-zero start time that ends in the past"  # :1733-1749
        last = 0.0
        for number, point in enumerate(points):
            if number and seconds(point.time_from_start) <= last:
                return f"Time between points {number - 1} and {number} is not strictly increasing"  # :1755-1763
            last = seconds(point.time_from_start)
            for what, needed in (("positions", True), ("velocities", False), ("accelerations", False)):
                given = getattr(point, what)
                if len(given) != len(names) and (needed or len(given)):
                    return f"Mismatch between joint_names size and {what} at point #{number}"  # :1652-1669, 1797-1804
            if len(point.effort):
                return "Trajectories with effort fields are only supported for effort interfaces"  # :1806-1813
        return ""

    def _on_accepted(self, handle: ServerGoalHandle) -> None:
        """:1455-1492: the goal before is replaced, whatever it did; the arm goes on from where it is."""
        goal = RealtimeGoal(handle, FollowJointTrajectory.Result())
        with self._hardware.lock, self._lock:
            before, self._goal = self._goal, goal
            if before is not None:
                if self._delivers:
                    before.ask(ABORTED, _result(Result.INVALID_GOAL, "Current goal preempted by new incoming action."))
                    before.run()
                else:
                    before.ask(CANCELED, FollowJointTrajectory.Result())
            self._new, self._holding = self._trajectory_of(handle.request.trajectory), False
            self._delayed = max(self._delay(handle.request.trajectory), 0.0)
            self._tolerances = self._tolerances_of(handle.request)
        self._goals = {key: each for key, each in self._goals.items() if not each.done.done()}
        self._goals[bytes(handle.goal_id.uuid)] = goal
        self.taken.append(handle.request)
        self._monitor.watch(goal)
        handle.execute()

    async def _ended(self, handle: ServerGoalHandle) -> Any:
        return await self._goals[bytes(handle.goal_id.uuid)].done

    def _on_cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        """:1423-1453: always accepted. The result, SUCCESSFUL as an empty one has it, does not wait for standstill."""
        with self._hardware.lock, self._lock:
            if self._goal is not None and self._goal.handle is handle:
                self._goal.ask(CANCELED, FollowJointTrajectory.Result())
                self._goal = None
                self._rest()
        return CancelResponse.ACCEPT

    # -------------------------------------------------------------------------------------------- the control loop

    def update(self, now: float, period: float) -> None:
        """One cycle (:239-582)."""
        with self._lock:
            if not self.active:
                return
            actual, speeds = self._actual()
            first = self._new is not None
            if self._new is not None:  # :294-315: it begins where the joints are, also with a speed
                self._course, self._new = _Course(now + self._delayed, _from(self._new, actual, speeds)), None
            if self._course is None:
                return
            desired, next_ = self._course.at(now), self._course.at(now + period)
            moving = now < self._course.end
            off = np.abs(desired.position - actual), np.abs(desired.velocity - speeds)
            tolerance = self._tolerances
            astray = (moving or first) and not self._holding and _beyond(off, tolerance.path, tolerance.path_velocity)
            short = not moving and not self._holding and _beyond(off, tolerance.goal, tolerance.goal_velocity)
            late = short and tolerance.goal_time > 0 and now - self._course.end > tolerance.goal_time
            if not astray and not late:  # :410-454: else the last command stays
                for name, at in zip(self.joints, next_.position.tolist(), strict=True):
                    self._hardware.joints[name].command = at
            if self._goal is not None:
                self._goal.feedback = self._feedback(desired, actual, speeds)
            self._judge(astray, moving, short, late, now - self._course.end)

    def _judge(self, astray: bool, moving: bool, short: bool, late: bool, over: float) -> None:
        """Whether the goal ends (:456-573)."""
        if astray:
            self._end(ABORTED, _result(Result.PATH_TOLERANCE_VIOLATED, "Aborted due to path tolerance violation"))
            self._rest()
        elif late:
            words = f"Aborted due to goal_time_tolerance exceeding by {over:f} seconds"
            self._end(ABORTED, _result(Result.GOAL_TOLERANCE_VIOLATED, words))
            self._rest()
        elif self._goal is not None and not moving and not short:
            self._end(SUCCEEDED, _result(Result.SUCCESSFUL, "Goal successfully reached!"))
            self._holding = True  # :1940-1951: the last point is commanded on

    def _end(self, end: str, result: Any) -> None:
        if self._goal is not None:
            self._goal.ask(end, result)
            self._goal = None

    def _rest(self) -> None:
        """:441-450: decelerate where that is set, else hold the position at once."""
        if self.constraints.deceleration is None:
            self._hold()
        else:
            self._decelerate(self.constraints.deceleration)

    def _hold(self) -> None:
        """:1839-1849: the command becomes the position that was read last."""
        self._begin(JointTrajectory(np.zeros(1), self._actual()[0][None, :]))

    def _decelerate(self, most: Mapping[str, float]) -> None:
        """:1851-1937: each joint by itself, as hard as it may; the arm leaves its path."""
        p, v = self._actual()
        a = np.array([most[name] for name in self.joints])
        stops = np.abs(v) / a
        t = np.arange(math.ceil(stops.max() / PERIOD) + 1)[:, None] * PERIOD
        s, going, sign = np.minimum(t, stops), t < stops, np.sign(v)
        self._begin(
            JointTrajectory(
                t[:, 0],
                p + v * s - sign * a * s * s / 2,
                np.where(going, v - sign * a * t, 0.0),
                np.where(going, -sign * a, 0.0),
            )
        )

    def _begin(self, trajectory: JointTrajectory) -> None:
        self._new, self._delayed, self._holding = trajectory, 0.0, True

    def _actual(self) -> tuple[Any, Any]:
        """(J,) positions and velocities."""
        joints = [self._hardware.joints[name] for name in self.joints]
        return np.array([joint.position for joint in joints]), np.array([joint.velocity for joint in joints])

    # -------------------------------------------------------------------------------------------- messages

    def _trajectory_of(self, trajectory: Any) -> JointTrajectory:
        order = [list(trajectory.joint_names).index(name) for name in self.joints]

        def column(what: str) -> Any:
            rows = [getattr(point, what) for point in trajectory.points]
            return np.array(rows, np.float64)[:, order] if all(len(row) for row in rows) else None

        times = np.array([seconds(point.time_from_start) for point in trajectory.points])
        velocities = column("velocities")
        return JointTrajectory(
            times, column("positions"), velocities, None if velocities is None else column("accelerations")
        )

    def _delay(self, trajectory: Any) -> float:
        """s until a trajectory begins; 0 where its stamp is (:1733-1737)."""
        stamp = trajectory.header.stamp
        if not stamp.sec and not stamp.nanosec:
            return 0.0
        return float(stamp.sec + stamp.nanosec * 1e-9 - self.get_clock().now().nanoseconds * 1e-9)

    def _tolerances_of(self, goal: Any) -> Tolerances:
        """Those of the parameters, changed by a goal (tolerances:129-288).

        0 leaves what the parameters say, -1 erases it; another negative number, or an unknown joint, makes all of them
        those of the parameters.
        """
        n, given = len(self.joints), self.constraints
        path, goal_at = (np.array([each.get(name, 0.0) for name in self.joints]) for each in (given.path, given.goal))
        default = Tolerances(path, np.zeros(n), goal_at, np.full(n, given.stopped_velocity), given.goal_time)
        rows = [default.path.copy(), default.path_velocity.copy(), default.goal.copy(), default.goal_velocity.copy()]
        try:
            time = _resolved(default.goal_time, seconds(goal.goal_time_tolerance))
            for entries, (at, speed) in ((goal.path_tolerance, rows[:2]), (goal.goal_tolerance, rows[2:])):
                for entry in entries:
                    k = self.joints.index(entry.name)
                    at[k], speed[k] = _resolved(at[k], entry.position), _resolved(speed[k], entry.velocity)
        except ValueError:
            self.get_logger().error("Illegal tolerance. Using default tolerances.")
            return default
        return Tolerances(*rows, time)

    def _feedback(self, desired: Desired, actual: Any, speeds: Any) -> Any:
        return FollowJointTrajectory.Feedback(
            joint_names=list(self.joints),
            desired=_point(desired.position, desired.velocity),
            actual=_point(actual, speeds),
            error=_point(desired.position - actual, desired.velocity - speeds),
        )


def _from(trajectory: JointTrajectory, position: Any, velocity: Any) -> JointTrajectory:
    """With a point where the joints are before a first point that is later (:311-312)."""
    if trajectory.times[0] <= 0:
        return trajectory
    times = np.concatenate([[0.0], trajectory.times])
    rows = [
        None if given is None else np.concatenate([first[None, :], given])
        for first, given in (
            (position, trajectory.positions),
            (velocity, trajectory.velocities),
            (np.zeros(len(position)), trajectory.accelerations),
        )
    ]
    return JointTrajectory(times, *rows)  # type: ignore[arg-type]


def _beyond(off: tuple[Any, Any], position: Any, velocity: Any) -> bool:
    """tolerances:297-344: a tolerance of 0 is not checked."""
    return bool((((position > 0) & (off[0] > position)) | ((velocity > 0) & (off[1] > velocity))).any())


def _resolved(default: float, value: float) -> float:
    if value < 0 and abs(value + 1.0) >= _EPSILON:
        raise ValueError(value)
    return value if value > 0 else 0.0 if value < 0 else default


def _result(code: int, words: str) -> Any:
    return FollowJointTrajectory.Result(error_code=code, error_string=words)


def _point(position: Any, velocity: Any) -> Any:
    return JointTrajectoryPoint(positions=position.tolist(), velocities=velocity.tolist())
