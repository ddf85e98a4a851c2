# SPDX-License-Identifier: Apache-2.0
"""Space under a shelf, a rack or a table: the visible ground below its underside, and the clear height there."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from spatial_vlm_ros.spatial.free_space import Grid, Level, lies_in, survey
from spatial_vlm_ros.spatial.layout import Array
from spatial_vlm_ros.spatial.no_surface import NoSurface
from spatial_vlm_ros.spatial.surfaces import FLUSH, ON_TOP, RISE, SupportContext, SupportingSurface, in_the_way
from spatial_vlm_ros.spatial.tops import own_points

_SLICES = 24  # slices across an object in which its lower edge is measured
_OPEN = 0.5  # fraction of them that must be open below it: legs and sides are narrow
_GROUND = 30  # points of ground that must be visible below it


def under_of(
    around: SupportContext, row: int, name: str, height: float, ground: Level, roof: Array
) -> SupportingSurface | NoSurface:
    """Find the ground below an object that stands on legs, or hangs.

    Only its front edge is visible. The underside is assumed to be level, at the lower side of that edge, and an object
    put there must be lower by the clearance. Ground that is not visible does not count as free.

    Args:
        row: row of the object, which must be measured.
        height: height of the object to put there, metres.
        roof: (K, 2) outline of the area that counts as under it, metres.
    """
    layout, relief, outline = around.layout, around.relief, roof
    grid = Grid.around(outline.min(axis=0) - around.strip, outline.max(axis=0) + around.strip, around.config.step)
    foot = float(ground.at(layout.centre[row : row + 1, :2])[0])
    underside = _underside(own_points(around, row, grid), layout.centre[row, :2], foot)
    if underside is None:
        return NoSurface("no surface", f"{name} has no visible open space under it", row)
    level = _ground_below(around, outline, underside, ground)
    if level is None:
        return NoSurface("unseen", f"no ground is visible under {name}", row)
    middle = layout.centre[row : row + 1, :2]
    clear = underside - float(level.at(middle)[0])
    if clear < height + around.config.clearance:
        words = f"there is no room under {name}: {max(clear, 0.0):.2f} m are clear, the object is {height:.2f} m high"
        return NoSurface("too tall", words, row, height + around.config.clearance, max(clear, 0.0))
    below = dataclasses.replace(around, ceiling=clear)
    seen = survey(relief, grid, level, RISE, RISE, clear - FLUSH)
    others = tuple(other for other in in_the_way(below, row, level) if other != row)
    taken = seen.higher | grid.filled(layout.footprint[list(others)])
    within = grid.filled([outline])
    return SupportingSurface(
        row, grid, level, seen.surface & within, taken, seen.lower & within, outline, ON_TOP, False, others,
        rim_height=math.inf, underside=underside,
        doubt=f"only the front edge of {name} is visible: farther in, it may be lower",
    )  # fmt: skip


def _underside(own: Array, middle: Array, ground: float) -> float | None:
    """Height of an object's underside, metres: the lower edge visible over most of its width; None without one."""
    right = np.array([-middle[1], middle[0]]) / max(float(np.hypot(*middle)), 1e-6)
    across = own[:, :2] @ right
    low, high = float(across.min()), float(across.max())
    number = np.minimum(((across - low) / max(high - low, 1e-6) * _SLICES).astype(np.intp), _SLICES - 1)
    edges = np.array([np.percentile(own[number == n, 2], 2) for n in range(_SLICES) if (number == n).sum() > 4])
    clear = edges[edges > ground + RISE]
    if len(clear) < _OPEN * _SLICES:
        return None
    return float(np.median(clear))


def _ground_below(around: SupportContext, outline: Array, underside: float, ground: Level) -> Level | None:
    """The level under an object if it is visible there, else None."""
    relief = around.relief
    places = np.stack((relief.g1, relief.g2), axis=1).astype(np.float64)
    below = np.flatnonzero((relief.height < underside - FLUSH) & lies_in(outline, places))
    over = relief.height[below] - ground.at(places[below])
    return ground if np.count_nonzero(np.abs(over) < RISE) >= _GROUND else None
