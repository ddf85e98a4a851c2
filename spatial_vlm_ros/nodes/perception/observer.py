# SPDX-License-Identifier: Apache-2.0
"""Tests whether a request would be served: awaits, decodes and lifts frames without one, as a request would.

Used by the resolver's /diagnostics and by `spatial-vlm doctor`. No ROS.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from spatial_vlm_ros.errors import CancelledError, InternalError, SpatialVlmError
from spatial_vlm_ros.nodes.perception.frame_wait import FrameWait, Wait
from spatial_vlm_ros.nodes.perception.resolving import ResolvingTask, ResolvingWorker
from spatial_vlm_ros.perception.domain import check_domain
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.streams.frame_assembler import PendingFrame

_LONG = 1.0  # s that a healthy camera's frame never takes, in addition to the time of the last one
_WAITS = 2.0  # multiple of the last wait


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
    """Tests a frame from time to time.

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

        def work(task: ResolvingTask) -> Observation:
            begun = time.thread_time()
            task.check("decoding")
            frame, detections = pending.decode()
            check_domain(resolver.grounder, resolver.config.domain_gate, frame.domain)
            task.check("lifting")
            resolver.observe(frame, detections or ()).evidence.require()
            cpu = time.thread_time() - begun
            return Observation(None, time.monotonic(), pending.stamp_ns, waited, cpu)

        def failed(error: SpatialVlmError) -> Observation:
            return Observation(error, time.monotonic(), pending.stamp_ns, waited)

        self._worker.submit(task, work, failed, self._done)

    def _done(self, observation: Observation) -> None:
        self._task = None
        if isinstance(observation.error, CancelledError):
            return
        self.latest = observation
        self.count += 1
        self.cpu += observation.cpu
