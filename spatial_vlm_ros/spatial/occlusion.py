# SPDX-License-Identifier: Apache-2.0
"""Find where an unseen object could be: ground that hides an object of a given size. See docs/shape.md.

Computed on a grid on the ground: the shadows of objects seen from the camera, minus the ground that the objects cover.
An object can be hidden where its whole outline fits in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.extent import usual_size
from spatial_vlm_ros.language.part_words import VESSELS
from spatial_vlm_ros.language.patterns import word_set
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.types import FrameOfReference, HiddenRegion, Mask, NounPhrase

_LONGEST = 1.0  # metres; the shadow behind an object taller than the camera has no end of its own
_CELLS = 7  # of the grid across the object
_FINEST, _MOST_CELLS = 0.004, 200  # metres of a cell; cells along a side of the grid
_BOX_CELLS = 16  # along the longer side of a region, in which its largest box is searched for
_ALL_BUT = 0.95  # fraction of its width that must fit in: a little may stick out
_OPEN = VESSELS | word_set("bin crate tub container drawer bag")
"""Nouns of objects that are open at the top; other objects are open if the middle of their top is missing."""
_CORE, _SUNK = 0.6, 0.35  # fraction of an outline around its middle; fraction of the height that counts as the top
_SAMPLED, _FEW, _MISSING = 400, 12, 0.3  # points used; least number expected; fraction of these that would show a top
_BASE, _RIM = 0.004, 0.01  # metres: thickness of a bottom; thickness of a wall plus error of an outline


@dataclass(frozen=True, eq=False)
class _Grid:
    """Cells on the ground: cell (i, j) is centred at `low + (j, i) * cell` in ground coordinates (g1, g2)."""

    low: Array
    cell: float
    shape: tuple[int, int]

    @staticmethod
    def around(corners: Array, width: float) -> _Grid:
        low, high = corners.min(axis=0), corners.max(axis=0)
        cell = max(width / _CELLS, _FINEST, float((high - low).max()) / _MOST_CELLS)
        columns, rows = (np.ceil((high - low) / cell).astype(int) + 1).tolist()
        return _Grid(low, cell, (rows, columns))

    def window(self, column: int, row: int, shape: tuple[int, int]) -> _Grid:
        return _Grid(self.low + np.array([column, row]) * self.cell, self.cell, shape)

    def filled(self, outline: Array) -> Mask:
        """Cells in the convex hull of (K, 2) points."""
        mask = np.zeros(self.shape, np.uint8)
        hull = cv2.convexHull(((outline - self.low) / self.cell * 16).astype(np.float32))
        cv2.fillConvexPoly(mask, hull.round().astype(np.int32), 1, shift=4)
        return mask.view(np.bool_)

    def disk(self, width: float) -> npt.NDArray[np.uint8]:
        size = max(1, math.ceil(width / self.cell))
        return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)

    def places(self, cells: Mask) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Array]:
        """Rows, columns and (N, 2) ground coordinates of the set cells."""
        i, j = np.nonzero(cells)
        return i, j, self.low + np.column_stack((j, i)) * self.cell


def hidden_regions(layout: Layout, size: tuple[float, float]) -> tuple[HiddenRegion, ...]:
    """Find regions of the ground, within the image, where an object of a given width and height could stand unseen.

    Completely hidden boxes, along and across the view, in the camera frame, largest first: behind objects (overlapping
    ones are merged), and inside open ones. Empty without a support plane.
    """
    eye = layout.viewpoint(FrameOfReference.VIEWER).origin
    rows = np.flatnonzero(layout.measured) if layout.scene.support is not None else np.array([], np.intp)
    if not len(rows) or not eye[2] > size[1] > 0 or not size[0] > 0:
        return ()
    cast = {}  # (2K, 2) corners of the ground on which an object hides one of that height, its own ground included
    for row in rows.tolist():
        outline, top = layout.footprint[row], float(layout.top[row])
        if top > size[1]:
            distance = np.linalg.norm(outline, axis=1, keepdims=True)
            longest = 1.0 + _LONGEST / np.maximum(distance, 1e-3)
            factor = np.minimum(longest, (float(eye[2]) - size[1]) / (float(eye[2]) - top)) if top < eye[2] else longest
            cast[row] = np.concatenate((outline, outline * factor))
    if not cast:
        return ()
    grid = _Grid.around(np.concatenate(list(cast.values())), size[0])
    hidden = np.zeros(grid.shape, np.bool_)
    owner = np.full(grid.shape, -1, np.intp)
    for row in sorted(cast, key=lambda r: -float(np.linalg.norm(layout.centre[r, :2]))):  # the nearest one hides
        shadow = grid.filled(cast[row])
        hidden |= shadow
        owner[shadow] = row
    for row in rows.tolist():
        hidden &= ~grid.filled(layout.footprint[row])
    found = list(_regions(layout, grid, hidden, owner, size, 0.0, _ALL_BUT))
    inner = [row for row in cast if layout.size[row, 1] > size[0] + 2 * _RIM and is_open(layout, row)]
    for row in inner:  # inside an open object, what its near wall hides
        floor, rim = float(layout.bottom[row]) + _BASE, float(layout.top[row])
        if floor + size[1] >= rim:
            continue
        outline = layout.footprint[row]
        grid, centre = _Grid.around(outline, size[0]), outline.mean(axis=0)
        away = np.linalg.norm(outline - centre, axis=1, keepdims=True)
        inside = centre + (outline - centre) * np.maximum(1.0 - _RIM / np.maximum(away, 1e-6), 0.0)
        hidden = grid.filled(inside)
        if rim < eye[2]:
            hidden &= ~grid.filled(inside * ((float(eye[2]) - floor - size[1]) / (float(eye[2]) - rim)))
        found += _regions(layout, grid, hidden, np.full(grid.shape, row, np.intp), size, floor)
    return tuple(sorted(found, key=lambda region: (-region.size[0] * region.size[1], region.occluder_id)))


def is_inside(layout: Layout, region: HiddenRegion) -> bool:
    """True if a region is inside the open object that hides it ("in the bowl"), not behind it."""
    row = [obj.id for obj in layout.scene.objects].index(region.occluder_id)
    x, y = (np.array(region.position) @ layout.axes)[:2].tolist()
    outline = cv2.convexHull(layout.footprint[row].astype(np.float32))
    return bool(cv2.pointPolygonTest(outline, (x, y), False) > 0)


def is_open(layout: Layout, row: int) -> bool:
    """True if an object is open at the top: by its name, or because the middle of its top is not seen.

    For a solid object seen from above, the points in the middle at the height of the top are as many as the top's share
    of the image.
    """
    obj = layout.scene.objects[row]
    words = obj.detection.label.lower().replace("_", " ").split()
    if words and words[-1] in _OPEN:
        return True
    points = obj.points[:: max(1, len(obj.points) // _SAMPLED)].astype(np.float64)
    local = (points - obj.box.centre) @ obj.box.axes / obj.box.size
    in_the_middle = (np.abs(local[:, :2]) < _CORE / 2).all(axis=1) & (local[:, 2] > 0.5 - _SUNK)
    eye = layout.viewpoint(FrameOfReference.VIEWER).origin - layout.centre[row]
    over, beside = max(0.0, float(eye[2] - obj.box.size[2] / 2)), float(np.linalg.norm(eye[:2]))
    length, width, height = obj.box.size.tolist()
    flat, upright = length * width * over, (length + width) / 2 * height * beside
    expected = _CORE**2 * flat / max(flat + upright, 1e-9) * len(points)
    return bool(expected >= _FEW and np.count_nonzero(in_the_middle) < _MISSING * expected)


# ------------------------------------------------------------------------------------------------ shadows


# ------------------------------------------------------------------------------------------------ regions


def _regions(
    layout: Layout,
    grid: _Grid,
    hidden: Mask,
    owner: npt.NDArray[np.intp],
    size: tuple[float, float],
    floor: float,
    share: float = 1.0,
) -> Iterator[HiddenRegion]:
    """Connected parts of hidden ground that `share` of the object's width fits in, as boxes that it can move in."""
    disk = grid.disk(share * size[0])
    spots = cv2.erode(hidden.view(np.uint8), disk, borderType=cv2.BORDER_CONSTANT, borderValue=0).view(np.bool_)
    i, j, places = grid.places(spots)
    height = floor + size[1] / 2
    camera = layout.scene.frame.camera
    rays = np.column_stack((places, np.full(len(places), height - layout.floor))) @ (camera.K @ layout.axes).T
    ahead = rays[:, 2] > 1e-6
    pixels = rays[:, :2] / np.where(ahead, rays[:, 2], 1.0)[:, None]
    inside = (pixels >= 0).all(axis=1) & (pixels <= (camera.width - 1, camera.height - 1)).all(axis=1)
    spots[i, j] = np.asarray(ahead & inside, np.bool_)
    if not spots.any():
        return
    room = cv2.dilate(spots.view(np.uint8), disk) & hidden.view(np.uint8)
    count, parts, boxes, _ = cv2.connectedComponentsWithStats(room, connectivity=4)
    for part in range(1, count):
        x, y, columns, rows = boxes[part, :4].tolist()
        window = slice(y, y + rows), slice(x, x + columns)
        held = parts[window] == part
        row = int(np.bincount(owner[window][held]).argmax())
        yield _region(layout, grid.window(x, y, (rows, columns)), spots[window] & held, row, size, floor)


def _region(
    layout: Layout, grid: _Grid, spots: Mask, row: int, size: tuple[float, float], floor: float
) -> HiddenRegion:
    """The largest box along and across the view that the object can move in: its centres, grown by its width."""
    places = grid.places(spots)[2]
    view = layout.viewpoint(FrameOfReference.VIEWER)
    ahead = view.towards(places.mean(axis=0)[None], layout.relation.straight_down_deg)[0]
    turn = np.stack((ahead, (-ahead[1], ahead[0])))  # rows: along and across
    local = places @ turn.T
    low, high = local.min(axis=0), local.max(axis=0)
    step = max(grid.cell, float((high - low).max()) / _BOX_CELLS)
    shape = (np.ceil((high - low) / step).astype(int) + 1).tolist()
    along, across = (low[k] + step * np.arange(shape[k]) for k in (0, 1))
    at = along[:, None, None] * turn[0] + across[None, :, None] * turn[1]  # position of each cell along and across
    back = np.rint((at - grid.low) / grid.cell).astype(np.intp)
    inside = ((back >= 0) & (back < grid.shape[::-1])).all(axis=2)
    turned = np.zeros(shape, np.bool_)
    turned[inside] = spots[back[inside][:, 1], back[inside][:, 0]]
    top, left, bottom, right = _largest_box(turned)
    middle = low + (np.array([top + bottom, left + right]) - 1) / 2 * step
    extent = np.maximum(np.array([bottom - top, right - left]) - 1, 0) * step + size[0]
    place = layout.axes @ np.array([*(middle @ turn), floor + size[1] / 2 - layout.floor])
    return HiddenRegion(
        occluder_id=layout.scene.objects[row].id,
        position=(round(float(place[0]), 6), round(float(place[1]), 6), round(float(place[2]), 6)),
        size=(round(float(extent[0]), 6), round(float(extent[1]), 6), round(size[1], 6)),
        frame_id=layout.scene.frame.frame_id,
    )


def _largest_box(mask: Mask) -> tuple[int, int, int, int]:
    """First row, first column, end row, end column of the largest rectangle of set cells.

    Source: largest rectangle under a histogram, row by row, with a stack.
    """
    best, found = 0, (0, 0, 0, 0)
    heights = [0] * mask.shape[1]
    for i, line in enumerate(mask.tolist()):
        heights = [h + 1 if set_ else 0 for h, set_ in zip(heights, line, strict=True)]
        stack: list[tuple[int, int]] = []
        for j, h in enumerate((*heights, 0)):
            start = j
            while stack and stack[-1][1] >= h:
                start, tall = stack.pop()
                if tall * (j - start) > best:
                    best, found = tall * (j - start), (i + 1 - tall, start, i + 1, j)
            stack.append((start, h))
    return found


_KIND = 0.5  # match of an object with the noun from which it counts as one of its kind


def expected_size(
    phrase: NounPhrase, layout: Layout, default: float, match: Array | None = None
) -> tuple[float, float]:
    """Width (mean horizontal size) and height, metres, of what a noun names; `default` for unknown kinds.

    `match` (N,) is how well each object matches the noun, 0 to 1; by default the words of the labels decide.
    """
    head = phrase.category.rsplit(" ", 1)[-1]
    if match is None:
        match = np.array([float(head in o.detection.label.lower().split()) for o in layout.scene.objects])
    whole = np.array([not o.truncated and o.visible_fraction > 1.0 - _KIND for o in layout.scene.objects], np.bool_)
    alike = np.flatnonzero((match >= _KIND) & layout.measured & whole) if len(layout) else np.array([], np.intp)
    if len(alike) and head != "object":
        sizes = layout.size[alike]
        return float(np.median(sizes[:, :2].mean(axis=1))), float(np.median(sizes[:, 2]))
    return usual_size(phrase.category) or (default, default)
