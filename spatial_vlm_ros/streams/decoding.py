# SPDX-License-Identifier: Apache-2.0
"""Decode the messages of one complete frame to pixels and metres, as the parameters say.

Knows which sizes must match, but not stamps or waiting.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.geometry.depth import register_depth
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.streams.camera_info import camera_of
from spatial_vlm_ros.streams.detections import detections_of
from spatial_vlm_ros.streams.image import decode_depth, decode_rgb
from spatial_vlm_ros.types import Depth, Detection, PinholeCamera, Rgb, Transform

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
