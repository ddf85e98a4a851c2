# SPDX-License-Identifier: Apache-2.0
"""Two runs over the same cases, and pairs of models: figures, verdicts, corrections, and the files of runs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from evaluation_cases import answer
from evaluation_cases import case as made_up

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.evaluation.case_result import CaseResult, judge_case
from spatial_vlm_ros.evaluation.comparison import Comparison, ComparisonVerdict, compare
from spatial_vlm_ros.evaluation.frame_folder import Case, Expectation
from spatial_vlm_ros.evaluation.outcome import judge, outcome_json
from spatial_vlm_ros.evaluation.pairwise import compare_pairs, holm, paired_over_groups
from spatial_vlm_ros.evaluation.runs import StoredAnswer, read_run
from spatial_vlm_ros.evaluation.score import score
from spatial_vlm_ros.output.json_schema import resolution_json
from spatial_vlm_ros.types import Resolution, Status


def result(n: int, good: bool, expected: Status = Status.OK, status: Status | None = None) -> CaseResult:
    """Case n: answered with the right object or refused."""
    status = status or (expected if good else Status.AMBIGUOUS)
    id_ = "a" if status is Status.OK else None
    return CaseResult("f", f"case {n}", (), expected, "a" if expected is Status.OK else None, status, id_, good, id_,
                      0.9, (), None, "")  # fmt: skip


def stored(n: int, status: Status = Status.OK, id_: str | None = "a") -> StoredAnswer:
    return StoredAnswer("f", f"case {n}", status, id_ if status is Status.OK else None)


def against(lost: int, gained: int, same: int) -> Comparison:
    now = [result(n, n >= lost) for n in range(lost + gained + same)]
    before = [stored(n, Status.NOT_FOUND if lost <= n < lost + gained else Status.OK) for n in range(len(now))]
    return compare(now, before)


@pytest.mark.parametrize(
    ("lost", "gained", "verdict"),
    [
        (0, 0, ComparisonVerdict.CANNOT_TELL),
        (5, 0, ComparisonVerdict.CANNOT_TELL),
        (6, 0, ComparisonVerdict.WORSE),
        (0, 6, ComparisonVerdict.BETTER),
        (9, 10, ComparisonVerdict.CANNOT_TELL),
        (20, 5, ComparisonVerdict.WORSE),
    ],
)
def test_the_verdict_needs_pairs_that_differ(lost: int, gained: int, verdict: ComparisonVerdict) -> None:
    found = against(lost, gained, 40)
    assert found.verdict is verdict
    assert (len(found.lost), len(found.gained)) == (lost, gained)
    change = found.changes[0]
    assert (change.metric, change.lost, change.gained) == ("as expected", lost, gained)
    assert change.difference.value == pytest.approx((gained - lost) / (40 + lost + gained), abs=1e-6)
    assert found.slipped is (lost > gained)


def test_a_small_p_keeps_its_order_of_magnitude_and_the_interval_is_that_of_resampled_pairs() -> None:
    assert against(0, 26, 10).changes[0].p == pytest.approx(2 * 0.5**26, rel=5e-3)
    change = against(12, 4, 64).changes[0]
    pairs = np.array([-1] * 12 + [1] * 4 + [0] * 64)
    means = np.random.default_rng(7).choice(pairs, (20_000, len(pairs))).mean(axis=1)
    interval = (change.difference.low, change.difference.high)
    assert interval == pytest.approx(tuple(np.percentile(means, (2.5, 97.5))), abs=0.013)


def test_each_metric_counts_its_own_cases() -> None:
    now = [
        result(0, False, Status.OK, Status.OK),  # another object now
        result(1, False, Status.NOT_FOUND, Status.OK),  # a pose where none should be
        result(2, True, Status.NOT_FOUND),
        result(3, True),
    ]
    before = [stored(0), stored(1, Status.NOT_FOUND), stored(2), stored(3, Status.OK, "b")]
    found = {change.metric: change for change in compare(now, before).changes}
    expected = {
        "as expected": (2, 2, 4, 2, 2),
        "right instance": (1, 1, 2, 1, 1),
        "wrong pose": (2, 2, 4, 2, 2),
        "pose on refusal": (1, 1, 2, 1, 1),
    }
    assert {m: (c.now.k, c.before.k, c.now.n, c.lost, c.gained) for m, c in found.items()} == expected
    assert [c.more_is_better for c in found.values()] == [True, True, False, False]


def test_more_poses_where_none_should_be_are_worse_though_the_share_rises() -> None:
    now = [result(n, False, Status.NOT_FOUND, Status.OK) for n in range(6)]
    found = compare(now, [stored(n, Status.NOT_FOUND) for n in range(6)])
    change = found.changes[3]
    assert change.difference.value == 1.0
    assert change.verdict is ComparisonVerdict.WORSE
    assert found.verdict is ComparisonVerdict.WORSE


def test_cases_are_paired_by_frame_and_words_and_repeated_ones_in_order() -> None:
    now = [result(1, True), result(1, False), result(2, True)]
    before = [stored(3), stored(1, Status.NOT_FOUND), stored(1)]
    found = compare(now, before)
    assert (found.n, found.only_now, found.only_before) == (2, 1, 1)
    assert (found.changes[0].lost, found.changes[0].gained) == (1, 1)
    with pytest.raises(InputError, match="other cases"):
        compare(now, [stored(9)])


def test_a_run_can_be_stored_as_a_result_as_lines_or_as_a_list(tmp_path: Path) -> None:
    answers = [Resolution("the cup", Status.NOT_FOUND, "no cup", frame="f1"),
               Resolution("the can", Status.AMBIGUOUS, "two", frame="f2")]  # fmt: skip
    cases = [Case("f1", "the cup", Expectation(Status.NOT_FOUND)), Case("f2", "the can", Expectation(Status.OK, "a"))]
    lines, listed, result_file = tmp_path / "a.jsonl", tmp_path / "a.json", tmp_path / "b.json"
    lines.write_text("".join(json.dumps(resolution_json(a)) + "\n" for a in answers))
    listed.write_text(json.dumps([resolution_json(a) for a in answers], indent=1))
    result_file.write_text(json.dumps(outcome_json(judge(cases, answers)), indent=1))
    runs = [read_run(path) for path in (lines, listed, result_file)]
    assert runs[0] == runs[1] == runs[2]
    assert runs[0][1] == StoredAnswer("f2", "the can", Status.AMBIGUOUS, None)
    assert compare(score(cases, answers).cases, runs[0]).verdict is ComparisonVerdict.CANNOT_TELL


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("no json", "malformed"),
        ("{}", "cases"),
        ('{"as_expected": {}}', "cases"),
        ('{"cases": [{"frame": "f", "instruction": "x", "status": "NOPE", "id": null}]}', "NOPE"),
        ('{"instruction": "x", "status": "OK", "target": {"id": "a"}, "frame": "f"}\n{"instruction": 3}', "line 2"),
        ('{"instruction": "x", "status": "OK", "target": {"id": "a"}}', "does not name its frame"),
        ('[{"instruction": "x", "status": "OK"}]', "target"),
        ("[" * 5000, "array"),
        ('{"a":' * 50_000, "(?i)recursion"),
    ],
)
def test_what_is_no_run_is_refused_by_place(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(FileError, match=f"(?s){words}"):
        read_run(path)
    with pytest.raises(FileError, match="evaluate --out"):
        read_run(tmp_path / "absent.json")


# ------------------------------------------------------------------------------------------------ models


def results(right: int, of: int = 12, refused: int = 0) -> list[CaseResult]:
    """The first `right` of some cases are right; the others are wrong poses, but for the last `refused`."""
    found = []
    for n in range(of):
        asked = made_up(f"the cup {n}", Status.OK, "a")
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
