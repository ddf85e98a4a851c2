# SPDX-License-Identifier: Apache-2.0
"""Which pixels of a box are the object: masks from depth for detections that come without one.

The picture's measured surface is cut at depth jumps and at the support plane; the pieces are then given to the boxes
that they fill. A piece that reaches far out of a box (an occluder, the background) is not that box's object.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.config import DepthConfig, LiftConfig
from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.types import Detection, Mask, Plane, RgbdFrame

_OWNED = 0.7  # part of a piece inside a box that makes it a piece of that box
_SHARED = 0.15  # part of a piece inside a box below which the box has no claim on it
_MIN_PIECE = 8  # pixels; smaller pieces are noise
_MIN_FILL = 0.04  # part of a box that its pieces must fill; less is a flat or unmeasured thing
_FLAT_CORE = 0.6  # part of a box, about its centre, taken for a flat thing of its surroundings' colour


def masks_from_boxes(
    frame: RgbdFrame,
    detections: Sequence[Detection],
    support: Plane | None,
    depth_config: DepthConfig,
    lift_config: LiftConfig,
) -> list[Mask]:
    """A mask for every detection: its own, or one cut out of its box by depth, else by colour.

    Args:
        frame: rectified frame.
        detections: boxes inside the picture; those with masks keep them, and their pixels are nobody else's.
        support: plane under the objects, or None.
        depth_config: noise of depth.
        lift_config: heights and gaps that separate surfaces.

    Returns:
        (H, W) bool for each detection.
    """
    boxed = [i for i, d in enumerate(detections) if d.mask is None]
    masks = [d.mask for d in detections]
    if boxed:
        claimed = np.zeros(frame.depth.shape, np.bool_)
        for mask in masks:
            if mask is not None:
                claimed |= mask
        boxes = [_pixel_box(detections[i], frame.depth.shape) for i in boxed]
        raised = raised_pixels(frame, support, depth_config, lift_config) & ~claimed
        cut = _give_pieces(_pieces(frame.depth, raised, depth_config, lift_config), boxes)
        for i, box, mask in zip(boxed, boxes, cut, strict=True):
            x0, y0, x1, y1 = box
            if mask[y0:y1, x0:x1].sum() < max(lift_config.min_pixels, _MIN_FILL * (x1 - x0) * (y1 - y0)):
                mask = _flat_mask(frame, box, claimed, mask)
            masks[i] = mask
    return [mask for mask in masks if mask is not None]


def raised_pixels(
    frame: RgbdFrame, support: Plane | None, depth_config: DepthConfig, lift_config: LiftConfig
) -> npt.NDArray[np.bool_]:
    """(H, W) bool: measured pixels above the support; all measured ones when there is no support plane."""
    depth = frame.depth
    if support is None:
        return np.isfinite(depth)
    xs, ys = normalised_axes(frame.camera)
    n = support.normal.astype(np.float32)
    height = (n[0] * xs.astype(np.float32))[None, :] + (n[1] * ys.astype(np.float32) + n[2])[:, None]
    height *= depth
    height += np.float32(support.offset)
    return height > np.float32(support_tolerance(support, lift_config))


def support_tolerance(support: Plane, config: LiftConfig) -> float:
    """Height in metres up to which a point may be the support itself."""
    return config.support_height + 2.0 * support.rms


def depth_gap(depth: npt.NDArray[np.floating], depth_config: DepthConfig, lift_config: LiftConfig) -> npt.NDArray:
    """Jump in metres, at each depth, that separates two surfaces."""
    return lift_config.gap + 6.0 * depth_noise(depth, depth_config)


def _pixel_box(detection: Detection, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Whole pixels of a box, inside the picture: left, top, right, bottom (last ones exclusive)."""
    x0, y0, x1, y1 = detection.box_xyxy
    left, top = min(max(0, round(x0)), shape[1] - 1), min(max(0, round(y0)), shape[0] - 1)
    return left, top, max(left + 1, min(shape[1], round(x1) + 1)), max(top + 1, min(shape[0], round(y1) + 1))


def _pieces(
    depth: npt.NDArray[np.float32], raised: Mask, depth_config: DepthConfig, lift_config: LiftConfig
) -> npt.NDArray[np.int32]:
    """Label connected raised pixels, cut where depth jumps between pixels up to two apart. 0 = none."""
    z = np.where(raised, depth, np.float32(0))
    gap = depth_gap(depth, depth_config, lift_config).astype(np.float32)
    edge = np.zeros(depth.shape, np.bool_)
    for step in (1, 2):
        across = np.abs(z[:, step:] - z[:, :-step]) > gap[:, step:]
        across &= raised[:, step:] & raised[:, :-step]
        edge[:, step:] |= across & (z[:, step:] > z[:, :-step])
        edge[:, :-step] |= across & (z[:, step:] < z[:, :-step])
        down = np.abs(z[step:] - z[:-step]) > gap[step:]
        down &= raised[step:] & raised[:-step]
        edge[step:] |= down & (z[step:] > z[:-step])
        edge[:-step] |= down & (z[step:] < z[:-step])
    return cv2.connectedComponents((raised & ~edge).astype(np.uint8), connectivity=4)[1]


def _give_pieces(labels: npt.NDArray[np.int32], boxes: Sequence[tuple[int, int, int, int]]) -> list[Mask]:
    """Give every piece to the box it fills best; share pieces that several boxes cut through."""
    areas = np.bincount(labels.reshape(-1))
    inside = np.zeros((len(boxes), len(areas)))
    for b, (x0, y0, x1, y1) in enumerate(boxes):
        inside[b] = np.bincount(labels[y0:y1, x0:x1].reshape(-1), minlength=len(areas))
    covered = inside / np.maximum(areas, 1)
    sizes = np.array([(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes], np.float64)
    owners = np.full((len(boxes), len(areas)), False)
    for piece in np.flatnonzero((covered.max(axis=0) > 0) & (areas >= _MIN_PIECE)):
        if piece == 0:
            continue
        own = np.flatnonzero(covered[:, piece] >= _OWNED)
        if len(own):
            owners[own[np.argmax(inside[own, piece] / sizes[own])], piece] = True
        else:
            owners[covered[:, piece] >= _SHARED, piece] = True
    masks = []
    nearest = _nearest_box(labels.shape, boxes) if (owners.sum(axis=0) > 1).any() else None
    for b, (x0, y0, x1, y1) in enumerate(boxes):
        mask = np.zeros(labels.shape, np.bool_)
        window = labels[y0:y1, x0:x1]
        own = owners[b][window]
        if nearest is not None:
            contested = (owners.sum(axis=0) > 1)[window]
            own &= ~contested | (nearest[y0:y1, x0:x1] == b)
        mask[y0:y1, x0:x1] = own
        masks.append(mask)
    return masks


def _nearest_box(shape: tuple[int, ...], boxes: Sequence[tuple[int, int, int, int]]) -> npt.NDArray[np.int32]:
    """(H, W): index of the box, among those that hold the pixel, in which it lies most centrally; -1 outside all."""
    best = np.full(shape, np.inf, np.float32)
    index = np.full(shape, -1, np.int32)
    for b, (x0, y0, x1, y1) in enumerate(boxes):
        u = (np.arange(x0, x1, dtype=np.float32) - (x0 + x1 - 1) / 2) / (x1 - x0)
        v = (np.arange(y0, y1, dtype=np.float32) - (y0 + y1 - 1) / 2) / (y1 - y0)
        distance = u[None, :] ** 2 + v[:, None] ** 2
        window = best[y0:y1, x0:x1]
        closer = distance < window
        window[closer] = distance[closer]
        index[y0:y1, x0:x1][closer] = b
    return index


def _flat_mask(frame: RgbdFrame, box: tuple[int, int, int, int], claimed: Mask, raised: Mask) -> Mask:
    """Pixels of a box that differ in colour from its surroundings; the box's core when too few do."""
    x0, y0, x1, y1 = box
    height, width = frame.depth.shape
    margin = max(4, round(0.15 * max(x1 - x0, y1 - y0)))
    top, left = max(0, y0 - margin), max(0, x0 - margin)
    window = np.s_[top : min(height, y1 + margin), left : min(width, x1 + margin)]
    lab = cv2.cvtColor(frame.rgb[window], cv2.COLOR_RGB2Lab).astype(np.float32)
    inside = np.zeros(lab.shape[:2], np.bool_)
    inside[y0 - top : y1 - top, x0 - left : x1 - left] = True
    ring = lab[~inside]
    mask = np.zeros((height, width), np.bool_)
    if len(ring) >= 20:
        median = np.median(ring, axis=0)
        spread = 1.4826 * np.median(np.abs(ring - median), axis=0) + 2.0  # 2: JPEG and sensor noise of a plain surface
        distance = np.sqrt((((lab - median) / spread) ** 2).mean(axis=2))
        mask[window] = inside & (distance > 3.0)
    mask &= ~claimed
    mask |= raised
    if mask.sum() < _MIN_FILL * (x1 - x0) * (y1 - y0):
        dx, dy = round((1 - _FLAT_CORE) / 2 * (x1 - x0)), round((1 - _FLAT_CORE) / 2 * (y1 - y0))
        mask[y0 + dy : max(y0 + dy + 1, y1 - dy), x0 + dx : max(x0 + dx + 1, x1 - dx)] = True
    return mask
