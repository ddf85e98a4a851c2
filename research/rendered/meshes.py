# SPDX-License-Identifier: Apache-2.0
"""Triangle meshes from Wavefront (.obj), glTF 2.0 (.gltf) and binary STL files, and simple solids."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COMPONENT = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
"""glTF 2.0, section 3.6.2.2: component type → element."""
WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""Turns y up, as in glTF, into z up; what faced +z then faces −y."""


@dataclass(frozen=True)
class Mesh:
    """Triangles.

    Args:
        vertices: (N, 3), metres.
        faces: (M, 3), indices of vertices.
        uv: (N, 2), one for each vertex, or None.
        texture: file of its image, or None.
    """

    vertices: Floats
    faces: Ints
    uv: Floats | None = None
    texture: Path | None = None

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """Least and greatest coordinates, (3,) each."""
        return self.vertices.min(0), self.vertices.max(0)

    @property
    def size(self) -> Floats:
        """Extent along the axes, (3,), metres."""
        low, high = self.bounds
        return high - low

    def moved(self, matrix: Floats | None = None, offset: Floats | None = None) -> Mesh:
        """The mesh with vertices matrix @ v + offset; matrix (3, 3), offset (3,)."""
        v = self.vertices if matrix is None else self.vertices @ np.asarray(matrix, float).T
        turned = matrix is not None and np.linalg.det(matrix) < 0
        return replace(
            self, vertices=v if offset is None else v + offset, faces=self.faces[:, ::-1] if turned else self.faces
        )

    def scaled(self, factors: float | tuple[float, float, float]) -> Mesh:
        """The mesh with its axes multiplied by factors."""
        return self.moved(np.diag(np.broadcast_to(np.asarray(factors, float), 3)))

    def standing(self) -> Mesh:
        """The mesh moved so that the middle of its bounds is above the origin and its lowest point at z = 0."""
        low, high = self.bounds
        return self.moved(offset=np.array([-(low[0] + high[0]) / 2, -(low[1] + high[1]) / 2, -low[2]]))


def joined(meshes: list[Mesh]) -> Mesh:
    """One mesh of several; the texture is the first one's, and the uv are kept where all have them."""
    first, starts = meshes[0], np.cumsum([0] + [len(m.vertices) for m in meshes[:-1]])
    uv = np.concatenate([m.uv for m in meshes if m.uv is not None]) if all(m.uv is not None for m in meshes) else None
    faces = np.concatenate([m.faces + s for m, s in zip(meshes, starts, strict=True)])
    return Mesh(np.concatenate([m.vertices for m in meshes]), faces, uv, first.texture)


def box(low: tuple[float, float, float], high: tuple[float, float, float]) -> Mesh:
    """An axis-aligned box between two corners, metres."""
    c = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])], float)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return Mesh(c, np.array([t for a, b, d, e in quads for t in ((a, b, d), (a, d, e))]))


def cylinder(radius: float, height: float, sides: int = 40) -> Mesh:
    """A cylinder standing on the origin, metres."""
    a = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.stack([radius * np.cos(a), radius * np.sin(a)], 1)
    v = np.concatenate([np.c_[ring, np.zeros(sides)], np.c_[ring, np.full(sides, height)], [[0, 0, 0], [0, 0, height]]])
    i, j = np.arange(sides), np.roll(np.arange(sides), -1)
    low, top = np.full(sides, 2 * sides), np.full(sides, 2 * sides + 1)
    faces = [np.c_[i, j, j + sides], np.c_[i, j + sides, i + sides], np.c_[low, j, i], np.c_[top, i + sides, j + sides]]
    return Mesh(v, np.concatenate(faces))


def read_obj(path: Path, materials: Collection[str] | None = None) -> Mesh:
    """The mesh of a Wavefront file, of some of its materials if they are given; polygons are cut into fans.

    Raises:
        FileNotFoundError: there is no such file.
    """
    positions: list[list[float]] = []
    coordinates: list[list[float]] = []
    index: dict[tuple[int, int], int] = {}
    faces: list[tuple[int, int, int]] = []
    wanted = materials is None
    for line in path.read_text(errors="replace").splitlines():
        word, *rest = line.split() or [""]
        if word == "v":
            positions.append([float(x) for x in rest[:3]])
        elif word == "vt":
            coordinates.append([float(x) for x in rest[:2]])
        elif word == "usemtl" and materials is not None:
            wanted = rest[0] in materials
        elif word == "f" and wanted:
            corners = []
            for corner in rest:
                p, _, t = corner.partition("/")
                t = t.partition("/")[0]
                key = (int(p) - 1 if int(p) > 0 else len(positions) + int(p), int(t) - 1 if t else -1)
                corners.append(index.setdefault(key, len(index)))
            faces += [(corners[0], corners[k], corners[k + 1]) for k in range(1, len(corners) - 1)]
    keys = np.array(list(index), dtype=np.int64)
    uv = np.array(coordinates)[keys[:, 1]] if coordinates and (keys[:, 1] >= 0).all() else None
    return Mesh(np.array(positions)[keys[:, 0]], np.array(faces, dtype=np.int64), uv)


def read_stl(path: Path) -> Mesh:
    """The mesh of a binary STL file; corners at one place are one vertex.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no binary STL file, or is cut off.
    """
    data = path.read_bytes()
    count = int.from_bytes(data[80:84], "little")
    if len(data) < 84 or len(data) != 84 + 50 * count:
        raise ValueError(f"{path}: not a binary STL file of {count} triangles. Give a whole checkout of the source.")
    rows = np.frombuffer(data, np.uint8, offset=84).reshape(count, 50)
    corners = np.ascontiguousarray(rows[:, 12:48]).view("<f4").reshape(-1, 3).astype(np.float64)
    vertices, index = np.unique(corners, axis=0, return_inverse=True)
    return Mesh(vertices, index.reshape(-1, 3).astype(np.int64))


def read_gltf(path: Path) -> dict[str, Mesh]:
    """The meshes of a glTF file without hierarchy, by name of the node, in the node's pose, z up.

    Raises:
        FileNotFoundError: the file, or one of its buffers, is missing.
    """
    g = json.loads(path.read_text())
    buffers = [(path.parent / b["uri"]).read_bytes() for b in g["buffers"]]

    def accessor(i: int) -> NDArray[np.float64]:
        a = g["accessors"][i]
        view, width, kind = g["bufferViews"][a["bufferView"]], WIDTH[a["type"]], np.dtype(COMPONENT[a["componentType"]])
        start, step = view.get("byteOffset", 0) + a.get("byteOffset", 0), view.get("byteStride", width * kind.itemsize)
        raw = np.frombuffer(buffers[view["buffer"]], np.uint8)[start:]
        rows = np.lib.stride_tricks.as_strided(raw, (a["count"], width * kind.itemsize), (step, 1))
        return np.ascontiguousarray(rows).view(kind).astype(np.float64)

    def image(primitive: dict[str, int]) -> Path | None:
        material = g["materials"][primitive["material"]] if "material" in primitive else {}
        texture = material.get("pbrMetallicRoughness", {}).get("baseColorTexture")
        source = g["textures"][texture["index"]].get("source") if texture else None
        return path.parent / g["images"][source]["uri"] if source is not None else None

    meshes = {}
    for node in g["nodes"]:
        if "mesh" not in node:
            continue
        parts = []
        for p in g["meshes"][node["mesh"]]["primitives"]:
            uv = accessor(p["attributes"]["TEXCOORD_0"]) if "TEXCOORD_0" in p["attributes"] else None
            triangles = accessor(p["indices"]).astype(np.int64).reshape(-1, 3)
            parts.append(Mesh(accessor(p["attributes"]["POSITION"]), triangles, uv, image(p)))
        pose = Rotation.from_quat(node.get("rotation", [0, 0, 0, 1])).as_matrix() @ np.diag(
            node.get("scale", [1, 1, 1])
        )
        meshes[node["name"]] = joined(parts).moved(
            Z_UP @ pose, Z_UP @ np.array(node.get("translation", [0, 0, 0]), float)
        )
    return meshes
