# SPDX-License-Identifier: Apache-2.0
"""What a public benchmark is made of: items with images and truths, answers, and published scores.

A `Benchmark` is one row: the files that it reads, how a row of them becomes an item with its truth, and the scores of
graded items. All benchmarks are listed in `asking`. A reply that names no option by `read_choice` counts as wrong.
"""

from __future__ import annotations

import math
import random
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spatial_vlm_lab.benchmarks.published_files import BenchmarkImage, DamagedError, FoundRows
from spatial_vlm_lab.scoring.comparing import clustered
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types.proportions import Interval, wilson

FractionPoint = tuple[float, float]
"""(x, y) as fractions of an image's width and height, 0 to 1."""


@dataclass(frozen=True)
class BenchmarkAnswer:
    """Answer of a model to an item."""

    choice: int | None = None  # index of an option; None = none was chosen, or the item asks for points
    points: tuple[FractionPoint, ...] = ()
    text: str = ""
    unread: str = ""  # why a pointing reply has no readable locations


@dataclass(frozen=True)
class Truth:
    """What is right about an item."""

    told: str  # identifies the truth, and changes with it
    credit: Callable[[BenchmarkAnswer], float] = field(compare=False)  # 0 to 1; FileError = a mask cannot be read
    choices: tuple[str, ...] = ()  # in the order shown to a model; empty = the item asks for points
    right: int = -1


PublishedRule = Callable[[str, Sequence[str], int], bool | None]
"""Whether a reply, without its thoughts, is right by published rules, given the options and the index of the right one;
None if the rules cannot tell, so that the option that the package read counts."""


def choice_truth(choices: Sequence[str], right: int, rule: PublishedRule | None = None) -> Truth:
    """The truth of a question with two or more different options."""
    options = tuple(choices)
    if len(options) < 2 or len(set(options)) < len(options) or not all(options):
        raise InputError("options", repr(options), "two or more texts, all different")
    if not 0 <= right < len(options):
        raise InputError("right option", str(right), f"0 to {len(options) - 1}")

    def credit(answer: BenchmarkAnswer) -> float:
        told = rule(after_thinking(answer.text), options, right) if rule is not None and answer.text else None
        return float(answer.choice == right if told is None else told)

    return Truth(repr((options, right)), credit, options, right)


def shuffled(choices: Sequence[str], key: str) -> Truth:
    """The truth of options of which the first is right, in an order that depends only on the item's key."""
    order = list(range(len(choices)))
    random.Random(key).shuffle(order)
    return choice_truth([choices[n] for n in order], order.index(0))


@dataclass(frozen=True)
class BenchmarkItem:
    """One question about one image."""

    key: str
    image: BenchmarkImage
    question: str  # in the benchmark's words, without options
    truth: Truth
    splits: Mapping[str, str] = field(default_factory=dict)  # such as {"relation": "left of"}
    group: str = ""  # shared by items with correlated errors, usually those of one image; "" = independent
    variants: Sequence[str] = ()  # keys of the variants of one question, damaged ones too; complete when all are read
    phrase: str = ""  # what to point at, in words; "" = the question
    prompt: str = ""  # the complete published one, with options and answer form; "" = `asking` composes one

    @property
    def choices(self) -> tuple[str, ...]:
        """Options of the truth; empty for items that ask for points."""
        return self.truth.choices


@dataclass(frozen=True)
class GradedItem:
    """An item with the credit of its answer, 0 to 1; `answered` says whether an option or a point was given."""

    item: BenchmarkItem
    credit: float
    answered: bool = True


@dataclass(frozen=True)
class PublishedScore:
    """A score, 0 to 1, as the benchmark's authors compute it, with its 95 % interval."""

    name: str
    value: float
    n: int
    k: int | None  # right ones of n; None if the score is not a share
    low: float
    high: float
    note: str = ""


Graded = Sequence[GradedItem]
Scores = tuple[PublishedScore, ...]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of `spatial-vlm benchmark`."""

    name: str
    title: str
    layout: str
    source: str  # where to get the data; the fix of messages about it
    licence: str  # of the data, as its authors state it, or "not stated"
    scorer: str
    rows: Callable[[Path, str], FoundRows]  # FileError = data is missing or has not the published form
    score: Callable[[Graded], Scores]
    answers: str = "options"  # "options", "points" or "options and points"
    published: int | None = None  # items of the whole published data, damaged ones included

    def read(self, folder: Path) -> tuple[list[BenchmarkItem], dict[str, str]]:
        """The items of a folder, in the order of the files; file and place of each row without one → the reason."""
        items: dict[str, BenchmarkItem] = {}
        damaged: dict[str, str] = {}
        for row, item in self.rows(folder, self.source):
            try:
                if row.reason:
                    raise DamagedError(row.reason)
                made = item(row, **row.fields)
                if made.key in items:
                    raise DamagedError(f"an earlier item has its name, {made.key}")
                items[made.key] = made
            except (DamagedError, InputError) as error:
                damaged[f"{row.path.relative_to(folder)} at {row.place}"] = str(error)
        return list(items.values()), damaged


# ------------------------------------------------------------------------------------------------ replies


_THOUGHT = "</think>"
_MARKERS = re.compile(r"(?:\banswer\s*(?:is|:)|</?answer>)\s*:?", re.IGNORECASE)
_TOKENS = re.compile(r"^(?:\s*(?:</?s>|<\|\w+\|>))+|(?:(?:</?s>|<\|\w+\|>)\s*)+$")  # left in by some servers: "<s> A"
_WRAPPING = " \t\r\n\"'`*_.!"
_LETTER = re.compile(r"\(?([A-Za-z])(?:[).:,]|$)\s*")
_BRACKETED = re.compile(r"\(([A-Za-z])\)")


def letters(count: int) -> str:
    """The letters of options, A first."""
    return "".join(chr(ord("A") + n) for n in range(count))


def after_thinking(text: str) -> str:
    """The part of a reply after its last "</think>", for published rules, which know no thoughts."""
    return text.rsplit(_THOUGHT, 1)[-1].lstrip() if _THOUGHT in text else text


def read_choice(text: str, choices: Sequence[str]) -> int | None:
    """The only option that a reply names, by the rules of docs/public_benchmarks.md, "How a reply is read"."""
    parts = _MARKERS.split(_TOKENS.sub("", unicodedata.normalize("NFKC", text.rsplit(_THOUGHT, 1)[-1])))
    said = next((part.strip(_WRAPPING) for part in reversed(parts) if part.strip(_WRAPPING)), "")
    wanted = [unicodedata.normalize("NFKC", choice).strip(_WRAPPING).casefold() for choice in choices]
    if said.casefold() in wanted:
        return wanted.index(said.casefold())
    known = letters(len(choices))
    bracketed = {known.index(one.upper()) for one in _BRACKETED.findall(said) if one.upper() in known}
    first = _LETTER.match(said)
    if first and first[1].upper() in known:
        return known.index(first[1].upper()) if len(bracketed) < 2 else None
    letter, space, rest = said.partition(" ")
    if space and letter in known and rest.strip(_WRAPPING).casefold() == wanted[known.index(letter)]:
        return known.index(letter)
    longest_first = "|".join(re.escape(one) for one in sorted(wanted, key=len, reverse=True) if one)
    words = re.findall(rf"(?<!\w)(?:{longest_first})(?!\w)", said, re.IGNORECASE) if longest_first else []
    found = {word.casefold() for word in words}
    named = [n for n, one in enumerate(wanted) if one in found]
    if len(named) == 1:
        return named[0]
    return bracketed.pop() if len(bracketed) == 1 and not named else None


# ------------------------------------------------------------------------------------------------ scores


RULE, USUAL, CONTRARY = "rule of thumb", "usual", "counter-heuristic"
"""A split of items by whether the truth contradicts a rule of thumb, such as "higher in the image is farther"."""
_DIGITS = 6


def share_of(name: str, right: Sequence[bool], value: float | None = None, note: str = "") -> PublishedScore:
    """Share of the right ones with its Wilson interval; `value` is by the authors' formula, None = the share."""
    share = wilson(sum(right), len(right))
    return PublishedScore(name, share.share if value is None else value, share.n, share.k, share.low, share.high, note)


def accuracy(name: str, graded: Graded) -> PublishedScore:
    """Share of items with full credit; an item without an answer is wrong."""
    return share_of(name, [one.credit == 1.0 for one in graded])


def mean_credit(name: str, graded: Graded) -> PublishedScore:
    """Mean of fractional credits, such as the share of points inside a mask.

    The 95 % interval has percentiles over resampled items. If all credits are 0 or 1, it is a share with Wilson's
    interval, because resampling items that are all right or all wrong gives no width.
    """
    if all(one.credit in (0.0, 1.0) for one in graded):
        return accuracy(name, graded)
    found = resampled_mean([one.credit for one in graded])
    return PublishedScore(name, found.value, len(graded), None, found.low, found.high)


def resampled_mean(values: Sequence[float]) -> Interval:
    """The mean of one value or more with its 95 % interval from percentiles over resampled values."""
    only = round(values[0], _DIGITS)
    return clustered((str(n), value) for n, value in enumerate(values)) or Interval(only, only, only)


def mean_of_parts(name: str, parts: Mapping[str, Graded], weights: Mapping[str, float]) -> list[PublishedScore]:
    """Mean of the accuracies of parts with a weight, which sum to 1; no score if one of these has no item.

    The distance to each bound is the root of the sum of squares of the parts' weighted distances to Wilson's bounds:
    MOVER, Zou and Donner (2008), Statistics in Medicine 27, 1693-1702.
    """
    if not all(part in parts for part in weights):
        return []
    shares = [(weight, accuracy("", parts[part])) for part, weight in weights.items()]
    value = sum(weight * share.value for weight, share in shares)
    down = math.hypot(*(weight * (share.value - share.low) for weight, share in shares))
    up = math.hypot(*(weight * (share.high - share.value) for weight, share in shares))
    low, high = round(max(0.0, value - down), _DIGITS), round(value + up, _DIGITS)
    return [PublishedScore(name, round(value, _DIGITS), sum(share.n for _, share in shares), None, low, high)]


def by_part(graded: Graded, split: str) -> dict[str, list[GradedItem]]:
    """Group the items of a split by their parts, in order of first occurrence."""
    parts: dict[str, list[GradedItem]] = {}
    for one in graded:
        if split in one.item.splits:
            parts.setdefault(one.item.splits[split], []).append(one)
    return parts


def of_parts(
    graded: Graded,
    split: str,
    name: str = "{}",
    score: Callable[[str, Graded], PublishedScore] = accuracy,
) -> Scores:
    """Score of each part of a split; {} in a name is the part."""
    return tuple(score(name.format(part), items) for part, items in by_part(graded, split).items())
