# SPDX-License-Identifier: Apache-2.0
"""Worlds in which height in the image is a poor cue for distance: objects on pedestals, stacks, low cameras.

On a bare table, farther objects are higher in the image. Here a near object is often higher than a far one. Cameras
have several focal lengths and are low or high; objects have any shape, size and paint.
"""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from spatial_vlm_lab.sim.training_frames import tilted_view
from spatial_vlm_ros.sim.cameras import camera_of
from spatial_vlm_ros.sim.compilation import PlacedModel
from spatial_vlm_ros.sim.kinds import FURNITURE, KINDS, make
from spatial_vlm_ros.sim.meshes import Profile, block, ellipsoid, join, revolve
from spatial_vlm_ros.sim.model import CollisionPiece, Colour, Holder, Model, PaintedSurface, hulls, scaled
from spatial_vlm_ros.sim.physics import PhysicsWorld
from spatial_vlm_ros.sim.scenery import Scenery, random_scenery
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
                break
        else:
            continue
        spots.append((x, y, reach))
        height = scenery.table_height
        for model in stack:
            position, yaw = (x, y, height + _LIFT), float(rng.uniform(-3.14, 3.14))
            placed.append(PlacedModel(f"{model.label}_{len(placed)}", model, position, yaw))
            holder = model.holder
            height += _LIFT + (holder.height if holder is not None else model.size[2])
            height += 0.006 if holder is not None and holder.relation == "in" else 0.0
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


def _stack(rng: np.random.Generator) -> list[Model]:
    """An object, a filled container, or one of these on pedestals; the lowest first."""
    if rng.random() < 0.5:
        top = [oddment(rng)]
    else:
        kind = str(rng.choice([*KINDS, *_OTHER_KINDS]))
        top = [scaled(make(kind, rng), float(rng.uniform(0.6, 1.4)))]
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


def _repainted(rng: np.random.Generator, scenery: Scenery) -> Scenery:
    """Draw other patterns and paints for table, floor and walls, and other lights."""
    r, g, b = paint(rng)
    changes = {"table": _pattern(rng), "floor": _pattern(rng), "wall": (max(r, 40), max(g, 40), max(b, 40))}
    kept = {name: value for name, value in changes.items() if rng.random() < 0.7}
    lights = []
    for light in scenery.lights:
        red, green, blue = (min(1.0, float(rng.uniform(0.5, 1.25)) * value) for value in light.brightness)
        x, y, z = (value + float(rng.uniform(-0.3, 0.3)) for value in light.position)
        lights.append(dataclasses.replace(light, position=(x, y, z), brightness=(red, green, blue)))
    ambient = scenery.ambient * float(rng.uniform(0.6, 1.15))
    return dataclasses.replace(scenery, lights=tuple(lights), ambient=ambient, **kept)  # type: ignore[arg-type]


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


# ------------------------------------------------------------------------------------------------ generic objects


_DENSITY = 300.0  # kg/m³
_LEG, _SEAT = 0.016, 0.018  # metres: thickness of a stand's legs and of its top
_SECTIONS = (4, 5, 6, 8, 32)  # sides of turned shapes


def oddment(rng: np.random.Generator) -> Model:
    """Make a small object of one to three paints: a block, a turned body or an ellipsoid, 3 to 20 cm high."""
    form = str(rng.choice(["block", "turned", "turned", "ellipsoid"]))
    if form == "block":
        return _block(rng, (rng.uniform(0.03, 0.13), rng.uniform(0.03, 0.1), rng.uniform(0.03, 0.2)), "oddment")
    if form == "turned":
        return _turned(rng, float(rng.uniform(0.02, 0.06)), float(rng.uniform(0.04, 0.2)))
    x, y, z = (float(r) for r in rng.uniform(0.02, 0.055, 3))
    mesh = ellipsoid((x, y, z)).moved((0, 0, z))
    solid = CollisionPiece("ellipsoid", (x, y, z), (0, 0, z))
    return Model("oddment", (), (PaintedSurface(mesh, paint(rng), mottled=bool(rng.random() < 0.5)),), (solid,),
                 4.2 * _DENSITY * x * y * z, (0, 0, 0.8 * z), rolling=0.002, may_tip=True)  # fmt: skip


def pedestal(rng: np.random.Generator, reach: float) -> Model:
    """Make a pedestal, 2 to 32 cm high: a block, a column, or a top on legs.

    Args:
        reach: half of the smallest extent of its top, metres.
    """
    height = float(0.02 + 0.3 * rng.beta(1.2, 1.5))
    form = str(rng.choice(["block", "column", "stand"]))
    if form == "column":
        sides, radius = int(rng.choice(_SECTIONS)), 1.2 * reach
        ring = revolve([(0, 0), (radius, 0), (radius, height), (0, height)], sides)
        solid = hulls([ring.vertices])
        holder = Holder("on", height, (0.6 * radius, 0.6 * radius))
        cut = height * float(rng.uniform(0.2, 1.3))
        cuts = (0.0, cut, height) if cut < 0.85 * height else (0.0, height)  # one paint, or two
        bands = tuple(
            PaintedSurface(revolve([(0, low), (radius, low), (radius, high), (0, high)], sides), paint(rng))
            for low, high in pairwise(cuts)
        )
        return Model("pedestal", (), bands, solid,
                     3 * _DENSITY * radius**2 * height, (0, 0, height / 2), holder=holder)  # fmt: skip
    x, y = (2 * reach * float(rng.uniform(1.0, 1.8)) for _ in range(2))
    if form == "block" or height < 0.06:
        return _block(rng, (x, y, height), "pedestal")
    boards = [((x, y, _SEAT), (0.0, 0.0, height - _SEAT / 2))]
    boards += [((_LEG, _LEG, height - _SEAT), (sx * (x - _LEG) / 2, sy * (y - _LEG) / 2, (height - _SEAT) / 2))
               for sx in (-1, 1) for sy in (-1, 1)]  # fmt: skip
    top, *legs = (block(size).moved(centre) for size, centre in boards)
    parts = (PaintedSurface(top, paint(rng)), PaintedSurface(join(*legs), paint(rng)))
    solids = tuple(CollisionPiece("box", (s[0] / 2, s[1] / 2, s[2] / 2), centre) for s, centre in boards)
    return Model("pedestal", (), parts, solids, 0.8, (0, 0, 0.7 * height),
                 holder=Holder("on", height, (0.45 * x, 0.45 * y)))  # fmt: skip


def paint(rng: np.random.Generator) -> Colour:
    """Draw any colour, more or less saturated."""
    grey, strength = rng.uniform(25, 235), rng.uniform(0.0, 1.0)
    r, g, b = (int(c) for c in np.clip(grey + strength * rng.uniform(-110, 110, 3), 15, 245))
    return r, g, b


def _block(rng: np.random.Generator, size: tuple[float, float, float], label: str) -> Model:
    x, y, z = (float(s) for s in size)
    parts = [PaintedSurface(block((x, y, z)).moved((0, 0, z / 2)), paint(rng), mottled=bool(rng.random() < 0.5))]
    if rng.random() < 0.6:  # a panel, and sometimes a stripe around it
        wide, high = float(rng.uniform(0.3, 0.9)), float(rng.uniform(0.2, 0.7))
        parts.append(PaintedSurface(block((wide * x, y + 0.001, high * z)).moved((0, 0, z / 2)), paint(rng)))
    if rng.random() < 0.4:
        at = float(rng.uniform(0.15, 0.85))
        parts.append(PaintedSurface(block((x + 0.001, y + 0.001, 0.14 * z)).moved((0, 0, at * z)), paint(rng)))
    solid = CollisionPiece("box", (x / 2, y / 2, z / 2), (0, 0, z / 2))
    return Model(label, (), tuple(parts), (solid,), _DENSITY * x * y * z, (0, 0, z / 2),
                 holder=Holder("on", z, (0.45 * x, 0.45 * y)))  # fmt: skip


def _turned(rng: np.random.Generator, radius: float, height: float) -> Model:
    """A body with a wavy outline in bands of up to three paints."""
    sides, levels = int(rng.choice(_SECTIONS)), int(rng.integers(2, 6))
    heights = np.linspace(0.0, height, levels)
    radii = radius * rng.uniform(0.45, 1.0, levels)
    radii[0] = radius * float(rng.uniform(0.75, 1.0))  # so that it stands
    paints = [paint(rng) for _ in range(int(rng.integers(1, 4)))]
    parts = []
    for n in range(levels - 1):
        low, high = (float(radii[n]), float(heights[n])), (float(radii[n + 1]), float(heights[n + 1]))
        profile: Profile = [(0, low[1]), low, high, (0, high[1])]
        parts.append(PaintedSurface(revolve(profile, sides), paints[n % len(paints)]))
    corners = np.concatenate([part.mesh.vertices for part in parts])
    flat = 0.6 * float(radii[-1])
    return Model("oddment", (), tuple(parts), hulls([corners]), 2.2 * _DENSITY * radius**2 * height,
                 (0, 0, 0.45 * height), holder=Holder("on", height, (flat, flat)))  # fmt: skip
