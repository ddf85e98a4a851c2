# SPDX-License-Identifier: Apache-2.0
"""An evaluation gives the same folder on one process and on several, and loses nothing when one of them dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

from engine_tasks import CONFIGURATION, MadeUp, contents, shards_of

from spatial_vlm_ros.errors import EngineUnavailableError, InputError, RunMismatchError, StoreError
from spatial_vlm_ros.evaluation.engine import run as engine_run
from spatial_vlm_ros.evaluation.engine.local import LocalEngine
from spatial_vlm_ros.evaluation.engine.parts import read_merged
from spatial_vlm_ros.evaluation.engine.run import MergedRun, evaluate_shards, run_rows
from spatial_vlm_ros.evaluation.engine.shards import Outcome, Shard, ShardAnswers
from spatial_vlm_ros.evaluation.engine.workers import ATTEMPTS

HERE = Path(__file__).parent


def evaluated(
    folder: Path, shards: Sequence[Shard], setup: MadeUp | None = None, workers: int = 1, **options: Any
) -> MergedRun:
    return evaluate_shards(setup or MadeUp(), shards, folder, LocalEngine(workers), CONFIGURATION, **options)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The folder of seven shards, evaluated without trouble."""
    folder = tmp_path_factory.mktemp("expected")
    evaluated(folder, shards_of(7))
    return contents(folder)


# ------------------------------------------------------------------------------------------------ the folder


def test_a_folder_holds_plan_parts_rows_and_outcome_and_no_lock(expected: dict[str, bytes]) -> None:
    assert {name for name in expected if "/" not in name} == {"run.json", "rows.parquet", "outcome.json"}
    assert len(expected) == 3 + 7
    plan = json.loads(expected["run.json"])
    assert plan["configuration"] == CONFIGURATION
    assert [f"parts/{shard['key']}.parquet" in expected for shard in plan["shards"]] == [True] * 7
    assert json.loads(expected["outcome.json"]) == {
        "cases": 21, "evaluated": 21, "notes": ["piece 2 is made up"], "not_evaluated": []
    }  # fmt: skip


def test_rows_are_in_the_order_of_the_plan(tmp_path: Path) -> None:
    done = evaluated(tmp_path, shards_of(4, cases=2))
    assert done.is_whole
    assert done.summary() == "all 8 cases were evaluated"
    words = [f"f{n:03}: case {k}" for n in range(4) for k in range(2)]
    assert [row["instruction"] for row in run_rows(tmp_path)] == words
    assert [row["instruction"] for row in read_merged(tmp_path / "rows.parquet")] == words


def test_several_processes_give_the_same_bytes_and_each_loads_its_models_once(
    tmp_path: Path, expected: dict[str, bytes]
) -> None:
    control = tmp_path / "control"
    control.mkdir()
    evaluated(tmp_path / "out", shards_of(7), MadeUp(str(control)), workers=2)
    assert contents(tmp_path / "out") == expected
    assert 1 <= len(list(control.glob("started-*"))) <= 2  # one may have done all before the other had begun


# ------------------------------------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize("how", ["die", "exit"])
def test_the_shard_of_a_worker_that_dies_is_given_to_another_one(
    how: str, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    control = tmp_path / "control"
    control.mkdir()
    (control / f"{how}-3").touch()
    assert evaluated(tmp_path / "out", shards_of(7), MadeUp(str(control)), workers=2).is_whole
    assert contents(tmp_path / "out") == expected


def test_a_shard_over_which_every_worker_dies_is_named_and_tried_again_on_resuming(
    tmp_path: Path, expected: dict[str, bytes]
) -> None:
    control = tmp_path / "control"
    control.mkdir()
    (control / "always-5").touch()
    done = evaluated(tmp_path / "out", shards_of(7), MadeUp(str(control)), workers=2)
    assert (done.cases, done.evaluated) == (21, 18)
    assert f"3 of 21 cases were not evaluated: piece 5 (3 cases: {ATTEMPTS} workers ended" in done.summary()
    listed = json.loads((tmp_path / "out" / "outcome.json").read_text())["not_evaluated"]
    assert [(one["shard"], one["cases"]) for one in listed] == [("piece 5", [f"f005: case {k}" for k in range(3)])]
    assert "SIGKILL" in listed[0]["reason"]
    (control / "always-5").unlink()
    again = evaluated(tmp_path / "out", shards_of(7), MadeUp(str(control)), workers=2, resume=True)
    assert (again.reused, again.is_whole) == (6, True)
    assert contents(tmp_path / "out") == expected


def test_a_shard_that_cannot_be_evaluated_costs_itself_alone(tmp_path: Path) -> None:
    done = evaluated(tmp_path, shards_of(4), MadeUp(bad=(1, 2)))
    assert [(one.shard.name, one.status) for one in done.missing] == [
        ("piece 1", "DEPTH_INVALID"),
        ("piece 2", "DEPTH_INVALID"),
    ]
    assert (
        "6 of 12 cases were not evaluated: piece 1 (3 cases: frame 1 has no depth. Record it again.)" in done.summary()
    )
    assert len(list(run_rows(tmp_path))) == 6


def test_a_task_that_leaves_cases_out_is_not_taken_for_whole(tmp_path: Path) -> None:
    class Short(MadeUp):
        def __call__(self) -> Any:
            task = super().__call__()
            return lambda shard: ShardAnswers(task(shard).rows[:-1])

    done = evaluated(tmp_path, shards_of(2), Short())
    assert [one.reason for one in done.missing] == ["2 rows arrived for 3 cases"] * 2


@pytest.mark.parametrize("workers", [1, 2])
def test_models_that_cannot_be_loaded_end_the_evaluation(workers: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="weights"):
        evaluated(tmp_path, shards_of(3), MadeUp(broken=True), workers=workers)


class DiesAtStart(MadeUp):
    def __call__(self) -> Any:
        os._exit(9)


def test_workers_that_die_before_they_work_end_the_evaluation(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailableError, match="3 workers in a row ended before they could work: exit code 9"):
        evaluated(tmp_path, shards_of(3), DiesAtStart(), workers=2)


@pytest.mark.parametrize("workers", [0, -1, 5000])
def test_a_number_of_workers_that_is_none_is_refused(workers: int) -> None:
    with pytest.raises(InputError, match="--workers"):
        LocalEngine(workers)


# ------------------------------------------------------------------------------------------------ resuming


def run_program(out: Path, **given: Any) -> subprocess.Popen[str]:
    arguments = json.dumps({"engine": "local", "workers": 2, "shards": 7, "out": str(out), **given})
    return subprocess.Popen(
        [sys.executable, str(HERE / "engine_tasks.py"), arguments], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


def killed_after(program: subprocess.Popen[str], shards: int) -> None:
    """Kill a program as soon as it has stored so many shards."""
    assert program.stdout is not None
    for _ in range(shards):
        assert program.stdout.readline() == "shard\n"
    program.send_signal(signal.SIGKILL)
    program.stdout.close()
    assert program.wait(60) == -signal.SIGKILL


def test_an_evaluation_whose_driver_was_killed_goes_on_with_the_parts_it_has(
    tmp_path: Path, expected: dict[str, bytes]
) -> None:
    killed_after(run_program(tmp_path, seconds=0.3), 2)
    assert (tmp_path / "lock.json").exists()
    stored = {name for name in contents(tmp_path) if name.startswith("parts/")}
    assert 2 <= len(stored) < 7
    done = evaluated(tmp_path, shards_of(7), resume=True)
    assert (done.reused, done.is_whole, done.notes) == (len(stored), True, ("piece 2 is made up",))
    assert contents(tmp_path) == expected


def test_parts_that_are_damaged_are_made_again(tmp_path: Path, expected: dict[str, bytes]) -> None:
    evaluated(tmp_path, shards_of(7))
    first, second, third, *_ = sorted((tmp_path / "parts").iterdir())
    first.write_bytes(first.read_bytes()[:-9])
    second.write_bytes(third.read_bytes())
    done = evaluated(tmp_path, shards_of(7), resume=True)
    assert done.reused == 5
    assert contents(tmp_path) == expected


def test_more_shards_are_added_to_those_that_are_there(tmp_path: Path, expected: dict[str, bytes]) -> None:
    evaluated(tmp_path, shards_of(4))
    assert evaluated(tmp_path, shards_of(7), resume=True).reused == 4
    assert contents(tmp_path) == expected


def test_a_full_disk_ends_the_evaluation_with_what_is_stored(
    tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spatial_vlm_ros.evaluation.engine.store.os.fsync", _full_after(6))
    with pytest.raises(
        StoreError, match=r"No space left.*with --resume: [1-6] of 7 parts are stored and kept"
    ) as caught:
        evaluated(tmp_path, shards_of(7))
    assert "enough space" in str(caught.value)
    monkeypatch.undo()
    assert not list(tmp_path.rglob(".half-*"))
    assert evaluated(tmp_path, shards_of(7), resume=True).reused >= 1
    assert contents(tmp_path) == expected


def _full_after(count: int) -> Any:
    calls = iter(range(count))

    def fsync(handle: int) -> None:
        del handle
        if next(calls, None) is None:
            raise OSError(28, "No space left on device")

    return fsync


# ------------------------------------------------------------------------------------------------ other folders


def test_a_folder_that_is_evaluated_already_is_not_written_again_unless_that_is_said(tmp_path: Path) -> None:
    evaluated(tmp_path, shards_of(3))
    before = contents(tmp_path)
    with pytest.raises(RunMismatchError, match=r"holds 3 of 3 parts of this evaluation\. Continue it with --resume"):
        evaluated(tmp_path, shards_of(3))
    assert contents(tmp_path) == before


def test_a_folder_of_another_configuration_is_refused_with_what_differs(tmp_path: Path) -> None:
    evaluated(tmp_path, shards_of(3))
    with pytest.raises(RunMismatchError, match=r'another configuration: version was "1"'):
        evaluate_shards(MadeUp(), shards_of(3), tmp_path, LocalEngine(), {**CONFIGURATION, "version": "2"}, resume=True)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunMismatchError, match=r"holds something else: thesis\.tex"):
        evaluated(tmp_path, shards_of(1))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("text", ["", "{}", '{"digest": 1}', "[1]"])
def test_a_damaged_plan_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunMismatchError, match="damaged"):
        evaluated(tmp_path, shards_of(1), resume=True)


def test_a_folder_without_an_evaluation_has_no_rows(tmp_path: Path) -> None:
    with pytest.raises(RunMismatchError, match=r"holds no run\.json"):
        list(run_rows(tmp_path))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="Choose a writable place"):
        evaluated(tmp_path / "file" / "out", shards_of(1))


def test_every_outcome_is_seen_as_it_comes(tmp_path: Path) -> None:
    seen: list[Outcome] = []
    evaluated(tmp_path, shards_of(3), MadeUp(bad=(1,)), watch=seen.append)
    assert [one.shard.name for one in seen] == ["piece 0", "piece 1", "piece 2"]
    assert engine_run.OUTCOME in {path.name for path in tmp_path.iterdir()}
