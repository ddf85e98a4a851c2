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
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spatial_vlm_ros.errors import DependencyError, InputError
from spatial_vlm_ros.extras import install

if TYPE_CHECKING:
    import pyarrow as pa

Value = str | int | float | bool | None | list[str]
Row = dict[str, Value]
"""The result of one case, plain values only. Every row of an evaluation has the same fields."""
ABOUT = b"spatial_vlm_ros"
"""Key of our own metadata in a Parquet file: JSON."""
FORM = 1
ROWS_IN_GROUP = 65_536
_KINDS = ("bool", "int", "float", "str")
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


def needed_parquet() -> Any:
    """The module pyarrow.parquet."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise DependencyError("pyarrow", install("scale")) from error
    return pyarrow.parquet


def part_name(key: str) -> str:
    """Name of a shard's part in the folder of an evaluation."""
    return f"parts/{key}.parquet"


def part_bytes(answers: ShardAnswers, key: str) -> bytes:
    """Encode the answers of a shard as a Parquet file with its key."""
    parquet, fields, sink = needed_parquet(), fields_of(answers.rows), io.BytesIO()
    kept = [{name: _as(kind, row[name]) for name, kind in fields.items()} for row in answers.rows]
    notes = list(answers.notes)
    schema = _schema(fields, {"form": FORM, "key": key, "notes": notes, "digest": digest([kept, notes])})
    parquet.write_table(_filled(kept, fields, schema), sink, **_SETTINGS)
    return sink.getvalue()


def part_answers(data: bytes, key: str) -> ShardAnswers | None:
    """Decode the answers of a part; None if it is damaged, truncated or another part."""
    parquet = needed_parquet()
    try:
        table = parquet.read_table(io.BytesIO(data))
        about = json.loads((table.schema.metadata or {})[ABOUT])
        rows, notes = table.select(list(about["fields"])).to_pylist(), about["notes"]
    except Exception:  # whatever pyarrow says of damaged bytes
        return None
    good = about.get("form") == FORM and about.get("key") == key and about.get("digest") == digest([rows, notes])
    return ShardAnswers(tuple(rows), tuple(notes)) if good else None


def write_merged(
    path: Path, parts: Iterable[Sequence[Row]], fields: Mapping[str, str], about: Mapping[str, Any]
) -> int:
    """Write all rows to one Parquet file, in the order of the parts, with at most ROWS_IN_GROUP in memory.

    Args:
        path: path of the file, which is written in place.
        parts: rows of each part.
        fields: field → kind, as `RowFields` gives it for all rows.
        about: what the file says of itself, JSON-like, no times.

    Returns:
        Number of rows.
    """
    parquet, count, waiting = needed_parquet(), 0, list[Row]()
    schema = _schema(fields, {"form": FORM, **about})
    with parquet.ParquetWriter(path, schema, **_SETTINGS) as writer:
        for rows in parts:
            waiting.extend(rows)
            count += len(rows)
            while len(waiting) >= ROWS_IN_GROUP:
                writer.write_table(_filled(waiting[:ROWS_IN_GROUP], fields, schema))
                del waiting[:ROWS_IN_GROUP]
        if waiting:
            writer.write_table(_filled(waiting, fields, schema))
    return count


class RowFields:
    """Collects the fields of all rows of an evaluation, and the kinds of their values."""

    def __init__(self) -> None:
        self._kinds: dict[str, str | None] = {}

    def add(self, rows: Iterable[Row]) -> None:
        """Add some rows."""
        for row in rows:
            self._kinds = self._kinds or dict.fromkeys(row, None)
            if row.keys() != self._kinds.keys():
                got = f"fields that are not in every row: {', '.join(sorted(row.keys() ^ self._kinds.keys()))}"
                repair = "make the task return every field, None where there is no value"
                raise InputError("rows of an evaluation", got, "the same in each", repair)
            for name, value in row.items():
                self._kinds[name] = _joined(name, self._kinds[name], _kind(name, value))

    def kinds(self) -> dict[str, str]:
        """Field → kind; a field that is None everywhere is text."""
        return {name: kind or "str" for name, kind in self._kinds.items()}


def fields_of(rows: Iterable[Row]) -> dict[str, str]:
    """Field → kind of some rows."""
    fields = RowFields()
    fields.add(rows)
    return fields.kinds()


# ------------------------------------------------------------------------------------------------ Arrow


def _kind(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "list"
    kind = type(value).__name__
    if kind not in _KINDS or (kind == "float" and not math.isfinite(value)):
        raise InputError(f"field {name} of a row", repr(value)[:60], "a text, number, bool, None or list of texts",
                         "convert it in the task; use None instead of NaN")  # fmt: skip
    return kind


def _joined(name: str, one: str | None, other: str | None) -> str | None:
    if one is None or other is None or one == other:
        return one or other
    if {one, other} == {"int", "float"}:
        return "float"
    raise InputError(f"field {name} of rows", f"{one} and {other}", "one kind of value", "convert it in the task")


def _schema(fields: Mapping[str, str], about: Mapping[str, Any]) -> pa.Schema:
    import pyarrow as pa

    text = pa.string()
    types = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "str": text, "list": pa.list_(text)}
    said = json.dumps({**about, "fields": dict(fields)}, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    columns = [pa.field(name, types[kind]) for name, kind in fields.items()]
    return pa.schema(columns, metadata={ABOUT: said.encode()})


def _filled(rows: Sequence[Row], fields: Mapping[str, str], schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    columns = {name: [_as(kind, row[name]) for row in rows] for name, kind in fields.items()}
    return pa.table(columns, schema=schema)


def _as(kind: str, value: Any) -> Any:
    """A value as its column holds it: whole numbers among others as floats, texts without half characters."""
    if value is None:
        return None
    if kind == "float":
        return float(value)
    if kind == "str":
        return value.encode("utf-8", "replace").decode()
    return [one.encode("utf-8", "replace").decode() for one in value] if kind == "list" else value
