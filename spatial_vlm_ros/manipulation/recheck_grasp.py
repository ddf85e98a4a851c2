# SPDX-License-Identifier: Apache-2.0
"""Checks that the target in the second image still fits the approved grasp.

It compares how far the target's faces shifted along the axes of the grasp, so one rule covers a target that moved,
turned or changed its size. A change may use up the clearance of the grasp, but not the padding, which represents the
target's position uncertainty. docs/planner_gate.md has the limits.

Targets may have thin parts. The extents of a `SeenSurface` are quantiles of its points. The foot of a goblet or the
shaft of a screwdriver has about as many points as are cut off, so a few points more or less move that extent by
centimetres although nothing moved. Such a face is loose: its shift is replaced by that of the opposite face, but only
if the points show the same surface at the same position.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.errors import SceneChangedError
from spatial_vlm_ros.manipulation.grasping.hand_view import in_the_way
from spatial_vlm_ros.manipulation.grasping.target_points import TargetPoints
from spatial_vlm_ros.manipulation.planning.goal import Grasp
from spatial_vlm_ros.manipulation.planning.gripper import Tip
from spatial_vlm_ros.manipulation.planning.scene import PlanningObject, PlanningScene
from spatial_vlm_ros.manipulation.planning.solids import Array, Solid
from spatial_vlm_ros.manipulation.planning.surroundings import SeenSurface
from spatial_vlm_ros.parameters import PlanningConfig

_ROUNDING = 1e-6  # metres
_TRIMMED = 0.05  # share of the points beyond a face, as in SeenSurface
_NEAR = 0.005  # metres from a face within which a steady face has more points than beyond it: the least clearance
_APART = 0.006  # metres: a point has a partner nearer than this; points of one surface are about 4 mm apart
_UNMATCHED = 0.03  # largest share of points without a partner, in either image, for the same surface
_DOWN = 0.7  # an approach that points down by more than this comes from the top
_ROWS = 500  # rows of distances at once


@dataclass(frozen=True)
class FaceShifts:
    """How far the faces of the target shifted from one image to the other, metres.

    Args:
        low: (3,) shifts of the faces at the least x, y and z of a frame, along its axes.
        high: (3,) shifts of the faces at the greatest x, y and z.
    """

    low: Array
    high: Array

    @property
    def most(self) -> Array:
        """(3,) largest absolute shift of both faces: hidden parts may have shifted with visible ones."""
        return np.maximum(np.abs(self.low), np.abs(self.high))


@dataclass(frozen=True)
class SeenTarget:
    """The visible part of the target in one image.

    Args:
        surface: its extents; None if not given.
        points: its points; None if too little is visible.
    """

    surface: SeenSurface | None
    points: TargetPoints | None


def surface_shifts(then: SeenTarget, now: SeenTarget, position: Array, rotation: Array) -> FaceShifts | None:
    """Face shifts by the visible surfaces; None if an image has none.

    Args:
        now: target in the second image, in the same frame.
        position: (3,) origin of the frame for the shifts, in the frame of both images, metres.
        rotation: (3, 3) its axes as columns.
    """
    old, new = then.surface, now.surface
    if old is None or new is None:
        return None
    (low, high), (later_low, later_high) = (
        extents(np.array(one.outline), one.low, one.high, position, rotation) for one in (old, new)
    )
    shifts = FaceShifts(later_low - low, later_high - high)
    if then.points is None or now.points is None:
        return shifts
    before, after = ((np.asarray(p.points, np.float64) - position) @ rotation for p in (then.points, now.points))
    faces, later = (np.quantile(points, [_TRIMMED, 1 - _TRIMMED], axis=0) for points in (before, after))
    loose = _loose(before, faces) | _loose(after, later)
    one = loose[0] ^ loose[1]
    if not one.any() or not (max(_unmatched(before, after), _unmatched(after, before)) <= _UNMATCHED):
        return shifts
    steady = np.where(loose[0], later[1] - faces[1], later[0] - faces[0])
    return FaceShifts(np.where(one, steady, shifts.low), np.where(one, steady, shifts.high))


def moved_by(then: SeenTarget, now: SeenTarget) -> float | None:
    """Largest motion of the visible surface, metres; None if an image has none."""
    shifts = surface_shifts(then, now, np.zeros(3), np.eye(3))
    return None if shifts is None else float(np.linalg.norm(shifts.most))


def extents(flat: Array, bottom: float, top: float, position: Array, rotation: Array) -> tuple[Array, Array]:
    """Least and greatest x, y and z, (3,) each, of an upright prism over an outline (K, 2), in a frame."""
    corners = np.concatenate([np.column_stack([flat, np.full(len(flat), z)]) for z in (bottom, top)])
    local = (corners - position) @ rotation
    return local.min(axis=0), local.max(axis=0)


@dataclass(frozen=True)
class TargetInGrasp:
    """Extents of the target in the tip frame of a grasp, metres.

    Args:
        low: (3,) least x, y and z.
        high: (3,) greatest x, y and z.
        doubt: (3,) position uncertainty along each axis: its padding.
    """

    low: Array
    high: Array
    doubt: Array


def target_in_grasp(target: PlanningObject, yaw_known: bool, grasp: Grasp) -> TargetInGrasp:
    """Extents of a target in the planning frame between the fingers of a grasp, as in `pick_goal`."""
    tip, solid = Tip.of(grasp.grasp), target.solid
    by_outline = not yaw_known and bool(target.outline)
    flat = np.array(target.outline) if by_outline else solid.outline()
    low, high = extents(flat, solid.bottom, solid.top, np.array(tip.position), tip.rotation())
    missing = min(solid.size[:2]) - float(high[1] - low[1]) if by_outline else 0.0
    if missing > 0:  # the narrowest of several headings is likely measured too narrow
        low[1] -= missing / 2
        high[1] += missing / 2
    c, s = math.cos(solid.yaw), math.sin(solid.yaw)
    axes = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]) @ tip.rotation()  # the box's axes in the tip frame
    doubt = np.sqrt(np.square(axes * np.array(target.padding)[:, None]).sum(axis=0))
    return TargetInGrasp(low, high, doubt)


def face_shifts(then: PlanningScene, now: PlanningScene, grasp: Grasp) -> FaceShifts:
    """Shifts of the target's faces, by the visible surfaces if both scenes have them, otherwise by the boxes."""
    tip = Tip.of(grasp.grasp)
    shifts = surface_shifts(_seen(then), _seen(now), np.array(tip.position), tip.rotation())
    if shifts is not None:
        return shifts
    before = target_in_grasp(then.target, then.yaw_known, grasp)
    after = target_in_grasp(now.target, now.yaw_known, grasp)
    return FaceShifts(after.low - before.low, after.high - before.high)


def check_grasp(then: PlanningScene, now: PlanningScene, grasp: Grasp, config: PlanningConfig) -> None:
    """Refuse a target that the approved grasp would push or would not hold in the second image, `now`."""
    gripper, goal = config.gripper, config.goal
    if now.truncated:
        raise _changed(then, now, 0.0, 0.0, "is now cut off by the border of the image, so its size is not known")
    shifts = face_shifts(then, now, grasp)
    reach, middle = _held_reach(then, grasp, config), np.abs(shifts.low + shifts.high) / 2
    if grasp.closes_on == "surface":
        # A part that the box does not describe: a wall, a handle, a slanted part. The visible surface shifts together
        # with that part, so its shift is used. On a part, only the needed opening counts: with more, the fingers would
        # push the whole object by its wall or handle as far as that part shifted.
        aside, closing, along = float(middle[0]), *(float(v) for v in shifts.most[1:])
        if Tip.of(grasp.grasp).rotation()[2, 2] < -_DOWN:  # its top is always visible, and its foot often is not
            along = abs(float(shifts.low[2]))
        whole = grasp.way not in ("rim", "handle") and _passes(now, grasp, config)
        room = ((grasp.opening if whole else grasp.needed) - grasp.width) / 2
        limits = [
            (shift, limit, f"it shifted by {_mm(shift)} {way}; above {_mm(limit)} it is not where the fingers close")
            for shift, limit, way in (
                (closing, room - _kept(room, goal.jaw_clearance, grasp.width_sigma), "along the closing direction"),
                (aside, reach, "across the fingers"),
                (along, goal.palm_clearance, "along the approach"),
            )
        ]
    else:
        planned, down = target_in_grasp(then.target, then.yaw_known, grasp), grasp.way == "top_down"
        if down:
            rise = -float(shifts.low[2])  # of its top, which is always visible
        else:  # the tip frame's x axis is vertical
            rise = float(shifts.high[0]) if Tip.of(grasp.grasp).rotation()[2, 0] > 0 else -float(shifts.low[0])
        closing = float(shifts.most[1])
        aside = float(middle[0]) if down else abs(rise)
        nearer, farther = (rise, max(-rise, 0.0)) if down else (float(shifts.most[2]), float(shifts.most[2]))

        room = grasp.opening / 2 - float(max(planned.high[1], -planned.low[1]))
        beside = room - _kept(room, goal.jaw_clearance, float(planned.doubt[1]))
        seen, to = now.target.seen, Tip.of(grasp.grasp).rotation()[:2, 1] * float(shifts.low[1] + shifts.high[1])
        faces = now.target.surface is not None and seen is not None and float(to @ seen.along) <= 0.0
        if faces and _passes(now, grasp, config):  # the box is larger than the side that it shows, and moved towards
            beside = max(beside, grasp.opening / 2)  # and its middle is between the fingers
        room = float(planned.low[2]) - (gripper.finger_beyond - gripper.finger_length)
        above = room - _kept(room, goal.palm_clearance, float(planned.doubt[2]))
        half = gripper.finger_width / 2
        along = min(float(planned.high[2]), gripper.finger_beyond) - float(planned.low[2])
        across = min(float(planned.high[0]), half) - max(float(planned.low[0]), -half)
        less = max(min(along, across) - goal.hold, 0.0) + min(float(planned.doubt.max()), goal.hold / 2)
        limits = [
            (closing, beside, f"its sides shifted by {_mm(closing)} along the closing direction; above {_mm(beside)} "
             "the fingers may touch it"),
            (aside, reach, f"it shifted by {_mm(aside)} across the fingers; above {_mm(reach)} they do not hold it"),
            (nearer, above, f"it is {_mm(nearer)} nearer to the palm; above {_mm(above)} the palm may touch it"),
            (farther, less, f"the fingers would hold {_mm(farther)} less of it; above {_mm(less)} they hold too "
             "little"),
        ]  # fmt: skip
    for shift, limit, words in limits:
        if not shift <= limit + _ROUNDING:
            raise _changed(then, now, shift, limit, words)


def _held_reach(then: PlanningScene, grasp: Grasp, config: PlanningConfig) -> float:
    """How far the target may shift across the fingers: the edges of their pads still meet a round face within friction.

    A pad with half its width w meets a circle of radius R, shifted by s > w, at the angle asin((s - w) / R). The radius
    is what is known of the target between the fingers.
    """
    gripper, goal, tip = config.gripper, config.goal, Tip.of(grasp.grasp)
    half_pad = max((gripper.finger_width - goal.hold) / 2, 0.0)
    if grasp.way not in ("top_down", "slanted") or then.target.seen is None:
        return half_pad
    x, y, z = ((then.target.seen.known - tip.position) @ tip.rotation()).T
    palm = gripper.finger_beyond - gripper.finger_length
    between = np.abs(x[(z > palm) & (z < gripper.finger_beyond) & (np.abs(y) < grasp.opening / 2)])
    box = target_in_grasp(then.target, then.yaw_known, grasp)
    radius = min(float(np.quantile(between, 1 - _TRIMMED)) if len(between) else 0.0, -box.low[0], box.high[0])
    return half_pad + max(radius, 0.0) * math.sin(math.radians(config.grasp.friction_deg))


def _passes(scene: PlanningScene, grasp: Grasp, config: PlanningConfig) -> bool:
    """Whether the open hand passes the target's points with half of `goal.jaw_clearance`; False without points."""
    seen, tip = scene.target.seen, Tip.of(grasp.grasp)
    if seen is None:
        return False
    local = (seen.known - tip.position) @ tip.rotation()
    return in_the_way(local, grasp.opening - config.goal.jaw_clearance, config) is None


def tracked(then: PlanningScene, now: PlanningScene) -> PlanningScene:
    """The second scene with the first target box, moved like the visible surface; unchanged without a surface."""
    shifts = surface_shifts(_seen(then), _seen(now), np.zeros(3), np.eye(3))
    if shifts is None:
        return now
    (sx, sy, _), rise = ((shifts.low + shifts.high) / 2).tolist(), float(shifts.high[2])
    x, y, z = then.target.solid.centre
    solid = dataclasses.replace(then.target.solid, centre=(x + sx, y + sy, z + rise))
    target = dataclasses.replace(now.target, solid=solid, outline=())
    return dataclasses.replace(now, target=target, yaw_known=True)


def as_held(then: PlanningScene, now: PlanningScene, grasp: Grasp) -> Solid:
    """The target's box between the closed fingers, which push it to their middle; planning frame.

    If they close on a part of it, they push that part to where it was planned, and the box with it.
    """
    tip, solid = Tip.of(grasp.grasp), now.target.solid
    if grasp.closes_on == "surface":
        shift = float(np.subtract(then.target.solid.centre, solid.centre) @ tip.closing)
    else:
        lying = target_in_grasp(now.target, now.yaw_known, grasp)
        shift = -float(lying.low[1] + lying.high[1]) / 2
    x, y, z = (at + shift * way for at, way in zip(solid.centre, tip.closing, strict=True))
    return dataclasses.replace(solid, centre=(x, y, z))


def _seen(scene: PlanningScene) -> SeenTarget:
    return SeenTarget(scene.target.surface, scene.target.seen)


def _kept(planned: float, clearance: float, doubt: float) -> float:
    """Room that must remain: the padding, as far as the plan had more room than its clearance."""
    return max(0.0, min(doubt, planned - clearance))


def _changed(then: PlanningScene, now: PlanningScene, shift: float, limit: float, words: str) -> SceneChangedError:
    turned = math.degrees(abs(math.remainder(now.target.solid.yaw - then.target.solid.yaw, math.pi)))
    what = f"the {then.target.label} ({then.target.id})"
    repair = "resolve the instruction again"
    happened = words if shift == 0.0 else f"moved, turned or changed its size: {words}"
    return SceneChangedError(what, shift, turned, limit, math.inf, repair, happened)


def _mm(metres: float) -> str:
    return f"{1000 * metres:.1f} mm"


def _loose(points: Array, faces: Array) -> np.ndarray:
    """(2, 3) whether no more of (N, 3) points are near a face than lie beyond it."""
    return np.stack([(np.abs(points - face) <= _NEAR).mean(axis=0) <= _TRIMMED for face in faces])


def _unmatched(points: Array, others: Array) -> float:
    """Share of (N, 3) points that are farther than _APART from all of (M, 3) others."""
    squares, count = np.square(others).sum(axis=1), 0
    for begin in range(0, len(points), _ROWS):
        rows = points[begin : begin + _ROWS]
        apart = np.square(rows).sum(axis=1)[:, None] + squares - 2 * rows @ others.T
        count += int(np.count_nonzero(apart.min(axis=1) > _APART**2))
    return count / len(points)
