# SPDX-License-Identifier: Apache-2.0
"""Mass properties of closed meshes of uniform density."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.sim.meshes import Array, Mesh


@dataclass(frozen=True, eq=False)
class MassProperties:
    """Mass, centre of mass and inertia of a body.

    Args:
        mass: mass, kilograms.
        centre: (3,) centre of mass, metres.
        inertia: (3, 3) about the centre of mass along the mesh's axes, kg m².
    """

    mass: float
    centre: Array
    inertia: Array


def mass_properties(meshes: Sequence[Mesh], mass: float) -> MassProperties:
    """Compute the mass properties of closed meshes, filled with the same material; overlaps count twice.

    Args:
        meshes: closed meshes, metres, faces counter-clockwise seen from outside.
        mass: mass of the whole, kilograms.

    Raises:
        InputError: the meshes contain no volume, or are inside out.

    Source: sums over the tetrahedra between the origin and each face, whose second moments about the origin are
        V/20 (aaᵀ + bbᵀ + ccᵀ + ssᵀ) with s = a + b + c.
    """
    corners = np.concatenate([mesh.vertices[mesh.faces] for mesh in meshes])  # (F, 3, 3)
    volumes = np.linalg.det(corners) / 6
    whole = float(volumes.sum())
    if not whole > 0:
        raise InputError("meshes", f"a volume of {whole:.3g} m³", "closed surfaces", "turn the faces outwards")
    sums = corners.sum(axis=1)
    centre = volumes @ sums / 4 / whole
    squares = np.einsum("f,fij,fik->jk", volumes, corners, corners) + np.einsum("f,fj,fk->jk", volumes, sums, sums)
    second = squares / 20 / whole - np.outer(centre, centre)  # for unit mass, about the centre
    return MassProperties(mass, centre, mass * (np.trace(second) * np.eye(3) - second))
