# SPDX-License-Identifier: Apache-2.0
"""The held object in a scene: known from the hand, not from the image, in which the hand hides it."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from spatial_vlm_ros.geometry.extent import FOOTPRINT_CORNERS
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.language.parser import put_down
from spatial_vlm_ros.spatial.dialogue_turns import DialogueTurn
from spatial_vlm_ros.types import Detection, NounPhrase, OrientedBox, Scene, SceneObject, SpatialQuery
from spatial_vlm_ros.types.held import HELD_ID, BoxInHand

HELD = NounPhrase("held object")
_AROUND = 0.03  # metres around the held box within which a detected object is the held one
_SPACING = 0.006  # metres between points of its surface
_SIGMA = 0.002  # metres: it may have shifted in the hand


def of_held(turn: DialogueTurn, held: BoxInHand) -> DialogueTurn:
    """The turn with "it", or the name of the held object alone, as the held object; "let go" puts it down."""

    def meant(query: SpatialQuery) -> SpatialQuery:
        said = query.target
        if said not in (NounPhrase("object"), NounPhrase("it"), NounPhrase(held.label)) or query.question is not None:
            return query
        if query.act == query.action == "release" and query.destination is None and not held.stays:
            query = put_down(query)
        steps = (dataclasses.replace(step, target=HELD) if step.target == said else step for step in query.steps)
        return dataclasses.replace(query, target=HELD, steps=tuple(steps))

    attempts = (
        dataclasses.replace(each, queries=tuple(meant(query) for query in each.queries)) for each in turn.attempts
    )
    return dataclasses.replace(turn, attempts=tuple(attempts))


def with_held(scene: Scene, held: BoxInHand) -> Scene:
    """The scene with the held object as its last object, instead of what a detector sees of it."""
    base_T_camera = scene.frame.base_T_camera
    if base_T_camera is None or base_T_camera.parent != held.pose.frame_id:
        return scene
    to_camera = base_T_camera.inverse()
    turned = matrix_from_quaternion_xyzw(held.pose.orientation)
    size, centre = np.array(held.size), to_camera.apply(np.array([held.pose.position]))[0]
    up = scene.up / np.linalg.norm(scene.up)
    level = to_camera.rotation @ turned[:, 0]  # the box is upright, by its horizontal axis
    level -= up * (up @ level)
    level /= np.linalg.norm(level)
    axes = np.stack((level, np.cross(up, level), up), axis=1)

    def is_held(obj: SceneObject) -> bool:
        own = np.abs((obj.box.centre - centre) @ axes)
        own[:2] += (np.abs(axes.T @ obj.box.axes) @ obj.box.size / 2)[:2]  # a tray under it is none
        return bool((own <= size / 2 + _AROUND).all())

    grids = [np.linspace(-half, half, max(2, int(2 * half / _SPACING))) for half in (size / 2).tolist()]
    cells = np.array(list(itertools.product(*grids)))
    surface = cells[(np.abs(np.abs(cells) - size / 2) < 1e-9).any(axis=1)]
    points = surface @ axes.T + centre
    angles = 2 * np.pi * np.arange(FOOTPRINT_CORNERS) / FOOTPRINT_CORNERS
    ring = np.stack((np.cos(angles), np.sin(angles)), axis=1)
    ring = ring / np.abs(ring).max(axis=1, keepdims=True) * size[:2] / 2
    footprint = ring @ axes[:, :2].T + centre
    camera = scene.frame.camera
    seen = points @ camera.K.T
    pixels = seen[:, :2] / np.maximum(seen[:, 2:], 1e-3)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    x0, y0 = np.clip(low, 0.0, (camera.width - 2.0, camera.height - 2.0)).tolist()
    x1, y1 = np.clip(high, (x0 + 1.0, y0 + 1.0), (camera.width, camera.height)).tolist()
    obj = SceneObject(
        detection=Detection(HELD_ID, held.label, 1.0, (x0, y0, x1, y1)),
        points=points.astype(np.float32),
        surface_centre=centre,
        box=OrientedBox(centre, axes, size),
        footprint=footprint,
        covariance=np.eye(6) * _SIGMA**2,
    )
    objects = tuple(each for each in scene.objects if each.depth_problem is not None or not is_held(each))
    unexplained = tuple(
        each for each in scene.unexplained
        if not (np.abs((np.array(each.position) - centre) @ axes) <= size / 2 + _AROUND).all()
    )  # fmt: skip
    return dataclasses.replace(scene, objects=(*objects, obj), unexplained=unexplained)
