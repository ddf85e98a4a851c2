# SPDX-License-Identifier: Apache-2.0
"""Pictures of any size into the model's, and coordinates back. The image lies top left, grey beside it."""

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
    """How an image was put into the model's input.

    Args:
        width: of the image, pixels.
        height: of the image, pixels.
        inner_width: of the part of the input that it fills, pixels.
        inner_height: of the same part, pixels.
    """

    width: int
    height: int
    inner_width: int
    inner_height: int

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the image to one of the input, across and down."""
        return self.width / self.inner_width, self.height / self.inner_height


def letterbox(rgb: Rgb, width: int, height: int) -> tuple[npt.NDArray[np.float32], Letterbox]:
    """An image as the model takes it: (1, 3, height, width) float32, 0 to 255; how it was put there.

    Args:
        rgb: (H, W, 3) uint8.
        width: of the input, pixels.
        height: of the input, pixels.

    Raises:
        ShapeError: no image.
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
    """(N, H, W) float32 in another size, linear between pixels; without aliasing where it becomes smaller."""
    down, across = _weights(planes.shape[1], height), _weights(planes.shape[2], width)
    return np.asarray(down @ planes @ across.T, np.float32)


@lru_cache(maxsize=32)
def _weights(given: int, wanted: int) -> npt.NDArray[np.float32]:
    """(wanted, given): triangles about the new pixels' centres, as wide as the coarser of both pixels."""
    step = given / wanted
    centres = (np.arange(wanted) + 0.5) * step - 0.5
    far = np.abs(np.arange(given)[None] - np.clip(centres, 0, given - 1)[:, None]) / max(step, 1.0)
    weights = np.clip(1.0 - far, 0.0, None)
    weights = np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
    weights.setflags(write=False)
    return weights
