# SPDX-License-Identifier: Apache-2.0
"""Scenes put together by hand, so that every margin can be worked out by pencil; and changes of them.

Turned objects, fronts, round outlines, other cameras, the mirror.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from spatial_vlm_ros.parameters import DepthConfig, RelationConfig, ResolverConfig
from spatial_vlm_ros.perception.labels import label_fit
from spatial_vlm_ros.spatial.layout import Array, Layout, lay_out
from spatial_vlm_ros.spatial.phrase_scorer import PhraseScorer
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.types import (
    Detection,
    FrameOfReference,
    NounPhrase,
    OrientedBox,
    PinholeCamera,
    Plane,
    RgbdFrame,
    Scene,
    SceneObject,
    Transform,
    UpSource,
)

VIEWER = FrameOfReference.VIEWER
LIMITS = RelationConfig(
    cone_deg=45.0, contact=0.015, next_to_sizes=1.0, near_sizes=2.5, far_sizes=4.0, min_reach=0.05, size_blur=0.1,
    straight_down_deg=75.0, metric_tolerance=0.02, metric_share=0.2,
)  # fmt: skip
"""The limits that margins are reckoned with by hand; not the defaults, which may change."""
RELATION = dataclasses.replace(LIMITS, size_blur=0.05)
EXACT_DEPTH = DepthConfig(noise_floor=0.0, noise_quadratic=0.0)
PAIRWISE = tuple(name for name, relation in RELATIONS.items() if relation.pairwise is not None)


@dataclasses.dataclass(frozen=True)
class Object:
    """An upright block: metres ahead and right of the camera's foot, along, across and up, and above the ground."""

    ahead: float
    right: float
    size: tuple[float, float, float] = (0.06, 0.06, 0.06)
    base: float = 0.0
    label: str = "block"


@dataclasses.dataclass(frozen=True)
class Ground:
    """A level table seen by a camera 0.6 m above it."""

    height: float = 0.6

    def scene(self, objects: Sequence[Object], pitch_deg: float = 35.0, base_T_camera: Any = None) -> Scene:
        axes = self._axes(pitch_deg)
        camera = PinholeCamera(np.array([[600.0, 0, 319.5], [0, 600, 239.5], [0, 0, 1]]), 640, 480)
        rgb, depth = np.zeros((480, 640, 3), np.uint8), np.ones((480, 640), np.float32)
        frame = RgbdFrame(rgb, depth, camera, base_T_camera=base_T_camera)
        lifted = tuple(self._object(f"t{n}", obj, axes) for n, obj in enumerate(objects))
        return Scene(lifted, axes[:, 2], UpSource.TF, Plane(axes[:, 2], self.height, 0.001), frame)

    @staticmethod
    def _axes(pitch_deg: float) -> np.ndarray:
        """(3, 3) columns ahead, right and up of the ground in the camera frame (x right, y down, z forward)."""
        p = np.radians(pitch_deg)
        return np.array([(0, -np.sin(p), np.cos(p)), (1, 0, 0), (0, -np.cos(p), -np.sin(p))], np.float64).T

    def _object(self, id_: str, obj: Object, camera_R_ground: np.ndarray) -> SceneObject:
        length, width, height = obj.size
        centre = np.array([obj.ahead, obj.right, obj.base + height / 2 - self.height])
        halves = np.array([(1, 1, 0), (-1, 1, 0), (-1, -1, 0), (1, -1, 0)]) * (length / 2, width / 2, 0)
        footprint = centre + halves[np.arange(16) // 4]
        axes = camera_R_ground.copy()
        if length < width:
            axes[:, :2] = axes[:, 1::-1]
        axes[:, 1] = np.cross(axes[:, 2], axes[:, 0])
        size = np.array([max(length, width), min(length, width), height])
        place = camera_R_ground @ centre
        return SceneObject(
            detection=Detection(id_, obj.label, 1.0, (10.0, 10.0, 60.0, 60.0)),
            points=np.tile(place, (50, 1)).astype(np.float32),
            surface_centre=place,
            box=OrientedBox(place, axes, size),
            footprint=footprint @ camera_R_ground.T,
            covariance=np.eye(6) * 1e-6,
        )

    def layout(self, objects: Sequence[Object], **view: object) -> Layout:
        return lay_out(self.scene(objects, **view), DepthConfig(), RELATION)  # type: ignore[arg-type]

    def margin(self, relation: str, target: Object, anchor: Object, frame: FrameOfReference = FrameOfReference.VIEWER,
               **view: object) -> float:  # fmt: skip
        layout = self.layout((target, anchor), **view)
        pairs = Pairs(layout, layout.viewpoint(frame), np.array([0]), np.array([1]))
        return float(RELATIONS[relation](pairs)[0][0, 0])

    def looking_from(self, ahead: float, right: float, turned_deg: float, pitch_deg: float = 35.0) -> Transform:
        """base_T_camera of a robot that stands at a place on the ground, turned from "ahead" to the right."""
        t, camera_R_ground = np.radians(turned_deg), self._axes(pitch_deg)
        x = np.array([np.cos(t), np.sin(t), 0.0])
        base_axes = camera_R_ground @ np.stack((x, np.array([np.sin(t), -np.cos(t), 0.0]), (0, 0, 1)), axis=1)
        matrix = np.eye(4)
        matrix[:3, :3] = base_axes.T
        matrix[:3, 3] = -base_axes.T @ (camera_R_ground @ np.array([ahead, right, -self.height]))
        return Transform("base", "camera_color_optical_frame", matrix)


def lay(scene: Scene, limits: RelationConfig = LIMITS) -> Layout:
    return lay_out(scene, EXACT_DEPTH, limits)


def scorer_of(layout: Layout, fit: Callable[[str, str], float] = label_fit, relation: Any = None) -> PhraseScorer:
    """What decides phrases about a layout, by how the name said fits the label; each object is surely there."""
    labels = [o.detection.label for o in layout.scene.objects]

    def match(phrase: NounPhrase) -> Array:
        return np.array([fit(phrase.category, label) for label in labels])

    config = ResolverConfig(relation=relation or layout.relation)
    return PhraseScorer(layout, config, match, np.ones(len(layout)), VIEWER)


def margins(layout: Layout, relation: str, frame: FrameOfReference = VIEWER) -> Array:
    """(N, N) margins of a relation between all objects of a layout, [target, anchor]."""
    rows = np.arange(len(layout))
    return RELATIONS[relation](Pairs(layout, layout.viewpoint(frame), rows, rows))[0]


def changed(scene: Scene, row: int, change: Callable[[SceneObject], SceneObject]) -> Scene:
    objects = tuple(change(obj) if n == row else obj for n, obj in enumerate(scene.objects))
    return dataclasses.replace(scene, objects=objects)


def turned(scene: Scene, yaws: Sequence[float]) -> Scene:
    """The scene with each object turned about its own vertical axis, radians."""
    objects = []
    for obj, yaw in zip(scene.objects, yaws, strict=True):
        R = rotation(scene.up, yaw)
        footprint = (obj.footprint - obj.box.centre) @ R.T + obj.box.centre
        box, detection = dataclasses.replace(obj.box, axes=R @ obj.box.axes), _faced(obj.detection, R)
        objects.append(dataclasses.replace(obj, footprint=footprint, box=box, detection=detection))
    return dataclasses.replace(scene, objects=tuple(objects))


def _faced(detection: Detection, R: Array) -> Detection:
    front = detection.front
    return dataclasses.replace(detection, front=None if front is None else tuple(R @ np.array(front)))


def rotation(axis: Array, angle: float) -> Array:
    x, y, z = axis
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * (K @ K)


def with_front(scene: Scene, row: int, ahead: float, right: float, label: str | None = None) -> Scene:
    """The scene with an object whose front faces a direction on the ground, given in the camera's ahead and right."""
    direction = lay(scene).axes @ np.array([ahead, right, 0.0])

    def change(obj: SceneObject) -> SceneObject:
        name = obj.detection.label if label is None else label
        detection = dataclasses.replace(obj.detection, front=tuple(direction), label=name)
        return dataclasses.replace(obj, detection=detection)

    return changed(scene, row, change)


def rounded(scene: Scene, row: int) -> Scene:
    """The scene with an object whose outline is a disc of 16 corners, as wide as its longer side."""
    axes = lay(scene).axes
    angles = 2 * np.pi * np.arange(16) / 16
    circle = np.outer(np.cos(angles), axes[:, 0]) + np.outer(np.sin(angles), axes[:, 1])

    def change(obj: SceneObject) -> SceneObject:
        return dataclasses.replace(obj, footprint=obj.box.centre + circle * obj.box.size[0] / 2)

    return changed(scene, row, change)


def seen_by_another_camera(scene: Scene, camera_T_other: Transform) -> Scene:
    other_T_camera = np.linalg.inv(camera_T_other.matrix)
    frame = scene.frame
    if (base := frame.base_T_camera) is not None:
        base = Transform(base.parent, base.child, base.matrix @ camera_T_other.matrix)
    if (speaker := frame.camera_T_speaker) is not None:
        speaker = Transform(speaker.parent, speaker.child, other_T_camera @ speaker.matrix)
    frame = dataclasses.replace(frame, base_T_camera=base, camera_T_speaker=speaker)
    return _moved(scene, other_T_camera[:3, :3], other_T_camera[:3, 3], frame)


def mirrored(scene: Scene) -> Scene:
    """The mirror image of a scene without robot or speaker: what was right in the image is left."""
    return _moved(scene, np.diag([-1.0, 1.0, 1.0]), np.zeros(3), scene.frame)


def _moved(scene: Scene, R: Array, t: Array, frame: RgbdFrame) -> Scene:
    objects = tuple(_object_moved(obj, R, t) for obj in scene.objects)
    support = scene.support
    if support is not None:
        normal = R @ support.normal
        support = Plane(normal, support.offset - float(normal @ t), support.rms)
    return Scene(objects, R @ scene.up, scene.up_from, support, frame)


def _object_moved(obj: SceneObject, R: Array, t: Array) -> SceneObject:
    axes = R @ obj.box.axes
    axes[:, 1] = np.cross(axes[:, 2], axes[:, 0])
    return dataclasses.replace(
        obj,
        detection=_faced(obj.detection, R),
        points=(obj.points @ R.T + t).astype(np.float32),
        surface_centre=R @ obj.surface_centre + t,
        box=dataclasses.replace(obj.box, centre=R @ obj.box.centre + t, axes=axes),
        footprint=obj.footprint @ R.T + t,
    )
