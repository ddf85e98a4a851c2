# SPDX-License-Identifier: Apache-2.0
"""Recognise questions about space, and the phrases that they are about.

A question is a frame of words ("how far is … from …?") around noun phrases and predicates. The frames are here; the
grammar of instructions reads what stands in them, so that every word of a question is accounted for.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language import lexicon
from spatial_vlm_ros.language import question_words as tables
from spatial_vlm_ros.language.question_lengths import LengthReader
from spatial_vlm_ros.language.question_slots import Readings
from spatial_vlm_ros.language.refusals import UNITLESS
from spatial_vlm_ros.language.relations import MEASURED
from spatial_vlm_ros.language.rendering import merged
from spatial_vlm_ros.language.words import Word
from spatial_vlm_ros.types import NounPhrase, SpaceQuestion, SpatialQuery

_ASKING = frozenset({"how", "what", "which", "where", "if", "whether", "count"})
_SIGNS = (
    _ASKING
    | tables.BE
    | tables.MODALS
    | tables.CONTRACTED.keys()
    | {"distance", "gap", "number", "any", "anything"}
    | tables.LENGTH_NOUNS
)
"""Words of which every question about space contains one."""
_STATEMENTS = ("where'", "what'", "there")  # "there's a cup on the tray. Grab it"
_THERE_THAT = [[be, "there", which] for be in ("are", "is") for which in ("that", "which")]
_LONGEST = 60  # most words of a question whose subject is searched for


def read_question(
    words: Sequence[Word],
    instruction: str,
    read: Callable[[list[Word]], Sequence[SpatialQuery]],
    later: bool = False,
) -> tuple[SpatialQuery, ...] | None:
    """Read a question about space.

    Args:
        later: True if something was said before.

    Returns:
        The readings, each with its `question`; None if it is not a question about space.
    """
    if not any(word.text in _SIGNS or word.text.endswith("'s") for word in words):
        return None
    reader = _QuestionReader(words, instruction, read, later)
    found = reader.run()
    return None if found is None else ranked(found)


def ranked(readings: Sequence[SpatialQuery]) -> tuple[SpatialQuery, ...]:
    """Sort readings, the preferred one first, and scale their preferences to sum to 1."""
    total = sum(reading.preference for reading in readings)
    first = sorted(readings, key=lambda reading: -reading.preference)[:64]
    return tuple(dataclasses.replace(r, readings=len(first), preference=r.preference / total) for r in first)


class _QuestionReader(LengthReader):
    """Find the frame of one sentence."""

    def run(self) -> Readings | None:
        """The readings, or None if it is not a question."""
        words = self.stripped()
        if not words:
            return None
        indirect, words = self._opened(words)
        if not words:
            return None
        texts = [word.text for word in words]
        asks = texts[0] in tables.CONTRACTED or texts[0] in _ASKING or texts[0] in tables.BE
        stop = next((i for i, word in enumerate(words) if word.kind == "stop"), None)
        if stop is not None:
            if asks and texts[0] not in ("where", "what", "which") and not texts[0].startswith(_STATEMENTS):
                raise NotUnderstoodError(
                    self.instruction, (words[stop].start, words[-1].end), "this follows a question in one sentence",
                    "ask the question alone, and give the order after its answer",
                )  # fmt: skip
            return None
        if texts[0] == "anything" and not self.later:  # "anything left in the box?"
            words = [*self.written(words[0], "is", "there"), *words]
            texts = [word.text for word in words]
        if texts[0] == "how" and len(texts) > 1 and texts[1].endswith("'s"):  # "how far's the cup?"
            words = [words[0], *self.written(words[1], texts[1][:-2], "is"), *words[2:]]
            texts = [word.text for word in words]
        if texts[0] == "which" and texts[1:2] == ["one's"]:
            words = [words[0], *self.written(words[1], "one", "is"), *words[2:]]
            texts = [word.text for word in words]
        if texts[0] in tables.CONTRACTED:
            said = tables.CONTRACTED[texts[0]]
            words = [*self.written(words[0], *said), *words[1:]]
            texts = [word.text for word in words]
        return self._by_first_word(words, texts, indirect)

    def _opened(self, words: list[Word]) -> tuple[bool, list[Word]]:
        """True if the question is indirect, and its words without those before it."""
        indirect, i = False, 0
        while i < len(words):
            if words[i].kind == "comma":
                i += 1
                continue
            length = self.phrase_at(words, i, tables.INDIRECT)
            if length and self._asks(words[i + length :]):
                indirect, i = True, i + length
                continue
            length = self.phrase_at(words, i, tables.OPENINGS)
            denied = words[i].text == "no" and words[i + 1 : i + 2] and words[i + 1].kind != "comma"
            if not length or i + length >= len(words) or denied:  # "no where is the spoon"
                break
            i += length
        words = words[i:]
        comma = next((i for i, word in enumerate(words) if word.kind == "comma"), 0)
        asks = comma and words[comma + 1 :] and words[comma + 1].text in _ASKING | tables.BE
        if asks and self.relation_at(words):  # "on the tray, what is there"
            words = [*words[comma + 1 :], *words[:comma]]
        return indirect, self.view_last(words)

    @staticmethod
    def _asks(words: Sequence[Word]) -> bool:
        texts = [word.text for word in words[:3]]
        if not texts:
            return False
        named = tables.SPACE | tables.LENGTHS.keys() | {"number"}
        return (
            texts[0] in _ASKING or texts[0] in tables.BE or texts[0] in tables.CONTRACTED
            or texts[0] in named - {"small", "short", "big", "large", "room"}
            or (texts[0] == "the" and len(texts) > 1 and texts[1] in named)
        )  # fmt: skip

    def _by_first_word(self, words: list[Word], texts: list[str], indirect: bool) -> Readings | None:
        first = texts[0]
        politely = self.phrase_at(words, 0, tables.POSSIBLY)
        if politely and len(texts) > politely and (first != "is" or texts[politely] not in tables.PUTTING):
            return None  # "would it be possible to get the scissors"
        if first == "how" and len(texts) > 1:
            return self._how(words, texts)
        if first == "count":
            return self._count(words[1:])
        if first == "where":
            return self._where(words, texts)
        if first in ("what", "which"):
            return self._which(words, texts)
        if first in ("if", "whether") and indirect:
            if texts[1:2] == ["you"] and not tables.SEEING & set(texts[2:5]):
                return None  # "I wonder if you could get the mug" is no question
            return self._declared(words[1:])
        if first in tables.BE:
            return self._whether(words)
        if first in tables.MODALS and len(texts) > 2 and texts[1] != "you":
            return self._modal(words, texts)
        if first == "any" and self.marked and len(texts) > 1:
            return self._exists(words[0], words)
        measured = texts[1:] if first == "the" else texts
        if measured and (indirect or (measured[0] in ("distance", "gap", "number") and len(measured) > 2)):
            return self._named_length(words[first == "the" :])
        if self.marked and first in tables.ARTICLES and tables.BE & set(texts):
            try:
                return self._declared(words)
            except NotUnderstoodError:
                return None
        return None

    # -------------------------------------------------------------------------------------------- how

    def _how(self, words: list[Word], texts: list[str]) -> Readings | None:
        second, rest = texts[1], words[2:]
        if second == "many" and len(texts) > 2:
            if texts[2] in tables.UNITS and len(texts) > 3 and texts[3] in tables.LENGTHS:
                return self.length(rest[2:], tables.LENGTHS[texts[3]], texts[3])
            if texts[2] in tables.UNITS:
                return self.distance(self.without_there(rest[1:]))
            return self._count(rest)
        if second == "much" and len(texts) > 2:
            if texts[2] in tables.SPACE:
                asked = self.without_there(rest[1:])
                if not asked or asked[0].text != "between":
                    raise NotUnderstoodError(
                        self.instruction, (words[0].start, words[2].end), "free space cannot be given as a number",
                        'ask "is there room for the cup on the tray?", or "how far is the cup from the edge?"',
                    )  # fmt: skip
                return self.distance(asked)
            if texts[2] in tables.COMPARATIVES:
                return self.compared_length(rest[1:], tables.COMPARATIVES[texts[2]])
            if texts[2] in ("farther", "further"):
                return None
        if second in tables.FAR:
            return self.distance(rest)
        if second in tables.LENGTHS:
            return self.length(rest, tables.LENGTHS[second], second)
        return None

    def _count(self, words: list[Word]) -> Readings:
        """Read "how many mugs are there on the tray?" and the like."""
        texts = [word.text for word in words]
        there = next((i for i in range(1, len(words)) if texts[i : i + 3] in _THERE_THAT), None)
        words = words if there is None else [*words[:there], *words[there + 3 :]]
        denied = [self.written(w, "are", "not") if w.text in tables.ARE_NOT else [w] for w in words]
        words = [word for each in denied for word in each]
        kept = self.without(words, ("do|can|could you|i|we see|find|count|spot|detect", "there", "you see"))
        self.check_one_question(kept)
        part = bool(kept) and kept[0].text == "of"
        be = [i for i, word in enumerate(kept) if word.text in tables.BE and i > 0]
        if be and be[-1] == len(kept) - 1:
            kept, be = kept[:-1], be[:-1]
        held = next((i for i, word in enumerate(kept) if i and word.text in tables.HOLDING), None)
        if held is not None and not be:
            verb = self.written(kept[held], "that", tables.HOLDING[kept[held].text])
            kept = [*kept[:held], *verb, *kept[held + 1 :]]
        relative = be and kept[be[0] - 1].text in ("that", "which")
        if be and not relative:
            readings = self.read([*self.written(kept[0], "which"), *kept])
        else:
            kept = kept[1:] if part else kept
            determined = kept and kept[0].text in ("the", "all", "my")
            readings = self.noun([*([] if determined or not kept else self.written(kept[0], "the")), *kept])
        return [
            self.made(
                dataclasses.replace(r, target=dataclasses.replace(r.target, count=-1, choice=None)), "count",
                SpaceQuestion("count"),
            )
            for r in self.only_nouns(readings, words)
        ]  # fmt: skip

    # -------------------------------------------------------------------------------------------- where, which

    def _where(self, words: list[Word], texts: list[str]) -> Readings | None:
        """Read "where is the mug?", "where the mug is"; None leaves it to the grammar of instructions."""
        if len(texts) < 2:
            return None
        words = [words[0], *words[1 + self.phrase_at(words, 1, tables.EXCLAIMED) :]]
        rest = self.without(words[1:], tables.ADVERBS, first=True)
        texts = ["where", *(word.text for word in rest)]
        if texts[1:2] in (["have"], ["has"]):
            gone = next((i for i in range(2, len(rest)) if self.phrase_at(rest, i, tables.GONE) == len(rest) - i), None)
            if gone is None:
                return None
            rest, texts = [*self.written(rest[0], "is"), *rest[1:gone]], ["where", "is", *texts[2 : gone + 1]]
        about: list[NounPhrase] = []
        for i in range(2, len(rest)):
            length = self.phrase_at(rest, i, tables.RELATED)
            if length:
                about = [self.noun(rest[i + length :])[0].target]
                rest = rest[:i]
                break
        if texts[1] in tables.BE:
            slot = rest[1:]
        elif rest[-1].text in tables.BE:
            slot = rest[:-1]
        elif (be := next((i for i, text in enumerate(texts) if i and text in tables.BE), None)) and self.relation_at(
            rest
        ):
            slot = [*words[len(words) - len(rest) + be :], *rest[: be - 1]]  # "where on the table is the cup?"
        else:
            length = self.phrase_at(words, 1, tables.phrase_set(
                "can|could|do|would|did i|you|we find|see|get|look", "can|could|do i|we|you look for",
                "did i|you|we put|leave|place|set"
            ))  # fmt: skip
            slot = rest[length:] if length else rest
        slot = self.without_tail(slot, ("located", "placed", "standing", "lying", "at", "kept", "found", "now"))
        question = SpaceQuestion("where", other=about[0] if about else None)
        return [self.made(r, "find", question) for r in self.noun(slot)]

    def _which(self, words: list[Word], texts: list[str]) -> Readings | None:
        """Read "which mug is behind the box?", "what is on the tray?" and the like."""
        asked = words[1:]
        named = self._named_length(asked[1:] if texts[1:2] and texts[1] in tables.BE else asked)
        if named is not None:
            return named
        if "or" in texts:
            return self.alternatives(words)
        side = self.side_asked(asked)
        if side is not None:
            return side
        stranded = self.stranded(asked)
        if stranded is not None:
            return [self.made(r, "find", SpaceQuestion("which")) for r in self.only_nouns(stranded, words)]
        seen = self.phrase_at(asked, 0, tables.phrase_set("do|can|could you|i|we see|find|spot|detect", "is|are there"))
        shown = self.phrase_at(asked, len(asked) - 2, tables.phrase_set("is|are there")) if len(asked) > 2 else 0
        if shown or (seen and seen == len(asked)):  # "what objects are there?", "what do you see?"
            kind = asked[: len(asked) - 2] if shown else self.written(words[0], "objects")
            everything = self.noun([*self.written(words[0], "all"), *kind])
            return [self.made(r, "find", SpaceQuestion("which")) for r in everything]
        if seen:
            asked = [*self.written(asked[0], "is"), *asked[seen:]]
        has = next((i for i, word in enumerate(asked) if i and word.text in ("has", "have")), 0)
        if has and asked[has - 1].text not in ("that", "which"):  # "which cup has a spoon in it?"
            asked = [*asked[:has], *self.written(asked[has], "that"), *asked[has:]]
        asker = "what" if asked and asked[0].text in (*tables.BE, "stands", "lies", "sits") else "which"
        if asked and asked[0].text in ("stands", "lies", "sits"):
            asked = [*self.written(asked[0], "is"), *asked[1:]]
        readings = self.only_nouns(self.read([*self.written(words[0], asker), *asked]), words)
        return [self.made(r, "find", SpaceQuestion("which")) for r in readings]

    def _named_length(self, words: list[Word]) -> Readings | None:
        """Read "the distance between …", "the height of …", "the mug's height", "size is the mug"."""
        words = words[1:] if words and words[0].text in tables.ARTICLES else words
        words = self.without(words, ("exact", "approximate", "rough", "total", "overall", "shortest"), first=True)
        if not words:
            return None
        noun, rest = words[0].text, words[1:]
        if noun in tables.UNMEASURED and rest[:1] and rest[0].text in ("of", "for"):
            raise NotUnderstoodError(
                self.instruction, (words[0].start, words[0].end), "this cannot be measured",
                "ask where objects are, how many, how far from each other, or how big",
            )  # fmt: skip
        if noun == "number" and rest and rest[0].text == "of":
            return self._count(rest[1:])
        if noun in tables.SPACE and rest:
            rest = self.without_there(rest)
            if rest[:1] and rest[0].text in ("between", "from", "of", "to", "is", "are"):
                return self.distance(rest)
        if noun in tables.LENGTHS and rest and rest[0].text in ("of", *tables.BE):
            return self.length([*self.written(rest[0], "is"), *rest[1:]], tables.LENGTHS[noun], noun)
        owned = next((i for i, w in enumerate(words) if i and w.text in tables.SPACE), 0)
        if (
            owned and words[owned - 1].text.endswith("'s") and owned + 1 < len(words)
        ):  # "the cup's distance from the box"
            owner = words[owned - 1]
            bare = Word(owner.text[:-2], owner.start, owner.end)
            return self.distance([*self.written(words[0], "the"), *words[: owned - 1], bare, *words[owned + 1 :]])
        if words[-1].text in tables.LENGTHS and len(words) > 1 and words[-2].text.endswith("'s"):
            owner = words[-2]
            bare = Word(owner.text[:-2], owner.start, owner.end)
            slot = [*self.written(words[0], "is", "the"), *words[:-2], bare]
            return self.length(slot, tables.LENGTHS[words[-1].text], words[-1].text)
        return None

    # -------------------------------------------------------------------------------------------- yes or no

    def _whether(self, words: list[Word]) -> Readings:
        """Read "is the mug behind the box?", "is anything behind the box?" and the like."""
        there = words[1:2] and words[1].text == "there"
        rest = words[1:] if there else self.without(words[1:], tables.ADVERBS)
        if not rest:
            raise self.unfinished(words)
        possible = self.phrase_at(rest, 0, tables.phrase_set("it possible to put|place|fit|set|stand"))
        if possible:
            return self.placed(rest[possible:])
        if rest[0].text == "there":
            return self.room(rest[1:]) or self._exists(words[0], rest[1:])
        if rest[0].text in tables.INDEFINITE and rest[0].text not in ("another",):
            return self._exists(words[0], rest)
        enough = self.big_enough(rest)
        if enough is not None:
            return enough
        if len(rest) > _LONGEST:
            readings = self.only(self.read([*self.written(words[0], "is"), *rest]), "verify", words)
            return [self.made(r, "verify", SpaceQuestion("whether", asked=_all_of(r.target))) for r in readings]
        if any(word.text == "or" for word in rest):
            return self.alternatives([words[0], *rest])
        return self._split(rest, words[0])

    def _exists(self, be: Word, rest: list[Word]) -> Readings:
        exactly = bool(rest) and rest[0].text in ("only", "exactly", "just")
        rest = rest[1:] if exactly else self.without(rest, tables.ADVERBS)
        readings = self.only(self.read([*self.written(be, "is", "there"), *rest]), "verify", [be, *rest])
        if rest and rest[0].text == "another" and not self.later:  # besides the one already mentioned
            readings = [
                dataclasses.replace(r, target=dataclasses.replace(r.target, count=2, choice=None)) for r in readings
            ]
        return [self.made(r, "verify", SpaceQuestion("exists", exactly=exactly)) for r in readings]

    def _declared(self, words: list[Word]) -> Readings:
        """Read the statement after "whether": "the mug is behind the box", "the box fits on the tray"."""
        if words and words[0].text == "there's":
            words = [*self.written(words[0], "there", "is"), *words[1:]]
        texts = [word.text for word in words]
        if texts[:1] == ["there"] and len(words) > 2 and texts[1] in tables.BE:
            return self._whether([words[1], words[0], *words[2:]])
        for i in range(1, len(words) - 1):
            if texts[i] in tables.BE and texts[i - 1] not in ("that", "which", "who"):
                return self._whether([words[i], *words[:i], *words[i + 1 :]])
        for i in range(1, len(words) - 1):
            if texts[i] in tables.FITTING:
                return self.fits(words[:i], words[i + 1 :])
            if texts[i] in tables.STANDS:
                return self._split([*words[:i], *words[i + 1 :]], words[i])
            if texts[i] in tables.HOLDING:
                return self._held(words, i)
        raise self.unfinished(words)

    def _modal(self, words: list[Word], texts: list[str]) -> Readings | None:
        """Read "does the box fit on the tray?", "does the bowl contain an apple?", "can I put the cup on it?"."""
        rest = words[1:]
        if texts[1] in ("not", "never", "under"):
            return None  # "do not touch the cup" is no question
        if texts[1] in ("i", "we", "one"):
            length = self.phrase_at(rest, 1, tables.phrase_set("put|place|fit|set|stand|lay|rest down?"))
            return self.placed(rest[1 + length :]) if length else None
        for i in range(1, len(rest)):
            asks = texts[0] in ("do", "does")
            if i + 1 < len(rest) and (rest[i].text in tables.FITTING or (rest[i].text in tables.STANDING and not asks)):
                return self.fits(rest[:i], rest[i + 1 :])
            if i + 1 < len(rest) and rest[i].text in tables.STANDS and asks:
                return self._split([*rest[:i], *rest[i + 1 :]], rest[i])
            if rest[i].text in tables.HOLDING and texts[0] in ("do", "does"):
                return self._held(rest, i)
        return None

    def _held(self, words: list[Word], i: int) -> Readings:
        """Read "the bowl contain an apple"; `i` is the index of the verb."""
        verb = self.written(words[i], tables.HOLDING[words[i].text])
        found: Readings = []
        for subject in self.noun(words[:i]):
            said = len(subject.target.relations)
            for whole in self.noun([*words[:i], *self.written(words[i], "that"), *verb, *words[i + 1 :]]):
                asked = NounPhrase("object", relations=whole.target.relations[said:])
                if asked.relations and len(whole.target.relations) > said:
                    found.append(self.made(whole, "verify", SpaceQuestion("whether", asked=asked)))
        if not found:
            raise self.unfinished(words)
        return found

    def _split(self, words: list[Word], be: Word) -> Readings:
        """Try every split of the words into a subject and what is asked about it."""
        self.check_one_question(words)
        found: Readings = []
        share = 1.0
        for i in range(1, len(words)):
            if not self.begins_predicate(words, i):
                continue
            try:
                asked = self.predicate(words[i:])
                pairs = list(itertools.product(self.noun(words[:i])[:4], asked[:8]))
            except NotUnderstoodError:
                pairs = []
            self._check_number(words[:i], pairs)
            for subject, question in pairs:
                target = subject.target if question.asked is None else merged(subject.target, question.asked)
                preference = share * subject.preference / len(pairs)
                if (
                    question.asked is not None
                    and len(question.asked.relations) > 1
                    and not any(word.text in ("and", "but", "nor") for word in words[i:])
                ):
                    preference *= 0.3  # "behind the box left of the bowl" without "and"
                query = dataclasses.replace(subject, target=target, preference=preference)
                found.append(self.made(query, "verify", question))
            share *= 0.4 if pairs else 1.0
            described = [q.asked for _, q in pairs if q.asked is not None and not q.asked.relations]
            if described and described[0].attributes and found:  # "is the cup on the tray red?"
                found = [
                    q if i_ >= len(found) - len(pairs) else dataclasses.replace(q, preference=0.1 * q.preference)
                    for i_, q in enumerate(found)
                ]
        if not found:
            readings = self.only(self.read([*self.written(be, "is"), *words]), "verify", words)
            found = [self.made(r, "verify", SpaceQuestion("whether", asked=_all_of(r.target))) for r in readings]
        return found

    def _check_number(self, subject: list[Word], pairs: Sequence[tuple[SpatialQuery, SpaceQuestion]]) -> None:
        """Refuse "is the cup 5 left of the box", where 5 may be a length; but "cup 5" is a name."""
        last = subject[-1]
        if subject[0].text not in lexicon.DETERMINERS or not (last.text.isdecimal() or last.text in lexicon.NUMBERS):
            return
        asked = [clause.relation for _, question in pairs if question.asked for clause in question.asked.relations[:1]]
        if any(relation in MEASURED for relation in asked):
            raise NotUnderstoodError(self.instruction, (last.start, last.end), *UNITLESS)


def _all_of(target: NounPhrase) -> NounPhrase:
    return dataclasses.replace(target, category="object", count=None, choice=None)
