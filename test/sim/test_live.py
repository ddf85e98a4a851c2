# SPDX-License-Identifier: Apache-2.0
"""A simulated world as a live camera: whole millimetres, noise that changes, the errors that were asked for."""

from __future__ import annotations

import numpy as np
import pytest

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.live import simulated_frames

pytest.importorskip("mujoco")


def test_shots_differ_in_noise_and_their_depth_is_in_whole_millimetres() -> None:
    shots = [frame for frame, _ in simulated_frames("behind", 640, {}, 3)]
    assert len(shots) == 3
    for frame in shots:
        assert frame.depth.dtype == np.float32
        assert frame.depth.shape == (480, 640)
        measured = frame.depth[np.isfinite(frame.depth)].astype(np.float64)
        assert np.array_equal((np.rint(measured * 1000) * 0.001).astype(np.float32), measured.astype(np.float32))
        assert measured.size > 0.5 * frame.depth.size
    both = np.isfinite(shots[0].depth) & np.isfinite(shots[1].depth)
    change = np.abs(shots[0].depth - shots[1].depth)[both]
    assert 0.0001 < np.median(change) < 0.02


def test_the_same_shots_come_again() -> None:
    one, other = (list(simulated_frames("swapped", 320, {"jitter": "0.1"}, 2)) for _ in range(2))
    for (frame, found), (again, found_again) in zip(one, other, strict=True):
        assert np.array_equal(frame.depth, again.depth, equal_nan=True)
        assert np.array_equal(frame.rgb, again.rgb)
        assert [d.box_xyxy for d in found] == [d.box_xyxy for d in found_again]


@pytest.mark.parametrize(("world", "status", "target"), [("behind", "OK", "bonnet"), ("swapped", "OK", "ribbon"),
                                                         ("both_in_front", "RELATION_UNSATISFIED", None)])  # fmt: skip
def test_the_demo_worlds_are_as_they_are_called(world: str, status: str, target: str | None) -> None:
    ((frame, found),) = simulated_frames(world, 640, {}, 1)
    answer = Resolver().resolve(frame, "grab me the chick behind the cup", found)
    assert answer.status.value == status, answer.message
    assert (answer.target.id if answer.target else None) == target


def test_a_wide_image_is_sixteen_to_nine_and_others_are_four_to_three() -> None:
    for width, height in ((1280, 720), (640, 480), (320, 240)):
        ((frame, found),) = simulated_frames("behind", width, {}, 1)
        assert frame.rgb.shape == (height, width, 3)
        assert frame.depth.shape == (height, width)
        assert (frame.camera.width, frame.camera.height) == (width, height)
        assert all(d.mask is not None and d.mask.shape == (height, width) for d in found)


def test_a_seed_is_a_world_of_its_own_with_a_number_of_objects() -> None:
    ((seven, of_seven),) = simulated_frames("7", 320, {"objects": "5"}, 1)
    ((eight, _),) = simulated_frames("8", 320, {"objects": "5"}, 1)
    assert not np.array_equal(seven.rgb, eight.rgb)
    assert 1 <= len(of_seven) <= 5


def test_the_detector_errs_as_it_is_told() -> None:
    ((_, perfect),) = simulated_frames("behind", 320, {}, 1)
    ((_, boxes),) = simulated_frames("behind", 320, {"masks": "none"}, 1)
    ((_, nothing),) = simulated_frames("behind", 320, {"misses": "1.0"}, 1)
    assert all(d.mask is not None for d in perfect)
    assert [d.id for d in boxes] == [d.id for d in perfect]
    assert all(d.mask is None for d in boxes)
    assert nothing == ()


@pytest.mark.parametrize("world", ["nowhere", "", "-3", "2.5", "²"])
def test_an_unknown_world_is_named_with_those_there_are(world: str) -> None:
    with pytest.raises(UnknownNameError, match="both_in_front"):
        next(simulated_frames(world, 320, {}, 1))


@pytest.mark.parametrize("options", [{"misses": "2"}, {"jitter": "much"}, {"colour": "red"}, {"masks": "round"},
                                     {"objects": "0"}])  # fmt: skip
def test_an_option_of_the_detector_that_is_none_is_refused(options: dict[str, str]) -> None:
    world = "7" if "objects" in options else "behind"
    with pytest.raises(InputError):
        next(simulated_frames(world, 320, options, 1))
