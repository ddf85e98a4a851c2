# SPDX-License-Identifier: Apache-2.0
"""A goal as ros2_control's controllers end it: asked for in the control loop, done by a slow timer. Not a test.

After realtime_tools, branch jazzy, commit 0a483005, realtime_tools/include/realtime_tools/
realtime_server_goal_handle.hpp ("goal handle" below), and rclcpp, branch jazzy, commit 985e320d.
"""

from __future__ import annotations

from typing import Any

from rclpy.action.server import GoalEvent, ServerGoalHandle
from rclpy.node import Node
from rclpy.task import Future

ABORTED, CANCELED, SUCCEEDED = "aborted", "canceled", "succeeded"
RATE = 20.0  # Hz: action_monitor_rate of joint_trajectory_controller and of both gripper controllers


class RealtimeGoal:
    """One goal.

    Only the first end that is asked for counts (goal handle:106-143). The timer brings it about where the state of the
    goal allows it (goal handle:197-230): an abort only while it executes, a success only while it is not cancelling.
    **A goal that is cancelled between its end and the timer therefore never ends**, until a newer goal replaces it.
    """

    def __init__(self, handle: ServerGoalHandle, empty: Any) -> None:
        self.handle, self.done = handle, Future()
        self._empty, self._end, self._result = empty, "", empty
        self.feedback: Any = None

    def ask(self, end: str, result: Any) -> None:
        """Ask for an end, as setAborted, setCanceled and setSucceeded do."""
        if not self._end:
            self._result, self._end = result, end

    def run(self) -> None:
        """What the timer does (goal handle:197-230)."""
        if self.done.done():
            return
        executing = self.handle.is_active and not self.handle.is_cancel_requested
        if self._end == ABORTED and executing:
            self._finish(self.handle.abort)
        elif self._end == CANCELED and not executing:  # while it executes this is an invalid transition, and logged
            self._finish(self.handle.canceled)
        elif self._end == SUCCEEDED and executing:
            self._finish(self.handle.succeed)
        elif self.feedback is not None and executing:
            self.handle.publish_feedback(self.feedback)

    def drop(self) -> None:
        """Nobody holds it any more.

        One that has not ended is cancelled with an empty result: rclcpp_action/include/rclcpp_action/
        server_goal_handle.hpp:244-252.
        """
        if not self.done.done():
            if not self.handle.is_cancel_requested:
                self.handle._update_state(GoalEvent.CANCEL_GOAL)
            self._result = self._empty
            self._finish(self.handle.canceled)

    def _finish(self, end: Any) -> None:
        end()
        self.done.set_result(self._result)


class Monitor:
    """The timer that ends goals: it looks after the newest one alone.

    joint_trajectory_controller.cpp:1485-1491 and gripper_action_controller_impl.hpp:113-119: the timer of the goal
    before is deleted, and with it the last owner of that goal.

    Args:
        node: that it belongs to.
    """

    def __init__(self, node: Node) -> None:
        self.goal: RealtimeGoal | None = None
        self._timer = node.create_timer(1.0 / RATE, self._run)

    def watch(self, goal: RealtimeGoal) -> None:
        """From now on, this goal."""
        if self.goal is not None:
            self.goal.drop()
        self.goal = goal
        self._timer.reset()

    def _run(self) -> None:
        if self.goal is not None:
            self.goal.run()
