# SPDX-License-Identifier: Apache-2.0
"""True margins of the parts of an object: edges, corners, sides, ends, thirds of the height. See margins.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from research.constructed.standpoint import Standpoint
from research.constructed.still import ROUND, Still, depth_inside, reach_along

Pair = Callable[[Still, Still, Standpoint], float]
CONTACT = 0.015


def _over(t: Still, a: Still) -> tuple[float, float, float]:
    """Depth of t's centre inside a's outline, half of t's breadth, and their sum: how far it reaches over it."""
    d, half = depth_inside(t.place, a.outline), t.breadth / 2
    return d, half, d + half


def _in_box(t: Still, a: Still) -> tuple[float, float]:
    """Coordinates of t's centre along a's longer and shorter side, from a's middle."""
    across = np.array([-a.along[1], a.along[0]])
    offset = t.place - a.place
    return float(offset @ a.along), float(offset @ across)


def _at_edge(t: Still, a: Still, _: Standpoint) -> float:
    d, half, over = _over(t, a)
    return min(over, max(0.15 * float(a.size[1]), 0.03) - (d - half))


def _at_corner(t: Still, a: Still, stand: Standpoint) -> float:  # noqa: ARG001
    if a.label in ROUND:
        return math.nan
    _, half, over = _over(t, a)
    x, y = _in_box(t, a)
    k = max(0.25 * float(a.size[1]), 0.03)
    gaps = float(a.size[0]) / 2 - abs(x), float(a.size[1]) / 2 - abs(y)
    return min(over, *(k - (g - half) for g in gaps))


def _at_centre(t: Still, a: Still, _: Standpoint) -> float:
    return min(_over(t, a)[2], 0.2 * a.breadth - float(np.linalg.norm(t.place - a.place)))


def _at_side(t: Still, a: Still, stand: Standpoint, side: str) -> float:
    ahead, right = stand.axes(a)
    direction = {"left": -right, "right": right, "front": -ahead, "back": ahead}[side]
    low, high = reach_along(a.outline, direction)
    x = float(t.place @ direction) - (low + high) / 2
    return min(_over(t, a)[2], x - (high - low) / 6)


def _side(side: str) -> Pair:
    return lambda t, a, stand: _at_side(t, a, stand, side)


def _at_end(t: Still, a: Still, _: Standpoint) -> float:
    return min(_over(t, a)[2], abs(_in_box(t, a)[0]) - float(a.size[0]) / 3)


def _at_top(t: Still, a: Still, _: Standpoint) -> float:
    return min(_over(t, a)[2], float(t.centre[2] - a.centre[2]) - float(a.size[2]) / 6)


def _at_bottom(t: Still, a: Still, _: Standpoint) -> float:
    return min(_over(t, a)[2], float(a.centre[2] - t.centre[2]) - float(a.size[2]) / 6)


def _at_middle(t: Still, a: Still, _: Standpoint) -> float:
    return min(_over(t, a)[2], float(a.size[2]) / 6 - abs(float(t.centre[2] - a.centre[2])))


def _part_of(t: Still, a: Still, _: Standpoint) -> float:
    x, y = _in_box(t, a)
    sides = float(a.size[0]) / 2 - abs(x), float(a.size[1]) / 2 - abs(y)
    return CONTACT + min(*sides, float(a.size[2]) / 2 - abs(float(t.centre[2] - a.centre[2])))


PARTS: Mapping[str, Pair] = MappingProxyType(
    {
        "at the edge of": _at_edge,
        "at the corner of": _at_corner,
        "at the centre of": _at_centre,
        "at the left side of": _side("left"),
        "at the right side of": _side("right"),
        "at the front of": _side("front"),
        "at the back of": _side("back"),
        "at the end of": _at_end,
        "at the top of": _at_top,
        "in the middle of the height of": _at_middle,
        "at the bottom of": _at_bottom,
        "part of": _part_of,
    }
)
"""Margins by relation: of the target, the anchor and a standpoint."""
