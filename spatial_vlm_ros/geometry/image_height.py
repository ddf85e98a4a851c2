# SPDX-License-Identifier: Apache-2.0
"""The rule of thumb that what is higher in the image is farther away, and the pairs of objects that contradict it.

Nothing decides by this rule. It tells apart the labelled pairs on which a model that follows it is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

DEPTH_RELATIONS = ("behind", "in front of")
"""Relations of which the rule says something."""


def is_contrary(relation: str, target: Sequence[float], anchor: Sequence[float], holds: bool) -> bool:
    """Whether the truth about a relation is otherwise than the rule has it; False for other relations.

    Args:
        relation: canonical name.
        target: left, top, right, bottom of its box, pixels; the middle of the box counts.
        anchor: likewise.
        holds: the truth.
    """
    higher = target[1] + target[3] < anchor[1] + anchor[3]
    return relation in DEPTH_RELATIONS and (higher == (relation == "behind")) != holds
