# SPDX-License-Identifier: Apache-2.0
"""Words that ask the robot to stop: a request of their own, never a command and never a noun.

The phrases are in acts.toml. A sentence that begins with one of the plain
words ("stop, grab the box"), or ends with one ("grab the box, stop!"), is such a request, too, so a stop is never lost
in a command. The milder words ("wait", "never mind") count only if nothing else is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby

from spatial_vlm_ros.language.acts import STOP_WORDS, WAIT_WORDS
from spatial_vlm_ros.language.patterns import expand, word_set
from spatial_vlm_ros.language.vocabulary import phrase_table
from spatial_vlm_ros.language.words import MAX_LENGTH, Word, split

PLAIN = word_set("stop halt freeze abort cease quit cancel estop")
"""Words that stop whenever they begin or end an instruction."""
AROUND = word_set("""
    please pls robot hey hi hello ok okay oh no now right immediately instantly at once quickly quick fast thanks
    thank you cheers just so well man mate buddy pal dude bro friend love dear boss sir already alright yes and but
    then asap ah uh um er hm hmm argh ouch ugh god jesus damn hell guys everyone today kindly i say said really
    actually simply to for sake goodness heaven's god's want told tell telling i'm can could would will should must
    need have i'd like sorry oops nope stop
""")
"""Words around them without effect."""
_NOT_TO = frozenset({"don't", "dont", "not", "never", "without", "doesn't", "didn't", "won't", "can't"})
_LONG = re.compile(r"s+t+o+p+|n+o+|h+a+l+t+|f+r+e+e+z+e+|w+h?o+a+h?|w+a+i+t+")
_SHORT = tuple(
    (word, re.compile(pattern))
    for word, pattern in (
        ("stop", "s+t+o+p+"), ("no", "n+o+"), ("halt", "h+a+l+t+"), ("wait", "w+a+i+t+"), ("freeze", "f+r+e+z+e*"),
        ("freeze", "f+r+e+e+z+e+"), ("whoa", "w+h?o+a+h?"),
    )
)  # fmt: skip
_OBJECTS_AFTER = word_set("sign signs button buttons watch watches light lights valve switch block cock lever key gap")
_NAMED_BY = word_set("the a an my your this that red door bus any pit tram glottal")
_DRAWN = "shfwn"  # first letters of words that people draw out


@lru_cache(maxsize=1)
def _phrases() -> frozenset[str]:
    return frozenset(phrase for pattern in (*STOP_WORDS, *WAIT_WORDS) for phrase in expand(pattern))


@lru_cache(maxsize=1)
def _vocabulary() -> frozenset[str]:
    """Every word that a pure request to stop can contain; punctuation marks count as empty words."""
    return AROUND | {word for phrase in _phrases() for word in phrase.split(" ")} | {""}


def stops(instruction: str) -> bool:
    """True if words ask to stop.

    Args:
        instruction: any text; it need not be an instruction that can be understood.
    """
    return isinstance(instruction, str) and asks_to_stop(split(instruction[:MAX_LENGTH]))


def waits(instruction: str) -> bool:
    """True if words that ask to stop only ask to wait."""
    said = f" {' '.join(word.text for word in split(instruction[:MAX_LENGTH]) if word.kind == 'word')} "
    waiting, stopping = (
        any(f" {phrase} " in said for pattern in table for phrase in expand(pattern))
        for table in (WAIT_WORDS, STOP_WORDS)
    )
    return waiting and not stopping


def asks_to_stop(words: Sequence[Word]) -> bool:
    """As `stops`, for words that are already split."""
    texts = [word.text if word.kind == "word" else "" for word in words]
    other = PLAIN.isdisjoint(texts) and not _vocabulary().issuperset(texts)
    if other and not any(len(text) > 4 and text[0] in _DRAWN and _LONG.fullmatch(text) for text in texts):
        return False
    texts = [  # without drawn-out letters ("stooop")
        next((word for word, pattern in _SHORT if pattern.fullmatch(text)), text) if _LONG.fullmatch(text) else text
        for text in texts
    ]
    parts = [list(part) for said, part in groupby(texts, bool) if said]
    if not parts:
        return False
    bare = [_bare(part) for part in parts]
    if all(not part or _is_request(part) for part in bare) and any(bare):
        return True
    first = next((part for part in bare if part), [])
    last = next((part for part in reversed(bare) if part), [])
    if first[:1] and first[0] in PLAIN and not (len(first) > 1 and first[1] in _OBJECTS_AFTER):
        return True
    if last is not first and _is_request(last) and PLAIN.intersection(last):
        return True
    said = parts[-1]
    while said and said[-1] in AROUND - PLAIN:
        said = said[:-1]
    alone = len(said) > 2 and said[-1] in PLAIN and not _NOT_TO.intersection(said)
    return alone and said[-2] not in _NAMED_BY and "ADJ" not in phrase_table()[0].get(said[-2], {})


def _bare(part: Sequence[str]) -> list[str]:
    """Words without harmless words around a request; a request itself is kept whole."""
    first, last = 0, len(part)
    while first < last and part[first] in AROUND and not _starts(part, first):
        first += 1
    while last > first and part[last - 1] in AROUND and " ".join(part[first:last]) not in _phrases():
        last -= 1
    return list(part[first:last])


def _starts(part: Sequence[str], i: int) -> bool:
    return part[i] in PLAIN or any(
        " ".join(part[i:end]) in _phrases() for end in range(i + 1, min(i + 7, len(part)) + 1)
    )


def _is_request(part: Sequence[str]) -> bool:
    """True if words are one request or several in a row, with only harmless words between them."""
    i = 0
    found = False
    while i < len(part):
        end = next((end for end in range(min(i + 8, len(part)), i, -1) if " ".join(part[i:end]) in _phrases()), 0)
        if end:
            i, found = end, True
        elif found and part[i] in AROUND:
            i += 1
        else:
            return False
    return found
