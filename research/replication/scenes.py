# SPDX-License-Identifier: Apache-2.0
"""Scenes that models learn from: objects with places, what may be asked about them, and their image.

The questions have the words of the diagnostics' items and the images come from the same pen, but scenes are free:
nothing is balanced, as it is not in the world. On the free tabletop what is farther is mostly also higher in the
image.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np

from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.vlm.diagnostics import depth_items
from spatial_vlm_ros.vlm.diagnostics.flat_drawing import COLOURS, SHAPES, SIDE, Shape, draw_shapes
from spatial_vlm_ros.vlm.diagnostics.item_set import (
    ASKED,
    EDGES,
    FEWEST,
    MOST,
    NAMINGS,
    PLACES,
    RELATIVE_ASKED,
)

SOLIDS = ("block", "cylinder")
_RADII = (20.0, 30.0)  # pixels, as in the items
_GAP = 6.0
_CLEAR = 16.0  # pixels by which an outermost object is asked for; items have 24
_SLANT = 0.5  # as in the items
_TRIES = 40
_ON_TABLE = 0.7  # share of objects without a stand
_ALONG, _LIFTS, _SIZES = (0.8, 2.0), (0.1, 0.55), (0.07, 0.26)  # metres, as in the items
_DEPTH_GAP = 0.25
_BESIDE, _ROOM = 8.0, 4.0


@dataclass(frozen=True)
class Turn:
    """A question and its answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Placed:
    """An object as an image shows it.

    Args:
        shape: word.
        colour: word.
        box: x1, y1, x2, y2, 0 to 1 of the image.
    """

    shape: str
    colour: str
    box: tuple[float, float, float, float]

    @property
    def name(self) -> str:
        """Colour and shape."""
        return f"{self.colour} {self.shape}"

    def cell(self, side: int) -> tuple[int, int]:
        """Row and column of its middle on a grid of side x side."""
        x, y = (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2
        return min(int(y * side), side - 1), min(int(x * side), side - 1)


@dataclass(frozen=True, eq=False)
class DrawnScene:
    """Things, and all that may be asked about them.

    Args:
        kind: "flat" or "depth".
        objects: as they are seen.
        turns: all questions that have a clear answer, in random order; two of them never ask for the same pair.
        told: relations in words, one for each pair with a clear one.
    """

    kind: Literal["flat", "depth"]
    objects: tuple[Placed, ...]
    turns: tuple[Turn, ...]
    told: tuple[str, ...]
    _drawn: tuple[Shape, ...] | tuple[depth_items.DrawnObject, ...]

    def image(self) -> Rgb:
        """(SIDE, SIDE, 3) uint8."""
        if self.kind == "flat":
            return draw_shapes([one for one in self._drawn if isinstance(one, Shape)])
        return depth_items.draw_tabletop([one for one in self._drawn if isinstance(one, depth_items.DrawnObject)])


def draw_scene(rng: np.random.Generator, depth_share: float) -> DrawnScene:
    """A tabletop with that chance, else a flat scene."""
    return depth_scene(rng) if rng.uniform() < depth_share else flat_scene(rng)


def flat_scene(rng: np.random.Generator) -> DrawnScene:
    """Two to six shapes on plain ground, no two alike in shape or colour."""
    count = int(rng.integers(FEWEST, MOST + 1))
    names = list(zip(rng.permutation(list(SHAPES))[:count], rng.permutation(list(COLOURS))[:count], strict=True))
    shapes = _scattered([(str(shape), str(colour)) for shape, colour in names], rng)
    centres = np.array([(s.x, s.y) for s in shapes])
    turns, told = [], []
    for place, (x, y) in PLACES.items():
        along = centres @ (x, y)
        first, second = np.argsort(-along)[:2]
        if along[first] - along[second] >= _CLEAR:
            naming = NAMINGS[int(rng.integers(3))]
            one = shapes[first]
            answer = {"colour": one.colour, "shape": one.shape, "both": f"{one.colour} {one.shape}"}[naming]
            turns.append(Turn(ASKED[naming].format(EDGES[place]), answer))
    for one, other in itertools.combinations(range(count), 2):
        if rng.uniform() < 0.5:
            one, other = other, one
        relation = _relation(centres[one] - centres[other])
        if relation is not None:
            naming = NAMINGS[int(rng.integers(3))]
            names_ = [called(shapes[i], naming) for i in (one, other)]
            turns.append(Turn(RELATIVE_ASKED.format(*names_), relation))
            told.append(_told(shapes[one], relation, shapes[other]))
    placed = [
        Placed(s.shape, s.colour, _boxed(s.x - s.radius, s.y - s.radius, s.x + s.radius, s.y + s.radius))
        for s in shapes
    ]
    order = rng.permutation(len(turns))
    return DrawnScene("flat", tuple(placed), tuple(turns[i] for i in order), tuple(told), tuple(shapes))


def depth_scene(rng: np.random.Generator) -> DrawnScene:
    """Two or three blocks and cylinders side by side on a table, of different colours, one clearly farther."""
    while True:
        scene = _tabletop(rng)
        if scene.turns:
            return scene


def _tabletop(rng: np.random.Generator) -> DrawnScene:
    count = int(rng.integers(2, 4))
    colours = [str(colour) for colour in rng.permutation(list(depth_items.COLOURS_ASKED))[:count]]
    objects = _on_table(colours, rng)
    turns, told = [], []
    for one, other in itertools.permutations(objects, 2):
        ways = (one.y - other.y, one.distance - other.distance, one.depth - other.depth)
        if min(ways) < _DEPTH_GAP:
            continue
        asked = ("farther", "nearer")[int(rng.integers(2))]
        names = [f"{t.colour} {t.shape}" for t in (one, other)]
        order = rng.permutation(2)
        turns.append(Turn(depth_items.ASKED[asked].format(*(names[i] for i in order)), names[asked == "nearer"]))
        told.append(f"the {names[0]} is farther than the {names[1]}")
    placed = []
    for obj in objects:
        outline = depth_items.outline_of(obj)
        placed.append(Placed(obj.shape, obj.colour, _boxed(*outline.min(axis=0), *outline.max(axis=0))))
    shuffled = rng.permutation(len(turns))
    return DrawnScene("depth", tuple(placed), tuple(turns[i] for i in shuffled), tuple(told), tuple(objects))


def called(shape: Shape | Placed, naming: str) -> str:
    """What an object is called: "red shape", "circle" or "red circle"."""
    return {"colour": f"{shape.colour} shape", "shape": shape.shape, "both": f"{shape.colour} {shape.shape}"}[naming]


def _told(one: Shape, relation: str, other: Shape) -> str:
    words = {"left": "left of", "right": "right of"}.get(relation, relation)
    return f"the {one.colour} {one.shape} is {words} the {other.colour} {other.shape}"


def _relation(offset: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str | None:
    """The side on which the offset clearly points; None near a diagonal."""
    for place, (x, y) in PLACES.items():
        along, beside = offset @ (x, y), abs(offset @ (y, x))
        if along > 0 and beside <= _SLANT * along:
            return place
    return None


def _scattered(looks: list[tuple[str, str]], rng: np.random.Generator) -> list[Shape]:
    """Shapes that do not touch, each put where there is room for it."""
    shapes: list[Shape] = []
    while len(shapes) < len(looks):
        for _ in range(_TRIES):
            radius = float(rng.uniform(*_RADII))
            x, y = (float(value) for value in rng.uniform(radius + 2, SIDE - radius - 2, 2))
            if all(np.hypot(x - s.x, y - s.y) > radius + s.radius + _GAP for s in shapes):
                shapes.append(Shape(*looks[len(shapes)], x, y, radius))
                break
        else:
            shapes = []
    return shapes


def _on_table(colours: list[str], rng: np.random.Generator) -> list[depth_items.DrawnObject]:
    """Things that are whole in the image and side by side."""
    objects: list[depth_items.DrawnObject] = []
    columns: list[tuple[float, float]] = []
    while len(objects) < len(colours):
        for _ in range(_TRIES):
            along, size = float(rng.uniform(*_ALONG)), float(rng.uniform(*_SIZES))
            lift = 0.0 if rng.uniform() < _ON_TABLE else float(rng.uniform(*_LIFTS))
            shape = SOLIDS[int(rng.integers(2))]
            obj = depth_items.DrawnObject(
                shape, colours[len(objects)], float(rng.uniform(-0.5, 0.5)) * along, along, lift, size
            )
            outline, (left, right) = depth_items.outline_of(obj), depth_items.columns_of(obj)
            within = outline.min() >= _ROOM and outline.max() <= SIDE - 1 - _ROOM
            if within and all(max(left - b, a - right) >= _BESIDE for a, b in columns):
                objects.append(obj)
                columns.append((left, right))
                break
        else:
            objects, columns = [], []
    return objects


def _boxed(x1: float, y1: float, x2: float, y2: float) -> tuple[float, float, float, float]:
    return float(x1 / SIDE), float(y1 / SIDE), float(x2 / SIDE), float(y2 / SIDE)
