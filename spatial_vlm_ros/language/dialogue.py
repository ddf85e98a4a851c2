# SPDX-License-Identifier: Apache-2.0
"""Answers to a question: "the red one" after "grab the cup" means the red cup.

Knows how answers add to an instruction, but not the scene that the question was about.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from spatial_vlm_ros.errors import InputError, NotUnderstoodError
from spatial_vlm_ros.language.acts import patterns_of
from spatial_vlm_ros.language.lexicon import FRAMED_ORDERS, FRAMED_SUPERLATIVES, NUMBERS
from spatial_vlm_ros.language.parser import parse
from spatial_vlm_ros.language.patterns import expand
from spatial_vlm_ros.language.rendering import asked_phrases, subject_of
from spatial_vlm_ros.language.stopping import stops
from spatial_vlm_ros.language.vocabulary import RELATIONS, phrase_table
from spatial_vlm_ros.language.words import check
from spatial_vlm_ros.types import (
    Destination,
    FrameOfReference,
    NounPhrase,
    RelationClause,
    SpatialQuery,
    Step,
)

_Related = TypeVar("_Related", RelationClause, Destination)
_OTHER_OF_THE_KIND = 0.6  # share of the reading that "the other one" is any other object of the kind, wherever it is
_OWN_NAME = 0.85  # share of the reading that another noun names another object
_GENERIC = "object"  # the category of "one", "it" and "thing"
_IT = frozenset({"it", "them"})
_OTHER_THAN = "other than"
_PREAMBLE = re.compile(
    r"^\s*(?:(?:no|nope|nah|yes|yeah|yep|ok|okay|well|oh|uh|um|hmm|i mean|i meant|i said|sorry|actually|please|just"
    r"|then|it is|it's|its|that's|that is|the answer is|make it|rather)\b[\s,.!-]*)+",
    re.IGNORECASE,
)
_NOT = re.compile(r"^\s*(?:(?:no|nope|well|please|but)\b[\s,.!-]*)*\bnot\s+(?P<what>.+)$", re.IGNORECASE)
_BARE = re.compile(r"^(?:the\s+)?([a-z][a-z -]*?)(?:\s+one)?$", re.IGNORECASE)
_POINTED = re.compile(r"^(?:it|that|this|that one|this one|the same|the same one|him|her)$", re.IGNORECASE)
_NAMED = re.compile(r"^(?:the|a|an|any|that|this|those|these)\b", re.IGNORECASE)
_DENIES = re.compile(r"\b(?:no|not|never|cannot|stop|\w+n't|dont|cant|wont|mustnt|shouldnt)\b", re.IGNORECASE)
_MAY = sorted({phrase for pattern in patterns_of("permit") for phrase in expand(pattern)}, key=len, reverse=True)
_PERMITTED = re.compile(
    rf"^\W*(?:(?:ok|okay|yes|now|well|alright|then|and|so)\W+)*(?:{'|'.join(_MAY)})\s+(?P<what>.+?)"
    r"(?:\s+(?:again|now|after all|anyway))*\W*$",
    re.IGNORECASE,
)
_ACTIONS_OF_A_PHRASE = ("find",)  # the action of a noun phrase without a verb
_COUNTS_UNSAID = "from which side is this counted?"

_OWN_FRAMES: dict[str, FrameOfReference] = {
    **dict.fromkeys(("mine", "my own", "my side", "my view", "from me", "as i do", "the way i see it", "my left",
                    "my right",
                     "from my left", "from my right", "me", "from the speaker", "the speaker's", "the person's"),
                    FrameOfReference.SPEAKER),
    **dict.fromkeys(("yours", "your own", "your side", "your view", "from you", "the robot's", "from the robot",
                    "the robot",
                     "your left", "your right", "you", "from your left", "from your right"), FrameOfReference.ROBOT),
    **dict.fromkeys(("the camera's", "from the camera", "the camera", "camera", "the viewer's", "from the viewer",
                     "the picture's", "in the picture", "from the image"), FrameOfReference.VIEWER),
    **dict.fromkeys(("its own", "its own side", "the object's", "its own left",
                    "its own right"), FrameOfReference.OBJECT),
    **dict.fromkeys(("the world's", "the map's", "world", "the world frame"), FrameOfReference.WORLD),
}  # fmt: skip
"""Answers that only name a frame of reference."""
_REFUSED_ANSWERS = frozenset({"neither", "neither of them", "neither one", "none", "none of them", "none of these",
                             "nothing",
                             "no", "nope", "nah", "none of those", "neither of those", "no one", "not any", "not one",
                             "neither of these"})  # fmt: skip
"""Answers that reject every choice."""


def parse_dialogue(instruction: str, follows: Sequence[str] = ()) -> tuple[SpatialQuery, ...]:
    """All readings of an instruction that may answer a question.

    Args:
        instruction: the words.
        follows: what was said before in this dialogue, oldest first: an instruction and earlier answers to questions
            about it; empty = `instruction` stands alone.

    Returns:
        The readings of the first instruction, with all later words added to its target. Words with their own verb
        ("grab the box") are a new instruction: earlier words are dropped, except for what "it" and "the other one"
        stand for.

    Raises:
        InputError, NotUnderstoodError: as `parse`; also an answer that refuses every choice ("neither").
    """
    if not follows or stops(instruction):
        return parse(instruction)
    queries = parse(follows[0])
    for answer in (*follows[1:], instruction):
        queries = with_answer(queries, answer)
    return queries


def with_answer(queries: tuple[SpatialQuery, ...], answer: str) -> tuple[SpatialQuery, ...]:
    """Add an answer to the target of earlier readings; an answer with its own verb is parsed as a new instruction."""
    check(answer)
    bare = " ".join(answer.lower().replace("’", "'").strip(" \t\n.,!?").split())
    if bare in _REFUSED_ANSWERS:
        repair = "say in other words which object is meant"
        raise NotUnderstoodError(answer, (0, len(answer)), "this leaves no object to choose", repair)
    if bare.isdigit() or bare in NUMBERS:
        raise NotUnderstoodError(
            answer, (0, len(answer)), "a number alone says neither which nor how many",
            'say "the second one from the left" or "both of them"',
        )  # fmt: skip
    frame = _frame_said(_PREAMBLE.sub("", bare) or bare)
    if frame is not None:
        seen_from = partial(_seen_from, frame=frame, whatever_said=True)
        return tuple(_mapped(dataclasses.replace(query, instruction=answer), seen_from, frame) for query in queries)
    negated = _NOT.match(answer)
    if negated is not None:
        return _without(queries, negated["what"].strip(" \t\n.,!?"), answer)
    said = parse_answer(answer)
    if _acts(said[0]):
        return tuple(_mapped(query, lambda phrase: _replaced(phrase, queries[0].target)) for query in said)
    added = said[0].target
    one = re.search(r"\bones?\b", answer, re.IGNORECASE) is not None
    readings: list[SpatialQuery] = []
    for query in queries:
        for category, share in _categories(query.target.category, added.category, one).items():
            likelier = dataclasses.replace(query, preference=query.preference * share)
            target = _combined(query.target, _replaced(added, query.target), category)
            reading = _with_target(likelier, answer, target)
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
    return said.action not in _ACTIONS_OF_A_PHRASE or bool(said.steps) or said.question is not None


def prohibits(words: str) -> bool:
    """True if words only forbid something: "don't touch the cup"; any text may be given."""
    try:
        return parse(words, later=True)[0].act == "avoid"
    except (InputError, NotUnderstoodError):
        return False


def may_forbid(words: str) -> bool:
    """True if words forbid something, or are not understood and deny something: an arm that moves stops for both."""
    if prohibits(words):
        return True
    try:
        parse(words, later=True)
    except (InputError, NotUnderstoodError):
        return _DENIES.search(words.replace("’", "'")) is not None
    return False


def forbidding(answer: str, queries: Sequence[SpatialQuery]) -> tuple[SpatialQuery, ...]:
    """Readings of words that only forbid something ("don't touch it"), "it" replaced; empty for other words."""
    said = parse(answer, later=True) if prohibits(answer) else ()
    return tuple(_mapped(query, lambda phrase: _replaced(phrase, queries[0].target)) for query in said)


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


def names_frame(answer: str) -> FrameOfReference | None:
    """The frame of reference if the whole answer names one: "from my side", "yours", "the camera's"."""
    bare = " ".join(answer.lower().replace("’", "'").strip(" \t\n.,!?").split())
    return _frame_said(_PREAMBLE.sub("", bare) or bare)


def denial(answer: str) -> str | None:
    """The denied words: "the red one" of "not the red one"; None if nothing is denied."""
    said = _NOT.match(answer)
    return None if said is None else said["what"].strip(" \t\n.,!?")


def only_relates(answer: str) -> bool:
    """True if an answer is a relation without a noun: "left of the cup", which may also be a destination."""
    said = description_of(answer)
    one = re.search(r"\bones?\b", answer, re.IGNORECASE)
    return said is not None and one is None and _bare_relation(said) is not None


def points_back(phrase: NounPhrase) -> bool:
    """True if a phrase is "it" or "them"."""
    return phrase.category in _IT and not phrase.relations


def with_command(queries: Sequence[SpatialQuery], said: Sequence[SpatialQuery]) -> tuple[SpatialQuery, ...]:
    """Readings of "give me the black one": it picks one of the objects meant before, and may name a new place.

    Without a place it only says which object; the earlier action stays.
    """
    found = []
    for query in queries:
        for command in said:
            target = _combined(query.target, _replaced(command.target, query.target), query.target.category)
            doing = query if command.destination is None and not command.steps else command
            reading = _with_target(doing, command.instruction, target)
            found.append(dataclasses.replace(reading, preference=query.preference * command.preference))
    return _ranked(found)


def of_the_kind(
    queries: Sequence[SpatialQuery], *, anywhere: bool = False, any_look: bool = False
) -> tuple[SpatialQuery, ...]:
    """Readings of "the other one": any other of the kind, or (less likely) one that the earlier words describe.

    Args:
        anywhere: leave out the second kind.
    """
    found: dict[tuple[NounPhrase, Destination | None], SpatialQuery] = {}
    for query in queries:
        told = dataclasses.replace(query.target, superlative=None, ordinal=None)
        looks = () if any_look else told.attributes
        bare = NounPhrase(told.category, looks, count=told.count, choice=told.choice)
        whole = 0.0 if anywhere and bare != told else 1.0 - _OTHER_OF_THE_KIND
        for target, share in ((bare, 1.0 - whole), (told, whole)):
            reading = _with_target(query, query.instruction, target)
            key = target, query.destination
            before = found[key].preference if key in found else 0.0
            if share:
                found[key] = dataclasses.replace(reading, preference=before + query.preference * share)
    return _ranked(list(found.values()))


def with_name(queries: Sequence[SpatialQuery], missing: NounPhrase, name: str) -> tuple[SpatialQuery, ...]:
    """Rename a phrase wherever it is: "the nut can" for "the nut tcan"."""

    def renamed(phrase: NounPhrase) -> NounPhrase:
        relations = tuple(
            dataclasses.replace(clause, anchors=tuple(renamed(anchor) for anchor in clause.anchors))
            for clause in phrase.relations
        )
        known = name if (phrase.category, phrase.attributes) == (missing.category, missing.attributes) else None
        return dataclasses.replace(phrase, category=known or phrase.category, relations=relations)

    return tuple(_mapped(query, renamed) for query in queries)


def _of_the_compared(query: SpatialQuery, added: NounPhrase, answer: str) -> list[SpatialQuery]:
    """Readings of an answer that tells which object a question about space compares with ("the left box").

    Without a noun it may describe any of them, or the target; the scene decides which one was asked about, because the
    others are clear.
    """
    found = []
    for phrase in dict.fromkeys(asked_phrases(query)):
        told = added.category in (phrase.category, *_IT, _GENERIC)
        if not told or phrase.category == _GENERIC or phrase == subject_of(query):
            continue
        combined = _combined(phrase, _replaced(added, phrase), phrase.category)
        reading = _mapped(query, lambda said, old=phrase, new=combined: _with_phrase(said, old, new))  # type: ignore[misc]
        found.append(dataclasses.replace(reading, instruction=answer))
    return found


def _with_phrase(said: NounPhrase, old: NounPhrase, new: NounPhrase) -> NounPhrase:
    """Replace a phrase, or one of the phrases inside it, by another one."""
    if said == old:
        return new
    relations = tuple(
        dataclasses.replace(clause, anchors=tuple(_with_phrase(anchor, old, new) for anchor in clause.anchors))
        for clause in said.relations
    )
    return dataclasses.replace(said, relations=relations)


def _ranked(readings: Sequence[SpatialQuery]) -> tuple[SpatialQuery, ...]:
    ranked = sorted(readings, key=lambda reading: -reading.preference)
    return tuple(dataclasses.replace(reading, readings=len(readings)) for reading in ranked)


def parse_answer(answer: str) -> tuple[SpatialQuery, ...]:
    """Readings of an answer: a few words without a noun ("red", "left") mean "the red one".

    "It", and the object that "the other one" excludes, stay phrases of the category "it".
    """
    words = _PREAMBLE.sub("", answer)
    bare = _BARE.match(words.strip().rstrip(".!"))
    if bare is not None and len(bare[1].split()) <= 2 and bare[1].lower() != "others":
        try:
            return _counted(f"the {bare[1]} one")
        except NotUnderstoodError:
            pass
    return _counted(words or answer)


def _counted(words: str) -> tuple[SpatialQuery, ...]:
    """Readings of an answer; an ordinal without a side counts from the left, as in the questions asked back."""
    try:
        return parse(words, later=True)
    except NotUnderstoodError as error:
        if error.reason != _COUNTS_UNSAID:
            raise
    return parse(f"{words.rstrip(' .!?')} from the left", later=True)


# ------------------------------------------------------------------------------------------------ other than


def _without(queries: tuple[SpatialQuery, ...], what: str, answer: str) -> tuple[SpatialQuery, ...]:
    """Exclude "not the red one" or "not that one" from what was said before."""
    if _POINTED.match(what):
        readings = [each for query in queries for each in
                    _others(_with_target(query, answer, _apart(query.target, query.target)), query.target)]  # fmt: skip
        return _ranked(readings)
    said = parse_answer(what)[0]
    if said.action not in _ACTIONS_OF_A_PHRASE or said.destination is not None or said.steps:
        raise NotUnderstoodError(answer, (0, len(answer)), "this is not a command", "say what to do")
    described = None if _NAMED.match(what) else _bare_relation(said.target)
    if described is not None:
        return tuple(
            _with_target(query, answer, dataclasses.replace(
                query.target, relations=(*query.target.relations, dataclasses.replace(described, negated=True))))
            for query in queries
        )  # fmt: skip
    readings = []
    for query in queries:
        category = next(iter(_categories(query.target.category, said.target.category, one=True)))
        anchor = dataclasses.replace(_replaced(said.target, query.target), category=category)
        readings.append(_with_target(query, answer, _apart(query.target, anchor)))
    return tuple(readings)


def _says_other(phrase: NounPhrase) -> bool:
    """True if a phrase is "the other one": an object other than the one said before."""
    return any(clause.relation == _OTHER_THAN and clause.anchors[0].category in _IT for clause in phrase.relations)


def _others(reading: SpatialQuery, earlier: NounPhrase, added: NounPhrase | None = None) -> tuple[SpatialQuery, ...]:
    """Readings of "the other one": another object that the earlier words describe, or any other of the kind.

    Returns:
        Both, or only `reading` if the earlier words named only the kind.
    """
    bare = NounPhrase(earlier.category, earlier.attributes, count=earlier.count, choice=earlier.choice)
    if bare == earlier:
        return (reading,)
    told = _apart(bare, earlier)
    if added is not None:
        told = _combined(bare, _replaced(added, earlier), reading.target.category)
    other = _with_target(reading, reading.instruction, told)
    return (
        dataclasses.replace(other, preference=reading.preference * _OTHER_OF_THE_KIND),
        dataclasses.replace(reading, preference=reading.preference * (1.0 - _OTHER_OF_THE_KIND)),
    )


def _bare_relation(phrase: NounPhrase) -> RelationClause | None:
    """The clause of "not behind the box", which names no object."""
    if phrase != NounPhrase(_GENERIC, relations=phrase.relations) or len(phrase.relations) != 1:
        return None
    (clause,) = phrase.relations
    return clause if clause.relation != _OTHER_THAN and not clause.negated else None


def _apart(phrase: NounPhrase, anchor: NounPhrase) -> NounPhrase:
    return dataclasses.replace(phrase, relations=(*phrase.relations, RelationClause(_OTHER_THAN, (anchor,))))


# ------------------------------------------------------------------------------------------------ frames


def _frame_said(words: str) -> FrameOfReference | None:
    """The frame of reference if the whole answer names one: "from my side", "yours", "the camera's"."""
    if words in _OWN_FRAMES:
        return _OWN_FRAMES[words]
    for prefix in ("", "from ", "as seen from "):
        kinds = phrase_table()[0].get(prefix + words, {})
        if "FRAME" in kinds:
            frame: FrameOfReference = kinds["FRAME"][0]
            return frame
    return None


def _seen_from(said: NounPhrase, frame: FrameOfReference, *, whatever_said: bool) -> NounPhrase:
    """Set the frame of orders and relations, those of anchors too: if none was said, or with `whatever_said`."""

    def replaced(stated: FrameOfReference | None, framed: bool) -> FrameOfReference | None:
        return frame if framed and (whatever_said or stated is None) else stated

    ordered = said.superlative in FRAMED_SUPERLATIVES
    ordered = ordered or (said.ordinal is not None and said.ordinal.from_ in FRAMED_ORDERS)
    relations = tuple(
        dataclasses.replace(
            clause,
            anchors=tuple(_seen_from(anchor, frame, whatever_said=whatever_said) for anchor in clause.anchors),
            frame=replaced(clause.frame, clause.relation in RELATIONS and RELATIONS[clause.relation].framed),
        )
        for clause in said.relations
    )
    return dataclasses.replace(said, relations=relations, frame=replaced(said.frame, ordered))


def _mapped(
    query: SpatialQuery, phrase: Callable[[NounPhrase], NounPhrase], frame: FrameOfReference | None = None
) -> SpatialQuery:
    """The query with every phrase changed, and the frame of destinations set."""

    def clause(said: _Related) -> _Related:
        framed = frame is not None and said.relation in RELATIONS and RELATIONS[said.relation].framed
        return dataclasses.replace(
            said, anchors=tuple(map(phrase, said.anchors)), frame=frame if framed else said.frame
        )

    def place(said: Destination | None) -> Destination | None:
        if said is None:
            return None
        excluded, also = tuple(map(clause, said.excluded)), tuple(map(clause, said.also))
        return dataclasses.replace(clause(said), excluded=excluded, also=also)

    def step(said: Step) -> Step:
        return dataclasses.replace(said, target=phrase(said.target), destination=place(said.destination))

    question = query.question
    if question is not None:
        question = dataclasses.replace(
            question, asked=None if question.asked is None else phrase(question.asked),
            other=None if question.other is None else phrase(question.other),
            choices=tuple(map(phrase, question.choices)),
        )  # fmt: skip
    return dataclasses.replace(
        query, target=phrase(query.target), destination=place(query.destination),
        steps=tuple(map(step, query.steps)), forbids=tuple(map(step, query.forbids)),
        avoid=tuple(map(phrase, query.avoid)), question=question,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ adding up


def _with_target(query: SpatialQuery, answer: str, target: NounPhrase) -> SpatialQuery:
    def step(said: Step) -> Step:
        return dataclasses.replace(said, target=target) if said.target == query.target else said

    steps, forbids = tuple(map(step, query.steps)), tuple(map(step, query.forbids))
    return dataclasses.replace(query, instruction=answer, target=target, steps=steps, forbids=forbids)


def _replaced(phrase: NounPhrase, earlier: NounPhrase) -> NounPhrase:
    """Replace every "it" in a phrase by `earlier`; "the other one" takes its noun."""
    if phrase.category in _IT:
        return earlier if not phrase.relations else dataclasses.replace(
            earlier, relations=(*earlier.relations, *phrase.relations))  # fmt: skip
    relations = tuple(
        dataclasses.replace(clause, anchors=tuple(_replaced(anchor, earlier) for anchor in clause.anchors))
        for clause in phrase.relations
    )
    apart = any(clause.relation == _OTHER_THAN for clause in relations)
    category = earlier.category if apart and phrase.category == _GENERIC else phrase.category
    return dataclasses.replace(phrase, category=category, relations=relations)


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


def _categories(first: str, added: str, one: bool) -> dict[str, float]:
    """Possible names of the object after an answer, with the share of each reading.

    "One", and the same noun again, keep the noun. Another noun with "one" tells its kind: "the bonnet one" of the
    chicks is a bonnet chick. Without "one" it is more likely an object with its own name ("the mug"), if the scene has
    one.
    """
    if added in (_GENERIC, first, *_IT):
        return {first: 1.0}
    if first == _GENERIC or added.endswith(f" {first}"):
        return {added: 1.0}
    if one:
        return {f"{added} {first}": 1.0}
    return {added: _OWN_NAME, f"{added} {first}": 1.0 - _OWN_NAME}
