# SPDX-License-Identifier: Apache-2.0
"""Outcomes of a request, and the few closed sets of names that go with them."""

from __future__ import annotations

import enum


class Status(str, enum.Enum):
    """Outcome of a request. Append only: names and numbers are shared with JSON and the ROS action.

    The value is the name; `code` is the number. Tens group them: answers, input, scene, model, request, acting,
    and faults of this package.
    """

    code: int

    def __new__(cls, name: str, code: int) -> Status:
        """Make a member whose value is its name and whose number is `code`."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.code = code
        return member

    OK = ("OK", 0)
    ANSWERED = ("ANSWERED", 1)  # a question about space: no target

    NOT_UNDERSTOOD = ("NOT_UNDERSTOOD", 10)
    INVALID_INPUT = ("INVALID_INPUT", 11)
    DEPTH_INVALID = ("DEPTH_INVALID", 12)
    STALE_INPUT = ("STALE_INPUT", 13)
    NOT_SYNCHRONISED = ("NOT_SYNCHRONISED", 14)
    TF_UNAVAILABLE = ("TF_UNAVAILABLE", 15)
    FRAME_UNDEFINED = ("FRAME_UNDEFINED", 16)

    NOT_FOUND = ("NOT_FOUND", 30)
    AMBIGUOUS = ("AMBIGUOUS", 31)
    RELATION_UNSATISFIED = ("RELATION_UNSATISFIED", 32)
    OCCLUDED = ("OCCLUDED", 33)
    LOW_CONFIDENCE = ("LOW_CONFIDENCE", 34)
    DISAGREEMENT = ("DISAGREEMENT", 35)
    NO_PLACE = ("NO_PLACE", 36)

    MODEL_ERROR = ("MODEL_ERROR", 50)
    TIMEOUT = ("TIMEOUT", 51)

    BUSY = ("BUSY", 60)
    CANCELLED = ("CANCELLED", 61)

    OUT_OF_WORKSPACE = ("OUT_OF_WORKSPACE", 70)
    UNREACHABLE = ("UNREACHABLE", 71)
    NEEDS_APPROVAL = ("NEEDS_APPROVAL", 72)
    REJECTED = ("REJECTED", 73)
    APPROVAL_EXPIRED = ("APPROVAL_EXPIRED", 74)
    SCENE_CHANGED = ("SCENE_CHANGED", 75)
    PLANNER_UNAVAILABLE = ("PLANNER_UNAVAILABLE", 76)
    PLANNING_FAILED = ("PLANNING_FAILED", 77)
    EXECUTION_FAILED = ("EXECUTION_FAILED", 78)

    INTERNAL_ERROR = ("INTERNAL_ERROR", 90)


class FrameOfReference(str, enum.Enum):
    """Whose left, whose behind. See docs/relations.md."""

    VIEWER = "viewer"
    ROBOT = "robot"
    WORLD = "world"
    SPEAKER = "speaker"
    OBJECT = "object"


class ClauseState(str, enum.Enum):
    """What the measurement says of one clause."""

    HOLDS = "holds"
    FAILS = "fails"
    UNCLEAR = "unclear"


ANSWERS = frozenset({Status.OK, Status.ANSWERED})
"""Statuses that are no refusal."""


class UpSource(str, enum.Enum):
    """Where the direction "up" came from, best first."""

    TF = "tf"
    IMU = "imu"
    SUPPORT_PLANE = "support_plane"
    OPTICAL_AXES = "optical_axes"
