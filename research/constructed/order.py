# SPDX-License-Identifier: Apache-2.0
"""Superlatives, ordinals and closest to: keys of true objects, and how clear a place in their order is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from research.constructed.distribution import METRIC_BAND, ORDER_BANDS
from research.constructed.margins import LENGTHS
from research.constructed.standpoint import Standpoint
from research.constructed.still import Still
from spatial_vlm_ros.errors import UnknownNameError

CLOSENESS = frozenset({"closest to", "farthest from"})
"""Relations that compare a set as superlatives do."""
_SIZES: Mapping[str, tuple[str, float]] = MappingProxyType(
    {
        "tallest": ("tall", -1.0),
        "shortest": ("tall", 1.0),
        "largest": ("large", -1.0),
        "smallest": ("large", 1.0),
        "longest": ("long", -1.0),
        "widest": ("wide", -1.0),
        "narrowest": ("narrow", 1.0),
        "thickest": ("thick", -1.0),
        "thinnest": ("thick", 1.0),
    }
)
_HEIGHTS: Mapping[str, Callable[[Still], float]] = MappingProxyType(
    {
        "highest": lambda t: -t.top,
        "top": lambda t: -t.top,
        "lowest": lambda t: t.bottom,
        "bottom": lambda t: t.bottom,
    }
)
_SIDES: Mapping[str, float] = MappingProxyType({"leftmost": 1.0, "left": 1.0, "rightmost": -1.0, "right": -1.0})
_RANGES: Mapping[str, float] = MappingProxyType({"nearest": 1.0, "near": 1.0, "farthest": -1.0, "far": -1.0})
WORDS: tuple[str, ...] = (*_SIZES, "highest", "lowest", "leftmost", "rightmost", "middle", "nearest", "farthest")
"""Superlatives."""


def order_of(
    word: str, objects: Sequence[Still], stand: Standpoint, anchor: Still | None = None
) -> list[tuple[float, ...]]:
    """Keys of objects, the first in the order least. A second key must agree, else the order is unclear.

    Args:
        word: a superlative, the place that an ordinal counts from, or one of CLOSENESS with its anchor.
        objects: to be compared.
        stand: whose left and near.
        anchor: of CLOSENESS.

    Raises:
        UnknownNameError: no such word.
    """
    if not objects:
        return []
    if anchor is not None and word in CLOSENESS:
        sign = 1.0 if word == "closest to" else -1.0
        return [(sign * float(np.linalg.norm(t.centre - anchor.centre)),) for t in objects]
    if word in _SIZES:
        length, sign = _SIZES[word]
        return [(sign * LENGTHS[length](t),) for t in objects]
    if word in _HEIGHTS:
        return [(_HEIGHTS[word](t),) for t in objects]
    if word in _SIDES:
        return [(float(_SIDES[word] * b),) for b in stand.bearings(list(objects))]
    if word == "middle":
        return _along_the_spread(np.array([t.centre for t in objects]))
    if word in _RANGES:
        return [(_RANGES[word] * stand.distance(t), _RANGES[word] * stand.ground_distance(t)) for t in objects]
    raise UnknownNameError("order", word, (*_SIZES, *_HEIGHTS, *_SIDES, *_RANGES, *CLOSENESS))


def place_in(keys: Sequence[tuple[float, ...]], word: str, n: int) -> list[tuple[float, float]]:
    """Whether each is the n-th.

    Returns:
        For each: multiple of the band by which it is (positive) or is not the n-th, and the same in metres.
    """
    number = len(keys)
    if word == "middle":
        n = (number + 1) // 2 if number % 2 else 0
    of = ORDER_BANDS.get(word, METRIC_BAND)
    band = max(of.holds, of.sizes * float(np.mean([abs(key[0]) for key in keys]))) if number else of.holds
    first = sorted(range(number), key=lambda k: keys[k][0])
    gaps = [_gap(keys[a], keys[b]) for a, b in itertools.pairwise(first)]  # between the k-th and the next
    if not 1 <= n <= number:
        return [(-math.inf, -math.inf)] * number
    clear = min(gaps[n - 2] if n > 1 else math.inf, gaps[n - 1] if n < number else math.inf)
    places = {k: at for at, k in enumerate(first, 1)}
    return [
        (clear / band, clear) if places[k] == n else (-_off(gaps, places[k], n) / band, -_off(gaps, places[k], n))
        for k in range(number)
    ]


def _along_the_spread(centres: np.ndarray) -> list[tuple[float, ...]]:
    """Metres along the direction of most variance, and along the line through the two that are farthest apart.

    Where these two order the objects differently, the set is not spread along one direction.

    Args:
        centres: (N, 3) in the base frame, metres.
    """
    off = centres - centres.mean(axis=0)
    spread = np.linalg.svd(off, full_matrices=False)[2][0]
    apart = np.linalg.norm(centres[:, None] - centres, axis=2)
    one, other = np.unravel_index(apart.argmax(), apart.shape)
    ends = centres[other] - centres[one]
    ends = ends * np.sign(ends @ spread or 1.0) / max(float(np.linalg.norm(ends)), 1e-9)
    return list(zip((off @ spread).tolist(), (off @ ends).tolist(), strict=True))


def _off(gaps: Sequence[float], place: int, n: int) -> float:
    """How far the one at a place is from the n-th, by the gaps between."""
    low, high = sorted((place, n))
    return float(sum(gaps[low - 1 : high - 1]))


def _gap(before: tuple[float, ...], after: tuple[float, ...]) -> float:
    """Difference of the first keys; next to nothing where another key says the opposite."""
    gap = after[0] - before[0]
    return gap if all(b < a for b, a in zip(before, after, strict=True)) else min(gap, 1e-3)
