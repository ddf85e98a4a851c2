# SPDX-License-Identifier: Apache-2.0
"""Which object an answer names; and the same question put through a worker's process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
import referring_models

from spatial_vlm_ros.errors import InputError, ModelError, ModelTimeoutError, ShapeError
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.perception import worker_wire as wire
from spatial_vlm_ros.perception.given_detections import GivenDetections
from spatial_vlm_ros.perception.referring import MOST_FOUND, named, referrer_of
from spatial_vlm_ros.perception.replies import NamedObject
from spatial_vlm_ros.perception.worker import WorkerGrounder
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Detection, NounPhrase, Status

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


# ------------------------------------------------------------------------------------------------ boxes and points


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


def test_the_least_overlap_is_a_parameter() -> None:
    half = (0.0, 10.0, 10.0, 30.0)
    assert row_of(boxed(half), LEFT, RIGHT, overlap=0.5) == 0
    assert row_of(boxed(half), LEFT, RIGHT, overlap=0.51) is None


def test_of_two_objects_in_nearly_one_place_a_box_names_neither() -> None:
    inner, outer = obj("in", (0, 10, 20, 29)), obj("out", (0, 10, 20, 30))
    assert row_of(boxed((0, 10, 20, 30)), inner, outer) is None
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


def test_half_a_pixel_off_its_middle_is_still_that_pixel() -> None:
    mask = np.zeros((48, 64), bool)
    mask[5, 7] = True
    one = Detection("p", "pin", 1.0, (7, 5, 8, 6), mask)
    assert row_of(pointed((7.4, 4.6)), one) == 0
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


def test_who_cannot_refer_is_told_apart() -> None:
    for grounder in (None, GivenDetections([LEFT])):
        with pytest.raises(InputError, match=r"second_opinion\.ask"):
            referrer_of(grounder)


# ------------------------------------------------------------------------------------------------ the resolver


def test_a_grounder_that_cannot_refer_refuses_only_where_it_is_asked_to() -> None:
    frame, detections = chicks_and_cup_frame()
    for grounder in (None, GivenDetections(detections)):
        answer = Resolver(config_from(ASK), grounder).resolve(frame, "the chick behind the cup", detections)
        assert answer.status is Status.INVALID_INPUT
        assert "second_opinion.ask" in answer.message
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


# ------------------------------------------------------------------------------------------------ the worker


@pytest.fixture(autouse=True)
def models_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)


@pytest.fixture
def started() -> Iterator[Callable[..., WorkerGrounder]]:
    running: list[WorkerGrounder] = []

    def start(name: str, timeout_s: float = 20.0, **options: str) -> WorkerGrounder:
        running.append(WorkerGrounder(f"referring_models:{name}", options, timeout_s=timeout_s))
        running[-1].start()
        return running[-1]

    yield start
    for grounder in running:
        grounder.close()


def test_a_worker_refers_as_its_backend_does(started: Callable[..., WorkerGrounder]) -> None:
    grounder, own = started("Echoing"), referring_models.Echoing()
    for words in ("the chick behind the cup", "größte Dose", ""):
        assert grounder.refer(IMAGE, words) == own.refer(IMAGE, words)
    assert grounder.refer(IMAGE, "nothing") == ()
    phrases = [NounPhrase("cup")]
    assert grounder.ground(IMAGE, phrases).detections == ()
    assert grounder.refer(IMAGE, "again") == own.refer(IMAGE, "again")


def test_a_backend_that_cannot_refer_is_said_so_and_lives_on(started: Callable[..., WorkerGrounder]) -> None:
    grounder = started("Mute")
    pid = grounder.pid
    with pytest.raises(InputError, match=r"second_opinion\.ask.*Mute"):
        grounder.refer(IMAGE, "the cup")
    assert grounder.ground(IMAGE, [NounPhrase("cup")]).detections == ()
    assert grounder.pid == pid
    frame, detections = chicks_and_cup_frame()
    answer = Resolver(config_from(ASK), grounder).resolve(frame, "the chick behind the cup", detections)
    assert answer.status is Status.INVALID_INPUT


def test_failures_while_referring_keep_their_kind_and_the_process(started: Callable[..., WorkerGrounder]) -> None:
    grounder = started("Failing", kind="model")
    pid = grounder.pid
    for _ in range(2):
        with pytest.raises(ModelError, match="no memory left"):
            grounder.refer(IMAGE, "the cup")
    assert grounder.pid == pid
    with pytest.raises(ModelError, match="objects found"):
        started("Failing", kind="strange").refer(IMAGE, "the cup")


def test_referring_has_the_time_limit_of_a_request(started: Callable[..., WorkerGrounder]) -> None:
    grounder = started("Failing", timeout_s=0.3, kind="hang")
    with pytest.raises(ModelTimeoutError):
        grounder.refer(IMAGE, "the cup")
    assert not grounder.alive
    grounder.timeout_s = 20.0
    assert grounder.ground(IMAGE, [NounPhrase("cup")]).detections == ()


def test_the_whole_way_through_a_worker(started: Callable[..., WorkerGrounder]) -> None:
    frame, detections = chicks_and_cup_frame()
    answer = Resolver(config_from(ASK), started("chicks")).resolve(frame, "the chick behind the cup")
    assert answer.status is Status.OK
    opinion = answer.second_opinion
    assert opinion is not None
    assert (opinion.named_id, opinion.effect, opinion.words) == ("bonnet", "reported", "the chick behind the cup")
    assert "refer" in answer.timings_ms
    assert len(detections) > 1


# ------------------------------------------------------------------------------------------------ the wire


def test_a_request_and_its_answer_are_the_same_after_the_wire() -> None:
    header, body = wire.refer(7, IMAGE, "the cup")
    sent = msgspec.msgpack.Decoder(wire.ToWorker).decode(msgspec.msgpack.encode(header))
    assert (sent.number, sent.words) == (7, "the cup")
    assert np.array_equal(wire.image_of(sent, memoryview(bytes(body[0]))), IMAGE)
    found = (*boxed((0, 1, 2, 3.5)), *pointed((0.1, 0.2)), NamedObject("both", (0, 0, 1, 1), (0.5, 0.5), 0.25))
    answer = msgspec.msgpack.Decoder(wire.FromWorker).decode(msgspec.msgpack.encode(wire.referred(7, found)))
    assert wire.references_of(answer, memoryview(b"")) == found


@pytest.mark.parametrize("words", ["x" * 5000, "\ud800", 3])
def test_words_that_cannot_be_sent_are_refused_here(words: str) -> None:
    with pytest.raises(InputError, match="words"):
        wire.refer(1, IMAGE, words)


def test_an_image_of_another_shape_is_refused_here() -> None:
    with pytest.raises(ShapeError):
        wire.refer(1, IMAGE[..., 0], "the cup")  # type: ignore[arg-type]
    header, body = wire.refer(1, IMAGE, "the cup")
    with pytest.raises(wire.WireError, match="bytes for 64x48"):
        wire.image_of(header, memoryview(bytes(body[0]))[:-1])


@pytest.mark.parametrize(
    "object_",
    [
        wire.Named("", (0.0, 0.0, float("nan"), 1.0), None, None),
        wire.Named("", None, (float("inf"), 0.0), None),
        wire.Named("", None, (0.0, 0.0), float("nan")),
    ],
)
def test_numbers_that_are_none_are_nonsense(object_: wire.Named) -> None:
    with pytest.raises(wire.WireError, match="an invalid object"):
        wire.references_of(wire.Referred(1, (object_,)), memoryview(b""))


def test_too_much_is_nonsense() -> None:
    many = (wire.Named("", None, (0.0, 0.0), None),) * (MOST_FOUND + 1)
    with pytest.raises(wire.WireError, match="1001 references"):
        wire.references_of(wire.Referred(1, many), memoryview(b""))
    with pytest.raises(wire.WireError, match="3 bytes"):
        wire.references_of(wire.Referred(1, ()), memoryview(b"abc"))
    with pytest.raises(InputError, match="1001 objects"):
        wire.referred(1, pointed((0.0, 0.0)) * (MOST_FOUND + 1))
