# SPDX-License-Identifier: Apache-2.0
"""Detections to objects in metres: clean visible surface, estimated volume, covariance, visibility.

Works in the optical frame of the camera, with "ground axes" laid through it: e1 away from the camera along the
ground, e2 to the right of it, up against gravity. Nothing here knows a relation or a word of the instruction.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.config import DepthConfig, LiftConfig
from spatial_vlm_ros.geometry.camera import normalised_axes, project, rectified
from spatial_vlm_ros.geometry.depth import check_depth, clip_depth, depth_noise
from spatial_vlm_ros.geometry.segmentation import STEEPEST, depth_gap, masks_from_boxes, support_tolerance
from spatial_vlm_ros.geometry.support import find_support, find_up, known_up
from spatial_vlm_ros.types import Detection, Mask, OrientedBox, Plane, RgbdFrame, Scene, SceneObject

FOOTPRINT_CORNERS = 16
_CORNER_ANGLES = 2 * np.pi * np.arange(FOOTPRINT_CORNERS) / FOOTPRINT_CORNERS
_CORNER_DIRECTIONS = np.stack((np.cos(_CORNER_ANGLES), np.sin(_CORNER_ANGLES))).astype(np.float32)  # (2, 16)

_ROUND_FILL = 0.86  # a disc fills 0.785 of its bounding rectangle, a box all of it
_RECEDING = 0.12  # by how much flanks lie farther than the middle, in widths, when an outline recedes: a disc 0.28
_SHAPE_DOUBT = 0.04  # standard deviation of the centre's place along the view, in lengths
_TOP_BAND = 0.15  # part of the height, from the top, that is looked at for a top face
_TOP_SPAN = 0.6  # part of the depth range that a seen top face spans
_FRONT_ONLY_DEPTH = 0.6  # depth assumed, in widths, where only a flat front is seen
_ELONGATED = 1.15  # length over width from which a heading can be told
_FLAT_KEEP = 0.25  # part of an object's points above the support below which it is a flat thing
_CORE_KEEP = 0.3  # part of a mask that must be left when its rim is removed; thin things are all rim
_CALM_KEEP = 0.5  # part of the pixels that must be left when smeared ones are removed; thin things are all edge
_SIDE_CLUSTER = 0.15  # part of the points from which a second depth cluster belongs to the object
_SEE_THROUGH_WORDS = frozenset({"glass", "clear", "transparent", "see-through", "translucent", "crystal"})


@dataclass(frozen=True, eq=False)
class _Ground:
    """Ground axes: columns e1, e2, up of a rotation, (3, 3) float32, camera frame."""

    basis: npt.NDArray[np.float32]

    @classmethod
    def towards(cls, direction: npt.NDArray[np.float64], up: npt.NDArray[np.float64]) -> _Ground:
        """Axes with e1 along `direction` as laid on the ground; along the image's up where it points straight down."""
        for candidate in (direction, np.array([0.0, -1.0, 0.0])):
            flat = candidate - (candidate @ up) * up
            length = float(np.linalg.norm(flat))
            if length > 0.1 * float(np.linalg.norm(candidate)):
                break
        e1 = flat / length
        return cls(np.stack((e1, np.cross(e1, up), up), axis=1).astype(np.float32))


@dataclass(eq=False)
class _Lifted:
    """One object while it is being built; coordinates along the ground axes unless said."""

    detection: Detection
    window: tuple[slice, slice]
    mask: Mask  # of the window
    rim: int  # pixels eroded from it before measuring
    valid_fraction: float
    points: npt.NDArray[np.float32]  # (N, 3) camera frame
    problem: str | None = None
    ground: _Ground | None = None
    median: npt.NDArray[np.float32] | None = None  # (3,)
    outline: npt.NDArray[np.float32] | None = None  # (M, 2) estimated outline seen from above
    unseen: float = 0.0  # metres of depth that were assumed, not measured
    bottom: float = 0.0
    top: float = 0.0
    near_z: float = 0.0  # optical depth of its nearest part


def build_scene(
    frame: RgbdFrame, detections: Sequence[Detection], depth_config: DepthConfig, lift_config: LiftConfig
) -> Scene:
    """Lift all detections of a frame.

    Args:
        frame: colour and registered depth; distorted images are rectified first.
        detections: checked detections (see perception.validation), masks or boxes.
        depth_config: noise and range of depth.
        lift_config: how pixels become objects.

    Returns:
        The scene, in the camera frame. An object whose depth cannot be trusted is there with `depth_problem` set.

    Raises:
        DepthError: the depth image as a whole cannot be a measurement.
    """
    check_depth(frame.depth, depth_config)
    frame, checked = rectified(frame, tuple(detections))
    frame = dataclasses.replace(frame, depth=clip_depth(frame.depth, depth_config))
    known = known_up(frame)
    support = find_support(frame, checked, depth_config, known[0] if known else None)
    up, up_from = find_up(frame, support)
    masks = masks_from_boxes(frame, checked, support, depth_config, lift_config)
    lifted = [
        _measure(frame, d, m, d.mask is not None, support, up, depth_config, lift_config)
        for d, m in zip(checked, masks, strict=True)
    ]
    _settle(lifted, support, up, lift_config)
    owner = _owner_image(frame.depth.shape, lifted)
    ids = [d.id for d in checked]
    objects = tuple(
        _finish(index, item, owner, ids, frame, depth_config, lift_config) for index, item in enumerate(lifted)
    )
    return Scene(objects, up, up_from, support, frame)


# ------------------------------------------------------------------------------------------------ one surface


def _measure(
    frame: RgbdFrame,
    detection: Detection,
    mask: Mask,
    given: bool,
    support: Plane | None,
    up: npt.NDArray[np.float64],
    depth_config: DepthConfig,
    config: LiftConfig,
) -> _Lifted:
    """Clean the visible surface of one mask and measure its extents."""
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    window = (slice(y, y + h), slice(x, x + w))
    part = mask[window]
    core, rim = _eroded(part, config.erode_px if given else config.erode_px + 1, config)
    depth = frame.depth[window]
    usable = core & np.isfinite(depth)
    wanted, measured = int(np.count_nonzero(core)), int(np.count_nonzero(usable))
    item = _Lifted(detection, window, part, rim, measured / max(1, wanted), np.empty((0, 3), np.float32))
    if measured < config.min_pixels or item.valid_fraction < config.min_valid_fraction:
        item.problem = f"only {measured} of its {wanted} pixels have measured depth"
        return item
    calm = usable & ~_smeared(depth, frame.camera.K[0, 0])
    if np.count_nonzero(calm) >= max(config.min_pixels, _CALM_KEEP * measured):
        usable = calm
    v, u = np.nonzero(usable)
    z = depth[v, u]
    xs, ys = normalised_axes(frame.camera)
    points = np.empty((len(z), 3), np.float32)
    points[:, 0] = xs.astype(np.float32)[u + x] * z
    points[:, 1] = ys.astype(np.float32)[v + y] * z
    points[:, 2] = z
    points = points[_one_surface(points, depth_config, config)]
    if support is not None:
        points, item.problem = _above(points, support, frame, item, depth_config, config)
    item.points = points
    if len(points) < config.min_pixels:
        item.problem = item.problem or f"only {len(points)} of its pixels are left once other surfaces are removed"
    if item.problem is None:
        _measure_extents(item, up, frame, config)
    return item


def _eroded(mask: Mask, rim: int, config: LiftConfig) -> tuple[Mask, int]:
    """The mask without its rim of some pixels, and that number; untouched (0) where the rim is most of it."""
    if rim:
        padded = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        core = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=rim)[1:-1, 1:-1].view(np.bool_)
        if np.count_nonzero(core) >= max(config.min_pixels, _CORE_KEEP * np.count_nonzero(mask)):
            return core, rim
    return mask, 0


def _smeared(depth: npt.NDArray[np.float32], focal: float) -> npt.NDArray[np.bool_]:
    """Pixels where depth changes as no seen surface does: the smear that sensors leave between two surfaces."""
    smeared = np.zeros(depth.shape, np.bool_)
    limit = depth * np.float32(2 * STEEPEST / focal)  # over two pixels
    smeared[:, 1:-1] = np.abs(depth[:, 2:] - depth[:, :-2]) > limit[:, 1:-1]
    smeared[1:-1] |= np.abs(depth[2:] - depth[:-2]) > limit[1:-1]
    return smeared


def _one_surface(
    points: npt.NDArray[np.float32], depth_config: DepthConfig, config: LiftConfig
) -> npt.NDArray[np.bool_]:
    """(N,) bool: points of the main depth cluster, and of others as near to it as the object is wide."""
    z = points[:, 2]
    order = np.sort(z)
    jumps = np.flatnonzero(np.diff(order) > depth_gap(order[1:], depth_config, config))
    if not len(jumps):
        return np.ones(len(z), np.bool_)
    starts = np.concatenate(([0], jumps + 1))
    ends = np.concatenate((jumps, [len(order) - 1]))
    sizes = ends - starts + 1
    main = int(np.argmax(sizes))
    inside = (z >= order[starts[main]]) & (z <= order[ends[main]])
    width = float(np.ptp(points[inside, 0]) + np.ptp(points[inside, 1])) / 2
    keep = np.zeros(len(z), np.bool_)
    for start, end, size in zip(starts, ends, sizes, strict=True):
        distance = max(order[start] - order[ends[main]], order[starts[main]] - order[end], 0.0)
        if start == starts[main] or (size >= _SIDE_CLUSTER * len(z) and distance < width / 2):
            keep |= (z >= order[start]) & (z <= order[end])
    return keep


def _above(
    points: npt.NDArray[np.float32],
    support: Plane,
    frame: RgbdFrame,
    item: _Lifted,
    depth_config: DepthConfig,
    config: LiftConfig,
) -> tuple[npt.NDArray[np.float32], str | None]:
    """Points above the support (all of them for a flat thing), and what is wrong with them, if anything."""
    heights = points @ support.normal.astype(np.float32) + np.float32(support.offset)
    raised = heights > support_tolerance(support, config)
    part_raised = np.count_nonzero(raised) / len(points)
    slant = (heights - np.float32(support.offset)) / points[:, 2]  # n·ray: change of height with depth
    behind = heights / np.minimum(slant, -1e-3)  # optical depth beyond the support, metres
    part_behind = np.count_nonzero(behind > 3.0 * depth_noise(points[:, 2], depth_config)) / len(points)
    if part_behind >= config.see_through_fraction and not _stands_out(frame, item, depth_config, config):
        return points, (
            f"{part_behind:.0%} of its depth lies behind the surface it stands on, as glass and shiny things return it"
        )
    words = {*item.detection.attributes, *item.detection.label.lower().split()}
    if part_raised < config.see_through_fraction and words & _SEE_THROUGH_WORDS:
        return points, (f"it is see-through and {1 - part_raised:.0%} of its depth is that of the surface it stands on")
    if part_raised >= _FLAT_KEEP and np.count_nonzero(raised) >= config.min_pixels:
        return points[raised], None
    return points, None


def _stands_out(frame: RgbdFrame, item: _Lifted, depth_config: DepthConfig, config: LiftConfig) -> bool:
    """Whether the object is nearer than what surrounds its mask: a real thing on a lower level, not a view through."""
    rows, columns = item.window
    margin = 6
    window = np.s_[
        max(0, rows.start - margin) : rows.stop + margin, max(0, columns.start - margin) : columns.stop + margin
    ]
    depth = frame.depth[window].copy()
    top, left = rows.start - window[0].start, columns.start - window[1].start
    inside = np.zeros(depth.shape, np.bool_)
    inside[top : top + item.mask.shape[0], left : left + item.mask.shape[1]] = item.mask
    around = (
        cv2.dilate(inside.view(np.uint8), np.ones((3, 3), np.uint8), iterations=margin - 1).view(np.bool_) & ~inside
    )
    own, other = depth[inside & np.isfinite(depth)], depth[around & np.isfinite(depth)]
    if not len(other):
        return False
    return bool(np.median(own) < np.median(other) - depth_gap(np.median(other), depth_config, config))


# ------------------------------------------------------------------------------------------------ extents


def _measure_extents(item: _Lifted, up: npt.NDArray[np.float64], frame: RgbdFrame, config: LiftConfig) -> None:
    """Fill in ground axes, median, completed outline, bottom and top."""
    middle = item.points.mean(axis=0, dtype=np.float64)
    item.ground = ground = _Ground.towards(middle, up)
    local = item.points @ ground.basis  # (N, 3) along e1, e2, up
    ordered = np.sort(local, axis=0)
    item.median = ordered[len(ordered) // 2]
    item.near_z = float(item.points[:, 2].min())
    cut = int(config.trim * len(ordered))
    low, high = ordered[cut], ordered[len(ordered) - 1 - cut]
    rim = item.rim * float(middle[2]) / frame.camera.K[0, 0]  # what erosion took from every side, metres
    kept = local[((local >= low) & (local <= high)).all(axis=1)]
    hull = cv2.convexHull(np.ascontiguousarray(kept[:, :2]))[:, 0]
    steepness = float(-(middle @ up) / np.linalg.norm(middle))
    # A top seen from above loses none of its height with its rim, but its far edge: there a pixel is 1 / sin φ long.
    item.bottom, item.top = float(low[2]) - rim, float(high[2]) + rim * max(0.0, 1.0 - 3.0 * steepness)
    edge = (item.rim + 1) * float(middle[2]) / frame.camera.K[0, 0] / max(steepness, 0.3)
    seen = float(high[0] - low[0])
    width = float(high[1] - low[1]) + 2 * rim
    length = _completed_length(kept, seen, width, steepness) + edge
    item.unseen = length - seen
    if rim:
        hull = hull + rim * np.sign(hull - np.array([low[0] + seen / 2, (low[1] + high[1]) / 2], np.float32)) * (0, 1)
    if item.unseen > 0.05 * length:
        centre = np.array([low[0] + length / 2, (low[1] + high[1]) / 2], np.float32)
        hull = np.concatenate((hull, 2 * centre - hull))  # things are taken to be alike from both sides
    item.outline = cv2.convexHull(np.ascontiguousarray(hull, np.float32))[:, 0]


def _completed_length(local: npt.NDArray[np.float32], seen: float, width: float, steepness: float) -> float:
    """Depth of the whole object along e1, metres: what is seen, or more where its far side is out of sight.

    Outlines that recede to both sides (round ones, corners) are as deep as wide. A box shows all of its depth when its top is seen; of a bare front the depth
    is a guess, and counted as unseen in the covariance. A view at elevation φ (`steepness` = sin φ) hides at most
    height / tan φ behind what is seen, and (1 - sin φ) / 2 of a ball's width.
    """
    steep = min(max(steepness, 0.02), 0.999)
    height = float(np.ptp(local[:, 2]))
    hidden = min((1.0 - steep) / 2 * width, height * float(np.sqrt(1.0 - steep**2)) / steep)
    return min(_assumed_length(local, seen, width), seen + hidden)


def _assumed_length(local: npt.NDArray[np.float32], seen: float, width: float) -> float:
    """Depth by the shape of what is seen."""
    aside = np.abs(local[:, 1] - (local[:, 1].min() + local[:, 1].max()) / 2)
    middle, flanks = local[aside < 0.1 * width, 0], local[aside > 0.4 * width, 0]
    if len(middle) and len(flanks) and _near(flanks) - _near(middle) > _RECEDING * width:
        return max(seen, width)
    heights = local[:, 2]
    low, high = float(heights.min()), float(heights.max())
    band = local[heights > high - _TOP_BAND * (high - low), 0]
    if np.ptp(band) >= _TOP_SPAN * seen and seen > 0.2 * width:
        return seen
    return max(seen, _FRONT_ONLY_DEPTH * width)


def _near(values: npt.NDArray[np.float32]) -> float:
    """A robust nearest value: the fifth."""
    rank = len(values) // 5
    return float(np.partition(values, rank)[rank])


# ------------------------------------------------------------------------------------------------ what stands on what


def _settle(items: Sequence[_Lifted], support: Plane | None, up: npt.NDArray[np.float64], config: LiftConfig) -> None:
    """Let every object reach down to what carries it: the support plane or the top of another object.

    The lowest visible point of a partly hidden object is not its bottom; things do not float.
    """
    measured = [item for item in items if item.problem is None]
    for item in sorted(measured, key=lambda one: one.bottom):
        assert item.ground is not None and item.outline is not None and item.median is not None
        middle = item.outline.mean(axis=0)
        place = item.ground.basis[:, :2].astype(np.float64) @ middle.astype(np.float64)
        slack = 0.25 * (item.top - item.bottom) + config.erode_px * 0.002 + 0.01
        levels = []
        if support is not None:
            levels.append(-(support.offset + support.normal @ place) / (support.normal @ up))
        for other in measured:
            if other is item or other.ground is None or other.outline is None:
                continue
            if other.top <= item.bottom + slack and other.top < item.top:
                there = (other.ground.basis[:, :2].T.astype(np.float64) @ place).astype(np.float32)
                if cv2.pointPolygonTest(other.outline, (float(there[0]), float(there[1])), False) >= 0:
                    levels.append(other.top)
        levels = [level for level in levels if level < item.top - 1e-3]
        if levels:
            level = float(max(levels))
            if item.bottom - level <= max(slack, 0.5 * (item.top - item.bottom) + 0.02):
                item.bottom = level


# ------------------------------------------------------------------------------------------------ the finished object


def _owner_image(shape: tuple[int, ...], items: Sequence[_Lifted]) -> npt.NDArray[np.int16]:
    """(H, W): index of the object that a pixel belongs to (the nearest one), -1 for none."""
    owner = np.full(shape, -1, np.int16)
    for index in sorted(range(len(items)), key=lambda i: -items[i].near_z):
        if items[index].problem is None:
            owner[items[index].window][items[index].mask] = index
    return owner


def _finish(
    index: int,
    item: _Lifted,
    owner: npt.NDArray[np.int16],
    ids: Sequence[str],
    frame: RgbdFrame,
    depth_config: DepthConfig,
    config: LiftConfig,
) -> SceneObject:
    """The frozen object in the camera frame."""
    truncated = _touches_border(item, frame)
    if item.problem is not None:
        nothing = np.full(3, np.nan)
        return SceneObject(
            detection=item.detection,
            points=np.empty((0, 3), np.float32),
            surface_centre=nothing,
            box=OrientedBox(nothing, np.full((3, 3), np.nan), nothing),
            footprint=np.full((FOOTPRINT_CORNERS, 3), np.nan),
            covariance=np.full((6, 6), np.nan),
            yaw_known=False,
            truncated=truncated,
            valid_fraction=item.valid_fraction,
            depth_problem=item.problem,
        )
    assert item.ground is not None and item.outline is not None and item.median is not None
    basis = item.ground.basis.astype(np.float64)
    box, yaw_known = _box(item, basis)
    corners = item.outline[np.argmax(item.outline @ _CORNER_DIRECTIONS, axis=0)].astype(np.float64)
    level = np.full((FOOTPRINT_CORNERS, 1), (item.top + item.bottom) / 2)
    visible, occluder = _visibility(index, item, owner, corners, basis, frame, depth_config, config)
    return SceneObject(
        detection=item.detection,
        points=item.points,
        surface_centre=basis @ item.median.astype(np.float64),
        box=box,
        footprint=np.hstack((corners, level)) @ basis.T,
        covariance=_covariance(item, box, basis, yaw_known, frame, depth_config),
        yaw_known=yaw_known,
        visible_fraction=visible,
        occluder=None if occluder < 0 else ids[occluder],
        truncated=truncated,
        valid_fraction=item.valid_fraction,
    )


def _box(item: _Lifted, basis: npt.NDArray[np.float64]) -> tuple[OrientedBox, bool]:
    """Gravity-up box around the outline: the smallest one if the outline has corners, else along the view."""
    assert item.outline is not None
    (cx, cy), (length, width), angle = cv2.minAreaRect(item.outline)
    fill = cv2.contourArea(item.outline) / max(length * width, 1e-9)
    elongated = max(length, width) > _ELONGATED * max(min(length, width), 1e-6)
    if fill >= _ROUND_FILL or elongated:
        yaw = np.radians(angle)
    else:
        yaw = 0.0
        low, high = item.outline.min(axis=0), item.outline.max(axis=0)
        (cx, cy), (length, width) = (low + high) / 2, high - low
    if width > length:
        length, width, yaw = width, length, yaw + np.pi / 2
    if np.cos(yaw) < 0:
        yaw += np.pi
    x_axis = np.cos(yaw) * basis[:, 0] + np.sin(yaw) * basis[:, 1]
    axes = np.stack((x_axis, np.cross(basis[:, 2], x_axis), basis[:, 2]), axis=1)
    centre = basis @ np.array([cx, cy, (item.top + item.bottom) / 2])
    size = np.array([length, width, item.top - item.bottom], np.float64)
    return OrientedBox(centre, axes, np.maximum(size, 1e-3)), bool(elongated)


def _covariance(
    item: _Lifted,
    box: OrientedBox,
    basis: npt.NDArray[np.float64],
    yaw_known: bool,
    frame: RgbdFrame,
    config: DepthConfig,
) -> npt.NDArray[np.float64]:
    """(6, 6) covariance of volume centre and rotation, camera frame.

    Along the ray: the part of the depth noise that a whole object shares, and what averaging leaves of the rest.
    Along e1: half of the depth that was assumed, as a uniform error, and a part of the length, for outlines are
    guesses. Across: at each edge of
    the mask one pixel, two where the mask was cut out of a box.
    Rotation: up to about a degree; yaw from the length of the footprint, unknown (uniform) without one.
    """
    ray = box.centre / np.linalg.norm(box.centre)
    sigma = float(depth_noise(np.float64(box.centre[2]), config))
    shared = (config.correlated_fraction * sigma) ** 2
    rest = (1 - config.correlated_fraction**2) * sigma**2 / (1 + 0.01 * len(item.points))
    pixel = box.centre[2] / frame.camera.K[0, 0]
    edge = (max(item.rim, 1) * pixel) ** 2 / 2
    along = (item.unseen / 2) ** 2 / 3 + (_SHAPE_DOUBT * box.size[0]) ** 2
    position = (shared + rest) * np.outer(ray, ray) + edge * np.eye(3) + along * np.outer(basis[:, 0], basis[:, 0])
    tilt = np.radians(1.0) ** 2
    yaw = (2 * (sigma + pixel) / max(box.size[0], 1e-3)) ** 2 if yaw_known else np.pi**2 / 3
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = position
    up = basis[:, 2]
    covariance[3:, 3:] = tilt * np.eye(3) + (yaw - tilt) * np.outer(up, up) if yaw > tilt else tilt * np.eye(3)
    return covariance


def _visibility(
    index: int,
    item: _Lifted,
    owner: npt.NDArray[np.int16],
    corners: npt.NDArray[np.float64],
    basis: npt.NDArray[np.float64],
    frame: RgbdFrame,
    depth_config: DepthConfig,
    config: LiftConfig,
) -> tuple[float, int]:
    """Part of the estimated silhouette that nothing covers, and the index of what covers most of the rest (-1: none).

    A pixel of the silhouette is covered when it is clearly nearer than the object's nearest part, or belongs to
    another object and is nearer than the object's middle.
    """
    ends = [np.hstack((corners, np.full((len(corners), 1), level))) for level in (item.bottom, item.top)]
    pixels = project(frame.camera, np.concatenate(ends) @ basis.T)
    height, width = frame.depth.shape
    if not np.isfinite(pixels).all():
        return 1.0, -1
    low = np.clip(np.floor(pixels.min(axis=0)).astype(int), 0, (width - 1, height - 1))
    high = np.clip(np.ceil(pixels.max(axis=0)).astype(int), 0, (width - 1, height - 1))
    silhouette = np.zeros((high[1] - low[1] + 1, high[0] - low[0] + 1), np.uint8)
    outline = cv2.convexHull((pixels - low).round().astype(np.int32))
    cv2.fillConvexPoly(silhouette, outline, 1)
    window = np.s_[low[1] : high[1] + 1, low[0] : high[0] + 1]
    there, z = owner[window], frame.depth[window]
    inside = silhouette.view(np.bool_)
    own = there == index
    middle_z = float(np.median(item.points[:, 2]))
    hidden = (
        inside
        & ~own
        & (
            (z < item.near_z - depth_gap(np.float64(item.near_z), depth_config, config))
            | ((there >= 0) & (z < middle_z))
        )
    )
    occluders = there[hidden & (there >= 0)]
    occluder = int(np.bincount(occluders).argmax()) if len(occluders) else -1
    return 1.0 - np.count_nonzero(hidden) / max(1, np.count_nonzero(inside)), occluder


def _touches_border(item: _Lifted, frame: RgbdFrame) -> bool:
    """Whether the picture's border cuts the object."""
    rows, columns = item.window
    height, width = frame.depth.shape
    return rows.start <= 1 or columns.start <= 1 or rows.stop >= height - 1 or columns.stop >= width - 1
