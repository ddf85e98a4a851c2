# SPDX-License-Identifier: Apache-2.0
"""Finds collision-free grasps of an object, best first, on its box and on its measured surface.

A box candidate is a horizontal closing direction and an approach: down, or horizontal from either side. The fingers
enclose the middle of the outline along the closing direction; their depth follows from the object, the palm and the
surface below (drawing in docs/planning.md). Surface candidates come from manipulation/grasping/. All candidates pass
the same checks against the surroundings.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.manipulation.grasping.hand_view import (
    STRAY,
    GraspBody,
    ThinParts,
    beside,
    face_of,
    hidden_risk,
    in_the_way,
    under_palm,
)
from spatial_vlm_ros.manipulation.grasping.proposals import ProposedGrasp
from spatial_vlm_ros.manipulation.grasping.search import (
    ROUNDING,
    SEEN_SIGMA,
    SurfaceGrasp,
    grasp_body,
    least_hold,
    lever_of,
    needed_opening,
    sigma_of,
    surface_grasps,
)
from spatial_vlm_ros.manipulation.grasping.target_points import TargetPoints
from spatial_vlm_ros.manipulation.occupancy.measuring import BESIDE, UNSEEN
from spatial_vlm_ros.manipulation.planning.goal import (
    Grasp,
    GraspCandidate,
    Kind,
    PickGoal,
    Rejection,
    Side,
    refused,
    score_of,
    terms_of,
    varied,
)
from spatial_vlm_ros.manipulation.planning.gripper import LINKS, PALM, Tip, closing_links, links, vector
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene, Way, contact_chances, judged, words_outside
from spatial_vlm_ros.manipulation.planning.solids import Array, TurnedBox, distances, gaps
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.types import Vector3

_STEP = 0.005  # metres: clearances are compared in steps of this
_STRAY = 0.02  # of the points of a surface, that may be of what lies behind its edge
_WIDER = (0.5, 1.0)  # parts of the way to the widest opening that are tried
_DOWN: Vector3 = (0.0, 0.0, -1.0)
_UNSURE = math.radians(10.0)  # possible angle of a face to its finger, for an outline without a heading

_STEEP = math.cos(math.radians(15.0))  # cosine of the approach above which a grasp is named "top_down" or "side"
_FLAT = math.sin(math.radians(15.0))
_FEW_POINTS = 6  # measured points between the fingers, below which nothing is known to be there

_WORDS: dict[str, tuple[Kind, str]] = {
    "too_wide": ("too_wide", "its visible part is wider than the gripper opens"),
    "too_narrow": ("too_narrow", "it is thinner than the closed gripper"),
    "not_opposite": ("not_opposite", "it has no two opposite faces that the fingers can hold deep enough"),
    "no_room": ("no_room", "there is no room for a finger beside it"),
    "palm": ("palm", "the palm would touch it before the fingers reach far enough"),
    "below_support": ("below_support", "the gripper would come too close to what is below"),
}


@dataclass(frozen=True)
class _Hold:
    """Extents of the object for fingers that close along one direction.

    Args:
        closing: unit closing direction, horizontal.
        across: unit, horizontal, at right angles to `closing`.
        width: extent along `closing`; without a known heading at least the shorter side of the box, because the
            narrowest of several headings is likely measured too narrow.
        middle: (x, y) of the middle of its extents.
        reach: half its extent along `across`.
    """

    closes_on: Literal["x", "y", "outline"]
    closing: Vector3
    across: Vector3
    width: float
    doubt: float
    middle: tuple[float, float]
    reach: float


def pick_goal(
    scene: PlanningScene, config: PlanningConfig, proposed: Sequence[ProposedGrasp] | None = None
) -> PickGoal:
    """Find collision-free grasps of the target, best first.

    With a measured surface, they are sorted by score (docs/grasps.md). Without one, only the box is known: they are
    sorted by the probability to touch what is hidden, then by clearance, in steps of 5 mm and up to `goal.ample`, then
    from above before from a side, then by the larger margin of the gripper's opening.

    Args:
        proposed: grasps of a server, used alone unless `grasp.source` is "both"; None = no server was asked.

    Raises:
        GoalError: no grasp is free. OutOfWorkspaceError: only the workspace and its keep-outs prevent it.
        InputError: the scene has no support.
    """
    what = f"take the {scene.target.label} ({scene.target.id})"
    if not scene.support:
        expected = "a surface that the gripper has to avoid"
        raise InputError("planning scene", "no support", expected, "make it with planning_scene")
    if scene.truncated:
        words = "the border of the image cuts it, so its size is not known"
        raise refused(what, [Rejection("top_down", "cut_off", words)])
    held_down = _held_down(scene, config)
    if held_down is not None:
        raise refused(what, [held_down])
    tried: list[GraspCandidate | Rejection] = []
    if proposed is None or scene.target.seen is None or config.grasp.source == "both":
        tried += [found for hold in _holds(scene, config) for found in _candidates(scene, hold, config)]
        tried += [_inside(found, config) for found in _on_surface(scene, _floor(scene, config), config)]
    tried += [_inside(found, config) for found in _on_proposals(scene, proposed or (), config)]
    rejected = [found for found in tried if isinstance(found, Rejection)]
    candidates = [found for found in tried if isinstance(found, GraspCandidate)]
    ways = [came_and_went(one.way, one.tip, one.opening, config, one.width) for one in candidates]
    hard = dataclasses.replace(config.goal, clearance=min(config.goal.clearance, SEEN_SIGMA))
    free: list[tuple[GraspCandidate, float, float]] = []
    results, chances = judged(scene, ways, scene.neighbours, hard), contact_chances(scene, ways)
    for candidate, result, chance in zip(candidates, results, chances, strict=True):
        if isinstance(result, Rejection):
            rejected.append(result)
        else:
            free.append((candidate, result, chance))
    if not free:
        raise refused(what, rejected)
    if scene.target.seen is None:
        ample = config.goal.ample
        free.sort(
            key=lambda one: (
                one[2],
                -math.floor(min(one[1], ample) / _STEP + 1e-6),
                one[0].way != "top_down",
                -round(one[0].margin, 6),
            )
        )
    grasps = tuple(_grasp(candidate, clearance, chance, scene, config) for candidate, clearance, chance in free)
    if scene.target.seen is not None:
        grasps = _opened(varied(grasps, config.grasp.apart, config.goal.most), scene, scene.target.seen, config)
    return PickGoal(scene.frame_id, scene.stamp_ns, scene.target.id, grasps[: config.goal.most], tuple(rejected))


def _holds(scene: PlanningScene, config: PlanningConfig) -> Iterator[_Hold]:
    """Closing directions: the sides of the box, shorter first, or headings over half a turn without a known heading."""
    target = scene.target
    ways: list[tuple[Literal["x", "y", "outline"], float]] = [("y", math.pi / 2), ("x", 0.0)]
    outline, least = target.solid.outline(), 0.0
    if not scene.yaw_known and target.outline:
        outline, least, count = np.array(target.outline), min(target.solid.size[:2]), config.goal.yaws
        ways = [("outline", math.pi / 2 + math.pi * number / count) for number in range(count)]
    for closes_on, turn in ways:  # to the box's x axis
        yaw = target.solid.yaw + turn
        c, s = math.cos(yaw), math.sin(yaw)
        along, aside = outline @ (c, s), outline @ (s, -c)
        a, b = float(along.max() + along.min()) / 2, float(aside.max() + aside.min()) / 2
        width, reach = float(along.max() - along.min()), float(aside.max() - aside.min()) / 2
        doubt = math.hypot(target.padding[0] * math.cos(turn), target.padding[1] * math.sin(turn))
        middle = (a * c + b * s, a * s - b * c)
        yield _Hold(closes_on, (c, s, 0.0), (s, -c, 0.0), max(width, least), doubt, middle, reach)


def _candidates(scene: PlanningScene, hold: _Hold, config: PlanningConfig) -> Iterator[GraspCandidate | Rejection]:
    """Yield candidates from above and from both sides, or rejections."""
    gripper, goal = config.gripper, config.goal
    least = min(goal.jaw_clearance, math.hypot(SEEN_SIGMA, hold.doubt))
    needed = needed_opening(hold.width, least, config)
    ways: tuple[Side, ...] = ("top_down", "side", "side")
    if needed is None:
        words = f"it is {hold.width:.3f} m wide, and the gripper opens {gripper.opening_max:g} m"
        yield from (
            Rejection(way, "too_wide", f"{words} and needs {least:.2g} m of clearance at each finger") for way in ways
        )
        return
    if hold.width < gripper.opening_min:
        words = f"it is {hold.width:.3f} m wide, and the gripper closes only to {gripper.opening_min:g} m"
        yield from (Rejection(way, "too_narrow", words) for way in ways)
        return
    opening = max(min(needed + 2 * hold.doubt, gripper.opening_max), gripper.opening_min)
    margin = (gripper.opening_max - needed) / 2
    for found in (_from_above(scene, hold, config), *_from_the_sides(scene, hold, config)):
        if isinstance(found, Rejection):
            yield found
            continue
        tip, depth = found
        side: Side = "top_down" if tip.approach is _DOWN else "side"
        unsure = _UNSURE if hold.closes_on == "outline" else 0.0
        before = tip.back(goal.approach)
        boxed = GraspCandidate(
            side, hold.closes_on, tip, hold.width, opening, margin, depth, before, hold.doubt, unsure
        )  # fmt: skip
        candidate = _inside(boxed, config)
        if isinstance(candidate, GraspCandidate) and scene.target.seen is not None:
            blocked = in_the_way(_in_tip(tip, scene.target.seen), opening, config)
            candidate = candidate if blocked is None else Rejection(side, *_WORDS[blocked])
        yield candidate


def _from_above(scene: PlanningScene, hold: _Hold, config: PlanningConfig) -> tuple[Tip, float] | Rejection:
    """Tip and contact length: at the middle of the object, unless palm or floor keep it higher."""
    gripper, goal, solid = config.gripper, config.goal, scene.target.solid
    reach = gripper.finger_length - gripper.finger_beyond - goal.palm_clearance
    top = solid.top
    if scene.target.seen is not None:  # below a palm that comes down on it: the box leaves out what is small and high
        local = _in_tip(Tip((*hold.middle, 0.0), _DOWN, hold.closing), scene.target.seen)
        heights = np.sort(-local[under_palm(local, config), 2])
        top = max(top, float(heights[-1 - STRAY])) if len(heights) > STRAY else top
    height = max(solid.centre[2], top - reach, _floor(scene, config) + gripper.finger_beyond)
    held = solid.top - max(height - gripper.finger_beyond, solid.bottom)
    if held < goal.hold:
        words = f"the fingers would hold the uppermost {max(held, 0.0):.3f} m of it, to avoid what is below"
        return Rejection("top_down", "below_support", f"{words}; {goal.hold:g} m are needed", scene.carrier_ids[0])
    return Tip((*hold.middle, height), _DOWN, hold.closing), held


def _in_tip(tip: Tip, seen: TargetPoints) -> Array:
    """(N, 3) measured points of the target in the tip frame, metres."""
    return np.asarray((seen.points.astype(np.float64) - tip.position) @ tip.rotation())


def _from_the_sides(
    scene: PlanningScene, hold: _Hold, config: PlanningConfig
) -> Iterator[tuple[Tip, float] | Rejection]:
    """Tips from both sides across the closing direction: as deep as the middle, unless the palm touches first.

    The object must reach the middle of the fingers, because their pads are centred and narrower than `finger_width`.
    """
    gripper, goal, solid = config.gripper, config.goal, scene.target.solid
    palm = gripper.finger_length - gripper.finger_beyond - goal.palm_clearance
    short = max(0.0, hold.reach - palm)  # of the middle
    held = hold.reach - short + gripper.finger_beyond
    half = gripper.finger_width / 2
    height = max(solid.centre[2], _floor(scene, config) + gripper.palm_thickness / 2)
    shared = min(solid.top, height + half) - max(solid.bottom, height - half)
    for sign in (1.0, -1.0):
        if min(held, shared) < goal.hold or height > solid.top + ROUNDING:
            words = f"the fingers would be {height - solid.centre[2]:.3f} m above its middle, because the palm"
            yield Rejection("side", "below_support", f"{words} has to avoid what is below", scene.carrier_ids[0])
            continue
        x, y, _ = (sign * v for v in hold.across)
        at = (hold.middle[0] - short * x, hold.middle[1] - short * y, height)
        yield Tip(at, (x, y, 0.0), hold.closing), min(held, 2 * hold.reach)


def _floor(scene: PlanningScene, config: PlanningConfig) -> float:
    """Least height for the gripper: clear of the support, and of a flat object under the target."""
    goal, solid = config.goal, scene.target.solid
    tops = [
        obj.padded.top + goal.clearance
        for obj in scene.neighbours
        if obj.id in scene.carrier_ids and obj.solid.top < solid.centre[2]
    ]
    return max([support.solid.top + goal.support_clearance for support in scene.support] + tops)


def _measured(
    name: Side, proposal: ProposedGrasp, body: GraspBody, seen: TargetPoints, thin: ThinParts, config: PlanningConfig
) -> SurfaceGrasp | str:
    gripper, goal, rotation = config.gripper, config.goal, proposal.rotation
    deep, palm = gripper.finger_beyond, gripper.finger_beyond - gripper.finger_length
    local = (body.points - proposal.position) @ rotation
    x, y, z = local.T
    strip = (np.abs(x) < gripper.finger_width / 2) & (z < deep)
    inner = strip & (z > palm) & (np.abs(y) + body.reach < gripper.opening_max / 2)
    if np.count_nonzero(inner & body.seen) < _FEW_POINTS:
        return "not_opposite"
    faces = [
        face_of(
            side, local[inner], body.reach[inner], (body.normals @ rotation)[inner], body.seen[inner], 0.0, deep,
            gripper.finger_width, 0.0,
        )
        for side in (-1.0, 1.0)
    ]  # fmt: skip
    low, high = -faces[0].at, faces[1].at
    width = max(high - low, proposal.width)
    sigma, estimated = sigma_of(faces, width, seen, rotation[:2, 1])
    needed = needed_opening(width, sigma, config)
    if needed is None or width < max(gripper.opening_min, 0.001):
        return "too_wide" if needed is None else "too_narrow"
    aside = (low + high) / 2
    known = sum(face.looks for face in faces)
    wanted = min(needed + 2 * goal.sigmas * estimated, gripper.opening_max)
    between = local - (0.0, aside, 0.0)
    for opening in (max(wanted, gripper.opening_min), max(needed, gripper.opening_min)):
        blocked = in_the_way(between, opening, config)
        if blocked != "no_room":
            break
    if blocked == "no_room":
        out = between[beside(between, opening, config), 1]
        return "too_wide" if min(np.count_nonzero(out > 0), np.count_nonzero(out < 0)) > STRAY else "no_room"
    if blocked is not None:
        return blocked
    hold = min(deep, faces[0].end, faces[1].end) - max(faces[0].begin, faces[1].begin)
    if hold < least_hold(body, config):
        return "not_opposite"
    position = proposal.position + aside * rotation[:, 1]
    way = thin.way(name, position, rotation[:, 1], width, gripper.finger_thickness) or name
    return SurfaceGrasp(
        way, rotation, position, width, sigma, opening, hold, max(face.angle for face in faces), known,
        lever_of(body, position, rotation[:2, 1]),
    )  # fmt: skip


def _on_surface(scene: PlanningScene, floor: float, config: PlanningConfig) -> Iterator[GraspCandidate | Rejection]:
    """Yield candidates on the measured surface, and orientations without one; nothing without a measured surface."""
    target = scene.target
    if target.seen is None:
        return
    found, missed = surface_grasps(target.seen, np.array(target.solid.centre), target.solid.yaw, floor, config)
    for miss in missed:
        yield Rejection(miss.way, *_WORDS[miss.kind])
    for grasp in found:
        yield _candidate(scene, grasp, config)


def _on_proposals(
    scene: PlanningScene, proposed: Sequence[ProposedGrasp], config: PlanningConfig
) -> Iterator[GraspCandidate | Rejection]:
    """Yield candidates for a server's grasps, measured by the rules of grasps found locally, and rejected ones.

    The server gives the poses; width, opening and hold are measured. Whether the faces are turned towards the fingers
    only affects the score, because that is what the learned model decides.
    """
    if scene.target.seen is None:
        return
    seen = scene.target.seen
    body = grasp_body(seen, np.array(scene.target.solid.centre))
    thin = ThinParts(body, config)
    for proposal in proposed:
        down = -float(proposal.rotation[2, 2])
        name: Side = "top_down" if down > _STEEP else "side" if abs(down) < _FLAT else "slanted"
        found = _measured(name, proposal, body, seen, thin, config)
        if isinstance(found, str):
            yield Rejection(name, *_WORDS[found])
        else:
            yield _candidate(scene, found, config, proposal.score)


def _candidate(
    scene: PlanningScene, grasp: SurfaceGrasp, config: PlanningConfig, server: float | None = None
) -> GraspCandidate | Rejection:
    """Make a candidate, unless the palm would be inside the box that planners keep it out of."""
    way = grasp.way
    tip = Tip(vector(grasp.position), _unit(grasp.rotation[:, 2]), _unit(grasp.rotation[:, 1]))
    palm = links(config.gripper, tip, grasp.opening)[LINKS.index(PALM)]
    if float(distances([palm], [scene.target.solid])[0, 0]) < 0:
        return Rejection(way, *_WORDS["palm"])
    margin = (config.gripper.opening_max - grasp.width - 2 * config.goal.jaw_clearance) / 2
    return GraspCandidate(
        way, "surface", tip, grasp.width, grasp.opening, margin, grasp.hold, tip.back(config.goal.approach),
        grasp.sigma, grasp.angle, grasp.lever, server,
    )  # fmt: skip


def _unit(values: np.ndarray) -> Vector3:
    clean = np.where(np.abs(values) < 1e-12, 0.0, values)
    return vector(clean / np.linalg.norm(clean))


def _inside(found: GraspCandidate | Rejection, config: PlanningConfig) -> GraspCandidate | Rejection:
    if isinstance(found, Rejection):
        return found
    tip, up = found.tip, (0.0, 0.0, config.goal.retreat)
    ways = (("grasp", (0.0, 0.0, 0.0)), ("pre-grasp", found.before), ("retreat", up))
    words = words_outside(config.workspace, ((name, tip.moved(way).position) for name, way in ways))
    return Rejection(found.way, "out_of_workspace", words) if words else found


def _held_down(scene: PlanningScene, config: PlanningConfig) -> Rejection | None:
    """The rejection if another object blocks the target on its way straight up.

    Moving up brings it no closer to objects beside it, so only neighbours above its middle count.
    """
    target, up = scene.target, (0.0, 0.0, config.goal.retreat)
    lifted = [target.solid.swept(up)]
    for volume in scene.keep_outs:
        if gaps(lifted, [volume.solid])[0, 0] < 0:
            return Rejection(
                "top_down", "keep_out", f"it is in the keep-out volume {volume.label!r}, or below it", volume.id
            )
    for obj in scene.neighbours:
        above = obj.solid.bottom > target.solid.centre[2]
        near = above and gaps(lifted, [obj.padded])[0, 0] < config.goal.clearance
        if near and target.seen is not None:  # only if its known shape enters the other's box on its way up
            box = TurnedBox.of(obj.padded).grown(config.goal.clearance + target.seen.edge / 2)
            near = float(box.swept((0.0, 0.0, -config.goal.retreat)).contains(target.seen.known).mean()) > _STRAY
        if near:
            return Rejection("top_down", "blocked", f"the {obj.label} ({obj.id}) is on it, or above it", obj.id)
    occupancy = scene.occupancy
    if occupancy is None:
        return None
    for space in scene.occupied:
        blocks = occupancy.unseen if space.id == UNSEEN else occupancy.measured
        inside = space.id != BESIDE and gaps(lifted, space.boxes).min() < -blocks.edge / 2
        if inside and space.id == UNSEEN and target.seen is not None:  # its box has corners where it is not
            steps = np.arange(0.0, config.goal.retreat, blocks.edge / 2)
            met = np.any([blocks.holds(target.seen.known + np.array((0.0, 0.0, h))) for h in steps], axis=0)
            inside = float(met.mean()) > _STRAY
        if inside:
            return Rejection("top_down", "blocked", f"{space.label} is above it", space.id)
    return None


def came_and_went(side: Side, tip: Tip, opening: float, config: PlanningConfig, closed: float | None = None) -> Way:
    """What the gripper sweeps: coming, open, closing to `closed`, and going up, where it counts as open, too."""
    coming = links(config.gripper, tip, opening, tip.back(config.goal.approach))
    leaving = links(config.gripper, tip, opening, (0.0, 0.0, config.goal.retreat))
    closing = () if closed is None else closing_links(config.gripper, tip, opening, closed)
    return Way(side, (*coming, *leaving, *closing))


def _opened(
    grasps: Sequence[Grasp], scene: PlanningScene, seen: TargetPoints, config: PlanningConfig
) -> tuple[Grasp, ...]:
    """The same grasps with fingers as wide open as the target itself and what is around it leave space.

    From there on, nothing else may be between the fingers: closing would push it. Scores fall by the risk to press on
    what is hidden, and by up to half if clearances are less than `goal.clearance` and `goal.jaw_clearance`.
    """
    found, local = list(grasps), seen.known
    for share in _WIDER:
        tried: list[tuple[int, float]] = []
        ways: list[Way] = []
        for number, grasp in enumerate(grasps):
            tip, opening = Tip.of(grasp.grasp), grasp.needed + share * (config.gripper.opening_max - grasp.needed)
            points, wider = (local - tip.position) @ tip.rotation(), (opening - grasp.needed) / 2
            pushed = beside(points, grasp.needed, config, wider + config.goal.jaw_clearance)
            if wider > 0 and np.count_nonzero(pushed) <= STRAY:
                tried.append((number, opening))
                ways.append(came_and_went(grasp.way, tip, opening, config, grasp.width))
        results, chances = judged(scene, ways, scene.neighbours, config.goal), contact_chances(scene, ways)
        for (number, opening), result, chance in zip(tried, results, chances, strict=True):
            riskier = 1 - chance < dict(grasps[number].terms)["unseen"]
            if not isinstance(result, Rejection) and result >= config.goal.ample and not riskier:
                found[number] = dataclasses.replace(grasps[number], opening=opening, clearance=result)
    for number, grasp in enumerate(found):
        tip, turn = Tip.of(grasp.grasp), Tip.of(grasp.grasp).rotation()
        risk = hidden_risk((local - tip.position) @ turn, np.array(seen.along) @ turn[:2], grasp.opening, config)
        ample = ((grasp.clearance, config.goal.clearance), (grasp.opening - grasp.width, 2 * config.goal.jaw_clearance))
        spare = min(1.0, *(there / max(wanted, ROUNDING) for there, wanted in ample))
        terms = (("hidden", round(1 - risk, 4)), ("spare", round((1 + spare) / 2, 4)))
        score = round(grasp.score * terms[0][1] * terms[1][1], 4)
        found[number] = dataclasses.replace(grasp, score=score, terms=(*grasp.terms, *terms))
    return tuple(sorted(found, key=lambda grasp: -grasp.score))


def _grasp(
    candidate: GraspCandidate, clearance: float, chance: float, scene: PlanningScene, config: PlanningConfig
) -> Grasp:
    tip, terms = candidate.tip, terms_of(candidate, clearance, config)
    grasp, before, after = tip.poses(scene.frame_id, candidate.before, (0.0, 0.0, config.goal.retreat))
    return Grasp(
        way=candidate.way,
        closes_on=candidate.closes_on,
        pre_grasp=before,
        grasp=grasp,
        retreat=after,
        approach=tip.approach,
        closing=tip.closing,
        width=candidate.width,
        opening=candidate.opening,
        needed=candidate.opening,
        width_margin=candidate.margin,
        hold=candidate.hold,
        clearance=clearance,
        width_sigma=candidate.sigma,
        score=round(score_of(terms) * (1 - chance), 4),
        terms=(*terms.items(), ("unseen", 1 - chance)),
    )
