# SPDX-License-Identifier: Apache-2.0
"""A model judges relations behind the live node: camera and sentence → worker → model → `model_p` → fused answer."""

import json
from typing import Any

import pytest
from live_graph import Graph
from live_scene import core_position

from spatial_vlm_ros.perception.backends import shipped_model
from spatial_vlm_ros.perception.backends.relation_judge import NAME


def answered(graph: Graph) -> dict[str, Any]:
    """The JSON of an answer about the chick behind the cup, which is right and OK."""
    goal = graph.ask()
    assert goal.position == pytest.approx(core_position(), abs=1e-6)
    found: dict[str, Any] = json.loads(goal.result.json)
    return found


def test_the_small_judge_confirms_an_answer_and_says_nothing_of_images_of_a_camera(live: Graph) -> None:
    pytest.importorskip("onnxruntime")
    live.use(**{"judge.by": "relation-judge"})
    told = answered(live)["judge"]
    assert told["relations"] == []
    assert "simulated" in told["reason"]
    calibration = str(shipped_model(NAME) / "calibration.json")
    weigh = {"judge.mode": "fuse", "judge.calibration": calibration, "domain_gate.images": "simulated"}
    live.use(**weigh)
    found = answered(live)
    assert found["judge"]["effect"] == "confirmed"
    sure = {one["target_id"]: one["model_p"] > 0.5 for one in found["judge"]["relations"]}
    assert sure == {"bonnet": True, "ribbon": False}
    assert found["candidates"][0]["clauses"][0]["model_p"] > 0.9
