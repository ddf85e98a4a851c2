# SPDX-License-Identifier: Apache-2.0
"""The folder of an evaluation in shards: what it holds, what goes wrong, and how it is gone on with.

Also what is said where there is no Ray cluster, or none with room for a worker.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from engine_tasks import CONFIGURATION, MadeUp, contents, shards_of

from spatial_vlm_ros.errors import (
    DependencyError,
    EngineUnavailableError,
    InputError,
    RunMismatchError,
    SpatialVlmError,
    StoreError,
)
from spatial_vlm_ros.evaluation.engine.local import LocalEngine
from spatial_vlm_ros.evaluation.engine.parts import read_merged
from spatial_vlm_ros.evaluation.engine.ray_engine import RayEngine, check_address
from spatial_vlm_ros.evaluation.engine.run import MergedRun, evaluate_shards, run_rows
from spatial_vlm_ros.evaluation.engine.shards import Outcome, Shard, ShardAnswers

pytest.importorskip("pyarrow")


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


# ------------------------------------------------------------------------------------------------ Ray


LIMIT_S = 120


@contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """The address of somebody who says this to whoever connects; None = nothing, ever."""
    over = threading.Event()

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(64)
            if answer is not None:
                connection.sendall(answer)
            over.wait(LIMIT_S)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            over.set()
            thread.join(LIMIT_S)


def test_who_does_not_listen_or_speaks_otherwise_is_no_cluster() -> None:
    with pytest.raises(EngineUnavailableError, match=r"cluster at 127\.0\.0\.1:1 cannot be reached.*ray status"):
        check_address("127.0.0.1:1")
    for answer, wait_s, words in (
        (None, 0.2, r"no answer within 0\.2 s"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", LIMIT_S, "not Ray"),
    ):
        with listening(answer) as address, pytest.raises(EngineUnavailableError, match=words):
            check_address(address, wait_s)


def test_a_server_of_http_2_may_be_a_cluster() -> None:
    settings = bytes((0, 0, 6, 4, 0, 0, 0, 0, 0)) + bytes((0, 3, 0, 0, 0, 100))
    with listening(settings) as address:
        assert check_address(address, LIMIT_S) is None  # type: ignore[func-returns-value]


def test_without_ray_the_command_that_installs_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DependencyError, match="pip install ray pyarrow fsspec s3fs"):
        evaluate_shards(MadeUp(), shards_of(2), tmp_path, RayEngine(2), CONFIGURATION)


@pytest.mark.parametrize("options", [{"workers": 0}, {"num_gpus": -1.0}, {"num_gpus": 1.5}, {"num_cpus": 0.0}])
def test_numbers_that_are_none_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        RayEngine(**options)


def test_a_cluster_without_room_for_a_worker_is_said_with_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = MagicMock()
    ray.is_initialized.return_value = False
    ray.cluster_resources.return_value = {"CPU": 4.0, "memory": 1e9}
    ray.wait.side_effect = lambda asked, **_: ([], asked)
    monkeypatch.setattr("spatial_vlm_ros.evaluation.engine.ray_engine._ray", lambda: ray)
    engine = RayEngine(2, num_gpus=0.5, start_timeout=0.05)
    with pytest.raises(EngineUnavailableError, match=r"1 CPU and 0\.5 GPU for each worker, the cluster has 4 CPU"):
        evaluate_shards(MadeUp(), shards_of(2), tmp_path, engine, CONFIGURATION)
    assert ray.init.called
    assert ray.shutdown.called
    assert not (tmp_path / "lock.json").exists()
