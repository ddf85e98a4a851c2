# SPDX-License-Identifier: Apache-2.0
"""The rule of thumb that what is higher in the image is farther away, and the pairs of objects that contradict it.

Nothing is decided by this rule. It separates what a model says because it follows the rule from what it sees beyond it.
"""

from __future__ import annotations

from collections.abc import Sequence

DEPTH_RELATIONS = ("behind", "in front of")
"""Relations that the rule applies to."""


def in_image(relation: str, target: Sequence[float], anchor: Sequence[float]) -> str:
    """Name the class of a relation that a model's probability is calibrated by.

    For relations of depth the class says which of the two is higher in the image. A model that takes higher for farther
    gives the same answer for all pairs of one class, so it is not calibrated as one that knows something, however many
    pairs follow the rule.

    Args:
        target: left, top, right, bottom of its box, pixels; the middle of the box counts.

    Returns:
        For example "left of", "behind, higher", "behind, lower".
    """
    if relation not in DEPTH_RELATIONS:
        return relation
    return f"{relation}, {'higher' if _is_higher(target, anchor) else 'lower'}"


def in_line(relation: str, target: Sequence[float], anchor: Sequence[float]) -> bool:
    """True if the boxes of two objects share image columns; True for relations other than depth.

    Objects on one line of sight share columns.

    Args:
        target: left, top, right, bottom of its box, pixels.
    """
    return relation not in DEPTH_RELATIONS or min(target[2], anchor[2]) > max(target[0], anchor[0])


def is_contrary(relation: str, target: Sequence[float], anchor: Sequence[float], holds: bool) -> bool:
    """True if the true state of a relation contradicts the rule; False for relations without depth.

    Args:
        target: left, top, right, bottom of its box, pixels; the middle of the box counts.
        holds: whether the relation is true.
    """
    return relation in DEPTH_RELATIONS and (_is_higher(target, anchor) == (relation == "behind")) != holds


def _is_higher(target: Sequence[float], anchor: Sequence[float]) -> bool:
    return target[1] + target[3] < anchor[1] + anchor[3]
