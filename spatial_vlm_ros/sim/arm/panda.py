# SPDX-License-Identifier: Apache-2.0
"""The Panda with its hand as MuJoCo bodies, from the URDF of example-robot-data: links, joints, torques, contacts."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.files.documents import read_xml
from spatial_vlm_ros.manipulation.builtin_planner.robot import ARM_JOINTS, BASE_LINK, HOME, description
from spatial_vlm_ros.sim.arm.collada import painted_parts
from spatial_vlm_ros.sim.compilation import COLLIDES, SEEN
from spatial_vlm_ros.sim.meshes import Array

FINGER_JOINTS = ("panda_finger_joint1", "panda_finger_joint2")
FINGERS = ("panda_leftfinger", "panda_rightfinger")
JOINTS = (*ARM_JOINTS, *FINGER_JOINTS)
MOST_OPEN = 0.04  # metres a finger moves
MOST_FORCE = 70.0  # N: what the maker says the hand holds with for long

_ROTOR = 0.1  # kg m²: of motors and gears behind each joint of the arm; the description leaves them out
_SPINDLE = 0.5  # kg: of the motor and belt behind the fingers
_FRICTION, _TORSION = 1.0, 0.004  # rubber on paint; metres, of a pad 18 mm wide that turns on the spot
_SHELL = (0.4, _TORSION)  # of painted covers
_SOLREF = (0.008, 1.0)  # s: softness of contacts, as of the objects


@dataclass(frozen=True, eq=False)
class Joint:
    """One joint of the description: pose in its parent, axis in its own frame, limits in radians, metres, N m and N."""

    name: str
    kind: str
    parent: str
    child: str
    position: Array
    quaternion: Array
    axis: Array
    limits: tuple[float, float]
    effort: float


def add_panda(mj: Any, spec: Any) -> None:
    """Put the arm into a specification: its base at the world's origin, bodies named as links, motors as joints.

    Raises:
        DependencyError: the extra `arm` is not installed.
        FileError: its description cannot be read.
    """
    spec.compiler.degree = False
    folder = description()
    path = folder / "urdf" / "panda.urdf"
    robot, never = (read_xml(one, "install example-robot-data from its wheel") for one in
                    (path, folder / "srdf" / "panda.srdf"))  # fmt: skip
    links = {str(link.get("name")): link for link in robot.findall("link")}
    bodies = {BASE_LINK: spec.worldbody.add_body(name=BASE_LINK)}
    _furnish(mj, spec, bodies[BASE_LINK], links[BASE_LINK], folder)
    for joint in joints(robot):
        body = bodies[joint.parent].add_body(name=joint.child, pos=joint.position, quat=joint.quaternion)
        bodies[joint.child] = body
        if joint.kind != "fixed":
            _add_joint(mj, spec, body, joint)
        _furnish(mj, spec, body, links[joint.child], folder)
    for pair in never.findall("disable_collisions"):
        spec.add_exclude(bodyname1=pair.get("link1"), bodyname2=pair.get("link2"))
    coupled = {"name1": FINGER_JOINTS[1], "name2": FINGER_JOINTS[0], "objtype": mj.mjtObj.mjOBJ_JOINT}
    belt = spec.add_equality(type=mj.mjtEq.mjEQ_JOINT, solref=[0.004, 1.0], **coupled)
    belt.data[:] = 0.0
    belt.data[1] = 1.0  # one finger as far as the other


def joints(robot: ET.Element) -> list[Joint]:
    """The joints of a URDF, parents first."""
    found = []
    for element in robot.findall("joint"):
        position, quaternion = _origin(element)
        limit = element.find("limit")
        said: Mapping[str, str] = {} if limit is None else limit.attrib
        axis = element.find("axis")
        found.append(
            Joint(
                str(element.get("name")),
                str(element.get("type")),
                _link(element, "parent"),
                _link(element, "child"),
                position,
                quaternion,
                np.array([0.0, 0.0, 1.0]) if axis is None else _vector(axis.get("xyz", "")),
                (float(said.get("lower", 0)), float(said.get("upper", 0))),
                float(said.get("effort", 0)),
            )
        )
    return found


def at_home(model: Any, data: Any) -> None:
    """Set the arm to its home posture, the hand wide open."""
    for name, value in zip(JOINTS, (*HOME, MOST_OPEN, MOST_OPEN), strict=True):
        data.qpos[model.joint(name).qposadr[0]] = value


def _add_joint(mj: Any, spec: Any, body: Any, joint: Joint) -> None:
    slides = joint.kind == "prismatic"
    body.add_joint(
        name=joint.name,
        type=mj.mjtJoint.mjJNT_SLIDE if slides else mj.mjtJoint.mjJNT_HINGE,
        axis=joint.axis,
        range=joint.limits,
        limited=True,
        armature=_SPINDLE if slides else _ROTOR,
    )
    most = MOST_FORCE if slides else joint.effort
    motor = spec.add_actuator(name=joint.name, target=joint.name, trntype=mj.mjtTrn.mjTRN_JOINT)
    motor.set_to_motor()
    motor.ctrllimited, motor.ctrlrange = True, [-most, most]


def _furnish(mj: Any, spec: Any, body: Any, link: ET.Element, folder: Path) -> None:
    """Mass, what is seen and what collides."""
    name = body.name
    inertial = link.find("inertial")
    mass = 0.0 if inertial is None else float(_child(inertial, "mass").get("value", 0))
    if inertial is not None and mass > 0:
        inertia = _child(inertial, "inertia")
        body.mass, body.explicitinertial = mass, True
        body.ipos, _ = _origin(inertial)
        body.fullinertia = [float(inertia.get(key, 0)) for key in ("ixx", "iyy", "izz", "ixy", "ixz", "iyz")]
    for visual in link.findall("visual"):
        position, quaternion = _origin(visual)
        for number, part in enumerate(painted_parts(folder / "meshes" / "visual" / _file(visual))):
            title = f"{name}/{number}"
            mesh = spec.add_mesh(name=title, uservert=part.mesh.vertices.ravel(), userface=part.mesh.faces.ravel())
            mesh.inertia = mj.mjtMeshInertia.mjMESH_INERTIA_SHELL  # surfaces; mass and inertia are the body's
            rgba = [*(c / 255 for c in part.colour), 1.0]
            spec.add_material(name=title, rgba=rgba, specular=0.4, shininess=0.5)
            place = {"pos": position, "quat": quaternion, "contype": 0, "conaffinity": 0, "mass": 0.0}
            body.add_geom(type=mj.mjtGeom.mjGEOM_MESH, meshname=title, material=title, group=SEEN, **place)
    grips = name in FINGERS
    friction = [_FRICTION, _TORSION, 0.0] if grips else [*_SHELL, 0.0]
    touch = {"friction": friction, "condim": 4, "solref": _SOLREF, "group": COLLIDES, "mass": 0.0}
    for number, collision in enumerate(link.findall("collision")):
        position, quaternion = _origin(collision)
        place = {"pos": position, "quat": quaternion, "name": f"{name}#{number}"}
        box = collision.find("geometry/box")
        if box is not None:
            size = _vector(box.get("size", "")) / 2
            body.add_geom(type=mj.mjtGeom.mjGEOM_BOX, size=size, **place, **touch)
            continue
        path = folder / "meshes" / "collision" / _file(collision)
        mesh = spec.add_mesh(name=f"{name}#{number}", file=str(path))
        mesh.inertia = mj.mjtMeshInertia.mjMESH_INERTIA_CONVEX
        body.add_geom(type=mj.mjtGeom.mjGEOM_MESH, meshname=f"{name}#{number}", **place, **touch)


def _file(element: ET.Element) -> str:
    """Name of the mesh of a visual or collision."""
    return _child(element, "geometry/mesh").get("filename", "").rpartition("/")[2]


def _origin(element: ET.Element) -> tuple[Array, Array]:
    """Position in metres and quaternion w, x, y, z; fixed turns about x, then y, then z, as in URDF."""
    origin = element.find("origin")
    if origin is None:
        return np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0])
    (r, p, y) = _vector(origin.get("rpy", "0 0 0")) / 2
    cr, cp, cy, sr, sp, sy = *np.cos([r, p, y]), *np.sin([r, p, y])
    quaternion = np.array(
        [
            cr * cp * cy + sr * sp * sy,
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
        ]
    )
    return _vector(origin.get("xyz", "0 0 0")), quaternion


def _link(joint: ET.Element, end: str) -> str:
    return str(_child(joint, end).get("link"))


def _child(element: ET.Element, name: str) -> ET.Element:
    found = element.find(name)
    if found is None:
        raise FileError("panda.urdf", f"{element.get('name') or element.tag} without {name}", "reinstall its wheel")
    return found


def _vector(text: str) -> Array:
    return np.array(text.split(), np.float64)
