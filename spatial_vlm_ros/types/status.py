# SPDX-License-Identifier: Apache-2.0
"""Outcomes of a request, and the small sets of names that go with them."""

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
    """The answer has a target, or places; it is a candidate, not a command."""
    ANSWERED = ("ANSWERED", 1)
    """A question about space is answered; there is no target."""

    NOT_UNDERSTOOD = ("NOT_UNDERSTOOD", 10)
    """The parser does not know a word or a construction. Say it with the words that the message suggests."""
    INVALID_INPUT = ("INVALID_INPUT", 11)
    """An image, camera info, detection, file, parameter or name is invalid. The message says how to fix it."""
    DEPTH_INVALID = ("DEPTH_INVALID", 12)
    """The depth of the object, or of the whole image, is missing or cannot be trusted."""
    STALE_INPUT = ("STALE_INPUT", 13)
    """No image is surely newer than the request, or a clock is wrong. Check driver, remapping, QoS and clocks."""
    NOT_SYNCHRONISED = ("NOT_SYNCHRONISED", 14)
    """Colour, depth and detections never have stamps that fit together."""
    TF_UNAVAILABLE = ("TF_UNAVAILABLE", 15)
    """A transform is missing at the stamp of the image."""
    FRAME_UNDEFINED = ("FRAME_UNDEFINED", 16)
    """The words need a viewpoint that is not known, such as the speaker's or an object's own front."""
    FRAME_INCONSISTENT = ("FRAME_INCONSISTENT", 17)
    """Depth, colour, camera info and transform contradict each other. The message says what to repair."""
    NOT_EXECUTABLE = ("NOT_EXECUTABLE", 18)
    """The words are understood, but they ask for an act that has no pose or that this robot does not carry out."""
    SOURCE_CHANGED = ("SOURCE_CHANGED", 19)
    """An input has two publishers, or another one or another static transform than when the goal began."""

    NOT_FOUND = ("NOT_FOUND", 30)
    """No object matches one of the phrases."""
    AMBIGUOUS = ("AMBIGUOUS", 31)
    """Two or more objects fit the words about equally. The answer has a question."""
    RELATION_UNSATISFIED = ("RELATION_UNSATISFIED", 32)
    """Objects match the phrases, but none of them satisfies the relation."""
    OCCLUDED = ("OCCLUDED", 33)
    """The object is too hidden to measure."""
    LOW_CONFIDENCE = ("LOW_CONFIDENCE", 34)
    """One object is left, but whether it satisfies a relation is unclear."""
    DISAGREEMENT = ("DISAGREEMENT", 35)
    """Geometry and a model choose different objects."""
    NO_PLACE = ("NO_PLACE", 36)
    """No free, stable spot fits the destination. `no_place` says what would have to change."""

    MODEL_ERROR = ("MODEL_ERROR", 50)
    """A detector or model did not load, failed, or returned an invalid answer; or a package is not installed."""
    TIMEOUT = ("TIMEOUT", 51)
    """A model, decoding or resolving took longer than its limit."""

    BUSY = ("BUSY", 60)
    """Another request is being served, or the queue is full. Ask again later."""
    CANCELLED = ("CANCELLED", 61)
    """The client withdrew the request, or the node was deactivated or ended."""

    OUT_OF_WORKSPACE = ("OUT_OF_WORKSPACE", 70)
    """Every grasp or placement that fits leaves the workspace or enters a keep-out."""
    UNREACHABLE = ("UNREACHABLE", 71)
    """No grasp or placement fits the object, or no configuration of the arm reaches one."""
    NEEDS_APPROVAL = ("NEEDS_APPROVAL", 72)
    """Reserved; nothing returns it."""
    REJECTED = ("REJECTED", 73)
    """A person rejected the plan, or the approval does not fit the plan or cannot be recorded."""
    APPROVAL_EXPIRED = ("APPROVAL_EXPIRED", 74)
    """Nobody decided in time, or the motion did not begin in time."""
    SCENE_CHANGED = ("SCENE_CHANGED", 75)
    """What was approved no longer holds: something moved, appeared or disappeared."""
    PLANNER_UNAVAILABLE = ("PLANNER_UNAVAILABLE", 76)
    """The motion planner does not answer."""
    PLANNING_FAILED = ("PLANNING_FAILED", 77)
    """The motion planner found no plan, or its plan failed the check."""
    EXECUTION_FAILED = ("EXECUTION_FAILED", 78)
    """The motion began and did not end as planned. The message names the phase."""

    INTERNAL_ERROR = ("INTERNAL_ERROR", 90)
    """A fault of this package. It costs one request; the log has its trace."""


class FrameOfReference(str, enum.Enum):
    """The viewpoint for left, right, front and behind. See docs/relations.md."""

    VIEWER = "viewer"
    ROBOT = "robot"
    WORLD = "world"
    SPEAKER = "speaker"
    OBJECT = "object"


class ClauseState(str, enum.Enum):
    """Result of measuring one clause."""

    HOLDS = "holds"
    FAILS = "fails"
    UNCLEAR = "unclear"


ANSWERS = frozenset({Status.OK, Status.ANSWERED})
"""Statuses that are not a refusal."""


class UpSource(str, enum.Enum):
    """Source of the direction "up", best first."""

    TF = "tf"
    IMU = "imu"
    SUPPORT_PLANE = "support_plane"
    OPTICAL_AXES = "optical_axes"
