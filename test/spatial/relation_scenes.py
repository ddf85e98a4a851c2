# SPDX-License-Identifier: Apache-2.0
"""Scenes put together by hand, changed: turned objects, fronts, round outlines, other cameras, the mirror."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from spatial_vlm_ros.parameters import DepthConfig, RelationConfig
from spatial_vlm_ros.spatial.layout import Array, Layout, lay_out
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.types import FrameOfReference, Plane, RgbdFrame, Scene, SceneObject, Transform

VIEWER = FrameOfReference.VIEWER
LIMITS = RelationConfig(
    cone_deg=45.0, contact=0.015, next_to_sizes=1.0, near_sizes=2.5, far_sizes=4.0, min_reach=0.05, size_blur=0.1,
    straight_down_deg=75.0, metric_tolerance=0.02, metric_share=0.2,
)  # fmt: skip
"""The limits that margins are reckoned with by hand; not the defaults, which may change."""
EXACT_DEPTH = DepthConfig(noise_floor=0.0, noise_quadratic=0.0)
PAIRWISE = tuple(name for name, relation in RELATIONS.items() if relation.pairwise is not None)


def lay(scene: Scene, limits: RelationConfig = LIMITS) -> Layout:
    """The layout of a scene whose depth is exact."""
    return lay_out(scene, EXACT_DEPTH, limits)


def margins(layout: Layout, relation: str, frame: FrameOfReference = VIEWER) -> Array:
    """(N, N) margins of a relation between all objects of a layout, [target, anchor]."""
    rows = np.arange(len(layout))
    return RELATIONS[relation](Pairs(layout, layout.viewpoint(frame), rows, rows))[0]


def changed(scene: Scene, row: int, change: Callable[[SceneObject], SceneObject]) -> Scene:
    """The scene with one object changed."""
    objects = tuple(change(obj) if n == row else obj for n, obj in enumerate(scene.objects))
    return dataclasses.replace(scene, objects=objects)


def turned(scene: Scene, yaws: Sequence[float]) -> Scene:
    """The scene with each object turned about its own vertical axis, radians."""
    objects = (_turned(obj, scene.up, yaw) for obj, yaw in zip(scene.objects, yaws, strict=True))
    return dataclasses.replace(scene, objects=tuple(objects))


def _turned(obj: SceneObject, up: Array, yaw: float) -> SceneObject:
    R = rotation(up, yaw)
    footprint = (obj.footprint - obj.box.centre) @ R.T + obj.box.centre
    box = dataclasses.replace(obj.box, axes=R @ obj.box.axes)
    front = obj.detection.front
    detection = obj.detection
    if front is not None:
        detection = dataclasses.replace(detection, front=tuple(R @ np.array(front)))
    return dataclasses.replace(obj, footprint=footprint, box=box, detection=detection)


def rotation(axis: Array, angle: float) -> Array:
    """(3, 3) rotation about a unit axis, radians."""
    x, y, z = axis
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * (K @ K)


def with_front(scene: Scene, row: int, ahead: float, right: float, label: str | None = None) -> Scene:
    """The scene with an object whose front faces a direction on the ground, given in the camera's ahead and right."""
    direction = lay(scene).axes @ np.array([ahead, right, 0.0])

    def change(obj: SceneObject) -> SceneObject:
        name = obj.detection.label if label is None else label
        return dataclasses.replace(
            obj, detection=dataclasses.replace(obj.detection, front=tuple(direction), label=name)
        )

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
    """The same objects, the same robot and the same speaker, in the frame of another camera."""
    other_T_camera = np.linalg.inv(camera_T_other.matrix)
    R, t = other_T_camera[:3, :3], other_T_camera[:3, 3]
    frame = _with_frames(
        scene.frame,
        lambda T: T.matrix @ camera_T_other.matrix,
        lambda T: other_T_camera @ T.matrix,
    )
    return _moved(scene, R, t, frame)


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
    given = obj.detection.front
    front = None if given is None else tuple(R @ np.array(given))
    axes = R @ obj.box.axes
    axes[:, 1] = np.cross(axes[:, 2], axes[:, 0])
    return dataclasses.replace(
        obj,
        detection=dataclasses.replace(obj.detection, front=front),
        points=(obj.points @ R.T + t).astype(np.float32),
        surface_centre=R @ obj.surface_centre + t,
        box=dataclasses.replace(obj.box, centre=R @ obj.box.centre + t, axes=axes),
        footprint=obj.footprint @ R.T + t,
    )


def _with_frames(
    frame: RgbdFrame, base: Callable[[Transform], Array], speaker: Callable[[Transform], Array]
) -> RgbdFrame:
    new_base = frame.base_T_camera
    if new_base is not None:
        new_base = Transform(new_base.parent, new_base.child, base(new_base))
    new_speaker = frame.camera_T_speaker
    if new_speaker is not None:
        new_speaker = Transform(new_speaker.parent, new_speaker.child, speaker(new_speaker))
    return dataclasses.replace(frame, base_T_camera=new_base, camera_T_speaker=new_speaker)
