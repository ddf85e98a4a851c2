# SPDX-License-Identifier: Apache-2.0
"""Read questions about distance, size and free room."""

from __future__ import annotations

import dataclasses
import itertools

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import question_words as tables
from spatial_vlm_ros.language.lexicon import CONTAINERS
from spatial_vlm_ros.language.question_slots import Readings, SlotReader
from spatial_vlm_ros.language.relations import INVERSE
from spatial_vlm_ros.language.vocabulary import phrase_table
from spatial_vlm_ros.language.words import Word
from spatial_vlm_ros.types import NounPhrase, RelationClause, SpaceQuestion
from spatial_vlm_ros.types.query import Length

_METRIC = frozenset({"left of", "right of", "in front of", "behind", "above", "below", "under"})


_OPPOSITE = {"left of": "right of", "right of": "left of", "in front of": "behind", "behind": "in front of",
             "next to": "next to", "near": "near", "above": "below", "below": "above", "under": "above",
             "touching": "touching", "against": "against"}  # fmt: skip


class ChoiceReader(SlotReader):
    """Read alternatives."""

    def alternatives(self, words: list[Word]) -> Readings:
        """Read "which is taller, the mug or the bowl?", "is the mug left or right of the box?" and the like."""
        words = self._named_at_once([word for word in words if word.text != "either"])
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

    @staticmethod
    def _named_at_once(words: list[Word]) -> list[Word]:
        """Rewrite "which is bigger, the brown box or the white box" to "which box is bigger, the brown one or …"."""
        be = next((i for i, word in enumerate(words[:5]) if i > 1 and word.text in ("is", "are")), 0)
        noun = words[1:be]
        ones = [i for i, word in enumerate(words) if i > be and word.text in ("one", "ones")]
        if words[0].text != "which" or not noun or not ones or any(word.kind != "word" for word in noun):
            return words
        rest = [each for i, word in enumerate(words) if i >= be for each in (noun if i in ones else [word])]
        return [words[0], *rest]

    def _comparison(
        self, words: list[Word], texts: list[str], at: int, comma: int | None
    ) -> tuple[tuple[list[Word], list[Word], list[Word]] | None, str | None]:
        """Both alternatives and what they are compared with, and the comparison, for "which is taller, A or B"."""
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
        if comma is None and texts[i : i + 1] == ["to"]:
            length = max((n for n in range(1, 4) if tuple(texts[i + 1 : i + 1 + n]) in tables.VIEWERS), default=0)
            if length:
                compared, start = words[i : i + 1 + length], i + 1 + length
        if said in tables.NEARNESS and compared and compared[0].text in ("to", "from"):
            if tuple(word.text for word in compared[1:]) in tables.VIEWERS:
                frame = tables.VIEWERS[tuple(word.text for word in compared[1:])]
                return (words[start:at], words[at + 1 :], []), f"{said} {frame.value}"
            return (words[start:at], words[at + 1 :], compared[1:]), tables.NEARNESS[said]
        return (None, None) if compared else ((words[start:at], words[at + 1 :], []), said)

    def _either_predicate(self, words: list[Word], at: int, refusal: NotUnderstoodError) -> Readings:
        """Read "the mug left or right of the box": the same subject and two predicates."""
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
            if any(clause.distance is not None for said in (first, second.asked) for clause in said.relations):
                raise refusal
            question = SpaceQuestion("whether", choices=(first, second.asked))
            return [self.made(r, "verify", question) for r in subject]
        raise refusal

    def _first_predicate(self, words: list[Word], second: list[Word]) -> NounPhrase | None:
        """The first of two predicates, which may share the end of the second ("left or right of the box")."""
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
        """Read "side of the box is the mug on" (after "which")."""
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
        """Read "is the mug on" (after "what"): what is supporting the mug."""
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


class LengthReader(ChoiceReader):
    """Read distances, lengths and places."""

    # -------------------------------------------------------------------------------------------- distances

    def _check_pair(self) -> None:
        """Refuse "the two pegs that are closest together", which compares pairs."""
        for near, together in itertools.pairwise(self.words):
            if near.text in tables.FARTHEST and together.text in ("together", "apart"):
                raise NotUnderstoodError(
                    self.instruction, (near.start, together.end), "distances of pairs of objects cannot be compared",
                    'name the two: "the distance between the cup and the plate"',
                )  # fmt: skip

    def distance(self, words: list[Word]) -> Readings:
        """Read the words after "how far": "is the mug from the box", "left of the box is the mug" and the like."""
        self._check_pair()
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
        if words and words[0].text == "to" and not any(word.text == "from" for word in words):
            return self._alone(words[1:], together=False)  # "the distance to the cup"
        words = self.without_tail(words, ("away", "apart", "off", "together", "is", "are", "be"))
        for phrase in tables.EACH_OTHER:
            if self._ends(words, phrase) and len(words) > len(phrase):
                words, together = words[: -len(phrase)], True
        if not words:
            raise self.unfinished(self.words)
        return self._from(words) or self._between(words) or self._seen_along(words) or self._alone(words, together)

    def _from(self, words: list[Word]) -> Readings | None:
        """Read "the mug from the box", "the mug away from me" and the like."""
        for i in range(1, len(words)):
            seen_from = tables.VIEWERS.get(tuple(word.text for word in words[:i]))
            if seen_from is not None and words[i].text == "to":  # "from here to the cup"
                return [
                    self.made(r, "measure", SpaceQuestion("distance", frame=seen_from))
                    for r in self.noun(words[i + 1 :])
                ]
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
        if any(word.text == "from" for word in words):
            return None  # "the mug from the box and the bowl" is not a distance between two objects
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
        """Read "the mug left of the box" after "how far is"."""
        for i in range(1, len(words) - 1):
            along = self._along(words[i:])
            if along is not None:
                try:
                    return self._directed(self.noun(words[:i]), along)
                except NotUnderstoodError:
                    continue
        return None

    def _alone(self, words: list[Word], together: bool) -> Readings:
        """Read a distance between several objects of a kind, or from the viewer."""
        readings = self.noun(words)
        several = readings[0].target.count not in (None, 1)
        counted = readings[0].target.ordinal is not None
        if (together and not several) or (any(word.text == "from" for word in words) and not counted):
            raise self.unfinished(words)
        question = SpaceQuestion("distance", apart=True) if several and together else SpaceQuestion("distance")
        return [self.made(r, "measure", question) for r in readings]

    # -------------------------------------------------------------------------------------------- lengths

    def length(self, words: list[Word], which: Length, said: str) -> Readings:
        """Read what follows "how tall": "is the mug", "the mug is", "above the table is the mug"."""
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
        """Read what follows "how much taller": "is the mug than the box", "than the box is the mug"."""
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
        """Read what follows "is there": "room for the box on the tray"; None if it does not ask for room."""
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
            self.instruction, (words[0].start, words[-1].end), "this does not say which object needs room",
            'name the object: "is there room for the cup on the tray?"',
        )  # fmt: skip

    def placed(self, words: list[Word]) -> Readings:
        """Read the room for "the box on the tray"; it is on the table if no place is said."""
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
        if readings and readings[0].target.count not in (None, 1):
            raise NotUnderstoodError(
                self.instruction, (words[0].start, words[-1].end), "room can be checked for only one object at a time",
                'ask "is there room for the cup on the tray?"',
            )  # fmt: skip
        if not readings:
            raise self.unfinished(words)
        return [self.made(r, "verify", SpaceQuestion("room")) for r in self.any_of(readings, words)]

    def fits(self, subject: list[Word], place: list[Word]) -> Readings:
        """Read "the box" and "on the tray" of "does the box fit on the tray?"."""
        return self.placed([*subject, *place])

    def big_enough(self, words: list[Word]) -> Readings | None:
        """Read "the tray big enough for the box" (after "is")."""
        texts = [word.text for word in words]
        for i in range(1, len(words) - 3):
            if texts[i + 1 : i + 3] == ["enough", "for"] and texts[i] in (*tables.LENGTHS, "spacious"):
                self.noun(words[:i])
                on = "in" if words[i - 1].text in CONTAINERS else "on"
                return self.placed([*words[i + 3 :], *self.written(words[i], on), *words[:i]])
        return None
