# SPDX-License-Identifier: Apache-2.0
"""Ground truth of every object in a world: pose, tight gravity-up box, outline, and the relation it was placed by."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from spatial_vlm_ros.sim.meshes import Array
from spatial_vlm_ros.types import Transform


@dataclass(frozen=True)
class Placed:
    """The relation by which an object was placed: one of relation_truth.RELATIONS, to the objects with these ids."""

    relation: str
    anchor_ids: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TrueObject:
    """Ground truth of one object, in the base frame (z up), metres.

    Args:
        attributes: further words that are true of it.
        base_T_object: pose of the model's own frame (origin in the middle of its base when it stands).
        centre: (3,) centre of the tight gravity-up box around its visible surfaces, including handles and hats; the box
            has the least area seen from above.
        axes: (3, 3) columns: x along the longer horizontal side (towards +x of the base, because the sign has no
            meaning), z up, y = z × x.
        size: (3,) extents along those axes.
        outline: (N, 2) convex outline seen from above.
        placed: the relation it was placed by and still has, seen from the world's `base_T_camera`; None = none.
    """

    id: str
    label: str
    attributes: tuple[str, ...]
    base_T_object: Transform
    centre: Array
    axes: Array
    size: Array
    outline: Array
    placed: Placed | None = None

    @property
    def bottom(self) -> float:
        """Height of its lowest point, metres."""
        return float(self.centre[2] - self.size[2] / 2)

    @property
    def top(self) -> float:
        """Height of its highest point, metres."""
        return float(self.centre[2] + self.size[2] / 2)

    def corners(self) -> Array:
        """(8, 3) corners of its box, base frame, metres."""
        signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
        return self.centre + (signs * self.size / 2) @ self.axes.T


def outline_of(points: Array) -> Array:
    """Return the (M, 2) corners of the convex outline of (N, 3) points seen from above, metres."""
    flat = points[:, :2].astype(np.float32)
    rows = np.asarray(cv2.convexHull(flat - flat.mean(axis=0), returnPoints=False)).reshape(-1)
    return np.asarray(points[rows, :2], np.float64)


def tight_box(points: Array, outline: Array) -> tuple[Array, Array, Array]:
    """Compute the gravity-up box of least ground area around points.

    Args:
        points: (N, 3) metres, z up.
        outline: (M, 2) their convex outline, metres.

    Returns:
        Centre (3,), axes (3, 3) and size (3,) as in `TrueObject`.

    Source: one side of the least rectangle lies along a side of the hull, Freeman and Shapira 1975.
    """
    sides = np.roll(outline, -1, axis=0) - outline
    length = np.linalg.norm(sides, axis=1)
    along = sides[length > 1e-6] / length[length > 1e-6, None]
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    on_along, on_across = outline @ along.T, outline @ across.T  # (M, sides)
    best = int((np.ptp(on_along, axis=0) * np.ptp(on_across, axis=0)).argmin())
    x = along[best] if np.ptp(on_along[:, best]) >= np.ptp(on_across[:, best]) else across[best]
    x = -x if x[0] < 0 else x
    axes = np.array([[x[0], -x[1], 0.0], [x[1], x[0], 0.0], [0.0, 0.0, 1.0]])
    local = points @ axes
    low, high = local.min(axis=0), local.max(axis=0)
    return axes @ ((low + high) / 2), axes, high - low
