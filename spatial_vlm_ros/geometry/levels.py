# SPDX-License-Identifier: Apache-2.0
"""Level surfaces of one object: a box has one, a shelf has one for each board, a tray has its floor.

Contact is judged by the surface beneath an object's foot, not by the support's highest point: a pan stands on the
burner, not on the panel behind it. An object's visible points are counted on a grid seen from above. A level is a
height at which they cover much more ground than a wall does, which covers equally little at every height.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_CELL, _BIN = 0.01, 0.006  # metres: least side of a cell and height of a bin
_CELL_PIXELS, _BIN_SIGMAS = 2.5, 1.5  # the same in pixels on the surface, and in standard deviations of its depth
_MOST_POINTS = 8000  # most points that are used
_LEAST_CELLS = 5  # cells of a level
_LEAST_SHARE = 0.03  # fraction of all cells that a level has
_PEAK = 1.6  # times the cells of the usual height, from which a height is a level and not a wall
_BEYOND = 0.015  # metres around a foot within which the surface beneath it is searched for
_LOCAL = 0.2  # fraction of the visible points around a foot that belong to the level it stands on
_SECTORS = 24
_FLUSH = 0.003  # metres over a level within which cells are the level
_BROKEN = 0.03  # largest gap in metres between heights of one wall
_FAR = 1e3  # metres


@dataclass(frozen=True, eq=False)
class Levels:
    """Level surfaces of an object, lowest first."""

    height: Array  # (K,) metres along up
    # (M, 2) ground coordinates of the centres of all cells that hold points, metres; a cell appears once for each
    # height
    place: Array
    cell_height: Array  # (M,) mean height of the points in the cell, metres
    level: npt.NDArray[np.intp]  # (M,) index of the level that the cell belongs to, -1 for none
    cell: float  # side of a cell, metres

    @classmethod
    def of(cls, points: npt.NDArray[np.float32], axes: Array, lift: float, pixel: float, sigma: float) -> Levels:
        """Find the levels of a visible surface of points (N, 3), camera frame.

        Args:
            axes: (3, 3) columns: two directions on the ground, and up.
            lift: metres added to all heights.
            pixel: metres between neighbouring points.
            sigma: standard deviation of depth, metres.
        """
        cell, bin_ = max(_CELL, _CELL_PIXELS * pixel), max(_BIN, _BIN_SIGMAS * sigma)
        some = points[:: max(1, len(points) // _MOST_POINTS)].astype(np.float64)
        if not len(some):
            return cls(np.empty(0), np.empty((0, 2)), np.empty(0), np.empty(0, np.intp), cell)
        local = some @ axes
        local[:, 2] += lift
        index = np.floor(local / (cell, cell, bin_)).astype(np.int64)
        index -= index.min(axis=0)
        columns, bins = (index.max(axis=0) + 1)[1:].tolist()
        key, inverse, counts = np.unique(
            (index[:, 0] * columns + index[:, 1]) * bins + index[:, 2], return_inverse=True, return_counts=True
        )
        mean = np.stack([np.bincount(inverse, local[:, k]) / counts for k in range(3)], axis=1)
        column, of_bin = key // bins, key % bins

        count = np.bincount(of_bin, minlength=bins)
        near = np.convolve(count, (1, 1, 1), "same")
        usual = float(np.median(near))  # if nothing is visible between boards, no visible point is a wall
        least = max(_LEAST_CELLS, _LEAST_SHARE * len(np.unique(column)))
        level, free = np.full(len(column), -1, np.intp), near.astype(np.float64)
        heights: list[float] = []
        wanted = _PEAK * usual if np.count_nonzero(near) > 5 else 0.0  # for a flat object all heights are one level
        while True:
            peak = int(np.argmax(free))
            if free[peak] < max(least, wanted):
                break
            own = np.abs(of_bin - peak) <= 1
            if (own & (level < 0)).sum() >= least:
                level[own & (level < 0)] = len(heights)
                heights.append(float(np.median(mean[own, 2])))
            free[max(0, peak - 2) : peak + 3] = 0.0
        order = np.argsort(heights, kind="stable")
        rank = np.append(np.argsort(order, kind="stable"), -1)
        return cls(np.array(heights)[order], mean[:, :2], mean[:, 2], rank[level], cell)

    def beneath(self, outline: Array, below: float) -> Array:
        """(K,) fraction of the object seen within and just around a convex outline (C, 2) that belongs to each level.

        Points over `below` do not count: a board overhead says nothing about what is beneath.
        """
        reach = _BEYOND + self.cell / 2
        low, high = outline.min(axis=0) - reach, outline.max(axis=0) + reach
        inside = ((low < self.place) & (self.place < high)).all(axis=1)
        some = np.flatnonzero(inside & (self.cell_height < below))
        near = self.level[some[outside(outline, self.place[some]) < reach]]
        if len(near) < _LEAST_CELLS:
            return np.zeros(len(self.height))
        return np.asarray(np.bincount(near[near >= 0], minlength=len(self.height)) / len(near))

    def heights_beneath(self, outline: Array, below: float) -> Array:
        """(J,) heights of the levels visible at an outline (C, 2) and below a height, metres, lowest first."""
        return np.asarray(self.height[self.beneath(outline, below) >= _LOCAL])

    def hull(self, level: int) -> Array:
        """(C, 2) convex outline of the visible part of a level, metres on the ground."""
        own = self.place[self.level == level].astype(np.float32)
        return np.asarray(cv2.convexHull(own)[:, 0], np.float64)

    def seen_through(self, eye: float) -> npt.NDArray[np.bool_]:
        """(K,) bool: True if the object is visible from the height `eye` through a level's outline: a rim, no board."""
        through = np.zeros(len(self.height), np.bool_)
        for k, height in enumerate(self.height.tolist()):
            lower = self.cell_height < height - self.cell
            if eye > height and lower.any():
                part = (eye - height) / (eye - self.cell_height[lower])
                met = outside(self.hull(k), self.place[lower] * part[:, None]) < -self.cell
                through[k] = np.count_nonzero(met) >= _LEAST_CELLS
        return through

    def rim(self, place: Array, height: float, share: float) -> tuple[float, float]:
        """Height of the unbroken wall that the object has around a place (2,), metres above `height`.

        It is reached in a fraction `share` of the directions; then the one in most of those towards the origin, where
        the viewer is. 0 if no wall is visible, or if it begins higher, such as a board overhead.
        """
        higher = np.flatnonzero(self.cell_height > height + _FLUSH)
        away = self.place[higher] - place
        sector = ((np.arctan2(away[:, 1], away[:, 0]) / (2 * np.pi) + 0.5) * _SECTORS).astype(np.intp) % _SECTORS
        order = np.lexsort((self.cell_height[higher], sector))
        heights, starts = self.cell_height[higher][order], np.searchsorted(sector[order], np.arange(_SECTORS))
        below = np.concatenate(([height], heights[:-1]))
        below[starts[starts < len(heights)]] = height
        # In each direction the wall continues to the first gap, or to the direction's last cell.
        gaps = np.append(np.flatnonzero(heights - below > _BROKEN), len(heights))
        last = np.minimum(gaps[np.searchsorted(gaps, starts)], np.append(starts[1:], len(heights))) - 1
        highest = np.where(last >= starts, np.append(heights, height)[last], height)
        front = int((np.arctan2(-place[1], -place[0]) / (2 * np.pi) + 0.5) * _SECTORS) % _SECTORS
        near = float(np.median(highest[np.arange(front - 2, front + 3) % _SECTORS]) - height)
        highest.sort()
        return float(highest[_SECTORS - int(np.ceil(share * _SECTORS))] - height), near


def outside(outline: Array, places: Array) -> Array:
    """(N,) metres by which places (N, 2) lie outside a convex outline; negative inside."""
    edge = np.roll(outline, -1, axis=0) - outline
    length = np.hypot(edge[:, 0], edge[:, 1])
    keep = length > 1e-9
    if not keep.any():
        return np.full(len(places), _FAR)
    start, edge, length = outline[keep], edge[keep], length[keep]
    turn = np.sign(
        (start[:, 0] * np.roll(start, -1, axis=0)[:, 1] - start[:, 1] * np.roll(start, -1, axis=0)[:, 0]).sum()
    )
    normal = np.stack((edge[:, 1], -edge[:, 0]), axis=1) * (turn if turn else 1.0) / length[:, None]
    return np.asarray((places @ normal.T - (start * normal).sum(axis=1)).max(axis=1))
