# SPDX-License-Identifier: Apache-2.0
"""Words for colours and materials: their families, and which exclude each other. Needs only Python."""

from __future__ import annotations

from collections.abc import Collection

_FAMILIES: dict[str, str] = {
    "red": "red crimson scarlet maroon burgundy ruby cherry reddish",
    "orange": "orange tangerine apricot orangish",
    "yellow": "yellow golden gold lemon mustard-yellow yellowish amber",
    "green": "green lime olive emerald mint khaki greenish",
    "teal": "teal turquoise cyan aqua aquamarine blue-green",
    "blue": "blue navy azure cobalt indigo sky-blue bluish",
    "purple": "purple violet lilac lavender mauve plum purplish",
    "pink": "pink magenta rose fuchsia salmon coral pinkish",
    "brown": "brown tan chocolate bronze copper brownish wooden-brown",
    "beige": "beige cream ivory off-white sand",
    "white": "white whitish snow-white",
    "grey": "grey gray silver silvery greyish grayish metallic",
    "black": "black blackish dark charcoal",
    "clear": "clear transparent see-through translucent colourless colorless",
}
_FAMILY_OF = {word: family for family, words in _FAMILIES.items() for word in words.split()}
_NEAR_FAMILIES = frozenset(
    frozenset(pair)
    for pair in (
        ("teal", "green"), ("teal", "blue"), ("purple", "pink"), ("purple", "blue"), ("pink", "red"),
        ("orange", "red"), ("orange", "yellow"), ("orange", "brown"), ("brown", "red"), ("brown", "black"),
        ("beige", "white"), ("beige", "brown"), ("beige", "yellow"), ("grey", "white"), ("grey", "black"),
        ("clear", "white"), ("clear", "grey"),
    )
)  # fmt: skip
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
