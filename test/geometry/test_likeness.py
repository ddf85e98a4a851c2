# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest

from spatial_vlm_ros.geometry.likeness import Look, median, usual_values
from spatial_vlm_ros.geometry.surface import _is_gapless
from spatial_vlm_ros.types import PinholeCamera, RgbdFrame

BOX = (7, 5, 41, 37)


def frame_of(rng: np.random.Generator) -> RgbdFrame:
    rgb = rng.normal(120, 40, (48, 64, 3)).clip(0, 255).astype(np.uint8)
    depth = rng.normal(0.8, 0.05, (48, 64)).astype(np.float32)
    camera = PinholeCamera(np.array([[60.0, 0.0, 31.5], [0.0, 60.0, 23.5], [0.0, 0.0, 1.0]]), 64, 48)
    return RgbdFrame(rgb, depth, camera)


@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
def test_a_model_holds_medians_and_robust_deviations(share: float) -> None:
    rng = np.random.default_rng(0)
    frame = frame_of(rng)
    mask = rng.random((32, 34)) < share
    look = Look(frame)
    model = look.model(BOX, mask)
    window = np.s_[5:37, 7:41]
    lab = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2Lab)[window][mask].astype(np.float32)
    features = np.column_stack((frame.depth[window][mask], lab))
    middle = np.median(features, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(features - middle), axis=0), (0.01, 12.0, 6.0, 6.0))
    np.testing.assert_array_equal([model.depth, *model.colour], middle)
    np.testing.assert_allclose(model.spread, spread, rtol=1e-6)
    unlike = (((features - middle) / spread) ** 2).mean(axis=1)
    np.testing.assert_allclose(model.unlike(look, BOX)[mask], unlike, rtol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 101])
def test_medians_are_those_of_numpy(n: int) -> None:
    values = np.random.default_rng(n).integers(0, 256, (3, n))
    floats = values[0].astype(np.float32) / 7
    assert np.float32(median(floats)) == np.median(floats)
    medians, spreads = usual_values(np.stack([np.bincount(row, minlength=256) for row in values]))
    np.testing.assert_array_equal(medians, np.median(values, axis=1))
    deviations = np.median(np.abs(values - np.median(values, axis=1, keepdims=True)), axis=1)
    np.testing.assert_allclose(spreads, 1.4826 * deviations, rtol=1e-6)


def test_depths_without_a_gap_have_none() -> None:
    gap, rng = 0.03, np.random.default_rng(0)
    certain = 0
    for _ in range(300):
        z = np.sort(rng.choice([0.7, 0.75, 0.9], 200) + rng.uniform(0, rng.uniform(0.01, 0.2), 200)).astype(np.float32)
        if _is_gapless(rng.permutation(z), gap):
            certain += 1
            assert np.diff(z).max() <= gap
        else:
            assert np.diff(z).max() > 0.4 * gap
    assert 50 < certain < 250
