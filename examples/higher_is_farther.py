# SPDX-License-Identifier: Apache-2.0
"""A judge of relations that knows one rule of thumb: what is higher in the image is farther away.

Vision-language models lean on this rule. On a bare table it is right about nearly every pair; where objects stand on
others it is wrong. Beside measured depth, `spatial-vlm compare` shows it (docs/compare.md):

    export PYTHONPATH=.
    spatial-vlm compare FRAME "the chick behind the cup" --judge rule=examples.higher_is_farther:HigherIsFarther
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.judging import RelationQuestion
from spatial_vlm_ros.types import NounPhrase, Rgb

SURE = 0.95


class HigherIsFarther:
    """A backend that finds nothing and judges "behind" and "in front of" by the middles of the boxes."""

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:  # noqa: ARG002
        """See Grounder.ground."""
        return Grounding((), np.zeros((len(phrases), 0)))

    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float | None, ...]:  # noqa: ARG002
        """See RelationJudge.judge; None for other relations."""
        return tuple(self._said(one) for one in questions)

    @staticmethod
    def _said(one: RelationQuestion) -> float | None:
        if one.relation not in ("behind", "in front of"):
            return None
        higher = one.target[1] + one.target[3] < one.anchor[1] + one.anchor[3]
        return SURE if higher == (one.relation == "behind") else 1.0 - SURE
