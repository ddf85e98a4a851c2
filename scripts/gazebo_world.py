# SPDX-License-Identifier: Apache-2.0
"""Write the demo's world as files for Gazebo: an SDF world, and a mesh for each painted surface.

The world frame is the robot's base frame (z up), so poses are the same in both. See docs/simulators.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import mujoco
import numpy as np

from spatial_vlm_ros.sim.meshes import Array, CollisionPiece, Colour, Mesh, Model
from spatial_vlm_ros.sim.physics import PlacedModel
from spatial_vlm_ros.sim.settled import demo_camera, story
from spatial_vlm_ros.sim.tabletop import VGA, Scenery
from spatial_vlm_ros.types import PinholeCamera, Transform, Vector3

SDF_VERSION = "1.9"
CAMERA_TOPIC = "camera"
RATE = 15  # Hz, images
_TABLE: Colour = (176, 138, 98)
_LEGS: Colour = (90, 80, 72)
_FLOOR: Colour = (128, 116, 100)
_SYSTEMS = (
    ("gz-sim-physics-system", "gz::sim::systems::Physics"),
    ("gz-sim-sensors-system", "gz::sim::systems::Sensors"),
    ("gz-sim-scene-broadcaster-system", "gz::sim::systems::SceneBroadcaster"),
    ("gz-sim-user-commands-system", "gz::sim::systems::UserCommands"),
)
_OPTICAL_T_BODY = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
"""(3, 3): Gazebo's cameras look along x, with y to the left and z up; columns are those axes in the optical frame."""


def world_files() -> dict[str, str]:
    """Path (relative to the world) and text of each file of the world "chicks"."""
    objects, scenery, _ = story()
    made = {
        f"meshes/{obj.id}_{number}.obj": wavefront(part.mesh)
        for obj in objects
        for number, part in enumerate(obj.model.parts)
    }
    return {"chicks.sdf": world("chicks", objects, scenery, VGA, demo_camera()), **made}


def wavefront(mesh: Mesh) -> str:
    """Write a mesh as Wavefront OBJ, in metres to a hundredth of a millimetre, with vertex normals."""
    lines = ["# Made by scripts/generate.py."]
    lines += [f"v {_numbers(row, 5)}" for row in mesh.vertices]
    lines += [f"vn {_numbers(row, 2)}" for row in _normals(mesh)]
    lines += ["f " + " ".join(f"{i}//{i}" for i in face) for face in mesh.faces + 1]
    return "\n".join(lines) + "\n"


def world(
    name: str, objects: Sequence[PlacedModel], scenery: Scenery, camera: PinholeCamera, base_T_camera: Transform
) -> str:  # fmt: skip
    """Make an SDF world.

    Args:
        name: name of the world.
        objects: objects at their start poses; their meshes are `meshes/<id>_<part>.obj` beside the world.
        scenery: table and floor.
        camera: rectified camera model of the sensor.
        base_T_camera: pose of its optical frame in the base frame; converted to Gazebo's axes.
    """
    root = Element("sdf", version=SDF_VERSION)
    root.append(ElementTree.Comment(" Made by scripts/generate.py. The frame of the world is base_link. "))
    of_world = SubElement(root, "world", name=name)
    physics = SubElement(of_world, "physics", name="4ms", type="ignored")
    _texts(physics, max_step_size="0.004", real_time_factor="1.0")
    for file, system in _SYSTEMS:
        plugin = SubElement(of_world, "plugin", filename=file, name=system)
        if file == "gz-sim-sensors-system":
            _texts(plugin, render_engine="ogre2")
    _texts(of_world, gravity="0 0 -9.81")
    _lights(of_world)
    _room(of_world, scenery)
    for obj in objects:
        _obj(of_world, obj)
    _camera(of_world, camera, base_T_camera)
    ElementTree.indent(root, " ")
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _lights(of_world: Element) -> None:
    sun = SubElement(of_world, "light", name="sun", type="directional")
    _texts(sun, cast_shadows="true", pose="0 0 3 0 0 0", diffuse="0.8 0.8 0.8 1", specular="0.2 0.2 0.2 1")
    _texts(sun, direction="0.3 0.2 -0.9")
    scene = SubElement(of_world, "scene")
    _texts(scene, ambient="0.5 0.5 0.5 1", background="0.82 0.82 0.8 1", grid="false")


def _room(of_world: Element, scenery: Scenery) -> None:
    (x, y), (w, d) = scenery.table_centre, scenery.table_size
    top, floor, board = scenery.table_height, scenery.floor_height, 0.04
    table = _standing(of_world, "table")
    _block(table, "top", (w, d, board), (x, y, top - board / 2), _TABLE)
    height = top - board - floor
    for number, (sx, sy) in enumerate(((-1, -1), (-1, 1), (1, -1), (1, 1))):
        place = (x + sx * (w / 2 - 0.05), y + sy * (d / 2 - 0.05), floor + height / 2)
        _block(table, f"leg_{number}", (0.05, 0.05, height), place, _LEGS)
    _block(_standing(of_world, "floor"), "floor", (12.0, 12.0, 0.1), (x, y, floor - 0.05), _FLOOR)


def _standing(of_world: Element, name: str) -> Element:
    model = SubElement(of_world, "model", name=name)
    _texts(model, static="true")
    return SubElement(model, "link", name="body")


def _block(link: Element, name: str, size: Vector3, centre: Vector3, colour: Colour) -> None:
    for kind in ("collision", "visual"):
        # Siblings of any kind need unique names (libsdformat refuses others).
        part = SubElement(link, kind, name=name if kind == "collision" else f"{name}_visual")
        _texts(part, pose=f"{_numbers(centre)} 0 0 0")
        _texts(SubElement(SubElement(part, "geometry"), "box"), size=_numbers(size))
        if kind == "visual":
            _paint(part, colour)


def _camera(of_world: Element, camera: PinholeCamera, base_T_camera: Transform) -> None:
    """Make a sensor whose messages carry the optical frame's name: its pixels follow the optical frame."""
    model = SubElement(of_world, "model", name="camera")
    rotation = base_T_camera.rotation @ _OPTICAL_T_BODY
    _texts(model, static="true", pose=f"{_numbers(base_T_camera.translation)} {_numbers(_roll_pitch_yaw(rotation))}")
    sensor = SubElement(SubElement(model, "link", name="body"), "sensor", name="rgbd", type="rgbd_camera")
    _texts(sensor, topic=CAMERA_TOPIC, update_rate=str(RATE), always_on="true", visualize="true")
    _texts(sensor, gz_frame_id=base_T_camera.child)
    lens = SubElement(sensor, "camera")
    _texts(lens, horizontal_fov=_numbers([2 * math.atan(camera.width / 2 / camera.K[0, 0])], 6))
    _texts(SubElement(lens, "image"), width=str(camera.width), height=str(camera.height), format="R8G8B8")
    _texts(SubElement(lens, "clip"), near="0.05", far="10.0")


def _obj(of_world: Element, obj: PlacedModel) -> None:
    model = SubElement(of_world, "model", name=obj.id)
    _texts(model, pose=f"{_numbers(obj.position)} 0 0 {_numbers([obj.yaw], 6)}")
    link = SubElement(model, "link", name="body")
    _inertial(link, obj.model)
    for number, part in enumerate(obj.model.parts):
        visual = SubElement(link, "visual", name=f"part_{number}")
        mesh = SubElement(SubElement(visual, "geometry"), "mesh")
        _texts(mesh, uri=f"meshes/{obj.id}_{number}.obj")
        _paint(visual, part.colour)
    for number, solid in enumerate(colliding(obj.model)):
        collision = SubElement(link, "collision", name=f"solid_{number}")
        rotation = np.eye(3) if solid.rotation is None else solid.rotation
        _texts(collision, pose=f"{_numbers(solid.position)} {_numbers(_roll_pitch_yaw(rotation))}")
        _primitive(SubElement(collision, "geometry"), solid)
        ode = SubElement(SubElement(SubElement(collision, "surface"), "friction"), "ode")
        _texts(ode, mu=_numbers([obj.model.friction]), mu2=_numbers([obj.model.friction]))


def _inertial(link: Element, model: Model) -> None:
    """Inertia of the filled painted surfaces about the model's centre of mass (a heavy foot)."""
    spec = mujoco.MjSpec()
    filled, exact = spec.worldbody.add_body(name="filled"), mujoco.mjtMeshInertia.mjMESH_INERTIA_EXACT
    for number, part in enumerate(model.parts):
        mesh = part.mesh
        spec.add_mesh(name=f"{number}", uservert=mesh.vertices.ravel(), userface=mesh.faces.ravel(), inertia=exact)
        filled.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=f"{number}")
    body, axes = spec.compile().body("filled"), np.empty(9)
    mujoco.mju_quat2Mat(axes, body.iquat)
    about = model.mass / body.mass[0] * (axes.reshape(3, 3) * body.inertia) @ axes.reshape(3, 3).T
    inertial = SubElement(link, "inertial")
    _texts(inertial, pose=f"{_numbers(model.centre_of_mass)} 0 0 0", mass=_numbers([model.mass], 6))
    names = {"ixx": (0, 0), "ixy": (0, 1), "ixz": (0, 2), "iyy": (1, 1), "iyz": (1, 2), "izz": (2, 2)}
    _texts(SubElement(inertial, "inertia"), **{name: _numbers([about[at]], 9) for name, at in names.items()})


def colliding(model: Model) -> Iterator[CollisionPiece]:
    """Make simple collision bodies: primitives unchanged, all hulls replaced by one upright cylinder around them.

    Hollow objects are filled: a cup can be gripped and pushed, but nothing can be put into it.
    """
    yield from (solid for solid in model.solids if solid.corners is None)
    corners = [solid.corners for solid in model.solids if solid.corners is not None]
    if corners:
        points = np.concatenate(corners)
        low, high = float(points[:, 2].min()), float(points[:, 2].max())
        radius = float(np.linalg.norm(points[:, :2], axis=1).max())
        yield CollisionPiece("cylinder", (radius, (high - low) / 2), (0.0, 0.0, (low + high) / 2))


def _primitive(geometry: Element, solid: CollisionPiece) -> None:
    size = solid.size
    if solid.kind == "ball":
        _texts(SubElement(geometry, "sphere"), radius=_numbers(size))
    elif solid.kind in ("cylinder", "capsule"):
        _texts(SubElement(geometry, solid.kind), radius=_numbers(size[:1]), length=_numbers([2 * size[1]]))
    elif solid.kind == "ellipsoid":
        _texts(SubElement(geometry, "ellipsoid"), radii=_numbers(size))
    else:
        _texts(SubElement(geometry, "box"), size=_numbers([2 * half for half in size]))


def _paint(visual: Element, colour: Colour) -> None:
    shade = f"{_numbers([c / 255 for c in colour], 3)} 1"
    _texts(SubElement(visual, "material"), ambient=shade, diffuse=shade, specular="0.1 0.1 0.1 1")


def _texts(parent: Element, **children: str) -> None:
    for name, text in children.items():
        SubElement(parent, name).text = text


def _numbers(values: Sequence[float] | Array, digits: int = 5) -> str:
    """Write rounded numbers, without negative zero and trailing zeros, so that they are the same on every machine."""
    return " ".join(f"{round(float(v), digits) + 0.0:.{digits}f}".rstrip("0").rstrip(".") for v in values)


def _roll_pitch_yaw(rotation: Array) -> Array:
    """(3,) radians about fixed x, y, z, as in SDF poses."""
    pitch = math.asin(max(-1.0, min(1.0, -rotation[2, 0])))
    return np.array(
        [math.atan2(rotation[2, 1], rotation[2, 2]), pitch, math.atan2(rotation[1, 0], rotation[0, 0])]
    )  # fmt: skip


def _normals(mesh: Mesh) -> Array:
    """(V, 3) unit normals of the vertices: those of their faces, weighted by area."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    found = np.zeros_like(mesh.vertices)
    for corner in range(3):
        np.add.at(found, mesh.faces[:, corner], np.cross(b - a, c - a))
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return found / np.where(lengths > 0, lengths, 1.0)
