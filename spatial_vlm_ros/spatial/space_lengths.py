# SPDX-License-Identifier: Apache-2.0
"""Lengths with their standard deviations: gaps between objects, distances from a viewer, and sides of objects.

An object is the prism over its outline from its underside to its top. A gap is the shortest distance between two
prisms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.spatial import superlatives
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.types import FrameOfReference
from spatial_vlm_ros.types.query import Length

IN_INTERVAL = 1.96
"""Standard deviations on either side of a value that contain 95 % of a normal distribution."""
_OUTLINE = 0.003  # metres by which edges of masks shift an outline, for any size
_REACH = 0.04  # relative error of an outline's extent away from the camera; half of it towards the camera
_SIDE, _HEIGHT = 0.06, 0.05  # relative errors of horizontal sides, and of heights: stems and handles may be hidden
_COVERED = 0.2  # fraction of a size that is uncertain if the whole object is covered
_CUT_OFF = 0.3  # the same if the border of the image cuts it


@dataclass(frozen=True, eq=False)
class LengthEstimate:
    """A measured length.

    Args:
        value: metres.
        sigma: standard deviation, metres.
        ends: (2, 3) ends of the line that it was measured along, ground coordinates; None without one.
        least: lower bound, metres, if less is known than `sigma` says; else None.
    """

    value: float
    sigma: float
    ends: Array | None = None
    least: float | None = None

    @property
    def interval(self) -> tuple[float, float]:
        """Interval in metres that contains the true length with a probability of 0.95."""
        low = self.value - IN_INTERVAL * self.sigma
        low = low if self.least is None else min(low, self.least)
        return max(low, 0.0), self.value + IN_INTERVAL * self.sigma


# ------------------------------------------------------------------------------------------------ plane geometry


def nearest_points(one: Array, other: Array) -> tuple[float, Array, Array]:
    """Shortest distance between convex outlines (K, 2) and (M, 2), metres, and a point of each; 0 if they overlap."""
    if _overlap(one, other):
        middle = (one.mean(axis=0) + other.mean(axis=0)) / 2
        return 0.0, middle, middle
    first = _to_edges(one, other)
    second = _to_edges(other, one)
    if first[0] <= second[0]:
        return first
    return second[0], second[2], second[1]


def ways_to(places: Array, outline: Array) -> Array:
    """(K,) distances from (K, 2) places to an outline's edges, metres."""
    edge = np.roll(outline, -1, axis=0) - outline
    length = np.maximum((edge**2).sum(axis=1), 1e-18)
    offset = places[:, None] - outline
    share = np.clip((offset * edge).sum(axis=2) / length, 0.0, 1.0)
    return np.asarray(np.linalg.norm(offset - share[..., None] * edge, axis=2).min(axis=1))


def _to_edges(places: Array, outline: Array) -> tuple[float, Array, Array]:
    """The nearest pair of (K, 2) places and an outline's edges: distance in metres, place, point."""
    edge = np.roll(outline, -1, axis=0) - outline
    length = np.maximum((edge**2).sum(axis=1), 1e-18)
    offset = places[:, None] - outline
    share = np.clip((offset * edge).sum(axis=2) / length, 0.0, 1.0)
    points = outline + share[..., None] * edge
    distance = np.linalg.norm(places[:, None] - points, axis=2)
    k, m = np.unravel_index(int(np.argmin(distance)), distance.shape)
    return float(distance[k, m]), places[k], points[k, m]


def _overlap(one: Array, other: Array) -> bool:
    """True if two convex outlines overlap: no edge of either has all of the other beyond it."""
    for outline, rest in ((one, other), (other, one)):
        edge = np.roll(outline, -1, axis=0) - outline
        normal = np.stack((edge[:, 1], -edge[:, 0]), axis=1)
        if ((outline @ normal.T).max(axis=0) < (rest @ normal.T).min(axis=0) - 1e-12).any():
            return False
        if ((outline @ normal.T).min(axis=0) > (rest @ normal.T).max(axis=0) + 1e-12).any():
            return False
    return True


# ------------------------------------------------------------------------------------------------ gaps


def gap_between(layout: Layout, one: int, other: int) -> LengthEstimate:
    """Shortest distance between two measured objects."""
    aside, first, second = nearest_points(layout.footprint[one], layout.footprint[other])
    up = max(layout.bottom[one] - layout.top[other], layout.bottom[other] - layout.top[one], 0.0)
    value = math.hypot(aside, up)
    heights = _heights(layout, one, other)
    ends = np.array([[*first, heights[0]], [*second, heights[1]]])
    across = np.zeros(2) if aside < 1e-9 else (second - first) / aside
    variance = _side_variance(layout, one, across) + _side_variance(layout, other, -across)
    variance += (layout.tilt * (layout.centre[one, 2] - layout.centre[other, 2])) ** 2
    upright = _upright_variance(layout, one) + _upright_variance(layout, other)
    share = 1.0 if value < 1e-9 else (aside / value) ** 2
    return LengthEstimate(value, math.sqrt(share * variance + (1.0 - share) * upright), ends)


def _heights(layout: Layout, one: int, other: int) -> tuple[float, float]:
    """Heights of the ends of the line drawn between two objects, metres."""
    low = max(layout.bottom[one], layout.bottom[other])
    high = min(layout.top[one], layout.top[other])
    if low <= high:
        return float(low + high) / 2, float(low + high) / 2
    over = layout.bottom[one] > layout.bottom[other]
    ends = (layout.bottom[one], layout.top[other]) if over else (layout.top[one], layout.bottom[other])
    return float(ends[0]), float(ends[1])


def _side_variance(layout: Layout, row: int, towards: Array) -> float:
    """Variance of the end of an object's outline in a direction (2,) on the ground, m²."""
    size = float(layout.mean_side[row])
    shape = layout.scene.objects[row].shape
    view = layout.viewpoint(FrameOfReference.VIEWER)
    ahead = layout.rays(view, np.array([row], np.intp))[0][0]
    away = max(float(ahead @ towards), 0.0)  # 1: the far side, which is not visible
    reach = _REACH * (0.5 + 0.5 * away) + _doubt(layout, row)
    variance = float(layout.sigma[row]) ** 2 + (reach * size) ** 2 + _OUTLINE**2
    if shape is not None:
        variance += (2.0 * shape.sigma * away) ** 2
    return variance


def _doubt(layout: Layout, row: int) -> float:
    """Fraction of an object's size that is uncertain because it is covered or cut off."""
    obj = layout.scene.objects[row]
    return _COVERED * (1.0 - obj.visible_fraction) + _CUT_OFF * obj.truncated


def _upright_variance(layout: Layout, row: int) -> float:
    return float(layout.sigma_up[row]) ** 2 + (_HEIGHT * float(layout.size[row, 2])) ** 2 + _OUTLINE**2


def height_over_support(layout: Layout, row: int) -> LengthEstimate:
    """Height of an object's underside over the support plane."""
    foot = layout.centre[row, :2]
    value = max(float(layout.bottom[row]), 0.0)
    sigma = math.sqrt(_upright_variance(layout, row) + float(layout.sigma_floor[row]) ** 2)
    return LengthEstimate(value, sigma, np.array([[*foot, layout.bottom[row]], [*foot, 0.0]]))


def from_viewer(layout: Layout, row: int, frame: FrameOfReference) -> LengthEstimate:
    """Shortest distance from a viewer to an object."""
    eye = layout.viewpoint(frame).origin
    aside, _, point = nearest_points(eye[None, :2], layout.footprint[row])
    low, high = float(layout.bottom[row]), float(layout.top[row])
    height = min(max(float(eye[2]), low), high)
    end = np.array([*point, height])
    value = math.hypot(aside, float(eye[2]) - height)
    towards = np.zeros(2) if aside < 1e-9 else (eye[:2] - point) / aside
    return LengthEstimate(value, math.sqrt(_side_variance(layout, row, towards)), np.array([eye, end]))


def between_centres(layout: Layout, one: int, other: int) -> LengthEstimate:
    """Distance between the estimated volume centres of two objects."""
    ends = layout.centre[[one, other]]
    variance = sum(_centre_variance(layout, row) for row in (one, other))
    return LengthEstimate(float(np.linalg.norm(ends[0] - ends[1])), math.sqrt(variance), ends)


def _centre_variance(layout: Layout, row: int) -> float:
    shape = layout.scene.objects[row].shape
    hidden = 0.0 if shape is None else shape.sigma
    return float(layout.sigma[row]) ** 2 + (_REACH / 2 * float(layout.mean_side[row])) ** 2 + hidden**2 + _OUTLINE**2


# ------------------------------------------------------------------------------------------------ sides


def side_of(layout: Layout, row: int, which: Length) -> LengthEstimate:
    """A length of an object, defined as docs/relations.md compares them.

    Args:
        which: any length except "all".
    """
    sides = superlatives.whole_sizes(layout)[row]
    sigma = np.sqrt(_side_variances(layout, row))
    longest, shortest = int(np.argmax(sides)), int(np.argmin(sides))
    index = {"height": 2, "width": 0, "depth": 1, "length": longest, "thickness": shortest}.get(which)
    if index is None:  # the diameter
        return LengthEstimate(float(sides[:2].mean()), float(np.hypot(*sigma[:2])) / 2)
    return LengthEstimate(float(sides[index]), float(sigma[index]))


def _side_variances(layout: Layout, row: int) -> Array:
    """(3,) variances of the box's sides: longer and shorter horizontal side, height, m²."""
    sides = superlatives.whole_sizes(layout)[row]
    obj = layout.scene.objects[row]
    noise, cut = float(layout.noise[row]), np.array([obj.cut, obj.cut, obj.cut_above]) / math.sqrt(3.0)
    relative = np.array([_SIDE, _SIDE, _HEIGHT]) + _doubt(layout, row)
    hidden = np.zeros(3)
    if obj.shape is not None:
        view = layout.viewpoint(FrameOfReference.VIEWER)
        ahead = layout.rays(view, np.array([row], np.intp))[0][0]
        along = layout.long_side[row]
        hidden[0] = 2.0 * obj.shape.sigma * abs(float(ahead @ along))
        hidden[1] = 2.0 * obj.shape.sigma * math.sqrt(max(0.0, 1.0 - float(ahead @ along) ** 2))
    return np.asarray(noise**2 + cut**2 + (relative * sides) ** 2 + hidden**2 + _OUTLINE**2)
