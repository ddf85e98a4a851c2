# SPDX-License-Identifier: Apache-2.0
"""Measure how attention to the image changes when its keys move a little farther in position.

In the last row of a prompt, the keys of image tokens are rotated by an extra step φ of position; the query, all other
keys and the contents of the tokens stay. With a = softmax(l), and α_V and α_T the attention on rotated and on other
tokens,

    g_V = sum over rotated tokens of (a / α_V) · dl/dφ,    g_T likewise over the others,

the derivative of the softmax is dα_V/dφ = α_V · α_T · (g_V - g_T). Source: Qi et al. (2025), Beyond Semantics. If only
image keys rotate, g_T is zero. Positions with several axes (time, row, column) step along all axes together, under the
scheme installed on the model (`vlm/remedies/positions.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.vlm.diagnostics.attention import Array, attending_by, one_prompt
from spatial_vlm_ros.vlm.parts import Parts, finite
from spatial_vlm_ros.vlm.remedies.positions import speeds_of

_NAME = "spatial_vlm_rows"
_found: dict[nn.Module, Row] = {}
"""Attention of a layer → its row; empty unless `rows_of` runs."""


@dataclass(frozen=True, eq=False)
class Row:
    """The last query of one layer and its keys, positions included.

    Args:
        query: (heads, D) float64.
        keys: (heads, N, D) float64.
        bias: (N,) float64, added to the logits: 0, or minus infinity for a masked token.
    """

    query: Tensor
    keys: Tensor
    bias: Tensor
    scaling: float


@dataclass(frozen=True, eq=False)
class RotarySensitivity:
    """All fields are (L, heads) float64; for several prompts with a leading axis of prompts.

    Args:
        image_slope: g_V, logits per step.
        text_slope: g_T, logits per step.
        slope: α_V · α_T · (g_V - g_T), per step.
    """

    image: Array
    text: Array
    image_slope: Array
    text_slope: Array
    slope: Array
    change: Array
    slope_change: Array
    step: float


def rows_of(parts: Parts, inputs: Mapping[str, Any]) -> list[Row]:
    """Record the last row of each layer for one prompt. Not thread-safe."""
    one_prompt(inputs)
    try:
        with torch.no_grad(), attending_by(parts, _NAME):
            parts.model(**inputs)
        found = [_found[layer.self_attn] for layer in parts.layers if layer.self_attn in _found]  # type: ignore[index]
    finally:
        _found.clear()
    if len(found) < len(parts.layers):
        name = type(parts.model).__name__
        raise ModelError(name, "computes attention in its own way", "use a class of transformers 5")
    return found


def rotary_sensitivity(parts: Parts, inputs: Mapping[str, Any], step: float = 1.0) -> RotarySensitivity:
    """Measure one prompt, with the keys of image tokens rotated by the scheme installed on the model.

    Args:
        step: step in positions for the finite differences.
    """
    turned = parts.image_columns(inputs["input_ids"])[0].cpu()
    if step == 0:
        raise InputError("step", "0", "a number other than 0", "rotate keys by a part of a position")
    rows = rows_of(parts, inputs)
    speeds = speeds_of(parts).double().cpu()
    told = [_sensitivity(row, turned, speeds, step) for row in rows]
    image, text, g_image, g_text, slope, change, g_change = (torch.stack(v).numpy() for v in zip(*told, strict=True))
    return RotarySensitivity(image, text, g_image, g_text, slope, change, g_change, step)


def attention_at(row: Row, turned: Tensor, speeds: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """Compute attention with some keys rotated by a step, and the slope of the logits there.

    Args:
        row: row of a layer.
        turned: (N,) bool, keys that are rotated.
        speeds: (F,) float64, radians per position; element i of a key rotates with element i + F, elements from 2 F on
            do not rotate.

    Returns:
        (heads, N) weights, and (heads, N) dl/dφ, zero where nothing rotates.
    """
    keys = torch.where(turned[None, :, None], _turn(row.keys, speeds, step), row.keys)
    weights = (torch.einsum("hd,hnd->hn", row.query, keys) * row.scaling + row.bias).softmax(-1)
    half = len(speeds)
    ahead = torch.zeros_like(keys)
    ahead[..., :half], ahead[..., half : 2 * half] = -keys[..., half : 2 * half] * speeds, keys[..., :half] * speeds
    slopes = torch.einsum("hd,hnd->hn", row.query, ahead) * row.scaling
    return weights, torch.where(turned, slopes, 0.0)


def _keep(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **named: Any) -> Any:
    _found[module] = _row(module, query, key, mask, named.get("scaling"))
    return ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, mask, **named)


def _sensitivity(row: Row, turned: Tensor, speeds: Tensor, step: float) -> tuple[Tensor, ...]:
    weights, slopes = attention_at(row, turned, speeds, 0.0)
    later, later_slopes = attention_at(row, turned, speeds, step)
    image, text = weights[:, turned].sum(-1), weights[:, ~turned].sum(-1)
    image_slope, text_slope = _mean(weights, slopes, turned), _mean(weights, slopes, ~turned)
    slope = image * text * (image_slope - text_slope)
    change = later[:, turned].sum(-1) - image
    return image, text, image_slope, text_slope, slope, change, _mean(later, later_slopes, turned) - image_slope


def _mean(weights: Tensor, slopes: Tensor, of: Tensor) -> Tensor:
    """(heads,) mean slopes of some tokens, weighted by attention; zero if they get none."""
    mass = weights[:, of].sum(-1)
    return torch.where(mass > 0, (weights * slopes)[:, of].sum(-1) / mass.clamp(min=1e-300), 0.0)


def _turn(keys: Tensor, speeds: Tensor, step: float) -> Tensor:
    half, angles = len(speeds), speeds * step
    first, second, rest = keys[..., :half], keys[..., half : 2 * half], keys[..., 2 * half :]
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine, rest], dim=-1)


def _row(module: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, scaling: float | None) -> Row:
    groups = query.shape[1] // key.shape[1]
    bias = torch.zeros(key.shape[2], dtype=torch.float64)
    if mask is not None:
        last = mask[0, 0, -1, : key.shape[2]].cpu()
        bias = torch.where(last, 0.0, -torch.inf).double() if last.dtype == torch.bool else last.double()
    keys = finite(type(module).__name__, key[0]).double().cpu().repeat_interleave(groups, dim=0)
    return Row(query[0, :, -1].double().cpu(), keys, bias, query.shape[-1] ** -0.5 if scaling is None else scaling)


AttentionInterface.register(_NAME, _keep)
AttentionMaskInterface.register(_NAME, sdpa_mask)  # without it no mask is made, and tokens see later ones
