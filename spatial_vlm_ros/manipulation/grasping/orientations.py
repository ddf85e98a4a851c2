# SPDX-License-Identifier: Apache-2.0
"""Orientations of the hand to try: from above, from the sides, slanted, and slanted along a wall."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def orientations(heading: float, headings: int, slants_deg: tuple[float, ...]) -> Iterator[tuple[str, Array]]:
    """Yield name and (3, 3) rotation, with columns x, y, z (approach), of each orientation.

    Args:
        heading: heading of the object's box about up, radians; headings are relative to it.
        slants_deg: angles of slanted approaches from straight down, degrees.
    """
    for number in range(headings):
        yaw = heading + math.pi / 2 + math.pi * number / headings
        yield "top_down", hand_axes((0.0, 0.0, -1.0), (math.cos(yaw), math.sin(yaw), 0.0))
    for number in range(headings):
        yaw = heading + math.tau * number / headings
        c, s = math.cos(yaw), math.sin(yaw)
        yield "side", hand_axes((c, s, 0.0), (-s, c, 0.0))
        for slant in slants_deg:
            level, down = math.sin(math.radians(slant)), math.cos(math.radians(slant))
            yield "slanted", hand_axes((level * c, level * s, -down), (-s, c, 0.0))
            if slant <= 45:
                yield "slanted", hand_axes((level * c, level * s, -down), (down * c, down * s, level))


def hand_axes(approach: tuple[float, float, float], closing: tuple[float, float, float]) -> Array:
    """(3, 3) rotation with columns x = y × z, y = closing, z = approach."""
    y, z = np.array(closing), np.array(approach)
    return np.stack((np.cross(y, z), y, z), axis=1)
