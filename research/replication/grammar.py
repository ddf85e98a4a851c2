# SPDX-License-Identifier: Apache-2.0
"""Text about scenes: what the language model is trained on before it sees, and captions for encoders and projector.

A text tells on which squares the objects of a scene are, tells it once more in another order, so that most words follow
from those before them, and then asks and answers questions. Its scenes are drawn from seeds of their own; the images
of tests are not among them.
"""

from __future__ import annotations

import numpy as np

from research.replication.scenes import DrawnScene, called
from research.replication.words import BEGIN, END, LOCATION_ASKED, MOST_SIDE, encode, square
from spatial_vlm_ros.vlm.diagnostics.item_set import NAMINGS

_TOLD = 4  # most relations that a text tells


def caption(scene: DrawnScene, told_share: float, rng: np.random.Generator) -> str:
    """Such as "a red circle, a blue square and a green star", or by colour or shape alone; with that chance a relation.

    Captions by shape alone are there for encoders to learn shapes: with colours in each, colours tell images apart.
    """
    naming = NAMINGS[int(rng.integers(3))] if scene.kind == "flat" else "both"
    names = [f"a {called(scene.objects[i], naming)}" for i in rng.permutation(len(scene.objects))]
    text = f"{', '.join(names[:-1])} and {names[-1]}"
    if scene.told and rng.uniform() < told_share:
        text += f". {scene.told[int(rng.integers(len(scene.told)))]}"
    return text


def lesson(scene: DrawnScene, side: int, turns: int, rng: np.random.Generator) -> list[int]:
    """Tokens of a text without an image: squares, twice; relations; then questions with their answers.

    Args:
        scene: told.
        side: rows and columns of the grid.
        turns: most questions.
        rng: of the choice.
    """
    tokens = [BEGIN, *encode(described(scene, side, rng)), *encode(described(scene, side, rng))]
    for i in rng.permutation(len(scene.told))[:_TOLD]:
        tokens += encode(f"{scene.told[i]}.")
    if rng.uniform() < 0.3:
        obj = scene.objects[int(rng.integers(len(scene.objects)))]
        tokens += [*encode(LOCATION_ASKED.format(obj.name)), *encode(square(*obj.cell(side))), END]
    for turn in scene.turns[:turns]:
        tokens += [*encode(turn.question), *encode(turn.answer), END]
    return tokens


def described(scene: DrawnScene, side: int, rng: np.random.Generator) -> str:
    """Such as "red b3 circle. blue c5 star.", in random order: colour, square, shape.

    The square follows the colour at once, so that one look-up by what was just said finds it.

    Args:
        scene: told.
        side: rows and columns of the grid, at most MOST_SIDE.
        rng: of the order.
    """
    side = min(side, MOST_SIDE)
    objects = [scene.objects[i] for i in rng.permutation(len(scene.objects))]
    return " ".join(f"{obj.colour} {square(*obj.cell(side))} {obj.shape}." for obj in objects)
