# SPDX-License-Identifier: Apache-2.0
"""Shards, the pieces of an evaluation, their results, and how these are stored: one Parquet file each, and all merged.

A plan depends on what is evaluated, never on the engine or the number of workers: so every engine gives the same rows
in the same order. The metadata of a file has its shard's key and the hash of its rows, so a truncated, damaged or
foreign file is detected. The same rows give the same bytes. pyarrow is imported when it is needed.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spatial_vlm_lab.scoring.rows import Row, rows_schema, rows_table
from spatial_vlm_ros.errors import DependencyError
from spatial_vlm_ros.extras import install

ABOUT = b"spatial_vlm_ros"
"""Key of our own metadata in a Parquet file: JSON."""
FORM = 1
ROWS_IN_GROUP = 65_536
_SETTINGS: dict[str, Any] = {
    "compression": "zstd", "version": "2.6", "use_dictionary": True, "write_statistics": True, "store_schema": True,
}  # fmt: skip
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


# ------------------------------------------------------------------------------------------------ stored


def part_name(key: str) -> str:
    """Name of a shard's part in the folder of an evaluation."""
    return f"parts/{key}.parquet"


def part_bytes(answers: ShardAnswers, key: str) -> bytes:
    """Encode the answers of a shard as a Parquet file with its key."""
    parquet, table, notes = needed_parquet(), rows_table(answers.rows), list(answers.notes)
    said = {"form": FORM, "key": key, "notes": notes, "digest": digest([table.to_pylist(), notes])}
    sink = io.BytesIO()
    parquet.write_table(table.replace_schema_metadata(_metadata(said)), sink, **_SETTINGS)
    return sink.getvalue()


def part_answers(data: bytes, key: str) -> ShardAnswers | None:
    """Decode the answers of a part; None if it is damaged, truncated or another part."""
    parquet = needed_parquet()
    try:
        table = parquet.read_table(io.BytesIO(data))
        about = json.loads((table.schema.metadata or {})[ABOUT])
        rows, notes = table.to_pylist(), about["notes"]
    except Exception:  # whatever pyarrow says of damaged bytes
        return None
    good = about.get("form") == FORM and about.get("key") == key and about.get("digest") == digest([rows, notes])
    return ShardAnswers(tuple(rows), tuple(notes)) if good else None


def write_merged(path: Path, parts: Iterable[Sequence[Row]], about: Mapping[str, Any]) -> int:
    """Write all rows to one Parquet file, in the order of the parts, with at most ROWS_IN_GROUP in memory.

    Args:
        path: path of the file, which is written in place.
        parts: rows of each part.
        about: what the file says of itself, JSON-like, no times.

    Returns:
        Number of rows.
    """
    count, waiting = 0, list[Row]()
    schema = rows_schema().with_metadata(_metadata({"form": FORM, **about}))
    with needed_parquet().ParquetWriter(path, schema, **_SETTINGS) as writer:
        for rows in parts:
            waiting.extend(rows)
            count += len(rows)
            while len(waiting) >= ROWS_IN_GROUP:
                writer.write_table(rows_table(waiting[:ROWS_IN_GROUP]))
                del waiting[:ROWS_IN_GROUP]
        if waiting:
            writer.write_table(rows_table(waiting))
    return count


def needed_parquet() -> Any:
    """The module pyarrow.parquet."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise DependencyError("pyarrow", install("scale")) from error
    return pyarrow.parquet


def _metadata(said: Mapping[str, Any]) -> dict[bytes, bytes]:
    return {ABOUT: json.dumps(said, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()}
