# SPDX-License-Identifier: Apache-2.0
"""Arms and hulls from URDF and SRDF: what is read of them, where meshes are looked for, and what is refused."""

import itertools
import math
import re
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tables import tables

from benchmarks.arm_reach import TABLES as REACHES
from benchmarks.arm_reach import UR5E, reaches, tip_of, within_reach
from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import DependencyError, InputError, JointLimitError, RobotDescriptionError, UnknownNameError
from spatial_vlm_ros.manipulation.builtin_planner.arm_model import FROM_LIMITS, ArmModel, arm_model
from spatial_vlm_ros.manipulation.builtin_planner.configurations import Checker, Inverse
from spatial_vlm_ros.manipulation.builtin_planner.description import JointLimit, read_joint_limits
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import (
    ARMS,
    HOME,
    description,
    description_file,
    known_arm,
    panda,
    ur5e,
)
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.request import MotionRequest, Segment
from spatial_vlm_ros.manipulation.planning.hulls import Hull
from spatial_vlm_ros.manipulation.planning.moveit import meaning_of, number_of_error
from spatial_vlm_ros.manipulation.planning.robot_model import model_and_geometry, read_hulls, robot_of
from spatial_vlm_ros.parameters import DESCRIPTION_TOPIC, DepthConfig, StreamConfig

for package in ("pinocchio", "coal", "ompl", "daqp"):
    pytest.importorskip(package)

TABLES = tables(__file__)
URDF, SRDF = ARMS["ur5e"].urdf(), ARMS["ur5e"].srdf()
LIMITS = URDF.with_suffix(".yaml")


def ur(urdf: str | Path = URDF, srdf: str | Path = SRDF, group: str = "ur_manipulator", hand: str = "gripper",
       **how: Any) -> ArmModel:  # fmt: skip
    return arm_model(urdf, srdf, group, hand, **{"joint_limits": LIMITS, **how})


def test_the_panda_is_read_from_its_urdf_and_srdf() -> None:
    arm = panda()
    assert arm.joints == tuple(f"panda_joint{k}" for k in range(1, 8))
    assert set(arm.hand_links) == {"panda_hand", "panda_hand_tcp", "panda_leftfinger", "panda_rightfinger"}
    assert set(arm.wrist_links) - set(arm.hand_links) == {"panda_link6", "panda_link7", "panda_link8"}
    assert (arm.fixed, arm.base_link, arm.widest) == ({"panda_link0"}, "panda_link0", 0.08)
    assert [finger.at(0.05) for finger in arm.fingers] == [0.025, 0.025]
    assert arm.opening_of({"panda_finger_joint1": 0.01, "panda_finger_joint2": 0.02}) == pytest.approx(0.03)
    assert arm.opening_of({"panda_joint1": 0.3}) is None


def test_the_ur5e_has_the_limits_and_links_of_its_maker() -> None:
    arm = ur5e()
    assert arm.home == pytest.approx([0, -math.pi / 2, math.pi / 2, -math.pi / 2, -math.pi / 2, 0], abs=1e-6)
    assert (arm.velocity, arm.acceleration) == (pytest.approx(np.full(6, math.pi)), pytest.approx(np.full(6, math.pi)))
    assert arm.upper[2] == pytest.approx(math.pi - FROM_LIMITS)
    assert arm.widest == 0.085
    assert {link.name for link in arm.link_hulls(arm.home)} == {
        "base_link", "shoulder_link", "upper_arm_link", "forearm_link", "wrist_1_link", "wrist_2_link", "wrist_3_link",
        "gripper_base", "gripper_left_finger", "gripper_right_finger",
    }  # fmt: skip
    apart = {link.name: link.base_T_link.translation for link in arm.link_hulls(arm.home, 0.06)}
    assert np.linalg.norm(apart["gripper_left_finger"] - apart["gripper_right_finger"]) == pytest.approx(0.06)


def test_a_pair_of_links_that_the_srdf_leaves_out_is_not_looked_at() -> None:
    folded = np.array([0.0, -1.0, 3.0, 0.0, 0.0, 0.0])
    assert "the arm itself" in Checker(ur5e(), [], Segment(np.eye(4))).touched(folded)
    text = SRDF.read_text()
    links = ("base_link", "shoulder_link", "upper_arm_link", "forearm_link")
    every = "".join(f'<disable_default_collisions link="{link}"/>' for link in links)
    assert Checker(ur(srdf=text.replace("</robot>", every + "</robot>")), [], Segment(np.eye(4))).free(folded)
    again = every + "".join(
        f'<enable_collisions link1="{one}" link2="{two}"/>'
        for one in links for two in ("wrist_1_link", "wrist_2_link", "wrist_3_link", "gripper_base")
    )  # fmt: skip
    checker = Checker(ur(srdf=text.replace("</robot>", again + "</robot>")), [], Segment(np.eye(4)))
    assert not checker.free(folded)


def test_the_arm_of_a_robot_with_other_joints_is_planned_in_the_frame_of_its_base() -> None:
    """The arm hangs on a turning torso, one metre up; the torso stands still, and a joint has no limits."""
    torso = """
      <link name="floor"><collision><geometry><box size="0.4 0.4 0.1"/></geometry></collision></link>
      <joint name="torso_joint" type="revolute"><parent link="floor"/><child link="torso"/><origin xyz="0 0 1"/>
        <axis xyz="0 0 1"/><limit lower="-1" upper="1" effort="1" velocity="1"/></joint>
      <link name="torso"/>
      <joint name="mount" type="fixed"><parent link="torso"/><child link="base_link"/>
        <origin xyz="0.1 0 0" rpy="0 1.5707963 0"/></joint>
      </robot>"""
    text = URDF.read_text().replace("</robot>", torso)
    text = text.replace('name="wrist_3_joint" type="revolute"', 'name="wrist_3_joint" type="continuous"')
    arm = ur(text)
    assert arm.joints == ur5e().joints
    assert arm.model.nq == 8
    assert (arm.lower[5], arm.upper[5]) == pytest.approx((FROM_LIMITS - 2 * math.pi, 2 * math.pi - FROM_LIMITS))
    joints = np.array([0.3, -1.2, 1.1, -1.0, -1.5, 0.4])
    assert BuiltinPlanner(arm).tip(joints) == pytest.approx(BuiltinPlanner(ur5e()).tip(joints), abs=1e-9)
    own = {link.name: link.base_T_link.matrix for link in ur5e().link_hulls(joints)}
    for link in arm.link_hulls(joints):
        if link.name == "floor":
            assert link.base_T_link.translation == pytest.approx([1.0, 0.0, -0.1], abs=1e-6)
        else:
            assert link.base_T_link.matrix == pytest.approx(own[link.name], abs=1e-9)


def test_fingers_that_turn_need_a_table_and_follow_it() -> None:
    text = URDF.read_text()
    turning = text.replace('gripper_left_finger_joint" type="prismatic"', 'gripper_left_finger_joint" type="revolute"')
    turning = turning.replace('upper="0.0425"', 'upper="1.0"')
    with pytest.raises(RobotDescriptionError, match=r"gripper_left_finger_joint turns\. .*Pass openings"):
        ur(turning)
    table = [(0.0, 0.79), (0.04, 0.45), (0.085, 0.0)]
    arm = ur(turning, openings=table)
    left = arm.fingers[0]
    assert (left.at(0.0), left.at(0.04), left.at(0.085)) == (0.79, 0.45, 0.0)
    assert left.opening(left.at(0.06)) == pytest.approx(0.06)  # closed is the greater position: the sign is kept
    scaled = turning.replace('mimic joint="gripper_left_finger_joint"',
                             'mimic joint="gripper_left_finger_joint" multiplier="-1" offset="0.1"')  # fmt: skip
    assert ur(scaled, openings=table).fingers[1].at(0.0) == pytest.approx(-0.69)
    for wrong in ([(0.0, 1.0)], [(0.05, 0.0), (0.0, 1.0)], [(0.0, math.nan), (0.1, 0.0)]):
        with pytest.raises(InputError, match="openings"):
            ur(turning, openings=wrong)


@pytest.mark.parametrize(("group", "hand", "srdf", "words"), TABLES["groups"])
def test_groups_that_are_no_chain_or_no_hand_are_refused(group: str, hand: str, srdf: str | None, words: str) -> None:
    text = SRDF.read_text().replace("</robot>", (srdf or "") + "</robot>")
    with pytest.raises(RobotDescriptionError, match=words):
        ur(srdf=text, group=group, hand=hand)


def test_descriptions_of_another_robot_or_without_geometry_or_meshes_are_refused(tmp_path: Path) -> None:
    text, panda_srdf = URDF.read_text(), (description() / "srdf" / "panda.srdf").read_text()
    texts: dict[str, Any] = {
        "of the panda": panda_srdf,
        "of a panda of that name": panda_srdf.replace('robot name="panda"', 'robot name="ur5e_2f85"'),
        "without geometry": re.sub(r"<collision>.*?</collision>", "", text, flags=re.S),
        "of meshes": re.sub(r"<box size=[^>]*/>", '<mesh filename="package://nowhere/hand.stl"/>', text),
        "nowhere": tmp_path / "robot.urdf",
        "a URDF": URDF,
    }
    for changed, error, words in TABLES["other robots"]:
        with pytest.raises(getattr(errors, error), match=words):
            ur(**{name: texts.get(value, value) for name, value in changed.items()})


def test_limits_come_from_the_urdf_and_from_a_file_as_moveits(tmp_path: Path) -> None:
    said = {name: JointLimit(max_acceleration=2.0) for name in ur5e().joints}
    said["elbow_joint"] = JointLimit(-1.0, 9.0, 0.5, 4.0)
    arm = ur(joint_limits=said)
    assert (arm.lower[2], arm.upper[2]) == pytest.approx((FROM_LIMITS - 1.0, math.pi - FROM_LIMITS))  # never wider
    assert (arm.velocity[2], arm.acceleration[2], arm.acceleration[0]) == (0.5, 4.0, 2.0)
    path = tmp_path / "joint_limits.yaml"
    path.write_text(
        "joint_limits:\n  a: {has_velocity_limits: false, max_velocity: 3, max_acceleration: 4}\n"
        "  b: {has_velocity_limits: true, max_velocity: 3,"
        " has_acceleration_limits: true, max_acceleration: 4}"
    )
    assert read_joint_limits(path) == {"a": JointLimit(), "b": JointLimit(max_velocity=3.0, max_acceleration=4.0)}
    for wrong, words in (("a: 1", "no table joint_limits"), ("joint_limits: {a: {max_position: x}}", "a number")):
        path.write_text(wrong)
        with pytest.raises(RobotDescriptionError, match=words):
            read_joint_limits(path)
    with pytest.raises(RobotDescriptionError, match=r"max_acceleration of joint 'shoulder_pan_joint': none.*y"):
        ur(joint_limits="")
    for values in ((None, None, None, 0.0), (7.0, None, None, 1.0), (None, None, -1.0, 1.0)):
        with pytest.raises(RobotDescriptionError, match="shoulder_pan_joint"):
            ur(joint_limits={**said, "shoulder_pan_joint": JointLimit(*values)})
    limit = 'velocity="3.141592654" lower="-3.141592654" upper="3.141592654"/>'
    with pytest.raises(RobotDescriptionError, match=r"min_position of joint 'elbow_joint': none. Expected a limit"):
        ur(URDF.read_text().replace(f'<limit effort="150" {limit}', ""))


def test_an_arm_outside_its_limits_is_told_which_joint_and_does_not_move() -> None:
    start = ur5e().home.copy()
    start[2] = 3.3
    words = r"elbow_joint is at 3\.300, 0\.158 beyond .*-3\.142 to 3\.142 \(radians.*hand"
    with pytest.raises(JointLimitError, match=words) as refused:
        BuiltinPlanner(ur5e()).plan(MotionRequest(start, [Segment(np.eye(4))]))
    assert (refused.value.joint, refused.value.position) == ("elbow_joint", 3.3)
    assert meaning_of(number_of_error(refused.value)).name == "START_STATE_INVALID"


def test_a_posture_is_taken_in_the_turn_nearest_to_the_start() -> None:
    arm, turn = ur5e(), 2 * math.pi
    start = np.array([-3.0, -1.5, 1.5, 3.0, 6.0, 0.0])
    found = arm.nearest_turns(np.array([3.0, 4.7, -3.0, -3.0, 0.5, -6.0]), start)
    assert found == pytest.approx([3.0 - turn, 4.7 - turn, -3.0, turn - 3.0, 0.5, turn - 6.0])
    assert panda().nearest_turns(panda().lower, panda().upper) is panda().lower  # less than a turn each


def test_arms_joints_fingers_and_tips_that_cannot_be_planned_for_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="panda, ur5e"):
        known_arm("ur10")
    text = URDF.read_text()
    for old, new, words in TABLES["joints that are not planned for"]:
        with pytest.raises(RobotDescriptionError, match=words):
            ur(text.replace(old, new))
    for tip in ("nowhere", "forearm_link", "gripper_left_finger"):
        with pytest.raises(RobotDescriptionError, match="a link that moves with wrist_3_joint and not with a finger"):
            ur(tip_link=tip)
    assert ur(tip_link="tool0").tip_link == "tool0"
    with pytest.raises(InputError, match=r"openings: 85 between the fingers.*not millimetres"):
        ur(openings=[(0.0, 0.0), (85.0, 0.0425)])
    with pytest.raises(InputError, match=r"positions of gripper_left_finger_joint: 0 to 0\.79. Expected 0 to 0\.0425"):
        ur(openings=[(0.0, 0.79), (0.085, 0.0)])
    assert ur(openings=[(0.0, 0.0), (0.085, 0.043)]).widest == 0.085  # drivers go a little beyond


def test_the_gripper_of_the_ur5e_can_be_mounted_turned() -> None:
    straight, turned = ur5e(), ur5e(90.0)
    pin = pytest.importorskip("pinocchio")
    fingers = []
    for arm in (straight, turned):
        data = arm.model.createData()
        pin.framesForwardKinematics(arm.model, data, arm.configuration(0.085))
        tool, finger = (arm.model.getFrameId(name) for name in ("tool0", "gripper_left_finger"))
        fingers.append(np.array((data.oMf[tool].inverse() * data.oMf[finger]).translation))
    assert fingers[0] == pytest.approx([0.0, 0.0425, 0.0], abs=1e-9)
    assert fingers[1] == pytest.approx([-0.0425, 0.0, 0.0], abs=1e-9)


TETRAHEDRON = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.2, 0], [0, 0, 0.3]])
FACES = ((0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3))


def stl(path: Path, corners: npt.NDArray[np.float64] = TETRAHEDRON) -> None:
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
    links = {
        "base": collision('<box size="0.2 0.4 0.6"/>', "0.1 0 0"),
        "shoulder": collision('<cylinder radius="0.05" length="0.3"/>', "0 0 0.2", f"{np.pi / 2} 0 0"),
        "nothing": "",
        "ball": collision('<sphere radius="0.1"/>', "0 0.3 0"),
    }
    hulls = read_hulls(urdf(tmp_path / "robot.urdf", **links))
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


@pytest.mark.parametrize("where", ["beside", "above", "ament", "ros", "its own", "scaled"])
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
        monkeypatch.setenv("ROS_PACKAGE_PATH", f"{tmp_path}/src")  # asked later
        stl(tmp_path / "src" / "arm_description" / "meshes" / "part.stl", 3 * TETRAHEDRON)
    else:
        folder = tmp_path / "src" / "arm_description"
        monkeypatch.setenv("ROS_PACKAGE_PATH", str(folder if where == "its own" else folder.parent))
    stl(folder / "meshes" / "part.stl")
    (hull,) = read_hulls(urdf(path, base=collision(f'<mesh filename="{name}"{scale}/>'))).values()
    corners = TETRAHEDRON * ((0.001, 0.001, 0.002) if scale else 1)
    assert hull.outside_by(corners) == pytest.approx(np.zeros(4), abs=1e-6)
    assert hull.outside_by(corners * 1.1)[1:].min() > 0
    assert hull.outside_by(-corners[1:] * 0.1).min() > 0


def test_a_mesh_that_is_not_convex_is_met_wherever_its_hull_is() -> None:
    import coal

    hulls = read_hulls(description_file())
    own = {link.name: link.hull for link in panda().link_hulls(HOME)}
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
    (tmp_path / "text.urdf").write_text("no robot")
    xacro = tmp_path / "robot.urdf.xacro"
    xacro.write_text('<robot xmlns:xacro="http://www.ros.org/wiki/xacro"><xacro:include filename="a"/></robot>')
    urdf(tmp_path / "mesh.urdf", base=collision('<mesh filename="package://arm_description/meshes/part.stl"/>'))
    urdf(tmp_path / "empty.urdf", base="")
    broken = urdf(tmp_path / "broken.urdf", base=collision('<box size="1 1 1"/>'))
    broken.write_text(broken.read_text().replace('name="base"', 'title="base"'))
    (tmp_path / "damaged.stl").write_bytes(b"solid")
    urdf(tmp_path / "damaged.urdf", base=collision(f'<mesh filename="file://{tmp_path}/damaged.stl"/>'))
    for name, height in (("flat", 0.0), ("plate", 1e-6)):
        stl(tmp_path / f"{name}.stl", np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, height]]))
        urdf(tmp_path / f"{name}.urdf", base=collision(f'<mesh filename="{name}.stl"/>'))
    for name, error, words in TABLES["not read"]:
        with pytest.raises(getattr(errors, error), match=words):
            read_hulls(tmp_path / name)
    monkeypatch.setitem(sys.modules, "pinocchio", None)
    with pytest.raises(DependencyError, match=r"pip install pin coal"):
        read_hulls(good)


def test_the_parameters_name_the_robot(tmp_path: Path) -> None:
    path = urdf(tmp_path / "robot.urdf", base=collision('<box size="1 1 1"/>'))
    assert robot_of(StreamConfig(), DepthConfig()) is None
    robot = robot_of(StreamConfig(robot_description=str(path), robot_padding=0.05), DepthConfig())
    assert (robot.links, robot.padding) == (("base",), 0.05)
    with pytest.raises(InputError, match=r"the text of a URDF.*the path of its file"):
        robot_of(StreamConfig(robot_description=path.read_text()), DepthConfig())
    topic = StreamConfig(robot_description=DESCRIPTION_TOPIC)
    heard = robot_of(topic, DepthConfig(), path.read_text)
    assert heard.links == robot.links
    with pytest.raises(InputError, match=r"robot_description: 'topic'.*Pass the path"):
        robot_of(topic, DepthConfig())
    with pytest.raises(InputError, match="topic robot_description: no link with collision geometry"):
        robot_of(topic, DepthConfig(), lambda: "<robot name='a'><link name='b'/></robot>")
    with pytest.raises(InputError, match=r"robot_description.*base_frame"):
        StreamConfig(robot_description=str(path), base_frame="")


@pytest.mark.parametrize("name", REACHES)
def test_the_makers_table_and_the_description_are_one_arm(name: str) -> None:
    table, robot = REACHES[name], known_arm(name).model()
    inverse, rng = Inverse(robot), np.random.default_rng(3)
    for joints in rng.uniform(robot.lower, robot.upper, (20, len(robot.joints))):
        tip, fingers, _, _ = tip_of(joints, table)
        described = inverse.tip(joints)
        assert tip == pytest.approx(described[:3, 3], abs=1e-8)
        assert fingers == pytest.approx(described[:3, 2], abs=1e-8)
    assert robot.lower - FROM_LIMITS == pytest.approx(table.lower, abs=2e-3)
    assert robot.upper + FROM_LIMITS == pytest.approx(table.upper, abs=2e-3)


@pytest.mark.parametrize(
    ("place", "down", "anywhere"),
    [((0.5, 0.1, 0.03), True, True), ((0.84, 0.0, 0.03), False, True), ((0.95, 0.0, 0.03), False, False)],
    ids=["before it", "with the hand stretched out", "too far"],
)
def test_what_it_reaches(place: tuple[float, float, float], down: bool, anywhere: bool) -> None:
    assert reaches(np.array(place), starts=8) == down
    assert reaches(np.array(place), down=False, starts=8) == anywhere


def test_the_ur5e_reaches_as_far_as_it_is_long_and_a_task_needs_all_its_places() -> None:
    # Fingers down at 0.03 m: the wrist is 0.117 m above the shoulder, 0.0997 m before its axis, 0.1333 m beside it.
    farthest = np.hypot(np.sqrt((0.425 + 0.3922) ** 2 - 0.117**2) + 0.0997, 0.1333)
    assert reaches(np.array([farthest - 0.005, 0.0, 0.03]), arm=UR5E)
    assert not reaches(np.array([farthest + 0.005, 0.0, 0.03]), arm=UR5E)
    assert not reaches(np.array([1.2, 0.0, 0.2]), down=False, starts=8, arm=UR5E)
    assert within_reach(np.array([0.45, 0.0, 0.03]), np.array([0.7, 0.7, 0.04])) == {
        "target": True, "above the target": True, "tray": False, "above the tray": False, "target, any direction": True
    }  # fmt: skip
