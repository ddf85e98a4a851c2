# SPDX-License-Identifier: Apache-2.0
"""Compute occlusion: the fraction of each object that nothing covers, what covers it, and cuts by the image border.

What is hidden beside an object's visible part counts, too: for a cup whose left half stands behind a can only the right
half is measured, and its visible fraction is a half, not 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.extent import Extent
from spatial_vlm_ros.geometry.segmentation import depth_gap
from spatial_vlm_ros.geometry.surface import Surface
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.types import RgbdFrame

Array = npt.NDArray[np.float64]
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
    object and is nearer than the object's middle. On a side that is cut the silhouette continues to `width`, as far as
    it is covered; where it is not covered, the object would be visible.

    Args:
        index: index of the object, as in `owners`.
        extent: its estimated extents.
        width: width of the whole object across the view, metres.
        owners: (H, W) index of the object that each pixel belongs to.
        frame: rectified frame.
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
    left, top, right, bottom = _window_of(beyond, frame.depth.shape)
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


def _window_of(pixels: Array, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Pixel bounds around pixels (N, 2), within the image: left, top, right, bottom."""
    (u0, v0), (u1, v1) = pixels.min(axis=0).tolist(), pixels.max(axis=0).tolist()
    last_v, last_u = shape[0] - 1, shape[1] - 1
    left, top = min(max(0, math.floor(u0)), last_u), min(max(0, math.floor(v0)), last_v)
    right, bottom = min(max(0, math.ceil(u1)), last_u), min(max(0, math.ceil(v1)), last_v)
    return left, top, right, bottom
