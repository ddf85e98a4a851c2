# SPDX-License-Identifier: Apache-2.0
"""Judged cases as rows of plain values, and back: what processes pass to each other and tables keep.

No times are in a row: two runs over the same cases give the same rows. Independent of files.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.evaluation.case import Case, ExpectedAnswer
from spatial_vlm_ros.evaluation.case_result import CaseResult, relations_of
from spatial_vlm_ros.evaluation.error_split import Blame, CaseError
from spatial_vlm_ros.evaluation.expected_place import PlaceOutcome
from spatial_vlm_ros.evaluation.misses import MissKind
from spatial_vlm_ros.types import Resolution, Status

Column = Literal["text", "whole number", "number", "truth value", "texts"]
Row = dict[str, Any]

COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        "model": "text",
        "source": "text",
        "frame": "text",
        "stamp_ns": "whole number",
        "instruction": "text",
        "kind": "texts",
        "expected_status": "text",
        "expected_id": "text",
        "status": "text",
        "id": "text",
        "right": "truth value",
        "error": "text",
        "iou": "number",
        "place": "text",
        "confidence": "number",
        "message": "text",
        "frame_of_reference": "text",
        "relations": "texts",
        "blame": "text",
        "oracle_right": "truth value",
        "as_expected": "truth value",
        "expected_also": "texts",
        "expected_answer": "text",
        "likeliest_id": "text",
        "likeliest_is_right": "truth value",
        "miss": "text",
        "about": "text",
        "problem": "text",
    }
)
"""Name of each column → what its values are; in every column but model, source, frame, stamp_ns, instruction, kind,
status, error, confidence, message, relations, expected_also, about and problem a value may be None."""


def row_of(result: CaseResult) -> Row:
    """Convert a judged case to a row."""
    return _in_order(
        {
            "model": result.model,
            "source": result.source,
            "frame": result.frame,
            "stamp_ns": result.stamp_ns,
            "instruction": result.instruction,
            "kind": list(result.kind),
            "expected_status": result.expected_status.value,
            "expected_id": result.expected_id,
            "status": result.status.value,
            "id": result.id,
            "right": result.complete,
            "error": result.error.value if result.error else "",
            "iou": result.iou,
            "place": result.place.value if result.place else None,
            "confidence": float(result.confidence),
            "message": result.message,
            "frame_of_reference": result.frame_of_reference,
            "relations": list(result.relations),
            "blame": result.blame.value if result.blame else None,
            "oracle_right": result.oracle_right,
            "as_expected": result.as_expected,
            "expected_also": list(result.expected_also),
            "expected_answer": (
                None if result.expected_answer is None else msgspec.json.encode(result.expected_answer).decode()
            ),
            "likeliest_id": result.likeliest_id,
            "likeliest_is_right": result.likeliest_is_right,
            "miss": result.miss.value if result.miss else None,
            "about": result.about,
            "problem": "",
        }
    )


def unjudged_row(case: Case, answer: Resolution, model: str, source: str, problem: str) -> Row:
    """Make the row of a case that cannot be judged, without an expectation or with unusable truth."""
    return _in_order(
        {
            "model": model,
            "source": source,
            "frame": case.frame,
            "stamp_ns": case.stamp_ns,
            "instruction": case.instruction,
            "kind": list(case.kind),
            "status": answer.status.value,
            "id": answer.target.id if answer.target is not None else None,
            "error": "",
            "confidence": float(answer.confidence),
            "message": answer.message,
            "frame_of_reference": answer.frame_of_reference.value if answer.frame_of_reference else None,
            "relations": list(relations_of(answer)),
            "expected_also": [],
            "about": "",
            "problem": problem,
        }
    )


def is_judged(row: Mapping[str, Any]) -> bool:
    """Whether a row is one of `row_of`."""
    return row["right"] is not None


def result_of(row: Mapping[str, Any]) -> CaseResult:
    """The judged case of a row."""
    try:
        return CaseResult(
            frame=row["frame"],
            instruction=row["instruction"],
            kind=tuple(row["kind"]),
            expected_status=Status[row["expected_status"]],
            expected_id=row["expected_id"],
            status=Status[row["status"]],
            id=row["id"],
            as_expected=bool(row["as_expected"]),
            likeliest_id=row["likeliest_id"],
            confidence=float(row["confidence"]),
            relations=tuple(row["relations"]),
            frame_of_reference=row["frame_of_reference"],
            message=row["message"],
            expected_also=tuple(row["expected_also"]),
            expected_answer=_answer_of(row["expected_answer"]),
            place=PlaceOutcome(row["place"]) if row["place"] else None,
            miss=MissKind(row["miss"]) if row["miss"] else None,
            model=row["model"],
            source=row["source"],
            stamp_ns=int(row["stamp_ns"]),
            error=CaseError(row["error"]) if row["error"] else None,
            blame=Blame(row["blame"]) if row["blame"] else None,
            iou=row["iou"],
            oracle_right=row["oracle_right"],
            likeliest_is_right=bool(row["likeliest_is_right"]),
            about=row["about"],
        )
    except (KeyError, ValueError, TypeError, msgspec.MsgspecError) as error:
        repair = "use rows that `evaluate` of this version wrote"
        raise InputError("row", f"{type(error).__name__}: {error}", "a row of a judged case", repair) from error


def _answer_of(text: str | None) -> ExpectedAnswer | None:
    return None if text is None else msgspec.json.decode(text, type=ExpectedAnswer)


def _in_order(values: Row) -> Row:
    return {name: values.get(name) for name in COLUMNS}
