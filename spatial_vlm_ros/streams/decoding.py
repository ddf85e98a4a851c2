# SPDX-License-Identifier: Apache-2.0
"""Decode the messages of one complete frame to pixels, metres and detections, as the parameters say.

Knows which sizes must match, but not stamps or waiting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.geometry.depth import register_depth
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.streams.camera_info import camera_of
from spatial_vlm_ros.streams.image import decode_depth, decode_rgb, raw_view
from spatial_vlm_ros.types import Depth, Detection, Mask, PinholeCamera, Rgb, Transform

# Undo the left-right mirroring of images, and of what was measured in them.
#
# Column u of an image w pixels wide is column w - 1 - u of the other one, and a direction (x, y, z) of one camera is
# (-x, y, z) of the other.

_T = TypeVar("_T", bound=np.generic)

_TANGENTIAL = 3  # index of p2 in D, of plumb_bob and of rational_polynomial


def turned_image(image: npt.NDArray[_T]) -> npt.NDArray[_T]:
    """Reverse the columns of (H, W) or (H, W, C); the result is contiguous."""
    return np.ascontiguousarray(image[:, ::-1])


def turned_camera(camera: PinholeCamera) -> PinholeCamera:
    """Camera of the unmirrored image.

    The principal point moves to w - 1 - cx. Of the lens parameters only p2 changes its sign: x' = -x in
    x g + 2 p1 x y + p2 (r² + 2 x²) and y g + p1 (r² + 2 y²) + 2 p2 x y gives the same terms with -p2, because the
    radial gain g and the equidistant model depend only on the radius.
    """
    K = camera.K.copy()
    K[0, 2] = camera.width - 1 - K[0, 2]
    D = camera.D
    if camera.distortion_model != "equidistant" and len(D) > _TANGENTIAL:
        D = (*D[:_TANGENTIAL], -D[_TANGENTIAL], *D[_TANGENTIAL + 1 :])
    return replace(camera, K=K, D=D)


def turned_detection(detection: Detection, width: int) -> Detection:
    """Convert a detection of the mirrored image, `width` pixels wide, to the unmirrored one: box, mask and front.

    The sides of a box are borders, from 0 to `width`: [x0, x1) becomes [width - x1, width - x0).
    """
    left, top, right, bottom = detection.box_xyxy
    front = detection.front
    return replace(
        detection,
        box_xyxy=(width - right, top, width - left, bottom),
        mask=None if detection.mask is None else turned_image(detection.mask),
        front=None if front is None else (-front[0], front[1], front[2]),
    )


def frame_id_of(message: Any) -> str:
    """Frame id of a message as in tf2 and TransformBuffer: without a leading slash."""
    return str(message.header.frame_id).removeprefix("/")


def check_same_camera(detections: Any, image: Any) -> None:
    """Refuse detections of another camera; an empty frame_id matches every camera."""
    said, real = frame_id_of(detections), frame_id_of(image)
    if said and real and said != real:
        repair = "copy the header of the image into the detections"
        raise InputError("frame_id of detections", repr(said), repr(real), repair)


def colour_of(message: Any, info: Any, config: StreamConfig) -> tuple[Rgb, PinholeCamera]:
    """Decode the colour image, (H, W, 3) uint8 RGB, and its camera, unmirrored if the driver mirrors."""
    camera = camera_of(info, config.rectified)
    rgb = decode_rgb(message)
    _check_size("colour image", rgb.shape, camera)
    return (turned_image(rgb), turned_camera(camera)) if config.mirrored else (rgb, camera)


def depth_of(
    message: Any, rgb_frame_id: str, camera: PinholeCamera, info: Any, rgb_T_depth: Transform | None,
    config: StreamConfig,
) -> Depth:  # fmt: skip
    """Decode depth registered to colour, (H, W) float32 metres, unmirrored if the driver mirrors.

    Its camera info is that of the colour image, and its pose is not moved, unless given.
    """
    depth_frame_id = frame_id_of(message)  # drivers that align depth say so in the header
    if config.depth_registered and depth_frame_id and rgb_frame_id and depth_frame_id != rgb_frame_id:
        expected = f"{rgb_frame_id!r}, the frame of colour, because depth in another frame is not registered to colour"
        other = "set depth_registered: false and publish the depth camera info"
        repair = f"use the aligned depth topic of the driver, or {other}"
        raise InputError("frame of the depth image", repr(depth_frame_id), expected, repair)
    depth = decode_depth(message, config.depth_scale or None)
    if rgb_T_depth is None:
        _check_size("depth image", depth.shape, camera, "register depth to colour, or set depth_registered: false")
        return turned_image(depth) if config.mirrored else depth
    depth_camera = camera
    if info is not None:
        depth_camera = camera_of(info, config.rectified)
        depth_camera = turned_camera(depth_camera) if config.mirrored else depth_camera
    _check_size("depth image", depth.shape, depth_camera)
    return register_depth(turned_image(depth) if config.mirrored else depth, depth_camera, camera, rgb_T_depth)


def found_of(message: Any, camera: PinholeCamera, config: StreamConfig) -> tuple[Detection, ...]:
    """Decode the detections of an image, unmirrored if the driver mirrors."""
    found = detections_of(message, camera.width, camera.height)
    return tuple(turned_detection(one, camera.width) for one in found) if config.mirrored else found


def _check_size(what: str, shape: tuple[int, ...], camera: PinholeCamera, repair: str = "") -> None:
    if shape[:2] != (camera.height, camera.width):
        got = f"{shape[1]}x{shape[0]} pixels"
        expected = f"{camera.width}x{camera.height}, as in its camera info"
        raise InputError(what, got, expected, repair or "remap the topic to the camera info of this image")


UNNAMED = "object"  # label of a detection without a hypothesis
_MASK_ENCODINGS = ("mono8", "8UC1")


def detections_of(message: Any, width: int, height: int) -> tuple[Detection, ...]:
    """Convert a DetectionArray, or a vision_msgs/Detection2DArray of any version, with masks of the whole image.

    Those without an id are named d0, d1, ... by index. Of several vision_msgs hypotheses the most likely one is used;
    without any, the label is "object" and the score 1. A rotated box becomes the upright box around it. vision_msgs has
    no fronts.
    """
    entries = getattr(message, "detections", None)
    if entries is None:
        got = "it has no field detections"
        expected = "a DetectionArray or a Detection2DArray"
        raise InputError(type(message).__name__, got, expected, "check the type of the detections topic")
    ours = hasattr(message, "image_width")
    if ours:
        said = int(message.image_width), int(message.image_height)
        if any(one not in (0, real) for one, real in zip(said, (width, height), strict=True)):
            expected = f"{width}x{height}, the size of the colour image"
            repair = "run the detector on the colour topic, or scale its boxes and masks"
            raise InputError("image of the detections", f"{said[0]}x{said[1]}", expected, repair)
    found = []
    for number, entry in enumerate(entries):
        try:
            found.append(_own(entry, number, width, height) if ours else _of_vision_msgs(entry, number))
        except InputError as error:
            place = f"detections[{number}]: {error.what}"
            raise InputError(place, error.got, error.expected, error.repair) from error
        except (AttributeError, TypeError, ValueError) as error:
            repair = "check the type and version of the detections message"
            raise InputError(f"detections[{number}]", str(error), "a detection", repair) from error
    return tuple(found)


def names_of(message: Any) -> list[str]:
    """Ids that `detections_of` gives the entries of a message, in its order: their own, or d0, d1, ... by index."""
    return [_name(getattr(entry, "id", ""), number) for number, entry in enumerate(message.detections)]


def mask_crop(mask: Mask) -> tuple[int, int, npt.NDArray[np.uint8]]:
    """The smallest part with all set pixels of a mask: its column and row there; (h, w) uint8, 255 where set."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise InputError("mask", "no pixel is set", "at least one pixel", "omit the mask")
    x, y = int(columns[0]), int(rows[0])
    part = mask[y : rows[-1] + 1, x : columns[-1] + 1]
    return x, y, part.astype(np.uint8) * np.uint8(255)


# ------------------------------------------------------------------------------------------------ our own messages


def _own(entry: Any, number: int, width: int, height: int) -> Detection:
    masks = entry.mask
    if len(masks) > 1:
        raise InputError("mask", f"{len(masks)} masks", "at most one", "send one detection for each mask")
    fronts: Sequence[Any] = getattr(entry, "front", ())  # messages of version 0.1 have none
    if len(fronts) > 1:
        raise InputError("front", f"{len(fronts)} directions", "at most one", "omit the direction if it is unknown")
    left, top, right, bottom = (float(side) for side in entry.box)
    mask = None
    if len(masks):
        if masks[0].encoding not in _MASK_ENCODINGS:
            raise UnknownNameError("mask encoding", str(masks[0].encoding), _MASK_ENCODINGS)
        crop = raw_view(masks[0], np.dtype(np.uint8), 1)
        (h, w), x, y = crop.shape, int(entry.mask_x), int(entry.mask_y)
        if not (x >= 0 and y >= 0 and x + w <= width and y + h <= height):
            repair = "set mask_x and mask_y to pixels inside the image"
            raise InputError("mask", f"{w}x{h} at ({x}, {y})", f"a part of {width}x{height}", repair)
        mask = np.zeros((height, width), np.bool_)
        np.not_equal(crop, 0, out=mask[y : y + h, x : x + w])
    front = (float(fronts[0].x), float(fronts[0].y), float(fronts[0].z)) if len(fronts) else None
    box, attributes = (left, top, right, bottom), tuple(entry.attributes)
    return Detection(_name(entry.id, number), entry.label, entry.score, box, mask, attributes, front)


# ------------------------------------------------------------------------------------------------ vision_msgs


def _of_vision_msgs(entry: Any, number: int) -> Detection:
    hypotheses = [getattr(result, "hypothesis", result) for result in entry.results]  # Foxy has no layer in between
    label, score = UNNAMED, 1.0
    if hypotheses:
        best = max(hypotheses, key=lambda h: float(h.score))
        label, score = str(best.class_id if hasattr(best, "class_id") else best.id), float(best.score)
    bbox = entry.bbox
    place = getattr(bbox.center, "position", bbox.center)  # geometry_msgs/Pose2D before version 4
    cos, sin = abs(math.cos(bbox.center.theta)), abs(math.sin(bbox.center.theta))
    half_x = (cos * bbox.size_x + sin * bbox.size_y) / 2
    half_y = (sin * bbox.size_x + cos * bbox.size_y) / 2
    box = place.x - half_x, place.y - half_y, place.x + half_x, place.y + half_y
    return Detection(_name(getattr(entry, "id", ""), number), label, score, box)


def _name(given: str, number: int) -> str:
    return given or f"d{number}"
