# SPDX-License-Identifier: Apache-2.0
"""What a public benchmark is made of: items with images and truths, answers to them, and scores as published.

Knows no file layout and no model. A reader is a function that yields items; a scorer is a function of graded items;
a `Benchmark` joins both with the facts that a person needs. All benchmarks are listed in `catalogue`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.types.proportions import Interval, Share

FractionPoint = tuple[float, float]
"""(x, y) as fractions of an image's width and height, 0 to 1."""


class BenchmarkImage(Protocol):
    """An image of an item; it is decoded when it is read, never before. See `images`."""

    @property
    def name(self) -> str:
        """File, or file and field, for messages."""
        ...

    def read(self) -> Rgb:
        """(H, W, 3) uint8, RGB.

        Raises:
            FileError: missing, damaged or no image.
        """
        ...


@dataclass(frozen=True)
class BenchmarkAnswer:
    """What a model answered.

    Args:
        choice: index of the chosen option; None = none was chosen, or the item asks for points.
        points: (x, y) as fractions of the image's width and height; empty = none was given.
        text: the reply, where the model wrote one.
        unread: why the reply of a model that was to refer names no places; "" = it could be read.
    """

    choice: int | None = None
    points: tuple[FractionPoint, ...] = ()
    text: str = ""
    unread: str = ""


class PointTruth(Protocol):
    """Where points have to lie; each benchmark that asks for points has a class of its own, or `masks.MaskTruth`."""

    def credit(self, answer: BenchmarkAnswer) -> float:
        """0 to 1, as the benchmark counts; 0 for an answer without points.

        Raises:
            FileError: a mask cannot be read.
        """
        ...

    def described(self) -> str:
        """What identifies the truth: changes when the truth changes."""
        ...


@dataclass(frozen=True)
class ChoiceTruth:
    """Options of which one is right.

    Args:
        choices: two or more texts, all different, in the order in which a model sees them.
        right: index of the right one.

    Raises:
        InputError: fewer than two options, two that are the same, or an index of none of them.
    """

    choices: tuple[str, ...]
    right: int

    def __post_init__(self) -> None:
        if len(self.choices) < 2 or len(set(self.choices)) < len(self.choices) or not all(self.choices):
            raise InputError("options", repr(self.choices), "two or more texts, all different")
        if not 0 <= self.right < len(self.choices):
            raise InputError("right option", str(self.right), f"0 to {len(self.choices) - 1}")

    def credit(self, answer: BenchmarkAnswer) -> float:
        """1 for the right option, else 0."""
        return float(answer.choice == self.right)

    def described(self) -> str:
        """What identifies the truth."""
        return repr((self.choices, self.right))


@dataclass(frozen=True)
class BenchmarkItem:
    """One question about one image.

    Args:
        key: its name, unique in the benchmark and the same each time it is read.
        image: that is asked about.
        question: in the benchmark's words, without options.
        truth: options with the right one, or where points have to lie.
        splits: name of a split → the part that the item belongs to, such as {"relation": "left of"}; each part gets a
            row of its own.
        group: items that share their errors, usually those of one image; "" = the item stands alone.
        variants: keys of all items of the data that are variants of one question with this one, damaged ones and itself
            included; empty where the benchmark has no variants.
        counter_heuristic: whether the truth contradicts a rule of thumb ("higher in the image is farther"); None where
            the benchmark has nothing to tell it by.
        phrase: of items that ask for points, the words that name what is meant, for models that refer.
        prompt: the whole prompt as published, options and form of the answer included; "" = `asking` composes one.
    """

    key: str
    image: BenchmarkImage
    question: str
    truth: ChoiceTruth | PointTruth
    splits: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    group: str = ""
    variants: tuple[str, ...] = ()
    counter_heuristic: bool | None = None
    phrase: str = ""
    prompt: str = ""

    @property
    def choices(self) -> tuple[str, ...]:
        """Options of the truth; empty where points are asked for."""
        return self.truth.choices if isinstance(self.truth, ChoiceTruth) else ()


@dataclass(frozen=True)
class DamagedItem:
    """An item that cannot be asked: it is counted and named, and counts for no score.

    Args:
        key: its name, or its place in the file.
        reason: what is wrong with it.
    """

    key: str
    reason: str


@dataclass(frozen=True)
class GradedItem:
    """An item with what its answer counts.

    Args:
        item: that was asked; its image is not looked at any more.
        credit: 0 to 1; of items with options 0 or 1.
        answered: whether an option or a point was given. One that was not counts 0.
    """

    item: BenchmarkItem
    credit: float
    answered: bool = True


@dataclass(frozen=True)
class PublishedScore:
    """A score as the benchmark's authors compute it.

    Args:
        name: as its authors call it, such as "CV-Bench" or "set A, pairs".
        value: 0 to 1, by the authors' formula.
        n: items, pairs or sets that it was computed of.
        share: k of n with its Wilson interval, where the score is a share.
        interval: of the value with its 95 % interval, where it is not a share; see `scoring`.
        note: where it differs from a plain share, how.
    """

    name: str
    value: float
    n: int
    share: Share | None = None
    interval: Interval | None = None
    note: str = ""


ReadItems = Callable[[Path], Iterator[BenchmarkItem | DamagedItem]]
"""Yields the items of a folder in the order of the published files.

Raises FileError where the data is not there (with `Benchmark.source` as repair) or a whole file is not of the published
form; an item that is damaged is yielded as DamagedItem.
"""
ScoreItems = Callable[[Sequence[GradedItem]], tuple[PublishedScore, ...]]
"""Scores as published; called with one graded item or more."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark as `spatial-vlm benchmark` knows it.

    Args:
        name: on the command line.
        title: for people.
        answers: "options", "points" or "options and points".
        layout: files that are read, in one sentence.
        source: one sentence that says where to get the data.
        licence: of the data, as its authors state it; "not stated" where they do not.
        scorer: repository, file and lines of the published scorer.
        read: its reader.
        score: its scorer.
        published: items of the whole published data, damaged ones included; None where no publication says it.
    """

    name: str
    title: str
    answers: str
    layout: str
    source: str
    licence: str
    scorer: str
    read: ReadItems
    score: ScoreItems
    published: int | None = None


def shuffled(choices: Sequence[str], right: int, key: str) -> ChoiceTruth:
    """Options in an order that depends on nothing but the item's key, for benchmarks that list the right one first.

    Args:
        choices: as published.
        right: index of the right one in `choices`.
        key: of the item.

    Raises:
        InputError: as ChoiceTruth.
    """
    order = list(range(len(choices)))
    random.Random(key).shuffle(order)
    return ChoiceTruth(tuple(choices[n] for n in order), order.index(right))
