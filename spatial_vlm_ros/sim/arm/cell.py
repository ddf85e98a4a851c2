# SPDX-License-Identifier: Apache-2.0
"""The arm, the table and the objects in one MuJoCo model, stepped in simulated time, also on a thread of its own."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from spatial_vlm_ros.errors import FileError, InputError, ModelError, UnknownNameError
from spatial_vlm_ros.files.documents import read_xml
from spatial_vlm_ros.geometry.rotation import rigid_matrix
from spatial_vlm_ros.manipulation.planning.robot_model import mesh_file, package_folders
from spatial_vlm_ros.sim.arm.judge import Judge
from spatial_vlm_ros.sim.arm.machines import PANDA, ArmControl, HandControl, SimulatedArm
from spatial_vlm_ros.sim.arm.trajectory import Follower
from spatial_vlm_ros.sim.arm.worlds import TableLayout
from spatial_vlm_ros.sim.grounder import DetectorErrors, degraded, in_millimetres
from spatial_vlm_ros.sim.meshes import Array, Colour, Mesh, PaintedSurface, join
from spatial_vlm_ros.sim.physics import COLLIDES, SEEN, SceneRenderer, add_surface, compile_model, load_mujoco
from spatial_vlm_ros.sim.tabletop import STEREO, noisy
from spatial_vlm_ros.types import Detection, PinholeCamera, Quaternion, RgbdFrame, Transform, Vector3

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


STEP = 0.002  # s
_SLIP_ROUNDS = 4  # solver iterations that keep held objects from creeping; MuJoCo's manual, "noslip"
_IMPRATIO = 10.0  # ratio of friction stiffness to normal stiffness; MuJoCo's manual, "slip"
_SETTLES = 4.0  # seconds after which settling ends in any case
_FAR = (0.0, 0.0, -50.0)  # position of removed objects: below the floor, out of sight and reach


_ROTOR = 0.1  # kg m²: motors and gears of each arm joint; the description omits them
_SPINDLE = 0.5  # kg: motor and belt that move the fingers
_FRICTION, _TORSION = 1.0, 0.004  # rubber on paint; metres, for a pad 18 mm wide turning on the spot
_SHELL = (0.4, _TORSION)  # painted covers
_PREFIX = "arm/"  # MuJoCo warns if it is empty
_SOLREF = (0.008, 1.0)  # s: softness of contacts, the same as of the objects


@dataclass(frozen=True, eq=False)
class JointState:
    """(J + 2,) positions, velocities and efforts of `SimulatedArm.joints`: radians, metres, seconds, N m and N."""

    position: Array
    velocity: Array
    effort: Array


class ArmCell:
    """The robot cell. It is not thread-safe: users that share it need a lock.

    The world frame is the arm's base link, in which `layout` has the camera. At the start everything is at rest, and
    the arm is at home with its hand open.
    """

    def __init__(self, layout: TableLayout, arm: SimulatedArm = PANDA) -> None:
        eye = layout.base_T_camera
        self.layout = replace(layout, base_T_camera=Transform(arm.base_link, eye.child, eye.matrix))
        self.arm = arm
        self.mj = mj = load_mujoco()
        self.model = compile_model(layout.objects, layout.scenery, partial(_add_arm, arm=arm))
        self.data = mj.MjData(self.model)
        for name, value in zip(arm.joints, (*arm.home, arm.most_open, arm.most_open), strict=True):
            self.data.qpos[self.model.joint(name).qposadr[0]] = value
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
        qpos = np.concatenate([self._arm.qpos, self.hand.qpos])
        dofs = np.concatenate([self._arm.dofs, self.hand.dofs])
        data = self.data
        return JointState(data.qpos[qpos].copy(), data.qvel[dofs].copy(), data.qfrc_actuator[dofs].copy())

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
        return Transform(self.arm.base_link, body, rigid_matrix(at.xmat.reshape(3, 3), at.xpos))

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


def verdict_data(cell: ArmCell, goals: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Return the physics verdict on a cell now and since its start; docs/sim_arm.md lists the keys.

    `done` is whether the world's target lies at rest on the tray and is not held. Metres, degrees, newtons, and
    simulated seconds since the world's start.
    """
    verdict, layout = cell.judge.verdict(cell.data), cell.layout
    return {
        "world": layout.name,
        "instruction": layout.instruction,
        "target": layout.target,
        "tray": layout.tray,
        "time_s": round(verdict.time, 3),
        "done": verdict.objects[layout.target].delivered,
        "delivered": [id_ for id_, state in verdict.objects.items() if state.delivered],
        "moved": list(verdict.moved),
        "forces_n": {name: round(force, 3) for name, force in verdict.forces.items()},
        "forces_by_held_n": {name: round(force, 3) for name, force in verdict.by_held.items()},
        "things": {
            id_: {
                **asdict(state),
                "position": list(state.position),
                "moved": round(state.moved, 4),
                "turned_deg": round(state.turned_deg, 2),
                "delivered": state.delivered,
            }
            for id_, state in verdict.objects.items()
        },
        "goals": {name: dict(counts) for name, counts in goals.items()},
    }


def _add_arm(mj: Any, spec: Any, arm: SimulatedArm) -> None:
    """Add an arm to the table's specification: base at the world's origin, motors named like joints."""
    spec.option.timestep, spec.option.impratio, spec.option.noslip_iterations = STEP, _IMPRATIO, _SLIP_ROUNDS
    robot = robot_spec(arm.urdf(), arm.srdf(), painted=True)
    for body in robot.bodies:
        grip = [_FRICTION, _TORSION, 0.0] if body.name in arm.fingers else [*_SHELL, 0.0]
        for number, geom in enumerate(body.geoms):
            geom.group = COLLIDES if geom.contype else SEEN
            if geom.contype:
                geom.friction, geom.condim, geom.solref = grip, 4, _SOLREF
                if geom.meshname:
                    robot.mesh(geom.meshname).inertia = mj.mjtMeshInertia.mjMESH_INERTIA_CONVEX
            elif not geom.material:
                geom.material = f"{body.name}/{number}"
                robot.add_material(name=geom.material, rgba=geom.rgba, specular=0.4, shininess=0.5)
    most = {joint.name: joint.actfrcrange[1] for joint in robot.joints}
    for joint in robot.joints:
        slides = joint.type == mj.mjtJoint.mjJNT_SLIDE
        joint.armature = _SPINDLE if slides else _ROTOR
        joint.actfrclimited = mj.mjtLimited.mjLIMITED_FALSE
        if slides:
            most[joint.name] = arm.most_force
    for belt in robot.equalities:
        belt.solref = [0.004, 1.0]
    spec.attach(robot, frame=spec.worldbody.add_frame(), prefix=_PREFIX)
    for named in (*spec.bodies, *spec.joints):
        named.name = named.name.removeprefix(_PREFIX)
    for pair in spec.excludes:
        pair.bodyname1, pair.bodyname2 = (name.removeprefix(_PREFIX) for name in (pair.bodyname1, pair.bodyname2))
    for belt in spec.equalities:
        belt.name1, belt.name2 = (name.removeprefix(_PREFIX) for name in (belt.name1, belt.name2))
    for name, force in most.items():
        motor = spec.add_actuator(name=name, target=name, trntype=mj.mjtTrn.mjTRN_JOINT)
        motor.set_to_motor()
        motor.ctrllimited, motor.ctrlrange = True, [-force, force]


T = TypeVar("T")
_AT_ONCE = 5  # steps between two checks for requests
_BEHIND = 0.05  # seconds behind the clock from which it no longer catches up: time then passes more slowly
_PATIENCE = 60.0  # s for an answer of the thread


@dataclass(eq=False)
class _Watch:
    """A periodic action; `due` in simulated seconds."""

    period: float
    act: Callable[[ArmCell], None]
    due: float = 0.0


class RunningCell:
    """Steps a cell on a thread. Only that thread touches the cell; other threads use `ask`.

    Simulated time never runs ahead of the wall clock times `speed`, and falls behind if the machine cannot keep up:
    motions then take longer, and never end early. `failed` is called on the thread when a step or a watch raises; it
    then ends.
    """

    def __init__(self, cell: ArmCell, speed: float = 1.0, failed: Callable[[Exception], None] | None = None) -> None:
        self._cell, self._speed, self._failed = cell, speed, failed
        self._offset = 0.0
        self._asked: queue.SimpleQueue[tuple[Callable[[ArmCell], Any], Future[Any]]] = queue.SimpleQueue()
        self._watches: list[_Watch] = []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="physics", daemon=True)

    @property
    def now(self) -> float:
        """Simulated seconds since the start; continues when the world is replaced. Only for the cell's thread."""
        return self._offset + self._cell.time

    def every(self, period: float, act: Callable[[ArmCell], None]) -> None:
        """Call a function on the thread every `period` simulated seconds, 0 = each step. Use it before `start`."""
        self._watches.append(_Watch(period, act))

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; later requests raise."""
        self._ends.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(_PATIENCE)
        self._refuse()

    def ask(self, question: Callable[[ArmCell], T]) -> T:
        """Run a function on the cell between two steps and wait for it; its exceptions are raised here."""
        answer: Future[T] = Future()
        self._asked.put((question, answer))
        if self._ends.is_set():
            self._refuse()
        return answer.result(_PATIENCE)

    def replace(self, cell: ArmCell) -> None:
        """Continue with another cell."""

        def swap(old: ArmCell) -> None:
            self._offset += old.time
            self._cell = cell

        self.ask(swap)

    # -------------------------------------------------------------------------------------------- the thread

    def _run(self) -> None:
        try:
            origin = time.monotonic() - self.now / self._speed  # when simulated time was 0
            while not self._ends.is_set():
                self._answer(0.0)
                ahead = (time.monotonic() - origin) * self._speed - self.now
                if ahead > _BEHIND:
                    origin += (ahead - _BEHIND) / self._speed
                if ahead < STEP:
                    self._answer((STEP - ahead) / self._speed)
                    continue
                for _ in range(min(int(ahead / STEP), _AT_ONCE)):
                    self._cell.step()
                    now = self.now
                    for watch in self._watches:
                        if now >= watch.due:
                            watch.due = max(watch.due + watch.period, now)
                            watch.act(self._cell)
        except Exception as error:  # nobody waits for this thread
            if self._failed is not None:
                self._failed(error)
        finally:
            self._ends.set()
            self._refuse()

    def _answer(self, wait: float) -> None:
        """Answer the waiting requests, and those that arrive within `wait` seconds."""
        while True:
            try:
                question, answer = self._asked.get(block=wait > 0, timeout=wait or None)
            except queue.Empty:
                return
            wait = 0.0
            try:
                answer.set_result(question(self._cell))
            except Exception as error:  # it belongs to the caller
                answer.set_exception(error)

    def _refuse(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                _, answer = self._asked.get(block=False)
                answer.set_exception(ModelError("sim_arm", "the simulation has ended", "start it again"))


class ArmView:
    """Draws the cell from a copy of its state, so that the cell can continue. Use and `close()` it in one thread."""

    def __init__(
        self, cell: ArmCell, camera: PinholeCamera, errors: DetectorErrors | None = None, seed: int = 0,
        noise: bool = True,
    ) -> None:  # fmt: skip
        self._mj, self._model = cell.mj, cell.model
        self._data = cell.mj.MjData(cell.model)
        self.camera, self._errors, self._seed, self._noise = camera, errors or DetectorErrors(), seed, noise
        self._range = cell.layout.scenery.max_range
        self._renderer = SceneRenderer(cell.model, self._data, {obj.id: obj for obj in cell.layout.objects})
        self._shots = 0

    def close(self) -> None:
        """Free the drawing context."""
        self._renderer.close()

    def look(self, qpos: Array, base_T_camera: Transform, stamp_ns: int = 0,
             told: Transform | None = None) -> tuple[RgbdFrame, tuple[Detection, ...]]:  # fmt: skip
        """Return a frame and its detections, from a copy of `cell.data.qpos` and the camera's pose in the base frame.

        The frame states the pose `told`, None = the true one; its depth is in metres, with noise in whole millimetres.
        """
        self._data.qpos[:] = qpos
        self._mj.mj_kinematics(self._model, self._data)
        self._mj.mj_comPos(self._model, self._data)
        self._mj.mj_camlight(self._model, self._data)
        image = self._renderer.draw(self.camera, base_T_camera)
        frame = image.frame(self.camera, told or base_T_camera, self._range, stamp_ns)
        self._shots += 1
        rng = np.random.default_rng((self._seed, self._shots))
        if self._noise:
            frame = noisy(frame, rng, STEREO, self._renderer.shiny(image.geom))
            frame = replace(frame, depth=in_millimetres(frame.depth))
        found = self._renderer.detections(self._renderer.masks(image.geom))
        return frame, degraded(found, self._errors, rng)
