# SPDX-License-Identifier: Apache-2.0
"""Parts of an object model: visible surfaces, convex collision solids, mass and friction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.sim.meshes import Array, Mesh
from spatial_vlm_ros.types import Vector3

Colour = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class PaintedSurface:
    """One painted surface.

    Args:
        mesh: mesh in the model's frame.
        colour: red, green, blue, 0 to 255.
    """

    mesh: Mesh
    colour: Colour
    shiny: bool = False
    mottled: bool = False


@dataclass(frozen=True, eq=False)
class CollisionPiece:
    """One convex collision piece, in the model's frame.

    Args:
        kind: "hull" (of `corners`), "box", "cylinder", "ball", "ellipsoid" or "capsule".
        size: size of a primitive: half extents (box, ellipsoid), radius and half length (cylinder, capsule), radius
            (ball).
        position: centre of a primitive, metres.
        rotation: (3, 3) rotation of a primitive; None = along the model's axes.
        corners: (N, 3) corners of a hull, metres.
    """

    kind: str
    size: tuple[float, ...] = ()
    position: Vector3 = (0.0, 0.0, 0.0)
    rotation: Array | None = None
    corners: Array | None = None


@dataclass(frozen=True)
class Holder:
    """The surface on which an object carries others.

    Args:
        relation: "on" or "in".
        height: height of its support surface above its own base, metres.
        reach: half extents along its x and y within which a carried object's outline must stay, metres.
    """

    relation: str
    height: float
    reach: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Model:
    """One object, in its own frame: origin in the middle of its base, z up; metres, kilograms.

    Args:
        attributes: further words that are true of it.
        centre_of_mass: in the link's frame.
        rolling: rolling friction, metres; 0 if it cannot roll.
        holder: the part that carries other objects, or None.
    """

    label: str
    attributes: tuple[str, ...]
    parts: tuple[PaintedSurface, ...]
    solids: tuple[CollisionPiece, ...]
    mass: float
    centre_of_mass: Vector3
    friction: float = 0.6
    rolling: float = 0.0
    holder: Holder | None = None
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
