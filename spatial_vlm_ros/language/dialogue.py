# SPDX-License-Identifier: Apache-2.0
"""Answers to a question: "the red one" after "grab the cup" means the red cup.

Knows how words add to an instruction; knows nothing of the scene that the question was about.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language.parser import parse
from spatial_vlm_ros.types import NounPhrase, SpatialQuery

_OWN_NAME = 0.85  # share of the reading that another noun names another thing
_GENERIC = "object"  # the category of "one", "it" and "thing"
_PREAMBLE = re.compile(r"^\s*(?:(?:no|yes|ok|okay|well|i mean|sorry)\b[\s,.!-]*)+", re.IGNORECASE)
_BARE = re.compile(r"^(?:the\s+)?([a-z][a-z -]*?)(?:\s+one)?$", re.IGNORECASE)
_ACTIONS_OF_A_PHRASE = ("find",)  # what a noun phrase without a verb parses to


def parse_dialogue(instruction: str, follows: Sequence[str] = ()) -> tuple[SpatialQuery, ...]:
    """All readings of an instruction that may answer a question.

    Args:
        instruction: the words.
        follows: what was said before in this dialogue, oldest first: an instruction and earlier answers to questions
            about it; empty = `instruction` stands alone.

    Returns:
        The readings of the first instruction with everything said later added to its target. Words with a verb of their
        own ("grab the box") are a new instruction: what came before is dropped.

    Raises:
        InputError, NotUnderstoodError: as `parse`.
    """
    if not follows:
        return parse(instruction)
    queries = parse(follows[0])
    for answer in (*follows[1:], instruction):
        queries = _with_answer(queries, answer)
    return queries


def _with_answer(queries: tuple[SpatialQuery, ...], answer: str) -> tuple[SpatialQuery, ...]:
    said = parse_answer(answer)
    if said[0].action not in _ACTIONS_OF_A_PHRASE:
        return said
    added = said[0].target
    one = re.search(r"\bones?\b", answer, re.IGNORECASE) is not None
    readings = [
        dataclasses.replace(query, instruction=answer, target=_combined(query.target, added, category),
                            preference=query.preference * share)
        for query in queries
        for category, share in _categories(query.target.category, added.category, one).items()
    ]  # fmt: skip
    return tuple(dataclasses.replace(reading, readings=len(readings)) for reading in readings)


def parse_answer(answer: str) -> tuple[SpatialQuery, ...]:
    """Readings of an answer: a few bare words ("red", "left") are taken as "the red one".

    Raises:
        InputError, NotUnderstoodError: as `parse`.
    """
    words = _PREAMBLE.sub("", answer)
    bare = _BARE.match(words.strip().rstrip(".!"))
    if bare is not None and len(bare[1].split()) <= 2:
        try:
            return parse(f"the {bare[1]} one")
        except NotUnderstoodError:
            pass
    return parse(words or answer)


def _combined(first: NounPhrase, added: NounPhrase, category: str) -> NounPhrase:
    """What both say of one thing; where they clash, the later words count."""
    order = added.superlative is not None or added.ordinal is not None
    return NounPhrase(
        category=category,
        attributes=tuple(dict.fromkeys((*first.attributes, *added.attributes))),
        count=first.count,
        superlative=added.superlative if order else first.superlative,
        ordinal=added.ordinal if order else first.ordinal,
        relations=(*first.relations, *added.relations),
        frame=added.frame or first.frame,
    )


def _categories(first: str, added: str, one: bool) -> dict[str, float]:
    """What the thing may be called now, with the share of each reading.

    "One" and the noun again keep the noun. Another noun with "one" tells its kind: "the bonnet one" of the chicks is a
    bonnet chick. Without "one" it is rather a thing of its own name ("the mug"), if the scene has one.
    """
    if added in (_GENERIC, first):
        return {first: 1.0}
    if first == _GENERIC or added.endswith(f" {first}"):
        return {added: 1.0}
    if one:
        return {f"{added} {first}": 1.0}
    return {added: _OWN_NAME, f"{added} {first}": 1.0 - _OWN_NAME}
