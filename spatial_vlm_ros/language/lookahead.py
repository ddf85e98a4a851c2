# SPDX-License-Identifier: Apache-2.0
"""Tokens, and what the tagger sees around a word: phrases of the tables, what may follow, where polite words start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spatial_vlm_ros.language import acts, lexicon
from spatial_vlm_ros.language.distances import distance_at, mentions_unit
from spatial_vlm_ros.language.patterns import Kinds, phrase_set
from spatial_vlm_ros.language.vocabulary import phrase_table
from spatial_vlm_ros.language.words import Word

NOMINAL = frozenset({"NOUN", "ADJ", "ADJNOUN", "NUM", "ORD", "SUP", "POSITION", "COMPOUND", "ONE", "OTHER", "PORTION"})
RELATING = frozenset({"REL", "SIDE"})
FILLING = frozenset({"INTENSIFIER", "POSTURE"})
OPENERS = frozenset({"DET", "QTY", "PRON", "PERSON", "THAT", "ALONE", "PRON THATIS", "PRON THATIS NOT"})
ENDED = frozenset({"NOUN", "PRON", "PERSON", "SIDE", "ADJP", "FROM", "FRAME"})
"""Tokens after which a phrase may be complete."""
JOINTS = frozenset({"AND", "BUT", "COMMA"})
_LONGEST_PLEASANTRY = max(map(len, phrase_set(*acts.PLEASANTRIES)))
_LOOKUPS = ("texts", "measurable", "tail", "_found", "_kinds")
PREDICATING = frozenset({"THATIS", "IS", "NOT", "ADJP"})
PREMODIFIERS = frozenset({"DET", "QTY", "NUM", "ORD", "SUP", "ADJ", "OTHER"})
"""Tokens that may come before a noun."""


@dataclass
class Token:
    """One token.

    Args:
        start: first character in the instruction.
    """

    kind: str
    value: Any
    start: int
    end: int
    text: str


@dataclass
class PhraseMatch:
    """A phrase of the tables found in the words."""

    kinds: Kinds
    first: int
    length: int
    text: str

    @property
    def after(self) -> int:
        """Index of the word after it."""
        return self.first + self.length


class Lookahead:
    """The words of one instruction, with the table entries found for them; `known` has those of the same words."""

    def __init__(self, words: list[Word], known: Lookahead | None = None) -> None:
        self.words = words
        self.phrases = phrase_table()
        self.tokens: list[Token] = []
        self.roles: list[tuple[int, int, str]] = []  # start, end and role of each word, as in WordRole
        if known is not None:
            vars(self).update({name: vars(known)[name] for name in _LOOKUPS})
        else:
            self.reset()

    def emit(self, kind: str, value: object, first: int, length: int, text: str) -> None:
        """Append the token (or tokens) for the words from `first` on."""
        words = self.words[first : first + length]  # in another order than said, if they were rewritten
        start, end = min(word.start for word in words), max(word.end for word in words)
        self.roles += [(word.start, word.end, kind) for word in words]
        for single in kind.split():
            self.tokens.append(Token(single, value, start, end, text))

    def swallow(self, first: int, after: int, role: str) -> None:
        """Record that the words from `first` to before `after` have no meaning by themselves."""
        self.roles += [(word.start, word.end, role) for word in self.words[first:after]]

    def reset(self) -> None:
        """Clear the lookups after the words changed."""
        self.texts = [word.text if word.kind == "word" else "" for word in self.words]
        self.measurable = mentions_unit(self.texts)
        self._found: dict[int, list[PhraseMatch]] = {}
        self._kinds: dict[int, frozenset[str]] = {}
        self.tail = self._tail()

    def matches(self, i: int) -> list[PhraseMatch]:
        """Phrases of the tables that start at word `i`, longest first."""
        if i in self._found:
            return self._found[i]
        found, text = [], ""
        first = self.words[i].text.split(" ", 1)[0] if i < len(self.words) else ""
        for length in range(1, min(self.phrases.longest_from(first), len(self.words) - i) + 1):
            word = self.words[i + length - 1]
            if word.kind != "word":
                break
            text = word.text if length == 1 else f"{text} {word.text}"
            kinds = self.phrases.get(text)
            if kinds:
                found.append(PhraseMatch(kinds, i, length, text))
        self._found[i] = found[::-1]
        return self._found[i]

    def peek(self, i: int) -> frozenset[str]:
        """Possible kinds of the words at `i`, by the longest phrase there."""
        if i not in self._kinds:
            if i >= len(self.words):
                kinds = frozenset({"END"})
            elif self.words[i].kind != "word":
                kinds = frozenset({self.words[i].kind.upper()})
            else:
                found = self.matches(i)
                kinds = frozenset(found[0].kinds) if found else frozenset({"NOUN"})
            self._kinds[i] = kinds
        return self._kinds[i]

    def relating(self, i: int, measured: bool = True) -> bool:
        """True if a relation or side starts at `i`, perhaps after dropped words or, if `measured`, a distance."""
        while i < len(self.words):
            if self.peek(i) & RELATING or self._relates_shorter(i) or self.close_to(i):
                return True
            if measured and self.measurable and self.measures(i):
                return True
            if not self.peek(i) & FILLING:
                return False
            i += self.matches(i)[0].length
        return False

    def after_fillers(self, i: int) -> int:
        """Index of the first word from `i` on that is not dropped before a relation."""
        while i < len(self.words) and self.peek(i) & FILLING and not self.peek(i) & {"REL"}:
            i += self.matches(i)[0].length
        return i

    def close_to(self, i: int) -> bool:
        """True if a superlative at `i` is a relation ("nearest the box")."""
        if "SUP" not in self.peek(i):
            return False
        match = self.matches(i)[0]
        before = self.phrases.get(self.texts[i - 1], {}) if i else {}
        posed = ("POSTURE" in before and "VERB" not in before) or "IS" in before
        posed = posed and self.nominal(i + 1)
        return match.text in ("nearest", "closest") and (posed or bool(self.peek(i + 1) & {"DET"}))

    def _relates_shorter(self, i: int) -> bool:
        """True if a relation is hidden by a longer phrase ("in the top drawer" by "in the top")."""
        hidden = self.matches(i)[1:] if "FROM" in self.peek(i) else ()
        return any("REL" in match.kinds and self.opens(i + match.length) for match in hidden)

    def nominal(self, i: int) -> bool:
        """True if a word of a noun phrase, other than an article, is at `i`."""
        if self.peek(i) == {"OPEN"}:
            closing = (j + 1 for j in range(i, len(self.words)) if self.words[j].kind == "close")
            return self.nominal(next(closing, len(self.words)))
        if self.measurable and self.measures(i):
            return False
        kinds = self.peek(i)
        if kinds & {"THEN", "AND", "FROM", "FRAME"} or (self.tail[i] and kinds & {"PLEASANTRY"}):
            return False
        if kinds & {"INTENSIFIER", "POSTURE", "PARTICLE"} and self.relating(i):
            return False
        if "VERB" in kinds and self.peek(i + self.matches(i)[0].length) & OPENERS:
            return False
        if self.close_to(i):
            return False
        if kinds & RELATING:
            return "ADJ" in kinds and not self.peek(i + 1) & OPENERS and self.nominal(i + 1)  # "the round tray"
        if i < len(self.words) and self.words[i].text in lexicon.NOUNS_TOO:
            return True
        if kinds == {"IS REL"}:
            return True
        if kinds == {"GERUND"}:
            return self.nominal(i + 1)  # "the metal cutting board"
        return bool(kinds & NOMINAL) or (bool(kinds & {"VERB", "POSTURE", "STANDS"}) and self.matches(i)[0].length == 1)

    def measures(self, i: int) -> bool:
        """True if a distance and its relation start at `i` ("10 cm left of")."""
        said = distance_at(self.texts, i)
        if said is None:
            return False
        after = i + said.length
        return self.relating(after, measured=False) or (said.bounded and self.texts[after : after + 1] == ["of"])

    def opens(self, i: int) -> bool:
        """True if a noun phrase can start at `i`."""
        return bool(self.peek(i) & OPENERS) or self.nominal(i)

    def polite_there(self, text: str, after: int) -> bool:
        """True if the words before word `after` are polite there; they are not in "if you have a second mug"."""
        if text in lexicon.BEFORE_COMMA:
            return bool(self.peek(after) & {"COMMA", "STOP"})
        if text.startswith(lexicon.TIME_OPENINGS):
            timed = text.endswith(lexicon.TIME_ENDS) and self.peek(after) & {"VERB", "POLITE"}
            return bool(timed or self.peek(after) & {"COMMA", "STOP"})
        return True

    def previous(self) -> str:
        """Kind of the last token."""
        return self.tokens[-1].kind if self.tokens else ""

    def last(self, *kinds: str) -> Token | None:
        """The last token of some kinds, or None."""
        return next((token for token in reversed(self.tokens) if token.kind in kinds), None)

    def _tail(self) -> list[bool]:
        """For each word, True if only polite words follow from there to the end."""
        n = len(self.words)
        tail = [False] * n + [True]
        last = n
        for i in reversed(range(n)):
            if last - i > _LONGEST_PLEASANTRY:  # no phrase reaches from here to where only polite words follow
                break
            word = self.words[i]
            if word.kind in ("stop", "comma"):
                tail[i] = tail[i + 1]
            elif word.text in lexicon.VOCATIVES:
                tail[i] = tail[i + 1] and i > 0 and self.words[i - 1].kind == "comma"
            else:
                tail[i] = any("PLEASANTRY" in match.kinds and tail[i + match.length] for match in self.matches(i))
            if tail[i]:
                last = i
        return tail
