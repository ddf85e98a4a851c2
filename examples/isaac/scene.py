# SPDX-License-Identifier: Apache-2.0
"""The demo's table, chicks and cup in Isaac Sim, with an RGB-D camera on ROS 2. Run by Isaac Sim's own Python.

    ./python.sh /path/to/spatial_vlm_ros/examples/isaac/scene.py --headless

Reads the world that Gazebo has (worlds/chicks.sdf), so that both show the same scene. Publishes /rgb, /depth,
/camera_info, /clock and the camera's transform; the resolver hears them with camera:=isaac_sim.

NOT RUN: no machine with Isaac Sim was at hand. The stage is built and looked at by tests with plain USD; names and
inputs of the graph's nodes are compared with the sources of Isaac Sim 5.1 and 6.0. docs/simulators.md.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # Isaac Sim's Python does not know this package; the part used here needs nothing else

from spatial_vlm_ros.launcher.gazebo import Mount, Quaternion, Vector, camera_mount, multiplied, turn_of  # noqa: E402

APERTURE = 20.955  # mm: of a sensor 35 mm wide, USD's own; only its ratio to the focal length counts
GRAPH, CAMERA = "/World/RosCamera", "/World/camera"
TOPICS = {"rgb": "rgb", "depth": "depth", "info": "camera_info"}  # as config/cameras/isaac_sim.yaml has them
_OPTICAL_R_USD: Quaternion = (1.0, 0.0, 0.0, 0.0)  # half a turn about x: USD's cameras look along -z, with y up


@dataclass(frozen=True)
class Shape:
    """A simple body: "box" (size: extents), "sphere" (radius), "cylinder" (radius, length), in its model's frame."""

    kind: str
    size: tuple[float, ...]
    position: Vector
    orientation: Quaternion
    colour: Vector = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Surface:
    """A painted mesh in its model's frame: points and normals in metres, three indices a face."""

    points: list[Vector]
    normals: list[Vector]
    faces: list[tuple[int, int, int]]
    colour: Vector


@dataclass(frozen=True)
class Object:
    """A model of the world; `mass` None = it stands still."""

    name: str
    position: Vector
    orientation: Quaternion
    shapes: tuple[Shape, ...]
    surfaces: tuple[Surface, ...] = ()
    mass: float | None = None
    centre_of_mass: Vector = (0.0, 0.0, 0.0)
    friction: float = 0.6


@dataclass(frozen=True)
class Lens:
    """What the camera sees: pixels, and its focal length in pixels."""

    width: int
    height: int
    focal: float


# ------------------------------------------------------------------------------------------------ the world's file


def read_objects(path: Path) -> list[Object]:
    """The models of an SDF world of ours, but its camera."""
    root = ElementTree.parse(path).getroot()  # noqa: S314 (a file of this repository)
    return [_obj(model, path.parent) for model in root.iterfind("world/model") if model.find("link/sensor") is None]


def read_lens(path: Path) -> Lens:
    """The camera of that world."""
    camera = ElementTree.parse(path).getroot().find(".//sensor[@type='rgbd_camera']/camera")  # noqa: S314
    if camera is None:
        raise ValueError(f"{path} has no rgbd_camera")
    width, height = int(camera.findtext("image/width", "0")), int(camera.findtext("image/height", "0"))
    return Lens(width, height, width / 2 / math.tan(_numbers(camera, "horizontal_fov")[0] / 2))


def _obj(model: Element, folder: Path) -> Object:
    position, orientation = _pose(model)
    link = model.find("link")
    if link is None:
        raise ValueError(f"model {model.get('name')} has no link")
    still = model.findtext("static") == "true"
    painted = {v.get("name"): v for v in link.iterfind("visual")}
    shapes = tuple(_shape(part, painted.get(f"{part.get('name')}_visual")) for part in link.iterfind("collision"))
    name = str(model.get("name"))
    if still:
        return Object(name, position, orientation, shapes)
    return Object(
        name,
        position,
        orientation,
        shapes,
        tuple(_surfaces(link, folder)),
        _numbers(link, "inertial/mass")[0],
        _three(_numbers(link, "inertial/pose")),
        _numbers(link, "collision/surface/friction/ode/mu")[0],
    )


def _shape(collision: Element, visual: Element | None) -> Shape:
    position, orientation = _pose(collision)
    geometry = collision.find("geometry")
    if geometry is None or len(geometry) != 1:
        raise ValueError(f"collision {collision.get('name')} has not one geometry")
    names = {"box": ("size",), "sphere": ("radius",), "cylinder": ("radius", "length")}[geometry[0].tag]
    size = tuple(number for name in names for number in _numbers(geometry[0], name))
    return Shape(geometry[0].tag, size, position, orientation, _colour(visual))


def _surfaces(link: Element, folder: Path) -> Iterator[Surface]:
    for visual in link.iterfind("visual"):
        yield read_mesh(folder / visual.findtext("geometry/mesh/uri", ""), _colour(visual))


def read_mesh(path: Path, colour: Vector) -> Surface:
    """A Wavefront file of ours: triangles, with a normal for each vertex."""
    points: list[Vector] = []
    normals: list[Vector] = []
    faces: list[tuple[int, int, int]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, _, rest = line.partition(" ")
        if kind in ("v", "vn"):
            (points if kind == "v" else normals).append(_three([float(word) for word in rest.split()]))
        elif kind == "f":
            a, b, c = (int(corner.partition("/")[0]) - 1 for corner in rest.split())
            faces.append((a, b, c))
    return Surface(points, normals, faces, colour)


def _colour(visual: Element | None) -> Vector:
    return (0.5, 0.5, 0.5) if visual is None else _three(_numbers(visual, "material/diffuse"))


def _pose(element: Element) -> tuple[Vector, Quaternion]:
    numbers = _numbers(element, "pose") or [0.0] * 6
    return _three(numbers), turn_of(*numbers[3:6])


def _numbers(element: Element, path: str) -> list[float]:
    return [float(word) for word in element.findtext(path, "").split()]


def _three(numbers: Sequence[float]) -> Vector:
    return numbers[0], numbers[1], numbers[2]


# ------------------------------------------------------------------------------------------------ the stage (USD)


def build_stage(stage: Any, objects: Sequence[Object], mount: Mount, lens: Lens) -> None:
    """Light, physics, objects and camera on an empty stage; metres, z up, as in the base frame."""
    from pxr import Gf, UsdGeom, UsdLux, UsdPhysics

    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    stage.SetDefaultPrim(UsdGeom.Xform.Define(stage, "/World").GetPrim())
    gravity = UsdPhysics.Scene.Define(stage, "/World/physics")
    gravity.CreateGravityDirectionAttr(Gf.Vec3f(0, 0, -1))
    gravity.CreateGravityMagnitudeAttr(9.81)
    UsdLux.DomeLight.Define(stage, "/World/sky").CreateIntensityAttr(600.0)
    sun = UsdLux.DistantLight.Define(stage, "/World/sun")
    sun.CreateIntensityAttr(1500.0)
    UsdGeom.Xformable(sun).AddRotateXYZOp().Set(Gf.Vec3f(20.0, -20.0, 0.0))
    for obj in objects:
        _add_object(stage, obj)
    camera = UsdGeom.Camera.Define(stage, CAMERA)
    _place(camera, mount.position, multiplied(mount.orientation, _OPTICAL_R_USD))
    camera.CreateHorizontalApertureAttr(APERTURE)
    camera.CreateVerticalApertureAttr(APERTURE * lens.height / lens.width)
    camera.CreateFocalLengthAttr(APERTURE * lens.focal / lens.width)
    camera.CreateClippingRangeAttr(Gf.Vec2f(0.05, 10.0))


def _add_object(stage: Any, obj: Object) -> None:
    from pxr import Gf, UsdGeom, UsdPhysics, UsdShade

    path = f"/World/{obj.name}"
    body = UsdGeom.Xform.Define(stage, path)
    _place(body, obj.position, obj.orientation)
    for number, shape in enumerate(obj.shapes):
        _add_shape(stage, f"{path}/solid_{number}", shape, shown=obj.mass is None)
    for number, surface in enumerate(obj.surfaces):
        _add_surface(stage, f"{path}/part_{number}", surface)
    if obj.mass is not None:
        UsdPhysics.RigidBodyAPI.Apply(body.GetPrim())
        mass = UsdPhysics.MassAPI.Apply(body.GetPrim())
        mass.CreateMassAttr(obj.mass)
        mass.CreateCenterOfMassAttr(Gf.Vec3f(*obj.centre_of_mass))
        # no inertia: the simulator takes that of the solids
        grip = UsdShade.Material.Define(stage, f"{path}/grip")
        friction = UsdPhysics.MaterialAPI.Apply(grip.GetPrim())
        friction.CreateStaticFrictionAttr(obj.friction)
        friction.CreateDynamicFrictionAttr(obj.friction)
        bound = UsdShade.MaterialBindingAPI.Apply(body.GetPrim())
        bound.Bind(grip, UsdShade.Tokens.weakerThanDescendants, "physics")


def _add_shape(stage: Any, path: str, shape: Shape, shown: bool) -> None:
    """What collides; seen where nothing else is painted."""
    from pxr import Gf, UsdGeom, UsdPhysics

    scale = None
    if shape.kind == "box":
        form = UsdGeom.Cube.Define(stage, path)
        form.CreateSizeAttr(1.0)
        scale = Gf.Vec3f(*shape.size)
    elif shape.kind == "sphere":
        form = UsdGeom.Sphere.Define(stage, path)
        form.CreateRadiusAttr(shape.size[0])
    else:
        form = UsdGeom.Cylinder.Define(stage, path)
        form.CreateAxisAttr(UsdGeom.Tokens.z)
        form.CreateRadiusAttr(shape.size[0])
        form.CreateHeightAttr(shape.size[1])
    _place(form, shape.position, shape.orientation)
    if scale is not None:
        form.AddScaleOp().Set(scale)
    form.CreateDisplayColorAttr([Gf.Vec3f(*shape.colour)])
    UsdPhysics.CollisionAPI.Apply(form.GetPrim())
    if not shown:
        form.CreatePurposeAttr(UsdGeom.Tokens.guide)


def _add_surface(stage: Any, path: str, surface: Surface) -> None:
    from pxr import Gf, UsdGeom, Vt

    mesh = UsdGeom.Mesh.Define(stage, path)
    mesh.CreatePointsAttr(Vt.Vec3fArray([Gf.Vec3f(*point) for point in surface.points]))
    mesh.CreateNormalsAttr(Vt.Vec3fArray([Gf.Vec3f(*normal) for normal in surface.normals]))
    mesh.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    mesh.CreateFaceVertexCountsAttr([3] * len(surface.faces))
    mesh.CreateFaceVertexIndicesAttr([corner for face in surface.faces for corner in face])
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    mesh.CreateDisplayColorAttr([Gf.Vec3f(*surface.colour)])


def _place(prim: Any, position: Vector, orientation: Quaternion) -> None:
    from pxr import Gf, UsdGeom

    form = UsdGeom.Xformable(prim)
    form.AddTranslateOp().Set(Gf.Vec3d(*position))
    x, y, z, w = orientation
    form.AddOrientOp(UsdGeom.XformOp.PrecisionDouble).Set(Gf.Quatd(w, x, y, z))


# ------------------------------------------------------------------------------------------------ the graph (ROS 2)


@dataclass(frozen=True)
class Graph:
    """An OmniGraph as plain data: nodes with their types, values and connections, as og.Controller.edit takes them."""

    nodes: list[tuple[str, str]]
    values: list[tuple[str, Any]]
    connections: list[tuple[str, str]]


def camera_graph(mount: Mount, lens: Lens, base_frame: str) -> Graph:
    """What publishes colour, depth, camera info, the clock and the optical frame's static transform.

    `RenderProduct.inputs:cameraPrim` is not in it: its value is a type of the running application.
    """
    nodes = [
        ("Tick", "omni.graph.action.OnPlaybackTick"),
        ("Context", "isaacsim.ros2.bridge.ROS2Context"),
        ("Time", "isaacsim.core.nodes.IsaacReadSimulationTime"),
        ("Clock", "isaacsim.ros2.bridge.ROS2PublishClock"),
        ("Mount", "isaacsim.ros2.bridge.ROS2PublishRawTransformTree"),
        ("RenderProduct", "isaacsim.core.nodes.IsaacCreateRenderProduct"),
        ("Rgb", "isaacsim.ros2.bridge.ROS2CameraHelper"),
        ("Depth", "isaacsim.ros2.bridge.ROS2CameraHelper"),
        ("Info", "isaacsim.ros2.bridge.ROS2CameraInfoHelper"),
    ]
    values: list[tuple[str, Any]] = [
        ("Clock.inputs:topicName", "clock"),
        ("Mount.inputs:topicName", "tf_static"),
        ("Mount.inputs:staticPublisher", True),
        ("Mount.inputs:parentFrameId", base_frame),
        ("Mount.inputs:childFrameId", mount.child),
        ("Mount.inputs:translation", list(mount.position)),
        ("Mount.inputs:rotation", list(mount.orientation)),  # x, y, z, w
        ("RenderProduct.inputs:width", lens.width),
        ("RenderProduct.inputs:height", lens.height),
        ("Rgb.inputs:type", "rgb"),
        ("Depth.inputs:type", "depth"),  # along the optical axis, metres
    ]
    connections = [
        ("Tick.outputs:tick", "Clock.inputs:execIn"),
        ("Tick.outputs:tick", "Mount.inputs:execIn"),
        ("Tick.outputs:tick", "RenderProduct.inputs:execIn"),
        ("Time.outputs:simulationTime", "Clock.inputs:timeStamp"),
        ("Time.outputs:simulationTime", "Mount.inputs:timeStamp"),
        ("Context.outputs:context", "Clock.inputs:context"),
        ("Context.outputs:context", "Mount.inputs:context"),
    ]
    for node, topic in (("Rgb", TOPICS["rgb"]), ("Depth", TOPICS["depth"]), ("Info", TOPICS["info"])):
        values += [(f"{node}.inputs:topicName", topic), (f"{node}.inputs:frameId", mount.child)]
        connections += [
            ("RenderProduct.outputs:execOut", f"{node}.inputs:execIn"),
            ("RenderProduct.outputs:renderProductPath", f"{node}.inputs:renderProductPath"),
            ("Context.outputs:context", f"{node}.inputs:context"),
        ]
    return Graph(nodes, values, connections)


def run(world: Path, base_frame: str, headless: bool) -> None:
    """Start Isaac Sim, build the scene, publish until its window is closed or it is told to end."""
    from isaacsim import SimulationApp  # type: ignore[import-not-found]  # first: it makes the modules below importable

    app = SimulationApp({"headless": headless})
    import omni.graph.core as og  # type: ignore[import-not-found]
    import omni.kit.app  # type: ignore[import-not-found]
    import omni.timeline  # type: ignore[import-not-found]
    import omni.usd  # type: ignore[import-not-found]
    import usdrt.Sdf  # type: ignore[import-not-found]

    omni.kit.app.get_app().get_extension_manager().set_extension_enabled_immediate("isaacsim.ros2.bridge", True)
    app.update()
    omni.usd.get_context().new_stage()
    mount, lens = camera_mount(world), read_lens(world)
    build_stage(omni.usd.get_context().get_stage(), read_objects(world), mount, lens)
    app.update()
    graph, keys = camera_graph(mount, lens, base_frame), og.Controller.Keys
    camera = ("RenderProduct.inputs:cameraPrim", [usdrt.Sdf.Path(CAMERA)])
    og.Controller.edit(
        {"graph_path": GRAPH, "evaluator_name": "execution"},
        {
            keys.CREATE_NODES: graph.nodes,
            keys.SET_VALUES: [*graph.values, camera],
            keys.CONNECT: graph.connections,
        },
    )
    omni.timeline.get_timeline_interface().play()
    while app.is_running():
        app.update()
    app.close()


def main() -> None:
    """Read the words."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--world", type=Path, default=ROOT / "worlds" / "chicks.sdf")
    given.add_argument("--base-frame", default="base_link", help="frame of the world, as the resolver's base_frame")
    given.add_argument("--headless", action="store_true")
    said, _ = given.parse_known_args()  # what is left is Isaac Sim's
    run(said.world, said.base_frame, said.headless)


if __name__ == "__main__":
    main()
