# SPDX-License-Identifier: Apache-2.0
"""Boxes, trays and shelves made of boards."""

from __future__ import annotations

import numpy as np

from spatial_vlm_ros.sim.meshes import Mesh, block, join
from spatial_vlm_ros.sim.model import CollisionPiece, Colour, Holder, Model, PaintedSurface, shaded
from spatial_vlm_ros.types import Vector3

Board = tuple[Vector3, Vector3]  # size and centre, metres
_PAPER: Colour = (238, 234, 224)
_WOOD: Colour = (150, 105, 62)


def box(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A printed carton: a panel on its wide sides and a stripe around it."""
    x, y, z = rng.uniform(0.09, 0.14), rng.uniform(0.065, 0.085), rng.uniform(0.05, 0.13)
    stripe = block((x + 0.0006, y + 0.0006, 0.12 * z)).moved((0, 0, 0.84 * z))
    panel = block((0.55 * x, y + 0.0008, 0.42 * z)).moved((0, 0, 0.42 * z))
    parts = (
        PaintedSurface(_boards([((x, y, z), (0, 0, z / 2))]), paint, mottled=True),
        PaintedSurface(stripe, shaded(paint, 0.6)),
        PaintedSurface(panel, _PAPER),
    )
    solid = CollisionPiece("box", (x / 2, y / 2, z / 2), (0, 0, z / 2))
    mass = 400 * x * y * z
    holder = Holder("on", z, (0.4 * x, 0.4 * y))
    return Model("box", (colour,), parts, (solid,), mass, (0, 0, z / 2), holder=holder)


def tray(rng: np.random.Generator, colour: str, paint: Colour) -> Model:
    """A flat tray with a low rim."""
    x, y, rim, board = rng.uniform(0.24, 0.3), rng.uniform(0.17, 0.21), 0.012, 0.005
    boards: list[Board] = [
        ((x, y, board), (0, 0, board / 2)),
        ((x, board, rim), (0, (y - board) / 2, rim / 2)),
        ((x, board, rim), (0, -(y - board) / 2, rim / 2)),
        ((board, y - 2 * board, rim), ((x - board) / 2, 0, rim / 2)),
        ((board, y - 2 * board, rim), (-(x - board) / 2, 0, rim / 2)),
    ]
    holder = Holder("on", board, (x / 2 - 0.02, y / 2 - 0.02))
    part = PaintedSurface(_boards(boards), paint)
    return Model("tray", (colour,), (part,), _solids(boards), 0.5, (0, 0, 0.004), holder=holder)


def shelf(rng: np.random.Generator) -> Model:
    """A small wooden shelf, open to its own -x, with a board in between and one on top."""
    x, y, z, board = rng.uniform(0.13, 0.15), rng.uniform(0.26, 0.32), rng.uniform(0.17, 0.21), 0.01
    boards: list[Board] = [
        ((x, y, board), (0, 0, board / 2)),
        ((x - board, y - 2 * board, board), (-board / 2, 0, z / 2)),
        ((x, y, board), (0, 0, z - board / 2)),
        ((x, board, z - 2 * board), (0, (y - board) / 2, z / 2)),
        ((x, board, z - 2 * board), (0, -(y - board) / 2, z / 2)),
        ((board, y - 2 * board, z - 2 * board), ((x - board) / 2, 0, z / 2)),
    ]
    shade = shaded(_WOOD, float(rng.uniform(0.8, 1.2)))
    holder = Holder("on", z, (x / 2 - 0.015, y / 2 - 0.02))
    parts = (PaintedSurface(_boards(boards[:-1]), shade), PaintedSurface(_boards(boards[-1:]), shaded(shade, 1.35)))
    return Model("shelf", ("brown", "wooden"), parts, _solids(boards), 1.2, (0.01, 0, z / 2), holder=holder)


def _boards(boards: list[Board]) -> Mesh:
    return join(*(block(size).moved(centre) for size, centre in boards))


def _solids(boards: list[Board]) -> tuple[CollisionPiece, ...]:
    return tuple(CollisionPiece("box", (s[0] / 2, s[1] / 2, s[2] / 2), centre) for s, centre in boards)
