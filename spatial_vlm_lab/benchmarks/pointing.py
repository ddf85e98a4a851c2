# SPDX-License-Identifier: Apache-2.0
"""Benchmarks that ask for points: RefSpatial-Bench, Where2Place, and RoboSpatial-Home, which also asks yes or no.

The published readers of replies have rules of their own, with side effects that are part of the published figures: they
are kept and named here. `perception.replies` reads the same replies by what the model's family is known to write; use
that to answer a question, and this to compare with published figures.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from spatial_vlm_lab.benchmarks.protocol import (
    Benchmark,
    BenchmarkAnswer,
    BenchmarkImage,
    BenchmarkItem,
    ChoiceTruth,
    DamagedError,
    DamagedItem,
    FractionPoint,
    GradedItem,
    PublishedScore,
    accuracy,
    by_part,
    mean_credit,
    mean_of_accuracies,
    of_parts,
)
from spatial_vlm_lab.benchmarks.published_files import ParquetImage, PublishedRow, image_inside, image_of, reader_of
from spatial_vlm_lab.benchmarks.reply_reading import after_thinking
from spatial_vlm_ros.errors import FileError, InputError

_FORM = "Your answer should be formatted"

# ------------------------------------------------------------------------------------------------ points in a mask
#
# RefSpatial-Bench and Where2Place have the same score: the mean over the questions of the share of marked pixels inside
# the mask. A reply with fractions in round brackets, the form of the published prompts, and one that the package could
# not read, are read by the published reader, side effects included. Of any other reply (JSON, tags, pixels,
# thousandths), which it reads as pixels or not at all, the points come with the answer.
#
# Sources: `robopoint_cells`: wentaoyuan/RoboPoint adbee8d, robopoint/eval/summarize_vqa.py:9-34; `roborefer_cells`:
# Zhoues/RoboRefer d97a995, Evaluation/summarize_acc.py:11-34. Its readers of Molmo's tags and Gemini's JSON (lines
# 37-63) have no counterpart here: the package reads both, to the same pixels, and single points of Molmo as well.

Cells = tuple[int, int, int, int]
"""Whole pixels: first column, first row, one past the last column, one past the last row. A point is one pixel."""

MOST_CHARACTERS = 262_144
"""Longer replies are cut here before they are read; a list of 10,000 points is shorter."""

_NUMBER = r"[-+]?\d+(?:\.\d*)?"
_VECTOR = re.compile(rf"\(({_NUMBER}(?:,\s*{_NUMBER})*)\)")
_FRACTION = r"(?:0(?:\.\d*)?|1(?:\.0*)?)"
_FRACTIONS = re.compile(rf"\({_FRACTION}(?:,\s*{_FRACTION})+\)")


def robopoint_cells(text: str, width: int = 640, height: int = 480) -> tuple[Cells, ...] | None:
    """What RoboPoint's scorer reads: "(x, y)" and "(x0, y0, x1, y1)", with no space after the first bracket.

    A pair with a decimal point in either number is a fraction of the image; others are pixels. Four numbers are a
    box; its first number decides. A box is cut at the image's sides and, as slices of Python are, counted from
    the right or the bottom where a number is negative. Other brackets are passed over.

    Args:
        width: width of the image for fractions, pixels. The published call (line 55) uses the default of 640 x 480.
        height: height of that image, pixels.

    Returns:
        None if a number is too large to be one.
    """
    return _cells(text, width, height, of_robopoint=True)


def roborefer_cells(text: str, width: int, height: int) -> tuple[Cells, ...] | None:
    """What RoboRefer's scorer reads of tuples; differs from RoboPoint's in boxes.

    Four numbers are always fractions, and boxes are not cut at the image's sides: what lies outside counts as missed. A
    box with its corners in another order makes the published scorer leave the question out.

    Args:
        width: width of the mask, pixels.
        height: height of the mask, pixels.

    Returns:
        None if the published scorer leaves the question out of the mean (line 81-84).
    """
    return _cells(text, width, height, of_robopoint=False)


def _cells(text: str, width: int, height: int, of_robopoint: bool) -> tuple[Cells, ...] | None:
    """Pixels of points and boxes; a point's fractions are truncated towards 0, so -0.5 is pixel 0."""
    found: list[Cells] = []
    sides = (width, height, width, height)
    try:
        for match in _VECTOR.findall(text[:MOST_CHARACTERS]):
            vector = [float(number) if "." in number else int(number) for number in match.split(",")]
            if len(vector) not in (2, 4):
                continue
            floats = [isinstance(number, float) for number in vector]
            scaled = [int(number * side) for number, side in zip(vector, sides, strict=False)]
            if len(vector) == 2:
                column, row = scaled if any(floats) else map(int, vector)
                found.append((column, row, column + 1, row + 1))
            else:
                if of_robopoint and any(floats) and not floats[0]:
                    return None
                left, top, right, bottom = scaled if floats[0] or not of_robopoint else map(int, vector)
                if of_robopoint:
                    left, right, _ = slice(left, right).indices(width)
                    top, bottom, _ = slice(top, bottom).indices(height)
                elif right < left or bottom < top:
                    return None
                if left < right and top < bottom:
                    found.append((left, top, right, bottom))
    except (ValueError, OverflowError):
        return None
    return tuple(found)


def cells_of(points: Sequence[FractionPoint], width: int, height: int) -> tuple[Cells, ...]:
    """The pixels that points lie in; those of points outside an image are outside it."""
    if not np.isfinite(np.asarray(points, np.float64)).all():
        raise InputError("points", str(points), "finite fractions of the image's size", "leave this point out")
    pixels = [
        (math.floor(min(max(x * width, -1.0), width)), math.floor(min(max(y * height, -1.0), height)))
        for x, y in points
    ]
    return tuple((x, y, x + 1, y + 1) for x, y in pixels)


def share_in_mask(cells: tuple[Cells, ...], weights: npt.NDArray[np.float64]) -> float:
    """Mean weight of all marked pixels; pixels outside the mask have weight 0, and without pixels the mean is 0.

    RoboPoint summarize_vqa.py:60-68 and RoboRefer summarize_acc.py:86-93 both do so.

    Args:
        cells: marked cells; a pixel counts as often as it is marked.
        weights: (H, W), 0 to 1.
    """
    height, width = weights.shape
    total = inside = 0.0
    for left, top, right, bottom in cells:
        total += float(right - left) * float(bottom - top)
        columns = slice(min(max(left, 0), width), min(max(right, 0), width))
        rows = slice(min(max(top, 0), height), min(max(bottom, 0), height))
        inside += float(weights[rows, columns].sum())
    return inside / total if total else 0.0


@dataclass(frozen=True)
class MaskTruth:
    """Mask of the right pixels of an image; see PointTruth.

    Args:
        mask: an image of the size of the item's.
        image: image of the item.
        published: reads the pixels that a reply marks in an image of a width and height, by the benchmark's rules.
        graded: whether a pixel counts by its value, 255 as 1; otherwise each that is not 0 in every channel counts 1.
    """

    mask: BenchmarkImage
    image: BenchmarkImage
    published: Callable[[str, int, int], tuple[Cells, ...] | None] = roborefer_cells
    graded: bool = False

    def credit(self, answer: BenchmarkAnswer) -> float:
        """Mean weight of the marked pixels."""
        mask = self.mask.read()
        height, width = self.image.read().shape[:2]
        if mask.shape[:2] != (height, width):
            got = f"the mask has {mask.shape[1]}x{mask.shape[0]} pixels, the image {width}x{height}"
            raise FileError(self.mask.name, got, "download both again")
        weights = mask[..., 0] / 255.0 if self.graded else np.any(mask > 0, axis=2).astype(np.float64)
        said = after_thinking(answer.text)
        if answer.points and not _FRACTIONS.search(said):
            return share_in_mask(cells_of(answer.points, width, height), weights)
        return share_in_mask(self.published(said, width, height) or (), weights)

    def described(self) -> str:
        """What identifies the truth: the mask's name."""
        return self.mask.name


# ------------------------------------------------------------------------------------------------ RefSpatial-Bench
#
# "Point at what these words mean", with the right pixels as a mask: all that are not 0 count 1. A task that exists both
# as a folder and as Parquet files is read from its folder. `steps` counts the authors' steps of reasoning. There is no
# split of usual and counter-heuristic questions.
#
# Source: Zhou et al. (2025), RoboRefer; layout and prompt: Zhoues/RoboRefer d97a995,
# Evaluation/test_benchmark.py:18-57; Parquet files: the card of BAAI/RefSpatial-Bench on huggingface.co.


class _RefSpatialWords(msgspec.Struct):
    id: int
    object: str
    prompt: str
    suffix: str
    step: int


class _RefSpatialEntry(_RefSpatialWords, rename={"image": "rgb_path", "mask": "mask_path"}):
    image: str
    mask: str


class _RefSpatialRow(_RefSpatialWords):
    image: ParquetImage
    mask: ParquetImage


def _task_of(path: Path) -> str:
    return path.parent.name if path.suffix == ".json" else path.name.partition("-")[0].capitalize()


def _folders_first(found: list[Path]) -> Iterator[Path]:
    folders = {_task_of(path) for path in found if path.suffix == ".json"}
    return (path for path in found if path.suffix == ".json" or _task_of(path) not in folders)


def _refspatial_item(row: PublishedRow[_RefSpatialEntry | _RefSpatialRow]) -> BenchmarkItem:
    entry = row.entry
    image, mask = (image_of(row.path.parent, one) for one in (entry.image, entry.mask))
    return BenchmarkItem(
        row.key, image, entry.prompt, MaskTruth(mask, image),
        splits={"task": _task_of(row.path), "steps": str(entry.step)}, phrase=entry.object,
        prompt=f"{entry.prompt} {entry.suffix}",
    )  # fmt: skip


_refspatial_rows = reader_of(
    [
        *("Location/question.json", "data/location-*.parquet", "Placement/question.json", "data/placement-*.parquet"),
        *("Unseen/question.json", "data/unseen-*.parquet"),
    ],
    {".json": _RefSpatialEntry, ".parquet": _RefSpatialRow},
    _refspatial_item,
    lambda row: f"{_task_of(row.path)}/{row.entry.id}",
    _folders_first,
)


def _read_refspatial(folder: Path, source: str) -> Iterator[BenchmarkItem | DamagedItem]:
    """Read the questions of all tasks in a folder, task by task."""
    seen: set[str] = set()
    for item in _refspatial_rows(folder, source):
        yield DamagedItem(item.key, "its id occurs twice") if item.key in seen else item
        seen.add(item.key)


REFSPATIAL = Benchmark(
    name="refspatial",
    title="RefSpatial-Bench: location, placement, unseen",
    answers="points",
    layout="Location/, Placement/ and Unseen/ with question.json, image/ and mask/; or data/location-*.parquet, "
    "data/placement-*.parquet and data/unseen-*.parquet; existing files are read",
    source="download the dataset BAAI/RefSpatial-Bench from huggingface.co, and pass the folder that holds Location/, "
    "Placement/ and Unseen/, or data/",
    licence="Apache-2.0",
    scorer="Zhoues/RoboRefer, Evaluation/summarize_acc.py:11-98",
    reader=_read_refspatial,
    score=lambda graded: of_parts(graded, "task", score=mean_credit),
    published=100 + 100 + 77,  # README.md of BAAI/RefSpatial-Bench, dataset_info
)

# ------------------------------------------------------------------------------------------------ Where2Place
#
# "Point at the free space …" in photographs of rooms and tables, with the right pixels as a mask. Masks are named by
# the number of the line, from 0, whatever `question_id` says. They are JPEG files: a pixel counts by its value.
#
# Source: Yuan et al. (2024), RoboPoint; wentaoyuan/RoboPoint adbee8d, robopoint/eval/model_vqa.py (fields),
# robopoint/eval/summarize_vqa.py:45-69 (masks, score).

_LINES = "point_questions.jsonl"


class _Where2PlaceEntry(msgspec.Struct):
    image: str
    text: str


def _where2place_item(row: PublishedRow[_Where2PlaceEntry]) -> BenchmarkItem:
    image = image_inside(row.path.parent / "images", row.entry.image)
    mask = image_inside(row.path.parent / "masks", f"{row.key}.jpg")
    truth = MaskTruth(mask, image, lambda text, _width, _height: robopoint_cells(text), graded=True)
    question = row.entry.text.partition(_FORM)[0].strip()
    return BenchmarkItem(row.key, image, question, truth, phrase=question, prompt=row.entry.text)


WHERE2PLACE = Benchmark(
    name="where2place",
    title="Where2Place",
    answers="points",
    layout=f"{_LINES}, images/, masks/00.jpg and so on",
    source="download the dataset wentao-yuan/where2place from huggingface.co, and pass the folder that holds "
    f"{_LINES}, images/ and masks/",
    licence="Apache-2.0",
    scorer="wentaoyuan/RoboPoint, robopoint/eval/summarize_vqa.py:9-69",
    reader=reader_of(
        [_LINES],
        {".jsonl": _Where2PlaceEntry},
        _where2place_item,
        lambda row: f"{row.number:02d}",
    ),
    score=lambda graded: (mean_credit("Where2Place", graded),),
    published=100,  # README.md of wentao-yuan/where2place
)

# ------------------------------------------------------------------------------------------------ RoboSpatial-Home
#
# Configuration and compatibility as yes or no, context as a point in a polygon, "[(0.41, 0.52), …]" in fractions of the
# sides. Masks come with context alone; other projects count a point in the mask, the authors' scorer one in the
# polygon, which is used here. There is no split of usual and counter-heuristic questions.
#
# The published scorer's rules differ from plain reading:
#
# - only the first of several points counts, and it must be a fraction of the image's sides;
# - "(x, y)" is searched in the whole reply, then "[x, y]", both without a sign; only then a list with other numbers;
# - for yes and no the first letters of the reply count, so "not sure" and "nothing" are a no.
#
# Source: Song et al. (2025), RoboSpatial; layout: chanhee-luke/RoboSpatial-Eval 19f04a5, download_benchmark.py:60-152;
# score: evaluation.py:11-157.

_CATEGORIES = ("configuration", "compatibility", "context")
_YES_NO = ("yes", "no")
_LONGEST_LIST = 20_000  # characters of a list that is read as Python writes it
_DEEPEST_LIST = 8  # brackets within brackets
_UNSIGNED = r"\s*(\d+(?:\.\d*)?)\s*,\s*(\d+(?:\.\d*)?)\s*"
_IN_ROUND = re.compile(rf"\({_UNSIGNED}\)")
_IN_SQUARE = re.compile(rf"\[{_UNSIGNED}\]")


def first_point(reply: str) -> FractionPoint | None:
    """The point of a reply that counts, or None if the published scorer reads none (lines 57-153)."""
    for form in (_IN_ROUND, _IN_SQUARE):
        if (match := form.search(reply)) is not None:
            return float(match[1]), float(match[2])
    start = reply.find("[")
    end = reply.find("]", start)
    listed = reply[start + 1 : end].strip().removesuffix(",")
    values = None if start < 0 or end < 0 else _literal(f"[{listed}]")
    return _pair(values) or _pair(values[0]) if values and isinstance(values, list) else None


def read_polygon(text: str) -> tuple[FractionPoint, ...] | None:
    """Parse a polygon of the data, "[(0.1, 0.2), …]"; None with fewer than three points (lines 53-55).

    Args:
        text: the item's answer.
    """
    value = _literal(text.strip())
    if not isinstance(value, list) or len(value) < 3:
        return None
    points = [_pair(one) for one in value]
    return None if None in points else tuple(point for point in points if point is not None)


def in_polygon(point: FractionPoint, corners: Sequence[FractionPoint]) -> bool:
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
    deepest = depth = 0
    for sign in text[: _LONGEST_LIST + 1]:
        depth += (sign in "([{") - (sign in ")]}")
        deepest = max(deepest, depth)
    if len(text) > _LONGEST_LIST or deepest > _DEEPEST_LIST:
        return None
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _pair(value: Any) -> FractionPoint | None:
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(one, int | float) for one in value):
        try:
            return float(value[0]), float(value[1])
        except OverflowError:
            return None
    return None


def starts_as_published(reply: str, truth: ChoiceTruth) -> bool | None:
    """Whether a reply starts with the right one of "yes" and "no", whatever follows (lines 32-45)."""
    said = after_thinking(reply)
    return said.strip().lower().startswith(truth.choices[truth.right]) if said else None


@dataclass(frozen=True)
class PolygonTruth:
    """A polygon in which the first point has to lie.

    A written reply with a fraction is read as published. Any other reply (tags, pixels, thousandths) is read as the
    model's family is known to write; its first point comes with the answer.

    Args:
        corners: x, y as fractions of the image's sides, in order.
    """

    corners: tuple[FractionPoint, ...]

    def credit(self, answer: BenchmarkAnswer) -> float:
        """1 for a first point in the polygon, else 0."""
        written = first_point(after_thinking(answer.text))
        if written is None or not all(0.0 <= value <= 1.0 for value in written):
            written = answer.points[0] if answer.points else written
        return float(written is not None and in_polygon(written, self.corners))

    def described(self) -> str:
        """What identifies the truth."""
        return repr(self.corners)


class _HomeEntry(msgspec.Struct):
    category: str
    question: str
    answer: str
    img: str | ParquetImage


def _home_key(row: PublishedRow[Any]) -> str:
    part = row.entry.category if row.path.suffix == ".json" else row.path.name.partition("-")[0]
    return f"{part}/{row.number}"


def _home_item(row: PublishedRow[_HomeEntry]) -> BenchmarkItem:
    entry = row.entry
    image = image_of(row.path.parent, entry.img)
    answer = entry.answer.strip().lower()
    if entry.category not in _CATEGORIES:
        raise DamagedError(f"{entry.category!r} is none of {', '.join(_CATEGORIES)}")
    if not entry.question or not answer:
        raise DamagedError("it has no question or no answer")
    splits = {"category": entry.category}
    if answer in _YES_NO:
        yes_or_no = ChoiceTruth(_YES_NO, _YES_NO.index(answer), starts_as_published)
        return BenchmarkItem(row.key, image, entry.question, yes_or_no, splits=splits, prompt=entry.question)
    corners = read_polygon(entry.answer)
    if corners is None:
        raise DamagedError(f"its answer {entry.answer[:80]!r} is not yes, no or a polygon")
    words = entry.question.partition(_FORM)[0].strip()
    truth = PolygonTruth(corners)
    return BenchmarkItem(row.key, image, words, truth, splits=splits, phrase=words, prompt=entry.question)


def _score_robospatial(graded: Sequence[GradedItem]) -> tuple[PublishedScore, ...]:
    """Accuracy of each category, of all questions, and the means of the leaderboard.

    Published: chanhee-luke/RoboSpatial-Eval at 19f04a5, evaluation.py:225-232 (categories), main.py:305-307 (all);
    README.md, "Leaderboard": "VQA avg" of configuration and compatibility, "Total" of all three categories.
    """
    parts = by_part(graded, "category")
    scores = [accuracy(category, parts[category]) for category in _CATEGORIES if category in parts]
    scores.append(accuracy("all questions", graded))
    for name, of in (("VQA avg", _CATEGORIES[:2]), ("Total", _CATEGORIES)):
        if all(category in parts for category in of):
            scores.append(mean_of_accuracies(name, [(1 / len(of), parts[category]) for category in of]))
    return tuple(scores)


ROBOSPATIAL = Benchmark(
    name="robospatial",
    title="RoboSpatial-Home: configuration, compatibility, context",
    answers="options and points",
    layout="data/configuration-*.parquet, data/compatibility-*.parquet and data/context-*.parquet, or annotations.json "
    "with images/; existing files are read",
    source="download the dataset chanhee-luke/RoboSpatial-Home from huggingface.co, and pass the folder that holds "
    "data/; or the one that download_benchmark.py of github.com/chanhee-luke/RoboSpatial-Eval makes",
    licence="Apache-2.0",
    scorer="chanhee-luke/RoboSpatial-Eval, evaluation.py:11-157, main.py:305-307",
    reader=reader_of(
        [*(f"data/{category}-*.parquet" for category in _CATEGORIES), "annotations.json"],
        {".parquet": _HomeEntry, ".json": _HomeEntry},
        _home_item,
        _home_key,
        lambda found: [path for path in found if path.suffix == ".parquet"] or found,
    ),
    score=_score_robospatial,
    published=123 + 105 + 122,  # viewer of chanhee-luke/RoboSpatial-Home
)
