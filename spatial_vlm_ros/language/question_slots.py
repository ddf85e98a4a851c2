# SPDX-License-Identifier: Apache-2.0
"""Read the parts of a question about space (words, noun phrases and predicates) with the grammar of instructions."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Literal

from spatial_vlm_ros.errors import NotUnderstoodError
from spatial_vlm_ros.language.lexicon import NEARNESS, NUMBERS
from spatial_vlm_ros.language.patterns import SETS, WORDS, phrase_set, word_set
from spatial_vlm_ros.language.vocabulary import phrase_table
from spatial_vlm_ros.language.words import Word
from spatial_vlm_ros.types import FrameOfReference, NounPhrase, SpaceQuestion, SpatialQuery
from spatial_vlm_ros.types.query import Length, QuestionKind

Readings = list[SpatialQuery]
Words = Sequence[Word]
Phrases = Collection[tuple[str, ...]]
Frames = Sequence[tuple[str, "Frames | Callable[..., Readings | None]"]]
"""Forms of questions in the order tried. Each has its parts (`_parts`), and the method that builds a question, or the
frames of the last part. The method gets each part by its name, and all as `words`; None leaves them to the next."""

_TABLES = WORDS.under("questions")
CONTRACTED = {word: tuple(meaning.split()) for word, meaning in _TABLES.meanings("contracted").items()}
OPENINGS, CLOSINGS, INDIRECT, POSSIBLY = map(_TABLES.phrases, ("openings", "closings", "indirect", "possibly"))
BE, ARE_NOT, MODALS, PUTTING = map(_TABLES.words, ("be", "are_not", "modals", "putting"))
ARTICLES, NO_PREDICATES = map(_TABLES.words, ("articles", "no_predicates"))
ADVERBS = _TABLES.patterns("adverbs")
EXCLAIMED, SEEN = map(_TABLES.phrases, ("exclaimed", "seen"))
SEEING, STANDS = map(_TABLES.words, ("seeing", "stands"))
FROM, EACH_OTHER, RELATED = map(_TABLES.phrases, ("from", "each_other", "related"))
LENGTH_NOUNS, UNITS, UNMEASURED = map(_TABLES.words, ("length_nouns", "units", "unmeasured"))
MANY = {("many", unit) for unit in UNITS}
FARTHEST, FAR, AWAY, SPACE = map(_TABLES.words, ("farthest", "far", "away", "space"))
ROOM, FREE, LEFT_OVER, FITTING, STANDING = map(_TABLES.words, ("room", "free", "left_over", "fitting", "standing"))
LENGTHS: dict[str, Length] = _TABLES.meanings("lengths")
COMPARATIVES: dict[str, Length] = _TABLES.meanings("comparatives")
SUPERLATIVE_OF: dict[str, str] = _TABLES.meanings("superlatives")
HOLDING: dict[str, str] = _TABLES.meanings("holding")
VIEWERS = {tuple(said.split()): FrameOfReference(whose) for said, whose in _TABLES.meanings("viewers").items()}
COMPARED_ONES = phrase_set("one of? them?", "object|thing|item", "of them|these|the two")
"""Words after "which" in "which one is taller?"."""
SIDES_OF = (("left", "of"), ("right", "of"), ("in", "front", "of"), ("behind",))
"""Answers to "which side of the box is it on?"."""
_MOST_READ = 600  # words read by the grammar for one question, over all splits: stops early for a long one
_CROSSED = 6  # most readings of each of two phrases that are combined
_FIRST_OF_PREDICATES = NUMBERS.keys() | word_set("""
    the my a an not neither either both within at less more no about around half exactly in
""")


@cache
def _parts(frame: str) -> tuple[tuple[str, Phrases | None, str], ...]:
    """The parts of a frame: the name of each, its phrases (None: any words), and its mark.

    Args:
        frame: parts separated by spaces. A capital letter is one or more words of any kind, a name in capitals a table
            of this module. "a|b" are alternatives, "name=a|b" gives them a name; "?" marks a part that may be
            missing, "*" one that may also be repeated.
    """
    parts = []
    for part in frame.split():
        name, kinds, mark = re.fullmatch(r"(?:(\w+)=)?(.+?)([?*]?)", part).groups()  # type: ignore[union-attr]
        found = [globals()[kind] if kind.isupper() else (kind,) for kind in kinds.split("|") if len(kinds) > 1]
        phrases = {(each,) if isinstance(each, str) else each for words in found for each in words}
        parts.append((name or kinds.lower(), phrases or None, mark))
    return tuple(parts)


def _matches(parts: tuple[tuple[str, Phrases | None, str], ...], words: Words) -> Iterator[dict[str, Words]]:
    """Every way to lay words out over the parts of a frame, those with a short first part first."""
    if not parts:
        if not words:
            yield {}
        return
    name, phrases, mark = parts[0]
    lengths: Iterable[int] = range(mark != "?", len(words) + 1)
    if phrases is not None:
        length = phrase_at(words, 0, phrases)
        while mark == "*" and (more := phrase_at(words, length, phrases)):
            length += more
        lengths = (length,) * bool(length) + (0,) * bool(mark)
    for length in lengths:
        for others in _matches(parts[1:], words[length:]):
            yield {name: words[:length], **others}


def phrase_at(words: Words, i: int, phrases: Phrases) -> int:
    """Number of words of the longest of some phrases at word `i`; 0 if there is none."""
    texts = tuple(word.text for word in words[i : i + 8])
    return max((n for n in range(1, len(texts) + 1) if texts[:n] in phrases), default=0)


class SlotReader:
    """Read the parts of one question; `later` if "it" refers to something said before."""

    def __init__(
        self,
        words: Words,
        instruction: str,
        read: Callable[[list[Word]], Sequence[SpatialQuery]],
        later: bool = False,
    ) -> None:
        self.words, self.instruction, self._read, self.later = list(words), instruction, read, later
        self._left = _MOST_READ
        self.marked = any(word.kind == "stop" and word.text.startswith("?") for word in self.words[-1:])

    def stripped(self) -> Words:
        """The words without punctuation and polite words at the end, and without leading punctuation."""
        words = list(self.words)
        while words:
            if words[-1].kind in ("comma", "stop"):
                words.pop()
                continue
            if len(words) > 3 and words[-2].text == "in" and words[-1].text in UNITS:  # "how long is it in cm?"
                del words[-2:]
                continue
            texts = tuple(word.text for word in words)
            length = max((len(phrase) for phrase in CLOSINGS if texts[-len(phrase) :] == phrase), default=0)
            if not length or length >= len(words):
                break
            before = words[-length - 1]
            if before.text in ARTICLES or before.text in BE or before.text in ("how", "the"):
                break
            if length == 1 and words[-1].text in ("right", "robot", "about", "then") and before.kind != "comma":
                break
            del words[-length:]
        return words

    @staticmethod
    def written(at: Word, *texts: str) -> list[Word]:
        """Other words at a word's position."""
        return [Word(text, at.start, at.end) for text in texts]

    @staticmethod
    def without(words: Words, phrases: Phrases) -> Words:
        """The words without some phrases."""
        kept = []
        while words:
            length = phrase_at(words, 0, phrases)
            kept += [] if length else [words[0]]
            words = words[length or 1 :]
        return kept

    @staticmethod
    def without_tail(words: Words, texts: Collection[str]) -> Words:
        """The words without some words at their end."""
        while words and words[-1].text in texts:
            words = words[:-1]
        return words

    def view_last(self, words: Words) -> Words:
        """Move a leading viewpoint to the end of the question."""
        table = phrase_table()
        for length in range(min(8, len(words) - 1), 1, -1):
            if "FRAME" in table.get(" ".join(word.text for word in words[:length]), {}):
                rest = words[length:]
                while rest and rest[0].kind == "comma":
                    rest = rest[1:]
                return [*rest, *words[:length]] if rest else words
        return words

    def refusal(self, words: Words, reason: str, repair: str) -> NotUnderstoodError:
        """The error that some words, or all, are not supported."""
        span = (words[0].start, words[-1].end) if words else (0, len(self.instruction))
        return NotUnderstoodError(self.instruction, span, reason, repair)

    def unfinished(self, words: Words) -> NotUnderstoodError:
        """The error for a question that stops too early."""
        return self.refusal(
            words, "this question does not name what it asks about",
            'say it with an object, for example "how far is the mug from the box?"',
        )  # fmt: skip

    def framed(self, frames: Frames, words: Words, tries: bool = False) -> Readings | None:
        """What the first fitting frame builds of words, or None; `tries` others if a part cannot be read."""
        for frame, build in frames:
            for parts in _matches(_parts(frame), words):
                try:
                    if callable(build):
                        found = build(self, words=words, **parts)
                    else:
                        found = self.framed(build, [*parts.values()][-1])
                except NotUnderstoodError:
                    if not tries:
                        raise
                    continue
                if found is not None:
                    return found
        return None

    def read(self, words: Words) -> Readings:
        """Parse words with the grammar of instructions."""
        self._left -= len(words)
        if not words or self._left < 0:
            raise self.unfinished(self.words)
        return list(self._read(list(words)))

    def only(self, readings: Readings, action: Literal["find", "verify"], words: Words) -> Readings:
        """Check that readings are not a command."""
        first = readings[0]
        if first.action != action or first.steps or first.destination is not None:
            repair = "ask the question alone, and give the order after its answer"
            raise self.refusal(words, "a question and an order are in one sentence", repair)
        return [r for r in readings if r.action == action and not r.steps and r.destination is None]

    def noun(self, words: Words) -> Readings:
        """Parse a noun phrase; "a cup" means any cup."""
        if not words:
            raise self.unfinished(self.words)
        readings = self.only(self.read(words), "find", words)
        target = readings[0].target
        if target.category == "object" and target.relations and self.relation_at(words):  # "behind the box"
            raise self.unfinished(words)
        return readings

    def made(self, readings: Readings, action: str, kind: QuestionKind, **said: Any) -> Readings:
        """Turn readings into readings of a question."""
        question = SpaceQuestion(kind, **said)
        return [replace(r, instruction=self.instruction, action=action, question=question) for r in readings]

    def compared(self, first: Readings, second: Readings, kind: QuestionKind, **said: Any) -> Readings:
        """Turn the readings of two phrases, each with each, into readings of a measurement."""
        crossed = self.crossed(first, second)
        return [each for r, other in crossed for each in self.made([r], "measure", kind, other=other, **said)]

    def crossed(self, first: Readings, second: Readings) -> list[tuple[SpatialQuery, NounPhrase]]:
        """Combine the readings of two phrases, each with each."""
        pairs = itertools.product(first[:_CROSSED], second[:_CROSSED])
        return [(replace(a, preference=a.preference * b.preference), b.target) for a, b in pairs]

    def predicate(self, words: Words) -> list[SpaceQuestion]:
        """Parse a predicate: "behind the box", "red", "the tallest one", "visible"."""
        texts = tuple(word.text for word in words)
        if not texts:
            raise self.unfinished(self.words)
        if texts in SEEN:
            return [SpaceQuestion("exists")]
        if texts[0] in ("a", "an"):
            return [SpaceQuestion("whether", asked=r.target) for r in self.noun(words)]
        if texts[0] in NO_PREDICATES and self.relation_at(words) < 2:
            raise self.unfinished(words)
        if texts[0] in ("the", "my"):
            return [SpaceQuestion("whether", other=r.target) for r in self.noun(words)]
        if texts[0] in SUPERLATIVE_OF and len(texts) == 1:
            words = [*self.written(words[0], "the"), *words]
            return [SpaceQuestion("whether", other=r.target) for r in self.noun(words)]
        nearer = self._nearer(words, texts)
        if nearer is not None:
            return nearer
        readings = self.only(self.read([*self.written(words[0], "it", "is"), *words]), "verify", words)
        found = []
        for reading in readings:
            target = reading.target
            if target.category not in ("object", "it", "them"):
                raise self.unfinished(words)
            found.append(SpaceQuestion("whether", asked=replace(target, category="object", count=None)))
        return found

    def _nearer(self, words: Words, texts: tuple[str, ...]) -> list[SpaceQuestion] | None:
        """Read "closer to the box than the bowl" and the like."""
        order = NEARNESS.get(SUPERLATIVE_OF.get(texts[0], ""))
        if order is None or "than" not in texts or texts[1:2] not in (("to",), ("from",)):
            return None
        than = texts.index("than")
        if tuple(texts[2:than]) in VIEWERS:
            return None
        rival = [word for word in words[than + 1 :] if word.text not in BE]
        other, than_what = self.noun(words[2:than])[0].target, self.noun(rival)[0].target
        return [SpaceQuestion("whether", other=other, choices=(than_what,), superlative=order)]

    def relation_at(self, words: Words) -> int:
        """Number of words of the longest relation at the start of words; 0 if there is none."""
        table = phrase_table()
        texts = [word.text for word in words[:6]]
        return max((n for n in range(1, len(texts) + 1) if "REL" in table.get(" ".join(texts[:n]), {})), default=0)

    def check_one_question(self, words: Words) -> None:
        """Refuse two questions in one: "the cup on the tray and the bowl in the box"."""
        table = phrase_table()
        for i in range(1, len(words) - 2):
            if words[i].text != "and" or any(word.text in ("between", "among") for word in words[:i]):
                continue
            kinds = table.get(words[i + 1].text, {}).keys()
            described = self.relation_at(words[i + 1 :]) or kinds & {"ADJ", "NOT", "THATIS", "POSTURE", "SUP"}
            if described or words[i + 1].text in ("is", "not"):
                continue
            if any(self.relation_at(words[j:]) and words[j].text != "of" for j in range(i + 2, len(words) - 1)):
                raise self.refusal(words[i:], "these are two questions in one", "ask them one at a time")

    def begins_predicate(self, words: Words, i: int) -> bool:
        """True if a predicate may begin at word `i`; most words cannot begin one and are not tried."""
        if words[i].kind != "word" or words[i - 1].text in ("the", "a", "an", "my", "your"):
            return False
        if any(self.relation_at(words[n:]) > i - n for n in range(max(0, i - 3), i)):  # "at the back | right of"
            return False
        if words[i].text in NO_PREDICATES:
            return self.relation_at(words[i:]) > 1
        if words[i].text[0].isdigit() or words[i].text in _FIRST_OF_PREDICATES:
            return True
        table = phrase_table()
        texts = [word.text for word in words[i : i + 6]]
        kinds = (table.get(" ".join(texts[:n]), {}) for n in range(1, len(texts) + 1))
        return any(SETS.of_predicates & found.keys() for found in kinds) or tuple(texts) in SEEN
