# SPDX-License-Identifier: Apache-2.0
"""The plane that objects stand on, and the direction "up".

Knows nothing of what the objects are: it looks at the surface around their boxes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.config import DepthConfig
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.types import Detection, Floats, Plane, RgbdFrame, UpSource

_SAMPLES = 4000  # points looked at; more changes the plane by less than its noise
_TRIALS = 256  # triples drawn; with a third of the points on the plane, one in 27 triples is good
_BLOCK = 8  # planes tried at once: more would not stay in the cache, and would wake BLAS threads for little
_MIN_POINTS = 100
_MIN_SHARE = 0.15  # part of the points around the things that the plane they stand on must hold
_PEAK = 1.6  # points in twice the thickness over those in the plane, above which there is no plane
_MIN_CAMERA_HEIGHT = 0.05  # metres; a plane through the lens is seen edge-on and holds any points
_MAX_TILT_FROM_UP_DEG = 15.0  # a support surface steeper than this lets things slide
_FACING_DOWN = -0.26  # cosine of 105 degrees: beyond, a surface that the camera sees faces down
_RING = 0.5  # the ring around a box, as part of the box's size


def find_support(
    frame: RgbdFrame, detections: tuple[Detection, ...], config: DepthConfig, up: npt.NDArray[np.float64] | None
) -> Plane | None:
    """Fit the plane around the detections.

    The surface that things stand on is what surrounds them in the picture, so the points come from rings around the
    boxes; where these hold too few, from the whole picture.

    Args:
        frame: rectified frame; depth in metres.
        detections: what stands on the plane.
        config: depth noise.
        up: (3,) unit, camera frame, if known from TF or an IMU: only planes across it count.

    Returns:
        The plane, its normal towards the camera, or None when no plane holds enough points.
    """
    points = _points_around(frame, detections)
    if len(points) < _MIN_POINTS:
        points = _sample(frame, np.isfinite(frame.depth))
    if len(points) < _MIN_POINTS:
        return None
    tolerance = 0.004 + 2.0 * depth_noise(points[:, 2], config)
    normal, offset = _consensus(points, tolerance, up)
    if normal is None:
        return None
    residual = _distances(points, normal, offset)
    for _ in range(4):
        inliers = residual < tolerance
        if np.count_nonzero(inliers) < max(_MIN_POINTS, _MIN_SHARE * len(points)):
            return None
        normal, offset = _least_squares(points.T.take(np.flatnonzero(inliers), axis=1).T)
        residual = _distances(points, normal, offset)
        kept = residual[inliers]
        tolerance = np.minimum(tolerance, max(0.003, 3.0 * 1.4826 * float(np.median(kept))))
    # A plane is a peak: scattered points fill a slab twice as thick with twice as many.
    if np.count_nonzero(residual < 2 * tolerance) > _PEAK * np.count_nonzero(residual < tolerance):
        return None
    return Plane(normal, offset, float(np.sqrt(np.mean(kept**2))))


def find_up(frame: RgbdFrame, support: Plane | None) -> tuple[npt.NDArray[np.float64], UpSource]:
    """The direction against gravity in the camera frame, (3,) unit, and where it came from.

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
    """`up` as TF or an IMU tells it, or None."""
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
    """Refuse an "up" against which things would hang from below a surface that faces the camera.

    Raises:
        InputError: the surface around the detections faces downwards by that "up".
    """
    plane = find_support(frame, detections, config, None)
    if plane is None or float(plane.normal @ up) > _FACING_DOWN:
        return
    angle = float(np.degrees(np.arccos(np.clip(plane.normal @ up, -1, 1))))
    raise InputError(
        f"up from {source.value}",
        f"the surface around the things is tilted by {angle:.0f}° against it",
        "a surface that faces upwards",
        "check that base_T_camera's parent has z up and maps camera to base, or that `up` is minus gravity",
    )


def _points_around(frame: RgbdFrame, detections: tuple[Detection, ...]) -> npt.NDArray[np.float64]:
    """Measured points in rings around the boxes, outside all boxes."""
    depth = frame.depth
    wanted = np.zeros(depth.shape, np.bool_)
    boxes = []
    for detection in detections:
        x0, y0, x1, y1 = detection.box_xyxy
        dx, dy = max(16.0, _RING * (x1 - x0)), max(16.0, _RING * (y1 - y0))
        box = np.s_[max(0, int(y0)) : max(0, int(y1) + 1), max(0, int(x0)) : max(0, int(x1) + 1)]
        ring = np.s_[max(0, int(y0 - dy)) : max(0, int(y1 + dy)), max(0, int(x0 - dx)) : max(0, int(x1 + dx))]
        boxes.append(box)
        sparse = depth[box][::4, ::4]
        own = sparse[np.isfinite(sparse)]
        if len(own):  # what lies much farther than the thing is not what it stands on: the floor past a table's edge
            z = float(np.partition(own, len(own) // 2)[len(own) // 2])
            reach = z + max(y1 - y0, x1 - x0) * z / frame.camera.K[0, 0]
            wanted[ring] |= depth[ring] < reach
    for box in boxes:
        wanted[box] = False
    return _sample(frame, wanted)


def _sample(frame: RgbdFrame, wanted: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """At most _SAMPLES of the wanted pixels, evenly taken, as (N, 3) points."""
    index = np.flatnonzero(wanted)
    index = index[:: max(1, len(index) // _SAMPLES)]
    v, u = np.divmod(index, frame.depth.shape[1])
    xs, ys = normalised_axes(frame.camera)
    z = frame.depth[v, u].astype(np.float64)
    return np.stack((xs[u] * z, ys[v] * z, z)).T


def _consensus(
    points: npt.NDArray[np.float64], tolerance: Floats, up: npt.NDArray[np.float64] | None
) -> tuple[npt.NDArray[np.float64] | None, float]:
    """The best of many planes through three points each (RANSAC with a fixed seed)."""
    rng = np.random.default_rng(0)
    triples = points[rng.integers(0, len(points), (_TRIALS, 3))]
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    keep = lengths > 1e-9
    normals = normals[keep] / lengths[keep, None]
    offsets = -np.einsum("ij,ij->i", normals, triples[keep, 0])
    normals *= np.sign(offsets)[:, None]  # the camera, at the origin, lies on the positive side
    offsets = np.abs(offsets)
    # Without a known up any plane counts but a ceiling: what things stand on is what surrounds them.
    usable = normals[:, 1] < 0.1 if up is None else normals @ up > np.cos(np.radians(_MAX_TILT_FROM_UP_DEG))
    usable &= offsets > _MIN_CAMERA_HEIGHT
    normals, offsets = normals[usable], offsets[usable]
    if not len(normals):
        return None, 0.0
    held: list[int] = []
    for first in range(0, len(normals), _BLOCK):
        block = np.s_[first : first + _BLOCK]
        residuals = normals[block] @ points.T + offsets[block, None]
        held += [int(np.count_nonzero(row)) for row in np.abs(residuals, out=residuals) < tolerance]
    best = int(np.argmax(held))
    return normals[best], float(offsets[best])


def _distances(
    points: npt.NDArray[np.float64], normal: npt.NDArray[np.float64], offset: float
) -> npt.NDArray[np.float64]:
    """(N,) distances of points from a plane."""
    x, y, z = points.T
    return np.abs(x * normal[0] + y * normal[1] + z * normal[2] + offset)


def _least_squares(points: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], float]:
    """Total least squares plane, normal towards the origin."""
    mean = points.mean(axis=0)
    centred = (points - mean).T
    normal = np.linalg.eigh(centred @ centred.T)[1][:, 0]
    offset = -float(normal @ mean)
    return (normal, offset) if offset >= 0 else (-normal, -offset)
