# SPDX-License-Identifier: Apache-2.0
"""A grounder in its own process: a crash, a hang or out of memory costs one request, not the program.

Ending the process also ends the children that the model started.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import msgspec

import spatial_vlm_ros
from spatial_vlm_ros.errors import CancelledError, InputError, ModelError, ModelTimeoutError, UnfamiliarImageError
from spatial_vlm_ros.perception import loaded_as
from spatial_vlm_ros.perception import worker_wire as wire
from spatial_vlm_ros.perception.coordinates import NamedObject
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.judging import BOXES, CannotJudgeError, MarksError, RelationQuestion
from spatial_vlm_ros.perception.referring import cannot_refer
from spatial_vlm_ros.types import Detection, ModelDomain, NounPhrase, Rgb

GRACE_S = 2.0  # between asking a process to end and killing it
_TAIL_LINES, _TAIL_BYTES, _TAIL_WIDTH = 20, 8192, 200
# `-c` and not `-m`: files in the working directory must not replace a library.
_CODE = (
    "import sys; sys.path[:] = sys.argv[3:] + [p for p in sys.path if p]; "
    "from spatial_vlm_ros.perception.worker_main import main; main()"
)


class WorkerProcess:
    """A started process; ModelError if none can be started. Except for `alive`, one thread at a time may use it."""

    def __init__(self, name: str) -> None:
        self.started = time.monotonic()
        ours, theirs = socket.socketpair()
        read_end, write_end = os.pipe()
        folder = Path(str(spatial_vlm_ros.__file__)).resolve().parent.parent
        # unless Python already searches it; it must not come before Python's own libraries
        own = [] if folder.name in ("site-packages", "dist-packages") else [str(folder)]
        command = [sys.executable, "-c", _CODE, str(theirs.fileno()), str(read_end), *own]
        try:
            self._process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
                pass_fds=(theirs.fileno(), read_end), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            ours.close()
            os.close(write_end)
            raise ModelError(name, f"no process can be started: {error}", "free memory or processes") from error
        finally:
            theirs.close()
            os.close(read_end)
        self.pid, self._lifeline, self._printed = self._process.pid, write_end, b""
        self._socket, self._connection = ours, Connection(os.dup(ours.fileno()))
        self._threads = [threading.Thread(target=self._pass_on, args=(self._process.stdout,), daemon=True)]
        self._threads[0].start()

    def _pass_on(self, output: IO[bytes]) -> None:
        with output:
            while data := output.read(65536):
                self._printed = (self._printed + data)[-_TAIL_BYTES:]
                with contextlib.suppress(OSError):  # the owner has no standard error
                    os.write(2, data)

    @property
    def alive(self) -> bool:
        """Whether it runs. It is not reaped here, so that its id is not reused before `end`."""
        if self._process.returncode is not None:
            return False
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:  # the owner's program ignores SIGCHLD: reaped already
            return False

    def ask(self, *parts: bytes | memoryview) -> Future[bytes]:
        """Send the parts of a call and receive the reply, in a thread; as bytes, so that nothing is unpickled.

        The future raises EOFError if the process is dead or has closed its socket, and WireError if what it sent is
        too long for a message.
        """
        reply: Future[bytes] = Future()

        def exchange() -> None:
            try:
                for part in parts:
                    self._connection.send_bytes(part)
                reply.set_result(self._connection.recv_bytes(wire.LONGEST))
            except (EOFError, ConnectionError):
                reply.set_exception(EOFError())
            except OSError as error:  # too long, or it ends within a message because the process died
                is_cut = "end of file" in str(error)
                reply.set_exception(EOFError() if is_cut else wire.WireError(str(error)))

        self._threads[1:] = [threading.Thread(target=exchange, daemon=True)]
        self._threads[1].start()
        return reply

    def end(self, grace_s: float = 0.0) -> str:
        """End the process and its children, and reap it. Repeated calls are harmless.

        It is given `grace_s` to end by itself after it was asked to. Returns how it ended, in words, with the last
        lines it printed if it ended by itself.
        """
        by_itself = not self.alive
        if self._process.returncode is None:
            if grace_s and not by_itself:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGTERM)
                self.wait_gone(grace_s)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)  # not reaped yet, so the group is its own
            self._process.wait()
            os.close(self._lifeline)
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # a child of its own session may have it, too
            self._socket.close()
            for thread in self._threads:
                thread.join(timeout=1.0)
            self._connection.close()
        if not by_itself:
            return "its process closed the connection and was ended"
        lines = [line.rstrip()[:_TAIL_WIDTH] for line in self._printed.decode(errors="replace").splitlines()]
        last = "\n".join([line for line in lines if line][-_TAIL_LINES:])
        printed = f"; it last printed:\n{last}" if last else ""
        code = self._process.returncode
        if code >= 0:
            return f"its process ended with exit code {code}{printed}"
        known = {one.value: one.name for one in signal.Signals}
        memory = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"its process was killed by {known.get(-code, f'signal {-code}')}{memory}{printed}"

    def wait_gone(self, seconds: float) -> None:
        """Wait until it is dead, at most `seconds`: a process closes its socket shortly before it dies."""
        deadline = time.monotonic() + seconds
        while self.alive and time.monotonic() < deadline:
            time.sleep(0.002)


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
        timeout_s: time limit of a request once the backend is loaded, seconds.
        startup_timeout_s: time limit for loading the backend, seconds.

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
        self.name, self.options, self.loaded_as = name, dict(options), loaded_as(name, options)
        self.timeout_s, self.startup_timeout_s = timeout_s, startup_timeout_s
        self._turn = threading.Lock()  # held by the thread that talks to the process
        self._state = threading.Lock()  # guards the flags that other threads change
        self._busy, self._closed, self._cancelled = False, False, ""
        self._process: WorkerProcess | None = None
        self._abilities: wire.Abilities | None = None  # None = not loaded
        self.tells_likelihoods = False  # for relations; known once it is loaded
        self.domain: ModelDomain = "unknown"
        self._numbers = itertools.count(1)
        self._unanswered: list[tuple[int, Future[bytes]]] = []  # at most one request: its number, and the reply
        self._failures = 0

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
        """Make the current request, if any, raise CancelledError at once; True if there was one. The process stays."""
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

    def __exit__(self, *_: object) -> None:
        self.close()

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Ask the backend; see Grounder.ground. The time to start the process does not count towards timeout_s.

        Raises:
            InputError: `rgb` is not an image, `phrases` are not phrases, or see `start`.
            ModelError: the backend raised an error (its process stays), or its process died or sent invalid data (the
                next request starts a new one).
            ModelTimeoutError: no answer within timeout_s; the process is ended.
            CancelledError: `cancel` or `close` was called meanwhile.
        """
        return self._asked("ground", rgb, tuple(phrases))

    def refer(self, rgb: Rgb, words: str) -> tuple[NamedObject, ...]:
        """Ask the backend, if it can refer, for a phrase; see Referrer.refer and `ground`. It has its own timeout_s."""
        return self._asked("refer", rgb, words)

    def masked(self, rgb: Rgb, detections: Sequence[Detection]) -> tuple[Detection, ...]:
        """Ask the backend for masks; see `masked_by`, `ground`. Without a mask model detections stay as they are."""
        bare = tuple(one if getattr(one, "mask", None) is None else replace(one, mask=None) for one in detections)
        masked: tuple[Detection, ...] | None = self._asked("masked", rgb, bare)
        return tuple(detections) if masked is None else masked

    def judge(
        self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float, marks: str = BOXES
    ) -> tuple[float | None, ...]:
        """Ask the backend, if it can, about relations; see AskedJudge.judge and `ground`. It has its own timeout_s.

        No further question is asked after 0.8 timeout_s, so that earlier answers are not lost.
        """
        budget = min(budget_s, _SHARE * self.timeout_s)
        return self._asked("judge", rgb, tuple(questions), budget, marks)

    def _asked(self, method: str, rgb: Rgb, first: Any, *others: object) -> Any:
        """Wait for the turn, send a call, return its answer or raise its failure; no mask model: None for "masked"."""
        number = next(self._numbers)
        call = wire.call(number, method, rgb, first, *others)
        with self._own_turn():
            process, abilities = self._started()
            if method not in abilities.methods:
                if method == "masked":
                    return None
                raise CannotJudgeError(self.name) if method == "judge" else cannot_refer(self.name)
            deadline = time.monotonic() + self.timeout_s
            if self._unanswered:  # a request that was cancelled
                self._reply(process, deadline)
            self._unanswered = [(number, process.ask(*call))]
            kind, value = self._reply(process, deadline)
            if kind != "answer":
                error = wire.error_of(kind, value, self.name)
                self._failures += not isinstance(error, (UnfamiliarImageError, MarksError))  # not its fault
                if self._failures >= _FAILURES:
                    self._end()
                raise error
            answer = wire.answer_of(method, value, rgb.shape[:2], len(first))
            if method == "masked" and [one.id for one in answer] != [one.id for one in first]:
                raise wire.WireError(f"masks of {len(answer)} objects for {len(first)}")
            self._failures = 0
            return answer

    def _started(self) -> tuple[WorkerProcess, wire.Abilities]:
        """The process with its backend loaded; starts one if there is none."""
        if self._process is None:
            self._process, self._abilities, self._failures = WorkerProcess(self.name), None, 0
            self._unanswered = [(0, self._process.ask(wire.message(0, "load", (self.name, self.options))))]
        if self._abilities is None:
            kind, value = self._reply(self._process, self._process.started + self.startup_timeout_s)
            if kind != "answer":
                self._end()
                raise wire.error_of(kind, value, self.name)
            found: wire.Abilities = wire.answer_of("load", value, (0, 0), 0)
            self._abilities, self.domain, self.tells_likelihoods = found, found.domain, found.likelihoods
        return self._process, self._abilities

    def _reply(self, process: WorkerProcess, deadline: float) -> tuple[str, msgspec.Raw]:
        """Wait for the reply to the unanswered request: kind and value."""
        ((number, reply),) = self._unanswered
        while not reply.done():
            died, left = not process.alive, deadline - time.monotonic()
            if self._cancelled:
                raise CancelledError(self._cancelled)
            wait({reply}, 1.0 if died else max(0.0, min(_SLICE_S, left)))  # what it sent before it died is still read
            if not reply.done() and (died or left <= 0):
                raise EOFError if died else TimeoutError
        self._unanswered.clear()
        found, kind, value = wire.decoded(reply.result(), wire.Message)
        if found != number:
            raise wire.WireError(f"it answered request {found}, not {number}")
        return kind, value

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
                if self._process is not None:  # always: only a process can be found dead
                    self._process.wait_gone(5.0)
                raise ModelError(self.name, self._end(), f"fix the cause; {_NEXT}") from None
            except wire.WireError as error:
                self._end()
                raise ModelError(
                    self.name, f"its process sent invalid data: {error}", f"fix the backend; {_NEXT}"
                ) from error
            except TimeoutError:
                loaded = self._abilities is not None
                what, seconds = ("answer", self.timeout_s) if loaded else ("load", self.startup_timeout_s)
                self._end()
                reason = f"it did not {what} within {seconds:g} s and was ended"
                raise ModelTimeoutError(self.name, reason, f"raise the time limit; {_NEXT}") from None
            finally:
                with self._state:
                    self._busy = False

    def _end(self, grace_s: float = 0.0) -> str:
        process, self._process, self._abilities = self._process, None, None
        return "" if process is None else process.end(grace_s)
