# SPDX-License-Identifier: Apache-2.0
"""How far the visible surface of the target shifted from one image to the other, also where thin parts stand out of it.

The extents of a `SeenSurface` are quantiles of its points. The foot of a goblet or the shaft of a screwdriver holds
about as many points as are cut off, so a few points more or less move that extent by centimetres though nothing moved.
Such a face is loose: it does not tell how far the target shifted, and the face opposite to it does. This holds only
where the points themselves say that the target has the same surface in the same place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.manipulation.grasping.target_points import TargetPoints
from spatial_vlm_ros.manipulation.planning.solids import Array
from spatial_vlm_ros.manipulation.planning.surroundings import SeenSurface

_TRIMMED = 0.05  # part of the points beyond a face, as of a SeenSurface
_NEAR = 0.005  # metres from a face, in which a steady one has more points than lie beyond it: the least clearance
_APART = 0.006  # metres: a point has a partner nearer than this; points of one surface are about 4 mm apart
_UNMATCHED = 0.03  # part of the points without a partner, in either image, up to which the surface is the same
_ROWS = 500  # of distances at once


@dataclass(frozen=True)
class FaceShifts:
    """How far the faces of the target shifted from one image to the other, metres.

    Args:
        low: (3,) of those at the least x, y and z of a frame, along its axes.
        high: (3,) of those at the greatest.
    """

    low: Array
    high: Array

    @property
    def most(self) -> Array:
        """(3,) of either face, whichever way: what is hidden of a target may have shifted with what is seen of it."""
        return np.maximum(np.abs(self.low), np.abs(self.high))


@dataclass(frozen=True)
class SeenTarget:
    """What one image shows of the target.

    Args:
        surface: its extents; None where nobody says.
        points: of it; None where too little is seen.
    """

    surface: SeenSurface | None
    points: TargetPoints | None


def surface_shifts(then: SeenTarget, now: SeenTarget, position: Array, rotation: Array) -> FaceShifts | None:
    """By the visible surfaces; None where one of the images has none.

    Args:
        then: of the first image.
        now: of the second image, in the same frame.
        position: (3,) origin of the frame whose axes count, in the frame of both images, metres.
        rotation: (3, 3) its axes, as columns.
    """
    old, new = then.surface, now.surface
    if old is None or new is None:
        return None
    (low, high), (later_low, later_high) = (_of_surface(s, position, rotation) for s in (old, new))
    shifts = FaceShifts(later_low - low, later_high - high)
    if then.points is None or now.points is None:
        return shifts
    before, after = ((np.asarray(p.points, np.float64) - position) @ rotation for p in (then.points, now.points))
    return _steadied(shifts, before, after)


def moved_by(then: SeenTarget, now: SeenTarget) -> float | None:
    """Metres by which the visible surface moved, at most; None where one of the images has none."""
    shifts = surface_shifts(then, now, np.zeros(3), np.eye(3))
    return None if shifts is None else float(np.linalg.norm(shifts.most))


def extents(flat: Array, bottom: float, top: float, position: Array, rotation: Array) -> tuple[Array, Array]:
    """(3,) least and greatest x, y and z in a frame of an upright prism over an outline (K, 2)."""
    corners = np.concatenate([np.column_stack([flat, np.full(len(flat), z)]) for z in (bottom, top)])
    local = (corners - position) @ rotation
    return local.min(axis=0), local.max(axis=0)


def _of_surface(surface: SeenSurface, position: Array, rotation: Array) -> tuple[Array, Array]:
    return extents(np.array(surface.outline), surface.low, surface.high, position, rotation)


def _steadied(shifts: FaceShifts, before: Array, after: Array) -> FaceShifts:
    """Along each axis with one loose face, both faces as far as the other one, by (N, 3) and (M, 3) points."""
    faces, later = (np.quantile(points, [_TRIMMED, 1 - _TRIMMED], axis=0) for points in (before, after))
    loose = _loose(before, faces) | _loose(after, later)
    one = loose[0] ^ loose[1]
    if not one.any() or not _same(before, after):
        return shifts
    steady = np.where(loose[0], later[1] - faces[1], later[0] - faces[0])
    return FaceShifts(np.where(one, steady, shifts.low), np.where(one, steady, shifts.high))


def _loose(points: Array, faces: Array) -> np.ndarray:
    """(2, 3) whether no more of (N, 3) points are near a face than lie beyond it."""
    return np.stack([(np.abs(points - face) <= _NEAR).mean(axis=0) <= _TRIMMED for face in faces])


def _same(before: Array, after: Array) -> bool:
    """Whether nearly all points of each cloud have a partner in the other."""
    return max(_unmatched(before, after), _unmatched(after, before)) <= _UNMATCHED


def _unmatched(points: Array, others: Array) -> float:
    """Part of (N, 3) points that are farther than _APART from all of (M, 3) others."""
    squares, count = np.square(others).sum(axis=1), 0
    for begin in range(0, len(points), _ROWS):
        rows = points[begin : begin + _ROWS]
        apart = np.square(rows).sum(axis=1)[:, None] + squares - 2 * rows @ others.T
        count += int(np.count_nonzero(apart.min(axis=1) > _APART**2))
    return count / len(points)
