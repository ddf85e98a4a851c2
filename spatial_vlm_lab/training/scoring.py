# SPDX-License-Identifier: Apache-2.0
"""Scores a compact model as a detector: average precision of boxes, agreement of masks, and the calibrating line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from spatial_vlm_lab.training.batches import LEAST_VISIBLE, TrainingPhrase
from spatial_vlm_lab.training.images import LabelledImage
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.types import Mask, Rgb
from spatial_vlm_ros.vlm.compact.decoding import (
    Instance,
    Letterbox,
    RawOutput,
    asked,
    instances,
    letterbox,
    masks,
    with_rivals,
)
from spatial_vlm_ros.vlm.compact.familiarity import pooled
from spatial_vlm_ros.vlm.compact.model import CompactModel
from spatial_vlm_ros.vlm.compact.spec import CompactSpec, encode

LEAST_OVERLAP = 0.5
LEAST_PART = 16 / (320 * 240)
"""Least share of the image's pixels; smaller objects, and less visible ones, are neither required nor forbidden."""


Found = tuple[Instance, Mask | None]
"""An object that a detector reports, and its mask of the image's size, if masks are scored."""
Detector = Callable[[Rgb, Sequence[str]], Sequence[Found]]
"""An image and phrases → the objects of all phrases."""


def detector(model: CompactModel, spec: CompactSpec, least: float = 0.05, with_masks: bool = False) -> Detector:
    """Make a detector of phrases from a model, which is set to evaluation mode.

    Args:
        least: probability from which an object is reported.
    """

    def detect(rgb: Rgb, phrases: Sequence[str]) -> list[Found]:
        output, _, box = _run(model, rgb, asked(phrases, spec), spec)
        output = with_rivals(output, phrases, spec)
        found = instances(output, box, spec, least)
        made: Sequence[Mask | None] = masks(found, output, box) if with_masks else [None] * len(found)
        return list(zip(found, made, strict=True))

    return detect


def features_of(model: CompactModel, rgb: Rgb, spec: CompactSpec) -> npt.NDArray[np.float64]:
    """(D,) mean features of an image at stride 16, for `familiarity`; the model is set to evaluation mode."""
    _, features, box = _run(model, rgb, ["object"], spec)
    return pooled(features, box)


def _run(
    model: CompactModel, rgb: Rgb, phrases: Sequence[str], spec: CompactSpec
) -> tuple[RawOutput, npt.NDArray[np.float32], Letterbox]:
    """Output and features of one image, and its placement in the input."""
    model.train(False)
    pixels, box = letterbox(rgb, spec.width, spec.height)
    given = (torch.from_numpy(one).to(next(model.parameters()).device) for one in (pixels, encode(phrases, spec)))
    with torch.inference_mode():
        said = model(*given)
    heat, boxes, kernel, prototypes, features = (np.asarray(one.float().cpu().numpy(), np.float32) for one in said)
    return RawOutput(heat, boxes, kernel, prototypes[0]), features, box


@dataclass(frozen=True)
class Figures:
    """Scores over all images.

    Args:
        ap50: phrase → average precision at an overlap of 0.5.
        mask_iou: mean intersection over union of the masks of found objects; NaN without any.
        line: weights of the phrase's logit and of its best rival's, and the shift, which turn them into probabilities.
    """

    ap50: dict[str, float]
    map50: float
    objects: dict[str, int]
    mask_iou: float
    line: tuple[float, float, float]


def score(detector: Detector, samples: Iterable[LabelledImage], phrases: Sequence[TrainingPhrase]) -> Figures:
    """Score a detector on all phrases and all images."""
    reports: list[list[_Report]] = [[] for _ in phrases]
    number = [0] * len(phrases)
    agreement: list[float] = []
    for sample in samples:
        found = detector(sample.rgb, [phrase.text for phrase in phrases])
        for p, phrase in enumerate(phrases):
            matched, wanted, overlap = _match([one for one in found if one[0].phrase == p], sample, phrase)
            reports[p] += matched
            number[p] += wanted
            agreement += overlap
    shown = [p for p in range(len(phrases)) if number[p]]
    ap = {phrases[p].text: average_precision([one[:2] for one in reports[p]], number[p]) for p in shown}
    every = np.array([one for some in reports for one in some]).reshape(-1, 4)
    return Figures(
        ap,
        float(np.mean(list(ap.values()))) if ap else float("nan"),
        {phrases[p].text: number[p] for p in shown},
        float(np.mean(agreement)) if agreement else float("nan"),
        calibrated(every[:, 2:], every[:, 1]),
    )


def average_precision(hits: Sequence[tuple[float, float]], wanted: int) -> float:
    """Area under the precision-recall curve, precision made monotone (all-point interpolation, PASCAL VOC from 2010).

    Args:
        hits: score and 1 (right) or 0 (wrong) of each report.
        wanted: number of objects to find, 1 or more.
    """
    if not hits:
        return 0.0
    ordered = np.array(sorted(hits, key=lambda hit: -hit[0]))
    right = np.cumsum(ordered[:, 1])
    precision = right / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    recall = np.concatenate([[0.0], right / wanted])
    return float(np.sum(np.diff(recall) * precision))


def calibrated(evidence: npt.NDArray[np.floating], right: npt.NDArray[np.floating]) -> tuple[float, float, float]:
    """Fit two logit weights and a shift of a logistic function to the right answers (Platt 1999; Newton's method).

    Args:
        evidence: (N, 2) logits of phrases and of their best rivals.
        right: (N,) 1 or 0.

    Returns:
        The two weights and the shift; (1, 0, 0) if all or none were right, or the logits are uninformative. The weight
        of a rival is never positive.
    """
    plain = (1.0, 0.0, 0.0)
    if not len(right) or right.min() == right.max():
        return plain
    own = _line(evidence[:, :1], right)
    both = _line(evidence, right) if np.ptp(evidence[:, 1]) > 0 else own
    scale, rival, shift = (*own[:1], 0.0, own[1]) if len(both) == 2 or both[1] > 0 else both
    return (float(scale), float(rival), float(shift)) if 0.05 < scale < 50 and rival > -50 else plain


def _line(evidence: npt.NDArray[np.floating], right: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """(K + 1,) logistic regression on K columns, the shift last, slightly regularised towards only the first column."""
    design = np.concatenate([evidence.astype(np.float64), np.ones((len(right), 1))], axis=1)
    start = np.eye(design.shape[1])[0]
    line, prior = start.copy(), 1e-3 * np.eye(design.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-np.clip(design @ line, -60, 60)))
        slope = design.T @ (chance - right) + prior @ (line - start)
        curve = (design * (chance * (1 - chance))[:, None]).T @ design + prior
        step = np.linalg.solve(curve, slope)
        line = line - np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-8:
            break
    return line


_Report = tuple[float, float, float, float]
"""A reported object that counts: its score, 1 (right) or 0 (wrong), and its evidence."""


def _match(
    found: Sequence[Found], sample: LabelledImage, phrase: TrainingPhrase
) -> tuple[list[_Report], int, list[float]]:
    """Match reports to objects, best score first: right and wrong reports, number of objects, mask overlaps."""
    found, least = sorted(found, key=lambda one: -one[0].score), LEAST_PART * sample.numbers.size
    meant = [(n, one) for n, one in enumerate(sample.objects, 1) if phrase.names(one)]
    wanted = [one.visible >= LEAST_VISIBLE and int((sample.numbers == n).sum()) >= least for n, one in meant]
    boxes = np.array([one.box_xyxy for one, _ in found]).reshape(-1, 4)
    truth = np.array([one.box_xyxy for _, one in meant]).reshape(-1, 4)
    free, reports, agreement = np.ones(len(meant), np.bool_), list[_Report](), list[float]()
    for (one, mask), overlap in zip(found, overlaps(boxes, truth), strict=True):
        near = np.where(free, overlap, -1.0)
        best = int(near.argmax()) if len(meant) else -1
        is_right = best >= 0 and bool(near[best] >= LEAST_OVERLAP)
        if is_right:
            free[best] = False
            if not wanted[best]:
                continue
            if mask is not None:
                true_mask = sample.numbers == meant[best][0]
                agreement.append(float((mask & true_mask).sum() / max(int((mask | true_mask).sum()), 1)))
        reports.append((one.score, float(is_right), *one.evidence))
    return reports, sum(wanted), agreement
