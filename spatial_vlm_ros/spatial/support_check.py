# SPDX-License-Identifier: Apache-2.0
"""Refuse by name what can be parsed but not judged, before anything is measured."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator

from spatial_vlm_ros.errors import NotUnderstoodError, RefusedWords
from spatial_vlm_ros.language import parse, plugged
from spatial_vlm_ros.language.lexicon import MOVING, NEVER_TAKEN
from spatial_vlm_ros.language.rendering import asked_phrases
from spatial_vlm_ros.language.steps import AVOID
from spatial_vlm_ros.spatial import superlatives
from spatial_vlm_ros.spatial.clauses import COMPARED, OTHER_THAN
from spatial_vlm_ros.spatial.regions import is_person
from spatial_vlm_ros.spatial.relations import RELATIONS
from spatial_vlm_ros.spatial.shifts import is_shift
from spatial_vlm_ros.spatial.spot_judging import placeable
from spatial_vlm_ros.types import Destination, NounPhrase, RelationClause, SpatialQuery

ALL = -1
"""`NounPhrase.count` of a plural without a number."""


def check_supported(query: SpatialQuery) -> None:
    """Refuse by name what can be parsed but not be judged."""
    if query.action == AVOID:
        raise _refusal(query, "this says what not to do, so there is nothing to take", "say what to take or to find")
    if query.action in MOVING and query.target.category.split()[-1] in NEVER_TAKEN:
        raise _refusal(query, f"a {query.target.category} is never taken", "name an object that lies on it")
    for phrase in (query.target, *(p for p in asked_phrases(query) if p != query.target)):
        _check_phrase(query, phrase)
    for avoided in query.avoid:
        if is_person(avoided) or avoided == query.target:
            raise _refusal(query, "the arm cannot avoid this", "name another object that is visible")
        _check_phrase(query, avoided)
    if query.destination is not None and not is_for_a_person(query.destination):
        _check_destination(query, query.destination)


def check_carried_out(query: SpatialQuery) -> None:
    """Refuse actions that an arm does not carry out (it takes, gives and places), and more than one command."""
    actions = [step.action for step in query.steps] or [query.action]
    others = [action for action in actions if action not in MOVING and not _is_bare_phrase(query)]
    if others:
        reason = f"the arm does not carry out {' or '.join(repr(action) for action in dict.fromkeys(others))}"
        raise _refusal(query, reason, "ask it to take an object or to put it somewhere")
    if len(actions) > 1:
        said = ", ".join(f"{step.action} the {step.target.category}" for step in query.steps)
        reason = f"the arm carries out one command at a time, and these are {len(actions)} ({said})"
        raise _refusal(query, reason, "give them one by one")
    if query.target.category.split()[-1] in NEVER_TAKEN:
        raise _refusal(query, f"a {query.target.category} is never taken", "name an object that lies on it")


def _is_bare_phrase(query: SpatialQuery) -> bool:
    """True for an object without a verb ("the chick behind the cup"): sent to this action, it is to be taken."""
    try:
        return query.action == "find" and parse(f"take {query.instruction}")[0].target == query.target
    except NotUnderstoodError:
        return False


def is_for_a_person(destination: Destination) -> bool:
    """True if the object is brought to a person, not put somewhere."""
    return destination.relation == "to" and is_person(destination.anchors[0])


def may_be_put(query: SpatialQuery) -> bool:
    """True if a reading names no place, or a possible one: nothing can be put above an object."""
    return query.destination is None or query.destination.relation in _places()


def _places() -> tuple[str, ...]:
    return (*sorted(placeable()), "to")


def _check_destination(query: SpatialQuery, destination: Destination) -> None:
    known = _places()
    if destination.relation not in known:
        _check_plug_in(destination.relation)
        raise _refusal(query, f"an object cannot be placed '{destination.relation}' another", _one_of(known))
    for anchor in destination.anchors:
        _check_phrase(query, anchor)
    for clause in (*destination.also, *destination.excluded):
        if clause.relation not in known:
            _check_plug_in(clause.relation)
            raise _refusal(query, f"'{clause.relation}' cannot describe a place",
                           _one_of(known))  # fmt: skip
        _check_clause(query, clause)
        for anchor in clause.anchors:
            _check_phrase(query, anchor)


def _check_phrase(query: SpatialQuery, phrase: NounPhrase) -> None:
    if is_person(phrase):
        raise _refusal(query, f"the position of '{phrase.category}' cannot be measured", "name a visible object")
    if phrase.superlative is not None and phrase.superlative not in (*superlatives.KEYS, superlatives.MIDDLE):
        raise _refusal(query, f"unknown superlative '{phrase.superlative}'", _one_of(superlatives.KEYS))
    if phrase.ordinal is not None and phrase.ordinal.from_ not in superlatives.ORDINAL_SIDES:
        raise _refusal(query, f"unknown side to count from, '{phrase.ordinal.from_}'",
                       _one_of(superlatives.ORDINAL_SIDES))  # fmt: skip
    if phrase.ordinal is not None and phrase.ordinal.n < 1:
        raise _refusal(query, f"counting starts at 1, not at {phrase.ordinal.n}", "count from 1: 'the first'")
    if phrase.count is not None and phrase.count < 1 and phrase.count != ALL:
        raise _refusal(query, f"cannot act on {phrase.count} objects", "say how many: 1 or more")
    for clause in phrase.relations:
        _check_clause(query, clause)
        for anchor in clause.anchors:
            _check_phrase(query, anchor)


def _check_clause(query: SpatialQuery, clause: RelationClause) -> None:
    """Check that a relation is known and has as many anchors as it takes."""
    if not _is_known(clause.relation):
        _check_plug_in(clause.relation)
        known = (*RELATIONS, *COMPARED, OTHER_THAN)
        raise _refusal(query, f"unknown relation '{clause.relation}'", _one_of(known), "unknown words")
    if any(anchor == NounPhrase("object") for anchor in clause.anchors):
        raise _refusal(query, f"'{clause.relation}' needs an object with a name", "name it: 'behind the cup'")
    if clause.negated and clause.relation == OTHER_THAN:
        raise _refusal(query, f"'not {clause.relation}' is not supported", "say which one it is")
    plural = [is_plural(anchor) for anchor in clause.anchors]
    if clause.relation in COMPARED:
        if len(plural) != 1 or plural[0]:
            raise _refusal(query, f"'{clause.relation}' needs one object to compare with", "name one object")
        return
    if clause.relation == OTHER_THAN:
        return
    relation = RELATIONS[clause.relation]
    if clause.distance is not None and not relation.metric:
        raise _refusal(
            query, f"a stated distance cannot be combined with '{clause.relation}'", "say 'left of' or 'from'"
        )
    if clause.distance is None and clause.relation == "at a distance from":
        raise _refusal(query, "a distance is missing", "add it: '20 cm from the plate'")
    if relation.several == "two":
        # "Between" three cups means among them; for a package's relation three anchors have no defined meaning.
        of_a_kind = plural == [True] and (clause.relation == "between" or clause.anchors[0].count == 2)
        if plural != [False, False] and not of_a_kind:
            raise _refusal(query, f"'{clause.relation}' needs two objects",
                           f"name both: '{clause.relation} the cup and the box'")  # fmt: skip
    elif not plural:
        raise _refusal(query, f"'{clause.relation}' needs a reference object", "name it: 'behind the cup'")
    elif any(plural) and (relation.several == "one" or len(plural) > 1):
        raise _refusal(query, f"'{clause.relation}' takes one reference object", "name one object at a time")
    elif relation.several == "set" and not plural[0]:
        raise _refusal(query, f"'{clause.relation}' needs several objects", f"say '{clause.relation} the cups'")


def _is_known(name: str) -> bool:
    """True if a relation can be judged."""
    return name in RELATIONS or name in COMPARED or name == OTHER_THAN


def _check_plug_in(name: str) -> None:
    error = plugged().errors.get(name)
    if error is not None and not _is_known(name):
        raise copy.copy(error)  # raising the same one again would keep every earlier traceback


def is_plural(phrase: NounPhrase) -> bool:
    """True if a phrase means several objects."""
    return phrase.count not in (None, 1)


def _one_of(names: Iterable[str]) -> str:
    return "choose one of: " + ", ".join(names)


def _refusal(query: SpatialQuery, reason: str, repair: str, kind: RefusedWords = "refused") -> NotUnderstoodError:
    """The span is that of the words that the reason quotes, where the instruction has them once, else the whole."""
    quoted = re.search("'(?:not )?(.+?)'", reason)
    found = list(re.finditer(rf"\b{re.escape(quoted[1])}\b", query.instruction, re.IGNORECASE)) if quoted else []
    span = found[0].span() if len(found) == 1 else (0, len(query.instruction))
    return NotUnderstoodError(query.instruction, span, reason, repair, kind)


# --------------------------------------------------------------------------------------------------
# List every phrase of a reading that must be found in the image.


def mentioned(query: SpatialQuery) -> Iterator[NounPhrase]:
    """Phrases of the target, its anchors, the destination and the objects to avoid, in the order of appearance."""
    for phrase in asked_phrases(query):
        yield from nested(phrase)
    if query.destination is not None and not is_for_a_person(query.destination):
        for anchor in () if is_shift(query.destination) else query.destination.anchors:
            yield from nested(anchor)
        for clause in (*query.destination.also, *query.destination.excluded):
            for anchor in clause.anchors:
                yield from nested(anchor)
    for avoided in query.avoid:
        yield from nested(avoided)


def nested(phrase: NounPhrase) -> Iterator[NounPhrase]:
    """A phrase and all phrases inside it."""
    yield phrase
    for clause in phrase.relations:
        for anchor in clause.anchors:
            yield from nested(anchor)
