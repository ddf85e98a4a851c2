# SPDX-License-Identifier: Apache-2.0
"""Level surfaces of an object, from points on its visible sides."""

from __future__ import annotations

import numpy as np
import pytest

from spatial_vlm_ros.geometry.levels import Levels

GROUND = np.eye(3)
"""Axes of the points: x, y and up."""


def plate(x: tuple[float, float], y: tuple[float, float], z: float, step: float = 0.002) -> np.ndarray:
    xs, ys = np.meshgrid(np.arange(*x, step), np.arange(*y, step))
    return np.column_stack((xs.ravel(), ys.ravel(), np.full(xs.size, z)))


def wall(x: tuple[float, float], y: float, z: tuple[float, float], step: float = 0.002) -> np.ndarray:
    xs, zs = np.meshgrid(np.arange(*x, step), np.arange(*z, step))
    return np.column_stack((xs.ravel(), np.full(xs.size, y), zs.ravel()))


def levels(*parts: np.ndarray, noise: float = 0.0, lift: float = 0.0) -> Levels:
    points = np.concatenate(parts)
    points = points + np.random.default_rng(0).normal(0.0, 1.0, points.shape) * (0.0, 0.0, noise)
    return Levels.of(points.astype(np.float32), GROUND, lift, 0.002, noise)


def square(x: float, y: float, half: float = 0.03) -> np.ndarray:
    return np.array([(x - half, y - half), (x + half, y - half), (x + half, y + half), (x - half, y + half)])


@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_a_shelf_has_a_level_for_each_board(noise: float) -> None:
    found = levels(
        plate((0, 0.4), (0, 0.2), 0.1), plate((0, 0.4), (0, 0.2), 0.3), wall((0, 0.4), 0.2, (0, 0.3)), noise=noise
    )
    np.testing.assert_allclose(found.height, (0.1, 0.3), atol=0.003)


def test_walls_and_no_points_are_no_levels_and_heights_are_lifted() -> None:
    found = levels(wall((0, 0.4), 0.0, (0, 0.3)), plate((0, 0.4), (0, 0.2), 0.3), lift=1.0)
    np.testing.assert_allclose(found.height, [1.3], atol=0.003)
    assert len(levels(wall((0, 0.4), 0.0, (0, 0.3))).height) == 0
    none = Levels.of(np.empty((0, 3), np.float32), GROUND, 0.0, 0.002, 0.001)
    assert len(none.height) == len(none.heights_beneath(square(0.0, 0.0), 1.0)) == 0


def test_the_level_beneath_is_the_one_seen_there() -> None:
    found = levels(plate((0, 0.2), (0, 0.3), 0.1), plate((0.2, 0.4), (0, 0.3), 0.2))
    np.testing.assert_allclose(found.heights_beneath(square(0.1, 0.15), 1.0), [0.1], atol=0.003)
    np.testing.assert_allclose(found.heights_beneath(square(0.3, 0.15), 1.0), [0.2], atol=0.003)
    assert len(found.heights_beneath(square(0.6, 0.15), 1.0)) == 0


def test_boards_overhead_do_not_count_against_the_little_that_is_seen_beneath() -> None:
    found = levels(plate((0, 0.3), (0, 0.05), 0.0), *(plate((0, 0.3), (0, 0.2), z) for z in (0.2, 0.3, 0.4, 0.5)))
    np.testing.assert_allclose(found.heights_beneath(square(0.15, 0.08), 0.1), [0.0], atol=0.003)


def test_a_rim_goes_around_and_panels_and_boards_overhead_do_not() -> None:
    floor = plate((0, 0.3), (0, 0.3), 0.0)
    back, front = wall((0, 0.3), 0.3, (0, 0.06)), wall((0, 0.3), 0.0, (0, 0.06))
    sides = [wall((0, 0.3), x, (0, 0.06))[:, (1, 0, 2)] for x in (0.0, 0.3)]
    middle = np.array([0.15, 0.15])
    around, near = levels(floor, back, front, *sides).rim(middle, 0.0, 0.62)
    assert around == pytest.approx(0.06, abs=0.005)
    assert near == pytest.approx(0.06, abs=0.005), "towards the origin, too"
    overhead = plate((0, 0.3), (0, 0.3), 0.2)
    for parts in ((floor, back), (floor, overhead)):
        assert levels(*parts).rim(middle, 0.0, 0.62) == pytest.approx((0.0, 0.0), abs=0.005)
