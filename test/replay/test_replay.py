# SPDX-License-Identifier: Apache-2.0
"""A replay answers what the live node would have answered: on the right frame, with the right transform, or not."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_builder import FIXED, MS, SMALL, WORDS, BagBuilder, distance, make, replayed, scene, seconds

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.evaluation.bags.reader import open_bag
from spatial_vlm_ros.evaluation.bags.topics import choose_roles
from spatial_vlm_ros.evaluation.replay import ReplayedAnswer, replay
from spatial_vlm_ros.parameters import StreamConfig, config_from
from spatial_vlm_ros.perception.given_detections import GivenDetections
from spatial_vlm_ros.perception.replies import NamedObject
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.tabletop import Rendering
from spatial_vlm_ros.streams.frame_assembler import DEPTH, DETECTIONS, RGB, RGB_INFO, SECOND
from spatial_vlm_ros.types import PinholeCamera, Rgb, Status, Transform

CAMERA_FRAME = FIXED.child


@pytest.fixture(scope="module")
def seen() -> Rendering:
    return scene()


@pytest.fixture
def bag(tmp_path: Path) -> BagBuilder:
    return BagBuilder(tmp_path / "bag")


@pytest.fixture
def still(bag: BagBuilder, seen: Rendering) -> Path:
    """Five frames, 100 ms apart, of a camera that stands."""
    with bag:
        bag.stands(FIXED)
        for n in range(5):
            bag.frame(seen, seconds(0.1 * (n + 1)))
    return bag.out


# ------------------------------------------------------------------------------------------------ when it is asked


def test_an_instruction_is_answered_on_the_first_complete_frame_as_if_resolved_there(
    still: Path, seen: Rendering
) -> None:
    (answer,) = replayed(still, WORDS)
    direct = Resolver().resolve(seen.frame, WORDS, seen.detections)
    assert answer.resolution.stamp_ns == answer.log_ns == seconds(0.1)
    assert answer.resolution.status is Status.OK
    assert answer.resolution.candidates == direct.candidates
    assert distance(answer.resolution, direct) < 1e-9
    assert answer.frame is not None
    assert np.array_equal(answer.frame.rgb, seen.frame.rgb)
    assert np.array_equal(answer.frame.depth, seen.frame.depth, equal_nan=True)


def test_several_instructions_are_answered_on_the_same_frame(still: Path) -> None:
    answers = replayed(still, WORDS, "the duck", "the chick", "the blah of of")
    assert [a.resolution.status.value for a in answers] == ["OK", "NOT_FOUND", "AMBIGUOUS", "NOT_UNDERSTOOD"]
    assert [a.resolution.stamp_ns for a in answers] == [*[seconds(0.1)] * 3, 0]  # words alone wait for no frame
    assert all(a.frame is answers[0].frame for a in answers[:3])
    assert answers[3].frame is None


class Pointing(GivenDetections):
    """Finds what is there, and points at the cup for whatever words."""

    def refer(self, rgb: Rgb, words: str) -> tuple[NamedObject, ...]:
        detections = self.ground(rgb, ()).detections
        return (NamedObject(words, next(d.box_xyxy for d in detections if d.id == "cup"), None, None),)


def test_words_outside_the_grammar_reach_a_model_on_the_same_frame(still: Path, seen: Rendering) -> None:
    words = ("grab me the thing I drink my coffee from", "put what I drink from on the box")
    resolver = Resolver(config_from({"language": {"free_form": "ask_model"}}), Pointing(seen.detections))
    asked, refused = replayed(still, *words, resolver=resolver, with_detections=False)
    direct = resolver.resolve(seen.frame, words[0])
    assert asked.resolution.source == "model"
    assert asked.resolution.stamp_ns == seconds(0.1)
    assert distance(asked.resolution, direct) < 1e-9
    assert (refused.resolution.status, refused.frame) == (Status.NOT_UNDERSTOOD, None)


def test_every_instruction_is_answered_on_every_frame_where_that_is_wanted(still: Path) -> None:
    answers = replayed(still, WORDS, "the duck", every=True)
    assert [a.resolution.stamp_ns for a in answers] == [seconds(0.1 * (n // 2 + 1)) for n in range(10)]
    assert {a.resolution.status for a in answers} == {Status.OK, Status.NOT_FOUND}


def test_a_time_of_asking_passes_over_frames_stamped_earlier(still: Path) -> None:
    (answer,) = replayed(still, WORDS, at=0.25)
    assert answer.resolution.stamp_ns == seconds(0.3)
    assert [a.resolution.stamp_ns for a in replayed(still, WORDS, at=0.35, every=True)] == [seconds(0.4), seconds(0.5)]


def test_a_time_of_asking_outside_of_the_bag_is_refused(still: Path) -> None:
    with pytest.raises(InputError, match=r"within the bag's 0\.5 s"):
        replayed(still, WORDS, at=7.0)
    with pytest.raises(InputError, match="0 or more"):
        replayed(still, WORDS, at=-1.0)
    for no_time in (float("nan"), float("inf")):
        with pytest.raises(InputError, match="0 or more"):
            replayed(still, WORDS, at=no_time)


def test_without_instruction_those_of_the_bag_are_answered_each_at_its_time(bag: BagBuilder, seen: Rendering) -> None:
    with bag:
        bag.stands(FIXED)
        bag.says(WORDS, seconds(0.15))
        bag.says("the duck", seconds(0.16))
        bag.says("the cup", seconds(0.25))
        for n in range(5):
            bag.frame(seen, seconds(0.1 * (n + 1)))
    answers = replayed(bag.out)
    assert [(a.resolution.instruction, a.resolution.stamp_ns) for a in answers] == [
        (WORDS, seconds(0.2)), ("the duck", seconds(0.2)), ("the cup", seconds(0.3)),
    ]  # fmt: skip
    assert [a.resolution.instruction for a in replayed(bag.out, "the box")] == ["the box"]


@pytest.mark.parametrize("ahead", [-1.0, 0.15])
def test_where_clocks_are_not_in_step_instructions_are_answered_on_what_arrives_a_latency_later(
    bag: BagBuilder, seen: Rendering, ahead: float
) -> None:
    with bag:
        bag.stands(FIXED)
        bag.says(WORDS, seconds(0.55))
        bag.says("the cup", seconds(0.65))
        for tenth in range(1, 12):
            bag.frame(seen, seconds(0.1 * tenth + ahead), seconds(0.1 * tenth))
    loose = {"clocks_in_step": False, "max_latency": 0.2, "max_ahead": 0.2}
    answers = replayed(bag.out, **loose)
    assert [(a.resolution.instruction, a.resolution.stamp_ns) for a in answers] == [
        (WORDS, seconds(0.8 + ahead)), ("the cup", seconds(0.9 + ahead)),
    ]  # fmt: skip
    refused = replayed(bag.out, **{**loose, "max_ahead": 0.1, "max_behind": 0.5})
    assert {a.resolution.status for a in refused} == {Status.STALE_INPUT}
    assert all("/rgb/image is stamped" in a.resolution.message for a in refused)


def test_without_any_instruction_nothing_is_guessed(still: Path) -> None:
    for settings in ({}, {"at": 1.0}, {"every": True}):
        with pytest.raises(InputError, match="instruction"):
            replayed(still, **settings)


def test_a_bag_whose_stamps_are_simulated_and_whose_times_are_not_is_answered(bag: BagBuilder, seen: Rendering) -> None:
    with bag:
        bag.stands(FIXED)
        for n in range(3):
            bag.frame(seen, 5 * SECOND + n * 100 * MS, seconds(0.1 * n))
    (answer,) = replayed(bag.out, WORDS)
    assert answer.resolution.status is Status.OK
    (late,) = replayed(bag.out, WORDS, at=0.1)
    assert late.resolution.status is Status.STALE_INPUT
    assert "use_sim_time" in late.resolution.message


def test_a_lead_in_before_the_camera_begins_is_no_wait(bag: BagBuilder, seen: Rendering) -> None:
    with bag:
        bag.stands(FIXED)
        bag.frame(seen, seconds(9))
    (answer,) = replayed(bag.out, WORDS)
    assert answer.resolution.status is Status.OK


# ------------------------------------------------------------------------------------------------ transforms

MOUNT = Transform("mount", CAMERA_FRAME, FIXED.matrix)


def base_T_mount(t: float) -> Transform:
    """A mount that drives straight and turns evenly: what tf2's interpolation follows exactly."""
    c, s = np.cos(0.3 * t), np.sin(0.3 * t)
    matrix = np.array([[c, -s, 0, 0.1 * t], [s, c, 0, -0.06 * t], [0, 0, 1, 0.02 * t], [0, 0, 0, 1]])
    return Transform("base_link", "mount", matrix)


def exact(t: float) -> Rendering:
    return scene(base_T_mount(t) @ MOUNT)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_moving_camera_is_placed_by_the_transform_at_the_stamp_of_the_image(storage: str, tmp_path: Path) -> None:
    stamps = (0.113, 0.231, 0.367)
    with BagBuilder(tmp_path / "bag", storage) as bag:
        bag.stands(MOUNT)
        for n in range(50):
            bag.moves(base_T_mount(0.02 * n), seconds(0.02 * n))
        for t in stamps:
            bag.frame(exact(t), seconds(t), seconds(t + 0.04))
    answers = replayed(bag.out, WORDS, every=True)
    assert [a.resolution.stamp_ns for a in answers] == [seconds(t) for t in stamps]
    for t, answer in zip(stamps, answers, strict=True):
        direct = Resolver().resolve(exact(t).frame, WORDS, exact(t).detections)
        assert distance(answer.resolution, direct) < 1e-6
        assert answer.resolution.target is not None
        assert answer.resolution.target.pose.frame_id == "base_link"


def moving(bag: BagBuilder, t: float, first: float, last: float, delay: float = 0.0, frames: int = 1) -> Path:
    """Frames from `t` on, and transforms stamped from `first` to `last`, recorded `delay` seconds later."""
    with bag:
        bag.stands(MOUNT)
        for stamp in np.arange(first, last + 1e-9, 0.02):
            bag.moves(base_T_mount(stamp), seconds(stamp), seconds(stamp + delay))
        for n in range(frames):
            bag.frame(exact(t + 0.1 * n), seconds(t + 0.1 * n))
    return bag.out


def test_a_transform_that_comes_a_fifth_of_a_second_late_is_waited_for(bag: BagBuilder) -> None:
    (answer,) = replayed(moving(bag, 0.31, first=0.0, last=0.6, delay=0.2), WORDS, at=0.1)
    assert answer.resolution.status is Status.OK
    assert answer.log_ns == seconds(0.52)
    direct = Resolver().resolve(exact(0.31).frame, WORDS, exact(0.31).detections)
    assert distance(answer.resolution, direct) < 1e-6


def test_a_transform_that_comes_too_late_is_not(bag: BagBuilder) -> None:
    (answer,) = replayed(moving(bag, 0.31, first=0.0, last=0.6, delay=0.8), WORDS, at=0.1)
    assert answer.resolution.status is Status.TF_UNAVAILABLE
    assert answer.resolution.target is None
    assert answer.frame is None
    assert answer.log_ns >= seconds(0.81)


def test_transforms_that_stop_are_named_with_how_far_they_lag(bag: BagBuilder) -> None:
    (answer,) = replayed(moving(bag, 0.31, first=0.0, last=0.2), WORDS, at=0.1)
    assert answer.resolution.status is Status.TF_UNAVAILABLE
    assert "the newest sample is 110.0 ms before the requested stamp" in answer.resolution.message


def test_frames_before_all_transforms_are_passed_over_after_the_words_too(bag: BagBuilder) -> None:
    (answer,) = replayed(moving(bag, 0.31, first=0.4, last=0.8, frames=5), WORDS, at=0.1)
    assert answer.resolution.status is Status.OK
    assert answer.resolution.stamp_ns == seconds(0.41)


def test_where_all_frames_lie_before_all_transforms_it_is_said(bag: BagBuilder) -> None:
    (answer,) = replayed(moving(bag, 0.31, first=0.4, last=0.8), WORDS, at=0.1)
    assert answer.resolution.status is Status.TF_UNAVAILABLE
    assert "the oldest sample is 90.0 ms after the requested stamp" in answer.resolution.message


def test_frames_before_all_transforms_are_passed_over_where_no_time_was_named(bag: BagBuilder) -> None:
    (answer,) = replayed(moving(bag, 0.31, first=0.4, last=0.8, frames=5), WORDS)
    assert answer.resolution.status is Status.OK
    assert answer.resolution.stamp_ns == seconds(0.41)


def test_every_frame_without_transform_is_a_refusal_of_its_own(bag: BagBuilder) -> None:
    answers = replayed(moving(bag, 0.31, first=0.4, last=0.8, frames=3), WORDS, every=True)
    assert [a.resolution.status.value for a in answers] == ["TF_UNAVAILABLE", "OK", "OK"]


# ------------------------------------------------------------------------------------------------ the speaker

MY_LEFT = "the chick on my left"


def person(x: float) -> Transform:
    """Somebody x metres before the base, who looks back at it."""
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0])
    matrix[0, 3] = x
    return Transform("base_link", "person", matrix)


def where(answer: ReplayedAnswer) -> float | None:
    """How far before the base the speaker of an answer's frame is."""
    assert answer.frame is not None
    assert answer.frame.base_T_camera is not None
    speaker = answer.frame.camera_T_speaker
    return None if speaker is None else float((answer.frame.base_T_camera @ speaker).translation[0])


def test_a_speaker_whose_transform_comes_late_is_waited_for_by_the_words_that_need_it(
    bag: BagBuilder, seen: Rendering
) -> None:
    with bag:
        bag.stands(FIXED)
        bag.frame(seen, seconds(1.0))
        for stamp, x in ((0.9, 1.0), (1.1, 2.0)):
            bag.moves(person(x), seconds(stamp), seconds(1.2))
        bag.frame(seen, seconds(2.0))
    (late,) = replayed(bag.out, MY_LEFT, speaker_frame="person")
    assert (where(late), late.log_ns) == (pytest.approx(1.5), seconds(1.2))
    (at_once,) = replayed(bag.out, WORDS, speaker_frame="person")
    assert (where(at_once), at_once.log_ns, at_once.resolution.status) == (None, seconds(1.0), Status.OK)


@pytest.mark.parametrize("seconds_after", [0.3, 3.0])
def test_a_speaker_who_never_comes_leaves_my_left_undefined_and_nothing_else(
    bag: BagBuilder, seen: Rendering, seconds_after: float
) -> None:
    with bag:
        bag.stands(FIXED)
        bag.frame(seen, seconds(1.0))
        bag.frame(seen, seconds(1.0 + seconds_after))
    answers = replayed(bag.out, MY_LEFT, WORDS, speaker_frame="person")
    assert [where(answer) for answer in answers] == [None, None]
    assert [answer.resolution.status for answer in answers] == [Status.FRAME_UNDEFINED, Status.OK]


def test_a_frame_that_nobody_published_is_named_with_those_that_are(still: Path) -> None:
    (answer,) = replayed(still, WORDS, base_frame="map")
    assert answer.resolution.status is Status.TF_UNAVAILABLE
    assert "frame 'map' was never published (known: base_link, camera_color_optical_frame)" in answer.resolution.message


def test_a_bag_without_transforms_gives_poses_in_the_frame_of_the_camera_where_that_is_wanted(
    bag: BagBuilder, seen: Rendering
) -> None:
    with bag:
        for n in range(30):
            bag.frame(seen, seconds(0.1 * n))
    answers = replayed(bag.out, WORDS, "the cup")
    assert {a.resolution.status for a in answers} == {Status.TF_UNAVAILABLE}
    assert "the bag has no transforms" in answers[0].resolution.message
    assert "--base-frame ''" in answers[0].resolution.message
    assert len(replayed(bag.out, WORDS, every=True)) == 30
    (answer,) = replayed(bag.out, WORDS, base_frame="")
    assert answer.resolution.target is not None
    assert answer.resolution.target.pose.frame_id == CAMERA_FRAME


def test_a_leading_slash_of_a_frame_id_makes_no_difference(bag: BagBuilder, seen: Rendering) -> None:
    slashed = dataclasses.replace(seen.frame, frame_id=f"/{CAMERA_FRAME}", base_T_camera=None)
    with bag:
        bag.stands(FIXED)
        bag.frame((slashed, seen.detections), seconds(0.1))
    (answer,) = replayed(bag.out, WORDS)
    assert answer.resolution.status is Status.OK


def test_transforms_that_are_none_are_left_out(bag: BagBuilder, seen: Rendering) -> None:
    def broken(compose: Any) -> Any:
        entry = compose.transform_stamped(FIXED, seconds(0.05))
        rotation = make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=0.0)
        nothing = dataclasses.replace(entry.transform, rotation=rotation)
        return compose.tf_message([dataclasses.replace(entry, transform=nothing)])

    with bag:
        bag.stands(FIXED)
        bag.message("/tf", "tf2_msgs/msg/TFMessage", seconds(0.05), broken)
        bag.frame(seen, seconds(0.1))
    (answer,) = replayed(bag.out, WORDS)
    assert answer.resolution.status is Status.OK


# ------------------------------------------------------------------------------------------------ camera info


def test_an_uncalibrated_camera_is_refused(bag: BagBuilder, seen: Rendering) -> None:
    with bag:
        bag.stands(FIXED)
        bag.frame(seen, seconds(0.1), change_info=lambda info: dataclasses.replace(info, k=np.zeros(9)))
    (answer,) = replayed(bag.out, WORDS)
    assert answer.resolution.status is Status.INVALID_INPUT
    assert "not calibrated" in answer.resolution.message


def test_a_bag_without_camera_info_is_refused_with_the_option(bag: BagBuilder, seen: Rendering) -> None:
    with bag:
        bag.stands(FIXED)
        bag.frame(seen, seconds(0.1), leave_out=(RGB_INFO,))
    with pytest.raises(InputError, match="--camera-info"):
        replayed(bag.out, WORDS)


def test_a_camera_that_zooms_is_read_with_the_camera_info_of_each_image(bag: BagBuilder) -> None:
    zoomed = PinholeCamera(SMALL.K * [[1.5, 1, 1], [1, 1.5, 1], [1, 1, 1]], SMALL.width, SMALL.height)
    views = [scene(camera=camera) for camera in (SMALL, SMALL, zoomed, zoomed)]
    with bag:
        bag.stands(FIXED)
        for n, view in enumerate(views):
            bag.frame(view, seconds(0.1 * (n + 1)))
    answers = replayed(bag.out, WORDS, every=True)
    assert len(answers) == 4
    for view, answer in zip(views, answers, strict=True):
        assert answer.frame is not None
        assert np.allclose(answer.frame.camera.K, view.frame.camera.K)
        assert distance(answer.resolution, Resolver().resolve(view.frame, WORDS, view.detections)) < 1e-6


def test_camera_info_that_is_sent_once_holds_for_all_images(bag: BagBuilder, seen: Rendering) -> None:
    with bag:
        bag.stands(FIXED)
        bag.message(
            "/rgb/camera_info", "sensor_msgs/msg/CameraInfo", seconds(0.0),
            lambda compose: compose.camera_info(SMALL, compose.header(seconds(-1.0), CAMERA_FRAME)),
        )  # fmt: skip
        for n in range(4):
            bag.frame(seen, seconds(0.1 * n), leave_out=(RGB_INFO,))
    assert [a.resolution.status for a in replayed(bag.out, WORDS, every=True)] == [Status.OK] * 4


# ------------------------------------------------------------------------------------------------ stamps


@pytest.mark.parametrize(
    ("silent", "topic"), [(DEPTH, "/depth/image"), (RGB, "/rgb/image"), (DETECTIONS, "/detections")]
)
def test_a_stream_that_falls_silent_is_named(silent: str, topic: str, bag: BagBuilder, seen: Rendering) -> None:
    with bag:
        bag.stands(FIXED)
        for n in range(40):
            bag.frame(seen, seconds(0.1 * n), leave_out=(silent,) if n else ())
    (answer,) = replayed(bag.out, WORDS, at=1.0)
    assert answer.resolution.status is Status.STALE_INPUT
    assert f"no message on {topic} since the request" in answer.resolution.message
    assert answer.log_ns == seconds(3.0)  # frame_timeout later


def test_a_bag_that_ends_while_an_instruction_waits_refuses_it(bag: BagBuilder, seen: Rendering) -> None:
    with bag:
        bag.stands(FIXED)
        bag.frame(seen, seconds(0.1))
        bag.says(WORDS, seconds(0.2))
        bag.says("the blah of of", seconds(0.3))
    first, second = replayed(bag.out)
    assert first.resolution.status is Status.STALE_INPUT
    assert second.resolution.status is Status.NOT_UNDERSTOOD


@pytest.mark.parametrize("every", [False, True])
def test_depth_that_is_never_taken_with_colour_is_not_synchronised(
    every: bool, bag: BagBuilder, seen: Rendering
) -> None:
    with bag:
        bag.stands(FIXED)
        for n in range(10):
            bag.frame(seen, seconds(0.1 * n), depth_stamp_ns=seconds(0.1 * n + 0.05))
    (answer,) = replayed(bag.out, WORDS, every=every)
    assert answer.resolution.status is Status.NOT_SYNCHRONISED
    assert "0.050 s apart" in answer.resolution.message
    wide = replayed(bag.out, WORDS, every=every, sync_slop=0.06)
    assert {a.resolution.status for a in wide} == {Status.OK}


def test_repeated_stamps_are_answered_once(bag: BagBuilder, seen: Rendering) -> None:
    with bag:
        bag.stands(FIXED)
        for n in range(6):
            bag.frame(seen, seconds(0.1 * (n // 2)), seconds(0.1 * n))
    answers = replayed(bag.out, WORDS, every=True)
    assert [a.resolution.stamp_ns for a in answers] == [seconds(0.0), seconds(0.1), seconds(0.2)]


def test_stamps_that_jump_back_begin_anew(bag: BagBuilder, seen: Rendering) -> None:
    stamps = [10.0, 10.1, 10.2, 3.0, 3.1, 3.2]
    with bag:
        bag.stands(FIXED)
        for n, stamp in enumerate(stamps):
            bag.frame(seen, seconds(stamp), seconds(0.1 * n))
    answers = replayed(bag.out, WORDS, every=True)
    assert [a.resolution.stamp_ns for a in answers] == [seconds(stamp) for stamp in stamps]
    assert {a.resolution.status for a in answers} == {Status.OK}


def test_images_out_of_order_are_each_answered_or_passed_over_but_never_mixed(bag: BagBuilder, seen: Rendering) -> None:
    stamps = [0.0, 0.2, 0.1, 0.4, 0.3, 0.5]
    with bag:
        bag.stands(FIXED)
        for n, stamp in enumerate(stamps):
            bag.frame(seen, seconds(stamp), seconds(0.1 * n))
    answers = replayed(bag.out, WORDS, every=True)
    assert {a.resolution.status for a in answers} == {Status.OK}
    assert len({a.resolution.stamp_ns for a in answers}) == len(answers) >= 4


# ------------------------------------------------------------------------------------------------ frames


def test_depth_in_a_frame_of_its_own_is_not_taken_for_registered(bag: BagBuilder, seen: Rendering) -> None:
    with bag:
        bag.stands(FIXED)
        bag.frame(seen, seconds(0.1), leave_out=(DEPTH,))
        bag.message(
            "/depth/image", "sensor_msgs/msg/Image", seconds(0.1),
            lambda compose: compose.image_depth(seen.frame.depth, compose.header(seconds(0.1), "camera_depth_frame")),
        )  # fmt: skip
    (answer,) = replayed(bag.out, WORDS)
    assert answer.resolution.status is Status.INVALID_INPUT
    assert "depth_registered: false" in answer.resolution.message


@pytest.mark.parametrize("base_frame", ["", "base_link"])
def test_images_without_frame_id_are_refused(base_frame: str, bag: BagBuilder, seen: Rendering) -> None:
    def nameless(compose: Any, image: Callable[[Any], Any]) -> Any:
        return image(compose.header(seconds(0.1), ""))

    with bag:
        bag.stands(FIXED)
        bag.frame(seen, seconds(0.1), leave_out=(RGB,))
        bag.message("/rgb/image", "sensor_msgs/msg/Image", seconds(0.1),
                    lambda compose: nameless(compose, lambda h: compose.image_rgb(seen.frame.rgb, h)))  # fmt: skip
    (answer,) = replayed(bag.out, WORDS, base_frame=base_frame)
    assert answer.resolution.status is Status.INVALID_INPUT
    assert "frame id" in answer.resolution.message


# ------------------------------------------------------------------------------------------------ damaged bags


def test_what_was_answered_before_the_damage_is_good(seen: Rendering, tmp_path: Path) -> None:
    with BagBuilder(tmp_path / "bag", "sqlite3") as bag:
        bag.stands(FIXED)
        for n in range(4):
            bag.frame(seen, seconds(0.1 * n))
    db = sqlite3.connect(next(bag.out.glob("*.db3")))
    db.execute("UPDATE messages SET data = x'0001' WHERE timestamp = ?", (seconds(0.2),))
    db.commit()
    db.close()
    with open_bag(bag.out) as opened:
        roles = choose_roles(opened.contents, StreamConfig())
        answers = replay(opened, Resolver(), roles, StreamConfig(), [WORDS], every=True)
        assert [next(answers).resolution.status for _ in range(2)] == [Status.OK, Status.OK]
        with pytest.raises(FileError, match=r"recorded at 1700000000200000000 ns.*\.recover"):
            next(answers)


def test_a_bag_that_ends_in_the_middle_is_refused_with_the_repair(still: Path) -> None:
    file = next(still.glob("*.mcap"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(FileError, match="mcap recover"):
        replayed(still, WORDS)
