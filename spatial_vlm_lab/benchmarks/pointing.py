# SPDX-License-Identifier: Apache-2.0
"""Truths and credits for points in RefSpatial-Bench and Where2Place.

Both have the same score: the mean over the questions of the share of marked pixels inside the mask. The pixels that an
answer marks:

1. A reply with fractions in round brackets, which is the form that the published prompts ask for, is read by the
   published reader, side effects included (`written_points`).
2. Any other reply (JSON, tags, pixels, thousandths) is read as the model's family is known to write; its points come
   with the answer. The published readers read such a reply as pixels, or not at all.
3. A reply that the package could not read is left to the published reader.

RoboRefer's scorer omits questions whose reply it fails to read; here they count 0, like a missing answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spatial_vlm_lab.benchmarks.choice_replies import after_thinking
from spatial_vlm_lab.benchmarks.protocol import BenchmarkAnswer, BenchmarkImage, FractionPoint
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.types import Mask

# Reads points and boxes in a model's reply by the rules of the published scorers of pointing benchmarks.
#
# Each scorer has rules of its own, with side effects that are part of the published figures: they are kept and named
# here. `perception.replies` reads the same replies by what the model's family is known to write; use that to answer a
# question, and this to compare with published figures.
#
# Sources, as of the commits named:
# - RoboPoint (wentaoyuan/RoboPoint adbee8d, robopoint/eval/summarize_vqa.py:9-34): `robopoint_cells`;
# - RoboRefer (Zhoues/RoboRefer d97a995, Evaluation/summarize_acc.py:11-34): `roborefer_cells`. Its readers of Molmo's
#   tags and Gemini's JSON (lines 37-63) have no counterpart here: the package reads both, to the same pixels, and
#   single points of Molmo as well, which the published reader passes over.

Cells = tuple[int, int, int, int]
"""Whole pixels: first column, first row, one past the last column, one past the last row. A point is one pixel."""

MOST_CHARACTERS = 262_144
"""Longer replies are cut here before they are read; a list of 10,000 points is shorter."""

_NUMBER = r"[-+]?\d+(?:\.\d*)?"
_VECTOR = re.compile(rf"\(({_NUMBER}(?:,\s*{_NUMBER})*)\)")


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
    found: list[Cells] = []
    try:
        for vector in _vectors(text):
            if len(vector) == 2:
                x, y = vector
                if isinstance(x, float) or isinstance(y, float):
                    x, y = x * width, y * height
                found.append(_pixel(x, y))
            elif len(vector) == 4:
                scaled = isinstance(vector[0], float)
                left, top, right, bottom = (
                    int(value * side) if scaled else _whole(value)
                    for value, side in zip(vector, (width, height, width, height), strict=True)
                )
                columns, rows = (slice(left, right).indices(width), slice(top, bottom).indices(height))
                if columns[0] < columns[1] and rows[0] < rows[1]:
                    found.append((columns[0], rows[0], columns[1], rows[1]))
    except (ValueError, OverflowError):
        return None
    return tuple(found)


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
    found: list[Cells] = []
    try:
        for vector in _vectors(text):
            if len(vector) == 2:
                x, y = vector
                if isinstance(x, float) or isinstance(y, float):
                    x, y = x * width, y * height
                found.append(_pixel(x, y))
            elif len(vector) == 4:
                left, top, right, bottom = (
                    int(value * side) for value, side in zip(vector, (width, height, width, height), strict=True)
                )
                if right < left or bottom < top:
                    return None
                if left < right and top < bottom:
                    found.append((left, top, right, bottom))
    except (ValueError, OverflowError):
        return None
    return tuple(found)


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


def _vectors(text: str) -> list[tuple[float | int, ...]]:
    return [
        tuple(float(number) if "." in number else int(number) for number in match.split(","))
        for match in _VECTOR.findall(text[:MOST_CHARACTERS])
    ]


def _pixel(x: float, y: float) -> Cells:
    """The pixel of a point; fractions are truncated towards 0, so -0.5 is pixel 0."""
    column, row = int(x), int(y)
    return column, row, column + 1, row + 1


def _whole(value: float) -> int:
    """Convert a number that must be an integer."""
    if isinstance(value, float):
        raise ValueError(value)
    return value


_FRACTION = r"(?:0(?:\.\d*)?|1(?:\.0*)?)"
_FRACTIONS = re.compile(rf"\({_FRACTION}(?:,\s*{_FRACTION})+\)")


@dataclass(frozen=True)
class MaskTruth:
    """Mask of the right pixels of an image; see PointTruth.

    Args:
        mask: an image of the size of the item's; pixels that are not 0 in every channel are right.
        size: required (width, height) of the mask, pixels; None = not checked.
    """

    mask: BenchmarkImage
    size: tuple[int, int] | None = None

    def read(self) -> Mask:
        """(H, W) bool: the right pixels."""
        mask: Mask = np.any(self.mask.read() > 0, axis=2)
        if self.size is not None and mask.shape[::-1] != self.size:
            got = f"the mask has {mask.shape[1]}x{mask.shape[0]} pixels, the image {self.size[0]}x{self.size[1]}"
            raise FileError(self.mask.name, got, "download both again")
        return mask

    def credit(self, answer: BenchmarkAnswer) -> float:
        """Share of the points inside the mask; see share_inside."""
        return share_inside(answer.points, self.read()) if answer.points else 0.0

    def described(self) -> str:
        """What identifies the truth: the mask's name."""
        return Path(self.mask.name).name


def share_inside(points: Sequence[FractionPoint], mask: Mask) -> float:
    """Share of points inside a mask; points outside the image are not inside, and the share of no points is 0.

    Args:
        points: (x, y) as fractions of the image's width and height, 0 to 1.
        mask: (H, W) bool.
    """
    if not len(points):
        return 0.0
    height, width = mask.shape
    xy = np.asarray(points, np.float64).reshape(len(points), 2)
    if not np.isfinite(xy).all():
        raise InputError("points", str(points), "finite fractions of the image's size", "leave this point out")
    column, row = np.floor(xy * (width, height)).clip(-1, max(width, height)).astype(int).T
    there = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return float(mask[row[there], column[there]].sum()) / len(points)


@dataclass(frozen=True)
class RefSpatialTruth:
    """A mask of RefSpatial-Bench: all its pixels that are not 0 count 1.

    Source: Zhoues/RoboRefer d97a995, Evaluation/summarize_acc.py:66-98.

    Args:
        image: image of the question; the mask must have its size.
    """

    mask: BenchmarkImage
    image: BenchmarkImage

    def credit(self, answer: BenchmarkAnswer) -> float:
        """Share of marked pixels in the mask."""
        height, width = self.image.read().shape[:2]
        truth = MaskTruth(self.mask, (width, height))
        if not as_published(answer):
            return truth.credit(answer)
        cells = roborefer_cells(after_thinking(answer.text), width, height)
        return share_in_mask(cells or (), truth.read().astype(np.float64))

    def described(self) -> str:
        """What identifies the truth: the mask's name."""
        return self.mask.name


@dataclass(frozen=True)
class Where2PlaceTruth:
    """A mask of Where2Place: a pixel counts by its value, 255 as 1.

    The masks are JPEG files, so that pixels at the border of a region have values between 0 and 255, and count in part.
    Written fractions are those of an image of 640 x 480 pixels, whatever the mask's size.

    Source: wentaoyuan/RoboPoint adbee8d, robopoint/eval/summarize_vqa.py:52-69.

    Args:
        image: image of the question; the mask must have its size.
    """

    mask: BenchmarkImage
    image: BenchmarkImage

    def credit(self, answer: BenchmarkAnswer) -> float:
        """Mean value of the marked pixels."""
        weights = self.mask.read()[..., 0] / 255.0
        height, width = self.image.read().shape[:2]
        if weights.shape != (height, width):
            got = f"the mask has {weights.shape[1]}x{weights.shape[0]} pixels, the image {width}x{height}"
            raise FileError(self.mask.name, got, "download both again")
        if as_published(answer):
            return share_in_mask(robopoint_cells(after_thinking(answer.text)) or (), weights)
        pixels = [(math.floor(x * width), math.floor(y * height)) for x, y in answer.points]
        return share_in_mask(tuple((x, y, x + 1, y + 1) for x, y in pixels), weights)

    def described(self) -> str:
        """What identifies the truth: the mask's name."""
        return self.mask.name


def as_published(answer: BenchmarkAnswer) -> bool:
    """Whether to use the published reader: the answer has fractions in round brackets, or nothing else was read."""
    return not answer.points or _FRACTIONS.search(after_thinking(answer.text)) is not None
