# SPDX-License-Identifier: Apache-2.0
"""Backend "sam2": masks by SAM 2 (2408.00714) for the boxes of any other grounder, and for points.

The image is prepared here, because the model's own image processor needs torchvision. The steps and their numbers are
those of its preprocessor_config.json. The image is encoded once per request; boxes or points are decoded in batches. A
box is not ambiguous, so one mask is decoded. A point may mean a part, an object or a group: three masks are decoded,
and the one with the highest score from the model is used (2408.00714, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ModelError, UnknownNameError
from spatial_vlm_ros.perception import load_grounder, parse_options
from spatial_vlm_ros.perception.backends.loading import model_folder, short
from spatial_vlm_ros.perception.backends.mask_upsampling import mask_above
from spatial_vlm_ros.perception.backends.model_inputs import image_config
from spatial_vlm_ros.perception.backends.onboard import Runner, check_finite, settings
from spatial_vlm_ros.perception.domain import domain_of
from spatial_vlm_ros.perception.grounder import Grounder, Grounding
from spatial_vlm_ros.perception.masking import masked_by
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
    """Turns an image into the model's input.

    Args:
        side: side of the square to which the image is stretched, pixels.
        factor: factor for 8-bit values.
        std: standard deviation of each channel, which divides.
    """

    side: int
    factor: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, rgb: Rgb, device: torch.device) -> torch.Tensor:
        """Turn (H, W, 3) uint8 into (1, 3, side, side) float32: bilinear, antialiased, 8-bit rounding, normalised."""
        import torch

        image = torch.tensor(rgb, device=device).permute(2, 0, 1)[None].float()
        sized = torch.nn.functional.interpolate(
            image, (self.side, self.side), mode="bilinear", align_corners=False, antialias=True
        )
        mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (sized.round().clamp(0.0, 255.0) * self.factor - mean) / std


class Segmenter:
    """Makes masks for boxes and points.

    Args:
        model: Sam2Model on the runner's device.
        runner: memory and time; its image size is not used, because the model takes one size only.
    """

    def __init__(self, model: Any, prepare: Preparation, runner: Runner) -> None:
        self.runner = runner
        self._model, self._prepare = model, prepare
        side = int(model.config.prompt_encoder_config.image_size)
        if prepare.side != side:
            reason = f"its preprocessor makes images of {prepare.side} px, but its model takes {side} px"
            raise ModelError(NAME, reason, "use the preprocessor_config.json that was saved with the model")

    def masks(self, rgb: Rgb, boxes: Sequence[Box]) -> tuple[Mask | None, ...]:
        """Make masks of the objects in boxes.

        Args:
            rgb: (H, W, 3) uint8.
            boxes: left, top, right, bottom in pixels.

        Returns:
            For each box (H, W) bool with pixels only inside the box, or None if there are none.
        """
        return tuple(self.runner.over(boxes, self._forward(rgb)))

    def point_masks(self, rgb: Rgb, points: Sequence[Point]) -> tuple[Mask | None, ...]:
        """Make masks of the objects at points.

        Args:
            rgb: (H, W, 3) uint8.
            points: x, y in pixels, (0, 0) being the top-left corner of the image.

        Returns:
            For each point (H, W) bool, or None if the model finds nothing.
        """
        return tuple(self.runner.over(points, self._at_points(rgb)))

    def warm_up(self) -> float:
        """Run once on a grey image with a full batch; returns the seconds it took."""
        grey = np.full((480, 640, 3), 127, np.uint8)
        boxes = [(160.0, 120.0, 480.0, 360.0)] * self.runner.settings.batch
        return self.runner.warm_up(boxes, self._forward(grey))

    def _forward(self, rgb: Rgb) -> Callable[[Sequence[Box], int], list[Mask | None]]:
        """Return the function that the runner calls with a batch of boxes."""
        decode, size = self._decoder(rgb), (rgb.shape[0], rgb.shape[1])

        def forward(boxes: Sequence[Box], _: int) -> list[Mask | None]:
            logits, _scores = decode(boxes, "input_boxes")
            masks = (mask_above(one[0], 0.0, size, box) for one, box in zip(logits, boxes, strict=True))
            return [mask if mask.any() else None for mask in masks]

        return forward

    def _at_points(self, rgb: Rgb) -> Callable[[Sequence[Point], int], list[Mask | None]]:
        """Return the function that the runner calls with a batch of points."""
        decode, size = self._decoder(rgb), (rgb.shape[0], rgb.shape[1])

        def forward(points: Sequence[Point], _: int) -> list[Mask | None]:
            logits, scores = decode(points, "input_points")
            best = (some[int(score.argmax())] for some, score in zip(logits, scores, strict=True))
            masks = (mask_above(one, 0.0, size) for one in best)
            return [mask if mask.any() else None for mask in masks]

        return forward

    def _decoder(
        self, rgb: Rgb
    ) -> Callable[[Sequence[Sequence[float]], str], tuple[torch.Tensor, npt.NDArray[np.float32]]]:
        """Return a function that decodes B prompts in pixels; it encodes the image at its first call.

        It returns logits (B, M, h, w) of the model's grid and (B, M) float32; M is 1 for boxes, 3 for points.
        """
        height, width = rgb.shape[:2]
        encoded: list[Any] = []

        def decode(prompts: Sequence[Sequence[float]], kind: str) -> tuple[torch.Tensor, npt.NDArray[np.float32]]:
            import torch

            device, dtype = self.runner.device, self.runner.dtype
            if not encoded:
                encoded.append(self._model.get_image_embeddings(self._prepare(rgb, device).to(dtype)))
            scale = torch.tensor([self._prepare.side / width, self._prepare.side / height], device=device)
            prompt = torch.tensor(prompts, device=device)[None] * scale.repeat(len(prompts[0]) // 2)
            given: dict[str, Any] = {kind: prompt.to(dtype)}
            if kind == "input_points":
                given = {
                    kind: prompt[:, :, None].to(dtype),  # one point per object
                    "input_labels": torch.ones((1, len(prompts), 1), dtype=torch.int32, device=device),
                }
            output = self._model(image_embeddings=list(encoded[0]), multimask_output=kind == "input_points", **given)
            logits, scores = output.pred_masks[0].float(), output.iou_scores[0].float()
            check_finite(NAME, masks=logits, scores=scores)
            return logits, scores.cpu().numpy()

        return decode


class MaskedGrounder:
    """A grounder whose boxes get masks; masks from the grounder itself are kept.

    All other methods of the grounder (`refer`, `answer`, `written`) are available too.
    """

    def __init__(self, grounder: Grounder, segmenter: Segmenter) -> None:
        self.grounder, self.segmenter = grounder, segmenter
        self.domain = domain_of(grounder)

    def __getattr__(self, name: str) -> Any:
        if name in ("grounder", "segmenter"):  # not yet made
            raise AttributeError(name)
        return getattr(self.grounder, name)

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Call the grounder and add masks; see Grounder.ground."""
        found = self.grounder.ground(rgb, phrases)
        bare = [n for n, detection in enumerate(found.detections) if detection.mask is None]
        masks = self.segmenter.masks(rgb, [found.detections[n].box_xyxy for n in bare])
        detections = list(found.detections)
        for n, mask in zip(bare, masks, strict=True):
            detections[n] = replace(detections[n], mask=mask)
        return replace(found, detections=tuple(detections))

    def masked(self, rgb: Rgb, detections: Sequence[Detection]) -> tuple[Detection, ...]:
        """Add masks to detections with boxes or points; see Masker.masked."""
        return masked_by(self.segmenter, rgb, detections)


def with_masks(grounder: Grounder, masks: str, masks_model: str, preset: str = "auto", **given: str) -> Grounder:
    """Add masks to a grounder as the options ask; the same grounder if no masks are wanted.

    Args:
        masks: "" for none, or a name of KINDS.
        masks_model: folder or id of the hub, for example "facebook/sam2.1-hiera-tiny".
        preset: see onboard.PRESETS.
    """
    return MaskedGrounder(grounder, chosen_segmenter(masks, masks_model, preset, **given)) if masks else grounder


def chosen_segmenter(masks: str, masks_model: str, preset: str = "auto", **given: str) -> Segmenter:
    """Load the mask model that the options ask for; arguments and errors as `with_masks`."""
    if masks not in KINDS:
        raise UnknownNameError("kind of masks", masks, KINDS)
    if not masks_model:
        raise InputError("option masks_model", "nothing", "a folder or a Hugging Face id", "name the SAM 2 model")
    return segmenter(masks_model, preset, **given)


def segmenter(model: str, preset: str = "auto", **given: str) -> Segmenter:
    """Load SAM 2; arguments and errors as `with_masks`."""
    runner = Runner(NAME, settings(preset, **given), resizes=False)
    prepare = preparation(model_folder(model, model=NAME))
    loaded = runner.load("Sam2Model", model, also=_SAME_WEIGHTS)
    runner.compile(loaded.vision_encoder)
    made = Segmenter(loaded, prepare, runner)
    if runner.settings.warm_up:
        made.warm_up()
    return made


def load(*, grounder: str, model: str, options: str = "", preset: str = "auto", **given: str) -> Grounder:
    """Load another backend and add masks to it.

    Args:
        model: folder or id of the SAM 2 model.
        options: options of that backend, "name=value name=value".
        preset: see onboard.PRESETS.
        **given: options of SAM 2; fields of onboard.RuntimeSettings.
    """
    return with_masks(load_grounder(grounder, parse_options(options)), NAME, model, preset, **given)


def preparation(folder: Path, *, model: str = NAME) -> Preparation:
    """Read the image preparation of a model.

    Args:
        model: the backend's name, for messages.
    """
    content = image_config(folder, model)
    if not content:
        raise ModelError(model, f"{folder / 'preprocessor_config.json'} is missing", "pass the model's whole folder")
    try:
        side, other = int(content["size"]["height"]), int(content["size"]["width"])
        mean, std = (_three(content[name]) for name in ("image_mean", "image_std"))
        factor = float(content.get("rescale_factor", 1 / 255))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"its preprocessor_config.json lacks a number: {short(error)}"
        raise ModelError(model, reason, "fetch the model again") from error
    if side != other or side < 1 or min(std) <= 0.0 or not all(map(math.isfinite, (factor, *mean, *std))):
        reason = "its preprocessor_config.json does not describe a square image with finite numbers"
        raise ModelError(model, reason, "fetch the model again")
    return Preparation(side, factor, mean, std)


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
