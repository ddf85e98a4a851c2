# SPDX-License-Identifier: Apache-2.0
"""The objects of the sources as models of the simulated cell, read when they are first asked for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial import ConvexHull

from research.arm_tables.pieces import convex_pieces
from research.arm_tables.sources import FILES, SOURCES, ObjectFile, read
from research.rendered.checkout import checked_out
from research.rendered.items import COLOURS, Item
from research.rendered.meshes import Floats
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.sim import meshes
from spatial_vlm_ros.sim.meshes import Model, PaintedSurface, hulls

FRICTION = 0.6
SURFACE = 5000  # points that stand for a surface
CHECKOUTS = "SPATIAL_VLM_ARM_SOURCES"
"""Environment variable: a folder with a checkout of each source, in folders named as in SOURCES."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """What tables are set with.

    Args:
        files: name of each object → how it is made.
        roots: name of each object → the root of its checkout.
    """

    files: Mapping[str, ObjectFile]
    roots: Mapping[str, Path]
    _items: dict[str, Item] = field(default_factory=dict)
    _pieces: dict[str, list[Floats]] = field(default_factory=dict)
    _surfaces: dict[str, Floats] = field(default_factory=dict)

    def item(self, name: str) -> Item:
        """Its mesh, standing on the origin."""
        if name not in self._items:
            self._items[name] = read(self.roots[name], {name: self.files[name]})[name]
        return self._items[name]

    def pieces(self, name: str) -> list[Floats]:
        """Corners (N, 3) of what collides of it, metres."""
        if name not in self._pieces:
            self._pieces[name] = convex_pieces(self.item(name).mesh, self.files[name].cut)
        return self._pieces[name]

    def surface(self, name: str) -> Floats:
        """(SURFACE, 6) points of the surfaces of its pieces, in no order, metres, and their outward normals."""
        if name not in self._surfaces:
            self._surfaces[name] = surface_of_pieces(self.pieces(name), SURFACE)
        return self._surfaces[name]

    def model(self, name: str, colour: str) -> Model:
        """The object as the simulated cell takes it, painted in one colour."""
        file, mesh = self.files[name], self.item(name).mesh
        red, green, blue = (int(255 * c) for c in COLOURS[colour])
        seen = meshes.Mesh(mesh.vertices, mesh.faces.astype(np.int32))
        centre = self.surface(name)[:, :3].mean(0)
        return Model(
            file.label,
            (colour,),
            (PaintedSurface(seen, (red, green, blue), mottled=True),),
            hulls(self.pieces(name)),
            file.mass,
            (float(centre[0]), float(centre[1]), float(centre[2])),
            FRICTION,
            file.rolling,
        )


def surface_of_pieces(pieces: Sequence[Floats], count: int) -> Floats:
    """(count, 6) points of the surfaces of convex pieces, evenly by area, in no order, metres, and outward normals."""
    triangles, normals = [], []
    for corners in pieces:
        hull = ConvexHull(corners)
        triangles.append(corners[hull.simplices])
        normals.append(hull.equations[:, :3])
    a, b, c = np.moveaxis(np.concatenate(triangles), 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    rng = np.random.default_rng(0)
    face = rng.choice(len(area), count, p=area / area.sum())
    u, v = rng.random((2, count, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    points = a[face] + u * (b - a)[face] + v * (c - a)[face]
    return np.concatenate([points, np.concatenate(normals)[face]], 1)


@contextlib.contextmanager
def catalogue_of(places: Mapping[str, str], scratch: Path) -> Iterator[Catalogue]:
    """The objects of the sources that are at hand.

    Args:
        places: name of a source → a checkout, a bare git directory, or a URL that git can clone.
        scratch: an empty folder for what has to be unpacked.

    Raises:
        InputError: no source, or one that is not in SOURCES.
        subprocess.CalledProcessError: git failed, for example because the commit is not there.
    """
    unknown = set(places) - set(SOURCES)
    if unknown or not places:
        got = ", ".join(sorted(unknown)) or "none"
        raise InputError("sources", got, f"some of {', '.join(SOURCES)}", "name each source with its place")
    with contextlib.ExitStack() as stack:
        files: dict[str, ObjectFile] = {}
        roots: dict[str, Path] = {}
        for name, place in places.items():
            folder = scratch / name
            folder.mkdir(parents=True, exist_ok=True)
            root = stack.enter_context(checked_out(SOURCES[name], place, folder))
            files |= FILES[name]
            roots |= dict.fromkeys(FILES[name], root)
        yield Catalogue(files, roots)


def places_of(given: Sequence[str]) -> dict[str, str]:
    """NAME=PLACE of each source; without any, the folders in CHECKOUTS, or the pinned URLs.

    Raises:
        InputError: a text without "=".
    """
    wrong = [text for text in given if "=" not in text]
    if wrong:
        raise InputError("source", wrong[0], "NAME=PLACE", "give a checkout, a bare git directory or a URL")
    if given:
        return dict(text.split("=", 1) for text in given)
    folder = os.environ.get(CHECKOUTS, "")
    if folder:
        return {name: str(Path(folder) / name) for name in SOURCES if (Path(folder) / name).exists()}
    return {name: source.url for name, source in SOURCES.items()}
