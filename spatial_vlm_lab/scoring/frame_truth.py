# SPDX-License-Identifier: Apache-2.0
"""The truth of a frame, read from files, the check of a place against it, and which true objects the found ones are.

    truth.json           optional, in the frame's folder: {"base_T_camera": {"parent", "child", "matrix"}, "objects"?:
                         {id: {"center": [x, y, z], "label"?}}}, metres in base; other fields are left alone
    base_T_camera.json   serves for the pose where truth.json is not there

The resolver never reads truth.json. True objects come from detections and from what a case describes. They are matched
by masks, otherwise by image boxes, otherwise by boxes in space.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.reading import member, read_bytes
from spatial_vlm_ros.geometry.boxes import box_around, overlaps
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.recording.cases import Box3d, BoxPixels, Case, Expectation, ExpectedPlace, Point
from spatial_vlm_ros.recording.frame_folder import (
    BASE_FILE,
    LARGEST_TYPED,
    TransformInfo,
    decode_json,
    read_mask,
    read_transform,
)
from spatial_vlm_ros.types import Detection, Mask, OrientedBox, Pose, Resolution, Scene, Target, Transform

TRUTH_FILE = "truth.json"
_REPAIR = "a case that expects a place needs truth.json or base_T_camera.json; docs/evaluation.md describes them"
_SPARE_M = 0.02  # that a place may lie beside the region: one at its border is just as good
_BELOW_M, _ABOVE_M = 0.05, 0.12  # below, above it: a bowl's floor is lower than its middle, a stack's top higher
_SIDES = frozenset({"left of", "right of", "in front of", "behind"})  # the direction from the anchor counts, too
_SIDE_CONE = math.cos(math.radians(45.0))  # within which it does: the next side begins there


@dataclass(frozen=True, eq=False)
class FrameTruth:
    """Truth of a frame, known only to the judge."""

    base_T_camera: Transform  # whether or not the resolver has it
    centers: Mapping[str, Point] = field(default_factory=dict)  # detection → centre in base, metres
    labels: Mapping[str, str] = field(default_factory=dict)


class PlaceOutcome(str, enum.Enum):
    """Result for an expected place."""

    RIGHT = "right"
    ELSEWHERE = "elsewhere"
    NOT_GIVEN = "not given"


def place_outcome(expected: ExpectedPlace, given: Pose | None, truth: FrameTruth) -> PlaceOutcome:
    """Check a place: inside the region, or for the four sides in its direction from the anchor, at its height."""
    if given is None:
        return PlaceOutcome.NOT_GIVEN
    frames = truth.base_T_camera
    point = np.asarray(given.position)
    if given.frame_id == frames.child:
        point = frames.matrix[:3, :3] @ point + frames.matrix[:3, 3]
    elif given.frame_id != frames.parent:
        return PlaceOutcome.ELSEWHERE
    center, half = np.asarray(expected.region_center), np.asarray(expected.region_half)
    off = point - center
    if not -_BELOW_M - half[2] <= off[2] <= _ABOVE_M + half[2]:
        return PlaceOutcome.ELSEWHERE
    right = bool((np.abs(off[:2]) <= half[:2] + _SPARE_M).all())
    anchor = truth.centers.get(expected.anchor_id)
    if not right and expected.relation in _SIDES and anchor is not None:
        wanted, found = center[:2] - anchor[:2], point[:2] - np.asarray(anchor)[:2]
        right = bool(found.any() and wanted @ found >= _SIDE_CONE * np.linalg.norm(wanted) * np.linalg.norm(found))
    return PlaceOutcome.RIGHT if right else PlaceOutcome.ELSEWHERE


class _Object(msgspec.Struct):
    center: Point
    label: str = ""


class _Truth(msgspec.Struct):
    base_T_camera: TransformInfo
    objects: dict[str, _Object] = {}


def read_frame_truth(folder: str | Path, case: Case) -> FrameTruth | None:
    """Read the truth of a case's frame; None if there is none, and FileError if the case expects a place."""
    place = Path(folder) / case.frame
    path = place / TRUTH_FILE
    if path.exists() or path.is_symlink():
        info = decode_json(read_bytes(member(place, TRUTH_FILE), _REPAIR, LARGEST_TYPED), _Truth, path)
        told, objects = info.base_T_camera, info.objects
        pose = Transform(told.parent, told.child, np.array(told.matrix, np.float64))
        labels = {name: one.label for name, one in objects.items() if one.label}
        return FrameTruth(pose, {name: one.center for name, one in objects.items()}, labels)
    if (place / BASE_FILE).exists():
        return FrameTruth(read_transform(member(place, BASE_FILE)))
    if case.expect is not None and case.expect.place is not None:
        raise FileError(path, "no such file, nor base_T_camera.json", _REPAIR)
    return None


# ------------------------------------------------------------------------------------------------ objects


EXPECTED = "(expected)"
"""Id of an object that a case describes without an id, and that no detection is."""
SAME_BOX = 0.5
"""Least IoU of two boxes, or masks, of one object (Everingham et al. 2010, The PASCAL VOC challenge, section 4.2)."""
_CONTRADICTS = 0.1  # IoU below which a box and the detection of its id cannot be one object
_SAME_BOX_3D = 0.25  # least IoU in space: depth shows one side of an object (Song et al. 2015, SUN RGB-D, section 4.2)
_POINTS = 8192  # on which the shared volume is counted: good to about 1 % of the smaller box
_PLASTIC = 1.2207440846057596  # x⁴ = x + 1: its powers spread points evenly in space (Roberts 2018, the R sequence)


@dataclass(frozen=True, eq=False)
class ImageObject:
    """An object in an image, true or found."""

    id: str  # of its detection, or EXPECTED
    label: str  # "" = not known
    box: BoxPixels | None = None
    mask: Mask | None = None  # (H, W) bool
    box_3d: ComparedBox | None = None
    tolerance_m: float | None = None  # allowed distance of a pose's centre from that of `box_3d`; None = not judged
    detection: Detection | None = None


def case_truth(
    case: Case, expect: Expectation, known: Sequence[Detection], image_size: tuple[int, int], folder: Path
) -> tuple[Expectation, tuple[ImageObject, ...]]:
    """What a case expects, with the id of an object that it describes, and the true objects of its image."""
    objects = [ImageObject(d.id, d.label, d.box_xyxy, d.mask, detection=d) for d in known]
    described = _described(expect, image_size, folder)
    if described is not None:
        expect, objects = _joined(expect, described, objects)

    ids = [one.id for one in objects]
    named = [("expect.id", expect.id), *(("expect.id_also", id_) for id_ in expect.id_also)]
    if expect.answer is not None:
        named += [("expect.answer.ids", id_) for id_ in expect.answer.ids or ()]
    if expect.place is not None and any(one.detection is not None for one in objects):  # else nobody knows anchors
        named += [("expect.place.anchor_id", expect.place.anchor_id)]
        named += [("expect.place.anchor_also", id_) for id_ in expect.place.anchor_also]
    for what, id_ in named:
        if id_ is not None and id_ not in ids:
            there = ", ".join(ids) or "no detections"
            source = "bag" if case.stamp_ns else "frame"
            raise InputError(what, repr(id_), f"one of the {source}'s: {there}",
                             "fix the id, or set `label` and `box` of the object")  # fmt: skip
    return expect, tuple(objects)


def _described(expect: Expectation, image_size: tuple[int, int], folder: Path) -> ImageObject | None:
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
    solid = None if expect.box_3d is None else box_of_truth(expect.box_3d)
    return ImageObject(expect.id or EXPECTED, expect.label or "", box, mask, solid, expect.tolerance_m)


def _joined(
    expect: Expectation, described: ImageObject, objects: list[ImageObject]
) -> tuple[Expectation, list[ImageObject]]:
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
    one = ImageObject(
        same.id, described.label or same.label, described.box or same.box, mask, described.box_3d,
        described.tolerance_m, same.detection if plain else None,
    )  # fmt: skip
    return dataclasses.replace(expect, id=same.id), [*objects[:at], one, *objects[at + 1 :]]


def _overlap(one: BoxPixels | None, other: BoxPixels | None) -> float:
    return 0.0 if one is None or other is None else float(overlaps(one, other)[0, 0])


# ------------------------------------------------------------------------------------------------ boxes in space


@dataclass(frozen=True, eq=False)
class ComparedBox(OrientedBox):
    """A box in a frame; with the frame_id "" in the base, where there is one."""

    frame_id: str = ""


def overlap(one: OrientedBox, other: OrientedBox) -> float:
    """Intersection over union of two boxes in one frame, 0 to 1, counted on points: they need not be parallel."""
    places = np.arange(1, _POINTS + 1)[:, None] / _PLASTIC ** np.arange(1, 4) % 1.0 - 0.5
    shared = whole = 0.0
    for solid, around in ((one, other), (other, one)):
        points = solid.centre + (places * solid.size) @ solid.axes.T
        inside = (np.abs((points - around.centre) @ around.axes) <= around.size / 2).all(axis=1)
        whole += float(solid.size.prod())
        shared += float(solid.size.prod() * inside.mean()) / 2
    return min(1.0, shared / (whole - shared)) if whole > shared else 0.0


def apart(one: OrientedBox, other: OrientedBox) -> float:
    """Distance between the centres of two boxes in one frame, metres."""
    return float(np.linalg.norm(one.centre - other.centre))


def box_of_truth(box: Box3d) -> ComparedBox:
    """The box of a case."""
    turned = np.eye(3)
    turned[:2, :2] = [[np.cos(box.yaw), -np.sin(box.yaw)], [np.sin(box.yaw), np.cos(box.yaw)]]
    return ComparedBox(np.array(box.center), turned, np.array(box.size), box.frame_id)


def box_of_target(target: Target) -> ComparedBox:
    """The box of an object that was answered with, in the frame of its pose."""
    axes = matrix_from_quaternion_xyzw(target.pose.orientation)
    return ComparedBox(np.array(target.pose.position), axes, np.array(target.size), target.pose.frame_id)


def in_frame(solid: ComparedBox, frame_id: str, known: Sequence[Transform]) -> ComparedBox:
    """A box in another frame, by one of the transforms or its inverse."""
    if solid.frame_id == frame_id:
        return solid
    for one in known:
        for pose in (one, one.inverse()):
            if (pose.parent, pose.child) == (frame_id, solid.frame_id):
                return ComparedBox(pose.apply(solid.centre), pose.rotation @ solid.axes, solid.size, frame_id)
    there = ", ".join(sorted({solid.frame_id, *(n for t in known for n in (t.parent, t.child))}))
    repair = "use one of these frames for box_3d, or add the camera's pose (base_T_camera.json, truth.json, TF)"
    raise InputError("frame_id of box_3d", repr(frame_id), f"one of the frame's: {there}", repair)


# ------------------------------------------------------------------------------------------------ found objects


@dataclass(frozen=True, eq=False)
class Matching:
    """Assignment of found objects to true ones; without arguments their ids are the same."""

    found: tuple[ImageObject, ...] = ()
    of: Mapping[str, str] | None = None  # found id → true id, if there is one; None = the same
    ious: Mapping[tuple[str, str], float] = field(default_factory=dict)  # found, true id → 0 to 1
    is_truth: bool = False  # whether the found objects are the true ones

    def id_of(self, found_id: str | None) -> str | None:
        """The true object's id; of what is not among them its own, marked so that it equals none of theirs."""
        if found_id is None or self.of is None:
            return found_id
        return self.of.get(found_id, f"{found_id} (no object of the truth)")

    def iou(self, found_id: str | None, true_id: str | None) -> float | None:
        """How much a found object shares with a true one; None without either."""
        if found_id is None or true_id is None or all(one.id != found_id for one in self.found):
            return None
        return float(found_id == true_id) if self.of is None else self.ious.get((found_id, true_id), 0.0)

    def on(self, true_id: str) -> tuple[ImageObject, ...]:
        """Found objects that match a true one."""
        return tuple(one for one in self.found if self.id_of(one.id) == true_id)


def found_objects(detections: Sequence[Detection], scene: Scene | None) -> tuple[ImageObject, ...]:
    """Found objects of a model, with their boxes in space if measured."""
    solids = {} if scene is None else {
        obj.id: ComparedBox(obj.box.centre, obj.box.axes, obj.box.size, scene.frame.frame_id)
        for obj in scene.objects
        if obj.depth_problem is None
    }  # fmt: skip
    return tuple(ImageObject(d.id, d.label, d.box_xyxy, d.mask, solids.get(d.id)) for d in detections)


def match_objects(
    found: Sequence[ImageObject], true: Sequence[ImageObject], known: Sequence[Transform] = ()
) -> Matching:
    """Which true object each found one is: the one that it shares most with, where that is enough.

    Masks are compared where both have one, else boxes, else boxes in space. Several found objects may be one true
    object. Where a found one shares the same with several, that of its own id is taken, else the first. A true object
    that is known in space alone is the one found object that shares most with it, whatever else that one is.
    """
    of: dict[str, str] = {}
    ious: dict[tuple[str, str], float] = {}
    in_space: dict[str, dict[str, float]] = {}
    for one in found:
        best = (-1.0, False, "")
        for other in true:
            share, enough = _compared(one, other, known)
            if share > 0.0:
                ious[one.id, other.id] = round(share, 6)
            mark = (share, one.id == other.id)
            if enough and other.box is None:
                in_space.setdefault(other.id, {})[one.id] = share
            elif enough and mark > best[:2]:
                best = (*mark, other.id)
        if best[2]:
            of[one.id] = best[2]
    for true_id, shares in in_space.items():
        of[max(shares, key=lambda id_: shares[id_])] = true_id
    return Matching(tuple(found), of, ious)


def _compared(one: ImageObject, other: ImageObject, known: Sequence[Transform]) -> tuple[float, bool]:
    """What two objects share, and whether that is enough to be one."""
    if one.box is not None and other.box is not None:
        share = float(overlaps(one.box, other.box)[0, 0])
        if one.mask is not None and other.mask is not None and share > 0.0:
            either = int(np.count_nonzero(one.mask | other.mask))
            share = int(np.count_nonzero(one.mask & other.mask)) / either if either else 0.0
        return share, share >= SAME_BOX
    if one.box_3d is None or other.box_3d is None:
        return 0.0, False
    solid = _as_true(one.box_3d, other.box_3d, known)
    share = overlap(solid, other.box_3d)
    near = other.tolerance_m is not None and apart(solid, other.box_3d) <= other.tolerance_m
    return share, near or share >= _SAME_BOX_3D


def _as_true(found: ComparedBox, true: ComparedBox, known: Sequence[Transform]) -> ComparedBox:
    """A found box in the frame of a true one, which is the base, if there is one, unless it says so."""
    base = known[0].parent if known else found.frame_id
    return in_frame(found, true.frame_id or base, known)


def distance_m(resolution: Resolution, true: ImageObject, known: Sequence[Transform] = ()) -> float | None:
    """Metres from the middle of the pose that was answered with to that of the true box in space; None without one."""
    if resolution.target is None or true.box_3d is None:
        return None
    return apart(_as_true(box_of_target(resolution.target), true.box_3d, known), true.box_3d)
