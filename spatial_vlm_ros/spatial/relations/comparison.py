# SPDX-License-Identifier: Apache-2.0
"""Comparisons such as taller than and closer than: the lengths of superlatives, compared for two objects."""

from __future__ import annotations

import numpy as np

from spatial_vlm_ros.spatial import superlatives
from spatial_vlm_ros.spatial.relations.pairs import Measure, Measured, Pairs

COMPARATIVES = {
    "taller than": "tallest",
    "shorter than": "shortest",
    "larger than": "largest",
    "smaller than": "smallest",
    "longer than": "longest",
    "wider than": "widest",
    "narrower than": "narrowest",
    "thicker than": "thickest",
    "thinner than": "thinnest",
    "closer than": "nearest",
    "farther than": "farthest",
}
"""Comparative → the superlative with the same direction."""


def compared(superlative: str) -> Measure:
    """Make the comparative relation of a superlative: "taller than" from "tallest"."""

    def measure(pairs: Pairs) -> Measured:
        key = superlatives.key_of(superlative, pairs.layout, pairs.view)  # smallest first
        margin = -pairs.difference(key.value, key.value)
        return margin, np.hypot(key.sigma[pairs.targets, None], key.sigma[pairs.anchors])

    return measure
