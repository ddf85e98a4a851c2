# SPDX-License-Identifier: Apache-2.0
"""Searches antipodal grasps on the surface of an object, without its surroundings.

For each orientation of the hand, the object is mapped as seen from the hand (hand_view.py). In each strip as wide as a
finger, and for several depths of the fingertips, the object is cut into runs along the closing direction. The fingers
may close on a run, or on all of them together: a whole can, one wall of a mug, the bar of a handle. The space beside it
must be free for the fingers, and the space above it for the palm. Both faces must be turned towards the fingers, by
measured normals or, without normals, by the direction of the edge. Source of the condition: two contacts with friction
hold an object when the line between them lies in both friction cones (Nguyen, "Constructing force-closure grasps", IJRR
1988).
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.manipulation.grasping.hand_view import (
    CELL,
    FREE,
    Face,
    GraspBody,
    HandView,
    ThinParts,
    face_of,
    hand_view,
)
from spatial_vlm_ros.manipulation.grasping.target_points import TargetPoints
from spatial_vlm_ros.manipulation.planning.goal import Side
from spatial_vlm_ros.parameters import PlanningConfig


def orientations(heading: float, headings: int, slants_deg: tuple[float, ...]) -> Iterator[tuple[Side, Array]]:
    """Yield name and (3, 3) rotation, with columns x, y, z (approach), of each orientation.

    Args:
        heading: heading of the object's box about up, radians; headings are relative to it.
        slants_deg: angles of slanted approaches from straight down, degrees.
    """
    for number in range(headings):
        yaw = heading + math.pi / 2 + math.pi * number / headings
        yield "top_down", hand_axes((0.0, 0.0, -1.0), (math.cos(yaw), math.sin(yaw), 0.0))
    for number in range(headings):
        yaw = heading + math.tau * number / headings
        c, s = math.cos(yaw), math.sin(yaw)
        yield "side", hand_axes((c, s, 0.0), (-s, c, 0.0))
        for slant in slants_deg:
            level, down = math.sin(math.radians(slant)), math.cos(math.radians(slant))
            yield "slanted", hand_axes((level * c, level * s, -down), (-s, c, 0.0))
            if slant <= 45:
                yield "slanted", hand_axes((level * c, level * s, -down), (down * c, down * s, level))


def hand_axes(approach: tuple[float, float, float], closing: tuple[float, float, float]) -> Array:
    """(3, 3) rotation with columns x = y × z, y = closing, z = approach."""
    y, z = np.array(closing), np.array(approach)
    return np.stack((np.cross(y, z), y, z), axis=1)


Array = npt.NDArray[np.float64]

_DEPTHS = (0.008, 0.014, 0.022, 0.032, 0.044, 0.058)  # metres of the fingertips beyond the nearest point of a strip
_FEW_POINTS = 6  # fewest measured points between the fingers
_HIDDEN_SHARE = 0.15  # standard deviation from an unseen face, as share of the width
SEEN_SIGMA = 0.002  # metres: standard deviation of the width between two faces
ROUNDING = 1e-9  # metres: what fits exactly fits
_EDGE = 0.002  # metres below its upper edge from which a face counts
_LEVEL = 0.05  # upward part of the closing direction below which closing counts as level
_LEAST_HOLD = 0.003  # metres
_FLAT_SHARE = 0.4  # least share of a flat object's height that the fingers must hold
_WALLS = 8  # grasps at a rim that are also tried along the wall
_UPRIGHT, _MOST_SLANT = math.radians(3.0), math.radians(30.0)  # angle of a wall to the fingers
_LOOKING = 0.7  # cosine: normals of a wall and not of its edge
_SAME_WALL = 0.02  # metres
_KEPT = 2  # grasps kept for one orientation and depth
_MOST = 80  # grasps kept for one way


@dataclass(frozen=True, eq=False)
class SurfaceGrasp:
    """One grasp as measured on the surface only.

    Args:
        way: "top_down", "side", "slanted", "rim" or "handle".
        rotation: (3, 3) columns x, y, z of the tip frame, planning frame.
        position: (3,) position of the tip frame, metres.
        width: width of the part between the fingers, metres.
        sigma: its standard deviation, metres.
        opening: distance between the fingers before they close, metres.
        hold: length of the fingers in contact with both faces, metres.
        angle: angle between the worse face and its finger, radians.
        seen: number of faces with measured normals, 0 to 2.
        lever: horizontal distance from the grasp to the object's middle, metres.
    """

    way: Side
    rotation: Array
    position: Array
    width: float
    sigma: float
    opening: float
    hold: float
    angle: float
    seen: int
    lever: float


@dataclass(frozen=True)
class SurfaceMiss:
    """An orientation without a grasp: the name of the way, and the most frequent reason."""

    way: Side
    kind: str


@dataclass(frozen=True, eq=False)
class _Place:
    """A coarse candidate: a run of cells that the fingers might close on."""

    row: int
    step: int  # index in _DEPTHS
    deep: float
    low: float
    high: float
    before: float  # free metres before it, for one finger
    after: float


def grasp_body(seen: TargetPoints, middle: Array) -> GraspBody:
    """Object for a search: measured points, and the hidden space within its outline."""
    points, hidden = seen.points.astype(np.float64), seen.hidden.astype(np.float64)
    return GraspBody(
        np.concatenate((points, hidden)),
        np.concatenate((seen.normals.astype(np.float64), np.zeros_like(hidden))),
        np.concatenate((np.zeros(len(points)), np.full(len(hidden), seen.edge / 2))),
        np.concatenate((np.ones(len(points), np.bool_), np.zeros(len(hidden), np.bool_))),
        middle,
    )


def surface_grasps(
    seen: TargetPoints, middle: Array, heading: float, floor: float, config: PlanningConfig
) -> tuple[list[SurfaceGrasp], list[SurfaceMiss]]:
    """Find grasps on the surface of one object, better ones first, and list orientations without one.

    Args:
        middle: (3,) centre of its box, metres.
        heading: heading of its box, radians.
        floor: least height for the gripper, metres.
    """
    body = grasp_body(seen, middle)
    thin = ThinParts(body, config)
    found: list[SurfaceGrasp] = []
    missed: list[SurfaceMiss] = []
    slants = (config.grasp.slant_deg, config.grasp.second_slant_deg)
    for name, rotation in orientations(heading, config.grasp.headings, slants):
        view = hand_view(body, rotation, config.gripper)
        reasons: Counter[str] = Counter()
        grasps: dict[int, list[SurfaceGrasp]] = defaultdict(list)
        row, strip = -1, np.empty(0, np.intp)
        for place in _places(view, body, floor, config, reasons):
            if place.row != row:
                row = place.row
                strip = np.flatnonzero(np.abs(view.local[:, 0] - view.x_of(row)) < config.gripper.finger_width / 2)
            grasp = _grasp(name, place, strip, view, body, seen, thin, config, reasons)
            if grasp is not None:
                grasps[place.step].append(grasp)
        if grasps:  # the best one may be blocked and a shallower one free
            found += [grasp for alike in grasps.values() for grasp in sorted(alike, key=_rough)[:_KEPT]]
        elif reasons:
            missed.append(SurfaceMiss(name, reasons.most_common(1)[0][0]))
    found = _along_walls(found, body, seen, thin, floor, config)
    counts: Counter[str] = Counter()
    kept = []
    for grasp in sorted(found, key=_rough):
        counts[grasp.way] += 1
        if counts[grasp.way] <= _MOST:
            kept.append(grasp)
    return kept, missed


def _along_walls(
    found: Sequence[SurfaceGrasp], body: GraspBody, seen: TargetPoints, thin: ThinParts, floor: float,
    config: PlanningConfig,
) -> list[SurfaceGrasp]:  # fmt: skip
    """The grasps, and the best of slanted walls once more with the fingers along the wall.

    A wall turns between flat fingers until it lies against them, and the whole object with it: a tumbler that is held
    at its rim would hang by the slant of its wall, its foot lower than where it was taken. By that slant a grasp counts
    as turned away from its finger.
    """
    rims = sorted((grasp for grasp in found if grasp.way == "rim"), key=_rough)[:_MOST]
    slants = [_slant(grasp, body, config) for grasp in rims]
    askew = [(grasp, slant) for grasp, slant in zip(rims, slants, strict=True) if abs(slant) > _UPRIGHT]
    along: list[SurfaceGrasp] = []
    for grasp, slant in askew[:_WALLS]:
        if abs(slant) >= _MOST_SLANT:
            continue
        c, s = math.cos(slant), math.sin(slant)
        rotation = grasp.rotation @ np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
        view, x = hand_view(body, rotation, config.gripper), float((grasp.position - body.middle) @ rotation[:, 0])
        strip = np.flatnonzero(np.abs(view.local[:, 0] - x) < config.gripper.finger_width / 2)
        tried: list[SurfaceGrasp] = []
        for place in _places(view, body, floor, config, Counter()):
            if abs(view.x_of(place.row) - x) < CELL:
                other = _grasp("slanted", place, strip, view, body, seen, thin, config, Counter())
                if other is not None and other.way == "rim" and math.dist(other.position, grasp.position) < _SAME_WALL:
                    tried.append(other)
        along += sorted(tried, key=_rough)[:1]
    turned = [dataclasses.replace(g, angle=g.angle + abs(slant)) for g, slant in zip(rims, slants, strict=True)]
    return [*(grasp for grasp in found if grasp.way != "rim"), *turned, *along]


def _slant(grasp: SurfaceGrasp, body: GraspBody, config: PlanningConfig) -> float:
    """Angle of a wall between the fingers about the hand's x, radians; 0 without known normals."""
    local = (body.points - grasp.position) @ grasp.rotation
    beyond = config.gripper.finger_beyond
    inside = body.seen & (np.abs(local[:, 0]) < config.gripper.finger_width / 2)
    inside &= (np.abs(local[:, 1]) < grasp.width / 2 + CELL) & (
        np.abs(local[:, 2] - beyond + grasp.hold / 2) < grasp.hold / 2
    )
    normals = (body.normals @ grasp.rotation)[inside]
    normals = normals[np.abs(normals[:, 1]) > _LOOKING] * np.sign(normals[np.abs(normals[:, 1]) > _LOOKING][:, 1:2])
    if len(normals) < _FEW_POINTS:
        return 0.0
    _, across, along = np.median(normals, axis=0)
    return math.atan2(float(along), float(across))


def least_hold(body: GraspBody, config: PlanningConfig) -> float:
    """Least contact length of the fingers, metres: `goal.hold`, or for flat objects a share of the height."""
    height = float(body.points[:, 2].max() - body.points[:, 2].min())
    return max(min(config.goal.hold, _FLAT_SHARE * height), _LEAST_HOLD)


def _rough(grasp: SurfaceGrasp) -> float:
    return grasp.angle + grasp.lever / 0.1 + 10 * grasp.sigma - min(grasp.hold, 0.03) / 0.06


def _places(
    view: HandView, body: GraspBody, floor: float, config: PlanningConfig, reasons: Counter[str]
) -> Iterator[_Place]:
    """Find runs with room for both fingers and the palm."""
    gripper, goal = config.gripper, config.goal
    reach, least = gripper.finger_length - goal.palm_clearance, least_hold(body, config)
    down, tilt = -float(view.rotation[2, 2]), abs(float(view.rotation[2, 0]))
    need = gripper.finger_thickness + 2 * goal.jaw_clearance
    widest = gripper.opening_max - 2 * min(goal.jaw_clearance, SEEN_SIGMA)
    # heights of the hand's lowest edges relative to its axis: finger, and palm for level approaches
    drop = tilt * (gripper.palm_thickness if down < 0.5 else gripper.finger_width) / 2
    for row in range(0, len(view.nearest), 2):
        strip = view.fingers[row]
        top = float(strip.min())
        if top >= FREE:
            continue
        across = body.middle[2] + float(view.rotation[2, 0]) * view.x_of(row) - drop
        if down < 0.05 and across < floor:
            reasons["below_support"] += 1
            continue
        lowest = (across - floor) / down if down >= 0.05 else math.inf
        last = -math.inf
        for step, depth in enumerate(_DEPTHS):
            deep = min(top + min(depth, reach), lowest)
            if deep - top < least or deep - last < 0.003:
                if deep - top < least and deep == lowest:  # otherwise a deeper step may hold enough
                    reasons["below_support"] += 1
                continue
            last = deep
            edges = np.flatnonzero(np.diff(np.concatenate(([0], (strip < deep).view(np.int8), [0]))))
            runs = [(int(a), int(b) - 1) for a, b in edges.reshape(-1, 2)]
            spans = [(a, b, k, k) for k, (a, b) in enumerate(runs)]
            if len(runs) > 1:
                spans.append((runs[0][0], runs[-1][1], 0, len(runs) - 1))
            for a, b, first, final in spans:
                before = math.inf if first == 0 else (a - runs[first - 1][1] - 1) * CELL
                after = math.inf if final == len(runs) - 1 else (runs[final + 1][0] - b - 1) * CELL
                if (b - a - 1) * CELL > widest:
                    reasons["too_wide"] += 1
                elif min(before, after) < need:
                    reasons["no_room"] += 1
                elif view.palm[row, (a + b) // 2] < deep - reach:
                    reasons["palm"] += 1
                else:
                    y0 = float(view.low[1])
                    yield _Place(row, step, deep, y0 + a * CELL, y0 + (b + 1) * CELL, before, after)


def _grasp(
    name: Side, place: _Place, strip: npt.NDArray[np.intp], view: HandView, body: GraspBody, seen: TargetPoints,
    thin: ThinParts, config: PlanningConfig, reasons: Counter[str],
) -> SurfaceGrasp | None:  # fmt: skip
    """The grasp at one candidate, or None with the reason in `reasons`; `strip`: points within a finger's width."""
    gripper, goal = config.gripper, config.goal
    x = view.x_of(place.row)
    local = view.local[strip]
    inner = (local[:, 2] < place.deep) & (local[:, 1] > place.low - CELL) & (local[:, 1] < place.high + CELL)
    near = strip[inner]
    measured = body.seen[near]
    if np.count_nonzero(measured) < _FEW_POINTS:
        reasons["not_opposite"] += 1
        return None
    points, reach, normals = local[inner], body.reach[near], view.normals[near]
    level = abs(float(view.rotation[2, 1])) < _LEVEL
    faces = [
        face_of(side, points, reach, normals, measured, x, place.deep, gripper.finger_width, _EDGE if level else 0.0)
        for side in (-1.0, 1.0)
    ]
    low, high = -faces[0].at, faces[1].at
    width = high - low
    hold = min(place.deep, faces[0].end, faces[1].end) - max(faces[0].begin, faces[1].begin)
    angle = max(face.angle for face in faces)
    known = sum(face.looks for face in faces)
    if (
        angle > math.radians(config.grasp.friction_deg)
        or hold < least_hold(body, config)
        or not any(face.measured for face in faces)
    ):
        reasons["not_opposite"] += 1
        return None
    closing = view.rotation[:2, 1]
    sigma, estimated = sigma_of(faces, width, seen, closing)
    needed = needed_opening(width, sigma, config)
    if needed is None or width < max(gripper.opening_min, 0.001):
        reasons["too_wide" if needed is None else "too_narrow"] += 1
        return None
    opening = max(min(needed + 2 * goal.sigmas * estimated, gripper.opening_max), gripper.opening_min)
    room = min(place.before, place.after)
    if (opening - width) / 2 + gripper.finger_thickness > room:
        opening = needed
    if (opening - width) / 2 + gripper.finger_thickness > room + CELL:
        reasons["no_room"] += 1
        return None
    tip = np.array([x, (low + high) / 2, place.deep - gripper.finger_beyond])
    position = body.middle + view.rotation @ tip
    way = thin.way(name, position, view.rotation[:, 1], width, gripper.finger_thickness)
    if way is None:
        reasons["not_opposite"] += 1
        return None
    return SurfaceGrasp(
        way, view.rotation, position, width, sigma, opening, hold, angle, known, lever_of(body, position, closing)
    )


def sigma_of(faces: Sequence[Face], width: float, seen: TargetPoints, closing: Array) -> tuple[float, float]:
    """Standard deviation of a width, metres, along `closing`, (2,): with uncertainty of unseen faces, and without."""
    unseen = sum(0.0 if face.measured else _HIDDEN_SHARE * width for face in faces)
    estimated = 0.0 if all(face.looks for face in faces) else seen.sigma * abs(float(closing @ seen.along))
    return math.hypot(SEEN_SIGMA, estimated, unseen), math.hypot(SEEN_SIGMA, estimated)


def needed_opening(width: float, sigma: float, config: PlanningConfig) -> float | None:
    """Opening for a width, metres: with `jaw_clearance` on each side or, in a hand that opens no wider, with `sigma`.

    None if even that does not fit.
    """
    goal, most = config.goal, config.gripper.opening_max
    fits = width + 2 * min(goal.jaw_clearance, sigma) <= most + ROUNDING
    return min(width + 2 * goal.jaw_clearance, most) if fits else None


def lever_of(body: GraspBody, position: Array, closing: Array) -> float:
    """Horizontal distance from a grasp to the object's middle, metres; along `closing`, (2,), it counts half."""
    away = (body.middle - position)[:2]
    along = float(away @ closing)
    return math.hypot(math.sqrt(max(float(away @ away) - along * along, 0.0)), along / 2)
