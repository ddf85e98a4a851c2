# SPDX-License-Identifier: Apache-2.0
"""The arm, the table and the objects in one MuJoCo model, stepped in simulated time."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import FileError, InputError, UnknownNameError
from spatial_vlm_ros.files.documents import read_xml
from spatial_vlm_ros.sim.arm.collada import painted_parts
from spatial_vlm_ros.sim.arm.control import ArmControl, HandControl, positions_of
from spatial_vlm_ros.sim.arm.following import Follower
from spatial_vlm_ros.sim.arm.judge import Judge
from spatial_vlm_ros.sim.arm.machines import PANDA, SimulatedArm
from spatial_vlm_ros.sim.arm.worlds import TableLayout
from spatial_vlm_ros.sim.compilation import COLLIDES, SEEN, compile_model
from spatial_vlm_ros.sim.meshes import Array
from spatial_vlm_ros.sim.mujoco_runtime import load_mujoco
from spatial_vlm_ros.types import Quaternion, Transform, Vector3

STEP = 0.002  # s
_SLIP_ROUNDS = 4  # solver iterations that keep held objects from creeping; MuJoCo's manual, "noslip"
_IMPRATIO = 10.0  # ratio of friction stiffness to normal stiffness; MuJoCo's manual, "slip"
_SETTLES = 4.0  # seconds after which settling ends in any case
_FAR = (0.0, 0.0, -50.0)  # position of removed objects: below the floor, out of sight and reach


_ROTOR = 0.1  # kg m²: motors and gears of each arm joint; the description omits them
_SPINDLE = 0.5  # kg: motor and belt that move the fingers
_FRICTION, _TORSION = 1.0, 0.004  # rubber on paint; metres, for a pad 18 mm wide turning on the spot
_SHELL = (0.4, _TORSION)  # painted covers
_SOLREF = (0.008, 1.0)  # s: softness of contacts, the same as of the objects


@dataclass(frozen=True, eq=False)
class Joint:
    """One joint of the description: pose in its parent, axis in its own frame; limits in radians, metres, N m and N."""

    name: str
    kind: str
    parent: str
    child: str
    position: Array
    quaternion: Array
    axis: Array
    limits: tuple[float, float]
    effort: float


def add_arm(mj: Any, spec: Any, arm: SimulatedArm) -> None:
    """Add an arm to a specification: base at the world's origin, bodies named like links, motors like joints."""
    spec.compiler.degree = False
    path = arm.urdf()
    robot, never = (read_xml(one, "install example-robot-data from its wheel") for one in (path, arm.srdf()))
    furnisher = _Furnisher(mj, spec, arm, path.parents[1] / "meshes", robot)
    links = {str(link.get("name")): link for link in robot.findall("link")}
    bodies = {arm.base_link: spec.worldbody.add_body(name=arm.base_link)}
    furnisher.furnish(bodies[arm.base_link], links[arm.base_link])
    for joint in joints(robot):
        body = bodies[joint.parent].add_body(name=joint.child, pos=joint.position, quat=joint.quaternion)
        bodies[joint.child] = body
        if joint.kind != "fixed":
            _add_joint(mj, spec, body, joint, arm.most_force)
        furnisher.furnish(body, links[joint.child])
    for pair in never.findall("disable_collisions"):
        spec.add_exclude(bodyname1=pair.get("link1"), bodyname2=pair.get("link2"))
    coupled = {"name1": arm.finger_joints[1], "name2": arm.finger_joints[0], "objtype": mj.mjtObj.mjOBJ_JOINT}
    belt = spec.add_equality(type=mj.mjtEq.mjEQ_JOINT, solref=[0.004, 1.0], **coupled)
    belt.data[:] = 0.0
    belt.data[1] = 1.0  # couples both fingers


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


def at_home(model: Any, data: Any, arm: SimulatedArm) -> None:
    """Set an arm to its home posture, the hand wide open."""
    for name, value in zip(arm.joints, (*arm.home, arm.most_open, arm.most_open), strict=True):
        data.qpos[model.joint(name).qposadr[0]] = value


def _add_joint(mj: Any, spec: Any, body: Any, joint: Joint, most_force: float) -> None:
    slides = joint.kind == "prismatic"
    body.add_joint(
        name=joint.name,
        type=mj.mjtJoint.mjJNT_SLIDE if slides else mj.mjtJoint.mjJNT_HINGE,
        axis=joint.axis,
        range=joint.limits,
        limited=True,
        armature=_SPINDLE if slides else _ROTOR,
    )
    most = most_force if slides else joint.effort
    motor = spec.add_actuator(name=joint.name, target=joint.name, trntype=mj.mjtTrn.mjTRN_JOINT)
    motor.set_to_motor()
    motor.ctrllimited, motor.ctrlrange = True, [-most, most]


class _Furnisher:
    """Gives bodies their mass, visible geometry and collision geometry.

    Args:
        robot: the URDF, whose colours are used.
    """

    def __init__(self, mj: Any, spec: Any, arm: SimulatedArm, meshes: Path, robot: ET.Element) -> None:
        self._mj, self._spec, self._arm, self._meshes = mj, spec, arm, meshes
        for material in robot.findall("material"):
            rgba = _vector(_child(material, "color").get("rgba", "")).tolist()
            spec.add_material(name=material.get("name"), rgba=rgba, specular=0.4, shininess=0.5)

    def furnish(self, body: Any, link: ET.Element) -> None:
        """Fill one body from its link."""
        inertial = link.find("inertial")
        mass = 0.0 if inertial is None else float(_child(inertial, "mass").get("value", 0))
        if inertial is not None and mass > 0:
            inertia = _child(inertial, "inertia")
            body.mass, body.explicitinertial = mass, True
            body.ipos, _ = _origin(inertial)
            body.fullinertia = [float(inertia.get(key, 0)) for key in ("ixx", "iyy", "izz", "ixy", "ixz", "iyz")]
        for visual in link.findall("visual"):
            self._show(body, visual)
        friction = [_FRICTION, _TORSION, 0.0] if body.name in self._arm.fingers else [*_SHELL, 0.0]
        touch = {"friction": friction, "condim": 4, "solref": _SOLREF, "group": COLLIDES, "mass": 0.0}
        for number, collision in enumerate(link.findall("collision")):
            position, quaternion = _origin(collision)
            name = f"{body.name}#{number}"
            place = {"pos": position, "quat": quaternion, "name": name}
            shape = self._primitive(collision)
            if shape:
                body.add_geom(**shape, **place, **touch)
                continue
            mesh = self._spec.add_mesh(name=name, file=str(self._meshes / "collision" / _file(collision)))
            mesh.inertia = self._mj.mjtMeshInertia.mjMESH_INERTIA_CONVEX
            body.add_geom(type=self._mj.mjtGeom.mjGEOM_MESH, meshname=name, **place, **touch)

    def _show(self, body: Any, visual: ET.Element) -> None:
        mj, (position, quaternion) = self._mj, _origin(visual)
        place = {"pos": position, "quat": quaternion, "contype": 0, "conaffinity": 0, "mass": 0.0, "group": SEEN}
        shape = self._primitive(visual)
        if shape:
            body.add_geom(material=_child(visual, "material").get("name"), **shape, **place)
            return
        for number, part in enumerate(painted_parts(self._meshes / "visual" / _file(visual))):
            title = f"{body.name}/{number}"
            mesh = self._spec.add_mesh(
                name=title, uservert=part.mesh.vertices.ravel(), userface=part.mesh.faces.ravel()
            )
            mesh.inertia = mj.mjtMeshInertia.mjMESH_INERTIA_SHELL  # surfaces; mass and inertia are set on the body
            rgba = [*(c / 255 for c in part.colour), 1.0]
            self._spec.add_material(name=title, rgba=rgba, specular=0.4, shininess=0.5)
            body.add_geom(type=mj.mjtGeom.mjGEOM_MESH, meshname=title, material=title, **place)

    def _primitive(self, element: ET.Element) -> dict[str, Any]:
        """Type and size of a box or cylinder; empty for a mesh."""
        box, cylinder = element.find("geometry/box"), element.find("geometry/cylinder")
        if box is not None:
            return {"type": self._mj.mjtGeom.mjGEOM_BOX, "size": _vector(box.get("size", "")) / 2}
        if cylinder is not None:
            size = [float(cylinder.get("radius", 0)), float(cylinder.get("length", 0)) / 2, 0.0]
            return {"type": self._mj.mjtGeom.mjGEOM_CYLINDER, "size": size}
        return {}


def _file(element: ET.Element) -> str:
    return _child(element, "geometry/mesh").get("filename", "").rpartition("/")[2]


def _origin(element: ET.Element) -> tuple[Array, Array]:
    """Position in metres and quaternion w, x, y, z; rotations about fixed x, then y, then z, as in URDF."""
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
        raise FileError(
            "URDF of the arm", f"{element.get('name') or element.tag} without {name}", "reinstall its wheel"
        )
    return found


def _vector(text: str) -> Array:
    return np.array(text.split(), np.float64)


@dataclass(frozen=True, eq=False)
class JointState:
    """(J + 2,) positions, velocities and efforts of `SimulatedArm.joints`: radians, metres, seconds, N m and N."""

    position: Array
    velocity: Array
    effort: Array


class ArmCell:
    """The robot cell. It is not thread-safe: users that share it need a lock.

    The world frame is the arm's base link. At the start everything is at rest, and the arm is at home with its hand
    open.

    Args:
        layout: objects and their poses; the cell's `layout` has the camera in this arm's base frame.
    """

    def __init__(self, layout: TableLayout, arm: SimulatedArm = PANDA) -> None:
        eye = layout.base_T_camera
        self.layout = replace(layout, base_T_camera=Transform(arm.base_link, eye.child, eye.matrix))
        self.arm = arm
        self.mj = mj = load_mujoco()
        self.model = compile_model(layout.objects, layout.scenery, partial(_extended, arm=arm))
        self.data = mj.MjData(self.model)
        at_home(self.model, self.data, arm)
        self._arm, self.hand = ArmControl(mj, self.model, arm.arm_joints), HandControl(self.model, arm)
        lower, upper = (np.array([self.model.joint(name).range[k] for name in arm.arm_joints]) for k in (0, 1))
        self.follower = Follower(arm.arm_joints, lower, upper, arm.home, arm.brakes)
        ids = [obj.id for obj in layout.objects]
        self.judge = Judge(mj, self.model, ids, layout.tray, (arm.base_link, *arm.links), arm.fingers)
        self._gone: set[str] = set()
        for _ in range(int(_SETTLES / STEP)):
            self.step()
            if self.judge.all_still(0.1):
                break
        self.data.time = 0.0
        self.judge.begin(self.data)

    @property
    def time(self) -> float:
        """Simulated seconds since the start."""
        return float(self.data.time)

    def step(self) -> None:
        """Advance by STEP seconds."""
        self.mj.mj_step1(self.model, self.data)
        self._arm.drive(self.data, self.follower.desired(self.time))
        self.hand.drive(self.data)
        self.mj.mj_step2(self.model, self.data)
        for id_ in self._gone:  # nothing supports it
            self._put(self._joint(id_), _FAR)
        self.judge.record(self.data)

    def joints(self) -> JointState:
        """Return the state of all joints."""
        return JointState(*positions_of(self._arm, self.hand, self.data))

    def arm_joints(self) -> JointState:
        """Return the state of the arm joints, without the fingers."""
        state, count = self.joints(), len(self.arm.arm_joints)
        return JointState(state.position[:count], state.velocity[:count], state.effort[:count])

    def pose(self, body: str) -> Transform:
        """Return the pose of a link or object in the base frame, after the last step."""
        try:
            at = self.data.body(body)
        except KeyError as error:
            raise UnknownNameError("body", body, [obj.id for obj in self.layout.objects]) from error
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = at.xmat.reshape(3, 3), at.xpos
        return Transform(self.arm.base_link, body, matrix)

    def place(self, body: str) -> tuple[Vector3, Quaternion]:
        """Return position (metres) and quaternion (x, y, z, w; w >= 0) of a known name in the base frame, unchecked."""
        at = self.data.body(body)
        w, x, y, z = (at.xquat if at.xquat[0] >= 0 else -at.xquat).tolist()
        right, ahead, up = at.xpos.tolist()
        return (right, ahead, up), (x, y, z, w)

    # -------------------------------------------------------------------------------------------- faults

    def move(self, id_: str, position: Vector3, yaw: float = 0.0) -> None:
        """Place an object, upright and at rest: its foot at `position` in the base frame, metres; `yaw` in radians."""
        joint = self._joint(id_)
        if not np.isfinite([*position, yaw]).all():
            raise InputError("place", f"{position}, {yaw}", "finite metres and radians")
        self._put(joint, position, yaw)
        self.mj.mj_forward(self.model, self.data)
        self.judge.displaced(id_, self.data)

    def remove(self, id_: str) -> None:
        """Remove an object."""
        self._joint(id_)
        geoms = self.model.geom_bodyid == self.model.body(id_).id
        self.model.geom_contype[geoms] = self.model.geom_conaffinity[geoms] = 0
        self.move(id_, _FAR)
        self._gone.add(id_)
        self.judge.removed(id_)

    def _joint(self, id_: str) -> int:
        if id_ not in {obj.id for obj in self.layout.objects}:
            raise UnknownNameError("object", id_, [obj.id for obj in self.layout.objects])
        return int(self.model.body(id_).jntadr[0])

    def _put(self, joint: int, position: Vector3, yaw: float = 0.0) -> None:
        first, dof = int(self.model.jnt_qposadr[joint]), int(self.model.jnt_dofadr[joint])
        self.data.qpos[first : first + 7] = [*position, math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)]
        self.data.qvel[dof : dof + 6] = 0.0


def _extended(mj: Any, spec: Any, arm: SimulatedArm) -> None:
    spec.option.timestep = STEP
    spec.option.impratio = _IMPRATIO
    spec.option.noslip_iterations = _SLIP_ROUNDS
    add_arm(mj, spec, arm)
