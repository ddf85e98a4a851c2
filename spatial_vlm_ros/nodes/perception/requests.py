# SPDX-License-Identifier: Apache-2.0
"""Requests: what they wait for, their computation on a worker thread, their end, and dialogues. No ROS."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from spatial_vlm_ros.budgets import MOST_DIALOGUES
from spatial_vlm_ros.errors import CancelledError, DeadlineError, InputError, InternalError, SpatialVlmError
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.spatial.dialogue_state import Dialogue
from spatial_vlm_ros.spatial.dialogue_turns import DialogueTurn
from spatial_vlm_ros.streams.transforms import TransformSample
from spatial_vlm_ros.types import Detection, NounPhrase, Resolution, RgbdFrame, Scene

if TYPE_CHECKING:
    from spatial_vlm_ros.perception.taught_store import Lesson

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

_MOST_OVER = 1000  # ids of forgotten dialogues, so that the refusal can say that they are over
_REPAIR = "send the whole instruction without an id"


class ResolvingTask:
    """One computation, shared between both threads; the error names the limit `allowed` (s), or else `seconds`."""

    def __init__(self, seconds: float, allowed: float | None = None) -> None:
        self._allowed = seconds if allowed is None else allowed
        self._end = time.monotonic() + seconds
        self._withdrawn = False
        self.stage = "waiting for an earlier computation"

    def withdraw(self) -> None:
        """Mark the task as no longer needed."""
        self._withdrawn = True

    @property
    def late(self) -> DeadlineError | None:
        """The error if the deadline has passed, otherwise None."""
        return DeadlineError(self.stage, self._allowed) if time.monotonic() > self._end else None

    def check(self, stage: str = "resolving") -> None:
        """Raise if the task has to end; called between stages."""
        if self._withdrawn:
            raise CancelledError("the request was withdrawn")
        late = self.late
        if late is not None:
            raise late
        self.stage = stage


class ResolvingWorker:
    """A thread that decodes and resolves snapshots, one at a time; tasks have a deadline and can be withdrawn.

    It is a thread and not a process because NumPy and OpenCV release the interpreter's lock during most of the time, a
    720p frame would have to be copied to another process, and models, which can crash or hang, have their own
    processes.

    Args:
        wake: runs a function on the executor's thread; callable from any thread.
    """

    def __init__(self, wake: Callable[[Callable[[], None]], None]) -> None:
        self._wake = wake
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="resolve")

    def submit(
        self, task: ResolvingTask, work: Callable[[], Result], done: Callable[[Result | SpatialVlmError], None]
    ) -> None:
        """Run `work` on this thread, then `done` on the executor's thread.

        Args:
            work: must use only its own data, because the executor keeps running.
            done: takes the result or the error; an unexpected exception comes as InternalError, with its trace in the
                log.
        """

        def run() -> None:
            found: Result | SpatialVlmError
            try:
                task.check()
                found = work()
            except SpatialVlmError as error:
                found = error
            except Exception as error:  # a bug here costs one request, not the node
                _log.exception("unexpected exception in the resolving thread")
                found = InternalError.of(error)
            self._wake(lambda: done(found))

        self._pool.submit(run)

    def close(self) -> None:
        """Accept no more tasks; a withdrawn running task ends at its next stage."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class DialogueStore:
    """Keeps the newest dialogues by id, each until `timeout` seconds without use, by a clock of monotonic seconds."""

    def __init__(self, timeout: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout, self._clock = timeout, clock
        self._kept: OrderedDict[str, tuple[float, Dialogue]] = OrderedDict()  # id -> when last used
        self._over: OrderedDict[str, str] = OrderedDict()  # id -> why it is over

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, dialogue: Dialogue | None) -> None:
        """Store a dialogue as used now; None, or a dialogue without an id, is ignored."""
        if dialogue is None or not dialogue.id:
            return
        self._forget_old()
        self._kept[dialogue.id] = self._clock(), dialogue
        self._kept.move_to_end(dialogue.id)
        self._over.pop(dialogue.id, None)
        while len(self._kept) > MOST_DIALOGUES:
            self._end(next(iter(self._kept)), f"which was replaced by {MOST_DIALOGUES} newer ones")

    def find(self, dialogue_id: str) -> Dialogue | None:
        """The dialogue of an id, marked as used now; None for ""."""
        if not dialogue_id:
            return None
        self._forget_old()
        if dialogue_id not in self._kept:
            why = self._over.get(dialogue_id, "")
            got = f"{dialogue_id!r}, {why}" if why else repr(dialogue_id)
            raise InputError("dialogue_id", got, "the id of a recent answer or question", _REPAIR)
        _, dialogue = self._kept[dialogue_id]
        self._kept[dialogue_id] = self._clock(), dialogue
        self._kept.move_to_end(dialogue_id)
        return dialogue

    def _forget_old(self) -> None:
        limit = self._timeout()
        oldest = self._clock() - limit
        while self._kept and next(iter(self._kept.values()))[0] < oldest:
            self._end(next(iter(self._kept)), f"which expired after {limit:g} s without a reply")

    def _end(self, dialogue_id: str, why: str) -> None:
        del self._kept[dialogue_id]
        self._over[dialogue_id] = why
        while len(self._over) > _MOST_OVER:
            self._over.popitem(last=False)


@dataclass(eq=False, kw_only=True)
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


@dataclass(frozen=True, eq=False)
class KeptFrame:
    """The input of a decision at the moment when its frame was taken.

    Args:
        arrivals: role → arrival time in nanoseconds, for images.
    """

    messages: Mapping[str, Any]
    arrivals: Mapping[str, int]
    transforms: tuple[TransformSample, ...]
    settings: Settings
    origin: str


@dataclass(frozen=True, eq=False)
class RequestOutcome:
    """How a request ended.

    Args:
        frame: image of the answer; None if nothing was resolved.
        begun: when the last message of the frame came, seconds of time.perf_counter; None if none was resolved.
        scene: all objects of the frame; None if refused before they were lifted.
        found: phrases sent to the grounder and its detections; None if it was not called or failed.
        surroundings: JSON of the target's surroundings; "" if there is none or it was not requested.
        others: answers to the request's other instructions; empty if its frame was not reached.
        dialogues: what later words may refer to after these answers.
        lesson: what was taught; None for everything else.
    """

    resolution: Resolution
    frame: RgbdFrame | None = None
    detections: tuple[Detection, ...] = ()
    begun: float | None = None
    scene: Scene | None = None
    dialogue: Dialogue | None = None
    found: tuple[tuple[NounPhrase, ...], Grounding] | None = None
    surroundings: str = ""
    others: tuple[Resolution, ...] = ()
    dialogues: tuple[Dialogue | None, ...] = ()
    lesson: Lesson | None = None

    @property
    def frame_id(self) -> str:
        """Frame of its image; "" without one."""
        return self.frame.frame_id if self.frame else ""


@dataclass(eq=False)
class InstructionRequest(Wait):
    """One instruction with its callbacks.

    Args:
        frame_of_reference: "" = the configured default.
        dialogue_id: id of the question that it answers or of the answer that it corrects, or "".
        found: a message with detections; the request is answered on their frame. None = on the first complete frame.
        around: returns the target's surroundings as text; called on the worker's thread. None = not requested.
        others: more instructions, each asked alone of the same frame.
        held: JSON of what the hand holds; "" = nothing.
        work: what is done with the frame instead of finding what the words mean, which are then only shown; called on
            the worker's thread, with what raises if the task has to end.

    Attributes:
        before: the dialogue that it continues; None if it begins one.
        taken: its parsed words; None if a model may be asked about them.
        accepted_ns: arrival time, nanoseconds; frames stamped earlier are not used.
        stage: WAITING_FOR_FRAME, WAITING_FOR_TRANSFORM or RESOLVING of RequestQueue; 0 = waiting for its turn.
        told: when the stage was last reported, seconds of time.monotonic.
        kept: data of its frame for the evidence; None without a frame, or if no evidence is stored.
    """

    instruction: str
    frame_of_reference: str
    dialogue_id: str
    reply: Callable[[RequestOutcome], None]
    progress: Callable[[int, str], None]
    around: Callable[[Resolution, Scene], str] | None = None
    others: Sequence[str] = ()
    held: str = ""
    work: Callable[[Resolver, RgbdFrame, Callable[[str], None]], RequestOutcome] | None = None
    before: Dialogue | None = field(default=None, init=False)
    taken: DialogueTurn | None = field(default=None, init=False)
    accepted_ns: int = field(default=0, init=False)
    stage: int = field(default=0, init=False)
    told: float = field(default=0.0, init=False)
    task: ResolvingTask | None = field(default=None, init=False)
    kept: KeptFrame | None = field(default=None, init=False)
