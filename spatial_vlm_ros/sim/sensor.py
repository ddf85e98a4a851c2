# SPDX-License-Identifier: Apache-2.0
"""Usual cameras, and errors of a real depth sensor: noise, holes at edges, quantisation, dropouts, shine."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import ShapeError
from spatial_vlm_ros.sim.tabletop import as_bytes
from spatial_vlm_ros.types import Mask, PinholeCamera, RgbdFrame

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SensorNoise:
    """Errors of a real depth camera; shares are 0 to 1."""

    floor: float = 0.001  # standard deviation of depth at zero range, metres
    quadratic: float = 0.002  # growth of the noise with range squared, 1/metre
    correlated: float = 0.3  # share of the variance common to neighbouring pixels
    patch: int = 16  # extent of that correlation, pixels
    edge_jump: float = 0.03  # step in inverse depth of an edge, 1/metre: it is small on planes seen at a flat angle
    edge_loss: float = 0.6  # share of pixels at edges without measurement
    loss: float = 0.01  # share of all pixels without measurement
    step: float = 0.001  # depth is rounded to multiples of this, metres
    rgb: float = 2.0  # standard deviation of colour, on a scale of 255
    disparity_step: float = 0.0  # inverse depth is rounded to multiples of this, 1/metre, as in a stereo camera
    shine: float = 0.0  # share of shiny surfaces without measurement, in patches


STEREO = SensorNoise(disparity_step=0.001, shine=0.4)
"""Active stereo with a baseline of 5 cm, 640 pixels wide: 1/32 pixel is 1 mm at 1 m, 4 mm at 2 m; misses 40 % of
shiny surfaces."""


def noisy(
    frame: RgbdFrame, rng: np.random.Generator, noise: SensorNoise | None = None, shiny: Mask | None = None
) -> RgbdFrame:
    """Turn an exact frame into the measurement of a real sensor, with holes at edges and on `shiny` surfaces."""
    if shiny is not None and (shiny.shape != frame.depth.shape or shiny.dtype != np.bool_):
        raise ShapeError("shiny", f"{frame.depth.shape} bool", f"{shiny.shape} {shiny.dtype}")
    noise = SensorNoise() if noise is None else noise
    depth = frame.depth.astype(np.float64)
    deviation = noise.floor + noise.quadratic * depth**2
    height, width = depth.shape
    bumps = height // noise.patch + 2, width // noise.patch + 2
    shared = smooth_field(rng, depth.shape, bumps) * math.sqrt(noise.correlated)
    own = rng.standard_normal(depth.shape) * math.sqrt(1 - noise.correlated)
    felt = depth + deviation * (shared + own)
    if noise.disparity_step > 0:  # z = f b / d, so a step in d is one of z² / (f b) in z; Khoshelham and Elberink 2012
        with np.errstate(divide="ignore", invalid="ignore"):
            felt = np.asarray(1 / (np.round(1 / felt / noise.disparity_step) * noise.disparity_step), np.float64)
    measured = (np.round(felt / noise.step) * noise.step).astype(np.float32)
    inverse, around = np.nan_to_num(1 / frame.depth, nan=0.0), np.ones((3, 3), np.uint8)  # unmeasured: far away
    is_edge = np.subtract(cv2.dilate(inverse, around), cv2.erode(inverse, around)) > noise.edge_jump
    lost = rng.random(depth.shape) < np.where(is_edge, noise.edge_loss, noise.loss)
    measured = np.where(lost | ~(measured > 0), np.float32(np.nan), measured)
    rgb = as_bytes(frame.rgb + noise.rgb * rng.standard_normal(frame.rgb.shape))
    if shiny is not None and noise.shine > 0:
        patch = max(noise.patch // 2, 1)
        field = smooth_field(rng, depth.shape, (height // patch + 2, width // patch + 2))
        measured[shiny & np.less_equal(field, np.quantile(field, noise.shine))] = np.nan
    return replace(frame, rgb=rgb, depth=measured)


def smooth_field(rng: np.random.Generator, shape: tuple[int, ...], bumps: tuple[int, int]) -> Array:
    """(H, W) smooth noise of unit variance with so many bumps down and across."""
    height, width = shape
    coarse = rng.standard_normal(bumps)
    fine = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float64)
    return fine / max(float(fine.std()), 1e-9)


_FOCAL = 610 / 640  # share of the width: colour sensor of a depth camera


def camera_of(width: int, height: int) -> PinholeCamera:
    """Make a camera with this image size, pixels."""
    f = _FOCAL * width
    return PinholeCamera(np.array([[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1]]), width, height)


VGA = camera_of(640, 480)
HD = camera_of(1280, 720)
