# SPDX-License-Identifier: Apache-2.0
"""Serves one request after another: accept, queue, wait for a complete frame, resolve, reply once.

Independent of topics. Everything except resolving runs on the executor's thread.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from spatial_vlm_ros.budgets import LONGEST_OTHERS
from spatial_vlm_ros.errors import (
    BusyError,
    CancelledError,
    InputError,
    InternalError,
    SourceChangedError,
    SpatialVlmError,
    StopRequestedError,
)
from spatial_vlm_ros.language import stops
from spatial_vlm_ros.language.dialogue import heard
from spatial_vlm_ros.nodes.perception.evidence import EvidenceKeeper
from spatial_vlm_ros.nodes.perception.frame_wait import FrameWait, Observer
from spatial_vlm_ros.nodes.perception.requests import (
    DialogueStore,
    InstructionRequest,
    RequestOutcome,
    ResolvingTask,
    ResolvingWorker,
)
from spatial_vlm_ros.output.json_schema import held_from_text
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.spatial.detector_profile import UNMEASURED
from spatial_vlm_ros.spatial.dialogue import refused_in
from spatial_vlm_ros.spatial.dialogue_state import Dialogue
from spatial_vlm_ros.spatial.dialogue_turns import DialogueTurn
from spatial_vlm_ros.streams.frame_assembler import FrameAssembler, PendingFrame, needs_speaker
from spatial_vlm_ros.streams.recent import RecentFrames, check_stamped
from spatial_vlm_ros.streams.sources import clock_set_back
from spatial_vlm_ros.types import Status

_log = logging.getLogger(__name__)

_TOLD_AGAIN = 1.0  # s
_LATENCIES = 200  # answers used for percentiles


class RequestQueue:
    """Serves requests with frames of an assembler, one at a time, in order of arrival.

    Args:
        grounder: finds objects; None if detections come with the frames.
        now: returns the node's time, nanoseconds.
        wake: runs a function on the executor's thread; callable from any thread.
        recent: recent frames, for detections that come with a request; None if none are kept.

    Attributes:
        grounder_failed: why the grounder made the last request fail; "" if it did not.
        evidence: stores decisions; None = they are not stored.
        on_stop: called when words ask to stop.
        on_busy: called with true when requests begin to wait, and with false when none is left.
    """

    WAITING_FOR_FRAME, WAITING_FOR_TRANSFORM, RESOLVING = 1, 2, 3

    def __init__(
        self,
        settings: Settings,
        assembler: FrameAssembler,
        grounder: Any,
        now: Callable[[], int],
        wake: Callable[[Callable[[], None]], None],
        topics: dict[str, str],
        recent: RecentFrames | None = None,
    ) -> None:
        self.frames = FrameWait(settings, assembler, now, topics, recent)
        self._grounder, self._settings, self._resolver = grounder, settings, Resolver(settings.resolver, grounder)
        self._worker = ResolvingWorker(wake)
        self.observer = Observer(
            self.frames, self._worker, lambda: self._resolver, lambda: self._settings.node.resolve_timeout
        )
        self.on_stop: Callable[[], None] = lambda: None
        self.on_busy: Callable[[bool], None] = lambda _: None
        self._request: InstructionRequest | None = None
        self._queue: deque[InstructionRequest] = deque()
        self._dialogues = DialogueStore(lambda: self._settings.node.dialogue_timeout)
        self._closed = False
        self.evidence: EvidenceKeeper | None = None
        self.grounder_failed = ""
        self.ends: Counter[str] = Counter()
        self.latencies: deque[float] = deque(maxlen=_LATENCIES)

    @property
    def busy(self) -> bool:
        """Whether a request is being served."""
        return self._request is not None

    @property
    def waiting(self) -> int:
        """Number of requests that wait for their turn."""
        return len(self._queue)

    @property
    def full(self) -> bool:
        """Whether a new request would end with BUSY."""
        return self.busy and len(self._queue) >= self._settings.node.queue_depth

    @property
    def assembler(self) -> FrameAssembler:
        """Source of the frames."""
        return self.frames.assembler

    def change(self, settings: Settings, assembler: FrameAssembler, recent: RecentFrames | None = None) -> None:
        """Use new settings from the next frame on; a request that is being resolved keeps the old ones."""
        self._settings = self.frames.settings = settings
        self.frames.assembler, self.frames.recent = assembler, recent
        self._resolver = Resolver(settings.resolver, self._grounder)

    # -------------------------------------------------------------------------------------------- requests

    def accept(self, request: InstructionRequest, after_ns: int | None = None) -> None:
        """Serve or queue a request, for frames after a time (ns; None = now); refuse it at once if not understood."""
        request.accepted_ns = self.frames.now() if after_ns is None else after_ns
        try:
            request.instruction, *request.others = map(heard, (request.instruction, *request.others))
            stop = next(filter(stops, (request.instruction, *request.others)), None)
            if stop is not None:  # before anything else: a stop waits for no turn and no frame
                try:
                    self.on_stop()
                finally:
                    self.cancel_all("a stop was requested")
                raise StopRequestedError(stop)
            if (length := sum(map(len, request.others))) > LONGEST_OTHERS:
                expected, repair = f"at most {LONGEST_OTHERS} together", "ask in several requests"
                raise InputError("further instructions", f"{length} characters", expected, repair)
            if self._closed:
                raise CancelledError("the node is shutting down")
            if self.full and self._request is not None:
                raise BusyError(self._request.instruction)
            if request.found is not None:
                check_stamped(request.found)
            begun: list[DialogueTurn | None] = []
            if request.work is None:  # the words alone may decide: then no frame is awaited
                request.before = self._dialogues.find(request.dialogue_id)
                request.taken = self._taken(request, request.instruction, request.before)
                begun = [request.taken, *(self._taken(request, words) for words in request.others)]
            request.without_detections = request.work is not None and self.frames.found_elsewhere
        except Exception as error:
            self._reply(request, self._refused(request, error))
            return
        config = self._settings.resolver
        default = request.frame_of_reference or config.frame_of_reference
        queries = [query for turn in begun if turn is not None for query in turn.queries]
        request.needs_speaker = needs_speaker(queries, default, config.relation.second_frame)
        if self._request is None:
            self._serve(request)
        else:
            self._queue.append(request)
            self._advance(request, 0, f"waiting for its turn, number {len(self._queue)}")

    def _taken(self, request: InstructionRequest, words: str, before: Dialogue | None = None) -> DialogueTurn | None:
        """The parsed words, or None; not understanding them refuses a request only if it asks nothing else."""
        try:
            return self._resolver.taken(words, before)
        except SpatialVlmError:
            if request.others:
                return None
            raise

    def _serve(self, request: InstructionRequest, changed: SourceChangedError | None = None) -> None:
        self.observer.withdraw(request if request.found is None else None)
        self._request = request
        if changed is not None:  # while it waited for its turn
            self._end(request, self._refused(request, changed))
            return
        self.frames.bind(request)
        self.frames.begin(request, request.accepted_ns)
        self.on_busy(True)
        self._advance(request, self.WAITING_FOR_FRAME, "waiting for a complete frame")
        self.step()

    def cancel(self, request: InstructionRequest, reason: str | SpatialVlmError) -> None:
        """End a request with CANCELLED, or with this error, at any stage."""
        error = CancelledError(reason) if isinstance(reason, str) else reason
        outcome = RequestOutcome(refused_in(request.instruction, error, request.before))
        if request in self._queue:
            self._queue.remove(request)
            self._reply(request, outcome)
        elif request is self._request:
            if request.task is not None:
                request.task.withdraw()
                if hasattr(self._grounder, "cancel"):
                    self._grounder.cancel()
            self._end(request, outcome)

    def cancel_all(self, reason: str) -> None:
        """End all requests, queued ones first."""
        while self._queue:
            self.cancel(self._queue[0], reason)
        if self._request is not None:
            self.cancel(self._request, reason)

    def time_jumped(self) -> None:
        """Handle a clock that was set back: forget all frames.

        A waiting request starts its wait again; a request that is being resolved ends, because its answer would be
        outdated.
        """
        self.assembler.reset()
        if self.frames.recent is not None:
            self.frames.recent.reset()
        self.observer.forget()
        for request in self._queue:
            request.accepted_ns = self.frames.now()
        if self._request is not None and (self._request.stage == self.RESOLVING or self._request.found is not None):
            self.cancel(self._request, clock_set_back())
        elif self._request is not None:
            self.frames.begin(self._request)

    def sent(self, outcome: RequestOutcome) -> None:
        """Record for the diagnostics how long an answer took, from the last message of its frame until it was sent."""
        if outcome.begun is not None:
            self.latencies.append(time.perf_counter() - outcome.begun)

    def close(self) -> None:
        """End everything; may be called more than once."""
        self._closed = True
        self.cancel_all("the node is shutting down")
        self.observer.withdraw()
        self._worker.close()

    # -------------------------------------------------------------------------------------------- waiting

    def step(self, begun: float | None = None) -> None:
        """Answer the current request if it can be, or is late; `begun`: arrival of a message (perf_counter, s)."""
        request = self._request
        if request is None:
            if self.observer.waits:
                self.observer.step()
            else:
                self.assembler.forget_older()
            return
        if request.stage == self.RESOLVING:
            self.assembler.forget_older()  # the next request needs the newest frames
            late = request.task.late if request.task is not None else None
            if request.task is not None and late is not None:
                request.task.withdraw()
                self._end(request, RequestOutcome(refused_in(request.instruction, late, request.before)))
            return
        try:
            pending = self.frames.take(request)
        except Exception as error:
            if isinstance(error, SpatialVlmError) and request.found is None:
                self.observer.conclude(error)
            self._end(request, self._refused(request, error))
            return
        if pending is not None:
            self.observer.got_frame()
            self._advance(request, self.RESOLVING, "resolving")
            self._resolve(request, pending, begun or time.perf_counter())
        elif self.frames.waits_for_transform(request):
            self._advance(request, self.WAITING_FOR_TRANSFORM, "waiting for a transform")
        elif request.stage == self.WAITING_FOR_FRAME:
            self._advance(request, self.WAITING_FOR_FRAME, "waiting for a complete frame")

    def _advance(self, request: InstructionRequest, stage: int, words: str) -> None:
        now = time.monotonic()
        if request.stage != stage or now - request.told >= _TOLD_AGAIN:
            request.stage, request.told = stage, now
            request.progress(stage or self.WAITING_FOR_FRAME, words)

    # -------------------------------------------------------------------------------------------- resolving

    def _resolve(self, request: InstructionRequest, pending: PendingFrame, begun: float) -> None:
        """Resolve a snapshot (messages, transforms, resolver) on the worker's thread."""
        resolver, limit = self._resolver, self._settings.node.resolve_timeout
        request.kept = None if self.evidence is None else self.evidence.taken(pending, self.assembler)
        loading, asking = (getattr(self._grounder, name, 0.0) for name in ("startup_timeout_s", "timeout_s"))
        task = request.task = ResolvingTask(limit + float(loading + 3.0 * asking), limit)

        def work() -> RequestOutcome:
            task.check("decoding")
            frame, detections = pending.decode()
            task.check("resolving")
            if request.work is not None:
                return request.work(resolver, frame, task.check)
            observed = resolver.look_at(frame, detections, UNMEASURED)
            observed.held = held_from_text(request.held) if request.held else None
            resolution, seen, scene, dialogue = observed.ask(
                request.instruction, request.frame_of_reference or None, request.before or (), task.check, request.taken
            )
            around = "" if request.around is None or scene is None else request.around(resolution, scene)
            reference, found = request.frame_of_reference or None, observed.found
            asked = [observed.ask(words, reference, (), task.check) for words in request.others]
            others, dialogues = tuple(one.resolution for one in asked), tuple(one.dialogue for one in asked)
            return RequestOutcome(resolution, frame, seen, begun, scene, dialogue, found, around, others, dialogues)

        def done(outcome: RequestOutcome | SpatialVlmError) -> None:
            outcome = self.frames.sources.changed(self.assembler.frames_used) or outcome
            if isinstance(outcome, SpatialVlmError):
                outcome = RequestOutcome(refused_in(request.instruction, outcome, request.before, pending.stamp_ns))
            if request is self._request and outcome.scene is not None:  # the observer would have found the same
                self.observer.conclude(outcome.scene.evidence.error, pending.stamp_ns)
            if self._grounder is not None:
                status, words = outcome.resolution.status, outcome.resolution.message
                failed = status in (Status.MODEL_ERROR, Status.TIMEOUT)
                self.grounder_failed = words if failed else "" if outcome.scene is not None else self.grounder_failed
            self._end(request, outcome)

        self._worker.submit(task, work, done)

    def _end(self, request: InstructionRequest, outcome: RequestOutcome) -> None:
        if request is not self._request:  # it was cancelled meanwhile
            return
        self._request = None
        try:
            self._reply(request, outcome)
        finally:
            if self._queue and self._request is None and not self._closed:
                self.assembler.forget_older()
                self._serve(self._queue.popleft(), self.frames.sources.changed(self.assembler.frames_used))
            elif self._request is None:
                self.on_busy(False)

    def _refused(self, request: InstructionRequest, error: Exception) -> RequestOutcome:
        """The refusal for an error; an unexpected error ends only this request, and its trace is logged."""
        if not isinstance(error, SpatialVlmError):
            _log.error("unexpected exception while serving %r", request.instruction, exc_info=error)
            error = InternalError.of(error)
        return RequestOutcome(refused_in(request.instruction, error, request.before))

    def _reply(self, request: InstructionRequest, outcome: RequestOutcome) -> None:
        self.ends[outcome.resolution.status.value] += 1
        for dialogue in (outcome.dialogue, *outcome.dialogues):
            self._dialogues.keep(dialogue)
        request.reply(outcome)
        if self.evidence is not None and request.work is None:
            self.evidence.decided(request, outcome, self.assembler)
