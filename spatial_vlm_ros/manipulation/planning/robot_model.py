# SPDX-License-Identifier: Apache-2.0
"""Reads a robot from its URDF as convex hulls of its links, and removes the robot from frames.

Needs the extra `arm` (Pinocchio), which is loaded with the first description.
"""

from __future__ import annotations

import contextlib
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
from spatial_vlm_ros.files.documents import DEEPEST_XML, LARGEST_XML, parse_xml, read_xml
from spatial_vlm_ros.files.reading import MIB, check_regular
from spatial_vlm_ros.manipulation.planning.hulls import Hull, LinkHull, remove_self, self_mask, spread_over_sphere
from spatial_vlm_ros.parameters import DESCRIPTION_TOPIC, DepthConfig, StreamConfig
from spatial_vlm_ros.types import RgbdFrame, Transform

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

Floats = npt.NDArray[np.float64]

_OWN = 0.005  # metres of a link's pose error in TF: points this near to its hull are the robot itself
_AROUND = 24  # corners of the prism around a cylinder: it is larger by at most 0.9 % of the radius
_THIN = 1e-3  # share of its size: a thinner mesh may have no volume
_PACKAGE = "package://"
_MOST_LINKS = 2000  # a humanoid with hands has about 100; Pinocchio's reader ends the process on a chain of 40,000
_LARGEST_MESH = {".stl": 64 * MIB, ".dae": LARGEST_XML, ".obj": 8 * MIB}  # a face of an OBJ takes 700 bytes
_FARTHEST = 1000.0  # metres from the origin of a link
_MOST_TRIANGLES = 3000  # of a mesh that are read to see its surface: each takes a call


def load(package: str) -> Any:
    """Import a package of the extra `arm`."""
    try:
        return import_module(package)
    except ImportError as error:
        raise DependencyError(package, install("arm")) from error


@dataclass(frozen=True, eq=False)
class RobotModel:
    """The robot that a camera sees, for `streams.frame_assembler`.

    Args:
        hulls: link name → hull in the link's own frame, metres.
        padding: growth of the hulls, metres, as in `self_mask`.
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
            frame: frame with `base_T_camera`.
            base_T_links: poses of `links`, in the same order, at the frame's stamp.
        """
        links = [LinkHull(pose, hull) for pose, hull in zip(base_T_links, self.hulls.values(), strict=True)]
        mask = self_mask(frame, links, self.padding, self.depth)
        return remove_self(frame, mask, self_mask(frame, links, min(_OWN, self.padding), self.depth, within=mask))


def robot_of(config: StreamConfig, depth: DepthConfig, told: Callable[[], str] | None = None) -> RobotModel | None:
    """Read the robot that the parameters name; None if they name none.

    Args:
        told: returns the text of the URDF from the topic robot_description; None = no topics are available.
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
    """Read the hull of each link with collision geometry: name → hull in the link's own frame, metres.

    A link has one hull around all its meshes, boxes, cylinders, capsules, cones and spheres.

    Args:
        path: path of a URDF file, or the text of one, whose meshes are only searched in packages; xacro must be
            expanded.
    """
    model, geometry = model_and_geometry(path)
    hulls = link_hulls(model, geometry)
    if not hulls:
        repair = "pass the URDF with its <collision> elements, not one for display only"
        name = "topic robot_description" if isinstance(path, str) and "<" in path else f"robot description {path}"
        raise InputError(name, "no link with collision geometry", "at least one", repair)
    return {str(model.frames[frame].name): hull for frame, hull in hulls.items()}


def model_and_geometry(path: str | Path) -> tuple[Any, Any]:
    """Pinocchio's model and its collision geometry, with meshes replaced by their convex hulls."""
    root, file = read_urdf(path)
    return model_and_geometry_of(root, file)


def read_urdf(source: str | Path) -> tuple[Element, Path | None]:
    """Read the root element of a URDF, and the path of its file; meshes of a text are only searched in packages."""
    repair = "pass a URDF; expand xacro: xacro FILE > robot.urdf"
    if isinstance(source, str) and "<" in source:
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


def model_and_geometry_of(
    root: Element, path: Path | None, turns: float | None = None, kind: str = "collision"
) -> tuple[Any, Any]:
    """Like `model_and_geometry`, from the result of `read_urdf`.

    Args:
        root: root element of the URDF; not modified.
        path: path of its file; None = it was a text.
        turns: range of continuous joints to each side, radians; None = unlimited.
        kind: "visual" = its visual geometry, with its meshes as they are.
    """
    pin, name = load("pinocchio"), path or "robot_description"
    folders = package_folders(path or "/")
    for link in root.iter("link"):  # Pinocchio's error does not say where it searched for a mesh
        for shape in link.findall(f"{kind}/geometry/*"):
            filename, field = shape.get("filename", ""), f"link {link.get('name')!r}"
            if shape.tag != "mesh":
                sizes = " ".join(shape.get(key, "") for key in ("size", "radius", "length")).split()
                if any(size.startswith("-") for size in sizes):
                    raise FileError(name, f"a {shape.tag} of {' '.join(sizes)}", "give sizes above 0, in metres", field)
                continue
            file = mesh_file(filename, path, folders)
            if file is None:
                repair = (
                    "source the workspace that has its package, or set ROS_PACKAGE_PATH to the folder that holds it"
                )
                raise FileError(name, f"mesh {filename!r} was not found", repair, field)
            largest = _LARGEST_MESH.get(file.suffix.lower())
            if largest is None:
                raise FileError(name, f"mesh {filename!r} is of another kind", "use an STL, DAE or OBJ file", field)
            check_regular(file, "use a mesh for collisions: a few thousand triangles are enough", largest)
            if file.suffix.lower() == ".dae":
                _check_collada(file)
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
        with warnings.catch_warnings():  # about the given mesh folders
            warnings.simplefilter("ignore")
            form = pin.GeometryType.names[kind.upper()]
            geometry = pin.buildGeomFromUrdfString(model, text, form, None, folders)
    except (ValueError, RuntimeError, TypeError) as error:
        repair = "check it with check_urdf; meshes have to be STL, DAE or OBJ files"
        raise FileError(name, f"Pinocchio cannot read it: {error}", repair) from error
    for part in geometry.geometryObjects if kind == "collision" else ():
        mesh = part.geometry
        if not hasattr(mesh, "buildConvexHull"):
            continue
        # coal's `buildConvexRepresentation` assumes that a mesh is convex, and misses parts behind a hollow;
        # `buildConvexHull` crashes if all points lie in a plane.
        points = np.asarray(mesh.vertices(), np.float64)
        middle = points.mean(axis=0)
        is_near = len(points) > 3 and np.abs(points).max() <= _FARTHEST  # nor NaN
        if not is_near or np.linalg.svd(points - middle, compute_uv=False)[2] <= _THIN * np.ptp(points):
            _hull(str(model.frames[part.parentFrame].name), [points])
        mesh.buildConvexHull(True, "Qt")
        part.geometry = mesh.convex
    return model, geometry


def link_hulls(model: Any, geometry: Any) -> dict[int, Hull]:
    """Frame index in Pinocchio's model → hull of the link in its own frame, metres; all meshes must be convex."""
    corners: dict[int, list[Floats]] = {}
    for frame, placed in _parts(model, geometry):
        corners.setdefault(frame, []).append(placed)
    return {frame: _hull(str(model.frames[frame].name), points) for frame, points in corners.items()}


def part_hulls(model: Any, geometry: Any) -> list[tuple[int, Hull]]:
    """Hulls of the single bodies of all links, each with its link's frame index; otherwise like `link_hulls`.

    They leave the space between two bodies of a link free, which the link's own hull fills.
    """
    return [(frame, _hull(str(model.frames[frame].name), [points])) for frame, points in _parts(model, geometry)]


def _parts(model: Any, geometry: Any) -> Iterator[tuple[int, Floats]]:
    """Yield for each body the frame index of its link, and its corners (N, 3) in that frame, metres."""
    for part in geometry.geometryObjects:
        link = model.frames[part.parentFrame]
        link_T_part = (link.placement.inverse() * part.placement).homogeneous
        yield (
            part.parentFrame,
            _corners(part.geometry, str(part.name)) @ link_T_part[:3, :3].T + link_T_part[:3, 3],
        )


def package_folders(path: str | Path) -> list[str]:
    """Folders to search for `package://NAME/`: ROS's in the order of its tools, then those above the description.

    A folder of ROS_PACKAGE_PATH holds packages, or is one.
    """
    ament, ros = (os.environ.get(name, "").split(os.pathsep) for name in ("AMENT_PREFIX_PATH", "ROS_PACKAGE_PATH"))
    folders = [Path(prefix) / "share" for prefix in ament if prefix]
    folders += [each for folder in ros if folder for each in (Path(folder), Path(folder).absolute().parent)]
    return [str(folder) for folder in (*folders, *Path(path).resolve().parents)]


def mesh_file(name: str, path: Path | None, folders: Sequence[str]) -> Path | None:
    """Find the file of a mesh in a URDF, with or without `package://`; None if not found.

    Args:
        path: path of the URDF; None = it was a text.
    """
    if name.startswith(_PACKAGE):
        places = [Path(folder) / name.removeprefix(_PACKAGE) for folder in folders]
    else:
        places = [(path.resolve().parent if path is not None else Path("/")) / re.sub("^file://", "", name)]
    for place in places:
        with contextlib.suppress(OSError):  # a name that is too long
            if place.is_file():
                return place
    return None


def _check_collada(path: Path) -> None:
    """Check what the names of nodes and geometries in a mesh lead to: its reader follows them without a limit."""
    repair = "write it out as one geometry: a few thousand triangles are enough"
    root, left = read_xml(path, repair), 2 * LARGEST_XML
    named: dict[str, list[Element]] = {}
    for element in root.iter():
        for key in {element.get("id", ""), element.get("name", "")} - {""}:
            named.setdefault(f"#{key}", []).append(element)
    waiting = [(root, 0)]
    while waiting:
        element, depth = waiting.pop()
        left -= 20 + len(element.text or "")
        if depth > DEEPEST_XML or left < 0:
            raise FileError(path, "its nodes hold one another, or the same geometry too often", repair)
        is_name = element.tag.rpartition("}")[2] in ("instance_node", "instance_geometry")
        meant = named.get(element.get("url", ""), []) if is_name else []
        waiting += [(each, depth + 1) for each in (*element, *meant)]


def _hull(link: str, points: Sequence[Floats]) -> Hull:
    try:
        if not all(np.abs(each).max(initial=0.0) <= _FARTHEST for each in points):  # nor NaN
            raise InputError(link, "points farther away", f"at most {_FARTHEST:g} m from the origin of the link", "")
        return Hull(np.concatenate(points))
    except InputError as error:
        repair = "give the link a collision geometry with a volume"
        raise InputError(f"collision geometry of link {link!r}", error.got, error.expected, repair) from error


def _corners(shape: Any, name: str) -> Floats:
    """(N, 3) points whose convex hull contains a shape, in its own frame, metres."""
    if hasattr(shape, "points"):
        return np.asarray(shape.points(), np.float64)
    if hasattr(shape, "halfSide"):
        sides = ([-side, side] for side in np.asarray(shape.halfSide, np.float64))
        return np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 3)
    if hasattr(shape, "halfLength"):  # cylinder, capsule, cone
        beyond = shape.radius if type(shape).__name__ == "Capsule" else 0.0
        half_length = float(shape.halfLength) + beyond
        angles = np.arange(_AROUND) * 2 * np.pi / _AROUND
        ring = np.column_stack([np.cos(angles), np.sin(angles)]) * float(shape.radius) / np.cos(np.pi / _AROUND)
        return np.concatenate([np.column_stack([ring, np.full(_AROUND, z)]) for z in (-half_length, half_length)])
    if hasattr(shape, "radius"):
        radius = float(shape.radius)
        corners, reach = _unit_ball()
        return corners * (radius / reach)
    repair = "use a mesh, box, cylinder or sphere"
    raise InputError(f"collision geometry {name!r}", type(shape).__name__, "a geometry type of URDF", repair)


@cache
def _unit_ball() -> tuple[Floats, float]:
    points = spread_over_sphere(150)
    return points, float(Hull(points).planes[:, 3].min())


def read_surfaces(path: str | Path, per_link: int = 3000) -> dict[str, Floats]:
    """Read what a camera sees of each link whose <visual> is a mesh, in the link's frame, metres; `path` of a URDF.

    Returns:
        Name → (N, 6) points of its surface and unit normals, which may point to either side.
    """
    rng, (model, geometry) = np.random.default_rng(0), model_and_geometry_of(*read_urdf(path), kind="visual")
    found: dict[str, list[Floats]] = {}
    for part in (one for one in geometry.geometryObjects if hasattr(one.geometry, "num_tris")):
        mesh, link = part.geometry, model.frames[part.parentFrame]
        some = rng.permutation(mesh.num_tris)[:_MOST_TRIANGLES]
        faces = [[triangle[n] for n in range(3)] for triangle in map(mesh.tri_indices, some.tolist())]
        link_T_part = (link.placement.inverse() * part.placement).homogeneous
        corners = (np.asarray(mesh.vertices()) @ link_T_part[:3, :3].T + link_T_part[:3, 3])[faces]
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area = np.linalg.norm(across, axis=1)
        chosen, shares = rng.choice(len(area), per_link, p=area / area.sum()), rng.dirichlet(np.ones(3), per_link)
        points = np.einsum("nk,nkd->nd", shares, corners[chosen])
        found.setdefault(str(link.name), []).append(np.hstack([points, across[chosen] / area[chosen, None]]))
    return {name: np.concatenate(points) for name, points in found.items()}
