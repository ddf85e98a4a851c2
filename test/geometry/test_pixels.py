# SPDX-License-Identifier: Apache-2.0
"""Pixels of a detection: overlap of boxes, looks, and whether what was measured is one object above its support."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.geometry.likeness import Look, median, usual_values
from spatial_vlm_ros.geometry.pieces import GAP_PX, largest_piece, measured_pixels, raised_share
from spatial_vlm_ros.geometry.surface import _is_gapless
from spatial_vlm_ros.parameters import LiftConfig
from spatial_vlm_ros.types import Mask, PinholeCamera, Plane, RgbdFrame

WHOLE = st.integers(-20, 20)
SIDE = st.integers(0, 20)
BOX = st.tuples(WHOLE, WHOLE, SIDE, SIDE).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
CAMERA = PinholeCamera(np.array([[50.0, 0, 32], [0, 50.0, 24], [0, 0, 1]]), 64, 48)


def test_overlaps_by_hand() -> None:
    others = [[0.0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]]
    assert overlaps([0, 0, 2, 2], others)[0].tolist() == pytest.approx([1.0, 1 / 3, 0.0])
    assert overlaps(np.array([[0, 0, 2, 2]], np.float32), others).shape == (1, 3)
    assert overlaps(np.zeros((0, 4)), others).shape == (0, 3)


@given(st.lists(BOX, min_size=1, max_size=4), st.lists(BOX, min_size=1, max_size=4))
def test_overlaps_are_those_of_counted_cells(boxes: list[tuple[int, ...]], others: list[tuple[int, ...]]) -> None:
    said = overlaps(boxes, others)
    for i, box in enumerate(boxes):
        for j, other in enumerate(others):
            a, b = ({(x, y) for x in range(x0, x1) for y in range(y0, y1)} for x0, y0, x1, y1 in (box, other))
            assert said[i, j] == pytest.approx(len(a & b) / len(a | b) if a | b else 0.0)


@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
def test_a_model_holds_medians_and_robust_deviations(share: float) -> None:
    rng = np.random.default_rng(0)
    rgb = rng.normal(120, 40, (48, 64, 3)).clip(0, 255).astype(np.uint8)
    frame = RgbdFrame(rgb, rng.normal(0.8, 0.05, (48, 64)).astype(np.float32), CAMERA)
    mask, box = rng.random((32, 34)) < share, (7, 5, 41, 37)
    look = Look(frame)
    model = look.model(box, mask)
    window = np.s_[5:37, 7:41]
    lab = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2Lab)[window][mask].astype(np.float32)
    features = np.column_stack((frame.depth[window][mask], lab))
    middle = np.median(features, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(features - middle), axis=0), (0.01, 12.0, 6.0, 6.0))
    np.testing.assert_array_equal([model.depth, *model.colour], middle)
    np.testing.assert_allclose(model.spread, spread, rtol=1e-6)
    unlike = (((features - middle) / spread) ** 2).mean(axis=1)
    np.testing.assert_allclose(model.unlike(look, box)[mask], unlike, rtol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 3, 10])
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


def block(*columns: tuple[int, int]) -> Mask:
    pixels = np.zeros((48, 64), np.bool_)
    for first, end in columns:
        pixels[10:20, first:end] = True
    return pixels


BOWL = np.zeros((48, 64), np.bool_)
BOWL[10:14, 10:30] = BOWL[25:35, 11:29] = True


@pytest.mark.parametrize(
    ("pixels", "share"),
    [
        (block((5, 25)), 1.0),
        (BOWL, 1.0),
        (block((5, 15), (15 + GAP_PX, 25 + GAP_PX)), 1.0),  # a rim that was not measured
        (block((5, 15), (17 + GAP_PX, 27 + GAP_PX)), 0.5),
        (block((5, 15), (40, 60)), 2 / 3),
    ],
)
def test_two_objects_are_two_pieces(pixels: Mask, share: float) -> None:
    assert largest_piece(pixels) == pytest.approx(share)


def test_what_stands_before_an_object_joins_its_sides() -> None:
    sides, before = block((5, 15), (35, 45)), block((14, 36))
    assert largest_piece(sides) == 0.5
    assert largest_piece(sides, before) == 1.0
    assert largest_piece(sides, np.roll(before, 30, axis=0)) == 0.5  # elsewhere in the image


def test_points_are_counted_where_they_were_measured_and_a_part_of_the_table_is_not_raised() -> None:
    pixels = block((5, 25), (40, 41))
    rows, columns = np.nonzero(pixels)
    z = np.linspace(0.5, 2.0, len(rows))
    points = np.stack(((columns - 32) / 50 * z, (rows - 24) / 50 * z, z), axis=1).astype(np.float32)
    depth = np.ones((48, 64), np.float32)
    depth[10:20, 5:15] = 0.95
    frame = RgbdFrame(np.zeros((48, 64, 3), np.uint8), depth, CAMERA)
    assert (measured_pixels(points, frame) == pixels).all()
    table = Plane(np.array([0.0, 0.0, -1.0]), 1.0, 0.001)  # seen straight from above
    for columns, share in (((5, 15), 1.0), ((40, 50), 0.0), ((5, 25), 0.5)):
        assert raised_share(block(columns), frame, table, LiftConfig()) == pytest.approx(share)
