# SPDX-License-Identifier: Apache-2.0
"""Possessives: "to the cup's left" is "left of the cup", "the jar's lid" is "the lid of the jar".

"From the chair's side" is the chair's own view.
"""

from __future__ import annotations

from spatial_vlm_ros.language.lexicon import VIEW_NOUNS
from spatial_vlm_ros.language.vocabulary import phrase_table
from spatial_vlm_ros.language.wordlists import PARTS
from spatial_vlm_ros.language.words import Word

_SIDE_PHRASES = {"left": "left of", "right": "right of", "front": "in front of", "back": "behind", "rear": "behind"}
_OWN_SIDE_PHRASES = {"left": "own left of", "right": "own right of", "front": "own front of", "back": "own back of"}
_NO_OWNERS = frozenset({"that's", "it's", "what's", "which's", "who's", "there's", "where's", "let's", "that", "which"})
_SIDE_WORDS = frozenset({"from", "to", "on", "at", "in", "of"})
_LONGEST_OWNER = 5
_LONGEST_PART = 3
_DESCRIBING = frozenset({"ADJ", "ADJNOUN", "COMPOUND", "SUP", "POSITION"})
_ARTICLES = frozenset({"the", "a", "an", "this", "that", "my", "your"})


def _owner_end(words: list[Word], first: int) -> int | None:
    """Index of the possessive ("cup's") that ends an owner starting at `first`."""
    for i in range(first, min(first + _LONGEST_OWNER, len(words))):
        if words[i].kind != "word":
            return None
        if words[i].text in _NO_OWNERS or (i > first and words[i].text in _SIDE_WORDS):
            return None
        if words[i].text.endswith("'s") and len(words[i].text) > 2:
            return i
    return None


def _known_to_tables(words: list[Word], i: int, end: int) -> bool:
    """True if the tables already contain the phrase from `i` to beyond `end` ("to the robot's left")."""
    phrases, longest = phrase_table()
    texts = (" ".join(word.text for word in words[i:after]) for after in range(end + 2, i + longest + 1))
    return any({"SIDE", "FRAME", "REL"} & phrases.get(text, {}).keys() for text in texts)


def rewrite_possessives(words: list[Word]) -> list[Word]:
    """Rewrite possessive sides into the word order of the other relations.

    Returns:
        The words, with "to the cup's left side" turned into "left of" + "the cup"; positions in the text are kept.
    """
    result: list[Word] = []
    i = 0
    while i < len(words):
        rewritten = None
        if words[i].text in ("to", "on", "at", "from", "in") and i + 1 < len(words) and words[i].kind == "word":
            end = _owner_end(words, i + 1)
            own = end is not None and words[end + 1 : end + 2] != [] and words[end + 1].text == "own"
            bare = end == i + 1 and not own and words[i].text != "from"
            if end is not None and not bare and not _known_to_tables(words, i, end):
                rewritten = _rewrite(words, i, end)
        if rewritten is None and words[i].text in _ARTICLES:
            rewritten = _part(words, i)
        elif rewritten is None and words[i].text.endswith("'s") and result and result[-1].text in phrase_table()[0]:
            rewritten = _clipped_part(words, i, result)
        if rewritten is None:
            result.append(words[i])
            i += 1
        else:
            pieces, i = rewritten
            result.extend(pieces)
    return result


def _names_view(words: list[Word], end: int) -> bool:
    """True if a possessive and what follows is a viewpoint ("the robot's perspective")."""
    following = " ".join(word.text for word in words[end + 1 : end + 4])
    return any(following.startswith(view) for view in VIEW_NOUNS.split("|") if view not in PARTS)


def _clipped_part(words: list[Word], i: int, before: list[Word]) -> tuple[list[Word], int] | None:
    """As `_part` for "red jar's lid" without an article; removes its describing words from the end of `before`."""
    table = phrase_table()[0]
    first = len(before)
    while first and (kinds := table.get(before[first - 1].text, {}).keys()) and kinds <= _DESCRIBING:
        first -= 1
    article = Word("the", words[i].start, words[i].end)
    rewritten = _part([article, *before[first:], *words[i:]], 0)
    if rewritten is None:
        return None
    used = rewritten[1] - 1 - (len(before) - first)
    del before[first:]
    return rewritten[0], i + used


def _part(words: list[Word], i: int) -> tuple[list[Word], int] | None:
    """Rewrite "the cabinet's top drawer" to "the top drawer of the cabinet"; return it and the next index, or None."""
    end = _owner_end(words, i + 1)
    if end is None or words[end + 1 : end + 2] == [] or words[end + 1].text == "own" or _names_view(words, end):
        return None
    table = phrase_table()[0]
    kinds = [table.get(word.text, {}).keys() for word in words[i + 1 : end]]
    if any(each - _DESCRIBING and "ADJ" not in each for each in kinds):
        return None
    for last in range(end + 1, min(end + 1 + _LONGEST_PART, len(words))):
        if words[last].kind != "word":
            return None
        further = words[last + 1].text if last + 1 < len(words) else ""
        if words[last].text in PARTS and further not in PARTS:
            break
    else:
        return None
    if last + 1 < len(words) and words[last + 1].text == "of":
        return None
    owner = Word(words[end].text[:-2], words[end].start, words[end].end)
    article = Word("the", words[i].start, words[i].end)
    of = Word("of", owner.start, owner.end)
    return [article, *words[end + 1 : last + 1], of, *words[i:end], owner], last + 1


def _rewrite(words: list[Word], i: int, end: int) -> tuple[list[Word], int] | None:
    """Rewrite one possessive phrase; return the words and the index after it, or None if it is not one."""
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
    if after < len(words) and (words[after].text == "of" or words[after].text in PARTS):
        return None  # "in the fridge's left compartment"
    relation = Word(side, words[i].start, words[i].end)
    return [relation, *words[i + 1 : end], bare], after
