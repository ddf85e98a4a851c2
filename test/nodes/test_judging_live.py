# SPDX-License-Identifier: Apache-2.0
"""Models judge relations behind the live node: camera and sentence → worker → model → `model_p` → fused answer."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
from live_graph import Graph
from live_scene import FRAME, SENTENCE, core_position, position
from small_scorers import PALIGEMMA, PALIGEMMA_WARNS, small_scorer

from spatial_vlm_ros.perception.backends.relation_judge import NAME
from spatial_vlm_ros.perception.backends.shipped import shipped_model
from spatial_vlm_ros.perception.judging import CHOICES, AskedJudge, RelationQuestion
from spatial_vlm_ros.perception.relation_marks import QUESTION
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.vlm.diagnostics.items import ItemPrompt, ProbeItem

HERE = Path(__file__).parent
POSES = {"base_frame": "world", "frame_timeout": 15.0, "transform_timeout": 5.0}
DETECTIONS = chicks_and_cup_frame()[1]
ITEMS = [
    ProbeItem(relation, relation, "relative", "left-right", ItemPrompt(FRAME.rgb, QUESTION, choices, None), "")
    for relation, (choices, _) in CHOICES.items()
]


def answered(graph: Graph, grounder: str = "", options: str = "", **parameters: Any) -> dict[str, Any]:
    """The JSON of an answer about the chick behind the cup, which is right and OK."""
    told = {"grounder": grounder, "grounder_options": options} if grounder else {}
    graph.start(**POSES, **told, **parameters)
    graph.camera.tf(FRAME.base_T_camera, static=True)
    goal = graph.ask(SENTENCE, FRAME, DETECTIONS)
    assert goal.result is not None
    assert goal.name == "OK", goal.result.status.message
    assert position(goal.result.target[0]) == pytest.approx(core_position(), abs=1e-6)
    found: dict[str, Any] = json.loads(goal.result.json)
    return found


@pytest.mark.filterwarnings(PALIGEMMA_WARNS)
@pytest.mark.parametrize("kind", ["llava", "paligemma", "qwen2_5_vl", "qwen3_vl"])
def test_a_class_of_published_models_judges_in_the_worker(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """What it says of few random weights means nothing; that it is what the same model says here does."""
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
    scorer = small_scorer(kind, ITEMS)
    folder, template = tmp_path / kind, PALIGEMMA if kind == "paligemma" else ""
    scorer.model.save_pretrained(folder)
    scorer.processor.save_pretrained(folder)
    options = f"model={folder}" + (f" template={template}" if template else "")
    told = answered(graph, "worker_backends:ScoringChicks", options)["judge"]
    boxes = {d.id: d.box_xyxy for d in DETECTIONS}
    assert told["effect"] == "reported"
    assert len(told["relations"]) == 2
    for one in told["relations"]:
        question = RelationQuestion(one["relation"], boxes[one["target_id"]], boxes[one["anchor_id"]])
        (expected,) = AskedJudge(scorer).judge(FRAME.rgb, [question], 120.0)
        assert one["raw_p"] == (None if expected is None else pytest.approx(expected, abs=1e-5))


def test_the_small_judge_confirms_an_answer(graph: Graph) -> None:
    pytest.importorskip("onnxruntime")
    calibration = str(shipped_model(NAME) / "calibration.json")
    weigh = {"judge.by": "relation-judge", "judge.mode": "fuse", "judge.calibration": calibration}
    told = answered(graph, **weigh, **{"domain_gate.images": "simulated"})
    assert told["judge"]["effect"] == "confirmed"
    assert {one["target_id"]: one["model_p"] > 0.5 for one in told["judge"]["relations"]} == {
        "bonnet": True,
        "ribbon": False,
    }
    assert told["candidates"][0]["clauses"][0]["model_p"] > 0.9


def test_the_small_judge_says_nothing_of_images_of_a_camera(graph: Graph) -> None:
    pytest.importorskip("onnxruntime")
    told = answered(graph, **{"judge.by": "relation-judge"})["judge"]
    assert told["relations"] == []
    assert "simulated" in told["reason"]
