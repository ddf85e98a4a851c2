# SPDX-License-Identifier: Apache-2.0
"""Finds the pixels that show the robot itself, and removes them from a frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ShapeError, TransformUnavailableError
from spatial_vlm_ros.geometry.camera import normalised_axes, normalised_grid
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.manipulation.planning.hulls import Array, Hull
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.types import Mask, RgbdFrame, RobotPixels, Transform

MOST_PADDING = 1.0  # metres: more is probably millimetres
SIGMAS = 3.0  # standard deviations of depth that the hulls grow by, in addition to their padding


@dataclass(frozen=True, eq=False)
class LinkHull:
    """A part of the robot, and its pose at the stamp of a frame."""

    base_T_link: Transform
    hull: Hull

    @property
    def name(self) -> str:
        """Name of the link."""
        return self.base_T_link.child


def self_mask(
    frame: RgbdFrame,
    links: Sequence[LinkHull],
    padding: float,
    config: DepthConfig | None = None,
    within: Mask | None = None,
) -> Mask:
    """Find the pixels that measured the robot.

    Args:
        padding: growth of each hull on all sides, metres, for pose errors and parts missing in its mesh.
        config: depth noise; hulls grow further by `SIGMAS` standard deviations at the depth of the pixel. Depth beyond
            its `far` is not trusted.
        within: (H, W) bool, pixels to check; None = all.

    Returns:
        (H, W) bool. True if the measured point lies in a grown hull: every face of the hull, of its box along the
        link's axes, and its sphere are moved outwards. This includes all points nearer to the hull than the growth, and
        some more near sharp edges. False without depth, or beyond `far`.
    """
    if frame.base_T_camera is None:
        reason = "the frame came without base_T_camera"
        raise TransformUnavailableError("base_link", frame.frame_id, reason, "set base_frame, and publish TF")
    if not 0 <= padding <= MOST_PADDING:
        repair = "0.02 m is usual"
        raise InputError("padding of the robot", str(padding), f"0 to {MOST_PADDING:g} m", repair)
    camera_T_base = frame.base_T_camera.inverse()
    poses = [camera_T_base @ link.base_T_link for link in links]
    mask = np.zeros(frame.depth.shape, np.bool_)
    config = config or DepthConfig()
    measured = (frame.depth > 0) & (frame.depth <= config.far)
    if within is not None:
        measured &= within
    if not measured.any():
        return mask

    z = np.where(measured, frame.depth, np.float32(np.nan))
    if frame.camera.is_rectified:
        xs, ys = normalised_axes(frame.camera)
        x, y = np.broadcast_to(xs, z.shape), np.broadcast_to(ys[:, None], z.shape)
    else:
        grid = normalised_grid(frame.camera)
        x, y = grid[..., 0], grid[..., 1]
    axes = (np.multiply(x, z, dtype=np.float32), np.multiply(y, z, dtype=np.float32), z)
    columns = np.stack([np.fmin.reduce(x, axis=0), np.fmax.reduce(x, axis=0)])  # least and greatest x/z of each
    rows = np.stack([np.fmin.reduce(y, axis=1), np.fmax.reduce(y, axis=1)])
    growth = _grown(z, padding, config).astype(np.float32, copy=False)
    farthest = float(np.nanmax(z))

    for link, camera_T_link in zip(links, poses, strict=True):
        hull = link.hull
        centre = camera_T_link.apply(hull.centre)
        across, down, ahead = (float(value) for value in centre)
        beyond = ahead + hull.radius + float(_grown(farthest, padding, config))
        most = float(_grown(min(max(beyond, 0.0), farthest), padding, config))  # grows with depth
        # Rows and columns around all pixels whose point may lie in the grown sphere.
        window = (
            _span(rows, _seen(down, ahead, hull.radius + most)),
            _span(columns, _seen(across, ahead, hull.radius + most)),
        )
        marked, grown = mask[window], growth[window]
        away = np.zeros(marked.shape, np.float32)
        for axis, middle in zip(axes, centre, strict=True):
            step = axis[window] - np.float32(middle)
            away += step * step
        around = grown + np.float32(hull.radius)
        near = (away <= around * around) & ~marked
        points = np.stack([axis[window][near] for axis in axes]) - camera_T_link.translation[:, None]  # (3, N)
        marked[near] = hull.within((camera_T_link.rotation.T @ points).T, grown[near])
    return mask


def remove_self(frame: RgbdFrame, mask: Mask, own: Mask | None = None) -> RgbdFrame:
    """A copy of the frame without depth at masked pixels; `RgbdFrame.robot` keeps that depth.

    Args:
        mask: (H, W) bool, from `self_mask`.
        own: (H, W) bool, the part of the mask that is the robot itself and not only near it, from `self_mask` with less
            padding; None = all of it.
    """
    for given in (mask, mask if own is None else own):
        if not isinstance(given, np.ndarray) or given.dtype != np.bool_ or given.shape != frame.depth.shape:
            received = f"{given.shape} {given.dtype}" if isinstance(given, np.ndarray) else type(given).__name__
            raise ShapeError("mask of the robot", expected=f"{frame.depth.shape} bool", received=received)
    nothing = np.float32(np.nan)
    taken, own = np.where(mask, frame.depth, nothing), mask if own is None else mask & own
    if frame.robot is not None:  # another robot before this one
        taken, own = np.where(mask, taken, frame.robot.depth), own | (frame.robot.own & ~mask)
    return replace(frame, depth=np.where(mask, nothing, frame.depth), robot=RobotPixels(taken, own))


def _grown(z: npt.NDArray[np.float32] | float, padding: float, config: DepthConfig) -> npt.NDArray[np.floating]:
    """Growth of hulls at a depth, metres."""
    return padding + SIGMAS * depth_noise(z, config)


def _seen(across: float, ahead: float, radius: float) -> tuple[float, float]:
    """Least and greatest slope of lines through the origin that meet a circle in front of the camera.

    Source: tangents of a circle, from (across - slope * ahead)^2 = radius^2 (1 + slope^2).
    """
    if ahead <= -radius:
        return math.inf, -math.inf
    below = ahead * ahead - radius * radius
    if ahead <= radius or below <= 0:
        return -math.inf, math.inf
    half = radius * math.sqrt(across * across + below)
    return (across * ahead - half) / below, (across * ahead + half) / below


def _span(least_and_greatest: Array, seen: tuple[float, float]) -> slice:
    hit = np.flatnonzero((least_and_greatest[1] >= seen[0]) & (least_and_greatest[0] <= seen[1]))
    return slice(int(hit[0]), int(hit[-1]) + 1) if len(hit) else slice(0, 0)
