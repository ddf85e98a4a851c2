# SPDX-License-Identifier: Apache-2.0
"""A simulated world seen by a live camera and a detector: new noise in each frame, depth in whole millimetres."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from spatial_vlm_ros.errors import UnknownNameError
from spatial_vlm_ros.sim.cameras import camera_of
from spatial_vlm_ros.sim.demo_worlds import DEMO_WORLDS
from spatial_vlm_ros.sim.grounder import load
from spatial_vlm_ros.sim.physics import PhysicsRendering
from spatial_vlm_ros.sim.sensor import STEREO, noisy
from spatial_vlm_ros.types import Depth, Detection, RgbdFrame

_SHAPES = {640: 480, 1280: 720}  # width → height of the usual image sizes; others are 4:3


def simulated_frames(
    world: str, width: int, detector: Mapping[str, str], shots: int
) -> Iterator[tuple[RgbdFrame, tuple[Detection, ...]]]:
    """Render noisy frames of one world at rest.

    Args:
        world: a name in DEMO_WORLDS, or the seed of a random world.
        width: image width, pixels.
    """
    options = dict(detector)
    if world in DEMO_WORLDS:
        options["world"] = world
    elif world.isdecimal():
        options["seed"] = world
    else:
        raise UnknownNameError("world", world, (*DEMO_WORLDS, "a seed such as 7"))
    camera = camera_of(width, _SHAPES.get(width, width * 3 // 4))
    grounder = load(**options, width=str(camera.width), height=str(camera.height))
    seen = grounder.rendering
    shiny = seen.shiny if isinstance(seen, PhysicsRendering) else None
    for shot in range(shots):
        frame = noisy(seen.frame, np.random.default_rng(shot), STEREO, shiny)
        yield replace(frame, depth=in_millimetres(frame.depth)), grounder.detections()


def in_millimetres(depth: Depth) -> Depth:
    """Depth rounded to whole millimetres: it then travels as 16UC1."""
    return (np.rint(depth.astype(np.float64) * 1000) * 0.001).astype(np.float32)
