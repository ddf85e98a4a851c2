# SPDX-License-Identifier: Apache-2.0
"""Check a grounding against its phrases, its frame and a scene; and look up its match matrix by phrase."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.budgets import MOST_DETECTIONS, MOST_OF_ONE_NAME
from spatial_vlm_ros.errors import InputError, ModelError, ShapeError
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.language.lexicon import MOVING, NEVER_TAKEN
from spatial_vlm_ros.language.steps import by_step
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.spatial.belief import SUPPORT_ID
from spatial_vlm_ros.spatial.detector_profile import DetectorProfile
from spatial_vlm_ros.spatial.held import HELD, with_held
from spatial_vlm_ros.types import (
    Detection,
    NounPhrase,
    PinholeCamera,
    Rgb,
    RgbdFrame,
    Scene,
    SpatialQuery,
    UnexplainedRegion,
)
from spatial_vlm_ros.types.held import BoxInHand

# Check that detections fit their image, and clip their boxes to it.
# This module checks detections as a set; `types.Detection` checks a single one.

_log = logging.getLogger(__name__)


def check_detections(detections: Iterable[Detection], width: int, height: int) -> tuple[Detection, ...]:
    """Check the detections of one image, size in pixels; a box that reaches outside the image is clipped to it."""
    try:
        detections = tuple(detections)
    except TypeError as error:
        raise InputError("detections", type(detections).__name__, "a list of Detection", "pass a list") from error
    for detection in detections:
        if not isinstance(detection, Detection):
            repair = "build Detection(...) of each"
            raise InputError("detections", type(detection).__name__, "Detection objects", repair)
    if len(detections) > MOST_DETECTIONS:
        raise InputError("detections", str(len(detections)), f"{MOST_DETECTIONS} at most", "raise the score threshold")
    name, many = Counter(d.label for d in detections).most_common(1)[0] if detections else ("", 0)
    if many > MOST_OF_ONE_NAME:
        repair = "raise the score threshold, or leave out boxes that overlap"
        raise InputError(f"detections labelled {name!r}", str(many), f"{MOST_OF_ONE_NAME} at most", repair)
    if any(d.id == SUPPORT_ID for d in detections):
        raise InputError("detection id", repr(SUPPORT_ID), "another id", "this id is reserved for the support plane")
    repeated = [f"{n} detections have the id {id_!r}" for id_, n in Counter(d.id for d in detections).items() if n > 1]
    if repeated:
        shown = ", ".join(repeated[:5]) + (f" and {len(repeated) - 5} more" if len(repeated) > 5 else "")
        repair = "give each detection of a frame a different id"
        raise InputError("detection ids", shown, "each id once", repair)
    return tuple(_fitted(detection, width, height) for detection in detections)


def _fitted(detection: Detection, width: int, height: int) -> Detection:
    if detection.mask is not None and detection.mask.shape != (height, width):
        mask_height, mask_width = detection.mask.shape
        what = f"mask of detection {detection.id!r}"
        expected = f"{width}x{height} pixels, as in the image"
        raise ShapeError(what, expected=expected, received=f"{mask_width}x{mask_height} pixels")
    x0, y0, x1, y1 = detection.box_xyxy
    clipped = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        raise InputError(
            f"box of detection {detection.id!r}",
            str(detection.box_xyxy),
            f"a box inside the image of {width}x{height} pixels",
            "pass pixels of this image, not of a resized one, and not fractions or thousandths of its size",
        )
    if detection.mask is not None:
        window = detection.mask[int(clipped[1]) : int(clipped[3]) + 1, int(clipped[0]) : int(clipped[2]) + 1]
        if not window.any():
            got = "no pixel inside its box"
            repair = "check that mask and box belong together and to this image"
            raise InputError(f"mask of detection {detection.id!r}", got, "the mask of the object in the box", repair)
    return detection if clipped == detection.box_xyxy else replace(detection, box_xyxy=clipped)


def with_unexplained(
    grounding: Grounding,
    phrases: Sequence[NounPhrase],
    scene: Scene,
    lift: Callable[[RgbdFrame, Sequence[Detection]], Scene],
) -> tuple[Grounding, Scene]:
    """Where words speak of objects of any kind, count what no detection explains as objects without a name."""
    any_kind = np.array([phrase.category == "object" for phrase in phrases], np.float64)
    if not scene.unexplained or not any_kind.any():
        return grounding, scene
    more = tuple(Detection(one.id, "object", _UNNAMED, one.box) for one in scene.unexplained)
    match = np.hstack((grounding.match, np.repeat(any_kind[:, None], len(more), axis=1)))
    all_of_them = replace(grounding, detections=(*grounding.detections, *more), match=match)
    seen = (*(obj.detection for obj in scene.objects), *scene.of_robot)  # their boxes are those of the rectified image
    known = {one.id: one for one in seen}
    lifted = lift(scene.frame, [known.get(one.id, one) for one in all_of_them.detections])
    return all_of_them, dataclasses.replace(lifted, unexplained=scene.unexplained, evidence=scene.evidence)


def with_crops(
    grounding: Grounding, regions: Iterable[UnexplainedRegion], rgb: Rgb, ask: Callable[[Rgb], Grounding]
) -> Grounding:
    """Add what a model, asked for the same phrases, finds in crops around what it left without a name.

    A region for which it fails stays without a name.
    """
    height, width = rgb.shape[:2]
    taken = {one.id for one in grounding.detections}
    free = (name for name in map("crop_{}".format, itertools.count(1)) if name not in taken)
    for region in regions:
        x0, y0, x1, y1 = region.box
        aside, above = _AROUND * (x1 - x0), _AROUND * (y1 - y0)
        left, top = int(max(x0 - aside, 0)), int(max(y0 - above, 0))
        right, bottom = int(min(x1 + aside, width)), int(min(y1 + above, height))
        try:
            found = ask(np.ascontiguousarray(rgb[top:bottom, left:right]))
        except ModelError as error:
            _log.info("the model failed on a part of the image, which stays without a name: %s", error)
            continue
        if not found.detections:
            continue
        boxes = [tuple(np.add(one.box_xyxy, (left, top) * 2).tolist()) for one in found.detections]
        known = [one.box_xyxy for one in grounding.detections]
        new = (overlaps(region.box, boxes)[0] >= _SAME_PLACE) & ~(overlaps(boxes, known) >= _SAME_PLACE).any(axis=1)
        worth = new * found.match.max(axis=0, initial=0.0) * [one.score for one in found.detections]
        best = int(worth.argmax())
        if worth[best] > 0 and found.match[:, best].max() >= _MEANT:
            seen, sides = found.detections[best], ((top, height - bottom), (left, width - right))
            mask = None if seen.mask is None else np.pad(seen.mask, sides)
            more = replace(seen, id=next(free), box_xyxy=boxes[best], mask=mask)
            match = np.hstack((grounding.match, found.match[:, [best]]))
            grounding = replace(grounding, detections=(*grounding.detections, more), match=match)
    return grounding


_UNNAMED = 0.5  # score of something that no detector has found
_AROUND = 0.5  # of its own sides that is shown around a region
_SAME_PLACE = 0.3  # overlap from which a box in a crop is that of its region, or of an object that was found before
_MEANT = 0.5  # least match
LARGEST_TAKEN = 1.0 / 3.0
"""Share of the image above which a box is that of a support or of the background."""


def match_of(phrases: Sequence[NounPhrase], grounding: Grounding) -> Callable[[NounPhrase], npt.NDArray[np.float64]]:
    """Return a function that gives the match of a phrase: one that was searched for, or one with the same name."""
    rows: dict[object, int] = {}
    for row, phrase in reversed(list(enumerate(phrases))):
        rows |= dict.fromkeys((phrase.category, (phrase.category, phrase.attributes), phrase), row)

    def match(phrase: NounPhrase) -> npt.NDArray[np.float64]:
        for key in (phrase, (phrase.category, phrase.attributes), phrase.category):
            if key in rows:
                return grounding.match[rows[key]]
        return label_match((phrase,), grounding.detections)[0]

    return match


def checked_grounding(grounding: Grounding, phrases: Sequence[NounPhrase], rgb: Rgb, name: str) -> Grounding:
    """Check the detections of a grounding of an image, and that it has a match row for each phrase."""
    detections = check_detections(grounding.detections, rgb.shape[1], rgb.shape[0])
    match = np.asarray(grounding.match, np.float64)
    if match.shape != (len(phrases), len(detections)) or not ((match >= 0) & (match <= 1)).all():
        got = f"a match matrix of shape {match.shape} for {len(phrases)} phrases and {len(detections)} objects"
        raise ModelError(name, got + ", or values outside 0..1", "fix the backend")
    if not isinstance(grounding.profile, DetectorProfile | None):
        raise ModelError(name, f"a profile of type {type(grounding.profile).__name__}", "fix the backend")
    return replace(grounding, detections=detections, match=match)


def grounding_of_objects(grounding: Grounding, scene: Scene) -> Grounding:
    """Drop detections of the robot from a grounding: it then has one column per object of the scene."""
    column_of = {detection.id: column for column, detection in enumerate(grounding.detections)}
    columns = [column_of.get(obj.id, -1) for obj in scene.objects]
    if -1 in columns or len(columns) + len(scene.of_robot) < len(column_of):
        got, expected = ", ".join(column_of) or "none", ", ".join(obj.id for obj in scene.objects) or "none"
        raise InputError("detections of the grounding", got, expected, "pass the frame's own detections")
    kept = tuple(grounding.detections[column] for column in columns)
    return dataclasses.replace(grounding, detections=kept, match=grounding.match[:, columns])


def holding(
    scene: Scene, grounding: Grounding, phrases: tuple[NounPhrase, ...], held: BoxInHand | None
) -> tuple[Scene, Grounding, tuple[NounPhrase, ...]]:
    """Add the held object, if there is one, to a scene and its grounding: only the phrase `HELD` means it."""
    seen = scene if held is None else with_held(scene, held)
    if seen is scene:
        return scene, grounding, phrases
    kept = {obj.id for obj in seen.objects}
    columns = [k for k, one in enumerate(grounding.detections) if one.id in kept]
    match = np.zeros((len(phrases) + 1, len(columns) + 1))
    match[:-1, :-1], match[-1, -1] = grounding.match[:, columns], 1.0
    found = (*(grounding.detections[k] for k in columns), seen.objects[-1].detection)
    return seen, dataclasses.replace(grounding, detections=found, match=match), (*phrases, HELD)


def never_taken(detections: Sequence[Detection], camera: PinholeCamera) -> npt.NDArray[np.bool_]:
    """(N,) bool: True for tables, shelves, floors and walls by name, and for boxes over LARGEST_TAKEN of the image."""
    boxes = np.array([d.box_xyxy for d in detections], np.float64).reshape(-1, 4)
    share = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) / (camera.width * camera.height)
    named = np.array([bool(NEVER_TAKEN.intersection(d.label.lower().split()[-1:])) for d in detections], np.bool_)
    return named | (share > LARGEST_TAKEN)


def without_supports(
    grounding: Grounding, phrases: Sequence[NounPhrase], queries: Sequence[SpatialQuery], camera: PinholeCamera
) -> tuple[Grounding, tuple[Detection, ...]]:
    """Let what is never taken match neither "object" nor what a command takes; returns also what matched before."""
    taken = {step.target for query in queries for step in by_step(query) if step.action in MOVING}
    of = np.array([phrase.category == "object" or phrase in taken for phrase in phrases], np.bool_)
    masked = of[:, None] & never_taken(grounding.detections, camera) & (grounding.match > 0)
    ignored = tuple(grounding.detections[column] for column in np.flatnonzero(masked.any(axis=0)))
    return dataclasses.replace(grounding, match=np.where(masked, 0.0, grounding.match)), ignored
