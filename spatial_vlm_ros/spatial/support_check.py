# SPDX-License-Identifier: Apache-2.0
"""Refuse by name what can be parsed but not judged, before anything is measured."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from spatial_vlm_ros.errors import NotExecutableError, NotUnderstoodError, RefusedWords
from spatial_vlm_ros.language import parse, plugged
from spatial_vlm_ros.language.lexicon import LIVING, MOVING, NEVER_TAKEN, SUPERLATIVE_OF_ORDER
from spatial_vlm_ros.language.patterns import word_set
from spatial_vlm_ros.language.rendering import asked_phrases, say_step
from spatial_vlm_ros.language.steps import by_step, keeps_away
from spatial_vlm_ros.spatial import superlatives
from spatial_vlm_ros.spatial.clauses import COMPARED, OTHER_THAN
from spatial_vlm_ros.spatial.regions import is_person, is_shift
from spatial_vlm_ros.spatial.relations import RELATIONS
from spatial_vlm_ros.spatial.spot_judging import placeable
from spatial_vlm_ros.types import Destination, NounPhrase, RelationClause, SpatialQuery, Step
from spatial_vlm_ros.types.query import Act

ALL = -1
"""`NounPhrase.count` of a plural without a number."""
_WHERE = "say where with 'on', 'in', 'under', 'next to', 'between', 'behind', 'in front of', 'left of' or 'right of'"


def check_supported(query: SpatialQuery) -> None:
    """Refuse by name what can be parsed but not be judged, and acts that have no pose; every step is checked."""
    for number, step in enumerate(by_step(query), 1):
        check_has_pose(step)
        for forbidden in query.forbids:
            if contradicts(step, forbidden):
                reason = f"'{say_step(step)}' and 'do not {say_step(forbidden)}' contradict each other"
                raise _refusal(query, reason, "say only what to do")
        try:
            _check_step(step)
        except NotUnderstoodError as error:
            if not query.steps:
                raise
            reason = f"step {number}, {say_step(step)}: {error.reason}"
            raise _refusal(query, reason, error.repair, error.kind) from error


def _check_step(query: SpatialQuery) -> None:
    if query.act == "avoid" and is_person(query.target):
        return
    if query.action in MOVING and query.target.category.split()[-1] in NEVER_TAKEN:
        raise _refusal(query, f"a {query.target.category} is never taken", "name an object that lies on it")
    for phrase in (query.target, *(p for p in asked_phrases(query) if p != query.target)):
        _check_phrase(query, phrase)
    for avoided in query.avoid:
        if is_person(avoided) or avoided == query.target:
            raise _refusal(query, "the arm cannot avoid this", "name another object that is visible")
        _check_phrase(query, avoided)
    place = query.destination
    if place is None or is_for_a_person(place):
        return
    known = _places()
    if place.relation not in known:
        _check_plug_in(place.relation)
        raise _refusal(query, f"an object cannot be placed '{place.relation}' another", _WHERE)
    for anchor in place.anchors:
        _check_phrase(query, anchor)
    for clause in (*place.also, *place.excluded):
        if clause.relation not in known:
            _check_plug_in(clause.relation)
            raise _refusal(query, f"'{clause.relation}' cannot describe a place", _WHERE)
        _check_clause(query, clause)
        for anchor in clause.anchors:
            _check_phrase(query, anchor)


# --------------------------------------------------------------------------------------------------
# Acts: which have a pose, which contradict a prohibition, and which an arm carries out.

_WITHOUT_POSE: frozenset[Act] = frozenset({"wipe", "discard", "hit"})
_LOOKING: frozenset[Act] = frozenset({"find", "look", "ask", "point", "stop", "wait", "avoid"})
_MADE_OF = word_set("toy plush stuffed rubber plastic wooden ceramic metal glass paper porcelain")
SAME_MOTION: Mapping[Act, Act] = {"move": "place", "put into": "place"}
"""Acts that an arm carries out as another one: it takes the object and puts it down at its place."""


def check_has_pose(query: SpatialQuery) -> None:
    """Refuse acts that no pose describes, and acts on a person or an animal.

    Raises:
        NotExecutableError: such an act; it names the act and the object.
    """
    if query.act in _WITHOUT_POSE:
        reason, repair = f"'{query.act}' has no pose", "ask to take, place, push, open or close an object"
        raise NotExecutableError(query.act, say_step(query), reason, repair)
    head, named = query.target.category.split()[-1], query.target.category.split()[:-1]
    alive = head in LIVING and not _MADE_OF.intersection((*named, *query.target.attributes)) and "of" not in named
    if acts_on(query) and (alive or is_person(query.target)):
        reason, repair = f"'{query.target.category}' is a person or an animal", "name an object"
        raise NotExecutableError(query.act, say_step(query), reason, repair)


def acts_on(step: SpatialQuery) -> bool:
    """True if a step does something to its object, and does not only look at it or talk about it."""
    return step.act not in _LOOKING


def contradicts(step: SpatialQuery, forbidden: Step) -> bool:
    """True if a step is what another one forbids; questions and looking contradict nothing."""
    told, of = forbidden.target, step.target
    plain = not told.relations and told.superlative is None and told.ordinal is None
    same = plain and told.category in ("object", of.category) and set(told.attributes) <= set(of.attributes)
    if not acts_on(step) or not (told == of or same):
        return False
    place = forbidden.destination
    acts = {SAME_MOTION.get(each.act, each.act) for each in (step, forbidden)}
    return keeps_away(forbidden) or (len(acts) == 1 and place in (None, step.destination))


def check_carried_out(query: SpatialQuery, acts: Collection[str]) -> tuple[Act, ...]:
    """The act of each step that an arm carries out; refuse other acts.

    Args:
        acts: the acts that it carries out; "place" includes those of `SAME_MOTION`.

    Raises:
        NotExecutableError: another act; it names what was understood.
        NotUnderstoodError: a table, shelf or floor is to be taken.
    """
    steps = by_step(query)
    meant = [_meant(step) for step in steps]
    for act, step in zip(meant, steps, strict=True):
        if act not in acts and SAME_MOTION.get(act) not in acts:
            reason = f"this arm does not carry out '{act}'"
            raise NotExecutableError(act, say_step(step), reason, f"its acts are {', '.join(acts)}")
        if step.target.category.split()[-1] in NEVER_TAKEN:
            raise _refusal(query, f"a {step.target.category} is never taken", "name an object that lies on it")
    return tuple(meant)


def carries_out(query: SpatialQuery, acts: Collection[str]) -> bool:
    """True if one step is asked, and an arm with these acts carries it out, as `check_carried_out` decides."""
    try:
        return len(check_carried_out(query, acts)) == 1
    except (NotExecutableError, NotUnderstoodError):
        return False


def _meant(step: SpatialQuery) -> Act:
    """The act of a step; an object without a verb ("the chick behind the cup"), sent to an arm, is to be taken."""
    if step.act != "find":
        return step.act
    try:
        taken = parse(f"take {step.instruction}")[0]
    except NotUnderstoodError:
        return step.act
    return "take" if (taken.act, taken.target) == ("take", step.target) else step.act


def is_for_a_person(destination: Destination) -> bool:
    """True if the object is brought to a person, not put somewhere."""
    return destination.relation == "to" and is_person(destination.anchors[0])


def may_be_put(query: SpatialQuery) -> bool:
    """True if a reading names no place, or a possible one: nothing can be put above an object."""
    return query.destination is None or query.destination.relation in _places()


def _places() -> tuple[str, ...]:
    return (*sorted(placeable()), "to")


def _check_phrase(query: SpatialQuery, phrase: NounPhrase) -> None:
    if is_person(phrase):
        raise _refusal(query, f"the position of '{phrase.category}' cannot be measured", "name a visible object")
    if phrase.superlative is not None and phrase.superlative not in (*superlatives.KEYS, superlatives.MIDDLE):
        raise _refusal(query, f"unknown superlative '{phrase.superlative}'", _one_of(superlatives.KEYS))
    if phrase.ordinal is not None and phrase.ordinal.from_ not in SUPERLATIVE_OF_ORDER:
        raise _refusal(query, f"unknown side to count from, '{phrase.ordinal.from_}'",
                       _one_of(SUPERLATIVE_OF_ORDER))  # fmt: skip
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
        raise _refusal(query, f"unknown relation '{clause.relation}'", _WHERE, "unknown words")
    nothing = clause.negated and clause.relation in ("containing", "supporting")
    if not nothing and any(anchor == NounPhrase("object") for anchor in clause.anchors):
        raise _refusal(query, f"'{clause.relation}' needs an object with a name", "name it: 'behind the cup'")
    if clause.negated and clause.relation == OTHER_THAN:
        raise _refusal(query, f"'not {clause.relation}' is not supported", "say which one it is")
    plural = [anchor.count not in (None, 1) for anchor in clause.anchors]
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
    return name in RELATIONS or name in COMPARED or name == OTHER_THAN


def _check_plug_in(name: str) -> None:
    error = plugged().errors.get(name)
    if error is not None and not _is_known(name):
        raise copy.copy(error)  # raising the same one again would keep every earlier traceback


def _one_of(names: Iterable[str]) -> str:
    return "choose one of: " + ", ".join(names)


def _refusal(query: SpatialQuery, reason: str, repair: str, kind: RefusedWords = "refused") -> NotUnderstoodError:
    quoted = re.search("'(?:not )?(.+?)'", reason)
    found = list(re.finditer(rf"\b{re.escape(quoted[1])}\b", query.instruction, re.IGNORECASE)) if quoted else []
    span = found[0].span() if len(found) == 1 else (0, len(query.instruction))
    return NotUnderstoodError(query.instruction, span, reason, repair, kind)


# --------------------------------------------------------------------------------------------------
# List every phrase of a reading that must be found in the image.


def mentioned(query: SpatialQuery) -> Iterator[NounPhrase]:
    """Phrases of every step's target, its anchors and its destination, and of the objects to avoid, in this order."""
    for step in by_step(query):
        for phrase in asked_phrases(step):
            yield from nested(phrase)
        if step.destination is not None and not is_for_a_person(step.destination):
            for anchor in () if is_shift(step.destination) else step.destination.anchors:
                yield from nested(anchor)
            for clause in (*step.destination.also, *step.destination.excluded):
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
