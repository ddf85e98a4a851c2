# SPDX-License-Identifier: Apache-2.0
"""The folder of an evaluation in shards: what it holds, what goes wrong, and how it is gone on with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

from engine_tasks import CONFIGURATION, MadeUp, contents, shards_of

from spatial_vlm_ros.errors import InputError, RunMismatchError, SpatialVlmError, StoreError
from spatial_vlm_ros.evaluation.engine.local import LocalEngine
from spatial_vlm_ros.evaluation.engine.parts import read_merged
from spatial_vlm_ros.evaluation.engine.run import MergedRun, evaluate_shards, run_rows
from spatial_vlm_ros.evaluation.engine.shards import Outcome, Shard, ShardAnswers


def evaluated(folder: Path, shards: Sequence[Shard], setup: MadeUp | None = None, **options: Any) -> MergedRun:
    configuration = options.pop("configuration", CONFIGURATION)
    return evaluate_shards(setup or MadeUp(), shards, folder, LocalEngine(), configuration, **options)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The folder of seven shards, evaluated without trouble."""
    folder = tmp_path_factory.mktemp("expected")
    evaluated(folder, shards_of(7))
    return contents(folder)


def test_a_folder_holds_plan_parts_rows_and_outcome_and_no_lock(expected: dict[str, bytes]) -> None:
    plan = json.loads(expected["run.json"])
    parts = {f"parts/{shard['key']}.parquet" for shard in plan["shards"]}
    assert expected.keys() == {"run.json", "rows.parquet", "outcome.json"} | parts
    assert (plan["configuration"], len(parts)) == (CONFIGURATION, 7)
    outcome = {"cases": 21, "evaluated": 21, "notes": ["piece 2 is made up"], "not_evaluated": []}
    assert json.loads(expected["outcome.json"]) == outcome


def test_rows_are_in_the_order_of_the_plan(tmp_path: Path) -> None:
    done = evaluated(tmp_path, shards_of(4, cases=2))
    assert (done.is_whole, done.summary()) == (True, "all 8 cases were evaluated")
    words = [f"f{n:03}: case {k}" for n in range(4) for k in range(2)]
    assert [row["instruction"] for row in run_rows(tmp_path)] == words
    assert [row["instruction"] for row in read_merged(tmp_path / "rows.parquet")] == words


def test_a_shard_that_cannot_be_evaluated_costs_itself_alone_and_every_outcome_is_seen(tmp_path: Path) -> None:
    seen: list[Outcome] = []
    done = evaluated(tmp_path, shards_of(4), MadeUp(bad=(1, 2)), watch=seen.append)
    assert [one.shard.name for one in seen] == [f"piece {n}" for n in range(4)]
    assert [(one.shard.name, one.status) for one in done.missing] == [(f"piece {n}", "DEPTH_INVALID") for n in (1, 2)]
    told = "6 of 12 cases were not evaluated: piece 1 (3 cases: frame 1 has no depth. Record it again.)"
    assert told in done.summary()
    assert len(list(run_rows(tmp_path))) == 6


def test_a_task_that_leaves_cases_out_is_not_taken_for_whole(tmp_path: Path) -> None:
    class Short(MadeUp):
        def __call__(self) -> Any:
            task = super().__call__()
            return lambda shard: ShardAnswers(task(shard).rows[:-1])

    done = evaluated(tmp_path, shards_of(2), Short())
    assert [one.reason for one in done.missing] == ["2 rows arrived for 3 cases"] * 2


def test_models_that_cannot_be_loaded_end_the_evaluation(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="weights"):
        evaluated(tmp_path, shards_of(3), MadeUp(broken=True))


def test_parts_that_are_damaged_are_made_again(tmp_path: Path, expected: dict[str, bytes]) -> None:
    evaluated(tmp_path, shards_of(7))
    first, second, third, *_ = sorted((tmp_path / "parts").iterdir())
    first.write_bytes(first.read_bytes()[:-9])
    second.write_bytes(third.read_bytes())
    assert evaluated(tmp_path, shards_of(7), resume=True).reused == 5
    assert contents(tmp_path) == expected


def test_more_shards_are_added_to_those_that_are_there(tmp_path: Path, expected: dict[str, bytes]) -> None:
    evaluated(tmp_path, shards_of(4))
    done = evaluated(tmp_path, shards_of(7), resume=True)
    assert (done.reused, done.is_whole, done.notes) == (4, True, ("piece 2 is made up",))
    assert contents(tmp_path) == expected


def test_a_full_disk_ends_the_evaluation_with_what_is_stored(
    tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(6))

    def fsync(handle: int) -> None:
        del handle
        if next(calls, None) is None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("spatial_vlm_ros.evaluation.engine.store.os.fsync", fsync)
    told = r"No space left.*enough space.*with --resume: [1-6] of 7 parts are stored and kept"
    with pytest.raises(StoreError, match=told):
        evaluated(tmp_path, shards_of(7))
    monkeypatch.undo()
    assert not list(tmp_path.rglob(".half-*"))
    assert evaluated(tmp_path, shards_of(7), resume=True).reused >= 1
    assert contents(tmp_path) == expected


def test_a_folder_is_not_written_to_unless_it_is_this_evaluation_gone_on_with(tmp_path: Path) -> None:
    evaluated(tmp_path, shards_of(3))
    before = contents(tmp_path)
    for options, words in (
        ({}, r"holds 3 of 3 parts of this evaluation\. Continue it with --resume"),
        ({"configuration": CONFIGURATION | {"version": "2"}, "resume": True}, 'another configuration: version was "1"'),
    ):
        with pytest.raises(RunMismatchError, match=words):
            evaluated(tmp_path, shards_of(3), **options)
        assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "text", "error", "words"),
    [
        ("thesis.tex", "", RunMismatchError, r"holds something else: thesis\.tex"),
        *(("run.json", text, RunMismatchError, "damaged") for text in ("", "{}", '{"digest": 1}', "[1]")),
    ],
)
def test_a_folder_of_something_else_is_refused(
    name: str, text: str, error: type[SpatialVlmError], words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=words):
        evaluated(tmp_path, shards_of(1), resume=True)
    assert contents(tmp_path) == {name: text.encode()}
    with pytest.raises(StoreError, match="Choose a writable place"):
        evaluated(tmp_path / name / "out", shards_of(1))


def test_a_folder_without_an_evaluation_has_no_rows_and_workers_are_counted(tmp_path: Path) -> None:
    with pytest.raises(RunMismatchError, match=r"holds no run\.json"):
        list(run_rows(tmp_path))
    for workers in (0, -1, 5000):
        with pytest.raises(InputError, match="--workers"):
            LocalEngine(workers)
