# SPDX-License-Identifier: Apache-2.0
"""The lexicon of verbs: which act a verb asks for, and the forms of a verb.

It is read once, from acts.toml, which says what each list is.
"""

from __future__ import annotations

import itertools
import re
from functools import lru_cache
from typing import NamedTuple, get_args

from spatial_vlm_ros.language.patterns import Tables, all_phrases, read_table
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
def spoken_patterns() -> tuple[str, str, str]:
    """Regular expressions of courtesies between commas, of those before an order, and of wishes with an object."""
    names: dict[str, str] = {}
    for name, said in _READ["spoken"].items():
        joined = said if isinstance(said, str) else "|".join(said)
        names[name] = "(?:" + re.sub(r"{([a-z]+)}", lambda found: names[found[1]], joined) + ")"
    return names["fillers"], names["before"], names["wishes"]


@lru_cache(maxsize=1)
def homophones() -> tuple[dict[str, str], dict[str, str]]:
    """Words that a recogniser writes for others of the same sound, and those that it writes for numbers."""
    sounds, numbers = (dict(pair.split(":") for pair in _READ[n].split()) for n in ("homophones", "heard_numbers"))
    return sounds, numbers


# ------------------------------------------------------------------------------------------------ forms


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
