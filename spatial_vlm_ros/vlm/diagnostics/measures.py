# SPDX-License-Identifier: Apache-2.0
"""What happens to image tokens inside a model: attention, norms, permuted or pooled tokens, and turned keys.

Attention is computed from the last query and all keys of each layer, which an attention implementation of our own
records before it runs the model's usual one: one row per layer, not the square matrices of `output_attentions`.

Where tokens are permuted or pooled, contents move and positions stay. A model whose answers hardly change uses its
image tokens as an unordered bag.

Turned keys: in the last row of a prompt, the keys of image tokens are rotated by an extra step φ of position; all else
stays. With a = softmax(l), and α_V and α_T the attention on rotated and on other tokens,

    g_V = sum over rotated tokens of (a / α_V) · dl/dφ,    g_T likewise over the others,

the derivative of the softmax is dα_V/dφ = α_V · α_T · (g_V - g_T). Source: Qi et al. (2025), Beyond Semantics. If only
image keys rotate, g_T is zero. Positions with several axes (time, row, column) step along all axes together, under the
scheme installed on the model (`vlm/remedies/positions.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.types.proportions import Interval, Share, wilson
from spatial_vlm_ros.vlm.diagnostics.items import ProbeItem
from spatial_vlm_ros.vlm.diagnostics.scores import paired_difference
from spatial_vlm_ros.vlm.parts import Change, Parts, finite, grids_of, image_tokens_changed
from spatial_vlm_ros.vlm.remedies.norms import image_norms, text_norms
from spatial_vlm_ros.vlm.remedies.positions import speeds_of

Array = npt.NDArray[np.float64]
Answers = npt.NDArray[np.bool_]
Asked = Callable[[ProbeItem], bool]
"""Asks an item's plain question; returns whether the answer is right."""

# ------------------------------------------------------------------------------------------------ attention

_NAME = "spatial_vlm_rows"
_found: dict[nn.Module, Row] = {}
"""Attention of a layer → its row; empty unless `rows_of` runs."""


@dataclass(frozen=True, eq=False)
class Row:
    """The last query of one layer and its keys, positions included; float64."""

    query: Tensor  # (heads, D)
    keys: Tensor  # (heads, N, D)
    bias: Tensor  # (N,), added to the logits: 0, or minus infinity for a masked token
    scaling: float
    softcap: float  # bound of the logits' size, as in Gemma 2; 0 = none

    @property
    def weights(self) -> Tensor:
        """(heads, N) attention."""
        logits = torch.einsum("hd,hnd->hn", self.query, self.keys) * self.scaling
        bounded = torch.tanh(logits / self.softcap) * self.softcap if self.softcap else logits
        return (bounded + self.bias).softmax(-1)


def rows_of(parts: Parts, inputs: Mapping[str, Any]) -> list[Row]:
    """Record the last row of each layer for one prompt. Not thread-safe."""
    if (prompts := len(inputs["input_ids"])) != 1:
        raise InputError("prompts", str(prompts), "one", "ask one question at a time")
    language: Any = parts.language
    before = language.config._attn_implementation
    language.set_attn_implementation(_NAME)
    try:
        with torch.no_grad():
            parts.model(**inputs)
        found = [_found[layer.self_attn] for layer in parts.layers if layer.self_attn in _found]  # type: ignore[index]
    finally:
        language.set_attn_implementation(before)
        _found.clear()
    if len(found) < len(parts.layers):
        name = type(parts.model).__name__
        raise ModelError(name, "computes attention in its own way", "use a class of transformers 5")
    return found


def _keep(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **named: Any) -> Any:
    bias, scaling = torch.zeros(key.shape[2], dtype=torch.float64), named.get("scaling")
    if mask is not None:
        last = mask[0, 0, -1, : key.shape[2]].cpu()
        bias = torch.where(last, 0.0, -torch.inf).double() if last.dtype == torch.bool else last.double()
    last_query, keys = (finite(type(module).__name__, one).double().cpu() for one in (query[0, :, -1], key[0]))
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    each = keys.repeat_interleave(len(last_query) // len(keys), dim=0)
    _found[module] = Row(last_query, each, bias, scaling, named.get("softcap") or 0.0)
    return ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, mask, **named)


AttentionInterface.register(_NAME, _keep)
AttentionMaskInterface.register(_NAME, sdpa_mask)  # without it no mask is made, and tokens see later ones


def attention_map(parts: Parts, inputs: Mapping[str, Any]) -> Array:
    """(L, rows, columns) attention of a prompt's last token on the image, mean of heads; a layer sums to its share."""
    rows, columns = rows_of(parts, inputs), parts.image_columns(inputs["input_ids"])[0].cpu()
    mean = torch.stack([row.weights.mean(0)[columns] for row in rows])
    return mean.reshape(len(rows), *grids_of(parts, inputs)[0]).numpy()


@dataclass(frozen=True, eq=False)
class Balance:
    """Share of attention on the image, among image and text.

    CMB = sum over image tokens of a / sum over image and text tokens of a, of the query that writes the first token of
    the answer. Source: Qi et al. (2025), Beyond Semantics, who leave the system prompt out. It can take most of the
    attention, so both ways of counting are reported.
    """

    with_system: Array  # (L, heads); all tokens but the image's count as text
    without_system: Array | None  # None if it is not marked; NaN where all attention was on it
    steps: int = 1  # tokens of the answer that are written


def modality_balance(parts: Parts, inputs: Mapping[str, Any], system: npt.NDArray[np.bool_] | None = None) -> Balance:
    """Measure CMB for one prompt; `system`: (N,) bool, tokens of the system prompt."""
    image = parts.image_columns(inputs["input_ids"])[0].cpu().numpy()
    if system is not None and (system.shape != image.shape or bool((system & image).any())):
        got = f"{system.shape}, {int((system & image).sum()) if system.shape == image.shape else 0} of the image"
        raise InputError("system prompt", got, f"{image.shape} without image tokens", "mark the tokens of the prompt")
    weights = torch.stack([row.weights for row in rows_of(parts, inputs)]).numpy()
    on_image = weights[..., image].sum(-1)
    with np.errstate(invalid="ignore"):
        return Balance(on_image, None if system is None else on_image / weights[..., ~system].sum(-1))


# ------------------------------------------------------------------------------------------------ norms


@dataclass(frozen=True)
class Loudness:
    """Mean Euclidean norms at the input of the decoder."""

    image: float
    text: float
    ratio: float  # image / text; near 1 a remedy for loud image tokens has nothing to correct


def loudness(parts: Parts, inputs: Mapping[str, Any]) -> Loudness:
    """Measure the norms for a batch of prompts with images. Source: Qi et al. (2025), Beyond Semantics."""
    image, text = image_norms(parts, [inputs]).mean, text_norms(parts).mean
    return Loudness(image, text, image / text)


# ------------------------------------------------------------------------------------------------ moved tokens

_RESAMPLES = 4000
_FEW = 0.01  # share of resamples in which a ratio may be undefined


@dataclass(frozen=True)
class Permutation:
    """Loss of accuracy by permuting image tokens.

    Args:
        permuted: accuracy of all seeds: k of n = items × seeds. Its interval treats the answers to one item as
            independent, so it is too narrow; the intervals below are not.
        psi: (original - permuted) / original; None if accuracy is too low for a ratio.
        corrected: (original - permuted) / (original - chance): 1 = all knowledge is lost. None if accuracy is not
            clearly above chance.
    """

    seeds: tuple[int, ...]
    original: Share
    permuted: Share
    psi: Interval | None
    corrected: Interval | None


@dataclass(frozen=True)
class Pooled:
    """Accuracy with pooled image tokens, of which at most `values` differ."""

    values: int
    accuracy: Share
    change: Interval


def permuted(seed: int, question: int = 0) -> Change:
    """Make a change that permutes image tokens: the same for all features of a row, another per question and seed.

    `question`: number of the question in the first row of the batch, from 0.
    """

    def change(tokens: Tensor, row: int) -> Tensor:
        return tokens[order_of(len(tokens), seed, question + row).to(tokens.device)]

    return change


def order_of(count: int, seed: int, question: int = 0) -> Tensor:
    """(count,) int64: slot → index of the token that moves there."""
    return torch.from_numpy(np.random.default_rng((seed, question)).permutation(count))


def pooled(grid: tuple[int, int], side: int) -> Change:
    """Make a change that replaces each image token by the mean of its cell; number and positions of tokens stay.

    Row r of H (of `grid`) belongs to row r · side // H of cells, so cells do not overlap, and differ by one token if
    the sides do not divide evenly. The published test gives the decoder fewer tokens; here only their contents are
    averaged.
    """
    rows, columns = (torch.arange(n) * min(side, n) // n for n in grid)
    cells = (rows[:, None] * side + columns[None]).flatten()

    def change(tokens: Tensor, _row: int) -> Tensor:
        if len(tokens) != len(cells):
            repair = "pass the grid of this image"
            raise InputError("image tokens", str(len(tokens)), f"{grid[0]} x {grid[1]}", repair)
        own = cells.to(tokens.device)
        sums = torch.zeros(int(own.max()) + 1, tokens.shape[1], device=tokens.device).index_add_(0, own, tokens.float())
        counts = torch.bincount(own, minlength=len(sums)).clamp(min=1)
        return (sums / counts[:, None])[own].to(tokens.dtype)

    return change


def permutation_sensitivity(
    parts: Parts, asked: Asked, items: Sequence[ProbeItem], seeds: tuple[int, ...], original: Answers
) -> Permutation:
    """Measure PSI over items. Each item has its own permutation, so intervals over items also cover permutations.

    `asked` asks the same model, one question per batch; `original`: (N,), right with tokens in order.
    """
    numbers = range(len(items))
    changed = [_asked_with(parts, asked, items, (permuted(seed, n) for n in numbers)) for seed in seeds]
    return permutation_scores(original, np.array(changed), np.array([item.chance for item in items]), seeds)


def pooling(
    parts: Parts,
    asked: Asked,
    grid_of: Callable[[ProbeItem], tuple[int, int]],
    items: Sequence[ProbeItem],
    sides: Sequence[int],
    original: Answers,
) -> tuple[Pooled, ...]:
    """Measure accuracy with the image tokens pooled to side × side means; see `permutation_sensitivity`."""
    told = []
    for side in sides:
        answers = _asked_with(parts, asked, items, (pooled(grid_of(item), side) for item in items))
        change = paired_difference(answers, original.tolist())
        told.append(Pooled(side * side, wilson(sum(answers), len(answers)), change))
    return tuple(told)


def _asked_with(parts: Parts, asked: Asked, items: Iterable[ProbeItem], changes: Iterable[Change]) -> list[bool]:
    right = []
    for item, change in zip(items, changes, strict=True):
        with image_tokens_changed(parts, change):
            right.append(asked(item))
    return right


def permutation_scores(original: Answers, permuted_: Answers, chance: Array, seeds: tuple[int, ...]) -> Permutation:
    """Compute PSI and its chance-corrected form, with 95 % percentile intervals of a bootstrap over items.

    An item is drawn with its answers to all permutations, so pairs stay together. PSI: Qi et al. (2025), Beyond
    Semantics. The larger the chance level, the smaller is PSI even if all knowledge is lost; hence the second form.
    Answers are right with tokens in order (N,) and permuted (S, N); `chance`: (N,).
    """
    values = np.stack([original.astype(float), permuted_.mean(axis=0), chance])
    drawn = np.random.default_rng(0).integers(0, len(original), (_RESAMPLES, len(original)))
    means = values[:, drawn].mean(axis=2)
    whole = values.mean(axis=1)
    return Permutation(
        seeds,
        wilson(int(original.sum()), len(original)),
        wilson(int(permuted_.sum()), permuted_.size),
        _ratio(whole, means, 0.0),
        _ratio(whole, means, 1.0),
    )


def _ratio(whole: Array, means: Array, less_chance: float) -> Interval | None:
    """(original - permuted) / (original - chance · less_chance); None if the denominator is often not above 0."""
    below = means[0] - less_chance * means[2]
    good = below > 0
    if good.mean() < 1 - _FEW or whole[0] - less_chance * whole[2] <= 0:
        return None
    low, high = np.quantile((means[0] - means[1])[good] / below[good], (0.025, 0.975))
    return Interval(float((whole[0] - whole[1]) / (whole[0] - less_chance * whole[2])), float(low), float(high))


# ------------------------------------------------------------------------------------------------ turned keys


@dataclass(frozen=True, eq=False)
class RotarySensitivity:
    """All fields are (L, heads) float64; for several prompts with a leading axis of prompts."""

    image: Array
    text: Array
    image_slope: Array  # g_V, logits per step
    text_slope: Array  # g_T, logits per step
    slope: Array  # α_V · α_T · (g_V - g_T), per step
    change: Array
    slope_change: Array
    step: float


def rotary_sensitivity(parts: Parts, inputs: Mapping[str, Any], step: float = 1.0) -> RotarySensitivity:
    """Measure one prompt, its image keys rotated by the installed scheme; finite differences `step` positions on."""
    turned = parts.image_columns(inputs["input_ids"])[0].cpu()
    rows, speeds = rows_of(parts, inputs), speeds_of(parts).double().cpu()
    told = []
    for row in rows:
        weights, slopes = attention_at(row, turned, speeds, 0.0)
        later, later_slopes = attention_at(row, turned, speeds, step)
        image, text = weights[:, turned].sum(-1), weights[:, ~turned].sum(-1)
        image_slope, text_slope = _mean(weights, slopes, turned), _mean(weights, slopes, ~turned)
        slope, change = image * text * (image_slope - text_slope), later[:, turned].sum(-1) - image
        later_change = _mean(later, later_slopes, turned) - image_slope
        told.append((image, text, image_slope, text_slope, slope, change, later_change))
    names = ("image", "text", "image_slope", "text_slope", "slope", "change", "slope_change")
    found = dict(zip(names, (torch.stack(values).numpy() for values in zip(*told, strict=True)), strict=True))
    return RotarySensitivity(**found, step=step)


def attention_at(row: Row, turned: Tensor, speeds: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """(heads, N) attention with `turned` keys rotated by a step, and slopes dl/dφ there, zero where nothing rotates.

    `speeds`: (F,) float64, radians per position; element i of a key rotates with element i + F, those from 2 F on do
    not.
    """
    angles = speeds * step
    keys = torch.where(turned[None, :, None], _mixed(row.keys, angles.cos(), angles.sin(), 1.0), row.keys)
    ahead = _mixed(keys, torch.zeros_like(speeds), speeds, 0.0)
    slopes = torch.einsum("hd,hnd->hn", row.query, ahead) * row.scaling
    return replace(row, keys=keys).weights, torch.where(turned, slopes, 0.0)


def _mixed(keys: Tensor, own: Tensor, other: Tensor, rest: float) -> Tensor:
    """Each pair (x, y) of a key becomes (own x - other y, own y + other x); elements without a partner, rest x."""
    half = len(own)
    first, second = keys[..., :half], keys[..., half : 2 * half]
    pairs = first * own - second * other, second * own + first * other
    return torch.cat([*pairs, rest * keys[..., 2 * half :]], dim=-1)


def _mean(weights: Tensor, slopes: Tensor, of: Tensor) -> Tensor:
    """(heads,) mean slopes of some tokens, weighted by attention; zero if they get none."""
    mass = weights[:, of].sum(-1)
    return torch.where(mass > 0, (weights * slopes)[:, of].sum(-1) / mass.clamp(min=1e-300), 0.0)
