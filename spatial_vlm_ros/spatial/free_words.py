# SPDX-License-Identifier: Apache-2.0
"""Check the object that a model points at for words outside the grammar: an answer, or a refusal.

The model only chooses the object: its position is measured, and everything that can be checked is checked. A person
must agree before anything moves (ADR 0033), so the answer says that a model chose it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from spatial_vlm_ros.errors import FrameUndefinedError, SpatialVlmError
from spatial_vlm_ros.geometry.alone import cut_out_in_image
from spatial_vlm_ros.geometry.segmentation import largest_piece, measured_pixels, object_pixels, raised_share
from spatial_vlm_ros.language.free_words import PartialReading
from spatial_vlm_ros.language.rendering import named
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
    NounPhrase,
    RelationClause,
    Resolution,
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
    clauses, unknown = _measured(reading, scorer)
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


def _measured(reading: PartialReading, scorer: PhraseScorer) -> tuple[list[ClauseBelief], list[str]]:
    """Measured clauses, and names of those that cannot be measured: the anchor is not seen, or the frame is unknown."""
    found: list[ClauseBelief] = []
    unknown: list[str] = []
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
            found.append(belief)
    return found, unknown


def _name(obj: SceneObject) -> str:
    if obj.detection.label == POINTED_LABEL:
        return f"an object that no detector has found ({obj.id})"
    return f"the {name_of(obj)}"


def _anchor_names(clause: ClauseBelief, row: int, scorer: PhraseScorer) -> list[str]:
    if clause.on_support:
        return ["the table"]
    objects = scorer.layout.scene.objects
    return [f"the {name_of(objects[int(a)])}" for a in clause.anchors[row] if a >= 0]
