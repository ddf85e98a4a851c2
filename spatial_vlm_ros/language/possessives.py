# SPDX-License-Identifier: Apache-2.0
"""Possessive sides: "to the cup's left" is "left of the cup"; "from the chair's side" is the chair's own view."""

from __future__ import annotations

from spatial_vlm_ros.language.lexicon import VIEW_NOUNS
from spatial_vlm_ros.language.vocabulary import phrase_table
from spatial_vlm_ros.language.words import Word

_SIDE_PHRASES = {"left": "left of", "right": "right of", "front": "in front of", "back": "behind", "rear": "behind"}
_OWN_SIDE_PHRASES = {"left": "own left of", "right": "own right of", "front": "own front of", "back": "own back of"}
_LONGEST_OWNER = 5


def _owner_end(words: list[Word], first: int) -> int | None:
    """Index of the possessive ("cup's") that ends an owner starting at `first`."""
    for i in range(first, min(first + _LONGEST_OWNER, len(words))):
        if words[i].kind != "word":
            return None
        if words[i].text.endswith("'s") and len(words[i].text) > 2:
            return i
    return None


def _known_to_tables(words: list[Word], i: int, end: int) -> bool:
    """Whether the tables already hold the phrase from `i` to beyond `end` ("to the robot's left")."""
    phrases, longest = phrase_table()
    texts = (" ".join(word.text for word in words[i:after]) for after in range(end + 2, i + longest + 1))
    return any({"SIDE", "FRAME", "REL"} & phrases.get(text, {}).keys() for text in texts)


def rewrite_possessives(words: list[Word]) -> list[Word]:
    """Put possessive sides into the word order of the other relations.

    Args:
        words: words of an instruction.

    Returns:
        The words, with "to the cup's left side" turned into "left of" + "the cup"; places in the text are kept.
    """
    result: list[Word] = []
    i = 0
    while i < len(words):
        rewritten = None
        if words[i].text in ("to", "on", "at", "from", "in") and i + 1 < len(words) and words[i].kind == "word":
            end = _owner_end(words, i + 1)
            if end is not None and end > i + 1 and not _known_to_tables(words, i, end):
                rewritten = _rewrite(words, i, end)
        if rewritten is None:
            result.append(words[i])
            i += 1
        else:
            pieces, i = rewritten
            result.extend(pieces)
    return result


def _rewrite(words: list[Word], i: int, end: int) -> tuple[list[Word], int] | None:
    """The rewritten words of one possessive phrase and the index after it, or None when it is none."""
    after = end + 1
    own = after < len(words) and words[after].text == "own"
    after += own
    if after >= len(words):
        return None
    owner = words[end]
    bare = Word(owner.text[:-2], owner.start, owner.end)
    if words[i].text == "from":
        for view in sorted(VIEW_NOUNS.split("|"), key=len, reverse=True):
            length = view.count(" ") + 1
            if " ".join(word.text for word in words[after : after + length]) == view:
                return [Word(f"from {bare.text}'s view", words[i].start, words[after + length - 1].end, "view")], (
                    after + length
                )
        return None
    side = (_OWN_SIDE_PHRASES if own else _SIDE_PHRASES).get(words[after].text)
    if side is None:
        return None
    after += 1
    for extra in ("hand", "side"):
        if after < len(words) and words[after].text == extra:
            after += 1
    if after < len(words) and words[after].text == "of":
        return None
    relation = Word(side, words[i].start, words[i].end)
    return [relation, *words[i + 1 : end], bare], after
