# SPDX-License-Identifier: Apache-2.0
"""Intervals of shares for cases in groups with correlated errors, such as the cases of a frame.

Works on (group, good) pairs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from spatial_vlm_ros.types.proportions import Interval

RESAMPLES = 2000
"""Enough that the ends of a 95 % interval move by less than half a point from seed to seed."""
_SEED = 0
_DIGITS = 6


def clustered(cases: Iterable[tuple[str, bool]]) -> Interval | None:
    """The share of good cases with its 95 % interval over groups; None with fewer than two groups.

    Whole groups are drawn with replacement, as many as there are; percentiles of the share over the draws. Where all
    cases are good, or none, the interval has no width and says nothing of other groups.
    Source: Davison and Hinkley (1997), Bootstrap Methods and their Application, section 3.8.
    """
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for group, good in cases:
        counts[group][0] += good
        counts[group][1] += 1
    if len(counts) < 2:
        return None
    table = np.array(list(counts.values()), np.float64)
    drawn = np.random.default_rng(_SEED).integers(len(table), size=(RESAMPLES, len(table)))
    k, n = table[drawn].sum(axis=1).T
    low, high = np.percentile(k / n, (2.5, 97.5))
    total = table.sum(axis=0)
    return Interval(round(float(total[0] / total[1]), _DIGITS), round(float(low), _DIGITS), round(float(high), _DIGITS))
