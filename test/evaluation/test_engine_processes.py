# SPDX-License-Identifier: Apache-2.0
"""Evaluations on several processes and in an S3 store give the folder of one process, whatever is killed."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("fsspec")
pytest.importorskip("rosbags")

import fsspec
from engine_bags import COUNT, stamp_of, write_bag, write_truth
from engine_tasks import CONFIGURATION, DiesAtStart, MadeUp, contents, shards_of
from s3_server import S3Server, put, running_server

from spatial_vlm_lab.engine.engines import ATTEMPTS, LocalEngine
from spatial_vlm_lab.engine.evaluate_cases import evaluate_cases
from spatial_vlm_lab.engine.run import MergedRun, ResultStore, evaluate_shards, run_rows
from spatial_vlm_lab.scoring.model_spec import ModelSpec
from spatial_vlm_lab.scoring.sources import Source
from spatial_vlm_ros.errors import EngineUnavailableError, FileError, InputError, RunMismatchError, StoreError
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.recording.bags.remote import facts_of
from spatial_vlm_ros.recording.bags.topics import open_bag

pytestmark = pytest.mark.live
slow = pytest.mark.slow
PROGRAM = Path(__file__).parent / "engine_tasks.py"
LIMIT_S = 300
Files = dict[str, bytes]


def evaluated(folder: Path | str, setup: MadeUp | None = None, **options: Any) -> MergedRun:
    return evaluate_shards(setup or MadeUp(), shards_of(7), folder, LocalEngine(2), CONFIGURATION, **options)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The folder of seven shards, evaluated by one process without trouble."""
    folder = tmp_path_factory.mktemp("expected")
    evaluate_shards(MadeUp(), shards_of(7), folder, LocalEngine(), CONFIGURATION)
    return contents(folder)


@pytest.fixture
def control(tmp_path: Path) -> Path:
    """Where files say which workers die; see MadeUp."""
    (tmp_path / "control").mkdir()
    return tmp_path / "control"


def program(out: Path, **given: Any) -> subprocess.Popen[str]:
    """An evaluation in a process of its own, with a home of its own."""
    home = out.parent / "home"
    home.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(home), "PYTHONWARNINGS": "ignore"}
    arguments = json.dumps({"workers": 2, "shards": 7, "out": str(out), **given})
    return subprocess.Popen([sys.executable, str(PROGRAM), arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env=environment)  # fmt: skip


def finished(started: subprocess.Popen[str]) -> str:
    said, errors = started.communicate(timeout=LIMIT_S)
    assert started.returncode == 0, said + errors
    return said


def heard(started: subprocess.Popen[str], shards: int) -> None:
    """Wait until a program has stored so many more shards."""
    for _ in range(shards):
        assert started.stdout.readline() == "shard\n"


def killed(started: subprocess.Popen[str]) -> None:
    started.kill()
    started.communicate(timeout=LIMIT_S)
    assert started.returncode == -signal.SIGKILL


@pytest.mark.parametrize("how", [pytest.param("", marks=slow), "die", pytest.param("exit", marks=slow)])
def test_the_shard_of_a_dead_worker_goes_to_another(how: str, tmp_path: Path, control: Path, expected: Files) -> None:
    if how:
        (control / f"{how}-3").touch()
    assert evaluated(tmp_path / "out", MadeUp(str(control))).is_whole
    assert contents(tmp_path / "out") == expected
    if not how:  # each loads its models once; one may have done all before the other had begun
        assert 1 <= len(list(control.glob("started-*"))) <= 2


def test_a_shard_that_kills_all_workers_is_named_and_tried_anew(tmp_path: Path, control: Path, expected: Files) -> None:
    (control / "always-5").touch()
    done = evaluated(tmp_path / "out", MadeUp(str(control)))
    assert (done.cases, done.evaluated) == (21, 18)
    assert f"3 of 21 cases were not evaluated: piece 5 (3 cases: {ATTEMPTS} workers ended" in done.summary()
    (listed,) = json.loads((tmp_path / "out" / "outcome.json").read_text())["not_evaluated"]
    assert (listed["shard"], listed["cases"]) == ("piece 5", [f"f005: case {k}" for k in range(3)])
    assert "SIGKILL" in listed["reason"]
    (control / "always-5").unlink()
    again = evaluated(tmp_path / "out", MadeUp(str(control)), resume=True)
    assert (again.reused, again.is_whole) == (6, True)
    assert contents(tmp_path / "out") == expected


def test_workers_that_cannot_begin_end_the_evaluation(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="weights"):
        evaluated(tmp_path / "broken", MadeUp(broken=True))
    with pytest.raises(EngineUnavailableError, match="3 workers in a row ended before they could work: exit code 9"):
        evaluated(tmp_path / "dead", DiesAtStart())


def test_an_evaluation_whose_driver_was_killed_goes_on_later(tmp_path: Path, expected: Files) -> None:
    started = program(tmp_path / "out", seconds=0.3)
    heard(started, 2)
    killed(started)
    assert (tmp_path / "out" / "lock.json").exists()
    stored = {name for name in contents(tmp_path / "out") if name.endswith(".parquet")}  # not one that was begun
    assert 2 <= len(stored) < 7
    done = evaluate_shards(MadeUp(), shards_of(7), tmp_path / "out", LocalEngine(), CONFIGURATION, resume=True)
    assert (done.reused, done.is_whole) == (len(stored), True)
    assert contents(tmp_path / "out") == expected


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A running store with the bucket `lab`, which this process, and those it starts, reach."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    with running_server() as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        fsspec.filesystem("s3").clear_instance_cache()
        fsspec.filesystem("s3").mkdir("lab")
        yield running
        fsspec.filesystem("s3").clear_instance_cache()


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("bags")
    truth = write_truth(folder / "truth.jsonl", [stamp_of(n) for n in range(1, COUNT)])
    return Source(str(next(write_bag(folder / "run").glob("*.mcap"))), "bag", str(truth))


def test_bags_and_results_of_a_store_are_those_of_a_disk(bag: Source, server: S3Server, tmp_path: Path) -> None:
    there = dataclasses.replace(bag, uri=put(Path(bag.uri), "s3://lab/run.mcap"))
    assert facts_of(there.uri).size == Path(bag.uri).stat().st_size
    assert facts_of(there.uri).version
    folders = {str(tmp_path / "here"): bag, "s3://lab/results/one": there}
    for folder, source in folders.items():
        done = evaluate_cases([source], [ModelSpec()], Settings(), folder, LocalEngine())
        assert done.is_whole
    here, rows = (list(run_rows(folder)) for folder in folders)
    assert [{**row, "source": bag.uri} for row in rows] == here
    with pytest.raises(RunMismatchError, match="--resume"):
        evaluate_cases([there], [ModelSpec()], Settings(), "s3://lab/results/one", LocalEngine())
    store = ResultStore("s3://lab/results/one")
    assert store.names() == {"run.json", "rows.parquet", "outcome.json", "parts"}
    assert [store.write("once", data, replaces=False) for data in (b"mine", b"yours")] == [True, False]
    assert store.read("once") == b"mine"
    for uri in ("s3://lab/none.mcap", "s3://no-such-bucket/run.mcap", "s3://lab/no-folder"):
        with pytest.raises(FileError, match="no such file"):
            open_bag(uri)
    with open_bag(there.uri) as opened:
        messages = opened.messages()
        next(messages)
        server.stop()
        with pytest.raises(StoreError, match="--resume"):
            list(messages)


_FROM_A_STORE = """
import sys
from spatial_vlm_lab.engine.evaluate_cases import evaluate_cases, plan_cases
from spatial_vlm_lab.engine.engines import LocalEngine
from spatial_vlm_lab.scoring.model_spec import ModelSpec
from spatial_vlm_lab.scoring.sources import Source
from spatial_vlm_ros.parameters import Settings

if __name__ == "__main__":
    source = Source(sys.argv[1], "bag", sys.argv[2])
    plan_cases.__defaults__ = (1, 2_000_000)  # frames and bytes in a shard
    for engine, folder in ((LocalEngine(), sys.argv[3]), (LocalEngine(4), sys.argv[4])):
        print(evaluate_cases([source], [ModelSpec()], Settings(), folder, engine).summary())
"""


@slow
@pytest.mark.usefixtures("server")
def test_parts_of_a_bag_in_a_store_are_read_by_several_workers(bag: Source, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(_FROM_A_STORE)
    command = (sys.executable, tmp_path / "program.py", put(Path(bag.uri), "s3://lab/run.mcap"), bag.truth,
               "s3://lab/one", "s3://lab/four")  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.stdout == f"all {2 * (COUNT - 1)} cases were evaluated\n" * 2, done.stdout + done.stderr
    fs = fsspec.filesystem("s3")
    one, four = ({name.partition(f"{part}/")[2]: fs.cat_file(name) for name in fs.find(f"lab/{part}")}
                 for part in ("one", "four"))  # fmt: skip
    assert len(one) > 6
    assert four == one
