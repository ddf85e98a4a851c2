# SPDX-License-Identifier: Apache-2.0
"""Nouns of parts that few detectors name (compartment, burner, corner), and of the wholes that have such parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain
from operator import is_
from typing import Any, Final, Literal, TypeVar

from spatial_vlm_ros.language import lexicon
from spatial_vlm_ros.language.patterns import SETS, WORDS
from spatial_vlm_ros.language.refusals import refused
from spatial_vlm_ros.types import Destination, NounPhrase, RelationClause, SpatialQuery, Step
from spatial_vlm_ros.types.query import Preposition, SpaceQuestion

CENTRES, CORNERS, EDGES, SHARES, ROWS, STACKS = map(
    WORDS.words, ("centres", "corners", "edges", "shares", "rows", "stacks")
)
COMPARTMENTS, BURNERS, LEVELS = map(WORDS.words, ("compartments", "burners", "levels"))
TIERED = tuple(map(" ".join, WORDS.phrases("tiered")))
DRAWERS, DOORS = WORDS.words("drawers"), WORDS.words("doors")
CLOSURES = WORDS.words("closures")
"""Parts of what they close: "from the jar" says whose lid it is."""

ALONG_BOTH = CORNERS | SHARES | COMPARTMENTS | BURNERS | LEVELS | DRAWERS | DOORS
"""Parts that two directions may pick out together ("the front left compartment")."""
SIDE_BY_SIDE = COMPARTMENTS | BURNERS | DRAWERS | DOORS
"""Parts of which a side said after the noun may be the second direction ("the middle compartment on the right")."""
NEVER_LABELLED = CENTRES | CORNERS | EDGES | COMPARTMENTS | BURNERS | {"half"}
"""Parts whose describing nouns name the whole: "the table centre" is the centre of the table."""

STOVES, DIVIDED, SHELVED, STEPPED = map(WORDS.words, ("stoves", "divided", "shelved", "stepped"))
LIDDED, TRAYS = WORDS.words("lidded"), WORDS.words("trays")
CHESTS, CLOSING = (WORDS.words("closing_chests") | WORDS.words(others) for others in ("open_chests", "closets"))
OPEN_CONTAINERS, VESSELS = DIVIDED | WORDS.words("open_containers"), WORDS.words("vessels")
WHOLES = STOVES | DIVIDED | CHESTS | SHELVED | STEPPED | lexicon.SURFACES | lexicon.CONTAINERS


def is_tray(label: str) -> bool:
    """True if objects stand both on and in what a label names, because its rim is low and it has no lid."""
    return label.lower().split(" ")[-1] in TRAYS


def crossed(*sides: str | None, part: bool = True) -> tuple[str, ...]:
    """The directions that pick out a part together ("front left"), the one across last; empty if they do not cross."""
    said = sorted(filter(None, sides), key=lambda side: (side in SETS.across, side != "middle"))
    if not (part or SIDEWAYS.issuperset(said)):  # "the top left mug" may be on a board, or far away
        return ()
    if len(said) > 1:
        *first, last = said
        fits = _DIRECTIONS.issuperset(said) and len(first) == 1 and first[0] != last in SETS.across
        return tuple(said) if fits and first[0] not in SETS.across - {"middle"} else ()
    return tuple(said)


def counted_down(category: str) -> bool:
    """True if such parts are counted from the top when no side is said ("the second drawer")."""
    return category.split()[-1] in DRAWERS


# Meaning of a preposition beyond its relation: "on top of" a shelf is not on a lower board of it.

ON_TOP_OF: Final[Literal["on top of"]] = "on top of"
IN: Final[Literal["in"]] = "in"
ON: Final[Literal["on"]] = "on"


def preposition_of(relation: str, words: str) -> Preposition | None:
    """The preposition that a relation was said with ("in the left half of"); None if its name says as much."""
    if relation == "on":
        return ON_TOP_OF if SETS.top.intersection(words.split()) else None
    if not relation.startswith("at the "):
        return None
    first = words.split(" ", 1)[0]
    return IN if first in SETS.said_in else ON if first in SETS.said_on else None


def prepositions(phrase: NounPhrase) -> tuple[Preposition | None, ...]:
    """Prepositions of all clauses of a phrase and of its anchors; equality of phrases ignores them."""
    inside = ((each.preposition, *chain.from_iterable(map(prepositions, each.anchors))) for each in phrase.relations)
    return tuple(chain.from_iterable(inside))


# Change the phrases inside others.

_Related = TypeVar("_Related", RelationClause, Destination)
_Data = TypeVar("_Data", RelationClause, Destination, NounPhrase, Step, SpatialQuery, SpaceQuestion)


def _with(said: _Data, **fields: Any) -> _Data:
    """As `dataclasses.replace`; the same object if nothing in it changes."""
    for name, new in fields.items():
        old = getattr(said, name)
        if old is not new and not (type(new) is tuple and len(new) == len(old) and all(map(is_, new, old))):
            return replace(said, **fields)
    return said


def with_anchors(said: _Related, change: Callable[[NounPhrase], NounPhrase]) -> _Related:
    """A relation with its anchors changed."""
    return _with(said, anchors=tuple(map(change, said.anchors)))


def in_anchors(phrase: NounPhrase, change: Callable[[NounPhrase], NounPhrase]) -> NounPhrase:
    """A phrase with the phrases that its relations name changed."""
    return _with(phrase, relations=tuple(with_anchors(clause, change) for clause in phrase.relations))


def in_place(place: Destination, change: Callable[[Any], Any]) -> Destination:
    """A place with its own relation and all others changed."""
    changed: Destination = change(place)
    return _with(changed, excluded=tuple(map(change, place.excluded)), also=tuple(map(change, place.also)))


def mapped(
    query: SpatialQuery, phrase: Callable[[NounPhrase], NounPhrase], related: Callable[[Any], Any]
) -> SpatialQuery:
    """A query with the phrases of its objects changed by one function, the relations of its places by another one."""

    def of_step(step: Step) -> Step:
        place = step.destination
        return _with(step, target=phrase(step.target), destination=place and in_place(place, related))

    place, asks = query.destination, query.question
    return _with(
        query, target=phrase(query.target), destination=place and in_place(place, related),
        steps=tuple(map(of_step, query.steps)), forbids=tuple(map(of_step, query.forbids)),
        avoid=tuple(map(phrase, query.avoid)),
        question=asks and _with(
            asks, asked=asks.asked and phrase(asks.asked), other=asks.other and phrase(asks.other),
            choices=tuple(map(phrase, asks.choices))),
    )  # fmt: skip


# Bring phrases about parts into one form: "the table centre" becomes "the centre of the table".
# An object put "to" or standing "at" a part is on it. "The bin with the banana" has the banana in it or on it, if it is
# something that holds objects.

_PARTS = (ALONG_BOTH | CENTRES | EDGES) - DOORS
_BOARDS = lexicon.SURFACES - (SHELVED | CLOSING | DRAWERS | DIVIDED)  # flat, with no inside
AT_SIDES = {superlative: side for side, superlative in lexicon.SUPERLATIVE_OF_SIDE.items()}
"""Relation to a whole for objects at its leftmost, … end."""
SIDEWAYS = SETS.sideways
_DIRECTIONS = SETS.across | {"nearest", "farthest", "highest", "lowest"}
_FLAT_SIDE = {"highest": "farthest", "lowest": "nearest"}


def in_parts(query: SpatialQuery) -> SpatialQuery:
    """Bring a query's phrases about parts into one form."""
    query = _destination_of_row(query)
    to = query.destination
    if to is not None and to.relation in SETS.one_of_several:
        compared = [
            each.relation for anchor in to.anchors for each in anchor.relations if each.relation in SETS.comparing
        ]
        if compared:
            part, whole = to.relation.split(" ")[2], to.anchors[0].category
            raise refused(query.instruction, "part compared", relation=compared[0], part=part, whole=whole)
    changed = mapped(query, _phrase, _placed)
    return _with(changed, target=_phrase(query.target, tools=True)) if query.action in SETS.with_tools else changed


def corner_of(clause: RelationClause, also: tuple[str, ...]) -> RelationClause:
    """The corner of a whole between the side of a clause and others, as a place: on it, or in a container."""
    whole, at_sides = clause.anchors[0], clause.relation in lexicon.SUPERLATIVE_OF_SIDE
    *first, last = (lexicon.SUPERLATIVE_OF_SIDE[side] for side in (clause.relation, *also)[not at_sides :])
    corner = NounPhrase(
        "corner", superlative=first[0] if first else last, also=last if first else None, frame=clause.frame,
        relations=(RelationClause("part of", (whole,)),),
    )  # fmt: skip
    contained = clause.preposition in (IN, None if at_sides else IN) and _head(whole) in OPEN_CONTAINERS - TRAYS
    return RelationClause("inside" if contained else "on", (corner,), preposition=clause.preposition)


def _phrase(phrase: NounPhrase, tools: bool = False) -> NounPhrase:
    """Bring a phrase and those inside it into one form; `tools`: its "with" may name a tool."""
    phrase = _of_row(_in_row(phrase))
    relations = tuple(each if tools and each.relation == "with" else _clause(each, phrase) for each in phrase.relations)
    *before, head = phrase.category.split(" ")
    owner = next((n for n, word in enumerate(before, 1) if word.endswith("'s")), 0)
    if owner and head in lexicon.PARTS:  # "the jar's lid"
        whole = NounPhrase(" ".join(before[:owner]).removesuffix("'s"))
        name = " ".join((*before[owner:], head))
        return replace(phrase, category=name, relations=(RelationClause("part of", (whole,)), *relations))
    owned = any(clause.relation == "part of" for clause in relations)
    if before and head in NEVER_LABELLED and before[-1] in WHOLES and not owned:
        whole = NounPhrase(" ".join(before))
        return replace(phrase, category=head, relations=(*relations, RelationClause("part of", (whole,))))
    return _with(phrase, relations=relations)


_SHARES_OF_STACK = {
    "at the top of": "highest", "at the bottom of": "lowest", "at the centre of": "middle", "on": None, "inside": None,
    "part of": None,
}  # fmt: skip


def unstacked(query: SpatialQuery) -> tuple[SpatialQuery, ...]:
    """What "the stack of books" says of the books: two readings if not which of them, none if no stack is named."""
    upper, lower = (mapped(query, partial(_member, plain=plain), _beside_stack) for plain in ("on", "supporting"))
    return () if upper is query else (upper,) if upper == lower else (upper, lower)


def _touching(kind: str, end: str) -> tuple[RelationClause, ...]:
    sides = (("on", end == "lowest"), ("supporting", end == "highest"))
    return tuple(RelationClause(name, (NounPhrase(kind),), negated=negated) for name, negated in sides)


def _member(phrase: NounPhrase, plain: str) -> NounPhrase:
    """One of a stack, or a phrase that names stacks; `plain` relates it to another, if it is not said which one."""
    for clause in phrase.relations:
        kind = _stacked(clause.anchors[0], phrase.category)
        end = phrase.superlative or _SHARES_OF_STACK.get(clause.relation)
        end = "highest" if clause.preposition == ON_TOP_OF and phrase.superlative is None else end
        if kind is None or phrase.category not in ("object", kind) or clause.relation not in _SHARES_OF_STACK:
            continue
        ordered = phrase.ordinal is not None or end not in (None, "highest", "lowest", "middle")
        if ordered and not clause.negated:  # among all of the stack
            continue
        if clause.negated:
            told = tuple(replace(each, negated=True) for each in _touching(kind, "middle"))
        else:
            told = _touching(kind, end) if end else (RelationClause(plain, (NounPhrase(kind),)),)
        rest = tuple(each for each in phrase.relations if each is not clause)
        superlative = phrase.superlative if clause.negated else None
        return replace(phrase, category=kind, superlative=superlative, relations=(*rest, *told))
    return _with(phrase, relations=tuple(map(_beside_stack, phrase.relations)))


def _beside_stack(said: _Related) -> _Related:
    """A relation to a stack: to its highest member for what is on it, else to its lowest."""
    anchor, upper = said.anchors[0], said.relation in ("on", "above")
    kind = _stacked(anchor, "")
    if not kind:
        return with_anchors(said, partial(_member, plain="on"))
    end = NounPhrase(kind, relations=_touching(kind, "highest" if upper else "lowest"))
    return replace(said, anchors=(end, *said.anchors[1:]))


def _stacked(phrase: NounPhrase, kind: str) -> str | None:
    """What a stack is of, `kind` if that is not said; None for other phrases."""
    *members, head = phrase.category.split(" ")
    return (" ".join(members) or kind) if head in STACKS and phrase == NounPhrase(phrase.category) else None


def _in_row(phrase: NounPhrase) -> NounPhrase:
    """One of a row: the cup "in the middle of the row" is the middle cup."""
    for clause in phrase.relations:
        row = clause.anchors[0]
        *members, head = row.category.split(" ")
        noun = " ".join(members) or phrase.category
        place = {"at the centre of": "middle", **lexicon.SUPERLATIVE_OF_SIDE}.get(clause.relation)
        ordered = phrase.superlative is not None or phrase.ordinal is not None
        fits = ordered if place is None else not ordered
        said = row == NounPhrase(row.category) and head in ROWS and phrase.category in ("object", noun)
        if said and fits and not clause.negated and (place is not None or clause.relation in SETS.in_row):
            rest = tuple(each for each in phrase.relations if each is not clause)
            return replace(phrase, category=noun, superlative=phrase.superlative or place, relations=rest)
    return phrase


def _of_row(phrase: NounPhrase) -> NounPhrase:
    """A compartment of a row, or in a corner: "the left compartment of the back row" is the back left compartment."""
    for clause in phrase.relations if _head(phrase) in COMPARTMENTS and phrase.also is None else ():
        row = clause.anchors[0]
        sides = [side for side in (row.superlative, row.also, phrase.superlative) if side is not None]
        named = row.also is None if _head(row) in ROWS else _head(row) in CORNERS and bool(row.also) and len(sides) == 2
        if named and row.superlative and clause.relation in SETS.in_row and not clause.negated and not row.attributes:
            ordered = sorted(sides, key=lambda side: (side in SETS.across, side != "middle"))
            rest = tuple(each for each in phrase.relations if each is not clause) + row.relations
            return replace(phrase, superlative=ordered[0], also=(*ordered[1:], None)[0], relations=rest)
    return phrase


def _destination_of_row(query: SpatialQuery) -> SpatialQuery:
    """Put an object into a compartment of a row, which is not where it is: "in the left slot in the back row"."""
    to, held = query.destination, query.target.relations
    if to is None or not held or to.relation not in SETS.in_row or _head(to.anchors[0]) not in ROWS | CORNERS:
        return query
    *before, last = held
    if _head(last.anchors[0]) not in COMPARTMENTS or last.relation != "inside" or last.negated:
        return query
    on_board = any(_head(whole) in _BOARDS for clause in to.anchors[0].relations for whole in clause.anchors)
    if on_board or SETS.of_target.intersection(query.instruction.lower().split()):
        return query
    part = replace(last.anchors[0], relations=(*last.anchors[0].relations, RelationClause("inside", to.anchors)))
    to = replace(to, relation="inside", anchors=(part,))
    return replace(query, target=replace(query.target, relations=tuple(before)), destination=to)


def _clause(clause: RelationClause, holder: NounPhrase | None = None) -> RelationClause:
    clause = _placed(clause)
    has = {"with": clause.relation, "without": "touching"}.get(clause.relation)  # "the cup without a saucer"
    if holder is None or has is None or any(_head(anchor) in lexicon.PARTS for anchor in clause.anchors):
        return clause
    if _head(holder) in (lexicon.SURFACES - DRAWERS) | SETS.flat | LEVELS | BURNERS:
        has = "supporting"
    elif _head(holder) in OPEN_CONTAINERS | COMPARTMENTS:  # "the bin with the banana"
        has = "containing"
    return replace(clause, relation=has, negated=clause.negated != (clause.relation == "without"))


def _placed(said: _Related) -> _Related:
    """A relation to parts: "in" a corner that two sides name is on it, and "at" and "to" a part is on it, too."""
    anchors = tuple(map(_phrase, said.anchors))
    corner = anchors[0]
    wholes = {_head(whole) for clause in corner.relations for whole in clause.anchors}
    if (
        said.relation == "inside" and corner.category in CORNERS and corner.also is not None and len(anchors) == 1
        and wholes <= _BOARDS and all(clause.relation == "part of" for clause in corner.relations)
    ):  # fmt: skip
        first, second = (_FLAT_SIDE.get(side or "", side) for side in (corner.superlative, corner.also))
        return replace(said, relation="on", anchors=(replace(corner, superlative=first, also=second),), preposition=IN)
    if said.relation in SETS.at and all(_head(anchor) in _PARTS | ROWS for anchor in anchors):
        into = said.relation == "to" and all(_head(anchor) in DRAWERS | COMPARTMENTS | ROWS for anchor in anchors)
        return replace(said, relation="inside" if into else "on", anchors=anchors)
    return _with(said, anchors=anchors)


def _head(phrase: NounPhrase) -> str:
    return phrase.category.split(" ")[-1]
