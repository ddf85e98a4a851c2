# SPDX-License-Identifier: Apache-2.0
"""Shards, the pieces of an evaluation, and their results.

A plan depends on what is evaluated, never on the engine or the number of workers: so every engine gives the same rows
in the same order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Value = str | int | float | bool | None | list[str]
Row = dict[str, Value]
"""The result of one case, plain values only. Every row of an evaluation has the same fields."""

_KEY = 40  # hexadecimal digits of a part's name


@dataclass(frozen=True)
class Shard:
    """A piece of an evaluation, answered by one worker at one time.

    Args:
        name: name of the piece, for people: "run1.mcap, 0 to 60 s".
        cases: what each of its rows is about, in their order: "f003: the cup behind the can". So many rows are due.
    """

    source: str
    name: str
    cases: tuple[str, ...]
    content: str
    payload: Any = field(compare=False, repr=False, default=None)

    def key(self, configuration: str) -> str:
        """The name of its part: hash of content, cases and configuration (itself a hash)."""
        return digest([configuration, self.source, self.content, list(self.cases)])[:_KEY]


@dataclass(frozen=True)
class ShardAnswers:
    """Result of a task for a shard.

    Args:
        rows: one for each case, in their order.
        notes: sentences about the source, such as "its end is damaged".
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluated:
    """The answers of a shard, and how long they took (seconds of the worker)."""

    shard: Shard
    answers: ShardAnswers
    seconds: float = field(compare=False, default=0.0)


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


def configuration_digest(configuration: Mapping[str, Any]) -> str:
    """Hash of a configuration: everything but the data that rows depend on, JSON-like."""
    return digest(dict(configuration))


def in_batches(names: Sequence[str], most: int) -> list[tuple[str, ...]]:
    """Names in batches of at most `most`, in their order."""
    return [tuple(names[n : n + most]) for n in range(0, len(names), most)]
