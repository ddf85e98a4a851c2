# SPDX-License-Identifier: Apache-2.0
"""Scores against numbers worked by hand."""

from __future__ import annotations

import dataclasses

import pytest
from scipy.stats import binomtest

from spatial_vlm_ros import Resolution, Resolver, Status
from spatial_vlm_ros.evaluation.frame_folder import Case, Expectation
from spatial_vlm_ros.evaluation.score import score, wilson
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (3, 7), (57, 62), (990, 1000)])
def test_wilson_agrees_with_scipy(k: int, n: int) -> None:
    theirs = binomtest(k, n).proportion_ci(0.95, method="wilson")
    ours = wilson(k, n)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=2e-6)
    assert ours.share == pytest.approx(k / n, abs=1e-6)


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
