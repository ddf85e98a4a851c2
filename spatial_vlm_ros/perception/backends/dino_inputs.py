# SPDX-License-Identifier: Apache-2.0
"""What Grounding DINO (2303.05499) and its relatives are given, and what their boxes mean; without torch.

The steps are those of transformers 5.23 (GroundingDinoImageProcessorPil; `get_size_with_aspect_ratio` in
image_transforms.py): the shorter side becomes `shortest`, unless the longer one then exceeds `longest`; Pillow's
bilinear filter; the mean and standard deviation of ImageNet. A graph has one size: an image of another shape is made to
fit, and zeros at the right and bottom, masked, fill what is left, as transformers pads the images of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.perception.backends.model_inputs import (
    BILINEAR,
    Ids,
    Pixels,
    check_steps,
    normalised,
    read_tokenizer,
    resized,
    scaling,
    unlike,
)
from spatial_vlm_ros.perception.backends.onnx_session import NAME
from spatial_vlm_ros.types import Rgb

_FAMILY = "grounding-dino"  # all have its image processor
FAMILIES = (_FAMILY, "mm-grounding-dino")
"""model_types of a config; LLMDet is of the second."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SIZE: Mapping[str, int] = MappingProxyType({"shortest_edge": 800, "longest_edge": 1333})
LENGTH = 256  # tokens of a text, of the published models
TOKENS: Mapping[str, int] = MappingProxyType({"[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029})
"""Tokens that part a text, with the numbers that the models have built in (`SPECIAL_TOKENS` of transformers)."""


@dataclass(frozen=True)
class DinoPreparation:
    """How an image becomes the model's input.

    Args:
        shortest: side that an image's shorter one becomes, pixels.
        longest: most pixels of its longer side.
        height: of the model's input, pixels.
        width: of the model's input, pixels.
        factor: that 8-bit values are multiplied by.
        mean: of each channel, subtracted.
        std: of each channel, divided by.
    """

    shortest: int
    longest: int
    height: int
    width: int
    factor: float = 1 / 255
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __call__(self, rgb: Rgb) -> tuple[Pixels, Ids]:
        """(H, W, 3) uint8 → (1, 3, height, width) float32, normalised, and (1, height, width) int64: 1 = image.

        Raises:
            DependencyError: Pillow is not installed.
        """
        rows, columns = self.inner((rgb.shape[0], rgb.shape[1]))
        image = resized(rgb, rows, columns, BILINEAR).astype(np.float32) * np.float32(self.factor)
        pixels = np.zeros((1, 3, self.height, self.width), np.float32)
        mask = np.zeros((1, self.height, self.width), np.int64)
        pixels[..., :rows, :columns] = normalised(image, self.mean, self.std)
        mask[:, :rows, :columns] = 1
        return pixels, mask

    def inner(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) in pixels that an image of a size gets within the model's input."""
        rows, columns = scaled(size, self.shortest, self.longest)
        share = min(1.0, self.height / rows, self.width / columns)
        return max(1, min(self.height, round(rows * share))), max(1, min(self.width, round(columns * share)))


def scaled(size: tuple[int, int], shortest: int, longest: int) -> tuple[int, int]:
    """(height, width) that transformers resizes an image to, pixels.

    Args:
        size: (height, width) of the image.
        shortest: that its shorter side becomes, where the longer one allows it.
        longest: most pixels of its longer side.
    """
    small, large = min(size), max(size)
    exact = float(shortest)
    if large / small * shortest > longest:
        exact = longest * small / large
    short = round(exact)
    if small == short:
        return size
    long = int(exact * large / small)
    return (short, long) if size[0] <= size[1] else (long, short)


class DinoTokens:
    """Texts as the model's tokens.

    Args:
        folder: that holds tokenizer.json.
        longest: tokens of a text, its beginning and end included.

    Raises:
        DependencyError: tokenizers is not installed.
        ModelError: tokenizer.json is missing, damaged, or of another kind of model.
    """

    def __init__(self, folder: Path, longest: int = LENGTH) -> None:
        self.longest, self.stop = longest, TOKENS["."]
        self._tokenizer = read_tokenizer(folder, NAME)
        own = {token: self._tokenizer.token_to_id(token) for token in TOKENS}
        said = self._tokenizer.encode("a cup.").ids
        if own != TOKENS or said[:1] != [TOKENS["[CLS]"]] or said[-2:] != [TOKENS["."], TOKENS["[SEP]"]]:
            wanted = ", ".join(f"{token} {number}" for token, number in TOKENS.items())
            reason = f"{folder / 'tokenizer.json'} does not split texts into the tokens that the model knows ({wanted})"
            raise ModelError(NAME, reason, "use the tokenizer.json that was published with the model")

    def __call__(self, text: str) -> list[int]:
        """Numbers of a text's tokens."""
        return list(self._tokenizer.encode(text).ids)


def preparation(told: Mapping[str, Any]) -> DinoPreparation:
    """The preparation that an exported model's preprocessor_config.json describes.

    Args:
        told: its content, with the size of the graph's input as pad_size.

    Raises:
        ModelError: a step that these models do not have, or no sizes.
    """
    check_steps(told, _FAMILY, ("do_resize", "do_rescale", "do_normalize", "do_pad"))
    if told.get("resample", BILINEAR) != BILINEAR:
        raise unlike(_FAMILY, f"resizes with filter {told['resample']}, but Grounding DINO uses {BILINEAR} (bilinear)")
    shortest, longest = edges(told.get("size", dict(SIZE)))
    height, width = _sides(told.get("pad_size"), "pad_size", ("height", "width"))
    return DinoPreparation(shortest, longest, height, width, *scaling(told, _FAMILY, IMAGENET_MEAN, IMAGENET_STD))


def edges(size: object) -> tuple[int, int]:
    """Shortest and longest side that preprocessor_config.json names.

    Raises:
        ModelError: others, or none.
    """
    return _sides(size, "size", ("shortest_edge", "longest_edge"))


def _sides(size: object, name: str, keys: tuple[str, str]) -> tuple[int, int]:
    sides: list[Any] = [size.get(key) for key in keys] if isinstance(size, Mapping) else []
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise unlike(_FAMILY, f"has no {name} of {keys[0]} and {keys[1]}")
    return sides[0], sides[1]


def image_size(text: str) -> tuple[int, int]:
    """(height, width) of "640x480", which is width x height in pixels.

    Raises:
        InputError: another text, or a side of less than 32 or more than 8192 pixels.
    """
    width, _, height = text.partition("x")
    sides = [int(side) if side.isdecimal() else 0 for side in (height, width)]
    if not all(32 <= side <= 8192 for side in sides):
        raise InputError("image size", repr(text), "WIDTHxHEIGHT in pixels, 32 to 8192", "for example 640x480")
    return sides[0], sides[1]
