# SPDX-License-Identifier: Apache-2.0
"""Answer yes, no or unclear: judge what is asked about an object with the same likelihoods as clauses of commands."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.errors import FrameUndefinedError
from spatial_vlm_ros.language.lexicon import NOT
from spatial_vlm_ros.language.rendering import describe, named
from spatial_vlm_ros.spatial import superlatives
from spatial_vlm_ros.spatial.attributes import UNKNOWN, attribute_likelihood
from spatial_vlm_ros.spatial.belief import ClauseBelief, clause_likelihood, normal_cdf, state_of
from spatial_vlm_ros.spatial.clauses import each_by_itself
from spatial_vlm_ros.spatial.decision import ResolvedChoice, decide, measurement_at, other_frames, phrases_not_found
from spatial_vlm_ros.spatial.layout import name_of
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.spatial.space_findings import (
    AskedSubject,
    NamedRow,
    QuestionRefused,
    SpaceFinding,
    capital,
    listed,
    metres,
    settle_other,
)
from spatial_vlm_ros.spatial.space_lengths import gap_between
from spatial_vlm_ros.spatial.states import EMPTY
from spatial_vlm_ros.types import (
    ClauseMeasurement,
    ClauseState,
    FrameOfReference,
    NounPhrase,
    RelationClause,
    SpatialQuery,
    Status,
)

YES, NO, UNCLEAR = "yes", "no", "unclear"
_VALUE = {ClauseState.HOLDS: YES, ClauseState.FAILS: NO, ClauseState.UNCLEAR: UNCLEAR}
_HALVES = {"leftmost": "left", "rightmost": "right", "nearest": "front", "farthest": "back"}
_FREE = ("free", "vacant", "clear")
_VAGUE_HALF = 0.25  # of an object's size: "on the left" is vague about the middle


@dataclass(frozen=True, eq=False)
class JudgedPredicate:
    """Judgement of a predicate for one object."""

    likelihood: float  # that all of it is true: the likelihood of its least likely part
    clauses: tuple[ClauseMeasurement, ...]
    anchors: tuple[int, ...]  # rows that it was related to
    why: str
    said: str


def whether(subject: AskedSubject, scorer: PhraseScorer) -> SpaceFinding:
    """Answer a yes/no question."""
    question = subject.question
    if question.superlative is not None:
        return _nearer(subject, scorer)
    if question.choices:
        return _which_holds(subject, scorer)
    if question.other is not None:
        return _is_that_one(subject, question.other, scorer)
    asked = question.asked or NounPhrase("object")
    scorer.unsaid.clear()
    each = [judge_predicate(asked, row, subject.reading, scorer) for row in subject.rows]
    value = _together([state_of(one.likelihood, scorer.config.decision.holds) for one in each])
    for frame in other_frames(scorer):
        seen = scorer.seen_from(frame)
        try:
            there = [judge_predicate(asked, row, subject.reading, seen) for row in subject.rows]
        except FrameUndefinedError:
            continue
        other = _together([state_of(one.likelihood, scorer.config.decision.holds) for one in there])
        if {value, other} == {YES, NO}:
            frames, rows = (scorer.default_frame, frame), (subject.rows[0], subject.rows[0])
            choice = dataclasses.replace(
                subject.choice, status=Status.AMBIGUOUS, frames=frames, rivals=rows, several=()
            )
            said = f"{listed(scorer.layout, subject.rows)} {_is(subject)} {each[0].said}"
            words = f"Whether {said} depends on the point of view: {value} in the frame "
            words += f"'{frames[0].value}', {other} in the frame '{frame.value}'."
            raise QuestionRefused(choice, words=words)
    least = min(each, key=lambda one: one.likelihood)
    probability = _sure(value, least.likelihood)
    return SpaceFinding(
        value, probability, _objects(subject, [row for one in each for row in one.anchors]),
        _words(subject, asked, value, each, scorer), subject.choice, clauses=least.clauses,
    )  # fmt: skip


def judge_predicate(asked: NounPhrase, row: int, reading: SpatialQuery, scorer: PhraseScorer) -> JudgedPredicate:
    """Judge a predicate for one object."""
    parts: list[tuple[float, str]] = []
    measured: list[ClauseMeasurement] = []
    anchors: list[int] = []
    for clause in each_by_itself(asked.relations):
        belief = _settled(clause, row, reading, scorer)
        likelihood = float(belief.likelihood[row])
        rows = [int(a) for a in belief.anchors[row] if a >= 0]
        names = ["the surface"] if belief.on_support else [name_of(scorer.layout, other) for other in rows]
        names = names or [describe(anchor) for anchor in clause.anchors]
        distance = "" if clause.distance is None else f"{clause.distance.bound} {metres(clause.distance.metres)} "
        words = f"{'not ' if belief.negated else ''}{distance}{belief.said or belief.name} {' and '.join(names)}"
        margin = float(belief.margin[row])
        words += f" (by {metres(abs(margin))})" if np.isfinite(margin) and abs(margin) < 10 else ""
        parts.append((likelihood, words))
        measured.append(measurement_at(belief, row, scorer))
        anchors += rows
    for word in asked.attributes:
        parts.append((_attribute(word, row, scorer), word.replace(NOT, "not ")))
    if asked.category != "object":
        parts.append((float(scorer.match(NounPhrase(asked.category))[row]), f"a {asked.category}"))
    if asked.superlative is not None or asked.ordinal is not None:
        likelihood, words, clauses = _on_a_side(asked, row, reading, scorer)
        parts.append((likelihood, words))
        measured += clauses
    if not parts:
        parts.append((1.0, "seen"))
    least = min(parts)
    said = " and ".join(words for _, words in parts)
    return JudgedPredicate(least[0], tuple(measured), tuple(anchors), least[1], said)


# ------------------------------------------------------------------------------------------------ clauses


def _settled(clause: RelationClause, row: int, reading: SpatialQuery, scorer: PhraseScorer) -> ClauseBelief:
    """Judge a clause for an object; its anchors are settled as those of a command are."""
    belief = scorer.clause_of(clause, row)
    if belief.on_support:
        return belief
    found, objects = scorer.config.decision.found, scorer.layout.scene.objects
    for inner in belief.inner:
        missing = next(phrases_not_found(inner, found), None)
        if missing is not None:
            raise QuestionRefused(_refusal(reading, Status.NOT_FOUND, inner.phrase, scorer, missing), subject=False)
    for anchor in clause.anchors:
        _check_settled(clause, anchor, row, reading, scorer)
    for other in belief.anchors[row]:
        if other >= 0 and objects[other].depth_problem is not None:
            raise QuestionRefused(
                dataclasses.replace(
                    _refusal(reading, Status.DEPTH_INVALID, clause.anchors[0], scorer), chosen=int(other), rivals=()
                ),
                subject=False,
            )
    return belief


def _refusal(
    reading: SpatialQuery, status: Status, phrase: NounPhrase, scorer: PhraseScorer, missing: NounPhrase | None = None
) -> ResolvedChoice:
    choice = decide([SpatialQuery(reading.instruction, "find", phrase)], scorer)
    return dataclasses.replace(choice, status=status, phrase=missing, several=())


def _check_settled(
    clause: RelationClause, anchor: NounPhrase, row: int, reading: SpatialQuery, scorer: PhraseScorer
) -> None:
    """Refuse if several objects may be the anchor and the choice matters."""
    relation = RELATIONS.get(clause.relation)
    if anchor.count not in (None, 1) or anchor.choice is not None or len(clause.anchors) > 1 or relation is None:
        return
    belief = scorer.score_phrase(anchor, anchor=True)
    weight = belief.weight.copy()
    weight[row] = 0.0
    config = scorer.config.decision
    best = float(weight.max(initial=0.0))
    rivals = np.flatnonzero(weight >= max((1.0 - config.mass) * best, 1e-6))
    if len(rivals) < 2 or weight.max() / weight.sum() >= config.mass or relation.pairwise is None:
        return
    view = scorer.view_for(clause.frame, relation.framed, rivals)
    margin, sigma = RELATIONS[clause.relation](Pairs(scorer.layout, view, np.array([row]), rivals), clause.distance)
    likelihood = clause_likelihood(-margin if clause.negated else margin, sigma)[0]
    if len({state_of(float(one), config.holds) for one in likelihood}) > 1:
        choice = decide([SpatialQuery(reading.instruction, "find", anchor)], scorer)
        choice = dataclasses.replace(choice, status=Status.AMBIGUOUS, phrase=None, rivals=tuple(rivals.tolist()))
        raise QuestionRefused(dataclasses.replace(choice, several=()), subject=False)


# ------------------------------------------------------------------------------------------------ attributes, sides


def _attribute(word: str, row: int, scorer: PhraseScorer) -> float:
    """Likelihood of an attribute; sizes are compared with others of the label; 0.5 if nothing can tell."""
    layout = scorer.layout
    label = layout.scene.objects[row].detection.label
    members = np.array([obj.detection.label == label for obj in layout.scene.objects], np.bool_)
    only = members if word.removeprefix(NOT) in superlatives.SIZE_WORDS else np.arange(len(members)) == row
    likelihood = float(attribute_likelihood(word, layout, layout.viewpoint(FrameOfReference.VIEWER), only)[row])
    if word.removeprefix(NOT) in superlatives.SIZE_WORDS and members.sum() < 2:
        return UNKNOWN  # if there is only one, any size fits
    if word.removeprefix(NOT) in (EMPTY, *_FREE) and likelihood in (UNKNOWN, 1.0 - UNKNOWN):
        empty = 1.0 if layout.measured[row] else UNKNOWN  # unless a detected object is in or on it
        others = np.flatnonzero(layout.measured & (np.arange(len(layout)) != row))
        if len(others) and layout.measured[row]:
            pairs = Pairs(layout, layout.viewpoint(FrameOfReference.VIEWER), others, np.array([row]))
            empty -= max(float(clause_likelihood(*RELATIONS[name](pairs)).max()) for name in ("inside", "on"))
        return 1.0 - empty if word.startswith(NOT) else empty
    return likelihood


def _on_a_side(
    asked: NounPhrase, row: int, reading: SpatialQuery, scorer: PhraseScorer
) -> tuple[float, str, list[ClauseMeasurement]]:
    """Judge "on the left": beyond the middle of all outlines; for an ordinal, the position in the order."""
    word = asked.superlative
    if word not in _HALVES or asked.ordinal is not None:
        phrase = dataclasses.replace(reading.target, relations=())
        choice = decide([SpatialQuery(reading.instruction, "find", phrase)], scorer)
        sure = float(choice.probability[row]) if len(choice.probability) else 0.5
        return sure, f"the {word} one" if word else "the one at that number", []
    layout = scorer.layout
    view = scorer.view_for(asked.frame, True)
    ahead, right = (axis[0] for axis in layout.rays(view, np.array([row], np.intp)))
    direction = {"leftmost": -right, "rightmost": right, "nearest": -ahead, "farthest": ahead}[word]
    margin = float((layout.centre[row, :2] - layout.middle) @ direction)
    sigma = float(np.hypot(layout.sigma[row], _VAGUE_HALF * layout.reach[row]))
    likelihood = float(clause_likelihood(np.array([margin]), np.array([sigma]))[0])
    state = state_of(likelihood, scorer.config.decision.holds)
    words = f"in the {_HALVES[word]} half of the scene"
    rounded = round(margin, 6) if np.isfinite(margin) else None
    return likelihood, words, [ClauseMeasurement(word, (), rounded, state, round(likelihood, 6))]


# ------------------------------------------------------------------------------------------------ other forms


def _is_that_one(subject: AskedSubject, other: NounPhrase, scorer: PhraseScorer) -> SpaceFinding:
    """Answer if the subject is the object that another phrase means: "is the mug the tallest object?"."""
    label = subject.reading.target.category
    if (
        other.category == "object"
        and other.superlative is not None
        and subject.reading.instruction.lower().rstrip(" ?.!").endswith((" one", " ones", "st"))
    ):
        other = dataclasses.replace(other, category=label)
    choice = decide([SpatialQuery(subject.reading.instruction, "find", other)], scorer)
    if choice.status is Status.NOT_FOUND:
        raise QuestionRefused(choice, subject=False)
    share = float(choice.probability[list(subject.rows)].min()) if len(choice.probability) else 0.0
    value = _VALUE[state_of(share, scorer.config.decision.holds)]
    if value == UNCLEAR and choice.status is Status.OK:
        value = YES if set(choice.meant) == set(subject.rows) else NO
    words = {
        YES: f"Yes: {describe(other)} is {listed(scorer.layout, subject.rows)}.",
        NO: f"No: {listed(scorer.layout, subject.rows)} is not {describe(other)}"
            + (f", {listed(scorer.layout, choice.meant)} is." if choice.status is Status.OK else "."),
    }.get(value, f"It is unclear whether {listed(scorer.layout, subject.rows)} is {describe(other)}.")  # fmt: skip
    rows = list(choice.meant) if choice.status is Status.OK else list(choice.rivals)
    return SpaceFinding(value, _sure(value, share), _objects(subject, rows), words, subject.choice)


def _which_holds(subject: AskedSubject, scorer: PhraseScorer) -> SpaceFinding:
    """Answer which of several predicates is true for the subject: "left or right of the box?"."""
    question = subject.question
    row = subject.rows[0]
    judged = [judge_predicate(choice, row, subject.reading, scorer) for choice in question.choices]
    said = [
        (choice.relations[0].relation if choice.relations else " ".join(choice.attributes) or named(choice))
        for choice in question.choices
    ]
    holds = scorer.config.decision.holds
    true = [i for i, one in enumerate(judged) if state_of(one.likelihood, holds) is ClauseState.HOLDS]
    open_ = [i for i, one in enumerate(judged) if state_of(one.likelihood, holds) is ClauseState.UNCLEAR]
    it = name_of(scorer.layout, row)
    clauses = tuple(measured for one in judged for measured in one.clauses)
    objects = _objects(subject, [a for one in judged for a in one.anchors])
    if true:
        best = sorted(true, key=lambda i: -judged[i].likelihood)
        words = f"{capital(it)} is {' and '.join(judged[i].why for i in best)}."
        value = " and ".join(said[i] for i in best)
        return SpaceFinding(value, judged[best[0]].likelihood, objects, words, subject.choice, clauses=clauses)
    if open_:
        words = f"It is unclear whether {it} is {' or '.join(judged[i].why for i in open_)}."
        sure = max(judged[i].likelihood for i in open_)
        return SpaceFinding(UNCLEAR, sure, objects, words, subject.choice, clauses=clauses)
    words = f"{capital(it)} is neither {' nor '.join(said)}."
    sure = 1.0 - max(one.likelihood for one in judged)
    return SpaceFinding("neither", sure, objects, words, subject.choice, clauses=clauses)


def _nearer(subject: AskedSubject, scorer: PhraseScorer) -> SpaceFinding:
    """Answer if the subject is closer to an object than another one is."""
    question, reading = subject.question, subject.reading
    anchor = settle_other(question.other or NounPhrase("object"), reading, scorer)[0]
    rival = settle_other(question.choices[0], reading, scorer)[0]
    likelihood = nearer(scorer, subject.rows[0], rival, anchor)
    if question.superlative == "farthest from":
        likelihood = 1.0 - likelihood
    value = _VALUE[state_of(likelihood, scorer.config.decision.holds)]
    layout = scorer.layout
    ways = [metres(gap_between(layout, row, anchor).value) for row in (subject.rows[0], rival)]
    start = {YES: "Yes: ", NO: "No: ", UNCLEAR: "It is unclear: "}[value]
    words = (f"{start}{name_of(layout, subject.rows[0])} is {ways[0]} from {name_of(layout, anchor)}, and "
             f"{name_of(layout, rival)} is {ways[1]} from it.")  # fmt: skip
    return SpaceFinding(value, _sure(value, likelihood), _objects(subject, [rival, anchor]), words, subject.choice)


def nearer(scorer: PhraseScorer, one: int, other: int, anchor: int) -> float:
    """Probability that one object's gap to an anchor is smaller than that of another object."""
    first, second = gap_between(scorer.layout, one, anchor), gap_between(scorer.layout, other, anchor)
    sigma = max(float(np.hypot(first.sigma, second.sigma)), 1e-6)
    return float(normal_cdf(np.array([(second.value - first.value) / sigma]))[0])


# ------------------------------------------------------------------------------------------------ together


def _sure(value: str, likelihood: float) -> float:
    return {YES: likelihood, NO: 1.0 - likelihood}.get(value, max(likelihood, 1.0 - likelihood))


def _together(states: Sequence[ClauseState]) -> str:
    if ClauseState.FAILS in states:
        return NO
    return UNCLEAR if ClauseState.UNCLEAR in states else YES


def _objects(subject: AskedSubject, anchors: Sequence[int]) -> tuple[NamedRow, ...]:
    return subject.named(row for row in dict.fromkeys(anchors) if row not in subject.rows)


def _words(
    subject: AskedSubject, asked: NounPhrase, value: str, each: Sequence[JudgedPredicate], scorer: PhraseScorer
) -> str:
    layout, holds = scorer.layout, scorer.config.decision.holds
    states = [state_of(one.likelihood, holds) for one in each]
    if value == YES:
        return f"Yes: {listed(layout, subject.rows)} {_is(subject)} {each[0].said}."
    wanted = ClauseState.FAILS if value == NO else ClauseState.UNCLEAR
    rows = [row for row, state in zip(subject.rows, states, strict=True) if state is wanted]
    why = next(one.why for one, state in zip(each, states, strict=True) if state is wanted)
    verb = "is" if len(rows) == 1 else "are"
    if value == NO:
        return f"No: {listed(layout, rows)} {verb} not {why}." if not why.startswith("not ") else (
            f"No: {listed(layout, rows)} {verb} {why.removeprefix('not ')}.")  # fmt: skip
    told = "" if any(c.margin_m is not None for one in each for c in one.clauses) or not asked.attributes else (
        "; this cannot be measured")  # fmt: skip
    return f"It is unclear whether {listed(layout, rows)} {verb} {why}{told}."


def _is(subject: AskedSubject) -> str:
    return "is" if len(subject.rows) == 1 else "are"
