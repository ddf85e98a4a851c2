# SPDX-License-Identifier: Apache-2.0
"""Convex hulls, the distance of points from them, and the pixels in which hulls of the robot are seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ShapeError, TransformUnavailableError
from spatial_vlm_ros.geometry.camera import normalised_axes, normalised_grid
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.types import Mask, Points, RgbdFrame, RobotPixels, Transform

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


MOST_PADDING = 1.0  # metres: more is probably millimetres
SIGMAS = 3.0  # standard deviations of depth that the hulls grow by, in addition to their padding


@dataclass(frozen=True, eq=False)
class LinkHull:
    """A part of the robot, and its pose at the stamp of a frame."""

    base_T_link: Transform
    hull: Hull

    @property
    def name(self) -> str:
        """Name of the link."""
        return self.base_T_link.child


def self_mask(
    frame: RgbdFrame,
    links: Sequence[LinkHull],
    padding: float,
    config: DepthConfig | None = None,
    within: Mask | None = None,
) -> Mask:
    """Find the pixels that measured the robot.

    Args:
        padding: growth of each hull on all sides, metres, for pose errors and parts missing in its mesh.
        config: depth noise; hulls grow further by `SIGMAS` standard deviations at the depth of the pixel. Depth beyond
            its `far` is not trusted.
        within: (H, W) bool, pixels to check; None = all.

    Returns:
        (H, W) bool. True if the measured point lies in a grown hull: every face of the hull, of its box along the
        link's axes, and its sphere are moved outwards. This includes all points nearer to the hull than the growth, and
        some more near sharp edges. False without depth, or beyond `far`.
    """
    if frame.base_T_camera is None:
        reason = "the frame came without base_T_camera"
        raise TransformUnavailableError("base_link", frame.frame_id, reason, "set base_frame, and publish TF")
    if not 0 <= padding <= MOST_PADDING:
        repair = "0.02 m is usual"
        raise InputError("padding of the robot", str(padding), f"0 to {MOST_PADDING:g} m", repair)
    camera_T_base = frame.base_T_camera.inverse()
    poses = [camera_T_base @ link.base_T_link for link in links]
    mask = np.zeros(frame.depth.shape, np.bool_)
    config = config or DepthConfig()
    measured = (frame.depth > 0) & (frame.depth <= config.far)
    if within is not None:
        measured &= within
    if not measured.any():
        return mask

    z = np.where(measured, frame.depth, np.float32(np.nan))
    if frame.camera.is_rectified:
        xs, ys = normalised_axes(frame.camera)
        x, y = np.broadcast_to(xs, z.shape), np.broadcast_to(ys[:, None], z.shape)
    else:
        grid = normalised_grid(frame.camera)
        x, y = grid[..., 0], grid[..., 1]
    axes = (np.multiply(x, z, dtype=np.float32), np.multiply(y, z, dtype=np.float32), z)
    columns = np.stack([np.fmin.reduce(x, axis=0), np.fmax.reduce(x, axis=0)])  # least and greatest x/z of each
    rows = np.stack([np.fmin.reduce(y, axis=1), np.fmax.reduce(y, axis=1)])
    growth = _grown(z, padding, config).astype(np.float32, copy=False)
    farthest = float(np.nanmax(z))

    for link, camera_T_link in zip(links, poses, strict=True):
        hull = link.hull
        centre = camera_T_link.apply(hull.centre)
        across, down, ahead = (float(value) for value in centre)
        beyond = ahead + hull.radius + float(_grown(farthest, padding, config))
        most = float(_grown(min(max(beyond, 0.0), farthest), padding, config))  # grows with depth
        # Rows and columns around all pixels whose point may lie in the grown sphere.
        window = (
            _span(rows, _seen(down, ahead, hull.radius + most)),
            _span(columns, _seen(across, ahead, hull.radius + most)),
        )
        marked, grown = mask[window], growth[window]
        away = np.zeros(marked.shape, np.float32)
        for axis, middle in zip(axes, centre, strict=True):
            step = axis[window] - np.float32(middle)
            away += step * step
        around = grown + np.float32(hull.radius)
        near = (away <= around * around) & ~marked
        points = np.stack([axis[window][near] for axis in axes]) - camera_T_link.translation[:, None]  # (3, N)
        marked[near] = hull.within((camera_T_link.rotation.T @ points).T, grown[near])
    return mask


def remove_self(frame: RgbdFrame, mask: Mask, own: Mask | None = None) -> RgbdFrame:
    """A copy of the frame without depth at masked pixels; `RgbdFrame.robot` keeps that depth.

    Args:
        mask: (H, W) bool, from `self_mask`.
        own: (H, W) bool, the part of the mask that is the robot itself and not only near it, from `self_mask` with less
            padding; None = all of it.
    """
    for given in (mask, mask if own is None else own):
        if not isinstance(given, np.ndarray) or given.dtype != np.bool_ or given.shape != frame.depth.shape:
            received = f"{given.shape} {given.dtype}" if isinstance(given, np.ndarray) else type(given).__name__
            raise ShapeError("mask of the robot", expected=f"{frame.depth.shape} bool", received=received)
    nothing = np.float32(np.nan)
    taken, own = np.where(mask, frame.depth, nothing), mask if own is None else mask & own
    if frame.robot is not None:  # another robot before this one
        taken, own = np.where(mask, taken, frame.robot.depth), own | (frame.robot.own & ~mask)
    return replace(frame, depth=np.where(mask, nothing, frame.depth), robot=RobotPixels(taken, own))


def _grown(z: npt.NDArray[np.float32] | float, padding: float, config: DepthConfig) -> npt.NDArray[np.floating]:
    """Growth of hulls at a depth, metres."""
    return padding + SIGMAS * depth_noise(z, config)


def _seen(across: float, ahead: float, radius: float) -> tuple[float, float]:
    """Least and greatest slope of lines through the origin that meet a circle in front of the camera.

    Source: tangents of a circle, from (across - slope * ahead)^2 = radius^2 (1 + slope^2).
    """
    if ahead <= -radius:
        return math.inf, -math.inf
    below = ahead * ahead - radius * radius
    if ahead <= radius or below <= 0:
        return -math.inf, math.inf
    half = radius * math.sqrt(across * across + below)
    return (across * ahead - half) / below, (across * ahead + half) / below


def _span(least_and_greatest: Array, seen: tuple[float, float]) -> slice:
    hit = np.flatnonzero((least_and_greatest[1] >= seen[0]) & (least_and_greatest[0] <= seen[1]))
    return slice(int(hit[0]), int(hit[-1]) + 1) if len(hit) else slice(0, 0)
