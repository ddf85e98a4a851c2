# SPDX-License-Identifier: Apache-2.0
"""Classes of published models, of few random weights, asked about relations between marked objects."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch
from small_scorers import PALIGEMMA_WARNS, small_scorer

from spatial_vlm_ros.perception.judging import CHOICES, AskedJudge, RelationQuestion
from spatial_vlm_ros.perception.relation_marks import QUESTION, marked
from spatial_vlm_ros.vlm.diagnostics.candidates import CandidateScorer
from spatial_vlm_ros.vlm.diagnostics.items import ItemPrompt, ProbeItem
from spatial_vlm_ros.vlm.remedies.attention_scaling import last_row_scaled, one_row
from spatial_vlm_ros.vlm.remedies.attention_scaling_calibration import AdaptVis, ScalingVis

IMAGE = np.random.default_rng(3).integers(0, 256, (64, 96, 3), np.uint8)
LEFT, RIGHT = (5.0, 10.0, 30.0, 50.0), (60.0, 12.0, 90.0, 55.0)
ITEMS = [
    ProbeItem(relation, relation, "relative", "left-right", ItemPrompt(IMAGE, QUESTION, choices, None), "")
    for relation, (choices, _) in CHOICES.items()
]
SIDES = CHOICES["left of"][0]
DECODERS = ["llava", "qwen2_vl", "qwen2_5_vl", "qwen3_vl"]


@pytest.mark.filterwarnings(PALIGEMMA_WARNS)
@pytest.mark.parametrize("kind", [*DECODERS, "paligemma"])
def test_each_class_gives_probabilities_or_no_opinion(kind: str) -> None:
    judge = AskedJudge(small_scorer(kind, ITEMS))
    questions = [RelationQuestion(relation, LEFT, RIGHT) for relation in CHOICES]
    told = judge.judge(IMAGE, questions, 120.0)
    assert all(p is None or 0.0 < p < 1.0 for p in told)
    assert told == judge.judge(IMAGE, questions, 120.0)
    opposite = dict(zip(CHOICES, told, strict=True))
    if opposite["left of"] is not None and opposite["right of"] is not None:
        assert opposite["left of"] + opposite["right of"] == pytest.approx(1.0)


def scaled(scorer: CandidateScorer, settings: AdaptVis | ScalingVis) -> CandidateScorer:
    """The same model with attention scaled in one row."""
    return CandidateScorer(scorer.model, scorer.processor, answering=lambda ids: one_row(scorer.parts, ids, settings))


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("settings", [AdaptVis(0.5, 1.5, 0.999), AdaptVis(0.5, 1.5, 1e-6), ScalingVis(2.0)])
def test_likelihoods_in_one_row_are_those_of_two_passes(kind: str, settings: AdaptVis | ScalingVis) -> None:
    scorer = small_scorer(kind, ITEMS)
    scorer.model.double()
    image = marked(IMAGE, LEFT, RIGHT)
    one = scaled(scorer, settings).scores(image, QUESTION, SIDES)
    inputs = scorer.inputs(image, QUESTION, SIDES)
    with torch.no_grad():
        plain = scorer.model(**inputs).logits[0, -1].softmax(-1)
    alpha = settings.alpha_for(float(plain.max()))
    with last_row_scaled(scorer.parts, scorer.parts.image_columns(inputs["input_ids"])[0], alpha):
        two = scorer.scores(image, QUESTION, SIDES)
    assert one == pytest.approx(two, abs=1e-6)
    assert one != pytest.approx(scorer.scores(image, QUESTION, SIDES), abs=1e-6)


@pytest.mark.parametrize("kind", DECODERS)
def test_a_factor_of_one_changes_nothing(kind: str) -> None:
    scorer = small_scorer(kind, ITEMS)
    plain = scorer.scores(IMAGE, QUESTION, SIDES)
    assert scaled(scorer, ScalingVis(1.0)).scores(IMAGE, QUESTION, SIDES) == pytest.approx(plain, abs=1e-5)
