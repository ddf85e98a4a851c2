# SPDX-License-Identifier: Apache-2.0
"""Compares two runs case by case: which one is better, and whether the difference is significant.

Works on judged cases and stored answers. Both runs are judged by the current expectations of the cases.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from spatial_vlm_lab.scoring.runs import StoredAnswer
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.evaluation.case_result import CaseResult, is_expected
from spatial_vlm_ros.types import Status
from spatial_vlm_ros.types.proportions import Interval, Share, mcnemar, wilson

_LEVEL = 0.05
_RESAMPLES = 10_000
_SEED = 19470618


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


_Pair = tuple[CaseResult, StoredAnswer]


def compare(now: Sequence[CaseResult], before: Sequence[StoredAnswer]) -> Comparison:
    """Compare the cases of both runs. Cases match by image and words; repeated cases in order.

    The image is told by the last part of its source, where both runs name one, and by frame or stamp.
    """
    answers: dict[tuple[str, str, str], list[StoredAnswer]] = defaultdict(list)
    has_sources = any(answer.source for answer in before)
    for answer in reversed(before):
        answers[_last(answer.source), answer.frame, answer.instruction].append(answer)
    pairs: list[_Pair] = []
    for result in now:
        found = answers[_last(result.source) if has_sources else "", result.image, result.instruction]
        if found:
            pairs.append((result, found.pop()))
    if not pairs:
        raise InputError(
            "baseline", f"{len(before)} answers to other cases", "answers to the same frames and instructions",
            "use a run over the same folder",
        )  # fmt: skip
    changes = tuple(_changes(pairs))
    verdicts = {change.verdict for change in changes}
    return Comparison(
        n=len(pairs),
        only_now=len(now) - len(pairs),
        only_before=len(before) - len(pairs),
        changes=changes,
        verdict=next(
            (v for v in (ComparisonVerdict.WORSE, ComparisonVerdict.BETTER) if v in verdicts),
            ComparisonVerdict.CANNOT_TELL,
        ),
        lost=tuple(_switch(pair) for pair in pairs if _good_before(pair) and not pair[0].as_expected),
        gained=tuple(_switch(pair) for pair in pairs if pair[0].as_expected and not _good_before(pair)),
    )


def _last(source: str) -> str:
    return source.rstrip("/").rpartition("/")[2]


def _good_before(pair: _Pair) -> bool:
    result, answer = pair
    if result.expected_answer is not None and answer.status is Status.ANSWERED:
        if answer.answer is not None:
            return result.expected_answer.fits(answer.answer)
        return bool(answer.as_expected)
    return is_expected(result.expected_status, result.expected_id, answer.status, answer.id, result.expected_also)


def _switch(pair: _Pair) -> Switch:
    result, answer = pair
    return Switch(result.image, result.instruction, result.status, result.id, answer.status, answer.id)


def _changes(pairs: Sequence[_Pair]) -> Iterator[Change]:
    """All metrics. For each: of which cases, its name, its direction, and what counts, now and before."""
    answerable = [pair for pair in pairs if pair[0].expected_status is Status.OK]
    refusable = [pair for pair in pairs if pair[0].expected_status is not Status.OK]

    def good(pair: _Pair) -> tuple[bool, bool]:
        return pair[0].as_expected, _good_before(pair)

    def posed(pair: _Pair) -> tuple[bool, bool]:
        return pair[0].status is Status.OK, pair[1].status is Status.OK

    def wrong(pair: _Pair) -> tuple[bool, bool]:
        (now, before), (good_now, good_then) = posed(pair), good(pair)
        return now and not good_now, before and not good_then

    yield _change("as expected", True, pairs, good)
    yield _change("right instance", True, answerable, good)
    yield _change("wrong pose", False, pairs, wrong)
    yield _change("pose on refusal", False, refusable, posed)


def _change(
    metric: str, more_is_better: bool, pairs: Sequence[_Pair], counts: Callable[[_Pair], tuple[bool, bool]]
) -> Change:
    both = [counts(pair) for pair in pairs]
    n = len(both)
    up = sum(now and not before for now, before in both)
    down = sum(before and not now for now, before in both)
    gained, lost = (up, down) if more_is_better else (down, up)
    p = mcnemar(lost, gained)
    verdict = (
        ComparisonVerdict.CANNOT_TELL
        if p >= _LEVEL
        else ComparisonVerdict.WORSE
        if lost > gained
        else ComparisonVerdict.BETTER
    )
    return Change(
        metric=metric,
        more_is_better=more_is_better,
        now=wilson(sum(now for now, _ in both), n),
        before=wilson(sum(before for _, before in both), n),
        lost=lost,
        gained=gained,
        difference=_difference(up, down, n),
        p=float(f"{p:.3g}"),
        verdict=verdict,
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
