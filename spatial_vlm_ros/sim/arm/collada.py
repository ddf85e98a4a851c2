# SPDX-License-Identifier: Apache-2.0
"""Read painted surfaces from COLLADA files, for the part of the format that the arm's description uses."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.documents import read_xml
from spatial_vlm_ros.sim.meshes import Array, Mesh, join
from spatial_vlm_ros.sim.model import Colour, PaintedSurface

_C = "{http://www.collada.org/2005/11/COLLADASchema}"


def painted_parts(path: Path) -> tuple[PaintedSurface, ...]:
    """Read the surfaces of a file, one per colour, in metres.

    Args:
        path: file with triangles and a diffuse colour per geometry, nodes with one matrix each, metres, z up.
    """
    try:
        root = read_xml(path, "install example-robot-data from its wheel")
        colours = _colours(root)
        found: dict[Colour, list[Mesh]] = {}
        shapes = {geometry.get("id"): geometry for geometry in root.iter(f"{_C}geometry")}
        for node in root.iter(f"{_C}node"):
            instance = _one(node, "instance_geometry")
            mesh, material = _surface(shapes[instance.get("url", "")[1:]])
            targets = {i.get("symbol"): i.get("target", "")[1:] for i in instance.iter(f"{_C}instance_material")}
            pose = _numbers(_one(node, "matrix")).reshape(4, 4)
            found.setdefault(colours[targets[material]], []).append(
                Mesh(mesh.vertices @ pose[:3, :3].T + pose[:3, 3], mesh.faces)
            )
    except FileError:
        raise
    except (KeyError, ValueError) as error:
        repair = "install example-robot-data from its wheel"
        raise FileError(path, f"{type(error).__name__}: {error}", repair) from error
    return tuple(PaintedSurface(join(*meshes), colour) for colour, meshes in found.items())


def _colours(root: ET.Element) -> dict[str, Colour]:
    """Material → its diffuse colour."""
    effects = {}
    for effect in root.iter(f"{_C}effect"):
        r, g, b = (round(255 * c) for c in _numbers(_one(_one(effect, "diffuse", deep=True), "color"))[:3])
        effects[effect.get("id")] = (r, g, b)
    return {
        material.get("id", ""): effects[_one(material, "instance_effect").get("url", "")[1:]]
        for material in root.iter(f"{_C}material")
    }


def _surface(geometry: ET.Element) -> tuple[Mesh, str]:
    """A mesh and the symbol of its material."""
    triangles = _one(geometry, "triangles", deep=True)
    inputs = {i.get("semantic"): int(i.get("offset", "0")) for i in triangles.findall(f"{_C}input")}
    stride = max(inputs.values()) + 1
    indices = np.array(_one(triangles, "p").text.split(), np.int32)  # type: ignore[union-attr]
    faces = indices.reshape(-1, stride)[:, inputs["VERTEX"]].reshape(-1, 3)
    positions = next(i for i in geometry.iter(f"{_C}input") if i.get("semantic") == "POSITION").get("source", "")[1:]
    source = next(s for s in geometry.iter(f"{_C}source") if s.get("id") == positions)
    vertices = _numbers(_one(source, "float_array")).reshape(-1, 3)
    return Mesh(vertices, faces), str(triangles.get("material"))


def _one(element: ET.Element, name: str, deep: bool = False) -> ET.Element:
    found = element.find(f".//{_C}{name}" if deep else f"{_C}{name}")
    if found is None:
        raise ValueError(f"no {name} in {element.get('id')}")
    return found


def _numbers(element: ET.Element) -> Array:
    return np.array((element.text or "").split(), np.float64)
