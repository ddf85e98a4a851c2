# SPDX-License-Identifier: Apache-2.0
"""A judge of relations in a process of its own: what it may be asked, and what its failures cost."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.perception.judging import RelationQuestion
from spatial_vlm_ros.perception.worker import WorkerGrounder
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import JudgeReport, Resolution, Status

FRAME, DETECTIONS = chicks_and_cup_frame()
WORDS = "grab me the chick behind the cup"
IMAGE = FRAME.rgb
A, B = (10.0, 10.0, 60.0, 60.0), (100.0, 100.0, 160.0, 170.0)


@pytest.fixture(autouse=True)
def models_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)


@pytest.fixture(scope="module")
def budgeted() -> Iterator[WorkerGrounder]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        grounder = WorkerGrounder("worker_models:Budgeted")
        grounder.start()
    yield grounder
    grounder.close()


def behind(n: int = 1) -> list[RelationQuestion]:
    return [RelationQuestion("behind", A, B)] * n


def report_of(answer: Resolution) -> JudgeReport:
    assert answer.judge is not None
    return answer.judge


def config(judge: Mapping[str, Any]) -> Any:
    return config_from({"judge": dict(judge)})


@pytest.mark.parametrize(
    "box",
    [
        np.array(A), tuple(np.float32(one) for one in A), tuple(np.int64(one) for one in A), tuple(map(np.float64, A)),
        A[:3], (*A, 1.0), tuple(map(str, A)), (None,) * 4, (True, *A[1:]), 3, (10**400, *A[1:]),
    ],
)  # fmt: skip
def test_boxes_of_anything_but_four_plain_numbers_are_refused_and_cost_no_process(
    budgeted: WorkerGrounder, box: Any
) -> None:
    process = budgeted.pid
    for _ in range(4):  # more often than a process may fail
        with pytest.raises(InputError, match="questions"):
            budgeted.judge(IMAGE, [RelationQuestion("left of", box, B)], 5.0)
    assert budgeted.judge(IMAGE, behind(), 5.0) == (0.05,)
    assert process == budgeted.pid


def test_no_further_question_is_asked_when_the_process_has_little_time_left() -> None:
    with WorkerGrounder("worker_models:Budgeted", timeout_s=20.0) as grounder:
        assert grounder.judge(IMAGE, behind(2), 5.0) == (0.05, 0.05)
        assert grounder.judge(IMAGE, behind(2), 600.0) == (0.16, 0.16)


def test_what_was_said_in_time_is_kept_and_the_process_goes_on() -> None:
    """Twenty questions of 0.1 s, asked twice each, are 4 s; the process has 2 s, and the request allows 5 s."""
    with WorkerGrounder("worker_models:Thinking", {"seconds": "0.1"}, timeout_s=2.0) as grounder:
        process = grounder.pid
        said = grounder.judge(IMAGE, behind(20), 5.0)
        asked = [p for p in said if p is not None]
        assert 1 <= len(asked) < 20
        assert said == (*asked, *(None,) * (20 - len(asked)))
        assert min(asked) > 0.99
        assert grounder.pid == process
        assert grounder.judge(IMAGE, behind(), 5.0) == (asked[0],)


def test_from_the_first_request_on_a_simulated_judge_says_nothing_of_real_images(tmp_path: Path) -> None:
    """What the model was trained on is known once it is loaded, which the first request does."""
    known = {"slope": 2.0, "error": 0.1, "offset": 0.0, "n": 4000, "positive": 2000}
    path = tmp_path / "judge.json"
    relations = {"behind, higher": known, "behind, lower": known}
    path.write_text(json.dumps({"schema": 1, "model": "test", "relations": relations}))
    fuse = config({"mode": "fuse", "calibration": str(path)})
    alone = Resolver().resolve(FRAME, WORDS, DETECTIONS)
    assert alone.status is Status.OK
    real, simulated = (dataclasses.replace(FRAME, domain=one) for one in ("real", "simulated"))
    grounder = WorkerGrounder("worker_models:SimulatedJudge")
    try:
        resolver = Resolver(fuse, grounder)
        assert grounder.pid is None
        for _ in range(2):
            answer = resolver.resolve(real, WORDS, DETECTIONS)
            assert grounder.pid is not None
            assert (answer.status, answer.target, answer.confidence) == (Status.OK, alone.target, alone.confidence)
            assert (report_of(answer).effect, report_of(answer).relations) == ("reported", ())
            assert report_of(answer).reason.startswith("it failed: ")
            assert "simulated" in report_of(answer).reason
        answer = resolver.resolve(simulated, WORDS, DETECTIONS)  # there the same words of the model do count
        assert answer.target is None
        assert report_of(answer).effect in ("doubted", "disagreed")
    finally:
        grounder.close()


def test_a_process_that_fails_costs_the_judge_and_not_the_answer() -> None:
    alone = Resolver().resolve(FRAME, WORDS, DETECTIONS)
    grounder = WorkerGrounder("worker_models:unloadable")
    try:
        answer = Resolver(config({"mode": "fuse"}), grounder).resolve(FRAME, WORDS, DETECTIONS)
    finally:
        grounder.close()
    assert (answer.status, answer.target, answer.confidence) == (Status.OK, alone.target, alone.confidence)
    assert report_of(answer).reason.startswith("it failed: ")
    assert "weights.bin" in report_of(answer).reason


@pytest.mark.parametrize(("model", "asked"), [("Scoring", True), ("Thinking", False)])
def test_by_default_a_process_is_asked_where_its_model_tells_likelihoods(model: str, asked: bool) -> None:
    with WorkerGrounder(f"worker_models:{model}") as grounder:
        answer = Resolver(grounder=grounder).resolve(FRAME, WORDS)
    assert answer.status is Status.OK
    assert (answer.judge is not None) is asked
    if asked:
        assert [one.raw_p for one in report_of(answer).relations] == pytest.approx(
            [1 / (1 + np.exp(-2.0))] * 2, abs=1e-6
        )
        assert report_of(answer).effect == "reported"


def test_a_time_that_cannot_be_sent_is_refused_too(budgeted: WorkerGrounder) -> None:
    process = budgeted.pid
    with pytest.raises(InputError, match="questions"):
        budgeted.judge(IMAGE, behind(), np.float64(5.0))
    assert (budgeted.judge(IMAGE, behind(), 5.0), budgeted.pid) == ((0.05,), process)
