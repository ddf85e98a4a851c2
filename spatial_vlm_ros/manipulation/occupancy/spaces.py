# SPDX-License-Identifier: Apache-2.0
"""Converts occupied space to named boxes for planners, drawings and rechecks."""

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
"""Prefix of the names of occupied space, so that no detection has the same id."""
MEASURED, BESIDE, UNSEEN = f"{PREFIX}measured", f"{PREFIX}beside_target", f"{PREFIX}unseen"
INSIDE = f"{PREFIX}in_destination"
_INSIDE = 0.01  # metres outside the destination's box that its measured rim may be
_BESIDE = 0.02  # metres from the target's box within which an obstacle may touch it during the lift
_NEIGHBOURS = np.array(list(itertools.product((-1, 0, 1), repeat=3)), np.int32)


@dataclass(frozen=True)
class OccupiedSpace:
    """A group of unnamed obstacles that are treated alike.

    Args:
        id: MEASURED, BESIDE, INSIDE or UNSEEN.
        boxes: boxes along the axes of the planning frame; at least one.
    """

    id: str
    label: str
    boxes: tuple[Solid, ...]


def spaces_of(occupancy: Occupancy | None, target: Solid, entered: Solid | None = None) -> tuple[OccupiedSpace, ...]:
    """Divide occupied space into up to four parts.

    Obstacles measured within 2 cm of the target and no higher than its top are a separate part: the target may touch
    them during the lift, because moving up brings it no nearer. Those in the destination are another, which the
    target may touch while it is lowered, such as the wall of a bowl that its box enters. The gripper may touch neither.

    Args:
        occupancy: occupancy of a scene; None gives no parts.
    """
    if occupancy is None:
        return ()
    measured = occupancy.measured
    beside = is_beside(measured, target)
    inside = is_inside(measured, entered) & ~beside
    parts = (
        (MEASURED, "an object without a name", measured.kept(~beside & ~inside)),
        (BESIDE, "an object without a name beside the target", measured.kept(beside)),
        (INSIDE, "the rim or the contents of the place", measured.kept(inside)),
        (UNSEEN, "space that the camera does not see", occupancy.unseen),
    )
    return tuple(OccupiedSpace(id_, label, blocks.as_boxes()) for id_, label, blocks in parts if len(blocks))


def is_beside(measured: VoxelBlocks, target: Solid) -> npt.NDArray[np.bool_]:
    """(N,) whether voxels are within 2 cm of the target and no higher than its top, in the order of `centres`."""
    centres, half = measured.centres(), measured.edge / 2
    beside = within(target.grown((_BESIDE + half, _BESIDE + half, _BESIDE + half)), centres)
    return np.asarray(beside & (centres[:, 2] - half < target.top))


def is_inside(measured: VoxelBlocks, entered: Solid | None) -> npt.NDArray[np.bool_]:
    """(N,) whether voxels are in the space that the target enters in its destination, in the order of `centres`."""
    centres, more = measured.centres(), _INSIDE + measured.edge / 2
    return np.zeros(len(centres), np.bool_) if entered is None else within(entered.grown((more, more, 0.0)), centres)


def changed_since(then: Occupancy | None, now: Occupancy) -> Occupancy:
    """Space that is occupied now and was not when the plan was made, with a tolerance of one voxel for noise."""
    if then is None:
        return now
    known = [widened(blocks) for blocks in (then.measured, then.unseen)]
    measured, unseen = now.measured, now.unseen
    for blocks in known:
        measured, unseen = without(measured, blocks), without(unseen, blocks)
    return replace(now, measured=measured, unseen=unseen)


def widened(blocks: VoxelBlocks) -> VoxelBlocks:
    """Add the 26 neighbours of each voxel."""
    around = (blocks.indices[:, None, :] + _NEIGHBOURS).reshape(-1, 3)
    return voxels_at(around, blocks.edge, blocks.origin)
