# SPDX-License-Identifier: Apache-2.0
"""The resolution of a question about space: ANSWERED without a target, or the refusal that a command would get."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import numpy as np

from spatial_vlm_ros.language import describe
from spatial_vlm_ros.language.part_words import EDGES
from spatial_vlm_ros.spatial.answer import dialogue_id, resolution_of, target_of
from spatial_vlm_ros.spatial.answer import question_of as asked_of
from spatial_vlm_ros.spatial.decision import ResolvedChoice, candidates
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.occlusion import expected_size, hidden_regions
from spatial_vlm_ros.spatial.parts.judging import told
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.questions import Question
from spatial_vlm_ros.spatial.space_findings import NamedRow, QuestionRefused, SpaceFinding, question_of, settle_subject
from spatial_vlm_ros.spatial.space_measuring import distance, room, size, where
from spatial_vlm_ros.spatial.space_predicates import whether
from spatial_vlm_ros.spatial.space_sets import count, exists, which
from spatial_vlm_ros.spatial.wording import taken_for, with_taken
from spatial_vlm_ros.types import (
    AnswerObject,
    Candidate,
    HiddenRegion,
    MeasuredLength,
    Resolution,
    SpaceAnswer,
    SpatialQuery,
    Status,
    TakenFor,
    Vector3,
)

_OF_ALL = {"exists": exists, "count": count, "which": which, "room": room}
_OF_SUBJECT = {"whether": whether, "where": where, "distance": distance, "size": size}


class SpaceReply(NamedTuple):
    """The answer to a question about space, and what later words may refer to.

    Args:
        resolution: ANSWERED, or a refusal.
        about: row of the one object that the answer is about.
        refused: the decision about the query's own target, if it is a refusal.
    """

    resolution: Resolution
    about: int | None = None
    refused: ResolvedChoice | None = None
    asked: Question | None = None


def answer_question(queries: Sequence[SpatialQuery], scorer: PhraseScorer, said: Sequence[str]) -> SpaceReply:
    """Answer a question about space on a scene.

    Returns:
        The reply, rounded to 1e-6; equal inputs give equal replies.
    """
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
        return _refused(refused, reading, scorer, said)
    about = [row.row for row in finding.objects if row.role in ("subject", "fits")]
    if finding.choice is not None and reading is queries[0]:
        target, place = finding.choice.query.target, finding.choice.query.destination
        decided = (q for q in queries if (q.target.relations, q.destination) == (target.relations, place))
        reading = next(decided, reading)
    resolution = _resolution(finding, reading, scorer, said, len(about) == 1)
    return SpaceReply(resolution, about[0] if len(about) == 1 else None)


def _refused(refused: QuestionRefused, reading: SpatialQuery, scorer: PhraseScorer, said: Sequence[str]) -> SpaceReply:
    """The refusal; if the object of comparison is ambiguous, the question asks which one it is."""
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


def _resolution(
    finding: SpaceFinding, reading: SpatialQuery, scorer: PhraseScorer, said: Sequence[str], one: bool
) -> Resolution:
    layout, scene, question = scorer.layout, scorer.layout.scene, question_of(reading)
    transform = scene.frame.base_T_camera
    hidden: tuple[HiddenRegion, ...] = ()
    if finding.missing is not None and finding.value in ("no", "none"):
        match = scorer.match(finding.missing)
        size_ = expected_size(finding.missing, layout, scorer.config.decision.hidden_size, match)
        hidden = hidden_regions(layout, size_)
    taken: tuple[TakenFor, ...] = ()
    if question.kind in _OF_SUBJECT and finding.choice is not None:
        taken = taken_for(finding.choice, scorer)
    words = finding.words
    if taken:
        words = with_taken(words, taken, scene)
    answer = SpaceAnswer(
        kind=question.kind,
        value=round(finding.value, 6) if isinstance(finding.value, float) else finding.value,
        unit=cast(Literal["m", "objects"] | None, finding.unit),
        interval=None if finding.interval is None else _pair(finding.interval),
        probability=round(min(max(finding.probability, 0.0), 1.0), 6),
        objects=tuple(_object(row, layout) for row in finding.objects),
        words=words,
        lengths=tuple(
            MeasuredLength(name, round(length.value, 6), _pair(length.interval)) for name, length in finding.lengths
        ),
        segment=None if finding.ends is None else _segment(finding.ends, layout),
        places=finding.places,
        frame_id=transform.parent if transform is not None else scene.frame.frame_id,
    )
    return Resolution(
        instruction=said[-1],
        status=Status.ANSWERED,
        message=words,
        candidates=_candidates(finding, scorer),
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


def _candidates(finding: SpaceFinding, scorer: PhraseScorer) -> tuple[Candidate, ...]:
    """Possible subjects; what was asked about them is included as clauses."""
    if finding.choice is None:
        return ()
    found = candidates(finding.choice, scorer)
    if not finding.clauses or finding.choice.chosen < 0:
        return found
    id_ = scorer.layout.scene.objects[finding.choice.chosen].id
    return tuple(
        dataclasses.replace(one, clauses=(*finding.clauses, *one.clauses)) if one.id == id_ else one for one in found
    )


def _object(named: NamedRow, layout: Layout) -> AnswerObject:
    obj = layout.scene.objects[named.row]
    target = target_of(obj, layout.scene) if layout.measured[named.row] else None
    return AnswerObject(
        obj.id, obj.detection.label, named.role, target.pose if target is not None else None,
        target.size if target is not None else None, round(min(max(named.probability, 0.0), 1.0), 6),
    )  # fmt: skip


def _segment(ends: Array, layout: Layout) -> tuple[Vector3, Vector3]:
    """Ends of a line in ground coordinates, converted to the frame of poses, metres."""
    points = (ends - np.array([0.0, 0.0, layout.floor])) @ layout.axes.T
    transform = layout.scene.frame.base_T_camera
    if transform is not None:
        points = transform.apply(points)
    first, second = (tuple(round(float(v), 6) + 0.0 for v in point) for point in points)
    return cast(Vector3, first), cast(Vector3, second)


def _pair(interval: tuple[float, float]) -> tuple[float, float]:
    return round(float(interval[0]), 6), round(float(interval[1]), 6)
