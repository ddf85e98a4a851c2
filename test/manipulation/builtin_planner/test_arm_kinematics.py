# SPDX-License-Identifier: Apache-2.0
"""Grippers whose fingers mimic one joint, as a Robotiq 2F-85's do: where they are, and which links are the hand."""

from __future__ import annotations

import pytest

pytest.importorskip("pinocchio")

from spatial_vlm_ros.manipulation.arm_kinematics import ArmKinematics, kinematics_of

FINGER = '<collision><origin xyz="0 0 0.13"/><geometry><box size="0.02 0.02 0.05"/></geometry></collision>'
URDF = f"""<robot name="mimicking">
<link name="base"/><link name="wrist"/><link name="palm"/><link name="knuckle"/>
<link name="left">{FINGER}</link><link name="right">{FINGER}</link><link name="camera">{FINGER}</link>
<joint name="turn" type="revolute"><parent link="base"/><child link="wrist"/><axis xyz="0 0 1"/>
  <limit lower="-3" upper="3" velocity="1" effort="1"/></joint>
<joint name="flange" type="fixed"><parent link="wrist"/><child link="palm"/></joint>
<joint name="mount" type="fixed"><parent link="wrist"/><child link="camera"/></joint>
<joint name="knuckle_joint" type="revolute"><parent link="palm"/><child link="knuckle"/><axis xyz="0 -1 0"/>
  <limit lower="0" upper="0.8" velocity="1" effort="1"/></joint>
<joint name="left_joint" type="prismatic"><parent link="palm"/><child link="left"/><axis xyz="0 1 0"/>
  <mimic joint="knuckle_joint" multiplier="-0.05" offset="0.04"/>
  <limit lower="0" upper="0.04" velocity="1" effort="1"/></joint>
<joint name="right_joint" type="prismatic"><parent link="palm"/><child link="right"/><axis xyz="0 -1 0"/>
  <mimic joint="knuckle_joint" multiplier="-0.05" offset="0.04"/>
  <limit lower="0" upper="0.04" velocity="1" effort="1"/></joint>
</robot>"""


@pytest.fixture(scope="module")
def arm() -> ArmKinematics:
    return kinematics_of(URDF, "base", "palm", ("turn",))


def test_fingers_follow_the_joint_that_they_mimic_unless_they_are_told(arm: ArmKinematics) -> None:
    for joints, left, right in (
        ({"knuckle_joint": 0.0}, 0.04, -0.04),
        ({"knuckle_joint": 0.4}, 0.02, -0.02),
        ({"knuckle_joint": 0.8}, 0.0, 0.0),
        ({"knuckle_joint": 0.8, "left_joint": 0.03}, 0.03, 0.0),
        ({}, 0.04, -0.04),  # a leader that is not told stands at zero
    ):
        links, _ = arm.poses(joints)
        at = dict(zip(arm.vertices, links[:, 1, 3].tolist(), strict=True))
        assert (at["left"], at["right"]) == pytest.approx((left, right), abs=1e-12)


def test_all_links_that_the_finger_joints_move_are_the_hand(arm: ArmKinematics) -> None:
    other_model = ("gripper_left_finger", "gripper_right_finger")  # a planner's own model has other names
    assert arm.hand_links(other_model) == frozenset()
    assert arm.hand_links(other_model, ["knuckle_joint"]) == {"left", "right", "palm"}
    assert arm.hand_links(["left"]) == {"left", "palm"}
    assert arm.hand_links(["left"], ["no_such_joint"]) == {"left", "palm"}
