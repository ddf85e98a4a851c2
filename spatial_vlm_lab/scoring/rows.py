# SPDX-License-Identifier: Apache-2.0
"""Judged cases as rows of plain values, and back: what processes pass to each other and Parquet files keep.

No times are in a row: two runs over the same cases give the same rows. pyarrow is imported when it is needed.
Stored runs of this and of other versions are read from these forms, independent of expectations:

    JSON of `spatial-vlm evaluate --json` or `--out`     an object with "cases", or with "models" that have them
    JSON lines of `spatial-vlm resolve --frames --json`   one resolution a line; so does `replay --json`
    a JSON list of resolutions
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec

from spatial_vlm_lab.scoring.case_result import CaseResult, answered_id, relations_of
from spatial_vlm_ros.errors import DependencyError, FileError, InputError
from spatial_vlm_ros.files.reading import read_bytes
from spatial_vlm_ros.files.writing import write_bytes
from spatial_vlm_ros.recording.cases import Case
from spatial_vlm_ros.recording.frame_folder import decode_json
from spatial_vlm_ros.types import Resolution, SpaceAnswer, Status

Row = dict[str, Any]

COLUMNS = (*(one.name for one in fields(CaseResult)), "right", "problem")
"""Names of the columns: the fields of CaseResult, whether all is right, and why the case could not be judged.

A value may be None but for those of model, source, frame, stamp_ns, instruction, kind, status, error, confidence,
message, relations, expected_also, about, checks and problem.
"""


def row_of(result: CaseResult) -> Row:
    """Convert a judged case to a row."""
    values, answer = msgspec.to_builtins(result), result.expected_answer
    values["right"], values["problem"] = result.complete, ""
    values["error"], values["confidence"] = values["error"] or "", float(result.confidence)
    values["expected_answer"] = None if answer is None else msgspec.json.encode(answer).decode()
    return _in_order(values)


def unjudged_row(case: Case, answer: Resolution, model: str, source: str, problem: str) -> Row:
    """Make the row of a case that cannot be judged, without an expectation or with unusable truth."""
    return _in_order(
        {
            "model": model,
            "source": source,
            **{name: getattr(case, name) for name in ("frame", "stamp_ns", "instruction", "kind")},
            "status": answer.status.value,
            "id": answer.target.id if answer.target is not None else None,
            "error": "",
            "confidence": float(answer.confidence),
            "message": answer.message,
            "frame_of_reference": answer.frame_of_reference.value if answer.frame_of_reference else None,
            "relations": relations_of(answer),
            "expected_also": (),
            "about": "",
            "checks": (),
            "problem": problem,
        }
    )


def is_judged(row: Mapping[str, Any]) -> bool:
    """Whether a row is one of `row_of`."""
    return row["right"] is not None


def result_of(row: Mapping[str, Any]) -> CaseResult:
    """The judged case of a row."""
    try:
        answer = row["expected_answer"]
        values = {name: row[name] for name in COLUMNS} | {"error": row["error"] or None}
        values["expected_answer"] = None if answer is None else msgspec.json.decode(answer)
        return msgspec.convert(values, CaseResult)
    except (KeyError, ValueError, TypeError, msgspec.MsgspecError) as error:
        repair = "use rows that `evaluate` of this version wrote"
        raise InputError("row", f"{type(error).__name__}: {error}", "a row of a judged case", repair) from error


def _in_order(values: Row) -> Row:
    return {name: list(found) if isinstance(found := values.get(name), tuple) else found for name in COLUMNS}


def check_installed() -> None:
    """Check that pyarrow is installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise DependencyError("pyarrow", "pip install pyarrow, into the Python environment of this command") from error


def rows_schema() -> Any:
    """The columns of rows as a pyarrow.Schema."""
    check_installed()
    import pyarrow as pa

    kinds = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "tuple[str, ...]": pa.list_(pa.string())}
    types = {one.name: kinds.get(str(one.type).removesuffix(" | None")) for one in fields(CaseResult)}
    return pa.schema([(name, {**types, "right": pa.bool_()}.get(name) or pa.string()) for name in COLUMNS])


def rows_table(rows: Iterable[Row]) -> Any:
    """Rows as a pyarrow.Table; columns that they lack are null, and texts have no half characters."""
    schema = rows_schema()
    import pyarrow as pa

    return pa.Table.from_pylist([{name: _whole(value) for name, value in row.items()} for row in rows], schema=schema)


def _whole(value: Any) -> Any:
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def write_rows(path: str | Path, rows: Sequence[Row], *, force: bool = False) -> None:
    """Write rows to one file atomically; creates its parent folders."""
    table, file = rows_table(rows), io.BytesIO()
    import pyarrow.parquet as pq

    pq.write_table(table, file)
    write_bytes(path, file.getvalue(), force=force)


# ------------------------------------------------------------------------------------------------ stored runs


_LARGEST_RUN = 1 << 26  # bytes: 100,000 cases of 600 bytes
_REPAIR = "pass what `spatial-vlm evaluate --out` or `spatial-vlm resolve --frames --json` wrote"


class StoredAnswer(msgspec.Struct, frozen=True):
    """Stored answer to one case; other fields may come and go."""

    frame: str | None  # None or "" for an image in a bag
    instruction: str
    status: Status
    id: str | None
    answer: SpaceAnswer | None = None
    as_expected: bool | None = None  # then, where the run keeps that
    source: str = ""
    stamp_ns: int = 0  # of that image

    @property
    def image(self) -> str:
        """Name of the frame, or the stamp of an image in a bag."""
        return self.frame or str(self.stamp_ns)


class _Target(msgspec.Struct):
    id: str


class _Resolution(msgspec.Struct):
    instruction: str
    status: Status
    target: _Target | None
    frame: str | None = None
    answer: SpaceAnswer | None = None
    stamp_ns: int = 0


class _FirstLine(msgspec.Struct):
    instruction: str | None = None


class _Run(msgspec.Struct):
    cases: tuple[StoredAnswer, ...] = ()
    model: str = ""
    models: tuple[_Run, ...] = ()


def read_runs(path: str | Path) -> dict[str, tuple[StoredAnswer, ...]]:
    """Read the answers of stored runs: name of the model, "" if the file tells none → its answers, in order."""
    text = read_bytes(path, _REPAIR, _LARGEST_RUN)
    stripped = text.lstrip()
    if not stripped:
        raise FileError(path, "the file is empty", _REPAIR)
    try:
        has_lines = msgspec.json.decode(stripped.partition(b"\n")[0], type=_FirstLine).instruction is not None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        has_lines = False  # a list, an object over several lines, or nothing that is known
    if has_lines:
        above = text.count(b"\n", 0, len(text) - len(stripped))
        lines = ((f"line {n}", line) for n, line in enumerate(io.BytesIO(stripped), above + 1) if line.strip())
        return {"": _answers(path, ((at, decode_json(line, _Resolution, path, at, _REPAIR)) for at, line in lines))}
    if stripped.startswith(b"["):
        listed = decode_json(text, list[_Resolution], path, repair=_REPAIR)
        return {"": _answers(path, ((f"$[{n}]", one) for n, one in enumerate(listed)))}
    run = decode_json(text, _Run, path, repair=_REPAIR)
    runs = run.models or (run,)
    if not all(one.cases for one in runs):
        raise FileError(path, "it has no cases", _REPAIR)
    return {one.model: one.cases for one in runs}


def _answers(path: str | Path, found: Iterable[tuple[str, _Resolution]]) -> tuple[StoredAnswer, ...]:
    answers = []
    for place, one in found:
        if one.frame is None and not one.stamp_ns:
            repair = "pass answers to a folder of cases or a bag: `resolve --frames DIR --json` or `replay --json`"
            raise FileError(path, "it does not name its frame", repair, place)
        id_ = one.target.id if one.target is not None else answered_id(one.answer)
        told = StoredAnswer(one.frame, one.instruction, one.status, id_, one.answer, stamp_ns=one.stamp_ns)
        answers.append(told)
    return tuple(answers)
