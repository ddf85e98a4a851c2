# SPDX-License-Identifier: Apache-2.0
"""Read preprocessor_config.json and tokenizer.json of a published model; without torch and transformers.

The tokens are those of CLIP's text model, as OWL-ViT, OWLv2 and SAM 3 use them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import DependencyError, InputError, ModelError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.perception.backends.loading import processor, read_json, short
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
    """Error that refuses a preprocessor_config.json; `family` as in `check_steps`."""
    repair = "use the files that were published with the model"
    return ModelError(family, f"its preprocessor_config.json {reason}", repair)


def check_steps(told: Mapping[str, Any], family: str, steps: Sequence[str]) -> None:
    """Refuse a preparation that belongs to another model, or that leaves out a step.

    Args:
        told: content of preprocessor_config.json, or empty.
        steps: keys that have to be true if they are present.
    """
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
    """Return the factor for 8-bit values, and each channel's mean and standard deviation.

    Args:
        told: content of preprocessor_config.json, or empty.
        mean: default if the file has none.
        std: default if the file has none.
    """
    factor = told.get("rescale_factor", 1 / 255)
    means, stds = _channels(told, family, "image_mean", mean), _channels(told, family, "image_std", std)
    if not isinstance(factor, float) or not 0.0 < factor <= 1.0 or min(stds) <= 0.0:
        raise unlike(family, "has a rescale_factor or image_std that is not positive")
    return factor, means, stds


def _channels(told: Mapping[str, Any], family: str, name: str, otherwise: tuple[float, ...]) -> tuple[float, ...]:
    values = told.get(name, otherwise)
    if not isinstance(values, (list, tuple)) or len(values) != 3 or not all(isinstance(v, float) for v in values):
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
    """Turns phrases into tokens of a model.

    Args:
        words: words that the model knows; None = not known.
    """

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
