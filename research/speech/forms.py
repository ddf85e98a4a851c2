# SPDX-License-Identifier: Apache-2.0
"""How each relation is said. British spelling; {a} is the anchor, "A and B" where there are two, {b} a second one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from spatial_vlm_ros.types import FrameOfReference

Verb = tuple[str, str, str]  # third person, plural, participle


@dataclass(frozen=True)
class Forms:
    """Ways to say one relation, each list in the order of use.

    Args:
        at: after "is", after a noun, after a posture ("standing …"), and after "put X".
        stative: after "is" and after a noun only.
        finite: after "is" only.
        verbs: in place of "is …".
        having: what follows the anchor after "with" and "that has"; `it` is the object itself.
        stranded: prepositions after "that the anchor is".
        measured: templates with {d}, for stated distances.
        goal: more templates after "put X".
        here: as `at`, seen from where nobody in particular stands: only without a stated frame.
        posture: whether objects stand, sit or lie so.
    """

    at: tuple[str, ...] = ()
    stative: tuple[str, ...] = ()
    finite: tuple[str, ...] = ()
    verbs: tuple[Verb, ...] = ()
    having: tuple[str, ...] = ()
    stranded: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()
    goal: tuple[str, ...] = ()
    here: tuple[str, ...] = ()
    posture: bool = True


def _verbs(*words: str) -> tuple[Verb, ...]:
    """Regular verbs, given as "touch" or "lean against": the first word is inflected."""
    return tuple(_inflected(*word.partition(" ")) for word in words)


def _inflected(verb: str, space: str, rest: str) -> Verb:
    third = verb + ("es" if verb.endswith(("ch", "s")) else "s")
    if verb.endswith("y"):
        third = verb[:-1] + "ies"
    participle = (verb[:-1] if verb.endswith("e") else verb) + "ing"
    return third + space + rest, verb + space + rest, participle + space + rest


def _of(*places: str, **more: Any) -> Forms:
    return Forms(tuple(f"{place} {{a}}" for place in places), **more)


def _sides(side: str) -> Forms:
    """Left of, right of."""
    return _of(
        f"{side} of", f"to the {side} of", f"on the {side} of", f"off to the {side} of", f"over to the {side} of",
        f"to the {side}-hand side of", f"further to the {side} than", f"further {side} than",
        f"more to the {side} than",
        measured=(f"{{d}} {side} of {{a}}", f"{{d}} to the {side} of {{a}}"),
    )  # fmt: skip


def _part_side(side: str) -> Forms:
    """At the left side of, at the right side of."""
    return _of(
        f"at the {side} side of", f"on the {side} side of", f"on the {side}-hand side of",
        f"at the {side}-hand side of",
        f"on the {side} part of", f"in the {side} third of", f"over on the {side} side of",

    )  # fmt: skip


def _compared(word: str, degree: str, noun: str, opposite: str = "", *synonyms: str) -> Forms:
    """Comparatives: `word` than, of `degree` `noun` than, not as `opposite` as."""
    not_as = (f"not as {opposite} as {{a}}", f"not so {opposite} as {{a}}") if opposite else ()
    than = tuple(f"{one} than {{a}}" for one in (word, *synonyms))
    by_noun = (f"{degree} in {noun} than {{a}}", f"of {degree} {noun} than {{a}}")
    return Forms(stative=(*than, *not_as, *by_noun), finite=(f"{word} than {{a}} {{is}}",), posture=False)


_DISTANT = ("{d} from {a}", "{d} away from {a}", "at a distance of {d} from {a}")
_BESIDE = ("{at} {a}, {d} away", "{at} {a}, at a distance of {d}", "{at} {a}, {d} away from it")


def _beside(*words: str) -> tuple[str, ...]:
    return tuple(form.replace("{at}", word) for word in words for form in _BESIDE)


FORMS: Mapping[str, Forms] = MappingProxyType(
    {
        "left of": _sides("left"),
        "right of": _sides("right"),
        "in front of": _of(
            "in front of", "ahead of", "to the front of", "on the near side of",
            "out in front of", "further forward than",
            here=("on this side of {a}", "this side of {a}"), measured=("{d} in front of {a}", "{d} ahead of {a}"),
        ),
        "behind": _of(
            "behind", "in back of", "to the rear of", "beyond", "back behind", "round the back of",
            "further back than", measured=("{d} behind {a}", "{d} in back of {a}", "{d} beyond {a}"),
        ),
        "on the other side of": _of(
            "on the other side of", "on the far side of", "on the opposite side of", "over on the other side of",
            "round the other side of", "at the other side of",
        ),
        "opposite": _of(
            "opposite", "opposite to", "across from", "directly opposite", "straight across from",
            "directly across from", "on the side opposite",
        ),
        "above": _of("above", "over", "up above", "somewhere above", "somewhere over", "up over",
                     measured=("{d} above {a}", "{d} over {a}")),
        "below": _of("below", "down below", "somewhere below", "somewhere down below",
                     measured=("{d} below {a}",)),
        "under": _of(
            "under", "underneath", "beneath", "somewhere under", "down underneath", "in the space under",
            measured=("{d} under {a}", "{d} beneath {a}", "{d} underneath {a}"),
        ),
        "higher than": replace(
            _of("higher than", "higher up than", "at a greater height than", "at a higher level than",
            "further up than"),
            verbs=_verbs("reach higher than", "reach up higher than"),
        ),
        "lower than": replace(
            _of("lower than", "lower down than", "at a lower height than", "at a lower level than",
            "further down than"),
            verbs=_verbs("reach lower than", "reach down lower than"),
        ),
        "on": _of(
            "on", "on top of", "atop", "up on", "upon",
            stative=("resting on {a}", "carried by {a}", "supported by {a}", "lying on top of {a}"),
            goal=("onto {a}", "on to {a}"),
        ),
        "inside": _of(
            "in", "inside", "inside of", "within",
            stative=("contained in {a}", "kept in {a}", "stored in {a}"), goal=("into {a}",),
        ),
        "out of": _of("outside", "outside of", stative=("not in {a}", "not inside {a}", "not contained in {a}"),
                      finite=("out of {a}",)),
        "containing": Forms(
            verbs=_verbs("contain", "hold"),
            having=("in {it}", "inside {it}", "inside"), stranded=("in", "inside", "sitting in"),
        ),
        "supporting": Forms(
            verbs=_verbs("support", "carry", "hold up"), having=("on {it}", "on top of {it}", "on top"),
            stranded=("on", "sitting on", "on top of"),
        ),
        "touching": Forms(
            verbs=_verbs("touch", "make contact with"), posture=False,
            stative=("in contact with {a}", "in direct contact with {a}", "in physical contact with {a}",
                     "touched by {a}"),
        ),
        "against": _of(
            "against", "up against",
            stative=("leaning against {a}", "propped against {a}", "propped up against {a}", "resting against {a}",
                     "leaning up against {a}"),
            verbs=_verbs("lean against", "rest against"),
        ),
        "part of": Forms(finite=("part of {a}", "a part of {a}"), verbs=_verbs("belong to", "form part of"),
            posture=False),
        "next to": _of("next to", "beside", "by", "alongside", "adjacent to", "right next to",
            "right beside",
                       "side by side with", measured=_beside("next to", "beside")),
        "near": _of("near", "near to", "close to", "somewhere near", "in the vicinity of", "somewhere close to",
                    "in the neighbourhood of", measured=_beside("near", "close to")),
        "far from": _of("far from", "far away from", "a long way from", "a long way away from", "well away from",
                        "a good way from"),
        "at a distance from": Forms(measured=(*_DISTANT, *_DISTANT)),
        "around": _of("around", "round", "somewhere around", "in the area around", "in the space around",
                      "anywhere around"),
        "between": _of("between", "in between", "somewhere between", "in the space between",
                       "in the gap between", stative=("flanked by {a}",)),
        "among": _of("among", "amongst", "in among", "in amongst", "amid", "in the midst of", "somewhere among"),
        "closest to": _of("closest to", "nearest to", "nearest", "at the smallest distance from",
                          finite=("the nearest to {a}", "the closest to {a}", "the closest one to {a}")),
        "farthest from": _of("farthest from", "furthest from", "furthest away from", "farthest away from",
                             "most distant from", "at the greatest distance from"),
        "at the edge of": _of("at the edge of", "on the edge of", "by the edge of", "right at the edge of",
                              "at an edge of", "right on the edge of"),
        "at the corner of": _of("in the corner of", "at the corner of", "on the corner of", "in a corner of",
                                "at one corner of", "in one corner of"),
        "at the centre of": _of("at the centre of", "in the centre of", "in the middle of", "right in the middle of",
                                "in the very centre of", "right at the centre of"),
        "at the end of": _of("at the end of", "on the end of", "at one end of", "at an end of", "by the end of",
                             "right at the end of"),
        "at the left side of": _part_side("left"),
        "at the right side of": _part_side("right"),
        "at the front of": _of("at the front of", "towards the front of", "on the front part of",
            "in the front part of",
                               "up at the front of", "in the front third of"),
        "at the back of": _of("at the back of", "towards the back of", "at the rear of", "on the back part of",
                              "right at the back of", "in the rear part of"),
        "at the top of": _of("at the top of", "up at the top of", "near the top of", "in the upper part of",
                             "in the top part of", "towards the top of", "in the upper third of"),
        "in the middle of the height of": _of("in the middle of the height of", "halfway up", "about halfway up",
                                              "midway up", "at half the height of", "half way up"),
        "at the bottom of": _of("at the bottom of", "down at the bottom of", "near the bottom of",
            "in the lower part of",
                                "in the bottom part of", "towards the bottom of", "in the lower third of"),
        "facing": Forms(
            verbs=_verbs("face", "look at", "look towards"), posture=False,
            stative=("turned towards {a}", "oriented towards {a}"),
        ),
        "facing away from": Forms(
            verbs=_verbs("face away from", "look away from", "point away from"), posture=False,
            stative=("turned away from {a}", "oriented away from {a}"),
        ),
        "taller than": _compared("taller", "greater", "height", "short"),
        "shorter than": _compared("shorter", "smaller", "height", "tall"),
        "larger than": _compared("larger", "greater", "size", "small", "bigger"),
        "smaller than": _compared("smaller", "smaller", "size", "big", "littler"),
        "longer than": _compared("longer", "greater", "length"),
        "wider than": _compared("wider", "greater", "width", "narrow", "broader"),
        "narrower than": _compared("narrower", "smaller", "width", "wide"),
        "thicker than": _compared("thicker", "greater", "thickness", "thin"),
        "thinner than": _compared("thinner", "smaller", "thickness", "thick", "slimmer"),
        "closer than": Forms(stative=("closer than {a}", "nearer than {a}", "not as far away as {a}",
                                      "less far away than {a}", "not so far away as {a}", "closer by than {a}"),
                                      posture=False),
        "farther than": Forms(stative=("farther away than {a}", "further away than {a}", "further off than {a}",
                                       "farther than {a}", "more distant than {a}", "not as close as {a}"),
                                       posture=False),
        "other than": Forms(stative=("other than {a}", "different from {a}"),
                            finite=("not {a}", "not the same as {a}", "not the same thing as {a}"), posture=False),
    }
)  # fmt: skip

OTHER_SIDE_FROM = (
    "on the other side of {a} from {b}",
    "on the far side of {a} from {b}",
    "on the opposite side of {a} from {b}",
    "across {a} from {b}",
    "over on the other side of {a} from {b}",
    "on the other side of {a} as seen from {b}",
)
"""Ways to say that an object is on the other side of one object from another."""

FRAMED = frozenset(
    {
        "left of", "right of", "in front of", "behind", "on the other side of", "closer than", "farther than",
        "at the left side of", "at the right side of", "at the front of", "at the back of",
    }
)  # fmt: skip
"""Relations that depend on the frame of reference."""

CONVERSES: Mapping[str, str] = MappingProxyType(
    {
        "out of": "inside",
        "shorter than": "taller than",
        "smaller than": "larger than",
        "narrower than": "wider than",
        "thinner than": "thicker than",
        "farther than": "closer than",
    }
)
"""Relations whose margin is the negative of another's."""

_LEFT_OUT = frozenset({"not", "less", "no"})


def negatable(template: str) -> bool:
    """Whether "not" may come before it."""
    return template.split()[0] not in _LEFT_OUT


FRAME_WORDS: Mapping[FrameOfReference, tuple[str, ...]] = MappingProxyType(
    {
        FrameOfReference.VIEWER: (
            "from the camera's point of view", "from the camera's perspective", "as seen from the camera",
            "as the camera sees it", "from the viewer's point of view", "seen from the camera",
            "from the camera's view",
        ),
        FrameOfReference.ROBOT: (
            "from your point of view", "from your perspective", "from where you stand", "from where you are",
            "as you see it", "from the robot's point of view", "from the robot's perspective", "as seen from your side",
            "seen from where you are",
        ),
        FrameOfReference.SPEAKER: (
            "from my point of view", "from my perspective", "from where I stand", "from where I am", "as I see it",
            "from where I'm standing", "from where I sit", "as seen from my side", "seen from where I am",
        ),
        FrameOfReference.WORLD: (
            "in the world frame", "in world coordinates", "with respect to the world frame",
            "in the world frame of reference", "relative to the world frame",
        ),
        FrameOfReference.OBJECT: (
            "from {its} own point of view", "from {its} point of view", "from {its} perspective",
            "from {its} own perspective",
        ),
    }
)  # fmt: skip
"""Ways to say whose left; {its} is "its" or "the chair's"."""
