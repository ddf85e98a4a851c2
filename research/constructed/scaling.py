# SPDX-License-Identifier: Apache-2.0
"""Models stretched to a length that is wanted."""

from __future__ import annotations

import dataclasses

from spatial_vlm_ros.sim.meshes import CollisionPiece, Model
from spatial_vlm_ros.types import Vector3


def stretched(model: Model, factors: Vector3) -> Model:
    """A model stretched along its own axes by positive factors; it collides as its box."""
    parts = tuple(dataclasses.replace(p, mesh=p.mesh.scaled(factors)) for p in model.parts)
    x, y, z = (n * f for n, f in zip(model.size, factors, strict=True))
    solid = CollisionPiece("box", (x / 2, y / 2, z / 2), (0, 0, z / 2))
    return dataclasses.replace(model, parts=parts, solids=(solid,), holder=None)
