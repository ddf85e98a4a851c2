# SPDX-License-Identifier: Apache-2.0
"""The gripper's links and frames; boxes in any orientation, what they sweep, and how far apart they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning_scenes import gripper_points, inside
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.manipulation.planning.gripper import LINKS, Tip, flange_pose, flange_T_tip, links
from spatial_vlm_ros.manipulation.planning.solids import Solid, TurnedBox, distances, gaps
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


metres, turns = st.floats(-0.3, 0.3), st.floats(-math.pi, math.pi)
triples, sides = st.tuples(metres, metres, metres), st.floats(0.01, 0.3)
solids = st.builds(Solid, triples, turns, st.tuples(sides, sides, sides))
CUBE = Solid((0.0, 0.0, 0.0), 0.0, (0.2, 0.2, 0.2))


def turned(centre: tuple, angles: tuple, size: tuple, way: tuple = (0.0, 0.0, 0.0)) -> TurnedBox:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_euler("xyz", angles).as_matrix(), centre
    return TurnedBox(pose, size, way)


thick = st.floats(0.02, 0.3)
boxes = st.builds(turned, triples, st.tuples(turns, turns, turns), st.tuples(thick, thick, thick), triples)


@pytest.mark.parametrize(
    ("centre", "yaw", "expected"),
    [
        ((0.3, 0.0, 0.0), 0.0, 0.1),  # face to face
        ((0.0, 0.0, -0.25), 1.0, 0.05),  # one below the other, however turned
        ((0.3, 0.0, 0.3), 0.0, math.hypot(0.1, 0.1)),  # edge to edge
        ((0.15, 0.0, 0.0), 0.0, -0.05),  # 5 cm into each other
        ((0.1 + 0.1 * math.sqrt(2) + 0.02, 0.0, 0.0), math.pi / 4, 0.02),  # a corner before a face
        ((0.0, 0.0, 0.0), 0.0, -0.2),
    ],
)
def test_gaps_worked_by_hand(centre: tuple[float, float, float], yaw: float, expected: float) -> None:
    assert gaps([CUBE], [Solid(centre, yaw, (0.2, 0.2, 0.2))]) == pytest.approx(expected)


def test_of_nothing_there_is_no_gap_and_no_obstacle() -> None:
    assert gaps([], [CUBE]).shape == (0, 1)
    assert gaps([CUBE], []).shape == (1, 0)
    assert distances([turned((0, 0, 0), (0.3, 0.2, 0.1), (0.1, 0.1, 0.1))], []).shape == (1, 0)


def true_distance(one: TurnedBox, other: TurnedBox) -> float:
    """Between a point of the swept box and a point of the other, at its least."""
    begin = np.array([*(0.0,) * 6, 0.5])

    def difference(v: np.ndarray) -> np.ndarray:
        swept = one.pose[:3, :3] @ v[:3] + one.pose[:3, 3] + v[6] * np.array(one.way)
        return np.asarray(swept - other.pose[:3, :3] @ v[3:6] - other.pose[:3, 3])

    def slope(v: np.ndarray) -> np.ndarray:
        d = 2 * difference(v)
        return np.concatenate((one.pose[:3, :3].T @ d, -other.pose[:3, :3].T @ d, [d @ np.array(one.way)]))

    bounds = [(-s / 2, s / 2) for size in (one.size, other.size) for s in size] + [(0.0, 1.0)]
    found = minimize(lambda v: float(difference(v) @ difference(v)), begin, jac=slope, bounds=bounds, tol=1e-14)
    return math.sqrt(max(found.fun, 0.0))


@settings(max_examples=40, deadline=None)
@given(solids, solids)
def test_a_gap_is_a_lower_bound_of_the_distance_and_its_sign_is_exact(one: Solid, other: Solid) -> None:
    gap = float(gaps([one], [other])[0, 0])
    distance = true_distance(TurnedBox.of(one), TurnedBox.of(other))
    assert gap <= distance + 1e-4
    if distance > 1e-3:
        assert gap > 0
    if gap > 1e-3:
        assert distance > 0.5 * gap
    mixed = distances([one, TurnedBox.of(one)], [other])  # an upright box is judged as a solid is
    assert mixed[0, 0] == gap
    assert (mixed[0, 0] > 1e-9) == (mixed[1, 0] > 1e-9)


@settings(max_examples=40, deadline=None)
@given(boxes, solids)
def test_what_is_called_apart_is_apart_by_at_least_as_much(one: TurnedBox, other: Solid) -> None:
    gap, distance = float(distances([one], [other])[0, 0]), true_distance(one, TurnedBox.of(other))
    assert gap <= distance + 2e-3
    if distance > 0.1:
        assert gap > -0.05, "far apart, and hardly ever called in contact"


@settings(max_examples=40, deadline=None)
@given(solids, triples, st.floats(0, 1))
def test_what_is_swept_holds_the_box_everywhere_on_its_way(
    one: Solid, way: tuple[float, float, float], part: float
) -> None:
    x, y, z = (c + part * w for c, w in zip(one.centre, way, strict=True))
    corners = np.array([(a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]) * np.array(one.size) / 2
    there = corners @ Rotation.from_euler("z", one.yaw).as_matrix().T + (x, y, z)
    assert inside(there, one.swept(way), shrink=-1e-9).all()


@settings(max_examples=40, deadline=None)
@given(boxes, st.lists(triples, min_size=1, max_size=20))
def test_points_inside_are_those_of_some_moment_of_the_way(one: TurnedBox, points: list) -> None:
    moments = np.linspace(0.0, 1.0, 400)
    for point, inside_ in zip(points, one.contains(np.array(points)), strict=True):
        local = (np.array(point) - one.pose[:3, 3] - moments[:, None] * np.array(one.way)) @ one.pose[:3, :3]
        over = (np.abs(local) - np.array(one.size) / 2).max(axis=1).min()
        if abs(over) > 2e-3:
            assert inside_ == (over < 0)


def test_a_box_swept_along_its_own_axis_grows_by_the_way_alone_and_padding_counts_on_both_sides() -> None:
    moved = Solid((0.1, 0.2, 0.3), math.pi / 2, (0.1, 0.2, 0.3)).swept((0.0, 0.4, 0.0))
    assert moved.centre == pytest.approx((0.1, 0.4, 0.3))
    assert moved.size == pytest.approx((0.5, 0.2, 0.3))
    assert (moved.bottom, moved.top) == pytest.approx((0.15, 0.45))
    assert CUBE.grown((0.01, 0.02, 0.03)).size == pytest.approx((0.22, 0.24, 0.26))


def test_a_slanted_gripper_keeps_its_measures_and_its_way() -> None:
    gripper, tip = GripperConfig(), Tip((0.1, 0.2, 0.3), (0.6, 0.0, -0.8), (0.0, 1.0, 0.0))
    palm, left, right = links(gripper, tip, 0.05, (0.0, 0.0, 0.1))
    assert all(isinstance(box, TurnedBox) for box in (palm, left, right))
    assert isinstance(left, TurnedBox)
    assert left.size == (gripper.finger_width, gripper.finger_thickness, gripper.finger_length)
    assert left.contains(np.array([[0.1, 0.2 + 0.026, 0.3], [0.1, 0.2, 0.3], [0.1, 0.226, 0.395]])).tolist() == [
        True, False, True,
    ]  # fmt: skip
    corners = left.corners()
    assert corners[:, 1].min() == pytest.approx(0.2 + 0.025)
    assert corners[8:, 2] == pytest.approx(corners[:8, 2] + 0.1)
