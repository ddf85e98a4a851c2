# SPDX-License-Identifier: Apache-2.0
"""Measures whether confidence is calibrated, and how useful it is for deciding when to answer.

Works on pairs of (confidence, right). Intervals are 95 % percentiles over resampled cases, with a fixed seed; the bins
stay those of the whole sample. Cases of one image are not independent, so true intervals are somewhat wider.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types.proportions import Interval, Share, wilson

Array = npt.NDArray[np.float64]

_MOST_BINS = 10
_FEWEST_IN_BIN = 5
_RESAMPLES = 1000
_AT_ONCE = 2_000_000  # weights held at a time while resampling
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
        brier_constant: Brier score of an answerer that always says the base rate: p (1 - p).
        aurc: area under the risk-coverage curve: mean over k of the risk of the k most confident cases (Geifman and
            El-Yaniv 2017, Selective classification for deep neural networks; Geifman et al. 2019). For equal
            confidences it is the mean over their orders.
        aurc_best: AURC if every wrong case came last, the best order.
        aurc_random: AURC of a random order: the share of wrong cases.
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
    once: Array = np.ones((1, n))
    drawn = np.concatenate([_measures(p, y, weights) for weights in _resamples(n)], axis=1)
    low, high = np.percentile(drawn, (2.5, 97.5), axis=1)
    ece, brier, aurc = (
        Interval(_short(v), _short(a), _short(b))
        for v, a, b in zip(_measures(p, y, once)[:, 0], low, high, strict=True)
    )
    parts = [(p[a:b], y[a:b]) for a, b in itertools.pairwise(_cuts(p))]
    bins = (Bin(_short(q[-1]), _short(q[0]), _short(q.mean()), wilson(int(z.sum()), len(z))) for q, z in parts[::-1])
    ends, wrong = _ends(p), np.cumsum(1.0 - y)
    if len(ends) > _MOST_POINTS:
        ends = ends[np.unique(np.linspace(0, len(ends) - 1, _MOST_POINTS).round().astype(int))]
    curve = (RiskPoint(_short(p[k - 1]), _short(k / n), wilson(round(float(wrong[k - 1])), int(k))) for k in ends)
    return Calibration(
        n=n,
        right=wilson(k, n),
        confidence=_short(p.mean()),
        ece=ece,
        brier=brier,
        brier_constant=_short(k / n * (1.0 - k / n)),
        aurc=aurc,
        aurc_best=_short(_aurc(once, (np.arange(n) >= k)[None].astype(np.float64))[0]),
        aurc_random=_short(1.0 - k / n),
        bins=tuple(bins),
        curve=tuple(curve),
    )


def _resamples(n: int) -> Iterator[Array]:
    """How often each of n cases is drawn, (rows, n), for as many rows as there are resamples."""
    rng = np.random.default_rng(_SEED)
    step = max(1, _AT_ONCE // n)
    for done in range(0, _RESAMPLES, step):
        rows = min(step, _RESAMPLES - done)
        picks = rng.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(picks.reshape(-1), minlength=rows * n).reshape(rows, n).astype(np.float64)


def _measures(p: Array, y: Array, weights: Array) -> Array:
    """(3, R) ECE, Brier score and AURC of cases in falling confidence, for (R, N) weights; the bins stay the same."""
    n = len(p)
    gaps = np.add.reduceat(weights * (y - p), _cuts(p)[:-1], axis=1)
    starts = np.concatenate(([0], _ends(p)[:-1]))
    sizes = np.add.reduceat(weights, starts, axis=1)
    wrong = np.add.reduceat(weights * (1.0 - y), starts, axis=1)
    return np.stack((np.abs(gaps).sum(axis=1) / n, weights @ (p - y) ** 2 / n, _aurc(sizes, wrong)))


def _ends(p: Array) -> npt.NDArray[np.intp]:
    """Numbers of cases, most confident first, at which the confidence changes; the last is all."""
    return np.append(np.flatnonzero(np.diff(p)) + 1, len(p))


def _cuts(p: Array) -> list[int]:
    n = len(p)
    bins = max(1, min(_MOST_BINS, n // _FEWEST_IN_BIN))
    ends = _ends(p)
    wanted = np.arange(1, bins + 1) * n / bins
    return [0, *sorted({int(ends[i]) for i in np.searchsorted(ends, wanted - 1e-9)})]


def _aurc(sizes: Array, wrong: Array) -> Array:
    """(R,) mean risk of the k most confident, k = 1 … N.

    Within a group of equal confidence wrong cases are spread evenly. For a group at places a + 1 … b with e wrong ones
    and W before it, the sum of (W + e (k - a) / (b - a)) / k is (W - a e / (b - a)) (H(b) - H(a)) + e, H the harmonic
    numbers.

    Args:
        sizes: (R, G) cases of each group, most confident first, whole numbers.
        wrong: (R, G) how many of them are wrong.
    """
    end = np.cumsum(sizes, axis=1)
    start = end - sizes
    n = round(float(end[0, -1]))
    harmonic = np.concatenate(([0.0], np.cumsum(1.0 / np.arange(1, n + 1))))
    rise = harmonic[end.astype(int)] - harmonic[start.astype(int)]
    share = wrong / np.maximum(sizes, 1.0)
    before = np.cumsum(wrong, axis=1) - wrong
    return np.sum((before - start * share) * rise + wrong, axis=1) / n


def _short(value: float) -> float:
    return round(float(value), 6)
