# SPDX-License-Identifier: Apache-2.0
"""Results of an evaluation: metrics and errors of each model, pairs of models, baselines; and their JSON.

All of it follows from judged cases, so that rows alone give the same JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from spatial_vlm_ros.evaluation.case_result import CaseResult
from spatial_vlm_ros.evaluation.comparison import ComparisonVerdict
from spatial_vlm_ros.evaluation.error_split import Blame, CaseError
from spatial_vlm_ros.evaluation.failure_notes import failure_notes
from spatial_vlm_ros.evaluation.model_run import ModelRun, UnusableCase
from spatial_vlm_ros.evaluation.outcome import RunOutcome, outcome_json, outcome_of
from spatial_vlm_ros.evaluation.pairwise import PairDifference, compare_pairs
from spatial_vlm_ros.evaluation.runs import StoredAnswer
from spatial_vlm_ros.evaluation.score import score_results
from spatial_vlm_ros.types.proportions import Share, wilson

UNKNOWN = "unknown"
"""Blame of an error where the oracle could not be asked."""


@dataclass(frozen=True)
class ModelOutcome:
    """Results of one model.

    Args:
        errors: what went wrong → who is to blame ("model", "resolver" or UNKNOWN) → number.
        oracle: share of the cases with an oracle that the resolver alone answers as expected, including the place.
        beside_oracle: share of the same cases that the model answers as expected.
    """

    name: str
    outcome: RunOutcome
    errors: Mapping[str, Mapping[str, int]]
    oracle: Share
    beside_oracle: Share
    unusable: tuple[UnusableCase, ...]


@dataclass(frozen=True)
class EvaluationOutcome:
    """Results of all models.

    Args:
        models: in the order in which they were named.
    """

    models: tuple[ModelOutcome, ...]
    pairs: tuple[PairDifference, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every case that expects something was asked and judged."""
        return not any(model.unusable for model in self.models)

    def is_worse(self, significant: bool = False) -> bool:
        """Whether any model is worse than its baseline; `significant`: by more than chance explains."""
        compared = [model.outcome.comparison for model in self.models if model.outcome.comparison is not None]
        return any(c.verdict is ComparisonVerdict.WORSE or (c.slipped and not significant) for c in compared)


def evaluation_of(
    runs: Sequence[ModelRun], baselines: Mapping[str, Sequence[StoredAnswer]] | None = None, notes: Sequence[str] = ()
) -> EvaluationOutcome:
    """Compute the results of some runs.

    Args:
        runs: one for each model.
        notes: sentences about sources; one about cases that expect nothing is added.
    """
    baselines = baselines or {}
    models = tuple(_model(run, baselines.get(run.name)) for run in runs)
    pairs = compare_pairs([(run.name, run.results) for run in runs])
    said = [*notes, *failure_notes([(run.name, run.results) for run in runs])]
    unjudged = max((run.unjudged for run in runs), default=0)
    if unjudged:
        left_out = "1 case does" if unjudged == 1 else f"{unjudged} cases do"
        said.append(f'{left_out} not say what to expect and did not count: add "expect"')
    return EvaluationOutcome(models, pairs, tuple(dict.fromkeys(said)))


def _model(run: ModelRun, baseline: Sequence[StoredAnswer] | None) -> ModelOutcome:
    outcome = outcome_of(score_results(run.results, run.unjudged), baseline)
    known = [r for r in run.results if r.oracle_right is not None]
    return ModelOutcome(
        name=run.name,
        outcome=outcome,
        errors=error_table(run.results),
        oracle=wilson(sum(bool(r.oracle_right) for r in known), len(known)),
        beside_oracle=wilson(sum(r.complete for r in known), len(known)),
        unusable=tuple(run.unusable),
    )


def error_table(results: Sequence[CaseResult]) -> dict[str, dict[str, int]]:
    """What went wrong → who is to blame → number; without errors that did not occur."""
    errors: dict[str, dict[str, int]] = {}
    for error in CaseError:
        blamed = [r.blame.value if r.blame else UNKNOWN for r in results if r.error is error]
        if blamed:
            errors[error.value] = {who: blamed.count(who) for who in (*(b.value for b in Blame), UNKNOWN)}
    return errors


def evaluation_json(evaluation: EvaluationOutcome) -> dict[str, Any]:
    """JSON values. No times are in them.

    Of one model they are those of `outcome_json` and, beside them, those of this module; of several "models" lists
    these for each.
    """
    whole = {
        "pairs": msgspec.to_builtins(evaluation.pairs),
        "notes": list(evaluation.notes),
    }
    models = [_model_json(model) for model in evaluation.models]
    return {**models[0], **whole} if len(models) == 1 else {"models": models, **whole}


def _model_json(model: ModelOutcome) -> dict[str, Any]:
    return {
        **outcome_json(model.outcome),
        "model": model.name,
        "errors": msgspec.to_builtins(dict(model.errors)),
        "oracle": msgspec.to_builtins(model.oracle),
        "beside_oracle": msgspec.to_builtins(model.beside_oracle),
        "unusable": msgspec.to_builtins(model.unusable),
    }
