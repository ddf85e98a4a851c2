# SPDX-License-Identifier: Apache-2.0
"""What stands in the way of a swept gripper, by name and distance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.manipulation.planning.goal import Rejection, Side
from spatial_vlm_ros.manipulation.planning.scene import SUPPORT, PlanningObject, PlanningScene
from spatial_vlm_ros.manipulation.planning.solids import Array, Body, Solid, distances
from spatial_vlm_ros.parameters import GoalConfig

_ROUNDING = 1e-9  # metres: what stands exactly at its clearance is clear


@dataclass(frozen=True)
class Way:
    """One way of the gripper that is tried.

    Args:
        side: how the object is approached.
        gripper: boxes that it sweeps, one at least.
        object: boxes that the object in it sweeps.
    """

    side: Side
    gripper: tuple[Body, ...]
    obj: tuple[Solid, ...] = ()


def judged(
    scene: PlanningScene, ways: Sequence[Way], neighbours: Sequence[PlanningObject], config: GoalConfig
) -> list[Rejection | float]:
    """Why each way is not free, or its clearance in metres (infinite where nothing is around).

    Args:
        scene: the surroundings.
        ways: what is tried.
        neighbours: objects that gripper and object must stay clear of, of the scene or changed for it.
        config: clearances.
    """
    if not ways:
        return []
    around = [*neighbours, *scene.keep_outs]
    boxes = [box for way in ways for box in (*way.gripper, *way.obj)]
    starts = np.cumsum([0, *(len(way.gripper) + len(way.obj) for way in ways)])[:-1]
    to_objects = np.minimum.reduceat(distances(boxes, [obj.padded for obj in around]), starts, axis=0)
    grippers = [box for way in ways for box in way.gripper]
    starts = np.cumsum([0, *(len(way.gripper) for way in ways)])[:-1]
    to_support = np.minimum.reduceat(distances(grippers, [s.solid for s in scene.support]).min(axis=1), starts)
    return [
        _judged(way, float(support), row, around, len(neighbours), config)
        for way, support, row in zip(ways, to_support, to_objects, strict=True)
    ]


def _judged(
    way: Way, support: float, row: Array, around: Sequence[PlanningObject], neighbours: int, config: GoalConfig
) -> Rejection | float:
    """Of one way: metres to the support and, (M,), to all that is around, of which the last are keep-outs."""
    if support < config.support_clearance - _ROUNDING:
        return Rejection(way.side, "below_support", f"the gripper would come {_near(support)} the support", SUPPORT)
    if row[neighbours:].min(initial=math.inf) < 0:
        volume = around[neighbours + int(row[neighbours:].argmin())]
        return Rejection(way.side, "keep_out", f"it enters the keep-out {volume.label!r}", volume.id)
    if row[:neighbours].min(initial=math.inf) < config.clearance - _ROUNDING:
        obj = around[int(row[:neighbours].argmin())]
        return Rejection(way.side, "blocked", f"the {obj.label} ({obj.id}) is in the way", obj.id)
    return float(row.min(initial=math.inf))


def _near(gap: float) -> str:
    return f"within {gap:.3f} m of" if gap > 0 else f"{-gap:.3f} m into"
