# SPDX-License-Identifier: Apache-2.0
"""The word tables: their notation (sets of words, phrases as slots), and the files that have them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from spatial_vlm_ros.files.documents import table_of


def read_table(name: str) -> dict[str, Any]:
    """The words of a TOML file beside this one."""
    return table_of(__package__, f"{name}.toml")


def word_set(words: str) -> frozenset[str]:
    """A set of words written in one string."""
    return frozenset(words.split())


def expand(pattern: str) -> Iterator[str]:
    """All phrases of slots separated by spaces: "a|b" are alternatives, a trailing "?" makes a slot optional."""
    slots = ((*slot[:-1].split("|"), "") if slot.endswith("?") else slot.split("|") for slot in pattern.split())
    for words in itertools.product(*slots):
        yield " ".join(filter(None, words))


def all_phrases(patterns: Iterable[str]) -> frozenset[str]:
    """All phrases of some slot patterns."""
    return frozenset(phrase for pattern in patterns for phrase in expand(pattern))


def phrase_set(*patterns: str) -> frozenset[tuple[str, ...]]:
    """Every phrase of some slot patterns, each as its words."""
    return frozenset(tuple(phrase.split()) for phrase in all_phrases(patterns))


Kinds = dict[str, Any]
"""Possible kinds of a phrase, each with its value."""


class Phrases(dict[str, Kinds]):
    """Phrases of slot patterns with their kinds; the first value given for a phrase and kind stays.

    Patterns are expanded when a phrase with one of their first words is looked up: a sentence needs a few hundred of
    more than 20,000 phrases. `whole` expands the rest, before iterating.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiting: dict[str, list[tuple[str, object, str]]] = {}  # by first word: kind, value and pattern
        self._longest: dict[str, int] = {}

    def add(self, kind: str, value: object, patterns: Iterable[str]) -> None:
        """Add every phrase of some patterns with its kind and value."""
        for pattern in patterns:
            for slot in pattern.split():
                for first in slot.removesuffix("?").split("|"):
                    self._waiting.setdefault(first, []).append((kind, value, pattern))
                if not slot.endswith("?"):
                    break

    def longest_from(self, first: str) -> int:
        """Number of words of the longest phrase with this first word; 0 if there is none."""
        if first in self._waiting:  # two threads at once get the same result
            found: dict[str, Kinds] = {}
            for kind, value, pattern in self._waiting.get(first, ()):
                for phrase in expand(pattern):
                    if phrase.partition(" ")[0] == first:
                        found.setdefault(phrase, dict(super().get(phrase, {}))).setdefault(kind, value)
                        self._longest[first] = max(self._longest.get(first, 0), phrase.count(" ") + 1)
            self.update(found)
            self._waiting.pop(first, None)
        return self._longest.get(first, 0)

    def get(self, phrase: str, default: Any = None) -> Any:
        """Possible kinds of a phrase, or `default`."""
        self.longest_from(phrase.partition(" ")[0])
        return super().get(phrase, default)

    def __contains__(self, phrase: object) -> bool:
        return isinstance(phrase, str) and self.get(phrase) is not None

    def whole(self) -> Phrases:
        """This table, with all patterns expanded."""
        for first in list(self._waiting):
            self.longest_from(first)
        return self

    def __setitem__(self, phrase: str, kinds: Kinds) -> None:
        first, length = phrase.partition(" ")[0], phrase.count(" ") + 1
        self._longest[first] = max(self.longest_from(first), length)
        super().__setitem__(phrase, kinds)


class Tables:
    """Named entries of a file: a string is a set of words, a list has slot patterns, a table has entries by meaning."""

    def __init__(self, read: dict[str, Any]) -> None:
        self.read = read  # as the file has them

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
"""All words but those of relations (vocabulary.py) and of verbs (lexicon.py)."""


class _Sets:
    """The entries of a table as attributes, each the set of its words or phrases."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> frozenset[str]: ...


SETS = _Sets()
vars(SETS).update({name: all_phrases(patterns) for name, patterns in WORDS.entries("sets").items()})
"""Sets of words, and of kinds of tokens, that rules ask for by name."""
