# SPDX-License-Identifier: Apache-2.0
"""Cases that were not judged are shown by reason, not one by one."""

from __future__ import annotations

from spatial_vlm_ros.evaluation.model_run import UnusableCase, by_reason


def case(image: str, problem: str = "damaged", source: str = "run1") -> UnusableCase:
    return UnusableCase(source, image, "the cup", problem)


def test_cases_of_a_reason_and_source_are_together_and_those_of_several_models_count_once() -> None:
    cases = [case("f2"), case("f1"), case("f3"), case("f3"), case("f0", "no id"), case("f1", source="run2")]
    groups = by_reason(cases)
    assert [(g.first.source, g.first.image, g.first.problem, g.count) for g in groups] == [
        ("run1", "f0", "no id", 1),
        ("run1", "f1", "damaged", 3),
        ("run2", "f1", "damaged", 1),
    ]
    assert [group.image for group in groups] == ["f0", "f1 and 2 more", "f1"]


def test_none_are_none() -> None:
    assert by_reason([]) == []
