# SPDX-License-Identifier: Apache-2.0
"""The files for Gazebo, which is not run here: world, meshes, bridge and launch file fit each other and the nodes."""

import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation

from scripts.gazebo_world import CAMERA_TOPIC, colliding
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.geometry.rotation import matrix_from_quaternion_xyzw
from spatial_vlm_ros.launcher import gazebo, plan, wiring
from spatial_vlm_ros.nodes import messages
from spatial_vlm_ros.sim.meshes import Mesh
from spatial_vlm_ros.sim.settled import demo_camera, story
from spatial_vlm_ros.sim.tabletop import VGA

ROOT = Path(__file__).resolve().parents[2]
WORLD = ROOT / "worlds" / "chicks.sdf"
TREE = ElementTree.parse(WORLD).getroot()  # noqa: S314
OBJECTS = {obj.id: obj for obj in story()[0]}
# ros_gz_bridge/README.md: ROS type of each type of Gazebo that is bridged here
BRIDGED = {"gz.msgs.Clock": "rosgraph_msgs/msg/Clock", "gz.msgs.Image": "sensor_msgs/msg/Image",
           "gz.msgs.CameraInfo": "sensor_msgs/msg/CameraInfo"}  # fmt: skip


def models() -> dict[str, ElementTree.Element]:
    return {str(model.get("name")): model for model in TREE.iterfind("world/model")}


def numbers(element: ElementTree.Element, path: str) -> list[float]:
    return [float(word) for word in (element.findtext(path) or "").split()]


def test_the_world_has_the_table_the_cup_and_both_chicks_where_the_demo_has_them() -> None:
    assert set(models()) == {"table", "floor", "camera", *OBJECTS}
    for id_, obj in OBJECTS.items():
        x, y, z, roll, pitch, yaw = numbers(models()[id_], "pose")
        assert (x, y, z, yaw) == pytest.approx((*obj.position, obj.yaw), abs=1e-5)
        assert (roll, pitch) == (0, 0)
    top = next(box for box in models()["table"].iterfind("link/collision") if box.get("name") == "top")
    height = numbers(top, "pose")[2] + numbers(top, "geometry/box/size")[2] / 2
    assert all(0 < obj.position[2] - height < 0.01 for obj in OBJECTS.values())


def test_every_mesh_is_there_and_is_the_painted_surface_of_its_object() -> None:
    for id_, obj in OBJECTS.items():
        visuals = models()[id_].findall("link/visual")
        assert len(visuals) == len(obj.model.parts)
        for visual, part in zip(visuals, obj.model.parts, strict=True):
            mesh = read(WORLD.parent / str(visual.findtext("geometry/mesh/uri")))
            assert mesh.vertices == pytest.approx(part.mesh.vertices, abs=6e-6)
            assert (mesh.faces == part.mesh.faces).all()
            assert numbers(visual, "material/diffuse") == pytest.approx([*(c / 255 for c in part.colour), 1], abs=1e-3)


def read(path: Path) -> Mesh:
    rows = [line.split() for line in path.read_text().splitlines()]
    vertices = np.array([[float(v) for v in row[1:]] for row in rows if row[0] == "v"])
    normals = np.array([[float(v) for v in row[1:]] for row in rows if row[0] == "vn"])
    faces = np.array([[int(corner.split("//")[0]) - 1 for corner in row[1:]] for row in rows if row[0] == "f"])
    assert len(normals) == len(vertices)
    assert np.linalg.norm(normals, axis=1) == pytest.approx(1, abs=0.02)
    return Mesh(vertices, faces)


@pytest.mark.parametrize("id_", OBJECTS)
def test_masses_and_inertias_are_those_of_bodies(id_: str) -> None:
    inertial = models()[id_].find("link/inertial")
    assert 0.02 < numbers(inertial, "mass")[0] < 0.5
    xx, xy, xz, yy, yz, zz = (numbers(inertial, f"inertia/{n}")[0] for n in ("ixx", "ixy", "ixz", "iyy", "iyz", "izz"))
    written = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    # Second moments of the tetrahedra between the origin and each face: V/20 (aaᵀ + bbᵀ + ccᵀ + ssᵀ), s = a + b + c.
    corners = np.concatenate([part.mesh.vertices[part.mesh.faces] for part in OBJECTS[id_].model.parts])
    volumes, sums = np.linalg.det(corners) / 6, corners.sum(axis=1)
    squares = np.einsum("f,fij,fik->jk", volumes, corners, corners) + np.einsum("f,fj,fk->jk", volumes, sums, sums)
    centre = volumes @ sums / 4 / volumes.sum()
    second = squares / 20 / volumes.sum() - np.outer(centre, centre)
    known = numbers(inertial, "mass")[0] * (np.trace(second) * np.eye(3) - second)
    assert written == pytest.approx(known, rel=1e-4, abs=1e-8)
    moments = np.linalg.eigvalsh(written)
    assert (moments > 0).all()
    assert moments[2] < moments[0] + moments[1]
    mass, size = numbers(inertial, "mass")[0], np.array(OBJECTS[id_].model.size)
    assert moments[2] < mass * (size @ size) / 4  # all of it at the corners would have no more
    assert (np.abs(numbers(inertial, "pose")[:3]) < size).all()


@pytest.mark.parametrize("id_", OBJECTS)
def test_what_collides_encloses_the_body_that_stands_and_stays_near_what_is_seen(id_: str) -> None:
    solids = list(colliding(OBJECTS[id_].model))
    foot = min(solid.position[2] - solid.size[1] for solid in solids if solid.kind == "cylinder")
    assert foot == pytest.approx(0, abs=1e-6)
    reach = OBJECTS[id_].model.reach
    for solid in solids:
        assert np.linalg.norm(solid.position[:2]) + solid.size[0] < reach + 0.012
    written = models()[id_].findall("link/collision")
    assert len(written) == len(solids)


def test_the_camera_is_the_optical_frame_and_sees_the_cup_in_the_middle_by_its_lens() -> None:
    mount, expected = gazebo.camera_mount(WORLD), demo_camera()
    assert mount.child == expected.child
    assert mount.position == pytest.approx(expected.translation, abs=1e-5)
    rotation = matrix_from_quaternion_xyzw(mount.orientation)
    assert rotation == pytest.approx(expected.rotation, abs=1e-4)
    sensor = TREE.find(".//sensor[@type='rgbd_camera']")
    width, height = numbers(sensor, "camera/image/width")[0], numbers(sensor, "camera/image/height")[0]
    assert (width, height) == (VGA.width, VGA.height)
    focal = width / 2 / math.tan(numbers(sensor, "camera/horizontal_fov")[0] / 2)
    assert focal == pytest.approx(VGA.K[0, 0], abs=0.01)
    x, y, z = rotation.T @ (np.array(OBJECTS["cup"].position) - mount.position)
    near, far = numbers(sensor, "camera/clip/near")[0], numbers(sensor, "camera/clip/far")[0]
    assert near < z < far
    assert (np.abs((focal * x / z, focal * y / z)) < (20, 40)).all()
    chick = rotation.T @ (np.array(OBJECTS["bonnet"].position) - mount.position)
    assert chick[0] < 0  # y of the base is to the left, x of the image to the right
    assert chick[2] > z


def test_any_pose_along_model_link_and_sensor_is_chained(tmp_path: Path) -> None:
    poses = ((1.0, 2.0, 3.0, 0.1, -0.4, 2.0), (0.1, 0.0, 0.2, 0.0, 0.5, 0.0), (0.0, 0.3, 0.0, -1.0, 0.0, 0.2))
    model, link, sensor = (f"<pose>{' '.join(map(str, pose))}</pose>" for pose in poses)
    named = "<gz_frame_id>eye</gz_frame_id>"
    camera = f"<sensor name='s' type='rgbd_camera'>{sensor}{named}</sensor>"
    whole = f"<world name='w'><model name='m'>{model}<link name='l'>{link}{camera}</link></model></world>"
    path = tmp_path / "w.sdf"
    path.write_text(f"<sdf version='1.9'>{whole}</sdf>")
    matrix = np.eye(4)
    for pose in poses:
        step = np.eye(4)
        step[:3, :3], step[:3, 3] = Rotation.from_euler("xyz", pose[3:]).as_matrix(), pose[:3]
        matrix = matrix @ step
    mount = gazebo.camera_mount(path)
    assert mount.position == pytest.approx(matrix[:3, 3])
    axes = matrix_from_quaternion_xyzw(mount.orientation)
    assert axes[:, 2] == pytest.approx(matrix[:3, 0])  # it looks along the body's x
    assert axes[:, 0] == pytest.approx(-matrix[:3, 1])
    assert axes[:, 1] == pytest.approx(-matrix[:3, 2])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("rgbd_camera", "camera"), "0 sensors"),
        (("<gz_frame_id>camera_color_optical_frame</gz_frame_id>", ""), "the images have no frame"),
        (("<sdf version", "<sdf <"), "invalid token|not well-formed"),
        (("0.55165 0</pose>", "0.55165</pose>"), "roll pitch yaw"),
        (("<pose>-0.02 0 0.6", '<pose relative_to="table">-0.02 0 0.6'), "relative_to"),
    ],
)
def test_a_world_without_a_usable_camera_is_refused(tmp_path: Path, change: tuple[str, str], reason: str) -> None:
    text = WORLD.read_text()
    assert change[0] in text
    path = tmp_path / "w.sdf"
    path.write_text(text.replace(*change))
    with pytest.raises(FileError, match=reason):
        gazebo.camera_mount(path)
    with pytest.raises(FileError, match="No such file"):
        gazebo.camera_mount(tmp_path / "nowhere.sdf")


def test_the_bridge_speaks_under_the_names_of_the_preset_with_types_that_exist() -> None:
    bridges = yaml.safe_load((ROOT / "config" / "gazebo_bridge.yaml").read_text())
    for bridge in bridges:
        assert bridge["direction"] == "GZ_TO_ROS"
        assert BRIDGED[bridge["gz_type_name"]] == bridge["ros_type_name"]
        assert messages.message_class(bridge["ros_type_name"]).__name__ == bridge["ros_type_name"].rpartition("/")[2]
    of = {bridge["ros_topic_name"]: bridge["ros_type_name"] for bridge in bridges}
    said = {"camera": "gazebo", "camera_file": "", "camera_namespace": "", "camera_name": ""}
    for ours, theirs in wiring.camera(ROOT, said).topics.items():
        assert of[theirs].endswith("CameraInfo" if ours.endswith("camera_info") else "Image")
    assert of["/clock"] == "rosgraph_msgs/msg/Clock"
    # what gz-sensors' RgbdCameraSensor publishes below the sensor's topic
    made = {"/clock", *(f"/{CAMERA_TOPIC}/{name}" for name in ("image", "depth_image", "camera_info"))}
    assert {bridge["gz_topic_name"] for bridge in bridges} == made
    assert TREE.findtext(".//sensor[@type='rgbd_camera']/topic") == CAMERA_TOPIC


def test_the_launch_file_starts_gazebo_its_bridge_and_the_camera_s_transform_beside_the_resolver() -> None:
    processes = {p.executable: p for p in plan.plan(ROOT / "launch" / "gazebo.launch.py", {"grounder": "compact"})}
    assert processes["resolver"].parameters["use_sim_time"] is True
    assert processes["resolver"].parameters["grounder"] == "compact"
    assert dict(processes["resolver"].remappings)["depth/image"] == "/camera/depth_image"
    assert processes["gzserver"].parameters == {"world_sdf_file": str(WORLD)}
    assert processes["parameter_bridge"].parameters == {"config_file": str(ROOT / "config" / "gazebo_bridge.yaml")}
    words = processes["static_transform_publisher"].arguments
    assert words[-4:] == ("--frame-id", "base_link", "--child-frame-id", "camera_color_optical_frame")
    assert float(words[words.index("--z") + 1]) == pytest.approx(0.6)
    turn = [float(words[words.index(name) + 1]) for name in ("--qx", "--qy", "--qz", "--qw")]
    assert matrix_from_quaternion_xyzw(tuple(turn)) == pytest.approx(demo_camera().rotation, abs=1e-4)
    given = {"server": "false", "base_frame": "world"}  # a server runs already
    processes = plan.plan(ROOT / "launch" / "gazebo.launch.py", given)
    assert [p.executable for p in processes] == ["resolver", "parameter_bridge", "static_transform_publisher"]
    words = processes[-1].arguments
    assert words[words.index("--frame-id") + 1] == "world"
