# SPDX-License-Identifier: Apache-2.0
"""What a remedy adds, averaged over the other remedies, with an interval that counts seeds and questions as drawn.

All runs answer the same questions, and all cells have the same seeds, so effects are differences of pairs: for each
seed and each group of questions one number, the mean accuracy with the remedy minus that without it, over the cells of
the factorial. In that table of seeds × groups,

    value = mean + seed + group + rest,

seed, group and rest drawn at random (two ways crossed, one value a cell). The variance of the mean is
(MS_seed + MS_group - MS_rest) / (S G), with Satterthwaite's degrees of freedom and Student's t; see Searle, Casella and
McCulloch (1992), Variance Components. With three seeds such an interval is wide where seeds differ, as it should be.
A group holds all images of one question and counts as one, however many it has.

Knows numbers alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types.proportions import Interval

Table = npt.NDArray[np.float64]
_LEVEL = 0.975


@dataclass(frozen=True)
class Effect:
    """A difference in accuracy.

    Args:
        name: of the factor, or of two factors with " x " between.
        interval: value and 95 % interval.
        seeds: S.
        groups: G.
    """

    name: str
    interval: Interval
    seeds: int
    groups: int


def group_means(right: npt.NDArray[np.bool_], groups: Sequence[str]) -> Table:
    """(G,) share of right answers of each group, in the order in which they first come.

    Raises:
        InputError: not as many groups as answers, or none.
    """
    if not len(right) or len(right) != len(groups):
        raise InputError("groups", str(len(groups)), f"one for each of {len(right)} answers", "draw them anew")
    order = {name: k for k, name in enumerate(dict.fromkeys(groups))}
    own = np.array([order[name] for name in groups])
    return np.bincount(own, right.astype(float)) / np.bincount(own)


def crossed_interval(values: Table) -> Interval:
    """Mean of a table (S, G) with its 95 % interval, seeds and groups both drawn at random.

    With one seed the interval counts groups alone; with one of each, it is as wide as numbers are.

    Raises:
        InputError: an empty table.
    """
    if values.ndim != 2 or not values.size:
        raise InputError("table of seeds and groups", str(values.shape), "one seed and one group or more", "run cells")
    mean, (seeds, groups) = float(values.mean()), values.shape
    if seeds == 1 or groups == 1:
        line = values.ravel()
        if len(line) == 1:
            return Interval(mean, -math.inf, math.inf)
        half = student(len(line) - 1) * float(line.std(ddof=1)) / math.sqrt(len(line))
        return Interval(mean, mean - half, mean + half)
    rows, columns = values.mean(axis=1), values.mean(axis=0)
    rest = values - rows[:, None] - columns[None] + mean
    by_seed, by_group = groups * float(rows.var(ddof=1)), seeds * float(columns.var(ddof=1))
    free_rest = (seeds - 1) * (groups - 1)
    by_rest = float((rest**2).sum()) / free_rest
    total, free = _variance(((by_seed, seeds - 1), (by_group, groups - 1), (by_rest, free_rest)))
    half = student(free) * math.sqrt(total / values.size)
    return Interval(mean, mean - half, mean + half)


def _variance(squares: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """MS_seed + MS_group - MS_rest and its degrees of freedom; a component estimated below zero counts as zero."""
    (by_seed, free_seed), (by_group, free_group), (by_rest, _) = squares
    total = by_seed + by_group - by_rest
    largest, free = max((by_seed, float(free_seed)), (by_group, float(free_group)))
    if total <= largest:
        return largest, free
    return total, total**2 / sum(square**2 / count for square, count in squares)


def effects(factors: Mapping[str, tuple[str, str]], table_of: Callable[[str], Table]) -> tuple[Effect, ...]:
    """Main effects and those of pairs, of a full factorial of factors with two levels.

    Args:
        factors: name → level without and with; a cell is its levels with "-" between.
        table_of: cell → (S, G) accuracies; the same seeds and groups for all.

    Returns:
        Main effects: with minus without. Of pairs: half of (effect of one with the other minus without it).

    Raises:
        InputError: tables of different shapes.
    """
    cells = list(itertools.product(*factors.values()))
    tables = np.array(_alike([table_of("-".join(cell)) for cell in cells]))
    signs = np.array([[1 if level == pair[1] else -1 for level, pair in zip(cell, factors.values(), strict=True)]
                      for cell in cells])  # fmt: skip
    names = list(factors)
    asked = [(k,) for k in range(len(names))] + list(itertools.combinations(range(len(names)), 2))
    found = []
    for columns in asked:
        sign = signs[:, list(columns)].prod(axis=1)
        values = np.tensordot(sign, tables, 1) / (len(cells) / 2)
        name = " x ".join(names[k] for k in columns)
        found.append(Effect(name, crossed_interval(values), *values.shape))
    return tuple(found)


def difference(with_it: Table, without: Table, name: str) -> Effect:
    """Of two cells, with the same seeds and groups; raises InputError where they are not."""
    values = np.subtract(*_alike([with_it, without]))
    return Effect(name, crossed_interval(values), *values.shape)


def _alike(tables: list[Table]) -> list[Table]:
    shapes = {table.shape for table in tables}
    if len(shapes) != 1:
        raise InputError(
            "tables", str(sorted(shapes)), "the same seeds and groups", "compare runs of the same settings"
        )
    return tables


def psi(original: float, permuted: float, chance: float = 0.0) -> float | None:
    """(original - permuted) / (original - chance): what a permutation of image tokens costs.

    Chance 0 gives the PSI of Qi et al. (2025), which is above 0 even where all that was known is lost only down to a
    guess. None where the original is not above chance by a hundredth, for a ratio then says nothing.
    """
    known = original - chance
    return None if known < 0.01 else (original - permuted) / known


def mean_of_seeds(values: Sequence[float]) -> Interval | None:
    """Mean over seeds with Student's interval; None without a seed, infinitely wide with one."""
    return crossed_interval(np.array(values, float)[:, None]) if values else None


def student(free: float) -> float:
    """97.5th percentile of Student's t, by bisection of its integral (Simpson's rule)."""
    if free > 1e6:
        return 1.959964
    low, high = 1.9, 13.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _below(middle, free) < _LEVEL else (low, middle)
    return (low + high) / 2


def _below(t: float, free: float) -> float:
    """P(T < t), t above 0."""
    x = np.linspace(0.0, t, 4001)
    log = math.lgamma((free + 1) / 2) - math.lgamma(free / 2) - 0.5 * math.log(free * math.pi)
    density = np.exp(log - (free + 1) / 2 * np.log1p(x * x / free))
    weights = np.ones(4001)
    weights[1:-1:2], weights[2:-1:2] = 4.0, 2.0
    return 0.5 + float((weights * density).sum()) * t / 4000 / 3
