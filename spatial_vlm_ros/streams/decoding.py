# SPDX-License-Identifier: Apache-2.0
"""Decode the messages of one complete frame to pixels, metres and detections, as the parameters say.

Knows which sizes must match, but not stamps or waiting.
"""

from __future__ import annotations

import array
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ShapeError, UnknownNameError
from spatial_vlm_ros.geometry.depth import register_depth
from spatial_vlm_ros.geometry.rotation import quaternion_xyzw_from_matrix
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.streams.image import camera_of, decode_depth, decode_rgb, raw_view
from spatial_vlm_ros.types import Depth, Detection, Mask, PinholeCamera, Quaternion, Rgb, Transform

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


# ------------------------------------------------------------------------------------------------ composing


SECOND = 1_000_000_000  # nanoseconds
_LARGEST_UINT16 = 65535

Octets = npt.NDArray[np.uint8]


class Composer:
    """Build messages of classes given by name.

    Args:
        class_of: the class of a type name like "sensor_msgs/msg/Image"; it is called with all fields.
        octets: converts (N,) contiguous uint8 to the content of a field uint8[]; it may keep the array itself.
        floats: converts numbers to the content of fields float64[] and float64[N].
    """

    def __init__(
        self,
        class_of: Callable[[str], Callable[..., Any]],
        octets: Callable[[Octets], Any],
        floats: Callable[[Sequence[float]], Any],
    ) -> None:
        self._class_of, self._octets, self._floats = class_of, octets, floats

    def _make(self, type_: str, /, **fields: Any) -> Any:
        return self._class_of(type_)(**fields)

    # --------------------------------------------------------------------------------------------------- basics

    def time(self, stamp_ns: int) -> Any:
        """builtin_interfaces/Time from nanoseconds."""
        sec, nanosec = divmod(int(stamp_ns), SECOND)
        return self._make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)

    def header(self, stamp_ns: int, frame_id: str) -> Any:
        """std_msgs/Header from a stamp in nanoseconds and the frame of the message's numbers."""
        return self._make("std_msgs/msg/Header", stamp=self.time(stamp_ns), frame_id=frame_id)

    # --------------------------------------------------------------------------------------------------- images

    def image_rgb(self, rgb: Rgb, header: Any) -> Any:
        """sensor_msgs/Image "rgb8" from (H, W, 3) uint8, RGB."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ShapeError("rgb", expected="(H, W, 3) uint8", received=f"{rgb.shape} {rgb.dtype}")
        return self._image("rgb8", rgb, header)

    def image_depth(self, depth: Depth, header: Any) -> Any:
        """sensor_msgs/Image of (H, W) float32 metres, NaN = none: "16UC1" if millimetres are exact, else "32FC1"."""
        if depth.ndim != 2 or depth.dtype != np.float32:
            raise ShapeError("depth", expected="(H, W) float32", received=f"{depth.shape} {depth.dtype}")
        measured = ~np.isnan(depth)
        millimetres = np.rint(np.where(measured, depth, 0).astype(np.float64) * 1000)
        with np.errstate(over="ignore"):  # too large values are handled as out of range
            lossless = (millimetres * 0.001).astype(np.float32) == depth
        lossless &= (millimetres >= 1) & (millimetres <= _LARGEST_UINT16)
        if (lossless | ~measured).all():
            return self._image("16UC1", millimetres.astype("<u2"), header)
        return self._image("32FC1", depth.astype("<f4"), header)

    def image_mono(self, mask: npt.NDArray[np.uint8], header: Any) -> Any:
        """sensor_msgs/Image "mono8" from (H, W) uint8."""
        if mask.ndim != 2 or mask.dtype != np.uint8:
            raise ShapeError("grey image", expected="(H, W) uint8", received=f"{mask.shape} {mask.dtype}")
        return self._image("mono8", mask, header)

    def _image(self, encoding: str, pixels: npt.NDArray[Any], header: Any) -> Any:
        pixels = np.ascontiguousarray(pixels)
        height, width = pixels.shape[:2]
        return self._make(
            "sensor_msgs/msg/Image",
            header=header,
            height=height,
            width=width,
            encoding=encoding,
            is_bigendian=0,
            step=pixels.nbytes // height if height else 0,
            data=self._octets(pixels.reshape(-1).view(np.uint8)),
        )

    def camera_info(self, camera: PinholeCamera, header: Any) -> Any:
        """sensor_msgs/CameraInfo of an image that is neither cropped nor binned.

        P and R say that its rectified images have the same K and are not rotated. D of zeros means no distortion.
        """
        model, D = ("plumb_bob", (0.0,) * 5) if camera.is_rectified else (camera.distortion_model, camera.D)
        P = np.concatenate([camera.K, np.zeros((3, 1))], axis=1)
        sizes = ("x_offset", "y_offset", "height", "width")
        roi = {**dict.fromkeys(sizes, 0), "do_rectify": False}
        return self._make(
            "sensor_msgs/msg/CameraInfo",
            header=header,
            height=int(camera.height),
            width=int(camera.width),
            distortion_model=model,
            d=self._floats(D),
            k=self._floats(camera.K.reshape(-1).tolist()),
            r=self._floats(np.eye(3).reshape(-1).tolist()),
            p=self._floats(P.reshape(-1).tolist()),
            binning_x=0,
            binning_y=0,
            roi=self._make("sensor_msgs/msg/RegionOfInterest", **roi),
        )

    def imu_at_rest(self, up: npt.NDArray[np.float64], header: Any) -> Any:
        """sensor_msgs/Imu of a sensor at rest (m/s²); `up` is (3,), a unit vector against gravity. REP-145."""
        nothing, unknown = self._floats((0.0,) * 9), self._floats((-1.0, *(0.0,) * 8))
        return self._make(
            "sensor_msgs/msg/Imu",
            header=header,
            orientation=self._make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
            orientation_covariance=unknown,
            angular_velocity=self._vector((0.0, 0.0, 0.0)),
            angular_velocity_covariance=nothing,
            linear_acceleration=self._vector((9.81 * up).tolist()),
            linear_acceleration_covariance=nothing,
        )

    # --------------------------------------------------------------------------------------------------- transforms

    def transform_stamped(self, transform: Transform, stamp_ns: int) -> Any:
        """geometry_msgs/TransformStamped: `parent` is the header's frame, `child` the child frame."""
        place = transform.translation.tolist(), quaternion_xyzw_from_matrix(transform.rotation)
        return self.place_stamped(transform.parent, transform.child, *place, stamp_ns)

    def place_stamped(
        self, parent: str, child: str, position: Sequence[float], quaternion: Quaternion, stamp_ns: int
    ) -> Any:
        """As `transform_stamped`, from a position (m) and a unit quaternion x, y, z, w, which are used unchanged."""
        rotation = dict(zip("xyzw", quaternion, strict=True))
        return self._make(
            "geometry_msgs/msg/TransformStamped",
            header=self.header(stamp_ns, parent),
            child_frame_id=child,
            transform=self._make(
                "geometry_msgs/msg/Transform",
                translation=self._vector(position),
                rotation=self._make("geometry_msgs/msg/Quaternion", **rotation),
            ),
        )

    def tf_message(self, transforms: Iterable[Any]) -> Any:
        """tf2_msgs/TFMessage from messages of `transform_stamped`."""
        return self._make("tf2_msgs/msg/TFMessage", transforms=list(transforms))

    def _vector(self, values: Sequence[float]) -> Any:
        return self._make("geometry_msgs/msg/Vector3", **dict(zip("xyz", map(float, values), strict=True)))

    # --------------------------------------------------------------------------------------------------- detections

    def detection_array(self, detections: Iterable[Detection], header: Any, width: int, height: int) -> Any:
        """spatial_vlm_interfaces/DetectionArray of an image of width × height pixels; masks are cropped tightly."""
        return self._make(
            "spatial_vlm_interfaces/msg/DetectionArray",
            header=header,
            image_width=int(width),
            image_height=int(height),
            detections=[self._detection(d, header, (int(height), int(width))) for d in detections],
        )

    def detection_2d_array(self, detections: Iterable[Detection], header: Any) -> Any:
        """vision_msgs/Detection2DArray (version 4): boxes, labels, scores and ids; it has no masks or attributes."""
        unknown = self._make(  # a detection in an image has no pose
            "geometry_msgs/msg/PoseWithCovariance",
            pose=self._make(
                "geometry_msgs/msg/Pose",
                position=self._make("geometry_msgs/msg/Point", x=0.0, y=0.0, z=0.0),
                orientation=self._make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
            ),
            covariance=self._floats([0.0] * 36),
        )
        entries = []
        for detection in detections:
            left, top, right, bottom = detection.box_xyxy
            middle = self._make("vision_msgs/msg/Point2D", x=(left + right) / 2, y=(top + bottom) / 2)
            centre = self._make("vision_msgs/msg/Pose2D", position=middle, theta=0.0)
            box = {"center": centre, "size_x": right - left, "size_y": bottom - top}
            score = float(detection.score)
            said = self._make("vision_msgs/msg/ObjectHypothesis", class_id=detection.label, score=score)
            entry = self._make(
                "vision_msgs/msg/Detection2D",
                header=header,
                results=[self._make("vision_msgs/msg/ObjectHypothesisWithPose", hypothesis=said, pose=unknown)],
                bbox=self._make("vision_msgs/msg/BoundingBox2D", **box),
                id=detection.id,
            )
            entries.append(entry)
        return self._make("vision_msgs/msg/Detection2DArray", header=header, detections=entries)

    def _detection(self, detection: Detection, header: Any, shape: tuple[int, int]) -> Any:
        x, y, masks = 0, 0, []
        if detection.mask is not None:
            if detection.mask.shape != shape:
                what = f"mask of detection {detection.id!r}"
                raise ShapeError(what, expected=str(shape), received=str(detection.mask.shape))
            x, y, crop = mask_crop(detection.mask)
            masks = [self.image_mono(crop, header)]
        return self._make(
            "spatial_vlm_interfaces/msg/Detection",
            id=detection.id,
            label=detection.label,
            score=detection.score,
            box=self._floats(detection.box_xyxy),
            attributes=list(detection.attributes),
            mask_x=x,
            mask_y=y,
            mask=masks,
            front=[] if detection.front is None else [self._vector(detection.front)],
        )


def told_by_transforms(base_T_camera: Transform | None, camera_T_speaker: Transform | None) -> list[Transform]:
    """The poses of a frame that are sent on /tf.

    If the speaker is the base, the camera's pose gives the speaker's in the other direction.
    """
    base = base_T_camera.parent if base_T_camera is not None else None
    speaker = camera_T_speaker if camera_T_speaker is not None and camera_T_speaker.child != base else None
    return [pose for pose in (base_T_camera, speaker) if pose is not None]


def rosbags_composer(typestore: Any) -> Composer:
    """A composer for the dataclasses of a rosbags typestore; this package's interfaces must be registered in it."""
    types: Mapping[str, Callable[..., Any]] = typestore.types

    def floats(values: Sequence[float]) -> npt.NDArray[np.float64]:
        return np.array(values, np.float64)

    return Composer(types.__getitem__, np.array, floats)


def rclpy_composer(lookup: Callable[[str], type]) -> Composer:
    """A composer for rclpy's message classes, which `lookup` gives for names like "sensor_msgs/msg/Image"."""

    def octets(values: Octets) -> array.array[int]:  # the only form that rclpy stores without copying item by item
        kept = array.array("B")
        kept.frombytes(values.data)
        return kept

    return Composer(lookup, octets, list)
