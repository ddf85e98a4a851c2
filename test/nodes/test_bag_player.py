# SPDX-License-Identifier: Apache-2.0
"""A bag is played byte for byte with its time, and the node answers on it as a replay does."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_builder import FIXED, MS, T0, WORDS, BagBuilder, make, replayed, scene, seconds
from live_graph import Graph, clock_of
from rclpy.exceptions import ParameterException
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.nodes import messages, qos
from spatial_vlm_ros.nodes.perception.bag_player import BagPlayer
from spatial_vlm_ros.output.json_schema import resolution_json
from spatial_vlm_ros.recording.bags.limits import add_checksums
from spatial_vlm_ros.recording.bags.topics import open_bag
from spatial_vlm_ros.sim.tabletop import Rendering
from spatial_vlm_ros.streams.frame_assembler import SECOND, stamp_of
from spatial_vlm_ros.types import Transform

TF = "tf2_msgs/msg/TFMessage"
STRING = "std_msgs/msg/String"
UNLIMITED = QoSProfile(depth=10_000)
BURST = 60
MOUNT = Transform("mount", FIXED.child, FIXED.matrix)
UNEQUAL = ("ms", "timings_ms", "dialogue_id")  # in two answers to the same question on the same frame


def base_T_mount(t: float) -> Transform:
    c, s = np.cos(0.05 * t), np.sin(0.05 * t)
    matrix = np.array([[c, -s, 0, 0.05 * t], [s, c, 0, -0.01 * t], [0, 0, 1, 0.02 * t], [0, 0, 0, 1]])
    return Transform("base_link", "mount", matrix)


class Hearing:
    """The bytes of every topic of a bag, and its clock."""

    def __init__(self, graph: Graph, bag: Path, *but: str) -> None:
        self.graph = graph
        self.got: dict[str, list[bytes]] = {}
        self.clock = clock_of(graph.node)
        with open_bag(bag) as opened:
            self.sent: dict[str, list[bytes]] = {topic: [] for topic in opened.topics if topic not in but}
            for topic, form in opened.topics.items():
                if topic in self.sent:
                    self.got[topic] = []
                    profile = qos.STATIC_TRANSFORMS if topic == "/tf_static" else UNLIMITED
                    message, take = messages.message_class(form), self.got[topic].append
                    graph.node.create_subscription(message, topic, take, profile, raw=True)
            for topic, _, data in opened.raw():
                if topic in self.sent:
                    self.sent[topic].append(data)

    def all_of_it(self, times: int = 1) -> None:
        for topic, sent in self.sent.items():
            self.graph.until(
                lambda topic=topic, sent=sent: len(self.got[topic]) >= times * len(sent),
                f"{topic} was heard {times} times {len(sent)} times",
            )

    def assert_the_same(self) -> None:
        for topic, sent in self.sent.items():
            assert len(sent) in (1, 5, BURST)
            assert len(self.got[topic]) == len(sent)
            assert all(same_bytes(got, data) for got, data in zip(self.got[topic], sent, strict=True)), topic


def same_bytes(got: bytes, sent: bytes) -> bool:
    """Whether a message arrived as it was sent; DDS fills it up to four bytes."""
    return got[: len(sent)] == sent and len(got) - len(sent) < 4 and not any(got[len(sent) :])


@pytest.fixture(scope="module")
def seen() -> Rendering:
    return scene()


def written(out: Path, seen: Rendering, storage: str = "mcap") -> Path:
    with BagBuilder(out, storage) as bag:
        bag.stands(FIXED)
        for n in range(BURST):
            pose = Transform("base_link", f"part{n}", FIXED.matrix)
            bag.message("/tf", TF, seconds(0.25), lambda c, pose=pose: c.tf_message([c.transform_stamped(pose, T0)]))
        bag.says("the duck", seconds(0.3))
        for n in range(5):
            bag.frame(seen, seconds(0.1 + 0.2 * n))
    return bag.out


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory, seen: Rendering) -> Path:
    return written(tmp_path_factory.mktemp("bags") / "bag", seen)


def ended(graph: Graph, player: BagPlayer) -> None:
    graph.until(lambda: not player.context.ok(), "the player ends")


def test_the_bytes_of_a_bag_are_published_in_order_with_its_time(quiet: Graph, node: Any, bag: Path) -> None:
    hearing = Hearing(quiet, bag)
    player = node("bag_player", bag=bag, linger=0.5)
    hearing.all_of_it()
    assert player.ends() == 0, player.output
    assert "the bag has ended" in player.output
    assert "Traceback" not in player.output
    hearing.assert_the_same()
    assert hearing.clock == sorted(hearing.clock)
    assert hearing.clock[0] >= T0
    assert hearing.clock[-1] >= seconds(1.3)  # last message at 0.9 s, then it lingers


def test_another_storage_is_played_without_a_clock(quiet: Graph, tmp_path: Path, seen: Rendering) -> None:
    bag = written(tmp_path / "bag", seen, "sqlite3")
    hearing = Hearing(quiet, bag)
    player = quiet.play(BagPlayer, bag=str(bag), linger=0.0, rate=5.0, clock=False)
    hearing.all_of_it()
    ended(quiet, player)
    hearing.assert_the_same()
    assert not hearing.clock


def test_the_first_message_waits_for_who_hears_images_and_no_longer_than_is_wanted(quiet: Graph, bag: Path) -> None:
    hearing = Hearing(quiet, bag, "/rgb/image", "/depth/image")
    player = quiet.play(BagPlayer, bag=str(bag), wait=600.0)
    quiet.until(lambda: quiet.node.count_publishers("/detections"), "the player is there")
    assert not hearing.clock
    images: list[Image] = []
    quiet.node.create_subscription(Image, "/rgb/image", images.append, UNLIMITED)
    quiet.until(lambda: len(images) >= 5, "all images are heard")
    assert stamp_of(images[0]) == seconds(0.1)
    hearing.all_of_it()
    ended(quiet, player)
    quiet.settle()
    hearing = Hearing(quiet, bag, "/rgb/image", "/depth/image")
    quiet.play(BagPlayer, bag=str(bag), wait=0.0)
    quiet.until(lambda: hearing.clock, "time goes on")
    assert hearing.clock[0] >= T0


def test_a_loop_begins_again_until_it_is_told_to_end_and_a_rate_changes_the_steps(quiet: Graph, bag: Path) -> None:
    hearing = Hearing(quiet, bag)
    player = quiet.play(BagPlayer, bag=str(bag), loop=True, linger=0.0, rate=20.0)
    hearing.all_of_it(times=2)
    fast = next(n for n, (one, other) in enumerate(itertools.pairwise(hearing.clock), 1) if other < one)
    for topic, sent in hearing.sent.items():
        if topic != "/tf_static":
            assert all(same_bytes(got, data) for got, data in zip(hearing.got[topic], 2 * sent, strict=False)), topic
    assert player.set_parameters([Parameter("loop", value=False)])[0].successful
    ended(quiet, player)
    quiet.settle()
    hearing = Hearing(quiet, bag)
    ended(quiet, quiet.play(BagPlayer, bag=str(bag), linger=0.0, rate=0.5))
    hearing.all_of_it()
    assert len(hearing.clock) > 2 * fast


def test_a_simulators_clock_is_played_as_it_was_recorded(quiet: Graph, tmp_path: Path, seen: Rendering) -> None:
    with BagBuilder(tmp_path / "bag") as bag:
        for n in range(10):
            time = make("builtin_interfaces/msg/Time", sec=5 + n, nanosec=0)
            clock = make("rosgraph_msgs/msg/Clock", clock=time)
            bag.message("/clock", "rosgraph_msgs/msg/Clock", seconds(0.05 * n), clock)
        bag.frame(seen, 7 * SECOND, seconds(0.3))
    hearing = Hearing(quiet, bag.out)
    player = quiet.play(BagPlayer, bag=str(bag.out), linger=0.2)
    hearing.all_of_it()
    ended(quiet, player)
    assert hearing.clock == [(5 + n) * SECOND for n in range(10)]


def test_a_topic_of_unknown_type_is_left_out(quiet: Graph, tmp_path: Path, seen: Rendering, capfd: Any) -> None:
    with BagBuilder(tmp_path / "bag") as bag:
        empty = make("std_msgs/msg/Empty", structure_needs_at_least_one_member=0)
        bag.message("/strange", "std_msgs/msg/Empty", seconds(0.0), empty)
        bag.frame(seen, seconds(0.1))
    for name in ("bag.mcap", "metadata.yaml"):  # a name of the same length keeps the file whole
        path = bag.out / name
        path.write_bytes(path.read_bytes().replace(b"std_msgs/msg/Empty", b"own_msgs/msg/Thing"))
    add_checksums(bag.out / "bag.mcap")
    hearing = Hearing(quiet, bag.out, "/strange")
    player = quiet.play(BagPlayer, bag=str(bag.out), linger=0.0)
    hearing.all_of_it()
    ended(quiet, player)
    assert "/strange is not played: own_msgs/msg/Thing is not installed" in capfd.readouterr().err


def test_a_bag_that_cannot_be_played_is_refused_with_its_reason(quiet: Graph, tmp_path: Path, bag: Path) -> None:
    """What is no bag is refused in test/recording."""
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({}, InputError, "-p bag:="),
        ({"bag": str(tmp_path / "nowhere")}, FileError, "no such file"),
        ({"bag": str(bag), "rate": 0.0}, ParameterException, "rate"),
    ]
    for given, error, words in wrong:
        with pytest.raises(error, match=words):
            quiet.play(BagPlayer, **given)


def test_node_and_replay_give_the_same_for_a_moving_camera(graph: Graph, node: Any, tmp_path: Path) -> None:
    """Played at half its speed to the resolver; the camera is placed by interpolated transforms."""
    with BagBuilder(tmp_path / "bag") as bag:
        bag.stands(MOUNT)
        for n in range(220):
            bag.moves(base_T_mount(0.02 * n), seconds(0.02 * n), seconds(0.02 * n) + 5 * MS)
        for n, (words, t) in enumerate(
            zip((WORDS, "the duck", "grab me the chick", "the cup"), (0.613, 1.631, 2.667, 3.651), strict=True)
        ):
            bag.says(words, seconds(n))
            bag.frame(scene(base_T_mount(t) @ MOUNT), seconds(t), seconds(t + 0.04))
        bag.says("the blah of of", seconds(3.9))
    expected = [json.loads(json.dumps(resolution_json(answer.resolution))) for answer in replayed(bag.out)]
    statuses = [answer["status"] for answer in expected]
    assert statuses == ["OK", "NOT_FOUND", "AMBIGUOUS", "OK", "NOT_UNDERSTOOD"]
    graph.start(use_sim_time=True, reliability="reliable")  # none is lost on a machine that is loaded
    player = node("bag_player", bag=bag.out, rate=0.5, wait=60.0, linger=1.0)
    graph.until(lambda: len(graph.answers) >= len(expected), "every instruction is answered")
    assert player.ends() == 0, player.output
    answers = [json.loads(message.json) for message in graph.answers]  # a refusal of words may overtake an answer
    told, wanted = (
        {each["instruction"]: {k: v for k, v in each.items() if k not in UNEQUAL} for each in some}
        for some in (answers, expected)
    )
    assert len(answers) == len(wanted) == len(expected)
    assert told == wanted
