# SPDX-License-Identifier: Apache-2.0
"""A grounder in its own process: a crash, a hang or out of memory costs one request, not the program."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType, TracebackType

from spatial_vlm_ros.errors import CancelledError, InputError, ModelError, ModelTimeoutError, UnfamiliarImageError
from spatial_vlm_ros.perception import replies
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.judging import CannotJudgeError, RelationQuestion
from spatial_vlm_ros.perception.referring import cannot_refer
from spatial_vlm_ros.perception.relation_marks import BOXES, MarksError
from spatial_vlm_ros.perception.worker_masks import ask_masks
from spatial_vlm_ros.perception.worker_process import GRACE_S, WorkerProcess
from spatial_vlm_ros.perception.worker_wire import (
    Ask,
    Body,
    Failed,
    FromWorker,
    Judged,
    JudgeRequest,
    Load,
    MaskRequest,
    Ready,
    Refer,
    Referred,
    WireError,
    WorkerReply,
    ask,
    error_of,
    grounding_of,
    judge,
    judgements_of,
    refer,
    references_of,
)
from spatial_vlm_ros.types import Detection, ModelDomain, NounPhrase, Rgb

_SLICE_S = 0.02  # a cancellation or a death is noticed within this time
_FAILURES = 3  # failures in a row after which the process is replaced: some errors leave a GPU's context broken
_SHARE = 0.8  # share of timeout_s after which no further relation question is asked
_NEXT = "the next request starts it again"


class WorkerGrounder:
    """Runs a backend in its own process; it is a Grounder, and a Referrer and RelationJudge if the backend is.

    `start` or the first request starts the process. If it dies, hangs or sends invalid data, the current request fails
    and the next one starts a new process. It ends when its owner ends, however that happens. Methods may be called from
    any thread; requests are answered one at a time, and others wait.

    Args:
        name: name of the backend, as in perception.load_grounder.
        options: options of the backend.
        timeout_s: time limit of a request once the backend is loaded, seconds.
        startup_timeout_s: time limit for loading the backend, seconds.

    Raises:
        InputError: a timeout is not a positive number.

    Attributes:
        domain: domain that the backend declares; "unknown" until it was loaded for the first time.
    """

    def __init__(
        self,
        name: str,
        options: Mapping[str, str] = MappingProxyType({}),
        timeout_s: float = 30.0,
        startup_timeout_s: float = 120.0,
    ) -> None:
        for what, seconds in (("timeout_s", timeout_s), ("startup_timeout_s", startup_timeout_s)):
            if not 0.0 < seconds < math.inf:
                raise InputError(what, str(seconds), "a positive number of seconds")
        self.name, self.options = name, dict(options)
        self.timeout_s, self.startup_timeout_s = timeout_s, startup_timeout_s
        self._turn = threading.Lock()  # held by the thread that talks to the process
        self._state = threading.Lock()  # guards the flags that other threads change
        self._busy, self._closed, self._cancelled = False, False, ""
        self._process: WorkerProcess | None = None
        self._ready, self._refers, self._judges, self._masks = False, False, False, False
        self.tells_likelihoods = False  # for relations; known once it is loaded
        self.domain: ModelDomain = "unknown"
        self._numbers = itertools.count(1)
        self._late: int | None = None  # number of a request that was given up and whose answer is still outstanding
        self._failures = 0

    # -------------------------------------------------------------------------------------------- life

    def start(self) -> None:
        """Start the process and wait until the backend is loaded; does nothing if it is.

        Raises:
            InputError: no such backend, or wrong options for it.
            ModelError: the backend cannot be loaded.
            ModelTimeoutError: loading took longer than startup_timeout_s.
            CancelledError: `cancel` or `close` was called meanwhile; after `cancel` the backend continues to load.
        """
        with self._state:
            self._closed = False
        with self._own_turn():
            if self._process is not None and not self._process.alive:
                self._end()
            self._started()

    def close(self) -> None:
        """End the process; a current request raises CancelledError. `start` reopens it. Repeated calls are harmless."""
        with self._state:
            self._closed = True
            self._cancelled = "the grounder was closed"
        with self._turn:
            self._end(GRACE_S)

    def cancel(self) -> bool:
        """Make the current request, if any, raise CancelledError at once. The process and its model stay.

        Returns:
            Whether there was one. A request that begins after this call is not affected.
        """
        with self._state:
            self._cancelled = self._cancelled or "the request was cancelled"
            return self._busy

    @property
    def pid(self) -> int | None:
        """Id of the process; None if there is none."""
        process = self._process
        return None if process is None else process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        process = self._process
        return process is not None and process.alive

    def __enter__(self) -> WorkerGrounder:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -------------------------------------------------------------------------------------------- requests

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Ask the backend; see Grounder.ground. The time to start the process does not count towards timeout_s.

        Raises:
            InputError: `rgb` is not an image, `phrases` are not phrases, or see `start`.
            ModelError: the backend raised an error (its process stays), or its process died or sent invalid data (the
                next request starts a new one).
            ModelTimeoutError: no answer within timeout_s; the process is ended.
            CancelledError: `cancel` or `close` was called meanwhile.
        """
        header, body = ask(next(self._numbers), rgb, phrases)
        with self._own_turn():
            reply, data = self._answered(header, body)
            if not isinstance(reply, WorkerReply):
                raise WireError(f"it answered with {type(reply).__name__} to a request for phrases")
            grounding = grounding_of(reply, data, rgb.shape[:2])
            self._failures = 0
            return grounding

    def refer(self, rgb: Rgb, words: str) -> tuple[replies.NamedObject, ...]:
        """Ask the backend for a whole phrase; see Referrer.refer. It has its own timeout_s, like `ground`.

        Raises:
            InputError: the backend cannot refer, `rgb` is not an image, `words` are not text, or see `start`.
            ModelError, ModelTimeoutError, CancelledError: as `ground`.
        """
        header, body = refer(next(self._numbers), rgb, words)
        with self._own_turn():
            reply, data = self._answered(header, body)
            if not isinstance(reply, Referred):
                raise WireError(f"it answered with {type(reply).__name__} to a request for a whole phrase")
            references = references_of(reply, data)
            self._failures = 0
            return references

    def masked(self, rgb: Rgb, detections: Sequence[Detection]) -> tuple[Detection, ...]:
        """Ask the backend for masks; see Masker.masked. Without a mask model detections stay as they are.

        Raises:
            InputError: `rgb` is not an image, `detections` are not Detections, or see `start`.
            ModelError, ModelTimeoutError, CancelledError: as `ground`.
        """
        header, body = ask_masks(next(self._numbers), rgb, detections)
        with self._own_turn():
            self._started()
            if not self._masks:
                return tuple(detections)
            reply, data = self._answered(header, body)
            if not isinstance(reply, WorkerReply):
                raise WireError(f"it answered with {type(reply).__name__} to a request for masks")
            masked = grounding_of(reply, data, rgb.shape[:2]).detections
            if [one.id for one in masked] != [one.id for one in detections]:
                raise WireError(f"masks of {len(masked)} objects for {len(detections)}")
            self._failures = 0
            return masked

    def judge(
        self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float, marks: str = BOXES
    ) -> tuple[float | None, ...]:
        """Ask the backend about relations; see AskedJudge.judge. It has its own timeout_s, like `ground`.

        No further question is asked after 0.8 timeout_s, so that earlier answers are not lost.

        Raises:
            InputError: the backend cannot be asked, `rgb` is not an image, `questions` are not RelationQuestions, or
                see `start`.
            ModelError, ModelTimeoutError, CancelledError: as `ground`.
        """
        header, body = judge(next(self._numbers), rgb, questions, min(budget_s, _SHARE * self.timeout_s), marks)
        with self._own_turn():
            reply, data = self._answered(header, body)
            if not isinstance(reply, Judged):
                raise WireError(f"it answered with {type(reply).__name__} to a request about relations")
            probabilities = judgements_of(reply, data, len(questions))
            self._failures = 0
            return probabilities

    def _answered(
        self, header: Ask | Refer | JudgeRequest | MaskRequest, body: Sequence[memoryview | bytes]
    ) -> tuple[WorkerReply | Referred | Judged, Body]:
        """Wait for the turn, send a request and wait for its answer; a failure of the backend is raised."""
        process = self._started()
        if isinstance(header, Refer) and not self._refers:
            raise cannot_refer(self.name)
        if isinstance(header, JudgeRequest) and not self._judges:
            raise CannotJudgeError(self.name)
        deadline = time.monotonic() + self.timeout_s
        if self._late is not None:
            self._reply(process, self._late, deadline)
        process.post(header, body)
        self._late = header.number
        reply, data = self._reply(process, header.number, deadline)
        if not isinstance(reply, Failed):
            return reply, data
        error = error_of(reply, self.name)
        self._failures += not isinstance(error, (UnfamiliarImageError, MarksError))  # not its fault
        if self._failures >= _FAILURES:
            self._end()
        raise error

    def _reply(
        self, process: WorkerProcess, number: int, deadline: float
    ) -> tuple[WorkerReply | Referred | Judged | Failed, Body]:
        reply, body = self._frame(process, deadline)
        if isinstance(reply, Ready) or reply.number != number:
            raise WireError(f"it answered with {type(reply).__name__} to no request")
        self._late = None
        return reply, body

    def _started(self) -> WorkerProcess:
        """The process with its backend loaded; starts one if there is none."""
        if self._process is None:
            self._process, self._ready, self._late, self._failures = WorkerProcess(self.name), False, None, 0
            self._process.post(Load(self.name, self.options))
        if not self._ready:
            reply, _ = self._frame(self._process, self._process.started + self.startup_timeout_s)
            if isinstance(reply, Failed):
                self._end()
                raise error_of(reply, self.name)
            if not isinstance(reply, Ready):
                raise WireError("it answered before it was asked")
            self._ready, self._refers, self._judges, self.domain = True, reply.refers, reply.judges, reply.domain
            self.tells_likelihoods = reply.likelihoods
            self._masks = reply.masks
        return self._process

    def _frame(self, process: WorkerProcess, deadline: float) -> tuple[FromWorker, Body]:
        """The next frame from the process."""
        while True:
            if self._cancelled:
                raise CancelledError(self._cancelled)
            left = deadline - time.monotonic()
            if (frame := process.step(min(_SLICE_S, left))) is not None:
                return frame
            if left <= 0:
                raise TimeoutError

    # -------------------------------------------------------------------------------------------- turns and failures

    @contextlib.contextmanager
    def _own_turn(self) -> Iterator[None]:
        """Wait for the turn; errors of the process become a ModelError, and a broken process is ended."""
        with self._turn:
            with self._state:
                if self._closed:
                    raise ModelError(self.name, "its worker is closed", "call start() first")
                self._busy, self._cancelled = True, ""
            try:
                yield
            except EOFError:
                raise self._died() from None
            except WireError as error:
                self._end()
                raise ModelError(
                    self.name, f"its process sent invalid data: {error}", f"fix the backend; {_NEXT}"
                ) from error
            except TimeoutError:
                what = "answer" if self._ready else "load"
                seconds = self.timeout_s if self._ready else self.startup_timeout_s
                self._end()
                reason = f"it did not {what} within {seconds:g} s and was ended"
                raise ModelTimeoutError(self.name, reason, f"raise the time limit; {_NEXT}") from None
            finally:
                with self._state:
                    self._busy = False

    def _died(self) -> ModelError:
        process = self._process
        if process is None:  # never happens: only a process can be found dead
            return ModelError(self.name, "its process is gone", _NEXT)
        process.wait_gone(1.0)
        ending = self._end()
        return ModelError(self.name, ending, f"fix the cause; {_NEXT}")

    def _end(self, grace_s: float = 0.0) -> str:
        process, self._process, self._ready = self._process, None, False
        return "" if process is None else process.end(grace_s)
