# SPDX-License-Identifier: Apache-2.0
"""Check the object that a model points at for words outside the grammar, and that it is one: answer, or refusal.

The model only chooses the object: its position is measured, and everything that can be checked is checked. A person
must agree before anything moves (ADR 0033), so the answer says that a model chose it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import FrameUndefinedError, SpatialVlmError
from spatial_vlm_ros.geometry.boxes import box_around
from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.geometry.segmentation import (
    connected_pieces,
    depth_gap,
    largest_piece,
    measured_pixels,
    object_pixels,
    raised_pixels,
    raised_share,
)
from spatial_vlm_ros.language.free_words import PartialReading
from spatial_vlm_ros.language.rendering import named
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.spatial.answer import target_of
from spatial_vlm_ros.spatial.attributes import UNKNOWN, attribute_likelihood
from spatial_vlm_ros.spatial.belief import ClauseBelief, state_of
from spatial_vlm_ros.spatial.decision import measurement_at, phrases_not_found, usable
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.support_check import check_supported
from spatial_vlm_ros.spatial.wording import name_of
from spatial_vlm_ros.types import (
    CHOSEN_BY_MODEL,
    Candidate,
    ClauseState,
    FrameOfReference,
    Mask,
    NounPhrase,
    Points,
    RelationClause,
    Resolution,
    RgbdFrame,
    Scene,
    SceneObject,
    SpatialQuery,
    Status,
)

_ONE_PIECE = 0.8  # fraction of the measured surface in one piece; the rest is noise and thin parts
_RAISED = 0.5  # fraction of the measured surface above the support: less is a part of the support, or a sheet on it
_PURPOSES = frozenset({"to", "for", "with"})  # "to cut bread" names no place
_FILLED = 0.5  # fraction of a box that its object must cover: a box that is off by 4 % of its size leaves 85 %
_HOLES = 0.3  # fraction of a region without depth from which its object may end anywhere in it
_HOLES_BESIDE = 0.2  # fraction of the pixels around a surface: about one of its four sides
POINTED_LABEL = "object pointed at by a model"
"""Label of an object that no detector has named; words of the instruction are never used as a label."""


def checkable(reading: PartialReading, instruction: str) -> PartialReading:
    """The part of a reading that can be judged; unknown relations are kept only by name."""

    def known(clause: RelationClause) -> bool:
        query = SpatialQuery(instruction, "find", NounPhrase("object", relations=(clause,)))
        try:
            check_supported(query)
        except SpatialVlmError:
            return False
        return True

    judged = tuple(clause for clause in reading.clauses if known(clause))
    unjudged = tuple(c.relation for c in reading.clauses if c not in judged and c.relation not in _PURPOSES)
    return dataclasses.replace(reading, clauses=judged, unjudged=unjudged)


def refused_choice(
    instruction: str, status: Status, reason: str, scene: Scene, shown: Sequence[int] = ()
) -> Resolution:
    """The refusal of an object that a model pointed at, and may mean one of the rows `shown`."""
    return Resolution(
        instruction=instruction,
        status=status,
        message=f"The words were not understood, so a model was asked about them; {reason}.",
        candidates=tuple(Candidate(scene.objects[r].id, scene.objects[r].detection.label, 0.0) for r in shown),
        up_from=scene.up_from,
        stamp_ns=scene.frame.stamp_ns,
        source="model",
    )


def judged_choice(instruction: str, row: int, reading: PartialReading, scorer: PhraseScorer, why: str) -> Resolution:
    """The answer for an object that a model points at, after everything measurable was measured."""
    scene = scorer.layout.scene
    obj = scene.objects[row]
    clauses: list[ClauseBelief] = []
    unknown: list[str] = []  # names of what cannot be measured: the anchor is not seen, or the frame is unknown
    for clause in reading.clauses:
        try:
            (belief,) = scorer.score_phrase(NounPhrase("object", relations=(clause,))).clauses
        except (FrameUndefinedError, ValueError):  # not defined here, or a clause that is judged as several
            unknown.append(clause.relation)
            continue
        limit = scorer.config.decision.found
        missing = any(True for inner in belief.inner for _ in phrases_not_found(inner, limit))
        if missing and not belief.on_support:
            unknown.append(clause.relation)
        else:
            clauses.append(belief)
    unknown += reading.unjudged
    if reading.head is not None:  # attributes that neither measurement nor the detector can tell
        view = scorer.view_for(FrameOfReference.VIEWER, depends=False)
        members = scorer.match(reading.head) >= scorer.config.decision.found
        unknown += [
            word
            for word in reading.head.attributes
            if attribute_likelihood(word, scorer.layout, view, members)[row] == UNKNOWN
        ]
    status, reason = _status(obj, row, reading, clauses, scorer)
    measurements = tuple(measurement_at(clause, row, scorer) for clause in clauses)
    candidate = Candidate(obj.id, obj.detection.label, 0.0, measurements)
    if status is not Status.OK:
        refused = refused_choice(instruction, status, reason, scene, (row,))
        return dataclasses.replace(refused, candidates=(candidate,), frame_of_reference=scorer.default_frame)
    held = [f"{clause.name} {' and '.join(_anchor_names(clause, row, scorer))}" for clause in clauses]
    holds = f" According to depth, it is {' and '.join(held)}." if held else ""
    unchecked = f" Not checked, because neither depth nor detector can tell: {', '.join(unknown)}." if unknown else ""
    return Resolution(
        instruction=instruction,
        status=Status.OK,
        message=f"{CHOSEN_BY_MODEL} ({why}). It points at {_name(obj)}.{holds}{unchecked}",
        target=target_of(obj, scene),
        candidates=(candidate,),
        frame_of_reference=scorer.default_frame,
        up_from=scene.up_from,
        stamp_ns=scene.frame.stamp_ns,
        caution=scorer.config.decision.caution,
        source="model",
    )


def _status(
    obj: SceneObject, row: int, reading: PartialReading, clauses: Sequence[ClauseBelief], scorer: PhraseScorer
) -> tuple[Status, str]:
    """OK, or a refusal and its reason. First the object is checked, then the words about it."""
    name = _name(obj)
    can = usable(row, scorer)
    if can is Status.DEPTH_INVALID:
        return can, f"it points at {name}, whose depth cannot be trusted: {obj.depth_problem}"
    if can is Status.OCCLUDED:
        return can, f"it points at {name}, of which only {obj.visible_fraction:.0%} is visible"
    if obj.detection.label == POINTED_LABEL:
        doubt = _doubt(obj, scorer)
        if doubt is not None:
            return doubt
    if reading.head is not None:
        plain = NounPhrase(reading.head.category, reading.head.attributes)
        found, fit = scorer.config.decision.found, scorer.score_phrase(plain).fit
        if fit[row] < found and (scorer.match(plain) >= found).any():
            seen = ", and one is visible" if (fit >= found).any() else ""
            return Status.DISAGREEMENT, f"it points at {name}, but the words name a {named(plain)}{seen}"
    holds = scorer.config.decision.holds
    for wanted, status, words in (
        (ClauseState.FAILS, Status.DISAGREEMENT, "is not"),
        (ClauseState.UNCLEAR, Status.LOW_CONFIDENCE, "is not clearly"),
    ):
        for clause in clauses:
            if state_of(float(clause.likelihood[row]), holds) is wanted:
                anchors = " and ".join(_anchor_names(clause, row, scorer)) or "any object of that name"
                return status, f"it points at {name}, which according to depth {words} {clause.name} {anchors}"
    # A stated superlative, ordinal or side must be known to hold.
    unread, head = list(reading.unread), reading.head
    if head is not None and head.ordinal is not None:
        unread.append(f"number {head.ordinal.n}")  # its side may be a guess
        head = dataclasses.replace(head, ordinal=None)
    if head is not None:
        unread += _unconfirmed(row, head, scorer)
    if not unread:
        return Status.OK, ""
    said = " and ".join(f"'{part}'" for part in unread)
    return Status.LOW_CONFIDENCE, f"it points at {name}, but measurement does not confirm {said}"


def _unconfirmed(row: int, head: NounPhrase, scorer: PhraseScorer) -> list[str]:
    """Superlatives that fail for an object or have nothing to compare with, and sizes that fail."""
    try:
        belief = scorer.score_phrase(head)
    except (FrameUndefinedError, ValueError):
        return [] if head.superlative is None else [head.superlative]
    compared = belief.fit >= scorer.config.decision.found
    if not compared[row] or compared.sum() < 2:
        return [] if head.superlative is None else [head.superlative]
    holds = scorer.config.decision.holds
    states = [(clause, state_of(float(clause.likelihood[row]), holds)) for clause in belief.clauses]
    return [
        clause.name
        for clause, state in states
        if state is ClauseState.FAILS or (clause.name == head.superlative and state is not ClauseState.HOLDS)
    ]


def _doubt(obj: SceneObject, scorer: PhraseScorer) -> tuple[Status, str] | None:
    """Evidence against an object that no detector has found: its size, depth, height, pieces, and borders."""
    lift, scene = scorer.config.lift, scorer.layout.scene
    if scene.support is None:
        reason = "no support surface was measured, so what it points at may be part of something else"
        return Status.LOW_CONFIDENCE, reason
    reach, longest = 2 * lift.point_reach, float(obj.box.size.max())
    if longest > reach:
        size = f"{longest:.2f} m long, more than {reach:g} m (twice lift.point_reach)"
        return Status.LOW_CONFIDENCE, f"what it points at is {size}"
    if obj.truncated:
        return Status.LOW_CONFIDENCE, "what it points at is cut by the border of the image"
    pixels = measured_pixels(obj.points, scene.frame)
    around = cut_out_in_image(obj, scene, scorer.config.depth, lift)
    if raised_share(pixels, scene.frame, scene.support, lift) < _RAISED:
        return Status.LOW_CONFIDENCE, "what it points at barely rises above its support, and may be part of it"
    others = [object_pixels(other, scene.frame) for other in scene.objects if other is not obj]
    share = largest_piece(pixels, np.logical_or.reduce(others) if others else None)
    if share < _ONE_PIECE:
        pieces = f"its measured surface is in separate pieces, and the largest has {share:.0%} of it"
        return Status.AMBIGUOUS, f"what it points at may be several objects: {pieces}"
    if around.rival > 0.0:
        reason = f"its box holds two pieces {around.apart:.2f} m apart"
        return Status.AMBIGUOUS, f"what it points at may be several objects: {reason}"
    if around.holes > _HOLES:
        reason = f"what it points at has no depth in {around.holes:.0%} of its possible area, so its end is unknown"
        return Status.DEPTH_INVALID, reason
    if around.beside > _HOLES_BESIDE:
        reason = f"{around.beside:.0%} of the pixels around what it points at have no depth, and it may continue there"
        return Status.DEPTH_INVALID, reason
    if around.is_part:
        reason = "what it points at continues outside the place that it gives, so it may be part of something larger"
        return Status.LOW_CONFIDENCE, reason
    if around.filled < _FILLED:
        filled = f"only {around.filled:.0%} of its box is spanned by a raised surface"
        reason = f"{filled}, so the box may belong to another object"
        return Status.LOW_CONFIDENCE, reason
    return None


def _name(obj: SceneObject) -> str:
    if obj.detection.label == POINTED_LABEL:
        return f"an object that no detector has found ({obj.id})"
    return f"the {name_of(obj)}"


def _anchor_names(clause: ClauseBelief, row: int, scorer: PhraseScorer) -> list[str]:
    if clause.on_support:
        return ["the table"]
    objects = scorer.layout.scene.objects
    return [f"the {name_of(objects[int(a)])}" for a in clause.anchors[row] if a >= 0]


# ----------------------------------------------------------------------------------------------------
# A detector draws its box around an object. A pointing model may draw its box around a part of an object, around two
# objects, or around a piece of wall; whatever the box holds is measured as if it ended at the box.

_OWN_PIECE = 0.2  # fraction of an object's measured pixels from which a piece of the surface counts as its own
_LEAST_PX, _SIDE, _FARTHEST = 3, 0.1, 0.02  # pixels, side fraction, metres: how far a box may fall short
_GOES_ON = 0.05  # fraction of an object's measured pixels: more of its surface farther outside is more than a handle
_RIVAL = 0.15  # fraction of an object's pixels in its box: another piece of that size is an object as well
_MOSTLY_INSIDE = 0.5  # fraction of a piece in the box: with more of it outside, it is not the box's object
_RIM_PX = 7  # pixels across in which two surfaces are neighbours: each loses a rim of up to 3 pixels
_SAMPLE = 1500  # points of a piece that distances are measured from
_RING_PX = (5, 9)  # pixels around a surface in which depth starts again after its edge: a step leaves a rim of 4


@dataclass(frozen=True, eq=False)
class CutOut:
    """How well a box or mask fits its object, judged by the measured surface around it."""

    # pixels of the object's surface that lie well outside its box or mask, as a fraction of its measured pixels
    goes_on: float
    # pixels of the largest other raised piece in the box that is separate in space, as a fraction of the object's
    # pixels in the box; 0 if there is none
    rival: float
    apart: float  # distance between the two, metres; NaN if there is no such piece
    # fraction of the box that is covered by the box around the object's surface and what hides it; 1 with a mask
    filled: float
    holes: float  # fraction of the box or mask without depth, not counting pixels known to be something else
    # fraction of the pixels around a mask's surface without depth; 0 with a box, which shows where the object ends
    beside: float

    @property
    def is_part(self) -> bool:
        """True if the box or mask cuts off a part of the object."""
        return self.goes_on >= _GOES_ON


def cut_out_in_image(obj: SceneObject, scene: Scene, depth_config: DepthConfig, lift_config: LiftConfig) -> CutOut:
    """Compare a measured object with the connected surface around it that is raised above the support plane.

    A surface is connected where no depth edge crosses it. The box may fall short of it by 10 % of the side, at most by
    2 cm and at least by 3 pixels, because boxes of models are off by some pixels. Objects that touch count as one
    surface.
    """
    frame = scene.frame
    measured = measured_pixels(obj.points, frame)
    others = np.zeros_like(measured)
    for other in scene.objects:
        if other is not obj:
            others |= object_pixels(other, frame)
    labels = connected_pieces(frame, raised_pixels(frame, scene.support, lift_config) & ~others, depth_config)
    mine = np.bincount(labels[measured], minlength=int(labels.max()) + 1)
    mine[0] = 0
    own = mine >= max(1.0, _OWN_PIECE * np.count_nonzero(measured))
    surface = own[labels] | measured
    x0, y0, x1, y1 = obj.detection.box_xyxy
    height, width = frame.depth.shape
    left, top = min(max(0, round(x0)), width - 1), min(max(0, round(y0)), height - 1)
    right, bottom = max(left + 1, min(width, round(x1))), max(top + 1, min(height, round(y1)))
    inside = np.zeros_like(measured)
    inside[top:bottom, left:right] = True
    cut = inside if obj.detection.mask is None else obj.detection.mask
    z, K = float(obj.points[:, 2].mean()), frame.camera.K
    across, down = (  # by which the box may fall short
        max(_LEAST_PX, round(min(_SIDE * side, _FARTHEST * float(K[i, i]) / z)))
        for i, side in enumerate((x1 - x0, y1 - y0))
    )
    around = cv2.dilate(cut.view(np.uint8), np.ones((2 * down + 1, 2 * across + 1), np.uint8)).view(np.bool_)
    goes_on = int(np.count_nonzero(surface & ~around)) / max(1, int(np.count_nonzero(measured)))
    rival, apart = 0.0, math.nan
    if own.any():
        gap = float(depth_gap(z, depth_config, lift_config))
        rival, apart = _rival(labels, own, cut, others, scene, gap, frame)
    missing = ~np.isfinite(frame.depth)
    missing = missing if frame.robot is None else missing & ~frame.robot.own
    empty = int(np.count_nonzero(missing & cut & ~others))
    near, far = (
        cv2.dilate((surface & cut).view(np.uint8), np.ones((2 * px + 1,) * 2, np.uint8)).view(np.bool_)
        for px in _RING_PX
    )
    ring = far & ~near & ~others
    beside = int(np.count_nonzero(ring & missing)) / max(1, int(np.count_nonzero(ring)))
    filled, known = 1.0, (surface | others) & inside
    if obj.detection.mask is None:
        first_x, first_y, last_x, last_y = box_around(known) if known.any() else (0.0, 0.0, 0.0, 0.0)
        filled = (last_x - first_x) * (last_y - first_y) / ((right - left) * (bottom - top))
    return CutOut(
        goes_on=goes_on,
        rival=rival,
        apart=apart,
        filled=filled,
        holes=empty / max(1, empty + int(np.count_nonzero(surface & cut))),
        beside=0.0 if obj.detection.mask is None else beside,
    )


def _rival(
    labels: npt.NDArray[np.int32], own: npt.NDArray[np.bool_], inside: Mask, others: Mask, scene: Scene, gap: float,
    frame: RgbdFrame,
) -> tuple[float, float]:  # fmt: skip
    """Size and distance of the largest piece of the cut-out surface that is separate from the main piece.

    The far wall of a cup is a piece as well, and meets the near one at its rim. Two pieces on either side of another
    object may be connected behind it.
    """
    counts = np.bincount(labels[inside], minlength=len(own))
    areas = np.bincount(labels.reshape(-1), minlength=len(own))
    counts[0] = 0
    main = int(np.argmax(np.where(own, counts, 0)))
    first = labels == main
    large = (counts >= _RIVAL * counts[main]) & (counts >= _MOSTLY_INSIDE * areas) & (counts > 0)
    large[main] = False
    for piece in sorted(np.flatnonzero(large).tolist(), key=lambda n: -int(counts[n])):
        second = labels == piece
        behind = any(
            (_grown(first) & pixels).any() and (_grown(second) & pixels).any()
            for pixels in (object_pixels(other, frame) & others for other in scene.objects)
        )
        a = _points(first & inside, frame)
        b = _points(second & inside, frame)
        squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * a @ b.T
        apart = float(np.sqrt(max(0.0, float(squares.min()))))
        if apart > gap and not behind:
            return float(counts[piece] / counts[main]), apart
    return 0.0, math.nan


def _grown(mask: Mask) -> Mask:
    return cv2.dilate(mask.view(np.uint8), np.ones((_RIM_PX, _RIM_PX), np.uint8)).view(np.bool_)


def _points(pixels: Mask, frame: RgbdFrame) -> Points:
    """(N, 3) metres: at most _SAMPLE of the measured points of some pixels."""
    rows, columns = np.nonzero(pixels & np.isfinite(frame.depth))
    kept = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _SAMPLE)).astype(np.intp))
    xs, ys = normalised_axes(frame.camera)
    z = frame.depth[rows[kept], columns[kept]]
    return np.stack([xs[columns[kept]] * z, ys[rows[kept]] * z, z], axis=1).astype(np.float32)
