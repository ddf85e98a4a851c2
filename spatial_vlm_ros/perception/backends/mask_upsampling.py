# SPDX-License-Identifier: Apache-2.0
"""Upsample a model's coarse mask to the image size, only where it can have pixels.

Works on grids and boxes, for any model. The values are those of bilinear interpolation with pixel centres at halves
(torch.nn.functional.interpolate with align_corners=False).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

    from spatial_vlm_ros.types import Mask


def mask_above(
    coarse: torch.Tensor, threshold: float, size: tuple[int, int], box: Sequence[float] | None = None
) -> Mask:
    """Enlarge a coarse grid to the image and mark the pixels above a threshold.

    Args:
        coarse: (h, w) values.
        threshold: lower limit of the pixels to set.
        size: (height, width) of the image.
        box: left, top, right, bottom in pixels; pixels outside it are not set. None = the whole image.

    Returns:
        (height, width) bool mask.
    """
    mask: Mask = np.zeros(size, np.bool_)
    rows, columns = (
        _span(
            coarse.amax(dim=1 - axis) > threshold, size[axis], None if box is None else (box[1 - axis], box[3 - axis])
        )
        for axis in (0, 1)
    )
    if rows.start < rows.stop and columns.start < columns.stop:
        mask[rows, columns] = (_enlarged(coarse, size, rows, columns) > threshold).cpu().numpy()
    return mask


def _span(reached: torch.Tensor, length: int, limits: tuple[float, float] | None) -> slice:
    """Range of pixels along one axis that can be above the threshold, within limits.

    Args:
        reached: (n,) whether any cell of each row or column lies above.
        length: length of the axis, pixels.
        limits: first and last coordinate of the box, pixels.
    """
    cells: npt.NDArray[np.intp] = np.flatnonzero(reached.cpu().numpy())
    if not len(cells):
        return slice(0, 0)
    scale = length / len(reached)
    first, last = math.floor((cells[0] - 0.5) * scale) - 1, math.ceil((cells[-1] + 1.5) * scale) + 1
    if limits is not None:
        first, last = max(first, math.floor(limits[0])), min(last, math.ceil(limits[1]))
    return slice(max(first, 0), max(min(last, length), 0))


def _enlarged(coarse: torch.Tensor, size: tuple[int, int], rows: slice, columns: slice) -> torch.Tensor:
    """Enlarge a window of the grid to the image, bilinearly."""
    import torch

    (top, bottom, down), (left, right, across) = (
        _neighbours(n, length, span, coarse)
        for n, length, span in zip(coarse.shape, size, (rows, columns), strict=True)
    )
    upper, lower = coarse[top], coarse[bottom]
    above = torch.lerp(upper[:, left], upper[:, right], across)
    below = torch.lerp(lower[:, left], lower[:, right], across)
    return torch.lerp(above, below, down[:, None])


def _neighbours(
    n: int, length: int, span: slice, coarse: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """For each pixel of a span: the two cells of one axis it lies between, and the weight of the second."""
    import torch

    pixels = torch.arange(span.start, span.stop, device=coarse.device, dtype=torch.float32)
    places = ((pixels + 0.5) * (n / length) - 0.5).clamp(min=0.0)
    first = places.floor().long().clamp(max=n - 1)
    return first, (first + 1).clamp(max=n - 1), places - first
