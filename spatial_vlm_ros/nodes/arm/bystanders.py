# SPDX-License-Identifier: Apache-2.0
"""Checks what a motion needs besides planner and controllers: its client, the resolver, and no second gate.

Programs of this package send heartbeats (`nodes/liveliness.py`) and are watched by them.
Other clients are watched in the ROS graph, where a killed process stays until its lease ends: 20 s by default in Fast
DDS.
"""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node

from spatial_vlm_ros.nodes.liveliness import LEAST, Alive, AliveWatch, ticks
from spatial_vlm_ros.nodes.process import MOST

_PERIOD = 0.04  # s between looks while a goal is served


class ClientWatch:
    """Notices that the client of a goal has gone. All methods are called on the executor's thread.

    rclpy does not tell a server who sent a request. A client's heartbeats on the action's topic `alive` may bear the
    name of its goal. For other clients only the subscriptions to the feedback are visible: the client counts as lost
    when all subscriptions that existed at acceptance are gone.

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
        self._alive, self._goal = AliveWatch(node, f"{action}/alive"), ""
        self._there: frozenset[bytes] = frozenset()
        self._timer = ticks(node, _PERIOD, self._look)

    def begin(self, goal: bytes) -> None:
        """Watch the client of a goal that has just been accepted, 16 bytes of its UUID."""
        self.end()
        self._there = self._subscribers()
        self._goal = goal.hex()
        self._timer.reset()

    def end(self) -> None:
        """Stop watching: the goal has ended."""
        self._timer.cancel()
        self._goal = ""

    @property
    def silent(self) -> bool:
        """Whether no sign of life of the client comes now; callable from any thread."""
        return bool(self._goal) and self._alive.silent(self._goal)

    def _subscribers(self) -> frozenset[bytes]:
        found = self._node.get_subscriptions_info_by_topic(self._feedback)
        return frozenset(bytes(info.endpoint_gid) for info in found)

    def _look(self) -> None:
        why = "has disconnected"
        if self._alive.seen(self._goal):
            why = self._alive.look(LEAST if self._moves() else MOST, self._goal)
            gone = bool(why)
        else:
            now = self._subscribers()
            self._there = self._there or now  # the request may come before its client is discovered
            gone = bool(self._there) and not self._there & now
        words = f"the client of the goal {why}" if gone else self._also()
        if words:
            self.end()
            self._lost(words)


class GateMark:
    """Announces that this gate commands an arm, and detects other gates that command it.

    The arm is known by the name of the action that executes. Two gates in different domains, or with different names
    for the same arm, do not see each other.

    Args:
        changed: called on the executor's thread when gates come or go.
    """

    def __init__(self, node: Node, execute_action: str, changed: Callable[[], None]) -> None:
        topic = f"{execute_action}/gate"
        self._mark = Alive(node, topic)
        self._watch = AliveWatch(node, topic, changed)

    def others(self) -> str:
        """Names of the other gates alive, as text for a message; "" if there is none."""
        names = self._watch.names(self._mark.text)
        return f"another gate commands this arm: {', '.join(names)}" if names else ""
