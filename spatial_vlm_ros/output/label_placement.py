# SPDX-License-Identifier: Apache-2.0
"""Place labels on an image: never on areas that must stay clear, never on each other, and as near as possible.

Labels are placed one after the other, the most important first. Each gets the position of least cost: pixels away from
its object, plus pixels of other objects that it hides. Positions around the object are tried first, then a raster of
the whole area.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Rectangle = tuple[float, float, float, float]
"""Left, top, right, bottom, pixels; right and bottom are outside."""

_GAP = 4  # pixels between a label and its object
_APART = 2  # pixels between labels
_RASTER = 10  # pixels between tried positions
_HIDING = 40.0  # pixels that a label moves to avoid hiding an area of an object as large as the label
_ACROSS = (0.0, 0.5, 1.0)  # positions above, below and beside an object: at its ends, and in the middle

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LabelRequest:
    """A requested label.

    Args:
        size: its width and height, pixels.
        farthest: largest distance from the object, pixels; farther away it is left out.
    """

    size: tuple[int, int]
    names: Rectangle
    farthest: float = 1e9


def place_labels(
    requests: Sequence[LabelRequest], area: Rectangle, clear: Sequence[Rectangle] = (), seen: Sequence[Rectangle] = ()
) -> list[Rectangle | None]:
    """Place labels: a rectangle for each, or None if there is no room.

    Args:
        requests: labels, the most important first.
    """
    taken, better_seen = (np.array(some, np.float64).reshape(-1, 4) for some in (clear, seen))
    placed: list[Rectangle | None] = []
    for request in requests:
        found = _placed(request, area, taken, better_seen)
        if found is not None:
            taken = np.vstack((taken, np.add(found, (-_APART, -_APART, _APART, _APART))))
        placed.append(found)
    return placed


def _placed(request: LabelRequest, area: Rectangle, taken: Floats, seen: Floats) -> Rectangle | None:
    (width, height), (left, top, right, bottom), far = request.size, request.names, request.farthest
    around = []  # left upper corners above, below, right and left of the object, at its ends and in the middle
    for share in _ACROSS:
        x, y = left + share * (right - left - width), top + share * (bottom - top - height)
        around += [(x, top - height - _GAP), (x, bottom + _GAP), (right + _GAP, y), (left - width - _GAP, y)]

    low = max(area[0], left - width - far), max(area[1], top - height - far)
    high = min(area[2] - width, right + far), min(area[3] - height, bottom + far)
    columns, rows = (np.arange(low[k], max(high[k], low[k]) + 1, _RASTER) for k in (0, 1))
    everywhere = np.stack(np.meshgrid(columns, rows), axis=2).reshape(-1, 2)  # within the label's largest distance

    for corners, good_enough in ((np.array(around, np.float64), _HIDING), (everywhere.astype(np.float64), np.inf)):
        tried = np.hstack((corners, corners + request.size)).round()
        inside = (tried[:, :2] >= area[:2]).all(axis=1) & (tried[:, 2:] <= area[2:]).all(axis=1)
        tried = tried[inside]
        away = distance(tried, request.names)
        free = (away <= request.farthest) & ~(overlap(tried, taken) > 0).any(axis=1)
        if free.any():
            hidden = overlap(tried, seen).sum(axis=1) / max(request.size[0] * request.size[1], 1)
            cost = np.where(free, away + _HIDING * hidden, np.inf)
            if cost.min() < good_enough:
                x0, y0, x1, y1 = tried[int(np.argmin(cost))].tolist()
                return x0, y0, x1, y1
    return None


def overlap(some: Floats, others: Floats) -> Floats:
    """(N, M) pixels shared by each of (N, 4) rectangles with each of (M, 4) others."""
    wide = np.minimum(some[:, 2:3], others[:, 2]) - np.maximum(some[:, :1], others[:, 0])
    high = np.minimum(some[:, 3:], others[:, 3]) - np.maximum(some[:, 1:2], others[:, 1])
    return np.asarray(np.maximum(wide, 0.0) * np.maximum(high, 0.0))


def distance(some: Floats, other: Rectangle) -> Floats:
    """(N,) pixels between (N, 4) rectangles and another one; 0 if they touch."""
    x = np.maximum(np.maximum(other[0] - some[:, 2], some[:, 0] - other[2]), 0.0)
    y = np.maximum(np.maximum(other[1] - some[:, 3], some[:, 1] - other[3]), 0.0)
    return np.asarray(np.hypot(x, y))
