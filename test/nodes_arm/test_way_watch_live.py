# SPDX-License-Identifier: Apache-2.0
"""The whole stack with the watch on the way, by a camera that stands or one on the hand: what enters stops the arm."""

from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import pytest

pytest.importorskip("mujoco")

from gate_cell import Cell, running_cell
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.sim.arm.machines import PANDA

SIMULATION = {"speed": 1.0, "rate": 4.0, "state_rate": 25.0, "width": 320}


class WatchedCell(Cell):
    """A cell whose depth comes to the gate through the test."""

    simulation = MappingProxyType(SIMULATION)
    watch = MappingProxyType({"watch_depth": "watched/image", "watch_silence": 3.0})  # s: images are rendered beside
    passes = True

    def _make(self, context: Context) -> Node:
        node = super()._make(context)
        images = node.create_publisher(Image, "watched/image", qos.IMAGES)
        infos = node.create_publisher(CameraInfo, "watched/camera_info", qos.IMAGES)

        def on_image(message: Image) -> None:
            if self.passes:
                images.publish(message)

        node.create_subscription(Image, "depth/image", on_image, qos.images())
        node.create_subscription(CameraInfo, "rgb/camera_info", infos.publish, qos.images())
        return node


class WristCell(Cell):
    """A cell whose resolver and gate see with the camera on the hand."""

    simulation = MappingProxyType({**SIMULATION, "wrist_camera": True})
    sentence = "put the left chick on the tray"  # a view straight down has no "behind"
    looks = tuple(f"{name}:=wrist/{name}" for name in ("rgb/image", "depth/image", "rgb/camera_info", "detections"))
    watch = MappingProxyType(
        {
            "watch_depth": "wrist/depth/image", "watch_camera_info": "wrist/rgb/camera_info",
            "watch_silence": 5.0,  # s: the camera on the hand sees none of the way for up to 2.8 s
            "observation.least_seen": 0.2,  # it sees a quarter of the way to the tray, less than the default asks for
        }
    )  # fmt: skip


CELLS = [pytest.param(WatchedCell, id="standing"), pytest.param(WristCell, marks=pytest.mark.slow, id="on the hand")]


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Any]:
    kind = request.param
    with running_cell(kind, tmp_path_factory.mktemp("cell"), approval_timeout=60.0, **kind.watch) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, indirect=True)
def test_what_enters_the_way_stops_the_arm(cell: Any) -> None:
    picking = cell.begun()
    x, y, _ = cell.verdict()["things"]["bonnet"]["position"]
    cell.disturb(move={"id": "box", "to": [x + 0.02, y + 0.13, 0.0]})
    ended = cell.end(picking)
    assert ended.name == "CANCELLED", ended.result
    assert "something has entered the arm's path" in ended.result.status.message
    cell.stands()
    assert not cell.verdict()["things"]["box"]["touched"]
    cell.again()


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, indirect=True)
def test_a_clean_motion_is_not_stopped(cell: Any) -> None:
    ended = cell.end(cell.begun())
    assert ended.name == "OK", ended.result
    assert cell.verdict()["things"]["bonnet"]["delivered"]
    cell.again()


@pytest.mark.slow
@pytest.mark.parametrize("cell", [WatchedCell], indirect=True)
@pytest.mark.parametrize("moves", [False, True], ids=["before", "while it moves"])
def test_without_depth_of_the_way_nothing_moves_on(cell: WatchedCell, moves: bool) -> None:
    before = cell.accepted()
    picking, proposal = (cell.begun(), None) if moves else cell.proposed()
    cell.passes = False
    try:
        assert proposal is None or cell.approve(proposal) == "OK"
        ended = cell.end(picking)
    finally:
        cell.passes = True
    expected = ("CANCELLED", "depth of the path was lost") if moves else ("DEPTH_INVALID", "no image arrives on")
    assert (ended.name, ended.result.moved) == (expected[0], moves), ended.result
    assert expected[1] in ended.result.status.message
    if moves:
        cell.stands()
        assert cell.verdict()["things"]["bonnet"]["touched"] is False
        cell.again()
    else:
        assert cell.accepted() == before


@pytest.mark.slow
@pytest.mark.parametrize("cell", [WristCell], indirect=True)
def test_a_plan_in_which_the_camera_would_be_blind_is_refused_before_anybody_is_asked(cell: WristCell) -> None:
    before, proposals = cell.accepted(), len(cell.proposals)
    other = {"motion.controller_actions": "/other/follow"}
    with cell.another_gate(**{**cell.watch, **other, "watch_silence": 0.5}):
        ended = cell.end(cell.send(pick=cell.other_pick))
    told = ended.result.status.message
    assert (ended.name, ended.result.moved) == ("DEPTH_INVALID", False), told
    assert f"the camera moves with {PANDA.hand_link} and does not see the path of the arm for" in told
    assert "watch_silence is 0.5 s" in told
    assert (cell.accepted(), len(cell.proposals)) == (before, proposals)
