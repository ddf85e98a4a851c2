# SPDX-License-Identifier: Apache-2.0
"""Backend "sam2": masks by SAM 2 (2408.00714) for the boxes of any other grounder, and for points.

The image is prepared here, because the model's own image processor needs torchvision. The steps and their numbers are
those of its preprocessor_config.json. The image is encoded once per request; boxes or points are decoded in batches. A
box is not ambiguous, so one mask is decoded. A point may mean a part, an object or a group: three masks are decoded,
and the one with the highest score from the model is used (2408.00714, section 4).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError, UnknownNameError
from spatial_vlm_ros.perception import load_grounder, parse_options
from spatial_vlm_ros.perception.backends.detector_inputs import image_config, scaling, sides_of, unlike
from spatial_vlm_ros.perception.backends.loading import model_folder
from spatial_vlm_ros.perception.backends.onboard import Runner, check_finite, settings
from spatial_vlm_ros.perception.domain import domain_of
from spatial_vlm_ros.perception.grounder import Grounder, Grounding
from spatial_vlm_ros.perception.referring import masked_by
from spatial_vlm_ros.types import Detection, Mask, NounPhrase, Rgb

if TYPE_CHECKING:
    from pathlib import Path

    import torch

Box = tuple[float, float, float, float]
Point = tuple[float, float]

NAME = "sam2"
KINDS = (NAME,)
_SAME_WEIGHTS = ("sam2_video",)  # published folders hold the video model, which contains the whole image model


@dataclass(frozen=True)
class Preparation:
    """Turns an image into the model's input: a square of `side` pixels, 8-bit values times `factor`, normalised."""

    side: int
    factor: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, rgb: Rgb, device: torch.device) -> torch.Tensor:
        """Turn (H, W, 3) uint8 into (1, 3, side, side) float32: bilinear, antialiased, 8-bit rounding, normalised."""
        import torch

        image = torch.tensor(rgb, device=device).permute(2, 0, 1)[None].float()
        sized = torch.nn.functional.interpolate(
            image, (self.side, self.side), mode="bilinear", align_corners=False, antialias=True
        )
        mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (sized.round().clamp(0.0, 255.0) * self.factor - mean) / std


@dataclass(eq=False)
class Segmenter:
    """Makes masks for boxes and points."""

    model: Any  # Sam2Model on the runner's device
    prepare: Preparation
    runner: Runner  # memory and time; its image size is not used, because the model takes one size only

    def __post_init__(self) -> None:
        side = int(self.model.config.prompt_encoder_config.image_size)
        if self.prepare.side != side:
            reason = f"its preprocessor makes images of {self.prepare.side} px, but its model takes {side} px"
            raise ModelError(NAME, reason, "use the preprocessor_config.json that was saved with the model")

    def masks(self, rgb: Rgb, boxes: Sequence[Box]) -> tuple[Mask | None, ...]:
        """See MaskModel.masks; a mask has pixels only inside its box."""
        return tuple(self.runner.over(boxes, self._forward(rgb, "input_boxes")))

    def point_masks(self, rgb: Rgb, points: Sequence[Point]) -> tuple[Mask | None, ...]:
        """See MaskModel.point_masks; (0, 0) is the top-left corner of the image."""
        return tuple(self.runner.over(points, self._forward(rgb, "input_points")))

    def warm_up(self) -> float:
        """See Runner.warm_up."""
        return self.runner.warm_up((160.0, 120.0, 480.0, 360.0), lambda grey: self._forward(grey, "input_boxes"))

    def _forward(
        self, rgb: Rgb, kind: Literal["input_boxes", "input_points"]
    ) -> Callable[[Sequence[Sequence[float]], int], list[Mask | None]]:
        """Return the function that the runner calls with a batch of prompts, in pixels; it encodes the image once."""
        height, width = rgb.shape[:2]
        pointed, device, dtype = kind == "input_points", self.runner.device, self.runner.dtype

        @functools.cache
        def encoded() -> Any:
            return self.model.get_image_embeddings(self.prepare(rgb, device).to(dtype))

        def forward(prompts: Sequence[Sequence[float]], _: int) -> list[Mask | None]:
            import torch

            scale = torch.tensor([self.prepare.side / width, self.prepare.side / height], device=device)
            prompt = torch.tensor(prompts, device=device)[None] * scale.repeat(len(prompts[0]) // 2)
            given: dict[str, Any] = {kind: prompt.to(dtype)}
            if pointed:
                given = {
                    kind: prompt[:, :, None].to(dtype),  # one point per object
                    "input_labels": torch.ones((1, len(prompts), 1), dtype=torch.int32, device=device),
                }
            output = self.model(image_embeddings=list(encoded()), multimask_output=pointed, **given)
            logits, scores = output.pred_masks[0].float(), output.iou_scores[0].float()  # (B, M, h, w), (B, M)
            check_finite(NAME, masks=logits, scores=scores)
            best = scores.cpu().numpy().argmax(axis=1)  # M is 1 for boxes, 3 for points
            boxes: Sequence[Sequence[float] | None] = [None] * len(prompts) if pointed else prompts
            chosen = zip(logits, best, boxes, strict=True)
            masks = (mask_above(some[int(n)], 0.0, (height, width), box) for some, n, box in chosen)
            return [mask if mask.any() else None for mask in masks]

        return forward


class WrappedGrounder:
    """A grounder around another one; all methods that it does not have (`refer`, `answer`, …) are the other's."""

    def __init__(self, grounder: Grounder) -> None:
        self.grounder = grounder
        self.domain = domain_of(grounder)

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Call the grounder; see Grounder.ground."""
        return self.grounder.ground(rgb, phrases)

    def __getattr__(self, name: str) -> Any:
        if name == "grounder":  # not yet made
            raise AttributeError(name)
        return getattr(self.grounder, name)


class MaskedGrounder(WrappedGrounder):
    """A grounder whose boxes get masks; masks from the grounder itself are kept."""

    def __init__(self, grounder: Grounder, segmenter: Segmenter) -> None:
        super().__init__(grounder)
        self.segmenter = segmenter

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Call the grounder and add masks; see Grounder.ground."""
        found = self.grounder.ground(rgb, phrases)
        return replace(found, detections=masked_by(self.segmenter, rgb, found.detections))

    def masked(self, rgb: Rgb, detections: Sequence[Detection]) -> tuple[Detection, ...]:
        """Add masks to detections with boxes or points; see `masked_by`."""
        return masked_by(self.segmenter, rgb, detections)


def with_masks(grounder: Grounder, masks: str, masks_model: str, preset: str = "auto", **given: str) -> Grounder:
    """Add masks of one of KINDS to a grounder; the same grounder if no masks are wanted."""
    return MaskedGrounder(grounder, segmenter(masks_model, preset, masks=masks, **given)) if masks else grounder


def segmenter(masks_model: str, preset: str = "auto", *, masks: str = NAME, **given: str) -> Segmenter:
    """Load the mask model that the options ask for; arguments as `with_masks`."""
    if masks not in KINDS:
        raise UnknownNameError("kind of masks", masks, KINDS)
    if not masks_model:
        raise InputError("option masks_model", "nothing", "a folder or a Hugging Face id", "name the SAM 2 model")
    runner = Runner(NAME, settings(preset, **given), resizes=False)
    prepare = preparation(model_folder(masks_model, model=NAME))
    loaded = runner.load("Sam2Model", masks_model, also=_SAME_WEIGHTS)
    runner.compile(loaded.vision_encoder)
    made = Segmenter(loaded, prepare, runner)
    if runner.settings.warm_up:
        made.warm_up()
    return made


def load(*, grounder: str, model: str, options: str = "", preset: str = "auto", **given: str) -> Grounder:
    """Load another backend and add masks to it. Options: docs/backends.md."""
    return with_masks(load_grounder(grounder, parse_options(options)), NAME, model, preset, **given)


def preparation(folder: Path, *, model: str = NAME) -> Preparation:
    """Read the image preparation of a model."""
    content = image_config(folder, model)
    if not content:
        raise ModelError(model, f"{folder / 'preprocessor_config.json'} is missing", "pass the model's whole folder")
    side, other = sides_of(content, "size", model, ("height", "width"))
    if side != other:
        raise unlike(model, f"has a size of {side}x{other}, which is no square")
    return Preparation(side, *scaling(content, model, (), ()))


def mask_above(
    coarse: torch.Tensor, threshold: float, size: tuple[int, int], box: Sequence[float] | None = None
) -> Mask:
    """Enlarge a coarse grid to the image (height, width) and mark the pixels above a threshold, inside any box."""
    import torch

    height, width = size
    left, top, right, bottom = (0.0, 0.0, width, height) if box is None else box
    rows = slice(max(math.floor(top), 0), max(math.ceil(bottom), 0))
    columns = slice(max(math.floor(left), 0), max(math.ceil(right), 0))
    full = torch.nn.functional.interpolate(coarse[None, None], size, mode="bilinear", align_corners=False)[0, 0]
    mask: Mask = np.zeros(size, np.bool_)
    mask[rows, columns] = (full[rows, columns] > threshold).cpu().numpy()
    return mask
