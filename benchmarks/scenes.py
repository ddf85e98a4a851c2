# SPDX-License-Identifier: Apache-2.0
"""Frames with known truth, and objects made from numbers, that several benchmarks share."""

from __future__ import annotations

import math

import numpy as np

from spatial_vlm_lab.sim.random_worlds import random_tabletop
from spatial_vlm_ros.sim.sensor import noisy
from spatial_vlm_ros.sim.tabletop import Rendering, World, look_at, render
from spatial_vlm_ros.types import Detection, OrientedBox, PinholeCamera, RgbdFrame, SceneObject, Transform

LABELS = ("cup", "mug", "can", "box")


def camera(width: int, height: int, focal: float) -> PinholeCamera:
    """Make a pinhole camera whose axis passes through the middle of the image."""
    return PinholeCamera(
        np.array([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]]), width, height
    )


def tabletop(
    seed: int,
    n: int,
    lens: PinholeCamera,
    distance: float,
    down_deg: float = 55.0,
    region: tuple[float, float] = (0.8, 0.5),
) -> tuple[World, Rendering, RgbdFrame]:
    """Render hand-sized objects on a table, seen from one side and above.

    Args:
        seed: seed of positions, sizes and sensor noise.
        n: number of objects.
        lens: the camera.
        distance: distance from the camera to the middle of the table, metres.
        down_deg: angle below the horizontal at which it looks, degrees.
        region: size of the central area for the objects, metres.

    Returns:
        The world, its rendering by a perfect sensor, and the frame of a real sensor.
    """
    rng = np.random.default_rng(seed)
    world = random_tabletop(rng, n, region=region, gap=0.015, labels=LABELS)
    angle = math.radians(down_deg)
    pose = look_at((0.0, -distance * math.cos(angle), distance * math.sin(angle)), (0.0, 0.0, 0.05))
    seen = render(world, lens, pose)
    return world, seen, noisy(seen.frame, rng)


def lifted(
    detection: Detection, centre: np.ndarray, size: np.ndarray, yaw: float, pose: Transform, points: np.ndarray
) -> SceneObject:
    """Make an upright box as if it was lifted from an image.

    Args:
        detection: its detection.
        centre: (3,) metres, base frame.
        size: (3,) metres along its own axes.
        yaw: heading, radians.
        pose: base_T_camera.
        points: (N, 3) points of its surface in the camera frame, metres.
    """
    axes = upright(yaw)
    corners = np.array([(a, b, 0.0) for a, b in ((1, 1), (-1, 1), (-1, -1), (1, -1)) for _ in range(4)])
    camera_T_base = pose.inverse()
    middle = camera_T_base.apply(centre[None])[0]
    return SceneObject(
        detection=detection,
        points=points.astype(np.float32),
        surface_centre=np.median(points, axis=0),
        box=OrientedBox(middle, camera_T_base.rotation @ axes, size),
        footprint=camera_T_base.apply(centre + (corners * size / 2) @ axes.T),
        covariance=np.eye(6) * 1e-6,
    )


def upright(yaw: float) -> np.ndarray:
    """(3, 3) rotation about the vertical."""
    return np.array([[math.cos(yaw), -math.sin(yaw), 0.0], [math.sin(yaw), math.cos(yaw), 0.0], [0.0, 0.0, 1.0]])
