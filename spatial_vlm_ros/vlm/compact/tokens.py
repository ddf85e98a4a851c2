# SPDX-License-Identifier: Apache-2.0
"""Encode phrases as numbers: the head noun first, then its modifiers from the nearest on. Any text can be encoded."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.vlm.compact.spec import CompactSpec

PADDING = 0
_WORD = re.compile(r"\w+")
_LONGEST = 1000  # characters of a phrase that are read


def phrase_words(phrase: str) -> tuple[str, ...]:
    """Lower-case words of a phrase, in order; hyphens and underscores separate words."""
    return tuple(_WORD.findall(phrase[:_LONGEST].lower().replace("_", " ")))


def word_number(word: str, spec: CompactSpec) -> int:
    """Number of a word: its index in the list, that of its singular, or a bucket by its CRC-32."""
    for form in _forms(word):
        if form in spec.words:
            return 1 + spec.words.index(form)
    return 1 + len(spec.words) + zlib.crc32(word.encode("utf-8")) % spec.buckets


def meant(phrase: str, spec: CompactSpec) -> frozenset[str]:
    """Labels that the head noun of a phrase means; empty if the model has not learnt it."""
    words = phrase_words(phrase)
    head = words[-1] if words else ""
    for form in _forms(head):
        if form in spec.names:
            return frozenset(spec.names[form])
    return frozenset()


def _forms(word: str) -> tuple[str, ...]:
    return word, word.removesuffix("s"), word.removesuffix("es")


def encode(phrases: Sequence[str], spec: CompactSpec) -> npt.NDArray[np.int64]:
    """Encode phrases as (P, length) int64, with PADDING after the last word.

    Args:
        phrases: P phrases such as "red cup"; the last word is the head.
    """
    numbers = np.full((len(phrases), spec.length), PADDING, np.int64)
    for row, phrase in enumerate(phrases):
        words = phrase_words(phrase)
        if not words:
            raise InputError("phrase", repr(phrase[:60]), "a noun, with or without modifiers", "name a kind of object")
        chosen = words[::-1][: spec.length]
        numbers[row, : len(chosen)] = [word_number(word, spec) for word in chosen]
    return numbers
