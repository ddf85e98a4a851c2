# SPDX-License-Identifier: Apache-2.0
"""Boxes in an image: left, top, right, bottom."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.types import Mask


def box_around(mask: Mask) -> tuple[float, float, float, float]:
    """Box around the set pixels of a mask: left, top, right, bottom, pixels. At least one pixel must be set."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def overlaps(boxes: npt.ArrayLike, others: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Intersection over union of each box with each other: (N, M), 0 to 1; 0 where both have no area.

    Args:
        boxes: (N, 4) or (4,), any unit.
        others: (M, 4) or (4,), the same unit.
    """
    a, b = (np.asarray(some, np.float64).reshape(-1, 4) for some in (boxes, others))
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    inner = np.clip(high - low, 0.0, None).prod(axis=2)
    areas = [np.clip(some[:, 2:] - some[:, :2], 0.0, None).prod(axis=1) for some in (a, b)]
    union = areas[0][:, None] + areas[1][None] - inner
    return np.divide(inner, union, out=np.zeros_like(inner), where=union > 0.0)
