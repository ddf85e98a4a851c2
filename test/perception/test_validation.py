# SPDX-License-Identifier: Apache-2.0
"""Detections that fit their image are used, clipped to it; others are refused by their id."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_vlm_ros.errors import InputError, ShapeError
from spatial_vlm_ros.perception.validation import check_detections
from spatial_vlm_ros.types import Detection

WIDTH, HEIGHT = 64, 48


def detection(
    id_: str = "a", box: tuple[float, float, float, float] = (1, 2, 30, 40), mask: np.ndarray | None = None
) -> Detection:
    return Detection(id_, "cup", 0.5, box, mask, ("red",))


def test_detections_that_fit_are_returned_as_they_are_and_boxes_are_clipped() -> None:
    given_ones = (detection("b"), detection("a", mask=np.ones((HEIGHT, WIDTH), bool)))
    assert check_detections(given_ones, WIDTH, HEIGHT) == given_ones
    assert check_detections(iter(given_ones), WIDTH, HEIGHT) == given_ones
    assert check_detections((), WIDTH, HEIGHT) == ()
    (clipped,) = check_detections([detection(box=(-5.5, 40, 70, 50.5))], WIDTH, HEIGHT)
    assert clipped.box_xyxy == (0, 40, 64, 48)
    assert (clipped.id, clipped.label, clipped.score, clipped.attributes) == ("a", "cup", 0.5, ("red",))


OUTSIDE = r"detection 'a'.*64x48.*resized"


@pytest.mark.parametrize(
    ("found", "error", "words"),
    [
        ([detection(box=(70, 0, 80, 10))], InputError, OUTSIDE),
        ([detection(box=(-20, 0, -1, 10))], InputError, OUTSIDE),
        ([detection(box=(0, 50, 10, 60))], InputError, OUTSIDE),
        ([detection(box=(0, -9, 10, 0))], InputError, OUTSIDE),
        ([detection(box=(64, 0, 70, 10))], InputError, OUTSIDE),
        ([*map(detection, "aabccc")], InputError, "2 detections have the id 'a', 3 detections have the id 'c'"),
        ([detection(str(n % 9)) for n in range(18)], InputError, "and 4 more"),
        ([detection(mask=np.ones((24, 32), bool))], ShapeError, r"'a'.*32x24.*64x48"),
    ],
)
def test_detections_that_do_not_fit_are_refused(found: list[Detection], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        check_detections(found, WIDTH, HEIGHT)


@given(x=st.floats(-100, 100), y=st.floats(-100, 100), w=st.floats(0.5, 200), h=st.floats(0.5, 200))
def test_a_checked_box_lies_in_the_image(x: float, y: float, w: float, h: float) -> None:
    overlaps = x < WIDTH and y < HEIGHT and x + w > 0 and y + h > 0
    try:
        (checked,) = check_detections([detection(box=(x, y, x + w, y + h))], WIDTH, HEIGHT)
    except InputError:
        assert not overlaps
    else:
        x0, y0, x1, y1 = checked.box_xyxy
        assert overlaps
        assert 0 <= x0 < x1 <= WIDTH
        assert 0 <= y0 < y1 <= HEIGHT
