# SPDX-License-Identifier: Apache-2.0
"""Check that the measured surface of an object is one object: in one piece, and raised above its support."""

from __future__ import annotations

import numpy as np

from spatial_vlm_ros.geometry.segmentation import raised_pixels
from spatial_vlm_ros.parameters import LiftConfig
from spatial_vlm_ros.types import Mask, Plane, Points, RgbdFrame, SceneObject

GAP_PX = 4
"""Most columns without depth between two parts of one object: a step leaves a rim of 2 on either side."""


def measured_pixels(points: Points, frame: RgbdFrame) -> Mask:
    """(H, W) bool: the pixels of an object's visible surface.

    Args:
        points: (N, 3) metres, camera frame: a point for each pixel.
        frame: rectified frame that they were measured in.
    """
    x, y, z = np.asarray(points, np.float64).T
    K, (height, width) = frame.camera.K, frame.depth.shape
    pixels = np.zeros((height, width), np.bool_)
    columns = np.clip(np.rint(K[0, 0] * x / z + K[0, 2]).astype(np.intp), 0, width - 1)
    pixels[np.clip(np.rint(K[1, 1] * y / z + K[1, 2]).astype(np.intp), 0, height - 1), columns] = True
    return pixels


def object_pixels(obj: SceneObject, frame: RgbdFrame) -> Mask:
    """(H, W) bool: the pixels of an object's mask, or, without a mask, its measured pixels."""
    if obj.detection.mask is not None:
        return obj.detection.mask
    return measured_pixels(obj.points, frame)


def largest_piece(pixels: Mask, others: Mask | None = None) -> float:
    """Fraction of some pixels that belongs to the largest of their side-by-side pieces, 0 to 1.

    Pieces lie side by side if more than GAP_PX image columns between them have no pixel. Parts that lie above one
    another in the image are one piece: the near and the far wall of a bowl, for example, whose inside between them is
    as low as the table.

    Args:
        pixels: (H, W) bool; at least one is set.
        others: (H, W) bool, pixels of other objects, which may be in front of this one: they join the parts on both
            sides.
    """
    counts = np.count_nonzero(pixels, axis=0)
    held = counts > 0
    if others is not None:
        rows = np.flatnonzero(pixels.any(axis=1))
        held = held | others[rows[0] : rows[-1] + 1].any(axis=0)
    columns = np.flatnonzero(held)
    piece = np.cumsum(np.diff(columns, prepend=columns[0]) > GAP_PX + 1)
    return float(np.bincount(piece, counts[columns]).max() / counts.sum())


def raised_share(pixels: Mask, frame: RgbdFrame, support: Plane, lift_config: LiftConfig) -> float:
    """Fraction of some pixels that lie above the support by more than its roughness, 0 to 1.

    Args:
        pixels: (H, W) bool; at least one is set.
        frame: rectified frame.
        lift_config: least height above it.
    """
    return float(np.count_nonzero(pixels & raised_pixels(frame, support, lift_config)) / np.count_nonzero(pixels))
