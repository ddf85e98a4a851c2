# SPDX-License-Identifier: Apache-2.0
"""Ground truth of every object in a world: pose, tight gravity-up box, outline, and the relations that it has.

Whether a relation holds is decided only from true outlines and heights, by docs/relations.md. That is written
separately from the solver in spatial/ on purpose: it never uses an image and shares no code with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import cv2
import numpy as np

from spatial_vlm_ros.errors import UnknownNameError
from spatial_vlm_ros.sim.meshes import Array
from spatial_vlm_ros.types import Transform

_CONTACT = 0.008  # metres between an object's underside and its support
_NEXT_TO, _LEAST_SIZE = 2.0, 0.05  # gap of "next to" in mean sizes; least size of an object in that, metres


@dataclass(frozen=True)
class Placed:
    """The relation by which an object was placed: one of RELATIONS, to the objects with these ids."""

    relation: str
    anchor_ids: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TrueObject:
    """Ground truth of one object, in the base frame (z up), metres.

    Its tight gravity-up box around all visible surfaces has the least area seen from above; its x is along the longer
    horizontal side (towards +x of the base, because the sign has no meaning), z up, y = z × x.
    """

    id: str
    label: str
    attributes: tuple[str, ...]  # further words that are true of it
    base_T_object: Transform  # of the model's own frame (origin in the middle of its base when it stands)
    centre: Array  # (3,) of the box
    axes: Array  # (3, 3) columns
    size: Array  # (3,) along those axes
    outline: Array  # (N, 2) convex, seen from above
    placed: Placed | None = None  # the relation it was placed by and still has, seen from the world's `base_T_camera`

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
    """Centre, axes and size, as in `TrueObject`, of the box around (N, 3) points with (M, 2) convex outline.

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


def margin(relation: str, target: TrueObject, anchor: TrueObject, eye: Array) -> float:
    """Distance of a relation from its border, metres; positive = it holds. `eye` is the viewer's position."""
    if relation not in _MARGINS:
        raise UnknownNameError("relation", relation, _MARGINS)
    return _MARGINS[relation](target, anchor, eye)


def _directions(anchor: TrueObject, eye: Array) -> tuple[Array, Array]:
    """(2,) unit vectors on the ground: from the viewer to the anchor, and to its right."""
    ahead = anchor.centre[:2] - eye[:2]
    ahead = ahead / np.linalg.norm(ahead)
    return ahead, np.array([ahead[1], -ahead[0]])


def _right_of(target: TrueObject, anchor: TrueObject, eye: Array) -> float:
    _, right = _directions(anchor, eye)
    return float((target.centre[:2] - anchor.centre[:2]) @ right)


def _along(target: TrueObject, anchor: TrueObject, eye: Array, sign: float) -> float:
    """Farther (1) or nearer (-1) by the near edges and by the centres, within 45° of the line of sight."""
    ahead, right = _directions(anchor, eye)
    begins = sign * ((target.outline @ ahead).min() - (anchor.outline @ ahead).min())
    centres = sign * ((target.centre[:2] - anchor.centre[:2]) @ ahead)
    t, a = target.outline @ right, anchor.outline @ right
    aside = max(t.min() - a.max(), a.min() - t.max(), 0.0)
    further = min(begins, centres)
    return float(min(further, further - aside) if aside > 0 else further)


def _on(target: TrueObject, anchor: TrueObject, eye: Array) -> float:  # noqa: ARG001
    height = anchor.top - anchor.bottom
    lifted = target.bottom - anchor.bottom - 0.2 * height
    resting = anchor.top + _CONTACT - target.bottom
    return min(_inside(target.centre[:2], anchor.outline), lifted + _CONTACT, resting, target.centre[2] - anchor.top)


def _next_to(target: TrueObject, anchor: TrueObject, eye: Array) -> float:  # noqa: ARG001
    """Side by side with a gap of less than _NEXT_TO mean sizes."""
    line = target.centre[:2] - anchor.centre[:2]
    line = line / max(float(np.linalg.norm(line)), 1e-9)
    gap = float((target.outline @ line).min() - (anchor.outline @ line).max())
    sizes = sum(max(float(one.size[:2].mean()), _LEAST_SIZE) for one in (target, anchor)) / 2
    same_level = 0.06 - abs(target.bottom - anchor.bottom)
    return min(_NEXT_TO * sizes - gap, same_level, gap + 0.005 if gap < 0 else np.inf)


def _inside(place: Array, outline: Array) -> float:
    """Distance of a point from the border of a convex outline, metres; negative outside."""
    contour = outline.astype(np.float32).reshape(-1, 1, 2)
    return float(cv2.pointPolygonTest(contour, (float(place[0]), float(place[1])), True))


_MARGINS: Mapping[str, Callable[[TrueObject, TrueObject, Array], float]] = MappingProxyType(
    {
        "left of": lambda target, anchor, eye: -_right_of(target, anchor, eye),
        "right of": _right_of,
        "behind": partial(_along, sign=1.0),
        "in front of": partial(_along, sign=-1.0),
        "on": _on,
        "in": lambda target, anchor, _: min(
            _inside(target.centre[:2], anchor.outline),
            anchor.top - target.centre[2],
            target.bottom - anchor.bottom,
            float((anchor.size - target.size)[:2].min()),
        ),
        "next to": _next_to,
    }
)
RELATIONS: tuple[str, ...] = tuple(_MARGINS)
"""Names of the relations that objects are placed by."""
