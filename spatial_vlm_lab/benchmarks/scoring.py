# SPDX-License-Identifier: Apache-2.0
"""Shared scoring functions: accuracies, mean credits and mean accuracies, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from spatial_vlm_lab.benchmarks.protocol import GradedItem, PublishedScore
from spatial_vlm_lab.scoring.clustering import clustered
from spatial_vlm_ros.types.proportions import Interval, wilson

_DIGITS = 6


def accuracy(name: str, graded: Sequence[GradedItem]) -> PublishedScore:
    """Share of items with full credit, with its Wilson interval; an item without an answer is wrong."""
    share = wilson(sum(one.credit == 1.0 for one in graded), len(graded))
    return PublishedScore(name, share.share, share.n, share)


def mean_credit(name: str, graded: Sequence[GradedItem]) -> PublishedScore:
    """Mean of fractional credits, such as the share of points inside a mask.

    The 95 % interval has percentiles over resampled items, because Wilson's does not apply to such means. If all
    credits are 0 or 1, it is a share with Wilson's interval: resampling items that are all right or all wrong gives no
    width.
    """
    if all(one.credit in (0.0, 1.0) for one in graded):
        return accuracy(name, graded)
    found = resampled_mean([one.credit for one in graded])
    return PublishedScore(name, found.value, len(graded), interval=found)


def resampled_mean(values: Sequence[float]) -> Interval:
    """The mean with its 95 % interval from percentiles over resampled values.

    Args:
        values: one or more, 0 to 1.
    """
    only = round(values[0], _DIGITS)
    return clustered((str(n), value) for n, value in enumerate(values)) or Interval(only, only, only)


def mean_of_accuracies(name: str, parts: Sequence[tuple[float, Sequence[GradedItem]]]) -> PublishedScore:
    """Weighted mean of the accuracies of disjoint parts.

    The interval joins the Wilson bounds of the parts: the distance to each bound is the root of the sum of squares of
    the parts' weighted distances. Source: Zou and Donner (2008), Construction of confidence limits about effect
    measures, Statistics in Medicine 27, 1693-1702 (MOVER).

    Args:
        parts: weight and items of each part, at least one item each. The weights sum to 1.
    """
    shares = [(weight, wilson(sum(one.credit == 1.0 for one in graded), len(graded))) for weight, graded in parts]
    value = sum(weight * share.share for weight, share in shares)
    down = math.sqrt(sum((weight * (share.share - share.low)) ** 2 for weight, share in shares))
    up = math.sqrt(sum((weight * (share.high - share.share)) ** 2 for weight, share in shares))
    interval = Interval(round(value, _DIGITS), round(max(0.0, value - down), _DIGITS), round(value + up, _DIGITS))
    return PublishedScore(name, interval.value, sum(share.n for _, share in shares), interval=interval)


def by_part(graded: Sequence[GradedItem], split: str) -> dict[str, list[GradedItem]]:
    """Group the items of a split by their parts, in order of first occurrence."""
    parts: dict[str, list[GradedItem]] = {}
    for one in graded:
        if split in one.item.splits:
            parts.setdefault(one.item.splits[split], []).append(one)
    return parts


def of_parts(
    graded: Sequence[GradedItem],
    split: str,
    name: str = "{}",
    score: Callable[[str, Sequence[GradedItem]], PublishedScore] = accuracy,
) -> tuple[PublishedScore, ...]:
    """Score of each part of a split.

    Args:
        name: of a score; {} is the part.
    """
    return tuple(score(name.format(part), items) for part, items in by_part(graded, split).items())
