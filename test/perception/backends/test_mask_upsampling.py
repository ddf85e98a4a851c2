# SPDX-License-Identifier: Apache-2.0
"""Masks computed where they have pixels are those of the whole image."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from spatial_vlm_ros.perception.backends.mask_upsampling import mask_above


def whole(coarse: torch.Tensor, threshold: float, size: tuple[int, int]) -> np.ndarray:
    full = torch.nn.functional.interpolate(coarse[None, None], size, mode="bilinear", align_corners=False)[0, 0]
    return (full > threshold).numpy()


def blob(seed: int, n: int = 32) -> torch.Tensor:
    """Logits that are positive in one round region, with noise around 0 nowhere near a tie."""
    rng = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    middle, reach = torch.rand(2, generator=rng) * n, 2 + 8 * torch.rand(1, generator=rng)
    return reach - torch.hypot(x - middle[0], y - middle[1]) + 0.3 * torch.randn((n, n), generator=rng)


@pytest.mark.parametrize("size", [(90, 160), (33, 31), (20, 24), (7, 300)])
@pytest.mark.parametrize("seed", range(6))
def test_a_mask_is_that_of_the_enlarged_grid(size: tuple[int, int], seed: int) -> None:
    coarse = blob(seed)
    np.testing.assert_array_equal(mask_above(coarse, 0.0, size), whole(coarse, 0.0, size))
    likely = coarse.sigmoid()
    np.testing.assert_array_equal(mask_above(likely, 0.6, size), whole(likely, 0.6, size))


@pytest.mark.parametrize("box", [(10.2, 5.0, 80.7, 60.0), (-20.0, -5.0, 40.0, 300.0), (150.0, 80.0, 400.0, 95.5)])
def test_pixels_outside_of_the_box_are_not_set(box: tuple[float, float, float, float]) -> None:
    for seed in range(8):
        coarse, size = blob(seed), (90, 160)
        expected = np.zeros(size, bool)
        left, top = max(int(np.floor(box[0])), 0), max(int(np.floor(box[1])), 0)
        right, bottom = int(np.ceil(box[2])), int(np.ceil(box[3]))
        expected[top:bottom, left:right] = whole(coarse, 0.0, size)[top:bottom, left:right]
        np.testing.assert_array_equal(mask_above(coarse, 0.0, size, box), expected)


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_grids_that_are_all_below_or_all_above(value: float) -> None:
    mask = mask_above(torch.full((8, 8), value), 0.0, (50, 40))
    assert mask.shape == (50, 40)
    assert mask.all() == mask.any() == (value > 0)


def test_a_box_beside_the_image_gives_no_pixel() -> None:
    assert not mask_above(torch.ones((8, 8)), 0.0, (50, 40), (60.0, 10.0, 70.0, 20.0)).any()
