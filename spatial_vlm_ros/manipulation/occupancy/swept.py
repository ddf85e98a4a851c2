# SPDX-License-Identifier: Apache-2.0
"""The space that arm, hand and held object pass through on an approved plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
_APART = 0.5  # of an edge: between two moments that are looked at no corner moves farther, or all of them are


def swept_space(motion: PlannedMotion, target_size: Vector3, margin: float, edge: float = EDGE) -> VoxelBlocks:
    """The voxels that anything moving on a plan comes nearer to than a margin.

    Args:
        motion: of the whole arm; links and frames of it.
        target_size: edge lengths of the object's box, metres; it moves with the frames.
        margin: metres around all that moves.
        edge: of a voxel, metres.

    Raises:
        InputError: the motion has no frames, as nothing is known of the arm.
    """
    if not motion.frames or not motion.links:
        reason = motion.missing or "no frame"
        raise InputError("motion of the arm", reason, "the arm at each moment", "give robot_description to the gate")
    hulls = [*(Hull(np.array(link.vertices)) for link in motion.links), box_hull(target_size)]
    tracks = [np.array([matrix_of(frame.links[k]) for frame in motion.frames]) for k in range(len(motion.links))]
    tracks.append(np.array([matrix_of(frame.target) for frame in motion.frames]))
    cells = [_passed(hull, track, margin, edge) for hull, track in zip(hulls, tracks, strict=True)]
    return voxels_at(np.concatenate(cells), edge)


def matrix_of(pose: Seven) -> Array:
    """(4, 4) of a position and a quaternion x, y, z, w."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = matrix_from_quaternion_xyzw(pose[3:]), pose[:3]
    return matrix


@dataclass(frozen=True)
class _Span:
    """Cells around a hull at one pose."""

    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]


def _passed(hull: Hull, track: Array, margin: float, edge: float) -> npt.NDArray[np.int32]:
    """(N, 3) cells that a hull comes nearer to than a margin, anywhere on a track (F, 4, 4), also between its poses."""
    found: list[npt.NDArray[np.int32]] = []
    last: Array | None = None
    for pose in track:
        if last is None:
            found.append(_cells(hull, pose, margin, edge))
            last = pose
            continue
        ways = np.linalg.norm(_placed(hull.vertices, pose) - _placed(hull.vertices, last), axis=1)
        steps = int(np.ceil(float(ways.max()) / (edge * _APART)))
        if steps == 0:
            continue
        if steps > 1:  # between two moments corners move in straight lines, as nearly as matters for such steps
            for share in np.arange(1, steps) / steps:
                between = last + (pose - last) * share
                u, _, vt = np.linalg.svd(between[:3, :3])
                between[:3, :3] = u @ vt
                found.append(_cells(hull, between, margin, edge))
        found.append(_cells(hull, pose, margin, edge))
        last = pose
    cells = np.concatenate(found)
    return np.unique(cells, axis=0)


def _cells(hull: Hull, pose: Array, margin: float, edge: float) -> npt.NDArray[np.int32]:
    placed = _placed(hull.vertices, pose)
    span = _Span(
        np.floor((placed.min(axis=0) - margin) / edge).astype(np.int64),
        np.ceil((placed.max(axis=0) + margin) / edge).astype(np.int64),
    )
    sizes = span.high - span.low
    if int(np.prod(sizes)) > MOST_CELLS:
        raise InputError("hull of a link", f"{sizes * edge} m", "a link of an arm", "give metres in the URDF")
    cells = np.indices(tuple(sizes)).reshape(3, -1).T + span.low
    middles = (cells + 0.5) * edge
    local = (middles - pose[:3, 3]) @ pose[:3, :3]
    reach = margin + edge * 3**0.5 / 2
    return np.asarray(cells[hull.within(local.astype(np.float32), np.full(len(local), reach))], np.int32)


def _placed(vertices: npt.NDArray[np.floating], pose: Array) -> Array:
    return np.asarray(vertices @ pose[:3, :3].T + pose[:3, 3], np.float64)


def box_hull(sizes: Sequence[float]) -> Hull:
    """The hull of a box about its middle, edge lengths in metres."""
    half = np.array(sizes) / 2
    return Hull(np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half)
