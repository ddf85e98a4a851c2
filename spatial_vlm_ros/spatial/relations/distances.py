# SPDX-License-Identifier: Apache-2.0
"""Next to, near, far from, around, and distances stated in metres."""

from __future__ import annotations

import numpy as np

from spatial_vlm_ros.parameters import RelationConfig
from spatial_vlm_ros.spatial.layout import Array
from spatial_vlm_ros.spatial.relations.pairs import Measured, Pairs, hypotenuse
from spatial_vlm_ros.types import Distance

_VAGUE = 0.25  # standard deviation of the limits of these words, in mean sizes


def next_to(pairs: Pairs) -> Measured:
    """Side by side: a gap of at most `next_to_sizes` mean sizes, neither over the other."""
    return _close(pairs, pairs.layout.relation.next_to_sizes), _vague(pairs)


def near(pairs: Pairs) -> Measured:
    """A gap of at most `near_sizes` mean sizes, neither over the other."""
    return _close(pairs, pairs.layout.relation.near_sizes), _vague(pairs)


def far_from(pairs: Pairs) -> Measured:
    """A gap of at least `far_sizes` mean sizes."""
    return pairs.space - pairs.layout.relation.far_sizes * pairs.mean(pairs.layout.reach), _vague(pairs)


def around(pairs: Pairs) -> Measured:
    """Near the anchor on any side; or enclosing it: larger, and its centre within the target's outline."""
    larger = pairs.difference(pairs.layout.mean_side, pairs.layout.mean_side)
    return np.maximum(near(pairs)[0], np.minimum(pairs.inside_target, larger)), _vague(pairs)


def at_a_distance(pairs: Pairs) -> Measured:
    """Apart by more than contact. The stated distance is judged by `stated`."""
    return pairs.space - pairs.layout.relation.contact, pairs.noise


def _close(pairs: Pairs, sizes: float) -> Array:
    """(T, A) margin of a gap of at most so many mean sizes; targets over, under or in the anchor are not beside it."""
    return pairs.only_apart(sizes * pairs.mean(pairs.layout.reach) - pairs.space)


def _vague(pairs: Pairs) -> Array:
    return hypotenuse(pairs.noise, _VAGUE * pairs.mean(pairs.layout.reach))


def space_between(pairs: Pairs) -> Array:
    """(T, A) gap between two objects in any direction, metres."""
    return pairs.space


def stated(gap: Array, distance: Distance, config: RelationConfig) -> Array:
    """Margin of a stated distance, metres, of the same shape as `gap`.

    Args:
        gap: metres between outlines, along the direction of its relation.
        config: how exact such statements are.
    """
    if distance.bound == "at most":
        return distance.metres - gap
    if distance.bound == "at least":
        return gap - distance.metres
    tolerance = max(config.metric_tolerance, config.metric_share * distance.metres)
    return tolerance - np.abs(gap - distance.metres)
