# SPDX-License-Identifier: Apache-2.0
"""Reason and repair for words that are refused; refusals.toml has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from spatial_vlm_ros.errors import NotUnderstoodError, RefusedWords
from spatial_vlm_ros.language import distances, lexicon
from spatial_vlm_ros.language.patterns import SETS, read_table
from spatial_vlm_ros.language.words import Token, Word
from spatial_vlm_ros.types import Distance, FrameOfReference


@dataclass
class Phrase:
    """One noun phrase without the items after it."""

    category: str  # the noun, or "object"
    attributes: tuple[str, ...] = ()
    count: int | None = None
    superlative: str | None = None  # canonical superlative or None
    order: int | None = None  # n of an ordinal, -1 for "last", -2 for "last but one", or None
    order_from: str | None = None
    frame: FrameOfReference | None = None
    person: bool = False  # True if it is the speaker or the robot
    elliptic: bool = False  # True if no noun was said ("the red")
    start: int = 0  # first character in the instruction
    end: int = 0
    spread: tuple[FrameOfReference, ...] = ()  # frames of reference said in it that hold for the whole command
    choice: Literal["any"] | None = None  # "any" if any one will do
    one: bool = False  # True if it is "one" or has no noun: it takes the noun of a related object
    other: str | None = None  # "other" or "another" if that was said
    refers: str | None = None  # "it", "them", "this", … if nothing else was said
    partitive: bool = False  # True if the count is a part of a larger number ("two of the three mugs")
    pointed: bool = False  # True for a pointing word ("that one"); words alone do not show what it means
    also: str | None = None  # a second direction ("the front left compartment"), or None
    vague: bool = False  # True if several are meant without a number ("a few mugs")


@dataclass
class Attachable:
    """One item that follows a phrase.

    Args:
        kind: "clause" (relation and anchor), "also" (a further phrase after "and"), "side" (superlative phrase), "from"
            (side an ordinal counts from), "placed" ("second from the left"), "adjective", "frame" (of reference, for
            the whole command).
        also: further relations to the same anchor ("in the back left corner of"); the second side ("at the back left").
        anchors: nodes that a clause relates to, once it is attached (`assembly.Attachment`).
    """

    kind: str
    start: int  # first character in the instruction
    end: int
    link: str = ""  # "", "and", "but" or "comma"
    relative: bool = False  # True if "that is" comes before it
    negated: bool = False  # True if "not" comes before it
    name: str = ""
    frame: FrameOfReference | None = None
    motion: bool = False  # True if the words only name a destination ("onto")
    phrase: Phrase | None = None
    words: tuple[str, ...] = ()
    predicate: bool = False  # True if it describes the head of the sentence ("the mug is …")
    joined: bool = False  # True if it attaches where the item before it does ("left of and behind the box")
    order: int | None = None  # n of a "placed" item
    distance: Distance | None = None
    tight: bool = False  # True if it belongs to the noun right before it ("the lid of the jar")
    also: tuple[str, ...] = ()
    said: str = ""
    parted: bool = False  # True if the end of a split verb comes before it ("set the cup down next to …")
    anchors: list[int] = field(default_factory=list)


@dataclass
class VerbPhrase:
    """One verb with the items after it: a command, or what stands for one in a question, statement or bare phrase."""

    action: str  # of the verb; `FORBIDDEN` begins a forbidden one
    head: Phrase
    items: list[Attachable] = field(default_factory=list)
    start: int = 0
    end: int = 0
    verb: str = ""  # the verb as said, lower case
    second: int | None = None  # first item of a joined command about the object ("… and put it on the tray")


TOPIC = "topic"
"""Stands for the verb of an object that is named before the command about it."""

_READ = read_table("refusals")
_REASONS = _READ["kinds"] | _READ["reasons"]
_BY_WORD = {word: entry["told"] for entry in _READ["words"].values() for word in entry["words"].split()}
"""Reason and repair for some words that are refused."""
Said = Word | Token | Phrase | Attachable | VerbPhrase
"""A part of an instruction, with its first character and one past the last."""


def refused(instruction: str, name: str, *said: Said, **values: object) -> NotUnderstoodError:
    """The error for some words, or all, that refusals.toml refuses for a reason, by its name or a token's kind."""
    return _error(instruction, [text.format(**values) for text in _REASONS[name]], *said)


def _error(instruction: str, told: Sequence[str], *said: Said, kind: RefusedWords = "refused") -> NotUnderstoodError:
    reason, repair = (*told, _READ["example"])[:2]
    span = (said[0].start, said[-1].end) if said else (0, len(instruction))
    return NotUnderstoodError(instruction, span, reason, repair, kind)


def unexpected(tokens: Sequence[Token], position: int, instruction: str) -> NotUnderstoodError:
    """The error for the token at `position`, which the grammar could not accept; past the last one, too."""
    for token in tokens[: position + 1]:
        if token.kind in SETS.named_first:
            return _unfit(token, instruction)
    if not tokens:
        return refused(instruction, "nothing said")
    if position >= len(tokens):
        last = tokens[-1]
        kind: RefusedWords = "unknown words" if last.kind == "NOUN" else "refused"
        told = _READ["ends_after"].get(last.kind, _REASONS["ends"])
        return _error(instruction, told, last, kind=kind)
    token = tokens[position]
    before = tokens[:position]
    if before and all(each.kind == "NOUN" for each in before) and token.kind in ("DET", "PRON", "QTY", "PERSON"):
        return refused(instruction, "UNKNOWN_VERB", before[0])
    return _unfit(token, instruction)


def _unfit(token: Token, instruction: str) -> NotUnderstoodError:
    """The error for a token of a kind that does not fit where it is."""
    known = _READ["kinds"].get(token.kind)
    if token.kind == "UNITLESS" and distances.is_unit(token.text):  # "the cube of 10 cm"
        known = _REASONS["DIST"]
    if token.kind in ("OUTSIDE", "ADVERB"):
        known = _BY_WORD.get(token.text)
    if token.kind == "VERB" and token.text not in lexicon.PURE_VERBS and " " not in token.text:
        known = _REASONS["steps or words"]
    told = known or _READ["unknown"].get(token.kind, _REASONS["else"])
    return _error(instruction, told, token, kind="refused" if known else "unknown words")


# Words that tell, suppose or report an act, and do not ask for it.

_WHO, _TELLING, _MODAL, _ASKING = map(lexicon.words_of, ("who", "telling", "modal", "asking"))
_SUPPOSING, _SUPPOSED, _SAYING = map(lexicon.words_of, ("supposing", "supposed", "saying"))


def no_order(words: Sequence[Word], instruction: str) -> NotUnderstoodError | None:
    """The error for refused words that tell what happened, suppose a request, or report one; None for others."""
    said = [word for word in words if word.kind == "word"]
    texts = [word.text for word in said]
    past, unchanged = lexicon.past_forms()
    begin = 1 if texts[:1] in (["the"], ["so"], ["but"], ["well"], ["what"], ["and"]) else 0
    for i in range(len(texts) - 1):
        supposed = texts[i] in _SUPPOSING and texts[i + 1] in _WHO and i <= (begin if texts[i] != "if" else i)
        if supposed and (begin == i or (_SUPPOSED | past).intersection(texts[i + 2 : i + 4])):
            return refused(instruction, "supposed", said[i], said[i + 1])
    saying = next((i for i, text in enumerate(texts[:5]) if text in _SAYING), 0)
    subject = _WHO | {"the", "my", "a"}
    if saying and (saying == 1 or texts[0] in subject) and not lexicon.PURE_VERBS.intersection(texts[:saying]):
        return refused(instruction, "reported", said[0], said[saying])
    if len(texts) > 3 and texts[-1] in _SAYING and texts[-2] in _WHO:
        return refused(instruction, "reported", said[-2], said[-1])
    doing = next((i for i, text in enumerate(texts) if i >= begin and text not in _TELLING | _WHO), len(texts))
    happened = past if _MODAL.intersection(texts[:doing]) else past | unchanged
    told = doing < len(texts) and (texts[doing] in happened or (texts[0] in _ASKING and texts[1] in _WHO))
    if told and doing > begin and (texts[begin] in _WHO | _TELLING):
        return refused(instruction, "happened", said[0], said[doing])
    for i in range(1, len(texts) - 1):
        passive = texts[i] in ("was", "were", "been") and texts[i - 1] not in ("that", "which", "who", "it")
        if passive and (past | unchanged).intersection(texts[i + 1 : i + 3]):
            return refused(instruction, "happened", said[i], said[i + 1])
    return None
