# SPDX-License-Identifier: Apache-2.0
"""Text about scenes: what the language model is trained on before it sees, and captions for encoders.

A text tells where the things of a scene are and then asks and answers questions about it. Its scenes are drawn from
seeds of their own; the pictures of tests are not among them.
"""

from __future__ import annotations

import numpy as np

from spatial_vlm_ros.vlm.replication.scenes import Scene
from spatial_vlm_ros.vlm.replication.words import BEGIN, END, LOCATION_ASKED, NUMBERS, encode, location_words


def caption(scene: Scene, told_share: float, rng: np.random.Generator) -> str:
    """Such as "a red circle, a blue square and a green star", and with that chance one relation."""
    names = [f"a {scene.things[i].name}" for i in rng.permutation(len(scene.things))]
    text = f"{', '.join(names[:-1])} and {names[-1]}"
    if scene.told and rng.uniform() < told_share:
        text += f". {scene.told[int(rng.integers(len(scene.told)))]}"
    return text


def lesson(scene: Scene, side: int, turns: int, rng: np.random.Generator) -> list[int]:
    """Tokens of a text without a picture: places on a grid, or relations, then questions with their answers.

    Args:
        scene: told.
        side: rows and columns of the grid, at most the numbers that have words.
        turns: most questions.
        rng: of the choice.
    """
    side = min(side, len(NUMBERS))
    tokens = [BEGIN]
    for i in rng.permutation(len(scene.things)):
        thing = scene.things[i]
        tokens += encode(f"the {thing.name} is in {location_words(*thing.cell(side))}.")
    if scene.told and (scene.kind == "depth" or rng.uniform() < 0.3):
        tokens += [token for told in scene.told for token in encode(f"{told}.")]
    if rng.uniform() < 0.3:
        thing = scene.things[int(rng.integers(len(scene.things)))]
        tokens += [*encode(LOCATION_ASKED.format(thing.name)), *encode(location_words(*thing.cell(side))), END]
    for turn in scene.turns[:turns]:
        tokens += [*encode(turn.question), *encode(turn.answer), END]
    return tokens
