# SPDX-License-Identifier: Apache-2.0
"""What can carry an object that is put down: the open support plane, the top of an object, the inside of a container.

Each is a grid of cells with what is known of them; or there is none, and the reason is said in words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.parameters import PlaceConfig
from spatial_vlm_ros.spatial.free_space import (
    Cells,
    Grid,
    Level,
    Relief,
    Stamp,
    closed,
    depth_inside,
    gauge,
    hull,
    support_level,
    survey,
)
from spatial_vlm_ros.spatial.layout import Array, Layout

SUPPORT = -1
"""Stands for the support plane where a row is asked for."""

_RISE = 0.015  # metres over a surface from which something is in the way
_FLUSH = 0.005  # metres over a surface up to which a detected object is as good as part of it
_WIDEST = 3.0  # metres; farther parts of a support plane are not looked at
_ON_OPEN_GROUND, _ON_TOP, _IN = 0.97, 0.85, 0.999  # part of the outline that must lie on what was seen to carry
_BIN = 0.005  # metres of height that a top is looked for in
_FLAT, _FLAT_SHARE = 0.005, 0.08  # unevenness of a top, metres, or part of its width; and depth noise
_LOWER_SHARE = 0.5  # part of a top that may lie lower, at most: a ball or a banana is round
_ROUND = 0.004  # metres by which a top may fall off under what is put on it: a lying can, a large ball
_FEW_FOR_CURVES = 12  # cells from which a curvature can be told
_HOLLOW, _HOLLOW_SHARE, _SEAT = 0.03, 0.15, 0.3  # how deep a top may lie below the highest point
_CELLS_ACROSS, _LEAST_STEP = 12, 0.004  # cells across the top of an object, at least; and their least side, metres
_FEW = 4  # cells that make no top
_WALL, _WALL_SHARE = 0.004, 0.04  # thickness of a container's wall, metres, or part of its width
_SECTORS, _RIM_SEEN = 12, 0.6  # directions in which a rim is looked for, and the part in which it must be seen
_OPEN = 0.6  # part of the inner half of an opening that must be seen through
_FLOOR_SEEN = 0.3  # part of an opening over which a floor must be seen to count as that
_CONTENT = 0.5  # part of a container's depth from which what is seen in it is in the way


@dataclass(frozen=True, eq=False)
class SupportingSurface:
    """A surface that something may be put on.

    Args:
        row: the object, or SUPPORT.
        grid: the cells.
        level: its height.
        sound: cells that were seen to carry.
        taken: cells of other objects: the clearance is kept from them.
        rim: cells of its own rim, or beyond its edge: `inside_edge` is kept from them.
        outline: (K, 2) of the top or of the opening; None for the open support plane.
        needed: part of what is put down that must lie on sound cells.
        within: it is the inside of a container.
        others: rows of the objects that are in the way.
    """

    row: int
    grid: Grid
    level: Level
    sound: Cells
    taken: Cells
    rim: Cells
    outline: Array | None
    needed: float
    within: bool
    others: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Room:
    """Where on a carrier an outline fits, as (R, C) cells of its middle.

    Args:
        seen: enough of the surface under it was seen.
        clear: the clearance is kept from other objects.
        off_rim: the distance is kept from the carrier's own rim or edge.
        steady: it would stand: its middle well inside, most of it carried.
        clearance: metres to the next object.
    """

    seen: Cells
    clear: Cells
    off_rim: Cells
    steady: Cells
    clearance: npt.NDArray[np.float32]

    @property
    def free(self) -> Cells:
        """All of that."""
        return self.seen & self.clear & self.off_rim & self.steady


@dataclass(frozen=True, eq=False)
class SupportContext:
    """What all carriers of a request have in common.

    Args:
        layout: the scene.
        relief: measured points, without those of the moved object.
        config: distances kept.
        lifted: rows of the moved object and of what goes with it.
        reach: metres that the outline of the moved object reaches from its middle.
        ceiling: metres over a surface from which nothing is in the way; infinite where objects come from above.
    """

    layout: Layout
    relief: Relief
    config: PlaceConfig
    lifted: tuple[int, ...]
    reach: float
    ceiling: float = math.inf

    @property
    def strip(self) -> float:
        """Metres from the rim of a grid within which the neighbourhood is not known."""
        return self.reach + self.config.clearance


def room_for(supporting: SupportingSurface, outline: Array, config: PlaceConfig) -> Room:
    """Where on a carrier an outline (K, 2) about its middle fits."""
    stamp = Stamp.of(outline, supporting.grid.step)
    clearance = stamp.distance(supporting.taken)
    clear = clearance >= config.clearance
    off_rim = stamp.distance(supporting.rim) >= config.inside_edge
    if supporting.outline is None:
        seen = (
            Stamp.of(_larger(outline, config.inside_edge), supporting.grid.step).share(supporting.sound)
            >= supporting.needed
        )
        steady = np.zeros_like(seen)
        strip = len(stamp.pattern) // 2 + math.ceil(config.clearance / supporting.grid.step)
        steady[strip:-strip, strip:-strip] = True  # nearer to the grid's end obstacles are not known
        return Room(seen, clear, off_rim, steady, clearance)
    seen = stamp.share(supporting.sound) >= supporting.needed
    covered = stamp.share(supporting.grid.filled([supporting.outline])) >= supporting.needed
    places = supporting.grid.places(np.arange(clear.size))
    inside = depth_inside(supporting.outline, places).reshape(clear.shape) >= config.inside_edge
    return Room(seen, clear, off_rim, covered & inside, clearance)


def _larger(outline: Array, by: float) -> Array:
    """An outline (K, 2) about its middle with its corners moved outwards, metres."""
    length = np.hypot(*outline.T)[:, None]
    return np.asarray(outline * (1.0 + by / np.maximum(length, 1e-3)))


# ------------------------------------------------------------------------------------------------ support plane


def open_ground(around: SupportContext, rows: Sequence[int], reach: float) -> SupportingSurface | str:
    """The support plane.

    Args:
        around: scene and distances.
        rows: objects that it is searched about; none = all that is seen of the plane.
        reach: metres about them.
    """
    layout, relief = around.layout, around.relief
    if layout.scene.support is None:
        return "no surface is seen that things stand on"
    level = support_level(layout)
    if layout.floor <= level.height:
        return "the surface is seen from below"
    flat = np.abs(relief.over(level)) < _RISE
    places = np.stack((relief.g1[flat], relief.g2[flat]), axis=1)
    if not len(places):
        return "no surface is seen that things stand on"
    if len(rows):
        outlines = layout.footprint[list(rows)].reshape(-1, 2)
        low, high = outlines.min(axis=0) - reach, outlines.max(axis=0) + reach
    else:
        middle = np.median(places[:: max(1, len(places) // 2000)], axis=0)
        low = np.maximum(places.min(axis=0), middle - _WIDEST / 2)
        high = np.minimum(places.max(axis=0), middle + _WIDEST / 2)
    grid = Grid.around(low - around.strip, high + around.strip, around.config.step)
    seen = survey(relief, grid, level, _RISE, _RISE, around.ceiling)
    others = _in_the_way(around, SUPPORT, level)
    taken = seen.higher | grid.filled(layout.footprint[list(others)]) | _unmeasured(around, grid, level)
    own = _stood_on(around, level)
    sound = seen.surface | grid.filled(layout.footprint[list(own)])
    return SupportingSurface(
        SUPPORT, grid, level, sound, taken, seen.lower & ~sound, None, _ON_OPEN_GROUND, False, others
    )


def _in_the_way(around: SupportContext, row: int, level: Level) -> tuple[int, ...]:
    """Measured objects that rise over a level, without what is lifted, the carrier itself, and what holds that."""
    layout = around.layout
    ground = level.at(layout.centre[:, :2])
    with np.errstate(invalid="ignore"):
        higher = layout.measured & (layout.top > ground + _FLUSH) & (layout.bottom < ground + around.ceiling)
    higher[[*around.lifted]] = False
    if row != SUPPORT:
        higher[row] = False
        for other in np.flatnonzero(higher).tolist():
            holds = depth_inside(layout.footprint[other], layout.centre[row : row + 1, :2])[0] > 0
            if holds and layout.bottom[other] <= layout.bottom[row] + _RISE:
                higher[other] = False
    return tuple(np.flatnonzero(higher).tolist())


def _stood_on(around: SupportContext, level: Level) -> tuple[int, ...]:
    """The moved object, where it stands on that level: what is under it carries, though it is not seen."""
    layout = around.layout
    return tuple(
        row
        for row in around.lifted[:1]
        if layout.measured[row] and abs(layout.bottom[row] - level.at(layout.centre[row, :2])) < _RISE
    )


def _unmeasured(around: SupportContext, grid: Grid, level: Level) -> Cells:
    """(R, C) cells that are seen in the boxes of objects without a measured place: glass may stand there."""
    layout = around.layout
    boxes = [
        o.detection.box_xyxy
        for row, o in enumerate(layout.scene.objects)
        if not layout.measured[row] and row not in around.lifted
    ]
    hidden = np.zeros(grid.shape, np.bool_)
    if not boxes:
        return hidden
    places = grid.places(np.arange(hidden.size))
    ground = np.column_stack((places, level.at(places) - layout.floor))
    rays = ground @ (layout.scene.frame.camera.K @ layout.axes).T
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = (rays[:, :2] / rays[:, 2:]).T
    for x0, y0, x1, y1 in boxes:
        hidden |= ((x0 <= u) & (u <= x1) & (y0 <= v) & (v <= y1) & (rays[:, 2] > 0)).reshape(grid.shape)
    return hidden


# ------------------------------------------------------------------------------------------------ top of an object


def _own_points(around: SupportContext, row: int) -> Array:
    """(N, 3) visible surface of an object in ground coordinates."""
    layout = around.layout
    points = layout.scene.objects[row].points
    points = points[:: max(1, len(points) // 40_000)].astype(np.float64)
    own: Array = points @ layout.axes + np.array([0.0, 0.0, layout.floor])
    return own


def _grid_over(around: SupportContext, row: int) -> Grid:
    outline = around.layout.footprint[row]
    width = float(around.layout.size[row, :2].min())
    step = min(around.config.step, max(_LEAST_STEP, width / _CELLS_ACROSS))
    strip = around.strip + 2 * step
    return Grid.around(outline.min(axis=0) - strip, outline.max(axis=0) + strip, step)


def top_of(around: SupportContext, row: int, name: str) -> SupportingSurface | str:
    """The flat top of an object.

    Args:
        around: scene and distances.
        row: the object, measured.
        name: what it is called.
    """
    layout, relief = around.layout, around.relief
    own, grid, slope = _own_points(around, row), _grid_over(around, row), support_level(layout).slope
    index = grid.index(own[:, 0], own[:, 1])
    over = own[:, 2] - own[:, :2] @ slope  # heights along the slope of all that stands here
    height = _widest_height(index, over)
    if layout.floor <= height:
        return f"the top of {name} is not seen from so low"
    level = Level(height, slope)
    top = layout.top[row] - float(layout.centre[row, :2] @ slope)
    width = float(layout.size[row, :2].min())
    is_seat = height - layout.bottom[row] > _SEAT * (top - layout.bottom[row])
    if top - height > max(_HOLLOW, _HOLLOW_SHARE * width) and not is_seat:
        return f"{name} has no flat top"
    flat = min(_FLAT + float(layout.sigma[row]), max(_FLAT_SHARE * width, _FLAT / 2))
    seen = survey(relief, grid, level, flat, _RISE)
    outline_cells = grid.filled([layout.footprint[row]])
    sound = seen.surface & outline_cells
    lowest = np.full(grid.shape[0] * grid.shape[1] + 1, np.inf)
    np.minimum.at(lowest, index, over)
    deep = (lowest[:-1].reshape(grid.shape) < height - flat) & ~sound
    if sound.sum() < _FEW:
        return f"no flat top of {name} can be seen"
    drop = _drop(grid, seen.offset, sound, min(around.reach, width / 2))
    if deep.sum() > _LOWER_SHARE * (sound.sum() + deep.sum()) or drop > _ROUND:
        return f"{name} has no flat top: what is put there would not stand"
    own_high = closed(grid.count(index[over > height + _RISE]) > 0)
    others = _in_the_way(around, row, level)
    taken = (seen.higher & ~own_high) | grid.filled(layout.footprint[list(others)]) | _unmeasured(around, grid, level)
    sound |= grid.filled(layout.footprint[list(_stood_on(around, level))]) & outline_cells
    outline = layout.footprint[row]
    return SupportingSurface(row, grid, level, sound, taken, own_high, outline, _ON_TOP, False, others)


def _drop(grid: Grid, offset: Array, sound: Cells, reach: float) -> float:
    """Metres by which a top falls off over `reach` from its middle, by the second-degree surface through it.

    Args:
        grid: the cells.
        offset: (R, C) heights.
        sound: the cells that count.
        reach: metres.
    """
    index = np.flatnonzero(sound & (offset != 0))
    if len(index) < _FEW_FOR_CURVES:
        return 0.0
    places = grid.places(index)
    x, y = (places - places.mean(axis=0)).T
    terms = np.stack((np.ones_like(x), x, y, x * x, x * y, y * y), axis=1)
    _, _, _, xx, xy, yy = np.linalg.lstsq(terms, offset.reshape(-1)[index], rcond=None)[0]
    steepest = float(np.linalg.eigvalsh(np.array([[2 * xx, xy], [xy, 2 * yy]]))[0])
    return -steepest * reach**2 / 2


def _widest_height(index: npt.NDArray[np.int32], over: Array) -> float:
    """The height that an object's points have in the most cells: of its top, for fronts are narrow from above."""
    low = float(over.min())
    number = ((over - low) / _BIN).astype(np.int64)
    bins = int(number.max()) + 1
    both = np.unique(index.astype(np.int64) * bins + number)
    area = np.convolve(np.bincount(both % bins, minlength=bins), (1.0, 1.0, 1.0), "same")
    best = bins - 1 - int(np.argmax(area[::-1]))
    middle = low + (best + 0.5) * _BIN
    return float(np.median(over[np.abs(over - middle) < 1.5 * _BIN]))


# ------------------------------------------------------------------------------------------------ inside of an object


def inside_of(around: SupportContext, row: int, name: str) -> SupportingSurface | str:
    """The inside of a container whose opening is seen.

    Args:
        around: scene and distances.
        row: the object, measured.
        name: what it is called.
    """
    layout, relief = around.layout, around.relief
    rim, outline, middle = float(layout.top[row]), layout.footprint[row], layout.centre[row, :2]
    if layout.floor <= rim + _FLUSH:
        return f"the opening of {name} is not seen from so low"
    width = float(layout.size[row, :2].min())
    wall = max(_WALL, _WALL_SHARE * width)
    opening = middle + (outline - middle) * max(0.1, 1.0 - 2.0 * wall / width)
    grid = _grid_over(around, row)
    within = grid.filled([opening])
    beyond, open_cells = _seen_through(relief, grid, rim)
    places = grid.places(np.arange(within.size))
    core = (gauge(outline, middle, places) < 0.5).reshape(within.shape)
    own = _own_points(around, row)
    if not _has_rim(own, outline, middle, rim, layout, row):
        return f"{name} has no opening that can be seen"
    if open_cells[core].sum() < _OPEN * core.sum():
        return f"{name} is closed, or full"
    deepest = beyond.chosen(gauge(outline, middle, np.stack((beyond.g1, beyond.g2), axis=1)) < 0.8)
    floor = float(layout.bottom[row]) + wall
    if len(deepest.height):
        low = float(np.percentile(deepest.height, 10))
        bottom = grid.count(grid.index(deepest.g1, deepest.g2)[np.abs(deepest.height - low) < _RISE]) > 0
        if bottom.sum() > _FLOOR_SEEN * within.sum():
            floor = max(low, float(layout.bottom[row]))
    level = Level(floor, np.zeros(2))
    inner = (gauge(outline, middle, places) < 0.7).reshape(within.shape)
    content = survey(relief, grid, level, _RISE, max(_RISE, _CONTENT * (rim - floor))).higher & inner
    others = _in_the_way(around, row, level)
    taken = content | grid.filled(layout.footprint[list(others)])
    return SupportingSurface(row, grid, level, within, taken, ~within, opening, _IN, True, others)


def _seen_through(relief: Relief, grid: Grid, rim: float) -> tuple[Relief, Cells]:
    """The points that are seen through the level of a rim, and the cells of that level that are seen through."""
    deep = relief.height < rim - np.maximum(np.float32(_FLUSH), relief.sigma)
    below = relief.chosen(deep)
    part = np.float32(relief.eye - rim) / (np.float32(relief.eye) - below.height)
    crossing = grid.index(below.g1 * part, below.g2 * part)
    shut = grid.count(grid.index(relief.g1[~deep], relief.g2[~deep]))
    there = crossing < grid.shape[0] * grid.shape[1]
    return below.chosen(there), closed(grid.count(crossing) > shut)


def _has_rim(own: Array, outline: Array, middle: Array, rim: float, layout: Layout, row: int) -> bool:
    """Whether an object reaches its full height all around: a bowl does, a ball does not."""
    outer = own[gauge(outline, middle, own[:, :2]) > 0.7]
    away = outer[:, :2] - middle
    sector = ((np.arctan2(away[:, 1], away[:, 0]) / (2 * np.pi) + 0.5) * _SECTORS).astype(np.intp) % _SECTORS
    highest = np.full(_SECTORS, -np.inf)
    np.maximum.at(highest, sector, outer[:, 2])
    slack = max(_FLUSH + float(layout.sigma[row]), 0.12 * float(layout.size[row, 2]))
    return bool((highest > rim - slack).mean() >= _RIM_SEEN)


def whole_outline(supporting: SupportingSurface) -> Array:
    """(M, 2) convex outline of what is seen of a carrier, about which its parts lie."""
    if supporting.outline is not None:
        return supporting.outline
    return hull(supporting.grid.places(np.flatnonzero(supporting.sound)))
