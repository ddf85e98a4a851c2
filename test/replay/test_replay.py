# SPDX-License-Identifier: Apache-2.0
"""A replay answers what the live node would have answered, also with a robot in the images and on bags of ROS 1."""

import dataclasses
import itertools
import sqlite3
import struct
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bag_builder import FIXED, MS, T0, WORDS, BagBuilder, distance, make, replayed, scene, seconds
from cli_runs import ended, told
from rosbags.convert.converter import convert
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from spatial_vlm_ros.doctor.bags import examine_bag
from spatial_vlm_ros.doctor.findings import Severity
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.manipulation.planning.hulls import Hull
from spatial_vlm_ros.manipulation.planning.robot_model import RobotModel
from spatial_vlm_ros.parameters import DepthConfig, Settings, StreamConfig, config_from
from spatial_vlm_ros.perception.coordinates import NamedObject
from spatial_vlm_ros.perception.imported_detections import GivenDetections
from spatial_vlm_ros.recording.bags.topics import (
    COMPRESSED_IMAGE,
    DEFINITIONS,
    choose_roles,
    open_bag,
)
from spatial_vlm_ros.recording.frame_folder import load_frame
from spatial_vlm_ros.recording.replay import ReplayedAnswer, replay
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup
from spatial_vlm_ros.sim.tabletop import Rendering
from spatial_vlm_ros.spatial.detector_profile import UNMEASURED
from spatial_vlm_ros.streams.frame_assembler import DEPTH, DETECTIONS, RGB, RGB_INFO, SECOND
from spatial_vlm_ros.types import Rgb, Status, Transform

pytest.importorskip("rosbags")

from tables import tables

TABLES = tables(__file__)

CAMERA_FRAME = FIXED.child


@pytest.fixture(scope="module")
def seen() -> Rendering:
    return scene()


@pytest.fixture
def bag(tmp_path: Path) -> BagBuilder:
    return BagBuilder(tmp_path / "bag")


def filmed(out: BagBuilder, stamps: Iterable[float], **of_each: Callable[[int], Any]) -> Path:
    """Frames of a camera that stands, with what is told of each by its number."""
    seen = scene()
    with out:
        out.stands(FIXED)
        for n, stamp in enumerate(stamps):
            out.frame(seen, seconds(stamp), **{name: told(n) for name, told in of_each.items()})
    return out.out


def asked_at(answers: list[ReplayedAnswer]) -> list[tuple[str, int]]:
    return [(a.resolution.instruction, a.resolution.stamp_ns) for a in answers]


def tenths(count: int, first: int = 0) -> list[float]:
    return [0.1 * (first + n) for n in range(count)]


@pytest.fixture
def still(bag: BagBuilder) -> Path:
    """Five frames, 100 ms apart, of a camera that stands."""
    return filmed(bag, tenths(5, first=1))


def test_an_instruction_is_answered_on_the_first_complete_frame_as_there(still: Path, seen: Rendering) -> None:
    answers = replayed(still, WORDS, "the duck", "the chick", "the blah of of")
    direct = Resolver().resolve(seen.frame, WORDS, seen.detections)
    assert [a.resolution.status.value for a in answers] == ["OK", "NOT_FOUND", "AMBIGUOUS", "NOT_UNDERSTOOD"]
    assert [a.resolution.stamp_ns for a in answers] == [*[seconds(0.1)] * 3, 0]  # words alone wait for no frame
    first = answers[0]
    assert first.log_ns == seconds(0.1)
    assert first.resolution.candidates == direct.candidates
    assert distance(first.resolution, direct) < 1e-9
    assert np.array_equal(first.frame.rgb, seen.frame.rgb)
    assert np.array_equal(first.frame.depth, seen.frame.depth, equal_nan=True)
    assert [a.frame for a in answers] == [*[first.frame] * 3, None]


class Pointing(GivenDetections):
    """Finds what is there, and points at the cup for whatever words."""

    def refer(self, rgb: Rgb, words: str) -> tuple[NamedObject, ...]:
        detections = self.ground(rgb, ()).detections
        return (NamedObject(words, next(d.box_xyxy for d in detections if d.id == "cup"), None, None),)


def test_words_outside_the_grammar_reach_a_model_on_the_same_frame(still: Path, seen: Rendering) -> None:
    (found,) = replayed(still, WORDS, resolver=Resolver(grounder=Pointing(seen.detections)), with_detections=False)
    assert distance(found.resolution, Resolver().resolve(seen.frame, WORDS, seen.detections)) < 1e-9
    words = ("grab me the thing I drink my coffee from", "put what I drink from on the box")
    resolver = Resolver(config_from({"language": {"free_form": "ask_model"}}), Pointing(seen.detections))
    asked, refused = replayed(still, *words, resolver=resolver, with_detections=False)
    direct = resolver.resolve(seen.frame, words[0])
    assert asked.resolution.source == "model"
    assert asked.resolution.stamp_ns == seconds(0.1)
    assert distance(asked.resolution, direct) < 1e-9
    assert (refused.resolution.status, refused.frame) == (Status.NOT_UNDERSTOOD, None)


def test_every_instruction_is_answered_on_every_frame_or_from_a_time_on_where_that_is_wanted(still: Path) -> None:
    answers = replayed(still, WORDS, "the duck", every=True)
    assert [a.resolution.stamp_ns for a in answers] == [seconds(0.1 * (n // 2 + 1)) for n in range(10)]
    assert {a.resolution.status for a in answers} == {Status.OK, Status.NOT_FOUND}
    (answer,) = replayed(still, WORDS, at=0.25)
    assert answer.resolution.stamp_ns == seconds(0.3)
    assert [a.resolution.stamp_ns for a in replayed(still, WORDS, at=0.35, every=True)] == [seconds(0.4), seconds(0.5)]


@pytest.mark.parametrize(("words", "options", "reason"), TABLES["refused"])
def test_what_cannot_be_asked_is_refused(still: Path, words: tuple[str, ...], options: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        replayed(still, *words, **options)


def test_without_instruction_those_of_the_bag_are_answered_each_at_its_time(bag: BagBuilder, seen: Rendering) -> None:
    with bag:
        bag.stands(FIXED)
        for t, words in ((0.15, WORDS), (0.16, "the duck"), (0.25, "the cup"), (0.55, "the box"), (0.6, "the of of")):
            bag.says(words, seconds(t))
        for n in range(5):
            bag.frame(seen, seconds(0.1 * (n + 1)))
    answers = replayed(bag.out)
    assert asked_at(answers[:3]) == [(WORDS, seconds(0.2)), ("the duck", seconds(0.2)), ("the cup", seconds(0.3))]
    # The bag ends while these wait.
    assert [a.resolution.status for a in answers[3:]] == [Status.STALE_INPUT, Status.NOT_UNDERSTOOD]
    assert [a.resolution.instruction for a in replayed(bag.out, "the box")] == ["the box"]


@pytest.mark.parametrize("ahead", [-1.0, 0.15])
def test_without_clocks_in_step_what_comes_later_answers(bag: BagBuilder, seen: Rendering, ahead: float) -> None:
    with bag:
        bag.stands(FIXED)
        bag.says(WORDS, seconds(0.55))
        bag.says("the cup", seconds(0.65))
        for tenth in range(1, 12):
            bag.frame(seen, seconds(0.1 * tenth + ahead), seconds(0.1 * tenth))
    loose = {"clocks_in_step": False, "max_latency": 0.2, "max_ahead": 0.2}
    answers = replayed(bag.out, **loose)
    assert asked_at(answers) == [(WORDS, seconds(0.8 + ahead)), ("the cup", seconds(0.9 + ahead))]
    refused = replayed(bag.out, **{**loose, "max_ahead": 0.1, "max_behind": 0.5})
    assert {a.resolution.status for a in refused} == {Status.STALE_INPUT}
    assert all("/rgb/image is stamped" in a.resolution.message for a in refused)


def test_a_bag_whose_stamps_are_simulated_and_whose_times_are_not_is_answered(bag: BagBuilder) -> None:
    simulated = [(5 * SECOND + n * 100 * MS - T0) / SECOND for n in range(3)]
    filmed(bag, simulated, log_ns=lambda n: seconds(0.1 * n))
    (answer,) = replayed(bag.out, WORDS)
    assert answer.resolution.status is Status.OK
    (late,) = replayed(bag.out, WORDS, at=0.1)
    assert late.resolution.status is Status.STALE_INPUT
    assert "use_sim_time" in late.resolution.message


def test_a_lead_in_before_the_camera_begins_is_no_wait(bag: BagBuilder) -> None:
    (answer,) = replayed(filmed(bag, [9.0]), WORDS)
    assert answer.resolution.status is Status.OK


MOUNT = Transform("mount", CAMERA_FRAME, FIXED.matrix)


def base_T_mount(t: float) -> Transform:
    """A mount that drives straight and turns evenly: what tf2's interpolation follows exactly."""
    c, s = np.cos(0.3 * t), np.sin(0.3 * t)
    matrix = np.array([[c, -s, 0, 0.1 * t], [s, c, 0, -0.06 * t], [0, 0, 1, 0.02 * t], [0, 0, 0, 1]])
    return Transform("base_link", "mount", matrix)


@cache
def exact(t: float) -> Rendering:
    return scene(base_T_mount(t) @ MOUNT)


def test_a_moving_camera_is_placed_by_the_transform_at_the_stamp_of_the_image(bag: BagBuilder) -> None:
    stamps = (0.113, 0.231, 0.367)
    with bag:
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


@pytest.mark.parametrize(("transforms", "options", "statuses", "stamp", "log", "said"), TABLES["transforms"])
def test_transforms_are_waited_for_and_those_that_cannot_come_are_said(
    bag: BagBuilder, transforms: dict[str, Any], options: dict[str, Any], statuses: list[str],
    stamp: float | None, log: float | None, said: str,
) -> None:  # fmt: skip
    answers = replayed(moving(bag, 0.31, **transforms), WORDS, **options)
    assert [a.resolution.status.value for a in answers] == statuses
    last = answers[-1]
    assert said in last.resolution.message
    assert log is None or last.log_ns == pytest.approx(seconds(log), abs=20 * MS)
    if stamp is None:
        assert (last.resolution.target, last.frame) == (None, None)
    else:
        assert last.resolution.stamp_ns == seconds(stamp)
        direct = Resolver().resolve(exact(stamp).frame, WORDS, exact(stamp).detections)
        assert distance(last.resolution, direct) < 1e-6


MY_LEFT = "the chick on my left"


def where(answer: ReplayedAnswer) -> float | None:
    """How far before the base the speaker of an answer's frame is."""
    speaker = answer.frame.camera_T_speaker
    return None if speaker is None else float((answer.frame.base_T_camera @ speaker).translation[0])


def test_a_speaker_whose_transform_comes_late_is_waited_for_by_words_that_need_it(bag: BagBuilder, seen: Any) -> None:
    with bag:
        bag.stands(FIXED)
        bag.frame(seen, seconds(1.0))
        for stamp, x in ((0.9, 1.0), (1.1, 2.0)):  # x metres before the base, looking back at it
            matrix = np.array([[-1, 0, 0, x], [0, -1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
            bag.moves(Transform("base_link", "person", matrix), seconds(stamp), seconds(1.2))
        bag.frame(seen, seconds(2.0))
    (late,) = replayed(bag.out, MY_LEFT, speaker_frame="person")
    assert (where(late), late.log_ns) == (pytest.approx(1.5), seconds(1.2))
    (never,) = replayed(bag.out, MY_LEFT, speaker_frame="nobody")
    assert (where(never), never.resolution.status) == (None, Status.FRAME_UNDEFINED)
    (at_once,) = replayed(bag.out, WORDS, speaker_frame="person")
    assert (where(at_once), at_once.log_ns, at_once.resolution.status) == (None, seconds(1.0), Status.OK)


def test_a_bag_without_transforms_gives_poses_of_the_camera_where_that_is_wanted(bag: BagBuilder, seen: Any) -> None:
    with bag:
        for n in range(30):
            bag.frame(seen, seconds(0.1 * n))
    answers = replayed(bag.out, WORDS, "the cup")
    assert {a.resolution.status for a in answers} == {Status.TF_UNAVAILABLE}
    assert "the bag has no transforms" in answers[0].resolution.message
    assert "--base-frame ''" in answers[0].resolution.message
    assert len(replayed(bag.out, WORDS, every=True)) == 30
    (at_once,) = replayed(bag.out, WORDS, at=1.0)
    assert at_once.log_ns < seconds(1.2)  # none is waited for
    (answer,) = replayed(bag.out, WORDS, base_frame="")
    assert answer.resolution.target.pose.frame_id == CAMERA_FRAME


def test_a_stream_that_falls_silent_is_named(bag: BagBuilder) -> None:
    filmed(bag, tenths(40), leave_out=lambda n: (DETECTIONS,) if n else ())
    (answer,) = replayed(bag.out, WORDS, at=1.0)
    assert answer.resolution.status is Status.STALE_INPUT
    assert "no message on /detections since the request" in answer.resolution.message
    assert answer.log_ns == seconds(3.0)  # frame_timeout later


@pytest.mark.parametrize("every", [False, True])
def test_depth_that_is_never_taken_with_colour_is_not_synchronised(every: bool, bag: BagBuilder) -> None:
    filmed(bag, tenths(10), depth_ns=lambda n: seconds(0.1 * n + 0.05))
    (answer,) = replayed(bag.out, WORDS, every=every)
    assert answer.resolution.status is Status.NOT_SYNCHRONISED
    assert "0.050 s apart" in answer.resolution.message
    wide = replayed(bag.out, WORDS, every=every, sync_slop=0.06)
    assert {a.resolution.status for a in wide} == {Status.OK}


@pytest.mark.parametrize(("stamps", "answered"), TABLES["jumps"])
def test_stamps_going_back_begin_anew_and_repeated_ones_count_once(stamps: Any, answered: Any, bag: BagBuilder) -> None:
    filmed(bag, stamps, log_ns=lambda n: seconds(0.1 * n))
    answers = replayed(bag.out, WORDS, every=True)
    assert [a.resolution.stamp_ns for a in answers] == [seconds(stamp) for stamp in answered]
    assert {a.resolution.status for a in answers} == {Status.OK}


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


def compressed(builder: BagBuilder, frame: Any, stamp_ns: int, image: str) -> None:
    """The two image topics as their transports would have compressed them."""
    _, colour = cv2.imencode(f".{image}", cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR))
    millimetres = np.nan_to_num(frame.depth * 1000).round().astype(np.uint16)
    _, depth = cv2.imencode(".png", millimetres)
    for topic, format_, data in (
        ("/camera/color/image_raw/compressed", f"rgb8; {image} compressed bgr8", colour.tobytes()),
        ("/camera/depth/image_raw/compressedDepth", "16UC1; compressedDepth png",
         struct.pack("<iff", 0, 0, 0) + depth.tobytes()),
    ):  # fmt: skip

        def message(compose: Any, format_: str = format_, data: bytes = data) -> Any:
            header = compose.header(stamp_ns, frame.frame_id)
            return make(COMPRESSED_IMAGE, header=header, format=format_, data=np.frombuffer(data, np.uint8))

        builder.message(topic, COMPRESSED_IMAGE, stamp_ns, message)


@pytest.mark.parametrize("image", ["png", "jpeg"])
def test_compressed_images_give_the_same_answer(image: str, bag: BagBuilder, real_frames: Path) -> None:
    frame, detections = load_frame(real_frames / "f01")
    with bag:
        compressed(bag, frame, T0, image)
        bag.frame((frame, detections), T0, leave_out=(RGB, DEPTH))
    given = {RGB_INFO: "/rgb/camera_info"}
    (answer,) = replayed(bag.out, "grab the can behind the cup", given=given, base_frame="")
    assert answer.resolution.target.id == "d1"
    assert np.array_equal(answer.frame.depth, frame.depth, equal_nan=True)
    if image == "png":
        stamped = dataclasses.replace(frame, stamp_ns=T0)
        observed = Resolver().look_at(stamped, detections, UNMEASURED)
        assert answer.resolution == observed.ask("grab the can behind the cup").resolution


def test_what_was_answered_before_the_damage_is_good(tmp_path: Path) -> None:
    out = filmed(BagBuilder(tmp_path / "bag", "sqlite3"), tenths(4))
    db = sqlite3.connect(next(out.glob("*.db3")))
    db.execute("UPDATE messages SET data = x'0001' WHERE timestamp = ?", (seconds(0.2),))
    db.commit()
    db.close()
    with open_bag(out) as opened:
        roles = choose_roles(opened.contents, StreamConfig())
        answers = replay(opened, Resolver(), roles, StreamConfig(), [WORDS], every=True)
        assert [next(answers).resolution.status for _ in range(2)] == [Status.OK, Status.OK]
        with pytest.raises(FileError, match=r"recorded at 1700000000200000000 ns.*\.recover"):
            next(answers)


SIZE = 0.13
CUBE = np.array(list(itertools.product((-0.5, 0.5), repeat=3))) * SIZE
ROBOT = RobotModel({"base_link": Hull(CUBE * 0.1), "hand": Hull(CUBE)}, 0.0, DepthConfig())
CONFIG = StreamConfig(robot_description="robot.urdf", robot_padding=0.0)
CHICK = "the chick"
URDF = f"""<robot name="two">
<link name="base_link"><collision><geometry><box size="{" ".join([str(SIZE / 10)] * 3)}"/></geometry></collision></link>
<link name="hand"><collision><geometry><box size="{" ".join([str(SIZE)] * 3)}"/></geometry></collision></link>
<joint name="joint" type="floating"><parent link="base_link"/><child link="hand"/></joint></robot>"""


def hand(shift: float = 0.0) -> Transform:
    """Around the chick with the bonnet, as it would be to take it; far from the others."""
    pose = np.eye(4)
    pose[:3, 3] = next(body.position for body in chicks_and_cup().bodies if body.id == "bonnet")
    pose[2, 3] += 0.05
    pose[0, 3] += shift
    return Transform("base_link", "hand", pose)


@pytest.fixture
def with_hand(tmp_path: Path) -> Path:
    """Three frames; the hand passes the chick: it is there at their stamps alone."""
    with BagBuilder(tmp_path / "bag") as made:
        made.stands(FIXED)
        for n in range(3):
            at = seconds(0.1 * (n + 1))
            made.frame(scene(), at)
            made.moves(hand(-1.0), at - 20 * MS)
            made.moves(hand(1.0), at + 20 * MS)
    return made.out


def answers(path: Path, config: StreamConfig = CONFIG, robot: RobotModel | None = ROBOT) -> list[ReplayedAnswer]:
    with open_bag(path) as opened:
        roles = choose_roles(opened.contents, config, None)
        return list(replay(opened, Resolver(), roles, config, [CHICK], robot=robot))


def test_the_robot_is_removed_at_the_stamp_of_each_image(with_hand: Path) -> None:
    (found,) = answers(with_hand)
    seen = scene()
    alone = ROBOT.removed(seen.frame, [Transform("base_link", "base_link", np.eye(4)), hand()])
    direct = Resolver().resolve(alone, CHICK, seen.detections)
    assert (found.resolution.status, direct.status) == (Status.OK, Status.OK)
    assert found.resolution.target.id == "ribbon"
    assert distance(found.resolution, direct) < 1e-9
    assert "Detections discarded as part of the robot: chick (bonnet)." in found.resolution.message
    assert found.log_ns == seconds(0.1) + 20 * MS  # it waited for the hand
    (raw,) = answers(with_hand, StreamConfig(), None)
    assert raw.resolution.status is Status.AMBIGUOUS


def test_a_link_that_the_bag_does_not_have_refuses_and_a_robot_has_to_be_given(with_hand: Path) -> None:
    absent = RobotModel({**ROBOT.hulls, "gripper": ROBOT.hulls["hand"]}, 0.0, DepthConfig())
    (found,) = answers(with_hand, robot=absent)
    assert found.resolution.status is Status.TF_UNAVAILABLE
    assert "gripper" in found.resolution.message
    with pytest.raises(InputError, match="robot_of"):
        answers(with_hand, robot=None)
    findings = {f.check: f for f in examine_bag(with_hand, Settings(streams=CONFIG), robot=absent)}
    assert findings["tf"].level is Severity.ERROR
    assert "gripper" in findings["tf"].found


def test_the_command_line_reads_the_description(with_hand: Path, tmp_path: Path) -> None:
    pytest.importorskip("pinocchio")
    path = tmp_path / "robot.urdf"
    path.write_text(URDF)
    asked = "replay", with_hand, CHICK, "--robot-description"
    assert told(*asked, path)["target"]["id"] == "ribbon"
    ended(*asked, tmp_path / "no.urdf", code=3, says="no such file")


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("ros1")
    filmed(BagBuilder(folder / "new"), [0.1, 1.1, 2.1])
    store = get_typestore(Stores.ROS1_NOETIC)
    for name, text in DEFINITIONS.items():  # ROS 1 knows no bounds
        store.register(get_types_from_msg(text.replace("[<=1]", "[]"), name))
    convert([folder / "new"], folder / "old.bag", "mcap", 8, None, "file", None, store, [], [], [], [])
    return folder / "new", folder / "old.bag"


def test_the_answers_are_the_same(bags: tuple[Path, Path]) -> None:
    new, old = (replayed(bag, WORDS)[0].resolution for bag in bags)
    assert (new.target.id, new.stamp_ns) == (old.target.id, old.stamp_ns)
    assert distance(new, old) < 1e-6


def test_its_bytes_are_not_played_into_ros_2(bags: tuple[Path, Path]) -> None:
    with open_bag(bags[1]) as old, pytest.raises(FileError, match=r"rosbags-convert --src old\.bag"):
        old.raw()


def test_a_file_that_ends_too_early_is_refused(bags: tuple[Path, Path], tmp_path: Path) -> None:
    cut = tmp_path / "cut.bag"
    cut.write_bytes(bags[1].read_bytes()[:5000])
    with pytest.raises(FileError, match=r"rosbag reindex cut\.bag"):
        open_bag(cut)
