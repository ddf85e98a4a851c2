# SPDX-License-Identifier: Apache-2.0
"""Masks for what a model has pointed at, where a backend has a model of masks; here and through a worker."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import referring_models

from spatial_vlm_ros.errors import CancelledError, ModelError
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.perception import worker_wire as wire
from spatial_vlm_ros.perception.backends.composed import ComposedGrounder
from spatial_vlm_ros.perception.backends.sam2 import MaskedGrounder
from spatial_vlm_ros.perception.masking import PointsByDepth, masked_by, with_mask
from spatial_vlm_ros.perception.replies import NamedObject
from spatial_vlm_ros.perception.worker import WorkerGrounder
from spatial_vlm_ros.perception.worker_masks import ask_masks, detections_of, masks_reply
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
        (np.ones((48, 64, 3), np.bool_), "64x48x3 pixels"),
        (np.ones(3, np.bool_), "3 pixels"),
    ],
)
@pytest.mark.parametrize("detection", [BOX, POINT])
def test_a_mask_that_is_none_is_the_models_failure(mask: Any, words: str, detection: Detection) -> None:
    made = type("Made", (), {"mask": mask})()
    model = type("Model", (), {"masked": lambda *_: (made,)})()
    with pytest.raises(ModelError, match=words):
        with_mask(model, IMAGE, detection, 0.5)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModelError("masks", "no memory left", "buy some"), "no memory left"),
        (ValueError("no idea"), "no idea"),
    ],
)
def test_a_model_of_masks_that_fails_is_told(error: Exception, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        with_mask(Gives(error), IMAGE, BOX, 0.5)


def test_a_mask_of_another_size_is_the_backends_fault_and_a_withdrawal_stays_one() -> None:
    with pytest.raises(ModelError, match="48x64 pixels"):
        with_mask(Gives(block(10, 10, 30, 30).T.copy()), IMAGE, BOX, 0.5)
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
    assert box.mask is not None
    assert (box.mask == block(10, 10, 30, 30)).all()
    assert kept is known
    assert point.mask is not None
    assert (point.mask == block(15, 15, 25, 25)).all()
    assert masked_by(None, IMAGE, (BOX,)) == masked_by(PointsByDepth(), IMAGE, (BOX,)) == (BOX,)


def test_who_has_a_model_of_masks_is_asked() -> None:
    mute, cutting = referring_models.Mute(), referring_models.cutting()
    assert with_mask(MaskedGrounder(mute, Segments()), IMAGE, BOX, 0.5).mask is not None  # type: ignore[arg-type]
    assert with_mask(ComposedGrounder(mute, cutting), IMAGE, BOX, 0.5).mask is not None
    assert with_mask(ComposedGrounder(mute, referring_models.chicks()), IMAGE, BOX, 0.5) is BOX


# ------------------------------------------------------------------------------------------------ free words


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


@pytest.mark.parametrize("point", [True, False])
def test_what_a_model_points_at_is_measured_by_its_mask(point: bool) -> None:
    answer = Resolver(ASK, Points(point)).resolve(FRAME, FREE)
    known = Resolver().resolve(FRAME, "grab the cup", [CUP])
    assert answer.target is not None
    assert known.target is not None
    assert answer.source == "model"
    assert answer.target.pose == known.target.pose
    assert answer.target.size == known.target.size


def test_a_model_of_masks_that_fails_costs_one_request() -> None:
    refused = Resolver(ASK, referring_models.cutting("fails")).resolve(FRAME, FREE)
    assert refused.status is Status.NOT_UNDERSTOOD
    assert "no memory left" in refused.message


# ------------------------------------------------------------------------------------------------ through a worker


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., WorkerGrounder]]:
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
    started: list[WorkerGrounder] = []

    def start(name: str, **options: str) -> WorkerGrounder:
        started.append(WorkerGrounder(f"referring_models:{name}", options, 30.0, 60.0))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_masks_of_a_process_are_those_of_the_backend(worker: Callable[..., WorkerGrounder]) -> None:
    here = referring_models.cutting().masked(IMAGE, (BOX, POINT))
    there = worker("cutting").masked(IMAGE, (BOX, POINT))
    for one, other in zip(here, there, strict=True):
        assert other.mask is not None
        assert (one.id, one.box_xyxy, one.pointed) == (other.id, other.box_xyxy, other.pointed)
        assert (one.mask == other.mask).all()


def test_a_process_without_a_model_of_masks_leaves_them_as_they_are(worker: Callable[..., WorkerGrounder]) -> None:
    assert worker("chicks").masked(IMAGE, (BOX,)) == (BOX,)


def test_a_process_whose_model_of_masks_fails_says_so(worker: Callable[..., WorkerGrounder]) -> None:
    with pytest.raises(ModelError, match="no memory left"):
        worker("cutting", part="fails").masked(IMAGE, (BOX,))


def test_a_request_for_masks_keeps_every_field() -> None:
    front = Detection("f", "chair", 0.5, (1.0, 2.0, 3.0, 4.0), None, ("red",), (0.0, 0.0, 1.0))
    header, body = ask_masks(7, IMAGE, (BOX, POINT, front))
    assert [vars(one) for one in detections_of(header)] == [vars(one) for one in (BOX, POINT, front)]
    assert (header.number, header.height, header.width) == (7, 48, 64)
    assert sum(len(memoryview(part).cast("B")) for part in body) == IMAGE.nbytes
    reply, masks = masks_reply(7, (replace(BOX, mask=block(10, 10, 30, 30)),), (48, 64))
    data = memoryview(b"".join(bytes(part) for part in masks))
    (made,) = wire.grounding_of(reply, data, (48, 64)).detections
    assert made.mask is not None
    assert (made.mask == block(10, 10, 30, 30)).all()


def test_an_object_that_cannot_be_one_is_no_request() -> None:
    bad: Any = wire.MaskRequest(1, 48, 64, (wire.WireDetection("a", "b", 1.0, (3.0, 0.0, 1.0, 1.0), (), False),))
    with pytest.raises(wire.WireError, match="an invalid detection"):
        detections_of(bad)
