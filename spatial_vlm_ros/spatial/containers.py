# SPDX-License-Identifier: Apache-2.0
"""Insides that support objects: of containers (bowls, cups, bins, open drawers), of parts; and objects stacked on them.

Openings are seen at an angle: an opening shows by the rays that pass through the level of its rim.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.language.part_words import CHESTS, DRAWERS
from spatial_vlm_ros.spatial.free_space import (
    Cells,
    Grid,
    Level,
    Moved,
    Relief,
    closed,
    gauge,
    hull,
    lies_in,
    passing,
    seen_through,
    survey,
)
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.parts.region import Region
from spatial_vlm_ros.spatial.surfaces import (
    FLUSH,
    ON_TOP,
    RISE,
    WITHIN,
    NoSurface,
    SupportContext,
    SupportingSurface,
    in_the_way,
    supports_of,
)
from spatial_vlm_ros.spatial.tops import grid_over, own_points

_WALL, _WALL_SHARE = 0.004, 0.04  # thickness of a container's wall, metres, or fraction of its width
_SECTORS, _RIM_SEEN = 12, 0.6  # directions in which a rim is searched for, and the fraction in which it must be seen
_OUTER = 0.7  # fraction of the way from the middle to the outline from which the wall begins
_OPEN = 0.6  # fraction of the inner half of an opening that must be seen through
_FREE = 0.2  # fraction of the inner half of an opening that must be clear of what is in it, to be used alone
_OUT = 0.3  # fraction of the inner half of an opening that must be clear of its surroundings to be used alone
_FLOOR_SEEN = 0.3  # fraction of an opening over which a floor must be seen to count as one
_CONTENT = 0.5  # fraction of a container's depth from which something seen over its middle is in the way
_RINGS = 10  # rings from the middle to the rim in which the height of the inside is measured
_LOW = 15.0  # percentile of the heights in a ring on which an object comes to rest
_SHALLOW = 0.04  # least depth of an inside over its width: a table with objects on it has none
_ASIDE = 0.006  # metres by which a wall may be farther in than assumed
_FEW = 3  # points of a ring in one direction that are enough for its height
_SUNK = 0.2  # least fraction of its height by which a stacked object reaches into another
_BESIDE = 0.15  # fraction of the way from its middle at which a stacked object may stand


@dataclass(frozen=True, eq=False)
class Cavity:
    """The inside of a container."""

    opening: Array  # (K, 2) convex outline on the ground, metres
    middle: Array  # (2,) its middle, metres
    rim: float  # height of the rim, metres
    floor: float  # height of the floor, seen or derived from the underside, metres
    floor_seen: bool  # True if the floor is seen
    rings: Array  # (R,) heights of the inside from the middle to the rim, increasing, metres
    grid: Grid
    within: Cells
    content: Cells

    def seat(self, obj: Moved, places: Array) -> Array:
        """(T,) height (m) at which an object with its middle at places (T, 2) comes to rest: where it first touches."""
        at = (np.arange(len(self.rings)) + 0.5) / len(self.rings)
        heights = np.full(len(places), self.floor)
        for rise, outline in ((0.0, obj.foot), *obj.widths):
            corners = (places[:, None] + outline).reshape(-1, 2)
            reached = gauge(self.opening, self.middle, corners).reshape(len(places), -1).max(axis=1)
            met = np.where(reached > 1.0, self.rim, np.interp(reached, at, self.rings))
            heights = np.maximum(heights, met - rise)
        return heights


def is_open(around: SupportContext, row: int) -> bool:
    """True if an object is seen to be open at the top."""
    return not isinstance(_inside(around, row, ""), NoSurface)


def inside_of(around: SupportContext, row: int, name: str) -> SupportingSurface | NoSurface:
    """Find the inside of a container whose opening is visible."""
    found = _inside(around, row, name)
    if isinstance(found, NoSurface):
        return found
    layout, others = around.layout, _reaching_in(around, row, found)
    taken = found.content | found.grid.filled(layout.footprint[list(others)])
    around_it = [other for other in in_the_way(around, row, Level(found.rim, np.zeros(2))) if other not in others]
    return SupportingSurface(
        row, found.grid, Level(found.floor, np.zeros(2)), found.within, taken, ~found.within, found.opening, WITHIN,
        True, others, rim_height=found.rim - found.floor, seat=found.seat,
        beside=found.grid.filled(layout.footprint[around_it]),
        doubt=None if found.floor_seen else f"the floor of {name} is not visible",
    )  # fmt: skip


def stacked_on(
    around: SupportContext, row: int, name: str, obj: Moved, open_too: bool
) -> SupportingSurface | NoSurface:
    """Find where an object stands in or on the rim of an open one: a bowl on a bowl, a cup on a cup.

    It reaches in as far as both widths allow, or spans the opening; an object that would fall in is not on it. Where it
    wedges is computed only if it is open, too (a bowl in a bowl); otherwise its widths are not reliable enough.
    """
    found = _inside(around, row, name)
    if isinstance(found, NoSurface):
        return found
    others = _reaching_in(around, row, found)
    if found.content.any() or lies_in(found.opening, around.layout.centre[list(others), :2]).any():
        return NoSurface("occupied", f"{name} is not empty", row)
    if (gauge(found.opening, found.middle, found.middle + hull(obj.outline)) < 1.0).all():
        return NoSurface("no surface", f"{name} has no flat top: {obj.name} would fall into it", row)
    spans = (gauge(found.opening, found.middle, found.middle + hull(obj.foot)) > 1.0).all()
    if not spans and not open_too:
        return NoSurface("no surface", f"{name} has no flat top: {obj.name} would not stand on it", row)
    if not obj.widths:
        return NoSurface("unseen", f"how far {obj.name} goes into {name} is unknown: its lower end is not visible", row)
    seat = float(found.seat(obj, found.middle[None])[0])
    height = float(obj.size[2])
    if not spans and found.rim - seat < _SUNK * height:
        return NoSurface("no surface", f"{name} has no flat top: {obj.name} would not stand on it", row)
    seat = found.rim if spans else seat
    places = found.grid.places(np.arange(found.within.size))
    middles = (gauge(found.opening, found.middle, places) < _BESIDE).reshape(found.within.shape)
    taken = found.grid.filled(around.layout.footprint[list(others)])
    level = Level(seat, np.zeros(2))
    whole = np.ones_like(found.within)
    return SupportingSurface(
        row, found.grid, level, whole, taken, ~whole, around.layout.footprint[row], ON_TOP, False, others,
        lower=whole, middles=middles,
    )  # fmt: skip


def _reaching_in(around: SupportContext, row: int, found: Cavity) -> tuple[int, ...]:
    layout = around.layout
    others = in_the_way(around, row, Level(found.floor, np.zeros(2)))
    inside = lies_in(found.opening, layout.centre[:, :2])
    inside &= (layout.centre[:, 2] > found.floor) & (layout.bottom < found.rim + RISE)
    return tuple(other for other in others if inside[other])


# ------------------------------------------------------------------------------------------------ what is seen of it


def _inside(around: SupportContext, row: int, name: str) -> Cavity | NoSurface:
    """The inside of a container, or the reason why none is seen."""
    layout, relief = around.layout, around.relief
    outline, middle = layout.footprint[row], layout.centre[row, :2]
    grid = grid_over(around, row, outline)
    own = own_points(around, row, grid)
    about = [layout.footprint[other] for other in _around(layout, row)]
    in_sight = own[~np.any([lies_in(cabinet, own[:, :2]) for cabinet in about], axis=0)] if about else own
    # The rim is at the height that the wall reaches in most directions, or at the top if that is nearly the same. A
    # drawer's front is higher than its sides, and its back cannot be seen: directions without points, or under a
    # cabinet, do not count.
    outer, highest = in_sight[gauge(outline, middle, in_sight[:, :2]) > _OUTER], np.full(_SECTORS, -np.inf)
    np.maximum.at(highest, _sectors(outer[:, :2] - middle), outer[:, 2])
    highest = highest[np.isfinite(highest)] if np.isfinite(highest).sum() >= _SECTORS / 3 else highest
    rim, top = float(np.sort(highest)[::-1][int(np.ceil(_RIM_SEEN * len(highest))) - 1]), float(layout.top[row])
    rim = top if not np.isfinite(rim) or rim > top - FLUSH - float(layout.sigma[row]) else rim
    walls = own[own[:, 2] < rim + RISE, :2]
    if rim < layout.top[row] and len(walls) >= _FEW:  # a raised lid is not over the opening
        outline = hull(walls)
        middle = (outline.min(axis=0) + outline.max(axis=0)) / 2
    if layout.floor <= rim + FLUSH:
        return NoSurface("unseen", f"the camera is too low to see the opening of {name}", row)
    _, open_cells = seen_through(relief, grid, rim, float(layout.top[row]) + RISE)
    places = grid.places(np.arange(open_cells.size))
    core = (gauge(outline, middle, places) < 0.5).reshape(open_cells.shape)
    width = float(layout.size[row, :2].min())
    wall = max(_WALL, _WALL_SHARE * width)
    out = core & ~grid.filled(layout.footprint[_around(layout, row)])  # for a drawer, the part outside its cabinet
    core = out if out.sum() > _OUT * core.sum() else core
    smaller = layout.measured & (layout.mean_side < layout.mean_side[row]) & (layout.bottom < layout.top[row])
    held = np.flatnonzero(smaller & lies_in(outline, layout.centre[:, :2]) & (np.arange(len(layout)) != row))
    beside_them = core & ~grid.filled(layout.footprint[held])
    core = beside_them if beside_them.sum() > _FREE * core.sum() else core
    if open_cells[core].sum() < _OPEN * core.sum():
        return NoSurface("closed", f"{name} is closed or full", row)
    shrunk = middle + (outline - middle) * max(0.1, 1.0 - 2.0 * wall / width)
    deep, crossing = passing(relief, grid, rim)
    past = ~lies_in(outline, _places(relief.chosen(deep)), RISE)  # what lies behind it, through the loop of a handle
    beside = grid.count(crossing[past]) > grid.count(crossing[~past])
    passed = open_cells & grid.filled([shrunk]) & ~beside
    count, label, stats, _ = cv2.connectedComponentsWithStats(passed.view(np.uint8), connectivity=4)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])) if count > 1 else 0
    opening = hull(grid.places(np.flatnonzero(label.reshape(-1) == largest)))
    centre = opening.mean(axis=0)
    level = grid.index(relief.g1, relief.g2)
    lip = grid.count(level[np.abs(relief.height - rim) < np.maximum(np.float32(FLUSH), relief.sigma)])
    within = grid.filled([opening]) & (2 * lip <= grid.count(level[relief.height < rim + RISE]))
    floor = float(layout.bottom[row]) + wall
    part = np.minimum((relief.eye - rim) / np.maximum(relief.eye - relief.height.astype(np.float64), 1e-6), 1.0)
    entering = lies_in(opening, _places(relief) * part[:, None]) & (relief.height < layout.top[row] + RISE)
    beyond, floor_seen = relief.chosen(entering), False
    deepest = beyond.chosen(gauge(opening, centre, _places(beyond)) < 0.8)
    if len(deepest.height):
        low = float(np.percentile(deepest.height, 10))
        bottom = grid.count(grid.index(deepest.g1, deepest.g2)[np.abs(deepest.height - low) < RISE]) > 0
        if bottom.sum() > _FLOOR_SEEN * within.sum():
            floor, floor_seen = max(low, float(layout.bottom[row])), True
    if rim - floor < max(2 * FLUSH, _SHALLOW * width) or not _has_walls(own, relief, opening, centre, rim, floor):
        return NoSurface("closed", f"{name} has no visible opening", row)
    rings, usual = (_rings(beyond, opening, centre, floor, rim, rank) for rank in (_LOW, 50.0))
    content = _content(beyond, grid, opening, centre, floor, rim, usual) & within
    return Cavity(opening, centre, rim, floor, floor_seen, rings, grid, within, content)


def _around(layout: Layout, row: int) -> npt.NDArray[np.intp]:
    """Rows of larger objects that reach over an object: a drawer's cabinet, which hides the drawer's inside.

    If a cabinet's drawers are detections of their own, little more than the cabinet's top may be left of it.
    """
    over = layout.measured & (layout.bottom < layout.top[row]) & (layout.top > layout.top[row])
    larger = layout.mean_side * layout.size[:, 2] > layout.mean_side[row] * layout.size[row, 2]
    words = [obj.detection.label.lower().split()[-1:] for obj in layout.scene.objects]
    if DRAWERS.intersection(words[row]):
        larger |= np.array([bool((CHESTS - DRAWERS).intersection(word)) for word in words])
    return np.flatnonzero(over & larger)


def _places(relief: Relief) -> Array:
    return np.stack((relief.g1, relief.g2), axis=1).astype(np.float64)


def _sectors(away: Array) -> npt.NDArray[np.intp]:
    """(N,) index of the direction of places from the middle, one of `_SECTORS`."""
    turn = np.arctan2(away[:, 1], away[:, 0]) / (2 * np.pi) + 0.5
    return np.asarray((turn * _SECTORS).astype(np.intp) % _SECTORS)


def _has_walls(own: Array, relief: Relief, opening: Array, middle: Array, rim: float, floor: float) -> bool:
    """True if a wall at least half as high as the rim surrounds an opening in most directions.

    The back of a drawer is in its cabinet, which also counts as a wall.
    """
    places = np.concatenate((own, np.column_stack((_places(relief), relief.height))))
    places = places[
        (places[:, 2] > (rim + floor) / 2) & lies_in(opening, places[:, :2], float(np.ptp(opening, axis=0).max()))
    ]
    at = gauge(opening, middle, places[:, :2])
    high = (at > 0.85) & (at < 1.35)
    return len(np.unique(_sectors(places[high, :2] - middle))) > _RIM_SEEN * _SECTORS


def _rings(beyond: Relief, opening: Array, middle: Array, floor: float, rim: float, rank: float) -> Array:
    """(R,) height of the inside at each ring from the middle to the rim: the lowest in any direction, and increasing.

    In each direction it is a percentile (`rank`) of the visible heights: a steep wall fills a ring at all heights.
    An object in a container covers its ring in some directions only, or covers the next ring outwards.
    """
    places = _places(beyond)
    at = gauge(opening, middle, places)
    ring = (at * _RINGS).astype(np.intp)
    both = np.where(ring < _RINGS, ring * _SECTORS + _sectors(places - middle), -1)
    rings = np.full(_RINGS + 1, rim)
    steepness = (beyond.eye - rim) / max(float(np.hypot(*middle)), 1e-6)
    reach = float(np.hypot(*(opening - middle).T).mean())
    drop = 0.0  # from ring to ring of what is visible; the hidden part goes on like that, down to the floor
    for number in range(_RINGS - 1, -1, -1):
        heights = [
            float(np.percentile(part, rank))
            for sector in range(_SECTORS)
            if len(part := beyond.height[both == number * _SECTORS + sector]) >= _FEW
        ]
        if min(heights, default=math.inf) < rings[number + 1] + FLUSH:  # else only a lip or a content is visible there
            lowest = min([rings[number + 1], *heights])
            # The near rim hides what is lower.
            hidden = lowest < rim - steepness * reach * (1 + number / _RINGS) + FLUSH
            drop = (rim - lowest) / (_RINGS - number) if hidden else rings[number + 1] - lowest
        rings[number] = rings[number + 1] - drop
    return np.maximum(rings[:-1], floor)


def _content(
    relief: Relief, grid: Grid, opening: Array, middle: Array, floor: float, rim: float, rings: Array
) -> Cells:
    """(R, C) cells of an opening with something in it that is not a part of the container."""
    places = _places(relief)
    near = lies_in(opening, places)
    chosen = relief.chosen(near)
    at = gauge(opening, middle, places[near])
    aside = _ASIDE / max(float(np.hypot(*(opening - middle).T).mean()), _ASIDE)
    usual = np.interp(at + aside, (np.arange(len(rings)) + 0.5) / len(rings), rings)
    rise = np.maximum(np.float32(RISE), 3 * chosen.sigma)
    high = (at < 0.8) & (chosen.height > usual + rise) & (chosen.height > floor + rise)
    high &= np.abs(chosen.height - rim) > np.maximum(np.float32(FLUSH), chosen.sigma)  # a lip
    high |= (at < 0.5) & (chosen.height > floor + np.maximum(rise, _CONTENT * (rim - floor)))
    index = grid.index(chosen.g1, chosen.g2)
    points, highs = grid.count(index), grid.count(index[high])
    return closed((highs > 2) & (highs > 0.2 * points))


# ------------------------------------------------------------------------------------------------ inside of a part
# The floor of a part that was found is assumed to continue where a wall or an object in the part hides it, because
# walls and boards define the part. Higher points in it, and the outlines of other objects, are obstacles as everywhere.

_UNDER_ROOF = 0.02  # metres below the next board that belong to that board
_INNER = 0.7  # fraction of a compartment around its middle that its walls do not reach into
_CELLS_ACROSS, _LEAST_STEP = 12, 0.004  # least number of cells across a part, and least side of a cell, metres


def surface_in(around: SupportContext, region: Region, height: float, name: str) -> SupportingSurface | NoSurface:
    """The supporting surface in a region for an object of this height, or the reason why there is none."""
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
    layout, whole = around.layout, around.layout.points_of(region.row)
    over = whole[:, 2] - region.low
    high = whole[(over > RISE) & (over < ceiling)]
    own = closed(grid.count(grid.index(high[:, 0], high[:, 1])) > 0)

    # Measured objects that reach into the heights of the region, except the whole and lifted objects.
    with np.errstate(invalid="ignore"):
        there = layout.measured & (layout.top > region.low + RISE) & (layout.bottom < region.low + ceiling)
    there[[region.row, *around.lifted, *supports_of(layout, region.row)]] = False
    others = tuple(np.flatnonzero(there).tolist())

    higher = survey(around.relief, grid, level, RISE, RISE, ceiling).higher
    if region.walled:  # everything high inside is an obstacle; the walls are beyond the outline
        inner = outline.mean(axis=0) + _INNER * (outline - outline.mean(axis=0))
        higher &= ~own | grid.filled([inner])
    else:
        higher &= ~own
    taken = (higher & within) | grid.filled(layout.footprint[list(others)])
    needed, rim = (WITHIN, ~within) if region.walled else (ON_TOP, own)
    return SupportingSurface(region.row, grid, level, within, taken, rim, outline, needed, True, others)
