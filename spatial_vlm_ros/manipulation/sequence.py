# SPDX-License-Identifier: Apache-2.0
"""What the steps of a request before a step leave: moved objects, and what a later step must not depend on. No ROS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from spatial_vlm_ros.errors import NotExecutableError
from spatial_vlm_ros.manipulation.planning.gripper import pose_matrix
from spatial_vlm_ros.manipulation.planning.planner import MotionPlan
from spatial_vlm_ros.manipulation.planning.solids import Solid
from spatial_vlm_ros.manipulation.planning.surroundings import SurroundingObject, Surroundings
from spatial_vlm_ros.types import Resolution
from spatial_vlm_ros.types.query import Act

ALONE = "give the steps one by one"
_ROLLS = 0.15  # metres that an object may roll or slide from where a step has put it


@dataclass(frozen=True)
class MovedObject:
    """An object that an earlier step moves: its box in the image that the step was planned in, and after the step."""

    label: str
    before: Solid
    after: Solid


def moved_by(seen: Surroundings, plan: MotionPlan) -> tuple[MovedObject, ...]:
    """The object that a plan puts down; none if it is held at the end."""
    put, target = plan.put_down, seen.target
    return () if put is None else (MovedObject(target.label, target.solid, target.solid.placed(pose_matrix(put.obj))),)


def _found(bodies: Sequence[SurroundingObject], label: str, at: Solid, within: float) -> SurroundingObject | None:
    alike = [body for body in bodies if body.label == label]
    nearest = min(alike, key=lambda body: math.dist(body.solid.centre, at.centre), default=None)
    return None if nearest is None or math.dist(nearest.solid.centre, at.centre) > within else nearest


def settled(then: Surroundings, now: Surroundings, moved: Sequence[MovedObject]) -> Surroundings:
    """What a later step was planned in, with what earlier steps have put down where it came to rest: oranges roll."""
    others = list(then.others)
    for each in moved:
        body, rests = (_found(bodies, each.label, each.after, within) for bodies, within in (
            (others, 0.0), (now.others, _ROLLS)))  # fmt: skip
        if body is not None and rests is not None:
            others[others.index(body)] = replace(body, solid=rests.solid)
    return replace(then, others=tuple(others))


def after_steps(
    act: Act, said: str, seen: Surroundings, resolution: Resolution, moved: Sequence[MovedObject], within: float
) -> Surroundings:
    """The surroundings of a step's target once earlier steps are done.

    Args:
        within: metres within which an object is the same in two images.

    Raises:
        NotExecutableError: the step speaks of an object that an earlier step moves; where that would then be, and
            whether the words still mean the same, only another look could tell.
    """
    chosen = resolution.target.id if resolution.target is not None else ""
    used = {name for place in resolution.places[:1] or (resolution.place,) if place is not None
            for name in (place.anchor_id, place.carrier_id)}  # fmt: skip
    used |= {name for each in resolution.candidates if each.id == chosen
             for clause in each.clauses for name in clause.anchor_ids}  # fmt: skip
    others = list(seen.others)
    for each in moved:
        body = _found((seen.target, *others), each.label, each.before, within)
        if body is None or body is seen.target or body.id in used:
            which = f"the {each.label}{'' if body is None else f' ({body.id})'}"
            reason = f"it depends on {which}, which an earlier step moves"
            raise NotExecutableError(act, said, reason, ALONE)
        others[others.index(body)] = replace(body, solid=each.after)
    return replace(seen, others=tuple(others))
