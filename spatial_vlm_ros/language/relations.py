# SPDX-License-Identifier: Apache-2.0
"""The relation words: one line for each relation.

A way of saying it is written as slots: alternatives in a slot are separated by "|", and a slot that ends in "?" is
optional. To add a relation, add one line; to add a way of saying it, add one string. docs/relations.md explains what
each relation means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from spatial_vlm_ros.language.wordlists import CONTAINERS, FURNITURE, SURFACES


@dataclass(frozen=True)
class RelationWord:
    """One relation between objects.

    Args:
        name: canonical plain English name.
        surfaces: ways of saying it.
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
    surfaces: tuple[str, ...] = ()
    reversed_by: frozenset[str] = frozenset()
    likelier: float = 0.6
    taken: bool = False
    otherwise: str = ""


def _known(
    name: str,
    *surfaces: str,
    motion: tuple[str, ...] = (),
    verbs: tuple[str, ...] = (),
    anchors: int = 1,
    framed: bool = False,
) -> RelationWord:
    return RelationWord(name, surfaces or (name,), motion, verbs, anchors, framed, supported=True)


def _refused(name: str, *surfaces: str, motion: tuple[str, ...] = (), framed: bool = False) -> RelationWord:
    return RelationWord(name, surfaces or (name,), motion, framed=framed, supported=False)


_COMPARED = {
    "taller": "taller|higher in height", "shorter": "shorter",
    "larger": "larger|bigger|greater", "smaller": "smaller|tinier|littler", "longer": "longer",
    "wider": "wider|broader", "narrower": "narrower", "thicker": "thicker|fatter", "thinner": "thinner|slimmer",
}  # fmt: skip
_MEASURES = {"size": ("larger", "smaller"), "height": ("taller", "shorter"), "length": ("longer", ""),
             "width|breadth": ("wider", "narrower"), "thickness": ("thicker", "thinner")}  # fmt: skip
"""Compared quantity → the words for more and for less of it."""
_MORE, _LESS = "greater|larger|bigger|more", "smaller|lesser|less|lower"
EQUALS: Mapping[str, tuple[str, bool]] = MappingProxyType(
    {
        "tall": ("shorter than", False), "short": ("taller than", False), "big|large|great": ("smaller than", False),
        "small|little|tiny": ("larger than", False), "long": ("longer than", True), "wide|broad": ("narrower than",
                False),
        "narrow": ("wider than", False), "thick|fat": ("thinner than", False), "thin|slim": ("thicker than", False),
        "close by?": ("farther than", False), "near": ("farther than", False), "far away|off?": ("closer than", False),
        "distant|remote": ("closer than", False),
        "high up?": ("lower than", False), "low down?": ("higher than", False),
    }
)  # fmt: skip
"""Meaning of "not as tall as" and "less tall than", by the compared word, and True if a "not" is left."""
_UNSEEN = ("deeper", "heavier", "lighter", "darker", "brighter", "newer", "older", "fuller", "warmer",
           "colder", "hotter", "dirtier", "emptier", "rounder", "shinier", "straighter")  # fmt: skip
"""Comparatives that are not measured."""


def _comparison(name: str, words: str, framed: bool = False) -> RelationWord:
    """A comparison such as "taller than": each word of `words` before "than", and also "of greater height than"."""
    patterns = [f"{word} than" for word in words.split("|")]
    for measure, (more, less) in _MEASURES.items():
        for relation, comparatives in ((more, _MORE), (less, _LESS)):
            if f"{relation} than" == name:
                patterns += [f"{comparatives}|{relation} in {measure} than", f"of a? {comparatives} {measure} than",
                             f"with|having a {comparatives} {measure} than"]  # fmt: skip
    return _known(name, *patterns, framed=framed)


_TABLE = (
    _known(
        "left of",
        "left of|from",
        "over|off|out|away? to|towards|toward the? left hand? side? of|from",
        "further|farther|more over? to? the? left than",
        "at the? left of|from",
        "to the immediate|direct|very left of",
        "on the? left hand? side? from",
        "to the? lefthand side? of",
        "leftward|leftwards of",
        framed=True,
    ),
    _known(
        "right of",
        "right of|from",
        "over|off|out|away? to|towards|toward the? right hand? side? of|from",
        "further|farther|more over? to? the? right than",
        "at the? right of|from",
        "to the immediate|direct|very right of",
        "on the? right hand? side? from",
        "to the? righthand side? of",
        "rightward|rightwards of",
        framed=True,
    ),
    _known("in front of", "out? in|at front of", "to the front of", "before", "ahead of", "this side of",
           "on this side of", "further|farther forward|forwards|front than", "further|farther to the front than",
           framed=True),
    _known(
        "behind",
        "behind|behing of?",
        "in back of",
        "round|around the back|rear of", "round|around at the back|rear of", "out back of",
        "round|around|back|out behind",
        "further|farther back|backwards|behind than",
        "further|farther to|toward|towards the back than",
        "to the? back|rear of",
        "hidden? behind",
        framed=True,
    ),
    _known("on the other side of", "on|at|to|over|round|around the? other|opposite|far|farther|further side of",
           "across", "beyond", "on the side away from", framed=True),
    _known("on", "on", "on top of", "ontop of", "on the top of", "atop of?", "upon", "stacked on|upon",
            "supported|carried|held up? by",
           "on top", "on the surface of", "on the upper side of",
           "lying|laid|laying|resting|balanced|draped|spread|stretched|lies|rests across",
           motion=("onto", "on to", "on to top of", "onto the? top of", "over onto", "on onto")),
    _known("above", "above", "over", "over the? top of", "overhead of?", "hanging|hovering over|above", "high above"),
    _known("below", "below", "down below"),
    _known("under", "under", "in the space|area under|below|beneath|underneath", "underneath of?", "beneath",
            "down under"),
    _known("higher than", "higher up? than", "at a? higher|greater level|height than", "further|farther up than",
           "reaching|extending up? higher than", verbs=("reaches|reach up? higher than",)),
    _known("lower than", "lower down? than", "at a? lower|lesser|smaller level|height than",
            "further|farther down than",
           "reaching|extending down? lower than", verbs=("reaches|reach down? lower than",)),
    _known(
        "inside",
        "in", "inside of?", "within", "in|on the inside of", "contained in|by|within", "in the interior of",
        "held in|inside|within", "poking|sticking|peeking|peeping|jutting out of",
        motion=("into", "in to", "inside into"),
    ),
    _known("out of", "outside of?", "on|at the outside of"),
    _known("containing", "containing", "full of", "filled with", "holding", "housing",
           verbs=("contains|contain|contained", "holds|hold")),
    _known("supporting", "supporting", "carrying", "bearing", "holding up", verbs=("supports|support",
            "holds|hold up", "carries|carry",
           "bears|bear")),
    _known("next to", "next to", "nextto", "beside", "adjacent to", "by", "by|at|on the? side|sides of",
           "close by", "right by", "side by side with", "as close as possible to", "over by",
           "neighbouring|neighboring", "right up? by", "alongside of?",
           "along the side of", "next door to", "to the side of", "off to the side of", "to|on|at one side of",
           "bordering"),
    _known("near", "near to?", "near by", "nearby to?", "close to", "around near", "in the vicinity of",
           "not far from", "not far away from", "in proximity to", "in close proximity to", "nigh",
           "in the neighbourhood|neighborhood of", "not too far from", "round near"),
    _known("far from", "far away? from", "a long way from", "a long way away from", "a long way off from",
           "distant from", "well away from", "remote from", "some distance from",
           "some way from", "clear of", "a good|fair way away|off? from", "a good|fair distance away|off? from",
           "nowhere near", "at a great distance from", "quite a way away? from"),
    _known("at a distance from", "at a distance from|of"),
    _known("between", "between", "in between", "inbetween", "in the space|gap|middle between", "flanked by|with",
            "flanked on both sides by", "with|having on either side", "betwixt", "midway between",
           "halfway between", "half way between", "sandwiched between", "in the middle between", anchors=2),
    _known("among", "among", "amongst", "amid", "amidst", "in the midst of", "in a group of", "in among|amongst",
           "in amid", "in the thick of"),
    _known("touching", "touching", "in direct|physical|close? contact with", "in touch with", "touched by",
            "making contact with", "abutting",
           verbs=("touches|touch", "abuts|abut", "makes|make|has|have direct|physical? contact with")),
    _known("against", "against", "up against", "leaning against|on", "propped against|on", "propped up against|on",
           "flush against|with", "pressed against", "pushed against", "pushed up against", "lent against",
           verbs=("leans|lean against|on",)),
    _known("around", "around", "round", "all around", "all round", "round about", "encircling",
            "anywhere|somewhere around|round",
           "in|within the area|space|region around|round"),
    _known("opposite", "opposite of|to?", "on|at the side opposite", "on|at the opposite side from|to",
            "across from", "directly across from", "over against"),
    _known("at the edge of", "at|on|near|by|along the? edge|edges|rim|border|brink|brim of",
           "at|on|near|by an edge of"),
    _known("at the corner of", "at|on|near|by|in|into the? corner of", "at|on|in a corner of",
           "in|at|on one corner of"),
    _known("at the end of", "at|on|near|by the? end|tip of", "at|on one|either|an end of",
           "at|on the other|opposite end of"),
    _known("at the left side of", "at|in|into the? left hand? side of",
           "at|on|in|into the? left hand? half|part|third|end|edge of", "at the lefthand side of", framed=True),
    _known("at the right side of", "at|in|into the? right hand? side of",
           "at|on|in|into the? right hand? half|part|third|end|edge of",
           "at the righthand side of", framed=True),
    _known("at the centre of", "in|at|on|into the? middle|centre|center of",
           "in|at the very|exact|dead middle|centre|center of"),
    _known("at the back of", "at|on|near|towards|toward the? back|rear side? of",
           "in|on the? back|rear|far half|part|third of",
           "at|on|near the? back|rear|far edge|end of", framed=True),
    _known("at the front of", "at|on|near|towards|toward the front side? of", "near front side? of",
           "in|on the? front|near half|part|third of", "at|on the? front|near edge|end of", framed=True),
    _known("at the top of", "at|near|in|towards|toward the? top of",
           "in|at the upper|top half|part|third|end|section|region of",
           "up at the top of"),
    _known("in the middle of the height of", "in the middle of the height of", "at half the? height of", "half way up",
           "halfway up", "midway up", "at mid height of", "at the middle of the height of"),
    _known("at the bottom of", "at|on|near|in|towards|toward the? bottom of", "at the foot|base of",
           "in|at the lower|bottom half|part|third|end|section|region of", "down at the bottom of"),
    _known("part of", "part of", "a part of", "belonging to", "forming a? part of", verbs=("belongs|belong to",
            "forms|form a? part of",
           "is|are a? part of")),
    _known("facing", "facing", "turned to face", "facing towards|toward|to", "pointing at|to|towards|toward",
           "turned to|towards|toward", "looking at|to|towards|toward", "oriented to|towards|toward", "aimed at",
           "pointed at|to|towards|toward", verbs=("faces|face", "looks|look at|towards|toward",
           "points|point at|to|towards|toward")),
    _known("facing away from", "facing|turned|looking|pointing|oriented away from", "with its back to|towards|toward",
           "with their backs to|towards|toward", "turned with its back to|towards|toward",
           verbs=("faces|face|looks|look|points|point away from",
                  "has|have its|their back|backs turned? to|towards|toward")),
    *(_comparison(f"{name} than", words) for name, words in _COMPARED.items()),
    _comparison("closer than", "closer|nearer|closer by|nearer by|closer in", framed=True),
    _comparison("farther than",
            "farther|further|farther away|further away|farther off|further off|more distant|more remote",
                framed=True),
    _known("closest to", "the? closest|nearest|closer|nearer one? to|by",
            "at|with the smallest|shortest|least distance from|to"),
    _known("farthest from", "the? farthest|furthest|farther|further one? away? from", "the? most distant from",
           "at|with the greatest|largest|longest distance from|to"),
    _known("other than", "other than", "except for?", "excepting", "besides",
           "apart from", "aside from", "excluding", "different from|to|than", "distinct from", "not counting",
           "save for", "rather than", "not the same one|thing? as", "a different one from|to|than", "instead of",
           "but for"),
    # ---- refused by name
    _refused("along"),
    _refused("parallel to", "parallel to|with"),
    _refused("perpendicular to", "perpendicular to", "at right angles to", "at a right angle to", "crosswise to"),
    _refused("in line with", "in line with", "aligned with", "in a row with", "level with", "lined up with"),
    _refused("diagonal to", "diagonal to|from", "diagonally opposite", "diagonally across from",
             "at an angle to", "kitty corner to|from"),
    _refused("surrounding"),
    _refused("surrounded by", "surrounded by|with", "enclosed by|in", "ringed by"),
    _refused("past"),
    _refused("through", "through", "throughout"),
    _refused("with", "with", "that|which has|have|had", "having", "together with", "featuring", "along with"),
    _refused("without", "without", "lacking", "that|which has|have no", "with no", "minus",
             "that|which doesn't|don't|doesnt|dont have", "that|which does|do not have"),
    _refused("attached to", "attached to", "connected to", "fixed to", "glued to", "hanging from|off|on", "tied to",
             "fastened to", "joined to", "clipped to", "stuck to"),
    _refused("covered by", "covered by|with|in", "wrapped in", "draped with", "under cover of"),
    _refused("covering", "covering", "draped over"),
    _refused("made of", "made of|from", "made out of"),
    _refused("labelled", "labelled|labeled with|as?", "called", "named", "marked with|as?"),
    _refused("like", "like", "similar to", "matching", "resembling",
             *(f"as|so {words} as" for words in EQUALS), "the same one|thing? as",
             "the same size|height|colour|color as"),
    _refused("for", "for"),
    _refused("at", "at"),
    _refused("off", "off of?"),
    _refused("from", "from"),
    _refused("within reach of", "within reach of", "in reach of", "within arm's length|reach of",
             "at arm's length from"),
    _refused("on either side of", "on|at|to either side of", "on|at both sides? of"),
    _refused("north of", "to? the? north of", framed=True),
    _refused("south of", "to? the? south of", framed=True),
    _refused("east of", "to? the? east of", framed=True),
    _refused("west of", "to? the? west of", framed=True),
    _refused("to", "towards", "toward", "in the direction of", motion=("to", "over to", "up to", "back to")),
    *(_refused(f"{word} than") for word in _UNSEEN),
)  # fmt: skip

OWN: Mapping[str, RelationWord] = MappingProxyType({relation.name: relation for relation in _TABLE})
"""The package's own relations by canonical name, including the refused ones."""

_GRAMMATICAL = frozenset({"with", "without", "for", "at", "off", "from", "to", "like", "made of", "labelled"})
FREE = frozenset(name for name, relation in OWN.items() if not relation.supported) - _GRAMMATICAL
"""Refused relations that an installed package can supply; the words of the others hold sentences together."""


MEANINGS: Mapping[str, Meanings] = MappingProxyType(
    {
        "from": Meanings(("on", "inside"), reversed_by=CONTAINERS, taken=True),
        "off": Meanings(("on",), taken=True),
        "away from": Meanings(("near", "on"), ("away from",), SURFACES | CONTAINERS, taken=True, otherwise="far from"),
        "taken out of": Meanings(("inside",), ("out of", "out from inside? of?"), taken=True, otherwise="out of"),
        "on the left of": Meanings(("left of", "at the left side of"), ("on the? left hand? of",), FURNITURE, 0.85),
        "on the right of": Meanings(("right of", "at the right side of"), ("on the? right hand? of",), FURNITURE, 0.85),
        "on the left side of": Meanings(
            ("left of", "at the left side of"),
            ("on the? left hand? side of", "on the lefthand side? of", "to|on|at the far left of"), SURFACES
        ),
        "on the right side of": Meanings(
            ("right of", "at the right side of"),
            ("on the? right hand? side of", "on the righthand side? of", "to|on|at the far right of"), SURFACES
        ),
        "on the near side of": Meanings(
            ("in front of", "at the front of"), ("on|at the? near|nearer side of",), SURFACES
        ),
        "in the front of": Meanings(("in front of", "at the front of"), ("in the front of",), SURFACES | CONTAINERS),
        "in the back of": Meanings(("behind", "at the back of"), ("in the back|rear of",), SURFACES | CONTAINERS),
    }
)  # fmt: skip
"""Words with several meanings, by the name that stands for them until the meaning is chosen."""

MEASURED: Mapping[str, str] = MappingProxyType(
    {
        **{name: name for name in ("left of", "right of", "in front of", "behind", "above", "below", "under",
                                   "next to", "near", "at a distance from")},
        **dict.fromkeys(("far from", "away from", "from", "to"), "at a distance from"),
        "on the other side of": "behind",
        "on the left of": "left of",
        "on the right of": "right of",
        "on the left side of": "left of",
        "on the right side of": "right of",
        "on the near side of": "in front of",
        "in the back of": "behind",
        "in the front of": "in front of",
    }
)  # fmt: skip
"""Name of a relation with a stated distance ("20 cm away from"); the others take none."""

INVERSE: Mapping[str, str] = MappingProxyType(
    {
        "inside": "containing", "on": "supporting", "next to": "next to", "near": "near", "touching": "touching",
        "behind": "in front of", "in front of": "behind", "left of": "right of", "right of": "left of",
        "above": "below", "below": "above", "under": "above", "against": "touching",
    }
)  # fmt: skip
"""Inverse of a relation: "the box with the cup in it" contains the cup."""
