# SPDX-License-Identifier: Apache-2.0
"""Draws the path of the tip, from above and from the side, at the same scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spatial_vlm_ros.types import Vector3

WIDTH, HEIGHT = 240, 200
_EDGE = 30  # px around the path
_LEAST = 0.05  # metres that a drawing spans at least
_BARS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # metres


@dataclass(frozen=True)
class SideView:
    """One drawing, in pixels of a WIDTH by HEIGHT image, y down.

    Args:
        right: axis of the planning frame that points right, "x" or "−y".
        up: axis that points up.
        points: (N, 2) points of the path, pixels.
        bar: length of the scale bar, pixels.
        bar_metres: length of the scale bar, metres.
    """

    title: str
    right: str
    up: str
    points: tuple[tuple[float, float], ...]
    bar: float
    bar_metres: float

    @property
    def line(self) -> str:
        """The points in SVG format."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


def side_views(path: Sequence[Vector3]) -> tuple[SideView, SideView]:
    """Draw a path from above and from the side.

    Args:
        path: two or more points in the planning frame (x ahead, y left, z up), metres.
    """
    above = [(-y, x) for x, y, _ in path]
    side = [(x, z) for x, _, z in path]
    span = max(_span(above), _span(side))
    scale = (HEIGHT - 2 * _EDGE) / span
    metres = max((bar for bar in _BARS if bar <= span / 2), default=_BARS[0])
    return (
        SideView("From above", "−y", "x", _placed(above, scale), metres * scale, metres),
        SideView("From the side", "x", "z", _placed(side, scale), metres * scale, metres),
    )


def _span(points: Sequence[tuple[float, float]]) -> float:
    return max(_LEAST, *(max(p[axis] for p in points) - min(p[axis] for p in points) for axis in (0, 1)))


def _placed(points: Sequence[tuple[float, float]], scale: float) -> tuple[tuple[float, float], ...]:
    middle = [(max(p[axis] for p in points) + min(p[axis] for p in points)) / 2 for axis in (0, 1)]
    return tuple((WIDTH / 2 + (x - middle[0]) * scale, HEIGHT / 2 - (y - middle[1]) * scale) for x, y in points)
