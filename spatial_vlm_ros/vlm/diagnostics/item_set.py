# SPDX-License-Identifier: Apache-2.0
"""The whole set of test questions, drawn from a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.vlm.diagnostics.depth_items import depth_group
from spatial_vlm_ros.vlm.diagnostics.flat_drawing import COLOURS, SHAPES, SIDE, Shape, draw_shapes
from spatial_vlm_ros.vlm.diagnostics.items import NOTHING, ItemPrompt, ProbeItem

# Questions about the positions of shapes in an image, absolute and relative to each other.
#
# They follow the two-dimensional set of Qi et al. (2025), Beyond Semantics: two to six shapes; named by colour, by
# shape or by both; absolute ("What colour is the shape at the bottom?") and relative. Images and wording are our own.
#
# Items come in groups. All items of a group have the same question and the same candidates in the same order, and
# each candidate is the truth of exactly one of them, so only the image decides the answer.

Naming = Literal["colour", "shape", "both"]
NAMINGS: tuple[Naming, ...] = ("colour", "shape", "both")
PLACES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}
)
"""Word of a relation → its direction in the image, x to the right, y down."""
EDGES = MappingProxyType(
    {"left": "on the left", "right": "on the right", "above": "at the top", "below": "at the bottom"}
)
OPPOSITE = MappingProxyType({"left": "right", "right": "left", "above": "below", "below": "above"})
FEWEST, MOST = 2, 6
_RADII = (20.0, 30.0)  # pixels
_GAP = 6.0  # pixels between two shapes
_CLEAR = 24.0  # pixels by which the outermost centre lies beyond the next one
_SLANT = 0.5  # a relation holds where the offset across it is at most this share of the offset along it

ASKED = {"colour": "What colour is the shape {}?", "shape": "Which shape is {}?", "both": "Which thing is {}?"}
RELATIVE_ASKED = "Where is the {}, seen from the {}?"
_AGAIN = {
    "colour": "Look for the shape that is {}. Which colour has it?",
    "shape": "Look for the thing that is {}. What shape has it?",
    "both": "Name the thing that is {}.",
}


def absolute_group(key: str, place: str, naming: Naming, count: int, rng: np.random.Generator) -> list[ProbeItem]:
    """Make as many items as shapes: "What colour is the shape on the left?".

    Args:
        place: a key of PLACES.
        count: shapes in each image, FEWEST to MOST.
    """
    kinds = _looks(count, rng)
    names = [_name(*look, naming) for look in kinds]
    order = rng.permutation(count)
    choices = tuple(names[i] for i in order)
    items = []
    for which in range(count):
        shapes = _extreme(kinds, which, place, rng)
        far_end = names[_outermost(shapes, OPPOSITE[place])]
        exchange = {names[which]: far_end, far_end: names[which]}
        across = place in ("left", "right")
        items.append(
            ProbeItem(
                f"{key}-{which}", key, "absolute", "left-right" if across else "above-below",
                ItemPrompt(draw_shapes(shapes), ASKED[naming].format(EDGES[place]), choices, names[which]),
                _AGAIN[naming].format(EDGES[place]),
                mirror=exchange if across else NOTHING,
                flip=NOTHING if across else exchange,
            )
        )  # fmt: skip
    return items


def relative_group(key: str, naming: Naming, count: int, rng: np.random.Generator) -> list[ProbeItem]:
    """Make four items "Where is the red shape, seen from the blue shape?": left, right, above, below.

    Args:
        count: shapes in each image, FEWEST to MOST; the question is about the first two.
    """
    kinds = _looks(count, rng)
    one, other = (_name(*look, naming) + (" shape" if naming == "colour" else "") for look in kinds[:2])
    choices = tuple(str(word) for word in rng.permutation(list(PLACES)))
    items = []
    for truth in choices:
        rgb = draw_shapes(_related(kinds, truth, rng))
        across = truth in ("left", "right")
        items.append(
            ProbeItem(
                f"{key}-{truth}", key, "relative", "left-right" if across else "above-below",
                ItemPrompt(rgb, RELATIVE_ASKED.format(one, other), choices, truth),
                f"In the picture, on which side of the {other} is the {one}?",
                mirror={"left": "right", "right": "left"},
                flip={"above": "below", "below": "above"},
            )
        )  # fmt: skip
    return items


def _looks(count: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Shape and colour of each object; no two share either."""
    shapes = rng.permutation(list(SHAPES))[:count]
    colours = rng.permutation(list(COLOURS))[:count]
    return [(str(shape), str(colour)) for shape, colour in zip(shapes, colours, strict=True)]


def _name(shape: str, colour: str, naming: Naming) -> str:
    return {"colour": colour, "shape": shape, "both": f"{colour} {shape}"}[naming]


def _scattered(kinds: list[tuple[str, str]], rng: np.random.Generator) -> list[Shape]:
    """Shapes anywhere in the image that do not touch."""
    while True:
        shapes: list[Shape] = []
        for shape, colour in kinds:
            radius = float(rng.uniform(*_RADII))
            x, y = rng.uniform(radius + 2, SIDE - radius - 2, 2)
            shapes.append(Shape(shape, colour, float(x), float(y), radius))
        centres = np.array([(s.x, s.y) for s in shapes])
        radii = np.array([s.radius for s in shapes])
        apart = np.linalg.norm(centres[:, None] - centres[None], axis=2) - radii[:, None] - radii[None]
        if (apart[np.triu_indices(len(shapes), 1)] > _GAP).all():
            return shapes


def _extreme(kinds: list[tuple[str, str]], which: int, place: str, rng: np.random.Generator) -> list[Shape]:
    """Shapes of which one is clearly outermost on a side, and another clearly on the opposite side."""
    while True:
        shapes = _scattered(kinds, rng)
        along = np.sort(_along(shapes, place))
        if along[-1] - along[-2] < _CLEAR or along[1] - along[0] < _CLEAR:
            continue
        if _outermost(shapes, place) == which:
            return shapes


def _related(kinds: list[tuple[str, str]], relation: str, rng: np.random.Generator) -> list[Shape]:
    """Shapes of which the first has the relation to the second, not near a diagonal."""
    across = next(b for b in ("left", "above") if b not in (relation, OPPOSITE[relation]))
    while True:
        shapes = _scattered(kinds, rng)
        along = float(np.subtract(*_along(shapes[:2], relation)))
        beside = abs(float(np.subtract(*_along(shapes[:2], across))))
        if along > 0 and beside <= _SLANT * along:
            return shapes


def _along(shapes: list[Shape], place: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """(N,) pixels of each centre towards a side."""
    x, y = PLACES[place]
    return np.array([x * s.x + y * s.y for s in shapes])


def _outermost(shapes: list[Shape], place: str) -> int:
    return int(np.argmax(_along(shapes, place)))


@dataclass(frozen=True)
class Amount:
    """Number of questions.

    Args:
        absolute: number of groups; group i asks for side i mod 4, with 2 to 6 shapes and as many items.
        relative: number of groups of four items.
        depth: number of groups of eight items.
        seed: seed of the drawing.

    Raises:
        InputError: a number below 0, or no group at all.
    """

    absolute: int = 24
    relative: int = 24
    depth: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.absolute, self.relative, self.depth)
        if min(*counts, self.seed) < 0 or not any(counts):
            got = f"{counts} groups, seed {self.seed}"
            raise InputError("amount of questions", got, "no number below 0, and at least one group")


AMOUNTS: Mapping[str, Amount] = MappingProxyType({"small": Amount(8, 10, 5), "full": Amount()})
"""Name → amount. The small one is near the least that distinguishes a model that knows from one that does not look."""


def draw_items(amount: Amount | None = None) -> list[ProbeItem]:
    """Draw items of all kinds, group after group; the same amount and seed give the same items."""
    amount = amount or Amount()
    items: list[ProbeItem] = []
    for i in range(amount.absolute):
        place, naming = list(PLACES)[i % 4], NAMINGS[i // 4 % 3]
        rng = np.random.default_rng((amount.seed, 0, i))
        items += absolute_group(f"absolute-{i}", place, naming, FEWEST + i // 4 % (MOST - FEWEST + 1), rng)
    for i in range(amount.relative):
        rng = np.random.default_rng((amount.seed, 1, i))
        items += relative_group(f"relative-{i}", NAMINGS[i % 3], FEWEST + i % (MOST - FEWEST + 1), rng)
    for i in range(amount.depth):
        items += depth_group(f"depth-{i}", np.random.default_rng((amount.seed, 2, i)))
    return items
