# SPDX-License-Identifier: Apache-2.0
"""Boxes in any orientation and what they sweep, against distances found by minimising."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from spatial_vlm_ros.manipulation.planning.gripper import Tip, links
from spatial_vlm_ros.manipulation.planning.solids import Solid, TurnedBox, distances, gaps
from spatial_vlm_ros.parameters import GripperConfig

metres, sides, turns = st.floats(-0.3, 0.3), st.floats(0.02, 0.3), st.floats(-math.pi, math.pi)
triples = st.tuples(metres, metres, metres)
sizes = st.tuples(sides, sides, sides)
solids = st.builds(Solid, triples, turns, sizes)


def turned(centre: tuple, angles: tuple, size: tuple, way: tuple = (0.0, 0.0, 0.0)) -> TurnedBox:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_euler("xyz", angles).as_matrix(), centre
    return TurnedBox(pose, size, way)


boxes = st.builds(turned, triples, st.tuples(turns, turns, turns), sizes, triples)


def true_distance(one: TurnedBox, other: Solid) -> float:
    """Between a point of the swept box and a point of the other, at its least."""
    posed = TurnedBox.of(other).pose
    begin = np.array([*(0.0,) * 6, 0.5])

    def difference(v: np.ndarray) -> np.ndarray:
        swept = one.pose[:3, :3] @ v[:3] + one.pose[:3, 3] + v[6] * np.array(one.way)
        return swept - posed[:3, :3] @ v[3:6] - posed[:3, 3]

    bounds = [(-s / 2, s / 2) for size in (one.size, other.size) for s in size] + [(0.0, 1.0)]
    found = minimize(lambda v: float(difference(v) @ difference(v)), begin, bounds=bounds, tol=1e-14)
    return math.sqrt(max(found.fun, 0.0))


@settings(max_examples=60, deadline=None)
@given(boxes, solids)
def test_what_is_called_apart_is_apart_by_at_least_as_much(one: TurnedBox, other: Solid) -> None:
    gap, distance = float(distances([one], [other])[0, 0]), true_distance(one, other)
    assert gap <= distance + 2e-3
    if distance > 0.1:
        assert gap > -0.05, "far apart, and hardly ever called in contact"


@settings(max_examples=60, deadline=None)
@given(solids, solids)
def test_an_upright_box_is_judged_as_a_solid_is(one: Solid, other: Solid) -> None:
    mixed = distances([one, TurnedBox.of(one)], [other])
    assert mixed[0, 0] == gaps([one], [other])[0, 0]
    assert (mixed[0, 0] > 1e-9) == (mixed[1, 0] > 1e-9)


@settings(max_examples=40, deadline=None)
@given(boxes, st.lists(triples, min_size=1, max_size=20))
def test_points_inside_are_those_of_some_moment_of_the_way(one: TurnedBox, points: list) -> None:
    moments = np.linspace(0.0, 1.0, 400)
    for point, inside in zip(points, one.contains(np.array(points)), strict=True):
        local = (np.array(point) - one.pose[:3, 3] - moments[:, None] * np.array(one.way)) @ one.pose[:3, :3]
        over = (np.abs(local) - np.array(one.size) / 2).max(axis=1).min()
        if abs(over) > 2e-3:
            assert inside == (over < 0)


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


def test_an_empty_scene_is_no_obstacle() -> None:
    assert distances([turned((0, 0, 0), (0.3, 0.2, 0.1), (0.1, 0.1, 0.1))], []).shape == (1, 0)
