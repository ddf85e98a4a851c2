# SPDX-License-Identifier: Apache-2.0
"""Backend "owl": OWL-ViT (2205.06230) and OWLv2 (2306.09683), detectors with text prompts, through transformers.

The image goes through the model once per request and phrases go through in batches; all phrases score the same boxes.
Images, tokens and boxes are prepared as in the backend "onnx", which runs the same models without torch. No processor
of transformers is needed; those of OWLv2 would need torchvision or scipy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.backends.detector_inputs import (
    PROMPT,
    ClipTokens,
    OwlPreparation,
    checked_prompt,
    image_config,
    owl_preparation,
    scored,
    tokens_for,
)
from spatial_vlm_ros.perception.backends.loading import model_folder, read_json
from spatial_vlm_ros.perception.backends.onboard import Runner, check_finite, settings
from spatial_vlm_ros.perception.backends.phrase_boxes import ANYTHING, Boxes, PhraseDetector, Thresholds
from spatial_vlm_ros.perception.backends.sam2 import with_masks
from spatial_vlm_ros.perception.grounder import Grounder
from spatial_vlm_ros.types import Rgb

if TYPE_CHECKING:
    import torch

NAME = "owl"
CLASSES: Mapping[str, str] = MappingProxyType(
    {"owlvit": "OwlViTForObjectDetection", "owlv2": "Owlv2ForObjectDetection"}
)
"""`model_type` of a config → class of transformers."""


def load(
    *,
    model: str,
    prompt: str = PROMPT,
    threshold: str = "0.1",
    iou: str = "0.5",
    most: str = "100",
    masks: str = "",
    masks_model: str = "",
    preset: str = "auto",
    **given: str,
) -> Grounder:
    """Load the backend. Options: docs/backends.md."""
    thresholds = Thresholds.read(threshold, iou, most)
    checked_prompt(prompt)
    runner = Runner(NAME, settings(preset, **given), resizes=False)
    folder = model_folder(model, model=NAME)
    kind = str(read_json(folder / "config.json", NAME).get("model_type"))
    if kind not in CLASSES:
        repair = f"use a model whose model_type is {' or '.join(CLASSES)}"
        raise ModelError(NAME, f"{model} holds a model of type {kind!r}", repair)
    detector = runner.load(CLASSES[kind], model)
    runner.compile(getattr(detector, kind).vision_model)
    prepare = owl_preparation(kind, image_config(folder, NAME), detector.config.vision_config.image_size)
    tokens = tokens_for(detector.config.text_config, model, model=NAME)
    grounder = OwlDetector(detector, prepare, tokens, runner, thresholds, prompt)
    if runner.settings.warm_up:
        grounder.warm_up()
    return with_masks(grounder, masks, masks_model, preset, **given)


class OwlDetector(PhraseDetector):
    """A detector with text prompts.

    Args:
        model: OwlViTForObjectDetection or Owlv2ForObjectDetection, on the runner's device.
        runner: memory and time; its image size is not used, because the model takes one size only.
        prompt: text in which a category stands for "{}".
    """

    def __init__(
        self,
        model: Any,
        prepare: OwlPreparation,
        tokens: ClipTokens,
        runner: Runner,
        thresholds: Thresholds,
        prompt: str = PROMPT,
    ) -> None:
        super().__init__(thresholds)
        self.runner = runner
        self._model, self._prepare, self._tokens = model, prepare, tokens
        self._prompt = checked_prompt(prompt)

    def boxes(self, rgb: Rgb, categories: Sequence[str]) -> Boxes:
        """See PhraseDetector.boxes; a box's score is the greatest score of all categories."""
        seen: list[tuple[torch.Tensor, npt.NDArray[np.float32]]] = []
        logits = self.runner.over(categories, self._forward(rgb, seen))
        size = (rgb.shape[0], rgb.shape[1])
        return scored(np.stack(logits, axis=1), seen[0][1], self._prepare, self.thresholds.score, size)

    def warm_up(self) -> float:
        """See Runner.warm_up."""
        return self.runner.warm_up(ANYTHING, lambda grey: self._forward(grey, []))

    def _forward(
        self, rgb: Rgb, seen: list[tuple[torch.Tensor, npt.NDArray[np.float32]]]
    ) -> Callable[[Sequence[str], int], list[npt.NDArray[np.float32]]]:
        """Return the function that the runner calls with a batch of categories; it gives logits (K,) for each.

        Args:
            rgb: (H, W, 3) uint8.
            seen: filled at the first call with the image features (1, K, D) and the boxes (K, 4).
        """

        def forward(categories: Sequence[str], _: int) -> list[npt.NDArray[np.float32]]:
            import torch

            device, model = self.runner.device, self._model
            if not seen:
                grid = model.image_embedder(torch.from_numpy(self._prepare(rgb)).to(device, self.runner.dtype))[0]
                features = grid.flatten(1, 2)
                boxes = model.box_predictor(features, grid).float()
                check_finite(NAME, boxes=boxes)
                seen.append((features, boxes[0].cpu().numpy()))
            base = getattr(model, model.config.model_type)
            texts = self._tokens([self._prompt.format(category) for category in categories])
            ids, mask = (torch.from_numpy(part).to(device) for part in texts)
            pooled = base.text_model(input_ids=ids, attention_mask=mask).pooler_output
            embedded = torch.nn.functional.normalize(base.text_projection(pooled), dim=-1)  # (C, D)
            logits = model.class_predictor(seen[0][0], embedded[None])[0].float()
            check_finite(NAME, logits=logits)
            return list(logits[0].T.cpu().numpy())

        return forward
