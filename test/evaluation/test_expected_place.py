# SPDX-License-Identifier: Apache-2.0
"""Places against the truth of a frame, kinds of misses, and intervals over frames, worked by hand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from evaluation_cases import answer

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.evaluation.clustering import clustered
from spatial_vlm_ros.evaluation.expected_place import ExpectedPlace, FrameTruth, PlaceOutcome, place_outcome
from spatial_vlm_ros.evaluation.frame_folder import Case, Expectation, load_cases
from spatial_vlm_ros.evaluation.frame_truth import load_truths
from spatial_vlm_ros.evaluation.misses import MissKind, miss_kind
from spatial_vlm_ros.evaluation.outcome import judge, outcome_json
from spatial_vlm_ros.evaluation.reports.markdown import markdown_summary
from spatial_vlm_ros.evaluation.reports.terminal import outcome as print_outcome
from spatial_vlm_ros.evaluation.score import score
from spatial_vlm_ros.output.json_schema import resolution_json
from spatial_vlm_ros.types import Place, Pose, Resolution, Status, Transform

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


def test_intervals_over_frames_are_wider_where_frames_fail_as_a_whole() -> None:
    alike = clustered((f"f{n}", n < 5) for n in range(10) for _ in range(8))
    apart = clustered((f"f{n}", k < 4) for n in range(10) for k in range(8))
    assert alike is not None
    assert apart is not None
    assert alike.value == apart.value == 0.5
    assert (alike.low, alike.high) == pytest.approx((0.2, 0.8), abs=0.1)  # binomial, n = 10
    assert (apart.low, apart.high) == (0.5, 0.5)
    assert clustered((f"f{n}", n < 5) for n in range(10) for _ in range(8)) == alike
    assert clustered([("f0", True), ("f0", False)]) is None
    assert clustered([]) is None


def test_intervals_over_frames_count_cases_not_frames() -> None:
    few = clustered([("a", True)] * 9 + [("b", False)])
    assert few is not None
    assert few.value == 0.9
    assert (few.low, few.high) == (0.0, 1.0)


def asked(words: str, expect: Expectation, frame: str = "f1") -> Case:
    return Case(frame, words, expect)


def put(words: str, id_: str | None, place: Pose | None) -> Resolution:
    """An answer with a place, or a refusal."""
    given = answer(words, Status.OK if id_ else Status.NO_PLACE, id_)
    return dataclasses.replace(given, place=None if place is None else Place(place, "b"))


def test_places_are_counted_beside_instances(capsys: pytest.CaptureFixture[str]) -> None:
    due = Expectation(Status.OK, "a", ("d",), ON)
    inside, outside = at(0.5, 0.0, 0.75), at(0.9, 0.0, 0.75)
    cases = [asked(f"put {n}", due) for n in range(6)] + [asked("the cup", Expectation(Status.OK, "a"), "f2")]
    answers = [
        put("put 0", "a", inside),
        put("put 1", "d", inside),
        put("put 2", "a", outside),
        put("put 3", "a", None),
        put("put 4", "b", inside),
        put("put 5", None, None),
        put("the cup", "a", None),
    ]
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


def test_without_a_truth_places_are_not_judged() -> None:
    result = score([asked("put", Expectation(Status.OK, "a", (), ON))], [put("put", "a", None)])
    assert result.right_place.n == 0
    assert result.complete.k == 1
    assert not result.misses


def write_frame(folder: Path, files: dict[str, object]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))


POSE = {"parent": "base", "child": "camera", "matrix": LOOKS_DOWN.tolist()}
PLACE = {"relation": "on", "anchor_id": "b", "region_center": [0.5, 0, 0.75], "region_half": [0.05, 0.1, 0]}


def test_cases_and_truths_are_read_from_the_folder(tmp_path: Path) -> None:
    also = {"anchor_also": ["c"]}
    expect = {"status": "OK", "id": "a", "id_also": ["d"], "place": PLACE | also}
    lines = [{"frame": f, "instruction": "put it", "expect": expect} for f in ("f1", "f2")]
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    cases = load_cases(tmp_path)
    assert cases[0].expect == Expectation(Status.OK, "a", ("d",), dataclasses.replace(ON, anchor_also=("c",)))
    objects = {"b": {"center": [0.5, 0, 0.8], "size": [1, 1, 1], "label": "plate", "px": 3}}
    write_frame(tmp_path / "f1", {"truth.json": {"base_T_camera": POSE, "objects": objects, "recipe": "r"}})
    write_frame(tmp_path / "f2", {"base_T_camera.json": POSE})
    truths = load_truths(tmp_path, cases)
    assert truths["f1"].centers == {"b": (0.5, 0.0, 0.8)}
    assert truths["f1"].labels == {"b": "plate"}
    assert truths["f2"].base_T_camera.child == "camera"
    assert not truths["f2"].centers


def test_a_truth_that_is_needed_and_missing_or_wrong_is_named(tmp_path: Path) -> None:
    write_frame(tmp_path / "f1", {})
    placed = asked("put", Expectation(Status.OK, "a", (), ON))
    with pytest.raises(FileError, match=r"no such file, nor base_T_camera\.json"):
        load_truths(tmp_path, [placed])
    assert load_truths(tmp_path, [asked("take", Expectation(Status.OK, "a"))]) == {}
    (tmp_path / "f1" / "truth.json").write_text('{"base_T_camera": 3}')
    with pytest.raises(FileError, match="base_T_camera"):
        load_truths(tmp_path, [placed])


def test_evaluate_judges_the_places_of_stored_answers(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("junitparser")
    expect = {"status": "OK", "id": "a", "place": PLACE}
    lines = [{"frame": "f1", "instruction": f"put {n}", "expect": expect} for n in range(2)]
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_frame(tmp_path / "f1", {"truth.json": {"base_T_camera": POSE}})
    answers = [put("put 0", "a", at(0.5, 0.0, 0.75)), put("put 1", "a", at(0.9, 0.0, 0.75))]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(resolution_json(a)) + "\n" for a in answers))
    options = ["--answers", str(tmp_path / "answers.jsonl"), "--html", str(tmp_path / "r.html"), "--junit",
               str(tmp_path / "r.xml"), "--json"]  # fmt: skip
    done = CliRunner().invoke(main, ["evaluate", "--frames", str(tmp_path), *options])
    assert done.exit_code == 0, done.output
    written = json.loads(done.output)
    assert (written["right_place"]["k"], written["right_place"]["n"]) == (1, 2)
    assert [case["miss"] for case in written["cases"]] == [None, "place"]
    page = (tmp_path / "r.html").read_text()
    assert "Right place" in page
    assert "1 not as expected" in page
    assert "the place is elsewhere" in (tmp_path / "r.xml").read_text()
