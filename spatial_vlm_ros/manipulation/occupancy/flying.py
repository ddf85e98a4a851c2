# SPDX-License-Identifier: Apache-2.0
"""Which pixels of a depth image measured a surface, and not the way from one surface to another."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.geometry.segmentation import STEEPEST
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.types import Depth, Mask

_LEAST = 3 / 8  # of the measured pixels around one, of its surface: two pixels side by side have 5, a line of pixels 2
_SIGMAS = 3.0  # standard deviations that two pixels of one surface may differ by, beside its slope


def on_surface(depth: Depth, focal: float, config: DepthConfig) -> Mask:
    """Pixels that measured a surface.

    Left out are pixels on the way from one surface to another: depth there goes on rising, or falling, across the
    pixel faster than it does on any surface that a camera sees. A narrow object is nearer than both its sides, so its
    pixels stay. Left out, too, are pixels that have next to none of their own depth among what is measured around them.

    Args:
        depth: (H, W) float32, metres, NaN where not measured.
        focal: focal length, pixels.
        config: noise of depth.

    Returns:
        (H, W) bool; false where nothing is measured.
    """
    measured = np.isfinite(depth)
    if not measured.any():
        return measured
    filled = np.where(measured, depth, np.float32(0.0))
    slope = filled * np.float32(STEEPEST / focal)  # of the steepest surface, over one pixel
    noise = np.asarray(depth_noise(filled, config), np.float32) * np.float32(_SIGMAS)
    rising, falling = np.zeros(depth.shape, np.uint8), np.zeros(depth.shape, np.uint8)
    limit = slope + noise
    like, around = _alike(filled, measured, limit)
    for axis in (0, 1):
        before, after = _steps(depth, axis)
        with np.errstate(invalid="ignore"):
            rising |= ((before > slope) & (after > slope) & (before + after > 2 * limit)).view(np.uint8)
            falling |= ((before < -slope) & (after < -slope) & (before + after < -2 * limit)).view(np.uint8)
    return measured & (like > 0) & (like >= _LEAST * around) & (rising == 0) & (falling == 0)


def _steps(depth: Depth, axis: int) -> tuple[Depth, Depth]:
    """(H, W) twice: from the pixel before to each pixel, and from it to the next; NaN where one is not measured."""
    step = np.diff(depth, axis=axis)
    nothing = np.full_like(np.take(depth, [0], axis=axis), np.nan)
    return np.concatenate((nothing, step), axis=axis), np.concatenate((step, nothing), axis=axis)


def _alike(
    filled: Depth, measured: Mask, limit: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """(H, W) twice: how many of the 8 pixels around each are no farther from it in depth than `limit`, and measured."""
    height, width = filled.shape
    around = cv2.copyMakeBorder(filled, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=-1000.0)
    around[1:-1, 1:-1][~measured] = -1000.0
    count, known = np.zeros(filled.shape, np.uint8), np.zeros(filled.shape, np.uint8)
    for down in range(3):
        for across in range(3):
            if (down, across) != (1, 1):
                other = around[down : down + height, across : across + width]
                count += (np.abs(other - filled) <= limit).view(np.uint8)
                known += (other >= 0).view(np.uint8)
    return count, known
