# SPDX-License-Identifier: Apache-2.0
"""Queries back to words: for a person to read, and such that the parser reads the same again."""

from __future__ import annotations

from spatial_vlm_ros.language.inflection import plural
from spatial_vlm_ros.language.lexicon import ACTIONS, NUMBERS, ORDINALS, PERSONS
from spatial_vlm_ros.language.patterns import expand
from spatial_vlm_ros.language.relations import RELATIONS
from spatial_vlm_ros.types import Destination, FrameOfReference, NounPhrase, RelationClause, SpatialQuery

_ORDINAL_WORDS = {n: word for word, n in ORDINALS.items()}
_NUMBER_WORDS = {1: "one"} | {n: word for word, n in NUMBERS.items()}
_ORDER_WORDS = {"near": "front", "far": "back"}
_FRAME_WORDS = {
    FrameOfReference.VIEWER: "(as seen from the camera)",
    FrameOfReference.ROBOT: "(from your perspective)",
    FrameOfReference.SPEAKER: "(from my perspective)",
    FrameOfReference.WORLD: "(in the world frame)",
    FrameOfReference.OBJECT: "(from its own perspective)",
}
_ACTION_WORDS = {"pick": "pick up", "give": "give me", "verify": "there is", "go": "go to", "reach": "reach for"}
_BARE_MEANS_ELSEWHERE = frozenset({"from", "off", "out of", "with", "without"})


def describe(phrase: NounPhrase) -> str:
    """A noun phrase in words.

    Args:
        phrase: the phrase.

    Returns:
        For example "the yellow block in front of the wipes"; persons are "me" and "you".
    """
    if phrase == NounPhrase(phrase.category) and phrase.category in PERSONS:
        return phrase.category
    several = phrase.count not in (None, 1)
    words = ["all" if phrase.count == -1 else "the"]
    if phrase.superlative is not None:
        words += [phrase.superlative, *_frame(phrase.frame)]
    if phrase.ordinal is not None:
        n = phrase.ordinal.n
        words += [_ORDINAL_WORDS.get(n, f"{n}th"), *_frame(phrase.frame)]
    if phrase.count is not None and phrase.count >= 1:
        words.append(_NUMBER_WORDS.get(phrase.count, str(phrase.count)))
    words += phrase.attributes
    *modifiers, head = phrase.category.split(" ")
    words += [*modifiers, plural(head) if several else head]
    if phrase.ordinal is not None:
        words.append(f"from the {_ORDER_WORDS.get(phrase.ordinal.from_, phrase.ordinal.from_)}")
    for i, clause in enumerate(phrase.relations):
        words.append(_clause(clause, first=i == 0))
    return " ".join(words)


def render(query: SpatialQuery) -> str:
    """A query as an instruction, such that `parse` of it has the query among its readings.

    Args:
        query: the query; its `instruction`, `readings` and `preference` are not looked at.

    Returns:
        For example "put the mug behind the box on the tray".
    """
    action = _ACTION_WORDS.get(query.action)
    if action is None:
        action = next(expand(ACTIONS[query.action][0])) if query.action in ACTIONS else query.action
        action = query.action if query.action in ACTIONS.get(query.action, ()) else action
    words = "put" if query.action == "place" else action
    words += " " + describe(query.target)
    if query.destination is not None:
        words += " " + _destination(query.destination, query.action)
    return words


def _frame(frame: FrameOfReference | None) -> list[str]:
    return [] if frame is None else [_FRAME_WORDS[frame]]


def _clause(clause: RelationClause, first: bool) -> str:
    """One clause with its connector."""
    link = "that is" if clause.negated or clause.relation in _BARE_MEANS_ELSEWHERE else ""
    words = [] if first else ["and"]
    if link:
        words.append(link)
    if clause.negated:
        words.append("not")
    name = clause.relation
    if name in RELATIONS and name in RELATIONS[name].motion:
        name = next(expand(RELATIONS[name].surfaces[0]))
    return " ".join([*words, name, *_frame(clause.frame), _anchors(clause.anchors)])


def _destination(destination: Destination, action: str) -> str:
    """Where something is to go; with a word of motion where the verb needs one."""
    name = destination.relation
    if action != "place" and name in RELATIONS and RELATIONS[name].motion:
        name = next(expand(RELATIONS[name].motion[0]))
    return " ".join([name, *_frame(destination.frame), _anchors(destination.anchors)])


def _anchors(anchors: tuple[NounPhrase, ...]) -> str:
    return " and ".join(describe(anchor) for anchor in anchors)
