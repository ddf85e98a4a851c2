# SPDX-License-Identifier: Apache-2.0
"""Inputs of the small judge, a network that decides from an image and two boxes which relations hold.

They are the image around two boxes, the whole image at small size, and the boxes in both; only NumPy and OpenCV. See
docs/second_opinion.md#a-small-judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.types import Rgb

Box = tuple[float, float, float, float]
Floats = npt.NDArray[np.float32]

OUTPUTS = ("right of", "behind", "in front of", "on", "under", "inside")
"""Relations that the network predicts; "left of" is the complement of "right of"."""
MIRRORED = ("right of",)
"""Relations that hold in the mirrored image exactly if they do not hold in this one."""
SIDE = 96  # pixels of the crop
WHOLE = 64  # pixels of the whole image
PLANES = 5  # planes: red, green, blue, the target's box, the anchor's box
NUMBERS = 10
_WIDER = 1.3  # side of the crop in multiples of the larger side of both boxes together
_SMALLEST = 16.0  # least side of the crop, pixels of the image


class JudgeInput(NamedTuple):
    """The input of the network, of one pair or of N.

    Attributes:
        planes: (..., PLANES, SIDE, SIDE) crop around both boxes, -1 to 1.
        whole: (..., PLANES, WHOLE, WHOLE) whole image, centred in a square, -1 to 1.
        told: (..., NUMBERS): both boxes as shares of the image, -1 to 1; the logarithm of the crop's share of the
            image; and the ratio of the image's height to its width.
    """

    planes: Floats
    whole: Floats
    told: Floats


INPUTS = JudgeInput._fields
"""Names of the network's inputs, in their order."""


def crop(rgb: Rgb, target: Box, anchor: Box) -> JudgeInput:
    """Make the network's input for one pair.

    Args:
        rgb: (H, W, 3) uint8.
        target: box of the target: left, top, right, bottom, pixels.
    """
    height, width = rgb.shape[:2]
    boxes = np.array([target, anchor], np.float64)
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    side = round(max(_WIDER * float((high - low).max()), _SMALLEST))
    left, top = (round(float(v)) for v in (low + high) / 2 - side / 2)
    beyond = (max(-top, 0), max(top + side - height, 0), max(-left, 0), max(left + side - width, 0))
    inside = rgb[max(top, 0) : top + side, max(left, 0) : left + side]
    square = np.asarray(cv2.copyMakeBorder(inside, *beyond, cv2.BORDER_REPLICATE), np.uint8)
    planes = _planes(square, boxes - (left, top, left, top), side, SIDE)
    shares = np.array([width, height, width, height], np.float64)
    told = [*(2.0 * boxes / shares - 1.0).reshape(-1), np.log(side / np.hypot(width, height)), height / width]

    # The whole image in the middle of a square of its longer side; the rest is grey.
    longer = max(height, width)
    rows, columns = (max(round(WHOLE * length / longer), 1) for length in (height, width))
    canvas = np.full((WHOLE, WHOLE, 3), 127, np.uint8)
    top, left = (WHOLE - rows) // 2, (WHOLE - columns) // 2
    canvas[top : top + rows, left : left + columns] = cv2.resize(rgb, (columns, rows), interpolation=cv2.INTER_AREA)
    aside = np.array([left, top, left, top]) * (longer / WHOLE)
    return JudgeInput(planes, _planes(canvas, boxes + aside, longer, WHOLE), np.array(told, np.float32))


def _planes(square: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float64], side: int, wanted: int) -> Floats:
    """Make (PLANES, wanted, wanted) from a square image of `side` pixels and the boxes (2, 4) in it."""
    if len(square) != wanted:
        way = cv2.INTER_AREA if side > wanted else cv2.INTER_LINEAR
        square = np.asarray(cv2.resize(square, (wanted, wanted), interpolation=way), np.uint8)
    planes = np.full((PLANES, wanted, wanted), -1.0, np.float32)
    planes[:3] = square.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1.0
    for plane, box in zip(planes[3:], boxes, strict=True):
        (x0, y0), (x1, y1) = box.reshape(2, 2) * (wanted / side)
        plane[_rows(y0, y1, wanted), _rows(x0, x1, wanted)] = 1.0
    return planes


def mirrored(seen: JudgeInput) -> JudgeInput:
    """Return the input for the mirrored image."""
    turned = seen.told.copy()
    for at in (0, 4):
        turned[..., at], turned[..., at + 2] = -seen.told[..., at + 2], -seen.told[..., at]
    planes, whole = (np.ascontiguousarray(one[..., ::-1]) for one in (seen.planes, seen.whole))
    return JudgeInput(planes, whole, turned)


def holds(p: npt.NDArray[np.float64], relation: str) -> float:
    """Return the probability of a relation, from those of OUTPUTS.

    Args:
        p: (len(OUTPUTS),) probabilities.
        relation: one of OUTPUTS, or "left of".
    """
    return 1.0 - float(p[OUTPUTS.index("right of")]) if relation == "left of" else float(p[OUTPUTS.index(relation)])


def unmirrored(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Convert probabilities (..., len(OUTPUTS)) of the mirrored image to those of the image itself."""
    turned = p.copy()
    for name in MIRRORED:
        turned[..., OUTPUTS.index(name)] = 1.0 - p[..., OUTPUTS.index(name)]
    return turned


def stacked(inputs: Sequence[JudgeInput]) -> JudgeInput:
    """Stack several inputs into one."""
    return JudgeInput(*(np.stack(part) for part in zip(*inputs, strict=True)))


def _rows(low: float, high: float, most: int) -> slice:
    """A slice of at least one row, inside the square."""
    first = min(max(round(low), 0), most - 1)
    return slice(first, max(min(round(high), most), first + 1))
