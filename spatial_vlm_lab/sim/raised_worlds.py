# SPDX-License-Identifier: Apache-2.0
"""Worlds in which height in the image is a poor cue for distance: objects on pedestals, stacks, low cameras.

On a bare table, farther objects are higher in the image. Here a near object is often higher than a far one. Cameras
have several focal lengths and are low or high; objects have any shape, size and paint.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_lab.sim.primitives import oddment, paint, pedestal
from spatial_vlm_lab.sim.training_frames import tilted_view
from spatial_vlm_ros.sim.cameras import camera_of
from spatial_vlm_ros.sim.compilation import PlacedModel
from spatial_vlm_ros.sim.kinds import FURNITURE, KINDS, make
from spatial_vlm_ros.sim.model import Model, scaled
from spatial_vlm_ros.sim.physics import PhysicsWorld
from spatial_vlm_ros.sim.scenery import Light, Scenery, random_scenery
from spatial_vlm_ros.sim.settled import random_view
from spatial_vlm_ros.sim.tabletop import as_bytes
from spatial_vlm_ros.types import PinholeCamera, Transform

_SPOTS = (4, 9)  # positions on the table, each with an object or a stack
_AREA = (0.22, 0.42)  # radius of the area of the positions, metres
_TRIES = 30
_GAP, _LIFT = 0.006, 0.002  # metres: between neighbours on the table; above the support at which objects start
_RAISED, _TWICE = 0.55, 0.25  # share of positions with a pedestal; share of these with a second one on it
_FILLED = 0.2  # share of positions and pedestals with a filled container
_CONTAINERS = ("bowl", "basket", "tray", "plate")
_OTHER_KINDS = tuple(kind for kind in FURNITURE if kind not in ("board", "bookcase", "cabinet"))
_NEAR, _STEEP = (0.55, 1.5), (6.0, 60.0)  # cameras: metres, degrees above the horizon
_FOCAL = (0.75, 1.4)  # times the focal length of `camera_of`
_ROLL_DEG = 8.0


def raised_world(rng: np.random.Generator) -> PhysicsWorld:
    """Make a random settled world; fallen objects stay where they are."""
    scenery = _repainted(rng, random_scenery(rng))
    area, spots, placed = rng.uniform(*_AREA), list[tuple[float, float, float]](), list[PlacedModel]()
    for _ in range(int(rng.integers(_SPOTS[0], _SPOTS[1] + 1))):
        stack = _stack(rng)
        reach = max(model.reach for model in stack)
        for _ in range(_TRIES):
            angle, out = rng.uniform(-math.pi, math.pi), area * math.sqrt(rng.random())
            x, y = 0.8 + out * math.cos(angle), out * math.sin(angle)
            if all(math.hypot(x - a, y - b) > reach + r + _GAP for a, b, r in spots):
                spots.append((x, y, reach))
                placed += _piled(rng, stack, (x, y), scenery.table_height, len(placed))
                break
    return PhysicsWorld(placed, scenery, random_view(rng))


def raised_camera(rng: np.random.Generator, size: tuple[int, int]) -> PinholeCamera:
    """Make a camera of this image size with a longer or shorter lens than usual."""
    usual = camera_of(*size)
    k = usual.K.copy()
    k[[0, 1], [0, 1]] *= rng.uniform(*_FOCAL)
    return PinholeCamera(k, *size)


def raised_view(rng: np.random.Generator) -> Transform:
    """Draw a camera pose anywhere around the table, often low, slightly tilted."""
    distance = float(rng.uniform(*_NEAR))
    elevation = math.radians(float(rng.uniform(*_STEEP)))
    round_, roll_deg = float(rng.uniform(-math.pi, math.pi)), float(rng.uniform(-_ROLL_DEG, _ROLL_DEG))
    target = (0.8 + float(rng.uniform(-0.1, 0.1)), float(rng.uniform(-0.1, 0.1)), float(rng.uniform(0.12, 0.28)))
    return tilted_view(target, distance, elevation, round_, roll_deg)


def _object(rng: np.random.Generator) -> Model:
    if rng.random() < 0.5:
        return oddment(rng)
    kind = str(rng.choice([*KINDS, *_OTHER_KINDS]))
    return scaled(make(kind, rng), float(rng.uniform(0.6, 1.4)))


def _stack(rng: np.random.Generator) -> list[Model]:
    """An object, a filled container, or one of these on pedestals; the lowest first."""
    top = [_object(rng)]
    if rng.random() < _FILLED:
        container = scaled(make(str(rng.choice(_CONTAINERS)), rng), float(rng.uniform(0.9, 1.4)))
        reach = min(container.holder.reach) if container.holder is not None else container.reach
        top = [container, scaled(top[0], min(1.2, float(rng.uniform(0.5, 0.9)) * reach / top[0].reach))]
    if rng.random() >= _RAISED:
        return top
    below = [pedestal(rng, min(top[0].reach, 0.13) * float(rng.uniform(0.8, 1.5)))]
    if rng.random() < _TWICE:
        below.insert(0, pedestal(rng, max(below[0].size[:2]) / 2))
    return [*below, *top]


def _piled(
    rng: np.random.Generator, stack: list[Model], spot: tuple[float, float], height: float, number: int
) -> list[PlacedModel]:
    """The start poses of a stack."""
    piled = []
    for level, model in enumerate(stack):
        position = (spot[0], spot[1], height + _LIFT)
        piled.append(PlacedModel(f"{model.label}_{number + level}", model, position, float(rng.uniform(-3.14, 3.14))))
        holder = model.holder
        height += _LIFT + (holder.height if holder is not None else model.size[2])
        height += 0.006 if holder is not None and holder.relation == "in" else 0.0
    return piled


def _repainted(rng: np.random.Generator, scenery: Scenery) -> Scenery:
    """Draw other patterns and paints for table, floor and walls, and other lights."""
    r, g, b = paint(rng)
    changes = {"table": _pattern(rng), "floor": _pattern(rng), "wall": (max(r, 40), max(g, 40), max(b, 40))}
    kept = {name: value for name, value in changes.items() if rng.random() < 0.7}
    lights = tuple(_other(rng, light) for light in scenery.lights)
    ambient = scenery.ambient * float(rng.uniform(0.6, 1.15))
    return dataclasses.replace(scenery, lights=lights, ambient=ambient, **kept)  # type: ignore[arg-type]


def _other(rng: np.random.Generator, light: Light) -> Light:
    r, g, b = (min(1.0, float(rng.uniform(0.5, 1.25)) * value) for value in light.brightness)
    x, y, z = (value + float(rng.uniform(-0.3, 0.3)) for value in light.position)
    return dataclasses.replace(light, position=(x, y, z), brightness=(r, g, b))


def _pattern(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Draw two paints in checks, stripes or spots, or a single paint, with some grain."""
    first, second = (np.array(paint(rng), np.float64) for _ in range(2))
    second = first + (second - first) * rng.uniform(0.1, 1.0)
    rows, columns = np.mgrid[0:256, 0:256] // int(rng.choice([8, 16, 32, 64]))
    form = int(rng.integers(4))
    spots = cv2.resize(rng.standard_normal((12, 12)), (256, 256), interpolation=cv2.INTER_CUBIC)
    mixed = (np.zeros((256, 256)), (rows + columns) % 2, columns % 2, spots > 0.3)[form]
    grain = 1 + rng.uniform(0.0, 0.06) * rng.standard_normal((256, 256, 1))
    return as_bytes((first + (second - first) * mixed[..., None]) * grain)
