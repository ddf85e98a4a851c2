# SPDX-License-Identifier: Apache-2.0
"""Apples, bananas, oranges, lemons and pears; each rests on its lowest point and may lie in any orientation."""

from __future__ import annotations

import math

import numpy as np

from spatial_vlm_ros.sim.meshes import Array, revolve, sweep
from spatial_vlm_ros.sim.model import CollisionPiece, Colour, Model, PaintedSurface

_STEM: Colour = (90, 62, 38)
_ROLLING = 0.0012  # rolling friction of nearly round objects, metres


def apple(rng: np.random.Generator) -> Model:
    """A red or green apple with a dimple and a stem."""
    colour, paint = (("red", (190, 35, 40)), ("green", (125, 175, 55)))[int(rng.random() < 0.4)]
    r = rng.uniform(0.033, 0.038)
    angles = np.linspace(0, math.pi, 22)
    # an outline like a cardioid: round, with dents at both poles
    outline = [(math.sin(a) * (1 + 0.04 * math.cos(a)), -0.9 * math.cos(a) + 0.16 * math.cos(a) ** 7) for a in angles]
    low = min(z for _, z in outline)
    profile = [(max(x, 0.0) * r, (z - low) * r) for x, z in outline]
    dip = profile[-1][1]
    top = max(z for _, z in profile)
    stem = sweep(np.array([[0, 0, dip], [0.001, 0, dip + 0.006], [0.003, 0, top + 0.006]]), np.full(3, 0.0014))
    parts = (PaintedSurface(revolve(profile), paint, mottled=True), PaintedSurface(stem, _STEM))
    solid = CollisionPiece("ellipsoid", (r, r, top / 2), (0, 0, top / 2))
    return _fruit("apple", colour, parts, (solid,), rng.uniform(0.13, 0.19), top / 2)


def orange(rng: np.random.Generator) -> Model:
    """An orange with a small navel."""
    r = rng.uniform(0.033, 0.039)
    angles = np.linspace(0, math.pi, 22)
    profile = [(r * math.sin(a), r * (1 - 0.96 * math.cos(a))) for a in angles]
    low = profile[0][1]
    profile = [(x, z - low) for x, z in profile]
    top = profile[-1][1]
    navel = revolve([(0, top - 0.001), (0.004, top - 0.001), (0.003, top + 0.0008), (0, top + 0.0008)], 16)
    parts = (PaintedSurface(revolve(profile), (238, 130, 30), mottled=True), PaintedSurface(navel, (110, 120, 50)))
    solid = CollisionPiece("ellipsoid", (r, r, top / 2), (0, 0, top / 2))
    return _fruit("orange", "orange", parts, (solid,), rng.uniform(0.14, 0.2), top / 2)


def lemon(rng: np.random.Generator) -> Model:
    """A lemon on its side, pointed at both ends."""
    r, half = rng.uniform(0.025, 0.028), rng.uniform(0.036, 0.042)
    t = np.linspace(-1, 1, 21)
    radius = r * np.sqrt(1 - t**2) * (1 - 0.25 * t**6)
    path = np.stack([half * t, np.zeros(21), np.full(21, r)], axis=1)
    body = sweep(path, np.maximum(radius, 0.0035), sides=28)
    solids = (
        CollisionPiece("ellipsoid", (0.85 * half, r, r), (0, 0, r)),
        *(CollisionPiece("ball", (0.006,), (x * (half - 0.006), 0.0, r)) for x in (-1, 1)),
    )
    return _fruit(
        "lemon", "yellow", (PaintedSurface(body, (238, 215, 60), mottled=True),), solids, rng.uniform(0.09, 0.12), r
    )


def pear(rng: np.random.Generator) -> Model:
    """A green pear, standing."""
    r, height = rng.uniform(0.031, 0.035), rng.uniform(0.085, 0.095)
    outline = [(0, 0.03), (0.35, 0.0), (0.8, 0.08), (1.0, 0.28), (0.93, 0.45), (0.68, 0.62), (0.48, 0.76), (0.42, 0.88)]
    profile = [(x * r, z * height) for x, z in [*outline, (0.28, 0.97), (0.0, 1.0)]]
    tip = np.array([[0, 0, height - 0.002], [0.001, 0, height + 0.006], [0.004, 0, height + 0.013]])
    parts = (
        PaintedSurface(revolve(profile), (165, 185, 70), mottled=True),
        PaintedSurface(sweep(tip, np.full(3, 0.0015)), _STEM),
    )
    ring = np.arange(16) * 2 * math.pi / 16
    corners = np.array([(x * math.cos(a), x * math.sin(a), z) for x, z in profile[1:-1] for a in ring])
    lower, upper = corners[corners[:, 2] <= 0.63 * height], corners[corners[:, 2] >= 0.6 * height]
    solids = (CollisionPiece("hull", corners=lower), CollisionPiece("hull", corners=upper))
    return _fruit("pear", "green", parts, solids, rng.uniform(0.14, 0.18), 0.38 * height)


def banana(rng: np.random.Generator) -> Model:
    """A banana on its side, bent about the vertical, with brown ends."""
    r, bend, angle = rng.uniform(0.015, 0.018), rng.uniform(0.085, 0.1), rng.uniform(1.75, 2.0)
    t = np.linspace(-1, 1, 27)
    path = _arc(bend, angle * t / 2, r)
    radii = r * (1 - 0.72 * np.abs(t) ** 4)
    ends = np.linspace(-1.13, -0.98, 5), np.linspace(0.98, 1.06, 5)  # a little past the body
    tips = [sweep(_arc(bend, angle * e / 2, r), np.full(5, 0.32 * r), up=(0, 0, 1)) for e in ends]
    body = sweep(path, radii, up=(0, 0, 1), sides=18)
    parts = (PaintedSurface(body, (240, 208, 55), mottled=True), *(PaintedSurface(tip, (80, 60, 35)) for tip in tips))
    pieces = [sweep(path[k : k + 5], radii[k : k + 5], up=(0, 0, 1), sides=14) for k in range(0, 26, 4)]
    solids = tuple(CollisionPiece("hull", corners=piece.vertices) for piece in (*pieces, *tips))
    return _fruit("banana", "yellow", parts, solids, rng.uniform(0.11, 0.15), r)


def _arc(bend: float, angles: Array, height: float) -> Array:
    """(N, 3) path on a circle of radius `bend` whose middle part lies at the origin."""
    shift = bend * (1 + math.cos(1.0)) / 2
    return np.stack([bend * np.sin(angles), bend * np.cos(angles) - shift, np.full(len(angles), height)], axis=1)


def _fruit(
    label: str,
    colour: str,
    parts: tuple[PaintedSurface, ...],
    solids: tuple[CollisionPiece, ...],
    mass: float,
    height: float,
) -> Model:
    centre = (0.0, 0.0, float(height))
    return Model(label, (colour,), parts, solids, float(mass), centre, rolling=_ROLLING, may_tip=True)
