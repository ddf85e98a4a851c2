# SPDX-License-Identifier: Apache-2.0
"""The controller of the simulated hand as an action: GripperCommand."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from control_msgs.action import GripperCommand
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node

from spatial_vlm_ros.errors import InputError, SpatialVlmError
from spatial_vlm_ros.nodes.sim.trajectory_controller import FEEDBACK, Wake, counts
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.sim.arm.cell import ArmCell
from spatial_vlm_ros.sim.arm.control import Gripped
from spatial_vlm_ros.sim.arm.following import SUCCESSFUL
from spatial_vlm_ros.sim.arm.running import RunningCell
from spatial_vlm_ros.sim.faults.controller import UNDEFINED, ControllerFaults

_SLACK = 0.0005  # metres by which a position may leave its range, because of rounding


class GripperServer:
    """Action server of the gripper's controller; a new goal ends the previous one.

    Positions are those of one finger, as for `panda_finger_joint1`: half the opening, 0 to 0.04 m or the arm's own
    range. A goal succeeds when the fingers reach it, or when an object stops them (`stalled`).

    Args:
        most_open: stroke of each finger, metres.
    """

    def __init__(self, node: Node, name: str, running: RunningCell, wake: Wake, most_open: float) -> None:
        self._most_open = most_open
        self._node, self._running, self._wake = node, running, wake
        self.counts = counts()
        self.faults = ControllerFaults("gripper")
        self._goal: ServerGoalHandle | None = None
        self._due = 0.0  # simulated time at which a goal that was delayed begins; 0 = none
        running.every(0.0, self._watch)
        running.every(FEEDBACK, self._tell)
        self._server = ActionServer(
            node,
            GripperCommand,
            name,
            execute_callback=lambda handle: self._end(handle, None, "never begun"),
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

    def _on_goal(self, goal: Any) -> GoalResponse:
        position, force = goal.command.position, goal.command.max_effort
        if not np.isfinite([position, force]).all() or not -_SLACK <= position <= self._most_open + _SLACK or force < 0:
            self.counts["refused"] += 1
            self._node.get_logger().warning(
                printable(
                    f"a gripper command is refused: {position:g} m, {force:g} N. Finger positions are 0 to "
                    f"{self._most_open:g} m (half the opening), and efforts are 0 or more"
                )
            )
            return GoalResponse.REJECT
        try:
            self.faults.check()
        except InputError as error:
            self.counts["refused"] += 1
            self._node.get_logger().warning(printable(f"a gripper command is refused: {error}"))
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_accepted(self, goal: ServerGoalHandle) -> None:
        self.counts["accepted"] += 1
        command, at_once, stuck, pause = (
            goal.request.command, self.faults.at_once(), self.faults.is_stuck, self.faults.pause
        )  # fmt: skip

        def begin(cell: ArmCell) -> tuple[ServerGoalHandle | None, Gripped]:
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
            self._finish(goal, None, str(error))
            return
        if before is not None:
            self._finish(before, state, "a newer goal arrived")
        if at_once is not None:
            lies = Gripped(float("nan"), float("nan"), False, False) if at_once.code == UNDEFINED else state
            self._finish(goal, lies, "" if at_once.code == SUCCESSFUL else at_once.words)

    def _on_cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        if goal is not self._goal:
            return CancelResponse.REJECT
        self._wake(partial(self._halt, goal))
        return CancelResponse.ACCEPT

    def _halt(self, goal: ServerGoalHandle) -> None:
        def stop(cell: ArmCell) -> Gripped | None:
            if self._goal is not goal:
                return None
            self._goal = None
            cell.hand.stop(cell.data)
            return cell.hand.state(cell.data)

        state = self._running.ask(stop)
        if state is not None:
            self._finish(goal, state, "withdrawn")

    def _watch(self, cell: ArmCell) -> None:
        goal = self._goal
        if goal is not None and 0 < self._due <= cell.time:
            self._due = 0.0
            cell.hand.grip(goal.request.command.position, goal.request.command.max_effort)
        ended = cell.hand.ended(cell.data) if goal is not None else None
        if goal is not None and ended is not None:
            self._goal = None
            self._wake(partial(self._finish, goal, ended, ""))

    def _tell(self, cell: ArmCell) -> None:
        goal = self._goal
        if goal is not None:
            feedback = GripperCommand.Feedback(**_fields(cell.hand.state(cell.data)))
            self._wake(lambda: goal.publish_feedback(feedback) if goal.is_active else None)

    def _finish(self, goal: ServerGoalHandle, gripped: Gripped | None, reason: str) -> None:
        goal.execute(lambda handle: self._end(handle, gripped, reason))

    def _end(self, goal: ServerGoalHandle, gripped: Gripped | None, reason: str) -> Any:
        if goal.is_cancel_requested:
            goal.canceled()
            self.counts["canceled"] += 1
        elif reason:
            goal.abort()
            self.counts["aborted"] += 1
            self._node.get_logger().warning(printable(f"the gripper command is aborted: {reason}"))
        else:
            goal.succeed()
            self.counts["succeeded"] += 1
        return GripperCommand.Result(**({} if gripped is None else _fields(gripped)))


def _fields(gripped: Gripped) -> dict[str, Any]:
    return {
        "position": gripped.position,
        "effort": gripped.effort,
        "stalled": gripped.stalled,
        "reached_goal": gripped.reached,
    }
