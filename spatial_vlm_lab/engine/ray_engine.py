# SPDX-License-Identifier: Apache-2.0
"""The engine of a Ray cluster: actors that each load the models once and answer shards.

Knows Ray Core; Ray is imported when it is needed. Only the driver writes results, so no machine of the cluster needs to
see the folder; an actor that dies is replaced, and its shard is given to another one.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from typing import Any

from spatial_vlm_lab.engine.local import MOST_WORKERS, limit_opencv
from spatial_vlm_lab.engine.shards import Outcome, Setup, Shard
from spatial_vlm_lab.engine.workers import Dispatcher, ShardWorker
from spatial_vlm_ros.errors import DependencyError, EngineUnavailableError, InputError, SpatialVlmError
from spatial_vlm_ros.extras import install

_CONNECT_S = 10.0
_AUTHENTICATION = " A cluster with token authentication needs RAY_AUTH_MODE and the token here too."

_log = logging.getLogger(__name__)


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
        if not 1 <= self.workers <= MOST_WORKERS:
            raise InputError(
                "--workers", str(self.workers), f"1 to {MOST_WORKERS}", "use at most the cores of the cluster"
            )
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
            cluster = _Cluster(ray, self, setup, min(self.workers, len(shards)))
            try:
                yield from cluster.outcomes(Dispatcher(shards))
            finally:
                cluster.close()
                if began_here:
                    ray.shutdown()

    def _connect(self, ray: Any) -> None:
        """Join the cluster, or begin one here."""
        check_address(self.address)
        own = {"num_cpus": math.ceil(self.workers * self.num_cpus), "include_dashboard": False}
        try:
            with _same_sigterm():
                ray.init(
                    address=self.address or "local",
                    **({} if self.address else own),
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    configure_logging=False,
                )
        except (ConnectionError, TimeoutError, OSError, RuntimeError, ValueError) as error:
            raise _unreachable(self.address, error, _AUTHENTICATION if self.address else "") from error


class _Cluster:
    def __init__(self, ray: Any, engine: RayEngine, setup: Setup, size: int) -> None:
        self._ray, self._engine, self._setup, self._size = ray, engine, setup, size
        self._kind = ray.remote(_Actor)
        self._actors: dict[int, Any] = {}
        self._asked: dict[Any, int] = {}  # what was asked → number of the actor
        self._ready: set[int] = set()
        self._number = 0
        self._last_news = time.monotonic()

    def outcomes(self, dispatcher: Dispatcher) -> Iterator[Outcome]:
        while not dispatcher.is_over:
            while len(self._actors) < self._size and dispatcher.has_waiting:
                self._start()
            heard, _ = self._ray.wait(list(self._asked), num_returns=1, timeout=1.0)
            self._check_time(heard)
            for reference in heard:
                number = self._asked.pop(reference)
                try:
                    message = self._ray.get(reference)
                except self._ray.exceptions.RayError as error:
                    self._actors.pop(number, None)
                    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
                    _log.warning("a Ray worker ended: %s", " ".join(lines)[:500])
                    given_up = dispatcher.died(number, type(error).__name__)
                    if given_up is not None:
                        yield given_up
                    continue
                if isinstance(message, SpatialVlmError):
                    raise message
                if number in self._ready:
                    dispatcher.done(number)
                    yield message
                self._ready.add(number)
                shard = dispatcher.next_for(number)
                if shard is None:
                    self._ray.kill(self._actors.pop(number))
                else:
                    self._asked[self._actors[number].answer.remote(shard)] = number

    def _check_time(self, heard: Sequence[Any]) -> None:
        now = time.monotonic()
        if heard or self._ready:
            self._last_news = now
        elif now - self._last_news > self._engine.start_timeout:
            asked = f"{self._engine.num_cpus:g} CPU and {self._engine.num_gpus:g} GPU for each worker"
            there = ", ".join(f"{value:g} {name}" for name, value in sorted(self._ray.cluster_resources().items())
                              if name in ("CPU", "GPU"))  # fmt: skip
            reason = f"no worker started in {self._engine.start_timeout:g} s: it needs {asked}, the cluster has {there}"
            raise EngineUnavailableError(reason, "Request less with --num-gpus, or add machines to the cluster.")

    def _start(self) -> None:
        engine = self._engine
        actor = self._kind.options(num_cpus=engine.num_cpus, num_gpus=engine.num_gpus, max_restarts=0).remote()
        self._actors[self._number] = actor
        self._asked[actor.begin.remote(self._setup)] = self._number
        self._number += 1

    def close(self) -> None:
        for actor in self._actors.values():
            with suppress(Exception):
                self._ray.kill(actor)
        self._actors.clear()
        self._asked.clear()


class _Actor:
    """Runs a ShardWorker in a Ray process."""

    def __init__(self) -> None:
        self._worker: ShardWorker

    def begin(self, setup: Setup) -> SpatialVlmError | None:
        """Load the models; returns the error, if any."""
        limit_opencv()  # Ray sets OMP_NUM_THREADS to the cores of an actor
        try:
            self._worker = ShardWorker(setup)
        except SpatialVlmError as error:
            return error
        return None

    def answer(self, shard: Shard) -> Outcome:
        return self._worker.answer(shard)


@contextmanager
def _same_sigterm() -> Iterator[None]:
    """Keep what SIGTERM does: `ray.init` puts a handler of its own in its place, and prints its stack."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
