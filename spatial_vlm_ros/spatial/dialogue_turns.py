# SPDX-License-Identifier: Apache-2.0
"""Take the next words of a dialogue: their readings, and which objects are meant, denied or left.

Needs only the dialogue. The scene comes later, because words that settle nothing are refused before waiting for a
frame.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from spatial_vlm_ros.errors import InputError, NotUnderstoodError, SpatialVlmError, StopRequestedError
from spatial_vlm_ros.language import parse, stops
from spatial_vlm_ros.language.answers import AnswerWords, classify, denial, names_frame, normalised
from spatial_vlm_ros.language.dialogue import (
    commanded,
    description_of,
    forbidding,
    of_the_kind,
    only_relates,
    permitting,
    points_back,
    with_answer,
    with_command,
    with_name,
)
from spatial_vlm_ros.language.patterns import word_set
from spatial_vlm_ros.language.rendering import left_out, say_step
from spatial_vlm_ros.language.steps import by_step, keeps_away
from spatial_vlm_ros.language.words import check
from spatial_vlm_ros.spatial.dialogue_state import Dialogue, OfferedObjects, Remembered
from spatial_vlm_ros.spatial.support_check import acts_on, check_supported, contradicts, may_be_put
from spatial_vlm_ros.types import NounPhrase, SpatialQuery, Step
from spatial_vlm_ros.types.query import STOP

MOST_SAID = 40
"""Most turns of one dialogue, which limits its size: one for each of as many candidates as an image shows, and more."""
_MOST_CLAUSES = 20  # of one target, as in a sentence
_MOST_READINGS = 64
_MOST_WORDS = 16  # words of an answer that states one object and denies another without a comma
_ONE = "object"  # the category of "one"
_COUNTED_FROM_LEFT = re.compile(r"\bcounted from the left\b|: the left(?:,| or) ")
_TWO_MEANINGS = re.compile(r"right|(?:no )?(?:(?:that|this|it) is )?(?P<no>not the right(?: one)?)")  # true, and a side
_FUNCTION_WORDS = word_set(
    """the a an one ones it is its that this of to by with at in on and which stands please i mean meant want further
    far more farther over there side hand"""
)
"""Words of an answer that distinguish nothing."""
_UNSEEN = frozenset({_ONE, "me", "you"})  # what is forbidden, but cannot be kept away from
_NO_ANSWER = "this does not answer the question"
_UNCLEAR = "the words do not clearly distinguish the objects"
_AFTER_NO = "another object was rejected before"
_NOT_ALL = "it does not fit everything that was said"
_ENDS = "these words end the dialogue, and nothing happens"

Readings = tuple[SpatialQuery, ...]


@dataclass(frozen=True)
class Attempt:
    """One interpretation of the words."""

    queries: Readings
    among: Remembered = ()  # the only objects that may be meant; empty = all
    denied: Remembered = ()
    confirmed: Remembered = ()
    doubt: str | None = None  # why an answer of this attempt must be confirmed; None if it need not be
    # objects that were denied: if the words choose one of them, that is a contradiction, and the answer must be
    # confirmed
    refuted: Remembered = ()
    # words that some object must have in its label or attributes; if none has, the attempt is skipped
    names: tuple[str, ...] = ()
    unknown: bool = False  # the attempt only reports that no object has the name
    # name of the objects that a question is about: an answer with another name must be confirmed; "" = any
    noun: str = ""
    # objects that were asked about: the attempt counts only if it is clear, and needs no confirmation if it chooses
    # these
    agreed: Remembered = ()


@dataclass(frozen=True)
class DialogueTurn:
    """The meaning of words in a dialogue."""

    words: str
    attempts: tuple[Attempt, ...]  # tried in this order, until one leaves an object to choose
    before: Dialogue | None = None  # the dialogue that they belong to; None if they begin one
    denies: bool = False  # True if they deny something, which is remembered even if nothing is left
    unnamed: frozenset[str] = frozenset()
    opened: Readings = ()  # readings of the command that all answers are about; empty = those of the attempt
    forbids: tuple[Step, ...] = ()  # what must not be done from now on
    told: str = ""  # the whole answer, if the words only forbid something or permit it again; else ""

    @property
    def said(self) -> tuple[str, ...]:
        """All words of the dialogue."""
        return (*(self.before.said if self.before is not None else ()), self.words)

    @property
    def queries(self) -> Readings:
        """Readings of all attempts."""
        return tuple(dict.fromkeys(query for attempt in self.attempts for query in attempt.queries))


def supported(queries: Sequence[SpatialQuery]) -> Readings:
    """The readings whose relations are all known, without those with an impossible place."""
    if queries[0].action == STOP:
        raise StopRequestedError(queries[0].instruction)
    first, *others = [query for query in queries if may_be_put(query)] or queries
    check_supported(first)
    known = [first]
    for query in others:
        with suppress(SpatialVlmError):
            check_supported(query)
            known.append(query)
    return tuple(known)


def take(words: str, before: Dialogue | None = None) -> DialogueTurn:
    """Take words in the dialogue `before`, or words that begin one."""
    if before is None:
        return _bound(DialogueTurn(words, (Attempt(supported(parse(words))),)), ())
    if stops(words):
        raise StopRequestedError(words)
    if len(before.said) >= MOST_SAID:
        repair = "send the whole instruction without a dialogue id"
        raise InputError("dialogue", f"{len(before.said)} turns", f"at most {MOST_SAID}", repair)
    forbidden = forbidding(words, before.queries)
    if forbidden:
        return _bound(DialogueTurn(words, (Attempt(forbidden),), before), before.forbids)
    permitted = permitting(words, before.queries) if before.forbids else None
    if permitted is not None:
        # It ends a prohibition of the same object, by whatever act, or of that act at any place.
        lifted = [
            step for step in before.forbids
            if permitted.target == step.target and (keeps_away(step) or permitted.act == step.act)
        ]  # fmt: skip
        if lifted and acts_on(permitted):  # unlike "you may look at it"
            left = tuple(step for step in before.forbids if step not in lifted)
            may = f"I may {say_step(permitted)} again."
            return DialogueTurn(words, (Attempt(before.queries),), before, forbids=left, told=may)
    return _bound(_Taking(words, before).turn(), before.forbids)


def _bound(turn: DialogueTurn, held: tuple[Step, ...]) -> DialogueTurn:
    """A turn with what was forbidden before: its steps avoid these objects, and must not do these acts."""
    first = turn.queries[0]
    forbids = tuple(dict.fromkeys((*held, *first.forbids)))
    if first.act == "avoid":
        told = f"I will not {' or '.join(map(say_step, first.forbids))}.".replace(" me.", " you.")
        return dataclasses.replace(turn, forbids=forbids, told=told)
    if not held or first.question is not None or not any(acts_on(step) for step in by_step(first)):
        return dataclasses.replace(turn, forbids=forbids)
    for step in by_step(first):
        for forbidden in held:
            if contradicts(step, forbidden):
                reason = f"you said before not to {say_step(forbidden)}"
                repair = f'say "you may {say_step(forbidden)}" first'
                raise NotUnderstoodError(turn.words, (0, len(turn.words)), reason, repair)
    away = tuple(step.target for step in held if keeps_away(step) and step.target.category not in _UNSEEN)
    attempts = tuple(
        dataclasses.replace(attempt, queries=tuple(
            dataclasses.replace(query, avoid=tuple(dict.fromkeys((*query.avoid, *away)))) for query in attempt.queries))
        for attempt in turn.attempts
    )  # fmt: skip
    return dataclasses.replace(turn, attempts=attempts, forbids=forbids)


def take_reading(words: str, command: str, queries: Readings, flags: Sequence[str] = ()) -> DialogueTurn:
    """Take words that a model has rewritten as a command; the answer must be confirmed."""
    if queries[0].action == STOP:
        raise StopRequestedError(words)
    dropped = left_out(words, queries[0].account)
    notes = [f"left out: {', '.join(dropped)}"] if dropped else []
    notes += [flag for flag in flags if not flag.startswith("left out")]
    doubt = "; ".join((f'a language model has read the words as "{command}"', *notes))
    return _bound(DialogueTurn(words, (Attempt(supported(queries), doubt=doubt),)), ())


def is_end(words: str) -> bool:
    """True if words end a dialogue ("never mind")."""
    return classify(words).kind == "end"


class _Taking:
    """Take words in a dialogue. There is one method for each kind of answer."""

    def __init__(self, words: str, before: Dialogue) -> None:
        self._words, self._before = words, before
        self._asked = before.asked
        self._kind = before.asked.kind if before.asked is not None else None
        self._target = before.queries[0].target

    def turn(self) -> DialogueTurn:
        check(self._words)
        answer = classify(self._words, self._nouns())
        sided = _TWO_MEANINGS.fullmatch(normalised(self._words))
        if sided is not None and answer.kind in ("yes", "no"):
            # "Right" alone, or "not the right one": a side if a side is asked for, else yes or no.
            if self._kind == "which":
                answer = AnswerWords("words", sided["no"] or self._words)
            elif self._asked is not None and re.search(r"\b(?:left|right)", self._asked.text):
                raise self._refusal("'right' may mean correct, or a side", 'say "yes", "no", or which one')
        how: dict[str, Callable[[AnswerWords], DialogueTurn]] = {
            "yes": self._yes, "no": self._no, "none": self._none, "other": self._other, "others": self._other,
            "any": self._any, "all": self._all, "nth": self._nth, "words": self._described,
        }  # fmt: skip
        if answer.kind == "end":
            raise self._refusal(_ENDS, "give a new instruction, or answer the question")
        if answer.kind == "unsaid":
            raise self._refusal(_NO_ANSWER, self._repair())
        return how[answer.kind](answer)

    # -------------------------------------------------------------------------------------------- kinds of answers

    def _yes(self, _: AnswerWords) -> DialogueTurn:
        before, asked = self._before, self._asked
        if self._kind == "name":
            return self._renamed()
        if self._kind in ("which", "whose"):
            raise self._refusal("yes does not say which object is meant", self._repair())
        if not before.shown:
            raise self._refusal("there is no open yes/no question", "say which object is meant")
        queries = before.queries
        if asked is not None and asked.fewer:
            queries = _with(queries, count=len(before.shown) if len(before.shown) > 1 else None)
        confirmed = (*before.confirmed, *before.shown) if _is_plural(queries) else before.shown
        return self._turn(Attempt(queries, (), before.denied, confirmed))

    def _renamed(self) -> DialogueTurn:
        asked, before = self._asked, self._before
        assert asked is not None and asked.about is not None  # noqa: PT018, S101
        queries = supported(with_name(before.queries, asked.about, asked.name))
        turn = self._turn(Attempt(queries, (), before.denied, before.confirmed))
        return dataclasses.replace(turn, opened=with_name(before.opened, asked.about, asked.name))

    def _no(self, answer: AnswerWords) -> DialogueTurn:
        before, asked = self._before, self._asked
        if asked is not None and asked.kind == "name":
            turn = self._turn(Attempt(before.queries, (), before.denied, before.confirmed), denies=True)
            return dataclasses.replace(turn, unnamed=before.unnamed | {asked.name})
        if self._kind in ("which", "whose"):
            return self._none(answer)
        if not before.shown:
            raise self._refusal("no object was offered that could be rejected", "say which object is meant")
        return self._without(before.shown)

    def _without(self, objects: Remembered) -> DialogueTurn:
        """Other objects than these: first those that fit all that was said, then those that fit only the command."""
        before = self._before
        if objects is before.shown and len(objects) > 1:  # not these two together; each of them may still be meant
            doubt = "'no' rejected these objects together, and perhaps not each of them"
            return self._turn(Attempt(before.opened, (), before.denied, doubt=doubt), denies=True)
        denied = self._denied(objects)
        attempts: list[Attempt] = []
        known: list[Readings] = [before.queries, before.opened]
        if any(query.target.attributes for query in before.opened):
            known.append(of_the_kind(before.opened, anywhere=True, any_look=True))
        for queries in known:
            unordered = _with(queries, superlative=None, ordinal=None)  # the next in the order was not asked for
            doubt = _AFTER_NO if unordered == before.queries else _NOT_ALL
            if all(unordered != attempt.queries for attempt in attempts):
                attempts.append(Attempt(unordered, (), denied, doubt=doubt))
        return self._turn(*attempts, denies=True)

    def _none(self, answer: AnswerWords) -> DialogueTurn:
        before, asked = self._before, self._asked
        if asked is None or self._kind in ("whether", "name"):
            return self._no(answer)
        offered = tuple(obj for offer in asked.offers for obj in offer.objects) or before.among
        if self._kind == "whose" or not offered:
            raise self._refusal(_NO_ANSWER, self._repair())
        return self._without(offered)

    def _other(self, answer: AnswerWords) -> DialogueTurn:
        before = self._before
        if self._kind in ("which", "whose") or not before.shown:
            raise self._refusal("no object was shown before, so 'the other one' has no meaning", self._repair())
        queries = of_the_kind(before.opened)
        if answer.kind == "others" or len(before.shown) > 1:
            queries = _with(queries, count=-1 if answer.kind == "others" else None)
        queries = supported(queries)[:_MOST_READINGS]
        denied = self._denied(before.shown)
        attempts = [Attempt(queries, (), denied)]
        alike = of_the_kind(queries, anywhere=True, any_look=True)
        if alike != queries:
            attempts.append(Attempt(alike, (), denied, doubt=_NOT_ALL))
        if before.denied:
            attempts.append(Attempt(queries, (), before.shown, doubt="it was rejected before"))
        return self._turn(*attempts, denies=True)

    def _any(self, _: AnswerWords) -> DialogueTurn:
        before = self._before
        anything = _with(before.queries, choice="any", count=None)
        chosen = before.among if self._kind == "which" else ()
        return self._turn(Attempt(anything, chosen, before.denied, chosen))

    def _all(self, answer: AnswerWords) -> DialogueTurn:
        before = self._before
        if self._kind != "which" or not before.among:
            return self._described(AnswerWords("words", self._words, no=answer.no))
        said = with_answer(before.queries, self._words)
        return self._turn(Attempt(supported(said), before.among, before.denied, before.among))

    def _nth(self, answer: AnswerWords) -> DialogueTurn:
        asked = self._asked
        offers = asked.offers if asked is not None and self._kind in ("which", "whose") else ()
        if not offers:
            return self._described(AnswerWords("words", answer.words, no=answer.no))
        if answer.n > len(offers):
            raise self._refusal(f"the question offers {len(offers)} answers", self._repair())
        offer = offers[answer.n - 1 if answer.n > 0 else -1]
        if asked is not None and (asked.kind == "whose" or _COUNTED_FROM_LEFT.search(asked.text)):
            return self._offered(offer)
        return self._offered(offer, "the number may mean an answer, or an object counted from the left")

    def _described(self, answer: AnswerWords) -> DialogueTurn:
        words, before = answer.words, self._before
        offer = self._offer_said(words) or self._offer_against_another(words)
        if offer is not None:
            return self._offered(offer)
        denied = denial(words)
        if denied is not None:
            offer = self._offer_said(denied)
            if offer is not None and offer.objects and self._kind == "which":
                left = tuple(obj for obj in before.among if obj not in offer.objects)
                chosen = left if len(left) == 1 and not _is_plural(before.queries) else ()
                apart = Attempt(before.queries, left, self._denied(offer.objects), chosen, self._unclear())
                return self._turn(apart, denies=True)
        if names_frame(words) is not None:
            queries = supported(with_answer(before.queries, words))
            return self._turn(Attempt(queries, (), before.denied, before.confirmed))
        try:
            command = () if denied is not None else commanded(words)
            return self._commanded(command, answer) if command else self._narrowed(words, answer)
        except NotUnderstoodError:
            part = self._of_part(words)
            if not part:
                raise
            return self._turn(*part)

    # -------------------------------------------------------------------------------------------- words of their own

    def _commanded(self, command: Readings, answer: AnswerWords) -> DialogueTurn:
        before = self._before
        queries = supported(with_answer(before.queries, answer.words))
        target = command[0].target
        other = [clause for clause in target.relations if clause.relation == "other than"]
        one = target.category in (_ONE, *self._nouns()) and not target.choice
        if one and re.search(r"\bones?\b", answer.words) and not other:
            # "Give me the black one": one of those asked about, or of that kind.
            denied = refuted = self._denied(before.shown if answer.no else ())
            among = before.among if self._kind == "which" else ()
            queries = supported(with_command(before.queries, command))[:_MOST_READINGS]
            opened = supported(with_command(of_the_kind(before.opened, anywhere=True), command))[:_MOST_READINGS]
            attempts = [Attempt(queries, among, denied, (), None, refuted)]
            attempts += [Attempt(some, (), denied, (), _NOT_ALL, refuted) for some in dict.fromkeys((queries, opened))]
            return self._turn(*attempts, denies=answer.no)
        place = before.opened[0].destination
        if self._asked is not None and one and target.category != _ONE and command[0].destination is None and place:
            action, act = before.opened[0].action, before.opened[0].act
            queries = tuple(dataclasses.replace(q, action=action, act=act, destination=place) for q in command)
            return dataclasses.replace(self._turn(Attempt(supported(queries))), opened=queries)
        another = any(points_back(anchor) for clause in other for anchor in clause.anchors)
        if points_back(target):
            confirmed = before.shown or before.confirmed
            turn = self._turn(Attempt(queries, () if before.shown else before.among, before.denied, confirmed))
        elif another and before.shown:
            # Without that clause: the denied object is known better by its position.
            kept = [tuple(c for c in query.target.relations if c.relation != "other than") for query in queries]
            queries = tuple(
                dict.fromkeys(_with((q,), relations=some)[0] for q, some in zip(queries, kept, strict=True))
            )
            turn = self._turn(Attempt(queries, (), self._denied(before.shown)), denies=True)
        else:
            turn = self._turn(Attempt(queries))
        return dataclasses.replace(turn, opened=queries)

    def _narrowed(self, words: str, answer: AnswerWords) -> DialogueTurn:
        """Add a description: first among those asked about; other objects, or a contradiction, are in doubt."""
        before = self._before
        denied = refuted = self._denied(before.shown if answer.no else ())
        if self._asked is None and before.queries[0].destination is not None and only_relates(denial(words) or words):
            repair = f'say "put it {words}" or "the one {words}"'
            raise self._refusal("this may mean which object, or where to put it", repair)
        queries = supported(with_answer(before.queries, words))
        of_space = before.queries[0].question is not None  # such words may be about the object of comparison
        names: tuple[str, ...] = ()  # words that name a kind and must be in an object's name
        said = None if of_space else _description(denial(words) or words)
        if said is not None:
            known = {"object", "it", "them", *self._target.category.split()}
            names = tuple(word for word in said.category.split() if word not in known)
        named = self._asked is not None and self._target.category != _ONE and not of_space
        noun = self._nouns()[-1] if named else ""
        if answer.yes and before.shown and self._kind in (None, "whether"):
            bare = supported(with_answer(of_the_kind(before.opened, anywhere=True), words))
            return self._turn(Attempt(bare, before.shown, before.denied, names=names), *self._unknown(queries, names))
        among = before.among if self._kind == "which" else ()
        plain = Attempt(queries, among, denied, (), None, refuted, names, noun=noun)
        attempts = [plain]
        if among:
            attempts.append(dataclasses.replace(plain, among=(), doubt="it is not one of those that were asked about"))
        kind = of_the_kind(before.opened, anywhere=True)
        look = of_the_kind(before.opened, anywhere=True, any_look=True)
        for earlier, doubt in ((before.opened, None if answer.no else _NOT_ALL), (kind, _NOT_ALL), (look, _NOT_ALL)):
            try:
                others = supported(with_answer(earlier, words))
            except NotUnderstoodError:  # it can only be read with what was said before
                continue
            if all(others != attempt.queries for attempt in attempts):
                attempts.append(dataclasses.replace(plain, queries=others, among=(), doubt=doubt))
            if earlier is kind and self._kind == "whether" and not answer.no:
                attempts.insert(0, dataclasses.replace(plain, queries=others, agreed=before.shown, doubt=_NOT_ALL))
        attempts += self._of_part(words)
        return self._turn(*attempts, *self._unknown(queries, names), denies=answer.no)

    def _unknown(self, queries: Readings, names: tuple[str, ...]) -> list[Attempt]:
        if not names:
            return []
        unknown = _with(queries[:1], category=" ".join(names), attributes=(), relations=())
        return [Attempt(unknown, unknown=True)]

    def _of_part(self, words: str) -> list[Attempt]:
        offers = self._asked.offers if self._asked is not None and self._kind == "which" else ()
        ignored = _FUNCTION_WORDS | set(self._target.category.split())
        said = set(normalised(words).split()) - ignored
        fitting = [offer for offer in offers if said <= set(normalised(offer.words).split())]
        if not said or len(fitting) != 1:
            return []
        return [dataclasses.replace(self._of_offer(fitting[0]), doubt="only part of an offered answer was said")]

    # -------------------------------------------------------------------------------------------- offered answers

    def _offered(self, offer: OfferedObjects, doubt: str | None = None) -> DialogueTurn:
        if self._kind == "name":
            return self._renamed()
        attempt = self._of_offer(offer)
        if self._kind == "whose":
            return self._turn(Attempt(attempt.queries, (), self._before.denied))
        return self._turn(dataclasses.replace(attempt, doubt=doubt or self._unclear() or attempt.doubt))

    def _unclear(self) -> str | None:
        return _UNCLEAR if self._asked is not None and not self._asked.clear else None

    def _of_offer(self, offer: OfferedObjects) -> Attempt:
        before = self._before
        queries = before.queries
        if not (len(offer.objects) == 1 and offer.words.endswith(f" {offer.objects[0].id}")):  # an id is no description
            queries = supported(with_answer(queries, offer.words))
        wanted = self._target.count
        single = wanted in (None, 1) and self._target.choice is None
        settles = (single and len(offer.objects) == 1) or wanted == len(offer.objects)
        doubt = None if settles or not single else "this answer also fits others that were asked about"
        return Attempt(queries, offer.objects, before.denied, offer.objects if settles else (), doubt)

    def _offer_said(self, words: str) -> OfferedObjects | None:
        """The offered answer that equals the words: the same words, the same meaning, or the id of its one object."""
        offers = () if self._asked is None or self._asked.kind == "whether" else self._asked.offers
        said = normalised(words)
        for offer in offers:
            if said == normalised(offer.words):
                return offer
        for offer in offers:
            if len(offer.objects) == 1:  # "d3", "can d3"
                label, id_ = offer.objects[0].label, offer.objects[0].id
                ids = (id_, f"{label} {id_}", f"the {label} {id_}", f"the {label} ({id_}", f"the one {id_}",
                       f"the {id_} one", f"the {id_}")  # fmt: skip
                if said in map(normalised, ids):
                    return offer
        if self._kind == "whose":
            frame = names_frame(words)
            return next((o for o in offers if frame is not None and names_frame(o.words) is frame), None)
        meaning = self._meaning(words)
        if meaning is None:
            return None
        fitting = [offer for offer in offers if self._meaning(offer.words) == meaning]
        return fitting[0] if len(fitting) == 1 else None

    def _offer_against_another(self, words: str) -> OfferedObjects | None:
        """The offer meant by "the blue one, not the black one" or the reverse order, if both are offered."""
        said = normalised(words).replace(",", " ").split()
        if self._kind != "which" or "not" not in said or len(said) > _MOST_WORDS:
            return None
        at = said.index("not")
        pairs = [(said[:at], said[at + 1 :])] if at else [(said[cut:], said[1:cut]) for cut in range(2, len(said))]
        for one, other in pairs:
            one = one[1:] if one[:1] in (["but"], ["and"]) else one
            meant, denied = (self._offer_said(" ".join(part)) if part else None for part in (one, other))
            if meant is not None and denied is not None and meant is not denied:
                return meant
        return None

    def _meaning(self, words: str) -> NounPhrase | None:
        said = _description(words)
        alike = said is not None and said.category in (self._target.category, "it")
        return dataclasses.replace(said, category="object") if said is not None and alike else said

    # -------------------------------------------------------------------------------------------- small ones

    def _turn(self, *attempts: Attempt, denies: bool = False) -> DialogueTurn:
        if any(len(query.target.relations) > _MOST_CLAUSES for query in attempts[0].queries):
            raise self._refusal(f"more than {_MOST_CLAUSES} details were added", "give a new instruction")
        return DialogueTurn(self._words, attempts, self._before, denies, self._before.unnamed, self._before.opened)

    def _denied(self, more: Remembered) -> Remembered:
        return tuple(dict.fromkeys((*self._before.denied, *more)))

    def _nouns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self._target.category, self._target.category.split()[-1])))

    def _repair(self) -> str:
        if self._asked is None:
            return "say which object is meant"
        how = 'answer "yes" or "no"' if self._kind in ("whether", "name") else "answer the question"
        return f"{how}: {self._asked.text}"

    def _refusal(self, reason: str, repair: str) -> NotUnderstoodError:
        return NotUnderstoodError(self._words, (0, len(self._words)), reason, repair)


def _with(queries: Readings, **changed: object) -> Readings:
    return tuple(dataclasses.replace(q, target=dataclasses.replace(q.target, **changed)) for q in queries)  # type: ignore[arg-type]


def _description(words: str) -> NounPhrase | None:
    try:
        return description_of(words)
    except (InputError, NotUnderstoodError):
        return None


def _is_plural(queries: Readings) -> bool:
    return queries[0].target.count not in (None, 1)
