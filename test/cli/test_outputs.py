# SPDX-License-Identifier: Apache-2.0
"""Results that exist are kept unless --force is given; a command that is stopped removes what it began."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_runs import WORDS, files_of, run
from click.testing import Result

pytest.importorskip("rosbags")


def refused(done: Result, option: str = "--out") -> bool:
    return done.exit_code == 2 and all(words in done.output for words in (option, "it already exists", "--force"))


@pytest.mark.parametrize("option", ["--out", "--html", "--markdown", "--junit"])
def test_evaluate_replaces_a_result_with_force_alone(option: str, recordings: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("junitparser")
    out = tmp_path / "result.json"
    assert run("evaluate", "--frames", recordings, option, out).exit_code == 0
    out.write_text("of yesterday")
    assert refused(run("evaluate", "--frames", recordings, option, out), option)
    assert out.read_text() == "of yesterday"
    assert run("evaluate", "--frames", recordings, option, out, "--force").exit_code == 0
    assert out.read_text() != "of yesterday"


def test_an_image_is_replaced_with_force_alone(frame: Path, tmp_path: Path) -> None:
    out = tmp_path / "answer.png"
    asked = ("resolve", WORDS, *files_of(frame), "--out", out)
    assert run(*asked).exit_code == 0
    first = out.read_bytes()
    assert refused(run(*asked))
    assert run(*asked, "--force").exit_code == 0
    assert out.read_bytes() == first


@pytest.mark.live
@pytest.mark.parametrize("out", ["/dev/stdout", "/dev/null"])
def test_results_can_be_sent_elsewhere(out: str, recordings: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "spatial_vlm_ros.cli", "evaluate", "--frames", str(recordings), "--out", out],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ('"cases"' in done.stdout) is (out == "/dev/stdout")


def test_images_of_several_answers_are_a_folder_that_is_replaced_with_force_alone(
    recordings: Path, tmp_path: Path
) -> None:
    out = tmp_path / "images"
    assert run("resolve", "--frames", recordings, "--out", out).exit_code == 0
    assert {path.suffix for path in out.iterdir()} == {".png"}
    assert refused(run("resolve", "--frames", recordings, "--out", out))
    assert run("resolve", "--frames", recordings, "--out", out, "--force").exit_code == 0
    (out / "notes.txt").write_text("mine")
    done = run("resolve", "--frames", recordings, "--out", out, "--force")
    assert done.exit_code == 2
    assert "'notes.txt', which does not belong to such a result" in done.output
    assert (out / "notes.txt").read_text() == "mine"


def test_a_bag_is_replaced_with_force_alone(recordings: Path, tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    assert run("record", recordings, bag).exit_code == 0
    assert refused(run("record", recordings, bag))
    assert run("record", recordings, bag, "--storage", "sqlite3", "--force").exit_code == 0
    assert sorted(path.name for path in bag.iterdir()) == ["bag.db3", "metadata.yaml"]
    out = tmp_path / "answers"
    assert run("replay", bag, WORDS, "--base-frame", "world", "--every", "--out", out).exit_code == 0
    assert refused(run("replay", bag, WORDS, "--base-frame", "world", "--every", "--out", out))
    assert run("replay", bag, WORDS, "--base-frame", "world", "--every", "--out", out, "--force").exit_code == 0
    assert len(list(out.iterdir())) == 3
    (bag / "thesis.pdf").write_text("mine")
    assert run("record", recordings, bag, "--force").exit_code == 2
    assert (bag / "thesis.pdf").read_text() == "mine"


STOPPED = """
import signal, sys, time
from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.evaluation.bags.writer import BagWriter

write = BagWriter.write_frame
def slow(self, *given, **named):
    write(self, *given, **named)
    sys.stdout.write("writing\\n")
    sys.stdout.flush()
    time.sleep(60)

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it is ignored, and stays so, where nohup started the tests
BagWriter.write_frame = slow
main(sys.argv[1:])
"""


@pytest.mark.live
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_recording_that_is_stopped_removes_what_it_began(
    number: signal.Signals, recordings: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED, "record", str(recordings), str(tmp_path / "bag")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        assert list(tmp_path.glob(".bag.*.part/bag/*.mcap"))
        process.send_signal(number)
        process.wait(20)  # far less than the frame would take
    assert process.returncode == (1 if number == signal.SIGINT else 128 + number)
    assert not list(tmp_path.iterdir())


def test_a_file_that_the_command_reads_is_never_replaced(recordings: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(recordings, copy)
    cases, rgb, answers = copy / "cases.jsonl", copy / "f1" / "rgb.png", tmp_path / "answers.jsonl"
    answers.write_text(run("resolve", "--frames", copy, "--json").output)
    (tmp_path / "link.json").symlink_to(cases)
    before = cases.read_bytes(), rgb.read_bytes(), answers.read_bytes()
    for command in (
        ["evaluate", "--frames", copy, "--out", cases],
        ["evaluate", "--frames", copy, "--out", tmp_path / "link.json"],
        ["evaluate", "--frames", copy, "--html", cases],
        ["evaluate", "--frames", copy, "--answers", answers, "--out", answers],
        ["calibrate", copy, "--grounder", "compact", "--out", cases],
        ["resolve", WORDS, *files_of(copy / "f1"), "--out", rgb],
    ):
        done = run(*command, "--force")
        assert done.exit_code == 2, done.output
        assert "reads that file" in done.output
    assert (cases.read_bytes(), rgb.read_bytes(), answers.read_bytes()) == before
    scores = tmp_path / "scores.json"  # but a run can be its own baseline
    assert run("evaluate", "--frames", copy, "--out", scores).exit_code == 0
    assert run("evaluate", "--frames", copy, "--baseline", scores, "--out", scores, "--force").exit_code == 0
