# SPDX-License-Identifier: Apache-2.0
"""Lengths with their standard deviations: gaps between objects, distances from a viewer and from edges, and sides.

An object is the prism over its outline from its underside to its top. A gap is the shortest distance between two
prisms. The edge of a table is where the plane stops in the image and the points beside it are lower or clearly farther
away. At the border of the image, behind objects and where nothing was measured it is unknown whether it continues.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.spatial import superlatives
from spatial_vlm_ros.spatial.free_space import nearest_points, ways_to
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
    """A measured length."""

    value: float  # metres
    sigma: float  # standard deviation, metres
    # (2, 3) ends of the line that it was measured along, ground coordinates; None without one
    ends: Array | None = None
    least: float | None = None  # lower bound, metres, if less is known than `sigma` says; else None

    @property
    def interval(self) -> tuple[float, float]:
        """Interval in metres that contains the true length with a probability of 0.95."""
        low = self.value - IN_INTERVAL * self.sigma
        low = low if self.least is None else min(low, self.least)
        return max(low, 0.0), self.value + IN_INTERVAL * self.sigma


# ------------------------------------------------------------------------------------------------ gaps


def gap_between(layout: Layout, one: int, other: int) -> LengthEstimate:
    """Shortest distance between two measured objects."""
    aside, first, second = nearest_points(layout.footprint[one], layout.footprint[other])
    up = max(layout.bottom[one] - layout.top[other], layout.bottom[other] - layout.top[one], 0.0)
    value = math.hypot(aside, up)
    low, high = max(layout.bottom[[one, other]]), min(layout.top[[one, other]])
    if low <= high:
        heights = (low + high) / 2, (low + high) / 2
    elif layout.bottom[one] > layout.bottom[other]:
        heights = layout.bottom[one], layout.top[other]
    else:
        heights = layout.top[one], layout.bottom[other]
    ends = np.array([[*first, heights[0]], [*second, heights[1]]])
    across = np.zeros(2) if aside < 1e-9 else (second - first) / aside
    variance = _side_variance(layout, one, across) + _side_variance(layout, other, -across)
    variance += (layout.tilt * (layout.centre[one, 2] - layout.centre[other, 2])) ** 2
    upright = _upright_variance(layout, one) + _upright_variance(layout, other)
    share = 1.0 if value < 1e-9 else (aside / value) ** 2
    return LengthEstimate(value, math.sqrt(share * variance + (1.0 - share) * upright), ends)


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
    variance = 0.0
    for row in (one, other):
        shape = layout.scene.objects[row].shape
        hidden = 0.0 if shape is None else shape.sigma
        side = _REACH / 2 * float(layout.mean_side[row])
        variance += float(layout.sigma[row]) ** 2 + side**2 + hidden**2 + _OUTLINE**2
    return LengthEstimate(float(np.linalg.norm(ends[0] - ends[1])), math.sqrt(variance), ends)


# ------------------------------------------------------------------------------------------------ sides


def side_of(layout: Layout, row: int, which: Length) -> LengthEstimate:
    """A length of an object, any except "all", defined as docs/relations.md compares them."""
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
    sigma = np.sqrt(noise**2 + cut**2 + (relative * sides) ** 2 + hidden**2 + _OUTLINE**2)
    longest, shortest = int(np.argmax(sides)), int(np.argmin(sides))
    index = {"height": 2, "width": 0, "depth": 1, "length": longest, "thickness": shortest}.get(which)
    if index is None:  # the diameter
        return LengthEstimate(float(sides[:2].mean()), float(np.hypot(*sigma[:2])) / 2)
    return LengthEstimate(float(sides[index]), float(sigma[index]))


# ------------------------------------------------------------------------------------------------ edges of surfaces

Flags = npt.NDArray[np.bool_]
_Kind = TypeVar("_Kind", bound=np.generic)

_COLUMNS = 320  # pixels of a row that are used
_LEVEL = 0.012  # metres around the plane that belong to it, in addition to noise
_LOWER = 0.025  # metres below the plane from which a point is not part of it
_BEYOND = 0.06  # metres farther away from which a point beside the plane is behind it
_SIDE_PIXELS = 4  # sampled pixels past the end of the plane: largest visible width of a table top's side
_LOOKED = 10  # the same if nothing was measured in between
_HOLE = 13  # of sampled pixels: holes in a surface, and shadows of objects on it, that are not its border
_ANGLE_DEG, _OFFSET = 3, 0.012  # search steps for straight edges
_ON_LINE = 0.012  # metres from a straight edge within which a place of the border belongs to it
_LEAST_PLACES = 14  # least number of places of a straight edge
_MOST_EDGES = 6
_NEAREST_SHARE = 0.02  # fraction of the unknown border's places, the nearest ones, that are ignored
_BLURRED = 2.5  # deviations of depth by which the end of a plane is not where depth ends
_TOWARDS = 0.7  # cosine of the angle between an edge's outward direction and a stated side


@dataclass(frozen=True, eq=False)
class SurfaceBorder:
    """The visible border of a surface, ground coordinates, metres."""

    edges: Array  # (E, 2, 2) straight edges, from end to end
    outward: Array  # (E, 2) unit directions away from the surface
    places: Array  # (K, 2) visible places of the border
    unknown: Array  # (U, 2) places where the surface may continue out of sight
    height: float


def table_border(layout: Layout, height: float = 0.0) -> SurfaceBorder:
    """The visible border of the plane at a height over the support plane."""
    # Pixels `_stride` apart: (h, w) bool for the surface, and for lower points; (h, w, 2) ground places of what is
    # measured, and of the surface that the pixel's ray meets.
    frame, stride = layout.scene.frame, _stride(layout)
    depth, K = frame.depth[::stride, ::stride].astype(np.float64), frame.camera.K
    rows, columns = np.indices(depth.shape) * stride
    rays = np.stack(((columns - K[0, 2]) / K[0, 0], (rows - K[1, 2]) / K[1, 1], np.ones_like(depth)), axis=2)
    rays = rays @ layout.axes
    over, noise = rays[..., 2] * depth + layout.floor - height, 0.0015 + 0.004 * depth**2
    ground = rays[..., :2] * depth[..., None]
    with np.errstate(invalid="ignore", divide="ignore"):
        on = np.abs(over) < _LEVEL + noise
        lower = over < -(_LOWER + 2 * noise)
        plane = rays[..., :2] * ((height - layout.floor) / rays[..., 2])[..., None]
    on &= ~_objects(layout, on.shape, tables=False)
    if on.sum() < _LEAST_PLACES:
        nothing = np.empty((0, 2))
        return SurfaceBorder(np.empty((0, 2, 2)), nothing, nothing, nothing, height)
    away = np.linalg.norm(ground, axis=2)
    seen, unknown = np.zeros_like(on), np.zeros_like(on)
    objects = _objects(layout, on.shape)
    filled = cv2.morphologyEx(on.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((_HOLE, _HOLE), np.uint8)) > 0
    about_objects = cv2.dilate(objects.astype(np.uint8), np.ones((_HOLE, _HOLE), np.uint8)) > 0
    unmeasured = np.isnan(away)
    places = []
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        inside = _shifted(np.ones_like(on), axis, step, 0)
        ends = on & inside & ~_shifted(on, axis, step, 0) & ~_shifted(objects, axis, step, 0)
        hole = ends.copy()
        for count in range(1, _LOOKED + 1):
            behind = _shifted(away, axis, count * step, np.nan)
            with np.errstate(invalid="ignore"):
                beyond = (behind > away + _BEYOND) & ~_shifted(on, axis, count * step, 0)
            past = _shifted(lower, axis, count * step, 0) | beyond
            found = (ends if count <= _SIDE_PIXELS else hole) & past & ~seen
            back, across = (count - 1) * step, plane
            if back:  # a pixel's own place past the end
                across = np.stack([_shifted(plane[..., k], axis, back, np.nan) for k in (0, 1)], axis=2)
            places.append(np.where(hole[found][:, None], (plane[found] + across[found]) / 2, ground[found]))
            seen |= found
            hole &= _shifted(unmeasured, axis, count * step, 0)
        unknown |= on & ~inside
        unknown |= ends & _shifted(unmeasured & ~filled & ~about_objects, axis, step, 0)
    unknown &= ~seen
    border = np.concatenate(places)
    edges, outward = _straight(border, ground[on].mean(axis=0))
    return SurfaceBorder(edges, outward, border, ground[unknown], height)


def _stride(layout: Layout) -> int:
    """Step between sampled pixels: about 320 samples in a row."""
    return max(2, round(layout.scene.frame.camera.width / _COLUMNS))


def _objects(layout: Layout, shape: tuple[int, ...], tables: bool = True) -> Flags:
    """(h, w) bool: pixels of detected objects on a surface; large flat objects are the surface itself."""
    found, step = np.zeros(shape, np.bool_), _stride(layout)
    for row, obj in enumerate(layout.scene.objects):
        if not layout.measured[row] or layout.top[row] < 0.015 or is_surface(layout, row):
            continue
        mask = obj.detection.mask
        if mask is not None:
            found |= mask[::step, ::step][: shape[0], : shape[1]]
        else:
            x0, y0, x1, y1 = (int(v / step) for v in obj.detection.box_xyxy)
            found[max(y0, 0) : y1 + 1, max(x0, 0) : x1 + 1] |= tables
    return found


def is_surface(layout: Layout, row: int) -> bool:
    """True if a detection is the table itself: its top is the support plane."""
    return bool(layout.measured[row] and abs(layout.top[row]) < 0.03 and layout.mean_side[row] > 0.35)


def _shifted(values: npt.NDArray[_Kind], axis: int, step: int, fill: float) -> npt.NDArray[_Kind]:
    """Values of the pixels some steps further along an axis."""
    shifted: npt.NDArray[_Kind] = np.roll(values, -step, axis=axis)
    index = [slice(None), slice(None)]
    index[axis] = slice(-step, None) if step > 0 else slice(None, -step)
    shifted[tuple(index)] = fill
    return shifted


def _straight(places: Array, middle: Array) -> tuple[Array, Array]:
    """Straight edges among (K, 2) border places, by votes over directions and offsets; and their outward directions."""
    edges: list[Array] = []
    outward: list[Array] = []
    left = places
    angles = np.radians(np.arange(0, 180, _ANGLE_DEG))
    normals = np.stack((np.cos(angles), np.sin(angles)), axis=1)
    while len(left) >= _LEAST_PLACES and len(edges) < _MOST_EDGES:
        offsets = left @ normals.T  # (K, A)
        bins = np.round(offsets / _OFFSET).astype(np.int64)
        low = int(bins.min())
        votes = np.zeros((int(bins.max()) - low + 1, len(normals)), np.int64)
        np.add.at(votes, (bins - low, np.broadcast_to(np.arange(len(normals)), bins.shape)), 1)
        best = np.unravel_index(int(np.argmax(votes)), votes.shape)
        normal, offset = normals[best[1]], float(best[0] + low) * _OFFSET
        for _ in range(3):
            near = np.abs(left @ normal - offset) < _ON_LINE
            if near.sum() < _LEAST_PLACES:
                break
            centre = left[near].mean(axis=0)
            _, _, axes = np.linalg.svd(left[near] - centre, full_matrices=False)
            normal = axes[1]
            offset = float(centre @ normal)
        near = np.abs(left @ normal - offset) < _ON_LINE
        if near.sum() < _LEAST_PLACES:
            break
        along = np.array([normal[1], -normal[0]])
        reach = left[near] @ along
        ends = np.array([reach.min(), reach.max()])
        if ends[1] - ends[0] > 0.05:
            edges.append(offset * normal + ends[:, None] * along)
            outward.append(normal if float(middle @ normal) < offset else -normal)
        left = left[~near]
    return np.array(edges).reshape(-1, 2, 2), np.array(outward).reshape(-1, 2)


def to_table_edge(layout: Layout, row: int, towards: Array | None = None, height: float = 0.0) -> LengthEstimate | None:
    """Distance from an object's outline to the nearest edge, `towards` (2,) or any, of the surface that it stands on.

    None if no edge is visible. If the surface may end nearer but out of sight, `least` is the lower bound.
    """
    border = table_border(layout, height)
    outline = layout.footprint[row]
    found: list[tuple[float, float, Array, Array]] = []
    for edge, outward in zip(border.edges, border.outward, strict=True):
        if towards is not None and float(outward @ towards) < _TOWARDS:
            continue
        reach = (outline - edge[0]) @ outward
        nearest = outline[int(np.argmax(reach))]
        distance = max(-float(reach.max()), 0.0)
        foot = nearest + distance * outward
        length = max(float(np.linalg.norm(edge[1] - edge[0])), 1e-6)
        along = float((foot - edge[0]) @ (edge[1] - edge[0])) / length
        past = max(-along, along - length, 0.0)  # beyond the visible part of the edge, which may be slightly rotated
        found.append((distance, _ON_LINE * past / length, nearest, foot))
    if not found:
        return None
    distance, turned, start, end = min(found, key=lambda each: each[0] + each[1])
    least = None
    if len(border.unknown) and towards is None:
        nearest_unknown = float(np.quantile(ways_to(border.unknown, outline), _NEAREST_SHARE))
        least = nearest_unknown if nearest_unknown < distance else None
    size = float(layout.mean_side[row])
    sigma = math.hypot(float(layout.sigma[row]), 0.04 * size, 0.005, turned, _BLURRED * float(layout.noise[row]))
    ends = np.array([[*start, height], [*end, height]])
    return LengthEstimate(distance, sigma, ends, least)


def to_outline_edge(layout: Layout, row: int, whole: int, towards: Array | None = None) -> LengthEstimate:
    """Distance from an object's outline to the nearest edge of another object's outline, on it or beside it."""
    outline, edge = layout.footprint[row], layout.footprint[whole]
    inside = outline[:, None] - edge
    side = np.roll(edge, -1, axis=0) - edge
    length = np.linalg.norm(side, axis=1)
    kept = length > 1e-9
    turn = (
        np.sign(float(np.cross(edge - edge.mean(axis=0), np.roll(edge, -1, axis=0) - edge.mean(axis=0)).sum())) or 1.0
    )
    outward = turn * np.stack((side[:, 1], -side[:, 0]), axis=1) / np.maximum(length, 1e-9)[:, None]
    if towards is not None:
        kept &= outward @ towards > _TOWARDS
    if not kept.any():
        kept = length > 1e-9
    depth = -(inside * outward).sum(axis=2)  # (K, M): how far each corner lies inside each edge
    least = depth.min(axis=0)
    height = float(layout.top[whole])
    blurs = (
        layout.sigma[row],
        layout.sigma[whole],
        0.005,
        0.05 * layout.mean_side[row],
        0.03 * layout.mean_side[whole],
    )
    sigma = math.hypot(*map(float, blurs))
    if (least[kept] >= -0.3 * layout.mean_side[row]).all():
        index = int(np.flatnonzero(kept)[np.argmin(least[kept])])
        corner = outline[int(np.argmin(depth[:, index]))]
        value = max(float(least[index]), 0.0)
        return LengthEstimate(value, sigma, np.array([[*corner, height], [*(corner + value * outward[index]), height]]))
    value, start, end = nearest_points(outline, edge)
    return LengthEstimate(value, sigma, np.array([[*start, height], [*end, height]]))


def side_direction(layout: Layout, row: int, word: str | None, frame: FrameOfReference) -> Array | None:
    """Unit direction (2,) on the ground of "the left edge", "the far edge"; None if no side was said."""
    ahead, right = (axis[0] for axis in layout.rays(layout.viewpoint(frame), np.array([row], np.intp)))
    return {"leftmost": -right, "rightmost": right, "nearest": -ahead, "farthest": ahead}.get(word or "")
