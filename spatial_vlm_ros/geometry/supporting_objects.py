# SPDX-License-Identifier: Apache-2.0
"""Find what stands on what: objects reach down to the support plane or to the object that supports them.

The lowest visible point of a partly hidden object is not its bottom, and objects do not float.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.geometry.extent import Extent, ground_axes
from spatial_vlm_ros.geometry.levels import Levels, outside
from spatial_vlm_ros.geometry.segmentation import depth_gap
from spatial_vlm_ros.geometry.surface import Surface, nearer_run
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.types import Plane, RgbdFrame

Instances = npt.NDArray[np.signedinteger]

_OUTSIDE, _INSIDE = 6, 4  # pixels beside a mask's edge that are compared: depth is often missing at edges
_ROWS = 40  # rows of a mask that are used
_CUT = 0.5  # fraction of a side behind something nearer from which the object continues there
_WHOLE = 0.1  # the same up to which an object is seen in its whole width
_WIDTH_OF_HEIGHT = 0.8  # width over height of an object of unknown kind: cups, tins, cartons, toys


def owner_image(shape: tuple[int, ...], surfaces: Sequence[Surface], extents: Sequence[Extent | None]) -> Instances:
    """(H, W) int: index of the nearest object that each pixel belongs to, -1 for none."""
    owners = np.full(shape, -1, np.min_scalar_type(-1 - len(surfaces)))  # small: filling memory takes time
    depths = [(-extent.near_z, index) for index, extent in enumerate(extents) if extent is not None]
    for _, index in sorted(depths):
        owners[surfaces[index].window][surfaces[index].mask] = index
    return owners


def expected_widths(surfaces: Sequence[Surface], extents: Sequence[Extent | None]) -> list[float]:
    """Estimated width of each whole object, metres: that of similar objects, else guessed from its visible part.

    Similar objects have the same label and nothing cuts them. Without any, an object is assumed to be as wide as its
    visible depth, or as `_WIDTH_OF_HEIGHT` of its height, whichever is more.
    """
    whole: dict[str, list[float]] = {}
    for surface, extent in zip(surfaces, extents, strict=True):
        if extent is not None and surface.cut.most < _WHOLE:
            whole.setdefault(surface.detection.label, []).append(float(extent.span()[1]))
    widths = []
    for surface, extent in zip(surfaces, extents, strict=True):
        if extent is None:
            widths.append(0.0)
            continue
        like = whole.get(surface.detection.label)
        guess = max(float(extent.span()[0]) - extent.unseen, _WIDTH_OF_HEIGHT * (extent.top - extent.bottom))
        widths.append(max(float(extent.span()[1]), float(np.median(like)) if like else guess))
    return widths


def visibility(
    index: int,
    surface: Surface,
    extent: Extent,
    width: float,
    owners: Instances,
    frame: RgbdFrame,
    depth_config: DepthConfig,
    config: LiftConfig,
) -> tuple[float, int]:
    """Fraction of the whole silhouette that nothing covers, and the index of the main occluder (-1: none).

    A pixel of the silhouette is covered if it is clearly nearer than the object's nearest part, or belongs to another
    object, by `owners` (H, W), and is nearer than the object's middle. On a side that is cut the silhouette continues
    to `width`, metres, as far as it is covered; where it is not covered, the object would be visible.
    """
    corners = extent.footprint()
    missing = max(0.0, width - float(extent.span()[1]))
    sides = _covered_sides(surface, extent, frame, depth_config, config) if missing > 0 else []
    grown = [corners + np.array([0.0, side * missing / len(sides)]) for side in sides]
    pixels = _pixels(corners, extent, frame)
    if pixels is None:
        return 1.0, -1
    beyond = _pixels(np.concatenate((corners, *grown)), extent, frame) if missing > 0 and grown else pixels
    if beyond is None:
        beyond = pixels
    (u0, v0), (u1, v1) = beyond.min(axis=0).tolist(), beyond.max(axis=0).tolist()
    last_v, last_u = frame.depth.shape[0] - 1, frame.depth.shape[1] - 1
    left, top = min(max(0, math.floor(u0)), last_u), min(max(0, math.floor(v0)), last_v)
    right, bottom = min(max(0, math.ceil(u1)), last_u), min(max(0, math.ceil(v1)), last_v)
    shape, origin = (bottom - top + 1, right - left + 1), (left, top)
    estimated, whole = _filled(pixels, shape, origin), _filled(beyond, shape, origin)
    there, z = (image[top : bottom + 1, left : right + 1] for image in (owners, frame.with_robot))
    limit = extent.near_z - float(depth_gap(extent.near_z, depth_config, config))
    others = there >= 0
    hidden = (z < limit) | (others & (z < extent.middle_z))
    hidden &= whole & (there != index)
    covered = int(np.count_nonzero(hidden))
    if not covered:
        return 1.0, -1
    by = there[hidden & others]
    seen = int(np.count_nonzero(estimated & ~hidden))
    return seen / (seen + covered), int(np.bincount(by).argmax()) if len(by) else -1


def _covered_sides(
    surface: Surface, extent: Extent, frame: RgbdFrame, depth_config: DepthConfig, config: LiftConfig
) -> list[float]:
    """Sides (-1 left, 1 right) on which something nearer begins where the object ends."""
    mask, (rows, columns) = surface.mask, surface.window
    filled = np.flatnonzero(mask.any(axis=1))
    filled = filled[:: max(1, len(filled) // _ROWS)]
    edges = mask[filled].argmax(axis=1), mask.shape[1] - 1 - mask[filled, ::-1].argmax(axis=1)
    v, last_u = (filled + rows.start)[:, None], frame.depth.shape[1] - 1
    sides = []
    for side, edge in zip((-1, 1), edges, strict=True):
        u = (edge + columns.start)[:, None]
        beside, own = (
            np.fmin.reduce(frame.with_robot[v, np.clip(u + side * np.arange(*steps), 0, last_u)], axis=1)
            for steps in ((1, 1 + _OUTSIDE), (-_INSIDE, 1))
        )
        own = np.where(np.isfinite(own), own, np.float32(extent.middle_z))
        if np.count_nonzero(beside < own - depth_gap(own, depth_config, config)) > _CUT * len(filled):
            sides.append(float(side))
    return sides


def touches_border(surface: Surface, frame: RgbdFrame) -> bool:
    """True if the image border cuts the object."""
    rows, columns = surface.window
    height, width = frame.depth.shape
    return bool(rows.start <= 1 or columns.start <= 1 or rows.stop >= height - 1 or columns.stop >= width - 1)


def raised(corners: Array, level: float) -> Array:
    """(N, 3) corners (N, 2) along e1 and e2, with their height along up added."""
    at_level = np.empty((len(corners), 3))
    at_level[:, :2] = corners
    at_level[:, 2] = level
    return at_level


def _pixels(corners: Array, extent: Extent, frame: RgbdFrame) -> Array | None:
    """(2N, 2) pixels of an upright prism over corners (N, 2); None if it reaches behind the camera."""
    prism = np.concatenate((raised(corners, extent.bottom), raised(corners, extent.top)))
    rays = prism @ (frame.camera.K @ extent.basis).T  # the camera is rectified: K alone makes pixels
    return rays[:, :2] / rays[:, 2:] if rays[:, 2].min() > 0 else None


def _filled(pixels: Array, shape: tuple[int, int], origin: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Convex hull of pixels as a mask of a window."""
    mask = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull((pixels - origin).round().astype(np.int32)), 1)
    return mask.view(np.bool_)


# --------------------------------------------------------------------------------------------------
# Compute occlusion: the fraction of each object that nothing covers, what covers it, and cuts by the image border.
# What is hidden beside an object's visible part counts, too: for a cup whose left half stands behind a can only the
# right half is measured, and its visible fraction is a half, not 1.

Array = npt.NDArray[np.float64]

_AROUND_FOOT = 0.02  # metres around an object within which the supporting surface is measured
_FEW = 10  # points from which the height of a supporting object counts as seen
_TOP_SHARE = 0.9  # fraction of those points that may be the supporting object's sides
_COVERS, _OVERHANG = 0.5, 0.01  # fraction of a support's visible part inside an object's outline, or metres beside it
_SOME = 500  # points that show it
_LOWER = 0.002  # metres by which the middle of a supporting object is lower, at least, than that of the supported one
_HIDDEN_BOTTOM = 0.5  # fraction of its height, beyond 2 cm, that may be missing below the visible part of an object
_NEARER = 0.01  # metres, beyond noise, by which pixels of another object must be nearer to hide a foot
_FOOT_COVERED = 0.3  # fraction of a lower edge behind something nearer from which the foot is out of sight
_STEEP = 0.966  # sine of 75 degrees: from steeper above, sides are not visible


def standing(
    surfaces: Sequence[Surface],
    extents: Sequence[Extent | None],
    support: Plane | None,
    up: Array,
    frame: RgbdFrame,
    owners: Instances,
    depth_config: DepthConfig,
    config: LiftConfig,
) -> list[Extent | None]:
    """Move the bottoms of the extents down to what supports them.

    If the foot is visible, only a little may be missing below it, so an object on a shelf that is out of sight stays
    there. `owners` (H, W) is the index of the object that each pixel belongs to, -1 for none.
    """
    rows = [index for index, extent in enumerate(extents) if extent is not None]
    measured = [extent for extent in extents if extent is not None]
    reached = list(extents)
    if not measured:
        return reached
    # For fast search: middles of the outlines (M, 3), radii of circles around them, lowest visible heights.
    places = np.array([e.basis[:, :2] @ e.outline.mean(axis=0).astype(np.float64) for e in measured])
    radii = np.array([math.hypot(*e.span().tolist()) / 2 for e in measured])
    bottoms = np.array([e.bottom for e in measured])
    axes, pixel = ground_axes(np.array([0.0, 0.0, 1.0]), up), 1.0 / float(frame.camera.K[0, 0])
    slack, known = config.gap / 2, dict[int, Levels]()
    for number, (index, extent) in enumerate(zip(rows, measured, strict=True)):
        place, middle = places[number], (extent.bottom + extent.top) / 2
        levels = []
        if support is not None:
            levels.append(-(support.offset + float(support.normal @ place)) / float(support.normal @ up))
        apart = places - place
        begins = (np.sqrt((apart * apart).sum(axis=1)) <= radii) & (bottoms < middle - _LOWER)
        begins[number] = False
        for other in np.flatnonzero(begins).tolist():
            supporting, points = measured[other], surfaces[rows[other]].points
            x, y = (float(c) for c in supporting.basis[:, :2].T @ place)
            if cv2.pointPolygonTest(supporting.outline, (x, y), False) < 0:
                if abs(supporting.top - extent.bottom) < slack:  # it may hide most of what it lies on
                    some = points[:: 1 + len(points) // _SOME] @ extent.basis[:, :2].astype(np.float32)
                    if (outside(extent.footprint(), some.astype(np.float64)) < _OVERHANG).mean() > _COVERS:
                        levels.append(supporting.top)
                continue
            if other not in known:
                z = supporting.middle_z
                known[other] = Levels.of(points, axes, 0.0, z * pixel, float(depth_noise(z, depth_config)))
            outline = extent.footprint() @ (extent.basis[:, :2].T @ axes[:, :2])
            beneath = known[other].heights_beneath(outline, middle).tolist()
            levels += beneath
            if not beneath and (supporting.bottom + supporting.top) / 2 < middle - _LOWER:
                # The height of its visible points around there, else its top.
                radius = float(extent.span().mean()) / 2 + _AROUND_FOOT
                local = points @ supporting.basis.astype(np.float32)
                heights = np.sort(local[(local[:, 0] - x) ** 2 + (local[:, 1] - y) ** 2 < radius**2, 2])
                seen_there = float(heights[int(_TOP_SHARE * len(heights))]) if len(heights) >= _FEW else math.inf
                levels.append(min(seen_there, supporting.top))
        levels = [level for level in levels if level < extent.top - 1e-3 and level <= extent.bottom + slack]
        if not levels:
            continue
        gap, missing = extent.bottom - max(levels), max(slack, _HIDDEN_BOTTOM * (extent.top - extent.bottom) + 0.02)
        hidden = 0.0
        if gap > missing:
            hidden = _hidden_below(surfaces[index], extent, up, frame, owners, index, depth_config, config)
        if gap <= missing or gap <= slack + hidden:
            reached[index] = dataclasses.replace(extent, bottom=float(max(levels)))
    return reached


def _hidden_below(
    surface: Surface, extent: Extent, up: Array, frame: RgbdFrame, owners: Instances, index: int,
    depth_config: DepthConfig, config: LiftConfig,
) -> float:  # fmt: skip
    """Height that may be hidden below the visible part of an object, metres: covered, off the image, or underneath.

    0 if its foot is visible. An occluder ends somewhere, and below that the foot would be seen again. Another object's
    pixels need not be much nearer: cans in a row hide each other's feet.
    """
    middle = extent.basis @ extent.median
    steepness = float(-(middle @ up) / np.linalg.norm(middle))
    if steepness > _STEEP:
        return math.inf
    columns = np.flatnonzero(surface.mask.any(axis=0))
    lowest = surface.mask.shape[0] - 1 - np.argmax(surface.mask[::-1, columns], axis=0)
    rows, columns = lowest + surface.window[0].start + 1 + surface.rim, columns + surface.window[1].start
    own = frame.depth.take((rows - 1 - surface.rim) * frame.depth.shape[1] + columns, mode="clip")
    own = np.where(np.isfinite(own), own, np.float32(extent.near_z))
    inside = rows < frame.depth.shape[0]
    owner = owners.take(rows * frame.depth.shape[1] + columns, mode="clip")
    others = (owner >= 0) & (owner != index)
    gap = depth_gap(own, depth_config, config)
    limit = own - np.where(others, np.minimum(gap, _NEARER + 3.0 * depth_noise(own, depth_config)), gap)
    covered = ~inside
    covered[inside] = frame.with_robot[rows[inside], columns[inside]] < limit[inside]
    if np.count_nonzero(covered) <= _FOOT_COVERED * len(covered):
        return 0.0
    if not inside.all():
        return math.inf
    runs = nearer_run(frame.with_robot, rows[covered], columns[covered], (1, 0), limit[covered], len(frame.depth))
    hidden = float(np.median(runs))
    if float(rows[covered].max()) + hidden >= len(frame.depth):
        return math.inf
    per_pixel = extent.middle_z / frame.camera.K[1, 1] / math.sqrt(1.0 - steepness**2)
    return (hidden + surface.rim + 1) * per_pixel
