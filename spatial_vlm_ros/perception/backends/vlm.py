# SPDX-License-Identifier: Apache-2.0
"""Backends "vlm" and "qwen-vl": vision-language models of the families in `families`, run in this process.

transformers' AutoModelForImageTextToText chooses the class from the folder's config; code in a folder is never run.
Prompts and reply formats come from the row of the family or from options. docs/remedies.md has remedies and questions
by likelihood.

"qwen-vl" takes Qwen2.5-VL and Qwen3-VL, which answer in JSON: in pixels of the image as resized by the processor, and
in thousandths of each side. `model_type` in config.json tells which of the two is loaded. The wording of their prompts
is our own, close to that of the models' documentation; it has not been measured on published weights.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError, UnknownNameError
from spatial_vlm_ros.geometry.boxes import padded
from spatial_vlm_ros.perception.backends import loading
from spatial_vlm_ros.perception.backends.families import AUTO_CLASS, FAMILIES, ModelFamily, asked, warn_of_one
from spatial_vlm_ros.perception.backends.onboard import LANGUAGE_OPTIONS, on_device
from spatial_vlm_ros.perception.backends.prompts import mask_model_of, token_limit
from spatial_vlm_ros.perception.backends.word_model import (
    PreparePrompts,
    RemedyOptions,
    WordModel,
    chat_inputs,
    check_chat_template,
    finished,
    has_parts,
    refuse_remedies,
)
from spatial_vlm_ros.perception.coordinates import CONVENTIONS

if TYPE_CHECKING:
    import torch

QWEN = "qwen-vl"


QWEN_CLASSES: Mapping[str, str] = MappingProxyType(
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


def load_qwen(
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
    runner, requested = remedies.runner(QWEN, preset, given), remedies.requested(QWEN, model)
    folder = loading.model_folder(model, model=QWEN)
    kind = str(loading.read_json(folder / "config.json", QWEN).get("model_type"))
    if kind not in QWEN_CLASSES:
        raise UnknownNameError("model_type of a Qwen-VL model", kind, QWEN_CLASSES)
    weights = runner.load(QWEN_CLASSES[kind], model)
    processor = loading.processor(model, model=QWEN, cls=processor_class(kind, QWEN))
    check_chat_template(QWEN, processor)
    row = next(row for row in FAMILIES.values() if kind in row.model_types)
    prepare = QwenPrompts(processor, runner.device)
    return finished(
        QWEN, weights, processor, row, prepare, runner, limit, folder=folder, requested=requested, probe=probe
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


NAME = "vlm"

_BY_SERVER = "serve it with a program that has its code, and use the backend server"
_TOKENS = {"paligemma": ("<loc0000>", "<loc1023>")}
"""`model_type` → location tokens of the model, the first and the last."""


def load(
    *,
    model: str,
    family: str = "",
    prompt: str = "",
    convention: str = "",
    masks: str = "",
    masks_model: str = "",
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
    runner = remedies.runner(NAME, preset, given)
    folder = loading.model_folder(model, model=NAME)
    config = loading.read_json(folder / "config.json", NAME)
    kind = str(config.get("model_type"))
    row = asked(loading.model_name(model), family=family, prompt=prompt, convention=convention, model_type=kind)
    if row is None:
        raise InputError("option prompt", "nothing", "a text with {}", f"set prompt, or family: {', '.join(FAMILIES)}")
    if row.name in FAMILIES and NAME not in row.in_process:
        repair = f"use the backend {row.in_process[0]}" if row.in_process else _BY_SERVER
        raise ModelError(NAME, f"{folder.name} is of the family {row.name}: {row.why_not}", repair)
    cls = _class_of(kind, folder.name, brings_code="auto_map" in config)
    runner.check_class(cls)
    if not has_parts(kind):
        refuse_remedies(NAME, config, cls.__name__, remedies)
    requested = remedies.requested(NAME, model) if has_parts(kind) else None
    warn_of_one(row, model)
    shared = {name: value for name, value in given.items() if name not in LANGUAGE_OPTIONS}
    maker = mask_model_of(masks, masks_model, row, preset=preset, **shared)
    prepared_by = (
        _internvl_without_videos(loading.transformers_class("InternVLProcessor", model=NAME))
        if kind == "internvl"
        else processor_class(kind, NAME)
    )
    processor = loading.processor(model, model=NAME, cls=prepared_by)  # the first to report what is missing
    prepare = _preparation(processor, kind, row, runner.device)
    weights = runner.load(AUTO_CLASS, model)
    loading.check_tokens(processor.tokenizer, _TOKENS.get(kind, ()), weights, model=NAME)
    return finished(
        NAME, weights, processor, row, prepare, runner, limit,
        folder=folder, requested=requested, probe=probe, masks=maker,
    )  # fmt: skip


class ChatPrompts:
    """Makes inputs with a processor's chat template, or of image and prompt; implements PreparePrompts.

    Args:
        square: whether images are padded to a square first.
        chat: False for a model without chat template (PaliGemma).
    """

    def __init__(self, processor: Any, device: torch.device, *, square: bool = False, chat: bool = True) -> None:
        self._processor, self._images = processor, on_device(processor.image_processor, device)
        self._square, self._chat = square, chat

    def __call__(self, image: Any, prompts: Sequence[str], longest_px: int) -> tuple[Any, tuple[int, int]]:
        """See PreparePrompts."""
        if self._square:
            from PIL import Image

            image = Image.fromarray(padded(np.asarray(image.convert("RGB"))))
        shown = reduced(image, longest_px)
        if self._chat:
            return chat_inputs(self._processor, shown, prompts, self._images), shown.size
        inputs = self._processor(
            images=[[shown]] * len(prompts),
            text=[f"{self._processor.image_token}{prompt}" for prompt in prompts],
            padding=True,
            padding_side="left",
            **self._images,
        )
        inputs.pop("labels", None)  # training labels
        return inputs.convert_to_tensors("pt"), shown.size


def reduced(image: Any, longest_px: int) -> Any:
    """Shrink a PIL image whose longest side has more than `longest_px` pixels."""
    scale = longest_px / max(image.size)
    return image if scale >= 1.0 else image.resize(tuple(max(1, round(side * scale)) for side in image.size))


def _class_of(kind: str, folder: str, *, brings_code: bool) -> Any:
    """Return the class of transformers for a `model_type`."""
    loading.transformers_class(AUTO_CLASS, model=NAME)
    names = importlib.import_module("transformers.models.auto.modeling_auto").MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    if kind not in names:
        version = importlib.import_module("transformers").__version__
        reason = f"transformers {version} has no code for the model_type {kind!r} of {folder}"
        reason += ", and this package never runs code that comes with a model" if brings_code else ""
        raise ModelError(NAME, reason, f"{_BY_SERVER}, or update transformers")
    return loading.transformers_class(names[kind], model=NAME)


def _preparation(processor: Any, kind: str, row: ModelFamily, device: torch.device) -> PreparePrompts:
    """Return what makes the inputs of a model."""
    from spatial_vlm_ros.vlm.diagnostics.candidates import cuts_sides

    if kind in PROCESSORS:
        prepare: PreparePrompts = QwenPrompts(processor, device)
    elif CONVENTIONS[row.convention].unit == "resized":
        repair = "set convention=absolute if its pixels are those of the input image"
        raise InputError("option convention", row.convention, f"another one for a model of type {kind}", repair)
    elif kind == "paligemma":
        return ChatPrompts(processor, device, chat=False)
    else:
        square = CONVENTIONS[row.convention].unit == "square"
        if not square and cuts_sides(processor.image_processor):
            got = f"{row.convention}, with a processor that crops the sides of an image"
            repair = "set convention=square-fraction if the model was trained on padded images"
            raise InputError("option convention", got, "the whole image in a square", repair)
        prepare = ChatPrompts(processor, device, square=square)
    check_chat_template(NAME, processor)
    return prepare


def _internvl_without_videos(base: Any) -> Any:
    """Return InternVL's processor without its video part, which needs torchvision and is never used here."""

    def __init__(
        self: Any,
        image_processor: Any = None,
        tokenizer: Any = None,
        image_seq_length: int = 256,
        chat_template: str | None = None,
        **_: Any,
    ) -> None:
        super(base, self).__init__(image_processor, tokenizer, chat_template=chat_template)
        self.image_seq_length = image_seq_length
        for kind in ("start_image", "end_image"):
            setattr(self, f"{kind}_token", getattr(tokenizer, f"{kind}_token"))
            setattr(self, f"{kind}_token_id", getattr(tokenizer, f"{kind}_token_id"))
        self.image_token, self.image_token_id = tokenizer.context_image_token, tokenizer.context_image_token_id
        self.video_token = tokenizer.video_token
        self.multimodal_pattern = re.compile(
            f"(?P<image>{re.escape(self.image_token)})|(?P<video>{re.escape(self.video_token)})"
        )

    return type(base.__name__, (base,), {"__init__": __init__, "__doc__": base.__doc__})
