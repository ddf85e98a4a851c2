# SPDX-License-Identifier: Apache-2.0
"""Boards of a shelf unit: heights at which its visible surface covers much of its footprint, unlike walls."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.parts.region import LEVELS, Rectangle, Region, box_of

_BIN, _WINDOW = 0.005, 3  # metres of height, and how many of these steps contain a board blurred by depth noise
_CELL = 0.02  # metres: distance of pixel rows on a board that is seen from a few degrees above it
_SPREAD = 0.2  # fraction of the footprint, beyond that of the walls, over which a board is visible
_APART = 0.05  # metres between boards: nothing fits in less
_PANELS = 0.6  # fraction of a side that is closed if the unit has walls and not posts
_CLEAR = 0.4  # fraction of a side up to which points beside a board's edge are not a panel
_EDGE = 0.02  # metres behind the face of a unit within which points are on the edges of its boards
_THICK = 0.03  # metres: largest thickness of a board
_ROOM = 0.3  # walls are searched for in a band this fraction of the space away from either board
_TREAD = 0.08  # fraction of the footprint over which a step is visible: the steps share it
_RISER = 0.03  # metres: least height from one step to the next
_LEAST_STEP = 0.03  # metres: least depth of a step; the edge of a board is narrower
_STRAY = 2.0  # percent of a step's points at either end that may be strays
_FEW = 30  # points that are too few for a step
_UNDER_LOWEST = 0.06  # metres below the lowest board at which the underside of an object on it may be measured


def levels(layout: Layout, row: int) -> tuple[Region, ...]:
    """Find the boards of an object that something can stand on, the lowest first.

    A lid over walls is not a shelf if there are two others: "the top shelf" of a bookcase is under its top.

    Args:
        row: row of the object, which must be measured.
    """
    box, own = box_of(layout, row), layout.points_of(row)
    places = box.to_own(own[:, :2])
    cells = np.floor((places + box.half) / _CELL).astype(np.int64)
    number = cells[:, 0] * 100_000 + cells[:, 1]
    area = max(1.0, float((2 * box.half / _CELL).prod()))
    stairs = _stairs(layout, row, box, places, own[:, 2], _boards(own[:, 2], number, area, _TREAD, _RISER))
    if stairs:
        return stairs
    heights = _boards(own[:, 2], number, area, _SPREAD, _APART)
    toward = box.to_own(np.zeros((1, 2)))[0]  # the camera stands over the origin
    for axis in (0, 1):
        near = np.abs(places[:, axis] - np.copysign(box.half[axis], toward[axis])) < _EDGE
        if abs(toward[axis]) > box.half[axis]:
            edges = _edges(own[near, 2], places[near, 1 - axis], box.half[1 - axis])
            for edge in edges:
                if all(abs(edge - other) > _APART for other in heights):
                    heights.append(edge)
    heights.sort()
    if not heights:
        return ()
    roof, top, lid = math.inf, float(layout.top[row]), False
    shape = np.maximum(1.0, 2 * box.half / _CELL)
    if top - heights[-1] <= _APART:
        if len(heights) > 2 and _walled(own[:, 2], cells, shape, heights[-2], heights[-1]):
            roof = heights.pop()
        elif len(heights) > 2:
            # Only if the back would be visible under its uppermost board do missing walls mean posts.
            away = float(np.hypot(*box.centre))
            reach = float(np.abs(box.axes @ (box.centre / max(away, 1e-9))) @ box.half)
            over = (heights[-2] + heights[-1]) / 2 - layout.floor
            lid = layout.floor + over * max(away - reach, 0.0) / (away + reach) >= heights[-1] - _THICK
    elif _walled(own[:, 2], cells, shape, heights[-1], top):  # from below, or as high, only its edge is seen
        roof = top
    elif (_filled(cells[own[:, 2] > top - _THICK], shape) > _PANELS).any():
        heights.append(top)
    outline = box.part(-box.half, box.half)
    between = [(one + other) / 2 for one, other in itertools.pairwise(heights)]
    found = tuple(
        Region(row, outline, height, above, (lowest, min(highest, (height + above) / 2)), LEVELS)
        for height, above, lowest, highest in zip(
            heights, [*heights[1:], roof], [heights[0] - _UNDER_LOWEST, *between], [*between, roof],
            strict=True,
        )
    )  # fmt: skip
    return (*found[:-1], dataclasses.replace(found[-1], lid=lid))


def _stairs(
    layout: Layout, row: int, box: Rectangle, places: Array, height: Array, heights: list[float]
) -> tuple[Region, ...]:
    """The steps of stairs, lowest first: nothing is over them. Empty if the levels are not steps, or not all seen.

    Args:
        row: row of the object.
        places: (N, 2) its points in the axes of its box, metres.
        height: (N,) their heights, metres.
        heights: heights of its levels, metres.
    """
    seen = [places[np.abs(height - level) <= _WINDOW * _BIN / 2] for level in heights]
    if len(heights) < 2 or any(len(step) < _FEW for step in seen) or layout.top[row] - heights[-1] > _RISER:
        return ()
    ends = [np.percentile(step, [_STRAY, 100.0 - _STRAY], axis=0) for step in seen]
    if any(float((high - low).min()) < _LEAST_STEP for low, high in ends):
        return ()  # the edge of a board
    axis = int(np.argmax(np.abs(np.ptp([step.mean(axis=0) for step in seen], axis=0))))
    order = np.sign(ends[-1][0][axis] - ends[0][0][axis])
    for (low, high), (next_low, next_high) in itertools.pairwise(ends):
        if (next_low - high if order > 0 else low - next_high)[axis] < -_CELL / 2:
            return ()
    around = box.part(-box.half, box.half)
    between = [(one + other) / 2 for one, other in itertools.pairwise(heights)]
    spans = zip([heights[0] - _UNDER_LOWEST, *between], [*between, math.inf], strict=True)
    return tuple(
        Region(row, box.part(low, high), level, math.inf, span, LEVELS, around=around)
        for level, (low, high), span in zip(heights, ends, spans, strict=True)
    )


def _boards(height: Array, number: npt.NDArray[np.int64], area: float, share: float, apart: float) -> list[float]:
    """Heights of separate horizontal surfaces that cover a share of the area, the lowest first, metres."""
    low = float(height.min())
    bins = np.floor((height - low) / _BIN).astype(np.int64)
    count = int(bins.max()) + 1
    spread = np.array([len(np.unique(number[np.abs(bins - k) <= _WINDOW // 2])) / area for k in range(count)])
    over = spread - np.median(spread)
    found: list[float] = []
    for k in np.argsort(-over, kind="stable"):
        if over[k] < share:
            break
        at = float(np.median(height[np.abs(bins - k) <= _WINDOW // 2]))
        if all(abs(at - other) > apart for other in found):
            found.append(at)
    return sorted(found)


def _edges(height: Array, along: Array, half: float) -> list[float]:
    """Upper ends of board edges in the face of a unit: thin bands from side to side.

    A board at eye level shows nothing else.
    """
    if not len(height):
        return []
    bins = np.floor((height - height.min()) / _BIN).astype(np.int64)
    cells = np.unique(bins * 100_000 + np.floor(np.maximum(along + half, 0.0) / _CELL).astype(np.int64)) // 100_000
    share = np.bincount(cells, minlength=int(bins.max()) + 1) / (2 * half / _CELL)
    full, clear = share > _PANELS, np.concatenate(([True, True], share < _CLEAR, [True, True]))
    ends = np.flatnonzero(np.diff(np.concatenate(([False], full, [False])).astype(np.int8))).reshape(-1, 2)
    return [
        float(height.min() + last * _BIN)
        for first, last in ends
        if (last - first) * _BIN <= _THICK and clear[first] and clear[last + 3]  # two bins below, and two above
    ]


def _walled(height: Array, cells: npt.NDArray[np.int64], shape: Array, low: float, high: float) -> bool:
    """True if walls are visible between two boards: they fill a side from end to end; posts stand only at its ends."""
    room = _ROOM * (high - low)
    band = cells[(height > low + room) & (height < high - room)]
    return bool((_filled(band, shape) > _PANELS).any())


def _filled(cells: npt.NDArray[np.int64], shape: Array) -> Array:
    """(2,) fraction of the length and of the width over which cells lie."""
    return np.array([len(np.unique(cells[:, axis])) for axis in (0, 1)]) / shape
