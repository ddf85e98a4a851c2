# SPDX-License-Identifier: Apache-2.0
"""Checks a frame against itself: does its depth look measured, fit its colours, and fit its camera, "up" and objects?

Each check says that it holds, that it contradicts, or that the frame shows too little. No check needs the truth, and
none alone decides what an object is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.geometry.support import find_support
from spatial_vlm_ros.geometry.usual_sizes import usual_size
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.types import Check, Depth, Floats, FrameEvidence, Plane, Rgb, RgbdFrame, SceneObject, UpSource
from spatial_vlm_ros.types import Verdict as V

Image = npt.NDArray[Any]  # OpenCV does not state the types of its results

_VALUES = 40_000  # pixels whose depth values are compared
_EVERY = 3  # step between the pixels of an object that are compared with its support
_STEP, _STEP_GROWS = 0.002, 0.003  # metres, and per metre²: steps of a stereo camera without subpixels grow like this
_STEPS = 3.0  # times that from which values cannot come from a depth camera

_WIDTH = 320  # pixels: width at which edges are compared
_SEARCH = 32  # pixels there: largest shift that is found
_SAME = 2  # pixels there: half a patch of pixels mixed at an edge
_SHIFTED = 4  # pixels there from which colour and depth do not fit
_EDGES = 200  # pixels of edges that are needed
_CLEAR = 1.5  # times better than unshifted, and so much for either half of the edges, too:
_CLEAR_OF_HALF = 1.25
_TURNED = 1.25  # times better than as it is
_AROUND = 41  # pixels there: neighbourhood in which an edge of colour must stand out

_FACTOR = 0.6  # |log| of a common size factor; of single names up to 0.4 is usual
_FACTOR_OF_FEW = 0.9  # of two or three objects
_FACTOR_OF_ONE = 1.3
_SEEN = 0.7  # visible share of an object whose size counts

_TILT = 8.0  # degrees between a visible plane and TF's "up"; a board may lean by less
_NO_TABLE, _FACES_DOWN = 60.0, 105.0  # degrees between which the plane may be a wall
_FAR_OFF = 20.0  # metres: no camera of an arm or a mobile robot is this far above its base or map
_LOW, _DEEP, _HIGH = -0.015, -0.3, 0.01  # metres from the support: hollows in it, and what stands on it


def frame_evidence(
    frame: RgbdFrame,
    objects: Sequence[SceneObject],
    support: Plane | None,
    up_from: UpSource,
    up: Floats,
    config: DepthConfig,
) -> FrameEvidence:
    """Measure every check once.

    Args:
        frame: rectified; depth in metres, NaN where nothing is measured.
        objects: lifted from it.
        support: the plane they stand on, camera frame; None if none was found.
        up: (3,) unit, camera frame.
    """
    factor = _sizes(objects)
    return FrameEvidence((
        _steps(frame.depth), _alignment(frame.rgb, frame.depth), _standing(frame, objects, support),
        _camera(frame, factor), factor, _distance(frame), _up(frame, objects, support, up_from, up, config),
    ))  # fmt: skip


def _check(
    name: str, good: bool, measured: float, expected: tuple[float, float], unit: str, found: str, fix: str
) -> Check:
    return Check(name, V.HOLDS if good else V.CONTRADICTS, measured, expected, unit, found, "" if good else fix)


def _unmeasured(name: str, why: str, fix: str = "") -> Check:
    return Check(name, V.UNMEASURED, found=f"not measured: {why}", fix=fix)


def _steps(depth: Depth) -> Check:
    """Distance to the next value that occurs, of half the pixels, in multiples of a coarse sensor's step."""
    every = max(1, int(np.sqrt(depth.size / _VALUES)))
    values, counts = np.unique(depth[::every, ::every], return_counts=True)
    counts, values = counts[np.isfinite(values)], values[np.isfinite(values)].astype(np.float64)
    if len(values) < 2:
        return _unmeasured("depth values", "all values are the same")
    gaps = np.pad(np.diff(values), 1, constant_values=np.inf)
    steps = np.minimum(gaps[1:], gaps[:-1])
    order = np.argsort(steps / (_STEP + _STEP_GROWS * values**2))
    middle = order[np.searchsorted(np.cumsum(counts[order]), counts.sum() / 2)]
    step, usual = float(steps[middle]), float(_STEP + _STEP_GROWS * values[middle] ** 2)
    return _check(
        "depth values", step <= _STEPS * usual, 1000 * step, (0.0, round(1000 * _STEPS * usual, 1)), "mm",
        f"depth has steps of {1000 * step:.1f} mm at {values[middle]:.2f} m",
        "publish the depth image itself, not a preview, and not metres in whole numbers or 8 bits",
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ colour and depth


def _alignment(rgb: Rgb, depth: Depth) -> Check:
    """Shift between edges of colour and of depth: where the near side of depth edges meets edges of colour best."""
    name, scale = "depth on colour", depth.shape[1] / _WIDTH
    size = (_WIDTH, max(1, round(depth.shape[0] / scale)))
    near = _depth_edges(cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST))
    if near.sum() < _EDGES:
        return _unmeasured(name, "depth has too few edges")
    colour = _colour_edges(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))
    if not colour.std() > 0:
        return _unmeasured(name, "colour has no edges")
    colour = cv2.copyMakeBorder(colour - colour.mean(), *(_SEARCH,) * 4, cv2.BORDER_CONSTANT, value=0.0)
    split = int(np.searchsorted(np.cumsum(near.sum(axis=0)), near.sum() / 2))
    left, right = near.copy(), near.copy()
    left[:, split:], right[:, :split] = 0.0, 0.0
    halves = [cv2.matchTemplate(colour, half, cv2.TM_CCORR) for half in (left, right)]
    fit = halves[0] + halves[1]
    best, here = float(fit.max()), _unshifted(fit)
    row, column = np.unravel_index(int(fit.argmax()), fit.shape)
    aside, down = _SEARCH - int(column), _SEARCH - int(row)
    shift = float(np.hypot(aside, down))
    clear = best >= _CLEAR * here and all(
        half[max(0, row - _SAME) : row + _SAME + 1, max(0, column - _SAME) : column + _SAME + 1].max()
        >= _CLEAR_OF_HALF * _unshifted(half)
        for half in halves
    )
    inner = colour[_SEARCH - _SAME : _SAME - _SEARCH, _SEARCH - _SAME : _SAME - _SEARCH]
    turned = {
        words: float(cv2.matchTemplate(inner, np.ascontiguousarray(other), cv2.TM_CCORR).max())
        for words, other in (
            ("mirrored", near[:, ::-1]), ("upside down and mirrored", near[::-1]), ("upside down", near[::-1, ::-1])
        )
    }  # fmt: skip
    way = max(turned, key=lambda words: turned[words])
    limit = (0.0, round(_SHIFTED * scale, 1))
    if best > 0 and turned[way] > _TURNED * best:
        fix = "give colour and depth the same orientation"
        return Check(name, V.CONTRADICTS, None, limit, "px", f"depth is {way} against colour", fix)
    if best <= 0 or (shift >= _SHIFTED and not clear):
        return _unmeasured(name, "edges of depth fit those of colour nowhere clearly")
    found = f"depth lies {shift * scale:.0f} px beside colour ({aside * scale:+.0f} right, {down * scale:+.0f} down)"
    fix = "register depth to colour, and use the registered topic (align_depth, depth_image_proc/register)"
    return _check(name, shift < _SHIFTED, shift * scale, limit, "px", found, fix)


def _unshifted(fit: Image) -> float:
    """Best fit without a shift, to within the blur of an edge."""
    return float(fit[_SEARCH - _SAME : _SEARCH + _SAME + 1, _SEARCH - _SAME : _SEARCH + _SAME + 1].max())


def _depth_edges(depth: Image) -> Image:
    """(h, w) float32: 1 on the near side of steps in depth. Noise is measured and does not count."""
    measured = np.isfinite(depth)
    inverse = np.where(measured, 1.0 / np.where(measured, depth, 1.0), 0.0).astype(np.float32)
    smooth = cv2.medianBlur(inverse, 5)
    noise = 1.4826 * float(np.median(np.abs(inverse - smooth)[measured])) if measured.any() else 0.0
    around = np.ones((3, 3), np.uint8)
    nearest = cv2.dilate(smooth, around)
    step = nearest - cv2.erode(smooth, around)
    inside = cv2.erode((smooth > 0).astype(np.uint8), around) > 0
    edges = inside & (step > np.maximum(0.03 * smooth + 0.02 * smooth**2, 4 * noise)) & (smooth > nearest - step / 2)
    return np.asarray(edges, np.float32)


def _colour_edges(rgb: Image) -> Image:
    """(h, w) float32: strength of edges in colour against those around them."""
    lab = cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(np.float32), (0, 0), 0.8)
    along, down = cv2.Sobel(lab, cv2.CV_32F, 1, 0), cv2.Sobel(lab, cv2.CV_32F, 0, 1)
    strength = np.sqrt((along**2 + down**2).sum(axis=2)) / 4
    return np.minimum(strength / (cv2.blur(strength, (_AROUND, _AROUND)) + 2.0), 3.0)


# ------------------------------------------------------------------------------------------------ objects and camera


def _standing(frame: RgbdFrame, objects: Sequence[SceneObject], support: Plane | None) -> Check:
    """Do objects rise from what they stand on? Where near and far are exchanged they lie in hollows of it."""
    name = "objects on the support"
    if support is None or not objects:
        return _unmeasured(name, "no object, or no surface under it")
    xs, ys = normalised_axes(frame.camera)
    hollow, counted = 0, 0
    for obj in objects:
        x0, y0, x1, y1 = (max(0, round(side)) for side in obj.detection.box_xyxy)
        rows, columns = slice(y0, y1, _EVERY), slice(x0, x1, _EVERY)
        z = frame.depth[rows, columns].astype(np.float64)
        heights = z * (xs[None, columns] * support.normal[0] + ys[rows, None] * support.normal[1] + support.normal[2])
        heights += support.offset
        low, high = np.count_nonzero((heights < _LOW) & (heights > _DEEP)), np.count_nonzero(heights > _HIGH)
        if low + high:
            counted, hollow = counted + 1, hollow + int(low > high)
    if counted < 2 and hollow == counted:
        return _unmeasured(name, "too little depth on the objects")
    share = 1.0 - hollow / counted
    found = f"{counted - hollow} of {counted} objects rise from what they stand on"
    return _check(name, share >= 0.5, share, (0.5, 1.0), "", found, "convert disparity or inverse depth to metres")


def _sizes(objects: Sequence[SceneObject]) -> Check:
    """Common factor between the sizes of objects and those that are usual for their names."""
    logs = []
    for obj in objects:
        usual = usual_size(obj.detection.label)
        if usual and obj.depth_problem is None and not obj.truncated and obj.visible_fraction >= _SEEN:
            logs.append(np.log(obj.box.size.prod() / (usual[0] ** 2 * usual[1])) / 3)
    if not logs:
        return _unmeasured("sizes", "no whole object with a known name")
    common = float(np.median(logs))
    limit = _FACTOR_OF_ONE if len(logs) == 1 else _FACTOR_OF_FEW if len(logs) < 4 else _FACTOR
    factor = float(np.exp(common))
    which = "the object" if len(logs) == 1 else f"the {len(logs)} objects with a known name"
    found = f"{which}: {factor:.2g} times the usual size"
    fix = "check the depth unit (0.001 m for 16-bit images, unless the driver says otherwise)"
    expected = (round(float(np.exp(-limit)), 2), round(float(np.exp(limit)), 2))
    return _check("sizes", abs(common) <= limit, factor, expected, "", found, fix)


def _camera(frame: RgbdFrame, sizes: Check) -> Check:
    """Is K of this image's resolution? Then its principal point lies near the middle, unless the image is cropped."""
    camera = frame.camera
    across, down = 2 * camera.K[0, 2] / camera.width, 2 * camera.K[1, 2] / camera.height
    larger = float(np.log(max(across, 1e-3)))  # than K of this resolution
    small = 0.0 if sizes.measured is None else -float(np.log(sizes.measured))  # a larger K makes objects smaller
    odd = sizes.measured is None or abs(small - larger) < abs(small)
    scaled = odd and abs(larger) > 0.25 and abs(across - down) < 0.08
    found = f"the principal point is at {across / 2:.0%} of the width and {down / 2:.0%} of the height"
    fix = "use camera info of this image's resolution, or scale K with the image"
    if not scaled and not (0.5 < across < 1.5 and 0.5 < down < 1.5):
        return _unmeasured("camera info", f"{found}; the image may be cropped", fix)
    return _check("camera info", not scaled, across / 2, (0.39, 0.64), "", found, fix)


def _distance(frame: RgbdFrame) -> Check:
    """The camera's height in the base frame."""
    if frame.base_T_camera is None:
        return _unmeasured("camera position", "no transform")
    height = float(frame.base_T_camera.translation[2])
    found = f"the camera is {height:.2f} m above {frame.base_T_camera.parent}"
    fix = "give the transform in metres"
    if np.linalg.norm(frame.base_T_camera.translation[:2]) > _FAR_OFF > abs(height):
        return _unmeasured("camera position", f"{_FAR_OFF:.0f} m or more from its base: a map, or millimetres", fix)
    return _check("camera position", abs(height) < _FAR_OFF, height, (-_FAR_OFF, _FAR_OFF), "m", found, fix)


def _up(
    frame: RgbdFrame,
    objects: Sequence[SceneObject],
    support: Plane | None,
    up_from: UpSource,
    up: Floats,
    config: DepthConfig,
) -> Check:
    """The direction "up" of TF or an IMU against the plane that is visible without it."""
    if up_from not in (UpSource.TF, UpSource.IMU):
        return _unmeasured("up", "no transform and no IMU")
    seen = support or find_support(frame, tuple(obj.detection for obj in objects), config, None)
    if seen is None:
        return _unmeasured("up", "no surface is visible")
    tilt = float(np.degrees(np.arccos(np.clip(seen.normal @ up, -1.0, 1.0))))
    source = "the camera's transform" if up_from is UpSource.TF else "the IMU"
    found = f"the surface in view is {tilt:.1f}° off level by {source}"
    fix = f"check {source} (hand-eye calibration, mounting), and that it maps camera to base"
    if _NO_TABLE <= tilt < _FACES_DOWN:
        return _unmeasured("up", f"{found}; it may be a wall", fix)
    return _check("up", tilt <= _TILT, tilt, (0.0, _TILT), "°", found, fix)
