# SPDX-License-Identifier: Apache-2.0
"""Truth for points as a mask image, for RefSpatial-Bench and Where2Place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.evaluation.benchmarks.protocol import BenchmarkAnswer, BenchmarkImage, FractionPoint
from spatial_vlm_ros.types import Mask


@dataclass(frozen=True)
class MaskTruth:
    """Mask of the right pixels of an image; see PointTruth.

    Args:
        mask: an image of the size of the item's; pixels that are not 0 in every channel are right.
        size: required (width, height) of the mask, pixels; None = not checked.
    """

    mask: BenchmarkImage
    size: tuple[int, int] | None = None

    def read(self) -> Mask:
        """(H, W) bool: the right pixels."""
        mask: Mask = np.any(self.mask.read() > 0, axis=2)
        if self.size is not None and mask.shape[::-1] != self.size:
            got = f"the mask has {mask.shape[1]}x{mask.shape[0]} pixels, the image {self.size[0]}x{self.size[1]}"
            raise FileError(self.mask.name, got, "download both again")
        return mask

    def credit(self, answer: BenchmarkAnswer) -> float:
        """Share of the points inside the mask; see share_inside."""
        return share_inside(answer.points, self.read()) if answer.points else 0.0

    def described(self) -> str:
        """What identifies the truth: the mask's name."""
        return Path(self.mask.name).name


def share_inside(points: Sequence[FractionPoint], mask: Mask) -> float:
    """Share of points inside a mask; points outside the image are not inside, and the share of no points is 0.

    Args:
        points: (x, y) as fractions of the image's width and height, 0 to 1.
        mask: (H, W) bool.
    """
    if not len(points):
        return 0.0
    height, width = mask.shape
    xy = np.asarray(points, np.float64).reshape(len(points), 2)
    if not np.isfinite(xy).all():
        raise InputError("points", str(points), "finite fractions of the image's size", "leave this point out")
    column, row = np.floor(xy * (width, height)).clip(-1, max(width, height)).astype(int).T
    there = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return float(mask[row[there], column[there]].sum()) / len(points)
