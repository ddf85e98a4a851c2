# SPDX-License-Identifier: Apache-2.0
"""The whole stack with the camera on the hand: what it sees stops the arm; a plan in which it is blind is refused."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import pytest

pytest.importorskip("mujoco")

from gate_cell import Cell, Picking, running_cell, stamp_ns

from spatial_vlm_ros.sim.arm.machines import PANDA

LEFT = "put the left chick on the tray"  # a view straight down has no "behind"
LEAST_SEEN = 0.2  # this camera sees a quarter of the way to the tray, less than the default asks for
SILENCE = 5.0  # s: the camera on the hand sees none of the way for up to 2.8 s
STILL = 0.02  # rad/s


class WristCell(Cell):
    """A cell whose resolver and gate see with the camera on the hand."""

    simulation = MappingProxyType({"speed": 1.0, "rate": 4.0, "state_rate": 25.0, "width": 320, "wrist_camera": True})
    looks = tuple(f"{name}:=wrist/{name}" for name in ("rgb/image", "depth/image", "rgb/camera_info", "detections"))

    def send(self, instruction: str = LEFT, **request: Any) -> Picking:
        return super().send(instruction, **request)

    def run(self, instruction: str = LEFT, **request: Any) -> Picking:
        return super().run(instruction, **request)

    def begun(self) -> Picking:
        """A goal whose motion was approved; the arm moves."""
        picking, proposal = self.proposed()
        assert self.approve(proposal) == "OK"
        self.until(self.arm_moves_or_ended(picking), "the arm moves")
        assert picking.result is None, picking.result
        return picking

    def arm_moves_or_ended(self, picking: Picking) -> Any:
        def done() -> bool:
            moves = bool(self.joints) and max(map(abs, self.joints[-1].velocity[:7])) > 5 * STILL
            return moves or picking.result is not None

        return done


def watched(silence: float) -> dict[str, Any]:
    return {
        "watch_depth": "wrist/depth/image", "watch_camera_info": "wrist/rgb/camera_info", "watch_silence": silence,
        "observation.least_seen": LEAST_SEEN,
    }  # fmt: skip


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WristCell]:
    with running_cell(WristCell, tmp_path_factory.mktemp("cell"), approval_timeout=60.0, **watched(SILENCE)) as made:
        yield made


@pytest.fixture(autouse=True)
def as_at_the_start(cell: WristCell) -> Iterator[None]:
    yield
    cell.again()


def test_a_clean_motion_is_not_stopped(cell: WristCell) -> None:
    ended = cell.end(cell.begun())
    assert ended.name == "OK", ended.result.status.message
    assert cell.verdict()["things"]["bonnet"]["delivered"]


def test_what_enters_where_the_hand_looks_stops_the_arm(cell: WristCell) -> None:
    picking = cell.begun()
    x, y, _ = cell.verdict()["things"]["bonnet"]["position"]
    cell.disturb(move={"id": "box", "to": [x + 0.02, y + 0.13, 0.0]})
    ended = cell.end(picking)
    assert ended.name == "CANCELLED", ended.result.status.message
    assert "something has entered the arm's path" in ended.result.status.message
    begun = stamp_ns(cell.joints[-1].header.stamp)
    cell.until(lambda: stamp_ns(cell.joints[-1].header.stamp) > begun + 500_000_000, "half a second has passed")
    still = [j for j in cell.joints if stamp_ns(j.header.stamp) > begun]
    assert max(abs(v) for j in still for v in j.velocity[:7]) < STILL
    assert not cell.verdict()["things"]["box"]["touched"]


def test_a_plan_in_which_the_camera_would_be_blind_is_refused_before_anybody_is_asked(cell: WristCell) -> None:
    before, proposals = cell.accepted(), len(cell.proposals)
    strict = {"watch_silence": 0.5, "page": False, **{k: v for k, v in watched(0.5).items() if k != "watch_silence"}}
    with cell.another_gate(**strict):
        ended = cell.end(cell.send(pick=cell.other_pick))
    assert ended.name == "DEPTH_INVALID", ended.result.status.message
    told = ended.result.status.message
    assert f"the camera moves with {PANDA.hand_link} and does not see the path of the arm for" in told
    assert "watch_silence is 0.5 s" in told
    assert not ended.result.moved
    assert (cell.accepted(), len(cell.proposals)) == (before, proposals)
