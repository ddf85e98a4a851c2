# SPDX-License-Identifier: Apache-2.0
"""What the small judge sees: the image around two boxes, where each of them is, and how they lie in the whole image."""

from __future__ import annotations

from collections.abc import Sequence

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
SIDE = 96  # pixels of the input
PLANES = 5  # red, green, blue, the target's box, the anchor's box
NUMBERS = 10
_WIDER = 1.3  # times the larger side of both boxes together
_SMALLEST = 16.0  # pixels of the image that are looked at, at least


def crop(rgb: Rgb, target: Box, anchor: Box) -> tuple[Floats, Floats]:
    """The input of the network.

    Args:
        rgb: (H, W, 3) uint8.
        target: left, top, right, bottom, pixels.
        anchor: likewise.

    Returns:
        (PLANES, SIDE, SIDE) of -1 to 1, and (NUMBERS,): both boxes as shares of the image, -1 to 1, the logarithm of
        the crop's share of it, and the image's height over its width.
    """
    height, width = rgb.shape[:2]
    boxes = np.array([target, anchor], np.float64)
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    side = round(max(_WIDER * float((high - low).max()), _SMALLEST))
    left, top = (round(float(v)) for v in (low + high) / 2 - side / 2)
    beyond = (max(-top, 0), max(top + side - height, 0), max(-left, 0), max(left + side - width, 0))
    inside = rgb[max(top, 0) : top + side, max(left, 0) : left + side]
    square = cv2.copyMakeBorder(inside, *beyond, cv2.BORDER_REPLICATE)
    seen = cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA if side > SIDE else cv2.INTER_LINEAR)
    planes = np.full((PLANES, SIDE, SIDE), -1.0, np.float32)
    planes[:3] = seen.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1.0
    for plane, box in zip(planes[3:], boxes, strict=True):
        (x0, y0), (x1, y1) = (box.reshape(2, 2) - (left, top)) * (SIDE / side)
        plane[_rows(y0, y1), _rows(x0, x1)] = 1.0
    whole = np.array([width, height, width, height], np.float64)
    told = [*(2.0 * boxes / whole - 1.0).reshape(-1), np.log(side / np.hypot(width, height)), height / width]
    return planes, np.array(told, np.float32)


def mirrored(planes: Floats, told: Floats) -> tuple[Floats, Floats]:
    """The same of the mirrored image.

    Args:
        planes: (..., PLANES, SIDE, SIDE).
        told: (..., NUMBERS).
    """
    turned = told.copy()
    for at in (0, 4):
        turned[..., at], turned[..., at + 2] = -told[..., at + 2], -told[..., at]
    return np.ascontiguousarray(planes[..., ::-1]), turned


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


def stacked(inputs: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Several inputs as one: (N, PLANES, SIDE, SIDE) and (N, NUMBERS)."""
    planes, told = zip(*inputs, strict=True)
    return np.stack(planes), np.stack(told)


def _rows(low: float, high: float) -> slice:
    """At least one row, inside the crop."""
    first = min(max(round(low), 0), SIDE - 1)
    return slice(first, max(min(round(high), SIDE), first + 1))
