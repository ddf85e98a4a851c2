# SPDX-License-Identifier: Apache-2.0
"""Cameras of the usual kind: rectified, 55° wide, principal point in the middle of the image."""

from __future__ import annotations

import numpy as np

from spatial_vlm_ros.types import PinholeCamera

_FOCAL = 610 / 640  # of the width: a depth camera's colour sensor


def camera_of(width: int, height: int) -> PinholeCamera:
    """A camera of that many pixels.

    Raises:
        InputError: a size is not positive.
    """
    f = _FOCAL * width
    return PinholeCamera(np.array([[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1]]), width, height)


VGA = camera_of(640, 480)
HD = camera_of(1280, 720)
