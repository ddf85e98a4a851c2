# SPDX-License-Identifier: Apache-2.0
"""Data classes of public benchmarks: items with images and truths, answers, and published scores.

Independent of file layouts and models. A reader is a function that yields items; a scorer is a function of graded
items; a `Benchmark` combines both with information for people. All benchmarks are listed in `catalogue`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from spatial_vlm_lab.scoring.comparing import clustered
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.types.proportions import Interval, Share, wilson

FractionPoint = tuple[float, float]
"""(x, y) as fractions of an image's width and height, 0 to 1."""


class BenchmarkImage(Protocol):
    """An image of an item; it is decoded only when read. See `published_files`."""

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
    """Answer of a model to an item.

    Args:
        choice: index of the chosen option; None = no option was chosen, or the item asks for points.
        points: (x, y) as fractions of the image's width and height; empty = no points.
        unread: why a pointing reply has no readable locations; "" = it could be read.
    """

    choice: int | None = None
    points: tuple[FractionPoint, ...] = ()
    text: str = ""
    unread: str = ""


class PointTruth(Protocol):
    """Truth of an item that asks for points; see `pointing`."""

    def credit(self, answer: BenchmarkAnswer) -> float:
        """Credit by the benchmark's rules, 0 to 1; 0 for an answer without points.

        Raises:
            FileError: a mask cannot be read.
        """
        ...

    def described(self) -> str:
        """Text that identifies the truth, and changes with it."""
        ...


@dataclass(frozen=True)
class ChoiceTruth:
    """Options with one right option.

    Args:
        choices: two or more different texts, in the order shown to a model.
        right: index of the right option.
        rule: whether a written reply is right by published rules; None if they cannot tell, so that the option that
            the package read counts.
    """

    choices: tuple[str, ...]
    right: int
    rule: Callable[[str, ChoiceTruth], bool | None] | None = None

    def __post_init__(self) -> None:
        if len(self.choices) < 2 or len(set(self.choices)) < len(self.choices) or not all(self.choices):
            raise InputError("options", repr(self.choices), "two or more texts, all different")
        if not 0 <= self.right < len(self.choices):
            raise InputError("right option", str(self.right), f"0 to {len(self.choices) - 1}")

    def credit(self, answer: BenchmarkAnswer) -> float:
        """1 for the right option, else 0."""
        right = self.rule(answer.text, self) if self.rule is not None and answer.text else None
        return float(answer.choice == self.right if right is None else right)

    def described(self) -> str:
        """What identifies the truth."""
        return repr((self.choices, self.right))


@dataclass(frozen=True)
class BenchmarkItem:
    """One question about one image.

    Args:
        question: in the benchmark's words, without options.
        splits: name of a split → the part that the item belongs to, such as {"relation": "left of"}; each part has its
            own row in tables.
        group: name shared by items with correlated errors, usually those of one image; "" = independent.
        variants: keys of all items of the data that are variants of one question with this one, including damaged ones
            and itself; empty if the benchmark has no variants.
        counter_heuristic: whether the truth contradicts a rule of thumb ("higher in the image is farther"); None if the
            benchmark's data cannot tell.
        prompt: the complete published prompt, including options and answer form; "" = `asking` composes one.
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
        """Options of the truth; empty for items that ask for points."""
        return self.truth.choices if isinstance(self.truth, ChoiceTruth) else ()


@dataclass(frozen=True)
class DamagedItem:
    """An item that cannot be asked: it is counted and listed, but not part of any score."""

    key: str
    reason: str


class DamagedError(Exception):
    """A row of a published file cannot be asked; the text is the reason."""


@dataclass(frozen=True)
class GradedItem:
    """An item with the credit of its answer.

    Args:
        credit: 0 to 1; for items with options 0 or 1.
        answered: whether an option or a point was given. Without one the item counts 0.
    """

    item: BenchmarkItem
    credit: float
    answered: bool = True


@dataclass(frozen=True)
class PublishedScore:
    """A score as the benchmark's authors compute it.

    Args:
        name: the authors' name, such as "CV-Bench" or "set A, pairs".
        value: 0 to 1, by the authors' formula.
        share: k of n with its Wilson interval, if the score is a share.
        interval: value with its 95 % interval, if the score is not a share; see `mean_credit`.
        note: how it differs from a plain share, if it does.
    """

    name: str
    value: float
    n: int
    share: Share | None = None
    interval: Interval | None = None
    note: str = ""


ReadItems = Callable[[Path, str], Iterator[BenchmarkItem | DamagedItem]]
"""Yields the items of a folder in the order of the published files.

Raises FileError if the data is missing (with `Benchmark.source`, the second argument, as fix) or a complete file does
not have the published form; a damaged item is yielded as DamagedItem.
"""
ScoreItems = Callable[[Sequence[GradedItem]], tuple[PublishedScore, ...]]
"""Scores as published; called with one graded item or more."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of `spatial-vlm benchmark`.

    Args:
        answers: "options", "points" or "options and points".
        licence: licence of the data as its authors state it, or "not stated".
        published: items of the whole published data, damaged ones included; None if not published.
    """

    name: str
    title: str
    answers: str
    layout: str
    source: str
    licence: str
    scorer: str
    reader: ReadItems
    score: ScoreItems
    published: int | None = None

    def read(self, folder: Path) -> Iterator[BenchmarkItem | DamagedItem]:
        """Yield the items of a folder; see ReadItems."""
        return self.reader(folder, self.source)


def shuffled(choices: Sequence[str], right: int, key: str) -> ChoiceTruth:
    """Shuffle options in an order that depends only on the item's key, for benchmarks that list the right one first.

    Args:
        choices: options in published order.
        right: index of the right one in `choices`.
    """
    order = list(range(len(choices)))
    random.Random(key).shuffle(order)
    return ChoiceTruth(tuple(choices[n] for n in order), order.index(right))


# ------------------------------------------------------------------------------------------------ scores


_DIGITS = 6


def accuracy(name: str, graded: Sequence[GradedItem]) -> PublishedScore:
    """Share of items with full credit, with its Wilson interval; an item without an answer is wrong."""
    share = wilson(sum(one.credit == 1.0 for one in graded), len(graded))
    return PublishedScore(name, share.share, share.n, share)


def mean_credit(name: str, graded: Sequence[GradedItem]) -> PublishedScore:
    """Mean of fractional credits, such as the share of points inside a mask.

    The 95 % interval has percentiles over resampled items, because Wilson's does not apply to such means. If all
    credits are 0 or 1, it is a share with Wilson's interval: resampling items that are all right or all wrong gives no
    width.
    """
    if all(one.credit in (0.0, 1.0) for one in graded):
        return accuracy(name, graded)
    found = resampled_mean([one.credit for one in graded])
    return PublishedScore(name, found.value, len(graded), interval=found)


def resampled_mean(values: Sequence[float]) -> Interval:
    """The mean with its 95 % interval from percentiles over resampled values.

    Args:
        values: one or more, 0 to 1.
    """
    only = round(values[0], _DIGITS)
    return clustered((str(n), value) for n, value in enumerate(values)) or Interval(only, only, only)


def mean_of_accuracies(name: str, parts: Sequence[tuple[float, Sequence[GradedItem]]]) -> PublishedScore:
    """Weighted mean of the accuracies of disjoint parts.

    The interval joins the Wilson bounds of the parts: the distance to each bound is the root of the sum of squares of
    the parts' weighted distances. Source: Zou and Donner (2008), Construction of confidence limits about effect
    measures, Statistics in Medicine 27, 1693-1702 (MOVER).

    Args:
        parts: weight and items of each part, at least one item each. The weights sum to 1.
    """
    shares = [(weight, wilson(sum(one.credit == 1.0 for one in graded), len(graded))) for weight, graded in parts]
    value = sum(weight * share.share for weight, share in shares)
    down = math.sqrt(sum((weight * (share.share - share.low)) ** 2 for weight, share in shares))
    up = math.sqrt(sum((weight * (share.high - share.share)) ** 2 for weight, share in shares))
    interval = Interval(round(value, _DIGITS), round(max(0.0, value - down), _DIGITS), round(value + up, _DIGITS))
    return PublishedScore(name, interval.value, sum(share.n for _, share in shares), interval=interval)


def by_part(graded: Sequence[GradedItem], split: str) -> dict[str, list[GradedItem]]:
    """Group the items of a split by their parts, in order of first occurrence."""
    parts: dict[str, list[GradedItem]] = {}
    for one in graded:
        if split in one.item.splits:
            parts.setdefault(one.item.splits[split], []).append(one)
    return parts


def of_parts(
    graded: Sequence[GradedItem],
    split: str,
    name: str = "{}",
    score: Callable[[str, Sequence[GradedItem]], PublishedScore] = accuracy,
) -> tuple[PublishedScore, ...]:
    """Score of each part of a split.

    Args:
        name: of a score; {} is the part.
    """
    return tuple(score(name.format(part), items) for part, items in by_part(graded, split).items())
