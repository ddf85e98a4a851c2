# SPDX-License-Identifier: Apache-2.0
"""Files of an evaluation's folder are whole or not there, on a disk and in a store, whatever is killed or full."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

from engine_tasks import CONFIGURATION, MadeUp, contents, shards_of

from spatial_vlm_ros.errors import FolderInUseError, StoreError
from spatial_vlm_ros.evaluation.engine.local import LocalEngine
from spatial_vlm_ros.evaluation.engine.lock import FolderLock
from spatial_vlm_ros.evaluation.engine.run import evaluate_shards, run_rows
from spatial_vlm_ros.evaluation.engine.store import HALF, LocalStore, ResultStore, open_store


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    import fsspec
    from s3_server import running_server

    before = dict(os.environ)
    with running_server() as server:
        os.environ.update(server.environment())
        fsspec.filesystem("s3").clear_instance_cache()
        fsspec.filesystem("s3").mkdir("results")
        yield "s3://results"
    os.environ.clear()
    os.environ.update(before)
    fsspec.filesystem("s3").clear_instance_cache()


@pytest.fixture(params=["disk", "store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ResultStore:
    if request.param == "disk":
        return open_store(str(tmp_path / "out"))
    return open_store(f"{request.getfixturevalue('bucket')}/{request.node.name}")


def test_files_are_written_read_listed_and_removed(store: ResultStore, tmp_path: Path) -> None:
    assert store.read("run.json") is None
    assert store.names() == set()
    store.write("run.json", b"1")
    store.write("run.json", b"22")
    store.write("parts/a.parquet", b"a")
    (tmp_path / "file").write_bytes(b"large")
    store.write_from("rows.parquet", tmp_path / "file")
    assert store.read("run.json") == b"22"
    assert store.read("rows.parquet") == b"large"
    assert store.names("parts") == {"a.parquet"}
    assert store.names() >= {"run.json", "rows.parquet"}
    store.remove("run.json")
    store.remove("run.json")
    assert store.read("run.json") is None


def test_a_file_is_created_once(store: ResultStore) -> None:
    assert store.create("lock.json", b"mine")
    assert not store.create("lock.json", b"yours")
    assert store.read("lock.json") == b"mine"


def test_a_folder_is_locked_on_a_disk_and_in_a_store(store: ResultStore) -> None:
    with FolderLock(store), pytest.raises(FolderInUseError, match="in use by process"), FolderLock(store):
        pass
    assert store.read("lock.json") is None


def test_an_evaluation_in_a_store_has_the_rows_of_one_on_a_disk(bucket: str, tmp_path: Path) -> None:
    for folder in (str(tmp_path), f"{bucket}/same"):
        evaluate_shards(MadeUp(), shards_of(5), folder, LocalEngine(), CONFIGURATION)
    assert list(run_rows(f"{bucket}/same")) == list(run_rows(tmp_path))
    there = open_store(f"{bucket}/same")
    for name, data in contents(tmp_path).items():
        assert there.read(name) == data, name


def test_a_store_that_fails_midway_keeps_what_is_stored(tmp_path: Path) -> None:
    pytest.importorskip("moto.server")
    import fsspec
    from s3_server import running_server

    before = dict(os.environ)
    with running_server() as server:
        os.environ.update(server.environment())
        fsspec.filesystem("s3").clear_instance_cache()
        try:
            fsspec.filesystem("s3").mkdir("failing")
            seen: list[object] = []

            def watch(outcome: object) -> None:
                seen.append(outcome)
                if len(seen) == 3:
                    server.stop()

            with pytest.raises(StoreError, match=r"with --resume: 3 of 6 parts are stored and kept"):
                evaluate_shards(MadeUp(), shards_of(6), "s3://failing/out", LocalEngine(), CONFIGURATION, watch=watch)
        finally:
            os.environ.clear()
            os.environ.update(before)
            fsspec.filesystem("s3").clear_instance_cache()
    assert not list(tmp_path.iterdir())


_WRITER = """
import itertools, sys
from pathlib import Path
from spatial_vlm_ros.evaluation.engine.store import LocalStore
store = LocalStore(Path(sys.argv[1]))
print("ready", flush=True)
for n in itertools.count():
    store.write("file", bytes([n % 256]) * (200_000 + n % 7))
"""


def test_a_writer_that_is_killed_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    rng = random.Random(1)
    for _ in range(6):
        program = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True,
                                   env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        time.sleep(0.02 + 0.1 * rng.random())
        program.send_signal(signal.SIGKILL)
        program.stdout.close()
        program.wait()
        data = (tmp_path / "file").read_bytes() if (tmp_path / "file").exists() else b"\0" * 200_000
        assert len(data) >= 200_000
        assert len(set(data)) == 1
        LocalStore(tmp_path).tidy()
        assert {path.name for path in tmp_path.iterdir()} <= {"file"}


def test_only_what_dead_writers_left_is_tidied_away(tmp_path: Path) -> None:
    (tmp_path / f"{HALF}1-of-init").touch()
    (tmp_path / f"{HALF}4999999-of-nobody").touch()
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / f"{HALF}damaged").touch()
    (tmp_path / "parts" / "a.parquet").touch()
    LocalStore(tmp_path).tidy()
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {
        f"{HALF}1-of-init", "parts", "parts/a.parquet"
    }  # fmt: skip


@pytest.mark.parametrize("number", [1, 95])
def test_a_file_system_without_links_will_do(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    store = LocalStore(tmp_path)
    assert store.create("lock.json", b"mine")
    assert not store.create("lock.json", b"yours")
    assert contents(tmp_path) == {"lock.json": b"mine"}


def test_a_read_only_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    store.write("file", b"before")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StoreError, match="Permission denied"):
        store.write("file", b"after")
    monkeypatch.undo()
    assert store.read("file") == b"before"


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_the_evaluation_and_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "none", str(disk)], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        with pytest.raises(StoreError, match=r"No space left on device.*enough space; then run the same command"):
            evaluate_shards(MadeUp(), shards_of(60), disk / "out", LocalEngine(), CONFIGURATION)
        stored = list((disk / "out" / "parts").iterdir())
        assert 0 < len(stored) < 60
        assert not list(disk.rglob(f"{HALF}*"))
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        done = evaluate_shards(MadeUp(), shards_of(60), disk / "out", LocalEngine(), CONFIGURATION, resume=True)
        assert (done.is_whole, done.reused) == (True, len(stored))
        evaluate_shards(MadeUp(), shards_of(60), tmp_path / "expected", LocalEngine(), CONFIGURATION)
        assert contents(disk / "out") == contents(tmp_path / "expected")
        assert json.loads((disk / "out" / "outcome.json").read_text())["evaluated"] == 180
    finally:
        subprocess.run(["umount", str(disk)], check=True)
