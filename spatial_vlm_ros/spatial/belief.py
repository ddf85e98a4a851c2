# SPDX-License-Identifier: Apache-2.0
"""Beliefs in phrases and clauses on one scene: plain data with a row for each object."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.spatial.layout import Array
from spatial_vlm_ros.types import ClauseState, NounPhrase, RelationClause

SUPPORT_ID = "support"
"""Stands for the support plane if a clause names it ("the cup on the table") and no detection does."""

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class ClauseBelief:
    """Belief in one clause (or superlative, or ordinal) of a phrase, with every object as its subject."""

    name: str
    negated: bool
    margin: Array  # (N,) metres, NaN where not measured
    # (N,) probability that it holds for the best anchors, from measurement, and also from a model's answers if they are
    # used
    likelihood: Array
    chance: Array  # (N,) the same times the belief that those are the anchors meant
    anchors: Rows  # (N, k) rows of the best anchors, -1 for none; empty for orders and the support plane
    inner: tuple[PhraseBelief, ...] = ()
    on_support: bool = False
    # a superlative, an ordinal or "closest to": it compares objects; other relations can be false for all
    is_order: bool = False
    # number of positions in an order that are asked for ("the two leftmost mugs"); 1 for a single object
    place: int = 1
    # (N,) `chance` without the best anchor, for phrases that are anchors themselves; else None
    runner_up: Array | None = None
    # (N,) probability that, of all objects it is true for, this one is meant, relative to the most probable one; None
    # if there is no choice or several are meant
    contrast: Array | None = None
    said: str | None = None  # the words used, if they are not its name ("on top of")
    # the clause, if it was judged on single pairs of objects; None for parts, plurals and orders
    stated: RelationClause | None = None
    part: NounPhrase | None = None
    why: str = ""  # why no such part was found, in words; empty if one was


@dataclass(frozen=True, eq=False)
class PhraseBelief:
    """Belief in a phrase."""

    phrase: NounPhrase
    fit: Array  # (N,) how well name and attributes fit, without detection scores and undecidable attributes
    weight: Array  # (N,) the same with all clauses and orders
    clauses: tuple[ClauseBelief, ...]
    # rows with an attribute that was measured and is unclear ("purple" for a bluish bowl)
    doubtful: frozenset[int] = frozenset()
    name: Array | None = None  # (N,) how well the name alone fits; None if no name was matched

    @property
    def members(self) -> Rows:
        """Rows that the phrase means if it is a plural."""
        return np.flatnonzero(self.weight > 0.5 * max(float(self.weight.max(initial=0.0)), 1e-6))

    def surely(self, rows: Rows) -> float:
        """Probability that all given objects fit the phrase: the least of their probabilities."""
        return min(float(self.weight[rows].min(initial=1.0)), 1.0)

    def without(self, targets: Rows, rows: Rows) -> Array:
        """(T, A) weight of the objects `rows` as anchors, without chains that return to the object in `targets`.

        No object is both ends of a chain: "the cup left of the box behind the cup" is about two cups.
        """
        weight = np.broadcast_to(self.weight[rows], (len(targets), len(rows)))
        for clause in self.clauses:
            if clause.runner_up is not None and clause.anchors.shape[1]:
                clash = clause.anchors[rows, 0][None, :] == targets[:, None]
                if clash.any():
                    rest = clause.runner_up[rows] / np.maximum(clause.chance[rows], 1e-12)
                    weight = np.where(clash, weight * rest[None, :], weight)
        return weight


# --------------------------------------------------------------------------------------------------
# The one formula from margins to likelihoods.

FLOOR = 0.002
"""No measurement makes a clause surer than this: labels, masks and sentences can be wrong too."""


_SCALE = math.sqrt(2.0 / math.pi)


def normal_cdf(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Standard normal distribution function, kept within FLOOR and 1 - FLOOR.

    Source: tanh approximation of the error function, absolute error below 4e-4 (Page, 1977).
    """
    x = np.clip(x, -6.0, 6.0)
    return np.clip(0.5 + 0.5 * np.tanh(_SCALE * x * (1.0 + 0.044715 * x * x)), FLOOR, 1.0 - FLOOR)


def clause_likelihood(margin: npt.NDArray[np.float64], sigma: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Probability that a clause holds: that the true margin is positive. 0.5 if it was not measured (NaN)."""
    return np.where(np.isfinite(margin), normal_cdf(np.nan_to_num(margin) / np.maximum(sigma, 1e-6)), 0.5)


def state_of(likelihood: float, holds: float) -> ClauseState:
    """Holds above `holds`, fails below 1 - `holds`, else unclear."""
    if likelihood >= holds:
        return ClauseState.HOLDS
    return ClauseState.FAILS if likelihood <= 1.0 - holds else ClauseState.UNCLEAR
