# SPDX-License-Identifier: Apache-2.0
"""Noise of a depth camera: its size, how it is shared by neighbours, and what is lost."""

import dataclasses

import numpy as np
import pytest

from spatial_vlm_ros.errors import ShapeError
from spatial_vlm_ros.sim.tabletop import STEREO, Body, Box, SensorNoise, World, look_at, noisy, render
from spatial_vlm_ros.types import PinholeCamera, RgbdFrame

CAMERA = PinholeCamera(np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]]), 320, 240)
QUIET = SensorNoise(floor=0.0, quadratic=0.0, edge_loss=0.0, loss=0.0, step=1e-6, rgb=0.0)


def slope(near: float, far: float) -> RgbdFrame:
    depth = np.tile(np.linspace(near, far, 320, dtype=np.float32), (240, 1))
    return RgbdFrame(np.full((240, 320, 3), 120, np.uint8), depth, CAMERA)


@pytest.fixture(scope="module")
def box() -> RgbdFrame:
    """A box on a table, with missing depth above the horizon."""
    pose = look_at((0, -0.8, 0.3), (0, 0.4, 0.15))
    frame = render(World((Body("a", "box", Box((0.08, 0.08, 0.1)), (0.0, 0.0, 0.0)),)), CAMERA, pose).frame
    assert np.isnan(frame.depth).any()
    return frame


def test_noise_has_the_deviation_it_is_given_and_is_shared_by_neighbours_as_far() -> None:
    far = SensorNoise(floor=0.002, quadratic=0.003, correlated=0.0, loss=0.0, step=1e-6)
    assert np.nanstd(noisy(slope(2.0, 2.00001), np.random.default_rng(0), far).depth) == pytest.approx(0.014, rel=0.02)
    for part in (0.0, 0.5, 1.0):
        noise = SensorNoise(floor=0.01, correlated=part, loss=0.0, step=1e-6)
        error = noisy(slope(1.0, 1.00001), np.random.default_rng(0), noise).depth - 1
        neighbours = np.corrcoef(error[:, :-1].ravel(), error[:, 1:].ravel())[0, 1]
        assert neighbours == pytest.approx(part, abs=0.05)
        assert error.std() == pytest.approx(0.012, rel=0.05)
    error = noisy(slope(1.0, 1.0001), np.random.default_rng(2), STEREO).depth - 1.0
    assert 0.001 < np.nanstd(error) < 0.005  # millimetres at a metre
    assert np.isnan(error).mean() == pytest.approx(STEREO.loss, abs=0.005)


def test_depth_is_rounded_to_millimetres_which_is_all_that_is_left_without_noise(box: RgbdFrame) -> None:
    depth = noisy(box, np.random.default_rng(0)).depth
    steps = depth[np.isfinite(depth)].astype(np.float64) / 0.001
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    quiet = noisy(box, np.random.default_rng(0), dataclasses.replace(QUIET, step=0.001))
    np.testing.assert_array_equal(quiet.rgb, box.rgb)
    np.testing.assert_allclose(quiet.depth, box.depth, atol=0.0005001)
    assert quiet.depth.dtype == np.float32


@pytest.mark.parametrize("z", [0.5, 1.0, 2.0])
def test_steps_of_depth_grow_with_range_squared(z: float) -> None:
    rough = dataclasses.replace(QUIET, disparity_step=0.004)
    depth = noisy(slope(z, z + 0.2), np.random.default_rng(0), rough).depth[0].astype(np.float64)
    levels = np.unique(np.round(depth, 6))
    assert np.diff(levels)[0] == pytest.approx(0.004 * z**2, rel=0.1)
    assert np.abs(depth - np.linspace(z, z + 0.2, 320)).max() <= 0.5 * 0.004 * (z + 0.2) ** 2 + 1e-5


def test_holes_gather_at_edges_and_are_as_many_as_asked(box: RgbdFrame) -> None:
    noise = SensorNoise(floor=0, quadratic=0, loss=0.0, edge_loss=1.0)
    lost = np.isnan(noisy(box, np.random.default_rng(0), noise).depth) & np.isfinite(box.depth)
    step = np.abs(np.diff(box.depth, axis=1)) > 0.05
    assert lost[:, 1:][step].all()
    assert lost.mean() < 0.02  # planes seen at a flat angle are spared
    depth = noisy(box, np.random.default_rng(0), SensorNoise(loss=0.1, edge_loss=0.1)).depth
    measured = np.isfinite(box.depth)
    assert np.isnan(depth[~measured]).all()
    assert np.isnan(depth[measured]).mean() == pytest.approx(0.1, abs=0.01)


def test_shine_is_lost_in_patches_and_nothing_else_is() -> None:
    shiny = np.zeros((240, 320), np.bool_)
    shiny[40:200, 50:250] = True
    blind = dataclasses.replace(QUIET, shine=0.4)
    lost = np.isnan(noisy(slope(1, 1.5), np.random.default_rng(1), blind, shiny).depth)
    assert not lost[~shiny].any()
    assert lost[shiny].mean() == pytest.approx(0.4, abs=0.12)
    alike = (lost[60:180, 60:239] == lost[60:180, 61:240]).mean()
    assert alike > 0.85, "neighbours are lost together"
    assert not np.isnan(noisy(slope(1, 1.5), np.random.default_rng(1), blind).depth).any(), "nothing shines"
    with pytest.raises(ShapeError, match="shiny"):
        noisy(slope(1, 2), np.random.default_rng(0), STEREO, np.zeros((10, 10), np.bool_))


def test_noise_comes_from_the_generator_alone() -> None:
    frame, dull = slope(0.5, 2.0), np.zeros((240, 320), np.bool_)
    first, other = (noisy(frame, np.random.default_rng(seed)) for seed in (3, 2))
    given = noisy(frame, np.random.default_rng(3), SensorNoise(), dull)  # the defaults, where nothing shines
    np.testing.assert_array_equal(first.depth, given.depth)
    np.testing.assert_array_equal(first.rgb, given.rgb)
    assert not np.array_equal(first.depth, other.depth, equal_nan=True)
