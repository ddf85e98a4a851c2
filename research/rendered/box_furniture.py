# SPDX-License-Identifier: Apache-2.0
"""Furniture made of boxes and discs for the objects of Gazebo: drawers, a stove, organisers, steps, mats, books."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from research.rendered.items import Item, Room, flat_top
from research.rendered.meshes import Mesh, box, cylinder, joined

LEVELS = ("bottom", "middle", "top")
CORNERS = {"front left": (-1, -1), "front right": (1, -1), "back left": (-1, 1), "back right": (1, 1)}
PULLED = 0.14
"""How far an open drawer stands out, metres."""


def shell(x: float, y: float, z: float, wall: float) -> Mesh:
    """An open box of outer extents x, y, z."""
    floor = box((-x / 2, -y / 2, 0), (x / 2, y / 2, wall))
    ends = [box((s - wall / 2, -y / 2, 0), (s + wall / 2, y / 2, z)) for s in ((wall - x) / 2, (x - wall) / 2)]
    sides = [box((-x / 2, s - wall / 2, 0), (x / 2, s + wall / 2, z)) for s in ((wall - y) / 2, (y - wall) / 2)]
    return joined([floor, *ends, *sides])


def chest(opened: str) -> Item:
    """A chest of three drawers, one above the other, that faces −y; `opened` of LEVELS is pulled out."""
    w, d, h, t = 0.32, 0.25, 0.11, 0.012
    parts, rooms = {}, {"main": Room("on", 0.4 * w, 0.36 * d, 3 * h + t)}
    plates = [box((-w / 2, -d / 2, k * h), (w / 2, d / 2, k * h + t)) for k in range(4)]
    plates += [box((s - t / 2, -d / 2, 0), (s + t / 2, d / 2, 3 * h + t)) for s in (-w / 2 + t / 2, w / 2 - t / 2)]
    plates.append(box((-w / 2, d / 2 - t, 0), (w / 2, d / 2, 3 * h + t)))
    for k, name in enumerate(LEVELS):
        out, low = PULLED if name == opened else 0.0, k * h + t + 0.004
        inner = shell(w - 2 * t - 0.008, d - t - 0.004, 0.065, 0.006)
        panel = box((-w / 2 + t + 0.002, -d / 2 - 0.012, 0), (w / 2 - t - 0.002, -d / 2 + 0.002, h - t - 0.008))
        knob = box((-0.035, -d / 2 - 0.032, 0.045), (0.035, -d / 2 - 0.012, 0.058))
        mesh = joined([inner.moved(offset=np.array([0, -t / 2, 0])), panel, knob]).moved(
            offset=np.array([0, -out, low])
        )
        parts[f"{name} drawer"] = Item("drawer", (f"{name} drawer",), mesh, solid="cells")
        if out:
            y = -d / 2 - out + 0.008 + out / 2
            rooms[f"{name} drawer"] = Room("inside", 0.115, out / 2 - 0.026, low + 0.006, 0, y, 0.065, out / 2 - 0.012)
    said = ("chest of drawers", "drawer unit")
    whole = joined(plates)
    return Item(said[0], said, whole, ("white", "gray", "brown"), solid="cells", rooms=rooms, parts=parts)


def stove(root: Path) -> Item:
    """A white table stove with four black burners, painted with the white and the black of the soccer ball."""
    texture = root / "robocup_3Dsim_ball/materials/textures/rcs-soccerball.png"

    def painted(mesh: Mesh, spot: tuple[float, float]) -> Mesh:
        return Mesh(mesh.vertices, mesh.faces, np.tile(spot, (len(mesh.vertices), 1)), texture)

    parts, rooms = [painted(box((-0.22, -0.19, 0), (0.22, 0.17, 0.045)), (0.5, 0.9))], {}
    for name, (i, j) in CORNERS.items():
        disc = cylinder(0.072, 0.006).moved(offset=np.array([0.11 * i, 0.085 * j, 0.045]))
        parts.append(painted(disc, BLACK))
        rooms[name] = Room("on", 0.045, 0.045, 0.051, 0.11 * i, 0.085 * j, wide=0.08)
    return Item("stove", ("stove", "hob"), joined(parts), colour="white", solid="cells", rooms=rooms)


BLACK = (0.234, 0.047)
"""A place in that image that is black all around."""


def quarters() -> Item:
    """A flat box of four compartments, two by two."""
    w, d, h = 0.36, 0.28, 0.045
    walls = [box((-0.003, -d / 2, 0), (0.003, d / 2, h)), box((-w / 2, -0.003, 0), (w / 2, 0.003, h))]
    rooms = {
        n: Room("inside", w / 4 - 0.028, d / 4 - 0.026, 0.006, i * w / 4, j * d / 4, h, d / 4 - 0.008)
        for n, (i, j) in CORNERS.items()
    }
    mesh = joined([shell(w, d, h, 0.006), *walls])
    said = ("organizer", "sorting tray")
    return Item("divided tray", said, mesh, ("gray", "white", "blue"), solid="cells", rooms=rooms)


def rack() -> Item:
    """A long box of four compartments side by side, named by their number from the left."""
    w, d, h = 0.5, 0.14, 0.055
    walls = [box((s - 0.003, -d / 2, 0), (s + 0.003, d / 2, h)) for s in (-w / 4, 0, w / 4)]
    rooms = {
        n: Room("inside", w / 8 - 0.02, d / 2 - 0.026, 0.006, (k - 1.5) * w / 4, 0, h, w / 8 - 0.006)
        for k, n in enumerate(("first", "second", "third", "fourth"))
    }
    mesh = joined([shell(w, d, h, 0.006), *walls])
    said = ("organizer", "parts box")
    return Item("desk organizer", said, mesh, ("white", "gray", "brown"), solid="cells", rooms=rooms)


def steps() -> Item:
    """A stand of three steps that rises away from the viewer."""
    w, d = 0.4, 0.11
    flights = [box((-w / 2, (k - 1.5) * d, 0), (w / 2, 1.5 * d, 0.05 * (k + 1))) for k in range(3)]
    rooms = {
        n: Room("on", 0.16, 0.032, 0.05 * (k + 1), 0, (k - 1) * d, wide=d / 2 + 0.005) for k, n in enumerate(LEVELS)
    }
    said = ("stand", "display stand")
    return Item("display stand", said, joined(flights), ("white", "gray", "brown"), solid="cells", rooms=rooms)


def mat() -> Item:
    """A place mat."""
    mesh = box((-0.13, -0.095, 0), (0.13, 0.095, 0.004))
    said = ("mat", "placemat")
    return Item("placemat", said, mesh, ("red", "blue", "green", "yellow"), rooms={"main": flat_top(mesh, 0.7)})


def book() -> Item:
    """A book that lies on its side."""
    mesh = box((-0.075, -0.105, 0), (0.075, 0.105, 0.028))
    return Item("book", ("book",), mesh, ("red", "blue", "green", "black"), rooms={"main": flat_top(mesh, 0.6)})


def full_tray() -> Item:
    """A small tray that six blocks fill."""
    mesh = shell(0.23, 0.18, 0.03, 0.006)
    room = Room("on", 0.085, 0.065, 0.006)
    return Item("tray", ("tray",), mesh, ("white", "blue", "gray"), solid="cells", rooms={"main": room})
