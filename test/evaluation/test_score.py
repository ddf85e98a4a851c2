# SPDX-License-Identifier: Apache-2.0
"""Scores, places, kinds of misses, intervals over frames, calibration and selective prediction.

Against numbers worked by hand, brute force, and their laws.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from evaluation_cases import answer, some_run
from evaluation_cases import case as asked
from hypothesis import given
from hypothesis import strategies as st

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.evaluation.calibration import Calibration, calibrate
from spatial_vlm_ros.evaluation.clustering import clustered
from spatial_vlm_ros.evaluation.expected_place import ExpectedPlace, FrameTruth, PlaceOutcome, place_outcome
from spatial_vlm_ros.evaluation.frame_folder import Case, Expectation, load_cases
from spatial_vlm_ros.evaluation.frame_truth import load_truths
from spatial_vlm_ros.evaluation.misses import MissKind, miss_kind
from spatial_vlm_ros.evaluation.outcome import judge, outcome_json
from spatial_vlm_ros.evaluation.reports.junit import junit_xml
from spatial_vlm_ros.evaluation.reports.markdown import markdown_summary
from spatial_vlm_ros.evaluation.reports.report import html_report
from spatial_vlm_ros.evaluation.reports.terminal import outcome as print_outcome
from spatial_vlm_ros.evaluation.score import score, wilson
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Destination, NounPhrase, Place, Pose, Resolution, Status, Transform


def case(status: Status, id_: str | None, *kind: str) -> Case:
    return Case("f", "words", Expectation(status, id_), kind)


def test_shares_confusion_and_misses_are_counted_right() -> None:
    frame, detections = chicks_and_cup_frame()
    right = Resolver().resolve(frame, "the chick behind the cup", detections)
    assert right.target is not None
    other = dataclasses.replace(right, target=dataclasses.replace(right.target, id="cup"))
    refused = Resolution("words", Status.NOT_FOUND, "nothing")
    cases = [
        *[case(Status.OK, "bonnet", "behind")] * 3,
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
    assert (wilson(0, 0).low, wilson(0, 0).high, wilson(0, 0).n) == (0.0, 1.0, 0)  # no cases say nothing


def test_the_split_takes_cases_of_one_side_only() -> None:
    ok, refused = answer("x", Status.OK, "a"), answer("x", Status.AMBIGUOUS, "a")
    both = ("usual", "counter-heuristic")
    kinds = [("usual",), ("Usual", "behind"), ("counter_heuristic",), ("counter heuristic",), both]
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
    outcome, bounds = judge(cases, answers), wilson(13, 15)
    assert outcome.answered is not None
    assert outcome.all_cases is not None
    assert (outcome.answered.right.k, outcome.answered.n) == (12, 14)
    assert (outcome.all_cases.right.k, outcome.all_cases.n) == (13, 15)  # the needless refusal had the right one
    written, right = outcome_json(outcome), {"share": bounds.share, "low": bounds.low, "high": bounds.high}
    assert written["calibration"]["all"]["right"] == {"k": 13, "n": 15, **right}
    assert (written["as_expected"]["k"], written["comparison"]) == (12, None)
    assert outcome_json(judge(cases, [dataclasses.replace(a, ms=99.0) for a in answers])) == written


# ------------------------------------------------------------------------------------------------ places

LOOKS_DOWN = np.array([[1.0, 0, 0, 0.3], [0, -1, 0, 0.1], [0, 0, -1, 1.5], [0, 0, 0, 1]])


TRUTH = FrameTruth(Transform("base", "camera", LOOKS_DOWN), {"b": (0.5, 0.0, 0.8)})


ON = ExpectedPlace("on", "b", (0.5, 0.0, 0.75), (0.05, 0.1, 0.0))


RIGHT_OF = dataclasses.replace(ON, relation="right of", region_center=(0.5, -0.15, 0.75), region_half=(0.06, 0.06, 0.0))


def at(x: float, y: float, z: float, frame: str = "base") -> Pose:
    return Pose(frame, (x, y, z), (0.0, 0.0, 0.0, 1.0))


@pytest.mark.parametrize(
    ("pose", "outcome"),
    [
        (at(0.5, 0.0, 0.75), PlaceOutcome.RIGHT),
        (at(0.569, 0.119, 0.75), PlaceOutcome.RIGHT),
        (at(0.571, 0.0, 0.75), PlaceOutcome.ELSEWHERE),
        (at(0.5, 0.121, 0.75), PlaceOutcome.ELSEWHERE),
        (at(0.5, 0.0, 0.701), PlaceOutcome.RIGHT),
        (at(0.5, 0.0, 0.699), PlaceOutcome.ELSEWHERE),
        (at(0.5, 0.0, 0.869), PlaceOutcome.RIGHT),
        (at(0.5, 0.0, 0.871), PlaceOutcome.ELSEWHERE),
        (at(0.2, 0.1, 0.75, "camera"), PlaceOutcome.RIGHT),
        (at(0.5, 0.0, 0.75, "camera"), PlaceOutcome.ELSEWHERE),
        (at(0.5, 0.0, 0.75, "map"), PlaceOutcome.ELSEWHERE),
        (None, PlaceOutcome.NOT_GIVEN),
    ],
)
def test_a_place_is_right_in_its_region_with_two_centimetres_to_spare(pose: Pose | None, outcome: PlaceOutcome) -> None:
    assert place_outcome(ON, pose, TRUTH) is outcome


def test_a_place_on_the_stated_side_is_right_within_45_degrees_and_at_the_regions_height() -> None:
    for x, y, z, right in [
        (0.5, -0.4, 0.75, True),
        (0.69, -0.2, 0.75, True),
        (0.71, -0.2, 0.75, False),
        (0.5, 0.3, 0.75, False),
        (0.5, -0.4, 0.95, False),  # not on the table
    ]:
        assert (place_outcome(RIGHT_OF, at(x, y, z), TRUTH) is PlaceOutcome.RIGHT) is right, (x, y, z)
    only_region = FrameTruth(TRUTH.base_T_camera)
    assert place_outcome(RIGHT_OF, at(0.5, -0.4, 0.75), only_region) is PlaceOutcome.ELSEWHERE
    between = dataclasses.replace(RIGHT_OF, relation="between")
    assert place_outcome(between, at(0.5, -0.4, 0.75), TRUTH) is PlaceOutcome.ELSEWHERE


@pytest.mark.parametrize(
    ("expected", "status", "good", "place_right", "labels", "kind"),
    [
        (Status.OK, Status.OK, True, True, ("cup", "cup"), None),
        (Status.NOT_FOUND, Status.NOT_FOUND, True, True, (None, None), None),
        (Status.OK, Status.OK, True, False, ("cup", "cup"), MissKind.PLACE),
        (Status.OK, Status.OK, False, True, ("cup", "cup"), MissKind.RELATION),
        (Status.OK, Status.OK, False, True, ("cup", "bowl"), MissKind.OBJECT),
        (Status.OK, Status.OK, False, True, (None, "bowl"), MissKind.OBJECT),
        (Status.OK, Status.OK, False, False, ("Top Drawer", "cabinet"), MissKind.PART),
        (Status.OK, Status.OK, False, True, ("drawer", "drawer"), MissKind.PART),
        (Status.OK, Status.AMBIGUOUS, False, False, ("cup", None), MissKind.NEEDLESS_REFUSAL),
        (Status.AMBIGUOUS, Status.OK, False, True, (None, "cup"), MissKind.MISSING_REFUSAL),
        (Status.AMBIGUOUS, Status.NOT_FOUND, False, True, (None, None), MissKind.OTHER_REFUSAL),
    ],
)
def test_every_miss_has_one_kind(
    expected: Status, status: Status, good: bool, place_right: bool, labels: tuple[str | None, str | None],
    kind: MissKind | None,
) -> None:  # fmt: skip
    assert miss_kind(expected, status, good, place_right, labels) is kind


def test_intervals_over_frames_are_wider_where_frames_fail_as_a_whole_and_count_cases() -> None:
    alike = clustered((f"f{n}", n < 5) for n in range(10) for _ in range(8))
    apart = clustered((f"f{n}", k < 4) for n in range(10) for k in range(8))
    few = clustered([("a", True)] * 9 + [("b", False)])
    assert alike is not None
    assert apart is not None
    assert few is not None
    assert alike.value == apart.value == 0.5
    assert (alike.low, alike.high) == pytest.approx((0.2, 0.8), abs=0.1)  # binomial, n = 10
    assert (apart.low, apart.high) == (0.5, 0.5)
    assert clustered((f"f{n}", n < 5) for n in range(10) for _ in range(8)) == alike
    assert (few.value, few.low, few.high) == (0.9, 0.0, 1.0)
    assert clustered([("f0", True), ("f0", False)]) is clustered([]) is None


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
    outcome = judge(cases, answers, truths={"f1": TRUTH})
    result = outcome.score
    assert (result.right_instance.k, result.right_instance.n) == (5, 7)
    assert (result.right_place.k, result.right_place.n) == (2, 6)
    assert (result.wrong_place.k, result.wrong_place.n) == (1, 3)
    assert (result.complete.k, result.complete.n) == (3, 7)
    assert (result.as_expected.k, result.wrong_pose.k) == (5, 1)
    assert {kind: n for kind, n in result.by_miss.items() if n} == {"place": 2, "object": 1, "needless refusal": 1}
    assert [m.kind for m in result.misses] == ["place", "place", "object", "needless refusal"]
    over = result.over_frames["right instance"]
    assert over is not None
    assert over.low <= over.value <= over.high
    assert result.over_frames["right place"] is None, "one frame alone says nothing of others"
    written = outcome_json(outcome)
    assert written["cases"][2]["place"] == "elsewhere"
    assert written["by_miss"]["place"] == 2
    print_outcome(outcome)
    printed = capsys.readouterr().out
    assert "right place" in printed
    assert "misses: 1 object, 2 place, 1 needless refusal" in printed
    summary = markdown_summary(outcome, "x")
    assert "| right place | 2 / 6 |" in summary
    assert "| needless refusal | 1 |" in summary
    assert "## 4 not as expected" in summary
    assert "the place is elsewhere" in junit_xml(result.cases, [0.0] * 7, "evaluate")
    page = html_report(outcome, answers, {}, "x")
    assert "Right place" in page
    assert "4 not as expected" in page
    alone = score([Case("f1", "put", Expectation(Status.OK, "a", (), ON))], [put("put", "a", None)])
    assert (alone.right_place.n, alone.complete.k, alone.misses) == (0, 1, ())  # without a truth nothing is judged


POSE = {"parent": "base", "child": "camera", "matrix": LOOKS_DOWN.tolist()}


PLACE = {"relation": "on", "anchor_id": "b", "region_center": [0.5, 0, 0.75], "region_half": [0.05, 0.1, 0]}


def test_cases_and_truths_are_read_from_the_folder_and_what_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    expect = {"status": "OK", "id": "a", "id_also": ["d"], "place": PLACE | {"anchor_also": ["c"]}}
    lines = [{"frame": f, "instruction": "put it", "expect": expect} for f in ("f1", "f2")]
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name in ("f1", "f2"):
        (tmp_path / name).mkdir()
    cases = load_cases(tmp_path)
    assert cases[0].expect == Expectation(Status.OK, "a", ("d",), dataclasses.replace(ON, anchor_also=("c",)))
    with pytest.raises(FileError, match=r"no such file, nor base_T_camera\.json"):
        load_truths(tmp_path, cases)
    assert load_truths(tmp_path, [Case("f1", "take", Expectation(Status.OK, "a"))]) == {}
    file, objects = (
        tmp_path / "f1" / "truth.json",
        {"b": {"center": [0.5, 0, 0.8], "size": [1, 1, 1], "label": "plate"}},
    )
    file.write_text('{"base_T_camera": 3}')
    (tmp_path / "f2" / "base_T_camera.json").write_text(json.dumps(POSE))
    with pytest.raises(FileError, match="base_T_camera"):
        load_truths(tmp_path, cases)
    file.write_text(json.dumps({"base_T_camera": POSE, "objects": objects, "recipe": "r"}))
    truths = load_truths(tmp_path, cases)
    assert (truths["f1"].centers, truths["f1"].labels) == ({"b": (0.5, 0.0, 0.8)}, {"b": "plate"})
    assert truths["f2"].base_T_camera.child == "camera"
    assert not truths["f2"].centers


# ------------------------------------------------------------------------------------------------ calibration


CASES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.8, 0.97, 1.0]), st.booleans()), min_size=1, max_size=60
)


def of(confidence: list[float], right: list[bool]) -> Calibration:
    found = calibrate(confidence, right)
    assert found is not None
    return found


def test_four_cases_worked_by_hand() -> None:
    found = of([0.9, 0.8, 0.6, 0.5], [True, False, True, True])
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


def test_ece_of_two_bins_is_the_weighted_gap() -> None:
    found = of([0.9] * 10 + [0.6] * 30, [True] * 5 + [False] * 5 + [True] * 24 + [False] * 6)
    assert found.ece.value == pytest.approx(0.25 * abs(0.5 - 0.9) + 0.75 * abs(0.8 - 0.6))


def test_confidence_that_is_the_truth_is_calibrated_and_beats_the_constant() -> None:
    rng = np.random.default_rng(3)
    confidence = rng.random(4000)
    right = rng.random(4000) < confidence
    found = of(list(confidence), list(right))
    assert found.ece.value < 0.03
    assert found.brier.high < found.brier_constant
    assert found.brier.value == pytest.approx(1 / 6, abs=0.01)  # mean of p (1 - p) over 0 to 1
    assert found.aurc_best < found.aurc.low
    assert found.aurc.high < found.aurc_random
    sure = of([1.0] * 4000, list(right))
    assert sure.ece.low > 0.4


@given(CASES)
def test_the_measures_do_not_depend_on_the_order_of_the_cases(cases: list[tuple[float, bool]]) -> None:
    one = of([c for c, _ in cases], [r for _, r in cases])
    other = of([c for c, _ in reversed(cases)], [r for _, r in reversed(cases)])
    for name in ("n", "right", "confidence", "brier_constant", "bins", "curve", "aurc_best", "aurc_random"):
        assert getattr(one, name) == getattr(other, name)
    assert (one.ece.value, one.brier.value, one.aurc.value) == pytest.approx(
        (other.ece.value, other.brier.value, other.aurc.value), abs=2e-6
    )


@given(CASES)
def test_aurc_is_the_mean_over_the_orders_of_equal_confidences(cases: list[tuple[float, bool]]) -> None:
    found = of([c for c, _ in cases], [r for _, r in cases])
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


def test_the_same_cases_give_the_same_intervals_and_long_curves_are_thinned() -> None:
    rng = np.random.default_rng(5)
    confidence, right = list(rng.random(1000)), list(rng.random(1000) < 0.8)
    one = of(confidence, right)
    assert one == of(confidence, right)
    assert len(one.curve) == 200
    assert one.curve[-1].coverage == 1.0
    assert one.brier.low < one.brier.value < one.brier.high


def test_no_case_says_nothing_and_what_is_no_probability_is_refused() -> None:
    assert calibrate([], []) is None
    for confidence in ([1.2, 0.5], [float("nan"), 0.5], [0.5]):
        with pytest.raises(InputError, match="from 0 to 1 for each case"):
            calibrate(confidence, [True, False])
