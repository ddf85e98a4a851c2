# SPDX-License-Identifier: Apache-2.0
"""What a motion planner is to the rest of the package: a goal and a scene in, a trajectory with its fingerprint out."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from spatial_vlm_ros.errors import InputError, ShapeError
from spatial_vlm_ros.planning.goal import PickGoal, PlaceGoal
from spatial_vlm_ros.planning.scene import PlanningScene


@dataclass(frozen=True)
class Plan:
    """A trajectory of joints, and what it was planned for. Made by `plan_of`.

    Args:
        joint_names: J names.
        times: (N,) seconds from the start, increasing.
        positions: (N, J) radians, or metres for sliding joints.
        hash: of goal, scene and trajectory; what was approved is what has this hash.
    """

    joint_names: tuple[str, ...]
    times: tuple[float, ...]
    positions: tuple[tuple[float, ...], ...]
    hash: str


class Planner(Protocol):
    """Plans motions; never executes them."""

    def plan(self, goal: PickGoal | PlaceGoal, scene: PlanningScene) -> Plan:
        """A trajectory for the first of the goal's ways that can be reached.

        Raises:
            PlanningFailedError: no plan was found; PlannerUnavailableError where nobody answers.
            GoalError: none of the ways can be reached.
            CancelledError: the request was withdrawn.
        """
        ...


def plan_of(
    goal: PickGoal | PlaceGoal,
    scene: PlanningScene,
    joint_names: Sequence[str],
    times: Sequence[float],
    positions: Sequence[Sequence[float]],
) -> Plan:
    """A checked plan with its hash.

    Raises:
        InputError: no joint, or one twice; a number that is not finite; times that do not increase from 0 or later.
        ShapeError: `positions` is not (N, J), N being the number of times.
    """
    names = tuple(joint_names)
    steps = tuple(float(t) for t in times)
    rows = tuple(tuple(float(p) for p in row) for row in positions)
    if not names or len(set(names)) != len(names):
        raise InputError("joint names", ", ".join(names) or "none", "each joint once", "name the joints of the arm")
    if len(rows) != len(steps) or not rows or any(len(row) != len(names) for row in rows):
        widths = sorted({len(row) for row in rows})
        raise ShapeError("trajectory", f"({len(steps)}, {len(names)}), one row at least", f"({len(rows)}, {widths})")
    if not all(math.isfinite(value) for row in (steps, *rows) for value in row):
        raise InputError("trajectory", "a number that is not finite", "finite numbers", "the planner has failed")
    if steps[0] < 0 or any(later <= earlier for earlier, later in itertools.pairwise(steps)):
        raise InputError("times of the trajectory", str(steps[:4]), "increasing from 0 or later", "parametrise it anew")
    return Plan(names, steps, rows, plan_hash(goal, scene, names, steps, rows))


def plan_hash(
    goal: PickGoal | PlaceGoal,
    scene: PlanningScene,
    joint_names: Sequence[str],
    times: Sequence[float],
    positions: Sequence[Sequence[float]],
) -> str:
    """SHA-256, hexadecimal, over the canonical bytes of goal, scene's frame and stamp, and trajectory.

    Canonical: JSON in ASCII with sorted keys and no blanks; every number in the shortest form that reads back, and no
    negative zero.
    """
    content = {
        "goal": {"kind": type(goal).__name__, **dataclasses.asdict(goal)},
        "scene": {"frame_id": scene.frame_id, "stamp_ns": scene.stamp_ns},
        "trajectory": {"joints": joint_names, "times": times, "positions": positions},
    }
    text = json.dumps(_canonical(content), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def is_plan_of(plan: Plan, goal: PickGoal | PlaceGoal, scene: PlanningScene) -> bool:
    """Whether a plan is what was planned for this goal in this scene, unchanged."""
    return plan.hash == plan_hash(goal, scene, plan.joint_names, plan.times, plan.positions)


def _canonical(value: Any) -> Any:
    """With -0.0 as 0.0, and sequences alike."""
    if isinstance(value, float):
        return value + 0.0
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_canonical(item) for item in value]
    return value
