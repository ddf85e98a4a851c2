# SPDX-License-Identifier: Apache-2.0
"""The demo worlds are as they are told, also as a live camera with noise and a detector with errors."""

from __future__ import annotations

import numpy as np
import pytest

from spatial_vlm_ros.errors import InputError, UnknownNameError
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.cameras import HD, VGA
from spatial_vlm_ros.sim.demo_worlds import DEMO_WORLDS
from spatial_vlm_ros.sim.grounder import SimulatorGrounder
from spatial_vlm_ros.sim.live import simulated_frames
from spatial_vlm_ros.sim.relation_truth import margin
from spatial_vlm_ros.sim.sensor import STEREO, noisy
from spatial_vlm_ros.types import Status

pytestmark = pytest.mark.usefixtures("_mujoco")
BEHIND = {"behind": "bonnet", "swapped": "ribbon", "both_in_front": None}


@pytest.mark.parametrize("name", DEMO_WORLDS)
def test_demo_worlds_are_as_they_are_told_and_the_chick_behind_the_cup_is_found_or_refused(name: str) -> None:
    with DEMO_WORLDS[name]() as world:
        assert world.at_rest()
        eye, cup, expected = world.base_T_camera.translation, world.truth["cup"], BEHIND[name]
        for camera in (VGA, HD):
            seen = world.render(camera)
            frame = noisy(seen.frame, np.random.default_rng(1), STEREO, seen.shiny)
            answer = Resolver(grounder=SimulatorGrounder(seen)).resolve(frame, "grab me the chick behind the cup")
            if expected is None:
                assert answer.status is Status.RELATION_UNSATISFIED
            else:
                assert (answer.status, answer.target.id) == (Status.OK, expected)
                assert answer.target.pose.frame_id == "base_link"
                error = np.subtract(answer.target.pose.position, world.truth[expected].centre)
                assert np.linalg.norm(error) < 0.02
        for id_ in ("bonnet", "ribbon"):
            true = world.truth[id_]
            assert true.label == "chick"
            assert id_ in true.attributes
            relation = "behind" if expected == id_ else "in front of"
            assert margin(relation, true, cup, eye) > 0.05
            assert (true.placed.relation, true.placed.anchor_ids) == (relation, ("cup",))
            assert seen.visible_fraction[id_] > 0.6
        assert margin("in", world.truth["orange"], world.truth["bowl"], eye) > 0
        assert 0.8 < np.linalg.norm(cup.centre - eye) < 1.1
        assert world.base_T_camera.parent == "base_link"


def test_shots_differ_in_noise_come_again_and_their_depth_is_in_whole_millimetres() -> None:
    one, other = (list(simulated_frames("swapped", 320, {"jitter": "0.1"}, 2)) for _ in range(2))
    for (frame, found), (again, found_again) in zip(one, other, strict=True):
        assert (frame.depth.dtype, frame.depth.shape) == (np.float32, (240, 320))
        measured = frame.depth[np.isfinite(frame.depth)].astype(np.float64)
        assert np.array_equal((np.rint(measured * 1000) * 0.001).astype(np.float32), measured.astype(np.float32))
        assert measured.size > 0.5 * frame.depth.size
        assert np.array_equal(frame.depth, again.depth, equal_nan=True)
        assert np.array_equal(frame.rgb, again.rgb)
        assert [d.box_xyxy for d in found] == [d.box_xyxy for d in found_again]
    change = np.abs(one[0][0].depth - one[1][0].depth)
    assert 0.0001 < np.nanmedian(change) < 0.02


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (640, 480), (320, 240)])
def test_a_wide_image_is_sixteen_to_nine_and_others_are_four_to_three(width: int, height: int) -> None:
    ((frame, found),) = simulated_frames("behind", width, {}, 1)
    assert frame.rgb.shape == (height, width, 3)
    assert frame.depth.shape == (height, width)
    assert (frame.camera.width, frame.camera.height) == (width, height)
    assert all(d.mask is not None and d.mask.shape == (height, width) for d in found)


def test_a_seed_is_a_world_of_its_own_and_the_detector_errs_as_it_is_told() -> None:
    ((seven, of_seven),) = simulated_frames("7", 320, {"objects": "5"}, 1)
    ((eight, boxes),) = simulated_frames("8", 320, {"objects": "5", "masks": "none"}, 1)
    assert not np.array_equal(seven.rgb, eight.rgb)
    assert 1 <= len(of_seven) <= 5
    assert all(d.mask is None for d in boxes)
    ((_, nothing),) = simulated_frames("behind", 320, {"misses": "1.0"}, 1)
    assert nothing == ()


@pytest.mark.parametrize(
    ("world", "options", "error", "words"),
    [
        *((world, {}, UnknownNameError, "both_in_front") for world in ("nowhere", "", "-3", "2.5", "²")),
        ("behind", {"misses": "2"}, InputError, "misses"),
        ("behind", {"jitter": "much"}, InputError, "jitter"),
        ("behind", {"colour": "red"}, InputError, "colour"),
        ("behind", {"masks": "round"}, InputError, "round"),
        ("7", {"objects": "0"}, InputError, "0 objects"),
    ],
)
def test_unknown_worlds_and_options_of_the_detector_are_refused(
    world: str, options: dict[str, str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        next(simulated_frames(world, 320, options, 1))
