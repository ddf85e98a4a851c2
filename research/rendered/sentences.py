# SPDX-License-Identifier: Apache-2.0
"""Cases of a scene: instructions as people say them, each with the outcome that is due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from research.rendered.items import PlacedItem
from research.rendered.judge import Judge, Place

TAKE = (
    "pick up {}",
    "grab {}",
    "take {}",
    "get {}",
    "bring me {}",
    "hand me {}",
    "fetch {}",
    "give me {}",
    "please pick up {}",
    "could you hand me {}?",
)
PUT = ("put {} {}", "place {} {}", "set {} {}", "move {} {}", "please put {} {}")
MOVED = (("on the", "onto the"), ("in the", "into the"), ("inside the", "into the"))
"""Prepositions of a place, and what is said after "move"."""
ON, IN = ("on", "on top of", "onto"), ("in", "into", "inside")
SIDES = {
    "left of": ("to the left of", "left of"),
    "right of": ("to the right of", "right of"),
    "in front of": ("in front of",),
    "behind": ("behind",),
}
SIDE_KIND = {"left of": "5 side", "right of": "5 side", "in front of": "5 front", "behind": "5 behind"}
ABSENT = (
    "banana",
    "stapler",
    "wine glass",
    "candle",
    "phone",
    "sponge",
    "water bottle",
    "remote control",
    "toothbrush",
    "notebook",
)
"""Nouns for which no source here has an object."""


@dataclass(frozen=True)
class Case:
    """An instruction and what is due: `target` and `also` are names of bodies, () and "" where a refusal is due."""

    instruction: str
    status: str
    kinds: tuple[str, ...]
    target: str = ""
    also: tuple[str, ...] = ()
    place: Place | None = None


class SentenceMaker:
    """Collects the cases of a scene; a case whose truth lacks its margin is left out."""

    def __init__(self, judge: Judge, rng: np.random.Generator) -> None:
        self.judge, self.rng = judge, rng
        self.objects = judge.stage.objects
        self.cases: list[Case] = []

    def one(self, words: Sequence[str]) -> str:
        """One of the words."""
        return words[int(self.rng.integers(len(words)))]

    def noun(self, name: str, colour: bool = False) -> str:
        """The plain word for an object, with its colour if asked for."""
        t = self.objects[name]
        return f"{t.tone} {t.item.word}" if colour and t.tone else t.item.word

    def take(self, name: str, phrase: str, *kinds: str, when: bool = True) -> None:
        """Asks for an object."""
        if when and self.judge.well_seen(name):
            self._add(Case(self.one(TAKE).format(phrase), "OK", kinds, name))

    def say(self, name: str, sentence: str, *kinds: str, place: Place | None = None, when: bool = True) -> None:
        """Asks for an object in a sentence of its own; place: where it is to go, if it is."""
        if when and self.judge.well_seen(name):
            self._add(Case(sentence, "OK", kinds, name, (), place))

    def put(self, name: str, phrase: str, where: str, place: Place | None, *kinds: str, when: bool = True) -> None:
        """Asks to put an object somewhere."""
        if when and place is not None and self.judge.well_seen(name):
            verb = self.one(PUT)
            if verb.startswith("move"):  # "move the cup on the tray" may mean the cup that is on it
                for short, clear in (("in the middle", "to the middle"), ("in the center", "to the center"), *MOVED):
                    where = clear + where[len(short) :] if where.startswith(short) else where
            self._add(Case(verb.format(phrase, where), "OK", kinds, name, (), place))

    def then(self, name: str, phrase: str, where: str, place: Place | None, *kinds: str, when: bool = True) -> None:
        """Asks to take an object and to put it somewhere."""
        if when and place is not None and self.judge.well_seen(name):
            verb = self.one(("take {} and put it {}", "pick up {} and place it {}", "grab {} and set it {}"))
            self._add(Case(verb.format(phrase, where), "OK", kinds, name, (), place))

    def beside(
        self, name: str, phrase: str, relation: str, anchor: str, *kinds: str, to: str | None = None, when: bool = True
    ) -> None:
        """Asks to put an object to a side of another one."""
        place = self.judge.beside(relation, anchor, (name,))
        where = f"{self.one(SIDES[relation])} the {to or self.noun(anchor)}"
        self.put(name, phrase, where, place, *kinds, SIDE_KIND[relation], when=when)

    def refuse(self, sentence: str, status: str, when: bool = True) -> None:
        """Asks for what cannot be had."""
        kind = {
            "AMBIGUOUS": "6 ambiguous",
            "NO_PLACE": "6 no place",
            "NOT_FOUND": "6 not found",
            "RELATION_UNSATISFIED": "6 relation",
        }[status]
        if when:
            self._add(Case(sentence, status, (kind,)))

    def refuse_take(self, phrase: str, status: str, when: bool = True) -> None:
        """Asks for an object that cannot be had."""
        self.refuse(self.one(TAKE).format(phrase), status, when)

    def absent(self) -> None:
        """Asks for something that is not there."""
        self.refuse_take(f"the {self.one(ABSENT)}", "NOT_FOUND")

    def wrong_colour(self, names: Sequence[str]) -> None:
        """Asks for one of the objects in a colour that none of them has."""
        had = {self.objects[n].tone for n in names}
        # People draw the borders between the colours of a group differently.
        near = (
            {"red", "orange", "brown", "pink", "purple", "yellow"},
            {"gray", "white", "black"},
            {"green"},
            {"blue", "purple"},
        )
        free = [c for c in ("red", "green", "blue", "black") if not any(c in group and had & group for group in near)]
        if free and None not in had:
            self.refuse_take(f"the {self.one(free)} {self.objects[names[0]].item.word}", "NOT_FOUND")

    def _add(self, case: Case) -> None:
        if all(case.instruction != c.instruction for c in self.cases):
            self.cases.append(case)


def listed(objects: Sequence[PlacedItem], label: str) -> list[str]:
    """Names of the objects with that label."""
    return [t.name for t in objects if (t.label or t.item.label) == label]
