# SPDX-License-Identifier: Apache-2.0
"""Convert raw depth images to metres with NaN, check that they can be trusted, and model their noise.

Knows units, invalid values and noise, but not objects.
"""

from __future__ import annotations

import math
from functools import lru_cache
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import DepthError, InputError, ShapeError, UnknownNameError
from spatial_vlm_ros.geometry.camera import normalised_axes, normalised_grid, project
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.types import Depth, Floats, PinholeCamera, Transform

# encoding -> (dtype kind, bytes, metres per unit), REP-118
ENCODINGS = MappingProxyType({"16UC1": ("u", 2, 0.001), "mono16": ("u", 2, 0.001), "32FC1": ("f", 4, 1.0)})

MIN_VALID_FRACTION = 0.01  # less means a covered lens, a wrong topic or a sensor that looks at glass
MIN_IN_RANGE_FRACTION = 0.1  # a table to work on fills at least a tenth of the measured pixels
LARGEST_PLAUSIBLE_MEDIAN = 100.0  # metres: far beyond what any depth camera can measure
SMALLEST_PLAUSIBLE_MEDIAN = 0.02  # metres: the blind zone of any depth camera is larger
_SAMPLE_STEP, _MIN_SAMPLE = 19, 1000  # pixels: not a divisor of an image's width; enough for a median
OVERLAP = 1.2  # neighbouring footprints overlap by a fifth, so that surfaces turned towards the other view stay closed
LARGEST_FOOTPRINT = 32.0  # pixels: only points within about 10 cm of the lens would cover more


def depth_from_image(image: npt.NDArray[np.generic], encoding: str, scale: float | None = None) -> Depth:
    """Convert a depth image as published by sensors to metres.

    Zero, negative and infinite values become NaN.

    Args:
        image: (H, W) uint16 ("16UC1", "mono16": 0 = not measured) or float32 ("32FC1"), of either byte order.
        scale: metres per unit; None = 0.001 for integers, 1 for floats (REP-118).
    """
    if encoding not in ENCODINGS:
        raise UnknownNameError("depth encoding", encoding, ENCODINGS)
    kind, size, usual_scale = ENCODINGS[encoding]
    if image.ndim != 2 or image.dtype.kind != kind or image.dtype.itemsize != size:
        expected = f"(H, W) {'uint16' if kind == 'u' else 'float32'} for encoding {encoding}"
        raise ShapeError("depth image", expected=expected, received=f"{image.shape} {image.dtype}")
    factor = usual_scale if scale is None else float(scale)
    if not 0 < factor < math.inf:
        raise InputError("depth scale", str(scale), "metres per unit, more than 0", "use 0.001 for millimetres")
    if kind == "u":
        table, units = _metres_of_units(factor), np.asarray(image, np.uint16)
        if _lut_knows_16_bits() and units.size:  # in half the time
            return np.asarray(cv2.LUT(np.ascontiguousarray(units), table), np.float32)
        return table.take(units)
    return _metres(image, factor)


def _metres(image: npt.NDArray[np.generic], factor: float) -> Depth:
    """Multiply by `factor`, in metres; NaN for values that are not a distance."""
    with np.errstate(over="ignore", invalid="ignore"):  # infinities and signalling NaNs are handled below
        metres = (image.astype(np.float64) * factor).astype(np.float32)
    metres[~((metres > 0) & (metres < np.inf))] = np.nan
    return metres


@lru_cache(maxsize=4)
def _metres_of_units(factor: float) -> Depth:
    """(65536,) metres of every 16-bit depth: a lookup needs no intermediate image of doubles."""
    table = _metres(np.arange(65536, dtype=np.uint16), factor)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=1)
def _lut_knows_16_bits() -> bool:
    """True if cv2.LUT takes tables of 65,536 entries, as in OpenCV 5."""
    image, table = np.array([[0, 7, 65535]], np.uint16), np.arange(65536, dtype=np.float32)
    try:
        found = cv2.LUT(image, table)
    except cv2.error:
        return False
    return bool(np.array_equal(found, table[image]))


def check_depth(depth: Depth, config: DepthConfig) -> None:
    """Raise if a depth image is not good enough to compute poses from."""
    near, far = max(config.near, SMALLEST_PLAUSIBLE_MEDIAN), min(config.far, LARGEST_PLAUSIBLE_MEDIAN)
    some = depth.reshape(-1)[::_SAMPLE_STEP]
    inside = np.count_nonzero((near <= some) & (some <= far))
    if inside >= _MIN_SAMPLE and 2 * inside > len(some):
        return  # the median of the measured pixels is fine too, and takes longer to find
    measured = int(np.count_nonzero(_measured(depth)))
    if measured == 0:
        raise DepthError(
            "no pixel has measured depth", "check that the depth stream is running and that the lens is not covered"
        )
    if measured < MIN_VALID_FRACTION * depth.size:
        repair = "check the exposure and the emitter, and whether the camera looks at glass or is too close"
        raise DepthError(f"only {measured} of {depth.size} pixels have measured depth", repair)
    for step in (_SAMPLE_STEP, 1):
        sample = depth.reshape(-1)[::step]
        sample = sample[_measured(sample)]
        if len(sample) >= _MIN_SAMPLE:
            break
    median = float(np.median(sample))
    if median > LARGEST_PLAUSIBLE_MEDIAN:
        reason = f"the median depth is {median:.0f} m, so the values are probably millimetres passed as metres"
        raise DepthError(reason, "divide by 1000, or give the encoding 16UC1")
    if median < SMALLEST_PLAUSIBLE_MEDIAN:
        repair = "do not scale depth of encoding 32FC1"
        raise DepthError(
            f"the median depth is {median * 1000:.2f} mm, so the values are probably metres divided by 1000", repair
        )
    if config.near <= median <= config.far:
        return
    if np.mean((config.near <= sample) & (sample <= config.far)) < MIN_IN_RANGE_FRACTION:
        raise DepthError(
            f"the median depth is {median:.2f} m, outside the valid range of {config.near} to {config.far} m",
            "move the camera, check the depth unit, or set depth.near and depth.far",
        )


def _measured(depth: Depth) -> npt.NDArray[np.bool_]:
    """True where a depth is a measurement: some drivers write 0 where REP-118 asks for NaN."""
    return np.isfinite(depth) & (depth > 0)


def clip_depth(depth: Depth, config: DepthConfig) -> Depth:
    """Set depth outside the trusted range to NaN; the unchanged array if every measurement is in range.

    Source: the form of the test follows REP-117, so that NaN fails it.
    """
    if config.near <= np.fmin.reduce(depth, axis=None) and np.fmax.reduce(depth, axis=None) <= config.far:
        return depth  # copying and masking takes several times as long
    clipped = depth.copy()
    np.copyto(clipped, np.float32(np.nan), where=~((config.near <= depth) & (depth <= config.far)))
    return clipped


def depth_noise(depth: Floats | float, config: DepthConfig) -> Floats:
    """Standard deviation of measured depth of any shape, metres; NaN where the depth is.

    Source: triangulating sensors lose precision with range squared (Khoshelham and Elberink 2012).
    """
    return np.asarray(config.noise_floor + config.noise_quadratic * depth * depth)


def register_depth(
    depth: Depth, depth_camera: PinholeCamera, rgb_camera: PinholeCamera, rgb_T_depth: Transform
) -> Depth:
    """Register depth to the colour camera: compute the depth, along its z, that it would have measured.

    Every measured pixel becomes a patch of the size it has in the colour image; where patches overlap, the nearest
    wins. Surfaces therefore stay closed at a higher resolution and hide what is behind them. Nothing is filled between
    patches, but NaN where nothing was measured.
    """
    size = (depth_camera.height, depth_camera.width)
    if depth.shape != size:
        raise ShapeError("depth image", expected=f"{size}, as in its camera", received=str(depth.shape))
    where = _measured(depth)
    z = depth[where].astype(np.float64)
    if depth_camera.is_rectified:
        xs, ys = normalised_axes(depth_camera)
        rows, columns = np.nonzero(where)
        plane = np.stack([xs[columns], ys[rows]], axis=1)
    else:
        plane = normalised_grid(depth_camera)[where]
    points = rgb_T_depth.apply(np.concatenate([plane * z[:, None], z[:, None]], 1))
    pixels = project(rgb_camera, points)
    magnification = z / np.where(points[:, 2] > 0, points[:, 2], np.nan)
    focal_ratio = np.diag(rgb_camera.K)[:2] / np.diag(depth_camera.K)[:2]
    footprint = np.clip(OVERLAP * magnification[:, None] * focal_ratio, 1.0, LARGEST_FOOTPRINT)  # (N, 2) pixels
    # Draw patches as wide as the footprint around the pixels, the nearest on top.
    usable = np.isfinite(pixels).all(axis=1) & (np.abs(pixels) < 1e6).all(axis=1)
    first = np.ceil(pixels[usable] - footprint[usable] / 2).astype(np.int64)
    last = np.ceil(pixels[usable] + footprint[usable] / 2).astype(np.int64)  # exclusive
    z32 = points[usable, 2].astype(np.float32)
    height, width = rgb_camera.height, rgb_camera.width
    nearest = np.full((height, width), np.inf, np.float32)
    widest = (last - first).max(axis=0, initial=0)
    for dx in range(widest[0]):
        for dy in range(widest[1]):
            u, v = first[:, 0] + dx, first[:, 1] + dy
            drawn = (u < last[:, 0]) & (v < last[:, 1]) & (u >= 0) & (v >= 0) & (u < width) & (v < height)
            np.minimum.at(nearest.reshape(-1), v[drawn] * width + u[drawn], z32[drawn])
    return np.where(np.isinf(nearest), np.float32(np.nan), nearest)
