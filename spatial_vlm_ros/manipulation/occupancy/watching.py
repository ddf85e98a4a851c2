# SPDX-License-Identifier: Apache-2.0
"""Whether anything enters the space that an arm is going to pass through, image by image while it moves.

What was there when the plan was approved does not count: target, known objects, obstacles without a name, the support.
Nor does the robot, or what it holds. What is left in the swept space has come since. It is an intrusion in the second
of two images one after the other, so that the noise of one image stops nothing.

The camera may move, on the arm itself, for example: each image has its own pose, and what was there stays where it was
in the planning frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import DepthError
from spatial_vlm_ros.geometry.camera import normalised_axes
from spatial_vlm_ros.geometry.depth import depth_noise
from spatial_vlm_ros.manipulation.occupancy.flying import on_surface
from spatial_vlm_ros.manipulation.occupancy.spaces import widened
from spatial_vlm_ros.manipulation.occupancy.unseen import within
from spatial_vlm_ros.manipulation.occupancy.voxels import VoxelBlocks
from spatial_vlm_ros.manipulation.planning.scene import PlanningScene
from spatial_vlm_ros.manipulation.planning.self_filter import LinkHull, self_mask
from spatial_vlm_ros.manipulation.planning.solids import Array, Solid
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.types import Mask, PinholeCamera, RgbdFrame, Transform, Vector3

ROBOT_PADDING = 0.05  # metres around robot and held object: joint states and images are some 20 ms apart
KNOWN_PADDING = 0.03  # metres around what was there
ABOVE_SUPPORT = 0.015  # metres, beside the noise of depth
LEAST_SIZE = 0.03  # metres: of the smallest object that has to be noticed, seen from the front
_SEEN = 0.3  # part of its pixels that have to be in the swept space
_LEAST_PIXELS = 12
CONFIRMED = 2  # images one after the other
LEAST_SEEN = 0.3  # part of the swept space in the image whose line of sight has to be measured and free
LEAST_SHOWN = 12  # voxels of swept space in an image: of fewer, single pixels would decide whether depth is there
_SIGMAS = 4.0
_NEAREST = 0.05  # metres before the camera
_HIDES = 0.05  # metres: what is measured nearer to the camera hides what is behind it
_BESIDE = 20  # pixels beside the middles of the outermost voxels


@dataclass(frozen=True)
class Intrusion:
    """Something that was not there when the plan was approved, in the way of the arm.

    Args:
        place: middle of what is seen of it in swept space, metres, planning frame.
        pixels: of it.
    """

    place: Vector3
    pixels: int

    def words(self) -> str:
        """For a person."""
        x, y, z = self.place
        return f"something has entered the arm's path at ({x:.2f}, {y:.2f}, {z:.2f}) m"


class IntrusionWatch:
    """Looks at images while one plan is carried out.

    Args:
        swept: space that the plan passes through (swept.swept_space).
        scene: that it was planned in.
        extra: boxes of what else may be there, such as the target where it is put down.
        config: noise of depth.
    """

    def __init__(
        self, swept: VoxelBlocks, scene: PlanningScene, extra: Sequence[Solid] = (), config: DepthConfig | None = None
    ) -> None:
        self._config = config or DepthConfig()
        bodies = [obj.padded for obj in (*scene.neighbours, scene.target)]
        grown = (KNOWN_PADDING,) * 3
        self._known = [solid.grown(grown) for solid in (*bodies, *extra)]
        self._floor = max((obj.solid.top for obj in scene.support), default=-np.inf) + ABOVE_SUPPORT
        there = [] if scene.occupancy is None else [scene.occupancy.measured, scene.occupancy.unseen]
        self._there = [widened(widened(blocks)) for blocks in there if len(blocks)]
        self._swept = swept.kept(self._free(swept.centres(), swept.edge))
        self._suspected = 0

    def look(
        self, depth: npt.NDArray[np.float32], camera: PinholeCamera, base_T_camera: Transform, robot: Sequence[LinkHull]
    ) -> Intrusion | None:
        """One image, later than the one before.

        Args:
            depth: (H, W) float32, metres, NaN where not measured, of a camera without distortion.
            camera: of that size.
            base_T_camera: its pose in the planning frame when the image was taken.
            robot: links, and what is held, where they are when the image is taken.

        Returns:
            What has entered, where two images one after the other show it; else None.

        Raises:
            DepthError: the image does not show the way: swept space is outside of it, hidden, or without depth. It
                counts as no image.
        """
        found = self._entered(depth, camera, base_T_camera, robot)
        self._suspected = 0 if found is None else self._suspected + 1
        return found if self._suspected >= CONFIRMED else None

    def longest_unseen(self, camera: PinholeCamera, moments: Iterable[tuple[float, Transform]]) -> float:
        """For how long none of the images of a moving camera would show the way, even if nothing hides it.

        Args:
            camera: without distortion.
            moments: seconds, rising, and where the camera is then (base_T_camera, planning frame).

        Returns:
            Seconds, from one moment that shows it to the next; 0 where each does, or nothing has to be watched.
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
        if not len(self._swept):  # it passes only where something was known to be
            return None
        view = self._view(depth, camera, base_T_camera)
        rows, columns = np.nonzero(np.isfinite(depth[view]))
        rows, columns = rows + view[0].start, columns + view[1].start
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
        return self._largest(pixels, depth, camera, base_T_camera)

    def _view(
        self, depth: npt.NDArray[np.float32], camera: PinholeCamera, base_T_camera: Transform
    ) -> tuple[slice, slice]:
        """Rows and columns that swept space is seen in: the image rectangle around its voxels.

        Raises:
            DepthError: none of it is in the image, or too little of that can be seen.
        """
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
        return slice(upper, lower), slice(left, right)

    def _shown(self, camera: PinholeCamera, base_T_camera: Transform) -> tuple[Array, Array, Array] | None:
        """Columns, rows (pixels) and depths (m) of the voxels of swept space in the image; None for too few of them."""
        own = base_T_camera.inverse().apply(self._swept.centres())
        own = own[own[:, 2] > _NEAREST]
        u = camera.K[0, 0] * own[:, 0] / own[:, 2] + camera.K[0, 2]
        v = camera.K[1, 1] * own[:, 1] / own[:, 2] + camera.K[1, 2]
        inside = (u > -0.5) & (u < camera.width - 0.5) & (v > -0.5) & (v < camera.height - 0.5)
        if np.count_nonzero(inside) < min(LEAST_SHOWN, len(self._swept)):
            return None
        return u[inside], v[inside], own[inside, 2]

    def _free(self, points: Array, edge: float, noise: Array | float = 0.0) -> npt.NDArray[np.bool_]:
        """(N,) whether points are in none of what was there."""
        free = points[:, 2] - edge / 2 > self._floor + _SIGMAS * noise
        for solid in self._known:
            free &= ~within(solid, points)
        for blocks in self._there:
            free &= ~blocks.holds(points)
        return np.asarray(free)

    def _largest(
        self, pixels: Mask, depth: npt.NDArray[np.float32], camera: PinholeCamera, base_T_camera: Transform
    ) -> Intrusion | None:
        """The largest patch, where it is large enough for its distance."""
        count, labels, stats, _ = cv2.connectedComponentsWithStats(pixels.view(np.uint8), connectivity=8)
        if count < 2:
            return None
        largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        rows, columns = np.nonzero(labels == largest)
        z = depth[rows, columns].astype(np.float64)
        least = max(_LEAST_PIXELS, _SEEN * (float(camera.K[0, 0]) * LEAST_SIZE / float(np.median(z))) ** 2)
        if len(rows) < least:
            return None
        xs, ys = normalised_axes(camera)
        x, y, up = np.median(base_T_camera.apply(np.stack((xs[columns] * z, ys[rows] * z, z), axis=1)), axis=0).tolist()
        return Intrusion((x, y, up), len(rows))
