# SPDX-License-Identifier: Apache-2.0
"""The controllers of the simulated arm as actions: FollowJointTrajectory and GripperCommand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Duration
from control_msgs.action import FollowJointTrajectory, GripperCommand
from rclpy.node import Node
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectoryPoint

from spatial_vlm_ros.errors import InputError, SpatialVlmError
from spatial_vlm_ros.nodes import messages
from spatial_vlm_ros.nodes.goals import ABORTED, CANCELED, SUCCEEDED, GoalServer, ServedGoal
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.sim.arm.cell import ArmCell, RunningCell
from spatial_vlm_ros.sim.arm.machines import Gripped
from spatial_vlm_ros.sim.arm.trajectory import (
    GOAL_TIME,
    STOPPED,
    SUCCESSFUL,
    JointTrajectory,
    Tolerances,
    TrajectoryOutcome,
    in_order,
)
from spatial_vlm_ros.sim.faults.controller import UNDEFINED, ControllerFaults

_FEEDBACK = 0.1  # s of simulated time between two messages of feedback
_SLACK = 0.0005  # metres by which a position may leave its range, because of rounding

Wake = Callable[[Callable[[], Any]], None]


class SimulatedController:
    """Base of the controllers: an action server, and what happens to its goals in a running cell.

    Args:
        wake: runs a job on the executor's thread.

    Attributes:
        counts: goals that were accepted, refused, succeeded, aborted, canceled.
    """

    FORM: Any
    PART: str
    """Name of the controller in faults."""
    CALLED: str
    """Name of a goal in the log."""

    def __init__(self, node: Node, name: str, running: RunningCell, wake: Wake) -> None:
        self._node, self._running, self._wake = node, running, wake
        self.counts = Counter(dict.fromkeys(("accepted", "refused", SUCCEEDED, ABORTED, CANCELED), 0))
        self.faults = ControllerFaults(self.PART)
        self._goal: ServedGoal | None = None  # being executed
        running.every(0.0, self._watch)
        running.every(_FEEDBACK, self._tell)
        self._server = GoalServer(
            node, self.FORM, name, self._begin, wake, takes=self._takes, cancels=lambda goal: goal is self._goal,
            cancelled=self._brake,
        )  # fmt: skip
        self.destroy = self._server.destroy

    @property
    def busy(self) -> bool:
        """Whether a goal is being executed."""
        return self._goal is not None

    def _refusal(self, goal: Any) -> str:
        """Why a goal is refused, if no error says so; "" = it is taken."""
        raise NotImplementedError

    def _begin(self, goal: ServedGoal) -> None:
        raise NotImplementedError

    def _brake(self, goal: ServedGoal) -> None:
        raise NotImplementedError

    def _watch(self, cell: ArmCell) -> None:
        """Check whether the goal has ended; runs on the physics thread after each step."""
        raise NotImplementedError

    def _feedback(self, cell: ArmCell) -> Any:
        """Feedback of the running goal, or None; runs on the physics thread."""
        raise NotImplementedError

    def _takes(self, goal: Any) -> bool:
        try:
            why = self._refusal(goal)
        except SpatialVlmError as error:
            why = str(error)
        if why:
            self.counts["refused"] += 1
            self._node.get_logger().warning(printable(f"a {self.CALLED} is refused: {why}"))
        return not why

    def _tell(self, cell: ArmCell) -> None:
        goal = self._goal
        feedback = None if goal is None else self._feedback(cell)
        if goal is not None and feedback is not None:
            self._wake(partial(goal.tell, feedback))

    def _finish(self, goal: ServedGoal, result: Any, well: bool, words: str) -> None:
        if goal is self._goal:
            self._goal = None
        how = self._server.end(goal, result, well)
        self.counts[how] += 1
        if how == ABORTED:
            self._node.get_logger().warning(printable(f"the {self.CALLED} is aborted: {words}"))


class TrajectoryServer(SimulatedController):
    """The controller of the arm; one goal at a time. `stamp` tells the time, nanoseconds.

    A goal is refused if it does not name each joint once, is not in time order, leaves limits or does not begin at the
    arm's current positions.
    """

    FORM, PART, CALLED = FollowJointTrajectory, "arm", "trajectory"

    def __init__(self, node: Node, name: str, running: RunningCell, wake: Wake, stamp: Callable[[], int]) -> None:
        self._stamp, self._withdrawn = stamp, False
        self._next: JointTrajectory | None = None
        super().__init__(node, name, running, wake)

    def _refusal(self, goal: Any) -> str:
        if self.busy:
            repair = "cancel the running goal, or wait for its end"
            raise InputError("goal", "a goal is already being executed", "one goal at a time", repair)
        self.faults.check()
        trajectory = trajectory_of(goal, self._running.ask(lambda cell: cell.follower.names))
        tolerances_of(goal)
        self._running.ask(lambda cell: cell.follower.check(trajectory, cell.arm_joints().position))
        self._next = self.faults.paced(trajectory)
        return ""

    def _begin(self, goal: ServedGoal) -> None:
        self.counts["accepted"] += 1
        trajectory, tolerances = self._next, tolerances_of(goal.request)
        self._goal, self._withdrawn = goal, False
        at_once = self.faults.at_once()
        if at_once is not None:
            self._end(goal, at_once)
        if at_once is not None or self.faults.is_stuck:
            return

        def begin(cell: ArmCell) -> None:
            if trajectory is not None:
                cell.follower.begin(trajectory, cell.time, cell.arm_joints().position, tolerances)

        try:
            self._running.ask(begin)
        except SpatialVlmError as error:
            self._end(goal, TrajectoryOutcome(FollowJointTrajectory.Result.INVALID_GOAL, str(error)))

    def _brake(self, goal: ServedGoal) -> None:
        if goal is self._goal:
            self._withdrawn = True
            self._running.ask(lambda cell: cell.follower.stop(cell.time))

    def _watch(self, cell: ArmCell) -> None:
        goal = self._goal
        if goal is None:
            return
        joints = cell.arm_joints()
        position, velocity = joints.position, joints.velocity
        ended = cell.follower.ended(cell.time, position, velocity)
        if ended is None and self._withdrawn and not cell.follower.moving and np.abs(velocity).max() <= STOPPED:
            ended = TrajectoryOutcome(SUCCESSFUL, "withdrawn; the arm stands still")
        if ended is not None:
            self._goal = None
            self._wake(partial(self._end, goal, ended))

    def _feedback(self, cell: ArmCell) -> Any:
        if self._withdrawn:
            return None
        desired, joints, stamp = cell.follower.desired(cell.time), cell.arm_joints(), self._stamp()
        position, velocity = joints.position, joints.velocity
        return FollowJointTrajectory.Feedback(
            header=Header(stamp=messages.time_of(stamp)),
            joint_names=list(cell.follower.names),
            desired=_point(desired.position, desired.velocity),
            actual=_point(position, velocity),
            error=_point(desired.position - position, desired.velocity - velocity),
        )

    def _end(self, goal: ServedGoal, ended: TrajectoryOutcome) -> None:
        result = FollowJointTrajectory.Result(error_code=ended.code, error_string=ended.words)
        self._finish(goal, result, ended.code == SUCCESSFUL, ended.words)


class GripperServer(SimulatedController):
    """The controller of the gripper; a new goal ends the previous one.

    Positions are those of one finger, as for `panda_finger_joint1`: half the opening, 0 to 0.04 m or the arm's own
    range. A goal succeeds when the fingers reach it, or when an object stops them (`stalled`).

    Args:
        most_open: stroke of each finger, metres.
    """

    FORM, PART, CALLED = GripperCommand, "gripper", "gripper command"

    def __init__(self, node: Node, name: str, running: RunningCell, wake: Wake, most_open: float) -> None:
        self._most_open = most_open
        self._due = 0.0  # simulated time at which a goal that was delayed begins; 0 = none
        super().__init__(node, name, running, wake)

    def _refusal(self, goal: Any) -> str:
        position, force = goal.command.position, goal.command.max_effort
        if not np.isfinite([position, force]).all() or not -_SLACK <= position <= self._most_open + _SLACK or force < 0:
            return (
                f"{position:g} m, {force:g} N. Finger positions are 0 to {self._most_open:g} m (half the opening), and "
                "efforts are 0 or more"
            )
        self.faults.check()
        return ""

    def _begin(self, goal: ServedGoal) -> None:
        self.counts["accepted"] += 1
        command, at_once, stuck, pause = (
            goal.request.command, self.faults.at_once(), self.faults.is_stuck, self.faults.pause
        )  # fmt: skip

        def begin(cell: ArmCell) -> tuple[ServedGoal | None, Gripped]:
            before, self._goal, self._due = self._goal, goal, 0.0
            if at_once is None and not stuck and not pause:
                cell.hand.grip(command.position, command.max_effort)
                return before, cell.hand.state(cell.data)
            cell.hand.stop(cell.data)
            self._goal, self._due = (None if at_once else goal), (cell.time + pause if pause else 0.0)
            return before, cell.hand.state(cell.data)

        try:
            before, state = self._running.ask(begin)
        except SpatialVlmError as error:
            self._end(goal, None, str(error))
            return
        if before is not None:
            self._end(before, state, "a newer goal arrived")
        if at_once is not None:
            lies = Gripped(float("nan"), float("nan"), False, False) if at_once.code == UNDEFINED else state
            self._end(goal, lies, "" if at_once.code == SUCCESSFUL else at_once.words)

    def _brake(self, goal: ServedGoal) -> None:
        def stop(cell: ArmCell) -> Gripped | None:
            if self._goal is not goal:
                return None
            self._goal = None
            cell.hand.stop(cell.data)
            return cell.hand.state(cell.data)

        state = self._running.ask(stop)
        if state is not None:
            self._end(goal, state, "withdrawn")

    def _watch(self, cell: ArmCell) -> None:
        goal = self._goal
        if goal is not None and 0 < self._due <= cell.time:
            self._due = 0.0
            cell.hand.grip(goal.request.command.position, goal.request.command.max_effort)
        ended = cell.hand.ended(cell.data) if goal is not None else None
        if goal is not None and ended is not None:
            self._goal = None
            self._wake(partial(self._end, goal, ended, ""))

    def _feedback(self, cell: ArmCell) -> Any:
        return GripperCommand.Feedback(**_fields(cell.hand.state(cell.data)))

    def _end(self, goal: ServedGoal, gripped: Gripped | None, why: str) -> None:
        result = GripperCommand.Result(**({} if gripped is None else _fields(gripped)))
        self._finish(goal, result, not why, why)


def _fields(gripped: Gripped) -> dict[str, Any]:
    return {
        "position": gripped.position,
        "effort": gripped.effort,
        "stalled": gripped.stalled,
        "reached_goal": gripped.reached,
    }


def trajectory_of(goal: Any, names: Sequence[str]) -> JointTrajectory:
    """Trajectory of a FollowJointTrajectory goal, with joints in the order of `names`."""
    if goal.multi_dof_trajectory.points:
        raise InputError(
            "trajectory", "it has multi-axis joints", "single-axis joints", "leave multi_dof_trajectory empty"
        )
    order, points = in_order(names, goal.trajectory.joint_names), goal.trajectory.points

    def column(field: str) -> npt.NDArray[np.float64]:
        rows = [list(getattr(point, field)) for point in points]
        if any(len(row) != len(order) for row in rows):
            got = f"{field} of {sorted({len(row) for row in rows})} joints"
            raise InputError("trajectory", got, f"{len(order)} at every point", "plan the trajectory again")
        return np.array(rows, np.float64).reshape(len(rows), len(order))[:, order]

    times = np.array([seconds(point.time_from_start) for point in points], np.float64)
    velocities = column("velocities") if any(len(point.velocities) for point in points) else None
    accelerations = column("accelerations") if any(len(point.accelerations) for point in points) else None
    return JointTrajectory(times, column("positions"), velocities, accelerations)


def tolerances_of(goal: Any) -> Tolerances:
    """The tolerances of a FollowJointTrajectory goal: 0 = default, negative = no limit."""
    time = seconds(goal.goal_time_tolerance)
    return Tolerances(
        {entry.name: _tolerance(entry.position) for entry in goal.path_tolerance if entry.position},
        {entry.name: _tolerance(entry.position) for entry in goal.goal_tolerance if entry.position},
        time if time > 0 else GOAL_TIME,
    )


def seconds(duration: Duration) -> float:
    """Convert a Duration message to seconds."""
    return float(duration.sec + duration.nanosec * 1e-9)


def _tolerance(value: float) -> float:
    return value if value > 0 else float("inf")


def _point(position: Any, velocity: Any) -> JointTrajectoryPoint:
    return JointTrajectoryPoint(positions=position.tolist(), velocities=velocity.tolist())
