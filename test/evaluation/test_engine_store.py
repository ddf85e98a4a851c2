# SPDX-License-Identifier: Apache-2.0
"""Files of an evaluation's folder are whole or not there, on a disk and in a store, and one evaluation writes to it.

Rows come back from Parquet as they were; what is damaged or of another shard is not taken for a part.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("fsspec")

import fsspec
from engine_tasks import CONFIGURATION, MadeUp, contents, shards_of

from spatial_vlm_ros.errors import FileError, FolderInUseError, InputError, StoreError
from spatial_vlm_ros.evaluation.engine import lock as engine_lock
from spatial_vlm_ros.evaluation.engine.local import LocalEngine
from spatial_vlm_ros.evaluation.engine.lock import LOCK, STALE_S, FolderLock, LockOwner
from spatial_vlm_ros.evaluation.engine.parts import fields_of, part_answers, part_bytes, read_merged, write_merged
from spatial_vlm_ros.evaluation.engine.run import evaluate_shards, run_rows
from spatial_vlm_ros.evaluation.engine.shards import Row, Shard, ShardAnswers, configuration_digest, digest, in_batches
from spatial_vlm_ros.evaluation.engine.store import HALF, LocalStore, ResultStore, open_store

# ------------------------------------------------------------------------------------------------ parts

KEY, NOTES = "0" * 40, ("the bag's end is damaged",)
ROWS: list[Row] = [
    {"id": "d1", "right": True, "n": 2**60, "iou": 0.1 + 0.2, "place": None, "kind": ["a", "b"], "message": "Größe"},
    {"id": None, "right": False, "n": -1, "iou": None, "place": None, "kind": [], "message": ""},
]  # fmt: skip


def made(rows: Sequence[Row]) -> bytes:
    return part_bytes(ShardAnswers(tuple(rows), NOTES), KEY)


def test_rows_come_back_as_they_were_and_the_same_rows_give_the_same_bytes() -> None:
    data = made(ROWS)
    assert part_answers(data, KEY) == ShardAnswers(tuple(ROWS), NOTES)
    assert made([dict(row) for row in ROWS]) == data
    assert part_answers(data, "1" * 40) is None  # a part is of its own shard alone
    assert part_answers(made([]), KEY) == ShardAnswers((), NOTES)
    mixed = part_answers(made([{"iou": 1}, {"iou": 0.5}, {"iou": None}]), KEY)
    assert mixed is not None
    assert mixed.rows == ({"iou": 1.0}, {"iou": 0.5}, {"iou": None})


def test_no_part_that_is_cut_off_or_changed_is_taken_for_whole() -> None:
    data, rng = made(ROWS), random.Random(0)
    assert all(part_answers(data[:length], KEY) is None for length in range(0, len(data), 7))
    for _ in range(200):
        at = rng.randrange(len(data))
        changed = part_answers(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :], KEY)
        assert changed is None or changed.rows == tuple(ROWS)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"a": 1}, {"b": 1}], "fields that are not in every row: a, b"),
        ([{"a": float("nan")}], "field a of a row: nan"),
        ([{"a": {"x": 1}}], "field a of a row"),
        ([{"a": [1]}], "field a of a row"),
        ([{"a": "x"}, {"a": 1}], "field a of rows: str and int"),
    ],
)
def test_what_is_no_row_is_refused(rows: list[Row], words: str) -> None:
    with pytest.raises(InputError, match=words):
        made(rows)


def test_parts_merge_into_one_file_in_their_order_and_other_files_are_refused(tmp_path: Path) -> None:
    parts, paths = [ROWS, [], ROWS[::-1]], [tmp_path / "rows.parquet", tmp_path / "again.parquet"]
    for path in paths:
        assert write_merged(path, iter(parts), fields_of([*ROWS, *ROWS]), {"configuration": "c"}) == 4
        assert list(read_merged(path)) == [*ROWS, *ROWS[::-1]]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    for data in (b"", b"PAR1", b"no parquet at all, but some bytes"):
        paths[0].write_bytes(data)
        with pytest.raises(FileError, match=r"rows\.parquet"):
            list(read_merged(paths[0]))
    with pytest.raises(FileError):
        list(read_merged(tmp_path / "none.parquet"))


def test_the_name_of_a_part_is_that_of_content_cases_and_configuration() -> None:
    shard = Shard("run1", "all", ("f1: the cup",), digest("content"), payload=1)
    one, other = configuration_digest({"model": "a", "version": 1}), configuration_digest({"model": "b", "version": 1})
    assert dataclasses.replace(shard, name="another name", payload=2).key(one) == shard.key(one)
    assert configuration_digest({"version": 1, "model": "a"}) == one
    changes: list[dict[str, Any]] = [{"source": "run2"}, {"cases": ("f1: the mug",)}, {"content": digest("other")}]
    keys = [dataclasses.replace(shard, **change).key(one) for change in changes]
    assert len({shard.key(one), shard.key(other), *keys}) == 5


def test_names_are_cut_into_batches_in_their_order() -> None:
    assert in_batches(["a", "b", "c"], 2) == [("a", "b"), ("c",)]
    assert in_batches([], 2) == []


# ------------------------------------------------------------------------------------------------ a disk, a store


@pytest.fixture(params=["disk", "store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ResultStore:
    return open_store(str(tmp_path / "out") if request.param == "disk" else f"memory://{tmp_path.name}")


def test_files_are_written_read_listed_removed_and_created_once(store: ResultStore, tmp_path: Path) -> None:
    assert store.read("run.json") is None
    assert store.names() == set()
    for data in (b"1", b"22"):
        store.write("run.json", data)
    store.write("parts/a.parquet", b"a")
    (tmp_path / "file").write_bytes(b"large")
    store.write_from("rows.parquet", tmp_path / "file")
    assert [store.read(name) for name in ("run.json", "rows.parquet")] == [b"22", b"large"]
    assert store.names("parts") == {"a.parquet"}
    assert store.names() >= {"run.json", "rows.parquet"}
    for _ in range(2):
        store.remove("run.json")
    assert store.read("run.json") is None
    assert store.create("once.json", b"mine")
    assert not store.create("once.json", b"yours")
    assert store.read("once.json") == b"mine"


def test_an_evaluation_in_a_store_has_the_rows_of_one_on_a_disk(tmp_path: Path) -> None:
    uri = f"memory://{tmp_path.name}"
    for folder in (str(tmp_path), uri):
        evaluate_shards(MadeUp(), shards_of(5), folder, LocalEngine(), CONFIGURATION)
    assert list(run_rows(uri)) == list(run_rows(tmp_path))
    there = open_store(uri)
    assert {name: there.read(name) for name in contents(tmp_path)} == contents(tmp_path)


def test_a_store_that_fails_midway_keeps_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, seen = f"memory://{tmp_path.name}", list[object]()

    def watch(outcome: object) -> None:
        seen.append(outcome)
        if len(seen) == 3:
            monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "pipe_file", lost)

    def lost(*_: object, **__: object) -> None:
        raise OSError("the connection was closed")

    with pytest.raises(StoreError, match=r"with --resume: 3 of 6 parts are stored and kept"):
        evaluate_shards(MadeUp(), shards_of(6), uri, LocalEngine(), CONFIGURATION, watch=watch)
    monkeypatch.undo()
    assert evaluate_shards(MadeUp(), shards_of(6), uri, LocalEngine(), CONFIGURATION, resume=True).reused == 3


def test_only_what_dead_writers_left_is_tidied_away(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    kept = {f"{HALF}1-of-init", "parts/a.parquet"}
    for name in (*kept, f"{HALF}4999999-of-nobody", f"parts/{HALF}damaged"):
        (tmp_path / name).touch()
    LocalStore(tmp_path).tidy()
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == kept | {"parts"}


@pytest.mark.parametrize("number", [1, 95])
def test_a_file_system_without_links_will_do(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    store = LocalStore(tmp_path)
    assert store.create(LOCK, b"mine")
    assert not store.create(LOCK, b"yours")
    assert contents(tmp_path) == {LOCK: b"mine"}


def test_a_read_only_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    store = LocalStore(tmp_path)
    store.write("file", b"before")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StoreError, match="Permission denied"):
        store.write("file", b"after")
    monkeypatch.undo()
    assert store.read("file") == b"before"


# ------------------------------------------------------------------------------------------------ the lock

OTHER = "of another process"


def leave(folder: Path, **changes: object) -> LockOwner:
    """A lock that another process left."""
    owner = dataclasses.replace(LockOwner.this_process(), **{"token": OTHER, **changes})
    (folder / LOCK).write_text(json.dumps(dataclasses.asdict(owner)))
    return owner


def test_a_second_evaluation_is_told_who_writes_since_when(tmp_path: Path) -> None:
    owner, lock = leave(tmp_path, since=time.time() - 1000), FolderLock(LocalStore(tmp_path))
    told = rf"in use by process {owner.pid} on .* for \d+ s"
    with pytest.raises(FolderInUseError, match=told) as caught, lock:
        pass
    assert 1000 <= caught.value.age < 2000
    assert "remove lock.json" in str(caught.value)
    assert json.loads((tmp_path / LOCK).read_text())["token"] == OTHER


def test_the_lock_is_gone_afterwards_whatever_happens(store: ResultStore) -> None:
    with FolderLock(store), pytest.raises(FolderInUseError, match="in use by process"), FolderLock(store):
        pass
    with pytest.raises(ZeroDivisionError), FolderLock(store):
        raise ZeroDivisionError
    assert store.read(LOCK) is None


FAR = {"host": "far-away", "boot": "other"}


@pytest.mark.parametrize(
    ("changes", "age", "is_stale"),
    [
        ({"pid": 4_999_999}, 0.0, True),  # no such process
        ({"born": "1"}, 0.0, True),  # another process of the same number
        (FAR, 0.0, False),  # of another machine the last sign of life counts
        (FAR, STALE_S - 60, False),
        (FAR, STALE_S + 1, True),
    ],
)
def test_a_lock_is_taken_over_once_its_owner_is_gone(
    changes: dict[str, Any], age: float, is_stale: bool, tmp_path: Path
) -> None:
    leave(tmp_path, seen=time.time() - age, **changes)
    if is_stale:
        with FolderLock(LocalStore(tmp_path)):
            assert json.loads((tmp_path / LOCK).read_text())["token"] != OTHER
    else:
        with pytest.raises(FolderInUseError, match="on far-away"), FolderLock(LocalStore(tmp_path)):
            pass


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"host": 1}'])
def test_a_damaged_lock_holds_nobody_up(text: str, tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(text)
    with FolderLock(LocalStore(tmp_path)):
        assert (tmp_path / LOCK).read_text() != text


def test_signs_of_life_are_given_and_a_lock_that_was_taken_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_lost() -> bool:
        leave(tmp_path)
        try:
            lock.check()
        except FolderInUseError:
            return True
        return False

    monkeypatch.setattr(engine_lock, "BEAT_S", 0.02)
    with FolderLock(LocalStore(tmp_path)) as lock:
        first = json.loads((tmp_path / LOCK).read_text())
        wait_for(lambda: json.loads((tmp_path / LOCK).read_text())["seen"] > first["seen"])
        lock.check()
        wait_for(is_lost)
    assert json.loads((tmp_path / LOCK).read_text())["token"] == OTHER


def wait_for(condition: Callable[[], bool], limit: float = 60.0) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
