# SPDX-License-Identifier: Apache-2.0
"""Tops of objects as supporting surfaces, completed behind rims; and the visible ground under a shelf or a table."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.spatial.free_space import (
    Cells,
    Grid,
    Level,
    Survey,
    closed,
    hull,
    lies_in,
    passing,
    seen_through,
    support_level,
    survey,
    thinning,
    widened,
)
from spatial_vlm_ros.spatial.layout import Array
from spatial_vlm_ros.spatial.surfaces import (
    FLUSH,
    ON_TOP,
    RISE,
    NoSurface,
    SupportContext,
    SupportingSurface,
    in_the_way,
    stood_on,
    unmeasured,
)

_BIN = 0.005  # metres: height step of the search for a top
_FLAT, _FLAT_SHARE = 0.005, 0.08  # unevenness of a top, metres, or fraction of its width; plus depth noise
_LOWER_SHARE = 0.5  # largest fraction of a top that may fall off around it: a ball or a banana is round
_SHOULDER = 0.03  # metres below a top within which lower points are its shoulder; below that is another level
_ROUND = 0.004  # metres by which a top may fall off under an object on it: a lying can
_SLOPE = 0.14  # slope (8 degrees) that a curved top may have at the end of the object on it, slightly off the middle
_FEW_FOR_CURVES = 12  # cells that are enough to compute a curvature
_HOLLOW, _HOLLOW_SHARE, _SEAT = 0.03, 0.15, 0.3  # how far below the highest point a top may lie
_SECTORS, _WALLED = 12, 0.6  # directions, and the walled fraction from which a level is the inside of a bowl
_ROOF = 0.15  # fraction of the width around its middle that no part of a bowl covers
_TOPMOST = 99.5  # percentile of an object's heights used as its top: higher points may be strays
_APART = 1  # bins: separates the rim of a plate from its middle
_MOST_LEVELS = 6  # most levels that are examined
_LEVEL_SHARE = 0.4  # fraction of the widest level's area from which another is a level, too, not a rim or handle
_CELLS_ACROSS, _LEAST_STEP = 12, 0.004  # least number of cells across an object's top, and least side of a cell, metres
_FEW = 4  # cells that are too few for a top
_PIERCED = 0.3  # fraction of the usual rays through a cell of a level: if more pass, there is no surface
_THIN = 4.0  # largest number of cells along the view that one row of pixels stands for


def tops_of(around: SupportContext, row: int, name: str) -> list[SupportingSurface] | NoSurface:
    """Find the levels of an object that something may be put on, the topmost first, or the reason why there is none."""
    layout = around.layout
    grid, slope = grid_over(around, row, layout.footprint[row]), support_level(layout).slope
    own = own_points(around, row, grid)
    index = grid.index(own[:, 0], own[:, 1])
    over = own[:, 2] - own[:, :2] @ slope  # heights relative to the slope of everything here
    levels = _levels(index, over, np.clip(_rows_apart(around, row, over) / grid.step, 1.0, _THIN))
    found: list[SupportingSurface] = []
    reasons = []
    for height in levels:
        surface = _top_at(around, row, name, grid, index, own, Level(height, slope))
        if isinstance(surface, NoSurface):
            reasons.append(surface)
        else:
            found.append(surface)
    return found or reasons[0]


def _top_at(
    around: SupportContext,
    row: int,
    name: str,
    grid: Grid,
    index: npt.NDArray[np.int32],
    own: Array,
    level: Level,
) -> SupportingSurface | NoSurface:
    """One level of an object, or why nothing stands there; `index` (N,): cells of its points `own` (N, 3), metres."""
    layout, height = around.layout, level.height
    if layout.floor <= height:
        return NoSurface("unseen", f"the camera is too low to see the top of {name}", row)
    over = own[:, 2] - own[:, :2] @ level.slope
    width = float(layout.size[row, :2].min())
    above = float(np.percentile(over, _TOPMOST)) - height
    is_seat = height - layout.bottom[row] > _SEAT * (height + above - layout.bottom[row])
    if above > max(_HOLLOW, _HOLLOW_SHARE * width) and (not is_seat or _hollow(grid, index, own, height, above, width)):
        return NoSurface("no surface", f"{name} has no flat top", row)
    flat = min(_FLAT + float(layout.sigma[row]), max(_FLAT_SHARE * width, _FLAT / 2))
    seen = survey(around.relief, grid, level, flat, RISE, beneath=_SHOULDER)
    outline = layout.footprint[row]
    within = grid.filled([outline])
    owned = widened(closed(grid.count(index) > 0), 1)  # without the table beside it, where its outline is too large
    sound = _between_rows(around, row, grid, level, seen.surface & owned) & ~seen.higher & within
    highest = np.full(grid.shape[0] * grid.shape[1] + 1, -np.inf)
    np.maximum.at(highest, index, over)
    below = height - highest[:-1].reshape(grid.shape)
    deep = (below > flat) & (below < _SHOULDER) & ~sound
    if sound.sum() < _FEW:
        return NoSurface("unseen", f"no flat top of {name} is visible", row)
    reach = min(around.reach, width / 2)
    bulge, sure = _bulge(grid, seen.offset, sound)
    falls_off = bulge * reach**2 / 2 > _ROUND or sure * (reach + around.config.inside_edge) > _SLOPE
    if deep.sum() > _LOWER_SHARE * (sound.sum() + deep.sum()) or falls_off:
        return NoSurface("no surface", f"{name} has no flat top: an object placed there would not stand", row)
    own_high = closed(grid.count(index[over > height + RISE]) > 0)
    rims = over[(over > height + RISE) & (over < height + _HOLLOW)]
    others = in_the_way(around, row, level)
    taken = (seen.higher & ~own_high) | grid.filled(layout.footprint[list(others)]) | unmeasured(around, grid, level)
    rim_height = float(rims.max()) - height if len(rims) else FLUSH
    convex = grid.filled([hull(grid.places(np.flatnonzero(sound)))])
    sound |= _behind_rim(around, grid, level, seen, rim_height + FLUSH) & within & convex
    sound |= grid.filled(layout.footprint[list(stood_on(around, level))]) & within
    return SupportingSurface(
        row, grid, level, sound, taken, own_high, outline, ON_TOP, False, others, lower=seen.lower,
        rim_height=max(RISE, rim_height) if not (over > height + _HOLLOW).any() else np.inf,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ points and levels


def own_points(around: SupportContext, row: int, grid: Grid) -> Array:
    """(N, 3) visible surface of an object in ground coordinates, metres.

    The flat middle of a plate is as low as noise and easily lost to the table, so points enclosed by the object's own
    points are added, except those covered by other objects; and so are points inside its outline at its height, because
    a top just below the camera loses most of its rows with its rim. If it was cut out of a box, its points may include
    objects on it.
    """
    layout = around.layout
    own = layout.points_of(row)
    if layout.scene.objects[row].detection.mask is None:
        own = own[~_of_others(around, row, own[:, :2])]
    cells = closed(grid.count(grid.index(own[:, 0], own[:, 1])) > 0)
    padded = np.pad(cells.view(np.uint8), 1)
    cv2.floodFill(padded, None, (0, 0), 1, flags=4)
    enclosed = np.asarray(padded[1:-1, 1:-1] == 0)
    relief = around.relief
    index = grid.index(relief.g1, relief.g2)
    counted = np.append(enclosed.reshape(-1), False)[index] & (relief.height < layout.top[row])
    flush = np.flatnonzero(np.abs(relief.height - np.float32(layout.top[row])) < FLUSH)
    inside = lies_in(layout.footprint[row], np.stack((relief.g1[flush], relief.g2[flush]), axis=1).astype(np.float64))
    counted[flush[inside]] = True
    chosen = np.flatnonzero(counted)
    places = np.stack((relief.g1[chosen], relief.g2[chosen], relief.height[chosen]), axis=1).astype(np.float64)
    return np.concatenate((own, places[~_of_others(around, row, places[:, :2])]))


def _of_others(around: SupportContext, row: int, places: Array) -> npt.NDArray[np.bool_]:
    """(N,) bool: True for places in the outline of an object that stands on this one."""
    layout = around.layout
    held = lies_in(layout.footprint[row], layout.centre[:, :2]) & (layout.centre[:, 2] > layout.centre[row, 2])
    held &= layout.mean_side < layout.mean_side[row]
    held[[*around.lifted]] = False
    covered = np.zeros(len(places), np.bool_)
    for other in np.flatnonzero(held).tolist():
        covered |= lies_in(layout.footprint[other], places)
    return covered


def _levels(index: npt.NDArray[np.int32], over: Array, each: Array) -> list[float]:
    """Heights, the highest first, at which an object's points fill many cells: fronts are narrow from above.

    Each of the (N,) points stands for `each` cells.
    """
    used, cell = np.unique(index, return_inverse=True)
    highest = np.full(len(used), -np.inf)
    np.maximum.at(highest, cell, over)
    layer = ((highest[cell] - over) / _SHOULDER).astype(np.int64)
    _, group, points = np.unique(cell * (int(layer.max()) + 1) + layer, return_inverse=True, return_counts=True)
    height = np.bincount(group, over) / points
    stands_for = np.bincount(group, each) / points
    low = float(height.min())
    number = ((height - low) / _BIN).astype(np.int64)
    area = np.convolve(np.bincount(number, stands_for), (1.0, 1.0, 1.0), "same")
    around = np.pad(area, _APART)
    peak = area >= np.max([around[n : n + len(area)] for n in range(2 * _APART + 1)], axis=0)
    peak &= area >= max(_LEVEL_SHARE * float(area.max()), 1.0)
    found = []
    for best in np.flatnonzero(peak)[::-1][:_MOST_LEVELS].tolist():
        near = np.abs(height - (low + (best + 0.5) * _BIN)) < 1.5 * _BIN
        if near.any():
            found.append(float(np.median(height[near])))
    return found


def grid_over(around: SupportContext, row: int, outline: Array) -> Grid:
    """Grid over an outline (K, 2) and its surroundings, with cells fine enough for the object."""
    width = min(float(around.layout.size[row, :2].min()), float(np.ptp(outline, axis=0).min()))
    step = min(around.config.step, max(_LEAST_STEP, width / _CELLS_ACROSS))
    strip = around.strip + 2 * step
    return Grid.around(outline.min(axis=0) - strip, outline.max(axis=0) + strip, step)


# ------------------------------------------------------------------------------------------------ completion, shape


def _behind_rim(around: SupportContext, grid: Grid, level: Level, seen: Survey, rim: float) -> Cells:
    """(R, C) bool: unseen cells over which the view passes no higher than a rim, and not below them.

    The part of a level hidden by a rim is lower than the rim. If the view passes down through the level, there is none.
    """
    shown = seen.surface | seen.higher | seen.lower
    _, over = seen_through(around.relief, grid, level.height + rim)
    _, crossing = passing(around.relief, grid, level.height)
    # Sampled points that a cell of the level would have if it were visible.
    frame = around.layout.scene.frame
    focal = float(np.sqrt(frame.camera.K[0, 0] * frame.camera.K[1, 1])) / thinning(frame.depth.size)
    under = max(around.relief.eye - level.height, 0.01)
    away = np.hypot(*grid.places(np.arange(grid.shape[0] * grid.shape[1])).T).reshape(grid.shape)
    down = grid.count(crossing) > _PIERCED * np.asarray((focal * grid.step) ** 2 * under / (away**2 + under**2) ** 1.5)
    return over & ~shown & ~closed(down)


def _rows_apart(around: SupportContext, row: int, heights: Array) -> Array:
    """(N,) distance along the ground between rows of pixels on an object's level surfaces at heights (N,), metres.

    A top just below the height of the camera is seen in few rows.
    """
    layout = around.layout
    focal = float(layout.scene.frame.camera.K[1, 1])
    under = np.maximum(layout.floor - heights, 0.01)
    away = float(np.hypot(*layout.centre[row, :2]))
    return np.asarray((away**2 + under**2) / (focal * under))


def _between_rows(around: SupportContext, row: int, grid: Grid, level: Level, cells: Cells) -> Cells:
    """(R, C) bool: the cells, and those between them that are empty only because rows of pixels are far apart."""
    apart = float(_rows_apart(around, row, np.array([level.height]))[0])
    gap = math.ceil(min(apart / grid.step, _THIN))
    if gap <= 1:
        return cells
    kernel = np.ones((gap + 2, 1), np.uint8)
    padded = np.pad(cells.view(np.uint8), gap + 2)
    return np.asarray(
        cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)[gap + 2 : -gap - 2, gap + 2 : -gap - 2].view(np.bool_)
    )


def _hollow(grid: Grid, index: npt.NDArray[np.int32], own: Array, height: float, above: float, width: float) -> bool:
    """True if a level is the inside of a bowl: walls all around it, and no board over it as in a shelf."""
    high = own[:, 2] > height + above / 2
    level = grid.count(index[np.abs(own[:, 2] - height) < RISE]) > 0
    if not level.any():
        return False
    middle = grid.places(np.flatnonzero(level)).mean(axis=0)
    away = own[high, :2] - middle
    if (np.hypot(*away.T) < _ROOF * width).any():
        return False
    turn = (np.arctan2(away[:, 1], away[:, 0]) / (2 * np.pi) + 0.5) * _SECTORS
    return len(np.unique(turn.astype(np.intp) % _SECTORS)) > _WALLED * _SECTORS


def _bulge(grid: Grid, offset: Array, sound: Cells) -> tuple[float, float]:
    """Largest downward curvature, 1/m, of the second-degree surface through heights `offset` (R, C), metres."""
    inner = cv2.erode(sound.view(np.uint8), np.ones((3, 3), np.uint8)).view(np.bool_)  # edges show sides
    index = np.flatnonzero(inner & (offset != 0))
    if len(index) < _FEW_FOR_CURVES:
        return 0.0, 0.0
    places = grid.places(index)
    x, y = (places - places.mean(axis=0)).T
    terms = np.stack((np.ones_like(x), x, y, x * x, x * y, y * y), axis=1)
    heights = offset.reshape(-1)[index]
    fit = np.linalg.lstsq(terms, heights, rcond=None)[0]
    steepest = float(np.linalg.eigvalsh(np.array([[2 * fit[3], fit[4]], [fit[4], 2 * fit[5]]]))[0])
    spread = float(((heights - terms @ fit) ** 2).sum()) / (len(index) - terms.shape[1])
    doubt = np.sqrt(spread * np.linalg.pinv(terms.T @ terms).diagonal())
    return -steepest, max(0.0, -steepest - 2 * 2 * float(max(doubt[3], doubt[5])))


_SLICES = 24  # slices across an object in which its lower edge is measured
_OPEN = 0.5  # fraction of them that must be open below it: legs and sides are narrow
_GROUND = 30  # points of ground that must be visible below it


def under_of(
    around: SupportContext, row: int, name: str, height: float, ground: Level, roof: Array
) -> SupportingSurface | NoSurface:
    """Find the ground, within the outline `roof`, below an object that stands on legs, or hangs.

    Only its front edge is visible. The underside is assumed to be level, at the lower side of that edge, and an object
    put there must be lower by the clearance. Ground that is not visible does not count as free.
    """
    layout, relief, outline = around.layout, around.relief, roof
    grid = Grid.around(outline.min(axis=0) - around.strip, outline.max(axis=0) + around.strip, around.config.step)
    foot = float(ground.at(layout.centre[row : row + 1, :2])[0])
    # The underside: the lower edge visible over most of the width.
    own, middle = layout.points_of(row), layout.centre[row, :2]  # without the ground enclosed by legs and sides
    across = own[:, :2] @ (np.array([-middle[1], middle[0]]) / max(float(np.hypot(*middle)), 1e-6))
    low, high = float(across.min()), float(across.max())
    number = np.minimum(((across - low) / max(high - low, 1e-6) * _SLICES).astype(np.intp), _SLICES - 1)
    edges = np.array([np.percentile(own[number == n, 2], 2) for n in range(_SLICES) if (number == n).sum() > 4])
    edges = edges[edges > foot + RISE]
    if len(edges) < _OPEN * _SLICES:
        return NoSurface("no surface", f"{name} has no visible open space under it", row)
    underside = float(np.median(edges))
    places = np.stack((relief.g1, relief.g2), axis=1).astype(np.float64)
    below = np.flatnonzero((relief.height < underside - FLUSH) & lies_in(outline, places))
    over = relief.height[below] - ground.at(places[below])
    if np.count_nonzero(np.abs(over) < RISE) < _GROUND:
        return NoSurface("unseen", f"no ground is visible under {name}", row)
    clear = underside - foot
    if clear < height + around.config.clearance:
        words = f"there is no room under {name}: {max(clear, 0.0):.2f} m are clear, the object is {height:.2f} m high"
        return NoSurface("too tall", words, row, height + around.config.clearance, max(clear, 0.0))
    seen = survey(relief, grid, ground, RISE, RISE, clear - FLUSH)
    others = in_the_way(dataclasses.replace(around, ceiling=clear), row, ground)
    taken = seen.higher | grid.filled(layout.footprint[list(others)])
    within = grid.filled([outline])
    return SupportingSurface(
        row, grid, ground, seen.surface & within, taken, seen.lower & within, outline, ON_TOP, False, others,
        rim_height=math.inf, underside=underside,
        doubt=f"only the front edge of {name} is visible: farther in, it may be lower",
    )  # fmt: skip
