# SPDX-License-Identifier: Apache-2.0
"""Client of the action `resolve`: sends an instruction, reports progress, and returns the answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from spatial_vlm_interfaces.action import ResolveInstruction
from spatial_vlm_interfaces.msg import Resolution as ResolutionMessage
from spatial_vlm_interfaces.srv import Teach

from spatial_vlm_ros.errors import StaleInputError
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.calls import TWICE
from spatial_vlm_ros.nodes.client_node import Spinner, client_node
from spatial_vlm_ros.nodes.liveliness import endpoints_of
from spatial_vlm_ros.streams.sources import Sources, told_by_servers
from spatial_vlm_ros.types import Status

_GONE = 1.0  # s without the action's server
_LAST_WORDS = 1.0  # s to cancel a goal
_ACCEPTANCE = 5.0  # s: longer than any wait for a frame, so that a goal sent again finds the node free


@dataclass(frozen=True)
class AskOutcome:
    """How a goal ended: rejected (the node is inactive), or with an answer."""

    accepted: bool
    resolution: ResolutionMessage | None = None


class Asker:
    """Action client with its own node; `patience` in s, for the server and beyond its own timeouts."""

    def __init__(self, node: Node, action: str = "resolve", patience: float = 60.0) -> None:
        self._node, self._action, self._patience, self._spinner = node, action, patience, Spinner(node)
        self._seen = time.monotonic()  # when the server was last there
        self._goal: Any = None  # the reply to the goal that was sent last
        self._client = ActionClient(node, ResolveInstruction, action, **qos.action_services())
        self._sources = Sources(partial(endpoints_of, node))

    def wait_for_server(self, patience: float) -> None:
        """Wait until the action server is available."""
        if not self._spinner.until(self._client.server_is_ready, patience):
            name = self._node.resolve_service_name(self._action)
            raise StaleInputError(
                f"there was no action {name} within {patience:g} s",
                "start the resolver (ros2 launch spatial_vlm_ros spatial_vlm.launch.py, or spatial-vlm up sim), "
                "and check namespace and ROS_DOMAIN_ID",
            )

    def ask(
        self,
        instruction: str,
        frame_of_reference: str = "",
        dialogue_id: str = "",
        progress: Callable[[str], None] = lambda _: None,
    ) -> AskOutcome:
        """Send one goal and wait until it ends; an interrupt cancels the goal.

        SourceChangedError if the action has two servers, or another one than when the goal was sent.

        Args:
            frame_of_reference: "" = the node's default.
            dialogue_id: id of the question that this answers, or "".
        """
        goal = ResolveInstruction.Goal(
            instruction=instruction, frame_of_reference=frame_of_reference, dialogue_id=dialogue_id
        )

        told = ""

        def tell(message: Any) -> None:
            nonlocal told
            if message.feedback.message != told:
                told = message.feedback.message
                progress(told)

        def send() -> Any:
            self._goal = self._client.send_goal_async(goal, feedback_callback=tell)
            return self._goal

        topics = told_by_servers(self._node.resolve_service_name(self._action))
        self._spinner.until(lambda: not self._sources.begin(topics), TWICE)
        self._check_source()
        try:
            handle = self._reply(send)
            if not handle.accepted:
                return AskOutcome(accepted=False)
            answer = self._reply(handle.get_result_async).result.resolution
            self._check_source()
            return AskOutcome(True, answer)
        except KeyboardInterrupt:
            with contextlib.suppress(StaleInputError, ExternalShutdownException, KeyboardInterrupt):
                if self._goal is not None and self._done(self._goal, _LAST_WORDS) and self._goal.result().accepted:
                    self._done(self._goal.result().cancel_goal_async(), _LAST_WORDS)
            raise

    def _check_source(self) -> None:
        if changed := self._sources.changed(tuple):
            raise changed

    def teach(self, **shown: Any) -> Any:
        """The response of the service `teach` to a request with these fields."""
        client = self._node.create_client(Teach, "teach")
        if not self._spinner.until(client.service_is_ready, _ACCEPTANCE):
            raise StaleInputError(f"there is no {client.service_name}", "set the resolver's decision.taught to a file")
        return self._reply(lambda: client.call_async(Teach.Request(**shown)))

    def _reply(self, send: Callable[[], Any]) -> Any:
        """Send until a reply comes: a server that has not discovered this client yet drops its reply."""
        self._seen = time.monotonic()
        end = self._seen + self._patience
        while time.monotonic() < end:
            future = send()
            if self._done(future, min(_ACCEPTANCE, self._patience)):
                return future.result()
        reason = f"there was no reply from {self._action} for {self._patience:g} s"
        raise StaleInputError(reason, "check that the resolver is still running")

    def _done(self, future: Any, seconds: float) -> bool:
        """Wait for a future for at most `seconds`; returns whether it is done."""

        def done() -> bool:
            if future.done() or self._client.server_is_ready():
                self._seen = time.monotonic()
            elif time.monotonic() - self._seen > _GONE:
                raise StaleInputError(
                    f"the resolver disappeared during a request to {self._action}", "start the resolver again"
                )
            return bool(future.done())

        return self._spinner.until(done, seconds)

    def close(self) -> None:
        """Stop spinning; call it before the node is destroyed."""
        self._spinner.close()


@contextlib.contextmanager
def asker(namespace: str = "") -> Iterator[Asker]:
    """An Asker in its own ROS context; Ctrl-C reaches the caller as KeyboardInterrupt."""
    with client_node("spatial_vlm_ask", namespace, []) as node:
        made = Asker(node)
        try:
            yield made
        finally:
            made.close()


def refused(resolution: ResolutionMessage) -> bool:
    """Whether a message is a refusal. Status OK is not enough, for an empty message has it: an answer has a target."""
    return not resolution.target and resolution.status.name != Status.ANSWERED.name
