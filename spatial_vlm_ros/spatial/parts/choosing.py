# SPDX-License-Identifier: Apache-2.0
"""Choose which of several parts the words mean, by side, depth, height or number; and parts that only words define."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spatial_vlm_ros.language.part_words import BURNERS, CORNERS
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.parts.region import SHARE, Region, clipped, rectangle_of
from spatial_vlm_ros.types import NounPhrase

MIDDLE = "middle"
_LEVEL = 0.3  # fraction of its own length by which a part may lie behind the first one and still be level with it
_SQUARE = 0.82  # cosine of the angle to a side up to which a direction means that side
_OF_ORDINAL = {"left": "leftmost", "right": "rightmost", "near": "nearest", "far": "farthest", "top": "highest",
               "bottom": "lowest"}  # fmt: skip
SIDEWAYS = frozenset({"leftmost", "rightmost", "nearest", "farthest"})
UPRIGHT = frozenset({"highest", "lowest"})


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
    if phrase.ordinal is not None:
        ordered = _ordered(left, _OF_ORDINAL[phrase.ordinal.from_], rays)
        return ordered[phrase.ordinal.n - 1 : phrase.ordinal.n]
    for word in (phrase.superlative, phrase.also):
        if word is not None and word != MIDDLE:
            if word not in SIDEWAYS | UPRIGHT:
                return ()
            keys = [_key(part, word, rays) for part in left]
            left = tuple(
                part
                for part, key in zip(left, keys, strict=True)
                if max(keys) - key <= _LEVEL * _length(part, word, rays)
            )
    if MIDDLE not in (phrase.superlative, phrase.also):
        return left
    # The part with as many parts on either side, along the direction in which they lie; none for an even number.
    if len(left) % 2 == 0:
        return ()
    spread = {word: np.ptp([_key(part, word, rays) for part in left]) for word in ("rightmost", "farthest", "highest")}
    ordered = _ordered(left, max(spread, key=lambda word: float(spread[word])), rays)
    return ordered[len(left) // 2 : len(left) // 2 + 1]


def _key(part: Region, word: str, rays: Rays) -> float:
    if word in UPRIGHT:
        return part.low if word == "highest" else -part.low
    return float(part.middle @ rays.along(word))


def _length(part: Region, word: str, rays: Rays) -> float:
    """Length of a part along a direction, metres."""
    return 0.0 if word in UPRIGHT else float(np.ptp(part.outline @ rays.along(word)))


def _ordered(parts: Sequence[Region], word: str, rays: Rays) -> tuple[Region, ...]:
    """The parts in order, the first one first; empty if two of them are level."""
    ordered = sorted(parts, key=lambda part: -_key(part, word, rays))
    for one, other in itertools.pairwise(ordered):
        if _key(one, word, rays) - _key(other, word, rays) <= _LEVEL * _length(one, word, rays) and word in SIDEWAYS:
            return ()
    return tuple(ordered)


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
