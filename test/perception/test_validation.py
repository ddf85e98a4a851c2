# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from collections.abc import Callable

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


def test_detections_that_fit_are_returned_as_they_are() -> None:
    given_ones = (detection("b"), detection("a", mask=np.ones((HEIGHT, WIDTH), bool)))
    assert check_detections(given_ones, WIDTH, HEIGHT) == given_ones
    assert check_detections(iter(given_ones), WIDTH, HEIGHT) == given_ones
    assert check_detections((), WIDTH, HEIGHT) == ()


def test_a_box_that_leaves_the_image_is_clipped() -> None:
    (clipped,) = check_detections([detection(box=(-5.5, 40, 70, 50.5))], WIDTH, HEIGHT)
    assert clipped.box_xyxy == (0, 40, 64, 48)
    assert (clipped.id, clipped.label, clipped.score, clipped.attributes) == ("a", "cup", 0.5, ("red",))


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


@pytest.mark.parametrize(
    "box", [(70, 0, 80, 10), (-20, 0, -1, 10), (0, 50, 10, 60), (0, -9, 10, 0), (64, 0, 70, 10)], ids=str
)
def test_a_box_outside_the_image_is_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError, match=r"detection 'a'.*64x48.*resized"):
        check_detections([detection(box=box)], WIDTH, HEIGHT)


def test_repeated_ids_are_named() -> None:
    with pytest.raises(InputError, match="2 detections have the id 'a', 3 detections have the id 'c'"):
        check_detections([detection(i) for i in "aabccc"], WIDTH, HEIGHT)


def test_many_repeated_ids_are_counted() -> None:
    with pytest.raises(InputError, match="and 4 more"):
        check_detections([detection(str(n % 9)) for n in range(18)], WIDTH, HEIGHT)


def test_a_mask_of_another_size_is_refused_with_both_sizes() -> None:
    with pytest.raises(ShapeError, match=r"'a'.*32x24.*64x48"):
        check_detections([detection(mask=np.ones((24, 32), bool))], WIDTH, HEIGHT)


def test_a_thousand_detections_take_no_time(slowness: Callable[[], float]) -> None:
    many = [detection(str(n), (-1, 2, 30, 40), np.ones((HEIGHT, WIDTH), bool)) for n in range(1000)]
    start = time.process_time()
    assert len(check_detections(many, WIDTH, HEIGHT)) == 1000
    assert time.process_time() - start < 0.5 * slowness()
