# SPDX-License-Identifier: Apache-2.0
"""One form for every meaning, so that two queries can be compared: what docs/relations.md says is one object is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from research.speech.forms import CONVERSES, FRAMED
from spatial_vlm_ros.language.lexicon import FRAMED_SUPERLATIVES
from spatial_vlm_ros.types import (
    Destination,
    Distance,
    FrameOfReference,
    NounPhrase,
    RelationClause,
    SpatialQuery,
    Step,
)

_IT = NounPhrase("object")
_SPELLED: Mapping[str, str] = MappingProxyType({"gray": "grey"})
_REGIONS: Mapping[str, str] = MappingProxyType(
    {
        "top": "highest",
        "upper": "highest",
        "bottom": "lowest",
        "lower": "lowest",
        "left": "leftmost",
        "right": "rightmost",
    }
)
_FIRST: Mapping[str, str] = MappingProxyType(
    {
        "left": "leftmost",
        "right": "rightmost",
        "near": "nearest",
        "far": "farthest",
        "top": "highest",
        "bottom": "lowest",
    }
)


def canonical(query: SpatialQuery) -> SpatialQuery:
    """The query in the form that all of its equals share.

    Words, shares and readings are dropped. Order among clauses and among attributes does not matter; "gray" is "grey";
    the first from the left is the leftmost, the top drawer the highest; on the other side of one object is behind it;
    what is not inside is out of it, what is not taller is shorter, not less than a metre away is at least one; a frame
    is kept where something depends on it. "It" is what the step before was about, and to pick an object up and then put
    or give it is to put or give it. Where there are several steps, they say all.
    """
    steps = query.steps or (Step(query.action, query.target, query.destination),)
    done: list[Step] = []
    for step in steps:
        last = done[-1].target if done else None
        made = Step(step.action, _phrase(step.target), step.destination and _goal(step.destination, last))
        if last is not None and made.target == _IT:
            made = replace(made, target=last)
        if done and done[-1].action == "pick" and made.action in ("place", "move", "give") and made.target == last:
            done.pop()
        if made.destination is not None and made.action == "move":
            made = replace(made, action="place")
        done.append(made)
    first = done[0]
    return SpatialQuery("", first.action, first.target, first.destination, steps=tuple(done) if len(done) > 1 else ())


def _phrase(phrase: NounPhrase) -> NounPhrase:
    superlative, ordinal = phrase.superlative, phrase.ordinal
    if ordinal is not None and ordinal.n == 1 and ordinal.from_ in _FIRST:
        superlative, ordinal = _FIRST[ordinal.from_], None
    attributes = [_SPELLED.get(word, word) for word in phrase.attributes]
    if superlative is None and ordinal is None:
        region = next((word for word in attributes if word in _REGIONS), None)
        if region is not None:
            attributes.remove(region)
            superlative = _REGIONS[region]
    made = replace(
        phrase,
        attributes=tuple(sorted(attributes)),
        count=None if phrase.choice == "any" or phrase.count == 1 else phrase.count,
        superlative=superlative,
        ordinal=ordinal,
        relations=tuple(sorted((_clause(clause) for clause in phrase.relations), key=repr)),
    )
    return made if _depends(made) else replace(made, frame=None)


def _clause(clause: RelationClause) -> RelationClause:
    relation, negated = clause.relation, clause.negated
    if relation == "on the other side of" and len(clause.anchors) == 1:
        relation = "behind"
    if relation in CONVERSES:
        relation, negated = CONVERSES[relation], not negated
    distance = clause.distance
    if relation == "at a distance from" and negated and distance is not None and distance.bound != "about":
        distance, negated = replace(distance, bound="at least" if distance.bound == "at most" else "at most"), False
    return replace(
        clause,
        relation=relation,
        anchors=_anchors(relation, clause.anchors),
        frame=clause.frame if clause.relation in FRAMED else None,
        negated=negated,
        distance=distance and _distance(distance),
    )


def _anchors(relation: str, anchors: tuple[NounPhrase, ...]) -> tuple[NounPhrase, ...]:
    made = tuple(_phrase(anchor) for anchor in anchors)
    return made if relation == "on the other side of" else tuple(sorted(made, key=repr))


def _goal(goal: Destination, last: NounPhrase | None) -> Destination:
    made = _clause(RelationClause(goal.relation, goal.anchors, goal.frame, False, goal.distance))
    anchors = tuple(last if last is not None and anchor == _IT else anchor for anchor in made.anchors)
    relation = made.relation if not made.negated else goal.relation
    return Destination(relation, anchors, made.frame, made.distance)


def _distance(distance: Distance) -> Distance:
    return replace(distance, metres=round(distance.metres, 4))


def frames_said(query: SpatialQuery) -> set[FrameOfReference | None]:
    """Frames of all that depends on one; None among them where one is not stated."""
    return set(_frames_of_steps(query))


def said_once(query: SpatialQuery) -> bool:
    """Whether one part alone of the query depends on a frame of reference."""
    return len(list(_frames_of_steps(query))) == 1


def _frames_of_steps(query: SpatialQuery) -> Iterator[FrameOfReference | None]:
    for step in query.steps or (Step(query.action, query.target, query.destination),):
        yield from _frames(step.target)
        if step.destination is not None:
            goal = step.destination
            yield from _frames_of(RelationClause(goal.relation, goal.anchors, goal.frame))


def _depends(phrase: NounPhrase) -> bool:
    sideways = phrase.ordinal is not None and phrase.ordinal.from_ in ("left", "right", "near", "far")
    return sideways or phrase.superlative in FRAMED_SUPERLATIVES


def _frames(phrase: NounPhrase) -> Iterator[FrameOfReference | None]:
    if _depends(phrase):
        yield phrase.frame
    for clause in phrase.relations:
        yield from _frames_of(clause)


def _frames_of(clause: RelationClause) -> Iterator[FrameOfReference | None]:
    if clause.relation in FRAMED:
        yield clause.frame
    for anchor in clause.anchors:
        yield from _frames(anchor)


def reframed(query: SpatialQuery, frame: FrameOfReference | None) -> SpatialQuery:
    """The same with this frame for all that depends on one, save what is seen from an object itself."""
    goal = query.destination
    steps = tuple(
        replace(
            step,
            target=_phrase_in(step.target, frame),
            destination=step.destination and _goal_in(step.destination, frame),
        )
        for step in query.steps
    )
    return replace(
        query, target=_phrase_in(query.target, frame), destination=goal and _goal_in(goal, frame), steps=steps
    )


def _goal_in(goal: Destination, frame: FrameOfReference | None) -> Destination:
    made = _clause_in(RelationClause(goal.relation, goal.anchors, goal.frame), frame)
    return replace(goal, frame=made.frame, anchors=made.anchors)


def _phrase_in(phrase: NounPhrase, frame: FrameOfReference | None) -> NounPhrase:
    clauses = tuple(_clause_in(clause, frame) for clause in phrase.relations)
    return replace(phrase, frame=frame if _depends(phrase) else None, relations=clauses)


def _clause_in(clause: RelationClause, frame: FrameOfReference | None) -> RelationClause:
    anchors = tuple(_phrase_in(anchor, frame) for anchor in clause.anchors)
    kept = clause.relation not in FRAMED or clause.frame is FrameOfReference.OBJECT
    return replace(clause, frame=clause.frame if kept else frame, anchors=anchors)
