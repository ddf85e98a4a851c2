# SPDX-License-Identifier: Apache-2.0
"""Intervals of shares for cases in groups with correlated errors, such as the cases of a frame; many p-values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from spatial_vlm_ros.types.proportions import Interval

RESAMPLES = 2000
"""Enough that the ends of a 95 % interval move by less than half a point from seed to seed."""
_SEED = 0
_DIGITS = 6


def clustered(cases: Iterable[tuple[str, float]]) -> Interval | None:
    """The mean of (group, value) pairs with its 95 % interval over groups; None with fewer than two groups.

    Whole groups are drawn with replacement, as many as there are; percentiles of the mean over the draws. Where all
    values are equal, the interval has no width and says nothing of other groups.
    Source: Davison and Hinkley (1997), Bootstrap Methods and their Application, section 3.8.
    """
    counts: dict[str, list[float]] = defaultdict(lambda: [0, 0])
    for group, value in cases:
        counts[group][0] += value
        counts[group][1] += 1
    if len(counts) < 2:
        return None
    table = np.array(list(counts.values()), np.float64)
    drawn = np.random.default_rng(_SEED).integers(len(table), size=(RESAMPLES, len(table)))
    k, n = table[drawn].sum(axis=1).T
    low, high = np.percentile(k / n, (2.5, 97.5))
    total = table.sum(axis=0)
    return Interval(round(float(total[0] / total[1]), _DIGITS), round(float(low), _DIGITS), round(float(high), _DIGITS))


def holm(ps: Sequence[float]) -> list[float]:
    """Correct p-values for their number, in the same order: any false verdict among all has at most the level's chance.

    Source: Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6.
    """
    order, largest, corrected = sorted(range(len(ps)), key=lambda n: ps[n]), 0.0, [0.0] * len(ps)
    for rank, n in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[n]))
        corrected[n] = largest
    return corrected
