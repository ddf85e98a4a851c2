# SPDX-License-Identifier: Apache-2.0
"""The whole vocabulary of the package, as frozen data.

Knows what things are called and how they are laid out; knows nothing of how they are computed.
Conventions (units, axes, frames, pixels, invalid values) are written once in docs/conventions.md:
metres, radians, optical frames with z forward, depth along optical z with NaN for "not measured".
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError, ShapeError, TransformError

Floats = npt.NDArray[np.floating]
Rgb = npt.NDArray[np.uint8]  # (H, W, 3)
Depth = npt.NDArray[np.float32]  # (H, W) metres along optical z, NaN where not measured
Mask = npt.NDArray[np.bool_]  # (H, W)
Points = npt.NDArray[np.floating]  # (N, 3) metres


class Status(str, enum.Enum):
    """Outcome of a request. Append only: names and numbers are shared with JSON and the ROS action.

    The value is the name; `code` is the number. Tens group them: answers, input, scene, model, request, acting.
    """

    code: int

    def __new__(cls, name: str, code: int) -> Status:
        """Make a member whose value is its name and whose number is `code`."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.code = code
        return member

    OK = ("OK", 0)

    NOT_UNDERSTOOD = ("NOT_UNDERSTOOD", 10)
    INVALID_INPUT = ("INVALID_INPUT", 11)
    DEPTH_INVALID = ("DEPTH_INVALID", 12)
    STALE_INPUT = ("STALE_INPUT", 13)
    NOT_SYNCHRONISED = ("NOT_SYNCHRONISED", 14)
    TF_UNAVAILABLE = ("TF_UNAVAILABLE", 15)
    FRAME_UNDEFINED = ("FRAME_UNDEFINED", 16)

    NOT_FOUND = ("NOT_FOUND", 30)
    AMBIGUOUS = ("AMBIGUOUS", 31)
    RELATION_UNSATISFIED = ("RELATION_UNSATISFIED", 32)
    OCCLUDED = ("OCCLUDED", 33)
    LOW_CONFIDENCE = ("LOW_CONFIDENCE", 34)
    DISAGREEMENT = ("DISAGREEMENT", 35)
    NO_PLACE = ("NO_PLACE", 36)

    MODEL_ERROR = ("MODEL_ERROR", 50)
    TIMEOUT = ("TIMEOUT", 51)

    BUSY = ("BUSY", 60)
    CANCELLED = ("CANCELLED", 61)

    OUT_OF_WORKSPACE = ("OUT_OF_WORKSPACE", 70)
    UNREACHABLE = ("UNREACHABLE", 71)
    NEEDS_APPROVAL = ("NEEDS_APPROVAL", 72)
    REJECTED = ("REJECTED", 73)
    APPROVAL_EXPIRED = ("APPROVAL_EXPIRED", 74)
    SCENE_CHANGED = ("SCENE_CHANGED", 75)
    PLANNER_UNAVAILABLE = ("PLANNER_UNAVAILABLE", 76)
    PLANNING_FAILED = ("PLANNING_FAILED", 77)
    EXECUTION_FAILED = ("EXECUTION_FAILED", 78)


class FrameOfReference(str, enum.Enum):
    """Whose left, whose behind. See docs/relations.md."""

    VIEWER = "viewer"
    ROBOT = "robot"
    WORLD = "world"
    SPEAKER = "speaker"
    OBJECT = "object"


class ClauseState(str, enum.Enum):
    """What the measurement says of one clause."""

    HOLDS = "holds"
    FAILS = "fails"
    UNCLEAR = "unclear"


class UpSource(str, enum.Enum):
    """Where the direction "up" came from, best first."""

    TF = "tf"
    IMU = "imu"
    SUPPORT_PLANE = "support_plane"
    OPTICAL_AXES = "optical_axes"


# ------------------------------------------------------------------------------------------------ observation


def _frozen(values: object, dtype: npt.DTypeLike, shape: tuple[int, ...], name: str) -> npt.NDArray[np.float64]:
    """Return a read-only copy of `values` with the given shape, or raise ShapeError."""
    try:
        array = np.array(values, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise ShapeError(name, expected=f"{shape} numbers", received=str(error)) from error
    if array.shape != shape:
        raise ShapeError(name, expected=str(shape), received=str(array.shape))
    array.setflags(write=False)
    return array


def _direction(values: object, name: str, repair: str) -> npt.NDArray[np.float64]:
    """A (3,) unit vector, read-only, or InputError."""
    vector = _frozen(values, np.float64, (3,), name)
    norm = float(np.linalg.norm(vector))
    if not 1e-6 < norm < np.inf:
        raise InputError(name, str(vector), "a finite direction, not zero", repair)
    vector = vector / norm
    vector.setflags(write=False)
    return vector


_UP_AGREES = 0.966  # cosine of 15 degrees
_FARTHEST = 1e5  # metres; positions beyond are no robot's, and lose their millimetres


def _check_frame_id(what: str, name: object) -> None:
    """A pose in a frame without a name is no pose."""
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{what} frame id", repr(name), "a name", "copy it from the message header or camera_info")


DISTORTION_LENGTHS: Mapping[str, tuple[int, ...]] = {
    "plumb_bob": (0, 4, 5),
    "rational_polynomial": (0, 8),
    "equidistant": (0, 4),
}


@dataclass(frozen=True, eq=False)
class PinholeCamera:
    """Intrinsics of one camera, as in sensor_msgs/CameraInfo.

    Args:
        K: (3, 3) float64, pixels; (0, 0) is the centre of the top-left pixel.
        width: image width, pixels.
        height: image height, pixels.
        distortion_model: "plumb_bob", "rational_polynomial" or "equidistant".
        D: distortion coefficients in the order of that model; empty = the image is rectified.

    Raises:
        InputError: K is not an intrinsic matrix, a size is not positive, the model is unknown, D has a wrong length.
    """

    K: npt.NDArray[np.float64]
    width: int
    height: int
    distortion_model: str = "plumb_bob"
    D: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        K = _frozen(self.K, np.float64, (3, 3), "camera K")
        object.__setattr__(self, "K", K)
        try:
            object.__setattr__(self, "D", tuple(float(d) for d in self.D))
        except (TypeError, ValueError) as error:
            raise InputError(
                "distortion D", repr(self.D), "numbers", "copy D from CameraInfo, or leave it out"
            ) from error
        if not all(isinstance(n, (int, np.integer)) for n in (self.width, self.height)):
            raise InputError(
                "camera size", f"{self.width!r}x{self.height!r}", "whole numbers", "copy them from CameraInfo"
            )
        if self.width <= 0 or self.height <= 0:
            raise InputError(
                "camera size", f"{self.width}x{self.height}", "both positive", "read width and height from CameraInfo"
            )
        if (
            not np.isfinite(K).all()
            or K[0, 0] <= 0
            or K[1, 1] <= 0
            or not np.allclose(K[2], (0, 0, 1))
            or K[0, 1]
            or K[1, 0]
        ):
            raise InputError(
                "camera K",
                np.array2string(K.reshape(-1), precision=4),
                "finite, fx > 0, fy > 0, no skew, last row 0 0 1",
                "calibrate the camera, or take K from a CameraInfo that is published by a calibrated driver",
            )
        span = max(self.width, self.height)
        focal, centre = K[[0, 1], [0, 1]], np.abs(K[:2, 2])
        if focal.min() < 0.02 * span or focal.max() > 100 * span or centre.max() > 10 * span:
            raise InputError(
                "camera K",
                np.array2string(K.reshape(-1), precision=4),
                f"focal lengths and centre in pixels of a picture of {self.width}x{self.height}",
                "K belongs to the full resolution: scale it with the image",
            )
        if not isinstance(self.distortion_model, str) or self.distortion_model not in DISTORTION_LENGTHS:
            raise InputError(
                "distortion model",
                repr(self.distortion_model),
                "one of " + ", ".join(DISTORTION_LENGTHS),
                "rectify the images (image_proc) and pass the rectified topics",
            )
        if len(self.D) not in DISTORTION_LENGTHS[self.distortion_model] or not np.isfinite(self.D).all():
            lengths = " or ".join(str(n) for n in DISTORTION_LENGTHS[self.distortion_model])
            raise InputError(
                f"{self.distortion_model} coefficients D",
                f"{len(self.D)} values",
                f"{lengths} finite values",
                "copy D from CameraInfo; leave it empty for rectified images",
            )

    @property
    def is_rectified(self) -> bool:
        """Whether pixels follow K alone; the equidistant model bends them even where its coefficients are zero."""
        return not self.D or (self.distortion_model != "equidistant" and not any(self.D))


@dataclass(frozen=True, eq=False)
class Transform:
    """Rigid transform with named frames: maps coordinates in `child` to coordinates in `parent`.

    `Transform("base_link", "camera", m)` is what the text calls base_T_camera; chains cancel inside:
    `base_T_camera @ camera_T_object`.

    Args:
        parent: target frame id.
        child: source frame id.
        matrix: (4, 4) float64, metres.

    Raises:
        TransformError: the matrix is not a rigid transform, or two frames do not fit.
    """

    parent: str
    child: str
    matrix: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        _check_frame_id("parent", self.parent)
        _check_frame_id("child", self.child)
        matrix = _frozen(self.matrix, np.float64, (4, 4), f"transform {self.parent} <- {self.child}")
        R = matrix[:3, :3]
        if not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0, 0, 0, 1), atol=1e-6):
            raise TransformError(self.parent, self.child, "its entries must be finite and its last row 0 0 0 1")
        if not np.allclose(R @ R.T, np.eye(3), atol=1e-3) or np.linalg.det(R) < 0:
            raise TransformError(
                self.parent,
                self.child,
                f"its 3x3 part is no rotation (R Rt differs from 1 by {np.abs(R @ R.T - np.eye(3)).max():.3g}, "
                f"determinant {np.linalg.det(R):.3g})",
            )
        if self.parent == self.child and not np.allclose(matrix, np.eye(4), atol=1e-3):
            raise TransformError(self.parent, self.child, "it moves a frame against itself")
        if np.abs(matrix[:3, 3]).max() > _FARTHEST:
            raise TransformError(self.parent, self.child, f"it moves by more than {_FARTHEST:.0f} m; give metres")
        U, _, Vt = np.linalg.svd(R)  # the nearest rotation: what is within tolerance is made exact, once
        exact = matrix.copy()
        exact[:3, :3] = U @ Vt
        exact[3] = (0.0, 0.0, 0.0, 1.0)
        exact.setflags(write=False)
        object.__setattr__(self, "matrix", exact)

    @property
    def rotation(self) -> npt.NDArray[np.float64]:
        """(3, 3), parent_R_child."""
        return self.matrix[:3, :3]

    @property
    def translation(self) -> npt.NDArray[np.float64]:
        """(3,), metres: origin of `child` in `parent`."""
        return self.matrix[:3, 3]

    def apply(self, points: Points) -> npt.NDArray[np.float64]:
        """Map (N, 3) or (3,) points, metres, from `child` to `parent`."""
        return np.asarray(points, np.float64) @ self.rotation.T + self.translation

    def inverse(self) -> Transform:
        """The transform from `parent` to `child`."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.rotation.T
        matrix[:3, 3] = -self.rotation.T @ self.translation
        return Transform(self.child, self.parent, matrix)

    def __matmul__(self, other: Transform) -> Transform:
        """Chain: (a_T_b) @ (b_T_c) = a_T_c.

        Raises:
            TransformError: this transform's child is not the other's parent.
        """
        if self.child != other.parent:
            raise TransformError(
                self.parent,
                other.child,
                f"{self.parent}_T_{self.child} does not chain with {other.parent}_T_{other.child}",
            )
        return Transform(self.parent, other.child, self.matrix @ other.matrix)


@dataclass(frozen=True, eq=False)
class RobotPixels:
    """What a depth image measured of the robot itself, and was taken out of it.

    Args:
        depth: (H, W) float32, metres where a point was taken out, NaN elsewhere.
        own: (H, W) bool, which of these points are the robot's; the others are no farther from it than its padding.
    """

    depth: Depth
    own: Mask


@dataclass(frozen=True, eq=False)
class RgbdFrame:
    """One colour image with depth registered to it.

    Args:
        rgb: (H, W, 3) uint8, RGB order.
        depth: (H, W) float32, metres along optical z, NaN where not measured.
        camera: intrinsics of both images.
        stamp_ns: time of exposure, nanoseconds.
        frame_id: optical frame of the camera (z forward, x right, y down).
        base_T_camera: maps `frame_id` to the frame poses are wanted in, at `stamp_ns`; its parent has z up (REP-103),
            for "up" is taken from it. None = poses in `frame_id`.
        up: (3,) direction against gravity in `frame_id` as an IMU gives it; None = unknown.
        camera_T_speaker: where the person who speaks is (x ahead, z up), at `stamp_ns`; its parent is `frame_id`.
            None = not known: "my left" is FRAME_UNDEFINED.
        robot: what `depth` leaves out as the robot's own (planning.self_mask); None = nothing was taken out.

    Raises:
        ShapeError: an array has the wrong shape or dtype, or sizes differ.
        InputError: `up` is no direction.
        TransformError: `base_T_camera` or `camera_T_speaker` does not fit `frame_id`.
    """

    rgb: Rgb
    depth: Depth
    camera: PinholeCamera
    stamp_ns: int = 0
    frame_id: str = "camera_color_optical_frame"
    base_T_camera: Transform | None = None
    up: npt.NDArray[np.float64] | None = None
    camera_T_speaker: Transform | None = None
    robot: RobotPixels | None = None

    def __post_init__(self) -> None:
        _check_frame_id("image", self.frame_id)
        if not isinstance(self.camera, PinholeCamera):
            raise InputError("camera", type(self.camera).__name__, "a PinholeCamera", "build one from CameraInfo")
        for name, transform in (("base_T_camera", self.base_T_camera), ("camera_T_speaker", self.camera_T_speaker)):
            if transform is not None and not isinstance(transform, Transform):
                got = type(transform).__name__
                raise InputError(name, got, "a Transform", "write Transform(parent, child, matrix)")
        size = (self.camera.height, self.camera.width)
        images: list[tuple[str, object, tuple[int, ...], type]] = [
            ("rgb", self.rgb, (*size, 3), np.uint8), ("depth", self.depth, size, np.float32),
        ]  # fmt: skip
        if self.robot is not None:
            if not isinstance(self.robot, RobotPixels):
                got = type(self.robot).__name__
                raise InputError("robot", got, "RobotPixels", "take the robot out with planning.self_mask.remove_self")
            images += [
                ("robot.depth", self.robot.depth, size, np.float32),
                ("robot.own", self.robot.own, size, np.bool_),
            ]
        for name, array, shape, dtype in images:
            if not isinstance(array, np.ndarray):
                raise InputError(
                    name, type(array).__name__, f"a NumPy array {shape}", f"pass the {name} image; none was given"
                )
            if array.shape != shape or array.dtype != dtype:
                raise ShapeError(name, expected=f"{shape} {np.dtype(dtype)}", received=f"{array.shape} {array.dtype}")
        if self.base_T_camera is not None and self.base_T_camera.child != self.frame_id:
            raise TransformError(
                self.base_T_camera.parent,
                self.base_T_camera.child,
                f"the frame's images are in {self.frame_id!r}, not in its child",
            )
        if self.camera_T_speaker is not None and self.camera_T_speaker.parent != self.frame_id:
            raise TransformError(
                self.camera_T_speaker.parent,
                self.camera_T_speaker.child,
                f"the frame's images are in {self.frame_id!r}, not in its parent",
            )
        if self.up is not None:
            up = _direction(self.up, "up", "pass minus the IMU's gravity, in the camera frame")
            object.__setattr__(self, "up", up)
            if self.base_T_camera is not None and float(self.base_T_camera.rotation[2] @ up) < _UP_AGREES:
                raise InputError(
                    "up", "more than 15° from the z axis of base_T_camera's parent", "both to agree",
                    "give minus gravity, not gravity; check the mounting transform and that its parent has z up",
                )  # fmt: skip

    @cached_property
    def with_robot(self) -> Depth:
        """(H, W) depth of whatever is seen, the robot too: what hides other things does so whosever it is."""
        if self.robot is None:
            return self.depth
        return np.where(self.robot.own, self.robot.depth, self.depth)


@dataclass(frozen=True, eq=False)
class Detection:
    """One thing found in the picture, by whatever detector.

    Args:
        id: unique within the frame.
        label: what the detector calls it, for example "soup can".
        score: detector's confidence, 0 to 1.
        box_xyxy: (4,) pixels, left, top, right, bottom.
        mask: (H, W) bool of the whole image, or None.
        attributes: words the detector gives, for example ("red", "metal").
        front: (3,) direction in the camera frame that its front faces (a chair's, a car's, a stove's), from a pose
            estimator; None = not known, or it has none.

    Raises:
        InputError: box not finite or inverted, score outside 0..1, mask empty or no bool image.
    """

    id: str
    label: str
    score: float
    box_xyxy: tuple[float, float, float, float]
    mask: Mask | None = None
    attributes: tuple[str, ...] = ()
    front: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.front is not None:
            front = _direction(self.front, f"front of detection {self.id!r}", "leave it out where it is not known")
            object.__setattr__(self, "front", tuple(float(v) for v in front))
        try:
            box = tuple(float(b) for b in self.box_xyxy)
            score = float(self.score)
        except (TypeError, ValueError) as error:
            got = f"box {self.box_xyxy!r}, score {self.score!r}"
            raise InputError(f"detection {self.id!r}", got, "numbers", "give the box as x0, y0, x1, y1") from error
        if not isinstance(self.id, str) or not isinstance(self.label, str):
            got = f"id {self.id!r}, label {self.label!r}"
            raise InputError("detection", got, "two strings", "give every detection an id and a label")
        object.__setattr__(self, "score", score)
        object.__setattr__(self, "box_xyxy", box)
        if isinstance(self.attributes, str) or not all(isinstance(a, str) for a in self.attributes or ()):
            got = repr(self.attributes)
            raise InputError(f"attributes of detection {self.id!r}", got, "strings", 'give a list of words: ("red",)')
        object.__setattr__(self, "attributes", tuple(self.attributes or ()))
        if len(box) != 4 or not np.isfinite(box).all() or box[2] <= box[0] or box[3] <= box[1]:
            raise InputError(
                f"box of detection {self.id!r}",
                str(box),
                "four finite numbers, left < right, top < bottom",
                "give pixels as x0, y0, x1, y1",
            )
        if not 0.0 <= self.score <= 1.0:
            raise InputError(f"score of detection {self.id!r}", str(self.score), "0 to 1", "give a probability")
        if self.mask is not None:
            if not isinstance(self.mask, np.ndarray) or self.mask.ndim != 2 or self.mask.dtype != np.bool_:
                raise ShapeError(
                    f"mask of detection {self.id!r}",
                    "(H, W) bool",
                    f"{np.shape(self.mask)} {np.asarray(self.mask).dtype}",
                )
            if not self.mask.any():
                raise InputError(
                    f"mask of detection {self.id!r}",
                    "no pixel set",
                    "at least one pixel",
                    "drop the detection, or give its box without a mask",
                )


# ------------------------------------------------------------------------------------------------ scene


@dataclass(frozen=True, eq=False)
class Plane:
    """Support plane n·p + d = 0 in the camera frame; n (3,) unit, towards the camera's side; rms in metres."""

    normal: npt.NDArray[np.float64]
    offset: float
    rms: float

    def height(self, points: Points) -> npt.NDArray[np.float64]:
        """Signed distance of (N, 3) points above the plane, metres."""
        return np.asarray(points, np.float64) @ self.normal + self.offset


@dataclass(frozen=True, eq=False)
class OrientedBox:
    """Gravity-up box in the camera frame.

    Args:
        centre: (3,) metres.
        axes: (3, 3) columns: x along the longer horizontal side and away from the camera, z up, y = z × x.
        size: (3,) metres along those axes.
    """

    centre: npt.NDArray[np.float64]
    axes: npt.NDArray[np.float64]
    size: npt.NDArray[np.float64]

    def corners(self) -> npt.NDArray[np.float64]:
        """(8, 3) metres, camera frame."""
        signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
        return self.centre + (signs * self.size / 2) @ self.axes.T


@dataclass(frozen=True, eq=False)
class SceneObject:
    """One detection lifted to metres, in the camera frame.

    Args:
        detection: what was detected.
        points: (N, 3) float32, metres: the cleaned visible surface; empty when `depth_problem` is set.
        surface_centre: (3,) metres: median of the visible surface.
        box: gravity-up box around the estimated volume; its centre is the estimated volume centre.
        footprint: (16, 3) metres: corners of the estimated outline seen from above, at the height of the box's centre.
        covariance: (6, 6): of the volume centre (m²) and of the box's rotation about x, y, z (rad²).
        yaw_known: False for a footprint as long as wide: its heading cannot be told.
        visible_fraction: part of the estimated silhouette that nothing nearer covers, 0 to 1.
        occluder: id of the detection that hides most of the rest, or None.
        truncated: the picture's border cuts it.
        valid_fraction: part of its pixels with measured depth.
        depth_problem: why its depth cannot be trusted, in words; None = it can.
        cut: metres by which it may go on behind something nearer or off the picture, sideways.
        cut_above: the same upwards.
    """

    detection: Detection
    points: npt.NDArray[np.float32]
    surface_centre: npt.NDArray[np.float64]
    box: OrientedBox
    footprint: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]
    yaw_known: bool = True
    visible_fraction: float = 1.0
    occluder: str | None = None
    truncated: bool = False
    valid_fraction: float = 1.0
    depth_problem: str | None = None
    cut: float = 0.0
    cut_above: float = 0.0

    @property
    def id(self) -> str:
        """The detection's id."""
        return self.detection.id


@dataclass(frozen=True, eq=False)
class Scene:
    """All objects of one frame, in its camera frame.

    Args:
        objects: one for each detection, in the detector's order, but for those of the robot.
        up: (3,) unit, against gravity.
        up_from: where `up` came from.
        support: the plane the objects stand on, or None when none was seen.
        frame: the observation.
        of_robot: detections that show nothing but the robot itself: they are no objects.
    """

    objects: tuple[SceneObject, ...]
    up: npt.NDArray[np.float64]
    up_from: UpSource
    support: Plane | None
    frame: RgbdFrame
    of_robot: tuple[Detection, ...] = ()


# ------------------------------------------------------------------------------------------------ language


@dataclass(frozen=True)
class Ordinal:
    """Place in an order: the n-th (from 1) counted from `from_` ("left", "right", "near", "far", "top", "bottom")."""

    n: int
    from_: str


@dataclass(frozen=True)
class NounPhrase:
    """What words say of one thing (or of several, with `count`).

    Args:
        category: the noun as said, singular, compounds joined by a space; "object" for "thing", "it", "one".
        attributes: colours, sizes, materials and the like, as said.
        count: number stated, None when singular; -1 for a plural without a number or "all".
        superlative: canonical word ("leftmost", "nearest", "tallest", …) or None.
        ordinal: or None.
        relations: clauses that restrict it, in the order said.
        frame: frame of reference stated for the superlative or ordinal, or None.
        choice: "any" where it was said that any one will do ("any mug", "either cup", "one of the bowls"), else None.
    """

    category: str
    attributes: tuple[str, ...] = ()
    count: int | None = None
    superlative: str | None = None
    ordinal: Ordinal | None = None
    relations: tuple[RelationClause, ...] = ()
    frame: FrameOfReference | None = None
    choice: Literal["any"] | None = None

    @property
    def stated_frame(self) -> FrameOfReference | None:
        """Frame of the viewer from whom its order or a relation of its own was said to be seen, or None.

        What is said of it later without a frame ("the left one") is seen from there, too.
        """
        stated = (self.frame, *(clause.frame for clause in self.relations))
        return next((frame for frame in stated if frame not in (None, FrameOfReference.OBJECT)), None)


@dataclass(frozen=True)
class Distance:
    """A distance said in words, between outlines: "10 cm left of", "within 20 cm of", "more than a metre from".

    Args:
        metres: the number said, in metres.
        bound: whether it is met, not exceeded, or exceeded.
    """

    metres: float
    bound: Literal["about", "at most", "at least"] = "about"


@dataclass(frozen=True)
class RelationClause:
    """One relation to one or two anchors.

    Args:
        relation: canonical plain English name, see docs/relations.md.
        anchors: the things related to.
        frame: frame of reference stated in words, or None.
        negated: "not behind".
        distance: distance stated with it, or None.
    """

    relation: str
    anchors: tuple[NounPhrase, ...]
    frame: FrameOfReference | None = None
    negated: bool = False
    distance: Distance | None = None


@dataclass(frozen=True)
class Destination:
    """Where a moved thing is to go: a relation to anchors, perhaps at a stated distance."""

    relation: str
    anchors: tuple[NounPhrase, ...]
    frame: FrameOfReference | None = None
    distance: Distance | None = None


@dataclass(frozen=True)
class Step:
    """One command of a sentence that gives several: "open the drawer" of "open the drawer and put the bowl in it"."""

    action: str
    target: NounPhrase
    destination: Destination | None = None


@dataclass(frozen=True)
class SpatialQuery:
    """One reading of an instruction. `parse` returns all readings, the preferred one first.

    Args:
        instruction: the words, as given.
        action: canonical verb ("pick", "give", "place", "find", …).
        target: the thing to act on.
        destination: where to put it, or None.
        readings: number of readings the instruction has.
        preference: share of this reading from the words alone, 0 to 1; the readings' shares sum to 1.
        steps: all commands in the order said, where there are several; `action`, `target` and `destination` are
            those of the one that is resolved. Empty for one command.
    """

    instruction: str
    action: str
    target: NounPhrase
    destination: Destination | None = None
    readings: int = 1
    preference: float = 1.0
    steps: tuple[Step, ...] = ()


# ------------------------------------------------------------------------------------------------ resolution

Vector3 = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


@dataclass(frozen=True)
class Pose:
    """Position in metres and orientation (x, y, z, w) in `frame_id`."""

    frame_id: str
    position: Vector3
    orientation: Quaternion


@dataclass(frozen=True)
class GraspHint:
    """Top-down grasp: gripper yaw about the up axis of the pose's frame (rad, None = any) and opening width (m)."""

    yaw: float | None
    width: float


@dataclass(frozen=True)
class Target:
    """The chosen object.

    Args:
        id: detection id.
        label: detector's label.
        pose: estimated volume centre and gravity-up box axes.
        surface_position: measured centre of the visible surface, metres, same frame.
        size: box size along the pose's axes, metres.
        covariance: 36 numbers, row-major 6×6 (x, y, z, rotation about x, y, z), m² and rad², same frame.
        yaw_known: False when the footprint is as long as wide.
        grasp: top-down grasp hint.
        visible_fraction: part of the estimated silhouette that nothing nearer covers.
        truncated: the picture's border cuts it; its size is that of the part inside.
    """

    id: str
    label: str
    pose: Pose
    surface_position: Vector3
    size: Vector3
    covariance: tuple[float, ...]
    yaw_known: bool
    grasp: GraspHint
    visible_fraction: float = 1.0
    truncated: bool = False


@dataclass(frozen=True)
class Place:
    """A spot to put something.

    Args:
        pose: of the support contact: the middle of the footprint on what will carry it, z up.
        anchor_id: detection it was found from, "support" for the support plane.
        carrier_id: what will carry it: a detection, or "support".
        margin_m: how far the stated relation is from its border there, metres.
        clearance_m: free distance around the footprint, metres.
        stability_m: how far the footprint's middle lies inside what carries it, metres; None on the open support plane.
        probability: that the relation holds there.
    """

    pose: Pose
    anchor_id: str
    carrier_id: str = "support"
    margin_m: float = 0.0
    clearance_m: float = 0.0
    stability_m: float | None = None
    probability: float = 0.0


@dataclass(frozen=True)
class ClauseMeasurement:
    """How one clause measures for one candidate.

    Args:
        relation: canonical name; superlatives and ordinals are listed under their own word.
        anchor_ids: the anchors it was measured against (the likeliest ones).
        margin_m: signed margin in metres; positive = holds; None when it could not be measured.
        state: holds, fails or unclear.
        likelihood: probability that the clause is true, from depth noise and object size.
    """

    relation: str
    anchor_ids: tuple[str, ...]
    margin_m: float | None
    state: ClauseState
    likelihood: float


@dataclass(frozen=True)
class Candidate:
    """One object the words may mean.

    Args:
        id: detection id.
        label: detector's label.
        probability: share of the posterior mass.
        clauses: one measurement for each clause of the phrase, nested ones after their own.
    """

    id: str
    label: str
    probability: float
    clauses: tuple[ClauseMeasurement, ...] = ()


@dataclass(frozen=True)
class OfferedAnswer:
    """One answer to a question.

    Args:
        text: words that the parser understands, for example "the left one"; sent with the question's dialogue_id.
        ids: detection ids of the candidates that they mean; one where the answer settles it.
    """

    text: str
    ids: tuple[str, ...]


@dataclass(frozen=True)
class HiddenRegion:
    """A part of the scene that cannot be seen and is large enough to hide something.

    Args:
        occluder_id: detection that hides it.
        position: centre, metres, in `frame_id`.
        size: along the viewing direction on the ground, across it, and up, metres.
        frame_id: frame of `position`.
    """

    occluder_id: str
    position: Vector3
    size: Vector3
    frame_id: str


@dataclass(frozen=True)
class SecondOpinion:
    """What a model answered that was asked for the whole phrase, beside the answer of the geometry.

    Args:
        words: what it was asked for.
        geometric_id: the answer of the geometry alone; None without a candidate.
        geometric_probability: of that one by the geometry alone; where it was an answer, how often such answers are
            right.
        named_id: the thing that the model named; None = nothing, or not one thing of the scene: no opinion.
        named_probability: of that one by the geometry alone; 0 without an opinion.
        combined_probability: of the geometry's answer, once the opinion is weighed; equal to `geometric_probability`
            where the opinion does not count.
        relations: keys that the model's reliability was looked up by: what the phrase says, "left of (robot)".
        reliability: measured probability that it names the right thing, of the least reliable of `relations`; None
            where one of them was not measured.
        effect: what became of the answer: reported (nothing), confirmed, disagreed or settled (a tie).
        reason: why, in words.
    """

    words: str
    geometric_id: str | None
    geometric_probability: float
    named_id: str | None
    named_probability: float
    combined_probability: float
    relations: tuple[str, ...]
    reliability: float | None
    effect: Literal["reported", "confirmed", "disagreed", "settled"]
    reason: str


@dataclass(frozen=True)
class Resolution:
    """The answer to one instruction: a target, or a refusal with its reason. JSON is written from this very class.

    Args:
        instruction: the words, as given.
        status: name of the outcome; `code` is its number.
        code: number of `status`.
        message: the outcome in words for a person, with the repair where there is one.
        target: only when OK.
        targets: all that are meant, nearest first, where several were asked for ("both mugs"); else empty.
        place: only when OK and a destination was asked for.
        places: all spots, best first, where one was asked for; `place` is the first.
        candidates: what the words may mean, likeliest first.
        frame_of_reference: the one in force, whether or not a relation needed it; None when no scene was built.
        up_from: where "up" came from; None when no scene was built.
        question: asked when an answer would settle the matter.
        answers: to the question, each with what it means; empty where other words are needed, and without a question.
        dialogue_id: set with `question` and when OK; an answer ("the red one", "no, the other one") refers to it.
        hidden_regions: where a thing that was not found could be.
        confidence: probability that the answer is right; for refusals the likeliest candidate's share, 0 before any
            measurement.
        query: the reading that was answered; None when the words were not understood.
        stamp_ns: the frame's stamp.
        frame: name of the frame, where one was given (frame folders).
        ms: wall time of the whole request, milliseconds; not part of equality.
        timings_ms: the same by step; not part of equality.
        schema: version of this layout.
        second_opinion: of a model that was asked for the whole phrase; None where none was.
    """

    instruction: str
    status: Status
    message: str
    code: int = -1
    target: Target | None = None
    place: Place | None = None
    candidates: tuple[Candidate, ...] = ()
    frame_of_reference: FrameOfReference | None = None
    up_from: UpSource | None = None
    question: str | None = None
    dialogue_id: str | None = None
    hidden_regions: tuple[HiddenRegion, ...] = ()
    confidence: float = 0.0
    query: SpatialQuery | None = None
    stamp_ns: int = 0
    frame: str | None = None
    ms: float = field(default=0.0, compare=False)
    timings_ms: Mapping[str, float] = field(default_factory=dict, compare=False)
    schema: Literal[1] = 1
    targets: tuple[Target, ...] = ()
    places: tuple[Place, ...] = ()
    second_opinion: SecondOpinion | None = None
    answers: tuple[OfferedAnswer, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", self.status.code)
        if (self.target is not None) != (self.status is Status.OK):
            raise ValueError(f"a resolution has a target exactly when it is OK; status is {self.status.value}")
        if (self.targets and self.targets[0] != self.target) or (self.places and self.places[0] != self.place):
            raise ValueError("the first of the targets is the target, and the first of the places is the place")
        if self.places and self.status is not Status.OK:
            raise ValueError(f"a resolution has places only when it is OK; status is {self.status.value}")
