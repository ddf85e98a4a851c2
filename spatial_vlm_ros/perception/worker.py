# SPDX-License-Identifier: Apache-2.0
"""A grounder in a process of its own: a crash, a hang or a lack of memory there costs one request, not the program."""

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

_SLICE_S = 0.02  # a cancellation and a death are noticed within this time
_FAILURES = 3  # so many in a row and the process is replaced: after some errors a GPU's context stays broken
_SHARE = 0.8  # of timeout_s, after which no further question about a relation is asked
_NEXT = "the next request starts it again"


class WorkerGrounder:
    """Runs a backend in a process of its own; a Grounder itself, and a Referrer and RelationJudge as the backend is.

    The process is started by `start`, or by the first request. Where it dies, hangs or talks nonsense, the request
    under way fails and the next one starts a new process. It ends when its owner ends, however that ends. Methods may
    be called from any thread; one request is answered at a time, others wait for their turn.

    Args:
        name: of the backend, as in perception.load_grounder.
        options: of the backend.
        timeout_s: one request may take this long, seconds, once the backend is loaded.
        startup_timeout_s: loading the backend may take this long, seconds.

    Raises:
        InputError: a timeout is no positive number.

    Attributes:
        domain: what the backend declares that it was trained on; "unknown" before it was loaded for the first time.
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
        self._turn = threading.Lock()  # held by who talks to the process
        self._state = threading.Lock()  # guards the flags that other threads touch
        self._busy, self._closed, self._cancelled = False, False, ""
        self._process: WorkerProcess | None = None
        self._ready, self._refers, self._judges, self._masks = False, False, False, False
        self.tells_likelihoods = False  # of relations; known once it is loaded
        self.domain: ModelDomain = "unknown"
        self._numbers = itertools.count(1)
        self._late: int | None = None  # number of a request that was given up, and whose answer is still to come
        self._failures = 0

    # -------------------------------------------------------------------------------------------- life

    def start(self) -> None:
        """Start the process and wait until the backend is loaded; nothing where it is.

        Raises:
            InputError: no such backend, or not with these options.
            ModelError: the backend cannot be loaded.
            ModelTimeoutError: loading took longer than startup_timeout_s.
            CancelledError: `cancel` or `close` was called meanwhile; after `cancel` the backend goes on loading.
        """
        with self._state:
            self._closed = False
        with self._own_turn():
            if self._process is not None and not self._process.alive:
                self._end()
            self._started()

    def close(self) -> None:
        """End the process, and a request under way with CancelledError; `start` opens again. Again is harmless."""
        with self._state:
            self._closed = True
            self._cancelled = "the grounder was closed"
        with self._turn:
            self._end(GRACE_S)

    def cancel(self) -> bool:
        """Let the request under way, if any, raise CancelledError at once. The process and its model stay.

        Returns:
            Whether there was one. A request that begins after this call is not affected.
        """
        with self._state:
            self._cancelled = self._cancelled or "the request was cancelled"
            return self._busy

    @property
    def pid(self) -> int | None:
        """Id of the process, None where there is none."""
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
        """Ask the backend; see Grounder.ground. Where the process has to be started first, that time is not counted.

        Raises:
            InputError: `rgb` is no image, `phrases` are no phrases, or see `start`.
            ModelError: the backend raised an error (its process stays), or its process died, before or meanwhile, or
                sent nonsense (the next request starts a new one).
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
        """Ask the backend for a whole phrase; see Referrer.refer. It has timeout_s of its own, as `ground` has.

        Raises:
            InputError: the backend cannot refer, `rgb` is no image, `words` are no text, or see `start`.
            ModelError, ModelTimeoutError, CancelledError: as of `ground`.
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
        """Ask the backend for masks; see Masker.masked. Detections stay as they are where it has no model of masks.

        Raises:
            InputError: `rgb` is no image, `detections` are none, or see `start`.
            ModelError, ModelTimeoutError, CancelledError: as of `ground`.
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
        """Ask the backend about relations; see AskedJudge.judge. It has timeout_s of its own, as `ground` has.

        No further question is asked after 0.8 timeout_s, so that what was said until then is not lost.

        Raises:
            InputError: the backend cannot be asked, `rgb` is no image, `questions` are none, or see `start`.
            ModelError, ModelTimeoutError, CancelledError: as of `ground`.
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
        """Post a request and wait for its answer, in one's own turn; a failure of the backend is raised."""
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
        self._failures += not isinstance(error, (UnfamiliarImageError, MarksError))  # which say nothing against it
        if self._failures >= _FAILURES:
            self._end()
        raise error

    def _reply(
        self, process: WorkerProcess, number: int, deadline: float
    ) -> tuple[WorkerReply | Referred | Judged | Failed, Body]:
        """Wait for the answer to the request of this number."""
        reply, body = self._frame(process, deadline)
        if isinstance(reply, Ready) or reply.number != number:
            raise WireError(f"it answered with {type(reply).__name__} to no request")
        self._late = None
        return reply, body

    def _started(self) -> WorkerProcess:
        """The process with its backend loaded; starts one where there is none."""
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
        """The next frame from the process.

        Raises:
            TimeoutError: the deadline (time.monotonic) has passed.
            CancelledError: somebody asked for it.
        """
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
        """Wait for the turn; whatever the process does in it becomes a ModelError, and a broken process is ended."""
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
        if process is None:  # never: only a process can be found dead
            return ModelError(self.name, "its process is gone", _NEXT)
        process.wait_gone(1.0)
        ending = self._end()
        return ModelError(self.name, ending, f"fix the cause; {_NEXT}")

    def _end(self, grace_s: float = 0.0) -> str:
        """End the process, if any; how it ended, in words."""
        process, self._process, self._ready = self._process, None, False
        return "" if process is None else process.end(grace_s)
