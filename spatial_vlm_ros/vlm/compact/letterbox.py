# SPDX-License-Identifier: Apache-2.0
"""Fit images of any size into the model's input, at the top left on grey, and convert coordinates back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import ShapeError
from spatial_vlm_ros.types import Rgb

_GREY = 114.0


@dataclass(frozen=True)
class Letterbox:
    """Placement of an image in the model's input.

    Args:
        width: image width, pixels.
        height: image height, pixels.
        inner_width: width of the part of the input that it fills, pixels.
        inner_height: height of the same part, pixels.
    """

    width: int
    height: int
    inner_width: int
    inner_height: int

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the image per pixel of the input, across and down."""
        return self.width / self.inner_width, self.height / self.inner_height


def letterbox(rgb: Rgb, width: int, height: int) -> tuple[npt.NDArray[np.float32], Letterbox]:
    """Fit an image into the model's input: (1, 3, height, width) float32, 0 to 255, and its placement.

    Args:
        rgb: (H, W, 3) uint8.
        width: width of the input, pixels.
        height: height of the input, pixels.
    """
    if not isinstance(rgb, np.ndarray) or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
        got = f"{np.shape(rgb)} {getattr(rgb, 'dtype', type(rgb).__name__)}"
        raise ShapeError("image", "(H, W, 3) uint8", got)
    rows, columns = rgb.shape[:2]
    scale = min(width / columns, height / rows)
    box = Letterbox(columns, rows, max(1, min(width, round(columns * scale))), max(1, min(height, round(rows * scale))))
    pixels = np.full((1, 3, height, width), _GREY, np.float32)
    planes = rgb.transpose(2, 0, 1).astype(np.float32)
    pixels[0, :, : box.inner_height, : box.inner_width] = resampled(planes, box.inner_height, box.inner_width)
    return pixels, box


def resampled(planes: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.float32]:
    """Resample (N, H, W) float32 linearly to another size, without aliasing if it becomes smaller."""
    down, across = _weights(planes.shape[1], height), _weights(planes.shape[2], width)
    return np.asarray(down @ planes @ across.T, np.float32)


@lru_cache(maxsize=32)
def _weights(given: int, wanted: int) -> npt.NDArray[np.float32]:
    """(wanted, given) weights: triangles around the new pixels' centres, as wide as the coarser of both pixels."""
    step = given / wanted
    centres = (np.arange(wanted) + 0.5) * step - 0.5
    far = np.abs(np.arange(given)[None] - np.clip(centres, 0, given - 1)[:, None]) / max(step, 1.0)
    weights = np.clip(1.0 - far, 0.0, None)
    weights = np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
    weights.setflags(write=False)
    return weights
