# SPDX-License-Identifier: Apache-2.0
"""Words outside the grammar: may a model get them as a whole, and which of them are understood?

A model points at an object whatever the words say. So the words must have the shape of a request for one object
(`free_shape`), and words are held back that ask for a place, a second step or an answer, that deny or take back
something, or that the grammar knows and refuses.
What the grammar reads before and after the refused part is kept, so that it can be measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from spatial_vlm_ros.errors import InputError, NotUnderstoodError, RefusedWords
from spatial_vlm_ros.language.accounting import WordRole
from spatial_vlm_ros.language.answers import classify
from spatial_vlm_ros.language.dialogue import description_of
from spatial_vlm_ros.language.free_shape import describes_with_what, misshapen, start_of
from spatial_vlm_ros.language.lexicon import ACTIONS
from spatial_vlm_ros.language.parser import account, parse, tokens_of
from spatial_vlm_ros.language.patterns import word_set
from spatial_vlm_ros.language.words import split
from spatial_vlm_ros.types import NounPhrase, RelationClause

_ASKING = word_set("""
    how what what's which where where's who whose whom when why is are was were does did isn't aren't whether if count
""")
_POLITE = word_set("could can would will may might please")
_DENYING = word_set("""
    not no never none nothing nobody neither nor without except excluding unless avoid avoiding instead cannot
    don't dont doesn't didn't won't wont can't cant isn't isnt aren't wasn't shouldn't mustn't leave but beware careful
    besides hardly
    nicht nichts kein keine keinen keinem keiner keins nie niemals ohne außer statt sondern pas sans jamais sauf sin
    nunca jamás excepto não nem sem senza tranne niet geen zonder behalve
""")
"""Words that deny, except or warn: the object they refer to is not the one meant. The shape of the words is checked
first."""
_CONDITIONS = word_set("""
    if unless until when whenever once before after while provided otherwise else wenn falls sobald bevor nachdem bis
    si quand lorsque cuando hasta antes después se quando als wanneer
""")
"""Words that make a command conditional, or place it in time."""
_CORRECTING = word_set("sorry oops correction wait undo actually rather nay")
_CORRECTING_PAIRS = frozenset({("i", "mean"), ("i", "meant"), ("scratch", "that"), ("make", "it"), ("make", "that")})
_LATER = word_set("""
    tomorrow tonight later soon afterwards meanwhile beforehand noon midnight now eventually
    monday tuesday wednesday thursday friday saturday sunday
""")
_SAID_BEFORE = word_set("same former latter aforementioned previous mentioned")
_LEADING = ("VERB", "UNKNOWN_VERB", "VERB_HERE")
_LINKING = ("AND", "BUT", "COMMA", "STOP")
_NEXT = word_set(
    "then afterwards afterward next finally dann danach anschließend ensuite puis luego después poi daarna"
)
_PLACING = {pattern.split(" ")[0] for pattern in ACTIONS["place"]} - {"chuck|bung|sling|lob|toss|throw|slide"}
_PLACE_VERBS = frozenset(verb for words in _PLACING for verb in words.split("|")) - {"rest", "keep"}
_PER = word_set("a an per every each in")  # "once a day"
_COURTEOUS = frozenset({"POLITE", "PLEASANTRY", "INTENSIFIER"})
_INTO = word_set("into onto")
_UNITS = ("UNITLESS", "NOUN")  # kinds of a unit's word if nothing measures it
_ORDERING = frozenset({"SUP", "ORD", "PLACED", "SIDE", "FROM", "FROM_BEFORE"})
_MOST_PARTS = 24  # words after the refused part at which a relation may begin
_TRAILING = re.compile(r"[\s,;:]*(?:\b(?:that|which|who|whom)\b)?[\s,;:]*$", re.IGNORECASE)


@dataclass(frozen=True)
class PartialReading:
    """The understood part of words that are refused as a whole.

    Args:
        head: description of the object before the refused part, for example "red mug" or "leftmost object"; None if
            there is none.
    """

    head: NounPhrase | None = None
    clauses: tuple[RelationClause, ...] = ()
    unread: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()


def held_back(instruction: str, kind: RefusedWords = "unknown words") -> str | None:
    """Reason why words outside the grammar must not be given to a pointing model; None if they may."""
    if classify(instruction).kind != "words":
        return "they answer a question, but no question is open"
    split_words = split(instruction)
    words, roles = [word.text for word in split_words], account(instruction)
    if _asks(words, words[start_of(split_words, roles)[1] :]):
        return "a model that points at an object cannot answer a question"
    return (
        _by_words([word.text for word in split_words if not _courteous(word.start, roles)])
        or _by_verbs(instruction, words, roles)
        or misshapen(split_words, roles, tokens_of(instruction))
        or (None if kind == "unknown words" else "the words are known, and what they ask for is not supported")
    )


def _by_words(words: Sequence[str]) -> str | None:
    """Reason against asking a model found in single words, or None."""
    pairs = list(pairwise((*words, "")))
    denying = next((a for a, b in pairs if a in _DENYING or a.endswith("n't") or (a, b) == ("rather", "than")), None)
    if denying is not None:
        return f"{denying!r} may say what is not meant, which a model may ignore"
    condition = next((a for a, b in pairs if a in _CONDITIONS and not (a == "once" and b in _PER)), None)
    condition = "in case" if ("in", "case") in pairs else condition
    if condition is not None:
        return f"{condition!r} may be a condition, which a model that points at an object does not check"
    correcting = next((a for a, b in pairs if a in _CORRECTING or (a, b) in _CORRECTING_PAIRS), None)
    if correcting is not None:
        return f"{correcting!r} may take back what was said before, and a model may still point at it"
    later = next((a for a, _ in pairs if a in _LATER), None)
    if later is not None:
        return f"{later!r} may put the order in time, and a model that points at an object does not wait"
    before = next((a for a, _ in pairs if a in _SAID_BEFORE), None)
    return None if before is None else f"{before!r} refers to what was said before"


def _by_verbs(instruction: str, words: Sequence[str], roles: Sequence[WordRole]) -> str | None:
    """Reason against asking a model found in the verbs, or None."""
    verbs = [_said(instruction, role) for role in roles if role.role in _LEADING]
    placing = next((verb for verb in verbs if verb in _PLACE_VERBS), None) or next(
        (w for w in words if w in _INTO), None
    )
    if placing is not None:
        return "they say where something goes, but a model only points at an object"
    if next((role.role for role in roles if role.role != "POLITE"), "") == "UNKNOWN_VERB":
        return "they ask for an action that is not known here, but a model can only point at an object"
    relating = {_said(instruction, role) for role in roles if role.role == "REL"}  # "next to"
    if not (_NEXT - relating).isdisjoint(words) or _has_steps(roles):
        return "they have several steps, but a model can point only at one object"
    return None


def _courteous(start: int, roles: Sequence[WordRole]) -> bool:
    """True if a word has no effect on the meaning: "if you don't mind", "rather large"."""
    return any(role.start <= start < role.end and role.role in _COURTEOUS for role in roles)


def partial_reading(instruction: str, span: tuple[int, int]) -> PartialReading:
    """Read the understood parts of words that were refused."""
    whole = _parsed(instruction)
    if whole is not None:  # everything was read, but a relation cannot be judged
        return _reading(whole, whole.relations, ())
    before = _TRAILING.sub("", instruction[: span[0]])
    leading = [
        role.role in _LEADING or role.role == "POLITE" for role in account(instruction) if role.start < len(before)
    ]
    alone = all(leading)
    head = None if alone else _described(before)  # a lone "look for" would be read as a noun
    clauses = () if head is None else head.relations
    known_to, known_from = (len(before) if head is not None else 0), len(instruction)
    for start in _relations_from(instruction, span[1]):
        tail = _described(instruction[start:])
        if tail is not None and tail.category == "object" and (tail.relations or _ordered(tail)):
            clauses = (*clauses, *tail.relations)
            if tail.relations and not _ordered(tail):
                known_from = start
            break
    ordering = [token for token in tokens_of(instruction) if token.kind in _ORDERING]
    said_first = [token for token in ordering if token.start < known_to and token.kind not in ("FROM", "FROM_BEFORE")]
    if head is None or len(said_first) > _orders_in(head):
        known_to = 0
    unread = tuple(token.text for token in ordering if known_to <= token.start < known_from)
    return _reading(head, clauses, unread)


def _parsed(instruction: str) -> NounPhrase | None:
    try:
        return parse(instruction)[0].target
    except NotUnderstoodError:
        return None


def _ordered(phrase: NounPhrase) -> bool:
    return phrase.superlative is not None or phrase.ordinal is not None


def _orders_in(phrase: NounPhrase) -> int:
    anchors = (anchor for clause in phrase.relations for anchor in clause.anchors)
    own = (phrase.superlative is not None) + (phrase.ordinal is not None) + (phrase.also is not None)
    return own + sum(_orders_in(anchor) for anchor in anchors)


def _reading(head: NounPhrase | None, clauses: tuple[RelationClause, ...], unread: tuple[str, ...]) -> PartialReading:
    if head is not None and head.category in ("object", "it", "them") and not head.attributes and not _ordered(head):
        head = None
    if head is None:
        return PartialReading(None, clauses, unread)
    said = NounPhrase(
        head.category, head.attributes, superlative=head.superlative, ordinal=head.ordinal, frame=head.frame
    )
    return PartialReading(said, clauses, unread)


def _asks(words: Sequence[str], behind: Sequence[str]) -> bool:
    """True if words are a question; `behind` are the words after the opening."""
    said = [word for word in words if word[0].isalnum()]
    polite = bool(said) and said[0] in _POLITE
    questioned = "?" in words[-1] and not polite
    return questioned or (bool(said) and said[0] in _ASKING and not describes_with_what(behind))


def _said(instruction: str, role: WordRole) -> str:
    return instruction[role.start : role.end].lower()


def _has_steps(roles: Sequence[WordRole]) -> bool:
    """True if a second verb follows "and" or a punctuation mark."""
    led = False
    for before, role in pairwise((WordRole(0, 0, "STOP"), *roles)):
        if role.role in _LEADING and before.role not in _LEADING:
            if led and before.role in _LINKING:
                return True
            led = True
    return False


def _relations_from(instruction: str, start: int) -> Iterator[int]:
    """Starts of relations after a character, including their distances, first ones first."""
    roles = account(instruction)
    found: list[int] = []
    for n, role in enumerate(roles):
        if role.role == "REL":
            measured = n > 1 and roles[n - 2].role == "NUM" and roles[n - 1].role in _UNITS
            found.append(roles[n - 2].start if measured else role.start)
    yield from [place for place in found if place >= start][:_MOST_PARTS]


def _described(words: str) -> NounPhrase | None:
    """The object that some words describe, as a command or not; None if they are not understood."""
    try:
        return description_of(words) or parse(words)[0].target
    except (InputError, NotUnderstoodError):
        return None
