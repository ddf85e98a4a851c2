# SPDX-License-Identifier: Apache-2.0
"""Match messages of several streams that belong to one moment.

Uses stamps only, not the content of messages. Stamps are nanoseconds.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_GAPS = 31  # number of gaps between the last messages that give a stream's period
RESTART = 1_000_000_000  # ns: a stamp this far before the newest one is not a late message but a restarted stream


@dataclass(frozen=True, eq=False)
class MatchedMessages:
    """One message of each stream."""

    stamp_ns: int  # of the pivot's message
    messages: Mapping[str, Any]
    stamps: Mapping[str, int]  # stream → its message's stamp, nanoseconds
    arrivals: Mapping[str, int] = field(default_factory=dict)  # stream → arrival of its message, nanoseconds


class Stream:
    """The last messages of one stream, in the order of their stamps."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._stamps: list[int] = []
        self._messages: list[Any] = []
        self._arrivals: list[int] = []
        self.received = self.repeated = self.restarts = self.missed = 0
        self.newest_ns: int | None = None
        self.period_ns: int | None = None
        self._dropped_ns: int | None = None  # stamp of the message used last
        self._gaps: deque[int] = deque(maxlen=_GAPS)

    def add(self, stamp_ns: int, message: Any, arrival_ns: int = 0) -> bool:
        """Keep a message with its arrival (ns); False if it repeats a stamp and is ignored."""
        self.received += 1
        if self.newest_ns is not None and stamp_ns < self.newest_ns - RESTART:
            self.restarts += 1
            self.clear()
        at = bisect.bisect_left(self._stamps, stamp_ns)
        if stamp_ns == self._dropped_ns or (at < len(self._stamps) and self._stamps[at] == stamp_ns):
            self.repeated += 1
            return False
        if self.newest_ns is not None and stamp_ns > self.newest_ns:
            gap = stamp_ns - self.newest_ns
            if self.period_ns is not None and gap > 1.5 * self.period_ns:
                self.missed += round(gap / self.period_ns) - 1
            self._gaps.append(gap)
            self.period_ns = sorted(self._gaps)[len(self._gaps) // 2]
        self.newest_ns = stamp_ns if self.newest_ns is None else max(self.newest_ns, stamp_ns)
        self._stamps.insert(at, stamp_ns)
        self._messages.insert(at, message)
        self._arrivals.insert(at, arrival_ns)
        if len(self._stamps) > self._size:
            self._drop(1)
        return True

    def clear(self) -> None:
        """Forget the messages; the counts stay."""
        self._stamps.clear()
        self._messages.clear()
        self._arrivals.clear()
        self._gaps.clear()
        self.newest_ns = self.period_ns = self._dropped_ns = None

    def nearest(self, stamp_ns: int) -> tuple[int, Any] | None:
        """Stamp and message nearest to a stamp; None if no message is kept."""
        at = bisect.bisect_left(self._stamps, stamp_ns)
        near = min(range(max(0, at - 1), min(len(self._stamps), at + 1)), default=None,
                   key=lambda i: abs(self._stamps[i] - stamp_ns))  # fmt: skip
        return None if near is None else (self._stamps[near], self._messages[near])

    def at(self, stamp_ns: int) -> Any | None:
        """The message with exactly that stamp, or None."""
        found = self.nearest(stamp_ns)
        return found[1] if found is not None and found[0] == stamp_ns else None

    def before(self, stamp_ns: int) -> Any | None:
        """The last message with an earlier stamp, or None."""
        at = bisect.bisect_left(self._stamps, stamp_ns)
        return self._messages[at - 1] if at else None

    def between(self, first_ns: int, last_ns: int) -> list[Any]:
        """The messages with stamps from the first to the last, both included."""
        return self._messages[bisect.bisect_left(self._stamps, first_ns) : bisect.bisect_right(self._stamps, last_ns)]

    def drop_until(self, stamp_ns: int) -> None:
        """Forget the messages up to and including a stamp."""
        at = bisect.bisect_right(self._stamps, stamp_ns)
        self._dropped_ns = self._stamps[at - 1] if at else self._dropped_ns
        self._drop(at)

    def _drop(self, count: int) -> None:
        del self._stamps[:count], self._messages[:count], self._arrivals[:count]

    def arrival_of(self, stamp_ns: int) -> int:
        """Arrival of the kept message with exactly that stamp, nanoseconds."""
        return self._arrivals[self._stamps.index(stamp_ns)]

    def all(self) -> list[tuple[int, Any, int]]:
        """Stamp, message and arrival of all kept messages."""
        return list(zip(self._stamps, self._messages, self._arrivals, strict=True))

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        return iter(list(zip(self._stamps, self._messages, strict=True)))

    def __len__(self) -> int:
        return len(self._stamps)


class Synchronizer:
    """Find, for each message of the pivot stream, the nearest one of every other stream.

    A message of another stream belongs to the pivot's message if no other is nearer and it lies within that stream's
    slop. It is used at once if nothing nearer can still come: at an equal stamp, or within half the stream's period.

    Args:
        slops: the other streams, and the largest distance of their stamps from the pivot's, nanoseconds.
    """

    def __init__(self, pivot: str, slops: Mapping[str, int], size: int) -> None:
        self.pivot, self._slops = pivot, dict(slops)
        self.streams = {name: Stream(size) for name in (pivot, *slops)}
        self.unmatched = 0
        self.largest_gap_ns: int | None = None
        self.missed_by: str | None = None

    def add(self, name: str, stamp_ns: int, message: Any, arrival_ns: int = 0) -> list[MatchedMessages]:
        """Add a message."""
        restarts = self.streams[name].restarts
        if not self.streams[name].add(stamp_ns, message, arrival_ns):
            return []
        if self.streams[name].restarts > restarts:
            for stream in self.streams.values():
                if stream is not self.streams[name]:
                    stream.clear()
        matches = []
        for pivot_ns, pivot_message in self.streams[self.pivot]:
            partners = {other: self._partner(other, pivot_ns) for other in self._slops}
            if any(partner is None for partner in partners.values()):
                break  # in order: later ones wait behind it
            arrivals = {self.pivot: self.streams[self.pivot].arrival_of(pivot_ns)}
            self.streams[self.pivot].drop_until(pivot_ns)
            chosen = {other: partner for other, partner in partners.items() if partner}
            if len(chosen) < len(self._slops):
                self.unmatched += 1
                continue
            for other, (stamp, _) in chosen.items():
                arrivals[other] = self.streams[other].arrival_of(stamp)
                self.streams[other].drop_until(stamp)
            messages = {self.pivot: pivot_message, **{other: found for other, (_, found) in chosen.items()}}
            stamps = {self.pivot: pivot_ns, **{other: stamp for other, (stamp, _) in chosen.items()}}
            matches.append(MatchedMessages(pivot_ns, messages, stamps, arrivals))
        return matches

    def _partner(self, name: str, stamp_ns: int) -> tuple[int, Any] | tuple[()] | None:
        """The message that belongs to a pivot's stamp; () if there is none, None while that is still open."""
        stream, slop = self.streams[name], self._slops[name]
        found = stream.nearest(stamp_ns)
        if found is None:
            return None
        gap = abs(found[0] - stamp_ns)
        settled = stream.newest_ns is not None and stream.newest_ns >= stamp_ns
        if gap <= slop and (settled or gap == 0 or (stream.period_ns is not None and gap < 0.45 * stream.period_ns)):
            return found
        if not settled:
            return None
        self.largest_gap_ns, self.missed_by = gap, name
        return ()

    def clear(self) -> None:
        """Forget all messages; the counts stay."""
        for stream in self.streams.values():
            stream.clear()
