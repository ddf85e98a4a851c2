# SPDX-License-Identifier: Apache-2.0
"""Triangle meshes made in code: turned, swept, block-shaped. Metres; faces are counter-clockwise from outside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.types import Vector3

Array = npt.NDArray[np.float64]
Profile = Sequence[tuple[float, float]]  # (radius, height), metres
Faces = npt.NDArray[np.int32]
SECTORS = 12


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3) rows of `vertices`, counter-clockwise seen from outside.
    """

    vertices: Array
    faces: Faces

    def moved(self, offset: Vector3, rotation: Array | None = None) -> Mesh:
        """Rotate by a (3, 3) matrix about the origin, then shift by `offset`, metres."""
        turned = self.vertices if rotation is None else self.vertices @ rotation.T
        return Mesh(turned + np.asarray(offset), self.faces)

    def scaled(self, factors: Vector3) -> Mesh:
        """Stretch along x, y, z by positive factors."""
        return Mesh(self.vertices * np.asarray(factors), self.faces)


def join(*meshes: Mesh) -> Mesh:
    """Join several meshes into one."""
    starts = np.cumsum([0, *(len(m.vertices) for m in meshes[:-1])])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.faces + start for m, start in zip(meshes, starts, strict=True)]).astype(np.int32),
    )


def turn(axis: str, angle: float) -> Array:
    """(3, 3) rotation by `angle` radians about "x", "y" or "z"."""
    c, s = math.cos(angle), math.sin(angle)
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    R = np.eye(3)
    R[i, i], R[i, j], R[j, i], R[j, j] = c, -s, s, c
    return R


def revolve(profile: Profile, segments: int = 40) -> Mesh:
    """Make a closed surface of revolution about the z axis.

    Args:
        profile: (radius, height) from the axis at the bottom, around the outside, back to the axis; the profile of a
            hollow object returns down the inside. Only the two ends have radius 0.
    """
    rings = np.array(profile[1:-1], np.float64)
    angles = np.arange(segments) * 2 * math.pi / segments
    around = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    walls = np.concatenate([rings[:, None, :1] * around, np.repeat(rings[:, None, 1:], segments, axis=1)], axis=2)
    return _tube(walls, [[0, 0, profile[0][1]]], [[0, 0, profile[-1][1]]])


def ellipsoid(radii: Vector3, segments: int = 24) -> Mesh:
    """Make an ellipsoid around the origin."""
    angles = np.linspace(-math.pi / 2, math.pi / 2, segments // 2 + 1)
    return revolve([(math.cos(a), math.sin(a)) for a in angles], segments).scaled(radii)


def cone(radius: float, height: float, segments: int = 20) -> Mesh:
    """Make a cone with its base on z = 0 and its tip up."""
    return revolve([(0, 0), (radius, 0), (radius * 0.02, height * 0.98), (0, height)], segments)


def block(size: Vector3) -> Mesh:
    """Make a block around the origin."""
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [(a, b, c) for a, b, c, _ in quads] + [(a, c, d) for a, _, c, d in quads]
    return Mesh(signs * np.asarray(size) / 2, np.array(faces, np.int32))


def sweep(path: Array, radii: Array, up: Vector3 = (0.0, 1.0, 0.0), flat: float = 1.0, sides: int = 14) -> Mesh:
    """Make a round bar along a path: a closed surface with flat ends.

    Args:
        path: (N, 3) metres.
        radii: (N,) metres.
        up: a direction never parallel to the path, from which the cross-section is oriented.
        flat: extent of the cross-section along `up`, relative to the other extent.
    """
    ahead = np.gradient(path, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    across = np.cross(ahead, np.asarray(up))
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    over = np.cross(across, ahead)
    angles = np.arange(sides) * 2 * math.pi / sides
    ring = np.cos(angles)[:, None] * across[:, None] + flat * np.sin(angles)[:, None] * over[:, None]
    walls = path[:, None] + radii[:, None, None] * ring
    return _tube(walls, path[:1], path[-1:], clockwise=True)


def _tube(walls: Array, first: npt.ArrayLike, last: npt.ArrayLike, clockwise: bool = False) -> Mesh:
    """Close rings (R, S, 3) one after the other, counter-clockwise around the way or `clockwise`, with two points."""
    rings, sides, _ = walls.shape
    vertices = np.concatenate([walls.reshape(-1, 3), first, last])
    k = np.arange(sides)
    after, foot, head = (k + 1) % sides, np.full(sides, len(vertices) - 2), np.full(sides, len(vertices) - 1)
    end = (rings - 1) * sides
    fans = [(after, k, foot), (end + k, end + after, head)]
    quads = [(a + k, a + after, a + sides + after, a + sides + k) for a in range(0, end, sides)]
    halves = [half for a, b, c, d in quads for half in ((a, b, c), (a, c, d))]
    if clockwise:
        fans, halves = [(b, a, c) for a, b, c in fans], [(a, c, b) for a, b, c in halves]
    faces = np.transpose([fans[0], *halves, fans[1]], (0, 2, 1)).reshape(-1, 3)
    return Mesh(vertices, faces.astype(np.int32))


def torus(radius: float, thickness: float) -> Mesh:
    """Make a ring with a round cross-section of radius `thickness` about the z axis, metres."""
    angles = np.linspace(0, 2 * math.pi, 37)
    path = np.stack([radius * np.cos(angles), radius * np.sin(angles), np.zeros(len(angles))], axis=1)
    return sweep(path, np.full(len(path), thickness), up=(0, 0, 1))


def wedges(outer: Profile, inner: Profile) -> list[Array]:
    """Cut a wall of revolution into convex pieces, SECTORS around the axis.

    Args:
        outer: (radius, height) along the outside, from bottom to top, metres.

    Returns:
        One (8, 3) set of corners for every sector and step of the profile, metres; the wall is the union of their
        convex hulls, except for the curvature between the sectors' corners.
    """
    pieces = []
    for n in range(len(outer) - 1):
        section = (outer[n], outer[n + 1], inner[n], inner[n + 1])
        for k in range(SECTORS):
            edges = (2 * math.pi * k / SECTORS, 2 * math.pi * (k + 1) / SECTORS)
            pieces.append(np.array([(r * math.cos(a), r * math.sin(a), z) for a in edges for r, z in section]))
    return pieces
