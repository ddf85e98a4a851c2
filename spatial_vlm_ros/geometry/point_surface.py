# SPDX-License-Identifier: Apache-2.0
"""The measured surface at a point of the image: a mask for a model that outputs points, not boxes."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ShapeError
from spatial_vlm_ros.types import Depth, Mask

NEAREST = 3
"""Pixels around an unmeasured point in which the nearest measured pixel is used instead."""


def surface_at(
    depth: Depth,
    k: npt.NDArray[np.float64],
    point_xy: tuple[float, float],
    *,
    step: float,
    reach: float,
    of: Mask | None = None,
) -> Mask:
    """The connected surface at a point: the pixels reachable from it over depth steps of at most `step`.

    Neighbours are the four beside a pixel. A support is connected with the objects on it. Pass the pixels above it as
    `of` (`segmentation.raised_pixels`), or the surface spreads over the support as far as `reach`.

    Args:
        depth: (H, W) float32, metres; not finite or 0 where it is not measured.
        k: (3, 3) float64, pixels, of the rectified image; pixel (0, 0) has its middle at (0, 0).
        point_xy: x, y in pixels as models write them: (0, 0) is the top-left corner of the image.
        step: largest step in depth between neighbours, metres (`segmentation.depth_gap` for a sensor).
        reach: largest distance of the surface from the point in space, metres.
        of: (H, W) bool: pixels that may belong to it; None = all measured ones.

    Returns:
        (H, W) bool; nothing is set where no pixel within NEAREST pixels of the point is measured and part of `of`.
    """
    if depth.ndim != 2 or not depth.size:
        raise ShapeError("depth", "(H, W) metres", str(depth.shape))
    if np.shape(k) != (3, 3):
        raise ShapeError("k", "(3, 3) pixels", str(np.shape(k)))
    if of is not None and (of.shape != depth.shape or of.dtype != np.bool_):
        raise ShapeError("of", f"{depth.shape} bool, the shape of depth", f"{of.shape} {of.dtype}")
    height, width = depth.shape
    for name, length in (("step", step), ("reach", reach)):
        if not 0.0 < length < math.inf:
            raise InputError(name, str(length), "more than 0 m", "use a length in metres")
    if not (0.0 <= point_xy[0] <= width and 0.0 <= point_xy[1] <= height):
        raise InputError("point_xy", str(point_xy), f"a point in the image of {width}x{height} pixels")
    usable = np.isfinite(depth) & (depth > 0.0)
    if of is not None:
        usable &= of
    seed = _nearest(usable, point_xy)
    surface = np.zeros(depth.shape, np.bool_)
    if seed is None:
        return surface
    usable &= _within(depth, k, seed, reach)
    walls = np.ones((height + 2, width + 2), np.uint8)  # cv2.floodFill needs a border of one pixel
    walls[1:-1, 1:-1] = ~usable
    z = np.where(usable, depth, 0.0).astype(np.float32)
    flags = 4 | (255 << 8) | cv2.FLOODFILL_MASK_ONLY
    cv2.floodFill(z, walls, (seed[1], seed[0]), 0.0, step, step, flags)
    surface[:] = walls[1:-1, 1:-1] == 255
    return surface


def _nearest(usable: Mask, point_xy: tuple[float, float]) -> tuple[int, int] | None:
    """Row and column of the usable pixel nearest to a point, within NEAREST pixels of its own pixel."""
    height, width = usable.shape
    column, row = min(int(point_xy[0]), width - 1), min(int(point_xy[1]), height - 1)
    top, left = max(0, row - NEAREST), max(0, column - NEAREST)
    rows, columns = np.nonzero(usable[top : row + NEAREST + 1, left : column + NEAREST + 1])
    if not len(rows):
        return None
    best = int(np.argmin((rows + top - row) ** 2 + (columns + left - column) ** 2))
    return int(rows[best]) + top, int(columns[best]) + left


def _within(depth: Depth, k: npt.NDArray[np.float64], seed: tuple[int, int], reach: float) -> Mask:
    """(H, W) bool: pixels whose measured point lies within `reach` metres of the seed's."""
    rows = ((np.arange(depth.shape[0]) - k[1, 2]) / k[1, 1]).astype(np.float32)[:, None]
    columns = ((np.arange(depth.shape[1]) - k[0, 2]) / k[0, 0]).astype(np.float32)[None, :]
    z = np.where(np.isfinite(depth), depth, np.float32(np.inf)).astype(np.float32)
    z0 = float(depth[seed])
    x0, y0 = float(columns[0, seed[1]]) * z0, float(rows[seed[0], 0]) * z0
    with np.errstate(invalid="ignore"):
        near = (columns * z - x0) ** 2 + (rows * z - y0) ** 2 + (z - z0) ** 2 <= reach**2
    return np.asarray(near, np.bool_)
