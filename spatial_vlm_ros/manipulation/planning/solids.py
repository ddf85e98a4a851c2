# SPDX-License-Identifier: Apache-2.0
"""Boxes, their swept volumes, and distances between them.

Object boxes are upright: each `Solid` is a rectangle on the ground and an interval of heights. A gripper that
approaches straight down or level also consists of such boxes; a slanted one consists of `TurnedBox`es.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.rotation import rigid_matrix
from spatial_vlm_ros.types import Vector3

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
_EPSILON = 1e-9


@dataclass(frozen=True)
class Solid:
    """An upright box in a frame with z up.

    Args:
        centre: position, metres.
        yaw: rotation of its x axis about z, radians.
        size: along its own x, y and z, metres.
    """

    centre: Vector3
    yaw: float
    size: Vector3

    @property
    def bottom(self) -> float:
        """Height of the bottom, metres."""
        return self.centre[2] - self.size[2] / 2

    @property
    def top(self) -> float:
        """Height of the top, metres."""
        return self.centre[2] + self.size[2] / 2

    def grown(self, sides: Vector3) -> Solid:
        """The box grown by `sides`, metres, on both sides along its own x, y and z."""
        x, y, z = (size + 2 * more for size, more in zip(self.size, sides, strict=True))
        return Solid(self.centre, self.yaw, (x, y, z))

    def between(self, low: float, high: float) -> Solid:
        """The box from one height to another, metres."""
        (x, y, _), (sx, sy, _) = self.centre, self.size
        return Solid((x, y, (low + high) / 2), self.yaw, (sx, sy, high - low))

    def placed(self, pose: Array) -> Solid:
        """The box at another pose of its centre, (4, 4), metres; upright."""
        x, y, z = pose[:3, 3].tolist()
        return Solid((x, y, z), math.atan2(pose[1, 0], pose[0, 0]), self.size)

    def swept(self, way: Vector3) -> Solid:
        """The box around its sweep along the vector `way`, metres; exact along one of its own axes."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        local = (c * way[0] + s * way[1], c * way[1] - s * way[0], way[2])
        cx, cy, cz = (at + step / 2 for at, step in zip(self.centre, way, strict=True))
        x, y, z = (size + abs(step) for size, step in zip(self.size, local, strict=True))
        return Solid((cx, cy, cz), self.yaw, (x, y, z))

    def outline(self) -> Array:
        """(4, 2) corners seen from above, metres, counter-clockwise."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        corners = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * self.size[:2] / 2
        return np.asarray(corners @ np.array([[c, s], [-s, c]]) + self.centre[:2], np.float64)


def gaps(ones: Sequence[Solid], others: Sequence[Solid]) -> Array:
    """Distances between upright boxes.

    Returns:
        (N, M) metres. Positive: they are apart by at least this much. Negative: they overlap, and one must move at
        least this far. The sign is exact.

    Source: separating axes (Gottschalk, Lin and Manocha 1996), of which upright boxes have five: up, and both sides of
    both rectangles.
    """
    a, b = _table(ones), _table(others)
    apart_up = np.maximum(a[:, None, 2] - a[:, None, 6] - b[None, :, 2] - b[None, :, 6],
                          b[None, :, 2] - b[None, :, 6] - a[:, None, 2] - a[:, None, 6])  # fmt: skip
    offset = b[None, :, :2] - a[:, None, :2]
    turn = b[None, :, 3] - a[:, None, 3]
    cos, sin = np.abs(np.cos(turn)), np.abs(np.sin(turn))
    aside = np.full(turn.shape, -np.inf)
    for yaw, own, other in (
        (a[:, None, 3], a[:, None, 4:6], b[None, :, 4:6]),
        (b[None, :, 3], b[None, :, 4:6], a[:, None, 4:6]),
    ):
        c, s = np.cos(yaw), np.sin(yaw)
        along = np.abs(offset[..., 0] * c + offset[..., 1] * s)
        across = np.abs(offset[..., 1] * c - offset[..., 0] * s)
        aside = np.maximum(aside, along - own[..., 0] - other[..., 0] * cos - other[..., 1] * sin)
        aside = np.maximum(aside, across - own[..., 1] - other[..., 0] * sin - other[..., 1] * cos)
    both = np.hypot(np.maximum(apart_up, 0.0), np.maximum(aside, 0.0))
    return np.where((apart_up > 0) & (aside > 0), both, np.maximum(apart_up, aside))


@dataclass(frozen=True, eq=False)
class TurnedBox:
    """A box in any orientation, with an optional straight sweep.

    Args:
        pose: (4, 4) pose of its centre and axes at the start of the sweep, metres.
        size: along its own x, y and z, metres.
        way: (x, y, z) vector of the sweep, metres; zero = no sweep.
    """

    pose: Array
    size: Vector3
    way: Vector3 = (0.0, 0.0, 0.0)

    def swept(self, way: Vector3) -> TurnedBox:
        """The box with its sweep replaced by the vector `way`, metres; exact."""
        return TurnedBox(self.pose, self.size, way)

    def grown(self, margin: float) -> TurnedBox:
        """The box grown by `margin` metres on all sides."""
        x, y, z = (size + 2 * margin for size in self.size)
        return TurnedBox(self.pose, (x, y, z), self.way)

    def corners(self) -> Array:
        """(16, 3) corners at both ends of the sweep, metres."""
        signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
        begin = self.pose[:3, 3] + (signs * self.size / 2) @ self.pose[:3, :3].T
        return np.concatenate((begin, begin + self.way))

    def contains(self, points: Array) -> Flags:
        """(N,) whether (N, 3) points are inside the sweep; exact."""
        local = (np.asarray(points, np.float64) - self.pose[:3, 3]) @ self.pose[:3, :3]
        way, half = np.array(self.way) @ self.pose[:3, :3], np.array(self.size) / 2
        begin, end = np.zeros(len(local)), np.ones(len(local))
        inside = np.ones(len(local), np.bool_)
        for axis in range(3):
            if abs(way[axis]) < _EPSILON:
                inside &= np.abs(local[:, axis]) <= half[axis]
                continue
            one, other = ((local[:, axis] + sign * half[axis]) / way[axis] for sign in (-1, 1))
            begin, end = np.maximum(begin, np.minimum(one, other)), np.minimum(end, np.maximum(one, other))
        return np.asarray(inside & (begin <= end))

    @staticmethod
    def of(solid: Solid) -> TurnedBox:
        """An upright box."""
        c, s = math.cos(solid.yaw), math.sin(solid.yaw)
        return TurnedBox(rigid_matrix([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]], solid.centre), solid.size)


Body = Solid | TurnedBox


def distances(ones: Sequence[Body], others: Sequence[Solid]) -> Array:
    """Distances between bodies and upright boxes: like `gaps`, for swept boxes in any orientation.

    Returns:
        (N, M) metres. Positive: they are apart by at least this much, always correct. A pair with edges that pass each
        other closely may be reported as in contact although it is not, because the axes across two slanted edges are
        not tested.
    """
    boxes = [one for one in ones if isinstance(one, TurnedBox)]
    if not boxes:
        return gaps([one for one in ones if isinstance(one, Solid)], others)
    result = np.empty((len(ones), len(others)))
    slanted = np.array([isinstance(one, TurnedBox) for one in ones])
    result[~slanted] = gaps([one for one in ones if isinstance(one, Solid)], others)
    if not others:
        return result

    rotations = np.stack([one.pose[:3, :3] for one in boxes])
    ways = np.array([one.way for one in boxes], np.float64)
    spans = np.concatenate((rotations * np.array([one.size for one in boxes])[:, None, :], ways[:, :, None]), axis=2)
    middles = np.stack([one.pose[:3, 3] for one in boxes]) + ways / 2
    x, y, z = np.moveaxis(rotations, 2, 0)
    up = np.broadcast_to((0.0, 0.0, 1.0), ways.shape)
    own = [x, y, z, *(np.cross(ways, axis) for axis in (x, y, z)), *(np.cross(axis, up) for axis in (x, y, z, ways))]
    table = _table(others)
    c, s, none = np.cos(table[:, 3]), np.sin(table[:, 3]), np.zeros(len(table))
    frames = np.stack(  # (M, 3 axes, 3)
        (np.stack((c, s, none), 1), np.stack((-s, c, none), 1), np.broadcast_to((0.0, 0.0, 1.0), (len(table), 3))), 1
    )
    halves = table[:, 4:7]
    best = np.full((len(boxes), len(table)), -np.inf)
    offset = table[None, :, :3] - middles[:, None, :]
    for axis in own:
        length = np.linalg.norm(axis, axis=1)
        unit = axis / np.maximum(length, _EPSILON)[:, None]
        reach = np.abs(np.einsum("ni,nik->nk", unit, spans)).sum(axis=1) / 2
        theirs = (np.abs(np.einsum("ni,mai->nma", unit, frames)) * halves).sum(axis=2)
        gap = np.abs(np.einsum("ni,nmi->nm", unit, offset)) - reach[:, None] - theirs
        best = np.where((length > _EPSILON)[:, None], np.maximum(best, gap), best)
    for axis in range(3):
        unit = frames[:, axis]
        reach = np.abs(np.einsum("mi,nik->nmk", unit, spans)).sum(axis=2) / 2
        best = np.maximum(best, np.abs(np.einsum("mi,nmi->nm", unit, offset)) - reach - halves[:, axis])
    result[slanted] = best
    return result


def _table(solids: Sequence[Solid]) -> Array:
    """(N, 7): centre, yaw, half sizes."""
    rows = [(*solid.centre, solid.yaw, *(size / 2 for size in solid.size)) for solid in solids]
    return np.array(rows, np.float64).reshape(-1, 7)
