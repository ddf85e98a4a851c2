# SPDX-License-Identifier: Apache-2.0
"""Compares runs case by case, a run with its baseline and models with each other, and says what is beyond chance.

Both sides are judged by the current expectations of the cases. It also measures whether confidence is calibrated, with
95 % percentiles over resampled cases. Cases of one image are not independent, so true intervals are somewhat wider.
"""

from __future__ import annotations

import enum
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from spatial_vlm_lab.scoring.case_result import CaseResult, StoredAnswer, is_expected
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.recording.bags.remote import name_of
from spatial_vlm_ros.types import Status
from spatial_vlm_ros.types.proportions import Interval, Share, mcnemar, wilson

_LEVEL = 0.05
_RESAMPLES_OF_PAIRS, _SEED_OF_PAIRS = 10_000, 19470618
_RESAMPLES = 2000  # of groups: the ends of a 95 % interval move by less than half a point from seed to seed
_SEED = 0
_DIGITS = 6
_T = TypeVar("_T")


# ------------------------------------------------------------------------------------------------ chance


def clustered(cases: Iterable[tuple[str, float]]) -> Interval | None:
    """The mean of (group, value) pairs with its 95 % interval over groups; None with fewer than two groups.

    Percentiles of the mean over draws of whole groups with replacement; without width where all values are equal.
    Source: Davison and Hinkley (1997), Bootstrap Methods and their Application, section 3.8.
    """
    counts: dict[str, list[float]] = defaultdict(lambda: [0, 0])
    for group, value in cases:
        counts[group][0] += value
        counts[group][1] += 1
    if len(counts) < 2:
        return None
    table = np.array(list(counts.values()), np.float64)
    drawn = np.random.default_rng(_SEED).integers(len(table), size=(_RESAMPLES, len(table)))
    k, n = table[drawn].sum(axis=1).T
    total = table.sum(axis=0)
    return _interval(total[0] / total[1], k / n)


def holm(ps: Sequence[float]) -> list[float]:
    """Correct p-values for their number, in the same order: any false verdict among all has at most the level's chance.

    Source: Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6.
    """
    order, largest, corrected = sorted(range(len(ps)), key=lambda n: ps[n]), 0.0, [0.0] * len(ps)
    for rank, n in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[n]))
        corrected[n] = largest
    return corrected


def _interval(value: float, drawn: Any) -> Interval:
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Interval(round(float(value), _DIGITS), round(float(low), _DIGITS), round(float(high), _DIGITS))


def _significant(p: float) -> float:
    """Three significant digits: what small values of p say is their order of magnitude."""
    return float(f"{p:.3g}")


# ------------------------------------------------------------------------------------------------ metrics


class ComparisonVerdict(str, enum.Enum):
    """Verdict on one run against another."""

    BETTER = "better"
    WORSE = "worse"
    CANNOT_TELL = "cannot tell"

    @classmethod
    def of(cls, p: float, is_better: bool) -> ComparisonVerdict:
        """Verdict on what is better, if that is not chance."""
        if p >= _LEVEL:
            return cls.CANNOT_TELL
        return cls.BETTER if is_better else cls.WORSE


class Metric(NamedTuple):
    """A share that is compared: of which cases, and which of them count."""

    name: str
    more_is_better: bool
    of: Callable[[CaseResult], bool]
    counts: Callable[[CaseResult], bool]


_OF_ALL = (
    Metric("right instance", True, lambda r: r.expected_status is Status.OK, lambda r: r.as_expected),
    Metric("wrong pose", False, lambda _: True, lambda r: r.status is Status.OK and not r.as_expected),
    Metric("pose on refusal", False, lambda r: r.expected_status is not Status.OK, lambda r: r.status is Status.OK),
)
_OF_RUNS = (Metric("as expected", True, lambda _: True, lambda r: r.as_expected), *_OF_ALL)
_OF_MODELS = (Metric("as expected, place and all", True, lambda _: True, lambda r: r.complete), *_OF_ALL)


def _paired(
    some: Sequence[CaseResult], others: Sequence[_T], key: Callable[[CaseResult], Any], key_of: Callable[[_T], Any]
) -> list[tuple[CaseResult, _T]]:
    there: dict[Any, list[_T]] = defaultdict(list)
    for other in reversed(others):
        there[key_of(other)].append(other)
    return [(one, there[key(one)].pop()) for one in some if there[key(one)]]


# ------------------------------------------------------------------------------------------------ a baseline


@dataclass(frozen=True)
class Change:
    """One metric of both runs on the same cases."""

    metric: str  # as in `ModelOutcome`; "wrong pose" is here of all cases
    more_is_better: bool
    now: Share
    before: Share
    lost: int
    gained: int
    difference: Interval  # now - before, 95 % by a paired bootstrap; without width where no pair differs
    p: float  # two-sided exact, of McNemar's test
    verdict: ComparisonVerdict  # better or worse where p < 0.05


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
    """A run against its baseline."""

    n: int
    only_now: int
    only_before: int
    changes: tuple[Change, ...]
    verdict: ComparisonVerdict  # WORSE where any metric is, else BETTER where any is; each is tested at 5 %
    lost: tuple[Switch, ...]
    gained: tuple[Switch, ...]

    @property
    def slipped(self) -> bool:
        """Whether any metric is worse at all, significant or not."""
        return any(change.lost > change.gained for change in self.changes)


def compare(now: Sequence[CaseResult], before: Sequence[StoredAnswer]) -> Comparison:
    """Compare the cases of both runs. Cases match by image and words; repeated cases in order.

    The image is told by the last part of its source, where both runs name one, and by frame or stamp.
    """
    has_sources = any(answer.source for answer in before)
    answered = _paired(
        now,
        before,
        lambda r: (name_of(r.source) if has_sources else "", r.image, r.instruction),
        lambda a: (name_of(a.source), a.image, a.instruction),
    )
    if not answered:
        raise InputError(
            "baseline", f"{len(before)} answers to other cases", "answers to the same frames and instructions",
            "use a run over the same folder",
        )  # fmt: skip
    pairs = []
    for result, answer in answered:  # a stored answer is judged by what the case expects now
        if result.expected_answer is not None and answer.status is Status.ANSWERED:
            fits = None if answer.answer is None else result.expected_answer.fits(answer.answer)
            good = bool(answer.as_expected) if fits is None else fits
        else:
            expected = result.expected_status, result.expected_id
            good = is_expected(*expected, answer.status, answer.id, result.expected_also)
        pairs.append((result, replace(result, status=answer.status, id=answer.id, as_expected=good)))
    changes = tuple(_change(metric, pairs) for metric in _OF_RUNS)
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


def _change(metric: Metric, pairs: Sequence[tuple[CaseResult, CaseResult]]) -> Change:
    both = [(metric.counts(now), metric.counts(before)) for now, before in pairs if metric.of(now)]
    n, up, down = len(both), sum(now > before for now, before in both), sum(now < before for now, before in both)
    gained, lost = (up, down) if metric.more_is_better else (down, up)
    difference = Interval(0.0, -1.0, 1.0)
    if n:
        # Drawing n of n pairs with replacement is a multinomial draw of the counts of +1, -1 and 0.
        # Source: Efron and Tibshirani (1993), An introduction to the bootstrap, chapter 13.
        shares = (up / n, down / n, (n - up - down) / n)
        drawn = np.random.default_rng(_SEED_OF_PAIRS).multinomial(n, shares, _RESAMPLES_OF_PAIRS)
        difference = _interval((up - down) / n, (drawn[:, 0] - drawn[:, 1]) / n)
    p = mcnemar(lost, gained)
    return Change(
        metric=metric.name,
        more_is_better=metric.more_is_better,
        now=wilson(sum(now for now, _ in both), n),
        before=wilson(sum(before for _, before in both), n),
        lost=lost,
        gained=gained,
        difference=difference,
        p=_significant(p),
        verdict=ComparisonVerdict.of(p, gained > lost),
    )


# ------------------------------------------------------------------------------------------------ pairs of models


@dataclass(frozen=True)
class PairDifference:
    """One metric of two models on the cases that both answered."""

    metric: str  # of _OF_MODELS; "wrong pose" is of all cases
    first: str
    second: str
    n: int
    first_k: int
    second_k: int
    only_first: int
    only_second: int
    difference: Interval  # first less second, 95 % over images, see `clustered`; of fewer than two without width
    p: float  # two-sided exact, of McNemar's test
    p_holm: float  # corrected for all comparisons of the table
    verdict: ComparisonVerdict  # on the first model, if p_holm < 0.05


def compare_pairs(runs: Sequence[tuple[str, Sequence[CaseResult]]]) -> tuple[PairDifference, ...]:
    """Compare every pair of models by every metric; pairs without a common case are left out.

    Holm's method keeps the chance of any false verdict in the table at 5 %, whatever depends on what.
    """
    found = []
    for (first, some), (second, others) in combinations(runs, 2):
        pairs = _paired(some, others, lambda r: (r.group, r.instruction), lambda r: (r.group, r.instruction))
        for metric in _OF_MODELS:
            both = [(a.group, metric.counts(a), metric.counts(b)) for a, b in pairs if metric.of(a)]
            if not both:
                continue
            only_first, only_second = sum(a > b for _, a, b in both), sum(a < b for _, a, b in both)
            value = round((only_first - only_second) / len(both), _DIGITS)
            over_images = clustered((group, int(a) - int(b)) for group, a, b in both)
            difference = PairDifference(
                metric.name, first, second, len(both), sum(a for _, a, _ in both), sum(b for _, _, b in both),
                only_first, only_second, over_images or Interval(value, value, value),
                _significant(mcnemar(only_second, only_first)), 1.0, ComparisonVerdict.CANNOT_TELL,
            )  # fmt: skip
            found.append(((only_first > only_second) is metric.more_is_better, difference))
    corrected = map(_significant, holm([one.p for _, one in found]))
    return tuple(
        replace(one, p_holm=p, verdict=ComparisonVerdict.of(p, is_better))
        for (is_better, one), p in zip(found, corrected, strict=True)
    )


# ------------------------------------------------------------------------------------------------ confidence


Array = npt.NDArray[np.float64]

_MOST_BINS = 10
_FEWEST_IN_BIN = 5
_RESAMPLES_OF_CASES = 1000
_AT_ONCE = 2_000_000  # cases held at a time while resampling
_MOST_POINTS = 200  # of a curve that is written out
_SEED_OF_CASES = 20170804


@dataclass(frozen=True)
class Bin:
    """Cases of similar confidence."""

    low: float
    high: float
    confidence: float
    right: Share


@dataclass(frozen=True)
class RiskPoint:
    """Effect of answering only above a confidence: share of cases answered, and of wrong ones among these, the risk."""

    threshold: float
    coverage: float
    wrong: Share


@dataclass(frozen=True)
class Calibration:
    """Calibration of n cases.

    Args:
        ece: expected calibration error: mean over the bins of |share right - mean confidence|, weighted by cases (Guo
            et al. 2017, On calibration of modern neural networks), in bins of equal mass (Nguyen and O'Connor 2015). It
            cannot be negative, so that a small sample of a calibrated answerer has more than 0.
        brier: mean squared difference of confidence and right (Brier 1950, Verification of forecasts expressed in terms
            of probability); `brier_constant`: that of always saying the base rate.
        aurc: area under the risk-coverage curve: mean over k of the risk of the k most confident cases (Geifman and
            El-Yaniv 2017, Selective classification for deep neural networks; Geifman et al. 2019); of equal confidences
            the mean over their orders. `aurc_best` is that of every wrong case last, `aurc_random` of a random order.
        curve: the coverage-risk curve, most confident first, at most 200 points.
    """

    n: int
    right: Share
    confidence: float
    ece: Interval
    brier: Interval
    brier_constant: float
    aurc: Interval
    aurc_best: float
    aurc_random: float
    bins: tuple[Bin, ...]
    curve: tuple[RiskPoint, ...]


def calibrate(confidence: Sequence[float], right: Sequence[bool]) -> Calibration | None:
    """Compare (N,) confidences, 0 to 1, with whether each case was right; None without cases."""
    p, y = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    if p.shape != y.shape or not ((p >= 0.0) & (p <= 1.0)).all():
        got = f"{p.size} for {y.size} cases"
        raise InputError("confidences", got, "one from 0 to 1 for each case", "pass probabilities")
    if not len(p):
        return None
    order = np.argsort(-p, kind="stable")
    p, y = p[order], y[order]
    n, k = len(p), int(y.sum())
    wrong = np.cumsum(1.0 - y)
    ends = np.append(np.flatnonzero(np.diff(p)) + 1, n)  # numbers of cases at which the confidence changes
    number = max(1, min(_MOST_BINS, n // _FEWEST_IN_BIN))  # of bins of equal mass; equal confidences are in one bin
    wanted = np.arange(1, number + 1) * n / number
    cuts = [0, *sorted({int(ends[i]) for i in np.searchsorted(ends, wanted - 1e-9)})]
    bin_of = np.repeat(np.arange(len(cuts) - 1), np.diff(cuts))
    rng = np.random.default_rng(_SEED_OF_CASES)
    drawn, step = [], max(1, _AT_ONCE // n)
    for done in range(0, _RESAMPLES_OF_CASES, step):
        picks = np.sort(rng.integers(0, n, (min(step, _RESAMPLES_OF_CASES - done), n)), axis=1)
        drawn.append(_measures(p[picks], y[picks], bin_of[picks]))
    low, high = np.percentile(np.concatenate(drawn, axis=1), (2.5, 97.5), axis=1)
    values = _measures(p[None], y[None], bin_of[None])[:, 0]
    ece, brier, aurc = (Interval(*map(_short, one)) for one in zip(values, low, high, strict=True))
    parts = [(p[a:b], y[a:b]) for a, b in itertools.pairwise(cuts)]
    bins = (Bin(_short(q[-1]), _short(q[0]), _short(q.mean()), wilson(int(z.sum()), len(z))) for q, z in parts[::-1])
    if len(ends) > _MOST_POINTS:
        ends = ends[np.unique(np.linspace(0, len(ends) - 1, _MOST_POINTS).round().astype(int))]
    curve = (RiskPoint(_short(p[m - 1]), _short(m / n), wilson(round(float(wrong[m - 1])), int(m))) for m in ends)
    return Calibration(
        n=n,
        right=wilson(k, n),
        confidence=_short(p.mean()),
        ece=ece,
        brier=brier,
        brier_constant=_short(k / n * (1.0 - k / n)),
        aurc=aurc,
        aurc_best=_short(_mean_risk((np.arange(n) >= k)[None])[0]),
        aurc_random=_short(1.0 - k / n),
        bins=tuple(bins),
        curve=tuple(curve),
    )


def _measures(p: Array, y: Array, bin_of: npt.NDArray[np.intp]) -> Array:
    """(3, R) ECE, Brier score and AURC of (R, N) cases in falling confidence, with the number of the bin of each."""
    rows, n = p.shape
    starts = np.flatnonzero(np.diff(p, axis=1, prepend=np.inf))  # of equal confidences: their wrong ones are spread
    sizes = np.diff(starts, append=p.size)
    wrong = np.repeat(np.add.reduceat(1.0 - y.ravel(), starts) / sizes, sizes).reshape(rows, n)
    in_row = bin_of + (bin_of.max() + 1) * np.arange(rows)[:, None]
    gaps = np.bincount(in_row.ravel(), (y - p).ravel(), rows * (bin_of.max() + 1)).reshape(rows, -1)
    return np.stack((np.abs(gaps).sum(axis=1) / n, ((p - y) ** 2).mean(axis=1), _mean_risk(wrong)))


def _mean_risk(wrong: npt.NDArray[Any]) -> Array:
    """(R,) mean over k of the share of wrong ones among the k most confident of (R, N) cases."""
    return np.asarray((np.cumsum(wrong, axis=1) / np.arange(1, wrong.shape[1] + 1)).mean(axis=1), np.float64)


def _short(value: float) -> float:
    return round(float(value), 6)
