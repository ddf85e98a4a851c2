# SPDX-License-Identifier: Apache-2.0
"""What stands in a question about space: its noun phrases, predicates, distances, lengths and places."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Sequence
from typing import Literal

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import question_words as tables
from spatial_vlm_ros.language.lexicon import NUMBERS
from spatial_vlm_ros.language.patterns import expand, word_set
from spatial_vlm_ros.language.relations import INVERSE
from spatial_vlm_ros.language.vocabulary import phrase_table
from spatial_vlm_ros.language.wordlists import CONTAINERS
from spatial_vlm_ros.language.words import Word
from spatial_vlm_ros.types import NounPhrase, RelationClause, SpaceQuestion, SpatialQuery
from spatial_vlm_ros.types.query import Length

Readings = list[SpatialQuery]
_MOST_READ = 600  # words read by the grammar for one question, over all ways to part it: a long one ends soon
_CROSSED = 6  # readings of each of two phrases that are crossed
_METRIC = frozenset({"left of", "right of", "in front of", "behind", "above", "below", "under"})
_OF_PREDICATES = frozenset(
    ("REL", "SIDE", "ADJ", "ADJNOUN", "ADJP", "NOT", "SUP", "ORD", "POSTURE", "INTENSIFIER", "EQUAL", "IS REL", "NUM",
     "HALF")
)  # fmt: skip
_FIRST_OF_PREDICATES = NUMBERS.keys() | word_set("""
    the my a an not neither either both within at less more no about around half exactly in
""")
_OPPOSITE = {"left of": "right of", "right of": "left of", "in front of": "behind", "behind": "in front of",
             "next to": "next to", "near": "near", "above": "below", "below": "above", "under": "above",
             "touching": "touching", "against": "against"}  # fmt: skip


class SlotReader:
    """Reads the parts of one question.

    Args:
        words: words of the instruction.
        instruction: as given.
        read: the grammar of instructions.
        later: whether something was said before, so that "it" stands for that.
    """

    def __init__(
        self,
        words: Sequence[Word],
        instruction: str,
        read: Callable[[list[Word]], Sequence[SpatialQuery]],
        later: bool = False,
    ) -> None:
        self.words, self.instruction, self._read, self.later = list(words), instruction, read, later
        self._left = _MOST_READ
        self.marked = any(word.kind == "stop" and word.text.startswith("?") for word in self.words[-1:])

    # -------------------------------------------------------------------------------------------- words

    def stripped(self) -> list[Word]:
        """The words without signs and pleasantries at the end, and without leading signs."""
        words = list(self.words)
        while words:
            if words[-1].kind in ("comma", "stop"):
                words.pop()
                continue
            length = max((len(p) for p in tables.CLOSINGS if self._ends(words, p)), default=0)
            if not length or length >= len(words):
                break
            before = words[-length - 1]
            if before.text in tables.ARTICLES or before.text in tables.BE or before.text in ("how", "the"):
                break
            if length == 1 and words[-1].text in ("right", "robot", "about", "then") and before.kind != "comma":
                break
            del words[-length:]
        return words

    @staticmethod
    def _ends(words: Sequence[Word], phrase: tuple[str, ...]) -> bool:
        return tuple(word.text for word in words[-len(phrase) :]) == phrase

    @staticmethod
    def phrase_at(words: Sequence[Word], i: int, phrases: Collection[tuple[str, ...]]) -> int:
        """Number of words of the longest of some phrases at word `i`; 0 where there is none."""
        texts = tuple(word.text for word in words[i : i + 8])
        return max((n for n in range(1, len(texts) + 1) if texts[:n] in phrases), default=0)

    @staticmethod
    def written(at: Word, *texts: str) -> list[Word]:
        """Other words in a word's place."""
        return [Word(text, at.start, at.end) for text in texts]

    def without(self, words: list[Word], patterns: tuple[str, ...], first: bool = False) -> list[Word]:
        """The words without the phrases of some patterns, wherever they are, or where they are `first`."""
        phrases = {tuple(phrase.split()) for pattern in patterns for phrase in expand(pattern)}
        kept: list[Word] = []
        i = 0
        while i < len(words):
            length = self.phrase_at(words, i, phrases) if not (first and kept) else 0
            if length:
                i += length
            else:
                kept.append(words[i])
                i += 1
        return kept

    def without_tail(self, words: list[Word], texts: Collection[str]) -> list[Word]:
        """The words without some words at their end."""
        words = list(words)
        while len(words) > 1 and words[-1].text in texts:
            words.pop()
        return words

    def without_there(self, words: list[Word]) -> list[Word]:
        """The words without "is there" before "between"."""
        length = self.phrase_at(words, 0, tables.phrase_set("is|are there? left?", "there is|are", "do you see"))
        after = words[length].text if length < len(words) else ""
        return words[length:] if length and after in ("between", "from", "of") else words

    def view_last(self, words: list[Word]) -> list[Word]:
        """A point of view that the question starts with, put at its end."""
        table = phrase_table()[0]
        for length in range(min(8, len(words) - 1), 1, -1):
            if "FRAME" in table.get(" ".join(word.text for word in words[:length]), {}):
                rest = words[length:]
                while rest and rest[0].kind == "comma":
                    rest = rest[1:]
                return [*rest, *words[:length]] if rest else words
        return words

    def unfinished(self, words: Sequence[Word]) -> NotUnderstoodError:
        """The error for a question that stops too early."""
        start, end = (words[0].start, words[-1].end) if words else (0, len(self.instruction))
        return NotUnderstoodError(
            self.instruction, (start, end), "this question does not name what it asks about",
            'say it with an object, for example "how far is the mug from the box?"',
        )  # fmt: skip

    # -------------------------------------------------------------------------------------------- slots

    def read(self, words: list[Word]) -> Readings:
        """Readings of words by the grammar of instructions."""
        self._left -= len(words)
        if not words or self._left < 0:
            raise self.unfinished(self.words)
        return list(self._read(words))

    def only(self, readings: Readings, action: Literal["find", "verify"], words: Sequence[Word]) -> Readings:
        """Readings that are no order.

        Raises:
            NotUnderstoodError: an order is in the same sentence.
        """
        first = readings[0]
        if first.action != action or first.steps or first.destination is not None:
            raise NotUnderstoodError(
                self.instruction, (words[0].start, words[-1].end), "a question and an order are in one sentence",
                "ask the question alone, and give the order after its answer",
            )  # fmt: skip
        return [r for r in readings if r.action == action and not r.steps and r.destination is None]

    def only_nouns(self, readings: Readings, words: Sequence[Word]) -> Readings:
        """As `only`, of noun phrases."""
        return self.only(readings, "find", words or self.words)

    def noun(self, words: list[Word]) -> Readings:
        """Readings of a noun phrase; "a cup" is any cup.

        Raises:
            NotUnderstoodError: it is none.
        """
        if not words:
            raise self.unfinished(self.words)
        return self.only_nouns(self.read(words), words)

    def any_of(self, readings: Readings, words: Sequence[Word]) -> Readings:
        """The same, whichever of them is meant where an indefinite article was said."""
        if not words or words[0].text not in ("a", "an", "another", "some"):
            return readings
        return [
            dataclasses.replace(r, target=dataclasses.replace(r.target, choice="any")) if r.target.count in (None, 1)
            else r for r in readings
        ]  # fmt: skip

    def made(self, reading: SpatialQuery, action: str, question: SpaceQuestion) -> SpatialQuery:
        """A reading as one of the question."""
        return dataclasses.replace(reading, instruction=self.instruction, action=action, question=question)

    def crossed(self, first: Readings, second: Readings) -> list[tuple[SpatialQuery, NounPhrase]]:
        """Readings of two phrases, each of one with each of the other."""
        pairs = itertools.product(first[:_CROSSED], second[:_CROSSED])
        return [(dataclasses.replace(a, preference=a.preference * b.preference), b.target) for a, b in pairs]

    # -------------------------------------------------------------------------------------------- predicates

    def predicate(self, words: list[Word]) -> list[SpaceQuestion]:
        """What is asked of an object: "behind the box", "red", "the tallest one", "visible".

        Raises:
            NotUnderstoodError: it is no predicate.
        """
        texts = tuple(word.text for word in words)
        if not texts:
            raise self.unfinished(self.words)
        if texts in tables.SEEN:
            return [SpaceQuestion("exists")]
        if texts[0] in ("a", "an"):
            return [SpaceQuestion("whether", asked=r.target) for r in self.noun(words)]
        if texts[0] in tables.NO_PREDICATES:
            raise self.unfinished(words)
        if texts[0] in ("the", "my"):
            return [SpaceQuestion("whether", other=r.target) for r in self.noun(words)]
        if texts[0] in tables.SUPERLATIVE_OF and len(texts) == 1:
            return [
                SpaceQuestion("whether", other=r.target) for r in self.noun([*self.written(words[0], "the"), *words])
            ]
        nearer = self._nearer(words, texts)
        if nearer is not None:
            return nearer
        readings = self.only(self.read([*self.written(words[0], "it", "is"), *words]), "verify", words)
        found = []
        for reading in readings:
            target = reading.target
            if target.category not in ("object", "it", "them"):
                raise self.unfinished(words)
            found.append(SpaceQuestion("whether", asked=dataclasses.replace(target, category="object", count=None)))
        return found

    def _nearer(self, words: list[Word], texts: tuple[str, ...]) -> list[SpaceQuestion] | None:
        """Such as "closer to the box than the bowl"."""
        order = tables.NEARNESS.get(tables.SUPERLATIVE_OF.get(texts[0], ""))
        if order is None or "than" not in texts or texts[1:2] not in (("to",), ("from",)):
            return None
        than = texts.index("than")
        if tuple(texts[2:than]) in tables.VIEWERS:
            return None
        rival = [word for word in words[than + 1 :] if word.text not in tables.BE]
        other, than_what = self.noun(words[2:than])[0].target, self.noun(rival)[0].target
        return [SpaceQuestion("whether", other=other, choices=(than_what,), superlative=order)]

    def relates(self, words: list[Word]) -> bool:
        """Whether words begin with a relation."""
        table = phrase_table()[0]
        texts = [word.text for word in words[:5]]
        return any("REL" in table.get(" ".join(texts[:n]), {}) for n in range(1, len(texts) + 1))

    def begins_predicate(self, words: Sequence[Word], i: int) -> bool:
        """Whether what is asked of an object may begin at word `i`; most words cannot, and are not tried."""
        if (
            words[i].kind != "word"
            or words[i].text in tables.NO_PREDICATES
            or words[i - 1].text in ("the", "a", "an", "my", "your")
        ):
            return False
        if words[i].text[0].isdigit() or words[i].text in _FIRST_OF_PREDICATES:
            return True
        table = phrase_table()[0]
        texts = [word.text for word in words[i : i + 6]]
        kinds = (table.get(" ".join(texts[:n]), {}) for n in range(1, len(texts) + 1))
        return any(_OF_PREDICATES & found.keys() for found in kinds) or tuple(texts) in tables.SEEN

    def alternatives(self, words: list[Word]) -> Readings:
        """Such as "which is taller, the mug or the bowl?", "is the mug left or right of the box?".

        Raises:
            NotUnderstoodError: what stands beside "or" are no alternatives.
        """
        texts = [word.text for word in words]
        at = texts.index("or")
        refusal = NotUnderstoodError(
            self.instruction, (words[at].start, words[at].end), "a choice between these is not supported",
            'ask "which is taller, the mug or the bowl?", or "is the mug left of or right of the box?"',
        )  # fmt: skip
        if "or" in texts[at + 1 :]:
            raise refusal
        if texts[0] in tables.BE:
            for i in range(at + 2, len(words)):
                if texts[i] in tables.SUPERLATIVE_OF and "than" not in texts[i:]:  # "is A or B closer to C?"
                    sign = Word(",", words[i].start, words[i].start, "comma")
                    which = self.written(words[0], "which", "is")
                    return self.alternatives([*which, *words[i:], sign, *words[1:i]])
            return self._either_predicate(words[1:], at - 1, refusal)
        comma = next((i for i, word in enumerate(words) if word.kind == "comma" and i < at), None)
        words_, key = self._comparison(words, texts, at, comma)
        if key is None or words_ is None:
            raise refusal
        one, other = self.noun(words_[0]), self.noun(words_[1])
        about = self.noun(words_[2])[0].target if words_[2] else None
        return [
            self.made(reading, "find", SpaceQuestion("which", choices=(reading.target, rival), superlative=key,
                                                     other=about))
            for reading, rival in self.crossed(one, other)
        ]  # fmt: skip

    def _comparison(
        self, words: list[Word], texts: list[str], at: int, comma: int | None
    ) -> tuple[tuple[list[Word], list[Word], list[Word]] | None, str | None]:
        """Both alternatives and what they are compared with; and by what: of "which is taller, A or B"."""
        i = 1 + self.phrase_at(
            words, 1, tables.phrase_set("one of? them?", "object|thing|item", "of them|these|the two")
        )
        i += texts[i : i + 1] in (["is"], ["are"])
        i += texts[i : i + 1] == ["the"]
        said = tables.SUPERLATIVE_OF.get(texts[i] if i < len(texts) else "")
        if said is None:
            return None, None
        i += 1
        i += texts[i : i + 1] == ["one"]
        start = comma + 1 if comma is not None else i
        compared = [word for word in words[i : comma if comma is not None else i] if word.kind == "word"]
        if said in tables.NEARNESS and compared and compared[0].text in ("to", "from"):
            if tuple(word.text for word in compared[1:]) in tables.VIEWERS:
                frame = tables.VIEWERS[tuple(word.text for word in compared[1:])]
                return (words[start:at], words[at + 1 :], []), f"{said} {frame.value}"
            return (words[start:at], words[at + 1 :], compared[1:]), tables.NEARNESS[said]
        return (None, None) if compared else ((words[start:at], words[at + 1 :], []), said)

    def _either_predicate(self, words: list[Word], at: int, refusal: NotUnderstoodError) -> Readings:
        """Such as "the mug left or right of the box": the same subject and two predicates."""
        for i in range(1, at):
            try:
                subject = self.noun(words[:i])
                second = self.predicate(words[at + 1 :])[0]
                first = self._first_predicate(words[i:at], words[at + 1 :])
            except NotUnderstoodError:
                continue
            if first is None or second.asked is None:
                continue
            if subject[0].target.category == "object" and subject[0].target.relations:
                continue
            question = SpaceQuestion("whether", choices=(first, second.asked))
            return [self.made(r, "verify", question) for r in subject]
        raise refusal

    def _first_predicate(self, words: list[Word], second: list[Word]) -> NounPhrase | None:
        """The first of two predicates, which may leave its end to the second ("left or right of the box")."""
        try:
            said = self.predicate(words)[0].asked
            if said is not None and (said.relations or said.attributes):
                return said
        except NotUnderstoodError:
            pass
        for j in range(1, len(second)):
            try:
                said = self.predicate([*words, *second[j:]])[0].asked
            except NotUnderstoodError:
                continue
            if said is not None and said.relations:
                return said
        return None

    def side_asked(self, words: list[Word]) -> Readings | None:
        """Such as "side of the box is the mug on" (after "which")."""
        if [word.text for word in words[:2]] != ["side", "of"]:
            return None
        words = self.without_tail(words, ("on", "at"))
        for i in range(3, len(words) - 1):
            if words[i].text in tables.BE:
                anchor, subject = words[2:i], self.noun(words[i + 1 :])
                choices = [self.predicate([*self.written(words[0], *side), *anchor])[0] for side in tables.SIDES_OF]
                asked = tuple(c.asked for c in choices if c.asked is not None)
                return [self.made(r, "verify", SpaceQuestion("whether", choices=asked)) for r in subject]
        return None

    def stranded(self, words: list[Word]) -> Readings | None:
        """Such as "is the mug on" (after "what"): what is supporting the mug."""
        be = next((i for i, word in enumerate(words) if word.text in tables.BE), None)
        if be is None or be + 2 >= len(words):
            return None
        table = phrase_table()[0]
        for i in range(max(be + 2, len(words) - 4), len(words)):
            said = " ".join(word.text for word in words[i:])
            kinds = table.get(said, {})
            inverse = {**INVERSE, **_OPPOSITE}.get(kinds["REL"].name) if "REL" in kinds else None
            if inverse is None:
                continue
            subject = self.without_tail(words[be + 1 : i], ("standing", "lying", "sitting", "resting", "placed", "put"))
            asked = words[:be] or self.written(words[be], "object")
            heads = self.noun([*self.written(words[0], "the"), *asked])
            return [
                dataclasses.replace(head, target=dataclasses.replace(
                    head.target, relations=(*head.target.relations, RelationClause(inverse, (anchor,)))))
                for head, anchor in self.crossed(heads, self.noun(subject))
            ]  # fmt: skip
        return None

    # -------------------------------------------------------------------------------------------- distances

    def distance(self, words: list[Word]) -> Readings:
        """What follows "how far": "is the mug from the box", "left of the box is the mug", "the mug is from me"."""
        words = self.without(words, ("away", "apart", "off", "together"), first=True) if words else words
        texts = [word.text for word in words]
        be = next((i for i, text in enumerate(texts) if text in tables.BE), None)
        together = any(word.text in ("apart", "together", "between") for word in self.words)
        if be is not None and be > 0 and texts[0] == "from":
            pass
        elif be is not None and be > 0 and texts[0] not in ("between", "of"):
            along = self._along(words[:be])
            if along is not None:
                return self._directed(self.noun(words[be + 1 :]), along)
            words = [words[be], *words[:be], *words[be + 1 :]]
        elif texts[:1] == ["of"] or (texts[:1] == ["from"] and "to" not in texts):
            words = words[1:] if texts[0] == "of" else words
        if words and words[0].text in tables.BE:
            words = words[1:]
        rest = [word.text for word in words[1:]]
        if (
            words
            and words[0].text in ("it", "there")
            and (rest[:1] == ["between"] or (rest[:1] == ["from"] and "to" in rest))
        ):
            words = words[1:]
        if words and words[0].text in ("from", "between"):
            be = next((i for i, word in enumerate(words) if word.text in tables.BE), None)
            if words[0].text == "from" and be is not None:  # "how far from the box is the mug?"
                return self._from([*words[be + 1 :], *words[:be]]) or self._alone(words[be + 1 :], together)
            words = words[1:]
        words = self.without_tail(words, ("away", "apart", "off", "together", "is", "are", "be"))
        if not words:
            raise self.unfinished(self.words)
        return self._from(words) or self._between(words) or self._seen_along(words) or self._alone(words, together)

    def _from(self, words: list[Word]) -> Readings | None:
        """Such as "the mug from the box", "the mug away from me"."""
        for i in range(1, len(words)):
            length = self.phrase_at(words, i, tables.FROM - {("of",)} if i else tables.FROM)
            if not length or i + length >= len(words):
                continue
            try:
                first = self.noun(words[:i])
            except NotUnderstoodError:
                continue
            rest = words[i + length :]
            if [word.text for word in words[:i]] == ["it"] and words[i].text == "to" and not self.later:
                return self._alone(rest, together=False)  # "how far is it to the cup?"
            viewer = tables.VIEWERS.get(tuple(word.text for word in rest))
            if viewer is not None:
                return [self.made(r, "measure", SpaceQuestion("distance", frame=viewer)) for r in first]
            try:
                second = self.noun(rest)
            except NotUnderstoodError:
                continue
            return self._apart(first, second)
        return None

    def _between(self, words: list[Word]) -> Readings | None:
        """Such as "the mug and the box"."""
        if any(word.text == "from" for word in words):
            return None  # "the mug from the box and the bowl" is no distance between two objects
        for i in range(1, len(words) - 1):
            if words[i].text == "and":
                try:
                    first, second = self.noun(words[:i]), self.noun(words[i + 1 :])
                except NotUnderstoodError:
                    continue
                viewer = tables.VIEWERS.get(tuple(word.text for word in words[i + 1 :]))
                if viewer is not None:
                    return [self.made(r, "measure", SpaceQuestion("distance", frame=viewer)) for r in first]
                return self._apart(first, second)
        return None

    def _apart(self, first: Readings, second: Readings) -> Readings:
        return [self.made(r, "measure", SpaceQuestion("distance", other=o)) for r, o in self.crossed(first, second)]

    def _along(self, words: list[Word]) -> list[tuple[RelationClause, float]] | None:
        """The relation of "left of the box" in "how far left of the box is the mug?"."""
        try:
            asked = [question.asked for question in self.predicate(words)]
        except NotUnderstoodError:
            return None
        clauses = [a.relations[0] for a in asked if a is not None and len(a.relations) == 1]
        clauses = [c for c in clauses if c.relation in _METRIC and c.distance is None and len(c.anchors) == 1]
        return [(clause, 1.0) for clause in clauses] or None

    def _directed(self, subjects: Readings, along: list[tuple[RelationClause, float]]) -> Readings:
        return [
            self.made(subject, "measure", SpaceQuestion(
                "distance", other=clause.anchors[0], relation=clause.relation, frame=clause.frame))
            for subject, (clause, _) in itertools.product(subjects, along)
        ]  # fmt: skip

    def _seen_along(self, words: list[Word]) -> Readings | None:
        """Such as "the mug left of the box" after "how far is"."""
        for i in range(1, len(words) - 1):
            along = self._along(words[i:])
            if along is not None:
                try:
                    return self._directed(self.noun(words[:i]), along)
                except NotUnderstoodError:
                    continue
        return None

    def _alone(self, words: list[Word], together: bool) -> Readings:
        """A distance between several of a kind, or from the viewer."""
        readings = self.noun(words)
        several = readings[0].target.count not in (None, 1)
        counted = readings[0].target.ordinal is not None
        if (together and not several) or (any(word.text == "from" for word in words) and not counted):
            raise self.unfinished(words)
        question = SpaceQuestion("distance", apart=True) if several and together else SpaceQuestion("distance")
        return [self.made(r, "measure", question) for r in readings]

    # -------------------------------------------------------------------------------------------- lengths

    def length(self, words: list[Word], which: Length, said: str) -> Readings:
        """What follows "how tall": "is the mug", "the mug is", "above the table is the mug"."""
        texts = [word.text for word in words]
        be = next((i for i, text in enumerate(texts) if text in tables.BE), None)
        if be is None:
            raise self.unfinished(words or self.words)
        if be > 0:
            along = self._along(words[:be]) if said in ("high", "deep", "low") else None
            if along is not None:
                return self._directed(self.noun(words[be + 1 :]), along)
            words = [words[be], *words[:be], *words[be + 1 :]]
        slot = words[1:]
        if (
            slot
            and slot[0].text == "the"
            and len(slot) > 2
            and slot[1].text in tables.SPACE
            and slot[2].text == "between"
        ):
            return self.distance(slot[2:])
        if said in ("high", "height"):
            above = self._seen_along(slot)
            if above is not None:
                return above
        return [self.made(r, "measure", SpaceQuestion("size", length=which)) for r in self.noun(slot)]

    def compared_length(self, words: list[Word], which: Length) -> Readings:
        """What follows "how much taller": "is the mug than the box", "than the box is the mug"."""
        words = [word for word in words if word.text not in tables.BE]
        texts = [word.text for word in words]
        if "than" not in texts or texts.index("than") in (0, len(texts) - 1):
            raise self.unfinished(words or self.words)
        at = texts.index("than")
        return [
            self.made(r, "measure", SpaceQuestion("size", length=which, other=other))
            for r, other in self.crossed(self.noun(words[:at]), self.noun(words[at + 1 :]))
        ]  # fmt: skip

    # -------------------------------------------------------------------------------------------- room

    def room(self, words: list[Word]) -> Readings | None:
        """What follows "is there": "room for the box on the tray"; None where no room is asked for."""
        i = 0
        while i < len(words) and words[i].text in tables.FREE:
            i += 1
        if i >= len(words) or words[i].text not in tables.ROOM:
            return None
        rest = words[i + 1 :]
        while rest and rest[0].text in tables.LEFT_OVER:
            rest = rest[1:]
        if rest and rest[0].text == "for":
            return self.placed(rest[1:])
        at = next((i for i, word in enumerate(rest) if word.text == "for" and 0 < i < len(rest) - 1), None)
        if at is not None:
            return self.placed([*rest[at + 1 :], *rest[:at]])
        raise NotUnderstoodError(
            self.instruction, (words[0].start, words[-1].end), "this does not say what is to have room",
            'name the object: "is there room for the cup on the tray?"',
        )  # fmt: skip

    def placed(self, words: list[Word]) -> Readings:
        """Room for "the box on the tray"; on the table where no place is said."""
        if not words:
            raise self.unfinished(self.words)
        words = self.without_tail(words, ("there", "to", "fit", "left"))
        put = self.written(words[0], "put")
        try:
            readings = self.read([*put, *words])
        except NotUnderstoodError as error:
            if "place" not in error.reason:
                raise
            readings = self.read([*put, *words, *self.written(words[-1], "on", "the", "table")])
        readings = [r for r in readings if r.action == "place" and r.destination is not None and not r.steps]
        if not readings:
            raise self.unfinished(words)
        return [self.made(r, "verify", SpaceQuestion("room")) for r in self.any_of(readings, words)]

    def fits(self, subject: list[Word], place: list[Word]) -> Readings:
        """Such as "the box" and "on the tray" of "does the box fit on the tray?"."""
        return self.placed([*subject, *place])

    def big_enough(self, words: list[Word]) -> Readings | None:
        """Such as "the tray big enough for the box" (after "is")."""
        texts = [word.text for word in words]
        for i in range(1, len(words) - 3):
            if texts[i + 1 : i + 3] == ["enough", "for"] and texts[i] in (*tables.LENGTHS, "spacious"):
                self.noun(words[:i])
                on = "in" if words[i - 1].text in CONTAINERS else "on"
                return self.placed([*words[i + 3 :], *self.written(words[i], on), *words[:i]])
        return None
