# SPDX-License-Identifier: Apache-2.0
"""Detects which processes are alive by DDS liveliness, without messages, and names nodes of the ROS graph.

Detection takes `LEASE` and 0.15 s more (`SURE`), in which the watcher makes sure; with `patient`, `LEASE` and 1 s on a
machine that lacks CPU time. A watcher may ask for longer (`AliveWatch.lost`).

A killed participant stays in the ROS graph until its lease ends, by default 20 s in Fast DDS. The middleware's own
threads assert a publisher with liveliness AUTOMATIC, so neither a busy executor nor Python's lock makes it lapse: it
lapses when its process ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from rclpy.duration import Duration
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import LivelinessPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Empty

from spatial_vlm_ros.nodes.process import Pressure
from spatial_vlm_ros.streams.twins import Twin, full_name, twins_of

LEASE = 0.3  # s
_OFFERED = 0.1  # s: rmw_fastrtps sends a sign of life every two thirds of it; four in a row may be lost within LEASE
SURE = 0.15  # s without any process before it counts: virtual machines pause all threads of a CPU for 0.3 s and more
_LOOKED = 0.06  # s: if two checks are further apart, this process was delayed and would have missed a sign of life


def _qos(lease: float) -> QoSProfile:
    return QoSProfile(
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        liveliness=LivelinessPolicy.AUTOMATIC,
        liveliness_lease_duration=Duration(seconds=lease),
    )


class Alive:
    """Announces on a topic that this process is alive. Nothing is published on it."""

    def __init__(self, node: Node, topic: str) -> None:
        self._node = node
        self._publisher = node.create_publisher(Empty, topic, _qos(_OFFERED))

    def end(self) -> None:
        """Stop announcing; call it on the executor's thread."""
        self._node.destroy_publisher(self._publisher)


class AliveWatch:
    """Counts the processes that are alive on a topic.

    Args:
        changed: called on the executor's thread when the count changes.

    Attributes:
        count: processes that are alive now. Whether it includes this process's own `Alive` depends on the middleware:
            Fast DDS 3 does not count it.
    """

    def __init__(
        self, node: Node, topic: str, changed: Callable[[], None] = lambda: None, *, patient: bool = False
    ) -> None:
        self.count, self.seen, self._changed, self._node = 0, False, changed, node
        self._pressure = Pressure() if patient else None
        self._empty = self._looked = 0.0  # s without any process while this one looked; when it looked last
        self._silent = False  # whether the last process went silent without announcing its end
        self.topic = node.resolve_topic_name(topic)
        events = SubscriptionEventCallbacks(liveliness=self._on_change, use_default_callbacks=False)
        self._subscription = node.create_subscription(Empty, topic, lambda _: None, _qos(LEASE), event_callbacks=events)

    @property
    def silent(self) -> bool:
        """Whether there was a process and no sign of life comes now; it may still count as alive."""
        return self.seen and not self.count

    def lost(self, least: float = SURE) -> bool:
        """Whether there was a process and certainly none is left; call this repeatedly.

        Args:
            least: seconds of silence after `LEASE` from which the process counts as lost.
        """
        before, self._looked = self._looked, time.monotonic()
        if not self.seen or self.count:
            if self._pressure is not None:
                self._pressure.mark(after=LEASE)
            return False
        self._empty += min(self._looked - before, _LOOKED)
        sure = least if self._pressure is None else self._pressure.patience(least)
        return not self._silent or self._empty >= sure

    def forget(self) -> None:
        """Forget processes if none is left in the ROS graph; a killed one stays there until its lease ends."""
        if not self.count and not self.nodes():
            self.seen = False

    def nodes(self) -> list[str]:
        """Full names of the nodes that publish on the topic, including recently killed ones."""
        return sorted(publishers_of(self._node, self.topic))

    def end(self) -> None:
        """Stop watching; call it on the executor's thread."""
        self._node.destroy_subscription(self._subscription)

    def _on_change(self, info: Any) -> None:
        self.count, self.seen = int(info.alive_count), self.seen or info.alive_count > 0
        self._silent = info.not_alive_count > 0
        self._empty = 0.0
        self._changed()


def twins_around(node: Node, topics: Iterable[str], own: str) -> list[Twin]:
    """Publishers, servers and nodes that exist twice although there should be one."""
    action = f"{own.rpartition('/')[0]}/resolve"
    publishers = {topic: publishers_of(node, topic) for topic in topics}
    servers = {action: publishers_of(node, f"{action}/_action/status")}
    return twins_of(publishers, servers, nodes_of(node), own)


def publishers_of(node: Node, topic: str) -> list[str]:
    """Full names of the nodes that publish a topic, one entry for each publisher."""
    return [full_name(info.node_namespace, info.node_name) for info in node.get_publishers_info_by_topic(topic)]


def nodes_of(node: Node) -> list[str]:
    """Full names of all nodes, one entry for each."""
    return [full_name(namespace, name) for name, namespace in node.get_node_names_and_namespaces()]
