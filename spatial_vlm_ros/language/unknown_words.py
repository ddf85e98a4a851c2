# SPDX-License-Identifier: Apache-2.0
"""Turn words into tokens: numbers in digits, and words that no phrase of the tables accepts at their position."""

from __future__ import annotations

import re
from itertools import takewhile

from spatial_vlm_ros.language import acts, lexicon
from spatial_vlm_ros.language.distances import is_unit
from spatial_vlm_ros.language.lexicon import COMPARATIVES, is_outside, is_participle, is_plain
from spatial_vlm_ros.language.lookahead import ENDED, JOINTS, PREDICATING, Lookahead
from spatial_vlm_ros.language.phrase_index import Kinds
from spatial_vlm_ros.language.relating import RelationTagger, Verdict
from spatial_vlm_ros.language.relations import MEASURED
from spatial_vlm_ros.language.vocabulary import is_framed
from spatial_vlm_ros.language.words import Word
from spatial_vlm_ros.types import FrameOfReference

PREMODIFIERS = frozenset({"DET", "QTY", "NUM", "ORD", "SUP", "ADJ", "OTHER"})
"""Tokens that may come before a noun."""
_NOUNS_ELSEWHERE = frozenset({"PORTION", "VERB", "POSTURE", "POSITION", "IS REL", "STANDS"})
_DIGIT_ORDINAL = re.compile(r"(\d+(?:\.\d+)?)(?:st|nd|rd|th)")
_DIGITS = re.compile(r"\d+(?:[.,]\d+)?(?:-\d+(?:[.,]\d+)?)?")
_MOST_COUNTED = 999
_SIDES_ALONE = frozenset({"left", "right", "far", "near", "upper", "lower"})
"""Words that pick a side before a noun, and are not a noun after one."""


_SIDES_AND_VIEWS = lexicon.PARTS | lexicon.POSITION_WORDS.keys() | {*" ".join(lexicon.VIEW_NOUNS).split(" ")}
"""Words after a possessive that make it a part, a side or a point of view ("the jar's lid")."""
_VERBS_OR_NOUNS = frozenset({"stands", "sits", "lies", "rests", "stays", "appears"})


class ClauseTagger(RelationTagger):
    """The rules about clauses; `tagging.Tagger` adds those about commands and nouns.

    Attributes:
        at_start: True if only polite words were read so far.
        verb_seen: True if a verb was read.
        asked: True if polite words were read.
        gerund_seen: True if a verb in "-ing" was read ("would you mind opening").
        forbids: True if the words just read forbid the act of the next verb ("don't").
        deictic: span of a "here" or "there" that was dropped, or None.
        way: span of a direction that was dropped ("back", "away"), or None.
    """

    def __init__(self, words: list[Word], seen: Lookahead | None = None) -> None:
        super().__init__(words, seen)
        self.at_start = True
        self.verb_seen = False
        self.asked = False
        self.gerund_seen = False
        self.forbids = False
        self.deictic: tuple[int, int] | None = None
        self.way: tuple[int, int] | None = None

    def _as_which_is(self, _i: int, _after: int, _text: str, value: object) -> Verdict:
        return ("WHICH IS", value) if self.at_start else None

    def _as_which(self, _i: int, after: int, text: str, value: object) -> Verdict:
        if self.at_start:
            return ("WHICH", value)
        return ("THATIS", value) if text == "which" and self.relating(after) else None

    def _as_pron_thatis(self, _i: int, after: int, _text: str, value: object) -> Verdict:
        predicate = after + 1 if "NOT" in self.peek(after) else after
        fits = self.previous() in ("", "VERB", "REL") and self.relating(predicate)
        return ("PRON THATIS", value) if fits else None

    def _as_pron_thatis_not(self, _i: int, after: int, _text: str, value: object) -> Verdict:
        fits = self.previous() in ("", "VERB", "REL") and (self.relating(after) or "EQUAL" in self.peek(after))
        return ("PRON THATIS NOT", value) if fits else None

    def _as_that(self, _i: int, after: int, _text: str, value: object) -> Verdict:
        if self.nominal(after):
            return ("DET", value)
        if self.previous() in ENDED and self.relating(after):
            return ("THATIS", value)
        return ("PRON", ("object", None))

    def _as_is(self, _i: int, after: int, _text: str, value: object) -> Verdict:
        if self.previous() in JOINTS and self._in_relative_list():
            return ("THATIS", value)  # "that is behind the box, is red and is near the cup"
        if (self.verb_seen or self._in_relative_list()) and self._closes_comparison(after):
            return True
        if any(token.kind == "DET" and token.text in lexicon.RELATIVE_CHOICES for token in self.tokens):
            return ("THATIS", value)  # "whichever mug is nearest"
        return (self.verb_seen and self.tail[after]) or ("IS", value)

    def _as_is_not(self, _i: int, _after: int, _text: str, value: object) -> Verdict:
        relative = self.previous() in JOINTS and self._in_relative_list()
        return ("THATIS NOT" if relative else "IS NOT", value)

    def _as_stands(self, _i: int, after: int, _text: str, value: object) -> Verdict:
        """Settle the second verb of "which is near the cup and sits on the tray"."""
        fits = self.previous() in JOINTS and self._in_relative_list() and self.relating(after)
        return ("THATIS", value) if fits else None

    def _in_relative_list(self) -> bool:
        """True if "that is" was said, so that a further "is" continues it."""
        return any(token.kind == "THATIS" for token in self.tokens)

    def _closes_comparison(self, after: int) -> bool:
        """True if "is" only ends a comparison ("taller than the bowl is")."""
        said = next((token for token in reversed(self.tokens) if token.kind in ("REL", "THATIS", "SIDE")), None)
        compares = said is not None and said.kind == "REL" and said.text.endswith((" than", " as"))
        return compares and self.previous() == "NOUN" and not self.peek(after) & {"ADJ", "ADJNOUN", "SUP"}

    def _as_posture(self, _i: int, after: int, text: str, _value: object) -> Verdict:
        if text in acts.PUT_DOWN and self._wishes() and self.relating(after):
            return ("WISHED", None)
        if text in _VERBS_OR_NOUNS and self.verb_seen and self.previous() == "NOUN":
            return None  # "give me the cake stands"
        if text in ("sat", "stood") and not self.verb_seen:
            return None  # "the cat sat on the mat" tells a story
        if self.previous() in ENDED | PREDICATING | JOINTS and self.relating(after):
            return True
        if (
            self.previous() in ENDED
            and self.peek(after) & {"ADJ"}
            and not self.nominal(after + self.matches(after)[0].length)
        ):
            return True  # "standing upright"
        return (text.endswith(("see", "seen", "visible")) and self.previous() in ENDED | PREDICATING) or None

    def _as_frame(self, _i: int, after: int, _text: str, value: tuple[object, object]) -> Verdict:
        if self.nominal(after):
            return None
        if value == (FrameOfReference.OBJECT, None):  # "from its own side": "it" is the last object with a viewpoint
            for token in takewhile(lambda token: token.kind != "VERB", reversed(self.tokens)):
                if token.kind == "REL" and token.value.frame is None and is_framed(token.value.name):
                    token.value = token.value._replace(frame=FrameOfReference.OBJECT)
                    return True
        return ("FRAME", (value[0], False))

    def _as_there(self, _i: int, _after: int, _text: str, value: object) -> Verdict:
        return ("THERE", value) if self.at_start else None


def _counts(digits: str) -> bool:
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
        if kinds.keys() == {"GERUND"} and self.previous() in PREMODIFIERS and self.nominal(i + 1):
            return "NOUN"  # "the washing machine"
        ending = self.previous() == "NOUN" and not self.nominal(i + 1)
        if text in acts.PURE_VERBS and (ending or self.previous() not in PREMODIFIERS | {"NOUN"}):
            return "VERB_HERE"
        if text in lexicon.NOUNS_TOO:
            return "NOUN"
        if kinds.keys() <= {"FORBID", "FORBID_GERUND"}:  # "the can not behind the cup"
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
        if text.endswith("'s"):
            owned = set(self.texts[i + 1 : i + 4])
            described = self.previous() in ("ADJ", "SUP") or any(token.text == "from" for token in self.tokens[-2:])
            if "own" in owned or (_SIDES_AND_VIEWS & owned and (described or not lexicon.PARTS & owned)):
                return "POSSESSIVE"
        if is_plain(text):
            return "NOUN"
        modifier = self.nominal(i + 1)
        if text.startswith("non-") and "ADJ" in " ".join(self.phrases.get(text[4:], {})):
            return "DENIED"
        if text[-1] == "m" and is_unit(text):
            return "UNITLESS"  # "10 full cm"
        placed = self.previous() in PREMODIFIERS | {"REL"} or (self.previous() == "VERB" and not self.opens(i + 1))
        if is_outside(text, modifier) and not (text in acts.OTHER_VERBS and placed):  # "grab whisk", "behind whisk"
            compared = modifier and (text.endswith("est") or text in COMPARATIVES)
            return "COMPARED" if compared else "UNKNOWN_VERB" if text in acts.OTHER_VERBS else "ADVERB"
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
