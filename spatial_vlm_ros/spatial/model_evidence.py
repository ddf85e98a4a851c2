# SPDX-License-Identifier: Apache-2.0
"""What a model said of single relations, as it changes the odds that measurement gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from spatial_vlm_ros.spatial.layout import Array
from spatial_vlm_ros.spatial.likelihood import FLOOR
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.types import FrameOfReference, RelationClause

PairKey = tuple[str, int, int]
"""Canonical relation, row of the target, row of the anchor."""


@dataclass(frozen=True)
class ModelEvidence:
    """Likelihood ratios by relation and pair: how much likelier the model's answer is where the relation holds.

    Args:
        ratio: above 0; 1 changes nothing.
    """

    ratio: Mapping[PairKey, float] = field(default_factory=lambda: MappingProxyType({}))

    def weighed(self, clause: RelationClause, pairs: Pairs, holds: Array) -> Array:
        """(T, A) probabilities by measurement, and with the evidence by Bayes' rule; the same array without any.

        Args:
            clause: of one relation, negated or not, without a stated distance.
            pairs: T targets and A anchors.
            holds: (T, A) probability that the clause holds.
        """
        if not self.ratio or clause.distance is not None:
            return holds
        if RELATIONS[clause.relation].framed and pairs.view.frame is not FrameOfReference.VIEWER:
            return holds  # the model looked from where the camera is
        rows = {int(row): n for n, row in enumerate(pairs.targets)}
        columns = {int(row): n for n, row in enumerate(pairs.anchors)}
        found = {
            (rows[target], columns[anchor]): ratio
            for (relation, target, anchor), ratio in self.ratio.items()
            if relation == clause.relation and target in rows and anchor in columns
        }
        if not found:
            return holds
        weighed = holds.copy()
        for at, ratio in found.items():
            odds = holds[at] / (1.0 - holds[at]) * (1.0 / ratio if clause.negated else ratio)
            weighed[at] = np.clip(odds / (1.0 + odds), FLOOR, 1.0 - FLOOR)
        return weighed
