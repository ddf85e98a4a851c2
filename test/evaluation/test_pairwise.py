# SPDX-License-Identifier: Apache-2.0
"""Pairs of models: which figures differ, by how much, and what is left after the correction."""

from __future__ import annotations

import dataclasses

import pytest
from evaluation_cases import answer, case

from spatial_vlm_ros.evaluation.case_result import CaseResult, judge_case
from spatial_vlm_ros.evaluation.comparison import ComparisonVerdict
from spatial_vlm_ros.evaluation.pairwise import compare_pairs, holm, paired_over_groups
from spatial_vlm_ros.types import Status


def results(right: int, of: int = 12, refused: int = 0) -> list[CaseResult]:
    """The first `right` of some cases are right; the others are wrong poses, but for the last `refused`."""
    found = []
    for n in range(of):
        asked = case(f"the cup {n}", Status.OK, "a")
        given = Status.OK if n < of - refused else Status.AMBIGUOUS
        said = answer(asked.instruction, given, "a" if n < right else "b")
        result = judge_case(asked, asked.expect, said)  # type: ignore[arg-type]
        found.append(dataclasses.replace(result, frame=f"f{n % 4}"))
    return found


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.04: times 4, 3, 2, 1 is 0.04, 0.06, 0.06, 0.04; none falls below one before it."""
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_each_pair_has_every_figure_once() -> None:
    rows = compare_pairs([("a", results(12)), ("b", results(4)), ("c", results(12))])
    assert [(r.first, r.second) for r in rows] == [("a", "b")] * 3 + [("a", "c")] * 3 + [("b", "c")] * 3
    first = rows[0]
    assert (first.metric, first.n, first.first_k, first.second_k) == ("as expected, place and all", 12, 12, 4)
    assert (first.only_first, first.only_second) == (8, 0)
    assert first.p == pytest.approx(2 * 0.5**8, rel=1e-2)
    assert first.p_holm == pytest.approx(9 * first.p, rel=1e-2)  # the first of nine equal ones, sorted
    assert first.verdict is ComparisonVerdict.CANNOT_TELL  # 0.0078 alone, 0.07 among nine
    assert first.difference.value == pytest.approx(8 / 12, abs=1e-5)
    assert rows[3].p_holm == 1.0


def test_a_clear_difference_stays_and_less_wrong_poses_are_better() -> None:
    rows = {r.metric: r for r in compare_pairs([("bad", results(2, 40)), ("good", results(40, 40))])}
    assert rows["as expected, place and all"].verdict is ComparisonVerdict.WORSE
    assert rows["wrong pose"].verdict is ComparisonVerdict.WORSE
    assert rows["wrong pose"].first_k == 38
    swapped = {r.metric: r for r in compare_pairs([("good", results(40, 40)), ("bad", results(2, 40))])}
    assert swapped["wrong pose"].verdict is ComparisonVerdict.BETTER
    assert "pose on refusal" not in rows  # no case expects a refusal


def test_only_cases_of_both_are_compared() -> None:
    (row, *_) = compare_pairs([("a", results(12)), ("b", results(3, 6))])
    assert row.n == 6
    assert compare_pairs([("a", results(12)), ("b", [])]) == ()
    assert compare_pairs([("a", results(12))]) == ()


def test_whole_groups_are_drawn() -> None:
    """All of the difference is in one of two groups: a draw has none, half or all of it."""
    pairs = [("x", True, False)] * 5 + [("y", True, True)] * 5
    interval = paired_over_groups(pairs)
    assert (interval.value, interval.low, interval.high) == (0.5, 0.0, 1.0)
    assert paired_over_groups(pairs[:5]) == paired_over_groups(pairs[:3])  # one group: no width
