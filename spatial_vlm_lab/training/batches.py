# SPDX-License-Identifier: Apache-2.0
"""Training batches: randomly changed images, random phrases for them, true and false, and the target output.

A batch depends only on the seed and its step, so an interrupted run continues with the same batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_lab.training.images import LabelledImage, LabelledObject, Samples, Vocabulary
from spatial_vlm_lab.training.loop import TrainingSettings
from spatial_vlm_ros.vlm.compact.spec import STRIDE, CompactSpec, encode

Floats = npt.NDArray[np.float32]
LEAST_PIXELS, LEAST_VISIBLE = 16, 0.15
"""Minimum of training objects; smaller or more hidden objects have no target."""
_SPREAD, _LEAST_SPREAD = 0.54 / 6, 0.45  # width of a centre's bell: share of the box's side, and least cells
_INSTANCES = 4  # masks trained per pair of image and phrase
_PLAIN = 0.7  # share of names that are the label itself
_STRANGE_MODIFIER, _STRANGE_NOUN = 0.15, 0.35
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class TrainingPhrase:
    """A phrase whose meaning is known, such as "red cup"."""

    text: str
    labels: frozenset[str]
    modifiers: frozenset[str] = frozenset()

    def names(self, one: LabelledObject) -> bool:
        """Whether it is true of an object."""
        return one.label in self.labels and self.modifiers <= set(one.attributes)

    @property
    def pair(self) -> tuple[str, str] | None:
        """Modifier and label, if it has one of each."""
        return (*self.modifiers, *self.labels) if len(self.modifiers) == len(self.labels) == 1 else None  # type: ignore[return-value]


def label_phrases(samples: Iterable[LabelledImage]) -> list[TrainingPhrase]:
    """Make a phrase for each label that occurs, in alphabetical order."""
    labels = {one.label for sample in samples for one in sample.objects}
    return [TrainingPhrase(label, frozenset({label})) for label in sorted(labels)]


def modified_phrases(samples: Iterable[LabelledImage]) -> list[TrainingPhrase]:
    """Make a phrase for each pair of attribute and label that occurs, in alphabetical order."""
    objects = [one for sample in samples for one in sample.objects]
    pairs = {(modifier, one.label) for one in objects for modifier in one.attributes}
    return [TrainingPhrase(f"{m} {label}", frozenset({label}), frozenset({m})) for m, label in sorted(pairs)]


class TrainingBatch(NamedTuple):
    """Images, phrases and targets."""

    pixels: Floats  # (B, 3, H, W), 0 to 255
    words: npt.NDArray[np.int64]  # (Q, L)
    image: npt.NDArray[np.int64]  # (Q,), index of the image of each phrase
    heat: Floats  # (Q, h, w), 0 to 1; exactly 1 at centres; -1 where there is no target
    box: Floats  # (Q, 4, h, w), as CompactOutput.box
    box_weight: Floats  # (Q, h, w), sums to 1 for each object
    mask_at: npt.NDArray[np.int64]  # (M, 4) indices: pair, row and column of the centre's cell, image
    mask_box: Floats  # (M, 4), pixels
    mask: Floats  # (M, H/4, W/4), 0 or 1


def drawn_batch(
    step: int,
    samples: Samples | Sequence[LabelledImage],
    vocabulary: Vocabulary,
    spec: CompactSpec,
    settings: TrainingSettings,
) -> TrainingBatch:
    """The batch of one step."""
    rng = np.random.default_rng((settings.seed, step))
    changed = [_changed(rng, samples[int(rng.integers(len(samples)))]) for _ in range(settings.batch)]
    learnt = [list(learnt_objects(sample).values()) for sample in changed]
    phrases = [draw_phrases(rng, objects, vocabulary, settings.phrases) for objects in learnt]
    return make_batch(changed, phrases, spec)


def make_batch(
    samples: Sequence[LabelledImage], phrases: Sequence[Sequence[TrainingPhrase]], spec: CompactSpec
) -> TrainingBatch:
    """Make a batch from images and their phrases, with the target output."""
    pairs = [(b, phrase) for b, asked in enumerate(phrases) for phrase in asked]
    rows, columns = spec.cells
    heat = np.zeros((len(pairs), rows, columns), np.float32)
    box, weight = np.zeros((len(pairs), 4, rows, columns), np.float32), np.zeros_like(heat)
    masks: list[tuple[tuple[int, int, int, int], LabelledObject, Floats]] = []
    learnt = [learnt_objects(sample) for sample in samples]
    for q, (b, phrase) in enumerate(pairs):
        sample = samples[b]
        meant = [(n, one) for n, one in enumerate(sample.objects, 1) if phrase.names(one)]
        for n, one in meant:
            if n not in learnt[b]:
                x0, y0, x1, y1 = (int(v) // STRIDE for v in one.box_xyxy)
                heat[q, y0 : y1 + 1, x0 : x1 + 1] = -1.0  # nothing is said there
        centres = [(n, one, _paint(heat[q], box[q], weight[q], one)) for n, one in meant if n in learnt[b]]
        for n, one, cell in centres[:_INSTANCES]:
            mask = np.asarray(sample.numbers == n, np.float32)
            small = cv2.resize(mask, (mask.shape[1] // 4, mask.shape[0] // 4), interpolation=cv2.INTER_AREA)
            masks.append(((q, *cell, b), one, np.asarray(small >= 0.5, np.float32)))
    pixels = np.stack([sample.rgb for sample in samples]).transpose(0, 3, 1, 2).astype(np.float32)
    shape = (spec.height // 4, spec.width // 4)
    return TrainingBatch(
        pixels,
        encode([phrase.text for _, phrase in pairs], spec),
        np.array([b for b, _ in pairs], np.int64),
        heat,
        box,
        weight,
        np.array([at for at, _, _ in masks], np.int64).reshape(-1, 4),
        np.array([one.box_xyxy for _, one, _ in masks], np.float32).reshape(-1, 4),
        np.stack([mask for _, _, mask in masks]) if masks else np.zeros((0, *shape), np.float32),
    )


def learnt_objects(sample: LabelledImage) -> dict[int, LabelledObject]:
    """Objects that are visible enough for training and scoring, by their instance numbers."""
    pixels = np.bincount(sample.numbers.ravel(), minlength=len(sample.objects) + 1)
    return {
        n: one for n, one in enumerate(sample.objects, 1) if pixels[n] >= LEAST_PIXELS and one.visible >= LEAST_VISIBLE
    }


# ------------------------------------------------------------------------------------------------ phrases


def draw_phrases(
    rng: np.random.Generator, objects: Sequence[LabelledObject], vocabulary: Vocabulary, number: int
) -> list[TrainingPhrase]:
    """Draw training phrases for one image.

    Half name a visible object. A sixth each names a visible object with a true modifier, a visible object with a
    modifier that few or none of its kind have, or an absent or unknown object.
    """
    kinds = ("true", "modified", "true", "wrongly modified", "true", "absent")
    return [_phrase(rng, kinds[n % len(kinds)] if objects else "absent", objects, vocabulary) for n in range(number)]


def _phrase(
    rng: np.random.Generator, kind: str, objects: Sequence[LabelledObject], vocabulary: Vocabulary
) -> TrainingPhrase:
    names = vocabulary.names
    if kind == "absent":
        is_strange, seen = rng.random() < _STRANGE_NOUN, {one.label for one in objects}
        absent = [name for name, labels in names.items() if not seen & set(labels)]
        name = "" if is_strange or not absent else str(rng.choice(absent))
        return TrainingPhrase(name, frozenset(names[name])) if name else TrainingPhrase(_strange(rng), frozenset())
    one = objects[int(rng.integers(len(objects)))]
    name = one.label
    if kind == "true":
        if rng.random() > _PLAIN:
            name = str(rng.choice([other for other, labels in names.items() if name in labels]))
        text = f"{_strange(rng)} {name}" if rng.random() < _STRANGE_MODIFIER else name
        return TrainingPhrase(text, frozenset(names[name]))
    said = [word for word in vocabulary.modifiers if (word, name) not in vocabulary.withheld]
    known = list(one.attributes) if kind == "modified" else said
    if not known:
        return TrainingPhrase(name, frozenset({name}))
    modifier = str(rng.choice(known))
    return TrainingPhrase(f"{modifier} {name}", frozenset({name}), frozenset({modifier}))


def _strange(rng: np.random.Generator) -> str:
    return "q" + "".join(str(letter) for letter in rng.choice(list(_LETTERS), 7))


# ------------------------------------------------------------------------------------------------ targets


def _paint(heat: Floats, box: Floats, weight: Floats, one: LabelledObject) -> tuple[int, int]:
    """Draw the bell and the box of one object; return row and column of its centre's cell.

    The bell, and training the box at all its cells, follow TTFNet (Liu et al. 2020, alpha 0.54). Where bells overlap,
    the box of the smaller object is trained.
    """
    rows, columns = heat.shape
    x0, y0, x1, y1 = np.array(one.box_xyxy, np.float32) / STRIDE
    cx, cy, w, h = (x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, 0.1), max(y1 - y0, 0.1)
    row, column = min(int(cy), rows - 1), min(int(cx), columns - 1)
    dy, dx = np.arange(rows)[:, None] - row, np.arange(columns)[None] - column
    sx, sy = max(_SPREAD * w, _LEAST_SPREAD), max(_SPREAD * h, _LEAST_SPREAD)
    bell = np.exp(-(dx**2 / (2 * sx**2) + dy**2 / (2 * sy**2))).astype(np.float32)
    np.maximum(heat, bell, out=heat, where=heat >= 0)
    heat[row, column] = 1.0
    near = bell > 0.05
    size = np.exp(box[2] + box[3])
    near &= (weight == 0) | (size > w * h)
    near[row, column] = True
    ys, xs = np.nonzero(near)
    sides = np.log([w, h])[:, None].repeat(len(xs), 1)
    box[:, ys, xs] = np.concatenate([[cx - (xs + 0.5), cy - (ys + 0.5)], sides])
    weight[ys, xs] = bell[ys, xs] / bell[ys, xs].sum()
    return row, column


# ------------------------------------------------------------------------------------------------ changes


def _changed(rng: np.random.Generator, sample: LabelledImage) -> LabelledImage:
    """Change light, sharpness and noise; mirror, zoom and shift. A box without pixels stays and counts as hidden."""
    gain, power = rng.uniform(0.8, 1.2) * rng.uniform(0.95, 1.05, 3), rng.uniform(0.85, 1.2)
    curves = 255.0 * np.clip(np.linspace(0, 1, 256)[:, None] * gain, 0.0, 1.0) ** power
    lit = cv2.LUT(sample.rgb, np.asarray(np.rint(curves), np.uint8)[None])
    if rng.random() < 0.5:
        lit = cv2.GaussianBlur(lit, (3, 3), float(rng.uniform(0.3, 0.8)))
    grain = np.multiply(rng.standard_normal(lit.shape, np.float32), rng.uniform(0, 5), dtype=np.float32)
    rgb = np.asarray(cv2.add(lit, grain, dtype=cv2.CV_8U), np.uint8)

    height, width = sample.numbers.shape
    zoom, flip = rng.uniform(0.85, 1.25), rng.random() < 0.5
    shift = rng.uniform(-0.12, 0.12, 2) * (width, height)
    across = -zoom if flip else zoom
    matrix = np.array([[across, 0, width / 2 * (1 - across)], [0, zoom, height / 2 * (1 - zoom)]])
    matrix[:, 2] += shift
    grey = tuple(int(v) for v in rgb.mean(axis=(0, 1)))
    rgb = np.asarray(cv2.warpAffine(rgb, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=grey), np.uint8)
    numbers = cv2.warpAffine(sample.numbers, matrix, (width, height), flags=cv2.INTER_NEAREST)
    objects = []
    for n, one in enumerate(sample.objects, 1):
        left, top, w, h = cv2.boundingRect((numbers == n).astype(np.uint8))
        box = (float(left), float(top), float(left + w), float(top + h))
        objects.append(replace(one, box_xyxy=box) if w else replace(one, visible=0.0))
    return LabelledImage(rgb, np.asarray(numbers, np.uint8), tuple(objects))
