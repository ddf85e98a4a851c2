# SPDX-License-Identifier: Apache-2.0
"""Toy chicks: yellow body on a flat base, head, beak, eyes, wings, tail; they differ in what they wear; facing +x."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from spatial_vlm_ros.sim.meshes import cone, ellipsoid, join, revolve, torus, turn
from spatial_vlm_ros.sim.model import CollisionPiece, Colour, Model, PaintedSurface, scaled
from spatial_vlm_ros.types import Vector3

_YELLOW: Colour = (245, 205, 45)
_BEAK: Colour = (240, 130, 30)
_EYE: Colour = (25, 22, 22)
_RIBBON: Colour = (215, 35, 50)
_BONNET: Colour = (240, 240, 248)
_BAND: Colour = (60, 105, 205)
_HAT_UP, _HAT_BACK = 0.0105, turn("y", -0.4)  # height of the brim over the head's centre, metres; tilt of the hat
_HEAD, _HEAD_AT = 0.0235, (0.012, 0.0, 0.067)  # radius and centre of a chick of scale 1, metres


def chick(rng: np.random.Generator, wears: str) -> Model:
    """Make a toy chick.

    Args:
        wears: "ribbon" (a red bow at the neck) or "bonnet" (a white sun hat with a blue band).
    """
    s, shade = float(rng.uniform(0.95, 1.08)), rng.uniform(0.95, 1.03)
    paint = (round(_YELLOW[0] * min(shade, 1.0)), round(_YELLOW[1] * shade), _YELLOW[2])
    angles = np.arange(16) * 2 * math.pi / 16
    rings = [(0.024, 0.0), (0.0355, 0.02), (0.032, 0.04), (0.014, 0.06)]
    belly = np.array([(1.1 * r * math.cos(a), 0.97 * r * math.sin(a), z) for r, z in rings for a in angles])
    solids: tuple[CollisionPiece, ...] = (
        CollisionPiece("hull", corners=belly),
        CollisionPiece("ball", (_HEAD,), _HEAD_AT),
    )
    parts = (*_feathers(paint), *_DRESSES[wears]())
    if wears == "bonnet":
        x, _, z = np.array(_HEAD_AT) + _HAT_BACK @ (0.0, 0.0, _HAT_UP)
        brim = CollisionPiece("cylinder", (0.033, 0.0015), (x, 0.0, z), _HAT_BACK)
        solids = (*solids, brim, CollisionPiece("ball", (0.024,), (x, 0.0, z)))
    return scaled(Model("chick", ("yellow", wears), parts, solids, 0.09, (0.0, 0.0, 0.026), friction=0.8), s)


def _feathers(paint: Colour) -> tuple[PaintedSurface, ...]:
    belly = [(0.0, 0.0), (0.024, 0.0), (0.031, 0.006), (0.035, 0.016), (0.0355, 0.026), (0.032, 0.04), (0.024, 0.053)]
    body = revolve([*belly, (0.012, 0.062), (0.0, 0.064)]).scaled((1.1, 0.97, 1.0))
    head = ellipsoid((_HEAD, _HEAD, _HEAD)).moved(_HEAD_AT)
    tail = cone(0.012, 0.026).scaled((0.6, 1.2, 1.0)).moved((-0.03, 0, 0.036), turn("y", -math.pi / 3))
    wings = [ellipsoid((0.019, 0.006, 0.013)).moved((-0.004, y, 0.032), turn("y", 0.35)) for y in (-0.034, 0.034)]
    beak = cone(0.0075, 0.015).scaled((0.75, 1.0, 1.0)).moved(_on_head(0.0, -0.1, 0.97), turn("y", math.pi / 2))
    eyes = [ellipsoid((0.0034,) * 3, 12).moved(_on_head(side, 0.22, 0.97)) for side in (-0.62, 0.62)]
    plumage = (body, head, tail, *wings)
    return (
        *(PaintedSurface(mesh, paint) for mesh in plumage),
        PaintedSurface(beak, _BEAK),
        *(PaintedSurface(eye, _EYE) for eye in eyes),
    )


def _on_head(azimuth: float, elevation: float, part: float) -> Vector3:
    """A point at `part` of the head's radius, metres; angles in radians from straight ahead."""
    x, y, z = _HEAD_AT
    flat = part * _HEAD * math.cos(elevation)
    return (x + flat * math.cos(azimuth), y + flat * math.sin(azimuth), z + part * _HEAD * math.sin(elevation))


def _ribbon() -> tuple[PaintedSurface, ...]:
    """A ring about the neck, a bow of two loops and a knot in front, two ends."""
    x, _, z = _HEAD_AT
    ring = torus(0.0245, 0.0034).scaled((1, 1, 1.6)).moved((x - 0.003, 0, z - 0.0155), turn("y", 0.2))
    at = (x + 0.0235, 0.0, z - 0.0215)
    loops = [
        cone(0.0105, 0.021).scaled((0.5, 1.0, 1.0)).moved((at[0], side * 0.0215, at[2]), turn("x", side * math.pi / 2))
        for side in (-1, 1)
    ]
    knot = ellipsoid((0.0055, 0.0055, 0.006), 14).moved((at[0] + 0.001, 0, at[2]))
    ends = [
        cone(0.005, 0.02)
        .scaled((0.4, 1.0, 1.0))
        .moved((at[0] + 0.006, side * 0.01, at[2] - 0.019), turn("x", side * 0.5))
        for side in (-1, 1)
    ]
    return (PaintedSurface(join(ring, *loops, knot, *ends), _RIBBON),)


def _bonnet() -> tuple[PaintedSurface, ...]:
    """A dome over the crown, a brim, and a band above the brim, pushed back so that the face is free."""
    dome = [(0.0245 * math.cos(a), 0.0225 * math.sin(a)) for a in np.linspace(0, math.pi / 2, 9)]
    crown = revolve([(0, 0), *dome[:-1], (0, dome[-1][1])])
    brim = revolve([(0, 0), (0.034, -0.002), (0.0345, -0.0005), (0.02, 0.003), (0, 0.003)])
    band = revolve([(0, 0.0025), (0.0255, 0.0025), (0.0245, 0.0085), (0, 0.0085)])
    hat, around = (m.moved((0, 0, _HAT_UP)).moved(_HEAD_AT, _HAT_BACK) for m in (join(crown, brim), band))
    return PaintedSurface(hat, _BONNET), PaintedSurface(around, _BAND)


_DRESSES: Mapping[str, Callable[[], tuple[PaintedSurface, ...]]] = MappingProxyType(
    {"ribbon": _ribbon, "bonnet": _bonnet}
)
