# SPDX-License-Identifier: Apache-2.0
"""Questions about which of two objects is farther away, for and against the depth cues of a flat image.

On bare ground, the farther object is also higher in the image, and objects of one size look smaller when far. A model
may know only that. So each group has every combination of three properties: which object is the answer, whether the
farther one is higher in the image ("usual") or lower, and whether the nearer one looks larger or smaller. This follows
Why Far Looks Up (2026), which splits accuracy by height in the image; the images are our own.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import MappingProxyType

import cv2
import numpy as np

from spatial_vlm_ros.types import Floats
from spatial_vlm_ros.vlm.diagnostics.flat_drawing import SIDE
from spatial_vlm_ros.vlm.diagnostics.items import ItemPrompt, ProbeItem
from spatial_vlm_ros.vlm.diagnostics.tabletop_drawing import DrawnObject, columns_of, draw_tabletop, outline_of

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
