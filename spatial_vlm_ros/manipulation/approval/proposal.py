# SPDX-License-Identifier: Apache-2.0
"""Data shown to a person, and the person's decision: frozen classes that check their fields."""

from __future__ import annotations

import hashlib
import math
import re
import secrets
import uuid
from dataclasses import dataclass, field

from spatial_vlm_ros.budgets import LARGEST_IMAGE, LONGEST_WAIT
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.types import CHOSEN_BY_MODEL, AnswerSource, Candidate, Vector3

_HASH = re.compile(r"[0-9a-f]{64}")
_LONGEST_WORDS = 2000
_LONGEST_NAME = 80
_MEDIA = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"))


@dataclass(frozen=True)
class Phase:
    """One motion of a plan, as shown to a person.

    Args:
        duration: seconds.
        estimated: whether the duration is an upper limit, as for the gripper, and not planned.
        clearance: smallest distance of arm, hand and held object from other objects, metres; negative for a collision;
            None if not known.
        nearest: the nearest pair as text: "panda_hand to the cup".
    """

    name: str
    duration: float
    estimated: bool = False
    clearance: float | None = None
    nearest: str = ""

    def __post_init__(self) -> None:
        _check_text("name of a phase", self.name)
        _check_number(f"duration of the phase {self.name!r}", self.duration, 0.0)
        if self.clearance is not None:
            _check_number(f"clearance of the phase {self.name!r}", self.clearance)


@dataclass(frozen=True)
class Preview:
    """The planned motion, as shown to a person.

    Args:
        frame_id: the planning frame, z up.
        grasp_width: width of the grasped part, metres; None without a grasp.
        tip_path: points of the tip's path in order, metres in `frame_id`.
        image: PNG or JPEG of the plan, like the next three; `scene` is without drawings, for the animation.
        motion: JSON of the motion (`manipulation.planned_motion`), for the animation.
        plan: the bytes whose SHA-256 is the plan's hash, for the record.
        missing: why the arm is not drawn; "" if it is.
        fault: why the drawing differs from the planned motion; "" if it does not.
    """

    frame_id: str
    phases: tuple[Phase, ...] = ()
    grasp_width: float | None = None
    tip_path: tuple[Vector3, ...] = ()
    image: bytes | None = field(default=None, repr=False)
    above: bytes | None = field(default=None, repr=False)
    side: bytes | None = field(default=None, repr=False)
    scene: bytes | None = field(default=None, repr=False)
    motion: bytes | None = field(default=None, repr=False)
    plan: bytes | None = field(default=None, repr=False)
    plan_hash: str = ""
    missing: str = ""
    fault: str = ""

    @property
    def images(self) -> tuple[bytes, ...]:
        """All images that exist."""
        return tuple(image for image in (self.image, self.above, self.side, self.scene) if image is not None)

    def __post_init__(self) -> None:
        _check_words("planning frame", self.frame_id, _LONGEST_NAME)
        if self.grasp_width is not None:
            _check_number("grasp width", self.grasp_width, 0.0)
        for point in self.tip_path:
            if len(point) != 3:
                raise InputError("tip path", f"a point of {len(point)} numbers", "x, y and z", "pass points in metres")
            for value in point:
                _check_number("tip path", value)
        for image in self.images:
            media_type(image)
        if self.plan is not None and hashlib.sha256(self.plan).hexdigest() != self.plan_hash:
            repair = "pass the bytes that the hash was computed from"
            raise InputError("plan", "bytes of another hash", f"those of {self.plan_hash!r}", repair)


@dataclass(frozen=True)
class Proposal:
    """A plan that waits for a person's decision.

    Args:
        goal_id: UUID of the goal, lower case with hyphens; used for one proposal only.
        scene_stamp_ns: stamp of the image that the plan is based on, nanoseconds.
        plan_hash: SHA-256 of goal, scene and trajectory, 64 lower case hexadecimal digits.
        seen_from: the frame of reference as text, for example "as seen from the camera".
        expires_after: seconds after `propose` within which it can be approved and begun.
        image: PNG or JPEG of the scene with the candidates drawn in.
        answered: the instruction that `answer` belongs to, in a dialogue not the first one; "" = `sentence`.
        source: "model" if the words were not understood and a model chose the object to take.
        steps: all that was understood, in order, each with its act.
        nonce: of this proposal alone; part of what an answer over the graph signs.
    """

    goal_id: str
    scene_stamp_ns: int
    plan_hash: str
    sentence: str
    answer: str
    seen_from: str
    target_id: str
    target_label: str
    expires_after: float
    candidates: tuple[Candidate, ...] = ()
    warnings: tuple[str, ...] = ()
    image: bytes | None = field(default=None, repr=False)
    preview: Preview | None = None
    answered: str = ""
    image_instruction: str = ""
    image_stamp_ns: int = -1
    image_missing: str = ""
    source: AnswerSource = "measurement"
    steps: tuple[str, ...] = ()
    nonce: str = field(default_factory=lambda: secrets.token_hex(16), compare=False)

    @property
    def barred(self) -> str:
        """Why it must not be approved, for example because image or preview belong to another plan; "" if it may be."""
        wanted = self.answered or self.sentence
        if self.source == "model" and not any(CHOSEN_BY_MODEL in warning for warning in self.warnings):
            return "the page does not say that a model chose the object"
        if self.image is None:
            return f"there is no image of the scene{f': {self.image_missing}' * bool(self.image_missing)}"
        if self.image_stamp_ns != self.scene_stamp_ns:
            return "the image is not of the scene that the plan was made in: its stamp differs"
        if self.image_instruction != wanted:
            return f"the image is of another instruction: {self.image_instruction!r}"
        if self.preview is None:
            return "the motion of the arm is not shown"
        if self.preview.plan_hash != self.plan_hash:
            return "the preview shows another plan"
        return self.preview.fault

    def __post_init__(self) -> None:
        _check_token(self.goal_id, self.scene_stamp_ns, self.plan_hash)
        _check_expiry(self.expires_after)
        for what in ("sentence", "answer", "seen_from", "target_id", "target_label"):
            _check_text(what, getattr(self, what))
        for what, texts in (("warning", self.warnings), ("step", self.steps)):
            for text in texts:
                _check_text(what, text)
        if not all(isinstance(candidate, Candidate) for candidate in self.candidates):
            raise InputError("candidates", "something else", "types.Candidate", "pass those of the resolution")
        if self.preview is not None and not isinstance(self.preview, Preview):
            raise InputError("preview", type(self.preview).__name__, "a Preview or None", "build one from the plan")
        media_type(self.image)


@dataclass(frozen=True)
class Decision:
    """A person's yes or no to one plan on one image.

    Args:
        goal_id: goal of the proposal. This and the next two must match the proposal, or the decision is refused.
        signature: of an answer over the graph; empty on the page.
    """

    goal_id: str
    scene_stamp_ns: int
    plan_hash: str
    approve: bool
    operator: str
    reason: str = ""
    signature: bytes = b""

    def __post_init__(self) -> None:
        _check_token(self.goal_id, self.scene_stamp_ns, self.plan_hash)
        if not isinstance(self.approve, bool):
            raise InputError("approve", repr(self.approve), "true or false")
        check_operator(self.operator)
        _check_words("reason", self.reason, may_be_empty=True)


@dataclass(frozen=True)
class PersonQuestion:
    """A question of the resolver to a person.

    Args:
        expires_after: seconds after `ask` within which it can be answered.
        means: meaning of each answer, such as ids in the image; empty = not shown.
    """

    dialogue_id: str
    sentence: str
    text: str
    answers: tuple[str, ...] = ()
    expires_after: float = 120.0
    image: bytes | None = field(default=None, repr=False)
    means: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_words("dialogue_id", self.dialogue_id, _LONGEST_NAME)
        _check_text("sentence", self.sentence)
        _check_text("question", self.text)
        for answer in self.answers:
            _check_words("answer", answer)
        for words in self.means:
            _check_text("meaning of an answer", words)
        if len(self.means) not in (0, len(self.answers)):
            got, expected = f"{len(self.means)} meanings", f"{len(self.answers)}, one for each answer, or none"
            raise InputError("meanings of answers", got, expected, "pass both from the same resolution")
        _check_expiry(self.expires_after)
        media_type(self.image)


@dataclass(frozen=True)
class PersonAnswer:
    """A person's answer to a question."""

    dialogue_id: str
    text: str
    operator: str

    def __post_init__(self) -> None:
        _check_words("dialogue_id", self.dialogue_id, _LONGEST_NAME)
        _check_words("answer", self.text)
        check_operator(self.operator)


def media_type(image: bytes | None) -> str | None:
    """Media type of an image from its first bytes; None without an image."""
    if image is None:
        return None
    name = next((n for start, n in _MEDIA if isinstance(image, bytes) and image.startswith(start)), None)
    if name is None:
        expected, repair = "bytes of a PNG or JPEG file", "encode it, for example with cv2.imencode"
        raise InputError("image", "other data", expected, repair)
    if len(image) > LARGEST_IMAGE:
        raise InputError("image", f"{len(image)} bytes", f"up to {LARGEST_IMAGE}", "pass a smaller image")
    return name


def check_operator(name: object) -> None:
    """Check that a name can be recorded."""
    _check_words("operator", name, _LONGEST_NAME)


def _check_token(goal_id: object, scene_stamp_ns: object, plan_hash: object) -> None:
    """Check the form of the goal, stamp and hash that an approval names."""
    try:
        is_uuid = isinstance(goal_id, str) and str(uuid.UUID(goal_id)) == goal_id
    except ValueError:
        is_uuid = False
    if not is_uuid:
        raise InputError("goal_id", _shown(goal_id), "a UUID, lower case with hyphens", "copy it from the proposal")
    if not isinstance(scene_stamp_ns, int) or isinstance(scene_stamp_ns, bool) or not 0 <= scene_stamp_ns < 1 << 63:
        got, repair = _shown(scene_stamp_ns), "copy it from the proposal"
        raise InputError("scene_stamp_ns", got, "nanoseconds, a whole number from 0", repair)
    if not isinstance(plan_hash, str) or not _HASH.fullmatch(plan_hash):
        expected = "64 lower case hexadecimal digits"
        raise InputError("plan_hash", _shown(plan_hash), expected, "copy it from the proposal")


def _check_text(what: str, words: object) -> None:
    """Check that a text is not empty; unprintable characters are replaced when it is shown."""
    if not isinstance(words, str) or not words.strip() or len(words) > _LONGEST_WORDS:
        raise InputError(what, _shown(words), f"1 to {_LONGEST_WORDS} characters")


def _check_words(what: str, words: object, longest: int = _LONGEST_WORDS, may_be_empty: bool = False) -> None:
    expected = f"{'up to' if may_be_empty else '1 to'} {longest} printable characters without blanks around them"
    if (
        not isinstance(words, str)
        or len(words) > longest
        or not words.isprintable()
        or words != words.strip()
        or not (words or may_be_empty)
    ):
        raise InputError(what, _shown(words), expected, "write it on one line")


def _check_number(what: str, value: object, least: float = -math.inf) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value) or value < least:
        expected = "a finite number" + ("" if least == -math.inf else f" from {least:g}")
        raise InputError(what, _shown(value), expected)


def _check_expiry(expires_after: object) -> None:
    _check_number("expires_after", expires_after, 0.0)
    if not 0 < float(expires_after) <= LONGEST_WAIT:  # type: ignore[arg-type]
        raise InputError("expires_after", _shown(expires_after), f"seconds, up to {LONGEST_WAIT:g}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
