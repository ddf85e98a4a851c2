# SPDX-License-Identifier: Apache-2.0
"""Decide words within a dialogue on a scene, and compute the dialogue after them.

The same words in the same dialogue on the same scene always get the same answer.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from spatial_vlm_ros.errors import NotUnderstoodError, SpatialVlmError
from spatial_vlm_ros.language.rendering import say_step, subject_of
from spatial_vlm_ros.language.steps import by_step
from spatial_vlm_ros.spatial import wording
from spatial_vlm_ros.spatial.answer import resolution_of
from spatial_vlm_ros.spatial.decision import ResolvedChoice, believed, decide, with_avoided
from spatial_vlm_ros.spatial.descriptions import words_of
from spatial_vlm_ros.spatial.destination import with_place
from spatial_vlm_ros.spatial.dialogue_state import (
    AskedQuestion,
    Dialogue,
    OfferedObjects,
    Remembered,
    remember,
    rows_of,
)
from spatial_vlm_ros.spatial.dialogue_turns import Attempt, DialogueTurn, is_end
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.questions import Question
from spatial_vlm_ros.types import OfferedAnswer, Request, Resolution, ResolvedStep, SpatialQuery, Status

_LEAVES_NOTHING = frozenset({Status.NOT_FOUND, Status.RELATION_UNSATISFIED})
_MOVED = "the object mentioned before may not be where it was"
_ELSE = "its name differs from those that were asked about"
_CONTRARY = "an object that was rejected before fits the words better"


class DialogueChoice(NamedTuple):
    """A decision, the scene as restricted by the dialogue, and the attempt that led to it."""

    choice: ResolvedChoice
    scorer: PhraseScorer
    attempt: Attempt


def choose(turn: DialogueTurn, scorer: PhraseScorer) -> DialogueChoice:
    """Decide by the first attempt that leaves an object, else by the first one."""
    scene = scorer.layout.scene
    first: DialogueChoice | None = None
    for attempt in turn.attempts:
        queries = called(attempt, scorer)
        if not queries:
            continue
        among, denied, confirmed, doubt = _left(attempt, scorer)
        within = _restricted(scorer, queries, among, denied, confirmed if doubt is None else ())
        choice = decide(queries, within)
        if doubt is None and choice.status is Status.OK and attempt.refuted:
            refuted, _ = rows_of(attempt.refuted, scene)
            others = tuple(row for row in denied if row not in refuted)
            before = decide(queries, _restricted(scorer, queries, among, others, ()))
            doubt = _CONTRARY if before.status is Status.OK and set(before.meant) & set(refuted) else None
        if choice.status is Status.OK:
            category = choice.query.target.category.split()
            if doubt is None and attempt.noun and attempt.noun not in category and category != ["object"]:
                doubt = _ELSE
            if attempt.agreed and set(choice.meant) == set(rows_of(attempt.agreed, scene)[0]):
                doubt = None
            if doubt is not None:
                choice = dataclasses.replace(choice, status=Status.LOW_CONFIDENCE, doubt=doubt)
        found, status = DialogueChoice(choice, within, attempt), choice.status
        if attempt.agreed and choice.doubt is None and status is not Status.OK:
            continue
        of_another = choice.phrase not in (None, choice.query.target)
        if status not in _LEAVES_NOTHING or (status is Status.NOT_FOUND and of_another):
            return found
        if first is None or (
            turn.denies and first.choice.status is Status.NOT_FOUND and status is not first.choice.status
        ):
            first = found  # after a denial, a remaining object that does not fit may be asked about
    if first is None:
        raise ValueError("a turn without an attempt")  # a bug: `take` gives one, or refuses
    return first


def question_turn(
    turn: DialogueTurn, scorer: PhraseScorer, seen: Callable[[Resolution], Resolution]
) -> tuple[Resolution, Dialogue | None, bool]:
    """The answer to a question about space, the dialogue after it, and True if no object has the name in the words."""
    from spatial_vlm_ros.spatial.space_answers import answer_question

    first: tuple[Resolution, Dialogue | None, bool] | None = None
    for attempt in turn.attempts:
        if first is not None and attempt.doubt is not None:  # an answer to a question about space confirms nothing
            continue
        queries = called(attempt, scorer)
        if not queries or queries[0].question is None:
            continue
        among, denied, confirmed, doubt = _left(attempt, scorer)
        if doubt == _MOVED:  # the same words may fit another object now, which was not asked about
            raise NotUnderstoodError(turn.words, (0, len(turn.words)), _MOVED, "say which object is meant")
        within = _restricted(scorer, queries, among, denied, confirmed)
        # The subject is only what was confirmed; the object of comparison is decided by its own words.
        within = dataclasses.replace(within, confirmed=())
        reply = answer_question(queries, within, turn.said)
        resolution = seen(reply.resolution)
        if reply.refused is not None:
            dialogue = after(turn, DialogueChoice(reply.refused, within, attempt), reply.asked, resolution)
        else:
            scene = within.layout.scene
            asked = None
            if reply.asked is not None:  # about the object of comparison: its answers add words, and name no objects
                offers = tuple(OfferedObjects(words, ()) for words, _ in reply.asked.answers)
                asked = AskedQuestion("whose", reply.asked.text, offers)
            shown = () if reply.about is None else (remember(scene.objects[reply.about], scene),)
            dialogue = _dialogue(turn, attempt, resolution, asked, shown)
        found = resolution, dialogue, attempt.unknown
        if resolution.status not in _LEAVES_NOTHING:
            return found
        first = first or found
    if first is None:
        raise NotUnderstoodError(
            turn.words, (0, len(turn.words)), "this does not fit the question", "ask the whole question"
        )
    return first


def _left(
    attempt: Attempt, scorer: PhraseScorer
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], str | None]:
    """Rows that an attempt is restricted to, denies and has confirmed, and the reason for doubt."""
    scene = scorer.layout.scene
    among, kept = rows_of(attempt.among, scene)
    denied, known = rows_of(attempt.denied, scene)
    confirmed, there = rows_of(attempt.confirmed, scene)
    doubt = attempt.doubt if kept and known and there else _MOVED
    if doubt == _MOVED:
        among, confirmed = (among if kept else ()), (confirmed if there else ())
    return among, denied, tuple(row for row in confirmed if row not in denied), doubt


def _restricted(
    scorer: PhraseScorer,
    queries: Sequence[SpatialQuery],
    among: Sequence[int],
    denied: tuple[int, ...],
    confirmed: tuple[int, ...],
) -> PhraseScorer:
    left = np.ones(len(scorer.layout))
    if among:
        left = np.isin(np.arange(len(left)), among).astype(np.float64)
    target = queries[0].target
    if confirmed and target.count in (None, 1) and target.choice is None:
        left = np.isin(np.arange(len(left)), confirmed).astype(np.float64)
    left[list(denied)] = 0.0
    if left.all() and not confirmed:
        return scorer
    about = {phrase: left for query in queries for phrase in (query.target, subject_of(query))}
    return scorer.within(about, denied, confirmed)


def called(attempt: Attempt, scorer: PhraseScorer) -> tuple[SpatialQuery, ...]:
    """The readings whose target has the name of an object, in the same words or synonyms."""
    if not attempt.names:
        return attempt.queries
    objects = scorer.layout.scene.objects
    names, found = frozenset(attempt.names), scorer.config.decision.found
    has = np.array([names <= words_of(obj) for obj in objects], np.bool_)

    def called(query: SpatialQuery) -> bool:
        own = set(query.target.category.split()) <= names  # its own name, which may be a synonym of the label
        return bool(((scorer.match(query.target) >= found) & (has | own)).any())

    return tuple(query for query in attempt.queries if called(query))


def after(
    turn: DialogueTurn, decided: DialogueChoice, asked: Question | None, resolution: Resolution
) -> Dialogue | None:
    """The dialogue that later words may refer to; None if there is nothing to refer to."""
    choice, scorer, attempt = decided
    scene = scorer.layout.scene

    def of(rows: Sequence[int]) -> Remembered:
        return tuple(remember(scene.objects[row], scene) for row in rows)

    question = None
    shown = of(choice.meant) if choice.status is Status.OK else ()
    among: Remembered = ()
    if asked is not None:
        offers = [OfferedObjects(words, of(rows)) for words, rows in asked.answers]
        text = asked.text

        def said_at(offer: OfferedObjects) -> int:  # answers that it counts, or lists by id, keep their order
            at = text.find(" ".join(word for word in offer.words.split() if word not in ("the", "one", "ones")))
            return at if at >= 0 else len(text)

        offers.sort(key=said_at)
        name = asked.text[len("Did you mean the ") : -1] if asked.kind == "name" else ""
        fewer = choice.status is Status.RELATION_UNSATISFIED and bool(choice.several)
        question = AskedQuestion(asked.kind, asked.text, tuple(offers), asked.clear, asked.about, name, fewer)
        if asked.kind == "whether":
            shown = of(asked.answers[0][1])
        elif asked.kind == "which":
            rows = dict.fromkeys(row for _, part in asked.answers for row in part)
            among = of(tuple(rows) or choice.rivals)
    return _dialogue(turn, attempt, resolution, question, shown, among)


def _dialogue(
    turn: DialogueTurn,
    attempt: Attempt,
    resolution: Resolution,
    question: AskedQuestion | None,
    shown: Remembered,
    among: Remembered = (),
) -> Dialogue | None:
    """The dialogue with what was asked, shown and settled; None for an answer without an id."""
    if resolution.dialogue_id is None:
        return None
    return Dialogue(
        id=resolution.dialogue_id,
        said=turn.said,
        queries=attempt.queries,
        opened=turn.opened or attempt.queries,
        asked=question,
        shown=shown,
        among=among,
        denied=attempt.denied,
        confirmed=attempt.confirmed if attempt.doubt is None else (),
        unnamed=turn.unnamed,
        forbids=turn.forbids,
        last=resolution if question is not None else None,
    )


def refusal(instruction: str, error: SpatialVlmError, stamp_ns: int = 0, frame: str | None = None) -> Resolution:
    """Convert an error to a refusal; all refusals are made here."""
    return Resolution(
        instruction=instruction,
        status=Status[error.status_name],
        message=str(error),
        stamp_ns=stamp_ns,
        frame=frame,
    )


def refused_in(instruction: str, error: SpatialVlmError, before: Dialogue | None, stamp_ns: int = 0) -> Resolution:
    """The refusal of words in a dialogue; the dialogue is unchanged.

    If the words do not answer its question, the question is asked again, unless they end the dialogue.
    """
    refused = refusal(instruction, error, stamp_ns)
    if before is None or not before.id:
        return refused
    if isinstance(error, NotUnderstoodError) and not is_end(instruction):
        return asked_again(refused, before)
    return dataclasses.replace(refused, dialogue_id=before.id)


def asked_again(refused: Resolution, before: Dialogue) -> Resolution:
    """A refusal of words that did not answer a question; the question and the dialogue stay open."""
    if before.last is None:
        return dataclasses.replace(refused, dialogue_id=before.id)
    answers: tuple[OfferedAnswer, ...] = before.last.answers
    return dataclasses.replace(refused, question=before.last.question, answers=answers, dialogue_id=before.id)


def acknowledged(turn: DialogueTurn, stamp_ns: int) -> tuple[Resolution, Dialogue]:
    """The answer to words that only forbid something, or permit it again; an open question stays open."""
    before, query = turn.before, turn.queries[0]
    known = hashlib.sha256("\n".join((*turn.said, str(stamp_ns))).encode("utf-8", "replace")).hexdigest()[:12]
    answer = Resolution(turn.words, Status.ANSWERED, turn.told, query=query, stamp_ns=stamp_ns, dialogue_id=known)
    if before is None:
        return answer, Dialogue(known, turn.said, turn.queries, turn.queries, forbids=turn.forbids)
    answer = dataclasses.replace(asked_again(answer, before), dialogue_id=known)
    return answer, dataclasses.replace(before, id=known, said=turn.said, forbids=turn.forbids)


def stays_open(turn: DialogueTurn, resolution: Resolution, *, unknown: bool) -> bool:
    """True if words without a result leave the earlier question open: nothing fits them, and they deny nothing."""
    open_before = turn.before is not None and turn.before.asked is not None
    led_nowhere = resolution.status in _LEAVES_NOTHING and (unknown or resolution.question is None)
    return open_before and led_nowhere and (unknown or not turn.denies)


# --------------------------------------------------
# The steps of a request: each with its act, its object and its place, or a refusal that names the step.


def with_steps(resolution: Resolution, readings: Sequence[SpatialQuery], scorer: PhraseScorer) -> Resolution:
    """Add all steps, each resolved on the scene as it is now, to the answer about the first, or refuse that step."""
    query = resolution.query
    if query is None or query.question is not None:
        return resolution
    steps = by_step(query)
    done = [ResolvedStep(step.act, say_step(step)) for step in steps]
    refused = None if resolution.status is Status.OK else (0, resolution)
    done[0] = dataclasses.replace(done[0], target=resolution.target, place=resolution.place)
    for number in range(1, len(steps) if refused is None else 0):
        before = query.steps[:number]
        agreeing = [one for one in readings if one.steps[:number] == before and len(one.steps) > number]
        total = sum(reading.preference for reading in agreeing)
        queries = [dataclasses.replace(by_step(one)[number], preference=one.preference / total) for one in agreeing]
        choice = with_avoided(with_place(believed(decide(queries, scorer), scorer), scorer), scorer)
        found = resolution_of(choice, scorer, (query.instruction,), wording.question(choice, scorer))
        if found.status is not Status.OK:
            refused = number, found
            break
        done[number] = dataclasses.replace(done[number], target=found.target, place=found.place)
        resolution = dataclasses.replace(resolution, confidence=min(resolution.confidence, found.confidence))
    if refused is None:
        return dataclasses.replace(resolution, request=Request(tuple(done)))
    number, found = refused
    request = Request(tuple(ResolvedStep(step.act, step.words) for step in done))
    if len(steps) == 1:
        return dataclasses.replace(found, request=request)
    message = f"Step {number + 1} ({done[number].words}): {found.message}"
    if number:  # its question is not about the first step, of which later words would speak
        found = dataclasses.replace(found, query=query, question=None, answers=(), dialogue_id=None)
    return dataclasses.replace(found, message=message, request=request)
