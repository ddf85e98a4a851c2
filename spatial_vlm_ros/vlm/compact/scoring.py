# SPDX-License-Identifier: Apache-2.0
"""Average precision of boxes under phrases, agreement of masks, and the line that calibrates scores. NumPy alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.types import Mask, Rgb
from spatial_vlm_ros.vlm.compact.phrasing import Phrase
from spatial_vlm_ros.vlm.compact.shards import Sample

LEAST_OVERLAP = 0.5
LEAST_VISIBLE, LEAST_PART = 0.15, 16 / (320 * 240)
"""Things of which less is seen are neither demanded nor forbidden; the part is of the picture's pixels."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What a detector reports for one phrase.

    Args:
        scores: (N,).
        boxes: (N, 4) pixels.
        masks: N of the picture's size; none = not scored.
    """

    scores: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.float64]
    masks: Sequence[Mask] = ()


Detector = Callable[[Rgb, Sequence[str]], Sequence[Answer]]
"""A picture and phrases → an answer for each phrase."""


@dataclass(frozen=True)
class Figures:
    """Scores over pictures.

    Args:
        ap50: phrase → average precision at an overlap of 0.5.
        map50: their mean.
        things: phrase → number of things that were to be found.
        mask_iou: mean intersection over union of the masks of found things; NaN without any.
        scale: Platt's scale for the scores' logits that makes them probabilities.
        shift: Platt's shift.
    """

    ap50: dict[str, float]
    map50: float
    things: dict[str, int]
    mask_iou: float
    scale: float
    shift: float


def score(detector: Detector, samples: Iterable[Sample], phrases: Sequence[Phrase]) -> Figures:
    """Ask a detector for all phrases on all pictures.

    Args:
        detector: what is scored; it should report things of low score, too.
        samples: pictures with truth.
        phrases: each counts in the mean if anything was to be found.
    """
    hits: list[list[tuple[float, float]]] = [[] for _ in phrases]  # score, 1 = right, 0 = wrong
    number = [0] * len(phrases)
    agreement: list[float] = []
    for sample in samples:
        answers = detector(sample.rgb, [phrase.text for phrase in phrases])
        for p, (phrase, answer) in enumerate(zip(phrases, answers, strict=True)):
            matched, wanted, masks = _match(answer, sample, phrase)
            hits[p] += matched
            number[p] += wanted
            agreement += masks
    ap = {phrase.text: average_precision(hits[p], number[p]) for p, phrase in enumerate(phrases) if number[p]}
    every = np.array([pair for pairs in hits for pair in pairs]).reshape(-1, 2)
    scale, shift = platt(every[:, 0], every[:, 1])
    return Figures(
        ap,
        float(np.mean(list(ap.values()))) if ap else float("nan"),
        {phrase.text: number[p] for p, phrase in enumerate(phrases) if number[p]},
        float(np.mean(agreement)) if agreement else float("nan"),
        scale,
        shift,
    )


def average_precision(hits: Sequence[tuple[float, float]], wanted: int) -> float:
    """Area under precision over recall, precision made monotone (all-point interpolation, PASCAL VOC from 2010 on).

    Args:
        hits: score and 1 (right) or 0 (wrong) of each report.
        wanted: number of things to be found, 1 or more.
    """
    if not hits:
        return 0.0
    ordered = np.array(sorted(hits, key=lambda hit: -hit[0]))
    right = np.cumsum(ordered[:, 1])
    precision = right / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    recall = np.concatenate([[0.0], right / wanted])
    return float(np.sum(np.diff(recall) * precision))


def platt(scores: npt.NDArray[np.floating], right: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Scale and shift of the logits of scores that fit what was right best (Platt 1999), by Newton's method.

    Returns:
        (1, 0) where everything or nothing was right, or the scores say nothing.
    """
    if not len(right) or right.min() == right.max():
        return 1.0, 0.0
    p = np.clip(scores.astype(np.float64), 1e-6, 1 - 1e-6)
    design = np.stack([np.log(p / (1 - p)), np.ones(len(p))], axis=1)
    line, prior = np.array([1.0, 0.0]), 1e-3 * np.eye(2)
    for _ in range(50):
        chance = 1 / (1 + np.exp(-np.clip(design @ line, -60, 60)))
        slope = design.T @ (chance - right) + prior @ (line - (1.0, 0.0))
        curve = (design * (chance * (1 - chance))[:, None]).T @ design + prior
        step = np.linalg.solve(curve, slope)
        line = line - np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-8:
            break
    return (float(line[0]), float(line[1])) if 0.05 < line[0] < 50 else (1.0, 0.0)


def _match(answer: Answer, sample: Sample, phrase: Phrase) -> tuple[list[tuple[float, float]], int, list[float]]:
    """Reports with whether they are right, number of things wanted, overlaps of masks; best score chooses first."""
    least = LEAST_PART * sample.numbers.size
    meant = [(n, one) for n, one in enumerate(sample.objects, 1) if phrase.names(one)]
    wanted = [one.visible >= LEAST_VISIBLE and int((sample.numbers == n).sum()) >= least for n, one in meant]
    truth = np.array([one.box_xyxy for _, one in meant]).reshape(-1, 4)
    overlap = overlaps(answer.boxes.reshape(-1, 4), truth)
    free, hits, masks = np.ones(len(meant), np.bool_), list[tuple[float, float]](), list[float]()
    for n in np.argsort(-answer.scores, kind="stable"):
        near = np.where(free, overlap[n], -1.0)
        best = int(near.argmax()) if len(meant) else -1
        if best < 0 or near[best] < LEAST_OVERLAP:
            hits.append((float(answer.scores[n]), 0.0))
            continue
        free[best] = False
        if wanted[best]:
            hits.append((float(answer.scores[n]), 1.0))
            if answer.masks:
                masks.append(_agreement(answer.masks[n], sample.numbers == meant[best][0]))
    return hits, sum(wanted), masks


def _agreement(mask: Mask, truth: Mask) -> float:
    return float((mask & truth).sum() / max(int((mask | truth).sum()), 1))
