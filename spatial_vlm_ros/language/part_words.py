# SPDX-License-Identifier: Apache-2.0
"""Nouns of parts that few detectors name (compartment, burner, corner), and of the wholes that have such parts."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language.lexicon import CONTAINERS, PARTS, SURFACES
from spatial_vlm_ros.language.patterns import WORDS
from spatial_vlm_ros.types import Destination, NounPhrase, RelationClause, SpatialQuery
from spatial_vlm_ros.types.query import Preposition

CENTRES, CORNERS, EDGES, SHARES = map(WORDS.words, ("centres", "corners", "edges", "shares"))
COMPARTMENTS, BURNERS, LEVELS = map(WORDS.words, ("compartments", "burners", "levels"))
DRAWERS, DOORS = WORDS.words("drawers"), WORDS.words("doors")
ALONG_BOTH = CORNERS | SHARES | COMPARTMENTS | BURNERS | LEVELS | DRAWERS | DOORS
"""Parts that two directions may pick out together ("the front left compartment")."""
NEVER_LABELLED = CENTRES | CORNERS | EDGES | COMPARTMENTS | BURNERS | {"half"}
"""Parts whose describing nouns name the whole: "the table centre" is the centre of the table."""

STOVES, DIVIDED, SHELVED, STEPPED = map(WORDS.words, ("stoves", "divided", "shelved", "stepped"))
LIDDED, TRAYS = WORDS.words("lidded"), WORDS.words("trays")
CHESTS, CLOSING = (WORDS.words("closing_chests") | WORDS.words(others) for others in ("open_chests", "closets"))
OPEN_CONTAINERS = DIVIDED | WORDS.words("open_containers")
WHOLES = STOVES | DIVIDED | CHESTS | SHELVED | STEPPED | SURFACES | CONTAINERS


def is_tray(label: str) -> bool:
    """True if objects stand both on and in what a label names, because its rim is low and it has no lid."""
    return label.lower().split(" ")[-1] in TRAYS


def counted_down(category: str) -> bool:
    """True if such parts are counted from the top when no side is said ("the second drawer")."""
    return category.split()[-1] in DRAWERS


# --------------------------------------------------------------------------------------------------
# Meaning of a preposition beyond its relation: "on top of" a shelf is not on a lower board of it.

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


# --------------------------------------------------------------------------------------------------
# Bring phrases about parts into one form: "the table centre" becomes "the centre of the table".
# An object put "to" or standing "at" a part is on it. "The bin with the banana" has the banana in it or on it, if it is
# something that holds objects.

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
        steps=tuple(replace(s, target=_phrase(s.target), destination=_destination(s.destination)) for s in query.steps),
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
    owner = next((n for n, word in enumerate(before, 1) if word.endswith("'s")), 0)
    if owner and head in PARTS:  # "the jar's lid"
        whole = NounPhrase(" ".join(before[:owner]).removesuffix("'s"))
        name = " ".join((*before[owner:], head))
        return replace(phrase, category=name, relations=(RelationClause("part of", (whole,)), *relations))
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
    if relation == "with" and not any(anchor.category.split(" ")[-1] in PARTS for anchor in anchors):
        held_by = holder.category.split(" ")[-1]
        if held_by in (SURFACES - DRAWERS) | _FLAT | LEVELS | BURNERS:
            relation = "supporting"
        elif held_by in OPEN_CONTAINERS | COMPARTMENTS:  # "the bin with the banana"
            relation = "containing"
    return replace(clause, relation=_on(relation, anchors), anchors=anchors)


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
