# SPDX-License-Identifier: Apache-2.0
"""Which seed draws what. Parts never share a seed: what a model is tuned or tested on is in no training.

Knows numbers alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from spatial_vlm_ros.errors import InputError, UnknownNameError

RUNS, DRAWINGS = 100, 10_000_000
"""Runs, and drawings of each, that a part has room for."""
PARTS: Mapping[str, range] = MappingProxyType(
    {
        name: range(k * RUNS * DRAWINGS, (k + 1) * RUNS * DRAWINGS)
        for k, name in enumerate(
            ("encoder", "language", "projector", "tuning", "pin", "validation", "test", "weights"), start=1
        )
    }
)
"""Part → its seeds. "validation" is to tune on, "test" to report on; both are the same for all runs."""


def seed_of(part: str, run: int, number: int) -> int:
    """Seed of one drawing.

    Args:
        part: one of PARTS.
        run: seed of the run, 0 to RUNS - 1.
        number: of the drawing within the run, 0 to DRAWINGS - 1.

    Raises:
        UnknownNameError: no such part.
        InputError: a number that would leave the part.
    """
    if part not in PARTS:
        raise UnknownNameError("part", part, PARTS)
    if not (0 <= run < RUNS and 0 <= number < DRAWINGS):
        expected = f"runs 0 to {RUNS - 1}, drawings 0 to {DRAWINGS - 1}"
        raise InputError("seed", f"run {run}, drawing {number}", expected, "use fewer runs or steps")
    return PARTS[part][run * DRAWINGS + number]


def rng_of(part: str, run: int, number: int) -> np.random.Generator:
    """Generator of one drawing; raises as `seed_of`."""
    return np.random.default_rng(seed_of(part, run, number))
