# SPDX-License-Identifier: Apache-2.0
"""A small model learns which of two marked boxes is left of the other one, and knows it of held-out images."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from adapt_cases import CPU, scorer_of  # noqa: E402
from tiny_bases import drawn_views, seeing_folder  # noqa: E402

from spatial_vlm_ros.evaluation.adaptation_scores import judged, scores_of, tally_of  # noqa: E402
from spatial_vlm_ros.perception.adapting.bases import load_base  # noqa: E402
from spatial_vlm_ros.perception.adapting.relation_lessons import RelationLessons  # noqa: E402
from spatial_vlm_ros.perception.judging import AskedJudge  # noqa: E402
from spatial_vlm_ros.vlm.adaptation.frame_store import read_store, write_group  # noqa: E402
from spatial_vlm_ros.vlm.adaptation.lessons import LocationWords  # noqa: E402
from spatial_vlm_ros.vlm.adaptation.loop import AdaptLimits, AdaptRun  # noqa: E402
from spatial_vlm_ros.vlm.adaptation.preparing import prepare  # noqa: E402
from spatial_vlm_ros.vlm.adaptation.settings import AdaptSettings  # noqa: E402
from spatial_vlm_ros.vlm.adaptation.teaching import teacher  # noqa: E402

SIDES = ("left of", "right of")


@pytest.mark.slow
def test_sides_are_learnt_and_the_calibration_says_that_the_model_knows_them(tmp_path: Path) -> None:
    base = seeing_folder(tmp_path / "base")
    for number, view in enumerate(drawn_views(600)):
        told = tuple(label for label in view.relations if label.relation in SIDES)
        write_group(tmp_path / "frames", "drawn", f"{number:05d}", [dataclasses.replace(view, relations=told)])
    parts = read_store(tmp_path / "frames", 0)
    settings = AdaptSettings("lora", positions="axial", steps=1500, batch=8, micro=8, rate=3e-3, rank=32)
    made = prepare(*load_base(base, CPU, torch.float32), base, settings)
    scorer = scorer_of(made)
    lessons = RelationLessons(parts["training"], 0, 0.0, LocationWords.of(made.parts))
    run = AdaptRun((made.first, made.second), settings, {}, tmp_path)
    assert run.train(teacher(scorer, lessons, settings), AdaptLimits())
    made.finish()
    judge = AskedJudge(scorer)
    said = judged((view.load() for view in parts["test"]), judge)
    scores = scores_of(len(parts["test"]), said, []).relations
    right, n = (sum(getattr(scores[name].right, key) for name in SIDES) for key in ("k", "n"))
    assert len(said) == 3 * 90
    assert n > 135  # it has an opinion on more than half of the pairs
    assert right > 0.9 * n
    measured = tally_of(judged((view.load() for view in parts["calibration"]), judge)).calibrations()
    assert measured["right of"].informs  # of "left of" these views have only pairs for which it holds
