# SPDX-License-Identifier: Apache-2.0
"""Protocols of models that find the object of a whole phrase, or masks; matching an answer to a detection.

Handles boxes and points of replies, and detections; `spatial.second_opinion` weighs the answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol, cast

import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.geometry.boxes import box_around, overlaps
from spatial_vlm_ros.perception.coordinates import NamedObject
from spatial_vlm_ros.perception.grounder import model_errors
from spatial_vlm_ros.types import Detection, Mask, Rgb

MOST_FOUND = 1000
"""Most boxes and points of an answer."""
_DISTINCT = 0.1  # overlap by which the object meant must beat all others; with less, the answer is between two


class Referrer(Protocol):
    """Finds the object that a whole phrase means. A grounder that can do it has this method beside `ground`."""

    def refer(self, rgb: Rgb, words: str) -> tuple[NamedObject, ...]:
        """Find the object that a phrase with all its relations means: "the chick behind the cup".

        Boxes or points, pixels of `rgb`; empty if the model sees no such object. Raises ModelError.
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


_Box = tuple[float, float, float, float]


class MaskModel(Protocol):
    """Makes masks of objects from boxes and points, pixels of an (H, W, 3) uint8 image; `sam2.Segmenter` is one."""

    def masks(self, rgb: Rgb, boxes: Sequence[_Box]) -> tuple[Mask | None, ...]:
        """Make an (H, W) bool mask of the object in each box (left, top, right, bottom), or None; raises ModelError."""
        ...

    def point_masks(self, rgb: Rgb, points: Sequence[tuple[float, float]]) -> tuple[Mask | None, ...]:
        """Make an (H, W) bool mask of the object at each point (x, y), or None; raises ModelError."""
        ...


class PointsByDepth:
    """Replaces a MaskModel: points stay points, and geometry turns them into objects (`geometry.pointed`)."""


def with_mask(grounder: object, rgb: Rgb, detection: Detection, overlap: float) -> Detection:
    """Add a mask from the grounder's mask model to a detection; unchanged without a mask model or a fitting mask.

    A mask fits a box if the box around it overlaps the box (IoU) by `overlap` or more, a point if it contains the
    point.
    """
    masked = getattr(grounder, "masked", None)
    if not callable(masked):
        return detection
    name = type(grounder).__name__
    with model_errors(name):
        (one,) = masked(rgb, (detection,))
        mask = one.mask
    if mask is None:
        return detection
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        got = f"{mask.dtype}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise ModelError(name, f"it returned a mask of type {got}", "fix the backend: masks are arrays of bool")
    if mask.shape != rgb.shape[:2]:
        sides = "x".join(str(side) for side in mask.shape[1::-1] + mask.shape[2:])
        reason = f"it returned a mask of {sides} pixels for an image of {rgb.shape[1]}x{rgb.shape[0]}"
        raise ModelError(name, reason, "fix the backend")
    if not mask.any():
        raise ModelError(name, "it returned a mask without pixels", "fix the backend: return None if it finds nothing")
    around = box_around(mask)
    if detection.pointed:
        x, y = ((a + b) / 2 for a, b in zip(detection.box_xyxy[:2], detection.box_xyxy[2:], strict=True))
        fits = bool(mask[min(int(y), mask.shape[0] - 1), min(int(x), mask.shape[1] - 1)])
    else:
        fits = bool(overlaps(np.array(around), [detection.box_xyxy])[0, 0] >= overlap)
    return replace(detection, mask=mask, box_xyxy=around, pointed=False) if fits else detection


def masked_by(
    masks: MaskModel | PointsByDepth | None, rgb: Rgb, detections: Sequence[Detection]
) -> tuple[Detection, ...]:
    """Add the masks that a mask model, not PointsByDepth, finds to detections without one, in the same order."""
    if masks is None or isinstance(masks, PointsByDepth):
        return tuple(detections)
    made = list(detections)
    boxed = [n for n, one in enumerate(made) if one.mask is None and not one.pointed]
    pointed = [n for n, one in enumerate(made) if one.mask is None and one.pointed]
    points = [((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in (made[n].box_xyxy for n in pointed)]
    cut = [*zip(boxed, masks.masks(rgb, [made[n].box_xyxy for n in boxed]) if boxed else (), strict=True)]
    cut += [*zip(pointed, masks.point_masks(rgb, points) if pointed else (), strict=True)]
    for n, mask in cut:
        made[n] = made[n] if mask is None or not mask.any() else replace(made[n], mask=mask)
    return tuple(made)
