# SPDX-License-Identifier: Apache-2.0
"""The notation of the word tables: sets of words, and phrases as slots."""

from __future__ import annotations

import itertools
from collections.abc import Iterator


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
