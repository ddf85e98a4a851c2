# SPDX-License-Identifier: Apache-2.0
"""Shards, the pieces of an evaluation, and what answers them: this process, or processes here.

A plan depends on what is evaluated, never on the engine or the number of workers: so every engine gives the same rows
in the same order. Each worker loads the models once, and is led by a thread of this process. Processes are spawned, so
that no thread or GPU context of this one is copied. A worker that dies is replaced, and its shard is given to the next
one. Only the driver writes results.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from spatial_vlm_lab.scoring.case_result import Row
from spatial_vlm_ros.errors import (
    EngineUnavailableError,
    InputError,
    InternalError,
    SpatialVlmError,
)

MOST_WORKERS = 1024
ATTEMPTS = 3
"""How many workers may die over one shard before it is given up."""
_DEATHS_AT_START = 3
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_END_S = 5.0  # seconds that a worker has to end by itself
_KEY = 40  # hexadecimal digits of a part's name
_SPAWN = multiprocessing.get_context("spawn")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """A piece of an evaluation, answered by one worker at one time."""

    source: str
    name: str  # for people: "run1.mcap, 0 to 60 s"
    cases: tuple[str, ...]  # what each of its rows is about, in order: "f003: the cup behind the can"
    content: str
    payload: Any = field(compare=False, repr=False, default=None)

    def key(self, configuration: str) -> str:
        """The name of its part: hash of content, cases and configuration (itself a hash)."""
        return digest([configuration, self.source, self.content, list(self.cases)])[:_KEY]


@dataclass(frozen=True)
class ShardAnswers:
    """Result of a task for a shard: a row for each case, in their order, and sentences about the source."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluated:
    """The answers of a shard."""

    shard: Shard
    answers: ShardAnswers


@dataclass(frozen=True)
class NotEvaluated:
    """A shard without rows."""

    shard: Shard
    reason: str
    status: str = "INTERNAL_ERROR"


Outcome = Evaluated | NotEvaluated
Task = Callable[[Shard], ShardAnswers]
"""Answers a shard. What it raises of `spatial_vlm_ros.errors` is the reason for which the shard is not evaluated."""
Setup = Callable[[], Task]
"""Loads models and returns the task; called once in each worker. It is sent there by its module and name."""


def digest(value: Any) -> str:
    """SHA-256 (hexadecimal) of JSON-like values, the same on every machine."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class ShardWorker:
    """The work of one worker: models are loaded once, shards are answered one by one."""

    def __init__(self) -> None:
        self._task: Task

    def begin(self, setup: Setup, *, alone: bool = False) -> SpatialVlmError | None:
        """Load the models; returns the error, if any."""
        if not alone:  # OpenCV gets as many threads as other libraries
            import cv2

            told = os.environ.get(_THREADS[0], "1").partition(",")[0]  # of nested levels, the first
            cv2.setNumThreads(max(1, int(told) if told.isdigit() else 1))
        try:
            self._task = setup()
        except SpatialVlmError as error:
            return error
        except Exception as error:
            _log.exception("unexpected exception while a worker started")
            return InternalError.of(error)
        return None

    def answer(self, shard: Shard) -> Outcome:
        """Answer a shard, or say why not; never raises, so that a bad shard does not affect others."""
        try:
            answers = self._task(shard)
            digest(answers.rows)  # values that cannot be stored are the shard's fault, not the evaluation's
        except SpatialVlmError as error:
            return NotEvaluated(shard, str(error), error.status_name)
        except MemoryError:
            return NotEvaluated(shard, "the machine's memory is full")
        except Exception as error:
            _log.exception("unexpected exception in %s", shard.name)
            return NotEvaluated(shard, str(InternalError.of(error)))
        if len(answers.rows) != len(shard.cases):
            return NotEvaluated(shard, f"{len(answers.rows)} rows arrived for {len(shard.cases)} cases")
        return Evaluated(shard, answers)


class _WorkerEnd(Exception):
    """A worker has died, and how."""


def _led(start: Callable[[], _WorkerProcess], shards: Sequence[Shard], size: int) -> Iterator[Outcome]:
    """Answer shards by so many workers, each led by a thread; give up a shard over which workers keep dying."""
    waiting = deque((shard, 0) for shard in shards)  # and how many workers died over it
    heard: queue.SimpleQueue[Outcome | Exception] = queue.SimpleQueue()
    workers: list[_WorkerProcess] = []
    dead_at_start: list[_WorkerEnd] = []
    is_over = threading.Event()

    def begun() -> _WorkerProcess | None:
        worker = start()
        workers.append(worker)
        if is_over.is_set():  # perhaps after the others were stopped
            worker.stop()
        try:
            problem = worker.ask(None)
        except _WorkerEnd as end:
            dead_at_start.append(end)
            if len(dead_at_start) < _DEATHS_AT_START:
                return None
            reason = f"{_DEATHS_AT_START} workers in a row ended before they could work: {end}"
            raise EngineUnavailableError(reason, "Check the workers' log, memory and the model.") from end
        if problem is not None:
            raise problem
        return worker

    def lead() -> None:
        worker = None
        try:
            while waiting and not is_over.is_set():
                if worker is None:
                    worker = begun()
                    continue
                try:
                    shard, deaths = waiting.popleft()
                except IndexError:  # another worker has just taken it
                    break
                try:
                    heard.put(worker.ask(shard))
                    dead_at_start.clear()
                except _WorkerEnd as end:
                    worker = None
                    if deaths + 1 >= ATTEMPTS:
                        heard.put(NotEvaluated(shard, f"{ATTEMPTS} workers ended while they worked on it: {end}"))
                    elif not is_over.is_set():
                        _log.warning("a worker ended (%s); another one takes over %s", end, shard.name)
                        waiting.appendleft((shard, deaths + 1))
            if worker is not None:
                worker.end()
        except Exception as error:  # raised where outcomes are awaited
            heard.put(error)

    threads = [threading.Thread(target=lead, name=f"worker-{n}", daemon=True) for n in range(size)]
    try:
        for thread in threads:
            thread.start()
        for _ in shards:
            outcome = heard.get()
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome
        for thread in threads:
            thread.join(_END_S)
    finally:
        is_over.set()
        for worker in list(workers):
            worker.stop()
        for thread in threads:
            thread.join(_END_S)


class LocalEngine:
    """Runs shards on this machine, in so many processes; 1 = in this one."""

    def __init__(self, workers: int = 1) -> None:
        if not 1 <= workers <= MOST_WORKERS:
            raise InputError("--workers", str(workers), f"1 to {MOST_WORKERS}", "use the number of cores")
        self.workers = workers

    def run(self, setup: Setup, shards: Sequence[Shard]) -> Iterator[Outcome]:
        """Answer shards; yields one outcome for each shard, in order of completion."""
        if not shards:
            return
        if self.workers > 1:
            size = min(self.workers, len(shards))
            yield from _led(lambda: _WorkerProcess(setup, size), shards, size)
            return
        worker = ShardWorker()
        problem = worker.begin(setup, alone=True)
        if problem is not None:
            raise problem
        for shard in shards:
            yield worker.answer(shard)


class _WorkerProcess:
    """A worker in a process of its own, one of `size`."""

    _starting = threading.Lock()  # the environment is shared

    def __init__(self, setup: Setup, size: int) -> None:
        self._connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, setup), daemon=True)
        with self._starting:
            changed = [name for name in _THREADS if name not in os.environ]
            os.environ.update(dict.fromkeys(changed, str(max(1, (os.cpu_count() or 1) // size))))
            try:
                self._process.start()
            finally:
                for name in changed:
                    del os.environ[name]
        theirs.close()

    def ask(self, shard: Shard | None) -> Any:
        """The outcome of a shard; of None, what `ShardWorker.begin` returned. Raises _WorkerEnd."""
        try:
            if shard is not None:
                self._connection.send(shard)
            return self._connection.recv()
        except (EOFError, OSError) as error:
            self._connection.close()
            self._process.join(_END_S)
            code = self._process.exitcode
            if code is not None and code < 0:
                raise _WorkerEnd(f"killed by {signal.Signals(-code).name}") from error
            raise _WorkerEnd(f"exit code {code}") from error

    def end(self) -> None:
        self._connection.close()
        self._process.join(_END_S)

    def stop(self) -> None:
        self._process.terminate()
        self._process.join(_END_S)
        if self._process.is_alive():
            self._process.kill()


def _serve(connection: Connection, setup: Setup) -> None:
    """The life of a worker: it says that it is ready, then answers shards until its owner ends the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner ends it
    worker = ShardWorker()
    with suppress(EOFError, OSError):
        connection.send(worker.begin(setup))
        while True:
            connection.send(worker.answer(connection.recv()))
