# SPDX-License-Identifier: Apache-2.0
"""How different people ask a robot for objects: the sentences of the Gazebo scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from research.rendered.judge import Place
from research.rendered.sentences import SIDE_KIND, SentenceMaker

TAKES = (
    "grab {}",
    "fetch {}",
    "fetch {} for me",
    "could you hand me {}?",
    "I need {}",
    "can you pass me {}, please?",
    "please bring me {}",
    "get me {}",
    "I'd like {}",
    "would you get {}?",
    "would you mind passing me {}?",
    "give me {}, please",
    "pass me {}",
    "go get {}",
    "hand over {}",
    "please fetch me {}",
    "pick up {}",
    "bring {} over here",
)
ON = (
    "put {} on {}",
    "set {} down on {}",
    "place {} on top of {}",
    "could you put {} onto {}?",
    "please set {} on {}",
    "would you set {} on {}, please?",
    "can you put {} on top of {}?",
)
IN = (
    "pop {} into {}",
    "put {} in {}",
    "drop {} into {}",
    "please place {} inside {}",
    "could you drop {} in {}?",
    "would you put {} into {}, please?",
    "place {} in {}",
)
ASIDE = (
    "put {} {}",
    "set {} down {}",
    "could you place {} {}?",
    "please put {} {}",
    "can you set {} {}, please?",
    "park {} {}",
)
"""Object, side; "park" is for vehicles."""
THEN = ("take {} and put it {}", "pick up {} and set it {}", "get {} and leave it {}", "grab {}, then place it {}")
SIDES = {
    "left of": ("to the left of", "left of"),
    "right of": ("to the right of", "right of"),
    "in front of": ("in front of", "just in front of"),
    "behind": ("behind", "right behind"),
}
FAR_LEFT = ("the leftmost {}", "the {} on the far left", "the {} furthest to the left", "the {} on the left end")
FAR_RIGHT = ("the rightmost {}", "the {} on the far right", "the {} furthest to the right", "the {} on the right end")
MIDDLE = ("the middle {}", "the {} in the middle", "the {} in the center", "the center {}")
FRONT = ("the {} at the front", "the closest {}", "the nearest {}", "the front {}")
BACK = ("the {} at the back", "the farthest {}", "the {} that is farthest away", "the rear {}")
ORDINAL = ("the {1} {0} from the {2}", "the {0} that is {1} from the {2}", "the {1} {0} counting from the {2}")
NUMBERS = ("first", "second", "third", "fourth")
MISSING = ("banana", "pair of scissors", "teapot", "flashlight", "spoon", "stapler", "pencil", "hairbrush", "apple")
"""Nouns for which there is no object."""
NEAR_COLOURS = (
    {"red", "orange", "brown", "pink", "yellow", "purple"},
    {"gray", "white", "black"},
    {"green", "blue"},
    {"blue", "purple"},
)
OFTEN = 0.65
"""Share of the cases without a place that are kept."""
LABELS = {
    "soda can": ("soda can", "can", "soda can"),
    "cup": ("cup", "plastic cup", "cup"),
    "bowl": ("bowl", "bowl", "mixing bowl"),
    "toy car": ("toy car", "car"),
    "wooden cube": ("wooden cube", "wooden block", "cube"),
    "bookshelf": ("bookshelf", "shelf", "bookcase"),
    "cardboard box": ("cardboard box", "box"),
    "cordless drill": ("cordless drill", "power drill", "drill"),
    "traffic cone": ("traffic cone", "cone"),
    "stove": ("stove", "electric stove"),
    "placemat": ("placemat", "mat"),
    "toy fire truck": ("toy fire truck", "fire truck"),
    "wooden crate": ("wooden crate", "crate"),
}
"""What detectors call them, by the label of the kind."""


@dataclass(frozen=True)
class Voice:
    """One who asks for the objects of a scene."""

    a: SentenceMaker

    def word(self, name: str) -> str:
        """One of the words for an object."""
        return self.a.one(self.a.objects[name].item.said)

    def take(self, name: str, phrase: str | Sequence[str], *kinds: str, when: bool = True) -> None:
        """Asks for an object, not always: every scene offers more of these than of places."""
        sentence = self.a.one(TAKES).format(self._one(phrase))
        self._say(name, sentence, *kinds, when=bool(self.a.rng.random() < OFTEN) and when)

    def onto(self, name: str, phrase: str, where: str, place: Place, *kinds: str, when: bool = True) -> None:
        """Asks to put an object on or in what `where` names."""
        words = _plain(IN if place.relation == "inside" else ON, phrase)
        self._say(name, self.a.one(words).format(phrase, where), *kinds, place=place, when=when)

    def then(self, name: str, phrase: str, where: str, place: Place | None, *kinds: str, when: bool = True) -> None:
        """Asks to take an object, and then to put it somewhere; `where` has its preposition."""
        self._say(name, self.a.one(THEN).format(phrase, where), *kinds, place=place, when=when and place is not None)

    def aside(
        self, name: str, phrase: str, relation: str, anchor: str, to: str, *kinds: str, when: bool = True
    ) -> None:
        """Asks to put an object to a side of another one, which is called `to`."""
        place = self.a.judge.beside(relation, anchor, (name,))
        where = f"{self.a.one(SIDES[relation])} {to}"
        self.around(name, phrase, where, place, *kinds, SIDE_KIND[relation], when=when)

    def around(self, name: str, phrase: str, where: str, place: Place | None, *kinds: str, when: bool = True) -> None:
        """Asks to put an object where `where` says, with its preposition."""
        vehicle = self.a.objects[name].item.label.split()[-1] in ("car", "bus", "truck", "ambulance")
        words = [w for w in _plain(ASIDE, phrase) if vehicle or not w.startswith("park")]
        self._say(name, self.a.one(words).format(phrase, where), *kinds, place=place, when=when and place is not None)

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
        """Asks to put an object into or onto an empty room of a holder, which is called `to`."""
        judge = self.a.judge
        place = judge.room(holder, room, anchor, (holder,) if anchor else ())
        good = when and judge.empty(holder, room) and judge.fits(name, holder, room)
        self.onto(name, phrase, to, place, *kinds, when=good and judge.seen(holder)[1] > 0.5)

    def ordinal(self, order: Sequence[str], word: str, k: int, side: str) -> None:
        """Asks for the k-th (0, 1, …) of a row that is given from the left."""
        name = order[k] if side == "left" else order[-1 - k]
        self.take(name, self.a.one(ORDINAL).format(word, NUMBERS[k], side), "1 ordinal")

    def deny(self, phrase: str | Sequence[str], status: str, when: bool = True) -> None:
        """Asks for an object that cannot be had."""
        self.a.refuse(self.a.one(TAKES).format(self._one(phrase)), status, when)

    def deny_put(self, phrase: str, where: str, inside: bool, status: str, when: bool = True) -> None:
        """Asks to put an object where it cannot go."""
        self.a.refuse(self.a.one(IN if inside else ON).format(phrase, where), status, when)

    def missing(self, tail: str = "") -> None:
        """Asks for what is not there."""
        self.deny(f"the {self.a.one(MISSING)}{tail}", "NOT_FOUND")

    def other_colour(self, names: Sequence[str], word: str) -> None:
        """Asks for one of them in a colour that nobody would give any of them."""
        had = {self.a.objects[n].tone for n in names}
        free = [
            c
            for c in ("red", "green", "blue", "black", "yellow")
            if not any(c in group and had & group for group in NEAR_COLOURS)
        ]
        if free and None not in had:
            self.deny(f"the {self.a.one(free)} {word}", "NOT_FOUND")

    def _say(self, name: str, sentence: str, *kinds: str, place: Place | None = None, when: bool = True) -> None:
        """Adds a case, with a kind of its own where the detector has another word for the target than the sentence."""
        label = self.a.objects[name].label or ""
        differs = () if label.split()[-1] in sentence else ("2 label differs",)
        self.a.say(name, sentence, *dict.fromkeys((*kinds, *differs)), place=place, when=when)

    def _one(self, phrase: str | Sequence[str]) -> str:
        return phrase if isinstance(phrase, str) else self.a.one(phrase)


def _plain(words: Sequence[str], phrase: str) -> list[str]:
    """Those of the sentences that are easy to follow: none with "down" far from its verb."""
    return [w for w in words if len(phrase.split()) <= 3 or " down " not in w]
