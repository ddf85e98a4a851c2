# SPDX-License-Identifier: Apache-2.0
"""Words to typed tokens: longest phrase first, then each local ambiguity is settled by the neighbours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from spatial_vlm_ros.language import lexicon
from spatial_vlm_ros.language.possessives import rewrite_possessives
from spatial_vlm_ros.language.vocabulary import Kinds, phrase_table
from spatial_vlm_ros.language.words import Word
from spatial_vlm_ros.language.relations import MEASURED, MEASURED_PREFIX

_NOMINAL = frozenset({"NOUN", "ADJ", "ADJNOUN", "NUM", "ORD", "SUP", "POSITION", "COMPOUND", "ONE"})
_RELATING = frozenset({"REL", "SIDE"})
_DIGIT_ORDINAL = re.compile(r"(\d{1,3})(st|nd|rd|th)")
_DIGIT_UNIT = re.compile(r"\d+(?:\.\d+)?(mm|cm|m|in|ft)")
_NEEDS_VERB = frozenset("robot next well now then first do go just so simply and try yes".split())


@dataclass
class Token:
    """One token: what it is, its value, and where its words stand."""

    kind: str
    value: Any
    start: int
    end: int
    text: str


@dataclass
class _Match:
    """A phrase of the tables found at a place."""

    kinds: Kinds
    length: int
    text: str


class _Tagger:
    """One pass over the words of one instruction."""

    def __init__(self, words: list[Word]) -> None:
        self.words = words
        self.phrases, self.longest = phrase_table()
        self.tokens: list[Token] = []
        self.at_start = True
        self.verb_seen = False
        self.tail = self._tail_starts()

    # -------------------------------------------------------------------------------------------- looking up

    def _matches(self, i: int) -> list[_Match]:
        """Phrases of the tables that start at word `i`, longest first."""
        found = []
        text = ""
        for length in range(1, min(self.longest, len(self.words) - i) + 1):
            word = self.words[i + length - 1]
            if word.kind != "word":
                break
            text = word.text if length == 1 else f"{text} {word.text}"
            kinds = self.phrases.get(text)
            if kinds:
                found.append(_Match(kinds, length, text))
        return found[::-1]

    def _tail_starts(self) -> list[bool]:
        """For each word, whether only pleasantries follow from there to the end."""
        n = len(self.words)
        tail = [False] * n + [True]
        for i in reversed(range(n)):
            word = self.words[i]
            if word.kind in ("stop", "comma"):
                tail[i] = tail[i + 1]
            elif word.kind == "word":
                tail[i] = any(
                    "PLEASANTRY" in match.kinds and tail[i + match.length] for match in self._matches(i)
                ) or (word.text in ("robot", "buddy", "mate") and i > 0 and self.words[i - 1].kind == "comma" and tail[i + 1])
        return tail

    def _peek(self, i: int) -> frozenset[str]:
        """What the words at `i` can be, by the longest phrase there."""
        if i >= len(self.words):
            return frozenset({"END"})
        word = self.words[i]
        if word.kind != "word":
            return frozenset({word.kind.upper()})
        matches = self._matches(i)
        if not matches:
            return frozenset({"FOREIGN" if word.text in lexicon.FOREIGN else "NOUN"})
        return frozenset(matches[0].kinds)

    def _nominal(self, i: int) -> bool:
        """Whether a word of a noun phrase, other than an article, stands at `i`."""
        kinds = self._peek(i)
        if "VERB" in kinds and not kinds & (_RELATING | {"PARTICLE", "FRAME"}):
            return self._peek(i + 1).isdisjoint({"DET", "PRON", "PARTICLE", "QTY"})
        if kinds & {"THEN", "AND", "PLEASANTRY"} or (kinds & {"REL"} and not kinds & {"POSITION"}):
            return False
        if kinds & {"INTENSIFIER"} and self._peek(i + 1) & _RELATING:
            return False
        if kinds & {"POSTURE"} and self._peek(i + 1) & (_RELATING | {"INTENSIFIER"}):
            return False
        return bool(kinds & _NOMINAL) or (kinds == {"POSTURE"}) or kinds == {"UNIT"}

    # -------------------------------------------------------------------------------------------- choosing

    def run(self) -> list[Token]:
        """All tokens, ambiguities settled."""
        i = 0
        while i < len(self.words):
            word = self.words[i]
            if self.tail[i] and self.tokens and self.tokens[-1].kind not in ("REL", "VERB", "DET", "OF"):
                break
            if word.kind != "word":
                i = self._sign(i)
                continue
            i = self._phrase(i)
        return self.tokens

    def _emit(self, kind: str, value: object, first: int, length: int, text: str) -> None:
        start, end = self.words[first].start, self.words[first + length - 1].end
        kinds = kind.split()
        self.tokens.extend(Token(single, value, start, end, text) for single in kinds)
        if kinds[-1] not in ("FRAME", "COMMA", "STOP"):
            self.at_start = False

    def _sign(self, i: int) -> int:
        word = self.words[i]
        if word.kind == "open":
            close = next((j for j in range(i + 1, len(self.words)) if self.words[j].kind == "close"), None)
            match = next((m for m in self._matches(i + 1) if "FRAME" in m.kinds), None) if close else None
            if match and i + 1 + match.length == close:
                self._emit("FRAME", (*match.kinds["FRAME"], True), i + 1, match.length, match.text)
                return close + 1
        if word.kind == "stop" and self.at_start and not self.tokens:
            return i + 1
        self._emit(word.kind.upper(), None, i, 1, word.text)
        return i + 1

    def _phrase(self, i: int) -> int:
        for match in self._matches(i):
            after = i + match.length
            for kind in match.kinds:
                fits = _FITS.get(kind)
                verdict = kind if fits is None else fits(self, i, after, match.text)
                if verdict == "":
                    return after
                if verdict:
                    self._choose(kind, match, i)
                    return after
        text = self.words[i].text
        ordinal = _DIGIT_ORDINAL.fullmatch(text)
        if ordinal:
            self._emit("ORD", int(ordinal[1]), i, 1, text)
        elif text.isdigit() and len(text) <= 3:
            self._emit("NUM", int(text), i, 1, text)
        elif _DIGIT_UNIT.fullmatch(text) and self._peek(i + 1) & {"REL"}:
            self._emit("UNIT", None, i, 1, text)
        else:
            self._emit("NOUN", text, i, 1, text)
        return i + 1

    def _choose(self, kind: str, match: _Match, i: int) -> None:
        value = match.kinds[kind]
        if kind == "FRAME":
            value = (*value, False)
        if kind in ("VERB", "THERE"):
            self.verb_seen = True
        self._emit(kind, value, i, match.length, match.text)
