# SPDX-License-Identifier: Apache-2.0
"""Backend "grounding-dino": Grounding DINO (2303.05499) and MM-Grounding-DINO (2401.02361), detectors asked in words.

Categories are asked together, "cat. soup can.": the model lets words see each other only between full stops, and gives
each box a score for every word. A phrase's score for a box is the mean over the phrase's words (as MM-Grounding-DINO
takes it), so that "opener" alone does not make a can opener of a bottle opener; the box's own score is the greatest of
all words, as the model's post-processing has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.perception.backends.loading import model_folder, processor, read_json
from spatial_vlm_ros.perception.backends.onboard import Runner, capped, check_finite, option, settings
from spatial_vlm_ros.perception.backends.phrase_boxes import (
    ANYTHING,
    Array,
    Boxes,
    Thresholds,
    asked_as,
    clipped,
    grounding_of,
)
from spatial_vlm_ros.perception.backends.placement import on_device
from spatial_vlm_ros.perception.grounder import Grounder, Grounding
from spatial_vlm_ros.types import NounPhrase, Rgb

if TYPE_CHECKING:
    import torch

NAME = "grounding-dino"
CLASSES = MappingProxyType(
    {"grounding-dino": "GroundingDinoForObjectDetection", "mm-grounding-dino": "MMGroundingDinoForObjectDetection"}
)
"""model_type of a config → class."""


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
        **given: fields of onboard.RuntimeSettings.

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
    detector = runner.load(CLASSES[kind], model)
    runner.compile(detector.model.backbone)
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
        return grounding_of(self._found(rgb, categories), said, categories, self.thresholds)

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
            prepare = self._processor.image_processor
            size = capped(dict(prepare.size), longest_px)
            images = prepare(images=[image], size=size, return_tensors="pt", **on_device(prepare, device))
            images = images.to(device, non_blocking=True)
            texts = self._processor.tokenizer(
                [joined(prompt) for prompt in prompts], padding=True, return_token_type_ids=True, return_tensors="pt"
            ).to(device, non_blocking=True)
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
            found.append(clipped(_array(result["boxes"]), _array(result["scores"]), fit, size))
        return found

    def _spans(self, ids: torch.Tensor, prompt: tuple[str, ...]) -> list[slice]:
        """Where each category's tokens stand: each ends with a full stop, the first begins after [CLS]."""
        stops = [n for n, token in enumerate(ids.tolist()) if token == self._stop]
        spans = [slice(a + 1, b) for a, b in zip([0, *stops[:-1]], stops, strict=True)] if stops else []
        if len(spans) != len(prompt) or any(span.stop <= span.start for span in spans):
            reason = f"its tokenizer makes {len(spans)} parts of {joined(prompt)!r}"
            raise ModelError(NAME, reason, "give the processor that was saved with the model")
        return spans


def joined(categories: Sequence[str]) -> str:
    """Categories as one text, "cat. soup can."."""
    return ". ".join(categories) + "."


def _array(values: torch.Tensor) -> Array:
    return values.detach().cpu().numpy().astype(np.float64)
