# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm evaluate` as it is called: reports, baselines and exit codes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import cv2
import pytest
from click.testing import CliRunner, Result

pytest.importorskip("jinja2")
pytest.importorskip("junitparser")

from frame_files import case, write_cases, write_frame

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight times the same frame: the bonnet is behind the cup, and "the chick" is ambiguous."""
    root = tmp_path_factory.mktemp("recordings")
    frame, detections = chicks_and_cup_frame()
    cases = []
    for number in range(8):
        write_frame(root / f"f{number}", frame, detections)
        cases.append(case(f"f{number}", "the chick behind the cup", "bonnet", "usual"))
        cases.append(case(f"f{number}", "the chick", None, "negative", status="AMBIGUOUS"))
    write_cases(root, [*cases, case("f0", "the cup")])
    return root


@pytest.fixture(scope="module")
def strict_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parameters with which nothing is answered."""
    path = tmp_path_factory.mktemp("config") / "lame.yaml"
    path.write_text("/**:\n  ros__parameters:\n    decision: {mass: 1.0}\n")
    return path


def test_all_reports_are_written_in_one_run(recordings: Path, tmp_path: Path) -> None:
    files = {name: tmp_path / "reports" / f"report.{name}" for name in ("html", "junit", "markdown")}
    out = tmp_path / "scores.json"
    options = [part for name, path in files.items() for part in (f"--{name}", path)]
    done = run("evaluate", "--frames", recordings, "--out", out, "--json", *options)
    assert done.exit_code == 0, done.output
    result = json.loads(done.output)
    assert result == json.loads(out.read_text())
    assert (result["as_expected"]["k"], result["as_expected"]["n"], result["unjudged"]) == (16, 16, 1)
    assert result["calibration"]["answered"]["n"] == 8
    assert len(result["cases"]) == 16
    assert files["html"].read_text().startswith("<!doctype html>")
    assert 'tests="16"' in files["junit"].read_text()
    assert files["markdown"].read_text().startswith("# Evaluation of recordings")


def test_a_run_that_is_worse_exits_3_and_shows_every_failure(
    recordings: Path, strict_config: Path, tmp_path: Path
) -> None:
    baseline, page = tmp_path / "before.json", tmp_path / "report.html"
    assert run("evaluate", "--frames", recordings, "--out", baseline).exit_code == 0
    done = run("evaluate", "--frames", recordings, "--config", strict_config, "--baseline", baseline, "--html", page)
    assert done.exit_code == 3
    assert "worse than the baseline" in done.output
    assert "no longer as expected: f0 'the chick behind the cup'" in done.output
    assert page.read_text().count("<article") == 8
    assert page.read_text().count('src="data:image/jpeg;base64,') == 8


def test_a_markdown_report_shows_every_failure_in_a_file_beside_it(
    recordings: Path, strict_config: Path, tmp_path: Path
) -> None:
    report = tmp_path / "last night" / "run (2).md"
    done = run("evaluate", "--frames", recordings, "--config", strict_config, "--markdown", report)
    assert done.exit_code == 0
    shown = re.findall(r"\]\((\S+\.jpg)\)", report.read_text())
    assert len(shown) == 8
    for link in shown:
        assert cv2.imread(str(report.parent / unquote(link))).shape[1] > 640


def test_the_answers_of_resolve_are_a_baseline_too(recordings: Path, strict_config: Path, tmp_path: Path) -> None:
    lines = tmp_path / "before.jsonl"
    lines.write_text(run("resolve", "--frames", recordings, "--json").output)
    same = run("evaluate", "--frames", recordings, "--baseline", lines, "--json")
    assert same.exit_code == 0
    comparison = json.loads(same.stdout)["comparison"]
    assert (comparison["n"], comparison["only_before"], comparison["verdict"]) == (16, 1, "cannot tell")
    assert run("evaluate", "--frames", recordings, "--config", strict_config, "--baseline", lines).exit_code == 3


def test_stored_answers_are_scored_without_resolving(recordings: Path, strict_config: Path, tmp_path: Path) -> None:
    good, bad, page = tmp_path / "good.jsonl", tmp_path / "bad.jsonl", tmp_path / "report.html"
    good.write_text(run("resolve", "--frames", recordings, "--json").output)
    bad.write_text(run("resolve", "--frames", recordings, "--json", "--config", strict_config).output)
    direct = json.loads(run("evaluate", "--frames", recordings, "--json").output)
    stored = json.loads(run("evaluate", "--frames", recordings, "--answers", good, "--json").output)
    assert (direct.pop("model"), stored.pop("model")) == ("detections", "answers")
    alone = ("oracle", "beside_oracle")  # what was found is not stored, so nobody can tell what else would have helped
    assert [direct.pop(name)["n"] for name in alone] == [16, 16]
    assert [stored.pop(name)["n"] for name in alone] == [0, 0]
    for each in (*direct["cases"], *stored["cases"]):
        assert each.pop("model") in ("detections", "answers")
        assert each.pop("oracle_right") in (True, None)
    assert stored == direct
    done = run("evaluate", "--frames", recordings, "--answers", bad, "--baseline", good, "--html", page)
    assert done.exit_code == 3
    assert page.read_text().count('src="data:image/jpeg;base64,') == 8
    lines = good.read_text().splitlines()
    for text, words in (("\n".join(lines[1:]), "none for 'the chick behind the cup'"), (lines[0] + "\n[]", "line 2"),
                        ('{"status": 3}', "line 1"), ("{", "line 1")):  # fmt: skip
        bad.write_text(text)
        done = run("evaluate", "--frames", recordings, "--answers", bad)
        assert done.exit_code == 1
        assert words in done.output


def test_of_two_answers_to_a_case_the_first_counts_and_a_note_says_so(recordings: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    once = run("resolve", "--frames", recordings, "--json").output
    answers.write_text(once + once)
    result = json.loads(run("evaluate", "--frames", recordings, "--answers", answers, "--json").output)
    assert result["notes"] == [
        "17 answers repeat a case: only the first answer of each case counts",
        '1 case does not say what to expect and did not count: add "expect"',
    ]
    assert (result["as_expected"]["k"], result["as_expected"]["n"]) == (16, 16)


def test_figures_are_printed_though_a_report_cannot_be_written(recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("evaluate", "--frames", recordings, "--markdown", tmp_path / "file" / "report.md", "--json")
    assert done.exit_code == 1
    assert "writable location" in done.stderr
    assert json.loads(done.stdout)["as_expected"]["k"] == 16


def test_a_small_loss_counts_unless_it_must_be_significant(
    recordings: Path, strict_config: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    shutil.copytree(recordings / "f0", few / "f0")
    first = (recordings / "cases.jsonl").read_text().splitlines()[0]
    (few / "cases.jsonl").write_text(first + "\n")
    baseline = tmp_path / "before.json"
    assert run("evaluate", "--frames", few, "--out", baseline).exit_code == 0
    worse = ("evaluate", "--frames", few, "--config", strict_config, "--baseline", baseline)
    done = run(*worse)
    assert done.exit_code == 3
    assert "against the baseline: cannot tell" in done.output
    assert run(*worse, "--significant").exit_code == 0
    assert run("evaluate", "--frames", few, "--baseline", baseline).exit_code == 0


def test_wrong_calls_are_refused_before_anything_is_resolved(recordings: Path, tmp_path: Path) -> None:
    assert run("evaluate", "--frames", recordings, "--significant").exit_code == 2
    done = run("evaluate", "--frames", recordings, "--baseline", tmp_path / "absent.json")
    assert done.exit_code == 1
    assert "absent.json" in done.output
    other = tmp_path / "other.json"
    other.write_text('{"cases": [{"frame": "g", "instruction": "x", "status": "OK", "id": "a"}]}')
    done = run("evaluate", "--frames", recordings, "--baseline", other)
    assert done.exit_code == 1
    assert "other cases" in done.output
    place = tmp_path / "file"
    place.write_text("")
    done = run("evaluate", "--frames", recordings, "--markdown", place / "report.md")
    assert done.exit_code == 1
    assert "writable location" in done.output


def test_cases_without_an_expectation_alone_cannot_be_scored(recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text('{"frame": "f0", "instruction": "the cup"}\n')
    (tmp_path / "f0").symlink_to(recordings / "f0")
    done = run("evaluate", "--frames", tmp_path)
    assert done.exit_code == 1
    assert "expect" in done.output
