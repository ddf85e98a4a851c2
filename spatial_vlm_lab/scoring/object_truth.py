# SPDX-License-Identifier: Apache-2.0
"""The true objects of an image: from its detections, and from the description of a case.

Works on ids, names, boxes and masks; independent of answers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.geometry.boxes import box_around, overlaps
from spatial_vlm_ros.recording.cases import Box3d, BoxPixels, Case, Expectation
from spatial_vlm_ros.recording.frame_folder import read_mask
from spatial_vlm_ros.types import Detection, Mask

EXPECTED = "(expected)"
"""Id of an object that a case describes without an id, and that no detection is."""
SAME_BOX = 0.5
"""Least IoU of two boxes, or masks, of one object (Everingham et al. 2010, The PASCAL VOC challenge, section 4.2)."""
_CONTRADICTS = 0.1  # IoU below which a box and the detection of its id cannot be the same object


@dataclass(frozen=True, eq=False)
class KnownObject:
    """An object that is known to be in an image.

    Args:
        id: id of its detection, or EXPECTED.
        label: its name; "" = not known.
        box: pixels, or None.
        mask: (H, W) bool, or None.
        box_3d: metres, or None.
        tolerance_m: allowed distance of a pose's centre from that of `box_3d`, metres; None = not judged.
        detection: its detection; None if the case describes it.
    """

    id: str
    label: str
    box: BoxPixels | None = None
    mask: Mask | None = None
    box_3d: Box3d | None = None
    tolerance_m: float | None = None
    detection: Detection | None = None


@dataclass(frozen=True, eq=False)
class CaseTruth:
    """What is true of a case.

    Args:
        expect: the expectation, with the id of a described object.
    """

    expect: Expectation
    objects: tuple[KnownObject, ...]

    def find(self, id_: str | None) -> KnownObject | None:
        """The object of an id, or None."""
        return next((one for one in self.objects if one.id == id_), None)

    @property
    def expected(self) -> KnownObject | None:
        """The object that is expected, or None."""
        return self.find(self.expect.id)


def case_truth(
    case: Case, expect: Expectation, known: Sequence[Detection], image_size: tuple[int, int], folder: Path
) -> CaseTruth:
    """What is true of a case on an image.

    Args:
        known: true detections of the image; empty if none were given.
        image_size: (width, height), pixels.
    """
    objects = [KnownObject(d.id, d.label, d.box_xyxy, d.mask, detection=d) for d in known]
    described = _described(expect, image_size, folder)
    if described is not None:
        expect, objects = _joined(expect, described, objects)
    _check_ids(case, expect, objects)
    return CaseTruth(expect, tuple(objects))


def _described(expect: Expectation, image_size: tuple[int, int], folder: Path) -> KnownObject | None:
    """The object that an expectation describes itself, or None."""
    if not expect.describes_object:
        return None
    width, height = image_size
    box, mask = expect.box, None
    if expect.mask is not None:
        name = expect.mask
        path = folder / name
        if Path(name).is_absolute() or not path.resolve().is_relative_to(folder.resolve()):
            raise InputError("expect.mask", repr(name), "a file below the folder of the truth", "copy the mask there")
        mask = read_mask(path, image_size)
        box = box or box_around(mask)
    if box is not None:
        left, top, right, bottom = box
        if left >= width - 0.5 or top >= height - 0.5 or right <= -0.5 or bottom <= -0.5:
            repair = f"use pixels of the colour image, {width}x{height}"
            raise InputError("expect.box", str(list(box)), "a box that overlaps the image", repair)
    return KnownObject(expect.id or EXPECTED, expect.label or "", box, mask, expect.box_3d, expect.tolerance_m)


def _joined(
    expect: Expectation, described: KnownObject, objects: list[KnownObject]
) -> tuple[Expectation, list[KnownObject]]:
    """The described object among the others: in the place of its detection, where it has one."""
    at = next((n for n, one in enumerate(objects) if one.id == expect.id), None)
    if at is None and expect.id is None and described.box is not None and objects:
        shared = [_overlap(described.box, one.box) for one in objects]
        best = int(np.argmax(shared))
        at = best if shared[best] >= SAME_BOX else None
    if at is None:
        return dataclasses.replace(expect, id=described.id), [*objects, described]
    same = objects[at]
    if expect.id is not None and described.box is not None and _overlap(described.box, same.box) < _CONTRADICTS:
        got = f"{expect.id!r} with the box {[round(v) for v in described.box]}"
        box = [round(v) for v in same.box or ()]
        raise InputError("expect.id", got, f"the box of that detection, {box}", "fix id or box")
    plain = expect.box is None and expect.mask is None and expect.label in (None, same.label)
    mask = same.mask if expect.box is None and described.mask is None else described.mask
    one = KnownObject(
        same.id, described.label or same.label, described.box or same.box, mask, described.box_3d,
        described.tolerance_m, same.detection if plain else None,
    )  # fmt: skip
    return dataclasses.replace(expect, id=same.id), [*objects[:at], one, *objects[at + 1 :]]


def _overlap(one: BoxPixels | None, other: BoxPixels | None) -> float:
    return 0.0 if one is None or other is None else float(overlaps(one, other)[0, 0])


def _check_ids(case: Case, expect: Expectation, objects: Sequence[KnownObject]) -> None:
    """Raises InputError where an id is of no object."""
    ids = [one.id for one in objects]
    named = [("expect.id", expect.id), *(("expect.id_also", id_) for id_ in expect.id_also)]
    if expect.answer is not None:
        named += [("expect.answer.ids", id_) for id_ in expect.answer.ids or ()]
    if expect.place is not None and any(one.detection is not None for one in objects):  # else nobody knows anchors
        named += [("expect.place.anchor_id", expect.place.anchor_id)]
        named += [("expect.place.anchor_also", id_) for id_ in expect.place.anchor_also]
    for field, id_ in named:
        if id_ is not None and id_ not in ids:
            there = ", ".join(ids) or "no detections"
            what = "bag" if case.stamp_ns else "frame"
            raise InputError(field, repr(id_), f"one of the {what}'s: {there}",
                             "fix the id, or set `label` and `box` of the object")  # fmt: skip
