# SPDX-License-Identifier: Apache-2.0
"""Bring phrases about parts into one form: "the table centre" becomes "the centre of the table".

An object put "to" or standing "at" a part is on it. "The bin with the banana" has the banana in it or on it, if it is
something that holds objects.
"""

from __future__ import annotations

from dataclasses import replace

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language.part_words import (
    ALONG_BOTH,
    BURNERS,
    CENTRES,
    CLOSING,
    COMPARTMENTS,
    CORNERS,
    DIVIDED,
    DOORS,
    DRAWERS,
    EDGES,
    LEVELS,
    NEVER_LABELLED,
    OPEN_CONTAINERS,
    SHELVED,
    TRAYS,
    WHOLES,
)
from spatial_vlm_ros.language.prepositions import IN
from spatial_vlm_ros.language.wordlists import PARTS, SURFACES
from spatial_vlm_ros.types import Destination, NounPhrase, RelationClause, SpatialQuery, Step

_PARTS = (ALONG_BOTH | CENTRES | EDGES) - DOORS
_BOARDS = SURFACES - (SHELVED | CLOSING | DRAWERS | DIVIDED)  # flat, with no inside
_FLAT = frozenset({"plate", "dish", "saucer"})
_AT = frozenset({"at", "to", "by"})
_SUPERLATIVE_OF_SIDE = {
    "at the left side of": "leftmost", "at the right side of": "rightmost", "at the front of": "nearest",
    "at the back of": "farthest",
}  # fmt: skip
AT_SIDES = {superlative: side for side, superlative in _SUPERLATIVE_OF_SIDE.items()}
"""Relation to a whole for objects at its leftmost, … end."""
_WITH_TOOLS = frozenset({"wipe", "push", "pull", "touch", "turn", "throw"})
"""Actions whose "with the cloth" may name a tool, so that its meaning is not guessed."""
_ONE_OF_SEVERAL = frozenset({"at the corner of", "at the edge of", "at the end of"})
_COMPARING = frozenset({"closest to", "farthest from"})
_FLAT_SIDE = {"highest": "farthest", "lowest": "nearest"}


def in_parts(query: SpatialQuery) -> SpatialQuery:
    """Bring a query's phrases about parts into one form."""
    to = query.destination
    if to is not None and to.relation in _ONE_OF_SEVERAL:
        compared = [each.relation for anchor in to.anchors for each in anchor.relations if each.relation in _COMPARING]
        if compared:
            raise NotUnderstoodError(
                query.instruction, (0, len(query.instruction)),
                f"it is unclear whether {compared[0]!r} describes the {to.relation.split(' ')[2]} or the "
                f"{to.anchors[0].category}",
                'say the sides: "at the back left corner of the tray"',
            )  # fmt: skip
    return replace(
        query,
        target=_phrase(query.target, query.action in _WITH_TOOLS),
        destination=_destination(query.destination),
        avoid=tuple(map(_phrase, query.avoid)),
        steps=tuple(Step(s.action, _phrase(s.target), _destination(s.destination)) for s in query.steps),
    )


def corner_of(whole: NounPhrase, sides: tuple[str, ...], clause: RelationClause) -> RelationClause:
    """The corner at some sides of a whole, as a place to put something: on it, or in it for a container.

    Args:
        sides: relations ("at the back of", "at the left side of").
        clause: what was said, with its frame.
    """
    *first, last = (_SUPERLATIVE_OF_SIDE[side] for side in sides)
    corner = NounPhrase(
        "corner", superlative=first[0] if first else last, also=last if first else None, frame=clause.frame,
        relations=(RelationClause("part of", (whole,)),),
    )  # fmt: skip
    contained = clause.preposition == IN and whole.category.split(" ")[-1] in OPEN_CONTAINERS - TRAYS
    return RelationClause("inside" if contained else "on", (corner,), preposition=clause.preposition)


def _phrase(phrase: NounPhrase, tools: bool = False) -> NounPhrase:
    """Bring a phrase and those inside it into one form; `tools`: its "with" may name a tool."""
    relations = tuple(
        clause if tools and clause.relation == "with" else _clause(clause, phrase) for clause in phrase.relations
    )
    *before, head = phrase.category.split(" ")
    if (
        before
        and head in NEVER_LABELLED
        and before[-1] in WHOLES
        and not any(c.relation == "part of" for c in relations)
    ):
        whole = NounPhrase(" ".join(before))
        return replace(phrase, category=head, relations=(*relations, RelationClause("part of", (whole,))))
    return phrase if relations == phrase.relations else replace(phrase, relations=relations)


def _clause(clause: RelationClause, holder: NounPhrase) -> RelationClause:
    anchors = tuple(_phrase(anchor) for anchor in clause.anchors)
    relation = clause.relation
    if relation == "inside" and _is_bare_corner(clause.anchors):
        return replace(clause, relation="on", anchors=_on_the_ground(clause.anchors), preposition=IN)
    if relation == "with" and not _belongs(anchors):
        relation = _held(holder.category.split(" ")[-1]) or relation
    return replace(clause, relation=_on(relation, anchors), anchors=anchors)


def _held(holder: str) -> str | None:
    """The meaning of "with" for an object that holds others ("the bin with the banana"); None for other objects."""
    if holder in (SURFACES - DRAWERS) | _FLAT | LEVELS | BURNERS:
        return "supporting"
    return "containing" if holder in OPEN_CONTAINERS | COMPARTMENTS else None


def _belongs(anchors: tuple[NounPhrase, ...]) -> bool:
    """True if the object after "with" is a part ("the box with the lid")."""
    return any(anchor.category.split(" ")[-1] in PARTS for anchor in anchors)


def _destination(destination: Destination | None) -> Destination | None:
    if destination is None:
        return None
    anchors = tuple(_phrase(anchor) for anchor in destination.anchors)
    excluded = tuple(_clause(clause, NounPhrase("object")) for clause in destination.excluded)
    also = tuple(_clause(clause, NounPhrase("object")) for clause in destination.also)
    destination = replace(destination, excluded=excluded, also=also) if excluded or also else destination
    if destination.relation == "inside" and _is_bare_corner(anchors):
        return replace(destination, relation="on", anchors=_on_the_ground(anchors), preposition=IN)
    return replace(destination, relation=_on(destination.relation, anchors), anchors=anchors)


def _is_bare_corner(anchors: tuple[NounPhrase, ...]) -> bool:
    """True if two sides name a corner of the table, or of nothing in particular ("in the front left corner")."""
    corner = anchors[0]
    wholes = [whole.category.split(" ")[-1] for clause in corner.relations for whole in clause.anchors]
    of_a_surface = all(clause.relation == "part of" for clause in corner.relations) and _BOARDS.issuperset(wholes)
    return len(anchors) == 1 and corner.category in CORNERS and corner.also is not None and of_a_surface


def _on_the_ground(corners: tuple[NounPhrase, ...]) -> tuple[NounPhrase, ...]:
    (corner,) = corners
    first, second = (_FLAT_SIDE.get(side or "", side) for side in (corner.superlative, corner.also))
    return (replace(corner, superlative=first, also=second),)


def _on(relation: str, anchors: tuple[NounPhrase, ...]) -> str:
    """The relation; "at" and "to" a part become "on"."""
    return "on" if relation in _AT and all(a.category.split(" ")[-1] in _PARTS for a in anchors) else relation
