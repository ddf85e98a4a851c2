# SPDX-License-Identifier: Apache-2.0
"""Scenes made from numbers, with everything a scene can have, for many sentences, for which images would be too slow.

Objects stand on a table, on each other or nowhere. Some were not measured, are hidden, have a front, were detected
several times, or have unusual labels. The depth image shows the table and, for each object, its box in the image; its
visible surface is a few points on its sides.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from benchmarks.scenes import camera, lifted, upright
from spatial_vlm_ros.sim.tabletop import COLOURS, look_at
from spatial_vlm_ros.types import (
    Detection,
    OrientedBox,
    Plane,
    RgbdFrame,
    Scene,
    SceneObject,
    Transform,
    UpSource,
)

LENS = camera(320, 240, 262.5)
STATES = ("red", "blue", "empty", "open", "metal", "wooden", "striped", "large")
SIZES = ((0.05, 0.05, 0.05), (0.08, 0.08, 0.12), (0.20, 0.15, 0.10), (0.35, 0.25, 0.02), (0.5, 0.3, 0.4))
_FACES = np.array([(x, y, 1) for x in (-0.8, 0, 0.8) for y in (-0.8, 0, 0.8)]
                  + [(x, -1, z) for x in (-0.8, 0, 0.8) for z in (-0.8, 0, 0.8)], np.float64)  # fmt: skip


def random_scene(rng: np.random.Generator, labels: Sequence[str], n: int, plain: bool = False) -> Scene:
    """Make a scene of objects with the given labels, and more objects with labels drawn from them.

    Args:
        rng: source of all random choices.
        labels: their labels, in this order; empty = no objects.
        n: number of objects.
        plain: whether every object was measured, is fully visible and stands on the table, no detection has attributes,
            and all frames of reference except those of objects are defined.

    Returns:
        The scene, seen from in front of the table and above.
    """
    down = math.radians(rng.uniform(20.0, 60.0))
    pose = look_at((0.0, -1.8 * math.cos(down), 1.8 * math.sin(down)), (0.0, 0.0, 0.0))
    placed: list[tuple[np.ndarray, np.ndarray]] = []
    names = [*labels, *rng.choice(labels, max(n - len(labels), 0))][:n] if len(labels) else []
    objects = [_object(rng, f"d{k}", str(name), placed, pose, plain) for k, name in enumerate(names)]
    if objects and not plain and rng.random() < 0.2:  # a detector finds one of them several times
        one = objects[rng.integers(len(objects))]
        twins = range(1, 1 + rng.integers(1, 4))
        objects += [dataclasses.replace(one, detection=dataclasses.replace(one.detection, id=f"t{k}")) for k in twins]
    up = pose.rotation[2]
    known = plain or rng.random() < 0.8
    speaker = Transform(pose.child, "speaker", look_at((0.8, 0.8, 1.5), (0.0, 0.0, 0.0)).matrix)
    frame = RgbdFrame(
        np.zeros((LENS.height, LENS.width, 3), np.uint8), _depth(objects, pose), LENS, 0,
        pose.child, pose if known else None, camera_T_speaker=speaker if plain or rng.random() < 0.5 else None,
    )  # fmt: skip
    support = Plane(up, float(pose.translation[2]), 0.001) if plain or rng.random() < 0.8 else None
    source = UpSource.TF if known else UpSource.SUPPORT_PLANE if support is not None else UpSource.OPTICAL_AXES
    return Scene(tuple(objects), up, source, support, frame)


def _object(
    rng: np.random.Generator, id_: str, label: str, placed: list[tuple[np.ndarray, np.ndarray]],
    pose: Transform, plain: bool,
) -> SceneObject:  # fmt: skip
    size = np.array(SIZES[rng.integers(2 if plain else len(SIZES))]) * rng.uniform(0.8, 1.2, 3)
    size[:2] = np.sort(size[:2])[::-1]
    if placed and not plain and rng.random() < 0.25:  # on another object, or in it
        under, other = placed[rng.integers(len(placed))]
        above = (other[2] + size[2]) / 2 if rng.random() < 0.7 else 0.0
        centre = under + np.array([0.0, 0.0, above])
    else:
        centre = np.array([*rng.uniform((-0.6, -0.4), (0.6, 0.6)), size[2] / 2])
    placed.append((centre, size))
    yaw = rng.uniform(-math.pi / 2, math.pi / 2)
    seen = pose.inverse().apply(centre + (_FACES * size / 2) @ upright(yaw).T)
    u, v = (seen[:, :2] / np.maximum(seen[:, 2:], 0.1) * LENS.K[0, 0] + LENS.K[:2, 2]).T
    x0, y0 = np.clip(u.min(), 0, LENS.width - 5), np.clip(v.min(), 0, LENS.height - 5)
    box = (x0, y0, np.clip(u.max(), x0 + 4, LENS.width - 1), np.clip(v.max(), y0 + 4, LENS.height - 1))
    words = tuple(str(w) for w in rng.choice((*COLOURS, *STATES), 0 if plain else rng.integers(3), replace=False))
    front = tuple(rng.normal(size=3)) if not plain and rng.random() < 0.2 else None
    detection = Detection(id_, label, float(rng.uniform(0.5, 1.0)), tuple(float(b) for b in box), None, words, front)
    made = lifted(detection, centre, size, yaw, pose, seen)
    made = dataclasses.replace(made, yaw_known=bool(size[0] > 1.1 * size[1]))
    if plain:
        return made
    if rng.random() < 0.1:
        return _unmeasured(made)
    hidden = rng.random() < 0.2
    return dataclasses.replace(
        made, visible_fraction=float(rng.uniform(0.1, 1.0)) if hidden else 1.0, cut=0.05 if hidden else 0.0
    )


def _depth(objects: Sequence[SceneObject], pose: Transform) -> np.ndarray:
    """(H, W) float32 metres: the table up to 4 m, and each object as its box in the image."""
    rows, columns = np.mgrid[: LENS.height, : LENS.width]
    rays = np.stack(((columns - LENS.K[0, 2]) / LENS.K[0, 0], (rows - LENS.K[1, 2]) / LENS.K[1, 1]), axis=-1)
    falling = -(rays @ pose.rotation[2, :2] + pose.rotation[2, 2])
    depth = np.where(falling > 1e-3, float(pose.translation[2]) / np.maximum(falling, 1e-3), np.nan)
    depth[depth > 4.0] = np.nan
    for obj in objects:
        x0, y0, x1, y1 = (round(side) for side in obj.detection.box_xyxy)
        part = depth[y0 : y1 + 1, x0 : x1 + 1]
        if obj.depth_problem is None:
            np.fmin(part, float(obj.surface_centre[2]), out=part)
        else:
            part[:] = np.nan
    return depth.astype(np.float32)


def _unmeasured(made: SceneObject) -> SceneObject:
    """An object with unreliable depth, as `geometry.lift` makes it."""
    nothing = np.full(3, np.nan)
    return dataclasses.replace(
        made,
        points=np.empty((0, 3), np.float32),
        surface_centre=nothing,
        box=OrientedBox(nothing, np.full((3, 3), np.nan), nothing),
        footprint=np.full_like(made.footprint, np.nan),
        covariance=np.full((6, 6), np.nan),
        valid_fraction=0.0,
        depth_problem="too few of its pixels have depth",
    )
