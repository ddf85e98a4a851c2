# SPDX-License-Identifier: Apache-2.0
"""Answerers that err in one known way; none shares code with the drawing of images."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from seeing import LIVELY, Seer, lively_pixels

from spatial_vlm_ros.types import Rgb

OTHER_SIDE = {"left": "right", "right": "left", "above": "below", "below": "above"}


def middles(rgb: Rgb, colours: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Lively colour → (u, v) of the middle of its box, by the direction of a pixel's colour, whatever its shade."""
    which, _ = lively_pixels(rgb.tobytes(), rgb.shape)
    found = {}
    for colour in colours:
        rows, columns = np.nonzero(which == LIVELY.index(colour))
        if len(rows):
            found[colour] = (float(columns.min() + columns.max()) / 2, float(rows.min() + rows.max()) / 2)
    return found


class Changed(Seer):
    """Sees another image than the one it is shown."""

    def __init__(self, change: Callable[[Rgb], Rgb]) -> None:
        self.change = change

    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:
        return super().answer(np.ascontiguousarray(self.change(rgb)), question, choices)


class Deaf:
    """Answers from the words alone: what sorts first among the candidates, by a hash of the question."""

    def answer(self, _rgb: Rgb, question: str, choices: Sequence[str]) -> str:
        return sorted(choices)[sum(question.encode()) % len(choices)]


class Guesser:
    """Throws dice."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)

    def answer(self, _rgb: Rgb, _question: str, choices: Sequence[str]) -> str:
        return str(self.rng.choice(list(choices)))


class First:
    """Names the first candidate."""

    def answer(self, _rgb: Rgb, _question: str, choices: Sequence[str]) -> str:
        return choices[0]


class HigherIsFarther(Seer):
    """Finds objects by their colour and takes the higher one for the farther; sees all else as it is."""

    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:
        wanted = re.search(r"farther|nearer|greater|smaller", question)
        if wanted is None:
            return super().answer(rgb, question, choices)
        seen = middles(rgb, [choice.split()[0] for choice in choices])
        if len(seen) < len(choices):
            return min(choices)
        far = wanted[0] in ("farther", "greater")
        return sorted(choices, key=lambda choice: seen[choice.split()[0]][1])[0 if far else -1]
