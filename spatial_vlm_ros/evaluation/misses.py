# SPDX-License-Identifier: Apache-2.0
"""Classifies why a case was missed, by the step that would have to change.

Works on outcomes and labels; independent of geometry.
"""

from __future__ import annotations

import enum

from spatial_vlm_ros.types import ANSWERS, Status

PARTS = frozenset({"compartment", "door", "drawer", "handle", "lid", "burner", "level"})
"""Last words of labels that name a part of something."""


class MissKind(str, enum.Enum):
    """Kinds of misses.

    OBJECT: answered with an object of another label. RELATION: with another one of the same label. PART: with a part
    instead of the whole, the other way round, or with another part. PLACE: the right object, but its place lies
    elsewhere or was not given. NEEDLESS_REFUSAL: refused what has an answer. MISSING_REFUSAL: answered what has none.
    OTHER_REFUSAL: refused, as was due, with another status. ANSWER: a question about space was answered wrongly.
    """

    OBJECT = "object"
    RELATION = "relation"
    PART = "part"
    PLACE = "place"
    NEEDLESS_REFUSAL = "needless refusal"
    MISSING_REFUSAL = "missing refusal"
    OTHER_REFUSAL = "other refusal"
    ANSWER = "answer"


def miss_kind(
    expected: Status, status: Status, as_expected: bool, place_right: bool, labels: tuple[str | None, str | None]
) -> MissKind | None:
    """Find the kind of a miss; None if the case ended as expected.

    Args:
        place_right: whether the place is right, or none was expected.
        labels: labels of the expected object and of the one answered with; None if it is not known.
    """
    if as_expected:
        return None if place_right else MissKind.PLACE
    if expected not in ANSWERS:
        return MissKind.MISSING_REFUSAL if status in ANSWERS else MissKind.OTHER_REFUSAL
    if status not in ANSWERS:
        return MissKind.NEEDLESS_REFUSAL
    if expected is Status.ANSWERED:
        return MissKind.ANSWER
    right, given = (((label or "").lower().split()[-1] if (label or "").split() else "") for label in labels)
    if PARTS & {right, given}:
        return MissKind.PART
    return MissKind.RELATION if right and labels[0] == labels[1] else MissKind.OBJECT
