# SPDX-License-Identifier: Apache-2.0
"""Simple solids and their intersections with rays. Each shape stands on z = 0 of its own frame; metres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.types import Vector3

Array = npt.NDArray[np.float64]
Hits = tuple[Array, Array]  # distances (N,) in units of the ray's direction, infinite for no hit; unit normals (N, 3)


@dataclass(frozen=True)
class Box:
    """A block of size (x, y, z), metres, standing on its base."""

    size: Vector3

    def hit(self, origin: Array, directions: Array) -> Hits:
        """First intersections with rays (N, 3) of any length, in the shape's frame (origin in its base, z up).

        Source: slab method, Kay and Kajiya 1986.
        """
        low, high = np.array([-self.size[0] / 2, -self.size[1] / 2, 0.0]), np.array(self.size) * (0.5, 0.5, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            a, b = (low - origin) / directions, (high - origin) / directions
        enter, leave = np.fmin(a, b), np.fmax(a, b).min(axis=1)  # (N, 3), (N,)
        axis = enter.argmax(axis=1)
        distance = enter.max(axis=1)
        normals = -np.sign(directions) * (np.arange(3) == axis[:, None])
        return np.where((distance > 0) & (distance <= leave), distance, np.inf), normals


@dataclass(frozen=True)
class Cylinder:
    """A solid cylinder standing on its base, metres."""

    radius: float
    height: float

    @property
    def size(self) -> Vector3:
        """Extents along x, y, z, metres."""
        return 2 * self.radius, 2 * self.radius, self.height

    def hit(self, origin: Array, directions: Array) -> Hits:
        """See `Box.hit`."""
        ends = [_disk(origin, directions, height, 0.0, self.radius) for height in (self.height, 0.0)]
        return _nearest([*_side(origin, directions, self.radius, 0.0, self.height), *ends])


@dataclass(frozen=True)
class Cup(Cylinder):
    """A cylinder open at the top, metres; `wall` is the thickness of wall and floor."""

    wall: float = 0.004

    def hit(self, origin: Array, directions: Array) -> Hits:
        """See `Box.hit`."""
        inner = self.radius - self.wall
        return _nearest(
            [
                *_side(origin, directions, self.radius, 0.0, self.height),
                *_side(origin, directions, inner, self.wall, self.height),
                _disk(origin, directions, self.height, inner, self.radius),
                _disk(origin, directions, self.wall, 0.0, inner),
                _disk(origin, directions, 0.0, 0.0, self.radius),
            ]
        )


@dataclass(frozen=True)
class Sphere:
    """A ball resting on one point, metres."""

    radius: float

    @property
    def size(self) -> Vector3:
        """Extents along x, y, z, metres."""
        return 2 * self.radius, 2 * self.radius, 2 * self.radius

    def hit(self, origin: Array, directions: Array) -> Hits:
        """See `Box.hit`."""
        from_centre = origin - (0.0, 0.0, self.radius)
        excess = float(from_centre @ from_centre) - self.radius**2
        distance, _ = _quadratic((directions**2).sum(axis=1), directions @ from_centre, excess)
        distance = np.where(distance > 0, distance, np.inf)
        return distance, _points(from_centre, directions, distance) / self.radius


Shape = Box | Cylinder | Cup | Sphere


def _quadratic(a: Array, half_b: Array, c: float) -> tuple[Array, Array]:
    """Both roots of a t² + 2 half_b t + c, the smaller first; infinite if there is none."""
    discriminant = half_b**2 - a * c
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(np.where(discriminant >= 0, discriminant, np.nan))
        roots = (-half_b - root) / a, (-half_b + root) / a
    return np.where(np.isfinite(roots[0]), roots[0], np.inf), np.where(np.isfinite(roots[1]), roots[1], np.inf)


def _points(origin: Array, directions: Array, distance: Array) -> Array:
    """Points at these distances (N,) on rays; the origin for an infinite one."""
    return np.asarray(origin + np.where(np.isinf(distance), 0.0, distance)[:, None] * directions)


def _side(origin: Array, directions: Array, radius: float, low: float, high: float) -> list[Hits]:
    flat, start = directions[:, :2], origin[:2]
    hits = []
    for distance in _quadratic((flat**2).sum(axis=1), flat @ start, float(start @ start) - radius**2):
        points = _points(origin, directions, distance)
        hit = np.isfinite(distance) & (distance > 0) & (low <= points[:, 2]) & (points[:, 2] <= high)
        hits.append((np.where(hit, distance, np.inf), _facing(points * (1.0, 1.0, 0.0), directions)))
    return hits


def _disk(origin: Array, directions: Array, z: float, inner: float, outer: float) -> Hits:
    """Intersections of rays with a horizontal ring."""
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = (z - origin[2]) / directions[:, 2]
    distance = np.where(np.isfinite(distance) & (distance > 0), distance, np.inf)
    radius = np.linalg.norm(_points(origin[:2], directions[:, :2], distance), axis=1)
    normals = np.broadcast_to(np.array([0.0, 0.0, 1.0]), directions.shape)
    return np.where((inner <= radius) & (radius <= outer), distance, np.inf), _facing(normals, directions)


def _facing(normals: Array, directions: Array) -> Array:
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    along = (normals * directions).sum(axis=1, keepdims=True)
    return np.where(along > 0, -normals, normals) / np.where(length > 0, length, 1.0)


def _nearest(hits: Sequence[Hits]) -> Hits:
    distances, normals = np.stack([h[0] for h in hits]), np.stack([h[1] for h in hits])
    first, ray = distances.argmin(axis=0), np.arange(distances.shape[1])
    return distances[first, ray], normals[first, ray]
