# SPDX-License-Identifier: Apache-2.0
"""Scores against numbers worked by hand."""

from __future__ import annotations

import dataclasses

from evaluation_cases import answer, some_run
from evaluation_cases import case as asked

from spatial_vlm_ros import Resolution, Resolver, Status
from spatial_vlm_ros.evaluation.frame_folder import Case, Expectation
from spatial_vlm_ros.evaluation.outcome import judge, outcome_json
from spatial_vlm_ros.evaluation.score import score, wilson
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Destination, NounPhrase


def test_no_cases_say_nothing() -> None:
    empty = wilson(0, 0)
    assert (empty.low, empty.high, empty.n) == (0.0, 1.0, 0)


def case(status: Status, id_: str | None, *kind: str) -> Case:
    return Case("f", "words", Expectation(status, id_), kind)


def test_shares_confusion_and_misses_are_counted_right() -> None:
    frame, detections = chicks_and_cup_frame()
    right = Resolver().resolve(frame, "the chick behind the cup", detections)
    assert right.target is not None
    other = dataclasses.replace(right, target=dataclasses.replace(right.target, id="cup"))
    refused = Resolution("words", Status.NOT_FOUND, "nothing")
    cases = [
        case(Status.OK, "bonnet", "behind"),
        case(Status.OK, "bonnet", "behind"),
        case(Status.OK, "bonnet", "behind"),
        case(Status.NOT_FOUND, None, "negative"),
        case(Status.AMBIGUOUS, None, "negative"),
        Case("f", "not judged", None, ()),
    ]
    result = score(cases, [right, other, refused, refused, right, right])
    assert (result.as_expected.k, result.as_expected.n) == (2, 5)
    assert (result.right_instance.k, result.right_instance.n) == (1, 3)
    assert (result.wrong_pose.k, result.wrong_pose.n) == (2, 3)
    assert (result.pose_on_refusal.k, result.pose_on_refusal.n) == (1, 2)
    assert (result.by_kind["behind"].k, result.by_kind["behind"].n) == (1, 3)
    assert (result.by_relation["behind"].k, result.by_relation["behind"].n) == (1, 3)
    assert result.confusion == {
        "OK": {"OK": 2, "NOT_FOUND": 1},
        "NOT_FOUND": {"NOT_FOUND": 1},
        "AMBIGUOUS": {"OK": 1},
    }
    assert [miss.id for miss in result.misses] == ["cup", None, "bonnet"]
    assert result.unjudged == 1
    assert {status: (s.k, s.n) for status, s in result.by_given_status.items()} == {"NOT_FOUND": (1, 2), "OK": (1, 3)}
    assert (result.by_frame_of_reference["viewer"].n, result.by_frame_of_reference["(no scene)"].n) == (3, 2)
    assert (result.by_expected_status["OK"].k, result.by_expected_status["OK"].n) == (1, 3)


def test_the_split_takes_cases_of_one_side_only() -> None:
    ok, refused = answer("x", Status.OK, "a"), answer("x", Status.AMBIGUOUS, "a")
    kinds = [
        ("usual",),
        ("Usual", "behind"),
        ("counter_heuristic",),
        ("counter heuristic",),
        ("usual", "counter-heuristic"),
    ]
    cases = [asked("x", Status.OK, "a", *kind) for kind in kinds]
    split = score(cases, [ok, refused, refused, refused, ok]).split
    assert split is not None
    assert (split.usual.k, split.usual.n, split.counter_heuristic.k, split.counter_heuristic.n) == (1, 2, 0, 2)
    assert split.difference is not None
    assert split.difference.low < split.difference.value == 0.5 < split.difference.high
    only = score(cases[:1], [ok]).split
    assert only is not None
    assert only.difference is None
    assert score([asked("x", Status.OK, "a", "behind")], [ok]).split is None


def test_relations_of_anchors_and_destinations_count_and_none_is_a_group() -> None:
    moved = answer("put it in the box", Status.OK, "a")
    assert moved.query is not None
    box = Destination("inside", (NounPhrase("box", superlative="largest"),))
    moved = dataclasses.replace(moved, query=dataclasses.replace(moved.query, destination=box))
    plain = dataclasses.replace(
        moved, query=dataclasses.replace(moved.query, target=NounPhrase("cup"), destination=None)
    )
    lost = answer("gibberish", Status.NOT_UNDERSTOOD)
    result = score([asked("x", Status.OK, "a")] * 3, [moved, plain, lost])
    assert {name: (s.k, s.n) for name, s in result.by_relation.items()} == {
        "(no relation)": (1, 1), "(not understood)": (0, 1), "behind": (1, 1), "largest": (1, 1), "to: inside": (1, 1)
    }  # fmt: skip


def test_confidence_is_judged_of_answers_and_of_the_likeliest_of_all_cases() -> None:
    cases, answers = some_run()
    outcome = judge(cases, answers)
    assert outcome.answered is not None
    assert outcome.all_cases is not None
    assert (outcome.answered.right.k, outcome.answered.n) == (12, 14)
    assert (outcome.all_cases.right.k, outcome.all_cases.n) == (13, 15)  # the needless refusal had the right one
    written = outcome_json(outcome)
    assert written["calibration"]["all"]["right"] == {"k": 13, "n": 15, **_bounds(13, 15)}
    assert written["as_expected"]["k"] == 12
    assert written["comparison"] is None
    assert outcome_json(judge(cases, [dataclasses.replace(a, ms=99.0) for a in answers])) == written


def _bounds(k: int, n: int) -> dict[str, float]:
    share = wilson(k, n)
    return {"share": share.share, "low": share.low, "high": share.high}
