# SPDX-License-Identifier: Apache-2.0
"""The word tables: their notation (sets of words, phrases as slots), and the files that have them."""

from __future__ import annotations

import itertools
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_table(name: str) -> dict[str, Any]:
    """The words of a TOML file beside this one."""
    return tomllib.loads((pkgutil.get_data(__package__, f"{name}.toml") or b"").decode())


def word_set(words: str) -> frozenset[str]:
    """A set of words written in one string."""
    return frozenset(words.split())


Slots = list[tuple[str, ...]]
"""Alternatives of each slot of a pattern; they include "" if the slot is optional."""


def slots_of(pattern: str) -> Slots:
    """Split a pattern into its slots.

    Args:
        pattern: slots separated by spaces; "a|b" are alternatives, a trailing "?" makes a slot optional.
    """
    return [(*slot[:-1].split("|"), "") if slot.endswith("?") else tuple(slot.split("|")) for slot in pattern.split()]


def first_words(slots: Slots) -> frozenset[str]:
    """First words of a pattern's phrases."""
    found: set[str] = set()
    for slot in slots:
        found.update(slot)
        if "" not in slot:
            break
    return frozenset(found - {""})


def phrases_from(slots: Slots, first: str) -> Iterator[tuple[str, ...]]:
    """Words of every phrase of a pattern that starts with a given word."""
    for i, slot in enumerate(slots):
        if first in slot:
            for words in itertools.product(*slots[i + 1 :]):
                yield (first, *filter(None, words))
        if "" not in slot:
            return


def expand(pattern: str) -> Iterator[str]:
    """Expand a slot pattern to all its phrases.

    Yields:
        The phrases, lower case, words separated by single spaces.
    """
    for words in itertools.product(*slots_of(pattern)):
        yield " ".join(filter(None, words))


def all_phrases(patterns: Iterable[str]) -> frozenset[str]:
    """All phrases of some slot patterns."""
    return frozenset(phrase for pattern in patterns for phrase in expand(pattern))


def phrase_set(*patterns: str) -> frozenset[tuple[str, ...]]:
    """Every phrase of some slot patterns, each as its words."""
    return frozenset(tuple(phrase.split()) for phrase in all_phrases(patterns))


class Tables:
    """Named entries of a file: a string is a set of words, a list has slot patterns, a table has entries by meaning.

    Attributes:
        read: the entries as the file has them.
    """

    def __init__(self, read: dict[str, Any]) -> None:
        self.read = read

    def under(self, name: str) -> Tables:
        """The entries of a table in this one."""
        return Tables(self.read[name])

    def patterns(self, name: str) -> tuple[str, ...]:
        """The slot patterns, or the words, of an entry in their order."""
        entry = self.read[name]
        return tuple(entry.split() if isinstance(entry, str) else entry)

    def words(self, name: str) -> frozenset[str]:
        """The set of words of an entry."""
        return frozenset(self.patterns(name))

    def phrases(self, name: str) -> frozenset[tuple[str, ...]]:
        """Every phrase of an entry, each as its words."""
        return phrase_set(*self.patterns(name))

    def entries(self, name: str) -> dict[str, tuple[str, ...]]:
        """The slot patterns, or the words, of each entry of a table."""
        table = self.under(name)
        return {each: table.patterns(each) for each in table.read}

    def meanings(self, name: str) -> dict[str, Any]:
        """Every phrase of a table → its meaning: the name that it stands under."""
        entries = self.entries(name).items()
        return {phrase: meaning for meaning, patterns in entries for each in patterns for phrase in expand(each)}


WORDS = Tables(read_table("words"))
"""All words but those of relations (relations.py) and of verbs (acts.py)."""
