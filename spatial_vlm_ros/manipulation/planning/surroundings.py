# SPDX-License-Identifier: Apache-2.0
"""The surroundings of a resolved target as serialisable data: boxes, their uncertainty, and the camera.

Everything is in the planning frame, the parent of `base_T_camera`, z up; metres. It is independent of gripper and
padding, which the planning side adds (scene.planning_scene).
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass

import cv2
import numpy as np

from spatial_vlm_ros.errors import InputError, TransformUnavailableError
from spatial_vlm_ros.geometry.camera import normalise
from spatial_vlm_ros.geometry.rotation import quaternion_xyzw_from_matrix
from spatial_vlm_ros.geometry.support import tables
from spatial_vlm_ros.manipulation.grasping.target_points import TargetPoints, target_points
from spatial_vlm_ros.manipulation.occupancy.measuring import KnownBodies, Occupancy, occupancy_of
from spatial_vlm_ros.manipulation.planning.solids import Array, Solid
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.types import Place, Pose, Resolution, RgbdFrame, Scene, SceneObject, Transform, Vector3

_WIDEST = 1280  # pixels: wider images are scaled down
_QUALITY = 85  # JPEG quality, of 100
_DIRECTIONS = 24  # number of tangents around a visible surface
_TRIMMED = 0.05  # share of its points beyond each tangent
_LEAST_POINTS = 40  # fewest points of a visible surface for comparing extents
_MOST_DOUBT = 0.02  # metres: most position uncertainty that is added to an object's box in depth
_SAME_LEVEL = 0.03  # metres from the support within which the top of a named table is the support
_DEEP, _BARE = 0.2, 0.03  # metres: half the thickness of a named table, and how far below its surface it begins
_LEVEL = 0.5  # cosine of 60 degrees: a view steeper than this shows little of an object's height


@dataclass(frozen=True)
class SurroundingObject:
    """One seen object.

    Args:
        solid: its box as measured; for an object without depth (glass, shine) a box as deep as wide where the lower
            edge of its image meets the support.
        sigma: standard deviations of the box's centre along its x, y and z, metres; None = not measured.
    """

    id: str
    label: str
    solid: Solid
    sigma: Vector3 | None

    def __post_init__(self) -> None:
        solid = self.solid
        measures = (*solid.centre, solid.yaw, *solid.size, *(self.sigma or ()))
        if not (all(map(math.isfinite, measures)) and min(*solid.size, *(self.sigma or (0.0,))) >= 0):
            got = f"a box of {solid.size} m at {solid.centre}, sigma {self.sigma}"
            raise InputError(f"object {self.id}", got, "finite numbers, and sizes of at least 0 m")


@dataclass(frozen=True)
class SceneImage:
    """The colour image of an answer. It is sent with the answer, so it cannot belong to another one.

    Args:
        stamp_ns: stamp of the image, nanoseconds.
        width: pixels, at most 1280.
        height: pixels.
        intrinsics: fx, fy, cx, cy of this image, pixels; no distortion.
        jpeg: the image as JPEG, in base64.
    """

    instruction: str
    stamp_ns: int
    width: int
    height: int
    intrinsics: tuple[float, float, float, float]
    jpeg: str

    @property
    def data(self) -> bytes:
        """The JPEG file."""
        try:
            return base64.b64decode(self.jpeg, validate=True)
        except ValueError as error:
            expected = "a JPEG file in base64"
            raise InputError("image of the scene", str(error), expected, "compare the versions of the nodes") from error


@dataclass(frozen=True)
class SeenSurface:
    """The visible surface of an object without its outermost points, for comparing two images.

    The estimated volume of a half-hidden object varies by a centimetre between images; this surface varies by one or
    two millimetres.

    Args:
        outline: (K, 2) corners, x and y in the planning frame, metres.
        low: lowest height, metres.
        high: highest height, metres.
    """

    outline: tuple[tuple[float, float], ...]
    low: float
    high: float

    def __post_init__(self) -> None:
        if len(self.outline) < 3 or not self.low <= self.high:
            got = f"{len(self.outline)} corners, heights {self.low:g} to {self.high:g} m"
            raise InputError("visible surface", got, "at least 3 corners, the lower height first")


@dataclass(frozen=True)
class Surroundings:
    """A resolved target and everything else in its image.

    Args:
        frame_id: the planning frame.
        stamp_ns: stamp of the image, nanoseconds.
        camera: pose of the camera's optical frame in the planning frame, at the stamp.
        truncated: whether the image border cuts the target, so that it is larger than its box.
        outline: (K, 2) corners of the target's estimated outline seen from above.
        support_height: height of the support plane below the target; without a plane, of the target's foot.
        support_tilt: angle of the visible plane to horizontal, radians; None without a plane.
        image: image of the answer; None from a resolver older than this field.
        all_objects: whether all objects in the image were searched for. False if the grounder searched only for objects
            in the words, or if not known: other objects are then no obstacles.
        surface: visible surface of the target; None if not given.
        target_points: measured surface of the target with normals, and its hidden space; None if too little is visible
            or not given.
        occupancy: unnamed obstacles from depth; None without depth of the way, or if not computed.
        place_height: height of the lowest place in, on or under the object `destination_id`; None without one.
    """

    frame_id: str
    stamp_ns: int
    camera: Pose
    camera_frame: str
    target: SurroundingObject
    yaw_known: bool
    truncated: bool
    outline: tuple[tuple[float, float], ...]
    others: tuple[SurroundingObject, ...]
    unplaced: tuple[str, ...]
    support_height: float
    support_tilt: float | None
    destination_id: str | None
    image: SceneImage | None = None
    all_objects: bool = False
    surface: SeenSurface | None = None
    avoid: tuple[str, ...] = ()
    target_points: TargetPoints | None = None
    occupancy: Occupancy | None = None
    place_height: float | None = None


def surroundings_of(
    scene: Scene, resolution: Resolution, all_objects: bool = False, config: ResolverConfig | None = None
) -> Surroundings:
    """Collect the surroundings of a resolved target.

    Args:
        scene: all objects of the resolved frame (geometry.lift.build_scene).
        resolution: an OK resolution of that frame.
        config: how depth becomes obstacles (`depth`, `occupancy`); None = no obstacles from depth.

    Raises:
        InputError: the resolution is a refusal, or belongs to another frame or scene.
        TransformUnavailableError: the frame has no `base_T_camera`: planning in the camera's frame is not possible.
    """
    target = resolution.target
    if target is None:
        got = f"a refusal ({resolution.status.value})"
        raise InputError("resolution", got, "one with a target", "refusals have no goal: ask again")
    base_T_camera = scene.frame.base_T_camera
    if base_T_camera is None:
        reason = "the frame came without base_T_camera"
        raise TransformUnavailableError("base_link", scene.frame.frame_id, reason, "set base_frame, and publish TF")
    chosen = next((obj for obj in scene.objects if obj.id == target.id), None)
    same = resolution.stamp_ns == scene.frame.stamp_ns and target.pose.frame_id == base_T_camera.parent
    if chosen is None or not same or chosen.depth_problem is not None:
        got = f"target {target.id!r} in {target.pose.frame_id!r} at {resolution.stamp_ns} ns"
        raise InputError(
            "resolution", got, "a target of the frame that the scene was made from", "resolve and lift one frame"
        )
    own = _measured(chosen, base_T_camera)
    others, unplaced = _others(scene, chosen, base_T_camera)
    height, tilt = _support(scene, base_T_camera, own)
    places = resolution.places or ((resolution.place,) if resolution.place is not None else ())
    into = resolution.place.carrier_id if resolution.place is not None else None
    x, y, z = base_T_camera.translation.tolist()
    return Surroundings(
        frame_id=base_T_camera.parent,
        stamp_ns=resolution.stamp_ns,
        camera=Pose(base_T_camera.parent, (x, y, z), quaternion_xyzw_from_matrix(base_T_camera.rotation)),
        camera_frame=base_T_camera.child,
        target=own,
        yaw_known=chosen.yaw_known,
        truncated=chosen.truncated,
        outline=tuple((float(x), float(y)) for x, y, _ in base_T_camera.apply(chosen.footprint)),
        others=tuple(others),
        unplaced=tuple(unplaced),
        support_height=height,
        support_tilt=tilt,
        destination_id=into,
        image=_image_of(scene.frame, resolution),
        all_objects=all_objects,
        surface=_surface(base_T_camera.apply(chosen.points)),
        avoid=tuple(avoided.id for avoided in resolution.avoid),
        target_points=target_points(chosen, scene, base_T_camera),
        occupancy=None if config is None else occupancy_around(scene, chosen.id, config, places),
        place_height=min((p.pose.position[2] for p in places if p.carrier_id == into), default=None),
    )


def known_bodies(scene: Scene, target_id: str, places: tuple[Place, ...] = ()) -> KnownBodies:
    """Target, other objects and support of a scene with `base_T_camera`, in whose parent frame `places` are."""
    base_T_camera = scene.frame.base_T_camera
    assert base_T_camera is not None  # noqa: S101 - the caller has looked
    chosen = next(obj for obj in scene.objects if obj.id == target_id)
    own = _measured(chosen, base_T_camera)
    others, _ = _others(scene, chosen, base_T_camera)
    height, _ = _support(scene, base_T_camera, own)
    flat = tables([obj.detection for obj in scene.objects])
    named_tables = {obj.id for obj, is_table in zip(scene.objects, flat, strict=True) if is_table}
    boxes, entered = [], {}
    for number, body in enumerate(others):
        is_support = body.id in named_tables and abs(body.solid.top - height) < _SAME_LEVEL
        solid = body.solid.between(height - 2 * _DEEP + _BARE, height - _BARE) if is_support else body.solid
        boxes.append(solid if is_support else solid.grown(_doubt(body)))
        heights = [place.pose.position[2] for place in places if place.carrier_id == body.id]
        if heights and not is_support:
            entered[number] = min(heights)
    positions = tuple(place.pose.position for place in places)
    return KnownBodies(own.solid, chosen.detection.mask, tuple(boxes), height, positions, entered, _doubt(own))


def occupancy_around(
    scene: Scene, target_id: str, config: ResolverConfig, places: tuple[Place, ...] = ()
) -> Occupancy | None:
    """Unnamed obstacles in a frame with `base_T_camera`, around one object and its places; None without depth."""
    base_T_camera = scene.frame.base_T_camera
    assert base_T_camera is not None  # noqa: S101 - the caller has looked
    known = known_bodies(scene, target_id, places)
    return occupancy_of(scene, base_T_camera, known, config.depth, config.occupancy)


def _others(scene: Scene, chosen: SceneObject, base_T_camera: Transform) -> tuple[list[SurroundingObject], list[str]]:
    """All objects except one as boxes, and names of those without a known position."""
    others, unplaced = [], []
    for obj in scene.objects:
        if obj is chosen:
            continue
        body = _measured(obj, base_T_camera) if obj.depth_problem is None else _unmeasured(obj, scene)
        if body is None:
            unplaced.append(f"the {obj.detection.label} ({obj.id})")
        else:
            others.append(body)
    return others, unplaced


def _doubt(body: SurroundingObject) -> Vector3:
    """Position uncertainty in x, y and z, metres."""
    x, y, z = body.sigma or (_MOST_DOUBT,) * 3
    return (min(x, _MOST_DOUBT), min(y, _MOST_DOUBT), min(z, _MOST_DOUBT))


def _image_of(frame: RgbdFrame, resolution: Resolution) -> SceneImage | None:
    """The frame's colour image, scaled down if too wide; None if it cannot be encoded."""
    rgb, camera = frame.rgb, frame.camera
    height, width = rgb.shape[:2]
    scale = min(1.0, _WIDEST / width)
    if scale < 1.0:
        size = (_WIDEST, max(1, round(height * scale)))
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        return None
    sent_height, sent_width = rgb.shape[:2]
    along, down = sent_width / width, sent_height / height
    intrinsics = (  # integer coordinates are pixel centres
        float(camera.K[0, 0] * along), float(camera.K[1, 1] * down),
        float((camera.K[0, 2] + 0.5) * along - 0.5), float((camera.K[1, 2] + 0.5) * down - 0.5),
    )  # fmt: skip
    jpeg = base64.b64encode(data.tobytes()).decode("ascii")
    return SceneImage(resolution.instruction, frame.stamp_ns, sent_width, sent_height, intrinsics, jpeg)


def _measured(obj: SceneObject, base_T_camera: Transform) -> SurroundingObject:
    axes = base_T_camera.rotation @ obj.box.axes
    x, y, z = base_T_camera.apply(obj.box.centre).tolist()
    sx, sy, sz = obj.box.size.tolist()
    ax, ay, az = np.sqrt(np.diag(obj.box.axes.T @ obj.covariance[:3, :3] @ obj.box.axes)).tolist()
    solid = Solid((x, y, z), math.atan2(axes[1, 0], axes[0, 0]), (sx, sy, sz))
    return SurroundingObject(obj.id, obj.detection.label, solid, (ax, ay, az))


def _surface(points: Array) -> SeenSurface | None:
    """Visible surface from (N, 3) points in the planning frame; None for too few points.

    In each of _DIRECTIONS a tangent cuts off _TRIMMED of the points; the outline is where neighbouring tangents meet,
    so that its extents are those quantiles.
    """
    if len(points) < _LEAST_POINTS:
        return None
    angles = np.arange(_DIRECTIONS) * math.tau / _DIRECTIONS
    ways = np.stack([np.cos(angles), np.sin(angles)])
    reach = np.percentile(points[:, :2].astype(np.float64) @ ways, 100 * (1 - _TRIMMED), axis=0)
    following = np.roll(reach, -1)
    c, s = math.cos(math.tau / _DIRECTIONS), math.sin(math.tau / _DIRECTIONS)
    aside = (following - c * reach) / s  # along the tangent, from its foot to where the next one crosses it
    corners = np.stack([reach * ways[0] - aside * ways[1], reach * ways[1] + aside * ways[0]], axis=1)
    low, high = np.percentile(points[:, 2].astype(np.float64), [100 * _TRIMMED, 100 * (1 - _TRIMMED)]).tolist()
    return SeenSurface(tuple((float(x), float(y)) for x, y in corners), low, high)


def _unmeasured(obj: SceneObject, scene: Scene) -> SurroundingObject | None:
    """A box where the lower edge of the object's image meets the support; None if no support is visible there.

    It is as deep as wide, and at least as high as it looks, because the image does not tell more.
    """
    base_T_camera, plane = scene.frame.base_T_camera, scene.support
    assert base_T_camera is not None  # noqa: S101 - the caller has looked
    x0, y0, x1, y1 = obj.detection.box_xyxy
    camera = scene.frame.camera
    ray = np.append(normalise(camera, np.array([[(x0 + x1) / 2, y1]]))[0], 1.0)
    depth = -plane.offset / float(plane.normal @ ray) if plane is not None else math.nan
    if not 0.0 < depth < math.inf:
        return None
    width, tall = (x1 - x0) * depth / camera.K[0, 0], (y1 - y0) * depth / camera.K[1, 1]
    level = math.sqrt(max(0.0, 1.0 - float(scene.up @ ray) ** 2 / float(ray @ ray)))
    height = tall / max(level, _LEVEL)
    away = base_T_camera.rotation @ ray
    yaw = math.atan2(away[1], away[0])
    x, y, z = base_T_camera.apply(ray * depth).tolist()
    centre = (x + math.cos(yaw) * width / 2, y + math.sin(yaw) * width / 2, z + height / 2)
    return SurroundingObject(obj.id, obj.detection.label, Solid(centre, yaw, (width, width, height)), None)


def _support(scene: Scene, base_T_camera: Transform, own: SurroundingObject) -> tuple[float, float | None]:
    """Height of the plane below the target, and its tilt; without a plane, height of the target's foot, and None."""
    if scene.support is None:
        return own.solid.bottom, None
    normal = base_T_camera.rotation @ scene.support.normal
    offset = scene.support.offset - float(normal @ base_T_camera.translation)
    height = -(offset + float(normal[:2] @ own.solid.centre[:2])) / float(normal[2])
    return height, math.acos(min(1.0, max(-1.0, float(normal[2]))))
