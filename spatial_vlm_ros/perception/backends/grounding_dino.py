# SPDX-License-Identifier: Apache-2.0
"""Backend "grounding-dino": Grounding DINO (2303.05499), MM-Grounding-DINO (2401.02361) and LLMDet (2501.18954).

Detectors with text prompts; see detector_inputs.py. LLMDet's checkpoints use transformers' class of MM-Grounding-DINO
(transformers, model_doc/mm-grounding-dino).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.backends.detector_inputs import joined, prompts_of, read_boxes, spans_of
from spatial_vlm_ros.perception.backends.loading import model_folder, processor, read_json
from spatial_vlm_ros.perception.backends.onboard import Runner, capped, check_finite, on_device, settings
from spatial_vlm_ros.perception.backends.phrase_boxes import ANYTHING, Boxes, PhraseDetector, Thresholds, together
from spatial_vlm_ros.perception.backends.sam2 import with_masks
from spatial_vlm_ros.perception.grounder import Grounder
from spatial_vlm_ros.types import Rgb

NAME = "grounding-dino"
CLASSES = MappingProxyType(
    {"grounding-dino": "GroundingDinoForObjectDetection", "mm-grounding-dino": "MMGroundingDinoForObjectDetection"}
)
"""`model_type` of a config → class of transformers."""
_SHARED = ("decoder_bbox_embed_share", "decoder_cls_embed_share")


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
    """Load the backend. Options: docs/backends.md."""
    thresholds = Thresholds.read(threshold, iou, most, text_threshold=text_threshold, at_once=at_once)
    runner = Runner(NAME, settings(preset, **given))
    cls, unsaid = class_of(model, NAME)
    detector = runner.load(cls, model, arguments=unsaid)
    runner.compile(detector.model.backbone)
    grounder = GroundingDino(detector, processor(model, model=NAME), runner, thresholds)
    if runner.settings.warm_up:
        grounder.warm_up()
    return with_masks(grounder, masks, masks_model, preset, **given)


def class_of(path_or_id: str, model: str) -> tuple[str, dict[str, bool]]:
    """Return the class of a folder's detector, and the settings that its config omits but that it needs.

    If the config of an MM-Grounding-DINO does not say whether the decoder's layers share their heads, they do not:
    transformers 4.55 to 4.57, which wrote such configs, had one head per layer, as MM-Grounding-DINO and LLMDet were
    trained (huggingface/transformers#37925). Transformers 5 assumes that they are shared, and then refines boxes only
    with the head of the first layer (seen with 5.23).
    """
    told = read_json(model_folder(path_or_id, model=model) / "config.json", model)
    kind = str(told.get("model_type"))
    if kind not in CLASSES:
        repair = f"use a model whose model_type is {' or '.join(CLASSES)}"
        raise ModelError(model, f"{path_or_id} holds a model of type {kind!r}", repair)
    return CLASSES[kind], {name: False for name in _SHARED if kind == "mm-grounding-dino" and name not in told}


class GroundingDino(PhraseDetector):
    """A detector with text prompts.

    Args:
        model: GroundingDinoForObjectDetection or MMGroundingDinoForObjectDetection, on the runner's device.
    """

    def __init__(self, model: Any, prepared_by: Any, runner: Runner, thresholds: Thresholds | None = None) -> None:
        super().__init__(thresholds or Thresholds())
        self.runner = runner
        self._model, self._processor = model, prepared_by
        self._stop = prepared_by.tokenizer.convert_tokens_to_ids(".")
        if self._stop not in model.model.special_tokens.tolist():
            reason = f"its tokenizer gives the full stop the number {self._stop}, which the model does not know"
            raise ModelError(NAME, reason, "use the processor that was saved with the model")

    def warm_up(self) -> float:
        """See Runner.warm_up."""
        return self.runner.warm_up((ANYTHING,), lambda grey: self._forward(grey, (ANYTHING,)))

    def boxes(self, rgb: Rgb, categories: Sequence[str]) -> Boxes:
        """See PhraseDetector.boxes."""
        longest = int(self._model.config.max_text_len)
        tokens = self._processor.tokenizer
        prompts = prompts_of(categories, self.thresholds.at_once, longest, lambda text: len(tokens(text)["input_ids"]))
        return together(self.runner.over(prompts, self._forward(rgb, categories)))

    def _forward(self, rgb: Rgb, categories: Sequence[str]) -> Callable[[Sequence[tuple[str, ...]], int], list[Boxes]]:
        """Return the function that the runner calls with a batch of prompts and a longest side."""
        image, size = np.ascontiguousarray(rgb), (rgb.shape[0], rgb.shape[1])

        def forward(prompts: Sequence[tuple[str, ...]], longest_px: int) -> list[Boxes]:
            device, dtype = self.runner.device, self.runner.dtype
            prepare = self._processor.image_processor
            sides = capped(dict(prepare.size), longest_px)
            images = prepare(images=[image], size=sides, return_tensors="pt", **on_device(prepare, device))
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
            ids = texts["input_ids"]
            logits, boxes = output.logits[..., : ids.shape[1]].float(), output.pred_boxes.float()
            asked = texts["attention_mask"].bool()[:, None, :].expand_as(logits)
            check_finite(NAME, logits=logits[asked], boxes=boxes)
            found = []
            for row, prompt in enumerate(prompts):
                spans = dict(zip(prompt, spans_of(ids[row].tolist(), self._stop, prompt, NAME), strict=True))
                said, there = logits[row].cpu().numpy(), boxes[row].cpu().numpy()
                found.append(read_boxes(said, there, spans, categories, self.thresholds.score, size))
            return found

        return forward
