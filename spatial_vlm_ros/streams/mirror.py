# SPDX-License-Identifier: Apache-2.0
"""Pictures that were mirrored left to right, and what was measured in them, turned back.

Knows the mirror alone: column u of an image w pixels wide lies at column w - 1 - u of the other one, and a direction
(x, y, z) of the one camera is (-x, y, z) of the other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.types import Detection, PinholeCamera

_T = TypeVar("_T", bound=np.generic)

_TANGENTIAL = 3  # place of p2 in D, of plumb_bob and of rational_polynomial


def turned_image(image: npt.NDArray[_T]) -> npt.NDArray[_T]:
    """(H, W) or (H, W, C) with its columns in the opposite order, contiguous."""
    return np.ascontiguousarray(image[:, ::-1])


def turned_camera(camera: PinholeCamera) -> PinholeCamera:
    """The camera of the turned image.

    The principal point moves to w - 1 - cx. Of the lens only p2 changes its sign: x' = -x in
    x g + 2 p1 x y + p2 (r² + 2 x²) and y g + p1 (r² + 2 y²) + 2 p2 x y gives the same terms with -p2, for the radial
    gain g and the equidistant model depend on the radius alone.
    """
    K = camera.K.copy()
    K[0, 2] = camera.width - 1 - K[0, 2]
    D = camera.D
    if camera.distortion_model != "equidistant" and len(D) > _TANGENTIAL:
        D = (*D[:_TANGENTIAL], -D[_TANGENTIAL], *D[_TANGENTIAL + 1 :])
    return replace(camera, K=K, D=D)


def turned_detection(detection: Detection, width: int) -> Detection:
    """A detection of the mirrored image, `width` pixels wide, in the turned one: its box, its mask and its front.

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
