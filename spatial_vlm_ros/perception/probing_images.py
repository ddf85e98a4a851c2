# SPDX-License-Identifier: Apache-2.0
"""Images for probing a model, and reading the numbers in its answers.

Sizes and positions keep the conventions apart: sides are far from 100 and 1000 and from multiples of the usual patch
sizes, there are small and large images, and positions are far from the centre and the diagonal.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.types import Rgb

Size = tuple[int, int]
Box = tuple[float, float, float, float]

SIZES: tuple[Size, ...] = ((640, 480), (145, 97), (209, 125), (1288, 540), (97, 145), (310, 724))
PLACES = ((0.24, 0.72), (0.78, 0.26), (0.63, 0.22), (0.20, 0.58), (0.80, 0.42), (0.42, 0.80))
"""Centre of the shape, fractions of width and height."""
EXTENT = 0.32
"""Width and height of the shape, fractions of the image's."""

_COLOURS: Mapping[str, tuple[int, int, int]] = {"red": (210, 30, 30), "blue": (30, 60, 200), "green": (20, 140, 50)}
_SHAPES = ("rectangle", "ellipse")
_BACKGROUND = 225

_LONGEST = 20_000  # characters of a reply that are read
_NUMBER = re.compile(r"(?<![\w.])-?[0-9]{1,9}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,2})?(?!\w)")
_LOCATION = re.compile(r"<loc_?([0-9]{1,5})>")
_COORDS = re.compile(r"coords\s*=\s*[\"']([^\"']{1,200})")
_ATTRIBUTE = re.compile(r"\b([xy])1?\s*=\s*[\"']?\s*(-?[0-9]{1,9}(?:\.[0-9]{1,20})?)")
_GROUP = re.compile(r"[\[(]([^\[\]()]{3,200})[\])]")
_BOX_TAG = re.compile(r"<box>|<\|box_start\|>")


@dataclass(frozen=True, eq=False)
class ProbeImage:
    """A plain image with one shape.

    Args:
        rgb: (H, W, 3) uint8.
        box_xyxy: box of the shape, pixels.
    """

    rgb: Rgb
    phrase: str
    box_xyxy: Box


def probe_images() -> tuple[ProbeImage, ...]:
    """Make eighteen images: every size with three of the positions."""
    colours = itertools.cycle(_COLOURS)
    shapes = itertools.cycle(_SHAPES)
    pairs = [(size, PLACES[(k + turn) % len(PLACES)]) for turn in (0, 2, 4) for k, size in enumerate(SIZES)]
    return tuple(image(size, place, next(colours), shape) for (size, place), shape in zip(pairs, shapes, strict=False))


def image(size: Size, place: tuple[float, float], colour: str, shape: str) -> ProbeImage:
    """Draw one shape on a plain background.

    Args:
        size: (width, height), pixels.
        place: its centre, fractions of width and height.
        shape: "rectangle" or "ellipse".
    """
    width, height = size
    x0, x1 = (round((place[0] + half) * width) for half in (-EXTENT / 2, EXTENT / 2))
    y0, y1 = (round((place[1] + half) * height) for half in (-EXTENT / 2, EXTENT / 2))
    rgb = np.full((height, width, 3), _BACKGROUND, np.uint8)
    inside = rgb[y0:y1, x0:x1]
    if shape == "rectangle":
        inside[:] = _COLOURS[colour]
    else:
        u, v = (np.linspace(-1.0, 1.0, 2 * side + 1)[1::2] for side in (x1 - x0, y1 - y0))
        inside[u[None, :] ** 2 + v[:, None] ** 2 <= 1.0] = _COLOURS[colour]
    return ProbeImage(rgb, f"the {colour} {shape}", (x0, y0, x1, y1))


def read_numbers(reply: str) -> tuple[tuple[float, ...], str]:
    """Read the first location in a reply, whatever its form, and the beginning of its location tokens.

    This is lenient on purpose and only for probing; `replies.parse_reply` reads replies to instructions.

    Returns:
        Two or four numbers, or none if the reply has no location; "<loc_" or "<loc", or "" without such tokens.
    """
    text = reply[-_LONGEST:].rpartition("</think>")[2]
    tokens = tuple(float(token) for token in _LOCATION.findall(text))
    if tokens:
        return (tokens[:4] if len(tokens) >= 4 else ()), "<loc_" if "<loc_" in text else "<loc"
    coords = _COORDS.search(text)
    if coords is not None:
        return _floats(coords.group(1))[2:4], ""
    attributes = dict(reversed(_ATTRIBUTE.findall(text)))
    if len(attributes) == 2:
        return (float(attributes["x"]), float(attributes["y"])), ""
    groups = [values for group in _GROUP.findall(text) if len(values := _floats(group)) in (2, 4)]
    if len(groups) > 1 and _BOX_TAG.search(text) and len(groups[0]) == len(groups[1]) == 2:
        return groups[0] + groups[1], ""
    values = groups[0] if groups else _floats(text)
    return (values if len(values) in (2, 4) else ()), ""


def _floats(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in _NUMBER.findall(text))
