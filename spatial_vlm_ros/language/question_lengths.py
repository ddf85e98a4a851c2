# SPDX-License-Identifier: Apache-2.0
"""Read questions about distance, size and free room."""

from __future__ import annotations

import itertools

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import question_words as tables
from spatial_vlm_ros.language.question_choices import ChoiceReader
from spatial_vlm_ros.language.question_slots import Readings
from spatial_vlm_ros.language.wordlists import CONTAINERS
from spatial_vlm_ros.language.words import Word
from spatial_vlm_ros.types import RelationClause, SpaceQuestion
from spatial_vlm_ros.types.query import Length

_METRIC = frozenset({"left of", "right of", "in front of", "behind", "above", "below", "under"})


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
        """Read "the mug and the box" and the like."""
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
