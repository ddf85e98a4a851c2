# SPDX-License-Identifier: Apache-2.0
"""Sentences on generated tabletops with sensor noise, whose truth benchmarks/accuracy.py knows from the bodies."""

from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.accuracy import Question, questions, view
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.types import Resolution, Status

SCENES = 24
QUESTIONS = 10  # of each scene
Asked = tuple[Question, Resolution, str]


@pytest.fixture(scope="module")
def asked() -> list[Asked]:
    """Every question with its answer and the scene it was asked in; every second scene has boxes instead of masks."""
    results, resolver = [], Resolver()
    for seed in range(SCENES):
        seen = view(seed)
        given = list(questions(seen))
        for row in np.random.default_rng(seed).permutation(len(given))[:QUESTIONS]:
            answer = resolver.resolve(seen.frame, given[row].instruction, seen.detections)
            results.append((given[row], answer, f"seed {seed}, {'boxes' if seen.boxed else 'masks'}"))
    return results


def told(results: Sequence[Asked]) -> str:
    return "\n".join(
        f"{where}: {q.instruction!r} is {q.status.value} {q.id}, got {a.target and a.target.id}: {a.message}"
        for q, a, where in results
    )


def test_answers_are_right_and_clear_questions_are_answered(asked: list[Asked]) -> None:
    possible = [one for one in asked if one[0].status is Status.OK]
    answered = [one for one in possible if one[1].status is Status.OK]
    wrong = [one for one in answered if one[1].target.id != one[0].id]
    assert len(answered) >= 60
    assert len(wrong) <= 0.05 * len(answered), told(wrong)
    refused = [one for one in possible if one[1].status is not Status.OK]
    assert len(refused) <= 0.15 * len(possible), told(refused)


def test_impossible_questions_get_no_target_and_the_reason(asked: list[Asked]) -> None:
    impossible = [one for one in asked if one[0].status is not Status.OK]
    assert len(impossible) >= 40
    assert [one for one in impossible if one[1].target is not None] == [], told(impossible)
    other = [one for one in impossible if one[1].status is not one[0].status]
    assert len(other) <= 0.1 * len(impossible), told(other)


def test_every_kind_of_question_was_asked(asked: list[Asked]) -> None:
    orders = {"nearest", "farthest", "leftmost", "rightmost", "ordinal"}
    assert {one[0].kind for one in asked} >= {"left of", "right of", "behind", "in front of", *orders}
