# SPDX-License-Identifier: Apache-2.0
"""Occupied space as what planners, drawings and rechecks get: boxes under names of our own."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.manipulation.occupancy.measuring import Occupancy, without
from spatial_vlm_ros.manipulation.occupancy.unseen import within
from spatial_vlm_ros.manipulation.occupancy.voxels import VoxelBlocks, voxels_at
from spatial_vlm_ros.manipulation.planning.solids import Solid

PREFIX = "occupancy/"
"""Before the names of occupied space, so that no detection has its id."""
MEASURED, BESIDE, UNSEEN = f"{PREFIX}measured", f"{PREFIX}beside_target", f"{PREFIX}unseen"
_BESIDE = 0.02  # metres from the target's box within which an obstacle may touch it while it is lifted off
_NEIGHBOURS = np.array(list(itertools.product((-1, 0, 1), repeat=3)), np.int32)


@dataclass(frozen=True)
class OccupiedSpace:
    """Obstacles without a name that are treated alike.

    Args:
        id: MEASURED, BESIDE or UNSEEN.
        label: for a person.
        boxes: level, along the axes of the planning frame; one at least.
    """

    id: str
    label: str
    boxes: tuple[Solid, ...]


def spaces_of(occupancy: Occupancy | None, target: Solid) -> tuple[OccupiedSpace, ...]:
    """Occupied space in up to three parts.

    What is measured within 2 cm of the target and no higher than its top is a part of its own: the target may touch it
    while it is lifted, for going up brings it no nearer. The gripper may not.

    Args:
        occupancy: of a scene; None has none.
        target: box of the object to take.
    """
    if occupancy is None:
        return ()
    measured = occupancy.measured
    beside = is_beside(measured, target)
    parts = (
        (MEASURED, "an object without a name", measured.kept(~beside)),
        (BESIDE, "an object without a name beside the target", measured.kept(beside)),
        (UNSEEN, "space that the camera does not see", occupancy.unseen),
    )
    return tuple(OccupiedSpace(id_, label, blocks.as_boxes()) for id_, label, blocks in parts if len(blocks))


def is_beside(measured: VoxelBlocks, target: Solid) -> npt.NDArray[np.bool_]:
    """(N,) whether voxels are within 2 cm of the target and no higher than its top, in the order of their middles."""
    centres, half = measured.centres(), measured.edge / 2
    beside = within(target.grown((_BESIDE + half, _BESIDE + half, _BESIDE + half)), centres)
    return np.asarray(beside & (centres[:, 2] - half < target.top))


def changed_since(then: Occupancy | None, now: Occupancy) -> Occupancy:
    """What is occupied now and was not when the plan was made, beside what noise moves by a voxel.

    Args:
        then: what was planned with.
        now: of a later image.
    """
    if then is None:
        return now
    known = [widened(blocks) for blocks in (then.measured, then.unseen)]
    measured, unseen = now.measured, now.unseen
    for blocks in known:
        measured, unseen = without(measured, blocks), without(unseen, blocks)
    return replace(now, measured=measured, unseen=unseen)


def widened(blocks: VoxelBlocks) -> VoxelBlocks:
    """With the 26 voxels around each."""
    around = (blocks.indices[:, None, :] + _NEIGHBOURS).reshape(-1, 3)
    return voxels_at(around, blocks.edge, blocks.origin)
