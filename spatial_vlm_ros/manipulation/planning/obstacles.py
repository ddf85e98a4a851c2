# SPDX-License-Identifier: Apache-2.0
"""Finds obstacles in the way of a swept gripper, with name and distance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.manipulation.occupancy.spaces import BESIDE, INSIDE, UNSEEN, OccupiedSpace
from spatial_vlm_ros.manipulation.planning.goal import Rejection, Side
from spatial_vlm_ros.manipulation.planning.scene import SUPPORT, PlanningObject, PlanningScene
from spatial_vlm_ros.manipulation.planning.solids import Array, Body, Solid, TurnedBox, distances
from spatial_vlm_ros.parameters import GoalConfig

_NEAR_BY = 0.1  # metres: farther unnamed obstacles do not count as clearance
_ROUNDING = 1e-9  # metres: an object exactly at its clearance is clear


@dataclass(frozen=True)
class Way:
    """One candidate motion of the gripper.

    Args:
        gripper: boxes that the gripper sweeps; at least one.
        lowered: whether it is lowered into its place, where rim and contents may touch it.
    """

    side: Side
    gripper: tuple[Body, ...]
    obj: tuple[Solid, ...] = ()
    lifted: bool = False
    lowered: bool = False


def judged(
    scene: PlanningScene, ways: Sequence[Way], neighbours: Sequence[PlanningObject], config: GoalConfig
) -> list[Rejection | float]:
    """Judge candidate motions: a rejection, or the clearance in metres (infinite without obstacles).

    Args:
        neighbours: objects that gripper and object must avoid, from the scene or adapted to the candidates.
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
    unnamed = _unnamed(scene, ways, config.clearance)
    results: list[Rejection | float] = []
    for way, support, row, (away, left, space) in zip(ways, to_support, to_objects, unnamed, strict=True):
        objects, volumes = row[: len(neighbours)], row[len(neighbours) :]
        if support < config.support_clearance - _ROUNDING:
            near = f"within {support:.3f} m of" if support > 0 else f"{-support:.3f} m into"
            results.append(Rejection(way.side, "below_support", f"the gripper would come {near} the support", SUPPORT))
        elif volumes.min(initial=math.inf) < 0:
            volume = scene.keep_outs[int(volumes.argmin())]
            words = f"it enters the keep-out volume {volume.label!r}"
            results.append(Rejection(way.side, "keep_out", words, volume.id))
        elif objects.min(initial=math.inf) < config.clearance - _ROUNDING:
            obj = neighbours[int(objects.argmin())]
            results.append(Rejection(way.side, "blocked", f"the {obj.label} ({obj.id}) is in the way", obj.id))
        elif space is not None and left < -_ROUNDING:
            results.append(Rejection(way.side, "blocked", f"{space.label} is in the way", space.id))
        else:
            results.append(min(away, float(row.min(initial=math.inf))))
    return results


def _unnamed(
    scene: PlanningScene, ways: Sequence[Way], clearance: float
) -> list[tuple[float, float, OccupiedSpace | None]]:
    """The nearest unnamed obstacle of each candidate.

    Returns:
        Distance, distance beyond the required one (metres, infinite if nothing is near) and the obstacle with the least
        of the latter: unseen space is padded already and needs no clearance.
    """
    found: list[tuple[float, float, OccupiedSpace | None]] = [(math.inf, math.inf, None)] * len(ways)
    for space in scene.occupied:
        corners = _corners(space.boxes)
        for number, way in enumerate(ways):
            with_object = not ((way.lifted and space.id == BESIDE) or (way.lowered and space.id == INSIDE))
            swept = (*way.gripper, *way.obj) if with_object else way.gripper
            own = _corners(swept)
            low, high = own[:, 0].min(axis=0) - _NEAR_BY, own[:, 1].max(axis=0) + _NEAR_BY
            near = np.flatnonzero(((corners[:, 0] <= high) & (corners[:, 1] >= low)).all(axis=1))
            if not len(near):
                continue
            away, left, nearest = found[number]
            least = float(distances(swept, [space.boxes[k] for k in near]).min())
            beyond = least - (0.0 if space.id == UNSEEN else clearance)
            found[number] = (min(away, least), min(left, beyond), space if beyond < left else nearest)
    return found


def _corners(bodies: Sequence[Body]) -> Array:
    """(N, 2, 3) least and greatest x, y and z of boxes, including their sweep."""
    spans = []
    for body in bodies:
        if isinstance(body, TurnedBox):
            corners = body.corners()
            spans.append((corners.min(axis=0), corners.max(axis=0)))
        else:
            low, high = body.outline().min(axis=0), body.outline().max(axis=0)
            spans.append((np.append(low, body.bottom), np.append(high, body.top)))
    return np.array(spans)
