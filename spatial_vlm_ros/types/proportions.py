# SPDX-License-Identifier: Apache-2.0
"""Proportions of yes and no, their intervals, and the difference between two of them.

Works on counts only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_Z = 1.959964  # 97.5th percentile of the normal distribution: intervals are 95 %
_DIGITS = 6


@dataclass(frozen=True)
class Share:
    """k of n, with its 95 % Wilson interval."""

    k: int
    n: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval, in the estimate's own unit."""

    value: float
    low: float
    high: float


def wilson(k: int, n: int) -> Share:
    """Share k / n with its 95 % score interval; 0 to 1 when n is 0.

    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference.
    """
    if n == 0:
        return Share(0, 0, 0.0, 0.0, 1.0)
    low, high = _bounds(k, n)
    return Share(k, n, round(k / n, _DIGITS), round(low, _DIGITS), round(high, _DIGITS))


def newcombe(k1: int, n1: int, k2: int, n2: int) -> Interval | None:
    """Difference k1 / n1 - k2 / n2 of two independent shares with its 95 % interval; None if one n is 0.

    The Wilson bounds of both shares, combined as the sides of a right angle (method 10).
    Source: Newcombe (1998), Interval estimation for the difference between independent proportions.
    """
    if n1 == 0 or n2 == 0:
        return None
    p1, p2 = k1 / n1, k2 / n2
    (low1, high1), (low2, high2) = _bounds(k1, n1), _bounds(k2, n2)
    low = p1 - p2 - math.hypot(p1 - low1, high2 - p2)
    high = p1 - p2 + math.hypot(high1 - p1, p2 - low2)
    return Interval(round(p1 - p2, _DIGITS), round(low, _DIGITS), round(high, _DIGITS))


def newcombe_paired(both: int, first: int, second: int, neither: int) -> Interval | None:
    """Difference of two shares of the same cases, with its 95 % interval; None if there is no case.

    The Wilson bounds of both shares as the sides of a triangle whose angle is given by their correlation (method 10).
    Source: Newcombe (1998), Improved confidence intervals for the difference between binomial proportions based on
    paired data, Statistics in Medicine 17, 2635-2650.
    With cases that are good in both, in one alone, or in neither: (both + first) / n - (both + second) / n.
    """
    n = both + first + second + neither
    if n == 0:
        return None
    p1, p2 = (both + first) / n, (both + second) / n
    (low1, high1), (low2, high2) = _bounds(both + first, n), _bounds(both + second, n)
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    cross = float(both * neither - first * second)
    if cross > 0:  # a positive correlation is reduced by half a case
        cross = max(0.0, cross - n / 2)
    phi = cross / math.sqrt(margins) if margins else 0.0
    down, up = (p1 - low1, high2 - p2), (high1 - p1, p2 - low2)
    low = p1 - p2 - math.sqrt(max(0.0, down[0] ** 2 - 2 * phi * down[0] * down[1] + down[1] ** 2))
    high = p1 - p2 + math.sqrt(max(0.0, up[0] ** 2 - 2 * phi * up[0] * up[1] + up[1] ** 2))
    return Interval(round(p1 - p2, _DIGITS), round(low, _DIGITS), round(high, _DIGITS))


def mcnemar(lost: int, gained: int) -> float:
    """Two-sided exact p-value of McNemar's test: changed pairs are lost or gained with equal probability.

    The binomial test with one half on the pairs that changed; unchanged pairs do not count. 1 if no pair changed.
    Source: McNemar (1947), Note on the sampling error of the difference between correlated proportions.
    """
    n, few = lost + gained, min(lost, gained)
    if n == 0:
        return 1.0
    scale = math.lgamma(n + 1) - n * math.log(2.0)
    tail = math.fsum(math.exp(scale - math.lgamma(i + 1) - math.lgamma(n - i + 1)) for i in range(few + 1))
    return min(1.0, 2.0 * tail)


def _bounds(k: int, n: int) -> tuple[float, float]:
    p = k / n
    middle = (p + _Z * _Z / (2 * n)) / (1 + _Z * _Z / n)
    half = _Z / (1 + _Z * _Z / n) * math.sqrt(p * (1 - p) / n + _Z * _Z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
