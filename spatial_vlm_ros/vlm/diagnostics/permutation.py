# SPDX-License-Identifier: Apache-2.0
"""Test whether a model notices that its image tokens are permuted or pooled.

Contents move; positions stay. A model whose answers hardly change uses its image tokens as an unordered bag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.types.proportions import Interval, Share, wilson
from spatial_vlm_ros.vlm.diagnostics.items import Answerer, ProbeItem, ask
from spatial_vlm_ros.vlm.diagnostics.scores import paired_difference
from spatial_vlm_ros.vlm.parts import Change, Parts, image_tokens_changed

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
