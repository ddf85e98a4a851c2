# SPDX-License-Identifier: Apache-2.0
"""Measured objects in metres in the camera frame, and the surface they stand on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.types.arrays import Points
from spatial_vlm_ros.types.observation import Detection, RgbdFrame
from spatial_vlm_ros.types.shape import ObjectShape
from spatial_vlm_ros.types.status import UpSource


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
        detection: what was detected.
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


@dataclass(frozen=True, eq=False)
class Scene:
    """All objects of one frame, in its camera frame.

    Args:
        objects: one for each detection, in the detector's order, except those of the robot.
        up: (3,) unit, against gravity.
        up_from: where `up` came from.
        support: the plane the objects stand on, or None if none was seen.
        frame: the observation.
        of_robot: detections that show only the robot itself; they are not in `objects`.
    """

    objects: tuple[SceneObject, ...]
    up: npt.NDArray[np.float64]
    up_from: UpSource
    support: Plane | None
    frame: RgbdFrame
    of_robot: tuple[Detection, ...] = ()
