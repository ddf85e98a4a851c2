# SPDX-License-Identifier: Apache-2.0
"""Order of parts with their own detections: drawers and shelves by height, and by two directions at once."""

from __future__ import annotations

import numpy as np

from spatial_vlm_ros.language.part_words import DOORS, DRAWERS, LEVELS
from spatial_vlm_ros.spatial.clauses import NEGLIGIBLE
from spatial_vlm_ros.spatial.layout import Array, Layout, Viewpoint
from spatial_vlm_ros.spatial.parts.drawers import drawers_in
from spatial_vlm_ros.spatial.parts.finding import has_by_nature
from spatial_vlm_ros.spatial.relations import Pairs
from spatial_vlm_ros.spatial.superlatives import MIDDLE, Key, key_of
from spatial_vlm_ros.types import NounPhrase

_HEIGHT = frozenset({"highest", "lowest"})
_NO_ORDER = 0.03  # metres: objects within this distance have no order along a direction
_HIGHEST = 95  # percentile of heights used as the highest: edges of masks smear
_AMID = 0.1  # fraction of a cabinet's width by which a door may lie on the other side of its middle
_HEIGHT_NOISE = 0.005  # metres, in addition to depth noise


def part_key(phrase: NounPhrase, word: str, layout: Layout, view: Viewpoint, member: Array) -> Key | None:
    """Key for ordering parts that are detections; None for phrases that are ordered like all objects.

    Args:
        word: the first superlative, or "middle" if parts of one stack are counted.
        member: (N,) probability of being one of the parts.
    """
    stacked = phrase.category.split(" ")[-1] in DRAWERS | LEVELS
    if phrase.also is not None and MIDDLE not in (word, phrase.also):
        # Each direction is scaled by the spread of the objects along it.
        first = _one(word, layout, view, stacked)
        second = _one(phrase.also, layout, view, stacked)
        value, variance = np.zeros(len(member)), np.zeros(len(member))
        for key in (first, second):
            apart = _apart(key, member)
            if apart > _NO_ORDER:
                value, variance = value + key.value / apart, variance + (key.sigma / apart) ** 2
        return Key(value, np.sqrt(variance) + 1e-6)
    if word == MIDDLE:
        heights = in_a_stack(layout)
        return heights if stacked and _apart(heights, member) > _NO_ORDER else None
    return _one(word, layout, view, stacked) if stacked and word in _HEIGHT else None


def fits_its_whole(phrase: NounPhrase, word: str, n: int, layout: Layout, view: Viewpoint, member: Array) -> Array:
    """(N,) 0 if the only detected drawer or door of a cabinet cannot be the one that was said, else 1.

    Undetected ones may exist: no drawer fits over the top one, and a left door is not on the right.

    Args:
        n: the position that was said, from 1.
        member: (N,) probability of being one of the parts.
    """
    fits = np.ones(len(member))
    rows = np.flatnonzero(member > NEGLIGIBLE)
    noun = phrase.category.split(" ")[-1]
    if len(rows) != 1 or noun not in DRAWERS | DOORS or not layout.measured[rows[0]]:
        return fits
    row = int(rows[0])
    labels = [obj.detection.label for obj in layout.scene.objects]
    wholes = [other for other, label in enumerate(labels) if other != row and has_by_nature(label, "drawer")]
    pairs = Pairs(layout, view, rows, np.array(wholes, np.intp))
    near = [whole for whole, gap in zip(wholes, pairs.gap[0], strict=True) if gap < layout.relation.contact]
    if len(near) != 1:
        return fits
    whole = near[0]
    if noun in DRAWERS and word in _HEIGHT:
        tall = float(layout.size[row, 2])
        over, under = layout.top[whole] - layout.top[row], layout.bottom[row] - layout.bottom[whole]
        fits[row] = float(drawers_in(float(over if word == "highest" else under), tall) == n - 1)
    elif noun in DOORS and word in ("leftmost", "rightmost"):
        _, right = layout.rays(view, np.array([whole], np.intp))
        aside = float((layout.centre[row, :2] - layout.centre[whole, :2]) @ right[0])
        width = float(np.ptp(layout.footprint[whole] @ right[0]))
        fits[row] = float(aside * (1 if word == "rightmost" else -1) > -_AMID * width)
    return fits


def in_a_stack(layout: Layout) -> Key:
    """Key: heights of the highest visible points of objects, from low to high.

    Parts of one front or one rack do not overlap: the hidden part of one lies between its neighbours and does not
    change the order.
    """
    up = layout.axes[:, 2]
    tops = [float(np.percentile(o.points @ up, _HIGHEST)) if len(o.points) else np.nan for o in layout.scene.objects]
    return Key(np.array(tops), np.hypot(layout.noise, _HEIGHT_NOISE))


def _one(word: str, layout: Layout, view: Viewpoint, stacked: bool) -> Key:
    if not stacked or word not in _HEIGHT:
        return key_of(word, layout, view)
    return in_a_stack(layout).reversed() if word == "highest" else in_a_stack(layout)


def _apart(key: Key, member: Array) -> float:
    """Distance between the first and the last member, metres."""
    among = key.value[(member > 0.5) & np.isfinite(key.value)]
    return float(np.ptp(among)) if len(among) else 0.0
