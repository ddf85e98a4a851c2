# SPDX-License-Identifier: Apache-2.0
"""Word classes that rules ask for by name, and words in no table: which of them may be the noun of an object.

The words are in words.toml, which says what each class is. Nouns are an open class, so an unknown word is read as a
noun, but only in a noun's position and only if it is not clearly an adverb, a participle, a verb or a comparison.
"""

from __future__ import annotations

from functools import lru_cache

from spatial_vlm_ros.language.acts import OTHER_VERBS
from spatial_vlm_ros.language.patterns import WORDS

ONE_OF, ANY_OF, VAGUE = 0, -2, -3
"""Quantities of "the tallest of the mugs", "one of the mugs" (any one) and "a few mugs" (several, without a number)."""
ANY = "any"
"""Value of a determiner that leaves the choice open."""
ITSELF = "itself"
"""Noun of the anchor of "10 cm to the left": the object's current position."""
SURFACE = "surface"
"""Noun of the surface that supports the objects, if it is not named."""
THERE = "there"
"""Stands for the relation of "put it there" until it is known if that is in or on an object."""
NOT = "not "
"""Begins an attribute that is denied ("not red")."""
WITH = "with "
"""Begins an attribute that names a part or a mark ("with blue lid")."""
OPENABLE = frozenset({"open", "close"})
"""Actions on an object that others can be put into."""
MOVING = frozenset({"pick", "give", "place"})
"""Actions that move an object to or from somewhere."""
SHIFTS = {"left": "left of", "right": "right of"}
"""Directions in which an object can be moved from its current position."""
SIZE_ORDERS = ("largest", "smallest", "tallest", "shortest", "longest", "widest", "narrowest", "thickest", "thinnest",
               "fullest", "emptiest")  # fmt: skip
ORDER_OF_SUPERLATIVE = {"leftmost": "left", "rightmost": "right", "nearest": "near", "farthest": "far",
                        "highest": "top", "lowest": "bottom"} | {size: size for size in SIZE_ORDERS}  # fmt: skip
SUPERLATIVE_OF_SIDE = {
    "at the left side of": "leftmost", "at the right side of": "rightmost", "at the front of": "nearest",
    "at the back of": "farthest",
}  # fmt: skip
SUPERLATIVE_OF_ORDER = {side: superlative for superlative, side in ORDER_OF_SUPERLATIVE.items()}
"""Side or size that an ordinal counts from → the superlative that comes first."""
OPPOSITE = {"left": "right", "right": "left", "near": "far", "far": "near", "top": "bottom", "bottom": "top"}
FRAMED_SUPERLATIVES = frozenset({"leftmost", "rightmost", "nearest", "farthest", "middle"})
FRAMED_ORDERS = frozenset({"left", "right", "near", "far"})

VALUES = WORDS.under("values")
"""Phrases by the kind of their token and by its value."""
DETERMINERS, RELATIVE_CHOICES = WORDS.under("kinds").words("DET"), WORDS.words("relative_choices")
NUMBERS = {word: value for value, word in enumerate(WORDS.patterns("numbers"), 2)}
ORDINALS = {word: value for value, word in enumerate(WORDS.patterns("ordinals"), 1)}
SIGNS, DIRECTIONS, GRIPS = map(WORDS.words, ("signs", "directions", "grips"))
PLACEHOLDERS, NOUNS_TOO, REPEATABLE = map(WORDS.words, ("placeholders", "nouns_too", "repeatable"))
PERSONS, POSITION_WORDS = map(VALUES.meanings, ("PERSON", "POSITION"))
STEP_PLACES, VIEW_NOUNS = WORDS.meanings("step_places"), WORDS.patterns("view_nouns")
BASE_COLOURS, NOUN_COLOURS = WORDS.words("base_colours"), WORDS.words("noun_colours")
CONTAINERS, FURNITURE, PARTS = map(WORDS.words, ("containers", "furniture", "parts"))
SURFACES = FURNITURE | WORDS.words("small_surfaces")
FEATURES = PARTS - WORDS.words("undescribing_parts") | WORDS.words("marks")
CUT, PIECES, LOANWORDS, HESITATIONS = map(WORDS.words, ("cut", "pieces", "loanwords", "hesitations"))
ADVERBS, FUNCTION_WORDS, NEVER_HEADS = map(WORDS.words, ("adverbs", "function_words", "never_heads"))
COMPARATIVES, TIMES, OTHER_UNITS = map(WORDS.words, ("comparatives", "times", "other_units"))
VOCATIVES, BEFORE_COMMA, BEFORE_VERB = map(WORDS.words, ("vocatives", "before_comma", "before_verb"))
POLITE_FILLERS, DEGREES = map(WORDS.words, ("polite_fillers", "degrees"))
TIME_OPENINGS, TIME_ENDS = tuple(f"{words} " for words in WORDS.patterns("time_openings")), WORDS.patterns("time_ends")
_ENDINGS_OF_ADVERBS = ("wards", "wise")
_LY_NOUNS, _LY_ADJECTIVES = WORDS.words("ly_nouns"), WORDS.words("ly_adjectives")
_ING_NOUNS, _ED_NOUNS, _EST_NOUNS = map(WORDS.words, ("ing_nouns", "ed_nouns", "est_nouns"))


@lru_cache(maxsize=4096)
def is_outside(text: str, modifier: bool) -> bool:
    """True if an unknown word clearly is not a part of an object's name.

    Args:
        modifier: True if a noun follows it: then participles and some adverbs describe that noun.
    """
    if text in TIMES | OTHER_UNITS and not modifier:
        return True
    if text in ADVERBS or text in FUNCTION_WORDS or text in OTHER_VERBS:
        return True
    if text.endswith("ly"):
        return text not in _LY_NOUNS and not (modifier and text in _LY_ADJECTIVES)
    if text.endswith(_ENDINGS_OF_ADVERBS):
        return True
    if text.endswith("est") and len(text) > 4:
        return text not in _EST_NOUNS
    if text in COMPARATIVES:
        return modifier or text != "lighter"
    return False


@lru_cache(maxsize=4096)
def is_plain(text: str) -> bool:
    """True if an unknown lower-case word may be a noun in every noun position."""
    return not (
        is_outside(text, modifier=False)
        or is_outside(text, modifier=True)
        or is_participle(text)
        or text.startswith("non-")
        or text.endswith("m")  # units
    )


@lru_cache(maxsize=4096)
def is_participle(text: str) -> bool:
    """True if a word after a noun is a participle or the like, not a noun ("the chick hiding", "the cup owned by")."""
    if text in NEVER_HEADS:
        return True
    if text.endswith("ing") and len(text) > 4:
        return text not in _ING_NOUNS
    return text.endswith("ed") and len(text) > 3 and text not in _ED_NOUNS
