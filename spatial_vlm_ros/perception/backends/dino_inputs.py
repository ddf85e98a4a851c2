# SPDX-License-Identifier: Apache-2.0
"""Images, texts and box format of Grounding DINO (2303.05499) and its relatives; without torch.

The steps are those of transformers 5.23 (GroundingDinoImageProcessorPil; `get_size_with_aspect_ratio` in
image_transforms.py): the shorter side becomes `shortest`, unless the longer one then exceeds `longest`; Pillow's
bilinear filter; the mean and standard deviation of ImageNet. A graph has one input size. An image of another shape is
scaled to fit, and the rest at the right and bottom is filled with masked zeros, as transformers pads the images of a
batch.

Categories are asked together, as in "cat. soup can.": the model lets words see each other only between full stops, and
gives each box a score for every token. The score of a category for a box is the mean over its tokens, as in
MM-Grounding-DINO. A bottle opener therefore does not pass as a can opener because of "opener" alone. The score of the
box itself is the greatest of all its token scores, as in the model's post-processing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

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
from spatial_vlm_ros.perception.backends.phrase_boxes import Boxes, clipped, corners, likely
from spatial_vlm_ros.types import Rgb

_FAMILY = "grounding-dino"  # all use its image processor
FAMILIES = (_FAMILY, "mm-grounding-dino")
"""Values of `model_type` in a config; LLMDet uses the second."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SIZE: Mapping[str, int] = MappingProxyType({"shortest_edge": 800, "longest_edge": 1333})
LENGTH = 256  # tokens of a text in the published models
TOKENS: Mapping[str, int] = MappingProxyType({"[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029})
"""Tokens that separate texts, with the ids that are built into the models (`SPECIAL_TOKENS` of transformers)."""


@dataclass(frozen=True)
class DinoPreparation:
    """Turns an image into the model's input.

    Args:
        shortest: target length of an image's shorter side, pixels.
        longest: most pixels of its longer side.
        height: height of the model's input, pixels.
        width: width of the model's input, pixels.
        factor: factor for 8-bit values.
        std: standard deviation of each channel, which divides.
    """

    shortest: int
    longest: int
    height: int
    width: int
    factor: float = 1 / 255
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __call__(self, rgb: Rgb) -> tuple[Pixels, Ids]:
        """Turn (H, W, 3) uint8 into (1, 3, height, width) float32, normalised, and a (1, height, width) int64 mask.

        The mask is 1 where the image is.
        """
        rows, columns = self.inner((rgb.shape[0], rgb.shape[1]))
        image = resized(rgb, rows, columns, BILINEAR).astype(np.float32) * np.float32(self.factor)
        pixels = np.zeros((1, 3, self.height, self.width), np.float32)
        mask = np.zeros((1, self.height, self.width), np.int64)
        pixels[..., :rows, :columns] = normalised(image, self.mean, self.std)
        mask[:, :rows, :columns] = 1
        return pixels, mask

    def inner(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) in pixels that an image of this size takes within the model's input."""
        rows, columns = scaled(size, self.shortest, self.longest)
        share = min(1.0, self.height / rows, self.width / columns)
        return max(1, min(self.height, round(rows * share))), max(1, min(self.width, round(columns * share)))


def scaled(size: tuple[int, int], shortest: int, longest: int) -> tuple[int, int]:
    """Return the (height, width) in pixels to which transformers resizes an image.

    Args:
        size: (height, width) of the image.
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
    """Turns texts into tokens of a model.

    Args:
        longest: most tokens of a text, including the start and end tokens.
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
        """Return the token ids of a text."""
        return list(self._tokenizer.encode(text).ids)


def preparation(told: Mapping[str, Any]) -> DinoPreparation:
    """Read the preparation from an exported model's preprocessor_config.json.

    Args:
        told: its content, with the size of the graph's input as pad_size.
    """
    check_steps(told, _FAMILY, ("do_resize", "do_rescale", "do_normalize", "do_pad"))
    if told.get("resample", BILINEAR) != BILINEAR:
        raise unlike(_FAMILY, f"resizes with filter {told['resample']}, but Grounding DINO uses {BILINEAR} (bilinear)")
    shortest, longest = edges(told.get("size", dict(SIZE)))
    height, width = _sides(told.get("pad_size"), "pad_size", ("height", "width"))
    return DinoPreparation(shortest, longest, height, width, *scaling(told, _FAMILY, IMAGENET_MEAN, IMAGENET_STD))


def edges(size: object) -> tuple[int, int]:
    """Read the shortest and longest side from preprocessor_config.json."""
    return _sides(size, "size", ("shortest_edge", "longest_edge"))


def _sides(size: object, name: str, keys: tuple[str, str]) -> tuple[int, int]:
    sides: list[Any] = [size.get(key) for key in keys] if isinstance(size, Mapping) else []
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise unlike(_FAMILY, f"has no {name} of {keys[0]} and {keys[1]}")
    return sides[0], sides[1]


def image_size(text: str) -> tuple[int, int]:
    """Parse an image size such as "640x480" (width x height in pixels) into (height, width)."""
    width, _, height = text.partition("x")
    sides = [int(side) if side.isdecimal() else 0 for side in (height, width)]
    if not all(32 <= side <= 8192 for side in sides):
        raise InputError("image size", repr(text), "WIDTHxHEIGHT in pixels, 32 to 8192", "for example 640x480")
    return sides[0], sides[1]


def joined(categories: Sequence[str]) -> str:
    """Join categories into one text, such as "cat. soup can."."""
    return ". ".join(categories) + "."


def prompts_of(
    categories: Sequence[str], at_once: int, longest: int, tokens: Callable[[str], int]
) -> list[tuple[str, ...]]:
    """Group categories so that each group fits in one prompt.

    Args:
        at_once: most categories of a group.
        longest: most tokens of a group's text, including the start and end tokens.
    """
    prompts: list[tuple[str, ...]] = []
    group: tuple[str, ...] = ()
    for category in categories:
        if tokens(joined((category,))) > longest:
            expected = f"a text of {longest} tokens at most"
            raise InputError("category", repr(category), expected, "use fewer words")
        if group and (len(group) >= at_once or tokens(joined((*group, category))) > longest):
            prompts.append(group)
            group = ()
        group = (*group, category)
    return [*prompts, group]


def spans_of(ids: Sequence[int], stop: int, prompt: Sequence[str], model: str) -> list[slice]:
    """Find the token span of each category: each ends with a full stop, and the first begins after [CLS].

    Args:
        ids: tokens of the prompt's text.
    """
    stops = [n for n, token in enumerate(ids) if token == stop]
    spans = [slice(a + 1, b) for a, b in zip([0, *stops[:-1]], stops, strict=True)] if stops else []
    if len(spans) != len(prompt) or any(span.stop <= span.start for span in spans):
        reason = f"its tokenizer makes {len(spans)} parts of {joined(prompt)!r}"
        raise ModelError(model, reason, "use the tokenizer that was saved with the model")
    return spans


def read_boxes(
    logits: npt.NDArray[Any],
    boxes: npt.NDArray[Any],
    spans: dict[str, slice],
    categories: Sequence[str],
    least: float,
    size: tuple[int, int],
) -> Boxes:
    """Read the model's answer to a prompt: boxes above a score, clipped to the image.

    Args:
        logits: (Q, T) of Q boxes for T tokens; minus infinity for padding.
        boxes: (Q, 4): centre x, centre y, width, height, relative to the image.
        categories: categories of the whole request, the columns of `fit`; those of other prompts have the score 0.
        least: score, 0 to 1, that a box has to exceed.
        size: (height, width) of the image, pixels.
    """
    words = likely(logits)
    score = words.max(axis=1)
    kept = np.flatnonzero(score > least)
    fit = np.zeros((len(kept), len(categories)))
    for category, span in spans.items():
        fit[:, categories.index(category)] = words[kept, span].mean(axis=1)
    return clipped(corners(boxes[kept], size), score[kept], fit, size)
