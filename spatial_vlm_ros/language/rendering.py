# SPDX-License-Identifier: Apache-2.0
"""Write queries as words, for people to read, and so that the parser reads the same query again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from spatial_vlm_ros.language import distances, lexicon, part_words, vocabulary
from spatial_vlm_ros.language.patterns import SETS, expand
from spatial_vlm_ros.language.words import plural
from spatial_vlm_ros.types import (
    AccountedWord,
    Destination,
    Distance,
    FrameOfReference,
    NounPhrase,
    RelationClause,
    SpatialQuery,
    Step,
)

_ORDINAL_WORDS = {n: word for word, n in lexicon.ORDINALS.items()}
_NUMBER_WORDS = {1: "one"} | {n: word for word, n in lexicon.NUMBERS.items()}
_ORDER_WORDS = {"near": "front", "far": "back"}
_FRAME_WORDS = {
    FrameOfReference.VIEWER: "(as seen from the camera)",
    FrameOfReference.ROBOT: "(from your perspective)",
    FrameOfReference.SPEAKER: "(from my perspective)",
    FrameOfReference.WORLD: "(in the world frame)",
    FrameOfReference.OBJECT: "(from its own perspective)",
}
_ACTION_WORDS = {
    "pick": "pick up",
    "give": "give me",
    "verify": "there is",
    "go": "go to",
    "point": "point at",
    "reach": "reach for",
}
_ONTO_THE_TOP_OF = "onto the top of"
_WITH_A_DISTANCE = {"at a distance from": "from"}


def describe(phrase: NounPhrase) -> str:
    """Write a noun phrase as words: "the yellow block in front of the wipes"; persons are "me" and "you"."""
    if phrase == NounPhrase(phrase.category) and phrase.category in lexicon.PERSONS:
        return phrase.category
    several = phrase.count not in (None, 1)
    words = ["any"] if phrase.choice else ["all" if phrase.count == -1 else "the"]
    if phrase.superlative is not None:
        words += [phrase.superlative, *([phrase.also] if phrase.also else []), *_frame(phrase.frame)]
    if phrase.ordinal is not None:
        n = phrase.ordinal.n
        ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
        words += [_ORDINAL_WORDS.get(n, f"{n}{ending}"), *_frame(phrase.frame)]
        words += [phrase.ordinal.from_] if phrase.ordinal.from_ in lexicon.SIZE_ORDERS else []
    if phrase.count is not None and phrase.count >= 1:
        words.append(_NUMBER_WORDS.get(phrase.count, str(phrase.count)))
    words += _attributes(phrase)
    *modifiers, head = phrase.category.split(" ")
    words += [*modifiers, plural(head) if several else head]
    if phrase.ordinal is not None and phrase.ordinal.from_ not in lexicon.SIZE_ORDERS:
        words.append(f"from the {_ORDER_WORDS.get(phrase.ordinal.from_, phrase.ordinal.from_)}")
    words += _after_noun(phrase)
    for i, clause in enumerate(phrase.relations):
        words.append(_clause(clause, first=i == 0))
    return " ".join(words)


def named(phrase: NounPhrase) -> str:
    """Write only the name and attributes of a phrase: "red mug that is not big", "jar with blue lid"."""
    return " ".join((*_attributes(phrase), phrase.category, *_after_noun(phrase)))


def _attributes(phrase: NounPhrase) -> list[str]:
    return [word for word in phrase.attributes if not word.startswith((lexicon.NOT, lexicon.WITH))]


def _after_noun(phrase: NounPhrase) -> list[str]:
    features = [word for word in phrase.attributes if word.startswith(lexicon.WITH)]
    denied = [word.removeprefix(lexicon.NOT) for word in phrase.attributes if word.startswith(lexicon.NOT)]
    features += ["without " + word.removeprefix(lexicon.WITH) for word in denied if word.startswith(lexicon.WITH)]
    denied = [word for word in denied if not word.startswith(lexicon.WITH)]
    return [*(["that is not", " or ".join(denied)] if denied else []), *features]


def render(query: SpatialQuery) -> str:
    """Write a query as an instruction ("open the drawer, then pick up the mug") with the query among its readings."""
    steps = query.steps or (Step(query.action, query.target, query.destination),)
    avoided = (f"avoid {describe(phrase)}" for phrase in query.avoid)
    return ", then ".join((*(_command(step) for step in steps), *avoided))


def say_step(step: Step | SpatialQuery) -> str:
    """Write what one step asks for, for a person: "move the mug next to the box", "touch the cup"."""
    if step.action == "avoid":
        return f"touch {describe(step.target)}"
    verbs = {"move": ("put", "move"), "discard": ("throw", "throw away"), "release": ("put", "let go of")}
    return _command(step).replace(*verbs.get(step.act, ("", "")), 1)


def left_out(instruction: str, words: Sequence[AccountedWord]) -> list[str]:
    """Runs of words of an instruction that were left out or taken back, as said, in quotes, for a person."""
    found: list[tuple[int, int, str]] = []
    for word in words:
        if word.role not in ("left out", "taken back", "contrast", "slip"):
            continue
        if found and found[-1][2] == word.role and not instruction[found[-1][1] : word.start].strip(" ,"):
            found[-1] = (found[-1][0], word.end, word.role)
        else:
            found.append((word.start, word.end, word.role))
    return [f'"{instruction[a:b]}"' + ("" if role in ("left out", "slip") else f" ({role})") for a, b, role in found]


def unheeded(query: SpatialQuery | None) -> str:
    """What a person should look at of the words that were left out or taken back; empty if there are only sounds."""
    if query is None or not {"left out", "taken back"} & {word.role for word in query.account}:
        return ""
    return ", ".join(left_out(query.instruction, query.account))


def _command(step: Step | SpatialQuery) -> str:
    action = _ACTION_WORDS.get(step.action)
    if action is None:
        ways = [words for pattern in lexicon.ACTIONS.get(step.action, ()) for words in expand(pattern)]
        action = step.action if step.action in ways or not ways else ways[0]
    verb = "put" if step.action == "place" else action
    place = [] if step.destination is None else [_destination(step.destination, step.action)]
    return " ".join((verb, describe(step.target), *place))


def _frame(frame: FrameOfReference | None) -> list[str]:
    return [] if frame is None else [_FRAME_WORDS[frame]]


def _measured(distance: Distance | None, name: str) -> list[str]:
    return [name] if distance is None else [distances.say_distance(distance), _WITH_A_DISTANCE.get(name, name)]


def _clause(clause: RelationClause, first: bool) -> str:
    bare_means_elsewhere = clause.relation in SETS.bare_means_elsewhere and clause.distance is None
    words = [] if first else ["and"]
    words += ["that is"] if clause.negated or bare_means_elsewhere else []
    words += ["not"] if clause.negated else []
    name = clause.relation
    if name in vocabulary.RELATIONS and name in vocabulary.RELATIONS[name].motion:
        name = next(expand(vocabulary.RELATIONS[name].surfaces[0]))
    name = clause.preposition if clause.preposition == part_words.ON_TOP_OF else name
    anchors = _anchors(clause.relation, clause.anchors)
    return " ".join([*words, *_measured(clause.distance, name), *_frame(clause.frame), anchors])


def _destination(destination: Destination, action: str) -> str:
    """Write the destination, with a word of motion if the verb needs one."""
    name = "away from" if action in ("push", "pull") and destination.relation == "far from" else destination.relation
    if action != "place" and name in vocabulary.RELATIONS and vocabulary.RELATIONS[name].motion:
        name = next(expand(vocabulary.RELATIONS[name].motion[0]))
    if destination.preposition == part_words.ON_TOP_OF:
        name = part_words.ON_TOP_OF if action == "place" else _ONTO_THE_TOP_OF
    anchors = _anchors(destination.relation, destination.anchors)
    shift = next((side for side, relation in lexicon.SHIFTS.items() if relation == destination.relation), None)
    if destination.anchors == (NounPhrase(lexicon.ITSELF),) and shift is not None and destination.distance is not None:
        said = [distances.say_distance(destination.distance), "to the", shift, *_frame(destination.frame)]
    elif destination.excluded and destination.anchors == (NounPhrase(lexicon.SURFACE),):
        said = ["anywhere"]
    else:
        said = [*_measured(destination.distance, name), *_frame(destination.frame), anchors]
    for clause in destination.also:
        said += [",", *_frame(clause.frame), _clause(clause, first=True)]
    for clause in destination.excluded:
        said += ["but not", *_frame(clause.frame), _clause(clause, first=True)]
    return " ".join(said).replace(" ,", ",")


def _anchors(relation: str, anchors: tuple[NounPhrase, ...]) -> str:
    joint = " from " if relation == "on the other side of" else " and "
    return joint.join(describe(anchor) for anchor in anchors)


# Subject of a question about space, and what is asked about it.


def merged(subject: NounPhrase, asked: NounPhrase) -> NounPhrase:
    """A phrase merged with what is asked about it."""
    attributes = tuple(dict.fromkeys((*subject.attributes, *asked.attributes)))
    ordered = subject.superlative is None and subject.ordinal is None
    return dataclasses.replace(
        subject, attributes=attributes, relations=(*subject.relations, *asked.relations),
        superlative=asked.superlative if ordered else subject.superlative,
        ordinal=asked.ordinal if ordered else subject.ordinal, frame=asked.frame if ordered else subject.frame,
    )  # fmt: skip


def subject_of(query: SpatialQuery) -> NounPhrase:
    """Subject of a yes/no question: its target without what is asked about it."""
    asked = query.question.asked if query.question is not None else None
    target = query.target
    if asked is None:
        return target
    ordered = asked.superlative is not None or asked.ordinal is not None
    ordered = ordered and (asked.superlative, asked.ordinal) == (target.superlative, target.ordinal)
    return dataclasses.replace(
        target,
        attributes=tuple(word for word in target.attributes if word not in asked.attributes),
        relations=tuple(clause for clause in target.relations if clause not in asked.relations),
        superlative=None if ordered else target.superlative, ordinal=None if ordered else target.ordinal,
        frame=None if ordered else target.frame,
    )  # fmt: skip


def asked_phrases(query: SpatialQuery) -> Iterator[NounPhrase]:
    """Yield the phrases of a query to be found in the image: of a yes/no question not what is asked about it."""
    question = query.question
    yield subject_of(query)
    if question is None:
        return
    for phrase in (question.asked, question.other, *question.choices):
        if phrase is None:
            continue
        if phrase.category != "object" or question.kind != "whether" or phrase is question.other:
            yield phrase
        else:
            for clause in phrase.relations:
                yield from clause.anchors
