# SPDX-License-Identifier: Apache-2.0
"""Find objects on a burner: a burner has room for only one pot."""

from __future__ import annotations

import cv2
import numpy as np

from spatial_vlm_ros.spatial.free_space import depth_inside
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.parts.burners import burners, stove_top
from spatial_vlm_ros.spatial.parts.region import SHARE, Region

_HIDDEN = 0.25  # fraction of a burner's possible area that an object must cover in the image to count as standing on it
_MIDDLE = 0.6  # fraction of the share of a stove, around its middle, that a burner fills


def standing_on(layout: Layout, region: Region, moved: int) -> int | None:
    """Find an object that stands on a burner, or None.

    Its middle lies over the burner, or it covers the burner's middle. If other burners of the stove are visible and
    this one is not, the object that hides it in the image is assumed to stand on it.

    Args:
        moved: row of the object to put there.
    """
    rows = np.flatnonzero(layout.measured & (layout.top > region.low))
    rows = rows[(rows != moved) & (rows != region.row) & (layout.mean_side[rows] < layout.mean_side[region.row])]
    middle = region.middle[None]
    over = depth_inside(region.outline, layout.centre[rows, :2]) > 0
    over |= np.array([depth_inside(layout.footprint[row], middle)[0] > 0 for row in rows], np.bool_)
    if over.any():
        return int(rows[over][0])
    top = stove_top(layout, region.row) if region.found_by == SHARE else None
    return _hiding(layout, region, moved) if top is not None and burners(layout, top) else None


def _hiding(layout: Layout, region: Region, moved: int) -> int | None:
    """The object that covers the most of a region's middle in the image, if that is a large part of it."""
    frame = layout.scene.frame
    places = region.middle + _MIDDLE * (region.outline - region.middle)
    u, v = _pixels(layout, np.column_stack((places, np.full(len(places), region.low - layout.floor))))
    seen = np.zeros(frame.depth.shape, np.uint8)
    corners = cv2.convexHull(np.rint(np.stack((u, v), axis=1)).astype(np.int32))
    cv2.fillConvexPoly(seen, corners, 1)
    shown = seen.astype(np.bool_)
    best, share = None, _HIDDEN * max(int(shown.sum()), 1)
    for row, obj in enumerate(layout.scene.objects):
        if row in (moved, region.row) or (layout.measured[row] and layout.top[row] <= region.low):
            continue
        mask = obj.detection.mask
        if mask is None:
            mask = np.zeros_like(shown)
            x0, y0, x1, y1 = (max(0, round(value)) for value in obj.detection.box_xyxy)
            mask[y0:y1, x0:x1] = True
        if mask.shape == shown.shape and (covered := int((mask & shown).sum())) > share:
            best, share = row, covered
    return best


def _pixels(layout: Layout, points: Array) -> tuple[Array, Array]:
    """Image columns and rows of points (N, 3) whose heights are measured from the camera."""
    rays = points @ layout.axes.T @ layout.scene.frame.camera.K.T
    u, v = (rays[:, :2] / np.maximum(rays[:, 2:], 1e-6)).T
    return u, v
