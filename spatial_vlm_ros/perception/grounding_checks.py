# SPDX-License-Identifier: Apache-2.0
"""Check a grounding against its phrases, its frame and a scene; and look up its match matrix by phrase."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.language.lexicon import MOVING, NEVER_TAKEN
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.perception.validation import check_detections
from spatial_vlm_ros.types import Detection, NounPhrase, PinholeCamera, RgbdFrame, Scene, SpatialQuery

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


def checked_grounding(grounding: Grounding, phrases: Sequence[NounPhrase], frame: RgbdFrame, name: str) -> Grounding:
    """Check the detections of a grounding, and that it has a match row for each phrase."""
    detections = check_detections(grounding.detections, frame.camera.width, frame.camera.height)
    match = np.asarray(grounding.match, np.float64)
    if match.shape != (len(phrases), len(detections)) or not ((match >= 0) & (match <= 1)).all():
        got = f"a match matrix of shape {match.shape} for {len(phrases)} phrases and {len(detections)} objects"
        raise ModelError(name, got + ", or values outside 0..1", "fix the backend")
    return Grounding(detections, match, grounding.unread)


def grounding_of_objects(grounding: Grounding, scene: Scene) -> Grounding:
    """Drop detections of the robot from a grounding: it then has one column per object of the scene."""
    column_of = {detection.id: column for column, detection in enumerate(grounding.detections)}
    columns = [column_of.get(obj.id, -1) for obj in scene.objects]
    if -1 in columns or len(columns) + len(scene.of_robot) < len(column_of):
        got, expected = ", ".join(column_of) or "none", ", ".join(obj.id for obj in scene.objects) or "none"
        raise InputError("detections of the grounding", got, expected, "pass the frame's own detections")
    kept = tuple(grounding.detections[column] for column in columns)
    return dataclasses.replace(grounding, detections=kept, match=grounding.match[:, columns])


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
    taken = {query.target for query in queries if query.action in MOVING}
    of = np.array([phrase.category == "object" or phrase in taken for phrase in phrases], np.bool_)
    masked = of[:, None] & never_taken(grounding.detections, camera) & (grounding.match > 0)
    ignored = tuple(grounding.detections[column] for column in np.flatnonzero(masked.any(axis=0)))
    return dataclasses.replace(grounding, match=np.where(masked, 0.0, grounding.match)), ignored
