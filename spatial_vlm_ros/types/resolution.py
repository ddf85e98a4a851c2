# SPDX-License-Identifier: Apache-2.0
"""The answer: a target in metres, or a refusal with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from spatial_vlm_ros.types.domain import ModelDomain
from spatial_vlm_ros.types.observation import FrameEvidence, UnexplainedRegion
from spatial_vlm_ros.types.place_reasons import NoPlace, PlaceReason
from spatial_vlm_ros.types.query import Act, QuestionKind, SpatialQuery
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
        pose: estimated volume centre and gravity-up box axes.
        surface_position: measured centre of the visible surface, metres, same frame.
        size: box size along the pose's axes, metres.
        covariance: 36 numbers, row-major 6×6 (x, y, z, rotation about x, y, z), m² and rad², same frame.
        yaw_known: False if the heading is unknown because the footprint is as long as wide.
        visible_fraction: fraction of the estimated silhouette that nothing nearer covers, 0 to 1.
        truncated: True if the image border cuts it; its size is that of the part inside.
        shape: how its hidden side was found; None if unknown.
        box: of its detection in the colour image, pixels, left, top, right, bottom; None if unknown. Not part of
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
    """A spot to put an object.

    Args:
        pose: of the support contact, the middle of the footprint; z up, or x up where it is to stand on an end.
        anchor_id: detection it was found from, "support" for the support plane.
        carrier_id: what will support the object: a detection, or "support".
        margin_m: distance to where the stated relation would stop holding, metres.
        clearance_m: free distance around the footprint, metres.
        stability_m: distance of the footprint's middle from the edge of the supporting object, metres, positive inside;
            None on the open support plane.
        probability: that the relation holds there.
        reason: why the spot was chosen, with the limit that it is closest to.
        rim_m: height of the measured rim of the container over the contact, metres: what is released below it falls
            into the container; None outside containers.
    """

    pose: Pose
    anchor_id: str
    carrier_id: str = "support"
    margin_m: float = 0.0
    clearance_m: float = 0.0
    stability_m: float | None = None
    probability: float = 0.0
    reason: PlaceReason | None = None
    rim_m: float | None = None


@dataclass(frozen=True)
class ClauseMeasurement:
    """Measurement of one clause for one candidate.

    Args:
        relation: canonical name; superlatives and ordinals are listed under their own word.
        anchor_ids: the anchors it was measured against (the likeliest ones).
        margin_m: signed margin in metres; positive = holds; None if it could not be measured.
        state: holds, fails or unclear.
        likelihood: probability that the clause is true, from depth noise and object size; with `judge.mode` fuse, also
            from a model's answer.
        model_p: calibrated probability by a model; None if no model was asked, or if its accuracy was not measured.
    """

    relation: str
    anchor_ids: tuple[str, ...]
    margin_m: float | None
    state: ClauseState
    likelihood: float
    model_p: float | None = None


@dataclass(frozen=True)
class Candidate:
    """An object that the words may mean.

    Args:
        clauses: one measurement for each clause of the phrase; nested clauses follow their parent.
    """

    id: str
    label: str
    probability: float
    clauses: tuple[ClauseMeasurement, ...] = ()


@dataclass(frozen=True)
class TakenFor:
    """An object that was accepted for the named one, though its label and attributes do not say all of it.

    Args:
        phrase: name and attributes as said, for example "kitchen rack".
        label: its label, for example "metal rack".
    """

    phrase: str
    id: str
    label: str


@dataclass(frozen=True)
class AvoidedObject:
    """An object that the motion must keep away from, because the words say so ("without touching the cup")."""

    id: str
    label: str


@dataclass(frozen=True)
class OfferedAnswer:
    """A possible answer to a question that is asked back.

    Args:
        text: words that the parser understands, for example "the left one"; sent with the question's dialogue_id.
        ids: detection ids of the candidates that the words mean; one if the answer settles it, none for "no".
    """

    text: str
    ids: tuple[str, ...]


@dataclass(frozen=True)
class HiddenRegion:
    """A part of the scene that cannot be seen and is large enough to hide an object.

    Args:
        occluder_id: detection that hides it.
        position: centre, metres, in `frame_id`.
        size: metres: along the viewing direction on the ground, across it, and up.
    """

    occluder_id: str
    position: Vector3
    size: Vector3
    frame_id: str


@dataclass(frozen=True)
class FoundPart:
    """A part of an object that the words name and that is not a detection ("the back compartment of the caddy").

    Args:
        whole_id: detection that it is a part of.
        found_by: the evidence: "height map" (walls), "levels" (boards), "front" (an open drawer), "picture" (discs); or
            "stated share": nothing but the words.
        frame_id: frame of the outline.
        outline: its corners, metres, at the height of the surface that supports objects there.
    """

    phrase: str
    whole_id: str
    found_by: str
    frame_id: str
    outline: tuple[Vector3, ...] = ()


@dataclass(frozen=True)
class SecondOpinion:
    """Answer of a model that was given the whole phrase, next to the answer from geometry.

    Args:
        words: the phrase given to the model.
        geometric_id: the answer of geometry alone; None without a candidate.
        geometric_probability: of `geometric_id` by geometry alone; if it was an answer, how often such answers are
            right.
        named_id: the object that the model named; None = no opinion: nothing, or not exactly one object of the scene.
        named_probability: of `named_id` by geometry alone; 0 without an opinion.
        combined_probability: of geometry's answer after weighing the opinion; equal to `geometric_probability` if the
            opinion does not count.
        relations: keys of the model's reliability: the relations in the phrase, for example "left of (robot)".
        reliability: measured probability that the model names the right object, for the least reliable of `relations`;
            None if one of them was not measured.
        effect: what happened to the answer: reported (nothing), confirmed, disagreed or settled (a tie).
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
class Belief:
    """What the probability of an answer is made of: the product of the others, unless a second model confirmed it.

    Args:
        probability: that the answer is right.
        relations: that of the named objects this one is meant.
        names: that it, and the objects of its relations, have the names of their detections.
        complete: that nothing without a name is meant instead.
    """

    probability: float
    relations: float
    names: float
    complete: float


@dataclass(frozen=True)
class JudgedRelation:
    """A relation between two objects that a model was asked about.

    Args:
        relation: canonical name; never negated.
        likelihood: probability that it holds, by measurement.
        raw_p: the same by the model; None if the model contradicts itself, or was not asked because time ran out.
        model_p: the same, calibrated; None without `raw_p`, or if the model was not measured for this relation.
    """

    relation: str
    target_id: str
    anchor_id: str
    likelihood: float
    raw_p: float | None
    model_p: float | None


JudgeEffect = Literal["reported", "confirmed", "disagreed", "doubted", "settled"]
"""Effect on the answer: none; the same object; another one (DISAGREEMENT); a person must confirm it; or a case that
measurement left open is answered."""


@dataclass(frozen=True)
class JudgeReport:
    """Answers of a model about single relations, and their effect.

    Args:
        relations: the relations it was asked about, the likeliest candidate's first.
        reason: why it had its effect, in words.
    """

    relations: tuple[JudgedRelation, ...]
    effect: JudgeEffect
    reason: str


AnswerSource = Literal["measurement", "model"]
"""Source of the chosen object: measurement, for words that were understood; or a model, for words that were not."""
CHOSEN_BY_MODEL = "A model chose this; the words were not understood"
"""Message for people wherever an answer with the source "model" is shown."""

AnswerRole = Literal["subject", "compared", "fits", "unclear"]
"""Role of an object in an answer: the subject of the question, what it was compared with, what fits the words, and what
may fit them."""


@dataclass(frozen=True)
class AnswerObject:
    """An object that an answer is about.

    Args:
        pose: as in `Target`; None if it could not be measured.
        size: box size along the pose's axes, metres; None if it could not be measured.
        probability: that it is the object in the words.
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
        interval: metres; contains the true value with a probability of 0.95.
    """

    name: str
    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class SpaceAnswer:
    """The answer to a question about space. Coordinates are in `frame_id`.

    Args:
        value: "yes", "no" or "unclear"; the relation that holds, if several were named; metres; a number of objects;
            None if the objects are the answer.
        unit: of a number: "m" or "objects".
        interval: of a number. For a length it contains the true value with a probability of 0.95; for a number of
            objects it is the least and the most that may fit.
        probability: that the answer is right; for a length, that its interval is.
        objects: the objects that the answer is about, the subject of the question first.
        words: the answer for a person.
        lengths: every length that was measured, the one asked for first.
        segment: ends of the line along which a distance was measured, metres.
        places: free spots, best first, if the question asks for room.
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
class ResolvedStep:
    """One step of a request.

    Args:
        words: what was understood: "put the cup on the tray".
        target: its object; None in a refusal.
        place: where to, if it says where; None in a refusal.
    """

    act: Act
    words: str
    target: Target | None = None
    place: Place | None = None


@dataclass(frozen=True)
class Request:
    """All that the words ask for: its steps in the order said, at least one."""

    steps: tuple[ResolvedStep, ...]


@dataclass(frozen=True)
class Resolution:
    """Result of an instruction: a target, the answer to a question, or a refusal. JSON is written from this class.

    Args:
        status: name of the outcome; `code` is its number.
        message: the outcome in words for a person, with the repair if there is one.
        target: only when OK.
        targets: all objects that are meant, nearest first, if several were asked for ("both mugs"); else empty.
        place: only when OK and a destination was asked for.
        places: all spots, best first, if one was asked for; `place` is the first.
        candidates: the objects that the words may mean, likeliest first.
        frame_of_reference: the one in use, even if no relation needed it; None if no scene was built.
        up_from: source of "up"; None if no scene was built.
        question: asked if an answer would settle the matter.
        answers: possible answers to the question, each with the objects it means; empty if other words are needed, and
            without a question.
        dialogue_id: set with `question`, when OK, when ANSWERED about one object, and throughout a dialogue; the next
            words ("the red one", "no, the other one", "pick it up") refer to it.
        hidden_regions: where an object that was not found could be.
        confidence: probability that the answer is right; for refusals the likeliest candidate's probability, 0 before
            any measurement.
        query: the reading that was answered; None if the words were not understood.
        stamp_ns: stamp of the frame, nanoseconds.
        frame: name of the frame, if one was given (frame folders).
        ms: wall time of the whole request, milliseconds; not part of equality.
        timings_ms: the same for each step; not part of equality.
        schema: version of this layout.
        caution: `decision.caution` used for the decision; None before anything was measured.
        taken_for: objects of the answer that the words name only in part; empty for refusals.
        second_opinion: of a model that was given the whole phrase; None if none was asked.
        parts: named parts without a detection, if some were found.
        no_place: why there is no place, and what would have to change; only when NO_PLACE.
        avoid: objects that the motion must keep away from; only when OK.
        answer: to a question about space; only when ANSWERED.
        model_domain: images the detector was trained on: "simulated" = only simulated ones, "photographs", "any", or
            "unknown" if its backend does not say; None if the detections were given. Not part of equality.
        judge: a model's answers about single relations; None if no model was asked.
        unread: text in which a model described objects and that could not be read: objects may be missing.
        source: "model" if the words were not understood and a model pointed at an object (`language.free_form`): its
            position is measured, but nothing checked that it is the object meant; `confidence` is then 0 and `query`
            None. Else "measurement".
        evidence: whether the frame agrees with itself; None if no scene was built.
        belief: what `confidence` is made of, of several steps that of the first; None without an answer to doubt.
        unexplained: what stands among the objects and has no detection, largest first.
        request: every step that was understood; of several steps `target` and `place` are those of the first. None for
            questions, and if nothing was understood or measured.
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
    evidence: FrameEvidence | None = None
    unexplained: tuple[UnexplainedRegion, ...] = ()
    belief: Belief | None = None
    request: Request | None = None

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
