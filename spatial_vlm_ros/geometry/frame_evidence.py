# SPDX-License-Identifier: Apache-2.0
"""Checks a frame against itself: does its depth look measured, fit its colours, and fit its camera, "up" and objects?

Each check says that it holds, that it contradicts, or that the frame shows too little. No check needs the truth, and
none alone decides what an object is. And what does it show that no detection explains?
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.geometry.extent import kind_of, usual_size
from spatial_vlm_ros.geometry.segmentation import depth_gap, support_tolerance
from spatial_vlm_ros.geometry.support import everywhere, find_support, support_like
from spatial_vlm_ros.parameters import DepthConfig, LiftConfig
from spatial_vlm_ros.types import (
    Check,
    Depth,
    Detection,
    Floats,
    FrameEvidence,
    Mask,
    Plane,
    Rgb,
    RgbdFrame,
    SceneObject,
    UnexplainedRegion,
    UpSource,
)
from spatial_vlm_ros.types import Verdict as V

Image = npt.NDArray[Any]  # OpenCV does not state the types of its results

# benchmarks/evidence_limits.py measures what healthy and faulty frames have.
_VALUES = 40_000  # pixels whose depth values are compared
_EVERY = 3  # step between the pixels of an object that are compared with its support
_STEP, _STEP_GROWS = 0.002, 0.003  # metres, and per metre²: steps of a stereo camera without subpixels grow like this
_STEPS = 3.0  # times that from which values cannot come from a depth camera

_WIDTH = 320  # pixels: width at which edges are compared and regions are searched for
_SEARCH = 32  # pixels there: largest shift that is found
_SAME = 2  # pixels there: half a patch of pixels mixed at an edge
_MIDDLE = slice(_SEARCH - _SAME, _SEARCH + _SAME + 1)  # of all shifts, those without one, to within the blur of an edge
_SHIFTED = 4  # pixels there from which colour and depth do not fit
_EDGE_SHARE, _FAINT = 0.03, 10.0  # of the pixels, and CIELAB units a pixel; usual images have 28 and more, noise 4
_ALONE = 0.6  # of the change over 7 pixels that an edge has in 3; a slanted surface, linear in 1/depth, has a third
_EDGES = 200  # pixels of edges that are needed
_CLEAR = 1.5  # times better than unshifted
_PLACE, _PLACE_EDGES = 40, 15  # pixels there: side of a place in the image, and of edges that speak for one
_PLACES = 7  # that must speak for a contradiction: if each were a coin, 1 of 128
_TURNED = 1.25  # times better than as it is
_FITS = 5.0  # standard deviations above the usual fit of any shift that a shift must have
_NO_FIT = 2.0  # standard deviations above the usual fit of any shift
_STANDS_OUT, _BESIDE, _SHOWN = 1.0, 35, 0.6  # edges of colour near so many of those of depth; healthy: 0.99
_AROUND = 41  # pixels there: neighbourhood in which an edge of colour must stand out
_FLICKER, _MOVED, _DRIFT = 25.0, 0.05, 0.05  # grey levels; share of pixels; |log| of depth in a still image
_COARSE, _LEAST_BOX = 160, 3  # pixels: width at which boxes are compared, and the least side of one there
_MOST_COMPARED = 200
_FILLED, _MOST_BOXES = 0.2, 0.8  # better filled elsewhere, and of how many boxes; in right frames 0.09 at most

_FACTORS = (0.6, 0.55)  # |log| of a common size factor of three kinds of objects, and of more
_AGREE = 0.7  # share of the objects whose own factor points the same way
_CENTRED = 0.05  # of the way from the border to the middle of an image, within which its principal point lies there
_RESOLUTIONS = (
    (320, 240), (424, 240), (480, 270), (512, 424), (640, 360), (640, 400), (640, 480), (640, 576), (672, 376),
    (800, 600), (848, 480), (960, 540), (1024, 768), (1280, 720), (1280, 800), (1280, 960), (1280, 1024), (1600, 1200),
    (1920, 1080), (1920, 1200), (2048, 1536), (2208, 1242), (3840, 2160),
)  # fmt: skip
_SEEN = 0.7  # visible share of an object whose size counts

_TILT = 5.0  # degrees between a visible plane and TF's "up": 6 cm of height over 0.7 m; a board may lean by less
_NO_TABLE, _FACES_DOWN = 60.0, 105.0  # degrees between which the plane may be a wall, unless objects stand on it
_SURFACE = 0.12  # least share of what is measured that lies on a surface; planes through several levels hold 0.07
# Metres from the plane of the lowest visible part of an object that stands on it: a ball hides its foot.
_TOUCHES = 0.03
_FAR_OFF = 20.0  # metres: no camera of an arm or a mobile robot is this far above its base or map
_RISE = 0.3  # share of objects that rise from their support; those in compartments may not
_LOW, _DEEP, _HIGH = -0.015, -0.3, 0.01  # metres from the support: hollows in it, and what stands on it


def frame_evidence(
    frame: RgbdFrame,
    objects: Sequence[SceneObject],
    support: Plane | None,
    up_from: UpSource,
    up: Floats,
    config: DepthConfig,
) -> FrameEvidence:
    """Measure every check once, on a rectified frame and the objects on a support; "up" (3,) in the camera frame."""
    factor, alignment = _sizes(objects), _alignment(frame.rgb, frame.depth)
    if alignment.verdict is V.UNMEASURED and support is not None:
        alignment = _in_boxes(frame, objects, support, alignment)
    return FrameEvidence((
        _steps(frame.depth), alignment, _standing(frame, objects, support, config),
        _camera(frame, factor), factor, _distance(frame), _up(frame, objects, support, up_from, up, config),
    ))  # fmt: skip


def _check(
    name: str, good: bool, measured: float, expected: tuple[float, float], unit: str, found: str, fix: str
) -> Check:
    verdict = V.HOLDS if good else V.CONTRADICTS
    return Check(name, verdict, round(float(measured), 6), expected, unit, found, "" if good else fix)


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


def depth_over_time(before: RgbdFrame, now: RgbdFrame) -> Check:
    """Depth of an image that has not changed, metres, against that of the same camera before; measured as a factor."""
    name = "depth over time"
    if before.rgb.shape != now.rgb.shape:
        return _unmeasured(name, "the size of the image changed")
    small = [cv2.blur(cv2.cvtColor(one.rgb, cv2.COLOR_RGB2GRAY), (5, 5)).astype(np.float32) for one in (before, now)]
    there = np.isfinite(before.depth) & np.isfinite(now.depth)
    was, is_ = (np.eye(4) if one.base_T_camera is None else one.base_T_camera.matrix for one in (before, now))
    moved = (np.abs(small[1] - small[0]) > _FLICKER).mean() > _MOVED or not np.allclose(was, is_, atol=0.01)
    if moved or small[0].std() < _FLICKER or there.mean() < _MOVED:
        return _unmeasured(name, "the image or the pose of the camera changes, or too little is in it")
    factor = float(np.median(now.depth[there] / before.depth[there]))
    seconds = (now.stamp_ns - before.stamp_ns) / 1e9
    found = f"the image is that of {seconds:.1f} s before, but its depth is {factor:.3g} times as far"
    fix = "look for a second publisher of depth, or a driver that was restarted with another unit, mode or baseline"
    return _check(name, abs(math.log(factor)) < _DRIFT, factor, (0.95, 1.05), "", found, fix)


# ------------------------------------------------------------------------------------------------ colour and depth


def _alignment(rgb: Rgb, depth: Depth) -> Check:
    """Shift between edges of colour and of depth: where the near side of depth edges meets edges of colour best."""
    name, scale = "depth on colour", depth.shape[1] / _WIDTH
    size = (_WIDTH, max(1, round(depth.shape[0] / scale)))
    near = _depth_edges(cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST))
    if near.sum() < _EDGES:
        return _unmeasured(name, "depth has too few edges")
    colour = _colour_edges(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))
    beside = cv2.dilate((colour >= _STANDS_OUT).astype(np.uint8), np.ones((_BESIDE, _BESIDE), np.uint8))
    if np.count_nonzero(near * beside) < _SHOWN * near.sum():  # white objects on white
        return _unmeasured(name, "colour has too few edges where depth has them")
    colour = cv2.copyMakeBorder(colour - colour.mean(), *(_SEARCH,) * 4, cv2.BORDER_CONSTANT, value=0.0)
    whole = np.zeros((2, *map(cv2.getOptimalDFTSize, colour.shape)), np.float32)
    for page, part in zip(whole, (colour, near), strict=True):
        page[: part.shape[0], : part.shape[1]] = part
    product = cv2.mulSpectrums(cv2.dft(whole[0]), cv2.dft(whole[1]), 0, conjB=True)
    fit = cv2.dft(product, flags=cv2.DFT_INVERSE | cv2.DFT_SCALE)  # colour under the edges at every shift
    fit = np.asarray(fit[: 2 * _SEARCH + 1, : 2 * _SEARCH + 1])
    best, here = float(fit.max()), float(fit[_MIDDLE, _MIDDLE].max())
    row, column = np.unravel_index(int(fit.argmax()), fit.shape)
    aside, down = _SEARCH - int(column), _SEARCH - int(row)
    shift = float(np.hypot(aside, down))
    usual, spread = float(fit.mean()), float(fit.std())
    inside = max(abs(aside), abs(down)) < _SEARCH  # else it may fit better still farther away, along a straight edge
    blurred = cv2.dilate(colour, np.ones((2 * _SAME + 1,) * 2, np.uint8))
    there, unshifted = (blurred[y : y + size[1], x : x + _WIDTH] for y, x in ((row, column), (_SEARCH, _SEARCH)))
    clear = inside and best >= max(_CLEAR * here, usual + _FITS * spread)
    clear &= _places(near * (there > unshifted)) >= _PLACES
    ways = ("mirrored", near[:, ::-1]), ("upside down and mirrored", near[::-1]), ("upside down", near[::-1, ::-1])
    turned = {}  # as `here`, to within the blur of an edge
    for words, edges in ways:
        rows, columns = np.nonzero(edges)
        around = np.arange(_SEARCH - _SAME, _SEARCH + _SAME + 1)
        shifts = (around[:, None] * colour.shape[1] + around).reshape(-1, 1)
        turned[words] = float(colour.ravel()[rows * colour.shape[1] + columns + shifts].sum(axis=1).max())
    way = max(turned, key=lambda words: turned[words])
    limit = (0.0, round(_SHIFTED * scale, 1))
    if best > 0 and turned[way] > _TURNED * best:
        fix = "give colour and depth the same orientation"
        return Check(name, V.CONTRADICTS, None, limit, "px", f"depth is {way} against colour", fix)
    if not clear and here < usual + _NO_FIT * spread and _places(near) >= _PLACES:
        fix = "use depth of this camera and this moment, registered to colour (align_depth, depth_image_proc/register)"
        return Check(name, V.CONTRADICTS, None, limit, "px", "edges of depth do not lie on those of colour", fix)
    if shift >= _SHIFTED and not clear:
        return _unmeasured(name, "edges of depth fit those of colour nowhere clearly")
    found = f"depth lies {shift * scale:.0f} px beside colour ({aside * scale:+.0f} right, {down * scale:+.0f} down)"
    fix = "register depth to colour, and use the registered topic (align_depth, depth_image_proc/register)"
    return _check(name, shift < _SHIFTED, shift * scale, limit, "px", found, fix)


def _places(edges: Image) -> int:
    """Parts of the image that have enough edges to speak: one long edge, or one odd corner, is one or two of them."""
    size = tuple(max(1, round(side / _PLACE)) for side in edges.shape[::-1])
    return int(np.count_nonzero(cv2.resize(edges, size, interpolation=cv2.INTER_AREA) >= _PLACE_EDGES / _PLACE**2))


def _depth_edges(depth: Image) -> Image:
    """(h, w) float32: 1 on the near side of steps in depth. Noise is measured and does not count."""
    measured = np.isfinite(depth)
    inverse = np.where(measured, 1.0 / np.where(measured, depth, 1.0), 0.0).astype(np.float32)
    smooth = cv2.medianBlur(inverse, 5)
    noise = 1.4826 * float(np.median(np.abs(inverse - smooth)[measured])) if measured.any() else 0.0
    around = np.ones((3, 3), np.uint8)
    nearest = cv2.dilate(smooth, around)
    step = nearest - cv2.erode(smooth, around)
    wide = np.ones((7, 7), np.uint8)
    alone = step > _ALONE * (cv2.dilate(smooth, wide) - cv2.erode(smooth, wide))
    inside = alone & (cv2.erode((smooth > 0).astype(np.uint8), around) > 0)
    edges = inside & (step > np.maximum(0.03 * smooth + 0.02 * smooth**2, 4 * noise)) & (smooth > nearest - step / 2)
    return np.asarray(edges, np.float32)


def _colour_edges(rgb: Image) -> Image:
    """(h, w) float32: strength of edges in colour against those around them."""
    lab = cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(np.float32), (0, 0), 0.8)
    along, down = cv2.Sobel(lab, cv2.CV_32F, 1, 0), cv2.Sobel(lab, cv2.CV_32F, 0, 1)
    strength = np.sqrt(cv2.transform(along * along + down * down, np.full((1, 3), 1 / 16)))
    if np.count_nonzero(strength >= _FAINT) < _EDGE_SHARE * strength.size:  # noise of a plain scene is no edge
        return np.zeros_like(strength)
    return np.minimum(strength / (cv2.blur(strength, (_AROUND, _AROUND)) + 2.0), 3.0)


def _in_boxes(frame: RgbdFrame, objects: Sequence[SceneObject], support: Plane, unmeasured: Check) -> Check:
    """Shift between boxes and depth: what is raised fills most boxes better, and their surroundings less, elsewhere.

    A contradiction, or what edges could not tell.
    """
    every = max(1, round(max(frame.depth.shape) / _COARSE))
    z = frame.depth[::every, ::every]
    xs, ys = (axis[::every] for axis in normalised_axes(frame.camera))
    n, reach = support.normal, _COARSE // 5
    height = (n[0] * xs[None, :] + n[1] * ys[:, None] + n[2]) * z + support.offset
    boxes = np.array([obj.detection.box_xyxy for obj in objects]).reshape(-1, 4) / every
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = np.flatnonzero((sides.min(axis=1) >= _LEAST_BOX) & (sides.prod(axis=1) < z.size / 3))[:_MOST_COMPARED]
    if len(kept) < 3:
        return unmeasured
    around = np.maximum(2.0, sides / 4)
    grown = np.hstack((boxes[:, :2] - around, boxes[:, 2:] + around))[kept]
    edge = max(z.shape) // 4 + reach + 4
    raised = cv2.copyMakeBorder((height > _HIGH).astype(np.uint8), *(edge,) * 4, cv2.BORDER_CONSTANT, value=0)
    sums = cv2.integral(raised)
    moves = np.stack(np.meshgrid(*(np.arange(-reach, reach + 1, 2),) * 2), axis=-1).reshape(-1, 2)

    def raised_in(some: Floats) -> tuple[Floats, Floats]:
        x0, y0, x1, y1 = np.moveaxis(np.round(some + np.tile(moves, 2)[:, None]).astype(np.intp) + edge, -1, 0)
        return sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0], (x1 - x0) * (y1 - y0)

    (inside, area), (all_of_it, whole) = raised_in(boxes[kept]), raised_in(grown)
    filled = inside / area  # (moves, boxes)
    fit, here = filled - (all_of_it - inside) / (whole - area), np.abs(moves).max(axis=1) <= 2
    best = int(fit.mean(axis=1).argmax())
    better, fuller = fit[best] - fit[here].max(axis=0), filled[best] - filled[here].max(axis=0)
    clear = better.mean() >= _FILLED and fuller.mean() >= _FILLED / 2 and np.abs(moves[best]).max() < reach
    if not clear or (better > _FILLED / 4).mean() < _MOST_BOXES:
        return unmeasured
    aside, down = (every * moves[best]).tolist()
    found = f"depth lies beside the boxes of {len(better)} objects ({aside:+d} right, {down:+d} down)"
    fix = "register depth to colour (align_depth, depth_image_proc/register); use boxes of this image"
    return _check(unmeasured.name, False, float(np.hypot(aside, down)), (0.0, float(2 * every)), "px", found, fix)


# ------------------------------------------------------------------------------------------------ objects and camera


def _standing(frame: RgbdFrame, objects: Sequence[SceneObject], support: Plane | None, config: DepthConfig) -> Check:
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
    if share < _RISE and _share_on(support, frame, config) < _SURFACE:  # they stand on another
        return _unmeasured(name, "no large surface is in view")
    found = f"{counted - hollow} of {counted} objects rise from what they stand on"
    return _check(name, share >= _RISE, share, (_RISE, 1.0), "", found, "convert disparity or inverse depth to metres")


def _sizes(objects: Sequence[SceneObject]) -> Check:
    """Common factor between the sizes of objects and those usual for their names; one or two may be misnamed."""
    of_kind: dict[str, list[float]] = {}
    for obj in objects:
        usual = usual_size(obj.detection.label)
        if usual and obj.depth_problem is None and not obj.truncated and obj.visible_fraction >= _SEEN:
            factor = float(np.log(obj.box.size.prod() / (usual[0] ** 2 * usual[1])) / 3)
            of_kind.setdefault(kind_of(obj.detection.label), []).append(factor)
    logs = [float(np.median(of_one)) for of_one in of_kind.values()]
    if len(logs) < 3:
        return _unmeasured("sizes", "fewer than three kinds of whole objects with a known size")
    common, limit = float(np.median(logs)), _FACTORS[len(logs) > 3]
    agree = np.mean(np.array(logs) * np.sign(common) > limit / 2) >= _AGREE
    factor = float(np.exp(common))
    found = f"{len(logs)} kinds of objects: {factor:.2g} times their usual size"
    fix = "check the depth unit (0.001 m for 16-bit images, unless the driver says otherwise)"
    expected = (round(float(np.exp(-limit)), 2), round(float(np.exp(limit)), 2))
    return _check("sizes", abs(common) <= limit or not agree, factor, expected, "", found, fix)


def _camera(frame: RgbdFrame, sizes: Check) -> Check:
    """Is K of this image's resolution? Then its principal point lies near the middle, unless the image is cropped."""
    camera = frame.camera
    size = camera.width, camera.height
    across, down = 2 * camera.K[0, 2] / size[0], 2 * camera.K[1, 2] / size[1]
    larger = float(np.log(max(across, 1e-3)))  # than K of this resolution
    small = 0.0 if sizes.measured is None else -float(np.log(sizes.measured))  # a larger K makes objects smaller
    odd = sizes.measured is None or abs(small - larger) < abs(small)
    scaled = odd and abs(larger) > 0.25 and abs(across - down) < 0.08
    found = f"the principal point is at {across / 2:.0%} of the width and {down / 2:.0%} of the height"
    fix = "use camera info of this image's resolution, or scale K with the image"
    sized = sizes.measured is not None and abs(small) < 0.3 and abs(small - larger) > _FACTORS[-1]
    other = any(
        abs(across * size[0] / width - 1) < _CENTRED > abs(down * size[1] / height - 1)
        for width, height in _RESOLUTIONS
    )
    of_other = size in _RESOLUTIONS and other and max(abs(across - 1), abs(down - 1)) > 3 * _CENTRED and not sized
    scaled |= of_other or max(across, down) < _CENTRED
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
    """The direction "up" of TF against that of an IMU, and of either against the plane that is visible without it."""
    if frame.base_T_camera is not None and frame.up is not None:
        apart = float(np.degrees(np.arccos(np.clip(frame.base_T_camera.rotation[2] @ frame.up, -1.0, 1.0))))
        if apart > _TILT:
            found = f"the IMU and the camera's transform are {apart:.1f}° apart"
            fix = "check the camera's transform (hand-eye calibration, mounting), and that of the IMU's frame"
            return _check("up", False, apart, (0.0, _TILT), "°", found, fix)
    if up_from not in (UpSource.TF, UpSource.IMU):
        return _unmeasured("up", "no transform and no IMU")
    seen, share = support, _share_on(support, frame, config)
    if share < _SURFACE:  # by a wrong "up" something small may seem level, and the table not
        seen = find_support(frame, tuple(obj.detection for obj in objects), config, None)
        share = _share_on(seen, frame, config)
    if seen is None or share < _SURFACE:
        return _unmeasured("up", "no surface is visible")
    tilt = float(np.degrees(np.arccos(np.clip(seen.normal @ up, -1.0, 1.0))))
    source = "the camera's transform" if up_from is UpSource.TF else "the IMU"
    found = f"the surface in view is {tilt:.1f}° off level by {source}"
    fix = f"check {source} (hand-eye calibration, mounting), and that it maps camera to base"
    if _NO_TABLE <= tilt < _FACES_DOWN:  # what is before a wall does not reach down to it
        feet = [np.percentile(obj.points @ seen.normal + seen.offset, 2) for obj in objects if len(obj.points)]
        standing = np.count_nonzero(np.abs(feet) < _TOUCHES)
        if standing < 2 or standing < 0.5 * len(feet):
            return _unmeasured("up", f"{found}; it may be a wall", fix)
    return _check("up", tilt <= _TILT, tilt, (0.0, _TILT), "°", found, fix)


def _share_on(plane: Plane | None, frame: RgbdFrame, config: DepthConfig) -> float:
    points = everywhere(frame)[0]
    if plane is None or not len(points):
        return 0.0
    on_it = np.abs(points @ plane.normal + plane.offset) < 0.004 + 2 * depth_noise(points[:, 2], config)
    return float(on_it.mean())


# ------------------------------------------------------------------------------------------------ what has no detection

_MARGIN = 0.04  # of a box's size, and this many pixels there: detectors' boxes are often too small
_MARGIN_PX = 3
_LEAST_AREA = 8e-4  # square metres that face the camera
_LARGEST_REGION = 0.5  # metres: what is larger is furniture, a wall or a person
_FOOT = 0.03  # metres above the support within which the lowest part of a thing on it lies
_ON_IT = 0.25  # share of a region's surroundings that must be the support
_EXPLAINED = 0.4  # share of a piece inside one box from which the box means it
_MAIN_PIECE = 0.2  # of the largest piece of the support, from which another is the support, too
_MOST = 200


def unexplained_regions(
    frame: RgbdFrame,
    objects: Sequence[SceneObject],
    of_robot: Sequence[Detection],
    support: Plane | None,
    depth_config: DepthConfig,
    lift_config: LiftConfig,
) -> tuple[UnexplainedRegion, ...]:
    """Raised pieces of the size of an object that stand among the objects of all detections, and in none of them.

    The largest 200 at most, largest first; none without a support.
    """
    if support is None:
        return ()
    every = max(1, round(frame.depth.shape[1] / _WIDTH))
    z = frame.depth[::every, ::every]
    xs, ys = (axis[::every].astype(np.float32) for axis in normalised_axes(frame.camera))
    n = support.normal.astype(np.float32)
    height = (n[0] * xs[None, :] + n[1] * ys[:, None] + n[2]) * z + np.float32(support.offset)
    low = np.float32(support_tolerance(support, lift_config)) + 2 * depth_noise(z, depth_config).astype(np.float32)
    # Pixels of detections, with a margin, and of the robot; supports explain nothing that is on them.
    explained = np.zeros(z.shape, np.bool_) if frame.robot is None else frame.robot.own[::every, ::every].copy()
    detections = [obj.detection for obj in objects] + list(of_robot)
    for detection, is_support in zip(detections, support_like(detections, frame), strict=True):
        if not is_support:
            box = np.array(detection.box_xyxy) / every
            margin = _MARGIN * np.tile(box[2:] - box[:2], 2) + _MARGIN_PX
            x0, y0, x1, y1 = (
                np.clip(box + margin * (-1, -1, 1, 1), 0, (*z.shape[::-1], *z.shape[::-1])).round().astype(int)
            )
            explained[y0:y1, x0:x1] = True
    flat = np.abs(height) <= low
    gap = depth_gap(z, depth_config, lift_config)
    outline = _outline(flat, explained, z, gap)
    if outline is None:
        return ()
    labels = _pieces(z, height > low, gap)
    count = int(labels.max(initial=0)) + 1
    areas = np.bincount(labels.ravel(), minlength=count)
    inside = np.bincount(labels.ravel(), explained.ravel(), minlength=count)
    facing = np.bincount(labels.ravel(), np.nan_to_num(z).ravel() ** 2, minlength=count)
    facing *= every**2 / float(frame.camera.K[0, 0] * frame.camera.K[1, 1])
    found = []
    for number in np.flatnonzero((inside < _EXPLAINED * areas) & (facing >= _LEAST_AREA)).tolist():
        piece = labels == number
        if number == 0:
            continue
        # How much of what is seen around it is the support, or an object?
        x0, y0, width, depth = cv2.boundingRect(piece.view(np.uint8))
        near = slice(max(0, y0 - 3), y0 + depth + 3), slice(max(0, x0 - 3), x0 + width + 3)
        ring = cv2.dilate(piece[near].view(np.uint8), np.ones((7, 7), np.uint8)) > 0
        ring &= ~piece[near] & np.isfinite(z[near])
        if np.count_nonzero(ring & (flat | explained)[near]) < _ON_IT * max(1, int(np.count_nonzero(ring))):
            continue
        rows, columns = np.nonzero(piece & ~explained)
        points = np.stack((xs[columns], ys[rows], np.ones(len(rows), np.float32))) * z[rows, columns]
        centre = np.median(points, axis=1)
        size = np.ptp(np.percentile(points, (2, 98), axis=1), axis=0)
        foot = centre - (float(support.normal @ centre) + support.offset) * support.normal
        pixel = (frame.camera.K @ foot)[:2] / foot[2] / every
        on_it = cv2.pointPolygonTest(outline, pixel.tolist(), True) >= _MARGIN_PX
        above = np.percentile(height[rows, columns] - low[rows, columns], 2)
        if on_it and size.max() <= _LARGEST_REGION and above <= _FOOT:
            feet = points - (support.normal @ points + support.offset) * support.normal[:, None]
            down = np.percentile((frame.camera.K @ feet)[1] / feet[2] / every, 98)  # its foot is too low to be raised
            box = (columns.min(), rows.min(), columns.max() + 1, max(rows.max() + 1, min(down, len(z))))
            left, top, right, bottom = (float(every * side) for side in box)
            x, y, ahead = centre.tolist()
            found.append((float(facing[number]), (left, top, right, bottom), (x, y, ahead)))
    found.sort(key=lambda region: -region[0])
    taken = {obj.id for obj in objects} | {one.id for one in of_robot}
    free = (name for name in map("unexplained_{}".format, itertools.count(1)) if name not in taken)
    return tuple(UnexplainedRegion(next(free), box, place, area) for area, box, place in found[:_MOST])


def _outline(
    flat: Mask, explained: Mask, z: npt.NDArray[np.float32], gap: Floats | float
) -> npt.NDArray[np.int32] | None:
    """(N, 1, 2) pixels: the convex outline of the support's large pieces, beside detections if there are any."""
    labels = _pieces(z, flat, gap)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    if explained.any():
        beside = labels[cv2.dilate(explained.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0]
        areas[np.bincount(beside, minlength=len(areas)) == 0] = 0
    if not areas.any():
        return None
    large = (areas >= _MAIN_PIECE * areas.max())[labels]
    rows = np.flatnonzero(large.any(axis=1))
    first, last = large[rows].argmax(axis=1), large.shape[1] - 1 - large[rows, ::-1].argmax(axis=1)
    ends = np.stack((np.concatenate((first, last)), np.tile(rows, 2)), axis=1)
    return np.asarray(cv2.convexHull(ends.astype(np.int32)), np.int32)


def _pieces(z: npt.NDArray[np.float32], raised: Mask, gap: Floats | float) -> npt.NDArray[np.int32]:
    """(h, w) int32: connected raised pixels, cut at the far side of depth edges; 0 = none."""
    nobody = np.finfo(np.float32).max
    near = np.where(raised, z, nobody).astype(np.float32)
    nearest = cv2.erode(near, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=float(nobody))
    whole = (raised & (z - nearest <= gap)).astype(np.uint8)
    return np.asarray(cv2.connectedComponents(whole, connectivity=4)[1], np.int32)
