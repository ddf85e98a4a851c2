# SPDX-License-Identifier: Apache-2.0
"""Binds who publishes what a goal depends on, from its beginning to its end. No ROS.

A topic has one publisher. Of TF, joint states and latched texts, each frame, joint or text has one, or several that say
the same. The publisher of each message is known where the middleware names it; else the graph tells of new ones.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from spatial_vlm_ros.errors import SourceChangedError
from spatial_vlm_ros.types import ToldBy

TF = "/tf"
"""Name of what /tf and /tf_static tell together."""
_LONG, _GAPS = 1.0, 2.0  # s, and usual times between messages, after which a publisher that streams counts as gone
_AGAIN = "find out who publishes it, then send the instruction again"
_STOP = "stop the wrong one and restart the right one; a killed node stays in the graph for up to 20 s"

Key = tuple[str, str]
"""Topic, and the frame or joint that a message tells about; "" = the topic itself."""


@dataclass(frozen=True)
class _Claim:
    """The last message of a publisher: its latched value or None, when it came, and the usual time between two."""

    value: Hashable
    at: float
    gap: float


def transforms_told(message: Any, static: bool) -> dict[str, Hashable]:
    """Frames of a TFMessage, each with its pose in its parent if that is static, to 1e-6."""
    told: dict[str, Hashable] = {}
    for each in message.transforms:
        parts = (each.transform.translation, "xyz"), (each.transform.rotation, "xyzw")
        pose = tuple(round(getattr(part, axis), 6) for part, axes in parts for axis in axes)
        parent = each.header.frame_id.removeprefix("/")
        told[each.child_frame_id.removeprefix("/")] = (parent, pose) if static else None
    return told


class Sources:
    """Publishers of a goal's inputs, compared with those when it began; safe to use from several threads.

    Args:
        publishers: topic → gid of each publisher in the graph now → full name of its node.
        steady: more topics to which no publisher may come; each may tell about other joints, or is not heard here.

    Attributes:
        told_by: what tells publishers apart: "messages", or the "graph" where the middleware names none of a message.
        last: the last change, as text; "" = none.
    """

    def __init__(self, publishers: Callable[[str], Mapping[bytes, str]], steady: Collection[str] = ()) -> None:
        self._publishers, self._steady, self._lock = publishers, tuple(steady), Lock()
        self._one: tuple[str, ...] = ()
        self._claims: dict[Key, dict[bytes, _Claim]] = {}
        self._bound: dict[Key, tuple[set[bytes], Hashable]] = {}
        self._there: dict[str, dict[bytes, str]] = {}  # the graph when the goal began
        self._found: dict[Key, SourceChangedError] = {}
        self._matches = self._begun = False
        self.told_by: ToldBy = "graph"
        self.last = ""

    def heard(self, topic: str, info: Any, parts: Mapping[str, Hashable]) -> None:
        """Take note of a message.

        Args:
            info: rclpy's MessageInfo, or None.
            parts: what it tells about, "" for the topic → latched value, None for a stream.
        """
        gid = bytes(((info or {}).get("publisher_gid") or {}).get("data", b"")).rstrip(b"\0")
        now, changed = time.monotonic(), set[str]()
        with self._lock:
            self.told_by = "messages" if gid else "graph"
            for part, value in parts.items():
                claims = self._claims.setdefault((topic, part), {})
                last = claims.pop(gid, None)  # the newest is the last
                gap = math.inf if last is None else max(now - last.at, 0.5 * last.gap if last.gap < math.inf else 0.0)
                claims[gid] = _Claim(value, now, gap)
                if self._begun:
                    gids, was = self._bound.setdefault((topic, part), ({gid}, value))
                    if value != was or (value is None and gid and gid not in gids):
                        changed.add(part)
        for part in changed:
            self._note((topic, part), gid)

    def begin(self, one: Iterable[str]) -> None:
        """Bind the publishers that there are now; each topic of `one` must have one publisher."""
        self._one = tuple(one)
        graph = {topic: dict(self._publishers(topic)) for topic in (TF, *self._one, *self._steady)}
        now, twins = time.monotonic(), list[tuple[Key, set[bytes]]]()
        with self._lock:
            self._there, self._found, self._bound, self._begun = graph, {}, {}, True
            for (topic, _), claims in self._claims.items():
                self._matches |= not claims.keys().isdisjoint(graph.get(topic, ()))
            for key in [key for key in self._claims if key[0] in graph]:
                claims, there = self._claims[key], graph[key[0]]
                newest = next(reversed(claims))
                alive = {gid for gid, claim in claims.items() if self._alive(gid, claim, there, now)}
                if claims[newest].value is not None:  # what is latched holds until another one says something else
                    alive.add(newest)
                for gid in claims.keys() - alive - there.keys():
                    del claims[gid]
                if not claims:
                    del self._claims[key]
                if not alive:
                    continue
                values = {claims[gid].value for gid in alive}
                self._bound[key] = alive, claims[next(reversed(claims))].value
                if len(values) > 1 or (None in values and len(alive) > 1):
                    twins.append((key, alive))
            for topic in self._one:
                claims = self._claims.get((topic, ""), {})
                dead = {gid for gid in claims if not self._alive(gid, claims[gid], graph[topic], now)}
                live = graph[topic].keys() - dead
                if live and self._matches:
                    self._bound[topic, ""] = live, None
                if len(live) > 1:
                    twins.append(((topic, ""), live))
        for key, live in twins:
            names = sorted(graph[key[0]].get(gid, "a node that has gone") for gid in live)
            happened = f"has {len(names)} publishers: {', '.join(names)}; their messages are mixed"
            self._found[key] = SourceChangedError(_named(key), tuple(names), happened, _STOP)

    def check(self, frames: Callable[[], Collection[str]], look: bool = True) -> None:
        """Raise SourceChangedError for the first change since `begin`.

        Args:
            frames: returns the frames of TF that matter.
            look: whether to look for publishers that have said nothing yet, too.
        """
        for topic in (*self._one, *self._steady) if look else ():
            before, now = self._there.get(topic, {}), self._publishers(topic)
            new = now.keys() - before.keys()
            if new and not before and len(new) == 1:
                self._there[topic] = dict(now)  # the first one
            elif new:
                self._note((topic, ""), next(iter(new)))
        with self._lock:
            for key, error in self._found.items():
                if key[0] != TF or key[1] in frames():
                    self.last = error.reason
                    raise error

    def _alive(self, gid: bytes, claim: _Claim, there: Mapping[bytes, str], now: float) -> bool:
        silent = claim.value is None and now - claim.at > _LONG + _GAPS * claim.gap
        return not silent and (gid in there or not self._matches)

    def _note(self, key: Key, gid: bytes) -> None:
        if key in self._found:
            return
        old = self._there.get(key[0], {})
        bound = self._bound.get(key, (set[bytes](), None))[0] & old.keys()
        was = sorted({old[each] for each in bound or old})
        new = {**old, **self._publishers(key[0])}.get(gid, f"a publisher with the gid {gid.hex() or 'unknown'}")
        happened = f"now comes from {new}; when the goal began, it came from {', '.join(was) or 'nobody'}"
        with self._lock:
            self._found.setdefault(key, SourceChangedError(_named(key), (*was, new), happened, _AGAIN))


def _named(key: Key) -> str:
    return f"{key[1]!r} on {key[0]}" if key[1] else key[0]
