# SPDX-License-Identifier: Apache-2.0
"""Word tables for distances: numbers, units, and bounds."""

from __future__ import annotations

from typing import Literal

VAGUE_NUMBERS: dict[str, float] = {
    "a couple of": 2,
    "a couple": 2,
    "a pair of": 2,
    "a dozen": 12,
    "half a dozen": 6,
    **dict.fromkeys(("a few", "several", "some", "many", "a number of", "few"), float("nan")),
}
"""Amounts before a unit; NaN if the amount is unknown."""
LENGTHS: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.001, ("mm|mms|millimeter|millimeters|millimetre|millimetres",)),
    (0.01, ("cm|cms|centimeter|centimeters|centimetre|centimetres",)),
    (0.1, ("dm|decimeter|decimeters|decimetre|decimetres",)),
    (1.0, ("m|meter|meters|metre|metres",)),
    (0.0254, ("inch|inches",)),
    (0.3048, ("foot|feet|ft",)),
    (1000.0, ("km|kms|kilometer|kilometers|kilometre|kilometres",)),
    (0.9144, ("yard|yards|yd|yds",)),
    (0.09, ("hand|hands|hand's|hands' width|widths|breadth|breadths", "handwidth|handwidths|handbreadth|handbreadths",
            "hand-width|hand-widths|hand-breadth|hand-breadths|handsbreadth|handsbreadths",
            "width|breadth of a hand")),
    (0.02, ("finger|fingers|finger's|fingers' width|widths|breadth|breadths", "fingerwidth|fingerwidths",
            "finger-width|finger-widths|fingerbreadth|fingerbreadths", "width|breadth of a finger")),
)  # fmt: skip
"""Units of length in metres, and their names."""
BOUNDS: dict[Literal["about", "at most", "at least"], tuple[str, ...]] = {
    "at most": ("at the? most", "no|not more|further|farther|greater than", "no|not further|farther away than",
        "less|fewer|closer|nearer|smaller than", "within", "within|in a distance|radius of", "up to", "under",
        "just|a little|slightly under", "a maximum of", "max|maximum|maximally", "inside of", "not quite",
        "within no more than"),
    "at least": ("at the? least", "no|not less|fewer|closer|nearer than", "more|further|farther|greater|longer than",
        "over", "just|a little|slightly|well over", "a little|slightly more than", "a minimum of",
        "min|minimum|minimally", "in excess of", "upwards of", "beyond", "farther|further away than"),
    "about": ("about", "around", "approximately", "approx", "roughly", "nearly", "almost", "exactly", "precisely",
        "circa", "ca", "some", "only", "just", "something like", "a distance of", "at a distance of", "round about",
        "maybe", "perhaps", "more or less", "a good", "just about", "at about|around"),
}  # fmt: skip
"""Words before a distance, and the bound that they set."""
BOUNDS_AFTER: dict[Literal["about", "at most", "at least"], tuple[str, ...]] = {
    "at most": ("or less|fewer|closer|nearer|under", "at the? most", "max|maximum|tops"),
    "at least": ("or more|further|farther|over", "at the? least", "minimum"),
    "about": ("or so", "or thereabouts", "exactly", "roughly", "more or less", "give or take"),
}
"""Words after a distance, and the bound that they set."""
DISTANCE_ENDS = (
    "away",
    "apart",
    "off",
    "distant",
    "clear",
    "between them",
    "of space",
    "of room",
    "from it",
    "away from it",
    "from them",
    "away from them",
    "off it",
)
"""Words that may follow a distance that comes after its relation."""
