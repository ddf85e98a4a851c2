# SPDX-License-Identifier: Apache-2.0
"""Any robot from its URDF: the convex hull of each link's collision geometry, and frames without the robot.

Needs the extra `arm` (Pinocchio), which is loaded when a description is read.
"""

from __future__ import annotations

import copy
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import SubElement, tostring

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import DependencyError, FileError, InputError
from spatial_vlm_ros.extras import install
from spatial_vlm_ros.files.documents import parse_xml, read_xml
from spatial_vlm_ros.files.reading import MIB, check_regular
from spatial_vlm_ros.manipulation.planning.hulls import Hull
from spatial_vlm_ros.manipulation.planning.self_filter import LinkHull, remove_self, self_mask
from spatial_vlm_ros.parameters import DESCRIPTION_TOPIC, DepthConfig, StreamConfig
from spatial_vlm_ros.types import RgbdFrame, Transform

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

Floats = npt.NDArray[np.float64]

_OWN = 0.005  # metres that a link may be from where TF has it: what is seen this near to its hull is the robot itself
_AROUND = 24  # corners of the prism around a cylinder: it stands out of it by 0.9 % of its radius
_THIN = 1e-3  # of its size: whether a mesh has a volume is looked at closely
_PACKAGE = "package://"
_MOST_LINKS = 2000  # a humanoid with hands has about 100; Pinocchio's reader ends the process on a chain of 40,000
_LARGEST_MESH = 64 * MIB


def load(package: str) -> Any:
    """A package of the extra `arm`.

    Raises:
        DependencyError: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise DependencyError(package, install("arm")) from error


@dataclass(frozen=True, eq=False)
class RobotModel:
    """The robot that a camera sees, as `streams.frame_assembler` takes it.

    Args:
        hulls: of each link in the link's own frame, by its name.
        padding: metres that hulls grow by, as in `self_mask`.
        depth: noise of depth, by which they grow further.
    """

    hulls: Mapping[str, Hull]
    padding: float
    depth: DepthConfig

    @property
    def links(self) -> tuple[str, ...]:
        """Names of the links, which are their TF frames."""
        return tuple(self.hulls)

    def removed(self, frame: RgbdFrame, base_T_links: Sequence[Transform]) -> RgbdFrame:
        """The frame without the robot's points; `RgbdFrame.robot` keeps them.

        Args:
            frame: with `base_T_camera`.
            base_T_links: poses of `links`, in their order, at the frame's stamp.

        Raises:
            As `self_mask` does.
        """
        links = [LinkHull(pose, hull) for pose, hull in zip(base_T_links, self.hulls.values(), strict=True)]
        mask = self_mask(frame, links, self.padding, self.depth)
        return remove_self(frame, mask, self_mask(frame, links, min(_OWN, self.padding), self.depth, within=mask))


def robot_of(config: StreamConfig, depth: DepthConfig, told: Callable[[], str] | None = None) -> RobotModel | None:
    """The robot that the parameters name; None where they name none.

    Args:
        config: names the robot's URDF, or the topic that has it.
        depth: of what is measured.
        told: gives the text of the URDF on the topic robot_description; None = no topic can be heard here.

    Raises:
        InputError: the parameter holds a URDF's text, as a parameter of that name does elsewhere; or it names the
            topic, and `told` is None.
        As `read_hulls` and `told` do.
    """
    if not config.robot_description:
        return None
    if config.robot_description == DESCRIPTION_TOPIC:
        if told is None:
            repair = "pass the path of the robot's URDF; only a running node can listen to the topic robot_description"
            raise InputError("parameter robot_description", repr(DESCRIPTION_TOPIC), "the path of a file", repair)
        return RobotModel(read_hulls(told()), config.robot_padding, depth)
    if "<" in config.robot_description:
        repair = "write it to a file, and pass its path"
        raise InputError("parameter robot_description", "the text of a URDF", "the path of its file", repair)
    return RobotModel(read_hulls(Path(config.robot_description).expanduser()), config.robot_padding, depth)


def read_hulls(path: str | Path) -> dict[str, Hull]:
    """The hull of each link that has collision geometry, in the link's own frame, metres, by its name.

    A link is one hull: around all its meshes, boxes, cylinders, capsules, cones and spheres together.

    Args:
        path: of a URDF file, or the text of one, whose meshes are looked for in packages alone; xacro has to be
            expanded before.

    Raises:
        DependencyError: the extra `arm` is not installed.
        FileError: no such file, no URDF, or a mesh that cannot be found or read.
        InputError: nothing in it has collision geometry, or that of a link is flat.
    """
    model, geometry = model_and_geometry(path)
    hulls = link_hulls(model, geometry)
    if not hulls:
        repair = "pass the URDF with its <collision> elements, not one for display only"
        name = "topic robot_description" if _is_text(path) else f"robot description {path}"
        raise InputError(name, "no link with collision geometry", "at least one", repair)
    return {str(model.frames[frame].name): hull for frame, hull in hulls.items()}


def model_and_geometry(path: str | Path) -> tuple[Any, Any]:
    """Pinocchio's model and its collision geometry, whose meshes are replaced by their convex hulls.

    Raises:
        DependencyError, FileError, InputError: as `read_hulls` does.
    """
    root, file = read_urdf(path)
    return model_and_geometry_of(root, file)


def _is_text(source: str | Path) -> bool:
    return isinstance(source, str) and "<" in source


def read_urdf(source: str | Path) -> tuple[Element, Path | None]:
    """The root of a URDF, and the file that it is from.

    Args:
        source: path of the file, or the text of a URDF, whose meshes are looked for in packages alone.

    Raises:
        FileError: no such file, no URDF, or one of more links than Pinocchio's reader takes.
    """
    repair = "pass a URDF; expand xacro: xacro FILE > robot.urdf"
    if _is_text(source):
        source = str(source)
        path, root = None, parse_xml(source.encode(), "robot_description", repair)
    else:
        path = Path(source).expanduser()
        if not os.path.exists(path):  # noqa: PTH110 (Path.exists raises where a name is too long)
            raise FileError(path, "no such file", "set robot_description to the path of the robot's URDF")
        root = read_xml(path, repair)
    if root.tag != "robot" or any("xacro" in str(element.tag) for element in root.iter()):
        raise FileError(path or "robot_description", "it is not a URDF", f"give the URDF itself; {repair[13:]}")
    links = sum(1 for _ in root.iter("link"))
    if links > _MOST_LINKS:
        raise FileError(
            path or "robot_description", f"{links} links, more than {_MOST_LINKS}", "pass the URDF of one robot"
        )
    return root, path


def model_and_geometry_of(root: Element, path: Path | None, turns: float | None = None) -> tuple[Any, Any]:
    """As `model_and_geometry`, from what `read_urdf` gives.

    Args:
        root: of the URDF; it stays as it is.
        path: of its file; None = it is a text.
        turns: radians to each side by which joints without limits turn; None = as far as they like.
    """
    pin, name = load("pinocchio"), path or "robot_description"
    folders = package_folders(path or "/")
    _check_meshes(root, path, folders)
    if turns is not None:
        root = copy.deepcopy(root)
        for joint in root.findall("joint"):
            if joint.get("type") == "continuous":
                limit = joint.find("limit")
                limit = SubElement(joint, "limit", effort="0", velocity="0") if limit is None else limit
                joint.set("type", "revolute")
                limit.set("lower", str(-turns))
                limit.set("upper", str(turns))
    text = tostring(root, encoding="unicode")
    try:
        model = pin.buildModelFromXML(text)
        with warnings.catch_warnings():  # about having been told where the meshes are
            warnings.simplefilter("ignore")
            geometry = pin.buildGeomFromUrdfString(model, text, pin.GeometryType.COLLISION, None, folders)
    except (ValueError, RuntimeError, TypeError) as error:
        repair = "check it with check_urdf; meshes have to be STL, DAE or OBJ files"
        raise FileError(name, f"Pinocchio cannot read it: {error}", repair) from error
    for part in geometry.geometryObjects:
        if hasattr(part.geometry, "buildConvexHull"):  # a mesh
            part.geometry = _convex(part.geometry, str(model.frames[part.parentFrame].name))
    return model, geometry


def _convex(mesh: Any, link: str) -> Any:
    """The convex hull of a mesh of coal's.

    `buildConvexRepresentation` of coal takes a mesh for convex as it is, and finds nothing of parts that are hidden
    behind a hollow; `buildConvexHull` crashes where all points lie in a plane.
    """
    points = np.asarray(mesh.vertices(), np.float64)
    if len(points) < 4 or np.linalg.svd(points - points.mean(axis=0), compute_uv=False)[2] <= _THIN * np.ptp(points):
        _hull(link, [points])
    mesh.buildConvexHull(True, "Qt")
    return mesh.convex


def link_hulls(model: Any, geometry: Any) -> dict[int, Hull]:
    """The hull of each link in its own frame, by index of its frame in Pinocchio's model.

    Args:
        model: Pinocchio's.
        geometry: its collision geometry, without meshes that are not convex.

    Raises:
        InputError: the geometry of a link lies in a plane, or is of a form that is not known.
    """
    corners: dict[int, list[Floats]] = {}
    for frame, placed in _parts(model, geometry):
        corners.setdefault(frame, []).append(placed)
    return {frame: _hull(str(model.frames[frame].name), points) for frame, points in corners.items()}


def part_hulls(model: Any, geometry: Any) -> list[tuple[int, Hull]]:
    """The hull of each body of each link, in the link's own frame, with the index of the link's frame; as `link_hulls`.

    Between two bodies of one link there is room that the link's own hull fills.
    """
    return [(frame, _hull(str(model.frames[frame].name), [points])) for frame, points in _parts(model, geometry)]


def _parts(model: Any, geometry: Any) -> Iterator[tuple[int, Floats]]:
    """Each body's link, as the index of its frame, and corners (N, 3) in that frame, metres."""
    for part in geometry.geometryObjects:
        link = model.frames[part.parentFrame]
        link_T_part = (link.placement.inverse() * part.placement).homogeneous
        yield (
            part.parentFrame,
            _corners(part.geometry, str(part.name)) @ link_T_part[:3, :3].T + link_T_part[:3, 3],
        )


def package_folders(path: str | Path) -> list[str]:
    """Folders that `package://NAME/` may lie in, for a description: those above the file, nearest first, then ROS's."""
    folders = [*Path(path).resolve().parents]
    folders += [
        Path(prefix) / "share" for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix
    ]
    folders += [Path(folder) for folder in os.environ.get("ROS_PACKAGE_PATH", "").split(os.pathsep) if folder]
    return [str(folder) for folder in folders]


def _check_meshes(root: Element, path: Path | None, folders: Sequence[str]) -> None:
    """Whether the collision meshes are there, and not too large; Pinocchio's own words do not say where it looked.

    Raises:
        FileError: not so.
    """
    for link in root.iter("link"):
        for mesh in link.findall("collision/geometry/mesh"):
            name, field = mesh.get("filename", ""), f"link {link.get('name')!r}"
            file = mesh_file(name, path, folders)
            if file is None:
                repair = (
                    "source the workspace that has its package, or set ROS_PACKAGE_PATH to the folder that holds it"
                )
                raise FileError(path or "robot_description", f"mesh {name!r} was not found", repair, field)
            check_regular(file, "use a mesh for collisions: a few thousand triangles are enough", _LARGEST_MESH)


def _is_file(place: Path) -> bool:
    try:
        return place.is_file()
    except OSError:  # a name that is too long
        return False


def mesh_file(name: str, path: Path | None, folders: Sequence[str]) -> Path | None:
    """The file that a URDF names as a mesh, `package://` or not; None where it is not found.

    Args:
        name: as in the URDF.
        path: of the URDF; None = it is a text.
        folders: as `package_folders` gives them.
    """
    return next((place for place in _places(name, path, folders) if _is_file(place)), None)


def _places(name: str, path: Path | None, folders: Sequence[str]) -> list[Path]:
    """Where a mesh may lie."""
    if name.startswith(_PACKAGE):
        return [Path(folder) / name.removeprefix(_PACKAGE) for folder in folders]
    return [(path.resolve().parent if path is not None else Path("/")) / re.sub("^file://", "", name)]


def _hull(link: str, points: Sequence[Floats]) -> Hull:
    try:
        return Hull(np.concatenate(points))
    except InputError as error:
        repair = "give the link a collision geometry with a volume"
        raise InputError(f"collision geometry of link {link!r}", error.got, error.expected, repair) from error


def _corners(shape: Any, name: str) -> Floats:
    """(N, 3) points whose convex hull holds a shape, in its own frame, metres."""
    if hasattr(shape, "points"):
        return np.asarray(shape.points(), np.float64)
    if hasattr(shape, "halfSide"):
        sides = ([-side, side] for side in np.asarray(shape.halfSide, np.float64))
        return np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 3)
    if hasattr(shape, "halfLength"):  # cylinder, capsule, cone
        beyond = shape.radius if type(shape).__name__ == "Capsule" else 0.0
        return _prism(float(shape.radius), float(shape.halfLength) + beyond)
    if hasattr(shape, "radius"):
        return _ball(float(shape.radius))
    repair = "use a mesh, box, cylinder or sphere"
    raise InputError(f"collision geometry {name!r}", type(shape).__name__, "a geometry type of URDF", repair)


def _prism(radius: float, half_length: float) -> Floats:
    """Corners of an upright prism around a cylinder about z."""
    angles = np.arange(_AROUND) * 2 * np.pi / _AROUND
    ring = np.column_stack([np.cos(angles), np.sin(angles)]) * radius / np.cos(np.pi / _AROUND)
    return np.concatenate([np.column_stack([ring, np.full(_AROUND, z)]) for z in (-half_length, half_length)])


def _ball(radius: float) -> Floats:
    """Corners of a body with flat faces around a ball; it stands out of it by 2.6 % of its radius at most."""
    corners, reach = _unit_ball()
    return corners * (radius / reach)


@cache
def _unit_ball() -> tuple[Floats, float]:
    """Points spread evenly on the unit sphere, and the distance of the nearest face of their hull from its middle.

    Source: the golden spiral.
    """
    n = 150
    heights, turns = 1 - (2 * np.arange(n) + 1) / n, np.arange(n) * np.pi * (3 - 5**0.5)
    wide = np.sqrt(1 - heights**2)
    points = np.column_stack([wide * np.cos(turns), wide * np.sin(turns), heights])
    return points, float(Hull(points).planes[:, 3].min())
