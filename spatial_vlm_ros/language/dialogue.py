# SPDX-License-Identifier: Apache-2.0
"""Answers to a question: "the red one" after "grab the cup" means the red cup.

Knows how answers add to an instruction, but not the scene that the question was about.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from spatial_vlm_ros.budgets import MAX_LENGTH
from spatial_vlm_ros.errors import InputError, NotUnderstoodError
from spatial_vlm_ros.language import answers, lexicon, parser, part_words, rendering, revising, vocabulary
from spatial_vlm_ros.language.patterns import SETS
from spatial_vlm_ros.language.words import check
from spatial_vlm_ros.types import (
    Destination,
    FrameOfReference,
    NounPhrase,
    RelationClause,
    SpatialQuery,
)

_LONGEST = 20_000  # characters of JSON
_RIVAL = 0.5  # share of the best confidence from which on another alternative may be what was said
_FORM = 'JSON such as {"alternatives": [{"transcript": "take the cup", "confidence": 0.9}]}'


def heard(text: str) -> str:
    """The instruction in the text of a speech recogniser.

    Args:
        text: the words, or JSON: {"alternatives": [{"transcript": "…", "confidence": 0 to 1}, …]}, in any order. One
            without confidence, or 0 (not set in Google's `SpeechRecognitionAlternative`), comes after those that have.

    Returns:
        The most confident alternative that is understood, or the most confident one if none is; one that asks to stop
        before all others.

    Raises:
        InputError: JSON of another form.
        NotUnderstoodError: alternatives of at least half the best confidence ask for different things.
    """
    if not isinstance(text, str) or not text.lstrip().startswith("{"):
        return text
    said = sorted(_alternatives(text), key=lambda pair: -pair[1])
    stop = next((words for words, _ in said if revising.stops(words)), None)
    if stop is not None:
        return stop
    rivals = [words for words, confidence in said if confidence >= _RIVAL * said[0][1]]
    meant = {words: meaning for words in rivals if (meaning := _meaning(words)) is not None}
    first = next(iter(meant), rivals[0])
    other = next((words for words, meaning in meant.items() if meaning != meant[first]), None)
    if other is not None:
        reason = f'"{first}" or "{other}" was heard, which are different requests'
        raise NotUnderstoodError(first, (0, len(first)), reason, "say it again, in other words")
    return first


def _alternatives(text: str) -> list[tuple[str, float]]:
    try:
        listed = json.loads(text)["alternatives"] if len(text) <= _LONGEST else []
        found = [(str(each["transcript"]), float(each.get("confidence") or 0.0)) for each in listed]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        found = []
    if not found or not all(0.0 <= confidence <= 1.0 for _, confidence in found):
        raise InputError("instruction", repr(text[:80]), _FORM, "send plain text, or the alternatives")
    return found


def _meaning(words: str) -> Any:
    """What words ask for, comparable; None if they are not understood."""
    answer = answers.classify(words)
    if answer.kind != "words":
        return answer
    try:
        return dataclasses.replace(parser.parse(words, later=True)[0], instruction="", preference=1.0, readings=1)
    except (InputError, NotUnderstoodError):
        return None


_Related = TypeVar("_Related", RelationClause, Destination)
_OTHER_OF_THE_KIND = 0.6  # share of the reading that "the other one" is any other object of the kind, wherever it is
_OWN_NAME = 0.85  # share of the reading that another noun names another object
_GENERIC = "object"  # the category of "one", "it" and "thing"
_OTHER_THAN = "other than"
_ONE = re.compile(r"\bones?\b", re.IGNORECASE)
_BARE = re.compile(r"^(?:the\s+)?([a-z][a-z -]*?)(?:\s+one)?$", re.IGNORECASE)
_POINTED = re.compile(r"^(?:it|that|this|that one|this one|the same|the same one|him|her)$", re.IGNORECASE)
_NAMED = re.compile(r"^(?:the|a|an|any|that|this|those|these)\b", re.IGNORECASE)
_DENIES = re.compile(r"\b(?:no|not|never|cannot|stop|\w+n't|dont|cant|wont|mustnt|shouldnt)\b", re.IGNORECASE)
_PERMITTED = re.compile(
    rf"^\W*(?:(?:ok|okay|yes|now|well|alright|then|and|so)\W+)*{answers.alternatives(lexicon.patterns_of('permit'))}\s+(?P<what>.+?)"
    r"(?:\s+(?:again|now|after all|anyway))*\W*$",
    re.IGNORECASE,
)
_COUNTS_UNSAID = "from which side is this counted?"


def parse_dialogue(instruction: str, follows: Sequence[str] = ()) -> tuple[SpatialQuery, ...]:
    """All readings of an instruction that may answer a question.

    Args:
        follows: what was said before in this dialogue, oldest first: an instruction and earlier answers to questions
            about it; empty = `instruction` stands alone.

    Returns:
        The readings of the first instruction, with all later words added to its target. Words with their own verb
        ("grab the box") are a new instruction: earlier words are dropped, except for what "it" and "the other one"
        stand for.

    Raises:
        InputError, NotUnderstoodError: as `parse`; also an answer that refuses every choice ("neither").
    """
    if not follows or revising.stops(instruction):
        return parser.parse(instruction)
    queries = parser.parse(follows[0])
    for answer in (*follows[1:], instruction):
        queries = with_answer(queries, answer)
    return queries


def with_answer(queries: tuple[SpatialQuery, ...], answer: str) -> tuple[SpatialQuery, ...]:
    """Add an answer to the target of earlier readings; an answer with its own verb is parsed as a new instruction."""
    check(answer)
    denied = answers.denial(answer)
    if answers.classify(answer).kind in (("none",) if denied else ("no", "none")):
        repair = "say in other words which object is meant"
        raise NotUnderstoodError(answer, (0, len(answer)), "this leaves no object to choose", repair)
    if answers.normalised(answer).isdigit() or answers.normalised(answer) in lexicon.NUMBERS:
        raise NotUnderstoodError(
            answer, (0, len(answer)), "a number alone says neither which nor how many",
            'say "the second one from the left" or "both of them"',
        )  # fmt: skip
    frame = answers.names_frame(answer)
    if frame is not None:
        seen_from = partial(_seen_from, frame=frame, whatever_said=True)
        return tuple(_mapped(dataclasses.replace(query, instruction=answer), seen_from, frame) for query in queries)
    if denied is not None:
        return _without(queries, denied, answer)
    said = parse_answer(answer)
    if _acts(said[0]):
        return _pointing(said, queries)
    added = said[0].target
    readings: list[SpatialQuery] = []
    for query in queries:
        for category, share in _categories(query.target.category, added.category, _ONE.search(answer)).items():
            target = _combined(query.target, _replaced(added, query.target), category)
            reading = _with_target(query, answer, target, share)
            readings += _others(reading, query.target, added) if _says_other(added) else [reading]
        if query.question is not None and not _says_other(added):
            readings += _of_the_compared(query, added, answer)
    return _ranked(readings)


def commanded(answer: str) -> tuple[SpatialQuery, ...]:
    """Readings of an answer that is a command with its own verb; empty if it describes an object."""
    said = parse_answer(answer)
    return said if _acts(said[0]) else ()


def _acts(said: SpatialQuery) -> bool:
    """True if words do more than name an object: they are a command, or a question about space."""
    return said.action != "find" or bool(said.steps) or said.question is not None


def _pointing(said: Sequence[SpatialQuery], queries: Sequence[SpatialQuery]) -> tuple[SpatialQuery, ...]:
    """Readings of a command whose "it" is the target of earlier ones."""
    return tuple(_mapped(query, partial(_replaced, earlier=queries[0].target)) for query in said)


def prohibits(words: str, unread: bool = False) -> bool:
    """True if words only forbid something ("don't touch the cup"), `unread` if they, any text, are not understood."""
    try:
        return parser.parse(words, later=True)[0].act == "avoid"
    except (InputError, NotUnderstoodError):
        return unread


def may_forbid(words: str) -> bool:
    """True if words forbid something, or are not understood and deny something: an arm that moves stops for both."""
    words = str(words)  # those that are too long to be read may forbid, too
    return len(words) > MAX_LENGTH or prohibits(words, _DENIES.search(words.replace("’", "'")) is not None)


def forbidding(answer: str, queries: Sequence[SpatialQuery]) -> tuple[SpatialQuery, ...]:
    """Readings of words that only forbid something ("don't touch it"), "it" replaced; empty for other words."""
    return _pointing(parser.parse(answer, later=True), queries) if prohibits(answer) else ()


def permitting(answer: str, queries: Sequence[SpatialQuery]) -> SpatialQuery | None:
    """The step that words permit ("you may touch it again"), "it" replaced; None for other words."""
    said = _PERMITTED.match(answer)
    commands = forbidding(f"don't {said['what']}", queries) if said is not None else ()
    forbidden = commands[0].forbids[0] if commands else None
    return None if forbidden is None else dataclasses.replace(
        commands[0], action=forbidden.action, act=forbidden.act, destination=forbidden.destination)  # fmt: skip


def description_of(answer: str) -> NounPhrase | None:
    """The description of one object in an answer, without its count; None if it does more, or is ambiguous."""
    readings = parse_answer(answer)
    one = readings[0]
    if len(readings) > 1 or _acts(one) or one.destination is not None:
        return None
    return dataclasses.replace(one.target, count=None)


def only_relates(answer: str) -> bool:
    """True if an answer is a relation without a noun: "left of the cup", which may also be a destination."""
    said = description_of(answer)
    return said is not None and not _ONE.search(answer) and _bare_relation(said) is not None


def points_back(phrase: NounPhrase) -> bool:
    """True if a phrase is "it" or "them"."""
    return phrase.category in SETS.it and not phrase.relations


def with_command(queries: Sequence[SpatialQuery], said: Sequence[SpatialQuery]) -> tuple[SpatialQuery, ...]:
    """Readings of "give me the black one": one of those meant before; without a place the earlier action stays."""
    found = []
    for query, command in itertools.product(queries, said):
        target = _combined(query.target, _replaced(command.target, query.target), query.target.category)
        doing, other = (query, command) if command.destination is None and not command.steps else (command, query)
        found.append(_with_target(doing, command.instruction, target, other.preference))
    return _ranked(found)


def of_the_kind(
    queries: Sequence[SpatialQuery], *, anywhere: bool = False, any_look: bool = False
) -> tuple[SpatialQuery, ...]:
    """Readings of "the other one": any of the kind, or, unless `anywhere`, one that the earlier words describe."""
    found: dict[tuple[NounPhrase, Destination | None], SpatialQuery] = {}
    for query in queries:
        told = dataclasses.replace(query.target, superlative=None, ordinal=None)
        bare = _kind(told, () if any_look else told.attributes)
        whole = 0.0 if anywhere and bare != told else 1.0 - _OTHER_OF_THE_KIND
        for target, share in ((bare, 1.0 - whole), (told, whole)):
            key = target, query.destination
            reading = _with_target(query, query.instruction, target, share)
            before = found[key].preference if key in found else 0.0
            if share:
                found[key] = dataclasses.replace(reading, preference=before + reading.preference)
    return _ranked(list(found.values()))


def _kind(phrase: NounPhrase, attributes: tuple[str, ...]) -> NounPhrase:
    return NounPhrase(phrase.category, attributes, count=phrase.count, choice=phrase.choice)


def with_name(queries: Sequence[SpatialQuery], missing: NounPhrase, name: str) -> tuple[SpatialQuery, ...]:
    """Rename a phrase wherever it is: "the nut can" for "the nut tcan"."""

    def renamed(phrase: NounPhrase) -> NounPhrase:
        if (phrase.category, phrase.attributes) == (missing.category, missing.attributes):
            phrase = dataclasses.replace(phrase, category=name)
        return part_words.in_anchors(phrase, renamed)

    return tuple(_mapped(query, renamed) for query in queries)


def _of_the_compared(query: SpatialQuery, added: NounPhrase, answer: str) -> list[SpatialQuery]:
    """Readings of an answer that tells which of the compared objects is asked about; only the scene can decide."""
    found = []
    for phrase in dict.fromkeys(rendering.asked_phrases(query)):
        told = added.category in (phrase.category, *SETS.it, _GENERIC)
        if not told or phrase.category == _GENERIC or phrase == rendering.subject_of(query):
            continue
        combined = _combined(phrase, _replaced(added, phrase), phrase.category)
        reading = _mapped(query, partial(_with_phrase, old=phrase, new=combined))
        found.append(dataclasses.replace(reading, instruction=answer))
    return found


def _with_phrase(said: NounPhrase, old: NounPhrase, new: NounPhrase) -> NounPhrase:
    return new if said == old else part_words.in_anchors(said, partial(_with_phrase, old=old, new=new))


def _ranked(readings: Sequence[SpatialQuery]) -> tuple[SpatialQuery, ...]:
    ranked = sorted(readings, key=lambda reading: -reading.preference)
    return tuple(dataclasses.replace(reading, readings=len(readings)) for reading in ranked)


def parse_answer(answer: str) -> tuple[SpatialQuery, ...]:
    """Readings of an answer: "red" means "the red one"; "it" stays a phrase of the category "it"."""
    words = answers.description(answer)
    bare = _BARE.match(words)
    if bare is not None and len(bare[1].split()) <= 2 and bare[1].lower() != "others":
        with suppress(NotUnderstoodError):
            return _counted(f"the {bare[1]} one")
    return _counted(words)


def _counted(words: str) -> tuple[SpatialQuery, ...]:
    """Readings of an answer; an ordinal without a side counts from the left, as in the questions asked back."""
    try:
        return parser.parse(words, later=True)
    except NotUnderstoodError as error:
        if error.reason != _COUNTS_UNSAID:
            raise
    return parser.parse(f"{words.rstrip(' .!?')} from the left", later=True)


def _without(queries: tuple[SpatialQuery, ...], what: str, answer: str) -> tuple[SpatialQuery, ...]:
    """Exclude "not the red one" or "not that one" from what was said before."""
    if _POINTED.match(what):
        apart = ((_with_target(query, answer, _apart(query.target, query.target)), query.target) for query in queries)
        return _ranked([each for reading, earlier in apart for each in _others(reading, earlier)])
    said = parse_answer(what)[0]
    if _acts(said) or said.destination is not None:
        raise NotUnderstoodError(answer, (0, len(answer)), "this is not a command", "say what to do")
    described = None if _NAMED.match(what) else _bare_relation(said.target)
    readings = []
    for query in queries:
        if described is not None:
            target = _relating(query.target, dataclasses.replace(described, negated=True))
        else:
            category = next(iter(_categories(query.target.category, said.target.category, one=True)))
            anchor = dataclasses.replace(_replaced(said.target, query.target), category=category)
            target = _apart(query.target, anchor)
        readings.append(_with_target(query, answer, target))
    return tuple(readings)


def _says_other(phrase: NounPhrase) -> bool:
    """True if a phrase is "the other one": an object other than the one said before."""
    return any(clause.relation == _OTHER_THAN and clause.anchors[0].category in SETS.it for clause in phrase.relations)


def _others(reading: SpatialQuery, earlier: NounPhrase, added: NounPhrase | None = None) -> tuple[SpatialQuery, ...]:
    """Readings of "the other one": one that the earlier words describe, and any of the kind, if that is more."""
    bare = _kind(earlier, earlier.attributes)
    if bare == earlier:
        return (reading,)
    told = _apart(bare, earlier)
    if added is not None:
        told = _combined(bare, _replaced(added, earlier), reading.target.category)
    return (
        _with_target(reading, reading.instruction, told, _OTHER_OF_THE_KIND),
        _with_target(reading, reading.instruction, reading.target, 1.0 - _OTHER_OF_THE_KIND),
    )


def _bare_relation(phrase: NounPhrase) -> RelationClause | None:
    """The clause of "not behind the box", which names no object."""
    if phrase != NounPhrase(_GENERIC, relations=phrase.relations) or len(phrase.relations) != 1:
        return None
    (clause,) = phrase.relations
    return clause if clause.relation != _OTHER_THAN and not clause.negated else None


def _apart(phrase: NounPhrase, anchor: NounPhrase) -> NounPhrase:
    return _relating(phrase, RelationClause(_OTHER_THAN, (anchor,)))


def _relating(phrase: NounPhrase, *clauses: RelationClause) -> NounPhrase:
    return dataclasses.replace(phrase, relations=(*phrase.relations, *clauses))


def _seen_from(said: NounPhrase, frame: FrameOfReference, *, whatever_said: bool) -> NounPhrase:
    """Set the frame of orders and relations, those of anchors too: if none was said, or with `whatever_said`."""

    def replaced(stated: FrameOfReference | None, framed: bool) -> FrameOfReference | None:
        return frame if framed and (whatever_said or stated is None) else stated

    ordered = said.superlative in lexicon.FRAMED_SUPERLATIVES
    ordered = ordered or (said.ordinal is not None and said.ordinal.from_ in lexicon.FRAMED_ORDERS)
    said = part_words.in_anchors(said, partial(_seen_from, frame=frame, whatever_said=whatever_said))
    relations = tuple(
        dataclasses.replace(clause, frame=replaced(clause.frame, vocabulary.is_framed(clause.relation)))
        for clause in said.relations
    )
    return dataclasses.replace(said, relations=relations, frame=replaced(said.frame, ordered))


def _mapped(
    query: SpatialQuery, phrase: Callable[[NounPhrase], NounPhrase], frame: FrameOfReference | None = None
) -> SpatialQuery:
    """The query with every phrase changed, and the frame of destinations set."""

    def clause(said: _Related) -> _Related:
        seen_from = frame if frame is not None and vocabulary.is_framed(said.relation) else said.frame
        return dataclasses.replace(part_words.with_anchors(said, phrase), frame=seen_from)

    return part_words.mapped(query, phrase, clause)


def _with_target(query: SpatialQuery, answer: str, target: NounPhrase, share: float = 1.0) -> SpatialQuery:
    """A reading with another target, and with a share of the preference."""
    steps, forbids = (
        tuple(dataclasses.replace(said, target=target) if said.target == query.target else said for said in some)
        for some in (query.steps, query.forbids)
    )
    return dataclasses.replace(
        query, instruction=answer, target=target, steps=steps, forbids=forbids, preference=query.preference * share
    )


def _replaced(phrase: NounPhrase, earlier: NounPhrase) -> NounPhrase:
    """Replace every "it" in a phrase by `earlier`; "the other one" takes its noun."""
    if phrase.category in SETS.it:
        return _relating(earlier, *phrase.relations)
    apart = any(clause.relation == _OTHER_THAN for clause in phrase.relations)
    category = earlier.category if apart and phrase.category == _GENERIC else phrase.category
    return dataclasses.replace(part_words.in_anchors(phrase, partial(_replaced, earlier=earlier)), category=category)


def _combined(first: NounPhrase, added: NounPhrase, category: str) -> NounPhrase:
    """Merge two descriptions of one object; if they clash, the later words count. Both get one viewpoint."""
    if first.stated_frame is not None:
        added = _seen_from(added, first.stated_frame, whatever_said=False)
    order = added.superlative is not None or added.ordinal is not None
    return NounPhrase(
        category=category,
        attributes=tuple(dict.fromkeys((*first.attributes, *added.attributes))),
        count=first.count if added.count is None else added.count,
        superlative=added.superlative if order else first.superlative,
        ordinal=added.ordinal if order else first.ordinal,
        relations=(*first.relations, *added.relations),
        frame=added.frame or first.frame,
        choice=added.choice or first.choice,
    )


def _categories(first: str, added: str, one: object) -> dict[str, float]:
    """Names of the object after an answer, with shares: "the bonnet one" of the chicks is a bonnet chick."""
    if added in (_GENERIC, first, *SETS.it):
        return {first: 1.0}
    if first == _GENERIC or added.endswith(f" {first}"):
        return {added: 1.0}
    if one:
        return {f"{added} {first}": 1.0}
    return {added: _OWN_NAME, f"{added} {first}": 1.0 - _OWN_NAME}
