# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm label` as a process: its link, its end by Ctrl-C or SIGTERM, and what it refuses before a page opens."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from test_label_page import Labeller

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.evaluation.truth_file import load_truth

BEHIND = "the chick behind the cup"


@pytest.fixture
def frames(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "frames"))


@pytest.fixture
def started() -> Iterator[Callable[..., tuple[Any, str]]]:
    """Starts the command; the process and its link."""
    with ExitStack() as stack:

        def start(*words: str | Path) -> tuple[Any, str]:
            process = stack.enter_context(subprocess.Popen(
                [sys.executable, "-m", "spatial_vlm_ros.cli", "label", *map(str, words)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            ))  # fmt: skip
            stack.callback(process.kill)
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("label at http://127.0.0.1:"), line + process.stderr.read()  # type: ignore[union-attr]
            return process, line.split()[-1]

        yield start


def visitor(link: str) -> Labeller:
    port = int(link.split(":")[2].partition("/")[0])
    return Labeller("127.0.0.1", port).enter(link)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_decisions_are_in_the_file_and_the_page_ends_when_it_is_told(
    frames: Path, tmp_path: Path, started: Callable[..., Any], how: int
) -> None:
    (tmp_path / "words.txt").write_text(f"{BEHIND}\n\nthe cup\n")
    process, link = started("--frames", frames, "--instructions", tmp_path / "words.txt")
    labeller = visitor(link)
    assert len(json.loads(labeller.get("/cases").text)["cases"]) == 4
    shown = json.loads(labeller.get("/case/0").text)
    assert labeller.tell("/case/0", {"expect": shown["proposal"], "words": BEHIND}).status == 200
    process.send_signal(how)
    assert process.wait(30) == 0
    (line,) = (frames / "cases.jsonl").read_text().splitlines()
    assert json.loads(line)["by"] == "accepted"
    assert [one.name for one in frames.iterdir() if one.name.startswith(".")] == []


@pytest.mark.parametrize("single", [False, True], ids=["folder", "file"])
def test_frames_of_a_bag_are_labelled_by_their_stamps(
    tmp_path: Path, started: Callable[..., Any], single: bool
) -> None:
    pytest.importorskip("rosbags")
    from bag_builder import FIXED, BagBuilder, scene, seconds

    with BagBuilder(tmp_path / "run1") as builder:
        builder.stands(FIXED, seconds(0.0))
        for n in range(4):
            builder.frame(scene(), seconds(0.1 + n))
    bag = next((tmp_path / "run1").glob("*.mcap")) if single else tmp_path / "run1"
    (tmp_path / "words.txt").write_text(BEHIND)
    process, link = started(
        "--bag", bag, "--instructions", tmp_path / "words.txt", "--apart", "2", "--base-frame", "base_link"
    )
    labeller = visitor(link)
    overview = json.loads(labeller.get("/cases").text)
    assert len(overview["frames"]) == 2
    shown = json.loads(labeller.get("/case/1").text)
    assert shown["ground"]["frame_id"] == "base_link"
    assert json.loads(labeller.tell("/case/1", {"expect": shown["proposal"], "words": BEHIND}).text)["saved"]
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    (case,) = load_truth(bag.with_name(f"{bag.stem}.truth.jsonl"))
    assert (case.stamp_ns, case.bag) == (seconds(2.1), bag.name)
    assert case.expect is not None
    assert case.expect.id == shown["proposal"]["id"]


def test_a_second_page_on_the_same_file_is_refused(frames: Path, started: Callable[..., Any]) -> None:
    started("--frames", frames)
    done = CliRunner().invoke(main, ["label", "--frames", str(frames)])
    assert done.exit_code == 3
    assert "another labelling page (process" in done.output


def test_what_cannot_be_saved_is_written_beside_and_said(frames: Path, started: Callable[..., Any]) -> None:
    process, link = started("--frames", frames, "--blind")
    labeller = visitor(link)
    (frames / "cases.jsonl").write_text("theirs\n")
    labeller.tell("/add", {"frame": 0, "words": BEHIND})
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "another program has changed it" in said
    assert (frames / "cases.jsonl").read_text() == "theirs\n"
    assert json.loads((frames / "cases.jsonl.unsaved.jsonl").read_text())["instruction"] == BEHIND


def test_what_can_be_written_nowhere_is_shown(frames: Path, started: Callable[..., Any]) -> None:
    process, link = started("--frames", frames)
    labeller = visitor(link)
    (frames / "cases.jsonl").write_text("theirs\n")
    (frames / "cases.jsonl.unsaved.jsonl").mkdir()
    labeller.tell("/add", {"frame": 0, "words": BEHIND})
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "copy these lines into the truth file" in said
    assert json.loads(said.splitlines()[-1]) == {"frame": "f1", "instruction": BEHIND}


def test_lines_that_evaluate_refuses_are_named_at_the_start(frames: Path, started: Callable[..., Any]) -> None:
    good = json.dumps({"frame": "f1", "instruction": BEHIND})
    wrong = json.dumps({"frame": "f1", "instruction": "the cup", "expect": {"status": "GREAT"}})
    (frames / "cases.jsonl").write_text(f"{good}\n# by hand\n\n{wrong}\n")
    process, link = started("--frames", frames)
    visitor(link)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "line 2 is not a valid case" in said
    assert "line 4 is not a valid case" in said
    assert "GREAT" in said
    assert "line 1" not in said
    assert "`evaluate` refuses the file until they are corrected" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "give either --frames DIR or --bag BAG"),
        (["--frames", ".", "--bag", "b"], "give either --frames DIR or --bag BAG"),
        (["--frames", ".", "--grounder-options", "a=b"], "need --grounder"),
        (["--frames", ".", "--rgb", "/x"], "need --bag"),
        (["--frames", ".", "--base-frame", "base"], "need --bag"),
        (["--frames", "no/such/folder"], "its folder does not exist"),
        (["--bag", "no_such_bag"], "no such file"),
        (["--frames", ".", "--instructions", "no_such.txt"], "one sentence per line"),
        (["--frames", ".", "--grounder", "nope"], "nope"),
        (["--frames", "."], "without a frame"),
    ],
)
def test_what_cannot_be_labelled_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["label", *words])
    assert done.exit_code != 0
    assert says in done.output
    assert "Traceback" not in done.output


def test_a_missing_extra_is_said_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "uvicorn" else object())
    done = CliRunner().invoke(main, ["label", "--bag", str(tmp_path / "no_such_bag")])
    assert done.exit_code == 1
    assert "pip install starlette uvicorn Jinja2" in done.output
