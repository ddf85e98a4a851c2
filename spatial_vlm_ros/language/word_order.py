# SPDX-License-Identifier: Apache-2.0
"""Constructions whose words stand in another order than in plain English, with their words put in order.

"The round tin's lid" is "the lid of the round tin", "turn the lamp on" is "turn on the lamp". Their words are in
[word_order] of words.toml; a word keeps its span in the instruction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from spatial_vlm_ros.language import acts, lexicon
from spatial_vlm_ros.language.lookahead import JOINTS, NOMINAL, Lookahead
from spatial_vlm_ros.language.patterns import WORDS, phrase_set, word_set
from spatial_vlm_ros.language.relations import INVERSE
from spatial_vlm_ros.language.words import PAIRED, Word

REORDERED = "REORDERED"
"""Role of a word of a construction that is not among the plain words."""

_TABLES = WORDS.under("word_order")
_SIGNS = {name: frozenset(words) for name, words in _TABLES.entries("signs").items()}
"""Each construction, a method below, with words of which one is in it."""
_CONTAINING = _TABLES.meanings("containing")
_PUSHES, _PARTICLES, _SIDES, _SIDE_NOUNS, _ENDS_OF = map(
    _TABLES.words, ("pushes", "particles", "sides", "side_nouns", "ends_of")
)
_PARTS = lexicon.PARTS | _SIDES
_NOT_OWNERS = acts.PEOPLE | lexicon.FUNCTION_WORDS | word_set("robot camera speaker user")
_DESCRIBING = frozenset({"ADJ", "ADJNOUN", "POSITION", "SUP", "ORD"})
_ENDS = JOINTS | {"END", "STOP", "THEN", "THATIS", "NOR"}
_LONGEST = 16
"""Most words of what an object has in it."""


@cache
def phrases(name: str) -> frozenset[tuple[str, ...]]:
    """Phrases of a table of words.toml, or of the verbs, each as its words."""
    return phrase_set(*acts.patterns_of(name)) if name in ("wishes", "goes") else _TABLES.phrases(name)


class _Order(Lookahead):
    """The words of one instruction. A construction's method gives the words in order; None if it is not there."""

    def run(self) -> None:
        texts = frozenset(word.text for word in self.words)
        for name, signs in _SIGNS.items():
            if signs.isdisjoint(texts) if signs else not any(text.endswith("'s") for text in texts):
                continue
            ordered = getattr(self, name)()
            if ordered is not None:
                self.words = ordered
                self.reset()
                texts = frozenset(word.text for word in self.words)

    def said(self, i: int, *names: str) -> int:
        """Number of words of the longest phrase of some tables at word `i`; 0 if there is none."""
        texts = tuple(self.texts[i : i + 8])
        return max(
            (n for n in range(1, len(texts) + 1) if any(texts[:n] in phrases(each) for each in names)), default=0
        )

    def at(self, i: int, *texts: str) -> list[Word]:
        """Other words at a word's place."""
        return [replace(self.words[i], text=text, kind="word") for text in texts]

    def is_sign(self, i: int, *kinds: str) -> bool:
        return 0 <= i < len(self.words) and self.words[i].kind in (kinds or ("comma", "stop"))

    def text(self, i: int) -> str:
        return self.texts[i] if 0 <= i < len(self.texts) else ""

    def named(self, i: int) -> int:
        """Index after the object with a determiner, or the pronoun, at word `i`; `i` if there is none."""
        if self.peek(i) & {"PRON"}:
            return i + 1
        if not self.peek(i) & {"DET", "QTY"}:
            return i
        first = end = i + self.matches(i)[0].length
        while end < len(self.words) and self.nominal(end) and not self.relating(end):
            end += 1
        return end if end > first else i

    def ends(self, i: int) -> bool:
        return i >= len(self.words) or self.tail[i] or bool(self.peek(i) & _ENDS)

    def after_verbs(self) -> Iterator[tuple[int, int, int]]:
        """Each verb that has an object with a determiner, or a pronoun: its first word, the object's, and the next."""
        for i in range(len(self.words) - 2):
            match = next((match for match in self.matches(i) if "VERB" in match.kinds), None)
            if match is not None and (end := self.named(match.after)) > match.after:
                yield i, match.after, end

    # ------------------------------------------------------------------------------------------------ constructions

    def linked(self) -> list[Word] | None:
        """Leave out words that say no more: "pair of" scissors, ", so take it", "first, then", "the very top"."""
        for i in range(1, len(self.words) - 1):
            before, text = self.text(i - 1), self.text(i)
            pair = text == "pair" and self.text(i + 1) == "of" and self.text(i + 2) in PAIRED
            so = text == "so" and self.is_sign(i - 1) and self.peek(i + 1) & {"VERB", "FORBID", "POLITE"}
            first = text == "first" and self.peek(i - 1) & NOMINAL
            first = first and self.peek(i + 1 + self.is_sign(i + 1, "comma")) & {"THEN"}
            very = text == "very" and before == "the" and self.text(i + 1) in _ENDS_OF
            if (pair and before not in ("a", "the")) or so or first or very:
                return [*self.words[:i], *self.words[i + 1 + pair :]]
        return None

    def continued(self) -> list[Word] | None:
        """Write "the pen, the one on the pad" for "the pen. The one on the pad", "the keys, by" for "the keys! By"."""
        for i in range(1, len(self.words) - 2):
            one = self.texts[i + 1 : i + 3] == ["the", "one"] and self.relating(i + 3)
            verbs = any("VERB" in self.peek(n) and self.opens(n + 1) for n in range(i + 1, len(self.words)))
            if self.is_sign(i, "stop") and self.words[i].text != "?" and (one or self.relating(i + 1)) and not verbs:
                return [*self.words[:i], replace(self.words[i], text=",", kind="comma"), *self.words[i + 1 :]]
        return None

    def mentioned(self) -> list[Word] | None:
        """Write "the jar, close it" for "do you see the jar? close it", and "there is" for "I think there is"."""
        believed = self.said(0, "believed")
        said = believed or self.said(0, "seen")
        stop = next((i for i in range(said, len(self.words)) if self.is_sign(i, "stop")), 0)
        if not said or not self.opens(said) or not {"it", "them"} & set(self.texts[stop + 1 :]):
            return None
        if not believed and not (stop and self.peek(stop + 1) & {"VERB"}):
            return None
        signs = [replace(self.words[stop], text=",", kind="comma")] if stop else []
        there = self.at(0, "there", "is") if believed else []
        return [*there, *self.words[said : stop or said], *signs, *self.words[stop + 1 if stop else said :]]

    def picked_out(self) -> list[Word] | None:
        """Write "the lemon that is on the shelf, take it" for "which lemon is on the shelf? take that one"."""
        be = next((i for i in range(1, len(self.words)) if self.text(i) in ("is", "are")), 0)
        stop = next((i for i in range(be, len(self.words)) if self.is_sign(i)), 0)
        verb = next((match for match in self.matches(stop + 1) if "VERB" in match.kinds), None) if be and stop else None
        if self.text(0) not in ("which", "what") or verb is None:
            return None
        taken = self.said(verb.after, "that_one")
        told = self.peek(be + 1) & {"DET", "SUP"} or any("REL" in match.kinds for match in self.matches(be + 1))
        if not taken or not told:
            return None
        noun = self.words[1:be] if be > 1 else self.at(0, "object" if self.text(be) == "is" else "objects")
        order = [*self.words[stop + 1 : verb.after], *self.at(verb.after, "it" if self.text(be) == "is" else "them")]
        comma = replace(self.words[stop], text=",", kind="comma")
        said = [*self.at(0, "the"), *noun, *self.at(be, "that", self.text(be)), *self.words[be + 1 : stop]]
        return [*said, comma, *order, *self.words[verb.after + taken :]]

    def whereabouts(self) -> list[Word] | None:
        """Write "where are my slippers" for "where have my slippers got to"."""
        asked = self.text(0) == "where" and self.text(1) in ("have", "has") and self.opens(2)
        for end in range(3, len(self.words) if asked else 0):
            if gone := self.said(end, "gone"):
                be = self.at(1, "are" if self.text(1) == "have" else "is")
                return [self.words[0], *be, *self.words[2:end], *self.words[end + gone :]]
        return None

    def after_doing(self) -> list[Word] | None:
        """Write "open the drawer, then put" for "after opening the drawer, put"."""
        verb, bases = self.text(1), acts.base_forms()
        comma = next((i for i in range(len(self.words)) if self.is_sign(i, "comma")), 0)
        if self.text(0) != "after" or verb not in bases or not verb.endswith("ing") or not comma:
            return None
        if not self.peek(comma + 1) & {"VERB"}:
            return None
        return [*self.at(1, bases[verb]), *self.words[2:comma], *self.at(comma, "then"), *self.words[comma + 1 :]]

    def viewed(self) -> list[Word] | None:
        """Write "the cup from my side that is" for "the cup that, from my side, is", "its side" for "the cup's"."""
        for i in range(1, len(self.words) - 2):
            if self.texts[i] not in ("that", "which", "from"):
                continue
            first = i + 1 + self.is_sign(i + 1, "comma")
            view = next((match for match in self.matches(first) if "FRAME" in match.kinds), None)
            if self.texts[i] != "from" and view is not None:
                after = view.after + self.is_sign(view.after, "comma")
                if self.peek(after) & {"IS", "STANDS", "POSTURE"} or self.text(after).endswith("s"):
                    start = i
                    while self.is_sign(start - 1, "comma") or self.text(start - 1) == "and":
                        start -= 1
                    said = [*self.words[first : view.after], *self.words[start:i], *self.at(i, "that")]
                    return [*self.words[:start], *said, *self.words[after:]]
            owner = next((n for n in range(i + 2, i + 5) if self.text(n).endswith("'s")), 0)
            length = self.said(owner + 1, "views") if owner and self.text(i + 1) == "the" else 0
            noun = self.text(owner).removesuffix("'s")
            if length and noun in self.texts[:i] and noun not in _NOT_OWNERS:
                own = self.at(owner, "its", "own", "side")
                return [*self.words[: i + 1], *own, *self.words[owner + 1 + length :]]
        return None

    def described_later(self) -> list[Word] | None:
        """Write "pass the cup that is behind it" for "pass the cup. It's behind it"; "and put it" for "it goes"."""
        for verb, _, end in self.after_verbs():
            i = end + self.is_sign(end)
            moves = any(match.kinds.get("VERB") in lexicon.MOVING for match in self.matches(verb))
            told = self.said(i, "it_is") or (not moves and self.said(i, "likely"))
            if told and self.relating(i + told) and self.text(i + told) != "for":  # "it's for my mother" is a reason
                return [*self.words[:end], *self.at(i, "that", "is"), *self.words[i + told :]]
            goes = self.said(i + 1, "goes") if moves and i > end and self.text(i) in ("it", "they") else 0
            if goes and self.relating(i + 1 + goes):
                pronoun = "it" if self.text(i) == "it" else "them"
                return [*self.words[:end], *self.at(i, "and", "put", pronoun), *self.words[i + 1 + goes :]]
        return None

    def wished(self) -> list[Word] | None:
        """Write "put the mug on the tray" for "I want the mug to go on the tray"."""
        said = self.said(0, "wishes")
        if not said or not self.opens(said) or self.peek(said) & {"PERSON"}:  # "I'd like you to go to the desk"
            return None
        named = self.named(said)
        for i in range(said + 1, len(self.words)):
            to = self.said(i, "to_go", *(["put"] if i == named else []))
            if to and self.relating(i + to):
                return [*self.at(0, "put"), *self.words[said:i], *self.words[i + to :]]
        return None

    def given(self) -> list[Word] | None:
        """Write "push the switch" for "give the switch a push"."""
        for i, first, end in self.after_verbs():
            last = end + 1 + (self.text(end + 1) not in _PUSHES)  # "a good push"
            gives = self.text(i) == "give" and first == i + 1 and self.text(end) in ("a", "an")
            if gives and self.text(last) in _PUSHES and self.ends(last + 1):
                return [*self.words[:i], self.words[last], *self.words[first:end], *self.words[last + 1 :]]
        return None

    def parted(self) -> list[Word] | None:
        """Write "turn on the lamp" for "turn the lamp on", where that is another act than "turn"."""
        for i, first, end in self.after_verbs():
            if first == i + 1 and self.text(end) in _PARTICLES and self.ends(end + 1):
                alone, whole = (
                    self.phrases.get(said, {}) for said in (self.text(i), f"{self.text(i)} {self.text(end)}")
                )
                if "VERB" in whole and whole["VERB"] != alone.get("VERB"):
                    return [*self.words[:first], self.words[end], *self.words[first:end], *self.words[end + 1 :]]
        return None

    def flanked(self) -> list[Word] | None:
        """Write "between the pan and the box" for "with the pan on one side and the box on the other"."""
        for i in range(1, len(self.words)):
            has = self.said(i, "having")
            first = next((n for n in range(i, len(self.words)) if has and self.said(n, "one_side")), len(self.words))
            after = first + self.said(first, "one_side")
            other = next((n for n in range(after, len(self.words)) if self.said(n, "other_side")), after)
            joint = next((n for n in range(after, other) if self.text(n) == "and" or self.is_sign(n, "comma")), None)
            if joint is not None:
                two = [*self.words[i + has : first], *self.at(joint, "and")]
                two += self.words[joint + 1 + (self.text(joint + 1) == "and") : other]
                between = self.at(i, *(["that", "is"] if has > 1 else []), "between")
                return [*self.words[:i], *between, *two, *self.words[other + self.said(other, "other_side") :]]
        return None

    def stranded(self) -> list[Word] | None:
        """Write "the box with the keys in it" for "the box (that) the keys are in"."""
        for i in range(1, len(self.words) - 2):
            related = self.text(i) in ("that", "which")
            end = self.named(i + related)
            if end < i + related + 2 or self.text(end) not in ("is", "are"):
                continue
            at = end + 1
            while "POSTURE" in self.peek(at) and not self.peek(at) & {"REL", "SIDE"}:
                at += self.matches(at)[0].length
            relation = next((match for match in self.matches(at) if "REL" in match.kinds), None)
            if relation is None or relation.kinds["REL"].name not in INVERSE:
                continue
            over = self.ends(relation.after) or (related and self.relating(relation.after))
            if over and self.nominal(i - 1) and "VERB" not in self.peek(i - 1):
                rest = [*self.words[at : relation.after], *self.at(relation.after - 1, "it")]
                return [
                    *self.words[:i], *self.at(i, "with"), *self.words[i + related : end], *rest,
                    *self.words[relation.after :],
                ]  # fmt: skip
        return None

    def held(self) -> list[Word] | None:
        """Write "containing the spoon" for "with the spoon inside"; "with the spoon in it" is plain."""
        for i in range(len(self.words) - 2):
            has = next((n for n in range(4, 0, -1) if " ".join(self.texts[i : i + n]) in _CONTAINING), 0)
            named = self.named(i + has) if has else i
            for end in range(named, min(len(self.words), i + _LONGEST)) if named > i + has else ():
                if self.peek(end) & {"VERB", "THEN", "STOP", *JOINTS} and not self.peek(end) & {"NOUN"}:
                    break
                said = self.said(end, "inside", *(["in_it"] if end > named else []))
                if said and self.ends(end + said):
                    verb = "support" if self.text(end) == "on" else "contain"
                    new = _CONTAINING[" ".join(self.texts[i : i + has])].replace("_", " ").replace("VERB", verb)
                    new_words = self.at(i, *new.split())
                    return [*self.words[:i], *new_words, *self.words[i + has : end], *self.words[end + said :]]
        return None

    def owned(self) -> list[Word] | None:
        """Write "the lid of the round tin" for "the round tin's lid", "the left of the cup" for "the cup's left".

        "The cup's broken" is "the cup is broken".
        """
        for i in range(1, len(self.words) - 1):
            owner = self.text(i).removesuffix("'s")
            if owner == self.text(i) or self.text(i) in self.phrases or owner in _NOT_OWNERS:
                continue
            if "ADJ" in self.peek(i + 1) and self.ends(i + 2):  # "the cup's broken, take it"
                return [*self.words[:i], replace(self.words[i], text=owner), *self.at(i, "is"), *self.words[i + 1 :]]
            first = i - 1
            while first > 0 and self.nominal(first):
                first -= 1
            last = i + 1 + (own := self.text(i + 1) == "own")
            while self.peek(last) & _DESCRIBING and self.text(last + 1) in _PARTS:
                last += 1
            if not self.peek(first) & {"DET"} or self.text(last) not in _PARTS or self.text(first - 1) == "from":
                continue
            while self.text(last + 1) in _SIDE_NOUNS:
                last += 1
            side = self.text(last) in _SIDES | _SIDE_NOUNS
            if side or not (own or (last == i + 1 and i == first + 1)):  # "the jar's lid" is one noun
                part = [*self.at(i + 1, "the"), *self.words[i + 1 + own : last + 1], *self.at(last, "of")]
                view = self.at(i + 1, "from", "its", "own", "side") if own else []
                whole = [*self.words[first:i], replace(self.words[i], text=owner)]
                return [*self.words[:first], *part, *whole, *view, *self.words[last + 1 :]]
        return None


def in_order(words: list[Word]) -> tuple[list[Word], Lookahead | None]:
    """The words with each construction in the order of plain English, and lookups of them if there were any."""
    signs = {word.text for word in words}
    if all(signs.isdisjoint(each) for each in _SIGNS.values()) and not any(text.endswith("'s") for text in signs):
        return words, None
    order = _Order(list(words))
    order.run()
    return order.words, order
