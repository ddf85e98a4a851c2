# SPDX-License-Identifier: Apache-2.0
"""Finds the pixels of a depth image that measured a surface, without the flying pixels between two surfaces."""

from __future__ import annotations

import cv2
import numpy as np

from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.geometry.segmentation import STEEPEST
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.types import Depth, Mask

_LEAST = 3 / 8  # least share of measured neighbours on the same surface: of 8, two pixels side by side have 5, a line 2
_SIGMAS = 3.0  # standard deviations that two pixels of one surface may differ by, in addition to its slope


def on_surface(depth: Depth, focal: float, config: DepthConfig) -> Mask:
    """Mask of the pixels that measured a surface.

    It excludes pixels between two surfaces, where depth keeps rising or falling across the pixel faster than on any
    surface that a camera sees. A narrow object is nearer than both its sides, so its pixels stay. It also excludes
    pixels with hardly any measured neighbour at their own depth.

    Args:
        depth: (H, W) float32, metres, NaN where not measured.
        focal: focal length, pixels.

    Returns:
        (H, W) bool; false for pixels without depth.
    """
    measured = np.isfinite(depth)
    if not measured.any():
        return measured
    filled = np.where(measured, depth, np.float32(0.0))
    slope = filled * np.float32(STEEPEST / focal)  # slope of the steepest surface, over one pixel
    noise = np.asarray(depth_noise(filled, config), np.float32) * np.float32(_SIGMAS)
    rising, falling = np.zeros(depth.shape, np.uint8), np.zeros(depth.shape, np.uint8)
    limit = slope + noise
    height, width = filled.shape
    bordered = cv2.copyMakeBorder(filled, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=-1000.0)
    bordered[1:-1, 1:-1][~measured] = -1000.0
    like, around = np.zeros(filled.shape, np.uint8), np.zeros(filled.shape, np.uint8)  # of the 8 neighbours
    for down in range(3):
        for across in range(3):
            if (down, across) != (1, 1):
                other = bordered[down : down + height, across : across + width]
                like += (np.abs(other - filled) <= limit).view(np.uint8)
                around += (other >= 0).view(np.uint8)
    for axis in (0, 1):
        step = np.diff(depth, axis=axis)
        nothing = np.full_like(np.take(depth, [0], axis=axis), np.nan)
        before, after = np.concatenate((nothing, step), axis=axis), np.concatenate((step, nothing), axis=axis)
        with np.errstate(invalid="ignore"):
            rising |= ((before > slope) & (after > slope) & (before + after > 2 * limit)).view(np.uint8)
            falling |= ((before < -slope) & (after < -slope) & (before + after < -2 * limit)).view(np.uint8)
    return measured & (like > 0) & (like >= _LEAST * around) & (rising == 0) & (falling == 0)
