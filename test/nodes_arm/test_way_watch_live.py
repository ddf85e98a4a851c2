# SPDX-License-Identifier: Apache-2.0
"""The whole stack with the watch on the way: clean, without depth, depth lost while the arm moves, something enters."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import pytest

pytest.importorskip("mujoco")

from gate_cell import Cell, Picking, running_cell, stamp_ns
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from spatial_vlm_ros.nodes import qos

SILENCE = 3.0  # s, for images are rendered beside everything else
STILL = 0.02  # rad/s


class WatchedCell(Cell):
    """A cell whose depth comes to the gate through the test."""

    simulation = MappingProxyType({"speed": 1.0, "rate": 4.0, "state_rate": 25.0, "width": 320})
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

    def arm_moves(self) -> bool:
        return bool(self.joints) and max(map(abs, self.joints[-1].velocity[:7])) > 5 * STILL

    def stands(self) -> None:
        """It stays still for half a second."""
        begun = stamp_ns(self.joints[-1].header.stamp)
        self.until(lambda: stamp_ns(self.joints[-1].header.stamp) > begun + 500_000_000, "half a second has passed")
        since = [j for j in self.joints if stamp_ns(j.header.stamp) > begun]
        assert max(abs(v) for j in since for v in j.velocity[:7]) < STILL

    def begun(self) -> Picking:
        """A goal whose motion was approved; the arm moves."""
        picking, proposal = self.proposed()
        assert self.approve(proposal) == "OK"
        self.until(lambda: self.arm_moves() or picking.result, "the arm moves")
        assert picking.result is None, picking.result
        return picking


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedCell]:
    watched: dict[str, Any] = {"watch_depth": "watched/image", "watch_silence": SILENCE}
    with running_cell(WatchedCell, tmp_path_factory.mktemp("cell"), approval_timeout=60.0, **watched) as made:
        yield made


def test_without_depth_of_the_way_nothing_moves(cell: WatchedCell) -> None:
    before = cell.accepted()
    picking, proposal = cell.proposed()
    cell.passes = False
    try:
        assert cell.approve(proposal) == "OK"
        ended = cell.end(picking)
    finally:
        cell.passes = True
    assert ended.name == "DEPTH_INVALID", ended.result
    assert "no image arrives on" in ended.result.status.message
    assert not ended.result.moved
    assert cell.accepted() == before


def test_depth_that_is_lost_while_the_arm_moves_stops_it(cell: WatchedCell) -> None:
    picking = cell.begun()
    cell.passes = False
    try:
        ended = cell.end(picking)
    finally:
        cell.passes = True
    assert ended.name == "CANCELLED", ended.result
    assert "depth of the path was lost" in ended.result.status.message
    assert ended.result.moved
    cell.stands()
    assert cell.verdict()["things"]["bonnet"]["touched"] is False
    cell.again()


def test_what_enters_the_way_stops_the_arm(cell: WatchedCell) -> None:
    picking = cell.begun()
    x, y, _ = cell.verdict()["things"]["bonnet"]["position"]
    cell.disturb(move={"id": "box", "to": [x + 0.02, y + 0.13, 0.0]})
    ended = cell.end(picking)
    assert ended.name == "CANCELLED", ended.result
    assert "something has entered the arm's path" in ended.result.status.message
    cell.stands()
    assert not cell.verdict()["things"]["box"]["touched"]
    cell.again()


def test_a_clean_motion_is_not_stopped(cell: WatchedCell) -> None:
    ended = cell.end(cell.begun())
    assert ended.name == "OK", ended.result
    assert cell.verdict()["things"]["bonnet"]["delivered"]
