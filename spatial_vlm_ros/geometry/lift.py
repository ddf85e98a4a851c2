# SPDX-License-Identifier: Apache-2.0
"""Lift detections to a scene of objects in metres: surface, extent, support, and occlusion.

Works in the optical frame of the camera. Does not use relations or words of the instruction.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.boxes import box_around
from spatial_vlm_ros.geometry.camera import normalised_axes, rectified
from spatial_vlm_ros.geometry.depth import check_depth, clip_depth
from spatial_vlm_ros.geometry.extent import FOOTPRINT_CORNERS, Extent, box_of, covariance_of, extent_of, shape_of
from spatial_vlm_ros.geometry.frame_evidence import frame_evidence, unexplained_regions
from spatial_vlm_ros.geometry.segmentation import (
    Patch,
    depth_gap,
    masks_from_boxes,
    raised_pixels,
    support_tables,
    support_tolerance,
)
from spatial_vlm_ros.geometry.support import find_support, find_up, known_up
from spatial_vlm_ros.geometry.supporting_objects import (
    Instances,
    expected_widths,
    owner_image,
    raised,
    standing,
    touches_border,
    visibility,
)
from spatial_vlm_ros.geometry.surface import Surface, visible_surface
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.types import Depth, Detection, Mask, OrientedBox, Plane, RgbdFrame, Scene, SceneObject, UpSource

# --------------------------------------------------------------------------------------------------
# Measure how much of a detection is the robot itself: a gripper detected as a cup is not a cup.

_MOST = 0.5  # fraction of the raised pixels in a box from which more of it is the robot than anything else


def robot_shares(
    frame: RgbdFrame, detections: Sequence[Detection], support: Plane | None, lift_config: LiftConfig
) -> list[float]:
    """Fraction of each detection's measured pixels that belongs to the robot, 0 to 1.

    All pixels of a mask are counted. In a box only those above the support are, so that the table around a gripper does
    not count. Pixels that the robot's padding removed from an object count as the object's: being near the robot does
    not make it a part of the robot.
    """
    robot = frame.robot
    if robot is None or not robot.own.any():
        return [0.0] * len(detections)
    whole = replace(frame, depth=np.where(np.isfinite(robot.depth), robot.depth, frame.depth), robot=None)
    measured, raised = np.isfinite(whole.depth), raised_pixels(whole, support, lift_config)
    shares = []
    for detection in detections:
        x0, y0, x1, y1 = detection.box_xyxy
        box = np.s_[max(0, int(y0)) : max(0, int(y1) + 1), max(0, int(x0)) : max(0, int(x1) + 1)]
        counted = raised[box] if detection.mask is None else measured & detection.mask
        own = counted & (robot.own[box] if detection.mask is None else robot.own)
        shares.append(float(np.count_nonzero(own)) / max(1, int(np.count_nonzero(counted))))
    return shares


def unplaced_by_robot(surface: Surface, share: float) -> Surface:
    """Remove the surface's points if only a box defines it and the box shows more robot than anything else.

    The remaining points could be the object, or another one behind the gripper that was detected.
    """
    if surface.detection.mask is not None or share < _MOST:
        return surface
    problem = f"{share:.0%} of the measured points in its box belong to the robot"
    return replace(surface, points=np.empty((0, 3), np.float32), problem=problem)


BEYOND = 1.25
"""Times its reach within which a surface must end: a larger surface is not one object."""
SURROUNDINGS = 0.1
"""Metres around a point in which the support is searched for, before the object's size is known."""


NEAREST = 3
"""Pixels around an unmeasured point in which the nearest measured pixel is used instead."""


def surface_at(
    depth: Depth,
    k: npt.NDArray[np.float64],
    point_xy: tuple[float, float],
    *,
    step: float,
    reach: float,
    of: Mask | None = None,
) -> Mask:
    """The connected surface at a point: the pixels reachable from it over depth steps of at most `step`.

    Neighbours are the four beside a pixel. A support is connected with the objects on it. Pass the pixels above it as
    `of` (`segmentation.raised_pixels`), or the surface spreads over the support as far as `reach`. Nothing is set where
    no pixel within NEAREST pixels of the point is measured and part of `of`.

    Args:
        point_xy: x, y in pixels as models write them: (0, 0) is the top-left corner of the image.
        step: largest step in depth between neighbours, metres (`segmentation.depth_gap` for a sensor).
        reach: largest distance of the surface from the point in space, metres.
    """
    height, width = depth.shape
    usable = np.isfinite(depth) & (depth > 0.0)
    if of is not None:
        usable &= of
    surface = np.zeros(depth.shape, np.bool_)
    # The usable pixel nearest to the point, within NEAREST pixels of its own pixel.
    column, row = min(int(point_xy[0]), width - 1), min(int(point_xy[1]), height - 1)
    top, left = max(0, row - NEAREST), max(0, column - NEAREST)
    rows, columns = np.nonzero(usable[top : row + NEAREST + 1, left : column + NEAREST + 1])
    if not len(rows):
        return surface
    best = int(np.argmin((rows + top - row) ** 2 + (columns + left - column) ** 2))
    row, column = int(rows[best]) + top, int(columns[best]) + left
    down = ((np.arange(height) - k[1, 2]) / k[1, 1]).astype(np.float32)[:, None]
    across = ((np.arange(width) - k[0, 2]) / k[0, 0]).astype(np.float32)[None, :]
    z = np.where(np.isfinite(depth), depth, np.float32(np.inf)).astype(np.float32)
    z0 = float(depth[row, column])
    x0, y0 = float(across[0, column]) * z0, float(down[row, 0]) * z0
    with np.errstate(invalid="ignore"):
        usable &= (across * z - x0) ** 2 + (down * z - y0) ** 2 + (z - z0) ** 2 <= reach**2
    walls = np.ones((height + 2, width + 2), np.uint8)  # cv2.floodFill needs a border of one pixel
    walls[1:-1, 1:-1] = ~usable
    z = np.where(usable, depth, 0.0).astype(np.float32)
    flags = 4 | (255 << 8) | cv2.FLOODFILL_MASK_ONLY
    cv2.floodFill(z, walls, (column, row), 0.0, step, step, flags)
    surface[:] = walls[1:-1, 1:-1] == 255
    return surface


def with_surroundings(frame: RgbdFrame, detections: Sequence[Detection]) -> tuple[Detection, ...]:
    """Detections for finding the support: pointed ones get boxes of size SURROUNDINGS around their points."""
    found, (height, width) = [], frame.depth.shape
    for one in detections:
        x, y = _middle(one)
        depth = _depth_near(frame, x, y) if one.pointed else None
        if depth is not None:
            across, down = (SURROUNDINGS * float(frame.camera.K[i, i]) / depth for i in (0, 1))
            left, top = max(0.0, x - across), max(0.0, y - down)
            right, bottom = min(float(width), x + across), min(float(height), y + down)
            one = replace(one, box_xyxy=(left, top, right, bottom))
        found.append(one)
    return tuple(found)


def with_surfaces(
    frame: RgbdFrame,
    detections: Sequence[Detection],
    support: Plane | None,
    depth_config: DepthConfig,
    lift_config: LiftConfig,
) -> tuple[Detection, ...]:
    """Give each pointed detection the connected surface at its point as a mask, and the box around it.

    A pointed detection stays unchanged, too small to be measured, if nothing shows how far its object reaches: no
    support is known, its point lies on the support or where nothing is measured, the surface reaches beyond
    `lift.point_reach`, or it overlaps the surface of another pointed detection. Objects that touch and differ in depth
    by less than a step are one surface; one point cannot separate them.
    """
    pointed = [row for row, one in enumerate(detections) if one.pointed]
    if not pointed or support is None:
        return tuple(detections)
    raised = raised_pixels(frame, support, lift_config)
    for one in detections:
        if one.mask is not None:
            raised &= ~one.mask
    surfaces = {}
    for row in pointed:
        x, y = _middle(detections[row])
        depth = _depth_near(frame, x, y)
        if depth is None:
            continue
        step, reach = float(depth_gap(depth, depth_config, lift_config)), lift_config.point_reach
        within, wider = (
            surface_at(frame.depth, frame.camera.K, (x, y), step=step, reach=metres, of=raised)
            for metres in (reach, BEYOND * reach)
        )
        if np.array_equal(within, wider):
            surfaces[row] = within
    alone = {
        row: mask
        for row, mask in surfaces.items()
        if mask.any() and not any((mask & other).any() for n, other in surfaces.items() if n != row)
    }
    return tuple(
        replace(one, mask=alone[row], box_xyxy=box_around(alone[row])) if row in alone else one
        for row, one in enumerate(detections)
    )


def _middle(detection: Detection) -> tuple[float, float]:
    x0, y0, x1, y1 = detection.box_xyxy
    return (x0 + x1) / 2.0, (y0 + y1) / 2.0


def _depth_near(frame: RgbdFrame, x: float, y: float) -> float | None:
    """Median depth, metres, of the measured pixels within NEAREST pixels of a point."""
    near = frame.depth[max(0, int(y) - NEAREST) : int(y) + NEAREST + 1, max(0, int(x) - NEAREST) : int(x) + NEAREST + 1]
    measured = near[np.isfinite(near)]
    return float(np.median(measured)) if len(measured) else None


# Masks of tables and drawers that were cut out of boxes: a table is level, and an open drawer has an inside.
#
# Depth cuts a box into the pieces that rise over the support. Of a table that supports everything else only stray
# pixels would be left, and the inside of an open drawer would go to the chest around it.

_TABLE_TOP = 0.01  # metres about the support within which a table's points are its top
_DRAWERS = frozenset({"drawer"})
_LAID = frozenset({"rug", "carpet", "workspace"})  # they lie on the support: height cannot separate them from it
_STRAY = 2.0  # percent of a front's points at either end that may be strays
_WALL = 0.01  # metres: thickness of a front and of walls, and how much lower a rim may be than the front
_SUNK = 0.02  # metres by which a floor may be lower than the visible front: its lower edge, and noise
_GAP = 0.04  # metres between visible parts of one inside along the view: a larger gap belongs to something else
_LEAST_OUT = 0.03  # metres that must be visible behind a front before the drawer counts as open
_FEW = 30  # pixels that are too few to show anything

Array = npt.NDArray[np.float64]


def with_tops(
    patches: Sequence[Patch],
    detections: Sequence[Detection],
    table: npt.NDArray[np.bool_],
    frame: RgbdFrame,
    support: Plane,
    config: LiftConfig,
) -> list[Patch]:
    """The masks, those of tables without one replaced by the pixels level with the support in their boxes."""
    found = list(patches)
    cut = [index for index in np.flatnonzero(table).tolist() if detections[index].mask is None]
    if not cut:
        return found
    load = np.zeros(frame.depth.shape, np.bool_)
    for other, patch in enumerate(patches):
        if other not in cut:
            load[patch.window] |= patch.mask
    for index in cut:
        left = patches[index].mask & ~load[patches[index].window]
        window = _window(detections[index], frame)
        heights = _points(frame, window) @ support.normal + support.offset
        level = (np.abs(heights) < support_tolerance(support, config)) & ~load[window]
        level &= not _LAID.intersection(detections[index].label.lower().split()[-1:])
        own = Patch(window, level)
        if np.count_nonzero(level) > np.count_nonzero(left & ~own.full(frame.depth.shape)[patches[index].window]):
            found[index] = own.tight()
        elif left.any():
            found[index] = Patch(patches[index].window, left).tight()
    return found


def top_of(surface: Surface, support: Plane) -> Surface:
    """Reduce a table's surface to its top if the top is most of what is visible; else return it unchanged."""
    top = np.abs(support.height(surface.points)) < _TABLE_TOP + 3.0 * support.rms
    if np.count_nonzero(top) <= len(top) / 2:
        return surface
    return dataclasses.replace(surface, points=surface.points.T.take(np.flatnonzero(top), axis=1).T)


def with_insides(patches: Sequence[Patch], detections: Sequence[Detection], frame: RgbdFrame, up: Array) -> list[Patch]:
    """The masks, with those of open drawers cut out of boxes extended by what is visible behind the fronts.

    Pixels behind a front, between its sides and neither higher nor lower than it, are inside the drawer: its floor and
    walls, since a chest shows nothing there unless the drawer is open. Objects detected in the drawer keep their
    pixels.
    """
    found = list(patches)
    boxes = np.array([d.box_xyxy for d in detections], np.float64).reshape(-1, 4)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    for index, detection in enumerate(detections):
        if detection.mask is not None or not _DRAWERS.intersection(detection.label.lower().split()[-1:]):
            continue
        window = _window(detection, frame)
        free = np.isfinite(frame.depth[window])
        around = np.flatnonzero(area > area[index]).tolist()  # a smaller box may lie in this one
        for other in (other for other in range(len(found)) if other not in (index, *around)):
            free &= ~found[other].full(frame.depth.shape)[window]
        inside = _inside(_points(frame, window), found[index].full(frame.depth.shape)[window], free, up)
        if inside is None:
            continue
        for other in around:
            kept = found[other].full(frame.depth.shape)
            kept[window] &= ~inside
            if detections[other].mask is None and kept.any():
                found[other] = Patch.around(kept)
        found[index] = Patch(window, found[index].full(frame.depth.shape)[window] | inside).tight()
    return found


def _inside(points: Array, front: Mask, free: Mask, up: Array) -> Mask | None:
    """(h, w) bool: visible inside of a drawer whose front is marked; None if the drawer is not seen to be open."""
    own = points[front & free]
    if len(own) < _FEW:
        return None
    ahead = np.array([0.0, 0.0, 1.0]) - up[2] * up
    flat = np.stack((ahead, np.cross(ahead, up)), axis=1) / max(float(np.linalg.norm(ahead)), 1e-6)
    places = own @ flat
    _, (length, width), angle = cv2.minAreaRect((places - places.mean(axis=0)).astype(np.float32))
    turn = np.radians(angle + (90.0 if width > length else 0.0))
    along = np.array([np.cos(turn), np.sin(turn)])
    into = np.array([-along[1], along[0]])
    into *= np.sign(into @ places.mean(axis=0)) or 1.0  # the viewer stands over the origin, and looks at the front
    low, high = np.percentile(own @ up, [_STRAY, 100.0 - _STRAY])
    left, right = np.percentile(places @ along, [_STRAY, 100.0 - _STRAY])
    face = float(np.percentile(places @ into, 100.0 - _STRAY))
    height, ground = points @ up, points @ flat
    with np.errstate(invalid="ignore"):
        inside = free & ~front & (height > low - _SUNK) & (height < high + _WALL)
        inside &= (ground @ along > left) & (ground @ along < right)
        deep = ground @ into - face
        inside &= (deep > 0.0) & (deep < right - left)
    behind = np.sort(deep[inside])
    if len(behind) < _FEW:
        return None
    steps = np.flatnonzero(np.diff(np.concatenate(([0.0], behind))) > _GAP)
    if len(steps):
        inside &= deep < behind[min(int(steps[0]), len(behind) - 1)]
    end = float(np.percentile(deep[inside], 100.0 - _STRAY)) if inside.sum() >= _FEW else 0.0
    return np.asarray(inside) if end > _LEAST_OUT else None


def _window(detection: Detection, frame: RgbdFrame) -> tuple[slice, slice]:
    x0, y0, x1, y1 = detection.box_xyxy
    rows, columns = frame.depth.shape
    left, top = min(max(0, round(x0)), columns - 1), min(max(0, round(y0)), rows - 1)
    return slice(top, max(top + 1, min(rows, round(y1) + 1))), slice(left, max(left + 1, min(columns, round(x1) + 1)))


def _points(frame: RgbdFrame, window: tuple[slice, slice]) -> Array:
    """(h, w, 3) points of a window, metres, camera frame; NaN where nothing is measured."""
    xs, ys = normalised_axes(frame.camera)
    z = frame.depth[window].astype(np.float64)
    return np.stack((xs[None, window[1]] * z, ys[window[0], None] * z, z), axis=-1)


def build_scene(
    frame: RgbdFrame, detections: Sequence[Detection], depth_config: DepthConfig, lift_config: LiftConfig
) -> Scene:
    """Lift all detections, checked by perception.grounding_checks, of a frame with registered depth.

    Distorted images are rectified first. An object whose depth cannot be trusted has `depth_problem` set. Detections
    that show the robot itself are discarded.
    """
    check_depth(frame.depth, depth_config)
    frame, checked = rectified(frame, tuple(detections))
    frame = dataclasses.replace(frame, depth=clip_depth(frame.depth, depth_config))
    known = known_up(frame)
    around = with_surroundings(frame, checked)
    support = find_support(frame, around, depth_config, known[0] if known else None)
    if support is None and any(one.score == 0.0 for one in checked):  # a model's point: it may show no support
        support = find_support(frame, (), depth_config, known[0] if known else None)
    up, up_from = find_up(frame, support)
    checked = with_surfaces(frame, checked, support, depth_config, lift_config)
    shares = robot_shares(frame, checked, support, lift_config)
    robot = tuple(d for d, share in zip(checked, shares, strict=True) if share >= lift_config.robot_share)
    checked = tuple(d for d in checked if d not in robot)
    shares = [share for share in shares if share < lift_config.robot_share]
    table = support_tables(frame, checked, support, lift_config)
    patches = masks_from_boxes(frame, checked, support, depth_config, lift_config)
    patches = patches if support is None else with_tops(patches, checked, table, frame, support, lift_config)
    patches = with_insides(patches, checked, frame, up)
    surfaces = [
        unplaced_by_robot(visible_surface(frame, d, p, support, depth_config, lift_config), share)
        for d, p, share in zip(checked, patches, shares, strict=True)
    ]
    if support is not None:
        surfaces = [top_of(s, support) if flat else s for s, flat in zip(surfaces, table, strict=True)]
    extents = [extent_of(s, up, frame, lift_config) if s.problem is None else None for s in surfaces]
    owners = owner_image(frame.depth.shape, surfaces, extents)
    extents = standing(surfaces, extents, support, up, frame, owners, depth_config, lift_config)
    widths = expected_widths(surfaces, extents)
    objects = tuple(
        _object(index, surface, extent, widths[index], owners, checked, frame, depth_config, lift_config)
        for index, (surface, extent) in enumerate(zip(surfaces, extents, strict=True))
    )
    if up_from is UpSource.OPTICAL_AXES:
        objects = tuple(replace(obj, yaw_known=False) for obj in objects)
    evidence = frame_evidence(frame, objects, support, up_from, up, depth_config)
    unexplained = unexplained_regions(frame, objects, robot, support, depth_config, lift_config)
    return Scene(objects, up, up_from, support, frame, robot, evidence, unexplained)


# ------------------------------------------------------------------------------------------------ finished objects


def _object(
    index: int,
    surface: Surface,
    extent: Extent | None,
    width: float,
    owners: Instances,
    detections: Sequence[Detection],
    frame: RgbdFrame,
    depth_config: DepthConfig,
    config: LiftConfig,
) -> SceneObject:
    """One object; without an extent every measure is NaN, and `depth_problem` says why."""
    if extent is None:
        nothing = np.full(3, np.nan)
        return SceneObject(
            detection=surface.detection,
            points=surface.points,
            surface_centre=nothing,
            box=OrientedBox(nothing, np.full((3, 3), np.nan), nothing),
            footprint=np.full((FOOTPRINT_CORNERS, 3), np.nan),
            covariance=np.full((6, 6), np.nan),
            yaw_known=False,
            truncated=touches_border(surface, frame),
            valid_fraction=surface.valid_fraction,
            depth_problem=surface.problem,
        )
    box, yaw_known = box_of(extent)
    corners = extent.footprint()
    visible, occluder = visibility(index, surface, extent, width, owners, frame, depth_config, config)
    return SceneObject(
        detection=surface.detection,
        points=surface.points,
        surface_centre=extent.basis @ extent.median,
        box=box,
        footprint=raised(corners, (extent.top + extent.bottom) / 2) @ extent.basis.T,
        covariance=covariance_of(extent, box, yaw_known, surface, frame.camera, depth_config),
        yaw_known=yaw_known,
        visible_fraction=visible,
        occluder=None if occluder < 0 else detections[occluder].id,
        truncated=touches_border(surface, frame),
        valid_fraction=surface.valid_fraction,
        cut=float(extent.cut[1]),
        cut_above=float(extent.cut[2]),
        shape=shape_of(extent, box),
    )
