# SPDX-License-Identifier: Apache-2.0
"""Decisions that were kept are made again: the same JSON, but for times; and which are kept, and damaged ones."""

import dataclasses
import itertools
import json
import random
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from cli_runs import ended, run
from evidence_desk import COMPOSE, DETECTIONS, FRAME, STREAMS, EvidenceDesk, OddNames, serialised, timeless
from waiting import DEADLINE

from spatial_vlm_ros.budgets import MOST_WAITING
from spatial_vlm_ros.doctor.bags import examine_files
from spatial_vlm_ros.doctor.findings import Severity
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.manipulation.planning.hulls import Hull
from spatial_vlm_ros.manipulation.planning.robot_model import RobotModel
from spatial_vlm_ros.output.json_schema import resolution_json
from spatial_vlm_ros.parameters import DepthConfig, EvidenceConfig, config_from
from spatial_vlm_ros.recording.bags.topics import choose_roles, default_store, open_bag
from spatial_vlm_ros.recording.bags.writer import BagWriter
from spatial_vlm_ros.recording.evidence.bundle import answer_bundle, differences, read_bundle, settings_of_bundle
from spatial_vlm_ros.recording.replay import replay
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.tabletop import look_at
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.types import Status, Transform

pytest.importorskip("rosbags")

WORDS = "the chick behind the cup"


def replayed(path: Path, *options: str) -> dict[str, Any]:
    done = run("replay", path, "--json", *options)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    return timeless(json.loads(done.stdout))


def replayed_alike(desk: EvidenceDesk) -> Path:
    """The one bundle of a desk, which replays as the first reply was."""
    path = one_bundle(desk)
    assert replayed(path) == timeless(resolution_json(desk.replies[0]))
    return path


def one_bundle(desk: EvidenceDesk) -> Path:
    (path,) = desk.end()
    return path


def kept_of(desk: EvidenceDesk) -> Path:
    desk.answered(WORDS)
    return one_bundle(desk)


@pytest.mark.parametrize(
    ("words", "asked", "desk"),
    [
        *((words, {}, {}) for words in (
            WORDS, "the chick", "the banana", "the leftmost object", "how many chicks are there?",
        )),
        (WORDS, {"frame_of_reference": "robot"}, {}),
        (WORDS, {}, {"grounder": OddNames()}),
        ("the chick", {}, {"grounder": OddNames(), "streams": dataclasses.replace(STREAMS, mirrored=True)}),
    ],
)  # fmt: skip
def test_what_was_asked_is_answered_the_same(tmp_path: Path, words: str, asked: dict[str, str], desk: Any) -> None:
    made = EvidenceDesk(tmp_path, **desk).standing()
    live = made.answered(words, **asked)
    path = replayed_alike(made)
    assert f"_{live.status.value}_" in path.name
    record = read_bundle(path).record
    if "grounder" in desk:  # its own match is used, and not the labels
        assert (record.model.name, record.model.domain, record.reencoded) == ("odd", "photographs", (roles.DETECTIONS,))
    if words == WORDS:
        assert live.status is Status.OK


def test_the_camera_of_a_moving_robot_is_where_it_was(tmp_path: Path) -> None:
    desk = EvidenceDesk(tmp_path)

    def move(n: int) -> None:
        pose = look_at((-0.74 + 0.003 * n, 0.001 * n, 0.43), (0.0, 0.0, 0.03))
        named = dataclasses.replace(pose, parent="world", child=FRAME.frame_id)
        desk.transform(named, desk.now_ns - 1_000_007)

    desk.ask(WORDS)
    for n in range(30):  # 100 Hz; the frame's stamp lies between two of them
        desk.now_ns += 10_000_000
        move(n)
    desk.frame()
    desk.now_ns += 10_000_000
    move(35)
    assert desk.replied().status is Status.OK
    path = replayed_alike(desk)
    (moving,) = [message for message, static in read_bundle(path).transforms if not static]
    assert len(moving.transforms) == 2


def test_depth_that_came_earlier_than_colour_still_makes_a_frame(tmp_path: Path) -> None:
    desk = EvidenceDesk(tmp_path).standing()
    desk.ask(WORDS)
    for _ in range(5):
        desk.frame(depth_early_ns=5_000_000)
    assert desk.replied().status is Status.OK
    replayed_alike(desk)


def test_an_unregistered_depth_camera_has_its_own_camera_info(tmp_path: Path) -> None:
    streams = dataclasses.replace(STREAMS, depth_registered=False)
    desk = EvidenceDesk(tmp_path, streams=streams).standing()
    turned = dataclasses.replace(look_at((0.0, -0.02, 0.0), (0.0, -0.02, 1.0)), parent=FRAME.frame_id, child="depth")
    turned = dataclasses.replace(turned, matrix=np.array([[1, 0, 0, 0.02], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    desk.transform(turned, 0, roles.STATIC_TRANSFORMS)

    def make(_: Any) -> dict[str, Any]:
        other = COMPOSE.header(desk.now_ns, "depth")
        return {
            roles.DEPTH: COMPOSE.image_depth(FRAME.depth, other),
            roles.DEPTH_INFO: COMPOSE.camera_info(FRAME.camera, other),
        }

    desk.answered(WORDS, {"make": make})
    path = replayed_alike(desk)
    kept = {roles.RGB, roles.DEPTH, roles.RGB_INFO, roles.DEPTH_INFO, roles.DETECTIONS}
    assert set(read_bundle(path).messages) == kept


def test_images_and_infos_are_kept_byte_by_byte(tmp_path: Path) -> None:
    sent: dict[str, bytes] = {}

    def serialise(message: Any) -> tuple[str, bytes]:
        name, data = serialised(message)
        sent.setdefault(name, data)
        return name, data

    desk = EvidenceDesk(tmp_path, serialise=serialise).standing()
    path = kept_of(desk)
    with open_bag(path) as bag:
        kept = {message.topic: bytes(message.raw) for message in bag.messages()}
    assert set(sent.values()) <= set(kept.values())
    assert {"/rgb/image", "/depth/image", "/rgb/camera_info", "/detections", "/instruction", "/tf_static"} <= set(kept)


def test_the_answer_to_a_question_is_answered_in_its_dialogue(tmp_path: Path) -> None:
    desk = EvidenceDesk(tmp_path).standing()
    first = desk.answered("the chick")
    assert first.dialogue_id
    second = desk.answered("the bonnet one", dialogue_id=first.dialogue_id)
    assert (first.status, second.status) == (Status.AMBIGUOUS, Status.OK)
    assert [replayed(path) for path in desk.end()] == [timeless(resolution_json(live)) for live in (first, second)]


def test_another_grounder_finds_the_objects_anew(tmp_path: Path) -> None:
    desk = EvidenceDesk(tmp_path).standing()
    desk.answered("the banana")
    bundle = read_bundle(one_bundle(desk))
    settings = settings_of_bundle(bundle)
    resolver = Resolver(settings.resolver, OddNames())
    found = answer_bundle(bundle, resolver, settings.streams, instruction=WORDS, finds_anew=True)
    assert found.resolution.status is Status.OK
    assert found.resolution.target.label.startswith("number")


def test_detections_of_vision_msgs_are_kept_as_ours(tmp_path: Path) -> None:
    desk = EvidenceDesk(tmp_path).standing()

    def make(header: Any) -> dict[str, Any]:
        entries = []
        for d in DETECTIONS:
            x0, y0, x1, y1 = d.box_xyxy
            centre = SimpleNamespace(position=SimpleNamespace(x=(x0 + x1) / 2, y=(y0 + y1) / 2), theta=0.0)
            said = SimpleNamespace(hypothesis=SimpleNamespace(class_id=d.label, score=0.8))
            box = SimpleNamespace(center=centre, size_x=x1 - x0, size_y=y1 - y0)
            entries.append(SimpleNamespace(id=d.id, results=[said], bbox=box))
        return {roles.DETECTIONS: SimpleNamespace(header=header, detections=entries)}

    desk.answered("the chick", {"detections": None, "make": make})
    assert desk.replies[0].status is Status.AMBIGUOUS
    replayed_alike(desk)


def test_the_links_of_the_robot_are_where_they_were(tmp_path: Path) -> None:
    robot = RobotModel({"hand": Hull(np.array(list(itertools.product((-0.065, 0.065), repeat=3))))}, 0.0, DepthConfig())
    streams = dataclasses.replace(STREAMS, robot_description="robot.urdf", robot_padding=0.0)
    desk = EvidenceDesk(tmp_path, streams=streams, robot=robot).standing()

    def move(x: float) -> None:  # it passes the chick with the bonnet, and is there at the frame's stamp alone
        matrix = np.eye(4)
        matrix[:3, 3] = 0.22 + x, -0.03, 0.05
        desk.transform(Transform("world", "hand", matrix), desk.now_ns)

    desk.ask("the chick")
    desk.now_ns += 30_000_000
    move(-1.0)
    desk.now_ns -= 30_000_000
    desk.frame()
    desk.now_ns += 20_000_000
    move(1.0)
    live = desk.replied()
    assert "Detections discarded as part of the robot: chick (bonnet)." in live.message
    (path,) = desk.end()
    bundle = read_bundle(path)
    again = answer_bundle(bundle, Resolver(), settings_of_bundle(bundle).streams, robot=robot)
    assert differences(live, again.resolution) == ()
    assert run("replay", path).exit_code == 3  # there is no robot.urdf here
    assert "robot.urdf" in run("replay", path).stderr


def test_compressed_images_stay_compressed(tmp_path: Path) -> None:
    topics = {roles.RGB: "rgb/image/compressed"}
    desk = EvidenceDesk(tmp_path, topics=topics).standing()
    jpeg = cv2.imencode(".jpg", FRAME.rgb[..., ::-1])[1].reshape(-1)
    form = default_store().types["sensor_msgs/msg/CompressedImage"]
    name = "rgb8; jpeg compressed bgr8"
    live = desk.answered(WORDS, {"make": lambda header: {roles.RGB: form(header=header, format=name, data=jpeg)}})
    assert live.status is Status.OK
    path = replayed_alike(desk)
    with open_bag(path) as bag:  # an ordinary one
        assert bag.topics["/rgb/image/compressed"] == "sensor_msgs/msg/CompressedImage"
        (answer,) = replay(bag, Resolver(), choose_roles(bag.contents, STREAMS), STREAMS, [WORDS])
    assert timeless(resolution_json(answer.resolution)) == timeless(resolution_json(live))


TWICE = DETECTIONS[0], DETECTIONS[0]
BLIND = np.full_like(FRAME.depth, np.nan)


@pytest.mark.parametrize(
    ("role", "make"),
    [
        (roles.RGB, lambda header: dataclasses.replace(COMPOSE.image_rgb(FRAME.rgb, header), encoding="nonsense")),
        (roles.DEPTH, lambda header: COMPOSE.image_depth(FRAME.depth[:100], header)),
        (roles.DEPTH, lambda header: COMPOSE.image_depth(BLIND, header)),
        (roles.RGB_INFO, lambda header: dataclasses.replace(COMPOSE.camera_info(FRAME.camera, header), k=np.zeros(9))),
        (roles.DETECTIONS, lambda header: COMPOSE.detection_array(TWICE, header, 640, 480)),
    ],
    ids=["encoding", "size", "depth", "camera", "ids"],
)
def test_a_frame_that_cannot_be_used_is_refused_for_the_same_reason(tmp_path: Path, role: str, make: Any) -> None:
    desk = EvidenceDesk(tmp_path, keep="refused").standing()
    assert desk.answered(WORDS, {"make": lambda header: {role: make(header)}}).target is None
    replayed_alike(desk)


def test_words_that_are_not_understood_are_refused_again_and_have_the_newest_frame(tmp_path: Path) -> None:
    desk = EvidenceDesk(tmp_path, keep="refused").standing()
    desk.frame()
    desk.ask("flurb wug the the")
    path = replayed_alike(desk)
    assert desk.replies[0].status is Status.NOT_UNDERSTOOD
    assert read_bundle(path).record.frame == "newest"
    assert replayed(path, WORDS)["status"] == "OK"


@pytest.mark.parametrize("with_frame", [True, False])
def test_without_a_transform_or_a_frame_it_is_refused_again_as_it_was(tmp_path: Path, with_frame: bool) -> None:
    desk = EvidenceDesk(tmp_path)
    desk.ask(WORDS)
    if with_frame:
        desk.frame()
    desk.now_ns += 3_000_000_000
    desk.queue.step()
    path = one_bundle(desk)
    if with_frame:
        again = replayed(path)
        assert (again["status"], again["message"]) == ("TF_UNAVAILABLE", desk.replies[0].message)
    else:
        said = ended("replay", path, code=3).stderr
        assert all(words in said for words in ("no frame", "STALE_INPUT: there was no message on"))


def test_only_refusals_are_kept_where_that_is_wanted_and_cancelled_ones_never(tmp_path: Path) -> None:
    desk = EvidenceDesk(tmp_path, keep="refused").standing()
    desk.answered(WORDS)
    desk.answered("the chick")
    desk.ask("stop")
    (path,) = desk.end()
    assert "_AMBIGUOUS_" in path.name
    assert [r.status.value for r in desk.replies] == ["OK", "AMBIGUOUS", "CANCELLED"]
    assert EvidenceConfig().keep == "off"
    desk = EvidenceDesk(tmp_path / "none", keep="off").standing()
    desk.answered("the chick")
    assert desk.end() == []
    assert not (tmp_path / "none").exists()


def test_parameters_model_and_versions_are_in_the_record(tmp_path: Path) -> None:
    resolver = config_from({"decision": {"holds": 0.9}})
    desk = EvidenceDesk(tmp_path, resolver=resolver).standing()
    path = kept_of(desk)
    record = read_bundle(path).record
    assert settings_of_bundle(read_bundle(path)) == desk.settings
    assert {"spatial_vlm_ros", "python", "numpy"} <= set(record.versions)
    assert (record.node, record.model) == ("/resolver", None)


def test_a_disk_that_hangs_holds_up_no_answer_and_what_is_lost_is_counted(tmp_path: Path) -> None:
    go = threading.Event()

    def slow(message: Any) -> tuple[str, bytes]:
        assert go.wait(DEADLINE)
        return serialised(message)

    desk = EvidenceDesk(tmp_path, serialise=slow).standing()
    asked = MOST_WAITING + 4
    for _ in range(asked):
        desk.answered(WORDS)
    dropped = desk.keeper.dropped
    assert len(desk.replies) == asked
    assert desk.keeper.kept == 0
    assert dropped >= 3
    assert "faster than the disk" in desk.keeper.trouble
    assert len(desk.warned) == 1
    go.set()
    assert len(desk.end()) == asked - dropped == desk.keeper.kept


def test_a_folder_that_cannot_be_written_is_said_once_and_answers_go_on(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    desk = EvidenceDesk(blocked / "evidence").standing()
    for _ in range(3):
        assert desk.answered(WORDS).status is Status.OK
    desk.keeper.close(30.0)
    assert desk.keeper.failed == 3
    (said,) = desk.warned
    assert "requests are still served" in said
    assert str(blocked) in said
    values = desk.keeper.told()
    assert (values["not kept, failed"], values["kept"]) == (3, 0)
    assert str(blocked) in desk.keeper.trouble


def test_a_message_that_cannot_be_serialised_costs_its_bundle_and_a_removed_folder_is_made_anew(tmp_path: Path) -> None:
    desk = EvidenceDesk(tmp_path, serialise=Mock(side_effect=RuntimeError("no type support"))).standing()
    assert desk.answered(WORDS).status is Status.OK
    assert desk.end() == []
    assert desk.keeper.failed == 1
    assert "no type support" in desk.keeper.trouble
    desk = EvidenceDesk(tmp_path / "evidence").standing()
    desk.answered(WORDS)
    desk.until_kept(1)
    shutil.rmtree(tmp_path / "evidence")
    desk.answered(WORDS)
    assert len(desk.end()) == 1
    assert desk.warned == []


def test_a_bundle_takes_no_options_of_other_bags_and_its_hash_tells_damage(tmp_path: Path) -> None:
    desk = EvidenceDesk(tmp_path).standing()
    path = kept_of(desk)
    for option in (("--every",), ("--at", "1"), ("--rgb", "/x")):
        ended("replay", path, *option, code=2, says="one frame")
    data = bytearray(path.read_bytes())
    whole = bytes(data)
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(FileError, match="damaged: its SHA-256"):
        read_bundle(path)
    done = ended("evidence", "list", tmp_path, code=1)
    assert "damaged" in done.stdout
    path.write_bytes(whole[: len(whole) // 2])  # cut short
    with pytest.raises(FileError, match="damaged"):
        read_bundle(path)
    with pytest.raises(FileError, match="ends before its index"):
        read_bundle(path.rename(tmp_path / "copy.mcap"))
    with BagWriter(tmp_path / "bag") as writer:
        writer.write_instruction("the cup", 1)
    with pytest.raises(FileError, match="not an evidence bundle"):
        read_bundle(tmp_path / "bag")


def test_a_model_that_failed_has_found_nothing_to_replay(tmp_path: Path) -> None:
    model = OddNames()
    model.ground = Mock(side_effect=RuntimeError("out of memory"))
    desk = EvidenceDesk(tmp_path, grounder=model).standing()
    bundle = read_bundle(kept_of(desk))
    assert desk.replies[0].status is Status.MODEL_ERROR
    with pytest.raises(InputError, match="--grounder NAME"):
        answer_bundle(bundle, Resolver(), settings_of_bundle(bundle).streams)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    desk = EvidenceDesk(tmp_path_factory.mktemp("kept")).standing()
    return kept_of(desk)


def test_a_compressed_bundle_is_sound_and_its_frame_is_examined_as_answered(bundle: Path, tmp_path: Path) -> None:
    assert b"zstd" in bundle.read_bytes()[:2000]
    assert [(one.level, one.repair) for one in examine_files(bundle)] == [(Severity.OK, "")]
    told = ended("doctor", "--bag", bundle, says="with the right CRC")  # by the base frame of the decision
    assert " Hz" not in told.output  # one frame has no rate
    other = run("doctor", "--bag", bundle, "--base-frame", "nowhere")
    assert "not checked" in other.output
    assert "nowhere" in other.output
    desk = EvidenceDesk(tmp_path)
    desk.ask(WORDS)
    desk.now_ns += 10**10
    desk.replied()
    (path,) = desk.end()  # without a frame
    ended("doctor", "--bag", path, says="not checked")


def test_a_flipped_bit_anywhere_in_a_compressed_bundle_is_an_error(bundle: Path, tmp_path: Path) -> None:
    whole, rng, copy = bundle.read_bytes(), random.Random(3), tmp_path / "copy.mcap"
    places = [*range(12), *rng.sample(range(len(whole)), 30), *range(len(whole) - 12, len(whole))]
    for at in places:
        copy.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :])
        assert any(one.level is Severity.ERROR for one in examine_files(copy)), at
    at = len(whole) // 2
    copy.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
    ended("doctor", "--bag", copy, code=3, says="its CRC is wrong")
