# SPDX-License-Identifier: Apache-2.0
"""Kinds of objects that a source offers, and objects as they are placed in a scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from research.rendered.meshes import Floats, Mesh

COLOURS: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        "red": (0.78, 0.10, 0.10),
        "orange": (0.93, 0.47, 0.06),
        "yellow": (0.93, 0.80, 0.10),
        "green": (0.12, 0.55, 0.20),
        "blue": (0.12, 0.25, 0.75),
        "purple": (0.45, 0.16, 0.60),
        "pink": (0.95, 0.55, 0.70),
        "white": (0.93, 0.93, 0.91),
        "gray": (0.50, 0.50, 0.50),
        "black": (0.07, 0.07, 0.08),
        "brown": (0.45, 0.27, 0.13),
    }
)
"""Names that people give colours, and a plain example of each, sRGB 0 to 1."""


@dataclass(frozen=True)
class Room:
    """Where something can be put: a rectangle in the axes of the object that holds it, metres.

    Args:
        relation: "on" or "inside".
        hx, hy: half extents; the rim is left out.
        floor: height above the lowest point of the holder.
        x, y: its middle.
        height: of the rim above the floor.
        wide: half the width that there is for an object; on a flat holder, 1 cm more than the holder has.
    """

    relation: str
    hx: float
    hy: float
    floor: float
    x: float = 0.0
    y: float = 0.0
    height: float = 0.02
    wide: float = 1.0


@dataclass(frozen=True)
class Item:
    """A kind of object.

    Args:
        label: what an open-vocabulary detector says.
        said: what people say, the plainest word first.
        mesh: standing on the origin, metres.
        colours: names of the colours it can have; () where it has a texture or one colour of its own.
        colour: what colour it is called where it has a texture; None = none in particular.
        solid: "hull" where its convex hull is near enough for contact, else "cells".
        rooms: where something can be put, by name: "main" and names of parts.
        parts: objects that are of a piece with it (drawers, doors), by name: label, said, mesh in the item's axes.
    """

    label: str
    said: tuple[str, ...]
    mesh: Mesh
    colours: tuple[str, ...] = ()
    colour: str | None = None
    solid: str = "hull"
    rooms: Mapping[str, Room] = field(default_factory=dict)
    parts: Mapping[str, Item] = field(default_factory=dict)

    @property
    def word(self) -> str:
        """The plainest word for it."""
        return self.said[0]

    @property
    def words(self) -> str:
        """That word for several of them."""
        w = self.word
        irregular = {"box": "boxes", "dish": "dishes", "mouse": "mice"}
        last = w.split()[-1]
        return w[: len(w) - len(last)] + irregular.get(last, last + "s")


@dataclass
class PlacedItem:
    """An object in a scene.

    Args:
        name: for the scene alone.
        item: its kind.
        at: (x, y) in the world, or in the axes of the room that holds it, metres.
        turn: about the vertical, degrees.
        colour: its name, where the kind has several.
        on: (name, room) of what holds it; None = the table.
        free: physics may move it.
        label: the detector's word, where it is not the kind's.
    """

    name: str
    item: Item
    at: tuple[float, float]
    turn: float = 0.0
    colour: str | None = None
    on: tuple[str, str] | None = None
    free: bool = True
    label: str | None = None

    @property
    def tone(self) -> str | None:
        """The name of its colour, or None."""
        return self.colour or self.item.colour


@dataclass(frozen=True)
class Source:
    """A public repository with objects.

    Args:
        name: of the folder that its frames go to.
        url, commit: where and which version.
        licence: which, and of what.
        licence_files: paths of the texts.
        items: reads the objects from a checkout.
        folders: what of it is read.
        tables: textures for the table, paths in the checkout.
        without: files that are not needed and may be missing in a partial copy.
    """

    name: str
    url: str
    commit: str
    licence: str
    licence_files: tuple[str, ...]
    items: Callable[[Path], dict[str, Item]]
    folders: tuple[str, ...]
    tables: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()


def vessel(mesh: Mesh, share: float = 0.55, relation: str = "inside") -> Room:
    """The room in an open vessel of round plan that stands on the origin.

    The floor is the highest point near its axis; half the side of the square room is `share` of the inner radius.
    """
    v = samples(mesh)
    r, z = np.hypot(v[:, 0], v[:, 1]), v[:, 2]
    floor = float(np.quantile(z[r < max(0.15 * r.max(), 0.008)], 0.95))
    high = z > floor + 0.6 * (z.max() - floor)
    inner = float(np.quantile(r[high], 0.05))
    return Room(relation, share * inner, share * inner, floor, height=float(z.max() - floor), wide=inner)


def flat_top(mesh: Mesh, share: float = 0.8) -> Room:
    """The room on the flat top of an object that stands on the origin."""
    x, y, z = mesh.size
    return Room("on", share * x / 2, share * y / 2, z, wide=min(x, y) / 2 + 0.01)


def samples(mesh: Mesh, n: int = 30000, seed: int = 0) -> Floats:
    """Points of the surface, (n, 3), evenly by area."""
    rng = np.random.default_rng(seed)
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    f = rng.choice(len(area), n, p=area / area.sum())
    u, v = rng.random((2, n, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    return np.asarray(a[f] + u * (b - a)[f] + v * (c - a)[f])
