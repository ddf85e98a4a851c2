# SPDX-License-Identifier: Apache-2.0
"""`evaluate` in shards gives the figures that it gives in one piece, and says what was left out."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

from bag_builder import scene
from click.testing import CliRunner, Result
from engine_tasks import contents
from frame_files import case, write_cases, write_frame

from spatial_vlm_ros.cli.main import main

WORDS = (("the chick behind the cup", "bonnet"), ("the chick in front of the cup", "ribbon"), ("the box", "cup"))


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images with three sentences each, of which one expects the wrong object."""
    folder = tmp_path_factory.mktemp("frames") / "kitchen"
    seen = scene()
    for n in range(3):
        write_frame(folder / f"f{n}", dataclasses.replace(seen.frame, stamp_ns=0), seen.detections)
    write_cases(folder, [case(f"f{n}", words, id_) for n in range(3) for words, id_ in WORDS])
    return folder


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)], catch_exceptions=False)


def figures(text: str) -> Any:
    """What is said of the cases, without times."""
    value = json.loads(text)
    for name in ("seconds", "ms"):
        value.pop(name, None)
    return value


def test_in_shards_and_in_one_piece_the_same_is_said(frames: Path, tmp_path: Path) -> None:
    one = run("--frames", frames, "--json")
    cut = run("--frames", frames, "--json", "--workers", 2, "--out", tmp_path / "out")
    assert (one.exit_code, cut.exit_code) == (0, 0), cut.output
    assert figures(cut.stdout) == figures(one.stdout)
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"shards", "scores.json", "report.html"}
    assert (tmp_path / "out" / "shards" / "rows.parquet").is_file()


def test_a_folder_is_resumed_and_never_replaced(frames: Path, tmp_path: Path) -> None:
    arguments = ("--frames", frames, "--engine", "local", "--out", tmp_path / "out")
    assert run(*arguments).exit_code == 0
    again = run(*arguments)
    assert again.exit_code != 0
    assert "not empty" in again.output
    assert "--resume" in again.output
    assert run(*arguments, "--resume").exit_code == 0
    parts = sorted((tmp_path / "out" / "shards" / "parts").iterdir())
    (tmp_path / "out" / "scores.json").unlink()
    parts[0].write_bytes(b"damaged")
    assert run(*arguments, "--resume").exit_code == 0
    assert parts[0].stat().st_size > 100
    assert (tmp_path / "out" / "scores.json").exists()


def test_what_was_not_evaluated_is_said_and_ends_with_1(
    frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spatial_vlm_ros.evaluation.engine.case_shards.FRAMES_IN_SHARD", 1)
    monkeypatch.setattr(
        "spatial_vlm_ros.evaluation.engine.evaluate_cases.plan_cases",
        lambda *given: _with_a_bad_one(given),
    )
    done = run("--frames", frames, "--engine", "local", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "3 of 9 cases were not evaluated: kitchen, f1" in done.output
    assert "--resume" in done.output


def _with_a_bad_one(given: tuple[Any, ...]) -> list[Any]:
    from spatial_vlm_ros.evaluation.engine.case_shards import plan_cases

    shards = plan_cases(*given, frames_in_shard=1)
    return [shards[0], dataclasses.replace(shards[1], payload=None), shards[2]]


def test_nothing_evaluated_is_no_report(frames: Path, tmp_path: Path) -> None:
    done = run("--frames", frames, "--engine", "local", "--out", tmp_path / "out", "--grounder", "onnx model=/nowhere")
    assert done.exit_code != 0
    assert not (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--workers", "2"), "give --out FOLDER or --shards"),
        (("--workers", "2", "--out", "scores.json"), "give --out FOLDER or --shards"),
        (("--address", "auto"), "need --engine ray"),
        (("--engine", "local", "--num-gpus", "1", "--out", "out"), "need --engine ray"),
        (("--engine", "dask", "--out", "out"), "'dask'"),
        (("--workers", "0", "--out", "out"), "--workers"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: tuple[str, ...], words: str, frames: Path) -> None:
    done = run("--frames", frames, *options)
    assert done.exit_code == 2
    assert words in done.output


def test_without_ray_or_pyarrow_the_command_that_installs_them_is_said(
    frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = run("--frames", frames, "--engine", "ray", "--out", tmp_path / "out")
    assert (done.exit_code, "pip install ray pyarrow fsspec s3fs" in done.output) == (1, True)


_ENDED_MIDWAY = """
import os, signal, sys
from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.evaluation.engine import case_shards, workers

answer = workers.ShardWorker.answer

def ended(self, shard):
    if shard.name.endswith("f1"):
        os.kill(os.getpid(), int(sys.argv[1]))
    return answer(self, shard)

workers.ShardWorker.answer = ended
case_shards.plan_cases.__defaults__ = (1, 2**30)  # frames and bytes in a shard
main(sys.argv[2:])
"""


def _with_default_signals() -> None:
    """As in a terminal: nohup and jobs in the background ignore some."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 1)])
def test_what_is_ended_gives_its_lock_back_and_says_how_to_go_on(
    number: signal.Signals, code: int, frames: Path, tmp_path: Path
) -> None:
    command = (sys.executable, "-c", _ENDED_MIDWAY, number.value, "evaluate", "--frames", frames, "--workers", 1,
               "--out", tmp_path / "out")  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=120, check=False,
        preexec_fn=_with_default_signals,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Run the same command with --resume to continue" in done.stderr
    shards = tmp_path / "out" / "shards"
    assert {path.name for path in shards.iterdir()} == {"run.json", "parts"}
    assert len(list((shards / "parts").iterdir())) == 1


@pytest.mark.slow
def test_ray_writes_the_bytes_of_one_process(frames: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)}
    for engine, workers in (("local", 1), ("ray", 2)):
        command = (sys.executable, "-m", "spatial_vlm_ros.cli", "evaluate", "--frames", frames, "--engine", engine,
                   "--workers", workers, "--shards", tmp_path / engine, "--json")  # fmt: skip
        done = subprocess.run(
            [str(part) for part in command], env=environment, capture_output=True, text=True, timeout=180
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
