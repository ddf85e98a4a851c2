# SPDX-License-Identifier: Apache-2.0
"""Fit images into the input, at the top left on grey, and decode heat-maps, boxes and kernels; needs only NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import ModelError, ShapeError
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.types import Mask, Rgb
from spatial_vlm_ros.vlm.compact.spec import MASK_STRIDE, STRIDE, CompactSpec, meant

_GREY = 114.0


@dataclass(frozen=True)
class Letterbox:
    """Placement of an image in the model's input: its own size, and that of the part that it fills; pixels."""

    width: int
    height: int
    inner_width: int
    inner_height: int


def letterbox(rgb: Rgb, width: int, height: int) -> tuple[npt.NDArray[np.float32], Letterbox]:
    """Fit an image into an input of this size in pixels: (1, 3, height, width) float32, 0 to 255, and its placement."""
    if not isinstance(rgb, np.ndarray) or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
        got = f"{np.shape(rgb)} {getattr(rgb, 'dtype', type(rgb).__name__)}"
        raise ShapeError("image", "(H, W, 3) uint8", got)
    rows, columns = rgb.shape[:2]
    scale = min(width / columns, height / rows)
    box = Letterbox(columns, rows, max(1, min(width, round(columns * scale))), max(1, min(height, round(rows * scale))))
    pixels = np.full((1, 3, height, width), _GREY, np.float32)
    planes = rgb.transpose(2, 0, 1).astype(np.float32)
    pixels[0, :, : box.inner_height, : box.inner_width] = resampled(planes, box.inner_height, box.inner_width)
    return pixels, box


def resampled(planes: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.float32]:
    """Resample (N, H, W) float32 linearly to another size, without aliasing if it becomes smaller."""
    down, across = _weights(planes.shape[1], height), _weights(planes.shape[2], width)
    return np.asarray(down @ planes @ across.T, np.float32)


@lru_cache(maxsize=32)
def _weights(given: int, wanted: int) -> npt.NDArray[np.float32]:
    """(wanted, given) weights: triangles around the new pixels' centres, as wide as the coarser of both pixels."""
    step = given / wanted
    centres = (np.arange(wanted) + 0.5) * step - 0.5
    far = np.abs(np.arange(given)[None] - np.clip(centres, 0, given - 1)[:, None]) / max(step, 1.0)
    weights = np.clip(1.0 - far, 0.0, None)
    weights = np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
    weights.setflags(write=False)
    return weights


Array = npt.NDArray[np.float32]
SAME_OBJECT = 0.6
"""Intersection over union from which two boxes of one phrase are one object."""
_MOST = 50  # objects of one phrase
_LEAST_RIVAL = -3.0  # logit; under 5 % a label is not a rival, so that empty cells stay empty
_MARGIN = 0.05  # share of a box's sides that a mask may reach beyond it
_LARGEST_LOG = 6.0  # largest logarithm of a side in cells


@dataclass(frozen=True, eq=False)
class RawOutput:
    """Network output for P phrases and one image; shapes as in model.CompactOutput."""

    heat: Array  # (P, h, w) logits
    box: Array  # (P, 4, h, w)
    kernel: Array  # (P, K, h, w)
    prototypes: Array  # (K - 3, H/4, W/4)
    rival: Array | None = None  # (P, h, w) logit of the best label that the phrase does not mean; None: no labels asked


@dataclass(frozen=True, eq=False)
class Instance:
    """An object found under one phrase."""

    phrase: int
    score: float  # probability that the phrase names it
    box_xyxy: tuple[float, float, float, float]  # pixels of the image, inside it
    cell: tuple[int, int]  # row and column of its centre's cell
    evidence: tuple[float, float]  # logits of the phrase and of its best rival there (0 without labels)
    input_box: tuple[float, float, float, float]  # the same box in pixels of the model's input


def check_output(output: RawOutput, phrases: int, spec: CompactSpec, model: str) -> None:
    """Check that a network's output fits its spec."""
    rows, columns = spec.cells
    expected = {
        "heat": (phrases, rows, columns),
        "box": (phrases, 4, rows, columns),
        "kernel": (phrases, spec.kernel, rows, columns),
        "prototypes": (spec.prototypes, spec.height // MASK_STRIDE, spec.width // MASK_STRIDE),
    }
    for name, shape in expected.items():
        values = getattr(output, name)
        if values.shape != shape:
            reason = f"its {name} is {values.shape}, not {shape}"
            raise ModelError(model, reason, "export it again: spec and weights differ")
        if not np.isfinite(values).all():
            raise ModelError(model, f"its {name} is not finite", "train it again with a lower rate")


def asked(phrases: Sequence[str], spec: CompactSpec) -> list[str]:
    """The network's input phrases: the phrases, then all labels of the model, because each may be a phrase's rival."""
    return [*phrases, *spec.labels]


def with_rivals(output: RawOutput, phrases: Sequence[str], spec: CompactSpec) -> RawOutput:
    """Keep the output for the phrases, and add their best rivals."""
    count = len(phrases)
    told = replace(output, heat=output.heat[:count], box=output.box[:count], kernel=output.kernel[:count])
    if not spec.labels:
        return told
    of_labels, rival = output.heat[count:], np.empty_like(told.heat)
    for p, phrase in enumerate(phrases):
        others = [n for n, label in enumerate(spec.labels) if label not in meant(phrase, spec)]
        rival[p] = of_labels[others].max(axis=0, initial=_LEAST_RIVAL)
    return replace(told, rival=rival)


def probabilities(output: RawOutput, spec: CompactSpec) -> npt.NDArray[np.float64]:
    """(P, h, w) probabilities that an object of a phrase is centred in a cell.

    The logistic function of a line in the logits of the phrase and of its best rival: what looks like a bowl but also
    like a plate is less likely a bowl.
    """
    line = spec.score_scale * output.heat.astype(np.float64) + spec.score_shift
    if output.rival is not None:
        line += spec.score_rival * output.rival
    return np.asarray(1 / (1 + np.exp(-np.clip(line, -60, 60))))


def instances(output: RawOutput, box: Letterbox, spec: CompactSpec, least: float) -> list[Instance]:
    """Find the objects of an output whose probability is at least `least`, best first for each phrase."""
    found: list[Instance] = []
    chance = probabilities(output, spec)
    most = np.array((box.inner_width, box.inner_height), np.float64)
    for phrase, heat in enumerate(output.heat):
        padded, (h, w) = np.pad(heat, 1, constant_values=-np.inf), heat.shape
        top = np.max([padded[i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=0)  # of the neighbours
        rows, columns = np.nonzero((heat >= top) & (chance[phrase] >= least))
        order = np.argsort(-chance[phrase, rows, columns], kind="stable")[: 2 * _MOST]
        rows, columns = rows[order], columns[order]

        # Boxes in pixels of the input, within the image's part of it and at least one pixel large.
        said = output.box[phrase][:, rows, columns].astype(np.float64)
        centre = (np.stack([columns, rows]) + 0.5 + said[:2]) * STRIDE
        half = np.exp(np.minimum(said[2:], _LARGEST_LOG)) * STRIDE / 2
        low = np.clip((centre - half).T, 0.0, most - 1)
        boxes = np.concatenate([low, np.clip(np.maximum((centre + half).T, low + 1), 1.0, most)], axis=1)
        kept: list[int] = []  # without those that overlap an earlier one too much
        for n, close in enumerate(overlaps(boxes, boxes) >= SAME_OBJECT):
            if not close[kept].any():
                kept.append(n)

        for n in kept[:_MOST]:
            cell = row, column = int(rows[n]), int(columns[n])
            a, b, c, d = boxes[n].tolist()
            rival = 0.0 if output.rival is None else float(output.rival[phrase, row, column])
            sx, sy = box.width / box.inner_width, box.height / box.inner_height
            outer = sx * a, sy * b, min(sx * c, float(box.width)), min(sy * d, float(box.height))
            score, evidence = float(chance[phrase, row, column]), (float(heat[row, column]), rival)
            found.append(Instance(phrase, score, outer, cell, evidence, (a, b, c, d)))
    return found


def masks(found: list[Instance], output: RawOutput, box: Letterbox) -> list[Mask]:
    """(H, W) bool mask of each object at image size, inside its box; the whole box if the mask is empty."""
    made = []
    rows, columns = box.inner_height / MASK_STRIDE, box.inner_width / MASK_STRIDE
    height, width = int(np.ceil(rows)), int(np.ceil(columns))
    for one in found:
        kernel = output.kernel[one.phrase, :, one.cell[0], one.cell[1]]
        logits = mask_logits(kernel, output.prototypes, one.input_box)[:height, :width]
        full = (round(box.height * height / rows), round(box.width * width / columns))
        large = resampled(np.asarray(logits[None], np.float32), *full)[0, : box.height, : box.width]
        x0, y0, x1, y1 = one.box_xyxy
        dx, dy = _MARGIN * (x1 - x0), _MARGIN * (y1 - y0)
        left, top = max(0, int(x0 - dx)), max(0, int(y0 - dy))
        right, bottom = min(box.width, int(np.ceil(x1 + dx))), min(box.height, int(np.ceil(y1 + dy)))
        window = slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))
        mask = np.zeros((box.height, box.width), np.bool_)
        mask[window] = large[window] > 0
        if not mask.any():
            mask[window] = True
        made.append(mask)
    return made


def mask_logits(kernel: Array, prototypes: Array, input_box: tuple[float, float, float, float]) -> Array:
    """Return (H/4, W/4) logits of one mask; training does the same in torch."""
    x0, y0, x1, y1 = input_box
    half_x, half_y = max((x1 - x0) / 2, 1.0), max((y1 - y0) / 2, 1.0)
    x = ((np.arange(prototypes.shape[2]) + 0.5) * MASK_STRIDE - (x0 + x1) / 2) / half_x
    y = ((np.arange(prototypes.shape[1]) + 0.5) * MASK_STRIDE - (y0 + y1) / 2) / half_y
    seen = np.tensordot(kernel[:-3], prototypes, axes=1)
    return np.asarray(seen + kernel[-3] * x[None] + kernel[-2] * y[:, None] + kernel[-1], np.float32)
