# SPDX-License-Identifier: Apache-2.0
"""The engine of one machine: this process alone, or N processes that each load the models once.

Processes are spawned, so that no thread or GPU context of this one is copied; a worker that dies is replaced, and its
shard is given to another one.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from spatial_vlm_lab.engine.shards import Outcome, Setup, Shard
from spatial_vlm_lab.engine.workers import Dispatcher, ShardWorker
from spatial_vlm_ros.errors import InputError, SpatialVlmError

MOST_WORKERS = 1024
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_END_S = 5.0  # seconds that a worker has to end by itself


class LocalEngine:
    """Runs shards on this machine.

    Args:
        workers: number of processes; 1 = only this process.

    Raises:
        InputError: the number is not valid.
    """

    def __init__(self, workers: int = 1) -> None:
        if not 1 <= workers <= MOST_WORKERS:
            raise InputError("--workers", str(workers), f"1 to {MOST_WORKERS}", "use the number of cores")
        self.workers = workers

    def run(self, setup: Setup, shards: Sequence[Shard]) -> Iterator[Outcome]:
        """See Engine."""
        if not shards:
            return
        if self.workers == 1:
            worker = ShardWorker(setup)
            for shard in shards:
                yield worker.answer(shard)
            return
        pool = _Pool(setup, min(self.workers, len(shards)))
        try:
            yield from pool.outcomes(Dispatcher(shards))
        finally:
            pool.close()


class _Pool:
    def __init__(self, setup: Setup, size: int) -> None:
        self._setup, self._size = setup, size
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[int, tuple[SpawnProcess, Connection]] = {}
        self._ready: set[int] = set()
        self._number = 0

    def outcomes(self, dispatcher: Dispatcher) -> Iterator[Outcome]:
        while not dispatcher.is_over:
            while len(self._workers) < self._size and dispatcher.has_waiting:
                self._start()
            heard = wait([connection for _, connection in self._workers.values()])
            for number, (process, connection) in list(self._workers.items()):
                if connection not in heard:
                    continue
                try:
                    message: Any = connection.recv()
                except (EOFError, OSError):
                    given_up = dispatcher.died(number, self._ended(number, process))
                    if given_up is not None:
                        yield given_up
                    continue
                if isinstance(message, SpatialVlmError):
                    raise message
                if number in self._ready:
                    dispatcher.done(number)
                    yield message
                self._ready.add(number)
                self._give(number, dispatcher)

    def _give(self, number: int, dispatcher: Dispatcher) -> None:
        """The next shard, or the end where there is none."""
        process, connection = self._workers[number]
        shard = dispatcher.next_for(number)
        with suppress(OSError):  # it has died: heard of at the next wait
            connection.send(shard)
        if shard is None:
            connection.close()
            process.join(_END_S)
            del self._workers[number]

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        with _few_threads(max(1, (os.cpu_count() or 1) // self._size)):
            process = self._context.Process(target=_serve, args=(theirs, self._setup), daemon=True)
            process.start()
        theirs.close()
        self._workers[self._number] = process, ours
        self._number += 1

    def _ended(self, number: int, process: SpawnProcess) -> str:
        """Forget a worker; how it ended."""
        self._workers.pop(number)[1].close()
        process.join(_END_S)
        code = process.exitcode
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}"

    def close(self) -> None:
        """End every worker, even in the middle of a shard."""
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
    limit_opencv()
    try:
        worker = ShardWorker(setup)
    except SpatialVlmError as error:
        connection.send(error)
        return
    with suppress(EOFError, OSError):
        connection.send(None)
        while (shard := connection.recv()) is not None:
            connection.send(worker.answer(shard))


def limit_opencv() -> None:
    """Limit OpenCV to as many threads as other libraries, so that every worker gets its share of the cores."""
    import cv2

    told = os.environ.get(_THREADS[0], "1").partition(",")[0]  # of nested levels, the first
    cv2.setNumThreads(max(1, int(told) if told.isdigit() else 1))


@contextmanager
def _few_threads(count: int) -> Iterator[None]:
    """Processes started within use that many threads each, where the environment does not say otherwise."""
    changed = [name for name in _THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(changed, str(count)))
    try:
        yield
    finally:
        for name in changed:
            del os.environ[name]
