# SPDX-License-Identifier: Apache-2.0
"""Binds who publishes what a goal depends on, from its beginning to its end; finds what exists twice. No ROS.

A topic has one publisher. Of TF and latched texts, each frame or text has one, or several that say the same. The
publisher of each message is known where the middleware names it; else the graph tells of new ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from spatial_vlm_ros.errors import SourceChangedError

TF, STATIC_TF = "/tf", "/tf_static"
"""The first stands for what both tell together."""
STATUS = "/_action/status"
"""Ends the topic that each server of an action publishes."""
_GONE = 2.0  # s of silence after which a publisher that streams counts as gone: the graph keeps killed nodes for longer
_AGAIN = "find out who publishes it, then send the instruction again"
_STOP = "stop the wrong one and restart the right one; a killed node stays in the graph for up to 20 s"

Key = tuple[str, str]
"""Topic, and the frame that a message tells about; "" = the topic itself."""


def parts_of(topic: str, message: Any) -> dict[str, Hashable]:
    """Frames that a message tells about, or "" for its topic → what holds until it is told anew; None for a stream."""
    if topic not in (TF, STATIC_TF):
        text = getattr(message, "data", None)
        return {"": text if isinstance(text, str) else None}
    told: dict[str, Hashable] = {}
    for each in message.transforms:
        at, turned = each.transform.translation, each.transform.rotation
        pose = at.x, at.y, at.z, turned.x, turned.y, turned.z, turned.w
        held = (each.header.frame_id, *(round(number, 6) for number in pose)) if topic == STATIC_TF else None
        told[each.child_frame_id.removeprefix("/")] = held
    return told


def replies_of(service: str) -> str:
    """Topic on which the servers of a service reply, as DDS names it; other middlewares have no such topic."""
    return f"rr{service}Reply"


def told_by_servers(action: str) -> list[str]:
    """Topics that a server of an action publishes; one alone is enough to answer for it."""
    return [f"{action}{STATUS}", *(replies_of(f"{action}/_action/{end}") for end in ("send_goal", "get_result"))]


def _served(topic: str) -> str:
    """Name of the action or service whose servers publish a topic; "" if it is of neither."""
    if topic.startswith("/"):
        return topic.removesuffix(STATUS) if topic.endswith(STATUS) else ""
    return topic.removeprefix("rr").removesuffix("Reply").partition("/_action/")[0]


def clock_set_back() -> SourceChangedError:
    """What ends that for which time went on."""
    return SourceChangedError("the clock", (), "was set back", "send the instruction again")


class Sources:
    """Publishers of a goal's inputs, compared with those when it began; safe to use from several threads.

    Args:
        publishers: topic → gid of each publisher in the graph now → full name of its node.
        steady: more topics to which no publisher may come.

    Attributes:
        names_messages: whether the middleware names the publisher of a message as the graph does.
        last: the last change, as text; "" = none.
    """

    def __init__(self, publishers: Callable[[str], Mapping[bytes, str]], steady: Collection[str] = ()) -> None:
        self._publishers, self._steady, self._lock = publishers, tuple(steady), Lock()
        self._one: tuple[str, ...] = ()
        self._said: dict[Key, dict[bytes, tuple[Hashable, float]]] = {}  # last value of each publisher and its time
        self._bound: dict[Key, tuple[set[bytes], Hashable]] = {}
        self._there: dict[str, Mapping[bytes, str]] = {}  # the graph when the goal began
        self._found: dict[Key, SourceChangedError] = {}
        self.names_messages, self.last = False, ""

    def heard(self, topic: str, info: Any, parts: Mapping[str, Hashable]) -> None:
        """Take note of a message.

        Args:
            info: rclpy's MessageInfo, or None.
            parts: what it tells about, "" for the topic → latched value, None for a stream.
        """
        gid = bytes(((info or {}).get("publisher_gid") or {}).get("data", b"")).rstrip(b"\0")
        with self._lock:
            for part, value in parts.items():
                key = topic, part
                said = self._said.setdefault(key, {})
                said.pop(gid, None)
                said[gid] = value, time.monotonic()  # the newest is the last
                gids, was = self._bound.setdefault(key, ({gid}, value))
                if value != was or (value is None and gid and gid not in gids):
                    self._note(key, gid)

    def told(self, change: SourceChangedError) -> None:
        """Take note of a change that no message of a bound topic shows."""
        with self._lock:
            self._found.setdefault((change.what, ""), change)

    def begin(self, one: Iterable[str] = ()) -> list[SourceChangedError]:
        """Bind the publishers that there are now; returns what has more than one, of the topics `one` and of TF."""
        self._one = tuple(one)
        there = {topic: self._publishers(topic) for topic in (TF, *self._one, *self._steady)}
        with self._lock:
            self._there, self._found, self._bound = there, {}, {}
            self.names_messages |= any(there.get(key[0], {}).keys() & said for key, said in self._said.items())
            for key in {**dict.fromkeys((topic, "") for topic in self._one), **self._said}:
                self._bind(key, there.get(key[0], {}), self._said.setdefault(key, {}))
            self._said = {key: said for key, said in self._said.items() if said}
            return list(self._found.values())

    def _bind(self, key: Key, names: Mapping[bytes, str], said: dict[bytes, tuple[Hashable, float]]) -> None:
        late = time.monotonic() - _GONE
        there = names.keys() if key[0] in self._one else names.keys() & said
        live = {gid for gid in there if gid not in said or said[gid][0] is not None or said[gid][1] > late}
        newest = next(reversed(said), b"")
        value = said[newest][0] if said else None
        others = said.keys() & names
        if value is not None or (not live and newest in there):  # what is latched holds until another one says it anew
            live.add(newest)
        elif key[0] == TF and newest and newest not in names and others:  # a static frame that a node moved, and left
            live |= {newest, *others}
        for gid in said.keys() - live - names.keys():
            del said[gid]
        if live and (self.names_messages or value is not None):
            self._bound[key] = live, value
        if len(live) > 1 and (value is None or len({said[gid][0] for gid in live}) > 1):
            who = sorted(names.get(gid, "a node that has gone") for gid in live)
            what, so = "publishers", "their messages are mixed"
            if _served(key[0]):
                what, so = "servers", "a request reaches all of them"
            happened = f"has {len(who)} {what}: {', '.join(who)}; {so}"
            self._found[key] = SourceChangedError(_named(key), tuple(who), happened, _STOP)

    def changed(self, frames: Callable[[], Collection[str]], look: bool = True) -> SourceChangedError | None:
        """The first change since `begin`.

        Args:
            frames: returns the frames of TF that matter.
            look: whether to look for publishers that have said nothing yet, too.
        """
        with self._lock:
            for topic in (*self._one, *self._steady) if look else ():
                now = self._publishers(topic)
                before = self._there[topic] = self._there[topic] or now  # the first one may come later
                for gid in now.keys() - before.keys():
                    self._note((topic, ""), gid)
            for key, error in self._found.items():
                if key[0] != TF or key[1] in frames():
                    self.last = error.reason
                    return error
        return None

    def _note(self, key: Key, gid: bytes) -> None:
        if key not in self._found:
            old, bound = self._there.get(key[0], {}), self._bound.get(key, (set[bytes](), None))[0]
            was = sorted({name for each, name in old.items() if each in bound} or {*old.values()})
            new = {**old, **self._publishers(key[0])}.get(gid, f"a publisher with the gid {gid.hex() or 'unknown'}")
            happened = f"now comes from {new}; when the goal began, it came from {', '.join(was) or 'nobody'}"
            self._found[key] = SourceChangedError(_named(key), (*was, new), happened, _AGAIN)


def _named(key: Key) -> str:
    return f"{key[1]!r} on {key[0]}" if key[1] else _served(key[0]) or key[0]


@dataclass(frozen=True)
class Twin:
    """Something that must exist once but exists more than once."""

    where: str
    who: tuple[str, ...]  # full names of the nodes, sorted; a name is repeated as often as it occurs
    found: str
    repair: str


def twins_of(action: str, servers: Sequence[str], nodes: Sequence[str], own: str) -> list[Twin]:
    """Find what exists twice but should exist once: servers of an action, then the name of the resolver.

    Args:
        servers: full name of the node of each.
        nodes: full names of all nodes, one entry for each in `Node.get_node_names_and_namespaces`.
    """
    found = []
    if len(servers) > 1:
        words = f"there are {len(servers)} servers of {action}: {', '.join(servers)}; a goal reaches all of them"
        found.append(Twin(action, tuple(servers), words, "stop all but one, or start each in its own namespace"))
    if (same := nodes.count(own)) > 1:
        words = f"{same} nodes are named {own}; parameters, lifecycle calls and goals can reach any of them"
        repair = "stop all but one, or start each in its own namespace (namespace:=NAME)"
        found.append(Twin(own, (own,) * same, words, repair))
    return found


def full_name(namespace: str, name: str) -> str:
    """Full name of a node from its namespace, such as "/" or "/left", and its name."""
    return f"{namespace.rstrip('/')}/{name}"
