# SPDX-License-Identifier: Apache-2.0
"""Planner goals: grasps of an object and placements of it, best first; grasp candidates and their score.

Planning frame, metres.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from spatial_vlm_ros.errors import GoalError, OutOfWorkspaceError
from spatial_vlm_ros.manipulation.planning.gripper import Tip
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.types import Pose, Vector3

Side = Literal["top_down", "side", "slanted", "rim", "handle"]
Kind = Literal[
    "cut_off", "too_wide", "too_narrow", "not_opposite", "no_room", "palm", "below_support", "blocked",
    "out_of_workspace", "keep_out", "tipped",
]  # fmt: skip
"""Reasons for a rejection; docs/planning.md explains each."""
_OF_THE_WORKSPACE = {"out_of_workspace", "keep_out"}
_OF_THE_SHAPE = {"too_wide", "too_narrow", "not_opposite", "no_room", "palm"}
_REPAIRS = {
    "cut_off": "move the camera until the whole object is in the image",
    "too_wide": "use a gripper that opens wider",
    "too_narrow": "use a gripper that closes further",
    "not_opposite": "turn the object, or move the camera so that it sees more of it",
    "no_room": "use a gripper with thinner fingers, or turn the object",
    "palm": "use a gripper with longer fingers, or turn the object",
    "below_support": "raise the object, or lower goal.support_clearance or goal.hold if the gripper allows it",
    "blocked": "clear the way, or ask for the blocking object first",
    "out_of_workspace": "bring the object nearer, or widen the workspace if the robot allows it",
    "keep_out": "move the object out of that volume",
    "tipped": "name a place that it fits into as it lies",
}
_SAME_SIDE = math.cos(math.radians(45.0))
_TOLD = 4  # most kinds of reasons in a message


@dataclass(frozen=True)
class Rejection:
    """A rejected grasp or placement.

    Args:
        by: id of the object or volume in the way, or None.
    """

    way: Side
    kind: Kind
    words: str
    by: str | None = None


@dataclass(frozen=True)
class Grasp:
    """One collision-free grasp. Poses are of the tip frame (see manipulation/planning/gripper.py).

    Args:
        way: "top_down" or "side": the whole object between the fingers, from above or horizontally; "slanted": an
            approach between the two; "rim": one wall of a hollow object, a finger inside and one outside; "handle": a
            thin part that sticks out.
        closes_on: axis of the target's box that the fingers close along; "outline" if its heading is not known;
            "surface" if the grasp is on the measured surface.
        approach: unit direction from `pre_grasp` to `grasp`.
        closing: unit direction the fingers close along.
        opening: distance of the fingers until they close: where the surface was measured, as wide as there is space,
            for the side that the camera does not see may be thicker than estimated.
        width_margin: by which the gripper could open further, each side, beyond the clearance it needs.
        clearance: least distance of what the gripper sweeps from neighbours and keep-outs; infinite without any.
        width_sigma: standard deviation of `width`.
        score: 0 to 1, higher is better; the weighted mean of `terms` (docs/grasps.md).
        terms: name and value, 0 to 1, of each term of the score.
    """

    way: Side
    closes_on: Literal["x", "y", "outline", "surface"]
    pre_grasp: Pose
    grasp: Pose
    retreat: Pose
    approach: Vector3
    closing: Vector3
    width: float
    opening: float
    needed: float
    width_margin: float
    hold: float
    clearance: float
    width_sigma: float = 0.0
    score: float = 0.0
    terms: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class EmptyGrasp:
    """A grasp that closed on nothing, of an object whose box had this centre, metres."""

    label: str
    centre: Vector3
    grasp: Grasp

    def is_side_of(self, other: Grasp) -> bool:
        """Whether another grasp comes from the same side: approach and closing direction within 45 degrees."""
        return (
            float(np.dot(self.grasp.approach, other.approach)) > _SAME_SIDE
            and abs(float(np.dot(self.grasp.closing, other.closing))) > _SAME_SIDE
        )


@dataclass(frozen=True)
class Leaving:
    """Where the tip frame stands in contact, where it first goes from there, straight, and the fingers' distance then.

    An empty hand first opens to that distance, metres; one that was stopped around what it takes first closes from it.
    """

    begin: Pose
    end: Pose
    opening: float


@dataclass(frozen=True)
class PickGoal:
    """Goal: take one object.

    Args:
        frame_id: the planning frame.
        stamp_ns: stamp of the observation, nanoseconds.
        grasps: collision-free grasps, best first; never empty.
        act: what was asked for, as in `types.query.Act`; part of the plan's hash.
        held: whether the fingers hold it already; then there is one grasp.
        falls: whether it is let go where it is, without a place.
        hand_over: pose of the tip frame at which it is held out at the end; None = it is not.
        leaves: how the plan begins if the hand, or what it holds, touches something where it stands.
    """

    frame_id: str
    stamp_ns: int
    target_id: str
    grasps: tuple[Grasp, ...]
    rejected: tuple[Rejection, ...] = ()
    act: str = "take"
    held: bool = False
    falls: bool = False
    hand_over: Pose | None = None
    leaves: Leaving | None = None


@dataclass(frozen=True)
class Placement:
    """One collision-free way to put the object down. Gripper poses are of the tip frame.

    Args:
        pre_place: straight above the place, with the object.
        spot: index of the place in Resolution.places.
        release: height of the object's foot above its place when it is released, metres.
        turn: rotation of the object relative to the place's heading, radians.
        clearance: smallest distance of swept gripper and object from neighbours and keep-outs; infinite without any.
    """

    pre_place: Pose
    place: Pose
    retreat: Pose
    obj: Pose
    carrier_id: str
    spot: int
    release: float
    turn: float
    opening: float
    clearance: float


@dataclass(frozen=True)
class PlaceGoal:
    """Goal: put down one object that was taken by a known grasp; never without a placement, the best one first."""

    frame_id: str
    stamp_ns: int
    target_id: str
    placements: tuple[Placement, ...]
    rejected: tuple[Rejection, ...] = ()


def refused(what: str, rejected: Sequence[Rejection]) -> GoalError:
    """The error for a goal without any collision-free way.

    OUT_OF_WORKSPACE if every way that fits the object leaves the workspace or enters a keep-out.
    """
    counts = Counter((r.kind, r.by) for r in rejected)
    reasons = tallied(rejected)
    fitting = {r.kind for r in rejected} - _OF_THE_SHAPE
    if fitting and fitting <= _OF_THE_WORKSPACE:
        first = next(kind for kind, _ in counts if kind in fitting)
        return OutOfWorkspaceError(what, reasons, _REPAIRS[first])
    return GoalError(what, reasons, _REPAIRS[reasons[0][0]])


def tallied(rejected: Sequence[Rejection]) -> list[tuple[str, str]]:
    """Reasons of rejections as (kind, text) with their counts, most frequent first.

    At most four reasons have a text; the last one says how many rejections have other reasons.
    """
    counts = Counter((r.kind, r.by) for r in rejected)
    words = {(r.kind, r.by): r.words for r in reversed(rejected)}  # text of the first rejection of each
    told = counts.most_common(_TOLD)
    total = _ways(len(rejected))
    reasons: list[tuple[str, str]] = [(kind, f"{words[kind, by]} ({n} of {total})") for (kind, by), n in told]
    left = len(rejected) - sum(n for _, n in told)
    if left:
        kind, last = reasons[-1]
        reasons[-1] = kind, f"{last}; {_ways(left)} for other reasons"
    return reasons


def _ways(n: int) -> str:
    return "1 way" if n == 1 else f"{n} ways"


WEIGHTS = {"facing": 0.25, "balance": 0.2, "known": 0.15, "room": 0.12, "hold": 0.1, "clear": 0.1, "way": 0.08}
"""Weight of each term of the score; they add up to 1."""
_LEVER = 0.08  # metres from the object's middle at which the term "balance" is 0
_SIGMA = 0.012  # standard deviation of the width, metres, at which the term "known" is 0
_ROOM = 0.01  # metres of extra opening per side above which the score does not rise
_HOLD = 0.025  # metres of finger contact above which the score does not rise
_WAYS: dict[Side, float] = {"top_down": 1.0, "side": 0.7, "rim": 0.6, "handle": 0.5, "slanted": 0.4}
_ALIKE = math.cos(math.radians(20.0))
_EACH = 4  # most grasps of one way at the beginning, so that other ways follow


@dataclass(frozen=True)
class GraspCandidate:
    """A grasp candidate.

    Args:
        before: vector from the grasp back to the pre-grasp, metres.
        sigma: standard deviation of `width`, metres.
        angle: angle between the worse face and its finger, radians.
        lever: horizontal distance from the grasp to the object's middle, metres.
        server: score of a server of learned grasps, 0 to 1; None if it was found locally.
    """

    way: Side
    closes_on: Literal["x", "y", "outline", "surface"]
    tip: Tip
    width: float
    opening: float
    margin: float
    hold: float
    before: Vector3
    sigma: float = 0.0
    angle: float = 0.0
    lever: float = 0.0
    server: float | None = None


def terms_of(candidate: GraspCandidate, clearance: float, config: PlanningConfig) -> dict[str, float]:
    """Score terms of a collision-free grasp: 0 to 1, by WEIGHTS, and "server"; clearance in m, infinite without any."""
    ample = max(config.goal.ample, 1e-6)
    terms = {
        "facing": 1 - candidate.angle / math.radians(config.grasp.friction_deg),
        "balance": 1 - candidate.lever / _LEVER,
        "known": 1 - candidate.sigma / _SIGMA,
        "room": candidate.margin / _ROOM,
        "hold": candidate.hold / _HOLD,
        "clear": clearance / ample,
        "way": _WAYS[candidate.way],
    }
    if candidate.server is not None:
        terms["server"] = candidate.server
    return {name: round(min(1.0, max(0.0, value)), 4) for name, value in terms.items()}


def score_of(terms: dict[str, float]) -> float:
    """The weighted mean of the terms, 0 to 1; for a server's grasp the mean of that and the server's score."""
    own = sum(weight * terms[name] for name, weight in WEIGHTS.items())
    return round((own + terms["server"]) / 2 if "server" in terms else own, 4)


def varied(grasps: Sequence[Grasp], apart: float, most: int) -> tuple[Grasp, ...]:
    """Select the best grasps without near duplicates, and not all of one way if others are free.

    Args:
        apart: two grasps differ if their tips are at least this far apart, metres, or their axes differ by 20 degrees.
        most: number of grasps at most.
    """
    order = sorted(grasps, key=lambda grasp: -grasp.score)
    kept: list[Grasp] = []
    for grasp in order:
        alike = (
            math.dist(grasp.grasp.position, other.grasp.position) < apart
            and float(np.dot(grasp.approach, other.approach)) > _ALIKE
            and abs(float(np.dot(grasp.closing, other.closing))) > _ALIKE
            for other in kept
        )
        if not any(alike):
            kept.append(grasp)
    counts: Counter[str] = Counter()
    first: list[Grasp] = []
    later: list[Grasp] = []
    for grasp in kept:
        counts[grasp.way] += 1
        (first if counts[grasp.way] <= _EACH else later).append(grasp)
    return tuple(sorted([*first, *later][:most], key=lambda grasp: -grasp.score))
