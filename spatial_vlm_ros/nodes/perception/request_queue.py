# SPDX-License-Identifier: Apache-2.0
"""One request at a time: accept, wait for a complete frame, resolve, reply once.

Knows requests and their ends; knows nothing of topics. Everything runs on the executor's thread but `_resolve_aside`.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from spatial_vlm_ros.errors import (
    BusyError,
    CancelledError,
    InputError,
    InternalError,
    SpatialVlmError,
    StaleInputError,
    TransformUnavailableError,
)
from spatial_vlm_ros.language import parse_dialogue
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.resolver import Resolver, refusal
from spatial_vlm_ros.streams.frame_assembler import SECOND, FrameAssembler, PendingFrame
from spatial_vlm_ros.streams.recent import RecentFrames, check_stamped
from spatial_vlm_ros.streams.speaker import needs_speaker
from spatial_vlm_ros.types import Detection, Resolution, RgbdFrame, Scene

_log = logging.getLogger(__name__)

_DIALOGUES = 200  # answers and questions that later words may refer to
_TURNS = 20  # of one dialogue; a person begins anew long before
_TOLD_AGAIN = 1.0  # s
_LATENCIES = 200  # answers that percentiles are taken over


@dataclass(eq=False)
class InstructionRequest:
    """One instruction and where its reply goes.

    Args:
        instruction: the words.
        frame_of_reference: "" = the configured one.
        dialogue_id: of the question that it answers or of the answer that it mends, or "".
        reply: called once with the answer and the frame it was found in.
        progress: called with a stage and words.
        follows: what was said before in its dialogue.
        needs_speaker: its words may be meant from where the speaker stands.
        after_ns: frames stamped before are passed over, nanoseconds.
        since_ns: since when it waits, nanoseconds of the node's time.
        stage: WAITING_FOR_FRAME, WAITING_FOR_TRANSFORM or RESOLVING of Desk; 0 = not accepted yet.
        told: when the stage was last told, seconds of time.monotonic.
        found: a message with detections: it is answered on the frame that they were found in. None = on the first
            frame that is complete.
        passed_over: why a frame was, for which a newer one is awaited.
    """

    instruction: str
    frame_of_reference: str
    dialogue_id: str
    reply: Callable[[RequestOutcome], None]
    progress: Callable[[int, str], None]
    follows: tuple[str, ...] = ()
    needs_speaker: bool = False
    after_ns: int = 0
    since_ns: int = 0
    stage: int = 0
    told: float = 0.0
    found: Any = None
    passed_over: SpatialVlmError | None = None


@dataclass(frozen=True, eq=False)
class RequestOutcome:
    """How a request ended.

    Args:
        resolution: the answer.
        frame: what it was found in; None where nothing was resolved.
        detections: those that the answer rests on.
        begun: when the last message of the frame came in, seconds of time.perf_counter; None where none was resolved.
        scene: all objects of the frame; None where it was refused before they were lifted.
    """

    resolution: Resolution
    frame: RgbdFrame | None = None
    detections: tuple[Detection, ...] = ()
    begun: float | None = None
    scene: Scene | None = None


class RequestQueue:
    """Serves requests from the frames of an intake.

    Args:
        settings: everything.
        intake: where frames come from.
        grounder: finds objects, or None where detections come with the frames.
        now: the node's time, nanoseconds.
        wake: runs a function on the executor's thread, callable from any thread.
        topics: role → name of its topic, for messages.
        recent: where the frames of detections that come with a request are; None where none are kept.
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
        self.recent = recent
        self.assembler, self._grounder, self._now, self._wake, self.topics = assembler, grounder, now, wake, topics
        self.unheard: dict[str, str] = {}  # topic -> why a publisher of it cannot be heard, and the fix
        self._settings, self._resolver = settings, Resolver(settings.resolver, grounder)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="resolve")
        self._request: InstructionRequest | None = None
        self._dialogues: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._clock_ns, self._clock_moved = now(), time.monotonic()
        self.ends: Counter[str] = Counter()
        self.latencies: deque[float] = deque(maxlen=_LATENCIES)

    @property
    def busy(self) -> bool:
        """Whether a request is being served."""
        return self._request is not None

    def change(self, settings: Settings, assembler: FrameAssembler, recent: RecentFrames | None = None) -> None:
        """Use other settings from the next frame on."""
        self._settings, self.assembler, self.recent = settings, assembler, recent
        self._resolver = Resolver(settings.resolver, self._grounder)

    # -------------------------------------------------------------------------------------------- requests

    def accept(self, request: InstructionRequest, after_ns: int | None = None) -> None:
        """Serve a request, or refuse it at once: another one is served, or its words are not understood.

        Args:
            request: what is asked.
            after_ns: when it came; frames before are passed over. None = now.
        """
        now_ns = self._now()
        try:
            if self._request is not None:
                raise BusyError(self._request.instruction)
            if request.found is not None:
                check_stamped(request.found)
            request.follows = self._followed(request.dialogue_id)
            # Words alone may settle it: then no frame is awaited.
            queries = parse_dialogue(request.instruction, request.follows)
        except SpatialVlmError as error:
            self._reply(request, RequestOutcome(refusal(request.instruction, error)))
            return
        config = self._settings.resolver
        default = request.frame_of_reference or config.frame_of_reference
        request.needs_speaker = needs_speaker(queries, default, config.relation.second_frame)
        request.after_ns = now_ns if after_ns is None else after_ns
        request.since_ns = self._clock_ns = now_ns
        self._clock_moved = time.monotonic()
        self._request = request
        self._advance(request, self.WAITING_FOR_FRAME, "waiting for a complete frame")
        self.step()

    def cancel(self, request: InstructionRequest, reason: str) -> None:
        """End a request with CANCELLED, wherever it stands."""
        if request is not self._request:
            return
        if request.stage == self.RESOLVING and hasattr(self._grounder, "cancel"):
            self._grounder.cancel()
        self._end(request, RequestOutcome(refusal(request.instruction, CancelledError(reason))))

    def cancel_all(self, reason: str) -> None:
        """End the request that is being served, if any."""
        if self._request is not None:
            self.cancel(self._request, reason)

    def time_jumped(self) -> None:
        """The clock was set back: what was seen is forgotten.

        A waiting request waits anew; one that is being resolved ends, for its answer would be of a time that is over.
        """
        self.assembler.reset()
        if self.recent is not None:
            self.recent.reset()
        if self._request is not None and (self._request.stage == self.RESOLVING or self._request.found is not None):
            self.cancel(self._request, "the clock was set back while its frame was awaited or resolved")
        elif self._request is not None:
            self._request.after_ns = self._request.since_ns = self._now()
            self._request.passed_over = None

    def sent(self, outcome: RequestOutcome) -> None:
        """The answer is out: how long it took, from the last message of its frame, is kept for diagnostics."""
        if outcome.begun is not None:
            self.latencies.append(time.perf_counter() - outcome.begun)

    def close(self) -> None:
        """End everything."""
        self.cancel_all("the node shuts down")
        self._pool.shutdown(wait=False, cancel_futures=True)

    # -------------------------------------------------------------------------------------------- waiting

    def step(self, begun: float | None = None) -> None:
        """See whether the waiting request can be answered now, or has waited too long.

        Args:
            begun: when the message came in that may make a frame complete, seconds of time.perf_counter; None = now.
        """
        request = self._request
        if request is None:
            self.assembler.forget_older()
            return
        if request.stage == self.RESOLVING:
            return
        now_ns = self._now()
        try:
            # Simulated time that has not begun tells nothing of a frame's age.
            in_time = now_ns - request.since_ns < self._settings.streams.frame_timeout * SECOND
            awaits_speaker = request.needs_speaker and in_time
            observation = self._take(request, now_ns, awaits_speaker) if now_ns else None
            if observation is None:
                self._check_patience(request, now_ns)
        except SpatialVlmError as error:
            self._end(request, RequestOutcome(refusal(request.instruction, error)))
            return
        if observation is not None:
            self._advance(request, self.RESOLVING, "resolving")
            self._resolve(request, observation, begun or time.perf_counter())
        elif self._source(request).waits_for_transform:
            self._advance(request, self.WAITING_FOR_TRANSFORM, "waiting for a transform")
        elif request.stage == self.WAITING_FOR_FRAME:
            self._advance(request, self.WAITING_FOR_FRAME, "waiting for a complete frame")

    def _source(self, request: InstructionRequest) -> FrameAssembler:
        return self.assembler if request.found is None or self.recent is None else self.recent

    def _take(self, request: InstructionRequest, now_ns: int, awaits_speaker: bool) -> PendingFrame | None:
        while request.found is None:
            try:
                return self.assembler.take(request.after_ns, now_ns, awaits_speaker)
            except TransformUnavailableError as error:
                if not error.is_past:
                    raise
                request.passed_over = error  # the next frame may have the transforms that began after this one
        if self.recent is None:
            raise InputError("detections", "with the request", "on their topic", "set selection: true")
        return self.recent.take_for(request.found, now_ns, awaits_speaker)

    def _check_patience(self, request: InstructionRequest, now_ns: int) -> None:
        """Raise what a request that has waited too long is refused with. Simulated time may stand still."""
        timeout = self._settings.streams.frame_timeout
        if now_ns != self._clock_ns:
            if self._clock_ns == 0:  # simulated time has just begun
                request.since_ns = now_ns
                request.after_ns = now_ns - int(timeout * SECOND)
            self._clock_ns, self._clock_moved = now_ns, time.monotonic()
        elif time.monotonic() - self._clock_moved >= timeout:
            raise StaleInputError("the clock stands still", "publish /clock, or set use_sim_time: false")
        if now_ns - request.since_ns >= timeout * SECOND:
            raise self._why_none(request)

    def _why_none(self, request: InstructionRequest) -> SpatialVlmError:
        if request.passed_over is not None:
            return request.passed_over
        if request.found is not None and self.recent is not None:
            error = self.recent.why_none_for(request.found, request.since_ns, self.topics)
        else:
            error = self.assembler.why_none(request.since_ns, self.topics)
        if not isinstance(error, StaleInputError):
            return error
        fixes = [fix for topic, fix in self.unheard.items() if topic in error.reason]
        return StaleInputError(error.reason, "; ".join(fixes) or error.repair)

    def _advance(self, request: InstructionRequest, stage: int, words: str) -> None:
        """Tell a stage; one that lasts is told again, for feedback is lost on a client just being discovered."""
        now = time.monotonic()
        if request.stage != stage or now - request.told >= _TOLD_AGAIN:
            request.stage, request.told = stage, now
            request.progress(stage, words)

    # -------------------------------------------------------------------------------------------- resolving

    def _resolve(self, request: InstructionRequest, observation: PendingFrame, begun: float) -> None:
        """Resolve here and now with given detections, some milliseconds; beside the executor with a grounder."""
        if self._grounder is None:
            self._end(request, self._outcome(request, observation, begun))
        else:
            self._pool.submit(self._resolve_aside, request, observation, begun)

    def _resolve_aside(self, request: InstructionRequest, observation: PendingFrame, begun: float) -> None:
        outcome = self._outcome(request, observation, begun)
        self._wake(lambda: self._end(request, outcome))

    def _outcome(self, request: InstructionRequest, observation: PendingFrame, begun: float) -> RequestOutcome:
        """Decode and resolve; whatever happens, there is an outcome."""
        try:
            frame, detections = observation.decode()
            if request is not self._request:  # withdrawn meanwhile: the grounder is not asked
                raise CancelledError("the request was withdrawn")
            resolution, seen, scene = self._resolver.look_at(frame, detections).ask(
                request.instruction, request.frame_of_reference or None, request.follows
            )
            return RequestOutcome(resolution, frame, seen, begun, scene)
        except SpatialVlmError as error:
            return RequestOutcome(refusal(request.instruction, error, observation.stamp_ns))
        except Exception as error:  # a fault of ours costs one request, not the node
            _log.exception("unexpected exception while answering %r", request.instruction)
            return RequestOutcome(refusal(request.instruction, InternalError.of(error), observation.stamp_ns))

    def _end(self, request: InstructionRequest, outcome: RequestOutcome) -> None:
        if request is self._request:  # else it has been cancelled meanwhile
            self._request = None
            self._reply(request, outcome)

    def _reply(self, request: InstructionRequest, outcome: RequestOutcome) -> None:
        resolution = outcome.resolution
        self.ends[resolution.status.value] += 1
        said = (*request.follows, request.instruction)
        if resolution.dialogue_id is not None and len(said) < _TURNS:
            self._dialogues[resolution.dialogue_id] = said
            self._dialogues.move_to_end(resolution.dialogue_id)
            while len(self._dialogues) > _DIALOGUES:
                self._dialogues.popitem(last=False)
        request.reply(outcome)

    def _followed(self, dialogue_id: str) -> tuple[str, ...]:
        if not dialogue_id:
            return ()
        if dialogue_id not in self._dialogues:
            raise InputError("dialogue_id", repr(dialogue_id), "the id of a recent answer or question",
                             "send the whole instruction without an id")  # fmt: skip
        return self._dialogues[dialogue_id]
