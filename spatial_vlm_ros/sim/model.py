# SPDX-License-Identifier: Apache-2.0
"""What a kind of object is made of: parts that are seen, convex solids that collide, mass and grip."""

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
        mesh: in the model's frame.
        colour: red, green, blue, 0 to 255.
        shiny: whether it reflects so much that a depth sensor loses it in places.
        mottled: whether a faint pattern lies on the paint.
    """

    mesh: Mesh
    colour: Colour
    shiny: bool = False
    mottled: bool = False


@dataclass(frozen=True, eq=False)
class CollisionPiece:
    """One convex piece that collides, in the model's frame.

    Args:
        kind: "hull" (of `corners`), "box", "cylinder", "ball", "ellipsoid" or "capsule".
        size: of a primitive: half extents (box, ellipsoid), radius and half length (cylinder, capsule), radius (ball).
        position: centre of a primitive, metres.
        rotation: (3, 3) of a primitive; None = along the model's axes.
        corners: (N, 3) metres of a hull.
    """

    kind: str
    size: tuple[float, ...] = ()
    position: Vector3 = (0.0, 0.0, 0.0)
    rotation: Array | None = None
    corners: Array | None = None


@dataclass(frozen=True)
class Holder:
    """Where an object carries others.

    Args:
        relation: "on" or "in".
        height: of the surface that carries, above its own base, metres.
        reach: half extents along its x and y that a carried thing's outline must stay in, metres.
    """

    relation: str
    height: float
    reach: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Model:
    """One object, in its own frame: origin in the middle of its base, z up; metres, kilograms.

    Args:
        label: what it is called.
        attributes: further words that are true of it.
        parts: what is seen.
        solids: what collides; hollow objects are hollow here, too.
        mass: of the whole.
        centre_of_mass: in its frame.
        friction: sliding friction coefficient.
        rolling: rolling friction, metres; 0 where it cannot roll.
        holder: where it carries others, or None.
        may_tip: whether lying any way up is as good as standing (fruit).

    Raises:
        InputError: no part, no solid, or no mass.
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
        """(V, 3) all vertices of what is seen, metres, its own frame."""
        return np.concatenate([part.mesh.vertices for part in self.parts])

    @property
    def size(self) -> Vector3:
        """Extent along its own axes, metres."""
        x, y, z = np.ptp(self.vertices, axis=0)
        return float(x), float(y), float(z)

    @property
    def reach(self) -> float:
        """Radius of the circle about its origin that its outline lies in, metres."""
        return float(np.linalg.norm(self.vertices[:, :2], axis=1).max())


def hulls(pieces: Sequence[Array]) -> tuple[CollisionPiece, ...]:
    """Convex hulls of sets of corners (N, 3) as solids."""
    return tuple(CollisionPiece("hull", corners=corners) for corners in pieces)


def scaled(model: Model, factor: float) -> Model:
    """The same object `factor` times as large, of the same stuff."""

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
    """A darker (below 1) or lighter shade of a colour."""
    r, g, b = (int(min(255, max(0, round(c * factor)))) for c in colour)
    return r, g, b
