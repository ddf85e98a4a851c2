# SPDX-License-Identifier: Apache-2.0
"""A robot's description as a MuJoCo specification: MuJoCo reads URDF, but no COLLADA, and no SRDF."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.documents import read_xml
from spatial_vlm_ros.manipulation.planning.robot_model import mesh_file, package_folders
from spatial_vlm_ros.sim.compilation import add_surface, load_mujoco
from spatial_vlm_ros.sim.meshes import Array, Colour, Mesh, PaintedSurface, join

_COLLADA = "{http://www.collada.org/2005/11/COLLADASchema}"
_REPAIR = "install example-robot-data from its wheel"


def robot_spec(urdf: Path, srdf: Path, painted: bool = False) -> Any:
    """Import a robot, its base fixed at the world's origin, its joints without friction; names are the URDF's.

    Link pairs that the SRDF excludes do not collide; `painted`: visible surfaces are imported as geoms that never
    touch.
    """
    mj, root, folders = load_mujoco(), read_xml(urdf, _REPAIR), package_folders(urdf)

    def found(mesh: ET.Element) -> Path:
        name = mesh.get("filename", "")
        file = mesh_file(name, urdf, folders)
        if file is None:
            raise FileError(urdf, f"mesh {name!r} was not found", "set ROS_PACKAGE_PATH to the folder of its package")
        return file.resolve()

    surfaces: dict[str, PaintedSurface] = {}
    for link in root.iter("link"):
        for visual in link.findall("visual"):
            mesh = visual.find("geometry/mesh")
            if painted and mesh is None:
                continue
            link.remove(visual)
            for number, part in enumerate(painted_parts(found(mesh)) if painted and mesh is not None else ()):
                name = f"{link.get('name')}/{number}"
                surfaces[name] = part
                stand_in = ET.SubElement(link, "visual", {"name": name})
                stand_in.extend(visual.findall("origin"))
                ET.SubElement(ET.SubElement(stand_in, "geometry"), "box", {"size": "1 1 1"})
        link[:] = sorted(link, key=lambda element: element.tag == "collision")
    for joint in root.iter("joint"):
        for dynamics in joint.findall("dynamics"):
            joint.remove(dynamics)
    for mesh in root.iter("mesh"):
        mesh.set("filename", str(found(mesh)))
    options = {"strippath": "false", "fusestatic": "false", "discardvisual": "false"}
    ET.SubElement(ET.SubElement(root, "mujoco"), "compiler", options)
    spec = mj.MjSpec.from_string(ET.tostring(root, encoding="unicode"))
    for name, part in surfaces.items():
        geom = spec.geom(name)
        geom.type, geom.meshname, geom.material = mj.mjtGeom.mjGEOM_MESH, name, name
        add_surface(mj, spec, name, part, (0.4, 0.5))
    for pair in read_xml(srdf, _REPAIR).iter("disable_collisions"):
        names = pair.get("link1"), pair.get("link2")
        if all(spec.body(name) is not None for name in names):
            spec.add_exclude(bodyname1=names[0], bodyname2=names[1])
    return spec


def painted_parts(path: Path) -> tuple[PaintedSurface, ...]:
    """Read the surfaces of a COLLADA file, one per colour, in metres.

    It has triangles and a diffuse colour per geometry, nodes with one matrix each, metres, z up.
    """
    root = read_xml(path, _REPAIR)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_COLLADA)
    ids = {element.get("id"): element for element in root.iter()}

    def linked(element: ET.Element, by: str, attribute: str = "url") -> ET.Element:
        return ids[_one(element, by).get(attribute, "")[1:]]

    found: dict[Colour, list[Mesh]] = {}
    try:
        for node in root.iter("node"):
            geometry = linked(node, "instance_geometry")
            triangles = _one(geometry, ".//triangles")
            material = linked(node, f".//instance_material[@symbol='{triangles.get('material')}']", "target")
            colour = _numbers(_one(linked(material, "instance_effect"), ".//diffuse/color"))
            r, g, b = (round(255 * c) for c in colour[:3].tolist())
            columns = {i.get("semantic"): int(i.get("offset", "0")) for i in triangles.findall("input")}
            indices = _numbers(_one(triangles, "p")).astype(np.int32).reshape(-1, max(columns.values()) + 1)
            points = linked(geometry, ".//input[@semantic='POSITION']", "source")
            vertices = _numbers(_one(points, "float_array")).reshape(-1, 3)
            pose = _numbers(_one(node, "matrix")).reshape(4, 4)
            mesh = Mesh(vertices @ pose[:3, :3].T + pose[:3, 3], indices[:, columns["VERTEX"]].reshape(-1, 3))
            found.setdefault((r, g, b), []).append(mesh)
    except (KeyError, ValueError) as error:
        raise FileError(path, f"{type(error).__name__}: {error}", _REPAIR) from error
    return tuple(PaintedSurface(join(*meshes), colour) for colour, meshes in found.items())


def _one(element: ET.Element, path: str) -> ET.Element:
    found = element.find(path)
    if found is None:
        raise ValueError(f"no {path} in {element.get('id')}")
    return found


def _numbers(element: ET.Element) -> Array:
    return np.array((element.text or "").split(), np.float64)
