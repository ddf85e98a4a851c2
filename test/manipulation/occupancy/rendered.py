# SPDX-License-Identifier: Apache-2.0
"""Depth of boxes on a table, by rays, with noise of our own: a judge that shares no code with the package."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spatial_vlm_ros.types import Detection, PinholeCamera, RgbdFrame, Transform

WIDTH, HEIGHT, FOCAL = 640, 480, 560.0
CAMERA = PinholeCamera(np.array([[FOCAL, 0, 319.5], [0, FOCAL, 239.5], [0, 0, 1]]), WIDTH, HEIGHT)
Box = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Least and greatest corner, metres; the table is z = 0."""


def looking_down(height: float = 0.7, back: float = 0.7) -> Transform:
    """A camera that looks at (0, 0, 0) from `back` metres along -y and `height` metres up."""
    ahead = np.array([0.0, back, -height]) / np.hypot(back, height)
    right = np.array([1.0, 0.0, 0.0])
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack((right, np.cross(ahead, right), ahead), axis=1)
    matrix[:3, 3] = (0.0, -back, height)
    return Transform("base", "camera", matrix)


def depth_of(boxes: Sequence[Box], base_T_camera: Transform, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """(H, W) float32 metres of a table and boxes on it; noise: standard deviation at 1 m, metres, growing by range²."""
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    rays = np.stack(((u - 319.5) / FOCAL, (v - 239.5) / FOCAL, np.ones_like(u)), axis=-1).astype(np.float64)
    ways = rays @ base_T_camera.rotation.T
    eye = base_T_camera.translation
    with np.errstate(divide="ignore", invalid="ignore"):
        table = -eye[2] / ways[..., 2]
        best = np.where(table > 0, table, np.inf)
        for low, high in boxes:
            a, b = (np.array(low) - eye) / ways, (np.array(high) - eye) / ways
            enter, leave = np.minimum(a, b).max(axis=-1), np.maximum(a, b).min(axis=-1)
            best = np.where((enter <= leave) & (enter > 0), np.minimum(best, enter), best)
    best[best > 4.0] = np.nan
    best += np.random.default_rng(seed).normal(size=best.shape) * noise * best**2
    return best.astype(np.float32)


def frame_of(boxes: Sequence[Box], base_T_camera: Transform, noise: float = 0.0, seed: int = 0) -> RgbdFrame:
    """The same as a frame."""
    rgb = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    depth = depth_of(boxes, base_T_camera, noise, seed)
    return RgbdFrame(rgb, depth, CAMERA, 7, "camera", base_T_camera)


def detection_of(id_: str, box: Box, boxes: Sequence[Box], base_T_camera: Transform) -> Detection:
    """What a perfect detector says of one box among boxes."""
    alone, all_ = depth_of([box], base_T_camera), depth_of(boxes, base_T_camera)
    table = depth_of([], base_T_camera)
    mask = (alone == all_) & (alone != table)
    rows, columns = np.nonzero(mask)
    outline = (float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max()))
    return Detection(id_, "block", 0.9, outline, mask=mask)
