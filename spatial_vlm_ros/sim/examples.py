# SPDX-License-Identifier: Apache-2.0
"""Small example scenes for the README, the demo and first experiments."""

from __future__ import annotations

import dataclasses

import numpy as np

from spatial_vlm_ros.sim.tabletop import Body, Box, Cup, Sphere, World, look_at, noisy, render
from spatial_vlm_ros.types import Detection, PinholeCamera, RgbdFrame

CAMERA = PinholeCamera(np.array([[610.0, 0.0, 320.0], [0.0, 610.0, 240.0], [0.0, 0.0, 1.0]]), 640, 480)


def chicks_and_cup() -> World:
    """Make two chicks, one behind the cup and one in front of it as seen from -x, and a box to the left."""
    return World(
        bodies=(
            Body("bonnet", "chick", Sphere(0.035), (0.22, -0.03, 0.0), "yellow"),
            Body("ribbon", "chick", Sphere(0.035), (-0.18, 0.02, 0.0), "yellow"),
            Body("cup", "cup", Cup(0.04, 0.09), (0.0, 0.0, 0.0), "blue"),
            Body("box", "box", Box((0.10, 0.14, 0.08)), (0.05, 0.25, 0.0), "red", yaw=0.4),
        )
    )


def chicks_and_cup_frame(seed: int = 0) -> tuple[RgbdFrame, tuple[Detection, ...]]:
    """Render that scene with a depth camera, 640x480, with the detections of a perfect detector, with masks.

    The camera is 0.85 m from the cup and 30° above the table; poses are given in the frame "world".
    """
    seen = render(chicks_and_cup(), CAMERA, look_at((-0.74, 0.0, 0.43), (0.0, 0.0, 0.03)))
    worn = {"bonnet": "bonnet", "ribbon": "ribbon"}
    detections = tuple(
        dataclasses.replace(d, attributes=(*d.attributes, worn[d.id])) if d.id in worn else d for d in seen.detections
    )
    return noisy(seen.frame, np.random.default_rng(seed)), detections
