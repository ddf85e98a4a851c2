# SPDX-License-Identifier: Apache-2.0
"""What a motion keeps away from because the words say so: "grab the plate without touching the cup"."""

from __future__ import annotations

import dataclasses

from spatial_vlm_ros.spatial.decision import ResolvedChoice, phrases_not_found
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.types import Status


def with_avoided(verdict: ResolvedChoice, scorer: PhraseScorer) -> ResolvedChoice:
    """The verdict with the objects to avoid: every one that the words may mean, but for what is acted on.

    What is to be avoided and is not found turns an answer into a refusal: nobody can keep away from it.

    Args:
        verdict: the decision about what is acted on, and where it goes.
        scorer: the scene.

    Raises:
        FrameUndefinedError: a relation of such an object needs a frame of reference that is not defined.
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
