# SPDX-License-Identifier: Apache-2.0
"""Checks replies to RoboSpatial-Home by the rules of its published scorer.

Source: chanhee-luke/RoboSpatial-Eval 19f04a5, evaluation.py:11-157. Its rules differ from plain reading:

- only the first of several points counts, and it must be a fraction of the image's sides;
- "(x, y)" is searched in the whole reply, then "[x, y]", both without a sign; only then a list with other numbers;
- a point on the polygon's edge is inside or outside by the ray rule;
- for yes and no the first letters of the reply count, so "not sure" and "nothing" are a no.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

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
