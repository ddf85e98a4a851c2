# SPDX-License-Identifier: Apache-2.0
"""Points in replies as published scorers read them; every expected pixel is worked by hand on 20 x 10 pixels."""

from __future__ import annotations

import time

import numpy as np
import pytest

from spatial_vlm_ros.evaluation.benchmarks.written_points import (
    MOST_CHARACTERS,
    robopoint_cells,
    roborefer_cells,
    share_in_mask,
)


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("[(0.5, 0.25), (0.1,0.95)]", [(10, 2, 11, 3), (2, 9, 3, 10)]),
        ("The points are (0.5, 0.25).", [(10, 2, 11, 3)]),
        ("(12, 3)", [(12, 3, 13, 4)]),  # pixels
        ("(1, 0.5)", [(20, 5, 21, 6)]),  # one decimal point makes both fractions
        ("(-0.01, 0.5)", [(0, 5, 1, 6)]),  # cut off towards 0, so that it is inside
        ("( 0.5, 0.5) (.5, .5) (0.5)", []),  # a space, no digit before the point, one number
        ("[0.5, 0.5]", []),
        ("(0.1, 0.2, 0.3)", []),
        ("", []),
    ],
)
def test_pairs_in_round_brackets_are_points(text: str, cells: list[tuple[int, int, int, int]]) -> None:
    assert list(robopoint_cells(text, 20, 10) or ()) == cells
    assert list(roborefer_cells(text, 20, 10) or ()) == cells


def test_boxes_differ_between_the_two_scorers() -> None:
    fractions = "(0.25, 0.2, 1.5, 0.4)"
    assert robopoint_cells(fractions, 20, 10) == ((5, 2, 20, 4),)
    assert roborefer_cells(fractions, 20, 10) == ((5, 2, 30, 4),)
    pixels = "(5, 2, 8, 4)"
    assert robopoint_cells(pixels, 20, 10) == ((5, 2, 8, 4),)
    assert roborefer_cells(pixels, 20, 10) == ((100, 20, 160, 40),)
    turned = "(0.5, 0.2, 0.25, 0.4)"
    assert robopoint_cells(turned, 20, 10) == ()
    assert roborefer_cells(turned, 20, 10) is None  # the published scorer leaves the question out
    assert robopoint_cells("(-5, 0, -1, 2)", 20, 10) == ((15, 0, 19, 2),)  # a slice counts from the right
    assert robopoint_cells("(3, 0.5, 8, 4)", 20, 10) is None


def test_the_defaults_are_those_of_the_published_call() -> None:
    assert robopoint_cells("(0.5, 0.5)") == ((320, 240, 321, 241),)


def test_numbers_that_are_none_fail_and_do_not_crash() -> None:
    for reader in (roborefer_cells, robopoint_cells):
        for text in ("(" + "9" * 5000 + ", 1)", "(" + "9" * 400 + ".0, 1)"):
            assert reader(text, 20, 10) is None


def test_long_replies_are_read_in_time() -> None:
    start = time.process_time()
    for sign in ("(", "(1,", "[", "(1.1, 2.2), "):
        for reader in (roborefer_cells, robopoint_cells):
            reader(sign * (2 * MOST_CHARACTERS // len(sign)), 20, 10)
    assert time.process_time() - start < 20.0


def test_the_share_is_that_of_all_marked_pixels() -> None:
    weights = np.zeros((10, 20))
    weights[:, :10] = 1.0
    weights[0, 0] = 0.5
    assert share_in_mask((), weights) == 0.0
    assert share_in_mask(((0, 0, 1, 1), (15, 0, 16, 1)), weights) == 0.25
    assert share_in_mask(((5, 2, 15, 4),), weights) == 0.5
    assert share_in_mask(((-10, 0, 10, 1),), weights) == pytest.approx(9.5 / 20)
    assert share_in_mask(((10**9, 0, 10**9 + 1, 1), (1, 1, 2, 2)), weights) == 0.5
