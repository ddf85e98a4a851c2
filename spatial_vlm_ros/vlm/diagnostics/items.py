# SPDX-License-Identifier: Apache-2.0
"""Questions with candidates about drawn images, for and against what a model may know without looking.

Positions of shapes follow the two-dimensional set of Qi et al. (2025), Beyond Semantics: two to six shapes; named by
colour, by shape or by both; absolute ("What colour is the shape at the bottom?") and relative. Items come in groups
with one question and the same candidates in the same order, and each candidate is the truth of exactly one of them, so
only the image decides the answer.

Depth: on bare ground, the farther object is also higher in the image, and looks smaller. A model may know only that. So
each group has every combination of: which object is the answer, whether the farther one is higher in the image
("usual") or lower, and whether the nearer one looks larger or smaller (as Why Far Looks Up, 2026, splits accuracy).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import Literal, Protocol

import cv2
import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.types import Floats, Rgb
from spatial_vlm_ros.vlm.diagnostics.flat_drawing import COLOURS, SHAPES, SIDE, Shape, draw_shapes

Kind = Literal["absolute", "relative", "depth"]
Axis = Literal["left-right", "above-below", "depth"]
AXES: tuple[Axis, ...] = ("left-right", "above-below", "depth")
NOTHING: Mapping[str, str] = MappingProxyType({})
KINDS: tuple[Kind, ...] = ("absolute", "relative", "depth")


class Answerer(Protocol):
    """Answers a question about an image with one of given candidates: a model, a server, or a test's own class."""

    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:
        """Return one of the choices, shown to the model in this order after the question."""
        ...


@dataclass(frozen=True, eq=False)
class ItemPrompt:
    """One question with its candidates."""

    rgb: Rgb
    question: str
    choices: tuple[str, ...]
    truth: str | None  # one of the choices; None if the image does not show it

    def __post_init__(self) -> None:
        if len(self.choices) < 2 or len(set(self.choices)) < len(self.choices):
            raise InputError("candidates", repr(self.choices), "two or more, all different")
        if self.truth is not None and self.truth not in self.choices:
            raise InputError("truth", repr(self.truth), f"one of {self.choices}", "use one of the candidates")


@dataclass(frozen=True, eq=False)
class ProbeItem:
    """A question with the data for its controls."""

    key: str
    group: str
    kind: Kind  # where in the image; where from another object; which is farther
    axis: Axis  # along which the truth lies
    plain: ItemPrompt
    paraphrase: str
    mirror: Mapping[str, str] = field(default_factory=dict)  # answer → that with left and right exchanged, if another
    flip: Mapping[str, str] | None = field(default_factory=dict)  # likewise with top and bottom; None: no meaning
    swapped: Rgb | None = None  # its two objects exchanged along depth: the other answer is true
    cues: Mapping[str, bool] = field(default_factory=dict)

    @property
    def truth(self) -> str:
        """Truth of the plain question."""
        return str(self.plain.truth)

    @property
    def mirrored(self) -> str:
        """Truth in the image with left and right exchanged."""
        return self.mirror.get(self.truth, self.truth)

    @property
    def flipped(self) -> str | None:
        """Truth in the image with top and bottom exchanged; None if that image has no meaning."""
        return None if self.flip is None else self.flip.get(self.truth, self.truth)

    @property
    def chance(self) -> float:
        """Accuracy of a guess."""
        return 1.0 / len(self.plain.choices)


def ask(answerer: Answerer, asking: ItemPrompt) -> str:
    """Ask a question and return the answer."""
    answer = answerer.answer(asking.rgb, asking.question, asking.choices)
    if answer not in asking.choices:
        name = type(answerer).__name__
        raise ModelError(
            name, f"answers {answer!r}, not one of {asking.choices}", "make it choose among the candidates"
        )
    return answer


HIGHER, LARGER = "higher in the picture = farther", "larger in the picture = nearer"
COLOURS_ASKED = ("red", "green", "blue", "yellow", "purple", "orange")
_DEPTH_GAP = 0.25  # metres between the two distances, and between the two depths
_RISE = 18.0  # pixels between the two heights in the image
_LOOKS_LARGER = 1.3  # ratio of the two areas in the image
_BESIDE = 8.0  # pixels between the two, sideways, so that neither hides the other
_ROOM = 4.0  # pixels to the edge of the image
_ALONG, _LIFTS, _SIZES = (0.8, 2.0), (0.1, 0.55), (0.07, 0.26)  # metres
_FLAT = 0.4  # share of objects that stand on the table itself

DEPTH_ASKED = {
    "farther": "Which is farther from the camera, the {} or the {}?",
    "nearer": "Which is nearer to the camera, the {} or the {}?",
}
_DEPTH_AGAIN = {
    "farther": "Of the {} and the {}, which one has the greater distance to the camera?",
    "nearer": "Of the {} and the {}, which one has the smaller distance to the camera?",
}


# ------------------------------------------------------------------------------------------------ a table
# Blocks and cylinders, some on stands, through a pinhole camera. The table's frame: x to the right, y away from the
# camera, z up, metres; the origin is below the camera.

CAMERA_HEIGHT = 0.75  # metres above the table
PITCH = math.radians(24.0)  # angle of the optical axis below the horizon
FOCAL = 0.95 * SIDE  # pixels: 56 degrees in each direction
NEAREST_GROUND, FARTHEST_GROUND = 0.3, 4.0  # metres of the table that are drawn
_TILE = 0.2  # metres
_TILES = ((205, 196, 180), (188, 178, 160))
_WALL = (226, 230, 233)
_STAND = (150, 150, 155)
_EDGES = 40  # corners of a drawn circle
_SIDE_SHADE, _FRONT_SHADE = 0.72, 0.86


@dataclass(frozen=True)
class DrawnObject:
    """A block or a cylinder on the table; metres."""

    shape: str  # "block" or "cylinder"
    colour: str  # one of COLOURS
    x: float  # of its centre, to the right
    y: float  # of its centre, away from the camera, along the table
    lift: float  # height of its foot above the table; above 0 it stands on a grey stand
    size: float  # width, depth and height

    @property
    def middle(self) -> Floats:
        """(3,) centre, metres, table frame."""
        return np.array([self.x, self.y, self.lift + self.size / 2])

    @property
    def distance(self) -> float:
        """Distance between the camera and its centre, metres."""
        return float(np.linalg.norm(self.middle - (0.0, 0.0, CAMERA_HEIGHT)))

    @property
    def depth(self) -> float:
        """Depth of its centre along the optical axis, metres."""
        return float(in_camera(self.middle[None])[0, 2])


def in_camera(points: Floats) -> Floats:
    """Transform (N, 3) points from the table frame to the optical frame: metres, right, down, forward."""
    x, y, z = points[:, 0], points[:, 1], points[:, 2] - CAMERA_HEIGHT
    sine, cosine = math.sin(PITCH), math.cos(PITCH)
    return np.stack([x, -cosine * z - sine * y, cosine * y - sine * z], axis=1)


def pixels_of(points: Floats) -> Floats:
    """(N, 2) pixels (u, v) of (N, 3) points of the table frame in front of the camera."""
    seen = in_camera(points)
    return seen[:, :2] / seen[:, 2:] * FOCAL + (SIDE - 1) / 2


def outline_of(obj: DrawnObject) -> Floats:
    """(N, 2) pixels: convex outline of an object without its stand."""
    return _hull(_corners(obj, obj.lift, obj.size))


def draw_tabletop(objects: Sequence[DrawnObject]) -> Rgb:
    """Draw (SIDE, SIDE, 3) uint8: a chequered table, a wall, and the objects, far ones first."""
    rgb = _empty_table().copy()
    for obj in sorted(objects, key=lambda one: -one.y):
        if obj.lift:
            _draw_solid(rgb, obj, 0.0, obj.lift, _STAND)
        _draw_solid(rgb, obj, obj.lift, obj.size, COLOURS[obj.colour])
    return rgb


@cache
def _empty_table() -> Rgb:
    """Wall and table, drawn once because they are the same in all images."""
    rgb = np.full((SIDE, SIDE, 3), _WALL, np.uint8)
    rows = range(round((FARTHEST_GROUND - NEAREST_GROUND) / _TILE))
    for row, column in itertools.product(rows, range(-15, 15)):
        x, y = column * _TILE, NEAREST_GROUND + row * _TILE
        tile = np.array([(x, y, 0), (x + _TILE, y, 0), (x + _TILE, y + _TILE, 0), (x, y + _TILE, 0)])
        _fill(rgb, pixels_of(tile), _TILES[(row + column) % 2])
    return rgb


def _draw_solid(rgb: Rgb, obj: DrawnObject, foot: float, height: float, colour: tuple[int, int, int]) -> None:
    """Draw the outline in a dark shade, the front in a middle one, and a visible top in the full colour."""
    corners = _corners(obj, foot, height)
    _fill(rgb, _hull(corners), _shade(colour, _SIDE_SHADE if obj.shape == "block" else _FRONT_SHADE))
    half = len(corners) // 2
    if obj.shape == "block":
        front = np.concatenate([corners[:2], corners[half + 1 : half - 1 : -1]])
        _fill(rgb, pixels_of(front), _shade(colour, _FRONT_SHADE))
    if foot + height < CAMERA_HEIGHT:
        _fill(rgb, pixels_of(corners[half:]), colour)


def _corners(obj: DrawnObject, foot: float, height: float) -> Floats:
    """(2 N, 3) corners of the foot, then of the top; a block's first two are its front."""
    half = obj.size / 2
    if obj.shape == "block":
        ring = np.array([(-half, -half), (half, -half), (half, half), (-half, half)])
    else:
        angles = np.arange(_EDGES) * 2 * math.pi / _EDGES
        ring = half * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    flat = ring + np.array([obj.x, obj.y])
    return np.concatenate([np.column_stack([flat, np.full(len(flat), z)]) for z in (foot, foot + height)])


def _hull(points: Floats) -> Floats:
    return cv2.convexHull(pixels_of(points).astype(np.float32))[:, 0].astype(np.float64)


def _shade(colour: tuple[int, int, int], share: float) -> tuple[int, int, int]:
    red, green, blue = (round(value * share) for value in colour)
    return red, green, blue


def _fill(rgb: Rgb, outline: Floats, colour: tuple[int, int, int]) -> None:
    cv2.fillPoly(rgb, [np.rint(outline).astype(np.int32)], colour)


def depth_group(key: str, rng: np.random.Generator) -> list[ProbeItem]:
    """Make eight items with one question: which object is the answer × HIGHER holds or not × LARGER holds or not."""
    first, second = (str(colour) for colour in rng.permutation(list(COLOURS_ASKED))[:2])
    shapes = [str(shape) for shape in rng.choice(["block", "cylinder"], 2)]
    names = (f"{first} {shapes[0]}", f"{second} {shapes[1]}")
    asked = str(rng.choice(list(DEPTH_ASKED)))
    choices = tuple(str(name) for name in rng.permutation(list(names)))
    items = []
    for truth, higher, larger in itertools.product((0, 1), (True, False), (True, False)):
        far = truth if asked == "farther" else 1 - truth
        looks = [(shapes[far], (first, second)[far]), (shapes[1 - far], (first, second)[1 - far])]
        objects = _placed(looks, higher, larger, rng)
        items.append(
            ProbeItem(
                f"{key}-{truth}{int(higher)}{int(larger)}", key, "depth", "depth",
                ItemPrompt(draw_tabletop(objects), DEPTH_ASKED[asked].format(*names), choices, names[truth]),
                _DEPTH_AGAIN[asked].format(*names),
                flip=None,
                swapped=draw_tabletop(_exchanged(objects)),
                cues=MappingProxyType({HIGHER: higher, LARGER: larger}),
            )
        )  # fmt: skip
    return items


def _placed(
    looks: list[tuple[str, str]], higher: bool, larger: bool, rng: np.random.Generator
) -> tuple[DrawnObject, DrawnObject]:
    """Place the farther and the nearer object so that they can be exchanged."""
    while True:
        anywhere = []
        for shape, colour in looks:
            lift = 0.0 if rng.uniform() < _FLAT else float(rng.uniform(*_LIFTS))
            along, size = float(rng.uniform(*_ALONG)), float(rng.uniform(*_SIZES))
            anywhere.append(DrawnObject(shape, colour, float(rng.uniform(-0.5, 0.5)) * along, along, lift, size))
        far, near = anywhere
        if not _far_enough(far, near) or not _suits((far, near), higher):
            continue
        areas = [cv2.contourArea(outline_of(obj).astype(np.float32)) for obj in (near, far)]
        ratio = areas[0] / areas[1]
        if (ratio if larger else 1 / ratio) < _LOOKS_LARGER:
            continue
        other_far, other_near = reversed(_exchanged((far, near)))
        if _far_enough(other_far, other_near) and _suits((other_far, other_near), higher):
            return far, near


def _exchanged(objects: tuple[DrawnObject, DrawnObject]) -> tuple[DrawnObject, DrawnObject]:
    """Put each at the other's distance along the table and on the other's stand; sideways positions stay."""
    one, other = objects
    return (
        replace(one, x=one.x * other.y / one.y, y=other.y, lift=other.lift),
        replace(other, x=other.x * one.y / other.y, y=one.y, lift=one.lift),
    )


def _far_enough(far: DrawnObject, near: DrawnObject) -> bool:
    ways = (far.y - near.y, far.distance - near.distance, far.depth - near.depth)
    return min(ways) >= _DEPTH_GAP


def _suits(objects: tuple[DrawnObject, DrawnObject], higher: bool) -> bool:
    """Whether both are in the image, side by side, and the first is higher or lower as wanted."""
    outlines = [outline_of(obj) for obj in objects]
    points = np.concatenate(outlines)
    if points.min() < _ROOM or points.max() > SIDE - 1 - _ROOM:
        return False
    spans = []  # first and last column that each covers with its stand
    for obj, outline in zip(objects, outlines, strict=True):
        stand = _hull(_corners(obj, 0.0, obj.lift)) if obj.lift else outline
        columns = np.concatenate([outline, stand])[:, 0]
        spans.append((float(columns.min()), float(columns.max())))
    (left, right), (other_left, other_right) = spans
    rows = [float((outline[:, 1].min() + outline[:, 1].max()) / 2) for outline in outlines]
    rise = rows[1] - rows[0]
    return max(left - other_right, other_left - right) >= _BESIDE and (rise if higher else -rise) >= _RISE


# ------------------------------------------------------------------------------------------------ shapes

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
    """Make an item for each of `count` shapes (FEWEST to MOST): "What colour is the shape on the left?"."""
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
    """Make four items "Where is the red shape, seen from the blue shape?": left, right, above, below."""
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


def _scattered(kinds: list[tuple[str, str]], rng: np.random.Generator) -> Iterator[list[Shape]]:
    """Shapes anywhere in the image that do not touch, drawn again and again."""
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
            yield shapes


def _extreme(kinds: list[tuple[str, str]], which: int, place: str, rng: np.random.Generator) -> list[Shape]:
    """Shapes of which one is clearly outermost on a side, and another clearly on the opposite side."""

    def fits(shapes: list[Shape]) -> bool:
        along = np.sort(_along(shapes, place))
        clear = min(along[-1] - along[-2], along[1] - along[0]) >= _CLEAR
        return bool(clear) and _outermost(shapes, place) == which

    return next(filter(fits, _scattered(kinds, rng)))


def _related(kinds: list[tuple[str, str]], relation: str, rng: np.random.Generator) -> list[Shape]:
    """Shapes of which the first has the relation to the second, not near a diagonal."""
    across = next(b for b in ("left", "above") if b not in (relation, OPPOSITE[relation]))

    def fits(shapes: list[Shape]) -> bool:
        along = float(np.subtract(*_along(shapes[:2], relation)))
        return along > 0 and abs(float(np.subtract(*_along(shapes[:2], across)))) <= _SLANT * along

    return next(filter(fits, _scattered(kinds, rng)))


def _along(shapes: list[Shape], place: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """(N,) pixels of each centre towards a side."""
    x, y = PLACES[place]
    return np.array([x * s.x + y * s.y for s in shapes])


def _outermost(shapes: list[Shape], place: str) -> int:
    return int(np.argmax(_along(shapes, place)))


@dataclass(frozen=True)
class Amount:
    """Number of groups of questions of each kind."""

    absolute: int = 24  # group i asks for side i mod 4, with 2 to 6 shapes and as many items
    relative: int = 24  # of four items
    depth: int = 12  # of eight items
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
