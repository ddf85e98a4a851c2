# SPDX-License-Identifier: Apache-2.0
"""Draw coloured shapes on a plain background."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np

from spatial_vlm_ros.types import Floats, Rgb

SIDE = 336
"""Pixels of an image, both ways."""
GROUND = (245, 245, 245)
COLOURS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "red": (214, 39, 40),
        "green": (30, 140, 50),
        "blue": (30, 70, 200),
        "yellow": (235, 205, 30),
        "purple": (140, 50, 160),
        "orange": (245, 130, 20),
        "black": (25, 25, 25),
        "pink": (240, 150, 190),
    }
)


@dataclass(frozen=True)
class Shape:
    """A shape in an image; x, y of its centre and radius of the circle around it in pixels, from the top left."""

    shape: str  # one of SHAPES
    colour: str  # one of COLOURS
    x: float
    y: float
    radius: float


def draw_shapes(shapes: Sequence[Shape]) -> Rgb:
    """Draw shapes as (SIDE, SIDE, 3) uint8, later ones on top; not antialiased, so all pixels have listed colours."""
    rgb = np.full((SIDE, SIDE, 3), GROUND, np.uint8)
    for one in shapes:
        outline = np.rint(_OUTLINES[one.shape] * one.radius + (one.x, one.y)).astype(np.int32)
        cv2.fillPoly(rgb, [outline], COLOURS[one.colour])
    return rgb


def _ring(corners: int, start: float = 0.0) -> Floats:
    angles = start + np.arange(corners) * 2 * math.pi / corners
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


_CORNER = np.array([(0.3, -0.95), (0.3, -0.3), (0.95, -0.3)])
_TURNS = np.array([[(1, 0), (0, 1)], [(0, 1), (-1, 0)], [(-1, 0), (0, -1)], [(0, -1), (1, 0)]])
_OUTLINES: Mapping[str, Floats] = {
    "circle": _ring(48),
    "square": _ring(4, math.pi / 4),
    "triangle": _ring(3, -math.pi / 2),
    "star": _ring(10, -math.pi / 2) * np.where(np.arange(10) % 2, 0.42, 1.0)[:, None],
    "cross": np.concatenate(_CORNER @ _TURNS),
    "diamond": _ring(4) * (0.72, 1.0),
}
"""Name → (N, 2) corners within the unit circle, y down."""
SHAPES = tuple(_OUTLINES)
