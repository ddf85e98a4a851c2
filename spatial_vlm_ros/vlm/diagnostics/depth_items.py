# SPDX-License-Identifier: Apache-2.0
"""Questions about which of two objects is farther away, for and against the depth cues of a flat image.

On bare ground, the farther object is also higher in the image, and objects of one size look smaller when far. A model
may know only that. So each group has every combination of three properties: which object is the answer, whether the
farther one is higher in the image ("usual") or lower, and whether the nearer one looks larger or smaller. This follows
Why Far Looks Up (2026), which splits accuracy by height in the image; the images are our own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

import cv2
import numpy as np

from spatial_vlm_ros.types import Floats, Rgb
from spatial_vlm_ros.vlm.diagnostics.flat_drawing import COLOURS, SIDE
from spatial_vlm_ros.vlm.diagnostics.items import ItemPrompt, ProbeItem

HIGHER, LARGER = "higher in the picture = farther", "larger in the picture = nearer"
COLOURS_ASKED = ("red", "green", "blue", "yellow", "purple", "orange")
_GAP = 0.25  # metres between the two distances, and between the two depths
_RISE = 18.0  # pixels between the two heights in the image
_LOOKS_LARGER = 1.3  # ratio of the two areas in the image
_BESIDE = 8.0  # pixels between the two, sideways, so that neither hides the other
_ROOM = 4.0  # pixels to the edge of the image
_ALONG, _LIFTS, _SIZES = (0.8, 2.0), (0.1, 0.55), (0.07, 0.26)  # metres
_FLAT = 0.4  # share of objects that stand on the table itself

ASKED = {
    "farther": "Which is farther from the camera, the {} or the {}?",
    "nearer": "Which is nearer to the camera, the {} or the {}?",
}
_AGAIN = {
    "farther": "Of the {} and the {}, which one has the greater distance to the camera?",
    "nearer": "Of the {} and the {}, which one has the smaller distance to the camera?",
}


# Draw blocks and cylinders on a table, some on stands, through a pinhole camera.
#
# The table's frame: x to the right, y away from the camera, z up, metres; the origin is below the camera.

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
    """A block or a cylinder.

    Args:
        shape: "block" or "cylinder".
        colour: one of COLOURS.
        x: position of its centre, metres to the right.
        y: position of its centre, metres away from the camera, along the table.
        lift: height of its foot above the table, metres; above 0 it stands on a grey stand.
        size: its width, depth and height, metres.
    """

    shape: str
    colour: str
    x: float
    y: float
    lift: float
    size: float

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
    """Transform points from the table frame to the optical frame: (N, 3) metres, right, down, forward.

    Args:
        points: (N, 3) metres, table frame.
    """
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


def columns_of(obj: DrawnObject) -> tuple[float, float]:
    """First and last column that an object with its stand covers."""
    outlines = [outline_of(obj)]
    if obj.lift:
        outlines.append(_hull(_corners(obj, 0.0, obj.lift)))
    columns = np.concatenate(outlines)[:, 0]
    return float(columns.min()), float(columns.max())


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
    columns = range(-15, 15)
    rows = range(round((FARTHEST_GROUND - NEAREST_GROUND) / _TILE))
    for row in rows:
        for column in columns:
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
    asked = str(rng.choice(list(ASKED)))
    choices = tuple(str(name) for name in rng.permutation(list(names)))
    items = []
    for truth, higher, larger in itertools.product((0, 1), (True, False), (True, False)):
        far = truth if asked == "farther" else 1 - truth
        looks = [(shapes[far], (first, second)[far]), (shapes[1 - far], (first, second)[1 - far])]
        objects = _placed(looks, higher, larger, rng)
        items.append(
            ProbeItem(
                f"{key}-{truth}{int(higher)}{int(larger)}", key, "depth", "depth",
                ItemPrompt(draw_tabletop(objects), ASKED[asked].format(*names), choices, names[truth]),
                _AGAIN[asked].format(*names),
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
        far, near = (_anywhere(*look, rng) for look in looks)
        if not _far_enough(far, near) or not _suits((far, near), higher):
            continue
        ratio = cv2.contourArea(_flat(near)) / cv2.contourArea(_flat(far))
        if (ratio if larger else 1 / ratio) < _LOOKS_LARGER:
            continue
        other_far, other_near = reversed(_exchanged((far, near)))
        if _far_enough(other_far, other_near) and _suits((other_far, other_near), higher):
            return far, near


def _anywhere(shape: str, colour: str, rng: np.random.Generator) -> DrawnObject:
    lift = 0.0 if rng.uniform() < _FLAT else float(rng.uniform(*_LIFTS))
    along, size = float(rng.uniform(*_ALONG)), float(rng.uniform(*_SIZES))
    return DrawnObject(shape, colour, float(rng.uniform(-0.5, 0.5)) * along, along, lift, size)


def _exchanged(objects: tuple[DrawnObject, DrawnObject]) -> tuple[DrawnObject, DrawnObject]:
    """Put each at the other's distance along the table and on the other's stand; sideways positions stay."""
    one, other = objects
    return (
        replace(one, x=one.x * other.y / one.y, y=other.y, lift=other.lift),
        replace(other, x=other.x * one.y / other.y, y=one.y, lift=one.lift),
    )


def _far_enough(far: DrawnObject, near: DrawnObject) -> bool:
    """Whether the first is farther along the table, in a straight line, and along the optical axis."""
    ways = (far.y - near.y, far.distance - near.distance, far.depth - near.depth)
    return min(ways) >= _GAP


def _suits(objects: tuple[DrawnObject, DrawnObject], higher: bool) -> bool:
    """Whether both are in the image, side by side, and the first is higher or lower as wanted."""
    outlines = [outline_of(obj) for obj in objects]
    points = np.concatenate(outlines)
    if points.min() < _ROOM or points.max() > SIDE - 1 - _ROOM:
        return False
    (left, right), (other_left, other_right) = (columns_of(obj) for obj in objects)
    if max(left - other_right, other_left - right) < _BESIDE:
        return False
    rows = [float((outline[:, 1].min() + outline[:, 1].max()) / 2) for outline in outlines]
    rise = rows[1] - rows[0]
    return (rise if higher else -rise) >= _RISE


def _flat(obj: DrawnObject) -> Floats:
    return outline_of(obj).astype(np.float32)
