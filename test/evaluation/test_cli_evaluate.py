# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm evaluate` with several models, folders and bags: reports, baselines, stored answers and exit codes."""

import json
import re
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import cv2
import pytest
from cli_runs import run, told

pytest.importorskip("jinja2")
pytest.importorskip("junitparser")
pytest.importorskip("rosbags")

from bag_builder import scene
from frame_files import case, write_cases
from tables import tables

from spatial_vlm_lab.scoring.model_spec import models_of
from spatial_vlm_lab.scoring.outcome import UnusableCase, by_reason, evaluation_json, evaluation_of, runs_of_rows
from spatial_vlm_ros.recording.bags.writer import PERIOD_NS, START_NS, record
from spatial_vlm_ros.recording.frame_folder import write_frame

TABLES = tables(__file__)

SCRIPTED = "scripted_grounder:load"
CASES = TABLES["cases"]
FRAMES = 2
PICTURE = 'src="data:image/jpeg;base64,'


evaluated = partial(told, "evaluate")


def counted(share: dict[str, Any]) -> tuple[int, int]:
    return share["k"], share["n"]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twice the same frame, four cases each."""
    root, seen = tmp_path_factory.mktemp("recordings"), scene()
    for n in range(FRAMES):
        write_frame(root / f"f{n}", seen.frame, seen.detections)
    write_cases(root, [case(f"f{n}", words, None, "one", **expect) for n in range(FRAMES) for words, expect in CASES])
    return root


@pytest.fixture(scope="module")
def bag(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same recorded, one image for each case, and its truth."""
    folder = tmp_path_factory.mktemp("bag")
    record(recordings, folder / "run")
    first = START_NS + 1_000 + 400_000_000
    with (folder / "truth.jsonl").open("w") as file:
        for n, (words, expect) in enumerate(CASES * FRAMES):
            line = {"stamp_ns": first + n * PERIOD_NS, "instruction": words, "expect": expect}
            file.write(json.dumps(line) + "\n")
    return folder / "run", folder / "truth.jsonl"


@pytest.fixture(scope="module")
def baseline(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores of the recordings with the given detections, and with a detector that finds all."""
    path = tmp_path_factory.mktemp("baseline") / "before.json"
    both = ("--detections", "--grounder", f"seeing={SCRIPTED}")
    assert run("evaluate", "--frames", recordings, *both, "--out", path).exit_code == 0
    return path


@pytest.fixture(scope="module")
def strict_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parameters with which no object is answered."""
    path = tmp_path_factory.mktemp("config") / "lame.yaml"
    path.write_text("/**:\n  ros__parameters:\n    decision: {mass: 1.0}\n")
    return path


@pytest.mark.live  # for its time: three models on sixteen images
def test_models_on_frames_and_bags_in_one_command(recordings: Path, bag: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    out, parquet = tmp_path / "report", tmp_path / "rows.parquet"
    everything = ("evaluate", "--frames", recordings, "--bags", bag[0], "--truth", bag[1], "--base-frame", "base_link",
                  "--detections", "--grounder", f"blind={SCRIPTED} drop=cup",
                  "--grounder", f"broken={SCRIPTED} fails=yes", "--out", out)  # fmt: skip
    done = run(*everything, "--parquet", parquet)
    assert done.exit_code == 0, done.output
    said = [" ".join(line.split()) for line in done.output.splitlines()]
    for begin in TABLES["figures of three"]:
        assert any(line.startswith(begin) for line in said), begin
    result = json.loads((out / "scores.json").read_text())
    given, blind, broken = result["models"]
    assert [(m["model"], *counted(m["complete"]), m["oracle"]["k"]) for m in result["models"]] == [
        ("detections", 16, 16, 16), ("blind", 8, 16, 16), ("broken", 0, 16, 16)]  # fmt: skip
    assert given["errors"] == {}
    assert blind["errors"] == {"not detected": {"model": 8, "resolver": 0, "unknown": 0}}
    assert broken["errors"] == {"failed": {"model": 16, "resolver": 0, "unknown": 0}}
    assert {c["source"] for c in blind["cases"]} == {str(recordings), str(bag[0])}
    first = result["pairs"][0]
    assert (first["first"], first["second"], first["n"], first["only_first"]) == ("detections", "blind", 16, 8)
    verdicts = {(row["first"], row["second"]): row["verdict"] for row in result["pairs"] if "all" in row["metric"]}
    assert (verdicts["detections", "broken"], len(result["pairs"])) == ("better", 12)
    assert {p.name for p in out.iterdir()} == {"junit.xml", "report.html", "report.md", "report_images", "scores.json"}
    page, junit = (out / "report.html").read_text(), (out / "junit.xml").read_text()
    assert (page.count("<article"), page.count(PICTURE)) == (8 + 16, 24)
    assert 'select name="model"' in page
    assert (junit.count("<testsuite "), "not detected" in junit) == (3, True)
    assert "| not detected | 0 | 8 (8 / 0 / 0) | 0 |" in (out / "report.md").read_text()
    rows = pytest.importorskip("pyarrow.parquet").read_table(parquet).to_pylist()
    assert len(rows) == 48
    assert given["checks"][str(recordings)]["depth values: holds"] == FRAMES
    boxes = [model.pop("boxes") for model in result["models"]]
    assert boxes[1][str(bag[0])] == {"boxes": 24, "right": 24, "objects": 32, "found": 24}  # it misses the cup
    from_rows = json.loads(json.dumps(evaluation_json(evaluation_of(runs_of_rows(rows)))))
    assert [boxes[0], *(model.pop("boxes") for model in from_rows["models"])] == [{}] * 4
    assert from_rows == result
    written = (out / "scores.json").read_bytes()
    again = run(*everything)
    assert (again.exit_code, "the folder is not empty" in again.output) == (2, True)
    assert (out / "scores.json").read_bytes() == written


def test_the_gate_compares_each_model_with_its_own_baseline(recordings: Path, baseline: Path, tmp_path: Path) -> None:
    several = ("--frames", recordings, "--baseline", baseline, "--detections", "--grounder")
    same = evaluated(*several, f"seeing={SCRIPTED}")
    assert [m["comparison"]["verdict"] for m in same["models"]] == ["cannot tell"] * 2
    worse = evaluated(*several, f"seeing={SCRIPTED} drop=cup", "--junit", tmp_path / "junit.xml", code=3)
    verdicts = {m["model"]: m["comparison"] for m in worse["models"]}
    assert (verdicts["detections"]["lost"], len(verdicts["seeing"]["lost"])) == ([], 4)
    assert 'failures="4"' in (tmp_path / "junit.xml").read_text()
    other = evaluated(*several, f"new={SCRIPTED} drop=cup")
    assert "new is not compared: the baseline has only detections, seeing" in other["notes"]


def test_what_cannot_load_is_unscored(recordings: Path, bag: tuple[Path, Path], baseline: Path, tmp_path: Path) -> None:
    several = ("--frames", recordings, "--detections", "--grounder", "gone=nowhere:load")
    result = evaluated(*several, "--baseline", baseline, "--junit", tmp_path / "junit.xml", code=1)
    assert [(*counted(m["complete"]), len(m["unusable"])) for m in result["models"]] == [(8, 8, 0), (0, 0, 8)]
    assert result["pairs"] == []
    assert "gone could not be loaded" in result["notes"][0]
    assert "it was not run: " in result["models"][1]["unusable"][0]["problem"]
    assert 'errors="8"' in (tmp_path / "junit.xml").read_text()
    assert "some cases could not be judged" in run("evaluate", *several).output
    alone = run("evaluate", "--frames", recordings, "--grounder", "gone=nowhere:load")
    assert (alone.exit_code, "cannot be imported" in alone.output) == (1, True)
    (tmp_path / "cut.mcap").write_bytes(b"\x89MCAP0\r\n")
    result = evaluated("--frames", recordings, "--bags", tmp_path / "cut.mcap", "--truth", bag[1], code=1)
    assert (*counted(result["complete"]), len(result["unusable"])) == (8, 8, 8)
    assert "its cases are not judged for detections" in result["notes"][0]


def test_cases_that_failed_are_told_with_the_reason_once(recordings: Path, bag: tuple[Path, Path]) -> None:
    done = run("evaluate", "--frames", recordings, "--bags", bag[0], "--truth", bag[1], "--base-frame", "nowhere",
               "--detections", "--grounder", SCRIPTED, "--json")  # fmt: skip
    (note,) = [note for note in json.loads(done.stdout)["notes"] if "TF_UNAVAILABLE" in note]
    assert note.count("8 of 8 cases ended in TF_UNAVAILABLE; the first says: transform nowhere") == 1


def test_unusable_truth_is_counted_and_ends_with_1(recordings: Path, tmp_path: Path) -> None:
    for name in ("f0", "f1"):
        shutil.copytree(recordings / name, tmp_path / name)
    write_cases(tmp_path, [case("f0", "the cup", "cup"), case("f1", "the cup", "cap")])
    result = evaluated("--frames", tmp_path, "--html", tmp_path / "page.html", code=1)
    (unusable,) = result["unusable"]
    assert (result["complete"]["n"], unusable["image"]) == (1, "f1")
    assert "1 not judged" in (tmp_path / "page.html").read_text()
    assert "not judged: f1 'the cup'" in " ".join(run("evaluate", "--frames", tmp_path).output.split())
    write_cases(tmp_path, [case("f0", "the cup")])
    none = run("evaluate", "--frames", tmp_path)
    assert (none.exit_code, "expect" in none.output) == (1, True)


def test_cases_that_were_not_judged_are_shown_by_reason_and_source() -> None:
    groups = by_reason([UnusableCase(*one) for one in TABLES["unjudged"]])
    told = [[one.source, one.image, one.problem, n] for one, n in groups]
    assert told == TABLES["unjudged by reason"]  # those of several models count once
    assert by_reason([]) == []


def test_a_run_that_is_worse_exits_3_and_shows_every_failure(
    recordings: Path, strict_config: Path, baseline: Path, tmp_path: Path
) -> None:
    page, report = tmp_path / "report.html", tmp_path / "last night" / "run (2).md"
    common = ("evaluate", "--frames", recordings, "--config", strict_config)
    done = run(*common, "--baseline", baseline, "--html", page, "--markdown", report)
    assert done.exit_code == 3
    assert "worse than the baseline" in done.output
    assert "against the baseline: cannot tell" in done.output  # four of eight: counts unless it must be significant
    assert run(*common, "--baseline", baseline, "--significant").exit_code == 0
    assert "no longer as expected: f0 'the chick behind the cup'" in done.output
    assert (page.read_text().count("<article"), page.read_text().count(PICTURE)) == (4, 4)
    shown = re.findall(r"\]\((\S+\.jpg)\)", report.read_text())
    assert len(shown) == 4
    assert all(cv2.imread(str(report.parent / unquote(link))).shape[1] > 640 for link in shown)
    assert run(*common, "--html", tmp_path / "again.html").exit_code == 0


def test_stored_answers_are_scored_and_are_a_baseline(recordings: Path, strict_config: Path, tmp_path: Path) -> None:
    answers = tmp_path / "good.jsonl"
    answers.write_text(run("resolve", "--frames", recordings, "--json").output)
    direct = evaluated("--frames", recordings, "--baseline", answers)
    stored = evaluated("--frames", recordings, "--answers", answers, "--baseline", answers)
    assert (direct["comparison"]["n"], direct["comparison"]["verdict"]) == (8, "cannot tell")
    assert (direct.pop("model"), stored.pop("model")) == ("detections", "answers")
    alone = ("oracle", "beside_oracle")  # what was found is not stored, so nobody can tell what else would have helped
    assert [[one.pop(name)["n"] for name in alone] for one in (direct, stored)] == [[8, 8], [0, 0]]
    for each in (*direct["cases"], *stored["cases"]):
        assert each.pop("model") in ("detections", "answers")
        assert each.pop("oracle_right") in (True, None)
    assert stored == direct
    bad = tmp_path / "bad.jsonl"
    bad.write_text(run("resolve", "--frames", recordings, "--json", "--config", strict_config).output)
    page = tmp_path / "report.html"
    done = run("evaluate", "--frames", recordings, "--answers", bad, "--baseline", answers, "--html", page)
    assert (done.exit_code, page.read_text().count(PICTURE)) == (3, 4)
    lines = answers.read_text().splitlines()
    for text, words in (("\n".join(lines[1:]), "none for 'the chick behind the cup'"), (lines[0] + "\n[]", "line 2"),
                        ('{"status": 3}', "line 1"), ("{", "line 1")):  # fmt: skip
        bad.write_text(text)
        done = run("evaluate", "--frames", recordings, "--answers", bad)
        assert (done.exit_code, words in done.output) == (1, True)
    bad.write_text(answers.read_text() * 2)
    twice = evaluated("--frames", recordings, "--answers", bad)
    assert twice["notes"] == ["8 answers repeat a case: only the first answer of each case counts"]
    assert counted(twice["as_expected"]) == (8, 8)


def test_replayed_answers_of_a_model_are_judged_by_their_boxes(bag: tuple[Path, Path], tmp_path: Path) -> None:
    stored, source = tmp_path / "answers.jsonl", ("--bags", bag[0], "--truth", bag[1], "--base-frame", "base_link")
    words = [w for w, _ in CASES]
    done = run("replay", bag[0], *words, "--every", "--grounder", SCRIPTED, "--base-frame", "base_link", "--json")
    assert done.exit_code == 0, done.output
    stored.write_text(done.stdout)
    result = evaluated(*source, "--answers", stored)
    assert (*counted(result["complete"]), result["model"]) == (8, 8, "answers")
    assert {c["id"] for c in result["cases"] if c["id"]} == {"bonnet", "ribbon"}
    stored.write_text(done.stdout.splitlines()[0] + "\n")
    short = run("evaluate", *source, "--answers", stored)
    assert (short.exit_code, "none for" in short.output) == (1, True)


@pytest.mark.parametrize(("arguments", "words", "code"), TABLES["wrong calls"])
def test_wrong_calls_are_refused_before_anything_is_resolved(
    arguments: list[str], words: str, code: int, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    other = {"cases": [{"frame": "g", "instruction": "x", "status": "OK", "id": "a"}]}
    (tmp_path / "other.json").write_text(json.dumps(other))
    done = run("evaluate", *(a.format(r=recordings, t=tmp_path) for a in arguments))
    assert (done.exit_code, words in done.output) == (code, True), done.output


def test_figures_are_printed_though_a_report_cannot_be_written(recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("evaluate", "--frames", recordings, "--markdown", tmp_path / "file" / "report.md", "--json")
    assert (done.exit_code, "writable location" in done.stderr) == (1, True)
    assert json.loads(done.stdout)["as_expected"]["k"] == 8


def test_given_detections_are_a_model_where_asked_for_or_without_another() -> None:
    both = [(spec.name, spec.is_given) for spec in models_of(["compact"], given=True)]
    assert both == [("detections", True), ("compact", False)]
    assert [spec.name for spec in models_of([], given=False)] == ["detections"]
