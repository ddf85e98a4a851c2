# SPDX-License-Identifier: Apache-2.0
"""Occupied and unseen space around a target, from one depth image.

A point is an obstacle where it is measured on a surface and belongs to nothing that is known: support, target, other
objects, the robot (which depth leaves out already). Noise is kept out by statistics: points of a surface have others
beside them, they are farther from the support than its roughness, they come in patches no smaller than the smallest
object that must not vanish, and a voxel holds several of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.manipulation.occupancy.flying import on_surface
from spatial_vlm_ros.manipulation.occupancy.unseen import hidden_cells, measured_share, within
from spatial_vlm_ros.manipulation.occupancy.voxels import Indices, VoxelBlocks, voxels_at
from spatial_vlm_ros.manipulation.planning.solids import Array, Solid
from spatial_vlm_ros.parameters import DepthConfig, OccupancyConfig
from spatial_vlm_ros.types import Mask, RgbdFrame, Scene, Transform

_THIN_SEEN = 0.3  # part of the smallest object's pixels that is left of it above the support, and must be found
_LEAST_PIXELS = 4  # of a patch, however far away


@dataclass(frozen=True)
class Occupancy:
    """Obstacles that have no name, from depth.

    Args:
        measured: voxels in which a surface was measured that is not support, target, known object or robot.
        unseen: voxels that the camera does not see into, by policy `occupancy.unseen`.
        seen_share: part of the space around the target through which the gripper comes, the line of sight to which was
            measured, 0 to 1.
    """

    measured: VoxelBlocks
    unseen: VoxelBlocks
    seen_share: float


@dataclass(frozen=True)
class KnownBodies:
    """What depth shows and is not an obstacle without a name. Planning frame, metres.

    Args:
        target: its box.
        target_pixels: (H, W) bool, pixels of the target's mask; None where it has none.
        others: boxes of all other objects, what is not known of their places included.
        support_height: of the support below the target.
    """

    target: Solid
    target_pixels: Mask | None
    others: Sequence[Solid]
    support_height: float


def occupancy_of(
    scene: Scene, base_T_camera: Transform, known: KnownBodies, depth: DepthConfig, config: OccupancyConfig
) -> Occupancy | None:
    """Obstacles without a name around a target.

    Args:
        scene: of one frame; its depth leaves out the robot.
        base_T_camera: of the frame.
        known: what is no such obstacle.
        depth: noise of depth.
        config: voxels, region, policies.

    Returns:
        None where no depth is measured at all.
    """
    frame = scene.frame
    if not np.isfinite(frame.depth).any():
        return None
    pixels = obstacle_pixels(scene, base_T_camera, known, depth, config)
    points = points_of(frame, pixels)
    cells = filled_cells(points, base_T_camera, frame.camera.K[0, 0], config)
    measured = voxels_at(cells, config.edge)
    view = (frame, base_T_camera)
    unseen = hidden_cells(view, pixels, known.target, known.others, known.support_height, depth, config)
    share = measured_share(view, known.target, known.support_height, config)
    return Occupancy(measured, without(unseen, measured), share)


def obstacle_pixels(
    scene: Scene, base_T_camera: Transform, known: KnownBodies, depth: DepthConfig, config: OccupancyConfig
) -> Mask:
    """(H, W) bool: pixels that measured a surface of nothing that is known, inside the region around the target."""
    frame = scene.frame
    focal = float(frame.camera.K[0, 0])
    candidates = np.isfinite(frame.depth) & off_support(scene, base_T_camera, known, depth, config)
    if not candidates.any():
        return candidates
    candidates &= on_surface(frame.depth, focal, depth)
    if known.target_pixels is not None:
        candidates &= cv2.dilate(known.target_pixels.view(np.uint8), np.ones((5, 5), np.uint8)) == 0
    points = base_T_camera.apply(points_of(frame, candidates))
    inside = in_region(points, known, config)
    for body, margin in ((known.target, config.target_margin), *((o, config.known_margin) for o in known.others)):
        inside &= ~within(body.grown((margin, margin, margin)), points)
    candidates[candidates] = inside
    return _patches(candidates, frame.depth, focal, config)


def points_of(frame: RgbdFrame, pixels: Mask) -> Array:
    """(N, 3) points of pixels, metres, camera frame, row by row."""
    xs, ys = normalised_axes(frame.camera)
    rows, columns = np.nonzero(pixels)
    z = frame.depth[rows, columns].astype(np.float64)
    return np.stack((xs[columns] * z, ys[rows] * z, z), axis=1)


def in_region(points: Array, known: KnownBodies, config: OccupancyConfig) -> npt.NDArray[np.bool_]:
    """(N,) whether points (N, 3), planning frame, are near enough to the target to be kept."""
    aside = np.hypot(points[:, 0] - known.target.centre[0], points[:, 1] - known.target.centre[1])
    height = points[:, 2] - known.support_height
    return np.asarray((aside <= config.reach) & (height >= -config.below) & (height <= config.above))


def without(blocks: VoxelBlocks, others: VoxelBlocks) -> VoxelBlocks:
    """Voxels whose middles are in none of the others."""
    return blocks.kept(~others.holds(blocks.centres())) if len(blocks) and len(others) else blocks


def off_support(
    scene: Scene, base_T_camera: Transform, known: KnownBodies, depth: DepthConfig, config: OccupancyConfig
) -> Mask:
    """(H, W) bool: pixels that are farther from the support than its roughness and the noise of depth explain.

    The standard deviation of one point across the support is its roughness where it was measured, or that of depth,
    across the plane, where that is more: of a far part of it.
    """
    frame, plane = scene.frame, scene.support
    xs, ys = (axis.astype(np.float32) for axis in normalised_axes(frame.camera))
    if plane is None:
        up, offset, rms, sigma = base_T_camera.rotation[2], float(base_T_camera.translation[2]), 0.0, 0.0
        offset -= known.support_height
    else:
        up, offset, rms, sigma = plane.normal, plane.offset, plane.rms, plane.sigma
    slant = np.float32(up[0]) * xs[None, :] + np.float32(up[1]) * ys[:, None] + np.float32(up[2])
    height = slant * frame.depth + np.float32(offset)
    across = np.abs(slant) * np.asarray(depth_noise(frame.depth, depth), np.float32)
    roughness = np.maximum(across, np.float32(rms)) if plane is None else _growing(across, rms)
    limit = np.float32(config.support_gap) + np.float32(config.sigmas) * np.hypot(roughness, np.float32(sigma))
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(height) > limit)


def _growing(across: npt.NDArray[np.float32], rms: float) -> npt.NDArray[np.float32]:
    """(H, W) the measured roughness, growing as the noise of depth does beyond the middle of what is seen."""
    usual = float(np.nanmedian(across[::8, ::8])) if np.isfinite(across[::8, ::8]).any() else 0.0
    return np.asarray(np.float32(rms) * np.maximum(1.0, across / np.float32(max(usual, 1e-6))), np.float32)


def _patches(pixels: Mask, depth: npt.NDArray[np.float32], focal: float, config: OccupancyConfig) -> Mask:
    """The pixels without patches that are smaller than what is left of the smallest object that must not vanish."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(pixels.view(np.uint8), connectivity=8)
    if count < 2:
        return pixels
    where = labels[pixels]
    sums = np.bincount(where, depth[pixels].astype(np.float64), minlength=count)
    areas = np.maximum(stats[:, cv2.CC_STAT_AREA], 1)
    distance = np.maximum(sums / areas, 1e-3)
    least = np.maximum(_THIN_SEEN * config.thin_height * config.thin_width * (focal / distance) ** 2, _LEAST_PIXELS)
    large = areas >= least
    large[0] = False
    return np.asarray(large[labels])


def filled_cells(points: Array, base_T_camera: Transform, focal: float, config: OccupancyConfig) -> Indices:
    """(N, 3) cells that hold enough of the points (camera frame), of as many as a surface across the view would put."""
    if not len(points):
        return np.zeros((0, 3), np.int32)
    cells = np.floor(base_T_camera.apply(points) / config.edge).astype(np.int32)
    low = cells.min(axis=0)
    spans = (cells.max(axis=0) - low + 1).astype(np.int64)
    keys = np.ravel_multi_index(tuple((cells - low).T.astype(np.int64)), tuple(spans))
    kept, places, counts = np.unique(keys, return_inverse=True, return_counts=True)
    distance = np.bincount(places, points[:, 2]) / counts
    least = np.maximum(config.least_share * (focal * config.edge / distance) ** 2, config.least_points)
    chosen = np.stack(np.unravel_index(kept[counts >= least], tuple(spans)), axis=1)
    return np.asarray(chosen + low, np.int32)
