# SPDX-License-Identifier: Apache-2.0
"""Masks for what a model has pointed at, where a backend has a model of masks; here and through a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import referring_models

from spatial_vlm_ros.errors import CancelledError, ModelError
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.perception.backends.composed import ComposedGrounder
from spatial_vlm_ros.perception.backends.sam2 import MaskedGrounder
from spatial_vlm_ros.perception.masking import PointsByDepth, masked_by, with_mask
from spatial_vlm_ros.perception.replies import NamedObject
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Detection, Mask, Rgb, Status

HERE = Path(__file__).parent
IMAGE = np.zeros((48, 64, 3), np.uint8)
BOX = Detection("b", "thing", 1.0, (10.0, 10.0, 30.0, 30.0))
POINT = Detection("p", "thing", 1.0, (19.0, 19.0, 21.0, 21.0), pointed=True)
FRAME, DETECTIONS = chicks_and_cup_frame()
CUP = next(d for d in DETECTIONS if d.id == "cup")
ASK = config_from({"language": {"free_form": "ask_model"}})
FREE = "grab me the thing I drink my coffee from"


def block(x0: int, y0: int, x1: int, y1: int) -> Mask:
    mask = np.zeros((48, 64), np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


class Gives:
    """Gives one mask for whatever it is asked, or fails."""

    def __init__(self, mask: Mask | Exception | None) -> None:
        self.mask = mask

    def masked(self, _: Rgb, detections: Sequence[Detection]) -> tuple[Detection, ...]:
        if isinstance(self.mask, Exception):
            raise self.mask
        return tuple(replace(one, mask=self.mask) for one in detections)


def test_a_mask_that_fits_becomes_the_objects() -> None:
    made = with_mask(Gives(block(11, 11, 30, 30)), IMAGE, BOX, 0.5)
    assert made.mask is not None
    assert made.box_xyxy == (11, 11, 30, 30)
    made = with_mask(Gives(block(15, 15, 40, 40)), IMAGE, POINT, 0.5)
    assert (made.box_xyxy, made.pointed) == ((15, 15, 40, 40), False)


@pytest.mark.parametrize(
    ("model", "detection"),
    [
        (object(), BOX),
        (Gives(None), BOX),
        (Gives(block(40, 10, 60, 30)), BOX),
        (Gives(block(10, 10, 15, 15)), BOX),
        (Gives(block(0, 0, 64, 48)), BOX),
        (Gives(block(25, 25, 40, 40)), POINT),
    ],
)
def test_a_mask_that_does_not_fit_leaves_the_object_to_depth(model: object, detection: Detection) -> None:
    assert with_mask(model, IMAGE, detection, 0.5) is detection


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros((48, 64), np.bool_), "without pixels"),
        (block(10, 10, 30, 30).tolist(), "of type list"),
        (block(10, 10, 30, 30).astype(np.uint8), "of type uint8"),
        (np.full((48, 64), np.nan), "of type float64"),
        (block(10, 10, 30, 30)[:40], "64x40 pixels for an image of 64x48"),
        (block(10, 10, 30, 30).T.copy(), "48x64 pixels"),
        (np.ones((48, 64, 3), np.bool_), "64x48x3 pixels"),
        (np.ones(3, np.bool_), "3 pixels"),
        (ModelError("masks", "no memory left", "buy some"), "no memory left"),
        (ValueError("no idea"), "no idea"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mask_that_is_none_is_the_models_failure_and_a_withdrawal_stays_one(mask: Any, words: str) -> None:
    model: Any = Gives(mask)
    if isinstance(mask, (list, np.ndarray)):
        made = type("Made", (), {"mask": mask})()  # no Detection takes it
        model = type("Model", (), {"masked": lambda *_: (made,)})()
    for detection in (BOX, POINT):
        with pytest.raises(ModelError, match=words):
            with_mask(model, IMAGE, detection, 0.5)
    with pytest.raises(CancelledError):
        with_mask(Gives(CancelledError("withdrawn")), IMAGE, BOX, 0.5)


class Segments:
    """A model of masks: the box itself, or a block about a point."""

    def masks(self, _: Rgb, boxes: Sequence[tuple[float, ...]]) -> tuple[Mask | None, ...]:
        return tuple(block(*(int(v) for v in box)) for box in boxes)  # type: ignore[call-arg]

    def point_masks(self, _: Rgb, points: Sequence[tuple[float, float]]) -> tuple[Mask | None, ...]:
        return tuple(block(int(x) - 5, int(y) - 5, int(x) + 5, int(y) + 5) for x, y in points)


def test_boxes_and_points_are_put_to_the_model_of_masks_and_masks_stay() -> None:
    known = replace(BOX, id="k", mask=block(12, 12, 20, 20))
    box, kept, point = masked_by(Segments(), IMAGE, (BOX, known, POINT))
    np.testing.assert_array_equal(box.mask, block(10, 10, 30, 30))
    assert kept is known
    np.testing.assert_array_equal(point.mask, block(15, 15, 25, 25))
    assert masked_by(None, IMAGE, (BOX,)) == masked_by(PointsByDepth(), IMAGE, (BOX,)) == (BOX,)
    mute, cutting = referring_models.Mute(), referring_models.cutting()
    for one in (MaskedGrounder(mute, Segments()), ComposedGrounder(mute, cutting)):  # type: ignore[arg-type]
        assert with_mask(one, IMAGE, BOX, 0.5).mask is not None
    assert with_mask(ComposedGrounder(mute, referring_models.chicks()), IMAGE, BOX, 0.5) is BOX


class Points(referring_models.Pointing):
    """Points at the cup; its model of masks knows the cup's."""

    def __init__(self, point: bool) -> None:
        super().__init__(DETECTIONS)
        self.point = point

    def refer(self, _: Rgb, words: str) -> tuple[NamedObject, ...]:
        x0, y0, x1, y1 = CUP.box_xyxy
        at = ((x0 + x1) / 2, (y0 + y1) / 2)
        return (NamedObject(words, None, at, None) if self.point else NamedObject(words, CUP.box_xyxy, None, None),)

    def masked(self, _: Rgb, detections: Sequence[Detection]) -> tuple[Detection, ...]:
        return tuple(replace(one, mask=CUP.mask) for one in detections)


def test_what_a_model_points_at_is_measured_by_its_mask_and_a_failure_costs_one_request() -> None:
    known = Resolver().resolve(FRAME, "grab the cup", [CUP]).target
    for point in (True, False):
        answer = Resolver(ASK, Points(point)).resolve(FRAME, FREE)
        assert answer.source == "model"
        assert (answer.target.pose, answer.target.size) == (known.pose, known.size)
    refused = Resolver(ASK, referring_models.cutting("fails")).resolve(FRAME, FREE)
    assert refused.status is Status.NOT_UNDERSTOOD
    assert "no memory left" in refused.message
