# SPDX-License-Identifier: Apache-2.0
"""Doll's house furniture, and objects to put others on or in: all made of boards. Fronts face +x, but a shelf's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spatial_vlm_ros.sim.meshes import (
    CollisionPiece,
    Colour,
    Holder,
    Mesh,
    Model,
    PaintedSurface,
    block,
    join,
    revolve,
    shaded,
    turn,
)
from spatial_vlm_ros.types import Vector3

Board = tuple[Vector3, Vector3]  # size and centre, metres
_RUBBER: Colour = (38, 38, 42)
_GLASS: Colour = (150, 175, 190)
_LAMP: Colour = (250, 240, 190)
_KNOB: Colour = (60, 56, 52)
_PAPER: Colour = (238, 234, 224)
_WOOD: Colour = (150, 105, 62)


def box(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A printed carton: a panel on its wide sides and a stripe around it."""
    x, y, z = rng.uniform(0.09, 0.14), rng.uniform(0.065, 0.085), rng.uniform(0.05, 0.13)
    stripe: Board = ((x + 0.0006, y + 0.0006, 0.12 * z), (0, 0, 0.84 * z))
    panel: Board = ((0.55 * x, y + 0.0008, 0.42 * z), (0, 0, 0.42 * z))
    carton = [_standing(x, y, z)]
    painted = ((carton, paint), ([stripe], shaded(paint, 0.6)), ([panel], _PAPER))
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
