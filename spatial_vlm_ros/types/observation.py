# SPDX-License-Identifier: Apache-2.0
"""Inputs from a camera and a detector: intrinsics, transforms, one RGB-D frame, detections."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.budgets import LARGEST_BOX, LONGEST_LABEL
from spatial_vlm_ros.errors import FrameInconsistentError, InputError, ShapeError, TransformError
from spatial_vlm_ros.types.arrays import Depth, Mask, Points, Rgb
from spatial_vlm_ros.types.domain import IMAGE_DOMAINS, ImageDomain
from spatial_vlm_ros.types.shape import ObjectShape
from spatial_vlm_ros.types.status import UpSource


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


_FARTHEST = 1e5  # metres; no robot reaches farther, and float precision gets worse than millimetres


def _check_frame_id(what: str, name: object) -> None:
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{what} frame id", repr(name), "a name", "copy it from the message header or camera_info")


DISTORTION_LENGTHS: Mapping[str, tuple[int, ...]] = {
    "plumb_bob": (0, 4, 5),
    "rational_polynomial": (0, 8),
    "equidistant": (0, 4),
}
"""Numbers of distortion coefficients that a camera of each model may have."""


@dataclass(frozen=True, eq=False)
class PinholeCamera:
    """Intrinsics of one camera, as in sensor_msgs/CameraInfo.

    Args:
        K: (3, 3) float64, pixels; (0, 0) is the centre of the top-left pixel.
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
            what = "distortion D"
            raise InputError(what, repr(self.D), "numbers", "copy D from CameraInfo, or omit it") from error
        if not all(isinstance(n, (int, np.integer)) for n in (self.width, self.height)):
            got = f"{self.width!r}x{self.height!r}"
            raise InputError("camera size", got, "whole numbers", "copy them from CameraInfo")
        if self.width <= 0 or self.height <= 0:
            repair = "read width and height from CameraInfo"
            raise InputError("camera size", f"{self.width}x{self.height}", "positive width and height", repair)
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
                "finite values, fx > 0, fy > 0, no skew, last row 0 0 1",
                "calibrate the camera, or take K from a CameraInfo that is published by a calibrated driver",
            )
        span = max(self.width, self.height)
        focal, centre = K[[0, 1], [0, 1]], np.abs(K[:2, 2])
        if focal.min() < 0.02 * span or focal.max() > 100 * span or centre.max() > 10 * span:
            raise InputError(
                "camera K",
                np.array2string(K.reshape(-1), precision=4),
                f"focal lengths and centre in pixels of an image of {self.width}x{self.height}",
                "if K is normalised, multiply fx, cx by the width and fy, cy by the height; if it belongs to another "
                "resolution, scale it",
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
        """True if pixels follow K alone, without distortion.

        The equidistant model bends pixels even if its coefficients are zero.
        """
        return not self.D or (self.distortion_model != "equidistant" and not any(self.D))


@dataclass(frozen=True, eq=False)
class Transform:
    """Rigid transform with named frames: maps coordinates in `child` to coordinates in `parent`.

    The docs write `Transform("base_link", "camera", m)` as base_T_camera. In a chain the inner frames cancel:
    `base_T_camera @ camera_T_object`.

    Args:
        matrix: (4, 4) float64, metres.

    Raises:
        TransformError: the matrix is not a rigid transform, or the frames do not match.
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
                f"its 3x3 part is not a rotation (R Rt differs from 1 by {np.abs(R @ R.T - np.eye(3)).max():.3g}, "
                f"determinant {np.linalg.det(R):.3g})",
                "write the rotation with at least 5 decimals, and check the calibration",
            )
        if self.parent == self.child and not np.allclose(matrix, np.eye(4), atol=1e-3):
            raise TransformError(self.parent, self.child, "parent and child are the same frame")
        if np.abs(matrix[:3, 3]).max() > _FARTHEST:
            raise TransformError(
                self.parent, self.child, f"its translation is longer than {_FARTHEST:.0f} m; use metres"
            )
        U, _, Vt = np.linalg.svd(R)  # the nearest rotation: small errors within the tolerance are corrected once
        exact = matrix.copy()
        exact[:3, :3] = U @ Vt
        exact[3] = (0.0, 0.0, 0.0, 1.0)
        exact.setflags(write=False)
        object.__setattr__(self, "matrix", exact)

    @property
    def rotation(self) -> npt.NDArray[np.float64]:
        """(3, 3) float64 rotation parent_R_child."""
        return self.matrix[:3, :3]

    @property
    def translation(self) -> npt.NDArray[np.float64]:
        """(3,) float64, metres: origin of `child` in `parent`."""
        return self.matrix[:3, 3]

    def apply(self, points: Points) -> npt.NDArray[np.float64]:
        """Map (N, 3) or (3,) points, metres, from `child` to `parent`; same shape, float64."""
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
            TransformError: the child of this transform is not the parent of the other.
        """
        if self.child != other.parent:
            reason = f"{self.parent}_T_{self.child} does not chain with {other.parent}_T_{other.child}"
            raise TransformError(self.parent, other.child, reason)
        return Transform(self.parent, other.child, self.matrix @ other.matrix)


@dataclass(frozen=True, eq=False)
class RobotPixels:
    """Depth measured on the robot itself, which was removed from a depth image.

    Args:
        depth: (H, W) float32, metres where a point was removed, NaN elsewhere.
        own: (H, W) bool, True where such a point belongs to the robot; the others lie within the padding around it.
    """

    depth: Depth
    own: Mask


@dataclass(frozen=True, eq=False)
class RgbdFrame:
    """One colour image with depth registered to it.

    Args:
        rgb: (H, W, 3) uint8, RGB order.
        depth: (H, W) float32, metres along optical z, NaN where not measured.
        stamp_ns: time of exposure, nanoseconds.
        frame_id: optical frame of the camera (z forward, x right, y down).
        base_T_camera: maps `frame_id` to the frame that poses are given in, at `stamp_ns`. Its parent must have z up
            (REP-103), because "up" is taken from it. None = poses in `frame_id`.
        up: (3,) direction against gravity in `frame_id`, from an IMU; None = unknown.
        camera_T_speaker: pose of the person who speaks (x ahead, z up), at `stamp_ns`; its parent is `frame_id`. None =
            unknown; "my left" then gives FRAME_UNDEFINED.
        robot: depth of the robot itself that was removed from `depth` (manipulation.planning.hulls); None =
            nothing.
        domain: source of the image: "simulated", "real", or "unknown". Detectors trained only on simulated images are
            used only on simulated images (perception.domain).

    Raises:
        ShapeError: an array has the wrong shape or dtype, or sizes differ.
        InputError: `up` is not a direction, or `domain` is not one of the three words.
        TransformError: the frames of `base_T_camera` or `camera_T_speaker` do not match `frame_id`.
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
    domain: ImageDomain = "unknown"

    def __post_init__(self) -> None:
        _check_frame_id("image", self.frame_id)
        if not isinstance(self.camera, PinholeCamera):
            raise InputError("camera", type(self.camera).__name__, "a PinholeCamera", "build one from CameraInfo")
        for name, transform in (("base_T_camera", self.base_T_camera), ("camera_T_speaker", self.camera_T_speaker)):
            if transform is not None and not isinstance(transform, Transform):
                got = type(transform).__name__
                raise InputError(name, got, "a Transform", "use Transform(parent, child, matrix)")
        if self.domain not in IMAGE_DOMAINS:
            raise InputError("domain of the image", repr(self.domain), " or ".join(IMAGE_DOMAINS))
        size = (self.camera.height, self.camera.width)
        images: list[tuple[str, object, tuple[int, ...], type]] = [
            ("rgb", self.rgb, (*size, 3), np.uint8), ("depth", self.depth, size, np.float32),
        ]  # fmt: skip
        if self.robot is not None:
            if not isinstance(self.robot, RobotPixels):
                got = type(self.robot).__name__
                raise InputError(
                    "robot", got, "RobotPixels", "remove the robot with manipulation.planning.hulls.remove_self"
                )
            images += [
                ("robot.depth", self.robot.depth, size, np.float32),
                ("robot.own", self.robot.own, size, np.bool_),
            ]
        for name, array, shape, dtype in images:
            if not isinstance(array, np.ndarray):
                repair = f"pass the {name} image"
                raise InputError(name, type(array).__name__, f"a NumPy array {shape}", repair)
            if array.shape != shape or array.dtype != dtype:
                raise ShapeError(name, expected=f"{shape} {np.dtype(dtype)}", received=f"{array.shape} {array.dtype}")
        if self.base_T_camera is not None and self.base_T_camera.child != self.frame_id:
            reason = f"its child is not {self.frame_id!r}, the frame of the images"
            raise TransformError(self.base_T_camera.parent, self.base_T_camera.child, reason)
        if self.camera_T_speaker is not None and self.camera_T_speaker.parent != self.frame_id:
            raise TransformError(
                self.camera_T_speaker.parent,
                self.camera_T_speaker.child,
                f"its parent is not {self.frame_id!r}, the frame of the images",
            )
        if self.up is not None:
            up = _direction(self.up, "up", "pass the negative gravity vector of the IMU, in the camera frame")
            object.__setattr__(self, "up", up)

    @cached_property
    def with_robot(self) -> Depth:
        """(H, W) float32 depth of everything visible, including the robot, metres.

        For occlusion it does not matter whether an occluder belongs to the robot.
        """
        if self.robot is None:
            return self.depth
        return np.where(self.robot.own, self.robot.depth, self.depth)


@dataclass(frozen=True, eq=False)
class Detection:
    """One object found in the image by a detector.

    Args:
        id: unique within the frame.
        label: the detector's name for it, for example "soup can".
        score: detector's confidence, 0 to 1.
        box_xyxy: (4,) pixels, left, top, right, bottom.
        mask: (H, W) bool of the whole image, or None.
        attributes: words the detector gives, for example ("red", "metal").
        front: (3,) direction in the camera frame that the object's front faces (for a chair, a car, a stove), from a
            pose estimator; None = unknown, or it has no front.
        pointed: the box is only a few pixels around a point that a model put on the object; geometry computes mask and
            box from it if possible.

    Raises:
        InputError: the box is not finite or inverted, the score is outside 0..1, or the mask is empty or not a bool
            image.
    """

    id: str
    label: str
    score: float
    box_xyxy: tuple[float, float, float, float]
    mask: Mask | None = None
    attributes: tuple[str, ...] = ()
    front: tuple[float, float, float] | None = None
    pointed: bool = False

    def __post_init__(self) -> None:
        if self.front is not None:
            front = _direction(self.front, f"front of detection {self.id!r}", "omit it if it is unknown")
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
        if max(len(self.id), len(self.label)) > LONGEST_LABEL:
            got, expected = f"{max(len(self.id), len(self.label))} characters", f"{LONGEST_LABEL} at most"
            raise InputError("id or label of a detection", got, expected, "give the name of an object")
        object.__setattr__(self, "score", score)
        object.__setattr__(self, "box_xyxy", box)
        if isinstance(self.attributes, str) or not all(isinstance(a, str) for a in self.attributes or ()):
            got = repr(self.attributes)
            raise InputError(f"attributes of detection {self.id!r}", got, "strings", 'give a list of words: ("red",)')
        object.__setattr__(self, "attributes", tuple(self.attributes or ()))
        if len(box) != 4 or not np.abs(box).max() <= LARGEST_BOX or box[2] <= box[0] or box[3] <= box[1]:
            expected = f"four numbers to {LARGEST_BOX:g}, left smaller than right, and top smaller than bottom"
            repair = "write [left, top, right, bottom] in pixels, not [left, top, width, height]"
            raise InputError(f"box of detection {self.id!r}", str(box), expected, repair)
        if not 0.0 <= self.score <= 1.0:
            raise InputError(f"score of detection {self.id!r}", str(self.score), "0 to 1", "give a probability")
        if self.mask is not None:
            if not isinstance(self.mask, np.ndarray) or self.mask.ndim != 2 or self.mask.dtype != np.bool_:
                received = f"{np.shape(self.mask)} {np.asarray(self.mask).dtype}"
                raise ShapeError(f"mask of detection {self.id!r}", "(H, W) bool", received)
            if not self.mask.any():
                repair = "drop the detection, or pass its box without a mask"
                raise InputError(f"mask of detection {self.id!r}", "no pixel is set", "at least one pixel", repair)


# Measured objects in metres in the camera frame, and the surface they stand on.


@dataclass(frozen=True, eq=False)
class Plane:
    """Support plane n·p + d = 0 in the camera frame.

    Args:
        normal: (3,) unit, pointing to the camera's side.
        offset: d, metres.
        rms: root mean square of the distances of the points it was fitted to, metres.
        sigma: standard deviation of its height at the measured points, metres.
        sigma_tilt: standard deviation of its inclination, radians, about the axis in the plane with the largest
            uncertainty.
    """

    normal: npt.NDArray[np.float64]
    offset: float
    rms: float
    sigma: float = 0.0
    sigma_tilt: float = 0.0

    def height(self, points: Points) -> npt.NDArray[np.float64]:
        """Signed height (N,) of (N, 3) points above the plane, metres."""
        return np.asarray(points, np.float64) @ self.normal + self.offset


@dataclass(frozen=True, eq=False)
class OrientedBox:
    """Gravity-aligned box in the camera frame.

    Args:
        centre: (3,) metres.
        axes: (3, 3) columns: x along the longer horizontal side and away from the camera, z up, y = z × x.
        size: (3,) metres along those axes.
    """

    centre: npt.NDArray[np.float64]
    axes: npt.NDArray[np.float64]
    size: npt.NDArray[np.float64]

    def corners(self) -> npt.NDArray[np.float64]:
        """(8, 3) float64 corners, metres, camera frame."""
        signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
        return self.centre + (signs * self.size / 2) @ self.axes.T


@dataclass(frozen=True, eq=False)
class SceneObject:
    """One detection lifted to metres, in the camera frame.

    Args:
        points: (N, 3) float32, metres: the cleaned visible surface; empty when `depth_problem` is set.
        surface_centre: (3,) metres: median of the visible surface.
        box: gravity-aligned box around the estimated volume; its centre is the estimated volume centre.
        footprint: (16, 3) metres: corners of the estimated outline seen from above, at the height of the box's centre.
        covariance: (6, 6): of the volume centre (m²) and of the box's rotation about x, y, z (rad²).
        yaw_known: False if the heading is unknown because the footprint is as long as wide.
        visible_fraction: fraction of the estimated silhouette that nothing nearer covers, 0 to 1.
        occluder: id of the detection that hides most of the rest, or None.
        truncated: True if the image border cuts it.
        valid_fraction: fraction of its pixels with measured depth.
        depth_problem: why its depth cannot be trusted, in words; None if it can.
        cut: metres by which it may continue sideways, behind something nearer or off the image.
        cut_above: the same upwards.
        shape: how its hidden side was found; None if it is not measured.
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
    shape: ObjectShape | None = None

    @property
    def id(self) -> str:
        """The detection's id."""
        return self.detection.id


class Verdict(str, enum.Enum):
    """Result of one check of a frame."""

    HOLDS = "holds"
    CONTRADICTS = "contradicts"
    UNMEASURED = "not_measured"


@dataclass(frozen=True)
class Check:
    """One check of a frame.

    Args:
        verdict: not_measured if the frame does not show enough.
        measured: in `unit`; None if not measured, or no number.
        expected: least and most that agree, in `unit`.
        unit: of both; "" for a factor.
        found: what was measured, in words, or why nothing was.
        fix: what to do about a contradiction, or about what may be one; "" without.
    """

    name: str
    verdict: Verdict
    measured: float | None = None
    expected: tuple[float, float] | None = None
    unit: str = ""
    found: str = ""
    fix: str = ""


@dataclass(frozen=True)
class FrameEvidence:
    """All checks of a frame, in the order in which to repair what contradicts."""

    checks: tuple[Check, ...] = ()

    @property
    def contradiction(self) -> Check | None:
        """The likeliest cause: the first check that contradicts; None if none does."""
        return next((check for check in self.checks if check.verdict is Verdict.CONTRADICTS), None)

    @property
    def error(self) -> FrameInconsistentError | None:
        """Why no request is answered on the frame; None if no check contradicts."""
        wrong = self.contradiction
        if wrong is None:
            return None
        return FrameInconsistentError(f"the frame contradicts itself ({wrong.name}): {wrong.found}", wrong.fix)

    def require(self) -> None:
        """Raise `error`, if there is one."""
        error = self.error
        if error is not None:
            raise error


@dataclass(frozen=True)
class UnexplainedRegion:
    """Something that stands among the objects and that no detection explains.

    Args:
        id: of the object that it becomes where the words speak of objects of any kind.
        box: left, top, right, bottom, pixels.
        position: middle of its visible surface, metres; camera frame in a scene, frame of the poses in an answer.
        area: of that surface as the camera sees it, square metres.
    """

    id: str
    box: tuple[float, float, float, float]
    position: tuple[float, float, float]
    area: float


@dataclass(frozen=True, eq=False)
class Scene:
    """All objects of one frame, in its camera frame.

    Args:
        objects: one for each detection, in the detector's order, except those of the robot.
        up: (3,) unit, against gravity.
        support: the plane the objects stand on, or None if none was seen.
        of_robot: detections that show only the robot itself; they are not in `objects`.
        evidence: whether the frame agrees with itself.
        unexplained: what stands among the objects and has no detection, largest first.
    """

    objects: tuple[SceneObject, ...]
    up: npt.NDArray[np.float64]
    up_from: UpSource
    support: Plane | None
    frame: RgbdFrame
    of_robot: tuple[Detection, ...] = ()
    evidence: FrameEvidence = field(default_factory=FrameEvidence)
    unexplained: tuple[UnexplainedRegion, ...] = ()
