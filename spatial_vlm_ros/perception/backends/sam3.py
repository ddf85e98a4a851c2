# SPDX-License-Identifier: Apache-2.0
"""Backend "sam3": SAM 3 (2511.16719), which gives a mask to every object that a short noun phrase names.

The image is encoded once per request; then each category is a prompt of its own, in batches. A score is the score of
the object times the score that the phrase is in the image at all, as in the model's post-processing in transformers
(`Sam3ImageProcessor.post_process_instance_segmentation`). The image is prepared as for SAM 2, because the model's own
image processor needs torchvision; tokens are made as for OWL.

The weights are under Meta's SAM License, not Apache-2.0, and are available only on request to the owner
(docs/models.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.perception.backends.detector_inputs import ClipTokens, tokens_for
from spatial_vlm_ros.perception.backends.loading import model_folder
from spatial_vlm_ros.perception.backends.onboard import Runner, check_finite, option, settings
from spatial_vlm_ros.perception.backends.phrase_boxes import (
    ANYTHING,
    Array,
    Boxes,
    PhraseDetector,
    Thresholds,
    clipped,
    together,
)
from spatial_vlm_ros.perception.backends.sam2 import Preparation, mask_above, preparation
from spatial_vlm_ros.perception.grounder import Grounder
from spatial_vlm_ros.types import Rgb

if TYPE_CHECKING:
    import torch

NAME = "sam3"
_SAME_WEIGHTS = ("sam3_video",)  # published folders hold the video model, which contains the whole image model


def load(
    *,
    model: str,
    threshold: str = "0.5",
    mask_threshold: str = "0.5",
    iou: str = "0.8",
    most: str = "100",
    preset: str = "auto",
    **given: str,
) -> Grounder:
    """Load the backend. Options: docs/backends.md."""
    thresholds = Thresholds.read(threshold, iou, most)
    likely = option("mask_threshold", mask_threshold, float)
    runner = Runner(NAME, settings(preset, **given), resizes=False)
    prepare = preparation(model_folder(model, model=NAME), model=NAME)
    loaded = runner.load("Sam3Model", model, also=_SAME_WEIGHTS)
    runner.compile(loaded.vision_encoder)
    tokens = tokens_for(loaded.config.text_config, model, model=NAME)
    grounder = ConceptDetector(loaded, prepare, tokens, runner, thresholds, likely)
    if runner.settings.warm_up:
        grounder.warm_up()
    return grounder


class ConceptDetector(PhraseDetector):
    """A detector that takes one noun phrase at a time and gives masks.

    Args:
        model: Sam3Model on the runner's device.
        runner: memory and time; its image size is not used, because the model takes one size only.
        mask_threshold: least probability of a pixel of a mask, 0 to 1.
    """

    def __init__(
        self,
        model: Any,
        prepare: Preparation,
        tokens: ClipTokens,
        runner: Runner,
        thresholds: Thresholds,
        mask_threshold: float = 0.5,
    ) -> None:
        if not 0.0 <= mask_threshold <= 1.0:
            raise InputError("mask_threshold", str(mask_threshold), "0 to 1")
        side = model.config.image_size  # a number, or height and width
        if (np.ravel(side) != prepare.side).any():
            reason = f"its preprocessor makes images of {prepare.side} px, but its model takes {side} px"
            raise ModelError(NAME, reason, "use the preprocessor_config.json that was saved with the model")
        super().__init__(thresholds)
        self.runner, self.mask_threshold = runner, mask_threshold
        self._model, self._prepare, self._tokens = model, prepare, tokens

    def boxes(self, rgb: Rgb, categories: Sequence[str]) -> Boxes:
        """See PhraseDetector.boxes: the `most` best objects of each category, with masks; they fit only that one."""
        return together(self.runner.over(categories, self._forward(rgb, categories)))

    def warm_up(self) -> float:
        """See Runner.warm_up."""
        return self.runner.warm_up(ANYTHING, lambda grey: self._forward(grey, (ANYTHING,)))

    def _forward(self, rgb: Rgb, categories: Sequence[str]) -> Callable[[Sequence[str], int], list[Boxes]]:
        """Return the function that the runner calls with a batch of categories; the first call encodes the image."""
        seen: list[Any] = []

        def forward(asked: Sequence[str], _: int) -> list[Boxes]:
            import torch

            device, dtype = self.runner.device, self.runner.dtype
            if not seen:
                seen.append(self._model.get_vision_features(self._prepare(rgb, device).to(dtype)))
            ids, mask = (torch.from_numpy(part).to(device) for part in self._tokens(asked))
            many = {  # a batch of the same image; nothing is copied
                name: tuple(level.expand(len(asked), -1, -1, -1) for level in seen[0][name])
                for name in ("fpn_hidden_states", "fpn_position_encoding")
            }
            output = self._model(vision_embeds=type(seen[0])(**many), input_ids=ids, attention_mask=mask)
            places = np.array([[category == one for category in categories] for one in asked], np.float64)
            return [self._read(output, n, place, (rgb.shape[0], rgb.shape[1])) for n, place in enumerate(places)]

        return forward

    def _read(self, output: Any, row: int, place: Array, size: tuple[int, int]) -> Boxes:
        """Read the objects of one category.

        Args:
            row: row of the category among them.
            place: (C,) 1 where the category is among all that are asked, else 0.
            size: (height, width) of the image in pixels.
        """
        logits, presence = output.pred_logits[row].float(), output.presence_logits[row].float()
        boxes = output.pred_boxes[row].float()
        check_finite(NAME, logits=logits, presence=presence, boxes=boxes)
        scores = logits.sigmoid() * presence.sigmoid()
        best = scores.argsort(descending=True, stable=True)[: self.thresholds.most]
        kept = best[scores[best] > self.thresholds.score]
        score = scores[kept].cpu().numpy().astype(np.float64)
        xyxy = boxes[kept].cpu().numpy().astype(np.float64) * np.tile(size[::-1], 2)
        masks = self._masks(output.pred_masks[row, kept], xyxy, size)
        return clipped(xyxy, score, score[:, None] * place, size, masks)

    def _masks(self, logits: torch.Tensor, xyxy: Array, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
        """Masks (K, H, W) of logits (K, h, w) within boxes (K, 4), as precise as the number format allows."""
        import torch

        check_finite(NAME, masks=logits)
        slack = torch.finfo(logits.dtype).eps * max(size)
        masks = np.zeros((len(logits), *size), np.bool_)
        for n, (one, (left, top, right, bottom)) in enumerate(zip(logits, xyxy, strict=True)):
            box = (left - slack, top - slack, right + slack, bottom + slack)
            masks[n] = mask_above(one.float().sigmoid(), self.mask_threshold, size, box)
        return masks
