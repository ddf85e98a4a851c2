# SPDX-License-Identifier: Apache-2.0
"""Find the form of marks in which a model understands which two objects are meant: `judge.marks: auto`.

Each of SCENES_OF_A_FORM / 2 drawn arrangements of shapes is asked about twice, with target and anchor exchanged. A
model that does not see which object is which is therefore right in half of the cases. Only left and right are asked:
this tests whether the marks are understood, not depth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.perception.relation_marks import Box, MarkedQuestion, MarkForm, MarksError
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.vlm.diagnostics.flat_drawing import COLOURS, SHAPES, SIDE, Shape, draw_shapes

SCENES_OF_A_FORM = 16
CHANCE = 0.05
"""Largest probability that a guessing model passes in any form; divided by the number of forms (Bonferroni)."""
CHOICES = ("left", "right")
_RADIUS = 34.0  # pixels
_COLUMNS = (0.14, 0.38, 0.62, 0.86)  # shares of SIDE; the shapes stand in different columns
_SEED = 42

Asked = Callable[[MarkedQuestion, Sequence[str]], str]
"""Returns the choice of a model."""


@dataclass(frozen=True, eq=False)
class MarkScene:
    """A drawn scene.

    Args:
        rgb: (SIDE, SIDE, 3) uint8.
        target: box, pixels.
        anchor: box, pixels.
        choices: the choices in the order in which they are shown.
    """

    rgb: Rgb
    target: Box
    anchor: Box
    choices: tuple[str, ...]
    truth: str


class MarkProbe:
    """Asks about scene after scene, in all forms in turn, as time allows; answers are kept."""

    def __init__(self, forms: Mapping[str, MarkForm]) -> None:
        self._forms = forms
        self._waiting = [(name, scene) for scene in mark_scenes() for name in forms]
        self.right = dict.fromkeys(forms, 0)

    def run(self, ask: Asked, in_time: Callable[[], bool]) -> bool:
        """Continue with the questions and return whether all are answered."""
        while self._waiting:
            if not in_time():
                return False
            name, scene = self._waiting[0]
            said = ask(self._forms[name](scene.rgb, scene.target, scene.anchor), scene.choices)
            self.right[name] += said == scene.truth
            del self._waiting[0]
        return True

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {n}" for name, n in self.right.items())
        return f"{counts} of {SCENES_OF_A_FORM} drawn scenes"

    def chosen(self, model: str) -> str:
        """Return the form with the most right answers; call it only after `run` returned True."""
        best = max(self._forms, key=self.right.__getitem__)
        if self.right[best] >= (needed := least_right(len(self._forms))):
            return best
        reason = f"it does not recognise the marked objects: right in {self} each, but {needed} are needed"
        raise MarksError(model, reason, "use another model, or set judge.mode to off")


def least_right(forms: int) -> int:
    """Least right answers of SCENES_OF_A_FORM that guessing reaches with a probability of at most CHANCE / forms."""
    n = SCENES_OF_A_FORM
    at_least = [sum(math.comb(n, k) for k in range(right, n + 1)) / 2**n for right in range(n + 1)]
    return next(right for right, p in enumerate(at_least) if p <= CHANCE / forms)


def mark_scenes() -> tuple[MarkScene, ...]:
    """Make SCENES_OF_A_FORM scenes: four shapes in four columns, each scene twice in a row with the roles exchanged."""
    rng, scenes = np.random.default_rng(_SEED), list[MarkScene]()
    for number in range(SCENES_OF_A_FORM // 2):
        kinds, colours = (rng.choice(list(names), 4, replace=False) for names in (SHAPES, COLOURS))
        rows = rng.uniform(0.25, 0.75, 4)
        shapes = [
            Shape(str(kind), str(colour), column * SIDE, float(row) * SIDE, _RADIUS)
            for kind, colour, column, row in zip(kinds, colours, _COLUMNS, rows, strict=True)
        ]
        rgb, choices = draw_shapes(shapes), CHOICES if number % 2 == 0 else CHOICES[::-1]
        left, right = sorted(int(k) for k in rng.choice(4, 2, replace=False))
        for target, anchor in ((left, right), (right, left)):
            truth = CHOICES[0] if target < anchor else CHOICES[1]
            scenes.append(MarkScene(rgb, _around(shapes[target]), _around(shapes[anchor]), choices, truth))
    return tuple(scenes)


def _around(shape: Shape) -> Box:
    return (shape.x - shape.radius, shape.y - shape.radius, shape.x + shape.radius, shape.y + shape.radius)
