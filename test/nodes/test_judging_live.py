# SPDX-License-Identifier: Apache-2.0
"""Models judge relations behind the live node: camera and sentence → worker → model → `model_p` → fused answer."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
from live_graph import Graph
from live_scene import DETECTIONS, FRAME, core_position
from small_scorers import PALIGEMMA, PALIGEMMA_WARNS, small_scorer

from spatial_vlm_ros.perception.backends import shipped_model
from spatial_vlm_ros.perception.backends.relation_judge import NAME
from spatial_vlm_ros.perception.judging import CHOICES, QUESTION, AskedJudge, RelationQuestion
from spatial_vlm_ros.vlm.diagnostics.items import ItemPrompt, ProbeItem

ITEMS = [
    ProbeItem(relation, relation, "relative", "left-right", ItemPrompt(FRAME.rgb, QUESTION, choices, None), "")
    for relation, (choices, _) in CHOICES.items()
]
KINDS = ["llava", *(pytest.param(name, marks=pytest.mark.slow) for name in ("paligemma", "qwen2_5_vl", "qwen3_vl"))]


def answered(graph: Graph) -> dict[str, Any]:
    """The JSON of an answer about the chick behind the cup, which is right and OK."""
    goal = graph.ask()
    assert goal.position == pytest.approx(core_position(), abs=1e-6)
    found: dict[str, Any] = json.loads(goal.result.json)
    return found


@pytest.mark.filterwarnings(PALIGEMMA_WARNS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_class_of_published_models_judges_in_the_worker(graph: Graph, tmp_path: Path, kind: str) -> None:
    """What it says of few random weights means nothing; that it is what the same model says here does."""
    scorer = small_scorer(kind, ITEMS)
    scorer.model.save_pretrained(tmp_path / kind)
    scorer.processor.save_pretrained(tmp_path / kind)
    options = f"model={tmp_path / kind}" + (f" template={PALIGEMMA}" if kind == "paligemma" else "")
    graph.start(
        base_frame="world", frame_timeout=15.0, grounder="worker_backends:ScoringChicks", grounder_options=options
    )  # fmt: skip
    graph.camera.tf(FRAME.base_T_camera, static=True)
    told = answered(graph)["judge"]
    boxes = {d.id: d.box_xyxy for d in DETECTIONS}
    assert told["effect"] == "reported"
    assert len(told["relations"]) == 2
    for one in told["relations"]:
        question = RelationQuestion(one["relation"], boxes[one["target_id"]], boxes[one["anchor_id"]])
        (expected,) = AskedJudge(scorer).judge(FRAME.rgb, [question], 120.0)
        assert one["raw_p"] == (None if expected is None else pytest.approx(expected, abs=1e-5))


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
