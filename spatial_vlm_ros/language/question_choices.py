# SPDX-License-Identifier: Apache-2.0
"""Questions with alternatives, and those that end with their relation ("what is the mug on?")."""

from __future__ import annotations

import dataclasses

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import question_words as tables
from spatial_vlm_ros.language.question_slots import Readings, SlotReader
from spatial_vlm_ros.language.relations import INVERSE
from spatial_vlm_ros.language.vocabulary import phrase_table
from spatial_vlm_ros.language.words import Word
from spatial_vlm_ros.types import NounPhrase, RelationClause, SpaceQuestion

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
