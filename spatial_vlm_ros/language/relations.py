# SPDX-License-Identifier: Apache-2.0
"""The relation words, read once from relations.toml. docs/relations.md explains what each relation means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spatial_vlm_ros.language import lexicon
from spatial_vlm_ros.language.patterns import Tables, read_table


@dataclass(frozen=True)
class RelationWord:
    """One relation between objects.

    Args:
        name: canonical plain English name.
        motion: ways of saying it that are only used for a destination ("onto").
        verbs: ways of saying it as a verb ("that touches").
        anchors: number of objects it relates to, 1 or 2.
        framed: True if it depends on a frame of reference.
        supported: True if the resolver knows it; an unsupported one is parsed, and refused by name later.
    """

    name: str
    surfaces: tuple[str, ...]
    motion: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    anchors: int = 1
    framed: bool = False
    supported: bool = True


@dataclass(frozen=True)
class Meanings:
    """Words with several meanings.

    Args:
        likelier: share of the first meaning for other nouns, 0 to 1.
        taken: True if this meaning applies only to an object that is taken from somewhere ("off the table").
        otherwise: meaning for other objects; empty = the name itself.
    """

    names: tuple[str, ...]
    surfaces: tuple[str, ...]
    reversed_by: frozenset[str]
    likelier: float
    taken: bool
    otherwise: str


PROPERTIES = Tables(read_table("relations"))
"""What the file says of relations."""
_NOUNS = {"containers": lexicon.CONTAINERS, "surfaces": lexicon.SURFACES, "furniture": lexicon.FURNITURE}
_SAID, _MOTION, _VERBS, _REFUSED, LESS = map(PROPERTIES.entries, ("said", "motion", "verbs", "refused", "less"))
"""Of these `LESS` has the meaning of "not as tall as" → the compared words; it begins with "not" if one is left."""
CORNERS = {tuple(sides.split(", ")): words for sides, words in PROPERTIES.entries("corners").items()}
"""Relations that "the back left corner of" adds → the words before "corner"."""
_REFUSED["like"] += tuple(f"as|so {compared} as" for patterns in LESS.values() for compared in patterns)
_REFUSED |= {f"{word} than": (f"{word} than",) for word in PROPERTIES.patterns("unmeasured")}
_TWO, _FRAMED = PROPERTIES.words("of_two"), PROPERTIES.words("framed")
OWN: Mapping[str, RelationWord] = {
    name: RelationWord(
        name, said, _MOTION.get(name, ()), _VERBS.get(name, ()), 1 + (name in _TWO), name in _FRAMED, name in _SAID
    )
    for name, said in (_SAID | _REFUSED).items()
}
"""The package's own relations by canonical name, including the refused ones."""
FREE = frozenset(name for name, relation in OWN.items() if not relation.supported) - PROPERTIES.words("grammatical")
"""Refused relations that an installed package can supply; the words of the others hold sentences together."""
MEANINGS: Mapping[str, Meanings] = {
    name: Meanings(
        tuple(entry["names"]),
        tuple(entry.get("surfaces", ())),
        frozenset[str]().union(*(_NOUNS[noun] for noun in entry.get("reversed_by", "").split())),
        entry.get("likelier", 0.6),
        entry.get("taken", False),
        entry.get("otherwise", ""),
    )
    for name, entry in PROPERTIES.read["meanings"].items()
}
"""Words with several meanings, by the name that stands for them until the meaning is chosen."""
MEASURED: Mapping[str, str] = PROPERTIES.meanings("measured")
"""Name of a relation with a stated distance ("20 cm away from"); the others take none."""
INVERSE: Mapping[str, str] = PROPERTIES.meanings("inverse")
"""Inverse of a relation: "the box with the cup in it" contains the cup."""
