# SPDX-License-Identifier: Apache-2.0
"""Scores, places, misses, intervals and calibration of one run; comparisons of two runs and of pairs of models."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_cases import answer, page_of, some_run
from evaluation_cases import case as asked
from hypothesis import given
from hypothesis import strategies as st
from tables import tables

from spatial_vlm_lab.reports.report import junit_suites, markdown_evaluation, sections_of, show
from spatial_vlm_lab.scoring import comparing
from spatial_vlm_lab.scoring.case_result import CaseResult, MissKind, StoredAnswer, judge_case, miss_kind, read_runs
from spatial_vlm_lab.scoring.frame_truth import FrameTruth, PlaceOutcome, place_outcome, read_frame_truth
from spatial_vlm_lab.scoring.outcome import EvaluationOutcome, ModelOutcome, ModelRun, evaluation_json, judge
from spatial_vlm_ros import Resolver
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.output.json_schema import resolution_json
from spatial_vlm_ros.recording.cases import Case, Expectation, ExpectedPlace
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Destination, NounPhrase, Place, Pose, Resolution, Status, Transform
from spatial_vlm_ros.types.proportions import wilson

TABLES = tables(__file__)


def case(status: Status, id_: str | None, *kind: str) -> Case:
    return Case("f", "words", Expectation(status, id_), kind)


def assert_counted(result: Any, name: str) -> None:
    """Shares of a score, each by its name and group, have the counts of a table."""
    for share, group, k, n in TABLES[name]:
        counted = getattr(result, share)
        counted = counted if group is None else counted[group]
        assert (counted.k, counted.n) == (k, n), (share, group)


def test_shares_confusion_and_misses_are_counted_right() -> None:
    frame, detections = chicks_and_cup_frame()
    right: Any = Resolver().resolve(frame, "the chick behind the cup", detections)
    other = dataclasses.replace(right, target=dataclasses.replace(right.target, id="cup"))
    refused = Resolution("words", Status.NOT_FOUND, "nothing")
    cases = [
        *[case(Status.OK, "bonnet", "behind")] * 3,
        case(Status.NOT_FOUND, None, "negative"),
        case(Status.AMBIGUOUS, None, "negative"),
        Case("f", "not judged", None, ()),
    ]
    result = judge(cases, [right, other, refused, refused, right, right])
    assert_counted(result, "counts of five")
    assert result.confusion == dict(TABLES["confusion"])
    assert [miss["id"] for miss in result.misses] == ["cup", None, "bonnet"]
    assert result.unjudged == 1
    assert (result.by_frame_of_reference["viewer"].n, result.by_frame_of_reference["(no scene)"].n) == (3, 2)
    assert result.by_given_status.keys() == {"NOT_FOUND", "OK"}
    assert (wilson(0, 0).low, wilson(0, 0).high, wilson(0, 0).n) == (0.0, 1.0, 0)  # no cases say nothing


def test_the_split_takes_cases_of_one_side_only() -> None:
    ok, refused = answer("x", Status.OK, "a"), answer("x", Status.AMBIGUOUS, "a")
    both = ("usual", "counter-heuristic")
    kinds = [("usual",), ("Usual", "behind"), ("counter_heuristic",), ("counter heuristic",), both]
    cases = [asked("x", Status.OK, "a", *kind) for kind in kinds]
    split: Any = judge(cases, [ok, refused, refused, refused, ok]).split
    assert [(split[side].k, split[side].n) for side in ("usual", "counter_heuristic")] == [(1, 2), (0, 2)]
    assert split["difference"].low < split["difference"].value == 0.5 < split["difference"].high
    only: Any = judge(cases[:1], [ok]).split
    assert only["difference"] is None
    assert judge([asked("x", Status.OK, "a", "behind")], [ok]).split is None


def test_relations_of_anchors_and_destinations_count_and_none_is_a_group() -> None:
    moved: Any = answer("put it in the box", Status.OK, "a")
    box = Destination("inside", (NounPhrase("box", superlative="largest"),))
    moved = dataclasses.replace(moved, query=dataclasses.replace(moved.query, destination=box))
    bare = dataclasses.replace(moved.query, target=NounPhrase("cup"), destination=None)
    plain = dataclasses.replace(moved, query=bare)
    lost = answer("gibberish", Status.NOT_UNDERSTOOD)
    result = judge([asked("x", Status.OK, "a")] * 3, [moved, plain, lost])
    assert {name: (s.k, s.n) for name, s in result.by_relation.items()} == {
        "(no relation)": (1, 1), "(not understood)": (0, 1), "behind": (1, 1), "largest": (1, 1), "to: inside": (1, 1)
    }  # fmt: skip


def written_of(outcome: ModelOutcome) -> dict[str, Any]:
    return evaluation_json(EvaluationOutcome((outcome,)))


def test_confidence_is_judged_of_answers_and_of_the_likeliest_of_all_cases() -> None:
    cases, answers = some_run()
    outcome: Any = judge(cases, answers)
    answered, every = outcome.calibration["answered"], outcome.calibration["all"]
    assert (answered.right.k, answered.n, every.right.k, every.n) == (12, 14, 13, 15)  # a needless refusal had it
    written, bounds = written_of(outcome), wilson(13, 15)
    right = {"share": bounds.share, "low": bounds.low, "high": bounds.high}
    assert written["calibration"]["all"]["right"] == {"k": 13, "n": 15, **right}
    assert (written["as_expected"]["k"], written["comparison"]) == (12, None)
    assert written_of(judge(cases, [dataclasses.replace(a, ms=99.0) for a in answers])) == written


LOOKS_DOWN = np.array([[1.0, 0, 0, 0.3], [0, -1, 0, 0.1], [0, 0, -1, 1.5], [0, 0, 0, 1]])
TRUTH = FrameTruth(Transform("base", "camera", LOOKS_DOWN), {"b": (0.5, 0.0, 0.8)})
ON = ExpectedPlace("on", "b", (0.5, 0.0, 0.75), (0.05, 0.1, 0.0))
RIGHT_OF = dataclasses.replace(ON, relation="right of", region_center=(0.5, -0.15, 0.75), region_half=(0.06, 0.06, 0.0))


def at(x: float, y: float, z: float, frame: str = "base") -> Pose:
    return Pose(frame, (x, y, z), (0.0, 0.0, 0.0, 1.0))


@pytest.mark.parametrize(("pose", "outcome"), TABLES["places"])
def test_a_place_is_right_in_its_region_with_two_centimetres_to_spare(pose: list[Any] | None, outcome: str) -> None:
    assert place_outcome(ON, at(*pose) if pose else None, TRUTH) == outcome


def test_a_place_on_the_stated_side_is_right_within_45_degrees_and_at_the_regions_height() -> None:
    for x, y, z, right in TABLES["right of"]:  # the last one is not on the table
        assert (place_outcome(RIGHT_OF, at(x, y, z), TRUTH) is PlaceOutcome.RIGHT) is right, (x, y, z)
    only_region = FrameTruth(TRUTH.base_T_camera)
    assert place_outcome(RIGHT_OF, at(0.5, -0.4, 0.75), only_region) is PlaceOutcome.ELSEWHERE
    between = dataclasses.replace(RIGHT_OF, relation="between")
    assert place_outcome(between, at(0.5, -0.4, 0.75), TRUTH) is PlaceOutcome.ELSEWHERE


@pytest.mark.parametrize(("expected", "status", "good", "place_right", "labels", "kind"), TABLES["misses"])
def test_every_miss_has_one_kind(
    expected: Status, status: Status, good: bool, place_right: bool, labels: tuple[str | None, str | None],
    kind: MissKind | None,
) -> None:  # fmt: skip
    assert miss_kind(Status(expected), Status(status), good, place_right, labels) == kind


def test_intervals_over_frames_are_wider_where_frames_fail_as_a_whole_and_count_cases() -> None:
    alike: Any = comparing.clustered((f"f{n}", n < 5) for n in range(10) for _ in range(8))
    apart: Any = comparing.clustered((f"f{n}", k < 4) for n in range(10) for k in range(8))
    few: Any = comparing.clustered([("a", True)] * 9 + [("b", False)])
    assert alike.value == apart.value == 0.5
    assert (alike.low, alike.high) == pytest.approx((0.2, 0.8), abs=0.1)  # binomial, n = 10
    assert (apart.low, apart.high) == (0.5, 0.5)
    assert comparing.clustered((f"f{n}", n < 5) for n in range(10) for _ in range(8)) == alike
    assert (few.value, few.low, few.high) == (0.9, 0.0, 1.0)
    assert comparing.clustered([("f0", True), ("f0", False)]) is comparing.clustered([]) is None


def put(words: str, id_: str | None, place: Pose | None) -> Resolution:
    """An answer with a place, or a refusal."""
    given = answer(words, Status.OK if id_ else Status.NO_PLACE, id_)
    return dataclasses.replace(given, place=None if place is None else Place(place, "b"))


def test_places_are_counted_beside_instances(capsys: pytest.CaptureFixture[str]) -> None:
    due = Expectation(Status.OK, "a", ("d",), ON)
    inside, outside = at(0.5, 0.0, 0.75), at(0.9, 0.0, 0.75)
    cases = [*(Case("f1", f"put {n}", due) for n in range(6)), Case("f2", "the cup", Expectation(Status.OK, "a"))]
    given = (("a", inside), ("d", inside), ("a", outside), ("a", None), ("b", inside), (None, None), ("a", None))
    answers = [put(one.instruction, *what) for one, what in zip(cases, given, strict=True)]
    result = judge(cases, answers, truths={"f1": TRUTH})
    assert_counted(result, "counts of places")
    assert (result.as_expected.k, result.wrong_pose.k) == (5, 1)
    assert {kind: n for kind, n in result.by_miss.items() if n} == {"place": 2, "object": 1, "needless refusal": 1}
    assert [m["kind"] for m in result.misses] == ["place", "place", "object", "needless refusal"]
    over: Any = result.over_frames["right instance"]
    assert over.low <= over.value <= over.high
    assert result.over_frames["right place"] is None, "one frame alone says nothing of others"
    written = written_of(result)
    assert written["cases"][2]["place"] == "elsewhere"
    assert written["by_miss"]["place"] == 2
    evaluation = EvaluationOutcome((result,))
    show(sections_of(evaluation, of_each=False))
    written = {
        "printed": capsys.readouterr().out,
        "markdown": markdown_evaluation(evaluation, "x"),
        "junit": junit_suites([ModelRun("", list(result.cases), seconds=[0.0] * 7)], "evaluate"),
        "page": page_of(result, answers, "x"),
    }
    for report, words in TABLES["places in reports"]:
        assert words in written[report]
    alone = judge([Case("f1", "put", Expectation(Status.OK, "a", (), ON))], [put("put", "a", None)])
    assert (alone.right_place.n, alone.complete.k, alone.misses) == (0, 1, ())  # without a truth nothing is judged


POSE = {"parent": "base", "child": "camera", "matrix": LOOKS_DOWN.tolist()}


def test_truths_are_read_from_the_folder_and_what_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    for name in ("f1", "f2"):
        (tmp_path / name).mkdir()
    placed, other = (Case(name, "put it", Expectation(Status.OK, "a", ("d",), ON)) for name in ("f1", "f2"))
    with pytest.raises(FileError, match=r"no such file, nor base_T_camera\.json"):
        read_frame_truth(tmp_path, placed)
    assert read_frame_truth(tmp_path, Case("f1", "take", Expectation(Status.OK, "a"))) is None
    file = tmp_path / "f1" / "truth.json"
    file.write_text('{"base_T_camera": 3}')
    with pytest.raises(FileError, match="base_T_camera"):
        read_frame_truth(tmp_path, placed)
    objects = {"b": {"center": [0.5, 0, 0.8], "size": [1, 1, 1], "label": "plate"}}
    file.write_text(json.dumps({"base_T_camera": POSE, "objects": objects, "recipe": "r"}))
    (tmp_path / "f2" / "base_T_camera.json").write_text(json.dumps(POSE))
    whole, pose = read_frame_truth(tmp_path, placed), read_frame_truth(tmp_path, other)
    assert whole is not None and pose is not None  # noqa: PT018
    assert (whole.centers, whole.labels) == ({"b": (0.5, 0.0, 0.8)}, {"b": "plate"})
    assert (pose.base_T_camera.child, pose.centers) == ("camera", {})


CONFIDENCES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.8, 0.97, 1.0])
CASES = st.lists(st.tuples(CONFIDENCES, st.booleans()), min_size=1, max_size=60)


def of(confidence: list[float], right: list[bool]) -> Any:
    return comparing.calibrate(confidence, right)


def test_four_cases_worked_by_hand() -> None:
    found = of([0.9, 0.8, 0.6, 0.5], [True, False, True, True])
    assert found == of([0.9, 0.8, 0.6, 0.5], [True, False, True, True])  # intervals, too
    assert (found.n, found.right.k) == (4, 3)
    assert found.confidence == pytest.approx(0.7)
    assert found.ece.value == pytest.approx(abs(0.75 - 0.7))  # too few for more than one bin
    assert found.brier.value == pytest.approx((0.01 + 0.64 + 0.16 + 0.25) / 4)
    assert found.brier_constant == pytest.approx(0.75 * 0.25)
    assert found.aurc.value == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4, abs=1e-6)
    assert found.aurc_best == pytest.approx(1 / 4 / 4)
    assert found.aurc_random == pytest.approx(0.25)
    assert [(p.threshold, p.coverage, p.wrong.k, p.wrong.n) for p in found.curve] == [
        (0.9, 0.25, 0, 1), (0.8, 0.5, 1, 2), (0.6, 0.75, 1, 3), (0.5, 1.0, 1, 4)
    ]  # fmt: skip


def test_bins_have_equal_mass_and_keep_equal_confidences_together() -> None:
    rng = np.random.default_rng(0)
    spread = of(list(rng.random(100)), [True] * 100)
    assert [b.right.n for b in spread.bins] == [10] * 10
    assert all(a.high <= b.low for a, b in itertools.pairwise(spread.bins))
    heaped = of([0.9] * 90 + list(np.linspace(0.1, 0.5, 10)), [True] * 100)
    assert sorted(b.right.n for b in heaped.bins) == [10, 90]
    found = of([0.9] * 10 + [0.6] * 30, [True] * 5 + [False] * 5 + [True] * 24 + [False] * 6)
    assert found.ece.value == pytest.approx(0.25 * abs(0.5 - 0.9) + 0.75 * abs(0.8 - 0.6))  # the weighted gap


def test_confidence_that_is_the_truth_is_calibrated_and_beats_the_constant() -> None:
    rng = np.random.default_rng(3)
    confidence = rng.random(4000)
    right = rng.random(4000) < confidence
    found = of(list(confidence), list(right))
    assert (len(found.curve), found.curve[-1].coverage) == (200, 1.0)  # a long one is thinned
    assert found.brier.low < found.brier.value < found.brier.high
    assert found.ece.value < 0.03
    assert found.brier.high < found.brier_constant
    assert found.brier.value == pytest.approx(1 / 6, abs=0.01)  # mean of p (1 - p) over 0 to 1
    assert found.aurc_best < found.aurc.low
    assert found.aurc.high < found.aurc_random
    sure = of([1.0] * 4000, list(right))
    assert sure.ece.low > 0.4


@given(CASES)
def test_aurc_is_the_mean_over_orders_of_equal_confidences(cases: list[tuple[float, bool]]) -> None:
    found = of([c for c, _ in cases], [r for _, r in cases])
    other = of([c for c, _ in reversed(cases)], [r for _, r in reversed(cases)])
    for exact in ("right", "bins", "curve", "aurc_best"):
        assert getattr(found, exact) == getattr(other, exact)
    values = (other.ece.value, other.brier.value, other.aurc.value)
    assert (found.ece.value, found.brier.value, found.aurc.value) == pytest.approx(values, abs=2e-6)
    rng = np.random.default_rng(0)
    p, y = np.array([c for c, _ in cases]), np.array([r for _, r in cases])
    areas = []
    for _ in range(200):
        order = np.lexsort((rng.random(len(p)), -p))
        areas.append(np.mean(np.cumsum(~y[order]) / np.arange(1, len(p) + 1)))
    spread = np.std(areas) / np.sqrt(200)
    assert found.aurc.value == pytest.approx(np.mean(areas), abs=6 * spread + 2e-6)
    assert found.aurc_best <= found.aurc.value + 1e-6
    assert sum(b.right.n for b in found.bins) == found.n
    assert found.curve[-1].coverage == 1.0
    assert found.curve[-1].wrong.share == pytest.approx(found.aurc_random, abs=1e-6)


def test_no_case_says_nothing_and_what_is_no_probability_is_refused() -> None:
    assert comparing.calibrate([], []) is None
    for confidence in ([1.2, 0.5], [float("nan"), 0.5], [0.5]):
        with pytest.raises(InputError, match="from 0 to 1 for each case"):
            comparing.calibrate(confidence, [True, False])


def result(n: int, good: bool, expected: Status = Status.OK, status: Status | None = None) -> CaseResult:
    """Case n: answered with the right object or refused."""
    status = status or (expected if good else Status.AMBIGUOUS)
    id_ = "a" if status is Status.OK else None
    return CaseResult(
        frame="f", instruction=f"case {n}", expected_status=expected, status=status, id=id_, as_expected=good,
        expected_id="a" if expected is Status.OK else None, likeliest_id=id_, confidence=0.9, message="",
    )  # fmt: skip


def stored(n: int, status: Status = Status.OK, id_: str | None = "a") -> StoredAnswer:
    return StoredAnswer("f", f"case {n}", status, id_ if status is Status.OK else None)


def against(lost: int, gained: int, same: int) -> comparing.Comparison:
    now = [result(n, n >= lost) for n in range(lost + gained + same)]
    before = [stored(n, Status.NOT_FOUND if lost <= n < lost + gained else Status.OK) for n in range(len(now))]
    return comparing.compare(now, before)


@pytest.mark.parametrize(("lost", "gained", "verdict"), TABLES["verdicts"])
def test_the_verdict_needs_pairs_that_differ(lost: int, gained: int, verdict: str) -> None:
    found = against(lost, gained, 40)
    assert found.verdict is comparing.ComparisonVerdict(verdict)
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
    found = {change.metric: change for change in comparing.compare(now, before).changes}
    counted = [[m, c.now.k, c.before.k, c.now.n, c.lost, c.gained] for m, c in found.items()]
    assert counted == TABLES["counts of metrics"]
    assert [c.more_is_better for c in found.values()] == [True, True, False, False]
    refused = [stored(n, Status.NOT_FOUND) for n in range(6)]  # and now six poses: the share rises, and that is worse
    worse = comparing.compare([result(n, False, Status.NOT_FOUND, Status.OK) for n in range(6)], refused)
    assert (worse.changes[3].difference.value, worse.changes[3].verdict) == (1.0, comparing.ComparisonVerdict.WORSE)


def test_cases_are_paired_by_frame_and_words_and_repeated_ones_in_order() -> None:
    now = [result(1, True), result(1, False), result(2, True)]
    before = [stored(3), stored(1, Status.NOT_FOUND), stored(1)]
    found = comparing.compare(now, before)
    assert (found.n, found.only_now, found.only_before) == (2, 1, 1)
    assert (found.changes[0].lost, found.changes[0].gained) == (1, 1)


def test_a_run_can_be_stored_as_a_result_as_lines_or_as_a_list(tmp_path: Path) -> None:
    answers = [Resolution("the cup", Status.NOT_FOUND, "no cup", frame="f1"),
               Resolution("the can", Status.AMBIGUOUS, "two", frame="f2")]  # fmt: skip
    cases = [Case("f1", "the cup", Expectation(Status.NOT_FOUND)), Case("f2", "the can", Expectation(Status.OK, "a"))]
    lines, listed, result_file = tmp_path / "a.jsonl", tmp_path / "a.json", tmp_path / "b.json"
    lines.write_text("".join(json.dumps(resolution_json(a)) + "\n" for a in answers))
    listed.write_text(json.dumps([resolution_json(a) for a in answers], indent=1))
    result_file.write_text(json.dumps(written_of(judge(cases, answers)), indent=1))
    for path in (lines, listed, result_file):
        (run,) = read_runs(path).values()
        assert [(one.image, one.instruction, one.status, one.id) for one in run] == [
            ("f1", "the cup", Status.NOT_FOUND, None), ("f2", "the can", Status.AMBIGUOUS, None)
        ]  # fmt: skip
        assert comparing.compare(judge(cases, answers).cases, run).verdict is comparing.ComparisonVerdict.CANNOT_TELL


@pytest.mark.parametrize(
    ("text", "words"), [*TABLES["no run"], ("[" * 5000, "array"), ('{"a":' * 50_000, "(?i)recursion")]
)
def test_what_is_no_run_is_refused_by_place(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(FileError, match=f"(?s){words}"):
        read_runs(path)
    with pytest.raises(FileError, match="evaluate --out"):
        read_runs(tmp_path / "absent.json")


def results(right: int, of: int = 12, refused: int = 0) -> list[CaseResult]:
    """The first `right` of some cases are right; the others are wrong poses, but for the last `refused`."""
    found = []
    for n in range(of):
        made_up = asked(f"the cup {n}", Status.OK, "a")
        given = Status.OK if n < of - refused else Status.AMBIGUOUS
        said = answer(made_up.instruction, given, "a" if n < right else "b")
        result = judge_case(made_up, made_up.expect, said)  # type: ignore[arg-type]
        found.append(dataclasses.replace(result, frame=f"f{n % 4}"))
    return found


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.04: times 4, 3, 2, 1 is 0.04, 0.06, 0.06, 0.04; none falls below one before it."""
    assert comparing.holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert comparing.holm([0.9, 0.8]) == [1.0, 1.0]
    assert comparing.holm([]) == []


def pairs(*runs: tuple[str, list[CaseResult]]) -> dict[str, comparing.PairDifference]:
    return {row.metric: row for row in comparing.compare_pairs(runs)}


def test_each_pair_has_every_figure_once() -> None:
    rows = comparing.compare_pairs([("a", results(12)), ("b", results(4)), ("c", results(12))])
    assert [(r.first, r.second) for r in rows] == [("a", "b")] * 3 + [("a", "c")] * 3 + [("b", "c")] * 3
    first = rows[0]
    assert (first.metric, first.n, first.first_k, first.second_k) == ("as expected, place and all", 12, 12, 4)
    assert (first.only_first, first.only_second) == (8, 0)
    assert first.p == pytest.approx(2 * 0.5**8, rel=1e-2)
    assert first.p_holm == pytest.approx(9 * first.p, rel=1e-2)  # the first of nine equal ones, sorted
    assert first.verdict is comparing.ComparisonVerdict.CANNOT_TELL  # 0.0078 alone, 0.07 among nine
    assert first.difference.value == pytest.approx(8 / 12, abs=1e-5)
    assert rows[3].p_holm == 1.0


def test_a_clear_difference_stays_and_less_wrong_poses_are_better() -> None:
    bad, good = ("bad", results(2, 40)), ("good", results(40, 40))
    found = pairs(bad, good)
    assert {row.verdict for row in found.values()} == {comparing.ComparisonVerdict.WORSE}
    assert found["wrong pose"].first_k == 38
    assert pairs(good, bad)["wrong pose"].verdict is comparing.ComparisonVerdict.BETTER
    assert "pose on refusal" not in found  # no case expects a refusal


def test_only_cases_of_both_are_compared_and_whole_images_are_drawn() -> None:
    assert {row.n for row in pairs(("a", results(12)), ("b", results(3, 6))).values()} == {6}
    assert pairs(("a", results(12)), ("b", [])) == pairs(("a", results(12))) == {}
    # All of the difference is on one of two images: a draw has none, half or all of it.
    found = {
        images: pairs(*(
            (name, [dataclasses.replace(result(n, n < right), frame=f"f{n * images // 10}") for n in range(10)])
            for name, right in (("a", 10), ("b", 5))
        ))["right instance"].difference
        for images in (1, 2)
    }  # fmt: skip
    assert (found[2].value, found[2].low, found[2].high) == (0.5, 0.0, 1.0)
    assert (found[1].low, found[1].high) == (0.5, 0.5)  # one image: no width
