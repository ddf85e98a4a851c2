# SPDX-License-Identifier: Apache-2.0
"""Convert the package's own types to messages, of classes that the caller supplies.

Knows the fields of the messages, but neither rclpy nor rosbags, so the publishing node and the bag writer produce the
same messages. `streams` reads back exactly what was composed.
"""

from __future__ import annotations

import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import ShapeError
from spatial_vlm_ros.geometry.rotation import quaternion_xyzw_from_matrix
from spatial_vlm_ros.streams.decoding import mask_crop
from spatial_vlm_ros.types import Depth, Detection, PinholeCamera, Quaternion, Rgb, Transform

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
