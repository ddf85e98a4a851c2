# SPDX-License-Identifier: Apache-2.0
"""Models compared pair by pair on the same cases, with a correction for the number of comparisons.

Works on judged cases; independent of models and files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from spatial_vlm_ros.evaluation.case_result import CaseResult
from spatial_vlm_ros.evaluation.comparison import ComparisonVerdict
from spatial_vlm_ros.types import Status
from spatial_vlm_ros.types.proportions import Interval, mcnemar

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
