# SPDX-License-Identifier: Apache-2.0
"""Whether a parallel hand can take an object at all, by its true surface alone; no grasp search has a part in it.

An exhaustive trial of hands in 36 orientations (12 from above, 12 level, 12 slanted by 45 degrees; the fingers close
level), every 8 mm across the object and at four depths. A hand fits where, of points of the true surfaces,

- what lies between the fingers, over their width, is one run or all of it, narrower than the opening by CLEAR a side;
- both fingers, the palm, and the way of both over the last BACK metres are free of points of any object, and stay
  CLEAR above the table;
- of the points in the outermost FACE metres of both sides of the run at least half look towards their finger, by
  FACING degrees or less off the closing direction, and the middles of both sides lie opposite each other within
  OPPOSITE degrees of it.

Friction, mass and how the arm gets there are not in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from research.rendered.meshes import Floats

CLEAR = 0.002  # metres
BACK = 0.1  # metres
FACE, FACING, OPPOSITE = 0.002, 30.0, 20.0  # metres, degrees, degrees
ACROSS = 0.008  # metres between hands
DEPTHS = (0.01, 0.02, 0.03, 0.04)  # metres that the fingers reach beyond the front of what is between them
HEADINGS = 12
LEAST = 6  # points on a side


@dataclass(frozen=True)
class HandSize:
    """Measures of a parallel hand, metres.

    Args:
        opening: greatest distance between the fingers.
        length: of the fingers, from the palm.
        thick: of a finger along the closing direction.
        wide: of a finger across closing and approach.
        palm: width along closing, thickness across, depth along the approach.
    """

    opening: float
    length: float
    thick: float
    wide: float
    palm: tuple[float, float, float]


def graspable(target: Floats, others: Floats, hand: HandSize) -> bool:
    """Whether the hand fits anywhere.

    Args:
        target: (N, 6) points of its surface where it stands, the table at z = 0, metres, and outward normals.
        others: (M, 3) of all other objects.
        hand: its measures.
    """
    return any(_fits(target, others, hand, axes) for axes in orientations())


def orientations() -> Iterator[Floats]:
    """(3, 3) columns: across, closing, approach."""
    for tilt, count in ((90.0, HEADINGS), (0.0, HEADINGS), (45.0, HEADINGS)):
        for k in range(count):
            heading = (math.pi if tilt == 90.0 else math.tau) * k / count
            down, level = math.sin(math.radians(tilt)), math.cos(math.radians(tilt))
            closing = np.array([-math.sin(heading), math.cos(heading), 0.0])
            approach = np.array([level * math.cos(heading), level * math.sin(heading), -down])
            yield np.stack([np.cross(closing, approach), closing, approach], 1)


def _fits(target: Floats, others: Floats, hand: HandSize, axes: Floats) -> bool:
    """Whether the hand fits in one orientation."""
    own, around = np.concatenate([target[:, :3] @ axes, target[:, 3:] @ axes], 1), others @ axes
    low, high = own[:, 0].min(), own[:, 0].max()
    for middle in np.arange(low, high + ACROSS, ACROSS):
        strip = own[np.abs(own[:, 0] - middle) <= hand.wide / 2]
        if len(strip) < 2 * LEAST:
            continue
        front = strip[:, 2].min()
        for depth in DEPTHS:
            if depth > hand.length - CLEAR:
                continue
            tip = front + depth
            for left, right in _runs(strip[strip[:, 2] <= tip], hand):
                place = np.array([middle, (left + right) / 2, tip])
                if _free(own, around, hand, place, right - left, axes):
                    return True
    return False


def _runs(points: Floats, hand: HandSize) -> Iterator[tuple[float, float]]:
    """Ends along the closing direction of what the fingers could close on, whose sides are even and opposite."""
    if len(points) < 2 * LEAST:
        return
    y = np.sort(points[:, 1])
    cuts = np.flatnonzero(np.diff(y) > hand.thick + 2 * CLEAR)
    starts, ends = np.r_[0, cuts + 1], np.r_[cuts, len(y) - 1]
    spans = [(float(y[a]), float(y[b])) for a, b in zip(starts, ends, strict=True)]
    for left, right in {*spans, (float(y[0]), float(y[-1]))}:
        width = right - left
        if width > hand.opening - 2 * CLEAR:
            continue
        sides = [points[(points[:, 1] >= left - 1e-9) & (points[:, 1] <= left + FACE)]]
        sides.append(points[(points[:, 1] <= right + 1e-9) & (points[:, 1] >= right - FACE)])
        least = math.cos(math.radians(FACING))
        facing = [float((way * side[:, 4] >= least).mean()) for side, way in zip(sides, (-1, 1), strict=True)]
        if min(len(side) for side in sides) < LEAST or min(facing) < 0.5:
            continue
        off = np.linalg.norm((sides[0].mean(0) - sides[1].mean(0))[[0, 2]])
        if off <= math.tan(math.radians(OPPOSITE)) * width + FACE:
            yield left, right


def _free(own: Floats, around: Floats, hand: HandSize, place: Floats, width: float, axes: Floats) -> bool:
    """Whether fingers and palm, and their way, are free where the tips end at a place (hand's axes)."""
    every = np.concatenate([own[:, :3], around])
    for low, high in _bodies(hand, place, width):
        if np.all((every > low) & (every < high), axis=1).any():
            return False
        corners = np.array([(x, y, z) for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
        if (corners @ axes.T)[:, 2].min() < CLEAR:
            return False
    return True


def _bodies(hand: HandSize, place: Floats, width: float) -> Iterator[tuple[Floats, Floats]]:
    """Least and greatest corners of both fingers and the palm, each with its way."""
    x, y, tip = place
    half = width / 2 + CLEAR
    for inner, outer in ((half, half + hand.thick), (-half - hand.thick, -half)):
        yield np.array([x - hand.wide / 2, y + inner, tip - BACK]), np.array([x + hand.wide / 2, y + outer, tip])
    wide, thick, deep = hand.palm
    back = tip - hand.length
    yield (np.array([x - thick / 2, y - wide / 2, back - deep - BACK]), np.array([x + thick / 2, y + wide / 2, back]))
