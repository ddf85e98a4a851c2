# SPDX-License-Identifier: Apache-2.0
"""Match messages of several streams that belong to one moment.

Uses stamps only, not the content of messages. Stamps are nanoseconds.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple

from spatial_vlm_ros.errors import ClockError, StaleInputError
from spatial_vlm_ros.parameters import StreamConfig

_BY_STAMP = itemgetter(0)
_GAPS = 31  # number of gaps between the last messages that give a stream's period
RESTART = 1_000_000_000  # ns: a stamp this far before the newest one is not a late message but a restarted stream


@dataclass(frozen=True, eq=False)
class MatchedMessages:
    """One message of each stream."""

    stamp_ns: int  # of the pivot's message
    messages: Mapping[str, Any]
    stamps: Mapping[str, int]  # stream → its message's stamp, nanoseconds
    arrivals: Mapping[str, int] = field(default_factory=dict)  # stream → arrival of its message, nanoseconds


class StampedMessage(NamedTuple):
    """A message of a stream; stamp and arrival in nanoseconds."""

    stamp_ns: int
    message: Any
    arrival_ns: int


class Stream:
    """The last messages of one stream, in the order of their stamps."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: list[StampedMessage] = []
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
        at = self._index(stamp_ns)
        if stamp_ns == self._dropped_ns or (at < len(self) and self._kept[at].stamp_ns == stamp_ns):
            self.repeated += 1
            return False
        if self.newest_ns is not None and stamp_ns > self.newest_ns:
            gap = stamp_ns - self.newest_ns
            if self.period_ns is not None and gap > 1.5 * self.period_ns:
                self.missed += round(gap / self.period_ns) - 1
            self._gaps.append(gap)
            self.period_ns = sorted(self._gaps)[len(self._gaps) // 2]
        self.newest_ns = stamp_ns if self.newest_ns is None else max(self.newest_ns, stamp_ns)
        self._kept.insert(at, StampedMessage(stamp_ns, message, arrival_ns))
        if len(self) > self._size:
            del self._kept[0]
        return True

    def clear(self) -> None:
        """Forget the messages; the counts stay."""
        self._kept.clear()
        self._gaps.clear()
        self.newest_ns = self.period_ns = self._dropped_ns = None

    def _index(self, stamp_ns: int) -> int:
        return bisect.bisect_left(self._kept, stamp_ns, key=_BY_STAMP)

    def nearest(self, stamp_ns: int) -> StampedMessage | None:
        """The message nearest to a stamp; None if no message is kept."""
        at = self._index(stamp_ns)
        return min(self._kept[max(0, at - 1) : at + 1], default=None, key=lambda kept: abs(kept.stamp_ns - stamp_ns))

    def at(self, stamp_ns: int) -> Any | None:
        """The message with exactly that stamp, or None."""
        found = self.nearest(stamp_ns)
        return found.message if found is not None and found.stamp_ns == stamp_ns else None

    def before(self, stamp_ns: int) -> Any | None:
        """The last message with an earlier stamp, or None."""
        at = self._index(stamp_ns)
        return self._kept[at - 1].message if at else None

    def between(self, first_ns: int, last_ns: int) -> list[Any]:
        """The messages with stamps from the first to the last, both included."""
        return [kept.message for kept in self._kept[self._index(first_ns) : self._index(last_ns + 1)]]

    def drop_until(self, stamp_ns: int) -> None:
        """Forget the messages up to and including a stamp."""
        at = self._index(stamp_ns + 1)
        self._dropped_ns = self._kept[at - 1].stamp_ns if at else self._dropped_ns
        del self._kept[:at]

    def __iter__(self) -> Iterator[StampedMessage]:
        return iter(tuple(self._kept))

    def __len__(self) -> int:
        return len(self._kept)


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
        for pivot in self.streams[self.pivot]:
            chosen = {self.pivot: pivot, **{other: self._partner(other, pivot.stamp_ns) for other in self._slops}}
            if None in chosen.values():
                break  # in order: later ones wait behind it
            self.streams[self.pivot].drop_until(pivot.stamp_ns)
            if not all(chosen.values()):
                self.unmatched += 1
                continue
            found = {other: kept for other, kept in chosen.items() if kept}
            for other, kept in found.items():
                self.streams[other].drop_until(kept.stamp_ns)
            messages, stamps, arrivals = ({name: kept[n] for name, kept in found.items()} for n in (1, 0, 2))
            matches.append(MatchedMessages(pivot.stamp_ns, messages, stamps, arrivals))
        return matches

    def _partner(self, name: str, stamp_ns: int) -> StampedMessage | tuple[()] | None:
        """The message that belongs to a pivot's stamp; () if there is none, None while that is still open."""
        stream, slop = self.streams[name], self._slops[name]
        found = stream.nearest(stamp_ns)
        if found is None:
            return None
        gap = abs(found.stamp_ns - stamp_ns)
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


# ------------------------------------------------------------------------------------------------ freshness

# The offset between the clock that stamps a stream and the clock that receives it. Each message gives arrival − stamp =
# latency − offset, where offset says how far the clock of the stamps runs ahead. Latency is never negative, so the
# lower envelope of that difference bounds the offset from below. Message times alone cannot tell how much of it is
# latency.

SECOND = 1_000_000_000
WINDOW = 10.0  # s: after a clock was changed, it is known again after this long
_SAMPLES = 300  # of one stream: 10 s at 30 Hz
_LOW, _HIGH = 0.05, 0.95  # quantiles of the samples for the envelope and the spread: single wild stamps do not count
_MOST_FRAMES = 200  # most transforms that are watched


@dataclass(frozen=True)
class ClockEstimate:
    """Estimate from a window of messages, seconds."""

    # arrival − stamp at the lower envelope: the least latency minus the offset. Negative: the stamps run ahead
    lag: float
    spread: float  # from there to the 95 % quantile: how much the latency varies
    samples: int

    @property
    def ahead(self) -> float:
        """Least lead of the stamps over the receiving clock, seconds; negative: nothing shows that they run ahead."""
        return -self.lag

    def offset(self, max_latency: float) -> tuple[float, float]:
        """Lead of the stamps' clock and its uncertainty, seconds, if the least latency is at most `max_latency`."""
        return max_latency / 2 - self.lag, max_latency / 2


class StreamClock:
    """The last stamps and arrivals of one stream."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int]] = deque(maxlen=_SAMPLES)  # arrival, arrival - stamp

    def add(self, stamp_ns: int, arrival_ns: int) -> None:
        """Add a message.

        A clock that jumps back starts anew; a stamp of 0 (a clock that has not started) is ignored.
        """
        if arrival_ns <= 0:
            return
        if self._samples and arrival_ns < self._samples[-1][0]:
            self._samples.clear()
        self._samples.append((arrival_ns, arrival_ns - stamp_ns))

    @property
    def newest_lag(self) -> float | None:
        """Arrival − stamp of the last message, seconds; None before the first."""
        return self._samples[-1][1] / SECOND if self._samples else None

    def estimate(self) -> ClockEstimate | None:
        """Estimate from the last WINDOW seconds of messages; None before the first message."""
        if not self._samples:
            return None
        since_ns = self._samples[-1][0] - WINDOW * SECOND
        lags = sorted(lag for arrival, lag in self._samples if arrival >= since_ns)
        low, high = lags[int(_LOW * len(lags))], lags[min(len(lags) - 1, int(_HIGH * len(lags)))]
        return ClockEstimate(low / SECOND, (high - low) / SECOND, len(lags))


class StreamClocks:
    """The clocks that stamp several streams, by name."""

    def __init__(self) -> None:
        self.clocks: dict[str, StreamClock] = {}

    def add(self, stream: str, stamp_ns: int, arrival_ns: int) -> None:
        """Add a message."""
        self.clocks.setdefault(stream, StreamClock()).add(stamp_ns, arrival_ns)

    def clear(self) -> None:
        """Forget all messages."""
        self.clocks.clear()

    def estimate(self, stream: str) -> ClockEstimate | None:
        """Estimate from the last messages of a stream; None before the first."""
        clock = self.clocks.get(stream)
        return None if clock is None else clock.estimate()

    def estimates(self) -> dict[str, ClockEstimate]:
        """Stream → estimate from its messages of the last seconds."""
        found = {stream: self.estimate(stream) for stream in self.clocks}
        return {stream: estimate for stream, estimate in found.items() if estimate is not None}


class TransformClocks(StreamClocks):
    """The clocks that stamp moving transforms, one for each child frame."""

    def add_message(self, message: Any, arrival_ns: int) -> None:
        """Add a tf2_msgs/TFMessage of /tf; entries without stamp or name are ignored, as in TransformBuffer."""
        for entry in getattr(message, "transforms", None) or ():
            try:
                child = str(entry.child_frame_id).removeprefix("/")
                stamp_ns = entry.header.stamp.sec * SECOND + entry.header.stamp.nanosec
            except (AttributeError, TypeError):
                continue
            if child in self.clocks or len(self.clocks) < _MOST_FRAMES:
                self.add(child, stamp_ns, arrival_ns)

    def ahead(self, child: str) -> float | None:
        """Time by which the stamps of a child frame run ahead of now, seconds; None if nothing is known.

        Both the window and the last message must show it. So a single wild stamp does not count, and a corrected clock
        counts as correct at once.
        """
        estimate = self.estimate(child)
        newest_lag = None if estimate is None else self.clocks[child].newest_lag
        return None if estimate is None or newest_lag is None else min(estimate.ahead, -newest_lag)


class Freshness(StreamClocks):
    """Watch the clocks of streams, and compute the earliest possible exposure of an image."""

    def __init__(self, config: StreamConfig, images: Sequence[str]) -> None:
        super().__init__()
        self.config, self._images = config, tuple(images)

    # -------------------------------------------------------------------------------------------- proofs

    def is_in_step(self, stream: str) -> bool:
        """True if the stamps of a stream count as proof: configured so, and not disproved by arrivals."""
        return self._is_in_step(self.estimate(stream), -float("inf"))

    def _is_in_step(self, estimate: ClockEstimate | None, own_ahead: float) -> bool:
        """False if stamps run ahead of arrivals by more than clock_error: no message arrives before its exposure."""
        ahead = max(own_ahead, estimate.ahead if estimate is not None else own_ahead)
        return self.config.clocks_in_step and ahead <= self.config.clock_error

    def not_before_ns(self, match: MatchedMessages) -> int:
        """Time before which none of a frame's images can have been exposed, nanoseconds."""
        return min(self._not_before_ns(s, match.stamps[s], match.arrivals.get(s, 0)) for s in self._images)

    def _not_before_ns(self, stream: str, stamp_ns: int, arrival_ns: int) -> int:
        estimate = self.estimate(stream)
        if self._is_in_step(estimate, (stamp_ns - arrival_ns) / SECOND):
            return stamp_ns - round(self.config.clock_error * SECOND)
        usual_ns = arrival_ns  # arrival if it had been as fast as the fast ones
        if estimate is not None:
            usual_ns = min(arrival_ns, stamp_ns + round(estimate.lag * SECOND))
        return usual_ns - round(self.config.max_latency * SECOND)

    # -------------------------------------------------------------------------------------------- refusals

    def check(self, match: MatchedMessages, names: Mapping[str, str] | None = None) -> None:
        """Raise if the stamps of a frame are impossible."""
        for stream in self._images:
            name = (names or {}).get(stream, stream)
            self.check_stamp(name, match.stamps[stream], match.arrivals.get(stream, 0))

    def check_stamp(self, stream: str, stamp_ns: int, arrival_ns: int) -> None:
        """Check one message as `check` does."""
        config = self.config
        if stamp_ns <= 0:
            raise StaleInputError(f"the messages on {stream} have no stamp", "set header.stamp in the driver")
        ahead = (stamp_ns - arrival_ns) / SECOND
        if ahead > config.max_ahead:
            raise ClockError(stream, ahead, "max_ahead", config.max_ahead)
        if -ahead > config.max_behind:
            raise ClockError(stream, ahead, "max_behind", config.max_behind)

    def why_old(
        self, streams: Mapping[str, Stream], arrivals: Mapping[str, int], after_ns: int, names: Mapping[str, str]
    ) -> StaleInputError | None:
        """Reason why the messages since a request do not answer it; None if age is not the reason."""
        for role in self._images:
            stamp_ns, arrival_ns = streams[role].newest_ns or 0, arrivals.get(role, 0)
            if self._not_before_ns(role, stamp_ns, arrival_ns) >= after_ns:
                continue
            try:
                self.check_stamp(names[role], stamp_ns, arrival_ns)
            except StaleInputError as error:
                return error
            since, before = (arrival_ns - after_ns) / SECOND, (after_ns - stamp_ns) / SECOND
            if self.config.clocks_in_step and self.is_in_step(role):
                reason = f"the newest message on {names[role]} is stamped {before:.2f} s before the request"
                repair = "check the clocks (chrony, PTP), use_sim_time, and the stamps of the driver"
                return StaleInputError(reason, repair)
            reason = (
                f"the newest message on {names[role]} arrived {since:.2f} s after the request, but it can show an "
                f"earlier moment: that is less than max_latency ({self.config.max_latency:g} s), or its stamp "
                "shows a delay"
            )
            repair = "check that the driver is running; synchronise the clocks (PTP, chrony) and set clocks_in_step"
            return StaleInputError(reason, repair)
        return None
