# SPDX-License-Identifier: Apache-2.0
"""Objects that a motion must keep away from because the words say so: "grab the plate without touching the cup"."""

from __future__ import annotations

import dataclasses

from spatial_vlm_ros.spatial.decision import ResolvedChoice, phrases_not_found
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.types import Status


def with_avoided(verdict: ResolvedChoice, scorer: PhraseScorer) -> ResolvedChoice:
    """Add the objects to avoid to a decision: every object that the words may mean, except those acted on.

    If an object to avoid is not found, an answer becomes a refusal, because the arm could not keep away from it.

    Args:
        verdict: the decision about the object to act on, and its place.
    """
    if verdict.status is not Status.OK or not verdict.query.avoid:
        return verdict
    config = scorer.config.decision
    avoided: dict[int, None] = {}
    for phrase in verdict.query.avoid:
        belief = scorer.score_phrase(phrase, anchor=True)
        missing = next(phrases_not_found(belief, config.found), None)
        weight = belief.weight.copy()
        weight[list(verdict.meant)] = 0.0
        if missing is not None or not (weight > 0).any():
            return dataclasses.replace(verdict, status=Status.NOT_FOUND, phrase=missing or phrase, placing=None)
        least = (1.0 - config.mass) * float(weight.max())
        avoided |= dict.fromkeys(row for row in range(len(weight)) if weight[row] >= least and weight[row] > 0)
    return dataclasses.replace(verdict, avoided=tuple(avoided))
