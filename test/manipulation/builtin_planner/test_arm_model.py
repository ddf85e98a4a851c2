# SPDX-License-Identifier: Apache-2.0
"""Arms from URDF and SRDF: what is read of them, and what is refused, with what to do."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.errors import FileError, InputError, JointLimitError, RobotDescriptionError, UnknownNameError
from spatial_vlm_ros.manipulation.builtin_planner.arm_model import FROM_LIMITS, ArmModel, arm_model
from spatial_vlm_ros.manipulation.builtin_planner.collision import Checker
from spatial_vlm_ros.manipulation.builtin_planner.joint_limits import JointLimit, read_joint_limits
from spatial_vlm_ros.manipulation.builtin_planner.known_arms import ARMS, known_arm, ur5e
from spatial_vlm_ros.manipulation.builtin_planner.planner import BuiltinPlanner
from spatial_vlm_ros.manipulation.builtin_planner.request import MotionRequest, Segment
from spatial_vlm_ros.manipulation.builtin_planner.robot import description, panda
from spatial_vlm_ros.manipulation.planning.moveit_codes import meaning_of, number_of_error

for package in ("pinocchio", "coal", "ompl", "daqp"):
    pytest.importorskip(package)

URDF, SRDF = ARMS["ur5e"].urdf(), ARMS["ur5e"].srdf()
LIMITS = URDF.with_suffix(".yaml")


def ur(urdf: str | Path = URDF, srdf: str | Path = SRDF, group: str = "ur_manipulator", hand: str = "gripper",
       **how: Any) -> ArmModel:  # fmt: skip
    """The UR5e with something changed."""
    return arm_model(urdf, srdf, group, hand, **{"joint_limits": LIMITS, **how})


def test_the_panda_is_read_from_its_urdf_and_srdf() -> None:
    arm = panda()
    assert arm.joints == tuple(f"panda_joint{k}" for k in range(1, 8))
    assert set(arm.hand_links) == {"panda_hand", "panda_hand_tcp", "panda_leftfinger", "panda_rightfinger"}
    assert set(arm.wrist_links) - set(arm.hand_links) == {"panda_link6", "panda_link7", "panda_link8"}
    assert arm.fixed == {"panda_link0"}
    assert arm.base_link == "panda_link0"
    assert arm.widest == 0.08
    assert [finger.at(0.05) for finger in arm.fingers] == [0.025, 0.025]
    assert arm.opening_of({"panda_finger_joint1": 0.01, "panda_finger_joint2": 0.02}) == pytest.approx(0.03)
    assert arm.opening_of({"panda_joint1": 0.3}) is None


def test_the_ur5e_stands_where_its_table_of_parameters_says() -> None:
    """Universal Robots, DH parameters of the UR5e: the flange of the stretched arm, and of the arm at home."""
    arm, planner = ur5e(), BuiltinPlanner(ur5e())
    tcp = 0.15
    stretched = planner.tip(np.zeros(6))
    assert stretched[:3, 3] == pytest.approx([0.425 + 0.3922, 0.1333 + 0.0996 + tcp, 0.1625 - 0.0997])
    home = planner.tip(np.array([0.0, -math.pi / 2, math.pi / 2, -math.pi / 2, -math.pi / 2, 0.0]))
    assert home[:3, 3] == pytest.approx([0.3922 + 0.0997, 0.1333, 0.1625 + 0.425 - 0.0996 - tcp], abs=1e-6)
    assert home[:3, 2] == pytest.approx([0, 0, -1], abs=1e-6)  # fingers down
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


def test_the_packaged_ur5_is_read_with_its_meshes_but_has_no_gripper() -> None:
    folder = description().parent / "ur_description"
    srdf = '<robot name="ur5"><group name="arm"><chain base_link="base_link" tip_link="tool0"/></group></robot>'
    limits = {f"{name}_joint": JointLimit(max_acceleration=3.0)
              for name in ("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3")}  # fmt: skip
    with pytest.raises(RobotDescriptionError, match=r"'gripper'. Expected one of the SRDF's groups: arm"):
        arm_model(folder / "urdf" / "ur5_robot.urdf", srdf, "arm", "gripper", joint_limits=limits)
    tool = '<group name="tool"><link name="tool0"/></group></robot>'
    with pytest.raises(RobotDescriptionError, match="no moving finger"):
        arm_model(folder / "urdf" / "ur5_robot.urdf", srdf.replace("</robot>", tool), "arm", "tool",
                  joint_limits=limits)  # fmt: skip


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


@pytest.mark.parametrize(
    ("group", "hand", "srdf", "words"),
    [
        ("arm", "gripper", None, r"'arm'. Expected one of the SRDF's groups: gripper, ur_manipulator"),
        ("gripper", "gripper", None, "joints of the arm"),
        ("both", "gripper", '<group name="both"><group name="ur_manipulator"/><group name="fingers"/></group>'
         '<group name="fingers"><joint name="gripper_left_finger_joint"/></group>', "joints of the arm: gripper_left"),
        ("gap", "gripper", '<group name="gap"><joint name="elbow_joint"/><joint name="wrist_3_joint"/></group>',
         "wrist_1_joint, wrist_2_joint beside the chain from elbow_joint to wrist_3_joint. Expected one serial chain"),
        ("fork", "gripper", '<group name="fork"><joint name="gripper_left_finger_joint"/><joint name="elbow_joint"/>'
         '<joint name="gripper_other_joint"/></group>', "gripper_other_joint"),
        ("back", "gripper", '<group name="back"><chain base_link="tool0" tip_link="base_link"/></group>', "chain from"),
        ("fixed", "gripper", '<group name="fixed"><joint name="flange_joint"/></group>', "no moving joint"),
        ("ur_manipulator", "tool", '<group name="tool"><joint name="gripper_tcp_joint"/></group>', "no moving finger"),
    ],
)  # fmt: skip
def test_a_group_that_is_no_chain_and_a_hand_without_fingers_are_refused(
    group: str, hand: str, srdf: str | None, words: str
) -> None:
    text = SRDF.read_text().replace("</robot>", (srdf or "") + "</robot>")
    with pytest.raises(RobotDescriptionError, match=words):
        ur(srdf=text, group=group, hand=hand)


def test_descriptions_of_another_robot_or_without_geometry_or_meshes_are_refused(tmp_path: Path) -> None:
    text, panda_srdf = URDF.read_text(), (description() / "srdf" / "panda.srdf").read_text()
    bare = re.sub(r"<collision>.*?</collision>", "", text, flags=re.S)
    meshes = re.sub(r"<box size=[^>]*/>", '<mesh filename="package://nowhere/hand.stl"/>', text)
    renamed = panda_srdf.replace('robot name="panda"', 'robot name="ur5e_2f85"')
    for changed, error, words in (
        (
            {"srdf": panda_srdf},
            RobotDescriptionError,
            r"robot 'panda'. Expected robot 'ur5e_2f85' of the URDF. Pass the",
        ),
        (
            {"srdf": renamed, "group": "arm", "hand": "hand"},
            RobotDescriptionError,
            "joint 'panda_joint1', which robot 'ur5e_2f85' lacks",
        ),
        ({"urdf": bare}, RobotDescriptionError, r"no collision geometry.*<collision> elements"),
        ({"urdf": meshes}, FileError, r"mesh 'package://nowhere/hand.stl' was not found.*ROS_PACKAGE_PATH"),
        ({"urdf": tmp_path / "robot.urdf"}, FileError, "no such file"),
        ({"urdf": "<sdf/>"}, FileError, "not a URDF"),
        ({"srdf": URDF}, RobotDescriptionError, "another format"),
        ({"srdf": "<sdf/>"}, RobotDescriptionError, "another format"),
    ):
        with pytest.raises(error, match=words):
            ur(**changed)


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
    for kind in ("planar", "floating", "revolut"):  # it was planned for as if it stood at zero
        other = text.replace('name="elbow_joint" type="revolute"', f'name="elbow_joint" type="{kind}"')
        with pytest.raises(RobotDescriptionError, match=rf"elbow_joint.*type '{kind}'. Expected revolute.*or fixed"):
            ur(other)
    alone = text.replace('mimic joint="gripper_left_finger_joint"', 'mimic joint="knuckle"')  # half as wide open
    with pytest.raises(RobotDescriptionError, match=r"right_finger_joint.*a mimic of 'knuckle', which the URDF lacks"):
        ur(alone)
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
