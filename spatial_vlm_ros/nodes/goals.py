# SPDX-License-Identifier: Apache-2.0
"""Action servers whose goals end later, by another thread or message, and the jobs that threads give the executor."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import CallbackGroup
from rclpy.exceptions import InvalidHandle
from rclpy.node import Node

from spatial_vlm_ros.nodes.liveliness import ticks

ABORTED, CANCELED, SUCCEEDED = "aborted", "canceled", "succeeded"
"""How goals end."""
_LATE = 0.01  # s after which jobs are looked for without a wake: rmw_fastrtps 9 may lose one (rmw_wait.cpp:310-313)


class Jobs:
    """Runs functions of other threads on the executor's thread.

    Args:
        group: callback group of the functions; None = the node's default group.
        failed: called while an exception of a function is handled; None = exceptions end the executor.
    """

    def __init__(
        self, node: Node, group: CallbackGroup | None = None, failed: Callable[[], None] | None = None
    ) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._failed = failed
        self._guard = node.create_guard_condition(self._run, group)
        self._late = ticks(node, _LATE, self._run, group)

    def put(self, job: Callable[[], Any]) -> None:
        """Queue a job to run soon; callable from any thread. A node that has ended runs no jobs."""
        self._jobs.put(job)
        with contextlib.suppress(InvalidHandle):
            self._late.reset()
            self._guard.trigger()

    def _run(self) -> None:
        self._late.cancel()
        for _ in range(self._jobs.qsize()):  # a job may add one for the next turn
            try:
                self._jobs.get()()
            except Exception:
                if self._failed is None:
                    raise
                self._failed()
        if not self._jobs.empty():
            self._guard.trigger()


class ServedGoal:
    """A goal that is being served.

    Attributes:
        cancelled: set as soon as its client cancels it; a node sets it to end the goal for another reason.
        work: what the node does for it, of the node's own kind.
    """

    def __init__(self, handle: ServerGoalHandle) -> None:
        self.handle, self.request, self.uuid = handle, handle.request, bytes(handle.goal_id.uuid)
        self.cancelled = threading.Event()
        self.work: Any = None

    def tell(self, feedback: Any) -> None:
        """Publish feedback unless the goal has ended; call it on the executor's thread."""
        if self.handle.is_active:
            self.handle.publish_feedback(feedback)


class GoalServer:
    """An action server. Functions are called on the executor's thread.

    Args:
        begin: serves an accepted goal; returns at once.
        wake: runs a function on the executor's thread; callable from any thread.
        cancelled: called once a goal is marked as cancelling.

    Attributes:
        goals: goals that have not ended, by their UUID.
    """

    def __init__(
        self,
        node: Node,
        form: Any,
        name: str,
        begin: Callable[[Any], None],
        wake: Callable[[Callable[[], Any]], None],
        *,
        takes: Callable[[Any], bool] = lambda _: True,
        cancels: Callable[[Any], bool] = lambda _: True,
        cancelled: Callable[[Any], None] = lambda _: None,
        kind: type[ServedGoal] = ServedGoal,
        **options: Any,
    ) -> None:
        self.form, self.goals = form, dict[bytes, Any]()
        self._begin, self._wake, self._cancels, self._cancelled, self._kind = begin, wake, cancels, cancelled, kind
        self._sending = 0  # goals whose result is on its way
        self._server = ActionServer(
            node,
            form,
            name,
            execute_callback=lambda _: form.Result(),  # unused: each goal gets its own once the result is there
            goal_callback=lambda goal: GoalResponse.ACCEPT if takes(goal) else GoalResponse.REJECT,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=self._on_cancel,
            **options,
        )

    @property
    def ended(self) -> bool:
        """Whether every accepted goal has its result."""
        return not self.goals and not self._sending

    def end(
        self, goal: Any, result: Any, well: bool, cancelled: bool = True, then: Callable[[], Any] = lambda: None
    ) -> str:
        """End a goal with a result.

        Args:
            cancelled: whether it ends as cancelled if its client has cancelled it.
            then: called once the goal has its end.

        Returns:
            How it ends: one of ABORTED, CANCELED, SUCCEEDED.
        """
        self.goals.pop(goal.uuid, None)
        self._sending += 1
        withdrawn = goal.handle.is_cancel_requested and cancelled
        how = CANCELED if withdrawn else SUCCEEDED if well else ABORTED

        def execute(handle: ServerGoalHandle) -> Any:
            self._sending -= 1
            {CANCELED: handle.canceled, SUCCEEDED: handle.succeed, ABORTED: handle.abort}[how]()
            then()
            return result

        goal.handle.execute(execute)
        return how

    def destroy(self) -> None:
        """Destroy the action server."""
        self._server.destroy()

    def _on_accepted(self, handle: ServerGoalHandle) -> None:
        goal = self._kind(handle)
        self.goals[goal.uuid] = goal
        self._begin(goal)

    def _on_cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        goal = self.goals.get(bytes(handle.goal_id.uuid))
        if goal is None or not self._cancels(goal):
            return CancelResponse.REJECT
        goal.cancelled.set()
        self._wake(lambda: self._cancelled(goal))  # only after this returns is the goal marked as cancelling
        return CancelResponse.ACCEPT
