# SPDX-License-Identifier: Apache-2.0
"""Faults of running players are switched by their parameter and by the command, and refused with a reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_builder import FIXED, SMALL, BagBuilder, scene, seconds
from frame_folders import write_folder
from live_ears import Ears
from live_graph import Graph
from rclpy.parameter import Parameter

from spatial_vlm_ros.nodes.perception.bag_player import BagPlayer
from spatial_vlm_ros.nodes.perception.frame_player import FramePlayer
from spatial_vlm_ros.sim.faults.catalogue import WRONG_FRAME
from spatial_vlm_ros.streams.frame_assembler import SECOND, stamp_of


@pytest.fixture
def listener(quiet: Graph) -> Ears:
    return Ears(quiet)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("frames") / "f1", scene(), FIXED)


@pytest.fixture
def play(quiet: Graph, folder: Path) -> Callable[..., FramePlayer]:
    return lambda **given: quiet.play(FramePlayer, **{"folder": str(folder), "rate": 20.0, "moving": True, **given})


def switch(player: Any, faults: str) -> None:
    (result,) = player.set_parameters([Parameter("faults", value=faults)])
    assert result.successful, result.reason


def test_faults_of_a_player_come_and_go_with_its_parameter(listener: Ears, play: Callable[..., Any]) -> None:
    player = play()
    first = listener.next("rgb/image", 1)[0]
    assert first.header.frame_id == FIXED.child

    switch(player, "depth=off rgb=garbage detections.frame_id=wrong tf=wrong:0.5 info=delayed:0.4")
    colour, found, moved = (listener.next(topic)[-1] for topic in ("rgb/image", "detections", "/tf"))
    assert np.abs(np.array(colour.data, np.int16) - np.array(first.data, np.int16)).mean() > 20
    assert found.header.frame_id == WRONG_FRAME
    x = moved.transforms[0].transform.translation.x
    assert x == pytest.approx(FIXED.translation[0] + 0.5)
    begun = len(listener.heard["depth/image"])
    listener.next("rgb/image", 6)
    assert len(listener.heard["depth/image"]) == begun
    late = [at - stamp_of(m) for at, m in zip(listener.arrived["rgb/camera_info"][-3:],
            listener.heard["rgb/camera_info"][-3:], strict=True)]  # fmt: skip
    assert min(late) >= 0.4 * SECOND

    switch(player, "")
    listener.next("depth/image", 2)
    (colour,) = listener.next("rgb/image", 1)
    assert colour.data == first.data, "the player's own frames are as they were"
    (found,) = listener.next("detections", 1)
    assert found.header.frame_id == FIXED.child


def test_faults_that_cannot_be_are_refused(listener: Ears, play: Callable[..., Any], node: Any, folder: Path) -> None:
    player = play(faults="rgb.frame_id=wrong")
    assert listener.next("rgb/image", 1)[0].header.frame_id == WRONG_FRAME
    for words, says in (("arm=stuck", "tf_static"), ("rgb=loud", "intermittent"), ("rgb=slow:0", "0.01 to 100 Hz")):
        (result,) = player.set_parameters([Parameter("faults", value=words)])
        assert not result.successful
        assert says in result.reason
    assert listener.next("rgb/image", 2)[-1].header.frame_id == WRONG_FRAME
    ended = node("frame_player", folder=folder, faults="lidar=off")
    assert ended.ends() == 1
    assert "lidar" in ended.output
    assert "rgb.stamp" in ended.output
    assert "Traceback" not in ended.output


def test_static_transforms_and_the_clock_have_faults_too(listener: Ears, play: Callable[..., Any]) -> None:
    player = play(moving=False, clock=True, faults="tf_static=off")
    listener.graph.until(lambda: len(listener.ticks) > 3, "time goes on")
    assert not listener.static
    switch(player, "tf_static=wrong:1 clock=stuck")
    listener.graph.until(lambda: listener.static, "the transform is published again")
    (told,) = listener.static[-1].transforms
    assert told.transform.translation.x == pytest.approx(FIXED.translation[0] + 1)
    begun = len(listener.ticks)
    listener.graph.until(lambda: len(listener.ticks) > begun + 5, "/clock goes on")
    assert len(set(listener.ticks[begun + 2 :])) == 1
    switch(player, "")
    listener.graph.until(lambda: listener.ticks[-1] > listener.ticks[begun + 3], "time goes on again")
    assert listener.static[-1].transforms[0].transform.translation.x == pytest.approx(FIXED.translation[0])


def test_the_command_sets_faults_of_the_player(listener: Ears, play: Callable[..., Any], program: Any) -> None:
    alone = program("fault", "rgb=off", "--wait", "1")
    assert alone.ends() == 1
    assert "none of frame_player, bag_player, sim_arm is running" in alone.output
    play()
    listener.next("rgb/image", 1)
    assert program("fault", "rgb.frame_id=wrong").ends() == 0
    assert listener.next("rgb/image", 2)[-1].header.frame_id == WRONG_FRAME
    refused = program("fault", "rgb=loud", "--node", "frame_player")
    assert refused.ends() == 3
    assert "garbage" in refused.output
    assert program("fault", "").ends() == 0
    assert listener.next("rgb/image", 2)[-1].header.frame_id == FIXED.child


def test_a_bag_is_played_with_faults_by_role_and_by_topic(quiet: Graph, listener: Ears, tmp_path: Path) -> None:
    seen = scene()
    with BagBuilder(tmp_path / "bag") as bag:
        bag.stands(FIXED)
        for n in range(40):
            bag.frame(seen, seconds(0.05 * n))
    player = quiet.play(BagPlayer, bag=str(bag.out), loop=True, linger=0.0, faults="rgb.stamp=wrong:2 depth=wrong:2")
    colour, depth = listener.next("rgb/image")[-1], listener.next("depth/image")[-1]
    assert (colour.width, colour.height) == (SMALL.width, SMALL.height)
    assert stamp_of(depth) < seconds(2.0) <= stamp_of(colour)  # whichever was heard first
    distances = np.frombuffer(depth.data, np.uint16 if depth.encoding == "16UC1" else np.float32)
    right = np.nanmedian(seen.frame.depth) * (1000 if depth.encoding == "16UC1" else 1)
    assert np.nanmedian(distances[distances > 0]) == pytest.approx(2 * right, rel=0.02)
    switch(player, "/detections=off")
    listener.next("rgb/image", 3)  # what was on its way has arrived
    begun = len(listener.heard["detections"])
    listener.next("rgb/image", 6)
    assert len(listener.heard["detections"]) == begun
    (result,) = player.set_parameters([Parameter("faults", value="/imu=off")])
    assert not result.successful
    assert "/detections" in result.reason
