# SPDX-License-Identifier: Apache-2.0
"""Waits for the frame that answers a request, with a time limit; says why none came.

Requests and the observer of /diagnostics wait in the same way, so that both end with the same result. No ROS, no
threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from spatial_vlm_ros.errors import InputError, SpatialVlmError, StaleInputError, TransformUnavailableError
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.streams.frame_assembler import DETECTIONS, SECOND, FrameAssembler, PendingFrame
from spatial_vlm_ros.streams.recent import RecentFrames


@dataclass(eq=False)
class Wait:
    """One waiting request for a frame.

    Args:
        after_ns: frames stamped before this are skipped, nanoseconds.
        since_ns: when the wait began, nanoseconds of the node's time.
        found: a message with detections whose frame is awaited; None = the first complete frame.
    """

    needs_speaker: bool = False
    after_ns: int = 0
    since_ns: int = 0
    found: Any = None
    passed_over: SpatialVlmError | None = None
    without_detections: bool = False


class FrameWait:
    """Takes frames from an assembler for waiting requests.

    Args:
        now: returns the node's time, nanoseconds.
        recent: recent frames, for detections that come with a request; None if none are kept.
    """

    def __init__(
        self,
        settings: Settings,
        assembler: FrameAssembler,
        now: Callable[[], int],
        topics: Mapping[str, str],
        recent: RecentFrames | None = None,
    ) -> None:
        self.settings, self.assembler, self.recent, self.topics = settings, assembler, recent, dict(topics)
        self.now = now
        self.unheard: dict[str, str] = {}
        self._clock_ns, self._clock_moved = now(), time.monotonic()

    def begin(self, wait: Wait, after_ns: int | None = None) -> None:
        """Start waiting for a frame stamped at or after `after_ns`; None = now."""
        now_ns = self.now()
        wait.after_ns = now_ns if after_ns is None else after_ns
        wait.since_ns = self._clock_ns = now_ns
        wait.passed_over = None
        self._clock_moved = time.monotonic()

    def take(self, wait: Wait) -> PendingFrame | None:
        """The awaited frame, or None while it may still come."""
        now_ns = self.now()
        # Before simulated time has begun, the age of a frame is not known.
        in_time = now_ns - wait.since_ns < self.settings.streams.frame_timeout * SECOND
        pending = self._take(wait, now_ns, wait.needs_speaker and in_time) if now_ns else None
        if pending is None:
            self._check_patience(wait, now_ns)
        return pending

    def waits_for_transform(self, wait: Wait) -> bool:
        """Whether the frame is there and only transforms are missing."""
        source = self.assembler if wait.found is None or self.recent is None else self.recent
        return source.waits_for_transform

    @property
    def found_elsewhere(self) -> bool:
        """Whether detections come only with requests: none are published, and frames are kept for them."""
        found = self.assembler.streams.get(DETECTIONS)
        return self.recent is not None and found is not None and not found.received

    def why_none(self, wait: Wait) -> SpatialVlmError:
        """Why the frame has not come yet, with the fix if a publisher is known to be incompatible."""
        if wait.passed_over is not None:
            return wait.passed_over
        if wait.found is not None and self.recent is not None:
            error = self.recent.why_none_for(wait.found, wait.since_ns, self.topics)
        elif wait.without_detections and self.recent is not None:
            error = self.recent.why_none(wait.since_ns, self.topics)
        else:
            error = self.assembler.why_none(wait.since_ns, self.topics)
        if not isinstance(error, StaleInputError):
            return error
        fixes = [fix for topic, fix in self.unheard.items() if topic in error.reason]
        return StaleInputError(error.reason, "; ".join(fixes) or error.repair)

    def _take(self, wait: Wait, now_ns: int, awaits_speaker: bool) -> PendingFrame | None:
        if wait.without_detections and self.recent is not None:
            return self.recent.take_kept(wait.after_ns, now_ns)
        while wait.found is None:
            try:
                return self.assembler.take(wait.after_ns, now_ns, awaits_speaker)
            except TransformUnavailableError as error:
                if not error.is_past:
                    raise
                wait.passed_over = error  # the next frame may have the transforms that began after this one
        if self.recent is None:
            raise InputError("detections", "given with the request", "detections on their topic", "set selection: true")
        return self.recent.take_for(wait.found, now_ns, awaits_speaker)

    def _check_patience(self, wait: Wait, now_ns: int) -> None:
        """Raise the error for a wait that took too long. Simulated time may stand still."""
        timeout = self.settings.streams.frame_timeout
        if now_ns != self._clock_ns:
            if self._clock_ns == 0:  # simulated time has just begun
                wait.since_ns = now_ns
                wait.after_ns = now_ns - int(timeout * SECOND)
            self._clock_ns, self._clock_moved = now_ns, time.monotonic()
        elif time.monotonic() - self._clock_moved >= timeout:
            raise StaleInputError("the clock does not advance", "publish /clock, or set use_sim_time: false")
        if now_ns - wait.since_ns >= timeout * SECOND:
            raise self.why_none(wait)
