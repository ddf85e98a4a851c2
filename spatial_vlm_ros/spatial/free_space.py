# SPDX-License-Identifier: Apache-2.0
"""Free space on a surface: the depth image projected to a ground grid of cells, and outlines moved over it.

Ground coordinates as in layout.py. A cell is known to be supported only if the depth image shows the surface there.
Points that are higher are obstacles; cells that were not seen are neither.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.geometry.extent import FOOTPRINT_CORNERS
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.spatial.layout import Array, Layout

Cells = npt.NDArray[np.bool_]  # (R, C): rows along g1, columns along g2
Reals = npt.NDArray[np.float32]

_PIXELS = 320_000  # depth pixels used
_MOST_CELLS = 400  # cells along one side of a grid
_SHIFT = 4  # fractional bits of a cell when polygons are drawn
_STRAY = 2  # points in a cell that do not yet count as an obstacle: depth smears over edges
_STRAY_SHARE = 0.2
_FLUSH = 0.005  # metres by which a point must be lower than a level to be seen through it
_FAR = 1.0  # metres of clearance beyond which it is not computed
_IMAGINED = 20_000  # points of an object that is removed in imagination
_MARGIN = 0.02  # metres around a lifted object within which points count as its own


@dataclass(frozen=True, eq=False)
class Level:
    """A nearly level surface: `height` at the origin of the ground, metres, and its `slope` (2,) along g1 and g2."""

    height: float
    slope: Array

    def at(self, places: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Heights (N,) at places (N, 2), metres."""
        return self.height + places @ self.slope.astype(places.dtype)


def support_level(layout: Layout) -> Level:
    """The support plane over the ground; level at height 0 if none was seen."""
    support = layout.scene.support
    if support is None:
        return Level(0.0, np.zeros(2))
    n1, n2, up = support.normal @ layout.axes
    return Level(0.0, np.array([-n1 / up, -n2 / up]))


# ------------------------------------------------------------------------------------------------ outlines


def hull(places: npt.NDArray[np.floating]) -> Array:
    """Convex hull (M, 2) of places (N, 2), corners in order."""
    return np.asarray(cv2.convexHull(places.astype(np.float32))[:, 0], np.float64)


def depth_inside(outline: Array, places: npt.NDArray[np.floating]) -> Array:
    """(N,) depth of places (N, 2) inside a convex outline (K, 2), metres; negative outside."""
    normals, offsets = _sides(hull(outline))
    inside: Array = (places @ normals.T.astype(places.dtype) - offsets.astype(places.dtype)).min(axis=1)
    return inside


def nearest_points(one: Array, other: Array) -> tuple[float, Array, Array]:
    """Shortest distance between convex outlines (K, 2) and (M, 2), metres, and a point of each; 0 if they overlap."""
    overlap = True  # no edge of either has all of the other beyond it
    for outline, rest in ((one, other), (other, one)):
        edge = np.roll(outline, -1, axis=0) - outline
        own, others = (places @ np.stack((edge[:, 1], -edge[:, 0])) for places in (outline, rest))
        beyond = own.max(axis=0) < others.min(axis=0) - 1e-12
        beyond |= own.min(axis=0) > others.max(axis=0) + 1e-12
        overlap = overlap and not beyond.any()
    if overlap:
        middle = (one.mean(axis=0) + other.mean(axis=0)) / 2
        return 0.0, middle, middle
    first = _to_edges(one, other)
    second = _to_edges(other, one)
    if first[0] <= second[0]:
        return first
    return second[0], second[2], second[1]


def ways_to(places: Array, outline: Array) -> Array:
    """(K,) distances from (K, 2) places to an outline's edges, metres."""
    return np.asarray(np.linalg.norm(places[:, None] - _points_of_edges(places, outline), axis=2).min(axis=1))


def _points_of_edges(places: Array, outline: Array) -> Array:
    """(K, M, 2) point of each edge of an outline that is nearest to each of (K, 2) places."""
    edge = np.roll(outline, -1, axis=0) - outline
    length = np.maximum((edge**2).sum(axis=1), 1e-18)
    share = np.clip(((places[:, None] - outline) * edge).sum(axis=2) / length, 0.0, 1.0)
    return np.asarray(outline + share[..., None] * edge)


def _to_edges(places: Array, outline: Array) -> tuple[float, Array, Array]:
    """The nearest pair of (K, 2) places and an outline's edges: distance in metres, place, point."""
    points = _points_of_edges(places, outline)
    distance = np.linalg.norm(places[:, None] - points, axis=2)
    k, m = np.unravel_index(int(np.argmin(distance)), distance.shape)
    return float(distance[k, m]), places[k], points[k, m]


def lies_in(outline: Array, places: npt.NDArray[np.floating], spare: float = 0.0) -> npt.NDArray[np.bool_]:
    """(N,) bool: True for places (N, 2) inside a convex outline (K, 2), or within `spare` metres of its bounding box.

    With `spare` only the box is tested, which is fast for many places.
    """
    low, high = outline.min(axis=0) - spare, outline.max(axis=0) + spare
    inside: npt.NDArray[np.bool_] = ((places > low) & (places < high)).all(axis=1)
    if not spare:
        index = np.flatnonzero(inside)
        inside[index] = depth_inside(outline, places[index]) > 0
    return inside


def gauge(outline: Array, middle: Array, places: npt.NDArray[np.floating]) -> Array:
    """(N,) distance of places from the middle, relative to that of the outline in the same direction: 1 on it."""
    normals, offsets = _sides(hull(outline) - middle)
    reach = np.maximum(-offsets, 1e-6)
    scaled: Array = ((middle - places) @ normals.T / reach).max(axis=1)
    return scaled


def _sides(corners: Array) -> tuple[Array, Array]:
    """Inward unit normals (M, 2) and offsets (M,) of the sides of a convex polygon (M, 2)."""
    edge = np.roll(corners, -1, axis=0) - corners
    edge, corners = edge[np.hypot(*edge.T) > 1e-9], corners[np.hypot(*edge.T) > 1e-9]
    normals = np.stack((-edge[:, 1], edge[:, 0]), axis=1) / np.hypot(*edge.T)[:, None]
    inside = ((corners.mean(axis=0) - corners) * normals).sum(axis=1)
    normals *= np.where(inside >= 0, 1.0, -1.0)[:, None]
    return normals, (corners * normals).sum(axis=1)


# ------------------------------------------------------------------------------------------------ grid


@dataclass(frozen=True, eq=False)
class Grid:
    """Cells on the ground."""

    low: Array  # (2,) least g1 and g2, metres
    step: float  # side of a cell, metres
    shape: tuple[int, int]  # number of cells along g1 and g2

    @classmethod
    def around(cls, low: Array, high: Array, step: float) -> Grid:
        """The grid from one corner to the other; its cells are larger than `step` if there would be too many."""
        step = max(step, float((high - low).max()) / _MOST_CELLS)
        rows, columns = (max(1, math.ceil(float(side) / step)) for side in high - low)
        return cls(np.asarray(low, np.float64), step, (rows, columns))

    def places(self, index: npt.NDArray[np.intp]) -> Array:
        """(N, 2) centres of cells from their flat indices, metres."""
        return np.stack(np.divmod(index, self.shape[1]), axis=1) * self.step + (self.low + self.step / 2)

    def index(self, g1: npt.NDArray[np.floating], g2: npt.NDArray[np.floating]) -> npt.NDArray[np.int32]:
        """Flat indices of the cells of places; R * C for places outside."""
        rows, columns = self.shape
        low = self.low.astype(np.float32)
        with np.errstate(invalid="ignore"):
            row = np.floor((g1 - low[0]) * np.float32(1 / self.step)).astype(np.int32)
            column = np.floor((g2 - low[1]) * np.float32(1 / self.step)).astype(np.int32)
        # As unsigned numbers, too low values are too high as well.
        inside = (row.view(np.uint32) < rows) & (column.view(np.uint32) < columns)
        return np.where(inside, row * np.int32(columns) + column, np.int32(rows * columns))

    def count(self, index: npt.NDArray[np.integer], weights: Reals | None = None) -> Array:
        """(R, C) count of each flat index, or the sum of its weights."""
        size = self.shape[0] * self.shape[1]
        return np.asarray(np.bincount(index, weights, size + 1)[:size].reshape(self.shape), np.float64)

    def filled(self, outlines: Iterable[Array]) -> Cells:
        """(R, C) cells that convex outlines (K, 2) cover or touch."""
        drawn = np.zeros(self.shape, np.uint8)
        for outline in outlines:
            cells = (outline - self.low) / self.step - 0.5
            if (cells.max(axis=0) < -1).any() or (cells.min(axis=0) > self.shape).any() or np.abs(cells).max() > 2e4:
                continue
            _draw(drawn, cells)
        return drawn.view(np.bool_)


def _draw(image: npt.NDArray[np.uint8], cells: Array) -> None:
    """Draw a convex polygon (K, 2), rows and columns, filled, including the cells on its edge."""
    corners = np.rint(cells[:, ::-1] * (1 << _SHIFT)).astype(np.int32)
    cv2.fillConvexPoly(image, cv2.convexHull(corners), 1, cv2.LINE_8, _SHIFT)


@dataclass(frozen=True, eq=False)
class Stamp:
    """An outline as a pattern of cells that is moved over a grid."""

    outline: Array  # (K, 2) about the middle, metres
    pattern: npt.NDArray[np.uint8]  # (2k + 1, 2k + 1) uint8
    step: float  # side of a cell, metres

    @classmethod
    def of(cls, outline: Array, step: float) -> Stamp:
        """The pattern of an outline (K, 2) about its middle."""
        half = math.ceil(float(np.abs(outline).max()) / step) + 1
        pattern = np.zeros((2 * half + 1, 2 * half + 1), np.uint8)
        _draw(pattern, outline / step + half)
        return cls(outline, pattern, step)

    def distance(self, taken: Cells) -> Reals:
        """(R, C) clearance of the outline, with its middle on a cell, from the taken cells, metres; 0 = it touches."""
        met = self.touching(taken).view(np.uint8)
        far = np.float32(_FAR)
        if not met.any():
            return np.full(taken.shape, far)
        return np.minimum(cv2.distanceTransform(1 - met, cv2.DIST_L2, 5) * np.float32(self.step), far)

    def touching(self, taken: Cells) -> Cells:
        """(R, C) bool: True if the outline, with its middle on a cell, touches taken cells."""
        met = cv2.dilate(taken.view(np.uint8), self.pattern, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        return np.asarray(met.view(np.bool_))

    def share(self, cells: Cells) -> Reals:
        """(R, C) fraction of the outline, with its middle on a cell, that lies on the given cells."""
        pattern = self.pattern.astype(np.float32)
        return np.asarray(
            cv2.filter2D(cells.astype(np.float32), -1, pattern / pattern.sum(), borderType=cv2.BORDER_CONSTANT)
        )


# ------------------------------------------------------------------------------------------------ depth on the ground


def thinning(pixels: int) -> int:
    """Step between the rows, and between the pixels of a row, that are used of so many depth pixels."""
    return math.ceil(math.sqrt(pixels / _PIXELS))


@dataclass(frozen=True, eq=False)
class Relief:
    """The measured points of a depth image in ground coordinates, without those of lifted objects.

    Args:
        g1, g2, height: (N,) float32, metres.
        sigma: (N,) standard deviation of depth, metres.
        eye: height of the camera over the origin, metres.
    """

    g1: Reals
    g2: Reals
    height: Reals
    sigma: Reals
    eye: float

    @classmethod
    def of(cls, layout: Layout, config: DepthConfig, *lifted: int) -> Relief:
        """The relief of a scene without the objects in some rows; earlier results for the scene are reused."""
        known = _KNOWN.get(layout)
        if known is None or known.config != config:
            frame = layout.scene.frame
            every = thinning(frame.depth.size)
            depth = frame.depth[::every, ::every]
            xs, ys = normalised_axes(frame.camera)
            kept = np.isfinite(depth)
            z = depth[kept]
            rays = layout.axes.astype(np.float32)
            x, y = xs[::every].astype(np.float32), ys[::every].astype(np.float32)
            g1, g2, height = ((x * a + (y * b + c)[:, None])[kept] * z for a, b, c in rays.T)
            height += np.float32(layout.floor)
            relief = Relief(g1, g2, height, np.asarray(depth_noise(z, config), np.float32), layout.floor)
            known = _KNOWN[layout] = _Whole(config, relief, np.flatnonzero(kept), {})
        if not lifted:
            return known.relief
        left = np.ones(len(known.pixels), np.bool_)
        for row in lifted:
            if row not in known.shows:
                known.shows[row] = known.relief._points_of(layout, row, known.pixels)
            left[known.shows[row]] = False
        return known.relief.chosen(np.flatnonzero(left))

    def _points_of(self, layout: Layout, row: int, pixels: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """(K,) which of the flat indices `pixels` (N,) belong to an object: inside its mask or its estimated volume."""
        outline = layout.footprint[row]
        (a, b), (c, d) = outline.min(axis=0) - _MARGIN, outline.max(axis=0) + _MARGIN
        low, high = layout.bottom[row] + _MARGIN / 2, layout.top[row] + _MARGIN
        near = (
            (a < self.g1) & (self.g1 < c) & (b < self.g2) & (self.g2 < d) & (self.height > low) & (self.height < high)
        )
        index = np.flatnonzero(near)
        own = index[depth_inside(outline, np.stack((self.g1[index], self.g2[index]), axis=1)) > -_MARGIN]
        mask, shape = layout.scene.objects[row].detection.mask, layout.scene.frame.depth.shape
        if mask is None or mask.shape != shape:
            return own
        every = thinning(layout.scene.frame.depth.size)
        shown = cv2.dilate(mask.view(np.uint8), np.ones((7, 7), np.uint8))[::every, ::every]
        return np.union1d(own, np.flatnonzero(shown.reshape(-1)[pixels]))

    def seen_past(self, layout: Layout, row: int, lowest: float = math.inf) -> Relief:
        """Estimate what would be seen without the object in a row: the surface under it continues.

        Its rays continue to the height of its underside, or to `lowest` if that is lower: of an object that fills a
        compartment only the top is visible. Use this for hypothetical questions only, never for a pose.
        """
        points = layout.scene.objects[row].points
        some = points[:: max(1, len(points) // _IMAGINED)].astype(np.float64) @ layout.axes
        bottom = min(float(layout.bottom[row]), lowest)
        down = (bottom - layout.floor) / np.minimum(some[:, 2], -_FLUSH)
        places = (some[:, :2] * np.maximum(down, 1.0)[:, None]).astype(np.float32)
        count = np.ones(len(places), np.float32)
        return Relief(
            np.concatenate((self.g1, places[:, 0])), np.concatenate((self.g2, places[:, 1])),
            np.concatenate((self.height, np.float32(bottom) * count)),
            np.concatenate((self.sigma, np.float32(layout.noise[row]) * count)), self.eye,
        )  # fmt: skip

    def chosen(self, index: npt.NDArray[np.intp] | Cells) -> Relief:
        """Select some of the points."""
        return Relief(self.g1[index], self.g2[index], self.height[index], self.sigma[index], self.eye)

    def over(self, level: Level) -> Reals:
        """(N,) heights over a level, metres."""
        slope = level.slope.astype(np.float32)
        return self.height - (np.float32(level.height) + self.g1 * slope[0] + self.g2 * slope[1])


class _Whole(NamedTuple):
    """The relief of a whole scene, the pixel of each point, and the points of the object in a row."""

    config: DepthConfig
    relief: Relief
    pixels: npt.NDArray[np.intp]
    shows: dict[int, npt.NDArray[np.intp]]


_KNOWN: WeakKeyDictionary[Layout, _Whole] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Survey:
    """What the depth image shows at a level, cell by cell."""

    surface: Cells  # (R, C) True if the level itself is seen there
    higher: Cells  # (R, C) True if something stands there
    lower: Cells  # (R, C) True if the visible points there are lower
    offset: Array  # (R, C) mean height over the level of the points near it, metres


def survey(
    relief: Relief,
    grid: Grid,
    level: Level,
    flat: float,
    rise: float,
    ceiling: float = math.inf,
    beneath: float = math.inf,
) -> Survey:
    """Classify every cell of a grid.

    Args:
        flat: metres by which the mean height of a cell may be off the level.
        rise: metres over the level at which obstacles begin; at least three standard deviations of depth.
        ceiling: metres over the level from which points are no obstacle.
        beneath: metres under the level from which points do not count, for example under a shelf.
    """
    index = grid.index(relief.g1, relief.g2)
    height = relief.over(level)
    inside = (index < grid.shape[0] * grid.shape[1]) & (height < ceiling)
    index, height, sigma = index[inside], height[inside], relief.sigma[inside]
    rise_there = np.maximum(np.float32(rise), 3 * sigma)
    high, low = height > rise_there, height < -rise_there
    near = ~(high | low)
    points, highs = grid.count(index[height > -beneath]), grid.count(index[high])
    nears, sums = grid.count(index[near]), grid.count(index[near], height[near])
    noise = grid.count(index[near], sigma[near]) / np.maximum(nears, 1)
    offset = sums / np.maximum(nears, 1)
    off = np.abs(offset) - noise / np.sqrt(np.maximum(nears, 1))
    higher = (highs > _STRAY) & (highs > _STRAY_SHARE * points)
    surface = (nears > 0) & (2 * nears >= points) & (off <= flat) & ~higher
    surface = closed(surface) & ~higher
    sunk = (nears == 0) | ((offset < -flat) & ~surface)  # the middle of a plate is only slightly lower than its rim
    return Survey(surface, higher, (grid.count(index) > 0) & sunk & (highs == 0), offset)


def seen_through(relief: Relief, grid: Grid, height: float, top: float = math.inf) -> tuple[Relief, Cells]:
    """The points seen through a level, and (R, C) cells that more rays pass than end in at that height, below `top`."""
    deep, crossing = passing(relief, grid, height)
    lid = ~deep & (relief.height < top)
    shut = grid.count(grid.index(relief.g1[lid], relief.g2[lid]))
    there = crossing < grid.shape[0] * grid.shape[1]
    return relief.chosen(deep).chosen(there), closed(grid.count(crossing) > shut)


def passing(relief: Relief, grid: Grid, height: float) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int32]]:
    """(N,) bool: True for points seen through a level at one height, and (M,) flat indices of the cells they pass."""
    deep = relief.height < height - np.maximum(np.float32(_FLUSH), relief.sigma)
    part = np.float32(relief.eye - height) / (np.float32(relief.eye) - relief.height[deep])
    return deep, grid.index(relief.g1[deep] * part, relief.g2[deep] * part)


def closed(cells: Cells) -> Cells:
    """Fill gaps of one cell, because rows of pixels are farther apart at flat viewing angles."""
    return np.asarray(cv2.morphologyEx(cells.view(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)).view(np.bool_))


def widened(cells: Cells, by: int) -> Cells:
    """Cells and all cells up to `by` cells away."""
    square = np.ones((2 * by + 1, 2 * by + 1), np.uint8)
    return np.asarray(cv2.dilate(cells.view(np.uint8), square).view(np.bool_))


# ----------------------------------------------------------------------------------------------------
# The object to put down: its outline, and its width at each height, down to the foot it stands on.
# Handles and rims reach beyond the foot. They need free space, but no support.


_CORNERS = ((-1, -1), (-1, 1), (1, 1), (1, -1))
_SLICES = 8  # heights at which the width is measured
_FEW = 12  # points that a slice needs for a width
_FOOT = 0.15  # fraction of the height that is the foot
_UNSEEN_FOOT = 0.35  # lowest fraction of the height that may be out of sight if the foot is measured
_COVERED = 0.9  # visible fraction below which a low slice may look narrow because something covers it
_NARROWEST = 0.5  # fraction of its outline: a foot is never assumed narrower, because so little would show nothing
_STRAY_POINTS = 1.0  # percent of the points at either end that may be strays


@dataclass(frozen=True, eq=False)
class Moved:
    """The object to put down."""

    outline: Array  # (16, 2) around its middle, metres
    size: Array  # (3,) of its box, metres
    axes: Array  # (3, 3) of its box, camera frame
    name: str
    # ((height, outline (16, 2)), ...) of the whole part below increasing heights, metres; empty if not measured
    widths: tuple[tuple[float, Array], ...] = ()

    @property
    def reach(self) -> float:
        """Metres from its middle to its farthest corner."""
        return float(np.hypot(*self.outline.T).max())

    @property
    def foot(self) -> Array:
        """(16, 2) outline of what it stands on, metres; its whole outline if that is not measured."""
        return self.below(_FOOT * float(self.size[2]))

    def below(self, height: float) -> Array:
        """(16, 2) outline of the part below a height over its underside, metres."""
        return next((outline for top, outline in self.widths if top >= height), self.outline)

    def turned(self, degrees: float) -> Moved:
        """The same object, rotated about up, counter-clockwise seen from above."""
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        x, y, z = self.axes.T
        turn = np.array([[c, -s], [s, c]])  # g1 is ahead and g2 to the right
        return dataclasses.replace(
            self,
            outline=self.outline @ turn,
            axes=np.stack((c * x + s * y, c * y - s * x, z), axis=1),
            widths=tuple((top, outline @ turn) for top, outline in self.widths),
        )

    def upright(self, layout: Layout) -> Moved:
        """The same object with its long side up: a pen in a mug. Its foot is the rectangle of its other two sides."""
        x, y, z = self.axes.T
        side, ahead = y @ layout.axes[:, :2], x @ layout.axes[:, :2]
        corners = np.array([(a * self.size[1] * side + b * self.size[2] * ahead) / 2 for a, b in _CORNERS])
        return dataclasses.replace(
            self,
            outline=np.repeat(corners, FOOTPRINT_CORNERS // len(corners), axis=0),
            size=np.array((self.size[1], self.size[2], self.size[0])),
            axes=np.stack((z, y, -x), axis=1),
            widths=(),
        )


def measured_widths(layout: Layout, row: int) -> tuple[tuple[float, Array], ...]:
    """Measure the width of an object below each height: `Moved.widths`.

    Only its front is visible, so each slice is assumed to have the shape of the whole outline, reduced: as much
    narrower as its sides look, and as far back as its front is. Empty if its foot is hidden, covered or cut off, or if
    the object was cut out of a box.
    """
    obj = layout.scene.objects[row]
    outline = layout.footprint[row] - layout.centre[row, :2]
    height = float(layout.size[row, 2])
    if obj.detection.mask is None:  # cut out of a box by depth, it loses its lower corners to its support
        return ()
    if obj.visible_fraction < _COVERED or obj.truncated or obj.cut > 0.1 * float(layout.size[row, 1]):
        return ()
    points = obj.points.astype(np.float64) @ layout.axes + (0.0, 0.0, layout.floor)
    if len(points) < _SLICES * _FEW:
        return ()
    away = layout.centre[row, :2] / max(float(np.hypot(*layout.centre[row, :2])), 1e-6)
    right = np.array([-away[1], away[0]])
    local = points[:, :2] - layout.centre[row, :2]
    along, across, rise = local @ away, local @ right, points[:, 2] - layout.bottom[row]
    if np.percentile(rise, _STRAY_POINTS) > _UNSEEN_FOOT * height:
        return ()
    whole_low, whole_high = np.percentile(across, (_STRAY_POINTS, 100 - _STRAY_POINTS))
    near, deep = float((outline @ away).min()), float(np.ptp(outline @ away))
    widths = []
    for n in range(1, _SLICES):
        part = rise <= n / _SLICES * height
        if np.count_nonzero(part) < _FEW:
            continue
        low, high = np.percentile(across[part], (_STRAY_POINTS, 100 - _STRAY_POINTS))
        scale = float(np.clip((high - low) / max(whole_high - whole_low, 1e-6), _NARROWEST, 1.0))
        aside = (low + high - whole_low - whole_high) / 2
        back = float(np.percentile(along[part], _STRAY_POINTS)) - scale * near
        spare = (1.0 - scale) * deep / 2
        widths.append((n / _SLICES * height, scale * outline + aside * right + np.clip(back, -spare, spare) * away))
    return tuple(widths)
