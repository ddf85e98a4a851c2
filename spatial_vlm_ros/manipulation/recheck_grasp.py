# SPDX-License-Identifier: Apache-2.0
"""Whether the target, as the second image shows it, still fits the approved grasp.

The room is measured in the tip frame of the grasp, so that one rule covers a target that moved, turned or changed its
size. A change may use up the clearance that the grasp was planned with; it may not use up the padding, which stands for
what is not known of the target's place. docs/planner_gate.md derives the limits.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.errors import SceneChangedError
from spatial_vlm_ros.manipulation.planning.goal import Grasp
from spatial_vlm_ros.manipulation.planning.gripper import Tip
from spatial_vlm_ros.manipulation.planning.scene import PlanningObject, PlanningScene
from spatial_vlm_ros.manipulation.planning.solids import Array, Solid
from spatial_vlm_ros.parameters import PlanningConfig

_ROUNDING = 1e-6  # metres


@dataclass(frozen=True)
class TargetInGrasp:
    """Extents of the target in the tip frame of a grasp, metres.

    Args:
        low: (3,) least x, y and z.
        high: (3,) greatest x, y and z.
        doubt: (3,) what is not known of its place along each: its padding.
    """

    low: Array
    high: Array
    doubt: Array

    @property
    def middle(self) -> Array:
        """(3,) between the extents."""
        return np.asarray((self.low + self.high) / 2, np.float64)

    def finger(self, opening: float) -> float:
        """Room between the target and the nearer finger."""
        return opening / 2 - float(max(self.high[1], -self.low[1]))


def target_in_grasp(target: PlanningObject, yaw_known: bool, grasp: Grasp) -> TargetInGrasp:
    """Where the target is between the fingers of a grasp, seen as `pick_goal` sees it.

    Args:
        target: in the planning frame.
        yaw_known: whether its box has a heading; without one its outline counts, as far as it has one.
        grasp: of this target, in the same frame.
    """
    tip, solid = Tip.of(grasp.grasp), target.solid
    by_outline = not yaw_known and bool(target.outline)
    flat = np.array(target.outline) if by_outline else solid.outline()
    corners = np.concatenate([np.column_stack([flat, np.full(len(flat), z)]) for z in (solid.bottom, solid.top)])
    local = (corners - tip.position) @ tip.rotation()
    low, high = local.min(axis=0), local.max(axis=0)
    missing = min(solid.size[:2]) - float(high[1] - low[1]) if by_outline else 0.0
    if missing > 0:  # of several headings the one that measures least is likely to be measured too narrow
        low[1] -= missing / 2
        high[1] += missing / 2
    c, s = math.cos(solid.yaw), math.sin(solid.yaw)
    axes = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]) @ tip.rotation()  # the box's axes in the tip frame
    doubt = np.sqrt(np.square(axes * np.array(target.padding)[:, None]).sum(axis=0))
    return TargetInGrasp(low, high, doubt)


def check_grasp(then: PlanningScene, now: PlanningScene, grasp: Grasp, config: PlanningConfig) -> None:
    """Refuse a target that the approved grasp would press on, or not hold.

    Args:
        then: what the grasp was planned in.
        now: of the second image.
        grasp: the approved one.
        config: gripper and clearances.

    Raises:
        SceneChangedError: says how far the target moved and turned, and what the gripper would do to it.
    """
    gripper, goal = config.gripper, config.goal
    if now.truncated:
        raise _changed(then, now, 0.0, "is cut off by the border of the image now, so its size is not known")
    before = target_in_grasp(then.target, then.yaw_known, grasp)
    after = target_in_grasp(now.target, now.yaw_known, grasp)
    palm_face = gripper.finger_beyond - gripper.finger_length

    kept = _kept(before.finger(grasp.opening), goal.jaw_clearance, float(after.doubt[1]))
    room = after.finger(grasp.opening)
    if room < kept - _ROUNDING:
        raise _changed(then, now, goal.jaw_clearance, f"a finger would come {_within(room)} it, {_wanted(kept)}")

    aside = abs(float(after.middle[0] - before.middle[0]))
    most = (gripper.finger_width - goal.hold) / 2
    if aside > max(most, 0.0) + _ROUNDING:
        words = f"it is {_mm(aside)} off the middle of the fingers, {_mm(most)} are allowed"
        raise _changed(then, now, most, words)

    kept = _kept(float(before.low[2]) - palm_face, goal.palm_clearance, float(after.doubt[2]))
    room = float(after.low[2]) - palm_face
    if room < kept - _ROUNDING:
        raise _changed(then, now, goal.palm_clearance, f"the palm would come {_within(room)} it, {_wanted(kept)}")

    held = _held(after, gripper.finger_width, gripper.finger_beyond)
    least = min(_held(before, gripper.finger_width, gripper.finger_beyond), goal.hold)
    least -= min(float(after.doubt.max()), goal.hold / 2)
    if held < least - _ROUNDING:
        words = f"the fingers would hold {_mm(max(held, 0.0))} of it, {_mm(least)} are needed"
        raise _changed(then, now, goal.hold, words)


def as_held(now: PlanningScene, grasp: Grasp) -> Solid:
    """The target's box between the closed fingers at the grasp, which push it to their middle; planning frame."""
    tip, extents = Tip.of(grasp.grasp), target_in_grasp(now.target, now.yaw_known, grasp)
    shift = -float(extents.middle[1])
    x, y, z = (at + shift * way for at, way in zip(now.target.solid.centre, tip.closing, strict=True))
    return dataclasses.replace(now.target.solid, centre=(x, y, z))


def moved_and_turned(then: Solid, now: Solid) -> tuple[float, float]:
    """Metres between the centres, and degrees between the headings; a box is the same after half a turn."""
    turned = abs(math.remainder(now.yaw - then.yaw, math.pi))
    return math.dist(then.centre, now.centre), math.degrees(turned)


def _kept(planned: float, clearance: float, doubt: float) -> float:
    """What must be left of planned room: the padding, as far as the plan had more room than its clearance."""
    return max(0.0, min(doubt, planned - clearance))


def _held(target: TargetInGrasp, width: float, beyond: float) -> float:
    """Length of the target between the fingers: along the approach, or across it where that is less."""
    along = min(float(target.high[2]), beyond) - float(target.low[2])
    across = min(float(target.high[0]), width / 2) - max(float(target.low[0]), -width / 2)
    return min(along, across)


def _changed(then: PlanningScene, now: PlanningScene, limit: float, words: str) -> SceneChangedError:
    moved, turned = moved_and_turned(then.target.solid, now.target.solid)
    resized = max(
        abs(a - b) for a, b in zip(sorted(then.target.solid.size), sorted(now.target.solid.size), strict=True)
    )
    happened = f"moved by {_mm(moved)}, turned by {turned:.0f}° and changed its size by {_mm(resized)}: {words}"
    what = f"the {then.target.label} ({then.target.id})"
    repair = "resolve the instruction again"
    return SceneChangedError(what, moved, turned, limit, math.inf, repair, happened)


def _within(room: float) -> str:
    return f"within {_mm(room)} of" if room > 0 else f"{_mm(-room)} into"


def _wanted(kept: float) -> str:
    return f"{_mm(kept)} of padding have to be left"


def _mm(metres: float) -> str:
    return f"{1000 * metres:.1f} mm"
