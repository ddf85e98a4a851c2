# SPDX-License-Identifier: Apache-2.0
"""A model's answers about single relations, as factors on the odds from measurement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from spatial_vlm_ros.spatial.belief import ClauseBelief
from spatial_vlm_ros.spatial.layout import Array
from spatial_vlm_ros.spatial.likelihood import FLOOR
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.types import FrameOfReference, PinholeCamera, RelationClause

Box = tuple[float, float, float, float]

PairKey = tuple[str, int, int]
"""Canonical relation, row of the target, row of the anchor."""
_UPRIGHT = 0.866  # cosine of 30 degrees between up in the image and its upper edge
_CLEARLY = 2.0  # times the sideways gap over the shift due to the tilt of "up"
OF_SIDES = ("left of", "right of")
"""Relations across the line of sight."""
_FLAT = 0.26  # part of "up" in the image plane below which the camera looks straight down or up


@dataclass(frozen=True)
class ModelEvidence:
    """Likelihood ratios by relation and pair: how much likelier the model's answer is if the relation holds.

    Args:
        ratio: above 0; 1 changes nothing.
    """

    ratio: Mapping[PairKey, float] = field(default_factory=lambda: MappingProxyType({}))

    def weighed(self, clause: RelationClause, pairs: Pairs, holds: Array) -> Array:
        """(T, A) probabilities by measurement, updated by Bayes' rule; the same array without evidence.

        Args:
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
    """True if a model's view of the image is relevant to a clause: no distances, and the camera's viewpoint."""
    framed = RELATIONS[clause.relation].framed
    return clause.distance is None and (not framed or frame is FrameOfReference.VIEWER)


def pair_of(belief: ClauseBelief, row: int, default: FrameOfReference) -> PairKey | None:
    """The pair of objects whose relation in an image decides a clause at one row; None if there is no such single pair.

    Args:
        row: row of its subject.
        default: frame of reference if the clause states none.
    """
    clause = belief.stated
    if clause is None or belief.anchors.shape[1] != 1 or belief.anchors[row, 0] < 0:
        return None
    if not concerns(clause, clause.frame or default):
        return None
    return clause.relation, row, int(belief.anchors[row, 0])


def is_shown(relation: str, target: Box, anchor: Box, camera: PinholeCamera, up: Array) -> bool:
    """True if an image shows a relation as measurement defines it; see `is_upright` and `shows_side`."""
    return not RELATIONS[relation].framed or (is_upright(up) and shows_side(relation, target, anchor, camera, up))


def is_upright(up: Array) -> bool:
    """True if left and right, far and near in the image are about those of a person at the camera.

    Args:
        up: (3,) unit vector in the camera's optical frame.
    """
    across, down, _ = up
    flat = float(np.hypot(across, down))
    return flat >= _FLAT and -down / flat >= _UPRIGHT


def shows_side(relation: str, target: Box, anchor: Box, camera: PinholeCamera, up: Array) -> bool:
    """True if the image shows a target on the side that it is on, seen from the camera; True for other relations.

    Sides are defined by the plane through the camera, the anchor and "up". It cuts the image in a line through the
    anchor, which is slanted if the camera is tilted. A target must clearly be on the same side of that line and of an
    upright one; otherwise the image may show another side than measurement.

    Args:
        relation: canonical name; relations other than sides always give True.
        target: left, top, right, bottom, pixels.
        up: (3,) unit vector in its optical frame.
    """
    if relation not in OF_SIDES:
        return True
    (u, v), (target_u, target_v) = (((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in (anchor, target))
    fx, fy, cx, cy = (float(camera.K[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
    along = fx * (up[0] - (u - cx) / fx * up[2])
    upward = -fy * (up[1] - (v - cy) / fy * up[2])
    if upward <= 0.0:
        return False
    heights = (anchor[3] - anchor[1] + target[3] - target[1]) / 4
    return abs(target_u - u) > _CLEARLY * abs(along) / upward * (abs(target_v - v) + heights)
