# SPDX-License-Identifier: Apache-2.0
"""Reads which option a model's reply names. A reply that these rules cannot read counts as wrong."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_THOUGHT = "</think>"
_MARKERS = re.compile(r"(?:\banswer\s*(?:is|:)|</?answer>)\s*:?", re.IGNORECASE)
_TOKENS = re.compile(r"^(?:\s*(?:</?s>|<\|\w+\|>))+|(?:(?:</?s>|<\|\w+\|>)\s*)+$")  # left in by some servers: "<s> A"
_WRAPPING = " \t\r\n\"'`*_.!"
_LETTER = re.compile(r"\(?([A-Za-z])(?:[).:,]|$)\s*")
_BRACKETED = re.compile(r"\(([A-Za-z])\)")


def letters(count: int) -> str:
    """The letters of options, A first."""
    return "".join(chr(ord("A") + n) for n in range(count))


def after_thinking(text: str) -> str:
    """The part of a reply after its last "</think>", for published rules, which know no thoughts."""
    return text.rsplit(_THOUGHT, 1)[-1].lstrip() if _THOUGHT in text else text


def read_choice(text: str, choices: Sequence[str]) -> int | None:
    """The only option that a reply names; None if it names none or several.

    The rules, in their order, are those of docs/public_benchmarks.md, "How a reply is read". Full-width letters,
    brackets and spaces count as normal ones ("（A）").
    """
    parts = _MARKERS.split(_TOKENS.sub("", unicodedata.normalize("NFKC", text.rsplit(_THOUGHT, 1)[-1])))
    said = next((part.strip(_WRAPPING) for part in reversed(parts) if part.strip(_WRAPPING)), "")
    wanted = [unicodedata.normalize("NFKC", choice).strip(_WRAPPING).casefold() for choice in choices]
    if said.casefold() in wanted:
        return wanted.index(said.casefold())
    known = letters(len(choices))
    bracketed = {known.index(one.upper()) for one in _BRACKETED.findall(said) if one.upper() in known}
    first = _LETTER.match(said)
    if first and first[1].upper() in known:
        return known.index(first[1].upper()) if len(bracketed) < 2 else None
    letter, space, rest = said.partition(" ")
    if space and letter in known and rest.strip(_WRAPPING).casefold() == wanted[known.index(letter)]:
        return known.index(letter)
    longest_first = "|".join(re.escape(one) for one in sorted(wanted, key=len, reverse=True) if one)
    words = re.findall(rf"(?<!\w)(?:{longest_first})(?!\w)", said, re.IGNORECASE) if longest_first else []
    found = {word.casefold() for word in words}
    named = [n for n, one in enumerate(wanted) if one in found]
    if len(named) == 1:
        return named[0]
    return bracketed.pop() if len(bracketed) == 1 and not named else None
