# SPDX-License-Identifier: Apache-2.0
"""Results of a run: scores, calibration, and comparison with a baseline; and their JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from spatial_vlm_lab.comparison.comparison import Comparison, compare
from spatial_vlm_lab.scoring.calibration import Calibration, calibrate
from spatial_vlm_lab.scoring.runs import StoredAnswer
from spatial_vlm_lab.scoring.score import Score, score
from spatial_vlm_ros.evaluation.expected_place import FrameTruth
from spatial_vlm_ros.evaluation.frame_folder import Case
from spatial_vlm_ros.types import Resolution, Status


@dataclass(frozen=True)
class RunOutcome:
    """Results of a run.

    Args:
        answered: calibration of the answers given; right = the expected object. None without an answer.
        all_cases: calibration of the likeliest candidate of every case, answered with or not; right = it is the
            expected object, so that a case that expects a refusal is never right. It says what a lower threshold
            for answering would do. None without a case.
    """

    score: Score
    answered: Calibration | None
    all_cases: Calibration | None
    comparison: Comparison | None = None


def judge(
    cases: Sequence[Case],
    resolutions: Sequence[Resolution],
    baseline: Sequence[StoredAnswer] | None = None,
    truths: Mapping[str, FrameTruth] | None = None,
) -> RunOutcome:
    """Compute the results of the answers to some cases.

    Args:
        cases: what was asked; those that do not say what to expect are left out.
        resolutions: one for each case.
    """
    return outcome_of(score(cases, resolutions, truths), baseline)


def outcome_of(result: Score, baseline: Sequence[StoredAnswer] | None = None) -> RunOutcome:
    """Compute the results of judged cases."""
    given = [case for case in result.cases if case.status is Status.OK]
    return RunOutcome(
        score=result,
        answered=calibrate([c.confidence for c in given], [c.as_expected for c in given]),
        all_cases=calibrate([c.confidence for c in result.cases], [c.likeliest_is_right for c in result.cases]),
        comparison=None if baseline is None else compare(result.cases, baseline),
    )


def outcome_json(outcome: RunOutcome) -> dict[str, Any]:
    """JSON values: the fields of the score, and beside them "calibration" and "comparison"; no times are in it."""
    return {
        **msgspec.to_builtins(outcome.score),
        "calibration": msgspec.to_builtins({"answered": outcome.answered, "all": outcome.all_cases}),
        "comparison": msgspec.to_builtins(outcome.comparison),
    }
