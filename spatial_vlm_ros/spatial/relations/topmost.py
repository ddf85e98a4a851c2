# SPDX-License-Identifier: Apache-2.0
"""Being "on top of" an object: on its topmost surface. A can on a lower board of a shelf is on it, not on top of it.

A part over a target is seen in front of it: of a board at eye level only the front edge is visible.
"""

from __future__ import annotations

import numpy as np

from spatial_vlm_ros.geometry.levels import outside
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.relations.pairs import Pairs
from spatial_vlm_ros.spatial.relations.resting import FAR, levels_of

APART = 0.05
"""Metres between surfaces that people call an upper and a lower one; the rim of a plate is lower than that."""
_CLEAR = 0.01  # metres over a height from which depth, which smears over edges, is surely higher
_BEARINGS = 12  # directions across an outline
_ACROSS = 0.6  # fraction of them that a board covers, and the posts of an open shelf do not
_BROAD = 0.4  # fraction of the broadest level's area from which another level is a surface, not a panel or back
_FEW = 12  # points that are too few to show anything
MOST_POINTS = 20_000
"""Most points of an object that are used."""


def from_the_topmost(pairs: Pairs, margin: Array) -> Array:
    """(T, A) metres by which a target with a margin of "on" is on the anchor's topmost surface; FAR without another."""
    layout, found = pairs.layout, np.full(margin.shape, FAR)
    for n, column in np.argwhere(margin > 0).tolist():
        target, anchor = int(pairs.targets[n]), int(pairs.anchors[column])
        if target >= len(layout.scene.objects):  # an imagined object: the search for places checks the levels
            continue
        bottom, outline = float(layout.bottom[target]), layout.footprint[target]
        far = float(np.hypot(*outline.T).max())
        cover = covering(layout.points_of(anchor, MOST_POINTS), outline, float(layout.top[target]) + _CLEAR, far)
        broad = broad_levels(layout, anchor, outline)  # a load may be among the anchor's points
        higher = broad[broad > bottom + APART + 2 * layout.noise[anchor]].tolist()
        higher += [] if cover is None else [cover]
        if higher:
            found[n, column] = bottom - max(higher)
    return found


def covering(points: Array, outline: Array, height: float, near: float) -> float | None:
    """Height of a part over an outline, or higher and in front of it, metres; None if it is not seen from side to side.

    Only points of the object that are over `height` and up to `near` from the viewer, on the ground, count; all are in
    ground coordinates, whose origin is below the viewer.
    """
    middle = outline.mean(axis=0)
    if np.hypot(*middle) < np.hypot(*(outline - middle).T).max():  # the viewer is over it
        return None
    ahead = middle / np.hypot(*middle)
    right = np.array([-ahead[1], ahead[0]])

    def bearing(places: Array) -> Array:
        return np.asarray(np.arctan2(places @ right, places @ ahead))

    low, high = bearing(outline).min(), bearing(outline).max()
    higher = points[(points[:, 2] > height) & (np.hypot(points[:, 0], points[:, 1]) < near)]
    number = np.floor((bearing(higher[:, :2]) - low) / max(high - low, 1e-6) * _BEARINGS)
    inside = (number >= 0) & (number < _BEARINGS)
    if inside.sum() < _FEW or len(np.unique(number[inside])) < _ACROSS * _BEARINGS:
        return None
    return float(np.median(higher[inside, 2]))


def broad_levels(layout: Layout, row: int, without: Array | None) -> Array:
    """(K,) heights of an object's levels nearly as large as its largest one, outside of an outline, metres."""
    levels = levels_of(layout, row)
    if levels is None or not len(levels.height):
        return np.empty(0)
    counted = levels.level >= 0
    if without is not None:
        counted &= outside(without, levels.place) > levels.cell
    area = np.bincount(levels.level[counted], minlength=len(levels.height))
    return np.asarray(levels.height[area >= max(_BROAD * area.max(), 1)])
