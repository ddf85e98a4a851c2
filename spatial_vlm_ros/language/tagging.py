# SPDX-License-Identifier: Apache-2.0
"""Words to typed tokens: the longest phrase first, each ambiguity settled by its neighbours."""

from __future__ import annotations

import re

from spatial_vlm_ros.language import lexicon, wordlists
from spatial_vlm_ros.language.lookahead import OPENERS, RELATING, Lookahead, Match, Token
from spatial_vlm_ros.language.relations import MEASURED, MEASURED_PREFIX
from spatial_vlm_ros.language.vocabulary import Kinds
from spatial_vlm_ros.language.words import Word
from spatial_vlm_ros.types import FrameOfReference

_Verdict = tuple[str, object] | bool | None
"""What a rule says of a phrase: a kind and value to emit, True = swallow the words, False or None = it does not fit."""

_PREMODIFIERS = frozenset({"DET", "QTY", "NUM", "ORD", "SUP", "ADJ"})
_ENDED = frozenset({"NOUN", "PRON", "PERSON", "SIDE", "ADJP", "FROM", "FRAME"})
_PREDICATING = frozenset({"THATIS", "IS", "NOT", "ADJP"})

_DIGIT_ORDINAL = re.compile(r"(\d{1,3})(?:st|nd|rd|th)")
_DIGIT_UNIT = re.compile(r"\d+(?:\.\d+)?(?:mm|cm|m|in|ft)")
_DECIMAL = re.compile(r"\d+\.\d+")


class Tagger(Lookahead):
    """Chooses tokens from left to right.

    Args:
        words: words of one instruction.

    Attributes:
        deictic: span of a "here" or "there" that was swallowed, or None.
    """

    def __init__(self, words: list[Word]) -> None:
        super().__init__(words)
        self.at_start = True
        self.verb_seen = False
        self.asked = False
        self.deictic: tuple[int, int] | None = None

    def _pleasant(self, i: int) -> bool:
        """Whether what starts at `i` is no relation ("next to me")."""
        return "PLEASANTRY" in self.peek(i) or not self.peek(i) & RELATING

    def _note_deictic(self, first: int) -> None:
        """Remember the first "here" or "there" from a word on."""
        for word in self.words[first:]:
            if word.text in ("here", "there") and self.deictic is None:
                self.deictic = (word.start, word.end)

    # -------------------------------------------------------------------------------------------- choosing

    def run(self) -> list[Token]:
        """All tokens, in order.

        Returns:
            Tokens; some may be of kinds that the grammar has no place for.
        """
        i = 0
        while i < len(self.words):
            if self.tail[i] and self.previous() not in ("", "REL", "DET", "OF") and self._pleasant(i):
                self._note_deictic(i)
                break
            word = self.words[i]
            if word.kind == "word":
                i = self._phrase(i)
            elif word.kind == "view":
                self.emit("FRAME", (FrameOfReference.OBJECT, word.text[5:-7], False), i, 1, word.text)
                i += 1
            else:
                i = self._sign(i)
        return self.tokens

    def emit(self, kind: str, value: object, first: int, length: int, text: str) -> None:
        """Append the token (or tokens) of the words from `first` on."""
        start, end = self.words[first].start, self.words[first + length - 1].end
        for single in kind.split():
            self.tokens.append(Token(single, value, start, end, text))
        if kind not in ("FRAME", "COMMA", "STOP"):
            self.at_start = False
        if kind in ("VERB", "THERE"):
            self.verb_seen = True

    def _sign(self, i: int) -> int:
        word = self.words[i]
        if word.kind == "open":
            for match in self.matches(i + 1):
                close = i + 1 + match.length
                if "FRAME" in match.kinds and close < len(self.words) and self.words[close].kind == "close":
                    self.emit("FRAME", (*match.kinds["FRAME"], True), i + 1, match.length, match.text)
                    return close + 1
        if self.tokens or word.kind not in ("comma", "stop"):
            self.emit(word.kind.upper(), None, i, 1, word.text)
        return i + 1

    def _phrase(self, i: int) -> int:
        for match in self.matches(i):
            for kind in _PRIORITY:
                if kind in match.kinds and self._take(kind, match, i):
                    return i + match.length
        text = self.words[i].text
        ordinal = _DIGIT_ORDINAL.fullmatch(text)
        if ordinal:
            self.emit("ORD", int(ordinal[1]), i, 1, text)
        elif (_DIGIT_UNIT.fullmatch(text) and self.relating(i + 1)) or (
            _DECIMAL.fullmatch(text) and "UNIT" in self.peek(i + 1)
        ):
            self.emit("UNIT", None, i, 1, text)
        elif text.isdigit() and len(text) <= 3 and (self.previous() != "NOUN" or self.nominal(i + 1)):
            self.emit("NUM", int(text), i, 1, text)
        else:
            kinds = self.matches(i)[-1].kinds if self.matches(i) else {}
            self.emit(self._fallback(text, kinds), text, i, 1, text)
        return i + 1

    def _fallback(self, text: str, kinds: Kinds) -> str:
        """Kind of a word none of whose kinds fits here."""
        if kinds.keys() & {"OUTSIDE", "OR"}:
            return "OR" if "OR" in kinds else "OUTSIDE"
        if "FOREIGN" in kinds:
            return "NOUN" if self.previous() in _PREMODIFIERS else "FOREIGN"
        if text in lexicon.PURE_VERBS and self.previous() not in _PREMODIFIERS | {"NOUN"}:
            return "VERB_HERE"
        if not kinds or kinds.keys() & {"VERB", "POSTURE", "POSITION", "UNIT"} or text in wordlists.NOUNS_TOO:
            return "NOUN"
        return "OUTSIDE"

    def _take(self, kind: str, match: Match, i: int) -> bool:
        """Take a phrase as `kind` if it fits here; the words are then consumed."""
        after = i + match.length
        value, text = match.kinds[kind], match.text
        rule = getattr(self, f"_as_{kind.lower().replace(' ', '_')}", None)
        if rule is None:
            self.emit(kind, value, i, match.length, text)
            return True
        verdict = rule(i, after, text, value)
        if not verdict:
            return False
        if verdict is not True:
            self.emit(verdict[0], verdict[1], i, match.length, text)
        return True

    # -------------------------------------------------------------------------------------------- rules by kind

    def _as_polite(self, _i: int, after: int, text: str, _value: object) -> _Verdict:
        if not self.at_start:
            return None
        self.asked = True
        if text in lexicon.POLITE_BEFORE_VERB:
            follows = self.peek(after)
            return bool(follows & {"COMMA", "STOP", "VERB", "POLITE", "THERE", "END"}) and not (
                follows & {"VERB"} and self._verb_is_noun(after)
            )
        return True

    def _verb_is_noun(self, i: int) -> bool:
        """Whether a word that can be a verb stands for a thing ("watch behind the box")."""
        match = self.matches(i)[0]
        return match.length == 1 and match.text not in lexicon.PURE_VERBS and not self.opens(i + 1)

    def _as_verb(self, i: int, after: int, text: str, value: object) -> _Verdict:
        follows = self.peek(after)
        if text in lexicon.QUESTION_VERBS:
            fits = self.opens(after) and self.at_start
        elif self.at_start:
            fits = not self._verb_is_noun(i) or " " in text
            if fits and self.peek(i) & {"ADJ", "ADJNOUN"}:
                fits = bool(follows & OPENERS)
        elif self.previous() in _PREMODIFIERS | {"OF"}:
            fits = False
        elif self.previous() in ("AND", "THEN", "COMMA", "STOP"):
            fits = bool(follows & OPENERS) or text in lexicon.PURE_VERBS or (" " in text and self.opens(after))
        else:
            fits = bool(follows & OPENERS) and self.previous() != "REL" and not self.peek(i) & {"POSTURE"}
        return ("VERB", value) if fits else None

    def _as_gerund(self, _i: int, after: int, _text: str, value: object) -> _Verdict:
        return ("VERB", value) if self.asked and self.at_start and self.opens(after) else None

    def _as_which_is(self, _i: int, _after: int, _text: str, value: object) -> _Verdict:
        return ("WHICH IS", value) if self.at_start else None

    def _as_there(self, _i: int, _after: int, _text: str, value: object) -> _Verdict:
        return ("THERE", value) if self.at_start else None

    def _as_which(self, _i: int, after: int, text: str, value: object) -> _Verdict:
        if self.at_start:
            return ("WHICH", value)
        return ("THATIS", value) if text == "which" and self.relating(after) else None

    def _as_pron_thatis(self, _i: int, after: int, _text: str, value: object) -> _Verdict:
        return ("PRON THATIS", value) if self.previous() in ("VERB", "REL") and self.relating(after) else None

    def _as_that(self, _i: int, after: int, _text: str, value: object) -> _Verdict:
        if self.nominal(after):
            return ("DET", value)
        if self.previous() in _ENDED and self.relating(after):
            return ("THATIS", value)
        return ("PRON", ("object", None))

    def _as_pron(self, _i: int, after: int, text: str, value: object) -> _Verdict:
        return ("DET", None) if text == "this" and self.nominal(after) else ("PRON", value)

    def _as_det(self, _i: int, after: int, text: str, value: object) -> _Verdict:
        if self.previous() in ("SUP", "ORD"):
            return True
        if text in ("these", "those") and not self.nominal(after):
            return ("PRON", ("object", -1))
        return ("DET", value)

    def _as_is(self, _i: int, after: int, _text: str, value: object) -> _Verdict:
        return (self.verb_seen and self.tail[after]) or ("IS", value)

    def _as_one(self, _i: int, after: int, text: str, value: object) -> _Verdict:
        return ("NUM", value) if self.nominal(after) else ("NOUN", text)

    def _as_num(self, _i: int, after: int, text: str, value: object) -> _Verdict:
        return ("NOUN", text) if self.previous() == "NOUN" and not self.nominal(after) else ("NUM", value)

    def _as_compound(self, _i: int, _after: int, text: str, _value: object) -> _Verdict:
        return ("NOUN", text)

    def _as_adverb(self, _i: int, _after: int, _text: str, _value: object) -> _Verdict:
        return True

    def _as_measure(self, _i: int, after: int, _text: str, _value: object) -> _Verdict:
        return self.nominal(after) or None

    def _as_qty(self, _i: int, after: int, _text: str, value: object) -> _Verdict:
        return ("QTY", value) if self.opens(after) or self.relating(after) or self.tail[after] else None

    def _as_ord(self, _i: int, after: int, _text: str, value: object) -> _Verdict:
        if not self.peek(after) & {"FROM"}:
            return ("ORD", value)
        self._drop_predicated_article()
        return ("PLACED" if self.previous() in _PREDICATING else "ORD", value)

    def _drop_predicated_article(self) -> None:
        """Drop the article of "that is the leftmost"."""
        if self.previous() == "DET" and len(self.tokens) > 1 and self.tokens[-2].kind in _PREDICATING:
            self.tokens.pop()

    def _as_sup(self, _i: int, after: int, text: str, value: tuple[str, object]) -> _Verdict:
        if self.nominal(after) or self.peek(after) & {"OPEN"}:
            return ("SUP", value)
        if text in lexicon.POSITION_WORDS or text.split()[-1] in ("hand", "side"):
            return None
        if self.previous() == "NOUN" and value[0] in ("nearest", "farthest") and self.opens(after):
            return ("REL", ("closest to" if value[0] == "nearest" else "farthest from", None, False))
        if self.previous() in _ENDED or self.previous() in _PREDICATING:
            return ("SIDE", value)
        self._drop_predicated_article()
        return ("SIDE" if self.previous() in _PREDICATING else "SUP", value)

    def _as_position(self, _i: int, after: int, text: str, value: object) -> _Verdict:
        if not self.nominal(after):
            return None
        if text in ("left", "right") and self.previous() == "NOUN":
            return ("OUTSIDE", None)
        if text in ("near", "back", "far") and self.previous() not in ("DET", "ORD", ""):
            return None
        return ("SUP", value)

    def _as_adj(self, _i: int, after: int, _text: str, value: object) -> _Verdict:
        if not self.nominal(after) and self.previous() in _PREDICATING | _ENDED:
            return ("ADJP", value)
        if (
            self.previous() == "AND"
            and len(self.tokens) > 1
            and self.tokens[-2].kind == "ADJP"
            and not self.nominal(after)
        ):
            self.tokens.pop()
            return ("ADJP", value)
        return ("ADJ", value)

    def _as_adjnoun(self, _i: int, after: int, text: str, value: object) -> _Verdict:
        if self.nominal(after):
            return ("ADJ", value)
        return ("ADJP", value) if self.previous() in _PREDICATING else ("NOUN", text)

    def _as_and(self, _i: int, after: int, _text: str, value: object) -> _Verdict:
        if not self.tokens:
            return True
        describing = self.peek(after) & {"ADJ", "ADJNOUN"} and self.nominal(after) and self.previous() == "ADJ"
        if describing:
            anchor = len(self.tokens) > 2 and self.tokens[-2].kind == "DET" and self.tokens[-3].kind == "REL"
            between = anchor and self.tokens[-3].value[0] == "between"
            if not between or any(word.text == "and" for word in self.words[after:]):
                return True
        return ("AND", value)

    def _as_of(self, _i: int, after: int, _text: str, value: object) -> _Verdict:
        if self.previous() in ("QTY", "NUM"):
            self.tokens[-1].kind = "QTY"
            return True
        if self.previous() in ("SUP", "ORD") and self.tokens[-2:-1] and self.tokens[-2].kind == "DET":
            self.tokens[-2].kind, self.tokens[-2].value = "QTY", lexicon.ONE_OF
            return True
        if len(self.tokens) > 2 and self.tokens[-3].text == "within" and self.tokens[-1].text in lexicon.UNITS:
            del self.tokens[-3:]
            return ("REL", (MEASURED_PREFIX + "from", None, False))
        if self.peek(after) & (OPENERS - {"QTY"}):
            return ("REL", ("part of", None, False))
        return ("OF", value)

    def _as_unit(self, _i: int, after: int, _text: str, value: object) -> _Verdict:
        measured = self.previous() in ("NUM", "QTY", "UNIT") or (
            self.previous() == "DET" and self.tokens[-1].text in ("a", "an") and len(self.tokens) > 1
        )
        return ("UNIT", value) if measured and self.relating(after) else None

    def _as_frame(self, _i: int, after: int, _text: str, value: tuple[object, object]) -> _Verdict:
        return None if self.nominal(after) else ("FRAME", (*value, False))

    def _as_side(self, _i: int, after: int, text: str, value: object) -> _Verdict:
        if self.nominal(after) or self.peek(after) & {"OF"} or ("REL" in self.phrases[text] and self.opens(after)):
            return None
        return ("SIDE", value)

    def _as_from(self, _i: int, after: int, _text: str, value: tuple[str, object]) -> _Verdict:
        ordered = any(token.kind in ("ORD", "PLACED") for token in self.tokens)
        if self.peek(after) & {"OF"} or (value[1] is not None and not ordered):
            return None
        if self.nominal(after):
            return ("FROM_BEFORE", value) if self.previous() == "ORD" else None
        return ("FROM", value)

    def _as_particle(self, i: int, after: int, _text: str, _value: object) -> _Verdict:
        if not self.verb_seen or self.previous() not in _ENDED | {"VERB"} or self.opens(after):
            return None
        if self.words[i].text in ("here", "there"):
            self._note_deictic(i)
        return True

    def _as_intensifier(self, _i: int, after: int, text: str, _value: object) -> _Verdict:
        if self.relating(after):
            return True
        return (text in lexicon.DEGREES and bool(self.peek(after) & {"ADJ", "ADJNOUN", "SUP"})) or None

    def _as_posture(self, _i: int, after: int, text: str, _value: object) -> _Verdict:
        if self.previous() in _ENDED | _PREDICATING and self.relating(after):
            return True
        return (text.endswith(("see", "seen", "visible")) and self.previous() in _ENDED | _PREDICATING) or None

    def _as_rel(self, i: int, after: int, text: str, value: tuple[str, object, bool]) -> _Verdict:
        if self.previous() == "UNIT":
            return self._measured(value)
        superlative = self._distance_superlative() if text in ("to", "from") else None
        if superlative is not None:
            return self._distance_to(superlative, i)
        fits = self.opens(after) or self.peek(after) & {"FRAME", "COMMA", "OPEN"}
        others = self.matches(i)[0].kinds.keys() & {"SIDE", "PARTICLE", "INTENSIFIER"}
        return ("REL", value) if fits or not others else None

    def _measured(self, value: tuple[str, object, bool]) -> _Verdict:
        """A relation after a stated distance ("10 cm left of")."""
        while self.tokens and self.tokens[-1].kind in ("UNIT", "NUM", "QTY", "DET"):
            self.tokens.pop()
        name = "from" if value[0] == "far from" else value[0]
        return ("REL", (MEASURED_PREFIX + name, value[1], value[2])) if name in MEASURED else ("OUTSIDE", None)

    def _distance_superlative(self) -> Token | None:
        """The "closest" of "the closest mug to …"."""
        for token in reversed(self.tokens):
            if token.kind == "SUP" and token.value[0] in ("nearest", "farthest"):
                return token
            if token.kind not in ("NOUN", "ADJ"):
                return None
        return None

    def _distance_to(self, superlative: Token, i: int) -> _Verdict:
        """Settle "the closest mug to the camera" (a frame) and "the closest mug to the box" (a relation)."""
        for length in (3, 2):
            where = " ".join(word.text for word in self.words[i + 1 : i + length])
            side = self.phrases.get(f"nearest to {where}", {}).get("SIDE")
            if side and len(self.words) >= i + length and not self.nominal(i + length):
                superlative.value = (superlative.value[0], side[1])
                for _ in range(length - 1):
                    self.words.pop(i + 1)
                self.reset()
                return True
        self.tokens.remove(superlative)
        return ("REL", ("closest to" if superlative.value[0] == "nearest" else "farthest from", None, False))


_PRIORITY = (
    "POLITE", "THERE", "VERB", "GERUND", "WHICH IS", "PRON THATIS", "COMPOUND", "IS NOT", "IS", "THATIS NOT", "THATIS",
    "WHICH", "THAT", "MEASURE", "ADVERB",
    "FRAME", "POSITION", "SIDE", "FROM", "REL", "INTENSIFIER", "PARTICLE", "POSTURE", "SUP", "AND", "THEN", "BUT",
    "NOT",
    "OF", "QTY", "DET", "PRON", "PERSON", "NUM", "ORD", "ONE", "UNIT", "ADJNOUN", "ADJ",
)  # fmt: skip
"""Order in which the kinds of a phrase are tried."""
