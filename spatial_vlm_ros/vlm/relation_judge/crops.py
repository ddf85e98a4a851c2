# SPDX-License-Identifier: Apache-2.0
"""What the small judge sees: the image around two boxes, the whole image small, and where the boxes are in both."""

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
"""Relations that the network knows; "left of" is the rest of "right of"."""
MIRRORED = ("right of",)
"""Those that hold in the mirrored image where they do not hold in this one."""
SIDE = 96  # pixels of the crop
WHOLE = 64  # pixels of the whole image
PLANES = 5  # red, green, blue, the target's box, the anchor's box
NUMBERS = 10
_WIDER = 1.3  # times the larger side of both boxes together
_SMALLEST = 16.0  # pixels of the image that are looked at, at least


class JudgeInput(NamedTuple):
    """The input of the network, of one pair or of N.

    Attributes:
        planes: (..., PLANES, SIDE, SIDE) of the image around both boxes, -1 to 1.
        whole: (..., PLANES, WHOLE, WHOLE) of the whole image in the middle of a square.
        told: (..., NUMBERS): both boxes as shares of the image, -1 to 1, the logarithm of the crop's share of it, and
            the image's height over its width.
    """

    planes: Floats
    whole: Floats
    told: Floats


INPUTS = JudgeInput._fields
"""Names of the network's inputs, in their order."""


def crop(rgb: Rgb, target: Box, anchor: Box) -> JudgeInput:
    """The input of the network for one pair.

    Args:
        rgb: (H, W, 3) uint8.
        target: left, top, right, bottom, pixels.
        anchor: likewise.
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
    return JudgeInput(planes, _whole(rgb, boxes), np.array(told, np.float32))


def _whole(rgb: Rgb, boxes: npt.NDArray[np.float64]) -> Floats:
    """The image in the middle of a square of its longer side; the rest is grey."""
    height, width = rgb.shape[:2]
    longer = max(height, width)
    rows, columns = (max(round(WHOLE * length / longer), 1) for length in (height, width))
    square = np.full((WHOLE, WHOLE, 3), 127, np.uint8)
    top, left = (WHOLE - rows) // 2, (WHOLE - columns) // 2
    square[top : top + rows, left : left + columns] = cv2.resize(rgb, (columns, rows), interpolation=cv2.INTER_AREA)
    aside = np.array([left, top, left, top]) * (longer / WHOLE)
    return _planes(square, boxes + aside, longer, WHOLE)


def _planes(square: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float64], side: int, wanted: int) -> Floats:
    """(PLANES, wanted, wanted) of a square image that shows `side` pixels, in which the boxes (2, 4) lie."""
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
    """The same of the mirrored image."""
    turned = seen.told.copy()
    for at in (0, 4):
        turned[..., at], turned[..., at + 2] = -seen.told[..., at + 2], -seen.told[..., at]
    planes, whole = (np.ascontiguousarray(one[..., ::-1]) for one in (seen.planes, seen.whole))
    return JudgeInput(planes, whole, turned)


def holds(p: npt.NDArray[np.float64], relation: str) -> float:
    """The probability of a relation, from those of OUTPUTS.

    Args:
        p: (len(OUTPUTS),).
        relation: one of OUTPUTS, or "left of".
    """
    return 1.0 - float(p[OUTPUTS.index("right of")]) if relation == "left of" else float(p[OUTPUTS.index(relation)])


def unmirrored(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Probabilities (..., len(OUTPUTS)) of the mirrored image, for the image itself."""
    turned = p.copy()
    for name in MIRRORED:
        turned[..., OUTPUTS.index(name)] = 1.0 - p[..., OUTPUTS.index(name)]
    return turned


def stacked(inputs: Sequence[JudgeInput]) -> JudgeInput:
    """Several inputs as one."""
    return JudgeInput(*(np.stack(part) for part in zip(*inputs, strict=True)))


def _rows(low: float, high: float, most: int) -> slice:
    """At least one row, inside the square."""
    first = min(max(round(low), 0), most - 1)
    return slice(first, max(min(round(high), most), first + 1))
