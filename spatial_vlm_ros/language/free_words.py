# SPDX-License-Identifier: Apache-2.0
"""Words outside the grammar: whether they may be put to a model as a whole, and what of them is understood.

A model that is given words points at an object. So words are held back that ask for more than an object (a place, a
second step, an answer), that deny something, or that answer a question nobody asked: a model would point all the same.
What the grammar reads before and behind the part that it refused is kept, so that it can be measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from spatial_vlm_ros.errors import InputError, NotUnderstoodError
from spatial_vlm_ros.language.accounting import WordRole
from spatial_vlm_ros.language.answers import classify
from spatial_vlm_ros.language.dialogue import description_of
from spatial_vlm_ros.language.distances import is_unit
from spatial_vlm_ros.language.lexicon import ACTIONS
from spatial_vlm_ros.language.parser import account, parse
from spatial_vlm_ros.language.patterns import word_set
from spatial_vlm_ros.language.words import split
from spatial_vlm_ros.types import NounPhrase, RelationClause

_ASKING = word_set("""
    how what what's which where where's who whose whom when why is are was were does did isn't aren't whether if count
""")
_POLITE = word_set("could can would will may might please")
_DENYING = word_set("""
    not no never none nothing nobody neither nor without except excluding unless avoid avoiding instead rather cannot
    don't dont doesn't didn't won't wont can't cant isn't isnt aren't wasn't shouldn't mustn't leave but beware careful
    nicht nichts kein keine keinen keinem keiner keins nie niemals ohne außer statt sondern pas sans jamais sauf sin
    nunca jamás excepto não nem sem senza tranne niet geen zonder behalve
""")
"""Words that deny, except or warn, in a few languages: what they are said of is not what is meant."""
_CONDITIONS = word_set("""
    if unless until when whenever once before after while provided otherwise else wenn falls sobald bevor nachdem bis
    si quand lorsque cuando hasta antes después se quando als wanneer
""")
"""Words that make an order depend on something, or put it in time."""
_SEVERAL = word_set("both all every each several many few two three four five six seven eight nine ten alle beide tous "
                    "todos tutti")  # fmt: skip
_LEADING = ("VERB", "UNKNOWN_VERB", "VERB_HERE")
_LINKING = ("AND", "BUT", "COMMA", "STOP")
_NEXT = word_set(
    "then afterwards afterward next finally dann danach anschließend ensuite puis luego después poi daarna"
)
_PLACING = {pattern.split(" ")[0] for pattern in ACTIONS["place"]} - {"chuck|bung|sling|lob|toss|throw|slide"}
_PLACE_VERBS = frozenset(verb for words in _PLACING for verb in words.split("|")) - {"rest", "keep"}
_INTO = word_set("into onto")
_UNITS = ("UNITLESS", "NOUN")  # what the word of a unit is taken for where nothing measures it
_MOST_PARTS = 24  # words behind the refused part at which a relation may begin
_TRAILING = re.compile(r"[\s,;:]*(?:\b(?:that|which|who|whom)\b)?[\s,;:]*$", re.IGNORECASE)


@dataclass(frozen=True)
class PartialReading:
    """What is understood of words that are refused as a whole.

    Args:
        head: what the words before the refused part name, for example "mug"; None where they name nothing.
        clauses: relations that are said of the object, before the refused part or at the end of the words.
    """

    head: NounPhrase | None = None
    clauses: tuple[RelationClause, ...] = ()


def held_back(instruction: str) -> str | None:
    """Why words outside the grammar may not be put to a model that points at an object; None where they may.

    Args:
        instruction: that was refused by `parse`.

    Raises:
        InputError: as `parse`.
    """
    if classify(instruction).kind != "words":
        return "they answer a question, and none is open"
    words = [word.text for word in split(instruction)]
    roles = account(instruction)
    if _asks(words):
        return "a model that points at an object cannot answer a question"
    denying = next((word for word in words if word in _DENYING or word.endswith("n't")), None)
    if denying is not None:
        return f"{denying!r} may say what is not meant, which a model easily passes over"
    condition = next((word for word in words if word in _CONDITIONS), None)
    if condition is not None:
        return f"{condition!r} may be a condition, and a model that points at an object checks none"
    several = next((a for a, b in pairwise((*words, "")) if a in _SEVERAL and not is_unit(b)), None)
    if several is not None:
        return f"{several!r} may mean several objects, and a model can point at one object"
    verbs = [_said(instruction, role) for role in roles if role.role in _LEADING]
    placing = next((verb for verb in verbs if verb in _PLACE_VERBS), None) or next(
        (w for w in words if w in _INTO), None
    )
    if placing is not None or _goes_to(instruction, roles):
        return "they say where something goes, and a model that points at an object does not say where"
    if next((role.role for role in roles if role.role != "POLITE"), "") == "UNKNOWN_VERB":
        return "they ask for an action that is not known here, and a model can only point at an object"
    if not _NEXT.isdisjoint(words) or _has_steps(roles):
        return "they have several steps, and a model can point at one object"
    return None


def partial_reading(instruction: str, span: tuple[int, int]) -> PartialReading:
    """What the grammar reads of words that it refused.

    Args:
        instruction: the words.
        span: of the first part that was not understood, as in NotUnderstoodError.
    """
    before = _TRAILING.sub("", instruction[: span[0]])
    alone = any(role.start == 0 and role.end >= len(before) and role.role in _LEADING for role in account(instruction))
    head = None if alone else _described(before)  # "take" alone would be read as a noun
    clauses = () if head is None else head.relations
    for start in _relations_from(instruction, span[1]):
        tail = _described(instruction[start:])
        if tail is not None and tail.category == "object" and tail.relations:
            clauses = (*clauses, *tail.relations)
            break
    if head is None or head.category in ("object", "it", "them"):
        return PartialReading(None, clauses)
    return PartialReading(NounPhrase(head.category, head.attributes), clauses)


def _asks(words: Sequence[str]) -> bool:
    said = [word for word in words if word[0].isalnum()]
    polite = bool(said) and said[0] in _POLITE
    return bool(said) and (said[0] in _ASKING or ("?" in words[-1] and not polite))


def _said(instruction: str, role: WordRole) -> str:
    return instruction[role.start : role.end].lower()


def _goes_to(instruction: str, roles: Sequence[WordRole]) -> bool:
    """Whether "to the kitchen" stands in the words: "to sew" and "to me" say no place."""
    return any(_said(instruction, one) == "to" and other.role == "DET" for one, other in pairwise(roles))


def _has_steps(roles: Sequence[WordRole]) -> bool:
    """Whether a verb follows "and" or a sign, after another one."""
    led = False
    for before, role in pairwise((WordRole(0, 0, "STOP"), *roles)):
        if role.role in _LEADING and before.role not in _LEADING:
            if led and before.role in _LINKING:
                return True
            led = True
    return False


def _relations_from(instruction: str, start: int) -> Iterator[int]:
    """Where a relation begins behind a character, its distance included, the first ones first."""
    roles = account(instruction)
    found: list[int] = []
    for n, role in enumerate(roles):
        if role.role == "REL":
            measured = n > 1 and roles[n - 2].role == "NUM" and roles[n - 1].role in _UNITS
            found.append(roles[n - 2].start if measured else role.start)
    yield from [place for place in found if place >= start][:_MOST_PARTS]


def _described(words: str) -> NounPhrase | None:
    """The object that some words describe, be they a command or not; None where they are not understood."""
    try:
        return description_of(words) or parse(words)[0].target
    except (InputError, NotUnderstoodError):
        return None
