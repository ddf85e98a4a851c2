# SPDX-License-Identifier: Apache-2.0
"""What the small judge sees of an image and two boxes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_vlm_ros.types import Rgb
from spatial_vlm_ros.vlm.relation_judge.crops import (
    NUMBERS,
    OUTPUTS,
    PLANES,
    SIDE,
    WHOLE,
    crop,
    holds,
    mirrored,
    stacked,
    unmirrored,
)

A, B = (100.0, 120.0, 160.0, 200.0), (200.0, 100.0, 280.0, 180.0)


def picture(width: int = 320, height: int = 240) -> Rgb:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_boxes_are_marked_where_they_lie() -> None:
    rgb = np.zeros((240, 320, 3), np.uint8)
    rgb[120:200, 100:160] = 255
    planes, whole, told = crop(rgb, A, B)
    assert planes.shape == (PLANES, SIDE, SIDE)
    assert told.shape == (NUMBERS,)
    assert planes.min() == -1.0
    assert planes.max() == 1.0
    both = (planes[0] > 0) == (planes[3] > 0)
    assert both.mean() > 0.98  # the bright object is what the target's plane marks
    assert (planes[3] > 0).sum() / (planes[4] > 0).sum() == pytest.approx(60 * 80 / 80**2, rel=0.1)
    assert whole.shape == (PLANES, WHOLE, WHOLE)
    assert ((whole[0] > 0) == (whole[3] > 0)).mean() > 0.98
    assert (whole[3] > 0).sum() == 12 * 16  # 60 x 80 of 320 pixels, 64 wide
    assert told[:8] == pytest.approx([-0.375, 0.0, 0.0, 2 / 3, 0.25, -1 / 6, 0.75, 0.5], abs=1e-6)


def test_the_mirrored_input_is_that_of_the_mirrored_image() -> None:
    rgb = picture()
    turned = [(320 - x1, y0, 320 - x0, y1) for x0, y0, x1, y1 in (A, B)]
    seen, expected = crop(np.ascontiguousarray(rgb[:, ::-1]), *turned), mirrored(crop(rgb, A, B))
    assert seen.told == pytest.approx(expected.told, abs=1e-6)
    assert np.abs(seen.planes[3:] - expected.planes[3:]).mean() < 0.05  # the crop's corner is a whole pixel
    assert seen.whole == pytest.approx(expected.whole, abs=0.02)
    once, twice = crop(rgb, A, B), mirrored(mirrored(crop(rgb, A, B)))
    assert all(np.array_equal(x, y) for x, y in zip(once, twice, strict=True))


def test_sides_turn_round_in_the_mirror_and_nothing_else_does() -> None:
    p = np.linspace(0.1, 0.6, len(OUTPUTS))
    turned = unmirrored(p)
    assert holds(turned, "right of") == pytest.approx(1.0 - holds(p, "right of"))
    assert holds(p, "left of") == pytest.approx(1.0 - holds(p, "right of"))
    assert all(holds(turned, name) == holds(p, name) for name in OUTPUTS if name != "right of")


@given(
    st.tuples(*[st.floats(0.0, 1.0)] * 8),
    st.sampled_from([(64, 48), (320, 240), (1280, 720), (30, 400)]),
)
def test_any_two_boxes_in_an_image_are_an_input(shares: tuple[float, ...], size: tuple[int, int]) -> None:
    width, height = size
    ends = np.array(shares).reshape(2, 2, 2) * (width - 1, height - 1)
    boxes = [(*np.minimum(*one).tolist(), *(np.maximum(*one) + 1).tolist()) for one in ends]
    seen = crop(np.full((height, width, 3), 7, np.uint8), *boxes)
    assert np.isfinite(seen.told).all()
    assert all((image[3:] == 1.0).any(axis=(1, 2)).all() for image in (seen.planes, seen.whole))


def test_several_inputs_are_stacked() -> None:
    planes, whole, told = stacked([crop(picture(), A, B), crop(picture(), B, A)])
    assert planes.shape == (2, PLANES, SIDE, SIDE)
    assert np.array_equal(planes[0, 3], planes[1, 4])
    assert whole.shape == (2, PLANES, WHOLE, WHOLE)
    assert told.shape == (2, NUMBERS)
