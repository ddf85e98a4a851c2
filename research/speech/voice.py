# SPDX-License-Identifier: Apache-2.0
"""Who speaks: where the choices among words come from, the spelling, how much is left out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeVar

import numpy as np

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Voice:
    """One speaker of one sentence.

    Args:
        rng: draws every choice.
        american: spells and speaks American English, else British.
        terse: leaves articles out, as in notes and in shouted commands.
        spoken: numbers are words, nothing depends on punctuation.
        fronted: the frame of reference was already said, before the command.
        closed: more follows the object, so that its clauses need their "that".
        antecedent: the noun that "one" stands for.
        role: whether the object is acted on, related to, or one of a set ("among").
    """

    rng: np.random.Generator
    american: bool = False
    terse: bool = False
    spoken: bool = False
    fronted: bool = False
    closed: bool = False
    antecedent: str = ""
    role: Literal["thing", "anchor", "set"] = "thing"

    def choose(self, options: Sequence[T]) -> T:
        """One of them, all equally likely."""
        return options[int(self.rng.integers(len(options)))]

    def usual(self, options: Sequence[T]) -> T:
        """One of them, which stand in the order of their use: the n-th is n times as rare as the first.

        Source: Zipf (1949), Human behavior and the principle of least effort.
        """
        shares = 1 / np.arange(1, len(options) + 1)
        return options[int(self.rng.choice(len(options), p=shares / shares.sum()))]

    def word(self, options: Sequence[str]) -> str:
        """One of them, as this speaker spells it."""
        return self.spell(self.choose(options))

    def chance(self, probability: float) -> bool:
        """True that often."""
        return bool(self.rng.random() < probability)

    def spell(self, text: str) -> str:
        """British spelling (the one in this package's tables) as this speaker writes it."""
        if not self.american:
            return text
        return _WORD.sub(lambda m: _AMERICAN.get(m.group(), m.group()), text)


_WORD = re.compile(r"[a-z]+")
_AMERICAN: Mapping[str, str] = MappingProxyType(
    {
        "centre": "center",
        "metre": "meter",
        "metres": "meters",
        "centimetre": "centimeter",
        "centimetres": "centimeters",
        "millimetres": "millimeters",
        "grey": "gray",
        "towards": "toward",
        "neighbourhood": "neighborhood",
        "amongst": "among",
        "furthest": "farthest",
        "further": "farther",
        "round": "around",
    }
)
