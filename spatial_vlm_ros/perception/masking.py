# SPDX-License-Identifier: Apache-2.0
"""Masks for objects given as boxes or points, if a backend has a mask model.

A grounder with a mask model has a method `masked(rgb, detections)` beside `ground`. Without one, geometry finds the
pixels of a box, or the surface at a point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.geometry.boxes import box_around, overlaps
from spatial_vlm_ros.perception.grounder import model_errors
from spatial_vlm_ros.types import Detection, Mask, Rgb

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


class Masker(Protocol):
    """Adds masks to detections that have none."""

    def masked(self, rgb: Rgb, detections: Sequence[Detection]) -> tuple[Detection, ...]:
        """Return the same detections in the same order, with masks if the mask model finds them.

        Raises:
            ModelError: the mask model failed.
        """
        ...


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
    """Add the masks of a mask model, not PointsByDepth, to detections; see `Masker`."""
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
