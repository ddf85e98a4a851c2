# SPDX-License-Identifier: Apache-2.0
"""A part as a region: an outline on the ground, the height that objects in it stand on, and how it was found."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.spatial.free_space import depth_inside, hull, lies_in
from spatial_vlm_ros.spatial.layout import Array, Layout

HEIGHT_MAP, LEVELS, FRONT, PICTURE, SHARE = "height map", "levels", "front", "picture", "stated share"
"""Evidence for a part: walls in the height map; horizontal surfaces; a part sticking out of the front; discs of another
colour; or nothing but the words."""

_MOST_POINTS = 40_000  # most points of an object that are used
_SMEARED = 0.01  # metres over the top of an object to which its depth may be smeared
_WIDER = 1.3  # times as wide as a hole, from which an object lies on it
_OFF = 0.005  # metres: uncertainty of the outline of a part
_LEAST_SHARE = 0.01  # fraction of the points that may lie outside a rectangle: edges of masks smear


@dataclass(frozen=True, eq=False)
class Region:
    """One part of an object."""

    row: int
    outline: Array  # (K, 2) convex, on the ground, metres
    low: float  # height of the supporting surface, metres
    high: float  # upper end, metres: the height of its rim or of what is over it; infinite if nothing is
    span: tuple[float, float]  # heights between which the underside of an object in it lies, metres
    found_by: str
    walled: bool = False  # True if walls surround it
    # (K, 2) outline that the middle of an object in it lies in; None = `outline`. For a half it extends beyond the
    # whole, whose end may be hidden, but not beyond the line to the other half
    around: Array | None = None
    # (K, 2) outline of the supporting surface if that extends beyond the part; None = `outline`
    carrier: Array | None = None
    lid: bool = False  # True if it may be a lid, not a shelf: it is not visible whether walls stand under it

    @property
    def middle(self) -> Array:
        """(2,) middle of its smallest bounding rectangle, metres."""
        return rectangle_of(self.outline).centre


@dataclass(frozen=True, eq=False)
class Rectangle:
    """A rectangle on the ground, in any horizontal orientation."""

    centre: Array  # (2,) metres
    axes: Array  # (2, 2) rows: unit directions of its sides, the second one clockwise from the first
    half: Array  # (2,) half lengths along them

    def to_own(self, places: npt.NDArray[np.floating]) -> Array:
        """(N, 2) places relative to its centre, along its sides, metres."""
        return np.asarray((places - self.centre) @ self.axes.T)

    def from_own(self, places: npt.NDArray[np.floating]) -> Array:
        """Inverse of `to_own`."""
        return np.asarray(self.centre + np.asarray(places) @ self.axes)

    def part(self, low: Array, high: Array) -> Array:
        """(4, 2) corners of the part between two corners given in its own axes, metres."""
        return self.from_own(np.array([(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])]))

    def turned(self) -> Rectangle:
        """The same rectangle with its axes swapped."""
        return Rectangle(self.centre, np.stack((self.axes[1], -self.axes[0])), self.half[::-1])

    def facing(self, direction: Array) -> Rectangle:
        """The same rectangle with its first axis along the side nearest to a direction, pointing the same way."""
        along = self.axes @ direction
        found = self if abs(along[0]) >= abs(along[1]) else self.turned()
        return found if found.axes[0] @ direction >= 0 else Rectangle(found.centre, -found.axes, found.half)


def rectangle_of(places: npt.NDArray[np.floating]) -> Rectangle:
    """The smallest rectangle around places (N, 2), its longer side first."""
    middle, (length, width), angle = cv2.minAreaRect(hull(places).astype(np.float32))
    yaw = math.radians(angle) + (math.pi / 2 if width > length else 0.0)
    first = np.array([math.cos(yaw), math.sin(yaw)])
    half = np.array([max(length, width), min(length, width)]) / 2
    return Rectangle(np.array(middle, np.float64), np.stack((first, (first[1], -first[0]))), half)


def seen_rectangle(places: npt.NDArray[np.floating]) -> Rectangle:
    """The smallest rectangle around visible places (N, 2) of a whole, without strays.

    What is hollow shows its walls up to its back; its measured box may be completed beyond them as if it were solid.
    """
    about = rectangle_of(places)
    return rectangle_of(about.from_own(trimmed(about.to_own(places))))


def points_within(layout: Layout, row: int) -> Array:
    """(N, 3) all depth points in an object's box in the image, but not those of other objects' masks, metres."""
    frame, objects = layout.scene.frame, layout.scene.objects
    rows, columns = frame.depth.shape
    x0, y0, x1, y1 = objects[row].detection.box_xyxy
    u0, v0 = max(0, int(x0)), max(0, int(y0))
    u1, v1 = min(columns, math.ceil(x1)), min(rows, math.ceil(y1))
    kept = np.isfinite(frame.depth[v0:v1, u0:u1])
    for other, obj in enumerate(objects):
        mask = obj.detection.mask
        if other != row and mask is not None and mask.shape == frame.depth.shape:
            kept &= ~mask[v0:v1, u0:u1]
    v, u = np.nonzero(kept)
    z = frame.depth[v0:v1, u0:u1][kept].astype(np.float64)
    xs, ys = normalised_axes(frame.camera)
    return np.column_stack((xs[u0:u1][u] * z, ys[v0:v1][v] * z, z)) @ layout.axes + (0.0, 0.0, layout.floor)


def points_over(layout: Layout, row: int) -> Array:
    """(N, 3) all depth points over an object's outline, up to its top, in ground coordinates, metres.

    This includes its floor, which may be so thin that it looks like the surface under the object, but not objects
    detected in it.
    """
    points = points_within(layout, row)
    points = points[points[:, 2] < layout.top[row] + _SMEARED]
    points = without_contents(layout, row, points[depth_inside(layout.footprint[row], points[:, :2]) > 0])
    return np.asarray(points[:: max(1, len(points) // _MOST_POINTS)])


def without_contents(layout: Layout, row: int, points: Array) -> Array:
    """Points (N, 3) without those on detected objects that stand in or on an object, metres."""
    inside = lies_in(layout.footprint[row], layout.centre[:, :2]) & (layout.mean_side < layout.mean_side[row])
    for other in np.flatnonzero(inside & (layout.top > layout.bottom[row])).tolist():
        content = depth_inside(layout.footprint[other], points[:, :2]) > -_SMEARED
        points = points[~content | (points[:, 2] < layout.bottom[other] + _SMEARED / 2)]
    return points


def held(layout: Layout, region: Region, targets: np.ndarray) -> tuple[Array, Array]:
    """Margins (T,) of objects standing or lying in a region, and their standard deviations, metres.

    The middle of the object lies within the outline, and its underside between the heights of the region.
    """
    centre = layout.centre[targets]
    measured = np.isfinite(centre[:, 0])
    around = region.outline if region.around is None else region.around
    aside = depth_inside(around, np.where(np.isfinite(centre[:, :2]), centre[:, :2], 1e6))
    low, high = region.span
    bottom = layout.bottom[targets]
    # What rises from a hole shows no more than its upper part.
    fits = region.walled & (layout.mean_side[targets] < _WIDER * 2 * rectangle_of(region.outline).half.min())
    upright = np.minimum(bottom - low, high + np.where(fits, layout.relation.contact, 0.0) - bottom)
    noise = np.hypot(layout.sigma[targets], _OFF)
    noise_up = np.hypot(layout.sigma_up[targets], _OFF)
    times = np.minimum(aside / noise, upright / noise_up)
    margin = np.minimum(aside, upright)
    sigma = np.where(times != 0, margin / np.where(times != 0, times, 1.0), noise)
    return np.where(measured, margin, np.nan), np.where(measured, np.abs(sigma), noise)


def trimmed(places: Array) -> Array:
    """Places (N, 2) in the axes of a rectangle, without the outermost ones."""
    low, high = np.percentile(places, [100 * _LEAST_SHARE, 100 * (1 - _LEAST_SHARE)], axis=0)
    return np.asarray(places[((places >= low) & (places <= high)).all(axis=1)])


def clipped(region: Region, direction: Array, low: float, high: float) -> Region:
    """Clip a region to an interval along a unit direction on the ground."""
    outline = _half_plane(_half_plane(region.outline, direction, low), -direction, -high)
    around = region.around
    if around is not None:
        around = _half_plane(_half_plane(around, direction, low), -direction, -high)
    return dataclasses.replace(region, outline=outline, around=around)


def _half_plane(outline: Array, direction: Array, least: float) -> Array:
    """The part of a convex outline (K, 2) that lies at least at a value along a direction."""
    outline = hull(outline)
    along = outline @ direction - least
    kept: list[Array] = []
    for i, place in enumerate(outline):
        j = (i + 1) % len(outline)
        if along[i] >= 0:
            kept.append(place)
        if (along[i] >= 0) != (along[j] >= 0):
            kept.append(place + (outline[j] - place) * (along[i] / (along[i] - along[j])))
    return np.array(kept).reshape(-1, 2)
