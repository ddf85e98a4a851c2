# SPDX-License-Identifier: Apache-2.0
"""Replies to RoboSpatial-Home, read as its scorer reads them."""

from __future__ import annotations

import time

import pytest

from spatial_vlm_ros.evaluation.benchmarks.polygon_replies import first_point, in_polygon, read_polygon, starts_as


@pytest.mark.parametrize(
    ("reply", "point"),
    [
        ("[(0.3, 0.4), (0.9, 0.9)]", (0.3, 0.4)),
        ("I would say [0.3, 0.4], or (0.5, 0.6).", (0.5, 0.6)),  # round brackets come first
        ("It is at [0.3,0.4]", (0.3, 0.4)),
        ("( 1 , 2 )", (1.0, 2.0)),
        ("[(-0.1, 0.4)]", (-0.1, 0.4)),  # by the list, for the patterns have no sign
        ("[(.3, .4), (.5, .6)]", (0.3, 0.4)),
        ("[.3, .4]", (0.3, 0.4)),
        ("[(.3, .4),]", (0.3, 0.4)),
        ("[.3, .4, .5]", None),
        ("[]", None),
        ("[x, y]", None),
        ("0.3, 0.4", None),
        ("", None),
    ],
)
def test_the_first_point_of_a_reply(reply: str, point: tuple[float, float] | None) -> None:
    assert first_point(reply) == point


def test_yes_and_no_are_told_by_the_first_letters() -> None:
    assert starts_as(" Yes, it is.", "yes")
    assert not starts_as("It is. Yes.", "yes")
    assert starts_as("Nothing is there", "no")  # as published


def test_polygons_are_read_and_hold_points() -> None:
    square = read_polygon("[(0.1, 0.1), (0.5, 0.1), (0.5, 0.5), (0.1, 0.5)]")
    assert square == ((0.1, 0.1), (0.5, 0.1), (0.5, 0.5), (0.1, 0.5))
    assert in_polygon((0.3, 0.3), square)
    assert not in_polygon((0.6, 0.3), square)
    assert not in_polygon((0.3, 0.6), square)
    arrow = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.2), (0.0, 1.0))
    assert in_polygon((0.1, 0.5), arrow)
    assert not in_polygon((0.5, 0.5), arrow)
    for text in (
        "[(0.1, 0.1), (0.5, 0.1)]",
        "yes",
        "[(1, 2), (3, 4), (5,)]",
        "__import__('os')",
        "[" * 1000,
        "[" * 30000,
    ):
        assert read_polygon(text) is None


def test_long_replies_are_read_in_time() -> None:
    start = time.process_time()
    for sign in ("[", "(", "(1", "(1,", "[1 ", " ", "1"):
        first_point(sign * 200_000)
    assert time.process_time() - start < 5.0
