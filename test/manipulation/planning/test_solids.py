# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning_scenes import inside
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from spatial_vlm_ros.manipulation.planning.solids import Solid, gaps

metres = st.floats(-0.3, 0.3)
sides = st.floats(0.01, 0.3)
solids = st.builds(
    Solid, st.tuples(metres, metres, metres), st.floats(-math.pi, math.pi), st.tuples(sides, sides, sides)
)
CUBE = Solid((0.0, 0.0, 0.0), 0.0, (0.2, 0.2, 0.2))


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


def true_distance(one: Solid, other: Solid) -> float:
    """Of two convex boxes, by minimising over a point in each."""
    turns = [Rotation.from_euler("z", s.yaw).as_matrix() for s in (one, other)]

    def difference(v: np.ndarray) -> np.ndarray:
        return turns[0] @ v[:3] + one.centre - turns[1] @ v[3:] - other.centre

    def slope(v: np.ndarray) -> np.ndarray:
        d = 2 * difference(v)
        return np.concatenate((turns[0].T @ d, -turns[1].T @ d))

    bounds = [(-s / 2, s / 2) for solid in (one, other) for s in solid.size]
    found = minimize(lambda v: float(difference(v) @ difference(v)), np.zeros(6), jac=slope, bounds=bounds, tol=1e-14)
    return math.sqrt(max(found.fun, 0.0))


@settings(max_examples=60, deadline=None)
@given(solids, solids)
def test_a_gap_is_a_lower_bound_of_the_distance_and_its_sign_is_exact(one: Solid, other: Solid) -> None:
    gap, distance = float(gaps([one], [other])[0, 0]), true_distance(one, other)
    assert gap <= distance + 1e-4
    if distance > 1e-3:
        assert gap > 0
    if gap > 1e-3:
        assert distance > 0.5 * gap


@settings(max_examples=60, deadline=None)
@given(solids, st.tuples(metres, metres, metres), st.floats(0, 1))
def test_what_is_swept_holds_the_box_everywhere_on_its_way(
    one: Solid, way: tuple[float, float, float], part: float
) -> None:
    x, y, z = (c + part * w for c, w in zip(one.centre, way, strict=True))
    corners = np.array([(a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]) * np.array(one.size) / 2
    there = corners @ Rotation.from_euler("z", one.yaw).as_matrix().T + (x, y, z)
    assert inside(there, one.swept(way), shrink=-1e-9).all()


def test_a_box_swept_along_its_own_axis_grows_by_the_way_alone() -> None:
    moved = Solid((0.1, 0.2, 0.3), math.pi / 2, (0.1, 0.2, 0.3)).swept((0.0, 0.4, 0.0))
    assert moved.centre == pytest.approx((0.1, 0.4, 0.3))
    assert moved.size == pytest.approx((0.5, 0.2, 0.3))
    assert (moved.bottom, moved.top) == pytest.approx((0.15, 0.45))


def test_growing_counts_on_both_sides() -> None:
    assert CUBE.grown((0.01, 0.02, 0.03)).size == pytest.approx((0.22, 0.24, 0.26))


def test_of_nothing_there_is_no_gap() -> None:
    assert gaps([], [CUBE]).shape == (0, 1)
    assert gaps([CUBE], []).shape == (1, 0)
