# SPDX-License-Identifier: Apache-2.0
"""What a model in a process of its own can be asked: phrases, masks, relations, its domain; and what failures cost."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import worker_models

from spatial_vlm_ros import errors
from spatial_vlm_ros.parameters import DomainGateConfig, config_from
from spatial_vlm_ros.perception.domain import check_domain
from spatial_vlm_ros.perception.judging import MarksError, RelationQuestion
from spatial_vlm_ros.perception.worker import WorkerGrounder
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Detection, JudgeReport, NounPhrase, Resolution, Status

pytestmark = pytest.mark.live
FRAME, DETECTIONS = chicks_and_cup_frame()
WORDS, FREE = "grab me the chick behind the cup", "grab what my niece would cuddle"
IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
CUP = NounPhrase("cup")
A, B = (10.0, 10.0, 60.0, 60.0), (100.0, 100.0, 160.0, 170.0)
ASK, FREE_FORM = {"second_opinion": {"ask": True}}, {"language": {"free_form": "ask_model"}}
Worker = Callable[..., WorkerGrounder]


def questions(*relations: str) -> list[RelationQuestion]:
    return [RelationQuestion(relation, A, B) for relation in relations]


def report_of(answer: Resolution) -> JudgeReport:
    return answer.judge


def test_a_worker_refers_as_its_backend_does(worker: Worker) -> None:
    grounder, own = worker("worker_models:Echoing"), worker_models.Echoing()
    for words in ("the chick behind the cup", "größte Dose", "", "nothing"):
        assert grounder.refer(IMAGE, words) == own.refer(IMAGE, words)
    assert grounder.ground(IMAGE, [CUP]).detections == ()
    assert grounder.refer(IMAGE, "again") == own.refer(IMAGE, "again")


def test_the_whole_way_through_a_worker(worker: Worker) -> None:
    grounder = worker("worker_models:pointing")
    answer = Resolver(config_from(ASK), grounder).resolve(FRAME, WORDS)
    opinion = answer.second_opinion
    assert answer.status is Status.OK
    assert (opinion.named_id, opinion.effect, opinion.words) == ("bonnet", "reported", "the chick behind the cup")
    assert "refer" in answer.timings_ms
    free = Resolver(config_from(FREE_FORM), grounder).resolve(FRAME, FREE)
    here = Resolver(config_from(FREE_FORM), worker_models.pointing()).resolve(FRAME, FREE)
    assert (free.status, free.source, free.target) == (Status.OK, "model", here.target)
    assert grounder.masked(IMAGE, (DETECTIONS[0],)) == (DETECTIONS[0],)  # it has no model of masks
    with pytest.raises(errors.InputError, match=r"judge\.mode"):
        grounder.judge(IMAGE, questions("left of"), 5.0)


def test_a_backend_that_cannot_refer_is_said_so_and_lives_on(worker: Worker) -> None:
    grounder = worker("worker_models:Mute")
    with pytest.raises(errors.InputError, match=r"second_opinion\.ask.*Mute"):
        grounder.refer(IMAGE, "the cup")
    pid = grounder.pid
    answer = Resolver(config_from(ASK), grounder).resolve(FRAME, WORDS, DETECTIONS)
    assert answer.status is Status.INVALID_INPUT
    refused = Resolver(config_from(FREE_FORM), grounder).resolve(FRAME, FREE)
    assert refused.status is Status.NOT_UNDERSTOOD
    assert "cannot ground a whole phrase" in refused.message
    assert (grounder.ground(IMAGE, [CUP]).detections, grounder.pid) == ((), pid)


def test_masks_of_a_process_are_those_of_the_backend(worker: Worker) -> None:
    box = Detection("b", "thing", 1.0, (10.0, 10.0, 30.0, 30.0))
    point = Detection("p", "thing", 1.0, (19.0, 19.0, 21.0, 21.0), pointed=True)
    here = worker_models.cutting().masked(IMAGE, (box, point))
    there = worker("worker_models:cutting").masked(IMAGE, (box, point))
    for one, other in zip(here, there, strict=True):
        assert (one.id, one.box_xyxy, one.pointed) == (other.id, other.box_xyxy, other.pointed)
        np.testing.assert_array_equal(one.mask, other.mask)


def test_relations_are_judged_as_without_a_process(worker: Worker) -> None:
    grounder, asked = worker("worker_models:Judging"), questions("left of", "behind", "on")
    assert grounder.judge(IMAGE, asked, 5.0) == worker_models.Judging().judge(IMAGE, asked, 5.0)
    assert grounder.judge(IMAGE, [], 5.0) == ()
    with pytest.raises(errors.ShapeError):
        grounder.judge(IMAGE[0], asked, 5.0)
    with pytest.raises(errors.ModelError, match="it judged 1 relations"):
        grounder.judge(IMAGE, questions("under"), 5.0)
    with pytest.raises(errors.ModelError, match=r"judge\.marks: auto"):
        grounder.judge(IMAGE, asked, 5.0, "auto")
    assert grounder.judge(IMAGE, asked[:1], 5.0) == (0.25,)


def test_a_budget_leaves_time_for_the_answer(worker: Worker) -> None:
    grounder = worker("worker_models:Budgeted")
    assert grounder.judge(IMAGE, questions("behind", "behind"), 5.0) == (0.05, 0.05)
    assert grounder.judge(IMAGE, questions("behind"), 600.0) == (0.16,)  # 0.8 of its own limit of 20 s


def test_a_process_keeps_what_the_probe_of_marks_found_and_its_error_does_not_end_it(worker: Worker) -> None:
    grounder = worker("worker_models:Blind")
    grounder.start()
    process = grounder.pid
    for _ in range(4):  # of a failing model the process would be replaced after the third
        with pytest.raises(MarksError, match="8 of 16 drawn scenes each, but 13 are needed"):
            grounder.judge(FRAME.rgb, questions("left of"), 60.0, "auto")
    assert (grounder.judge(IMAGE, questions("behind"), 5.0), grounder.pid) == ((None,), process)


def test_from_the_first_request_a_simulated_judge_says_nothing_of_real_images(worker: Worker, tmp_path: Path) -> None:
    """What the model was trained on is known once it is loaded, which the first request does."""
    known = {"slope": 2.0, "error": 0.1, "offset": 0.0, "n": 4000, "positive": 2000}
    path = tmp_path / "judge.json"
    relations = {"behind, higher": known, "behind, lower": known}
    path.write_text(json.dumps({"schema": 1, "model": "test", "relations": relations}))
    alone = Resolver().resolve(FRAME, WORDS, DETECTIONS)
    real, simulated = (dataclasses.replace(FRAME, domain=one) for one in ("real", "simulated"))
    grounder = worker("worker_models:SimulatedJudge")
    resolver = Resolver(config_from({"judge": {"mode": "fuse", "calibration": str(path)}}), grounder)
    for _ in range(2):
        answer = resolver.resolve(real, WORDS, DETECTIONS)
        assert (answer.status, answer.target, answer.confidence) == (Status.OK, alone.target, alone.confidence)
        assert (report_of(answer).effect, report_of(answer).relations) == ("reported", ())
        assert report_of(answer).reason.startswith("it failed: ")
        assert "simulated" in report_of(answer).reason
    answer = resolver.resolve(simulated, WORDS, DETECTIONS)  # there the same words of the model do count
    assert answer.target is None
    assert report_of(answer).effect in ("doubted", "disagreed")


def test_by_default_a_process_is_asked_where_its_model_tells_likelihoods(worker: Worker) -> None:
    answer = Resolver(grounder=worker("worker_models:Scoring")).resolve(FRAME, WORDS)
    assert (answer.status, report_of(answer).effect) == (Status.OK, "reported")
    probability = 1 / (1 + np.exp(-2.0))
    assert [one.raw_p for one in report_of(answer).relations] == pytest.approx([probability] * 2, abs=1e-6)
    assert Resolver(grounder=worker("worker_models:Choosing")).resolve(FRAME, WORDS).judge is None


def test_the_domain_comes_from_the_process_and_stays_when_it_ends(worker: Worker) -> None:
    grounder = worker("worker_models:Simulated")
    assert grounder.domain == "unknown"
    answer = Resolver(grounder=grounder).resolve(dataclasses.replace(FRAME, domain="real"), WORDS)
    assert answer.status is Status.MODEL_ERROR  # loaded by the request, it is refused all the same
    assert "worker_models:Simulated" in answer.message
    assert "only on simulated images" in answer.message
    first, black = grounder.pid, np.zeros_like(IMAGE)
    for _ in range(4):  # an unfamiliar image costs no process
        with pytest.raises(errors.UnfamiliarImageError, match="unfamiliar=answer") as caught:
            grounder.ground(black, [CUP])
        assert (caught.value.model, caught.value.distance, caught.value.limit) == ("simulated", 3.25, 1.5)
    assert grounder.pid == first
    grounder.close()
    assert grounder.domain == "simulated"
    with pytest.raises(errors.DomainMismatchError):
        check_domain(grounder, DomainGateConfig(), "real")
