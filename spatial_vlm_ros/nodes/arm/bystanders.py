# SPDX-License-Identifier: Apache-2.0
"""Whom a motion needs beside planner and controllers: the client that asked for it, the resolver, no second gate.

Each is watched by DDS liveliness (`nodes/liveliness.py`) where it shows itself so, as the programs of this package do.
A client of somebody else's is watched in the ROS graph, where one that is killed stays until its lease ends: 20 s by
default in Fast DDS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node

from spatial_vlm_ros.nodes.liveliness import Alive, AliveWatch

_PERIOD = 0.04  # s between looks while a goal is served


def alive_topic(action: str, goal: bytes) -> str:
    """Topic on which the client of a goal shows that it lives.

    Args:
        action: name of the action.
        goal: 16 bytes of the goal's UUID.
    """
    return f"{action}/alive/g{goal.hex()}"


class ClientWatch:
    """Notices that the client of a goal has gone. All methods are called on the executor's thread.

    rclpy does not tell a server who sent a request. A client that shows itself on the goal's topic is known by that.
    Of others only their subscriptions to the feedback are seen: the client counts as lost when all of those that were
    there when the goal was accepted have gone.

    Args:
        node: of the server; make this before it spins.
        action: its name.
        lost: called once with words, when the client has gone, or what else is needed.
        also: whether something else that is needed has gone, in words; "" where nothing has.
    """

    def __init__(
        self, node: Node, action: str, lost: Callable[[str], None], also: Callable[[], str] = lambda: ""
    ) -> None:
        self._node, self._action, self._lost, self._also = node, action, lost, also
        self._feedback = node.resolve_topic_name(f"{action}/_action/feedback")
        self._alive: AliveWatch | None = None
        self._there: frozenset[bytes] = frozenset()
        self._timer = node.create_timer(_PERIOD, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._timer.cancel()

    def begin(self, goal: bytes) -> None:
        """Watch the client of a goal that has just been accepted, 16 bytes of its UUID."""
        self.end()
        self._there = self._subscribers()
        self._alive = AliveWatch(self._node, alive_topic(self._action, goal))
        self._timer.reset()

    def end(self) -> None:
        """The goal is over."""
        self._timer.cancel()
        if self._alive is not None:
            self._alive.end()
            self._alive = None

    def _subscribers(self) -> frozenset[bytes]:
        found = self._node.get_subscriptions_info_by_topic(self._feedback)
        return frozenset(bytes(info.endpoint_gid) for info in found)

    def _look(self) -> None:
        if self._alive is None:
            return
        if self._alive.seen:
            gone = self._alive.lost
        else:
            now = self._subscribers()
            self._there = self._there or now  # the request may come before its client is discovered
            gone = bool(self._there) and not self._there & now
        words = "the client of the goal has disconnected" if gone else self._also()
        if words:
            self.end()
            self._lost(words)


class GateMark:
    """Shows that a gate commands an arm, and notices another gate that does.

    The arm is known by the name of the action that executes. Two gates in different domains, or with different names
    for the same arm, do not see each other.

    Args:
        node: of the gate; make this before it spins.
        execute_action: in full.
        changed: called on the executor's thread when gates come or go.
    """

    def __init__(self, node: Node, execute_action: str, changed: Callable[[], None]) -> None:
        topic = f"{execute_action}/gate"
        self._own = f"{node.get_namespace().rstrip('/')}/{node.get_name()}"
        self._watch = AliveWatch(node, topic, changed)
        self._mark = Alive(node, topic)

    @property
    def others(self) -> int:
        """Other gates that live. Fast DDS does not count this one; where a middleware does, the graph corrects it."""
        return max(min(self._watch.count, len(self._watch.nodes()) - 1), 0)

    def words(self) -> str:
        """Who they are."""
        names = [name for name in self._watch.nodes() if "_UNKNOWN_" not in name]
        if self._own in names:
            names.remove(self._own)
        return f"another gate commands this arm: {', '.join(names) or 'name unknown'}"


def goal_bytes(handle: Any) -> bytes:
    """16 bytes of the UUID of a goal handle."""
    return bytes(handle.goal_id.uuid)
