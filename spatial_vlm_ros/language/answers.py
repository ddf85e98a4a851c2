# SPDX-License-Identifier: Apache-2.0
"""Classify answers: yes, no, "the other one", "the second one", "neither", or other words.

Knows the words that have a meaning only after a question or an answer (answers.toml), but not the question itself.
Every list there was reviewed; words in none of them are left to the parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from spatial_vlm_ros.language import lexicon, revising, vocabulary
from spatial_vlm_ros.language.patterns import Phrases, all_phrases, read_table
from spatial_vlm_ros.types import FrameOfReference

AnswerKind = Literal["yes", "no", "none", "other", "others", "any", "all", "nth", "unsaid", "end", "words"]
"""yes · no: the object shown is not meant · none: none of the offered ones · other: not the one shown · any: any of
them · all: every one of them · nth: by its number in the question · unsaid: no answer ("I don't know") · end: a word
to stop · words: a description, a denied description, or a new instruction."""


@dataclass(frozen=True)
class AnswerWords:
    """The meaning of words that answer a question or an answer."""

    kind: AnswerKind
    words: str = ""  # what is left to parse ("the red one" of "no, the red one"), as said; "" if nothing
    n: int = 0  # number of "nth", from 1; -1 = the last one
    yes: bool = False
    no: bool = False


_READ = read_table("answers")
_SAME = {word: words.split("|")[0] for words in _READ["same"] for word in words.split("|")}


def _simplified(text: str) -> str:
    return re.sub(r"[\w'-]+", lambda word: _SAME.get(word[0], word[0]), text)


_KINDS = Phrases()
for _kind, _patterns in _READ["kinds"].items():
    _KINDS.add(_kind, _kind, map(_simplified, _patterns))


def alternatives(patterns: Iterable[str]) -> str:
    """A regular expression for the phrases of some patterns, the longest first."""
    return f"(?:{'|'.join(sorted(all_phrases(patterns), key=lambda phrase: (-len(phrase), phrase)))})"


_SAID = {name: alternatives(patterns) for name, patterns in _READ["around"].items()}
_OF_THEM = re.compile(r" of (?:them|both|you|the two)\b")
_SIGNS = r"[\s,.;:!-]"
_YES = re.compile(rf"{_SAID['yes']}\b{_SIGNS}+|{_SAID['yes_then']}\s*[,.;:!-]+\s*")
_NO = re.compile(rf"(?:{_SAID['no']}\b{_SIGNS}+|{_SAID['no_then']}\s*[,.;:!-]+\s*)(?:but\s+)?")
_BEFORE = re.compile(rf"{_SAID['before']}\b{_SIGNS}*(?=.)")
_AFTER = re.compile(rf"[\s,.;:!?-]+{_SAID['after']}$")
_PREAMBLE = re.compile(rf"\s*(?:{_SAID['preamble']}\b[\s,.!-]*)+", re.IGNORECASE)
_FRAMES = {p: FrameOfReference(name) for name, patterns in _READ["frames"].items() for p in all_phrases(patterns)}
_NTH = re.compile(
    r"(?:it is |that is |i (?:mean|meant|want) )?(?:the )?(?:very )?"
    r"(?:(?P<word>[a-z0-9-]+)|(?:number|option|no|answer|#) ?"
    r"(?P<number>[a-z0-9]+))(?: one| option| answer)?"
)
_CONTRACTIONS = (
    (r"\b(can|ca)n't\b", "can not"), (r"\bwon't\b", "will not"),
    (r"\b(is|are|was|were|do|does|did|has|have|had|would|should|could)n'?t\b", r"\1 not"),
    (r"\b(it|that|this|there|what|he|she|here)'?s\b(?! own\b)", r"\1 is"),
    (r"\bone's\b", "one is"), (r"\bi'?m\b", "i am"), (r"\b(you|we|they)'re\b", r"\1 are"),
    (r"\b(i|you|we|they)'(?:ll|d)\b", r"\1 will"),
)  # fmt: skip


def normalised(words: str) -> str:
    """Words for comparison: lower case, contractions written out, no punctuation at the ends, single spaces."""
    text = words.lower().replace("’", "'").replace("‘", "'")
    for pattern, written in _CONTRACTIONS:
        text = re.sub(pattern, written, text)
    return " ".join(text.strip(' \t\r\n.,;:!?"“”()').split())


def classify(words: str, nouns: tuple[str, ...] = ()) -> AnswerWords:
    """Classify an answer; "words" has the part left for the parser, and another one of `nouns` is "one"."""
    text = normalised(words)
    for noun in sorted(filter(None, nouns), key=len, reverse=True):
        text = re.sub(rf"\b{re.escape(noun.lower())}(?P<s>s?)\b", lambda m: "one" + m["s"], text)
    answer = _classified(_simplified(text))
    if answer.kind != "words":
        return answer
    if not (answer.yes or answer.no):
        return replace(answer, words=words)
    said = words.split()
    tails = (" ".join(said[start:]) for start in range(len(said)))  # as said
    rest = (tail for tail in tails if _without_fillers(_simplified(normalised(tail))) == answer.words)
    return replace(answer, words=next(rest, answer.words))


def description(answer: str) -> str:
    """The words of an answer that describe, as said: "the red one" of "no, it's the red one"; all if none are left."""
    words = answer.strip(" \t\n.,!")
    said = _PREAMBLE.match(words)
    return (words if said is None else words[said.end() :]) or answer


def denial(answer: str) -> str | None:
    """The denied words: "the red one" of "not the red one"; None if nothing is denied."""
    said = re.fullmatch(r"not\s+(.+)", description(answer), re.IGNORECASE | re.DOTALL)
    return None if said is None else said[1]


def names_frame(answer: str) -> FrameOfReference | None:
    """The frame of reference if the whole answer names one: "from my side", "yours", "the camera's"."""
    words = " ".join(description(answer.lower().replace("’", "'")).split())
    if words in _FRAMES:
        return _FRAMES[words]
    kinds = (vocabulary.phrase_table().get(before + words, {}) for before in ("", "from ", "as seen from "))
    return next((kind["FRAME"][0] for kind in kinds if "FRAME" in kind), None)


def _classified(text: str, depth: int = 0) -> AnswerWords:
    bare = _without_fillers(text)
    whole = _whole(bare) or _whole(text)
    if whole is not None:
        return whole
    for pattern, agrees in ((_YES, True), (_NO, False)):
        said = pattern.match(bare)
        if said is not None and depth < 4:
            rest = _classified(bare[said.end() :].strip(), depth + 1)
            if rest.kind == "unsaid":
                return AnswerWords("yes" if agrees else "no")
            denies = rest.kind in ("no", "none", "other", "others") or rest.no
            if rest.kind != "end" and (denies if agrees else rest.kind == "yes" or rest.yes):
                return AnswerWords("unsaid")
            return rest if rest.kind == "end" else replace(rest, yes=agrees, no=not agrees)
    return AnswerWords("words", bare)


def _whole(text: str) -> AnswerWords | None:
    """The kind of a complete answer; None if the words must be parsed."""
    found = _KINDS.get(text) or _KINDS.get(_OF_THEM.sub("", text)) or {}
    for kind in found.values():
        return AnswerWords(kind)
    if not text or revising.stops(text):
        return AnswerWords("end" if text else "unsaid")
    n = _place(text)
    return None if n is None else AnswerWords("nth", text, n)


def _place(text: str) -> int | None:
    """The number meant by "the second one", "number two" or "the last one"; -1 for the last."""
    said = _NTH.fullmatch(text)
    if said is None:
        return None
    word = said["word"] or said["number"]
    figures = re.fullmatch(r"([1-9]\d{0,2})(?:st|nd|rd|th)?", word)
    if figures is not None:
        return int(figures[1])
    if said["number"]:
        return lexicon.NUMBERS.get(word)
    return {"last": -1, "latter": -1, "former": 1}.get(word, lexicon.ORDINALS.get(word))


def _without_fillers(text: str) -> str:
    while True:
        shorter = _AFTER.sub("", _BEFORE.sub("", text, count=1) if _BEFORE.match(text) else text).strip()
        if shorter == text:
            return text
        text = shorter
