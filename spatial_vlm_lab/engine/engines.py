# SPDX-License-Identifier: Apache-2.0
"""What answers shards: this process alone, processes of this machine, or actors of a Ray cluster.

Each worker loads the models once. Processes are spawned, so that no thread or GPU context of this one is copied. A
worker that dies is replaced, and its shard is given to another one. Only the driver writes results, so no machine of a
cluster needs to see the folder. Ray is imported when it is needed.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol

from spatial_vlm_lab.engine.shards import Evaluated, NotEvaluated, Outcome, Setup, Shard, Task, digest
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
_AUTHENTICATION = " A cluster with token authentication needs RAY_AUTH_MODE and the token here too."

_log = logging.getLogger(__name__)


class Engine(Protocol):
    """Interface of engines, which run shards."""

    def run(self, setup: Setup, shards: Sequence[Shard]) -> Iterator[Outcome]:
        """Answer shards; yields one outcome for each shard, in order of completion.

        Raises:
            EngineUnavailableError: no worker can be started.
            SpatialVlmError: `setup` failed: a model cannot be loaded.
        """
        ...


class ShardWorker:
    """The work of one worker: models are loaded once, shards are answered one by one."""

    def __init__(self) -> None:
        self._task: Task

    def begin(self, setup: Setup, *, alone: bool = False) -> SpatialVlmError | None:
        """Load the models; returns the error, if any.

        Args:
            alone: whether no other worker needs the cores.
        """
        if not alone:
            _limit_opencv()
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
        began = time.perf_counter()
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
        return Evaluated(shard, answers, time.perf_counter() - began)


# ------------------------------------------------------------------------------------------------ pools of workers


@dataclass(frozen=True)
class _WorkerEnd:
    """A worker has died."""

    how: str


def _outcomes(pool: _Processes | _Actors, shards: Sequence[Shard], size: int) -> Iterator[Outcome]:
    """Give shards to so many workers, and give up shards on which workers keep dying.

    A pool has workers by their numbers. It hears None of one that is ready, the error of one that could not begin, an
    Outcome for each shard that was given, and a _WorkerEnd of one that died. A worker that is given None ends.
    """
    waiting = deque((shard, 0) for shard in shards)  # and how many workers died over it
    busy: dict[int, tuple[Shard, int]] = {}
    ready, alive, started, deaths_at_start = set[int](), set[int](), 0, 0
    try:
        while waiting or busy:
            while len(alive) < size and waiting:
                pool.start(started)
                alive.add(started)
                started += 1
            for number, message in pool.heard():
                if isinstance(message, SpatialVlmError):
                    raise message
                if not isinstance(message, _WorkerEnd):
                    if number in ready:
                        del busy[number]
                        deaths_at_start = 0
                        yield message
                    ready.add(number)
                    if waiting:
                        busy[number] = waiting.popleft()
                    else:
                        alive.discard(number)
                    pool.give(number, busy[number][0] if number in busy else None)
                    continue
                alive.discard(number)
                if number not in busy:
                    deaths_at_start += 1
                    if deaths_at_start >= _DEATHS_AT_START:
                        reason = f"{_DEATHS_AT_START} workers in a row ended before they could work: {message.how}"
                        raise EngineUnavailableError(reason, "Check the workers' log, memory and the model.")
                    continue
                shard, deaths = busy.pop(number)
                if deaths + 1 >= ATTEMPTS:
                    yield NotEvaluated(shard, f"{ATTEMPTS} workers ended while they worked on it: {message.how}")
                else:
                    _log.warning("a worker ended (%s); another one takes over %s", message.how, shard.name)
                    waiting.appendleft((shard, deaths + 1))
    finally:
        pool.close()


def _limit_opencv() -> None:
    """Limit OpenCV to as many threads as other libraries, so that every worker gets its share of the cores.

    Ray sets the first of _THREADS to the cores of an actor.
    """
    import cv2

    told = os.environ.get(_THREADS[0], "1").partition(",")[0]  # of nested levels, the first
    cv2.setNumThreads(max(1, int(told) if told.isdigit() else 1))


# ------------------------------------------------------------------------------------------------ one machine


class LocalEngine:
    """Runs shards on this machine.

    Args:
        workers: number of processes; 1 = only this process.

    Raises:
        InputError: the number is not valid.
    """

    def __init__(self, workers: int = 1) -> None:
        _check_workers(workers, "use the number of cores")
        self.workers = workers

    def run(self, setup: Setup, shards: Sequence[Shard]) -> Iterator[Outcome]:
        """See Engine."""
        if not shards:
            return
        if self.workers > 1:
            size = min(self.workers, len(shards))
            yield from _outcomes(_Processes(setup, size), shards, size)
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


class _Processes:
    def __init__(self, setup: Setup, size: int) -> None:
        self._setup, self._threads = setup, max(1, (os.cpu_count() or 1) // size)
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[int, tuple[SpawnProcess, Connection]] = {}

    def start(self, number: int) -> None:
        ours, theirs = self._context.Pipe()
        changed = [name for name in _THREADS if name not in os.environ]
        os.environ.update(dict.fromkeys(changed, str(self._threads)))  # of processes that start within
        try:
            process = self._context.Process(target=_serve, args=(theirs, self._setup), daemon=True)
            process.start()
        finally:
            for name in changed:
                del os.environ[name]
        theirs.close()
        self._workers[number] = process, ours

    def heard(self) -> Iterator[tuple[int, Any]]:
        ready = wait([connection for _, connection in self._workers.values()])
        for number, (process, connection) in list(self._workers.items()):
            if connection not in ready:
                continue
            try:
                message: Any = connection.recv()
            except (EOFError, OSError):
                self._workers.pop(number)[1].close()
                process.join(_END_S)
                code = process.exitcode
                if code is not None and code < 0:
                    message = _WorkerEnd(f"killed by {signal.Signals(-code).name}")
                else:
                    message = _WorkerEnd(f"exit code {code}")
            yield number, message

    def give(self, number: int, shard: Shard | None) -> None:
        process, connection = self._workers[number]
        with suppress(OSError):  # it has died: heard of at the next wait
            connection.send(shard)
        if shard is None:
            connection.close()
            process.join(_END_S)
            del self._workers[number]

    def close(self) -> None:
        for _, connection in self._workers.values():
            connection.close()
        for process, _ in self._workers.values():
            process.terminate()
        for process, _ in self._workers.values():
            process.join(_END_S)
            if process.is_alive():
                process.kill()
                process.join()
        self._workers.clear()


def _serve(connection: Connection, setup: Setup) -> None:
    """The life of a worker: it says that it is ready, then answers shards until it is told to end or its owner dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner ends it
    worker = ShardWorker()
    with suppress(EOFError, OSError):
        connection.send(worker.begin(setup))
        while (shard := connection.recv()) is not None:
            connection.send(worker.answer(shard))


# ------------------------------------------------------------------------------------------------ Ray


@dataclass(frozen=True)
class RayEngine:
    """Runs shards on Ray actors.

    Args:
        address: address of a cluster: "auto" or "host:6379"; None = start one on this machine for this run.
        num_cpus: cores for each actor, more than 0.
        num_gpus: GPUs for each; a fraction has actors share one.
        start_timeout: how long the first actor may take to be placed and to load its models, seconds.
    """

    workers: int = 1
    address: str | None = None
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    start_timeout: float = 600.0

    def __post_init__(self) -> None:
        _check_workers(self.workers, "use at most the cores of the cluster")
        for name, value, least in (("num_cpus", self.num_cpus, 1e-4), ("num_gpus", self.num_gpus, 0.0)):
            if not least <= value <= 1024:
                raise InputError(name, str(value), "a number of cores or GPUs for each worker", "use 0.25 to share one")
        if self.num_gpus > 1 and self.num_gpus != int(self.num_gpus):
            raise InputError("num_gpus", str(self.num_gpus), "a fraction below 1, or a whole number", "use 1 or 2")

    def run(self, setup: Setup, shards: Sequence[Shard]) -> Iterator[Outcome]:
        """See Engine."""
        if not shards:
            return
        ray = _ray()
        with redirect_stdout(sys.stderr):  # Ray prints news of its machines to where programs read our results
            began_here = not ray.is_initialized()
            if began_here:
                self._connect(ray)
            try:
                yield from _outcomes(_Actors(ray, self, setup), shards, min(self.workers, len(shards)))
            finally:
                if began_here:
                    ray.shutdown()

    def _connect(self, ray: Any) -> None:
        """Join the cluster, or begin one here."""
        check_address(self.address)
        own = {"num_cpus": math.ceil(self.workers * self.num_cpus), "include_dashboard": False}
        before = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(
                address=self.address or "local",
                **({} if self.address else own),
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
            )
        except (ConnectionError, TimeoutError, OSError, RuntimeError, ValueError) as error:
            raise _unreachable(self.address, error, _AUTHENTICATION if self.address else "") from error
        finally:
            if threading.current_thread() is threading.main_thread():  # Ray puts a handler there that prints its stack
                signal.signal(signal.SIGTERM, before)


class _Actors:
    def __init__(self, ray: Any, engine: RayEngine, setup: Setup) -> None:
        self._ray, self._engine, self._setup = ray, engine, setup
        self._kind = ray.remote(ShardWorker)
        self._actors: dict[int, Any] = {}
        self._asked: dict[Any, int] = {}  # what was asked → number of the actor
        self._is_begun = False
        self._last_news = time.monotonic()

    def start(self, number: int) -> None:
        cpus, gpus = self._engine.num_cpus, self._engine.num_gpus
        self._actors[number] = self._kind.options(num_cpus=cpus, num_gpus=gpus, max_restarts=0).remote()
        self._asked[self._actors[number].begin.remote(self._setup)] = number

    def heard(self) -> Iterator[tuple[int, Any]]:
        heard, _ = self._ray.wait(list(self._asked), num_returns=1, timeout=1.0)
        now = time.monotonic()
        if heard or self._is_begun:
            self._last_news = now
        elif now - self._last_news > self._engine.start_timeout:
            asked = f"{self._engine.num_cpus:g} CPU and {self._engine.num_gpus:g} GPU for each worker"
            there = ", ".join(f"{value:g} {name}" for name, value in sorted(self._ray.cluster_resources().items())
                              if name in ("CPU", "GPU"))  # fmt: skip
            reason = f"no worker started in {self._engine.start_timeout:g} s: it needs {asked}, the cluster has {there}"
            raise EngineUnavailableError(reason, "Request less with --num-gpus, or add machines to the cluster.")
        for reference in heard:
            number = self._asked.pop(reference)
            try:
                message = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                self._actors.pop(number, None)
                lines = [line.strip() for line in str(error).splitlines() if line.strip()]
                _log.warning("a Ray worker ended: %s", " ".join(lines)[:500])
                yield number, _WorkerEnd(type(error).__name__)
                continue
            self._is_begun = True
            yield number, message

    def give(self, number: int, shard: Shard | None) -> None:
        if shard is None:
            self._ray.kill(self._actors.pop(number))
        else:
            self._asked[self._actors[number].answer.remote(shard)] = number

    def close(self) -> None:
        for actor in self._actors.values():
            with suppress(Exception):
                self._ray.kill(actor)
        self._actors.clear()
        self._asked.clear()


def check_address(address: str | None, wait_s: float = _CONNECT_S) -> None:
    """Check that a gRPC server, such as Ray's, answers at an address with a port: Ray itself tries for many minutes.

    Both sides of HTTP/2, on which gRPC is built, begin by sending their settings.

    Args:
        address: "host:port", "ray://host:port"; anything else is left to Ray.
        wait_s: how long to wait for a connection, and for an answer, seconds.
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
            head = b""
            while len(head) < 9 and (more := connection.recv(9 - len(head))):
                head += more
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


def _ray() -> Any:
    """The package."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
    try:
        import ray
    except ImportError as error:
        raise DependencyError("ray", install("scale")) from error
    return ray
