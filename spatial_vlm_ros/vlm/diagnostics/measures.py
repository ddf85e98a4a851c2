# SPDX-License-Identifier: Apache-2.0
"""What happens to image tokens inside a model: attention, norms, permuted or pooled tokens, and turned keys.

In transformers 5 a decoder returns its attention weights only with the implementation "eager"; other implementations
return None. The weights are read from each layer as it runs, and all rows but the last are dropped at once. Memory
therefore holds the square matrix of one layer, not of all layers as with `output_attentions`.

In the test with permuted or pooled tokens contents move and positions stay. A model whose answers hardly change uses
its image tokens as an unordered bag.

Turned keys: in the last row of a prompt, the keys of image tokens are rotated by an extra step φ of position; the
query, all other keys and the contents of the tokens stay. With a = softmax(l), and α_V and α_T the attention on rotated
and on other tokens,

    g_V = sum over rotated tokens of (a / α_V) · dl/dφ,    g_T likewise over the others,

the derivative of the softmax is dα_V/dφ = α_V · α_T · (g_V - g_T). Source: Qi et al. (2025), Beyond Semantics. If only
image keys rotate, g_T is zero. Positions with several axes (time, row, column) step along all axes together, under the
scheme installed on the model (`vlm/remedies/positions.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.types.proportions import Interval, Share, wilson
from spatial_vlm_ros.vlm.diagnostics.items import Answerer, ProbeItem, ask
from spatial_vlm_ros.vlm.diagnostics.scores import paired_difference
from spatial_vlm_ros.vlm.parts import Change, Parts, finite, grids_of, image_tokens_changed
from spatial_vlm_ros.vlm.remedies.norms import norm_of, text_norms
from spatial_vlm_ros.vlm.remedies.positions import speeds_of

Array = npt.NDArray[np.float64]


@contextmanager
def attending_by(parts: Parts, name: str) -> Iterator[None]:
    """Within this context, the decoder computes its attention with the implementation of that name."""
    before = parts.language.config._attn_implementation  # type: ignore[union-attr]
    parts.language.set_attn_implementation(name)  # type: ignore[operator]
    try:
        yield
    finally:
        parts.language.set_attn_implementation(before)  # type: ignore[operator]


@contextmanager
def last_rows(parts: Parts) -> Iterator[list[list[Tensor]]]:
    """Within this context, record the attention of the last query.

    Yields:
        One list per layer, which grows by (B, heads, keys) float32 with each run of the decoder.
    """
    rows: list[list[Tensor]] = [[] for _ in parts.layers]

    def keep(layer: int) -> Any:
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
            if weights is None:
                repair = "use a model class that implements eager attention"
                raise ModelError(type(module).__name__, "returns no attention weights", repair)
            rows[layer].append(finite(type(module).__name__, weights[:, :, -1].float()).detach().cpu())

        return hook

    with attending_by(parts, "eager"):
        handles = [layer.self_attn.register_forward_hook(keep(i)) for i, layer in enumerate(parts.layers)]
        try:
            yield rows
        finally:
            for handle in handles:
                handle.remove()


def attention_map(parts: Parts, inputs: Mapping[str, Any]) -> Array:
    """Compute the attention of a prompt's last token over the image, mean over heads.

    Returns:
        (L, rows, columns) float64; each layer sums to the share of its attention on the image.
    """
    one_prompt(inputs)
    height, width = grids_of(parts, inputs)[0]
    columns = parts.image_columns(inputs["input_ids"])[0].cpu()
    with torch.no_grad(), last_rows(parts) as rows:
        parts.model(**inputs)
    mean = torch.stack([row[-1][0].double().mean(0)[columns] for row in rows])
    return mean.reshape(len(rows), height, width).numpy()


@dataclass(frozen=True, eq=False)
class Balance:
    """Share of attention on the image, among image and text.

    CMB = sum over image tokens of a / sum over image and text tokens of a, of the last query, mean over decoding steps.
    Source: Qi et al. (2025), Beyond Semantics, who leave the system prompt out. It can take most of the attention, so
    both ways of counting are reported.

    Args:
        with_system: (L, heads) float64; all tokens but the image's count as text.
        without_system: (L, heads) float64; the tokens of the system prompt are ignored. None if the caller did not mark
            them. NaN where all attention was on them.
    """

    with_system: Array
    without_system: Array | None
    steps: int


def modality_balance(
    parts: Parts, inputs: Mapping[str, Any], steps: int = 1, system: npt.NDArray[np.bool_] | None = None
) -> Balance:
    """Measure CMB for one prompt. Generated tokens count as text.

    Args:
        steps: most tokens generated greedily.
        system: (N,) bool, tokens of the system prompt.
    """
    one_prompt(inputs)
    ids = inputs["input_ids"]
    image = parts.image_columns(ids)[0].cpu().numpy()
    if steps < 1:
        raise InputError("decoding steps", str(steps), "one or more, including the first answer token")
    if system is not None and (system.shape != image.shape or bool((system & image).any())):
        got = f"{system.shape}, {int((system & image).sum()) if system.shape == image.shape else 0} of the image"
        raise InputError("system prompt", got, f"{image.shape} without image tokens", "mark the tokens of the prompt")
    with torch.no_grad(), last_rows(parts) as rows:
        parts.model.generate(**inputs, max_new_tokens=steps, do_sample=False, num_beams=1)  # type: ignore[operator]
    told = len(rows[0])
    everything = [np.stack([layer[step][0].double().numpy() for layer in rows]) for step in range(told)]
    outside = None if system is None else np.mean([_share(a, image, system) for a in everything], axis=0)
    return Balance(np.mean([_share(a, image, np.zeros_like(image)) for a in everything], axis=0), outside, told)


def one_prompt(inputs: Mapping[str, Any]) -> None:
    """Raise InputError unless there is exactly one prompt."""
    rows = len(inputs["input_ids"])
    if rows != 1:
        raise InputError("prompts", str(rows), "one", "ask one question at a time")


def _share(weights: Array, image: npt.NDArray[np.bool_], ignored: npt.NDArray[np.bool_]) -> Array:
    """(L, heads) shares from weights (L, heads, keys); keys after the prompt are text."""
    beyond = weights.shape[-1] - len(image)
    seen, counted = np.pad(image, (0, beyond)), ~np.pad(ignored, (0, beyond))
    with np.errstate(invalid="ignore"):
        return weights[..., seen].sum(-1) / weights[..., counted].sum(-1)


@dataclass(frozen=True)
class Loudness:
    """Mean Euclidean norms at the input of the decoder.

    Args:
        ratio: image / text. Near 1 a remedy for loud image tokens has nothing to correct.
    """

    image: float
    text: float
    ratio: float


def loudness(parts: Parts, inputs: Mapping[str, Any]) -> Loudness:
    """Measure the norms for a batch of prompts with images. Source: Qi et al. (2025), Beyond Semantics."""
    parts.image_columns(inputs["input_ids"])
    seen: dict[int, Tensor] = {}

    def look(tokens: Tensor, row: int) -> Tensor:
        seen.setdefault(row, tokens)  # later features of the same row go to later layers
        return tokens

    with torch.no_grad(), image_tokens_changed(parts, look):
        parts.model(**inputs)
    image = norm_of(torch.cat([seen[row] for row in sorted(seen)]), type(parts.model).__name__)
    told, mean = float(image.mean()), text_norms(parts).mean
    return Loudness(told, mean, told / mean)


Answers = npt.NDArray[np.bool_]
_RESAMPLES = 4000
_FEW = 0.01  # share of resamples in which a ratio may be undefined


class GridAnswerer(Answerer, Protocol):
    """An Answerer that also gives the grid of the image tokens of a question."""

    def grid(self, rgb: Rgb, question: str, choices: Sequence[str]) -> tuple[int, int]:
        """Return rows and columns of the image tokens."""
        ...


@dataclass(frozen=True)
class Permutation:
    """Loss of accuracy by permuting image tokens.

    Args:
        original: accuracy with tokens in order.
        permuted: accuracy with tokens permuted, of all seeds: k of n = items × seeds. Its interval treats the answers
            to one item as independent, so it is too narrow; the intervals below are not.
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
    """Accuracy with pooled image tokens.

    Args:
        values: most different image tokens.
    """

    values: int
    accuracy: Share
    change: Interval


def permuted(seed: int, question: int = 0) -> Change:
    """Make a change that permutes image tokens: the same for all features of a row, another per question and seed.

    Args:
        seed: seed of the permutations, 0 or more.
        question: number of the question in the first row of the batch, from 0; the next rows are the next questions.
    """

    def change(tokens: Tensor, row: int) -> Tensor:
        return tokens[order_of(len(tokens), seed, question + row).to(tokens.device)]

    return change


def order_of(count: int, seed: int, question: int = 0) -> Tensor:
    """(count,) int64: slot → index of the token that moves there."""
    return torch.from_numpy(np.random.default_rng((seed, question)).permutation(count))


def pooled(grid: tuple[int, int], side: int) -> Change:
    """Make a change that replaces each image token by the mean of its cell; number and positions of tokens stay.

    Row r of H belongs to row r · side // H of cells, so cells do not overlap, and differ by one token if the sides do
    not divide evenly. The published test gives the decoder fewer tokens; here only their contents are averaged.

    Args:
        grid: rows and columns of the tokens.
    """
    if side < 1:
        raise InputError("cells", str(side), "one or more")
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
    parts: Parts,
    answerer: Answerer,
    items: Sequence[ProbeItem],
    seeds: Sequence[int] = (0, 1, 2),
    original: Answers | None = None,
) -> Permutation:
    """Measure PSI over items. Each item has its own permutation, so intervals over items also cover permutations.

    Args:
        answerer: asks the same model, one question per batch.
        items: items from `draw_items`; the permutation of an item depends on the seed and its index in the list.
        original: (N,) whether each answer is right with tokens in order, if known; else it is measured.
    """
    if not items or not seeds:
        raise InputError("permutation test", f"{len(items)} items, {len(seeds)} seeds", "at least one of each")
    if original is None:
        original = right(answerer, items)
    changed = np.empty((len(seeds), len(items)), bool)
    for i, seed in enumerate(seeds):
        for number, item in enumerate(items):
            with image_tokens_changed(parts, permuted(seed, number)):
                changed[i, number] = ask(answerer, item.plain) == item.truth
    chance = np.array([item.chance for item in items])
    return permutation_scores(original, changed, chance, tuple(seeds))


def pooling(
    parts: Parts,
    answerer: GridAnswerer,
    items: Sequence[ProbeItem],
    sides: Sequence[int] = (16, 8, 4, 1),
    original: Answers | None = None,
) -> tuple[Pooled, ...]:
    """Measure accuracy with the image tokens pooled to side × side means, for each side.

    Args:
        original: (N,) whether each answer is right with all tokens, if known; else it is measured.
    """
    if not items:
        raise InputError("questions", "none", "one or more", "draw some with draw_items")
    if original is None:
        original = right(answerer, items)
    told = []
    for side in sides:
        answers = []
        for item in items:
            grid = answerer.grid(item.plain.rgb, item.plain.question, item.plain.choices)
            with image_tokens_changed(parts, pooled(grid, side)):
                answers.append(ask(answerer, item.plain) == item.truth)
        change = paired_difference(answers, original.tolist())
        told.append(Pooled(side * side, wilson(sum(answers), len(answers)), change))
    return tuple(told)


def right(answerer: Answerer, items: Sequence[ProbeItem]) -> Answers:
    """(N,) whether each plain question is answered correctly."""
    return np.array([ask(answerer, item.plain) == item.truth for item in items])


def permutation_scores(
    original: Answers, permuted_: Answers, chance: npt.NDArray[np.float64], seeds: tuple[int, ...]
) -> Permutation:
    """Compute PSI and its chance-corrected form, with 95 % percentile intervals of a bootstrap over items.

    An item is drawn with its answers to all permutations, so pairs stay together. PSI: Qi et al. (2025), Beyond
    Semantics. The larger the chance level, the smaller is PSI even if all knowledge is lost; hence the second form.

    Args:
        original: (N,) whether each answer is right with tokens in order.
        permuted_: (S, N) whether each answer is right with tokens permuted.
        chance: (N,) accuracy of a guess.
        seeds: (S,) of the permutations.
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


def _ratio(whole: npt.NDArray[np.float64], means: npt.NDArray[np.float64], less_chance: float) -> Interval | None:
    """(original - permuted) / (original - chance · less_chance); None if the denominator is often not above 0."""
    below = means[0] - less_chance * means[2]
    good = below > 0
    if good.mean() < 1 - _FEW or whole[0] - less_chance * whole[2] <= 0:
        return None
    low, high = np.quantile((means[0] - means[1])[good] / below[good], (0.025, 0.975))
    return Interval(float((whole[0] - whole[1]) / (whole[0] - less_chance * whole[2])), float(low), float(high))


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
