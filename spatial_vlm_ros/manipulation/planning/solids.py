# SPDX-License-Identifier: Apache-2.0
"""Upright boxes, what they sweep, and how far apart they are.

Objects are boxed gravity-up and the gripper comes straight down or level, so all boxes have a vertical axis: each is a
rectangle on the ground and an interval of heights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.types import Vector3

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Solid:
    """An upright box in a frame with z up.

    Args:
        centre: metres.
        yaw: of its x axis about z, radians.
        size: along its own x, y and z, metres.
    """

    centre: Vector3
    yaw: float
    size: Vector3

    @property
    def bottom(self) -> float:
        """Least height, metres."""
        return self.centre[2] - self.size[2] / 2

    @property
    def top(self) -> float:
        """Greatest height, metres."""
        return self.centre[2] + self.size[2] / 2

    def grown(self, sides: Vector3) -> Solid:
        """The box with that much more, metres, on both sides along its own x, y and z."""
        x, y, z = (size + 2 * more for size, more in zip(self.size, sides, strict=True))
        return Solid(self.centre, self.yaw, (x, y, z))

    def swept(self, way: Vector3) -> Solid:
        """The box around what it passes through on a straight way, metres; exact along one of its own axes."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        local = (c * way[0] + s * way[1], c * way[1] - s * way[0], way[2])
        cx, cy, cz = (at + step / 2 for at, step in zip(self.centre, way, strict=True))
        x, y, z = (size + abs(step) for size, step in zip(self.size, local, strict=True))
        return Solid((cx, cy, cz), self.yaw, (x, y, z))

    def outline(self) -> Array:
        """(4, 2) corners seen from above, metres, counter-clockwise."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        corners = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * self.size[:2] / 2
        return np.asarray(corners @ np.array([[c, s], [-s, c]]) + self.centre[:2], np.float64)


def gaps(ones: Sequence[Solid], others: Sequence[Solid]) -> Array:
    """How far apart boxes are.

    Returns:
        (N, M) metres. Positive: apart, by at least this much. Negative: they run into each other, and this far one must
        move at least. Its sign is exact.

    Source: separating axes (Gottschalk, Lin and Manocha 1996), of which upright boxes have five: up, and both sides of
    both rectangles.
    """
    a, b = _table(ones), _table(others)
    apart_up = np.maximum(a[:, None, 2] - a[:, None, 6] - b[None, :, 2] - b[None, :, 6],
                          b[None, :, 2] - b[None, :, 6] - a[:, None, 2] - a[:, None, 6])  # fmt: skip
    offset = b[None, :, :2] - a[:, None, :2]
    turn = b[None, :, 3] - a[:, None, 3]
    cos, sin = np.abs(np.cos(turn)), np.abs(np.sin(turn))
    aside = np.full(turn.shape, -np.inf)
    for yaw, own, other in (
        (a[:, None, 3], a[:, None, 4:6], b[None, :, 4:6]),
        (b[None, :, 3], b[None, :, 4:6], a[:, None, 4:6]),
    ):
        c, s = np.cos(yaw), np.sin(yaw)
        along = np.abs(offset[..., 0] * c + offset[..., 1] * s)
        across = np.abs(offset[..., 1] * c - offset[..., 0] * s)
        aside = np.maximum(aside, along - own[..., 0] - other[..., 0] * cos - other[..., 1] * sin)
        aside = np.maximum(aside, across - own[..., 1] - other[..., 0] * sin - other[..., 1] * cos)
    both = np.hypot(np.maximum(apart_up, 0.0), np.maximum(aside, 0.0))
    return np.where((apart_up > 0) & (aside > 0), both, np.maximum(apart_up, aside))


def _table(solids: Sequence[Solid]) -> Array:
    """(N, 7): centre, yaw, half sizes."""
    rows = [(*solid.centre, solid.yaw, *(size / 2 for size in solid.size)) for solid in solids]
    return np.array(rows, np.float64).reshape(-1, 7)
