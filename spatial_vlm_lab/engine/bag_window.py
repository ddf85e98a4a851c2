# SPDX-License-Identifier: Apache-2.0
"""Reads a part of a bag that gives the same frames as the whole bag, and cuts bags into such parts.

Works on recording times and topics; independent of cases. Only the chunks of the part
are read, and before them what still holds in it: static transforms, the transforms that are kept, the last camera info.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.recording.bags.reader import Bag, BagMessage, ChunkSpan
from spatial_vlm_ros.recording.bags.types import CAMERA_INFO, TF_MESSAGE
from spatial_vlm_ros.streams.frame_assembler import SECOND, STATIC_TRANSFORMS, stamp_of

LEAD_NS = 3 * SECOND
"""Messages of all topics are read from so long before a part's first image on: its partners may come before it."""
LAG_NS = 30 * SECOND
"""... and until so long after its last image, at most: detectors are slow. Reading ends with the last image's case."""
_IN_STEP_NS = SECOND  # by which recording may lag behind stamps by more or less within one bag
_PROBES = 7  # chunks that are looked at


@dataclass(frozen=True)
class BagPart:
    """A part of a bag: its images were recorded from `first_ns` to `last_ns`; transforms are kept for `cache_ns`."""

    first_ns: int
    last_ns: int
    cache_ns: int


class BagWindow(Bag):
    """An open part of a bag; see Bag."""

    def __init__(self, path: str | Path, part: BagPart) -> None:
        super().__init__(path)
        self.part = part

    def messages(
        self, names: Collection[str] | None = None, start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[BagMessage]:
        """Yield the messages that the part's frames need, in recording order."""
        del start_ns, stop_ns
        wanted = set(self.topics if names is None else names)
        begin = self.part.first_ns - LEAD_NS
        yield from sorted(self._before(wanted, begin), key=lambda message: message.log_ns)
        yield from super().messages(wanted, begin, self.part.last_ns + LAG_NS)

    def _before(self, wanted: set[str], begin: int) -> Iterator[BagMessage]:
        """What was recorded before the part and still holds in it."""
        moving = {name for name in wanted if self.topics[name] == TF_MESSAGE}
        static = {name for name in moving if name.endswith(STATIC_TRANSFORMS)}
        yield from super().messages(static, None, begin)
        yield from super().messages(moving - static, begin - self.part.cache_ns, begin)
        for name in sorted(name for name in wanted if self.topics[name] == CAMERA_INFO):
            before = [chunk for chunk in self.chunks() if name in chunk.topics and chunk.start_ns < begin]
            if before:
                newest = max(before, key=lambda chunk: (chunk.end_ns, chunk.start_ns))
                yield from deque(super().messages({name}, newest.start_ns, begin), maxlen=1)


def recording_lag(bag: Bag, topic: str) -> tuple[int, int] | None:
    """Least and most nanoseconds by which messages of a topic were recorded after their stamps.

    First, last and some messages between are looked at. None if the lag is not the same throughout, as in a bag
    whose time is set back: then no part of it can be found by stamps.
    """
    chunks = [chunk for chunk in bag.chunks() if topic in chunk.topics]
    if not chunks:
        return None
    places = sorted({round(k * (len(chunks) - 1) / (_PROBES - 1)) for k in range(_PROBES)})
    lags = []
    for place in places:
        chunk = chunks[place]
        try:
            seen = [m.log_ns - stamp_of(m.decode()) for m in bag.messages({topic}, chunk.start_ns, chunk.end_ns + 1)]
        except SpatialVlmError:
            return None
        lags += seen
    least, most = min(lags), max(lags)
    return (least, most) if most - least <= _IN_STEP_NS else None


def bytes_before(chunks: Sequence[ChunkSpan]) -> tuple[list[int], list[int]]:
    """Sorted start times of chunks, nanoseconds, and the number of bytes before each."""
    ordered = sorted(chunks, key=lambda chunk: chunk.start_ns)
    sizes, total = [], 0
    for chunk in ordered:
        sizes.append(total)
        total += chunk.size
    return [chunk.start_ns for chunk in ordered], sizes


def place_of(log_ns: int, starts: Sequence[int], sizes: Sequence[int]) -> int:
    """Number of chunk bytes before a recording time; see `bytes_before`."""
    at = bisect.bisect_right(starts, log_ns) - 1
    return sizes[max(at, 0)]
