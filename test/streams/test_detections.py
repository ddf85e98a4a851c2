# SPDX-License-Identifier: Apache-2.0
"""Detections of our own messages and of vision_msgs, with their masks as crops."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spatial_vlm_ros.errors import InputError, SpatialVlmError
from spatial_vlm_ros.streams.detections import detections_of, mask_crop

WIDTH, HEIGHT = 8, 6


def mono8(crop: np.ndarray, **fields: Any) -> SimpleNamespace:
    height, width = crop.shape
    usual = {"encoding": "mono8", "height": height, "width": width, "step": width, "data": crop.tobytes()}
    return SimpleNamespace(**{**usual, **fields})


def entry(**fields: Any) -> SimpleNamespace:
    usual = {"id": "a", "label": "cup", "score": 0.5, "box": [1.0, 2.0, 3.0, 4.0], "attributes": ["red"]}
    return SimpleNamespace(**{**usual, "mask_x": 0, "mask_y": 0, "mask": [], **fields})


def detection_array(*entries: SimpleNamespace, width: int = WIDTH, height: int = HEIGHT) -> SimpleNamespace:
    return SimpleNamespace(image_width=width, image_height=height, detections=list(entries))


def test_fields_become_those_of_a_detection() -> None:
    found = detections_of(detection_array(entry(), entry(id=""), entry(id="")), WIDTH, HEIGHT)
    assert [d.id for d in found] == ["a", "d1", "d2"]  # by their place
    assert (found[0].label, found[0].score, found[0].box_xyxy) == ("cup", 0.5, (1, 2, 3, 4))
    assert (found[0].attributes, found[0].mask, found[0].front) == (("red",), None, None)
    assert detections_of(detection_array(), WIDTH, HEIGHT) == ()
    assert len(detections_of(detection_array(entry(), width=0, height=0), WIDTH, HEIGHT)) == 1  # its size is not told


def test_a_crop_is_laid_into_the_whole_image() -> None:
    crop = np.array([[0, 1], [255, 0], [7, 7]], np.uint8)
    (found,) = detections_of(detection_array(entry(mask=[mono8(crop)], mask_x=5, mask_y=2)), WIDTH, HEIGHT)
    padded = mono8(np.ones((2, 2), np.uint8), step=4, data=bytes([1, 0, 9, 9, 0, 0, 9, 9]))
    (other,) = detections_of(detection_array(entry(mask=[padded])), WIDTH, HEIGHT)
    assert np.argwhere(other.mask).tolist() == [[0, 0]]
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[2, 6] = expected[3, 5] = expected[4, 5] = expected[4, 6] = True
    np.testing.assert_array_equal(found.mask, expected)


def vector(x: float, y: float, z: float) -> SimpleNamespace:
    return SimpleNamespace(x=x, y=y, z=z)


def test_a_front_becomes_a_direction_of_length_one() -> None:
    fronts: tuple[list[SimpleNamespace], ...] = ([vector(0.0, 3.0, -4.0)], [])
    found = detections_of(detection_array(*(entry(front=front) for front in fronts)), WIDTH, HEIGHT)
    assert [d.front for d in found] == [pytest.approx((0.0, 0.6, -0.8)), None]


@pytest.mark.parametrize("size", [(WIDTH + 1, HEIGHT), (WIDTH, HEIGHT - 1), (0, 3)])
def test_detections_of_an_image_of_another_size_and_other_messages_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="8x6, the size of the colour image"):
        detections_of(detection_array(entry(), width=size[0], height=size[1]), WIDTH, HEIGHT)
    for message in (SimpleNamespace(), detection_array(SimpleNamespace())):
        with pytest.raises(InputError, match="Check the type"):
            detections_of(message, WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"box": [3.0, 2.0, 1.0, 4.0]}, "left smaller than right"),
        ({"box": [3.0, 2.0, 1.0]}, "unpack"),
        ({"score": 1.5}, "probability"),
        ({"score": math.nan}, "probability"),
        ({"label": None}, "two strings"),
        ({"mask": [mono8(np.ones((2, 2), np.uint8))] * 2}, "2 masks"),
        ({"mask": [mono8(np.zeros((2, 2), np.uint8))]}, "no pixel is set"),
        ({"front": [vector(0.0, 0.0, 0.0)]}, "not zero"),
        ({"front": [vector(0.0, math.nan, 1.0)]}, "finite direction"),
        ({"front": [vector(0.0, 0.0, 1.0)] * 2}, "2 directions"),
        ({"front": [SimpleNamespace()]}, "Check the type and version"),
        ({"mask": [mono8(np.ones((2, 2), np.uint8))], "mask_x": 7}, "at \\(7, 0\\)"),
        ({"mask": [mono8(np.ones((2, 2), np.uint8), encoding="32FC1")]}, "mono8"),
        ({"mask": [mono8(np.ones((2, 2), np.uint8), data=b"abc")]}, "truncated"),
        ({"mask": [mono8(np.ones((2, 2), np.uint8), height=0)]}, "image size"),
    ],
)
def test_a_malformed_entry_is_refused_by_its_place(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        detections_of(detection_array(entry(), entry(**fields)), WIDTH, HEIGHT)
    assert caught.value.what.startswith("detections[1]")


def bbox(x: float, y: float, size_x: float, size_y: float, theta: float = 0.0, new: bool = True) -> SimpleNamespace:
    place = {"position": SimpleNamespace(x=x, y=y)} if new else {"x": x, "y": y}
    return SimpleNamespace(center=SimpleNamespace(theta=theta, **place), size_x=size_x, size_y=size_y)


def hypothesis(name: str, score: float, new: bool = True) -> SimpleNamespace:
    if new:
        return SimpleNamespace(hypothesis=SimpleNamespace(class_id=name, score=score))
    return SimpleNamespace(id=name, score=score)


@pytest.mark.parametrize("new", [True, False])
def test_messages_of_vision_msgs_of_every_version_are_read(new: bool) -> None:
    results = [hypothesis("bowl", 0.2, new), hypothesis("cup", 0.7, new), hypothesis("can", 0.1, new)]
    message = SimpleNamespace(detections=[SimpleNamespace(id="", results=results, bbox=bbox(4, 3, 2, 4, new=new))])
    (found,) = detections_of(message, WIDTH, HEIGHT)
    assert (found.id, found.label, found.score, found.box_xyxy) == ("d0", "cup", 0.7, (3, 1, 5, 5))
    message = SimpleNamespace(detections=[SimpleNamespace(id="7", results=[], bbox=bbox(4, 3, 2, 4, new=new))])
    (found,) = detections_of(message, WIDTH, HEIGHT)
    assert (found.id, found.label, found.score) == ("7", "object", 1.0)


@pytest.mark.parametrize(
    ("theta", "half"),
    [
        (math.pi / 2, (2, 1)),
        (-math.pi / 2, (2, 1)),
        (math.pi / 4, (3 / math.sqrt(2), 3 / math.sqrt(2))),
        (1e-9, (1, 2)),
    ],
)
def test_a_turned_box_becomes_the_one_around_it(theta: float, half: tuple[float, float]) -> None:
    message = SimpleNamespace(detections=[SimpleNamespace(id="7", results=[], bbox=bbox(4, 3, 2, 4, theta))])
    (found,) = detections_of(message, WIDTH, HEIGHT)
    assert found.box_xyxy == pytest.approx((4 - half[0], 3 - half[1], 4 + half[0], 3 + half[1]))
    for size in ((0.0, 1.0), (1.0, math.nan)):
        message = SimpleNamespace(detections=[SimpleNamespace(id="7", results=[], bbox=bbox(4, 3, *size))])
        with pytest.raises(InputError, match=r"detections\[0\]"):
            detections_of(message, WIDTH, HEIGHT)


def test_a_crop_is_as_tight_as_worked_by_hand() -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[2, 3] = mask[4, 6] = True
    x, y, crop = mask_crop(mask)
    assert (x, y) == (3, 2)
    np.testing.assert_array_equal(crop, [[255, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 255]])
    with pytest.raises(InputError, match="no pixel"):
        mask_crop(np.zeros((3, 3), bool))


@given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))).filter(np.any))
def test_every_mask_comes_back_from_its_crop(mask: np.ndarray) -> None:
    x, y, crop = mask_crop(mask)
    assert crop[0].any()
    assert crop[-1].any()
    assert crop[:, 0].any()
    assert crop[:, -1].any()
    height, width = mask.shape
    message = detection_array(entry(mask=[mono8(crop)], mask_x=x, mask_y=y), width=width, height=height)
    (found,) = detections_of(message, width, height)
    np.testing.assert_array_equal(found.mask, mask)


@given(
    st.lists(st.floats() | st.text(max_size=2), max_size=5), st.floats(), st.integers(0, 9), st.integers(0, 9),
    st.integers(0, 9), st.binary(max_size=40),
)  # fmt: skip
def test_no_detection_crashes(box: list[Any], score: float, x: int, height: int, step: int, data: bytes) -> None:
    mask = SimpleNamespace(encoding="mono8", height=height, width=3, step=step, data=data)
    message = detection_array(entry(box=box), entry(score=score, mask=[mask], mask_x=x))
    try:
        assert len(detections_of(message, WIDTH, HEIGHT)) == 2
    except SpatialVlmError as error:
        assert "detections[" in str(error)  # noqa: PT017
