# SPDX-License-Identifier: Apache-2.0
"""Shared by all engines: the work of a worker, and the distribution of shards after a worker has died."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from spatial_vlm_lab.engine.parts import fields_of
from spatial_vlm_lab.engine.shards import Evaluated, NotEvaluated, Outcome, Setup, Shard
from spatial_vlm_ros.errors import EngineUnavailableError, InternalError, SpatialVlmError

ATTEMPTS = 3
"""How many workers may die over one shard before it is given up."""
_DEATHS_AT_START = 3

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
    """The work of one worker: models are loaded once, shards are answered one by one.

    Args:
        setup: loads models and returns the task.

    Raises:
        SpatialVlmError: `setup` failed.
    """

    def __init__(self, setup: Setup) -> None:
        try:
            self._task = setup()
        except SpatialVlmError:
            raise
        except Exception as error:
            _log.exception("unexpected exception while a worker started")
            raise InternalError.of(error) from error

    def answer(self, shard: Shard) -> Outcome:
        """Answer a shard, or say why not; never raises, so that a bad shard does not affect others."""
        began = time.perf_counter()
        try:
            answers = self._task(shard)
            fields_of(answers.rows)  # values that cannot be stored are the shard's fault, not the evaluation's
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


@dataclass
class _Waiting:
    shard: Shard
    deaths: int = 0


class Dispatcher:
    """Distributes shards to workers, and gives up shards on which workers keep dying.

    Args:
        shards: in the order in which they begin.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._waiting = deque(_Waiting(shard) for shard in shards)
        self._busy: dict[int, _Waiting] = {}
        self._deaths_at_start = 0

    def next_for(self, worker: int) -> Shard | None:
        """Assign the next shard to this worker; None if there is none."""
        if not self._waiting:
            return None
        self._busy[worker] = self._waiting.popleft()
        return self._busy[worker].shard

    def done(self, worker: int) -> None:
        """Note that a worker has answered its shard."""
        self._busy.pop(worker, None)
        self._deaths_at_start = 0

    def died(self, worker: int, how: str) -> NotEvaluated | None:
        """Note that a worker has died; its shard is reassigned or given up.

        Raises:
            EngineUnavailableError: workers die before they have any shard.
        """
        waiting = self._busy.pop(worker, None)
        if waiting is None:
            self._deaths_at_start += 1
            if self._deaths_at_start >= _DEATHS_AT_START:
                reason = f"{_DEATHS_AT_START} workers in a row ended before they could work: {how}"
                raise EngineUnavailableError(reason, "Check the workers' log, memory and the model.")
            return None
        waiting.deaths += 1
        if waiting.deaths >= ATTEMPTS:
            return NotEvaluated(waiting.shard, f"{ATTEMPTS} workers ended while they worked on it: {how}")
        _log.warning("a worker ended (%s); another one takes over %s", how, waiting.shard.name)
        self._waiting.appendleft(waiting)
        return None

    @property
    def is_over(self) -> bool:
        """Whether every shard was answered or given up."""
        return not self._waiting and not self._busy

    @property
    def has_waiting(self) -> bool:
        """Whether a shard waits for a worker."""
        return bool(self._waiting)
