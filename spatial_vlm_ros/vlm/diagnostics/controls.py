# SPDX-License-Identifier: Apache-2.0
"""Variants of a question, each with one change and a known effect on the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spatial_vlm_ros.vlm.diagnostics.items import ItemPrompt, ProbeItem

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
