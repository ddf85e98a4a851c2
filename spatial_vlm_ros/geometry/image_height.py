# SPDX-License-Identifier: Apache-2.0
"""The rule of thumb that what is higher in the image is farther away, and the pairs of objects that contradict it.

Nothing decides by this rule. It tells apart what a model may say because it follows it from what it sees beyond it.
"""

from __future__ import annotations

from collections.abc import Sequence

DEPTH_RELATIONS = ("behind", "in front of")
"""Relations of which the rule says something."""


def in_image(relation: str, target: Sequence[float], anchor: Sequence[float]) -> str:
    """What a model's probability is calibrated by: the relation, and of depth which of the two is higher in the image.

    Who takes higher for farther says of all pairs of one kind the same, and so nothing: such a model is not calibrated
    as one that knows something, however many pairs follow the rule.

    Args:
        relation: canonical name.
        target: left, top, right, bottom of its box, pixels; the middle of the box counts.
        anchor: likewise.

    Returns:
        For example "left of", "behind, higher", "behind, lower".
    """
    if relation not in DEPTH_RELATIONS:
        return relation
    return f"{relation}, {'higher' if _is_higher(target, anchor) else 'lower'}"


def in_line(relation: str, target: Sequence[float], anchor: Sequence[float]) -> bool:
    """Whether an image shows two objects on one line of sight: their boxes share columns; True for other relations.

    Args:
        relation: canonical name.
        target: left, top, right, bottom of its box, pixels.
        anchor: likewise.
    """
    return relation not in DEPTH_RELATIONS or min(target[2], anchor[2]) > max(target[0], anchor[0])


def is_contrary(relation: str, target: Sequence[float], anchor: Sequence[float], holds: bool) -> bool:
    """Whether the truth about a relation is otherwise than the rule has it; False for other relations.

    Args:
        relation: canonical name.
        target: left, top, right, bottom of its box, pixels; the middle of the box counts.
        anchor: likewise.
        holds: the truth.
    """
    return relation in DEPTH_RELATIONS and (_is_higher(target, anchor) == (relation == "behind")) != holds


def _is_higher(target: Sequence[float], anchor: Sequence[float]) -> bool:
    return target[1] + target[3] < anchor[1] + anchor[3]
