# SPDX-License-Identifier: Apache-2.0
"""Shares and means of graded items, with their 95 % intervals, of which benchmarks make their published scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from spatial_vlm_lab.benchmarks.protocol import Graded, GradedItem, PublishedScore, Scores
from spatial_vlm_lab.scoring.comparing import clustered
from spatial_vlm_ros.types.proportions import Interval, wilson

RULE, USUAL, CONTRARY = "rule of thumb", "usual", "counter-heuristic"
"""A split of items by whether the truth contradicts a rule of thumb, such as "higher in the image is farther"."""
_DIGITS = 6


def share_of(name: str, right: Sequence[bool], value: float | None = None, note: str = "") -> PublishedScore:
    """Share of the right ones with its Wilson interval; `value` is by the authors' formula, None = the share."""
    share = wilson(sum(right), len(right))
    return PublishedScore(name, share.share if value is None else value, share.n, share.k, share.low, share.high, note)


def accuracy(name: str, graded: Graded) -> PublishedScore:
    """Share of items with full credit; an item without an answer is wrong."""
    return share_of(name, [one.credit == 1.0 for one in graded])


def mean_credit(name: str, graded: Graded) -> PublishedScore:
    """Mean of fractional credits, such as the share of points inside a mask.

    The 95 % interval has percentiles over resampled items. If all credits are 0 or 1, it is a share with Wilson's
    interval, because resampling items that are all right or all wrong gives no width.
    """
    if all(one.credit in (0.0, 1.0) for one in graded):
        return accuracy(name, graded)
    found = resampled_mean([one.credit for one in graded])
    return PublishedScore(name, found.value, len(graded), None, found.low, found.high)


def resampled_mean(values: Sequence[float]) -> Interval:
    """The mean of one value or more with its 95 % interval from percentiles over resampled values."""
    only = round(values[0], _DIGITS)
    return clustered((str(n), value) for n, value in enumerate(values)) or Interval(only, only, only)


def mean_of_parts(name: str, parts: Mapping[str, Graded], weights: Mapping[str, float]) -> list[PublishedScore]:
    """Mean of the accuracies of parts with a weight, which sum to 1; no score if one of these has no item.

    The distance to each bound is the root of the sum of squares of the parts' weighted distances to Wilson's bounds:
    MOVER, Zou and Donner (2008), Statistics in Medicine 27, 1693-1702.
    """
    if not all(part in parts for part in weights):
        return []
    shares = [(weight, accuracy("", parts[part])) for part, weight in weights.items()]
    value = sum(weight * share.value for weight, share in shares)
    down = math.hypot(*(weight * (share.value - share.low) for weight, share in shares))
    up = math.hypot(*(weight * (share.high - share.value) for weight, share in shares))
    low, high = round(max(0.0, value - down), _DIGITS), round(value + up, _DIGITS)
    return [PublishedScore(name, round(value, _DIGITS), sum(share.n for _, share in shares), None, low, high)]


def by_part(graded: Graded, split: str) -> dict[str, list[GradedItem]]:
    """Group the items of a split by their parts, in order of first occurrence."""
    parts: dict[str, list[GradedItem]] = {}
    for one in graded:
        if split in one.item.splits:
            parts.setdefault(one.item.splits[split], []).append(one)
    return parts


def of_parts(
    graded: Graded,
    split: str,
    name: str = "{}",
    score: Callable[[str, Graded], PublishedScore] = accuracy,
) -> Scores:
    """Score of each part of a split; {} in a name is the part."""
    return tuple(score(name.format(part), items) for part, items in by_part(graded, split).items())
