# SPDX-License-Identifier: Apache-2.0
"""Shards, the pieces of an evaluation, and what answers them: this process, processes here, or actors of a Ray cluster.

A plan depends on what is evaluated, never on the engine or the number of workers: so every engine gives the same rows
in the same order. Each worker loads the models once, and is led by a thread of this process. Processes are spawned, so
that no thread or GPU context of this one is copied. A worker that dies is replaced, and its shard is given to the next
one. Only the driver writes results, so no machine of a cluster needs to see the folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import queue
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from spatial_vlm_lab.scoring.case_result import Row
from spatial_vlm_ros.errors import (
    DependencyError,
    EngineUnavailableError,
    InputError,
    InternalError,
    SpatialVlmError,
)
from spatial_vlm_ros.extras import install

MOST_WORKERS = 1024
ATTEMPTS = 3
"""How many workers may die over one shard before it is given up."""
_DEATHS_AT_START = 3
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_END_S = 5.0  # seconds that a worker has to end by itself
_CONNECT_S = 10.0
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
        if not alone:  # OpenCV gets as many threads as other libraries; Ray sets _THREADS[0] to the cores of an actor
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


def _led(start: Callable[[], _WorkerProcess | _RayWorker], shards: Sequence[Shard], size: int) -> Iterator[Outcome]:
    """Answer shards by so many workers, each led by a thread; give up a shard over which workers keep dying."""
    waiting = deque((shard, 0) for shard in shards)  # and how many workers died over it
    heard: queue.SimpleQueue[Outcome | Exception] = queue.SimpleQueue()
    workers: list[_WorkerProcess | _RayWorker] = []
    dead_at_start: list[_WorkerEnd] = []
    is_over = threading.Event()

    def begun() -> _WorkerProcess | _RayWorker | None:
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


# ------------------------------------------------------------------------------------------------ one machine


class LocalEngine:
    """Runs shards on this machine, in so many processes; 1 = in this one."""

    def __init__(self, workers: int = 1) -> None:
        _check_workers(workers, "use the number of cores")
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


def _check_workers(workers: int, repair: str) -> None:
    if not 1 <= workers <= MOST_WORKERS:
        raise InputError("--workers", str(workers), f"1 to {MOST_WORKERS}", repair)


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


# ------------------------------------------------------------------------------------------------ Ray


@dataclass(frozen=True)
class RayEngine:
    """Runs shards on Ray actors."""

    workers: int = 1
    address: str | None = None  # "auto" or "host:6379"; None = start a cluster on this machine for this run
    num_gpus: float = 0.0  # for each actor, which has one core; a fraction has actors share one
    start_timeout: float = 600.0  # for the first actor to be placed and to load its models, seconds

    def __post_init__(self) -> None:
        _check_workers(self.workers, "use at most the cores of the cluster")
        if not 0 <= self.num_gpus <= 1024 or (self.num_gpus > 1 and self.num_gpus % 1):
            expected = "a fraction below 1, or a whole number"
            raise InputError("num_gpus", str(self.num_gpus), expected, "use 0.25 to share one, 1 or 2")

    def run(self, setup: Setup, shards: Sequence[Shard]) -> Iterator[Outcome]:
        """See LocalEngine."""
        if not shards:
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
        try:
            import ray
        except ImportError as error:
            raise DependencyError("ray", install("scale")) from error
        has_begun = threading.Event()
        with redirect_stdout(sys.stderr):  # Ray prints news of its machines to where programs read our results
            began_here = not ray.is_initialized()
            if began_here:
                check_address(self.address)
                own = {"num_cpus": self.workers, "include_dashboard": False}
                before = signal.getsignal(signal.SIGTERM)
                try:
                    ray.init(
                        address=self.address or "local",
                        **({} if self.address else own),
                        log_to_driver=False,
                        logging_level=logging.ERROR,
                        configure_logging=False,
                    )
                except (OSError, RuntimeError, ValueError) as error:
                    authentication = " A cluster with token authentication needs RAY_AUTH_MODE and the token here too."
                    raise _unreachable(self.address, error, authentication if self.address else "") from error
                finally:  # Ray puts a handler there that prints its stack
                    if threading.current_thread() is threading.main_thread():
                        signal.signal(signal.SIGTERM, before)
            try:
                size = min(self.workers, len(shards))
                yield from _led(lambda: _RayWorker(ray, self, setup, has_begun), shards, size)
            finally:
                if began_here:
                    ray.shutdown()


@dataclass
class _RayWorker:
    """A worker in a cluster; `has_begun`: whether any worker has."""

    ray: Any
    engine: RayEngine
    setup: Setup
    has_begun: threading.Event

    def __post_init__(self) -> None:
        kind = self.ray.remote(ShardWorker)
        self._actor = kind.options(num_cpus=1.0, num_gpus=self.engine.num_gpus, max_restarts=0).remote()

    def ask(self, shard: Shard | None) -> Any:
        """See _WorkerProcess."""
        asked = self._actor.begin.remote(self.setup) if shard is None else self._actor.answer.remote(shard)
        while not self.ray.wait([asked], timeout=self.engine.start_timeout)[0]:
            if not self.has_begun.is_set():
                asked_for = f"1 CPU and {self.engine.num_gpus:g} GPU for each worker"
                resources = sorted(self.ray.cluster_resources().items())
                there = ", ".join(f"{value:g} {name}" for name, value in resources if name in ("CPU", "GPU"))
                waited = f"no worker started in {self.engine.start_timeout:g} s"
                reason = f"{waited}: it needs {asked_for}, the cluster has {there}"
                repair = "Request less with --num-gpus, or add machines to the cluster."
                raise EngineUnavailableError(reason, repair)
        try:
            said = self.ray.get(asked)
        except self.ray.exceptions.RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            _log.warning("a Ray worker ended: %s", " ".join(lines)[:500])
            raise _WorkerEnd(type(error).__name__) from error
        self.has_begun.set()
        return said

    def end(self) -> None:
        with suppress(Exception):
            self.ray.kill(self._actor)

    stop = end


def check_address(address: str | None, wait_s: float = _CONNECT_S) -> None:
    """Check that a gRPC server, such as Ray's, answers at "[ray://]host:port": Ray itself tries for many minutes.

    Both sides of HTTP/2, on which gRPC is built, begin by sending their settings. Any other address is left to Ray.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), wait_s) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):  # it waits for a handshake
                return
            connection.settimeout(wait_s)
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
            with connection.makefile("rb") as stream:
                head = stream.read(9)
    except TimeoutError as error:
        silent = TimeoutError(f"no answer within {wait_s:g} s")
        raise _unreachable(address, silent) from error
    except (OSError, OverflowError) as error:
        raise _unreachable(address, error) from error
    if len(head) < 9 or head[3] != 4:
        raise _unreachable(address, ConnectionError("the server there is not Ray"))


def _unreachable(address: str | None, error: Exception, more: str = "") -> EngineUnavailableError:
    where = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
    words = " ".join(str(error).split())[:300].rstrip(".")
    repair = "Check the address with `ray status --address ADDRESS`; without --address, a cluster is started here."
    return EngineUnavailableError(f"{where} cannot be reached: {words}", repair + more)


Engine = LocalEngine | RayEngine
