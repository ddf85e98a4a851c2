# SPDX-License-Identifier: Apache-2.0
"""Measures how far the target's visible surface shifted between two images, also for targets with thin parts.

The extents of a `SeenSurface` are quantiles of its points. The foot of a goblet or the shaft of a screwdriver has about
as many points as are cut off, so a few points more or less move that extent by centimetres although nothing moved. Such
a face is loose: its shift is replaced by that of the opposite face, but only if the points show the same surface at the
same position.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.manipulation.grasping.target_points import TargetPoints
from spatial_vlm_ros.manipulation.planning.solids import Array
from spatial_vlm_ros.manipulation.planning.surroundings import SeenSurface

_TRIMMED = 0.05  # share of the points beyond a face, as in SeenSurface
_NEAR = 0.005  # metres from a face within which a steady face has more points than beyond it: the least clearance
_APART = 0.006  # metres: a point has a partner nearer than this; points of one surface are about 4 mm apart
_UNMATCHED = 0.03  # largest share of points without a partner, in either image, for the same surface
_ROWS = 500  # rows of distances at once


@dataclass(frozen=True)
class FaceShifts:
    """How far the faces of the target shifted from one image to the other, metres.

    Args:
        low: (3,) shifts of the faces at the least x, y and z of a frame, along its axes.
        high: (3,) shifts of the faces at the greatest x, y and z.
    """

    low: Array
    high: Array

    @property
    def most(self) -> Array:
        """(3,) largest absolute shift of both faces: hidden parts may have shifted with visible ones."""
        return np.maximum(np.abs(self.low), np.abs(self.high))


@dataclass(frozen=True)
class SeenTarget:
    """The visible part of the target in one image.

    Args:
        surface: its extents; None if not given.
        points: its points; None if too little is visible.
    """

    surface: SeenSurface | None
    points: TargetPoints | None


def surface_shifts(then: SeenTarget, now: SeenTarget, position: Array, rotation: Array) -> FaceShifts | None:
    """Face shifts by the visible surfaces; None if an image has none.

    Args:
        now: target in the second image, in the same frame.
        position: (3,) origin of the frame for the shifts, in the frame of both images, metres.
        rotation: (3, 3) its axes as columns.
    """
    old, new = then.surface, now.surface
    if old is None or new is None:
        return None
    (low, high), (later_low, later_high) = (
        extents(np.array(one.outline), one.low, one.high, position, rotation) for one in (old, new)
    )
    shifts = FaceShifts(later_low - low, later_high - high)
    if then.points is None or now.points is None:
        return shifts
    before, after = ((np.asarray(p.points, np.float64) - position) @ rotation for p in (then.points, now.points))
    faces, later = (np.quantile(points, [_TRIMMED, 1 - _TRIMMED], axis=0) for points in (before, after))
    loose = _loose(before, faces) | _loose(after, later)
    one = loose[0] ^ loose[1]
    if not one.any() or not (max(_unmatched(before, after), _unmatched(after, before)) <= _UNMATCHED):
        return shifts
    steady = np.where(loose[0], later[1] - faces[1], later[0] - faces[0])
    return FaceShifts(np.where(one, steady, shifts.low), np.where(one, steady, shifts.high))


def moved_by(then: SeenTarget, now: SeenTarget) -> float | None:
    """Largest motion of the visible surface, metres; None if an image has none."""
    shifts = surface_shifts(then, now, np.zeros(3), np.eye(3))
    return None if shifts is None else float(np.linalg.norm(shifts.most))


def extents(flat: Array, bottom: float, top: float, position: Array, rotation: Array) -> tuple[Array, Array]:
    """Least and greatest x, y and z, (3,) each, of an upright prism over an outline (K, 2), in a frame."""
    corners = np.concatenate([np.column_stack([flat, np.full(len(flat), z)]) for z in (bottom, top)])
    local = (corners - position) @ rotation
    return local.min(axis=0), local.max(axis=0)


def _loose(points: Array, faces: Array) -> np.ndarray:
    """(2, 3) whether no more of (N, 3) points are near a face than lie beyond it."""
    return np.stack([(np.abs(points - face) <= _NEAR).mean(axis=0) <= _TRIMMED for face in faces])


def _unmatched(points: Array, others: Array) -> float:
    """Share of (N, 3) points that are farther than _APART from all of (M, 3) others."""
    squares, count = np.square(others).sum(axis=1), 0
    for begin in range(0, len(points), _ROWS):
        rows = points[begin : begin + _ROWS]
        apart = np.square(rows).sum(axis=1)[:, None] + squares - 2 * rows @ others.T
        count += int(np.count_nonzero(apart.min(axis=1) > _APART**2))
    return count / len(points)
