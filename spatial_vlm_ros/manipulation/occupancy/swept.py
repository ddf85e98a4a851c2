# SPDX-License-Identifier: Apache-2.0
"""Computes the space that arm, hand and held object pass through on an approved plan."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.manipulation.occupancy.voxels import MOST_CELLS, VoxelBlocks, voxels_at
from spatial_vlm_ros.manipulation.planned_motion import PlannedMotion, Seven
from spatial_vlm_ros.manipulation.planning.hulls import Hull
from spatial_vlm_ros.manipulation.planning.solids import Array
from spatial_vlm_ros.types import Vector3

EDGE = 0.02  # metres of a voxel of swept space


def swept_space(motion: PlannedMotion, target_size: Vector3, margin: float, edge: float = EDGE) -> VoxelBlocks:
    """Voxels that a moving part comes nearer to than a margin during a plan.

    Args:
        target_size: edge lengths of the object's box, metres; it moves with the frames.
        margin: metres around all moving parts.
        edge: edge of a voxel, metres.
    """
    if not motion.frames or not motion.links:
        reason = motion.missing or "no frame"
        raise InputError("motion of the arm", reason, "the arm at each moment", "set robot_description of the gate")
    hulls = [*(Hull(np.array(link.vertices)) for link in motion.links), box_hull(target_size)]
    tracks = [np.array([matrix_of(frame.links[k]) for frame in motion.frames]) for k in range(len(motion.links))]
    tracks.append(np.array([matrix_of(frame.target) for frame in motion.frames]))
    found: list[npt.NDArray[np.int32]] = []  # of each part, the cells that the surface of its grown hull passes
    for hull, track in zip(hulls, tracks, strict=True):
        # Inside the surface is the link itself: an object must pass the surface before it can be measured there.
        step = edge / 2
        spans = [np.arange(-(h + margin), h + margin + step, step) for h in hull.half]
        points = np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1).reshape(-1, 3) + hull.centre
        away = hull.outside_by(points)
        skin = np.asarray(points[(away <= margin) & (away >= margin - 3 * step)], np.float64)
        passed = [_placed(skin, track[0])]
        for last, pose in itertools.pairwise(track):
            ways = np.linalg.norm(_placed(hull.vertices, pose) - _placed(hull.vertices, last), axis=1)
            steps = math.ceil(float(ways.max()) / edge)
            # Between two poses corners move almost in straight lines, accurate enough for steps of one voxel.
            passed += [_placed(skin, last + (pose - last) * (k / steps)) for k in range(1, steps + 1)]
        found.append(np.floor(np.concatenate(passed) / edge).astype(np.int32))
    low, high = np.min([cells.min(axis=0) for cells in found], axis=0), np.max([c.max(axis=0) for c in found], axis=0)
    sizes = high - low + 1
    if math.prod(sizes.tolist()) > MOST_CELLS:
        raise InputError("motion of the arm", f"{sizes * edge} m", "the size of an arm", "use metres in the URDF")
    grid = np.zeros(tuple(sizes), np.bool_)
    for cells in found:
        grid[tuple((cells - low).T)] = True
    return voxels_at(np.argwhere(grid) + low, edge)


def matrix_of(pose: Seven) -> Array:
    """Convert a position in metres and a quaternion x, y, z, w to a (4, 4) matrix."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = matrix_from_quaternion_xyzw(pose[3:]), pose[:3]
    return matrix


def _placed(points: npt.NDArray[np.floating], pose: Array) -> Array:
    return np.asarray(points @ pose[:3, :3].T + pose[:3, 3], np.float64)


def box_hull(sizes: Sequence[float]) -> Hull:
    """Hull of a box about its centre; edge lengths in metres."""
    half = np.array(sizes) / 2
    return Hull(np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half)
