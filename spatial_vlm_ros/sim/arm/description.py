# SPDX-License-Identifier: Apache-2.0
"""A robot's description as a MuJoCo specification: MuJoCo reads URDF, but no COLLADA, and no SRDF."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.documents import read_xml
from spatial_vlm_ros.manipulation.planning.robot_model import mesh_file, package_folders
from spatial_vlm_ros.sim.arm.collada import painted_parts
from spatial_vlm_ros.sim.compilation import add_surface
from spatial_vlm_ros.sim.model import PaintedSurface
from spatial_vlm_ros.sim.mujoco_runtime import load_mujoco

_REPAIR = "install example-robot-data from its wheel"


def robot_spec(urdf: Path, srdf: Path, painted: bool = False) -> Any:
    """Import a robot, its base fixed at the world's origin, its joints without friction; names are the URDF's.

    Args:
        srdf: link pairs that it excludes do not collide.
        painted: whether visible surfaces are imported, too, as geoms that never touch.
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
