# SPDX-License-Identifier: Apache-2.0
"""Generic objects: blocks, turned shapes and stands of any size and paint, for training images."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from spatial_vlm_ros.sim.meshes import Profile, block, ellipsoid, join, revolve
from spatial_vlm_ros.sim.model import CollisionPiece, Colour, Holder, Model, PaintedSurface, hulls

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
        return Model("pedestal", (), _banded(rng, radius, height, sides), solid,
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


def _banded(rng: np.random.Generator, radius: float, height: float, sides: int) -> tuple[PaintedSurface, ...]:
    """A column in one paint, or in two."""
    cut = height * float(rng.uniform(0.2, 1.3))
    cuts = (0.0, cut, height) if cut < 0.85 * height else (0.0, height)
    return tuple(
        PaintedSurface(revolve([(0, low), (radius, low), (radius, high), (0, high)], sides), paint(rng))
        for low, high in pairwise(cuts)
    )
