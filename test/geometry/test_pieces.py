# SPDX-License-Identifier: Apache-2.0
"""Whether what was measured is one object: in one piece, and above what it stands on."""

from __future__ import annotations

import numpy as np
import pytest

from spatial_vlm_ros.geometry.pieces import GAP_PX, largest_piece, measured_pixels, raised_share
from spatial_vlm_ros.parameters import LiftConfig
from spatial_vlm_ros.types import Mask, PinholeCamera, Plane, RgbdFrame

CAMERA = PinholeCamera(np.array([[50.0, 0, 32], [0, 50.0, 24], [0, 0, 1]]), 64, 48)


def block(*columns: tuple[int, int]) -> Mask:
    pixels = np.zeros((48, 64), np.bool_)
    for first, end in columns:
        pixels[10:20, first:end] = True
    return pixels


@pytest.mark.parametrize(
    ("pixels", "share"),
    [
        (block((5, 25)), 1.0),
        (block((5, 15), (15 + GAP_PX, 25 + GAP_PX)), 1.0),  # a rim that was not measured
        (block((5, 15), (17 + GAP_PX, 27 + GAP_PX)), 0.5),
        (block((5, 15), (40, 60)), 2 / 3),
    ],
)
def test_two_objects_are_two_pieces(pixels: Mask, share: float) -> None:
    assert largest_piece(pixels) == pytest.approx(share)


def test_the_walls_of_a_bowl_are_one_piece() -> None:
    walls = np.zeros((48, 64), np.bool_)
    walls[10:14, 10:30] = walls[25:35, 11:29] = True
    assert largest_piece(walls) == 1.0


def test_what_stands_before_an_object_joins_its_sides() -> None:
    sides, before = block((5, 15), (35, 45)), block((14, 36))
    assert largest_piece(sides) == 0.5
    assert largest_piece(sides, before) == 1.0
    assert largest_piece(sides, np.roll(before, 30, axis=0)) == 0.5  # elsewhere in the image


def test_points_are_counted_where_they_were_measured() -> None:
    pixels = block((5, 25), (40, 41))
    rows, columns = np.nonzero(pixels)
    z = np.linspace(0.5, 2.0, len(rows))
    points = np.stack(((columns - 32) / 50 * z, (rows - 24) / 50 * z, z), axis=1).astype(np.float32)
    frame = RgbdFrame(np.zeros((48, 64, 3), np.uint8), np.ones((48, 64), np.float32), CAMERA)
    assert (measured_pixels(points, frame) == pixels).all()


def test_a_part_of_the_table_is_not_raised() -> None:
    depth = np.ones((48, 64), np.float32)
    depth[10:20, 5:15] = 0.95
    frame = RgbdFrame(np.zeros((48, 64, 3), np.uint8), depth, CAMERA)
    table = Plane(np.array([0.0, 0.0, -1.0]), 1.0, 0.001)  # seen straight from above
    assert raised_share(block((5, 15)), frame, table, LiftConfig()) == 1.0
    assert raised_share(block((40, 50)), frame, table, LiftConfig()) == 0.0
    assert raised_share(block((5, 25)), frame, table, LiftConfig()) == pytest.approx(0.5)
