# SPDX-License-Identifier: Apache-2.0
"""Results of one model: scores, calibration, errors, and comparison with a baseline; and their JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from spatial_vlm_lab.comparison.comparison import Comparison, compare
from spatial_vlm_lab.scoring.calibration import Calibration, calibrate
from spatial_vlm_lab.scoring.case_result import Blame, CaseError
from spatial_vlm_lab.scoring.frame_truth import FrameTruth
from spatial_vlm_lab.scoring.model_run import UnusableCase
from spatial_vlm_lab.scoring.runs import StoredAnswer
from spatial_vlm_lab.scoring.score import Score, score
from spatial_vlm_ros.recording.cases import Case
from spatial_vlm_ros.types import Resolution, Status
from spatial_vlm_ros.types.proportions import Share, wilson

UNKNOWN = "unknown"
"""Blame of an error where the oracle could not be asked."""


@dataclass(frozen=True)
class ModelOutcome:
    """Results of one model.

    Args:
        name: "" if nothing tells it.
        answered: calibration of the answers given; right = the expected object. None without an answer.
        all_cases: calibration of the likeliest candidate of every case, answered with or not; right = it is the
            expected object, so that a case that expects a refusal is never right. It says what a lower threshold
            for answering would do. None without a case.
        errors: what went wrong → who is to blame ("model", "resolver" or UNKNOWN) → number.
        oracle: share of the cases with an oracle that the resolver alone answers as expected, including the place.
        beside_oracle: share of the same cases that the model answers as expected.
    """

    name: str
    score: Score
    answered: Calibration | None
    all_cases: Calibration | None
    comparison: Comparison | None
    errors: Mapping[str, Mapping[str, int]]
    oracle: Share
    beside_oracle: Share
    unusable: tuple[UnusableCase, ...]


def judge(
    cases: Sequence[Case],
    resolutions: Sequence[Resolution],
    baseline: Sequence[StoredAnswer] | None = None,
    truths: Mapping[str, FrameTruth] | None = None,
) -> ModelOutcome:
    """Compute the results of the answers to some cases, one for each; cases that expect nothing are left out."""
    return outcome_of(score(cases, resolutions, truths), baseline)


def outcome_of(
    result: Score, baseline: Sequence[StoredAnswer] | None = None, name: str = "", unusable: Sequence[UnusableCase] = ()
) -> ModelOutcome:
    """Compute the results of judged cases."""
    given = [case for case in result.cases if case.status is Status.OK]
    known = [case for case in result.cases if case.oracle_right is not None]
    return ModelOutcome(
        name=name,
        score=result,
        answered=calibrate([c.confidence for c in given], [c.as_expected for c in given]),
        all_cases=calibrate([c.confidence for c in result.cases], [c.likeliest_is_right for c in result.cases]),
        comparison=None if baseline is None else compare(result.cases, baseline),
        errors={
            error.value: {who: blamed.count(who) for who in (*(b.value for b in Blame), UNKNOWN)}
            for error in CaseError
            if (blamed := [c.blame.value if c.blame else UNKNOWN for c in result.cases if c.error is error])
        },
        oracle=wilson(sum(bool(c.oracle_right) for c in known), len(known)),
        beside_oracle=wilson(sum(c.complete for c in known), len(known)),
        unusable=tuple(unusable),
    )


def outcome_json(outcome: ModelOutcome) -> dict[str, Any]:
    """JSON values: the fields of the score, and beside them the others; no times are in it."""
    whole = {
        **msgspec.to_builtins(outcome.score),
        "calibration": {"answered": outcome.answered, "all": outcome.all_cases},
        "comparison": outcome.comparison,
        "model": outcome.name,
        "errors": outcome.errors,
        "oracle": outcome.oracle,
        "beside_oracle": outcome.beside_oracle,
        "unusable": outcome.unusable,
    }
    return dict(msgspec.to_builtins(whole))
