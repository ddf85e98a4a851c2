# SPDX-License-Identifier: Apache-2.0
"""Actions and services called from a worker thread while an executor spins on another thread.

rclpy's clients are used only on the executor's thread: in rclpy 9 a reply is lost if it comes while another thread is
still inside `send_goal_async`. The worker waits with a deadline and can be told to give up.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from functools import partial
from typing import Any, NamedTuple

from action_msgs.msg import GoalStatus, GoalStatusArray
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.exceptions import NameValidationException
from rclpy.executors import Executor, ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_action_status_default
from rclpy.task import Future as Ended
from rclpy.validate_full_topic_name import validate_full_topic_name
from rclpy.validate_topic_name import validate_topic_name
from unique_identifier_msgs.msg import UUID

from spatial_vlm_ros.errors import CancelledError, InputError, PlannerUnavailableError
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.goals import Jobs
from spatial_vlm_ros.nodes.liveliness import endpoints_of
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.streams.sources import Sources, replies_of, told_by_servers

_LOOK = 0.02  # s: how often a waiting thread checks whether to give up
_GONE = 3.0  # s without the server before it counts as gone; the graph of a loaded machine may lose it briefly
_REPLY = 1.0  # s for the reply to a goal that the server has already accepted
_CANCEL = 0.25  # s between requests to cancel until a goal has ended
TWICE = 25.0
"""Seconds in which the graph forgets the server of a killed process."""
_AGAIN = 5.0  # s to wait for a reply to a request that may be repeated, before repeating it

Asked = Callable[[], bool]
"""Says whether the caller has withdrawn its request."""


def resolved_name(node: Node, name: str) -> str:
    """Full name of a service or action."""
    try:
        validate_topic_name(name, is_service=True)  # resolving alone accepts blanks
        full = str(node.resolve_service_name(name))
        validate_full_topic_name(full, is_service=True)
    except NameValidationException as error:
        expected = "letters, digits and _ between slashes"
        raise InputError("name of a service or action", repr(name), expected) from error
    return full


def _nothing() -> None:
    """Default `halt`: a goal is only cancelled."""


def spin_aside(executor: Executor, seconds: float | None = None) -> Callable[[], None]:
    """Spin on a thread of its own until the context is shut down, which may happen at any time, or until told to end.

    Meanwhile, destroy publishers and the like on that thread only: rclpy raises InvalidHandle if one that it is about
    to wait for is destroyed beside it. Returns a function that ends it and shuts the executor down; it raises
    TimeoutError if a callback is still running after `seconds`.
    """
    ended: Any = Ended()

    def run() -> None:
        try:
            executor.spin_until_future_complete(ended)
        except (ExternalShutdownException, RuntimeError):  # the second from a callback that uses what has ended
            if executor.context.ok():
                raise

    thread = threading.Thread(target=run, name="spin", daemon=True)
    thread.start()

    def end() -> None:
        ended.set_result(None)
        until = time.monotonic() + (math.inf if seconds is None else seconds)
        while thread.is_alive() and time.monotonic() < until:
            executor.wake()  # again: a wake may be lost
            thread.join(_LOOK)
        if thread.is_alive():
            raise TimeoutError(f"a callback is still running after {seconds} s")
        executor.shutdown(timeout_sec=5.0)  # it destroys what a spinning thread uses

    return end


class GoalOutcome(NamedTuple):
    """How a goal ended.

    Args:
        status: number of action_msgs/GoalStatus, or 0.
        result: result of the action; None if not accepted.
    """

    accepted: bool
    status: int = 0
    result: Any = None
    withdrawn: bool = False


class Bridge:
    """Runs functions of clients on the executor's thread, and makes the clients so that they share a callback group.

    Create clients before the node spins: rclpy gives them to the executor before they are complete.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.group = MutuallyExclusiveCallbackGroup()
        self._jobs = Jobs(node, self.group)

    def put(self, job: Callable[[], Any]) -> None:
        """Queue a job for the executor's thread; callable from any thread."""
        self._jobs.put(job)

    def ask(self, begin: Callable[[], Any]) -> Future[Any]:
        """Run `begin` on the executor's thread; returns a future with the result of its rclpy future."""
        answer: Future[Any] = Future()

        def job() -> None:
            try:
                begin().add_done_callback(partial(_first, answer))
            except Exception as error:  # from rclpy; passed to the worker
                answer.set_exception(error)

        self._jobs.put(job)
        return answer

    def wait(self, answer: Future[Any], seconds: float, stop: Asked = lambda: False) -> bool:
        """Wait for an answer for at most `seconds`, or until `stop` returns true; returns whether it came."""
        end = time.monotonic() + seconds
        while not answer.done():
            if not self.node.context.ok():  # `stop` may use objects that no longer exist
                raise CancelledError("the node is shutting down")
            left = end - time.monotonic()
            if left <= 0 or stop():
                break
            with contextlib.suppress(Late):
                answer.exception(min(_LOOK, left))
        return answer.done()


def _first(answer: Future[Any], reply: Any) -> None:
    """Set an answer from a reply unless it is already set; runs on the executor's thread."""
    if answer.done():
        return
    error = reply.exception()
    if error is None:
        answer.set_result(reply.result())
    else:
        answer.set_exception(error)


class _Since:
    """Whether a condition has held for some seconds."""

    def __init__(self, condition: Callable[[], object], seconds: float) -> None:
        self._condition, self._seconds = condition, seconds
        self._begun: float | None = None

    def __call__(self) -> bool:
        if not self._condition():
            self._begun = None
            return False
        if self._begun is None:
            self._begun = time.monotonic()
        return time.monotonic() - self._begun > self._seconds


class Server:
    """A server of an action or a service, whether it is available, and whether it is the only one.

    Args:
        told: topics that each of its servers publishes.

    Attributes:
        dead: says why its process counts as dead, which the graph may list for 20 s more; "" if it does not.
    """

    def __init__(self, bridge: Bridge, name: str, remedy: str, ready: Callable[[], bool], told: Sequence[str]) -> None:
        self.dead: Callable[[], str] = str
        self.bridge, self.remedy, self.ready = bridge, remedy, ready
        self.name, self._told = name, told
        self._sources = Sources(partial(endpoints_of, bridge.node))
        self._seen = time.monotonic()

    def await_it(self, seconds: float, cancelled: Asked) -> None:
        """Wait until the server is available, and the only one."""
        nothing: Future[Any] = Future()
        self.bridge.wait(nothing, seconds, lambda: self.ready() or cancelled())
        if cancelled():
            raise CancelledError("the request was withdrawn")
        if not self.ready():
            raise self.lost(f"it was not available within {seconds:g} s")
        self._bind(TWICE, cancelled)

    def _bind(self, seconds: float, cancelled: Asked) -> None:
        """Bind the server, as soon as there are not two; SourceChangedError if that takes too long. See `gone` then."""
        end, said = time.monotonic() + seconds, not seconds
        while (twice := self._sources.begin(self._told)) and not cancelled():
            if time.monotonic() > end:
                raise twice[0]
            if not said:
                said, words = True, f"{twice[0].reason}; waiting {seconds:g} s at most for the graph to forget one"
                self.bridge.node.get_logger().warning(printable(words))
            self.bridge.wait(Future(), _LOOK)
        if cancelled():
            raise CancelledError("the request was withdrawn")
        self._seen = time.monotonic()

    def lost(self, why: str) -> PlannerUnavailableError:
        """It does not answer."""
        return PlannerUnavailableError(self.name, self.dead() or why, self.remedy, shown=self.name)

    def gone(self) -> bool:
        """Whether the server is dead, or has been missing for too long."""
        if self.ready():
            self._seen = time.monotonic()
        return bool(self.dead()) or time.monotonic() - self._seen > _GONE


class Service(Server):
    """Calls a service whose requests may be repeated."""

    def __init__(self, bridge: Bridge, form: Any, name: str, remedy: str) -> None:
        full = resolved_name(bridge.node, name)
        self._client = bridge.node.create_client(form, name, callback_group=bridge.group)
        super().__init__(bridge, full, remedy, self._client.service_is_ready, [replies_of(full)])

    def probe(self, request: Any) -> Future[Any]:
        """Send a request without waiting; the returned future may never complete."""
        return self.bridge.ask(lambda: self._client.call_async(request))

    def call(self, request: Any, seconds: float, cancelled: Asked = lambda: False) -> Any:
        """Send a request and wait for its response; SourceChangedError if more than one server may have sent it."""
        self._bind(0.0, cancelled)
        end = time.monotonic() + seconds
        answer: Future[Any] = Future()
        while time.monotonic() < end:
            self.bridge.ask(lambda: self._client.call_async(request)).add_done_callback(partial(_first, answer))
            patience = min(_AGAIN, end - time.monotonic())
            self.bridge.wait(answer, patience, lambda: cancelled() or self.gone())
            if changed := self._sources.changed(tuple):
                raise changed
            if answer.done():
                return answer.result()
            if cancelled():
                raise CancelledError("the request was withdrawn")
            if self.gone():
                raise self.lost("it disappeared during the request")
        raise self.lost(f"no response for {seconds:g} s")


class Action(Server):
    """Sends goals to an action and waits for their ends.

    A server that has not discovered its client yet drops its replies to it but still serves the goal. The state of a
    goal is therefore also read from the list of goals that every server publishes.

    Args:
        stop_timeout: seconds within which a cancelled goal has to end.
        before: called with the UUID of each goal before it is sent, on the executor's thread.
    """

    def __init__(
        self, bridge: Bridge, form: Any, name: str, remedy: str, stop_timeout: float,
        before: Callable[[bytes], None] | None = None,
    ) -> None:  # fmt: skip
        full = resolved_name(bridge.node, name)
        self._before = before
        self._client = ActionClient(bridge.node, form, name, callback_group=bridge.group, **qos.action_services())
        self._form, self._stop_timeout = form, stop_timeout
        self._states: dict[bytes, int] = {}  # states of all goals that the server lists, including ours
        told, profile = told_by_servers(full), qos_profile_action_status_default
        bridge.node.create_subscription(GoalStatusArray, told[0], self._on_states, profile, callback_group=bridge.group)
        super().__init__(bridge, full, remedy, self._client.server_is_ready, told)

    def run(
        self,
        goal: Any,
        seconds: float,
        patience: float,
        cancelled: Asked,
        twice: bool = False,
        feedback: Callable[[Any], None] | None = None,
        halt: Callable[[], None] = _nothing,
        check: Callable[[], None] = _nothing,
    ) -> GoalOutcome:
        """Send a goal and wait until it ends. If the caller gives up, cancel it and wait until it has ended.

        A goal and the request for its result reach every server of the action: SourceChangedError if there is another
        one than when the goal was sent, which is cancelled then, or two at first.

        Args:
            patience: seconds within which the server has to accept or reject it.
            twice: whether to send it again if no reply comes and the server does not list the goal. Use it only for
                goals that move nothing.
            feedback: called with each feedback message, on the executor's thread.
            halt: an additional way to stop; called when the goal is cancelled, repeatedly until it has ended.
            check: called on the executor's thread directly before the goal is sent; its exceptions are passed on.
        """
        self._bind(TWICE, cancelled)

        def send(goal_uuid: UUID) -> Any:
            if cancelled():  # while the job waited for the executor
                raise CancelledError("the request was withdrawn")
            check()
            return self._client.send_goal_async(goal, feedback, goal_uuid)

        handle = self._accepted(send, patience, cancelled, twice, halt)
        check_source = partial(self._check_source, handle, halt)
        if not handle.accepted:
            check_source()
            return GoalOutcome(accepted=False)
        result = self._result(handle, seconds, cancelled)
        check_source()
        if result.done():
            return GoalOutcome(True, result.result().status, result.result().result, cancelled())
        withdrawn = cancelled()
        gone = self.gone()
        silent = twice and not (gone or withdrawn)  # it moves nothing: its end is not worth waiting for
        if gone or silent:
            halt()
            self._stop_beside(handle, result, _nothing)  # a server that only hangs may still begin
        else:
            self._stop(handle, result, halt, lambda: bool(self.dead()))
            gone = not result.done() and bool(self.dead())
        check_source()
        if result.done() and withdrawn:
            return GoalOutcome(True, result.result().status, result.result().result, withdrawn=True)
        if gone:
            raise self.lost("it disappeared while it worked")
        if not (result.done() or silent):
            raise self.lost(f"it did not end within {self._stop_timeout:g} s after it was cancelled")
        raise self.lost(f"no result for {seconds:.1f} s; it was cancelled")

    def _check_source(self, handle: Any, halt: Callable[[], None]) -> None:
        """Raise if who says how a goal ended may be another server; the goal is cancelled then."""
        if changed := self._sources.changed(tuple):
            self.bridge.ask(handle.cancel_goal_async)
            halt()
            raise changed

    def _accepted(
        self, send: Callable[[UUID], Any], patience: float, cancelled: Asked, twice: bool, halt: Callable[[], None]
    ) -> Any:
        end, told, reply = time.monotonic() + patience, 0.0, self._form.Impl.SendGoalService.Response

        def stop() -> bool:
            nonlocal told
            if self.gone() or (twice and cancelled()):
                return True
            if not twice and cancelled() and time.monotonic() - told >= _CANCEL:
                told = time.monotonic()
                halt()  # it may have begun to move before its acceptance is known
            return False

        while True:
            name = UUID(uuid=list(os.urandom(16)))
            if self._before is not None:
                self.bridge.put(partial(self._before, bytes(name.uuid)))
            answer = self.bridge.ask(partial(send, name))
            wanted = min(_AGAIN if twice else patience, max(end - time.monotonic(), _LOOK))
            runs = _Since(partial(self._state, name), _REPLY)
            # A goal that may cause motion is awaited to the end: only an accepted goal can be stopped for certain.
            if self.bridge.wait(answer, wanted, lambda: runs() or stop()):  # noqa: B023
                return answer.result()
            if self._state(name):  # the reply is lost, but the server lists the goal
                return ClientGoalHandle(self._client, name, reply(accepted=True))
            unknown = ClientGoalHandle(self._client, name, reply(accepted=False))
            self.bridge.ask(unknown.cancel_goal_async)
            answer.add_done_callback(partial(self._end_late, halt))
            if twice and cancelled():  # otherwise it may have been accepted: the caller must keep it from moving
                raise CancelledError("the request was withdrawn")
            if self.gone():
                raise self.lost("it disappeared during the request")
            if not twice or time.monotonic() >= end:
                raise self.lost(f"it neither accepted nor rejected the goal within {patience:g} s")

    def _result(self, handle: Any, seconds: float, cancelled: Asked) -> Future[Any]:
        """The future with the result; not done if time ran out, the server has gone or the caller gave up.

        It has PlannerUnavailableError as exception if the server no longer knows the goal. If the result is requested
        several times, the first reply counts, however late: on a busy machine replies come late.
        """
        end = time.monotonic() + seconds
        result: Future[Any] = Future()

        def take(reply: Future[Any]) -> None:
            if reply.exception() is None and reply.result().status == GoalStatus.STATUS_UNKNOWN and not result.done():
                result.set_exception(self.lost("the goal has ended, and its result is no longer stored"))
            _first(result, reply)

        while True:
            over = _Since(lambda: self._state(handle.goal_id) >= GoalStatus.STATUS_SUCCEEDED, _AGAIN)
            self.bridge.ask(handle.get_result_async).add_done_callback(take)
            stop = lambda over=over: cancelled() or self.gone() or over()  # noqa: E731
            if self.bridge.wait(result, max(end - time.monotonic(), 0.0), stop) or not over():
                return result
            # The goal has ended without a result here: the result is late, or the server did not know this client yet.

    def _stop(self, handle: Any, result: Future[Any], halt: Callable[[], None], dead: Asked) -> None:
        end = time.monotonic() + self._stop_timeout
        while not result.done() and time.monotonic() < end and not dead():
            self.bridge.ask(handle.cancel_goal_async)
            halt()
            self.bridge.wait(result, min(_CANCEL, max(end - time.monotonic(), _LOOK)), dead)

    def _on_states(self, message: GoalStatusArray) -> None:
        self._states = {bytes(each.goal_info.goal_id.uuid): each.status for each in message.status_list}

    def _state(self, name: UUID) -> int:
        """State of a goal, as in action_msgs/GoalStatus; 0 if the server does not list it."""
        return self._states.get(bytes(name.uuid), 0)

    def _end_late(self, halt: Callable[[], None], answer: Future[Any]) -> None:
        """End a goal accepted after the caller stopped waiting; runs on the executor's thread, without limit."""
        if answer.exception() is None and answer.result().accepted:
            handle = answer.result()
            self._stop_beside(handle, self.bridge.ask(handle.get_result_async), halt)

    def _stop_beside(self, handle: Any, result: Future[Any], halt: Callable[[], None]) -> None:
        """Cancel a goal and wait for its end, on a thread of its own."""

        def end() -> None:
            with contextlib.suppress(CancelledError):  # the node shuts down
                self._stop(handle, result, halt, lambda: False)

        threading.Thread(target=end, name="late goal", daemon=True).start()

    def destroy(self) -> None:
        """Destroy the client; the node must not be spinning."""
        self._client.destroy()
