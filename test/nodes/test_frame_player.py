# SPDX-License-Identifier: Apache-2.0
"""Frame folders and simulated worlds are published as a camera and a detector would."""

import itertools
import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_builder import FIXED, scene
from frame_folders import write_folder
from live_ears import Ears
from live_graph import Graph
from rclpy.exceptions import ParameterException
from rclpy.parameter import Parameter
from tf2_msgs.msg import TFMessage

from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.nodes.perception.frame_player import FramePlayer
from spatial_vlm_ros.recording.frame_folder import load_frame
from spatial_vlm_ros.sim.grounder import simulated_frames
from spatial_vlm_ros.sim.tabletop import look_at
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.frame_assembler import SECOND, stamp_of
from spatial_vlm_ros.streams.image import decode_rgb
from spatial_vlm_ros.types import Detection, Rgb, RgbdFrame

EYES = {"f1": FIXED, "f2": look_at((-0.8, 0.1, 0.5), (0.0, 0.0, 0.03), parent="base_link")}
NAMES: dict[int, str] = {}  # of the folders that frames show, by stamp
Play = Callable[..., FramePlayer]


@pytest.fixture
def ears(quiet: Graph) -> Ears:
    return Ears(quiet)


@pytest.fixture
def play(quiet: Graph) -> Play:
    return lambda **parameters: quiet.play(FramePlayer, **parameters)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("frames")
    for name, eye in EYES.items():
        write_folder(top / name, scene(eye), eye)
    return top


def assert_same(one: tuple[RgbdFrame, Sequence[Detection]], other: tuple[RgbdFrame, Sequence[Detection]]) -> None:
    (frame, detections), (expected, wanted) = one, other
    assert np.array_equal(frame.rgb, expected.rgb)
    assert frame.depth.dtype == expected.depth.dtype
    assert np.array_equal(frame.depth, expected.depth, equal_nan=True)
    assert np.array_equal(frame.camera.K, expected.camera.K)
    assert (frame.camera.width, frame.camera.height) == (expected.camera.width, expected.camera.height)
    assert frame.frame_id == expected.frame_id
    assert len(detections) == len(wanted)
    for got, detection in zip(detections, wanted, strict=True):
        assert (got.id, got.label, got.attributes) == (detection.id, detection.label, detection.attributes)
        assert got.score == pytest.approx(detection.score, abs=1e-6)
        assert got.box_xyxy == pytest.approx(detection.box_xyxy, abs=1e-4)
        assert (got.mask is None) == (detection.mask is None)
        assert got.mask is None or np.array_equal(got.mask, detection.mask)


def name_of(ears: Ears, stamp_ns: int, folders: Path) -> str:
    if stamp_ns not in NAMES:
        rgb = decode_rgb(ears.message(roles.RGB, stamp_ns))
        NAMES[stamp_ns] = next(name for name in EYES if np.array_equal(rgb, stored(folders / name)))
    return NAMES[stamp_ns]


@cache
def stored(folder: Path) -> Rgb:
    return load_frame(folder)[0].rgb


def test_a_frame_folder_is_published_bit_by_bit_and_its_pose_once(ears: Ears, play: Play, folders: Path) -> None:
    before = ears.graph.camera.now()
    player = play(folder=str(folders / "f1"), rate=20.0)
    stamps = ears.until(3)
    assert before < stamps[0]
    assert stamps[-1] <= ears.graph.camera.now()
    for stamp in stamps[:3]:
        assert_same(ears.frame(stamp), load_frame(folders / "f1"))
    late: list[TFMessage] = []
    ears.graph.node.create_subscription(TFMessage, "/tf_static", late.append, qos.STATIC_TRANSFORMS)
    ears.graph.until(lambda: ears.static and late, "a late subscriber hears the pose, too")
    ears.until(3, after_ns=ears.graph.camera.now())
    assert len(ears.static) == len(late) == 1
    (sent,) = ears.static[0].transforms
    assert (sent.header.frame_id, sent.child_frame_id) == ("base_link", FIXED.child)
    place = sent.transform.translation
    assert (place.x, place.y, place.z) == pytest.approx(FIXED.translation.tolist(), abs=1e-9)
    for name, value in (("width", 1280), ("rate", 2.0), ("world", "swapped"), ("use_sim_time", True)):
        (result,) = player.set_parameters([Parameter(name, value=value)])
        assert not result.successful
        assert f"{name} is read when the node starts" in result.reason
    assert player.set_parameters([Parameter("hold", value=1.0)])[0].successful


def test_the_speakers_place_is_sent_and_detections_can_be_left_out(quiet: Graph, play: Play, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f1", scene(FIXED), FIXED)
    beside = np.eye(4)
    beside[0, 3] = 0.4
    speaker = {"parent": FIXED.child, "child": "person", "matrix": beside.tolist()}
    (folder / "camera_T_speaker.json").write_text(json.dumps(speaker))
    ears = Ears(quiet, roles.DETECTIONS)
    play(folder=str(folder), detections=False, rate=30.0)
    ears.until(3)
    quiet.until(lambda: ears.static, "the poses are sent")
    (message,) = ears.static
    assert [(t.header.frame_id, t.child_frame_id) for t in message.transforms] == [
        (FIXED.parent, FIXED.child), (FIXED.child, "person"),
    ]  # fmt: skip
    assert message.transforms[1].transform.translation.x == pytest.approx(0.4)
    assert not ears.heard[roles.DETECTIONS]


@pytest.mark.parametrize(("hold", "shortest", "longest"), [(0.4, 2, 100), (0.0, 1, 1)])
def test_several_frames_are_shown_in_turn_with_their_poses(
    ears: Ears, play: Play, folders: Path, hold: float, shortest: int, longest: int
) -> None:
    play(folder=str(folders), rate=20.0, hold=hold)

    def turns() -> list[int]:
        """How many frames were shown of each one in turn."""
        names = [name_of(ears, stamp, folders) for stamp in ears.stamps]
        return [len(list(group)) for _, group in itertools.groupby(names)]

    ears.graph.until(lambda: len(turns()) >= 5, "both frames have been shown twice")
    assert all(shortest <= count <= longest for count in turns()[1:4])
    sent = {
        stamp_of(message.transforms[0]): message.transforms[0].transform.translation.z for message in ears.heard["/tf"]
    }
    stamps = [stamp for stamp in ears.stamps if stamp in sent]
    assert len(stamps) >= 4  # an image and the pose of its very stamp
    assert [sent[stamp] for stamp in stamps] == pytest.approx(
        [EYES[name_of(ears, stamp, folders)].translation[2] for stamp in stamps], abs=1e-9
    )
    assert len({round(height, 6) for height in sent.values()}) == 2
    assert not ears.static


def test_the_frame_that_is_shown_can_be_changed_and_of_an_unknown_one_it_is_warned(
    ears: Ears, play: Play, folders: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    player = play(folder=str(folders), frame="f3", rate=20.0)
    said: list[str] = []

    def warned() -> bool:
        said.append(capfd.readouterr().err)
        return "there is no frame folder 'f3'" in "".join(said)

    ears.graph.until(warned, "it warns")
    changed = ears.graph.camera.now()
    for name in ("f1", "f2", "f1"):
        assert player.set_parameters([Parameter("frame", value=name)])[0].successful
        # one that was being sent may still be the other
        assert {name_of(ears, stamp, folders) for stamp in ears.until(4, ears.graph.camera.now())[1:]} == {name}
    first = [stamp_of(ears.heard[role][0]) for role in (roles.RGB_INFO, roles.RGB, roles.DEPTH, roles.DETECTIONS)]
    assert min(first) >= changed, "nothing was published of the unknown one"


def test_time_is_published_before_each_frame_if_wanted_and_a_resolver_goes_by_it(graph: Graph, folders: Path) -> None:
    ears = Ears(graph)
    told = ears.ticks
    graph.start(use_sim_time=True, base_frame="base_link", frame_timeout=15.0, transform_timeout=5.0)
    graph.play(FramePlayer, folder=str(folders / "f1"), clock=True, rate=20.0)
    stamps = ears.until(4)
    graph.until(lambda: told and told[-1] >= stamps[-1], "the clock is there")
    assert told == sorted(told)
    assert set(stamps[-3:]) <= set(told)
    assert SECOND <= stamps[0] < 1_000 * SECOND  # counted from its start, not the time of day
    graph.heard()
    goal = graph.ended(graph.send_goal("the chick behind the cup"))
    assert goal.name == "OK", goal.message
    assert stamp_of(goal.result) < 1_000 * SECOND


def test_a_simulated_world_is_published_bit_by_bit_with_new_noise(ears: Ears, play: Play) -> None:
    pytest.importorskip("mujoco")
    play(world="swapped", width=320, detector="misses=0.3 masks=none", rate=10.0)
    shots = list(simulated_frames("swapped", 320, {"misses": "0.3", "masks": "none"}, 4))
    depths = {frame.depth.tobytes(): (frame, found) for frame, found in shots}
    assert len(depths) == 4
    heard = [ears.frame(stamp) for stamp in ears.until(5)[:5]]
    for frame, found in heard:
        assert_same((frame, found), depths[frame.depth.tobytes()])
    assert len({frame.depth.tobytes() for frame, _ in heard}) > 1


def test_what_cannot_be_played_is_refused_with_its_reason(quiet: Graph, tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    """Other options of the detector are refused in test/sim, other folders in test/recording."""
    for given, words in (
        ({"detector": "misses"}, "misses"),
        ({"world": "nowhere"}, "swapped"),
        ({"width": 100}, "width"),
        ({"folder": str(tmp_path)}, r"rgb\.png"),
    ):
        with pytest.raises((SpatialVlmError, ParameterException), match=words):
            quiet.play(FramePlayer, **given)


def test_ctrl_c_ends_the_player_cleanly_and_what_it_cannot_play_with_its_reason(node: Any, folders: Path) -> None:
    player, unable = node("frame_player", folder=folders), node("frame_player", world="nowhere")
    player.says("playing f1, f2 at 10 Hz")
    player.interrupt()
    assert player.ends() == 0
    assert "Traceback" not in player.output
    assert unable.ends() == 1
    assert any(line.startswith("frame_player: ") for line in unable.output.splitlines()), unable.output
    assert "Traceback" not in unable.output
