# SPDX-License-Identifier: Apache-2.0
"""Collects a model's run: results, answers, and images of failures only.

Works on judged cases only. A run can also be made from rows, without answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from spatial_vlm_lab.scoring.case_judge import EvaluatedCase
from spatial_vlm_lab.scoring.case_result import CaseResult
from spatial_vlm_lab.scoring.rows import Row, is_judged, result_of
from spatial_vlm_ros.types import Resolution


@dataclass(frozen=True)
class UnusableCase:
    """A case whose truth cannot be used, or that could not be asked."""

    source: str
    image: str
    instruction: str
    problem: str


@dataclass(frozen=True)
class UnusableCases:
    """Unjudged cases of a source with the same reason: the first, and the image of it with how many more there are."""

    first: UnusableCase
    count: int
    image: str


def by_reason(cases: Iterable[UnusableCase]) -> list[UnusableCases]:
    """Cases that were not judged, those of the same source and reason together, by source and image."""
    groups: dict[tuple[str, str], list[UnusableCase]] = {}
    for case in sorted(set(cases), key=lambda c: (c.source, c.image, c.instruction)):
        groups.setdefault((case.source, case.problem), []).append(case)
    return [
        UnusableCases(first, 1 + len(more), f"{first.image} and {len(more)} more" if more else first.image)
        for first, *more in groups.values()
    ]


@dataclass
class ModelRun:
    """A model with the results of its cases.

    Attributes:
        answers: number of the judged case, from 0 → its answer, where it is kept: of those that went wrong.
        seconds: for each judged case how long its answer took.
        images: number of the judged case → the annotated image as JPEG.
        unjudged: cases that expect nothing.
    """

    name: str
    results: list[CaseResult] = field(default_factory=list)
    answers: dict[int, Resolution] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    images: dict[int, bytes] = field(default_factory=dict)
    unjudged: int = 0
    unusable: list[UnusableCase] = field(default_factory=list)

    def add(self, one: EvaluatedCase, image: bytes | None = None) -> None:
        """Note a case; `image` is kept with it."""
        if one.result is None:
            self.add_row(one.row())
            return
        number = len(self.results)
        self.results.append(one.result)
        self.seconds.append(one.resolution.ms / 1e3)
        if not one.result.complete:
            self.answers[number] = one.resolution
        if image is not None:
            self.images[number] = image

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Note a row of `rows.row_of` or `rows.unjudged_row`."""
        if is_judged(row):
            self.results.append(result_of(row))
            self.seconds.append(0.0)
        elif row["problem"]:
            image = row["frame"] or str(row["stamp_ns"])
            self.unusable.append(UnusableCase(row["source"], image, row["instruction"], row["problem"]))
        else:
            self.unjudged += 1


def runs_of_rows(rows: Iterable[Row]) -> tuple[ModelRun, ...]:
    """The runs that rows are of, by model, in the order in which models come."""
    runs: dict[str, ModelRun] = {}
    for row in rows:
        runs.setdefault(row["model"], ModelRun(row["model"])).add_row(row)
    return tuple(runs.values())
