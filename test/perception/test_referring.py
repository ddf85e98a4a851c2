# SPDX-License-Identifier: Apache-2.0
"""Which object an answer names; and the same question put through a worker's process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import referring_models

from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.perception.given_detections import GivenDetections
from spatial_vlm_ros.perception.referring import MOST_FOUND, named, referrer_of
from spatial_vlm_ros.perception.replies import NamedObject
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Detection, Status

HERE = Path(__file__).parent
IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
Box = tuple[float, float, float, float]
ASK = {"second_opinion": {"ask": True}}


def obj(id_: str, box: Box, masked: bool = False) -> Detection:
    mask = None
    if masked:  # the lower right half of its box
        mask = np.zeros((48, 64), bool)
        x0, y0, x1, y1 = (int(v) for v in box)
        rows, columns = np.mgrid[y0:y1, x0:x1]
        mask[y0:y1, x0:x1] = (rows - y0) / (y1 - y0) + (columns - x0) / (x1 - x0) >= 1
    return Detection(id_, "can", 1.0, box, mask)


def boxed(*boxes: Box) -> tuple[NamedObject, ...]:
    return tuple(NamedObject("can", box, None, None) for box in boxes)


def pointed(*points: tuple[float, float]) -> tuple[NamedObject, ...]:
    return tuple(NamedObject("", None, point, None) for point in points)


def row_of(found: Sequence[NamedObject], *objects: Detection, overlap: float = 0.5) -> int | None:
    return named(found, objects, overlap, "model")


LEFT, RIGHT = obj("l", (0, 10, 20, 30)), obj("r", (22, 10, 42, 30))


@pytest.mark.parametrize(
    ("box", "row"),
    [
        ((0, 10, 20, 30), 0),
        ((2, 11, 21, 31), 0),
        ((23, 9, 41, 30), 1),
        ((11, 10, 31, 30), None),  # half of either
        ((0, 10, 42, 30), None),  # both
        ((50, 10, 60, 30), None),  # neither
        ((0, 10, 9, 19), None),  # a fifth of one
        ((5, 15, 5, 15), None),  # no area
    ],
)
def test_a_box_names_the_object_that_it_overlaps(box: Box, row: int | None) -> None:
    assert row_of(boxed(box), LEFT, RIGHT) == row


def test_the_least_overlap_is_a_parameter_and_of_two_objects_in_nearly_one_place_a_box_names_neither() -> None:
    inner, outer = obj("in", (0, 10, 20, 29)), obj("out", (0, 10, 20, 30))
    assert row_of(boxed((0, 10, 20, 30)), inner, outer) is None
    half = (0.0, 10.0, 10.0, 30.0)
    assert row_of(boxed(half), LEFT, RIGHT, overlap=0.5) == 0
    assert row_of(boxed(half), LEFT, RIGHT, overlap=0.51) is None
    small = obj("in", (5, 15, 15, 25))
    assert row_of(boxed((0, 10, 20, 30)), small, outer) == 1
    assert row_of(boxed((5, 15, 15, 25)), small, outer) == 0


def test_a_point_names_the_only_object_whose_mask_or_box_it_is_in() -> None:
    half = obj("l", (0, 10, 20, 30), masked=True)
    assert row_of(pointed((15.0, 25.0)), half, RIGHT) == 0
    assert row_of(pointed((3.0, 12.0)), half, RIGHT) is None
    assert row_of(pointed((30.0, 20.0)), half, RIGHT) == 1
    assert row_of(pointed((15.0, 25.0)), half, obj("over", (10, 20, 30, 40))) is None
    assert row_of(pointed((-0.6, 25.0)), half, RIGHT) is None
    assert row_of(pointed((63.9, 47.9)), half, RIGHT) is None
    mask = np.zeros((48, 64), bool)
    mask[5, 7] = True
    one = Detection("p", "pin", 1.0, (7, 5, 8, 6), mask)
    assert row_of(pointed((7.4, 4.6)), one) == 0  # half a pixel off its middle is still that pixel
    assert row_of(pointed((7.6, 5.0)), one) is None


def test_all_that_was_found_must_name_one_object() -> None:
    left, right = boxed((0, 10, 20, 30)), boxed((22, 10, 42, 30))
    assert row_of((*left, *left), LEFT, RIGHT) == 0
    assert row_of((*left, *pointed((5.0, 15.0))), LEFT, RIGHT) == 0
    assert row_of((*left, *right), LEFT, RIGHT) is None
    assert row_of((*left, *boxed((50, 10, 60, 30))), LEFT, RIGHT) is None
    assert row_of((NamedObject("", (0, 10, 20, 30), (30.0, 20.0), None),), LEFT, RIGHT) is None
    assert row_of((), LEFT, RIGHT) is None
    assert row_of(left) is None


@pytest.mark.parametrize(
    "found",
    [
        None, "the left one", [(0, 0, 5, 5)], (NamedObject("", None, None, None),), boxed((0, 0, float("nan"), 5)),
        pointed((float("inf"), 0.0)), boxed((0, 0, 5, 5)) * (MOST_FOUND + 1),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_the_models_error(found: Sequence[NamedObject]) -> None:
    with pytest.raises(ModelError, match="model 'model'"):
        row_of(found, LEFT, RIGHT)


def test_a_grounder_that_cannot_refer_refuses_only_where_it_is_asked_to() -> None:
    frame, detections = chicks_and_cup_frame()
    for grounder in (None, GivenDetections(detections)):
        answer = Resolver(config_from(ASK), grounder).resolve(frame, "the chick behind the cup", detections)
        assert answer.status is Status.INVALID_INPUT
        assert "second_opinion.ask" in answer.message
        with pytest.raises(InputError, match=r"second_opinion\.ask"):
            referrer_of(grounder)
        plain = Resolver(None, grounder).resolve(frame, "the chick behind the cup", detections)
        assert plain.status is Status.OK


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        ("model", Status.MODEL_ERROR, "no memory left"),
        ("timeout", Status.TIMEOUT, "too slow"),
        ("value", Status.MODEL_ERROR, "ValueError: no idea"),
        ("strange", Status.MODEL_ERROR, "not a tuple of Found"),
    ],
)
def test_a_model_that_fails_costs_the_request(kind: str, status: Status, words: str) -> None:
    frame, detections = chicks_and_cup_frame()
    failing = referring_models.Failing(kind)
    answer = Resolver(config_from(ASK), failing).resolve(frame, "the chick behind the cup", detections)
    assert answer.status is status
    assert words in answer.message
    assert answer.target is None
