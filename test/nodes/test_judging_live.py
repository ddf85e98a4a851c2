# SPDX-License-Identifier: Apache-2.0
"""A model judges relations behind the live node: camera and sentence → worker → model → `model_p` → fused answer."""

import json
from pathlib import Path

import pytest
from live_graph import Graph
from live_scene import FRAME, core_position


def test_a_grounder_that_judges_confirms_an_answer(graph: Graph, tmp_path: Path) -> None:
    measured = {"slope": 1.0, "error": 0.05, "offset": 0.0, "n": 400, "positive": 200}
    known = {"schema": 1, "model": "m", "relations": {f"behind, {where}": measured for where in ("higher", "lower")}}
    (tmp_path / "judge.json").write_text(json.dumps(known))
    judge = {"judge.mode": "fuse", "judge.calibration": str(tmp_path / "judge.json")}
    graph.start(base_frame="world", frame_timeout=15.0, grounder="worker_backends:JudgingChicks", **judge)
    graph.camera.tf(FRAME.base_T_camera, static=True)
    goal = graph.ask()
    assert goal.position == pytest.approx(core_position(), abs=1e-6)
    found = json.loads(goal.result.json)
    assert found["judge"]["effect"] == "confirmed"
    sure = {one["target_id"]: one["model_p"] > 0.5 for one in found["judge"]["relations"]}
    assert sure == {"bonnet": True, "ribbon": False}
    assert found["candidates"][0]["clauses"][0]["model_p"] > 0.9
