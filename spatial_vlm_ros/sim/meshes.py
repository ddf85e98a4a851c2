# SPDX-License-Identifier: Apache-2.0
"""Object models made in code: triangle meshes, painted surfaces, convex collision solids, mass and friction.

Metres; faces are counter-clockwise from outside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types import Vector3

Array = npt.NDArray[np.float64]
Profile = Sequence[tuple[float, float]]  # (radius, height), metres
Faces = npt.NDArray[np.int32]
SECTORS = 12


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh."""

    vertices: Array  # (V, 3) metres
    faces: Faces  # (F, 3) rows of `vertices`, counter-clockwise seen from outside

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

    The (radius, height) profile goes from the axis at the bottom around the outside back to the axis; that of a hollow
    object returns down the inside. Only the two ends have radius 0.
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
    """Make a round bar along a path (N, 3) with radii (N,), metres: a closed surface with flat ends.

    `up` is never parallel to the path; the cross-section is oriented from it, and is `flat` times as wide along it.
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
    """Cut a wall of revolution, (radius, height) from bottom to top, into convex pieces, SECTORS around the axis.

    One (8, 3) set of corners for every sector and step of the profile, metres; the wall is the union of their convex
    hulls, except for the curvature between the sectors' corners.
    """
    pieces = []
    for n in range(len(outer) - 1):
        section = (outer[n], outer[n + 1], inner[n], inner[n + 1])
        for k in range(SECTORS):
            edges = (2 * math.pi * k / SECTORS, 2 * math.pi * (k + 1) / SECTORS)
            pieces.append(np.array([(r * math.cos(a), r * math.sin(a), z) for a in edges for r, z in section]))
    return pieces


Colour = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class PaintedSurface:
    """One painted surface, its mesh in the model's frame."""

    mesh: Mesh
    colour: Colour
    shiny: bool = False
    mottled: bool = False


@dataclass(frozen=True, eq=False)
class CollisionPiece:
    """One convex collision piece, in the model's frame; metres."""

    kind: str  # "hull" (of `corners`), "box", "cylinder", "ball", "ellipsoid" or "capsule"
    size: tuple[float, ...] = ()  # half extents (box, ellipsoid), radius and half length, or radius
    position: Vector3 = (0.0, 0.0, 0.0)  # centre of a primitive
    rotation: Array | None = None  # (3, 3) of a primitive; None = along the model's axes
    corners: Array | None = None  # (N, 3) of a hull


@dataclass(frozen=True)
class Holder:
    """The surface on which an object carries others."""

    relation: str  # "on" or "in"
    height: float  # of its support surface above its own base, metres
    reach: tuple[float, float]  # half extents for outlines of carried objects, metres


@dataclass(frozen=True, eq=False)
class Model:
    """One object, in its own frame: origin in the middle of its base, z up; metres, kilograms."""

    label: str
    attributes: tuple[str, ...]  # further words that are true of it
    parts: tuple[PaintedSurface, ...]
    solids: tuple[CollisionPiece, ...]
    mass: float
    centre_of_mass: Vector3  # in the link's frame
    friction: float = 0.6
    rolling: float = 0.0  # friction, metres; 0 if it cannot roll
    holder: Holder | None = None  # the part that carries other objects
    may_tip: bool = False

    def __post_init__(self) -> None:
        if not self.parts or not self.solids or not self.mass > 0:
            got = f"{len(self.parts)} parts, {len(self.solids)} solids, {self.mass} kg"
            raise InputError(f"model {self.label!r}", got, "some of each")

    @property
    def vertices(self) -> Array:
        """(V, 3) vertices of all visible surfaces, metres, own frame."""
        return np.concatenate([part.mesh.vertices for part in self.parts])

    @property
    def size(self) -> Vector3:
        """Extents along its own axes, metres."""
        x, y, z = np.ptp(self.vertices, axis=0)
        return float(x), float(y), float(z)

    @property
    def reach(self) -> float:
        """Radius of the circle around its origin that contains its outline, metres."""
        return float(np.linalg.norm(self.vertices[:, :2], axis=1).max())


def hulls(pieces: Sequence[Array]) -> tuple[CollisionPiece, ...]:
    """Make convex hulls of sets of corners (N, 3), metres."""
    return tuple(CollisionPiece("hull", corners=corners) for corners in pieces)


def scaled(model: Model, factor: float) -> Model:
    """Scale an object by `factor`, with the same density."""

    def larger(solid: CollisionPiece) -> CollisionPiece:
        x, y, z = solid.position
        corners = None if solid.corners is None else solid.corners * factor
        size = tuple(length * factor for length in solid.size)
        return replace(solid, size=size, position=(x * factor, y * factor, z * factor), corners=corners)

    x, y, z = model.centre_of_mass
    holder = model.holder
    if holder is not None:
        reach = (holder.reach[0] * factor, holder.reach[1] * factor)
        holder = Holder(holder.relation, holder.height * factor, reach)
    return replace(
        model,
        parts=tuple(replace(part, mesh=part.mesh.scaled((factor,) * 3)) for part in model.parts),
        solids=tuple(larger(solid) for solid in model.solids),
        mass=model.mass * factor**3,
        centre_of_mass=(x * factor, y * factor, z * factor),
        rolling=model.rolling * factor,
        holder=holder,
    )


def shaded(colour: Colour, factor: float) -> Colour:
    """Make a darker (below 1) or lighter shade of a colour."""
    r, g, b = (int(min(255, max(0, round(c * factor)))) for c in colour)
    return r, g, b
