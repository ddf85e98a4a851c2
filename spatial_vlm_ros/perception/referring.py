# SPDX-License-Identifier: Apache-2.0
"""Protocol of models that find the object of a whole phrase, and matching their answer to a detection.

Handles boxes and points of replies, and detections; `spatial.second_opinion` weighs the answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.perception.coordinates import NamedObject
from spatial_vlm_ros.types import Detection, Rgb

MOST_FOUND = 1000
"""Most boxes and points of an answer."""
_DISTINCT = 0.1  # overlap by which the object meant must beat all others; with less, the answer is between two


class Referrer(Protocol):
    """Finds the object that a whole phrase means. A grounder that can do it has this method beside `ground`."""

    def refer(self, rgb: Rgb, words: str) -> tuple[NamedObject, ...]:
        """Find the object that a phrase with all its relations means: "the chick behind the cup".

        Boxes or points, pixels of `rgb`; empty if the model sees no such object.

        Raises:
            ModelError: the model failed, or its answer cannot be read.
        """
        ...


def referrer_of(grounder: object) -> Referrer:
    """Return a grounder as a Referrer."""
    if not callable(getattr(grounder, "refer", None)):
        raise cannot_refer("no grounder" if grounder is None else type(grounder).__name__)
    return cast(Referrer, grounder)


def cannot_refer(name: str) -> InputError:
    """The error if no model can give a second opinion."""
    return InputError(
        "second_opinion.ask or language.free_form", f"{name}, which cannot ground a whole phrase",
        "a grounder with `refer`",
        "choose a backend that refers, or switch this off (false, refuse)",
    )  # fmt: skip


def named(found: Sequence[NamedObject], detections: Sequence[Detection], overlap: float, model: str) -> int | None:
    """Find the one object, as a row of `detections`, that an answer names; None if none, several or one in between.

    A box names the object whose box it overlaps (intersection over union) by `overlap` or more, and by 0.1 more than
    any other. A point names the only object in whose mask (or box, without a mask) it lies. All parts of the answer
    must name the same object.
    """
    meant: list[list[int]] = []
    for one in check_found(found, model):
        if one.box_xyxy is not None:
            meant.append(in_box(one.box_xyxy, detections, overlap))
        if one.point_xy is not None:
            meant.append([row for row, detection in enumerate(detections) if covers(detection, one.point_xy)])
    return meant[0][0] if meant and len(meant[0]) == 1 and all(rows == meant[0] for rows in meant) else None


def check_found(found: Any, model: str) -> tuple[NamedObject, ...]:
    """Check an answer of a Referrer, and return it with plain numbers and texts."""
    repair = "fix the backend: its output is invalid"
    if not isinstance(found, (tuple, list)) or not all(isinstance(one, NamedObject) for one in found):
        raise ModelError(model, f"it returned {type(found).__name__}, not a tuple of NamedObject", repair)
    if len(found) > MOST_FOUND:
        raise ModelError(model, f"it named {len(found)} objects, more than {MOST_FOUND}", repair)
    checked = []
    for one in found:
        box, point, score = (
            () if values is None else tuple(np.array(values, np.float64).ravel().tolist())
            for values in (one.box_xyxy, one.point_xy, one.score)
        )
        if len(box + point) not in (2, 4, 6) or not all(map(math.isfinite, box + point + score)):
            raise ModelError(model, f"it returned {one!r}, which is not a place", repair)
        kept = (box or None, point or None, score[0] if score else None)
        checked.append(NamedObject(str(one.label), *kept))  # type: ignore[arg-type]
    return tuple(checked)


def in_box(box: tuple[float, float, float, float], detections: Sequence[Detection], overlap: float) -> list[int]:
    """Rows of the objects that a box may mean: one, several if it lies between them, or none; see `named`."""
    if not detections:
        return []
    ratios = overlaps(np.array(box, np.float64), [d.box_xyxy for d in detections])[0]
    best = int(np.argmax(ratios))
    if ratios[best] >= overlap and (ratios[best] - np.delete(ratios, best) >= _DISTINCT).all():
        return [best]
    near: list[int] = np.flatnonzero(ratios >= overlap).tolist()
    return near if len(near) > 1 else []


def covers(detection: Detection, point: tuple[float, float]) -> bool:
    """Whether a point lies on an object; (0, 0) is the centre of the first pixel."""
    x, y = point
    if detection.mask is None:
        x0, y0, x1, y1 = detection.box_xyxy
        return x0 <= x <= x1 and y0 <= y <= y1
    column, row = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    height, width = detection.mask.shape
    return 0 <= row < height and 0 <= column < width and bool(detection.mask[row, column])
