# SPDX-License-Identifier: Apache-2.0
"""An object as it stands, and the plane geometry of convex outlines: all that truth is computed from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from spatial_vlm_ros.sim.meshes import Array, Model
from spatial_vlm_ros.sim.truth import outline_of, tight_box
from spatial_vlm_ros.types import Vector3

ROUND = frozenset({"cup", "mug", "bowl", "plate", "can", "bottle", "apple", "orange", "lemon", "pear"})
"""Labels of objects without corners."""
OWN_SIDED = frozenset({"chair", "car"})
"""Labels of objects that have a right hand of their own; the others with a front are faced."""
_LEAST_SIZE = 0.05


@dataclass(frozen=True, eq=False)
class Still:
    """One object, base frame (z up), metres.

    Args:
        id: unique in its scene.
        label: what it is.
        attributes: words that are true of it.
        outline: (M, 2) convex outline seen from above, counter-clockwise or clockwise.
        centre: (3,) of its gravity-up box of least ground area.
        along: (2,) unit direction of the box's longer side.
        size: (3,) longer side, shorter side, height.
        front: (2,) unit direction of its front, or None.
        surface: (3,) mean of what the camera sees of it; before an image was made, a guess.
    """

    id: str
    label: str
    attributes: tuple[str, ...]
    outline: Array
    centre: Array
    along: Array
    size: Array
    front: Array | None = None
    surface: Array | None = None

    @property
    def place(self) -> Array:
        """(2,) its centre laid on the ground."""
        return self.centre[:2]

    @property
    def bottom(self) -> float:
        """Height of its underside."""
        return float(self.centre[2] - self.size[2] / 2)

    @property
    def top(self) -> float:
        """Height of its top."""
        return float(self.centre[2] + self.size[2] / 2)

    @property
    def breadth(self) -> float:
        """Mean of both horizontal sides."""
        return float(self.size[0] + self.size[1]) / 2

    @property
    def reach(self) -> float:
        """Breadth, but at least 5 cm: what the vague words count in."""
        return max(self.breadth, _LEAST_SIZE)

    @property
    def seen_at(self) -> Array:
        """(3,) `surface`, or the centre where there is none."""
        return self.centre if self.surface is None else self.surface

    def moved(self, offset: Vector3) -> Still:
        """The same elsewhere."""
        shift = np.asarray(offset)
        return replace(self, outline=self.outline + shift[:2], centre=self.centre + shift)


@dataclass(frozen=True, eq=False)
class Form:
    """A model with its box and outline in its own frame, worked out once."""

    model: Model
    outline: Array
    centre: Array
    along: Array
    size: Array

    @staticmethod
    def of(model: Model) -> Form:
        """Worked out from all its vertices."""
        points = model.vertices
        outline = outline_of(points)
        centre, axes, size = tight_box(points, outline)
        return Form(model, outline, centre, axes[:2, 0], np.array([size[0], size[1], size[2]]))

    def at(self, id_: str, position: Vector3, yaw: float, front: bool = False) -> Still:
        """The model with the origin of its frame at `position`, turned by `yaw`; `front`: its +x is a front."""
        c, s = math.cos(yaw), math.sin(yaw)
        R = np.array([[c, -s], [s, c]])
        xy, z = np.asarray(position[:2]), position[2]
        centre = np.array([*(R @ self.centre[:2] + xy), self.centre[2] + z])
        ahead = R[:, 0] if front else None
        label, words = self.model.label, self.model.attributes
        return Still(id_, label, words, self.outline @ R.T + xy, centre, R @ self.along, self.size, ahead)


def reach_along(outline: Array, direction: Array) -> tuple[float, float]:
    """Least and greatest coordinate of (M, 2) corners along a direction (2,)."""
    along = outline @ direction
    return float(along.min()), float(along.max())


def apart(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Gap between two intervals, 0 where they overlap."""
    return max(one[0] - other[1], other[0] - one[1], 0.0)


def gap(a: Still, b: Still) -> float:
    """Between the outlines along the line between the centres, 0 where they overlap."""
    line = b.place - a.place
    length = float(np.linalg.norm(line))
    if length < 1e-9:
        return 0.0
    line = line / length
    return max(reach_along(b.outline, line)[0] - reach_along(a.outline, line)[1], 0.0)


def vertical_gap(a: Still, b: Still) -> float:
    """Between undersides and tops, 0 where the heights overlap."""
    return apart((a.bottom, a.top), (b.bottom, b.top))


def depth_inside(place: Array, outline: Array) -> float:
    """How far inside a convex outline a place (2,) is; negative outside."""
    contour = (outline - place).astype(np.float32).reshape(-1, 1, 2)
    return float(cv2.pointPolygonTest(contour, (0.0, 0.0), True))


def clearance(a: Array, b: Array) -> float:
    """Greatest gap between two convex outlines along a side's normal of either; negative where they overlap."""
    best = -math.inf
    for one in (a, b):
        sides = np.roll(one, -1, axis=0) - one
        length = np.linalg.norm(sides, axis=1)
        normals = np.stack([-sides[:, 1], sides[:, 0]], axis=1)[length > 1e-6] / length[length > 1e-6, None]
        on_a, on_b = a @ normals.T, b @ normals.T
        gaps = np.maximum(on_b.min(axis=0) - on_a.max(axis=0), on_a.min(axis=0) - on_b.max(axis=0))
        best = max(best, float(gaps.max()))
    return best


def hull(points: Array) -> Array:
    """(M, 2) convex outline of places (N, 2); two places give a line."""
    if len(points) < 3:
        return points
    middle = points.mean(axis=0)
    corners = np.asarray(cv2.convexHull((points - middle).astype(np.float32), returnPoints=True)).reshape(-1, 2)
    return corners.astype(np.float64) + middle


def depth_in_hull(place: Array, corners: Array) -> float:
    """How far inside the outline of places (N, 2) a place is; of two, minus the distance from the line between."""
    outline = hull(corners)
    if len(outline) >= 3:
        return depth_inside(place, outline)
    start, end = outline[0], outline[-1]
    line = end - start
    t = float(np.clip((place - start) @ line / max(float(line @ line), 1e-12), 0.0, 1.0))
    return -float(np.linalg.norm(place - start - t * line))
