# SPDX-License-Identifier: Apache-2.0
"""Refuse lengths that would be read as objects: "a gap of 12cm", "the orange 12cm away", "two foot ruler"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language.distances import is_unit
from spatial_vlm_ros.language.refusals import DISTANCE_HERE
from spatial_vlm_ros.types import NounPhrase, SpatialQuery

_WRITTEN = re.compile(r"[\d.,½¼¾/]+([a-z]+)")  # a number with its unit, in one word
_THINGS_TOO = frozenset({"foot", "feet", "hand", "hands", "finger", "fingers", "yard", "yards", "m"})


def check_lengths(readings: Iterable[SpatialQuery], instruction: str) -> None:
    """Refuse readings in which a length is the name of an object."""
    for reading in readings:
        for phrase in _phrases(reading):
            word = _length_in(phrase)
            if word:
                at = instruction.lower().find(word)
                span = (at, at + len(word)) if at >= 0 else (0, len(instruction))  # "feet" became "foot"
                raise NotUnderstoodError(instruction, span, *DISTANCE_HERE)


def _length_in(phrase: NounPhrase) -> str:
    """The word in a name that is a length, or ""."""
    words = phrase.category.split()
    for word in words:
        written = _WRITTEN.fullmatch(word)
        if written is not None and is_unit(written[1]):
            return word
    if words in (["half"], ["halve"]) and phrase.superlative is None and not phrase.relations:
        return "half"  # "a foot and a half between the cans"
    first = words[0] if words else ""
    counted = phrase.count not in (None, -1) and len(words) > 1
    alone = len(words) == 1 and first not in _THINGS_TOO
    return first if is_unit(first) and (alone or counted) else ""


def _phrases(query: SpatialQuery) -> Iterator[NounPhrase]:
    yield from _inside(query.target)
    for place in (query.destination, *(step.destination for step in query.steps)):
        if place is not None:
            of_place = (anchor for clause in (*place.also, *place.excluded) for anchor in clause.anchors)
            for anchor in (*place.anchors, *of_place):
                yield from _inside(anchor)
    for phrase in (*query.avoid, *(step.target for step in query.steps)):
        yield from _inside(phrase)


def _inside(phrase: NounPhrase) -> Iterator[NounPhrase]:
    yield phrase
    for clause in phrase.relations:
        for anchor in clause.anchors:
            yield from _inside(anchor)
