# SPDX-License-Identifier: Apache-2.0
"""Triangle meshes from COLLADA 1.4 (.dae) files."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from research.rendered.meshes import Floats, Mesh, joined

PRIMITIVES = ("triangles", "polylist", "polygons")
"""What is read of a mesh; lines and strips are not."""


def read_dae(path: Path, texture: Path | None = None) -> Mesh:
    """All that the scene of a file shows, in its own axes, metres; polygons are cut into fans, v runs down as in glTF.

    Args:
        path: the file.
        texture: image of the whole; None = without, and without texture coordinates.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file shows no triangles.
    """
    root = read_xml(path)
    for e in root.iter():
        e.tag = e.tag.rpartition("}")[2]
    known = {e.get("id"): e for e in root.iter() if e.get("id")}
    unit = root.find("asset/unit")
    metre = float(unit.get("meter", "1")) if unit is not None else 1.0
    found: list[Mesh] = []
    scene = root.find("library_visual_scenes/visual_scene")
    for node in scene.findall("node") if scene is not None else []:
        _walk(node, np.diag([metre, metre, metre, 1.0]), known, found)
    if not found:
        raise ValueError(f"{path}: its scene shows no triangles. Give a file with meshes.")
    whole = joined(found)
    uv = None if texture is None or whole.uv is None else whole.uv * (1, -1) + (0, 1)
    return Mesh(whole.vertices, whole.faces, uv, texture)


def read_xml(path: Path) -> ET.Element:
    """The root of an XML file of a checkout."""
    return ET.fromstring(path.read_text(errors="replace"))  # noqa: S314 - of a commit that is pinned


def _walk(node: ET.Element, pose: Floats, known: dict[str | None, ET.Element], found: list[Mesh]) -> None:
    """Adds the meshes of a node and of those below it; pose (4, 4) is of the node above."""
    for e in node:
        numbers = np.array((e.text or "").split() if e.tag in ("matrix", "translate", "rotate", "scale") else [], float)
        step = np.eye(4)
        if e.tag == "matrix":
            step = np.reshape(numbers, (4, 4))
        elif e.tag == "translate":
            step[:3, 3] = numbers
        elif e.tag == "rotate":
            step[:3, :3] = Rotation.from_rotvec(np.radians(numbers[3]) * numbers[:3]).as_matrix()
        elif e.tag == "scale":
            step[:3, :3] = np.diag(numbers)
        pose = pose @ step
    for e in node:
        if e.tag == "node":
            _walk(e, pose, known, found)
        elif e.tag == "instance_node":
            _walk(known[e.get("url", "")[1:]], pose, known, found)
        elif e.tag == "instance_geometry":
            for mesh in _geometry(known[e.get("url", "")[1:]], known):
                found.append(mesh.moved(pose[:3, :3], pose[:3, 3]))


def _geometry(geometry: ET.Element, known: dict[str | None, ET.Element]) -> list[Mesh]:
    meshes = []
    for primitive in (e for e in geometry.iter() if e.tag in PRIMITIVES):
        inputs = {e.get("semantic"): e for e in reversed(primitive.findall("input"))}
        width = 1 + max(int(e.get("offset", "0")) for e in primitive.findall("input"))
        index = np.array([x for p in primitive.findall("p") for x in (p.text or "").split()], int).reshape(-1, width)
        if not len(index):
            continue
        if primitive.tag == "polygons":
            counts = [len((p.text or "").split()) // width for p in primitive.findall("p")]
        elif primitive.tag == "polylist":
            counts = [int(n) for n in (primitive.findtext("vcount") or "").split()]
        else:
            counts = [3] * (len(index) // 3)
        starts = np.cumsum([0, *counts[:-1]])
        faces = [(s, s + k, s + k + 1) for s, n in zip(starts, counts, strict=True) for k in range(1, n - 1)]
        vertex = inputs["VERTEX"]
        position = known[vertex.get("source", "")[1:]].find("input[@semantic='POSITION']")
        assert position is not None
        points = _source(position, known)[index[:, int(vertex.get("offset", "0"))], :3]
        uv = None
        if "TEXCOORD" in inputs:
            uv = _source(inputs["TEXCOORD"], known)[index[:, int(inputs["TEXCOORD"].get("offset", "0"))], :2]
        meshes.append(Mesh(points, np.array(faces, dtype=np.int64), uv))
    return meshes


def _source(place: ET.Element, known: dict[str | None, ET.Element]) -> Floats:
    """The numbers that an input names, (N, stride)."""
    source = known[place.get("source", "")[1:]]
    accessor = source.find("technique_common/accessor")
    stride = int(accessor.get("stride", "1")) if accessor is not None else 3
    return np.array((source.findtext("float_array") or "").split(), float).reshape(-1, stride)
