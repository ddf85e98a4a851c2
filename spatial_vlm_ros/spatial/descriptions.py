# SPDX-License-Identifier: Apache-2.0
"""Descriptions that tell some objects apart: words, what the parser reads in them, and how well they fit each object.

Only a description that clearly holds for one part and clearly fails for the rest is useful. The functions that will
judge the answer also measure how well each description fits.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import FrameUndefinedError, InputError, NotUnderstoodError
from spatial_vlm_ros.language.dialogue import parse_answer
from spatial_vlm_ros.language.lexicon import NUMBERS, ORDINALS, SUPERLATIVE_OF_ORDER
from spatial_vlm_ros.language.rendering import named
from spatial_vlm_ros.language.words import plural
from spatial_vlm_ros.spatial import superlatives
from spatial_vlm_ros.spatial.attributes import NO, YES, attribute_likelihood, colour_shares
from spatial_vlm_ros.spatial.belief import clause_likelihood
from spatial_vlm_ros.spatial.colours import colour_family
from spatial_vlm_ros.spatial.layout import Array, Layout, Viewpoint
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.types import FrameOfReference, NounPhrase, Ordinal, RelationClause, SceneObject

CLEAR = 0.9
"""Fit from which a description clearly holds for an object; below one minus this it clearly does not."""

GENERIC = "object"
_MOSTLY = 0.5  # fraction of its pixels that makes an object "the red one" if the detector gives no colour
_MOST_COUNTED = 20  # most objects in a row that people count
_MEMBER = 0.3  # weight from which an object takes part in comparisons of sizes and colours
_ROUNDING = 1e-9
_LONGEST = 30  # characters of a label or attribute that is spoken

_BEFORE, _AFTER, _NOUN = "before", "after", "noun"

PAIRS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    ("across", (("leftmost", "left", "leftmost"), ("rightmost", "right", "rightmost"))),
    ("away", (("nearest", "nearer", "nearest"), ("farthest", "farther", "farthest"))),
    ("height", (("highest", "upper", "highest"), ("lowest", "lower", "lowest"))),
    ("tallness", (("tallest", "taller", "tallest"), ("shortest", "shorter", "shortest"))),
    ("bulk", (("largest", "larger", "largest"), ("smallest", "smaller", "smallest"))),
)
"""Kind → its two orders: canonical superlative, the word for one of two, the word for one of more."""

COUNTED = (("left", "from the left"), ("near", "from the front"), ("top", "from the top"))
"""Sides that objects are counted from, and their words."""

LANDMARKS = (
    ("inside", "in"),
    ("on", "on"),
    ("under", "under"),
    ("next to", "next to"),
    ("behind", "behind"),
    ("in front of", "in front of"),
    ("left of", "left of"),
    ("right of", "right of"),
)
"""Relation to a landmark → the word for it, best first."""

KINDS = ("attribute", "label", "across", "away", "height", "tallness", "bulk", "landmark")
"""In the order of preference if nothing else decides."""

POSITIONS = ("across", "away", "height")
"""Kinds that say where an object is; among these the wider gap is preferred."""


@dataclasses.dataclass(frozen=True, eq=False)
class Description:
    """A description of an object."""

    kind: str  # one of KINDS, or "count"
    core: str  # the distinguishing words: "red", "mug", "next to the bowl"
    place: str
    meaning: tuple[NounPhrase, ...]  # what the parser must read in them
    fits: Array  # (R,) probability for each of the objects
    gap: float = 0.0  # metres by which an order separates, 0 for other kinds

    @property
    def denies(self) -> bool:
        """True if it says what does not hold."""
        return any(clause.negated for clause in self.meaning[0].relations)

    @cached_property
    def words(self) -> int:
        """Number of words."""
        return len(self.core.split())

    @cached_property
    def held(self) -> frozenset[int]:
        """Indices of the objects that it clearly holds for; empty if it is unclear for any."""
        fits = self.fits.tolist()
        if all(CLEAR <= fit < math.inf or -math.inf < fit <= 1.0 - CLEAR for fit in fits):
            return frozenset(n for n, fit in enumerate(fits) if fit >= CLEAR)
        return frozenset()

    def naming(self, noun: str, several: bool = False) -> str:
        """The description with a noun: "the red cup", "the cup next to the bowl", "the mug"."""
        noun = plural_of(noun) if several else noun
        if self.place == _NOUN:
            return f"the {plural_of(self.core) if several else self.core}"
        if self.kind == "count":
            nth, _, side = self.core.partition(" ")
            return f"the {nth} {noun} {side}"
        return f"the {self.core} {noun}" if self.place == _BEFORE else f"the {noun} {self.core}"

    def said(self, several: bool = False) -> str:
        """The description for "one": "the red one", "the one next to the bowl", "the mug"."""
        return self.naming("one", several)

    def understood(self, several: bool = False) -> bool:
        """True if the parser reads the intended meaning in it."""
        return _read(self.said(several)) in self.meaning


@dataclasses.dataclass(frozen=True, eq=False)
class Describer:
    """Find descriptions for some of a scene's objects."""

    layout: Layout
    rows: npt.NDArray[np.intp]  # (R,) the objects to tell apart
    members: Array  # (N,) degree to which each object of the scene belongs to the set that an order counts, 0 to 1
    frame: FrameOfReference
    noun: str  # name of the objects; "object" for any object

    @cached_property
    def _view(self) -> Viewpoint | None:
        try:
            return self.layout.viewpoint(self.frame)
        except FrameUndefinedError:
            return None

    @cached_property
    def _onlooker(self) -> Viewpoint | None:
        """The viewpoint for an order among objects; the camera if each object is seen from its own side."""
        own = self.frame is FrameOfReference.OBJECT
        return self.layout.viewpoint(FrameOfReference.VIEWER) if own else self._view

    @cached_property
    def objects(self) -> list[SceneObject]:
        """The objects to tell apart."""
        return [self.layout.scene.objects[int(row)] for row in self.rows]

    # -------------------------------------------------------------------------------------------- what is seen

    def attributes(self) -> Iterator[Description]:
        """Attributes from the detector and, if it gives no colour, colours measured from pixels."""
        layout, n = self.layout, len(self.layout)  # of these objects only
        values = {
            f.name: getattr(layout, f.name) for f in dataclasses.fields(layout) if f.name not in ("scene", "axes")
        }
        per_object: dict[str, Any] = {
            name: v[self.rows] for name, v in values.items() if isinstance(v, np.ndarray) and v.shape[:1] == (n,)
        }
        some = dataclasses.replace(
            layout, scene=dataclasses.replace(layout.scene, objects=tuple(self.objects)), **per_object
        )
        everyone = np.ones(len(self.rows), np.bool_)
        words: dict[str, None] = {}
        for obj in self.objects:
            given = [word.lower() for word in obj.detection.attributes]
            words |= dict.fromkeys(word for word in given if _speakable(word))
            if not any(colour_family(word) for word in given):
                shares = colour_shares(obj, self.layout)
                words |= dict.fromkeys(family for family, share in shares.items() if share > _MOSTLY)
        for word in words:
            if colour_family(word) is not None or _is_adjective(word):
                fits = attribute_likelihood(word, some, some.viewpoint(FrameOfReference.VIEWER), everyone)
                yield Description("attribute", word, _BEFORE, (NounPhrase(GENERIC, (word,)),), fits)
            elif self.noun != GENERIC:  # "the bonnet one" of the chicks is a bonnet chick
                fits = np.array([YES if word in words_of(t) else NO for t in self.objects])
                yield Description("attribute", word, _BEFORE, (NounPhrase(word),), fits)

    def labels(self) -> Iterator[Description]:
        """Labels of the detector that differ from the name in use."""
        for label in dict.fromkeys(obj.detection.label for obj in self.objects):
            name = spoken(label)
            if name is not None and name != self.noun:
                own = frozenset(name.split())
                fits = np.array([YES if own <= words_of(obj) else NO for obj in self.objects])
                yield Description("label", name, _NOUN, (NounPhrase(name),), fits)

    # -------------------------------------------------------------------------------------------- orders

    @cached_property
    def orders(self) -> tuple[Description, ...]:
        """Left and right, near and far, high and low, tall and short, large and small."""
        if self._onlooker is None:
            return ()
        found = []
        few, two = len(self.rows) <= 3, len(self.rows) == 2
        for kind, pair in PAIRS:
            for word, of_two, of_more in pair:
                key = superlatives.key_of(word, self.layout, self._onlooker)
                fits = superlatives.places_in_order(key, self.members, (1,))[0][self.rows]
                meaning = (NounPhrase(GENERIC, superlative=word),)
                short = few if kind == "across" else two  # of three: the left, the middle, the right one
                found.append(Description(kind, of_two if short else of_more, _BEFORE, meaning, fits, self._gap(key)))
        if len(self.rows) == 3:
            key = superlatives.key_of("leftmost", self.layout, self._onlooker)
            fits = superlatives.middle_of_spread(self.layout, self._onlooker, self.members)[0][self.rows]
            word = superlatives.MIDDLE
            meaning = (NounPhrase(GENERIC, superlative=word),)
            found.append(Description("across", word, _BEFORE, meaning, fits, self._gap(key)))
        return tuple(found)

    def first_of(self, count: int) -> Iterator[Description]:
        """Groups at one end of each order: "the two leftmost ones"."""
        if self._onlooker is None:
            return
        number = next((word for word, value in NUMBERS.items() if value == count), str(count))
        for kind, pair in PAIRS:
            for word, _, of_more in pair:
                key = superlatives.key_of(word, self.layout, self._onlooker)
                places = superlatives.places_in_order(key, self.members, range(1, count + 1))
                fits = np.minimum(np.sum(places, axis=0), 1.0)[self.rows]
                meaning = (NounPhrase(GENERIC, superlative=word),)
                yield Description(kind, f"{number} {of_more}", _BEFORE, meaning, fits, self._gap(key))

    @cached_property
    def counted(self) -> dict[str, tuple[Description, ...]]:
        """Side → the position of each object in the order from it, one description for each position, first to last."""
        many = int(np.count_nonzero(self.members > _MEMBER))
        if self._onlooker is None or many > _MOST_COUNTED:
            return {}
        found, places = {}, range(1, many + 1)
        for side, words in COUNTED:
            key = superlatives.key_of(SUPERLATIVE_OF_ORDER[side], self.layout, self._onlooker)
            gap, of_side = self._gap(key), []
            for n, likelihood in zip(places, superlatives.places_in_order(key, self.members, places), strict=True):
                fits = likelihood[self.rows]
                if fits.max() > 1.0 - CLEAR:
                    meaning = (NounPhrase(GENERIC, ordinal=Ordinal(n, side)),)
                    of_side.append(Description("count", f"{ordinal(n)} {words}", _BEFORE, meaning, fits, gap))
            found[side] = tuple(of_side)
        return found

    def _gap(self, key: superlatives.Key) -> float:
        """Least difference between two neighbours in an order, metres."""
        values = np.sort(key.value[self.rows])
        gap = float(np.diff(values).min()) if len(values) > 1 else 0.0
        return gap if np.isfinite(gap) else 0.0

    # -------------------------------------------------------------------------------------------- landmarks

    def landmarks(self) -> Iterator[Description]:
        """Descriptions by a relation, or its negation, to an object with a unique name ("left of the box")."""
        marks = list(self._unique())
        anchors = np.array([row for row, _ in marks], np.intp)
        if self._view is None or not len(anchors):
            return
        pairs = Pairs(self.layout, self._view, self.rows, anchors)
        for relation, word in LANDMARKS:
            try:
                margin, sigma = RELATIONS[relation](pairs)
            except FrameUndefinedError:
                continue
            likelihood = clause_likelihood(margin, sigma)
            # For most landmarks all objects are on one side, and checking that is faster than building words.
            apart = np.ptp(likelihood, axis=0) > CLEAR - (1.0 - CLEAR) - _ROUNDING
            for column, mark in ((c, mark) for c, (_, mark) in enumerate(marks) if apart[c]):
                core, fits = f"{word} {the(mark)}", likelihood[:, column]
                said, denied = (
                    (NounPhrase(GENERIC, relations=(RelationClause(relation, (mark,), negated=n),)),)
                    for n in (False, True)
                )
                yield Description("landmark", core, _AFTER, said, fits)
                yield Description("landmark", f"that is not {core}", _AFTER, denied, 1.0 - fits)

    def _unique(self) -> Iterator[tuple[int, NounPhrase]]:
        """Measured objects, except those in question, with a unique name: a label, or a label and an attribute."""
        objects = self.layout.scene.objects
        told = [words_of(obj) for obj in objects]
        asked = {int(row) for row in self.rows}
        named: dict[str, list[int]] = {}  # objects that a name fits
        for row, obj in enumerate(objects):
            name = spoken(obj.detection.label)
            if row in asked or name is None or not self.layout.measured[row]:
                continue
            if name not in named:
                own = frozenset(name.split())
                named[name] = [other for other in range(len(objects)) if own <= told[other]]
            same = [other for other in named[name] if other != row]
            if not same:
                yield row, NounPhrase(name)
                continue
            words = (word.lower() for word in obj.detection.attributes)
            unlike = (w for w in words if _speakable(w) and _is_adjective(w) and all(w not in told[o] for o in same))
            word = next(unlike, None)
            if word is not None:
                yield row, NounPhrase(name, (word,))


def the(phrase: NounPhrase) -> str:
    """Attributes and name with the article: "the red box"."""
    return f"the {named(phrase)}"


def ordinal(n: int) -> str:
    """A position in words if the parser has a word for it: "second", "21st"."""
    for word, value in ORDINALS.items():
        if value == n:
            return word
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def spoken(label: str) -> str | None:
    """A label in a form that can be spoken, or None: labels come from outside and may contain anything."""
    name = " ".join(label.lower().replace("_", " ").split())
    return name if _speakable(name) else None


def words_of(obj: SceneObject) -> frozenset[str]:
    """All words that the detector gives for an object."""
    given = (obj.detection.label, *obj.detection.attributes)
    return frozenset(word for text in given for word in text.lower().replace("_", " ").split())


def _speakable(text: str) -> bool:
    letters = text.replace(" ", "").replace("-", "")
    return 0 < len(text) <= _LONGEST and letters.isascii() and letters.isalpha()


def _is_adjective(word: str) -> bool:
    """True if the parser reads the word in "the … one" as an attribute and not as a kind."""
    said = _read(f"the {word} one")
    return said is not None and said.attributes == (word,)


@lru_cache(maxsize=1024)
def _read(answer: str) -> NounPhrase | None:
    """The parser's reading of an answer, without its count; None if there is none, or not one object."""
    try:
        readings = parse_answer(answer)
    except (InputError, NotUnderstoodError):
        return None
    if len(readings) != 1 or readings[0].action != "find":
        return None
    return dataclasses.replace(readings[0].target, count=None)


def plural_of(noun: str) -> str:
    """The plural of a name: "soup cans"."""
    *modifiers, head = noun.split(" ")
    return " ".join([*modifiers, plural(head)])
