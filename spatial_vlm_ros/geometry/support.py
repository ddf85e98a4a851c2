# SPDX-License-Identifier: Apache-2.0
"""Find the plane that objects stand on, and the direction "up".

Does not know what the objects are: it uses the surface around their boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.types import Detection, Floats, Plane, RgbdFrame, UpSource

# --------------------------------------------------------------------------------------------------
# Choose the points where the support surface may be visible: around each object, and all over the image.
# The surroundings of an object in the image are what it stands on. The surroundings of a table are the floor: an object
# that holds most of the others is itself their support, so its points are taken where nothing stands on it.

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
        *("workspace", "floor", "ground", "carpet", "rug", "bed", "sofa", "couch", "mattress", "island", "vanity"),
        *("windowsill", "sill"),
    )
)


@dataclass(frozen=True, eq=False)
class SupportPoints:
    """Measured points where the support may be visible."""

    points: Array  # (N, 3) metres, camera frame, group by group
    starts: npt.NDArray[np.intp]  # (G,) first point of each group; a group holds the points around one object

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
    table, held = named_surfaces(detections) & holds.any(axis=1), holds.sum(axis=1)
    if not table.any():  # without a name: large, and holds most of the others
        large = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) > _LARGE * frame.depth.size
        table = (held >= 1) & (held >= _ALL * (len(holds) - 1)) & large
    side = int(np.clip(np.sqrt(SAMPLES / max(len(boxes), 1) / (1 - 1 / (1 + _RING) ** 2)), _LEAST, _MOST))
    blocked = np.zeros(frame.depth.shape, np.bool_)
    for x0, y0, x1, y1 in boxes[~table].tolist():
        blocked[max(0, int(y0)) : max(0, int(y1) + 1), max(0, int(x0)) : max(0, int(x1) + 1)] = True
    groups = []
    height, width = frame.depth.shape
    for (x0, y0, x1, y1), is_table in zip(boxes.tolist(), table.tolist(), strict=True):
        # Points around a box, not much farther than the object; for a table, points inside its box.
        inside = frame.depth[max(0, int(y0)) : int(y1) + 1, max(0, int(x0)) : int(x1) + 1]
        sparse = inside[::_EVERY, ::_EVERY]
        own = sparse[np.isfinite(sparse)]
        if not len(own):  # regular dropouts may coincide with the sampled rows or columns
            own = inside[np.isfinite(inside)]
        if not len(own):
            continue
        dx, dy = (0.0, 0.0) if is_table else (max(_RING_PX, _RING * (x1 - x0)), max(_RING_PX, _RING * (y1 - y0)))
        rows = _steps(max(0.0, y0 - dy), min(height - 1.0, y1 + dy), side)
        columns = _steps(max(0.0, x0 - dx), min(width - 1.0, x1 + dx), side)
        depth, wanted = frame.depth[rows[:, None], columns], ~blocked[rows[:, None], columns]
        if not is_table:
            wanted &= ~((y0 <= rows) & (rows <= y1))[:, None] | ~((x0 <= columns) & (columns <= x1))
            # Points much farther than the object are not its support, for example the floor beyond a table's edge.
            z = float(np.partition(own, len(own) // 2)[len(own) // 2])
            wanted &= depth < z + max(y1 - y0, x1 - x0) * z / frame.camera.K[0, 0]
        v, u = np.nonzero(wanted & np.isfinite(depth))
        if len(v):
            groups.append(_points(frame, rows[v], columns[u]))
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
    return named_surfaces(detections) & holds.any(axis=1)


def support_like(detections: Sequence[Detection], frame: RgbdFrame) -> npt.NDArray[np.bool_]:
    """(N,) bool: True for what is called a table, desk, floor or the like, or fills most of the image."""
    boxes = np.array([d.box_xyxy for d in detections], np.float64).reshape(-1, 4)
    return named_surfaces(detections) | ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) > _LARGE * frame.depth.size)


def named_surfaces(detections: Sequence[Detection]) -> npt.NDArray[np.bool_]:
    """(N,) bool: True for what is called a table, desk, floor or the like."""
    return np.array([bool(_SURFACES.intersection(d.label.lower().split()[-1:])) for d in detections], np.bool_)


def _steps(first: float, last: float, count: int) -> npt.NDArray[np.intp]:
    """(S,) integers of `count` even steps, without duplicates."""
    steps = np.linspace(first, last, count).astype(np.intp)
    keep = np.ones(count, np.bool_)
    np.not_equal(steps[1:], steps[:-1], out=keep[1:])
    return steps[keep]


_TRIALS = 256  # sampled triples; with a third of the points on the plane, one in 27 triples is good
_LEVEL_TRIALS = 32  # level planes through one point each, if up is known
_FEW, _LIKELY = 800, 16  # points that all planes are tested on; planes that are tested on all points
_COARSE = 4  # step between the image points that measure the visible area of a plane
_TRIED = 8  # planes that are fitted, best first, until one is good
_VOTE = 0.35  # fraction of the points around an object that must lie on a plane for the object to stand on it
_SEEN_WEIGHT = 0.75  # share of all votes that weighs as much as a visible table
_TABLE = 0.5  # square metres: tables are larger; boards, boxes and cabinets are smaller
_TILT_WEIGHT = 0.5  # share of all votes that a plane loses at the largest tilt allowed against a known up
_ROLL_WEIGHT = 0.5  # share of all votes that a plane loses if the camera would lie on its side: walls do
_BLOCK = 32_000  # residuals at once: more would not fit the cache, and would start BLAS threads for little work
_MIN_POINTS = 100
_MIN_SHARE = 0.15  # fraction of the points around the objects that their support plane must hold
_PEAK = 1.6  # points within twice the thickness over those in the plane, above which there is no plane
_UNEVEN = 0.001  # metres by which tables and depth images deviate from a plane
LEVEL = float(np.radians(0.1))
"""Least standard deviation of any direction "up", radians: tables are not perfectly level."""
UNKNOWN_TILT = float(np.radians(20.0))
"""Standard deviation of "up", radians, if nothing measures it and the camera is assumed to look level."""
_CELLS = 8  # cells of a plane along either side: larger than patches of correlated depth errors, and many of them
_MIN_CAMERA_HEIGHT = 0.05  # metres; a plane through the lens is seen edge-on and holds any points
_MAX_TILT_FROM_UP_DEG = 15.0  # objects slide on a support surface steeper than this
_PARALLEL, _SLOPE = 0.99985, 0.966  # cosines of 1 and 15 degrees: between these one of two planes is a slope
_MORE, _LITTLE = 1.2, 0.5  # times as much that is seen of a level as of a slope; share of the image for no doubt
_THIN = 0.01  # metres from a plane within which a point counts as seen of it
_GROUPS, _FEWEST = 6, 10  # objects among which a slope may pass for a support; points that are needed around one
_CEILING = 0.1  # y of a normal, camera frame, from which a surface seen by a level camera would face down
_LEAST_SEEN = 0.02  # square metres of it that are seen: faces of objects are smaller
_CEILING_WEIGHT = 0.5  # share of all votes that such a plane loses: a camera may also hang upside down


def find_support(
    frame: RgbdFrame, detections: tuple[Detection, ...], config: DepthConfig, up: npt.NDArray[np.float64] | None
) -> Plane | None:
    """Fit the plane that most detections stand on, its normal towards the camera; None if none holds enough points.

    Each detection has one vote, for the planes that hold enough of the points around it in the image, so a table with
    many small objects is not outvoted by the large floor around it. Of planes with a similar number of votes, the one
    with the largest visible area wins: a table rather than the top of the box that stands on it. The plane is then
    fitted to all of its visible points, because the tilt error of a small piece becomes a height error at the other
    end. If "up" (3,) is known from TF or an IMU, only planes perpendicular to it count.
    """
    image, area = everywhere(frame)
    around = around_objects(frame, detections)
    if len(around.points) < _MIN_POINTS:
        around = SupportPoints.of(image)
    if len(around.points) < _MIN_POINTS:
        return None
    tolerance = 0.004 + 2.0 * depth_noise(around.points[:, 2], config)
    for normal, offset in _consensus(around, image, area, tolerance, up, config):
        plane = _refined(around.points, image, tolerance, normal, offset)
        if plane is not None and (up is None or _is_level(plane.normal, up)):
            return _rather_one_level(plane, around, image, tolerance, up)
    return None


def _rather_one_level(
    plane: Plane, around: SupportPoints, image: Array, tolerance: Floats, up: npt.NDArray[np.float64] | None
) -> Plane:
    """The plane, unless it is a slope through what surrounds few objects on two levels.

    Of one of those more is seen, and the surroundings of half of the objects, each alone, are rather parallel to it.
    """
    groups = [group for group in np.split(around.points, around.starts[1:]) if len(group) >= _FEWEST]
    best, most = plane, _MORE * _seen_of(plane, image)
    if len(groups) > _GROUPS or most > _LITTLE * len(image):
        return plane
    fitted = [_least_squares(group.T) for group in groups]
    for normal, offset in fitted:
        one = _refined(around.points, image, tolerance, normal, offset)
        if one is None or not _SLOPE < one.normal @ plane.normal < _PARALLEL:
            continue
        nearer = np.mean([own @ one.normal > own @ plane.normal for own, _ in fitted])
        more_level = up is None or one.normal @ up > plane.normal @ up
        if more_level and nearer >= 0.5 and _seen_of(one, image) > most:
            best, most = one, _seen_of(one, image)
    return best


def _seen_of(plane: Plane, points: npt.NDArray[np.float64]) -> int:
    return int(np.count_nonzero(_distances(points, plane.normal, plane.offset) < _THIN))


def find_up(frame: RgbdFrame, support: Plane | None) -> tuple[npt.NDArray[np.float64], UpSource]:
    """Direction against gravity in the camera frame, (3,) unit, and its source.

    In this order: the z axis of base_T_camera's parent, the frame's own `up` (IMU), the support plane's normal,
    minus the optical y axis.
    """
    known = known_up(frame)
    if known is not None:
        return known
    if support is not None:
        return support.normal, UpSource.SUPPORT_PLANE
    return np.array([0.0, -1.0, 0.0]), UpSource.OPTICAL_AXES


def known_up(frame: RgbdFrame) -> tuple[npt.NDArray[np.float64], UpSource] | None:
    """`up` from TF or an IMU, with its source, or None if neither gives it."""
    if frame.base_T_camera is not None:
        return frame.base_T_camera.rotation[2].copy(), UpSource.TF
    if frame.up is not None:
        return frame.up, UpSource.IMU
    return None


def _is_level(normals: npt.NDArray[np.float64], up: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """True for planes with normals (..., 3) that may support objects."""
    return np.asarray(normals @ up > np.cos(np.radians(_MAX_TILT_FROM_UP_DEG)))


def _consensus(
    around: SupportPoints,
    image: npt.NDArray[np.float64],
    area: float,
    tolerance: Floats,
    up: npt.NDArray[np.float64] | None,
    config: DepthConfig,
) -> list[tuple[npt.NDArray[np.float64], float]]:
    """The best of many planes through three points each (RANSAC with a fixed seed), best first."""
    rng = np.random.default_rng(0)
    points = around.points
    triples = points[rng.integers(0, len(points), (_TRIALS, 3))]
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    keep = lengths > 1e-9
    normals = normals[keep] / lengths[keep, None]
    if up is not None:  # add level planes through single points: they include a table of which little is visible
        level = points[rng.integers(0, len(points), _LEVEL_TRIALS)]
        triples = np.concatenate((triples[keep], np.repeat(level[:, None], 3, axis=1)))
        normals = np.concatenate((normals, np.broadcast_to(up, (_LEVEL_TRIALS, 3))))
    else:
        triples = triples[keep]
    offsets = -np.einsum("ij,ij->i", normals, triples[:, 0])
    normals = normals * np.sign(offsets)[:, None]  # the camera, at the origin, lies on the positive side
    offsets = np.abs(offsets)
    usable = offsets > _MIN_CAMERA_HEIGHT
    if up is not None:
        usable &= _is_level(normals, up)
    normals, offsets = normals[usable], offsets[usable]
    if not len(normals):
        return []
    # Some points of each group select the good planes, all points select the best of them.
    planes = np.column_stack((normals, offsets)).astype(np.float32)
    scaled = _scaled(points, tolerance)
    some = around.thinned(_FEW)
    rough = _votes(_held(planes, scaled[:, some]), np.searchsorted(some, around.starts))
    likely = np.argsort(-rough, kind="stable")[:_LIKELY]
    planes = planes[likely]
    score = _votes(_held(planes, scaled), around.starts)
    seen = np.zeros(len(planes))  # visible areas, square metres
    if len(image):
        sparse = image[::_COARSE]
        held = _held(planes, _scaled(sparse, 0.004 + 2.0 * depth_noise(sparse[:, 2], config)))
        slant = np.maximum(np.abs(planes[:, :3] @ sparse.T.astype(np.float32)) / sparse[:, 2].astype(np.float32), 0.1)
        seen = (held * (sparse[:, 2] ** 2).astype(np.float32) / slant).sum(axis=1) * (_COARSE * area)
    score += _SEEN_WEIGHT * np.minimum(seen / _TABLE, 1.0)
    if up is not None:
        score -= _TILT_WEIGHT * np.degrees(np.arccos(np.clip(planes[:, :3] @ up, -1.0, 1.0))) / _MAX_TILT_FROM_UP_DEG
    else:
        score -= _ROLL_WEIGHT * (np.abs(planes[:, 0]) > np.abs(planes[:, 1]))
        ceiling = planes[:, 1] > _CEILING
        score = np.where(ceiling & (seen < _LEAST_SEEN), -np.inf, score - _CEILING_WEIGHT * ceiling)
    order = [row for row in np.argsort(-score, kind="stable")[:_TRIED] if np.isfinite(score[row])]
    return [(normals[row], float(offsets[row])) for row in likely[order]]


def _votes(held: npt.NDArray[np.int8], starts: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """(M,) fraction of the groups in which each plane holds enough points (M, N); groups with fewer count partly."""
    counts = np.diff(np.append(starts, held.shape[1]))
    shares = np.add.reduceat(held, starts, axis=1, dtype=np.intp) / counts
    return np.asarray(np.clip(shares / _VOTE, 0.0, 1.0).mean(axis=1))


def _scaled(points: npt.NDArray[np.float64], tolerance: Floats) -> npt.NDArray[np.float32]:
    """(4, N) homogeneous points (N, 3) divided by their tolerance; a plane times these is residual over tolerance."""
    scaled = np.ones((4, len(points)))
    scaled[:3] = points.T
    scaled /= tolerance
    return scaled.astype(np.float32)


def _held(planes: npt.NDArray[np.float32], scaled: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
    """(M, N) int8: 1 for scaled points (4, N) within tolerance of a plane (M, 4), -1 within twice that, else 0.

    Points on a real plane are a peak. A plane that only cuts through a series of levels has as many points beside it as
    on it, and sums to 0.
    """
    held = np.empty((len(planes), scaled.shape[1]), np.int8)
    block = max(1, _BLOCK // scaled.shape[1])
    for first in range(0, len(planes), block):
        residuals = planes[first : first + block] @ scaled
        np.abs(residuals, out=residuals)
        some = held[first : first + block]
        np.multiply(residuals < 1, 2, out=some, casting="unsafe")
        some -= residuals < 2
    return held


def _refined(
    points: npt.NDArray[np.float64],
    image: npt.NDArray[np.float64],
    tolerance: Floats,
    normal: npt.NDArray[np.float64],
    offset: float,
) -> Plane | None:
    """Refine a guess by repeated fits; None if too few points (N, 3), around the objects, are near, or it is no plane.

    It is fitted at the end to the points (M, 3) of the whole image.
    """
    residual = _distances(points, normal, offset)
    inliers = np.empty(0, np.intp)
    for _ in range(4):
        previous, inliers = inliers, np.flatnonzero(residual < tolerance)
        if len(inliers) < max(_MIN_POINTS, _MIN_SHARE * len(points)):
            return None
        if np.array_equal(inliers, previous):
            break  # converged
        normal, offset = _least_squares(points.T.take(inliers, axis=1))
        residual = _distances(points, normal, offset)
        kept = residual.take(inliers)
        half = len(kept) // 2  # np.median takes three times as long because it checks NaN and axes
        low, high = np.partition(kept, (half - 1, half))[half - 1 : half + 1].tolist()
        middle = high if len(kept) % 2 else (low + high) / 2
        tolerance = np.minimum(tolerance, max(0.003, 3.0 * 1.4826 * middle))
    # A plane is a peak: scattered points fill a slab twice as thick with twice as many.
    if np.count_nonzero(residual < 2 * tolerance) > _PEAK * np.count_nonzero(residual < tolerance):
        return None
    rms = float(np.sqrt(np.mean(kept**2)))
    seen = points[inliers]
    for _ in range(2):
        near = np.flatnonzero(_distances(image, normal, offset) < np.min(tolerance))
        if len(near) > _MIN_POINTS:
            seen = image[near]
            normal, offset = _least_squares(seen.T)
    return Plane(normal, offset, rms, *_deviations(seen, normal, offset))


def _deviations(points: npt.NDArray[np.float64], normal: npt.NDArray[np.float64], offset: float) -> tuple[float, float]:
    """Standard deviations of a fitted plane: of its height at the middle of its points, metres, and its tilt, radians.

    Errors of depth are correlated over a patch of the image, so neighbouring points are not independent. Each cell of
    the plane counts as one measurement of how far it lies off the plane. Source: Liang and Zeger (1986), Longitudinal
    data analysis using generalized linear models (the variance by clusters, here with one size for all cells).
    """
    along = np.cross(normal, (0.0, 0.0, 1.0) if abs(normal[2]) < 0.9 else (1.0, 0.0, 0.0))
    along /= np.linalg.norm(along)
    flat = points @ np.stack((along, np.cross(normal, along)), axis=1)
    flat -= flat.mean(axis=0)
    low = flat.min(axis=0)
    cell = ((flat - low) / np.maximum(flat.max(axis=0) - low, 1e-9) * (_CELLS - 1e-6)).astype(np.intp)
    number = cell[:, 0] * _CELLS + cell[:, 1]
    count = np.bincount(number, minlength=_CELLS**2).astype(np.float64)
    filled = count > 0
    weight = count[filled]
    of_cell = [
        np.bincount(number, values, _CELLS**2)[filled] / weight for values in (points @ normal + offset, *flat.T)
    ]
    design = np.stack((np.ones(len(weight)), *of_cell[1:]), axis=1)
    inverse = np.linalg.pinv((design * weight[:, None]).T @ design)
    scores = design * (weight * of_cell[0])[:, None]
    covariance = inverse @ (scores.T @ scores) @ inverse * len(weight) / max(len(weight) - 3, 1)
    height, tilt = np.sqrt(covariance[0, 0]), np.sqrt(np.linalg.eigvalsh(covariance[1:, 1:])[-1])
    return float(np.hypot(height, _UNEVEN)), float(np.hypot(tilt, LEVEL))


def _distances(
    points: npt.NDArray[np.float64], normal: npt.NDArray[np.float64], offset: float
) -> npt.NDArray[np.float64]:
    """(N,) distances of points from a plane."""
    x, y, z = points.T
    return np.abs(x * normal[0] + y * normal[1] + z * normal[2] + offset)


def _least_squares(points: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], float]:
    """Total least squares plane of (3, N) points, normal towards the origin."""
    mean = points.mean(axis=1)
    centred = points - mean[:, None]
    normal = np.linalg.eigh(centred @ centred.T)[1][:, 0]
    offset = -float(normal @ mean)
    return (normal, offset) if offset >= 0 else (-normal, -offset)
