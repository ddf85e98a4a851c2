# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
from planning_scenes import gripper_points, inside
from scipy.spatial.transform import Rotation

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.manipulation.planning.gripper import LINKS, Tip, flange_pose, flange_T_tip, links
from spatial_vlm_ros.parameters import GripperConfig, PlanningConfig, planning_from
from spatial_vlm_ros.types import Pose

FRANKA = GripperConfig()
DOWN = Tip((0.0, 0.0, 0.1), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))


def test_the_shipped_gripper_is_the_franka_hand() -> None:
    # franka_description: franka_hand.xacro (fingers at 0.0584, tips 18.5 mm about 45.25 mm above, tcp at 0.1034, travel
    # 2 x 0.04), and the extent of its collision mesh hand.stl (0.0633 x 0.2044 x 0.0919, up to z = 0.066).
    fingertip = 0.0584 + 0.04525 + 0.0185 / 2
    assert fingertip - 0.1034 == pytest.approx(FRANKA.finger_beyond)
    assert fingertip - 0.066 == pytest.approx(FRANKA.finger_length)
    assert (FRANKA.opening_max, FRANKA.palm_width >= 0.2044, FRANKA.palm_thickness >= 0.0633) == (0.08, True, True)
    assert FRANKA.finger_thickness == pytest.approx(0.0185 + 0.015 / 2)  # its widest part, the screw mount


def test_from_above_and_from_a_side_the_links_stand_where_they_are_drawn() -> None:
    palm, left, right = links(FRANKA, DOWN, 0.06)
    assert LINKS == ("palm", "left_finger", "right_finger")
    assert (left.bottom, right.bottom) == pytest.approx((0.1 - 0.0095, 0.1 - 0.0095))
    assert (left.top, palm.bottom) == pytest.approx((0.1 - 0.0095 + 0.0469,) * 2)
    assert palm.top == pytest.approx(0.1 - 0.0095 + 0.0469 + 0.092)
    assert left.centre[:2] == pytest.approx((0.0, 0.03 + 0.013))
    assert right.centre[:2] == pytest.approx((0.0, -0.03 - 0.013))
    assert palm.size[:2] == pytest.approx((0.208, 0.064))  # its box's x lies along the closing direction
    assert palm.yaw == pytest.approx(math.pi / 2)
    palm, left, _ = links(FRANKA, Tip((0.5, 0.0, 0.1), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), 0.06)
    assert (palm.bottom, palm.top) == pytest.approx((0.1 - 0.032, 0.1 + 0.032)), "upright"
    assert left.centre == pytest.approx((0.5 + 0.0095 - 0.0469 / 2, 0.043, 0.1))
    assert palm.centre[0] == pytest.approx(0.5 + 0.0095 - 0.0469 - 0.046)


@pytest.mark.parametrize("angle", np.linspace(-3, 3, 7))
@pytest.mark.parametrize("level", [True, False])
def test_boxes_hold_the_gripper_and_nothing_else(angle: float, level: bool) -> None:
    c, s = math.cos(angle), math.sin(angle)
    tip = Tip((0.1, -0.2, 0.3), (c, s, 0.0) if level else (0.0, 0.0, -1.0), (-s, c, 0.0))
    pose = tip.poses("base_link")[0]
    there = gripper_points(FRANKA, 0.05) @ Rotation.from_quat(pose.orientation).as_matrix().T + pose.position
    boxes = links(FRANKA, tip, 0.05)
    held = np.array([inside(there, box, shrink=-1e-5) for box in boxes])
    assert held.any(axis=0).all()
    volume = sum(math.prod(box.size) for box in boxes)
    assert volume == pytest.approx(0.208 * 0.064 * 0.092 + 2 * 0.022 * 0.026 * 0.0469)


def test_a_pose_gives_its_tip_back_and_one_without_proper_axes_is_refused() -> None:
    tip = Tip((0.1, 0.2, 0.3), (0.6, 0.8, 0.0), (-0.8, 0.6, 0.0))
    again = Tip.of(tip.poses("base_link")[0])
    assert again.approach == pytest.approx(tip.approach, abs=1e-5)
    assert again.closing == pytest.approx(tip.closing, abs=1e-5)
    np.testing.assert_allclose(np.linalg.det(tip.rotation()), 1.0)
    for approach, closing in (
        ((0.6, 0.0, -0.8), (0.8, 0.0, -0.6)),  # not at right angles
        ((0.6, 0.0, -0.9), (0.0, 1.0, 0.0)),  # not unit
        ((math.nan, 0.0, -1.0), (0.0, 1.0, 0.0)),
    ):
        with pytest.raises(InputError, match="unit vectors at right angles"):
            Tip((0.0, 0.0, 0.0), approach, closing)


def test_the_flange_stands_behind_the_tip_turned_by_45_degrees_or_as_urdf_has_it() -> None:
    transform = flange_T_tip(FRANKA)
    assert transform.translation == pytest.approx((0.0, 0.0, 0.1034))
    assert transform.rotation[:, 0] == pytest.approx((math.sqrt(0.5), -math.sqrt(0.5), 0.0))
    flange = flange_pose(FRANKA, DOWN.poses("base_link")[0])
    assert flange.position == pytest.approx((0.0, 0.0, 0.1 + 0.1034))
    assert flange.frame_id == "base_link"
    gripper = GripperConfig(tip_x=0.02, tip_y=-0.03, tip_roll_deg=20.0, tip_pitch_deg=-30.0, tip_yaw_deg=70.0)
    expected = Rotation.from_euler("xyz", (20, -30, 70), degrees=True).as_matrix()
    np.testing.assert_allclose(flange_T_tip(gripper).rotation, expected, atol=1e-12)
    tip = Pose("base_link", (0.4, 0.1, 0.2), (0.5, 0.5, 0.5, 0.5))
    flange = flange_pose(gripper, tip)
    back = Rotation.from_quat(flange.orientation).as_matrix() @ flange_T_tip(gripper).translation + flange.position
    assert back == pytest.approx(tip.position, abs=1e-5)


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"gripper": {"opening_min": 0.09}}, InputError, "opening_min: 0.09, but opening_max is 0.08"),
        ({"gripper": {"finger_beyond": 0.1}}, InputError, "finger_beyond.*less than finger_length"),
        ({"gripper": {"opening_max": 0.0}}, InputError, "opening_max.*0.001 to 0.5 m"),
        ({"gripper": {"palm_width": float("nan")}}, InputError, "palm_width: nan"),
        ({"gripper": {"opening": 0.1}}, UnknownNameError, "one of: opening_min"),
        ({"gripper": 3}, InputError, "a group of parameters"),
        ({"grippers": {}}, UnknownNameError, "one of: gripper, goal, grasp, workspace, observation"),
        ({"goal": {"yaws": 2.5}}, InputError, "yaws.*int"),
        ({"workspace": {"x_min": 2.0}}, InputError, "x_min: 2.0, but x_max is 1.0"),
        ({"observation": {"max_age": 0.0}}, InputError, "max_age"),
    ],
)
def test_wrong_measures_are_refused_by_name(values: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        planning_from(values)


def test_values_that_are_given_replace_defaults() -> None:
    config = planning_from({"gripper": {"opening_max": 0.12}, "goal": {"yaws": 4}})
    assert (config.gripper.opening_max, config.goal.yaws) == (0.12, 4)
    assert config.workspace == PlanningConfig().workspace
