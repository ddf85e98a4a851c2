# SPDX-License-Identifier: Apache-2.0
"""Input preparation and box format of OWL-ViT (2205.06230) and OWLv2 (2306.09683); without torch.

The steps are those of transformers 5.23. OwlViTImageProcessorPil stretches the image with Pillow's bicubic filter.
Owlv2ImageProcessorPil scales to 0..1, pads to a square at the bottom and right, blurs if the image becomes smaller, and
interpolates linearly (scipy's `zoom` with grid_mode and mirrored borders). The padding is black: earlier versions
padded with grey, with which LVIS mAP is 43.4 instead of 44.0 (huggingface/transformers#41938).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.perception.backends.model_inputs import (
    BICUBIC,
    Ids,
    Pixels,
    check_steps,
    normalised,
    resized,
    scaling,
    unlike,
)
from spatial_vlm_ros.perception.backends.phrase_boxes import Boxes, clipped, corners, likely
from spatial_vlm_ros.types import Rgb

FAMILIES: Mapping[str, int] = MappingProxyType({"owlvit": 768, "owlv2": 960})
"""model_type → side of the image in pixels, of the published B/32 and B/16 models."""
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
PROMPT = "a photo of a {}"
LENGTH = 16  # tokens of a text in the published models
_TRUNCATE = 4.0  # standard deviations at which scipy.ndimage.gaussian_filter cuts off


@dataclass(frozen=True)
class OwlPreparation:
    """Turns an image into the model's input, and the model's boxes into pixels.

    Args:
        family: a name of FAMILIES.
        height: height of the model's input, pixels.
        width: width of the model's input, pixels.
        factor: factor for 8-bit values.
        std: standard deviation of each channel, which divides.
    """

    family: str
    height: int
    width: int
    factor: float = 1 / 255
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD

    def __call__(self, rgb: Rgb) -> Pixels:
        """Turn (H, W, 3) uint8 into normalised (1, 3, height, width) float32."""
        if self.family == "owlvit":
            image = resized(rgb, self.height, self.width, BICUBIC).astype(np.float32) * np.float32(self.factor)
        else:
            image = _squared(rgb.astype(np.float32) * np.float32(self.factor), self.height, self.width)
        return normalised(image, self.mean, self.std)

    def to_pixels(self, boxes: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[np.float64]:
        """Convert the model's boxes to pixels of the image.

        Args:
            boxes: (K, 4): centre x, centre y, width, height, relative to the model's input.
            size: (height, width) of the image in pixels.

        Returns:
            (K, 4) float64: left, top, right, bottom. Boxes of OWLv2 refer to the padded square.
        """
        return corners(boxes, size if self.family == "owlvit" else (max(size),) * 2)


def preparation(family: str, told: Mapping[str, Any], side: int | None = None) -> OwlPreparation:
    """Read the preparation from a model's files; missing values are as published.

    Args:
        family: a name of FAMILIES.
        told: content of preprocessor_config.json, or empty.
        side: side of the model's input if its config has it, pixels.
    """
    check_steps(told, family, ("do_resize", "do_rescale", "do_normalize", *(["do_pad"] if family == "owlv2" else [])))
    height, width = _sides(family, told.get("size"), side or FAMILIES[family])
    if side is not None and (height, width) != (side, side):
        raise unlike(family, f"makes images of {height}x{width}, but config.json says {side}x{side}")
    if told.get("do_center_crop") and _sides(family, told.get("crop_size"), height) != (height, width):
        raise unlike(family, "crops the image, which would move its boxes")
    if family == "owlvit" and told.get("resample", BICUBIC) != BICUBIC:
        raise unlike(family, f"resizes with filter {told['resample']}, but {family} uses {BICUBIC} (bicubic)")
    factor, mean, std = scaling(told, family, CLIP_MEAN, CLIP_STD)
    return OwlPreparation(family, height, width, factor, mean, std)


def checked_prompt(prompt: str) -> str:
    """Check that a prompt contains "{}", which stands for the category."""
    if prompt.count("{}") != 1:
        raise InputError("option prompt", repr(prompt), 'a text with one "{}"', f"for example {PROMPT!r}")
    return prompt


def scored(
    logits: npt.NDArray[Any], boxes: npt.NDArray[Any], prepare: OwlPreparation, least: float, size: tuple[int, int]
) -> Boxes:
    """Turn a model's output into boxes in pixels; a box's score is the greatest score of all categories.

    Args:
        logits: (K, C) of each box and category; minus infinity if the category was not asked.
        boxes: (K, 4), relative to the model's input.
        size: (height, width) of the image in pixels.
    """
    fit = likely(logits)
    score = fit.max(axis=1)
    kept = np.flatnonzero(score > least)
    return clipped(prepare.to_pixels(boxes[kept], size), score[kept], fit[kept], size)


def _sides(family: str, size: object, otherwise: int) -> tuple[int, int]:
    """Read height and width in any form used in published files."""
    if size is None:
        return otherwise, otherwise
    sides: list[Any]
    if isinstance(size, Mapping):
        sides = [size.get("height"), size.get("width")]
    else:
        sides = list(size) if isinstance(size, (list, tuple)) else [size, size]
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise unlike(family, f"has a size of {size}")
    return sides[0], sides[1]


def _squared(image: Pixels, height: int, width: int) -> Pixels:
    """Pad (H, W, 3) float32 to a square and resize it to (height, width, 3)."""
    rows, columns = image.shape[:2]
    side = max(rows, columns)
    padded = np.zeros((side, side, 3), np.float32)
    padded[:rows, :columns] = image
    kernels = [_gaussian((side / target - 1) / 2) for target in (width, height)]
    if any(len(kernel) > 1 for kernel in kernels):
        padded = cv2.sepFilter2D(padded, -1, kernels[0], kernels[1], borderType=cv2.BORDER_REFLECT_101)
    low, high, share = _between(side, height)
    tall = padded[low] * (1 - share)[:, None, None] + padded[high] * share[:, None, None]
    low, high, share = _between(side, width)
    return np.asarray(tall[:, low] * (1 - share)[None, :, None] + tall[:, high] * share[None, :, None], np.float32)


def _gaussian(sigma: float) -> npt.NDArray[np.float64]:
    """Weights of a normal distribution, cut off as in scipy; a single weight if nothing is blurred."""
    if sigma <= 0.0:
        return np.ones(1)
    reach = int(_TRUNCATE * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.asarray(weights / weights.sum())


def _between(side: int, target: int) -> tuple[Ids, Ids, Pixels]:
    """For each of `target` pixels: the two source pixels it lies between, and the weight of the second."""
    at = (np.arange(target) + 0.5) * side / target - 0.5
    low = np.floor(at)
    last = max(side - 1, 1)

    def mirrored(index: npt.NDArray[np.float64]) -> Ids:
        inside = np.abs(index.astype(np.int64))
        return np.minimum(np.where(inside > side - 1, 2 * last - inside, inside), side - 1)

    return mirrored(low), mirrored(low + 1), (at - low).astype(np.float32)
