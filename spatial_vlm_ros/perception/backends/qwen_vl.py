# SPDX-License-Identifier: Apache-2.0
"""Backend "qwen-vl": Qwen2.5-VL and Qwen3-VL, which take text prompts and answer in JSON.

Qwen2.5-VL answers in pixels of the image as resized by its processor, Qwen3-VL in thousandths of each side.
`model_type` in config.json tells which of the two is loaded. The wording of the prompts is our own, close to that of
the models' documentation; it has not been measured on published weights. A reply is data: it is parsed strictly, never
evaluated, and never put into another prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from spatial_vlm_ros.errors import UnknownNameError
from spatial_vlm_ros.perception.backends import loading
from spatial_vlm_ros.perception.backends.devices import on_device
from spatial_vlm_ros.perception.backends.families import FAMILIES
from spatial_vlm_ros.perception.backends.prompts import token_limit
from spatial_vlm_ros.perception.backends.word_model import (
    RemedyOptions,
    WordModel,
    chat_inputs,
    check_chat_template,
    finished,
)

if TYPE_CHECKING:
    import torch

NAME = "qwen-vl"


CLASSES: Mapping[str, str] = MappingProxyType(
    {"qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration", "qwen3_vl": "Qwen3VLForConditionalGeneration"}
)
"""`model_type` of config.json → class of transformers."""
PROCESSORS: Mapping[str, str] = MappingProxyType(
    {
        "qwen2_vl": "Qwen2VLProcessor",
        "qwen2_5_vl": "Qwen2_5_VLProcessor",
        "qwen3_vl": "Qwen3VLProcessor",
        "qwen3_vl_moe": "Qwen3VLProcessor",
    }
)
"""`model_type` → class of the processor, whose video part is left out."""


def load(
    *,
    model: str,
    max_new_tokens: str = "1024",
    preset: str = "auto",
    probe: str = "",
    norm_dose: str = "",
    positions: str = "",
    attention: str = "",
    allow_untrained: str = "no",
    **given: str,
) -> WordModel:
    """Load a model with the remedies that it was trained with and the requested ones. Options: docs/backends.md."""
    limit = token_limit(max_new_tokens)
    remedies = RemedyOptions(norm_dose, positions, attention, allow_untrained)
    runner, requested = remedies.runner(NAME, preset, given), remedies.requested(NAME, model)
    folder = loading.model_folder(model, model=NAME)
    kind = str(loading.read_json(folder / "config.json", NAME).get("model_type"))
    if kind not in CLASSES:
        raise UnknownNameError("model_type of a Qwen-VL model", kind, CLASSES)
    weights = runner.load(CLASSES[kind], model)
    processor = loading.processor(model, model=NAME, cls=processor_class(kind, NAME))
    check_chat_template(NAME, processor)
    row = next(row for row in FAMILIES.values() if kind in row.model_types)
    prepare = QwenPrompts(processor, runner.device)
    return finished(
        NAME, weights, processor, row, prepare, runner, limit, folder=folder, requested=requested, probe=probe
    )


class QwenPrompts:
    """Makes inputs of Qwen-VL models; implements PreparePrompts.

    Args:
        processor: Qwen2_5_VLProcessor or Qwen3VLProcessor.
    """

    def __init__(self, processor: Any, device: torch.device) -> None:
        self._processor, self._images = processor, on_device(processor.image_processor, device)

    def __call__(self, image: Any, prompts: Sequence[str], longest_px: int) -> tuple[Any, tuple[int, int]]:
        """See PreparePrompts."""
        images = self._processor.image_processor
        own, (width, height) = dict(images.size), image.size
        most, scale = int(own["longest_edge"]), longest_px / max(width, height)
        if scale < 1.0:  # roughly: the processor rounds sides to its patches
            most = min(most, max(1, round(width * height * scale**2)))
        # least and most pixels of the resized image; this processor calls them shortest and longest edge
        size = {"shortest_edge": min(int(own["shortest_edge"]), most), "longest_edge": most}
        inputs = chat_inputs(self._processor, image, prompts, {"size": size, **self._images})
        _, down, across = (int(n) * int(images.patch_size) for n in inputs["image_grid_thw"][0])
        return inputs, (across, down)


def processor_class(kind: str, model: str) -> str | type[Any]:
    """Return what loads the processor of a model class, without its video part.

    Args:
        kind: `model_type`.
    """
    if kind not in PROCESSORS:
        return "AutoProcessor"
    return without_videos(loading.transformers_class(PROCESSORS[kind], model=model))


def without_videos(base: Any) -> Any:
    """Return the family's processor without its video part, which needs torchvision and is never used here."""

    def __init__(
        self: Any, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None, **_: Any
    ) -> None:
        for kind in ("image", "video"):
            token = getattr(tokenizer, f"{kind}_token", f"<|{kind}_pad|>")
            setattr(self, f"{kind}_token", token)
            setattr(self, f"{kind}_token_id", tokenizer.convert_tokens_to_ids(token))
        super(base, self).__init__(image_processor, tokenizer, chat_template=chat_template)

    return type(base.__name__, (base,), {"__init__": __init__, "__doc__": base.__doc__})
