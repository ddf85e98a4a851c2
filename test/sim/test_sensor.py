# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from spatial_vlm_ros.errors import ShapeError
from spatial_vlm_ros.sim.sensor import STEREO, SensorNoise, noisy
from spatial_vlm_ros.types import PinholeCamera, RgbdFrame

CAMERA = PinholeCamera(np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]]), 320, 240)
QUIET = SensorNoise(floor=0.0, quadratic=0.0, edge_loss=0.0, loss=0.0, step=1e-6, rgb=0.0)


def slope(near: float, far: float) -> RgbdFrame:
    """Depth that grows evenly from the left to the right."""
    depth = np.tile(np.linspace(near, far, 320, dtype=np.float32), (240, 1))
    return RgbdFrame(np.full((240, 320, 3), 120, np.uint8), depth, CAMERA)


@pytest.mark.parametrize("z", [0.5, 1.0, 2.0])
def test_steps_of_depth_grow_with_range_squared(z: float) -> None:
    rough = dataclasses.replace(QUIET, disparity_step=0.004)
    depth = noisy(slope(z, z + 0.2), np.random.default_rng(0), rough).depth[0].astype(np.float64)
    levels = np.unique(np.round(depth, 6))
    assert np.diff(levels)[0] == pytest.approx(0.004 * z**2, rel=0.1)
    assert np.abs(depth - np.linspace(z, z + 0.2, 320)).max() <= 0.5 * 0.004 * (z + 0.2) ** 2 + 1e-5


def test_without_a_disparity_step_results_are_those_of_before() -> None:
    frame = slope(0.5, 2.0)
    plain = noisy(frame, np.random.default_rng(3))
    given = noisy(frame, np.random.default_rng(3), SensorNoise(), np.zeros((240, 320), np.bool_))
    np.testing.assert_array_equal(plain.depth, given.depth)
    np.testing.assert_array_equal(plain.rgb, given.rgb)


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


def test_a_stereo_camera_errs_by_millimetres_at_a_metre() -> None:
    error = noisy(slope(1.0, 1.0001), np.random.default_rng(2), STEREO).depth - 1.0
    assert 0.001 < np.nanstd(error) < 0.005
    assert np.isnan(error).mean() == pytest.approx(STEREO.loss, abs=0.005)


def test_a_mask_of_shine_of_another_size_is_refused() -> None:
    with pytest.raises(ShapeError, match="shiny"):
        noisy(slope(1, 2), np.random.default_rng(0), STEREO, np.zeros((10, 10), np.bool_))
