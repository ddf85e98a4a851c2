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
from test_label_page import Labeller

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.evaluation.truth_file import load_truth

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

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


def ended(process: Any, how: int = signal.SIGINT) -> tuple[int, str]:
    """Its exit code and what it said at last."""
    process.send_signal(how)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


@pytest.mark.parametrize("how", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_decisions_are_in_the_file_and_the_page_ends_when_it_is_told(
    frames: Path, tmp_path: Path, started: Callable[..., Any], how: int
) -> None:
    (tmp_path / "words.txt").write_text(f"{BEHIND}\n\nthe cup\n")
    process, link = started("--frames", frames, "--instructions", tmp_path / "words.txt")
    labeller = visitor(link)
    assert len(json.loads(labeller.get("/cases").text)["cases"]) == 4
    shown = json.loads(labeller.get("/case/0").text)
    assert labeller.tell("/case/0", {"expect": shown["proposal"], "words": BEHIND}).status == 200
    second = CliRunner().invoke(main, ["label", "--frames", str(frames)])
    assert (second.exit_code, "another labelling page (process" in second.output) == (3, True)
    assert ended(process, how)[0] == 0
    (line,) = (frames / "cases.jsonl").read_text().splitlines()
    assert json.loads(line)["by"] == "accepted"
    assert [one.name for one in frames.iterdir() if one.name.startswith(".")] == []


@pytest.mark.parametrize(
    "single", [pytest.param(False, id="folder", marks=pytest.mark.slow), pytest.param(True, id="file")]
)
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
    assert ended(process)[0] == 0
    (case,) = load_truth(bag.with_name(f"{bag.stem}.truth.jsonl"))
    assert (case.stamp_ns, case.bag) == (seconds(2.1), bag.name)
    assert case.expect is not None
    assert case.expect.id == shown["proposal"]["id"]


@pytest.mark.parametrize("nowhere", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_cannot_be_saved_is_written_beside_or_shown(
    frames: Path, started: Callable[..., Any], nowhere: bool
) -> None:
    process, link = started("--frames", frames, "--blind")
    labeller, beside = visitor(link), frames / "cases.jsonl.unsaved.jsonl"
    (frames / "cases.jsonl").write_text("theirs\n")
    if nowhere:
        beside.mkdir()
    labeller.tell("/add", {"frame": 0, "words": BEHIND})
    code, said = ended(process)
    assert code == 1
    assert (frames / "cases.jsonl").read_text() == "theirs\n"
    if nowhere:
        assert "copy these lines into the truth file" in said
    else:
        assert "another program has changed it" in said
    line = said.splitlines()[-1] if nowhere else beside.read_text()
    assert json.loads(line) == {"frame": "f1", "instruction": BEHIND}


def test_lines_that_evaluate_refuses_are_named_at_the_start(frames: Path, started: Callable[..., Any]) -> None:
    good = json.dumps({"frame": "f1", "instruction": BEHIND})
    wrong = json.dumps({"frame": "f1", "instruction": "the cup", "expect": {"status": "GREAT"}})
    (frames / "cases.jsonl").write_text(f"{good}\n# by hand\n\n{wrong}\n")
    process, link = started("--frames", frames)
    visitor(link)
    code, said = ended(process)
    assert code == 0
    for words in ("line 2 is not a valid case", "line 4 is not a valid case", "GREAT",
                  "`evaluate` refuses the file until they are corrected"):  # fmt: skip
        assert words in said
    assert "line 1" not in said


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
