# SPDX-License-Identifier: Apache-2.0
"""Random meanings: what people might ask of a robot, with every relation of docs/relations.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

import numpy as np

from research.speech import nouns
from research.speech.canonical import frames_said, reframed
from research.speech.forms import FRAMED
from research.speech.lengths import METRES
from research.speech.phrases import SUPERLATIVES
from spatial_vlm_ros.language.lexicon import FRAMED_SUPERLATIVES
from spatial_vlm_ros.types import (
    Destination,
    Distance,
    FrameOfReference,
    NounPhrase,
    Ordinal,
    RelationClause,
    SpatialQuery,
    Step,
)

_OBJECTS = (*nouns.SMALL, *nouns.SMALL, *nouns.CONTAINERS)
_OFTEN, _SOMETIMES, _SELDOM = 8, 3, 2


@dataclass(frozen=True)
class _Use:
    """How often a relation is said, of what, to what, and whether objects are put so."""

    often: int
    anchors: tuple[str, ...] = _OBJECTS
    targets: tuple[str, ...] = _OBJECTS
    goal: bool = False
    plural: float = 0.08  # share of plural anchors


_USES: Mapping[str, _Use] = MappingProxyType(
    {
        **{name: _Use(_OFTEN, goal=True) for name in ("left of", "right of", "in front of", "behind", "next to")},
        "on": _Use(_OFTEN, nouns.SURFACES, goal=True, plural=0.0),
        "inside": _Use(_OFTEN, nouns.HOLDERS, nouns.SMALL, goal=True, plural=0.0),
        "between": _Use(_OFTEN, goal=True, plural=0.35),
        "near": _Use(5, goal=True),
        "under": _Use(5, nouns.OVERHEAD, goal=True, plural=0.0),
        "above": _Use(_SOMETIMES),
        "below": _Use(_SOMETIMES, nouns.OVERHEAD, plural=0.0),
        "on the other side of": _Use(_SOMETIMES, goal=True, plural=0.0),
        "opposite": _Use(_SOMETIMES, goal=True, plural=0.0),
        "higher than": _Use(_SELDOM),
        "lower than": _Use(_SELDOM),
        "out of": _Use(_SELDOM, nouns.HOLDERS, nouns.SMALL, plural=0.0),
        "containing": _Use(4, nouns.SMALL, nouns.CONTAINERS, plural=0.15),
        "supporting": _Use(_SOMETIMES, nouns.SMALL, nouns.BORNE, plural=0.1),
        "touching": _Use(4),
        "against": _Use(4, nouns.LEANED_ON, goal=True, plural=0.0),
        "part of": _Use(4, plural=0.0),
        "far from": _Use(4, goal=True),
        "at a distance from": _Use(4, goal=True, plural=0.0),
        "around": _Use(_SELDOM, goal=True, plural=0.0),
        "among": _Use(4, goal=True, plural=1.0),
        "closest to": _Use(5, plural=0.0),
        "farthest from": _Use(4, plural=0.0),
        "at the edge of": _Use(4, nouns.LONG, goal=True, plural=0.0),
        "at the corner of": _Use(4, nouns.LONG, goal=True, plural=0.0),
        "at the centre of": _Use(4, (*nouns.LONG, "plate", "mat"), goal=True, plural=0.0),
        "at the end of": _Use(_SELDOM, nouns.LONG, goal=True, plural=0.0),
        **{
            f"at the {side} of": _Use(_SELDOM, nouns.LONG, goal=True, plural=0.0)
            for side in ("left side", "right side", "front", "back")
        },
        "at the top of": _Use(_SELDOM, nouns.TALL, goal=True, plural=0.0),
        "in the middle of the height of": _Use(_SELDOM, nouns.TALL, plural=0.0),
        "at the bottom of": _Use(_SELDOM, nouns.TALL, goal=True, plural=0.0),
        "facing": _Use(_SOMETIMES, targets=nouns.FRONTED, plural=0.0),
        "facing away from": _Use(_SELDOM, targets=nouns.FRONTED, plural=0.0),
        **{f"{word} than": _Use(_SOMETIMES) for word in ("taller", "larger", "smaller")},
        **{f"{word} than": _Use(_SELDOM) for word in ("shorter", "longer", "wider", "narrower", "thicker", "thinner")},
        "closer than": _Use(_SELDOM),
        "farther than": _Use(_SELDOM),
        "other than": _Use(_SELDOM, plural=0.0),
    }
)
_GOALS = tuple(name for name, use in _USES.items() if use.goal)
_EXACT = frozenset({"left of", "right of", "in front of", "behind", "above", "below", "under", "next to", "near"})
_ACTIONS: Mapping[str, int] = MappingProxyType(
    {"pick": 34, "give": 14, "place": 18, "find": 12, "point": 4, "push": 3, "pull": 2, "open": 3, "close": 2,
    "press": 2,
     "touch": 2, "look": 2, "go": 2}
)  # fmt: skip
_FITTING: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"open": nouns.OPENED, "close": nouns.OPENED, "push": nouns.SHOVED, "pull": nouns.SHOVED, "press": nouns.PRESSED,
     "go": nouns.VISITED}
)  # fmt: skip
_FIT_ALL = ("left of", "right of", "in front of", "behind", "next to", "near", "closest to", "far from", "between")


@dataclass
class _Maker:
    """Draws one meaning; no noun is used twice in it."""

    rng: np.random.Generator
    used: set[str] = field(default_factory=set)

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def choose(self, options: Sequence[str]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def weighted(self, weights: Mapping[str, int]) -> str:
        share = np.array(list(weights.values()), np.float64)
        return list(weights)[int(self.rng.choice(len(share), p=share / share.sum()))]

    def noun(self, options: Sequence[str]) -> str:
        """One that was not said yet."""
        left = [noun for noun in options if noun not in self.used]
        noun = self.choose(left)
        self.used.add(noun)
        return noun

    def obj(self, options: Sequence[str], plain: bool = False) -> NounPhrase:
        """A noun with what one sees of it."""
        if options == _OBJECTS and not plain and self.chance(0.04):
            return NounPhrase("object", (self.choose(nouns.COLOURS),) if self.chance(0.5) else ())
        noun = self.noun(options)
        attributes = tuple(word for word in self.looks(noun) if word != noun)
        return NounPhrase(noun, attributes)

    def looks(self, noun: str) -> tuple[str, ...]:
        """Size, condition, colour and material, in the order in which they are said."""
        made = (self.choose(nouns.MATERIALS),) if noun not in nouns.GROWN else ()
        kinds = self.rng.random()
        if kinds < 0.3:
            return (self.choose(nouns.COLOURS),)
        if kinds < 0.38:
            return (self.choose(nouns.SIZES),)
        if kinds < 0.43:
            return made
        if kinds < 0.47:
            return (self.choose(nouns.FILLINGS if noun in nouns.CONTAINERS else nouns.KINDS),)
        if kinds < 0.53:
            return (self.choose(nouns.SIZES), self.choose(nouns.COLOURS))
        return (self.choose(nouns.COLOURS), *made) if kinds < 0.56 else ()

    def anchor(self, options: Sequence[str], plural: float) -> NounPhrase:
        phrase = self.obj(options)
        if phrase == NounPhrase("object"):
            return replace(phrase, attributes=(self.choose(nouns.COLOURS),))
        if phrase.category != "object" and self.chance(plural):
            return replace(phrase, count=(-1, -1, 2, 3)[int(self.rng.integers(4))])
        return phrase

    def ranked(self, phrase: NounPhrase) -> NounPhrase:
        """With a superlative or an ordinal."""
        attributes = tuple(word for word in phrase.attributes if word not in nouns.SIZES)
        phrase = replace(phrase, attributes=attributes)
        if self.chance(0.7):
            superlative = self.choose(tuple(SUPERLATIVES))
            framed = superlative in FRAMED_SUPERLATIVES
            return replace(phrase, superlative=superlative, frame=self.frame() if framed else None)
        side = self.choose(("left", "right", "left", "right", "near", "far", "top", "bottom"))
        least = 1 if side in ("left", "right") else 2
        frame = self.frame() if side in ("left", "right") else None
        return replace(phrase, ordinal=Ordinal(int(self.rng.integers(least, 5)), side), frame=frame)

    def several(self, phrase: NounPhrase) -> NounPhrase:
        """With a number, or any one of them."""
        if self.chance(0.4):
            return replace(phrase, choice="any")
        return replace(phrase, count=(-1, -1, 2, 2, 3, 4)[int(self.rng.integers(6))])

    def frame(self) -> FrameOfReference | None:
        """Mostly none."""
        if self.chance(0.8):
            return None
        frames = ("robot", "speaker", "robot", "speaker", "viewer", "world")
        return FrameOfReference(self.choose(frames))

    def region(self, relation: str) -> NounPhrase:
        """As in "the top drawer of the cabinet"."""
        names = ("drawer", "compartment") if relation == "inside" else ("shelf",)
        name = self.choose(names)
        words, owners = nouns.REGIONS[name]
        self.used.add(name)
        clause = RelationClause("part of", (NounPhrase(self.noun(owners)),))
        return NounPhrase(name, (self.choose(words),), relations=(clause,) if self.chance(0.75) else ())

    def clause(self, relation: str, nested: bool = False) -> RelationClause:
        use = _USES[relation]
        distance = None
        if relation == "at a distance from" or (relation in _EXACT and not nested and self.chance(0.07)):
            distance = self.distance()
        anchors = self.anchors(relation, use, distance is None)
        if nested:
            anchors = (*anchors[:-1], self.restricted(anchors[-1]))
        frame = self.frame() if relation in FRAMED else None
        if relation in ("left of", "right of", "behind", "in front of") and not nested and self.chance(0.04):
            frame = FrameOfReference.OBJECT
            anchors = (NounPhrase(self.noun(nouns.SEATS)),)
        singular = all(anchor.count is None for anchor in anchors)
        may = distance is None and singular and relation not in ("closest to", "farthest from", "other than", "between")
        return RelationClause(relation, anchors, frame, may and not nested and self.chance(0.07), distance)

    def anchors(self, relation: str, use: _Use, plurals: bool = True) -> tuple[NounPhrase, ...]:
        if relation in ("on", "inside") and plurals and self.chance(0.08):
            return (self.region(relation),)
        if relation == "between":
            if self.chance(use.plural):
                return (replace(self.obj(use.anchors, plain=True), count=2),)
            return self.anchor(use.anchors, 0.0), self.anchor(use.anchors, 0.0)
        if relation == "among":
            return (replace(self.obj(use.anchors, plain=True), count=-1 if self.chance(0.7) else 3),)
        first = self.anchor(use.anchors, use.plural if plurals else 0.0)
        if relation == "on the other side of" and self.chance(0.3):
            return first, self.anchor(use.anchors, 0.0)
        return (first,)

    def restricted(self, phrase: NounPhrase) -> NounPhrase:
        """An anchor with a clause of its own, one that fits most objects."""
        if phrase.count is not None or phrase.relations or phrase.category == "object":
            return phrase
        relation = self.choose((*_FIT_ALL[:6], "on")) if phrase.category in nouns.SMALL else self.choose(_FIT_ALL[:6])
        return replace(phrase, relations=(self.clause(relation),))

    def distance(self) -> Distance:
        units = ("cm", "cm", "cm", "cm", "m", "m", "inch", "foot", "hand", "mm")
        unit = self.choose(units)
        amounts = {"cm": (2, 3, 5, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75), "m": (0.5, 1, 1.5, 2, 3), "inch": (1, 2,
        3, 4, 6, 8, 10),
                   "foot": (1, 1.5, 2, 3), "hand": (1, 2, 3), "mm": (10, 20, 50)}[unit]  # fmt: skip
        bounds: tuple[Literal["about", "at most", "at least"], ...] = ("about", "about", "at most", "at least")
        amount = amounts[int(self.rng.integers(len(amounts)))]
        return Distance(round(amount * METRES[unit], 6), bounds[int(self.rng.integers(len(bounds)))])

    def relation(self, action: str, clauses: int) -> str:
        if action in _FITTING or clauses > 1:
            return self.choose(_FIT_ALL)
        return self.weighted({name: use.often for name, use in _USES.items()})

    def target(self, action: str, most: int = 3) -> NounPhrase:
        """An object with none to three clauses."""
        count = min(most, int(self.rng.choice(4, p=(0.13, 0.6, 0.21, 0.06))))
        relation = self.relation(action, 1)
        options = _USES[relation].targets if action not in _FITTING else _FITTING[action]
        if count == 0:
            phrase = self.obj(_FITTING.get(action, _OBJECTS), plain=True)
            kind = self.rng.random()
            return self.ranked(phrase) if kind < 0.6 else self.several(phrase) if kind < 0.85 else phrase
        if relation == "part of":
            return self.part(action in ("pick", "give", "place"))
        phrase = self.obj(options)
        if relation == "other than":
            return self.another(phrase)
        kind = self.rng.random()
        if relation == "around" and phrase.category != "object":
            phrase = replace(phrase, count=-1)
        elif kind < 0.06 and phrase.category != "object" and relation not in ("closest to", "farthest from"):
            phrase = self.several(phrase)
        elif kind < 0.12 and relation not in ("closest to", "farthest from"):
            phrase = self.ranked(phrase)
        return self.rivals(replace(phrase, relations=self.clauses(relation, count)))

    def clauses(self, relation: str, count: int) -> tuple[RelationClause, ...]:
        first = self.clause(relation, nested=count > 1 and self.chance(0.5))
        nested = any(anchor.relations for anchor in first.anchors)
        more = count - 1 - nested
        others = [name for name in (*_FIT_ALL, "on", "touching", "larger than") if name != relation]
        if relation in ("closest to", "farthest from"):
            others = [name for name in others if name not in ("closest to",)]
        names = [others[int(k)] for k in self.rng.permutation(len(others))[: max(0, more)]]
        return (first, *(self.clause(name) for name in names))

    def rivals(self, phrase: NounPhrase) -> NounPhrase:
        """Compared with another of its kind: "the mug taller than the red mug"."""
        (clause, *rest) = phrase.relations
        (anchor, *_) = clause.anchors
        told = anchor.category != "object" and anchor.count is None and not anchor.relations and anchor.attributes
        if not clause.relation.endswith("er than") or phrase.category == "object" or not told or self.chance(0.5):
            return phrase
        rival = NounPhrase(phrase.category, (self.choose(nouns.COLOURS),))
        return replace(phrase, attributes=(), relations=(replace(clause, anchors=(rival,)), *rest))

    def part(self, loose: bool) -> NounPhrase:
        """A part of an object, or a region of furniture; `loose`: one that comes off."""
        attributes: tuple[str, ...] = ()
        if not loose and self.chance(0.4):
            name = self.choose(tuple(nouns.REGIONS))
            words, owners = nouns.REGIONS[name]
            attributes = (self.choose(words),)
        else:
            name = self.choose(nouns.LOOSE if loose else tuple(nouns.PARTS))
            owners = nouns.PARTS[name]
        self.used.add(name)
        whole = self.obj(owners, plain=True)
        if self.chance(0.15):
            whole = self.restricted(whole)
        return NounPhrase(name, attributes, relations=(RelationClause("part of", (whole,)),))

    def another(self, phrase: NounPhrase) -> NounPhrase:
        """As in "the mug other than the red mug"."""
        if phrase.category == "object":
            phrase = replace(phrase, category=self.noun(nouns.SMALL))
        not_this = NounPhrase(phrase.category, (self.choose(nouns.COLOURS),))
        return replace(phrase, attributes=(), relations=(RelationClause("other than", (not_this,)),))

    def destination(self) -> Destination:
        name = self.weighted({name: _USES[name].often for name in _GOALS})
        clause = self.clause(name, nested=self.chance(0.12))
        return Destination(clause.relation, clause.anchors, clause.frame, clause.distance)

    def steps(self) -> tuple[Step, ...]:
        """Two objects to do."""
        kind = self.rng.random()
        if kind < 0.35:
            drawer = self.obj(("drawer", "box", "toolbox", "lunch box", "cupboard"))
            obj = self.target("place", most=1)
            return Step("open", drawer), Step("place", obj, Destination("inside", (drawer,)))
        if kind < 0.55:
            obj = self.target("pick", most=1)
            return Step("pick", obj), Step("give", obj)
        if kind < 0.8:
            obj, other = self.target("pick", most=1), self.target("place", most=0)
            return Step("pick", obj), Step("place", other, self.destination())
        first, second = self.target("push", most=1), self.target("pick", most=1)
        return Step(self.choose(("push", "pull", "look", "touch")), first), Step("pick", second)

    def query(self) -> SpatialQuery:
        """The whole command."""
        if self.chance(0.04):
            steps = self.steps()
            return SpatialQuery("", steps[0].action, steps[0].target, steps[0].destination, steps=steps)
        action = self.weighted(_ACTIONS)
        if action != "place":
            return SpatialQuery("", action, self.target(action))
        obj, goal = self.target(action, most=int(self.chance(0.5))), self.destination()
        if goal.relation == "around" and obj.count is None:
            obj = replace(obj, count=-1, superlative=None, ordinal=None, frame=None, choice=None)
        return SpatialQuery("", action, obj, goal)


def _one_view(query: SpatialQuery, rng: np.random.Generator) -> SpatialQuery:
    """With one viewpoint throughout, as people speak: where one part states it and another does not, all or none do."""
    frames = sorted(frames_said(query) - {FrameOfReference.OBJECT}, key=str)
    return query if len(frames) < 2 else reframed(query, frames[int(rng.integers(len(frames)))])


def random_query(rng: np.random.Generator) -> SpatialQuery:
    """A meaning as people might have it: mostly one clause, some two, few three or none; every relation occurs.

    Returns:
        The meaning, with empty `instruction`.
    """
    return _one_view(_Maker(rng).query(), rng)
