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
from spatial_vlm_ros.vlm.compact.decoding import RawOutput, asked, instances, letterbox, masks, with_rivals
from spatial_vlm_ros.vlm.compact.familiarity import pooled
from spatial_vlm_ros.vlm.compact.model import CompactModel
from spatial_vlm_ros.vlm.compact.spec import CompactSpec, encode

LEAST_OVERLAP = 0.5
LEAST_PART = 16 / (320 * 240)
"""Least share of the image's pixels; smaller objects, and less visible ones, are neither required nor forbidden."""


@dataclass(frozen=True, eq=False)
class PhraseDetections:
    """What a detector reports for one phrase.

    Args:
        scores: (N,) scores.
        boxes: (N, 4) pixels.
        evidence: (N, 2) logits of the phrase and of its best rival, the input of calibrated scores.
        masks: N masks of the image's size; empty = not scored.
    """

    scores: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.float64]
    evidence: npt.NDArray[np.float64]
    masks: Sequence[Mask] = ()


Detector = Callable[[Rgb, Sequence[str]], Sequence[PhraseDetections]]
"""An image and phrases → an answer for each phrase."""


def detector(model: CompactModel, spec: CompactSpec, least: float = 0.05, with_masks: bool = False) -> Detector:
    """Make a detector of phrases from a model, which is set to evaluation mode.

    Args:
        least: probability from which an object is reported.
    """
    model.train(False)
    device = next(model.parameters()).device

    def detect(rgb: Rgb, phrases: Sequence[str]) -> list[PhraseDetections]:
        pixels, box = letterbox(rgb, spec.width, spec.height)
        words = encode(asked(phrases, spec), spec)
        with torch.inference_mode():
            said = model(torch.from_numpy(pixels).to(device), torch.from_numpy(words).to(device))
        heat, boxes, kernel, prototypes = (np.asarray(t.float().cpu().numpy(), np.float32) for t in said)
        output = with_rivals(RawOutput(heat, boxes, kernel, prototypes[0]), phrases, spec)
        found = instances(output, box, spec, least)
        made = masks(found, output, box) if with_masks else []
        answers = []
        for p in range(len(phrases)):
            mine = [n for n, one in enumerate(found) if one.phrase == p]
            scores = np.array([found[n].score for n in mine], np.float64)
            places = np.array([found[n].box_xyxy for n in mine], np.float64).reshape(-1, 4)
            evidence = np.array([found[n].evidence for n in mine], np.float64).reshape(-1, 2)
            answers.append(PhraseDetections(scores, places, evidence, tuple(made[n] for n in mine) if made else ()))
        return answers

    return detect


def features_of(model: CompactModel, rgb: Rgb, spec: CompactSpec) -> npt.NDArray[np.float64]:
    """(D,) mean features of an image at stride 16, for `familiarity`; the model is set to evaluation mode."""
    model.train(False)
    pixels, box = letterbox(rgb, spec.width, spec.height)
    device = next(model.parameters()).device
    with torch.inference_mode():
        features = model.backbone(torch.from_numpy(pixels).to(device) / 127.5 - 1.0)[2]
    return pooled(np.asarray(features.float().cpu().numpy(), np.float32), box)


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
    hits: list[list[Hit]] = [[] for _ in phrases]
    number = [0] * len(phrases)
    agreement: list[float] = []
    for sample in samples:
        answers = detector(sample.rgb, [phrase.text for phrase in phrases])
        for p, (phrase, answer) in enumerate(zip(phrases, answers, strict=True)):
            matched, wanted, masks = _match(answer, sample, phrase)
            hits[p] += matched
            number[p] += wanted
            agreement += masks
    ap = {
        phrase.text: average_precision([(hit.score, hit.right) for hit in hits[p]], number[p])
        for p, phrase in enumerate(phrases)
        if number[p]
    }
    every = [hit for some in hits for hit in some]
    return Figures(
        ap,
        float(np.mean(list(ap.values()))) if ap else float("nan"),
        {phrase.text: number[p] for p, phrase in enumerate(phrases) if number[p]},
        float(np.mean(agreement)) if agreement else float("nan"),
        calibrated(np.array([hit.evidence for hit in every]).reshape(-1, 2), np.array([hit.right for hit in every])),
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


@dataclass(frozen=True)
class Hit:
    """A reported object that counts.

    Args:
        right: 1 or 0.
    """

    score: float
    evidence: tuple[float, float]
    right: float


def _match(
    answer: PhraseDetections, sample: LabelledImage, phrase: TrainingPhrase
) -> tuple[list[Hit], int, list[float]]:
    """Match reports to objects, best score first: right and wrong reports, number of objects, mask overlaps."""
    least = LEAST_PART * sample.numbers.size
    meant = [(n, one) for n, one in enumerate(sample.objects, 1) if phrase.names(one)]
    wanted = [one.visible >= LEAST_VISIBLE and int((sample.numbers == n).sum()) >= least for n, one in meant]
    truth = np.array([one.box_xyxy for _, one in meant]).reshape(-1, 4)
    overlap = overlaps(answer.boxes.reshape(-1, 4), truth)
    free, hits, masks = np.ones(len(meant), np.bool_), list[Hit](), list[float]()
    for n in np.argsort(-answer.scores, kind="stable"):
        near = np.where(free, overlap[n], -1.0)
        best = int(near.argmax()) if len(meant) else -1
        own, rival = (float(logit) for logit in answer.evidence[n])
        if best < 0 or near[best] < LEAST_OVERLAP:
            hits.append(Hit(float(answer.scores[n]), (own, rival), 0.0))
            continue
        free[best] = False
        if wanted[best]:
            hits.append(Hit(float(answer.scores[n]), (own, rival), 1.0))
            if answer.masks:
                mask, truth_mask = answer.masks[n], sample.numbers == meant[best][0]
                masks.append(float((mask & truth_mask).sum() / max(int((mask | truth_mask).sum()), 1)))
    return hits, sum(wanted), masks
