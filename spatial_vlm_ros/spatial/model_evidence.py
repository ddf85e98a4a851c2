# SPDX-License-Identifier: Apache-2.0
"""What a model said of single relations, as it changes the odds that measurement gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from spatial_vlm_ros.spatial.belief import ClauseBelief
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.likelihood import FLOOR
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.types import FrameOfReference, RelationClause

PairKey = tuple[str, int, int]
"""Canonical relation, row of the target, row of the anchor."""
_UPRIGHT = 0.866  # cosine of 30 degrees between up in the image and its upper edge
_FLAT = 0.26  # part of "up" that lies in the image plane, below which the camera looks straight down or up


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
            clause: of one relation, negated or not.
            pairs: T targets and A anchors.
            holds: (T, A) probability that the clause holds.
        """
        if not self.ratio or not concerns(clause, pairs.view.frame):
            return holds
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


def concerns(clause: RelationClause, frame: FrameOfReference) -> bool:
    """Whether what a model sees in the image tells of a clause: it knows no distances, and looks where the camera is.

    Args:
        clause: what was said.
        frame: of reference in force.
    """
    framed = RELATIONS[clause.relation].framed
    return clause.distance is None and (not framed or frame is FrameOfReference.VIEWER)


def pair_of(belief: ClauseBelief, row: int, default: FrameOfReference) -> PairKey | None:
    """The pair of objects whose relation in an image tells of a clause at one row; None where no single one does.

    Args:
        belief: in the clause.
        row: of its subject.
        default: frame of reference where the clause states none.
    """
    clause = belief.stated
    if clause is None or belief.anchors.shape[1] != 1 or belief.anchors[row, 0] < 0:
        return None
    if not concerns(clause, clause.frame or default):
        return None
    return clause.relation, row, int(belief.anchors[row, 0])


def is_upright(layout: Layout) -> bool:
    """Whether left and right, far and near in the image are those of somebody who stands where the camera is."""
    across, down, _ = layout.scene.up
    flat = float(np.hypot(across, down))
    return flat >= _FLAT and -down / flat >= _UPRIGHT
