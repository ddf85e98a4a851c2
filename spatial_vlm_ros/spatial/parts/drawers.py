# SPDX-License-Identifier: Apache-2.0
"""Find the open drawer of a chest that is one detection: it sticks out of the front, below the top, and is hollow.

The space over and under its front tells which drawer it is: no drawer fits over the top one.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.parts.region import FRONT, Region, rectangle_of, trimmed

_TOP = 0.02  # metres below the highest point within which points are on the top panel
_CELL, _RIM = 0.01, 5  # metres; cells across that rims of drawers are narrower than, and panels wider than
_FEW = 30  # points that are too few for a panel or a drawer
_OUT = 0.03  # least length in metres that an open drawer sticks out: a handle is shorter
_PLANE = 0.005  # metres: steps in which the plane of its front is searched for
_MANY = 0.3  # fraction of the most points on such a plane: a handle has fewer
_FRONT = 0.02  # metres behind that plane within which points belong to the drawer's front
_INNER = 0.7  # fraction of a drawer within which its floor is searched for
_SHALLOW = 0.015  # metres: an open drawer is deeper
_WIDE = 0.4  # least fraction of the chest's width that a drawer fills
_ROOM = 0.75  # least fraction of a drawer's height that another drawer needs; a plinth or a thick top is less
_PITCH = 1.2  # drawer pitch in drawer heights: there are boards and gaps between them
_WALL = 0.01  # metres of wall around the contents
_BESIDE = 0.03  # metres below the floor at which the underside of an object in it may be measured


@dataclass(frozen=True, eq=False)
class Drawer:
    """An open drawer."""

    region: Region
    above: int
    below: int


def open_drawer(layout: Layout, row: int) -> Drawer | None:
    """Find the open drawer of an object; None if none is open, or none can be recognised."""
    own = layout.points_of(row)
    plate = top_panel(own, top := float(np.percentile(own[:, 2], 99))) if len(own) else None
    if plate is None:
        return None
    body = rectangle_of(trimmed(plate))
    sides = []  # the points in front of each side, below the top
    for direction in (*body.axes, *-body.axes):
        side = body.facing(direction)
        places = side.to_own(own[:, :2])
        sides.append(own[(places[:, 0] > side.half[0] + _OUT) & (np.abs(places[:, 1]) < side.half[1] + _OUT)])
    best = max(sides, key=len)
    if len(best) < _FEW:
        return None
    direction = (*body.axes, *-body.axes)[[len(side) for side in sides].index(len(best))]
    body = body.facing(direction)
    places, height = body.to_own(best[:, :2]), best[:, 2]
    # The front is the outermost upright plane with many points on it; handles stick out of it.
    plane = np.floor(places[:, 0] / _PLANE).astype(int)
    count = np.bincount(plane - plane.min())
    front = float(np.flatnonzero(count > _MANY * count.max())[-1] + plane.min() + 1) * _PLANE
    kept = places[:, 0] < front + _PLANE
    places, height = places[kept], height[kept]
    face = places[:, 0] > front - _FRONT
    if face.sum() < _FEW or front - body.half[0] < _OUT:
        return None
    left, right = (float(y) for y in np.percentile(places[face, 1], [1, 99]))
    under, over = (float(h) for h in np.percentile(height[face], [2, 98]))
    if right - left < _WIDE * 2 * body.half[1]:
        return None
    middle, half = (left + right) / 2, _INNER * (right - left) / 2
    inner = (np.abs(places[:, 1] - middle) < half) & (places[:, 0] < front - _FRONT) & (height < over)
    floor = float(np.percentile(height[inner], 10)) if inner.sum() >= _FEW else under + _WALL
    if over - floor < _SHALLOW or over > top + _TOP:
        return None
    tall = max(over - under, _SHALLOW)
    corners = np.array([body.half[0], left + _WALL]), np.array([front - _WALL, right - _WALL])
    region = Region(row, body.part(*corners), floor, over, (floor - _BESIDE, over), FRONT, walled=True)
    bottom = float(layout.bottom[row])
    foot = bottom if under - bottom > _TOP else min(bottom, 0.0)  # the open drawer hides what is under it
    above, below = (drawers_in(room, tall) for room in (top - over, under - foot))
    return Drawer(region, above, below)


def top_panel(own: Array, top: float) -> Array | None:
    """(N, 2) places on a chest's top panel, without the rim of an open drawer, metres; None if no panel is visible."""
    places = own[own[:, 2] > top - _TOP, :2]
    if len(places) < _FEW:
        return None
    low = places.min(axis=0)
    cells = np.floor((places - low) / _CELL).astype(int)
    image = np.zeros(cells.max(axis=0) + 3, np.uint8)
    image[tuple((cells + 1).T)] = 1
    image = cv2.morphologyEx(image, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    image = cv2.morphologyEx(image, cv2.MORPH_OPEN, np.ones((_RIM, _RIM), np.uint8))
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(image)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])) if len(stats) > 1 else 1
    plate = low + (np.argwhere(pieces == largest) - 0.5) * _CELL
    return plate if len(plate) >= _FEW else None


def drawers_in(room: float, tall: float) -> int:
    """Number of drawers of a height that fit into a space, with the gaps between them."""
    return max(1, round(room / (_PITCH * tall))) if room > _ROOM * tall else 0
