# SPDX-License-Identifier: Apache-2.0
"""Parts that only the words define: a half, a third, a corner of the outline of an object."""

from __future__ import annotations

import dataclasses

import numpy as np

from spatial_vlm_ros.language.part_words import BURNERS, CORNERS
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.parts.choosing import MIDDLE, SIDEWAYS, Rays
from spatial_vlm_ros.spatial.parts.region import SHARE, Region, clipped
from spatial_vlm_ros.types import NounPhrase

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
            region = _outer(region, of.outline, rays.side(word, of.outline), part)
    if MIDDLE in words:
        across = [rays.side(word, of.outline) for word in _across(words)]
        region = _inner(region, of.outline, max(across, key=lambda axis: float(np.ptp(of.outline @ axis))))
    return region if len(region.outline) > 2 else None


def _across(words: list[str]) -> tuple[str, ...]:
    if {"leftmost", "rightmost"} & set(words):
        return ("farthest",)
    return ("rightmost",) if {"nearest", "farthest"} & set(words) else ("rightmost", "farthest")


def _outer(region: Region, outline: Array, axis: Array, part: float) -> Region:
    along = outline @ axis
    return clipped(region, axis, float(along.max() - part * np.ptp(along)), float(along.max()) + 1.0)


def _inner(region: Region, outline: Array, axis: Array) -> Region:
    along = outline @ axis
    low, length = float(along.min()), float(np.ptp(along))
    return clipped(region, axis, low + length / 3, low + 2 * length / 3)
