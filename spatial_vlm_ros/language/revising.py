# SPDX-License-Identifier: Apache-2.0
"""Words that stop, take back what was said, offer a choice, or make an order depend on what is seen.

A request to stop is never a command and never a noun. A sentence that begins with one of the plain words ("stop, grab
the box"), or ends with one ("grab the box, stop!"), is one, too, so a stop is never lost in a command. The milder words
("wait", "never mind") count only if nothing else is said. Phrases are in acts.toml, words around them in answers.toml.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from itertools import dropwhile, groupby

from spatial_vlm_ros.budgets import MAX_LENGTH
from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import distances, lexicon, vocabulary
from spatial_vlm_ros.language.patterns import SETS, WORDS, all_phrases, read_table, word_set
from spatial_vlm_ros.language.words import PAIRED, Lookahead, Token, Word, split

REORDERED = "REORDERED"
"""Role of a word of a construction that is not among the plain words."""

_TABLES = WORDS.under("word_order")
_CONSTRUCTIONS = {name: frozenset(words) for name, words in _TABLES.entries("signs").items()}
"""Each construction, a method below, with words of which one is in it."""
_CONTAINING = _TABLES.meanings("containing")
_PUSHES, _PARTICLES, _SIDES, _SIDE_NOUNS, _ENDS_OF = map(
    _TABLES.words, ("pushes", "particles", "sides", "side_nouns", "ends_of")
)
_PARTS = lexicon.PARTS | _SIDES
_NOT_OWNERS = lexicon.PEOPLE | lexicon.FUNCTION_WORDS | word_set("robot camera speaker user")
_ENDS = SETS.joints | {"END", "STOP", "THEN", "THATIS", "NOR"}
_LONGEST = 16
"""Most words of what an object has in it."""


@cache
def _by_first_word(table: str) -> dict[str, list[tuple[str, ...]]]:
    found: dict[str, list[tuple[str, ...]]] = {}
    phrases = _TABLES.phrases(table) if table in _TABLES.read else lexicon.phrases_of(table)
    for phrase in sorted(phrases, key=len, reverse=True):
        found.setdefault(phrase[0], []).append(phrase)
    return found


def phrase_at(table: str, texts: Sequence[str], i: int) -> tuple[str, ...]:
    """The longest phrase of [word_order] or of a table of the verbs that begins at a word; empty if none does."""
    phrases = _by_first_word(table).get(texts[i], ()) if i < len(texts) else ()
    return next((phrase for phrase in phrases if tuple(texts[i : i + len(phrase)]) == phrase), ())


class _Order(Lookahead):
    """The words of one instruction. A construction's method gives the words in order; None if it is not there."""

    def run(self) -> None:
        texts = frozenset(word.text for word in self.words)
        for name, signs in _CONSTRUCTIONS.items():
            if signs.isdisjoint(texts) if signs else not any(text.endswith("'s") for text in texts):
                continue
            ordered = getattr(self, name)()
            if ordered is not None:
                self.words = ordered
                self.reset()
                texts = frozenset(word.text for word in self.words)

    def said(self, i: int, *names: str) -> int:
        """Number of words of the longest phrase of some tables at word `i`; 0 if there is none."""
        return max(len(phrase_at(each, self.texts, i)) for each in names)

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

    def linked(self) -> list[Word] | None:
        """Leave out words that say no more: "pair of" scissors, ", so take it", "first, then", "the very top"."""
        for i in range(1, len(self.words) - 1):
            before, text = self.text(i - 1), self.text(i)
            pair = text == "pair" and self.text(i + 1) == "of" and self.text(i + 2) in PAIRED
            so = text == "so" and self.is_sign(i - 1) and self.peek(i + 1) & {"VERB", "FORBID", "POLITE"}
            first = text == "first" and self.peek(i - 1) & SETS.nominal
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
        verb, bases = self.text(1), lexicon.base_forms()
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
            if relation is None or relation.kinds["REL"].name not in vocabulary.INVERSE:
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
                if self.peek(end) & {"VERB", "THEN", "STOP", *SETS.joints} and not self.peek(end) & {"NOUN"}:
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
            while self.peek(last) & SETS.sided and self.text(last + 1) in _PARTS:
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
    if all(signs.isdisjoint(each) for each in _CONSTRUCTIONS.values()) and not any(
        text.endswith("'s") for text in signs
    ):
        return words, None
    order = _Order(list(words))
    order.run()
    return order.words, order


_PHRASE = SETS.describing | {"DET", "QTY", "NOUN", "OTHER"}

_STOPPING = read_table("answers")["stopping"]
PLAIN = word_set(_STOPPING["plain"])
"""Words that stop whenever they begin or end an instruction."""
AROUND = word_set(_STOPPING["around"])
"""Words around them without effect."""
_NOT_TO = word_set(_STOPPING["not_to"])
_OBJECTS_AFTER = word_set(_STOPPING["objects_after"])
_NAMED_BY = word_set(_STOPPING["named_by"])
_LONGEST_STOP = 8  # words of a request
_STOP_PHRASES = all_phrases((*lexicon.STOP_WORDS, *lexicon.WAIT_WORDS))
_DOUBLED = re.compile(r"(.)\1+")
_DRAWN: dict[str, str] = {_DOUBLED.sub(r"\1", word): word for word in _STOPPING["drawn"].split()} | _STOPPING["spelled"]


def check_idioms(words: Sequence[Word], instruction: str) -> None:
    """Refuse a figure of speech: "give me a hand" asks for no hand."""
    texts = [*(word.text if word.kind == "word" else "," for word in words), ""]
    for first in range(len(words)):
        phrase = phrase_at("idioms", texts, first)
        after = first + len(phrase)
        if phrase and (phrase[-1] in ("of", "with") or texts[after] in SETS.after_idioms):
            reason = "this is a figure of speech, which asks for no object"
            repair = 'name the object and what to do: "take the cup"'
            raise NotUnderstoodError(instruction, (words[first].start, words[after - 1].end), reason, repair)


def without_condition(words: list[Word]) -> tuple[list[Word], bool]:
    """The words without "if there is" before an object and an order about it; True if it was there."""
    length = len(phrase_at("conditions", [word.text for word in words], 0))
    return words[length:], length > 0


def corrected(words: list[Word]) -> list[Word]:
    """The words without what corrections take back: "the white mug, no, the blue one" is "the blue mug".

    Only where one part may be meant; other corrections stay, and are refused by name.
    """
    while (shorter := _corrected_once(words)) is not words:
        words = shorter
    return words


def _corrected_once(words: list[Word]) -> list[Word]:
    texts = [word.text for word in words]
    for i in range(1, len(words) - 1):
        mark = phrase_at("correction_marks", texts, i)
        if not mark:
            continue
        before, after = i, i + len(mark)
        while before and (words[before - 1].kind in SETS.signs or texts[before - 1] in SETS.around):
            before -= 1
        while after < len(words) and (words[after].kind in SETS.signs or texts[after] in SETS.around):
            after += 1
        while len(again := phrase_at("correction_marks", texts, after)) > 1:
            after += len(again)
        after += after < len(words) and words[after].kind == "comma"
        alone = after == i + len(mark) and texts[i - 1] != ","
        colours = (
            before
            and after < len(words)
            and {texts[before - 1], texts[after]} <= lexicon.BASE_COLOURS | lexicon.NOUN_COLOURS
        )
        if mark == ("no",) and after == i + 1 and not colours and not SETS.no_before.intersection(texts[i + 1 : i + 2]):
            continue
        if alone and mark in (("rather",), ("actually",)):  # "the rather large cup"
            continue
        if not before or after >= len(words):
            return words
        first = max((n + 1 for n in range(before) if texts[n] == "then"), default=0)
        if any(word.kind in ("stop", "comma") for word in words[first:before]):
            return words
        return _replaced(words, first, before, after, not SETS.denying.isdisjoint(texts[before:after]))
    return words


def _replaced(words: list[Word], first: int, before: int, after: int, denies: bool) -> list[Word]:
    """The words in which those after a mark stand for what it takes back; `denies`: a whole order ("no", "sorry")."""
    seen, texts, rest = Lookahead(list(words)), [word.text for word in words], list(words[after:])
    cut, kinds = None, seen.peek(after)
    relations = [n for n in range(first, before) if seen.relating(n) and seen.peek(n) & {"REL", "SIDE"}]
    lengths = ((n, distances.distance_at(texts[:before], n)) for n in range(first, before))
    measured = next((n for n, said in lengths if said is not None and n + said.length == before), None)
    begins = next((n for n in range(first, before) if "VERB" in seen.peek(n) or texts[n] in SETS.questions), None)
    if seen.peek(before - 1) & {"NUM", "ONE"} and kinds & {"NUM", "ONE"}:
        cut = before - 1
    elif measured is not None and distances.distance_at(texts, after):
        cut = measured
    elif texts[after] == "from":
        sides = [n for n in range(first, before) if texts[n] == "from"]
        cut = sides[0] if len(sides) == 1 else None
    elif seen.relating(after):
        open_end = bool(relations) and relations[-1] + seen.matches(relations[-1])[0].length == before
        cut = relations[-1] if len(relations) == 1 or open_end else None
        back = next((n for n, word in enumerate(rest) if word.text in ("it", "them")), None)
        own = any(seen.peek(after + n) & {"DET", "QTY"} for n in range(back or 0))
        if cut is not None and back is not None and not own:  # "in the box, no, next to it"
            named = next((n for n in range(cut, before) if seen.peek(n) & {"DET", "QTY"}), before)
            rest[back : back + 1] = words[named:before]
            cut = cut if named < before else None
    elif (
        begins is not None
        and ("VERB" in kinds or texts[after] in SETS.questions)
        and SETS.back.isdisjoint(texts[after:])
    ):
        forbids = any("FORBID" in seen.peek(n) for n in range(first, before))
        orders = texts[after] in SETS.questions or seen.opens(after + seen.matches(after)[0].length)
        cut = begins if denies and orders and not forbids else None
    elif "ADJ" in kinds and "ADJ" in seen.peek(before - 1):
        cut = before - 1
    else:
        determiners = [n for n in range(first, before) if seen.peek(n) & {"DET", "QTY"}]
        alone = len(determiners) == 1 and not relations and seen.opens(after) and not kinds & {"PRON"}
        cut = determiners[0] if alone else None
        one = next((n for n, word in enumerate(rest) if word.text == "one"), None)
        if one and words[before - 1].text != "one" and "DET" not in seen.peek(before - 1):
            denied = SETS.denying.intersection(texts[before:after]) - SETS.refining
            described = alone and one == 1 and not denied  # "the red cup, I mean the one on the tray" is red
            noun = words[determiners[0] + 1 : before] if described else words[before - 1 : before]
            rest[one : one + 1] = [replace(rest[one], text=word.text) for word in noun]
        it = next((n for n, word in enumerate(rest) if word.text in ("it", "them")), 0)
        if alone and it and Lookahead(rest).peek(it - 1) & {"REL"}:  # "the coke, no, the sprite next to it"
            rest[it : it + 1] = words[determiners[0] : before]
        comma = next((n for n, word in enumerate(rest) if word.kind == "comma"), len(rest))
        if Lookahead(rest).relating(comma + 1):  # "the pan, no, the pot, on the stove"
            del rest[comma]
    takes_back = cut is not None and not SETS.empty.issuperset(texts[cut:before])
    return [*words[:cut], *rest] if takes_back else words


def choices(tokens: list[Token]) -> list[list[Token]]:
    """The sentences of a choice: "take the red or the blue cup" is one about each of them."""
    at = next((i for i, token in enumerate(tokens) if token.kind == "OR"), None)
    forbids = any(
        str(token.value).startswith((lexicon.AVOID, lexicon.FORBIDDEN)) for token in tokens if token.kind == "VERB"
    )
    if at is None or forbids:  # "don't take the red or the blue cup" forbids both
        return [tokens]
    begin, end = at, at + 1
    while begin and tokens[begin - 1].kind in _PHRASE:
        begin -= 1
    while end < len(tokens) and tokens[end].kind in _PHRASE:
        end += 1
    one, other, rest = map(_with_sides, (tokens[begin:at], tokens[at + 1 : end], tokens[end:]))
    nouns = [token for token in other if token.kind == "NOUN"]
    whole = any(token.kind == "NOUN" for token in one)
    described = {token.kind for token in one} & {token.kind for token in other} & SETS.describing
    if not nouns or not (whole or described) or any(token.kind == "OR" for token in rest):
        return [tokens]
    if not whole:
        one = [*one, *nouns]
    if other[0].kind not in ("DET", "QTY", "NUM") and one[0].kind == "DET":
        other = [one[0], *other]
    return [[*tokens[:begin], *part, *rest] for part in (one, other)]


def _with_sides(tokens: Sequence[Token]) -> list[Token]:
    """The tokens with "left" as a side of a noun that is said later ("the left or the right one")."""
    return [
        replace(token, kind="SUP", value=(lexicon.POSITION_WORDS[token.text], None))
        if token.kind == "NOUN" and token.text in lexicon.POSITION_WORDS else token
        for token in tokens
    ]  # fmt: skip


@lru_cache(maxsize=4096)
def _undrawn(text: str) -> str:
    return _DRAWN.get(_DOUBLED.sub(r"\1", text), text)


def stops(instruction: str) -> bool:
    """True if words ask to stop; they need not be understood otherwise."""
    return isinstance(instruction, str) and asks_to_stop(split(instruction[:MAX_LENGTH]))


def waits(instruction: str) -> bool:
    """True if words that ask to stop only ask to wait."""
    said = f" {' '.join(word.text for word in split(instruction[:MAX_LENGTH]) if word.kind == 'word')} "
    waiting, stopping = (
        any(f" {phrase} " in said for phrase in all_phrases(table))
        for table in (lexicon.WAIT_WORDS, lexicon.STOP_WORDS)
    )
    return waiting and not stopping


def asks_to_stop(words: Sequence[Word]) -> bool:
    """As `stops`, for words that are already split."""
    texts = [_undrawn(word.text) if word.kind == "word" else "" for word in words]
    parts = [list(part) for said, part in groupby(texts, bool) if said]
    parts = [part for part in parts if PLAIN.intersection(part) or not AROUND.issuperset(part)]
    if not parts:
        return False
    if all(map(_is_request, parts)):
        return True
    first = list(dropwhile(lambda text: text in AROUND - PLAIN, parts[0]))
    if first[0] in PLAIN and _OBJECTS_AFTER.isdisjoint(first[1:2]):
        return True
    said = parts[-1]
    if len(parts) > 1 and PLAIN.intersection(said) and _is_request(said):
        return True
    while said and said[-1] in AROUND - PLAIN:
        said = said[:-1]
    alone = len(said) > 2 and said[-1] in PLAIN and _NOT_TO.isdisjoint(said)
    return alone and said[-2] not in _NAMED_BY and "ADJ" not in vocabulary.phrase_table().get(said[-2], {})


def _is_request(part: Sequence[str]) -> bool:
    """True if words are one request or several in a row, with only harmless words around them."""
    i, found = 0, False
    while i < len(part):
        ends = range(min(i + _LONGEST_STOP, len(part)), i, -1)
        end = next((end for end in ends if " ".join(part[i:end]) in _STOP_PHRASES), 0)
        if not end and part[i] not in AROUND:
            return False
        i, found = end or i + 1, found or end > 0
    return found
