# SPDX-License-Identifier: Apache-2.0
"""Resolve words outside the grammar by asking a model which object they mean (ADR 0033).

`language.free_words` decides whether such words may be asked at all, `pointed_out` handles the model's answer, and
`spatial.free_words` checks it against geometry.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError, NotUnderstoodError
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.geometry.segmentation import object_pixels, raised_pixels
from spatial_vlm_ros.language.free_words import held_back, partial_reading
from spatial_vlm_ros.parameters import LiftConfig, ResolverConfig
from spatial_vlm_ros.perception.coordinates import NamedObject
from spatial_vlm_ros.perception.grounder import Grounding, model_errors
from spatial_vlm_ros.perception.grounding_checks import check_detections, grounding_of_objects
from spatial_vlm_ros.perception.referring import Referrer, check_found, covers, in_box, named, referrer_of, with_mask
from spatial_vlm_ros.spatial.free_words import POINTED_LABEL, checkable, judged_choice, refused_choice
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.support_check import nested
from spatial_vlm_ros.spatial.wording import name_of
from spatial_vlm_ros.types import Detection, NounPhrase, Resolution, RgbdFrame, Scene, SceneObject, Status

# Find the object of a scene, or the new one, that a model names for words outside the grammar.
#
# The words go to the model as a whole and quoted, in one request. Its answer gives only image locations: text of its
# reply is never followed, and never becomes a label.

POINTED_ID = "pointed-at"
"""Id of an object that no detector has found; a number is added if a detection already has this id."""
_NEAR_PX = 1.5  # pixels around a point within which an object's surface counts as being at it
_MOSTLY = 0.5  # share of what stands out in a box from which it means a detected object that it does not match


@dataclass(frozen=True, eq=False)
class PointedOut:
    """The object that a model pointed at."""

    status: Status
    reason: str = ""
    row: int | None = None  # row of an object of the scene; None for a new object
    added: Detection | None = None  # a new object that no detector has found; else None
    rows: tuple[int, ...] = ()  # rows of objects that it may mean, if the status is not OK


def ask_for_words(referrer: Referrer, scene: Scene, words: str) -> tuple[NamedObject, ...]:
    """Ask a model which object some words mean."""
    name = type(referrer).__name__
    with model_errors(name):
        answer = referrer.refer(scene.frame.rgb, words)
    found = check_found(answer, name)
    height, width = scene.frame.rgb.shape[:2]
    for one in found:
        x, y = _middle(one)
        if not (0 <= x <= width and 0 <= y <= height):
            reason = f"it points outside the image of {width}x{height} pixels, at ({x:.0f}, {y:.0f})"
            raise ModelError(name, reason, "check how this model writes places (spatial-vlm probe)")
    return found


def pointed_out(
    found: Sequence[NamedObject], scene: Scene, overlap: float, model: str, config: LiftConfig
) -> PointedOut:
    """Find the one object that a model's answer names.

    A box names a detected object as in `referring.named`. A point names the object on whose mask it lies, or on whose
    measured surface if there is no mask. A location that names no object becomes a new object, unless most of what
    stands out in its box belongs to a detected one. All locations have to name one object.
    """
    if not found:
        return PointedOut(Status.NOT_FOUND, "it points at no object")
    objects = scene.objects
    detections = [obj.detection for obj in objects]
    rows: list[int] = []
    others: list[NamedObject] = []
    for one in found:
        if any((named((one,), (robot,), overlap, model) is not None) for robot in scene.of_robot):
            return PointedOut(Status.NOT_FOUND, "it points at the robot itself")
        hit = [] if one.box_xyxy is None else in_box(one.box_xyxy, detections, overlap)
        if one.point_xy is not None:
            hit += [row for row, obj in enumerate(objects) if _lies_on(one.point_xy, obj, scene)]
        hit = list(dict.fromkeys(hit))  # several if the place lies between objects
        if len(hit) > 1:
            names = " and ".join(f"the {name_of(objects[row])}" for row in hit)
            return PointedOut(Status.AMBIGUOUS, f"its place is between {names}", rows=tuple(hit))
        rows += hit
        if not hit:
            others.append(one)
    kinds = sorted(set(rows))
    if len(kinds) + bool(others) > 1 or (len(others) > 1 and not _one_place(others)):
        said = [f"the {name_of(objects[row])}" for row in kinds] + ["an object that no detector found"] * bool(others)
        places = f"{len(found)} places ({', '.join(said)})" if kinds else f"{len(others)} places"
        return PointedOut(Status.AMBIGUOUS, f"it points at {places} instead of one object", rows=tuple(kinds))
    if kinds:
        return PointedOut(Status.OK, row=kinds[0])
    return _added(others[0], scene, detections, model, config)


def _lies_on(point: tuple[float, float], obj: SceneObject, scene: Scene) -> bool:
    """Whether a point of the image lies on an object: on its mask, else on its measured surface."""
    if obj.detection.mask is not None or not len(obj.points):
        return covers(obj.detection, point)
    x, y, z = (obj.points[:, i].astype(np.float64) for i in range(3))
    K = scene.frame.camera.K
    u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
    return bool((np.maximum(np.abs(u - point[0]), np.abs(v - point[1])) <= _NEAR_PX).any())


def _added(
    one: NamedObject, scene: Scene, detections: Sequence[Detection], model: str, config: LiftConfig
) -> PointedOut:  # fmt: skip
    """Make a new object if the location names no detected one."""
    height, width = scene.frame.rgb.shape[:2]
    if one.box_xyxy is not None and scene.objects:  # a detected object may be most of what stands out in the box
        sides = zip(one.box_xyxy, (width, height) * 2, strict=True)
        x0, y0, x1, y1 = (round(float(np.clip(v, 0, side))) for v, side in sides)
        inside = np.zeros((height, width), np.bool_)
        inside[y0:y1, x0:x1] = True
        objects = [object_pixels(obj, scene.frame) & inside for obj in scene.objects]
        counts = [np.count_nonzero(pixels) for pixels in objects]
        raised = raised_pixels(scene.frame, scene.support, config) & inside
        if scene.frame.robot is not None:  # removed from depth; whether it is the robot shows once lifted
            raised |= scene.frame.robot.own & inside
        standing = np.count_nonzero(np.logical_or.reduce([raised, *objects]))
        row = int(np.argmax(counts))
        if standing and counts[row] >= _MOSTLY * standing:
            name = name_of(scene.objects[row])
            reason = f"the {name} fills most of its box, but the box differs from that object's box"
            return PointedOut(Status.AMBIGUOUS, reason, rows=(row,))

    taken = {detection.id for detection in (*detections, *scene.of_robot)}
    ids = (POINTED_ID, *(f"{POINTED_ID}-{n}" for n in range(2, len(taken) + 3)))
    id_ = next(name for name in ids if name not in taken)
    try:
        if one.box_xyxy is not None:
            made = Detection(id_, POINTED_LABEL, 0.0, one.box_xyxy)
        else:
            x, y = _middle(one)
            made = Detection(id_, POINTED_LABEL, 0.0, (x - 1.0, y - 1.0, x + 1.0, y + 1.0), pointed=True)
        (made,) = check_detections((made,), width, height)
    except InputError as error:
        raise ModelError(model, f"its place cannot be used: {error}", "ask again, or use another model") from error
    return PointedOut(Status.OK, added=made)


def _measured(added: Detection, lifted: Scene, scene: Scene) -> PointedOut:
    """Find what a new object of `lifted` is: one of `scene` to which its pixels mostly belong, or one of its own.

    A point may lie beside the object that it means, and the segment at that point may still be that object. `row` of
    the result is the row in `lifted`, or None if the object belongs to the robot.
    """
    own = next((row for row, obj in enumerate(lifted.objects) if obj.id == added.id), None)
    pixels = np.zeros(1, np.bool_)
    if own is not None and len(lifted.objects[own].points):
        pixels = object_pixels(lifted.objects[own], lifted.frame)
    objects = [object_pixels(obj, scene.frame) for obj in scene.objects]
    shared = [np.count_nonzero(pixels & other) for other in objects]
    row = int(np.argmax(shared)) if shared else -1
    if not shared or not pixels.any() or shared[row] < _MOSTLY * np.count_nonzero(pixels):
        return PointedOut(Status.OK, row=own, added=added)
    if shared[row] >= _MOSTLY * np.count_nonzero(objects[row]):
        return PointedOut(Status.OK, row=row)
    reason = f"it points at a part of the {name_of(scene.objects[row])}, which may not mean the whole object"
    return PointedOut(Status.AMBIGUOUS, reason, rows=(row,))


def _middle(one: NamedObject) -> tuple[float, float]:
    if one.point_xy is not None:
        return one.point_xy
    x0, y0, x1, y1 = one.box_xyxy or (np.nan,) * 4
    return (x0 + x1) / 2, (y0 + y1) / 2


def _one_place(some: Sequence[NamedObject]) -> bool:
    """Whether locations are the same: boxes that share half of their area, and points in the first box."""
    first = some[0].box_xyxy
    if first is None:
        return False
    x0, y0, x1, y1 = first
    for other in some[1:]:
        if other.box_xyxy is not None and overlaps(np.array(first), [other.box_xyxy])[0, 0] < 0.5:
            return False
        x, y = _middle(other)
        if not (x0 <= x <= x1 and y0 <= y <= y1):
            return False
    return True


Lift = Callable[[RgbdFrame, Sequence[Detection]], Scene]
ScorerOf = Callable[[Scene, Sequence[NounPhrase], Grounding], PhraseScorer]


class AnsweredByModel(NamedTuple):
    """An answer to free words, with all detections and the scene, including an object that the model added."""

    resolution: Resolution
    grounding: Grounding
    scene: Scene


class FreeWords:
    """Words outside the grammar that may be put to a model; `phrases`, often none, can be searched for."""

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
        """Ask the model once, and check the object it names by measurement."""

        def refused(status: Status, reason: str, rows: tuple[int, ...] = ()) -> AnsweredByModel:
            return AnsweredByModel(refused_choice(self._words, status, reason, scene, rows), grounding, scene)

        overlap = config.second_opinion.overlap
        try:
            found = ask_for_words(referrer, scene, self._words)
            chosen = pointed_out(found, scene, overlap, type(referrer).__name__, config.lift)
            if chosen.added is not None:
                added = with_mask(referrer, scene.frame.rgb, chosen.added, overlap)
        except (ModelError, InputError) as error:
            raise self._unanswered(f"the model did not help: {error}") from error
        if chosen.added is not None:
            known = {one.id: one for one in (*scene.of_robot, *(obj.detection for obj in scene.objects))}
            seen = [known.get(one.id, one) for one in grounding.detections]  # as lifted
            seen = [one if one.mask is None else dataclasses.replace(one, pointed=False) for one in seen]
            match = np.hstack([grounding.match, np.zeros((len(grounding.match), 1))])  # it fits none of the phrases
            wider = dataclasses.replace(grounding, detections=(*seen, added), match=match)
            lifted = lift(scene.frame, wider.detections)
            chosen = _measured(added, lifted, scene)
            if chosen.added is not None:
                grounding, scene = wider, lifted
        if chosen.status is not Status.OK:
            return refused(chosen.status, chosen.reason, chosen.rows)
        if chosen.row is None:
            return refused(Status.NOT_FOUND, "it points at the robot itself")
        scorer = scorer_of(scene, self.phrases, grounding_of_objects(grounding, scene))
        why = f"{self._refused.reason}: {self._refused.part!r}"
        return AnsweredByModel(judged_choice(self._words, chosen.row, self._reading, scorer, why), grounding, scene)

    def _unanswered(self, reason: str) -> NotUnderstoodError:
        refused = self._refused
        return NotUnderstoodError(self._words, refused.span, f"{refused.reason}; {reason}", refused.repair)
