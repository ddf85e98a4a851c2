# SPDX-License-Identifier: Apache-2.0
"""Grasp candidates before they are checked against their surroundings, and their score."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from spatial_vlm_ros.manipulation.planning.goal import Grasp, Side
from spatial_vlm_ros.manipulation.planning.gripper import Tip
from spatial_vlm_ros.parameters import PlanningConfig
from spatial_vlm_ros.types import Vector3

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
    """Score terms of a collision-free grasp: 0 to 1 for each of WEIGHTS, and "server" if a server proposed it.

    Args:
        clearance: distance to neighbours and keep-outs, metres; infinite without any.
    """
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
