# SPDX-License-Identifier: Apache-2.0
"""Checks what a motion needs besides planner and controllers: its client, the resolver, and no second gate.

Programs of this package announce themselves by DDS liveliness (`nodes/liveliness.py`) and are watched by it.
Other clients are watched in the ROS graph, where a killed process stays until its lease ends: 20 s by default in Fast
DDS.
"""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node

from spatial_vlm_ros.nodes.liveliness import SURE, Alive, AliveWatch

_PERIOD = 0.04  # s between looks while a goal is served
_BEFORE = 1.0  # s of silence after the lease from which a client counts as lost, as long as nothing moves


def alive_topic(action: str, goal: bytes) -> str:
    """Name of the topic on which the client of a goal shows that it is alive.

    Args:
        goal: 16 bytes of the goal's UUID.
    """
    return f"{action}/alive/g{goal.hex()}"


class ClientWatch:
    """Notices that the client of a goal has gone. All methods are called on the executor's thread.

    rclpy does not tell a server who sent a request. A client that announces itself on the goal's topic is identified by
    that topic. For other clients only the subscriptions to the feedback are visible: the client counts as lost when all
    subscriptions that existed at acceptance are gone.

    Args:
        moves: whether the goal's motion has begun. Until then a late sign of life is waited for: nothing can be hit.
        also: returns a message if something else that is needed has gone, otherwise "".
    """

    def __init__(
        self,
        node: Node,
        action: str,
        lost: Callable[[str], None],
        moves: Callable[[], bool],
        also: Callable[[], str] = lambda: "",
    ) -> None:
        self._node, self._action, self._lost, self._moves, self._also = node, action, lost, moves, also
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
        """Stop watching: the goal has ended."""
        self._timer.cancel()
        if self._alive is not None:
            self._alive.end()
            self._alive = None

    @property
    def silent(self) -> bool:
        """Whether no sign of life of the client comes now; callable from any thread."""
        alive = self._alive
        return alive is not None and alive.silent

    def _subscribers(self) -> frozenset[bytes]:
        found = self._node.get_subscriptions_info_by_topic(self._feedback)
        return frozenset(bytes(info.endpoint_gid) for info in found)

    def _look(self) -> None:
        if self._alive is None:
            return
        if self._alive.seen:
            gone = self._alive.lost(SURE if self._moves() else _BEFORE)
        else:
            now = self._subscribers()
            self._there = self._there or now  # the request may come before its client is discovered
            gone = bool(self._there) and not self._there & now
        words = "the client of the goal has disconnected" if gone else self._also()
        if words:
            self.end()
            self._lost(words)


class GateMark:
    """Announces that this gate commands an arm, and detects other gates that command it.

    The arm is known by the name of the action that executes. Two gates in different domains, or with different names
    for the same arm, do not see each other.

    Args:
        execute_action: full name of the action that executes trajectories.
        changed: called on the executor's thread when gates come or go.
    """

    def __init__(self, node: Node, execute_action: str, changed: Callable[[], None]) -> None:
        topic = f"{execute_action}/gate"
        self._own = f"{node.get_namespace().rstrip('/')}/{node.get_name()}"
        self._watch = AliveWatch(node, topic, changed)
        self._mark = Alive(node, topic)

    @property
    def others(self) -> int:
        """Number of other gates alive. If the middleware also counts this gate, the ROS graph corrects the number."""
        return max(min(self._watch.count, len(self._watch.nodes()) - 1), 0)

    def words(self) -> str:
        """Names of the other gates, as text for a message."""
        names = [name for name in self._watch.nodes() if "_UNKNOWN_" not in name]
        if self._own in names:
            names.remove(self._own)
        return f"another gate commands this arm: {', '.join(names) or 'name unknown'}"
