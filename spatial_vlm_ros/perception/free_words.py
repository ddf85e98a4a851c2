# SPDX-License-Identifier: Apache-2.0
"""Resolve words outside the grammar by asking a model which object they mean (ADR 0044).

`language.free_words` decides whether such words may be asked at all, `pointed_out` handles the model's answer, and
`spatial.free_words` checks it against geometry.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError, NotUnderstoodError
from spatial_vlm_ros.geometry.pieces import object_pixels
from spatial_vlm_ros.language.free_words import held_back, partial_reading
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.grounding_checks import grounding_of_objects
from spatial_vlm_ros.perception.masking import with_mask
from spatial_vlm_ros.perception.pointed_out import ask_for_words, pointed_out, same_as_detected
from spatial_vlm_ros.perception.referring import Referrer, referrer_of
from spatial_vlm_ros.spatial.free_words import checkable, judged_choice, refused_choice
from spatial_vlm_ros.spatial.mentioned_phrases import nested
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.types import Detection, Mask, NounPhrase, Resolution, RgbdFrame, Scene, Status

Lift = Callable[[RgbdFrame, Sequence[Detection]], Scene]
ScorerOf = Callable[[Scene, Sequence[NounPhrase], Grounding], PhraseScorer]


class AnsweredByModel(NamedTuple):
    """An answer to free words, with all detections and the scene, including an object that the model added."""

    resolution: Resolution
    grounding: Grounding
    scene: Scene


class FreeWords:
    """Words outside the grammar that may be put to a model.

    Attributes:
        phrases: phrases that are understood and can be searched for: the noun before the refused part, and the anchors;
            often none.
    """

    def __init__(self, words: str, refused: NotUnderstoodError) -> None:
        self._words, self._refused = words, refused
        why = held_back(words, refused.kind)
        if why is not None:
            raise self._unanswered(f"no model is asked about these words: {why}") from refused
        self._reading = checkable(partial_reading(words, refused.span), words)
        named = self._reading.head is not None and self._reading.head.category != "object"
        head = (self._reading.head,) if named and self._reading.head is not None else ()
        anchors = (anchor for clause in self._reading.clauses for anchor in clause.anchors)
        self.phrases = tuple(dict.fromkeys(part for phrase in (*head, *anchors) for part in nested(phrase)))

    def referrer(self, grounder: object) -> Referrer:
        """Return a grounder as the model to ask."""
        try:
            return referrer_of(grounder)
        except InputError as error:
            raise self._unanswered(f"no model can be asked: {error}") from error

    def answer(
        self,
        referrer: Referrer,
        scene: Scene,
        grounding: Grounding,
        config: ResolverConfig,
        lift: Lift,
        scorer_of: ScorerOf,
    ) -> AnsweredByModel:
        """Ask the model once, and check the object it names by measurement.

        Args:
            config: least overlap of a box with the object it names, and what counts as standing out from the support.
        """
        try:
            found = ask_for_words(referrer, scene, self._words)
            overlap = config.second_opinion.overlap
            chosen = pointed_out(found, scene, overlap, type(referrer).__name__, config.lift)
        except (ModelError, InputError) as error:
            raise self._unanswered(f"the model did not help: {error}") from error
        if chosen.status is not Status.OK:
            refused = refused_choice(self._words, chosen.status, chosen.reason, scene, chosen.rows)
            return AnsweredByModel(refused, grounding, scene)
        if chosen.added is not None:
            added = self._cut_out(referrer, scene, chosen.added, overlap)
            wider = _with_added(grounding, scene, added)
            lifted = lift(scene.frame, wider.detections)
            same = same_as_detected(_pixels_of(added, lifted), scene)
            if same is None:
                grounding, scene = wider, lifted
            elif same.status is not Status.OK:
                refused = refused_choice(self._words, same.status, same.reason, scene, same.rows)
                return AnsweredByModel(refused, grounding, scene)
            else:
                chosen = same
        row = chosen.row
        if chosen.added is not None:
            row = next((n for n, obj in enumerate(scene.objects) if obj.id == chosen.added.id), None)
        if row is None:
            refused = refused_choice(self._words, Status.NOT_FOUND, "it points at the robot itself", scene)
            return AnsweredByModel(refused, grounding, scene)
        scorer = scorer_of(scene, self.phrases, grounding_of_objects(grounding, scene))
        why = f"{self._refused.reason}: {self._refused.part!r}"
        return AnsweredByModel(judged_choice(self._words, row, self._reading, scorer, why), grounding, scene)

    def _cut_out(self, model: object, scene: Scene, added: Detection, overlap: float) -> Detection:
        try:
            return with_mask(model, scene.frame.rgb, added, overlap)
        except ModelError as error:
            raise self._unanswered(f"the model did not help: {error}") from error

    def _unanswered(self, reason: str) -> NotUnderstoodError:
        refused = self._refused
        return NotUnderstoodError(self._words, refused.span, f"{refused.reason}; {reason}", refused.repair)


def _pixels_of(added: Detection, lifted: Scene) -> Mask:
    """(H, W) bool mask of an added object: its mask, or its measured pixels."""
    found = (obj for obj in lifted.objects if obj.id == added.id and len(obj.points))
    nothing = np.zeros(lifted.frame.depth.shape, np.bool_)
    return next((object_pixels(obj, lifted.frame) for obj in found), nothing)


def _with_added(grounding: Grounding, scene: Scene, added: Detection) -> Grounding:
    """Add an object that fits none of the phrases to a grounding; the other detections are as lifted."""
    known = {detection.id: detection for detection in (*scene.of_robot, *(obj.detection for obj in scene.objects))}
    lifted = (known.get(detection.id, detection) for detection in grounding.detections)
    kept = [one if one.mask is None else dataclasses.replace(one, pointed=False) for one in lifted]
    match = np.hstack([grounding.match, np.zeros((len(grounding.match), 1))])
    return Grounding((*kept, added), match, grounding.unread)
