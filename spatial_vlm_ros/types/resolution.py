# SPDX-License-Identifier: Apache-2.0
"""The answer: a target in metres, or a refusal with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from spatial_vlm_ros.types.domain import ModelDomain
from spatial_vlm_ros.types.place_reasons import NoPlace, PlaceReason
from spatial_vlm_ros.types.query import QuestionKind, SpatialQuery
from spatial_vlm_ros.types.shape import ObjectShape
from spatial_vlm_ros.types.status import ClauseState, FrameOfReference, Status, UpSource

Vector3 = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


@dataclass(frozen=True)
class Pose:
    """Position in metres and orientation (x, y, z, w) in `frame_id`."""

    frame_id: str
    position: Vector3
    orientation: Quaternion


@dataclass(frozen=True)
class GraspHint:
    """Top-down grasp: gripper yaw about the up axis of the pose's frame (rad, None = any) and opening width (m)."""

    yaw: float | None
    width: float


@dataclass(frozen=True)
class Target:
    """The chosen object.

    Args:
        id: detection id.
        label: detector's label.
        pose: estimated volume centre and gravity-up box axes.
        surface_position: measured centre of the visible surface, metres, same frame.
        size: box size along the pose's axes, metres.
        covariance: 36 numbers, row-major 6×6 (x, y, z, rotation about x, y, z), m² and rad², same frame.
        yaw_known: False when the footprint is as long as wide.
        grasp: top-down grasp hint.
        visible_fraction: part of the estimated silhouette that nothing nearer covers.
        truncated: the picture's border cuts it; its size is that of the part inside.
        shape: how its hidden side was found; None where nobody said.
        box: of its detection in the colour image, pixels, left, top, right, bottom; None where nobody said. Not part of
            equality.
    """

    id: str
    label: str
    pose: Pose
    surface_position: Vector3
    size: Vector3
    covariance: tuple[float, ...]
    yaw_known: bool
    grasp: GraspHint
    visible_fraction: float = 1.0
    truncated: bool = False
    shape: ObjectShape | None = None
    box: tuple[float, float, float, float] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Place:
    """A spot to put something.

    Args:
        pose: of the support contact: the middle of the footprint on what will carry it, z up.
        anchor_id: detection it was found from, "support" for the support plane.
        carrier_id: what will carry it: a detection, or "support".
        margin_m: how far the stated relation is from its border there, metres.
        clearance_m: free distance around the footprint, metres.
        stability_m: how far the footprint's middle lies inside what carries it, metres; None on the open support plane.
        probability: that the relation holds there.
        reason: why it is a place, with the limit that it is nearest to.
    """

    pose: Pose
    anchor_id: str
    carrier_id: str = "support"
    margin_m: float = 0.0
    clearance_m: float = 0.0
    stability_m: float | None = None
    probability: float = 0.0
    reason: PlaceReason | None = None


@dataclass(frozen=True)
class ClauseMeasurement:
    """How one clause measures for one candidate.

    Args:
        relation: canonical name; superlatives and ordinals are listed under their own word.
        anchor_ids: the anchors it was measured against (the likeliest ones).
        margin_m: signed margin in metres; positive = holds; None when it could not be measured.
        state: holds, fails or unclear.
        likelihood: probability that the clause is true, from depth noise and object size; with `judge.mode` fuse from
            what a model said of it, too.
        model_p: the same by a model that was asked about it, calibrated; None where none was, or where it was not
            measured how often it is right.
    """

    relation: str
    anchor_ids: tuple[str, ...]
    margin_m: float | None
    state: ClauseState
    likelihood: float
    model_p: float | None = None


@dataclass(frozen=True)
class Candidate:
    """One object the words may mean.

    Args:
        id: detection id.
        label: detector's label.
        probability: share of the posterior mass.
        clauses: one measurement for each clause of the phrase, nested ones after their own.
    """

    id: str
    label: str
    probability: float
    clauses: tuple[ClauseMeasurement, ...] = ()


@dataclass(frozen=True)
class TakenFor:
    """An object that was taken for what the words name, though neither its label nor its attributes say all of it.

    Args:
        phrase: name and attributes as said, for example "kitchen rack".
        id: detection id of the object.
        label: its label, for example "metal rack".
    """

    phrase: str
    id: str
    label: str


@dataclass(frozen=True)
class AvoidedObject:
    """An object that the motion keeps away from, because the words say so ("without touching the cup").

    Args:
        id: detection id.
        label: its label.
    """

    id: str
    label: str


@dataclass(frozen=True)
class OfferedAnswer:
    """One answer to a question.

    Args:
        text: words that the parser understands, for example "the left one"; sent with the question's dialogue_id.
        ids: detection ids of the candidates that they mean; one where the answer settles it, none of "no".
    """

    text: str
    ids: tuple[str, ...]


@dataclass(frozen=True)
class HiddenRegion:
    """A part of the scene that cannot be seen and is large enough to hide something.

    Args:
        occluder_id: detection that hides it.
        position: centre, metres, in `frame_id`.
        size: along the viewing direction on the ground, across it, and up, metres.
        frame_id: frame of `position`.
    """

    occluder_id: str
    position: Vector3
    size: Vector3
    frame_id: str


@dataclass(frozen=True)
class FoundPart:
    """A part of an object that words name and that no detection is ("the back compartment of the caddy").

    Args:
        phrase: the part in words.
        whole_id: detection that it is a part of.
        found_by: what shows it: "height map" (walls), "levels" (boards), "front" (an open drawer), "picture" (discs);
            or "stated share": nothing but the words.
        frame_id: frame of the outline.
        outline: its corners, metres, at the height that carries there.
    """

    phrase: str
    whole_id: str
    found_by: str
    frame_id: str
    outline: tuple[Vector3, ...] = ()


@dataclass(frozen=True)
class SecondOpinion:
    """What a model answered that was asked for the whole phrase, beside the answer of the geometry.

    Args:
        words: what it was asked for.
        geometric_id: the answer of the geometry alone; None without a candidate.
        geometric_probability: of that one by the geometry alone; where it was an answer, how often such answers are
            right.
        named_id: the object that the model named; None = nothing, or not one object of the scene: no opinion.
        named_probability: of that one by the geometry alone; 0 without an opinion.
        combined_probability: of the geometry's answer, once the opinion is weighed; equal to `geometric_probability`
            where the opinion does not count.
        relations: keys that the model's reliability was looked up by: what the phrase says, "left of (robot)".
        reliability: measured probability that it names the right object, of the least reliable of `relations`; None
            where one of them was not measured.
        effect: what became of the answer: reported (nothing), confirmed, disagreed or settled (a tie).
        reason: why, in words.
    """

    words: str
    geometric_id: str | None
    geometric_probability: float
    named_id: str | None
    named_probability: float
    combined_probability: float
    relations: tuple[str, ...]
    reliability: float | None
    effect: Literal["reported", "confirmed", "disagreed", "settled"]
    reason: str


@dataclass(frozen=True)
class JudgedRelation:
    """A relation between two objects that a model was asked about.

    Args:
        relation: canonical name; never negated.
        target_id: detection id.
        anchor_id: detection id.
        likelihood: probability by the measurement that it holds.
        raw_p: the same as the model has it; None where it contradicts itself, or was not asked for want of time.
        model_p: the same, calibrated; None without `raw_p`, or where this relation was not measured.
    """

    relation: str
    target_id: str
    anchor_id: str
    likelihood: float
    raw_p: float | None
    model_p: float | None


JudgeEffect = Literal["reported", "confirmed", "disagreed", "doubted", "settled"]
"""What became of an answer: nothing; the same object; another one (DISAGREEMENT); a person has to confirm it; or what
measurement left open has an answer."""


@dataclass(frozen=True)
class JudgeReport:
    """What a model said of single relations, and what became of the answer.

    Args:
        relations: what it was asked, the likeliest candidate's first.
        effect: what became of the answer.
        reason: why, in words.
    """

    relations: tuple[JudgedRelation, ...]
    effect: JudgeEffect
    reason: str


AnswerSource = Literal["measurement", "model"]
"""What chose the object: the words as they were understood, by measurement; or a model, for words that were not."""
CHOSEN_BY_MODEL = "A model chose this; the words were not understood"
"""What a person is told wherever an answer of the source "model" is shown."""

AnswerRole = Literal["subject", "compared", "fits", "unclear"]
"""What an object is in an answer: what was asked about, what that was compared with, what fits the words, and what may
fit them."""


@dataclass(frozen=True)
class AnswerObject:
    """An object that an answer is about.

    Args:
        id: detection id.
        label: detector's label.
        role: what it is in the answer.
        pose: as of a target; None where it could not be measured.
        size: box size along the pose's axes, metres; None where it could not be measured.
        probability: that it is what the words describe.
    """

    id: str
    label: str
    role: AnswerRole
    pose: Pose | None
    size: Vector3 | None
    probability: float


@dataclass(frozen=True)
class MeasuredLength:
    """A length with its interval.

    Args:
        name: "distance", "between centres", "height", "width", …
        value: metres.
        interval: metres; holds the true value with a probability of 0.95.
    """

    name: str
    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class SpaceAnswer:
    """The answer to a question about space. Coordinates are in `frame_id`.

    Args:
        kind: what was asked.
        value: "yes", "no" or "unclear"; the relation that holds, where several were named; metres; a number of objects;
            None where the objects are the answer.
        unit: of a number: "m" or "objects".
        interval: of a number. Of a length it holds the true value with a probability of 0.95; of a number of objects it
            is the least and the most that may fit.
        probability: that the answer is right; of a length that of its interval.
        objects: what it is about, what was asked about first.
        words: for a person.
        lengths: every length that was measured, the one asked for first.
        segment: ends of the line along which a distance was measured, metres.
        places: free spots, best first, where it was asked for room.
        frame_id: frame of poses, segment and places.
    """

    kind: QuestionKind
    value: float | str | None
    unit: Literal["m", "objects"] | None
    interval: tuple[float, float] | None
    probability: float
    objects: tuple[AnswerObject, ...]
    words: str
    lengths: tuple[MeasuredLength, ...] = ()
    segment: tuple[Vector3, Vector3] | None = None
    places: tuple[Place, ...] = ()
    frame_id: str = ""


@dataclass(frozen=True)
class Resolution:
    """What came of an instruction: a target, the answer to a question, or a refusal. JSON is written from this class.

    Args:
        instruction: the words, as given.
        status: name of the outcome; `code` is its number.
        code: number of `status`.
        message: the outcome in words for a person, with the repair where there is one.
        target: only when OK.
        targets: all that are meant, nearest first, where several were asked for ("both mugs"); else empty.
        place: only when OK and a destination was asked for.
        places: all spots, best first, where one was asked for; `place` is the first.
        candidates: what the words may mean, likeliest first.
        frame_of_reference: the one in force, whether or not a relation needed it; None when no scene was built.
        up_from: where "up" came from; None when no scene was built.
        question: asked when an answer would settle the matter.
        answers: to the question, each with what it means; empty where other words are needed, and without a question.
        dialogue_id: set with `question`, when OK, when ANSWERED about one object, and throughout a dialogue; what is
            said next ("the red one", "no, the other one", "pick it up") refers to it.
        hidden_regions: where an object that was not found could be.
        confidence: probability that the answer is right; for refusals the likeliest candidate's share, 0 before any
            measurement.
        query: the reading that was answered; None when the words were not understood.
        stamp_ns: the frame's stamp.
        frame: name of the frame, where one was given (frame folders).
        ms: wall time of the whole request, milliseconds; not part of equality.
        timings_ms: the same by step; not part of equality.
        schema: version of this layout.
        caution: `decision.caution` that it was decided with; None before anything was measured.
        taken_for: objects of the answer that the words name only in part; empty for refusals.
        second_opinion: of a model that was asked for the whole phrase; None where none was.
        parts: parts without a detection that the words name, as far as some were found.
        no_place: why there is no place, and what would have to change; only when NO_PLACE.
        avoid: objects that the motion keeps away from; only when OK.
        answer: of a question about space; only when ANSWERED.
        model_domain: what the detector was trained on: "simulated" = simulated images only, "photographs", "any", or
            "unknown" where its backend does not say; None where the detections were given. Not part of equality.
        judge: what a model said of single relations; None where none was asked.
        unread: what a model that answers in words wrote of objects and could not be read: objects may be missing.
        source: "model" where the words were not understood and a model pointed at an object (`language.free_form`):
            its place is measured, but nobody has checked that it is what was meant; `confidence` is 0 then, and
            `query` is None. Else "measurement".
    """

    instruction: str
    status: Status
    message: str
    code: int = -1
    target: Target | None = None
    place: Place | None = None
    candidates: tuple[Candidate, ...] = ()
    frame_of_reference: FrameOfReference | None = None
    up_from: UpSource | None = None
    question: str | None = None
    dialogue_id: str | None = None
    hidden_regions: tuple[HiddenRegion, ...] = ()
    confidence: float = 0.0
    query: SpatialQuery | None = None
    stamp_ns: int = 0
    frame: str | None = None
    ms: float = field(default=0.0, compare=False)
    timings_ms: Mapping[str, float] = field(default_factory=dict, compare=False)
    schema: Literal[1] = 1
    targets: tuple[Target, ...] = ()
    places: tuple[Place, ...] = ()
    second_opinion: SecondOpinion | None = None
    answers: tuple[OfferedAnswer, ...] = ()
    taken_for: tuple[TakenFor, ...] = ()
    caution: float | None = None
    parts: tuple[FoundPart, ...] = ()
    no_place: NoPlace | None = None
    avoid: tuple[AvoidedObject, ...] = ()
    answer: SpaceAnswer | None = None
    model_domain: ModelDomain | None = field(default=None, compare=False)
    unread: tuple[str, ...] = ()
    judge: JudgeReport | None = None
    source: AnswerSource = "measurement"

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", self.status.code)
        if (self.target is not None) != (self.status is Status.OK):
            raise ValueError(
                f"a resolution has a target if and only if its status is OK; its status is {self.status.value}"
            )
        if self.answer is not None and self.status is not Status.ANSWERED:
            raise ValueError(
                f"a resolution has an answer only if its status is ANSWERED; its status is {self.status.value}"
            )
        if (self.targets and self.targets[0] != self.target) or (self.places and self.places[0] != self.place):
            raise ValueError("target must be the first of targets, and place must be the first of places")
        if self.no_place is not None and self.status is not Status.NO_PLACE:
            raise ValueError(
                "a resolution has reasons for no place only if its status is NO_PLACE; its status "
                f"is {self.status.value}"
            )
        if self.places and self.status is not Status.OK:
            raise ValueError(f"a resolution has places only if its status is OK; its status is {self.status.value}")
