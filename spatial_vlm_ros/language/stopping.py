# SPDX-License-Identifier: Apache-2.0
"""Words that ask the robot to stop: a request of their own, never a command and never a noun.

The phrases are in acts.toml, and the words around them in answers.toml. A sentence that begins with one of the plain
words ("stop, grab the box"), or ends with one ("grab the box, stop!"), is such a request, too, so a stop is never lost
in a command. The milder words ("wait", "never mind") count only if nothing else is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import dropwhile, groupby

from spatial_vlm_ros.language.acts import STOP_WORDS, WAIT_WORDS
from spatial_vlm_ros.language.patterns import all_phrases, read_table, word_set
from spatial_vlm_ros.language.vocabulary import phrase_table
from spatial_vlm_ros.language.words import MAX_LENGTH, Word, split

_READ = read_table("answers")["stopping"]
PLAIN = word_set(_READ["plain"])
"""Words that stop whenever they begin or end an instruction."""
AROUND = word_set(_READ["around"])
"""Words around them without effect."""
_NOT_TO = word_set(_READ["not_to"])
_OBJECTS_AFTER = word_set(_READ["objects_after"])
_NAMED_BY = word_set(_READ["named_by"])
_LONGEST = 8  # words of a request
_DOUBLED = re.compile(r"(.)\1+")
_DRAWN: dict[str, str] = {_DOUBLED.sub(r"\1", word): word for word in _READ["drawn"].split()} | _READ["spelled"]


@lru_cache(maxsize=1)
def _phrases() -> frozenset[str]:
    return all_phrases((*STOP_WORDS, *WAIT_WORDS))


@lru_cache(maxsize=4096)
def _undrawn(text: str) -> str:
    return _DRAWN.get(_DOUBLED.sub(r"\1", text), text)


def stops(instruction: str) -> bool:
    """True if words ask to stop; they need not be understood otherwise."""
    return isinstance(instruction, str) and asks_to_stop(split(instruction[:MAX_LENGTH]))


def waits(instruction: str) -> bool:
    """True if words that ask to stop only ask to wait."""
    said = f" {' '.join(word.text for word in split(instruction[:MAX_LENGTH]) if word.kind == 'word')} "
    waiting, stopping = (
        any(f" {phrase} " in said for phrase in all_phrases(table)) for table in (WAIT_WORDS, STOP_WORDS)
    )
    return waiting and not stopping


def asks_to_stop(words: Sequence[Word]) -> bool:
    """As `stops`, for words that are already split."""
    texts = [_undrawn(word.text) if word.kind == "word" else "" for word in words]
    parts = [list(part) for said, part in groupby(texts, bool) if said]
    parts = [part for part in parts if PLAIN.intersection(part) or not AROUND.issuperset(part)]
    if not parts:
        return False
    if all(map(_is_request, parts)):
        return True
    first = list(dropwhile(lambda text: text in AROUND - PLAIN, parts[0]))
    if first[0] in PLAIN and _OBJECTS_AFTER.isdisjoint(first[1:2]):
        return True
    said = parts[-1]
    if len(parts) > 1 and PLAIN.intersection(said) and _is_request(said):
        return True
    while said and said[-1] in AROUND - PLAIN:
        said = said[:-1]
    alone = len(said) > 2 and said[-1] in PLAIN and _NOT_TO.isdisjoint(said)
    return alone and said[-2] not in _NAMED_BY and "ADJ" not in phrase_table().get(said[-2], {})


def _is_request(part: Sequence[str]) -> bool:
    """True if words are one request or several in a row, with only harmless words around them."""
    i, found = 0, False
    while i < len(part):
        ends = range(min(i + _LONGEST, len(part)), i, -1)
        end = next((end for end in ends if " ".join(part[i:end]) in _phrases()), 0)
        if not end and part[i] not in AROUND:
            return False
        i, found = end or i + 1, found or end > 0
    return found
