# SPDX-License-Identifier: Apache-2.0
"""The questions that are reported on, and those to tune on: the diagnostics' items, drawn from seeds of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from research.replication.seeds import seed_of
from research.replication.words import encode
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.vlm.diagnostics.depth_items import HIGHER, depth_group
from spatial_vlm_ros.vlm.diagnostics.item_set import FEWEST, MOST, NAMINGS, PLACES, absolute_group, relative_group
from spatial_vlm_ros.vlm.diagnostics.items import ProbeItem

TYPES = (
    *(f"{kind} {naming}" for kind in ("absolute", "relative") for naming in NAMINGS),
    "depth usual",
    "depth counter",
)
KINDS = ("absolute", "relative", "depth")


@dataclass(frozen=True, eq=False)
class Question:
    """An item and its type, one of TYPES."""

    item: ProbeItem
    type: str

    @property
    def kind(self) -> str:
        """Of KINDS."""
        return self.type.split()[0]


@cache
def draw_questions(part: Literal["validation", "test"], groups: tuple[int, int, int]) -> tuple[Question, ...]:
    """Questions of all types; the same part and numbers give the same questions.

    Args:
        part: whose seeds are used.
        groups: of absolute, relative and depth questions; sides, namings and numbers of shapes take turns.
    """
    seed = seed_of(part, 0, 0)
    found: list[Question] = []
    for i in range(groups[0]):
        naming, place = NAMINGS[i % 3], list(PLACES)[i // 3 % 4]
        rng = np.random.default_rng((seed, 0, i))
        items = absolute_group(f"absolute-{i}", place, naming, FEWEST + i // 12 % (MOST - FEWEST + 1), rng)
        found += [Question(item, f"absolute {naming}") for item in items]
    for i in range(groups[1]):
        rng = np.random.default_rng((seed, 1, i))
        items = relative_group(f"relative-{i}", NAMINGS[i % 3], FEWEST + i // 3 % (MOST - FEWEST + 1), rng)
        found += [Question(item, f"relative {NAMINGS[i % 3]}") for item in items]
    for i in range(groups[2]):
        items = depth_group(f"depth-{i}", np.random.default_rng((seed, 2, i)))
        found += [Question(item, "depth usual" if item.cues[HIGHER] else "depth counter") for item in items]
    return tuple(found)


def candidate_tokens(choices: Sequence[str]) -> list[int]:
    """First token of each candidate, by which greedy decoding among the candidates chooses.

    Raises:
        InputError: two candidates begin alike, so that the first token does not tell them apart.
    """
    firsts = [encode(choice)[0] for choice in choices]
    if len(set(firsts)) < len(firsts):
        raise InputError("candidates", repr(tuple(choices)), "different first words", "decode them whole")
    return firsts
