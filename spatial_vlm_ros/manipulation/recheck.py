# SPDX-License-Identifier: Apache-2.0
"""Checks whether an approved plan from a first image still holds in a second one."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from spatial_vlm_ros.errors import (
    BusyError,
    CancelledError,
    ModelError,
    ModelTimeoutError,
    SceneChangedError,
    SourceChangedError,
    StaleInputError,
    TransformUnavailableError,
)
from spatial_vlm_ros.manipulation.arm_kinematics import box_pose
from spatial_vlm_ros.manipulation.occupancy.measuring import changed_since
from spatial_vlm_ros.manipulation.occupancy.unseen import within
from spatial_vlm_ros.manipulation.planning.goal import PickGoal, Placement, Rejection
from spatial_vlm_ros.manipulation.planning.gripper import FINGERS, Tip, closing_links, links, pose_matrix
from spatial_vlm_ros.manipulation.planning.leaving import touching
from spatial_vlm_ros.manipulation.planning.motion import check_camera_still, check_way_seen
from spatial_vlm_ros.manipulation.planning.pick import came_and_went
from spatial_vlm_ros.manipulation.planning.place import putting_down
from spatial_vlm_ros.manipulation.planning.planner import CONTACTS, GRIPS, HOLDING, MotionPlan, Phase
from spatial_vlm_ros.manipulation.planning.scene import (
    AllowedContact,
    PlanningObject,
    PlanningScene,
    Way,
    judged,
    planning_scene,
)
from spatial_vlm_ros.manipulation.planning.solids import Solid, gaps
from spatial_vlm_ros.manipulation.planning.surroundings import Surroundings
from spatial_vlm_ros.manipulation.recheck_grasp import SeenTarget, as_held, check_grasp, moved_by, tracked
from spatial_vlm_ros.parameters import GoalConfig, ObservationConfig, PlanningConfig
from spatial_vlm_ros.types import Resolution, Status, Transform

if TYPE_CHECKING:
    from spatial_vlm_ros.manipulation.builtin_planner.arm_model import ArmModel

# Checks that the approved trajectories stay clear of everything in the second image.
#
# For any arm, gripper and held object are checked as boxes on the straight motions of the plan. For the arms of
# `builtin_planner.known_arms`, with the extra `arm` installed, arm and hand are also checked as convex hulls of their
# links along every trajectory. Other robots have no model here, so their free motions are not rechecked.

_ROUNDING = 1e-6  # metres
_STEP = 0.01  # radians of length between configurations that are checked, as the built-in planner checks its own paths


def check_clearance(
    then: PlanningScene, now: PlanningScene, goal: PickGoal, plan: MotionPlan, config: PlanningConfig
) -> None:
    """Refuse a plan that comes nearer to anything in the second image, `now`, than planning allowed.

    Planning keeps the gripper `goal.clearance` from padded neighbours and `goal.support_clearance` from the support,
    and the arm clear of padded neighbours. Changes may use up these clearances, and for the arm also `goal.padding`.
    The position uncertainty of the neighbours stays as padding.
    """
    grasp = goal.grasps[plan.grasp]
    placement = plan.put_down
    now = dataclasses.replace(now, target=then.target) if goal.held else tracked(then, now)
    if goal.leaves is not None:
        now = dataclasses.replace(now, allowed=(*now.allowed, *touching(now, goal, config)))
    held = then.target.solid if goal.held else as_held(then, now, grasp)

    # The sweep of gripper and held object on the straight motions, like `pick_goal` and `place_goal`.
    bare = dataclasses.replace(config.goal, clearance=0.0, support_clearance=0.0)
    tip, up = Tip.of(grasp.grasp), (0.0, 0.0, config.goal.retreat)
    leaving = links(config.gripper, tip, grasp.opening, up)
    if not goal.held:
        coming = [came_and_went(grasp.way, tip, opening, config) for opening in (grasp.opening, grasp.needed)]
        wide, narrow = judged(now, coming, now.neighbours, bare)
        _raise("approach", [wide])
        if grasp.opening > grasp.needed + _ROUNDING:
            # Edges of neighbours may be measured short, so fingers that come nearer to them because they are wider open
            # than needed keep half of what was ample.
            nearer = isinstance(wide, Rejection) or isinstance(narrow, Rejection) or wide < narrow - _ROUNDING
            if nearer:
                kept = dataclasses.replace(bare, clearance=config.goal.ample / 2)
                _raise("approach", judged(now, coming[:1], now.neighbours, kept))
        closing = Way(grasp.way, closing_links(config.gripper, tip, grasp.opening, grasp.width))
        _raise("close", judged(now, [closing], now.neighbours, bare))

    if now.neighbours and not goal.held:  # closing fingers push the target to their middle, but not into a neighbour
        before, after = gaps([now.target.solid, held], [obj.solid for obj in now.neighbours])
        for obj, was, becomes in zip(now.neighbours, before, after, strict=True):
            if becomes < -config.goal.jaw_clearance <= was:
                into = f"{-1000 * becomes:.0f} mm into the {obj.label} ({obj.id})"
                happened = f"is no longer clear: the fingers would push the target {into}"
                raise SceneChangedError("the path of phase 'close'", 0.0, 0.0, 0.0, 0.0, _AGAIN, happened)

    above = [obj for obj in now.neighbours if obj.solid.bottom > held.centre[2]]
    if (above or now.occupied) and not goal.held:
        _raise("lift", judged(now, [Way(grasp.way, leaving, (held.swept(up),), lifted=True)], above, bare))
    if placement is not None:
        put = Tip.of(placement.place)
        moved = _carried(held, tip, put)
        floor = _floor(then, placement)
        around = [_lowered(obj, now, floor) for obj in now.neighbours]
        putting = putting_down(grasp, put, placement.opening, moved, config)
        _raise("lower", judged(now, [putting], around, bare))

    robot = _arm_of(plan, now.frame_id)
    if robot is not None:
        _check_arm(robot, then, now, goal, placement, held, plan, config)


def arm_known(plan: MotionPlan, frame_id: str) -> bool:
    """Whether the whole arm is rechecked along every trajectory: a built-in arm, planned in its base frame."""
    return _arm_of(plan, frame_id) is not None


def _arm_of(plan: MotionPlan, frame_id: str) -> ArmModel | None:
    """Model of a built-in arm that is planned in its base frame; None for others, and without the extra `arm`."""
    if importlib.util.find_spec("pinocchio") is None or importlib.util.find_spec("coal") is None:
        return None
    from spatial_vlm_ros.manipulation.builtin_planner.known_arms import ARMS

    for known in ARMS.values():
        if all(set(t.joint_names) == set(known.joints) for t in plan.trajectories):
            return known.model() if frame_id == known.base_link else None
    return None


def _raise(phase: Phase, results: Sequence[Rejection | float]) -> None:
    for result in results:
        if isinstance(result, Rejection):
            what = f"the path of phase {phase!r}"
            raise SceneChangedError(what, 0.0, 0.0, 0.0, 0.0, _AGAIN, f"is no longer clear: {result.words}")


def _carried(held: Solid, tip: Tip, put: Tip) -> Solid:
    """Move a box held at `tip` to `put`; both tips must have the same kind of approach, down or level."""
    turn = put.rotation() @ tip.rotation().T
    x, y, z = (turn @ (np.array(held.centre) - tip.position) + put.position).tolist()
    return Solid((x, y, z), held.yaw + math.atan2(turn[1, 0], turn[0, 0]), held.size)


def _floor(then: PlanningScene, placement: Placement) -> float:
    return placement.obj.position[2] - then.target.solid.size[2] / 2 - placement.release


def _lowered(obj: PlanningObject, now: PlanningScene, floor: float) -> PlanningObject:
    """The support of the object, cut at the height of the place: a rim is not checked, as in `place_goal`."""
    if not _allows(now, obj.id, "lower", now.target.id):
        return obj
    top = max(min(obj.solid.top, floor) - obj.padding[2], obj.solid.bottom + 1e-3)
    return dataclasses.replace(obj, solid=obj.solid.between(obj.solid.bottom, top))


def _allows(now: PlanningScene, id_: str, phase: str, one: str) -> bool:
    return any((c.one, c.other, c.phase) == (one, id_, phase) for c in now.allowed)


def _check_arm(
    robot: ArmModel,
    then: PlanningScene,
    now: PlanningScene,
    goal: PickGoal,
    placement: Placement | None,
    held: Solid,
    plan: MotionPlan,
    config: PlanningConfig,
) -> None:
    from spatial_vlm_ros.manipulation.builtin_planner.configurations import Checker
    from spatial_vlm_ros.manipulation.builtin_planner.request import BoxObstacle, HeldBox, Segment

    labels = {obj.id: f"the {obj.label} ({obj.id})" for obj in (*now.neighbours, *now.keep_outs, now.target)}
    around = [
        *((obj.id, _bare(obj, config)) for obj in now.neighbours),
        *((obj.id, obj.solid) for obj in (*now.support, *now.keep_outs)),
    ]
    unnamed = [(f"{space.id}#{number}", box, space) for space in now.occupied for number, box in enumerate(space.boxes)]
    around += [(name, box) for name, box, _ in unnamed]
    labels.update((name, space.label) for name, _, space in unnamed)
    floor = -math.inf if placement is None else _floor(then, placement)
    lowered = {obj.id: _bare(_lowered(obj, now, floor), config) for obj in now.neighbours}
    grasp = goal.grasps[plan.grasp]
    tip = pose_matrix(grasp.grasp)
    tip_T_held = np.linalg.inv(tip) @ box_pose(held)
    opening = grasp.width if goal.held else grasp.opening
    for step in plan.steps:
        phase, in_hand = step.phase, step.phase in HOLDING
        if phase in GRIPS:
            opening = grasp.width if phase == "close" else float(step.width or 0.0)
        if step.trajectory is None:
            continue
        boxes = list(around)
        if placement is not None and phase in ("lower", "withdraw"):
            boxes = [(id_, lowered.get(id_, box)) for id_, box in boxes]
        if not in_hand:
            put = phase == "withdraw" and placement is not None
            at = _carried(held, Tip.of(grasp.grasp), Tip.of(placement.place)) if put and placement else now.target.solid
            boxes.append((now.target.id, at))
        contact = CONTACTS.get(phase, "")
        segment = Segment(
            tip,
            touch={id_ for id_, _ in boxes if _allows(now, id_.partition("#")[0], contact, FINGERS[0])},
            held=HeldBox(now.target.id, tip_T_held, np.array(held.size)) if in_hand else None,
            held_touch={id_ for id_, _ in around if _allows(now, id_.partition("#")[0], contact, now.target.id)},
            opening=min(max(opening, 0.0), robot.widest),
        )
        obstacles = [BoxObstacle(id_, box_pose(box), np.array(box.size), 0.0) for id_, box in boxes]
        checker = Checker(robot, obstacles, segment)
        for joints in step.trajectory.samples(robot.joints, _STEP):
            if checker.free(joints):
                continue
            touched = [name for name in checker.touched(joints) if name in dict(boxes)]
            if touched:
                what = labels.get(touched[0], f"the {touched[0]}")
                happened = f"is now in the approved path: the arm or the hand would touch it in phase {phase!r}"
                raise SceneChangedError(what, 0.0, 0.0, 0.0, 0.0, _AGAIN, happened)


def _bare(obj: PlanningObject, config: PlanningConfig) -> Solid:
    x, y, z = (max(0.0, side - config.goal.padding) for side in obj.padding)
    return obj.solid.grown((x, y, z))


TRANSIENT = (BusyError, StaleInputError, TransformUnavailableError)
"""Errors of a recheck without an image: the plan may still hold, so the recheck may be repeated."""

_AGAIN = "resolve the instruction again"
_MODEL_FAULTS = (Status.MODEL_ERROR, Status.TIMEOUT, Status.INTERNAL_ERROR)


def check_same(
    then: Surroundings,
    resolution: Resolution,
    now: Surroundings | None,
    config: ObservationConfig,
    anywhere: bool = True,
) -> None:
    """Refuse an image of a changed scene: another target, or one that moved too far.

    Args:
        resolution: resolution of the same words on the second image.
        now: surroundings in the second image; None for a refusal.
        anywhere: whether another object that is new, gone or moved too far is refused wherever it is. Needed unless
            `check_plan_holds` checks the whole arm (`arm_known`). Objects are matched by label and position, because
            ids are valid for one image.
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
    was, is_ = (Transform(seen.frame_id, seen.camera_frame, pose_matrix(seen.camera)) for seen in (then, now))
    check_camera_still(was, is_, config)

    # By its estimated box or its visible surface, whichever is smaller: an estimate that jumps while the surface stays
    # is noise; `check_grasp` holds the surface to closer limits.
    moved = math.dist(then.target.solid.centre, now.target.solid.centre)
    seen = moved_by(SeenTarget(then.surface, then.target_points), SeenTarget(now.surface, now.target_points))
    moved = moved if seen is None else min(moved, seen)
    if now.target.label != then.target.label:
        happened = f"is no longer what the instruction means; it now means the {now.target.label} ({now.target.id})"
        raise SceneChangedError(what, moved, 0.0, config.target_moved, math.inf, _AGAIN, happened)
    if not moved <= config.target_moved:
        raise SceneChangedError(what, moved, 0.0, config.target_moved, math.inf, _AGAIN)

    if not anywhere:
        return
    # Each object is near one with its label in the other image, and the counts are equal.
    left = list(now.others)
    for body in then.others:
        alike = [one for one in left if one.label == body.label]
        nearest = min(alike, key=lambda one: math.dist(one.solid.centre, body.solid.centre), default=None)
        moved = math.inf if nearest is None else math.dist(nearest.solid.centre, body.solid.centre)
        if nearest is None or not moved <= config.neighbour_moved:
            what = f"the {body.label} ({body.id})"
            raise SceneChangedError(what, moved, 0.0, config.neighbour_moved, math.inf, _AGAIN)
        left.remove(nearest)
    for body in left:
        what = f"the {body.label} ({body.id})"
        happened = "has appeared since the observation"
        raise SceneChangedError(what, math.inf, 0.0, config.neighbour_moved, math.inf, _AGAIN, happened)


def check_plan_holds(
    then: PlanningScene,
    goal: PickGoal,
    plan: MotionPlan,
    before: Surroundings,
    after: Surroundings,
    config: PlanningConfig,
) -> None:
    """Refuse a plan that no longer does what it was approved for, by the second image, which passed `check_same`."""
    check_way_seen(after, config.observation)
    now = planning_scene(after, config)
    if now.occupancy is not None:  # the plan was made with what was already there
        now = dataclasses.replace(now, occupancy=changed_since(then.occupancy, now.occupancy))
    now, grasp = _remembered(then, now, config.observation.neighbour_moved), goal.grasps[plan.grasp]
    if not goal.held:
        check_grasp(then, now, grasp, config)
    placement = plan.put_down
    if placement is not None:
        tip, put = Tip.of(grasp.grasp), Tip.of(placement.place)
        lying = (then, then if goal.held else tracked(then, now))
        planned, held = (_carried(as_held(then, seen, grasp), tip, put).centre for seen in lying)
        aside = (held[0] - planned[0], held[1] - planned[1])
        _check_destination(before, after, then.target.solid, placement, aside, config.goal)
    check_clearance(then, now, goal, plan, config)


def _remembered(then: PlanningScene, now: PlanningScene, near: float) -> PlanningScene:
    """The second scene with those neighbours, too, that only the first image shows, where they were.

    An object that is not detected again may be hidden, and what depth measures in its box is not new.
    """
    missing = [
        obj
        for obj in then.neighbours
        if not any(
            one.label == obj.label and math.dist(one.solid.centre, obj.solid.centre) <= near for one in now.neighbours
        )
    ]
    kept = [dataclasses.replace(obj, id=f"{obj.id} before") for obj in missing]
    allowed = [
        AllowedContact(now.target.id, f"{obj.id} before", contact.phase)
        for obj in missing
        for contact in then.allowed
        if (contact.one, contact.other) == (then.target.id, obj.id)
    ]
    occupancy = now.occupancy
    if occupancy is not None:
        blocks = [occupancy.measured, occupancy.unseen]
        for obj in missing:
            boxes = [(each, obj.padded.grown((each.edge,) * 3)) for each in blocks]
            blocks = [each.kept(~within(box, each.centres())) if len(each) else each for each, box in boxes]
        occupancy = dataclasses.replace(occupancy, measured=blocks[0], unseen=blocks[1])
    return dataclasses.replace(
        now, neighbours=(*now.neighbours, *kept), allowed=(*now.allowed, *allowed), occupancy=occupancy
    )


def _check_answered(then: Surroundings, resolution: Resolution) -> None:
    status, said = resolution.status, resolution.message
    if status is Status.BUSY:
        raise BusyError("", "the resolver is answering another instruction")
    if status in (Status.STALE_INPUT, Status.NOT_SYNCHRONISED):
        raise StaleInputError(f"the recheck got no image: {said}", "check the camera, then ask again")
    if status is Status.TF_UNAVAILABLE:
        raise TransformUnavailableError(then.frame_id, then.camera_frame, said, "check TF, then ask again")
    if status is Status.CANCELLED:
        raise CancelledError(said)
    if status is Status.SOURCE_CHANGED:
        raise SourceChangedError("the recheck", (), f"got no image: {said}", "send the instruction again")
    if status in _MODEL_FAULTS:
        kind = ModelTimeoutError if status is Status.TIMEOUT else ModelError
        raise kind("resolver", f"the recheck failed: {said}", "see the resolver's log, then ask again")


def _check_destination(
    before: Surroundings,
    after: Surroundings,
    target: Solid,
    placement: Placement,
    held: tuple[float, float],
    config: GoalConfig,
) -> None:
    """What the target is put on is where it was: as near as the place is clear, and no higher than it is let go.

    A place that is `goal.ample` from all edges in both images stays one when noise moves an edge by some millimetres.

    Args:
        held: how far aside of its planned place the target comes, because the hand holds it so, metres.
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
        climb, label = w - z, f"the {old.label} ({old.id})"
        aside = math.hypot(u - x - held[0], v - y - held[1])
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
    corners = target.placed(pose_matrix(placement.obj)).outline() - destination.centre[:2]
    c, s = math.cos(destination.yaw), math.sin(destination.yaw)
    along = np.abs(corners @ np.array([[c, -s], [s, c]]))
    return float((np.array(destination.size[:2]) / 2 - along).min())
