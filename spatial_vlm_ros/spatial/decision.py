# SPDX-License-Identifier: Apache-2.0
"""From beliefs to an answer or a typed refusal, in one stated order.

Not found → relation unsatisfied → ambiguous → low confidence → occluded → depth invalid → no place → OK.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.config import DecisionConfig
from spatial_vlm_ros.spatial.belief import SUPPORT_ID, Believer, ClauseBelief, PhraseBelief
from spatial_vlm_ros.spatial.layout import Array
from spatial_vlm_ros.spatial.likelihood import state_of
from spatial_vlm_ros.types import Candidate, ClauseMeasurement, ClauseState, NounPhrase, SpatialQuery, Status

_MOST_CANDIDATES = 10
_READS = 0.05  # share of the readings from which one counts
_EXISTS = 0.5  # summed likelihood of an order below which nobody can have that place


@dataclass(frozen=True, eq=False)
class Verdict:
    """The decision, before it is put into words and frames.

    Args:
        status: OK or the refusal.
        query: the reading that was answered.
        belief: belief in its target.
        by_row: for each object, the belief of the reading that fits it best.
        chosen: row of the chosen object; for refusals the likeliest candidate, -1 without one.
        rivals: rows that share the mass, likeliest first (AMBIGUOUS).
        phrase: the phrase that matches nothing (NOT_FOUND).
        clause: the clause that decided (RELATION_UNSATISFIED, LOW_CONFIDENCE), or None.
        probability: (N,) posterior of each object.
    """

    status: Status
    query: SpatialQuery
    belief: PhraseBelief
    by_row: tuple[PhraseBelief, ...]
    chosen: int
    rivals: tuple[int, ...]
    phrase: NounPhrase | None
    clause: ClauseBelief | None
    probability: Array


def decide(queries: Sequence[SpatialQuery], believer: Believer) -> Verdict:
    """Weigh all readings on the scene and decide.

    A reading counts by its preference from the words times how well the scene can satisfy it, so that geometry
    settles attachments; then each object's probability is summed over the readings.

    Args:
        queries: all readings, preferred first.
        believer: the scene.

    Raises:
        FrameUndefinedError: a reading needs a frame of reference that is not defined.
    """
    beliefs = [believer.believe(query.target) for query in queries]
    shares = np.array(
        [q.preference * max(float(b.weight.max(initial=0.0)), 1e-6) for q, b in zip(queries, beliefs, strict=True)]
    )
    shares /= shares.sum()
    first = int(np.argmax(shares))
    weights = shares[:, None] * np.array([b.weight for b in beliefs])
    weight = weights.sum(axis=0)
    probability = weight / (weight.sum() + np.prod(1.0 - np.minimum(weight, 1.0)))
    if not np.isfinite(probability).all():
        raise ValueError("a belief is not a number")  # a bug: nothing measured may turn the choice into NaN
    config = believer.config.decision
    alive = np.zeros(len(weight), np.bool_)
    for share, belief in zip(shares, beliefs, strict=True):
        if share >= min(_READS, shares[first]):
            alive |= (belief.fit >= config.found) & ~_fails(belief, config)
    readings = tuple(int(r) for r in np.argmax(weights, axis=0)) if len(weight) else ()
    return _ladder(queries[first], beliefs[first], tuple(beliefs[r] for r in readings), alive, believer, probability)


def _ladder(
    query: SpatialQuery,
    belief: PhraseBelief,
    by_row: tuple[PhraseBelief, ...],
    alive: npt.NDArray[np.bool_],
    believer: Believer,
    probability: Array,
) -> Verdict:
    """The refusals in their order. `by_row` is each object's belief in the reading that fits it best."""
    config = believer.config.decision
    likeliest = int(np.argmax(probability)) if len(probability) else -1

    def verdict(status: Status, *, rivals: Sequence[int] = (), phrase: NounPhrase | None = None,
                clause: ClauseBelief | None = None) -> Verdict:  # fmt: skip
        return Verdict(status, query, belief, by_row, likeliest, tuple(rivals), phrase, clause, probability)

    missing = next(_phrases_not_found(belief, config.found), None)
    if missing is not None:
        return verdict(Status.NOT_FOUND, phrase=missing)
    if not alive.any():
        likeliest = _closest(belief, config)
        return verdict(Status.RELATION_UNSATISFIED, clause=_worst(belief, likeliest))
    for clause in belief.clauses:
        if clause.is_order and clause.likelihood[alive].sum() < _EXISTS:
            return verdict(Status.RELATION_UNSATISFIED, clause=clause)
    ranked = [int(row) for row in np.argsort(-probability, kind="stable") if alive[row]]
    likeliest = ranked[0]
    sure = bool(probability[likeliest] >= config.mass)
    if not sure:
        rivals = [row for row in ranked if probability[row] >= (1.0 - config.mass) * probability[likeliest]]
        if len(rivals) > 1:
            return verdict(Status.AMBIGUOUS, rivals=rivals)
    clauses = by_row[likeliest].clauses
    unclear = [c for c in clauses if state_of(float(c.likelihood[likeliest]), config.holds) is ClauseState.UNCLEAR]
    if unclear or not sure:
        return verdict(Status.LOW_CONFIDENCE, clause=unclear[0] if unclear else None)
    thing = believer.layout.scene.objects[likeliest]
    if thing.visible_fraction < config.min_visible:
        return verdict(Status.OCCLUDED)
    if thing.depth_problem is not None:
        return verdict(Status.DEPTH_INVALID)
    if query.destination is not None:
        return verdict(Status.NO_PLACE)
    return verdict(Status.OK)


def _phrases_not_found(belief: PhraseBelief, found: float) -> Iterator[NounPhrase]:
    """Phrases, outermost first, whose name and attributes fit nothing that was seen."""
    if not (belief.fit >= found).any():
        yield belief.phrase
    for clause in belief.clauses:
        if not clause.on_support:
            for anchor in clause.inner:
                yield from _phrases_not_found(anchor, found)


def _fails(belief: PhraseBelief, config: DecisionConfig) -> npt.NDArray[np.bool_]:
    """(N,) whether a relation fails. Orders are left to the share of mass: among equals none is clearly first."""
    failing = np.zeros(len(belief.fit), np.bool_)
    for clause in belief.clauses:
        if not clause.is_order:
            failing |= clause.likelihood <= 1.0 - config.holds
            failing |= clause.chance <= 1.0 - config.holds
    return failing


def _closest(belief: PhraseBelief, config: DecisionConfig) -> int:
    """The row that comes closest to all clauses: by weight, then by its least margin."""
    least = np.full(len(belief.fit), np.inf)
    for clause in belief.clauses:
        if not clause.is_order:
            least = np.minimum(least, np.where(np.isfinite(clause.margin), clause.margin, -np.inf))
    rows = np.flatnonzero(belief.fit >= config.found)
    return int(max(rows, key=lambda row: (round(float(belief.weight[row]), 4), least[row])))


def _worst(belief: PhraseBelief, row: int) -> ClauseBelief | None:
    """The clause that holds least for a row."""
    relations = [clause for clause in belief.clauses if not clause.is_order]
    return min(relations, key=lambda clause: float(clause.chance[row])) if relations and row >= 0 else None


def candidates(verdict: Verdict, believer: Believer) -> tuple[Candidate, ...]:
    """What the phrase may mean, likeliest first, with every clause measured."""
    config = believer.config.decision
    belief = verdict.belief
    rows = [int(r) for r in np.argsort(-verdict.probability, kind="stable") if belief.fit[r] >= config.found]
    objects = believer.layout.scene.objects
    return tuple(
        Candidate(
            id=objects[row].id,
            label=objects[row].detection.label,
            probability=round(float(verdict.probability[row]), 6),
            clauses=tuple(_measurements(verdict.by_row[row], row, believer)),
        )
        for row in rows[:_MOST_CANDIDATES]
    )


def _measurements(belief: PhraseBelief, row: int, believer: Believer) -> Iterator[ClauseMeasurement]:
    """The phrase's clauses at one row, then those of the anchors chosen there."""
    objects = believer.layout.scene.objects
    for clause in belief.clauses:
        anchors = [int(a) for a in clause.anchors[row] if a >= 0]
        margin = float(clause.margin[row])
        yield ClauseMeasurement(
            relation=("not " if clause.negated else "") + clause.name,
            anchor_ids=(SUPPORT_ID,) if clause.on_support else tuple(objects[a].id for a in anchors),
            margin_m=round(margin, 6) if np.isfinite(margin) else None,
            state=state_of(float(clause.likelihood[row]), believer.config.decision.holds),
            likelihood=round(float(clause.likelihood[row]), 6),
        )
        for inner, anchor in zip(clause.inner, anchors, strict=False):
            yield from _measurements(inner, anchor, believer)
