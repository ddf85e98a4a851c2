# SPDX-License-Identifier: Apache-2.0
"""Furniture of boxes and turned shapes: a low dresser, cubbyholes, a cutlery tray, a riser, a board, coasters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from research.rendered.items import Item, Room, flat_top
from research.rendered.meshes import Mesh, box, cylinder, joined

SLOTS = ("left", "middle", "right")
HOLES = {"lower left": (-1, 0), "lower right": (1, 0), "upper left": (-1, 1), "upper right": (1, 1)}
PULL = 0.13
"""How far an open drawer of the dresser stands out, metres."""


def turned(profile: Sequence[tuple[float, float]], sides: int = 48) -> Mesh:
    """A profile (radius, height), from the middle of the foot outwards and back, turned about the vertical, metres."""
    p = np.array(profile)
    a = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    v = np.concatenate([np.c_[r * np.cos(a), r * np.sin(a), np.full(sides, z)] for r, z in p])
    i, j = np.arange(sides), np.roll(np.arange(sides), -1)
    faces = []
    for k in range(len(p) - 1):
        low, high = k * sides, (k + 1) * sides
        if p[k, 0] > 0:
            faces.append(np.c_[low + i, low + j, high + j])
        if p[k + 1, 0] > 0:
            faces.append(np.c_[low + i, high + j, high + i])
    return Mesh(v, np.concatenate(faces))


def dresser(opened: str) -> Item:
    """A low dresser of three drawers side by side that faces −y; `opened` of SLOTS is pulled out."""
    w, d, h, t = 0.48, 0.22, 0.13, 0.012
    cell = (w - t) / 3
    panels = [box((-w / 2, -d / 2, z), (w / 2, d / 2, z + t)) for z in (0.0, h - t)]
    walls = [-w / 2 + t / 2 + k * cell for k in range(4)]
    panels += [box((x - t / 2, -d / 2 + 0.001, t), (x + t / 2, d / 2 - t, h - t)) for x in walls]
    panels.append(box((-w / 2, d / 2 - t, t), (w / 2, d / 2, h - t)))
    parts, rooms = {}, {"main": Room("on", 0.42 * w, 0.36 * d, h)}
    for k, name in enumerate(SLOTS):
        x, out = (k - 1) * cell, PULL if name == opened else 0.0
        wide, deep, low = cell - t - 0.006, d - t - 0.004, t + 0.004
        body = bin_of(wide, deep, 0.07, 0.005).moved(offset=np.array([x, -t / 2 - out, low]))
        top = h - t - low - 0.004
        face = box((x - wide / 2, -d / 2 - 0.01 - out, low), (x + wide / 2, -d / 2 + 0.002 - out, low + top))
        pull = box((x - 0.012, -d / 2 - 0.03 - out, 0.06), (x + 0.012, -d / 2 - 0.01 - out, 0.08))
        parts[f"{name} drawer"] = Item("drawer", (f"{name} drawer",), joined([body, face, pull]), solid="cells")
        if out:
            y = -d / 2 - out / 2 + 0.004
            rooms[f"{name} drawer"] = Room("inside", wide / 2 - 0.03, out / 2 - 0.026, low + 0.005, x, y, 0.065, 0.058)
    colours = ("brown", "white", "gray")
    return Item("dresser", ("dresser", "sideboard"), joined(panels), colours, solid="cells", rooms=rooms, parts=parts)


def cubbies() -> Item:
    """An open unit of two by two cubbyholes that faces −y."""
    w, d, h, t = 0.42, 0.17, 0.36, 0.014
    panels = [box((-w / 2, -d / 2, z), (w / 2, d / 2, z + t)) for z in (0.0, (h - t) / 2, h - t)]
    panels += [box((x - t / 2, -d / 2, 0), (x + t / 2, d / 2, h)) for x in (-w / 2 + t / 2, 0.0, w / 2 - t / 2)]
    panels.append(box((-w / 2, d / 2 - 0.006, 0), (w / 2, d / 2, h)))
    rooms = {
        n: Room(
            "inside", w / 4 - 0.045, d / 2 - 0.035, k * (h - t) / 2 + t, i * (w - t) / 4, -0.012, 0.16, d / 2 - 0.012
        )
        for n, (i, k) in HOLES.items()
    }
    rooms["main"] = Room("on", 0.42 * w, 0.3 * d, h, wide=d / 2)
    said = ("cubby unit", "shelf unit")
    return Item("cube shelf", said, joined(panels), ("white", "brown", "black"), solid="cells", rooms=rooms)


def cutlery_tray() -> Item:
    """A tray of three long sections side by side that run away from the viewer."""
    w, d, h = 0.36, 0.27, 0.045
    walls = [box((x - 0.003, -d / 2, 0), (x + 0.003, d / 2, h)) for x in (-w / 6, w / 6)]
    rooms = {
        n: Room("inside", w / 6 - 0.022, d / 2 - 0.03, 0.006, (k - 1) * w / 3, 0, h, w / 6 - 0.006)
        for k, n in enumerate(SLOTS)
    }
    mesh = joined([bin_of(w, d, h, 0.006), *walls])
    said = ("cutlery tray", "silverware tray")
    return Item("cutlery tray", said, mesh, ("white", "gray", "brown"), solid="cells", rooms=rooms)


def riser() -> Item:
    """A shelf on two side walls, as screens stand on: room on it, and under it."""
    w, d, h, t = 0.46, 0.22, 0.17, 0.016
    sides = [box((x - t / 2, -d / 2, 0), (x + t / 2, d / 2, h - t)) for x in (-w / 2 + t / 2, w / 2 - t / 2)]
    mesh = joined([*sides, box((-w / 2, -d / 2, h - t), (w / 2, d / 2, h))])
    rooms = {
        "main": Room("on", w / 2 - 0.05, d / 2 - 0.045, h, wide=d / 2),
        "under": Room("under", w / 2 - 0.06, d / 2 - 0.04, 0.0, 0, 0, 0.15, d / 2),
    }
    said = ("monitor stand", "stand", "riser")
    return Item("monitor stand", said, mesh, ("brown", "white", "black"), solid="cells", rooms=rooms)


def board() -> Item:
    """A chopping board with a left and a right half."""
    w, d, h = 0.42, 0.26, 0.018
    rooms = {
        n: Room("on", w / 4 - 0.02, d / 2 - 0.04, h, s * w / 4, 0, wide=0.1) for n, s in (("left", -1), ("right", 1))
    }
    mesh = box((-w / 2, -d / 2, 0), (w / 2, d / 2, h))
    rooms["main"] = flat_top(mesh, 0.7)
    said = ("chopping board", "cutting board")
    return Item("cutting board", said, mesh, ("brown", "white"), rooms=rooms)


def coaster() -> Item:
    """A thick round coaster."""
    mesh = cylinder(0.07, 0.008)
    room = Room("on", 0.035, 0.035, 0.008, wide=0.075)
    colours = ("red", "blue", "green", "yellow", "black")
    return Item("coaster", ("coaster",), mesh, colours, rooms={"main": room})


def punnet() -> Item:
    """A small open box that six letter blocks fill."""
    mesh = bin_of(0.178, 0.125, 0.05, 0.006)
    room = {"main": Room("inside", 0.06, 0.035, 0.006, height=0.05)}
    return Item("basket", ("basket", "box"), mesh, ("brown", "white", "gray"), solid="cells", rooms=room)


def bin_of(x: float, y: float, z: float, wall: float) -> Mesh:
    """An open box of outer extents x, y, z, metres."""
    low = box((-x / 2, -y / 2, 0), (x / 2, y / 2, wall))
    walls = [box((-x / 2, -y / 2, 0), (-x / 2 + wall, y / 2, z)), box((x / 2 - wall, -y / 2, 0), (x / 2, y / 2, z))]
    walls += [box((-x / 2, -y / 2, 0), (x / 2, -y / 2 + wall, z)), box((-x / 2, y / 2 - wall, 0), (x / 2, y / 2, z))]
    return joined([low, *walls])
