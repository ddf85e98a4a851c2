# SPDX-License-Identifier: Apache-2.0
"""Surfaces that an object may be put on, as a grid of classified cells; and the open support plane.

Tops of objects and spaces below them are in tops.py, insides in containers.py. If there is no such surface, the reason
is given in words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.language.part_words import CLOSING, DOORS, DRAWERS, IN, LIDDED, ON, SHELVED
from spatial_vlm_ros.parameters import PlaceConfig
from spatial_vlm_ros.spatial.free_space import (
    Cells,
    Grid,
    Level,
    Moved,
    Relief,
    Stamp,
    depth_inside,
    hull,
    lies_in,
    support_level,
    survey,
)
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.parts.drawers import top_panel
from spatial_vlm_ros.spatial.parts.levels import levels
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.spatial.relations.contact import APART, MOST_POINTS, broad_levels, covering
from spatial_vlm_ros.types import FrameOfReference
from spatial_vlm_ros.types.place_reasons import NoPlaceCause
from spatial_vlm_ros.types.query import Preposition

SUPPORT = -1
"""Stands for the support plane in place of a row."""

RISE = 0.015  # metres over a surface from which points are obstacles
FLUSH = 0.005  # metres over a surface up to which a detected object counts as a part of it
ON_TOP, WITHIN = 0.85, 0.999  # fraction of an object's footprint that must lie on a surface seen to support it
_ON_OPEN_GROUND = 0.97
_WIDEST = 3.0  # metres; farther parts of a support plane are not searched
_DIRECTIONS = 16  # directions in which the supported part of a foot is tested
_CARRIED = 0.5  # fraction of a foot that must be supported if it overhangs
_STEADY = 0.5  # fraction of its own stability that an object must keep if its foot overhangs or spans a hollow
_IS_GROUND = 0.5  # fraction of an object's points at the height of a surface from which it is that surface


@dataclass(frozen=True)
class NoSurface:
    """Reason why there is no surface for an object, or no place on it."""

    cause: NoPlaceCause
    text: str  # in words that follow "there is no place to put it: "
    row: int | None = None  # the object that decides, or None
    needed: float | None = None  # size that is needed, metres: a free circle, or a height
    available: float | None = None  # size that is available, metres
    blocking: tuple[int, ...] = ()
    unseen: bool = False  # True if there would be a place if the unseen part were free


@dataclass(frozen=True, eq=False)
class SupportingSurface:
    """A surface that an object may be put on."""

    row: int  # row of the object, or SUPPORT
    grid: Grid
    level: Level
    sound: Cells
    taken: Cells
    rim: Cells
    outline: Array | None  # (K, 2) of the top or of the opening, metres; None for the open support plane
    needed: float  # fraction of the placed object's footprint that must lie on sound cells
    within: bool  # True if it is the inside of a container
    others: tuple[int, ...]  # rows of the objects that are in the way
    lower: Cells | None = None  # cells that were seen to be lower; a foot may overhang them
    # height of the rim over the level, metres; parts of an object that are wide only above it pass over it
    rim_height: float = math.inf
    underside: float | None = None  # height of the object's underside, metres, if something is put under it
    # returns the height at which an object comes to rest at places (T, 2), if that is not the level: a round bowl
    seat: Callable[[Moved, Array], Array] | None = None
    middles: Cells | None = None  # cells that the middle may be in; None = any
    # cells of objects around a container that are higher than its rim; only what is wider than the opening meets them
    beside: Cells | None = None
    doubt: str | None = None

    def apart(self, config: PlaceConfig) -> float:
        """Least distance to other objects there, metres: what is in a container may lie closer together."""
        return config.inside_edge if self.needed == WITHIN else config.clearance


@dataclass(frozen=True, eq=False)
class Room:
    """Where an outline fits on a supporting surface, as (R, C) cells of its middle."""

    seen: Cells
    clear: Cells
    off_rim: Cells  # the distance is kept from the surface's own rim or edge
    steady: Cells  # it would stand: its middle well inside, most of it supported
    clearance: npt.NDArray[np.float32]  # distance to the next object, metres
    carried: npt.NDArray[np.float32]  # fraction of the foot that is supported

    @property
    def free(self) -> Cells:
        """(R, C) bool: cells that fulfil all conditions."""
        return self.seen & self.clear & self.off_rim & self.steady


@dataclass(frozen=True, eq=False)
class SupportContext:
    """Common data of all supporting surfaces of a request."""

    layout: Layout
    relief: Relief
    config: PlaceConfig
    lifted: tuple[int, ...]  # rows of the moved object and of objects that move with it
    reach: float  # distance from the moved object's middle to its farthest corner, metres
    # metres over a surface from which nothing is in the way; infinite if objects come from above
    ceiling: float = math.inf

    @property
    def strip(self) -> float:
        """Width of the strip along the edge of a grid in which the neighbourhood is unknown, metres."""
        return self.reach + self.config.clearance


def room_for(supporting: SupportingSurface, obj: Moved, config: PlaceConfig) -> Room:
    """Find where an object fits on a surface: clear of other objects, with its foot on supporting cells."""
    step = supporting.grid.step
    stamp = Stamp.of(obj.outline, step)
    clearance = stamp.distance(supporting.taken)
    clear = clearance >= supporting.apart(config)
    if supporting.beside is not None:
        clear &= ~stamp.touching(supporting.rim) | (stamp.distance(supporting.beside) >= config.clearance)
    if supporting.outline is None:
        off_rim = stamp.distance(supporting.rim) >= config.inside_edge
        length = np.maximum(np.hypot(*obj.outline.T)[:, None], 1e-3)
        larger = np.asarray(obj.outline * (1.0 + config.inside_edge / length))  # its corners moved outwards
        seen = Stamp.of(larger, step).share(supporting.sound) >= supporting.needed
        steady = np.zeros_like(seen)
        strip = len(stamp.pattern) // 2 + math.ceil(config.clearance / step)
        steady[strip:-strip, strip:-strip] = True  # nearer to the grid's end obstacles are unknown
        return Room(seen, clear, off_rim, steady, clearance, np.ones_like(clearance))
    off_rim = Stamp.of(obj.below(supporting.rim_height), step).distance(supporting.rim) >= config.inside_edge
    foot = obj.below(supporting.rim_height) if supporting.within else obj.foot
    under = Stamp.of(foot, step)
    carried = under.share(supporting.sound)
    seen = carried >= supporting.needed
    covered = under.share(supporting.grid.filled([supporting.outline])) >= supporting.needed
    if supporting.lower is not None and not (seen & covered).any():
        held = _held(supporting.sound, foot, step, config.inside_edge) & (carried >= _CARRIED)
        seen |= held & (under.share(supporting.sound | supporting.lower) >= supporting.needed)
        covered |= held
    places = supporting.grid.places(np.arange(clear.size))
    inside = depth_inside(supporting.outline, places).reshape(clear.shape) >= config.inside_edge
    steady = covered & inside if supporting.middles is None else covered & inside & supporting.middles
    if supporting.within and not (seen & off_rim & steady).any():
        corners = (places[:, None] + hull(foot)).reshape(-1, 2)
        spare = depth_inside(supporting.outline, corners).reshape(len(places), -1).min(axis=1)
        fits = np.asarray(spare > max(0.0, float(spare.max(initial=0.0)) / 2)).reshape(clear.shape)
        return Room(fits, clear, fits, fits, clearance, np.maximum(carried, fits))
    return Room(seen, clear, off_rim, steady, clearance, carried)


def _held(sound: Cells, foot: Array, step: float, least: float) -> Cells:
    """(R, C) bool: cells where an object stands though only a part of its foot is supported.

    Its middle must lie inside the convex outline of the supported part, in every direction by `least` metres and by
    half of what the whole foot gives: that is how far it would have to be shifted to tip over.
    """
    angles = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    corners = hull(foot)
    held = np.ones_like(sound)
    for direction in np.stack((np.cos(angles), np.sin(angles)), axis=1):
        reach = float((corners @ direction).max())
        margin = max(min(least, 0.9 * reach), _STEADY * reach)
        whole = Stamp.of(foot, step)
        half = len(whole.pattern) // 2
        row, column = np.mgrid[-half : half + 1, -half : half + 1] * step
        beyond = whole.pattern * (row * direction[0] + column * direction[1] >= margin)
        held &= cv2.dilate(
            sound.view(np.uint8), beyond.astype(np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0
        ).view(np.bool_)
    return held


# ------------------------------------------------------------------------------------------------ support plane


def open_ground(around: SupportContext, rows: Sequence[int], reach: float) -> SupportingSurface | NoSurface:
    """The support plane within `reach` metres of some objects, or all of it, as a surface to put objects on."""
    layout, relief = around.layout, around.relief
    if layout.scene.support is None:
        return NoSurface("unseen", "no supporting surface is visible")
    level = support_level(layout)
    if layout.floor <= level.height:
        return NoSurface("unseen", "the surface is seen from below")
    flat = np.abs(relief.over(level)) < RISE
    places = np.stack((relief.g1[flat], relief.g2[flat]), axis=1)
    if not len(places):
        return NoSurface("unseen", "no supporting surface is visible")
    if len(rows):
        outlines = layout.footprint[list(rows)].reshape(-1, 2)
        low, high = outlines.min(axis=0) - reach, outlines.max(axis=0) + reach
    else:
        middle = np.median(places[:: max(1, len(places) // 2000)], axis=0)
        low = np.maximum(places.min(axis=0), middle - _WIDEST / 2)
        high = np.minimum(places.max(axis=0), middle + _WIDEST / 2)
    grid = Grid.around(low - around.strip, high + around.strip, around.config.step)
    seen = survey(relief, grid, level, RISE, RISE, around.ceiling)
    others = in_the_way(around, SUPPORT, level)
    taken = seen.higher | grid.filled(layout.footprint[list(others)]) | unmeasured(around, grid, level)
    own = stood_on(around, level)
    sound = seen.surface | grid.filled(layout.footprint[list(own)])
    return SupportingSurface(
        SUPPORT, grid, level, sound, taken, seen.lower & ~sound, None, _ON_OPEN_GROUND, False, others
    )


def in_the_way(around: SupportContext, row: int, level: Level) -> tuple[int, ...]:
    """Rows of measured objects that rise over a level, except lifted ones, the level's object and its support."""
    layout = around.layout
    ground = level.at(layout.centre[:, :2])
    with np.errstate(invalid="ignore"):
        higher = layout.measured & (layout.top > ground + FLUSH) & (layout.bottom < ground + around.ceiling)
    higher[[*around.lifted]] = False
    for other in np.flatnonzero(higher).tolist():
        higher[other] = not _is_ground(layout, other, level)
    if row != SUPPORT:
        higher[row] = False
        higher[supports_of(layout, row)] = False
    return tuple(np.flatnonzero(higher).tolist())


def supports_of(layout: Layout, row: int) -> list[int]:
    """Rows of objects that reach under an object's middle and are as low as it: what it stands on."""
    low = np.flatnonzero(layout.bottom <= layout.bottom[row] + RISE).tolist()
    return [other for other in low if lies_in(layout.footprint[other], layout.centre[row : row + 1, :2])[0]]


def _is_ground(layout: Layout, row: int, level: Level) -> bool:
    """True if an object is that surface itself, a detected table: most of it has that height, and objects stand on it.

    If it was cut out of its box, its highest points are those of the objects on it.
    """
    needed = max(1, (np.count_nonzero(layout.measured) - 1) / 2)
    middles = np.nan_to_num(layout.centre[:, :2], nan=1e6)
    if np.count_nonzero(((middles - middles[row]) ** 2).sum(axis=1) <= 1.001 * layout.radius[row] ** 2) <= needed:
        return False  # fewer others than that are near enough
    held = lies_in(layout.footprint[row], middles)
    held[row] = False
    if np.count_nonzero(held) < needed:
        return False
    own = layout.points_of(row, 5000)
    return bool((np.abs(own[:, 2] - level.at(own[:, :2])) < RISE).mean() > _IS_GROUND)


def stood_on(around: SupportContext, level: Level) -> tuple[int, ...]:
    """Lifted objects that stand on that level: the part under them supports objects, though it is not visible."""
    layout = around.layout
    return tuple(
        row
        for row in around.lifted
        if layout.measured[row] and abs(layout.bottom[row] - level.at(layout.centre[row, :2])) < RISE
    )


def unmeasured(around: SupportContext, grid: Grid, level: Level) -> Cells:
    """(R, C) bool: cells seen in the boxes of objects without a measured position: glass may stand there."""
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


def whole_outline(supporting: SupportingSurface) -> Array:
    """(M, 2) convex outline of the visible part of a supporting surface, around which its parts lie, metres."""
    if supporting.outline is not None:
        return supporting.outline
    return hull(supporting.grid.places(np.flatnonzero(supporting.sound)))


# ----------------------------------------------------------------------------------------------------
# Decide which surface of an object the words mean: its topmost one, a part of its top, or its inside.


_SIDES = frozenset(f"at the {side} of" for side in ("left side", "right side", "front", "back"))
_RIM = 0.008  # least height in metres that a part of an object rises over a surface in it
_AJAR = 0.35  # fraction of its width by which an open door sticks out of its furniture
_HANDLE = 0.06  # metres that a handle sticks out


def means_inside(layout: Layout, row: int, relation: str, preposition: Preposition | None) -> bool:
    """True if a part of an object belongs to its inside: "in the right half of the cabinet" is not on its top.

    "At the back of" furniture with doors is in it or behind it; "on the back of" it is on its top.
    """
    if not _is_one_of(layout, row, CLOSING) or preposition == ON:
        return False
    return preposition == IN or relation in _SIDES


def may_have_a_lid(layout: Layout, row: int) -> bool:
    """True if the top of an object may be a lid, by its label."""
    return _is_one_of(layout, row, LIDDED)


def boards_of(layout: Layout, row: int) -> int:
    """Number of an object's boards that objects stand on, if it is a shelf unit by its label; else 1."""
    return len(levels(layout, row)) if is_shelf_unit(layout, row) else 1


def is_shelf_unit(layout: Layout, row: int) -> bool:
    """True if an object has open boards, by its label."""
    return _is_one_of(layout, row, SHELVED - CLOSING)


def roof_of(layout: Layout, row: int) -> Array:
    """(K, 2) outline of the area that counts as under an object, metres; for furniture with drawers, that of its top.

    The space under a protruding drawer is not under the furniture.
    """
    if not _is_one_of(layout, row, CLOSING):
        return layout.footprint[row]
    seen = layout.points_of(row, MOST_POINTS)
    panel = top_panel(seen, float(np.percentile(seen[:, 2], 99))) if len(seen) else None
    return layout.footprint[row] if panel is None else hull(panel)


def is_top(layout: Layout, row: int, level: Level) -> bool:
    """True if no part of an object rises over a level of it."""
    ground = float(level.at(layout.centre[row : row + 1, :2])[0])
    return bool(layout.top[row] < ground + max(_RIM, 2 * float(layout.noise[row])))


def topmost_of(around: SupportContext, found: list[SupportingSurface]) -> list[SupportingSurface]:
    """The levels of an object, topmost first, that form its topmost surface, without lower levels and covered ones.

    The rim of a plate and its middle are one surface.
    """
    row, top = found[0].row, found[0].level.height
    broad = broad_levels(around.layout, row, None)
    top = max(top, *broad) if len(broad) else top
    kept, points = [], around.layout.points_of(row, MOST_POINTS)
    for level in found:
        outline, height = level.outline, level.level.height + APART
        if level.level.height <= top - APART:
            continue
        # Is a part of the object itself over it or, from side to side, in front of its middle?
        if outline is None or covering(points, outline, height, float(np.hypot(*outline.mean(axis=0)))) is None:
            kept.append(level)
    return kept


def shut_in_front_of(layout: Layout, row: int, moved: int) -> int | None:
    """The furniture of which an object is a closed door or drawer, so that behind it is inside; or None."""
    if not _is_one_of(layout, row, DOORS | DRAWERS):
        return None
    rows = np.flatnonzero(layout.measured)
    rows = np.array(
        [other for other in rows.tolist() if _is_one_of(layout, other, CLOSING) and other != moved], np.intp
    )
    if not len(rows):
        return None
    pairs = Pairs(layout, layout.viewpoint(FrameOfReference.VIEWER), rows, np.array([row], np.intp))
    touching = rows[RELATIONS["touching"](pairs)[0][:, 0] > 0]
    if not len(touching):
        return None
    whole = int(touching[np.argmax(layout.mean_side[touching])])
    out = -float(depth_inside(layout.footprint[whole], layout.footprint[row]).min())
    return whole if out < max(_HANDLE, _AJAR * float(layout.size[row, 0])) else None


def _is_one_of(layout: Layout, row: int, nouns: frozenset[str]) -> bool:
    words = layout.scene.objects[row].detection.label.lower().replace("-", " ").replace("_", " ").split()
    return bool(words) and words[-1] in nouns
