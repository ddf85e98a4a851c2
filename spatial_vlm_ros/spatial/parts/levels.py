# SPDX-License-Identifier: Apache-2.0
"""Boards of a shelf unit, steps, and compartments.

A board is a height at which the visible surface covers much of the footprint, unlike walls.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.language.part_words import STEPPED
from spatial_vlm_ros.spatial.free_space import depth_inside, hull, lies_in
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.parts.region import (
    HEIGHT_MAP,
    LEVELS,
    Region,
    points_over,
    points_within,
    rectangle_of,
    seen_rectangle,
    trimmed,
    without_contents,
)

_BIN, _WINDOW = 0.005, 3  # metres of height, and how many of these steps contain a board blurred by depth noise
_CELL = 0.02  # metres: distance of pixel rows on a board that is seen from a few degrees above it
_SPREAD = 0.2  # fraction of the footprint, beyond that of the walls, over which a board is visible
_APART = 0.05  # metres between boards: nothing fits in less
_PANELS = 0.6  # fraction of a side that is closed if the unit has walls and not posts
_CLEAR = 0.4  # fraction of a side up to which points beside a board's edge are not a panel
_EDGE = 0.02  # metres behind the face of a unit within which points are on the edges of its boards
_THICK = 0.03  # metres: largest thickness of a board
_ROOM = 0.3  # walls are searched for in a band this fraction of the space away from either board
_TREAD = 0.08  # fraction of the footprint over which a step is visible: the steps share it
_RISER = 0.03  # metres: least height from one step to the next
_LEAST_STEP = 0.03  # metres: least depth of a step; the edge of a board is narrower
_STRAY = 2.0  # percent of a step's points at either end that may be strays
_FEW = 30  # points that are too few for a step
_SLICE = 0.01  # metres: slices of a step whose widths are compared
_UNDER_LOWEST = 0.06  # metres below the lowest board at which the underside of an object on it may be measured


def levels(layout: Layout, row: int) -> tuple[Region, ...]:
    """Find the boards of an object that something can stand on, the lowest first.

    A lid over walls is not a shelf if there are two others: "the top shelf" of a bookcase is under its top.
    """
    boxed = layout.scene.objects[row].detection.mask is None  # cut out of its box with what stands on it
    own, top = layout.points_of(row), float(layout.top[row])
    own = without_contents(layout, row, own) if boxed else own
    if len(own) < _FEW:
        return ()
    top = min(top, float(np.percentile(own[:, 2], 100 - _STRAY))) if boxed else top
    box = seen_rectangle(own[:, :2])
    places = box.to_own(own[:, :2])
    cells = np.floor((places + box.half) / _CELL).astype(np.int64)
    number = cells[:, 0] * 100_000 + cells[:, 1]
    area = max(1.0, float((2 * box.half / _CELL).prod()))
    stairs = _stairs(row, own, top, _boards(own[:, 2], number, area, _TREAD, _RISER))
    if stairs or layout.scene.objects[row].detection.label.lower().split()[-1] in STEPPED:
        return stairs
    heights = _boards(own[:, 2], number, area, _SPREAD, _APART)
    toward = box.to_own(np.zeros((1, 2)))[0]  # the camera stands over the origin
    for axis in (0, 1):
        near = np.abs(places[:, axis] - np.copysign(box.half[axis], toward[axis])) < _EDGE
        if abs(toward[axis]) > box.half[axis]:
            edges = _edges(own[near, 2], places[near, 1 - axis], box.half[1 - axis])
            for edge in edges:
                if all(abs(edge - other) > _APART for other in heights):
                    heights.append(edge)
    heights.sort()
    if not heights:
        return ()
    roof, lid = math.inf, False
    shape = np.maximum(1.0, 2 * box.half / _CELL)
    if top - heights[-1] <= _APART:
        if len(heights) > 2 and _walled(own[:, 2], cells, shape, heights[-2], heights[-1]):
            roof = heights.pop()
        elif len(heights) > 2:
            # Missing walls mean posts, unless the uppermost board hides where the sides would show.
            away = float(np.hypot(*box.centre))
            reach = float(np.abs(box.axes @ (box.centre / max(away, 1e-9))) @ box.half)
            under = (1 - _ROOM) * heights[-2] + _ROOM * heights[-1] - layout.floor
            part = max(away - reach, 0.0) / (away - reach + 2 * _PANELS * reach)
            lid = layout.floor + under * part >= heights[-1] - _THICK
    elif _walled(own[:, 2], cells, shape, heights[-1], top):  # from below, or as high, only its edge is seen
        roof = top
    elif (_filled(cells[own[:, 2] > top - _THICK], shape) > _PANELS).any():
        heights.append(top)
    # A board begins where it is seen: those of a ladder shelf become narrower. Its rear may be hidden.
    outlines, side = [], np.copysign(1.0, toward)
    for height in heights:
        board = places[np.abs(own[:, 2] - height) <= _WINDOW * _BIN / 2] * side
        ends = np.percentile(board, 100.0 - _STRAY, axis=0) if len(board) >= _FEW else box.half
        ends = np.where((np.abs(toward) > box.half) & (ends < box.half - _EDGE), ends, box.half)
        outlines.append(box.part(*np.sort((-box.half * side, ends * side), axis=0)))
    between = [(one + other) / 2 for one, other in itertools.pairwise(heights)]
    found = tuple(
        Region(row, outline, height, above, (lowest, min(highest, (height + above) / 2)), LEVELS)
        for outline, height, above, lowest, highest in zip(
            outlines, heights, [*heights[1:], roof], [heights[0] - _UNDER_LOWEST, *between], [*between, roof],
            strict=True,
        )
    )  # fmt: skip
    return (*found[:-1], dataclasses.replace(found[-1], lid=lid))


def _stairs(row: int, own: Array, top: float, heights: list[float]) -> tuple[Region, ...]:
    """The steps of stairs, lowest first: nothing is over them. Empty if the levels are not steps, or not all seen."""
    seen = [own[np.abs(own[:, 2] - level) <= _WINDOW * _BIN / 2, :2] for level in heights]
    if len(heights) < 2 or any(len(step) < _FEW for step in seen) or top - heights[-1] > _RISER:
        return ()
    box = seen_rectangle(seen[-1])  # at other heights, the sides of higher steps are visible, too
    steps = [box.to_own(step) for step in seen]
    axis = int(np.argmax(np.ptp([step.mean(axis=0) for step in steps], axis=0)))
    ends = [np.percentile(_broad(step, axis), [_STRAY, 100.0 - _STRAY], axis=0) for step in steps]
    if any(float((high - low).min()) < _LEAST_STEP for low, high in ends):
        return ()  # the edge of a board
    if any(
        after[0] - before[1] < -_CELL / 2
        for before, after in itertools.pairwise(sorted((low[axis], high[axis]) for low, high in ends))
    ):
        return ()  # one is over another
    places = box.to_own(own[:, :2])
    around = box.part(places.min(axis=0), places.max(axis=0))
    between = [(one + other) / 2 for one, other in itertools.pairwise(heights)]
    spans = zip([heights[0] - _UNDER_LOWEST, *between], [*between, math.inf], strict=True)
    return tuple(
        Region(row, box.part(low, high), level, math.inf, span, LEVELS, around=around)
        for level, (low, high), span in zip(heights, ends, spans, strict=True)
    )


def _broad(places: Array, axis: int) -> Array:
    """Places (N, 2) on a step, without the sides of other steps: in the longest row of filled slices along an axis."""
    cells = np.floor((places - places.min(axis=0)) / _SLICE).astype(np.int64)
    filled = np.bincount(np.unique(cells, axis=0)[:, axis])
    run = np.cumsum(np.diff(filled > filled.max() / 2, prepend=False))  # odd in filled slices
    longest = np.bincount(run[run % 2 == 1]).argmax()
    return np.asarray(places[run[cells[:, axis]] == longest])


def _boards(height: Array, number: npt.NDArray[np.int64], area: float, share: float, apart: float) -> list[float]:
    """Heights of separate horizontal surfaces that cover a share of the area, the lowest first, metres."""
    low = float(height.min())
    bins = np.floor((height - low) / _BIN).astype(np.int64)
    count = int(bins.max()) + 1
    spread = np.array([len(np.unique(number[np.abs(bins - k) <= _WINDOW // 2])) / area for k in range(count)])
    over = spread - np.median(spread)
    found: list[float] = []
    for k in np.argsort(-over, kind="stable"):
        if over[k] < share:
            break
        at = float(np.median(height[np.abs(bins - k) <= _WINDOW // 2]))
        if all(abs(at - other) > apart for other in found):
            found.append(at)
    return sorted(found)


def _edges(height: Array, along: Array, half: float) -> list[float]:
    """Upper ends of board edges in the face of a unit: thin bands from side to side.

    A board at eye level shows nothing else.
    """
    if not len(height):
        return []
    bins = np.floor((height - height.min()) / _BIN).astype(np.int64)
    cells = np.unique(bins * 100_000 + np.floor(np.maximum(along + half, 0.0) / _CELL).astype(np.int64)) // 100_000
    share = np.bincount(cells, minlength=int(bins.max()) + 1) / (2 * half / _CELL)
    full, clear = share > _PANELS, np.concatenate(([True, True], share < _CLEAR, [True, True]))
    ends = np.flatnonzero(np.diff(np.concatenate(([False], full, [False])).astype(np.int8))).reshape(-1, 2)
    return [
        float(height.min() + last * _BIN)
        for first, last in ends
        if (last - first) * _BIN <= _THICK and clear[first] and clear[last + 3]  # two bins below, and two above
    ]


def _walled(height: Array, cells: npt.NDArray[np.int64], shape: Array, low: float, high: float) -> bool:
    """True if walls are visible between two boards: they fill a side from end to end; posts stand only at its ends."""
    room = _ROOM * (high - low)
    band = cells[(height > low + room) & (height < high - room)]
    return bool((_filled(band, shape) > _PANELS).any())


def _filled(cells: npt.NDArray[np.int64], shape: Array) -> Array:
    """(2,) fraction of the length and of the width over which cells lie."""
    return np.array([len(np.unique(cells[:, axis])) for axis in (0, 1)]) / shape


# --------------------------------------------------------------------------------------------------
# Compartments: hollows of any shape that walls part from each other and from what is around the whole. An organiser
# opens upwards, and its height map shows its walls; a shelf opens to the front, and its face shows their edges. Where
# an object hides a wall, the visible part of it decides.

_LEAST_DEPTH = 0.015  # metres: a flatter object has no inside
_NOISES = 5.0  # least depth of a box in standard deviations of depth noise: otherwise noise looks like walls
_SHORTEST = 0.12  # metres: least length of a box that is divided; a mug with its handle is shorter
_CELLS, _LEAST_CELL, _MOST_CELL = 30, 0.004, 0.008  # cells across the shorter side, and their side in metres
_HIGH = 0.35  # fraction of the depth from which a point shows a wall; dividers are often lower than the rim
_LOW = 0.3  # fraction of the depth up to which a point shows that a compartment is hollow
_DEEP = 0.12  # metres: a deeper whole needs no higher walls; those of a magazine file fall to its front
_RIDGE = 0.12  # least fraction of a cell's points that are high on a wall, which may be thinner than the cell
_CROSSES = 0.6  # fraction of the border between two hollows over which a wall must be seen
_ENCLOSES = 0.35  # the same of the border to what is around the whole: a file's front is low, an L's notch is open
_KNOWN = 0.7  # fraction of a border that must be visible at all
_SHOWN = 0.3  # the same of a border without a wall to what is around the whole: else it may be hidden
_LEAST_WIDTH = 0.025  # metres: narrower is a groove
_END = 2  # cells from the end of a border in which the walls beside it are
_NECK = 0.7  # fraction of a hollow's width from which what it opens to is part of it
_BENT = 1.4  # area of the outline of a hollow, relative to the hollow, from which it winds around something
_HOLLOW = 0.1  # fraction of a whole that its hollows fill at least
_FILLS = 0.85  # fraction of a rectangle that a rectangular hollow fills
_AROUND, _AROUND_CELL = 3, np.ones((3, 3), np.uint8)  # cells around the whole, and a cell with its neighbours
_FLOOR, _FLOOR_SEEN = 0.01, 0.15  # metres, and fraction of the inside seen within them if a floor is visible
_INSIDE = 0.8  # fraction of the box within which its floor is searched for
_MOST = 12  # compartments that words cannot tell apart
_MOST_HOLLOWS = 200  # before they are joined; more of them are noise, or bristles
_CLOSED = 0.45  # fraction of a compartment over which visible points are not low: then it is closed, or is not one
_BESIDE = 0.02  # metres below the floor at which the underside of an object in it may be measured
_BINS, _HALF_FLOOR = 10, 0.5  # parts of a room's width, and the fraction of them in which a floor is visible
_FLOOR_RANK = 20.0  # percentile of the heights low in a room at which its floor is

_Marks = npt.NDArray[np.bool_]


def compartments(layout: Layout, row: int) -> tuple[Region, ...]:
    """Find the compartments of an object: one if it is hollow and undivided, none if it does not look hollow."""
    own, bottom, rim = layout.points_of(row), float(layout.bottom[row]), float(layout.top[row])
    if len(own) < _FEW or layout.size[row, 0] < _SHORTEST:
        return ()
    box, over = seen_rectangle(own[:, :2]), points_over(layout, row)
    places, height = box.to_own(over[:, :2]), over[:, 2]
    inside = (np.abs(places) < _INSIDE * box.half).all(axis=1)
    if inside.sum() < _FEW:
        return ()
    floor = max(bottom, float(np.percentile(height[inside], 3)))
    if (height[inside] < floor + _FLOOR).mean() < _FLOOR_SEEN:  # low visible points are walls: the floor is hidden
        floor = min(floor, bottom + _FLOOR)
    if rim - floor < max(_LEAST_DEPTH, _NOISES * float(layout.noise[row])):
        return ()
    height = (height - floor) / min(rim - floor, _DEEP)
    opening = _Opening(hull(trimmed(box.to_own(own[:, :2]))))
    high, deep, all_ = (opening.count(places[kept]) for kept in (height > _HIGH, height < _LOW, ...))
    found = opening.parts(high > _RIDGE * all_, deep > 0, all_ > 0)
    return tuple(
        Region(row, box.from_own(outline), floor, rim, (floor - _BESIDE, rim), HEIGHT_MAP, walled=True)
        for outline in found if len(found) > 1 or not layout.cornerless[row]  # a cup has none
    )  # fmt: skip


def shelf_rooms(layout: Layout, row: int) -> tuple[Region, ...]:
    """Find the compartments of an object that opens to the front, with boards and walls between them."""
    own = layout.points_of(row)
    if len(own) < _FEW:
        return ()
    box = seen_rectangle(own[:, :2])
    bottom, top = float(layout.bottom[row]), float(layout.top[row])
    points = points_within(layout, row)
    best: tuple[Region, ...] = ()
    for direction in (*box.axes, *-box.axes):
        face = box.facing(direction)
        eye, places = face.to_own(np.zeros((1, 2)))[0], face.to_own(points[:, :2])
        if eye[0] <= face.half[0]:
            continue
        # Each ray crosses the plane of the face: does it meet an edge there, or go on into the inside?
        behind = face.half[0] - places[:, 0]
        before = eye[0] - places[:, 0] > _EDGE
        part = (eye[0] - face.half[0]) / (eye[0] - places[before, 0])
        across = eye[1] + part * (places[before, 1] - eye[1])
        upright = layout.floor + part * (points[before, 2] - layout.floor)
        crossed, behind = np.column_stack((across, upright)), behind[before]
        opening = _Opening(np.array([(side, end) for side in (-face.half[1], face.half[1]) for end in (bottom, top)]))
        solid, through = (opening.count(crossed[kept]) for kept in (np.abs(behind) <= _EDGE, behind > _EDGE))
        inner = face.to_own(own[:, :2])
        rooms = []
        for opened in opening.parts((solid > through) | opening.outside, through > 0, solid + through > 0):
            low, high = opened.min(axis=0), opened.max(axis=0)
            within = (inner[:, 1] > low[0]) & (inner[:, 1] < high[0]) & (inner[:, 0] < face.half[0] - _EDGE)
            within &= np.abs(own[:, 2] - low[1]) < _THICK
            bins = np.floor(_BINS * (inner[within, 1] - low[0]) / (high[0] - low[0]))
            if len(np.unique(bins)) < _HALF_FLOOR * _BINS:  # the room under the lowest board has none
                continue
            floor = float(np.percentile(own[within, 2], _FLOOR_RANK))  # the back and contents are higher
            outline = face.part(np.array([-face.half[0], low[0]]), np.array([face.half[0], high[0]]))
            span = floor - _BESIDE, (floor + float(high[1])) / 2
            rooms.append(Region(row, outline, floor, float(high[1]), span, LEVELS))
        best = max(best, tuple(rooms), key=len)
    return best


class _Opening:
    """The opening of a whole as a grid over its convex outline (K, 2), metres."""

    def __init__(self, outline: Array) -> None:
        low, high = outline.min(axis=0), outline.max(axis=0)
        self.step = float(np.clip((high - low).min() / _CELLS, _LEAST_CELL, _MOST_CELL))
        self.low = low - _AROUND * self.step
        self.shape = np.maximum(1, np.ceil((high - low) / self.step).astype(int)) + 2 * _AROUND
        self.places = self.low + (np.moveaxis(np.indices(tuple(self.shape)), 0, -1) + 0.5) * self.step
        self.outside = depth_inside(hull(outline), self.places.reshape(-1, 2)).reshape(self.shape) < 0

    def count(self, places: Array) -> npt.NDArray[np.int64]:
        """Number of places (N, 2) in each cell."""
        cells = np.floor((places - self.low) / self.step).astype(int)
        kept = cells[((cells >= 0) & (cells < self.shape)).all(axis=1)]
        numbers = kept[:, 0] * self.shape[1] + kept[:, 1]
        return np.bincount(numbers, minlength=int(self.shape.prod())).reshape(self.shape)

    def parts(self, walls: _Marks, deep: _Marks, seen: _Marks) -> list[Array]:
        """Outlines (K, 2) of the hollows between walls; none if too many, narrow, bent, small, or around another."""
        basins = self.basins(walls, seen)
        found, bent, filled = [], False, 0
        for basin in np.unique(basins[basins > 0]):
            inside = cv2.erode(((basins == basin) & ~walls).astype(np.uint8), _AROUND_CELL)
            inner, free = inside > 0, cv2.dilate(inside, _AROUND_CELL) > 0  # without gaps in a wall
            if inner.any() and (seen & ~deep)[inner].sum() <= _CLOSED * inner.sum():
                found.append(self.outline(self.places[free]))
                filled += free.sum()
                bent |= cv2.contourArea(hull(self.places[free]).astype(np.float32)) > _BENT * free.sum() * self.step**2
        boxes = [rectangle_of(outline) for outline in found]
        narrow = any(2 * box.half[1] < _LEAST_WIDTH for box in boxes)
        pairs = itertools.permutations(zip(found, boxes, strict=True), 2)
        nested = any(lies_in(outer, box.centre[None])[0] for (outer, _), (_, box) in pairs)  # a hub
        solid = filled < _HOLLOW * (~self.outside).sum()
        return [] if len(found) > _MOST or narrow or bent or nested or solid else found

    def outline(self, places: Array) -> Array:
        """(K, 2) outline of a hollow: a rectangle along the grid if it fills one."""
        low, high = np.percentile(places, [2, 98], axis=0) + np.array([[-0.5], [0.5]]) * self.step
        full = np.array([low, (high[0], low[1]), high, (low[0], high[1])])
        return full if len(places) * self.step**2 > _FILLS * (high - low).prod() else hull(places)

    def basins(self, walls: _Marks, seen: _Marks) -> npt.NDArray[np.int64]:
        """Number of the hollow that each cell is in, 0 outside: uphill of a cell in its distance to walls."""
        inside = ~self.outside
        free, solid = (cv2.distanceTransform(m.astype(np.uint8), cv2.DIST_L2, 3) for m in (~walls & inside, walls))
        depth, width = (free - solid).ravel(), int(self.shape[1])
        order = np.argsort(-depth, kind="stable")
        order = order[inside.ravel()[order]]
        number, inward = np.where(inside, -1, 0).ravel().tolist(), depth.tolist()
        whole, peak = [0], [math.inf]  # of each hollow: the one that it is part of, and its largest distance to walls
        borders: list[tuple[int, int, int]] = []
        for cell in order.tolist():
            around = [near for near in (cell - 1, cell + 1, cell - width, cell + width) if number[near] >= 0]
            up = max(around, key=inward.__getitem__, default=cell)
            if up == cell or inward[up] < inward[cell]:
                number[cell] = len(whole)
                whole.append(len(whole))
                peak.append(inward[cell])
            else:
                number[cell] = number[up]
            for other in {whole[number[near]] for near in around} - {whole[number[cell]]}:
                small, large = sorted((whole[number[cell]], other), key=peak.__getitem__)
                if inward[cell] > _NECK * peak[small] and (large or 2 * peak[small] * self.step < _LEAST_WIDTH):
                    whole = [large if each == small else each for each in whole]
                else:
                    borders.append((cell, small, large))
        cells, *pairs = np.array(borders, np.int64).reshape(-1, 3).T
        names, ends = np.unique(whole, return_inverse=True)  # 0 stays what is around the whole
        narrow = 2 * self.step * np.array(peak)[names] < _LEAST_WIDTH
        hollows = ends[number]
        if len(names) > _MOST_HOLLOWS:
            return np.zeros(self.shape, np.int64)
        return _joined(hollows, cells, ends[np.array(pairs)], walls, seen, narrow)[hollows].reshape(self.shape)


def _joined(
    hollows: npt.NDArray[np.int64], cells: npt.NDArray[np.int64], sides: npt.NDArray[np.int64],
    walls: _Marks, seen: _Marks, narrow: _Marks,
) -> npt.NDArray[np.int64]:  # fmt: skip
    """For each number of a hollow that of the one that it is part of, as no wall is seen between them.

    All are part of what is around the whole (0) if it is not seen whether one of them is open to it. `sides` (2, B) are
    the numbers of the hollows that meet at `cells` (B,); `narrow` (N,) tells for each number whether the hollow is a
    groove.
    """
    part_of, size, width = np.arange(len(narrow)), len(narrow), walls.shape[1]
    beside, known = (cv2.dilate(each.astype(np.uint8), _AROUND_CELL).ravel()[cells] for each in (walls, seen))
    least = np.where(np.arange(size**2) < size, _ENCLOSES, _CROSSES)
    # Where a border ends, the walls beside both hollows meet it: only between its ends a wall is across it.
    window = np.arange(-_END, _END + 1)
    near = hollows[np.clip(cells[:, None] + (window[:, None] * width + window).ravel(), 0, len(hollows) - 1)]
    while True:
        low, high = np.sort(part_of[sides], axis=0)
        pair, around = low * size + high, part_of[near]
        between = (low < high) & ((around == low[:, None]) | (around == high[:, None])).all(axis=1)
        wall, sure, long = (np.bincount(pair, between * each, size**2) for each in (beside, known, 1))
        closed = np.where(long > 0, wall / np.maximum(np.maximum(sure, _KNOWN * long), 1), least) / least
        first = int(closed.argmin())
        one, other = divmod(first, size)
        if closed[first] >= 1:
            return part_of
        if one == 0 and sure[first] < _SHOWN * long[first] and not narrow[other]:
            return np.zeros_like(part_of)
        part_of[part_of == other] = one
