# SPDX-License-Identifier: Apache-2.0
"""Account for every word of an instruction: no word is left out of a reading without a reason.

A word is a token of the grammar; or a rule of a reviewed list dropped it (courtesy, filler, posture); or it is part of
a construction that was rewritten, or a slip of the tongue.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language.words import Word

SLIP = "SLIP"
"""Role of a hesitation, or of a word that was repeated by mistake."""
REWRITTEN = "REWRITTEN"
"""Role of a word in a construction that was rewritten."""


class WordRole(NamedTuple):
    """The role that a word, or a phrase, was given.

    Args:
        start: first character in the instruction.
        end: one past the last character.
        role: kind of its token, name of the list that dropped it, `SLIP` or `REWRITTEN`.
    """

    start: int
    end: int
    role: str


def lost(before: Sequence[Word], after: Sequence[Word], role: str) -> list[WordRole]:
    """List the words that a step of the reading dropped or rewrote."""
    if len(before) == len(after) and all(first is second for first, second in zip(before, after, strict=True)):
        return []
    kept = {(word.start, word.end) for word in after}
    return [WordRole(word.start, word.end, role) for word in before if (word.start, word.end) not in kept]


def check_accounted(words: Iterable[Word], roles: Iterable[tuple[int, int, str]], instruction: str) -> None:
    """Refuse an instruction with a word that has no role."""
    roles = list(roles)
    starts = {start for start, _, _ in roles}
    for word in words:
        if word.start in starts or word.kind != "word":
            continue
        if not any(start <= word.start < end for start, end, _ in roles):
            reason, repair = "this word was not understood", "leave it out, or rephrase it"
            raise NotUnderstoodError(instruction, (word.start, word.end), reason, repair)
