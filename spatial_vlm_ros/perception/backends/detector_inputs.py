# SPDX-License-Identifier: Apache-2.0
"""Images, texts and box formats of detectors as transformers 5.23 prepares them; without torch and transformers.

OWL-ViT (2205.06230): OwlViTImageProcessorPil stretches the image with Pillow's bicubic filter. OWLv2 (2306.09683):
Owlv2ImageProcessorPil scales to 0..1, pads to a square at the bottom and right, blurs if the image becomes smaller, and
interpolates linearly (scipy's `zoom` with grid_mode and mirrored borders). The padding is black: earlier versions
padded with grey, with which LVIS mAP is 43.4 instead of 44.0 (huggingface/transformers#41938). Tokens are those of
CLIP's text model, which SAM 3 uses too.

Grounding DINO (2303.05499) and its relatives (GroundingDinoImageProcessorPil; `get_size_with_aspect_ratio` in
image_transforms.py): the shorter side becomes `shortest`, unless the longer one then exceeds `longest`; Pillow's
bilinear filter; the mean and standard deviation of ImageNet. A graph has one input size. An image of another shape is
scaled to fit, and the rest at the right and bottom is filled with masked zeros, as transformers pads the images of a
batch.

Its categories are asked together, as in "cat. soup can.": the model lets words see each other only between full stops,
and gives each box a score for every token. The score of a category for a box is the mean over its tokens, as in
MM-Grounding-DINO. A bottle opener therefore does not pass as a can opener because of "opener" alone. The score of the
box itself is the greatest of all its token scores, as in the model's post-processing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import DependencyError, InputError, ModelError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.perception.backends.loading import processor, read_json, short
from spatial_vlm_ros.perception.backends.onnx_session import NAME
from spatial_vlm_ros.perception.backends.phrase_boxes import Boxes, clipped, corners, likely
from spatial_vlm_ros.types import Rgb

Pixels = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

BILINEAR, BICUBIC = 2, 3  # filter numbers in preprocessor_config.json, as in Pillow
BEGIN, END = "<|startoftext|>", "<|endoftext|>"
_PADDING = 0  # id of "!", the padding of OWL-ViT and OWLv2; a text that begins with it counts as empty


def image_config(folder: Path, model: str) -> dict[str, Any]:
    """Read preprocessor_config.json, or its newer form in processor_config.json; empty if neither exists."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            told = read_json(folder / name, model)
            inner = told.get("image_processor")
            return inner if isinstance(inner, dict) else told
    return {}


def unlike(family: str, reason: str) -> ModelError:
    """Error that refuses a preprocessor_config.json."""
    repair = "use the files that were published with the model"
    return ModelError(family, f"its preprocessor_config.json {reason}", repair)


def check_steps(told: Mapping[str, Any], family: str, steps: Sequence[str]) -> None:
    """Refuse a preparation that belongs to another model, or a step that is present and not true."""
    name = family.replace("-", "")
    kind = str(told.get("image_processor_type") or told.get("feature_extractor_type") or name).lower()
    if not kind.startswith(name):
        raise unlike(family, f"belongs to {kind!r}, but the model is {family!r}")
    for step in steps:
        if told.get(step, True) is not True:
            raise unlike(family, f"says {step}={told[step]}, which {family} was not trained with")


def scaling(
    told: Mapping[str, Any], family: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    """Return the factor for 8-bit values, and each channel's mean and standard deviation, as told or by default."""
    factor = told.get("rescale_factor", 1 / 255)
    means, stds = _channels(told, family, "image_mean", mean), _channels(told, family, "image_std", std)
    if not isinstance(factor, float) or not 0.0 < factor <= 1.0 or min(stds) <= 0.0:
        raise unlike(family, "has a rescale_factor or image_std that is not positive")
    return factor, means, stds


def _channels(told: Mapping[str, Any], family: str, name: str, otherwise: tuple[float, ...]) -> tuple[float, ...]:
    values = told.get(name, otherwise)
    numbers = isinstance(values, (list, tuple)) and all(isinstance(v, float) and math.isfinite(v) for v in values)
    if not numbers or len(values) != 3:
        raise unlike(family, f"has an {name} that is not three numbers")
    return tuple(values)


def normalised(image: Pixels, mean: Sequence[float], std: Sequence[float]) -> Pixels:
    """Turn (H, W, 3) float32 into (1, 3, H, W) float32, minus the mean, divided by the standard deviation."""
    normal = (image - np.array(mean, np.float32)) / np.array(std, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1)[None])


def resized(rgb: Rgb, height: int, width: int, filter_number: int) -> Rgb:
    """Resize (H, W, 3) uint8 with Pillow, as transformers does."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DependencyError("pillow", install("onnx")) from error
    image = Image.fromarray(np.ascontiguousarray(rgb))
    return np.asarray(image.resize((width, height), Image.Resampling(filter_number)))


def read_tokenizer(folder: Path, model: str) -> Any:
    """Load the tokenizers.Tokenizer of a folder, without padding and truncation."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise DependencyError("tokenizers", install("onnx")) from error
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelError(model, f"{path} is missing", "pass the model's whole folder")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare exceptions
        raise ModelError(model, f"{path} cannot be read: {short(error)}", "fetch the model again") from error
    return whole(tokenizer)


def whole(tokenizer: Any) -> Any:
    """Turn off padding and truncation of a tokenizers.Tokenizer."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


class ClipTokens:
    """Turns phrases into tokens of a model, which knows `words` words; None = not known how many."""

    def __init__(self, tokenizer: Any, length: int, *, model: str, words: int | None = None) -> None:
        self._tokenizer, self.length = whole(tokenizer), length
        begin, end = (self._tokenizer.token_to_id(token) for token in (BEGIN, END))
        said = self._tokenizer.encode("a cup").ids
        repair = "use the tokenizer.json that was published with the model"
        if None in (begin, end) or said[:1] != [begin] or said[-1:] != [end] or max(said[:-1]) >= end:
            reason = f"its tokenizer does not put words between {BEGIN} and {END}, or numbers a token higher than {END}"
            raise ModelError(model, reason, repair)
        if words is not None and end >= words:
            raise ModelError(model, f"its tokenizer has {end + 1} words and its model {words}", repair)

    def __call__(self, texts: Sequence[str]) -> tuple[Ids, Ids]:
        """Tokenize N texts: input_ids and attention_mask, both (N, length) int64."""
        ids = np.full((len(texts), self.length), _PADDING, np.int64)
        mask = np.zeros((len(texts), self.length), np.int64)
        for n, encoding in enumerate(self._tokenizer.encode_batch(list(texts))):
            if len(encoding.ids) > self.length:
                expected = f"a text of {self.length - 2} tokens at most"
                raise InputError("category", repr(texts[n]), expected, "use fewer words")
            ids[n, : len(encoding.ids)] = encoding.ids
            mask[n, : len(encoding.ids)] = 1
        return ids, mask


def tokens_for(text_config: Any, path_or_id: str, *, model: str) -> ClipTokens:
    """Load the tokenizer of a transformers model, from whichever files it was published in."""
    tokenizer = processor(path_or_id, model=model, cls="CLIPTokenizer").backend_tokenizer
    length, words = text_config.max_position_embeddings, text_config.vocab_size
    return ClipTokens(tokenizer, length, model=model, words=words)


OWL_SIDES: Mapping[str, int] = MappingProxyType({"owlvit": 768, "owlv2": 960})
"""model_type → side of the image in pixels, of the published B/32 and B/16 models."""
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
PROMPT = "a photo of a {}"
OWL_LENGTH = 16  # tokens of a text in the published models
_TRUNCATE = 4.0  # standard deviations at which scipy.ndimage.gaussian_filter cuts off


@dataclass(frozen=True)
class OwlPreparation:
    """Turns an image into the model's input of height x width pixels, and the model's boxes into pixels."""

    family: str  # a name of OWL_SIDES
    height: int
    width: int
    factor: float = 1 / 255  # factor for 8-bit values
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD

    def __call__(self, rgb: Rgb) -> Pixels:
        """Turn (H, W, 3) uint8 into normalised (1, 3, height, width) float32."""
        if self.family == "owlvit":
            image = resized(rgb, self.height, self.width, BICUBIC).astype(np.float32) * np.float32(self.factor)
            return normalised(image, self.mean, self.std)

        # padded to a square, blurred if it becomes smaller, and resized
        rows, columns = rgb.shape[:2]
        side = max(rows, columns)
        padded = np.zeros((side, side, 3), np.float32)
        padded[:rows, :columns] = rgb.astype(np.float32) * np.float32(self.factor)
        blurs = [max((side / target - 1) / 2, 0.0) for target in (self.width, self.height)]  # standard deviations
        kernels = [cv2.getGaussianKernel(2 * int(_TRUNCATE * sigma + 0.5) + 1, sigma) for sigma in blurs]
        if any(len(kernel) > 1 for kernel in kernels):
            padded = cv2.sepFilter2D(padded, -1, kernels[0], kernels[1], borderType=cv2.BORDER_REFLECT_101)
        return normalised(_sampled(_sampled(padded, self.height, 0), self.width, 1), self.mean, self.std)

    def to_pixels(self, boxes: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[np.float64]:
        """Convert (K, 4) boxes of the model, for OWLv2 of the padded square, to pixels of the image; see `corners`."""
        return corners(boxes, size if self.family == "owlvit" else (max(size),) * 2)


def owl_preparation(family: str, told: Mapping[str, Any], side: int | None = None) -> OwlPreparation:
    """Read the preparation from preprocessor_config.json, if there is one; else as published, with this `side`."""
    check_steps(told, family, ("do_resize", "do_rescale", "do_normalize", *(["do_pad"] if family == "owlv2" else [])))
    published = side or OWL_SIDES[family]
    height, width = sides_of(told, "size", family, ("height", "width"), published)
    if side is not None and (height, width) != (side, side):
        raise unlike(family, f"makes images of {height}x{width}, but config.json says {side}x{side}")
    cropped = sides_of(told, "crop_size", family, ("height", "width"), height) if told.get("do_center_crop") else None
    if cropped not in (None, (height, width)):
        raise unlike(family, "crops the image, which would move its boxes")
    if family == "owlvit" and told.get("resample", BICUBIC) != BICUBIC:
        raise unlike(family, f"resizes with filter {told['resample']}, but {family} uses {BICUBIC} (bicubic)")
    factor, mean, std = scaling(told, family, CLIP_MEAN, CLIP_STD)
    return OwlPreparation(family, height, width, factor, mean, std)


def sides_of(
    told: Mapping[str, Any], name: str, family: str, keys: tuple[str, str], otherwise: int | None = None
) -> tuple[int, int]:
    """Read two sides, pixels; with a number for missing ones also a list or one number, as in published files."""
    size = told.get(name)
    sides: list[Any] = [size.get(key) for key in keys] if isinstance(size, Mapping) else []
    if otherwise is not None and not isinstance(size, Mapping):
        sides = list(size) if isinstance(size, (list, tuple)) else [otherwise if size is None else size] * 2
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise unlike(family, f"has no {name} of {keys[0]} and {keys[1]}, but {size}")
    return sides[0], sides[1]


def checked_prompt(prompt: str) -> str:
    """Check that a prompt contains "{}", which stands for the category."""
    if prompt.count("{}") != 1:
        raise InputError("option prompt", repr(prompt), 'a text with one "{}"', f"for example {PROMPT!r}")
    return prompt


def scored(
    logits: npt.NDArray[Any], boxes: npt.NDArray[Any], prepare: OwlPreparation, least: float, size: tuple[int, int]
) -> Boxes:
    """Turn (K, C) logits and (K, 4) boxes, relative to the input, into pixels; scores are the greatest of all C."""
    fit = likely(logits)
    score = fit.max(axis=1)
    kept = np.flatnonzero(score > least)
    return clipped(prepare.to_pixels(boxes[kept], size), score[kept], fit[kept], size)


def _sampled(image: Pixels, target: int, axis: int) -> Pixels:
    """Interpolate (H, W, 3) linearly to `target` pixels along an axis, with mirrored borders."""
    at = (np.arange(target) + 0.5) * image.shape[axis] / target + 0.5  # with one mirrored pixel at each end
    low = at.astype(np.intp)
    share = (at - low).astype(np.float32).reshape(-1, *[1] * (2 - axis))
    edged = np.pad(image, [(1, 1) if n == axis else (0, 0) for n in range(3)], "reflect")
    return np.asarray(edged.take(low, axis) * (1 - share) + edged.take(low + 1, axis) * share, np.float32)


_DINO = "grounding-dino"  # all use its image processor
DINO_FAMILIES = (_DINO, "mm-grounding-dino")
"""Values of `model_type` in a config; LLMDet uses the second."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_DINO_SIZE: Mapping[str, int] = MappingProxyType({"shortest_edge": 800, "longest_edge": 1333})
DINO_LENGTH = 256  # tokens of a text in the published models
TOKENS: Mapping[str, int] = MappingProxyType({"[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029})
"""Tokens that separate texts, with the ids that are built into the models (`SPECIAL_TOKENS` of transformers)."""


@dataclass(frozen=True)
class DinoPreparation:
    """Turns an image into the model's input of height x width pixels."""

    shortest: int  # target length of an image's shorter side, pixels
    longest: int  # most pixels of its longer side
    height: int
    width: int
    factor: float = 1 / 255  # factor for 8-bit values
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
    """Return the (height, width) in pixels to which transformers resizes an image of (height, width)."""
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
    """Turns texts of at most `longest` tokens, with the start and end tokens, into tokens of a model."""

    def __init__(self, folder: Path, longest: int = DINO_LENGTH) -> None:
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


def dino_preparation(told: Mapping[str, Any]) -> DinoPreparation:
    """Read the preparation from preprocessor_config.json, where pad_size is the size of the graph's input."""
    check_steps(told, _DINO, ("do_resize", "do_rescale", "do_normalize", "do_pad"))
    if told.get("resample", BILINEAR) != BILINEAR:
        raise unlike(_DINO, f"resizes with filter {told['resample']}, but Grounding DINO uses {BILINEAR} (bilinear)")
    shortest, longest = edges(told.get("size", _DINO_SIZE))
    height, width = sides_of(told, "pad_size", _DINO, ("height", "width"))
    return DinoPreparation(shortest, longest, height, width, *scaling(told, _DINO, IMAGENET_MEAN, IMAGENET_STD))


def edges(size: object) -> tuple[int, int]:
    """Read the shortest and longest side from preprocessor_config.json."""
    return sides_of({"size": size}, "size", _DINO, ("shortest_edge", "longest_edge"))


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
    """Group categories, `at_once` at most, so that the text of a group has at most `longest` tokens."""
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
    """Find the token span of each category: each ends with a full stop, and the first begins after [CLS]."""
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
        categories: those of the whole request, the columns of `fit`; those of other prompts have the score 0.
    """
    words = likely(logits)
    score = words.max(axis=1)
    kept = np.flatnonzero(score > least)
    fit = np.zeros((len(kept), len(categories)))
    for category, span in spans.items():
        fit[:, categories.index(category)] = words[kept, span].mean(axis=1)
    return clipped(corners(boxes[kept], size), score[kept], fit, size)
