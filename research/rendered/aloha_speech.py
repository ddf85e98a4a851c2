# SPDX-License-Identifier: Apache-2.0
"""Eight people who talk to a robot: the sentences of the ALOHA scenes, and truths that only they need."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from research.rendered.judge import Place
from research.rendered.sentences import SIDE_KIND, SentenceMaker


@dataclass(frozen=True)
class Person:
    """How somebody asks.

    Args:
        take: asks for {0}.
        put: asks to put {0} where {1} says, with any preposition.
        rest: the same with verbs that take no "into" and "onto".
    """

    take: tuple[str, ...]
    put: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()


PEOPLE = (
    Person(  # a retired teacher
        ("Would you be a dear and pass {0} to me?", "When you have a moment, bring me {0}.", "I could do with {0}."),
        rest=("Would you kindly leave {0} {1}?", "Be a dear and lay {0} {1}."),
    ),
    Person(  # a child of seven
        ("can i have {0} please", "gimme {0}", "i want {0}"),
        ("now put {0} {1}", "can you put {0} {1} for me"),
    ),
    Person(  # an assistant in an operating theatre
        ("{0}, please.", "Next I'll need {0}.", "Let me have {0} now."),
        rest=("{0} should go {1}.", "Rest {0} {1}."),
    ),
    Person(  # a joiner from Leeds
        ("pass us {0}, will you", "chuck us {0}", "let's have {0} then"),
        ("stick {0} {1}", "bung {0} {1} for us"),
    ),
    Person(  # a clerk in a warehouse
        ("Retrieve {0}.", "Collect {0} and come back.", "Pick {0}."),
        ("Deposit {0} {1}.",),
        ("Position {0} {1}.",),
    ),
    Person(  # an engineer who learned English late
        ("Please to give me {0}.", "I would like to have {0}.", "You can bring {0} to me?"),
        ("I want that you put {0} {1}.", "Please, you must place {0} {1}."),
    ),
    Person(  # an office manager in Pune
        ("Kindly get {0} for me.", "Please do give me {0}.", "Kindly bring {0} here."),
        ("Kindly place {0} {1}.", "Do one thing, put {0} {1}."),
    ),
    Person(  # a farmhand in Queensland
        ("grab us {0}, mate", "can we get {0} over here", "I'm after {0}, mate"),
        ("whack {0} {1}", "chuck {0} {1}, ta"),
    ),
)
THEN = (
    "pick {0} up and leave {it} {1}",
    "lift {0} and lower {it} {1}",
    "get hold of {0} first, then put {it} {1}",
    "first take {0}, and then {it} should go {1}",
)
ON, IN = (("on", "on top of"), ("onto",)), (("in", "inside"), ("into",))
"""Prepositions of rest, and of movement."""
SIDES = {
    "left of": ("on the left of", "on the left-hand side of", "to the left side of"),
    "right of": ("on the right of", "on the right-hand side of", "to the right side of"),
    "in front of": ("in front of", "directly in front of"),
    "behind": ("behind", "directly behind", "in back of"),
}
OTHERS = {
    "next to": ("beside", "alongside", "next to", "close by"),
    "between": ("between",),
    "under": ("under", "underneath"),
}
LEFT = ("the {} on the extreme left", "the {} that's most to the left", "the {} at the left-hand end")
RIGHT = ("the {} on the extreme right", "the {} that's most to the right", "the {} at the right-hand end")
CENTRE = ("the {} between the other two", "the middle one of the three {}s", "the center {} of the three")
CLOSE = ("the {} closest to you", "the {} nearest to you", "the foremost {}")
FAR = ("the {} farthest from you", "the {} right at the back", "the rearmost {}")
COUNT = ("first", "second", "third", "fourth")
ORDER = ("{0} number {3} from the {2}", "the {1} {0} along from the {2}", "the {1} {0} in from the {2}")
BIG = ("the biggest {}", "the largest {}", "the {} that is larger than the others")
SMALL = ("the smallest {}", "the tiniest {}", "the {} that is smaller than the others")
MIDSIZE = ("the medium-sized {}", "the medium {}", "the {} that is neither the biggest nor the smallest")
MISSING = ("kettle", "toaster", "umbrella", "wallet", "corkscrew", "calculator", "hairdryer", "lemon", "rolling pin")
"""Nouns for which there is no object."""
TOLD_BY = {"4 half": ("half", "side"), "4 drawer order": ("left", "middle", "right")}
"""Kinds of cases that only sentences with one of these words are."""
PLURAL = ("scissors", "shears")
KEPT = 0.7
"""Share of the requests without a place that are kept."""


@dataclass(frozen=True)
class Talk:
    """What may be asked of a settled scene."""

    a: SentenceMaker

    def word(self, name: str) -> str:
        """One of the words for an object."""
        return self.a.one(self.a.objects[name].item.said)

    def take(self, name: str, phrase: str | Sequence[str], *kinds: str, when: bool = True) -> None:
        """Asks for an object, not always."""
        self._say(name, self._taking(phrase), *kinds, when=when and bool(self.a.rng.random() < KEPT))

    def put(
        self, name: str, phrase: str, relation: str, to: str, place: Place | None, *kinds: str, when: bool = True
    ) -> None:
        """Asks to put an object on, in or under what `to` names, or to its sides, at once or in two steps."""
        sentence = self._putting(phrase, relation, to)
        self._say(name, sentence, *kinds, place=place, when=when and place is not None)

    def into(
        self,
        name: str,
        phrase: str,
        holder: str,
        to: str,
        *kinds: str,
        room: str = "main",
        anchor: str | None = None,
        when: bool = True,
    ) -> None:
        """Asks to put an object into an empty room of a holder."""
        j = self.a.judge
        place = j.room(holder, room, anchor, (holder,) if anchor else ())
        kinds = tuple("5 in bowl" if k == "5 on plate" and place.relation == "inside" else k for k in kinds)
        good = when and j.empty(holder, room) and self.fits(name, holder, room) and j.seen(holder)[1] > 0.5
        self.put(name, phrase, place.relation, to, place, *kinds, when=good)

    def aside(
        self, name: str, phrase: str, relation: str, anchor: str, to: str, *kinds: str, when: bool = True
    ) -> None:
        """Asks to put an object to a side of another one."""
        place = self.a.judge.beside(relation, anchor, (name,))
        self.put(name, phrase, relation, to, place, *kinds, SIDE_KIND[relation], when=when)

    def near(self, name: str, phrase: str, anchor: str, to: str, *kinds: str, when: bool = True) -> None:
        """Asks to put an object next to another one."""
        self.put(name, phrase, "next to", to, self.a.judge.around(anchor, (name,)), *kinds, "5 next to", when=when)

    def ordinal(self, order: Sequence[str], word: str, k: int, side: str) -> None:
        """Asks for the k-th (0, 1, …) of a row that is given from the left."""
        name = order[k] if side == "left" else order[-1 - k]
        self.take(name, self.a.one(ORDER).format(word, COUNT[k], side, ("one", "two", "three", "four")[k]), "1 ordinal")

    def deny(self, phrase: str | Sequence[str], status: str, when: bool = True) -> None:
        """Asks for an object that cannot be had."""
        self.a.refuse(self._taking(phrase), status, when)

    def deny_put(self, phrase: str, relation: str, to: str, status: str, when: bool = True) -> None:
        """Asks to put an object where it cannot go."""
        self.a.refuse(self._putting(phrase, relation, to), status, when)

    def missing(self, tail: str = "") -> None:
        """Asks for what is not there, not always."""
        self.deny(f"the {self.a.one(MISSING)}{tail}", "NOT_FOUND", bool(self.a.rng.random() < KEPT))

    def not_there(self, relation: str, names: Sequence[str], word: str, anchor: str, to: str) -> None:
        """Asks for one of the objects at a side of another one, where all of them are on the opposite side."""
        phrase = f"the {word} {self.a.one(SIDES[relation])} {to}"
        self.deny(phrase, "RELATION_UNSATISFIED", self.never(relation, names, anchor))

    def no_such_colour(self, names: Sequence[str], word: str) -> None:
        """Asks for one of them in a colour that is far from all of theirs."""
        far = {
            "red": ("blue", "green", "white", "gray", "black"),
            "green": ("red", "white", "pink", "black", "brown", "orange"),
            "blue": ("red", "yellow", "white", "brown", "orange", "pink"),
            "yellow": ("blue", "black", "gray", "purple", "red"),
        }
        had = {self.a.objects[n].tone for n in names}
        free = [c for c, others in far.items() if had <= set(others)]
        if free and self.a.rng.random() < KEPT:
            self.deny(f"the {self.a.one(free)} {word}", "NOT_FOUND")

    def fits(self, name: str, holder: str, room: str) -> bool:
        """Whether an object goes into a room, long ones along it."""
        here = self.a.objects[holder].item.rooms[room]
        x, y = sorted(self.a.objects[name].item.mesh.size[:2] / 2)
        spare = 0.008 if here.relation == "inside" else 0.0
        return bool(x + spare <= here.wide and (y + spare <= here.wide or y <= here.hy + 0.015))

    def side(self, relation: str, target: str, anchor: str, others: Sequence[str] = ()) -> bool:
        """Whether the target is clearly to that side of the anchor, and the others are clearly not."""
        along, across = self._offset(relation, target, anchor)
        gap = self.a.judge.gap(target, anchor)
        good = along > 0.1 and abs(across) < 0.5 * along and 0.02 < gap < 0.3
        return good and all(self._offset(relation, o, anchor)[0] < -0.06 for o in others)

    def never(self, relation: str, names: Sequence[str], anchor: str) -> bool:
        """Whether nobody would say that one of them is to that side of the anchor."""
        return all(self._offset(relation, n, anchor)[0] < -0.1 for n in names)

    def beneath(self, name: str, holder: str) -> bool:
        """Whether an object stands on the table within the outline of a holder that is above it."""
        low, high = self.a.judge.bounds(name)
        a, b = self.a.judge.bounds(holder)
        return bool((low[:2] > a[:2] - 0.01).all() and (high[:2] < b[:2] + 0.01).all() and self.a.judge.on_table(name))

    def _offset(self, relation: str, target: str, anchor: str) -> tuple[float, float]:
        d = self.a.judge.middle(target) - self.a.judge.middle(anchor)
        along, across = (d[0], d[1]) if relation in ("left of", "right of") else (d[1], d[0])
        return float(-along if relation in ("left of", "in front of") else along), float(across)

    def _taking(self, phrase: str | Sequence[str]) -> str:
        person = PEOPLE[int(self.a.rng.integers(len(PEOPLE)))]
        words, template = phrase if isinstance(phrase, str) else self.a.one(phrase), self.a.one(person.take)
        doubtful = (
            template.startswith("{0}") or " to the " in words
        )  # "the mug on the tray, please"; "bring … to the …"
        return _started(template.format(_relative(words) if doubtful else words))

    def _putting(self, phrase: str, relation: str, to: str) -> str:
        rng, phrase = self.a.rng, _relative(phrase)
        if rng.random() < 0.2:
            words = self._where(relation, False)
            it = "them" if phrase.split()[1] in PLURAL else "it"
            known = THEN[:3] if it == "them" else THEN
            return self.a.one(known).format(phrase, f"{words} {to}", it=it)
        person = PEOPLE[int(rng.integers(len(PEOPLE)))]
        template = self.a.one(person.put + person.rest)
        return _started(template.format(phrase, f"{self._where(relation, template in person.put)} {to}"))

    def _where(self, relation: str, moving: bool) -> str:
        if relation in ("on", "inside"):
            rest, move = ON if relation == "on" else IN
            return self.a.one(rest + move if moving else rest)
        return self.a.one({**SIDES, **OTHERS}[relation])

    def _say(self, name: str, sentence: str, *kinds: str, place: Place | None = None, when: bool = True) -> None:
        label = self.a.objects[name].label or self.a.objects[name].item.label
        differs = () if label.split()[-1] in sentence else ("2 label differs",)
        told = [k for k in kinds if k not in TOLD_BY or any(w in sentence for w in TOLD_BY[k])]
        self.a.say(name, sentence, *dict.fromkeys((*told, *differs)), place=place, when=when)


def _relative(phrase: str) -> str:
    """With "that's" before where the object is: "put the mug on the tray" may mean to put it there."""
    if KNOWN & set(phrase.split()):
        return phrase
    are = "that are" if set(PLURAL) & set(phrase.split()) and "pair" not in phrase else "that's"
    return PLACED.sub(rf" {are} \1 ", phrase, count=1)


KNOWN = {"that", "that's", "lying", "holding", "with", "without", "from"}
"""Words after which it is plain that the rest says where the object is."""
PLACED = re.compile(
    " (on|in|inside|at|under|underneath|below|outside|off|between|beside|next|close|behind|directly|"
    "right at|right by|to the|left of|right of) "
)


def _started(sentence: str) -> str:
    """With a capital where the sentence has a full stop or a question mark."""
    return sentence[0].upper() + sentence[1:] if sentence[-1] in ".?" else sentence


def spread(n: int, half: float) -> list[float]:
    """N places from −half to half."""
    return [float(x) for x in np.linspace(-half, half, n)]
