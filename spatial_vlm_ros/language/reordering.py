# SPDX-License-Identifier: Apache-2.0
"""Rewrite constructions into the word order that the grammar knows.

"The tray that the mug is on" is "the tray supporting the mug", "the mug, which from my side is left of the box" is "the
mug from my side which is left of the box", and "the mug should go on the tray" is "the mug, put it on the tray".
"""

from __future__ import annotations

from collections.abc import Callable

from spatial_vlm_ros.language import acts, lexicon
from spatial_vlm_ros.language.lookahead import JOINTS, RELATING, Lookahead
from spatial_vlm_ros.language.patterns import expand
from spatial_vlm_ros.language.relations import INVERSE
from spatial_vlm_ros.language.simplifying import phrases_of
from spatial_vlm_ros.language.stating import OTHER_VERBS, Stating
from spatial_vlm_ros.language.words import Word, singular
from spatial_vlm_ros.types import FrameOfReference

_RELATIVES = frozenset({"that", "which"})
_ENDS = frozenset(
    {"END", "STOP", "COMMA", "AND", "NOR", "BUT", "THATIS", "THATIS NOT", "THEN", "CLOSE", "WHICH", "THAT", "FRAME"}
)
_MOST_REWRITTEN = 24  # most changes of words in one sentence; more than anybody says
_LONGEST_BETWEEN = 30  # words of the object in "the tray that the mug … is on"
_SPOTS = phrases_of(
    "over? to|in|at|into|on|onto the|a free|empty|open|clear? spot|area|space|place|location|position|region"
)
"""Words that only introduce the next relation ("to the spot in front of")."""
_GOES = phrases_of(*acts.patterns_of("goes"))
"""Words that say where an object is to go."""
_WISHED = phrases_of(*acts.patterns_of("wished_to_go"))
"""The same after a wish ("I want the mug to go …")."""
_PUTTING = frozenset({"put", "place", "set", "lay", "drop"})
_ONE_SIDE = phrases_of("on|to|at one side|hand")
_OTHER_SIDE = phrases_of("on|to|at the other|opposite side|hand?", "on another")  # fmt: skip
_HAVING = phrases_of("with", "having", "that|which has|have|had", "has|have", "without", "that|which does|do not have",
                   "that|which doesn't|don't have")  # fmt: skip
_WITH_NO = phrases_of("with|having no", "that|which has|have|had no")
_GIVES = phrases_of("give", "hand", "pass", "bring", "fetch", "get", "hand over", "deliver", "offer", "throw", "take")
_GIVEN = acts.words_of("given")
_ALONE = phrases_of("alone", "be", "untouched", "in peace|place", "where|as it|they is|are", "as is")
"""Ends of "leave the cup alone"."""
_INSIDE = {"inside": "containing", "inside it": "containing", "within": "containing", "within it": "containing",
           "in it": "containing", "inside them": "containing", "in them": "containing", "inside of it": "containing",
           "on top": "supporting", "on it": "supporting", "on top of it": "supporting", "on them": "supporting",
           "upon it": "supporting", "on its top": "supporting"}  # fmt: skip
"""Position of an object that another one contains."""
_HELD = phrases_of(*_INSIDE)


class _Order(Stating):
    """Bring the words of one instruction into order; each word keeps its span in the instruction."""

    def run(self) -> None:
        """Bring the words into the order of the grammar."""
        if not self.words:
            return
        for rewrite in (
            self._minding,
            self._purpose,
            self._left_alone,
            self._leading_view,
            self._back_there,
            self._wished_there,
            self._stated,
            self._stated_place,
            self._counted,
            self._apposed,
            self._wished_moved,
            self._seen_anywhere,
            self._first,
            self._it_goes,
            self._then,
            self._it_is,
            self._place_first,
            self._pulled_open,
            self._topic,
            self._goes,
            self._give_a_push,
            self._recipient,
            self._switch,
            self._after_doing,
        ):
            rewrite()
        for i in range(len(self.words)):
            if i < len(self.words) and self.texts[i] in _RELATIVES and self.rewritten < _MOST_REWRITTEN:
                self._view_in_relative(i)
        i = 0
        while i < len(self.words) and self.rewritten < _MOST_REWRITTEN:
            self._spot(i)
            length = self._longest(i, _WITH_NO)
            if length and self.nominal(i + length):
                self._put(i, length, "without", "any")
            if self.texts[i] in _RELATIVES:
                self._stranded(i)
            if self._longest(i, _HAVING):
                self._on_either_side(i)
                self._had(i)
                self._underlaid(i)
            rewrite_word = _BY_WORD.get(self.texts[i])
            if rewrite_word is not None:
                rewrite_word(self, i)
            i += 1

    # -------------------------------------------------------------------------------------------- helpers

    def _finished(self, i: int) -> bool:
        """True if a relation that ends before word `i` has no anchor after it."""
        return bool(
            self.tail[i]
            or self.peek(i) & _ENDS
            or (self.peek(i) & (RELATING | {"POSTURE", "INTENSIFIER"}) and self.relating(i))
        )

    # -------------------------------------------------------------------------------------------- topics

    def _left_alone(self) -> None:
        """Write "don't touch the cup" for "leave the cup alone"."""
        ends = frozenset({"COMMA", "STOP", "AND", "BUT", "THEN"})
        for first in [i for i, text in enumerate(self.texts) if text == "leave" and self.opens(i + 1)]:
            if first > self.polite() and not self.peek(first - 1) & ends:
                continue
            for i in range(first + 2, len(self.words)):
                length = self._longest(i, _ALONE)
                if length and (self.tail[i + length] or self.peek(i + length) & ends):
                    self._put(i, length)
                    self._put(first, 1, "don't", "touch")
                    return

    def _place_first(self) -> None:
        """Write "put the ball left of the box" for "left of the box put the ball"."""
        if _PUTTING.isdisjoint(self.texts[2:]):
            return
        first = self.polite()
        if not self.relating(first) or not self.peek(first) & {"REL"}:
            return
        verb = next((i for i in range(first + 2, len(self.words) - 1) if self.texts[i] in _PUTTING), None)
        if "and" in self.texts[first:]:
            return
        if verb is None or not self.opens(verb + 1) or set(self.texts[first:verb]) & acts.PURE_VERBS:
            return
        if any("REL" in self.peek(i) and self.relating(i) for i in range(verb, len(self.words))):
            return
        end = next(i for i in range(verb, len(self.words) + 1) if self.tail[i])
        place = self.words[first : verb - self._sign(verb - 1, "comma")]
        self.words[first:end] = [*self.words[verb:end], *place]
        self.rewritten += 1
        self.reset()

    def _leading_view(self) -> None:
        """Move a viewpoint from the start of the sentence to its end."""
        first = self.polite()
        found = next((m for m in self.matches(first) if "FRAME" in m.kinds), None) if first < len(self.words) else None
        if found is None or found.kinds["FRAME"][0] is FrameOfReference.OBJECT or found.length == 0:
            return
        after = first + found.length
        if self.nominal(after) and not self.peek(after) & {"VERB", "POLITE"}:
            return  # "in the view box"
        view = self.words[first : first + found.length]
        closing = self._sign(first + found.length, "comma")
        end = next(i for i in range(len(self.words) + 1) if self.tail[i])
        if end <= first + found.length + closing:
            return
        rest = self.words[first + found.length + closing : end]
        comma = Word(",", view[0].start, view[0].start, "comma")  # "10 cm away, from my side"
        self.words[first:end] = [*rest, comma, *view]
        self.reset()

    def _goes(self) -> None:
        """Write "the mug, put it on the tray" for "I want the mug to go on the tray" and "the mug goes on the tray"."""
        first = self.polite()
        wish = 0
        for start in (first, 0):
            if self._wish(start):
                first, wish = start, self._wish(start)
                break
        if not wish and not self.opens(first):
            return
        for i in range(first + wish + 1, len(self.words)):
            length = self._longest(i, _WISHED if wish else _GOES)
            if any(self._orders(j + 1) for j in range(i, len(self.words)) if self.words[j].kind in ("comma", "stop")):
                continue  # "the dog lives in the garden; give me the ball"
            is_part = self.texts[i : i + 2] in (["belongs", "to"], ["belong", "to"])
            if self.words[i - 1].kind != "word" or is_part or self.texts[i : i + 2] == ["go", "to"]:
                continue
            if length and self.relating(i + length) and self.texts[i - 1] not in _RELATIVES:
                self._put(i, length, ",", "put", "it")
                self._put(0, first + wish)
                return

    def _give_a_push(self) -> None:
        """Write "push the mug" for "give the mug a push"."""
        if "give" not in self.texts:
            return
        i = self.texts.index("give")
        if not self.opens(i + 1) or self.peek(i + 1) & {"PERSON"}:
            return
        for j in range(i + 2, len(self.words) - 1):
            length = 1 + (self.texts[j + 1] in ("little", "gentle", "quick", "light", "small"))
            noun = self.texts[j + length] if j + length < len(self.words) else ""
            if self.texts[j] in ("a", "an") and noun in _GIVEN and self._finished(j + length + 1):
                self._put(i, 1, noun)
                self._put(j, length + 1)
                return

    def _switch(self) -> None:
        """Write "turn on the lamp" for "turn the lamp on"."""
        for i in range(len(self.words) - 2):
            if self.texts[i] not in ("turn", "switch") or not self.opens(i + 1) or self.peek(i + 1) & {"REL"}:
                continue
            for j in range(i + 2, min(i + 7, len(self.words))):
                if self.texts[j] in ("on", "off") and self._finished(j + 1):
                    state = self.texts[j]
                    self._put(j, 1)
                    self._put(i, 1, "turn", state)
                    return

    def _after_doing(self) -> None:
        """Write "open the box, put …" for "after opening the box, put …"."""
        i = self.polite()
        for phrase in ("after",):
            length = self._at(i, phrase)
            if length and i + length < len(self.words):
                verb = next((m for m in self.matches(i + length) if "GERUND" in m.kinds), None)
                if verb is not None and self.opens(i + length + verb.length):
                    said = [phrase for pattern in acts.ACTIONS[verb.kinds["GERUND"]] for phrase in expand(pattern)]
                    self._put(i, length + verb.length, *min(said, key=len).split(" "))
                    return

    # -------------------------------------------------------------------------------------------- relative clauses

    def _view_in_relative(self, i: int) -> None:
        """Write "from my side that is left of" for "that, from my side, is left of"."""
        first = i + 1 + self._sign(i + 1, "comma")
        length = 1 if self._sign(first, "view") else 0
        own = False
        if not length and first < len(self.words):
            found = next((match for match in self.matches(first) if "FRAME" in match.kinds), None)
            length = found.length if found is not None else 0
            own = found is not None and found.kinds["FRAME"][0] is FrameOfReference.OBJECT
        if not length:
            return
        after = first + length
        closing = self._sign(after, "comma")
        joint = i
        while joint > 0 and self.peek(joint - 1) & JOINTS:
            joint -= 1
        view = self.words[first:after]
        if own:
            view = [Word("", view[0].start, view[-1].end, "own view")]
        self.rewritten += 1
        self.words[joint : after + closing] = [*view, *self.words[joint : i + 1]]
        self.reset()

    def _stranded(self, i: int) -> None:
        """Write "supporting the mug" for "that the mug is on"."""
        if not self.opens(i + 1) or "THATIS" in self.peek(i):
            return
        for j in range(i + 2, min(i + _LONGEST_BETWEEN, len(self.words) - 1)):
            negated = self.texts[j] in ("isn't", "isnt", "aren't", "arent")
            if not negated and self.texts[j] not in ("is", "are"):
                if self.texts[j] in _RELATIVES and "THATIS" in self.peek(j):
                    continue
                if any("VERB" in match.kinds and " " in match.text for match in self.matches(j)):
                    return
                continue
            k = j + 1
            if self.texts[k] == "not":
                negated, k = True, k + 1
            while k < len(self.words) and self.peek(k) & {"POSTURE", "INTENSIFIER"} and not self.peek(k) & {"REL"}:
                k += self.matches(k)[0].length
            relations = [m for m in self.matches(k) if "REL" in m.kinds] if k < len(self.words) else []
            said = [m for m in relations if not m.kinds["REL"].motion]  # "the box that it is in to the left of"
            found = said[0] if said and self._finished(k + said[0].length) else None
            if found is None:
                continue
            inverse = INVERSE.get(found.kinds["REL"].name)
            if inverse is None:
                return
            self._put(j, k + found.length - j)
            self._put(i, 1, *(("that", "is", "not") if negated else ("that", "is")), *inverse.split(" "))
            return

    def _beyond(self, i: int) -> None:
        """Write "on the other side of the box from the cup" for "… as seen from the cup"."""
        if self.texts[i + 1 : i + 3] not in (["seen", "from"], ["viewed", "from"]) or not self.opens(i + 3):
            return
        seen = any("FRAME" in match.kinds for match in self.matches(i)) or self._sign(i + 2, "view")
        beyond = any(self.texts[j : j + 2] in (["side", "of"], ["beyond", "the"]) for j in range(i))
        if beyond and not seen:
            self._put(i, 2)

    # -------------------------------------------------------------------------------------------- having

    def _having(self, i: int) -> tuple[int, tuple[str, ...]]:
        """Number of words of "with" or "that has" at word `i`, and the words that begin its relation."""
        length = self._longest(i, _HAVING)
        if self.texts[i] in ("has", "have") and not (i and self.peek(i - 1) & JOINTS):
            return 0, ()
        for before in range(max(0, i - 4), i):  # "in contact with"
            if any(
                "REL" in " ".join(match.kinds) and before + match.length == i + length for match in self.matches(before)
            ):
                return 0, ()
        begin = ("that", "is") if self.texts[i] in _RELATIVES else ()
        denied = {"not", "doesn't", "don't", "without"} & set(self.texts[i : i + length])
        return length, (*begin, "not") if denied else begin

    def _recipient(self) -> None:
        """Write "hand the scissors to the nurse" for "hand the nurse the scissors"."""
        first = self.polite()
        verb = self._longest(first, _GIVES)
        if not verb:
            return
        begin = first + verb
        determined = self.texts[begin : begin + 1] and self.texts[begin] in lexicon.DETERMINERS
        person = begin + bool(determined)
        named = person < len(self.words) and {self.texts[person], singular(self.texts[person])} & acts.PEOPLE
        given = person + 1
        if not named or not self.peek(given) & {"DET", "QTY"}:  # not "the baby bottle"
            return
        whom = self.words[begin:given]
        end = next(i for i in range(len(self.words) + 1) if self.tail[i])
        if end <= given:
            return
        to = Word("to", whom[0].start, whom[0].start)
        self.words[begin:end] = [*self.words[given:end], to, *whom]
        self.rewritten += 1
        self.reset()

    def _on_either_side(self, i: int) -> None:
        """Write "between the mug and the box" for "with the mug on one side and the box on the other"."""
        length, begin = self._having(i)
        if not length:
            return
        for j in range(i + length + 1, min(i + _LONGEST_BETWEEN, len(self.words))):
            one = self._longest(j, _ONE_SIDE)
            if not one:
                continue
            for k in range(j + one + 1, min(j + _LONGEST_BETWEEN, len(self.words))):
                other = self._longest(k, _OTHER_SIDE)
                if other and not self._at(k + other, "of"):
                    self._put(k, other)
                    joined = self.texts[j + one : j + one + 1] == ["and"]
                    self._put(j, one + joined, "and")
                    self._put(i, length, *begin, "between")
                    return
            return

    def _spot(self, i: int) -> None:
        """Write "in front of the box" for "to the spot in front of the box"."""
        length = self._longest(i, _SPOTS)
        known = any("REL" in match.kinds and match.length > length for match in self.matches(i)) if length else False
        if length and not known and self.relating(i + length) and not self.peek(i + length) & {"OF"}:
            self._put(i, length)

    def _had(self, i: int) -> None:
        """Write "containing the mug" for "with the mug inside" and "that has the mug in it"."""
        length, begin = self._having(i)
        if not length or not self.opens(i + length):
            return
        for j in range(i + length + 1, min(i + _LONGEST_BETWEEN, len(self.words))):
            if self.texts[j] in _RELATIVES and not self.relating(j + 1) and not self.peek(j) & {"THATIS", "THATIS NOT"}:
                return
            held = self._longest(j, _HELD)
            if not held or not self._finished(j + held):
                continue
            relation = _INSIDE[" ".join(self.texts[j : j + held])]
            self._put(j, held)
            self._put(i, length, *begin, relation)
            return


_BY_WORD: dict[str, Callable[[_Order, int], None]] = {
    "": _Order._on_its_side,  # a comma
    "as": _Order._beyond,
    "her": _Order._her,
    "and": _Order._and_motion,
    "its": _Order._its,
    "like": _Order._like,
    "number": _Order._numbered,
    "where": _Order._where_it_is,
    **dict.fromkeys(("pair", "pairs"), _Order._paired),
    **dict.fromkeys(OTHER_VERBS, _Order._other_verb),
    **dict.fromkeys(("give", "hand", "pass", "bring"), _Order._it_me),
}
"""Rules to try at a word."""


def reorder(words: list[Word]) -> Lookahead:
    """Rewrite constructions into the word order that the grammar knows."""
    order = _Order(list(words))
    order.run()
    return order
