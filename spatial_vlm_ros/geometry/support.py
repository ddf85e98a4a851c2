# SPDX-License-Identifier: Apache-2.0
"""The plane that objects stand on, and the direction "up".

Knows nothing of what the objects are: it looks at the surface around their boxes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.types import Detection, Floats, Plane, RgbdFrame, UpSource

_SAMPLES = 4000  # points looked at; more changes the plane by less than its noise
_TRIALS = 256  # triples drawn; with a third of the points on the plane, one in 27 triples is good
_FEW, _LIKELY = 800, 16  # points that all planes are tried on; planes that are tried on all points
_BLOCK = 32_000  # residuals at once: more would not stay in the cache, and would wake BLAS threads for little
_MIN_POINTS = 100
_MIN_SHARE = 0.15  # part of the points around the objects that the plane they stand on must hold
_PEAK = 1.6  # points in twice the thickness over those in the plane, above which there is no plane
_MIN_CAMERA_HEIGHT = 0.05  # metres; a plane through the lens is seen edge-on and holds any points
_MAX_TILT_FROM_UP_DEG = 15.0  # a support surface steeper than this lets objects slide
_FACING_DOWN = -0.26  # cosine of 105 degrees: beyond, a surface that the camera sees faces down
_RING = 0.5  # the ring around a box, as part of the box's size


def find_support(
    frame: RgbdFrame, detections: tuple[Detection, ...], config: DepthConfig, up: npt.NDArray[np.float64] | None
) -> Plane | None:
    """Fit the plane around the detections.

    The surface that objects stand on is what surrounds them in the image, so the points come from rings around the
    boxes; where these hold too few, from the whole image.

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
    return _refined(points, tolerance, normal, offset)


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
    """Refuse an "up" against which objects would hang from below a surface that faces the camera.

    Raises:
        InputError: the surface around the detections faces downwards by that "up".
    """
    plane = find_support(frame, detections, config, None)
    if plane is None or float(plane.normal @ up) > _FACING_DOWN:
        return
    angle = float(np.degrees(np.arccos(np.clip(plane.normal @ up, -1, 1))))
    got = f"the surface around the things is tilted by {angle:.0f}° against it"
    repair = "check that base_T_camera's parent has z up and maps camera to base, or that `up` is minus gravity"
    raise InputError(f"up from {source.value}", got, "a surface that faces upwards", repair)


def _points_around(frame: RgbdFrame, detections: tuple[Detection, ...]) -> npt.NDArray[np.float64]:
    """Measured points in rings around the boxes, outside all boxes."""
    depth = frame.depth
    wanted = np.zeros(depth.shape, np.bool_)
    boxes, rings = [], []
    for detection in detections:
        x0, y0, x1, y1 = detection.box_xyxy
        dx, dy = max(16.0, _RING * (x1 - x0)), max(16.0, _RING * (y1 - y0))
        box = np.s_[max(0, int(y0)) : max(0, int(y1) + 1), max(0, int(x0)) : max(0, int(x1) + 1)]
        ring = np.s_[max(0, int(y0 - dy)) : max(0, int(y1 + dy)), max(0, int(x0 - dx)) : max(0, int(x1 + dx))]
        boxes.append(box)
        rings.append(ring)
        sparse = depth[box][::4, ::4]
        own = sparse[np.isfinite(sparse)]
        if len(own):  # what lies much farther than the object is not what it stands on: the floor past a table's edge
            z = float(np.partition(own, len(own) // 2)[len(own) // 2])
            reach = z + max(y1 - y0, x1 - x0) * z / frame.camera.K[0, 0]
            wanted[ring] |= depth[ring] < reach
    for box in boxes:
        wanted[box] = False
    top, bottom = min((r[0].start for r in rings), default=0), max((r[0].stop for r in rings), default=0)
    return _sample(frame, wanted[top:bottom], top)


def _sample(frame: RgbdFrame, wanted: npt.NDArray[np.bool_], top: int = 0) -> npt.NDArray[np.float64]:
    """At most _SAMPLES of the wanted pixels of the rows from `top` on, evenly taken, as (N, 3) points."""
    index = np.flatnonzero(wanted)
    index = index[:: max(1, len(index) // _SAMPLES)]
    v, u = np.divmod(index, frame.depth.shape[1])
    v += top
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
    # Without a known up any plane counts but a ceiling: what objects stand on is what surrounds them.
    usable = normals[:, 1] < 0.1 if up is None else normals @ up > np.cos(np.radians(_MAX_TILT_FROM_UP_DEG))
    usable &= offsets > _MIN_CAMERA_HEIGHT
    normals, offsets = normals[usable], offsets[usable]
    if not len(normals):
        return None, 0.0
    some = np.s_[:: max(1, len(points) // _FEW)]
    # Every fifth point in single precision tells the good planes, all points in double precision the best of them.
    planes, scaled = np.column_stack((normals, offsets)), _scaled(points, tolerance)
    held = _held(planes.astype(np.float32), scaled[:, some].astype(np.float32))
    likely = np.argsort(-held, kind="stable")[:_LIKELY]
    best = likely[np.argmax(_held(planes[likely], scaled))]
    return normals[best], float(offsets[best])


def _scaled(points: npt.NDArray[np.float64], tolerance: Floats) -> npt.NDArray[np.float64]:
    """(4, N): homogeneous points (N, 3) over their tolerance; a plane times these is residual over tolerance."""
    scaled = np.ones((4, len(points)))
    scaled[:3] = points.T
    scaled /= tolerance
    return scaled


def _held(planes: npt.NDArray[np.floating], scaled: npt.NDArray[np.floating]) -> npt.NDArray[np.int_]:
    """(M,) number of scaled points (4, N) within their tolerance of each of the planes (M, 4)."""
    held: list[int] = []
    block = max(1, _BLOCK // scaled.shape[1])
    for first in range(0, len(planes), block):
        residuals = planes[first : first + block] @ scaled
        held += [int(np.count_nonzero(row)) for row in np.abs(residuals, out=residuals) < 1]
    return np.array(held)


def _refined(
    points: npt.NDArray[np.float64], tolerance: Floats, normal: npt.NDArray[np.float64], offset: float
) -> Plane | None:
    """A plane fitted to the points near a first guess, ever nearer; None where too few are, or they are no plane."""
    residual = _distances(points, normal, offset)
    inliers = np.empty(0, np.intp)
    for _ in range(4):
        previous, inliers = inliers, np.flatnonzero(residual < tolerance)
        if len(inliers) < max(_MIN_POINTS, _MIN_SHARE * len(points)):
            return None
        if np.array_equal(inliers, previous):
            break  # nothing would change any more
        normal, offset = _least_squares(points.T.take(inliers, axis=1))
        residual = _distances(points, normal, offset)
        kept = residual.take(inliers)
        tolerance = np.minimum(tolerance, max(0.003, 3.0 * 1.4826 * _median(kept)))
    # A plane is a peak: scattered points fill a slab twice as thick with twice as many.
    if np.count_nonzero(residual < 2 * tolerance) > _PEAK * np.count_nonzero(residual < tolerance):
        return None
    return Plane(normal, offset, float(np.sqrt(np.mean(kept**2))))


def _distances(
    points: npt.NDArray[np.float64], normal: npt.NDArray[np.float64], offset: float
) -> npt.NDArray[np.float64]:
    """(N,) distances of points from a plane."""
    x, y, z = points.T
    return np.abs(x * normal[0] + y * normal[1] + z * normal[2] + offset)


def _median(values: npt.NDArray[np.float64]) -> float:
    """np.median of two or more numbers (N,), which itself takes three times as long: it looks for NaN and for axes."""
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
