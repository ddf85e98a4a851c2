# SPDX-License-Identifier: Apache-2.0
"""Cups, mugs, bowls, plates, cans and bottles; fruit that rests on its lowest point; toy chicks that face +x."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from spatial_vlm_ros.sim.meshes import (
    Array,
    CollisionPiece,
    Colour,
    Holder,
    Mesh,
    Model,
    PaintedSurface,
    block,
    cone,
    ellipsoid,
    hulls,
    join,
    revolve,
    scaled,
    shaded,
    sweep,
    torus,
    turn,
    wedges,
)
from spatial_vlm_ros.types import Vector3

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


_YELLOW: Colour = (245, 205, 45)
_BEAK: Colour = (240, 130, 30)
_EYE: Colour = (25, 22, 22)
_RIBBON: Colour = (215, 35, 50)
_BONNET: Colour = (240, 240, 248)
_BAND: Colour = (60, 105, 205)
_HAT_UP, _HAT_BACK = 0.0105, turn("y", -0.4)  # height of the brim over the head's centre, metres; tilt of the hat
_HEAD, _HEAD_AT = 0.0235, (0.012, 0.0, 0.067)  # radius and centre of a chick of scale 1, metres


def chick(rng: np.random.Generator, wears: str) -> Model:
    """Make a toy chick with a "ribbon" (a red bow at the neck) or a "bonnet" (a white sun hat with a blue band)."""
    s, shade = float(rng.uniform(0.95, 1.08)), rng.uniform(0.95, 1.03)
    paint = (round(_YELLOW[0] * min(shade, 1.0)), round(_YELLOW[1] * shade), _YELLOW[2])
    angles = np.arange(16) * 2 * math.pi / 16
    rings = [(0.024, 0.0), (0.0355, 0.02), (0.032, 0.04), (0.014, 0.06)]
    belly = np.array([(1.1 * r * math.cos(a), 0.97 * r * math.sin(a), z) for r, z in rings for a in angles])
    solids: tuple[CollisionPiece, ...] = (
        CollisionPiece("hull", corners=belly),
        CollisionPiece("ball", (_HEAD,), _HEAD_AT),
    )
    trunk = [(0.0, 0.0), (0.024, 0.0), (0.031, 0.006), (0.035, 0.016), (0.0355, 0.026), (0.032, 0.04), (0.024, 0.053)]
    body = revolve([*trunk, (0.012, 0.062), (0.0, 0.064)]).scaled((1.1, 0.97, 1.0))
    head = ellipsoid((_HEAD, _HEAD, _HEAD)).moved(_HEAD_AT)
    tail = cone(0.012, 0.026).scaled((0.6, 1.2, 1.0)).moved((-0.03, 0, 0.036), turn("y", -math.pi / 3))
    wings = [ellipsoid((0.019, 0.006, 0.013)).moved((-0.004, y, 0.032), turn("y", 0.35)) for y in (-0.034, 0.034)]
    beak = cone(0.0075, 0.015).scaled((0.75, 1.0, 1.0)).moved(_on_head(0.0, -0.1, 0.97), turn("y", math.pi / 2))
    eyes = [ellipsoid((0.0034,) * 3, 12).moved(_on_head(side, 0.22, 0.97)) for side in (-0.62, 0.62)]
    parts = (
        *(PaintedSurface(mesh, paint) for mesh in (body, head, tail, *wings)),
        PaintedSurface(beak, _BEAK),
        *(PaintedSurface(eye, _EYE) for eye in eyes),
        *{"ribbon": _ribbon, "bonnet": _bonnet}[wears](),
    )
    if wears == "bonnet":
        x, _, z = np.array(_HEAD_AT) + _HAT_BACK @ (0.0, 0.0, _HAT_UP)
        brim = CollisionPiece("cylinder", (0.033, 0.0015), (x, 0.0, z), _HAT_BACK)
        solids = (*solids, brim, CollisionPiece("ball", (0.024,), (x, 0.0, z)))
    return scaled(Model("chick", ("yellow", wears), parts, solids, 0.09, (0.0, 0.0, 0.026), friction=0.8), s)


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


# ------------------------------------------------------------------------------------------------ furniture


Board = tuple[Vector3, Vector3]  # size and centre, metres
_RUBBER: Colour = (38, 38, 42)
_GLASS: Colour = (150, 175, 190)
_LAMP: Colour = (250, 240, 190)
_KNOB: Colour = (60, 56, 52)
_PAGES: Colour = (238, 234, 224)
_WOOD: Colour = (150, 105, 62)


def box(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A printed carton: a panel on its wide sides and a stripe around it."""
    x, y, z = rng.uniform(0.09, 0.14), rng.uniform(0.065, 0.085), rng.uniform(0.05, 0.13)
    stripe: Board = ((x + 0.0006, y + 0.0006, 0.12 * z), (0, 0, 0.84 * z))
    panel: Board = ((0.55 * x, y + 0.0008, 0.42 * z), (0, 0, 0.42 * z))
    carton = [_standing(x, y, z)]
    painted = ((carton, paint), ([stripe], shaded(paint, 0.6)), ([panel], _PAGES))
    holder = Holder("on", z, (0.4 * x, 0.4 * y))
    return _made("box", (colour,), painted, 400 * x * y * z, z / 2, holder, mottled=True, solid=carton)


def tray(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A flat tray with a low rim."""
    x, y, rim, wall = rng.uniform(0.24, 0.3), rng.uniform(0.17, 0.21), 0.012, 0.005
    holder = Holder("on", wall, (x / 2 - 0.02, y / 2 - 0.02))
    return _made("tray", (colour,), ((_open_box(x, y, rim, wall), paint),), 0.5, 0.004, holder)


def shelf(rng: np.random.Generator) -> Model:
    """A small wooden shelf, open to its own -x, with a board in between and one on top."""
    x, y, z, board = rng.uniform(0.13, 0.15), rng.uniform(0.26, 0.32), rng.uniform(0.17, 0.21), 0.01
    boards: list[Board] = [
        ((x, y, board), (0, 0, board / 2)),
        ((x - board, y - 2 * board, board), (-board / 2, 0, z / 2)),
        ((x, y, board), (0, 0, z - board / 2)),
        *(((x, board, z - 2 * board), (0, side * (y - board) / 2, z / 2)) for side in (1, -1)),
    ]
    back: Board = ((board, y - 2 * board, z - 2 * board), ((x - board) / 2, 0, z / 2))
    shade = shaded(_WOOD, float(rng.uniform(0.8, 1.2)))
    holder = Holder("on", z, (x / 2 - 0.015, y / 2 - 0.02))
    painted = ((boards, shade), ([back], shaded(shade, 1.35)))
    return _made("shelf", ("brown", "wooden"), painted, 1.2, (0.01, 0, z / 2), holder)


def crate(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A closed crate with a lath around its lid."""
    x, y, z = rng.uniform(0.1, 0.13), rng.uniform(0.1, 0.13), rng.uniform(0.07, 0.2)
    lath: Board = ((x + 0.004, y + 0.004, 0.012), (0, 0, z - 0.006))
    painted = (([_standing(x, y, z - 0.012)], paint), ([lath], shaded(paint, 0.75)))
    holder, solid = Holder("on", z, (0.4 * x, 0.4 * y)), [_standing(x, y, z)]
    return _made("crate", (colour,), painted, 0.6, z / 2, holder, mottled=True, solid=solid)


def board(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A flat cutting board."""
    x, y, z = rng.uniform(0.4, 0.5), rng.uniform(0.27, 0.33), rng.uniform(0.015, 0.025)
    holder = Holder("on", z, (0.5 * x, 0.5 * y))
    return _made("board", (colour,), (([_standing(x, y, z)], paint),), 1.2, z / 2, holder)


def stool(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A seat on four thin legs, high enough to hold objects under it."""
    x, y, z, seat, leg = rng.uniform(0.2, 0.26), rng.uniform(0.2, 0.26), rng.uniform(0.15, 0.24), 0.014, 0.014
    top: Board = ((x, y, seat), (0, 0, z - seat / 2))
    painted = (([top], paint), (_legs(leg, x - 1.2 * leg, y - 1.2 * leg, z - seat), shaded(paint, 0.7)))
    holder = Holder("on", z, (0.5 * x, 0.5 * y))
    return _made("stool", (colour,), painted, 0.7, 0.7 * z, holder, mottled=True)


def basket(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A deep square basket, open at the top."""
    x, y, z, wall = rng.uniform(0.17, 0.21), rng.uniform(0.15, 0.19), rng.uniform(0.085, 0.11), 0.006
    holder = Holder("in", wall, (x / 2 - wall, y / 2 - wall))
    return _made("basket", (colour,), ((_open_box(x, y, z, wall), paint),), 0.5, 0.4 * z, holder)


def bookcase(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """Three compartments one above the other, open to +x."""
    x, y, z, wall = rng.uniform(0.14, 0.17), rng.uniform(0.3, 0.38), rng.uniform(0.42, 0.48), 0.01
    *boards, back = _carcass(x, y, z, wall, [wall / 2, z / 3, 2 * z / 3, z - wall / 2])
    holder = Holder("in", wall, (x / 2 - 2 * wall, y / 2 - 2 * wall))
    return _made("bookcase", (colour,), ((boards, paint), ([back], shaded(paint, 1.3))), 3.0, z / 2, holder)


def cabinet(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """Make the body of a cabinet, open to +x; `drawers_of` makes its drawers."""
    x, y, z, wall = rng.uniform(0.14, 0.18), rng.uniform(0.22, 0.28), rng.uniform(0.26, 0.33), 0.012
    boards = _carcass(x, y, z, wall, [wall / 2, z - wall / 2])
    holder = Holder("on", z, (0.4 * x, 0.4 * y))
    return _made("cabinet", (colour,), ((boards, paint),), 4.0, z / 2, holder, mottled=True)


def drawers_of(carcass: Model, shade: float = 1.2) -> tuple[tuple[str, Model, float], ...]:
    """Make the three drawers of a cabinet: name, model and height of its base in the carcass, metres.

    A drawer uses the carcass's frame: put it at the same position with the same yaw, higher by that height.
    """
    x, y, z = carcass.size
    wall, rim = 0.012, 0.003
    high = (z - 2 * wall) / 3
    paint = shaded(carcass.parts[0].colour, shade)
    front: Board = ((x - wall, y - 2 * wall - 2 * rim, high - 2 * rim), (wall / 2 + 0.004, 0, high / 2))
    knob = revolve([(0, 0), (0.011, 0), (0.011, 0.012), (0, 0.012)], 16)
    handle = knob.moved((front[1][0] + front[0][0] / 2, 0, high / 2), turn("y", np.pi / 2))
    names = ("bottom drawer", "middle drawer", "top drawer")
    made = [_made(name, (), (([front], paint),), 0.5, high / 2, more=((handle, _KNOB),)) for name in names]
    return tuple((model.label, model, wall + number * high) for number, model in enumerate(made))


def chair(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A doll's chair; who sits on it looks to +x."""
    x, y, seat, z = rng.uniform(0.1, 0.12), rng.uniform(0.1, 0.12), rng.uniform(0.09, 0.11), rng.uniform(0.2, 0.24)
    leg, thick = 0.012, 0.014
    top: Board = ((x, y, thick), (0, 0, seat - thick / 2))
    back: Board = ((thick, y, z - seat), (-(x - thick) / 2, 0, (z + seat) / 2))
    painted = (([top, back], paint), (_legs(leg, x - leg, y - leg, seat - thick), shaded(paint, 0.6)))
    return _made("chair", (colour,), painted, 0.4, (-0.01, 0, seat))


def car(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A toy car with a bonnet, a cabin set back, four wheels and two lamps; it drives to +x."""
    x, y, z = rng.uniform(0.15, 0.19), rng.uniform(0.07, 0.085), rng.uniform(0.06, 0.075)
    r = 0.017
    body: Board = ((x, y * 0.92, 0.45 * z), (0, 0, r + 0.2 * z))
    cabin: Board = ((0.45 * x, y * 0.8, z - r - 0.42 * z), (-0.12 * x, 0, (z + r + 0.42 * z) / 2))
    glass: Board = ((0.46 * x, y * 0.7, 0.2 * z), (-0.12 * x, 0, 0.8 * z))
    lamps: list[Board] = [((0.004, 0.014, 0.01), (x / 2, s * 0.3 * y, r + 0.28 * z)) for s in (-1, 1)]
    wheel = revolve([(0, -0.006), (r, -0.006), (r, 0.006), (0, 0.006)], 20)
    axles = [(sx * 0.3 * x, sy * (y / 2 - 0.006), r) for sx in (-1, 1) for sy in (-1, 1)]
    wheels = join(*(wheel.moved(place, turn("x", np.pi / 2)) for place in axles))
    painted = (([body, cabin], paint), ([glass], _GLASS), (lamps, _LAMP))
    return _made("car", (colour,), painted, 0.2, 0.4 * z, solid=[_standing(x, y, z)], more=((wheels, _RUBBER),))


def _standing(x: float, y: float, z: float) -> Board:
    return (x, y, z), (0, 0, z / 2)


def _open_box(x: float, y: float, z: float, wall: float) -> list[Board]:
    return [
        _standing(x, y, wall),
        *(((x, wall, z), (0, side * (y - wall) / 2, z / 2)) for side in (1, -1)),
        *(((wall, y - 2 * wall, z), (side * (x - wall) / 2, 0, z / 2)) for side in (1, -1)),
    ]


def _carcass(x: float, y: float, z: float, wall: float, levels: Sequence[float]) -> list[Board]:
    return [
        *(((x, y, wall), (0, 0, level)) for level in levels),
        *(((x, wall, z), (0, side * (y - wall) / 2, z / 2)) for side in (-1, 1)),
        ((wall, y, z), (-(x - wall) / 2, 0, z / 2)),
    ]


def _legs(leg: float, x: float, y: float, height: float) -> list[Board]:
    return [((leg, leg, height), (sx * x / 2, sy * y / 2, height / 2)) for sx in (-1, 1) for sy in (-1, 1)]


def _made(
    label: str,
    attributes: tuple[str, ...],
    painted: Sequence[tuple[Sequence[Board], Colour]],
    mass: float,
    centre: float | Vector3,
    holder: Holder | None = None,
    *,
    mottled: bool = False,
    solid: Sequence[Board] | None = None,
    more: Sequence[tuple[Mesh, Colour]] = (),
) -> Model:
    """Make a model of boards; the first colour may be `mottled`.

    `centre`: centre of mass, or its height; `solid`: boards that collide, None = all.
    """
    meshes = [(join(*(block(size).moved(middle) for size, middle in boards)), paint) for boards, paint in painted]
    parts = tuple(PaintedSurface(mesh, paint, mottled=mottled and not n) for n, (mesh, paint) in enumerate(meshes))
    pieces = tuple(
        CollisionPiece("box", (s[0] / 2, s[1] / 2, s[2] / 2), middle)
        for s, middle in solid or [each for boards, _ in painted for each in boards]
    )
    parts += tuple(PaintedSurface(mesh, paint) for mesh, paint in more)
    middle = centre if isinstance(centre, tuple) else (0, 0, centre)
    return Model(label, attributes, parts, pieces, mass, middle, holder=holder)
