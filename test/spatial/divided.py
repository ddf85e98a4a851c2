# SPDX-License-Identifier: Apache-2.0
"""Furniture made of boards, for scenes whose parts are known: organisers, shelf units, chests with an open drawer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spatial_vlm_ros.sim.tabletop import Array, Body, Box, Hits

if TYPE_CHECKING:
    from spatial_vlm_ros.types import Vector3

WALL = 0.006
Board = tuple["Vector3", "Vector3"]
"""Middle of the base, and size."""


@dataclass(frozen=True)
class Boards:
    boards: tuple[Board, ...]

    @property
    def size(self) -> Vector3:
        low = np.min([np.subtract(at, (s[0] / 2, s[1] / 2, 0)) for at, s in self.boards], axis=0)
        high = np.max([np.add(at, (s[0] / 2, s[1] / 2, s[2])) for at, s in self.boards], axis=0)
        x, y, z = (float(side) for side in high - low)
        return x, y, z

    def hit(self, origin: Array, directions: Array) -> Hits:
        found = [Box(size).hit(origin - np.array(at), directions) for at, size in self.boards]
        distances, normals = np.stack([h[0] for h in found]), np.stack([h[1] for h in found])
        first, ray = distances.argmin(axis=0), np.arange(distances.shape[1])
        return distances[first, ray], normals[first, ray]


def body(id_: str, label: str, boards: list[Board], at: Vector3, yaw: float = 0.0, colour: str = "grey") -> Body:
    """Boards as a body, whose shape has to be centred on its place; `at` is that of the boards' own origin."""
    low = np.min([np.subtract(place, np.array(size) / 2) for place, size in boards], axis=0)[:2]
    high = np.max([np.add(place, np.array(size) / 2) for place, size in boards], axis=0)[:2]
    x, y = (float(side) for side in (low + high) / 2)
    shape: Any = Boards(tuple(((a - x, b - y, c), size) for (a, b, c), size in boards))
    return Body(id_, label, shape, (at[0] + x, at[1] + y, at[2]), colour, yaw)


def organiser(
    size: Vector3, across: tuple[float, ...] = (), along: tuple[float, ...] = (), label: str = "organiser",
    at: Vector3 = (0.0, 0.1, 0.0), yaw: float = 0.0,
) -> Body:  # fmt: skip
    x, y, z = size
    boards: list[Board] = [((0, 0, 0), (x, y, WALL))]
    boards += [((side * (x - WALL) / 2, 0, 0), (WALL, y, z)) for side in (-1, 1)]
    boards += [((0, side * (y - WALL) / 2, 0), (x, WALL, z)) for side in (-1, 1)]
    boards += [((place, 0, 0), (WALL, y, z)) for place in across]
    boards += [((0, place, 0), (x, WALL, z)) for place in along]
    return body("whole", label, boards, at, yaw)


def shelf_unit(
    heights: tuple[float, ...], size: Vector3, lid: bool, label: str = "shelf unit", at: Vector3 = (0.0, 0.2, 0.0)
) -> Body:
    """Boards at `heights` between two sides and before a back; posts instead where there is no lid."""
    x, y, z = size
    boards: list[Board] = [((0, 0, height), (x, y, 0.015)) for height in heights]
    if lid:
        boards += [((side * (x - 0.015) / 2, 0, 0), (0.015, y, z)) for side in (-1, 1)]
        boards += [((0, (y - 0.01) / 2, 0), (x, 0.01, z)), ((0, 0, z - 0.015), (x, y, 0.015))]
    else:
        corners = [(a * (x - 0.02) / 2, b * (y - 0.02) / 2) for a in (-1, 1) for b in (-1, 1)]
        boards += [((a, b, 0), (0.02, 0.02, max(heights))) for a, b in corners]
    return body("whole", label, boards, at)


def chest(
    number: int, out: int | None, size: Vector3 = (0.3, 0.25, 0.27), label: str = "cabinet",
    at: Vector3 = (0.0, 0.25, 0.0),
) -> Body:  # fmt: skip
    x, y, z = size
    boards: list[Board] = [((0, 0, 0), size)]
    if out is not None:
        each = z / number
        low = z - (out + 1) * each + 0.01
        tall, deep, wide = each - 0.02, 0.12, x - 0.04
        front = -y / 2 - deep
        boards += [((0, front + deep / 2, low), (wide, deep, WALL)), ((0, front, low), (wide, 2 * WALL, tall))]
        boards += [((side * wide / 2, front + deep / 2, low), (WALL, deep, tall)) for side in (-1, 1)]
    return body("whole", label, boards, at)


def stairs(number: int, label: str = "display stand", at: Vector3 = (0.0, 0.1, 0.0)) -> Body:
    blocks: list[Board] = [((0.0, n * 0.1, 0.0), (0.35, 0.1, (n + 1) * 0.05)) for n in range(number)]
    return body("whole", label, blocks, at)
