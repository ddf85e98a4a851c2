# SPDX-License-Identifier: Apache-2.0
"""Locate the parts of a vision-language model that remedies and diagnostics work on, and its key-value cache.

Published classes name the same parts differently. `ARCHITECTURES` has one line per class; everything else in this
folder works on `Parts`. The cache is called `past_key_values` up to transformers 5.23 and `cache` after.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from spatial_vlm_ros.errors import InputError, ModelError


@dataclass(frozen=True)
class Architecture:
    """Paths of the parts in a model of one class."""

    vision: str
    projector: str
    language: str
    causal: bool = True  # whether no token of the prompt sees a later one; False for prefix language models
    axes: int = 1  # of a position: 1 = the running index, 3 = time, row, column


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

    The projector's output, (..., D), are the image tokens. Their order is the model's own (Qwen2.5-VL: by windows) and
    is corrected afterwards, so code that needs the order uses `image_tokens_changed`.
    """

    model: nn.Module
    kind: str
    vision: nn.Module
    projector: nn.Module
    language: nn.Module
    layers: nn.ModuleList  # of the decoder, in order; each has `self_attn`
    rotary: nn.Module
    embeddings: nn.Embedding  # (V, D), of text
    image_token_id: int
    causal: bool
    axes: int  # of a position: 1 or 3

    def image_columns(self, input_ids: Tensor) -> Tensor:
        """Mark the positions of image tokens in (B, N) ids: (B, N) bool."""
        columns = input_ids == self.image_token_id
        if not bool(columns.any(dim=-1).all()):
            raise InputError("prompt", "no image token", "an image in each prompt", "build it with the processor")
        return columns


def parts_of(model: nn.Module) -> Parts:
    """Find the parts of a transformers model; raises ModelError if its class is not in ARCHITECTURES or lacks one."""
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
    """Return rows and columns of the image tokens in each row of a batch with one image per row.

    Inputs are those of the processor, or the model's arguments within `generate`, which drops grids once used; they are
    then read from the position ids of models that count in rows and columns.
    """
    counts = parts.image_columns(inputs["input_ids"]).sum(dim=-1).tolist()
    told = inputs.get("image_grid_thw")
    if told is not None:
        merge = int(parts.vision.spatial_merge_size)  # type: ignore[arg-type]
        grids = [(int(h) // merge, int(w) // merge) for _, h, w in told.tolist()]
    elif parts.axes > 1:
        ids = inputs.get("position_ids")  # time, row, column last of their first axis
        if ids is None:
            repair = "pass all outputs of the processor"
            raise InputError("prompt", "no image_grid_thw", "the grid of each image", repair)
        grids = []
        for row, within in enumerate(parts.image_columns(inputs["input_ids"])):
            places = ids[-2:, row, within.to(ids.device)]
            height, width = (places.amax(dim=1) - places.amin(dim=1) + 1).tolist()
            grids.append((height, width))
    else:
        grids = [(math.isqrt(count), math.isqrt(count)) for count in counts]
    if [h * w for h, w in grids] != counts:
        got = f"{counts} image tokens for grids {grids}"
        raise InputError("prompt", got, "one image per row, with a square or stated grid")
    return grids


class Removable(ExitStack):
    """Holds changes to a model, as a context manager or until they are removed."""

    def remove(self) -> None:
        """Restore the model; a second call does nothing."""
        self.close()


Change = Callable[[Tensor, int], Tensor]
"""Image tokens (N, D) of one row of the batch, and the row → the same number of tokens of the same size."""


@contextmanager
def image_tokens_changed(parts: Parts, change: Change, later: bool = True) -> Iterator[None]:
    """Within this context, change the image tokens that enter the language model; positions and text stay.

    `later`: whether features that a model adds to the same tokens in later layers (Qwen3-VL) are changed, too, by
    another call for each. Decoding steps have no image and are not changed.
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
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise ModelError(type(model).__name__, f"has no {path}", "name its parts in vlm/parts.py") from error


def finite(name: str, values: Tensor) -> Tensor:
    """Return the values; raises ModelError if one is not finite, for example after an overflow of float16."""
    if not bool(torch.isfinite(values).all()):
        raise ModelError(name, f"gives values of {values.dtype} that are not numbers", "load it as bfloat16 or float32")
    return values


_NAMES = ("cache", "past_key_values")


def cache_argument(model: Any) -> str:
    """Name of the cache argument of `model.forward`."""
    return _NAMES[0] if _NAMES[0] in inspect.signature(model.forward).parameters else _NAMES[1]


def cache_of(told: Any) -> Any:
    """Find the cache in a model's output, or in its arguments by name; None if there is none."""
    if isinstance(told, Mapping):  # outputs of transformers are mappings too, without their old names
        return next((told[name] for name in _NAMES if told.get(name) is not None), None)
    return next((getattr(told, name) for name in _NAMES if getattr(told, name, None) is not None), None)
