# SPDX-License-Identifier: Apache-2.0
"""Turn words into tokens of relations and clauses: distances, comparatives, "other than", earlier places, "that is"."""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile
from typing import Literal

from spatial_vlm_ros.language import distances, lexicon
from spatial_vlm_ros.language.patterns import SETS
from spatial_vlm_ros.language.vocabulary import INVERSE, MEASURED, RelationWords, is_framed
from spatial_vlm_ros.language.words import Lookahead, Token, Word
from spatial_vlm_ros.types import FrameOfReference

Verdict = tuple[str, object] | str | bool | None
"""Result of a rule for a phrase: a kind to emit, perhaps with a value, True = drop the words, False or None = no."""

_BEFORE_DISTANCE = SETS.ended | SETS.predicating | {"", "AND", "BUT", "COMMA", "DIST"}
_OTHER_THAN = RelationWords("other than")
_MOVED = lexicon.MOVING | {"push", "pull", "slide", "throw"}
_TOWARDS: tuple[tuple[list[str], FrameOfReference | None], ...] = (
    (["to", "the"], None), (["towards", "the"], None), (["to", "my"], FrameOfReference.SPEAKER),
    (["to", "your"], FrameOfReference.ROBOT), (["to"], None), ([], None),
)  # fmt: skip
_AT_A_DISTANCE = "at a distance from"
_JOINING = frozenset({"by", "with", *(f"with a {room} of" for room in ("distance", "spacing", "space", "gap"))})
"""Words that join a distance to the relation before it ("left of the box by 10 cm")."""


class RelationTagger(Lookahead):
    """The rules about relations and clauses; `tagging.Tagger` adds those about commands, nouns and unknown words."""

    def __init__(self, words: list[Word], known: Lookahead | None = None) -> None:
        super().__init__(words, known)
        self.at_start = True  # only polite words were read so far
        self.verb_seen = False
        self.asked = False  # polite words were read
        self.gerund_seen = False  # a verb in "-ing" was read ("would you mind opening")
        self.forbids = False  # the words just read forbid the act of the next verb ("don't")
        self.deictic: list[Word] = []  # the "here" or "there" that was dropped first
        self.way: list[Word] = []  # the words of the direction that was dropped first ("back", "away")

    def distance(self, i: int) -> int | None:
        """Read a distance at word `i`; return the index after it, or None if there is none."""
        if not self.measurable:
            return None
        span = distances.range_at(self.texts, i)
        if span:
            self.emit("RANGE", None, i, span, " ".join(self.texts[i : i + span]))
            return i + span
        if self.texts[i] in lexicon.SIGNS and (signed := distances.distance_at(self.texts, i + 1)) is not None:
            self.emit("SIGNED", None, i, 1 + signed.length, "")
            return i + 1 + signed.length
        joined = distances.longest_at(self.texts, i, _JOINING)[1]  # "by 10 cm"
        said = distances.distance_at(self.texts, i + joined)
        if said is None:
            return None
        after = i + joined + said.length
        if self.previous() not in _BEFORE_DISTANCE:
            return None
        if self.previous() == "NOT" and said.distance is not None and self.texts[i + 1] == "than":
            self.tokens.pop()  # "that is not less than 10 cm behind the box"
            bound: Literal["at most", "at least"] = "at least" if said.distance.bound == "at most" else "at most"
            said = said._replace(distance=replace(said.distance, bound=bound))
        if said.distance is None:
            self.emit("VAGUE", None, i, after - i, " ".join(self.texts[i:after]))
            return after
        follows = self.texts[after] if after < len(self.texts) else ""
        end = after + distances.longest_at(self.texts, after, distances.DISTANCE_ENDS)[1]  # "10 cm away"
        if end > after and self.texts[end - 1] in ("it", "them") and self._append_distance(said, True):
            self.swallow(i, end, "DIST")
            return end
        apart = self.texts[i : i + 4] == ["at", "a", "distance", "of"]
        before = self._next_relation(after) not in MEASURED or (apart and follows != "from")
        elsewhere = before and self._append_distance(said, not joined)
        if elsewhere:
            self.swallow(i, after, "DIST")
            return after
        if not joined and (self.relating(after) or (follows == "of" and said.bounded)):
            self.emit("DIST", said.distance, i, after - i, "")
            return after
        if self._append_distance(said, self.texts[i] == "by" or joined > 1 or end > after or apart):
            self.swallow(i, end, "DIST")
            return end
        if follows and self.relating(end):
            self.emit("DIST", said.distance, i, end - i, "")
            return end
        self.emit("DIST", said.distance, i, after - i, "")
        return after

    def shifted(self, i: int) -> int | None:
        """Read a shift of an object's position ("10 cm to the left"); return the index after it, or None."""
        verb = self.last("VERB", "REL")
        said = distances.distance_at(self.texts, i)
        if (
            verb is not None and verb.kind == "REL" and said is not None
        ):  # "push the block on the tray 10 cm to the left"
            verb = self.last("VERB")
            verb = None if verb is None or verb.value == "place" else verb
        if verb is None or verb.value not in SETS.shifted or self.previous() not in ("NOUN", "PRON", "ONE"):
            return None
        side = self._side_of_shift(i + said.length if said is not None else i)
        if side is None:
            return None
        after = (i + said.length if said is not None else i) + side[1]
        if said is None:
            after += self.texts[after : after + 1] == ["by"]
            said = distances.distance_at(self.texts, after)
            after += 0 if said is None else said.length
        viewed = any("FRAME" in match.kinds for match in self.matches(after))
        related = self.opens(after) or self.relating(after) or self.texts[after : after + 1] in (["of"], ["from"])
        related = related and not viewed
        if said is None or said.distance is None or related:
            return None
        words = RelationWords(lexicon.SHIFTS[side[0]], frame=side[2], motion=True, distance=said.distance)
        self.emit("REL", words, i, after - i, "to the " + side[0])
        self.emit("NOUN", lexicon.ITSELF, i, after - i, lexicon.ITSELF)
        return after

    def _side_of_shift(self, i: int) -> tuple[str, int, FrameOfReference | None] | None:
        """The side that words at `i` name as a direction ("to my left"), their number, and whose side it is."""
        for before, frame in _TOWARDS:
            side = self.texts[i + len(before) : i + len(before) + 1]
            if self.texts[i : i + len(before)] == before and side and side[0].removesuffix("wards") in lexicon.SHIFTS:
                return side[0].removesuffix("wards"), len(before) + 1, frame
        return None

    def _next_relation(self, i: int) -> str:
        """Name of the relation at word `i`; a relation that takes a distance if there is none."""
        found = next(
            (match.kinds["REL"] for match in self.matches(self.after_fillers(i)) if "REL" in match.kinds), None
        )
        return _AT_A_DISTANCE if found is None else str(found.name)

    def _append_distance(self, said: distances.SaidDistance, fits: bool) -> bool:
        relation = self.last("REL", "VERB")
        if not fits or relation is None or relation.kind == "VERB":
            return False
        if relation.value.name not in MEASURED or relation.value.distance is not None or relation.text in SETS.ways:
            return False
        relation.value = relation.value._replace(name=MEASURED[relation.value.name], distance=said.distance)
        if self.previous() == "COMMA":
            self.tokens.pop()
        return True

    def _as_rel(self, i: int, after: int, text: str, value: RelationWords) -> Verdict:
        if self.previous() == "DIST":
            if text in SETS.ways:
                return ("UNMEASURED", None)
            distance, name = self.tokens.pop().value, MEASURED.get(value.name)
            return ("UNMEASURED", None) if name is None else ("REL", value._replace(name=name, distance=distance))
        if text.endswith(" from") and any("FRAME" in match.kinds for match in self.matches(after - 1)):
            return None  # "to the left from my perspective"
        if "ADJ" in self.phrases[text] and self.nominal(i):
            return None  # "the round tray"
        if text == "before" and self.last("VERB") is not None and self.previous() in SETS.ended:
            return ("TIME", None)  # "grab the cup before the plate"
        if text in lexicon.SIGNS and self.peek(after) & {"NUM", "ORD", "ONE"}:
            return ("SIGNED", None)
        if text == "to" and self._wishes() and not self.peek(after) & SETS.openers:
            return ("WISHED", None)  # "I want the cup to stay on the tray"
        if text.startswith("out of") and self.previous() in ("QTY", "NUM"):
            return ("PORTION", None)  # "three out of five mugs"
        if text in ("from", "out from") and "REL" in self.peek(after) and not self.opens(after):
            return True  # "from behind the box"
        if (
            value is not None
            and value.name == _OTHER_THAN.name
            and self.relating(after)
            and self.previous() in SETS.ended
        ):
            return ("BUT NOT", None)  # "anywhere except near the plate"
        if text == "by" and self._grips(after):
            return ("GRIP", None)
        if text.endswith(" nothing"):  # "with nothing in it"
            self.emit("REL", value, i, after - i, text)
            return ("PRON", ("object", None))
        if self._moves_closer(text):
            return ("CLOSER", None)
        superlative = self._distance_superlative(text)
        if superlative is not None:
            return self._distance_to(superlative, i)
        others = self.matches(i)[0].kinds.keys() & {"SIDE", "PARTICLE", "INTENSIFIER"}
        fits = self.opens(after) or self.peek(after) & {"FRAME", "COMMA", "OPEN"}
        if text == "outside" and not fits and self.previous() in SETS.ended | SETS.predicating:
            return ("ADJP", "loose")  # "the duck that is outside"
        if "PARTICLE" in others and not self.opens(after) and (self.previous() == "PRON" or self.tail[after]):
            return None  # "hand it over, please"
        return ("REL", value) if fits or not others else None

    def _grips(self, after: int) -> bool:
        """True if "by" says where to hold an object ("grab the mug by the handle")."""
        verb = self.last("VERB", "THATIS")
        if verb is None or verb.value not in SETS.held_by_parts:
            return False
        if self.texts[after : after + 1] in (["the"], ["a"], ["an"]):
            after += 1
        while self.peek(after) & {"ADJ", "ADJNOUN", "SUP", "POSITION"} and self.texts[after] not in lexicon.GRIPS:
            after += self.matches(after)[0].length
        found = after < len(self.texts) and self.texts[after] in lexicon.GRIPS
        return found and self.texts[after + 1 : after + 2] != ["of"] and not self.nominal(after + 1)

    def _moves_closer(self, text: str) -> bool:
        """True if a comparative describes a destination ("bring the cup closer to me")."""
        verb = self.last("VERB", "THATIS")
        if verb is None or verb.kind != "VERB" or text.split(" ")[0] not in SETS.comparatives or text.endswith(" than"):
            return False
        brought = verb.value == "give" and verb.text.startswith("bring") and verb.text not in ("bring me", "bring us")
        return (brought or verb.value in _MOVED - {"give", "pick"}) and self.previous() in ("NOUN", "PRON")

    def _as_equal(self, _i: int, _after: int, _text: str, value: tuple[str, bool]) -> Verdict:
        """Settle "not as tall as", which is shorter than; "as tall as" itself is refused by name."""
        if self.previous() != "NOT":
            return None
        name, negated = value
        if not negated:
            self.tokens.pop()
        return ("REL", RelationWords(name))

    def _distance_superlative(self, text: str) -> Token | None:
        """The "closest" of "the closest mug to …", or the "farthest" of "the farthest mug from …"."""
        superlative = {"to": "nearest", "from": "farthest"}.get(text)
        for token in reversed(self.tokens if superlative else ()):
            if token.kind == "SUP" and token.value[0] == superlative and token.text not in lexicon.POSITION_WORDS:
                return token
            if token.kind not in ("NOUN", "ADJ"):
                return None
        return None

    def _distance_to(self, superlative: Token, i: int) -> Verdict:
        """Settle "the closest mug to the camera" (a frame) and "the closest mug to the box" (a relation)."""
        for length in (3, 2):
            where = " ".join(word.text for word in self.words[i + 1 : i + length])
            side = self.phrases.get(f"nearest to {where}", {}).get("SIDE")
            if side and len(self.words) >= i + length and not self.nominal(i + length):
                superlative.value = (superlative.value[0], side[1])
                self.swallow(i + 1, i + length, "FRAME")
                for _ in range(length - 1):
                    self.words.pop(i + 1)
                self.reset()
                return True
        self.tokens.remove(superlative)
        return ("REL", RelationWords(lexicon.NEARNESS[superlative.value[0]]))

    def _as_half(self, _i: int, after: int, _text: str, value: RelationWords) -> Verdict:
        """Settle the "left" of "left and right of the box"."""
        if self.texts[after : after + 1] != ["and"]:
            return None
        j = self.after_fillers(after + 1)
        full = j < len(self.words) and "REL" in self.peek(j) and self.opens(j + self.matches(j)[0].length)
        return (
            ("REL", value) if full and self.previous() in SETS.ended | SETS.predicating | {"", "REL", "AND"} else None
        )

    def states(self) -> bool:
        """True if a verb may state a relation of the object before it ("the mug touches the box")."""
        return self.previous() in SETS.ended and self.last("VERB", "IS") is None

    def _wishes(self) -> bool:
        """True if the last verb is a wish ("I want the cup …")."""
        verb = self.last("VERB")
        return verb is not None and verb.text in lexicon.WISHED and self.previous() in SETS.ended

    def _as_is(self, _i: int, after: int, _text: str, value: object) -> Verdict:
        if self.continues():
            return ("THATIS", value)  # "that is behind the box, is red and is near the cup"
        said = self.last("REL", "THATIS", "SIDE") if self.verb_seen or self.last("THATIS") else None
        compares = said is not None and said.kind == "REL" and said.text.endswith((" than", " as"))
        if compares and self.previous() == "NOUN" and not self.peek(after) & {"ADJ", "ADJNOUN", "SUP"}:
            return True  # "taller than the bowl is"
        if any(token.kind == "DET" and token.text in lexicon.RELATIVE_CHOICES for token in self.tokens):
            return ("THATIS", value)  # "whichever mug is nearest"
        return (self.verb_seen and self.tail[after]) or ("IS", value)

    def continues(self) -> bool:
        """True if a further "is" continues what "that is" began ("… that is behind the box, is red")."""
        return self.previous() in SETS.joints and self.last("THATIS") is not None

    def _as_posture(self, _i: int, after: int, text: str, _value: object) -> Verdict:
        if text in lexicon.PUT_DOWN and self._wishes() and self.relating(after):
            return ("WISHED", None)
        if text in SETS.verbs_or_nouns and self.verb_seen and self.previous() == "NOUN":
            return None  # "give me the cake stands"
        if text in ("sat", "stood") and not self.verb_seen:
            return None  # "the cat sat on the mat" tells a story
        if self.previous() in SETS.ended | SETS.predicating | SETS.joints and self.relating(after):
            return True
        if (
            self.previous() in SETS.ended
            and self.peek(after) & {"ADJ"}
            and not self.nominal(after + self.matches(after)[0].length)
        ):
            return True  # "standing upright"
        return (text.endswith(("see", "seen", "visible")) and self.previous() in SETS.ended | SETS.predicating) or None

    def _as_frame(self, _i: int, after: int, _text: str, value: tuple[object, object]) -> Verdict:
        if self.nominal(after):
            return None
        if value == (FrameOfReference.OBJECT, None):  # "from its own side": "it" is the last object with a viewpoint
            for token in takewhile(lambda token: token.kind != "VERB", reversed(self.tokens)):
                if token.kind == "REL" and token.value.frame is None and is_framed(token.value.name):
                    token.value = token.value._replace(frame=FrameOfReference.OBJECT)
                    return True
        return ("FRAME", (value[0], False))

    def _as_not(self, _i: int, after: int, text: str, value: object) -> Verdict:
        if text == "neither" and not self.relating(after):
            if self.previous() == "THATIS" and self.peek(after) & SETS.openers:
                return ("REL", _OTHER_THAN)
            if self.previous() not in SETS.predicating or not self.peek(after) & {"ADJ", "ADJNOUN"}:
                return self.exception(after) or ("OUTSIDE", None)
        return self.exception(after) or ("NOT", value)

    def _as_but(self, _i: int, after: int, _text: str, value: object) -> Verdict:
        if self.previous() == "NOUN" and self.tokens[-1].text == lexicon.SURFACE and self.relating(after):
            return ("BUT NOT", value)  # "anywhere but on the tray"
        return self.exception(after) or ("BUT", value)

    def exception(self, after: int) -> Verdict:
        """Settle "but the red one" and ", not the red one": other than that."""
        before = next((token.kind for token in reversed(self.tokens) if token.kind not in SETS.joints), "")
        named = bool(self.peek(after) & (SETS.openers | {"ALONE"})) and not self.relating(after)
        if before not in SETS.ended or not named:
            return None
        while self.previous() in ("COMMA", "BUT", "AND"):
            self.tokens.pop()
        return ("REL", _OTHER_THAN)

    def _as_than(self, _i: int, after: int, _text: str, _value: object) -> Verdict:
        """Settle the "than" of "any other mug than the red one"."""
        for token in reversed(self.tokens):
            if token.kind == "OTHER" and self.opens(after):
                token.kind, token.value = "DET", lexicon.ANY if token.value == "another" else None
                return ("REL", _OTHER_THAN)
            if token.kind not in ("NOUN", "ADJ"):
                break
        return ("THAN", None)

    def _as_pron(self, _i: int, after: int, text: str, value: object) -> Verdict:
        if text == "this" and self.nominal(after):
            return ("DET", None)
        return (text in ("it", "them") and self._turned()) or ("PRON", value)

    def _turned(self) -> bool:
        """Settle "with the cup in it": the relation to "it" the other way round."""
        if self.previous() != "REL" or self.tokens[-1].value.name not in INVERSE:
            return False
        first = len(self.tokens) - 2
        while first >= 0 and self.tokens[first].kind in SETS.phrase:
            first -= 1
        if first < 0 or first == len(self.tokens) - 2 or self.tokens[first].kind != "REL":
            return False
        having = self.tokens[first].value.name
        if having not in ("with", "without"):
            return False
        inner = self.tokens.pop().value
        self.tokens[first].value = inner._replace(name=INVERSE[inner.name])
        if having == "without":
            self.tokens.insert(first, replace(self.tokens[first], kind="NOT", value=None))
        return True

    def earlier_place(self, i: int) -> int | None:
        """Read "inside" or "there" of a later command ("… and put the mug inside"); return the index after it."""
        verbs = [token for token in self.tokens if token.kind == "VERB"]
        if len(verbs) < 2 or verbs[-1].value not in _MOVED or self.previous() not in ("NOUN", "PRON"):
            return None
        for length in (3, 2, 1):
            text = " ".join(self.texts[i : i + length])
            after = i + length
            ends = after <= len(self.words) and (self.tail[after] or bool(self.peek(after) & {"AND", "THEN", "COMMA"}))
            if text in lexicon.STEP_PLACES and ends and not (self.peek(after) & {"AND"} and self.opens(after + 1)):
                self.emit("REL", RelationWords(lexicon.STEP_PLACES[text]), i, length, text)
                self.emit("PRON", ("object", None), i, length, "it")
                return after
        return None

    def _as_of(self, _i: int, after: int, _text: str, value: object) -> Verdict:
        if self.previous() == "DIST":
            return ("REL", RelationWords(_AT_A_DISTANCE, distance=self.tokens.pop().value))
        if self.previous() == "NUM" and self._kind_before(2) == "REL" and self.tokens[-2].text == "within":
            return ("UNITLESS", None)
        if self.previous() in ("QTY", "NUM"):
            every = self._kind_before(2) == "QTY" and self.tokens[-2].value == -1  # "all three of the mugs"
            if self.previous() == "NUM" and self.peek(after) & SETS.openers and not every:
                self.tokens[-1].value = (lexicon.ANY, self.tokens[-1].value)
            self.tokens[-1].kind = "QTY"
            return True
        if self._of_several(after):
            return True
        if self.previous() == "NOUN" and self.tokens[-1].text == "one" and self._kind_before(2) in ("SUP", "ORD"):
            self.tokens.pop()
        first = 3 if self._kind_before(2) == "ORD" else 2  # "the second tallest of the mugs"
        if self.previous() in ("SUP", "ORD") and self._kind_before(first) == "DET":
            self.tokens[-first].kind, self.tokens[-first].value = "QTY", lexicon.ONE_OF
            return True
        part = self.previous() == "NOUN" and self.tokens[-1].text in lexicon.PARTS and self.opens(after)
        if part or self.peek(after) & (SETS.openers - {"QTY"}):
            return ("REL", RelationWords("part of"))
        return ("OF", value)

    def _of_several(self, after: int) -> bool:
        """Settle "the taller mug of the two", whose number only tells the size of the group."""
        there = self.texts[after : after + 1] == ["the"] and self.peek(after + 1) == {"NUM"}
        if not there or self.nominal(after + 2):
            return False
        for token in reversed(self.tokens):
            if token.kind in ("SUP", "ORD"):
                self.swallow(after, after + 2, "QTY")
                del self.words[after : after + 2]
                self.reset()
                return True
            if token.kind not in ("NOUN", "ADJ"):
                break
        return False

    def _kind_before(self, n: int) -> str:
        return self.tokens[-n].kind if len(self.tokens) >= n else ""
