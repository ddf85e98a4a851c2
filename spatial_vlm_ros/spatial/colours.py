# SPDX-License-Identifier: Apache-2.0
"""Words for colours and materials: their families, and which exclude each other."""

from __future__ import annotations

from collections.abc import Collection

from spatial_vlm_ros.language.patterns import WORDS, word_set

_FAMILY_OF = WORDS.meanings("colour_families")
_NEAR_FAMILIES = frozenset(map(frozenset, WORDS.phrases("near_colours")))
_BASIC = frozenset(("black", "white", "red", "green", "yellow", "blue", "brown", "purple", "pink", "orange", "grey"))
_SHADES = frozenset({"light", "dark", "bright", "pale", "deep", "vivid", "neon", "pastel", "hot"})


def colour_family(word: str) -> str | None:
    """Family of a colour word ("dark blue" → "blue"), or None if it is not a colour."""
    if word in _FAMILY_OF:
        return _FAMILY_OF[word]
    parts = [
        part for part in word.replace("-", " ").split() if part not in _SHADES and part not in ("coloured", "colored")
    ]
    return _FAMILY_OF.get(parts[-1]) if parts else None


def both_basic(one: str, other: str) -> bool:
    """True if both families are basic colour terms, of which people use only one for the same paint.

    Source: the eleven basic terms of Berlin and Kay, Basic Color Terms (1969).
    """
    return one in _BASIC and other in _BASIC


def near_families(one: str, other: str) -> bool:
    """True if people may call the same paint by the name of either family."""
    return frozenset((one, other)) in _NEAR_FAMILIES


# ------------------------------------------------------------------------------------------------ materials

_MATERIAL_OF = WORDS.meanings("materials")

_GENERAL = word_set("metal metallic wood wooden plastic glass ceramic paper cloth fabric foam stone")
"""General words for a material, of which other words name kinds."""
_PASSING_FOR = frozenset({"rubber", "silicone", "sponge"})
"""Materials that people may call by the general word though they are not a kind of it."""


def other_material(said: str, seen: Collection[str]) -> bool:
    """True if `seen` words about an object name a material, but not the material `said`."""
    material = _MATERIAL_OF.get(said)
    others = {_MATERIAL_OF[word] for word in seen if word in _MATERIAL_OF}
    return material is not None and bool(others) and material not in others


def of_material(said: str, seen: Collection[str]) -> bool:
    """True if words about an object name the material that was said, or a kind of it: steel is metal."""
    material = _MATERIAL_OF.get(said)
    if material is None or said not in _GENERAL:
        return False
    return any(_MATERIAL_OF.get(word) == material and word not in _PASSING_FOR for word in seen)
