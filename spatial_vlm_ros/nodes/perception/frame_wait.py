# SPDX-License-Identifier: Apache-2.0
"""Waits for the frame that answers a request, with a time limit; says why none came. The observer does so without one.

Requests and the observer of /diagnostics and `spatial-vlm doctor` wait in the same way, so that both end with the same
result. No ROS.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from spatial_vlm_ros.errors import (
    CancelledError,
    InputError,
    InternalError,
    SpatialVlmError,
    StaleInputError,
    TransformUnavailableError,
)
from spatial_vlm_ros.nodes.perception.requests import ResolvingTask, ResolvingWorker, Wait
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.perception.domain import check_domain
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.streams.frame_assembler import DETECTIONS, SECOND, FrameAssembler, PendingFrame
from spatial_vlm_ros.streams.recent import RecentFrames
from spatial_vlm_ros.streams.sources import Sources

_LONG = 1.0  # s that a healthy camera's frame never takes, in addition to the time of the last one
_WAITS = 2.0  # multiple of the last wait


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
        self.sources = Sources(lambda _: {})  # who publishes what comes in
        self.settings, self.assembler, self.recent, self.topics = settings, assembler, recent, dict(topics)
        self.now = now
        self.unheard: dict[str, str] = {}
        self._clock_ns, self._clock_moved = now(), time.monotonic()

    def bind(self, wait: Wait) -> None:
        """Bind the publishers that the frame of a wait may come from."""
        self.sources.begin(topic for role, topic in self.topics.items() if role != DETECTIONS or wait.found is None)

    def begin(self, wait: Wait, after_ns: int | None = None) -> None:
        """Start waiting for a frame stamped at or after `after_ns`; None = now."""
        now_ns = self.now()
        wait.after_ns = now_ns if after_ns is None else after_ns
        wait.since_ns = self._clock_ns = now_ns
        wait.passed_over = None
        self._clock_moved = time.monotonic()

    def take(self, wait: Wait) -> PendingFrame | None:
        """The awaited frame, or None while it may still come."""
        if changed := self.sources.changed(self.assembler.frames_used, look=False):
            raise changed
        now_ns = self.now()
        # Before simulated time has begun, the age of a frame is not known.
        timeout = self.settings.streams.frame_timeout
        in_time = now_ns - wait.since_ns < timeout * SECOND
        pending = self._take(wait, now_ns, wait.needs_speaker and in_time) if now_ns else None
        if pending is not None:
            return pending

        # Did it take too long? Simulated time may stand still.
        if now_ns != self._clock_ns:
            if self._clock_ns == 0:  # simulated time has just begun
                wait.since_ns = now_ns
                wait.after_ns = now_ns - int(timeout * SECOND)
            self._clock_ns, self._clock_moved = now_ns, time.monotonic()
        elif time.monotonic() - self._clock_moved >= timeout:
            raise StaleInputError("the clock does not advance", "publish /clock, or set use_sim_time: false")
        if now_ns - wait.since_ns >= timeout * SECOND:
            raise self.why_none(wait)
        return None

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


@dataclass(frozen=True)
class Observation:
    """Result of one observed frame.

    Args:
        error: the error that a request would have had; None = it would have been answered.
        at: time of the observation, seconds of time.monotonic.
        stamp_ns: stamp of the frame, nanoseconds; 0 without a frame.
        waited: seconds until the frame was complete.
        cpu: CPU seconds for decoding and lifting it.
    """

    error: SpatialVlmError | None
    at: float
    stamp_ns: int = 0
    waited: float = 0.0
    cpu: float = 0.0


class Observer:
    """Tests whether a request would be served: awaits, decodes and lifts a frame from time to time, as a request would.

    Args:
        timeout: seconds that decoding and lifting may take.

    Attributes:
        latest: the newest observation, of the observer's own frames or of a request's; None before the first.
        cpu: total CPU seconds in the worker.
    """

    def __init__(
        self, frames: FrameWait, worker: ResolvingWorker, resolver: Callable[[], Resolver], timeout: Callable[[], float]
    ) -> None:
        self._frames, self._worker, self._resolver, self._timeout = frames, worker, resolver, timeout
        self._wait: Wait | None = None
        self._begun = 0.0
        self._awaiting: Wait | None = None  # the newest wait, of a request or of the observer, that had no frame yet
        self._since = 0.0  # when the first such wait began
        self._task: ResolvingTask | None = None
        self.latest: Observation | None = None
        self.count, self.cpu = 0, 0.0

    @property
    def waits(self) -> bool:
        """Whether the observer is waiting for a frame."""
        return self._wait is not None

    def begin(self) -> None:
        """Start testing the next frame, unless a test is running."""
        if self._wait is None and self._task is None:
            self._wait, self._begun = Wait(without_detections=self._frames.found_elsewhere), time.monotonic()
            self._frames.bind(self._wait)
            self._frames.begin(self._wait)
            self._follow(self._wait)
        self.step()

    def step(self) -> None:
        """Check whether the frame has come, or the wait took too long."""
        if self._wait is None:
            return
        try:
            pending = self._frames.take(self._wait)
        except Exception as error:
            known = error if isinstance(error, SpatialVlmError) else InternalError.of(error)
            self.conclude(known, waited=time.monotonic() - self._begun)
            return
        if pending is not None:
            self._look_at(pending)

    def withdraw(self, request: Wait | None = None) -> None:
        """Stop waiting in favour of a request, which shows the same. The time without a frame keeps counting."""
        self._wait = None
        if request is not None:
            self._follow(request)
        if self._task is not None:
            self._task.withdraw()

    def conclude(self, error: SpatialVlmError | None, stamp_ns: int = 0, waited: float = 0.0) -> None:
        """Store the result of a frame, from a request or from the observer itself."""
        self._wait = None
        self.got_frame()
        self.latest = Observation(error, time.monotonic(), stamp_ns, waited)

    def forget(self) -> None:
        """Discard observations after a clock jump or a deactivation."""
        self.withdraw()
        self.got_frame()
        self.latest = None

    def got_frame(self) -> None:
        """Note that the waiting request or observer has a frame."""
        self._awaiting = None

    def _follow(self, wait: Wait) -> None:
        if self._awaiting is None:
            self._since = time.monotonic()
        self._awaiting = wait

    def overdue(self) -> tuple[float, SpatialVlmError] | None:
        """Seconds that a frame is overdue and why it has not come; None if it is not overdue."""
        if self._awaiting is None:
            return None
        waited = time.monotonic() - self._since
        usual = self.latest.waited if self.latest is not None and self.latest.error is None else 0.0
        if waited < _LONG + _WAITS * usual:
            return None
        return waited, self._frames.why_none(self._awaiting)

    # -------------------------------------------------------------------------------------------- one frame

    def _look_at(self, pending: PendingFrame) -> None:
        waited, resolver = time.monotonic() - self._begun, self._resolver()
        self._wait = None
        self.got_frame()
        self._task = task = ResolvingTask(self._timeout())

        def work() -> Observation:
            begun = time.thread_time()
            task.check("decoding")
            frame, detections = pending.decode()
            check_domain(resolver.grounder, resolver.config.domain_gate, frame.domain)
            task.check("lifting")
            resolver.observe(frame, detections or ()).evidence.require()
            cpu = time.thread_time() - begun
            return Observation(None, time.monotonic(), pending.stamp_ns, waited, cpu)

        def done(found: Observation | SpatialVlmError) -> None:
            self._task = None
            if isinstance(found, CancelledError):
                return
            if isinstance(found, SpatialVlmError):
                found = Observation(found, time.monotonic(), pending.stamp_ns, waited)
            self.latest = found
            self.count += 1
            self.cpu += found.cpu

        self._worker.submit(task, work, done)
