# SPDX-License-Identifier: Apache-2.0
"""Word classes that rules ask for by name, and words in no table: which of them may be the noun of an object.

The words are in words.toml, which says what each class is. Nouns are an open class, so an unknown word is read as a
noun, but only in a noun's position and only if it is not clearly an adverb, a participle, a verb or a comparison.
"""

from __future__ import annotations

import itertools
import re
from functools import lru_cache
from typing import NamedTuple, get_args

from spatial_vlm_ros.language.patterns import WORDS, Tables, all_phrases, read_table
from spatial_vlm_ros.types.query import Act


class _Verbs(NamedTuple):
    """A table of the lexicon: patterns of verbs with one act and one action."""

    act: Act
    action: str
    patterns: tuple[str, ...]


_FILE = Tables(read_table("acts"))
_READ, patterns_of, words_of, phrases_of = _FILE.read, _FILE.patterns, _FILE.words, _FILE.phrases
_TABLES = [(act, *each) for act in _READ if act in get_args(Act) for each in _READ[act].items()]
LEXICON = tuple(_Verbs(act, action, tuple(table["verbs"])) for act, action, table in _TABLES)
"""All verbs, in the order of the file."""
ACTIONS = {
    action: tuple(itertools.chain.from_iterable(each.patterns for each in LEXICON if each.action == action))
    for action in dict.fromkeys(each.action for each in LEXICON)
}
"""Action of the JSON → ways of saying it."""
VERBS_BEFORE_ARTICLES = frozenset(word for _, _, table in _TABLES for word in table.get("before_articles", ()))
"""Verbs only before an article or pronoun; elsewhere they are other words ("sling bag", "the lower mug")."""
PURE_VERBS, OTHER_VERBS, PUT_DOWN = map(words_of, ("pure", "other_verbs", "put_down"))
PEOPLE, LIVING, NEVER_TAKEN = map(words_of, ("people", "living", "never_taken"))
POLITE, PLEASANTRIES = patterns_of("polite"), patterns_of("pleasantries")
QUESTION_VERBS, WISHES = patterns_of("question_verbs"), patterns_of("wishes")
WISHED = all_phrases(WISHES)
STOP_WORDS, WAIT_WORDS = patterns_of("stop_words"), patterns_of("wait_words")


@lru_cache(maxsize=1)
def spoken_patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Sounds and courtesies between commas, courtesies before an order, and courteous words for "give me"."""
    names: dict[str, str] = {}
    for name, said in _READ["spoken"].items():
        joined = said if isinstance(said, str) else "|".join(said)
        names[name] = "(?:" + re.sub(r"{([a-z]+)}", lambda found: names[found[1]], joined) + ")"
    fillers = re.compile(rf"(?:(?:{names['fillers']})(?: |$))+")
    return fillers, re.compile(rf"(?:{names['before']}) "), re.compile(rf"(?:{names['wishes']}) ")


@lru_cache(maxsize=1)
def homophones() -> tuple[dict[str, str], dict[str, str]]:
    """Words that a recogniser writes for others of the same sound, and those that it writes for numbers."""
    sounds, numbers = (dict(pair.split(":") for pair in _READ[n].split()) for n in ("homophones", "heard_numbers"))
    return sounds, numbers


def gerund(pattern: str) -> str:
    """The pattern with "-ing" on the verbs of its first slot."""
    first, *rest = pattern.split()
    return " ".join(["|".join(_regular(verb, 0) for verb in first.split("|")), *rest])


def _regular(verb: str, form: int) -> str:
    """A form of a verb, regular if [forms] lacks it: 0 in -ing, 1 past, 2 after "have"; alternatives are joined."""
    if verb in _READ["forms"]:
        return str(_READ["forms"][verb].split()[form])
    ending = ("ing", "ed", "ed")[form]
    if verb.endswith("e"):
        return verb[:-1] + ending
    if re.search(r"[^aeiou]y$", verb) and form:
        return verb[:-1] + "ied"
    doubled = re.fullmatch(r"(un)?[^aeiou]*[aeiou][bdgmnprt]", verb)
    return verb + (verb[-1] if doubled else "") + ending


@lru_cache(maxsize=1)
def past_forms() -> tuple[frozenset[str], frozenset[str]]:
    """Forms that tell what happened ("took", "taken"), and those of them that are orders, too ("put")."""
    orders = [pattern for table in LEXICON if table.act not in ("find", "avoid") for pattern in table.patterns]
    verbs = frozenset(verb for order in orders for verb in order.split()[0].removesuffix("?").split("|"))
    forms = frozenset(form for verb in verbs for n in (1, 2) for form in _regular(verb, n).split("|"))
    return forms - verbs, forms & verbs


@lru_cache(maxsize=1)
def base_forms() -> dict[str, str]:
    """Form in -ing or of the past → its verb ("passed", "passing" → "pass")."""
    orders = [pattern for table in LEXICON if table.act != "avoid" for pattern in table.patterns]
    verbs = dict.fromkeys(verb for order in orders for verb in order.split()[0].removesuffix("?").split("|"))
    return {form: verb for verb in verbs for n in (0, 1) for form in _regular(verb, n).split("|") if form != verb}


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
AVOID = "avoid"
"""Action of a step that names the objects that the motion must keep away from."""
FORBIDDEN = "not "
"""Begins the action of a step that is forbidden ("not pick")."""
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
NEARNESS = {"nearest": "closest to", "farthest": "farthest from"}
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
    """True if an unknown word clearly is no part of an object's name; `modifier`: a noun follows it."""
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
