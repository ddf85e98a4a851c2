# SPDX-License-Identifier: Apache-2.0
"""One evaluation writes to a folder at a time; the lock of one that is gone does not hold another one up."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from spatial_vlm_ros.errors import FolderInUseError
from spatial_vlm_ros.evaluation.engine import lock as engine_lock
from spatial_vlm_ros.evaluation.engine.lock import LOCK, STALE_S, FolderLock, LockOwner
from spatial_vlm_ros.evaluation.engine.store import LocalStore

OTHER = "of another process"


def leave(folder: Path, **changes: object) -> LockOwner:
    """A lock that another process left."""
    owner = dataclasses.replace(LockOwner.this_process(), **{"token": OTHER, **changes})
    (folder / LOCK).write_text(json.dumps(asdict(owner)))
    return owner


def test_a_second_evaluation_is_told_who_writes_since_when(tmp_path: Path) -> None:
    owner = leave(tmp_path, since=time.time() - 100)
    with (
        pytest.raises(FolderInUseError, match=rf"in use by process {owner.pid} on .* for 10\d s") as caught,
        FolderLock(LocalStore(tmp_path)),
    ):
        pass
    assert caught.value.age == pytest.approx(100, abs=5)
    assert "remove lock.json" in str(caught.value)
    assert json.loads((tmp_path / LOCK).read_text())["token"] == OTHER


def test_the_lock_is_gone_afterwards_whatever_happens(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with FolderLock(store), pytest.raises(FolderInUseError), FolderLock(store):
        pass
    with pytest.raises(ZeroDivisionError), FolderLock(store):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_the_lock_of_a_process_that_has_ended_is_taken_over_at_once(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    leave(tmp_path, pid=ended.pid)
    with FolderLock(LocalStore(tmp_path)):
        assert json.loads((tmp_path / LOCK).read_text())["token"] != OTHER


def test_another_process_of_the_same_number_is_not_the_owner(tmp_path: Path) -> None:
    leave(tmp_path, born="1")
    with FolderLock(LocalStore(tmp_path)):
        pass


@pytest.mark.parametrize(("age", "is_stale"), [(0.0, False), (STALE_S - 30, False), (STALE_S + 30, True)])
def test_of_another_machine_the_last_sign_of_life_counts(age: float, is_stale: bool, tmp_path: Path) -> None:
    leave(tmp_path, host="far-away", boot="other", seen=time.time() - age)
    if is_stale:
        with FolderLock(LocalStore(tmp_path)):
            pass
    else:
        with pytest.raises(FolderInUseError, match="on far-away"), FolderLock(LocalStore(tmp_path)):
            pass


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"host": 1}'])
def test_a_damaged_lock_holds_nobody_up(text: str, tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(text)
    with FolderLock(LocalStore(tmp_path)):
        pass


def test_signs_of_life_are_given_and_a_lock_that_was_taken_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_lock, "BEAT_S", 0.02)
    with FolderLock(LocalStore(tmp_path)) as lock:
        first = json.loads((tmp_path / LOCK).read_text())
        wait_for(lambda: json.loads((tmp_path / LOCK).read_text())["seen"] > first["seen"])
        lock.check()
        wait_for(lambda: _taken(tmp_path, lock))
    assert json.loads((tmp_path / LOCK).read_text())["token"] == OTHER


def _taken(folder: Path, lock: FolderLock) -> bool:
    leave(folder)
    try:
        lock.check()
    except FolderInUseError:
        return True
    return False


def wait_for(condition: object, limit: float = 20.0) -> None:
    assert callable(condition)
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
