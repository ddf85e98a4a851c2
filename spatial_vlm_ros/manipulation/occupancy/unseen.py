# SPDX-License-Identifier: Apache-2.0
"""Computes the space that the camera cannot see, and how much of the gripper's way it does see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.manipulation.occupancy.voxels import Indices, VoxelBlocks, voxels_at
from spatial_vlm_ros.manipulation.planning.solids import Array, Solid
from spatial_vlm_ros.parameters import DepthConfig, OccupancyConfig
from spatial_vlm_ros.types import Mask, RgbdFrame, Transform, Vector3

View = tuple[RgbdFrame, Transform]
"""A frame and the pose of its camera in the planning frame."""

SOLID = 0.25
"""Probability from which hidden space is an obstacle to grasps, planner and recheck; below, it is a cost for grasps."""
CHANCES = ((0.0, 0.70), (0.01, 0.53), (0.02, 0.30), (0.03, 0.12), (0.04, 0.05))
"""Probability that hidden space is occupied, up to each level distance behind what is seen of an obstacle, metres.

Measured by `research.experiments.arm_on_others` (`hidden_space`): 13 development tables of others' meshes, 5,887 cells.
"""
_SIGMAS = 3.0  # standard deviations that a voxel has to be nearer than the measured depth to count as seen free
_WAY_STEP = 0.02  # metres between the sampled positions on the way
_WAY_ASIDE, _WAY_ABOVE = 0.12, 0.22  # metres around and above the target that the gripper passes through
_STRIPE = 8  # pixels: width of the parts of an obstacle whose back is found together
_ENDS = (0.05, 0.95)  # quantiles of their distances: the front and the back of what is seen of them
_FROM_ABOVE = math.sin(math.radians(15.0))  # downward part of a line of sight from which a top is seen to its end


@dataclass(frozen=True)
class HiddenSpace:
    """Hidden space that is occupied with one probability, 0 to 1."""

    chance: float
    voxels: VoxelBlocks


def hidden_cells(
    view: View,
    obstacles: Mask,
    target: Solid,
    others: Sequence[Solid],
    support_height: float,
    depth: DepthConfig,
    config: OccupancyConfig,
) -> tuple[HiddenSpace, ...]:
    """Space above the support that is not visible and may be occupied, the most probable first.

    Args:
        obstacles: (H, W) bool, pixels that measured an obstacle without a name.
        support_height: metres.
    """
    edge, cells = config.edge, _behind(view, obstacles, config)
    cells = cells[cells[:, 2] * edge > support_height + config.support_gap]
    middles: Array = (cells[:, :3].astype(np.float64) + 0.5) * edge
    kept = np.ones(len(cells), np.bool_)
    for body, margin in ((target, config.target_margin), *((other, config.known_margin) for other in others)):
        kept &= ~within(body.grown((margin + edge / 2,) * 3), middles)
    measured, z, _ = _looked_up(view, middles)
    with np.errstate(invalid="ignore"):  # no line of sight passes: no farther depth is measured at their pixels
        kept &= ~(measured > z + edge / 2 + _SIGMAS * depth_noise(z, depth))
    cells = cells[kept]
    spaces = [voxels_at(cells[cells[:, 3] == row, :3], edge) for row in range(len(CHANCES))]
    return tuple(HiddenSpace(chance, space) for (_, chance), space in zip(CHANCES, spaces, strict=True) if len(space))


def inside_region(
    points: Array, ways: Sequence[Vector3], support_height: float, config: OccupancyConfig
) -> npt.NDArray[np.bool_]:
    """(N,) whether points (N, 3), metres, planning frame, are near enough to the arm's way to be kept as obstacles."""
    height = points[:, 2] - support_height
    tall = (height >= -config.below) & (height <= config.above)
    start = np.array(ways[0][:2])
    aside = np.full(len(points), np.inf)
    for end in ways[1:] or ways[:1]:
        line = np.array(end[:2]) - start
        along = (points[:, :2] - start) @ line / max(float(line @ line), 1e-12)
        nearest = start + np.clip(along, 0.0, 1.0)[:, None] * line
        aside = np.minimum(aside, np.hypot(*(points[:, :2] - nearest).T))
    return np.asarray(tall & (aside <= config.reach))


def measured_share(
    view: View, target: Solid, support_height: float, config: OccupancyConfig, places: Sequence[Vector3] = ()
) -> float:
    """Share of the gripper's approach space with a measured line of sight, 0 to 1.

    A body measured nearer to the camera and too far from the way to be an obstacle, such as an arm before the lens,
    hides what is behind it.

    Args:
        support_height: metres.
        places: positions where it may be put; the space there is checked in the same way, and the smallest share
            counts.
    """
    frame, base_T_camera = view
    xs, ys = normalised_axes(frame.camera)
    half = math.hypot(*target.size[:2]) / 2 + _WAY_ASIDE
    aside = np.arange(-half, half + 1e-9, _WAY_STEP)
    tall = max(target.top - support_height, 0.0)
    ways = (target.centre, *places)
    shares = []
    for (x, y, _), foot in zip(ways, (support_height, *(place[2] for place in places)), strict=True):
        up = np.arange(foot + config.support_gap, foot + tall + _WAY_ABOVE + 1e-9, _WAY_STEP)
        grid = np.stack(np.meshgrid(x + aside, y + aside, up, indexing="ij"), axis=-1).reshape(-1, 3)
        measured, z, pixels = _looked_up(view, grid)
        with np.errstate(invalid="ignore"):
            nearer = np.flatnonzero(measured < z)
        rows, columns = pixels[nearer].T
        before = np.stack((xs[columns], ys[rows], np.ones(len(nearer))), axis=1) * measured[nearer, None]
        seen = np.isfinite(measured)
        seen[nearer] = inside_region(base_T_camera.apply(before), ways, support_height, config)
        shares.append(float(seen.mean()))
    return min(shares)


def _behind(view: View, obstacles: Mask, config: OccupancyConfig) -> Indices:
    """(N, 4) cells on the lines of sight behind obstacles, without duplicates, and the row of CHANCES of each.

    They reach `behind` beyond each pixel, and as far as CHANCES behind what is seen of the obstacle in that direction:
    from above, its back edge is seen, so that what is hidden behind it is rarely its own. If the view is level, or the
    image ends, its back may be `behind` its front. What is measured has a back of one voxel.
    """
    frame, base_T_camera = view
    xs, ys = normalised_axes(frame.camera)
    rows, columns = np.nonzero(obstacles)
    if not len(rows):
        return np.zeros((0, 4), np.int32)
    z = frame.depth[rows, columns].astype(np.float64)
    rays = np.stack((xs[columns], ys[rows], np.ones(len(rows))), axis=1)
    lengths = np.linalg.norm(rays, axis=1)

    def away(points: Array) -> Array:
        return np.asarray(np.hypot(*(points - base_T_camera.translation)[:, :2].T))

    patch = cv2.connectedComponents(obstacles.view(np.uint8), connectivity=8)[1][rows, columns]
    stripes = patch.astype(np.int64) * obstacles.shape[1] + columns // _STRIPE
    seen, backs = away(base_T_camera.apply(rays * z[:, None])), np.empty(len(z))
    from_above = (rays @ base_T_camera.rotation[2] < -_FROM_ABOVE * lengths) & (rows > 0)
    order = np.argsort(stripes, kind="stable")
    for of_it in np.split(order, np.flatnonzero(np.diff(stripes[order])) + 1):
        front, back = np.quantile(seen[of_it], _ENDS)
        backs[of_it] = back if from_above[of_it].all() else max(back, front + config.behind)
    found = []
    for beyond in np.arange(config.edge / 2, config.behind + 1e-9, config.edge / 2):
        points = base_T_camera.apply(rays * (z + beyond / lengths)[:, None])
        row = np.searchsorted([end for end, _ in CHANCES], away(points) - backs) * (beyond > config.edge)
        near = row < len(CHANCES)
        found.append(_once(np.column_stack((np.floor(points[near] / config.edge), row[near])).astype(np.int32)))
    cells = _once(np.concatenate(found))
    first = np.diff(cells[:, :3], axis=0, prepend=cells[:1, :3] - 1).any(axis=1)  # sorted: the most probable row
    return cells[first]


def _looked_up(view: View, points: Array) -> tuple[Array, Array, npt.NDArray[np.intp]]:
    """Project points (N, 3), planning frame, into the depth image.

    Returns:
        (N,) measured depth, metres, NaN if none; (N,) depth of the points, metres; (N, 2) row and column, 0 outside the
        image.
    """
    frame, base_T_camera = view
    own = base_T_camera.inverse().apply(points)
    z = own[:, 2]
    K = frame.camera.K
    with np.errstate(divide="ignore", invalid="ignore"):
        u = np.rint(K[0, 0] * own[:, 0] / z + K[0, 2])
        v = np.rint(K[1, 1] * own[:, 1] / z + K[1, 2])
    height, width = frame.depth.shape
    seen = (z > 0) & (u >= 0) & (v >= 0) & (u < width) & (v < height)
    pixels = np.zeros((len(points), 2), np.intp)
    pixels[seen] = np.column_stack((v[seen], u[seen]))
    measured = np.full(len(points), np.nan)
    measured[seen] = frame.depth[pixels[seen, 0], pixels[seen, 1]]
    return measured, z, pixels


def within(solid: Solid, points: Array) -> npt.NDArray[np.bool_]:
    """(N,) whether points (N, 3) lie in an upright box."""
    c, s = math.cos(solid.yaw), math.sin(solid.yaw)
    x, y, z = (points - np.array(solid.centre)).T
    half = np.array(solid.size) / 2
    return np.asarray((np.abs(c * x + s * y) <= half[0]) & (np.abs(c * y - s * x) <= half[1]) & (np.abs(z) <= half[2]))


def _once(cells: Indices) -> Indices:
    if not len(cells):
        return cells
    low = cells.min(axis=0)
    spans = tuple((cells.max(axis=0) - low + 1).astype(np.int64).tolist())
    keys = np.unique(np.ravel_multi_index(tuple((cells - low).T.astype(np.int64)), spans))
    return np.asarray(np.stack(np.unravel_index(keys, spans), axis=1) + low, np.int32)
