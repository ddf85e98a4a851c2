# SPDX-License-Identifier: Apache-2.0
"""Turn points that a model puts on objects into objects with masks and boxes; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.geometry.boxes import box_around
from spatial_vlm_ros.perception.backends.families import ModelFamily
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.masking import MaskModel, PointsByDepth
from spatial_vlm_ros.perception.replies import NamedObject
from spatial_vlm_ros.types import Mask, Rgb

SAME_MASK = 0.8
"""Overlap (IoU) of masks from which two points are on one object."""

NO_MASKS = (
    "set masks=sam2 masks_model=…, or masks=depth, so that its points become objects, or use a model that writes boxes"
)
"""Advice if a model writes points and nothing turns them into objects."""

NONE = "none"
"""Value of the option `masks` for a model that only gives second opinions."""
BY_DEPTH = "depth"
"""Value of the option `masks` that leaves points to geometry: each becomes the connected surface at it."""


@dataclass(frozen=True, eq=False)
class MaskedObject:
    """An object named in a reply, with a box or, for depth, a point, and with its (H, W) bool mask if there is one."""

    named: NamedObject
    mask: Mask | None


def with_boxes(
    found: Sequence[NamedObject], rgb: Rgb, masks: MaskModel | PointsByDepth | None, *, several: bool, model: str
) -> tuple[MaskedObject, ...]:
    """Give each object of one reply a box: its own, or the box around the mask at its point.

    With PointsByDepth, points stay points. Two points are on one object if their masks overlap by SAME_MASK. For a
    model that puts several points on an object, they also are if one lies in the mask of the other. The object gets the
    mask that holds most of its points.

    Args:
        found: objects of one reply about one name, pixels of `rgb`.
        rgb: (H, W, 3) uint8.
        masks: model that gives masks; None if the user wants none.
    """
    if isinstance(masks, PointsByDepth):
        return tuple(MaskedObject(one, None) for one in found)
    objects: dict[int, MaskedObject] = {}
    boxed = [(row, one, one.box_xyxy) for row, one in enumerate(found) if one.box_xyxy is not None]
    if boxed:
        cut = (None,) * len(boxed) if masks is None else masks.masks(rgb, [box for _, _, box in boxed])
        objects |= {row: MaskedObject(one, mask) for (row, one, _), mask in zip(boxed, cut, strict=True)}
    pointed = [
        (row, one, one.point_xy) for row, one in enumerate(found) if one.box_xyxy is None and one.point_xy is not None
    ]
    if pointed and masks is None:
        raise ModelError(model, "it returns points where boxes are needed", NO_MASKS)
    if pointed and masks is not None:
        points = [point for _, _, point in pointed]
        at = [_found(mask, point, model) for mask, point in zip(masks.point_masks(rgb, points), points, strict=True)]
        for group in _groups(points, at, several):
            mask = max((at[n] for n in group), key=lambda mask: sum(_holds(mask, points[n]) for n in group))
            row, one, _ = pointed[group[0]]
            objects[row] = MaskedObject(replace(one, box_xyxy=box_around(mask)), mask)
    return tuple(objects[row] for row in sorted(objects))


def with_masks_of(grounding: Grounding, objects: Sequence[MaskedObject]) -> Grounding:
    """Give detections the masks of the objects that have the same boxes."""
    masks = {one.named.box_xyxy: one.mask for one in objects if one.mask is not None}
    detections = tuple(replace(one, mask=masks.get(one.box_xyxy, one.mask)) for one in grounding.detections)
    return replace(grounding, detections=detections)


def mask_model_of(
    masks: str, masks_model: str, family: ModelFamily | None, **given: str
) -> MaskModel | PointsByDepth | None:
    """Load the mask model that the options ask for, or its replacement.

    Args:
        masks: option: "" for none, "sam2", "depth", or "none": points are only for `refer`.
        masks_model: option: folder or id of SAM 2.
        family: family of the model that is asked for places; None = a family that writes boxes.
        **given: preset and settings; see `sam2.with_masks`.
    """
    if masks == NONE:
        return None
    if masks == BY_DEPTH:
        if masks_model:
            raise InputError("option masks_model", repr(masks_model), "none with masks=depth", "leave it out")
        if family is not None and family.several_points:
            got = f"depth, but {family.name} models put several points on an object"
            raise InputError(
                "option masks", got, "a model of masks that assigns points to objects", "set masks=sam2 masks_model=…"
            )
        return PointsByDepth()
    if not masks:
        if family is not None and family.places == "point":
            got = f"none, but {family.name} models write points, not boxes"
            repair = "set masks=sam2 masks_model=…, or masks=depth, so that its points become objects; or masks=none, "
            raise InputError(
                "option masks",
                got,
                "a setting that turns points into objects",
                repair + "to use it for a second opinion only",
            )
        return None
    from spatial_vlm_ros.perception.backends import sam2  # loads torch later, after the checks of the options

    return sam2.chosen_segmenter(masks, masks_model, **given)


def _found(mask: Mask | None, point: tuple[float, float], model: str) -> Mask:
    if mask is None:
        reason = f"the model of masks finds no object at its point ({point[0]:.0f}, {point[1]:.0f})"
        raise ModelError(model, reason, "ask again, or use a model that writes boxes")
    return mask


def _groups(points: Sequence[tuple[float, float]], masks: Sequence[Mask], several: bool) -> list[list[int]]:
    """Group the points of each object; indices in order."""
    groups: list[list[int]] = []
    for n in range(len(points)):
        mine = [group for group in groups if any(_same(points, masks, n, other, several) for other in group)]
        groups = [group for group in groups if group not in mine] + [sorted([n, *(m for group in mine for m in group)])]
    return sorted(groups)


def _same(points: Sequence[tuple[float, float]], masks: Sequence[Mask], a: int, b: int, several: bool) -> bool:
    if several and (_holds(masks[a], points[b]) or _holds(masks[b], points[a])):
        return True
    union = np.count_nonzero(masks[a] | masks[b])
    return bool(np.count_nonzero(masks[a] & masks[b]) >= SAME_MASK * union)


def _holds(mask: Mask, point: tuple[float, float]) -> bool:
    """Whether a point lies on a mask; (0, 0) is the corner of the first pixel."""
    column, row = (min(max(int(v), 0), side - 1) for v, side in zip(point, mask.shape[::-1], strict=True))
    return bool(mask[row, column])
