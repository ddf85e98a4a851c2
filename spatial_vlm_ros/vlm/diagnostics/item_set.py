# SPDX-License-Identifier: Apache-2.0
"""The whole set of test questions, drawn from a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.vlm.diagnostics.depth_items import depth_group
from spatial_vlm_ros.vlm.diagnostics.flat_items import FEWEST, MOST, NAMINGS, PLACES, absolute_group, relative_group
from spatial_vlm_ros.vlm.diagnostics.items import ProbeItem


@dataclass(frozen=True)
class Amount:
    """Number of questions.

    Args:
        absolute: number of groups; group i asks for side i mod 4, with 2 to 6 shapes and as many items.
        relative: number of groups of four items.
        depth: number of groups of eight items.
        seed: seed of the drawing.

    Raises:
        InputError: a number below 0, or no group at all.
    """

    absolute: int = 24
    relative: int = 24
    depth: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.absolute, self.relative, self.depth)
        if min(*counts, self.seed) < 0 or not any(counts):
            got = f"{counts} groups, seed {self.seed}"
            raise InputError("amount of questions", got, "no number below 0, and at least one group")


AMOUNTS: Mapping[str, Amount] = MappingProxyType({"small": Amount(8, 10, 5), "full": Amount()})
"""Name → amount. The small one is near the least that distinguishes a model that knows from one that does not look."""


def draw_items(amount: Amount | None = None) -> list[ProbeItem]:
    """Draw items of all kinds, group after group; the same amount and seed give the same items."""
    amount = amount or Amount()
    items: list[ProbeItem] = []
    for i in range(amount.absolute):
        place, naming = list(PLACES)[i % 4], NAMINGS[i // 4 % 3]
        rng = np.random.default_rng((amount.seed, 0, i))
        items += absolute_group(f"absolute-{i}", place, naming, FEWEST + i // 4 % (MOST - FEWEST + 1), rng)
    for i in range(amount.relative):
        rng = np.random.default_rng((amount.seed, 1, i))
        items += relative_group(f"relative-{i}", NAMINGS[i % 3], FEWEST + i % (MOST - FEWEST + 1), rng)
    for i in range(amount.depth):
        items += depth_group(f"depth-{i}", np.random.default_rng((amount.seed, 2, i)))
    return items
