# SPDX-License-Identifier: Apache-2.0
"""How far, how big and where: distances, the sides of an object, its surroundings, and room for it in a place."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from spatial_vlm_ros.language import describe
from spatial_vlm_ros.language.part_words import EDGES
from spatial_vlm_ros.spatial.belief import clause_likelihood, state_of
from spatial_vlm_ros.spatial.decision import decide
from spatial_vlm_ros.spatial.destination import with_place
from spatial_vlm_ros.spatial.layout import name_of
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.spatial.space_findings import (
    AskedSubject,
    NamedRow,
    QuestionRefused,
    SpaceFinding,
    capital,
    is_unseen_support,
    question_of,
    settle_other,
    with_interval,
)
from spatial_vlm_ros.spatial.space_lengths import (
    LengthEstimate,
    between_centres,
    from_viewer,
    gap_between,
    height_over_support,
    is_surface,
    side_direction,
    side_of,
    to_outline_edge,
    to_table_edge,
)
from spatial_vlm_ros.spatial.space_predicates import NO, YES
from spatial_vlm_ros.types import ClauseState, FrameOfReference, NounPhrase, RelationClause, SpatialQuery, Status
from spatial_vlm_ros.types.query import Length

_SIDES: tuple[Length, ...] = ("width", "depth", "height")
_OF_VIEWER = {
    FrameOfReference.VIEWER: "the camera", FrameOfReference.ROBOT: "the robot's base",
    FrameOfReference.SPEAKER: "you",
}  # fmt: skip


def distance(subject: AskedSubject, scorer: PhraseScorer) -> SpaceFinding:
    """Answer how far an object is from another one, from an edge or from a viewer."""
    question, layout = subject.question, scorer.layout
    if question.apart:  # between the objects of a plural: between the two nearest ones
        rows = subject.rows
        if len(rows) < 2:
            raise QuestionRefused(dataclasses.replace(subject.choice, status=Status.RELATION_UNSATISFIED, several=rows))
        pairs = [(gap_between(layout, a, b), a, b) for a, b in itertools.combinations(rows, 2)]
        nearest, one, other = min(pairs, key=lambda pair: pair[0].value)
        lengths = [("distance", nearest), ("between centres", between_centres(layout, one, other))]
        words = f"{capital(name_of(layout, one))} and {name_of(layout, other)} are {with_interval(nearest)} apart"
        if len(pairs) > 1:
            farthest = max(pairs, key=lambda pair: pair[0].value)[0]
            lengths.append(("farthest apart", farthest))
            words += f"; the two that are farthest apart, {with_interval(farthest)}"
        return _measured(subject, tuple(lengths), words + ".", [])
    if question.relation is not None:
        return _along(subject, scorer)
    if question.other is None:
        frame = question.frame
        if frame is None:
            frame = scorer.default_frame if scorer.default_frame in _OF_VIEWER else FrameOfReference.VIEWER
        if frame not in scorer.frames_used:
            scorer.frames_used.insert(0, frame)
        nearest, row = min(
            ((from_viewer(layout, row, frame), row) for row in subject.rows), key=lambda one: one[0].value
        )
        words = f"{capital(name_of(layout, row))} is {with_interval(nearest)} from {_OF_VIEWER[frame]}."
        return _measured(subject, (("distance", nearest),), words, [])
    if question.other.category.split()[-1] in EDGES:
        edge = _from_edge(subject, question.other, scorer)
        if edge is not None:
            return edge
    if is_unseen_support(question.other, scorer):
        return _over_support(subject, scorer)
    others = [row for row in settle_other(question.other, subject.reading, scorer) if row not in subject.rows]
    if not others:
        choice = dataclasses.replace(subject.choice, status=Status.NOT_FOUND, phrase=question.other)
        raise QuestionRefused(choice, subject=False)
    pairs = [(gap_between(layout, one, other), one, other) for one in subject.rows for other in others]
    nearest, one, other = min(pairs, key=lambda pair: pair[0].value)
    lengths = [("distance", nearest), ("between centres", between_centres(layout, one, other))]
    words = f"{capital(name_of(layout, one))} is {with_interval(nearest)} from {name_of(layout, other)}."
    return _measured(subject, tuple(lengths), words, [other])


def _measured(
    subject: AskedSubject, lengths: tuple[tuple[str, LengthEstimate], ...], words: str, others: list[int]
) -> SpaceFinding:
    first = lengths[0][1]
    return SpaceFinding(
        first.value, 0.95, subject.named(others), words, subject.choice,
        unit="m", interval=first.interval, lengths=lengths, ends=first.ends,
    )  # fmt: skip


def _over_support(subject: AskedSubject, scorer: PhraseScorer) -> SpaceFinding:
    layout, row = scorer.layout, subject.rows[0]
    height = height_over_support(layout, row)
    words = f"{capital(name_of(layout, row))} is {with_interval(height)} above the surface."
    return _measured(subject, (("distance", height),), words, [])


def _along(subject: AskedSubject, scorer: PhraseScorer) -> SpaceFinding:
    """Distance left of, behind or above another object: the gap in that direction."""
    reading = subject.reading
    question = question_of(reading)
    if question.relation is None or question.other is None:
        raise ValueError(f"no distance along a relation: {reading.instruction!r}")
    clause = RelationClause(question.relation, (question.other,), question.frame)
    name, anchor = clause.relation, clause.anchors[0]
    relation = RELATIONS[name]
    if name == "above" and is_unseen_support(anchor, scorer):
        return _over_support(subject, scorer)
    layout, row = scorer.layout, subject.rows[0]
    other = settle_other(anchor, subject.reading, scorer)[0]
    view = scorer.view_for(clause.frame, relation.framed, np.array([other]))
    pairs = Pairs(layout, view, np.array([row]), np.array([other]))
    margin, sigma = relation(pairs)
    likelihood = float(clause_likelihood(margin, sigma)[0, 0])
    if state_of(likelihood, scorer.config.decision.holds) is ClauseState.FAILS:
        failed = scorer.clause_of(clause, row)
        choice = dataclasses.replace(
            subject.choice, status=Status.RELATION_UNSATISFIED, chosen=row, clause=failed, several=()
        )
        raise QuestionRefused(choice, subject=False)
    value = 0.0 if relation.gap is None else max(float(relation.gap(pairs)[0, 0]), 0.0)
    near = gap_between(layout, row, other)
    upright = name in ("above", "below", "under")
    deviation = float(pairs.noise_up[0, 0] if upright else pairs.noise[0, 0])
    length = LengthEstimate(value, max(deviation, near.sigma), near.ends)
    words = f"{capital(name_of(layout, row))} is {with_interval(length)} {name} {name_of(layout, other)}."
    return _measured(subject, (("distance", length), ("shortest way", near)), words, [other])


# ------------------------------------------------------------------------------------------------ edges


def _from_edge(subject: AskedSubject, phrase: NounPhrase, scorer: PhraseScorer) -> SpaceFinding | None:
    """Distance from the edge of a surface; None if a detected object has that name."""
    layout, row = scorer.layout, subject.rows[0]
    if (scorer.match(dataclasses.replace(phrase, relations=())) >= 0.9).any():
        return None
    owner = next((clause.anchors[0] for clause in phrase.relations if clause.relation == "part of"), None)
    frame = phrase.frame or scorer.default_frame
    frame = FrameOfReference.VIEWER if frame is FrameOfReference.OBJECT else frame
    if phrase.superlative is not None and frame not in scorer.frames_used:
        scorer.frames_used.insert(0, frame)
    whole = None  # the support plane
    if owner is None:
        rows = [r for r in np.flatnonzero(layout.measured).tolist() if is_surface(layout, r) and r not in subject.rows]
        whole = rows[0] if len(rows) == 1 else None
    elif not is_unseen_support(owner, scorer):
        whole = settle_other(owner, subject.reading, scorer)[0]
    towards = side_direction(layout, row if whole is None else whole, phrase.superlative, frame)
    if whole is not None and not is_surface(layout, whole):
        length: LengthEstimate | None = to_outline_edge(layout, row, whole, towards)
    else:
        length = to_table_edge(layout, row, towards)
    if length is None:
        asked = NounPhrase("edge", superlative=phrase.superlative)
        choice = dataclasses.replace(subject.choice, status=Status.NOT_FOUND, phrase=asked)
        raise QuestionRefused(choice, subject=False)
    of = "the surface" if whole is None else name_of(layout, whole)
    edge = describe(NounPhrase("edge", superlative=phrase.superlative))
    words = f"{capital(name_of(layout, row))} is {with_interval(length)} from {edge} of {of}"
    if length.least is not None and length.least < length.value:
        words += f"; {of} may end nearer, out of sight"
    return _measured(subject, (("distance", length),), words + ".", [] if whole is None else [whole])


# ------------------------------------------------------------------------------------------------ sizes


def size(subject: AskedSubject, scorer: PhraseScorer) -> SpaceFinding:
    """Answer how long the sides of an object are."""
    question = subject.question
    layout, row = scorer.layout, subject.rows[0]
    which: Length = question.length or "all"
    if question.other is not None:
        which = "height" if which == "all" else which
        other = settle_other(question.other, subject.reading, scorer)[0]
        one, rival = side_of(layout, row, which), side_of(layout, other, which)
        value, sigma = one.value - rival.value, math.hypot(one.sigma, rival.sigma)
        more = "more" if value >= 0 else "less"
        words = (f"The {which} of {name_of(layout, row)} is {with_interval(one)}, of {name_of(layout, other)} "
                 f"{with_interval(rival)}: {100 * abs(value):.1f} cm {more}.")  # fmt: skip
        finding = _measured(subject, ((which, one), (f"{which} of the other", rival)), words, [other])
        interval = value - 1.96 * sigma, value + 1.96 * sigma  # negative if it is shorter
        return dataclasses.replace(finding, value=value, interval=interval, ends=None)
    if which == "all":
        lengths = tuple((name, side_of(layout, row, name)) for name in _SIDES)
        longest = side_of(layout, row, "length")
        parts = ", ".join(f"{name} {with_interval(length)}" for name, length in lengths)
        words = f"{capital(name_of(layout, row))}: {parts}."
        return dataclasses.replace(_measured(subject, (("length", longest), *lengths), words, []), ends=None)
    length = side_of(layout, row, which)
    words = f"The {which} of {name_of(layout, row)} is {with_interval(length)}"
    if len(subject.rows) > 1:
        rest = (f"of {name_of(layout, r)} {with_interval(side_of(layout, r, which))}" for r in subject.rows[1:])
        words += f", {', '.join(rest)}"
    if layout.scene.objects[row].truncated:
        words += "; it is cut off by the border of the image"
    sides = tuple((name, side_of(layout, row, name)) for name in _SIDES if name != which)
    return dataclasses.replace(_measured(subject, ((which, length), *sides), words + ".", []), ends=None)


_RESTING = ("inside", "on")
_AROUND = ("left of", "right of", "in front of", "behind")
_NEIGHBOUR = 0.6  # metres within which another object is used to describe a position


def where(subject: AskedSubject, scorer: PhraseScorer) -> SpaceFinding:
    """Describe where objects are: what they rest on, and their relation to the nearest object."""
    question = subject.question
    layout = scorer.layout
    asked = None if question.other is None else settle_other(question.other, subject.reading, scorer)[0]
    said, others = [], []
    for row in subject.rows:
        anchors = [] if asked is None else [asked]
        rows = np.flatnonzero(layout.measured)
        rows = rows[rows != row]
        if asked is None and len(rows):  # the nearest ones, at most four
            gaps = Pairs(layout, layout.viewpoint(FrameOfReference.VIEWER), np.array([row]), rows).space[0]
            nearest = np.argsort(np.where(gaps < _NEIGHBOUR, gaps, np.inf), kind="stable")[:4]
            anchors = [int(rows[n]) for n in nearest if gaps[n] < _NEIGHBOUR]
        parts = [f"{relation} {name_of(layout, other)}" for relation, other in _placed(row, anchors, scorer)]
        others += [other for other in anchors if any(name_of(layout, other) in part for part in parts)]
        away = from_viewer(layout, row, FrameOfReference.VIEWER)
        gap = f", {with_interval(gap_between(layout, row, asked))} from it" if asked is not None else ""
        told = f"{' and '.join(parts) or 'seen'}{gap}"
        said.append(f"{capital(name_of(layout, row))} is {told}, {with_interval(away)} from the camera.")
    compared = [row for row in dict.fromkeys(others) if row not in subject.rows]
    ends = gap_between(layout, subject.rows[0], asked).ends if asked is not None else None
    return SpaceFinding(None, subject.choice.sure, subject.named(compared), " ".join(said), subject.choice, ends=ends)


def _placed(row: int, anchors: Sequence[int], scorer: PhraseScorer) -> list[tuple[str, int]]:
    """Relations that clearly hold: resting, and the side of the nearest object that it does not rest on."""
    layout, holds = scorer.layout, scorer.config.decision.holds
    frame = scorer.default_frame if scorer.default_frame is not FrameOfReference.OBJECT else FrameOfReference.VIEWER
    view = layout.viewpoint(frame)
    found: list[tuple[str, int]] = []
    side: tuple[str, int] | None = None
    for other in anchors:
        pairs = Pairs(layout, view, np.array([row]), np.array([other]))
        chance = {}
        for name in (*_RESTING, *(_AROUND if view.has_ahead else _AROUND[:2]), "under"):
            margin, sigma = RELATIONS[name](pairs)
            chance[name] = (float(clause_likelihood(margin, sigma)[0, 0]), float(margin[0, 0]))
        resting = [name for name in (*_RESTING, "under") if chance[name][0] >= holds]
        if resting:
            found.append((resting[0], other))
        elif side is None:
            around = [name for name in _AROUND if name in chance and chance[name][0] >= holds]
            if around:
                side = (max(around, key=lambda name: chance[name][1]), other)
    if frame not in scorer.frames_used and side is not None:
        scorer.frames_used.append(frame)
    return [*found[:1], *([side] if side is not None else [])]


def room(queries: Sequence[SpatialQuery], scorer: PhraseScorer) -> SpaceFinding:
    """Decide if an object has room in a place, with the search that places objects."""
    bare = [dataclasses.replace(query, question=None) for query in queries]
    choice = decide(bare, scorer)
    placed = with_place(choice, scorer)
    layout = scorer.layout
    if placed.status not in (Status.OK, Status.NO_PLACE) or placed.placing is None:
        raise QuestionRefused(placed, subject=placed is choice)
    row = placed.chosen
    about = NamedRow(row, "subject", float(placed.probability[row]))
    where_to = placed.query.destination
    anchors = () if where_to is None else where_to.anchors
    place = f"{'' if where_to is None else where_to.relation} {' and '.join(map(describe, anchors))}"
    if placed.status is Status.NO_PLACE:
        change = placed.placing.change
        why = f": {change.reason}" if change is not None else ""
        words = f"No: there is no room for {name_of(layout, row)} {place}{why}."
        return SpaceFinding(NO, placed.sure, (about,), words, placed)
    spots = placed.placing.spots
    supporting = [i for i, obj in enumerate(layout.scene.objects) if any(obj.id == spot.carrier_id for spot in spots)]
    others = tuple(NamedRow(i, "compared", 1.0) for i in supporting if i != row)
    count = f"{len(spots)} place{'s' if len(spots) > 1 else ''}"
    free = f"the best with {100 * spots[0].clearance_m:.1f} cm around it"
    words = f"Yes: {count} for {name_of(layout, row)} {place}; {free}."
    return SpaceFinding(YES, placed.sure, (about, *others), words, placed, places=spots)
