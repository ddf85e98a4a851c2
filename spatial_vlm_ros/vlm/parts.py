# SPDX-License-Identifier: Apache-2.0
"""Where the parts of a vision-language model are that remedies and diagnostics take hold of.

Published classes name the same parts differently. One line of `ARCHITECTURES` for each class; everything else in this
folder works on `Parts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from spatial_vlm_ros.errors import InputError, ModelError


@dataclass(frozen=True)
class Architecture:
    """Paths of parts below a model of one class.

    Args:
        vision: encoder; its input are pixels.
        projector: what it returns become the image tokens of the language model; see `Parts.projector`.
        language: decoder stack with `layers`, `rotary_emb` and `embed_tokens`.
        causal: whether no token of the prompt sees a later one; False for prefix language models.
        axes: of a position: 1 = the running index, 3 = time, row, column.
    """

    vision: str
    projector: str
    language: str
    causal: bool = True
    axes: int = 1


_LLAVA = Architecture("model.vision_tower", "model.multi_modal_projector", "model.language_model")
_QWEN = Architecture("model.visual", "model.visual.merger", "model.language_model", axes=3)
ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "llava": _LLAVA,
        "qwen2_vl": _QWEN,
        "qwen2_5_vl": _QWEN,
        "qwen3_vl": _QWEN,
        "paligemma": Architecture(
            "model.vision_tower", "model.multi_modal_projector", "model.language_model", causal=False
        ),
    }
)
"""`model_type` of the configuration → paths."""


@dataclass(frozen=True, eq=False)
class Parts:
    """Parts of a loaded model.

    Args:
        model: the whole, with `forward` and `generate`.
        kind: its `model_type`.
        vision: encoder.
        projector: module whose output, (..., D), are the image tokens; their order is the model's own (Qwen2.5-VL: by
            windows) and is set right afterwards, so what minds the order uses `image_tokens_changed`.
        language: decoder stack.
        layers: of the decoder, in order; each has `self_attn`.
        rotary: module that gives the cosines and sines of positions to all layers.
        embeddings: of text, (V, D).
        image_token_id: stands in `input_ids` where an image token goes.
        causal: whether no token of the prompt sees a later one.
        axes: of a position: 1 or 3.
    """

    model: nn.Module
    kind: str
    vision: nn.Module
    projector: nn.Module
    language: nn.Module
    layers: nn.ModuleList
    rotary: nn.Module
    embeddings: nn.Embedding
    image_token_id: int
    causal: bool
    axes: int

    def image_columns(self, input_ids: Tensor) -> Tensor:
        """Where image tokens stand: (B, N) bool.

        Args:
            input_ids: (B, N) int.

        Raises:
            InputError: a row without any.
        """
        columns = input_ids == self.image_token_id
        if not bool(columns.any(dim=-1).all()):
            raise InputError("prompt", "no image token", "an image in each prompt", "build it with the processor")
        return columns


def parts_of(model: nn.Module) -> Parts:
    """The parts of a model of transformers.

    Raises:
        ModelError: a class that is not in ARCHITECTURES, or one without a part that it should have.
    """
    name, config = type(model).__name__, getattr(model, "config", None)
    kind = str(getattr(config, "model_type", ""))
    found = ARCHITECTURES.get(kind)
    if config is None or found is None:
        known = ", ".join(ARCHITECTURES)
        needed = "vision tower, projector, and language model with layers, rotary_emb and embed_tokens"
        raise ModelError(name, f"model_type {kind!r} is not one of {known}", f"name its {needed} in vlm/parts.py")
    language = _part(model, found.language)
    return Parts(
        model, kind, _part(model, found.vision), _part(model, found.projector), language,
        _part(language, "layers"), _part(language, "rotary_emb"), _part(language, "embed_tokens"),
        int(config.image_token_id), found.causal, found.axes,
    )  # fmt: skip


def grids_of(parts: Parts, inputs: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Rows and columns of the image tokens of each row of a batch, which has one image a row.

    Args:
        parts: of the model.
        inputs: what its processor gave, or what reaches the model from `generate`, which drops grids that it has used:
            there they are read from the position ids of models that count in rows and columns.

    Raises:
        InputError: several images in a row, a number of tokens that is no square where the model's grids are
            squares, or no grid told where they are not.
    """
    counts = parts.image_columns(inputs["input_ids"]).sum(dim=-1).tolist()
    told = inputs.get("image_grid_thw")
    if told is not None:
        merge = int(parts.vision.spatial_merge_size)  # type: ignore[arg-type]
        grids = [(int(h) // merge, int(w) // merge) for _, h, w in told.tolist()]
    elif parts.axes > 1:
        grids = _counted_grids(parts, inputs)
    else:
        grids = [(math.isqrt(count), math.isqrt(count)) for count in counts]
    if [h * w for h, w in grids] != counts:
        got = f"{counts} image tokens for grids {grids}"
        raise InputError("prompt", got, "one image per row, with a square or stated grid")
    return grids


def _counted_grids(parts: Parts, inputs: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Grids from position ids (time, row, column last of their first axis); raises InputError where there are none."""
    ids = inputs.get("position_ids")
    if ids is None:
        raise InputError("prompt", "no image_grid_thw", "the grid of each image", "pass all outputs of the processor")
    grids = []
    for row, within in enumerate(parts.image_columns(inputs["input_ids"])):
        places = ids[-2:, row, within.to(ids.device)]
        height, width = (places.amax(dim=1) - places.amin(dim=1) + 1).tolist()
        grids.append((height, width))
    return grids


Change = Callable[[Tensor, int], Tensor]
"""Image tokens (N, D) of one row of the batch, and the row → as many tokens of the same size."""


@contextmanager
def image_tokens_changed(parts: Parts, change: Change, later: bool = True) -> Iterator[None]:
    """While it lasts, image tokens enter the language model changed; positions and text stay as they are.

    Features that a model adds to the same tokens in later layers (Qwen3-VL) are changed in the same way. Decoding
    steps, which bring no image, are left alone.

    Args:
        parts: of the model.
        change: called for each row of the batch, and once more for each later layer that gets features.
        later: whether features added in later layers are changed, too.
    """
    found: dict[str, Tensor] = {}

    def look(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        ids = named.get("input_ids", given[0] if given else None)
        found["columns"] = ids == parts.image_token_id if ids is not None else torch.zeros(0, dtype=torch.bool)

    def swap(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        columns, tokens = found["columns"], named.get("inputs_embeds")
        if tokens is None or columns.shape != tokens.shape[:2] or not bool(columns.any()):
            return given, named
        tokens = tokens.clone()
        for row, within in enumerate(columns):
            tokens[row, within] = change(tokens[row, within], row)
        levels = named.get("deepstack_visual_embeds")
        if later and levels is not None:
            counts = columns.sum(dim=-1).tolist()
            named["deepstack_visual_embeds"] = [
                torch.cat([change(part, row) for row, part in enumerate(torch.split(level, counts))])
                for level in levels
            ]
        return given, {**named, "inputs_embeds": tokens}

    handles = (
        parts.model.register_forward_pre_hook(look, with_kwargs=True),
        parts.language.register_forward_pre_hook(swap, with_kwargs=True),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _part(model: nn.Module, path: str) -> Any:
    """The module at a path; raises ModelError that names the path."""
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise ModelError(type(model).__name__, f"has no {path}", "name its parts in vlm/parts.py") from error


def finite(name: str, values: Tensor) -> Tensor:
    """The values; raises ModelError where one of them is no number, as after an overflow of float16."""
    if not bool(torch.isfinite(values).all()):
        raise ModelError(name, f"gives values of {values.dtype} that are not numbers", "load it as bfloat16 or float32")
    return values
