# SPDX-License-Identifier: Apache-2.0
"""Turn words into tokens: numbers in digits, and words that no phrase of the tables accepts at their position."""

from __future__ import annotations

import re

from spatial_vlm_ros.language import lexicon, wordlists
from spatial_vlm_ros.language.clausal import ClauseTagger
from spatial_vlm_ros.language.distances import is_unit
from spatial_vlm_ros.language.lookahead import PREDICATING
from spatial_vlm_ros.language.phrase_index import Kinds
from spatial_vlm_ros.language.relations import MEASURED
from spatial_vlm_ros.language.word_classes import COMPARATIVES, VERBS, is_outside, is_participle, is_plain

PREMODIFIERS = frozenset({"DET", "QTY", "NUM", "ORD", "SUP", "ADJ", "OTHER"})
"""Tokens that may come before a noun."""
_NOUNS_ELSEWHERE = frozenset({"PORTION", "VERB", "POSTURE", "POSITION", "IS REL", "STANDS"})
_DIGIT_ORDINAL = re.compile(r"(\d+(?:\.\d+)?)(?:st|nd|rd|th)")
_DIGITS = re.compile(r"\d+(?:[.,]\d+)?(?:-\d+(?:[.,]\d+)?)?")
_MOST_COUNTED = 999
_SIDES_ALONE = frozenset({"left", "right", "far", "near", "upper", "lower"})
"""Words that pick a side before a noun, and are not a noun after one."""


def _counts(digits: str) -> bool:
    """True if a number can count objects."""
    return digits.isdecimal() and 0 < int(digits) <= _MOST_COUNTED


class UnknownWordTagger(ClauseTagger):
    """The rules about numbers and words that no phrase of the tables accepts; `tagging.Tagger` adds all others."""

    def _unknown(self, i: int) -> tuple[str, object]:
        """Kind and value of a word that no phrase of the tables accepts here."""
        text = self.words[i].text
        if text[0].isdecimal():
            ordinal = _DIGIT_ORDINAL.fullmatch(text)
            if ordinal:
                return (self._order_kind(i + 1), int(ordinal[1])) if _counts(ordinal[1]) else ("UNCOUNTED", None)
            if _DIGITS.fullmatch(text):
                after = i + 1
                if self.previous() == "NOUN":
                    return self._number_of_name(text, after)
                if not text.isdecimal() or self._lacks_unit(after):
                    return "UNITLESS", None
                return ("NUM", int(text)) if _counts(text) else ("UNCOUNTED", None)
        if text in lexicon.SIGNS and i + 1 < len(self.words) and self.texts[i + 1][:1].isdecimal():
            return "SIGNED", None
        kinds = self.matches(i)[-1].kinds if self.matches(i) else {}
        return self._fallback(i, kinds), text

    def _lacks_unit(self, after: int) -> bool:
        """True if a number counts nothing, and a relation that may take a distance follows ("5 left of the box")."""
        if self.previous() not in ("", "VERB", "ADJ") or not self.relating(after):
            return False
        described = self.previous() == "ADJ"  # "the glass 5 from the box"
        return self._next_relation(after) in (MEASURED.keys() if described else MEASURED.keys() - {"from", "to"})

    def _number_of_name(self, text: str, after: int) -> tuple[str, object]:
        """Settle a number after a noun: "box 3" is a name, but "the box 3 left of" lacks a unit."""
        first = len(self.tokens)
        while first and self.tokens[first - 1].kind in ("NOUN", "ADJ", "SUP"):
            first -= 1
        determined = first > 0 and self.tokens[first - 1].kind in ("DET", "QTY", "NUM")
        measured = determined and self.relating(after) and self._next_relation(after) in MEASURED
        named = text.isdecimal() or text in lexicon.NUMBERS
        return ("NOUN", text) if named and not measured and not self.nominal(after) else ("UNITLESS", None)

    def _fallback(self, i: int, kinds: Kinds) -> str:
        """Kind of a word if none of its kinds fits here."""
        text = self.words[i].text
        if kinds.keys() & {"OUTSIDE", "OR"}:
            return "OR" if "OR" in kinds else "OUTSIDE"
        if "FOREIGN" in kinds:
            return "NOUN" if self.previous() in PREMODIFIERS else "FOREIGN"
        ending = self.previous() == "NOUN" and not self.nominal(i + 1)
        if text in lexicon.PURE_VERBS and (ending or self.previous() not in PREMODIFIERS | {"NOUN"}):
            return "VERB_HERE"
        if text in wordlists.NOUNS_TOO:
            return "NOUN"
        if not kinds:
            return self._open_class(i, text)
        if text in _SIDES_ALONE and self.previous() == "NOUN":
            return "OUTSIDE"
        if ending and kinds and is_participle(text) and not kinds.keys() & {"COMPOUND", "ADJNOUN"}:
            return "PARTICIPLE"
        stands = "POSTURE" in kinds and "POSITION" not in kinds and not text.endswith("s")
        if stands and self.previous() == "NOUN" and not self.nominal(i + 1):
            return "PARTICIPLE"
        return "NOUN" if kinds.keys() & _NOUNS_ELSEWHERE else "OUTSIDE"

    def _open_class(self, i: int, text: str) -> str:
        """Kind of a word that is in no table: a noun, unless it clearly is not one."""
        if is_plain(text):
            return "NOUN"
        modifier = self.nominal(i + 1)
        if text.startswith("non-") and "ADJ" in " ".join(self.phrases.get(text[4:], {})):
            return "DENIED"
        if text[-1] == "m" and is_unit(text):
            return "UNITLESS"  # "10 full cm"
        placed = self.previous() in PREMODIFIERS | {"REL"} or (self.previous() == "VERB" and not self.opens(i + 1))
        if is_outside(text, modifier) and not (text in VERBS and placed):  # "grab whisk", "behind whisk"
            compared = modifier and (text.endswith("est") or text in COMPARATIVES)
            return "COMPARED" if compared else "UNKNOWN_VERB" if text in VERBS else "ADVERB"
        if self.previous() == "NOUN" and not modifier and is_participle(text):
            return "PARTICIPLE"
        return "NOUN"

    def _order_kind(self, after: int) -> str:
        """Kind of an ordinal: "PLACED" in "that is the second from the left"."""
        if not self.peek(after) & {"FROM"}:
            return "ORD"
        self._drop_predicated_article()
        return "PLACED" if self.previous() in PREDICATING else "ORD"

    def _drop_predicated_article(self) -> None:
        """Drop the article of "that is the leftmost"."""
        if self.previous() == "DET" and len(self.tokens) > 1 and self.tokens[-2].kind in PREDICATING:
            self.tokens.pop()
