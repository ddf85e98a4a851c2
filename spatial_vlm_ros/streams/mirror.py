# SPDX-License-Identifier: Apache-2.0
"""Undo the left-right mirroring of images, and of what was measured in them.

Column u of an image w pixels wide is column w - 1 - u of the other one, and a direction (x, y, z) of one camera is
(-x, y, z) of the other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.types import Detection, PinholeCamera

_T = TypeVar("_T", bound=np.generic)

_TANGENTIAL = 3  # index of p2 in D, of plumb_bob and of rational_polynomial


def turned_image(image: npt.NDArray[_T]) -> npt.NDArray[_T]:
    """Reverse the columns of (H, W) or (H, W, C); the result is contiguous."""
    return np.ascontiguousarray(image[:, ::-1])


def turned_camera(camera: PinholeCamera) -> PinholeCamera:
    """Camera of the unmirrored image.

    The principal point moves to w - 1 - cx. Of the lens parameters only p2 changes its sign: x' = -x in
    x g + 2 p1 x y + p2 (r² + 2 x²) and y g + p1 (r² + 2 y²) + 2 p2 x y gives the same terms with -p2, because the
    radial gain g and the equidistant model depend only on the radius.
    """
    K = camera.K.copy()
    K[0, 2] = camera.width - 1 - K[0, 2]
    D = camera.D
    if camera.distortion_model != "equidistant" and len(D) > _TANGENTIAL:
        D = (*D[:_TANGENTIAL], -D[_TANGENTIAL], *D[_TANGENTIAL + 1 :])
    return replace(camera, K=K, D=D)


def turned_detection(detection: Detection, width: int) -> Detection:
    """Convert a detection of the mirrored image, `width` pixels wide, to the unmirrored one: box, mask and front.

    The sides of a box are borders, from 0 to `width`: [x0, x1) becomes [width - x1, width - x0).
    """
    left, top, right, bottom = detection.box_xyxy
    front = detection.front
    return replace(
        detection,
        box_xyxy=(width - right, top, width - left, bottom),
        mask=None if detection.mask is None else turned_image(detection.mask),
        front=None if front is None else (-front[0], front[1], front[2]),
    )
