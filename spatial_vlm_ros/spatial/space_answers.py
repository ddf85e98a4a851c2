# SPDX-License-Identifier: Apache-2.0
"""The resolution of a question about space: ANSWERED without a target, or the refusal that a command would get.

Questions about all objects that fit are answered here: is there one, which ones, how many; and comparisons of two.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from math import prod
from typing import Literal, NamedTuple, cast

import numpy as np

from spatial_vlm_ros.language import describe
from spatial_vlm_ros.language.lexicon import FRAMED_SUPERLATIVES
from spatial_vlm_ros.language.part_words import EDGES
from spatial_vlm_ros.language.rendering import named
from spatial_vlm_ros.language.words import plural
from spatial_vlm_ros.spatial import superlatives
from spatial_vlm_ros.spatial.answer import dialogue_id, resolution_of, target_of
from spatial_vlm_ros.spatial.belief import normal_cdf, state_of
from spatial_vlm_ros.spatial.clauses import COMPARED
from spatial_vlm_ros.spatial.decision import FittingObjects, ResolvedChoice, all_fitting, candidates, decide
from spatial_vlm_ros.spatial.layout import Layout, name_of
from spatial_vlm_ros.spatial.occlusion import expected_size, hidden_regions
from spatial_vlm_ros.spatial.parts.judging import told
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.questions import Question
from spatial_vlm_ros.spatial.space_findings import (
    NamedRow,
    QuestionRefused,
    SpaceFinding,
    capital,
    clearness,
    listed,
    question_of,
    settle_other,
    settle_subject,
)
from spatial_vlm_ros.spatial.space_measuring import distance, room, size, where
from spatial_vlm_ros.spatial.space_predicates import NO, UNCLEAR, YES, nearer, whether
from spatial_vlm_ros.spatial.wording import question as asked_of
from spatial_vlm_ros.spatial.wording import taken_for, with_taken
from spatial_vlm_ros.types import (
    AnswerObject,
    Candidate,
    ClauseState,
    FrameOfReference,
    HiddenRegion,
    MeasuredLength,
    NounPhrase,
    RelationClause,
    Resolution,
    SpaceAnswer,
    SpatialQuery,
    Status,
    TakenFor,
    Vector3,
)
from spatial_vlm_ros.types.query import QuestionKind

_ANSWERS = frozenset({Status.OK, Status.OCCLUDED, Status.DEPTH_INVALID})
"""Decisions among objects that count as an answer if nothing is done with the object."""


def exists(queries: Sequence[SpatialQuery], scorer: PhraseScorer) -> SpaceFinding:
    """Answer if there is such an object among the detected ones."""
    fitting = _all(queries, scorer)
    target = queries[0].target
    wanted = target.count if target.count is not None and target.count > 1 else 1
    said = describe(dataclasses.replace(target, count=None, choice=None)).removeprefix("the ")
    said = f"{'an' if said[:1] in 'aeiou' else 'a'} {said}"
    sure = len(fitting.clear)
    objects = _named(fitting)
    exactly = question_of(queries[0]).exactly
    if exactly and (sure > wanted or (sure == wanted and fitting.unclear)):
        value = NO if sure > wanted else UNCLEAR
        start = "No: I see" if value == NO else "It is unclear: I see"
        words = f"{start} {listed(scorer.layout, fitting.clear)}."
        return SpaceFinding(value, _least(fitting, fitting.clear), objects, words, fitting.choice)
    if sure >= wanted:
        words = f"Yes: {listed(scorer.layout, fitting.clear)}."
        return SpaceFinding(YES, _least(fitting, fitting.clear[:wanted]), objects, words, fitting.choice)
    if sure + len(fitting.unclear) >= wanted:
        words = f"It is unclear whether there is {said}: {listed(scorer.layout, fitting.unclear)} may be."
        return SpaceFinding(UNCLEAR, _most(fitting), objects, words, fitting.choice)
    words = f"No: I see no {said.removeprefix('a ').removeprefix('an ')}." if not sure else (
        f"No: I see only {listed(scorer.layout, fitting.clear)}.")  # fmt: skip
    return SpaceFinding(NO, 1.0 - _most(fitting), objects, words, fitting.choice, missing=fitting.choice.query.target)


def count(queries: Sequence[SpatialQuery], scorer: PhraseScorer) -> SpaceFinding:
    """Count such objects: those that clearly fit, and those that may fit."""
    fitting = _all(queries, scorer)
    sure, most = len(fitting.clear), len(fitting.clear) + len(fitting.unclear)
    likely = sum(fitting.choice.belief.weight[row] > 0.5 for row in fitting.unclear)
    number = sure + int(likely)
    *before, head = named(fitting.choice.query.target).split(" ")
    name = " ".join((*before, head if number == 1 else plural(head)))
    words = f"{number} {name}" + (f": {listed(scorer.layout, fitting.clear)}" if sure else "")
    if most > sure:
        words += f"; {listed(scorer.layout, fitting.unclear)} may count as well"
    return SpaceFinding(
        float(number), _least(fitting, fitting.clear) if most == sure and sure else 1.0 - _most(fitting),
        _named(fitting), words + ".", fitting.choice, unit="objects", interval=(float(sure), float(most)),
    )  # fmt: skip


def which(queries: Sequence[SpatialQuery], scorer: PhraseScorer) -> SpaceFinding:
    """Find the objects that fit: a single one if the words presuppose one, else all."""
    question = question_of(queries[0])
    if question.choices:
        return _which_of(queries, scorer)
    bare = [dataclasses.replace(query, question=None) for query in queries]
    target = queries[0].target
    ordered = target.superlative is not None or target.ordinal is not None
    ordered = ordered or any(clause.relation in COMPARED for clause in target.relations)
    if ordered or (target.count in (None, 1) and target.category != "object"):
        choice = decide(bare, scorer)
        if choice.status is Status.NOT_FOUND:
            raise QuestionRefused(choice)
        if choice.status in _ANSWERS:
            rows = choice.meant
            objects = tuple(NamedRow(row, "fits", float(choice.probability[row])) for row in rows)
            words = f"{capital(listed(scorer.layout, rows))}."
            return SpaceFinding(None, choice.sure, objects, words, choice)
        if ordered:
            rivals = choice.rivals or ((choice.chosen,) if choice.chosen >= 0 else ())
            if choice.status is Status.RELATION_UNSATISFIED or not rivals:
                raise QuestionRefused(choice)
            objects = tuple(NamedRow(row, "unclear", float(choice.probability[row])) for row in rivals)
            words = f"It is unclear which: {' or '.join(name_of(scorer.layout, row) for row in rivals)}."
            return SpaceFinding(UNCLEAR, choice.sure, objects, words, choice)
    fitting = _all(queries, scorer, needs_name=True)
    said = describe(dataclasses.replace(target, count=None))
    if fitting.clear:
        words = f"{capital(listed(scorer.layout, fitting.clear))}"
        if fitting.unclear:
            words += f"; {listed(scorer.layout, fitting.unclear)} may count as well"
        return SpaceFinding(None, _least(fitting, fitting.clear), _named(fitting), words + ".", fitting.choice)
    if fitting.unclear:
        words = f"It is unclear: {listed(scorer.layout, fitting.unclear)} may be {said}."
        return SpaceFinding(UNCLEAR, _most(fitting), _named(fitting), words, fitting.choice)
    carried = _on_the_surface(target, queries[0], scorer)
    if carried is not None:
        words = f"{capital(name_of(scorer.layout, carried))} is on the surface, not on a detected object."
        compared = (NamedRow(carried, "compared", 1.0),)
        return SpaceFinding("the surface", 1.0 - _most(fitting), compared, words, fitting.choice)
    words = f"None: I see no {said.removeprefix('the ')}."
    return SpaceFinding("none", 1.0 - _most(fitting), (), words, fitting.choice, missing=target)


def _on_the_surface(target: NounPhrase, query: SpatialQuery, scorer: PhraseScorer) -> int | None:
    """Row of the subject of "what is it on?" if that rests on the support plane, which has no detection."""
    clause = target.relations[0] if len(target.relations) == 1 else None
    if clause is None or clause.relation != "supporting" or target.category != "object":
        return None
    row = settle_other(clause.anchors[0], query, scorer)[0]
    on_table = RelationClause("on", (NounPhrase("table"),))
    belief = scorer.clause_of(on_table, row)
    return row if belief.on_support and scorer.is_so(on_table, row) else None


def _which_of(queries: Sequence[SpatialQuery], scorer: PhraseScorer) -> SpaceFinding:
    """Answer "which is taller, the mug or the bowl?" and the like."""
    reading = max(queries, key=lambda query: prod(clearness(c, scorer) for c in question_of(query).choices))
    question = question_of(reading)
    one, other = (settle_other(choice, reading, scorer)[0] for choice in question.choices)
    word, *viewer = (question.superlative or "nearest").split(" ")
    choice = decide([SpatialQuery(reading.instruction, "find", question.choices[0])], scorer)
    compared: tuple[NamedRow, ...] = ()
    if question.other is not None:
        anchor = settle_other(question.other, reading, scorer)[0]
        likelihood = nearer(scorer, one, other, anchor)
        likelihood = likelihood if question.superlative == "closest to" else 1.0 - likelihood
        compared = (NamedRow(anchor, "compared", 1.0),)
    else:
        frame = FrameOfReference(viewer[0]) if viewer else None
        view = scorer.view_for(frame, word in FRAMED_SUPERLATIVES)
        key = superlatives.key_of(word, scorer.layout, view)
        sigma = max(float(np.hypot(key.sigma[one], key.sigma[other])), 1e-6)
        likelihood = float(normal_cdf(np.array([(key.value[other] - key.value[one]) / sigma]))[0])
    state = state_of(likelihood, scorer.config.decision.holds)
    if state is ClauseState.UNCLEAR:
        rows = (NamedRow(one, "unclear", likelihood), NamedRow(other, "unclear", 1.0 - likelihood))
        words = f"It is unclear which: {name_of(scorer.layout, one)} or {name_of(scorer.layout, other)}."
        return SpaceFinding(UNCLEAR, max(likelihood, 1.0 - likelihood), (*rows, *compared), words, choice)
    first, second = (one, other) if state is ClauseState.HOLDS else (other, one)
    sure = max(likelihood, 1.0 - likelihood)
    words = f"{capital(name_of(scorer.layout, first))}, rather than {name_of(scorer.layout, second)}."
    rows = (NamedRow(first, "fits", sure), NamedRow(second, "compared", 1.0))
    return SpaceFinding(None, sure, (*rows, *compared), words, choice)


# ------------------------------------------------------------------------------------------------ all that fit


def _all(queries: Sequence[SpatialQuery], scorer: PhraseScorer, needs_name: bool = False) -> FittingObjects:
    """Find everything that fits, each by itself."""
    several = [
        dataclasses.replace(q, target=dataclasses.replace(q.target, count=-1, choice=None), question=None)
        for q in queries
    ]
    found = all_fitting(several, scorer)
    if found.missing is not None and (needs_name or found.missing != found.choice.query.target):
        raise QuestionRefused(dataclasses.replace(found.choice, status=Status.NOT_FOUND, phrase=found.missing))
    return found


def _named(fitting: FittingObjects) -> tuple[NamedRow, ...]:
    weight = np.minimum(fitting.choice.belief.weight, 1.0)
    clear = [NamedRow(row, "fits", float(weight[row])) for row in fitting.clear]
    unclear = [NamedRow(row, "unclear", float(weight[row])) for row in fitting.unclear]
    named_rows = {row.row for row in (*clear, *unclear)}
    anchors = [
        int(anchor)
        for row in (*fitting.clear, *fitting.unclear)
        for clause in fitting.choice.by_row[row].clauses
        for anchor in clause.anchors[row]
        if anchor >= 0
    ]
    others = [row for row in dict.fromkeys(anchors) if row not in named_rows]
    return (*clear, *unclear, *(NamedRow(row, "compared", 1.0) for row in others))


def _least(fitting: FittingObjects, rows: Sequence[int]) -> float:
    return min((min(float(fitting.choice.belief.weight[row]), 1.0) for row in rows), default=1.0)


def _most(fitting: FittingObjects) -> float:
    weight = np.minimum(fitting.choice.belief.weight, 1.0).copy()
    weight[list(fitting.clear)] = 0.0
    return float(weight.max(initial=0.0))


_OF_ALL = {"exists": exists, "count": count, "which": which, "room": room}
_OF_SUBJECT = {"whether": whether, "where": where, "distance": distance, "size": size}


class SpaceReply(NamedTuple):
    """The answer to a question about space, and what later words may refer to."""

    resolution: Resolution  # ANSWERED, or a refusal
    about: int | None = None  # row of the one object that the answer is about
    refused: ResolvedChoice | None = None  # the decision about the query's own target, if it is a refusal
    asked: Question | None = None


def answer_question(queries: Sequence[SpatialQuery], scorer: PhraseScorer, said: Sequence[str]) -> SpaceReply:
    """Answer a question about space on a scene, rounded to 1e-6; equal inputs give equal replies."""
    question = question_of(queries[0])
    reading = queries[0]
    try:
        if question.kind in _OF_ALL:
            finding = _OF_ALL[question.kind](queries, scorer)
        else:
            subject = settle_subject(queries, scorer)
            reading = subject.reading
            finding = _OF_SUBJECT[question.kind](subject, scorer)
    except QuestionRefused as refused:
        asked = asked_of(refused.choice, scorer)
        resolution = resolution_of(refused.choice, scorer, said, asked)
        resolution = dataclasses.replace(resolution, query=reading)
        if refused.words is not None:
            resolution = dataclasses.replace(resolution, message=refused.words)
        phrase = refused.choice.phrase
        if phrase is not None and phrase.category in EDGES and refused.choice.status is Status.NOT_FOUND:
            words = f"I do not see {describe(phrase)} of the surface."
            resolution = dataclasses.replace(resolution, message=words, hidden_regions=())
        if refused.subject:
            return SpaceReply(resolution, refused=refused.choice, asked=asked)
        if refused.choice.status is Status.AMBIGUOUS:
            return SpaceReply(resolution, asked=asked)
        return SpaceReply(dataclasses.replace(resolution, question=None, answers=(), dialogue_id=None))
    about = [row.row for row in finding.objects if row.role in ("subject", "fits")]
    if finding.choice is not None and reading is queries[0]:
        target, place = finding.choice.query.target, finding.choice.query.destination
        decided = (q for q in queries if (q.target.relations, q.destination) == (target.relations, place))
        reading = next(decided, reading)
    resolution = _resolution(finding, reading, scorer, said, len(about) == 1)
    return SpaceReply(resolution, about[0] if len(about) == 1 else None)


def _resolution(
    finding: SpaceFinding, reading: SpatialQuery, scorer: PhraseScorer, said: Sequence[str], one: bool
) -> Resolution:
    layout, scene, question = scorer.layout, scorer.layout.scene, question_of(reading)
    hidden: tuple[HiddenRegion, ...] = ()
    if finding.missing is not None and finding.value in ("no", "none"):
        match = scorer.match(finding.missing)
        size_ = expected_size(finding.missing, layout, scorer.config.decision.hidden_size, match)
        hidden = hidden_regions(layout, size_)
    taken: tuple[TakenFor, ...] = ()
    if question.kind in _OF_SUBJECT and finding.choice is not None:
        taken = taken_for(finding.choice, scorer)
    words = with_taken(finding.words, taken, scene) if taken else finding.words
    answer = _answer(finding, question.kind, words, layout)
    possible: tuple[Candidate, ...] = ()  # subjects; what was asked about the chosen one is included as clauses
    if finding.choice is not None:
        chosen = scene.objects[finding.choice.chosen].id if finding.choice.chosen >= 0 else None
        possible = tuple(
            dataclasses.replace(one, clauses=(*finding.clauses, *one.clauses)) if one.id == chosen else one
            for one in candidates(finding.choice, scorer)
        )
    return Resolution(
        instruction=said[-1],
        status=Status.ANSWERED,
        message=words,
        candidates=possible,
        frame_of_reference=scorer.frames_used[0] if scorer.frames_used else scorer.default_frame,
        up_from=scene.up_from,
        dialogue_id=dialogue_id(said, scene) if one or len(said) > 1 else None,
        hidden_regions=hidden,
        confidence=answer.probability,
        query=reading,
        stamp_ns=scene.frame.stamp_ns,
        caution=scorer.config.decision.caution,
        taken_for=taken,
        parts=told(scorer.parts, reading, layout),
        answer=answer,
    )


def _answer(finding: SpaceFinding, kind: QuestionKind, words: str, layout: Layout) -> SpaceAnswer:
    """What was found, in the frame of poses."""
    scene, transform = layout.scene, layout.scene.frame.base_T_camera
    objects, segment = [], None
    for row in finding.objects:
        obj, sure = scene.objects[row.row], round(min(max(row.probability, 0.0), 1.0), 6)
        target = target_of(obj, scene) if layout.measured[row.row] else None
        pose, size_of = (None, None) if target is None else (target.pose, target.size)
        objects.append(AnswerObject(obj.id, obj.detection.label, row.role, pose, size_of, sure))
    if finding.ends is not None:
        points = (finding.ends - np.array([0.0, 0.0, layout.floor])) @ layout.axes.T
        points = points if transform is None else transform.apply(points)
        first, second = (tuple(round(float(v), 6) + 0.0 for v in point) for point in points)
        segment = cast(Vector3, first), cast(Vector3, second)
    return SpaceAnswer(
        kind=kind,
        value=round(finding.value, 6) if isinstance(finding.value, float) else finding.value,
        unit=cast(Literal["m", "objects"] | None, finding.unit),
        interval=None if finding.interval is None else _pair(finding.interval),
        probability=round(min(max(finding.probability, 0.0), 1.0), 6),
        objects=tuple(objects),
        words=words,
        lengths=tuple(
            MeasuredLength(name, round(length.value, 6), _pair(length.interval)) for name, length in finding.lengths
        ),
        segment=segment,
        places=finding.places,
        frame_id=transform.parent if transform is not None else scene.frame.frame_id,
    )


def _pair(interval: tuple[float, float]) -> tuple[float, float]:
    return round(float(interval[0]), 6), round(float(interval[1]), 6)
