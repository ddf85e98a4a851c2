# SPDX-License-Identifier: Apache-2.0
"""Singular and plural of nouns: a few rules, and exceptions for common household objects."""

from __future__ import annotations

from spatial_vlm_ros.language.patterns import word_set

_IRREGULAR = {
    "children": "child", "feet": "foot", "geese": "goose", "knives": "knife", "leaves": "leaf", "lives": "life",
    "loaves": "loaf", "men": "man", "mice": "mouse", "people": "person", "scarves": "scarf", "shelves": "shelf",
    "teeth": "tooth", "wolves": "wolf", "women": "woman", "halves": "half", "calves": "calf", "elves": "elf",
    "oxen": "ox", "thieves": "thief", "wives": "wife", "cacti": "cactus", "axes": "axe", "lenses": "lens",
    "gases": "gas", "irises": "iris", "canvases": "canvas", "quizzes": "quiz", "shoes": "shoe", "toes": "toe",
    "horseshoes": "horseshoe", "canoes": "canoe", "oboes": "oboe", "hoes": "hoe", "horses": "horse", "caches": "cache",
    "quiches": "quiche", "atlases": "atlas", "biases": "bias", "christmases": "christmas", "compasses": "compass",
    "ties": "tie", "pies": "pie", "lies": "lie", "dies": "die", "bookshelves": "bookshelf", "policemen": "policeman",
}  # fmt: skip

# Nouns whose singular ends in -ie: their plurals do not become -y.
_ENDS_IN_IE = word_set("""
    cookie movie brownie smoothie selfie veggie hoodie genie zombie birdie doggie walkie talkie beanie boogie
    calorie collie magpie necktie pixie rookie tie pie bowtie lassie potpie
""")

PAIRED = word_set("""
    scissors tongs pliers glasses sunglasses eyeglasses spectacles jeans pants trousers shorts leggings tights
    binoculars goggles headphones earphones earbuds tweezers clippers shears forceps snips pyjamas pajamas
    overalls calipers callipers nippers pincers nunchucks
""")
"""Single objects with a plural name."""

MASS_PLURALS = word_set("""
    wipes chips crisps noodles oats fries beans peas nachos pretzels cornflakes goods leftovers groceries
    clothes pringles cheerios doritos oreos skittles smarties lays fritos cheetos cheez-its ritz m&ms haribos
    frosties weetos greens sweets cards dominoes checkers draughts matches tissues breadcrumbs sprinkles suds
""")
"""Plurals that often name one package; without a number they stay as said."""

_NEVER_PLURAL = word_set("""
    glass bus gas lens canvas atlas christmas hummus asparagus cactus compass iris chess lotus octopus dress
    brass citrus molasses series species cosmos tennis swiss bass grass cross boss class pass mass loss moss
    floss kiss address mattress princess actress business harness fitness wilderness witness pancreas bias
    couscous walrus virus status campus bonus focus minus plus venus crocus hibiscus eucalyptus papyrus terminus
    news billiards dice sheep fish deer aircraft spacecraft basis oasis axis tripos rhinoceros thermos pathos
    asbestos albatross hippopotamus clematis pelvis ibis mars paris clorox yes this us ps circus fungus genius
    trellis portcullis chassis debris rendezvous corps
""")


WORN_GLASSES = word_set("""
    reading safety sun eye swimming 3d protective
""")
"""Words that make "glasses" one object; "wine glasses" are several."""


def is_plural(word: str) -> bool:
    """True if a lower-case word is the plural of a countable noun.

    Args:
        word: one word, lower case.

    Returns:
        True if `singular` would change it.
    """
    return singular(word) != word


def singular(word: str) -> str:
    """The singular of a noun; the word itself if it is not a plural.

    Args:
        word: one word, lower case.
    """
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in PAIRED and word != "glasses":
        return word
    if len(word) < 4 or not word.endswith("s") or word in _NEVER_PLURAL or word.endswith(("ss", "us", "is", "'s")):
        return word
    if word.endswith("es") and word[:-2] in _NEVER_PLURAL:
        return word[:-2]
    if word.endswith("ies"):
        return word[:-1] if word[:-1] in _ENDS_IN_IE else word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes", "zzes")):
        return word[:-2]
    if word.endswith("uses") and not word.endswith("ouses") and word not in ("fuses", "uses", "muses"):
        return word[:-2]
    if word.endswith("oes"):
        return word[:-2]
    return word[:-1]


def plural(word: str) -> str:
    """The plural of a noun; `singular` turns it back into the noun.

    Args:
        word: one word, lower case, singular.
    """
    for many, one in _IRREGULAR.items():
        if one == word:
            return many
    if word in PAIRED or word in MASS_PLURALS:
        return word
    if word.endswith("y") and len(word) > 1 and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    candidates = (word + "s", word + "es")
    if word.endswith(("s", "x", "z", "ch", "sh", "o")):
        candidates = (word + "es", word + "s")
    return next((many for many in candidates if singular(many) == word), word)
