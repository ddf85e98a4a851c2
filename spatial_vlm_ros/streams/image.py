# SPDX-License-Identifier: Apache-2.0
"""Decode sensor_msgs/Image and sensor_msgs/CompressedImage to RGB and to metres.

Knows encodings, byte orders and row padding, but not cameras or time. Damaged data is refused with a typed error: a
subscriber that calls these functions never sees another one.
"""

from __future__ import annotations

import math
import struct
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.files import LARGEST_PIXELS
from spatial_vlm_ros.files.images import JPEG_SIGNATURE, PNG_SIGNATURE, damage_of, header_of
from spatial_vlm_ros.geometry.depth import ENCODINGS as DEPTH_ENCODINGS
from spatial_vlm_ros.geometry.depth import depth_from_image
from spatial_vlm_ros.types import Depth, PinholeCamera, Rgb

Octets = npt.NDArray[np.uint8]

# OpenCV names a mosaic by its second row from the second column on, ROS by its first pixel.
_BAYER = {
    "bayer_rggb8": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr8": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg8": cv2.COLOR_BayerGB2RGB,
}
_YUV = {  # both names of each; the first is the older one of sensor_msgs/image_encodings
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
}
# encoding -> (bytes per pixel, OpenCV's conversion to RGB, None if there is nothing to convert)
RGB_ENCODINGS = MappingProxyType(
    {
        "rgb8": (3, None),
        "bgr8": (3, cv2.COLOR_BGR2RGB),
        "rgba8": (4, cv2.COLOR_RGBA2RGB),
        "bgra8": (4, cv2.COLOR_BGRA2RGB),
        "mono8": (1, cv2.COLOR_GRAY2RGB),
        **{name: (1, code) for name, code in _BAYER.items()},
        **{name: (2, code) for name, code in _YUV.items()},
    }
)
SMALLEST_MOSAIC = 3  # pixels per side: below this, OpenCV returns black
_CONFIG_HEADER = struct.Struct("<iff")  # of compressed_depth_image_transport: format, depthParam[2]


# ------------------------------------------------------------------------------------------------ images


def decode_rgb(message: Any) -> Rgb:
    """Decode an image with one of RGB_ENCODINGS, or a compressed PNG or JPEG of 8 bits, to a contiguous copy.

    A compressed Bayer mosaic is recognised by its `format`; orientation tags are ignored.
    """
    if _is_compressed(message):
        source, _, stored = (part.strip() for part in _text(message, "format").partition(";"))
        if stored.startswith("compressedDepth"):
            repair = "use the colour topic, not the depth topic"
            raise InputError("image", f"format {source}; {stored}", "a colour or grey image", repair)
        image = decode_image(_octets(message).tobytes())
        if image.dtype != np.uint8:
            repair = "publish 8 bits per channel, and check that this is not a depth topic"
            raise InputError("image", f"{image.dtype} pixels", "8 bits per channel", repair)
        pixels = np.asarray(image, np.uint8)
        if pixels.ndim == 2 or pixels.shape[2] == 1:
            return _converted(pixels, _BAYER.get(source, cv2.COLOR_GRAY2RGB), source)
        order = "rgb" if "compressed rgb" in stored else "bgr"
        return _converted(pixels, RGB_ENCODINGS[order + ("8" if pixels.shape[2] == 3 else "a8")][1], "")

    encoding = _text(message, "encoding")
    if encoding not in RGB_ENCODINGS:
        raise UnknownNameError("image encoding", encoding, RGB_ENCODINGS)
    channels, code = RGB_ENCODINGS[encoding]
    view = raw_view(message, np.dtype(np.uint8), channels)
    if encoding in _YUV and view.shape[1] % 2:
        repair = "use an even width, because two pixels share their colour"
        raise InputError(f"width of a {encoding} image", str(view.shape[1]), "an even number", repair)
    return _converted(view, code, encoding)


def _converted(view: Octets, code: int | None, encoding: str) -> Rgb:
    """Convert pixels (H, W) or (H, W, C) to RGB, a new contiguous array."""
    if encoding in _BAYER and min(view.shape) < SMALLEST_MOSAIC:
        expected = f"at least {SMALLEST_MOSAIC} pixels on each side"
        raise InputError(f"{encoding} image", f"{view.shape[1]}x{view.shape[0]}", expected, "check width and height")
    if code is None:
        return np.array(view, np.uint8, order="C")
    try:
        return np.ascontiguousarray(cv2.cvtColor(view, code), np.uint8)
    except cv2.error as error:
        got = f"{view.shape}, which OpenCV cannot convert"
        raise InputError("image", got, "an image that OpenCV can convert", "check the publisher") from error


# ------------------------------------------------------------------------------------------------ depth


def decode_depth(message: Any, scale: float | None = None) -> Depth:
    """Decode a depth image message to metres, a copy; `scale` as in `depth_from_image`.

    It is a sensor_msgs/Image of encoding 16UC1, mono16 or 32FC1 in either byte order, or a CompressedImage of
    compressed_depth_image_transport (png or rvl), or holding a 16-bit PNG.
    """
    if not _is_compressed(message):
        encoding = _text(message, "encoding")
        if encoding in RGB_ENCODINGS or encoding.startswith("8"):
            raise _unit_lost(f"encoding {encoding}")
        if encoding not in DEPTH_ENCODINGS:
            raise UnknownNameError("depth encoding", encoding, DEPTH_ENCODINGS)
        kind, size, _ = DEPTH_ENCODINGS[encoding]
        order = ">" if _whole(message, "is_bigendian") else "<"
        return depth_from_image(raw_view(message, np.dtype(f"{order}{kind}{size}"), 1), encoding, scale)

    format_ = _text(message, "format")
    data = _octets(message).tobytes()
    source, _, stored = (part.strip() for part in format_.partition(";"))
    encoding = "16UC1" if source == "png" and not stored else source  # of a PNG, the file itself tells the rest
    is_known = encoding in DEPTH_ENCODINGS
    if "jp" in (stored if is_known else source) or data.startswith(JPEG_SIGNATURE) or source in RGB_ENCODINGS:
        raise _unit_lost(f"format {format_!r}")
    if not is_known:
        raise UnknownNameError("depth encoding", source, DEPTH_ENCODINGS)
    if stored.startswith("compressedDepth"):
        codec = stored.removeprefix("compressedDepth").strip() or "png"  # older versions do not name it
        image, a, b = _compressed_depth(data, codec)
    elif not stored and source in DEPTH_ENCODINGS:
        image, a, b = _compressed_depth(data, "png")
    else:
        image, a, b = decode_image(data), 0.0, 0.0
    if image.dtype == np.uint8:
        raise _unit_lost("8 bits a pixel")
    if encoding != "32FC1":
        return depth_from_image(image, encoding, scale)

    if not (0 < a < math.inf and -math.inf < b < math.inf):
        what = "depthParam of a 32FC1 compressedDepth header"
        repair = "publish it with compressed_depth_image_transport"
        raise InputError(what, f"{a:g}, {b:g}", "a positive number and a finite number", repair)
    if image.ndim != 2 or image.dtype != np.uint16:
        got = f"{image.shape} {image.dtype}"
        raise InputError("compressedDepth", got, "(H, W) uint16", "use compressed_depth_image_transport")
    inverse = np.asarray(image, np.float32)
    with np.errstate(divide="ignore", over="ignore"):
        depth = np.float32(a) / (inverse - np.float32(b))
    return depth_from_image(np.where(inverse > 0, depth, np.float32(np.nan)).astype(np.float32), encoding, scale)


def _compressed_depth(data: bytes, codec: str) -> tuple[npt.NDArray[np.generic], float, float]:
    """Stored pixels of a compressed_depth_image_transport message, and its two parameters."""
    if codec not in ("png", "rvl"):
        raise UnknownNameError("codec of compressedDepth", codec, ("png", "rvl"))
    if len(data) <= _CONFIG_HEADER.size:
        expected = "a header of 12 bytes and an image"
        raise InputError("compressedDepth", f"{len(data)} bytes", expected, "drop the message")
    _, a, b = _CONFIG_HEADER.unpack_from(data)
    body = data[_CONFIG_HEADER.size :]
    if codec == "png" and not body.startswith(PNG_SIGNATURE):
        repair = "publish it with compressed_depth_image_transport, or name the codec in the message's `format`"
        raise InputError("compressedDepth", "there is no PNG after the header of 12 bytes", "a PNG", repair)
    return (decode_image(body) if codec == "png" else decode_rvl(body)), a, b


def _unit_lost(got: str) -> InputError:
    repair = "subscribe to the raw or compressedDepth topic, because 8-bit and JPEG depth images have no unit"
    return InputError("depth image", got, "16UC1, mono16 or 32FC1, raw or compressedDepth", repair)


# ------------------------------------------------------------------------------------------------ fields


def raw_view(message: Any, dtype: np.dtype[Any], channels: int) -> npt.NDArray[Any]:
    """Pixels of a sensor_msgs/Image, a view without row padding: (H, W), or (H, W, channels) if there are several."""
    height, width = _whole(message, "height"), _whole(message, "width")
    step, data = _whole(message, "step"), _octets(message)
    row = width * channels * dtype.itemsize
    check_size(height, width)
    if step < row:
        expected = f"at least {row} for {width} pixels"
        raise InputError("step of an image", f"{step} bytes", expected, "check the encoding and the step")
    if len(data) < height * step:
        repair = "raise the limits of the transport or check the publisher, because the message is truncated"
        raise InputError("data of an image", f"{len(data)} bytes", f"{height} rows of {step}", repair)
    shape, strides = (height, width, channels), (step, channels * dtype.itemsize, dtype.itemsize)
    n = 2 if channels == 1 else 3
    return np.ndarray(shape[:n], dtype, buffer=data, strides=strides[:n])


def _is_compressed(message: Any) -> bool:
    return hasattr(message, "format") and not hasattr(message, "encoding")


def _field(message: Any, name: str) -> Any:
    try:
        return getattr(message, name)
    except AttributeError as error:
        what, expected = type(message).__name__, "sensor_msgs/Image or CompressedImage"
        raise InputError(what, f"it has no field {name}", expected, "check the type of the topic") from error


def _text(message: Any, name: str) -> str:
    value = _field(message, name)
    if not isinstance(value, str):
        raise InputError(f"field {name} of an image", repr(value)[:40], "a string", "check the publisher")
    return value


def _whole(message: Any, name: str) -> int:
    value = _field(message, name)
    if not isinstance(value, (int, np.integer)) or value < 0:
        raise InputError(f"field {name} of an image", repr(value)[:40], "a whole number", "check the publisher")
    return int(value)


def _octets(message: Any) -> Octets:
    """`data` as (N,) uint8 without copying: rclpy gives an array.array, rosbags an ndarray."""
    data = _field(message, "data")
    try:
        view = memoryview(data).cast("B")
    except (TypeError, ValueError) as error:
        got = type(data).__name__
        raise InputError("data of an image", got, "contiguous bytes", "check the publisher") from error
    return np.frombuffer(view, np.uint8) if len(view) else np.zeros(0, np.uint8)


# Compressed bytes to pixels: PNG, JPEG and RVL, whole or not at all. Decoders fill missing data with grey, zero or
# nothing, each version in its own way, so damage is searched for before they are called.

LARGEST = LARGEST_PIXELS  # of an image in a message, the same as for files
_LONGEST_RVL_NUMBER = 10  # nibbles of 3 bits each: more than 29 bits are never written


def check_size(height: int, width: int) -> None:
    """Refuse a size that is not positive, or that no camera has."""
    if min(height, width) <= 0 or height * width > LARGEST:
        repair = "check the publisher: the message is damaged or empty"
        raise InputError("image size", f"{width}x{height}", f"1 to {LARGEST} pixels", repair)


def decode_image(data: bytes) -> npt.NDArray[np.generic]:
    """Decode an undamaged PNG or JPEG: (H, W) or (H, W, 3 or 4), uint8 or uint16, in OpenCV's order, not turned."""
    try:
        header = header_of(data)
    except ValueError as error:
        got, repair = f"no whole header in {len(data)} bytes", "drop the message, or check the publisher"
        raise InputError("compressed image", got, "a complete PNG or JPEG", repair) from error
    if header is None or header.format not in ("PNG", "JPEG"):
        got = f"{len(data)} bytes that start with {data[:4].hex(' ') or 'nothing'}"
        repair = "set the format of the image transport to png or jpeg"
        raise InputError("compressed image", got, "a PNG or a JPEG", repair)
    check_size(header.height, header.width)
    damage = damage_of(data, header, counts=False)
    if damage is None:
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            image = None
        if image is not None and image.shape[:2] == (header.height, header.width):
            return np.asarray(image)
        damage = "it cannot be decoded"
    repair = "drop the message; if every message is damaged, check the publisher"
    raise InputError("compressed image", damage, "a complete PNG or JPEG", repair)


def decode_rvl(data: bytes) -> npt.NDArray[np.uint16]:
    """Decode a 16-bit image written by compressed_depth_image_transport with its codec "rvl": (H, W) uint16."""
    if len(data) < 12:
        raise _rvl_error(f"{len(data)} bytes")
    width, height = struct.unpack_from("<II", data)
    check_size(height, width)
    total = width * height

    # All numbers of the stream (N,), including those of the padding at its end.
    octets = np.frombuffer(data, "<u4", count=len(data) // 4 - 2, offset=8).astype(">u4").view(np.uint8)
    nibbles = np.stack([octets >> 4, octets & 15], axis=1).reshape(-1)
    ends = np.flatnonzero(nibbles < 8)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1 if len(ends) else np.zeros(1, np.int64)
    if not 0 < lengths.max() <= _LONGEST_RVL_NUMBER:
        raise _rvl_error("a number does not end")
    used = nibbles[: ends[-1] + 1].astype(np.int64) & 7
    shifts = 3 * (np.arange(len(used)) - np.repeat(starts, lengths))
    values = np.asarray(np.add.reduceat(used << shifts, starts))

    # First pixel, index of the first difference in `values`, and length of each run of non-zeros.
    runs = []
    at = pixel = 0
    while pixel < total:
        if at + 2 > len(values):
            raise _rvl_error(f"the numbers end at pixel {pixel} of {total}")
        zeros, count = int(values[at]), int(values[at + 1])
        runs.append((pixel + zeros, at + 2, count))
        pixel += zeros + count
        at += 2 + count
    if pixel > total or at > len(values):
        raise _rvl_error(f"{pixel} pixels and {at} numbers were read, but there are {total} and {len(values)}")
    pixels, firsts, counts = np.array(runs, np.int64).T
    inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)  # position within its run
    zigzag = values[np.repeat(firsts, counts) + inside]
    image = np.zeros(total, np.uint16)
    image[np.repeat(pixels, counts) + inside] = np.cumsum((zigzag >> 1) ^ -(zigzag & 1)) & 0xFFFF
    return image.reshape(height, width)


def _rvl_error(got: str) -> InputError:
    repair = "drop the message, or set the format of the codec to png"
    return InputError("RVL image", got, "a complete RVL stream", repair)


# ------------------------------------------------------------------------------------------------ camera info


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
