# SPDX-License-Identifier: Apache-2.0
"""What a model is taught: the questions of `judging.AskedJudge` with their answers, and object locations; as tensors.

The question of a step depends only on the numbers of the step and the row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from spatial_vlm_lab.adaptation.settings import AdaptSettings
from spatial_vlm_lab.adaptation.views import LabelledView, StoredView, unique_objects
from spatial_vlm_lab.comparison.judge_calibration import RelationLabel
from spatial_vlm_lab.training.images import BoxXyxy, LabelledObject
from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.perception.judging import CHOICES, QUESTION, marked, mirror
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer
from spatial_vlm_ros.vlm.parts import Parts

IGNORED = -100
BESIDE = "beside"
"""Answer for two objects of which none is on, under or inside the other; never asked for itself."""
_OPPOSITE = {"left": "right", "right": "left"}
_WITH_SIZE = ("llava", "paligemma")
_SCALE, _SCALE_STEP = 1000, 10
_NUMBERS = re.compile(r"\[\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\]")


@dataclass(frozen=True, eq=False)
class AdaptLesson:
    """A question with its answer.

    Args:
        rgb: (H, W, 3) uint8.
        choices: the choices in the order in which the model sees them; empty = the model answers in its own words.
    """

    rgb: Rgb
    question: str
    choices: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class LocationWords:
    """How a box is written: four whole numbers, each a multiple of a step.

    Args:
        side: number of the right and of the lower border.
    """

    side: int
    step: int

    @classmethod
    def of(cls, parts: Parts) -> LocationWords:
        """Use pixels of the encoder in whole patches, as PIN does (arXiv 2402.08657).

        Models that accept images of any size use 0 to 1000 in steps of 10.
        """
        if parts.kind not in _WITH_SIZE:
            return cls(_SCALE, _SCALE_STEP)
        vision: Any = parts.vision.config
        return cls(int(vision.image_size), int(vision.patch_size))

    def question(self, name: str) -> str:
        """Ask for the location of an object of this name."""
        asked = f"In the image is {with_article(name)}. Where is it?"
        return f"{asked} Answer with [x1,y1,x2,y2], numbers from 0 to {self.side}."

    def words(self, box: BoxXyxy, width: int, height: int) -> str:
        """Write a box of an image as text; no side is shorter than one step."""
        last = self.side // self.step
        x0, y0, x1, y1 = (
            min(max(round(value / extent * self.side / self.step), 0), last)
            for value, extent in zip(box, (width, height, width, height), strict=True)
        )
        x0, y0 = min(x0, last - 1), min(y0, last - 1)
        x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
        return "[" + ",".join(str(self.step * value) for value in (x0, y0, x1, y1)) + "]"

    def box(self, text: str, width: int, height: int) -> BoxXyxy | None:
        """Read the first box in a text, pixels; None if there is none, or it has no area."""
        found = _NUMBERS.search(text)
        if found is None:
            return None
        x0, y0, x1, y1 = (int(number) / self.side for number in found.groups())
        if not (x0 < x1 and y0 < y1):
            return None
        return x0 * width, y0 * height, x1 * width, y1 * height


def with_article(name: str) -> str:
    """Put an article before a name, as in "an orange cup"."""
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


class RelationLessons:
    """The lessons of a run.

    The relation is drawn first, so that all relations are equally frequent; then a pair for which it holds. As in the
    judge's questions, choices come in both orders, and questions about sides also use the mirrored image.

    Args:
        places: share of lessons that ask for the location of an object.
    """

    def __init__(self, views: Sequence[StoredView], seed: int, places: float, words: LocationWords) -> None:
        self._views, self._seed, self._places, self._words = views, seed, places, words
        groups: dict[str, list[tuple[int, RelationLabel]]] = {}
        for number, view in enumerate(views):
            for label in view.relations:
                if label.holds and (label.relation in CHOICES or label.relation == BESIDE):
                    groups.setdefault(label.relation, []).append((number, label))
        self._relations = [groups[name] for name in sorted(groups)]
        self._named = [(number, obj) for number, view in enumerate(views) for obj in unique_objects(view.objects)]
        if (places < 1.0 and not self._relations) or (places > 0.0 and not self._named):
            got = f"{len(self._named)} objects with a unique name, {len(self._relations)} relations that hold"
            repair = "add labelled frames, or use --rendered"
            raise InputError("training views", f"{len(views)} with {got}", "some of both", repair)

    def __call__(self, step: int, row: int) -> AdaptLesson:
        """Return the lesson of a row of a step."""
        rng = np.random.default_rng((self._seed, step, row, 31))
        if rng.random() < self._places:
            number, obj = self._named[int(rng.integers(len(self._named)))]
            return location_lesson(self._views[number].load(), obj, self._words)
        group = self._relations[int(rng.integers(len(self._relations)))]
        number, label = group[int(rng.integers(len(group)))]
        return relation_lesson(self._views[number].load(), label, *(bool(rng.random() < 0.5) for _ in range(2)))


def relation_lesson(view: LabelledView, label: RelationLabel, swapped: bool, mirrored: bool) -> AdaptLesson:
    """Make a question about a pair for which a relation holds.

    Args:
        swapped: whether the choices come in the other order.
        mirrored: whether left and right are exchanged, in the image and in the answer; only if they are the choices.
    """
    choices, answer = CHOICES["on"][0], BESIDE
    if label.relation != BESIDE:
        choices, answer = CHOICES[label.relation]
    image, target, anchor = view.rgb, label.target, label.anchor
    if mirrored and answer in _OPPOSITE:
        image, target, anchor = mirror(image, target, anchor)
        answer = _OPPOSITE[answer]
    return AdaptLesson(marked(image, target, anchor), QUESTION, choices[::-1] if swapped else choices, answer)


def location_lesson(view: LabelledView, obj: LabelledObject, words: LocationWords) -> AdaptLesson:
    """Make a question about the location of an object."""
    height, width = view.rgb.shape[:2]
    return AdaptLesson(view.rgb, words.question(obj.name), (), words.words(obj.box_xyxy, width, height))


# ------------------------------------------------------------------------------------------------ tensors


def lesson_batch(scorer: CandidateScorer, lessons: Sequence[AdaptLesson]) -> tuple[dict[str, Tensor], Tensor]:
    """Combine lessons into one model call: the scorer's prompt, followed by the answer.

    Args:
        lessons: at least one.

    Returns:
        Inputs, rows padded on the right; labels (B, N) int64, IGNORED except for answers.
    """
    rows, words = [_row(scorer, lesson) for lesson in lessons], scorer.processor.tokenizer
    padding = words.pad_token_id if words.pad_token_id is not None else words.eos_token_id or 0
    longest = max(labels.shape[1] for _, labels in rows)
    inputs: dict[str, Tensor] = {}
    for name in rows[0][0]:
        parts = []
        for given, labels in rows:
            value, short = given[name], longest - labels.shape[1]
            if value.ndim == 2 and value.shape == labels.shape:
                value = F.pad(value, (0, short), value=int(padding) if name == "input_ids" else 0)
            parts.append(value)
        inputs[name] = torch.cat(parts)
    return inputs, torch.cat([F.pad(labels, (0, longest - labels.shape[1]), value=IGNORED) for _, labels in rows])


def _row(scorer: CandidateScorer, lesson: AdaptLesson) -> tuple[dict[str, Tensor], Tensor]:
    given = (
        scorer.inputs(lesson.rgb, lesson.question, lesson.choices)
        if lesson.choices
        else scorer.asked(lesson.rgb, lesson.question)
    )
    answer = scorer.tokens(lesson.answer, given["input_ids"].device)
    end = scorer.processor.tokenizer.eos_token_id
    if end is not None:
        answer = F.pad(answer, (0, 1), value=int(end))
    shape = given["input_ids"].shape
    added = {"input_ids": answer, "attention_mask": torch.ones_like(answer), "token_type_ids": torch.ones_like(answer)}
    made = {
        name: torch.cat([value, added.get(name, torch.zeros_like(answer)).to(value.dtype)], dim=1)
        if value.shape == shape
        else value
        for name, value in given.items()
    }
    labels = torch.cat([torch.full_like(given["input_ids"], IGNORED), answer], dim=1)
    return made, labels


def answer_losses(model: Any, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
    """(B,) mean negative log-likelihood of each row's answer, float32."""
    if not bool((labels != IGNORED).any(dim=1).all()):
        raise InputError("lessons", "one without an answer", "an answer with at least one token")
    first = int((labels != IGNORED).int().argmax(dim=1).min())
    kept = labels.shape[1] - first + 1  # from the token before the earliest answer on
    logits = model(**inputs, use_cache=False, logits_to_keep=kept).logits[:, :-1].float()
    wanted = labels[:, first:]
    each = F.cross_entropy(logits.transpose(1, 2), wanted, ignore_index=IGNORED, reduction="none")
    return each.sum(dim=1) / (wanted != IGNORED).sum(dim=1)


def located(scorer: CandidateScorer, rgb: Rgb, name: str, most_tokens: int = 32) -> BoxXyxy | None:
    """Ask a model for an object's box, pixels of the image; None if it names no box.

    Args:
        rgb: (H, W, 3) uint8.
        most_tokens: most tokens of the answer.
    """
    words = LocationWords.of(scorer.parts)
    inputs = scorer.asked(rgb, words.question(name))
    try:
        told = scorer.model.generate(
            **inputs, max_new_tokens=most_tokens, do_sample=False, num_beams=1,
            suppress_tokens=[scorer.parts.image_token_id],  # it stands for an image, and is not a word
        )  # fmt: skip
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ModelError(type(scorer.model).__name__, reason, "use another device or number format") from error
    text = scorer.processor.tokenizer.decode(told[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return words.box(str(text), rgb.shape[1], rgb.shape[0])


# ------------------------------------------------------------------------------------------------ steps


def teacher(scorer: CandidateScorer, lessons: RelationLessons, settings: AdaptSettings) -> Callable[[int], float]:
    """Return the function that `AdaptRun.train` calls for each step: the mean loss of its lessons, with gradients.

    Args:
        settings: rows per step, and rows per forward pass.
    """

    def learn(step: int) -> float:
        rows = [lessons(step, row) for row in range(settings.batch)]
        return learnt(scorer, rows, settings.micro)

    return learn


def learnt(scorer: CandidateScorer, rows: Sequence[AdaptLesson], micro: int) -> float:
    """Return the mean loss of some lessons and add its gradient to the parameters.

    Arithmetic is in bfloat16 if the frozen weights are stored in it; trained parameters stay float32.

    Args:
        micro: lessons per forward pass.
    """
    total, own = 0.0, next(scorer.model.parameters())
    for first in range(0, len(rows), micro):
        inputs, labels = lesson_batch(scorer, rows[first : first + micro])
        with torch.autocast(own.device.type, torch.bfloat16, enabled=own.dtype is not torch.float32):
            loss = answer_losses(scorer.model, inputs, labels).sum() / len(rows)
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    return total
