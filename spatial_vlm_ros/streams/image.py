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
from spatial_vlm_ros.geometry.depth import ENCODINGS as DEPTH_ENCODINGS
from spatial_vlm_ros.geometry.depth import depth_from_image
from spatial_vlm_ros.streams.codecs import check_size, decode_image, decode_rvl, image_kind
from spatial_vlm_ros.types import Depth, Rgb

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
    if "jp" in (stored if is_known else source) or image_kind(data) == "jpeg" or source in RGB_ENCODINGS:
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
    if codec == "png" and image_kind(body) != "png":
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
