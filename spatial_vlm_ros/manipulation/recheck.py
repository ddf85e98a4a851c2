# SPDX-License-Identifier: Apache-2.0
"""Checks whether an approved plan from a first image still holds in a second one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from spatial_vlm_ros.errors import (
    BusyError,
    CancelledError,
    ModelError,
    ModelTimeoutError,
    SceneChangedError,
    StaleInputError,
    TransformUnavailableError,
)
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.manipulation.occupancy.spaces import changed_since
from spatial_vlm_ros.manipulation.planning.agreement import check_way_seen
from spatial_vlm_ros.manipulation.planning.goal import PickGoal, Placement
from spatial_vlm_ros.manipulation.planning.motion import check_camera_still
from spatial_vlm_ros.manipulation.planning.planner import MotionPlan
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene, planning_scene
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.manipulation.planning.surroundings import SurroundingObject, Surroundings
from spatial_vlm_ros.manipulation.recheck_clearance import check_clearance
from spatial_vlm_ros.manipulation.recheck_grasp import check_grasp
from spatial_vlm_ros.manipulation.recheck_surface import SeenTarget, moved_by
from spatial_vlm_ros.parameters import GoalConfig, ObservationConfig, PlanningConfig
from spatial_vlm_ros.types import Resolution, Status, Transform

TRANSIENT = (BusyError, StaleInputError, TransformUnavailableError)
"""Errors of a recheck without an image: the plan may still hold, so the recheck may be repeated."""

_AGAIN = "resolve the instruction again"
_MODEL_FAULTS = (Status.MODEL_ERROR, Status.TIMEOUT, Status.INTERNAL_ERROR)


def check_same(then: Surroundings, resolution: Resolution, now: Surroundings | None, config: ObservationConfig) -> None:
    """Refuse an image of a changed scene: another target, other neighbours, or any of them moved too far.

    Ids are valid for one image, so objects are matched by label and position. An added or missing object counts as a
    change, such as a hand that reaches in.

    Args:
        resolution: resolution of the same words on the second image.
        now: surroundings in the second image; None for a refusal.
    """
    _check_answered(then, resolution)
    what = f"the {then.target.label} ({then.target.id})"
    if now is None:
        happened = f"is no longer found ({resolution.status.value}: {resolution.message})"
        raise SceneChangedError(what, math.inf, 0.0, config.target_moved, math.inf, _AGAIN, happened)
    if now.stamp_ns <= then.stamp_ns:
        older = (then.stamp_ns - now.stamp_ns) / 1e9
        reason = f"the recheck saw an image that is {older:.2f} s older than the plan's" if older else "no newer image"
        raise StaleInputError(reason, "check the camera and its clock")
    if then.all_objects and not now.all_objects:
        happened = "now looks only for objects that the instruction names, and did not before"
        raise SceneChangedError("the resolver", 0.0, 0.0, 0.0, 0.0, _AGAIN, happened)
    check_camera_still(_transform(then), _transform(now), config)
    moved = _moved(then, now)
    if now.target.label != then.target.label:
        happened = f"is no longer what the instruction means; it now means the {now.target.label} ({now.target.id})"
        raise SceneChangedError(what, moved, 0.0, config.target_moved, math.inf, _AGAIN, happened)
    if not moved <= config.target_moved:
        raise SceneChangedError(what, moved, 0.0, config.target_moved, math.inf, _AGAIN)
    _check_neighbours(then.others, now.others, config)


def check_plan_holds(
    then: PlanningScene,
    goal: PickGoal,
    plan: MotionPlan,
    before: Surroundings,
    after: Surroundings,
    config: PlanningConfig,
) -> None:
    """Refuse a plan that no longer does what it was approved for, by the second image.

    Args:
        after: surroundings in the second image, which passed `check_same`.
    """
    check_way_seen(after, config.observation)
    now = planning_scene(after, config)
    if now.occupancy is not None:  # the plan was made with what was already there
        now = dataclasses.replace(now, occupancy=changed_since(then.occupancy, now.occupancy))
    check_grasp(then, now, goal.grasps[plan.grasp], config)
    placement = plan.put_down
    if placement is not None:
        _check_destination(before, after, then.target.solid, placement, config.goal)
    check_clearance(then, now, goal, plan, config)


def _check_answered(then: Surroundings, resolution: Resolution) -> None:
    """Raise the reason if there is no second image."""
    status, said = resolution.status, resolution.message
    if status is Status.BUSY:
        raise BusyError("", "the resolver is answering another instruction")
    if status in (Status.STALE_INPUT, Status.NOT_SYNCHRONISED):
        raise StaleInputError(f"the recheck got no image: {said}", "check the camera, then ask again")
    if status is Status.TF_UNAVAILABLE:
        raise TransformUnavailableError(then.frame_id, then.camera_frame, said, "check TF, then ask again")
    if status is Status.CANCELLED:
        raise CancelledError(said)
    if status in _MODEL_FAULTS:
        kind = ModelTimeoutError if status is Status.TIMEOUT else ModelError
        raise kind("resolver", f"the recheck failed: {said}", "see the resolver's log, then ask again")


def _moved(then: Surroundings, now: Surroundings) -> float:
    """How far the target moved, metres: by its estimated box or its visible surface, whichever is smaller.

    An estimate that jumps while the surface stays is noise; `check_grasp` holds the surface to closer limits.
    """
    boxes = math.dist(then.target.solid.centre, now.target.solid.centre)
    seen = moved_by(SeenTarget(then.surface, then.target_points), SeenTarget(now.surface, now.target_points))
    return boxes if seen is None else min(boxes, seen)


def _check_neighbours(
    then: Sequence[SurroundingObject], now: Sequence[SurroundingObject], config: ObservationConfig
) -> None:
    """Check that each object is near one with its label in the other image, and that the counts are equal."""
    left = list(now)
    for body in then:
        alike = [one for one in left if one.label == body.label]
        nearest = min(alike, key=lambda one: math.dist(one.solid.centre, body.solid.centre), default=None)
        moved = math.inf if nearest is None else math.dist(nearest.solid.centre, body.solid.centre)
        if nearest is None or not moved <= config.neighbour_moved:
            raise SceneChangedError(
                f"the {body.label} ({body.id})", moved, 0.0, config.neighbour_moved, math.inf, _AGAIN
            )
        left.remove(nearest)
    for body in left:
        what = f"the {body.label} ({body.id})"
        happened = "has appeared since the observation"
        raise SceneChangedError(what, math.inf, 0.0, config.neighbour_moved, math.inf, _AGAIN, happened)


def _check_destination(
    before: Surroundings, after: Surroundings, target: Solid, placement: Placement, config: GoalConfig
) -> None:
    """What the target is put on is where it was: as near as the place is clear, and no higher than it is let go.

    A place that is `goal.ample` from all edges in both images stays one when noise moves an edge by some millimetres.
    """
    old, new = (next((o for o in s.others if o.id == s.destination_id), None) for s in (before, after))
    if old is None and new is None:  # onto the support
        climb, aside, label = after.support_height - before.support_height, 0.0, "the support"
    elif old is None or new is None or old.label != new.label:
        what = f"the {old.label} ({old.id})" if old is not None else "the support"
        happened = "is no longer the place that the instruction names"
        raise SceneChangedError(what, math.inf, 0.0, config.clearance, math.inf, _AGAIN, happened)
    else:
        (x, y, z), (u, v, w) = old.solid.centre, new.solid.centre
        climb, aside, label = w - z, math.hypot(u - x, v - y), f"the {old.label} ({old.id})"
        if min(_from_edges(target, placement, on.solid) for on in (old, new)) >= config.ample:
            aside = 0.0
    too_far = []
    if not aside <= config.clearance:
        too_far.append(f"moved sideways by {aside:.3f} m ({config.clearance:g} m is allowed)")
    if not abs(climb) <= config.release:
        way = "rose" if climb > 0 else "sank"
        too_far.append(f"{way} by {abs(climb):.3f} m ({config.release:g} m is allowed)")
    if too_far:
        happened = f"{' and '.join(too_far)} since the observation, and the target is to be placed on it"
        raise SceneChangedError(label, math.hypot(aside, climb), 0.0, config.clearance, math.inf, _AGAIN, happened)


def _from_edges(target: Solid, placement: Placement, destination: Solid) -> float:
    """Metres, level, from the target at its planned place to the nearest edge of what is below; negative beyond it."""
    put = placement.obj
    turn = matrix_from_quaternion_xyzw(put.orientation)
    yaw = math.atan2(turn[1, 0], turn[0, 0])
    corners = Solid(put.position, yaw, target.size).outline() - destination.centre[:2]
    c, s = math.cos(destination.yaw), math.sin(destination.yaw)
    along = np.abs(corners @ np.array([[c, -s], [s, c]]))
    return float((np.array(destination.size[:2]) / 2 - along).min())


def _transform(seen: Surroundings) -> Transform:
    matrix = np.eye(4)
    matrix[:3, :3] = matrix_from_quaternion_xyzw(seen.camera.orientation)
    matrix[:3, 3] = seen.camera.position
    return Transform(seen.frame_id, seen.camera_frame, matrix)
