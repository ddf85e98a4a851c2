# SPDX-License-Identifier: Apache-2.0
"""What a model is taught: the questions of `judging.AskedJudge` with their answers, and object locations; as tensors.

The question of a step depends only on the numbers of the step and the row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from spatial_vlm_lab.adaptation.views import AnyView, StoredView, unique_objects
from spatial_vlm_lab.comparison.judge_calibration import RelationLabel
from spatial_vlm_lab.training.images import BoxXyxy, LabelledObject
from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.perception.judging import CHOICES, QUESTION, marked, mirror
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer
from spatial_vlm_ros.vlm.parts import Parts
from spatial_vlm_ros.vlm.remedies.pin import WITH_PATCHES

IGNORED = -100
BESIDE = "beside"
"""Answer for two objects of which none is on, under or inside the other; never asked for itself."""
_LONGEST = 32  # most tokens of an answer that is read
_OPPOSITE = {"left": "right", "right": "left"}
_NUMBERS = re.compile(r"\[\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\]")


@dataclass(frozen=True, eq=False)
class AdaptLesson:
    """A question with its answer; without choices, the model answers in its own words."""

    rgb: Rgb
    question: str
    choices: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class LocationWords:
    """How a box is written: four whole numbers up to `side`, the right and lower border, each a multiple of `step`."""

    side: int
    step: int

    @classmethod
    def of(cls, parts: Parts) -> LocationWords:
        """Pixels of the encoder in whole patches, as PIN (arXiv 2402.08657); of any size 0 to 1000 by 10."""
        if parts.kind not in WITH_PATCHES:
            return cls(1000, 10)
        vision: Any = parts.vision.config
        return cls(int(vision.image_size), int(vision.patch_size))

    def question(self, name: str) -> str:
        """Ask for the location of an object of this name."""
        asked = f"In the image is {with_article(name)}. Where is it?"
        return f"{asked} Answer with [x1,y1,x2,y2], numbers from 0 to {self.side}."

    def words(self, box: BoxXyxy, width: int, height: int) -> str:
        """Write a box of an image as text; no side is shorter than one step."""
        steps = self.side // self.step
        shares = np.array(box).reshape(2, 2) / (width, height)
        low, high = np.clip(np.rint(shares * self.side / self.step), 0, steps).astype(int)
        low = np.minimum(low, steps - 1)
        high = np.maximum(high, low + 1)
        return "[" + ",".join(str(self.step * value) for value in (*low, *high)) + "]"

    def box(self, text: str, width: int, height: int) -> BoxXyxy | None:
        """Read the first box in a text, pixels; None if there is none, or it has no area."""
        found = _NUMBERS.search(text)
        if found is None:
            return None
        x0, y0, x1, y1 = (int(number) / self.side for number in found.groups())
        return (x0 * width, y0 * height, x1 * width, y1 * height) if x0 < x1 and y0 < y1 else None


def with_article(name: str) -> str:
    """Put an article before a name, as in "an orange cup"."""
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


class RelationLessons:
    """The lessons of a run.

    The relation is drawn first, so that all relations are equally frequent; then a pair for which it holds. As in the
    judge's questions, choices come in both orders, and questions about sides also use the mirrored image.
    """

    def __init__(self, views: Sequence[StoredView], seed: int, places: float, words: LocationWords) -> None:
        self._seed, self._places, self._words = seed, places, words
        groups: dict[str, list[tuple[StoredView, RelationLabel]]] = {}
        for view in views:
            for label in view.relations:
                if label.holds and (label.relation in CHOICES or label.relation == BESIDE):
                    groups.setdefault(label.relation, []).append((view, label))
        self._relations = [groups[name] for name in sorted(groups)]
        self._named = [(view, obj) for view in views for obj in unique_objects(view.objects)]
        if (places < 1.0 and not self._relations) or (places > 0.0 and not self._named):
            got = f"{len(self._named)} objects with a unique name, {len(self._relations)} relations that hold"
            repair = "add labelled frames, or use --rendered"
            raise InputError("training views", f"{len(views)} with {got}", "some of both", repair)

    def __call__(self, step: int, row: int) -> AdaptLesson:
        """Return the lesson of a row of a step."""
        rng = np.random.default_rng((self._seed, step, row, 31))
        if rng.random() < self._places:
            view, obj = self._named[int(rng.integers(len(self._named)))]
            return location_lesson(view, obj, self._words)
        group = self._relations[int(rng.integers(len(self._relations)))]
        view, label = group[int(rng.integers(len(group)))]
        return relation_lesson(view, label, *(bool(rng.random() < 0.5) for _ in range(2)))


def relation_lesson(view: AnyView, label: RelationLabel, swapped: bool, mirrored: bool) -> AdaptLesson:
    """Make a question about a pair for which a relation holds; its choices may be swapped, its sides mirrored."""
    choices, answer = CHOICES["on"][0], BESIDE
    if label.relation != BESIDE:
        choices, answer = CHOICES[label.relation]
    image, target, anchor = view.rgb, label.target, label.anchor
    if mirrored and answer in _OPPOSITE:
        image, target, anchor = mirror(image, target, anchor)
        answer = _OPPOSITE[answer]
    return AdaptLesson(marked(image, target, anchor), QUESTION, choices[::-1] if swapped else choices, answer)


def location_lesson(view: AnyView, obj: LabelledObject, words: LocationWords) -> AdaptLesson:
    """Make a question about the location of an object."""
    rgb = view.rgb
    return AdaptLesson(rgb, words.question(obj.name), (), words.words(obj.box_xyxy, rgb.shape[1], rgb.shape[0]))


# ------------------------------------------------------------------------------------------------ tensors


def lesson_batch(scorer: CandidateScorer, lessons: Sequence[AdaptLesson]) -> tuple[dict[str, Tensor], Tensor]:
    """Combine lessons into one model call: the scorer's prompt, followed by the answer; rows are padded on the right.

    Returns the inputs and labels (B, N) int64, IGNORED except for answers.
    """
    words, rows = scorer.processor.tokenizer, list[dict[str, Tensor]]()
    for lesson in lessons:
        asked = (lesson.rgb, lesson.question)
        given = scorer.inputs(*asked, lesson.choices) if lesson.choices else scorer.asked(*asked)
        prompt = given["input_ids"]
        answer = scorer.tokens(lesson.answer, prompt.device)
        if words.eos_token_id is not None:
            answer = F.pad(answer, (0, 1), value=int(words.eos_token_id))
        there = torch.ones_like(answer)
        added = {"input_ids": answer, "labels": answer, "attention_mask": there, "token_type_ids": there}
        row = {**given, "labels": torch.full_like(prompt, IGNORED)}
        for name, value in row.items():
            if value.shape == prompt.shape:
                row[name] = torch.cat([value, added.get(name, torch.zeros_like(answer)).to(value.dtype)], dim=1)
        rows.append(row)

    padding = words.pad_token_id if words.pad_token_id is not None else words.eos_token_id or 0
    fill, longest = {"input_ids": int(padding), "labels": IGNORED}, max(row["labels"].shape[1] for row in rows)

    def padded(name: str, row: dict[str, Tensor]) -> Tensor:
        short = longest - row["labels"].shape[1]
        is_of_tokens = row[name].shape == row["labels"].shape
        return F.pad(row[name], (0, short), value=fill.get(name, 0)) if is_of_tokens else row[name]

    inputs = {name: torch.cat([padded(name, row) for row in rows]) for name in rows[0]}
    return inputs, inputs.pop("labels")


def answer_losses(model: Any, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
    """(B,) mean negative log-likelihood of each row's answer, float32."""
    first = int((labels != IGNORED).int().argmax(dim=1).min())
    kept = labels.shape[1] - first + 1  # from the token before the earliest answer on
    logits = model(**inputs, use_cache=False, logits_to_keep=kept).logits[:, :-1].float()
    wanted = labels[:, first:]
    each = F.cross_entropy(logits.transpose(1, 2), wanted, ignore_index=IGNORED, reduction="none")
    return each.sum(dim=1) / (wanted != IGNORED).sum(dim=1)


def learnt(scorer: CandidateScorer, rows: Sequence[AdaptLesson], micro: int) -> float:
    """Return the mean loss of some lessons and add its gradient to the (float32) parameters."""
    total, own = 0.0, next(scorer.model.parameters())
    for first in range(0, len(rows), micro):
        inputs, labels = lesson_batch(scorer, rows[first : first + micro])
        with torch.autocast(own.device.type, torch.bfloat16, enabled=own.dtype is not torch.float32):
            loss = answer_losses(scorer.model, inputs, labels).sum() / len(rows)
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    return total


def located(scorer: CandidateScorer, rgb: Rgb, name: str) -> BoxXyxy | None:
    """Ask a model for an object's box, pixels of the image (H, W, 3) uint8; None if it names no box."""
    words = LocationWords.of(scorer.parts)
    inputs = scorer.asked(rgb, words.question(name))
    try:
        told = scorer.model.generate(
            **inputs, max_new_tokens=_LONGEST, do_sample=False, num_beams=1,
            suppress_tokens=[scorer.parts.image_token_id],  # it stands for an image, and is not a word
        )  # fmt: skip
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ModelError(type(scorer.model).__name__, reason, "use another device or number format") from error
    text = scorer.processor.tokenizer.decode(told[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return words.box(str(text), rgb.shape[1], rgb.shape[0])
