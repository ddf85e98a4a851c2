# SPDX-License-Identifier: Apache-2.0
"""Turn words into typed tokens: the longest phrase first; neighbours settle each ambiguity."""

from __future__ import annotations

import re
from collections.abc import Callable

from spatial_vlm_ros.language import distances, lexicon, relating, words
from spatial_vlm_ros.language.lexicon import AVOID, COMPARATIVES, FORBIDDEN, is_outside, is_participle, is_plain
from spatial_vlm_ros.language.patterns import SETS, Kinds
from spatial_vlm_ros.language.vocabulary import MEASURED, RelationWords, takes_two

_DENIED = (["NOT", "ADJP"], ["ADJP", "ADJP"])
_BEFORE_RELATIVE = SETS.ended | SETS.joints

_DIGIT_ORDINAL = re.compile(r"(\d+(?:\.\d+)?)(?:st|nd|rd|th)")
_DIGITS = re.compile(r"\d+(?:[.,]\d+)?(?:-\d+(?:[.,]\d+)?)?")

_SIDES_AND_VIEWS = lexicon.PARTS | lexicon.POSITION_WORDS.keys() | {*" ".join(lexicon.VIEW_NOUNS).split(" ")}
"""Words after a possessive that make it a part, a side or a point of view ("the jar's lid")."""


class Tagger(relating.RelationTagger):
    """Choose tokens from left to right."""

    def _note_deictic(self, first: int) -> None:
        self.deictic = self.deictic or [word for word in self.words[first:] if word.text in ("here", "there")][:1]

    def run(self) -> list[words.Token]:
        """All tokens, in order."""
        i = 0
        while i < len(self.words):
            ends = self.peek(i + 2) & {"AND", "THEN", "COMMA", "STOP", "END"}
            if self.texts[i : i + 2] in (["for", "me"], ["for", "us"]) and ends and self.previous() in SETS.ended:
                self.swallow(i, i + 2, "PLEASANTRY")
                i += 2
                continue
            after = self.earlier_place(i)
            if after is not None:
                i = after
                continue
            going = "come" in self.texts[i:] and any(token.value == "go" for token in self.tokens)
            pleasant = "PLEASANTRY" in self.peek(i) or not self.peek(i) & SETS.relating  # not "next to me"
            if self.tail[i] and not going and self.previous() not in ("", "REL", "DET", "OF") and pleasant:
                self._note_deictic(i)
                self.swallow(i, len(self.words), "PLEASANTRY")
                break
            word = self.words[i]
            i = self._phrase(i) if word.kind == "word" else self._sign(i)
        if self.forbids and self.tokens:  # no verb took up the words that forbid: they must not be lost
            self.tokens[-1].kind, self.tokens[-1].text = "OUTSIDE", "never"
        return self.tokens

    def emit(self, kind: str, value: object, first: int, length: int, text: str) -> None:
        """Append the token (or tokens) for the words from `first` on."""
        super().emit(kind, value, first, length, text)
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
                    self.emit("FRAME", (match.kinds["FRAME"][0], True), i + 1, match.length, match.text)
                    return close + 1
        if self.tokens or word.kind not in ("comma", "stop"):
            self.emit(word.kind.upper(), None, i, 1, word.text)
        return i + 1

    def _phrase(self, i: int) -> int:
        after = self.shifted(i) if self.measurable else None
        after = self.distance(i) if after is None else after
        if after is not None:
            return after
        for match in self.matches(i):
            for kind in sorted(match.kinds.keys() & _RANKS.keys(), key=_RANKS.__getitem__):
                if self._take(kind, match, i):
                    return i + match.length
        self.emit(*self._unknown(i), i, 1, self.words[i].text)
        return i + 1

    def _take(self, kind: str, match: words.PhraseMatch, i: int) -> bool:
        """Accept a phrase as `kind` if it fits here; its words are then consumed."""
        after = i + match.length
        value, text = match.kinds[kind], match.text
        rule = getattr(self, _RULES[kind], None)
        verdict: relating.Verdict = kind
        if kind in _ROWS:
            verdict = _ROWS[kind](self, match)
        elif rule is not None:
            verdict = rule(i, after, text, value)
        if verdict is True:
            self.swallow(i, after, kind)
        elif verdict:
            emitted, value = verdict if isinstance(verdict, tuple) else (verdict, value)
            self.emit(emitted, value, i, match.length, text)
        return bool(verdict)

    def _as_polite(self, _i: int, after: int, text: str, _value: object) -> relating.Verdict:
        after_topic = self.previous() == "COMMA" and self.last("VERB") is None  # "the cup is there, can you get it?"
        if not (self.at_start or (after_topic and text not in lexicon.BEFORE_VERB)):
            return None
        if not self.polite_there(text, after) or (text.endswith("do") and self.texts[after : after + 1] == ["not"]):
            return None
        self.asked = True
        if text in lexicon.BEFORE_VERB:
            follows = self.peek(after)
            if text in lexicon.POLITE_FILLERS and follows & SETS.openers:
                return True
            return bool(follows & {"COMMA", "STOP", "VERB", "POLITE", "THERE", "END"}) and not (
                follows & {"VERB"} and self._verb_is_noun(after)
            )
        return True

    def _verb_is_noun(self, i: int) -> bool:
        """True if a word that can be a verb stands for an object ("watch behind the box")."""
        match = self.matches(i)[0]
        return match.length == 1 and match.text not in lexicon.PURE_VERBS and not self.opens(i + 1)

    def _as_verb(self, i: int, after: int, text: str, value: object) -> relating.Verdict:
        follows = self.peek(after)
        if text.endswith("have") and self.texts[after : after + 2] == ["a", "look"]:
            return None
        if text in lexicon.VERBS_BEFORE_ARTICLES and not follows & SETS.openers:
            return None
        if text == "unload" and not SETS.emptied.intersection(self.texts[after:]):  # "unload the bin" takes no bin
            return ("OUTSIDE", None)
        if text in lexicon.WISHED and self.last("VERB") is not None and self.previous() == "COMMA":
            return ("OUTSIDE", None)  # "take the mugs, we need the space" may be a reason
        if self.forbids and self.opens(after):
            return self._forbidden(f"{FORBIDDEN}{value}")
        if value == AVOID and not self.at_start:
            if not self.opens(after) or not self._may_forbid() or (text == "mind" and self.previous() in SETS.ended):
                return None
            return self._forbidden(AVOID)
        if text in lexicon.QUESTION_VERBS:
            fits = self.opens(after) and self.at_start
        elif self.at_start:
            fits = not self._verb_is_noun(i) or " " in text
            if fits and self.peek(i) & {"ADJ", "ADJNOUN"}:
                fits = bool(follows & SETS.openers) or (value in lexicon.OPENABLE and self.nominal(after))
            if text == "point":
                fits = "out" in self.texts[after:] and self.opens(after)
        elif self.previous() in SETS.premodifiers | {"OF"}:
            fits = False
        elif self.previous() in ("AND", "THEN", "COMMA", "STOP"):
            fits = bool(follows & SETS.openers) or text in lexicon.PURE_VERBS or (" " in text and self.opens(after))
            clipped = self.verb_seen and not self.last("DET", "QTY") is not None
            clipped = clipped or self.previous() == "THEN"
            places = any("REL" in self.peek(j) for j in range(after + 1, len(self.words)))
            fits = fits or (clipped and value == "place" and self.nominal(after) and places)
        else:
            posture = "POSTURE" in self.peek(i) and self.relating(after)
            fits = bool(follows & SETS.openers) and self.previous() != "REL" and not posture
            if (
                fits
                and self.verb_seen
                and self.previous() in SETS.ended
                and (text in lexicon.PURE_VERBS or " " in text)
            ):
                return ("THEN VERB", value)  # a further command without "and"
        if value == "turn" and fits:
            return ("TURNED", None)
        return ("VERB", value) if fits else None

    def _may_forbid(self) -> bool:
        return self.at_start or self.previous() in SETS.ended | SETS.joints | {"THEN", "STOP"}

    def _forbidden(self, action: str) -> relating.Verdict:
        self.forbids = False
        while self.previous() in SETS.joints:
            self.tokens.pop()
        return ("VERB", action) if self.at_start or self.previous() == "THEN" else ("THEN VERB", action)

    def forbids_verb(self, i: int, kind: str) -> relating.Verdict:
        """Forbid the verb at word `i`, if one with an object is there."""
        verbs = [match for match in self.matches(i) if kind in match.kinds and self.opens(i + match.length)]
        if not verbs or not self._may_forbid():
            return None
        self.forbids = True
        return True

    def _as_then(self, i: int, after: int, _text: str, value: object) -> relating.Verdict:
        """Repeat the verb of "pick up the ball and then the cup"."""
        verb = self.last("VERB")
        if verb is None or not self.peek(after) & {"DET", "QTY"}:
            return ("THEN", value)
        self.emit("THEN VERB", verb.value, i, after - i, verb.text)
        return True

    def _as_anywhere(self, i: int, after: int, text: str, _value: object) -> relating.Verdict:
        """Settle "anywhere": on the surface, except where something is excluded; before a relation it adds nothing."""
        excepts = any("REL" in each.kinds and each.kinds["REL"].name == "other than" for each in self.matches(after))
        if (self.relating(after) and not excepts) or not self._moves():
            return None
        self.emit("REL", RelationWords("on"), i, after - i, text)
        self.emit("NOUN", lexicon.SURFACE, i, after - i, lexicon.SURFACE)
        return True

    def _moves(self) -> bool:
        verb = self.last("VERB")
        return verb is not None and verb.value in ("place", "slide", "throw")

    def _as_gerund(self, _i: int, after: int, _text: str, value: object) -> relating.Verdict:
        if self.forbids and self.opens(after):
            return self._forbidden(f"{FORBIDDEN}{value}")
        further = self.gerund_seen and self.previous() in ("AND", "THEN")  # "would you mind opening … and taking …"
        fits = self.asked and (self.at_start or further) and self.opens(after)
        self.gerund_seen = self.gerund_seen or fits
        return ("VERB", value) if fits else None

    def _as_goes(self, i: int, after: int, text: str, _value: object) -> relating.Verdict:
        """Write ", put it" for the verb of "the cup goes on the tray"."""
        part = text.startswith("belong") and self.texts[after : after + 1] == ["to"]
        related = self.last("VERB", "IS") is not None or (self.last("THATIS") is not None and text not in SETS.going)
        if part or related or self.previous() not in SETS.ended or not self.relating(after):
            return None
        self.emit("COMMA", None, i, after - i, ",")
        self.emit("VERB", "place", i, after - i, "put")
        self.emit("PRON", ("object", None), i, after - i, "it")
        return True

    def _as_untouched(self, _i: int, after: int, _text: str, _value: object) -> relating.Verdict:
        """Settle "leave the cup alone": a prohibition."""
        verb = self.last("VERB")
        if verb is None or verb.text != "leave" or self.previous() not in SETS.ended:
            return None
        if not (self.tail[after] or self.peek(after) & {"COMMA", "STOP", "AND", "BUT", "THEN"}):
            return None
        verb.value, verb.text = f"{FORBIDDEN}touch", "touch"
        return True

    def _as_det(self, _i: int, after: int, text: str, value: object) -> relating.Verdict:
        if text in ("her", "his") and self.peek(after) & {"DET"}:
            return ("OUTSIDE", None)  # "give her the cup"
        if self.previous() in ("SUP", "ORD"):
            return True
        if text in ("these", "those") and not self.nominal(after):
            return ("PRON", ("object", -1))
        return ("DET", value)

    def _as_that(self, _i: int, after: int, _text: str, _value: object) -> relating.Verdict:
        if self.nominal(after):
            return "DET"
        return "THATIS" if self.previous() in SETS.ended and self.relating(after) else ("PRON", ("object", None))

    def _as_measure(self, i: int, after: int, text: str, _value: object) -> relating.Verdict:
        part = text.split(" ")[0]
        if part in lexicon.PIECES and lexicon.CUT.intersection(self.texts[after : after + 1]):
            self.emit("NOUN", part, i, 1, part)
            self.emit("OF", None, i + 1, after - i - 1, "of")
            return True
        return self.nominal(after) or None

    def _as_qty(self, _i: int, after: int, text: str, value: object) -> relating.Verdict:
        if value == lexicon.VAGUE and self.texts[after : after + 1] == ["the"]:  # "few the mugs"
            return ("OUTSIDE", None)
        if text.split(" ")[0] in ("each", "every") and self.previous() == "REL" and self._moves():
            return ("EACH", None)
        before = next((token for token in reversed(self.tokens) if token.kind not in ("SUP", "ORD", "ADJ")), None)
        if text.startswith("one of the") and before is not None and before.kind == "DET" != self.previous():
            before.kind, before.value = "QTY", lexicon.ONE_OF  # "the middle one of the three"
            return True
        return ("QTY", value) if self.opens(after) or self.relating(after) or self.tail[after] else None

    def _as_ord(self, _i: int, after: int, _text: str, value: object) -> relating.Verdict:
        if not value:
            return ("UNCOUNTED", None)
        return (self._order_kind(after), value)

    def _named(self, i: int) -> bool:
        """True if a noun, or "one of" several, is at `i`."""
        return self.nominal(i) or self.texts[i : i + 2] == ["one", "of"]

    def _as_sup(self, i: int, after: int, text: str, value: tuple[str, object]) -> relating.Verdict:
        aside = self.texts[after : after + 1] in (["left"], ["right"]) or not self._named(after)
        if value[0] in lexicon.NEARNESS and aside and self._moves_closer(text):
            return ("CLOSER", None)
        if self.close_to(i) or (text in ("nearest", "closest") and self.previous() == "NOUN" and self._named(after)):
            return ("REL", RelationWords("closest to"))
        if self._named(after) or self.peek(after) & {"OPEN"}:
            return ("SUP", value)
        if text in lexicon.POSITION_WORDS:
            return ("SUP", value) if self.previous() == "DET" and self._of_several_objects(after) else None
        if text.split()[-1] in ("hand", "side"):
            return ("SUP", value) if self.previous() == "DET" and self.peek(after) & {"OF"} else None
        related = self.previous() in SETS.joints and bool(self.peek(after) & {"DET"})
        related = related or (self.previous() in SETS.ended | SETS.predicating and self.opens(after))
        if related and value[0] in lexicon.NEARNESS:
            return ("REL", RelationWords(lexicon.NEARNESS[value[0]]))
        if self.previous() in SETS.ended or self.previous() in SETS.predicating:
            return ("SIDE", value)
        self._drop_predicated_article()
        return ("SIDE" if self.previous() in SETS.predicating else "SUP", value)

    def _of_several_objects(self, i: int) -> bool:
        """True if "of" and a plural are at word `i` ("the middle of the mugs")."""
        if "OF" not in self.peek(i):
            return False
        last = i
        while last + 1 < len(self.words) and (self.peek(last + 1) & {"DET"} or self.nominal(last + 1)):
            last += 1
        return words.singular(self.texts[last]) != self.texts[last]

    def _as_position(self, _i: int, after: int, text: str, value: object) -> relating.Verdict:
        if not self._named(after):
            return None
        if text in ("left", "right") and self.previous() == "NOUN":
            return ("OUTSIDE", None)
        if text in ("near", "back", "far") and self.previous() not in ("DET", "ORD", ""):
            return None
        return ("SUP", value)

    def _as_adj(self, _i: int, after: int, _text: str, value: object) -> relating.Verdict:
        if not self.nominal(after) and self.previous() in SETS.predicating | SETS.ended:
            return ("ADJP", value)
        if [token.kind for token in self.tokens[-2:]] == ["ADJP", "AND"] and not self.nominal(after):
            self.tokens.pop()
            return ("ADJP", value)
        return ("ADJ", value)

    def _as_adjnoun(self, _i: int, after: int, text: str, value: object) -> relating.Verdict:
        if self.peek(after) & {"SUP"} and not self.nominal(after + self.matches(after)[0].length):
            return ("NOUN", text)  # "the tin lowest down"
        if text == "open" and self.previous() in ("NOUN", "PRON") and self.verb_seen and self.tail[after]:
            verb = self.last("VERB")
            if verb is None or verb.value not in ("pull", "push", "slide"):
                return ("OUTSIDE", None)  # "hold the door open"
            verb.value = verb.text = "open"  # "pull the drawer open"
            return True
        if self.nominal(after):
            return ("ADJ", value)
        if self.previous() == "AND" and [token.kind for token in self.tokens[-3:-1]] in _DENIED:
            self.tokens.pop()  # "that is neither red nor orange"
            return ("ADJP", value)
        return ("ADJP", value) if self.previous() in SETS.predicating else ("NOUN", text)

    def _as_alone(self, i: int, after: int, text: str, value: object) -> relating.Verdict:
        """Settle "both" and "either of them": the noun is left out."""
        bare = " " not in text
        if text in ("both", "all") and self.previous() in SETS.ended | SETS.predicating and self.relating(after):
            return True  # "that is both behind the box and left of the can"
        if self.previous() in SETS.premodifiers or (bare and self.opens(after)):
            return None
        if self.nominal(after) or self.peek(after) & {"OF"}:
            return None  # "all three mugs"
        self.emit("QTY", value, i, after - i, text)
        self.emit("NOUN", "one", i, after - i, "one")
        return True

    def _as_other(self, i: int, after: int, text: str, value: object) -> relating.Verdict:
        if value == "another" and self.previous() == "DET" and self.tokens[-1].text in ("the", "my", "your", "our"):
            return ("OUTSIDE", None)  # "the different box": different from what?
        if self.nominal(after) or self.peek(after) & {"NUM", "OTHER"}:
            return ("OTHER", value)
        if self.previous() == "NOUN":
            return ("OUTSIDE", None)
        self.emit("OTHER", value, i, after - i, text)
        self.emit("NOUN", text, i, after - i, "ones" if text == "others" else "one")
        return True

    def _as_or(self, i: int, after: int, text: str, value: object) -> relating.Verdict:
        """Settle "or": after a negation it joins, else it is a choice."""
        if self.last("NOT") is not None:
            return self._as_nor(i, after, text, value)
        return ("OR", None)

    def _as_nor(self, _i: int, after: int, text: str, _value: object) -> relating.Verdict:
        if self.relating(after):
            return ("AND NOT", None)
        if text == "and not":
            return None
        denied = any(token.kind == "NOT" or (token.kind == "REL" and token.value == RelationWords("other than"))
                     for token in self.tokens)  # fmt: skip
        if "nor" in text and not denied:
            return ("OUTSIDE", None)
        elliptic = text == "nor" and self.previous() == "ADJ"  # "neither the red nor the blue one"
        return ("AND", None) if self.opens(after) and (elliptic or self.previous() in SETS.ended) else None

    def _as_and(self, _i: int, after: int, _text: str, value: object) -> relating.Verdict:
        if not self.tokens:
            return True
        describing = self.peek(after) & {"ADJ", "ADJNOUN"} and self.nominal(after) and self.previous() == "ADJ"
        if describing:
            anchor = len(self.tokens) > 2 and self.tokens[-2].kind == "DET" and self.tokens[-3].kind == "REL"
            between = anchor and takes_two(self.tokens[-3].value[0])
            if not between or any(word.text == "and" for word in self.words[after:]):
                return True
        return ("AND", value)

    def _as_side(self, _i: int, after: int, text: str, value: object) -> relating.Verdict:
        if self.nominal(after) or self.peek(after) & {"OF"} or ("REL" in self.phrases[text] and self.opens(after)):
            return None
        if self._moves_closer(text):
            return ("CLOSER", None)
        self._drop_predicated_article()
        return ("SIDE", value)

    def _as_from(self, _i: int, after: int, text: str, value: tuple[str, object]) -> relating.Verdict:
        ordered = self.last("ORD", "PLACED") is not None
        part = self.previous() == "NOUN" and self.tokens[-1].text in lexicon.PARTS
        if text == "from behind" and self.opens(after):
            return None  # "fetch the cup from behind the box"
        if text == "down":
            return ("FROM", value) if ordered and part else None
        if ordered and part and self.peek(after) & {"OF"}:  # "the second shelf from the top of the rack"
            return ("FROM", value)
        last = next((token.kind for token in reversed(self.tokens) if token.kind not in ("NOUN", "ADJ", "COMMA")), "")
        if self.peek(after) & {"OF"} or (value[1] is not None and last not in ("ORD", "PLACED")):
            return None
        if self.nominal(after):
            return ("FROM_BEFORE", value) if self.previous() == "ORD" else None
        return ("FROM", value)

    def _as_particle(self, i: int, after: int, text: str, _value: object) -> relating.Verdict:
        if not self.verb_seen or self.previous() not in SETS.ended | {"VERB"} or self.opens(after):
            return None
        if any(word in ("here", "there") for word in self.texts[i:after]):
            self._note_deictic(i)
        elif text in lexicon.DIRECTIONS and text != "down":
            self.way = self.way or self.words[i:after]
        return True

    def _unknown(self, i: int) -> tuple[str, object]:
        """Kind and value of a word that no phrase of the tables accepts here."""
        text = self.words[i].text
        if text in SETS.without_object and self.at_start and (self.relating(i + 1) or self.tail[i + 1]):
            return "UNKNOWN_VERB", text  # "look inside the box"
        if text[0].isdecimal():
            ordinal = _DIGIT_ORDINAL.fullmatch(text)
            if ordinal:
                counted = ordinal[1].isdecimal() and 0 < int(ordinal[1]) < 1000
                return (self._order_kind(i + 1), int(ordinal[1])) if counted else ("UNCOUNTED", None)
            if _DIGITS.fullmatch(text):
                after = i + 1
                if self.previous() == "NOUN":
                    return self.number_of_name(text, after)
                if not text.isdecimal() or self.lacks_unit(after):
                    return "UNITLESS", None
                return ("NUM", int(text)) if 0 < int(text) < 1000 else ("UNCOUNTED", None)
        if text in lexicon.SIGNS and i + 1 < len(self.words) and self.texts[i + 1][:1].isdecimal():
            return "SIGNED", None
        kinds = self.matches(i)[-1].kinds if self.matches(i) else {}
        return self._fallback(i, kinds), text

    def is_side_alone(self, i: int) -> bool:
        """True if nothing but a side, or a superlative, is at `i`."""
        return bool(self.peek(i) & {"SIDE", "SUP"}) and self.tail[i + self.matches(i)[0].length]

    def lacks_unit(self, after: int) -> bool:
        """True if a number counts nothing, and a relation that may take a distance follows ("5 left of the box")."""
        if self.previous() not in ("", "VERB", "ADJ") or not self.relating(after):
            return False
        described = self.previous() == "ADJ"  # "the glass 5 from the box"
        return self._next_relation(after) in (MEASURED.keys() if described else MEASURED.keys() - {"from", "to"})

    def number_of_name(self, text: str, after: int) -> tuple[str, object]:
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
            return "NOUN" if self.previous() in SETS.premodifiers else "FOREIGN"
        if (
            kinds.keys() == {"GERUND"}
            and self.previous() in SETS.premodifiers | {"REL", "NOUN"}
            and self.nominal(i + 1)
        ):
            return "NOUN"  # "the washing machine"
        ending = self.previous() == "NOUN" and not self.nominal(i + 1)
        if text in lexicon.PURE_VERBS and (ending or self.previous() not in SETS.premodifiers | {"NOUN"}):
            return "VERB_HERE"
        if text in lexicon.NOUNS_TOO:
            return "NOUN"
        if kinds.keys() <= {"FORBID", "FORBID_GERUND"}:  # "the can not behind the cup"
            return self._open_class(i, text)
        if text in SETS.sides_alone and (self.previous() == "NOUN" or self.relating(i + 1)):  # "the left over pizza"
            return "OUTSIDE"
        if ending and kinds and is_participle(text) and not kinds.keys() & {"COMPOUND", "ADJNOUN"}:
            return "PARTICIPLE"
        stands = "POSTURE" in kinds and "POSITION" not in kinds and not text.endswith("s")
        if stands and self.previous() == "NOUN" and not self.nominal(i + 1):
            return "PARTICIPLE"
        return "NOUN" if kinds.keys() & SETS.nouns_elsewhere else "OUTSIDE"

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
        if text[-1] == "m" and distances.is_unit(text) and not (modifier and self.previous() == "NUM"):
            return "UNITLESS"  # "10 full cm"; "the 13 mm socket" has a name
        placed = self.previous() in SETS.premodifiers | {"REL"} or (self.previous() == "VERB" and not self.opens(i + 1))
        if is_outside(text, modifier) and not (text in lexicon.OTHER_VERBS and placed):  # "grab whisk", "behind whisk"
            compared = modifier and (text.endswith("est") or text in COMPARATIVES)
            return "COMPARED" if compared else "UNKNOWN_VERB" if text in lexicon.OTHER_VERBS else "ADVERB"
        if self.previous() == "NOUN" and not modifier and is_participle(text):
            return "PARTICIPLE"
        return "NOUN"

    def _order_kind(self, after: int) -> str:
        """Kind of an ordinal: "PLACED" in "that is the second from the left"."""
        if not self.peek(after) & {"FROM"}:
            return "ORD"
        self._drop_predicated_article()
        return "PLACED" if self.previous() in SETS.predicating else "ORD"

    def _drop_predicated_article(self) -> None:
        """Drop the article of "that is the leftmost"."""
        if self.previous() == "DET" and len(self.tokens) > 1 and self.tokens[-2].kind in SETS.predicating:
            self.tokens.pop()


_ROWS: dict[str, Callable[[Tagger, words.PhraseMatch], relating.Verdict]] = {
    "ADVERB": lambda _, __: True,
    "COMPOUND": lambda _, f: ("NOUN", f.text),
    "FORBID": lambda t, f: t.forbids_verb(f.after, "VERB"),
    "FORBID_GERUND": lambda t, f: t.forbids_verb(f.after, "GERUND"),
    "INTENSIFIER": lambda t, f: (
        "OUTSIDE"  # "a bit further to the left": how far is not said
        if t.at_start and f.text in SETS.a_little and t.is_side_alone(f.after)
        else t.relating(f.after) or (f.text in lexicon.DEGREES and bool(t.peek(f.after) & {"ADJ", "ADJNOUN", "SUP"}))
    ),
    "IS NOT": lambda t, _: "THATIS NOT" if t.continues() else "IS NOT",
    # "do not touch the box" is an order; "the cups do not touch the box" is a statement
    "IS NOT REL": lambda t, f: (
        ""
        if f.text.startswith("do") and (t.at_start or t.previous() in SETS.joints | {"STOP", "THEN"})
        else "IS NOT REL"
    ),
    "IS REL": lambda t, f: "IS REL" if t.states() and t.opens(f.after) else None,
    "NUM": lambda t, f: (
        "UNITLESS" if t.lacks_unit(f.after) else t.number_of_name(f.text, f.after) if t.previous() == "NOUN" else "NUM"
    ),
    "ONE": lambda t, f: "NUM" if t.nominal(f.after) else ("NOUN", f.text),
    "PARTLESS": lambda t, f: None if t.nominal(f.after) or t.peek(f.after) & {"OF"} else "PARTLESS",
    "PORTION": lambda t, _: None if t.previous() in SETS.premodifiers else "PORTION",
    "PRON THATIS": lambda t, f: (
        "PRON THATIS" if t.previous() in SETS.before_pron and t.relating(f.after + ("NOT" in t.peek(f.after))) else None
    ),
    "PRON THATIS NOT": lambda t, f: (
        "PRON THATIS NOT"
        if t.previous() in SETS.before_pron and (t.relating(f.after) or "EQUAL" in t.peek(f.after))
        else None
    ),
    # the second verb of "which is near the cup and sits on the tray"
    "STANDS": lambda t, f: "THATIS" if t.continues() and t.relating(f.after) else None,
    "THATIS NOT": lambda t, f: t.exception(f.after) or "THATIS NOT",
    "THATIS NOT REL": lambda t, f: "THATIS NOT REL" if t.previous() in _BEFORE_RELATIVE and t.opens(f.after) else None,
    "THATIS REL": lambda t, f: "THATIS REL" if t.previous() in _BEFORE_RELATIVE and t.opens(f.after) else None,
    "THERE": lambda t, f: (
        "THERE"
        if t.at_start or (not t.verb_seen and t.previous() in SETS.ended and f.text.startswith("there "))
        else None
    ),
    "TWO_SIDES": lambda t, f: None if t.nominal(f.after) or f.text.endswith(" corner") else "TWO_SIDES",
    "WHICH": lambda t, f: "WHICH" if t.at_start else "THATIS" if f.text == "which" and t.relating(f.after) else None,
    "WHICH IS": lambda t, _: "WHICH IS" if t.at_start else None,
}
"""Kinds whose rule is one condition: the verdict by the tagger and the phrase found.

Longer rules are the methods `_as_KIND`; a kind with neither is always accepted.
"""
_PRIORITY = (
    "FORBID", "FORBID_GERUND", "UNTOUCHED", "GOES",
    "POLITE", "THERE", "HALF", "THATIS NOT REL", "THATIS REL", "IS NOT REL", "VERB", "GERUND", "WHICH IS",
    "PRON THATIS NOT", "PRON THATIS", "COMPOUND", "IS NOT", "IS", "IS REL", "THATIS NOT", "THATIS", "STANDS", "WHICH",
    "THAT", "MEASURE", "ANYWHERE", "PORTION", "ADVERB", "FRAME", "POSITION", "SIDE", "FROM", "EQUAL", "REL", "PARTLESS",
    "TWO_SIDES", "INTENSIFIER", "PARTICLE", "POSTURE", "SUP", "AND", "THEN", "BUT", "NOR", "NOT", "OR", "THAN", "OF",
    "ALONE", "QTY", "OTHER", "DET", "PRON", "PERSON", "SELF", "NUM", "ORD", "ONE", "ADJNOUN", "ADJ",
)  # fmt: skip
"""Order in which the kinds of a phrase are tried."""
_RANKS = {kind: rank for rank, kind in enumerate(_PRIORITY)}
_RULES = {kind: f"_as_{kind.lower().replace(' ', '_')}" for kind in _PRIORITY}
