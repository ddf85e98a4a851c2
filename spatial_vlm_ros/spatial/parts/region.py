# SPDX-License-Identifier: Apache-2.0
"""A part as a region: an outline on the ground, the height that objects in it stand on, and what it was found by."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.spatial.free_space import depth_inside, hull
from spatial_vlm_ros.spatial.layout import Array, Layout

HEIGHT_MAP, LEVELS, FRONT, PICTURE, SHARE = "height map", "levels", "front", "picture", "stated share"
"""What a part was found by: walls in the height map; horizontal surfaces; what sticks out of the front; discs of
another colour; or nothing but the words."""

_MOST_POINTS = 40_000  # points of an object that are looked at
_SMEARED = 0.01  # metres over the top of an object to which its depth may be smeared
_LEAST_SHARE = 0.01  # part of the points that may lie outside a rectangle: edges of masks smear


@dataclass(frozen=True, eq=False)
class Region:
    """One part of an object.

    Args:
        row: the whole.
        outline: (K, 2) convex, on the ground.
        low: height of what carries there.
        high: height up to which it goes: that of its rim or of what is over it; infinite where nothing is.
        span: heights between which the underside of what stands in it lies.
        found_by: what shows it.
        walled: whether walls stand about it.
        around: (K, 2) outline that the middle of what is in it lies in; None = the outline. Of a half it goes on beyond
            the whole, whose own end may be hidden, and not beyond the line to the other half.
        lid: whether it may be a lid, and no shelf: nobody sees whether walls stand under it.
        carrier: (K, 2) outline of what carries there, where that goes on beyond the part; None = the outline.
    """

    row: int
    outline: Array
    low: float
    high: float
    span: tuple[float, float]
    found_by: str
    walled: bool = False
    around: Array | None = None
    carrier: Array | None = None
    lid: bool = False

    @property
    def middle(self) -> Array:
        """(2,) of the smallest rectangle about it."""
        return rectangle_of(self.outline).centre


@dataclass(frozen=True, eq=False)
class Rectangle:
    """An upright rectangle on the ground.

    Args:
        centre: (2,) metres.
        axes: (2, 2) rows: unit directions of its sides, the second one clockwise from the first.
        half: (2,) half lengths along them.
    """

    centre: Array
    axes: Array
    half: Array

    def to_own(self, places: npt.NDArray[np.floating]) -> Array:
        """(N, 2) places along its sides, from its centre."""
        return np.asarray((places - self.centre) @ self.axes.T)

    def from_own(self, places: npt.NDArray[np.floating]) -> Array:
        """The way back."""
        return np.asarray(self.centre + np.asarray(places) @ self.axes)

    def part(self, low: Array, high: Array) -> Array:
        """(4, 2) corners of the part between two corners in its own axes."""
        return self.from_own(np.array([(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])]))

    def turned(self) -> Rectangle:
        """The same with its sides exchanged."""
        return Rectangle(self.centre, np.stack((self.axes[1], -self.axes[0])), self.half[::-1])

    def facing(self, direction: Array) -> Rectangle:
        """The same with its first side along whichever of its sides is nearest to a direction, to the same end."""
        along = self.axes @ direction
        found = self if abs(along[0]) >= abs(along[1]) else self.turned()
        return found if found.axes[0] @ direction >= 0 else Rectangle(found.centre, -found.axes, found.half)


def rectangle_of(places: npt.NDArray[np.floating]) -> Rectangle:
    """The smallest rectangle about places (N, 2), its longer side first."""
    middle, (length, width), angle = cv2.minAreaRect(hull(places).astype(np.float32))
    yaw = math.radians(angle) + (math.pi / 2 if width > length else 0.0)
    first = np.array([math.cos(yaw), math.sin(yaw)])
    half = np.array([max(length, width), min(length, width)]) / 2
    return Rectangle(np.array(middle, np.float64), np.stack((first, (first[1], -first[0]))), half)


def box_of(layout: Layout, row: int) -> Rectangle:
    """The box of an object on the ground."""
    first = layout.long_side[row]
    return Rectangle(layout.centre[row, :2], np.stack((first, (first[1], -first[0]))), layout.size[row, :2] / 2)


def own_points(layout: Layout, row: int) -> Array:
    """(N, 3) visible surface of an object in ground coordinates, without what stands in or on it."""
    points = layout.scene.objects[row].points
    points = points[:: max(1, len(points) // _MOST_POINTS)].astype(np.float64)
    return np.asarray(points @ layout.axes + np.array([0.0, 0.0, layout.floor]))


def points_over(layout: Layout, row: int) -> Array:
    """(N, 3) all depth that lies over the outline of an object, up to its top, in ground coordinates.

    Its floor too, which may be so thin that it passes for the surface that the object stands on; without what is
    detected in it.
    """
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
    points = np.column_stack((xs[u0:u1][u] * z, ys[v0:v1][v] * z, z)) @ layout.axes + (0.0, 0.0, layout.floor)
    points = points[points[:, 2] < layout.top[row] + _SMEARED]
    points = points[depth_inside(layout.footprint[row], points[:, :2]) > 0]
    for other in np.flatnonzero(layout.measured & (layout.bottom > layout.bottom[row] + _SMEARED / 2)).tolist():
        if other != row and depth_inside(layout.footprint[row], layout.centre[other : other + 1, :2])[0] > 0:
            content = (depth_inside(layout.footprint[other], points[:, :2]) > 0) & (points[:, 2] > layout.bottom[other])
            points = points[~content]
    return np.asarray(points[:: max(1, len(points) // _MOST_POINTS)])


def trimmed(places: Array) -> Array:
    """Places (N, 2) in the axes of a rectangle without the outermost ones."""
    low, high = np.percentile(places, [100 * _LEAST_SHARE, 100 * (1 - _LEAST_SHARE)], axis=0)
    return np.asarray(places[((places >= low) & (places <= high)).all(axis=1)])


def clipped(region: Region, direction: Array, low: float, high: float) -> Region:
    """A region between two values along a unit direction on the ground."""
    outline = _half_plane(_half_plane(region.outline, direction, low), -direction, -high)
    around = region.around
    if around is not None:
        around = _half_plane(_half_plane(around, direction, low), -direction, -high)
    return dataclasses.replace(region, outline=outline, around=around)


def _half_plane(outline: Array, direction: Array, least: float) -> Array:
    """The part of a convex outline (K, 2) that lies at least so far along a direction."""
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
