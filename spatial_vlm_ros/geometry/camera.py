# SPDX-License-Identifier: Apache-2.0
"""Project points to pixels and pixels to rays, with and without lens distortion.

Knows camera models only, not what is seen. Normalised coordinates are x/z and y/z in the optical frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ShapeError
from spatial_vlm_ros.types import Detection, Floats, Mask, PinholeCamera, Points, RgbdFrame, RobotPixels

Array = npt.NDArray[np.float64]
_T = TypeVar("_T", bound=np.generic)

TOLERANCE = 1e-9  # normalised units: below a millionth of a pixel for any real focal length
MAX_ITERATIONS = 30  # Newton needs 4 to 6 on real lenses; more only near the edge of a model's range
BOX_SAMPLES = 33  # points along each side of a box: between two of them a lens bends a side by far less than a pixel


# ------------------------------------------------------------------------------------------------ points and pixels


def project(camera: PinholeCamera, points: Points) -> Array:
    """Project points (N, 3), metres, optical frame, to pixels (N, 2), inside the image or not.

    Points that are not in front of the camera, or so far off axis that the distortion model folds back, give NaN.
    """
    points = _columns(points, 3, "points")
    depth = points[:, 2:]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        normalised = np.where(depth > 0, points[:, :2] / depth, np.nan)
    lens = _Lens.of(camera)
    return lens.pixels(_distort(lens, normalised))


def normalise(camera: PinholeCamera, pixels: Floats) -> Array:
    """(N, 2) x/z and y/z, optical frame, of pixels (N, 2), without distortion; NaN outside the range of its model."""
    lens = _Lens.of(camera)
    return _undistort(lens, lens.plane(_columns(pixels, 2, "pixels")))


@lru_cache(maxsize=4)
def normalised_axes(camera: PinholeCamera) -> tuple[Array, Array]:
    """x/z of each column (W,) and y/z of each row (H,) of a rectified camera, optical frame; cached and read-only."""
    if not camera.is_rectified:
        repair = "call rectified() first, or use normalised_grid()"
        raise InputError("camera", f"distortion {camera.D}", "a rectified camera", repair)
    lens = _Lens.of(camera)
    columns, rows = np.arange(lens.width, dtype=np.float64), np.arange(lens.height, dtype=np.float64)
    axes = (columns - lens.cx) / lens.fx, (rows - lens.cy) / lens.fy
    for axis in axes:
        axis.setflags(write=False)
    return axes


def normalised_grid(camera: PinholeCamera) -> Array:
    """(H, W, 2) `normalise` for all pixels, read-only; cached for the last few cameras, by their parameters."""
    return _grid(_Lens.of(camera))


# ------------------------------------------------------------------------------------------------ rectification


def rectified(frame: RgbdFrame, detections: tuple[Detection, ...] = ()) -> tuple[RgbdFrame, tuple[Detection, ...]]:
    """Convert a frame and its detections to what a pinhole camera with the same K and size would give.

    Without distortion they are the unchanged objects.
    """
    if frame.camera.is_rectified:
        return frame, detections
    rectified_detections = []
    for detection in detections:
        box = rectify_box(frame.camera, detection.box_xyxy)
        if box is None:
            raise InputError(
                f"box of detection {detection.id!r}",
                f"{detection.box_xyxy}, which is outside the rectified image",
                "a box that a pinhole camera with the same K can see",
                "run the detector on rectified images (image_proc), or drop the detection",
            )
        mask = None if detection.mask is None else rectify_mask(frame.camera, detection.mask)
        mask = mask if mask is not None and mask.any() else None
        rectified_detections.append(replace(detection, box_xyxy=box, mask=mask))
    return rectify(frame), tuple(rectified_detections)


def rectify(frame: RgbdFrame) -> RgbdFrame:
    """Resample a frame of a distorted camera to a pinhole camera with the same K and size; the same object without.

    Colour is interpolated; depth is taken from the nearest pixel, so that no depth between two surfaces is invented.
    Pixels that the source does not have are black and NaN.
    """
    camera = frame.camera
    if camera.is_rectified:
        return frame
    lookup = _rectifying_map(_Lens.of(camera))
    nothing, robot = np.float32(np.nan), frame.robot
    if robot is not None:
        robot = RobotPixels(_nearest(robot.depth, lookup, nothing), _nearest(robot.own, lookup, np.False_))
    return replace(
        frame,
        rgb=np.asarray(cv2.remap(frame.rgb, lookup[0], lookup[1], cv2.INTER_LINEAR), np.uint8),
        depth=_nearest(frame.depth, lookup, nothing),
        camera=replace(camera, D=()),
        robot=robot,
    )


def rectify_mask(camera: PinholeCamera, mask: Mask) -> Mask:
    """Resample a mask from distorted to rectified pixels: (H, W) bool, False where the source has no pixel."""
    if mask.shape != (camera.height, camera.width):
        raise ShapeError("mask", expected=str((camera.height, camera.width)), received=str(mask.shape))
    return mask if camera.is_rectified else _nearest(mask, _rectifying_map(_Lens.of(camera)), np.bool_(False))


def rectify_box(
    camera: PinholeCamera, box_xyxy: tuple[float, float, float, float]
) -> tuple[float, float, float, float] | None:
    """Tight box, clipped to the image, around the bent sides of a box given in distorted pixels; None without one."""
    if camera.is_rectified:
        return box_xyxy
    lens, (x0, y0, x1, y1) = _Lens.of(camera), box_xyxy
    xs, ys = np.linspace(x0, x1, BOX_SAMPLES), np.linspace(y0, y1, BOX_SAMPLES)
    sides = [np.stack(np.broadcast_arrays(x, y), axis=-1) for x, y in ((xs, y0), (xs, y1), (x0, ys), (x1, ys))]
    pixels = lens.pixels(_undistort(lens, lens.plane(np.concatenate(sides))))
    pixels = pixels[np.isfinite(pixels).all(axis=1)]
    if len(pixels) == 0:
        return None
    x0, y0 = np.maximum(pixels.min(axis=0), 0.0)
    x1, y1 = np.minimum(pixels.max(axis=0), (lens.width, lens.height))
    return (float(x0), float(y0), float(x1), float(y1)) if x0 < x1 and y0 < y1 else None


def _nearest(image: npt.NDArray[_T], lookup: npt.NDArray[np.float32], outside: _T) -> npt.NDArray[_T]:
    """Sample `image` (H, W) at the pixels nearest to `lookup` (2, H, W)."""
    height, width = image.shape
    columns, rows = np.rint(lookup).astype(np.int32)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    sampled = image[np.where(inside, rows, 0), np.where(inside, columns, 0)]
    sampled[~inside] = outside
    return sampled


# ------------------------------------------------------------------------------------------------ lens models


@dataclass(frozen=True)
class _Lens:
    """Parameters of a camera, hashable, so that tables can be cached for equal cameras."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    model: str
    D: tuple[float, ...]

    @staticmethod
    @lru_cache(maxsize=4)
    def of(camera: PinholeCamera) -> _Lens:
        K = camera.K
        D = () if camera.is_rectified else camera.D
        fx, fy, cx, cy = K[(0, 1, 0, 1), (0, 1, 2, 2)].tolist()
        return _Lens(fx, fy, cx, cy, camera.width, camera.height, camera.distortion_model, D)

    def plane(self, pixels: Array) -> Array:
        """Pixels (N, 2) to coordinates in the (distorted) image plane at distance 1."""
        return (pixels - (self.cx, self.cy)) / (self.fx, self.fy)

    def pixels(self, plane: Array) -> Array:
        return plane * (self.fx, self.fy) + (self.cx, self.cy)

    def all_pixels(self) -> Array:
        """(H * W, 2) pixels (u, v), row by row."""
        rows, columns = np.indices((self.height, self.width), dtype=np.float64)
        return np.stack([columns.ravel(), rows.ravel()], axis=1)


@lru_cache(maxsize=4)
def _grid(lens: _Lens) -> Array:
    grid = _undistort(lens, lens.plane(lens.all_pixels())).reshape(lens.height, lens.width, 2)
    grid.setflags(write=False)
    return grid


@lru_cache(maxsize=4)
def _rectifying_map(lens: _Lens) -> npt.NDArray[np.float32]:
    """(2, H, W) distorted pixel (u, v) for each rectified pixel; far outside the image where there is none."""
    pixels = lens.pixels(_distort(lens, lens.plane(lens.all_pixels())))
    pixels = np.where(np.abs(pixels) < 4 * max(lens.width, lens.height), pixels, -10.0)
    return pixels.T.astype(np.float32).reshape(2, lens.height, lens.width)


def _distort(lens: _Lens, xy: Array) -> Array:
    """Normalised (N, 2) to the distorted image plane; NaN where the model folds back.

    Source of the fisheye model: Kannala and Brandt 2006 as in OpenCV's fisheye module: theta_d = theta (1 + k1 theta² +
    … + k4 theta⁸).
    """
    if not lens.D:
        return xy
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if lens.model == "equidistant":
            radius = np.sqrt(_squared(xy))
            theta = np.arctan(radius)
            bent, _ = _equidistant(lens.D, theta)
            scale = np.where(radius > 0, bent / radius, 1.0)
            return np.where(theta < _equidistant_limit(lens.D), xy * scale, np.nan)
        distorted, _ = _brown(lens.D, xy)
        return np.where(_squared(xy) < _brown_limit(lens.D), distorted, np.nan)


def _undistort(lens: _Lens, xy: Array) -> Array:
    """Distorted image plane (N, 2) to normalised; NaN where no angle within the model's range lands there."""
    if not lens.D:
        return xy
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if lens.model == "equidistant":
            bent = np.sqrt(_squared(xy))
            largest = _equidistant_limit(lens.D)
            theta = np.minimum(bent, 0.95 * largest)
            for _ in range(MAX_ITERATIONS):
                value, slope = _equidistant(lens.D, theta)
                if not (np.abs(value - bent) > TOLERANCE / 10).any():
                    break
                theta = theta - (value - bent) / slope
            value, _ = _equidistant(lens.D, theta)
            reached = (np.abs(value - bent) < TOLERANCE) & (theta >= 0) & (theta < largest)
            return np.where(reached, xy * np.where(bent > 0, np.tan(theta) / bent, 1.0), np.nan)
        # Newton iterations in the plane, from the distorted point clipped to the model's range.
        limit = _brown_limit(lens.D)
        plane = xy * np.minimum(1.0, 0.95 * math.sqrt(limit) / np.sqrt(_squared(xy)).clip(1e-300))
        for _ in range(MAX_ITERATIONS):
            distorted, (xx, cross, yy) = _brown(lens.D, plane)
            miss = distorted - xy
            if not (np.abs(miss) > TOLERANCE / 10).any():
                break
            step = np.stack([yy * miss[:, 0] - cross * miss[:, 1], xx * miss[:, 1] - cross * miss[:, 0]], axis=1)
            plane = plane - step / (xx * yy - cross * cross)[:, None]
        distorted, _ = _brown(lens.D, plane)
        reached = (np.abs(distorted - xy).max(axis=1, keepdims=True) < TOLERANCE) & (_squared(plane) < limit)
        return np.where(reached, plane, np.nan)


def _brown(D: tuple[float, ...], xy: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    """Plumb bob and rational distortion of (N, 2), with the Jacobian's entries xx, xy (= yx) and yy, (N,) each.

    Source: OpenCV, "Camera Calibration and 3D Reconstruction", detailed description; D as in sensor_msgs/CameraInfo
    (k1, k2, p1, p2[, k3[, k4, k5, k6]]).
    """
    k1, k2, p1, p2, k3, k4, k5, k6 = (*D, *(0.0,) * (8 - len(D)))
    x, y = xy.T
    s = x * x + y * y
    above, below = 1 + s * (k1 + s * (k2 + s * k3)), 1 + s * (k4 + s * (k5 + s * k6))
    gain = above / below
    slope = (k1 + s * (2 * k2 + s * 3 * k3) - gain * (k4 + s * (2 * k5 + s * 3 * k6))) / below  # d gain / d s
    distorted = np.stack(
        [x * gain + 2 * p1 * x * y + p2 * (s + 2 * x * x), y * gain + p1 * (s + 2 * y * y) + 2 * p2 * x * y], axis=1
    )
    return distorted, (
        gain + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x,
        2 * x * y * slope + 2 * p1 * x + 2 * p2 * y,
        gain + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x,
    )


@lru_cache(maxsize=16)
def _brown_limit(D: tuple[float, ...]) -> float:
    """Squared radius up to which the radial part grows: beyond it two angles share a pixel."""
    k1, k2, _, _, k3, k4, k5, k6 = (*D, *(0.0,) * (8 - len(D)))
    above, below = np.polynomial.Polynomial([1, k1, k2, k3]), np.polynomial.Polynomial([1, k4, k5, k6])
    s = np.polynomial.Polynomial([0, 1])
    growth = above * below + 2 * s * (above.deriv() * below - above * below.deriv())  # of r above / below, by r
    return min(_first_root(growth), _first_root(below))


def _equidistant(D: tuple[float, ...], theta: Array) -> tuple[Array, Array]:
    """theta_d and its derivative by theta."""
    s = theta * theta
    k1, k2, k3, k4 = D
    return (
        theta * (1 + s * (k1 + s * (k2 + s * (k3 + s * k4)))),
        1 + s * (3 * k1 + s * (5 * k2 + s * (7 * k3 + s * 9 * k4))),
    )


@lru_cache(maxsize=16)
def _equidistant_limit(D: tuple[float, ...]) -> float:
    """Angle up to which theta_d grows, at most a right angle (radians)."""
    k1, k2, k3, k4 = D
    return min(math.sqrt(_first_root(np.polynomial.Polynomial([1, 3 * k1, 5 * k2, 7 * k3, 9 * k4]))), math.pi / 2)


def _first_root(polynomial: np.polynomial.Polynomial) -> float:
    roots = polynomial.trim().roots()
    real = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0)]
    return float(real.min(initial=math.inf))


# ------------------------------------------------------------------------------------------------ small helpers


def _squared(xy: Array) -> Array:
    """(N, 1) squared length of (N, 2)."""
    return xy[:, :1] ** 2 + xy[:, 1:] ** 2


def _columns(values: Floats, n: int, what: str) -> Array:
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or array.shape[1] != n:
        raise ShapeError(what, expected=f"(N, {n})", received=str(array.shape))
    return array
