# SPDX-License-Identifier: Apache-2.0
"""Decide which images answer a request: those that were surely exposed after it. docs/timing.md, docs/adr/0022.

A stamp proves it if its clock is in step. Otherwise the image must arrive later than the request by more than the
longest latency. A delayed message counts as if it had been as fast as the fast ones of its stream, judged by its stamp:
late delivery by a stalled network does not make it newer. All times are by the arrival clock, nanoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spatial_vlm_ros.errors import ClockError, StaleInputError
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.streams.clocks import SECOND, ClockEstimate, StreamClocks
from spatial_vlm_ros.streams.synchronizer import MatchedMessages, Stream


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
