# SPDX-License-Identifier: Apache-2.0
"""Compares two runs case by case: which one is better, and whether the difference is significant.

Works on judged cases and stored answers. Both runs are judged by the current expectations of the cases.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from spatial_vlm_lab.scoring.case_result import CaseResult, is_expected
from spatial_vlm_lab.scoring.runs import StoredAnswer
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types import Status
from spatial_vlm_ros.types.proportions import Interval, Share, mcnemar, wilson

_LEVEL = 0.05
_RESAMPLES = 10_000
_SEED = 19470618
_T = TypeVar("_T")


class ComparisonVerdict(str, enum.Enum):
    """Verdict on one run against another."""

    BETTER = "better"
    WORSE = "worse"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Change:
    """One metric of both runs on the same cases.

    Args:
        metric: its name, as in `Score`; "wrong pose" is here of all cases, so that both runs have the same ones.
        more_is_better: whether a greater share is the better one.
        difference: now - before, 95 % percentile interval over resampled pairs (paired bootstrap, fixed seed). Where
            no pair differs there is nothing to resample, and the interval has no width.
        p: two-sided exact p of McNemar's test.
        verdict: better or worse where p < 0.05.
    """

    metric: str
    more_is_better: bool
    now: Share
    before: Share
    lost: int
    gained: int
    difference: Interval
    p: float
    verdict: ComparisonVerdict


@dataclass(frozen=True)
class Switch:
    """A case that ended as expected in one of the runs only; `frame` is the stamp of an image in a bag."""

    frame: str
    instruction: str
    status: Status
    id: str | None
    before_status: Status
    before_id: str | None


@dataclass(frozen=True)
class Comparison:
    """A run against its baseline.

    Args:
        changes: one for each metric.
        verdict: WORSE where any metric is, else BETTER where any is, else CANNOT_TELL. Each metric is tested by itself
            at 5 %, without correction for their number.
        lost: cases that were as expected before and are not now.
        gained: cases that are as expected now and were not before.
    """

    n: int
    only_now: int
    only_before: int
    changes: tuple[Change, ...]
    verdict: ComparisonVerdict
    lost: tuple[Switch, ...]
    gained: tuple[Switch, ...]

    @property
    def slipped(self) -> bool:
        """Whether any metric is worse at all, significant or not."""
        return any((change.lost > change.gained) for change in self.changes)


Metric = tuple[str, bool, Callable[[CaseResult], bool], Callable[[CaseResult], bool]]
"""Name, whether more is better, of which cases, and what counts."""

METRICS: tuple[Metric, ...] = (
    ("as expected", True, lambda _: True, lambda r: r.as_expected),
    ("right instance", True, lambda r: r.expected_status is Status.OK, lambda r: r.as_expected),
    ("wrong pose", False, lambda _: True, lambda r: r.status is Status.OK and not r.as_expected),
    ("pose on refusal", False, lambda r: r.expected_status is not Status.OK, lambda r: r.status is Status.OK),
)


def paired(
    some: Sequence[CaseResult], others: Sequence[_T], key: Callable[[CaseResult], Any], key_of: Callable[[_T], Any]
) -> list[tuple[CaseResult, _T]]:
    """Cases and others with the same key, repeated ones in their order."""
    there: dict[Any, list[_T]] = defaultdict(list)
    for other in reversed(others):
        there[key_of(other)].append(other)
    return [(one, there[key(one)].pop()) for one in some if there[key(one)]]


def verdict_of(p: float, is_better: bool) -> ComparisonVerdict:
    """Verdict on what is better, if that is not chance."""
    if p >= _LEVEL:
        return ComparisonVerdict.CANNOT_TELL
    return ComparisonVerdict.BETTER if is_better else ComparisonVerdict.WORSE


def compare(now: Sequence[CaseResult], before: Sequence[StoredAnswer]) -> Comparison:
    """Compare the cases of both runs. Cases match by image and words; repeated cases in order.

    The image is told by the last part of its source, where both runs name one, and by frame or stamp.
    """
    has_sources = any(answer.source for answer in before)
    answered = paired(
        now,
        before,
        lambda r: (_last(r.source) if has_sources else "", r.image, r.instruction),
        lambda a: (_last(a.source), a.frame, a.instruction),
    )
    if not answered:
        raise InputError(
            "baseline", f"{len(before)} answers to other cases", "answers to the same frames and instructions",
            "use a run over the same folder",
        )  # fmt: skip
    pairs = [(result, _judged(result, answer)) for result, answer in answered]
    changes = tuple(_change(metric, pairs) for metric in METRICS)
    worst_first = (ComparisonVerdict.WORSE, ComparisonVerdict.BETTER, ComparisonVerdict.CANNOT_TELL)
    switches = [
        (then.as_expected, Switch(r.image, r.instruction, r.status, r.id, then.status, then.id))
        for r, then in pairs
        if r.as_expected != then.as_expected
    ]
    return Comparison(
        n=len(pairs),
        only_now=len(now) - len(pairs),
        only_before=len(before) - len(pairs),
        changes=changes,
        verdict=min((change.verdict for change in changes), key=worst_first.index),
        lost=tuple(switch for was_good, switch in switches if was_good),
        gained=tuple(switch for was_good, switch in switches if not was_good),
    )


def _last(source: str) -> str:
    return source.rstrip("/").rpartition("/")[2]


def _judged(result: CaseResult, answer: StoredAnswer) -> CaseResult:
    """A stored answer to a case, judged by what the case expects now."""
    if result.expected_answer is not None and answer.status is Status.ANSWERED:
        fits = None if answer.answer is None else result.expected_answer.fits(answer.answer)
        good = bool(answer.as_expected) if fits is None else fits
    else:
        good = is_expected(result.expected_status, result.expected_id, answer.status, answer.id, result.expected_also)
    return replace(result, status=answer.status, id=answer.id, as_expected=good)


def _change(metric: Metric, pairs: Sequence[tuple[CaseResult, CaseResult]]) -> Change:
    name, more_is_better, of, counts = metric
    both = [(counts(now), counts(before)) for now, before in pairs if of(now)]
    n = len(both)
    up = sum(now and not before for now, before in both)
    down = sum(before and not now for now, before in both)
    gained, lost = (up, down) if more_is_better else (down, up)
    p = mcnemar(lost, gained)
    return Change(
        metric=name,
        more_is_better=more_is_better,
        now=wilson(sum(now for now, _ in both), n),
        before=wilson(sum(before for _, before in both), n),
        lost=lost,
        gained=gained,
        difference=_difference(up, down, n),
        p=float(f"{p:.3g}"),
        verdict=verdict_of(p, gained > lost),
    )


def _difference(up: int, down: int, n: int) -> Interval:
    """Mean of n paired differences (up of +1, down of -1, else 0) with its percentile bootstrap interval.

    Drawing n of n pairs with replacement is a multinomial draw of the three counts.
    Source: Efron and Tibshirani (1993), An introduction to the bootstrap, chapter 13.
    """
    if n == 0:
        return Interval(0.0, -1.0, 1.0)
    draws = np.random.default_rng(_SEED).multinomial(n, (up / n, down / n, (n - up - down) / n), _RESAMPLES)
    low, high = np.percentile((draws[:, 0] - draws[:, 1]) / n, (2.5, 97.5))
    return Interval(round((up - down) / n, 6), round(float(low), 6), round(float(high), 6))
