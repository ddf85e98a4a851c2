# SPDX-License-Identifier: Apache-2.0
"""Surroundings of the objects: table, floor, wall, lights and their patterns, drawn at random."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.sim.meshes import Colour
from spatial_vlm_ros.sim.sensor import smooth_field
from spatial_vlm_ros.sim.tabletop import as_bytes
from spatial_vlm_ros.types import Vector3

Pattern = npt.NDArray[np.uint8]  # (N, N, 3)
_PIXELS = 256
_SHAPE = (_PIXELS, _PIXELS)
_TABLES: tuple[Colour, ...] = ((176, 138, 98), (205, 184, 152), (140, 104, 74), (188, 188, 184), (150, 160, 168))
_FLOORS: tuple[Colour, ...] = ((96, 98, 104), (128, 116, 100), (78, 84, 92), (150, 148, 142))
_WALLS: tuple[Colour, ...] = ((214, 210, 200), (190, 202, 210), (206, 214, 200), (222, 214, 222))


@dataclass(frozen=True)
class Light:
    """A lamp: its position and target (base frame, metres), its brightness 0 to 1, and whether it casts shadows."""

    position: Vector3
    towards: Vector3
    brightness: tuple[float, float, float]
    shadows: bool


@dataclass(frozen=True, eq=False)
class Scenery:
    """A table in a room, in the base frame (z up); metres."""

    table: Pattern
    floor: Pattern
    wall: Colour
    lights: tuple[Light, ...]
    ambient: float = 0.4  # light, 0 to 1
    table_centre: tuple[float, float] = (0.85, 0.0)  # x, y of the table top
    table_size: tuple[float, float] = (1.2, 1.5)  # along x and y
    table_height: float = 0.1  # of the table top
    floor_height: float = -0.65
    max_range: float = 6.0  # largest depth that the camera measures

    def __post_init__(self) -> None:
        if not min(self.table_size) > 0 or not self.table_height > self.floor_height:
            got = f"{self.table_size} at {self.table_height} m"
            raise InputError("table", got, "an extent, and a height above the floor, in metres")


def random_scenery(rng: np.random.Generator) -> Scenery:
    """Draw a table, a room and lights from `rng`."""
    wall = _WALLS[int(rng.integers(len(_WALLS)))]
    paint = np.array(_TABLES[int(rng.integers(len(_TABLES)))], np.float64) * rng.uniform(0.9, 1.1)
    kind = str(rng.choice(["wood", "stone", "cloth", "plain"]))
    if kind == "wood":
        grain = smooth_field(rng, _SHAPE, (4, 40))
        light = 1 + 0.10 * np.sin(2 * math.pi * (6 * np.linspace(0, 1, _PIXELS)[None] + 0.35 * grain)) + 0.05 * grain
    elif kind == "cloth":
        stripes = np.sin(np.arange(_PIXELS) * 2 * math.pi * 8 / _PIXELS) > 0
        light = 1 - 0.07 * stripes[None] - 0.07 * stripes[:, None] + 0.03 * rng.standard_normal(_SHAPE)
    elif kind == "stone":
        light = 1 + 0.03 * smooth_field(rng, _SHAPE, (40, 40)) + 0.03 * rng.standard_normal(_SHAPE)
    else:
        light = 1 + 0.012 * rng.standard_normal(_SHAPE)
    table = as_bytes(paint * light[..., None])

    colour = np.array(_FLOORS[int(rng.integers(len(_FLOORS)))], np.float64)
    ramp = np.arange(_PIXELS)
    joints = (ramp % 128 < 2)[:, None] | (ramp % 128 < 2)[None]
    light = (1 + 0.05 * smooth_field(rng, _SHAPE, (20, 20))) * np.where(joints, 0.75, 1.0)
    floor = as_bytes(colour * light[..., None])

    angle, warm = rng.uniform(-math.pi, math.pi), rng.uniform(-0.04, 0.04)
    over = (0.85 + 0.9 * math.cos(angle), 0.9 * math.sin(angle), float(rng.uniform(1.7, 2.2)))
    strength = rng.uniform(0.6, 0.75)
    key = (float(strength * (1 + warm)), float(strength), float(strength * (1 - warm)))
    r, g, b = (float(rng.uniform(0.18, 0.28)),) * 3
    middle = (0.85, 0.0, 0.1)
    lights = (Light(over, middle, key, True), Light((-over[0], -over[1], 2.0), middle, (r, g, b), False))
    return Scenery(table, floor, wall, lights, float(rng.uniform(0.42, 0.52)))
