# SPDX-License-Identifier: Apache-2.0
"""How far and how big: distances between objects, from a viewer and from an edge, and the sides of an object."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np

from spatial_vlm_ros.language import describe
from spatial_vlm_ros.language.part_words import EDGES
from spatial_vlm_ros.spatial.belief import clause_likelihood, state_of
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.spatial.space_findings import (
    AskedSubject,
    NamedRow,
    QuestionRefused,
    SpaceFinding,
    capital,
    is_unseen_support,
    named_row,
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
    side_of,
)
from spatial_vlm_ros.spatial.surface_edges import is_surface, side_direction, to_outline_edge, to_table_edge
from spatial_vlm_ros.types import ClauseState, FrameOfReference, NounPhrase, RelationClause, Status
from spatial_vlm_ros.types.query import Length

_SIDES: tuple[Length, ...] = ("width", "depth", "height")
_OF_VIEWER = {
    FrameOfReference.VIEWER: "the camera", FrameOfReference.ROBOT: "the robot's base",
    FrameOfReference.SPEAKER: "you",
}  # fmt: skip


def distance(subject: AskedSubject, scorer: PhraseScorer) -> SpaceFinding:
    """Answer how far an object is from another one, from an edge or from a viewer."""
    question = subject.question
    if question.apart:
        return _between_several(subject, scorer)
    if question.relation is not None:
        return _along(subject, scorer)
    if question.other is None:
        return _from_viewer(subject, question.frame, scorer)
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
    layout = scorer.layout
    pairs = [(gap_between(layout, one, other), one, other) for one in subject.rows for other in others]
    nearest, one, other = min(pairs, key=lambda pair: pair[0].value)
    lengths = (("distance", nearest), ("between centres", between_centres(layout, one, other)))
    words = f"{capital(named_row(layout, one))} is {with_interval(nearest)} from {named_row(layout, other)}."
    return _measured(subject, lengths, words, [other])


def _measured(
    subject: AskedSubject, lengths: tuple[tuple[str, LengthEstimate], ...], words: str, others: list[int]
) -> SpaceFinding:
    about = [NamedRow(row, "subject", float(subject.choice.probability[row])) for row in subject.rows]
    first = lengths[0][1]
    return SpaceFinding(
        first.value, 0.95, (*about, *(NamedRow(row, "compared", 1.0) for row in others)), words, subject.choice,
        unit="m", interval=first.interval, lengths=lengths, ends=first.ends,
    )  # fmt: skip


def _between_several(subject: AskedSubject, scorer: PhraseScorer) -> SpaceFinding:
    """Distance between the objects of a plural: between the two nearest ones."""
    layout, rows = scorer.layout, subject.rows
    if len(rows) < 2:
        raise QuestionRefused(dataclasses.replace(subject.choice, status=Status.RELATION_UNSATISFIED, several=rows))
    pairs = [(gap_between(layout, a, b), a, b) for a, b in itertools.combinations(rows, 2)]
    nearest, one, other = min(pairs, key=lambda pair: pair[0].value)
    lengths = [("distance", nearest), ("between centres", between_centres(layout, one, other))]
    words = f"{capital(named_row(layout, one))} and {named_row(layout, other)} are {with_interval(nearest)} apart"
    if len(pairs) > 1:
        farthest = max(pairs, key=lambda pair: pair[0].value)[0]
        lengths.append(("farthest apart", farthest))
        words += f"; the two that are farthest apart, {with_interval(farthest)}"
    return _measured(subject, tuple(lengths), words + ".", [])


def _from_viewer(subject: AskedSubject, frame: FrameOfReference | None, scorer: PhraseScorer) -> SpaceFinding:
    if frame is None:
        frame = scorer.default_frame if scorer.default_frame in _OF_VIEWER else FrameOfReference.VIEWER
    if frame not in scorer.frames_used:
        scorer.frames_used.insert(0, frame)
    layout = scorer.layout
    found = [(from_viewer(layout, row, frame), row) for row in subject.rows]
    nearest, row = min(found, key=lambda each: each[0].value)
    words = f"{capital(named_row(layout, row))} is {with_interval(nearest)} from {_OF_VIEWER[frame]}."
    return _measured(subject, (("distance", nearest),), words, [])


def _over_support(subject: AskedSubject, scorer: PhraseScorer) -> SpaceFinding:
    layout, row = scorer.layout, subject.rows[0]
    height = height_over_support(layout, row)
    words = f"{capital(named_row(layout, row))} is {with_interval(height)} above the surface."
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
    words = f"{capital(named_row(layout, row))} is {with_interval(length)} {name} {named_row(layout, other)}."
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
    whole = _whole(subject, owner, scorer)
    towards = side_direction(layout, row if whole is None else whole, phrase.superlative, frame)
    if whole is not None and not is_surface(layout, whole):
        length: LengthEstimate | None = to_outline_edge(layout, row, whole, towards)
    else:
        length = to_table_edge(layout, row, towards)
    if length is None:
        asked = NounPhrase("edge", superlative=phrase.superlative)
        choice = dataclasses.replace(subject.choice, status=Status.NOT_FOUND, phrase=asked)
        raise QuestionRefused(choice, subject=False)
    of = "the surface" if whole is None else named_row(layout, whole)
    edge = describe(NounPhrase("edge", superlative=phrase.superlative))
    words = f"{capital(named_row(layout, row))} is {with_interval(length)} from {edge} of {of}"
    if length.least is not None and length.least < length.value:
        words += f"; {of} may end nearer, out of sight"
    return _measured(subject, (("distance", length),), words + ".", [] if whole is None else [whole])


def _whole(subject: AskedSubject, owner: NounPhrase | None, scorer: PhraseScorer) -> int | None:
    """The object whose edge is meant; None for the support plane."""
    layout = scorer.layout
    if owner is not None:
        if is_unseen_support(owner, scorer):
            return None
        return settle_other(owner, subject.reading, scorer)[0]
    rows = [r for r in np.flatnonzero(layout.measured).tolist() if is_surface(layout, r) and r not in subject.rows]
    return rows[0] if len(rows) == 1 else None


# ------------------------------------------------------------------------------------------------ sizes


def size(subject: AskedSubject, scorer: PhraseScorer) -> SpaceFinding:
    """Answer how long the sides of an object are."""
    question = subject.question
    layout, row = scorer.layout, subject.rows[0]
    which: Length = question.length or "all"
    if question.other is not None:
        return _difference(subject, "height" if which == "all" else which, scorer)
    if which == "all":
        lengths = tuple((name, side_of(layout, row, name)) for name in _SIDES)
        longest = side_of(layout, row, "length")
        parts = ", ".join(f"{name} {with_interval(length)}" for name, length in lengths)
        words = f"{capital(named_row(layout, row))}: {parts}."
        return dataclasses.replace(_measured(subject, (("length", longest), *lengths), words, []), ends=None)
    length = side_of(layout, row, which)
    words = f"The {which} of {named_row(layout, row)} is {with_interval(length)}"
    if len(subject.rows) > 1:
        rest = (f"of {named_row(layout, r)} {with_interval(side_of(layout, r, which))}" for r in subject.rows[1:])
        words += f", {', '.join(rest)}"
    if layout.scene.objects[row].truncated:
        words += "; it is cut off by the border of the image"
    sides = tuple((name, side_of(layout, row, name)) for name in _SIDES if name != which)
    return dataclasses.replace(_measured(subject, ((which, length), *sides), words + ".", []), ends=None)


def _difference(subject: AskedSubject, which: Length, scorer: PhraseScorer) -> SpaceFinding:
    """How much longer one object is than another, metres; negative if it is shorter."""
    layout, row = scorer.layout, subject.rows[0]
    other = settle_other(subject.question.other or NounPhrase("object"), subject.reading, scorer)[0]
    one, rival = side_of(layout, row, which), side_of(layout, other, which)
    value, sigma = one.value - rival.value, math.hypot(one.sigma, rival.sigma)
    more = "more" if value >= 0 else "less"
    words = (f"The {which} of {named_row(layout, row)} is {with_interval(one)}, of {named_row(layout, other)} "
             f"{with_interval(rival)}: {100 * abs(value):.1f} cm {more}.")  # fmt: skip
    lengths = ((which, one), (f"{which} of the other", rival))
    finding = _measured(subject, lengths, words, [other])
    return dataclasses.replace(finding, value=value, interval=(value - 1.96 * sigma, value + 1.96 * sigma), ends=None)
