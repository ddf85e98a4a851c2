# SPDX-License-Identifier: Apache-2.0
"""Boxes and masks of an open-vocabulary detector with a score for each phrase: thresholds, merging, a Grounding.

Shared by detectors with torch and without; imports neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.types import Detection, Mask, NounPhrase

Array = npt.NDArray[np.float64]

ANYTHING = "object"  # category of "thing", "it", "one"
_LEAST_SIDE_PX = 1.0
_NOT_WORDS = re.compile(r"[^\w'\-]+|_")  # a full stop or question mark inside a category would end it


@dataclass(frozen=True)
class Thresholds:
    """What counts as found.

    Args:
        score: least score of a box, 0 to 1.
        text: least score of a phrase for a box, 0 to 1; a box that no phrase reaches is dropped.
        iou: boxes that overlap more than this, intersection over union, are one object, 0 to 1.
        at_once: most categories asked at once.
        most: most boxes of an image, the best ones.

    Raises:
        InputError: a number out of its range.
    """

    score: float = 0.25
    text: float = 0.25
    iou: float = 0.8
    at_once: int = 8
    most: int = 100

    def __post_init__(self) -> None:
        for name in ("score", "text", "iou"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(f"threshold {name}", str(getattr(self, name)), "0 to 1")
        for name in ("at_once", "most"):
            if getattr(self, name) < 1:
                raise InputError(name, str(getattr(self, name)), "1 or more")


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes found with their scores.

    Args:
        xyxy: (K, 4) float64 pixels.
        score: (K,) float64, 0 to 1.
        fit: (K, C) float64, 0 to 1: score of each category asked.
        masks: (K, H, W) bool of the whole image, or None; one without a pixel is no mask.
    """

    xyxy: Array
    score: Array
    fit: Array
    masks: npt.NDArray[np.bool_] | None = None


def likely(logits: npt.NDArray[Any]) -> Array:
    """Scores of 0 to 1 from logits, float64; that of minus infinity is 0."""
    with np.errstate(over="ignore"):  # exp of a very low logit is infinite, and its score 0
        return np.asarray(1.0 / (1.0 + np.exp(-logits.astype(np.float64))))


def corners(boxes: npt.NDArray[Any], size: tuple[int, int]) -> Array:
    """Boxes of a model as left, top, right, bottom in pixels.

    Args:
        boxes: (K, 4): centre x, centre y, width, height, relative to an image.
        size: (height, width) of that image, pixels.
    """
    centre, half = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64) / 2
    height, width = size
    return np.concatenate([centre - half, centre + half], axis=1) * [width, height, width, height]


def asked_as(category: str) -> str:
    """A category as the model is asked for it: lower case, nothing but words.

    Raises:
        InputError: nothing is left.
    """
    words = " ".join(_NOT_WORDS.sub(" ", category.lower()).split())
    if not any(character.isalnum() for character in words):
        raise InputError("category", repr(category), "a noun", "name the object in words")
    return words


def grounded(
    phrases: Sequence[NounPhrase], found: Callable[[tuple[str, ...]], Boxes], thresholds: Thresholds
) -> Grounding:
    """What a grounder answers that is asked for categories: each is asked once, whatever number of phrases has it.

    Args:
        phrases: P phrases; where there are none, nothing is asked.
        found: what finds boxes of one or more categories, as `asked_as` gives them.
        thresholds: as in `grounding_of`, which says what `match` is.

    Raises:
        InputError: a category without letters; and what `found` raises.
    """
    said = [asked_as(phrase.category) for phrase in phrases]
    categories = tuple(dict.fromkeys(said))
    if not categories:
        return Grounding((), np.zeros((0, 0)))
    return grounding_of(found(categories), said, categories, thresholds)


def grounding_of(found: Boxes, said: Sequence[str], categories: Sequence[str], thresholds: Thresholds) -> Grounding:
    """What a grounder answers with boxes that were found.

    `match` compares categories within one box: the best fitting one has 1, the others their part of its score. How
    sure the model is of the box at all is the detection's score.

    Args:
        found: boxes inside the image; columns of `fit` are the categories.
        said: the category of each phrase, as `asked_as` gives it.
        categories: the same without repetition.
        thresholds: `text`, `iou` and `most` are used.
    """
    fitting = found.fit.max(axis=1, initial=0.0) >= thresholds.text
    best = merged(_taken(found, np.flatnonzero(fitting)), thresholds.iou, thresholds.most)
    detections = tuple(
        Detection(
            f"d{n}", categories[int(best.fit[n].argmax())], float(best.score[n]), _inside(best.xyxy[n]), _mask(best, n)
        )
        for n in range(len(best.score))
    )
    relative = best.fit / best.fit.max(axis=1, keepdims=True, initial=1e-9)
    relative[best.fit < thresholds.text] = 0.0
    if ANYTHING in categories:
        relative[:, categories.index(ANYTHING)] = 1.0
    match = relative.T[[categories.index(category) for category in said]]
    return Grounding(detections, match.reshape(len(said), len(detections)))


def merged(boxes: Boxes, iou: float, most: int) -> Boxes:
    """One box for each object: a box that overlaps a better one gives it its fits and goes.

    Args:
        boxes: K boxes.
        iou: intersection over union above which two are one; of their masks where both have one.
        most: how many to keep.

    Returns:
        The kept ones by falling score; each category's fit is the greatest of those merged.
    """
    waiting = [int(n) for n in np.argsort(-boxes.score, kind="stable")]
    kept: list[int] = []
    fits: list[Array] = []
    while waiting and len(kept) < most:
        overlap = _shares(boxes, waiting[0], waiting)
        overlap[0] = np.inf
        same = [n for n, share in zip(waiting, overlap, strict=True) if share > iou]
        kept.append(waiting[0])
        fits.append(boxes.fit[same].max(axis=0))
        waiting = [n for n, share in zip(waiting, overlap, strict=True) if share <= iou]
    chosen = _taken(boxes, np.array(kept, np.intp))
    return replace(chosen, fit=np.array(fits).reshape(len(kept), boxes.fit.shape[1]))


def together(parts: Sequence[Boxes]) -> Boxes:
    """Boxes of one image from several prompts, one part at least; all have masks or none has."""
    masks = [part.masks for part in parts if part.masks is not None]
    return Boxes(
        np.concatenate([part.xyxy for part in parts]),
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.fit for part in parts]),
        np.concatenate(masks) if masks else None,
    )


def clipped(
    xyxy: Array, score: Array, fit: Array, size: tuple[int, int], masks: npt.NDArray[np.bool_] | None = None
) -> Boxes:
    """Boxes cut at the border of the image; those with less than a pixel inside it are dropped.

    Args:
        xyxy: (K, 4) float64 pixels.
        score: (K,) float64; clipped to 0 to 1.
        fit: (K, C) float64.
        size: (height, width) of the image, pixels.
        masks: (K, height, width) bool, or None.
    """
    height, width = size
    inside = np.clip(xyxy, 0.0, [width, height, width, height])
    large = ((inside[:, 2:] - inside[:, :2]) >= _LEAST_SIDE_PX).all(axis=1)
    return _taken(Boxes(inside, np.clip(score, 0.0, 1.0), fit, masks), np.flatnonzero(large))


def _taken(boxes: Boxes, rows: npt.NDArray[np.intp]) -> Boxes:
    masks = None if boxes.masks is None else boxes.masks[rows]
    return Boxes(boxes.xyxy[rows], boxes.score[rows], boxes.fit[rows], masks)


def _shares(boxes: Boxes, one: int, others: Sequence[int]) -> Array:
    """Intersection over union of one object with others: of masks where both have one, else of boxes."""
    shares = overlaps(boxes.xyxy[one], boxes.xyxy[others])[0]
    if boxes.masks is not None:
        mask = boxes.masks[one]
        for n in np.flatnonzero(shares).tolist():  # masks of boxes apart are apart
            other = boxes.masks[others[n]]
            if mask.any() and other.any():
                shares[n] = np.count_nonzero(mask & other) / np.count_nonzero(mask | other)
    return shares


def _mask(boxes: Boxes, n: int) -> Mask | None:
    return boxes.masks[n] if boxes.masks is not None and boxes.masks[n].any() else None


def _inside(box: Array) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(value) for value in box)
    return left, top, right, bottom
