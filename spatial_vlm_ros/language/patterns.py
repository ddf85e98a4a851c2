# SPDX-License-Identifier: Apache-2.0
"""How the word tables are written: sets of words, and phrases as slots."""

from __future__ import annotations

import itertools
from collections.abc import Iterator


def word_set(words: str) -> frozenset[str]:
    """A set of words written in one string.

    Args:
        words: words separated by white space.
    """
    return frozenset(words.split())


def expand(pattern: str) -> Iterator[str]:
    """Every phrase of a slot pattern.

    Args:
        pattern: slots separated by spaces; "a|b" are alternatives, a trailing "?" makes a slot optional.

    Yields:
        The phrases, lower case, words separated by single spaces.
    """
    slots = [(*slot.rstrip("?").split("|"), *(("",) if slot.endswith("?") else ())) for slot in pattern.split()]
    for words in itertools.product(*slots):
        yield " ".join(word for word in words if word)
