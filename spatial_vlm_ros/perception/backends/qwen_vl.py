# SPDX-License-Identifier: Apache-2.0
"""Backend "qwen-vl": Qwen2.5-VL and Qwen3-VL, which take text prompts and answer in JSON.

Qwen2.5-VL answers in pixels of the image as resized by its processor, Qwen3-VL in thousandths of each side.
`model_type` in config.json tells which of the two is loaded. The wording of the prompts is our own, close to that of
the models' documentation; it has not been measured on published weights. A reply is data: it is parsed strictly, never
evaluated, and never put into another prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from spatial_vlm_ros.errors import UnknownNameError
from spatial_vlm_ros.perception.backends import loading
from spatial_vlm_ros.perception.backends.families import FAMILIES as ROWS
from spatial_vlm_ros.perception.backends.placement import on_device
from spatial_vlm_ros.perception.backends.prompts import token_limit
from spatial_vlm_ros.perception.backends.remedied import RemedyOptions, check_chat_template, finished
from spatial_vlm_ros.perception.backends.word_model import WordModel, conversation

if TYPE_CHECKING:
    import torch

NAME = "qwen-vl"


@dataclass(frozen=True)
class Family:
    """One generation of the model: its classes in transformers and the coordinates of its answers."""

    model_class: str
    processor_class: str
    convention: str


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "qwen2_5_vl": Family(
            "Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLProcessor", ROWS["qwen2.5-vl"].convention
        ),
        "qwen3_vl": Family("Qwen3VLForConditionalGeneration", "Qwen3VLProcessor", ROWS["qwen3-vl"].convention),
    }
)
"""`model_type` of config.json → family."""


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
    """Load a Qwen2.5-VL or Qwen3-VL model, with the remedies that it was trained with and the requested ones.

    Args:
        model: folder with config, safetensors weights, tokenizer and chat template, or a hub id.
        max_new_tokens: longest reply, tokens; one box takes about 40.
        preset: see onboard.PRESETS.
        probe: "yes" or "no": whether to ask for shapes at known positions, to refuse a model that writes locations in
            another way; default: as warm_up.
        norm_dose: 0 to 1: how far norms of image tokens are moved towards the mean of text tokens (`norms.MeanNorm`);
            above 0 only with allow_untrained=yes.
        positions: name of a position scheme (`position_schemes.AXES`).
        allow_untrained: "yes" or "no": whether to apply remedies that the checkpoint was not trained with.
    """
    limit = token_limit(max_new_tokens)
    remedies = RemedyOptions(norm_dose, positions, attention, allow_untrained)
    runner, requested = remedies.runner(NAME, preset, given), remedies.requested(NAME, model)
    folder = loading.model_folder(model, model=NAME)
    kind = str(loading.read_json(folder / "config.json", NAME).get("model_type"))
    if kind not in FAMILIES:
        raise UnknownNameError("model_type of a Qwen-VL model", kind, FAMILIES)
    weights = runner.load(FAMILIES[kind].model_class, model)
    base = loading.transformers_class(FAMILIES[kind].processor_class, model=NAME)
    processor = loading.processor(model, model=NAME, cls=without_videos(base))
    check_chat_template(NAME, processor)
    row = next(row for row in ROWS.values() if kind in row.model_types)
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
        inputs = self._processor.apply_chat_template(
            [conversation(image, prompt) for prompt in prompts],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={
                "text_kwargs": {"padding": True, "padding_side": "left"},
                "images_kwargs": {"size": _areas(dict(images.size), image.size, longest_px), **self._images},
            },
        )
        _, down, across = (int(n) * int(images.patch_size) for n in inputs["image_grid_thw"][0])
        return inputs, (across, down)


def _areas(own: Mapping[str, int], size: tuple[int, int], longest_px: int) -> dict[str, int]:
    """Least and most pixels of the resized image; this processor calls them shortest and longest edge.

    Args:
        own: the processor's own limits.
        size: (width, height) of the image.
        longest_px: most pixels of the longest side, roughly: the processor rounds sides to its patches.
    """
    most, scale = int(own["longest_edge"]), longest_px / max(size)
    if scale < 1.0:
        most = min(most, max(1, round(size[0] * size[1] * scale**2)))
    return {"shortest_edge": min(int(own["shortest_edge"]), most), "longest_edge": most}


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
