# SPDX-License-Identifier: Apache-2.0
"""Role of each object in an answer: chosen, refused, a rival, a reference, a support, or none; the deciding clause.

Standard deviations and regions are measured here, by the functions that judged the answer. They are used only if they
give exactly the margin in the answer; otherwise nothing is shown.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.language.lexicon import SUPERLATIVE_OF_ORDER
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.spatial import superlatives
from spatial_vlm_ros.spatial.belief import SUPPORT_ID
from spatial_vlm_ros.spatial.free_space import depth_inside
from spatial_vlm_ros.spatial.layout import Layout, Viewpoint
from spatial_vlm_ros.spatial.relation_region import measured_at
from spatial_vlm_ros.spatial.relations import RELATIONS
from spatial_vlm_ros.spatial.spot_judging import AskedRelation
from spatial_vlm_ros.spatial.support_check import nested
from spatial_vlm_ros.types import (
    Candidate,
    ClauseMeasurement,
    ClauseState,
    FrameOfReference,
    NounPhrase,
    Place,
    Resolution,
    Status,
    Target,
)

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
    """Assign a role to each object, by row, and letters to rivals."""
    row_of = {obj.id: row for row, obj in enumerate(layout.scene.objects)}
    roles = [Role.OTHER] * len(row_of)
    measured = np.flatnonzero(layout.measured)
    for row in measured.tolist():  # an outline that contains most others is a surface, such as a table
        others = measured[measured != row]
        if len(others) > 1 and (depth_inside(layout.footprint[row], layout.centre[others, :2]) > 0).mean() > _CARRIES:
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
        offered = [id_ for answer in resolution.answers for id_ in answer.ids]
        rivals = list(dict.fromkeys([*named, *offered]))[:_RIVALS]
        if not rivals and resolution.candidates:
            least = (1.0 - config.decision.mass) * resolution.candidates[0].probability
            rivals = [c.id for c in resolution.candidates if c.probability >= least][:_RIVALS]
        give(Role.RIVAL, rivals)
        marks = {row_of[id_]: chr(ord("A") + n) for n, id_ in enumerate(rivals) if id_ in row_of}
    else:
        give(Role.ANCHOR, named)
        if first is not None and resolution.status is not Status.NOT_FOUND:
            give(Role.CHOSEN if resolution.status is Status.NO_PLACE else Role.REFUSED, [first.id])
    if deciding is not None and not answered:
        for row in deciding.rivals:
            if roles[row] is Role.OTHER:
                roles[row] = Role.RIVAL
    return tuple(roles), marks


# ------------------------------------------------------------------------------------------------ the deciding clause

_SAME = 2e-6  # metres: margins of an answer are rounded to 1e-6
_NOT = "not "
_STATES = {ClauseState.HOLDS: "holds", ClauseState.FAILS: "does not hold", ClauseState.UNCLEAR: "is unclear"}


@dataclass(frozen=True, eq=False)
class DecidingClause:
    """The clause that decides an answer or a refusal."""

    measurement: ClauseMeasurement
    subject: int  # row of the object that it describes
    anchors: tuple[int, ...] = ()  # rows that it is measured against
    sigma: float | None = None  # of its margin, metres; None if it could not be measured again
    asked: AskedRelation | None = None  # for its region; None for orders, sizes, the support plane
    rivals: tuple[int, ...] = ()  # rows of the objects that an order compares it with

    @property
    def framed(self) -> bool:
        """Whether it depends on the viewpoint."""
        return self.asked is not None and RELATIONS[self.asked.name].framed

    @property
    def short(self) -> str:
        """Relation and signed margin, for a label: "behind +0.159 ± 0.012 m"."""
        margin, spread = self.measurement.margin_m, "" if self.sigma is None else f" ± {self.sigma:.3f}"
        sign = "" if margin is None else f" {'−' if margin < 0 else '+'}{abs(margin):.3f}{spread} m"
        return self.measurement.relation + sign

    def words(self, layout: Layout) -> str:
        """The whole clause as text: "behind the cup (d3), by 0.159 ± 0.012 m; holds, 98 % likely"."""
        names = [layout.scene.objects[row] for row in self.anchors]
        about = " and ".join(f"the {obj.detection.label} ({obj.id})" for obj in names)
        if not names and self.measurement.anchor_ids:
            about = "the surface"
        margin, spread = self.measurement.margin_m, "" if self.sigma is None else f" ± {self.sigma:.3f}"
        by = "not measured"
        if margin is not None:
            by = f"{'short by' if margin < 0 else 'by'} {abs(margin):.3f}{spread} m"
        said = f"{self.measurement.relation} {about}".strip()
        return f"{said}, {by}; {_STATES[self.measurement.state]}, {percent(self.measurement.likelihood)} likely"


def percent(probability: float) -> str:
    """A probability as text: a measurement is never certain."""
    whole = round(100 * probability)
    return "under 1 %" if whole < 1 else "over 99 %" if whole > 99 else f"{whole} %"


def candidate_of(resolution: Resolution) -> Candidate | None:
    """The candidate that an answer is about: the likeliest, or the one that the refusal tells of."""
    if resolution.status is Status.RELATION_UNSATISFIED:
        for candidate in resolution.candidates:
            if f": the {candidate.label} ({candidate.id}) " in resolution.message:
                return candidate
    return resolution.candidates[0] if resolution.candidates else None


def deciding_clause(layout: Layout, resolution: Resolution) -> DecidingClause | None:
    """Find the clause that separates an answer most from its alternatives, or of a refusal the one that holds least.

    None if no clause was measured or its subject was not found.
    """
    first = candidate_of(resolution)
    row_of = {obj.id: row for row, obj in enumerate(layout.scene.objects)}
    if first is None or first.id not in row_of or resolution.status is Status.NOT_FOUND:
        return None
    others = [candidate for candidate in resolution.candidates if candidate is not first]

    def by_contrast(number: int) -> float:
        own = first.clauses[number]
        same = [c.clauses[number] for c in others if number < len(c.clauses)]
        rival = max((c.likelihood for c in same if c.relation == own.relation), default=0.0)
        return own.likelihood - rival

    numbers = [number for number, clause in enumerate(first.clauses) if clause.margin_m is not None]
    if not numbers:
        return None
    if resolution.status is Status.OK and others:
        decides = max(numbers, key=by_contrast)
    else:
        decides = min(numbers, key=lambda number: first.clauses[number].likelihood)
    clause = first.clauses[decides]
    anchors = tuple(row_of[id_] for id_ in clause.anchor_ids if id_ in row_of)
    subjects = [row_of[first.id]]
    for before in first.clauses[:decides]:  # a clause may describe an anchor: it comes after the anchor's own clause
        subjects += [row_of[id_] for id_ in before.anchor_ids if id_ in row_of and row_of[id_] not in subjects]
    known = _as_relation(layout, resolution, clause, subjects, anchors) if anchors else None
    known = known or _as_order(layout, resolution, clause, subjects)
    return known or DecidingClause(clause, subjects[0], anchors)


def _as_relation(
    layout: Layout, resolution: Resolution, clause: ClauseMeasurement, subjects: list[int], anchors: tuple[int, ...]
) -> DecidingClause | None:
    """The relation whose margin the answer reports: its subject, viewpoint and distance."""
    name = clause.relation.removeprefix(_NOT)
    if name not in RELATIONS or clause.margin_m is None or not layout.measured[list(anchors)].all():
        return None
    said = [c for phrase in _phrases(resolution) for c in phrase.relations if c.relation == name]
    distances = list(dict.fromkeys([*(c.distance for c in said), None]))
    for view in _views(layout, resolution, [c.frame for c in said]):
        for distance in distances:
            asked = AskedRelation(name, view, anchors, distance, clause.relation.startswith(_NOT))
            for subject in subjects:
                if subject in anchors:
                    continue
                try:
                    margin, sigma = measured_at(layout, subject, asked)
                except (SpatialVlmError, ValueError):
                    continue
                if abs(margin - clause.margin_m) < _SAME:
                    return DecidingClause(clause, subject, anchors, sigma, asked)
    return None


def _as_order(
    layout: Layout, resolution: Resolution, clause: ClauseMeasurement, subjects: list[int]
) -> DecidingClause | None:
    """The superlative, ordinal or size whose margin the answer reports, and the objects it is compared with."""
    word = clause.relation
    side = next((SUPERLATIVE_OF_ORDER[w] for w in word.split()[-1:] if w in SUPERLATIVE_OF_ORDER), None)
    if clause.margin_m is None:
        return None
    phrases = [p.frame for p in _phrases(resolution)]
    rows = [row for row, obj in enumerate(layout.scene.objects) if obj.id in {c.id for c in resolution.candidates}]
    for view in _views(layout, resolution, phrases):
        try:
            if word in superlatives.SIZE_WORDS:
                key = superlatives.size_key(word, layout, view)
            elif side or word in superlatives.KEYS or word == superlatives.MIDDLE:
                key = superlatives.key_of(side or ("leftmost" if word == superlatives.MIDDLE else word), layout, view)
            else:
                return None
        except SpatialVlmError:
            continue
        for subject in subjects:
            apart = np.abs(key.value[rows] - key.value[subject])
            same = [row for row, gap in zip(rows, apart, strict=True)
                    if row != subject and abs(gap - abs(clause.margin_m)) < _SAME]  # fmt: skip
            if same:
                sigma = float(np.hypot(key.sigma[subject], key.sigma[same[0]]))
                return DecidingClause(clause, subject, (), sigma, None, (same[0],))
    return None


def _views(layout: Layout, resolution: Resolution, said: list[FrameOfReference | None]) -> Iterator[Viewpoint]:
    """Viewpoints that may have been used, the stated ones first."""
    frames = [*said, resolution.frame_of_reference, FrameOfReference.VIEWER]
    for frame in dict.fromkeys(frame for frame in frames if frame is not None):
        try:
            yield layout.viewpoint(frame)
        except SpatialVlmError:
            continue


def _phrases(resolution: Resolution) -> list[NounPhrase]:
    return [] if resolution.query is None else list(nested(resolution.query.target))
