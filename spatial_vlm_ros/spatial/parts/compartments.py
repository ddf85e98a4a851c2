# SPDX-License-Identifier: Apache-2.0
"""Compartments of an open box: walls across its height map divide it, repeatedly."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.parts.region import HEIGHT_MAP, Rectangle, Region, box_of, own_points, points_over

_LEAST_DEPTH = 0.015  # metres: a flatter object has no inside
_NOISES = 5.0  # least depth of a box in standard deviations of depth noise: otherwise noise looks like walls
_SHORTEST = 0.12  # metres: least length of a box that is divided; a mug with its handle is shorter
_CELLS, _LEAST_CELL, _MOST_CELL = 30, 0.004, 0.008  # cells across the shorter side, and their side in metres
_HIGH = 0.5  # fraction of the depth from which a point shows a wall
_LOW = 0.4  # fraction of the depth up to which a point shows that a compartment is hollow
_CROSSES = 0.6  # fraction of the way across over which a wall must be seen
_KNOWN = 0.7  # fraction of the way across that must be visible at all
_LEAST_WIDTH, _LEAST_PART = 0.025, 0.15  # metres, and fraction of the box: narrower is a groove, or the outer wall
_WIDEST_WALL = 0.25  # fraction of a compartment's length that a wall may fill
_FLOOR, _FLOOR_SEEN = 0.01, 0.15  # metres, and fraction of the inside seen within them if a floor is visible
_INSIDE = 0.8  # fraction of the box within which its floor is searched for
_ACROSS = 0.05  # metres: least width of a compartment that may be divided again
_FEW, _MOST = 30, 12  # points that show nothing; compartments that words cannot tell apart
_CLOSED = 0.45  # fraction of a compartment over which visible points are not low: then it is closed, or is not one
_BESIDE = 0.02  # metres below the floor at which the underside of an object in it may be measured

_Span = tuple[Array, Array]


def compartments(layout: Layout, row: int) -> tuple[Region, ...]:
    """Find the compartments of an object: one if it is hollow and undivided, none if it does not look hollow.

    Args:
        row: row of the object, which must be measured.
    """
    box, own, over = box_of(layout, row), own_points(layout, row), points_over(layout, row)
    places, height = box.to_own(over[:, :2]), over[:, 2]
    inside = (np.abs(places) < _INSIDE * box.half).all(axis=1)
    if inside.sum() < _FEW or layout.cornerless[row] or 2 * box.half[0] < _SHORTEST:
        return ()
    bottom, rim = float(layout.bottom[row]), float(layout.top[row])
    floor = max(bottom, float(np.percentile(height[inside], 3)))
    if (height[inside] < floor + _FLOOR).mean() < _FLOOR_SEEN:  # low visible points are walls: the floor is hidden
        floor = min(floor, bottom + _FLOOR)
    if rim - floor < max(_LEAST_DEPTH, _NOISES * float(layout.noise[row])):
        return ()
    depth = rim - floor
    seen = _Walls(box, box.to_own(own[:, :2]), (own[:, 2] - floor) / depth, places, (height - floor) / depth)
    found = [span for span in seen.divided(-box.half, box.half, 0) if seen.hollow(span)]
    if len(found) > _MOST or any((high - low).min() < _LEAST_WIDTH for low, high in found):
        return ()  # that is not an organiser, or not a recognisable one
    return tuple(
        Region(row, box.part(*span), floor, rim, (floor - _BESIDE, rim), HEIGHT_MAP, walled=True) for span in found
    )


class _Walls:
    """The height map of a box in its own axes, with cells that show a wall or the inside."""

    def __init__(self, box: Rectangle, own: Array, high: Array, places: Array, height: Array) -> None:
        self.step = float(np.clip(2 * box.half[1] / _CELLS, _LEAST_CELL, _MOST_CELL))
        self.low = -box.half
        shape = np.maximum(1, np.ceil(2 * box.half / self.step).astype(int))
        walls = self._marked(places[height > _HIGH], shape) & ~self._marked(places[height <= _HIGH], shape)
        self.high = self._marked(own[high > _HIGH], shape) | walls
        self.deep = self._marked(places[height < _LOW], shape) & ~self.high
        self.seen = self._marked(places, shape) | self.high

    def _marked(self, places: Array, shape: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        cells = np.floor((places - self.low) / self.step).astype(int)
        marked = np.zeros(shape, np.bool_)
        marked[tuple(cells[((cells >= 0) & (cells < shape)).all(axis=1)].T)] = True
        return marked

    def _cells(self, low: Array, high: Array) -> tuple[slice, slice]:
        first, last = (np.rint((corner - self.low) / self.step).astype(int) for corner in (low, high))
        return slice(first[0], last[0]), slice(first[1], last[1])

    def hollow(self, span: _Span) -> bool:
        """True if no lid closes a span: a lid would be visible, and the floor between high walls is not."""
        margin = np.minimum(0.25 * (span[1] - span[0]), 3 * self.step)
        where = self._cells(span[0] + margin, span[1] - margin)
        return bool((self.seen[where] & ~self.deep[where]).sum() <= _CLOSED * max(1, self.seen[where].size))

    def divided(self, low: Array, high: Array, asked: int) -> Iterator[_Span]:
        """The spans that walls divide a span into; `asked` counts the axes tried without success."""
        axis = 0 if (high - low)[0] >= (high - low)[1] else 1
        for tried in (axis, 1 - axis):
            walls = self._walls(low, high, tried)
            if walls:
                edges = [low[tried], *walls, high[tried]]
                for start, end in itertools.pairwise(edges):
                    lower, upper = low.copy(), high.copy()
                    lower[tried], upper[tried] = start, end
                    yield from self.divided(lower, upper, asked + 1)
                return
        yield low, high

    def _walls(self, low: Array, high: Array, axis: int) -> list[float]:
        """Positions at which walls cross a span from side to side, along one of its axes."""
        where = self._cells(low, high)
        wall, seen = self.high[where], self.seen[where]
        if axis == 1:
            wall, seen = wall.T, seen.T
        edge = max(2, round(max(_LEAST_WIDTH, _LEAST_PART * 2 * -self.low[axis]) / self.step))
        if wall.shape[0] < 2 * edge + 1 or wall.shape[1] * self.step < _ACROSS:
            return []
        beside = wall.shape[1] // 4
        wall, seen = wall[:, beside:-beside], seen[:, beside:-beside]  # without the walls alongside
        near, known = _widened(wall), _widened(seen)
        share = near.sum(axis=1) / np.maximum(known.sum(axis=1), _KNOWN * wall.shape[1])
        lines = share >= _CROSSES
        lines[:edge], lines[-edge:] = False, False
        found = []
        runs = np.flatnonzero(np.diff(np.concatenate(([False], lines, [False])).astype(np.int8)))
        for first, last in runs.reshape(-1, 2).tolist():  # first and one past the last of each run of True
            if last - first <= max(_WIDEST_WALL * wall.shape[0], 4):
                found.append(float(low[axis] + (first + last) / 2 * self.step))
        return found


def _widened(cells: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    wide = cells.copy()
    wide[1:] |= cells[:-1]
    wide[:-1] |= cells[1:]
    return wide
