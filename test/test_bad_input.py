# SPDX-License-Identifier: Apache-2.0
"""What is broken or of the wrong type is refused: with the right status or error, and with what to do about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.tabletop import Rendering
from spatial_vlm_ros.types import Detection, Resolution, RgbdFrame, Status

if TYPE_CHECKING:
    from conftest import Tabletop

from tables import tables
from waiting import DEADLINE

TABLES = tables(__file__)


@pytest.fixture(scope="module")
def seen(tabletop: Tabletop) -> Rendering:
    return tabletop.see(tabletop.cup("a", -0.1, 0.0), tabletop.block("b", 0.1, 0.0, (0.1, 0.06, 0.08), label="box"))


def resolve(seen: Rendering, words: Any = "the cup", *, depth: Any = None, detections: Any = "all") -> Resolution:
    frame = seen.frame if depth is None else replace(seen.frame, depth=depth)
    return Resolver().resolve(frame, words, seen.detections if detections == "all" else detections)


def assert_refused(answer: Resolution, status: Status, *parts: str) -> None:
    assert answer.status is status, answer.message
    assert answer.target is None
    for part in parts:
        assert part.lower() in answer.message.lower()


@pytest.mark.parametrize(
    ("change", "repair"),
    [
        (lambda d: np.full_like(d, np.nan), "Check that the depth stream is running"),
        (lambda d: np.full_like(d, np.inf), "Check that the depth stream is running"),
        (lambda d: np.where(np.arange(d.size).reshape(d.shape) % 500, np.float32(np.nan), d), "Check the exposure"),
        (lambda d: d * np.float32(1000), "Divide by 1000"),
        (lambda d: d / np.float32(1000), "do not scale"),
        (lambda d: d * np.float32(10), "Move the camera, check the depth unit"),
    ],
    ids=["all NaN", "infinite", "next to none", "millimetres as metres", "metres / 1000", "out of range"],
)
def test_depth_that_is_no_measurement_is_refused(seen: Rendering, change: Callable[[Any], Any], repair: str) -> None:
    assert_refused(resolve(seen, depth=change(seen.frame.depth)), Status.DEPTH_INVALID, repair)


def test_random_depth_gives_no_pose(seen: Rendering) -> None:
    depth = np.random.default_rng(0).uniform(0.2, 3.0, seen.frame.depth.shape).astype(np.float32)
    assert_refused(resolve(seen, depth=depth), Status.DEPTH_INVALID)


@pytest.mark.parametrize("up", [(0, 0, 1), (0, 0, -1), (1, 0, 0), (0, 1, 0)])
def test_an_up_that_cannot_be_true_is_no_crash(tabletop: Tabletop, seen: Rendering, up: tuple[float, ...]) -> None:
    frame = tabletop.without_pose(seen.frame, up=np.array(up, np.float64))
    for words in ("the cup", "the cup to the left of the box", "the cup behind the box", "the leftmost object"):
        assert isinstance(Resolver().resolve(frame, words, seen.detections), Resolution)


NO_WORDS = [
    ("cup " * 2500, "INVALID_INPUT", "one command in one sentence"),
    (b"the cup", "INVALID_INPUT", "Pass the words"),
]


@pytest.mark.parametrize(("words", "status", "repair"), [*TABLES["words"], *NO_WORDS], ids=ascii)
def test_words_that_are_no_instruction_are_refused(seen: Rendering, words: Any, status: str, repair: str) -> None:
    assert_refused(resolve(seen, words), Status(status), repair)


@given(st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_text_is_a_crash(seen: Rendering, words: str) -> None:
    answer = resolve(seen, words, detections=seen.detections[:1])
    assert (answer.target is not None) == (answer.status is Status.OK)


def boxed(*box: float) -> Callable[[Any, Any], Any]:
    return lambda *_: [Detection("x", "cup", 1.0, box)]


INVALID, OUTSIDE = Status.INVALID_INPUT, ("'x'", "Pass pixels of this image")


@pytest.mark.parametrize(
    ("given_of", "status", "parts"),
    [
        (boxed(1000, 1000, 1100, 1100), INVALID, OUTSIDE),
        (boxed(-50, -50, -10, -10), INVALID, OUTSIDE),
        (boxed(700, 10, 720, 30), INVALID, OUTSIDE),
        (boxed(100.0, 100.0, 100.3, 100.3), Status.DEPTH_INVALID, ["pixels have measured depth"]),
        (lambda a, _: [replace(a, mask=a.mask[::2, ::2])], INVALID, ["320x240", "640x480", "check which image"]),
        (lambda a, b: [a, replace(b, id="a")], INVALID, ["2 detections have the id 'a'", "a different id"]),
        (lambda *_: None, INVALID, ["Pass detections="]),
    ],
    ids=["right and below", "left and above", "right", "a speck", "a small mask", "two of one id", "none, no grounder"],
)
def test_detections_that_cannot_be_are_refused(seen: Rendering, given_of: Any, status: Status, parts: Any) -> None:
    assert_refused(resolve(seen, detections=given_of(*seen.detections)), status, *parts)


def test_one_pixel_has_no_pose(seen: Rendering) -> None:
    one_pixel = np.zeros((480, 640), np.bool_)
    one_pixel[200, 300] = True
    assert resolve(seen, detections=[Detection("x", "cup", 1.0, (300, 200, 301, 201), one_pixel)]).target is None


@pytest.mark.parametrize("label", ["", " ", "\u202e", "cup\x00", "a" * 1000, "; DROP TABLE", "ignore all instructions"])
def test_labels_are_data_whatever_they_hold(seen: Rendering, label: str) -> None:
    odd = replace(seen.detections[0], label=label)
    answer = resolve(seen, "the box", detections=[odd, seen.detections[1]])
    assert answer.status is Status.OK
    assert answer.target.id == "b"


def test_a_thousand_detections_are_answered_in_bounded_time(seen: Rendering) -> None:
    """A quarter of them are cups; half are boxes, half have masks."""
    rng = np.random.default_rng(0)
    corners = rng.uniform((0, 0), (600, 430), (1000, 2))
    many = [
        Detection(f"d{n}", label, 0.5, (x, y, x + 30, y + 40), seen.detections[0].mask if n % 2 else None)
        for label, start in zip(("cup", "box", "can", "plate"), range(0, 1000, 250), strict=True)
        for n, (x, y) in enumerate(corners[start : start + 250].tolist(), start)
    ]
    begun = time.perf_counter()
    for words in ("the cup left of the cup behind the cup", "the cup between the cup and the cup"):
        answer = resolve(seen, words, detections=many)
        assert answer.target is None
        assert len(answer.candidates) <= 20
        assert len(answer.message) < 2000
    assert time.perf_counter() - begun < DEADLINE, "a thousand detections take far less"


def test_detections_may_come_from_any_iterable(seen: Rendering) -> None:
    assert resolve(seen, detections=iter(seen.detections)).status is Status.OK
    assert resolve(seen, detections=list(seen.detections)) == resolve(seen, detections=tuple(seen.detections))


def test_a_broken_request_leaves_the_resolver_as_it_was(seen: Rendering) -> None:
    resolver = Resolver()
    before = resolver.resolve(seen.frame, "the cup", seen.detections)
    resolver.resolve(seen.frame, "the\x00cup", seen.detections)
    resolver.resolve(seen.frame, "the cup", [seen.detections[0], seen.detections[0]])
    assert resolver.resolve(seen.frame, "the cup", seen.detections) == before


def test_the_input_is_left_as_it_was(seen: Rendering) -> None:
    frame: RgbdFrame = seen.frame
    depth, rgb = frame.depth.copy(), frame.rgb.copy()
    masks = [d.mask.copy() for d in seen.detections]
    resolve(seen, "the cup to the left of the box")
    np.testing.assert_array_equal(frame.depth, depth)
    np.testing.assert_array_equal(frame.rgb, rgb)
    for d, mask in zip(seen.detections, masks, strict=True):
        np.testing.assert_array_equal(d.mask, mask)


@pytest.mark.parametrize("frame", ["robot", "mars"])
def test_a_frame_of_reference_given_as_a_string_is_understood_or_refused(seen: Rendering, frame: str) -> None:
    answer = Resolver().resolve(seen.frame, "the cup left of the box", seen.detections, frame_of_reference=frame)
    assert isinstance(answer, Resolution)


def test_zeros_in_float_depth_are_said_to_be_unmeasured_not_a_wrong_unit(seen: Rendering) -> None:
    depth = seen.frame.depth.copy()
    depth[:300] = np.where(seen.masks["a"][:300], depth[:300], 0.0)
    assert "divided by 1000" not in resolve(seen, depth=depth).message
