# SPDX-License-Identifier: Apache-2.0
"""The relation words: one line for each relation.

A surface form is written as slots: alternatives in a slot are separated by "|", a slot ending in "?" may be left out.
To add a relation, add one line; to add a way of saying it, add one string.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Relation:
    """One relation between things.

    Args:
        name: canonical plain English name.
        surfaces: ways of saying it.
        motion: ways of saying it that only name where something is to go ("onto").
        anchors: number of things it relates to, 1 or 2.
        framed: whether it depends on a frame of reference.
        supported: whether the resolver knows it; an unsupported one parses, and is refused by name later.
    """

    name: str
    surfaces: tuple[str, ...]
    motion: tuple[str, ...] = ()
    anchors: int = 1
    framed: bool = False
    supported: bool = True


def _known(name: str, *surfaces: str, motion: tuple[str, ...] = (), anchors: int = 1, framed: bool = False) -> Relation:
    """A relation the resolver knows."""
    return Relation(name, surfaces, motion, anchors, framed, supported=True)


def _further(name: str, *surfaces: str, motion: tuple[str, ...] = (), framed: bool = False) -> Relation:
    """A relation that parses under its own name and is refused by the resolver."""
    return Relation(name, surfaces or (name,), motion, 1, framed, supported=False)


SIZE_COMPARATIVES = (
    "bigger", "larger", "smaller", "taller", "shorter", "longer", "wider", "narrower", "thinner", "thicker", "deeper",
    "heavier", "lighter", "darker", "brighter", "closer", "nearer", "farther", "newer", "older", "fuller",
)  # fmt: skip

MEASURED_PREFIX = "a stated distance "
"""Put before a relation's name when a distance was stated ("10 cm left of")."""

MEASURED = ("left of", "right of", "in front of", "behind", "above", "below", "under", "from")

_TABLE = (
    _known(
        "left of",
        "left of|from",
        "to|on|at|towards|toward the? left hand? side? of|from",
        "to|on|at the? lefthand side? of",
        "on|at the? left hand? side from",
        "leftward|leftwards of",
        framed=True,
    ),
    _known(
        "right of",
        "right of|from",
        "to|on|at|towards|toward the? right hand? side? of|from",
        "to|on|at the? righthand side? of",
        "on|at the? right hand? side from",
        "rightward|rightwards of",
        framed=True,
    ),
    _known("in front of", "in|at front of", "to|in the front of", "before", "ahead of", framed=True),
    _known(
        "behind",
        "behind|behing of?",
        "in back of",
        "in|to the back of",
        "to|at the? rear of",
        "in the rear of",
        "hidden? behind",
        framed=True,
    ),
    _known("on", "on", "on top of", "ontop of", "on the top of", "atop of?", "upon", "stacked on",
           "on top", "on the surface of", motion=("onto", "on to", "on to top of", "onto the? top of", "over onto")),
    _known("above", "above", "over", "higher than", "higher up than", "overhead of?", "hanging|hovering over|above"),
    _known("below", "below", "lower than", "lower down than"),
    _known("under", "under", "underneath of?", "beneath"),
    _known(
        "inside",
        "in", "inside of?", "within", "in the inside of", "on the inside of", "contained in|by|within",
        motion=("into", "in to", "inside into"),
    ),
    _known("next to", "next to", "nextto", "beside|besides", "adjacent to", "by", "by the side of",
           "close by", "right by", "side by side with", "over by", "neighbouring|neighboring"),
    _known("near", "near to?", "near by", "nearby to?", "close to", "around near", "in the vicinity of",
    "not far from",
           "not far away from", "in proximity to", "in the neighbourhood|neighborhood of"),
    _known("far from", "far away? from", "a long way from", "a long way away from", "away from", "distant from",
           "well away from", "remote from"),
    _known("between", "between", "in between", "inbetween", "in the space between", anchors=2),
    # ---- further words: they parse, the resolver refuses them by name
    _further("touching", "touching", "in contact with", "in touch with"),
    _further("against", "against", "up against", "leaning against|on", "propped against|on"),
    _further("around", "around", "all around", "round about", "encircling"),
    _further("surrounding"),
    _further("surrounded by"),
    _further("along", "along", "alongside of?", "along the side of"),
    _further("across from", "across from", "across"),
    _further("opposite", "opposite of|to?", "on the opposite side of"),
    _further("on the other side of", "on|at the other side of", "to the other side of", "beyond"),
    _further("on the far side of", "on|at the far side of", framed=True),
    _further("on the near side of", "on|at the near side of", framed=True),
    _further("among", "among", "amongst", "amid", "in the midst of", "in a group of"),
    _further("at the edge of", "at|on|near|by|along the edge|rim|border of"),
    _further("at the corner of", "at|on|near|by the corner of"),
    _further("in the corner of", "in the corner of"),
    _further("at the end of", "at|on|near the end|tip of"),
    _further("at the side of", "at|on the side|sides of"),
    _further("at the centre of", "in|at|on the middle|centre|center of", "in the very middle|centre|center of"),
    _further("at the back of", "at|on|near the? back side? of", "at|on the rear side of", framed=True),
    _further("at the front of", "at|on|near the front side? of", framed=True),
    _further("at the top of", "at|near|in the top of"),
    _further("at the bottom of", "at|on|near|in the bottom of"),
    _further("facing", "facing", "facing towards|toward|to", "pointing at|to|towards|toward",
    "turned to|towards|toward"),
    _further("parallel to", "parallel to|with"),
    _further("perpendicular to", "perpendicular to"),
    _further("in line with", "in line with", "aligned with", "in a row with", "level with"),
    _further("diagonal to", "diagonal to|from", "diagonally opposite"),
    _further("out of", "out of", "out from", "outside of?"),
    _further("off", "off of?"),
    _further("from", "from"),
    _further("past", "past"),
    _further("through", "through"),
    _further("with", "with", "that|which has|have|had", "having", "together with", "featuring"),
    _further("without", "without", "lacking", "that|which has|have no", "with no"),
    _known("closest to", "closest|nearest to|by", "the closest|nearest to"),
    _known("farthest from", "farthest|furthest away? from", "most distant from",
    "the farthest|furthest away? from"),
    _further("attached to", "attached to", "connected to", "fixed to", "glued to", "hanging from|off|on"),
    _further("covered by", "covered by|with|in"),
    _further("covering"),
    _further("containing", "containing", "full of", "filled with", "holding"),
    _further("supporting", "supporting"),
    _further("made of", "made of|from", "made out of"),
    _further("labelled", "labelled|labeled with|as?", "called", "named", "marked with|as?"),
    _further("like", "like", "similar to", "the same as", "different from|to|than", "matching"),
    _further("part of", "part of", "belonging to"),
    _further("for", "for"),
    _further("at", "at"),
    _further("north of", "to? the? north of", framed=True),
    _further("south of", "to? the? south of", framed=True),
    _further("east of", "to? the? east of", framed=True),
    _further("west of", "to? the? west of", framed=True),
    _further("to", "towards", "toward", motion=("to", "over to", "up to", "back to")),
    *(_further(f"{word} than", f"{word} than", *((f"{word} to",) if word in ("closer", "nearer") else ()))
      for word in SIZE_COMPARATIVES),
    *(_further(MEASURED_PREFIX + name, MEASURED_PREFIX + name, framed=name in MEASURED[:4]) for name in MEASURED),
)  # fmt: skip

RELATIONS: Mapping[str, Relation] = MappingProxyType({relation.name: relation for relation in _TABLE})
"""Every relation by its canonical name."""

TAKEN_FROM: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"from": ("on", "inside"), "off": ("on",), "out of": ("inside",)}
)
"""Where a thing is that is taken "from", "off" or "out of" an anchor."""
