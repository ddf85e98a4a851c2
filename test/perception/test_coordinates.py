# SPDX-License-Identifier: Apache-2.0
"""Numbers of every convention of models, to pixels and back; what fits none is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import tables

from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.geometry.boxes import CLIP_MEAN, padded, padding
from spatial_vlm_ros.perception import coordinates
from spatial_vlm_ros.perception.coordinates import CONVENTIONS, fitting, from_pixels, share_inside, to_pixels

TABLES = tables(__file__)

SIZE, RESIZED = (640, 480), (320, 120)


@pytest.mark.parametrize(("name", "written", "pixels"), TABLES["values of every convention are pixels"])
def test_values_of_a_convention_are_pixels(name: str, written: tuple[float, ...], pixels: tuple[float, ...]) -> None:
    convention = CONVENTIONS[name]
    boxes = to_pixels([written, written], convention, SIZE, RESIZED)
    assert boxes.dtype == np.float64
    assert boxes.shape == (2, 4)
    assert boxes[1] == pytest.approx(pixels)
    points = to_pixels([written[:2]], convention, SIZE, RESIZED)
    assert points.shape == (1, 2)
    assert points[0] == pytest.approx(pixels[:2])


@pytest.mark.parametrize(("name", "rounded", "beyond"), TABLES["rounding is clipped and more is"])
def test_rounding_is_clipped_not_more(name: str, rounded: tuple[float, float], beyond: tuple[float, float]) -> None:
    ((x, y),) = to_pixels([rounded], CONVENTIONS[name], SIZE, RESIZED)
    assert 0 <= x <= 640
    assert 0 <= y <= 480
    with pytest.raises(InputError, match=f"convention '{name}'"):
        to_pixels([beyond], CONVENTIONS[name], SIZE, RESIZED)


@given(
    name=st.sampled_from(sorted(CONVENTIONS)),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
)
def test_every_place_in_the_image_stays_in_it(name: str, x: float, y: float, width: int, height: int) -> None:
    convention = CONVENTIONS[name]
    sides: Any = {"pixel": (width, height), "resized": (7, 9), "fraction": (1, 1), "percent": (100, 100)}
    span = sides.get(convention.unit, (convention.bins - 1 or 1000,) * 2 if convention.bins else (1000, 1000))
    place = (x * span[0], y * span[1])
    if convention.unit == "square":
        side = max(width, height)
        place = ((x * width + (side - width) // 2) / side, (y * height + (side - height) // 2) / side)
    ((u, v),) = to_pixels([place if convention.order == "xy" else place[::-1]], convention, (width, height), (7, 9))
    assert 0 <= u <= width
    assert 0 <= v <= height
    half = 1.0 / convention.bins if convention.bins else 1e-9
    assert u / width == pytest.approx(x, abs=half)
    assert v / height == pytest.approx(y, abs=half)


@pytest.mark.parametrize(("values", "name", "sizes", "error", "words"), TABLES["no place"])
def test_what_is_no_place_is_refused(values: Any, name: str, sizes: list[list[int]], error: str, words: str) -> None:
    with pytest.raises(getattr(errors, error), match=words):
        to_pixels(values, CONVENTIONS[name], *map(tuple, sizes))
    assert to_pixels(np.zeros((0, 4)), CONVENTIONS["thousand"], SIZE).shape == (0, 4)


@pytest.mark.parametrize(("change", "words"), TABLES["a convention that is none is"], ids=str)
def test_a_convention_that_is_none_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        coordinates.Convention(**{"name": "mine", "unit": "pixel", **change})


def test_fitting_lists_conventions_by_range_and_corners() -> None:
    assert fitting((0.1, 0.2, 0.5, 0.6), SIZE) == ("fraction", "square-fraction")
    assert fitting((0.1, 0.05, 0.5, 0.6), SIZE) == ("fraction",)
    assert fitting((12.5, 30.0), SIZE) == ("absolute", "thousand", "thousand-yx", "percent")
    assert fitting((700, 20, 900, 400), SIZE) == ("thousand", "thousand-yx", "bins-1000", "bins-1024-yx")
    assert fitting((300, 20, 310, 100), SIZE, RESIZED)[:2] == ("absolute", "resized-absolute")
    assert fitting((500, 100, 300, 200), SIZE) == ()
    assert fitting((1010, 1020), SIZE) == ("bins-1024-yx",)
    fractions = {(0.5, 1.0): True, (0, 1): False, (0.5, 1.5): False, (-0.5, 0.5): False}
    assert {values: coordinates.looks_like_fractions(values) for values in fractions} == fractions


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (7, 4), (5, 8), (9, 9)], ids=str)
def test_fractions_of_a_padded_square_are_where_its_pixels_show_the_object(size: tuple[int, int]) -> None:
    """An object is painted, the image padded, and the object looked for in the square, as a model sees it."""
    width, height = size
    box = (width // 4, height // 4, width // 4 + 2, height // 4 + 1)
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[box[1] : box[3], box[0] : box[2]] = 255
    square = padded(rgb)
    assert square.shape == (max(size), max(size), 3)
    rows, columns = np.nonzero((square == 255).all(axis=-1))
    seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / max(size)
    assert to_pixels([seen], CONVENTIONS["square-fraction"], size)[0] == pytest.approx(box)


def test_padding_is_split_as_llava_splits_it_and_a_box_that_reaches_into_it_is_inside_by_its_share() -> None:
    assert padding((640, 480)) == (0, 80)
    assert padding((4, 7)) == (1, 0)  # three columns lack: one before the image, two behind it
    assert padded(np.zeros((4, 4, 3), np.uint8)).shape == (4, 4, 3)
    assert tuple(padded(np.zeros((2, 4, 3), np.uint8))[0, 0]) == CLIP_MEAN
    square = CONVENTIONS["square-fraction"]
    assert share_inside((0.25, 0.0, 0.5, 0.25), square, SIZE) == pytest.approx(0.5)
    assert share_inside((0.25, 0.0, 0.5, 0.1), square, SIZE) == 0.0
    assert to_pixels([(0.25, 0.05, 0.5, 0.5)], square, SIZE, beyond=0.1)[0] == pytest.approx((160, 0, 320, 240))
    assert "square-fraction" not in fitting((0.3, 0.05), SIZE)
    assert "square-fraction" in fitting((0.3, 0.2), SIZE)


@given(
    name=st.sampled_from(sorted(CONVENTIONS)),
    corner=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
)
def test_what_is_written_is_read_within_a_step(name: str, corner: tuple[float, float], width: int, height: int) -> None:
    convention, size = CONVENTIONS[name], (width, height)
    point = (corner[0] * width, corner[1] * height)
    written = from_pixels([point], convention, size, (7, 9))
    ((u, v),) = to_pixels(written, convention, size, (7, 9))
    step = {"pixel": (0.5, 0.5), "resized": (width / 14, height / 18), "thousand": (width / 2000, height / 2000)}
    allowed = step.get(convention.unit, (1e-9 * width, 1e-9 * height))
    if convention.bins:
        allowed = width / convention.bins, height / convention.bins
    assert abs(u - point[0]) <= allowed[0] + 1e-6
    assert abs(v - point[1]) <= allowed[1] + 1e-6


def test_places_are_written_in_the_order_of_the_convention_and_clipped() -> None:
    box = (160.0, 120.0, 700.0, 240.0)
    assert from_pixels([box], CONVENTIONS["thousand-yx"], SIZE)[0].tolist() == [250.0, 250.0, 500.0, 1000.0]
    assert from_pixels([box], CONVENTIONS["bins-1024-yx"], SIZE)[0].tolist() == [256.0, 256.0, 512.0, 1023.0]
    assert from_pixels([box], CONVENTIONS["square-fraction"], SIZE)[0].tolist() == [0.25, 0.3125, 1.0, 0.5]
    with pytest.raises(InputError, match="resized image size"):
        from_pixels([box], CONVENTIONS["resized-absolute"], SIZE)
