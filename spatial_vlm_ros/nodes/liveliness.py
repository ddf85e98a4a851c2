# SPDX-License-Identifier: Apache-2.0
"""Who is alive, by DDS liveliness: noticed also where a process is killed, without a message of its own.

That takes `LEASE`, and 0.15 s more (`_SURE`), in which the watcher makes sure.

A participant that is killed stays in the ROS graph until its lease ends, 20 s by default in Fast DDS. A publisher with
liveliness AUTOMATIC is asserted by the middleware's own threads, so that neither a busy executor nor Python's lock
makes it lapse: it lapses when its process ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.duration import Duration
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import LivelinessPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Empty

LEASE = 0.3  # s
_OFFERED = 0.1  # s: rmw_fastrtps sends a sign of life every two thirds of it; four in a row may be lost within LEASE
_SURE = 0.15  # s for which nobody has to be there: virtual machines stop all threads of a processor for 0.3 s and more
_LOOKED = 0.06  # s: between two looks that are further apart this process was held up, and would not have heard a sign


def _qos(lease: float) -> QoSProfile:
    return QoSProfile(
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        liveliness=LivelinessPolicy.AUTOMATIC,
        liveliness_lease_duration=Duration(seconds=lease),
    )


class Alive:
    """Shows on a topic that this process lives. Nothing is published on it.

    Args:
        node: of the process.
        topic: that others watch.
    """

    def __init__(self, node: Node, topic: str) -> None:
        self._node = node
        self._publisher = node.create_publisher(Empty, topic, _qos(_OFFERED))

    def end(self) -> None:
        """Take it back; on the executor's thread."""
        self._node.destroy_publisher(self._publisher)


class AliveWatch:
    """Counts who is alive on a topic.

    Args:
        node: that an executor spins.
        topic: of an `Alive`.
        changed: called on the executor's thread when the count has changed.

    Attributes:
        count: processes that are alive now. Whether this one counts, where it has an `Alive` on the topic, is up to the
            middleware: Fast DDS 3 does not count it.
        seen: whether there was one.
    """

    def __init__(self, node: Node, topic: str, changed: Callable[[], None] = lambda: None) -> None:
        self.count, self.seen, self._changed, self._node = 0, False, changed, node
        self._empty = self._looked = 0.0  # s that nobody was there while this process looked; when it looked last
        self._silent = False  # whether the last one was not heard in time, and has not said that it ends
        self.topic = node.resolve_topic_name(topic)
        events = SubscriptionEventCallbacks(liveliness=self._on_change, use_default_callbacks=False)
        self._subscription = node.create_subscription(Empty, topic, _nothing, _qos(LEASE), event_callbacks=events)

    @property
    def lost(self) -> bool:
        """Whether there was one, and none is left, for certain; ask again and again."""
        before, self._looked = self._looked, time.monotonic()
        if not self.seen or self.count:
            return False
        self._empty += min(self._looked - before, _LOOKED)
        return not self._silent or self._empty >= _SURE

    def nodes(self) -> list[str]:
        """Full names of the nodes that publish on the topic, those that were killed not long ago included."""
        found = self._node.get_publishers_info_by_topic(self.topic)
        return sorted(f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in found)

    def end(self) -> None:
        """Watch no more; on the executor's thread."""
        self._node.destroy_subscription(self._subscription)

    def _on_change(self, info: Any) -> None:
        self.count, self.seen = int(info.alive_count), self.seen or info.alive_count > 0
        self._silent = info.not_alive_count > 0
        self._empty = 0.0
        self._changed()


def _nothing(_: Empty) -> None:
    """Nothing is published on these topics."""
