# SPDX-License-Identifier: Apache-2.0
"""Curves and their times, held against closed forms and differences; needs NumPy only."""

from __future__ import annotations

import numpy as np
import pytest

from spatial_vlm_ros.manipulation.builtin_planner.path import Path, rounded, through
from spatial_vlm_ros.manipulation.builtin_planner.timing import timed

NAMES = ("a", "b")


def fastest(distance: float, velocity: float, acceleration: float) -> float:
    """Seconds of a trapezoid of velocity, or of a triangle where it is too short to reach the limit."""
    if distance < velocity**2 / acceleration:
        return float(2 * np.sqrt(distance / acceleration))
    return distance / velocity + velocity / acceleration


@pytest.mark.parametrize("distance", [0.01, 0.5, 1.9, 2.1, 6.0])
def test_a_straight_line_takes_as_long_as_a_trapezoid(distance: float) -> None:
    path = rounded(np.array([[0.0, 0.0], [distance, 0.3 * distance]]), 0.1)
    t = timed(path, NAMES, np.array([2.0, 9.0]), np.array([2.0, 9.0]))
    assert t.times[-1] == pytest.approx(fastest(distance, 2.0, 2.0), rel=0.01)
    assert t.positions[-1] == pytest.approx([distance, 0.3 * distance])


@pytest.mark.parametrize("seed", range(5))
def test_crooked_paths_keep_their_limits_and_pass_through_their_ends(seed: int) -> None:
    draw = np.random.default_rng(seed)
    corners, velocity, acceleration = draw.uniform(-2, 2, (6, 7)), draw.uniform(1, 3, 7), draw.uniform(2, 5, 7)
    t = timed(rounded(corners, 0.4), tuple("abcdefg"), velocity, acceleration)
    assert t.positions[0] == pytest.approx(corners[0])
    assert t.positions[-1] == pytest.approx(corners[-1])
    apart = np.diff(t.times)[:, None]
    assert (np.abs(np.diff(t.positions, axis=0) / apart) <= velocity * 1.001).all()
    assert (np.abs(np.diff(t.velocities, axis=0) / apart) <= acceleration * 1.001).all()
    # Some limit is reached nearly everywhere: it is no faster only because it cannot be.
    used = np.maximum((np.abs(t.velocities) / velocity).max(1), (np.abs(t.accelerations) / acceleration).max(1))
    assert np.median(used) > 0.9
    legs = np.abs(np.diff(corners, axis=0))
    assert t.times[-1] >= max((legs.sum(0) - 2 * 0.4 * 5) / velocity)
    assert t.times[-1] <= sum(max(map(fastest, leg, velocity, acceleration)) * 3 for leg in legs)


def test_velocities_are_the_slopes_of_positions() -> None:
    corners = np.random.default_rng(0).uniform(-1, 1, (5, 3))
    t = timed(rounded(corners, 0.3), ("a", "b", "c"), np.full(3, 2.0), np.full(3, 3.0))
    middle = (t.positions[2:-1] - t.positions[:-3]) / (t.times[2:-1] - t.times[:-3])[:, None]
    assert middle == pytest.approx(t.velocities[1:-2], abs=3.0 * 0.02)  # an acceleration may change within a step


def test_corners_are_rounded_without_a_kink_and_stay_near() -> None:
    corners = np.array([[0.0, 0], [1, 0], [1, 1], [2, 1]])
    path = rounded(corners, 0.2)
    for knot in path.knots[1:-1]:
        for left, right in zip(path.at(np.array([knot - 1e-9])), path.at(np.array([knot])), strict=True):
            assert left == pytest.approx(right, abs=1e-5)
    points = path.samples(0.001)
    to_corner = np.linalg.norm(points - corners[1], axis=1).min()
    assert 0 < to_corner <= 3 / 16 * np.sqrt(2) * 0.2 + 1e-3
    assert (points.min(), points.max()) == pytest.approx((0.0, 2.0), abs=1e-12)


def test_a_spline_passes_through_its_points_and_follows_a_circle() -> None:
    angles = np.linspace(0, np.pi / 2, 12)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    path = through(points)
    assert path.at(path.knots)[0] == pytest.approx(points)
    assert np.linalg.norm(path.samples(0.01), axis=1) == pytest.approx(1.0, abs=2e-4)


def test_standing_still_takes_no_time() -> None:
    here = np.array([[0.3, 0.4]] * 3)
    for path in (rounded(here, 0.1), through(here)):
        t = timed(path, NAMES, np.ones(2), np.ones(2))
        assert t.times.tolist() == [0.0]
        assert t.positions == pytest.approx(here[:1])


@pytest.mark.parametrize("factor", [0.09, 0.3, 1.0])
def test_smaller_limits_are_reached_and_kept_to_on_the_same_path(factor: float) -> None:
    """Not squared: with 0.3 the hardest joint has 0.3 of its limit, and the motion takes 1 / sqrt(0.3) as long."""
    path: Path = rounded(np.array([[0.0, 0], [0.4, 0], [0.4, 0.4]]), 0.1)
    whole, part = (timed(path, NAMES, np.full(2, 50.0), np.full(2, 2.0 * f)) for f in (1.0, factor))
    assert np.abs(part.accelerations).max() / 2.0 == pytest.approx(factor, rel=1e-3)
    assert part.times[-1] == pytest.approx(whole.times[-1] / np.sqrt(factor), rel=1e-3)
    quick, slow = (timed(path, NAMES, np.ones(2) * pace, np.ones(2) * pace**2) for pace in (1.0, factor))
    assert slow.times[-1] == pytest.approx(quick.times[-1] / factor)
    assert np.abs(slow.velocities).max() == pytest.approx(np.abs(quick.velocities).max() * factor, rel=0.02)
