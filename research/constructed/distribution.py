# SPDX-License-Identifier: Apache-2.0
"""What the scenes are drawn from, as data. docs/evaluation.md shows the same numbers; a test compares them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

REPORTING_FROM = 100_000
"""Seeds below are for development. A seed whose failure was looked at is one of development from then on, and the next
report draws a new range above all that were used."""


@dataclass(frozen=True)
class Spread:
    """Sizes of margins: a share of near misses, the rest uniform over what is left.

    Args:
        near: (least, most) of near misses, metres.
        wide: (least, most) of the others, metres.
        near_share: part that are near misses, 0 to 1.
    """

    near: tuple[float, float]
    wide: tuple[float, float]
    near_share: float = 0.25

    def draw(self, rng: np.random.Generator) -> float:
        """One size of a margin, metres, positive."""
        low, high = self.near if rng.random() < self.near_share else self.wide
        return float(rng.uniform(low, high))


METRIC = Spread((0.01, 0.03), (0.03, 0.15))
"""Directions, distances, heights, orders along the ground."""
SIZES = Spread((0.008, 0.015), (0.015, 0.05))
"""Comparisons of lengths of objects."""
PARTS = Spread((0.005, 0.01), (0.01, 0.05))
"""Parts of an object, groups, stated distances: where the border is never far."""


@dataclass(frozen=True)
class Band:
    """Where truth is called unclear: a margin between -`fails` and `holds`.

    Args:
        holds: least clear margin of what has the relation, metres.
        fails: least clear distance from the border of what has it not, metres.
        sizes: part of the mean size of both objects that either is at least, for the vague words.
    """

    holds: float
    fails: float
    sizes: float = 0.0


METRIC_BAND = Band(0.02, 0.02)
SIZE_BAND = Band(0.01, 0.01, 0.15)
PART_BAND = Band(0.015, 0.015)
CONTACT_BAND = Band(0.005, 0.025)
"""Contact ends 15 mm off: what rests within 10 mm of it is clear, and what is 4 cm off."""
VAGUE_BAND = Band(0.0, 0.0, 0.35)
STATED_BAND = Band(0.01, 0.01)

_OF: Mapping[Band, str] = MappingProxyType(
    {
        SIZE_BAND: "taller than,shorter than,larger than,smaller than,longer than,wider than,narrower than,"
        "thicker than,thinner than",
        PART_BAND: "at the edge of,at the corner of,at the centre of,at the left side of,at the right side of,"
        "at the front of,at the back of,at the end of,at the top of,in the middle of the height of,at the bottom of,"
        "part of,between,among,under,above,below,inside,out of,containing",
        CONTACT_BAND: "on,supporting,touching,against",
        VAGUE_BAND: "next to,near,far from,around",
    }
)
BANDS: Mapping[str, Band] = MappingProxyType({name: band for band, names in _OF.items() for name in names.split(",")})
"""Bands that are not METRIC_BAND, by relation."""
ORDER_BANDS: Mapping[str, Band] = MappingProxyType(
    dict.fromkeys(
        ("tallest", "shortest", "largest", "smallest", "longest", "widest", "narrowest", "thickest", "thinnest"),
        SIZE_BAND,
    )
)
"""Bands of superlatives that are not METRIC_BAND."""

VIEW: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "pitch_deg": (15.0, 60.0),
        "distance_m": (0.6, 1.7),
        "ground_distance_m": (0.5, 1.25),
        "azimuth_deg": (-180.0, 180.0),
        "roll_deg": (-12.0, 12.0),
        "aim_m": (-0.04, 0.04),
    }
)
"""Uniform each: pitch and distance of the camera's ray to the aim, its direction, roll, and shift of the aim. Where a
relation cannot be seen from everywhere (under, inside) the pitch has a part of that range."""
REACH_M = 0.32
"""Radius of the disc about the anchor that places are drawn in, uniformly: so lateral offsets follow."""
KIND_SHARES: Mapping[str, float] = MappingProxyType({"answerable": 0.70, "ambiguous": 0.15, "unsatisfied": 0.15})
"""Of the scenes, by what their first question is; more questions are asked of each, absent objects among them."""
MORE_ITEMS = 2
"""Most further questions of a scene."""
ABSENT_SHARE = 0.3
"""Of the scenes: one further question names an object that is not there."""
CLUTTER = (1, 4)
DISTRACTORS = (1, 3)
"""Numbers of them, uniform."""
RAISED_SHARE = 0.5
"""Of the scenes about depth: the nearer object stands on a crate."""
SEEN_TARGET, SEEN_OTHER = 0.4, 0.25
"""Least visible fraction of targets and anchors, and of others that the words could mean."""
EXACT: Mapping[str, float] = MappingProxyType({"noise_floor": 0.0005, "noise_quadratic": 0.0005})
"""What the resolver is told of a sensor without noise (`depth.*`); of the others it has its defaults."""
BORDER_PX = 4
"""Pixels that all of these keep from the border of the image."""


@dataclass(frozen=True)
class ErrorShares:
    """How often the simulated detector errs.

    Args:
        boxes: boxes without a mask.
        misses: objects that it does not report.
        swaps: labels of a similar kind.
        scores: (a, b) of the beta distribution of scores.
    """

    boxes: float = 0.20
    misses: float = 0.05
    swaps: float = 0.05
    scores: tuple[float, float] = (8.0, 2.0)
