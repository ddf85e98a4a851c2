# SPDX-License-Identifier: Apache-2.0
"""Detects objects that enter the space that a moving arm is going to pass through, image by image.

Everything that was there when the plan was approved is ignored: target, known objects, unnamed obstacles, support; also
the robot and its held object. Anything else in the swept space has entered since. It counts as an intrusion in the
second of two consecutive images, so that noise in one image does not stop the arm.

The camera may move, for example on the arm: each image has its own pose, and known bodies stay fixed in the planning
frame.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import DepthError, InputError
from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.geometry.rotation import matrix_from_pose
from spatial_vlm_ros.manipulation.occupancy.measuring import on_surface, widened
from spatial_vlm_ros.manipulation.occupancy.unseen import within
from spatial_vlm_ros.manipulation.occupancy.voxels import MOST_CELLS, VoxelBlocks, voxels_at
from spatial_vlm_ros.manipulation.planned_motion import PlannedMotion
from spatial_vlm_ros.manipulation.planning.hulls import Hull, LinkHull, self_mask
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene
from spatial_vlm_ros.manipulation.planning.solids import Array, Solid
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.types import PinholeCamera, RgbdFrame, Transform, Vector3

ROBOT_PADDING = 0.05  # metres around robot and held object: joint states and images are some 20 ms apart
KNOWN_PADDING = 0.03  # metres around known bodies
ABOVE_SUPPORT = 0.015  # metres, in addition to the depth noise
LEAST_SIZE = 0.03  # metres: size of the smallest object that has to be noticed, seen from the front
_SEEN = 0.3  # share of its pixels that have to be in the swept space
_LEAST_PIXELS = 12
CONFIRMED = 2  # consecutive images
LEAST_SEEN = 0.3  # share of the swept space in the image whose line of sight has to be measured and free
LEAST_SHOWN = 12  # fewest voxels of swept space in an image: with fewer, single pixels would decide
_SIGMAS = 4.0
_NEAREST = 0.05  # metres before the camera
_HIDES = 0.05  # metres: a body measured this much nearer to the camera hides what is behind it
_BESIDE = 20  # pixels around the centres of the outermost voxels


@dataclass(frozen=True)
class Intrusion:
    """An object in the arm's way that was not there when the plan was approved.

    Args:
        place: centre of its visible part in the swept space, metres, planning frame.
        pixels: number of its pixels.
    """

    place: Vector3
    pixels: int

    def words(self) -> str:
        """Text for a person."""
        x, y, z = self.place
        return f"something has entered the arm's path at ({x:.2f}, {y:.2f}, {z:.2f}) m"


class IntrusionWatch:
    """Checks images during the execution of one plan."""

    def __init__(
        self, swept: VoxelBlocks, scene: PlanningScene, extra: Sequence[Solid] = (), config: DepthConfig | None = None
    ) -> None:
        self._config = config or DepthConfig()
        bodies = [obj.padded for obj in (*scene.neighbours, scene.target)]
        self._known = [solid.grown((KNOWN_PADDING,) * 3) for solid in (*bodies, *extra)]
        self._floor = max((obj.solid.top for obj in scene.support), default=-np.inf) + ABOVE_SUPPORT
        there = [] if scene.occupancy is None else [scene.occupancy.measured, scene.occupancy.unseen]
        self._there = [widened(widened(blocks)) for blocks in there if len(blocks)]
        self._swept = swept.kept(self._free(swept.centres(), swept.edge))
        self._suspected = 0

    def look(
        self, depth: npt.NDArray[np.float32], camera: PinholeCamera, base_T_camera: Transform, robot: Sequence[LinkHull]
    ) -> Intrusion | None:
        """Check the next image.

        Args:
            depth: (H, W) float32, metres, NaN for no measurement, of a camera without distortion.
            base_T_camera: its pose in the planning frame when the image was taken.

        Returns:
            The intrusion if two consecutive images show it, otherwise None.
        """
        found = self._entered(depth, camera, base_T_camera, robot)
        self._suspected = 0 if found is None else self._suspected + 1
        return found if self._suspected >= CONFIRMED else None

    def longest_unseen(self, camera: PinholeCamera, moments: Iterable[tuple[float, Transform]]) -> float:
        """Longest time in which a moving camera would not see the way, even if nothing hides it.

        Args:
            moments: increasing times in seconds, with base_T_camera at each.

        Returns:
            Seconds between two moments that show it; 0 if all do, or nothing has to be watched.
        """
        last, longest, blind = math.nan, 0.0, False
        for now, pose in moments:
            last = now if math.isnan(last) else last
            shows = not len(self._swept) or self._shown(camera, pose) is not None
            if blind or not shows:
                longest = max(longest, now - last)
            last, blind = now if shows else last, not shows
        return longest

    def _entered(
        self, depth: npt.NDArray[np.float32], camera: PinholeCamera, base_T_camera: Transform, robot: Sequence[LinkHull]
    ) -> Intrusion | None:
        if not len(self._swept):  # it only passes known bodies
            return None
        shown = self._shown(camera, base_T_camera)
        if shown is None:
            raise DepthError("the camera does not see the arm's path", "point it at where the arm moves")
        u, v, far = shown
        seen = float((depth[np.rint(v).astype(np.intp), np.rint(u).astype(np.intp)] > far - _HIDES).mean())
        if seen < LEAST_SEEN:
            reason = f"depth covers only {seen:.0%} of the arm's path in the image"
            raise DepthError(reason, "check whether something blocks the camera or its light is off")

        left, right = max(0, int(u.min()) - _BESIDE), min(depth.shape[1], int(u.max()) + _BESIDE)
        upper, lower = max(0, int(v.min()) - _BESIDE), min(depth.shape[0], int(v.max()) + _BESIDE)
        rows, columns = np.nonzero(np.isfinite(depth[upper:lower, left:right]))
        rows, columns = rows + upper, columns + left
        xs, ys = normalised_axes(camera)
        z = depth[rows, columns].astype(np.float64)
        points = base_T_camera.apply(np.stack((xs[columns] * z, ys[rows] * z, z), axis=1))
        inside = self._swept.holds(points)
        inside[inside] = self._free(points[inside], 0.0, np.asarray(depth_noise(z[inside], self._config), np.float64))
        if np.count_nonzero(inside) < _LEAST_PIXELS:
            return None
        pixels = np.zeros(depth.shape, np.bool_)
        pixels[rows[inside], columns[inside]] = True
        frame = RgbdFrame(np.zeros((*depth.shape, 3), np.uint8), depth, camera, 0, base_T_camera.child, base_T_camera)
        pixels &= ~self_mask(frame, robot, ROBOT_PADDING, self._config, within=pixels)
        pixels &= on_surface(depth, float(camera.K[0, 0]), self._config)

        # The largest patch counts, if it is large enough for its distance.
        count, labels, stats, _ = cv2.connectedComponentsWithStats(pixels.view(np.uint8), connectivity=8)
        if count < 2:
            return None
        largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        rows, columns = np.nonzero(labels == largest)
        z = depth[rows, columns].astype(np.float64)
        least = max(_LEAST_PIXELS, _SEEN * (float(camera.K[0, 0]) * LEAST_SIZE / float(np.median(z))) ** 2)
        if len(rows) < least:
            return None
        x, y, up = np.median(base_T_camera.apply(np.stack((xs[columns] * z, ys[rows] * z, z), axis=1)), axis=0).tolist()
        return Intrusion((x, y, up), len(rows))

    def _shown(self, camera: PinholeCamera, base_T_camera: Transform) -> tuple[Array, Array, Array] | None:
        """Columns, rows (pixels) and depths (m) of the swept voxels in the image; None if there are too few."""
        own = base_T_camera.inverse().apply(self._swept.centres())
        own = own[own[:, 2] > _NEAREST]
        u = camera.K[0, 0] * own[:, 0] / own[:, 2] + camera.K[0, 2]
        v = camera.K[1, 1] * own[:, 1] / own[:, 2] + camera.K[1, 2]
        inside = (u > -0.5) & (u < camera.width - 0.5) & (v > -0.5) & (v < camera.height - 0.5)
        if np.count_nonzero(inside) < min(LEAST_SHOWN, len(self._swept)):
            return None
        return u[inside], v[inside], own[inside, 2]

    def _free(self, points: Array, edge: float, noise: Array | float = 0.0) -> npt.NDArray[np.bool_]:
        free = points[:, 2] - edge / 2 > self._floor + _SIGMAS * noise
        for solid in self._known:
            free &= ~within(solid, points)
        for blocks in self._there:
            free &= ~blocks.holds(points)
        return np.asarray(free)


EDGE = 0.02  # metres of a voxel of swept space


def swept_space(motion: PlannedMotion, target_size: Vector3, margin: float, edge: float = EDGE) -> VoxelBlocks:
    """Voxels that a moving part comes nearer to than a margin during a plan.

    Args:
        target_size: edge lengths of the object's box, metres; it moves with the frames.
        margin: metres around all moving parts.
        edge: edge of a voxel, metres.
    """
    if not motion.frames or not motion.links:
        reason = motion.missing or "no frame"
        raise InputError("motion of the arm", reason, "the arm at each moment", "set robot_description of the gate")
    hulls = [*(Hull(np.array(link.vertices)) for link in motion.links), box_hull(target_size)]
    tracks = [np.array([matrix_from_pose(frame.links[k]) for frame in motion.frames]) for k in range(len(motion.links))]
    tracks.append(np.array([matrix_from_pose(frame.target) for frame in motion.frames]))
    found: list[npt.NDArray[np.int32]] = []  # of each part, the cells that the surface of its grown hull passes
    for hull, track in zip(hulls, tracks, strict=True):
        # Inside the surface is the link itself: an object must pass the surface before it can be measured there.
        step = edge / 2
        spans = [np.arange(-(h + margin), h + margin + step, step) for h in hull.half]
        points = np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1).reshape(-1, 3) + hull.centre
        away = hull.outside_by(points)
        skin = np.asarray(points[(away <= margin) & (away >= margin - 3 * step)], np.float64)
        passed = [_placed(skin, track[0])]
        for last, pose in itertools.pairwise(track):
            ways = np.linalg.norm(_placed(hull.vertices, pose) - _placed(hull.vertices, last), axis=1)
            steps = math.ceil(float(ways.max()) / edge)
            # Between two poses corners move almost in straight lines, accurate enough for steps of one voxel.
            passed += [_placed(skin, last + (pose - last) * (k / steps)) for k in range(1, steps + 1)]
        found.append(np.floor(np.concatenate(passed) / edge).astype(np.int32))
    low, high = np.min([cells.min(axis=0) for cells in found], axis=0), np.max([c.max(axis=0) for c in found], axis=0)
    sizes = high - low + 1
    if math.prod(sizes.tolist()) > MOST_CELLS:
        raise InputError("motion of the arm", f"{sizes * edge} m", "the size of an arm", "use metres in the URDF")
    grid = np.zeros(tuple(sizes), np.bool_)
    for cells in found:
        grid[tuple((cells - low).T)] = True
    return voxels_at(np.argwhere(grid) + low, edge)


def _placed(points: npt.NDArray[np.floating], pose: Array) -> Array:
    return np.asarray(points @ pose[:3, :3].T + pose[:3, 3], np.float64)


def box_hull(sizes: Sequence[float]) -> Hull:
    """Hull of a box about its centre; edge lengths in metres."""
    half = np.array(sizes) / 2
    return Hull(np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half)
