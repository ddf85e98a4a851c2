# SPDX-License-Identifier: Apache-2.0
"""What is believed of phrases and clauses on one scene: plain data, a row for each object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.spatial.layout import Array
from spatial_vlm_ros.types import NounPhrase, RelationClause

SUPPORT_ID = "support"
"""Stands for the support plane where a clause names it ("the cup on the table") and no detection does."""

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class ClauseBelief:
    """One clause (or superlative, or ordinal) of a phrase, for every object as its subject.

    Args:
        name: canonical relation, superlative, or ordinal in words.
        negated: it was said that it does not hold; margin and likelihood are those of the negation.
        margin: (N,) metres, NaN where not measured.
        likelihood: (N,) probability that it holds for the best anchors, from the measurement, and from what a model
            said of those pairs where that is weighed.
        chance: (N,) the same times the belief that those are the anchors meant.
        anchors: (N, k) rows of the best anchors, -1 for none; empty for orders and the support plane.
        inner: beliefs in the anchors' own phrases.
        on_support: the anchor is the support plane.
        is_order: a superlative, an ordinal or "closest to": it compares, where a relation can be false of all.
        place: how many places of an order are asked for ("the two leftmost mugs"); 1 for a single object.
        contrast: (N,) how probable it is that of all that it is true of this one is meant, against the most probable
            one; None where there is no choice or several are meant.
        runner_up: (N,) `chance` without the best anchor, for phrases that are anchors themselves; else None.
        said: how it was said, where that is not its name ("on top of").
        stated: the clause, where it was judged of single pairs of objects; None for parts, plurals and orders.
    """

    name: str
    negated: bool
    margin: Array
    likelihood: Array
    chance: Array
    anchors: Rows
    inner: tuple[PhraseBelief, ...] = ()
    on_support: bool = False
    is_order: bool = False
    place: int = 1
    runner_up: Array | None = None
    contrast: Array | None = None
    said: str | None = None
    stated: RelationClause | None = None


@dataclass(frozen=True, eq=False)
class PhraseBelief:
    """Belief in a phrase.

    Args:
        phrase: the phrase.
        fit: (N,) how well name and attributes fit, scores and what nobody can tell left out.
        weight: (N,) the same with all clauses and orders.
        clauses: one for each clause, then superlative or ordinal.
        doubtful: rows of which an attribute was measured and is not clear ("purple" of a bluish bowl).
        name: (N,) how well the name alone fits; None where no name was matched.
    """

    phrase: NounPhrase
    fit: Array
    weight: Array
    clauses: tuple[ClauseBelief, ...]
    doubtful: frozenset[int] = frozenset()
    name: Array | None = None

    @property
    def members(self) -> Rows:
        """Rows that the phrase, taken as a plural, means."""
        return np.flatnonzero(self.weight > 0.5 * max(float(self.weight.max(initial=0.0)), 1e-6))

    def surely(self, rows: Rows) -> float:
        """How sure it is that all of some objects are what the phrase describes: as sure as of the least of them."""
        return min(float(self.weight[rows].min(initial=1.0)), 1.0)

    def without(self, targets: Rows, rows: Rows) -> Array:
        """(T, A) weight of the objects `rows` when an object of `targets` may not be one of their anchors.

        Nothing is both ends of a chain: in "the cup left of the box behind the cup" there are two cups.
        """
        weight = np.broadcast_to(self.weight[rows], (len(targets), len(rows)))
        for clause in self.clauses:
            if clause.runner_up is not None and clause.anchors.shape[1]:
                clash = clause.anchors[rows, 0][None, :] == targets[:, None]
                if clash.any():
                    rest = clause.runner_up[rows] / np.maximum(clause.chance[rows], 1e-12)
                    weight = np.where(clash, weight * rest[None, :], weight)
        return weight
