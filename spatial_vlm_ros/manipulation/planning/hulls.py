# SPDX-License-Identifier: Apache-2.0
"""Convex hulls of points, and the distance of other points from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types import Mask, Points

Array = npt.NDArray[np.float64]

_FLAT = 1e-4  # share of its size: a thinner set of points has no hull
_ON_FACE = 1e-7  # share of its size: error of single precision in a mesh
_CELL = 0.008  # metres: edge of a cell of the table; less than half a usual padding, so that it decides surfaces
_MOST_CELLS = 48  # along an edge of the table: larger hulls get larger cells
_MARGIN = 0.04  # metres that the table extends beyond the hull
_AT_ONCE = 1024  # points compared with all faces at once: more would not fit the cache


@dataclass(frozen=True, eq=False)
class Hull:
    """The convex hull of points.

    Args:
        vertices: (V, 3) metres; points inside the hull of the others have no effect.

    Attributes:
        planes: (F, 4) outward unit normals and distances from the origin, metres, of its faces and of its axis-aligned
            box. The box limits the growth of sharp corners.
        centre: (3,) middle of that box.
        half: (3,) half its edges.
        radius: radius of the sphere about `centre` that contains all vertices, metres.
    """

    vertices: Points
    planes: Array = field(init=False)
    centre: Array = field(init=False)
    half: Array = field(init=False)
    radius: float = field(init=False)

    def __post_init__(self) -> None:
        try:
            points = np.array(self.vertices, np.float64)
        except (TypeError, ValueError) as error:
            raise _bad(str(error)) from error
        if points.ndim != 2 or points.shape[1] != 3 or len(points) < 4:
            raise _bad(f"an array of shape {points.shape}")
        if not np.isfinite(points).all():
            raise _bad("a vertex that is not finite")
        low, high = points.min(axis=0), points.max(axis=0)
        centre = (low + high) / 2
        normals = np.concatenate([_normals(points - centre), np.eye(3), -np.eye(3)])
        offsets = (normals @ points.T).max(axis=1)
        planes = np.unique(np.round(np.column_stack([normals, offsets]), 9), axis=0)
        given = {
            "vertices": points, "planes": planes, "centre": centre, "half": (high - low) / 2,
            "radius": float(np.linalg.norm(points - centre, axis=1).max()),
        }  # fmt: skip
        for name, value in given.items():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
            object.__setattr__(self, name, value)

    def outside_by(self, points: Points) -> Array:
        """Distance of points outside the hull.

        Args:
            points: (N, 3) metres.

        Returns:
            (N,) metres: the greatest distance from a plane or from the surrounding sphere. It is 0 or less exactly for
                points inside. Outside it is at most the distance from the hull, and less near edges and corners.
        """
        points = np.asarray(points, np.float64)
        away = np.linalg.norm(points - self.centre, axis=1) - self.radius
        for start in range(0, len(points), _AT_ONCE):
            some = np.ascontiguousarray(points[start : start + _AT_ONCE].T)
            # As fast as BLAS on one thread; multi-threaded BLAS takes up to 100 times as long on busy cores.
            faces = np.einsum("fk,kn->fn", self.planes[:, :3], some)
            faces -= self.planes[:, 3:]
            np.maximum(away[start : start + _AT_ONCE], faces.max(axis=0), out=away[start : start + _AT_ONCE])
        return away

    def within(self, points: Points, margins: npt.NDArray[np.floating]) -> Mask:
        """Whether `outside_by` is at most a margin; fast, because most points need no comparison with every face.

        Args:
            points: (N, 3) metres.
            margins: (N,) metres.

        Returns:
            (N,) bool.
        """
        axes = np.asarray(points).T  # (3, N): three long rows are faster than many short ones
        near = np.ones(len(points), np.bool_)
        for axis, middle, half in zip(axes, self.centre.tolist(), self.half.tolist(), strict=True):
            near &= np.abs(axis - middle) <= margins + half
        some = np.flatnonzero(near)
        table, margins = self._table, margins[some]
        axes = np.stack([axis[some] for axis in axes])
        known = np.ones(len(some), np.bool_)
        cell = np.zeros(len(some), np.intp)
        for axis, origin, count in zip(axes, table.origin.tolist(), table.values.shape, strict=True):
            along = np.floor((axis - origin) * (1 / table.edge)).astype(np.intp)
            known &= (along >= 0) & (along < count)
            cell = cell * count + along
        room = margins - table.values.reshape(-1).take(cell, mode="clip")
        decided = known & (np.abs(room) > table.slack)
        inside = near
        inside[some] = room > 0
        rest = np.flatnonzero(~decided)
        inside[some[rest]] = self.outside_by(axes[:, rest].T) <= margins[rest]
        return inside

    @cached_property
    def _table(self) -> _DistanceGrid:
        """Distance of the centre of each cell around the hull."""
        edge = max(_CELL, 2 * float(self.half.max() + _MARGIN) / _MOST_CELLS)
        counts = np.ceil(2 * (self.half + _MARGIN) / edge).astype(int)
        origin = self.centre - counts * edge / 2
        axes = [start + (np.arange(n) + 0.5) * edge for start, n in zip(origin, counts, strict=True)]
        middles = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        values = self.outside_by(middles).reshape(*counts)
        return _DistanceGrid(origin, edge, values, edge * math.sqrt(3) / 2 * (1 + 1e-6))


@dataclass(frozen=True, eq=False)
class _DistanceGrid:
    """Table of `Hull.outside_by` at cell centres.

    A point in the cell differs from the centre's value by at most `slack`, because the distance from a plane or sphere
    changes at most as fast as the point moves.
    """

    origin: Array
    edge: float
    values: Array
    slack: float


def spread_over_sphere(count: int) -> Array:
    """(N, 3) evenly spread unit vectors. Source: the golden spiral."""
    heights, turns = 1 - (2 * np.arange(count) + 1) / count, np.arange(count) * np.pi * (3 - 5**0.5)
    wide = np.sqrt(1 - heights**2)
    return np.column_stack([wide * np.cos(turns), wide * np.sin(turns), heights])


def _bad(got: str) -> InputError:
    repair = "pass the vertices of a closed mesh, in metres"
    return InputError("hull", got, "at least 4 points (V, 3), not all in a plane", repair)


def _normals(points: Array) -> Array:
    """(F, 3) unit normals, outwards, of the faces of the hull of (V, 3) points about the origin.

    Source: incremental construction, the farthest point first (Barber, Dobkin and Huhdanpaa 1996). A point on a face
    within single precision is not added. The caller moves each face out to the farthest point, so rounding may make the
    hull larger, never smaller.
    """
    size = float(np.linalg.norm(points, axis=1).max())
    faces = _first(points, _FLAT * size)
    for _ in range(len(points)):  # each turn adds a vertex
        normals, offsets = _planes(points, faces)
        away = points @ normals.T - offsets
        farthest, _ = divmod(int(away.argmax()), len(faces))
        visible = away[farthest] > _ON_FACE * size
        if not visible.any():
            break
        sides = {(int(a), int(b)) for face in faces[visible] for a, b in zip(face, np.roll(face, -1), strict=True)}
        rim = [(*side, farthest) for side in sides if side[::-1] not in sides]  # of only one triangle
        faces = np.concatenate([faces[~visible], np.array(rim)])
    normals, _ = _planes(points, faces)
    return normals[normals.any(axis=1)]


def _first(points: Array, least: float) -> npt.NDArray[np.int64]:
    """(4, 3) faces, counter-clockwise from outside, of a tetrahedron of distant points."""
    a = int(np.linalg.norm(points, axis=1).argmax())
    b = int(np.linalg.norm(points - points[a], axis=1).argmax())
    along = points[b] - points[a]
    aside = np.linalg.norm(np.cross(points - points[a], along), axis=1)
    c = int(aside.argmax())
    if aside[c] <= least * np.linalg.norm(along):
        raise _bad("points on a line")
    normal = np.cross(along, points[c] - points[a])
    height = (points - points[a]) @ normal / np.linalg.norm(normal)
    d = int(np.abs(height).argmax())
    if abs(height[d]) <= least:
        raise _bad("points in a plane")
    if height[d] > 0:
        b, c = c, b
    return np.array([(a, b, c), (a, d, b), (b, d, c), (c, d, a)])


def _planes(points: Array, faces: npt.NDArray[np.int64]) -> tuple[Array, Array]:
    """(F, 3) unit normals and (F,) offsets of triangles; zero for triangles without area."""
    one, two, three = points[faces[:, 0]], points[faces[:, 1]], points[faces[:, 2]]
    normals = np.cross(two - one, three - one)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)
    return normals, np.einsum("ij,ij->i", normals, one)
