# SPDX-License-Identifier: Apache-2.0
"""The inside of a part as a supporting surface.

The floor of a part that was found is assumed to continue where a wall or an object in the part hides it, because walls
and boards define the part. Higher points in it, and the outlines of other objects, are obstacles as everywhere.
"""

from __future__ import annotations

import math

import numpy as np

from spatial_vlm_ros.spatial.free_space import Grid, Level, closed, depth_inside, survey
from spatial_vlm_ros.spatial.parts.region import Region, own_points
from spatial_vlm_ros.spatial.surfaces import NoSurface, SupportContext, SupportingSurface

_RISE = 0.015  # metres over the floor from which points are obstacles
_UNDER_ROOF = 0.02  # metres below the next board that belong to that board
_INNER = 0.7  # fraction of a compartment around its middle that its walls do not reach into
_CELLS_ACROSS, _LEAST_STEP = 12, 0.004  # least number of cells across a part, and least side of a cell, metres
_ON_BOARD, _IN = 0.85, 0.999  # fraction of the outline that must lie on a board, and between walls


def surface_in(around: SupportContext, region: Region, height: float, name: str) -> SupportingSurface | NoSurface:
    """The supporting surface in a region, or the reason why there is none.

    Args:
        height: height of the object to put there, metres.
    """
    room = region.high - region.low
    if not region.walled and height + around.config.clearance > room:
        words = f"there is no room for it: only {100 * room:.0f} cm are clear above that part of {name}"
        return NoSurface("too tall", words, region.row, height + around.config.clearance, room)
    outline = region.outline if region.carrier is None else region.carrier
    step = min(around.config.step, max(_LEAST_STEP, float(np.ptp(outline, axis=0).min()) / _CELLS_ACROSS))
    strip = around.strip + 2 * step
    grid = Grid.around(outline.min(axis=0) - strip, outline.max(axis=0) + strip, step)
    within = grid.filled([outline])
    level = Level(region.low, np.zeros(2))
    ceiling = math.inf if region.walled else room - _UNDER_ROOF

    # Cells in which the whole itself is higher: its walls.
    layout, whole = around.layout, own_points(around.layout, region.row)
    over = whole[:, 2] - region.low
    high = whole[(over > _RISE) & (over < ceiling)]
    own = closed(grid.count(grid.index(high[:, 0], high[:, 1])) > 0)

    # Measured objects that reach into the heights of the region, except the whole and lifted objects.
    with np.errstate(invalid="ignore"):
        there = layout.measured & (layout.top > region.low + _RISE) & (layout.bottom < region.low + ceiling)
    there[[region.row, *around.lifted]] = False
    for other in np.flatnonzero(there).tolist():  # the support of the whole
        holds = depth_inside(layout.footprint[other], layout.centre[region.row : region.row + 1, :2])[0] > 0
        there[other] &= not (holds and layout.bottom[other] <= layout.bottom[region.row] + _RISE)
    others = tuple(np.flatnonzero(there).tolist())

    higher = survey(around.relief, grid, level, _RISE, _RISE, ceiling).higher
    if region.walled:  # everything high inside is an obstacle; the walls are beyond the outline
        inner = outline.mean(axis=0) + _INNER * (outline - outline.mean(axis=0))
        higher &= ~own | grid.filled([inner])
    else:
        higher &= ~own
    taken = (higher & within) | grid.filled(layout.footprint[list(others)])
    needed, rim = (_IN, ~within) if region.walled else (_ON_BOARD, own)
    return SupportingSurface(region.row, grid, level, within, taken, rim, outline, needed, True, others)
