# SPDX-License-Identifier: Apache-2.0
"""Whether a grounding fits its phrases, its frame and a scene; and its match matrix as a function of phrases."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.perception.validation import check_detections
from spatial_vlm_ros.types import NounPhrase, RgbdFrame, Scene


def match_of(phrases: Sequence[NounPhrase], grounding: Grounding) -> Callable[[NounPhrase], npt.NDArray[np.float64]]:
    """How well objects match a phrase: one that was looked for, or one of the same name that a question derives."""
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
    """A grounding with checked detections and a row for each phrase.

    Raises:
        InputError: detections that do not fit the frame.
        ModelError: its match matrix does not fit.
    """
    detections = check_detections(grounding.detections, frame.camera.width, frame.camera.height)
    match = np.asarray(grounding.match, np.float64)
    if match.shape != (len(phrases), len(detections)) or not ((match >= 0) & (match <= 1)).all():
        got = f"a match matrix of shape {match.shape} for {len(phrases)} phrases and {len(detections)} objects"
        raise ModelError(name, got + ", or values outside 0..1", "fix the backend")
    return Grounding(detections, match, grounding.unread)


def grounding_of_objects(grounding: Grounding, scene: Scene) -> Grounding:
    """What was found, but for detections of the robot: a column for each object of the scene.

    Raises:
        InputError: it is the grounding of other detections.
    """
    column_of = {detection.id: column for column, detection in enumerate(grounding.detections)}
    columns = [column_of.get(obj.id, -1) for obj in scene.objects]
    if -1 in columns or len(columns) + len(scene.of_robot) < len(column_of):
        got, expected = ", ".join(column_of) or "none", ", ".join(obj.id for obj in scene.objects) or "none"
        raise InputError("detections of the grounding", got, expected, "pass the frame's own detections")
    kept = tuple(grounding.detections[column] for column in columns)
    return dataclasses.replace(grounding, detections=kept, match=grounding.match[:, columns])
