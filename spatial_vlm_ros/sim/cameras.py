# SPDX-License-Identifier: Apache-2.0
"""Usual cameras: rectified, 55° wide, principal point in the middle of the image."""

from __future__ import annotations

import numpy as np

from spatial_vlm_ros.types import PinholeCamera

_FOCAL = 610 / 640  # share of the width: colour sensor of a depth camera


def camera_of(width: int, height: int) -> PinholeCamera:
    """Make a camera with this image size, pixels."""
    f = _FOCAL * width
    return PinholeCamera(np.array([[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1]]), width, height)


VGA = camera_of(640, 480)
HD = camera_of(1280, 720)
