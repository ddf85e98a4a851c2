# SPDX-License-Identifier: Apache-2.0
"""RoboSpatial-Home: configuration and compatibility as yes or no, context as a point in a polygon.

The Parquet files, or the folder that the authors' download script makes of them:

    data/configuration-*.parquet     category, question, answer, img, depth_image, mask
    data/compatibility-*.parquet     the same
    data/context-*.parquet           the same; an answer is "[(0.41, 0.52), …]", a polygon in fractions of the sides
    annotations.json, images/        a list of the same, images by name relative to the folder

Depth images are not read: models of this package answer these questions from colour. Masks come with context alone;
other projects count a point in the mask, the authors' scorer one in the polygon, which is used here. There is no split
of usual and counter-heuristic questions.

Sources: Song et al. (2025), RoboSpatial; chanhee-luke/RoboSpatial-Eval 19f04a5: download_benchmark.py:60-152 (layout),
evaluation.py (score), README.md, "Leaderboard" (mean of the categories).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from spatial_vlm_lab.benchmarks.choice_replies import after_thinking
from spatial_vlm_lab.benchmarks.images import image_inside
from spatial_vlm_lab.benchmarks.parquet_rows import ParquetImage, parquet_entries
from spatial_vlm_lab.benchmarks.protocol import (
    Benchmark,
    BenchmarkAnswer,
    BenchmarkImage,
    BenchmarkItem,
    ChoiceTruth,
    DamagedItem,
    GradedItem,
    PublishedScore,
)
from spatial_vlm_lab.benchmarks.published_files import found_files, json_entries
from spatial_vlm_lab.benchmarks.scoring import accuracy, by_part, mean_of_accuracies
from spatial_vlm_ros.errors import FileError

SOURCE = (
    "download the dataset chanhee-luke/RoboSpatial-Home from huggingface.co, and pass the folder that holds data/; "
    "or the one that download_benchmark.py of github.com/chanhee-luke/RoboSpatial-Eval makes"
)
CATEGORIES = ("configuration", "compatibility", "context")
_YES_NO = ("yes", "no")
_FORM = "Your answer should be formatted"


# Checks replies to RoboSpatial-Home by the rules of its published scorer.
#
# Source: chanhee-luke/RoboSpatial-Eval 19f04a5, evaluation.py:11-157. Its rules differ from plain reading:
#
# - only the first of several points counts, and it must be a fraction of the image's sides;
# - "(x, y)" is searched in the whole reply, then "[x, y]", both without a sign; only then a list with other numbers;
# - a point on the polygon's edge is inside or outside by the ray rule;
# - for yes and no the first letters of the reply count, so "not sure" and "nothing" are a no.

PolygonPoint = tuple[float, float]

_LONGEST_LIST = 20_000  # characters of a list that is read as Python writes it
_DEEPEST_LIST = 8  # brackets within brackets
_UNSIGNED = r"\s*(\d+(?:\.\d*)?)\s*,\s*(\d+(?:\.\d*)?)\s*"
_IN_ROUND = re.compile(rf"\({_UNSIGNED}\)")
_IN_SQUARE = re.compile(rf"\[{_UNSIGNED}\]")


def starts_as(reply: str, word: str) -> bool:
    """Whether a reply starts with "yes" or "no", whatever follows (lines 32-45).

    Args:
        word: in lower case.
    """
    return reply.strip().lower().startswith(word)


def first_point(reply: str) -> PolygonPoint | None:
    """The point of a reply that counts, or None if the published scorer reads none (lines 57-153)."""
    for form in (_IN_ROUND, _IN_SQUARE):
        if (match := form.search(reply)) is not None:
            return float(match[1]), float(match[2])
    start = reply.find("[")
    end = reply.find("]", start)
    listed = reply[start + 1 : end].strip().removesuffix(",")
    return None if start < 0 or end < 0 else _first_of(_literal(f"[{listed}]"))


def read_polygon(text: str) -> tuple[PolygonPoint, ...] | None:
    """Parse a polygon of the data, "[(0.1, 0.2), …]"; None with fewer than three points (lines 53-55).

    Args:
        text: the item's answer.
    """
    value = _literal(text.strip())
    if not isinstance(value, list) or len(value) < 3:
        return None
    points = [_pair(one) for one in value]
    return None if None in points else tuple(point for point in points if point is not None)


def in_polygon(point: PolygonPoint, corners: Sequence[PolygonPoint]) -> bool:
    """Whether a point lies in a polygon: a ray from it to the right crosses an odd number of sides (lines 11-25).

    A side counts if exactly one of its ends is above the point.

    Args:
        corners: N >= 3, in order round the polygon.
    """
    x, y = point
    inside = False
    for (x0, y0), (x1, y1) in zip(corners, (*corners[-1:], *corners[:-1]), strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            inside = not inside
    return inside


def _literal(text: str) -> Any:
    """Lists, tuples and numbers as Python writes them; None for anything else."""
    if len(text) > _LONGEST_LIST or _depth(text) > _DEEPEST_LIST:
        return None
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _depth(text: str) -> int:
    deepest = depth = 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _first_of(values: Any) -> PolygonPoint | None:
    if not isinstance(values, list) or not values:
        return None
    return _pair(values) or _pair(values[0])


def _pair(value: Any) -> PolygonPoint | None:
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(one, int | float) for one in value):
        try:
            return float(value[0]), float(value[1])
        except OverflowError:
            return None
    return None


@dataclass(frozen=True)
class YesNoTruth(ChoiceTruth):
    """Yes or no; for a written reply the first letters count, as published."""

    def credit(self, answer: BenchmarkAnswer) -> float:
        """1 for the right answer, else 0."""
        said = after_thinking(answer.text)
        return float(starts_as(said, self.choices[self.right])) if said else super().credit(answer)


@dataclass(frozen=True)
class PolygonTruth:
    """A polygon in which the first point has to lie.

    A written reply with a fraction is read as published. Any other reply (tags, pixels, thousandths) is read as the
    model's family is known to write; its first point comes with the answer.

    Args:
        corners: x, y as fractions of the image's sides, in order.
    """

    corners: tuple[PolygonPoint, ...]

    def credit(self, answer: BenchmarkAnswer) -> float:
        """1 for a first point in the polygon, else 0."""
        written = first_point(after_thinking(answer.text))
        if written is None or not all(0.0 <= value <= 1.0 for value in written):
            written = answer.points[0] if answer.points else written
        return float(written is not None and in_polygon(written, self.corners))

    def described(self) -> str:
        """What identifies the truth."""
        return repr(self.corners)


class _RoboSpatialWords(msgspec.Struct):
    category: str
    question: str
    answer: str


class _RoboSpatialEntry(_RoboSpatialWords):
    img: str


class _RoboSpatialRow(_RoboSpatialWords):
    img: ParquetImage


def read_robospatial(folder: Path) -> Iterator[BenchmarkItem | DamagedItem]:
    """Read the questions of a folder; if it has both forms, from the Parquet files. See ReadItems."""
    names = [*(f"data/{category}-*.parquet" for category in CATEGORIES), "annotations.json"]
    found = found_files(folder, names, SOURCE)
    tables = [path for path in found if path.suffix == ".parquet"]
    for path in tables or found:
        yield from _rows(path) if tables else _listed(path)


def _rows(path: Path) -> Iterator[BenchmarkItem | DamagedItem]:
    for place, entry in parquet_entries(path, _RoboSpatialRow, SOURCE):
        if isinstance(entry, DamagedItem):
            yield entry
            continue
        key = f"{path.name.partition('-')[0]}/{place.removeprefix('row ')}"
        yield _item(key, entry, entry.img)


def _listed(listing: Path) -> Iterator[BenchmarkItem | DamagedItem]:
    for place, entry in json_entries(listing, _RoboSpatialEntry, SOURCE):
        if isinstance(entry, DamagedItem):
            yield entry
            continue
        key = f"{entry.category}/{place.strip('$[]')}"
        try:
            yield _item(key, entry, image_inside(listing.parent, entry.img))
        except FileError as error:
            yield DamagedItem(key, str(error))


def _item(key: str, entry: _RoboSpatialWords, image: BenchmarkImage) -> BenchmarkItem | DamagedItem:
    answer = entry.answer.strip().lower()
    if entry.category not in CATEGORIES:
        return DamagedItem(key, f"{entry.category!r} is none of {', '.join(CATEGORIES)}")
    if not entry.question or not answer:
        return DamagedItem(key, "it has no question or no answer")
    splits = {"category": entry.category}
    if answer in _YES_NO:
        truth = YesNoTruth(_YES_NO, _YES_NO.index(answer))
        return BenchmarkItem(key, image, entry.question, truth, splits=splits, prompt=entry.question)
    corners = read_polygon(entry.answer)
    if corners is None:
        return DamagedItem(key, f"its answer {entry.answer[:80]!r} is not yes, no or a polygon")
    words = entry.question.partition(_FORM)[0].strip()
    return BenchmarkItem(key, image, words, PolygonTruth(corners), splits=splits, phrase=words, prompt=entry.question)


def score_robospatial(graded: Sequence[GradedItem]) -> tuple[PublishedScore, ...]:
    """Accuracy of each category, of all questions, and the means of the leaderboard.

    Published: chanhee-luke/RoboSpatial-Eval at 19f04a5, evaluation.py:225-232 (categories), main.py:305-307 (all);
    README.md, "Leaderboard": "VQA avg" of configuration and compatibility, "Total" of all three categories.
    """
    parts = by_part(graded, lambda one: one.item.splits["category"])
    scores = [accuracy(category, parts[category]) for category in CATEGORIES if category in parts]
    scores.append(accuracy("all questions", graded))
    for name, of in (("VQA avg", CATEGORIES[:2]), ("Total", CATEGORIES)):
        if all(category in parts for category in of):
            scores.append(mean_of_accuracies(name, [(1 / len(of), parts[category]) for category in of]))
    return tuple(scores)


ROBOSPATIAL = Benchmark(
    name="robospatial",
    title="RoboSpatial-Home: configuration, compatibility, context",
    answers="options and points",
    layout="data/configuration-*.parquet, data/compatibility-*.parquet and data/context-*.parquet, or annotations.json "
    "with images/; existing files are read",
    source=SOURCE,
    licence="Apache-2.0",
    scorer="chanhee-luke/RoboSpatial-Eval, evaluation.py:11-157, main.py:305-307",
    read=read_robospatial,
    score=score_robospatial,
    published=123 + 105 + 122,  # viewer of chanhee-luke/RoboSpatial-Home
)
