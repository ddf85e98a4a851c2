# SPDX-License-Identifier: Apache-2.0
"""Convert sensor_msgs/CameraInfo to the camera of the image that was really published.

Knows calibration fields, binning and regions of interest, but not pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.types import PinholeCamera

Array = npt.NDArray[np.float64]

# Names used by drivers for models of sensor_msgs/distortion_models.
_ALIASES = {"fisheye": "equidistant", "": "plumb_bob"}
# RealSense's own models. Without coefficients they are pinhole models; with coefficients no model here matches.
_ONLY_WITHOUT_COEFFICIENTS = ("inverse_brown_conrady", "modified_brown_conrady", "brown_conrady", "none")
_MOST_COEFFICIENTS = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}
_LARGEST_TURN = 1e-3  # R against the identity: a millimetre at a metre
_RECTIFIED = "subscribe to rectified topics (from image_proc or the driver) and set rectified: true"


def camera_of(message: Any, rectified: bool) -> PinholeCamera:
    """Camera of an image topic after cropping (`roi`) and binning, by P of rectified images, else by K and D."""
    K, P = _numbers(message, "k", 9).reshape(3, 3), _numbers(message, "p", 12).reshape(3, 4)
    D = _numbers(message, "d", None)
    if K[0, 0] == 0:  # CameraInfo.msg says that this means an uncalibrated camera
        repair = "calibrate the camera (camera_calibration), or set camera_info_url of the driver"
        raise InputError("CameraInfo", "K[0] = 0: the camera is not calibrated", "a calibrated camera", repair)
    if P[:, 3].any():  # the camera is not at the message's frame
        got = f"Tx, Ty, Tz = {P[0, 3]:.4g}, {P[1, 3]:.4g}, {P[2, 3]:.4g}"
        expected = "all 0; other values belong to the second camera of a stereo pair"
        raise InputError("CameraInfo P", got, expected, "use the first (left) camera, to which depth is registered")

    full_width, full_height = (_count(message, name) for name in ("width", "height"))
    bins_x, bins_y = (_count(message, name) or 1 for name in ("binning_x", "binning_y"))
    roi = getattr(message, "roi", None)  # in full-resolution pixels; sizes of 0 mean all
    x, y = _count(roi, "x_offset"), _count(roi, "y_offset")
    width, height = _count(roi, "width") or full_width, _count(roi, "height") or full_height
    if x + width > full_width or y + height > full_height:
        got = f"{width}x{height} at ({x}, {y})"
        repair = "set width and height of CameraInfo to the full image, and roi in pixels of it"
        raise InputError("roi of CameraInfo", got, f"a part of {full_width}x{full_height}", repair)

    if rectified:
        if D.any() and not P.any():
            repair = "publish P (camera_calibration writes it), or use the raw topics and set rectified: false"
            raise InputError("CameraInfo P", "P is zero, but D is not", "the matrix of the rectified image", repair)
        matrix, model, D = P[:, :3] if P.any() else K, "plumb_bob", np.zeros(0)
    else:
        R = _numbers(message, "r", 9).reshape(3, 3)  # image_geometry rotates the rays of raw images by it
        if R.any() and np.abs(R - np.eye(3)).max() > _LARGEST_TURN:
            got = "the camera is rotated relative to its rectified frame"
            raise InputError("CameraInfo R", got, "the identity matrix for raw images", _RECTIFIED)
        matrix, (model, D) = K, distortion(getattr(message, "distortion_model", ""), D)
    scale = np.array([[bins_x], [bins_y], [1]], np.float64)
    shift = np.zeros((3, 3))
    shift[:2, 2] = x, y
    return PinholeCamera((matrix - shift) / scale, width // bins_x, height // bins_y, model, tuple(D.tolist()))


def distortion(name: str, D: Array) -> tuple[str, Array]:
    """A model of types.DISTORTION_LENGTHS, and its number of coefficients."""
    given = name.strip()
    model = _ALIASES.get(given.lower(), given.lower())
    if D.any() and (not given or model in _ONLY_WITHOUT_COEFFICIENTS):
        expected = "plumb_bob or another distortion model of ROS"
        raise InputError("distortion model", f"{name!r} with coefficients", expected, _RECTIFIED)
    if model in _ONLY_WITHOUT_COEFFICIENTS:
        model = "plumb_bob"
    if model not in _MOST_COEFFICIENTS:
        raise UnknownNameError("distortion model", name, _MOST_COEFFICIENTS)
    if model == "equidistant" and len(D) and not D.any():
        got = "all zero, which describes a fisheye lens and not a pinhole"
        repair = "for images without distortion, publish plumb_bob; for a fisheye lens, rectify the images"
        raise InputError("equidistant coefficients D", got, "the coefficients of the lens", repair)
    if model == "rational_polynomial" and len(D) in (4, 5):  # the first five mean the same in both
        model = "plumb_bob"
    if not D.any():
        return model, np.zeros(0)
    most = _MOST_COEFFICIENTS[model]
    if D[most:].any():
        what = f"{model} coefficients D"
        expected = f"at most {most}, because thin prism and tilt are not supported"
        raise InputError(what, f"{len(D)}, and those after the first {most} are not zero", expected, _RECTIFIED)
    return model, D[:most]


def _numbers(message: Any, name: str, length: int | None) -> Array:
    """A field of numbers as float64; rclpy gives array.array, ndarray or list."""
    try:
        values = np.array(getattr(message, name), np.float64).reshape(-1)
    except (AttributeError, TypeError, ValueError) as error:
        repair = "check that the topic has the type CameraInfo"
        raise InputError(f"CameraInfo {name}", str(error), "numbers", repair) from error
    if length not in (None, len(values)) or not np.isfinite(values).all():
        expected = f"{length} finite numbers" if length else "finite numbers"
        raise InputError(f"CameraInfo {name}", f"{len(values)} numbers", expected, "check the calibration file")
    return values


def _count(message: Any, name: str) -> int:
    value = getattr(message, name, None)
    if not isinstance(value, (int, np.integer)) or value < 0:
        raise InputError(f"CameraInfo {name}", repr(value)[:40], "a whole number", "check the publisher")
    return int(value)
