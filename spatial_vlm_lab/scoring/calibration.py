# SPDX-License-Identifier: Apache-2.0
"""Measures whether confidence is calibrated, and how useful it is for deciding when to answer.

Works on pairs of (confidence, right). Intervals are 95 % percentiles over resampled cases, with a fixed seed; the bins
stay those of the whole sample. Cases of one image are not independent, so true intervals are somewhat wider.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types.proportions import Interval, Share, wilson

Array = npt.NDArray[np.float64]

_MOST_BINS = 10
_FEWEST_IN_BIN = 5
_RESAMPLES = 1000
_AT_ONCE = 2_000_000  # cases held at a time while resampling
_MOST_POINTS = 200  # of a curve that is written out
_SEED = 20170804


@dataclass(frozen=True)
class Bin:
    """Cases of similar confidence."""

    low: float
    high: float
    confidence: float
    right: Share


@dataclass(frozen=True)
class RiskPoint:
    """Effect of answering only above a confidence.

    Args:
        coverage: share of the cases that are answered.
        wrong: share of wrong answers among them: the risk.
    """

    threshold: float
    coverage: float
    wrong: Share


@dataclass(frozen=True)
class Calibration:
    """Calibration of n cases.

    Args:
        ece: expected calibration error: mean over the bins of |share right - mean confidence|, weighted by cases
            (Guo et al. 2017, On calibration of modern neural networks), in bins of equal mass (Nguyen and O'Connor
            2015). It cannot be negative, so that a small sample of a calibrated answerer has more than 0.
        brier: mean squared difference of confidence and right (Brier 1950, Verification of forecasts expressed in
            terms of probability).
        brier_constant: that of always saying the base rate.
        aurc: area under the risk-coverage curve: mean over k of the risk of the k most confident cases (Geifman and
            El-Yaniv 2017, Selective classification for deep neural networks; Geifman et al. 2019). For equal
            confidences it is the mean over their orders.
        aurc_best: AURC of the best order, every wrong case last.
        aurc_random: AURC of a random order.
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
    """Compare confidences with right cases; None without cases.

    Args:
        confidence: (N,) 0 to 1.
        right: (N,) whether the case was right.
    """
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
    rng = np.random.default_rng(_SEED)
    drawn, step = [], max(1, _AT_ONCE // n)
    for done in range(0, _RESAMPLES, step):
        picks = np.sort(rng.integers(0, n, (min(step, _RESAMPLES - done), n)), axis=1)
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
