# SPDX-License-Identifier: Apache-2.0
"""What a phrase means among objects whose true geometry is known: the answer that a resolver is held against.

Every decision carries how sure it is: the margin as a multiple of the band that is called unclear. From 1 on it is
clear.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from research.constructed.distribution import BANDS, METRIC_BAND, STATED_BAND, Band
from research.constructed.margins import (
    ANY,
    FRAMED,
    GROUPS,
    PAIRS,
    mean_reach,
    opposite,
    separation,
    stated,
)
from research.constructed.order import CLOSENESS, order_of, place_in
from research.constructed.standpoint import OWN, Standpoint
from research.constructed.still import Still
from spatial_vlm_ros.types import FrameOfReference, NounPhrase, RelationClause, Status

SIZE_WORDS: Mapping[str, str] = MappingProxyType({"big": "largest", "small": "smallest"})
"""Attributes that compare with the others of the kind, and the superlative that they come to."""


@dataclass(frozen=True, eq=False)
class Situation:
    """What there is to choose from.

    Args:
        objects: by id; those that are seen, as they are called by whoever reports them.
        stands: standpoint of each frame of reference that is defined, but the objects' own.
        support: the table top as an object.
    """

    objects: Mapping[str, Still]
    stands: Mapping[FrameOfReference, Standpoint]
    support: Still

    def stand(self, frame: FrameOfReference | None) -> Standpoint:
        """The standpoint of a frame; the viewer's where none is said.

        Raises:
            KeyError: the frame is not defined here.
        """
        return OWN if frame is FrameOfReference.OBJECT else self.stands[frame or FrameOfReference.VIEWER]


@dataclass(frozen=True)
class Meaning:
    """What a phrase means.

    Args:
        status: OK, NOT_FOUND, AMBIGUOUS or RELATION_UNSATISFIED.
        ids: with OK what is meant, else what it could be; sorted.
        sure: least multiple of a band that any decision on the way was clear by.
        margins: smallest margin of each object of that name, metres.
    """

    status: Status
    ids: tuple[str, ...]
    sure: float
    margins: Mapping[str, float]


@dataclass(frozen=True)
class _Verdict:
    """Of one object: multiple of the band, signed (positive = fits), and the margin in metres."""

    score: float
    margin: float

    def negated(self) -> _Verdict:
        return _Verdict(-self.score, -self.margin)

    def no_surer(self, sure: float) -> _Verdict:
        return _Verdict(math.copysign(min(abs(self.score), sure), self.score), self.margin)


_YES = _Verdict(math.inf, math.inf)


class _NothingFits(Exception):
    """A phrase on the way means nothing: the status of the whole."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.value)
        self.status = status


def meaning(phrase: NounPhrase, situation: Situation) -> Meaning:
    """What a phrase means; where an anchor's own front could be meant and chooses another object: AMBIGUOUS."""
    plain = _meaning(phrase, situation)
    fronted = _with_own_fronts(phrase, situation)
    if fronted == phrase or plain.status is not Status.OK:
        return plain
    other = _meaning(fronted, situation)
    sure = min(plain.sure, other.sure)
    if other.status is not Status.OK or other.ids == plain.ids:
        return dataclasses.replace(plain, sure=sure)
    return Meaning(Status.AMBIGUOUS, tuple(sorted({*plain.ids, *other.ids})), sure, plain.margins)


def named(phrase: NounPhrase) -> Iterator[NounPhrase]:
    """The anchors of a phrase, theirs, and so on."""
    for clause in phrase.relations:
        for anchor in clause.anchors:
            yield anchor
            yield from named(anchor)


def anchors_of(phrase: NounPhrase, situation: Situation) -> set[str]:
    """Ids of objects that the named anchors mean."""
    ids: set[str] = set()
    for anchor in named(phrase):
        try:
            ids.update(_chosen(anchor, situation, "")[0])
        except _NothingFits:
            continue
    return ids - {situation.support.id}


def alike(phrase: NounPhrase, situation: Situation) -> list[Still]:
    """Things that the name and the attributes fit."""
    words = {w for w in phrase.attributes if w not in SIZE_WORDS}
    return [t for t in situation.objects.values() if _called(t, phrase.category, words)]


def _called(t: Still, category: str, words: set[str]) -> bool:
    """Whether a name fits; the words before the head of a label are attributes ("top drawer")."""
    *before, head = t.label.split()
    return category in (t.label, head) and words <= {*before, *t.attributes}


def _meaning(phrase: NounPhrase, situation: Situation) -> Meaning:
    try:
        verdicts = _verdicts(phrase, situation, "")
    except _NothingFits as nothing:
        return Meaning(nothing.status, (), math.inf, {})
    margins = {id_: v.margin for id_, v in verdicts.items()}
    holders = sorted(id_ for id_, v in verdicts.items() if v.score > 0)
    sure = min(abs(v.score) for v in verdicts.values())
    return Meaning(_status(phrase, len(holders)), tuple(holders), sure, margins)


def _status(phrase: NounPhrase, number: int) -> Status:
    if number == 0:
        return Status.RELATION_UNSATISFIED
    if phrase.choice == "any" or phrase.count == -1:
        return Status.OK
    wanted = phrase.count or 1
    return Status.OK if number == wanted else Status.AMBIGUOUS if number > wanted else Status.RELATION_UNSATISFIED


def _verdicts(phrase: NounPhrase, situation: Situation, without: str) -> dict[str, _Verdict]:
    """Of everything that the name fits."""
    objects = [t for t in alike(phrase, situation) if t.id != without]
    if not objects:
        raise _NothingFits(Status.NOT_FOUND)
    orders = [c for c in phrase.relations if c.relation in CLOSENESS]
    verdicts = {t.id: _YES for t in objects}
    for clause in (c for c in phrase.relations if c.relation not in CLOSENESS):
        for t in objects:
            verdicts[t.id] = _both(verdicts[t.id], _clause(clause, t, situation))
    for clause in orders:
        anchors, sure = _chosen(clause.anchors[0], situation, without)
        anchor = _only([_obj(situation, id_) for id_ in anchors])
        verdicts = _ordered(verdicts, situation, clause.relation, 1, None, anchor, sure)
        verdicts = {id_: v.negated() for id_, v in verdicts.items()} if clause.negated else verdicts
    for word in (SIZE_WORDS[w] for w in phrase.attributes if w in SIZE_WORDS):
        verdicts = _ordered(verdicts, situation, word, 1, None)
    if phrase.superlative is not None:
        verdicts = _ordered(verdicts, situation, phrase.superlative, 1, phrase.frame)
    if phrase.ordinal is not None:
        verdicts = _ordered(verdicts, situation, phrase.ordinal.from_, phrase.ordinal.n, phrase.frame)
    return verdicts


def _both(a: _Verdict, b: _Verdict) -> _Verdict:
    return a if a.score <= b.score else b


def _either(verdicts: Sequence[_Verdict]) -> _Verdict:
    return max(verdicts, key=lambda v: v.score)


def _every(verdicts: Sequence[_Verdict]) -> _Verdict:
    return min(verdicts, key=lambda v: v.score)


def _ordered(
    verdicts: Mapping[str, _Verdict],
    situation: Situation,
    word: str,
    n: int,
    frame: FrameOfReference | None,
    anchor: Still | None = None,
    sure: float = math.inf,
) -> dict[str, _Verdict]:
    """Who is the n-th of those that fit so far; unsure members make the order unsure."""
    members = [id_ for id_, v in verdicts.items() if v.score > 0]
    sure = min([sure, *(abs(v.score) for v in verdicts.values())])
    places = place_in(order_of(word, [situation.objects[i] for i in members], situation.stand(frame), anchor), word, n)
    placed = {id_: _Verdict(score, margin).no_surer(sure) for id_, (score, margin) in zip(members, places, strict=True)}
    return {id_: placed.get(id_, verdict.no_surer(sure)) for id_, verdict in verdicts.items()}


def _chosen(phrase: NounPhrase, situation: Situation, without: str) -> tuple[list[str], float]:
    """Ids that an anchor's phrase may mean, and how sure that is."""
    if phrase.category == situation.support.label and not alike(phrase, situation):
        return [situation.support.id], math.inf
    verdicts = _verdicts(phrase, situation, without)
    ids = [id_ for id_, v in verdicts.items() if v.score > 0]
    if not ids:
        raise _NothingFits(Status.RELATION_UNSATISFIED)
    return ids, min(abs(v.score) for v in verdicts.values())


def _clause(clause: RelationClause, t: Still, situation: Situation) -> _Verdict:
    without = "" if clause.relation == "other than" else t.id
    chosen = [_chosen(anchor, situation, without) for anchor in clause.anchors]
    sure = min(s for _, s in chosen)
    sets = [[_obj(situation, id_) for id_ in ids] for ids, _ in chosen]
    verdict = _measured(clause, t, sets, situation).no_surer(sure)
    return verdict.negated() if clause.negated else verdict


def _only(objects: Sequence[Still]) -> Still:
    """The one object of a set that must have one."""
    if len(objects) != 1:
        raise _NothingFits(Status.AMBIGUOUS)
    return objects[0]


def _obj(situation: Situation, id_: str) -> Still:
    return situation.support if id_ == situation.support.id else situation.objects[id_]


def _measured(clause: RelationClause, t: Still, sets: Sequence[Sequence[Still]], situation: Situation) -> _Verdict:
    """One clause of one object, against the objects that each of its anchors may be."""
    relation = clause.relation
    if relation == "other than":
        return _Verdict(-math.inf, -math.inf) if t.id in [a.id for some in sets for a in some] else _YES
    if relation in GROUPS:
        anchors = [a for some in sets for a in some]
        if relation == "between" and len(anchors) != 2:
            raise _NothingFits(Status.RELATION_UNSATISFIED)
        margin = GROUPS[relation](t, anchors)
        return _judged(margin, relation, t, t)
    if relation == "on the other side of" and len(sets) == 2:
        a, origin = _only(sets[0]), _only(sets[1])
        return _judged(PAIRS["behind"](t, a, Standpoint(origin.centre)), relation, t, a)
    plural = [anchor.count is not None for anchor in clause.anchors]
    counted = any((anchor.count or 0) > 1 for anchor in clause.anchors)
    combine = _either if relation in ANY and not counted else _every
    parts = []
    for some, many in zip(sets, plural, strict=True):
        of_each = [_of_pair(clause, t, a, situation) for a in some]
        parts.append(combine(of_each) if many else _either(of_each))
    return combine(parts)


def _of_pair(clause: RelationClause, t: Still, a: Still, situation: Situation) -> _Verdict:
    relation, stand = clause.relation, situation.stand(clause.frame)
    if relation == "opposite":
        return _judged(opposite(t, a, list(situation.objects.values())), relation, t, a)
    if clause.frame is FrameOfReference.OBJECT and a.front is None:
        return _Verdict(-math.inf, -math.inf)  # an object under a wrong name: nothing is left of what has no front
    near = relation == "at a distance from"
    verdict = _YES if near else _judged(PAIRS[relation](t, a, stand), relation, t, a)
    if clause.distance is None:
        return verdict
    margin = stated(clause.distance, separation("next to" if near else relation, t, a, stand))
    return _both(verdict, _Verdict(_score(margin, STATED_BAND, t, a), margin))


def _judged(margin: float, relation: str, t: Still, a: Still) -> _Verdict:
    margin = -math.inf if np.isnan(margin) else margin
    return _Verdict(_score(margin, BANDS.get(relation, METRIC_BAND), t, a), margin)


def _score(margin: float, band: Band, t: Still, a: Still) -> float:
    width = band.holds if margin > 0 else band.fails
    return margin / max(width, band.sizes * mean_reach(t, a))


def _with_own_fronts(phrase: NounPhrase, situation: Situation) -> NounPhrase:
    """The phrase with the anchor's own frame wherever none was said and the anchor has a front."""
    clauses = []
    for clause in phrase.relations:
        fronted = clause.frame is None and clause.relation in FRAMED and len(clause.anchors) == 1
        anchors = alike(clause.anchors[0], situation) if fronted else []
        if anchors and all(a.front is not None for a in anchors):
            clause = dataclasses.replace(clause, frame=FrameOfReference.OBJECT)
        clauses.append(clause)
    return dataclasses.replace(phrase, relations=tuple(clauses))
