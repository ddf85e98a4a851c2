# SPDX-License-Identifier: Apache-2.0
"""Backends "owl", "grounding-dino" and "sam3": detectors with text prompts through torch and transformers.

OWL-ViT (2205.06230) and OWLv2 (2306.09683): the image goes through the model once per request and phrases go through in
batches; all phrases score the same boxes. Images, tokens and boxes are prepared as in the backend "onnx", which runs
the same models without torch. No processor of transformers is needed; those of OWLv2 would need torchvision or scipy.

Grounding DINO (2303.05499), MM-Grounding-DINO (2401.02361) and LLMDet (2501.18954), whose checkpoints use transformers'
class of MM-Grounding-DINO (transformers, model_doc/mm-grounding-dino): see detector_inputs.py.

SAM 3 (2511.16719) gives a mask to every object that a short noun phrase names. The image is encoded once per request;
then each category is a prompt of its own, in batches. A score is the score of the object times the score that the
phrase is in the image at all, as in the model's post-processing in transformers
(`Sam3ImageProcessor.post_process_instance_segmentation`). The image is prepared as for SAM 2, because the model's own
image processor needs torchvision. The weights are under Meta's SAM License, not Apache-2.0, and are available only on
request to the owner (docs/models.md).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.backends import detector_inputs as inputs
from spatial_vlm_ros.perception.backends import phrase_boxes
from spatial_vlm_ros.perception.backends.loading import model_folder, processor, read_json
from spatial_vlm_ros.perception.backends.onboard import Runner, capped, check_finite, on_device, settings
from spatial_vlm_ros.perception.backends.options import number
from spatial_vlm_ros.perception.backends.phrase_boxes import ANYTHING, Boxes, PhraseDetector, Thresholds
from spatial_vlm_ros.perception.backends.sam2 import Preparation, mask_above, preparation, with_masks
from spatial_vlm_ros.perception.grounder import Grounder
from spatial_vlm_ros.types import Rgb

if TYPE_CHECKING:
    import torch

OWL, DINO, SAM3 = "owl", "grounding-dino", "sam3"
OWL_CLASSES: Mapping[str, str] = MappingProxyType(
    {"owlvit": "OwlViTForObjectDetection", "owlv2": "Owlv2ForObjectDetection"}
)
DINO_CLASSES: Mapping[str, str] = MappingProxyType(
    {"grounding-dino": "GroundingDinoForObjectDetection", "mm-grounding-dino": "MMGroundingDinoForObjectDetection"}
)
"""`model_type` of a config → class of transformers."""
_SHARED = ("decoder_bbox_embed_share", "decoder_cls_embed_share")
_SAME_WEIGHTS = ("sam3_video",)  # published folders hold the video model, which contains the whole image model


def load_owl(
    *,
    model: str,
    prompt: str = inputs.PROMPT,
    threshold: str = "0.1",
    iou: str = "0.5",
    most: str = "100",
    masks: str = "",
    masks_model: str = "",
    preset: str = "auto",
    **given: str,
) -> Grounder:
    """Load the backend "owl". Options: docs/backends.md."""
    thresholds = Thresholds.read(threshold, iou, most)
    inputs.checked_prompt(prompt)
    runner = Runner(OWL, settings(preset, **given), resizes=False)
    kind, _ = _described(model, OWL, OWL_CLASSES)
    detector = runner.load(OWL_CLASSES[kind], model)
    runner.compile(getattr(detector, kind).vision_model)
    told, side = inputs.image_config(model_folder(model, model=OWL), OWL), detector.config.vision_config.image_size
    tokens = inputs.tokens_for(detector.config.text_config, model, model=OWL)
    prepare = inputs.owl_preparation(kind, told, side)
    grounder = OwlDetector(detector, runner, thresholds, prepare, tokens, prompt)
    return with_masks(grounder.ready(), masks, masks_model, preset, **given)


def load_dino(
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
    """Load the backend "grounding-dino". Options: docs/backends.md."""
    thresholds = Thresholds.read(threshold, iou, most, text_threshold, at_once)
    runner = Runner(DINO, settings(preset, **given))
    cls, unsaid = class_of(model, DINO)
    detector = runner.load(cls, model, arguments=unsaid)
    runner.compile(detector.model.backbone)
    grounder = GroundingDino(detector, runner, thresholds, processor(model, model=DINO))
    return with_masks(grounder.ready(), masks, masks_model, preset, **given)


def load_sam3(
    *,
    model: str,
    threshold: str = "0.5",
    mask_threshold: str = "0.5",
    iou: str = "0.8",
    most: str = "100",
    preset: str = "auto",
    **given: str,
) -> Grounder:
    """Load the backend "sam3". Options: docs/backends.md."""
    thresholds = Thresholds.read(threshold, iou, most)
    likely = number("mask_threshold", mask_threshold, float, 0.0, 1.0)
    runner = Runner(SAM3, settings(preset, **given), resizes=False)
    prepare = preparation(model_folder(model, model=SAM3), model=SAM3)
    loaded = runner.load("Sam3Model", model, also=_SAME_WEIGHTS)
    runner.compile(loaded.vision_encoder)
    tokens = inputs.tokens_for(loaded.config.text_config, model, model=SAM3)
    return ConceptDetector(loaded, runner, thresholds, prepare, tokens, likely).ready()


def _described(path_or_id: str, model: str, classes: Mapping[str, str]) -> tuple[str, Mapping[str, Any]]:
    told = read_json(model_folder(path_or_id, model=model) / "config.json", model)
    kind = str(told.get("model_type"))
    if kind not in classes:
        repair = f"use a model whose model_type is {' or '.join(classes)}"
        raise ModelError(model, f"{path_or_id} holds a model of type {kind!r}", repair)
    return kind, told


def class_of(path_or_id: str, model: str) -> tuple[str, dict[str, bool]]:
    """Return the class of a folder's Grounding DINO, and the settings that its config omits but that it needs.

    If the config of an MM-Grounding-DINO does not say whether the decoder's layers share their heads, they do not:
    transformers 4.55 to 4.57, which wrote such configs, had one head per layer, as MM-Grounding-DINO and LLMDet were
    trained (huggingface/transformers#37925). Transformers 5 assumes that they are shared, and then refines boxes only
    with the head of the first layer (seen with 5.23).
    """
    kind, told = _described(path_or_id, model, DINO_CLASSES)
    return DINO_CLASSES[kind], {name: False for name in _SHARED if kind == "mm-grounding-dino" and name not in told}


@dataclass(eq=False)
class TorchDetector(PhraseDetector):
    """A detector on a runner, which goes over its prompts."""

    model: Any
    runner: Runner
    thresholds: Thresholds
    _anything: ClassVar[Any] = ANYTHING

    def warm_up(self) -> float:
        """See Runner.warm_up."""
        return self.runner.warm_up(self._anything, lambda grey: self._forward(grey, (ANYTHING,)))

    def ready(self) -> Grounder:
        """Return the detector, warmed up if its settings say so."""
        if self.runner.settings.warm_up:
            self.warm_up()
        return self

    def _forward(self, rgb: Rgb, categories: Sequence[str]) -> Callable[[Sequence[Any], int], list[Any]]:
        """The function that a runner calls with prompts and a longest side; `categories` are the columns of `fit`."""
        raise NotImplementedError


@dataclass(eq=False)
class OwlDetector(TorchDetector):
    """OWL-ViT or OWLv2; a prompt is a category, which stands in a text for "{}"."""

    prepare: inputs.OwlPreparation
    tokens: inputs.ClipTokens
    prompt: str = inputs.PROMPT

    def boxes(self, rgb: Rgb, categories: Sequence[str]) -> Boxes:
        """See PhraseDetector.boxes; a box's score is the greatest score of all categories."""
        found = self.runner.over(categories, self._forward(rgb, categories))
        logits, size = np.stack([one for one, _ in found], axis=1), (rgb.shape[0], rgb.shape[1])
        return inputs.scored(logits, found[0][1], self.prepare, self.thresholds.score, size)

    def _forward(
        self, rgb: Rgb, _: Sequence[str]
    ) -> Callable[[Sequence[str], int], list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]]:
        """For each category logits (K,), and the boxes (K, 4)."""
        import torch

        device, model = self.runner.device, self.model

        @functools.cache
        def encoded() -> tuple[torch.Tensor, npt.NDArray[np.float32]]:
            """Image features (1, K, D), and boxes."""
            grid = model.image_embedder(torch.from_numpy(self.prepare(rgb)).to(device, self.runner.dtype))[0]
            features = grid.flatten(1, 2)
            boxes = model.box_predictor(features, grid).float()
            check_finite(OWL, boxes=boxes)
            return features, boxes[0].cpu().numpy()

        def forward(asked: Sequence[str], _: int) -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
            features, boxes = encoded()
            base = getattr(model, model.config.model_type)
            texts = self.tokens([self.prompt.format(category) for category in asked])
            ids, mask = (torch.from_numpy(part).to(device) for part in texts)
            pooled = base.text_model(input_ids=ids, attention_mask=mask).pooler_output
            embedded = torch.nn.functional.normalize(base.text_projection(pooled), dim=-1)  # (C, D)
            logits = model.class_predictor(features, embedded[None])[0].float()
            check_finite(OWL, logits=logits)
            return [(one, boxes) for one in logits[0].T.cpu().numpy()]

        return forward


@dataclass(eq=False)
class GroundingDino(TorchDetector):
    """Grounding DINO or a relative; a prompt is a group of categories."""

    processor: Any
    _anything = (ANYTHING,)

    def __post_init__(self) -> None:
        self._stop = self.processor.tokenizer.convert_tokens_to_ids(".")
        if self._stop not in self.model.model.special_tokens.tolist():
            reason = f"its tokenizer gives the full stop the number {self._stop}, which the model does not know"
            raise ModelError(DINO, reason, "use the processor that was saved with the model")

    def boxes(self, rgb: Rgb, categories: Sequence[str]) -> Boxes:
        """See PhraseDetector.boxes."""
        longest = int(self.model.config.max_text_len)
        tokens = self.processor.tokenizer
        at_once = self.thresholds.at_once
        prompts = inputs.prompts_of(categories, at_once, longest, lambda text: len(tokens(text)["input_ids"]))
        return phrase_boxes.together(self.runner.over(prompts, self._forward(rgb, categories)))

    def _forward(self, rgb: Rgb, categories: Sequence[str]) -> Callable[[Sequence[tuple[str, ...]], int], list[Boxes]]:
        image, size = np.ascontiguousarray(rgb), (rgb.shape[0], rgb.shape[1])

        def forward(prompts: Sequence[tuple[str, ...]], longest_px: int) -> list[Boxes]:
            device, dtype = self.runner.device, self.runner.dtype
            prepare = self.processor.image_processor
            sides = capped(dict(prepare.size), longest_px)
            images = prepare(images=[image], size=sides, return_tensors="pt", **on_device(prepare, device))
            images = images.to(device, non_blocking=True)
            texts = self.processor.tokenizer(
                list(map(inputs.joined, prompts)), padding=True, return_token_type_ids=True, return_tensors="pt"
            ).to(device, non_blocking=True)
            n = len(prompts)
            output = self.model(
                pixel_values=images["pixel_values"].to(dtype).expand(n, -1, -1, -1),
                pixel_mask=images["pixel_mask"].expand(n, -1, -1),
                **texts,
            )
            ids = texts["input_ids"]
            logits, boxes = output.logits[..., : ids.shape[1]].float(), output.pred_boxes.float()
            asked = texts["attention_mask"].bool()[:, None, :].expand_as(logits)
            check_finite(DINO, logits=logits[asked], boxes=boxes)
            found = []
            for row, prompt in enumerate(prompts):
                spans = dict(zip(prompt, inputs.spans_of(ids[row].tolist(), self._stop, prompt, DINO), strict=True))
                said, there = logits[row].cpu().numpy(), boxes[row].cpu().numpy()
                found.append(inputs.read_boxes(said, there, spans, categories, self.thresholds.score, size))
            return found

        return forward


@dataclass(eq=False)
class ConceptDetector(TorchDetector):
    """SAM 3, which takes one noun phrase at a time and gives masks; a prompt is a category."""

    prepare: Preparation
    tokens: inputs.ClipTokens
    mask_threshold: float  # least probability of a pixel of a mask, 0 to 1

    def __post_init__(self) -> None:
        side = self.model.config.image_size  # a number, or height and width
        if (np.ravel(side) != self.prepare.side).any():
            reason = f"its preprocessor makes images of {self.prepare.side} px, but its model takes {side} px"
            raise ModelError(SAM3, reason, "use the preprocessor_config.json that was saved with the model")

    def boxes(self, rgb: Rgb, categories: Sequence[str]) -> Boxes:
        """See PhraseDetector.boxes: the `most` best objects of each category, with masks; they fit only that one."""
        return phrase_boxes.together(self.runner.over(categories, self._forward(rgb, categories)))

    def _forward(self, rgb: Rgb, categories: Sequence[str]) -> Callable[[Sequence[str], int], list[Boxes]]:
        import torch

        device, dtype = self.runner.device, self.runner.dtype

        @functools.cache
        def encoded() -> Any:
            return self.model.get_vision_features(self.prepare(rgb, device).to(dtype))

        def forward(asked: Sequence[str], _: int) -> list[Boxes]:
            ids, mask = (torch.from_numpy(part).to(device) for part in self.tokens(asked))
            many = {  # a batch of the same image; nothing is copied
                name: tuple(level.expand(len(asked), -1, -1, -1) for level in encoded()[name])
                for name in ("fpn_hidden_states", "fpn_position_encoding")
            }
            output = self.model(vision_embeds=type(encoded())(**many), input_ids=ids, attention_mask=mask)
            places = np.array([[category == one for category in categories] for one in asked], np.float64)
            return [self._read(output, n, place, (rgb.shape[0], rgb.shape[1])) for n, place in enumerate(places)]

        return forward

    def _read(self, output: Any, row: int, place: phrase_boxes.Array, size: tuple[int, int]) -> Boxes:
        """Read the objects of the category that `place` (C,) marks, with masks as precise as the number format is."""
        import torch

        logits, presence = output.pred_logits[row].float(), output.presence_logits[row].float()
        boxes = output.pred_boxes[row].float()
        check_finite(SAM3, logits=logits, presence=presence, boxes=boxes)
        scores = logits.sigmoid() * presence.sigmoid()
        best = scores.argsort(descending=True, stable=True)[: self.thresholds.most]
        kept = best[scores[best] > self.thresholds.score]
        score = scores[kept].cpu().numpy().astype(np.float64)
        xyxy = boxes[kept].cpu().numpy().astype(np.float64) * np.tile(size[::-1], 2)
        coarse = output.pred_masks[row, kept]
        check_finite(SAM3, masks=coarse)
        slack = torch.finfo(coarse.dtype).eps * max(size)
        masks = np.zeros((len(coarse), *size), np.bool_)
        for n, (one, box) in enumerate(zip(coarse, xyxy + slack * np.array([-1, -1, 1, 1]), strict=True)):
            masks[n] = mask_above(one.float().sigmoid(), self.mask_threshold, size, box.tolist())
        return phrase_boxes.clipped(xyxy, score, score[:, None] * place, size, masks)
