# SPDX-License-Identifier: Apache-2.0
"""Cups, mugs, bowls, plates, cans and bottles: turned objects, most of them hollow."""

from __future__ import annotations

import math

import numpy as np

from spatial_vlm_ros.sim.meshes import Mesh, revolve, sweep, wedges
from spatial_vlm_ros.sim.model import CollisionPiece, Colour, Holder, Model, PaintedSurface, hulls, shaded

Profile = list[tuple[float, float]]
_RIM = 0.0015  # rounding of a rim, metres
_METAL: Colour = (190, 192, 196)
_PAPER: Colour = (236, 232, 220)


def cup(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A tapered cup without a handle."""
    low, high, height, wall = rng.uniform(0.027, 0.031), rng.uniform(0.037, 0.042), rng.uniform(0.08, 0.1), 0.0035
    outer = [(low, 0.0), (low + 0.4 * (high - low), 0.35 * height), (high, height)]
    parts, solids = _hollow(outer, wall, 0.005, paint)
    return Model("cup", (colour,), parts, solids, rng.uniform(0.15, 0.22), (0, 0, 0.4 * height))


def mug(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A straight mug with a handle towards its own +x."""
    radius, height, wall = rng.uniform(0.038, 0.043), rng.uniform(0.088, 0.102), 0.004
    parts, solids = _hollow([(radius * 0.97, 0.0), (radius, 0.01), (radius, height)], wall, 0.006, paint)

    angles, thickness = np.linspace(-math.pi / 2, math.pi / 2, 16), 0.0055  # the handle, from wall to wall
    x, z = radius - 0.003 + 0.03 * np.cos(angles) ** 0.8, 0.52 * height + 0.31 * height * np.sin(angles)
    path = np.stack([x, np.zeros(len(angles)), z], axis=1)
    grip = sweep(path, np.full(len(path), thickness), flat=1.4)
    bars = []
    for start, end in ((path[k], path[k + 3]) for k in range(0, len(path) - 3, 3)):
        length = float(np.linalg.norm(end - start))
        along, across = (end - start) / length, np.array([0.0, 1.0, 0.0])
        turned = np.stack([np.cross(across, along), across, along], axis=1)
        middle = (start + end) / 2
        place = (float(middle[0]), float(middle[1]), float(middle[2]))
        bars.append(CollisionPiece("capsule", (thickness, length / 2), place, turned))
    mass = rng.uniform(0.28, 0.35)
    return Model(
        "mug", (colour,), (*parts, PaintedSurface(grip, paint)), (*solids, *bars), mass, (0.004, 0, 0.45 * height)
    )


def bowl(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A round bowl on a foot, wide enough for fruit."""
    radius, height, foot, wall = rng.uniform(0.075, 0.088), rng.uniform(0.056, 0.066), 0.036, 0.0045
    steps = np.linspace(0, math.pi / 2, 8)
    outer = [(foot, 0.0)] + [
        (foot + (radius - foot) * math.sin(a), 0.006 + (height - 0.006) * (1 - math.cos(a))) for a in steps
    ]
    parts, solids = _hollow(outer, wall, 0.008, paint)
    holder = Holder("in", 0.009, (0.55 * radius, 0.55 * radius))
    return Model("bowl", (colour,), parts, solids, rng.uniform(0.3, 0.45), (0, 0, 0.4 * height), holder=holder)


def plate(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A flat plate with a low rim."""
    radius, height, foot, wall = rng.uniform(0.095, 0.115), rng.uniform(0.015, 0.019), 0.06, 0.004
    outer = [(foot, 0.0), (foot + 0.008, 0.002), (radius - 0.012, 0.65 * height), (radius, height)]
    parts, solids = _hollow(outer, wall, 0.006, paint)
    holder = Holder("on", 0.006, (0.6 * foot, 0.6 * foot))
    return Model("plate", (colour,), parts, solids, rng.uniform(0.3, 0.5), (0, 0, 0.4 * height), holder=holder)


def can(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A tin with a printed label and bare metal at both ends."""
    radius, height = rng.uniform(0.032, 0.037), rng.uniform(0.1, 0.12)
    rim = 0.0025
    body = [(0, 0.001), (radius - 2 * rim, 0.001), (radius - rim, 0), (radius, rim), (radius, height - rim)]
    top = [(radius - rim, height), (radius - 2 * rim, height - 0.001), (radius - 2 * rim, height - 0.004)]
    metal = revolve([*body, *top, (0, height - 0.004)])
    low, high = 0.08 * height, 0.92 * height
    label = _band(radius + 0.0003, low, high)
    stripe = _band(radius + 0.0005, 0.4 * height, 0.6 * height)
    parts = (PaintedSurface(metal, _METAL, shiny=True), PaintedSurface(label, paint), PaintedSurface(stripe, _PAPER))
    solid = CollisionPiece("cylinder", (radius, height / 2), (0, 0, height / 2))
    return Model("can", (colour,), parts, (solid,), rng.uniform(0.3, 0.42), (0, 0, height / 2))


def bottle(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A bottle with shoulders, a neck, a cap and a label."""
    radius, height = rng.uniform(0.031, 0.036), rng.uniform(0.19, 0.23)
    neck, shoulder = 0.0125, 0.6 * height
    curve = [
        (neck + (radius - neck) * (0.5 + 0.5 * math.cos(t)), shoulder + 0.2 * height * t / math.pi)
        for t in np.linspace(0, math.pi, 8)
    ]
    body = [(0, 0), (radius - 0.004, 0), (radius, 0.004), *curve, (neck, 0.9 * height), (0, 0.9 * height)]
    cap = [(0, 0.88 * height), (neck + 0.002, 0.88 * height), (neck + 0.002, height - 0.001), (neck, height)]
    parts = (
        PaintedSurface(revolve(body), paint, shiny=True),
        PaintedSurface(revolve([*cap, (0, height)]), shaded(paint, 0.45)),
        PaintedSurface(_band(radius + 0.0004, 0.15 * height, 0.5 * height), _PAPER),
    )
    solids = (
        CollisionPiece("cylinder", (radius, shoulder / 2), (0, 0, shoulder / 2)),
        CollisionPiece("cylinder", (neck + 0.002, 0.2 * height), (0, 0, 0.8 * height)),
    )
    return Model("bottle", (colour,), parts, solids, rng.uniform(0.45, 0.6), (0, 0, 0.36 * height), friction=0.7)


def _hollow(
    outer: Profile, wall: float, floor: float, paint: Colour
) -> tuple[tuple[PaintedSurface, ...], tuple[CollisionPiece, ...]]:
    """A vessel from its outside profile (radius, height): visible surface, floor and convex wall pieces."""
    height = outer[-1][1]

    # The inner wall opposite to each point of the outer one: `wall` away horizontally, never below the floor.
    points = np.array(outer)
    along = np.gradient(points, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    inside = points + wall * np.stack([-along[:, 1], along[:, 0]], axis=1)
    inside[:, 1] = np.maximum(inside[:, 1], floor)
    inside[-1] = points[-1] - (wall, 0.0)
    inner = [(float(r), float(z)) for r, z in inside]

    rim_r = outer[-1][0] - wall / 2
    shell = [(0.0, 0.0), *outer[:-1], (outer[-1][0], height - _RIM), (rim_r + wall / 4, height), (rim_r, height)]
    shell += [*reversed([*inner[:-1], (inner[-1][0], height - _RIM)]), (0.0, floor)]
    base = CollisionPiece("cylinder", (outer[0][0], floor / 2), (0, 0, floor / 2))
    step = max(1, (len(outer) - 1) // 3)
    rows = sorted({*range(0, len(outer), step), len(outer) - 1})
    pieces = wedges([outer[r] for r in rows], [inner[r] for r in rows])
    return (PaintedSurface(revolve(shell, 48), paint),), (base, *hulls(pieces))


def _band(radius: float, low: float, high: float) -> Mesh:
    return revolve([(0, low), (radius, low), (radius, high), (0, high)])
