# SPDX-License-Identifier: Apache-2.0
"""Relations to the direction that an object's own front faces."""

from __future__ import annotations

import numpy as np

from spatial_vlm_ros.spatial.layout import clockwise
from spatial_vlm_ros.spatial.relations.pairs import Measured, Pairs, least


def facing(pairs: Pairs) -> Measured:
    """The anchor is in front of the target's front, within the cone around it; NaN if the target's front is unknown."""
    return _facing(pairs, 1.0)


def facing_away_from(pairs: Pairs) -> Measured:
    """The anchor is at the target's back, within the cone around it; NaN if the target's front is unknown."""
    return _facing(pairs, -1.0)


def _facing(pairs: Pairs, sign: float) -> Measured:
    front = sign * pairs.layout.front[pairs.targets]
    seen = pairs.exchanged()  # (A, T): from each target along its front to the anchor
    forward = seen.along(front)
    aside = clockwise(front)
    low, high = seen.target_span(aside)
    own = (pairs.layout.centre[pairs.targets, :2] * aside).sum(axis=1)
    gap = np.maximum(np.maximum(low - own, own - high), 0.0)
    in_cone = forward * float(np.tan(np.radians(pairs.layout.relation.cone_deg))) - gap
    return least(forward, in_cone).T, pairs.noise
