# SPDX-License-Identifier: Apache-2.0
"""Index from a phrase to its possible kinds; patterns are expanded only for the first words in a sentence.

The tables contain more than 20,000 phrases; a sentence needs the few hundred that start with its own words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any

from spatial_vlm_ros.language.patterns import Slots, first_words, phrases_from, slots_of

Kinds = dict[str, Any]
"""Possible kinds of a phrase, each with its value."""


class PhraseIndex(MutableMapping[str, Kinds]):
    """Phrases of patterns with their kinds; the first value given for a phrase and kind stays.

    Iterating over all phrases, or counting them, expands all patterns.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[str, object, Slots]]] = {}  # by first word: kind, value and pattern
        self._known: dict[str, Kinds] = {}
        self._lengths: dict[str, int] = {}  # first word → number of words of the longest phrase, if expanded
        self.longest = 0
        """Number of words of the longest phrase."""

    def add(self, kind: str, value: object, pattern: str) -> None:
        """Add every phrase of a slot pattern (see `patterns.slots_of`) with its kind and value."""
        slots = slots_of(pattern)
        self.longest = max(self.longest, len(slots))
        for first in first_words(slots):
            if first in self._lengths:
                self._lengths[first] = max(self._lengths[first], _expand([(kind, value, slots)], first, self._known))
            else:
                self._waiting.setdefault(first, []).append((kind, value, slots))

    def longest_from(self, first: str) -> int:
        """Number of words of the longest phrase with this first word; 0 if there is none."""
        if first in self._waiting:
            self._look_up(first)
        return self._lengths.get(first, 0)

    def get(self, phrase: str, default: Any = None) -> Any:
        """Possible kinds of a phrase, or `default`."""
        if phrase.partition(" ")[0] in self._waiting:
            self._look_up(phrase.partition(" ")[0])
        return self._known.get(phrase, default)

    def _look_up(self, first: str) -> None:
        """Expand the phrases that start with a word; if two threads do it at once, both get the same result."""
        found: dict[str, Kinds] = {}
        self._lengths[first] = _expand(self._waiting.get(first, ()), first, found)
        self._known.update(found)
        self._waiting.pop(first, None)

    def _all(self) -> dict[str, Kinds]:
        for first in list(self._waiting):
            self._look_up(first)
        return self._known

    def __getitem__(self, phrase: str) -> Kinds:
        kinds: Kinds | None = self.get(phrase)
        if kinds is None:
            raise KeyError(phrase)
        return kinds

    def __setitem__(self, phrase: str, kinds: Kinds) -> None:
        first, _, rest = phrase.partition(" ")
        self._lengths[first] = max(self.longest_from(first), 1 + len(rest.split()))
        self.longest = max(self.longest, self._lengths[first])
        self._known[phrase] = kinds

    def __delitem__(self, phrase: str) -> None:
        self.longest_from(phrase.partition(" ")[0])
        del self._known[phrase]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


def _expand(written: Iterable[tuple[str, object, Slots]], first: str, found: dict[str, Kinds]) -> int:
    """Add the phrases that start with a word to `found`; return the number of words of the longest."""
    longest = 0
    for kind, value, slots in written:
        for words in phrases_from(slots, first):
            found.setdefault(" ".join(words), {}).setdefault(kind, value)
            longest = max(longest, len(words))
    return longest
