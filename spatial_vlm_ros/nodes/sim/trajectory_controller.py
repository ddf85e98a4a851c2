# SPDX-License-Identifier: Apache-2.0
"""The controller of the simulated arm as an action: FollowJointTrajectory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Duration
from control_msgs.action import FollowJointTrajectory
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectoryPoint

from spatial_vlm_ros.errors import InputError, SpatialVlmError
from spatial_vlm_ros.nodes import messages
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.sim.arm.cell import ArmCell
from spatial_vlm_ros.sim.arm.running import RunningCell
from spatial_vlm_ros.sim.arm.trajectory import (
    GOAL_TIME,
    STOPPED,
    JointTrajectory,
    Tolerances,
    TrajectoryOutcome,
    in_order,
)
from spatial_vlm_ros.sim.faults.controller import ControllerFaults

FEEDBACK = 0.1  # s of simulated time between two messages of feedback
_COUNTED = ("accepted", "refused", "succeeded", "aborted", "canceled")
_INVALID_GOAL = FollowJointTrajectory.Result.INVALID_GOAL

Wake = Callable[[Callable[[], Any]], None]


def counts() -> Counter[str]:
    """Counters of goals: accepted, refused, succeeded, aborted, canceled."""
    return Counter(dict.fromkeys(_COUNTED, 0))


class TrajectoryServer:
    """Action server of the arm's controller; one goal at a time.

    A goal is refused if it does not name each joint once, is not in time order, leaves limits or does not begin at the
    arm's current positions.

    Args:
        wake: runs a job on the executor's thread.
        stamp: returns the current time, nanoseconds.
    """

    def __init__(self, node: Node, name: str, running: RunningCell, wake: Wake, stamp: Callable[[], int]) -> None:
        self._node, self._running, self._wake, self._stamp = node, running, wake, stamp
        self.counts = counts()
        self.faults = ControllerFaults("arm")
        self._goal: ServerGoalHandle | None = None
        self._withdrawn = False
        self._next: JointTrajectory | None = None
        running.every(0.0, self._watch)
        running.every(FEEDBACK, self._tell)
        self._server = ActionServer(
            node,
            FollowJointTrajectory,
            name,
            execute_callback=lambda handle: self._end(handle, TrajectoryOutcome(_INVALID_GOAL, "never begun")),
            goal_callback=self._on_goal,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=self._on_cancel,
        )

    def destroy(self) -> None:
        """Destroy the action server."""
        self._server.destroy()

    @property
    def busy(self) -> bool:
        """Whether a goal is being executed."""
        return self._goal is not None

    # -------------------------------------------------------------------------------------------- goals

    def _on_goal(self, goal: Any) -> GoalResponse:
        try:
            if self.busy:
                raise InputError(
                    "goal",
                    "a goal is already being executed",
                    "one goal at a time",
                    "cancel the running goal, or wait for its end",
                )
            self.faults.check()
            trajectory = trajectory_of(goal, self._running.ask(lambda cell: cell.follower.names))
            tolerances_of(goal)
            self._running.ask(lambda cell: cell.follower.check(trajectory, cell.arm_joints().position))
        except SpatialVlmError as error:
            self.counts["refused"] += 1
            self._node.get_logger().warning(printable(f"a trajectory is refused: {error}"))
            return GoalResponse.REJECT
        self._next = self.faults.paced(trajectory)
        return GoalResponse.ACCEPT

    def _on_accepted(self, goal: ServerGoalHandle) -> None:
        self.counts["accepted"] += 1
        trajectory, tolerances = self._next, tolerances_of(goal.request)
        self._goal, self._withdrawn = goal, False
        at_once = self.faults.at_once()
        if at_once is not None:
            self._finish(goal, at_once)
        if at_once is not None or self.faults.is_stuck:
            return

        def begin(cell: ArmCell) -> None:
            if trajectory is not None:
                cell.follower.begin(trajectory, cell.time, cell.arm_joints().position, tolerances)

        try:
            self._running.ask(begin)
        except SpatialVlmError as error:
            self._finish(goal, TrajectoryOutcome(_INVALID_GOAL, str(error)))

    def _on_cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        if goal is not self._goal:
            return CancelResponse.REJECT
        # The goal is marked as cancelling only after this returns: brake just then.
        self._wake(partial(self._brake, goal))
        return CancelResponse.ACCEPT

    def _brake(self, goal: ServerGoalHandle) -> None:
        if goal is self._goal:
            self._withdrawn = True
            self._running.ask(lambda cell: cell.follower.stop(cell.time))

    # -------------------------------------------------------------------------------------------- on its thread

    def _watch(self, cell: ArmCell) -> None:
        """Check after each step whether the goal has ended."""
        goal = self._goal
        if goal is None:
            return
        joints = cell.arm_joints()
        position, velocity = joints.position, joints.velocity
        ended = cell.follower.ended(cell.time, position, velocity)
        if ended is None and self._withdrawn and not cell.follower.moving and np.abs(velocity).max() <= STOPPED:
            ended = TrajectoryOutcome(FollowJointTrajectory.Result.SUCCESSFUL, "withdrawn; the arm stands still")
        if ended is not None:
            self._goal = None
            self._wake(partial(self._finish, goal, ended))

    def _tell(self, cell: ArmCell) -> None:
        goal = self._goal
        if goal is None or self._withdrawn:
            return
        desired, joints, stamp = cell.follower.desired(cell.time), cell.arm_joints(), self._stamp()
        position, velocity = joints.position, joints.velocity
        feedback = FollowJointTrajectory.Feedback(
            header=Header(stamp=messages.time_of(stamp)),
            joint_names=list(cell.follower.names),
            desired=_point(desired.position, desired.velocity),
            actual=_point(position, velocity),
            error=_point(desired.position - position, desired.velocity - velocity),
        )
        self._wake(lambda: goal.publish_feedback(feedback) if goal.is_active else None)

    # -------------------------------------------------------------------------------------------- ends

    def _finish(self, goal: ServerGoalHandle, ended: TrajectoryOutcome) -> None:
        if goal is self._goal:
            self._goal = None
        goal.execute(lambda handle: self._end(handle, ended))

    def _end(self, goal: ServerGoalHandle, ended: TrajectoryOutcome) -> Any:
        result = FollowJointTrajectory.Result(error_code=ended.code, error_string=ended.words)
        if goal.is_cancel_requested:
            goal.canceled()
            self.counts["canceled"] += 1
        elif ended.code == FollowJointTrajectory.Result.SUCCESSFUL:
            goal.succeed()
            self.counts["succeeded"] += 1
        else:
            goal.abort()
            self.counts["aborted"] += 1
            self._node.get_logger().warning(printable(f"the trajectory is aborted: {ended.words}"))
        return result


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
