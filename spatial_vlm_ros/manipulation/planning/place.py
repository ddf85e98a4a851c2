# SPDX-License-Identifier: Apache-2.0
"""Finds collision-free placements, best first, of an object held by a known grasp at the places of a resolution."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.manipulation.arm_kinematics import box_pose
from spatial_vlm_ros.manipulation.planning.goal import Grasp, PlaceGoal, Placement, Rejection, refused
from spatial_vlm_ros.manipulation.planning.gripper import Tip, links, pose_of
from spatial_vlm_ros.manipulation.planning.scene import PlanningObject, PlanningScene, Way, judged, words_outside
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.types import Place, Resolution, Vector3

_STEP = 0.005  # metres: clearances are compared in steps of this
_SAG = 0.3  # 2 tan 8.5°: how much lower an object's far side hangs, as a share of how far from its middle it is held
_HIGHER = 0.01  # metres between two heights of release


@dataclass(frozen=True)
class _PlaceCandidate:
    """A candidate: one place with one heading."""

    spot: int
    place: Place
    release: float  # height above the place, metres
    turn: float  # relative to its heading, radians
    tip: Tip
    obj: Solid


def place_goal(scene: PlanningScene, resolution: Resolution, grasp: Grasp, config: PlanningConfig) -> PlaceGoal:
    """Find collision-free placements of the target, best first.

    The tip frame keeps its pose relative to the object's box from the grasp. The object is put down with the heading of
    the place, also turned by half a turn, or, if the place has no heading, with several headings. Better places come
    first; for one place, more clearance (5 mm steps, up to `goal.ample`), then less rotation.

    It is released `goal.release` above its place; held far from its middle, it hangs askew, and is released higher, up
    to `goal.drop`, if there is room. If the hand does not fit into a container, it may fall into it: higher releases
    are tried (1 cm steps, up to `goal.drop`), but none with its foot above the rim (`Place.rim_m`). It is never tipped:
    a place where it stands upright is rejected.
    """
    places = resolution.places or ((resolution.place,) if resolution.place is not None else ())
    frames = {grasp.grasp.frame_id, *(place.pose.frame_id for place in places)}
    if not places or frames != {scene.frame_id}:
        got = f"{len(places)} places, frames {', '.join(sorted(frames))}"
        repair = "name a place, and use a grasp of the same scene"
        raise InputError("resolution", got, f"a place, and all poses in {scene.frame_id!r}", repair)
    free: list[tuple[_PlaceCandidate, float]] = []
    bases = [float(matrix_from_quaternion_xyzw(place.pose.orientation)[2, 2]) for place in places]
    spots = [(number, place) for number, place in enumerate(places) if bases[number] > 0.5]  # its base stays down
    goal, aside = config.goal, math.dist(grasp.grasp.position[:2], scene.target.solid.centre[:2])
    raised = min(goal.release + _SAG * aside, max(goal.release, goal.drop))
    steps = int((goal.drop - goal.release) / _HIGHER + 1e-9)
    tipped = f"the {scene.target.label} ({scene.target.id}) would have to be turned upright"
    rejected = [Rejection(grasp.way, "tipped", tipped) for _ in range(len(places) - len(spots))]
    for release in dict.fromkeys((raised, *(goal.release + n * _HIGHER for n in range(max(steps, 0) + 1)))):
        if free:
            break
        for number, place in spots:
            if release not in (raised, goal.release) and release > (place.rim_m or 0.0):
                continue
            candidates = list(_candidates(number, place, release, scene, grasp, config))
            height = place.pose.position[2]  # where its support is cut: a rim is not checked
            around = [_cut(obj, height) if obj.id == place.carrier_id else obj for obj in scene.neighbours]
            outside = []
            for each in candidates:
                moves = (("place", (0.0, 0.0, 0.0)), ("pre-place", (0.0, 0.0, config.goal.retreat)),
                         ("retreat", each.tip.back(config.goal.approach)))  # fmt: skip
                points = ((name, each.tip.moved(way).position) for name, way in moves)
                outside.append(words_outside(config.workspace, points))
            inside = [each for each, words in zip(candidates, outside, strict=True) if not words]
            ways = [putting_down(grasp, each.tip, grasp.needed, each.obj, config) for each in inside]
            results = iter(judged(scene, ways, around, config.goal))
            for candidate, words in zip(candidates, outside, strict=True):
                result = Rejection(grasp.way, "out_of_workspace", words) if words else next(results)
                if isinstance(result, Rejection):
                    rejected.append(result)
                else:
                    free.append((candidate, result))
    if not free:
        raise refused(f"put down the {scene.target.label} ({scene.target.id})", rejected)

    def rank(pair: tuple[_PlaceCandidate, float]) -> tuple[float, float, float]:
        steps = math.floor(min(pair[1], config.goal.ample) / _STEP + 1e-6)
        return pair[0].spot, -steps, abs(math.remainder(pair[0].turn, math.tau))

    best = sorted(free, key=rank)[: config.goal.most]
    placements = tuple(_placement(candidate, clearance, scene, grasp, config) for candidate, clearance in best)
    return PlaceGoal(scene.frame_id, scene.stamp_ns, scene.target.id, placements, tuple(rejected))


def _candidates(
    spot: int, place: Place, release: float, scene: PlanningScene, grasp: Grasp, config: PlanningConfig
) -> Iterator[_PlaceCandidate]:
    """Yield the object above one place in each heading, with the gripper that holds it."""
    solid, tip = scene.target.solid, Tip.of(grasp.grasp)
    x, y, z = place.pose.position
    centre = (x, y, z + release + solid.size[2] / 2)
    heading = matrix_from_quaternion_xyzw(place.pose.orientation)[:, 0]
    count = 2 if scene.yaw_known else 2 * config.goal.yaws
    for number in range(count):
        turn = math.tau * number / count
        by = math.atan2(heading[1], heading[0]) + turn - solid.yaw
        (x, y, z), (left, ahead, up) = tip.position, solid.centre
        aside, along, above = _turned((x - left, y - ahead, z - up), by)
        middle = centre[0] + aside, centre[1] + along, centre[2] + above
        moved = Tip(middle, _turned(tip.approach, by), _turned(tip.closing, by))
        yield _PlaceCandidate(spot, place, release, turn, moved, Solid(centre, solid.yaw + by, solid.size))


def carrier_at(scene: PlanningScene, placement: Placement) -> PlanningObject | None:
    """The support of a placement for planners, cut at the height of the place, for lowering and leaving.

    Its box would be as high as its rim, but fingers that hold a flat object move down inside the rim. `place_goal`
    checks in the same way.

    Returns:
        The object with its padded box no higher than the place; None if the support is the support plane.
    """
    carrier = next((obj for obj in scene.neighbours if obj.id == placement.carrier_id), None)
    if carrier is None:
        return None
    return _cut(carrier, placement.obj.position[2] - scene.target.solid.size[2] / 2 - placement.release)


def _cut(obj: PlanningObject, height: float) -> PlanningObject:
    """An object whose padded box ends at a height, metres; one that ends lower is not raised."""
    bottom = obj.solid.bottom
    top = min(max(height - obj.padding[2], bottom + 1e-3), obj.solid.top)
    return dataclasses.replace(obj, solid=obj.solid.between(bottom, top))


def putting_down(grasp: Grasp, tip: Tip, opening: float, obj: Solid, config: PlanningConfig) -> Way:
    """Swept space: gripper and object moving down, and the gripper moving back, `opening` metres wide."""
    up = (0.0, 0.0, config.goal.retreat)
    coming = links(config.gripper, tip, grasp.width, up)
    leaving = links(config.gripper, tip, opening, tip.back(config.goal.approach))
    x, y, z = obj.centre
    above = Solid((x, y, z + config.goal.clearance), obj.yaw, obj.size)  # the last of its way is to come to rest
    return Way(grasp.way, (*coming, *leaving), (above.swept(up),), lowered=True)


def _placement(
    candidate: _PlaceCandidate, clearance: float, scene: PlanningScene, grasp: Grasp, config: PlanningConfig
) -> Placement:
    frame, back = scene.frame_id, candidate.tip.back(config.goal.approach)
    place, above, away = candidate.tip.poses(frame, (0.0, 0.0, config.goal.retreat), back)
    return Placement(
        pre_place=above,
        place=place,
        retreat=away,
        obj=pose_of(frame, box_pose(candidate.obj)),
        carrier_id=candidate.place.carrier_id,
        spot=candidate.spot,
        release=candidate.release,
        turn=math.remainder(candidate.turn, math.tau),
        opening=grasp.needed,
        clearance=clearance,
    )


def _turned(vector: Vector3, by: float) -> Vector3:
    c, s = math.cos(by), math.sin(by)
    return c * vector[0] - s * vector[1], s * vector[0] + c * vector[1], vector[2]
