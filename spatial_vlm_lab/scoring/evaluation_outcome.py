# SPDX-License-Identifier: Apache-2.0
"""Results of an evaluation: metrics and errors of each model, pairs of models, baselines; and their JSON.

All of it follows from judged cases, so that rows alone give the same JSON.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import msgspec
import numpy as np

from spatial_vlm_lab.comparison.comparison import ComparisonVerdict
from spatial_vlm_lab.scoring.model_run import ModelRun, UnusableCase
from spatial_vlm_lab.scoring.outcome import RunOutcome, outcome_json, outcome_of
from spatial_vlm_lab.scoring.runs import StoredAnswer
from spatial_vlm_lab.scoring.score import score_results
from spatial_vlm_ros.evaluation.case_result import CaseResult
from spatial_vlm_ros.evaluation.error_split import Blame, CaseError
from spatial_vlm_ros.types import Status
from spatial_vlm_ros.types.proportions import Interval, Share, mcnemar, wilson

UNKNOWN = "unknown"
"""Blame of an error where the oracle could not be asked."""


LEVEL = 0.05
_RESAMPLES = 2000
_SEED = 0
_DIGITS = 6


@dataclass(frozen=True)
class PairDifference:
    """One metric of two models on the cases that both answered.

    Args:
        metric: "as expected, place and all", "right instance", "wrong pose" (of all cases) or "pose on refusal".
        second_k: cases that count for the second model.
        only_first: cases that count only for the first model.
        only_second: cases that count only for the second model.
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


_Pair = tuple[CaseResult, CaseResult]
_Counts = Callable[[CaseResult], bool]


def compare_pairs(runs: Sequence[tuple[str, Sequence[CaseResult]]]) -> tuple[PairDifference, ...]:
    """Compare every pair of models by every metric; pairs without a common case are left out.

    Holm's method keeps the chance of any false verdict in the table at 5 %, whatever depends on what.
    Source: Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6.
    """
    found = []
    for (first, some), (second, others) in combinations(runs, 2):
        pairs = _paired(some, others)
        for metric, more_is_better, of, counts in _METRICS:
            chosen = [pair for pair in pairs if of(pair[0])]
            if chosen:
                found.append((more_is_better, _difference(metric, first, second, chosen, counts)))
    corrected = holm([one.p for _, one in found])
    return tuple(
        replace(one, p_holm=p, verdict=_verdict(one, p, more_is_better))
        for (more_is_better, one), p in zip(found, corrected, strict=True)
    )


def holm(ps: Sequence[float]) -> list[float]:
    """Correct p-values for their number by Holm's method, in the same order."""
    order, largest, corrected = sorted(range(len(ps)), key=lambda n: ps[n]), 0.0, [0.0] * len(ps)
    for rank, n in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[n]))
        corrected[n] = _significant(largest)
    return corrected


def _significant(p: float) -> float:
    """Three significant digits: what small values of p say is their order of magnitude."""
    return float(f"{p:.3g}")


def paired_over_groups(pairs: Sequence[tuple[str, bool, bool]]) -> Interval:
    """The mean of paired differences with its 95 % interval over groups, drawn whole; see `clustering`.

    Args:
        pairs: name of the group, and whether the case counts for the first and for the second.
    """
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for group, first, second in pairs:
        sums[group][0] += int(first) - int(second)
        sums[group][1] += 1
    table = np.array(list(sums.values()), np.float64)
    value = round(float(table[:, 0].sum() / table[:, 1].sum()), _DIGITS)
    if len(table) < 2:
        return Interval(value, value, value)
    drawn = np.random.default_rng(_SEED).integers(len(table), size=(_RESAMPLES, len(table)))
    up, n = table[drawn].sum(axis=1).T
    low, high = np.percentile(up / n, (2.5, 97.5))
    return Interval(value, round(float(low), _DIGITS), round(float(high), _DIGITS))


def _paired(some: Sequence[CaseResult], others: Sequence[CaseResult]) -> list[_Pair]:
    """Cases of both by image and words, repeated ones in their order."""
    there: dict[tuple[str, str], list[CaseResult]] = defaultdict(list)
    for result in reversed(others):
        there[result.group, result.instruction].append(result)
    return [
        (result, there[result.group, result.instruction].pop())
        for result in some
        if there[result.group, result.instruction]
    ]


def _difference(metric: str, first: str, second: str, pairs: Sequence[_Pair], counts: _Counts) -> PairDifference:
    both = [(one.group, counts(one), counts(other)) for one, other in pairs]
    only_first = sum(a and not b for _, a, b in both)
    only_second = sum(b and not a for _, a, b in both)
    return PairDifference(
        metric=metric, first=first, second=second, n=len(both),
        first_k=sum(a for _, a, _ in both), second_k=sum(b for _, _, b in both),
        only_first=only_first, only_second=only_second,
        difference=paired_over_groups(both), p=_significant(mcnemar(only_second, only_first)), p_holm=1.0,
        verdict=ComparisonVerdict.CANNOT_TELL,
    )  # fmt: skip


def _verdict(one: PairDifference, p: float, more_is_better: bool) -> ComparisonVerdict:
    if p >= LEVEL or one.only_first == one.only_second:
        return ComparisonVerdict.CANNOT_TELL
    is_better = (one.only_first > one.only_second) is more_is_better
    return ComparisonVerdict.BETTER if is_better else ComparisonVerdict.WORSE


def _always(_: CaseResult) -> bool:
    return True


def _wants_object(result: CaseResult) -> bool:
    return result.expected_status is Status.OK


_METRICS: tuple[tuple[str, bool, _Counts, _Counts], ...] = (
    ("as expected, place and all", True, _always, lambda r: r.complete),
    ("right instance", True, _wants_object, lambda r: r.as_expected),
    ("wrong pose", False, _always, lambda r: r.status is Status.OK and not r.as_expected),
    ("pose on refusal", False, lambda r: not _wants_object(r), lambda r: r.status is Status.OK),
)
"""Name, whether more is better, of which cases, and what counts."""


def failure_notes(runs: Sequence[tuple[str, Sequence[CaseResult]]]) -> tuple[str, ...]:
    """Make a sentence for each source and failed status, with the message of the first such case.

    Models with the same sentence share it.
    """
    shared: dict[str, list[str]] = {}
    for model, results in runs:
        sources: dict[str, list[CaseResult]] = {}
        for result in results:
            sources.setdefault(result.source, []).append(result)
        for source, own in sources.items():
            failed: dict[str, list[CaseResult]] = {}
            for result in own:
                if result.error is CaseError.FAILED:
                    failed.setdefault(result.status.value, []).append(result)
            for status, cases in failed.items():
                head = f"{source}: " if source else ""
                words = f"{head}{len(cases)} of {len(own)} cases ended in {status}; the first says: {cases[0].message}"
                shared.setdefault(words, []).append(model)
    several = len(runs) > 1
    return tuple(f"{', '.join(models)}: {words}" if several else words for words, models in shared.items())


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
