# SPDX-License-Identifier: Apache-2.0
"""Choose which of several parts the words mean, by side, depth, height or number; and parts that only words define."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from spatial_vlm_ros.language.lexicon import SUPERLATIVE_OF_ORDER
from spatial_vlm_ros.language.part_words import BURNERS, CORNERS, ROWS, SIDEWAYS
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.parts.region import SHARE, Region, clipped, rectangle_of
from spatial_vlm_ros.types import NounPhrase

MIDDLE = "middle"
_LEVEL = 0.3  # fraction of the shorter one's length by which the ends of two parts that are level may differ
_SAME_HEIGHT = 0.015  # metres by which the floors of two parts at one height may be measured to differ
_ASIDE = 0.1  # fraction of the length of all parts together by which a part on one side of them is off their middle
_SQUARE = 0.82  # cosine of the angle to a side up to which a direction means that side
UPRIGHT = frozenset({"highest", "lowest"})
_WAYS = ("rightmost", "farthest", "highest")
_NOTICED = 1.2  # times as large as another one from which a part is told by its size
_LENGTH, _WIDTH, _AREA = (lambda half: half[0]), (lambda half: half[1]), (lambda half: half[0] * half[1])
_SIZES: dict[str, tuple[Callable[[Array], float], bool]] = {
    **dict.fromkeys(("large", "big", "largest"), (_AREA, True)),
    **dict.fromkeys(("small", "little", "tiny", "smallest"), (_AREA, False)),
    **dict.fromkeys(("long", "longest"), (_LENGTH, True)),
    **dict.fromkeys(("short", "shortest"), (_LENGTH, False)),
    **dict.fromkeys(("wide", "broad", "widest"), (_WIDTH, True)),
    **dict.fromkeys(("narrow", "thin", "slim", "narrowest"), (_WIDTH, False)),
}
SIZES = frozenset(_SIZES)
"""Words that tell compartments by their size, seen from above."""


class Rays(NamedTuple):
    """Directions at an object: (2,) unit vectors on the ground."""

    ahead: Array
    right: Array

    def along(self, superlative: str) -> Array:
        """The direction of a superlative."""
        return {"leftmost": -self.right, "rightmost": self.right, "nearest": -self.ahead, "farthest": self.ahead}[
            superlative
        ]

    def side(self, superlative: str, outline: Array) -> Array:
        """The same direction, snapped to a side of the outline if it points along one."""
        direction = self.along(superlative)
        side = rectangle_of(outline).facing(direction).axes[0]
        return np.asarray(side if side @ direction > _SQUARE else direction)


def chosen(parts: Sequence[Region], phrase: NounPhrase, rays: Rays) -> tuple[Region, ...]:
    """The parts that a phrase may mean: one if the words settle it, several if they do not, or none."""
    left = tuple(parts)
    modifiers, noun = phrase.category.split(" ")[:-1], phrase.category.split(" ")[-1]
    if CORNERS.intersection(modifiers):
        corners = itertools.product(("nearest", "farthest"), ("leftmost", "rightmost"))
        left = tuple(dict.fromkeys(part for corner in corners for part in _at_the_corner(parts, corner, rays)))
    for word in (word for word in _SIZES if word in (*phrase.attributes, phrase.superlative)):
        left = _by_size(left, *_SIZES[word])
        phrase = dataclasses.replace(phrase, superlative=None if word == phrase.superlative else phrase.superlative)
    if phrase.ordinal is not None and phrase.superlative is not None:  # "the second from the left in the back row"
        left, parts = chosen(left, dataclasses.replace(phrase, ordinal=None), rays), left
        return chosen(left, dataclasses.replace(phrase, superlative=None), rays) if len(left) < len(parts) else ()
    if phrase.ordinal is not None and phrase.ordinal.from_ in _SIZES:
        for _ in range(phrase.ordinal.n - 1):
            first = _by_size(left, *_SIZES[phrase.ordinal.from_])
            left = tuple(part for part in left if part not in first) if len(first) == 1 else ()
        return left if len(left) == 1 else _by_size(left, *_SIZES[phrase.ordinal.from_])
    if phrase.ordinal is not None:
        word = SUPERLATIVE_OF_ORDER[phrase.ordinal.from_]
        ranks = _ranks(left, word, rays) if word in SIDEWAYS | UPRIGHT else []
        return dict(enumerate(ranks, 1)).get(phrase.ordinal.n, ())
    words = [word for word in (phrase.superlative, phrase.also) if word is not None and word != MIDDLE]
    if not (SIDEWAYS | UPRIGHT).issuperset(words):
        return ()
    if len(words) == 2 and SIDEWAYS.issuperset(words):
        return _at_the_corner(left, words, rays)
    for word in words:
        if len(next(iter(_ranks(parts, word, rays, first_only=True)), ())) == len(parts) > 1:
            return ()  # all are level: the word tells none of them from the others
        left = next(iter(_ranks(left, word, rays, first_only=True)), ())
    if MIDDLE not in (phrase.superlative, phrase.also) or not left:
        return left
    # The rank with as many ranks on either side, along the direction in which they lie; none for an even number.
    along = ("rightmost",) if noun == "column" else ("farthest", "highest") if noun in ROWS else _WAYS
    ways = {word: [_span(part, word, rays) for part in left] for word in along}
    ranks = _ranks(left, max(ways, key=lambda word: float(np.ptp(np.sum(ways[word], axis=1)))), rays)
    return ranks[len(ranks) // 2] if len(ranks) % 2 else ()


def _by_size(parts: Sequence[Region], size: Callable[[Array], float], most: bool) -> tuple[Region, ...]:
    """The parts that are clearly larger, or smaller, than all others; none if all are alike."""
    sizes = [float(size(rectangle_of(part.outline).half)) for part in parts]
    extreme = (max if most else min)(sizes, default=0.0)
    found = [max(each, extreme) < _NOTICED * min(each, extreme) for each in sizes]
    return () if all(found) else tuple(itertools.compress(parts, found))


def _span(part: Region, word: str, rays: Rays) -> tuple[float, float]:
    """The ends of a part along the direction of a word, the near one first, metres; for heights, both are its floor."""
    if word in UPRIGHT:
        height = part.low if word == "highest" else -part.low
        return height, height
    along = part.outline @ rays.side(word, part.outline if part.carrier is None else part.carrier)
    return float(along.min()), float(along.max())


def _ranks(parts: Sequence[Region], word: str, rays: Rays, first_only: bool = False) -> list[tuple[Region, ...]]:
    """The parts in the order of a word, level ones together; empty if two ranks lie beside each other."""
    ordered = sorted(((_span(part, word, rays), part) for part in parts), key=lambda each: -sum(each[0]))
    ranks: list[tuple[Region, ...]] = []
    first = math.nan, math.nan
    for span, part in ordered:
        least = max(_LEVEL * min(span[1] - span[0], first[1] - first[0]), _SAME_HEIGHT if word in UPRIGHT else 0.0)
        if ranks and abs(span[0] - first[0]) <= least and abs(span[1] - first[1]) <= least:
            ranks[-1] += (part,)
        elif ranks and first_only:
            break
        elif ranks and span[1] - first[0] > least:
            return []
        else:
            ranks.append((part,))
            first = span
    return ranks


def _at_the_corner(parts: Sequence[Region], words: Sequence[str], rays: Rays) -> tuple[Region, ...]:
    """The parts at the corner to which two directions point, which lie on both of these sides of all parts together."""
    if not parts:
        return ()
    ends = np.array([[_span(part, word, rays) for word in words] for part in parts])  # (P, 2 words, near and far)
    low, high = ends[:, :, 0].min(axis=0), ends[:, :, 1].max(axis=0)
    beyond = ends.mean(axis=2) - (low + high) / 2
    gap = np.hypot(*(high - ends[:, :, 1]).T)
    level = gap - gap.min() <= _LEVEL * (ends[:, :, 1] - ends[:, :, 0]).min(axis=1)
    return tuple(itertools.compress(parts, level & (beyond > _ASIDE * (high - low)).all(axis=1)))


_HALVES = BURNERS | {"half", "quarter", "quadrant"}
"""Parts that are half of the whole along each stated direction; the others are a third of it."""
_BEYOND = 0.06  # metres by which the end of a whole may be hidden by objects on it
_BELOW = 0.03  # metres below the supporting surface at which the underside of an object on it may be measured


def whole(layout: Layout, row: int) -> Region:
    """An object as a region, for shares of it; its supporting surface is not known yet."""
    low = float(layout.bottom[row])
    return Region(row, layout.footprint[row], np.nan, np.inf, (low - _BELOW, np.inf), SHARE)


def share(of: Region, phrase: NounPhrase, rays: Rays) -> Region | None:
    """The part of a region that the words state; None if they state none."""
    words = [word for word in (phrase.superlative, phrase.also) if word is not None]
    noun = phrase.category.split(" ")[-1]
    if not words or any(word not in SIDEWAYS | {MIDDLE} for word in words):
        return None
    if noun in CORNERS and (len(words) < 2 or MIDDLE in words):
        return None
    part = 0.5 if noun in _HALVES else 1 / 3
    middle = of.outline.mean(axis=0)
    away = of.outline - middle
    around = of.outline + away * (_BEYOND / np.maximum(np.linalg.norm(away, axis=1), _BEYOND))[:, None]
    region = dataclasses.replace(of, found_by=SHARE, around=around)
    for word in words:
        if word != MIDDLE:
            axis = rays.side(word, of.outline)
            along = of.outline @ axis
            region = clipped(region, axis, float(along.max() - part * np.ptp(along)), float(along.max()) + 1.0)
    if MIDDLE in words:
        ways: tuple[str, ...] = ("rightmost", "farthest")
        if not {"leftmost", "rightmost"}.isdisjoint(words):
            ways = ("farthest",)
        elif not {"nearest", "farthest"}.isdisjoint(words):
            ways = ("rightmost",)
        across = [rays.side(word, of.outline) for word in ways]
        axis = max(across, key=lambda each: float(np.ptp(of.outline @ each)))
        low, length = float((of.outline @ axis).min()), float(np.ptp(of.outline @ axis))
        region = clipped(region, axis, low + length / 3, low + 2 * length / 3)
    return region if len(region.outline) > 2 else None
