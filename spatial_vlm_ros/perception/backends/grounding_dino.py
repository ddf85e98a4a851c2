# SPDX-License-Identifier: Apache-2.0
"""Backend "grounding-dino": Grounding DINO (2303.05499) and MM-Grounding-DINO (2401.02361), detectors asked in words.

Categories are asked together, "cat. soup can.": the model lets words see each other only between full stops, and gives
each box a score for every word. A phrase's score for a box is the mean over the phrase's words (as MM-Grounding-DINO
takes it), so that "opener" alone does not make a can opener of a bottle opener; the box's own score is the greatest of
all words, as the model's post-processing has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.perception.backends.loading import model_folder, pretrained, processor, read_json
from spatial_vlm_ros.perception.backends.onboard import Runner, capped, check_finite, option, settings
from spatial_vlm_ros.perception.grounder import Grounder, Grounding
from spatial_vlm_ros.types import Detection, NounPhrase, Rgb

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[np.float64]

NAME = "grounding-dino"
CLASSES = MappingProxyType(
    {"grounding-dino": "GroundingDinoForObjectDetection", "mm-grounding-dino": "MMGroundingDinoForObjectDetection"}
)
"""model_type of a config → class."""
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
                raise InputError(f"threshold {name}", str(getattr(self, name)), "0 to 1", "correct the option")
        for name in ("at_once", "most"):
            if getattr(self, name) < 1:
                raise InputError(name, str(getattr(self, name)), "1 or more", "correct the option")


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes found with their scores.

    Args:
        xyxy: (K, 4) float64 pixels.
        score: (K,) float64, 0 to 1.
        fit: (K, C) float64, 0 to 1: score of each category asked.
    """

    xyxy: Array
    score: Array
    fit: Array


def load(
    *,
    model: str,
    threshold: str = "0.25",
    text_threshold: str = "0.25",
    iou: str = "0.8",
    at_once: str = "8",
    most: str = "100",
    masks: str = "",
    masks_model: str = "",
    preset: str = "auto",
    **given: str,
) -> Grounder:
    """Load the backend.

    Args:
        model: folder, or id of the hub such as "IDEA-Research/grounding-dino-tiny".
        threshold: least score of a box.
        text_threshold: least score of a phrase for a box.
        iou: overlap from which boxes are one object.
        at_once: most categories asked at once.
        most: most boxes of an image.
        masks: "" or "sam2".
        masks_model: folder or id of the SAM 2 model, where masks are wanted.
        preset: see onboard.PRESETS.
        **given: device, dtype, batch, longest_px, budget_s, warm_up: see onboard.Settings.

    Raises:
        InputError: an option out of its range.
        UnknownNameError: no such preset, setting, kind of masks or model.
        DependencyError: torch or transformers is not installed.
        ModelError: the model cannot be loaded, or does not run here.
    """
    thresholds = Thresholds(
        option("threshold", threshold, float),
        option("text_threshold", text_threshold, float),
        option("iou", iou, float),
        option("at_once", at_once, int),
        option("most", most, int),
    )
    runner = Runner(NAME, settings(preset, **given))
    kind = str(read_json(model_folder(model, model=NAME) / "config.json", NAME).get("model_type"))
    if kind not in CLASSES:
        repair = f"give a model whose model_type is {' or '.join(CLASSES)}"
        raise ModelError(NAME, f"{model} holds a model of type {kind!r}", repair)
    detector = pretrained(CLASSES[kind], model, model=NAME, device=runner.device, dtype=runner.dtype)
    grounder = GroundingDino(detector, processor(model, model=NAME), runner, thresholds)
    if runner.settings.warm_up:
        grounder.warm_up()
    if not masks:
        return grounder
    from spatial_vlm_ros.perception.backends.sam2 import with_masks

    return with_masks(grounder, masks, masks_model, preset, **given)


class GroundingDino:
    """A detector asked in words.

    Args:
        model: GroundingDinoForObjectDetection or MMGroundingDinoForObjectDetection, on the runner's device.
        prepared_by: its GroundingDinoProcessor.
        runner: memory and time.
        thresholds: what counts as found.

    Raises:
        ModelError: the processor belongs to another model.
    """

    def __init__(self, model: Any, prepared_by: Any, runner: Runner, thresholds: Thresholds | None = None) -> None:
        self.runner, self.thresholds = runner, thresholds or Thresholds()
        self._model, self._processor = model, prepared_by
        self._stop = prepared_by.tokenizer.convert_tokens_to_ids(".")
        if self._stop not in model.model.special_tokens.tolist():
            reason = f"its tokenizer gives the full stop the number {self._stop}, which the model does not know"
            raise ModelError(NAME, reason, "give the processor that was saved with the model")

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Find what the phrases' categories name; see Grounder.ground.

        `match` compares categories within one box: the best fitting one has 1, the others their part of its score.
        How sure the model is of the box at all is the detection's score.

        Raises:
            ModelError: the model failed, gave NaN, or memory ran out.
            ModelTimeoutError: the time budget is spent.
            InputError: a category without letters.
        """
        said = [asked_as(phrase.category) for phrase in phrases]
        categories = tuple(dict.fromkeys(said))
        if not categories:
            return Grounding((), np.zeros((0, 0)))
        found = self._found(rgb, categories)
        fitting = found.fit.max(axis=1) >= self.thresholds.text
        best = _taken(found, np.flatnonzero(fitting))
        best = merged(best, self.thresholds.iou, self.thresholds.most)
        detections = tuple(
            Detection(f"d{n}", categories[int(best.fit[n].argmax())], float(best.score[n]), _inside(best.xyxy[n]))
            for n in range(len(best.score))
        )
        relative = best.fit / best.fit.max(axis=1, keepdims=True, initial=1e-9)
        relative[best.fit < self.thresholds.text] = 0.0
        if ANYTHING in categories:
            relative[:, categories.index(ANYTHING)] = 1.0
        match = relative.T[[categories.index(category) for category in said]]
        return Grounding(detections, match.reshape(len(said), len(detections)))

    def warm_up(self) -> float:
        """Run once on a grey image with a full batch; gives the seconds it took.

        Raises:
            ModelError: the model does not run here.
        """
        grey = np.full((480, 640, 3), 127, np.uint8)
        prompts = [(ANYTHING,)] * self.runner.settings.batch
        return self.runner.warm_up(prompts, self._forward(grey, (ANYTHING,)))

    def _found(self, rgb: Rgb, categories: tuple[str, ...]) -> Boxes:
        """Boxes of all categories, clipped to the image, before thresholds of text and merging."""
        prompts = self._prompts(categories)
        parts = self.runner.over(prompts, self._forward(rgb, categories))
        return Boxes(
            np.concatenate([part.xyxy for part in parts]),
            np.concatenate([part.score for part in parts]),
            np.concatenate([part.fit for part in parts]),
        )

    def _prompts(self, categories: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Categories in groups that the model takes at once: by number, and by its longest text."""
        longest = int(self._model.config.max_text_len)
        prompts: list[tuple[str, ...]] = []
        group: tuple[str, ...] = ()
        for category in categories:
            if self._tokens((category,)) > longest:
                repair = "say it in fewer words"
                raise InputError("category", repr(category), f"a text of {longest} tokens at most", repair)
            if group and (len(group) >= self.thresholds.at_once or self._tokens((*group, category)) > longest):
                prompts.append(group)
                group = ()
            group = (*group, category)
        return [*prompts, group]

    def _tokens(self, categories: tuple[str, ...]) -> int:
        return len(self._processor.tokenizer(joined(categories))["input_ids"])

    def _forward(
        self, rgb: Rgb, categories: tuple[str, ...]
    ) -> Callable[[Sequence[tuple[str, ...]], int], list[Boxes]]:
        """What the runner calls with a batch of prompts and a longest side."""
        image = np.ascontiguousarray(rgb)

        def forward(prompts: Sequence[tuple[str, ...]], longest_px: int) -> list[Boxes]:
            device, dtype = self.runner.device, self.runner.dtype
            size = capped(dict(self._processor.image_processor.size), longest_px)
            images = self._processor.image_processor(images=[image], size=size, return_tensors="pt").to(device)
            texts = self._processor.tokenizer(
                [joined(prompt) for prompt in prompts], padding=True, return_token_type_ids=True, return_tensors="pt"
            ).to(device)
            n = len(prompts)
            output = self._model(
                pixel_values=images["pixel_values"].to(dtype).expand(n, -1, -1, -1),
                pixel_mask=images["pixel_mask"].expand(n, -1, -1),
                **texts,
            )
            return self._read(output, texts, prompts, categories, (image.shape[0], image.shape[1]))

        return forward

    def _read(
        self,
        output: Any,
        texts: Any,
        prompts: Sequence[tuple[str, ...]],
        categories: tuple[str, ...],
        size: tuple[int, int],
    ) -> list[Boxes]:
        """Boxes of each prompt from the model's output; size is (height, width) in pixels."""
        length = texts["input_ids"].shape[1]
        asked = texts["attention_mask"].bool()[:, None, :].expand(-1, output.logits.shape[1], -1)
        check_finite(NAME, logits=output.logits[..., :length][asked], boxes=output.pred_boxes)
        output.logits, output.pred_boxes = output.logits.float(), output.pred_boxes.float()
        results = self._processor.post_process_grounded_object_detection(
            output,
            texts["input_ids"],
            threshold=self.thresholds.score,
            text_threshold=self.thresholds.text,
            target_sizes=[size] * len(prompts),
        )
        found = []
        for row, (prompt, result) in enumerate(zip(prompts, results, strict=True)):
            words = output.logits[row].sigmoid()
            kept = words[words.amax(-1) > self.thresholds.score]  # the post-processing keeps the same, in this order
            fit = np.zeros((len(kept), len(categories)))
            spans = self._spans(texts["input_ids"][row], prompt)
            for category, span in zip(prompt, spans, strict=True):
                fit[:, categories.index(category)] = kept[:, span].mean(-1).cpu().numpy()
            found.append(_clipped(_array(result["boxes"]), _array(result["scores"]), fit, size))
        return found

    def _spans(self, ids: torch.Tensor, prompt: tuple[str, ...]) -> list[slice]:
        """Where each category's tokens stand: each ends with a full stop, the first begins after [CLS]."""
        stops = [n for n, token in enumerate(ids.tolist()) if token == self._stop]
        spans = [slice(a + 1, b) for a, b in zip([0, *stops[:-1]], stops, strict=True)] if stops else []
        if len(spans) != len(prompt) or any(span.stop <= span.start for span in spans):
            reason = f"its tokenizer makes {len(spans)} parts of {joined(prompt)!r}"
            raise ModelError(NAME, reason, "give the processor that was saved with the model")
        return spans


def asked_as(category: str) -> str:
    """A category as the model is asked for it: lower case, nothing but words.

    Raises:
        InputError: nothing is left.
    """
    words = " ".join(_NOT_WORDS.sub(" ", category.lower()).split())
    if not any(character.isalnum() for character in words):
        raise InputError("category", repr(category), "a noun", "name the thing in words")
    return words


def joined(categories: Sequence[str]) -> str:
    """Categories as one text, "cat. soup can."."""
    return ". ".join(categories) + "."


def merged(boxes: Boxes, iou: float, most: int) -> Boxes:
    """One box for each object: a box that overlaps a better one gives it its fits and goes.

    Args:
        boxes: K boxes.
        iou: intersection over union above which two are one.
        most: how many to keep.

    Returns:
        The kept ones by falling score; each category's fit is the greatest of those merged.
    """
    waiting = [int(n) for n in np.argsort(-boxes.score, kind="stable")]
    kept: list[int] = []
    fits: list[Array] = []
    while waiting and len(kept) < most:
        overlap = overlaps(boxes.xyxy[waiting[0]], boxes.xyxy[waiting])[0]
        overlap[0] = np.inf
        same = [n for n, share in zip(waiting, overlap, strict=True) if share > iou]
        kept.append(waiting[0])
        fits.append(boxes.fit[same].max(axis=0))
        waiting = [n for n, share in zip(waiting, overlap, strict=True) if share <= iou]
    chosen = _taken(boxes, np.array(kept, np.intp))
    return Boxes(chosen.xyxy, chosen.score, np.array(fits).reshape(len(kept), boxes.fit.shape[1]))


def _clipped(xyxy: Array, score: Array, fit: Array, size: tuple[int, int]) -> Boxes:
    """Boxes cut at the picture's border; those of less than a pixel inside it go."""
    height, width = size
    inside = np.clip(xyxy, 0.0, [width, height, width, height])
    large = ((inside[:, 2:] - inside[:, :2]) >= _LEAST_SIDE_PX).all(axis=1)
    return _taken(Boxes(inside, np.clip(score, 0.0, 1.0), fit), np.flatnonzero(large))


def _taken(boxes: Boxes, rows: npt.NDArray[np.intp]) -> Boxes:
    return Boxes(boxes.xyxy[rows], boxes.score[rows], boxes.fit[rows])


def _inside(box: Array) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(value) for value in box)
    return left, top, right, bottom


def _array(values: torch.Tensor) -> Array:
    return values.detach().cpu().numpy().astype(np.float64)
