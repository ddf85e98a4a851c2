# SPDX-License-Identifier: Apache-2.0
"""Detects which processes are alive by heartbeats of their own, and names nodes of the ROS graph.

No event of the middleware is used: rmw_zenoh never sends one for liveliness. A process of this machine that has ended
or is suspended is known from the kernel at once, whatever its load. Of all others, and of what hangs, silence tells.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import rclpy.subscription
from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.timer import Timer
from std_msgs.msg import String

from spatial_vlm_ros.nodes.process import MOST, OtherProcess, Silence, stat_of, why_lost
from spatial_vlm_ros.streams.sources import STATIC_TF, TF, Sources, Twin, full_name, parts_of, told_by_servers, twins_of

PERIOD = 0.1  # s between heartbeats
LEAST = 0.4  # s of silence that count on an idle machine
_ENDS = "ended"
_DIGITS = 12  # of a process number, at most; Python refuses to read thousands
UNKNOWN = "a node of unknown name"
"""In the graph, until a node whose endpoints are discovered has said its name."""
_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)  # a reader that is suspended holds nobody up


def ticks(node: Node, seconds: float, job: Callable[[], None], group: CallbackGroup | None = None) -> Timer:
    """A timer that does not follow simulated time, and does not run yet."""
    timer = node.create_timer(seconds, job, group, Clock(clock_type=ClockType.STEADY_TIME))
    timer.cancel()
    return timer


def _here() -> str:
    """Names this machine since its start, and the process numbers that are valid here; "" = not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


class Alive:
    """Says on a topic that this process is alive. The executor does, so that a hang is silent, too.

    Attributes:
        name: what is alive, without blanks; the node's full name at first.
    """

    def __init__(self, node: Node, topic: str) -> None:
        self._node = node
        self.name, started = node.get_fully_qualified_name(), (stat_of(os.getpid()) or [""])[-1]
        self._who = f"{_here() or '-'} {os.getpid()} {started or '-'}"
        self._publisher = node.create_publisher(String, topic, _QOS)
        self._timer = ticks(node, PERIOD, lambda: self._say(self.text))
        self._timer.reset()

    def show(self, goal: bytes) -> None:
        """Take the name of a goal, 16 bytes of its UUID."""
        self.name = goal.hex()

    @property
    def text(self) -> str:
        """What its heartbeats say."""
        return f"{self.name} {self._who}"

    def end(self) -> None:
        """Say that it ends, and no more; call it on the executor's thread.

        The publisher goes with the node: a reader that loses its writer drops what it has not read.
        """
        self._timer.cancel()
        self._say(f"{self.text} {_ENDS}")

    def _say(self, text: str) -> None:
        if self._node.context.ok():
            self._publisher.publish(String(data=text))


class _Process:
    """A process that said that it is alive."""

    def __init__(self, where: str, number: str, started: str, now: float) -> None:
        self.at, self.silence, self.ended, self._kernel = now, Silence(LEAST), False, None
        if where == _here() and number.isdecimal() and len(number) < _DIGITS:
            kernel = OtherProcess(int(number), started)
            self._kernel = None if kernel.look() else kernel  # another user's process may be hidden

    def lost(self, now: float, least: float) -> str:
        """Why it counts as lost; "" if it does not."""
        return "has ended" if self.ended else why_lost(self.silence, self._kernel, now, least)


class AliveWatch:
    """The processes that say on a topic that they are alive. Callbacks and `look` run on the executor's thread.

    Args:
        changed: called when a process is heard for the first time.

    Attributes:
        lost: why the processes that there were count as lost, by the last look: "has ended"; "" if one is left.
    """

    def __init__(self, node: Node, topic: str, changed: Callable[[], None] = lambda: None) -> None:
        self.lost, self._changed = "", changed
        self._known: dict[str, _Process] = {}  # by the text of their heartbeats
        node.create_subscription(String, topic, self._on_beat, _QOS)

    def seen(self, name: str = "") -> bool:
        """Whether a process was heard, of this name if one is given."""
        return bool(self._named(name))

    def silent(self, name: str = "") -> bool:
        """Whether there was a process and no sign of life comes now; it may be alive. Callable from any thread."""
        known, since = self._named(name), time.monotonic() - 2.5 * PERIOD
        return bool(known) and all(process.at < since or process.ended for process in known)

    def look(self, least: float = LEAST, name: str = "") -> str:
        """`lost` as of now, after at least so many seconds of silence; call this often."""
        now = time.monotonic()
        why = [process.lost(now, least) for process in self._named(name)]
        # Of a name there is one process, and who joins it must not hide that it has ended.
        self.lost = next(filter(None, why), "") if name else why[-1] if all(why) and why else ""
        return self.lost

    def forget(self) -> None:
        """Forget processes of which nothing is heard any more."""
        now = time.monotonic()
        self._known = {
            text: each for text, each in list(self._known.items()) if each.at >= now - MOST and not each.lost(now, MOST)
        }

    def names(self, but: str = "") -> list[str]:
        """Names of the processes heard in the last second, without the one whose heartbeats say `but`."""
        since = time.monotonic() - 1.0
        known = list(self._known.items())
        return [text.partition(" ")[0] for text, each in known if text != but and each.at >= since and not each.ended]

    def _named(self, name: str) -> list[_Process]:
        return [each for text, each in list(self._known.items()) if not name or text.startswith(f"{name} ")]

    def _on_beat(self, message: String) -> None:
        words, now = message.data.split(" "), time.monotonic()
        if len(words) not in (4, 5):
            return
        text = " ".join(words[:4])
        known, self.lost = self._known.get(text), ""
        if known is None:  # what has just ended stays until it was looked at
            self._known = {each: process for each, process in self._known.items() if process.at >= now - MOST}
            known = self._known[text] = _Process(words[1], words[2], words[3], now)
            self._changed()
        known.silence.heard(now - known.at, now)
        known.at, known.ended = now, words[4:] == [_ENDS]


def twins_around(node: Node, topics: Iterable[str], own: str) -> list[Twin]:
    """Publishers, servers and nodes that exist twice although there should be one."""
    action = f"{own.rpartition('/')[0]}/resolve"
    mixed = [Twin(e.what, e.publishers, e.reason, e.repair) for e in Sources(partial(endpoints_of, node)).begin(topics)]
    servers = max((sorted(endpoints_of(node, topic).values()) for topic in told_by_servers(action)), key=len)
    nodes = [full_name(namespace, name) for name, namespace in node.get_node_names_and_namespaces()]
    return [*mixed, *twins_of(action, servers, nodes, own)]


def endpoints_of(node: Node, topic: str) -> dict[bytes, str]:
    """Gid of each publisher of a topic → full name of its node; "/tf" stands for /tf_static, too.

    A name without a slash before it is that of the middleware.
    """
    names = (TF, STATIC_TF) if topic == TF else (topic,)
    found = [info for n in names for info in node.get_publishers_info_by_topic(n, no_mangle=not n.startswith("/"))]
    named = {bytes(one.endpoint_gid).rstrip(b"\0"): full_name(one.node_namespace, one.node_name) for one in found}
    return {gid: UNKNOWN if "_NODE_NAME_UNKNOWN_" in name else name for gid, name in named.items()}


def clients_of(node: Node, service: str) -> list[str]:
    """Full names of the nodes with a client of a service; rclpy does not say which of them sent a request."""
    found = []
    for name, namespace in sorted({*node.get_node_names_and_namespaces()}):
        with contextlib.suppress(NodeNameNonExistentError, ValueError, RuntimeError):  # it has gone; its name is wrong
            if service in dict(node.get_client_names_and_types_by_node(name, namespace)):
                found.append(full_name(namespace, name))
    return found


def told_to(sources: Sources, topic: str, take: Callable[[Any], object]) -> Callable[..., None]:
    """A subscription's callback that tells `sources` who sent a message, and then takes it."""

    def told(message: Any, info: Any) -> None:
        sources.heard(TF if topic == STATIC_TF else topic, info, parts_of(topic, message))
        take(message)

    # rclpy before Iron gives no info.
    return told if hasattr(rclpy.subscription.Subscription, "CallbackType") else lambda message: told(message, None)
