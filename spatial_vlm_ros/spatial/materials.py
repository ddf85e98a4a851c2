# SPDX-License-Identifier: Apache-2.0
"""Material words, and which of them exclude each other. Needs only Python."""

from __future__ import annotations

from collections.abc import Collection

_MATERIALS = {
    "metal": "metal metallic steel stainless tin aluminium aluminum iron brass copper bronze chrome",
    "wood": "wood wooden bamboo timber",
    "plastic": "plastic rubber silicone vinyl",
    "glass": "glass crystal",
    "ceramic": "ceramic porcelain china clay earthenware",
    "paper": "paper cardboard",
    "cloth": "cloth fabric felt wool woollen cotton plush",
    "foam": "foam styrofoam sponge",
    "leather": "leather",
    "stone": "stone marble granite concrete cinder",
    "wicker": "wicker rattan",
    "ice": "ice",
}
_MATERIAL_OF = {word: name for name, words in _MATERIALS.items() for word in words.split()}

_GENERAL = frozenset(
    ("metal", "metallic", "wood", "wooden", "plastic", "glass", "ceramic", "paper", "cloth", "fabric", "foam", "stone")
)
"""General words for a material, of which other words name kinds."""
_PASSING_FOR = frozenset({"rubber", "silicone", "sponge"})
"""Materials that people may call by the general word though they are not a kind of it."""


def other_material(said: str, seen: Collection[str]) -> bool:
    """True if words about an object name a material, but not the one that was said.

    Args:
        said: a word of a phrase; a word that is not a material excludes nothing.
    """
    material = _MATERIAL_OF.get(said)
    others = {_MATERIAL_OF[word] for word in seen if word in _MATERIAL_OF}
    return material is not None and bool(others) and material not in others


def of_material(said: str, seen: Collection[str]) -> bool:
    """True if words about an object name the material that was said, or a kind of it: steel is metal."""
    material = _MATERIAL_OF.get(said)
    if material is None or said not in _GENERAL:
        return False
    return any(_MATERIAL_OF.get(word) == material and word not in _PASSING_FOR for word in seen)
