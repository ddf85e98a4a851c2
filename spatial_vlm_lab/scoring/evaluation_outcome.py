# SPDX-License-Identifier: Apache-2.0
"""Results of an evaluation: each model's, pairs of models, baselines; and their JSON.

All of it follows from judged cases, so that rows alone give the same JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import msgspec

from spatial_vlm_lab.comparison.comparison import METRICS, ComparisonVerdict, Metric, paired, verdict_of
from spatial_vlm_lab.scoring.case_result import CaseError, CaseResult
from spatial_vlm_lab.scoring.clustering import clustered, holm
from spatial_vlm_lab.scoring.model_run import ModelRun
from spatial_vlm_lab.scoring.outcome import ModelOutcome, outcome_json, outcome_of
from spatial_vlm_lab.scoring.runs import StoredAnswer
from spatial_vlm_lab.scoring.score import score_results
from spatial_vlm_ros.types.proportions import Interval, mcnemar

_METRICS: tuple[Metric, ...] = (
    ("as expected, place and all", True, lambda _: True, lambda r: r.complete),
    *METRICS[1:],
)


@dataclass(frozen=True)
class PairDifference:
    """One metric of two models on the cases that both answered.

    Args:
        metric: "as expected, place and all", "right instance", "wrong pose" (of all cases) or "pose on refusal".
        only_first: cases that count only for the first model.
        difference: share of the first less that of the second, with its 95 % interval over images (paired bootstrap of
            whole images, percentiles, fixed seed); without width where there are fewer than two images.
        p: two-sided exact p of McNemar's test.
        p_holm: the same corrected by Holm's method for all comparisons of the table.
        verdict: verdict on the first model, if p_holm < 0.05.
    """

    metric: str
    first: str
    second: str
    n: int
    first_k: int
    second_k: int
    only_first: int
    only_second: int
    difference: Interval
    p: float
    p_holm: float
    verdict: ComparisonVerdict


def compare_pairs(runs: Sequence[tuple[str, Sequence[CaseResult]]]) -> tuple[PairDifference, ...]:
    """Compare every pair of models by every metric; pairs without a common case are left out.

    Holm's method keeps the chance of any false verdict in the table at 5 %, whatever depends on what.
    """
    found = []
    for (first, some), (second, others) in combinations(runs, 2):
        pairs = paired(some, others, lambda r: (r.group, r.instruction), lambda r: (r.group, r.instruction))
        for metric, more_is_better, of, counts in _METRICS:
            both = [(one.group, counts(one), counts(other)) for one, other in pairs if of(one)]
            if not both:
                continue
            only_first = sum(a and not b for _, a, b in both)
            only_second = sum(b and not a for _, a, b in both)
            difference = PairDifference(
                metric, first, second, len(both), sum(a for _, a, _ in both), sum(b for _, _, b in both), only_first,
                only_second, paired_over_groups(both), _significant(mcnemar(only_second, only_first)), 1.0,
                ComparisonVerdict.CANNOT_TELL,
            )  # fmt: skip
            found.append(((only_first > only_second) is more_is_better, difference))
    corrected = map(_significant, holm([one.p for _, one in found]))
    return tuple(
        replace(one, p_holm=p, verdict=verdict_of(p, is_better))
        for (is_better, one), p in zip(found, corrected, strict=True)
    )


def _significant(p: float) -> float:
    """Three significant digits: what small values of p say is their order of magnitude."""
    return float(f"{p:.3g}")


def paired_over_groups(pairs: Sequence[tuple[str, bool, bool]]) -> Interval:
    """The mean of paired differences with its 95 % interval over groups, drawn whole; see `clustered`.

    Args:
        pairs: name of the group, and whether the case counts for the first and for the second.
    """
    differences = [(group, int(first) - int(second)) for group, first, second in pairs]
    value = round(sum(each for _, each in differences) / len(pairs), 6)
    return clustered(differences) or Interval(value, value, value)


def failure_notes(runs: Sequence[tuple[str, Sequence[CaseResult]]]) -> tuple[str, ...]:
    """Make a sentence for each source and failed status, with the message of the first such case.

    Models with the same sentence share it.
    """
    shared: dict[str, list[str]] = {}
    for model, results in runs:
        failed: dict[tuple[str, str], list[CaseResult]] = {}
        for result in results:
            if result.error is CaseError.FAILED:
                failed.setdefault((result.source, result.status.value), []).append(result)
        for source, n in Counter(result.source for result in results).items():
            head = f"{source}: " if source else ""
            for status, cases in ((status, cases) for (own, status), cases in failed.items() if own == source):
                words = f"{head}{len(cases)} of {n} cases ended in {status}; the first says: {cases[0].message}"
                shared.setdefault(words, []).append(model)
    several = len(runs) > 1
    return tuple(f"{', '.join(models)}: {words}" if several else words for words, models in shared.items())


@dataclass(frozen=True)
class EvaluationOutcome:
    """Results of all models, in the order in which they were named."""

    models: tuple[ModelOutcome, ...]
    pairs: tuple[PairDifference, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every case that expects something was asked and judged."""
        return not any(model.unusable for model in self.models)

    def is_worse(self, significant: bool = False) -> bool:
        """Whether any model is worse than its baseline; `significant`: by more than chance explains."""
        compared = [model.comparison for model in self.models if model.comparison is not None]
        return any(c.verdict is ComparisonVerdict.WORSE or (c.slipped and not significant) for c in compared)


def evaluation_of(
    runs: Sequence[ModelRun], baselines: Mapping[str, Sequence[StoredAnswer]] | None = None, notes: Sequence[str] = ()
) -> EvaluationOutcome:
    """Compute the results of some runs, one for each model.

    Args:
        notes: sentences about sources; one about cases that expect nothing is added.
    """
    baselines, named = baselines or {}, [(run.name, run.results) for run in runs]
    models = tuple(
        outcome_of(score_results(run.results, run.unjudged), baselines.get(run.name), run.name, run.unusable)
        for run in runs
    )
    said = [*notes, *failure_notes(named)]
    unjudged = max((run.unjudged for run in runs), default=0)
    if unjudged:
        left_out = "1 case does" if unjudged == 1 else f"{unjudged} cases do"
        said.append(f'{left_out} not say what to expect and did not count: add "expect"')
    return EvaluationOutcome(models, compare_pairs(named), tuple(dict.fromkeys(said)))


def evaluation_json(evaluation: EvaluationOutcome) -> dict[str, Any]:
    """JSON values without times: of one model those of `outcome_json`, of several "models" lists these for each."""
    models = [outcome_json(model) for model in evaluation.models]
    whole = {"pairs": msgspec.to_builtins(evaluation.pairs), "notes": list(evaluation.notes)}
    return {**models[0], **whole} if len(models) == 1 else {"models": models, **whole}
