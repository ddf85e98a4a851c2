# SPDX-License-Identifier: Apache-2.0
"""Boxes in an image: left, top, right, bottom. Padding to a square, and the rule that what is higher is farther away.

Images are padded with the image in the middle, as LLaVA-1.5 does (its llava/mm_utils.py:152). Nothing is decided by the
rule of thumb: it separates what a model says because it follows the rule from what it sees beyond it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.types import Mask, Rgb


def box_around(mask: Mask) -> tuple[float, float, float, float]:
    """Box around the set pixels of a mask: left, top, right, bottom, pixels. At least one pixel must be set."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def overlaps(boxes: npt.ArrayLike, others: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Intersection over union of boxes (N, 4) or (4,) with others (M, 4) or (4,): (N, M); 0 where both have no area."""
    a, b = (np.asarray(some, np.float64).reshape(-1, 4) for some in (boxes, others))
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    inner = np.clip(high - low, 0.0, None).prod(axis=2)
    areas = [np.clip(some[:, 2:] - some[:, :2], 0.0, None).prod(axis=1) for some in (a, b)]
    union = areas[0][:, None] + areas[1][None] - inner
    return np.divide(inner, union, out=np.zeros_like(inner), where=union > 0.0)


CLIP_MEAN = (122, 116, 104)
"""Colour of the padding: mean of CLIP's training images (haotian-liu/LLaVA llava/conversation.py:114)."""


def padding(size: tuple[int, int]) -> tuple[int, int]:
    """Pixels added left of and above an image (width, height) to pad it to a square: half of them, rounded down."""
    side = max(size)
    return (side - size[0]) // 2, (side - size[1]) // 2


def padded(rgb: Rgb, colour: tuple[int, int, int] = CLIP_MEAN) -> Rgb:
    """Pad an image to a square of one colour, with the image in the middle; a square image stays unchanged."""
    height, width = rgb.shape[:2]
    if height == width:
        return rgb
    left, top = padding((width, height))
    square = np.full((max(height, width),) * 2 + (3,), colour, np.uint8)
    square[top : top + height, left : left + width] = rgb
    return square


DEPTH_RELATIONS = ("behind", "in front of")
"""Relations that the rule applies to."""


def in_image(relation: str, target: Sequence[float], anchor: Sequence[float]) -> str:
    """Name the class of a relation that a model's probability is calibrated by: "left of" or "behind, higher".

    For relations of depth the class says which of the two is higher, by the middle of the box, in the image. A model
    that takes higher for farther gives the same answer for all pairs of one class, so it is not calibrated as one that
    knows something, however many pairs follow the rule.
    """
    if relation not in DEPTH_RELATIONS:
        return relation
    return f"{relation}, {'higher' if _is_higher(target, anchor) else 'lower'}"


def in_line(relation: str, target: Sequence[float], anchor: Sequence[float]) -> bool:
    """True if the boxes of two objects share image columns, as on one line of sight; True for other relations."""
    return relation not in DEPTH_RELATIONS or min(target[2], anchor[2]) > max(target[0], anchor[0])


def is_contrary(relation: str, target: Sequence[float], anchor: Sequence[float], holds: bool) -> bool:
    """True if the true state of a relation contradicts the rule; False for relations without depth."""
    return relation in DEPTH_RELATIONS and (_is_higher(target, anchor) == (relation == "behind")) != holds


def _is_higher(target: Sequence[float], anchor: Sequence[float]) -> bool:
    return target[1] + target[3] < anchor[1] + anchor[3]
