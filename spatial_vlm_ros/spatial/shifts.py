# SPDX-License-Identifier: Apache-2.0
"""Destination of an object that is moved by a stated distance from its position: "10 cm to the left"."""

from __future__ import annotations

import math

import numpy as np

from spatial_vlm_ros.language.lexicon import ITSELF
from spatial_vlm_ros.spatial.layout import Layout, Viewpoint
from spatial_vlm_ros.spatial.parts.region import SHARE, Region
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.spatial.spot_judging import AHEAD_RIGHT
from spatial_vlm_ros.spatial.surfaces import SUPPORT
from spatial_vlm_ros.types import Destination, FrameOfReference

_LEAST_OFF = 0.015  # metres by which the middle may miss the spot
_OFF = 0.15  # fraction of the stated distance by which it may miss the spot


def is_shift(destination: Destination) -> bool:
    """True if a destination is relative to the object's current position."""
    return destination.anchors[0].category == ITSELF


def shifted_to(layout: Layout, row: int, destination: Destination, view: Viewpoint) -> Region:
    """The spot that the object's middle is moved to, on its current support.

    Args:
        row: row of the object, which must be measured.
    """
    distance = 0.0 if destination.distance is None else destination.distance.metres
    ahead, right = layout.rays(view, np.array([row], np.intp))
    along, across = AHEAD_RIGHT[destination.relation]
    middle = layout.centre[row, :2] + distance * (along * ahead[0] + across * right[0])
    off = max(_LEAST_OFF, _OFF * distance)
    corners = np.array([(-off, -off), (-off, off), (off, off), (off, -off)])
    return Region(_carrier(layout, row), middle + corners, math.inf, math.inf, (-math.inf, math.inf), SHARE)


def _carrier(layout: Layout, row: int) -> int:
    """Row of the object that an object stands on or in; SUPPORT for the support plane."""
    rows = np.flatnonzero(layout.measured)
    rows = rows[rows != row]
    if not len(rows):
        return SUPPORT
    pairs = Pairs(layout, layout.viewpoint(FrameOfReference.VIEWER), np.array([row], np.intp), rows)
    carried = np.maximum(RELATIONS["on"](pairs)[0], RELATIONS["inside"](pairs)[0])[0]
    best = int(np.argmax(carried))
    return int(rows[best]) if carried[best] > 0 else SUPPORT
