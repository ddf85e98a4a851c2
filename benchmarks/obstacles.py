# SPDX-License-Identifier: Apache-2.0
"""Obstacles from depth on frame folders: coverage, phantoms, missed thin objects, and time.

Left out: each detection of a frame is removed in turn; points of its surface count as covered if they lie in occupied
voxels or in the box of another object. Complete: with all detections, voxels above the support and more than 3 cm from
every measured point of a named object; in rendered frames, where everything on the table is detected, these are
phantoms, in real frames walls, chairs and the rims of bins, too. Thin: posts of 5 mm by 5 mm, 2 cm tall, drawn into the
depth of free places of the support, with the errors that the depth has there; a post counts as found if there is a
voxel at its position. Time: all of the occupied space around a target.

    python -m benchmarks.obstacles                      SPATIAL_VLM_REAL_RGBD, and the folder `outside` beside it
    python -m benchmarks.obstacles --frames 1           the first of each
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.harness import REAL_FRAMES, alternate, arguments, finish, frames_of, share
from spatial_vlm_ros import Detection, RgbdFrame, load_frame
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.manipulation.occupancy.measuring import KnownBodies, Occupancy, points_of
from spatial_vlm_ros.manipulation.occupancy.unseen import within
from spatial_vlm_ros.manipulation.planning.surroundings import known_bodies, occupancy_around
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.types import Scene, SceneObject, Transform

CONFIG = ResolverConfig()
AWAY = 0.03  # metres from every named object
POST = np.array((0.005, 0.005, 0.02))
POSTS = 6  # most per frame
FREE = 0.05  # metres around a post without other objects
FURNITURE = {"table", "desk", "counter", "kitchen counter", "wooden table"}
"""Supports of objects: they are the support, not obstacles beside it."""
Array = npt.NDArray[np.float64]


def levelled(scene: Scene) -> Scene:
    """The scene with a planning frame: the frame's own, or one with z up."""
    frame = scene.frame
    if frame.base_T_camera is not None:
        return scene
    up = scene.up
    x = np.array([1.0, 0.0, 0.0]) - up * up[0]
    x /= np.linalg.norm(x)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack((x, np.cross(up, x), up))
    matrix[2, 3] = scene.support.offset if scene.support is not None else 0.0
    pose = Transform("level", frame.frame_id, matrix)
    return dataclasses.replace(scene, frame=dataclasses.replace(frame, base_T_camera=pose))


def scene_of(frame: RgbdFrame, detections: Sequence[Detection]) -> Scene:
    """Lift a frame into a scene with a planning frame."""
    return levelled(build_scene(frame, tuple(detections), CONFIG.depth, CONFIG.lift))


def objects_of(scene: Scene) -> list[SceneObject]:
    """Measured objects that stand on a support."""
    return [o for o in scene.objects if o.depth_problem is None and o.detection.label not in FURNITURE]


def placed(scene: Scene) -> Transform:
    """Pose of the frame's camera."""
    assert scene.frame.base_T_camera is not None
    return scene.frame.base_T_camera


def covered(frame: RgbdFrame, detections: Sequence[Detection], whole: Scene) -> Iterator[tuple[str, float, float]]:
    """For each object but the first: name, share of its points covered, and share covered by occupied voxels only."""
    first, *others = objects_of(whole)
    for obj in others:
        try:
            scene = scene_of(frame, [d for d in detections if d.id != obj.id])
        except SpatialVlmError:
            continue
        if not any(o.id == first.id and o.depth_problem is None for o in scene.objects):
            continue
        scene = dataclasses.replace(scene, frame=dataclasses.replace(scene.frame, base_T_camera=placed(whole)))
        occupancy, known = occupancy_around(scene, first.id, CONFIG), known_bodies(scene, first.id)
        points = placed(whole).apply(obj.points)
        aside = np.hypot(points[:, 0] - known.target.centre[0], points[:, 1] - known.target.centre[1])
        points = points[aside < CONFIG.occupancy.reach]
        if occupancy is None or len(points) < len(aside) / 2:
            continue
        occupied = occupancy.measured.holds(points)
        inside = occupied.copy()
        for body, margin in bodies(known):
            inside |= within(body.grown((margin,) * 3), points)
        yield obj.detection.label, float(inside.mean()), float(occupied.mean())


def bodies(known: KnownBodies) -> list[tuple[Any, float]]:
    """Boxes of named objects, and the margin within which depth counts as theirs."""
    config = CONFIG.occupancy
    return [(known.target_seen, config.target_margin), *((other, config.known_margin) for other in known.others)]


def phantoms(scene: Scene, centres: Array, support_height: float) -> tuple[float, float]:
    """Litres of voxels above the support, and of those far from every named object."""
    centres = centres[centres[:, 2] > support_height]
    litres = 1000 * CONFIG.occupancy.edge**3
    points = placed(scene).apply(np.concatenate([o.points[::5] for o in scene.objects if len(o.points)]))
    away = np.ones(len(centres), np.bool_)
    for part in np.array_split(points, max(1, len(points) // 2000)):
        if len(centres):
            away &= ((centres[:, None] - part[None]) ** 2).sum(axis=2).min(axis=1) > AWAY**2
    return len(centres) * litres, int(away.sum()) * litres


def posts(
    frame: RgbdFrame, scene: Scene, occupancy: Occupancy, known: KnownBodies
) -> Iterator[tuple[Array, RgbdFrame]]:
    """Positions of posts and a frame with each: its depth is the post's, with the error of the support's depth."""
    plane, base_T_camera = scene.support, placed(scene)
    if plane is None:
        return
    level = np.abs(plane.height(points_of(scene.frame, np.isfinite(scene.frame.depth)))) < 0.01
    table_pixels = np.isfinite(scene.frame.depth)
    table_pixels[table_pixels] = level
    places = base_T_camera.apply(points_of(scene.frame, table_pixels))[:: max(1, int(level.sum()) // 400)]
    aside = np.hypot(places[:, 0] - known.target.centre[0], places[:, 1] - known.target.centre[1])
    free = aside < CONFIG.occupancy.reach - 0.1
    for body, margin in bodies(known):
        if body.top > known.support_height + 0.01:  # what is not higher is the support itself
            free &= ~within(body.grown((margin + FREE, margin + FREE, 1.0)), places)
    for centre in occupancy.measured.centres():
        free &= np.hypot(places[:, 0] - centre[0], places[:, 1] - centre[1]) > FREE
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(free))[:POSTS]
    for place in places[chosen]:
        yield place, with_post(frame, scene, place)


def with_post(frame: RgbdFrame, scene: Scene, place: Array) -> RgbdFrame:
    """Draw a post standing on the support into a frame."""
    base_T_camera, plane = placed(scene), scene.support
    assert plane is not None
    xs, ys = normalised_axes(frame.camera)
    rays = np.stack(np.broadcast_arrays(xs[None, :], ys[:, None], 1.0), axis=-1)
    on_table = -plane.offset / (rays @ plane.normal)
    ways, eye = rays @ base_T_camera.rotation.T, base_T_camera.translation
    low, high = place - POST * (0.5, 0.5, 0.0), place + POST * (0.5, 0.5, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = (low - eye) / ways, (high - eye) / ways
    enter, leave = np.minimum(one, other).max(axis=-1), np.maximum(one, other).min(axis=-1)
    hit = (enter <= leave) & (enter > 0) & (enter < on_table)
    error = frame.depth - on_table
    depth = np.where(hit, enter + np.where(np.abs(error) < 0.05, error, 0.0), frame.depth).astype(np.float32)
    return dataclasses.replace(frame, depth=np.where(hit & np.isnan(frame.depth), np.float32(np.nan), depth))


def measured(frames: Sequence[Path], rounds: int) -> dict[str, Any]:
    """All measurements on frame folders."""
    left_out: list[tuple[str, float, float]] = []
    volumes, found, times, by_frame = [], [], [], []
    for path in frames:
        frame, detections = load_frame(path)
        scene = scene_of(frame, detections)
        frame = scene.frame
        target = objects_of(scene)[0]
        occupancy, known = occupancy_around(scene, target.id, CONFIG), known_bodies(scene, target.id)
        if occupancy is None:
            continue
        left_out += covered(frame, detections, scene)
        volumes.append(phantoms(scene, occupancy.measured.centres(), known.support_height))
        by_frame.append({"frame": path.name, "litres": [round(v, 3) for v in volumes[-1]],
                         "seen_share": round(occupancy.seen_share, 2)})  # fmt: skip
        for place, other in posts(frame, scene, occupancy, known):
            # The plane is fitted without the post, which would hardly change it.
            seen = occupancy_around(dataclasses.replace(scene, frame=other), target.id, CONFIG)
            assert seen is not None
            centres = seen.measured.centres()
            found.append(bool((np.linalg.norm(centres - place - (0, 0, 0.01), axis=1) < 0.02).any()))
        whole = {"all": partial(occupancy_around, scene, target.id, CONFIG)}
        times.append(alternate(whole, rounds)["all"].median_ms)
    shares = np.array([share for _, share, _ in left_out])
    total, away = np.array(volumes).T
    return {
        "frames": len(volumes),
        "left_out": {
            "objects": len(shares),
            "half_covered": share((shares >= 0.5).tolist()) if len(shares) else None,
            "mean_covered": round(float(shares.mean()), 3) if len(shares) else None,
            "least": [(label, round(share, 2)) for label, share, _ in sorted(left_out, key=lambda row: row[1])[:6]],
        },
        "litres_a_frame": {
            "all": _spread(total),
            f"{AWAY * 100:g}_cm_from_named": _spread(away),
            "frames_without": int((away == 0).sum()),
        },
        "posts": {"drawn": len(found), "found": sum(found)},
        "ms": {"all": round(float(np.median(times)), 1)},
        "by_frame": by_frame,
    }  # fmt: skip


def _spread(values: Array) -> dict[str, float]:
    return {"median": round(float(np.median(values)), 3), "p95": round(float(np.percentile(values, 95)), 3),
            "most": round(float(values.max()), 3)}  # fmt: skip


def main() -> int:
    """Measure, print and write."""
    given = arguments(__doc__, frames=1000, repetitions=3)
    results = {}
    for name, folder in (("real", REAL_FRAMES), ("rendered", REAL_FRAMES.parent / "outside")):
        if frames := frames_of(folder)[: given.frames]:
            results[name] = measured(frames, given.repetitions)
        else:
            print(f"no frame folders at {folder}; set SPATIAL_VLM_REAL_RGBD")
    return finish("obstacles", {"sets": results}, []) if results else 1


if __name__ == "__main__":
    raise SystemExit(main())
