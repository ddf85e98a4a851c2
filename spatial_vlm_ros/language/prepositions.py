# SPDX-License-Identifier: Apache-2.0
"""Meaning of a preposition beyond its relation: "on top of" a shelf is not on a lower board of it."""

from __future__ import annotations

from typing import Final, Literal

from spatial_vlm_ros.types.query import NounPhrase, Preposition

ON_TOP_OF: Final[Literal["on top of"]] = "on top of"
IN: Final[Literal["in"]] = "in"
ON: Final[Literal["on"]] = "on"

_IN = frozenset({"in", "into", "inside", "within"})
_ON = frozenset({"on", "onto", "upon"})
_TOP = frozenset({"top", "atop", "ontop", "upper"})


def preposition_of(relation: str, words: str) -> Preposition | None:
    """The preposition that a relation was said with; None if it adds nothing to the relation's name.

    Args:
        words: the words of the relation ("in the left half of").
    """
    if relation == "on":
        return ON_TOP_OF if _TOP.intersection(words.split()) else None
    if not relation.startswith("at the "):
        return None
    first = words.split(" ", 1)[0]
    return IN if first in _IN else ON if first in _ON else None


def prepositions(phrase: NounPhrase) -> tuple[Preposition | None, ...]:
    """Prepositions of all clauses of a phrase and of its anchors; equality of phrases ignores them."""
    found: list[Preposition | None] = []
    for clause in phrase.relations:
        found.append(clause.preposition)
        for anchor in clause.anchors:
            found += prepositions(anchor)
    return tuple(found)
