# SPDX-License-Identifier: Apache-2.0
"""Match a detector's label to a phrase: parts of labels, synonyms and hypernyms from the reviewed lists of names.toml.

The most specific sense that has any referent wins. If an object labelled "container" is in view, "the container" is
that object and not every cup and can; with a green mug and a purple cup in view there is no purple mug.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.files.documents import table_of
from spatial_vlm_ros.language.distances import is_unit
from spatial_vlm_ros.language.lexicon import CONTAINERS, NUMBERS
from spatial_vlm_ros.spatial.colours import colour_family, other_material
from spatial_vlm_ros.spatial.layout import is_own_sided
from spatial_vlm_ros.types import Detection, NounPhrase

SAME, PART, SYNONYM, HYPERNYM, HEAD_ONLY, OTHER_KIND, LESS_SPECIFIC, NONE = 1.0, 0.95, 0.9, 0.88, 0.86, 0.6, 0.4, 0.0
"""Fit by kind of match, in this order. The same head noun. A part of the label ("the spam"). A synonym. A hypernym.
The same head noun with a modifier that no label has ("the kitchen rack" beside one metal rack): an unseen object is
as likely, so it counts little against the only candidate. The same head noun of another kind ("the cup" for a
measuring cup). A label of a wider kind. No match."""

_TIERS = (SAME, PART, SYNONYM, HYPERNYM, HEAD_ONLY, OTHER_KIND, LESS_SPECIFIC)
_LESS_SPECIFIC_BESIDE_BETTER = 0.05  # what is left of a looser match if a more specific one is in view

_READ: dict[str, Any] = table_of(__package__, "names.toml")
_HOLDERS, _TOOLS, _PACKS, _LIKENESSES, _FORMS, _STUFFS, _DESCRIBING = (
    frozenset(_READ[name].split())
    for name in ("holders", "tools", "packs", "likenesses", "forms", "stuffs", "describing")
)
_ANYTHING = frozenset({"object", "thing", "item"})
_KINDS = frozenset({"toy"})  # hypernyms that a label may begin with
_LONGEST_NAME = 4  # words of a listed name
_AMOUNTS = frozenset({"pair", "a pair", "piece", "a piece", "set", "a set", "bit", "a bit"})
_ONE_NAME = {phrase: name for name, phrases in _READ["one_name"].items() for phrase in phrases}
_SEVERAL_WORDS = re.compile(rf"\b(?:{'|'.join(sorted(_ONE_NAME, key=len, reverse=True))})")


def _singular(word: str) -> str:
    """Turn plural into singular, well enough to compare words ("scissors" and "scissor" are one)."""
    if word.endswith(("ss", "us", "is")) or len(word) < 4:
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses", "oes")):
        return word[:-2]
    return word.removesuffix("s")


_SYNONYM_SETS = tuple(frozenset(map(_singular, group.strip("=").split())) for group in _READ["synonyms"])
_OF_SAME_KINDS = tuple(sets for sets, group in zip(_SYNONYM_SETS, _READ["synonyms"], strict=True) if group[0] == "=")


def label_match(phrases: Sequence[NounPhrase], detections: Sequence[Detection]) -> npt.NDArray[np.float64]:
    """How well each label fits the category of each phrase: (P, N) float64 in 0..1.

    Args:
        detections: N detections; a word of the category may also be one of a detection's attributes.
    """
    match = np.zeros((len(phrases), len(detections)))
    for p, phrase in enumerate(phrases):
        for n, detection in enumerate(detections):
            match[p, n] = label_fit(phrase.category, detection.label, tuple(detection.attributes))
        best = match[p].max(initial=0.0)
        # as specific as the best one: by name, then by kind, then vaguely
        tier = next((floor for floor in _TIERS if best >= floor), 0.0)
        looser = match[p] < tier
        match[p, looser] = _LESS_SPECIFIC_BESIDE_BETTER * np.minimum(match[p, looser], OTHER_KIND)
    return match


@lru_cache(maxsize=4096)
def label_fit(category: str, label: str, attributes: tuple[str, ...] = ()) -> float:
    """Fit of one label to one category, 0 to 1; see the constants for what each value means."""
    said, seen = _words(category), _words(label)
    if not said or not seen:
        return NONE
    if said == ("object",) or category in _ANYTHING:
        return SAME
    given = frozenset(word for a in attributes for word in _words(a))
    fit = _named(said, seen, given)
    for length, number in _ending(said):  # both may end in two names of one object: "sorting tray" and "divided tray"
        for other, same in _ending(seen):
            if number == same:
                alike = _named((*said[:-length], "it"), (*seen[:-other], "it"), given)
                whole = (length, other) == (len(said), len(seen))  # a remote is a remote control, not any controller
                fit = max(fit, min(alike, PART if whole else SYNONYM))
    if fit > LESS_SPECIFIC:
        return fit
    # A detector calls cream cheese "the cream cheese box", and the bbq sauce a sauce bottle. A bag of apples is not an
    # apple, and a packet of sugar is not a sugar bowl.
    if len(said) > 1 and said[-1] in _PACKS and seen[-1] not in _HOLDERS | _members("fruit") | _members("vegetable"):
        inside = _named(said[:-1], seen, given)
        fit = max(fit, SYNONYM if inside in (SAME, SYNONYM) else NONE)
    if len(seen) > 1 and seen[-1] in _HOLDERS and said[-1] not in _HOLDERS | _KINDS:
        inside = _named(said, seen[:-1], given)
        inside = NONE if inside == LESS_SPECIFIC else inside  # a toy box is not a dinosaur
        fit = max(fit, OTHER_KIND if inside == HYPERNYM else min(inside, HEAD_ONLY))
    form, of, stuff = label.lower().partition(" of ")
    if of and form.split()[-1] in _FORMS:
        fit = max(fit, min(_named(said, _words(stuff), given), PART))
    return fit


def _ending(words: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    for length in range(1, min(len(words), _LONGEST_NAME) + 1):
        for number, plainly in _names().get(words[-length:], ()):
            if not plainly or all(map(_describes, words[:-length])):
                yield length, number


@lru_cache(maxsize=1)
def _names() -> dict[tuple[str, ...], tuple[tuple[int, bool], ...]]:
    """Words of a listed name → its groups, and whether only describing words may precede it there."""
    found: dict[tuple[str, ...], tuple[tuple[int, bool], ...]] = {}
    for number, group in enumerate(_READ["names"]):
        for name in group.split("|"):
            words = _words(name.removeprefix("="))
            found[words] = (*found.get(words, ()), (number, name.startswith("=")))
    return found


def _synonyms(word: str, other: str) -> bool:
    return any({word, other} <= group for group in _SYNONYM_SETS)


def _named(said: tuple[str, ...], seen: tuple[str, ...], given: frozenset[str]) -> float:
    """Fit of the words of a label, and of the detector's other words for the object, to the words of a phrase."""
    *said_modifiers, said_head = said
    *seen_modifiers, seen_head = seen
    unknown = []
    for word in said_modifiers:
        is_kind = any(other in _members(word) or _synonyms(word, other) for other in seen_modifiers)
        if word not in given and word not in seen_modifiers and (_describes(word) or not is_kind):
            unknown.append(word)
    # Modifiers of one kind exclude each other: a soup can is not a tuna can. Material and storage place exclude
    # nothing: a tin can may be the soup can.
    apart = any(not _describes(word) for word in unknown) and any(
        not _describes(word) for word in seen_modifiers if word not in said
    )
    if said_head == seen_head or _synonyms(said_head, seen_head):
        own = _own_kinds(said_head) | _own_kinds(seen_head)
        if not unknown and not own.isdisjoint(set(seen_modifiers) - set(said)):
            return OTHER_KIND  # a measuring cup may be called a cup if nothing else is one
        if not unknown:
            return SAME if said_head == seen_head else SYNONYM
        same_kinds = said_head == seen_head or any({said_head, seen_head} <= group for group in _OF_SAME_KINDS)
        other_kind = not same_kinds and not all(map(_describes, unknown))  # an ice block is not a foam brick
        other_kind |= not own.isdisjoint(unknown)
        told = {*seen_modifiers, *given}
        colours = {colour_family(word) for word in told} - {None}
        asked = {colour_family(word) for word in unknown} - {None}
        excluded = bool(asked and colours and not asked & colours) or any(other_material(w, told) for w in unknown)
        excluded |= any(word[0].isdigit() or word in NUMBERS or is_unit(word) for word in unknown)  # not measured
        return NONE if apart or other_kind or excluded else HEAD_ONLY
    if seen_head == "dispenser" and said_head in _STUFFS and set(said) <= set(seen_modifiers):
        return OTHER_KIND
    if said_head in _KINDS and said_head in seen_modifiers and not unknown:
        return NONE if seen_head in CONTAINERS else HYPERNYM  # a toy train, as a rubber duck, is a toy; a toy box none
    if set(said) <= set(seen_modifiers) and (seen_head in _HOLDERS or said_head not in _KNOWN_OBJECTS):
        return NONE if seen_head in _TOOLS else PART
    if seen_head in _LIKENESSES and is_own_sided(said_head) and seen_modifiers:
        shown = min(_named(said, tuple(seen_modifiers), given), PART)
        if shown > HEAD_ONLY:
            return shown
    if said_head in seen_modifiers and seen_head in _HOLDERS:
        return LESS_SPECIFIC
    if seen_head in _members(said_head) and not unknown:
        return HYPERNYM
    if seen_head in {own + said_head for own in _own_kinds(said_head)} and not unknown:
        return OTHER_KIND  # a lunchbox may be called a box
    if (said_head in _members(seen_head) and not said_modifiers) or seen_head in _ANYTHING:
        return LESS_SPECIFIC
    return NONE


def _describes(modifier: str) -> bool:
    return modifier in _DESCRIBING or colour_family(modifier) is not None


@lru_cache(maxsize=256)
def _own_kinds(head: str) -> frozenset[str]:
    return frozenset(_READ["own_kinds"].get(head, "").split())


@lru_cache(maxsize=64)
def _members(hypernym: str) -> frozenset[str]:
    return frozenset(map(_singular, _READ["kinds"].get(hypernym, "").split()))


_KNOWN_OBJECTS = frozenset[str]().union(*map(_members, _READ["kinds"]), *_SYNONYM_SETS)
"""Nouns of the tables: "can" names an object itself, so a can opener is not a can."""


@lru_cache(maxsize=4096)
def _words(text: str) -> tuple[str, ...]:
    """Lower-case words without plural endings, the head last; hyphens and underscores separate words.

    "A box of crackers" is a cracker box, "a chest of drawers" and the like are one name, and a pair of X is an X.
    """
    plain = " ".join(text.lower().replace("_", " ").replace("-", " ").split())
    plain = _SEVERAL_WORDS.sub(lambda found: _ONE_NAME[found[0]], plain)
    first, of, rest = plain.partition(" of ")
    if of and rest:
        plain = rest if first in _AMOUNTS else f"{rest} {first}"
    words = tuple(_READ["diminutives"].get(word) or _singular(word) for word in plain.split())
    return words[1:] if len(words) > 1 and words[0] in ("a", "an", "the") else words
