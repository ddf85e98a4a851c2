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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_lab.benchmarks import protocol
from spatial_vlm_lab.benchmarks import published_files as files
from spatial_vlm_ros.errors import FileError, InputError

_FORM = "Your answer should be formatted"

# ------------------------------------------------------------------------------------------------ points in a mask
#
# RefSpatial-Bench and Where2Place have the same score: the mean over the questions of the share of marked pixels inside
# the mask. A reply with fractions in round brackets, the form of the published prompts, and one that the package could
# not read, are read by the published reader, side effects included. Of any other reply (JSON, tags, pixels,
# thousandths), which it reads as pixels or not at all, the points come with the answer.

Cells = tuple[int, int, int, int]
"""Whole pixels: first column, first row, one past the last column, one past the last row. A point is one pixel."""

MOST_CHARACTERS = 262_144
"""Longer replies are cut here before they are read; a list of 10,000 points is shorter."""

_NUMBER = r"[-+]?\d+(?:\.\d*)?"
_VECTOR = re.compile(rf"\(({_NUMBER}(?:,\s*{_NUMBER})*)\)")
_FRACTION = r"(?:0(?:\.\d*)?|1(?:\.0*)?)"
_FRACTIONS = re.compile(rf"\({_FRACTION}(?:,\s*{_FRACTION})+\)")


def published_cells(text: str, width: int, height: int, robopoint: bool = False) -> tuple[Cells, ...] | None:
    """What the scorers of RoboRefer and RoboPoint read: "(x, y)" and "(x0, y0, x1, y1)", no space after the bracket.

    A pair with a decimal point in either number is a fraction of the mask's size (RoboPoint: always 640 x 480),
    truncated towards 0; others are pixels. Four numbers are a box. RoboRefer takes them as fractions and does not cut
    the box at the image's sides; with corners in another order it leaves the question out (None, as for too large
    numbers). RoboPoint goes by the first of them; its box is cut at the sides and, as slices of Python are, counted
    from the right or the bottom where a number is negative. The package reads Molmo's tags and Gemini's JSON, as
    RoboRefer (lines 37-63).

    Sources: wentaoyuan/RoboPoint adbee8d, robopoint/eval/summarize_vqa.py:9-34; Zhoues/RoboRefer d97a995,
    Evaluation/summarize_acc.py:11-34.
    """
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
                continue
            if robopoint and any(floats) and not floats[0]:
                return None
            left, top, right, bottom = scaled if floats[0] or not robopoint else map(int, vector)
            if robopoint:
                left, right, _ = slice(left, right).indices(width)
                top, bottom, _ = slice(top, bottom).indices(height)
            elif right < left or bottom < top:
                return None
            if left < right and top < bottom:
                found.append((left, top, right, bottom))
    except (ValueError, OverflowError):
        return None
    return tuple(found)


def cells_of(points: Sequence[protocol.FractionPoint], width: int, height: int) -> tuple[Cells, ...]:
    """The pixels that points lie in; those of points outside an image are outside it."""
    if not np.isfinite(np.asarray(points, np.float64)).all():
        raise InputError("points", str(points), "finite fractions of the image's size", "leave this point out")
    pixels = [
        (math.floor(min(max(x * width, -1.0), width)), math.floor(min(max(y * height, -1.0), height)))
        for x, y in points
    ]
    return tuple((x, y, x + 1, y + 1) for x, y in pixels)


def share_in_mask(cells: Sequence[Cells], weights: npt.NDArray[np.float64]) -> float:
    """Mean (H, W) weight, 0 to 1, of all marked pixels; outside the mask it is 0, and without pixels the mean is 0.

    RoboPoint summarize_vqa.py:60-68 and RoboRefer summarize_acc.py:86-93 both do so.
    """
    height, width = weights.shape
    total = inside = 0.0
    for left, top, right, bottom in cells:
        total += float(right - left) * float(bottom - top)
        columns = slice(min(max(left, 0), width), min(max(right, 0), width))
        rows = slice(min(max(top, 0), height), min(max(bottom, 0), height))
        inside += float(weights[rows, columns].sum())
    return inside / total if total else 0.0


def mask_truth(mask: files.BenchmarkImage, image: files.BenchmarkImage, robopoint: bool = False) -> protocol.Truth:
    """The right pixels of an image, as a mask of its size, by the rules of RoboRefer's scorer or RoboPoint's.

    RoboPoint counts a pixel by its value, 255 as 1; RoboRefer counts 1 for each that is not 0 in every channel.
    """

    def credit(answer: protocol.BenchmarkAnswer) -> float:
        pixels = mask.read()
        height, width = image.read().shape[:2]
        if pixels.shape[:2] != (height, width):
            got = f"the mask has {pixels.shape[1]}x{pixels.shape[0]} pixels, the image {width}x{height}"
            raise FileError(mask.name, got, "download both again")
        weights = pixels[..., 0] / 255.0 if robopoint else np.any(pixels > 0, axis=2).astype(np.float64)
        said = protocol.after_thinking(answer.text)
        if answer.points and not _FRACTIONS.search(said):
            return share_in_mask(cells_of(answer.points, width, height), weights)
        if robopoint:
            width, height = 640, 480
        return share_in_mask(published_cells(said, width, height, robopoint) or (), weights)

    return protocol.Truth(mask.name, credit)


# ------------------------------------------------------------------------------------------------ RefSpatial-Bench
#
# "Point at what these words mean", with the right pixels as a mask. A task that exists both as a folder and as Parquet
# files is read from its folder. Source: Zhou et al. (2025), RoboRefer; layout and prompt: Zhoues/RoboRefer d97a995,
# Evaluation/test_benchmark.py:18-57; Parquet files: the card of BAAI/RefSpatial-Bench on huggingface.co.


def _task_of(path: Path) -> str:
    return path.parent.name if path.suffix == ".json" else path.name.partition("-")[0].capitalize()


def _refspatial_item(
    row: files.PublishedRow,
    *,
    id_: int,
    object_: str,
    prompt: str,
    suffix: str,
    step: int,
    rgb_path: str = "",
    mask_path: str = "",
    image: files.BenchmarkImage | None = None,
    mask: files.BenchmarkImage | None = None,
) -> protocol.BenchmarkItem:
    task, folder = _task_of(row.path), row.path.parent
    shown, right = files.image_of(folder, image or rgb_path), files.image_of(folder, mask or mask_path)
    splits = {"task": task, "steps": str(step)}
    truth, asked = mask_truth(right, shown), f"{prompt} {suffix}"
    return protocol.BenchmarkItem(f"{task}/{id_}", shown, prompt, truth, splits, phrase=object_, prompt=asked)


REFSPATIAL = protocol.Benchmark(
    name="refspatial",
    title="RefSpatial-Bench: location, placement, unseen",
    answers="points",
    layout="Location/, Placement/ and Unseen/ with question.json, image/ and mask/; or data/location-*.parquet, "
    "data/placement-*.parquet and data/unseen-*.parquet; existing files are read",
    source="download the dataset BAAI/RefSpatial-Bench from huggingface.co, and pass the folder that holds Location/, "
    "Placement/ and Unseen/, or data/",
    licence="Apache-2.0",
    scorer="Zhoues/RoboRefer, Evaluation/summarize_acc.py:11-98",
    rows=files.rows_in(
        [
            name
            for task in ("location", "placement", "unseen")
            for name in (f"{task.capitalize()}/question.json", f"data/{task}-*.parquet")
        ],
        _refspatial_item,
        lambda found: (
            path
            for path in found
            if path.suffix == ".json"
            or not any(one.suffix == ".json" and _task_of(one) == _task_of(path) for one in found)
        ),
    ),
    score=lambda graded: protocol.of_parts(graded, "task", score=protocol.mean_credit),
    published=100 + 100 + 77,  # README.md of BAAI/RefSpatial-Bench, dataset_info
)

# ------------------------------------------------------------------------------------------------ Where2Place
#
# "Point at the free space …", with the right pixels as a mask that is named by the number of the line, from 0, whatever
# `question_id` says. Source: Yuan et al. (2024), RoboPoint; wentaoyuan/RoboPoint adbee8d.

_LINES = "point_questions.jsonl"


def _where2place_item(row: files.PublishedRow, *, image: str, text: str) -> protocol.BenchmarkItem:
    key, folder, question = f"{row.number:02d}", row.path.parent, text.partition(_FORM)[0].strip()
    shown, mask = files.image_of(folder / "images", image), files.image_of(folder / "masks", f"{key}.jpg")
    return protocol.BenchmarkItem(key, shown, question, mask_truth(mask, shown, True), phrase=question, prompt=text)


WHERE2PLACE = protocol.Benchmark(
    name="where2place",
    title="Where2Place",
    answers="points",
    layout=f"{_LINES}, images/, masks/00.jpg and so on",
    source="download the dataset wentao-yuan/where2place from huggingface.co, and pass the folder that holds "
    f"{_LINES}, images/ and masks/",
    licence="Apache-2.0",
    scorer="wentaoyuan/RoboPoint, robopoint/eval/summarize_vqa.py:9-69",
    rows=files.rows_in([_LINES], _where2place_item),
    score=lambda graded: (protocol.mean_credit("Where2Place", graded),),
    published=100,  # README.md of wentao-yuan/where2place
)

# ------------------------------------------------------------------------------------------------ RoboSpatial-Home
#
# Configuration and compatibility as yes or no, context as a point in a polygon, "[(0.41, 0.52), …]" in fractions of the
# sides. Masks come with context alone; other projects count a point in the mask, the authors' scorer one in the
# polygon, which is used here. Its rules differ from plain reading: only the first of several points counts, and it must
# be a fraction; "(x, y)" is searched in the whole reply, then "[x, y]", both without a sign, only then a list with
# other numbers; "not sure" and "nothing" are a no. Source: Song et al. (2025), RoboSpatial; layout:
# chanhee-luke/RoboSpatial-Eval 19f04a5, download_benchmark.py:60-152; score: evaluation.py:11-157.

_CATEGORIES = ("configuration", "compatibility", "context")
_YES_NO = ("yes", "no")
_LONGEST_LIST = 20_000  # characters of a list that is read as Python writes it
_UNSIGNED = r"\s*(\d+(?:\.\d*)?)\s*,\s*(\d+(?:\.\d*)?)\s*"
_IN_BRACKETS = (re.compile(rf"\({_UNSIGNED}\)"), re.compile(rf"\[{_UNSIGNED}\]"))


def first_point(reply: str) -> protocol.FractionPoint | None:
    """The point of a reply that counts, or None if the published scorer reads none (lines 57-153)."""
    for form in _IN_BRACKETS:
        if (match := form.search(reply)) is not None:
            return float(match[1]), float(match[2])
    start = reply.find("[")
    end = reply.find("]", start)
    listed = reply[start + 1 : end].strip().removesuffix(",")
    values = None if start < 0 or end < 0 else _literal(f"[{listed}]")
    return _pair(values) or _pair(values[0]) if values and isinstance(values, list) else None


def read_polygon(text: str) -> tuple[protocol.FractionPoint, ...] | None:
    """Parse a polygon of the data, "[(0.1, 0.2), …]"; None with fewer than three points (lines 53-55)."""
    value = _literal(text.strip())
    points = [_pair(one) for one in value] if isinstance(value, list) else []
    whole = tuple(point for point in points if point is not None)
    return whole if len(points) == len(whole) >= 3 else None


def in_polygon(point: protocol.FractionPoint, corners: Sequence[protocol.FractionPoint]) -> bool:
    """Whether a ray to the right of a point crosses an odd number of sides, with one end above it (lines 11-25)."""
    x, y = point
    inside = False
    for (x0, y0), (x1, y1) in zip(corners, (*corners[-1:], *corners[:-1]), strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            inside = not inside
    return inside


def _literal(text: str) -> Any:
    """Lists, tuples and numbers as Python writes them; None for anything else."""
    try:
        return ast.literal_eval(text) if len(text) <= _LONGEST_LIST else None
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return None


def _pair(value: Any) -> protocol.FractionPoint | None:
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(one, int | float) for one in value):
        try:
            return float(value[0]), float(value[1])
        except OverflowError:
            return None
    return None


def starts_as_published(reply: str, choices: Sequence[str], right: int) -> bool | None:
    """Whether a reply starts with the right one of "yes" and "no", whatever follows (lines 32-45)."""
    return reply.strip().lower().startswith(choices[right]) if reply else None


def polygon_truth(corners: tuple[protocol.FractionPoint, ...]) -> protocol.Truth:
    """A polygon, its corners in order, in which the first point has to lie.

    A written reply with a fraction is read as published. Any other reply (tags, pixels, thousandths) is read as the
    model's family is known to write; its first point comes with the answer.
    """

    def credit(answer: protocol.BenchmarkAnswer) -> float:
        written = first_point(protocol.after_thinking(answer.text))
        if written is None or not all(0.0 <= value <= 1.0 for value in written):
            written = answer.points[0] if answer.points else written
        return float(written is not None and in_polygon(written, corners))

    return protocol.Truth(repr(corners), credit)


def _home_item(
    row: files.PublishedRow, *, category: str, question: str, answer: str, img: str | files.BenchmarkImage
) -> protocol.BenchmarkItem:
    part = category if row.path.suffix == ".json" else row.path.name.partition("-")[0]
    image, said = files.image_of(row.path.parent, img), answer.strip().lower()
    if category not in _CATEGORIES:
        raise files.DamagedError(f"{category!r} is none of {', '.join(_CATEGORIES)}")
    if not question or not said:
        raise files.DamagedError("it has no question or no answer")
    if said in _YES_NO:
        words, phrase, truth = question, "", protocol.choice_truth(_YES_NO, _YES_NO.index(said), starts_as_published)
    elif (corners := read_polygon(answer)) is not None:
        words = phrase = question.partition(_FORM)[0].strip()
        truth = polygon_truth(corners)
    else:
        raise files.DamagedError(f"its answer {answer[:80]!r} is not yes, no or a polygon")
    key, splits = f"{part}/{row.number}", {"category": category}
    return protocol.BenchmarkItem(key, image, words, truth, splits, phrase=phrase, prompt=question)


def _score_robospatial(graded: protocol.Graded) -> protocol.Scores:
    """Accuracy of each category, of all questions, and the means of the README's leaderboard."""
    parts = protocol.by_part(graded, "category")
    found = [protocol.accuracy(category, parts[category]) for category in _CATEGORIES if category in parts]
    found.append(protocol.accuracy("all questions", graded))
    for name, of in (("VQA avg", _CATEGORIES[:2]), ("Total", _CATEGORIES)):
        found += protocol.mean_of_parts(name, parts, dict.fromkeys(of, 1 / len(of)))
    return tuple(found)


ROBOSPATIAL = protocol.Benchmark(
    name="robospatial",
    title="RoboSpatial-Home: configuration, compatibility, context",
    answers="options and points",
    layout="data/configuration-*.parquet, data/compatibility-*.parquet and data/context-*.parquet, or annotations.json "
    "with images/; existing files are read",
    source="download the dataset chanhee-luke/RoboSpatial-Home from huggingface.co, and pass the folder that holds "
    "data/; or the one that download_benchmark.py of github.com/chanhee-luke/RoboSpatial-Eval makes",
    licence="Apache-2.0",
    scorer="chanhee-luke/RoboSpatial-Eval, evaluation.py:11-157, main.py:305-307",
    rows=files.rows_in(
        [*(f"data/{category}-*.parquet" for category in _CATEGORIES), "annotations.json"],
        _home_item,
        lambda found: [path for path in found if path.suffix == ".parquet"] or found,
    ),
    score=_score_robospatial,
    published=123 + 105 + 122,  # viewer of chanhee-luke/RoboSpatial-Home
)
