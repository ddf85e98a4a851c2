# SPDX-License-Identifier: Apache-2.0
"""Find the plane that objects stand on, and the direction "up".

Does not know what the objects are: it uses the surface around their boxes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.geometry.support_points import SupportPoints, around_objects, everywhere
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.types import Detection, Floats, Plane, RgbdFrame, UpSource

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
_FACING_DOWN = -0.26  # cosine of 105 degrees: a visible surface beyond it faces down
_CEILING = 0.1  # y of a normal, camera frame, from which a surface seen by a level camera would face down


def find_support(
    frame: RgbdFrame, detections: tuple[Detection, ...], config: DepthConfig, up: npt.NDArray[np.float64] | None
) -> Plane | None:
    """Fit the plane that most detections stand on.

    Each detection has one vote, for the planes that hold enough of the points around it in the image, so a table with
    many small objects is not outvoted by the large floor around it. Of planes with a similar number of votes, the one
    with the largest visible area wins: a table rather than the top of the box that stands on it. The plane is then
    fitted to all of its visible points, because the tilt error of a small piece becomes a height error at the other
    end.

    Args:
        frame: rectified frame; depth in metres.
        up: (3,) unit, camera frame, if known from TF or an IMU: only planes perpendicular to it count.

    Returns:
        The plane, its normal towards the camera, or None if no plane holds enough points.
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
        if plane is not None and _is_possible(plane.normal, up):
            return plane
    return None


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


def check_up(
    frame: RgbdFrame,
    detections: tuple[Detection, ...],
    config: DepthConfig,
    up: npt.NDArray[np.float64],
    source: UpSource,
) -> None:
    """Raise if "up" would make objects hang below a surface that faces the camera."""
    plane = find_support(frame, detections, config, None)
    if plane is None or float(plane.normal @ up) > _FACING_DOWN:
        return
    angle = float(np.degrees(np.arccos(np.clip(plane.normal @ up, -1, 1))))
    got = f"the surface around the objects is tilted by {angle:.0f}° from it"
    repair = (
        "check that base_T_camera maps camera to base and that its parent has z up, or that `up` is the "
        "negative gravity vector"
    )
    raise InputError(f"up from {source.value}", got, "a surface that faces upwards", repair)


def _is_possible(normals: npt.NDArray[np.float64], up: npt.NDArray[np.float64] | None) -> npt.NDArray[np.bool_]:
    """True for planes with normals (..., 3) that may support objects: level ones, or, if up is unknown, no ceilings."""
    if up is None:
        return np.asarray(normals[..., 1] < _CEILING)
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
    usable = _is_possible(normals, up) & (offsets > _MIN_CAMERA_HEIGHT)
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
    if len(image):
        score += _SEEN_WEIGHT * np.minimum(_areas(planes, image[::_COARSE], _COARSE * area, config) / _TABLE, 1.0)
    if up is not None:
        score -= _TILT_WEIGHT * np.degrees(np.arccos(np.clip(planes[:, :3] @ up, -1.0, 1.0))) / _MAX_TILT_FROM_UP_DEG
    else:
        score -= _ROLL_WEIGHT * (np.abs(planes[:, 0]) > np.abs(planes[:, 1]))
    order = np.argsort(-score, kind="stable")[:_TRIED]
    return [(normals[row], float(offsets[row])) for row in likely[order]]


def _votes(held: npt.NDArray[np.int8], starts: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """(M,) fraction of the groups in which each plane holds enough points (M, N); groups with fewer count partly."""
    counts = np.diff(np.append(starts, held.shape[1]))
    shares = np.add.reduceat(held, starts, axis=1, dtype=np.intp) / counts
    return np.asarray(np.clip(shares / _VOTE, 0.0, 1.0).mean(axis=1))


def _areas(
    planes: npt.NDArray[np.float32], image: npt.NDArray[np.float64], pixel: float, config: DepthConfig
) -> Floats:
    """(M,) visible area of planes (M, 4), square metres, from points (N, 3) that cover `pixel` steradians each."""
    held = _held(planes, _scaled(image, 0.004 + 2.0 * depth_noise(image[:, 2], config)))
    slant = np.maximum(np.abs(planes[:, :3] @ image.T.astype(np.float32)) / image[:, 2].astype(np.float32), 0.1)
    return np.asarray((held * (image[:, 2] ** 2).astype(np.float32) / slant).sum(axis=1) * pixel)


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
    """Refine a plane by repeated fits to the points near it; None if too few points are near or they are not a plane.

    Args:
        points: (N, 3) around the objects, of which the plane must hold enough.
        image: (M, 3) of the whole image, to which the plane is fitted at the end.
        tolerance: (N,) of the points.
        normal: (3,) of the first guess.
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
        tolerance = np.minimum(tolerance, max(0.003, 3.0 * 1.4826 * _median(kept)))
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


def _median(values: npt.NDArray[np.float64]) -> float:
    """Median of two or more numbers (N,); np.median takes three times as long because it checks NaN and axes."""
    middle = len(values) // 2
    pair = np.partition(values, (middle - 1, middle))[middle - 1 : middle + 1].tolist()
    return float(pair[1] if len(values) % 2 else (pair[0] + pair[1]) / 2)


def _least_squares(points: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], float]:
    """Total least squares plane of (3, N) points, normal towards the origin."""
    mean = points.mean(axis=1)
    centred = points - mean[:, None]
    normal = np.linalg.eigh(centred @ centred.T)[1][:, 0]
    offset = -float(normal @ mean)
    return (normal, offset) if offset >= 0 else (-normal, -offset)
