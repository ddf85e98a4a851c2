# SPDX-License-Identifier: Apache-2.0
"""The lexicon of verbs: which act a verb asks for, and the forms of a verb. It is read once, from acts.toml."""

from __future__ import annotations

import itertools
import pkgutil
import sys
from functools import lru_cache
from typing import Any, NamedTuple, get_args

from spatial_vlm_ros.language.patterns import expand, word_set
from spatial_vlm_ros.types.query import Act

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class _Verbs(NamedTuple):
    """A table of the lexicon: patterns of verbs with one act and one action."""

    act: Act
    action: str
    patterns: tuple[str, ...]


_READ: dict[str, Any] = tomllib.loads((pkgutil.get_data(__package__, "acts.toml") or b"").decode())


def patterns_of(name: str) -> tuple[str, ...]:
    """A list of phrases of the file, written as slots."""
    return tuple(_READ[name])


def words_of(name: str) -> frozenset[str]:
    """A set of words of the file."""
    return word_set(_READ[name])


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
PURE_VERBS = words_of("pure")
"""Verbs that are never objects: in a verb's position they are always verbs."""
OTHER_VERBS = words_of("other_verbs")
"""Verbs that are never nouns here, and ask for no act."""
PEOPLE = words_of("people")
"""Recipients of an object ("hand the nurse the scissors")."""
LIVING = words_of("living")
"""Nouns of persons and animals: an arm does nothing to them."""
NEVER_TAKEN = words_of("never_taken")
"""Supports and background: objects lie on them or in front of them, and nobody takes them."""
POLITE = patterns_of("polite")
"""Words before the command without effect."""
PLEASANTRIES = patterns_of("pleasantries")
"""Words after the command without effect."""
QUESTION_VERBS = patterns_of("question_verbs")
"""Verbs that ask for something to be shown, which other words may look like."""
WISHES = patterns_of("wishes")
"""Wishes with an object; they mean "give"."""
WISHED = frozenset(phrase for pattern in WISHES for phrase in expand(pattern))
PUT_DOWN = words_of("put_down")
"""Participles that say where an object is, and after a wish where to put it ("I want the cup placed on the tray")."""
STOP_WORDS = patterns_of("stop_words")
"""Whole requests to stop, without polite words around them."""
WAIT_WORDS = patterns_of("wait_words")
"""The same for requests to wait; they stop, too."""


@lru_cache(maxsize=1)
def correction_marks() -> tuple[tuple[str, ...], ...]:
    """Words that take back what was said before them, longest first."""
    said = {tuple(phrase.split(" ")) for pattern in patterns_of("correction_marks") for phrase in expand(pattern)}
    return tuple(sorted(said, key=lambda mark: (-len(mark), mark)))


@lru_cache(maxsize=1)
def idioms() -> tuple[str, ...]:
    """Figures of speech that name an object and ask for none."""
    return tuple(phrase for pattern in patterns_of("idioms") for phrase in expand(pattern))


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
    doubled = len(verb) < 5 and verb[-1] in "bdgptm" and verb[-2:-1] in tuple("aeiou")
    return verb + (verb[-1] if doubled and verb[-3:-2] not in tuple("aeiou") else "") + ending


@lru_cache(maxsize=1)
def past_forms() -> tuple[frozenset[str], frozenset[str]]:
    """Forms that tell what happened ("took", "taken"), and those of them that are orders, too ("put")."""
    orders = [pattern for table in LEXICON if table.act not in ("find", "avoid") for pattern in table.patterns]
    verbs = frozenset(verb for order in orders for verb in order.split()[0].removesuffix("?").split("|"))
    forms = frozenset(form for verb in verbs for n in (1, 2) for form in _regular(verb, n).split("|"))
    return forms - verbs, forms & verbs
