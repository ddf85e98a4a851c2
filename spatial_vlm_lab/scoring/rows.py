# SPDX-License-Identifier: Apache-2.0
"""Judged cases as rows of plain values, and back: what processes pass to each other and Parquet files keep.

No times are in a row: two runs over the same cases give the same rows. pyarrow is imported when it is needed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from spatial_vlm_lab.scoring.case_result import CaseResult, relations_of
from spatial_vlm_ros.errors import DependencyError, InputError
from spatial_vlm_ros.files.writing import write_bytes
from spatial_vlm_ros.recording.cases import Case
from spatial_vlm_ros.types import Resolution

Column = Literal["text", "whole number", "number", "truth value", "texts"]
Row = dict[str, Any]

_KINDS: Mapping[str, Column] = {
    "int": "whole number", "float": "number", "bool": "truth value", "tuple[str, ...]": "texts"
}  # fmt: skip
COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        **{one.name: _KINDS.get(str(one.type).removesuffix(" | None"), "text") for one in fields(CaseResult)},
        "right": "truth value",
        "problem": "text",
    }
)
"""Name of each column → what its values are. They are the fields of CaseResult, whether all is right, and why the case
could not be judged. A value may be None but for those of model, source, frame, stamp_ns, instruction, kind, status,
error, confidence, message, relations, expected_also, about, checks and problem."""


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

    types = {"text": pa.string(), "whole number": pa.int64(), "number": pa.float64(), "truth value": pa.bool_(),
             "texts": pa.list_(pa.string())}  # fmt: skip
    return pa.schema([(name, types[column]) for name, column in COLUMNS.items()])


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
