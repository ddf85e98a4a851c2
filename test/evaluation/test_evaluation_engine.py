# SPDX-License-Identifier: Apache-2.0
"""The folder of an evaluation in shards: its files, its lock, what goes wrong and how it is gone on with."""

import dataclasses
import errno
import json
import os
import random
import time
from collections.abc import Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from engine_tasks import CONFIGURATION, MadeUp, contents, shards_of
from waiting import until

from spatial_vlm_lab.engine import run as engine_store
from spatial_vlm_lab.engine.engines import LocalEngine, Outcome, Shard, ShardAnswers, digest
from spatial_vlm_lab.engine.run import LOCK, MergedRun, ResultStore, evaluate_shards, locked, run_rows
from spatial_vlm_lab.scoring.case_result import COLUMNS, Row
from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import FolderInUseError, RunMismatchError, StoreError

parquet = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("fsspec")

KEY, NOTES = "0" * 40, ("the bag's end is damaged",)
ROWS: list[Row] = [
    dict.fromkeys(COLUMNS) | one
    for one in (
        {"id": "d1", "right": True, "stamp_ns": 2**60, "iou": 0.1 + 0.2, "kind": ["a", "b"], "message": "Größe"},
        {"id": None, "right": False, "stamp_ns": -1, "iou": None, "kind": [], "message": ""},
    )
]


def made(rows: Sequence[Row]) -> bytes:
    return engine_store.part_bytes(ShardAnswers(tuple(rows), NOTES), KEY)


def test_rows_come_back_as_they_were_and_the_same_rows_give_the_same_bytes() -> None:
    data = made(ROWS)
    assert engine_store.part_answers(data, KEY) == ShardAnswers(tuple(ROWS), NOTES)
    assert made([dict(row) for row in ROWS]) == data
    assert engine_store.part_answers(data, "1" * 40) is None  # a part is of its own shard alone
    assert engine_store.part_answers(made([]), KEY) == ShardAnswers((), NOTES)
    half: Any = engine_store.part_answers(made([{"message": "a\udc80", "kind": ["\udc80"], "iou": 1}]), KEY)
    assert half.rows == (dict.fromkeys(COLUMNS) | {"message": "a?", "kind": ["?"], "iou": 1.0},)


def test_no_part_that_is_cut_off_or_changed_is_taken_for_whole() -> None:
    data, rng = made(ROWS), random.Random(0)
    assert all(engine_store.part_answers(data[:length], KEY) is None for length in range(0, len(data), 7))
    for _ in range(200):
        at = rng.randrange(len(data))
        changed = engine_store.part_answers(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :], KEY)
        assert changed is None or changed.rows == tuple(ROWS)


def test_the_name_of_a_part_is_that_of_content_cases_and_configuration() -> None:
    shard = Shard("run1", "all", ("f1: the cup",), digest("content"), payload=1)
    one, other = digest({"model": "a", "version": 1}), digest({"model": "b", "version": 1})
    assert dataclasses.replace(shard, name="another name", payload=2).key(one) == shard.key(one)
    assert digest({"version": 1, "model": "a"}) == one
    changes: list[dict[str, Any]] = [{"source": "run2"}, {"cases": ("f1: the mug",)}, {"content": digest("other")}]
    keys = [dataclasses.replace(shard, **change).key(one) for change in changes]
    assert len({shard.key(one), shard.key(other), *keys}) == 5


@pytest.fixture(params=["disk", "store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ResultStore:
    return ResultStore(str(tmp_path / "out") if request.param == "disk" else f"memory://{tmp_path.name}")


def test_files_are_written_read_listed_removed_and_created_once(store: ResultStore) -> None:
    assert (store.read("run.json"), store.names()) == (None, set())
    for data in (b"1", b"22"):
        store.write("run.json", data)
    store.write("parts/a.parquet", b"a")
    assert (store.read("run.json"), store.names("parts")) == (b"22", {"a.parquet"})
    assert store.names() >= {"run.json"}
    for _ in range(2):
        store.remove("run.json")
    assert store.read("run.json") is None
    assert_created_once(store)


def assert_created_once(store: ResultStore) -> None:
    created = [store.write(LOCK, data, replaces=False) for data in (b"mine", b"yours")]
    assert (created, store.read(LOCK)) == ([True, False], b"mine")


def test_a_file_system_without_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", MagicMock(side_effect=OSError(errno.EPERM, "no links")))
    assert_created_once(ResultStore(str(tmp_path)))
    assert contents(tmp_path) == {LOCK: b"mine"}


def test_an_evaluation_in_a_store_has_the_rows_of_one_on_a_disk(tmp_path: Path) -> None:
    uri = f"memory://{tmp_path.name}"
    for folder in (str(tmp_path), uri):
        evaluated(folder, shards_of(5))
    assert list(run_rows(uri)) == list(run_rows(tmp_path))
    there = ResultStore(uri)
    assert {name: there.read(name) for name in contents(tmp_path)} == contents(tmp_path)


def test_only_what_dead_writers_left_is_tidied_away(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    kept = {".lock.json.1a2b3c4d.part", "parts/a.parquet"}
    old = tmp_path / ".lock.json.5e6f7a8b.part"
    for name in (*kept, old.name, ".run.json.1a2b3c4d.part", "parts/.a.parquet.1a2b3c4d.part"):
        (tmp_path / name).touch()
    os.utime(old, (time.time() - 2 * engine_store.LEFT_S,) * 2)
    store = ResultStore(str(tmp_path))
    assert store.names() == {"parts"}
    store.tidy()
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == kept | {"parts"}


OTHER = "of another process"


def leave(folder: Path, **changes: object) -> engine_store.LockOwner:
    """A lock that another process left."""
    owner = dataclasses.replace(engine_store.LockOwner.this_process(), **{"token": OTHER, **changes})
    (folder / LOCK).write_text(json.dumps(dataclasses.asdict(owner)))
    return owner


def assert_in_use(store: ResultStore, words: str) -> FolderInUseError:
    with pytest.raises(FolderInUseError, match=words) as caught, locked(store):
        pass
    return caught.value


def test_a_second_evaluation_is_told_who_writes_since_when(tmp_path: Path) -> None:
    owner = leave(tmp_path, since=time.time() - 1000)
    error = assert_in_use(ResultStore(str(tmp_path)), rf"in use by process {owner.pid} on .* for \d+ s")
    assert 1000 <= error.age < 2000
    assert "remove lock.json" in str(error)
    assert json.loads((tmp_path / LOCK).read_text())["token"] == OTHER


def test_the_lock_is_gone_afterwards_whatever_happens(store: ResultStore) -> None:
    with locked(store):
        assert_in_use(store, "in use by process")
    with pytest.raises(ZeroDivisionError), locked(store):
        raise ZeroDivisionError
    assert store.read(LOCK) is None


FAR = {"host": "far-away", "boot": "other"}


@pytest.mark.parametrize(
    ("changes", "age", "is_stale"),
    [
        ({"pid": 4_999_999}, 0.0, True),  # no such process
        ({"born": "1"}, 0.0, True),  # another process of the same number
        (FAR, 0.0, False),  # of another machine the last sign of life counts
        (FAR, engine_store.STALE_S - 60, False),
        (FAR, engine_store.STALE_S + 1, True),
    ],
)
def test_a_lock_is_taken_of_an_owner_gone(changes: dict[str, Any], age: float, is_stale: bool, tmp_path: Path) -> None:
    leave(tmp_path, seen=time.time() - age, **changes)
    if is_stale:
        for damaged in ("", "{}", "[]", '{"host": 1}', (tmp_path / LOCK).read_text()):
            (tmp_path / LOCK).write_text(damaged)
            with locked(ResultStore(str(tmp_path))):
                assert json.loads((tmp_path / LOCK).read_text())["token"] != OTHER
    else:
        assert_in_use(ResultStore(str(tmp_path)), "on far-away")


def test_signs_of_life_are_given_and_a_lost_lock_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_lost() -> bool:
        leave(tmp_path)
        try:
            check()
        except FolderInUseError:
            return True
        return False

    monkeypatch.setattr(engine_store, "BEAT_S", 0.02)
    with locked(ResultStore(str(tmp_path))) as check:
        first = json.loads((tmp_path / LOCK).read_text())
        until(lambda: json.loads((tmp_path / LOCK).read_text())["seen"] > first["seen"], "a sign of life is written")
        check()
        until(is_lost, "the loss is noticed")
    assert json.loads((tmp_path / LOCK).read_text())["token"] == OTHER


def evaluated(folder: Path | str, shards: Sequence[Shard], setup: Any = None, **options: Any) -> MergedRun:
    given = {"engine": LocalEngine(), "configuration": CONFIGURATION, **options}
    return evaluate_shards(setup or MadeUp(), shards, folder, **given)


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
    assert [row["instruction"] for row in parquet.read_table(tmp_path / "rows.parquet").to_pylist()] == words


def test_a_shard_that_cannot_be_evaluated_costs_itself_alone_and_every_outcome_is_seen(tmp_path: Path) -> None:
    seen: list[Outcome] = []
    done = evaluated(tmp_path, shards_of(4), MadeUp(bad=(1, 2)), watch=seen.append)
    assert [one.shard.name for one in seen] == [f"piece {n}" for n in range(4)]
    assert [(one.shard.name, one.status) for one in done.missing] == [(f"piece {n}", "DEPTH_INVALID") for n in (1, 2)]
    told = "6 of 12 cases were not evaluated: piece 1 (3 cases: frame 1 has no depth. Record it again.)"
    assert told in done.summary()
    assert len(list(run_rows(tmp_path))) == 6


def test_a_task_that_leaves_cases_out_or_gives_no_numbers_is_not_taken_for_whole(tmp_path: Path) -> None:
    def spoilt() -> Any:
        def answers(shard: Shard) -> ShardAnswers:
            rows = MadeUp()()(shard).rows
            return ShardAnswers(rows[:-1] if leaves_out else tuple(row | {"iou": float("nan")} for row in rows))

        return answers

    for leaves_out in (True, False):
        done = evaluated(tmp_path / str(leaves_out), shards_of(2), spoilt)
        assert len(done.missing) == 2
        assert not leaves_out or [one.reason for one in done.missing] == ["2 rows arrived for 3 cases"] * 2


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


def test_a_full_disk_keeps_what_is_stored(tmp_path: Path, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(28, "No space left on device")
    monkeypatch.setattr("spatial_vlm_lab.engine.run.os.fsync", MagicMock(side_effect=chain([None] * 6, repeat(full))))
    told = r"No space left.*enough space.*with --resume: [1-6] of 7 parts are stored and kept"
    with pytest.raises(StoreError, match=told):
        evaluated(tmp_path, shards_of(7))
    monkeypatch.undo()
    assert not list(tmp_path.rglob(".*.part"))
    assert evaluated(tmp_path, shards_of(7), resume=True).reused >= 1
    assert contents(tmp_path) == expected


def test_a_folder_is_not_written_to_unless_it_is_this_evaluation_gone_on_with(tmp_path: Path) -> None:
    evaluated(tmp_path, shards_of(3))
    before = contents(tmp_path)
    other = {"configuration": CONFIGURATION | {"version": "2"}, "resume": True}
    again = r"holds 3 of 3 parts of this evaluation\. Continue it with --resume"
    for options, words in (({}, again), (other, 'another configuration: version was "1"')):
        with pytest.raises(RunMismatchError, match=words):
            evaluated(tmp_path, shards_of(3), **options)
        assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("thesis.tex", "", r"holds something else: thesis\.tex"),
        *(("run.json", text, "damaged") for text in ("", "{}", '{"digest": 1}', "[1]")),
    ],
)
def test_a_folder_of_something_else_is_refused(name: str, text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(RunMismatchError, match=words):
        evaluated(tmp_path, shards_of(1), resume=True)
    assert contents(tmp_path) == {name: text.encode()}
    with pytest.raises(StoreError, match="Choose a writable place"):
        evaluated(tmp_path / name / "out", shards_of(1))


def test_a_folder_without_an_evaluation_has_no_rows_and_workers_are_counted(tmp_path: Path) -> None:
    with pytest.raises(RunMismatchError, match=r"holds no run\.json"):
        list(run_rows(tmp_path))
    for workers in (0, -1, 5000):
        with pytest.raises(errors.InputError, match="--workers"):
            LocalEngine(workers)
