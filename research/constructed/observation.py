# SPDX-License-Identifier: Apache-2.0
"""What a camera sees of a stage: exact image, exact masks, and the true surface of everything."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from research.constructed.distribution import BORDER_PX, VIEW
from research.constructed.oracle import Situation
from research.constructed.stage import Stage
from research.constructed.standpoint import Standpoint
from research.constructed.still import Still
from spatial_vlm_ros.geometry.camera import project
from spatial_vlm_ros.sim.physics import PhysicsRendering, PhysicsWorld, PlacedModel, load_mujoco
from spatial_vlm_ros.sim.tabletop import VGA, look_at, random_scenery
from spatial_vlm_ros.types import Detection, FrameOfReference, Mask, RgbdFrame, Transform

BASE = "base_link"


@dataclass(frozen=True, eq=False)
class Observation:
    """An image of a stage.

    Args:
        frame: exact depth.
        detections: of everything that is seen, in no order that says anything; labels and colours as they are, fronts
            where there are any.
        shiny: (H, W) bool of metal and glass.
        visible: visible fraction of each object.
        whole: ids of what the picture's border does not cut.
        situation: true geometry of what is seen, with true mean surfaces.
    """

    frame: RgbdFrame
    detections: tuple[Detection, ...]
    shiny: Mask
    visible: Mapping[str, float]
    whole: frozenset[str]
    situation: Situation


class StillWorld(PhysicsWorld):
    """A world in which everything stays exactly where it was put."""

    def _settle(self) -> None:
        load_mujoco().mj_forward(self._model, self._data)


def aim(stage: Stage, named: Sequence[Still]) -> Transform | None:
    """A camera pose at the stage's eye that has all the named objects well in the image; None where there is none."""
    shift = np.array([*stage.rng.uniform(*VIEW["aim_m"], 2), 0.0])
    middle = np.mean([s.centre for s in named], axis=0) + shift
    pose = look_at(_point(stage.eye), _point(middle), BASE)
    roll = math.radians(float(stage.rng.uniform(*VIEW["roll_deg"])))
    c, s = math.cos(roll), math.sin(roll)
    matrix = pose.matrix.copy()
    matrix[:3, :3] = matrix[:3, :3] @ np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    pose = Transform(pose.parent, pose.child, matrix)
    corners = np.concatenate([_corners(s) for s in named])
    seen = project(VGA, pose.inverse().apply(corners))
    border = BORDER_PX + 1
    inside = (seen >= border).all() and (seen <= np.array([VGA.width, VGA.height]) - 1 - border).all()
    return pose if inside else None


def set_up(stage: Stage) -> StillWorld:
    """The stage as a world that can be drawn; the caller closes it."""
    order = stage.rng.permutation(len(stage.pieces))
    objects: list[PlacedModel] = [stage.pieces[int(k)].obj for k in order]
    level = look_at(_point(stage.eye), _point(np.array([*stage.middle, 0.1])), BASE)
    return StillWorld(objects, random_scenery(stage.rng), level)


def observe(stage: Stage, world: StillWorld, pose: Transform) -> Observation:
    """Draw it from there."""
    seen = world.render(VGA, pose)
    parts = {p.still.id: p.part_of for p in stage.pieces if p.part_of is not None}
    stills = {p.still.id: p.still for p in stage.pieces}
    masks = {d.id: d.mask for d in seen.detections if d.mask is not None}
    for part, whole in parts.items():
        if part in masks and whole in masks:
            masks[whole] = masks[whole] | masks[part]
    detections = tuple(_detection(d, masks[d.id], stills[d.id], pose) for d in seen.detections)
    surfaces = {d.id: _mean_surface(seen, masks[d.id]) for d in detections}
    objects = {id_: dataclasses.replace(stills[id_], surface=at) for id_, at in surfaces.items()}
    stands = {**stage.situation().stands, FrameOfReference.VIEWER: Standpoint(pose.translation)}
    speaker = _speaker(stage, pose)
    visible = dict(seen.visible_fraction)
    for whole in set(parts.values()):
        visible[whole] = max(visible[whole], 0.5 if whole in masks else 0.0)  # its own parts do not hide it
    return Observation(
        dataclasses.replace(seen.frame, camera_T_speaker=speaker),
        detections,
        seen.shiny,
        visible,
        frozenset(d.id for d in detections if _whole(d)),
        Situation(objects, stands, stage.situation().support),
    )


def _detection(seen: Detection, mask: Mask, still: Still, pose: Transform) -> Detection:
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    box = (float(left), float(top), float(left + width), float(top + height))
    front = None
    if still.front is not None:
        x, y, z = pose.rotation.T @ np.array([*still.front, 0.0])
        front = (float(x), float(y), float(z))
    return dataclasses.replace(seen, mask=mask, box_xyxy=box, front=front)


def _whole(detection: Detection) -> bool:
    x0, y0, x1, y1 = detection.box_xyxy
    return min(x0, y0) >= BORDER_PX and x1 <= VGA.width - BORDER_PX and y1 <= VGA.height - BORDER_PX


def _mean_surface(seen: PhysicsRendering, mask: Mask) -> np.ndarray:
    """(3,) mean of the exact visible surface, base frame, metres."""
    camera, pose = seen.frame.camera, seen.frame.base_T_camera
    v, u = np.nonzero(mask)
    z = seen.frame.depth[mask].astype(np.float64)
    x, y = (u - camera.K[0, 2]) / camera.K[0, 0] * z, (v - camera.K[1, 2]) / camera.K[1, 1] * z
    points = np.stack([x, y, z], axis=1)[np.isfinite(z)]
    middle = points.mean(axis=0)
    return middle if pose is None else pose.apply(middle)


def _speaker(stage: Stage, pose: Transform) -> Transform:
    """camera_T_speaker: the person looks to the middle of the table, z up."""
    ahead = np.array([*(stage.middle - stage.speaker[:2]), 0.0])
    ahead /= np.linalg.norm(ahead)
    up = np.array([0.0, 0.0, 1.0])
    matrix = np.eye(4)
    matrix[:3, :4] = np.stack([ahead, np.cross(up, ahead), up, stage.speaker], axis=1)
    return pose.inverse() @ Transform(BASE, "speaker", matrix)


def _corners(s: Still) -> np.ndarray:
    """(N, 3) of the prism over its outline."""
    count = len(s.outline)
    return np.concatenate([np.column_stack([s.outline, np.full(count, z)]) for z in (s.bottom, s.top)])


def _point(a: np.ndarray) -> tuple[float, float, float]:
    return float(a[0]), float(a[1]), float(a[2])
