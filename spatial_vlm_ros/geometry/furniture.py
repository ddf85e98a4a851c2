# SPDX-License-Identifier: Apache-2.0
"""Masks of tables and drawers that were cut out of boxes: a table is level, and an open drawer has an inside.

Depth cuts a box into the pieces that rise over the support. Of a table that supports everything else only stray pixels
would be left, and the inside of an open drawer would go to the chest around it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.geometry.segmentation import Patch, support_tolerance
from spatial_vlm_ros.geometry.surface import Surface
from spatial_vlm_ros.parameters import LiftConfig
from spatial_vlm_ros.types import Detection, Mask, Plane, RgbdFrame

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
    """The masks, with a table that has no mask of its own replaced by the pixels level with the support in its box.

    Args:
        patches: a mask for each detection.
        table: (N,) bool: True for tables.
        frame: rectified frame.
    """
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

    Args:
        patches: a mask for each detection.
        frame: rectified frame.
        up: (3,) camera frame.
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
    """Rows and columns of a box, inside the image."""
    x0, y0, x1, y1 = detection.box_xyxy
    rows, columns = frame.depth.shape
    left, top = min(max(0, round(x0)), columns - 1), min(max(0, round(y0)), rows - 1)
    return slice(top, max(top + 1, min(rows, round(y1) + 1))), slice(left, max(left + 1, min(columns, round(x1) + 1)))


def _points(frame: RgbdFrame, window: tuple[slice, slice]) -> Array:
    """(h, w, 3) points of a window, metres, camera frame; NaN where nothing is measured."""
    xs, ys = normalised_axes(frame.camera)
    z = frame.depth[window].astype(np.float64)
    return np.stack((xs[None, window[1]] * z, ys[window[0], None] * z, z), axis=-1)
