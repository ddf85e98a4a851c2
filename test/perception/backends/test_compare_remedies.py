# SPDX-License-Identifier: Apache-2.0
"""A comparison with a real model class of random weights: with a remedy it is another model, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_vlms
from tiny_vlms import Lesson

from spatial_vlm_ros.evaluation.compared_models import load_model, models_of
from spatial_vlm_ros.evaluation.relation_comparison import ComparisonPlan, compare_sentence
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception.judging import CHOICES, RelationQuestion
from spatial_vlm_ros.perception.relation_marks import QUESTION
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame

FRAME, SEEN = chicks_and_cup_frame()
WORDS = "the chick behind the cup"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen3-VL of random weights whose tokenizer knows the words of the question."""
    words = " ".join((QUESTION, *(one for choices, _ in CHOICES.values() for one in choices)))
    lesson = Lesson(FRAME.rgb, f"{words} Answer with one of: , .", words)
    return tiny_vlms.qwen_folder(tmp_path_factory.mktemp("qwen") / "tiny", "qwen3_vl", [lesson], steps=0)


def test_a_model_alone_and_with_each_remedy(folder: Path) -> None:
    told: list[str] = []
    judges = models_of([f"qwen=qwen-vl model={folder} device=cpu longest_px=256 warm_up=no"])
    made = ComparisonPlan(judges, ("attention=3.0", "norm_dose=0.5", "attention=1.0"), told=told.append)
    rows = compare_sentence(FRAME, SEEN, WORDS, made, ResolverConfig()).comparison.rows
    assert [(row.by, row.options) for row in rows[2:]] == [
        ("remedy", "attention=3.0"), ("remedy", "norm_dose=0.5"), ("remedy", "attention=1.0"),
    ]  # fmt: skip
    measured, alone, scaled, norm, same = rows
    assert measured.chosen_id == "bonnet"
    assert all(one.consistent is not None for one in (*alone.opinions, *scaled.opinions))
    assert 2 <= alone.questions <= 4
    assert alone.ms > 0.0
    assert alone.load_ms > 0.0
    assert norm.failed  # it was not trained with it
    assert "allow_untrained" in norm.reason
    assert [one.p for one in same.opinions] == [pytest.approx(one.p, abs=1e-4) for one in alone.opinions]
    assert sum(f"loading qwen with {one}" in told for one in made.remedies) == 3


def test_a_remedy_changes_what_the_model_is_asked_with(folder: Path) -> None:
    (model,) = models_of([f"qwen=qwen-vl model={folder} device=cpu longest_px=256 warm_up=no"])
    boxes = {d.id: d.box_xyxy for d in SEEN}
    asked = [RelationQuestion(relation, boxes["bonnet"], boxes["cup"]) for relation in CHOICES]
    plain = load_model(model).judge(FRAME.rgb, asked, 60.0)
    scaled = load_model(model.with_remedy("attention=3.0")).judge(FRAME.rgb, asked, 60.0)
    pairs = [(p, q) for p, q in zip(plain, scaled, strict=True) if p is not None or q is not None]
    assert pairs
    assert any(p is None or q is None or abs(p - q) > 1e-6 for p, q in pairs)
