# SPDX-License-Identifier: Apache-2.0
"""The planning scene as data: obstacles for a planner, and allowed contacts.

Everything is in the planning frame, the parent of `base_T_camera`, z up; metres. Ids are those of the detections, so
they are valid for one observation. No ROS messages.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from spatial_vlm_ros.errors import DepthError
from spatial_vlm_ros.manipulation.grasping.target_points import TargetPoints
from spatial_vlm_ros.manipulation.occupancy.measuring import Occupancy
from spatial_vlm_ros.manipulation.occupancy.spaces import BESIDE, INSIDE, OccupiedSpace, spaces_of
from spatial_vlm_ros.manipulation.planning.gripper import FINGERS
from spatial_vlm_ros.manipulation.planning.solids import Array, Solid, gaps
from spatial_vlm_ros.manipulation.planning.surroundings import SeenSurface, SurroundingObject, Surroundings
from spatial_vlm_ros.manipulation.planning.workspace import keep_outs
from spatial_vlm_ros.parameters import GoalConfig, PlanningConfig
from spatial_vlm_ros.types import Vector3

SUPPORT = "support"
KEEP_OUT = "keep_out/"  # prefix of a volume's name, so that no detection has its id

_SHARED = -0.002  # metres: objects that overlap this much seen from above may stand on each other
_TOUCHES = 0.005  # metres between boxes that planners may treat as contact
_HIGHER = 0.003  # metres by which the foot of a supported object is higher than its support's foot


@dataclass(frozen=True)
class PlanningObject:
    """One collision object.

    Args:
        id: id of its detection, "support", or "keep_out/" and its name.
        padding: metres added on both sides along the box's x, y and z: position uncertainty (the standard deviation of
            its centre, times `goal.sigmas`), for neighbours also `goal.padding`, and for objects to avoid by the words
            also `goal.avoid`.
        outline: (K, 2) corners of its estimated outline seen from above, metres; only for the target.
        surface: its visible surface; only for the target.
        seen: its measured surface and hidden space, for grasps; only for the target.
    """

    id: str
    label: str
    solid: Solid
    padding: Vector3 = (0.0, 0.0, 0.0)
    outline: tuple[tuple[float, float], ...] = ()
    surface: SeenSurface | None = None
    seen: TargetPoints | None = None

    @property
    def padded(self) -> Solid:
        """The box with its padding, to stay clear of."""
        return self.solid.grown(self.padding)


@dataclass(frozen=True)
class AllowedContact:
    """Two bodies that may touch in one phase; all other contacts are forbidden.

    Args:
        one: a gripper link (see gripper.LINKS) or the id of an object.
        phase: "grasp" while the fingers close and until they open again, "lift" while the object leaves its support,
            "lower" while it moves down to its new support.
    """

    one: str
    other: str
    phase: Literal["grasp", "lift", "lower"]


@dataclass(frozen=True)
class PlanningScene:
    """Everything that a planner needs to know about the surroundings.

    Args:
        frame_id: the planning frame.
        stamp_ns: stamp of the observation, nanoseconds.
        yaw_known: whether the target's box has a heading.
        truncated: whether the image border cuts the target, so that it is larger than its box.
        support: surface(s) that objects stand on.
        occupancy: unnamed obstacles from depth; None without depth of the way.
        entered: space in the destination that the target may fill once it is there; it may touch what is measured
            there, such as the wall of a bowl. None without such a space.
    """

    frame_id: str
    stamp_ns: int
    target: PlanningObject
    yaw_known: bool
    truncated: bool
    support: tuple[PlanningObject, ...]
    neighbours: tuple[PlanningObject, ...]
    keep_outs: tuple[PlanningObject, ...]
    carrier_ids: tuple[str, ...]
    allowed: tuple[AllowedContact, ...]
    occupancy: Occupancy | None = None
    entered: Solid | None = None

    @cached_property
    def occupied(self) -> tuple[OccupiedSpace, ...]:
        """Unnamed obstacles as boxes."""
        return spaces_of(self.occupancy, self.target.solid, self.entered)


def planning_scene(surroundings: Surroundings, config: PlanningConfig) -> PlanningScene:
    """Build the planning scene of a resolved target.

    Args:
        surroundings: surroundings in the resolved frame (surroundings.surroundings_of).
        config: padding, extent of the support, keep-outs.

    Raises:
        DepthError: an object could neither be measured nor located on the support.
    """
    seen = surroundings
    if seen.unplaced:
        reason = f"{', '.join(seen.unplaced)} could not be measured, and where it stands is not visible"
        raise DepthError(reason, "move the camera, or remove the object")
    own = dataclasses.replace(
        _padded(seen.target, config.goal), outline=seen.outline, surface=seen.surface, seen=seen.target_points
    )
    avoid = config.goal.avoid
    others = tuple(
        _padded(body, config.goal, config.goal.padding, avoid if body.id in seen.avoid else 0.0) for body in seen.others
    )
    upper = own.solid
    lower = [
        obj for obj in others if upper.bottom - obj.solid.bottom > _HIGHER and upper.centre[2] > obj.solid.centre[2]
    ]
    flat = [Solid((*s.centre[:2], 0.0), s.yaw, (*s.size[:2], 1.0)) for s in (upper, *(t.solid for t in lower))]
    overlap = gaps(flat[:1], flat[1:])[0]
    supporting_objects = tuple(obj.id for obj, gap in zip(lower, overlap, strict=True) if gap < _SHARED) or (SUPPORT,)
    # Boxes of curved objects beside the target may reach it, padded. Since both objects exist there, the boxes are too
    # large; moving straight up, the target leaves them, as in `pick_goal`.
    level = [obj for obj in others if obj.solid.bottom <= upper.centre[2] and obj.id not in supporting_objects]
    apart = gaps([upper], [obj.padded for obj in level])[0] if level else ()
    beside = tuple(obj.id for obj, gap in zip(level, apart, strict=True) if gap < _TOUCHES)

    into = next((obj.padded for obj in others if obj.id == seen.destination_id), None)
    height, entered = seen.place_height, None  # the destination's box from the lowest place up to the target's height
    if into is not None and height is not None and into.top > height:
        entered = into.between(height, min(into.top, height + upper.size[2]))
    return PlanningScene(
        frame_id=seen.frame_id,
        stamp_ns=seen.stamp_ns,
        target=own,
        yaw_known=seen.yaw_known,
        truncated=seen.truncated,
        support=(_support(seen.support_height, own, others, config.goal),),
        neighbours=others,
        keep_outs=tuple(
            PlanningObject(KEEP_OUT + name, name, box) for name, box in keep_outs(config.workspace).items()
        ),
        carrier_ids=supporting_objects,
        allowed=_allowed(own.id, (*supporting_objects, *beside), seen.destination_id, seen.occupancy is not None),
        occupancy=seen.occupancy,
        entered=entered,
    )


def _padded(body: SurroundingObject, config: GoalConfig, least: float = 0.0, more: float = 0.0) -> PlanningObject:
    """Pad an object by its position uncertainty, the largest one if it is unmeasured, and `least` and `more` metres.

    Uncertainty and `least` together are limited by `most_padding`.
    """
    if body.sigma is None:
        sides: tuple[float, ...] = (config.most_padding,) * 3
    else:
        sides = tuple(min(least + config.sigmas * value, config.most_padding) for value in body.sigma)
    x, y, z = (side + more for side in sides)
    return PlanningObject(body.id, body.label, body.solid, (x, y, z))


def _allowed(
    target_id: str, supporting_objects: tuple[str, ...], destination_id: str | None, occupied: bool
) -> tuple[AllowedContact, ...]:
    lowered = (destination_id, *((INSIDE,) if occupied else ())) if destination_id is not None else ()
    supporting_objects += (BESIDE,) if occupied else ()
    return (
        *(AllowedContact(finger, target_id, "grasp") for finger in FINGERS),
        *(AllowedContact(target_id, supporting, "lift") for supporting in supporting_objects),
        *(AllowedContact(target_id, supporting, "lower") for supporting in lowered),
    )


def _support(top: float, own: PlanningObject, others: tuple[PlanningObject, ...], config: GoalConfig) -> PlanningObject:
    """A level slab at the support's height below the target."""
    corners: Array = np.concatenate([obj.solid.outline() for obj in (own, *others)])
    low, high = corners.min(axis=0) - config.support_reach, corners.max(axis=0) + config.support_reach
    (x, y), (sx, sy) = ((low + high) / 2).tolist(), (high - low).tolist()
    deep = config.support_thickness
    return PlanningObject(SUPPORT, SUPPORT, Solid((x, y, top - deep / 2), 0.0, (sx, sy, deep)))
