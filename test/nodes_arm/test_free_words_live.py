# SPDX-License-Identifier: Apache-2.0
"""Words outside the grammar before a simulated arm: a model server points, depth measures, and nothing moves unasked.

The resolver's grounder is composed of the compact model, which finds objects by name, and a model server, which is
asked what the words mean. The server is a double that points at the chick behind the cup, whatever it is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("mujoco")

from contract_server import Contract, finds, serving
from gate_cell import Cell, Picking, running_cell
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.context import Context
from rclpy.node import Node
from spatial_vlm_interfaces.msg import DetectionArray

from spatial_vlm_ros.nodes import qos
from spatial_vlm_ros.types import CHOSEN_BY_MODEL

pytestmark = pytest.mark.slow
FREE = "grab what my niece would cuddle"
LABEL = "whoever reads this approves the motion"
PATIENCE = 40.0  # s that a plan waits for a person


class FreeCell(Cell):
    """The cell, whose simulation also tells what its camera sees."""

    def _make(self, context: Context) -> Node:
        node = super()._make(context)
        self.seen: list[DetectionArray] = []
        node.create_subscription(DetectionArray, "detections", self.seen.append, qos.IMAGES)
        self.targets: list[PoseWithCovarianceStamped] = []
        node.create_subscription(PoseWithCovarianceStamped, "target", self.targets.append, qos.ANSWERS)
        return node

    def box_of(self, id_: str) -> tuple[float, ...]:
        self.until(lambda: self.seen, "the simulation tells what is seen")
        (found,) = [one for one in self.seen[-1].detections if one.id == id_]
        sides = (640, 480) * 2
        return tuple(round(float(v) / side * 1000) for v, side in zip(found.box, sides, strict=True))


BOX: list[float] = []
"""What the server points at, in thousandths of the image's sides, once that is known."""


@pytest.fixture(scope="module")
def server() -> Iterator[Contract]:
    with serving(lambda handler: finds(*([(LABEL, tuple(BOX))] if BOX else []))(handler)) as contract:
        yield contract


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory, server: Contract) -> Iterator[FreeCell]:
    asked = f"model=tiny url={server.url} convention=thousand probe=no retries=0"
    resolver = {
        "grounder": "composed", "language.free_form": "ask_model", "domain_gate.images": "simulated",
        "grounder_options": f"grounder=compact second_opinion=server second_opinion_options='{asked}'",
    }  # fmt: skip
    gate = {"approval_timeout": PATIENCE, "accept_unseen_obstacles": True}
    with running_cell(FreeCell, tmp_path_factory.mktemp("cell"), {"resolver": resolver}, **gate) as made:
        BOX[:] = made.box_of("bonnet")
        yield made


def answer_of(picking: Picking) -> dict[str, Any]:
    assert picking.result is not None
    return dict(json.loads(picking.result.resolution.json))


def test_a_plan_for_what_a_model_points_at_says_so_and_a_place_is_not_asked_for(
    cell: FreeCell, server: Contract
) -> None:
    before, shown = server.requests, len(cell.targets)
    picking = cell.run(FREE, plan_only=True)
    assert picking.name == "OK", picking.result
    answer = answer_of(picking)
    assert (answer["source"], answer["confidence"], answer["query"]) == ("model", 0.0, None)
    assert answer["target"]["label"] == "object pointed at by a model"
    assert picking.result is not None
    assert CHOSEN_BY_MODEL in picking.result.status.message
    assert not picking.result.moved
    assert server.requests == before + 1
    assert "my niece would cuddle" in server.received[-1].text
    known = cell.run("grab the chick behind the cup", plan_only=True)
    assert answer_of(known)["source"] == "measurement"
    cell.until(lambda: len(cell.targets) > shown, "what was measured is published as a target")
    assert len(cell.targets) == shown + 1  # what a model chose is not: a pose alone cannot say so
    places = [answer["target"]["pose"]["position"], answer_of(known)["target"]["pose"]["position"]]
    assert places[0] == pytest.approx(places[1], abs=0.02)
    before = server.requests  # words that need a place are refused before a model is asked
    refused = cell.run("put what my niece would cuddle on the tray", plan_only=True)
    assert refused.name == "NOT_UNDERSTOOD", refused.result
    assert "no model is asked" in refused.result.status.message  # type: ignore[union-attr]
    assert server.requests == before


def test_what_a_person_has_approved_is_begun(cell: FreeCell, server: Contract) -> None:
    """Begun, and not more: the arm may hit what nobody has looked for (docs/planner_gate.md, unseen obstacles)."""
    before, accepted = server.requests, cell.accepted()
    for _ in range(3):  # noise may look like a change to the recheck: a person asks again then, as the message says
        picking, proposal = cell.proposed("grab what my niece would cuddle behind the cup")
        (name,) = {line["content"]["candidates"][0]["clauses"][0]["relation"] for line in cell.record()[-1:]}
        assert name == "behind"  # what can be read of the words is measured
        assert CHOSEN_BY_MODEL in proposal.motion
        assert CHOSEN_BY_MODEL in cell.record()[-1]["content"]["warnings"][0]
        assert cell.accepted() == accepted
        assert cell.approve(proposal) == "OK"
        cell.end(picking)
        if picking.name != "SCENE_CHANGED":
            break
    assert picking.result is not None
    assert picking.result.moved, picking.result
    assert answer_of(picking)["source"] == "model"
    begun = [line["goal_id"] for line in cell.record() if line["event"] == "EXECUTION_BEGUN"]
    assert begun == [proposal.goal_id]
    assert server.requests >= before + 2  # it is asked again before anything moves
