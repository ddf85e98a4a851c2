# SPDX-License-Identifier: Apache-2.0
"""State of a dialogue: what was said, what was asked, and which objects were spoken of, with their positions.

The next words are answered on another frame, in which detections have other ids, so an object is recognised by its name
and its position. See docs/dialogue.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.types import NounPhrase, Resolution, Scene, SceneObject, SpatialQuery, Step, Vector3

QuestionKind = Literal["which", "whether", "name", "whose"]
"""which: "the left or the right one?" · whether: "Do you mean the red cup?" · name: "Did you mean the nut can?" ·
whose: "From whose side?"."""

NEAR = 0.02, 0.06
"""Least and most metres by which an object may have moved and still be the same one; in between, half of its width."""
_SAME_BOX = 0.6  # overlap of boxes in the image from which an object without a position is the same one


@dataclass(frozen=True)
class RememberedObject:
    """An object at the time it was spoken of."""

    id: str
    label: str
    box: tuple[float, float, float, float]  # x0, y0, x1, y1 in the image, pixels
    frame_id: str
    stamp_ns: int
    position: Vector3 | None  # volume centre, metres; None if its depth was not measured
    width: float  # shorter horizontal side of its box, metres


Remembered = tuple[RememberedObject, ...]


@dataclass(frozen=True)
class OfferedObjects:
    """An answer that a question offers, and its objects; no objects = the object shown is not meant."""

    words: str
    objects: Remembered


@dataclass(frozen=True)
class AskedQuestion:
    """A question, and the meaning of its answers."""

    kind: QuestionKind
    text: str
    offers: tuple[OfferedObjects, ...] = ()  # answers in the order in which the question names them
    clear: bool = True  # True if each answer clearly fits its objects and no others; else it must be confirmed
    about: NounPhrase | None = None  # the name that fits nothing (kind "name")
    name: str = ""
    fewer: bool = False  # yes means only these objects, though more were asked for


@dataclass(frozen=True)
class Dialogue:
    """Everything that later words may refer to. Immutable: the same words always have the same meaning in it."""

    id: str
    said: tuple[str, ...]
    queries: tuple[SpatialQuery, ...]
    opened: tuple[SpatialQuery, ...]
    asked: AskedQuestion | None = None  # the open question; None if there is none
    shown: Remembered = ()
    among: Remembered = ()  # objects that the open question is about; empty = any
    denied: Remembered = ()
    confirmed: Remembered = ()
    unnamed: frozenset[str] = frozenset()
    forbids: tuple[Step, ...] = ()  # what the words forbid until they permit it again
    last: Resolution | None = field(default=None, compare=False, repr=False)


def remember(obj: SceneObject, scene: Scene) -> RememberedObject:
    """Remember an object of a scene, to find it again in another scene."""
    place = _place(obj, scene)
    frame_id = scene.frame.frame_id if scene.frame.base_T_camera is None else scene.frame.base_T_camera.parent
    x0, y0, x1, y1 = (float(v) for v in obj.detection.box_xyxy)
    position = None if place is None else (float(place[0]), float(place[1]), float(place[2]))
    width = float(np.min(obj.box.size[:2])) if position is not None else 0.0
    return RememberedObject(
        obj.id, obj.detection.label, (x0, y0, x1, y1), frame_id, scene.frame.stamp_ns, position, width
    )


def _place(obj: SceneObject, scene: Scene) -> np.ndarray | None:
    """(3,) volume centre in the base, else in the camera frame, metres; None if it was not measured."""
    if obj.depth_problem is not None or not np.isfinite(obj.box.centre).all():
        return None
    transform = scene.frame.base_T_camera
    return obj.box.centre if transform is None else transform.rotation @ obj.box.centre + transform.translation


def row_of(known: RememberedObject, scene: Scene) -> int | None:
    """Find the row of a remembered object in a scene; None if it is not clearly there.

    In the same image it has the same id, label and box. Otherwise it is the nearest object with its label (or with the
    same last word, if no object has the whole label), within the distance that it may have moved; two such objects
    cannot be told apart. An object without a position is recognised by its box in the image.
    """
    objects = scene.objects
    for row, obj in enumerate(objects):
        same = obj.id == known.id and obj.detection.label == known.label
        if same and scene.frame.stamp_ns == known.stamp_ns and tuple(obj.detection.box_xyxy) == known.box:
            return row
    frame_id = scene.frame.frame_id if scene.frame.base_T_camera is None else scene.frame.base_T_camera.parent
    if frame_id != known.frame_id:
        return None
    near = []
    for row, obj in enumerate(objects):
        place = _place(obj, scene)
        if known.position is not None and place is not None:
            limit = float(np.clip(known.width / 2, *NEAR))
            is_near = float(np.linalg.norm(place - np.array(known.position))) <= limit
        else:
            unplaced = known.position is None and place is None
            is_near = unplaced and overlaps(known.box, obj.detection.box_xyxy).item() >= _SAME_BOX
        if is_near:
            near.append(row)
    alike = [row for row in near if objects[row].detection.label == known.label]
    head = known.label.lower().split()[-1:]
    alike = alike or [row for row in near if objects[row].detection.label.lower().split()[-1:] == head]
    return alike[0] if len(alike) == 1 else None


def rows_of(some: Sequence[RememberedObject], scene: Scene) -> tuple[tuple[int, ...], bool]:
    """Rows of remembered objects in a scene, and True if all of them were found."""
    found = [row_of(known, scene) for known in some]
    rows = tuple(dict.fromkeys(row for row in found if row is not None))
    return rows, None not in found
