# SPDX-License-Identifier: Apache-2.0
"""Role of each object in an answer: chosen, refused, a rival, a reference, a support, or none."""

from __future__ import annotations

import enum
import re

import numpy as np

from spatial_vlm_ros.output.deciding_clause import DecidingClause, candidate_of
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.spatial.belief import SUPPORT_ID
from spatial_vlm_ros.spatial.free_space import depth_inside
from spatial_vlm_ros.spatial.layout import Layout
from spatial_vlm_ros.types import Place, Resolution, Status, Target

_CARRIES = 0.5  # share of the other objects with centres on an object from which it is drawn as ground
_RIVALS = 6  # most marked rivals


class Role(enum.Enum):
    """Role of an object in the answer; the value is its text in the legend."""

    CHOSEN = "chosen"
    REFUSED = "most likely, refused"
    RIVAL = "could be meant"
    ANCHOR = "reference"
    CARRIER = "carries it"
    OTHER = "other"
    GROUND = "surface"


_OF_ANSWER = {"subject": Role.CHOSEN, "fits": Role.CHOSEN, "compared": Role.ANCHOR, "unclear": Role.RIVAL}
"""Role of an object in the answer to a question."""


def targets_of(resolution: Resolution) -> tuple[Target, ...]:
    """All meant objects."""
    return resolution.targets or ((resolution.target,) if resolution.target is not None else ())


def places_of(resolution: Resolution) -> tuple[Place, ...]:
    """All spots, the best first; including those of an answer that there is room."""
    if resolution.answer is not None:
        return resolution.answer.places
    return resolution.places or ((resolution.place,) if resolution.place is not None else ())


def roles_of(
    layout: Layout,
    resolution: Resolution,
    deciding: DecidingClause | None,
    beside: tuple[int, ...],
    config: ResolverConfig,
) -> tuple[tuple[Role, ...], dict[int, str]]:
    """Assign a role to each object, by row, and letters to rivals.

    Args:
        beside: rows of objects that the requested place relates to.
    """
    row_of = {obj.id: row for row, obj in enumerate(layout.scene.objects)}
    roles = [Role.OTHER] * len(row_of)
    for row in _grounds(layout):
        roles[row] = Role.GROUND

    def give(role: Role, ids: list[str]) -> None:
        for id_ in ids:
            if id_ in row_of and (role is not Role.CARRIER or roles[row_of[id_]] is Role.OTHER):
                roles[row_of[id_]] = role

    first = candidate_of(resolution)
    places = places_of(resolution)
    if resolution.answer is not None:
        for obj in resolution.answer.objects:
            give(_OF_ANSWER[obj.role], [obj.id])
        listed = [obj.id for obj in resolution.answer.objects if obj.role in ("fits", "unclear") and obj.id in row_of]
        numbers = {row_of[id_]: str(number) for number, id_ in enumerate(listed, 1)} if len(listed) > 1 else {}
        return tuple(roles), numbers
    answered = resolution.status is Status.OK
    give(Role.CARRIER, [place.carrier_id for place in places if place.carrier_id != SUPPORT_ID])
    give(Role.ANCHOR, [id_ for clause in (first.clauses if first else ()) for id_ in clause.anchor_ids])
    give(Role.ANCHOR, [place.anchor_id for place in places if place.anchor_id != SUPPORT_ID])
    give(Role.ANCHOR, [layout.scene.objects[row].id for row in beside])
    written = re.findall(r"\(([^()]*)\)", resolution.message)  # the message of a refusal has "label (id)"
    named = [] if answered else [id_ for id_ in dict.fromkeys(written) if id_ in row_of]
    marks: dict[int, str] = {}
    if answered:
        give(Role.CHOSEN, [target.id for target in targets_of(resolution)])
    elif resolution.status in (Status.AMBIGUOUS, Status.DISAGREEMENT):
        rivals = _rivals(resolution, named, config)
        give(Role.RIVAL, rivals)
        marks = {row_of[id_]: chr(ord("A") + n) for n, id_ in enumerate(rivals) if id_ in row_of}
    else:
        give(Role.ANCHOR, named)
        refused = resolution.status is not Status.NOT_FOUND and first is not None
        if refused and first:
            give(Role.CHOSEN if resolution.status is Status.NO_PLACE else Role.REFUSED, [first.id])
    if deciding is not None and not answered:
        for row in deciding.rivals:
            if roles[row] is Role.OTHER:
                roles[row] = Role.RIVAL
    return tuple(roles), marks


def _rivals(resolution: Resolution, named: list[str], config: ResolverConfig) -> list[str]:
    """Ids of the objects between which the words do not decide, as named in the message and the offered answers."""
    offered = [id_ for answer in resolution.answers for id_ in answer.ids]
    found = list(dict.fromkeys([*named, *offered]))
    if not found and resolution.candidates:
        least = (1.0 - config.decision.mass) * resolution.candidates[0].probability
        found = [c.id for c in resolution.candidates if c.probability >= least]
    return found[:_RIVALS]


def _grounds(layout: Layout) -> list[int]:
    """Rows of objects whose outline contains most others: a table is a surface, not one of the objects."""
    rows = np.flatnonzero(layout.measured)
    found = []
    for row in rows.tolist():
        others = rows[rows != row]
        if len(others) > 1:
            inside = depth_inside(layout.footprint[row], layout.centre[others, :2]) > 0
            if inside.mean() > _CARRIES:
                found.append(row)
    return found
