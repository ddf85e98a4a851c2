# SPDX-License-Identifier: Apache-2.0
"""Whether what was measured of an object is one object: in one piece, and raised above what it stands on."""

from __future__ import annotations

import cv2
import numpy as np

from spatial_vlm_ros.geometry.segmentation import raised_pixels
from spatial_vlm_ros.parameters import LiftConfig
from spatial_vlm_ros.types import Mask, Plane, Points, RgbdFrame

GAP_PX = 4
"""Pixels without depth that two parts of one object may lie apart: a step leaves a rim of 2 on either side."""


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


def largest_piece(pixels: Mask) -> float:
    """Share of some pixels that their largest connected piece has, 0 to 1.

    Depth is left aside: between the near rim of a cup and its far wall there is a step, and both are the cup. Pixels
    hang together across a gap of GAP_PX, for at such steps depth is often not measured.

    Args:
        pixels: (H, W) bool; at least one is set.
    """
    wide = cv2.dilate(pixels.astype(np.uint8), np.ones((GAP_PX + 1, GAP_PX + 1), np.uint8))
    _, pieces = cv2.connectedComponents(wide, connectivity=8)
    return float(np.bincount(pieces[pixels]).max()) / float(np.count_nonzero(pixels))


def raised_share(pixels: Mask, frame: RgbdFrame, support: Plane, lift_config: LiftConfig) -> float:
    """Share of some pixels that lie above the support by more than its roughness, 0 to 1.

    Args:
        pixels: (H, W) bool; at least one is set.
        frame: rectified frame.
        support: plane under the objects.
        lift_config: least height above it.
    """
    return float(np.count_nonzero(pixels & raised_pixels(frame, support, lift_config)) / np.count_nonzero(pixels))
