# SPDX-License-Identifier: Apache-2.0
"""Turn boxes, masks and phrase scores of an open-vocabulary detector into a Grounding: thresholds and merging.

The detectors with and without torch share this module; it needs neither.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.perception.backends.options import number
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.spatial.detector_profile import UNMEASURED
from spatial_vlm_ros.types import Detection, NounPhrase, Rgb

Array = npt.NDArray[np.float64]

ANYTHING = "object"  # category of "thing", "it", "one"
_LEAST_SIDE_PX = 1.0
_NOT_WORDS = re.compile(r"[^\w'\-]+|_")  # a full stop or question mark inside a category would end it


@dataclass(frozen=True)
class Thresholds:
    """Thresholds for reporting an object."""

    score: float = 0.25  # least score of a box, 0 to 1
    text: float = 0.25  # least score of a phrase for a box, 0 to 1; a box that no phrase reaches is dropped
    iou: float = 0.8  # boxes with more overlap than this (intersection over union, 0 to 1) are one object
    at_once: int = 8
    most: int = 100  # most boxes per image; the best are kept

    @classmethod
    def read(cls, threshold: str, iou: str, most: str, text_threshold: str = "", at_once: str = "8") -> Thresholds:
        """Read the options of a detector; without text_threshold it is `threshold`."""
        return cls(
            number("threshold", threshold, float, 0.0, 1.0),
            number("text_threshold", text_threshold or threshold, float, 0.0, 1.0),
            number("iou", iou, float, 0.0, 1.0),
            number("at_once", at_once, int, 1),
            number("most", most, int, 1),
        )


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes with their scores."""

    xyxy: Array  # (K, 4) float64 pixels
    score: Array  # (K,) float64, 0 to 1
    fit: Array  # (K, C) float64, 0 to 1: score for each category
    # (K, H, W) bool of the whole image, or None; an empty mask counts as no mask
    masks: npt.NDArray[np.bool_] | None = None


def likely(logits: npt.NDArray[Any]) -> Array:
    """Turn logits into scores of 0 to 1, float64; minus infinity gives 0."""
    with np.errstate(over="ignore"):  # exp of a very low logit is infinite, and its score 0
        return np.asarray(1.0 / (1.0 + np.exp(-logits.astype(np.float64))))


def corners(boxes: npt.NDArray[Any], size: tuple[int, int]) -> Array:
    """Convert (K, 4) relative boxes, centre x, centre y, width, height, to left, top, right, bottom in pixels."""
    centre, half = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64) / 2
    height, width = size
    return np.concatenate([centre - half, centre + half], axis=1) * [width, height, width, height]


def asked_as(category: str) -> str:
    """Normalise a category for the prompt: lower case, only words."""
    words = " ".join(_NOT_WORDS.sub(" ", category.lower()).split())
    if not any(character.isalnum() for character in words):
        raise InputError("category", repr(category), "a noun", "name the object in words")
    return words


class PhraseDetector:
    """A detector with text prompts; see Grounder."""

    thresholds: Thresholds

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Find what the phrases' categories name; see Grounder.ground, and `grounding_of` for scores and match.

        Each category is searched once, however many phrases have it.
        """
        said = [asked_as(phrase.category) for phrase in phrases]
        categories = tuple(dict.fromkeys(said))
        if not categories:
            return Grounding((), np.zeros((0, 0)))
        return grounding_of(self.boxes(rgb, categories), said, categories, self.thresholds)

    def boxes(self, rgb: Rgb, categories: Sequence[str]) -> Boxes:
        """Find the boxes whose score passes the threshold, clipped to the image, before they are merged."""
        raise NotImplementedError


def grounding_of(found: Boxes, said: Sequence[str], categories: Sequence[str], thresholds: Thresholds) -> Grounding:
    """Make a grounding from boxes inside the image; columns of `fit` are the categories.

    `match` compares categories within one box: the best one gets 1, the others their score relative to it. The
    detection's score says how sure the model is of the box.
    """
    fitting = found.fit.max(axis=1, initial=0.0) >= thresholds.text
    best = merged(_taken(found, np.flatnonzero(fitting)), thresholds.iou, thresholds.most)
    detections = []
    for n, (box, score, fit) in enumerate(zip(best.xyxy.tolist(), best.score.tolist(), best.fit, strict=True)):
        mask = None if best.masks is None or not best.masks[n].any() else best.masks[n]
        detections.append(Detection(f"d{n}", categories[int(fit.argmax())], score, box, mask))
    relative = best.fit / best.fit.max(axis=1, keepdims=True, initial=1e-9)
    relative[best.fit < thresholds.text] = 0.0
    if ANYTHING in categories:
        relative[:, categories.index(ANYTHING)] = 1.0
    match = relative.T[[categories.index(category) for category in said]]
    return Grounding(tuple(detections), match.reshape(len(said), len(detections)), profile=UNMEASURED)


def merged(boxes: Boxes, iou: float, most: int) -> Boxes:
    """Keep one box per object: a box that overlaps a better one passes its fits to it and is dropped."""
    waiting = [int(n) for n in np.argsort(-boxes.score, kind="stable")]
    kept: list[int] = []
    fits: list[Array] = []
    while waiting and len(kept) < most:
        # intersection over union with the best one: of masks if both have one, else of boxes
        overlap = overlaps(boxes.xyxy[waiting[0]], boxes.xyxy[waiting])[0]
        if boxes.masks is not None:
            mask = boxes.masks[waiting[0]]
            for n in np.flatnonzero(overlap).tolist():  # masks of disjoint boxes are disjoint
                other = boxes.masks[waiting[n]]
                if mask.any() and other.any():
                    overlap[n] = np.count_nonzero(mask & other) / np.count_nonzero(mask | other)
        overlap[0] = np.inf
        same = [n for n, share in zip(waiting, overlap, strict=True) if share > iou]
        kept.append(waiting[0])
        fits.append(boxes.fit[same].max(axis=0))
        waiting = [n for n, share in zip(waiting, overlap, strict=True) if share <= iou]
    chosen = _taken(boxes, np.array(kept, np.intp))
    return replace(chosen, fit=np.array(fits).reshape(len(kept), boxes.fit.shape[1]))


def together(parts: Sequence[Boxes]) -> Boxes:
    """Join the boxes of one image from one or more prompts; all of them have masks or none has."""
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
    """Clip boxes to the image (height, width), and scores to 0..1; boxes with less than a pixel inside are dropped."""
    height, width = size
    inside = np.clip(xyxy, 0.0, [width, height, width, height])
    large = ((inside[:, 2:] - inside[:, :2]) >= _LEAST_SIDE_PX).all(axis=1)
    return _taken(Boxes(inside, np.clip(score, 0.0, 1.0), fit, masks), np.flatnonzero(large))


def _taken(boxes: Boxes, rows: npt.NDArray[np.intp]) -> Boxes:
    masks = None if boxes.masks is None else boxes.masks[rows]
    return Boxes(boxes.xyxy[rows], boxes.score[rows], boxes.fit[rows], masks)
