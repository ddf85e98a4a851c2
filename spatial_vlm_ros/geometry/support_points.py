# SPDX-License-Identifier: Apache-2.0
"""Choose the points where the support surface may be visible: around each object, and all over the image.

The surroundings of an object in the image are what it stands on. The surroundings of a table are the floor: an object
that holds most of the others is itself their support, so its points are taken where nothing stands on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.types import Detection, RgbdFrame

Array = npt.NDArray[np.float64]

SAMPLES = 4000  # points used; more change the plane by less than its noise
_MOST, _LEAST = 24, 6  # points along a side of a ring: enough for a vote
_RING = 0.5  # the ring around a box, as a fraction of the box's size
_RING_PX = 16.0  # least width of the ring, pixels
_HELD = 0.8  # fraction of a box inside another box from which that one holds it
_LARGER = 2.0  # times its area from which the other box holds it
_ALL = 0.6  # fraction of the other objects that a table holds
_LARGE = 0.35  # fraction of the image that a table's box fills
_EVERY = 4  # step between the rows and columns of a box that are used for its depth
_SURFACES = frozenset(
    (
        *("table", "tabletop", "desk", "desktop", "counter", "countertop", "worktop", "bench", "workbench"),
        *("workspace", "floor", "ground", "carpet", "rug"),
    )
)


@dataclass(frozen=True, eq=False)
class SupportPoints:
    """Measured points where the support may be visible.

    Args:
        points: (N, 3) metres, camera frame, group by group.
        starts: (G,) first point of each group; a group holds the points around one object.
    """

    points: Array
    starts: npt.NDArray[np.intp]

    @classmethod
    def of(cls, points: Array) -> SupportPoints:
        """All points (N, 3) as one group."""
        return cls(points, np.zeros(1, np.intp))

    def thinned(self, few: int) -> npt.NDArray[np.intp]:
        """(M,) row indices of about `few` points, evenly spaced, at least one of each group, in order."""
        rows = np.arange(0, len(self.points), max(1, len(self.points) // few))
        return np.union1d(rows, self.starts)


def around_objects(frame: RgbdFrame, detections: Sequence[Detection]) -> SupportPoints:
    """Points in rings around the boxes, outside all boxes except those of tables.

    A table, or an object that holds most of the others, has no ring: its own pixels outside the other boxes are its
    group.
    """
    boxes = np.array([d.box_xyxy for d in detections], np.float64).reshape(-1, 4)
    holds = _holds(boxes)
    table = _are_tables(detections, holds, boxes, frame)
    side = int(np.clip(np.sqrt(SAMPLES / max(len(boxes), 1) / (1 - 1 / (1 + _RING) ** 2)), _LEAST, _MOST))
    blocked = _blocked(frame, boxes[~table])
    groups = []
    for index, box in enumerate(boxes):
        points = _group(frame, box, bool(table[index]), blocked, side)
        if len(points):
            groups.append(points)
    if not groups:
        return SupportPoints.of(np.empty((0, 3)))
    starts = np.cumsum([0, *(len(points) for points in groups[:-1])])
    return SupportPoints(np.concatenate(groups), starts.astype(np.intp))


def everywhere(frame: RgbdFrame) -> tuple[Array, float]:
    """About SAMPLES measured points of the whole image, evenly spaced, (N, 3) metres; and the steradians of each."""
    every = max(1, int(np.sqrt(frame.depth.size / SAMPLES)))
    measured = np.isfinite(frame.depth)
    v, u = np.nonzero(measured[::every, ::every])
    K = frame.camera.K
    pixel, seen = 1.0 / float(K[0, 0] * K[1, 1]), int(np.count_nonzero(measured))
    if len(v) * every**2 >= seen / 2:
        return _points(frame, v * every, u * every), every**2 * pixel
    # Rows or columns without depth may coincide with the sampled ones.
    some = np.flatnonzero(measured)[:: max(1, seen // SAMPLES)]
    v, u = np.divmod(some, frame.depth.shape[1])
    return _points(frame, v, u), seen / max(len(some), 1) * pixel


def _points(frame: RgbdFrame, v: npt.NDArray[np.intp], u: npt.NDArray[np.intp]) -> Array:
    """(N, 3) points of pixels with measured depth, metres."""
    xs, ys = normalised_axes(frame.camera)
    z = frame.depth[v, u].astype(np.float64)
    return np.stack((xs[u] * z, ys[v] * z, z)).T


def _holds(boxes: Array) -> npt.NDArray[np.bool_]:
    """(N, N) bool: True where the first one's box holds the second one's."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    shared = np.clip(np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - low, 0.0, None).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    holds = (shared >= _HELD * area) & (area[:, None] > _LARGER * area)
    return np.asarray(holds)


def tables(detections: Sequence[Detection]) -> npt.NDArray[np.bool_]:
    """(N,) bool: True for objects that are called a table, desk, counter or the like, and that hold others."""
    holds = _holds(np.array([d.box_xyxy for d in detections], np.float64).reshape(-1, 4))
    return _named(detections) & holds.any(axis=1)


def _named(detections: Sequence[Detection]) -> npt.NDArray[np.bool_]:
    return np.array([bool(_SURFACES.intersection(d.label.lower().split()[-1:])) for d in detections], np.bool_)


def _are_tables(
    detections: Sequence[Detection], holds: npt.NDArray[np.bool_], boxes: Array, frame: RgbdFrame
) -> npt.NDArray[np.bool_]:
    """(N,) bool: True for objects that support others: by name, or because they are large and hold most of them."""
    named, held = _named(detections) & holds.any(axis=1), holds.sum(axis=1)
    if named.any():
        return named
    large = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) > _LARGE * frame.depth.size
    return np.asarray((held >= 1) & (held >= _ALL * (len(holds) - 1)) & large)


def _blocked(frame: RgbdFrame, boxes: Array) -> npt.NDArray[np.bool_]:
    """(H, W) bool: pixels in boxes (N, 4)."""
    blocked = np.zeros(frame.depth.shape, np.bool_)
    for x0, y0, x1, y1 in boxes.tolist():
        blocked[max(0, int(y0)) : max(0, int(y1) + 1), max(0, int(x0)) : max(0, int(x1) + 1)] = True
    return blocked


def _group(frame: RgbdFrame, box: Array, table: bool, blocked: npt.NDArray[np.bool_], side: int) -> Array:
    """(N, 3) points around one box, not much farther than the object; for a table, points inside its box."""
    height, width = frame.depth.shape
    x0, y0, x1, y1 = box.tolist()
    inside = frame.depth[max(0, int(y0)) : int(y1) + 1, max(0, int(x0)) : int(x1) + 1]
    sparse = inside[::_EVERY, ::_EVERY]
    own = sparse[np.isfinite(sparse)]
    if not len(own):  # regular dropouts may coincide with the sampled rows or columns
        own = inside[np.isfinite(inside)]
    if not len(own):
        return np.empty((0, 3))
    dx, dy = (0.0, 0.0) if table else (max(_RING_PX, _RING * (x1 - x0)), max(_RING_PX, _RING * (y1 - y0)))
    rows = _steps(max(0.0, y0 - dy), min(height - 1.0, y1 + dy), side)
    columns = _steps(max(0.0, x0 - dx), min(width - 1.0, x1 + dx), side)
    depth, wanted = frame.depth[rows[:, None], columns], ~blocked[rows[:, None], columns]
    if not table:
        wanted &= ~((y0 <= rows) & (rows <= y1))[:, None] | ~((x0 <= columns) & (columns <= x1))
        # Points much farther than the object are not its support, for example the floor beyond a table's edge.
        z = float(np.partition(own, len(own) // 2)[len(own) // 2])
        wanted &= depth < z + max(y1 - y0, x1 - x0) * z / frame.camera.K[0, 0]
    v, u = np.nonzero(wanted & np.isfinite(depth))
    return _points(frame, rows[v], columns[u])


def _steps(first: float, last: float, count: int) -> npt.NDArray[np.intp]:
    """(S,) integers of `count` even steps, without duplicates."""
    steps = np.linspace(first, last, count).astype(np.intp)
    keep = np.ones(count, np.bool_)
    np.not_equal(steps[1:], steps[:-1], out=keep[1:])
    return steps[keep]
