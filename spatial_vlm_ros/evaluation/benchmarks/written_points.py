# SPDX-License-Identifier: Apache-2.0
"""Reads points and boxes in a model's reply by the rules of the published scorers of pointing benchmarks.

Each scorer has rules of its own, with side effects that are part of the published figures: they are kept and named
here. `perception.replies` reads the same replies by what the model's family is known to write; use that to answer a
question, and this to compare with published figures.

Sources, as of the commits named:
- RoboPoint (wentaoyuan/RoboPoint adbee8d, robopoint/eval/summarize_vqa.py:9-34): `robopoint_cells`;
- RoboRefer (Zhoues/RoboRefer d97a995, Evaluation/summarize_acc.py:11-34): `roborefer_cells`. Its readers of Molmo's
  tags and Gemini's JSON (lines 37-63) have no counterpart here: the package reads both, to the same pixels, and single
  points of Molmo as well, which the published reader passes over.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

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
