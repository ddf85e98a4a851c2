# SPDX-License-Identifier: Apache-2.0
"""Matches found objects to true ones: by masks, otherwise by image boxes, otherwise by boxes in space.

Works on found and true objects; independent of answers, statuses and files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from spatial_vlm_lab.scoring.object_truth import SAME_BOX, KnownObject
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.recording.cases import Box3d, BoxPixels
from spatial_vlm_ros.types import Detection, Mask, OrientedBox, Resolution, RgbdFrame, Scene, Target, Transform

SAME_BOX_3D = 0.25
"""Least IoU in space of one object: depth shows one side of it (Song et al. 2015, SUN RGB-D, section 4.2)."""


_POINTS = 8192  # on which the shared volume is counted: good to about 1 % of the smaller box
_PLASTIC = 1.2207440846057596  # x⁴ = x + 1: its powers spread points evenly in space (Roberts 2018, the R sequence)
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ComparedBox:
    """A box in a frame.

    Args:
        frame_id: its frame.
        center: (3,) centre, metres.
        axes: (3, 3) directions of its edges as columns.
        size: (3,) edge lengths, metres.
    """

    frame_id: str
    center: Vector
    axes: Vector
    size: Vector

    def points(self) -> Vector:
        """(N, 3) points that fill the box evenly, metres; deterministic."""
        steps = np.arange(1, _POINTS + 1)[:, None] / _PLASTIC ** np.arange(1, 4)
        return np.asarray(self.center + ((steps % 1.0 - 0.5) * self.size) @ self.axes.T, np.float64)

    def holds(self, points: Vector) -> npt.NDArray[np.bool_]:
        """(N,) whether points lie inside it."""
        inside = np.abs((points - self.center) @ self.axes) <= self.size / 2
        return np.asarray(inside.all(axis=1), np.bool_)

    def moved(self, transform: Transform) -> ComparedBox:
        """The box in the transform's parent frame."""
        center = transform.apply(self.center)
        return ComparedBox(transform.parent, center, transform.rotation @ self.axes, self.size)


def overlap(one: ComparedBox, other: ComparedBox) -> float:
    """Intersection over union of the volumes of two boxes in one frame, 0 to 1.

    Counted on points that fill both evenly, for the boxes need not be parallel.
    """
    volumes = [float(solid.size.prod()) for solid in (one, other)]
    shares = [float(b.holds(a.points()).mean()) for a, b in ((one, other), (other, one))]
    shared = sum(volume * share for volume, share in zip(volumes, shares, strict=True)) / 2
    union = sum(volumes) - shared
    return min(1.0, shared / union) if union > 0.0 else 0.0


def apart(one: ComparedBox, other: ComparedBox) -> float:
    """Distance between the centres of two boxes in one frame, metres."""
    return float(np.linalg.norm(one.center - other.center))


def compared_truth(box: Box3d, frame_id: str) -> ComparedBox:
    """The box of a case; `frame_id` is used where it names none."""
    turned = np.eye(3)
    turned[:2, :2] = [[np.cos(box.yaw), -np.sin(box.yaw)], [np.sin(box.yaw), np.cos(box.yaw)]]
    return ComparedBox(box.frame_id or frame_id, np.array(box.center), turned, np.array(box.size))


def compared_box(box: OrientedBox, frame_id: str) -> ComparedBox:
    """The box of a measured object, in the camera's frame."""
    return ComparedBox(frame_id, box.centre, box.axes, box.size)


def compared_target(target: Target) -> ComparedBox:
    """The box of an object that was answered with, in the frame of its pose."""
    axes = matrix_from_quaternion_xyzw(target.pose.orientation)
    return ComparedBox(target.pose.frame_id, np.array(target.pose.position), axes, np.array(target.size))


def in_frame(solid: ComparedBox, frame_id: str, known: Sequence[Transform]) -> ComparedBox:
    """A box in another frame, by one of the transforms or its inverse."""
    if solid.frame_id == frame_id:
        return solid
    for transform in known:
        if (transform.parent, transform.child) == (frame_id, solid.frame_id):
            return solid.moved(transform)
        if (transform.child, transform.parent) == (frame_id, solid.frame_id):
            return solid.moved(transform.inverse())
    there = ", ".join(sorted({solid.frame_id, *(n for t in known for n in (t.parent, t.child))}))
    repair = "use one of these frames for box_3d, or add the camera's pose (base_T_camera.json, truth.json, TF)"
    raise InputError("frame_id of box_3d", repr(frame_id), f"one of the frame's: {there}", repair)


@dataclass(frozen=True, eq=False)
class FoundObject:
    """An object that a model found.

    Args:
        box: pixels, or None.
        mask: (H, W) bool, or None.
        box_3d: its box in space, or None if it was not measured.
    """

    id: str
    label: str
    box: BoxPixels | None
    mask: Mask | None = None
    box_3d: ComparedBox | None = None


@dataclass(frozen=True)
class Match:
    """A found object with its true object.

    Args:
        id: id of the true object.
        iou: intersection over union, 0 to 1.
    """

    id: str
    iou: float


@dataclass(frozen=True, eq=False)
class Matching:
    """Assignment of found objects to true ones.

    Args:
        of: id of a found object → the true one that it is; without those that are not among the true ones.
        ious: (found id, true id) → how much they share, 0 to 1; without those that share nothing.
    """

    found: tuple[FoundObject, ...]
    of: Mapping[str, Match]
    ious: Mapping[tuple[str, str], float] = field(default_factory=dict)
    is_truth: bool = False

    def id_of(self, found_id: str | None) -> str | None:
        """The true object's id; of what is not among them its own, marked so that it equals none of theirs."""
        if found_id is None:
            return None
        return self.of[found_id].id if found_id in self.of else f"{found_id} (no object of the truth)"

    def iou(self, found_id: str | None, true_id: str | None) -> float | None:
        """How much a found object shares with a true one; None without either."""
        if found_id is None or true_id is None or all(one.id != found_id for one in self.found):
            return None
        return self.ious.get((found_id, true_id), 0.0)

    def on(self, true_id: str) -> tuple[FoundObject, ...]:
        """Found objects that match a true one."""
        return tuple(one for one in self.found if one.id in self.of and self.of[one.id].id == true_id)


def found_objects(detections: Sequence[Detection], scene: Scene | None) -> tuple[FoundObject, ...]:
    """Found objects of a model, with their boxes in space if measured."""
    solids = {} if scene is None else {
        obj.id: compared_box(obj.box, scene.frame.frame_id) for obj in scene.objects if obj.depth_problem is None
    }  # fmt: skip
    return tuple(FoundObject(d.id, d.label, d.box_xyxy, d.mask, solids.get(d.id)) for d in detections)


def answered_objects(resolution: Resolution) -> tuple[FoundObject, ...]:
    """The object of a stored answer, if any."""
    target = resolution.target
    return () if target is None else (FoundObject(target.id, target.label, target.box, None, compared_target(target)),)


def match_objects(
    found: Sequence[FoundObject], true: Sequence[KnownObject], frame: RgbdFrame | None, known: Sequence[Transform] = ()
) -> Matching:
    """Which true object each found one is: the one that it shares most with, where that is enough.

    Masks are compared where both have one, else boxes, else boxes in space. Several found objects may be one true
    object. Where a found one shares the same with several, that of its own id is taken, else the first. A true object
    that is known in space alone is the one found object that shares most with it, whatever else that one is.

    Args:
        true: true objects of the image.
        frame: the image; None if only stored answers are there.
        known: transforms beside the frame's own.
    """
    of: dict[str, Match] = {}
    ious: dict[tuple[str, str], float] = {}
    in_space: dict[str, dict[str, float]] = {}
    for one in found:
        best: tuple[float, bool, Match] | None = None
        for other in true:
            share, enough = _compared(one, other, frame, known)
            if share > 0.0:
                ious[one.id, other.id] = round(share, 6)
            mark = (share, one.id == other.id)
            if enough and other.box is None:
                in_space.setdefault(other.id, {})[one.id] = share
            elif enough and (best is None or mark > best[:2]):
                best = (*mark, Match(other.id, round(share, 6)))
        if best is not None:
            of[one.id] = best[2]
    for true_id, shares in in_space.items():
        most = max(shares, key=lambda id_: shares[id_])
        of[most] = Match(true_id, round(shares[most], 6))
    return Matching(tuple(found), of, ious)


def same_objects(detections: Sequence[Detection]) -> Matching:
    """Matching for detections that are the truth themselves."""
    found = tuple(FoundObject(d.id, d.label, d.box_xyxy, d.mask) for d in detections)
    of = {d.id: Match(d.id, 1.0) for d in detections}
    return Matching(found, of, {(d.id, d.id): 1.0 for d in detections}, is_truth=True)


def _compared(
    one: FoundObject, other: KnownObject, frame: RgbdFrame | None, known: Sequence[Transform]
) -> tuple[float, bool]:
    """What two objects share, and whether that is enough to be one."""
    if one.box is not None and other.box is not None:
        share = float(overlaps(one.box, other.box)[0, 0])
        if one.mask is not None and other.mask is not None and share > 0.0:
            share = _mask_overlap(one.mask, other.mask)
        return share, share >= SAME_BOX
    if one.box_3d is None or other.box_3d is None:
        return 0.0, False
    true = compared_truth(other.box_3d, _default_frame(one.box_3d, frame, known))
    solid = in_frame(one.box_3d, true.frame_id, transforms_of(frame, known))
    share = overlap(solid, true)
    near = other.tolerance_m is not None and apart(solid, true) <= other.tolerance_m
    return share, near or share >= SAME_BOX_3D


def _default_frame(found: ComparedBox, frame: RgbdFrame | None, known: Sequence[Transform]) -> str:
    """The frame of a true box that names none: the base, where there is one."""
    if frame is None:
        return found.frame_id
    base = next(iter(transforms_of(frame, known)), None)
    return frame.frame_id if base is None else base.parent


def transforms_of(frame: RgbdFrame | None, known: Sequence[Transform] = ()) -> tuple[Transform, ...]:
    """The transforms that a frame brings, and others."""
    own = () if frame is None or frame.base_T_camera is None else (frame.base_T_camera,)
    return (*own, *known)


def distance_m(
    resolution: Resolution, true: KnownObject, frame: RgbdFrame | None, known: Sequence[Transform] = ()
) -> float | None:
    """Metres from the middle of the pose that was answered with to that of the true box in space; None without one."""
    if resolution.target is None or true.box_3d is None:
        return None
    given = compared_target(resolution.target)
    wanted = compared_truth(true.box_3d, _default_frame(given, frame, known))
    return apart(in_frame(given, wanted.frame_id, transforms_of(frame, known)), wanted)


def _mask_overlap(one: Mask, other: Mask) -> float:
    """Pixels that two masks of one image share, of those that either has (IoU)."""
    if one is other:
        return 1.0
    either = int(np.count_nonzero(one | other))
    return int(np.count_nonzero(one & other)) / either if either else 0.0
