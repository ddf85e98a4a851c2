# SPDX-License-Identifier: Apache-2.0
"""Burners of a stove: discs of different brightness on its flat top, or rings above it; and what stands there."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.spatial.free_space import depth_inside, hull
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.spatial.parts.region import PICTURE, SHARE, Region, rectangle_of, trimmed

_BIN = 0.005  # metres: height step of the search for the top
_NEAR = 0.012  # metres around the height of the top within which points are on it: grates are slightly above it
_CELL = 0.005  # metres
# Of 255: brightness by which discs differ from the plate; shadows of pots differ less.
_OTHERS = (35.0, 70.0, 105.0, 140.0, 175.0)
_BRIDGE = 5  # cells: narrower parts join two discs and are not discs
_SMALLEST, _LARGEST = 0.03, 0.16  # metres: radii of burners
_ROUND = 0.65, 1.2  # area of a disc relative to its bounding ellipse; parts of a disc may be hidden
_STRETCH = 1.8  # length over width up to which a shape is a partly visible disc
_FEW = 30
_OVER = 0.1  # metres over the top up to which the underside of an object on a burner may be measured


def stove_top(layout: Layout, row: int) -> Region | None:
    """Find the flat top of an object; None if it is not visible."""
    own = layout.points_of(row)
    if len(own) < _FEW:
        return None
    # The height at which the points cover the most ground.
    bins = np.floor(own[:, 2] / _BIN).astype(np.int64)
    low = int(bins.min())
    cells = np.floor(own[:, :2] / (2 * _CELL)).astype(np.int64)
    number = (cells[:, 0] * 1_000_003 + cells[:, 1]) * 4096 + (bins - low)
    area = np.bincount(np.unique(number) % 4096)
    area = np.convolve(area, (1, 1, 1), "same")
    best = int(np.argmax(area)) + low
    height = float(np.median(own[np.abs(bins - best) <= 1, 2]))
    plate = own[np.abs(own[:, 2] - height) < _NEAR]
    if len(plate) < _FEW:
        return None
    about = rectangle_of(trimmed(plate[:, :2]))
    outline = about.part(-about.half, about.half)
    span = height - _OVER, height + _OVER
    return Region(row, outline, height, math.inf, span, PICTURE, carrier=outline)


def burners(layout: Layout, top: Region) -> tuple[Region, ...]:
    """Find the visible discs on a stove's top; objects on it may hide others."""
    own = layout.points_of(top.row)
    plate = own[np.abs(own[:, 2] - top.low) < _NEAR]
    about = rectangle_of(top.outline)
    rgb = layout.scene.frame.rgb
    u, v = np.rint(_pixels(layout, plate)).astype(int).T
    bright = rgb[np.clip(v, 0, rgb.shape[0] - 1), np.clip(u, 0, rgb.shape[1] - 1)].mean(axis=1)
    cells = np.floor((about.to_own(plate[:, :2]) + about.half) / _CELL).astype(int)
    shape = np.maximum(1, np.ceil(2 * about.half / _CELL).astype(int))
    kept = ((cells >= 0) & (cells < shape)).all(axis=1)
    index = cells[kept, 0] * shape[1] + cells[kept, 1]
    count = np.bincount(index, minlength=int(shape.prod()))
    mean = np.bincount(index, bright[kept], minlength=int(shape.prod())) / np.maximum(count, 1)
    usual = float(np.median(mean[count > 0]))
    apart = np.where(count > 0, np.abs(mean - usual), 0.0).reshape(shape)
    ways = [_discs(apart > other, about.half) for other in _OTHERS]
    most = max(ways, key=lambda discs: (len(discs), -np.ptp([radius for _, radius in discs] or [0.0])))
    angles = 2 * np.pi * np.arange(16) / 16
    ring = np.stack((np.cos(angles), np.sin(angles)), axis=1)
    return tuple(
        Region(
            top.row, about.from_own(middle + radius * ring), top.low, top.high, top.span, PICTURE, carrier=top.outline
        )
        for middle, radius in most
    )


def _discs(other: npt.NDArray[np.bool_], half: Array) -> list[tuple[Array, float]]:
    """Middle and radius of each piece of a plate's cells that forms a disc."""
    whole = cv2.morphologyEx(other.view(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    number, marks = cv2.connectedComponents(cv2.morphologyEx(whole, cv2.MORPH_OPEN, np.ones((_BRIDGE,) * 2, np.uint8)))
    found = []
    for k in range(1, number):
        places = (np.argwhere(marks == k) + 0.5) * _CELL - half
        if len(places) * _CELL**2 < math.pi * _SMALLEST**2 / 2:
            continue
        about = rectangle_of(places)
        length, width = 2 * about.half + _CELL
        outline = hull(places).astype(np.float32)
        round_ = cv2.contourArea(outline) / (math.pi / 4 * length * width)
        middle, radius = cv2.minEnclosingCircle(outline)
        if _ROUND[0] < round_ < _ROUND[1] and length <= _STRETCH * width and _SMALLEST < radius < _LARGEST:
            found.append((np.array(middle, np.float64), float(radius)))
    return found


def hides_one(layout: Layout, region: Region, discs: tuple[Region, ...]) -> bool:
    """True if an object stands in a part of a stove's top but on no visible disc: it most likely hides another disc."""
    rows = np.flatnonzero(layout.measured & (np.abs(layout.bottom - region.low) < _OVER))
    places = layout.centre[rows[rows != region.row], :2]
    there = depth_inside(region.outline, places) > 0
    for disc in discs:
        there &= depth_inside(disc.outline, places) < 0
    return bool(there.any())


def _pixels(layout: Layout, points: Array) -> Array:
    """(N, 2) image columns and rows of points in ground coordinates."""
    rays = (points - (0.0, 0.0, layout.floor)) @ layout.axes.T @ layout.scene.frame.camera.K.T
    return np.asarray(rays[:, :2] / np.maximum(rays[:, 2:], 1e-6))


_HIDDEN = 0.25  # fraction of a burner's possible area that an object must cover in the image to count as standing on it
_MIDDLE = 0.6  # fraction of the share of a stove, around its middle, that a burner fills


def standing_on(layout: Layout, region: Region, moved: int) -> int | None:
    """Find an object, other than the one to put there, that stands on a burner, or None.

    Its middle lies over the burner, or it covers the burner's middle. If other burners of the stove are visible and
    this one is not, the object that hides it in the image is assumed to stand on it.
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
    pixels = _pixels(layout, np.column_stack((places, np.full(len(places), region.low))))
    seen = np.zeros(frame.depth.shape, np.uint8)
    corners = cv2.convexHull(np.rint(pixels).astype(np.int32))
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
