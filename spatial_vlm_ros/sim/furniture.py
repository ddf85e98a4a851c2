# SPDX-License-Identifier: Apache-2.0
"""Doll's house furniture, and objects to put others on: all made of blocks. Fronts face +x."""

from __future__ import annotations

import numpy as np

from spatial_vlm_ros.sim.meshes import Mesh, block, join, revolve, turn
from spatial_vlm_ros.sim.model import CollisionPiece, Colour, Holder, Model, PaintedSurface, shaded
from spatial_vlm_ros.types import Vector3

Board = tuple[Vector3, Vector3]  # size and centre, metres
_RUBBER: Colour = (38, 38, 42)
_GLASS: Colour = (150, 175, 190)
_LAMP: Colour = (250, 240, 190)
_KNOB: Colour = (60, 56, 52)


def crate(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A closed crate with a lath around its lid."""
    x, y, z = rng.uniform(0.1, 0.13), rng.uniform(0.1, 0.13), rng.uniform(0.07, 0.2)
    lath = PaintedSurface(_mesh([((x + 0.004, y + 0.004, 0.012), (0, 0, z - 0.006))]), shaded(paint, 0.75))
    body = PaintedSurface(_mesh([((x, y, z - 0.012), (0, 0, (z - 0.012) / 2))]), paint, mottled=True)
    holder = Holder("on", z, (0.4 * x, 0.4 * y))
    return Model("crate", (colour,), (body, lath), _solids([((x, y, z), (0, 0, z / 2))]), 0.6, (0, 0, z / 2),
                 holder=holder)  # fmt: skip


def board(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A flat cutting board."""
    x, y, z = rng.uniform(0.4, 0.5), rng.uniform(0.27, 0.33), rng.uniform(0.015, 0.025)
    boards: list[Board] = [((x, y, z), (0, 0, z / 2))]
    holder = Holder("on", z, (0.5 * x, 0.5 * y))
    return Model("board", (colour,), (PaintedSurface(_mesh(boards), paint),), _solids(boards), 1.2, (0, 0, z / 2),
                 holder=holder)  # fmt: skip


def stool(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A seat on four thin legs, high enough to hold objects under it."""
    x, y, z, seat, leg = rng.uniform(0.2, 0.26), rng.uniform(0.2, 0.26), rng.uniform(0.15, 0.24), 0.014, 0.014
    legs: list[Board] = [
        ((leg, leg, z - seat), (sx * (x - 1.2 * leg) / 2, sy * (y - 1.2 * leg) / 2, (z - seat) / 2))
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    top: Board = ((x, y, seat), (0, 0, z - seat / 2))
    parts = (PaintedSurface(_mesh([top]), paint, mottled=True), PaintedSurface(_mesh(legs), shaded(paint, 0.7)))
    holder = Holder("on", z, (0.5 * x, 0.5 * y))
    return Model("stool", (colour,), parts, _solids([top, *legs]), 0.7, (0, 0, 0.7 * z), holder=holder)


def basket(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A deep square basket, open at the top."""
    x, y, z, wall = rng.uniform(0.17, 0.21), rng.uniform(0.15, 0.19), rng.uniform(0.085, 0.11), 0.006
    boards = _open_box(x, y, z, wall)
    holder = Holder("in", wall, (x / 2 - wall, y / 2 - wall))
    return Model("basket", (colour,), (PaintedSurface(_mesh(boards), paint),), _solids(boards), 0.5, (0, 0, 0.4 * z),
                 holder=holder)  # fmt: skip


def bookcase(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """Three compartments one above the other, open to +x."""
    x, y, z, wall = rng.uniform(0.14, 0.17), rng.uniform(0.3, 0.38), rng.uniform(0.42, 0.48), 0.01
    levels = [wall / 2, z / 3, 2 * z / 3, z - wall / 2]
    boards: list[Board] = [((x, y, wall), (0, 0, h)) for h in levels]
    boards += [((x, wall, z), (0, s * (y - wall) / 2, z / 2)) for s in (-1, 1)]
    back: Board = ((wall, y, z), (-(x - wall) / 2, 0, z / 2))
    parts = (PaintedSurface(_mesh(boards), paint), PaintedSurface(_mesh([back]), shaded(paint, 1.3)))
    holder = Holder("in", wall, (x / 2 - 2 * wall, y / 2 - 2 * wall))
    return Model("bookcase", (colour,), parts, _solids([*boards, back]), 3.0, (0, 0, z / 2), holder=holder)


def cabinet(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """Make the body of a cabinet, open to +x; `drawers_of` makes its drawers."""
    x, y, z, wall = rng.uniform(0.14, 0.18), rng.uniform(0.22, 0.28), rng.uniform(0.26, 0.33), 0.012
    boards: list[Board] = [((x, y, wall), (0, 0, h)) for h in (wall / 2, z - wall / 2)]
    boards += [((x, wall, z), (0, s * (y - wall) / 2, z / 2)) for s in (-1, 1)]
    boards += [((wall, y, z), (-(x - wall) / 2, 0, z / 2))]
    holder = Holder("on", z, (0.4 * x, 0.4 * y))
    return Model("cabinet", (colour,), (PaintedSurface(_mesh(boards), paint, mottled=True),), _solids(boards), 4.0,
                 (0, 0, z / 2), holder=holder)  # fmt: skip


def drawers_of(carcass: Model, shade: float = 1.2) -> tuple[tuple[str, Model, float], ...]:
    """Make the three drawers of a cabinet.

    Args:
        shade: shade of their fronts relative to the paint of the carcass.

    Returns:
        Name ("bottom drawer", "middle drawer", "top drawer"), model and height of its base in the carcass, metres. A
        drawer uses the carcass's frame: put it at the same position with the same yaw, higher by that height.
    """
    x, y, z = carcass.size
    wall, rim = 0.012, 0.003
    high = (z - 2 * wall) / 3
    paint = shaded(carcass.parts[0].colour, shade)
    made = []
    for number, name in enumerate(("bottom drawer", "middle drawer", "top drawer")):
        front: Board = ((x - wall, y - 2 * wall - 2 * rim, high - 2 * rim), (wall / 2 + 0.004, 0, high / 2))
        knob = revolve([(0, 0), (0.011, 0), (0.011, 0.012), (0, 0.012)], 16)
        handle = knob.moved((front[1][0] + front[0][0] / 2, 0, high / 2), turn("y", np.pi / 2))
        parts = (PaintedSurface(_mesh([front]), paint), PaintedSurface(handle, _KNOB))
        made.append((name, Model(name, (), parts, _solids([front]), 0.5, (0, 0, high / 2)), wall + number * high))
    return tuple(made)


def chair(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A doll's chair; who sits on it looks to +x."""
    x, y, seat, z = rng.uniform(0.1, 0.12), rng.uniform(0.1, 0.12), rng.uniform(0.09, 0.11), rng.uniform(0.2, 0.24)
    leg, thick = 0.012, 0.014
    legs: list[Board] = [
        ((leg, leg, seat - thick), (sx * (x - leg) / 2, sy * (y - leg) / 2, (seat - thick) / 2))
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    top: Board = ((x, y, thick), (0, 0, seat - thick / 2))
    back: Board = ((thick, y, z - seat), (-(x - thick) / 2, 0, (z + seat) / 2))
    parts = (PaintedSurface(_mesh([top, back]), paint), PaintedSurface(_mesh(legs), shaded(paint, 0.6)))
    return Model("chair", (colour,), parts, _solids([top, back, *legs]), 0.4, (-0.01, 0, seat))


def car(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A toy car with a bonnet, a cabin set back, four wheels and two lamps; it drives to +x."""
    x, y, z = rng.uniform(0.15, 0.19), rng.uniform(0.07, 0.085), rng.uniform(0.06, 0.075)
    r = 0.017
    body: Board = ((x, y * 0.92, 0.45 * z), (0, 0, r + 0.2 * z))
    cabin: Board = ((0.45 * x, y * 0.8, z - r - 0.42 * z), (-0.12 * x, 0, (z + r + 0.42 * z) / 2))
    glass: Board = ((0.46 * x, y * 0.7, 0.2 * z), (-0.12 * x, 0, 0.8 * z))
    lamps: list[Board] = [((0.004, 0.014, 0.01), (x / 2, s * 0.3 * y, r + 0.28 * z)) for s in (-1, 1)]
    wheel = revolve([(0, -0.006), (r, -0.006), (r, 0.006), (0, 0.006)], 20)
    wheels = join(*(
        wheel.moved((sx * 0.3 * x, sy * (y / 2 - 0.006), r), turn("x", np.pi / 2)) for sx in (-1, 1) for sy in (-1, 1)
    ))  # fmt: skip
    painted = ((_mesh([body, cabin]), paint), (_mesh([glass]), _GLASS), (_mesh(lamps), _LAMP), (wheels, _RUBBER))
    parts = tuple(PaintedSurface(mesh, colouring) for mesh, colouring in painted)
    return Model("car", (colour,), parts, _solids([((x, y, z), (0, 0, z / 2))]), 0.2, (0, 0, 0.4 * z))


def _open_box(x: float, y: float, z: float, wall: float) -> list[Board]:
    return [
        ((x, y, wall), (0, 0, wall / 2)),
        ((x, wall, z), (0, (y - wall) / 2, z / 2)),
        ((x, wall, z), (0, -(y - wall) / 2, z / 2)),
        ((wall, y - 2 * wall, z), ((x - wall) / 2, 0, z / 2)),
        ((wall, y - 2 * wall, z), (-(x - wall) / 2, 0, z / 2)),
    ]


def _mesh(boards: list[Board]) -> Mesh:
    return join(*(block(size).moved(centre) for size, centre in boards))


def _solids(boards: list[Board]) -> tuple[CollisionPiece, ...]:
    return tuple(CollisionPiece("box", (s[0] / 2, s[1] / 2, s[2] / 2), centre) for s, centre in boards)
