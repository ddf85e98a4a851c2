# SPDX-License-Identifier: Apache-2.0
"""Ask all questions in all their variants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.vlm.diagnostics.items import Answerer, ItemPrompt, ProbeItem, ask

GREY = 127
"""Value of all pixels of a blank image, as in Decodable Is Not Grounded (2026)."""
CONTROLS = ("picture", "blank", "mirrored", "flipped", "shuffled", "paraphrased", "swapped")


def forms_of(item: ProbeItem, seed: int = 0) -> dict[str, ItemPrompt]:
    """Make the variants of a question: control → variant. Variants without meaning for the item are left out.

    - picture: unchanged.
    - blank: a grey image of the same size; no truth.
    - mirrored: left and right of the image exchanged.
    - flipped: top and bottom of the image exchanged.
    - shuffled: candidates rotated, so that each has another index in the list.
    - paraphrased: other words.
    - swapped: the two objects exchanged along depth.

    Args:
        seed: together with the item's key it decides how far candidates are rotated.
    """
    plain, choices = item.plain, item.plain.choices
    rng = np.random.default_rng([seed, *item.key.encode()])
    steps = int(rng.integers(1, len(choices)))
    forms = {
        "picture": plain,
        "blank": replace(plain, rgb=np.full_like(plain.rgb, GREY), truth=None),
        "mirrored": replace(plain, rgb=np.ascontiguousarray(plain.rgb[:, ::-1]), truth=item.mirrored),
        "shuffled": replace(plain, choices=choices[steps:] + choices[:steps]),
        "paraphrased": replace(plain, question=item.paraphrase),
    }
    if item.flipped is not None:
        forms["flipped"] = replace(plain, rgb=np.ascontiguousarray(plain.rgb[::-1]), truth=item.flipped)
    if item.swapped is not None:
        other = next(choice for choice in choices if choice != item.truth)
        forms["swapped"] = replace(plain, rgb=item.swapped, truth=other)
    return forms


@dataclass(frozen=True, eq=False)
class Examined:
    """An item with the answers to it.

    Args:
        shuffled: candidates in the order of the control "shuffled".
    """

    item: ProbeItem
    answers: Mapping[str, str]
    shuffled: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Whether the plain question was answered correctly."""
        return self.answers["picture"] == self.item.truth

    @property
    def right_when_blank(self) -> bool:
        """Whether the answer for the grey image equals the truth of the real image."""
        return self.answers["blank"] == self.item.truth

    @property
    def kept_place(self) -> bool:
        """Whether the answers to both orders of candidates are at the same index of the list."""
        place = self.item.plain.choices.index(self.answers["picture"])
        return self.shuffled[place] == self.answers["shuffled"]


def examine(
    answerer: Answerer, items: Sequence[ProbeItem], seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> list[Examined]:
    """Ask all variants: six questions per item.

    Args:
        answerer: the model to ask.
        items: items from `draw_items`.
        seed: seed of the order of shuffled candidates.
        progress: called with the number of items done and of all items.

    Raises:
        InputError: there are no items.
        ModelError: an answer is not one of the candidates.
    """
    if not items:
        raise InputError("questions", "none", "one or more", "draw some with draw_items")
    done = []
    for item in items:
        forms = forms_of(item, seed)
        answers = {control: ask(answerer, form) for control, form in forms.items()}
        done.append(Examined(item, answers, forms["shuffled"].choices))
        if progress is not None:
            progress(len(done), len(items))
    return done
