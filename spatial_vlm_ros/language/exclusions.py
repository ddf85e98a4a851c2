# SPDX-License-Identifier: Apache-2.0
"""Exclusions from a place: "anywhere except the tray", "on the shelf apart from the left end"."""

from __future__ import annotations

from dataclasses import replace

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language.lexicon import SURFACE
from spatial_vlm_ros.language.part_phrases import AT_SIDES
from spatial_vlm_ros.language.wordlists import CONTAINERS, PARTS
from spatial_vlm_ros.types import Destination, NounPhrase, RelationClause

OTHER_THAN = "other than"
_ROOM = frozenset({"space", "room", "gap", "clearance"})
_UNNAMED = frozenset({NounPhrase("object"), NounPhrase("it"), NounPhrase("them")})
_SIDES = frozenset({"end", "side", "half", "edge", "part"})


def of_place(clause: RelationClause, place: NounPhrase) -> RelationClause:
    """Replace "it" in a clause by the place that the clause is about ("next to the tray, not on it").

    Args:
        clause: a relation that the place must have, or must not have.
    """
    anchors = tuple(place if anchor in _UNNAMED else anchor for anchor in clause.anchors)
    return replace(clause, anchors=anchors)


def with_exceptions(destination: Destination, instruction: str) -> Destination:
    """Turn exceptions into exclusions: "anywhere except the tray" excludes places on and in the tray.

    "On the tray except the left end" excludes that side of it.
    """
    if any(anchor.category.split(" ")[-1] in _ROOM for each in destination.excluded for anchor in each.anchors):
        raise NotUnderstoodError(
            instruction, (0, len(instruction)), "free space has to be given as a distance",
            'say "at least 5 cm from the kettle"',
        )  # fmt: skip
    anchor = destination.anchors[0]
    apart = [clause for clause in anchor.relations if clause.relation == OTHER_THAN]
    sides = [_side_of(other) for clause in apart for other in clause.anchors]
    if not apart or (anchor.category != SURFACE and not all(sides)):
        if any(other.category.split(" ")[-1] in PARTS for clause in apart for other in clause.anchors):
            raise NotUnderstoodError(
                instruction, (0, len(instruction)), "this part cannot be excluded here",
                'say a side: "on the tray, but not at the left end of the tray"',
            )  # fmt: skip
        return destination
    kept = tuple(clause for clause in anchor.relations if clause not in apart)
    bare = replace(anchor, relations=kept)
    excluded = [RelationClause(_held_by(other), (other,)) for clause in apart for other in clause.anchors]
    if all(sides):
        excluded = [RelationClause(side, (bare,)) for side in sides if side]
    anchors = (bare, *destination.anchors[1:])
    return replace(destination, anchors=anchors, excluded=(*destination.excluded, *excluded))


def _side_of(part: NounPhrase) -> str | None:
    """The relation to the whole for a part such as "the left end"; None if it is not a side."""
    whole = part.category.split(" ")[-1] in _SIDES and not part.relations
    return AT_SIDES.get(part.superlative or "") if whole else None


def _held_by(phrase: NounPhrase) -> str:
    return "inside" if phrase.category.split(" ")[-1] in CONTAINERS else "on"
