# SPDX-License-Identifier: Apache-2.0
"""Visible surfaces directly beneath and over an object, for the anchors that it lies within.

An anchor's highest point says little about objects on it: a stove has a panel behind its burners, a shelf several
boards, a tray a rim. Its level surfaces (geometry/levels.py) say more, if they are visible.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.levels import Levels, outside
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.types import Scene

Rows = npt.NDArray[np.intp]

_BESIDE = 0.03  # metres outside an outline, which is a guess, up to which an object may still stand there
_RIM = 0.62  # fraction of the directions: in front of a wall, or a step, half of them and two are walled
_SLENDER = 2.5  # length over width from which an object has a lower end
_FEW = 12  # points that are too few to show a direction
_END = 98.0  # percentile of a long object's points along its axis at its end
_MOST_POINTS = 2000  # most points of an object that are used
_DEEP = 0.01  # metres below its top up to which points are the top of an object
_COVERED = 0.02  # fraction of an object's visible points from which its top covers its middle
_ABOVE = 0.2  # tangent of the elevation from which a top would be visible
FAR = 1e3
"""Metres: farther than any measurement."""
_KNOWN: WeakKeyDictionary[Scene, dict[int, Levels]] = WeakKeyDictionary()
_SEEN: WeakKeyDictionary[Layout, dict[tuple[int, int], tuple[float, ...]]] = WeakKeyDictionary()
"""Cached surfaces of an anchor at a target, by their rows, in the order of `Resting`, because several relations need
them."""


@dataclass(frozen=True, eq=False)
class Resting:
    """Surfaces of each anchor at each target: (T, A) each, metres."""

    # height of the anchor's visible level at the target that is nearest to its bottom; NaN if none is visible
    level: Array
    shut_in: Array
    rim: Array
    roof: Array  # height of the anchor's lowest level over the target's top; NaN if none is visible
    under: Array  # depth of the target's centre inside the visible outline of that level
    # depth of the target's visible part inside the anchor's outline if no level is visible beneath it: if its load
    # hides an anchor, only its front is visible, and the load's visible part is over that; else -FAR
    over: Array


def leaning_in(layout: Layout, targets: Rows, anchors: Rows, contact: Array) -> Array:
    """(T, A) metres of a long object's lower end inside an anchor's outline, where it passes the rim; -FAR for others.

    A spoon in a mug leans over the rim: its middle is beside the mug, and the wall hides its lower end. So its axis is
    extended to the level of the rim, by no more than the `contact` gap (T, A). It must be held up: the end of one that
    leans against a mug from outside is on the table.
    """
    found = np.full(contact.shape, -FAR)
    for n in np.flatnonzero(targets < len(layout.scene.objects)).tolist():
        row = int(targets[n])
        points = layout.points_of(row, _MOST_POINTS)
        long = layout.size[row].max() > _SLENDER * layout.size[row].min()
        if not long or len(points) < _FEW or layout.bottom[row] <= contact[n].min(initial=FAR):
            continue
        middle = points.mean(axis=0)
        spread, ways = np.linalg.eigh(np.cov((points - middle).T))
        if spread[2] < _SLENDER**2 * spread[1]:
            continue
        along = ways[:, 2] * (-np.sign(ways[2, 2]) or 1.0)
        end = middle + along * np.percentile((points - middle) @ along, _END)
        further = np.maximum(end[2] - layout.top[anchors], 0.0) / max(-along[2], 1e-6)
        below = (end[2] > layout.bottom[anchors]) & (layout.top[row] > layout.top[anchors] + contact[n])
        below &= (layout.bottom[row] > contact[n]) & (further < contact[n]) & (anchors != row)
        for column in np.flatnonzero(below).tolist():
            place = end[:2] + along[:2] * further[column]
            depth = -float(outside(layout.footprint[anchors[column]], place[None])[0])
            if depth > 0 and _is_hollow(layout, int(anchors[column])):
                found[n, column] = depth
    return found


def _is_hollow(layout: Layout, row: int) -> bool:
    points, top = layout.points_of(row, _MOST_POINTS), float(layout.top[row])
    depth = -outside(layout.footprint[row], points[:, :2])
    covered = (depth > layout.size[row, 1] / 4) & (points[:, 2] > top - _DEEP)
    seen_from_above = layout.floor - top > _ABOVE * float(np.hypot(*layout.centre[row, :2]))
    return seen_from_above and bool(covered.mean() < _COVERED)


def levels_of(layout: Layout, row: int) -> Levels | None:
    """Level surfaces of an object in ground coordinates; None for an imagined or unmeasured object."""
    scene = layout.scene
    if row >= len(scene.objects) or not len(scene.objects[row].points):
        return None
    known = _KNOWN.setdefault(scene, {})
    if row not in known:
        obj, pixel = scene.objects[row], 1.0 / float(scene.frame.camera.K[0, 0])
        depth = float(obj.surface_centre[2])
        known[row] = Levels.of(obj.points, layout.axes, layout.floor, depth * pixel, float(layout.noise[row]))
    return known[row]


def resting(layout: Layout, targets: Rows, anchors: Rows, inside: Array) -> Resting:
    """Find the surfaces beneath and over every target, for every anchor that it lies `inside`, by (T, A) metres.

    Imagined objects are assumed to stand on the level nearest to their bottom.
    """
    found = Resting(*(np.full(inside.shape, empty) for empty in (np.nan, 0.0, 0.0, np.nan, -FAR, -FAR)))
    near = (inside > -_BESIDE) & (targets[:, None] != anchors)
    columns = (found.level, found.shut_in, found.rim, found.roof, found.under, found.over)
    seen = _SEEN.setdefault(layout, {})
    real = targets < len(layout.scene.objects)
    for column in np.flatnonzero(near.any(axis=0)).tolist():
        anchor, new = int(anchors[column]), near[:, column].copy()
        pairs = {row: (int(targets[row]), anchor) for row in np.flatnonzero(new & real).tolist()}
        for row, pair in pairs.items():
            if pair in seen:
                new[row] = False
                for array, value in zip(columns, seen[pair], strict=True):
                    array[row, column] = value
        if new.any():
            levels = levels_of(layout, anchor)
            some = np.flatnonzero(new & (targets < len(layout.scene.objects)))
            found.over[some, column] = -outside(layout.footprint[anchor], layout.surface[targets[some], :2])
            if levels is not None:
                some = np.flatnonzero(new)
                _look(found, layout, targets[some], anchor, levels, some, column)
        seen.update({pair: tuple(array[row, column] for array in columns) for row, pair in pairs.items() if new[row]})
    return found


def _look(found: Resting, layout: Layout, rows: Rows, anchor: int, levels: Levels, some: Rows, column: int) -> None:
    """Fill one anchor's column for some of the targets."""
    places, bottom, top = layout.centre[rows, :2], layout.bottom[rows], layout.top[rows]
    hulls = [levels.hull(k) for k in range(len(levels.height))]
    inside = np.array([-outside(hull, places) for hull in hulls]).reshape(len(hulls), len(rows)).T
    anchor_top = float(layout.top[anchor])
    beneath = np.concatenate((inside > -_BESIDE, np.zeros((len(rows), 1), np.bool_)), axis=1)
    for n in np.flatnonzero(rows < len(layout.scene.objects)).tolist():
        outline = layout.footprint[rows[n]]
        beneath[n, :-1] = np.isin(levels.height, levels.heights_beneath(outline, float(layout.centre[rows[n], 2])))
    if beneath.any():  # nothing stands on a rim unless it spans it
        beneath[:, :-1] &= ~levels.seen_through(layout.floor)
    beneath[:, -1] = beneath.any(axis=1)
    heights = np.append(levels.height, anchor_top)
    beneath &= heights < layout.centre[rows, 2:]
    gap = np.where(beneath, np.abs(heights - bottom[:, None]), np.inf)
    nearest = gap.argmin(axis=1)
    found.over[some[beneath.any(axis=1)], column] = -FAR
    found.level[some, column] = np.where(beneath.any(axis=1), heights[nearest], np.nan)
    found.rim[some[rows >= len(layout.scene.objects)], column] = FAR
    floor = np.where(beneath.any(axis=1), heights[nearest], bottom)  # a hidden floor is lower than what is visible
    for n in np.flatnonzero(rows < len(layout.scene.objects)).tolist():
        rim, front = levels.rim(places[n], float(floor[n]), _RIM)
        found.shut_in[some[n], column], found.rim[some[n], column] = min(rim, front), rim
    over = (levels.height >= top[:, None]) & (inside > 0)
    if not over.any():
        return
    over &= ~levels.seen_through(layout.floor)
    lowest = over.argmax(axis=1)
    found.roof[some, column] = np.where(over.any(axis=1), levels.height[lowest], np.nan)
    found.under[some, column] = np.where(over.any(axis=1), inside[np.arange(len(rows)), lowest], -FAR)
