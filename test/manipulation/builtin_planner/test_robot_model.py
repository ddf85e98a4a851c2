# SPDX-License-Identifier: Apache-2.0
"""Hulls of any URDF: forms, their places in the link, meshes and where they are looked for, what is refused."""

from __future__ import annotations

import itertools
import struct
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from spatial_vlm_ros.errors import DependencyError, FileError, InputError
from spatial_vlm_ros.manipulation.builtin_planner.robot import HOME, description, description_file, link_hulls
from spatial_vlm_ros.manipulation.planning.hulls import Hull
from spatial_vlm_ros.manipulation.planning.robot_model import model_and_geometry, read_hulls, robot_of
from spatial_vlm_ros.parameters import DESCRIPTION_TOPIC, DepthConfig, StreamConfig

pytest.importorskip("pinocchio")

TETRAHEDRON = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.2, 0], [0, 0, 0.3]])
FACES = ((0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3))


def stl(path: Path, corners: npt.NDArray[np.float64] = TETRAHEDRON) -> None:
    """A tetrahedron as a binary STL file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    triangles = b"".join(struct.pack("<12fH", 0, 0, 0, *corners[list(face)].reshape(-1), 0) for face in FACES)
    path.write_bytes(bytes(80) + struct.pack("<I", len(FACES)) + triangles)


def collision(geometry: str, xyz: str = "0 0 0", rpy: str = "0 0 0") -> str:
    return f'<collision><origin xyz="{xyz}" rpy="{rpy}"/><geometry>{geometry}</geometry></collision>'


def urdf(path: Path, **links: str) -> Path:
    """A chain of links with these elements; the joint between two of them turns about z, half a metre further up."""
    names = list(links)
    text = "".join(f'<link name="{name}">{inner}</link>' for name, inner in links.items())
    for parent, child in itertools.pairwise(names):
        text += (
            f'<joint name="to_{child}" type="revolute"><parent link="{parent}"/><child link="{child}"/>'
            '<origin xyz="0 0 0.5" rpy="0.3 0 0"/><axis xyz="0 0 1"/>'
            '<limit lower="-3" upper="3" effort="1" velocity="1"/></joint>'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<?xml version="1.0"?><robot name="test">{text}</robot>')
    return path


def outside(hull: Hull, *points: tuple[float, float, float]) -> np.ndarray:
    return hull.outside_by(np.array(points, np.float64))


def test_boxes_cylinders_and_spheres_are_where_the_description_has_them(tmp_path: Path) -> None:
    hulls = read_hulls(
        urdf(
            tmp_path / "robot.urdf",
            base=collision('<box size="0.2 0.4 0.6"/>', "0.1 0 0"),
            shoulder=collision('<cylinder radius="0.05" length="0.3"/>', "0 0 0.2", f"{np.pi / 2} 0 0"),
            nothing="",
            ball=collision('<sphere radius="0.1"/>', "0 0.3 0"),
        )
    )
    assert list(hulls) == ["base", "shoulder", "ball"]
    assert outside(hulls["base"], (0.2, 0.2, 0.3), (0.0, -0.2, -0.3)) == pytest.approx([0, 0], abs=1e-9)
    assert outside(hulls["base"], (0.21, 0, 0), (-0.03, 0, 0)) == pytest.approx([0.01, 0.03])
    lying, angles = hulls["shoulder"], np.linspace(0, 2 * np.pi, 50)
    for end in (-0.15, 0.15):  # it lies along y
        rim = np.column_stack([0.05 * np.cos(angles), np.full(50, end), 0.2 + 0.05 * np.sin(angles)])
        assert lying.outside_by(rim).max() <= 1e-9
        assert lying.outside_by((rim - (0, end, 0.2)) * 1.02 + (0, end, 0.2)).min() > 0
    assert outside(lying, (0, 0.16, 0.2)) == pytest.approx([0.01])
    way = np.random.default_rng(0).normal(size=(500, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    assert hulls["ball"].outside_by(0.1 * way + (0, 0.3, 0)).max() <= 1e-9
    assert hulls["ball"].outside_by(0.104 * way + (0, 0.3, 0)).min() > 0
    two = collision('<box size="0.1 0.1 0.1"/>') + collision('<box size="0.1 0.1 0.1"/>', "0 0 1")
    (hull,) = read_hulls(urdf(tmp_path / "robot.urdf", base=two)).values()  # several forms of a link are one hull
    assert outside(hull, (0.05, 0, 0.5)) == pytest.approx([0], abs=1e-9)


@pytest.mark.parametrize("where", ["beside", "above", "ament", "ros", "scaled"])
def test_a_mesh_is_found_in_its_package(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    monkeypatch.delenv("ROS_PACKAGE_PATH", raising=False)
    name, path, scale = "package://arm_description/meshes/part.stl", tmp_path / "elsewhere" / "robot.urdf", ""
    folder = tmp_path / "arm_description"
    if where == "beside":
        folder, name, path = tmp_path, f"file://{tmp_path}/meshes/part.stl", tmp_path / "robot.urdf"
    elif where in ("above", "scaled"):
        path = folder / "urdf" / "robot.urdf"
        scale = ' scale="0.001 0.001 0.002"' if where == "scaled" else ""
    elif where == "ament":
        folder = tmp_path / "install" / "share" / "arm_description"
        monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path}/install")
    else:
        folder = tmp_path / "src" / "arm_description"
        monkeypatch.setenv("ROS_PACKAGE_PATH", f"{tmp_path}/src")
    stl(folder / "meshes" / "part.stl")
    (hull,) = read_hulls(urdf(path, base=collision(f'<mesh filename="{name}"{scale}/>'))).values()
    corners = TETRAHEDRON * ((0.001, 0.001, 0.002) if scale else 1)
    assert hull.outside_by(corners) == pytest.approx(np.zeros(4), abs=1e-6)
    assert hull.outside_by(corners * 1.1)[1:].min() > 0
    assert hull.outside_by(-corners[1:] * 0.1).min() > 0


def test_a_mesh_that_is_not_convex_is_met_wherever_its_hull_is() -> None:
    import coal

    hulls = read_hulls(description_file())
    own = {link.name: link.hull for link in link_hulls(HOME)}
    assert set(hulls) == set(own)
    assert all(np.array_equal(hull.planes, own[name].planes) for name, hull in hulls.items()), "as the planner's"
    folder = description().parent / "ur_description"
    _, geometry = model_and_geometry(folder / "urdf" / "ur5_robot.urdf")
    ball, meshes = coal.Sphere(0.001), 0
    for part in geometry.geometryObjects:
        if not hasattr(part.geometry, "points"):
            continue
        whole = Hull(part.geometry.points())
        meshes += 1
        for corner in whole.vertices:
            out = corner + 0.05 * (corner - whole.centre) / np.linalg.norm(corner - whole.centre)
            near, far = (coal.Transform3s(np.eye(3), place) for place in (corner, out))
            for place, wanted in ((near, True), (far, whole.outside_by(out[None])[0] <= 0.001)):
                request, result = coal.CollisionRequest(), coal.CollisionResult()
                met = coal.collide(part.geometry, coal.Transform3s(), ball, place, request, result) > 0
                assert met == wanted, (part.name, corner)
        file = next((folder / "meshes" / "ur5" / "collision").glob(Path(part.meshPath).name))
        assert whole.outside_by(coal.MeshLoader().load(str(file)).vertices()).max() < 1e-6
    assert meshes == 7


def test_what_cannot_be_read_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = urdf(tmp_path / "good.urdf", base=collision('<box size="1 1 1"/>'))
    text, xacro = tmp_path / "text.urdf", tmp_path / "robot.urdf.xacro"
    text.write_text("no robot")
    xacro.write_text('<robot xmlns:xacro="http://www.ros.org/wiki/xacro"><xacro:include filename="a"/></robot>')
    mesh = urdf(tmp_path / "mesh.urdf", base=collision('<mesh filename="package://arm_description/meshes/part.stl"/>'))
    empty = urdf(tmp_path / "empty.urdf", base="")
    broken = urdf(tmp_path / "broken.urdf", base=collision('<box size="1 1 1"/>'))
    broken.write_text(broken.read_text().replace('name="base"', 'title="base"'))
    (tmp_path / "damaged.stl").write_bytes(b"solid")
    damaged = urdf(tmp_path / "damaged.urdf", base=collision(f'<mesh filename="file://{tmp_path}/damaged.stl"/>'))
    plates = []
    for name, height in (("flat", 0.0), ("plate", 1e-6)):
        stl(tmp_path / f"{name}.stl", np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, height]]))
        plates.append(urdf(tmp_path / f"{name}.urdf", base=collision(f'<mesh filename="{name}.stl"/>')))
    for path, error, words in (
        *((plate, InputError, r"geometry of link 'base'.*points in a plane.*a volume") for plate in plates),
        (tmp_path / "nowhere.urdf", FileError, "no such file.*robot_description"),
        (tmp_path, FileError, "a folder"),
        (text, FileError, "not XML.*xacro FILE"),
        (xacro, FileError, "it is not a URDF.*xacro FILE"),
        (mesh, FileError, r"link 'base'.*part.stl' was not found.*ROS_PACKAGE_PATH"),
        (empty, InputError, "no link with collision geometry.*<collision>"),
        (broken, FileError, "Pinocchio cannot read it"),
        (damaged, FileError, "Pinocchio cannot read it"),
    ):
        with pytest.raises(error, match=words):
            read_hulls(path)
    monkeypatch.setitem(sys.modules, "pinocchio", None)
    with pytest.raises(DependencyError, match=r"pip install pin coal"):
        read_hulls(good)


def test_the_parameters_name_the_robot(tmp_path: Path) -> None:
    path = urdf(tmp_path / "robot.urdf", base=collision('<box size="1 1 1"/>'))
    assert robot_of(StreamConfig(), DepthConfig()) is None
    robot = robot_of(StreamConfig(robot_description=str(path), robot_padding=0.05), DepthConfig())
    assert robot is not None
    assert (robot.links, robot.padding) == (("base",), 0.05)
    with pytest.raises(InputError, match=r"the text of a URDF.*the path of its file"):
        robot_of(StreamConfig(robot_description=path.read_text()), DepthConfig())
    topic = StreamConfig(robot_description=DESCRIPTION_TOPIC)
    heard = robot_of(topic, DepthConfig(), path.read_text)
    assert heard is not None
    assert heard.links == robot.links
    with pytest.raises(InputError, match=r"robot_description: 'topic'.*Pass the path"):
        robot_of(topic, DepthConfig())
    with pytest.raises(InputError, match="topic robot_description: no link with collision geometry"):
        robot_of(topic, DepthConfig(), lambda: "<robot name='a'><link name='b'/></robot>")
    with pytest.raises(InputError, match=r"robot_description.*base_frame"):
        StreamConfig(robot_description=str(path), base_frame="")
