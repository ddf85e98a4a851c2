# SPDX-License-Identifier: Apache-2.0
"""Decisions that were kept are made again: the same JSON, but for times."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags")

from click.testing import CliRunner, Result
from evidence_desk import COMPOSE, DETECTIONS, FRAME, STREAMS, EvidenceDesk, OddNames, serialised, timeless

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.evaluation.bags.reader import open_bag
from spatial_vlm_ros.evaluation.bags.topics import choose_roles
from spatial_vlm_ros.evaluation.bags.types import default_store
from spatial_vlm_ros.evaluation.evidence.answering import answer_bundle, differences, settings_of_bundle
from spatial_vlm_ros.evaluation.evidence.bundle import read_bundle
from spatial_vlm_ros.evaluation.replay import replay
from spatial_vlm_ros.manipulation.planning.hulls import Hull
from spatial_vlm_ros.manipulation.planning.robot_model import RobotModel
from spatial_vlm_ros.output.json_schema import resolution_json
from spatial_vlm_ros.parameters import DepthConfig
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.tabletop import look_at
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.types import Resolution, Status, Transform

WORDS = "the chick behind the cup"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def replayed(path: Path, *options: str) -> dict[str, Any]:
    done = run("replay", path, "--json", *options)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    return timeless(json.loads(done.stdout))


def assert_replays(path: Path, live: Resolution) -> None:
    assert replayed(path) == timeless(resolution_json(live))


# ------------------------------------------------------------------------------------------------ the same answer


def one_bundle(desk: EvidenceDesk) -> Path:
    (path,) = desk.end()
    return path


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
def test_what_was_asked_is_answered_the_same(
    tmp_path: Path, words: str, asked: dict[str, str], desk: dict[str, Any]
) -> None:
    made = EvidenceDesk(tmp_path, **desk).standing()
    live = made.answered(words, **asked)
    path = one_bundle(made)
    assert_replays(path, live)
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
    desk.queue.step()
    desk.until(lambda: desk.replies)
    assert desk.replies[0].status is Status.OK
    path = one_bundle(desk)
    assert_replays(path, desk.replies[0])
    (moving,) = [message for message, static in read_bundle(path).transforms if not static]
    assert len(moving.transforms) == 2


def test_depth_that_came_earlier_than_colour_still_makes_a_frame(tmp_path: Path) -> None:
    desk = EvidenceDesk(tmp_path).standing()
    desk.ask(WORDS)
    for _ in range(5):
        desk.frame(depth_early_ns=5_000_000)
    desk.until(lambda: desk.replies)
    (path,) = desk.end()
    assert desk.replies[0].status is Status.OK
    assert_replays(path, desk.replies[0])


def test_an_unregistered_depth_camera_has_its_own_camera_info(tmp_path: Path) -> None:
    streams = dataclasses.replace(STREAMS, depth_registered=False)
    desk = EvidenceDesk(tmp_path, streams=streams).standing()
    turned = dataclasses.replace(look_at((0.0, -0.02, 0.0), (0.0, -0.02, 1.0)), parent=FRAME.frame_id, child="depth")
    turned = dataclasses.replace(turned, matrix=np.array([[1, 0, 0, 0.02], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    desk.transform(turned, 0, roles.STATIC_TRANSFORMS)
    desk.ask(WORDS)

    def make(_: Any) -> dict[str, Any]:
        other = COMPOSE.header(desk.now_ns, "depth")
        return {
            roles.DEPTH: COMPOSE.image_depth(FRAME.depth, other),
            roles.DEPTH_INFO: COMPOSE.camera_info(FRAME.camera, other),
        }

    desk.frame(make=make)
    desk.until(lambda: desk.replies)
    path = one_bundle(desk)
    assert_replays(path, desk.replies[0])
    kept = {roles.RGB, roles.DEPTH, roles.RGB_INFO, roles.DEPTH_INFO, roles.DETECTIONS}
    assert set(read_bundle(path).messages) == kept


def test_images_and_infos_are_kept_byte_by_byte(tmp_path: Path) -> None:
    sent: dict[str, bytes] = {}

    def serialise(message: Any) -> tuple[str, bytes]:
        name, data = serialised(message)
        sent.setdefault(name, data)
        return name, data

    desk = EvidenceDesk(tmp_path, serialise=serialise).standing()
    desk.answered(WORDS)
    (path,) = desk.end()
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
    one, two = desk.end()
    assert_replays(one, first)
    assert_replays(two, second)


def test_another_grounder_finds_the_objects_anew(tmp_path: Path) -> None:
    desk = EvidenceDesk(tmp_path).standing()
    desk.answered("the banana")
    bundle = read_bundle(one_bundle(desk))
    settings = settings_of_bundle(bundle)
    found = answer_bundle(bundle, Resolver(settings.resolver, OddNames()), settings.streams, instruction=WORDS,
                          finds_anew=True)  # fmt: skip
    assert found.resolution.status is Status.OK
    assert found.resolution.target.label.startswith("number")


def test_detections_of_vision_msgs_are_kept_as_ours(tmp_path: Path) -> None:
    desk = EvidenceDesk(tmp_path).standing()
    desk.ask("the chick")

    def make(header: Any) -> dict[str, Any]:
        entries = []
        for d in DETECTIONS:
            x0, y0, x1, y1 = d.box_xyxy
            centre = SimpleNamespace(position=SimpleNamespace(x=(x0 + x1) / 2, y=(y0 + y1) / 2), theta=0.0)
            said = SimpleNamespace(hypothesis=SimpleNamespace(class_id=d.label, score=0.8))
            box = SimpleNamespace(center=centre, size_x=x1 - x0, size_y=y1 - y0)
            entries.append(SimpleNamespace(id=d.id, results=[said], bbox=box))
        return {roles.DETECTIONS: SimpleNamespace(header=header, detections=entries)}

    desk.frame(detections=None, make=make)
    desk.until(lambda: desk.replies)
    (path,) = desk.end()
    assert desk.replies[0].status is Status.AMBIGUOUS
    assert_replays(path, desk.replies[0])


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
    desk.queue.step()
    desk.until(lambda: desk.replies)
    (live,) = desk.replies
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
    desk.ask(WORDS)
    jpeg = cv2.imencode(".jpg", FRAME.rgb[..., ::-1])[1].reshape(-1)
    form = default_store().types["sensor_msgs/msg/CompressedImage"]
    desk.frame(make=lambda header: {roles.RGB: form(header=header, format="rgb8; jpeg compressed bgr8", data=jpeg)})
    desk.until(lambda: desk.replies)
    assert desk.replies[0].status is Status.OK
    path = one_bundle(desk)
    assert_replays(path, desk.replies[0])
    with open_bag(path) as bag:  # an ordinary one
        assert bag.topics["/rgb/image/compressed"] == "sensor_msgs/msg/CompressedImage"
        (answer,) = replay(bag, Resolver(), choose_roles(bag.contents, STREAMS), STREAMS, [WORDS])
    assert timeless(resolution_json(answer.resolution)) == timeless(resolution_json(desk.replies[0]))


def spoilt(kind: str, header: Any) -> dict[str, Any]:
    """A frame that no driver should send."""
    if kind == "encoding":
        return {roles.RGB: dataclasses.replace(COMPOSE.image_rgb(FRAME.rgb, header), encoding="nonsense")}
    if kind == "size":
        return {roles.DEPTH: COMPOSE.image_depth(FRAME.depth[:100], header)}
    if kind == "depth":
        return {roles.DEPTH: COMPOSE.image_depth(np.full_like(FRAME.depth, np.nan), header)}
    if kind == "camera":
        return {roles.RGB_INFO: dataclasses.replace(COMPOSE.camera_info(FRAME.camera, header), k=np.zeros(9))}
    twice = (DETECTIONS[0], DETECTIONS[0])
    return {roles.DETECTIONS: COMPOSE.detection_array(twice, header, FRAME.camera.width, FRAME.camera.height)}


@pytest.mark.parametrize("kind", ["encoding", "size", "depth", "camera", "ids"])
def test_a_frame_that_cannot_be_used_is_refused_for_the_same_reason(tmp_path: Path, kind: str) -> None:
    desk = EvidenceDesk(tmp_path, keep="refused").standing()
    desk.ask(WORDS)
    desk.frame(make=lambda header: spoilt(kind, header))
    desk.until(lambda: desk.replies)
    assert desk.replies[0].target is None
    assert_replays(one_bundle(desk), desk.replies[0])


# ------------------------------------------------------------------------------------------------ without a frame


def test_words_that_are_not_understood_are_refused_again_and_have_the_newest_frame(tmp_path: Path) -> None:
    desk = EvidenceDesk(tmp_path, keep="refused").standing()
    desk.frame()
    desk.ask("flurb wug the the")
    path = one_bundle(desk)
    assert desk.replies[0].status is Status.NOT_UNDERSTOOD
    assert_replays(path, desk.replies[0])
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
        return
    done = run("replay", path)
    assert done.exit_code == 3
    assert "no frame" in done.stderr
    assert "STALE_INPUT: there was no message on" in done.stderr
