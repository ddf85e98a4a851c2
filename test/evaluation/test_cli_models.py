# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm evaluate` with several models, folders and bags in one command: figures, pairs, files and exit codes."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("jinja2")
pytest.importorskip("junitparser")
pytest.importorskip("rosbags")

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.evaluation.bags.writer import PERIOD_NS, START_NS, record
from spatial_vlm_ros.evaluation.evaluation_outcome import evaluation_json, evaluation_of
from spatial_vlm_ros.evaluation.frame_writer import write_frame
from spatial_vlm_ros.evaluation.model_run import runs_of_rows
from spatial_vlm_ros.evaluation.model_spec import models_of
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame

SCRIPTED = "scripted_grounder:load"
CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("the chick behind the cup", {"status": "OK", "id": "bonnet"}),
    ("the chick in front of the cup", {"status": "OK", "id": "ribbon"}),
    ("the chick", {"status": "AMBIGUOUS"}),
    ("how many chicks are there?", {"status": "ANSWERED", "answer": {"value": 2}}),
)
FRAMES = 3


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three times the same frame, four cases each."""
    root = tmp_path_factory.mktemp("recordings")
    frame, detections = chicks_and_cup_frame()
    lines = []
    for n in range(FRAMES):
        write_frame(root / f"f{n}", frame, detections)
        lines += [json.dumps({"frame": f"f{n}", "instruction": w, "expect": e, "kind": ["one"]}) for w, e in CASES]
    (root / "cases.jsonl").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def bag(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same recorded, one image for each case, and its truth."""
    folder = tmp_path_factory.mktemp("bag")
    record(recordings, folder / "run")
    first = START_NS + 1_000 + 400_000_000
    lines = [
        json.dumps({"stamp_ns": first + n * PERIOD_NS, "instruction": w, "expect": e})
        for n, (w, e) in enumerate(CASES * FRAMES)
    ]
    (folder / "truth.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "run", folder / "truth.jsonl"


@pytest.fixture
def everything(recordings: Path, bag: tuple[Path, Path]) -> list[object]:
    """Given detections, a detector that misses the cup and one that fails, on the folder and on the bag."""
    sources = ["--frames", recordings, "--bags", bag[0], "--truth", bag[1], "--base-frame", "world"]
    blind, broken = f"blind={SCRIPTED} drop=cup", f"broken={SCRIPTED} fails=yes"
    return ["evaluate", *sources, "--detections", "--grounder", blind, "--grounder", broken]


def test_models_on_frames_and_bags_in_one_command(everything: list[object], tmp_path: Path) -> None:
    out, parquet = tmp_path / "report", tmp_path / "rows.parquet"
    pytest.importorskip("pyarrow")
    done = run(*everything, "--out", out, "--parquet", parquet, "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result == json.loads((out / "scores.json").read_text())
    given, blind, broken = result["models"]
    assert [m["model"] for m in result["models"]] == ["detections", "blind", "broken"]
    assert [(m["complete"]["k"], m["complete"]["n"]) for m in result["models"]] == [(24, 24), (12, 24), (0, 24)]
    assert [m["oracle"]["k"] for m in result["models"]] == [24, 24, 24]
    assert given["errors"] == {}
    assert blind["errors"] == {"not detected": {"model": 12, "resolver": 0, "unknown": 0}}
    assert broken["errors"] == {"failed": {"model": 24, "resolver": 0, "unknown": 0}}
    assert {c["source"] for c in blind["cases"]} == {str(everything[2]), str(everything[4])}
    first = result["pairs"][0]
    assert (first["first"], first["second"], first["n"], first["only_first"]) == ("detections", "blind", 24, 12)
    assert (first["verdict"], len(result["pairs"])) == ("better", 12)
    assert sorted(p.name for p in out.iterdir()) == ["junit.xml", "report.html", "report.md", "report_images",
                                                     "scores.json"]  # fmt: skip
    page = (out / "report.html").read_text()
    assert page.count("<article") == 12 + 24
    assert 'select name="model"' in page
    assert page.count('src="data:image/jpeg;base64,') == 36
    junit = (out / "junit.xml").read_text()
    assert junit.count("<testsuite ") == 3
    assert "not detected" in junit
    assert "| not detected | 0 | 12 (12 / 0 / 0) | 0 |" in (out / "report.md").read_text()
    from spatial_vlm_ros.evaluation.rows_file import read_rows

    rows = read_rows(parquet)
    assert len(rows) == 72
    assert json.loads(json.dumps(evaluation_json(evaluation_of(runs_of_rows(rows))))) == result


def test_the_terminal_shows_models_beside_each_other(everything: list[object]) -> None:
    done = run(*everything)
    assert done.exit_code == 0, done.output
    lines = [" ".join(line.split()) for line in done.output.splitlines()]
    assert any(line.startswith("blind 24 12/24 50.0%") for line in lines)
    assert any(line.startswith("not detected 0 12 (12 / 0 / 0) 0") for line in lines)
    assert any(line.startswith("detections / blind as expected, place and all 24 12 24 12 0") for line in lines)


def test_a_report_folder_that_holds_something_is_left_alone(everything: list[object], tmp_path: Path) -> None:
    kept = tmp_path / "scores.json"
    kept.write_text("mine")
    done = run(*everything, "--out", tmp_path)
    assert done.exit_code == 2
    assert "the folder is not empty" in done.output
    assert kept.read_text() == "mine"


def test_the_gate_compares_each_model_with_its_own_baseline(recordings: Path, tmp_path: Path) -> None:
    before, junit = tmp_path / "before.json", tmp_path / "junit.xml"
    several = ["evaluate", "--frames", recordings, "--detections", "--grounder"]
    assert run(*several, f"seeing={SCRIPTED}", "--out", before).exit_code == 0
    same = run(*several, f"seeing={SCRIPTED}", "--baseline", before)
    assert same.exit_code == 0, same.output
    worse = run(*several, f"seeing={SCRIPTED} drop=cup", "--baseline", before, "--junit", junit, "--json")
    assert worse.exit_code == 3
    assert "worse than the baseline" in worse.stderr
    verdicts = {m["model"]: m["comparison"] for m in json.loads(worse.stdout)["models"]}
    assert (verdicts["detections"]["lost"], len(verdicts["seeing"]["lost"])) == ([], 6)
    assert 'failures="6"' in junit.read_text()
    other = run(*several, f"new={SCRIPTED} drop=cup", "--baseline", before, "--json")
    assert other.exit_code == 0
    assert "new is not compared: the baseline has only detections, seeing" in json.loads(other.stdout)["notes"]


def test_a_model_that_cannot_be_loaded_is_not_scored(recordings: Path, tmp_path: Path) -> None:
    several = ("evaluate", "--frames", recordings, "--detections", "--grounder", "gone=nowhere:load")
    before, junit = tmp_path / "before.json", tmp_path / "junit.xml"
    assert run("evaluate", "--frames", recordings, "--out", before).exit_code == 0
    done = run(*several, "--json", "--baseline", before, "--junit", junit)
    assert done.exit_code == 1, done.output
    result = json.loads(done.stdout)
    assert [(m["complete"]["k"], m["complete"]["n"], len(m["unusable"])) for m in result["models"]] == [
        (12, 12, 0), (0, 0, 12),
    ]  # fmt: skip
    assert result["pairs"] == []
    assert "gone could not be loaded" in result["notes"][0]
    assert "it was not run: " in result["models"][1]["unusable"][0]["problem"]
    assert 'errors="12"' in junit.read_text()
    assert "some cases could not be judged" in run(*several).output
    alone = run("evaluate", "--frames", recordings, "--grounder", "gone=nowhere:load")
    assert alone.exit_code == 1
    assert "cannot be imported" in alone.output


def test_a_bag_that_cannot_be_read_beside_frames_is_not_scored(
    recordings: Path, bag: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "cut.mcap").write_bytes(b"\x89MCAP0\r\n")
    done = run("evaluate", "--frames", recordings, "--bags", tmp_path / "cut.mcap", "--truth", bag[1], "--json")
    assert done.exit_code == 1, done.output
    result = json.loads(done.stdout)
    assert (result["complete"]["k"], result["complete"]["n"], len(result["unusable"])) == (12, 12, 12)
    assert "its cases are not judged for detections" in result["notes"][0]


def test_cases_that_failed_are_told_with_the_reason_once(recordings: Path, bag: tuple[Path, Path]) -> None:
    done = run("evaluate", "--frames", recordings, "--bags", bag[0], "--truth", bag[1], "--base-frame", "nowhere",
               "--detections", "--grounder", SCRIPTED, "--json")  # fmt: skip
    notes = [note for note in json.loads(done.stdout)["notes"] if "TF_UNAVAILABLE" in note]
    assert len(notes) == 1, done.output
    assert notes[0].count("12 of 12 cases ended in TF_UNAVAILABLE; the first says: transform nowhere") == 1


def test_replayed_answers_of_a_model_are_judged_by_their_boxes(bag: tuple[Path, Path], tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    words = [w for w, _ in CASES]
    done = run("replay", bag[0], *words, "--every", "--grounder", SCRIPTED, "--base-frame", "world", "--json")
    assert done.exit_code == 0, done.output
    answers.write_text(done.stdout)
    scored = run("evaluate", "--bags", bag[0], "--truth", bag[1], "--base-frame", "world", "--answers", answers,
                 "--json")  # fmt: skip
    assert scored.exit_code == 0, scored.output
    result = json.loads(scored.stdout)
    assert (result["complete"]["k"], result["complete"]["n"], result["model"]) == (12, 12, "answers")
    assert {c["id"] for c in result["cases"] if c["id"]} == {"bonnet", "ribbon"}
    answers.write_text(done.stdout.splitlines()[0] + "\n")
    short = run("evaluate", "--bags", bag[0], "--truth", bag[1], "--answers", answers)
    assert short.exit_code == 1
    assert "none for" in short.output


def test_unusable_truth_is_counted_and_ends_with_1(recordings: Path, tmp_path: Path) -> None:
    for name in ("f0", "f1"):
        shutil.copytree(recordings / name, tmp_path / name)
    lines = [{"frame": "f0", "instruction": "the cup", "expect": {"status": "OK", "id": "cup"}},
             {"frame": "f1", "instruction": "the cup", "expect": {"status": "OK", "id": "cap"}}]  # fmt: skip
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    page = tmp_path / "page.html"
    done = run("evaluate", "--frames", tmp_path, "--json", "--html", page)
    assert done.exit_code == 1, done.output
    result = json.loads(done.stdout)
    assert (result["complete"]["n"], len(result["unusable"])) == (1, 1)
    assert result["unusable"][0]["image"] == "f1"
    assert "1 not judged" in page.read_text()
    assert "not judged: f1 'the cup'" in " ".join(run("evaluate", "--frames", tmp_path).output.split())


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        ([], "neither", 1),
        (["--bags", "run.mcap"], "--truth: not set", 1),
        (["--frames", "{r}", "--truth", "{r}/cases.jsonl"], "a file of cases beside --bags", 1),
        (["--frames", "{r}", "--frames", "{r}"], "twice", 1),
        (["--frames", "{r}/gone"], "no such file or folder", 1),
        (["--frames", "{r}", "--answers", "{r}/cases.jsonl", "--detections"], "without --detections", 2),
        (["--frames", "{r}", "--image-domain", "real"], "need --grounder", 2),
        (["--frames", "{r}", "--grounder", "onnx", "--grounder", "onnx model=x"], "'onnx' twice", 1),
        (["--frames", "{r}", "--grounder", "oracle=onnx"], "'oracle'", 1),
        (["--frames", "{r}", "--grounder", "nope"], "grounder 'nope'", 1),
    ],
)  # fmt: skip
def test_wrong_calls_are_refused(arguments: list[str], words: str, code: int, recordings: Path) -> None:
    done = run("evaluate", *(a.format(r=recordings) for a in arguments))
    assert (done.exit_code, words in done.output) == (code, True), done.output


def test_parquet_without_pyarrow_is_refused_before_anything_is_asked(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    done = run("evaluate", "--frames", recordings, "--parquet", tmp_path / "rows.parquet")
    assert done.exit_code == 1
    assert "pip install pyarrow" in done.output


def test_models_are_named_as_one_writes_them() -> None:
    given, named, plain = models_of(['owl=onnx model="my weights" family=owlvit', "compact"], given=True)
    assert (given.name, given.is_given) == ("detections", True)
    assert (named.name, named.backend, named.options) == ("owl", "onnx", {"model": "my weights", "family": "owlvit"})
    assert (plain.name, plain.options) == ("compact", {})
    assert [spec.name for spec in models_of([], given=False)] == ["detections"]
    with pytest.raises(InputError, match="BACKEND name=value"):
        models_of(["  "], given=False)
